//! The format of the case files, and how they are run.
//!
//! | key | contents |
//! |---|---|
//! | `about` | one sentence for the reader |
//! | `[api]` | the configuration of the simulated API; its README has all keys |
//! | `[xenstore]` | the configuration of the simulated xenstore, if the case needs one |
//! | `setup` | a shell script that runs first, in the temporary directory |
//! | `[[run]]` | one run of the program; several run one after the other |
//! | `requests` | the requests that the API must have received at the end |
//! | `takes_a_minute` | `true`: run only with RACKCONNECT_ALL_ROWS, as by `.ci/run` |
//!
//! A file can contain many cases. Every `[[row]]` table is combined with every value of the
//! `[matrix]` arrays, and `{key}` in a string stands for the value that the case has for that key.
//! A string that is only `{key}` becomes the value itself, whatever its type; if that is an array,
//! its items become items of the surrounding array. `name` is the name of each case; without it, a
//! case is named after its file.
//!
//! `args`, `env`, `config`, `setup` and `stdout` may also contain `{endpoint}`, `{ca}` and
//! `{folder}`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use simulated_api::{Config, Script};
use toml::{Table, Value};

use super::{Ended, World, config, ended, finish_within};

/// A run that takes longer is killed, and fails.
const RUN_TIMEOUT: Duration = Duration::from_secs(120);

/// One case.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// For the reader.
    #[serde(rename = "about")]
    _about: String,
    #[serde(default)]
    api: Table,
    xenstore: Option<Table>,
    setup: Option<String>,
    run: Vec<Run>,
    requests: Option<Vec<String>>,
    /// A case of the rate limit, which waits for its minute.
    #[serde(default)]
    pub takes_a_minute: bool,
}

/// One run of the program.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    /// The arguments, separated by white space.
    args: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// The contents of the configuration file.
    config: Option<String>,
    /// The exit code.
    code: i32,
    /// The complete standard output.
    stdout: Option<String>,
    /// Standard output must contain each of these.
    #[serde(default)]
    stdout_has: Vec<String>,
    /// Standard error must contain each of these.
    #[serde(default)]
    stderr: Vec<String>,
    /// Standard error must be empty.
    #[serde(default)]
    silent: bool,
    /// The shortest duration in seconds.
    at_least: Option<u64>,
    /// The longest duration in seconds. It is about ten times the expected duration, so that the
    /// test passes on a busy machine.
    at_most: Option<u64>,
}

/// All cases of the files in `root/directory`, by name.
pub fn read_all(root: &Path, directory: &str) -> Vec<(String, Case)> {
    let root = root.join(directory);
    let mut files = Vec::new();
    find(&root, &mut files);
    files.sort();
    files
        .iter()
        .flat_map(|file| {
            let text = fs::read_to_string(file).expect("a readable case file");
            let name = file.strip_prefix(&root).expect("a file in root").with_extension("");
            cases_of(&name.display().to_string(), &text)
                .unwrap_or_else(|err| panic!("{}: {err}", file.display()))
        })
        .collect()
}

fn find(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of case files") {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
}

fn cases_of(name: &str, text: &str) -> Result<Vec<(String, Case)>, String> {
    let mut file: Table = toml::from_str(text).map_err(|err| err.to_string())?;
    let mut rows: Vec<Table> = match file.remove("row") {
        Some(rows) => rows.try_into().map_err(|err| format!("row: {err}"))?,
        None => vec![Table::new()],
    };
    if let Some(matrix) = file.remove("matrix") {
        let matrix: BTreeMap<String, Vec<Value>> =
            matrix.try_into().map_err(|err| format!("matrix: {err}"))?;
        for (key, values) in &matrix {
            rows = rows
                .iter()
                .flat_map(|row| values.iter().map(move |value| with(row, key, value)))
                .collect();
        }
    }
    let template = file.remove("name");
    let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
    rows.iter()
        .map(|row| {
            let name = match &template {
                Some(template) => {
                    let own = fill(template, row)?;
                    format!("{directory}/{}", own.as_str().unwrap_or_default())
                }
                None => name.to_owned(),
            };
            let case = fill(&Value::Table(file.clone()), row)?;
            Ok((name, case.try_into().map_err(|err| err.to_string())?))
        })
        .collect()
}

