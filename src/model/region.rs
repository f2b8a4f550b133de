//! The regions that have a RackConnect v2.0 API.

/// One of these regions. Source: "The RackConnect v2.0 API", endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region(&'static str);

/// The codes of all regions.
pub const REGION_CODES: [&str; 6] = ["dfw", "hkg", "iad", "lon", "ord", "syd"];

impl Region {
    /// The region with this code. Case and surrounding white space do not matter.
    pub fn from_code(code: &str) -> Option<Region> {
        REGION_CODES
            .iter()
            .find(|known| known.eq_ignore_ascii_case(code.trim()))
            .map(|known| Region(known))
    }

    /// The code, in lower case.
    pub fn code(self) -> &'static str {
        self.0
    }

    /// The URL of the region's API. Source: "The RackConnect v2.0 API", endpoints.
    pub fn endpoint(self) -> String {
        format!("https://{}.api.rackconnect.rackspace.com", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_in_any_case() {
        assert_eq!(Region::from_code(" DFW\n").map(Region::code), Some("dfw"));
        assert_eq!(Region::from_code("nyc"), None);
        assert_eq!(Region::from_code(""), None);
    }
}
