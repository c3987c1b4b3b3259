//! When a key is read, what an answer is worth, and what is read again.

use super::entry::{Kept, Need};
use super::outbox::Pending;
use super::reason::Reason;
use super::{Belonging, Client, Effect, LONG_AGO, MOST_TICKS_POSTPONED, Question, Ticket};
use crate::error::{ApiError, Kind};
use crate::found::Found;
use crate::key::QueryKey;
use crate::overlay::{AnyValue, MutationId};
use crate::snapshot::{Epoch, Xid};

impl Client {
    /// A fetch has ended.
    pub fn fetched(
        &mut self,
        key: &QueryKey,
        ticket: Ticket,
        question: &Question,
        answer: Result<impl Into<Found<AnyValue>>, ApiError>,
    ) {
        let answer = answer.map(Into::into);
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.fetching != Some(ticket) {
            return; // wiped meanwhile, and begun anew
        }
        entry.fetching = None;
        let stamp = match &answer {
            Ok(found) => found.stamp.as_ref(),
            Err(error) => error.stamp.as_ref(),
        };
        // What is not taken need not be clear.
        let is_taken = entry.is_replaced_by(stamp, ticket);
        if is_taken && self.is_unclear(key, ticket, question, &answer) {
            self.fetch(key, Reason::Unclear);
            return;
        }
        // It was asked since, so the server has decided anew.
        if answer.is_ok() {
            self.belongs.insert(key.organization, Belonging::Member);
        }
        self.land(key, ticket, question, answer);
    }

    /// An answer to a question that somebody else asked, nobody knows when. It may be newer than what is held; and where this
    /// client waits for an answer too, this is the one, unless something was missing here that it does not bring.
    pub fn offered(
        &mut self,
        key: &QueryKey,
        question: &Question,
        answer: Result<impl Into<Found<AnyValue>>, ApiError>,
    ) {
        let answer = answer.map(Into::into);
        let Some(entry) = self.entries.get_mut(key) else { return };
        let was_asked = entry.fetching.take().is_some();
        if self.has_left(key.organization) || self.is_unclear(key, LONG_AGO, question, &answer) {
            if was_asked {
                self.fetch(key, Reason::Unclear);
            }
            return;
        }
        let is_answer = answer.as_ref().map_or_else(|error| error.kind.is_absence(), |_| true);
        // What failed is tried again by who needs it.
        if is_answer || was_asked {
            self.land(key, LONG_AGO, question, answer);
        }
    }

    /// Whether nobody can tell if the answer contains some mutation: one that the question did not name, and whose
    /// transaction is not known yet or is of another epoch. The next read names it, or begins after it was carried out.
    pub(super) fn is_unclear(
        &self,
        key: &QueryKey,
        ticket: Ticket,
        question: &Question,
        answer: &Result<Found<AnyValue>, ApiError>,
    ) -> bool {
        let stamp = match answer {
            Ok(found) => found.stamp.as_ref(),
            Err(error) if error.kind.is_absence() => error.stamp.as_ref(),
            Err(_) => return false,
        };
        let read_in = stamp.map(|stamp| stamp.epoch);
        self.may_hold_unnamed(key, question, read_in, answer.is_err())
            || self.forgotten.is_unclear(key, ticket, question, read_in, answer.is_err())
    }

    fn may_hold_unnamed(&self, key: &QueryKey, question: &Question, read_in: Option<Epoch>, is_absence: bool) -> bool {
        self.pending.iter().any(|pending| {
            // An absence does not say which mutations it contains, so naming one has not helped.
            let is_named = question.named.contains(&pending.id) && !(is_absence && pending.is_answered());
            let is_known = question.after.contains(&pending.id);
            let may_contain = !is_named && !is_known && pending.may_be_done(read_in);
            may_contain && pending.mutation.touches(key)
        })
    }

    /// Whether it can be told of each pending mutation if what was found contains it. What is not clear is not to be kept: a page
    /// that starts with it would not know either, and lay the mutation over it.
    pub fn is_clear<T>(&self, key: &QueryKey, question: &Question, found: &Found<T>) -> bool {
        !self.may_hold_unnamed(key, question, found.stamp.as_ref().map(|stamp| stamp.epoch), false)
    }

