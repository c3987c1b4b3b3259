//! The hub: who watches what, and what each connection has yet to be told.
//!
//! An event costs what it matches ([`interest`]). What a connection has not taken yet is a *set of keys*, never a
//! queue, so a slow reader costs no more than its keys. One mutex guards it all: what is done under it is a few
//! look-ups in memory, and a frame must not be made between half of a batch and its cursor.

mod interest;
mod registry;
mod socket;
mod watching;

pub use registry::{Registry, WatchRights};
pub use socket::{Close, serve};

use crate::error::ApiError;
use crate::feed::{Batch, Event, EventKind};
use crate::key::{Dependency, OrganizationId, PersonId};
use crate::snapshot::{Epoch, Snapshot, Stamp, Xid};
use crate::sql::Database;
use crate::wire::{Passed, Refused, Rights, ServerFrame, Stale, Standing, Tick, WatchNumber};
use interest::{Interest, Watcher};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use uuid::Uuid;

/// More transactions than this on one key are not named one by one: the value must then cover the frame's cursor.
const MOST_XIDS: usize = 16;
/// Mutations of one's own that one frame names.
const MOST_PASSED: usize = 64;
/// Keys that one connection may watch.
pub const MOST_WATCHES: usize = 2_000;

/// One a process. See the module.
pub struct Hub {
    registry: Registry,
    database: Database,
    state: Mutex<State>,
    counters: Counters,
}

/// What has happened since the start, for `/metrics`.
#[derive(Default)]
pub struct Counters {
    pub frames: AtomicU64,
    pub events: AtomicU64,
    pub matches: AtomicU64,
    pub watch_checks: AtomicU64,
    pub revocations: AtomicU64,
}

pub(crate) type ConnectionId = u64;

#[derive(Default)]
struct State {
    cursor: Option<Stamp>,
    interest: Interest,
    connections: HashMap<ConnectionId, Connection>,
    people: HashMap<PersonId, HashSet<ConnectionId>>,
    last_connection: ConnectionId,
}

struct Connection {
    person: PersonId,
    session: Uuid,
    watches: HashMap<WatchNumber, Watched>,
    /// Grows with every change of the person's rights: a check that began before is void.
    rights_version: u64,
    outgoing: Outgoing,
    wake: Arc<Notify>,
}

struct Watched {
    organization: OrganizationId,
    dependencies: Vec<Dependency>,
}

/// What the connection has yet to be told.
#[derive(Default)]
struct Outgoing {
    stale: BTreeMap<WatchNumber, Lag>,
    watching: Vec<WatchNumber>,
    refused: Vec<Refused>,
    rights: Vec<Rights>,
    /// The person's own mutations that the cursor has passed.
    passed: Vec<Passed>,
    close: Option<Close>,
}

/// What a stale key's value must see to be current again.
enum Lag {
    Xids(Vec<Xid>),
    Cursor,
}

impl Lag {
    fn add(&mut self, xid: Option<Xid>) {
        match (&mut *self, xid) {
            (Lag::Xids(xids), Some(xid)) if xids.contains(&xid) => {}
            (Lag::Xids(xids), Some(xid)) if xids.len() < MOST_XIDS => xids.push(xid),
            _ => *self = Lag::Cursor,
        }
    }
}

impl Hub {
    pub fn new(registry: Registry, database: Database) -> Arc<Self> {
        Arc::new(Self { registry, database, state: Mutex::default(), counters: Counters::default() })
    }

    /// Tables whose events the feed must not collapse.
    pub fn told_one_by_one(&self) -> Vec<&'static str> {
        self.registry.told_one_by_one()
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Connections and watches that stand now.
    pub fn load(&self) -> (usize, usize) {
        let state = self.state();
        (state.connections.len(), state.connections.values().map(|connection| connection.watches.len()).sum())
    }

    /// The latest cursor; none before the feed's first step.
    pub fn cursor(&self) -> Option<(Snapshot, Epoch)> {
        self.state().cursor.as_ref().map(|stamp| (stamp.snapshot.clone(), stamp.epoch))
    }

    /// Closes every connection, so that their clients move to another server.
    pub fn close_all(&self) {
        self.state().close(Close::GoingAway);
    }

