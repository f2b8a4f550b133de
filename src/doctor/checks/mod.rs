//! The checks, in the order in which they are shown: one file for each section. All of them are
//! pure judgements of the evidence.

mod agent;
mod automation;
#[cfg(test)]
pub(super) mod fixtures;
mod limit;
mod network;
mod rackconnect;
mod server;
mod ssh;
mod tls;

use super::check::Check;
pub(super) use server::is_another_server;

/// The headings of the sections, by the first word of a check's id.
pub(crate) const SECTIONS: &[(&str, &str)] = &[
    ("server", "This server"),
    ("network", "The connection to the API"),
    ("rackconnect", "RackConnect"),
    ("automation", "What stops the automation"),
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

#[cfg(test)]
mod tests {
    use super::fixtures::healthy;
    use super::*;
    use crate::doctor::check::Severity;

    /// The tests of the checks.
    const TESTS: [&str; 7] = [
        include_str!("server.rs"),
        include_str!("network/tests.rs"),
        include_str!("tls/tests.rs"),
        include_str!("limit/tests.rs"),
        include_str!("rackconnect/tests.rs"),
        include_str!("automation/tests.rs"),
        include_str!("agent.rs"),
    ];

    #[test]
    fn every_check_passes_on_a_healthy_server() {
        for check in all() {
            let finding = check.run(&healthy());
            assert_eq!(finding.severity, Severity::Pass, "{}: {finding:?}", check.id);
        }
    }

    #[test]
    fn every_check_has_a_test_with_a_server_on_which_it_does_not_pass() {
        let functions: Vec<&str> =
            TESTS.iter().flat_map(|file| file.split("#[test]").skip(1)).collect();
        for check in all() {
            let is_tested = functions.iter().any(|function| expects_a_problem(function, check.id));
            assert!(is_tested, "{} has no such test", check.id);
        }
    }

    /// Whether a test function calls `assert_found` with this id, or a variable that has it as its
    /// value, and with a severity other than Pass and Skipped.
    fn expects_a_problem(function: &str, id: &str) -> bool {
        let code = function.split_whitespace().collect::<Vec<_>>().join(" ");
        let literal = format!("\"{id}\"");
        let variable = code.split("let ").find_map(|statement| {
            let (name, value) = statement.split_once(" = ")?;
            value.starts_with(&format!("{literal};")).then_some(name)
        });
        let names = [Some(literal.as_str()), variable];
        names.into_iter().flatten().any(|name| {
            ["Info", "Warning", "Fail"]
                .iter()
                .any(|severity| code.contains(&format!(", {name}, {severity},")))
        })
    }
}
