//! The binary's parts: configuration, PostgreSQL, sessions, routes, the feed's task, and what starts and stops them.
//! Nothing here knows a page; the product is `app`, the engine `millstream`.

mod answers;
mod batch;
mod boot_check;
pub mod configuration;
pub mod demo;
pub mod feeding;
mod forgetting;
mod live;
mod metrics;
mod offline;
mod presence;
pub mod private_postgres;
mod probes;
mod rate_limit;
mod relaying;
mod requests;
mod roles;
mod routes;
mod running;
mod schema;
mod security_headers;
pub mod serving;
mod session_layer;
pub mod shutdown;
mod sign_in_form;
mod site;
pub mod telemetry;

pub use configuration::Configuration;
pub use running::{BootError, Running, sentence, start};
