//! `gateway check`: the API's gateway beside the kernel's default routes.

use std::net::IpAddr;

use super::{ask, store_to_look_at};
use crate::cli::options;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::gateway::{kernel, plan};
use crate::netlink::{INET, NextHop, Route, family_of};
use crate::ui::escape_control;
use crate::ui::output;

/// Compares, and changes nothing.
pub fn run(settings: &Settings) -> Result<Exit> {
    let json = match settings.flag(&options::FORMAT) {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => {
            return Err(Error::usage(format!(
                "--format: {other:?} is not supported here (text, json)"
            )));
        }
    };
    let named = settings.interface()?;
    store_to_look_at(settings)?;
    let asked = ask::gateway(settings);
    let gateway = asked.as_ref().ok().copied();
    let mut netlink = kernel::open()?;
    let family = gateway.map_or(INET, family_of);
    let defaults = kernel::defaults(&mut netlink, family)?;
    let hop = kernel::internet(&mut netlink, family)?;
    let is_split = kernel::is_split(&mut netlink, family)?;
    let namer = kernel::namer(&mut netlink);
    let name = |index: u32| namer(index).unwrap_or_else(|| format!("#{index}"));
    let is_through = gateway.is_some() && hop.and_then(|hop| hop.gateway) == gateway;
    let on = hop.and_then(|hop| hop.interface).map(name);
    let is_named = named.is_none() || named == on;
    let is_used = is_through && is_named && !is_split;
    if json {
        output::line(&object(gateway, hop, &defaults, is_used, &name))?;
    } else {
        if let Some(gateway) = gateway {
            output::line(&format!("API: {gateway}"))?;
        }
        let hops = if is_split { "by turns, now " } else { "" };
        output::line(&escape_control(&format!("kernel: {hops}{}", kernel::describe(hop, name))))?;
        for route in &defaults {
            output::line(&escape_control(&plan::show(route, &|index| Some(name(index)))))?;
        }
    }
    // What the kernel has is of use even where the API has nothing to say.
    let gateway = asked?;
    if is_used {
        return Ok(Exit::Ok);
    }
    let why = match (on, named) {
        _ if hop.is_none() => {
            format!("there is no default route, and the API has assigned {gateway}")
        }
        _ if is_through && is_split => format!(
            "not every packet goes through {gateway}: the default route has several next hops, or there are several of one metric"
        ),
        (Some(on), Some(named)) if is_through => {
            format!("the default gateway is {gateway}, but on {on}, not on {named}")
        }
        _ => format!("the default gateway is not {gateway}, which the API has assigned"),
    };
    log::error!("{}", escape_control(&why));
    Ok(Exit::NotTheGateway)
}

/// The object. Keys are only ever added.
fn object(
    gateway: Option<IpAddr>,
    hop: Option<NextHop>,
    defaults: &[Route],
    is_used: bool,
    name: &dyn Fn(u32) -> String,
) -> String {
    let text = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let address = |address: Option<IpAddr>| {
        address.map_or("null".to_owned(), |address| text(&address.to_string()))
    };
    let interface =
        |index: Option<u32>| index.map_or("null".to_owned(), |index| text(&name(index)));
    let used = hop.map_or("null".to_owned(), |hop| {
        format!(
            "{{\"gateway\":{},\"interface\":{}}}",
            address(hop.gateway),
            interface(hop.interface)
        )
    });
    let routes: Vec<String> = defaults
        .iter()
        .map(|route| {
            format!(
                "{{\"gateway\":{},\"interface\":{},\"metric\":{},\"protocol\":{}}}",
                address(route.gateway),
                interface(route.interface),
                route.metric,
                text(&plan::protocol(route.protocol)),
            )
        })
        .collect();
    format!(
        "{{\"gateway\":{},\"matches\":{is_used},\"used\":{used},\"default_routes\":[{}]}}",
        address(gateway),
        routes.join(",")
    )
}
