//! What components ask of a key, and how much of what nobody shows is kept in memory.

use super::entry::{Entry, Kept};
use super::outbox::Pending;
use super::reason::Reason;
use super::{Belonging, Client, Effect, LONG_AGO, Question, View};
use crate::error::ApiError;
use crate::found::Found;
use crate::key::QueryKey;
use crate::overlay::AnyValue;

impl Client {
    /// One more component shows the key.
    pub fn observe(&mut self, key: &QueryKey) {
        let entry = self.entries.entry(key.clone()).or_default();
        entry.observers += 1;
        entry.idle_since = None;
        let is_given_up = entry.observers == 1 && entry.failed > 0;
        self.unsettled_watches.insert(key.clone());
        if is_given_up {
            // The pause before it was tried again may have ended while nobody looked.
            self.retry_fetch(key);
        } else {
            self.fetch_if_needed(key);
        }
    }

    /// One component fewer shows it. The value is kept until [`Client::collect`] finds it idle for too long.
    pub fn unobserve(&mut self, key: &QueryKey, now: u64) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.observers = entry.observers.saturating_sub(1);
            if entry.observers == 0 {
                entry.idle_since = Some(now);
            }
            self.unsettled_watches.insert(key.clone());
        }
    }

    /// An answer that came with the page, taken over without a fetch.
    pub fn hydrate(&mut self, key: &QueryKey, answer: Result<impl Into<Found<AnyValue>>, ApiError>) {
        if self.entries.get(key).is_some_and(|entry| entry.has_answer()) {
            return;
        }
        let answer: Result<Found<AnyValue>, ApiError> = answer.map(Into::into);
        if self.is_unclear(key, LONG_AGO, &Question::default(), &answer) {
            return; // whoever shows it reads it
        }
        // It was read before anything happened here.
        match answer {
            Ok(found) => {
                self.belongs.insert(key.organization, Belonging::Member);
                self.accept(key, LONG_AGO, found);
                self.effects.push(Effect::Keep(key.clone()));
            }
            Err(error) if error.kind.is_absence() => self.accept_absence(key, LONG_AGO, error, Vec::new()),
            // What failed is tried again once somebody shows it.
            Err(_) => {}
        }
    }

    /// Finds a first value if there is no answer yet: a kept one, or by a fetch. One however many ask. Whoever asks need
    /// not come to observe it: until somebody does, it is idle from `now` on.
    pub fn ensure(&mut self, key: &QueryKey, now: u64) {
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.observers == 0 {
            entry.idle_since = Some(now);
        }
        self.find_first(key);
    }

    pub(super) fn find_first(&mut self, key: &QueryKey) {
        let entry = self.entries.entry(key.clone()).or_default();
        if !entry.has_answer() && entry.fetching.is_none() && !self.is_promised(key) {
            self.fetch(key, Reason::FirstLook);
        }
    }

    /// Gives a key that has no answer the value of another, which is known to be the same as of its stamp: what was
    /// noted against the one counts against the other.
    pub fn adopt(&mut self, key: &QueryKey, like: &QueryKey) {
        let stamp = self.stamp_of(like);
        let Some(other) = self.entries.get(like).filter(|other| other.value.is_some()) else { return };
        let copy = Entry {
            value: other.value.clone(),
            stamp,
            from: other.from,
            contains: other.contains.clone(),
            needs: other.needs.clone(),
            kept: Kept::Done,
            idle_since: other.idle_since.or(other.came),
            came: other.came,
            bytes: other.bytes,
            ..Entry::default()
        };
        if self.entries.get(key).is_some_and(|entry| entry.has_answer() || entry.fetching.is_some()) {
            return;
        }
        let observers = self.entries.get(key).map_or(0, |entry| entry.observers);
        self.entries.insert(key.clone(), Box::new(Entry { observers, ..copy }));
        self.unsettled_watches.insert(key.clone());
        self.effects.extend([Effect::Keep(key.clone()), Effect::Changed(key.clone())]);
        self.fetch_if_needed(key);
    }

    /// Whether a mutation that is under way will bring the key's first value: what is only being made cannot be read yet. One
    /// that has failed for now promises nothing: without a network nothing would say that there is none.
    pub(super) fn is_promised(&self, key: &QueryKey) -> bool {
        self.pending.iter().any(|pending| pending.is_under_way() && pending.mutation.answers().as_ref() == Some(key))
    }

    /// Mutations of which nobody can tell whether the key's value contains them.
    #[cfg(test)]
    pub(crate) fn doubted(&self, key: &QueryKey) -> &[crate::overlay::MutationId] {
        self.entries.get(key).map_or(&[], |entry| &entry.doubted)
    }

    /// What is shown for the key.
    pub fn view(&self, key: &QueryKey) -> View {
        let Some(entry) = self.entries.get(key) else {
            let (data, is_pending) = self.overlaid(key, None);
            return View { data, is_pending, ..View::default() };
        };
        let (data, is_pending) = self.overlaid(key, Some(entry));
        View {
            error: entry
                .error
                .as_deref()
                .or(entry.absent.as_deref())
                .cloned()
                .filter(|_| !is_pending || data.is_none()),
            data,
            is_fetching: entry.fetching.is_some(),
            is_stale: entry.value.is_some() && !entry.needs.is_empty(),
            is_pending,
            is_hidden: entry.is_hidden,
        }
    }

    /// Whether there is an answer, good or bad, or an error to show instead.
    pub fn is_settled(&self, key: &QueryKey) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.has_answer() || entry.error.is_some())
    }

    /// The server's value as it is, with its stamp.
    pub fn answer(&self, key: &QueryKey) -> Option<Result<Found<AnyValue>, ApiError>> {
        let entry = self.entries.get(key)?;
        if let Some(data) = entry.value.clone() {
            return Some(Ok(Found { data, stamp: entry.stamp.clone(), contains: entry.contains.clone() }));
        }
        entry.absent.as_deref().or(entry.error.as_deref()).cloned().map(Err)
    }

    /// Whether anything is kept for the key.
    pub fn holds(&self, key: &QueryKey) -> bool {
        self.entries.contains_key(key)
    }

    /// How long the key's value is as JSON.
    pub fn weighs(&mut self, key: &QueryKey, bytes: usize) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.bytes = bytes;
        }
    }

    /// When (in milliseconds) the key's answer came.
    pub fn came(&mut self, key: &QueryKey, now: u64) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.came = Some(now);
        }
    }

    /// The bytes of all values in memory, as JSON.
    pub fn bytes(&self) -> usize {
        self.entries.values().map(|entry| entry.bytes).sum()
    }

    /// Forgets values that nobody has shown for `keep` milliseconds, and, where all values together have more than
    /// `most_bytes`, those that were last shown longest ago. What is shown stays, and so does what an unanswered
    /// mutation lies over.
    pub fn collect(&mut self, now: u64, keep: u64, most_bytes: usize) {
        let mut idle: Vec<(u64, QueryKey)> = Vec::new();
        for (key, entry) in &self.entries {
            let is_under = |pending: &Pending| pending.is_open() && pending.mutation.touches(key);
            let is_free = entry.observers == 0 && entry.fetching.is_none() && !self.pending.iter().any(is_under);
            if let Some(since) = entry.idle_since.filter(|_| is_free) {
                idle.push((since, key.clone()));
            }
        }
        idle.sort_by_key(|(since, _)| *since);
        let mut bytes = self.bytes();
        for (since, key) in idle {
            if now.saturating_sub(since) < keep && bytes <= most_bytes {
                break; // the rest was shown later still
            }
            bytes -= self.entries.remove(&key).map_or(0, |entry| entry.bytes);
        }
        self.forget_settled();
    }

    /// Where only time tells whether a value is current: it is taken to be for so many milliseconds. Asked again where
    /// they are over.
    pub fn is_fresh_for(&mut self, key: &QueryKey, fresh_for: u64, now: u64) {
        let entry = self.entries.entry(key.clone()).or_default();
        entry.fresh_for = Some(entry.fresh_for.map_or(fresh_for, |before| before.min(fresh_for)));
        if entry.has_answer() && entry.is_outdated(now) {
            self.need_anything(key, Reason::Outdated);
        }
    }

    /// The person is back, or the network: what only time vouches for, and what it vouches for no longer, is asked
    /// again. Whatever has a snapshot needs nothing: the live connection says.
    pub fn look_again(&mut self, now: u64) {
        let outdated = self.entries.iter().filter(|(_, entry)| entry.observers > 0 && entry.is_outdated(now));
        let outdated: Vec<_> = outdated.map(|(key, _)| key.clone()).collect();
        outdated.iter().for_each(|key| self.need_anything(key, Reason::Outdated));
    }

    /// All values of this name are to be asked again: those that are shown at once, the others when they are shown.
    pub fn invalidate(&mut self, name: &str) {
        let keys: Vec<_> = self.entries.keys().filter(|key| key.table == name).cloned().collect();
        keys.iter().for_each(|key| self.need_anything(key, Reason::Invalidated));
    }
}
