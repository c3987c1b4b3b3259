//! **Millstream**: a live query cache for Leptos over PostgreSQL.
//!
//! A component reads a `list` or a `record(id)`; the value stays right while anybody, anywhere, changes the database;
//! writes show at once and are reconciled. The one idea: every value carries the PostgreSQL snapshot that it was read
//! in, and every change the transaction id that made it, so that "is this value stale?" is a comparison
//! ([`snapshot::Snapshot::sees`]), not a guess. `ARCHITECTURE.md` tells the whole.
//!
//! What decides is pure and stands in [`snapshot`], [`key`], [`client`], [`overlay`], [`pages`], [`undo`], [`switchboard`],
//! [`tabs`], [`leadership`], [`flights`], [`kept`], [`polling`], [`vigil`], [`sight`], [`presence`], [`notices`], [`trace`], [`connection`] and, beside the feed, [`relay`]:
//! values in, values out, no clock, no I/O. What acts is thin: `hooks` and `browser` in the page, `sql`, `feed` and `hub` on the server, each behind a
//! feature of its name.

pub mod catalogue;
pub mod client;
pub mod connection;
pub mod error;
pub mod flights;
pub mod found;
pub mod kept;
pub mod key;
pub mod leadership;
pub mod live;
pub mod notices;
pub mod overlay;
pub mod pages;
pub mod polling;
pub mod presence;
pub mod sight;
pub mod snapshot;
pub mod switchboard;
pub mod tabs;
pub mod trace;
pub mod undo;
pub mod vigil;
pub mod wire;

#[cfg(feature = "hooks")]
pub mod arguments;
#[cfg(feature = "browser")]
pub mod browser;
#[cfg(feature = "hooks")]
pub mod calls;
#[cfg(feature = "hooks")]
pub mod devtools;
#[cfg(feature = "feed")]
pub mod feed;
#[cfg(all(any(doc, doctest), feature = "hooks"))]
#[doc = include_str!("../docs/guide.md")]
pub mod guide {}
#[cfg(feature = "hooks")]
pub mod hooks;
#[cfg(feature = "hub")]
pub mod hub;
#[cfg(feature = "sql")]
pub mod loader;
#[cfg(feature = "feed")]
pub mod relay;
#[cfg(feature = "hooks")]
pub mod requests;
#[cfg(feature = "sql")]
pub mod sql;

#[cfg(all(test, feature = "hub"))]
mod simulation;

pub use catalogue::Catalogue;
pub use error::{ApiError, Kind};
pub use found::Found;
pub use key::{OrganizationId, PersonId, QueryKey};
pub use live::Live;
pub use overlay::{AnyMutation, Dispute, Mutation, MutationId, Shown};
pub use snapshot::{Epoch, Snapshot, Stamp, Xid};
pub use wire::{Read, Written};
