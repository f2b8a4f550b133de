//! `wait`: blocks until the automation is done, then runs COMMAND in its place.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, geteuid};

use super::once;
use crate::api::client::{Answer, Failure};
use crate::api::response;
use crate::clock::BootInstant;
use crate::coalesce::{self, Standing};
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::model::Goal;
use crate::model::Status;
use crate::model::{Format, Operation};
use crate::ratelimit::RESERVED_PERMITS;
use crate::region::Detected;
use crate::signals;
use crate::state::status_file::{self, NOT_RACKCONNECT};
use crate::systemd;
use crate::ui;
use crate::ui::output;
use crate::wait::{End, Heard, News, Policy, Question, Rested, Source, run as wait};
use crate::xenstore::{self, Snapshot, Watcher};

/// How often xenstore is looked at for a region that may still come.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Where programs are looked for if PATH is not set, as the shells do.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Waits, then prints the last word or becomes `program`.
pub fn run(settings: &Settings, program: &[OsString]) -> Result<Exit> {
    let (ok_if, through_failed) = settings.ok_if()?;
    let policy = Policy {
        goal: settings.goal()?,
        interval: settings.wait_interval()?,
        deadline: settings.wait_timeout()?.map(|timeout| BootInstant::now() + timeout),
        ok_if,
        through_failed,
        watched: ui::is_watched() && log::log_enabled!(log::Level::Info),
    };
    let path = program.first().map(|name| find(name)).transpose()?;
    if policy.watched {
        signals::tidy_up_first(ui::end_live_for_good)?;
    }

    let mut source = All { settings, policy, standing: None, watcher: Watcher::default() };
    source.connect()?;
    let (end, machine, sentence) = wait(&mut source, policy);
    let word = match (end, machine.gateway()) {
        (End::NotRackConnect(_), _) => NOT_RACKCONNECT.to_owned(),
        (_, Some(address)) => address.to_string(),
        _ => machine.status().map(|status| status.word().to_owned()).unwrap_or_default(),
    };
    let exit = exit(end);
    systemd::status(&sentence);
    match exit {
        Exit::Ok => log::info!("{sentence}"),
        _ => {
            log::error!("{sentence}");
            systemd::stopping();
        }
    }
    if exit == Exit::Ok
        && policy.goal == Goal::Deployed
        && geteuid().is_root()
        && let Err(why) = status_file::learn(
            &settings.state_dir()?,
            &status_file::Learned::Waited(word.clone()),
            None,
        )
    {
        log::warn!(
            "status.json does not say how this wait ended, and so the hooks do not see it: {why}"
        );
    }
    let Some(path) = path.filter(|_| exit == Exit::Ok) else {
        if program.is_empty()
            && !word.is_empty()
            && let Err(err) = output::line(&word)
        {
            // The outcome's own code stays.
            if exit == Exit::Ok {
                return Err(err);
            }
            log::error!("{err}");
        }
        // Not STOPPING=1 as well: with it systemd would forget RemainAfterExit=. COMMAND speaks for itself.
        if exit == Exit::Ok && program.is_empty() {
            systemd::ready();
        }
        return Ok(exit);
    };
    let region = settings.region()?.map(|(region, _)| region);
    signals::restore_inherited_mask();
    let become_it = |command: &mut Command| {
        command.args(&program[1..]).env("RACKCONNECT_STATUS", &word);
        if let Some(region) = region {
            command.env("RACKCONNECT_REGION", region.code());
        }
        command.exec()
    };
    let mut why = become_it(Command::new(&path).arg0(&program[0]));
    if why.raw_os_error() == Some(Errno::ENOEXEC as i32) {
        // A script without #!: execvp(3) has the shell run it, and so do all shells.
        why = become_it(Command::new("/bin/sh").arg(&path));
    }
    let path = path.display();
    Err(match why.kind() {
        // It was there before the wait.
        ErrorKind::NotFound => Error::new(
            Kind::CommandNotFound,
            format!(
                "{path}: {}",
                crate::hooks::runner::missing_interpreter(std::path::Path::new(&path.to_string()))
            ),
        ),
        _ => Error::new(Kind::CannotExecute, format!("{path} cannot be executed: {why}")),
    })
}

fn exit(end: End) -> Exit {
    match end {
        End::Reached
        | End::Failed(true)
        | End::Unprocessable(true)
        | End::NotRackConnect(true)
        | End::NotManaged(true)
        | End::ManagedFailed(true) => Exit::Ok,
        End::Failed(false) | End::ManagedFailed(false) => Exit::Failed,
        End::Unprocessable(false) | End::NotRackConnect(false) | End::NotManaged(false) => {
            Exit::NothingToWaitFor
        }
        End::DeadlinePassed => Exit::DeadlinePassed,
    }
}

/// Finds a program as a shell does, so that a slip of the pen shows before an hour of waiting and not after it.
fn find(name: &OsStr) -> Result<PathBuf> {
    if name.is_empty() {
        return Err(not_found(name));
    }
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return match executable(&path) {
            Some(true) => Ok(path),
            Some(false) => Err(cannot_execute(&path)),
            None => Err(not_found(name)),
        };
    }
    let folders = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let mut forbidden = None;
    for path in env::split_paths(&folders).map(|folder| folder.join(name)) {
        match executable(&path) {
            Some(true) => return Ok(path),
            Some(false) => forbidden = forbidden.or(Some(path)),
            None => {}
        }
    }
    Err(forbidden.map_or_else(|| not_found(name), |path| cannot_execute(&path)))
}

