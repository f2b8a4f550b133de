//! Finds the URL of a SERVICE on the command line in the catalog.

use super::catalog::{Catalog, CatalogEndpoint};
use crate::error::{Error, Result};

/// Identity itself, which is not in its own catalog.
const IDENTITY: &str = "identity";

/// Short names other than the name without `cloud`.
const SHORT_NAMES: [(&str, &str); 2] =
    [("servers", "cloudServersOpenStack"), ("cdn", "cloudFilesCDN")];

/// The URL of a service, given by its name, its short name or its type.
///
/// # Errors
/// There is no such service in that region; or it is in several regions and none is given.
pub fn service_url(
    catalog: &Catalog,
    identity_url: &str,
    service: &str,
    region: Option<&str>,
) -> Result<String> {
    if service.eq_ignore_ascii_case(IDENTITY) {
        return Ok(identity_url.to_owned());
    }
    let endpoints = endpoints(catalog, service)?;
    let regions = || -> Vec<&str> {
        endpoints.iter().filter_map(|endpoint| endpoint.region.as_deref()).collect()
    };
    let found = match (region, &endpoints[..]) {
        (_, [only]) if only.region.is_none() => Some(*only),
        (None, [only]) => Some(*only),
        (Some(wanted), _) => {
            let is_there =
                |endpoint: &&&CatalogEndpoint| endpoint.region.as_deref() == Some(wanted);
            endpoints.iter().find(is_there).copied()
        }
        (None, _) => {
            let regions = regions().join(", ");
            let message = format!("{service} is in several regions: give --region ({regions})");
            return Err(Error::usage(message));
        }
    };
    found.map(|endpoint| endpoint.url.clone()).ok_or_else(|| {
        let wanted = region.unwrap_or_default();
        let regions = regions().join(", ");
        Error::usage(format!("this account has no {service} in {wanted}, only in {regions}"))
    })
}

/// The endpoints of the service with this name.
fn endpoints<'a>(catalog: &'a Catalog, service: &str) -> Result<Vec<&'a CatalogEndpoint>> {
    let short = SHORT_NAMES.iter().find(|(short, _)| short.eq_ignore_ascii_case(service));
    let full = short.map_or_else(|| format!("cloud{service}"), |(_, name)| (*name).to_owned());
    let of_name = |name: &str| -> Vec<&CatalogEndpoint> {
        catalog.0.iter().filter(|endpoint| endpoint.name.eq_ignore_ascii_case(name)).collect()
    };
    let named = [service, &full].into_iter().map(of_name).find(|found| !found.is_empty());
    if let Some(found) = named {
        return Ok(found);
    }
    let is_of_type =
        |endpoint: &&CatalogEndpoint| endpoint.service_type.eq_ignore_ascii_case(service);
    let found: Vec<&CatalogEndpoint> = catalog.0.iter().filter(is_of_type).collect();
    match &names(found.iter().copied())[..] {
        [] => {
            let names = names(catalog.0.iter()).join(", ");
            let message = format!("this account has no service {service:?} (identity, {names})");
            Err(Error::usage(message))
        }
        [_] => Ok(found),
        names => {
            let names = names.join(", ");
            let message = format!("several services are of type {service:?}; use a name: {names}");
            Err(Error::usage(message))
        }
    }
}

/// The names of the services, each once.
fn names<'a>(endpoints: impl Iterator<Item = &'a CatalogEndpoint>) -> Vec<&'a str> {
    let mut names = Vec::new();
    for endpoint in endpoints {
        if !names.contains(&endpoint.name.as_str()) {
            names.push(endpoint.name.as_str());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        let endpoint = |name: &str, service_type: &str, region: Option<&str>| CatalogEndpoint {
            name: name.to_owned(),
            service_type: service_type.to_owned(),
            region: region.map(str::to_owned),
            url: format!("https://{name}.{}", region.unwrap_or("all")),
        };
        Catalog(vec![
            endpoint("cloudServersOpenStack", "compute", Some("DFW")),
            endpoint("cloudServersOpenStack", "compute", Some("ORD")),
            endpoint("cloudServers", "compute", None),
            endpoint("cloudFiles", "object-store", Some("DFW")),
            endpoint("cloudFilesCDN", "rax:object-cdn", Some("DFW")),
            endpoint("cloudDNS", "rax:dns", None),
            endpoint("cloudBlockStorage", "volume", Some("DFW")),
        ])
    }

    #[test]
    fn by_name_by_short_name_and_by_type() {
        let url = |service: &str, region: Option<&str>| {
            service_url(&catalog(), "https://identity", service, region).map_err(|err| err.message)
        };
        let dfw = Some("DFW");
        for (service, region, expected) in [
            ("identity", None, "https://identity"),
            ("identity", dfw, "https://identity"),
            ("servers", dfw, "https://cloudServersOpenStack.DFW"),
            ("cloudServersOpenStack", Some("ORD"), "https://cloudServersOpenStack.ORD"),
            ("cloudservers", dfw, "https://cloudServers.all"),
            ("files", None, "https://cloudFiles.DFW"),
            ("object-store", dfw, "https://cloudFiles.DFW"),
            ("cdn", dfw, "https://cloudFilesCDN.DFW"),
            ("DNS", dfw, "https://cloudDNS.all"),
            ("rax:dns", None, "https://cloudDNS.all"),
            ("blockstorage", dfw, "https://cloudBlockStorage.DFW"),
        ] {
            assert_eq!(url(service, region).as_deref(), Ok(expected), "{service}");
        }
        for (service, region, says) in [
            ("servers", None, "is in several regions: give --region (DFW, ORD)"),
            ("servers", Some("SYD"), "has no servers in SYD, only in DFW, ORD"),
            ("files", Some("SYD"), "has no files in SYD, only in DFW"),
            ("compute", dfw, "use a name: cloudServersOpenStack, cloudServers"),
            ("queues", dfw, "no service \"queues\" (identity, cloudServersOpenStack, cloudServers"),
        ] {
            let err = url(service, region).unwrap_err();
            assert!(err.contains(says), "{err}");
        }
    }
}
