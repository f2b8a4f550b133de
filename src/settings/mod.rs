//! Settings: flag, then environment, then configuration file, then detection or the default.
//!
//! What a setting may be is in `values`; which flag, variable and key give it is in `cli::options`.

mod config;
pub mod values;

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api::endpoint::Endpoint;
use crate::cli::options::{self, Opt};
use crate::cli::{Arguments, OPTIONS};
use crate::error::{Error, Result};
use crate::gateway::verify::Probe;
use crate::region::{self, Region};
use crate::wait::{Goal, OkIf};

/// Where a value was given.
enum Origin {
    Flag(&'static str),
    Environment(&'static str),
    File { path: PathBuf, line: usize, key: &'static str },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(long) => write!(f, "--{long}"),
            Origin::Environment(name) => f.write_str(name),
            Origin::File { path, line, key } => write!(f, "{}:{line}: {key}", path.display()),
        }
    }
}

/// All places where a setting can be given.
pub struct Settings<'a> {
    arguments: &'a Arguments,
    file: PathBuf,
    entries: Vec<config::Entry>,
}

impl<'a> Settings<'a> {
    /// Reads the configuration file, and checks all that it says and all that the command is given otherwise, even what
    /// it will not use: a slip shows at once.
    ///
    /// # Errors
    /// The file cannot be read, or an impossible value is given.
    pub fn load(arguments: &'a Arguments) -> Result<Settings<'a>> {
        let mut settings = Settings { arguments, file: PathBuf::from(options::CONFIG.default), entries: Vec::new() };
        let named = settings.find(&options::CONFIG)?;
        settings.entries = match named {
            Some((path, origin)) => {
                settings.file = PathBuf::from(path);
                config::read(&settings.file, Some(&origin.to_string()))?
            }
            None => config::read(&settings.file, None)?,
        };
        for option in OPTIONS.iter().filter(|option| option.is_on(arguments.command)) {
            settings.given(option, option.check)?;
        }
        Ok(settings)
    }

    /// The settings without which a change of the routes cannot be confirmed or undone. They never fail: what is broken in
    /// the configuration file is passed over with a warning.
    pub fn for_rescue(arguments: &'a Arguments) -> Settings<'a> {
        let mut settings = Settings { arguments, file: PathBuf::from(options::CONFIG.default), entries: Vec::new() };
        if let Ok(Some((path, _))) = settings.find(&options::CONFIG) {
            settings.file = PathBuf::from(path);
        }
        settings.entries = config::read_leniently(&settings.file);
        settings
    }

    /// Whether a switch is given.
    pub fn has(&self, switch: &Opt) -> bool {
        self.arguments.count(switch) > 0
    }

    /// The value of an option that is a flag alone.
    pub fn flag(&self, option: &Opt) -> Option<&str> {
        self.arguments.get(option)
    }

    /// The value of an option and where it was given.
    fn find(&self, option: &Opt) -> Result<Option<(String, Origin)>> {
        if let Some(value) = self.arguments.get(option) {
            return Ok(Some((value.to_owned(), Origin::Flag(option.long))));
        }
        for name in option.env {
            // An empty variable is one that is not set, as in a unit's `Environment=RACKCONNECT_REGION=`.
            match env::var_os(name).filter(|value| !value.is_empty()).map(|value| value.into_string()) {
                Some(Ok(value)) => return Ok(Some((value, Origin::Environment(name)))),
                Some(Err(_)) => return Err(Error::usage(format!("{name} is not UTF-8"))),
                None => {}
            }
        }
        let Some((key, _)) = option.key else { return Ok(None) };
        let entry = self.entries.iter().find(|entry| entry.key == key);
        Ok(entry.map(|entry| {
            let origin = Origin::File { path: self.file.clone(), line: entry.line, key };
            (entry.value.clone(), origin)
        }))
    }

    /// The checked value of an option and where it was given; an error names both.
    fn given<T>(&self, option: &Opt, read: fn(&str) -> Result<T, String>) -> Result<Option<(T, Origin)>> {
        let Some((value, origin)) = self.find(option)? else { return Ok(None) };
        match read(&value) {
            Ok(value) => Ok(Some((value, origin))),
            Err(why) => Err(Error::usage(format!("{origin}: {why}"))),
        }
    }

    /// The checked value of an option or, if nobody gave one, its default.
    fn value<T>(&self, option: &Opt, read: fn(&str) -> Result<T, String>) -> Result<T> {
        match self.given(option, read)? {
            Some((value, _)) => Ok(value),
            None => read(option.default).map_err(Error::usage),
        }
    }

    /// The region, if it is known, and from where.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn region(&self) -> Result<Option<(Region, String)>> {
        match self.given(&options::REGION, values::region)? {
            Some((region, origin)) => Ok(Some((region, origin.to_string()))),
            None => Ok(region::detect()),
        }
    }

    /// The region where one has to be known.
    ///
    /// # Errors
    /// An impossible value was given, or none, and none is detected.
    pub fn known_region(&self) -> Result<(Region, String)> {
        self.region()?.ok_or_else(|| {
            Error::usage(format!(
                "the region of this server is not known: give one of {} by --region, RACKCONNECT_REGION or region = \"…\" \
                 in {}, or the whole URL by --endpoint (cloud-init's instance data names none here)",
                region::CODES.join(", "),
                self.file.display(),
            ))
        })
    }

    /// The endpoint: given, or that of the region.
    ///
    /// # Errors
    /// An impossible value was given, or neither is known.
    pub fn endpoint(&self) -> Result<Endpoint> {
        match self.given(&options::ENDPOINT, values::endpoint)? {
            Some((endpoint, _)) => Ok(endpoint),
            None => {
                let (region, source) = self.known_region()?;
                log::debug!("region {} ({source})", region.code());
                Endpoint::parse(&region.endpoint()).map_err(Error::usage)
            }
        }
    }

    /// The file whose certificates alone are trusted, and where it was named.
    ///
    /// # Errors
    /// A variable is not UTF-8.
    pub fn ca_file(&self) -> Result<Option<(PathBuf, String)>> {
        let given = self.given(&options::CA_FILE, values::text)?;
        Ok(given.map(|(path, origin)| (Path::new(&path).to_owned(), origin.to_string())))
    }

    /// How long to try to connect to one address.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn connect_timeout(&self) -> Result<Duration> {
        self.value(&options::CONNECT_TIMEOUT, values::positive)
    }

