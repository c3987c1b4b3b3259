//! What has to be true of what a page shows, whatever happens.

use super::{Fate, Made, Picture, Sight, Tab};
use crate::client::Progress;
use crate::overlay::{AnyValue, ErasedMutation, MutationId};
use crate::simulation::database::{Database, When};
use crate::simulation::product::Query;
use crate::snapshot::Epoch;
use crate::wire::Read;
use std::collections::BTreeSet;

impl Tab {
    pub(super) fn picture(&self, query: &Query) -> Picture {
        let view = self.client.view(&query.key());
        let error = view.error.map(|error| error.kind);
        Picture { data: view.data, sight: Sight { is_pending: view.is_pending, error } }
    }

    /// Everything that is shown is what it has to be.
    pub(super) fn look(&mut self, database: &Database) -> Result<(), String> {
        for query in self.observed() {
            let now = self.picture(&query);
            if let Some(drawn) = self.screen.get(&query)
                && (drawn.sight != now.sight || !query.is_same(drawn.data.as_ref(), now.data.as_ref()))
            {
                return Err(format!("screen: {query:?} would be shown otherwise, and the screen was not told"));
            }
            let held = match self.client.answer(&query.key()) {
                Some(Ok(found)) => found.stamped(),
                Some(Err(_)) | None => None,
            };
            self.look_at_rights(&query, held.as_ref())?;
            if held.is_some() && self.left.contains(&query.organization()) {
                return Err(format!("shown after leaving: {query:?} is shown, and the person has left"));
            }
            self.look_at_stamp(&query, held.as_ref(), database)?;
            self.look_at_overlay(&query, held, &now, database)?;
        }
        Ok(())
    }

    /// Where rights became less, nothing is shown that was read by the old ones.
    fn look_at_rights(&self, query: &Query, held: Option<&Read<AnyValue>>) -> Result<(), String> {
        let (Some(by), Some(held)) = (self.narrowed.get(&query.organization()), held) else { return Ok(()) };
        if held.epoch == by.epoch && by.xids.iter().any(|xid| !held.snapshot.sees(*xid)) {
            return Err(format!(
                "old rights: {query:?} is shown as of {}, before its rights became less by {:?}",
                held.snapshot, by.xids
            ));
        }
        Ok(())
    }

    /// A value never goes back, and is what the database held at its stamp.
    fn look_at_stamp(
        &mut self,
        query: &Query,
        held: Option<&Read<AnyValue>>,
        database: &Database,
    ) -> Result<(), String> {
        let Some(held) = held else { return Ok(()) };
        let stamp = held.stamp();
        let before = self.stamps.insert(query.clone(), stamp.clone());
        if before.as_ref() == Some(&stamp) {
            return Ok(());
        }
        if let Some(before) = before {
            let life = |epoch: Epoch| database.life_of(epoch);
            let is_back = match life(stamp.epoch).cmp(&life(before.epoch)) {
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Equal => !stamp.covers(&before),
                std::cmp::Ordering::Greater => false,
            };
            if is_back {
                return Err(format!("going back: {query:?} goes back from {} to {}", before.snapshot, stamp.snapshot));
            }
        }
        let truth = query.answer(database, self.person, When::Then(&stamp)).ok();
        if !query.is_same(Some(&held.data), truth.as_ref()) {
            return Err(format!(
                "untrue: {query:?} is held as of {} as {}, and was {} then",
                stamp.snapshot,
                query.written(Some(&held.data)),
                query.written(truth.as_ref())
            ));
        }
        Ok(())
    }

    /// What is shown is the server's value with each of one's own mutations exactly once: in the value, or over it.
    fn look_at_overlay(
        &self,
        query: &Query,
        held: Option<Read<AnyValue>>,
        now: &Picture,
        database: &Database,
    ) -> Result<(), String> {
        let key = query.key();
        let stamp = held.as_ref().map(Read::stamp);
        // One that changed nothing leaves no trace in the value: until its answer comes, nobody can tell that it has been
        // carried out, and what was asked for last stays over an earlier one that is yet to be refused (seed 211129).
        let changed_nothing =
            |made: &Made| database.recorded(self.person, made.id).is_some_and(|(recorded, _)| !recorded.changed);
        let laid_over = |leaves_a_trace: &dyn Fn(&Made) -> bool| {
            let mut expected = held.as_ref().map(|read| read.data.clone());
            for made in self.made.iter().filter(|made| matches!(made.fate, Fate::Open | Fate::Answered)) {
                let is_contained = match &stamp {
                    Some(stamp) => database.holds(self.person, made.id, When::Then(stamp)),
                    // Nobody knows as of when nothing is there: once it is carried out, it may be in it.
                    None => database.holds(self.person, made.id, When::Now),
                };
                let is_doubted = self.client.doubted(&key).contains(&made.id);
                let is_in_it = is_contained && leaves_a_trace(made);
                if !is_in_it && !is_doubted && made.write.touches(&key) {
                    expected = made.write.over(&key, expected);
                }
            }
            expected
        };
        let expected = laid_over(&|_| true);
        if stamp.is_none() && now.data.is_some() {
            return Ok(());
        }
        let is_shown = |expected: &Option<AnyValue>| query.is_same(expected.as_ref(), now.data.as_ref());
        let is_open = |made: &Made| made.fate == Fate::Open;
        if !is_shown(&expected) && !is_shown(&laid_over(&|made| !(is_open(made) && changed_nothing(made)))) {
            return Err(format!(
                "overlay: {query:?} shows {}; the value with each own mutation once is {}",
                query.written(now.data.as_ref()),
                query.written(expected.as_ref())
            ));
        }
        Ok(())
    }

