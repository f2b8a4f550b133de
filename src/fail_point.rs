//! Fail points: named points in the code where a test can pause the process.
//!
//! Debug builds only: in the shipped program a fail point is an empty function.

/// Pauses the process if `RACKCONNECT_FAIL_POINT` is `NAME=PATH` and NAME is `name`, until the test
/// that listens on the socket PATH closes the connection.
#[cfg(debug_assertions)]
pub fn reach(name: &str) {
    use std::io::Read;
    let Ok(wanted) = std::env::var("RACKCONNECT_FAIL_POINT") else { return };
    let Some((wanted, path)) = wanted.split_once('=') else { return };
    if wanted == name
        && let Ok(mut test) = std::os::unix::net::UnixStream::connect(path)
    {
        let _ = test.read_to_end(&mut Vec::new());
    }
}

/// Does nothing.
#[cfg(not(debug_assertions))]
pub fn reach(_: &str) {}
