//! The rackconnect user and its sudo rules.

use super::files::Files;
use super::subject::{Addition, Subject};
use crate::doctor::evidence::{AccountEvidence, Evidence, Reading, UserAccount};

/// The user that Rackspace creates.
const USER: &str = "rackconnect";

/// The directory of additional sudo rules.
const RULES: &str = "/etc/sudoers.d";

/// Reads the files.
pub(super) fn collect(_: &Subject, files: &mut Files) -> Addition {
    let accounts = read(files);
    Box::new(|evidence: &mut Evidence| evidence.accounts = accounts)
}

fn read(files: &Files) -> Reading<AccountEvidence> {
    let users = files.read("/etc/passwd")?;
    let Some((user, group)) = users.lines().find_map(parse_user) else {
        return Ok(AccountEvidence { user: None, sudo_rules: Ok(Vec::new()) });
    };
    let groups = groups(&files.read("/etc/group").unwrap_or_default(), &group);
    Ok(AccountEvidence { user: Some(user), sudo_rules: rules(files, &groups) })
}

/// The entry of the rackconnect user and the id of its group.
fn parse_user(line: &str) -> Option<(UserAccount, String)> {
    let fields: Vec<&str> = line.split(':').collect();
    let [USER, _, _, group, _, home, shell] = fields.as_slice() else { return None };
    let user = UserAccount { home: (*home).to_owned(), shell: (*shell).to_owned() };
    Some((user, (*group).to_owned()))
}

/// The names of the user's groups.
fn groups(text: &str, primary: &str) -> Vec<String> {
    let fields = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    fields
        .filter(|fields| {
            let has_user =
                fields.get(3).is_some_and(|users| users.split(',').any(|user| user == USER));
            has_user || fields.get(2) == Some(&primary)
        })
        .filter_map(|fields| Some((*fields.first()?).to_owned()))
        .collect()
}

fn rules(files: &Files, groups: &[String]) -> Reading<Vec<String>> {
    let mut rules = rules_for(&files.read("/etc/sudoers")?, groups);
    // Source: sudoers(5): files with a dot in their name, or that end in ~, are skipped.
    let names = files.names(RULES).into_iter();
    for name in names.filter(|name| !name.contains('.') && !name.ends_with('~')) {
        rules.extend(rules_for(&files.read(&format!("{RULES}/{name}"))?, groups));
    }
    Ok(rules)
}

/// The rules for the user, for one of its groups, or for all users.
fn rules_for(text: &str, groups: &[String]) -> Vec<String> {
    let is_for_it = |line: &&str| {
        let who = line.split_whitespace().next().unwrap_or_default();
        line.contains('=')
            && (who == USER
                || who == "ALL"
                || who
                    .strip_prefix('%')
                    .is_some_and(|name| groups.iter().any(|group| group == name)))
    };
    text.lines().map(str::trim).filter(is_for_it).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_that_apply_to_the_user() {
        let groups = groups("wheel:x:10:a,rackconnect\nrackconnect:x:1001:\nadm:x:4:a\n", "1001");
        assert_eq!(groups, ["wheel", "rackconnect"]);
        let text = "# rackconnect ALL=(ALL) ALL\nDefaults requiretty\nroot ALL=(ALL) ALL\n\
                    %wheel  ALL=(ALL) ALL\n%adm ALL=(ALL) ALL\nrackconnect ALL=(ALL) NOPASSWD: ALL\n";
        let expected = ["%wheel  ALL=(ALL) ALL", "rackconnect ALL=(ALL) NOPASSWD: ALL"];
        assert_eq!(rules_for(text, &groups), expected);
    }

    #[test]
    fn the_user_in_passwd() {
        let line = "rackconnect:x:1001:1001::/home/rackconnect:/bin/bash";
        let (user, group) = parse_user(line).unwrap();
        assert_eq!((user.shell.as_str(), group.as_str()), ("/bin/bash", "1001"));
        assert_eq!(parse_user("rackconnect2:x:1:1::/:/bin/sh"), None);
        assert_eq!(parse_user("rackconnect:x"), None);
    }
}
