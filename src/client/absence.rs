//! What has changed while the person was away: between a cut of the connection and its return, while nobody looked at any
//! tab for long, or since the page before, whose kept values a page without a network begins with.
//!
//! The first value that an answer replaces meanwhile is remembered; when all that is shown is current again, and what the
//! person did is through, it is handed out beside the value that is there now. What of it is others' doing, and what to say
//! about it, the application knows: it knows the rows.

use super::Client;
use super::entry::Kept;
use crate::error::Kind;
use crate::key::{OrganizationId, QueryKey};
use crate::overlay::{AnyMutation, AnyValue, MutationId};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use uuid::Uuid;

/// Nobody was away who has not looked for less than this, in milliseconds.
pub const AWAY_AFTER: u64 = 5 * 60 * 1000;

/// A value that has been replaced while the person was away.
#[derive(Clone)]
pub struct Moved {
    pub key: QueryKey,
    /// As it would be had nobody but the person changed anything: what was there, with their own mutations over it.
    pub before: AnyValue,
    /// None for what is not there any more.
    pub after: Option<AnyValue>,
    /// The records that the person themselves changed meanwhile.
    pub own: Arc<HashSet<Uuid>>,
}

/// See the module.
pub(super) struct Absence {
    why: Why,
    /// The first value of each key that was replaced, or with which the page began.
    before: HashMap<QueryKey, AnyValue>,
    /// What the person did that these values may lack, in order.
    own: BTreeMap<MutationId, AnyMutation>,
    /// Since when nobody looks, in milliseconds; none while somebody does.
    unseen_since: Option<u64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Why {
    /// The page begins: what it shows from what was kept may be long past.
    Start,
    /// Nobody looks; it has yet to be seen whether for long.
    Unseen,
    Away,
}

impl Absence {
    fn begun(why: Why) -> Self {
        Self { why, before: HashMap::new(), own: BTreeMap::new(), unseen_since: None }
    }

    /// A page that begins.
    pub(super) fn start() -> Self {
        Self::begun(Why::Start)
    }

    /// The page begins with this value, which an earlier one had kept.
    pub(super) fn begins_with(&mut self, key: &QueryKey, value: &AnyValue) {
        if self.why == Why::Start {
            self.before.insert(key.clone(), value.clone());
        }
    }

    /// This value is replaced.
    pub(super) fn replaced(&mut self, key: &QueryKey, value: &AnyValue) {
        if self.why != Why::Start && !self.before.contains_key(key) {
            self.before.insert(key.clone(), value.clone());
        }
    }

    /// The person's own mutation was carried out.
    pub(super) fn carried_out(&mut self, id: MutationId, mutation: &AnyMutation) {
        self.own.insert(id, mutation.clone());
    }

    pub(super) fn forget(&mut self, organization: OrganizationId) {
        self.before.retain(|key, _| key.organization != organization);
    }

    fn is_over(&self) -> bool {
        self.unseen_since.is_none()
    }

    /// The value as the person's own mutations alone would have made it.
    fn with_own(&self, key: &QueryKey, before: &AnyValue) -> Option<AnyValue> {
        let mut value = Some(before.clone());
        for mutation in self.own.values().filter(|mutation| mutation.touches(key)) {
            value = mutation.over(key, value);
        }
        value
    }
}

impl Client {
    /// The connection is gone: what changes from here on, nobody sees happen.
    pub(super) fn cut_off(&mut self) {
        self.be_away(Why::Away);
    }

    /// Nobody looks at any tab of the person any more.
    pub fn unseen(&mut self, now: u64) {
        let absence = self.be_away(Why::Unseen);
        absence.unseen_since.get_or_insert(now);
    }

    /// Somebody looks again.
    pub fn seen(&mut self, now: u64) {
        let Some(absence) = &mut self.absence else { return };
        let Some(since) = absence.unseen_since.take() else { return };
        if absence.why == Why::Unseen {
            if now.saturating_sub(since) < AWAY_AFTER {
                self.absence = None;
            } else {
                absence.why = Why::Away;
            }
        }
    }

    fn be_away(&mut self, why: Why) -> &mut Absence {
        if self.absence.is_none() {
            let answered = self.pending.iter().filter(|pending| pending.is_answered());
            let own = answered.map(|pending| (pending.id, pending.mutation.clone())).collect();
            self.absence = Some(Absence { own, ..Absence::begun(why) });
        }
        let absence = self.absence.get_or_insert_with(Absence::start);
        if why == Why::Away {
            absence.why = Why::Away;
        }
        absence
    }

    /// What was replaced during an absence that is over, once all that is shown is current again.
    pub(super) fn returned(&mut self) -> Option<Vec<Moved>> {
        if !self.is_live || !self.absence.as_ref().is_some_and(Absence::is_over) || !self.has_caught_up() {
            return None;
        }
        let absence = self.absence.take()?;
        let own: Arc<HashSet<Uuid>> = Arc::new(absence.own.values().flat_map(|own| own.records()).collect());
        let moved = absence.before.iter().filter_map(|(key, before)| {
            let entry = self.entries.get(key).filter(|entry| entry.observers > 0)?;
            let after = entry.value.clone();
            let is_same = after.as_ref().is_some_and(|after| Arc::ptr_eq(after, before));
            // What one may no longer see is no news of others.
            let is_gone = entry.absent.as_ref().is_some_and(|absent| absent.kind == Kind::NotFound);
            (!is_same && (after.is_some() || is_gone)).then_some(())?;
            Some(Moved { key: key.clone(), before: absence.with_own(key, before)?, after, own: own.clone() })
        });
        Some(moved.collect())
    }

    /// Whether all that is shown is known to be right, and nothing of the person's is on its way.
    fn has_caught_up(&self) -> bool {
        let is_current = |entry: &super::Entry| {
            let is_judged = entry.is_vouched || entry.is_unwatchable || entry.stamp.is_none();
            let is_current = is_judged && entry.needs.is_empty() && entry.has_answer();
            entry.fetching.is_none() && entry.kept != Kept::Restoring && (is_current || entry.failed > 0)
        };
        self.awaiting_outbox.is_none()
            && self.entries.values().filter(|entry| entry.observers > 0).all(|entry| is_current(entry))
            && !self.pending.iter().any(|pending| pending.is_under_way())
    }
}
