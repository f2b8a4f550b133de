//! The case files: one behaviour each, as data. What the API does, what the agent is run with, what must be seen.
//!
//! A file below tests/cases/ has `about`, one sentence; `[api]`, the simulated API's configuration (its README says what
//! there is); and `[[run]]`, in turn: `args` (split at white space), `env`, `config` (the configuration file's text),
//! `code`, `stdout` (exact), `stderr` (each must occur), `silent` (standard error must be empty), `at_least` and `at_most`
//! (seconds; the latter an order of magnitude above what is right, so that it does not depend on the machine). In `args`, `env` and
//! `stdout` these stand for themselves: `{endpoint}`, `{ca}`, `{folder}`. `requests` at the end is what the API was asked.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;
use simulated_api::Config;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// For the reader.
    #[serde(rename = "about")]
    _about: String,
    #[serde(default)]
    api: toml::Table,
    run: Vec<Run>,
    requests: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    args: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    config: Option<String>,
    code: i32,
    stdout: Option<String>,
    #[serde(default)]
    stderr: Vec<String>,
    #[serde(default)]
    silent: bool,
    /// Seconds.
    at_least: Option<u64>,
    at_most: Option<u64>,
}

fn main() {
    let mut arguments = Arguments::from_args();
    // They mostly wait.
    arguments.test_threads = arguments.test_threads.or(Some(32));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files = Vec::new();
    find(&root, &mut files);
    assert!(files.len() > 50, "the case files are there");
    files.sort();
    let trials = files.into_iter().map(|file| {
        let name =
            file.strip_prefix(&root).expect("it is below").with_extension("").display().to_string();
        Trial::test(name, move || run(&file).map_err(Failed::from))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
}

fn run(file: &Path) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|why| why.to_string())?;
    let case: Case = toml::from_str(&text).map_err(|why| why.to_string())?;
    let script = toml::to_string(&case.api).map_err(|why| why.to_string())?;
    let defaults = support::config();
    let config = Config {
        align: defaults.align,
        ..Config::from_toml(&script).map_err(|why| why.to_string())?
    };
    let config = if case.api.contains_key("minute") {
        config
    } else {
        Config { minute: defaults.minute, ..config }
    };
    let world = support::World::with(config);
    let folder = world.folder.path().display().to_string();
    let fill = |text: &str| {
        text.replace("{endpoint}", &world.api.endpoint())
            .replace("{ca}", &world.api.ca_file().display().to_string())
            .replace("{folder}", &folder)
    };
    for (number, run) in case.run.iter().enumerate() {
        let arguments: Vec<String> = run.args.split_whitespace().map(fill).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = world.agent(&arguments);
        if let Some(text) = &run.config {
            let path = world.folder.path().join("config.toml");
            fs::write(&path, fill(text)).map_err(|why| why.to_string())?;
            command.env("RACKCONNECT_CONFIG", path);
        }
        for (name, value) in &run.env {
            command.env(name, fill(value));
        }
        let started = Instant::now();
        let ended = support::ended(command.output().map_err(|why| why.to_string())?);
        let all = format!(
            "run {}: rackconnect {}\ncode: {:?}\nstdout: {:?}\nstderr: {}",
            number + 1,
            run.args,
            ended.code,
            String::from_utf8_lossy(&ended.stdout),
            ended.stderr
        );
        let took = started.elapsed().as_secs_f64();
        if run.at_least.is_some_and(|least| took < least as f64)
            || run.at_most.is_some_and(|most| took > most as f64)
        {
            return Err(format!("it took {took} seconds\n{all}"));
        }
        if ended.code != Some(run.code) {
            return Err(format!("the exit code is not {}\n{all}", run.code));
        }
        if run.stdout.as_ref().is_some_and(|expected| fill(expected).as_bytes() != ended.stdout) {
            return Err(format!("standard output is not as expected\n{all}"));
        }
        if let Some(missing) = run.stderr.iter().find(|words| !ended.stderr.contains(&fill(words)))
        {
            return Err(format!("standard error does not say {missing:?}\n{all}"));
        }
        if (run.silent && !ended.stderr.is_empty()) || ended.stderr.contains("panicked") {
            return Err(format!("standard error says more than it should\n{all}"));
        }
        if ended.stderr.bytes().any(|byte| byte.is_ascii_control() && byte != b'\n') {
            return Err(format!("standard error carries control characters\n{all}"));
        }
    }
    match case.requests {
        Some(expected) if expected != world.requests() => {
            Err(format!("the API was asked {:?}", world.requests()))
        }
        _ => Ok(()),
    }
}
