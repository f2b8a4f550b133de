//! `region`: the region of this server, and its source.

use std::time::Duration;

use crate::clock::BootInstant;
use crate::config::{PlainFormat, RegionCommandSettings, Sources};
use crate::error::Result;
use crate::exit::Exit;
use crate::model::Tree;
use crate::region::OnBrokenXenstore;
use crate::session::RegionLookup;
use crate::ui::output;

/// How long the detection may take.
const REGION_TIMEOUT: Duration = Duration::from_secs(10);

/// Prints the region's code. Sends no request.
pub fn run(sources: &Sources) -> Result<Exit> {
    let settings = RegionCommandSettings::resolve(sources)?;
    let lookup = RegionLookup::new(settings.region, OnBrokenXenstore::GiveUp);
    let (region, source) = lookup.require(BootInstant::now() + REGION_TIMEOUT)?;
    log::debug!("region {}, from {source}", region.code());
    match settings.format {
        PlainFormat::Text => output::line(region.code())?,
        PlainFormat::Json => {
            let entry = |name: &str, value: &str| (name.to_owned(), Tree::Text(value.to_owned()));
            let object = Tree::Map(vec![entry("region", region.code()), entry("source", &source)]);
            output::line(&object.to_json())?;
        }
    }
    Ok(Exit::Ok)
}
