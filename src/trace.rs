//! What happened to the keys of a page, for developers: a bounded log, and the answer to "why did this refetch?". Pure, but
//! for the times, which are passed in.
//!
//! There is none where nobody listens.

use crate::client::Reason;
use crate::key::QueryKey;
use crate::overlay::MutationId;
use crate::snapshot::{Snapshot, Stamp, Xid};
use std::collections::{HashMap, VecDeque};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Counts up.
    pub number: u64,
    /// Milliseconds since 1970, by this device's clock.
    pub at: u64,
    /// The key that it happened to; none for what concerns all.
    pub key: Option<QueryKey>,
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The live connection said that the key is stale by these transactions (by too many to name, where there are none).
    Told {
        xids: Vec<Xid>,
        cursor: Snapshot,
    },
    /// The live connection's state.
    Connection(&'static str),
    /// A fetch began.
    Fetch(Reason),
    /// It brought a value, or said that there is nothing to see: as of this stamp, where it had one.
    Fetched(Option<Stamp>),
    /// It failed.
    FetchFailed(String),
    /// A value came that this tab did not ask for: with the page, from what was kept, by a mutation's answer or for another tab.
    Taken(Option<Stamp>),
    /// The browser has painted what follows.
    Painted,
    Sent(MutationId, String),
    /// Carried out by this transaction (by none, where nothing was to be changed).
    Answered(MutationId, Option<Xid>),
    Refused(MutationId, String),
}

/// The latest fetch of a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LastFetch {
    pub reason: Reason,
    pub at: u64,
    /// How many there have been since somebody listens.
    pub count: u32,
}

/// So many steps are remembered.
const MOST_STEPS: usize = 1_000;

/// See the module.
#[derive(Default)]
pub struct Trace {
    steps: VecDeque<Step>,
    noted: u64,
    fetches: HashMap<QueryKey, LastFetch>,
}

impl Trace {
    pub fn note(&mut self, at: u64, key: Option<QueryKey>, what: What) {
        if let (Some(key), What::Fetch(reason)) = (&key, &what) {
            let count = self.fetches.get(key).map_or(0, |last| last.count) + 1;
            self.fetches.insert(key.clone(), LastFetch { reason: *reason, at, count });
        }
        self.noted += 1;
        if self.steps.len() == MOST_STEPS {
            self.steps.pop_front();
        }
        self.steps.push_back(Step { number: self.noted, at, key, what });
    }

    /// All that is remembered, the oldest first.
    pub fn steps(&self) -> impl DoubleEndedIterator<Item = &Step> {
        self.steps.iter()
    }

    /// How many things have been noted.
    pub fn noted(&self) -> u64 {
        self.noted
    }

    pub fn last_fetch(&self, key: &QueryKey) -> Option<LastFetch> {
        self.fetches.get(key).copied()
    }

