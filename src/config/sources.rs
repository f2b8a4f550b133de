//! The sources of a setting: flag, then environment, then configuration file.
//!
//! `cli::options` says which flag, variable and key give it, and how it is parsed.

use std::env;
use std::path::{Path, PathBuf};

use super::file;
use super::origin::{Origin, Setting};
use crate::cli::options::{self, AnyOption, OptionSpec, ValueOption};
use crate::cli::{Arguments, Command, OPTIONS, option_specs};
use crate::error::{Error, Result};

/// What to do about a value that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnError {
    /// It is a usage error.
    Fail,
    /// It is ignored, with a warning.
    Ignore,
}

/// All sources of the settings of one command.
pub struct Sources<'a> {
    arguments: &'a Arguments,
    file: PathBuf,
    entries: Vec<file::Entry>,
    on_error: OnError,
}

impl<'a> Sources<'a> {
    /// Reads the configuration file, and checks all values that are given to the command, even
    /// those that it will not use, so that a mistake shows at once.
    ///
    /// # Errors
    /// The file cannot be read, or a value is invalid.
    pub fn load(arguments: &'a Arguments) -> Result<Sources<'a>> {
        let mut sources = Sources::without_file(arguments, OnError::Fail);
        match sources.find(&options::CONFIG)? {
            Some(Setting { value, origin }) => {
                sources.file = PathBuf::from(value);
                sources.entries = file::read(&sources.file, Some(&origin.to_string()))?;
            }
            None => sources.entries = file::read(&sources.file, None)?,
        }
        for option in OPTIONS.iter().filter(|option| option.spec().applies_to(arguments.command)) {
            sources.check(*option)?;
        }
        Ok(sources)
    }

    /// The sources of a command that must work even if its configuration is broken. Anything that
    /// cannot be read in the environment or in the file is ignored with a warning.
    pub fn load_leniently(arguments: &'a Arguments) -> Sources<'a> {
        let mut sources = Sources::without_file(arguments, OnError::Ignore);
        if let Ok(Some(path)) = sources.find(&options::CONFIG) {
            sources.file = PathBuf::from(path.value);
        }
        sources.entries = file::read_leniently(&sources.file);
        sources
    }

    fn without_file(arguments: &'a Arguments, on_error: OnError) -> Sources<'a> {
        let file = PathBuf::from(options::CONFIG.default);
        Sources { arguments, file, entries: Vec::new(), on_error }
    }

    /// The command.
    pub fn command(&self) -> Command {
        self.arguments.command
    }

    /// The path of the configuration file, which need not exist.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether a switch is given.
    pub fn has(&self, switch: &OptionSpec) -> bool {
        self.arguments.count(switch) > 0
    }

    /// The value of an option that only a flag gives.
    pub fn flag(&self, option: &OptionSpec) -> Option<&str> {
        self.arguments.get(option)
    }

    /// All values of an option that only flags give.
    pub fn flags(&self, option: &OptionSpec) -> impl Iterator<Item = &'a str> + use<'a> {
        self.arguments.all(option)
    }

    /// All values of an option that can be given several times.
    ///
    /// # Errors
    /// One of them is invalid.
    pub fn all<T>(&self, option: &ValueOption<T>) -> Result<Vec<T>> {
        let parse =
            |text| (option.parse)(text).map_err(|err| invalid(&Origin::Flag(option.long), &err));
        self.arguments.all(option).map(parse).collect()
    }

    fn check(&self, option: &dyn AnyOption) -> Result<()> {
        let Some(Setting { value, origin }) = self.find(option.spec())? else { return Ok(()) };
        option.check(&value).map_err(|err| invalid(&origin, &err))
    }

    /// The value of an option, if a source gives it.
    ///
    /// # Errors
    /// The value is invalid; the message names its origin.
    pub fn given<T>(&self, option: &ValueOption<T>) -> Result<Option<Setting<T>>> {
        let Some(Setting { value, origin }) = self.find(option)? else { return Ok(None) };
        match (option.parse)(&value) {
            Ok(value) => Ok(Some(Setting { value, origin })),
            Err(err) => Err(invalid(&origin, &err)),
        }
    }

    /// The value of an option or, if no source gives it, its default.
    ///
    /// # Errors
    /// The value is invalid; the message names its origin.
    pub fn value<T>(&self, option: &ValueOption<T>) -> Result<Setting<T>> {
        match self.given(option)? {
            Some(given) => Ok(given),
            None => (option.parse)(option.default)
                .map(|value| Setting { value, origin: Origin::Default })
                .map_err(|err| invalid(&Origin::Default, &err)),
        }
    }

    /// All values that a source gives, except those of options that only have a flag, by the name
    /// of the flag.
    pub fn in_force(&self) -> Vec<(&'static str, Setting<String>)> {
        let configurable =
            option_specs().filter(|option| option.key.is_some() || !option.env.is_empty());
        configurable
            .filter_map(|option| Some((option.long, self.find(option).ok().flatten()?)))
            .collect()
    }

    /// The text that the first source gives for an option.
    fn find(&self, option: &OptionSpec) -> Result<Option<Setting<String>>> {
        if let Some(value) = self.arguments.get(option) {
            let origin = Origin::Flag(option.long);
            return Ok(Some(Setting { value: value.to_owned(), origin }));
        }
        if let Some(given) = self.find_in_environment(option)? {
            return Ok(Some(given));
        }
        Ok(self.find_in_file(option))
    }

    /// The text that the configuration file gives for an option, whatever takes precedence over it.
    pub fn find_in_file(&self, option: &OptionSpec) -> Option<Setting<String>> {
        let (key, _) = option.key?;
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        let origin = Origin::File { path: self.file.clone(), line: entry.line, key };
        Some(Setting { value: entry.value.clone(), origin })
    }

    fn find_in_environment(&self, option: &OptionSpec) -> Result<Option<Setting<String>>> {
        for name in option.env {
            // An empty variable counts as not set, as in a unit's
            // `Environment=RACKCONNECT_REGION=`.
            let value = env::var_os(name).filter(|value| !value.is_empty());
            match (value.map(|value| value.into_string()), self.on_error) {
                (Some(Ok(value)), _) => {
                    return Ok(Some(Setting { value, origin: Origin::Environment(name) }));
                }
                (Some(Err(_)), OnError::Ignore) => log::warn!("{name} is not UTF-8; ignoring it"),
                (Some(Err(_)), OnError::Fail) => {
                    return Err(Error::usage(format!("{name} is not UTF-8")));
                }
                (None, _) => {}
            }
        }
        Ok(None)
    }
}

fn invalid(origin: &Origin, err: &str) -> Error {
    Error::usage(format!("{origin}: {err}"))
}
