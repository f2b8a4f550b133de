//! The cost of a command, measured by system tools. If a tool is missing, so is its figure.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use super::Result;

/// How often the system calls of a command are counted.
const SYSTEM_CALL_RUNS: usize = 5;

/// A command that is run repeatedly.
#[derive(Clone)]
pub struct Call {
    /// The name in tables.
    pub name: &'static str,
    /// The command and its arguments.
    pub words: Vec<String>,
    /// Its standard input.
    pub input: Option<PathBuf>,
    /// Its environment, in addition to the inherited one.
    pub environment: Vec<(&'static str, PathBuf)>,
}

impl Call {
    /// The command as the argument of a tool.
    fn under(&self, tool: &[&str]) -> Result<Command> {
        let mut words = tool.iter().map(|word| (*word).to_owned()).chain(self.words.clone());
        let mut command = Command::new(words.next().ok_or("an empty command")?);
        command.args(words).stdout(Stdio::null()).stderr(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        match &self.input {
            Some(path) => command.stdin(File::open(path)?),
            None => command.stdin(Stdio::null()),
        };
        Ok(command)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It cannot be started, or fails.
    pub fn run(&self) -> Result<()> {
        match self.under(&[])?.status()? {
            status if status.success() => Ok(()),
            status => Err(format!("{}: {status}", self.words.join(" ")).into()),
        }
    }

    /// Its duration, and its CPU time.
    pub fn time(&self) -> Result<(Duration, Duration)> {
        let (start, before) = (Instant::now(), processor_time()?);
        self.run()?;
        Ok((start.elapsed(), processor_time()?.saturating_sub(before)))
    }

    /// Its peak resident memory, in KiB; none without GNU time.
    pub fn resident(&self) -> Result<Option<u64>> {
        let report = tempfile::NamedTempFile::new()?;
        let path = report.path().to_string_lossy().into_owned();
        if self.measured_by(&["/usr/bin/time", "-f", "%M", "-o", &path])?.is_none() {
            return Ok(None);
        }
        Ok(fs::read_to_string(&path)?.lines().last().and_then(|line| line.trim().parse().ok()))
    }

    /// The number of instructions that it executes; none without valgrind.
    pub fn instructions(&self) -> Result<Option<u64>> {
        let report = tempfile::NamedTempFile::new()?;
        let log = format!("--log-file={}", report.path().display());
        let tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", &log];
        if self.measured_by(&tool)?.is_none() {
            return Ok(None);
        }
        let text = fs::read_to_string(report.path())?;
        let count = text.lines().find_map(|line| line.split_once("Collected :"));
        Ok(count.and_then(|(_, count)| count.trim().parse().ok()))
    }

    /// The number of its system calls, including those of its children; none without strace. The
    /// fewest of several runs: where data of the server arrives in pieces, a run reads again.
    pub fn system_calls(&self) -> Result<Option<u64>> {
        let runs: Result<Vec<Option<u64>>> =
            (0..SYSTEM_CALL_RUNS).map(|_| self.system_calls_of_a_run()).collect();
        Ok(runs?.into_iter().flatten().min())
    }

    fn system_calls_of_a_run(&self) -> Result<Option<u64>> {
        let report = tempfile::NamedTempFile::new()?;
        let path = report.path().to_string_lossy().into_owned();
        let tool = ["strace", "-f", "-qq", "-e", "signal=none", "-o", &path];
        if self.measured_by(&tool)?.is_none() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path)?;
        // A call that another process interrupts has a second line.
        Ok(Some(text.lines().filter(|line| !line.contains(" resumed>")).count() as u64))
    }

    /// The bytes of all files that it opens: itself, its libraries, modules and certificates. None
    /// without strace.
    pub fn loaded_bytes(&self) -> Result<Option<u64>> {
        let report = tempfile::NamedTempFile::new()?;
        let path = report.path().to_string_lossy().into_owned();
        let tool = ["strace", "-f", "-qq", "-y", "-e", "trace=open,openat", "-o", &path];
        if self.measured_by(&tool)?.is_none() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path)?;
        let mut files: BTreeSet<PathBuf> = text.lines().filter_map(opened).collect();
        files.insert(which(&self.words[0]).ok_or("no such program")?);
        files.retain(|file| {
            !["/proc", "/sys", "/dev", "/tmp"].iter().any(|place| file.starts_with(place))
                || file.to_str() == Some(self.words[0].as_str())
        });
        let sizes = files.iter().filter_map(|file| file.metadata().ok());
        Ok(Some(sizes.filter(|file| file.is_file()).map(|file| file.len()).sum()))
    }

    /// Runs it under a tool; none if there is no such tool.
    fn measured_by(&self, tool: &[&str]) -> Result<Option<()>> {
        if which(tool[0]).is_none() {
            return Ok(None);
        }
        match self.under(tool)?.status()? {
            status if status.success() => Ok(Some(())),
            status => Err(format!("{} under {}: {status}", self.name, tool[0]).into()),
        }
    }
}

/// The opened file in a line of strace -y.
fn opened(line: &str) -> Option<PathBuf> {
    let (_, result) = line.rsplit_once(" = ")?;
    let (_, path) = result.split_once('<')?;
    Path::new(path.strip_suffix('>')?).canonicalize().ok()
}

/// The CPU time of all children that have ended.
pub fn processor_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = |time: nix::sys::time::TimeVal| {
        Duration::from_micros((time.tv_sec() * 1_000_000 + time.tv_usec()) as u64)
    };
    Ok(micros(usage.user_time()) + micros(usage.system_time()))
}

/// The path of a program.
pub fn which(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Path::new(name).canonicalize().ok();
    }
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    found.and_then(|file| file.canonicalize().ok())
}

/// The value at this quantile, from 0 to 1; none if there are no values. Sorts them.
pub fn quantile<T: Copy + Ord>(values: &mut [T], quantile: f64) -> Option<T> {
    values.sort_unstable();
    let last = values.len().checked_sub(1)?;
    values.get((last as f64 * quantile).round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opened_files_in_the_output_of_strace() {
        let line = r#"7 openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3</etc/passwd>"#;
        assert_eq!(opened(line), Some("/etc/passwd".into()));
        assert_eq!(
            opened(r#"7 openat(AT_FDCWD, "/x", O_RDONLY) = -1 ENOENT (No such file)"#),
            None
        );
    }

    #[test]
    fn quantiles() {
        assert_eq!(quantile(&mut [3, 1, 2], 0.5), Some(2));
        assert_eq!(quantile(&mut [3, 1, 2], 1.0), Some(3));
        assert_eq!(quantile::<u8>(&mut [], 0.5), None);
    }
}
