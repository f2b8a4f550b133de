//! The configuration of the SSH daemon, as sshd evaluates it for root: the first value counts, a
//! Match block that applies takes precedence over values outside of it, and Include is read in
//! place. Pure; files come from a callback. Source: sshd_config(5). The output of `sshd -T` has the
//! same form.

use wildmatch::WildMatch;

/// How deep Include may be nested. Source: OpenSSH, SERVCONF_MAX_DEPTH.
const MAX_DEPTH: usize = 16;

/// The most files that are included. Files that include themselves several times would otherwise be
/// read [`MAX_DEPTH`] levels deep, each level several times as often.
const MAX_FILES: usize = 1_000;

/// Where Include looks for a relative path.
const DIRECTORY: &str = "/etc/ssh";

/// The user that RackConnect logs in as.
const USER: &str = "root";

/// The keywords that set where it listens.
const PORTS: [&str; 2] = ["port", "listenaddress"];

/// Keywords whose values accumulate, instead of the first one counting.
const CUMULATIVE: [&str; 6] =
    ["port", "listenaddress", "allowusers", "denyusers", "allowgroups", "denygroups"];

/// Keywords that decide whether the automation can log in.
const DECISIVE: [&str; 7] = [
    "permitrootlogin",
    "passwordauthentication",
    "authenticationmethods",
    "allowusers",
    "denyusers",
    "allowgroups",
    "denygroups",
];

/// The configuration of sshd for a login of root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SshdConfig {
    outside: KeywordValues,
    matched: KeywordValues,
    /// Match blocks that set a decisive keyword under a condition that cannot be evaluated.
    pub(crate) undecided: Vec<String>,
    /// Files that could not be read.
    pub(crate) unreadable: Vec<String>,
}

/// The values of keywords in [`DECISIVE`] and [`PORTS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct KeywordValues(Vec<(String, Vec<String>)>);

impl KeywordValues {
    fn get(&self, keyword: &str) -> Option<&[String]> {
        let found = self.0.iter().find(|(known, _)| known == keyword);
        found.map(|(_, values)| values.as_slice())
    }

    fn add(&mut self, keyword: String, values: &[String]) {
        match self.0.iter_mut().find(|(known, _)| *known == keyword) {
            None => self.0.push((keyword, values.to_vec())),
            Some((_, known)) if CUMULATIVE.contains(&keyword.as_str()) => {
                known.extend_from_slice(values);
            }
            Some(_) => {}
        }
    }
}

/// Reads the files that a pattern names: each path with its text, or none if it cannot be read.
pub(crate) type ReadFiles<'a> = dyn FnMut(&str) -> Vec<(String, Option<String>)> + 'a;

/// The condition of the lines that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
enum MatchState {
    Outside,
    Applies,
    DoesNot,
    /// They depend on this condition.
    Unknown(String),
}

/// Reads a file and the files that it includes.
struct Parser<'a, 'r> {
    config: SshdConfig,
    read: &'a mut ReadFiles<'r>,
    /// How many files were included.
    files: usize,
}

impl Parser<'_, '_> {
    fn lines(&mut self, text: &str, mut state: MatchState, depth: usize) {
        for line in text.lines() {
            let words = words(line);
            let Some((keyword, values)) = words.split_first() else { continue };
            let keyword = keyword.to_ascii_lowercase();
            match keyword.as_str() {
                "match" => state = applies(values),
                "include" if state != MatchState::DoesNot && depth < MAX_DEPTH => {
                    values.iter().for_each(|pattern| self.include(pattern, &state, depth));
                }
                _ => self.config.set(keyword, values, &state),
            }
        }
    }

    /// A Match block ends with its file, so the included files do not change `state`.
    fn include(&mut self, pattern: &str, state: &MatchState, depth: usize) {
        let path = if pattern.starts_with('/') {
            pattern.to_owned()
        } else {
            format!("{DIRECTORY}/{pattern}")
        };
        if self.files >= MAX_FILES {
            self.config.unreadable.push(path);
            return;
        }
        for (path, text) in (self.read)(&path) {
            self.files += 1;
            match text {
                Some(text) if self.files <= MAX_FILES => {
                    self.lines(&text, state.clone(), depth + 1);
                }
                _ => self.config.unreadable.push(path),
            }
        }
    }
}

impl SshdConfig {
    /// Reads a configuration.
    pub(crate) fn parse(text: &str, read: &mut ReadFiles<'_>) -> SshdConfig {
        let mut parser = Parser { config: SshdConfig::default(), read, files: 0 };
        parser.lines(text, MatchState::Outside, 0);
        parser.config
    }