    // A panic under this lock would be a bug in a look-up; the state is still a state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the feed found. Changes of rights go first: nobody is told of a row by rights that are gone.
    pub fn apply(&self, batch: Batch) {
        let mut state = self.state();
        let cursor = Stamp { snapshot: batch.cursor, epoch: batch.epoch };
        if batch.is_restart {
            // Nothing says what happened between the cursors. Clients come back with their stamps and are told anew.
            if state.cursor.replace(cursor).is_some() {
                state.close(Close::NewEpoch);
            }
            return;
        }
        self.counters.events.fetch_add(batch.events.len() as u64, Ordering::Relaxed);
        for event in &batch.events {
            self.apply_rights(&mut state, event);
        }
        for (person, passed) in batch.passed {
            state.passed(person, passed);
        }
        for table in &batch.tables {
            if let Some(organization) = table.organization {
                let watchers = state.interest.of_table(organization, &table.table);
                state.tell(&watchers, None, &self.counters);
            }
        }
        for event in &batch.events {
            if let Some(organization) = event.organization {
                let mut watchers = state.interest.of_change(organization, &event.change);
                if let Some(audience) = &event.audience {
                    watchers.retain(|watcher| {
                        state.connections.get(&watcher.connection).is_some_and(|c| audience.contains(&c.person))
                    });
                }
                state.tell(&watchers, Some(event.xid), &self.counters);
            }
            if let (Some(actor), Some(mutation_id)) = (event.actor, event.mutation) {
                state.passed(actor, Passed { mutation_id, xid: event.xid });
            }
        }
        state.cursor = Some(cursor);
    }

    fn apply_rights(&self, state: &mut State, event: &Event) {
        let table = event.change.table.as_str();
        if self.registry.is_session_table(table) {
            if event.kind == EventKind::Delete {
                state.end_session(event.record);
            }
        } else if self.registry.decides_rights(table) {
            match event.person {
                Some(person) => {
                    let removed = event.kind == EventKind::Delete;
                    let standing = if removed { Standing::Removed } else { Standing::Changed };
                    if removed {
                        self.counters.revocations.fetch_add(1, Ordering::Relaxed);
                    }
                    state.change_rights(person, event.organization, standing);
                }
                None => state.change_everybodys_rights(),
            }
        }
    }

    fn attach(&self, person: PersonId, session: Uuid) -> (ConnectionId, Arc<Notify>) {
        let mut state = self.state();
        state.last_connection += 1;
        let id = state.last_connection;
        let wake = Arc::new(Notify::new());
        let connection = Connection {
            person,
            session,
            watches: HashMap::new(),
            rights_version: 0,
            outgoing: Outgoing::default(),
            wake: wake.clone(),
        };
        state.connections.insert(id, connection);
        state.people.entry(person).or_default().insert(id);
        (id, wake)
    }

    fn detach(&self, id: ConnectionId) {
        let mut state = self.state();
        let Some(connection) = state.connections.remove(&id) else { return };
        for (number, watched) in &connection.watches {
            state.interest.remove(
                watched.organization,
                &watched.dependencies,
                Watcher { connection: id, number: *number },
            );
        }
        if let Some(others) = state.people.get_mut(&connection.person) {
            others.remove(&id);
            if others.is_empty() {
                state.people.remove(&connection.person);
            }
        }
    }

    fn unwatch(&self, id: ConnectionId, numbers: &[WatchNumber]) {
        let mut state = self.state();
        for number in numbers {
            state.forget(id, *number);
        }
    }

