//! Shared by the programs of this package: measurements, plots, tables, and pages that contain
//! them.

pub mod fleet;
pub mod measure;
pub mod page;
pub mod plot;
pub mod terminal;
