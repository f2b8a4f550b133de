//! `rackconnect`: see the library.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    rackconnect_agent::main()
}
