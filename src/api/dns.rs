//! Name look-ups: only in order to dial, never longer than allowed, and the last good addresses where one fails.
//!
//! getaddrinfo cannot be given a deadline, so a look-up runs in a thread. One that outlasts its deadline is not
//! abandoned for another: the next dial goes on waiting for it if it still runs, so that a dead DNS never costs more than
//! one thread.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use crate::clock::BootInstant;
use crate::state::file::{self, Links};

/// musl's resolver needs some 10 KB of stack.
const STACK: usize = 128 * 1024;

type Outcome = Result<Vec<SocketAddr>, String>;

/// Looks one name up, again and again.
#[derive(Debug, Default)]
pub struct Lookup {
    last_good: Mutex<Vec<SocketAddr>>,
    under_way: Mutex<Option<Receiver<Outcome>>>,
}

impl Lookup {
    /// The addresses of `host`, by `deadline`. Where there are addresses from an earlier time, they serve after
    /// `patience`.
    ///
    /// # Errors
    /// Why there is no address.
    pub fn addresses(
        &self,
        host: &str,
        port: u16,
        patience: Duration,
        deadline: BootInstant,
    ) -> Outcome {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let mut last_good = self.last_good.lock().expect("no panic under this lock");
        let mut allowed = deadline.since(BootInstant::now());
        if !last_good.is_empty() {
            allowed = allowed.min(patience);
        }
        match self.look_up(host, port, allowed) {
            Ok(addresses) => {
                last_good.clone_from(&addresses);
                Ok(addresses)
            }
            Err(why) if last_good.is_empty() => Err(why),
            Err(why) => {
                log::debug!("{why}; using the addresses of the last look-up");
                Ok(last_good.clone())
            }
        }
    }

    fn look_up(&self, host: &str, port: u16, allowed: Duration) -> Outcome {
        let mut under_way = self.under_way.lock().expect("no panic under this lock");
        let receiver = match under_way.take() {
            // What has ended in the meantime may be long out of date.
            Some(receiver) if matches!(receiver.try_recv(), Err(TryRecvError::Empty)) => receiver,
            _ => start(host.to_owned(), port)?,
        };
        match receiver.recv_timeout(allowed) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => {
                *under_way = Some(receiver);
                Err(format!("no answer to the look-up of {host} in time (DNS)"))
            }
            Err(RecvTimeoutError::Disconnected) => Err(format!("the look-up of {host} broke off")),
        }
    }
}

/// Where the system names its resolvers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The most that is read of it.
const MAX_RESOLV_CONF_BYTES: u64 = 64 * 1024;

/// Whether a resolv.conf says `attempts:0`: musl's resolver divides by that number, which ends the
/// program with SIGFPE. musl reads it as strtoul does, wherever it stands in an options line.
fn has_zero_attempts(text: &str) -> bool {
    let options = text.lines().filter(|line| line.starts_with("options"));
    options.flat_map(|line| line.split("attempts:").skip(1)).any(|rest| {
        let digits = rest.trim_start_matches([' ', '\t', '+']);
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        // Without a digit musl ignores the option.
        end > 0 && digits[..end].bytes().all(|digit| digit == b'0')
    })
}

/// Refuses a resolv.conf that would end the program.
fn check_resolv_conf() -> Result<(), String> {
    let text = file::read(Path::new(RESOLV_CONF), MAX_RESOLV_CONF_BYTES, Links::Follow);
    match text {
        Ok(bytes) if has_zero_attempts(&String::from_utf8_lossy(&bytes)) => {
            Err(format!("{RESOLV_CONF} has \"attempts:0\", so no name can be looked up; remove it"))
        }
        // What is not a file cannot be read by the resolver either, which then asks 127.0.0.1.
        _ => Ok(()),
    }
}

fn start(host: String, port: u16) -> Result<Receiver<Outcome>, String> {
    check_resolv_conf()?;
    let (sender, receiver) = channel();
    let run = move || {
        let outcome = match (host.as_str(), port).to_socket_addrs() {
            Ok(addresses) => Ok(addresses.collect::<Vec<_>>()),
            Err(why) => Err(format!("cannot look up {host}: {}", plain(&why.to_string()))),
        };
        let outcome = outcome.and_then(|addresses| match addresses.is_empty() {
            true => Err(format!("{host} has no address")),
            false => Ok(addresses),
        });
        // Nobody listens any more when the program has ended the wait for it.
        let _ = sender.send(outcome);
    };
    thread::Builder::new()
        .name("look-up".to_owned())
        .stack_size(STACK)
        .spawn(run)
        .map_err(|why| format!("cannot start a thread for the name look-up: {why}"))?;
    Ok(receiver)
}

/// std's prefix says nothing that the sentence does not.
fn plain(why: &str) -> &str {
    why.strip_prefix("failed to lookup address information: ").unwrap_or(why)
}

#[cfg(test)]
mod tests {
    use super::has_zero_attempts;

    /// `options attempts:0` ended every command that looks a name up with SIGFPE.
    #[test]
    fn zero_attempts_are_noticed_as_musl_reads_them() {
        for text in [
            "options attempts:0\n",
            "nameserver 1.1.1.1\noptions timeout:1 attempts:00",
            "options attempts:0x",
            "options rotate attempts:0 timeout:1\n",
        ] {
            assert!(has_zero_attempts(text), "{text}");
        }
        for text in [
            "",
            "options attempts:1",
            "options attempts:10",
            "# options attempts:0",
            "options attempts:",
        ] {
            assert!(!has_zero_attempts(text), "{text}");
        }
    }
}
