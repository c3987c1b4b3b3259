//! What a device keeps of a person (IndexedDB): transactions come late, in the order in which they were begun, whichever tab
//! began them; those of a tab that is gone may never come. Who began one hears of its end later still.

use super::database::{Database, Life};
use crate::kept::replaces;
use crate::key::OrganizationId;
use crate::overlay::MutationId;
use crate::snapshot::Stamp;
use crate::switchboard::TabId;
use crate::tabs::Stored;
use crate::wire::Read;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Debug)]
pub(super) enum Operation {
    Keep { key: String, read: Read<String> },
    ForgetValues(OrganizationId),
    ForgetAll(OrganizationId),
    KeepMutation(Box<Stored>),
    ForgetMutations(Vec<MutationId>),
    ReadStamps,
    ReadValue(String),
    ReadMutations,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Kept(String, Stamp),
    Stamps(Vec<(String, Stamp)>),
    /// With the mutations that were written down then.
    Value(String, Option<Read<String>>, Vec<MutationId>),
    Mutations(Vec<Stored>),
}

#[derive(Default)]
pub(super) struct Device {
    values: BTreeMap<String, Read<String>>,
    mutations: BTreeMap<MutationId, Stored>,
    begun: VecDeque<(TabId, Operation)>,
    ended: Vec<(TabId, VecDeque<Outcome>)>,
    /// Mutations that have been written down at any time.
    pub(super) written: BTreeSet<MutationId>,
}

impl Device {
    pub(super) fn begin(&mut self, tab: TabId, operation: Operation) {
        self.begun.push_back((tab, operation));
    }

    pub(super) fn has_begun(&self) -> bool {
        !self.begun.is_empty()
    }

    pub(super) fn has_ended(&self) -> impl Iterator<Item = TabId> {
        self.ended.iter().filter(|(_, outcomes)| !outcomes.is_empty()).map(|(tab, _)| *tab)
    }

    pub(super) fn ended(&mut self, tab: TabId) -> Option<Outcome> {
        self.ended.iter_mut().find(|(whose, _)| *whose == tab)?.1.pop_front()
    }

    /// The tab is gone. What it had begun may still come, or not.
    pub(super) fn loses(&mut self, tab: TabId, how: u32) {
        self.ended.retain(|(whose, _)| *whose != tab);
        if how.is_multiple_of(2) {
            self.begun.retain(|(whose, _)| *whose != tab);
        }
    }

    pub(super) fn holds_of(&self, organization: OrganizationId) -> Option<&str> {
        let prefix = format!("{organization}/");
        self.values.keys().find(|key| key.starts_with(&prefix)).map(String::as_str)
    }

    fn forget_values(&mut self, organization: OrganizationId) {
        let prefix = format!("{organization}/");
        self.values.retain(|key, _| !key.starts_with(&prefix));
    }

    /// The first transaction that was begun ends. Of a key the stamps that are written down only grow.
    pub(super) fn go_on(&mut self, database: &Database) -> Result<(), String> {
        let Some((tab, operation)) = self.begun.pop_front() else { return Ok(()) };
        let outcome = match operation {
            Operation::Keep { key, read } => {
                let (stamp, before) = (read.stamp(), self.values.get(&key).map(Read::stamp));
                let before = before.as_ref();
                if replaces(&stamp, before) {
                    let life = |stamp: &Stamp| -> Life { database.life_of(stamp.epoch) };
                    if let Some(before) = before
                        && life(&stamp) == life(before)
                        && !stamp.covers(before)
                    {
                        return Err(format!("kept going back: {key} from {} to {}", before.snapshot, stamp.snapshot));
                    }
                    self.values.insert(key.clone(), read);
                }
                Outcome::Kept(key, stamp)
            }
            Operation::ForgetValues(organization) => {
                self.forget_values(organization);
                return Ok(());
            }
            Operation::ForgetAll(organization) => {
                self.forget_values(organization);
                self.mutations.retain(|_, stored| stored.organization != organization);
                return Ok(());
            }
            Operation::KeepMutation(stored) => {
                self.written.insert(stored.id);
                self.mutations.insert(stored.id, *stored);
                return Ok(());
            }
            Operation::ForgetMutations(ids) => {
                self.mutations.retain(|id, _| !ids.contains(id));
                return Ok(());
            }
            Operation::ReadStamps => {
                Outcome::Stamps(self.values.iter().map(|(key, read)| (key.clone(), read.stamp())).collect())
            }
            Operation::ReadValue(key) => {
                let value = self.values.get(&key).cloned();
                Outcome::Value(key, value, self.mutations.keys().copied().collect())
            }
            Operation::ReadMutations => Outcome::Mutations(self.mutations.values().cloned().collect()),
        };
        match self.ended.iter_mut().find(|(whose, _)| *whose == tab) {
            Some((_, outcomes)) => outcomes.push_back(outcome),
            None => self.ended.push((tab, VecDeque::from([outcome]))),
        }
        Ok(())
    }
}
