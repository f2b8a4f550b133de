//! Tests what the program prints and writes.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
};

#[test]
fn it_prints_its_addresses_and_logs_requests() {
    let folder = std::env::temp_dir().join(format!("simulated-api-program-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let (ca, script, log) = (folder.join("ca.pem"), folder.join("script.toml"), folder.join("log"));
    std::fs::write(&script, "[[step]]\nstatus = \"DEPLOYED\"\nfault = \"chunked\"\n").unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_simulated-api"))
        .args([
            "--http",
            "--listen",
            "127.0.0.1:0",
            "--listen",
            "127.0.0.2:0",
            "--name",
            "api.example",
        ])
        .args(["--script".as_ref(), script.as_os_str(), "--ca-out".as_ref(), ca.as_os_str()])
        .args(["--log".as_ref(), log.as_os_str()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let second = lines.next().unwrap();
    assert!(second.starts_with("listening on http://127.0.0.2:"), "{second}");
    let mut client =
        TcpStream::connect(first.strip_prefix("listening on http://").unwrap()).unwrap();
    client
        .write_all(b"GET /v1/automation_status HTTP/1.1\r\nX: y\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("DEP"), "{answer}");
    assert!(std::fs::read_to_string(&ca).unwrap().starts_with("-----BEGIN CERTIFICATE"));
    let logged: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!(logged["server"], "127.0.0.1");
    assert_eq!(logged["path"], "/v1/automation_status");
    assert_eq!(logged["headers"][0], serde_json::json!(["X", "y"]));
    assert_eq!((&logged["code"], &logged["fault"]), (&200.into(), &"chunked".into()));
    program.kill().unwrap();
    program.wait().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn wrong_usage_is_an_error() {
    for arguments in [&["--what"][..], &["--listen", "nowhere"], &["--script", "/nonexistent"]] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_simulated-api")).args(arguments).output().unwrap();
        assert!(!output.status.success());
        assert!(String::from_utf8(output.stderr).unwrap().starts_with("simulated-api: "));
    }
}
