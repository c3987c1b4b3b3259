//! What developers see of the engine: every key as it is held, what happened, and why a key was read. In release builds too;
//! nothing is noted, and nothing costs, before [`listen`].

use crate::client::KeyStanding;
use crate::key::QueryKey;
use crate::snapshot::Stamp;
use crate::trace::{LastFetch, Step};

/// One key of the page.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyReport {
    pub key: QueryKey,
    pub standing: KeyStanding,
    /// When its value was read.
    pub own: Option<Stamp>,
    /// Up to when it is known to be right.
    pub effective: Option<Stamp>,
    pub observers: u32,
    pub needs: usize,
    pub pending: usize,
    pub error: Option<String>,
    /// Of the value as JSON.
    pub bytes: usize,
    /// When its value came, in milliseconds since 1970.
    pub taken_at: Option<u64>,
    pub last_fetch: Option<LastFetch>,
}

/// The page's engine at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub keys: Vec<KeyReport>,
    pub cursor: Option<Stamp>,
    /// How many keys the server has been asked to watch for this tab.
    pub watched: usize,
    /// How many things have been noted: where that is the same, nothing has happened.
    pub noted: u64,
    /// What was noted, the latest first.
    pub steps: Vec<Step>,
}

/// Notes from here on what happens, for as long as the page lives.
pub fn listen() {
    #[cfg(feature = "browser")]
    crate::browser::listen();
}

/// All keys, and the latest steps, at most so many.
pub fn report(most_steps: usize) -> Report {
    #[cfg(feature = "browser")]
    return crate::browser::report(most_steps);
    #[cfg(not(feature = "browser"))]
    {
        let _ = most_steps;
        Report::default()
    }
}

/// Why the key was read last, from cause to picture.
pub fn why(key: &QueryKey) -> Vec<Step> {
    #[cfg(feature = "browser")]
    return crate::browser::why(key);
    #[cfg(not(feature = "browser"))]
    {
        let _ = key;
        Vec::new()
    }
}
