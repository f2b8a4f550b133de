//! Finds unusual settings in a resolv.conf. Pure. Source: resolv.conf(5).

use std::net::IpAddr;

/// How many nameservers are used.
const MAX_NAMESERVERS: usize = 3;

/// The nameservers.
pub(crate) fn nameservers(text: &str) -> Vec<&str> {
    let lines = text.lines().map(|line| line.split(['#', ';']).next().unwrap_or_default());
    let mut found = Vec::new();
    for line in lines {
        let mut words = line.split_whitespace();
        if words.next() == Some("nameserver") {
            found.extend(words.next());
        }
    }
    found
}

/// The unusual settings, as sentences.
pub(crate) fn oddities(text: &str) -> Vec<String> {
    let nameservers = nameservers(text);
    let mut odd = Vec::new();
    if nameservers.is_empty() {
        odd.push("it names no nameserver, so 127.0.0.1 is asked".to_owned());
    }
    for server in &nameservers {
        // An IPv6 address may have a zone.
        let address = server.split('%').next().unwrap_or(server);
        if address.parse::<IpAddr>().is_err() {
            odd.push(format!("{server:?} is not an address"));
        }
    }
    if nameservers.len() > MAX_NAMESERVERS {
        odd.push(format!("only the first {MAX_NAMESERVERS} nameservers are used"));
    }
    for option in options(text) {
        let number = |name: &str| option.strip_prefix(name)?.parse::<u32>().ok();
        if number("attempts:") == Some(0) || number("timeout:") == Some(0) {
            odd.push(format!("the option {option} leaves no try"));
        }
        if number("timeout:").is_some_and(|seconds| seconds > 10) {
            odd.push(format!("with the option {option} a dead nameserver costs that many seconds"));
        }
    }
    odd
}

fn options(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("options"))
        .flat_map(|rest| rest.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_file_is_not_odd() {
        let text = "# made by x\nsearch example.com\nnameserver 10.1.2.3 ; one\nnameserver \
                    fe80::1%eth0\noptions timeout:1 attempts:2 rotate\n";
        assert_eq!(nameservers(text), ["10.1.2.3", "fe80::1%eth0"]);
        assert_eq!(oddities(text), [""; 0]);
    }

    #[test]
    fn odd_files() {
        for (text, says) in [
            ("", "no nameserver"),
            ("#nameserver 10.1.2.3\n", "no nameserver"),
            ("nameserver dns.example.com\n", "\"dns.example.com\" is not an address"),
            ("nameserver 1.1.1.1\noptions attempts:0\n", "attempts:0"),
            ("nameserver 1.1.1.1\noptions timeout:30\n", "timeout:30"),
            (&"nameserver 1.1.1.1\n".repeat(4), "first 3"),
        ] {
            let odd = oddities(text);
            assert_eq!(odd.len(), 1, "{odd:?}");
            assert!(odd[0].contains(says), "{odd:?}");
        }
    }
}