    /// Why the key was read last: from what caused it to what was painted, in order. Empty where it has not been read
    /// since somebody listens, or too long ago.
    pub fn why(&self, key: &QueryKey) -> Vec<Step> {
        let is_ours = |step: &&Step| step.key.as_ref() == Some(key);
        let Some(fetch) = self.steps.iter().rev().filter(is_ours).find_map(|step| match step.what {
            What::Fetch(reason) => Some((step.number, reason)),
            _ => None,
        }) else {
            return Vec::new();
        };
        let (number, reason) = fetch;
        let earlier = || self.steps.iter().rev().filter(|step| step.number < number);
        let cause = match reason {
            Reason::Change(xid) => earlier()
                .filter(is_ours)
                .find(|step| matches!(&step.what, What::Told { xids, .. } if xids.contains(&xid))),
            Reason::Changes => earlier().filter(is_ours).find(|step| matches!(step.what, What::Told { .. })),
            Reason::Failed => earlier().filter(is_ours).find(|step| matches!(step.what, What::FetchFailed(_))),
            _ => None,
        };
        // Of a mutation of one's own: from when it was sent, also where it was told of before its answer came.
        let own = match reason {
            Reason::Own(id) | Reason::GivenUp(id) => Some(id),
            Reason::Change(xid) => self.steps.iter().find_map(|step| match step.what {
                What::Answered(id, Some(its)) if its == xid => Some(id),
                _ => None,
            }),
            _ => None,
        };
        let is_own = |step: &Step| match &step.what {
            What::Sent(id, _) | What::Answered(id, _) | What::Refused(id, _) => Some(*id) == own,
            _ => false,
        };
        // What follows the fetch, up to the first picture that shows what it brought.
        let mut has_come = false;
        let mut is_painted = false;
        let follows = |step: &Step| {
            if step.number <= number || step.key.as_ref() != Some(key) || is_painted {
                return step.number == number;
            }
            match step.what {
                What::Fetched(_) | What::FetchFailed(_) => has_come = true,
                What::Painted if has_come => is_painted = true,
                What::Painted => return false,
                _ => {}
            }
            true
        };
        let mut follows = follows;
        self.steps
            .iter()
            .filter(|step| {
                let is_cause = cause.is_some_and(|cause| cause.number == step.number);
                follows(step) || is_cause || is_own(step)
            })
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{OrganizationId, Shape};
    use uuid::Uuid;

    fn key(number: u128) -> QueryKey {
        let organization = OrganizationId(Uuid::from_u128(1));
        QueryKey { organization, table: "orders", shape: Shape::Record(Uuid::from_u128(number)) }
    }

    fn told(xid: u64) -> What {
        What::Told { xids: vec![Xid(xid)], cursor: "9:9:".parse().expect("a snapshot") }
    }

    fn numbers(steps: Vec<Step>) -> Vec<u64> {
        steps.iter().map(|step| step.number).collect()
    }

    #[test]
    fn why_a_key_was_read_is_told_from_the_change_to_the_picture() {
        let mut trace = Trace::default();
        let mut note = |number: u128, what: What| trace.note(0, Some(key(number)), what);
        note(1, What::Fetch(Reason::FirstLook)); // 1
        note(1, What::Fetched(None)); // 2
        note(1, What::Painted); // 3
        note(1, told(7)); // 4
        note(2, told(7)); // 5
        note(1, What::Painted); // 6: for another reason, before the fetch had begun
        note(1, What::Fetch(Reason::Change(Xid(7)))); // 7
        note(1, What::Painted); // 8: that it is being fetched
        note(1, What::Fetched(None)); // 9
        note(2, What::Painted); // 10
        note(1, What::Painted); // 11
        note(1, What::Painted); // 12
        assert_eq!(numbers(trace.why(&key(1))), [4, 7, 9, 11]);
        assert!(trace.why(&key(2)).is_empty(), "told, and not read");
        assert_eq!(trace.last_fetch(&key(1)).map(|last| (last.reason, last.count)), Some((Reason::Change(Xid(7)), 2)));
    }

    #[test]
    fn of_a_change_of_ones_own_it_is_told_when_it_was_sent_and_answered() {
        let mut trace = Trace::default();
        let own = MutationId(Uuid::from_u128(5));
        trace.note(0, None, What::Sent(MutationId(Uuid::from_u128(4)), "Other".to_owned())); // 1
        trace.note(0, None, What::Sent(own, "Rename".to_owned())); // 2
        trace.note(0, None, What::Answered(own, Some(Xid(7)))); // 3
        trace.note(0, Some(key(1)), What::Fetch(Reason::Own(own))); // 4
        assert_eq!(numbers(trace.why(&key(1))), [2, 3, 4]);
    }

    #[test]
    fn the_log_is_bounded_and_forgets_the_oldest() {
        let mut trace = Trace::default();
        (0..MOST_STEPS + 5).for_each(|_| trace.note(0, None, What::Painted));
        assert_eq!(trace.steps().count(), MOST_STEPS);
        assert_eq!(trace.steps().next().map(|step| step.number), Some(6));
    }
}
