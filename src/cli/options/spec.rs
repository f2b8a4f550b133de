//! The definition of an option.

use std::ops::Deref;

use crate::cli::commands::{CloudCommand, Command};
use CommandSet::{All, Except, Only};

/// The definition of an option.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// The name, without its dashes.
    pub long: &'static str,
    /// The short form.
    pub short: Option<char>,
    /// The name of its value in the help; none for a switch.
    pub value_name: Option<&'static str>,
    /// The environment variables that set it, in the order of precedence.
    pub env: &'static [&'static str],
    /// Its key in the configuration file, and the type of its value there.
    pub key: Option<(&'static str, KeyType)>,
    /// The default, as the help shows it. If the option has a parser, the text that is parsed.
    pub default: &'static str,
    /// The commands that take it.
    pub commands: CommandSet,
    /// The commands of `cloud` that take it.
    pub cloud_commands: &'static [CloudCommand],
    /// The values that completions offer, and that errors list.
    pub possible_values: &'static [&'static str],
    /// One line, without a full stop.
    pub help: &'static str,
    /// The rest.
    pub long_help: &'static str,
    /// How it differs for some commands.
    pub variants: &'static [Variant],
    /// Whether help, manual and completions show it.
    pub visibility: Visibility,
}

/// How an option differs for some commands: its possible values, and what their help says where the
/// general text is about other commands too. `None` stands for the field of [`OptionSpec`].
#[derive(Debug)]
pub struct Variant {
    /// The commands.
    pub commands: VariantCommands,
    /// One line, without a full stop.
    pub help: Option<&'static str>,
    /// The rest.
    pub long_help: &'static str,
    /// The default.
    pub default: Option<&'static str>,
    /// The environment variables. If they differ, the configuration file does not set the option.
    pub env: Option<&'static [&'static str]>,
    /// The possible values.
    pub possible_values: Option<&'static [&'static str]>,
}

impl Variant {
    /// Nothing differs.
    pub(super) const DEFAULT: Variant = Variant {
        commands: VariantCommands::These(&[]),
        help: None,
        long_help: "",
        default: None,
        env: None,
        possible_values: None,
    };
}

/// The commands of a [`Variant`].
#[derive(Clone, Copy, Debug)]
pub enum VariantCommands {
    /// These.
    These(&'static [Command]),
    /// All commands but those of `cloud`.
    OnServer,
    /// All commands of `cloud`.
    OfCloud,
}

impl VariantCommands {
    fn contains(self, command: Command) -> bool {
        let is_of_cloud = matches!(command, Command::Cloud(_));
        match self {
            VariantCommands::These(commands) => commands.contains(&command),
            VariantCommands::OnServer => !is_of_cloud,
            VariantCommands::OfCloud => is_of_cloud,
        }
    }
}

/// An option whose value is parsed to `T`.
#[derive(Debug)]
pub struct ValueOption<T: 'static> {
    spec: OptionSpec,
    /// Parses a value. The error is the end of a sentence.
    pub parse: fn(&str) -> Result<T, String>,
}

impl<T> Deref for ValueOption<T> {
    type Target = OptionSpec;

    fn deref(&self) -> &OptionSpec {
        &self.spec
    }
}

/// Any option, with or without a parser.
pub trait AnyOption: Sync {
    /// Its definition.
    fn spec(&self) -> &OptionSpec;

    /// Checks a value. Every value is checked at the start, even one that will not be used.
    ///
    /// # Errors
    /// The end of a sentence that says what is wrong.
    fn check(&self, value: &str) -> Result<(), String>;
}

impl AnyOption for OptionSpec {
    fn spec(&self) -> &OptionSpec {
        self
    }

    fn check(&self, _value: &str) -> Result<(), String> {
        Ok(())
    }
}

impl<T> AnyOption for ValueOption<T> {
    fn spec(&self) -> &OptionSpec {
        &self.spec
    }

    fn check(&self, value: &str) -> Result<(), String> {
        (self.parse)(value).map(drop)
    }
}

/// Whether an option is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// It is shown.
    Shown,
    /// It is for tests.
    Hidden,
}

/// The commands that take an option, except those of `cloud`.
#[derive(Clone, Copy, Debug)]
pub enum CommandSet {
    /// Every command.
    All,
    /// These.
    Only(&'static [Command]),
    /// All but these. A new command takes such an option without being listed.
    Except(&'static [Command]),
}

/// The type of a value in the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// A string.
    Text,
    /// A string, or a number of seconds.
    Duration,
    /// A list of strings, or one string with commas.
    List,
}

impl OptionSpec {
    /// The option with a parser of its value.
    pub(super) const fn parsed_by<T>(self, parse: fn(&str) -> Result<T, String>) -> ValueOption<T> {
        ValueOption { spec: self, parse }
    }

    /// Whether its value is the path of a file or a directory.
    pub fn is_path(&self) -> bool {
        matches!(self.value_name, Some("FILE" | "DIR"))
    }

    /// Whether `command` takes it.
    pub fn applies_to(&self, command: Command) -> bool {
        match (self.commands, command) {
            (All, _) => true,
            (_, Command::Cloud(command)) => self.cloud_commands.contains(&command),
            (Only(commands), _) => commands.contains(&command),
            (Except(commands), _) => !commands.contains(&command),
        }
    }

    /// Whether it is one of `command`'s own options.
    pub fn belongs_to(&self, command: Command) -> bool {
        !self.is_general() && self.applies_to(command)
    }

    /// The option as `command` takes it, for its help and completions.
    pub fn for_command(&self, command: Command) -> OptionSpec {
        let own = self.variants.iter().find(|variant| variant.commands.contains(command));
        let Some(own) = own else { return *self };
        OptionSpec {
            help: own.help.unwrap_or(self.help),
            long_help: own.long_help,
            default: own.default.unwrap_or(self.default),
            env: own.env.unwrap_or(self.env),
            key: self.key.filter(|_| own.env.is_none()),
            possible_values: own.possible_values.unwrap_or(self.possible_values),
            ..*self
        }
    }

    /// Whether so many commands take it that the help of the program lists it only once.
    pub fn is_common(&self) -> bool {
        matches!(self.commands, Except(_)) || self.cloud_commands.len() > 2
    }

    /// Whether help, manual and completions show it.
    pub fn is_shown(&self) -> bool {
        self.visibility == Visibility::Shown
    }

    /// Whether every command takes it.
    pub fn is_general(&self) -> bool {
        matches!(self.commands, All)
    }
}

/// An option that every command takes, with the usual values of all other fields.
pub(super) const fn option(
    long: &'static str,
    value_name: Option<&'static str>,
    help: &'static str,
    long_help: &'static str,
) -> OptionSpec {
    OptionSpec {
        long,
        short: None,
        value_name,
        env: &[],
        key: None,
        default: "",
        commands: All,
        cloud_commands: &[],
        possible_values: &[],
        help,
        long_help,
        variants: &[],
        visibility: Visibility::Shown,
    }
}
