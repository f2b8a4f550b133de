//! `region`: which region, and from where it is known.

use crate::cli::options;
use crate::config::{Settings, unsupported_format};
use crate::error::Result;
use crate::exit::Exit;
use crate::model::Tree;
use crate::ui::output;

/// Prints the region's code; asks nothing.
pub fn run(settings: &Settings) -> Result<Exit> {
    let json = match settings.flag(&options::FORMAT) {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => {
            return Err(unsupported_format(other, &["text", "json"]));
        }
    };
    let (region, source) = settings.known_region()?;
    log::debug!("region {}, from {source}", region.code());
    match json {
        true => {
            let entry = |name: &str, value: &str| (name.to_owned(), Tree::Text(value.to_owned()));
            output::line(
                &Tree::Map(vec![entry("region", region.code()), entry("source", &source)])
                    .to_json(),
            )?;
        }
        false => output::line(region.code())?,
    }
    Ok(Exit::Ok)
}
