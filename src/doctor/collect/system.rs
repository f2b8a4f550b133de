//! System files that show what would stop the automation.

use std::env;
use std::time::Duration;

use super::files::Files;
use super::subject::{Addition, Subject};
use crate::doctor::evidence::{Evidence, NfsMount, SelinuxMode, SystemEvidence};

/// The tools that the automation needs. Source: the RackConnect documentation.
const TOOLS: [&str; 3] = ["sed", "awk", "ip"];

/// Reads the files.
pub(super) fn collect(_: &Subject, files: &mut Files) -> Addition {
    let system = SystemEvidence {
        selinux: selinux_mode(files.read("/sys/fs/selinux/enforce").ok().as_deref()),
        selinux_configured: files
            .read_and_keep("/etc/selinux/config")
            .ok()
            .and_then(|text| selinux_configured(&text)),
        missing_tools: TOOLS
            .into_iter()
            .filter(|tool| files.find_program(tool).is_none())
            .collect(),
        bridges: bridges(files),
        nfs_mounts: nfs_mounts(files),
        resolv_conf: files.read_and_keep("/etc/resolv.conf"),
        proxies: proxies(),
        uptime: files.read("/proc/uptime").ok().and_then(|text| uptime(&text)),
    };
    Box::new(|evidence: &mut Evidence| evidence.system = Ok(system))
}

/// The variables that name a proxy, in upper and lower case.
fn proxies() -> Vec<String> {
    let names = ["http_proxy", "https_proxy", "all_proxy"];
    let both = names.iter().flat_map(|name| [(*name).to_owned(), name.to_ascii_uppercase()]);
    both.filter_map(|name| {
        let value = env::var(&name).ok().filter(|value| !value.is_empty())?;
        Some(format!("{name}={value}"))
    })
    .collect()
}

fn selinux_mode(enforce: Option<&str>) -> Option<SelinuxMode> {
    match enforce?.trim() {
        "1" => Some(SelinuxMode::Enforcing),
        _ => Some(SelinuxMode::Permissive),
    }
}

fn selinux_configured(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix("SELINUX="))?;
    Some(value.trim().to_ascii_lowercase())
}

fn bridges(files: &Files) -> Vec<String> {
    let interfaces = files.names("/sys/class/net").into_iter();
    interfaces.filter(|name| files.exists(&format!("/sys/class/net/{name}/bridge"))).collect()
}

fn nfs_mounts(files: &mut Files) -> Vec<NfsMount> {
    let mut mounts: Vec<NfsMount> = Vec::new();
    for file in ["/proc/mounts", "/etc/fstab"] {
        let text = files.read_and_keep(file).unwrap_or_default();
        for mount in text.lines().filter_map(|line| parse_mount(line, file)) {
            if !mounts.iter().any(|known| known.target == mount.target) {
                mounts.push(mount);
            }
        }
    }
    mounts
}

/// A line of fstab(5), which is also the form of /proc/mounts.
fn parse_mount(line: &str, file: &'static str) -> Option<NfsMount> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [source, target, kind, options, ..] = fields.as_slice() else { return None };
    let is_nfs = matches!(*kind, "nfs" | "nfs4") && !source.starts_with('#');
    // A file system that is not mounted at boot does no harm.
    let is_mounted = !(file == "/etc/fstab" && options.split(',').any(|option| option == "noauto"));
    (is_nfs && is_mounted).then(|| NfsMount {
        source: (*source).to_owned(),
        target: (*target).to_owned(),
        file,
    })
}

fn uptime(text: &str) -> Option<Duration> {
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nfs_in_mounts_and_fstab() {
        let mount = |line, file| parse_mount(line, file).map(|mount| mount.target);
        assert_eq!(mount("10.1.2.3:/x /mnt nfs4 rw 0 0", "/proc/mounts").as_deref(), Some("/mnt"));
        assert_eq!(mount("/dev/xvda1 / ext4 rw 0 0", "/proc/mounts"), None);
        assert_eq!(mount("#10.1.2.3:/x /mnt nfs defaults 0 0", "/etc/fstab"), None);
        assert_eq!(mount("10.1.2.3:/x /mnt nfs ro,noauto 0 0", "/etc/fstab"), None);
        assert_eq!(mount("", "/etc/fstab"), None);
    }

    #[test]
    fn uptimes() {
        assert_eq!(uptime("61.50 10.00\n"), Some(Duration::from_millis(61_500)));
        assert_eq!(uptime("-1"), None);
    }

    #[test]
    fn selinux() {
        assert_eq!(selinux_mode(Some("1")), Some(SelinuxMode::Enforcing));
        assert_eq!(
            (selinux_mode(Some("0\n")), selinux_mode(None)),
            (Some(SelinuxMode::Permissive), None)
        );
        let text = "# SELINUX=x\nSELINUX=Enforcing\nSELINUXTYPE=targeted\n";
        assert_eq!(selinux_configured(text).as_deref(), Some("enforcing"));
    }
}
