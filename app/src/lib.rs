//! The product: a live workspace for make-to-order manufacturing. One folder a domain, each with its rows, its server
//! functions and its views; `ui` is the design system. Nothing here knows a socket.

// Deeply nested views are deep types.
#![recursion_limit = "512"]
// The arguments of a server function are the fields of its request.
#![allow(clippy::too_many_arguments)]

pub mod away;
pub mod catalogue;
pub mod change;
pub mod core_data;
pub mod customers;
pub mod devtools;
pub mod lazy;
pub mod offline;
pub mod orders;
pub mod projects;
pub mod root;
pub mod tenancy;
pub mod ui;

#[cfg(feature = "ssr")]
mod registry;
#[cfg(feature = "ssr")]
pub mod request;

#[cfg(feature = "ssr")]
pub use registry::registry;
pub use root::App;
#[cfg(feature = "ssr")]
pub use root::{offline_shell, shell};