    fn land(&mut self, key: &QueryKey, ticket: Ticket, question: &Question, answer: Result<Found<AnyValue>, ApiError>) {
        match answer {
            Ok(found) => {
                self.accept(key, ticket, question.kept(&found));
                // Somebody may wait for it who does not show it yet.
                self.find_first(key);
            }
            Err(error) if error.kind.is_absence() => self.accept_absence(key, ticket, error, question.after.clone()),
            Err(error) => {
                self.could_not_read(key, error);
                return;
            }
        }
        self.fetch_if_needed(key);
    }

    fn could_not_read(&mut self, key: &QueryKey, error: ApiError) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.failed += 1;
        if error.kind.is_passing() {
            self.effects.push(Effect::RetryFetch { key: key.clone(), failed: entry.failed });
        }
        if error.kind == Kind::Unauthenticated {
            self.effects.push(Effect::SignedOut);
        }
        entry.error = Some(Box::new(error));
        self.effects.push(Effect::Changed(key.clone()));
    }

    /// The question to which an answer for the key is waited for.
    pub fn awaits(&self, key: &QueryKey) -> Option<Ticket> {
        self.entries.get(key)?.fetching
    }

    /// The keys for which an answer is waited for, with what is to be asked: of the tab that begins to lead. What is no live
    /// table, each tab asks for itself.
    pub fn questions(&self) -> Vec<(QueryKey, Ticket, Question)> {
        let shared = self.entries.iter().filter(|(key, _)| key.is_live());
        let asked = shared.filter_map(|(key, entry)| Some((key, entry.fetching?)));
        asked.map(|(key, ticket)| (key.clone(), ticket, self.question(key))).collect()
    }

    pub(super) fn question(&self, key: &QueryKey) -> Question {
        let ids = |is_meant: fn(&Pending) -> bool| -> Vec<_> {
            let meant = self.pending.iter().filter(|pending| is_meant(pending) && pending.mutation.touches(key));
            meant.map(|pending| pending.id).collect()
        };
        Question { named: ids(Pending::is_exposed), after: ids(Pending::is_answered) }
    }

    /// The pause after a failure is over.
    pub fn retry_fetch(&mut self, key: &QueryKey) {
        self.fetch_again(key, Reason::Failed);
    }

    /// The person asks to try again.
    pub fn ask_again(&mut self, key: &QueryKey) {
        self.fetch_again(key, Reason::Asked);
    }

    fn fetch_again(&mut self, key: &QueryKey, reason: Reason) {
        if let Some(entry) = self.entries.get(key)
            && entry.fetching.is_none()
            && entry.observers > 0
            && (entry.error.is_some() || !entry.needs.is_empty())
        {
            self.fetch(key, reason);
        }
    }

    pub(super) fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// Asks for the key's value: first of what is kept, then of the server.
    pub(super) fn fetch(&mut self, key: &QueryKey, reason: Reason) {
        if let Some(awaiting) = self.awaiting_outbox.as_mut().filter(|_| key.is_live()) {
            awaiting.insert(key.clone());
            return;
        }
        let may_be_kept = self.may_be_kept(key);
        let entry = self.entries.entry(key.clone()).or_default();
        match entry.kept {
            Kept::Restoring => return,
            Kept::Unknown if !entry.has_answer() && may_be_kept => {
                entry.kept = Kept::Restoring;
                self.effects.push(Effect::Restore { key: key.clone() });
                return;
            }
            Kept::Unknown | Kept::Done => entry.kept = Kept::Done,
        }
        self.postponed.remove(key);
        let ticket = self.next_ticket();
        self.entries.entry(key.clone()).or_default().fetching = Some(ticket);
        let question = self.question(key);
        let spread = if self.entries.get(key).is_some_and(|entry| entry.has_answer()) { self.spread } else { 0 };
        self.effects.push(Effect::Fetch { key: key.clone(), ticket, question, reason, spread });
        self.effects.push(Effect::Changed(key.clone()));
    }

    pub(super) fn fetch_if_needed(&mut self, key: &QueryKey) {
        let Some(reason) = self.reason_to_fetch(key) else { return };
        if self.entries.get(key).is_some_and(|entry| entry.has_answer()) && self.waits_for_request(key) {
            self.postponed.entry(key.clone()).or_insert(self.ticks);
        } else {
            self.fetch(key, reason);
        }
    }

    /// Reads what has waited for a request that is answered now.
    pub(super) fn fetch_postponed(&mut self) {
        for (key, _) in std::mem::take(&mut self.postponed) {
            if let Some(reason) = self.reason_to_fetch(&key) {
                self.fetch(&key, reason);
            }
        }
    }

    /// Why the key is to be read now, if it is.
    fn reason_to_fetch(&self, key: &QueryKey) -> Option<Reason> {
        let entry = self.entries.get(key)?;
        // A change of one's own whose answer is on the way needs no fetch: the answer brings the value.
        let is_on_its_way = |need: &Need| match need {
            Need::Transaction(xid, epoch) => self.pending.iter().any(|pending| pending.will_bring(key, *xid, *epoch)),
            Need::All(_) | Need::Anything(_) => false,
        };
        let reason = if !entry.has_answer() && !self.is_promised(key) {
            Some(Reason::FirstLook)
        } else {
            entry.needs.iter().find(|(need, _)| !is_on_its_way(need)).map(|(need, _)| self.reason_of(need))
        };
        reason.filter(|_| entry.observers > 0 && entry.fetching.is_none() && entry.failed == 0)
    }

    fn reason_of(&self, need: &Need) -> Reason {
        match need {
            Need::Transaction(xid, epoch) => {
                let own = self.pending.iter().find(|pending| pending.was_done_by(*xid, *epoch));
                own.map_or(Reason::Change(*xid), |own| Reason::Own(own.id))
            }
            Need::All(_) => Reason::Changes,
            Need::Anything(reason) => *reason,
        }
    }

    /// Whether a request is under way that carries out several mutations over the key's value. Each would be told of by itself,
    /// and the value be read as often; so it is read once the request is answered, or after some ticks if that takes long.
    pub(super) fn waits_for_request(&self, key: &QueryKey) -> bool {
        let since = self.postponed.get(key).copied().unwrap_or(self.ticks);
        self.ticks - since < MOST_TICKS_POSTPONED && self.is_touched_by_a_request(key)
    }

    pub(super) fn need_transaction(&mut self, key: &QueryKey, xid: Xid, epoch: Epoch) {
        self.need(key, Need::Transaction(xid, epoch));
    }

    pub(super) fn need_anything(&mut self, key: &QueryKey, reason: Reason) {
        self.need(key, Need::Anything(reason));
    }

    pub(super) fn need(&mut self, key: &QueryKey, need: Need) {
        let now = self.last_ticket;
        let Some(entry) = self.entries.get_mut(key) else { return };
        if !entry.needs.iter().any(|(noted, at)| *noted == need && *at == now) {
            entry.needs.push((need, now));
        }
        self.fetch_if_needed(key);
    }

    pub(super) fn accept(&mut self, key: &QueryKey, ticket: Ticket, found: impl Into<Found<AnyValue>>) {
        self.take_in(key, ticket, found);
        self.forget_settled();
    }

    /// Takes a value, and leaves it to the caller to forget what is settled by it.
    pub(super) fn take_in(&mut self, key: &QueryKey, ticket: Ticket, found: impl Into<Found<AnyValue>>) {
        let Found { data, stamp, contains } = found.into();
        let now = self.last_ticket;
        if self.is_by_old_rights(key, ticket, stamp.as_ref()) {
            // It was under way when they became less. Whoever shows the key asks again.
            if self.entries.contains_key(key) {
                self.effects.push(Effect::Changed(key.clone()));
                self.fetch_if_needed(key);
            }
            return;
        }
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.take(stamp, ticket, now) {
            if let (Some(absence), Some(value)) = (&mut self.absence, &entry.value) {
                absence.replaced(key, value);
            }
            entry.value = Some(data);
            entry.absent = None;
            entry.is_hidden = false;
            entry.contains = contains;
            self.remember_what_lacks(key, ticket);
        }
        self.accepted(key);
    }

    pub(super) fn accept_absence(
        &mut self,
        key: &QueryKey,
        ticket: Ticket,
        mut error: ApiError,
        contains: Vec<MutationId>,
    ) {
        let now = self.last_ticket;
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.take(error.stamp.take(), ticket, now) {
            if let (Some(absence), Some(value)) = (&mut self.absence, &entry.value) {
                absence.replaced(key, value);
            }
            entry.value = None;
            entry.absent = Some(Box::new(error));
            entry.is_hidden = false;
            entry.contains = contains;
            self.remember_what_lacks(key, ticket);
        }
        self.accepted(key);
        self.forget_settled();
    }

    fn accepted(&mut self, key: &QueryKey) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.failed = 0;
            entry.error = None;
        }
        self.unsettled_watches.insert(key.clone());
        self.effects.push(Effect::Changed(key.clone()));
    }
}
