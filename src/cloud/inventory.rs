//! A dynamic inventory for Ansible: groups by region and by RackConnect status, host variables from
//! the metadata. If several servers have the same name, or one has a name that Ansible or ssh could
//! take for something else, the id is appended to it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::server::CloudServer;

/// The names by which Ansible knows the machine that it runs on. Tasks for it, often with secrets,
/// would run on a server of that name.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// All groups and hosts, for `--list`.
pub fn inventory(servers: &[CloudServer]) -> Value {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut variables = Map::new();
    for (host, server) in hosts(servers) {
        let status =
            server.status().map_or("none".to_owned(), |status| status.word().to_lowercase());
        for group in [format!("region_{}", server.region), format!("rackconnect_{status}")] {
            groups.entry(group_name(&group)).or_default().push(host.clone());
        }
        variables.insert(host, host_variables(server));
    }
    let mut inventory: Map<String, Value> =
        groups.into_iter().map(|(name, hosts)| (name, json!({"hosts": hosts}))).collect();
    inventory.insert("_meta".to_owned(), json!({"hostvars": variables}));
    Value::Object(inventory)
}

/// The variables of one host, for `--host`; an empty object for an unknown host, as Ansible
/// expects.
pub fn host(servers: &[CloudServer], name: &str) -> Value {
    let found = hosts(servers).into_iter().find(|(host, _)| host == name);
    found.map_or(json!({}), |(_, server)| host_variables(server))
}

/// Each server with its name in the inventory.
fn hosts(servers: &[CloudServer]) -> Vec<(String, &CloudServer)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for server in servers {
        *counts.entry(&server.name).or_default() += 1;
    }
    // A server could otherwise take the place of another one to whose name the id is appended.
    let ends_with_id = |name: &str| {
        servers
            .iter()
            .any(|server| name.strip_suffix(&server.id).is_some_and(|name| name.ends_with('_')))
    };
    let host = |server: &CloudServer| {
        let (name, host) = (&server.name, host_name(&server.name));
        let is_unique = counts.get(name.as_str()) == Some(&1) && !ends_with_id(name);
        if is_unique && host == *name && !LOCAL.contains(&name.as_str()) {
            host
        } else {
            format!("{host}_{}", server.id)
        }
    };
    servers.iter().map(|server| (host(server), server)).collect()
}

fn host_variables(server: &CloudServer) -> Value {
    let address = server.public.or(server.private);
    let mut variables = Map::new();
    if let Some(address) = address {
        variables.insert("ansible_host".to_owned(), json!(address));
    }
    variables.insert("rackconnect".to_owned(), inert(server.to_json()));
    Value::Object(variables)
}

/// Marks text that Ansible would evaluate as a template. Everybody who may write the metadata of a
/// server could otherwise run programs where Ansible runs: `{{ lookup('pipe', 'id') }}`.
fn inert(value: Value) -> Value {
    match value {
        Value::String(text) if is_template(&text) => json!({"__ansible_unsafe": text}),
        Value::Array(values) => values.into_iter().map(inert).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (inert_name(&name), inert(value))).collect()
        }
        other => other,
    }
}

/// A name, which cannot be marked, that is no template.
fn inert_name(name: &str) -> String {
    if is_template(name) { name.replace('{', "_") } else { name.to_owned() }
}

/// The name of a host: no template; no option of ssh(1) (`-oProxyCommand=…`) and no command of a
/// ProxyCommand with `%h`, for a server that has no address; no path to variables of the host
/// elsewhere than in `host_vars` (`../`); and no pattern of several hosts.
fn host_name(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_. ".contains(c);
    let name: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    match name.strip_prefix(['-', '.']) {
        Some(rest) => format!("_{rest}"),
        None => name,
    }
}

/// Whether Jinja would evaluate a text.
fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|start| text.contains(start))
}

