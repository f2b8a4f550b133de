//! Settings: flag, then environment, then configuration file, then detection or the default.
//!
//! What a setting may be is in `values`; which flag, variable and key give it is in `cli::options`.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use super::file;
use crate::api::endpoint::Endpoint;
use crate::cli::options::{self, OptionSpec};
use crate::cli::{Arguments, Command, OPTIONS, values};
use crate::clock::BootInstant;
use crate::error::{Error, Kind, Result};
use crate::model::Probe;
use crate::model::{Goal, OkIf};
use crate::model::{REGION_CODES, Region};
use crate::region::{self, Detected};

/// How often the server itself is asked for its region while it does not know it yet.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long `facts` may take: Ansible gives its facts ten seconds.
const FACTS_DEADLINE: Duration = Duration::from_secs(5);

/// How long `doctor` may take at most.
const DOCTOR_DEADLINE: Duration = Duration::from_secs(10);

/// How long `doctor` looks for the region.
const DOCTOR_REGION_TIMEOUT: Duration = Duration::from_secs(2);

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
    entries: Vec<file::Entry>,
    /// Whether what is broken is passed over.
    rescue: bool,
    /// When the command began.
    began: BootInstant,
    /// The region that the server itself knows; asked for once, and again only as long as it may still come.
    detected: OnceLock<Detected>,
}

impl<'a> Settings<'a> {
    fn of(arguments: &'a Arguments) -> Settings<'a> {
        let file = PathBuf::from(options::CONFIG.default);
        Settings {
            arguments,
            file,
            entries: Vec::new(),
            rescue: false,
            began: BootInstant::now(),
            detected: OnceLock::new(),
        }
    }

    /// Reads the configuration file, and checks all that it says and all that the command is given otherwise, even what
    /// it will not use: a slip shows at once.
    ///
    /// # Errors
    /// The file cannot be read, or an impossible value is given.
    pub fn load(arguments: &'a Arguments) -> Result<Settings<'a>> {
        let mut settings = Settings::of(arguments);
        let named = settings.find(&options::CONFIG)?;
        settings.entries = match named {
            Some((path, origin)) => {
                settings.file = PathBuf::from(path);
                file::read(&settings.file, Some(&origin.to_string()))?
            }
            None => file::read(&settings.file, None)?,
        };
        for option in OPTIONS.iter().filter(|option| option.applies_to(arguments.command)) {
            settings.given(option, option.check)?;
        }
        Ok(settings)
    }

    /// The settings without which a change of the routes cannot be confirmed or undone. They never fail: what is broken in
    /// the environment or in the configuration file is passed over with a warning.
    pub fn for_rescue(arguments: &'a Arguments) -> Settings<'a> {
        let mut settings = Settings { rescue: true, ..Settings::of(arguments) };
        if let Ok(Some((path, _))) = settings.find(&options::CONFIG) {
            settings.file = PathBuf::from(path);
        }
        settings.entries = file::read_leniently(&settings.file);
        settings
    }

    /// Whether a switch is given.
    pub fn has(&self, switch: &OptionSpec) -> bool {
        self.arguments.count(switch) > 0
    }

    /// The value of an option that is a flag alone.
    pub fn flag(&self, option: &OptionSpec) -> Option<&str> {
        self.arguments.get(option)
    }

    /// All values of an option that is a flag alone.
    pub fn flags(&self, option: &OptionSpec) -> impl Iterator<Item = &'a str> + use<'a> {
        self.arguments.all(option)
    }

    /// The value of an option and where it was given.
    fn find(&self, option: &OptionSpec) -> Result<Option<(String, Origin)>> {
        if let Some(value) = self.arguments.get(option) {
            return Ok(Some((value.to_owned(), Origin::Flag(option.long))));
        }
        for name in option.env {
            // An empty variable is one that is not set, as in a unit's `Environment=RACKCONNECT_REGION=`.
            match env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(|value| value.into_string())
            {
                Some(Ok(value)) => return Ok(Some((value, Origin::Environment(name)))),
                Some(Err(_)) if self.rescue => log::warn!("{name} is not UTF-8 and is passed over"),
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
    fn given<T>(
        &self,
        option: &OptionSpec,
        read: fn(&str) -> Result<T, String>,
    ) -> Result<Option<(T, Origin)>> {
        let Some((value, origin)) = self.find(option)? else { return Ok(None) };
        match read(&value) {
            Ok(value) => Ok(Some((value, origin))),
            Err(why) => Err(Error::usage(format!("{origin}: {why}"))),
        }
    }

    /// The checked value of an option or, if nobody gave one, its default.
    fn value<T>(&self, option: &OptionSpec, read: fn(&str) -> Result<T, String>) -> Result<T> {
        match self.given(option, read)? {
            Some((value, _)) => Ok(value),
            None => read(option.default).map_err(Error::usage),
        }
    }

    /// The region: given, or what the server itself knows of it.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn look_for_region(&self) -> Result<Detected> {
        if let Some((region, origin)) = self.given(&options::REGION, values::region)? {
            return Ok(Detected::Known(region, origin.to_string()));
        }
        if let Some(detected) = self.detected.get() {
            return Ok(detected.clone());
        }
        // These two have something to print without an answer. facts leaves the API half of its time.
        let half = |deadline: BootInstant| self.began + deadline.since(self.began) / 2;
        let until = match self.command() {
            Command::Facts => Some(half(self.facts_deadline()?)),
            Command::Doctor => Some(self.began + DOCTOR_REGION_TIMEOUT),
            _ => None,
        };
        // Alone of all commands this one has no end: what passes in the meantime must not be its end.
        let detected = region::detect(until, self.command() == Command::GatewayKeep);
        if !matches!(detected, Detected::NotYet(_)) {
            let _ = self.detected.set(detected.clone());
        }
        Ok(detected)
    }

    /// The region, if it is known, and from where.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn region(&self) -> Result<Option<(Region, String)>> {
        match self.look_for_region()? {
            Detected::Known(region, source) => Ok(Some((region, source))),
            Detected::NotYet(_) | Detected::Unknown(_) => Ok(None),
        }
    }

    /// The region as far as it is known without asking the server itself: given, or detected
    /// before.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn region_so_far(&self) -> Result<Option<Region>> {
        let given = self.given(&options::REGION, values::region)?.map(|(region, _)| region);
        Ok(given.or_else(|| match self.detected.get() {
            Some(Detected::Known(region, _)) => Some(*region),
            _ => None,
        }))
    }

    /// The region where one has to be known.
    ///
    /// # Errors
    /// An impossible value was given, or none, and none is detected.
    pub fn known_region(&self) -> Result<(Region, String)> {
        match self.look_for_region()? {
            Detected::Known(region, source) => Ok((region, source)),
            Detected::NotYet(why) => {
                Err(Error::new(Kind::NotYet, format!("the region is not known yet: {why}")))
            }
            Detected::Unknown(why) => Err(Error::usage(format!(
                "the region of this server is not known: set one of {} with --region, RACKCONNECT_REGION or region = \"…\" \
                 in {}, or the whole URL by --endpoint ({why}; cloud-init's instance data names none either)",
                REGION_CODES.join(", "),
                self.file.display(),
            ))),
        }
    }

    /// Whether an endpoint is given, so that no region is needed.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn has_endpoint(&self) -> Result<bool> {
        Ok(self.given(&options::ENDPOINT, values::endpoint)?.is_some())
    }

    /// The endpoint: given, or that of the region. A region that may still come is waited for up to the deadline of a
    /// command that answers at once.
    ///
    /// # Errors
    /// An impossible value was given, or neither is known.
    pub fn endpoint(&self) -> Result<Endpoint> {
        if let Some((endpoint, _)) = self.given(&options::ENDPOINT, values::endpoint)? {
            return Ok(endpoint);
        }
        let deadline = BootInstant::now() + self.deadline()?;
        let mut said = false;
        let (region, source) = loop {
            match self.known_region() {
                Err(why)
                    if why.kind == Kind::NotYet && BootInstant::now() + LOOK_AGAIN < deadline =>
                {
                    if !said {
                        log::info!("{why}: waiting for it");
                    }
                    said = true;
                    thread::sleep(LOOK_AGAIN);
                }
                known => break known?,
            }
        };
        log::debug!("region {} ({source})", region.code());
        Endpoint::parse(&region.endpoint()).map_err(Error::usage)
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
        self.value(&options::CONNECT_TIMEOUT, values::positive_duration)
    }

    /// How long a whole request may take.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn request_timeout(&self) -> Result<Duration> {
        self.value(&options::REQUEST_TIMEOUT, values::positive_duration)
    }

    /// How long a command that answers at once may take.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn deadline(&self) -> Result<Duration> {
        self.value(&options::DEADLINE, values::positive_duration)
    }

