//! Simulates the fleets of docs/fleet.md, and writes its tables and plots.

use std::error::Error;

use benchmark::fleet::{Report, Scale};
use benchmark::{page, plot};

fn main() -> Result<(), Box<dyn Error>> {
    let report = Report::new(Scale::Full);
    let tables = report.markdown();
    print!("{tables}");
    page::replace(&page::in_checkout("docs/fleet.md"), "fleet", &tables)?;
    plot::draw(&page::in_checkout("docs/pictures/fleet.svg"), &report.plots())
}
