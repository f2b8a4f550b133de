//! `wait`: blocks until the automation is done, then runs COMMAND in its place.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::once;
use crate::api::client::{Answer, Failure};
use crate::api::status::Status;
use crate::api::{Format, Operation, body};
use crate::budget::RESERVE;
use crate::clock::Moment;
use crate::error::{Error, Kind, Result};
use crate::exit::Exit;
use crate::notify;
use crate::output;
use crate::settings::Settings;
use crate::share::{self, Standing};
use crate::signals;
use crate::term;
use crate::wait::{End, Goal, Heard, News, Policy, Question, Source, run as wait};

/// Where programs are looked for if PATH is not set, as the shells do.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Waits, then prints the last word or becomes `program`.
pub fn run(settings: &Settings, program: &[OsString]) -> Result<Exit> {
    let (ok_if, through_failed) = settings.ok_if()?;
    let policy = Policy {
        goal: settings.goal()?,
        interval: settings.wait_interval()?,
        deadline: settings.wait_timeout()?.map(|timeout| Moment::now() + timeout),
        ok_if,
        through_failed,
        watched: term::is_watched() && log::log_enabled!(log::Level::Info),
    };
    let region = settings.region()?.map(|(region, _)| region);
    let client = once::client(settings, RESERVE)?;
    let (operation, format) = asked(match policy.goal {
        Goal::Deployed => Question::Status,
        Goal::Gateway => Question::Gateway,
    });
    let standing = Standing::new(client, operation, format, policy.interval);
    let path = program.first().map(|name| find(name)).transpose()?;
    if policy.watched {
        signals::tidy_up_first(term::end_live_for_good)?;
    }

    let (end, machine, sentence) = wait(&mut Api { standing, watched: policy.watched }, policy);

    let word = machine
        .gateway()
        .map(|address| address.to_string())
        .or_else(|| machine.status().map(|status| status.word().to_owned()))
        .unwrap_or_default();
    let exit = exit(end);
    notify::status(&sentence);
    match exit {
        Exit::Ok => log::info!("{sentence}"),
        _ => {
            log::error!("{sentence}");
            notify::stopping();
        }
    }
    let Some(path) = path.filter(|_| exit == Exit::Ok) else {
        if program.is_empty() && !word.is_empty() {
            output::line(&word)?;
        }
        // Not STOPPING=1 as well: with it systemd would forget RemainAfterExit=. COMMAND speaks for itself.
        if exit == Exit::Ok && program.is_empty() {
            notify::ready();
        }
        return Ok(exit);
    };
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
        ErrorKind::NotFound => {
            Error::new(Kind::CommandNotFound, format!("{path} is gone, or its interpreter (#!) is not there: {why}"))
        }
        _ => Error::new(Kind::CannotExecute, format!("{path} cannot be executed: {why}")),
    })
}

fn exit(end: End) -> Exit {
    match end {
        End::Reached | End::Failed(true) | End::Unprocessable(true) => Exit::Ok,
        End::Failed(false) => Exit::Failed,
        End::Unprocessable(false) => Exit::NothingToWaitFor,
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
        format!("COMMAND {} cannot be executed: it is no file that this user may execute", path.display()),
    )
}

/// The API, and those who ask it too, as a source of statuses.
struct Api {
    standing: Standing,
    /// Whether a person watches, and wants to see the tasks.
    watched: bool,
}

/// What is asked for a question.
fn asked(question: Question) -> (Operation, Format) {
    match question {
        Question::Status => (Operation::Status, Format::Text),
        Question::Gateway => (Operation::Gateway, Format::Text),
        Question::Tasks => (Operation::Details, Format::Json),
    }
}

impl Api {
    /// What came of a request, in the words of the wait; none for a request that is no question of a wait.
    fn heard(&self, heard: share::Heard) -> Option<Heard> {
        let share::Heard { operation, format, asked, reply } = heard;
        let question = [Question::Status, Question::Gateway, Question::Tasks]
            .into_iter()
            .find(|question| self::asked(*question) == (operation, format))?;
        let news = match self.standing.client().judge(operation, format, reply) {
            Err(failure) => News::Failure(failure),
            Ok(Answer::NotFound) => News::NotKnownYet,
            Ok(Answer::Body(bytes)) => match question {
                Question::Status => body::status(&bytes, format).map(|status: Status| News::Status(status)),
                Question::Gateway => body::gateway(&bytes).map(News::Gateway),
                Question::Tasks => body::details(&bytes).map(|(_, tasks)| News::Tasks(tasks)),
            }
            .unwrap_or_else(|error| News::Failure(Failure::Error(error))),
        };
        Some(Heard { question, asked, news })
    }
}

impl Source for Api {
    fn ask(&mut self, question: Question, deadline: Moment) -> Heard {
        let (operation, format) = asked(question);
        loop {
            let heard = self.standing.ask(operation, format, deadline, self.watched);
            if let Some(heard) = self.heard(heard) {
                return heard;
            }
        }
    }

    fn rest(&mut self, until: Moment) -> Option<Heard> {
        self.standing.rest(until).and_then(|heard| self.heard(heard))
    }
}
