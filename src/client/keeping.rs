//! What this device keeps: which values are looked for on it, and what is written down.

use super::absence::Absence;
use super::entry::Kept;
use super::{Client, LONG_AGO};
use crate::kept::replaces;
use crate::key::QueryKey;
use crate::overlay::{AnyValue, MutationId};
use crate::snapshot::Stamp;
use crate::wire::Read;
use std::collections::{HashMap, HashSet};

impl Client {
    /// What this device keeps is not known yet: nothing is read before [`Client::found_outbox`], and no mutation is
    /// forgotten before [`Client::found_kept`].
    pub fn await_device(&mut self) {
        self.absence.get_or_insert_with(Absence::start);
        self.awaiting_outbox.get_or_insert_default();
        self.unread_kept.get_or_insert_default();
    }

    /// The mutations that this device keeps have been learned of: what was done is known before anything is read that may
    /// contain it. A kept value may be looked for by its key, long before all stamps are known.
    pub fn found_outbox(&mut self) {
        let organizations: HashSet<_> = self.pending.iter().map(|pending| pending.mutation.organization()).collect();
        for organization in organizations {
            if self.has_left(organization) {
                self.wipe(organization);
            }
        }
        for key in self.awaiting_outbox.take().unwrap_or_default() {
            self.find_first(&key);
            self.fetch_if_needed(&key);
        }
    }

    /// The values that this device keeps, by their stamps; empty where there is no storage.
    pub fn found_kept(&mut self, kept: HashMap<QueryKey, Stamp>) {
        let forgotten = self.unread_kept.take().unwrap_or_default();
        for (key, stamp) in kept.into_iter().filter(|(key, _)| !forgotten.contains(&key.organization)) {
            // Written since it was read, perhaps; of different epochs nobody can tell.
            let is_later = |known: &Stamp| known.epoch == stamp.epoch && stamp.covers(known);
            if self.kept.get(&key).is_none_or(is_later) {
                self.kept.insert(key, stamp);
            }
        }
        // Not what has been made since, which other tabs know of: the server refuses it.
        let organizations: HashSet<_> = self.kept.keys().map(|key| key.organization).collect();
        for organization in organizations {
            if self.has_left(organization) {
                self.forget_kept(organization);
            }
        }
        self.forget_settled();
    }

    /// Whether this device may keep a value of the key.
    pub(super) fn may_be_kept(&self, key: &QueryKey) -> bool {
        let is_unread = |forgotten: &HashSet<_>| key.is_live() && !forgotten.contains(&key.organization);
        let is_kept = self.kept.contains_key(key) || self.unread_kept.as_ref().is_some_and(is_unread);
        is_kept && !self.has_left(key.organization)
    }

    /// The kept value of the key, if it could be read. It is shown at once; whether it is still right, the server says
    /// when the key is watched. `outbox` names the mutations that were written down when it was read.
    pub fn restored(&mut self, key: &QueryKey, value: Option<Read<AnyValue>>, outbox: &[MutationId]) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.kept != Kept::Restoring {
            return; // wiped meanwhile
        }
        entry.kept = Kept::Done;
        match value {
            Some(read) if !entry.has_answer() => {
                if let Some(absence) = &mut self.absence {
                    absence.begins_with(key, &read.data);
                }
                self.accept(key, LONG_AGO, read);
                // It may have been forgotten since the outbox was read: what is forgotten is in all that is kept.
                let ids = self.pending.iter().map(|pending| pending.id);
                let gone: Vec<_> = ids.filter(|id| !outbox.contains(id)).collect();
                gone.into_iter().for_each(|id| self.doubt(id, |doubted| doubted == key));
            }
            Some(_) => {}
            None => {
                self.kept.remove(key);
                self.find_first(key);
            }
        }
        self.fetch_if_needed(key);
    }

    /// The key's value has been written down with this stamp.
    pub fn was_kept(&mut self, key: &QueryKey, stamp: Stamp) {
        // What was written before this one had been asked for says nothing of it.
        if self.being_kept.get(key).is_some_and(|asked| replaces(&stamp, Some(asked))) {
            self.being_kept.remove(key);
        }
        // An older one has been written before a newer, or not at all.
        if replaces(&stamp, self.kept.get(key)) {
            self.kept.insert(key.clone(), stamp);
        }
        self.forget_settled();
    }

    /// The key's value could not be written down: it is tried again when there is reason to.
    pub fn was_not_kept(&mut self, key: &QueryKey) {
        self.being_kept.remove(key);
    }

    /// The keys that have a value.
    pub fn held(&self) -> Vec<QueryKey> {
        self.entries.iter().filter(|(_, entry)| entry.value.is_some()).map(|(key, _)| key.clone()).collect()
    }

    /// The server's value of the key, with the latest stamp for which it is known to be right: what is to be kept. None where
    /// nobody can tell of some mutation whether it contains it, or as long as the outbox is not known: who starts with it could not
    /// tell either.
    pub fn current(&self, key: &QueryKey) -> Option<Read<AnyValue>> {
        if self.awaiting_outbox.is_some() {
            return None;
        }
        let entry = self.entries.get(key).filter(|entry| entry.doubted.is_empty())?;
        let data = entry.value.clone()?;
        let stamp = self.effective(entry)?;
        let mut contains = entry.contains.clone();
        // Also what is known from the stamp alone: the outbox may not say yet by which transaction it was carried out.
        for pending in
            self.pending.iter().filter(|pending| Self::is_in(stamp, pending) && pending.mutation.touches(key))
        {
            if !contains.contains(&pending.id) {
                contains.push(pending.id);
            }
        }
        let Stamp { snapshot, epoch } = stamp.clone();
        Some(Read { data, snapshot, epoch, contains })
    }
}