    /// How long a whole request may take.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn request_timeout(&self) -> Result<Duration> {
        self.value(&options::REQUEST_TIMEOUT, values::positive)
    }

    /// How long a command that answers at once may take.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn deadline(&self) -> Result<Duration> {
        self.value(&options::DEADLINE, values::positive)
    }

    /// The state directory.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn state_dir(&self) -> Result<PathBuf> {
        self.value(&options::STATE_DIR, values::folder)
    }

    /// The interface that the gateway is on, if somebody names it.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn interface(&self) -> Result<Option<String>> {
        Ok(self.given(&options::INTERFACE, values::interface)?.map(|(name, _)| name))
    }

    /// The metric at which a replaced default route is kept.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn keep_old_metric(&self) -> Result<Option<u32>> {
        Ok(self.given(&options::KEEP_OLD_METRIC, values::metric)?.map(|(metric, _)| metric))
    }

    /// How long a change waits for its confirmation, if somebody says so; zero for not at all.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn confirm(&self) -> Result<Option<Duration>> {
        Ok(self.given(&options::CONFIRM, values::duration)?.map(|(limit, _)| limit))
    }

    /// Everything that is asked for with `--probe`.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn probes(&self) -> Result<Vec<Probe>> {
        let texts = self.arguments.options.iter().filter(|(long, _)| *long == options::PROBE.long);
        texts.map(|(_, text)| Probe::parse(text).map_err(|why| Error::usage(format!("--probe: {why}")))).collect()
    }

    /// How long a wait may take; none for no limit.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn wait_timeout(&self) -> Result<Option<Duration>> {
        let timeout = self.value(&options::TIMEOUT, values::duration)?;
        Ok((!timeout.is_zero()).then_some(timeout))
    }

    /// How long a wait lets pass from one question to the next.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn wait_interval(&self) -> Result<Duration> {
        self.value(&options::INTERVAL, values::interval)
    }

    /// What a wait waits for.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn goal(&self) -> Result<Goal> {
        self.value(&options::FOR, values::goal)
    }

    /// The ends of a wait that are a success, too, and whether it goes on after FAILED.
    ///
    /// # Errors
    /// An impossible value was given, or the two exclude each other.
    pub fn ok_if(&self) -> Result<(OkIf, bool)> {
        let given = self.given(&options::OK_IF, values::ok_if)?;
        let through_failed = self.has(&options::THROUGH_FAILED);
        match given {
            Some((ok_if, origin)) if through_failed && ok_if.failed => Err(Error::usage(format!(
                "--through-failed goes on after FAILED, and {origin} makes FAILED an end: give one of the two"
            ))),
            Some((ok_if, _)) => Ok((ok_if, through_failed)),
            None => Ok((OkIf::default(), through_failed)),
        }
    }
}
