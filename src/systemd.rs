//! Notifications to systemd (sd_notify(3)): datagrams to the socket that NOTIFY_SOCKET names. A
//! failure is logged, never fatal.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::ui::escape_control;

/// The service is up.
pub fn ready() {
    notify("READY=1");
}

/// The service is stopping.
pub fn stopping() {
    notify("STOPPING=1");
}

/// Sets the line that describes what the service is doing.
pub fn status(line: &str) {
    notify(&format!("STATUS={}", escape_control(line)));
}

fn notify(message: &str) {
    let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    match send(&name, message) {
        Ok(()) => log::debug!("notified systemd: {message}"),
        Err(err) => {
            log::debug!("cannot notify systemd ({message}) at NOTIFY_SOCKET {name:?}: {err}");
        }
    }
}

fn send(name: &OsStr, message: &str) -> io::Result<()> {
    let address = match name.as_bytes() {
        // The name of an abstract socket.
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A systemd that does not read must not delay this process.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_an_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("rackconnect-test-{}", std::process::id());
        let abstractly =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap())
                .unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        send(OsStr::new(&format!("@{name}")), "STATUS=x").unwrap();
        let mut buffer = [0; 100];
        assert_eq!(
            at_path.recv(&mut buffer).map(|length| buffer[..length].to_vec()).unwrap(),
            b"READY=1"
        );
        assert_eq!(
            abstractly.recv(&mut buffer).map(|length| buffer[..length].to_vec()).unwrap(),
            b"STATUS=x"
        );
        assert!(send(OsStr::new("/nowhere/at/all"), "READY=1").is_err());
    }
}
