//! A page: the real client, with a driver that carries out what it decides, a screen that is drawn anew only where the
//! client says so, and the checks of what is on it.

use super::database::Database;
use super::link::LinkId;
use super::product::{Query, Write};
use super::request::Done;
use super::schedule::Name;
use crate::client::{Client, Effect, Ticket};
use crate::error::{ApiError, Kind};
use crate::key::{OrganizationId, PersonId, QueryKey, WireKey};
use crate::overlay::{Answer, AnyMutation, AnyValue, MutationId};
use crate::snapshot::{Epoch, Stamp};
use crate::wire::{ClientFrame, Read, Standing, Tick, WatchNumber};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

mod checks;

pub(super) struct Tab {
    pub(super) person: PersonId,
    pub(super) link: Option<LinkId>,
    pub(super) is_live: bool,
    pub(super) client: Client,
    /// What its clock shows; it may be wrong, and may go back.
    pub(super) clock: u64,
    /// The page has not come to rest since something happened.
    pub(super) is_unsettled: bool,
    pub(super) timers: Vec<Timer>,
    queries: HashMap<QueryKey, Query>,
    wire: Vec<(WireKey, Query)>,
    /// With how many components show each.
    observed: BTreeMap<Query, u32>,
    screen: BTreeMap<Query, Picture>,
    made: Vec<Made>,
    fetching: BTreeMap<Query, Ticket>,
    watches: BTreeMap<WatchNumber, Query>,
    /// Watches that the server has neither taken nor refused.
    unanswered: BTreeSet<WatchNumber>,
    /// Stamps of the values that were shown last.
    stamps: BTreeMap<Query, Stamp>,
    /// How many requests it has made about each thing.
    asked: BTreeMap<u64, u64>,
    /// Keys that may be read once without a change that affects them: rights changed, or they were named without xids.
    excused: BTreeSet<Query>,
    /// Where rights have changed: what came there beside its own read is read when it is shown.
    rights_changed: BTreeSet<OrganizationId>,
    /// Keys whose watch was refused since there was one.
    refused: BTreeSet<Query>,
    /// Keys whose last fetch failed in passing.
    failed: BTreeSet<Query>,
    /// The epochs of the notices that have named the key.
    noticed: BTreeMap<Query, Vec<Epoch>>,
}

#[derive(Clone, Copy, PartialEq)]
struct Sight {
    is_pending: bool,
    error: Option<Kind>,
}

struct Picture {
    data: Option<AnyValue>,
    sight: Sight,
}

/// A mutation of this page.
struct Made {
    id: MutationId,
    write: Arc<Write>,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Answered,
    /// The person was told that it was not carried out.
    Refused,
    /// Wiped with its organization.
    Wiped,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) enum Timer {
    Fetch(Query),
    Mutation(MutationId),
}

/// What the driver cannot do by itself.
pub(super) enum Wish {
    Read { query: Query, ticket: Ticket, pending: Vec<MutationId> },
    Send { mutation: MutationId, write: Write },
    Frame(ClientFrame),
}

impl Tab {
    pub(super) fn new(person: PersonId, clock: u64) -> Self {
        Self {
            person,
            link: None,
            is_live: false,
            client: Client::default(),
            clock,
            is_unsettled: false,
            timers: Vec::new(),
            queries: HashMap::new(),
            wire: Vec::new(),
            observed: BTreeMap::new(),
            screen: BTreeMap::new(),
            made: Vec::new(),
            fetching: BTreeMap::new(),
            watches: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            stamps: BTreeMap::new(),
            asked: BTreeMap::new(),
            excused: BTreeSet::new(),
            rights_changed: BTreeSet::new(),
            refused: BTreeSet::new(),
            failed: BTreeSet::new(),
            noticed: BTreeMap::new(),
        }
    }

    /// A name for the next request about this thing: the same in every run in which the page asks as often.
    pub(super) fn name_request(&mut self, place: usize, about: impl std::hash::Hash) -> u64 {
        let about = Name::of((place, about));
        let count = self.asked.entry(about).or_default();
        *count += 1;
        Name::of((about, *count))
    }

    pub(super) fn observed(&self) -> Vec<Query> {
        self.observed.keys().cloned().collect()
    }

