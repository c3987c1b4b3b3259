//! A model of PostgreSQL, as far as the clock of this system goes: transaction ids, snapshots, row versions and locks,
//! the event table, the stored answers, the epoch, the horizon; and a crash, after which ids are given out again.

use super::product::{Row, Written};
use crate::error::ApiError;
use crate::feed::{Batch, Event, EventKind, TableChanged};
use crate::hub::missed::{Beyond, Search};
use crate::key::{Change, OrganizationId, PersonId};
use crate::overlay::MutationId;
use crate::snapshot::{Epoch, Snapshot, Stamp, Xid};
use crate::wire::Passed;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Between two crashes. Every life has one epoch, once somebody has asked for it.
pub(super) type Life = usize;

pub(super) struct Database {
    next: u64,
    completed: u64,
    /// The greatest transaction that a crash would leave.
    durable: u64,
    life: Life,
    epoch: Option<Epoch>,
    epochs: Vec<(Epoch, Life)>,
    rows: BTreeMap<Uuid, Vec<Version>>,
    open: BTreeMap<Xid, Transaction>,
    log: Vec<Logged>,
    mutations: BTreeMap<(PersonId, MutationId), Recorded>,
    /// Rows of that table too: of those that were refused.
    refusals: BTreeMap<(PersonId, MutationId), ApiError>,
    horizon: Xid,
}

/// Versions stand in the order of their commits, which row locks make the order of the row's history.
struct Version {
    life: Life,
    xid: Xid,
    row: Option<Row>,
}

struct Logged {
    life: Life,
    event: Event,
    is_kept: bool,
}

/// A row of the table of mutations.
pub(super) struct Recorded {
    life: Life,
    xid: Xid,
    pub(super) changed: bool,
    /// The life in which it was stored, for it is not durable at once.
    answer: Option<(Life, Written)>,
}

#[derive(Default)]
pub(super) struct Transaction {
    writes: Vec<(Uuid, Option<Row>)>,
    locks: Vec<(Uuid, Lock)>,
    events: Vec<Event>,
    mutation: Option<(PersonId, MutationId, bool)>,
}

/// The row locks of PostgreSQL that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    /// A child is made: the parent must not go.
    KeyShare,
    Update,
    Delete,
}

impl Lock {
    fn conflicts(self, other: Lock) -> bool {
        !matches!((self, other), (Lock::KeyShare, Lock::KeyShare | Lock::Update) | (Lock::Update, Lock::KeyShare))
    }
}

/// What a statement sees.
#[derive(Clone, Copy)]
pub(super) enum When<'a> {
    /// All that is committed now.
    Now,
    Then(&'a Stamp),
}

impl Database {
    pub(super) fn new() -> Self {
        Self {
            next: 3,
            completed: 2,
            durable: 2,
            life: 0,
            epoch: None,
            epochs: Vec::new(),
            rows: BTreeMap::new(),
            open: BTreeMap::new(),
            log: Vec::new(),
            mutations: BTreeMap::new(),
            refusals: BTreeMap::new(),
            horizon: Xid(0),
        }
    }

    // ------------------------------------------------------------------------------------------------- the clock

    pub(super) fn snapshot(&self) -> Snapshot {
        let xmax = self.completed + 1;
        let running: Vec<_> = self.open.keys().filter(|xid| xid.0 < xmax).map(|xid| xid.0.to_string()).collect();
        let xmin = self.open.keys().next().map_or(xmax, |oldest| oldest.0.min(xmax));
        let text = format!("{xmin}:{xmax}:{}", running.join(","));
        text.parse().expect("a snapshot is written as PostgreSQL writes it")
    }

    /// Begins a new epoch where a crash has left none.
    pub(super) fn ensure_epoch(&mut self) -> Epoch {
        if let Some(epoch) = self.epoch {
            return epoch;
        }
        let xid = self.begin();
        self.commit(xid);
        let epoch = Epoch(Uuid::from_u128(0xE0_0000 + self.life as u128));
        self.epoch = Some(epoch);
        self.epochs.push((epoch, self.life));
        epoch
    }

