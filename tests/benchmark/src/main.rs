//! Measures the program and its peers. Prints the tables of docs/performance.md, and writes them
//! and their picture.

use std::error::Error;
use std::path::PathBuf;

use benchmark::measure::{Extent, IN_NAMESPACE, gateway_main, report};
use benchmark::page::{self, in_checkout};
use benchmark::plot;
use lexopt::prelude::*;

const HELP: &str = "\
Usage: benchmark [--program FILE] [--quick]

  --program FILE  the program; default: the static one of `packaging/build.sh` or `cargo build`
  --quick         a little of everything, in one or two minutes; writes nothing
";

/// The path of the program in a build for servers.
const PROGRAM: &str = "target/x86_64-unknown-linux-musl/release/rackconnect";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, program, counts @ ..] = &arguments[..]
        && first == IN_NAMESPACE
    {
        return gateway_main(PathBuf::from(program), counts);
    }
    let (mut program, mut extent) = (in_checkout(PROGRAM), Extent::Full);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("program") => program = PathBuf::from(parser.value()?),
            Long("quick") => extent = Extent::Quick,
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(());
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    let report = report(program, extent, &mut |part| eprintln!("{part} …"))?;
    let tables: Vec<String> = report.sections.iter().map(|section| section.markdown()).collect();
    let tables = tables.join("\n");
    print!("{tables}");
    match extent {
        Extent::Full => {
            page::replace(&in_checkout("docs/performance.md"), "benchmark", &tables)?;
            plot::draw(&in_checkout("docs/pictures/performance.svg"), &report.pictures)
        }
        Extent::Quick => {
            let folder = tempfile::tempdir()?;
            plot::draw(&folder.path().join("performance.svg"), &report.pictures)
        }
    }
}