    /// Whether nothing has been changed on it yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.made.is_empty()
    }

    /// What happened is told to the client; what it wishes is carried out or given back. Then everything on the screen
    /// is looked at.
    pub(super) fn act(&mut self, database: &Database, happened: impl FnOnce(&mut Client)) -> Result<Vec<Wish>, String> {
        happened(&mut self.client);
        self.is_unsettled = true;
        self.after(database)
    }

    /// The page has come to rest.
    pub(super) fn rest(&mut self, database: &Database) -> Result<Vec<Wish>, String> {
        self.client.flush();
        self.is_unsettled = false;
        self.after(database)
    }

    fn after(&mut self, database: &Database) -> Result<Vec<Wish>, String> {
        let mut wishes = Vec::new();
        let mut fetches = Vec::new();
        for effect in self.client.take_effects() {
            match effect {
                Effect::Fetch { key, ticket, pending } => fetches.push((self.queries[&key].clone(), ticket, pending)),
                Effect::RetryFetch { key, .. } => self.timers.push(Timer::Fetch(self.queries[&key].clone())),
                Effect::RetryMutation { mutation, .. } => self.timers.push(Timer::Mutation(mutation)),
                Effect::Send { mutation } => {
                    let made = self.made.iter().find(|made| made.id == mutation);
                    let made = made.ok_or("a mutation is sent that nobody made")?;
                    wishes.push(Wish::Send { mutation, write: (*made.write).clone() });
                }
                Effect::Frame(frame) => {
                    self.note_frame(&frame)?;
                    wishes.push(Wish::Frame(frame));
                }
                Effect::Changed(key) => {
                    if let Some(query) = self.queries.get(&key).filter(|query| self.observed.contains_key(query)) {
                        let picture = self.picture(query);
                        self.screen.insert(query.clone(), picture);
                    }
                }
                Effect::Left(organization) => self.left(organization),
                Effect::SignedOut => return Err("the person was signed out".to_owned()),
                Effect::Refused { .. }
                | Effect::PendingChanged
                | Effect::RightsChanged(_)
                | Effect::Keep(_)
                | Effect::KeepMutation(_)
                | Effect::ForgetMutations(_)
                | Effect::ForgetKept(_) => {}
                Effect::Restore { .. } => return Err("a value is looked for where nothing is kept".to_owned()),
            }
        }
        // The client keeps its keys in no order; a schedule has to be the same each time.
        fetches.sort_by(|one, other| one.0.cmp(&other.0));
        for (query, ticket, pending) in fetches {
            if let Some(other) = self.fetching.insert(query.clone(), ticket) {
                return Err(format!(
                    "two fetches: {query:?} is fetched ({ticket}) while a fetch of it is under way ({other})"
                ));
            }
            self.justify(&query, database)?;
            wishes.push(Wish::Read { query, ticket, pending });
        }
        self.look(database)?;
        Ok(wishes)
    }

    fn left(&mut self, organization: OrganizationId) {
        self.fetching.retain(|query, _| query.organization() != organization);
        self.stamps.retain(|query, _| query.organization() != organization);
        let wiped = self.made.iter_mut().filter(|made| made.write.organization == organization);
        wiped.filter(|made| made.fate != Fate::Refused).for_each(|made| made.fate = Fate::Wiped);
    }

    // ----------------------------------------------------------------------------------------------- what happens

    pub(super) fn observe(
        &mut self,
        query: &Query,
        came_with_page: Option<Result<Read<AnyValue>, ApiError>>,
        database: &Database,
    ) -> Result<Vec<Wish>, String> {
        let key = query.key();
        if self.queries.insert(key.clone(), query.clone()).is_none() {
            self.wire.push(((&key).into(), query.clone()));
            if self.rights_changed.contains(&query.organization()) {
                self.excused.insert(query.clone());
            }
        }
        if let Some(answer) = came_with_page {
            self.client.hydrate(&key, answer);
        }
        let picture = self.picture(query);
        self.screen.insert(query.clone(), picture);
        *self.observed.entry(query.clone()).or_default() += 1;
        self.act(database, |client| client.observe(&key))
    }

    pub(super) fn unobserve(&mut self, query: &Query, database: &Database) -> Result<Vec<Wish>, String> {
        if let Some(count) = self.observed.get_mut(query) {
            *count -= 1;
            if *count == 0 {
                self.observed.remove(query);
                self.screen.remove(query);
                self.stamps.remove(query);
            }
        }
        let now = self.clock;
        self.act(database, |client| client.unobserve(&query.key(), now))
    }

    pub(super) fn mutate(&mut self, id: MutationId, write: Write, database: &Database) -> Result<Vec<Wish>, String> {
        let write = Arc::new(write);
        self.made.push(Made { id, write: write.clone(), fate: Fate::Open });
        let mutation: AnyMutation = write;
        self.act(database, |client| client.mutate(id, mutation))
    }

    pub(super) fn fetched(
        &mut self,
        query: &Query,
        ticket: Ticket,
        answer: Result<Read<AnyValue>, ApiError>,
        database: &Database,
    ) -> Result<Vec<Wish>, String> {
        if self.fetching.get(query) == Some(&ticket) {
            self.fetching.remove(query);
        }
        match &answer {
            Err(error) if !error.kind.is_absence() => self.failed.insert(query.clone()),
            _ => self.failed.remove(query),
        };
        self.act(database, |client| client.fetched(&query.key(), ticket, answer))
    }

    pub(super) fn answered(
        &mut self,
        id: MutationId,
        answer: Result<Done, ApiError>,
        database: &Database,
    ) -> Result<Vec<Wish>, String> {
        let made = self.made.iter_mut().find(|made| made.id == id && made.fate == Fate::Open);
        match (&answer, made) {
            (Ok(_), Some(made)) => made.fate = Fate::Answered,
            (Err(error), Some(made)) if !error.kind.is_passing() => made.fate = Fate::Refused,
            _ => {}
        }
        match answer {
            Ok(done) => self.act(database, |client| {
                client.answered(id, Answer { xid: done.xid, stamp: done.stamp, value: done.value })
            }),
            Err(error) => self.act(database, |client| client.failed(id, error)),
        }
    }

    pub(super) fn ticked(&mut self, tick: Tick, database: &Database) -> Result<Vec<Wish>, String> {
        for number in tick.watching.iter().chain(tick.refused.iter().map(|refused| &refused.number)) {
            if !self.watches.contains_key(number) {
                continue; // given back meanwhile
            }
            if !self.unanswered.remove(number) {
                return Err(format!("two answers: watch {number} is answered twice"));
            }
        }
        for refused in &tick.refused {
            if let Some(query) = self.watches.remove(&refused.number) {
                self.refused.insert(query.clone());
                self.excused.insert(query);
            }
        }
        for number in &tick.watching {
            self.watches.get(number).map(|query| self.refused.remove(query));
        }
        for stale in &tick.stale {
            let Some(query) = self.watches.get(&stale.number) else { continue };
            if stale.xids.is_empty() {
                self.excused.insert(query.clone());
            }
            self.noticed.entry(query.clone()).or_default().push(tick.epoch);
        }
        self.act(database, |client| client.ticked(tick))
    }

    pub(super) fn rights_changed(
        &mut self,
        organizations: Vec<crate::wire::Rights>,
        database: &Database,
    ) -> Result<Vec<Wish>, String> {
        for rights in &organizations {
            let ended = |query: &Query| query.organization() == rights.organization;
            self.watches.retain(|_, query| !ended(query));
            if rights.standing == Standing::Changed {
                self.rights_changed.insert(rights.organization);
                self.excused.extend(self.queries.values().filter(|query| ended(query)).cloned());
            }
        }
        self.unanswered.retain(|number| self.watches.contains_key(number));
        self.act(database, |client| client.rights_changed(organizations))
    }

    pub(super) fn connected(&mut self, database: &Database) -> Result<Vec<Wish>, String> {
        self.is_live = true;
        self.act(database, Client::connected)
    }

    pub(super) fn disconnected(&mut self, database: &Database) -> Result<Vec<Wish>, String> {
        self.link = None;
        self.watches.clear();
        self.unanswered.clear();
        if std::mem::replace(&mut self.is_live, false) {
            return self.act(database, Client::disconnected);
        }
        Ok(Vec::new())
    }

    fn note_frame(&mut self, frame: &ClientFrame) -> Result<(), String> {
        match frame {
            ClientFrame::Watch { keys } => {
                for watch in keys {
                    let asked = self.wire.iter().find(|(key, _)| *key == watch.key);
                    let (_, query) = asked.cloned().ok_or("a key is watched that nobody asked for")?;
                    if self.watches.values().any(|watched| *watched == query) {
                        return Err(format!("two watches: {query:?} is watched twice"));
                    }
                    self.watches.insert(watch.number, query);
                    self.unanswered.insert(watch.number);
                }
            }
            ClientFrame::Unwatch { numbers } => {
                self.watches.retain(|number, _| !numbers.contains(number));
                self.unanswered.retain(|number| !numbers.contains(number));
            }
            ClientFrame::Ping { .. } => {}
        }
        Ok(())
    }
}