    /// The stamp of a read that is taken now.
    pub(super) fn stamp(&mut self) -> Stamp {
        let epoch = self.ensure_epoch();
        Stamp { snapshot: self.snapshot(), epoch }
    }

    pub(super) fn is_present(&self, epoch: Epoch) -> bool {
        self.epoch == Some(epoch)
    }

    pub(super) fn life_of(&self, epoch: Epoch) -> Life {
        let found = self.epochs.iter().find(|(known, _)| *known == epoch);
        found.map(|(_, life)| *life).expect("every epoch was given out by this database")
    }

    fn sees(&self, when: When<'_>, life: Life, xid: Xid) -> bool {
        match when {
            When::Now => true,
            When::Then(stamp) => {
                let at = self.life_of(stamp.epoch);
                life < at || (life == at && stamp.snapshot.sees(xid))
            }
        }
    }

    // ----------------------------------------------------------------------------------------------- transactions

    pub(super) fn begin(&mut self) -> Xid {
        let xid = Xid(self.next);
        self.next += 1;
        self.open.insert(xid, Transaction::default());
        xid
    }

    /// Whether all of these could be had by the transaction now; otherwise it has to wait.
    pub(super) fn can_lock(&self, xid: Xid, wanted: &[(Uuid, Lock)]) -> bool {
        let others = self.open.iter().filter(|(other, _)| **other != xid);
        let mut held = others.flat_map(|(_, transaction)| &transaction.locks);
        !held.any(|(row, lock)| wanted.iter().any(|(id, want)| id == row && want.conflicts(*lock)))
    }

    pub(super) fn lock(&mut self, xid: Xid, wanted: &[(Uuid, Lock)]) {
        self.transaction(xid).locks.extend_from_slice(wanted);
    }

    fn transaction(&mut self, xid: Xid) -> &mut Transaction {
        self.open.get_mut(&xid).expect("the transaction is open")
    }

    /// The row as the transaction sees it (READ COMMITTED): its own version, or the last that was committed.
    pub(super) fn latest(&self, xid: Xid, id: Uuid) -> Option<&Row> {
        let own = self.open.get(&xid).and_then(|open| open.writes.iter().rev().find(|(row, _)| *row == id));
        match own {
            Some((_, row)) => row.as_ref(),
            None => self.row(id, When::Now),
        }
    }

    /// Writes a version, and its event.
    pub(super) fn write(&mut self, xid: Xid, id: Uuid, new: Option<Row>, by: Option<(PersonId, MutationId)>) {
        let old = self.latest(xid, id).cloned();
        if old == new {
            return;
        }
        let Some(either) = new.as_ref().or(old.as_ref()) else { return };
        let event = Event {
            xid,
            organization: either.organization(),
            person: either.person(),
            record: id,
            kind: match (&old, &new) {
                (None, _) => EventKind::Insert,
                (_, None) => EventKind::Delete,
                _ => EventKind::Update,
            },
            audience: None,
            actor: by.map(|(person, _)| person),
            mutation: by.map(|(_, mutation)| mutation),
            change: Change {
                table: either.table().to_owned(),
                old: old.as_ref().map(Row::facets),
                new: new.as_ref().map(Row::facets),
            },
        };
        let transaction = self.transaction(xid);
        transaction.writes.push((id, new));
        transaction.events.push(event);
    }

    /// The row of the mutation, inserted first.
    pub(super) fn record(&mut self, xid: Xid, person: PersonId, mutation: MutationId, changed: bool) {
        self.transaction(xid).mutation = Some((person, mutation, changed));
    }

    /// Whether another transaction that is under way holds the mutation's row.
    pub(super) fn is_being_recorded(&self, person: PersonId, mutation: MutationId) -> bool {
        self.open.values().any(|open| open.mutation.is_some_and(|(p, m, _)| (p, m) == (person, mutation)))
    }

