//! The state directory: where the window is kept, so that all processes of the server share it.
//!
//! root makes the directory (0755) and the budget in it (0666: whoever can ask can use up the limit, so whoever can ask
//! may say so). Everybody else opens it without O_CREAT, which `fs.protected_regular` would forbid in some folders even
//! to root. In a directory of one's own one is one's own root. Nothing is opened through a symbolic link, and nothing
//! that is neither root's nor one's own.
//!
//! The budget is locked (flock) for the microseconds of a read and a write. The lock goes with its holder, whatever
//! becomes of him. Anybody who can open the file can hold it, so nobody waits for it longer than a second at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use super::codec::{self, BootId};
use super::window::Window;
use crate::clock::BootInstant;
use crate::state::lock::{LockAttempt, try_exclusive};

/// The name of the budget.
const BUDGET: &str = "budget";

/// The name of what is locked while another file is made or replaced.
const LOCK: &str = "lock";

/// How long to wait for a lock at a time.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Where the kernel says which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The boot id as the kernel writes it.
pub fn boot_id() -> Option<String> {
    fs::read_to_string(BOOT_ID).ok().map(|text| text.trim().to_owned())
}

/// Why the shared window is of no use now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Useless {
    /// Whether all that is wrong is that somebody holds the lock.
    pub is_locked: bool,
    /// A sentence.
    pub why: String,
}

impl Useless {
    fn new(why: impl Into<String>) -> Useless {
        Useless { is_locked: false, why: why.into() }
    }

    /// What a lock that is not to be had comes to.
    fn not_locked(why: Errno) -> Useless {
        match why {
            Errno::EWOULDBLOCK => {
                Useless { is_locked: true, why: "is kept locked by another process".to_owned() }
            }
            why => Useless::new(format!("cannot be locked: {why}")),
        }
    }
}

/// The state directory, open.
pub struct Folder {
    file: File,
    /// Whether it is one's own, and files may be made in it.
    own: bool,
}

