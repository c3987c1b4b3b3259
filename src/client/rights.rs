//! The person's rights: what is hidden where they become less, and wiped where they end.

use super::entry::Entry;
use super::reason::Reason;
use super::{Belonging, Client, Effect, Narrowed, Ticket, is_read_by};
use crate::error::{ApiError, Kind};
use crate::key::{OrganizationId, QueryKey};
use crate::snapshot::Stamp;
use crate::wire::{Rights, Standing};
use std::collections::HashSet;

impl Client {
    /// The person's rights in organizations changed; the server has ended the watches there.
    pub fn rights_changed(&mut self, organizations: Vec<Rights>) {
        for Rights { organization, standing, by } in organizations {
            if standing == Standing::Removed {
                self.wipe(organization);
                continue;
            }
            self.belongs.insert(organization, Belonging::Member);
            // The new rights may be less: nothing read by the old ones is there for a page that comes later.
            self.forget_kept(organization);
            if standing == Standing::Narrowed {
                self.narrowed.insert(organization, Narrowed { by: by.clone(), at: self.last_ticket });
            }
            let keys: Vec<_> = self.entries.keys().filter(|key| key.organization == organization).cloned().collect();
            for key in keys {
                if let Some(number) = self.entries.get(&key).and_then(|entry| entry.watch) {
                    self.numbers.remove(&number);
                }
                self.end_watch(&key);
                self.unsettled_watches.insert(key.clone());
                let stamp = self.entries.get(&key).and_then(|entry| entry.stamp.clone());
                if is_read_by(stamp.as_ref(), by.as_ref()) {
                    continue;
                }
                if standing == Standing::Narrowed {
                    self.hide(&key);
                }
                match &by {
                    Some(by) => by.xids.iter().for_each(|xid| self.need_transaction(&key, *xid, by.epoch)),
                    None => self.need_anything(&key, Reason::Rights),
                }
            }
            self.effects.push(Effect::RightsChanged(organization));
        }
    }

    /// Shows nothing of the key until it has been read anew.
    pub(super) fn hide(&mut self, key: &QueryKey) {
        let now = self.last_ticket;
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.observers == 0 && entry.fetching.is_none() {
            // Nobody would read it anew.
            self.entries.remove(key);
            return;
        }
        entry.hide(now);
        self.effects.push(Effect::Changed(key.clone()));
    }

    /// Whether the answer was read by rights that are gone.
    pub(super) fn is_by_old_rights(&self, key: &QueryKey, ticket: Ticket, stamp: Option<&Stamp>) -> bool {
        self.narrowed.get(&key.organization).is_some_and(|narrowed| match (&narrowed.by, stamp) {
            (Some(by), Some(stamp)) if by.epoch == stamp.epoch => !is_read_by(Some(stamp), Some(by)),
            _ => ticket <= narrowed.at,
        })
    }

    /// The person belongs to these organizations and no others: whatever is held or kept of others is wiped. Memberships
    /// also end while no page is open to be told.
    pub fn belongs_to(&mut self, organizations: &[OrganizationId]) {
        let held = self.entries.keys().chain(self.kept.keys()).map(|key| key.organization);
        let pending = self.pending.iter().map(|pending| pending.mutation.organization());
        let is_left = |held: &OrganizationId| *held != OrganizationId::NONE && !organizations.contains(held);
        let left: HashSet<_> = held.chain(pending).filter(is_left).collect();
        self.knows_memberships = true;
        self.belongs = organizations.iter().map(|organization| (*organization, Belonging::Member)).collect();
        for organization in left {
            self.wipe(organization);
        }
    }

    pub(super) fn has_left(&self, organization: OrganizationId) -> bool {
        match self.belongs.get(&organization) {
            Some(belonging) => *belonging == Belonging::Left,
            None => self.knows_memberships && organization != OrganizationId::NONE,
        }
    }

    pub(super) fn forget_kept(&mut self, organization: OrganizationId) {
        self.no_longer_kept(organization);
        self.effects.push(Effect::ForgetKept(organization));
    }

    fn no_longer_kept(&mut self, organization: OrganizationId) {
        self.kept.retain(|key, _| key.organization != organization);
        self.being_kept.retain(|key, _| key.organization != organization);
        if let Some(forgotten) = &mut self.unread_kept {
            forgotten.insert(organization);
        }
    }

    pub(super) fn wipe(&mut self, organization: OrganizationId) {
        if let Some(absence) = &mut self.absence {
            absence.forget(organization);
        }
        self.moved.retain(|moved| moved.key.organization != organization);
        self.numbers.retain(|_, key| key.organization != organization);
        self.no_longer_kept(organization);
        self.belongs.insert(organization, Belonging::Left);
        self.pending.retain(|pending| pending.mutation.organization() != organization);
        self.forgotten.retain(|pending| pending.mutation.organization() != organization);
        self.effects.push(Effect::ForgetAll(organization));
        self.unreadable.retain(|waiting| waiting.organization != organization);
        for (key, entry) in self.entries.iter_mut().filter(|(key, _)| key.organization == organization) {
            let absent = ApiError::new(Kind::Forbidden, "You are no longer a member of this organization.");
            **entry = Entry {
                absent: Some(Box::new(absent)),
                observers: entry.observers,
                is_unwatchable: true,
                ..Entry::default()
            };
            self.effects.push(Effect::Changed(key.clone()));
        }
        self.effects.push(Effect::PendingChanged);
        self.effects.push(Effect::Left(organization));
    }
}