    /// When the command began.
    pub fn began(&self) -> BootInstant {
        self.began
    }

    /// The command.
    pub fn command(&self) -> Command {
        self.arguments.command
    }

    /// When `facts` has to be done.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn facts_deadline(&self) -> Result<BootInstant> {
        let deadline = self.given(&options::DEADLINE, values::positive_duration)?;
        Ok(self.began + deadline.map_or(FACTS_DEADLINE, |(deadline, _)| deadline))
    }

    /// How long `doctor` may take.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn doctor_deadline(&self) -> Result<Duration> {
        let deadline = self.given(&options::DEADLINE, values::positive_duration)?;
        Ok(deadline.map_or(DOCTOR_DEADLINE, |(deadline, _)| deadline.min(DOCTOR_DEADLINE)))
    }

    /// The state directory.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn state_dir(&self) -> Result<PathBuf> {
        self.value(&options::STATE_DIR, values::directory)
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
        texts
            .map(|(_, text)| {
                Probe::parse(text).map_err(|why| Error::usage(format!("--probe: {why}")))
            })
            .collect()
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

    /// How long one hook may take; none for no limit.
    ///
    /// # Errors
    /// An impossible value was given.
    pub fn hook_limit(&self) -> Result<Option<Duration>> {
        let limit = self.value(&options::HOOK_LIMIT, values::duration)?;
        Ok((!limit.is_zero()).then_some(limit))
    }

    /// Where it is kept which hooks are done.
    ///
    /// # Errors
    /// A variable is not UTF-8.
    pub fn stamp_dir(&self) -> Result<PathBuf> {
        Ok(PathBuf::from(self.value(&options::STAMP_DIR, values::text)?))
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
                "--through-failed waits on after FAILED, but {origin} makes FAILED a success; use one of \
                 them"
            ))),
            Some((ok_if, _)) => Ok((ok_if, through_failed)),
            None => Ok((OkIf::default(), through_failed)),
        }
    }
}