    /// What the connection is to be told now; none where there is no news. `heartbeat` makes the cursor news.
    fn take_frames(&self, id: ConnectionId, heartbeat: bool) -> (Vec<ServerFrame>, Option<Close>) {
        let mut state = self.state();
        let cursor = state.cursor.clone();
        let Some(connection) = state.connections.get_mut(&id) else { return (Vec::new(), Some(Close::GoingAway)) };
        let outgoing = std::mem::take(&mut connection.outgoing);
        let mut frames = Vec::new();
        if !outgoing.rights.is_empty() {
            frames.push(ServerFrame::Rights { organizations: outgoing.rights });
        }
        let has_news = !outgoing.stale.is_empty()
            || !outgoing.watching.is_empty()
            || !outgoing.refused.is_empty()
            || !outgoing.passed.is_empty();
        if let Some(cursor) = cursor
            && (has_news || heartbeat)
        {
            let stale = outgoing.stale.into_iter().map(|(number, lag)| Stale {
                number,
                xids: match lag {
                    Lag::Xids(xids) => xids,
                    Lag::Cursor => Vec::new(),
                },
            });
            frames.push(ServerFrame::Tick(Tick {
                cursor: cursor.snapshot,
                epoch: cursor.epoch,
                stale: stale.collect(),
                watching: outgoing.watching,
                refused: outgoing.refused,
                mutations: outgoing.passed,
            }));
        }
        self.counters.frames.fetch_add(frames.len() as u64, Ordering::Relaxed);
        (frames, outgoing.close)
    }
}

impl State {
    fn tell(&mut self, watchers: &[Watcher], xid: Option<Xid>, counters: &Counters) {
        counters.matches.fetch_add(watchers.len() as u64, Ordering::Relaxed);
        for watcher in watchers {
            if let Some(connection) = self.connections.get_mut(&watcher.connection) {
                let lag = connection.outgoing.stale.entry(watcher.number).or_insert_with(|| Lag::Xids(Vec::new()));
                lag.add(xid);
                connection.wake.notify_one();
            }
        }
    }

    fn passed(&mut self, person: PersonId, passed: Passed) {
        for id in self.people.get(&person).into_iter().flatten() {
            if let Some(connection) = self.connections.get_mut(id) {
                let told = &mut connection.outgoing.passed;
                // Past the bound it is left to the mutation's own answer, which says the same.
                if told.len() < MOST_PASSED && !told.contains(&passed) {
                    told.push(passed);
                }
                connection.wake.notify_one();
            }
        }
    }

    fn forget(&mut self, id: ConnectionId, number: WatchNumber) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.outgoing.stale.remove(&number);
        connection.outgoing.watching.retain(|other| *other != number);
        if let Some(watched) = connection.watches.remove(&number) {
            let watcher = Watcher { connection: id, number };
            self.interest.remove(watched.organization, &watched.dependencies, watcher);
        }
    }

    /// Ends the person's watches in the organization (in all, where none is named) on every connection, and says so.
    fn change_rights(&mut self, person: PersonId, organization: Option<OrganizationId>, standing: Standing) {
        let ids: Vec<_> = self.people.get(&person).into_iter().flatten().copied().collect();
        for id in ids {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            connection.rights_version += 1;
            let concerns =
                |watched: &Watched| organization.is_none_or(|organization| watched.organization == organization);
            let ended: Vec<_> =
                connection.watches.iter().filter(|(_, watched)| concerns(watched)).map(|(number, _)| *number).collect();
            let mut told: HashSet<OrganizationId> = connection
                .watches
                .values()
                .filter(|watched| concerns(watched))
                .map(|watched| watched.organization)
                .collect();
            told.extend(organization);
            for organization in told {
                connection.outgoing.rights.retain(|rights| rights.organization != organization);
                connection.outgoing.rights.push(Rights { organization, standing });
            }
            connection.wake.notify_one();
            for number in ended {
                self.forget(id, number);
            }
        }
    }

    fn change_everybodys_rights(&mut self) {
        let people: Vec<_> = self.people.keys().copied().collect();
        for person in people {
            self.change_rights(person, None, Standing::Changed);
        }
    }

    fn end_session(&mut self, session: Uuid) {
        for connection in self.connections.values_mut().filter(|connection| connection.session == session) {
            connection.outgoing.close = Some(Close::SessionEnded);
            connection.wake.notify_one();
        }
    }

    fn close(&mut self, reason: Close) {
        for connection in self.connections.values_mut() {
            connection.outgoing.close = Some(reason);
            connection.wake.notify_one();
        }
    }

    fn refuse(&mut self, id: ConnectionId, number: WatchNumber, error: ApiError) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.outgoing.refused.push(Refused { number, error });
            connection.wake.notify_one();
        }
    }
}
