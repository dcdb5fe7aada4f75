//! What people outside may know of how the service stands: a page, JSON, server-sent events, webhooks and files. Once a second
//! somebody looks ([`Keeper`]) and shows it to `policy::status`; what comes of it is printed once and lies ready on the
//! [`desk`], so that a crowd that looks costs copies of bytes and nothing of the requests' planes.
//!
//! What is public names no account, no address, no zone and nobody; cells and surfaces only by the names that the configuration has
//! for the public. Serving it is the admin plane's.

pub mod desk;
mod keeper;
mod memory;
mod names;
mod notify;
mod page;
mod publish;
mod seen;
mod view;

use std::path::PathBuf;

pub use keeper::{Keeper, Resting, StatusThread, Watched};
pub use memory::Memory;
pub use names::PublicNames;
pub use notify::Post;
pub use page::policy;

/// What is configured of it.
#[derive(Clone, Debug, Default)]
pub struct StatusSettings {
    /// The heading of the page.
    pub title: String,
    /// How cells and surfaces are called in public.
    pub names: PublicNames,
    /// A folder for page and JSON.
    pub folder: Option<PathBuf>,
}
