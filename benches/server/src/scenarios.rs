//! One file a scenario: what is started, what is done, what of it is measured.

pub(crate) mod chaos;
pub(crate) mod commits;
pub(crate) mod fanout;
pub(crate) mod feed;
pub(crate) mod latency;
pub(crate) mod memory;
pub(crate) mod peers;
pub(crate) mod reconnect;
pub(crate) mod revocation;
pub(crate) mod storm;
