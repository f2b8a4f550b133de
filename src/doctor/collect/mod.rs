//! Collects the evidence. The collectors run side by side, each in a thread. Evidence that is not
//! there by the deadline counts as "no answer". Nothing is changed.

mod accounts;
mod agent;
mod api;
mod command;
mod files;
mod firewall;
mod kernel;
mod path;
mod processes;
mod server;
mod sshd;
mod subject;
mod system;

use std::sync::mpsc::{SendError, Sender, channel};
use std::thread;

use nix::unistd::geteuid;

pub(crate) use path::ApiAccess;
pub(crate) use subject::Subject;

use super::checks::is_another_server;
use super::evidence::{Evidence, RawEvidence, Unread};
use crate::clock::BootInstant;
use files::Files;
use subject::Addition;

/// Collects one part.
type Collector = Box<dyn FnOnce(&Subject, &mut Files) -> Addition + Send>;

/// What a thread does.
type Job = Box<dyn FnOnce() + Send>;

/// Collects everything. `api`: the API, or why it cannot be asked.
pub(crate) fn collect(subject: &Subject, api: Result<ApiAccess, Unread>) -> Evidence {
    let mut evidence = Evidence::awaited(subject.deadline.since(subject.started));
    evidence.is_root = geteuid().is_root();
    evidence.region.clone_from(&subject.region);
    evidence.is_configured = subject.is_configured;
    evidence.settings.clone_from(&subject.settings);
    evidence.broken_settings.clone_from(&subject.broken_settings);
    let (sender, receiver) = channel();
    start(&sender, subject, kernel::collect);
    start(&sender, subject, sshd::collect);
    start(&sender, subject, accounts::collect);
    start(&sender, subject, system::collect);
    start(&sender, subject, firewall::collect);
    start(&sender, subject, processes::collect);
    start(&sender, subject, agent::collect);
    // The kind of the server decides whether the API is asked at all.
    let mut files = Files::below(subject.root.clone());
    server::collect(subject, &mut files)(&mut evidence);
    keep_in_order(&mut evidence.raw, files.into_raw());
    match api {
        Err(unread) => {
            evidence.path = Err(unread.clone());
            evidence.api = Err(unread);
        }
        Ok(_) if is_another_server(&evidence) => {
            let unread = Unread::NotTried("this is no RackConnect v2 server".to_owned());
            evidence.path = Err(unread.clone());
            evidence.api = Err(unread);
        }
        Ok(ApiAccess { session, path }) => {
            let endpoint = path.endpoint.to_string();
            start(&sender, subject, move |subject, files| {
                api::collect(subject, files, session, endpoint)
            });
            start(&sender, subject, move |subject, _| path::collect(subject, &path));
        }
    }
    drop(sender);
    // Ends when every collector has, or at the deadline.
    while let Ok(addition) = receiver.recv_timeout(subject.deadline.since(BootInstant::now())) {
        addition(&mut evidence);
    }
    evidence
}

/// Adds to the texts for the report, in the order of the titles.
fn keep_in_order(kept: &mut Vec<RawEvidence>, more: Vec<RawEvidence>) {
    for one in more {
        let is_later = |other: &RawEvidence| other.title > one.title;
        let place = kept.iter().position(is_later).unwrap_or(kept.len());
        kept.insert(place, one);
    }
}

/// Starts a collector, which is abandoned if it does not end in time.
fn start(
    sender: &Sender<Addition>,
    subject: &Subject,
    collector: impl FnOnce(&Subject, &mut Files) -> Addition + Send + 'static,
) {
    start_boxed(sender, subject, Box::new(collector));
}

/// The same, without generic parameters, so that it is compiled once.
fn start_boxed(sender: &Sender<Addition>, subject: &Subject, collector: Collector) {
    let (sender, subject) = (sender.clone(), subject.clone());
    run_beside(Box::new(move || {
        let mut files = Files::below(subject.root.clone());
        let addition = collector(&subject, &mut files);
        let raw: Vec<RawEvidence> = files.into_raw();
        // The receiver is gone after the deadline.
        let _ = sender.send(Box::new(move |evidence: &mut Evidence| {
            keep_in_order(&mut evidence.raw, raw);
            addition(evidence);
        }));
    }));
}

/// Runs a job in a thread or, if there can be no other thread, at once.
fn run_beside(job: Job) {
    let (sender, receiver) = channel();
    // Without the thread, the receiver is gone.
    let _ = thread::Builder::new().spawn(move || receiver.recv().map(|job: Job| job()));
    if let Err(SendError(job)) = sender.send(job) {
        job();
    }
}
