//! What a fetch finds. Pure.

use crate::overlay::MutationId;
use crate::snapshot::Stamp;
use crate::wire::Read;
use serde::{Deserialize, Serialize};

/// A value as a fetch brought it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found<T> {
    pub data: T,
    /// When it was read; none where the server does not say, as of a query that is no live table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
    /// Which of the mutations that the read named are in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contains: Vec<MutationId>,
}

impl<T> Found<T> {
    /// A value of which nobody says when it was read.
    pub fn unstamped(data: T) -> Self {
        Self { data, stamp: None, contains: Vec::new() }
    }

    /// The read that found it, where the server said when that was.
    pub fn stamped(self) -> Option<Read<T>> {
        let Self { data, stamp, contains } = self;
        stamp.map(|Stamp { snapshot, epoch }| Read { data, snapshot, epoch, contains })
    }

    /// The same with other data.
    pub fn map<U>(self, other: impl FnOnce(T) -> U) -> Found<U> {
        let Self { data, stamp, contains } = self;
        Found { data: other(data), stamp, contains }
    }

    /// The same with other data, where there are any.
    ///
    /// # Errors
    /// That of `other`.
    pub fn and_then<U, E>(self, other: impl FnOnce(T) -> Result<U, E>) -> Result<Found<U>, E> {
        let Self { data, stamp, contains } = self;
        Ok(Found { data: other(data)?, stamp, contains })
    }
}

impl<T> From<Read<T>> for Found<T> {
    fn from(read: Read<T>) -> Self {
        let stamp = Some(read.stamp());
        Self { data: read.data, stamp, contains: read.contains }
    }
}
