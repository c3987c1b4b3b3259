//! What is held of each key, for developers. Looking changes nothing.

use super::Client;
use crate::key::QueryKey;
use crate::snapshot::Stamp;

/// One key as it is held.
#[derive(Clone)]
pub struct Inspected {
    pub key: QueryKey,
    /// When its value came, in milliseconds, where that was noted; and how long its JSON is.
    pub came: Option<u64>,
    pub bytes: usize,
    /// When it was read.
    pub own: Option<Stamp>,
    /// The latest stamp for which it is known to be right: its own, or the cursor that vouches for it.
    pub effective: Option<Stamp>,
    pub observers: u32,
    pub standing: Standing,
    /// Changes that it lacks, as far as they have been told.
    pub needs: usize,
    /// Mutations that lie over it.
    pub pending: usize,
    /// Why there is no value, or no newer one.
    pub error: Option<String>,
}

/// What is being done about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A fetch is under way.
    Fetching,
    /// The server vouches for it.
    Vouched,
    /// The server has been asked to.
    Asked,
    /// The server would not watch it.
    NotWatched,
    /// Nobody looks at it: it is kept for a while.
    Idle,
    /// It is shown, and nothing vouches for it: there is no connection.
    Unvouched,
}

impl Client {
    /// All keys.
    pub fn inspect(&self) -> Vec<Inspected> {
        let inspected = self.entries.iter().map(|(key, entry)| Inspected {
            key: key.clone(),
            came: entry.came,
            bytes: entry.bytes,
            own: entry.stamp.clone(),
            effective: self.stamp_of(key),
            observers: entry.observers,
            standing: if entry.fetching.is_some() {
                Standing::Fetching
            } else if entry.is_vouched {
                Standing::Vouched
            } else if entry.watch.is_some() {
                Standing::Asked
            } else if entry.is_unwatchable {
                Standing::NotWatched
            } else if entry.observers == 0 {
                Standing::Idle
            } else {
                Standing::Unvouched
            },
            needs: entry.needs.len(),
            pending: self.pending.iter().filter(|pending| pending.lies_over(key)).count(),
            error: entry.error.as_ref().or(entry.absent.as_ref()).map(|error| error.message.clone()),
        });
        inspected.collect()
    }

    /// How many keys the server has been asked to watch.
    pub fn watched(&self) -> usize {
        self.numbers.len()
    }

    /// How far the live connection has come.
    pub fn cursor(&self) -> Option<&Stamp> {
        self.cursor.as_ref()
    }

    /// The key that is watched by this number.
    pub fn key_of(&self, number: crate::wire::WatchNumber) -> Option<&QueryKey> {
        self.numbers.get(&number)
    }
}