    fn set(&mut self, keyword: String, values: &[String], state: &MatchState) {
        let is_decisive = DECISIVE.contains(&keyword.as_str());
        if !is_decisive && !PORTS.contains(&keyword.as_str()) {
            return;
        }
        let into = match state {
            MatchState::Outside => &mut self.outside,
            MatchState::Applies => &mut self.matched,
            MatchState::DoesNot => return,
            MatchState::Unknown(condition) => {
                if is_decisive {
                    let setting = values.join(" ");
                    self.undecided.push(format!("Match {condition}: {keyword} {setting}"));
                }
                return;
            }
        };
        into.add(keyword, values);
    }

    fn values(&self, keyword: &str) -> &[String] {
        let found = self.matched.get(keyword).or_else(|| self.outside.get(keyword));
        found.unwrap_or_default()
    }

    /// The configuration with the Match blocks of another one instead of its own.
    pub(crate) fn with_match_blocks_of(self, other: SshdConfig) -> SshdConfig {
        SshdConfig { outside: self.outside, ..other }
    }

    /// The value of a keyword, in lower case; none if it is not set.
    pub(crate) fn value(&self, keyword: &str) -> Option<String> {
        self.values(keyword).first().map(|value| value.to_ascii_lowercase())
    }

    /// The ports on which it listens.
    pub(crate) fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> =
            self.values("port").iter().filter_map(|port| port.parse().ok()).collect();
        if ports.is_empty() {
            ports.push(22);
        }
        if self.has_ports_by_address() {
            ports.clear();
        }
        ports.extend(self.values("listenaddress").iter().filter_map(|address| port_of(address)));
        let mut distinct = Vec::new();
        for port in ports {
            if !distinct.contains(&port) {
                distinct.push(port);
            }
        }
        distinct
    }

    /// Whether every listen address has its own port.
    pub(crate) fn has_ports_by_address(&self) -> bool {
        let addresses = self.values("listenaddress");
        !addresses.is_empty() && addresses.iter().all(|address| port_of(address).is_some())
    }

    /// Whether a Match block that applies to root sets a keyword.
    pub(crate) fn is_matched(&self, keyword: &str) -> bool {
        self.matched.get(&keyword.to_ascii_lowercase()).is_some()
    }

    /// The lists that limit logins, as they are written.
    pub(crate) fn lists(&self) -> Vec<String> {
        let names = ["AllowUsers", "DenyUsers", "AllowGroups", "DenyGroups"];
        names
            .iter()
            .filter_map(|name| {
                let values = self.values(&name.to_ascii_lowercase());
                (!values.is_empty()).then(|| format!("{name} {}", values.join(" ")))
            })
            .collect()
    }

    /// Whether the lists of users admit `user` from any host.
    pub(crate) fn admits(&self, user: &str) -> bool {
        let is_listed =
            |keyword| self.values(keyword).iter().any(|pattern| is_match(pattern, user));
        let is_allowed = self.values("allowusers").is_empty() || is_listed("allowusers");
        is_allowed && !is_listed("denyusers")
    }

    /// Whether there are lists of groups.
    pub(crate) fn has_group_lists(&self) -> bool {
        ["allowgroups", "denygroups"].iter().any(|keyword| !self.values(keyword).is_empty())
    }
}

/// Whether a Match block with this condition applies when root logs in.
fn applies(condition: &[String]) -> MatchState {
    let mut state = MatchState::Applies;
    for pair in condition.chunks(2) {
        let (criterion, value) = (pair[0].to_ascii_lowercase(), pair.get(1));
        match (criterion.as_str(), value) {
            ("all", _) => {}
            ("user", Some(patterns)) if !in_list(patterns, USER) => return MatchState::DoesNot,
            ("user", Some(_)) => {}
            _ => state = MatchState::Unknown(condition.join(" ")),
        }
    }
    state
}

/// Whether a comma-separated list matches: at least one pattern does, and none with `!` does.
fn in_list(patterns: &str, name: &str) -> bool {
    let negated =
        |entry: &str| entry.strip_prefix('!').is_some_and(|pattern| is_match(pattern, name));
    let mut all = patterns.split(',');
    !all.clone().any(negated) && all.any(|entry| !entry.starts_with('!') && is_match(entry, name))
}

/// Whether a pattern matches a name. `USER@HOST` limits the hosts, so it does not match everywhere.
fn is_match(pattern: &str, name: &str) -> bool {
    WildMatch::new(pattern).matches(name)
}

/// The port of a ListenAddress: `HOST:PORT`, `[V6]:PORT`; none for a bare address.
fn port_of(address: &str) -> Option<u16> {
    let (host, port) = address.rsplit_once(':')?;
    let is_bare_v6 = host.contains(':') && !host.ends_with(']');
    if is_bare_v6 { None } else { port.parse().ok() }
}

