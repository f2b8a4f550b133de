//! Settings: flag, then environment, then configuration file, then the default.
//!
//! The settings of each command are resolved once, into a struct of typed values with their
//! origins. The features see only these structs.

#[cfg(feature = "cloud")]
mod cloud_api_settings;
#[cfg(feature = "cloud")]
mod cloud_server_settings;
#[cfg(feature = "cloud")]
mod cloud_settings;
#[cfg(feature = "cloud")]
pub mod credentials;
pub(crate) mod file;
mod format;
mod gateway_settings;
mod origin;
mod settings;
mod sources;

#[cfg(feature = "cloud")]
pub use cloud_api_settings::{BodySource, BodyTarget, CloudApiSettings, PageRange, takes_body};
#[cfg(feature = "cloud")]
pub use cloud_server_settings::{
    CloudWaitSettings, InventoryRequest, NamedServersSettings, ServerSelection, ServersFormat,
    ServersSettings, Until,
};
#[cfg(feature = "cloud")]
pub use cloud_settings::CloudSettings;
#[cfg(feature = "cloud")]
pub use format::TableFormat;
pub use format::{OutputFormat, PlainFormat};
pub use gateway_settings::{
    CheckSettings, KeepSettings, SetSettings, SetWait, ShowFormat, ShowSettings, rescue_state_dir,
};
pub use origin::{Origin, Setting};
pub use settings::{
    ApiSettings, DoctorSettings, FactsSettings, HooksSettings, ListSettings, OneShotSettings,
    RegionCommandSettings, RegionSettings, StatusSettings, StatusSource, WaitSettings,
};
pub use sources::Sources;