/// Adds a value to a row. A table adds all its keys.
fn with(row: &Table, key: &str, value: &Value) -> Table {
    let mut row = row.clone();
    match value {
        Value::Table(table) => row.extend(table.clone()),
        value => drop(row.insert(key.to_owned(), value.clone())),
    }
    row
}

/// Replaces the keys of a row by its values.
fn fill(value: &Value, row: &Table) -> Result<Value, String> {
    let whole = |text: &str| row.get(text.strip_prefix('{')?.strip_suffix('}')?).cloned();
    let in_text = |text: &str| {
        row.iter().fold(text.to_owned(), |text, (key, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.replace(&format!("{{{key}}}"), &value)
        })
    };
    Ok(match value {
        Value::String(text) => match whole(text) {
            // The value may contain keys, too.
            Some(Value::String(value)) => Value::String(in_text(&value)),
            Some(value) => value,
            None => Value::String(in_text(text)),
        },
        Value::Array(items) => {
            let mut filled = Vec::new();
            for item in items {
                match (item.as_str().and_then(whole), fill(item, row)?) {
                    (Some(Value::Array(part)), _) => filled.extend(part),
                    (_, item) => filled.push(item),
                }
            }
            Value::Array(filled)
        }
        Value::Table(table) => Value::Table(
            table
                .iter()
                .map(|(key, value)| Ok((in_text(key), fill(value, row)?)))
                .collect::<Result<Table, String>>()?,
        ),
        other => other.clone(),
    })
}

/// Runs a case. An error says what is not as expected.
pub fn run(case: &Case) -> Result<(), String> {
    let world = World::with(api(&case.api)?);
    let xenstore = case.xenstore.as_ref().map(xenstore).transpose()?;
    let folder = world.folder.path().display().to_string();
    let fill = |text: &str| {
        text.replace("{endpoint}", &world.api.endpoint())
            .replace("{ca}", &world.api.ca_file().display().to_string())
            .replace("{folder}", &folder)
    };
    if let Some(script) = &case.setup {
        let script = fill(script);
        let mut command = Command::new("sh");
        command.args(["-euc", &script]).current_dir(&folder);
        let setup = ended(command.output().map_err(|err| err.to_string())?);
        if setup.code != Some(0) {
            return Err(format!("setup: {}", setup.stderr));
        }
    }
    for (index, run) in case.run.iter().enumerate() {
        let arguments: Vec<String> = run.args.split_whitespace().map(fill).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = world.agent(&arguments);
        if let Some(xenstore) = &xenstore {
            command.env("XENSTORED_PATH", xenstore.path());
        }
        if let Some(text) = &run.config {
            let path = world.folder.path().join("config.toml");
            fs::write(&path, fill(text)).map_err(|err| err.to_string())?;
            command.env("RACKCONNECT_CONFIG", path);
        }
        for (name, value) in &run.env {
            command.env(name, fill(value));
        }
        let started = Instant::now();
        let ended = run_to_end(command)?;
        run.check(&ended, started.elapsed().as_secs_f64(), &fill)
            .map_err(|err| run.describe(&format!("{err}\nrun {}", index + 1), &ended))?;
    }
    match &case.requests {
        Some(expected) if *expected != world.requests() => {
            Err(format!("the API has received {:?}", world.requests()))
        }
        _ => Ok(()),
    }
}