/// Ansible accepts letters, digits and `_` in the name of a group.
fn group_name(text: &str) -> String {
    let replaced = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    replaced.collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(id: &str, name: &str, status: Option<&str>) -> CloudServer {
        let value = json!({
            "id": id, "name": name, "accessIPv4": "203.0.113.1",
            "metadata": status.map(|status| json!({"rackconnect_automation_status": status})),
        });
        CloudServer::parse("DFW", &value).unwrap()
    }

    #[test]
    fn groups_hosts_and_variables() {
        let servers =
            [server("1", "a", Some("DEPLOYED")), server("2", "b", None), server("3", "b", None)];
        let inventory = inventory(&servers);
        assert_eq!(inventory["region_dfw"]["hosts"], json!(["a", "b_2", "b_3"]));
        assert_eq!(inventory["rackconnect_deployed"]["hosts"], json!(["a"]));
        assert_eq!(inventory["rackconnect_none"]["hosts"], json!(["b_2", "b_3"]));
        let variables = &inventory["_meta"]["hostvars"]["a"];
        assert_eq!(variables["ansible_host"], "203.0.113.1");
        assert_eq!(variables["rackconnect"]["status"], "DEPLOYED");
        assert_eq!(host(&servers, "a"), *variables);
        assert_eq!(host(&servers, "b"), json!({}));
        assert_eq!(group_name("region_a-b.c"), "region_a_b_c");
    }

    #[test]
    fn a_name_was_an_option_of_ssh() {
        let name = "-oProxyCommand=id";
        let server = CloudServer::parse("DFW", &json!({"id": "1", "name": name})).unwrap();
        let inventory = inventory(std::slice::from_ref(&server));
        assert_eq!(inventory["region_dfw"]["hosts"], json!(["_oProxyCommand_id_1"]));
        assert_eq!(host(&[server], "_oProxyCommand_id_1")["rackconnect"]["name"], name);
    }

    /// Tasks for the second server with the name `b` were sent to the last server.
    #[test]
    fn a_server_took_the_place_of_another_one_or_of_the_controller() {
        let named = [("1", "b"), ("2", "b"), ("3", "b_2"), ("4", "localhost"), ("5", "::1")];
        let servers = named.map(|(id, name)| server(id, name, None));
        let hosts = ["b_1", "b_2", "b_2_3", "localhost_4", "__1_5"];
        assert_eq!(inventory(&servers)["region_dfw"]["hosts"], json!(hosts));
        assert_eq!(host(&servers, "b_2")["rackconnect"]["id"], "2");
    }

    #[test]
    fn a_name_was_a_path_a_pattern_or_a_command() {
        for (name, host) in [
            ("../../tmp/x", "_._.._tmp_x_1"),
            ("..", "_._1"),
            ("a:b", "a_b_1"),
            ("$(id)", "__id__1"),
            ("web 1.example-größe", "web 1.example-größe"),
        ] {
            let servers = [server("1", name, None)];
            assert_eq!(inventory(&servers)["region_dfw"]["hosts"], json!([host]));
        }
    }

    #[test]
    fn templates_in_names_and_metadata_were_run_by_ansible() {
        let template = "{{ lookup('pipe', 'id') }}";
        let metadata = json!({"note": template, "{% x %}": "{# y #}", "plain": "{ }"});
        let value = json!({"id": "1", "name": template, "metadata": metadata});
        let servers = [CloudServer::parse("DFW", &value).unwrap()];
        let name = "__ lookup__pipe__ _id__ ___1";
        let variables = host(&servers, name);
        assert_eq!(inventory(&servers)["_meta"]["hostvars"][name], variables);
        let unsafe_text = |text: &str| json!({"__ansible_unsafe": text});
        assert_eq!(variables["rackconnect"]["name"], unsafe_text(template));
        assert_eq!(
            variables["rackconnect"]["metadata"],
            json!({"note": unsafe_text(template), "_% x %}": unsafe_text("{# y #}"), "plain": "{ }"})
        );
    }
}
