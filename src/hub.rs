//! The hub: who watches what, and what each connection has yet to be told.
//!
//! What it decides is pure and stands in [`routing`] and [`schedule`]; here is what acts: the lock, the sockets, the database. An event
//! costs what it matches ([`interest`]). One mutex guards it all: what is done under it is a few look-ups in memory,
//! and a frame must not be made between half of a batch and its cursor.

#[doc(hidden)]
pub mod bench;
mod interest;
pub(crate) mod missed;
mod outgoing;
mod outlet;
pub(crate) mod polling;
mod presence;
pub(crate) mod registry;
pub(crate) mod routing;
mod schedule;
mod socket;
mod watching;
mod writing;

pub use registry::{Registry, WatchRights};
pub use routing::{Close, MOST_WATCHES};
pub use socket::serve;

use crate::feed::Batch;
use crate::key::{OrganizationId, PersonId};
use crate::snapshot::{Epoch, Snapshot};
use crate::sql::Database;
use crate::wire::{ServerFrame, WatchNumber};
use outlet::{Outlet, Standing};
use presence::Lobby;
use routing::{ConnectionId, RightsNow, Routing};
use schedule::{Schedule, Shard};
use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;
use watching::Loaders;

/// A change of rights is told within this time, known or not: a removal must not wait behind a database that is busy.
const RIGHTS_WITHIN: Duration = Duration::from_millis(50);
/// The rights of more people than these are not asked for, as where the role catalogue changes under many: all count as less.
const MOST_RIGHTS: usize = 500;
/// How often the sessions of those who are connected are looked at again: what has only run out of time tells nobody.
const RECHECK: Duration = Duration::from_secs(60);

/// One a process. See the module.
pub struct Hub {
    registry: Registry,
    database: Database,
    loaders: Loaders,
    state: Mutex<State>,
    /// For the writers, one each: their connections have news.
    news: Box<[Arc<Notify>]>,
    /// Somebody has gone.
    gone: Notify,
    lobby: Lobby,
    counters: Counters,
    delays: Box<Delays>,
}

type Delays = dyn Fn(Duration) + Send + Sync;

struct State {
    routing: Routing,
    schedule: Schedule<Arc<Outlet>>,
}

/// How many there are now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub connections: usize,
    pub watches: usize,
    /// Connections that have something to be told which is not written yet.
    pub waiting: usize,
    /// Connections that do not take what was written to them.
    pub blocked: usize,
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
    /// Keys that were not let be watched, and messages of clients that were refused.
    pub refusals: AtomicU64,
}

impl Counters {
    /// Notes what is refused in what a client is told.
    fn told(&self, frame: &ServerFrame) {
        let refused = match frame {
            ServerFrame::Tick(tick) => tick.refused.len(),
            ServerFrame::Error(_) => 1,
            _ => return,
        };
        self.refusals.fetch_add(refused as u64, Ordering::Relaxed);
    }
}

impl Hub {
    /// Begins to write to its connections, on the database's runtime, and to look after their sessions; both end with it.
    ///
    /// `delays` is told of each frame that names changes how long after the first of them was made it was given to the kernel
    /// (a frame that had to wait there is not counted).
    pub fn new(registry: Registry, database: Database, delays: impl Fn(Duration) + Send + Sync + 'static) -> Arc<Self> {
        let shards = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = database.runtime.clone();
        let hub = Arc::new(Self {
            registry,
            loaders: Loaders::new(&database),
            database,
            state: Mutex::new(State { routing: Routing::default(), schedule: Schedule::new(shards) }),
            news: (0..shards).map(|_| Arc::default()).collect(),
            gone: Notify::new(),
            lobby: Lobby::new(),
            counters: Counters::default(),
            delays: Box::new(delays),
        });
        for (shard, news) in hub.news.iter().enumerate() {
            runtime.spawn(writing::write(Arc::downgrade(&hub), shard, news.clone()));
        }
        runtime.spawn(look_after_sessions(Arc::downgrade(&hub)));
        hub
    }

    /// Tables whose events the feed must not collapse.
    pub fn told_one_by_one(&self) -> Vec<&'static str> {
        self.registry.told_one_by_one()
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub fn load(&self) -> Load {
        self.with_state(|state| {
            let (connections, waiting, blocked) = state.schedule.load();
            Load { connections, watches: state.routing.watches(), waiting, blocked }
        })
    }

