//! `gateway check`: compares the kernel's default route with the API's gateway.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::kernel;
use super::names::{InterfaceNames, describe_next_hop, describe_route, protocol_name};
use crate::clock::BootInstant;
use crate::error::Result;
use crate::netlink::{INET, NextHop, Route, family_of};

/// The kernel's default route and the API's gateway.
pub(crate) struct Comparison {
    /// The API's gateway if it is known.
    gateway: Option<IpAddr>,
    /// The interface given by the user.
    interface: Option<String>,
    defaults: Vec<Route>,
    hop: Option<NextHop>,
    is_split: bool,
    names: InterfaceNames,
}

impl Comparison {
    /// Reads the kernel's routes, until `deadline`. `gateway`: the API's gateway if it is known.
    ///
    /// # Errors
    /// The kernel does not respond.
    pub(crate) fn new(
        gateway: Option<IpAddr>,
        interface: Option<String>,
        deadline: BootInstant,
    ) -> Result<Comparison> {
        let mut netlink = kernel::open_until(deadline)?;
        let family = gateway.map_or(INET, family_of);
        Ok(Comparison {
            gateway,
            interface,
            defaults: kernel::defaults(&mut netlink, family)?,
            hop: kernel::internet(&mut netlink, family)?,
            is_split: kernel::is_split(&mut netlink, family)?,
            names: kernel::interface_names(&mut netlink),
        })
    }

    fn used_interface(&self) -> Option<String> {
        self.hop.and_then(|hop| hop.interface).map(|index| self.names.name(index))
    }

    fn leads_to_gateway(&self) -> bool {
        self.gateway.is_some() && self.hop.and_then(|hop| hop.gateway) == self.gateway
    }

    /// Whether every packet for the internet goes through the API's gateway.
    pub(crate) fn matches(&self) -> bool {
        let on_interface = self.interface.is_none() || self.interface == self.used_interface();
        self.leads_to_gateway() && on_interface && !self.is_split
    }

    /// A sentence that says why it does not match `gateway`.
    pub(crate) fn mismatch(&self, gateway: IpAddr) -> String {
        match (self.used_interface(), &self.interface) {
            _ if self.hop.is_none() => {
                format!("there is no default route, and the API has assigned {gateway}")
            }
            _ if self.leads_to_gateway() && self.is_split => format!(
                "not every packet goes through {gateway}: the default route has several next hops, \
                 or there are several of one metric"
            ),
            (Some(used), Some(interface)) if self.leads_to_gateway() => {
                format!("the default gateway is {gateway}, but on {used}, not on {interface}")
            }
            _ => format!("the default gateway is not {gateway}, which the API has assigned"),
        }
    }

    /// The comparison as lines of text.
    pub(crate) fn lines(&self) -> Vec<String> {
        let api = self.gateway.map(|gateway| format!("API: {gateway}"));
        let split = if self.is_split { "by turns, now " } else { "" };
        let kernel = format!("kernel: {split}{}", describe_next_hop(self.hop, &self.names));
        let routes = self.defaults.iter().map(|route| describe_route(route, &self.names));
        api.into_iter().chain([kernel]).chain(routes).collect()
    }

    /// The JSON object. Keys are only ever added.
    pub(crate) fn to_json(&self) -> String {
        let address = |address: Option<IpAddr>| json!(address.map(|it| it.to_string()));
        let interface = |index: Option<u32>| json!(index.map(|index| self.names.name(index)));
        let used = self.hop.map_or(
            Value::Null,
            |hop| json!({"gateway": address(hop.gateway), "interface": interface(hop.interface)}),
        );
        let route = |route: &Route| {
            json!({
                "gateway": address(route.gateway),
                "interface": interface(route.interface),
                "metric": route.metric,
                "protocol": protocol_name(route.protocol),
            })
        };
        // Not one json! object, which would sort the keys.
        format!(
            "{{\"gateway\":{},\"matches\":{},\"used\":{used},\"default_routes\":{}}}",
            address(self.gateway),
            self.matches(),
            Value::Array(self.defaults.iter().map(route).collect())
        )
    }
}
