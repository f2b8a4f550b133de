//! The identity of a deployment: the ids that cloud-init, the hypervisor and the system give to a
//! server.

use std::path::Path;

use crate::state::file::{self, Links};

/// The id of the instance, written by cloud-init in this boot.
const CLOUD_INIT_RUN: &str = "run/cloud-init/.instance-id";
/// The same, written by older versions. It may be left over in an image: see [`cloud_init`].
const CLOUD_INIT_LIB: &str = "var/lib/cloud/data/instance-id";
/// The directory that cloud-init creates in each boot in which it runs.
const CLOUD_INIT_STATE: &str = "run/cloud-init";
/// The file that says that cloud-init does not run.
const CLOUD_INIT_DISABLED: &str = "run/cloud-init/disabled";
/// The id that cloud-init gives to every server without a datasource.
const NO_DATASOURCE: &str = "iid-datasource-none";
/// SMBIOS type 1, UUID; readable only by root. Source: Linux,
/// Documentation/ABI/testing/sysfs-firmware-dmi.
const DMI: &str = "sys/class/dmi/id/product_uuid";
/// The UUID of a paravirtualised Xen guest, which has no DMI. Source: Linux,
/// Documentation/ABI/stable/sysfs-hypervisor-xen.
const XEN: &str = "sys/hypervisor/uuid";
/// The id of the installation: machine-id(5).
const MACHINE: &str = "etc/machine-id";

/// The largest file that is read. (Files in sysfs have this size, whatever they hold.)
const MAX_ID_BYTES: u64 = 4096;

/// The ids of a server, each with its kind, the most specific first.
pub type Ids = Vec<(String, String)>;

/// Reads the ids below `root`, which is `/` except in tests.
pub fn read(root: &Path) -> Ids {
    let uuid = |path| {
        id(root, path)
            .filter(|id| id.bytes().any(|byte| !matches!(byte, b'0' | b'f' | b'F' | b'-')))
    };
    let ids = [
        ("cloud-init", cloud_init(root)),
        ("dmi", uuid(DMI)),
        ("xen", uuid(XEN)),
        ("machine-id", uuid(MACHINE)),
    ];
    ids.into_iter()
        .filter_map(|(kind, id)| Some((kind.to_owned(), id?.to_ascii_lowercase())))
        .collect()
}

/// cloud-init's id. In the older place it counts only if cloud-init runs in this boot.
fn cloud_init(root: &Path) -> Option<String> {
    let runs = root.join(CLOUD_INIT_STATE).exists() && !root.join(CLOUD_INIT_DISABLED).exists();
    let id = id(root, CLOUD_INIT_RUN).or_else(|| id(root, CLOUD_INIT_LIB).filter(|_| runs));
    id.filter(|id| id != NO_DATASOURCE)
}

fn id(root: &Path, path: &str) -> Option<String> {
    let text = file::read(&root.join(path), MAX_ID_BYTES, Links::Follow).ok()?;
    let id = std::str::from_utf8(&text).ok()?.trim();
    (!id.is_empty() && !id.contains(char::is_whitespace)).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn server(files: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        read(root.path()).into_iter().map(|(kind, id)| format!("{kind} {id}")).collect()
    }

    #[test]
    fn the_most_specific_id_comes_first() {
        assert_eq!(server(&[]), [""; 0]);
        assert_eq!(
            server(&[
                (MACHINE, "5f\n"),
                (DMI, "4C4C4544-0042\n"),
                (XEN, "00000000-0000\n"),
                (CLOUD_INIT_RUN, "i-1\n"),
                (CLOUD_INIT_LIB, "i-old\n")
            ]),
            ["cloud-init i-1", "dmi 4c4c4544-0042", "machine-id 5f"]
        );
        assert_eq!(server(&[(XEN, "7b-1\n"), (MACHINE, "")]), ["xen 7b-1"]);
    }

    #[test]
    fn a_leftover_id_of_cloud_init_is_ignored() {
        assert_eq!(server(&[(CLOUD_INIT_LIB, "i-1")]), [""; 0]);
        assert_eq!(server(&[(CLOUD_INIT_LIB, "i-1"), ("run/cloud-init/disabled", "")]), [""; 0]);
        assert_eq!(
            server(&[(CLOUD_INIT_LIB, "i-1"), ("run/cloud-init/status.json", "")]),
            ["cloud-init i-1"]
        );
        assert_eq!(server(&[(CLOUD_INIT_RUN, "iid-datasource-none\n")]), [""; 0]);
        assert_eq!(
            server(&[(CLOUD_INIT_RUN, "two words"), (MACHINE, &"x".repeat(600))]),
            [format!("machine-id {}", "x".repeat(600))]
        );
    }
}