    /// The latest cursor; none before the feed's first step.
    pub fn cursor(&self) -> Option<(Snapshot, Epoch)> {
        self.decide(|routing| routing.cursor().map(|stamp| (stamp.snapshot.clone(), stamp.epoch)))
    }

    /// Those of the organizations in which a change may concern somebody who is connected here.
    pub fn served(&self, among: impl Iterator<Item = OrganizationId>) -> HashSet<OrganizationId> {
        self.with_state(|state| among.filter(|organization| state.routing.serves(*organization)).collect())
    }

    /// Closes every connection, so that their clients move to another server.
    pub fn close_all(&self) {
        self.decide(|routing| routing.close_all(Close::GoingAway));
    }

    /// Until nobody is connected.
    pub async fn empty(&self) {
        loop {
            let gone = self.gone.notified();
            if self.load().connections == 0 {
                return;
            }
            gone.await;
        }
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

    /// Lets the routing decide, and wakes who writes to the connections that have news by it.
    fn decide<T>(&self, decide: impl FnOnce(&mut Routing) -> T) -> T {
        let (decided, woken) = self.with_state(|State { routing, schedule }| {
            let decided = decide(routing);
            let mut woken: Vec<Shard> = routing.take_woken().into_iter().filter_map(|id| schedule.wake(id)).collect();
            woken.sort_unstable();
            woken.dedup();
            (decided, woken)
        });
        self.wake(woken);
        decided
    }

    /// Lets the lobby decide, and wakes who writes to the connections that have news by it.
    fn in_lobby<T>(&self, decide: impl FnOnce(&Lobby) -> (T, BTreeSet<ConnectionId>)) -> T {
        let (decided, woken) = decide(&self.lobby);
        if !woken.is_empty() {
            let shards: BTreeSet<Shard> =
                self.with_state(|state| woken.into_iter().filter_map(|id| state.schedule.wake_for(id)).collect());
            self.wake(shards);
        }
        decided
    }

    fn wake(&self, shards: impl IntoIterator<Item = Shard>) {
        shards.into_iter().filter_map(|shard| self.news.get(shard)).for_each(|news| news.notify_one());
    }

    fn with_state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // A panic under this lock would be a bug in a look-up; the state is still a state.
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn attach(&self, person: PersonId, session: Uuid, outlet: Arc<Outlet>) -> ConnectionId {
        let (id, shard) = self.with_state(|State { routing, schedule }| {
            let id = routing.attach(person, session);
            (id, schedule.attach(id, outlet, Instant::now()))
        });
        self.in_lobby(|lobby| lobby.attach(id, person, session));
        self.wake([shard]);
        id
    }

    fn detach(&self, id: ConnectionId) {
        self.with_state(|State { routing, schedule }| {
            routing.detach(id);
            schedule.detach(id);
        });
        self.in_lobby(|lobby| lobby.detach(id));
        self.gone.notify_waiters();
    }

    /// Nothing more is written to the connection until the kernel has taken what was.
    fn block(&self, id: ConnectionId, outlet: &Outlet) {
        self.with_state(|state| state.schedule.block(id));
        // Its own task may have been quicker.
        if !matches!(outlet.standing(), Standing::Blocked(_)) {
            self.unblock(id);
        }
    }

    fn unblock(&self, id: ConnectionId) {
        let shard = self.with_state(|state| state.schedule.unblock(id));
        self.wake(shard);
    }

    fn unwatch(&self, id: ConnectionId, numbers: &[WatchNumber]) {
        self.decide(|routing| routing.unwatch(id, numbers));
    }

    /// Ends the session's connections if it no longer stands; their last frame says so.
    async fn check_session(&self, session: Uuid) {
        match self.loaders.sessions.load(session).await {
            Ok(true) => {}
            Ok(false) => {
                self.in_lobby(|lobby| lobby.end_session(session));
                self.decide(|routing| routing.end_session(session));
            }
            // It is asked again within a minute. The database is away: nothing is told meanwhile either.
            Err(error) => tracing::debug!(%error, "a session could not be looked at"),
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // The writers look for the hub, and end.
        self.news.iter().for_each(|news| news.notify_one());
    }
}

async fn look_after_sessions(hub: Weak<Hub>) {
    loop {
        tokio::time::sleep(RECHECK).await;
        let Some(hub) = hub.upgrade() else { return };
        let sessions = hub.decide(|routing| routing.sessions());
        futures::future::join_all(sessions.into_iter().map(|session| hub.check_session(session))).await;
    }
}