/// Whether this user may execute what is there, also as far as the mount is concerned; none if nothing is there.
fn executable(path: &Path) -> Option<bool> {
    let metadata = fs::metadata(path).ok()?;
    Some(metadata.is_file() && access(path, AccessFlags::X_OK).is_ok())
}

fn not_found(name: &OsStr) -> Error {
    Error::new(Kind::CommandNotFound, format!("COMMAND {name:?} was not found"))
}

fn cannot_execute(path: &Path) -> Error {
    Error::new(
        Kind::CannotExecute,
        format!(
            "COMMAND {} cannot be executed: it is no file that this user may execute",
            path.display()
        ),
    )
}

/// The API, those who ask it too, and what the server itself knows, as a source of statuses.
struct All<'a> {
    settings: &'a Settings<'a>,
    policy: Policy,
    /// None while it is not known whom to ask.
    standing: Option<Standing>,
    watcher: Watcher,
}

/// What is asked for a question.
fn asked(question: Question) -> (Operation, Format) {
    match question {
        Question::Status => (Operation::Status, Format::Text),
        Question::Gateway => (Operation::Gateway, Format::Text),
        Question::Tasks => (Operation::Details, Format::Json),
    }
}

impl All<'_> {
    /// Makes out whom to ask. In an early boot xenstore may be there but still empty: then it is looked at until the
    /// deadline. Comes back with nobody to ask if that passes, or if it turns out that there is none.
    fn connect(&mut self) -> Result<()> {
        let deadline = self.policy.deadline;
        let mut said = false;
        while !self.settings.has_endpoint()? {
            let mut nobody = || {
                self.watcher
                    .look(self.policy.deadline)
                    .is_some_and(|seen| seen.server.is_certainly_another())
            };
            let passed = deadline.is_some_and(|deadline| deadline <= BootInstant::now());
            match self.settings.look_for_region()? {
                Detected::Known(..) => break,
                _ if nobody() => return Ok(()),
                Detected::Unknown(_) => break,
                Detected::NotYet(_) if passed => return Ok(()),
                Detected::NotYet(why) => {
                    if !said {
                        log::info!("the region is not known yet: {why}: waiting for it");
                    }
                    said = true;
                    let again = BootInstant::now() + LOOK_AGAIN;
                    self.watcher.rest(deadline.map_or(again, |deadline| deadline.min(again)));
                }
            }
        }
        let client = once::client(self.settings, RESERVED_PERMITS)?;
        let (operation, format) = asked(match self.policy.goal {
            Goal::Deployed | Goal::Managed => Question::Status,
            Goal::Gateway => Question::Gateway,
        });
        self.standing = Some(Standing::new(
            client,
            operation,
            format,
            self.policy.interval,
            self.policy.deadline,
        ));
        Ok(())
    }
}

/// What came of a request, in the words of the wait; none for a request that is no question of a wait.
fn heard(standing: &Standing, heard: coalesce::Heard) -> Option<Heard> {
    let coalesce::Heard { operation, format, asked, reply } = heard;
    let question = [Question::Status, Question::Gateway, Question::Tasks]
        .into_iter()
        .find(|question| self::asked(*question) == (operation, format))?;
    let news = match standing.client().judge(operation, format, reply) {
        Err(failure) => News::Failure(failure),
        Ok(Answer::NotFound) => News::NotKnownYet,
        Ok(Answer::Body(bytes)) => match question {
            Question::Status => {
                response::status(&bytes, format).map(|status: Status| News::Status(status))
            }
            Question::Gateway => response::gateway(&bytes).map(News::Gateway),
            Question::Tasks => response::details(&bytes).map(|(_, tasks)| News::Tasks(tasks)),
        }
        .unwrap_or_else(|error| News::Failure(Failure::Error(error))),
    };
    Some(Heard { question, asked, news })
}

impl Source for All<'_> {
    fn ask(&mut self, question: Question, deadline: BootInstant) -> Heard {
        let (operation, format) = asked(question);
        let Some(standing) = &mut self.standing else {
            // The wait ends before it asks.
            let why = Error::new(Kind::NotYet, "it is not known yet which API to ask");
            return Heard {
                question,
                asked: BootInstant::now(),
                news: News::Failure(Failure::Error(why)),
            };
        };
        loop {
            let answer = standing.ask(operation, format, deadline, self.policy.watched);
            if let Some(heard) = heard(standing, answer) {
                return heard;
            }
        }
    }

    fn rest(&mut self, until: BootInstant) -> Rested {
        loop {
            if self.watcher.has_news() {
                return Rested::Look;
            }
            let Some(standing) = &mut self.standing else {
                return if self.watcher.rest(until) { Rested::Look } else { Rested::Nothing };
            };
            match standing.rest(until, self.watcher.wakeup()) {
                Some(answer) => match heard(standing, answer) {
                    Some(heard) => return Rested::Heard(heard),
                    None if BootInstant::now() >= until => return Rested::Nothing,
                    None => {}
                },
                None if self.watcher.has_news() => return Rested::Look,
                None if BootInstant::now() >= until => return Rested::Nothing,
                None => {}
            }
        }
    }

    fn look(&mut self) -> Option<Snapshot> {
        let seen = self.watcher.look(self.policy.deadline);
        // There is no other place where Managed Operations could say anything.
        let hint = || {
            (self.policy.goal == Goal::Managed && self.watcher.is_absent())
                .then(xenstore::managed_marker)
        };
        seen.or_else(hint)
    }

    fn want(&mut self, every: Duration) {
        if let Some(standing) = &mut self.standing {
            standing.want(every);
        }
    }
}