/// Runs cases that differ only in the API's script, one after the other on one server.
pub fn run_in_turn(cases: &[&Case]) -> Result<(), String> {
    let world = World::with(config());
    for (index, case) in cases.iter().enumerate() {
        world.play(case.script()?.steps);
        for run in &case.run {
            let started = Instant::now();
            let ended = run_to_end(world.agent(run.args.as_str()))?;
            run.check(&ended, started.elapsed().as_secs_f64(), &str::to_owned)
                .map_err(|err| run.describe(&format!("{err}\ncase {}", index + 1), &ended))?;
        }
    }
    Ok(())
}

/// Runs a command to its end, or kills it after [`RUN_TIMEOUT`].
fn run_to_end(mut command: Command) -> Result<Ended, String> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|err| err.to_string())?;
    finish_within(child, RUN_TIMEOUT).map_err(|err| format!("{err}: {command:?}"))
}

impl Case {
    /// Whether it can run on a server together with other cases: it has no settings apart from the
    /// API's script, and it does not leave the server rate limited.
    pub fn can_share_server(&self) -> bool {
        let api: Vec<&str> = self.api.keys().map(String::as_str).collect();
        let is_limited = |run: &Run| run.code == 6 || run.code == 124;
        self.setup.is_none()
            && self.xenstore.is_none()
            && self.requests.is_none()
            && api == ["step"]
            && self
                .run
                .iter()
                .all(|run| run.config.is_none() && run.env.is_empty() && !run.args.contains('{'))
            && !self.run.iter().any(is_limited)
    }

    fn script(&self) -> Result<Script, String> {
        Ok(api(&self.api)?.script)
    }
}

impl Run {
    /// An error message with the command and its output.
    fn describe(&self, err: &str, ended: &Ended) -> String {
        format!(
            "{err}: rackconnect {}\ncode: {:?}\nstdout: {:?}\nstderr: {}",
            self.args,
            ended.code,
            String::from_utf8_lossy(&ended.stdout),
            ended.stderr
        )
    }

    fn check(
        &self,
        ended: &Ended,
        seconds: f64,
        fill: &impl Fn(&str) -> String,
    ) -> Result<(), String> {
        if self.at_least.is_some_and(|least| seconds < least as f64)
            || self.at_most.is_some_and(|most| seconds > most as f64)
        {
            return Err(format!("it took {seconds} seconds"));
        }
        if ended.code != Some(self.code) {
            return Err(format!("the exit code is not {}", self.code));
        }
        if self.stdout.as_ref().is_some_and(|expected| fill(expected).as_bytes() != ended.stdout) {
            return Err("standard output is not as expected".to_owned());
        }
        let stdout = String::from_utf8_lossy(&ended.stdout);
        if let Some(words) = self.stdout_has.iter().find(|words| !stdout.contains(&fill(words))) {
            return Err(format!("standard output does not contain {words:?}"));
        }
        if let Some(words) = self.stderr.iter().find(|words| !ended.stderr.contains(&fill(words))) {
            return Err(format!("standard error does not contain {words:?}"));
        }
        if ended.stderr.contains("panicked") {
            return Err("the program panicked".to_owned());
        }
        if self.silent && !ended.stderr.is_empty() {
            return Err("standard error is not empty".to_owned());
        }
        if ended.stderr.bytes().any(|byte| byte.is_ascii_control() && byte != b'\n') {
            return Err("standard error contains control characters".to_owned());
        }
        Ok(())
    }
}

/// The API's configuration. Its minute does not follow the wall clock.
fn api(table: &Table) -> Result<Config, String> {
    let text = toml::to_string(table).map_err(|err| err.to_string())?;
    let own = Config::from_toml(&text).map_err(|err| err.to_string())?;
    let minute = if table.contains_key("minute") { own.minute } else { config().minute };
    Ok(Config { align: config().align, minute, ..own })
}

fn xenstore(table: &Table) -> Result<simulated_xenstore::Simulator, String> {
    let text = toml::to_string(table).map_err(|err| err.to_string())?;
    simulated_xenstore::Config::from_toml(&text)
        .and_then(simulated_xenstore::Simulator::start)
        .map_err(|err| err.to_string())
}
