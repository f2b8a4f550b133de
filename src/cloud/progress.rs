//! The progress of a wait, for a terminal or a log.

use std::time::Duration;

use super::watched_server::WatchedServer;
use crate::duration::human;

/// The servers of a wait.
pub struct Progress<'a> {
    /// All servers.
    pub servers: &'a [WatchedServer],
    /// The time since the start of the wait.
    pub elapsed: Duration,
}

impl Progress<'_> {
    /// The live lines, as many as fit: one for each server whose wait goes on, and a summary below
    /// them.
    pub fn lines(&self, max_lines: usize) -> Vec<String> {
        let elapsed = self.whole_seconds();
        if let [watched] = self.servers {
            return vec![format!("{}: {}, {elapsed} so far", watched.label(), watched.state())];
        }
        let unfinished: Vec<&WatchedServer> = self.unfinished().collect();
        let shown = &unfinished[..unfinished.len().min(max_lines.saturating_sub(1))];
        let labels: Vec<String> = shown.iter().map(|watched| watched.label()).collect();
        let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
        let line = |(label, watched): (&String, &&WatchedServer)| {
            format!("{label:width$}  {}", watched.state())
        };
        let mut lines: Vec<String> = labels.iter().zip(shown).map(line).collect();
        let hidden = unfinished.len() - shown.len();
        let more = if hidden == 0 { String::new() } else { format!("and {hidden} more; ") };
        lines.push(format!("{more}{}, {elapsed} so far", self.summary()));
        lines
    }

    /// The heartbeat line for a log.
    pub fn heartbeat(&self) -> String {
        let unfinished: Vec<&WatchedServer> = self.unfinished().collect();
        let state = match unfinished[..] {
            [watched] => format!("{}: {}", watched.label(), watched.state()),
            _ => self.summary(),
        };
        format!("after {}: still {state}", self.whole_seconds())
    }

    fn unfinished(&self) -> impl Iterator<Item = &WatchedServer> {
        self.servers.iter().filter(|watched| watched.end.is_none())
    }

    fn summary(&self) -> String {
        format!("{} of {} servers are not done", self.unfinished().count(), self.servers.len())
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

    fn watched_servers(states: &[(&str, &str)]) -> Vec<WatchedServer> {
        let policy = Policy {
            goal: Goal::Deployed,
            interval: Duration::from_secs(10),
            deadline: None,
            ok_if: OkIf::default(),
            through_failed: false,
            is_watched: true,
        };
        let now = BootInstant::default();
        let watched = |(name, status): &(&str, &str)| {
            let metadata = json!({"rackconnect_automation_status": status});
            let value = json!({"id": "1", "name": name, "status": "ACTIVE", "metadata": metadata});
            let server = CloudServer::parse("DFW", &value).unwrap();
            let mut watched = WatchedServer::new(server.clone(), policy, now);
            watched.observe(Some(&server), now, now);
            watched
        };
        states.iter().map(watched).collect()
    }

    fn lines(servers: &[(&str, &str)], max_lines: usize) -> Vec<String> {
        Progress { servers: &watched_servers(servers), elapsed: Duration::from_millis(65_400) }
            .lines(max_lines)
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
        let servers = watched_servers(&[("a", "DEPLOYING"), ("b", "DEPLOYED")]);
        let progress = Progress { servers: &servers, elapsed: Duration::from_secs(60) };
        assert_eq!(progress.heartbeat(), "after 1m: still a (DFW): DEPLOYING");
    }
}
