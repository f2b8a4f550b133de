//! Tests what the program prints.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// The first line that the program prints, and its exit code. Kills it once it has started a cloud.
fn run(argument: &str) -> (String, Option<i32>) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_simulated-cloud"))
        .arg(argument)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdout, mut line) = (BufReader::new(program.stdout.take().unwrap()), String::new());
    stdout.read_line(&mut line).unwrap();
    if line.starts_with("http") {
        program.kill().unwrap();
    }
    (line, program.wait().unwrap().code())
}

/// The program started the cloud whatever its arguments were.
#[test]
fn help_and_wrong_usage_start_no_cloud() {
    for argument in ["--help", "-h"] {
        assert_eq!(run(argument), ("Usage: simulated-cloud\n".to_owned(), Some(0)));
    }
    for argument in ["--what", "what"] {
        assert_eq!(run(argument), (String::new(), Some(1)));
    }
}
