//! A server: the hub's own decisions, a feed, and its connections. The steps between which anything else may happen are
//! those between which the real one awaits.

use super::database::Database;
use super::link::{Down, Link, LinkId};
use super::product;
use crate::feed::Batch;
use crate::hub::missed::{Candidate, Missed, Search, missed};
use crate::hub::registry::Registry;
use crate::hub::routing::{ConnectionId, Registered, RightsNow, RightsThere, Routing};
use crate::key::{OrganizationId, PersonId};
use crate::snapshot::Stamp;
use crate::wire::{ClientFrame, Refused, ServerFrame, Watch, WatchNumber};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use uuid::Uuid;

pub(super) struct Node {
    registry: Rc<Registry>,
    routing: Routing,
    feed: Option<Stamp>,
    /// What the feed's last step gave, before the hub has taken it.
    batch: Option<Batch>,
    serving: BTreeMap<ConnectionId, Serving>,
    limits: Limits,
}

/// How much is told one by one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) events_a_step: usize,
    pub(super) missed: usize,
}

/// One connection.
struct Serving {
    person: PersonId,
    link: LinkId,
    /// Something is to be written.
    is_awake: bool,
    handling: Handling,
    /// Whose numbers are whose, for the check of what is written.
    organizations: BTreeMap<WatchNumber, OrganizationId>,
}

/// How far a watch frame has come.
enum Handling {
    Nothing,
    Begun { watches: Vec<Watch> },
    Versioned { watches: Vec<Watch>, version: u64 },
    Judged { watches: Vec<Watch>, version: u64, rights: RightsThere, candidates: Vec<Candidate>, refused: Vec<Refused> },
    Registered { candidates: Vec<Candidate> },
    Asked { candidates: Vec<Candidate>, stale: HashMap<WatchNumber, Missed> },
}

/// What a server can do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Move {
    AskFeed,
    Apply,
    NoticeCut(ConnectionId),
    Handle(ConnectionId),
    Tell(ConnectionId),
}

impl Node {
    pub(super) fn new(registry: Rc<Registry>, limits: Limits) -> Self {
        Self { registry, routing: Routing::default(), feed: None, batch: None, serving: BTreeMap::new(), limits }
    }

    /// Begins anew; its connections have to be cut by the caller.
    pub(super) fn restart(&mut self) -> Vec<LinkId> {
        let links = self.serving.values().map(|serving| serving.link).collect();
        *self = Self::new(self.registry.clone(), self.limits);
        links
    }

    pub(super) fn connect(&mut self, person: PersonId, id: LinkId, links: &mut [Link]) {
        let connection = self.routing.attach(person, Uuid::from_u128(0x5E + id as u128));
        links[id].tell(Down::Frame(ServerFrame::Hello { person }));
        let serving =
            Serving { person, link: id, is_awake: false, handling: Handling::Nothing, organizations: BTreeMap::new() };
        self.serving.insert(connection, serving);
    }

    /// The cursor of the feed, which every dropped event must have passed.
    pub(super) fn feed(&self) -> Option<&Stamp> {
        self.feed.as_ref()
    }

    pub(super) fn moves(&self, database: &Database, links: &[Link]) -> Vec<Move> {
        let mut moves = Vec::new();
        let is_behind = || match &self.feed {
            Some(feed) => !database.is_present(feed.epoch) || feed.snapshot != database.snapshot(),
            None => true,
        };
        if self.batch.is_some() {
            moves.push(Move::Apply);
        } else if is_behind() {
            moves.push(Move::AskFeed);
        }
        for (connection, serving) in &self.serving {
            let link = &links[serving.link];
            if link.is_cut() {
                moves.push(Move::NoticeCut(*connection));
                continue;
            }
            if serving.is_awake {
                moves.push(Move::Tell(*connection));
            }
            if !matches!(serving.handling, Handling::Nothing) || link.has_asked() {
                moves.push(Move::Handle(*connection));
            }
        }
        moves
    }

    /// One step of what is done about the questions of a page.
    pub(super) fn answer(
        &self,
        link: &mut Link,
        database: &Database,
        is_lost: impl FnOnce() -> bool,
    ) -> Result<(), String> {
        let Some(questions) = link.questions_mut() else { return Ok(()) };
        for frame in questions.go_on(&self.registry, self.limits.missed, database, is_lost)? {
            link.tell(Down::Frame(frame));
        }
        Ok(())
    }

    /// Every connection is told the cursor: the heartbeat.
    pub(super) fn heartbeat(&mut self, database: &Database, links: &mut [Link]) -> Result<(), String> {
        let connections: Vec<_> = self.serving.keys().copied().collect();
        connections.into_iter().try_for_each(|connection| self.tell(connection, true, database, links))
    }

    /// The feed is quick: all that is committed has been applied.
    pub(super) fn catch_up(&mut self, database: &mut Database, links: &mut [Link]) -> Result<(), String> {
        for this in [Move::Apply, Move::AskFeed, Move::Apply] {
            self.go(this, false, database, links)?;
        }
        Ok(())
    }

