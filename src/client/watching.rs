//! The live connection: what is watched, and what its ticks say.

use super::absence::Moved;
use super::entry::{Entry, Need};
use super::reason::Reason;
use super::{Client, Effect, MOST_KEYS_A_FRAME, MOST_REFUSALS};
use crate::key::QueryKey;
use crate::snapshot::Stamp;
use crate::wire::{ClientFrame, Passed, Stale, Tick, Watch};

impl Client {
    /// The live connection stands.
    pub fn connected(&mut self) {
        self.is_live = true;
        let mut unknown = Vec::new();
        for (key, entry) in &mut self.entries {
            (entry.is_unwatchable, entry.refused) = (false, 0);
            // Nothing says as of when it was not to be seen, so no watch can be asked to say whether it still is not.
            if entry.absent.is_some() && entry.stamp.is_none() && entry.fetching.is_none() {
                unknown.push(key.clone());
            }
        }
        unknown.iter().for_each(|key| self.need_anything(key, Reason::Undated));
        let observed = self.entries.iter().filter(|(_, entry)| entry.observers > 0);
        self.unsettled_watches.extend(observed.map(|(key, _)| key.clone()));
        self.try_again();
    }

    /// There may be a way through again: what failed for want of one is tried at once.
    pub fn try_again(&mut self) {
        let failed: Vec<_> =
            self.entries.iter().filter(|(_, entry)| entry.failed > 0).map(|(key, _)| key.clone()).collect();
        for key in failed {
            self.retry_fetch(&key);
        }
        self.end_pauses();
    }

    /// The live connection is gone: from here on nothing vouches for any value.
    pub fn disconnected(&mut self) {
        self.is_live = false;
        self.cut_off();
        let watched: Vec<_> = self.numbers.drain().map(|(_, key)| key).collect();
        for key in watched {
            self.end_watch(&key);
        }
        self.cursor = None;
    }

    /// Takes and gives back watches, all at once: call it when the page has come to rest, so that a component that
    /// goes and another that comes with the same key cost nothing.
    pub fn flush(&mut self) {
        if !self.is_live {
            return;
        }
        let mut watch = Vec::new();
        let mut unwatch = Vec::new();
        for key in std::mem::take(&mut self.unsettled_watches) {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            match (&entry.stamp, entry.watch) {
                (Some(stamp), None) if entry.observers > 0 && !entry.is_unwatchable && entry.has_answer() => {
                    self.last_number += 1;
                    entry.watch = Some(self.last_number);
                    self.numbers.insert(self.last_number, key.clone());
                    watch.push(Watch {
                        number: self.last_number,
                        key: (&key).into(),
                        snapshot: stamp.snapshot.clone(),
                        epoch: stamp.epoch,
                    });
                }
                (_, Some(number)) if entry.observers == 0 => {
                    unwatch.push(number);
                    self.numbers.remove(&number);
                    self.end_watch(&key);
                }
                _ => {}
            }
        }
        if !unwatch.is_empty() {
            self.effects.push(Effect::Frame(ClientFrame::Unwatch { numbers: unwatch }));
        }
        watch.sort_by_key(|watch| watch.number);
        for keys in watch.chunks(MOST_KEYS_A_FRAME) {
            self.effects.push(Effect::Frame(ClientFrame::Watch { keys: keys.to_vec() }));
        }
        if let Some(moved) = self.returned().filter(|moved| !moved.is_empty()) {
            self.moved.extend(moved);
            self.effects.push(Effect::Returned);
        }
    }

    /// What has been replaced while the person was away.
    pub fn take_moved(&mut self) -> Vec<Moved> {
        std::mem::take(&mut self.moved)
    }

    /// The server's cursor, and what changed on the way to it.
    pub fn ticked(&mut self, tick: Tick) {
        let cursor = Stamp { snapshot: tick.cursor, epoch: tick.epoch };
        for refused in tick.refused {
            let Some(key) = self.numbers.remove(&refused.number) else { continue };
            self.end_watch(&key);
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            entry.is_unwatchable = true;
            entry.refused += 1;
            // The rights to what is shown may have gone while nobody told us: a read says whether they have, and until then it
            // is not shown.
            let is_about_rights = refused.error.kind.is_absence();
            if is_about_rights && entry.value.is_some() && entry.refused <= MOST_REFUSALS {
                self.hide(&key);
                self.need_anything(&key, Reason::NotWatched);
            }
        }
        let (mut passed, mut not_refused) = (Vec::new(), Vec::new());
        for Passed { mutation_id, xid } in tick.mutations {
            passed.push(mutation_id);
            if let Some(pending) = self.pending.iter_mut().find(|pending| pending.id == mutation_id) {
                let was_shown = pending.is_shown();
                pending.has_passed(xid, cursor.epoch);
                if !was_shown {
                    // No answer will say so.
                    if let Some(absence) = &mut self.absence {
                        absence.carried_out(mutation_id, &pending.mutation);
                    }
                    self.effects.extend([Effect::KeepMutation(mutation_id), Effect::PendingChanged]);
                    not_refused.push((mutation_id, pending.mutation.clone(), xid));
                }
            }
        }
        // What is named is judged by the cursor before this one: up to there the frame says nothing against it.
        self.spread = tick.spread;
        for Stale { number, xids } in tick.stale {
            let Some(key) = self.numbers.get(&number).cloned() else { continue };
            let stamp = self.stamp_of(&key);
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.stamp.clone_from(&stamp);
            }
            if xids.is_empty() {
                if !stamp.is_some_and(|stamp| stamp.covers(&cursor)) {
                    self.need(&key, Need::All(cursor.clone()));
                }
                continue;
            }
            for xid in xids {
                if !stamp.as_ref().is_some_and(|stamp| stamp.sees(xid, cursor.epoch)) {
                    self.need(&key, Need::Transaction(xid, cursor.epoch));
                }
            }
        }
        self.spread = 0;
        // Only now: no cursor before this one vouches for what was not watched yet.
        for number in tick.watching {
            if let Some(entry) = self.numbers.get(&number).and_then(|key| self.entries.get_mut(key)) {
                entry.is_vouched = true;
                entry.refused = 0;
            }
        }
        if self.cursor.as_ref().is_none_or(|before| !before.covers(&cursor)) {
            self.cursor = Some(cursor);
        }
        for (id, mutation, xid) in not_refused {
            self.read_what_lacks(self.unvouched(id, &*mutation, xid, tick.epoch));
        }
        self.ticks += 1;
        let postponed: Vec<_> = self.postponed.keys().cloned().collect();
        postponed.iter().for_each(|key| self.fetch_if_needed(key));
        self.show_passed(&passed);
        self.forget_settled();
    }

    /// The latest stamp for which the value is known to be right: its own, or the cursor where that vouches for it.
    pub(super) fn stamp_of(&self, key: &QueryKey) -> Option<Stamp> {
        self.effective(self.entries.get(key)?).cloned()
    }

    pub(super) fn effective<'a>(&'a self, entry: &'a Entry) -> Option<&'a Stamp> {
        let own = entry.stamp.as_ref()?;
        match &self.cursor {
            Some(cursor) if entry.is_vouched && entry.needs.is_empty() && cursor.covers(own) => Some(cursor),
            _ => Some(own),
        }
    }

    /// Keeps what the cursor vouched for, and takes the watch away.
    pub(super) fn end_watch(&mut self, key: &QueryKey) {
        let stamp = self.stamp_of(key);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.stamp = stamp;
            entry.watch = None;
            entry.is_vouched = false;
        }
    }
}
