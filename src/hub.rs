//! The hub: who watches what, and what each connection has yet to be told.
//!
//! What it decides is pure and stands in [`routing`]; here is what acts: the lock, the wake-ups, the database. An event
//! costs what it matches ([`interest`]). One mutex guards it all: what is done under it is a few look-ups in memory,
//! and a frame must not be made between half of a batch and its cursor.

#[doc(hidden)]
pub mod bench;
mod interest;
pub(crate) mod missed;
mod outgoing;
pub(crate) mod polling;
mod presence;
pub(crate) mod registry;
pub(crate) mod routing;
mod socket;
mod watching;

pub use registry::{Registry, WatchRights};
pub use routing::{Close, MOST_WATCHES};
pub use socket::serve;

use crate::feed::Batch;
use crate::key::PersonId;
use crate::snapshot::{Epoch, Snapshot};
use crate::sql::Database;
use crate::wire::{ServerFrame, WatchNumber};
use presence::Lobby;
use routing::{ConnectionId, RightsNow, Routing};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use uuid::Uuid;

/// A change of rights is told within this time, known or not: a removal must not wait behind a database that is busy.
const RIGHTS_WITHIN: Duration = Duration::from_millis(50);
/// The rights of more people than these are not asked for, as where the role catalogue changes under many: all count as less.
const MOST_RIGHTS: usize = 500;

/// One a process. See the module.
pub struct Hub {
    registry: Registry,
    database: Database,
    state: Mutex<State>,
    lobby: Lobby,
    counters: Counters,
}

#[derive(Default)]
struct State {
    routing: Routing,
    wakes: HashMap<ConnectionId, Arc<Notify>>,
}

/// What has happened since the start, for `/metrics`.
#[derive(Default)]
pub struct Counters {
    pub frames: AtomicU64,
    pub events: AtomicU64,
    pub matches: AtomicU64,
    pub watch_checks: AtomicU64,
    pub questions: AtomicU64,
    pub revocations: AtomicU64,
}

impl Hub {
    pub fn new(registry: Registry, database: Database) -> Arc<Self> {
        Arc::new(Self {
            registry,
            database,
            state: Mutex::default(),
            lobby: Lobby::new(),
            counters: Counters::default(),
        })
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
        self.decide(|routing| routing.load())
    }

    /// The latest cursor; none before the feed's first step.
    pub fn cursor(&self) -> Option<(Snapshot, Epoch)> {
        self.decide(|routing| routing.cursor().map(|stamp| (stamp.snapshot.clone(), stamp.epoch)))
    }

    /// Closes every connection, so that their clients move to another server.
    pub fn close_all(&self) {
        self.decide(|routing| routing.close_all(Close::GoingAway));
    }

    /// Takes what the feed found. Waits for the database only where somebody's rights have changed, and not for long.
    pub async fn apply(&self, batch: Batch) {
        self.end_presence(&batch);
        let asked = self.decide(|routing| routing.rights_to_ask(&self.registry, &batch));
        let rights = if asked.is_empty() || asked.len() > MOST_RIGHTS {
            RightsNow::new()
        } else {
            match tokio::time::timeout(RIGHTS_WITHIN, self.rights_now(&asked)).await {
                Ok(Ok(rights)) => rights,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "rights that changed could not be asked for, and count as less");
                    RightsNow::new()
                }
                Err(_) => {
                    tracing::warn!("rights that changed were not answered in time, and count as less");
                    RightsNow::new()
                }
            }
        };
        let tally = self.decide(|routing| routing.apply(&self.registry, batch, &rights));
        let count = |counter: &AtomicU64, by: usize| counter.fetch_add(by as u64, Ordering::Relaxed);
        count(&self.counters.events, tally.events);
        count(&self.counters.matches, tally.matches);
        count(&self.counters.revocations, tally.revocations);
    }

    /// Lets the routing decide, and wakes the connections that have news by it.
    fn decide<T>(&self, decide: impl FnOnce(&mut Routing) -> T) -> T {
        self.with_state(|state| {
            let decided = decide(&mut state.routing);
            for id in state.routing.take_woken() {
                if let Some(wake) = state.wakes.get(&id) {
                    wake.notify_one();
                }
            }
            decided
        })
    }

    fn with_state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // A panic under this lock would be a bug in a look-up; the state is still a state.
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn attach(&self, person: PersonId, session: Uuid) -> (ConnectionId, Arc<Notify>) {
        let (id, wake) = self.with_state(|state| {
            let id = state.routing.attach(person, session);
            let wake = Arc::new(Notify::new());
            state.wakes.insert(id, wake.clone());
            (id, wake)
        });
        self.lobby.attach(id, person, session, wake.clone());
        (id, wake)
    }

    fn detach(&self, id: ConnectionId) {
        self.with_state(|state| {
            state.routing.detach(id);
            state.wakes.remove(&id);
        });
        self.lobby.detach(id);
    }

    fn end_session(&self, session: Uuid) {
        self.lobby.end_session(session);
        self.decide(|routing| routing.end_session(session));
    }

    fn unwatch(&self, id: ConnectionId, numbers: &[WatchNumber]) {
        self.decide(|routing| routing.unwatch(id, numbers));
    }

    fn take_frames(&self, id: ConnectionId, heartbeat: bool) -> (Vec<ServerFrame>, Option<Close>) {
        let (mut frames, close) = self.decide(|routing| routing.take_frames(id, heartbeat));
        frames.extend(self.lobby.take_frames(id).filter(|_| close.is_none()));
        self.counters.frames.fetch_add(frames.len() as u64, Ordering::Relaxed);
        (frames, close)
    }
}
