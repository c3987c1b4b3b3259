//! The binary's parts: configuration, PostgreSQL, sessions, routes, the feed's task, and what starts and stops them.
//! Nothing here knows a page; the product is `app`, the engine `millstream`.

mod answers;
mod batch;
mod boot_check;
pub mod configuration;
pub mod demo;
pub mod feeding;
mod live;
mod metrics;
mod offline;
mod presence;
pub mod private_postgres;
mod probes;
mod rate_limit;
mod requests;
mod roles;
mod routes;
mod running;
mod schema;
mod security_headers;
mod session_layer;
mod shutdown;
mod sign_in_form;
mod site;

pub use configuration::Configuration;
pub use running::{BootError, Running, sentence, start};
