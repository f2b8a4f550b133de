//! Addresses from a hosts(5) file.

use std::net::SocketAddr;

use super::address;

/// The addresses of `name`, in the order of the file, with port 0. Letter case does not matter.
pub(super) fn addresses(text: &str, name: &str) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let entry = line.split('#').next().unwrap_or_default();
        let mut words = entry.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        if words.any(|alias| alias.eq_ignore_ascii_case(name))
            && let Some(address) = address::parse(first)
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, name: &str) -> Vec<String> {
        addresses(text, name).iter().map(|address| address.ip().to_string()).collect()
    }

    #[test]
    fn both_families_and_comments() {
        let text = "# 192.0.2.9 api.example\n\
            192.0.2.1\tapi.example api # api.example.org\n\
            2001:db8::1 other api.example\r\n\
            nonsense api.example\n\
            192.0.2.1 api.example\n\
            192.0.2.2";
        assert_eq!(found(text, "api.example"), ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(found(text, "api"), ["192.0.2.1"]);
        assert_eq!(found(text, "api.example.org"), [""; 0]);
        assert_eq!(found(text, "192.0.2.1"), [""; 0]);
        assert_eq!(found("", "api"), [""; 0]);
    }

    /// musl compared names byte by byte, and read 512 bytes of a line.
    #[test]
    fn letter_case_and_the_number_of_aliases_do_not_matter() {
        let aliases: Vec<String> = (0..300).map(|n| format!("alias-{n}.example.org")).collect();
        let text = format!("10.0.0.1 {} API.Example.COM", aliases.join(" "));
        assert_eq!(found(&text, "api.example.com"), ["10.0.0.1"]);
        assert_eq!(found(&text, "Alias-299.example.org"), ["10.0.0.1"]);
    }
}
