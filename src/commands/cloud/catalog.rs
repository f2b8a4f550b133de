//! `cloud catalog`: the services, their regions and URLs.

use crate::cloud::{Account, CatalogEndpoint};
use crate::config::{CloudSettings, Sources, TableFormat};
use crate::error::Result;
use crate::exit::Exit;
use crate::ui::output;

/// Prints the catalog.
pub fn run(sources: &Sources) -> Result<Exit> {
    let format = TableFormat::resolve(sources)?;
    let account = Account::new(CloudSettings::resolve(sources)?)?;
    let catalog = account.access(None, account.settings().end)?.catalog;
    match format {
        TableFormat::Json => output::json_line(&catalog.to_json())?,
        TableFormat::Table => output::columns(&catalog.0.iter().map(row).collect::<Vec<_>>())?,
    }
    Ok(Exit::Ok)
}

fn row(endpoint: &CatalogEndpoint) -> [String; 4] {
    let region = endpoint.region.as_deref().unwrap_or("-");
    [&endpoint.name, &endpoint.service_type, region, &endpoint.url].map(str::to_owned)
}