    /// A fetch needs a reason: no value, an unseen change that affects the key, another epoch, a change of rights, a
    /// nameless notice, or a mutation of one's own that touches a key for which no cursor speaks.
    pub(super) fn justify(&mut self, query: &Query, database: &Database) -> Result<(), String> {
        let noticed = self.noticed.get(query).cloned().unwrap_or_default();
        if self.failed.contains(query) {
            return Ok(());
        }
        let Some(Ok(held)) = self.client.answer(&query.key()) else { return Ok(()) };
        let Some(stamp) = held.stamp else { return Ok(()) };
        // What was told in one epoch cannot be compared with a value of another.
        if !database.is_present(stamp.epoch) || noticed.iter().any(|epoch| *epoch != stamp.epoch) {
            return Ok(());
        }
        let depends = query.depends(database, self.person);
        let mut unseen = database.events_since(&stamp, query.organization());
        let is_affected = unseen.any(|event| {
            event.person == Some(self.person)
                || event.organization.is_none()
                || depends.iter().any(|dependency| dependency.affected_by(&event.change))
        });
        // Of an answer of another epoch than the value's nobody can tell whether the value contains it.
        let touches_unseen = |made: &Made| {
            let is_known = database.life_of_mutation(self.person, made.id) == Some(database.life_of(stamp.epoch))
                && database.holds(self.person, made.id, When::Then(&stamp));
            let is_open = made.fate == Fate::Open; // the read before this one could not say whether it contains it
            made.write.touches(&query.key()) && (is_open || (made.fate == Fate::Answered && !is_known))
        };
        // An excuse is good for one fetch: it is kept for one that has no other reason.
        if is_affected || self.made.iter().any(touches_unseen) || self.excused.remove(query) {
            return Ok(());
        }
        Err(format!(
            "needless fetch: {query:?} is fetched, and nothing that affects it happened since {}",
            stamp.snapshot
        ))
    }

    /// Mutations that wait for the person.
    pub(in crate::simulation) fn refused_mutations(&self) -> BTreeSet<MutationId> {
        let all = self.client.mutations().into_iter();
        all.filter(|(.., progress)| matches!(progress, Progress::Held(_))).map(|(id, ..)| id).collect()
    }

    /// When nothing is in flight any more: everything shown is what the database answers now.
    pub(in crate::simulation) fn look_at_rest(&self, database: &Database) -> Result<(), String> {
        for query in self.observed.keys() {
            let truth = query.answer(database, self.person, When::Now).ok();
            let shown = self.picture(query);
            // A known gap: of a record that a narrowed person may not see, nobody tells them when they may.
            if shown.data.is_none() && self.refused.contains(query) && query.is_narrowed(database, self.person) {
                continue;
            }
            if !query.is_same(shown.data.as_ref(), truth.as_ref()) {
                return Err(format!(
                    "wrong at rest: {query:?} shows {}, and the database answers {}",
                    query.written(shown.data.as_ref()),
                    query.written(truth.as_ref())
                ));
            }
            if shown.sight.is_pending {
                return Err(format!("pending at rest: something is still pending over {query:?}"));
            }
        }
        // One that was answered may lie over a value that nobody shows or watches, until that is forgotten.
        if self.client.mutations().iter().any(|(.., progress)| *progress == Progress::Made) {
            return Err("pending at rest: a mutation is still unanswered".to_owned());
        }
        if !self.unanswered.is_empty() {
            return Err(format!("unanswered watch: watches have not been answered: {:?}", self.unanswered));
        }
        for made in &self.made {
            let is_done = database.holds(self.person, made.id, When::Now);
            if made.fate == Fate::Open || (made.fate == Fate::Answered && !is_done) {
                return Err(format!("lost mutation: {} ended as {:?}, carried out: {is_done}", made.id, made.fate));
            }
        }
        Ok(())
    }
}
