//! The service catalog: which services an account has, and where.

use serde_json::{Value, json};

/// The catalog's name for Cloud Servers, the second generation.
const CLOUD_SERVERS: &str = "cloudServersOpenStack";

/// One service in one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogEndpoint {
    /// The service's name.
    pub name: String,
    /// Its type.
    pub service_type: String,
    /// The region in capitals; none if the service is global.
    pub region: Option<String>,
    /// Its URL, without a slash at the end.
    pub url: String,
}

impl CatalogEndpoint {
    /// The endpoint as JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name, "type": self.service_type, "region": self.region, "url": self.url,
        })
    }

    fn from_json(value: &Value) -> Option<CatalogEndpoint> {
        Some(CatalogEndpoint {
            name: value["name"].as_str()?.to_owned(),
            service_type: value["type"].as_str()?.to_owned(),
            region: value["region"].as_str().map(str::to_owned),
            url: value["url"].as_str()?.to_owned(),
        })
    }
}

/// All endpoints of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog(pub Vec<CatalogEndpoint>);

impl Catalog {
    /// Reads `serviceCatalog` of Identity's response, which is missing if the token has no tenant.
    /// Entries without a URL are skipped. None if it is not a catalog.
    pub fn from_identity(services: &Value) -> Option<Catalog> {
        let mut endpoints = Vec::new();
        let services = match services {
            Value::Null => &[],
            services => services.as_array()?.as_slice(),
        };
        for service in services {
            let text = |key: &str| service[key].as_str().unwrap_or_default().to_owned();
            for endpoint in service["endpoints"].as_array().into_iter().flatten() {
                let Some(url) = endpoint["publicURL"].as_str() else { continue };
                endpoints.push(CatalogEndpoint {
                    name: text("name"),
                    service_type: text("type"),
                    region: endpoint["region"].as_str().map(str::to_ascii_uppercase),
                    url: url.trim_end_matches('/').to_owned(),
                });
            }
        }
        Some(Catalog(endpoints))
    }

    /// The list as JSON.
    pub fn to_json(&self) -> Value {
        self.0.iter().map(CatalogEndpoint::to_json).collect()
    }

    /// Reads the output of [`Catalog::to_json`].
    pub fn from_json(list: &Value) -> Option<Catalog> {
        list.as_array()?.iter().map(CatalogEndpoint::from_json).collect::<Option<_>>().map(Catalog)
    }

    /// Cloud Servers in each region.
    pub fn cloud_servers(&self) -> impl Iterator<Item = &CatalogEndpoint> {
        let is_regional = |endpoint: &&CatalogEndpoint| endpoint.region.is_some();
        self.0.iter().filter(|endpoint| endpoint.name == CLOUD_SERVERS).filter(is_regional)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalog_is_the_same_after_the_cache() {
        let catalog = Catalog::from_identity(&json!([
            {"name": "cloudServersOpenStack", "type": "compute", "endpoints": [
                {"publicURL": "https://dfw.servers.example/v2/1/", "region": "dfw"}]},
            {"name": "cloudDNS", "type": "rax:dns", "endpoints": [
                {"publicURL": "https://dns.example/v1.0/1"}, {"region": "ORD"}]},
        ]))
        .unwrap();
        assert_eq!(catalog.0.len(), 2);
        assert_eq!(catalog.0[0].url, "https://dfw.servers.example/v2/1");
        let regions: Vec<_> =
            catalog.cloud_servers().map(|endpoint| endpoint.region.as_deref()).collect();
        assert_eq!(regions, [Some("DFW")]);
        assert_eq!(Catalog::from_json(&catalog.to_json()), Some(catalog));
        assert_eq!(Catalog::from_json(&json!([{"name": "x"}])), None);
    }
}