    pub(super) fn commit(&mut self, xid: Xid) {
        let Some(transaction) = self.open.remove(&xid) else { return };
        for (id, row) in transaction.writes {
            self.rows.entry(id).or_default().push(Version { life: self.life, xid, row });
        }
        let life = self.life;
        self.log.extend(transaction.events.into_iter().map(|event| Logged { life, event, is_kept: true }));
        if let Some((person, mutation, changed)) = transaction.mutation {
            assert!(self.refused(person, mutation).is_none(), "{mutation} was refused, and is carried out");
            self.mutations.insert((person, mutation), Recorded { life, xid, changed, answer: None });
        }
        self.completed = self.completed.max(xid.0);
        self.durable = self.durable.max(xid.0);
    }

    pub(super) fn roll_back(&mut self, xid: Xid) {
        if self.open.remove(&xid).is_some() {
            self.completed = self.completed.max(xid.0);
        }
    }

    /// Keeps the mutation's first answer; its transaction does not wait for the disk.
    pub(super) fn store(&mut self, person: PersonId, mutation: MutationId, written: Written) -> Written {
        let life = self.life;
        let Some(recorded) = self.mutations.get_mut(&(person, mutation)) else { return written };
        if let Some((_, stored)) = &recorded.answer {
            return stored.clone();
        }
        recorded.answer = Some((life, written.clone()));
        self.completed = self.completed.max(self.next);
        self.next += 1;
        written
    }

    /// Stores a refusal, durably; false where another sending was carried out or refused first.
    pub(super) fn refuse(&mut self, person: PersonId, mutation: MutationId, error: &ApiError) -> bool {
        let is_first = self.recorded(person, mutation).is_none() && self.refused(person, mutation).is_none();
        if is_first {
            let xid = self.begin();
            self.commit(xid);
            self.refusals.insert((person, mutation), error.clone());
        }
        is_first
    }

    pub(super) fn refused(&self, person: PersonId, mutation: MutationId) -> Option<&ApiError> {
        self.refusals.get(&(person, mutation))
    }

    pub(super) fn stored(&self, person: PersonId, mutation: MutationId) -> Option<&Written> {
        self.mutations.get(&(person, mutation))?.answer.as_ref().map(|(_, written)| written)
    }

    pub(super) fn recorded(&self, person: PersonId, mutation: MutationId) -> Option<(&Recorded, Xid)> {
        self.mutations.get(&(person, mutation)).map(|recorded| (recorded, recorded.xid))
    }

    pub(super) fn life_of_mutation(&self, person: PersonId, mutation: MutationId) -> Option<Life> {
        self.mutations.get(&(person, mutation)).map(|done| done.life)
    }

    /// Whether what is seen then contains the mutation.
    pub(super) fn holds(&self, person: PersonId, mutation: MutationId, when: When<'_>) -> bool {
        self.mutations.get(&(person, mutation)).is_some_and(|done| self.sees(when, done.life, done.xid))
    }

    /// Everything that is not committed is gone, and nobody remembers which ids it had. Stored answers of this life are
    /// lost too, where `forgets` says so.
    pub(super) fn crash(&mut self, forgets: bool) {
        self.open.clear();
        if forgets {
            for recorded in self.mutations.values_mut() {
                recorded.answer = recorded.answer.take().filter(|(life, _)| *life != self.life);
            }
            self.next = self.durable + 1;
        }
        self.completed = self.next - 1;
        self.durable = self.completed;
        self.life += 1;
        self.epoch = None;
    }

    // ---------------------------------------------------------------------------------------------------- reading

    pub(super) fn row(&self, id: Uuid, when: When<'_>) -> Option<&Row> {
        let versions = self.rows.get(&id)?;
        versions.iter().rev().find(|version| self.sees(when, version.life, version.xid))?.row.as_ref()
    }

