//! Whose process this is.

use std::sync::OnceLock;

use nix::unistd::{Uid, geteuid};

/// The effective user of this process, which never changes it: the kernel is asked once.
pub fn effective_uid() -> Uid {
    static UID: OnceLock<Uid> = OnceLock::new();
    *UID.get_or_init(geteuid)
}
