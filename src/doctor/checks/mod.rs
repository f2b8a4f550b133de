//! The checks, in the order in which they are shown: a section's file each. All of them are pure
//! judgements of the evidence.

mod agent;
mod automation;
#[cfg(test)]
pub(super) mod prepared;
mod server;
mod ssh;

use super::check::Check;
pub(super) use server::is_another_server;

/// The headings of the sections, by the first word of a check's id.
pub(crate) const SECTIONS: &[(&str, &str)] = &[
    ("server", "This server"),
    ("automation", "What breaks the automation"),
    ("agent", "This program"),
];

/// Every check.
pub(crate) fn all() -> impl Iterator<Item = &'static Check> {
    [server::CHECKS, ssh::CHECKS, automation::CHECKS, agent::CHECKS].into_iter().flatten()
}
