//! The progress of a wait, for a terminal or a log.

use std::time::Duration;

use super::part::Part;
use crate::duration::human;

/// The servers of a wait.
pub struct Progress<'a> {
    /// All servers.
    pub parts: &'a [Part],
    /// The time since the start of the wait.
    pub elapsed: Duration,
}

impl Progress<'_> {
    /// The live lines, as many as fit: one for each server whose wait goes on, and a summary below
    /// them.
    pub fn lines(&self, room: usize) -> Vec<String> {
        let elapsed = self.whole_seconds();
        if let [part] = self.parts {
            return vec![format!("{}: {}, {elapsed} so far", part.label(), part.state())];
        }
        let open: Vec<&Part> = self.open().collect();
        let shown = &open[..open.len().min(room.saturating_sub(1))];
        let labels: Vec<String> = shown.iter().map(|part| part.label()).collect();
        let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
        let line = |(label, part): (&String, &&Part)| format!("{label:width$}  {}", part.state());
        let mut lines: Vec<String> = labels.iter().zip(shown).map(line).collect();
        let hidden = open.len() - shown.len();
        let more = if hidden == 0 { String::new() } else { format!("and {hidden} more; ") };
        lines.push(format!("{more}{}, {elapsed} so far", self.sum()));
        lines
    }

    /// The heartbeat line for a log.
    pub fn heartbeat(&self) -> String {
        let open: Vec<&Part> = self.open().collect();
        let state = match open[..] {
            [part] => format!("{}: {}", part.label(), part.state()),
            _ => self.sum(),
        };
        format!("after {}: still {state}", self.whole_seconds())
    }

    fn open(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.end.is_none())
    }

    fn sum(&self) -> String {
        format!("{} of {} servers are not done", self.open().count(), self.parts.len())
    }

    fn whole_seconds(&self) -> String {
        human(Duration::from_secs(self.elapsed.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::BootInstant;
    use crate::cloud::server::CloudServer;
    use crate::model::{Goal, OkIf};
    use crate::wait::Policy;

    fn parts(servers: &[(&str, &str)]) -> Vec<Part> {
        let policy = Policy {
            goal: Goal::Deployed,
            interval: Duration::from_secs(10),
            deadline: None,
            ok_if: OkIf::default(),
            through_failed: false,
            is_watched: true,
        };
        let now = BootInstant::default();
        let part = |(name, status): &(&str, &str)| {
            let metadata = json!({"rackconnect_automation_status": status});
            let value = json!({"id": "1", "name": name, "status": "ACTIVE", "metadata": metadata});
            let server = CloudServer::parse("DFW", &value).unwrap();
            let mut part = Part::new(server.clone(), policy, now);
            part.observe(Some(&server), now, now);
            part
        };
        servers.iter().map(part).collect()
    }

    fn lines(servers: &[(&str, &str)], room: usize) -> Vec<String> {
        Progress { parts: &parts(servers), elapsed: Duration::from_millis(65_400) }.lines(room)
    }

    #[test]
    fn one_server_is_one_line() {
        assert_eq!(lines(&[("a", "DEPLOYING")], 9), ["a (DFW): DEPLOYING, 1m05s so far"]);
    }

    #[test]
    fn many_servers_have_as_many_lines_as_fit() {
        let servers =
            [("a", "DEPLOYING"), ("done", "DEPLOYED"), ("bcd", "DEPLOYING"), ("e", "DEPLOYING")];
        let all = [
            "a (DFW)    DEPLOYING",
            "bcd (DFW)  DEPLOYING",
            "e (DFW)    DEPLOYING",
            "3 of 4 servers are not done, 1m05s so far",
        ];
        assert_eq!(lines(&servers, 9), all);
        assert_eq!(lines(&servers, 4), all);
        let cut = [
            "a (DFW)    DEPLOYING",
            "bcd (DFW)  DEPLOYING",
            "and 1 more; 3 of 4 servers are not done, 1m05s so far",
        ];
        assert_eq!(lines(&servers, 3), cut);
        assert_eq!(lines(&servers, 1), ["and 3 more; 3 of 4 servers are not done, 1m05s so far"]);
    }

    #[test]
    fn the_heartbeat_names_the_last_server() {
        let parts = parts(&[("a", "DEPLOYING"), ("b", "DEPLOYED")]);
        let progress = Progress { parts: &parts, elapsed: Duration::from_secs(60) };
        assert_eq!(progress.heartbeat(), "after 1m: still a (DFW): DEPLOYING");
    }
}