    pub(super) fn rows<'a>(&'a self, when: When<'a>) -> impl Iterator<Item = &'a Row> {
        self.rows.keys().filter_map(move |id| self.row(*id, when))
    }

    /// Whether the row is there in what is seen then, or has been at any time since.
    pub(super) fn was_there_since(&self, id: Uuid, stamp: &Stamp) -> bool {
        let versions = self.rows.get(&id).into_iter().flatten();
        let later = versions.filter(|version| !self.sees(When::Then(stamp), version.life, version.xid));
        self.row(id, When::Then(stamp)).is_some() || later.filter(|version| version.row.is_some()).count() > 0
    }

    // ---------------------------------------------------------------------------------------- the event table

    /// Drops the events before this transaction that all of these have seen.
    pub(super) fn drop_events(&mut self, before: Xid, seen_by: &[&Snapshot]) {
        for logged in &mut self.log {
            let xid = logged.event.xid;
            if logged.is_kept && xid < before && seen_by.iter().all(|cursor| cursor.sees(xid)) {
                logged.is_kept = false;
                self.horizon = self.horizon.max(Xid(xid.0 + 1));
            }
        }
    }

    /// What one step of the feed gives. `kept` tables are never collapsed.
    pub(super) fn feed(&mut self, last: Option<&Stamp>, most: usize, kept: &[&str]) -> Batch {
        let nothing = |cursor: Stamp, is_restart| Batch { is_restart, ..Batch::empty(cursor.snapshot, cursor.epoch) };
        let Some(last) = last.filter(|last| self.is_present(last.epoch)) else { return nothing(self.stamp(), true) };
        let mut batch = nothing(Stamp { snapshot: self.snapshot(), epoch: last.epoch }, false);
        let is_new = |xid| xid >= last.snapshot.xmax() || last.snapshot.running().contains(&xid);
        let kept_events = self.log.iter().filter(|logged| logged.is_kept);
        let events: Vec<&Event> = kept_events.map(|logged| &logged.event).filter(|event| is_new(event.xid)).collect();
        if events.len() <= most {
            batch.events = events.into_iter().cloned().collect();
            return batch;
        }
        for event in events {
            if kept.contains(&event.change.table.as_str()) {
                batch.events.push(event.clone());
                continue;
            }
            let (organization, person) = (event.organization, event.person);
            let table = TableChanged { organization, person, table: event.change.table.clone() };
            if !batch.tables.contains(&table) {
                batch.tables.push(table);
            }
            if let (Some(actor), Some(mutation_id)) = (event.actor, event.mutation) {
                let passed = (actor, Passed { mutation_id, xid: event.xid });
                if !batch.passed.contains(&passed) {
                    batch.passed.push(passed);
                }
            }
        }
        batch
    }

    /// What the event table holds beyond the candidates' stamps.
    pub(super) fn beyond(&self, search: &Search, most: usize) -> Beyond {
        let kept = self.log.iter().filter(|logged| logged.is_kept).map(|logged| &logged.event);
        let is_beyond = |event: &&Event| search.since.as_ref().is_some_and(|since| !since.sees(event.xid));
        let concerns = |event: &&Event| {
            event.organization.is_none_or(|its| search.organizations.contains(&its))
                || event.person.is_some_and(|person| search.people.contains(&person))
        };
        let events: Vec<_> = kept.filter(is_beyond).filter(concerns).cloned().collect();
        let events = (events.len() <= most).then_some(events);
        Beyond { cursor: self.snapshot(), epoch: self.epoch, horizon: self.horizon, events }
    }

    /// The events, kept or not, that a value of this stamp does not contain.
    pub(super) fn events_since(&self, stamp: &Stamp, organization: OrganizationId) -> impl Iterator<Item = &Event> {
        let unseen = |logged: &&Logged| !self.sees(When::Then(stamp), logged.life, logged.event.xid);
        let events = self.log.iter().filter(unseen).map(|logged| &logged.event);
        events.filter(move |event| event.organization.is_none_or(|its| its == organization))
    }
}
