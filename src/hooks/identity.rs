//! What tells one deployment of a server from another: the ids that cloud-init, the hypervisor and the system give it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Where cloud-init says which instance it set up at this boot.
const CLOUD_INIT_RUN: &str = "run/cloud-init/.instance-id";
/// Where older ones say so. Left over in an image whose cloud-init is no longer run: see [`cloud_init`].
const CLOUD_INIT_LIB: &str = "var/lib/cloud/data/instance-id";
/// cloud-init's folder of this boot, and its word that it does not run.
const CLOUD_INIT_RUNS: (&str, &str) = ("run/cloud-init", "run/cloud-init/disabled");
/// The id that cloud-init gives wherever it found no datasource: it tells nothing.
const NO_DATASOURCE: &str = "iid-datasource-none";
/// SMBIOS type 1, UUID; readable by root. Source: Linux, Documentation/ABI/testing/sysfs-firmware-dmi.
const DMI: &str = "sys/class/dmi/id/product_uuid";
/// A paravirtualised Xen guest has no DMI. Source: Linux, Documentation/ABI/stable/sysfs-hypervisor-xen.
const XEN: &str = "sys/hypervisor/uuid";
/// machine-id(5).
const MACHINE: &str = "etc/machine-id";

/// No id comes near this many bytes.
const LIMIT: u64 = 512;

/// The ids of a server, the most telling first, each with what it is.
pub type Ids = Vec<(String, String)>;

/// Reads the ids below `root`, which is `/` but for tests.
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

fn cloud_init(root: &Path) -> Option<String> {
    let (folder, disabled) = CLOUD_INIT_RUNS;
    let runs = root.join(folder).exists() && !root.join(disabled).exists();
    let id = id(root, CLOUD_INIT_RUN).or_else(|| id(root, CLOUD_INIT_LIB).filter(|_| runs));
    id.filter(|id| id != NO_DATASOURCE)
}

fn id(root: &Path, path: &str) -> Option<String> {
    let mut text = String::new();
    File::open(root.join(path)).ok()?.take(LIMIT).read_to_string(&mut text).ok()?;
    let id = text.trim();
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
    fn the_most_telling_first() {
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
    fn what_a_cloud_init_of_before_left_behind_tells_nothing() {
        assert_eq!(server(&[(CLOUD_INIT_LIB, "i-1")]), [""; 0]);
        assert_eq!(server(&[(CLOUD_INIT_LIB, "i-1"), ("run/cloud-init/disabled", "")]), [""; 0]);
        assert_eq!(
            server(&[(CLOUD_INIT_LIB, "i-1"), ("run/cloud-init/status.json", "")]),
            ["cloud-init i-1"]
        );
        assert_eq!(server(&[(CLOUD_INIT_RUN, "iid-datasource-none\n")]), [""; 0]);
        assert_eq!(
            server(&[(CLOUD_INIT_RUN, "two words"), (MACHINE, &"x".repeat(600))]),
            [format!("machine-id {}", "x".repeat(512))]
        );
    }
}