/// The words of a line. The first may be followed by `=`; words may be quoted; `#` ends the line.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => {
                let is_end = |c: char| c.is_whitespace() || (words.is_empty() && c == '=');
                rest.split_at(rest.find(is_end).unwrap_or(rest.len()))
            }
        };
        words.push(word.to_owned());
        rest = after.trim_start();
        if words.len() == 1 {
            rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> SshdConfig {
        SshdConfig::parse(text, &mut |_| Vec::new())
    }

    #[test]
    fn the_first_value_wins() {
        let config = parse(
            "# comment\nPermitRootLogin=no\n  permitrootlogin yes # not this\nPort 22\nPort 2222\n\
             PasswordAuthentication \"yes\"\n",
        );
        assert_eq!(config.value("permitrootlogin").as_deref(), Some("no"));
        assert_eq!(config.value("passwordauthentication").as_deref(), Some("yes"));
        assert_eq!(config.ports(), [22, 2222]);
        assert_eq!(parse("").ports(), [22]);
        assert_eq!(parse("").value("permitrootlogin"), None);
    }

    /// Three includes in a file that includes itself were followed 3^16 times.
    #[test]
    fn files_that_include_themselves_several_times_end() {
        let text = "Port 2222\nInclude a b\nInclude c\n";
        let mut reads = 0;
        let mut read = |path: &str| {
            reads += 1;
            vec![(path.to_owned(), Some(text.to_owned()))]
        };
        let config = SshdConfig::parse(text, &mut read);
        assert_eq!((config.ports(), config.unreadable.is_empty()), (vec![2222], false));
        assert_eq!(reads, MAX_FILES);
    }

    #[test]
    fn listen_addresses_can_have_ports() {
        assert_eq!(parse("ListenAddress 0.0.0.0:2222\n").ports(), [2222]);
        assert_eq!(parse("ListenAddress ::\nListenAddress [::]:2222\n").ports(), [22, 2222]);
        assert_eq!(parse("ListenAddress 10.1.2.3\nPort 2022").ports(), [2022]);
        assert_eq!(parse("ListenAddress fe80::1").ports(), [22]);
    }

    #[test]
    fn match_blocks_for_root_win_and_others_do_not_count() {
        let config = parse(
            "PermitRootLogin yes\nPasswordAuthentication yes\nMatch User deploy\n  \
             PasswordAuthentication no\nMatch User r*,!rackconnect\n  PermitRootLogin no\n",
        );
        assert_eq!(config.value("permitrootlogin").as_deref(), Some("no"));
        assert_eq!(config.value("passwordauthentication").as_deref(), Some("yes"));
        assert_eq!(config.undecided, [""; 0]);
        let config = parse("Match Address 10.0.0.0/8\nX11Forwarding no\nPermitRootLogin no\n");
        assert_eq!(config.undecided, ["Match Address 10.0.0.0/8: permitrootlogin no"]);
        let config =
            parse("Match User root Address 10.1.2.3\nPermitRootLogin no\nMatch all\nPort 22");
        assert_eq!(config.undecided.len(), 1);
        let config = parse("Match User nobody Address 10.1.2.3\nPermitRootLogin no\n");
        assert_eq!(config.undecided, [""; 0]);
    }

    #[test]
    fn include_is_read_in_place() {
        let mut asked = Vec::new();
        let config = SshdConfig::parse(
            "Include /etc/ssh/sshd_config.d/*.conf secret\nPermitRootLogin yes\n",
            &mut |pattern| {
                asked.push(pattern.to_owned());
                match pattern {
                    "/etc/ssh/secret" => vec![(pattern.to_owned(), None)],
                    _ => vec![("a".to_owned(), Some("PermitRootLogin no\nMatch User x\n".into()))],
                }
            },
        );
        assert_eq!(asked, ["/etc/ssh/sshd_config.d/*.conf", "/etc/ssh/secret"]);
        // The Match block ended with its file.
        assert_eq!(config.outside.get("permitrootlogin"), Some(&["no".to_owned()][..]));
        assert_eq!(config.unreadable, ["/etc/ssh/secret"]);
        let mut endless = |_: &str| vec![("a".to_owned(), Some("Include a".to_owned()))];
        SshdConfig::parse("Include a", &mut endless);
    }

    #[test]
    fn lists_of_users() {
        let config = parse("AllowUsers deploy root@10.0.0.0/8\nAllowUsers rack*\n");
        assert_eq!((config.admits("root"), config.admits("rackconnect")), (false, true));
        assert_eq!(config.lists(), ["AllowUsers deploy root@10.0.0.0/8 rack*"]);
        assert!(!parse("DenyUsers ro?t").admits("root"));
        assert!(parse("DenyUsers nobody").admits("root") && parse("").admits("root"));
    }
}