impl Folder {
    /// Opens it, or makes it.
    ///
    /// # Errors
    /// The end of a sentence that says why it is of no use.
    pub fn open(path: &Path) -> Result<Folder, String> {
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits());
            options.open(path)
        };
        let wrong = |why: &str| format!("{} {why}", path.display());
        let file = match open() {
            Err(why) if why.kind() == ErrorKind::NotFound => {
                let made = DirBuilder::new().mode(0o755).create(path);
                let file = made
                    .and_then(|()| open())
                    .map_err(|why| wrong(&format!("cannot be made: {why}")))?;
                // Others are to find their way in, whatever the umask.
                let _ = file.set_permissions(Permissions::from_mode(0o755));
                file
            }
            opened => opened.map_err(|why| wrong(&format!("cannot be opened: {why}")))?,
        };
        let metadata = file.metadata().map_err(|why| wrong(&why.to_string()))?;
        let uid = geteuid().as_raw();
        if metadata.uid() != 0 && metadata.uid() != uid {
            return Err(wrong(&format!("belongs to user {}", metadata.uid())));
        }
        if metadata.mode() & if uid == 0 { 0o022 } else { 0o002 } != 0 {
            return Err(wrong("can be written by others"));
        }
        Ok(Folder { file, own: metadata.uid() == uid })
    }

    fn open_file(&self, name: &str, flags: OFlag, mode: u32) -> Result<File, Errno> {
        // O_NONBLOCK: a FIFO in its place must not block.
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        openat(&self.file, name, flags, Mode::from_bits_truncate(mode)).map(File::from)
    }

    /// Keeps others from replacing files at the same time. The file is for the owner of the directory alone to open: a
    /// lock on the directory itself could be held by anybody.
    fn lock(&self) -> Result<File, Errno> {
        let file = self.open_file(LOCK, OFlag::O_RDWR | OFlag::O_CREAT, 0o600)?;
        usable(&file).map_err(|_| Errno::EPERM)?;
        lock(file)
    }

    /// Replaces a file as a whole. It is not synced: no state outlives a crash of the server.
    ///
    /// # Errors
    /// As the kernel says.
    fn replace(&self, name: &str, content: &[u8], mode: u32) -> io::Result<()> {
        let temporary = format!(".{name}.new");
        let _ = unlinkat(&self.file, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        let mut file =
            self.open_file(&temporary, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL, 0o600)?;
        let written = file
            .write_all(content)
            .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
            .and_then(|()| Ok(renameat(&self.file, temporary.as_str(), &self.file, name)?));
        if written.is_err() {
            let _ = unlinkat(&self.file, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    /// Replaces a file by what `content` makes of the old one (nothing, if it cannot be read or is not one's own).
    ///
    /// # Errors
    /// Why it is not replaced.
    pub fn rewrite(
        &self,
        name: &str,
        limit: u64,
        mode: u32,
        content: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Result<(), String> {
        if !self.own {
            return Err("the directory is not one's own".to_owned());
        }
        let _lock = self.lock().map_err(|why| format!("{LOCK} cannot be locked: {why}"))?;
        let mut old = Vec::new();
        if let Ok(file) = self.open_file(name, OFlag::O_RDONLY, 0)
            && usable(&file).is_ok()
        {
            let _ = file.take(limit).read_to_end(&mut old);
        }
        self.replace(name, &content(&old), mode).map_err(|why| why.to_string())
    }

    /// Opens the budget, or makes it.
    fn budget(&self, boot: &BootId) -> Result<File, Useless> {
        let opened = |file: Result<File, Errno>| {
            file.map_err(|why| Useless::new(format!("cannot be opened: {why}")))
        };
        let open = || self.open_file(BUDGET, OFlag::O_RDWR, 0);
        match open() {
            Err(Errno::ENOENT) if self.own => {}
            Err(Errno::ENOENT) => {
                return Err(Useless::new("does not exist yet, and is for root to make"));
            }
            file => return opened(file),
        }
        // Of several that make it at once, the lock lets one do so: nobody replaces a budget that others have already used.
        let _lock = self.lock().map_err(Useless::not_locked)?;
        match open() {
            Err(Errno::ENOENT) => {}
            file => return opened(file),
        }
        let mode = if geteuid().is_root() { 0o666 } else { 0o600 };
        let new = codec::encode(&Window::default(), boot);
        self.replace(BUDGET, &new, mode)
            .map_err(|why| Useless::new(format!("cannot be made: {why}")))?;
        opened(open())
    }
}

/// Whether a file is what it has to be.
fn usable(file: &File) -> Result<fs::Metadata, String> {
    let metadata = file.metadata().map_err(|why| why.to_string())?;
    match metadata {
        _ if !metadata.is_file() => Err("is no regular file".to_owned()),
        _ if metadata.uid() != 0 && metadata.uid() != geteuid().as_raw() => {
            Err(format!("belongs to user {}", metadata.uid()))
        }
        _ if metadata.nlink() > 1 => Err("has other names, too".to_owned()),
        _ => Ok(metadata),
    }
}

/// flock knows no timeout, so it is tried again and again.
///
/// # Errors
/// EWOULDBLOCK: somebody held it all the time.
fn lock(file: File) -> Result<File, Errno> {
    let give_up = BootInstant::now() + PATIENCE;
    let mut pause = Duration::from_micros(200);
    loop {
        match try_exclusive(&file) {
            Ok(LockAttempt::Held) => return Ok(file),
            Ok(LockAttempt::Taken) => {}
            Err(err) => return Err(Errno::from_raw(err.raw_os_error().unwrap_or(libc::EIO))),
        }
        if BootInstant::now() >= give_up {
            return Err(Errno::EWOULDBLOCK);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// The window that all processes share, and what this one remembers of it.
pub struct Store {
    folder: PathBuf,
    boot: Option<BootId>,
    /// Which file the window was last seen in.
    seen: Option<(u64, u64)>,
    /// What it was then: if the file is deleted, what is still known goes into the next one.
    known: Window,
}

impl Store {
    /// The store in that directory. Nothing is opened before it is needed.
    pub fn new(folder: PathBuf) -> Store {
        // A limit for the size of files (RLIMIT_FSIZE) is to be an error like any other, not the end.
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let _ = signal_hook::flag::register(nix::libc::SIGXFSZ, Arc::default());
        });
        let boot = boot_id().and_then(|text| codec::boot_id(&text));
        Store { folder, boot, seen: None, known: Window::default() }
    }

    /// Lets `act` look at the window and change it, at the moment that it is given, with nobody else doing so.
    ///
    /// # Errors
    /// Why the state is of no use.
    pub fn with<R>(
        &mut self,
        act: impl FnOnce(&mut Window, BootInstant) -> R,
    ) -> Result<R, Useless> {
        let boot = self.boot.ok_or_else(|| Useless::new(format!("{BOOT_ID} cannot be read")))?;
        let name = format!("{}/{BUDGET}", self.folder.display());
        let useless = |found: Useless| Useless { why: format!("{name} {}", found.why), ..found };
        let wrong = |why: String| useless(Useless::new(why));
        // It may be deleted or replaced between the opening and the lock.
        for _ in 0..3 {
            let folder = Folder::open(&self.folder).map_err(Useless::new)?;
            let file = folder.budget(&boot).map_err(useless)?;
            let file = lock(file).map_err(Useless::not_locked).map_err(useless)?;
            let metadata = usable(&file).map_err(wrong)?;
            if metadata.nlink() == 0 {
                continue;
            }
            let (mut bytes, mut corrupt) = (Vec::new(), None);
            (&file)
                .take(codec::MOST as u64 + 1)
                .read_to_end(&mut bytes)
                .map_err(|why| wrong(why.to_string()))?;
            let now = BootInstant::now();
            let mut window = match codec::decode(&bytes, &boot, now) {
                Ok(window) => window.unwrap_or_default(),
                Err(why) => {
                    corrupt = Some(why);
                    Window::unknown(now)
                }
            };
            let identity = (metadata.dev(), metadata.ino());
            if self.seen.is_some_and(|seen| seen != identity) {
                window.merge(&self.known, now);
            }
            let result = act(&mut window, now);
            let record = codec::encode(&window, &boot);
            if record[..] != bytes[..] {
                let written = match bytes.len() <= codec::SIZE {
                    true => Ok(()),
                    false => file.set_len(codec::SIZE as u64),
                };
                let written = written.and_then(|()| file.write_all_at(&record, 0));
                written.map_err(|why| wrong(format!("cannot be written: {why}")))?;
            }
            if let Some(why) = corrupt {
                log::warn!(
                    "{name} was corrupt ({why}), and is begun anew: nobody asks for a minute"
                );
            }
            self.seen = Some(identity);
            self.known = window;
            return Ok(result);
        }
        Err(wrong("is replaced again and again".to_owned()))
    }
}
