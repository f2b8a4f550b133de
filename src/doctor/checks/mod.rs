//! The checks, in the order in which they are shown: one file for each section. All of them are
//! pure judgements of the evidence.

mod agent;
mod automation;
mod limit;
mod network;
#[cfg(test)]
pub(super) mod prepared;
mod rackconnect;
mod server;
mod ssh;
mod tls;

use super::check::Check;
pub(super) use server::is_another_server;

/// The headings of the sections, by the first word of a check's id.
pub(crate) const SECTIONS: &[(&str, &str)] = &[
    ("server", "This server"),
    ("network", "The way to the API"),
    ("rackconnect", "RackConnect"),
    ("automation", "What breaks the automation"),
    ("agent", "This program"),
];

/// Every check.
pub(crate) fn all() -> impl Iterator<Item = &'static Check> {
    let sections = [
        server::CHECKS,
        network::CHECKS,
        tls::CHECKS,
        limit::CHECKS,
        rackconnect::CHECKS,
        ssh::CHECKS,
        automation::CHECKS,
        agent::CHECKS,
    ];
    sections.into_iter().flatten()
}