    pub(super) fn go(
        &mut self,
        this: Move,
        heartbeat: bool,
        database: &mut Database,
        links: &mut [Link],
    ) -> Result<(), String> {
        match this {
            Move::AskFeed => {
                let kept = self.registry.told_one_by_one();
                let batch = database.feed(self.feed.as_ref(), self.limits.events_a_step, &kept);
                self.feed = Some(Stamp { snapshot: batch.cursor.clone(), epoch: batch.epoch });
                self.batch = Some(batch);
            }
            Move::Apply => {
                if let Some(batch) = self.batch.take() {
                    let asked = self.routing.rights_to_ask(&self.registry, &batch);
                    let rights: RightsNow = asked
                        .into_iter()
                        .filter_map(|(person, its)| {
                            Some(((person, its), product::watch_rights(database, person, its)?))
                        })
                        .collect();
                    self.routing.apply(&self.registry, batch, &rights);
                    let woken = self.routing.take_woken();
                    self.wake(woken);
                }
            }
            Move::NoticeCut(connection) => self.detach(connection),
            Move::Tell(connection) => return self.tell(connection, heartbeat, database, links),
            Move::Handle(connection) => {
                self.handle(connection, database, links);
                let woken = self.routing.take_woken();
                self.wake(woken);
            }
        }
        Ok(())
    }

    fn wake(&mut self, woken: Vec<ConnectionId>) {
        for connection in woken {
            if let Some(serving) = self.serving.get_mut(&connection) {
                serving.is_awake = true;
            }
        }
    }

    fn detach(&mut self, connection: ConnectionId) {
        self.routing.detach(connection);
        self.serving.remove(&connection);
    }

    fn tell(
        &mut self,
        connection: ConnectionId,
        heartbeat: bool,
        database: &Database,
        links: &mut [Link],
    ) -> Result<(), String> {
        let (frames, close) = self.routing.take_frames(connection, heartbeat);
        let Some(serving) = self.serving.get_mut(&connection) else { return Ok(()) };
        serving.is_awake = false;
        let link = &mut links[serving.link];
        for frame in frames {
            if let (ServerFrame::Tick(tick), Some(cursor)) = (&frame, self.routing.cursor()) {
                let named = tick.stale.iter().map(|stale| &stale.number).chain(&tick.watching);
                let organizations: BTreeSet<_> = named.filter_map(|number| serving.organizations.get(number)).collect();
                for organization in organizations {
                    let membership = product::membership(*organization, serving.person);
                    if !database.was_there_since(membership, cursor) {
                        return Err(format!(
                            "leak: a frame names a key of organization {organization} to a person whose removal was applied"
                        ));
                    }
                }
            }
            link.tell(Down::Frame(frame));
        }
        if let Some(close) = close {
            link.tell(Down::Closed(close));
            self.detach(connection);
        }
        Ok(())
    }

    /// One step of what is done about the client's frame.
    fn handle(&mut self, connection: ConnectionId, database: &Database, links: &mut [Link]) {
        let Some(serving) = self.serving.get_mut(&connection) else { return };
        let routing = &mut self.routing;
        let version = |routing: &mut Routing, watches: Vec<Watch>| match routing.begin(connection, &watches) {
            Some(version) => Handling::Versioned { watches, version },
            None => Handling::Nothing,
        };
        serving.handling = match std::mem::replace(&mut serving.handling, Handling::Nothing) {
            Handling::Nothing => match links[serving.link].asked() {
                Some(ClientFrame::Watch { keys }) => {
                    let told = keys.iter().map(|watch| (watch.number, watch.key.organization));
                    serving.organizations.extend(told);
                    Handling::Begun { watches: keys }
                }
                Some(ClientFrame::Unwatch { numbers }) => {
                    routing.unwatch(connection, &numbers);
                    Handling::Nothing
                }
                Some(ClientFrame::Ping { .. } | ClientFrame::Presence(_)) | None => Handling::Nothing,
            },
            Handling::Begun { watches } => version(routing, watches),
            Handling::Versioned { watches, version } => {
                let organizations: BTreeSet<_> = watches.iter().map(|watch| watch.key.organization).collect();
                let rights: RightsThere = organizations
                    .into_iter()
                    .filter_map(|its| Some((its, product::watch_rights(database, serving.person, its)?)))
                    .collect();
                let (kept, refused) =
                    product::judge(&self.registry, database, serving.person, watches.clone(), &rights);
                Handling::Judged { watches, version, rights, candidates: kept, refused }
            }
            Handling::Judged { watches, version: judged_by, rights, candidates, refused } => {
                match routing.register(connection, judged_by, &rights, candidates, refused) {
                    Registered::As(candidates) if candidates.is_empty() => Handling::Nothing,
                    Registered::As(candidates) => Handling::Registered { candidates },
                    Registered::RightsChanged => version(routing, watches),
                }
            }
            Handling::Registered { candidates } => {
                let beyond = database.beyond(&Search::of(serving.person, None, &candidates), self.limits.missed);
                let stale = missed(&self.registry, serving.person, &candidates, &beyond);
                Handling::Asked { candidates, stale }
            }
            Handling::Asked { candidates, stale } => {
                routing.settle(connection, &candidates, &stale);
                Handling::Nothing
            }
        };
    }
}
