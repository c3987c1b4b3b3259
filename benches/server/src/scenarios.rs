//! One file a scenario: what is started, what is done, what of it is measured.

pub(crate) mod commits;
pub(crate) mod latency;
