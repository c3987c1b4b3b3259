//! What a value has missed since it was read: the answer to the stamp that comes with a watch. Pure.

use super::registry::Resolved;
use crate::error::ApiError;
use crate::feed::Event;
use crate::key::{PersonId, Shape};
use crate::snapshot::{Epoch, Xid};
use crate::wire::{Refused, Watch, WatchNumber};
use std::collections::HashMap;
use uuid::Uuid;

/// A key that is about to be watched, with the stamp of the value that the client holds.
pub(crate) struct Candidate {
    pub(crate) watch: Watch,
    pub(crate) resolved: Resolved,
}

impl Candidate {
    /// The table and record of which it has to be asked whether the person sees it: rights that are narrowed say what
    /// can change a record, not whether one may know of it.
    pub(crate) fn asks_visibility(&self) -> Option<(&'static str, Uuid)> {
        match self.resolved.key.shape {
            Shape::Record(record) if self.resolved.is_narrowed => Some((self.resolved.key.table, record)),
            _ => None,
        }
    }

    /// The refusal of a record that the person cannot see.
    pub(crate) fn hidden(&self) -> Refused {
        Refused { number: self.watch.number, error: ApiError::not_found("record") }
    }
}

/// What the event table holds from the candidates' oldest `xmin` on, in their organizations.
pub(crate) struct Beyond {
    /// None where the database has just crashed and nobody has begun a new one.
    pub(crate) epoch: Option<Epoch>,
    /// Events of transactions before this one are no longer all kept.
    pub(crate) horizon: Xid,
    /// None where they are too many to be looked at one by one.
    pub(crate) events: Option<Vec<Event>>,
}

/// Why a value is stale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    Changes(Vec<Xid>),
    /// Its stamp is of another epoch, or older than what is kept, or too far back to be looked at.
    Unknown,
}

/// Those of the person's candidates whose values are stale, and why.
pub(crate) fn missed(person: PersonId, candidates: &[Candidate], beyond: &Beyond) -> HashMap<WatchNumber, Missed> {
    let why = |Candidate { watch, resolved }: &Candidate| {
        let events = beyond
            .events
            .as_ref()
            .filter(|_| beyond.epoch == Some(watch.epoch) && watch.snapshot.sees_all_before(beyond.horizon));
        let Some(events) = events else { return Some(Missed::Unknown) };
        let affects = |event: &&Event| {
            event.organization == Some(resolved.key.organization)
                && !watch.snapshot.sees(event.xid)
                && event.audience.as_ref().is_none_or(|audience| audience.contains(&person))
                && resolved.dependencies.iter().any(|dependency| dependency.affected_by(&event.change))
        };
        let xids: Vec<_> = events.iter().filter(affects).map(|event| event.xid).collect();
        (!xids.is_empty()).then_some(Missed::Changes(xids))
    };
    let stale = candidates.iter().filter_map(|candidate| Some((candidate.watch.number, why(candidate)?)));
    stale.collect()
}
