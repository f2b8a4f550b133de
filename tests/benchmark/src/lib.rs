//! What the programs of this package share: measurements, plots, tables, and pages that have them.

pub mod fleet;
pub mod measure;
pub mod page;
pub mod plot;
pub mod terminal;
