//! Measurements of the program and its peers, against the simulated API.

mod cloud_wait;
mod cost;
mod dead_network;
mod gateway;
mod hour;
mod latency;
mod many;
mod one_call;
mod proxy;
mod world;

use std::error::Error;
use std::path::PathBuf;

pub use gateway::IN_NAMESPACE;
pub use gateway::main as gateway_main;

use crate::page::table;
use crate::plot::{Bars, Picture};
use world::World;

/// The error of a measurement that this machine does not allow.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The extent of the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everything, in about ten minutes.
    Full,
    /// A few runs of everything, to check that it works.
    Quick,
}

impl Extent {
    fn of<T>(self, full: T, quick: T) -> T {
        match self {
            Extent::Full => full,
            Extent::Quick => quick,
        }
    }
}

/// A part of the report.
pub struct Section {
    title: &'static str,
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Section {
    /// The section in Markdown.
    pub fn markdown(&self) -> String {
        format!("**{}**\n\n{}", self.title, table(&self.head, &self.rows))
    }
}

/// All sections, and their picture.
pub struct Report {
    /// In their order.
    pub sections: Vec<Section>,
    /// Ratios and waits.
    pub pictures: Vec<Picture>,
}

/// Measures everything. `say` is called with the name of each part.
///
/// # Errors
/// The program cannot be run, or behaves unexpectedly.
pub fn report(program: PathBuf, extent: Extent, say: &mut dyn FnMut(&str)) -> Result<Report> {
    let world = World::new(program)?;
    say("one call");
    let calls = one_call::measure(&world, extent)?;
    say("an hour's wait");
    let hour = hour::measure(&world, extent)?;
    say("from a change of the status to the end of a wait");
    let latency = latency::measure(&world, extent)?;
    say("many waits at once");
    let many = many::measure(&world, extent)?;
    say("cloud wait");
    let cloud_wait = cloud_wait::measure(&world, extent)?;
    say("routes");
    let gateway = gateway::measure(&world, extent)?;
    say("dead networks");
    let dead = dead_network::measure(&world)?;
    let pictures = vec![
        Picture::Bars(Bars {
            title: "One status: cost relative to rackconnect (= 1)".into(),
            groups: calls.ratios(),
        }),
        Picture::Plot(many.plot()),
    ];
    let many = many.section();
    let mut sections =
        vec![calls.times(), calls.resources(), hour, latency, many, cloud_wait, gateway, dead];
    sections.retain(|section| !section.rows.is_empty());
    Ok(Report { sections, pictures })
}
