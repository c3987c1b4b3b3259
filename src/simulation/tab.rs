//! A page: the real client, with a driver that carries out what it decides, a screen that is drawn anew only where the
//! client says so, and the checks of what is on it.

use super::database::Database;
use super::link::LinkId;
use super::product::{Query, Write};
use super::schedule::Name;
use crate::client::{Client, Effect, Outcome, Progress, Question, Ticket};
use crate::error::{ApiError, Kind};
use crate::flights::Asked;
use crate::key::{OrganizationId, PersonId, QueryKey, WireKey};
use crate::overlay::{Answer, AnyMutation, AnyValue, ErasedMutation, MutationId};
use crate::snapshot::{Epoch, Stamp};
use crate::switchboard::TabId;
use crate::tabs::{Sending, Stored};
use crate::wire::{By, ClientFrame, Read, Standing, Tick, WatchNumber};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
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
    pub(super) asked: BTreeMap<u64, u64>,
    /// Keys that may be read once without a change that affects them: rights changed, or they were named without xids.
    excused: BTreeSet<Query>,
    /// Where rights have changed: what came there beside its own read is read when it is shown.
    rights_changed: BTreeSet<OrganizationId>,
    /// By what rights became less there: nothing read before that may be shown.
    narrowed: BTreeMap<OrganizationId, By>,
    /// Keys whose watch was refused since there was one.
    refused: BTreeSet<Query>,
    /// Keys whose last fetch failed in passing.
    failed: BTreeSet<Query>,
    /// The epochs of the notices that have named the key.
    noticed: BTreeMap<Query, Vec<Epoch>>,
    /// Organizations to which the person no longer belongs, as far as it has heard.
    left: BTreeSet<OrganizationId>,
    storage: Storage,
}

/// Whether the page has a device that keeps what it says, and another tab that sends for it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Storage {
    None,
    Shared,
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

/// A mutation that this page knows.
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
    Mutations(Vec<MutationId>),
}

/// What the driver cannot do by itself.
pub(super) enum Wish {
    Read { query: Query, ticket: Ticket, question: Question },
    Send { mutation: MutationId, write: Write, behind: VecDeque<(MutationId, Write)> },
    Frame(ClientFrame),
    Restore(QueryKey),
    Keep(QueryKey),
    KeepMutation(MutationId),
    ForgetMutations(Vec<MutationId>),
    ForgetKept(OrganizationId),
    ForgetAll(OrganizationId),
    Left(OrganizationId),
}

impl Tab {
    pub(super) fn new(person: PersonId, clock: u64, storage: Storage) -> Self {
        let mut client = Client::default();
        if storage == Storage::Shared {
            // As the driver begins: what is kept is not known yet, and who sends is yet to be seen.
            client.await_device();
            client.set_sender(false);
        }
        Self {
            person,
            link: None,
            is_live: false,
            client,
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
            narrowed: BTreeMap::new(),
            refused: BTreeSet::new(),
            failed: BTreeSet::new(),
            noticed: BTreeMap::new(),
            left: BTreeSet::new(),
            storage,
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
        let (mut wishes, mut fetches) = (Vec::new(), Vec::new());
        let (mut to_restore, mut to_keep) = (Vec::new(), Vec::new());
        for effect in self.client.take_effects() {
            match effect {
                Effect::Fetch { key, ticket, question, .. } => {
                    fetches.push((self.queries[&key].clone(), ticket, question))
                }
                Effect::RetryFetch { key, .. } => self.timers.push(Timer::Fetch(self.queries[&key].clone())),
                Effect::RetryMutations { mutations, .. } => self.timers.push(Timer::Mutations(mutations)),
                Effect::Send { mutations } => {
                    let write_of = |id: &MutationId| {
                        let made = self.made.iter().find(|made| made.id == *id);
                        Some((*id, (*made?.write).clone()))
                    };
                    let all: Option<VecDeque<_>> = mutations.iter().map(write_of).collect();
                    let mut behind = all.ok_or("a mutation is sent that nobody made")?;
                    let (mutation, write) = behind.pop_front().ok_or("a request without a mutation")?;
                    wishes.push(Wish::Send { mutation, write, behind });
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
                Effect::Left(organization) => {
                    self.leaves(organization);
                    wishes.push(Wish::Left(organization));
                }
                Effect::SignedOut => return Err("the person was signed out".to_owned()),
                Effect::Refused { .. } | Effect::PendingChanged | Effect::Returned | Effect::RightsChanged(_) => {}
                Effect::Keep(key) => to_keep.push(key),
                Effect::KeepMutation(id) => wishes.push(Wish::KeepMutation(id)),
                Effect::ForgetMutations(ids) => wishes.push(Wish::ForgetMutations(ids)),
                Effect::ForgetKept(organization) => wishes.push(Wish::ForgetKept(organization)),
                Effect::ForgetAll(organization) => wishes.push(Wish::ForgetAll(organization)),
                Effect::Restore { .. } if self.storage == Storage::None => {
                    return Err("a value is looked for where nothing is kept".to_owned());
                }
                Effect::Restore { key } => to_restore.push(key),
            }
        }
        // The client keeps its keys in no order; a schedule has to be the same each time.
        to_keep.sort_by_key(QueryKey::to_string);
        to_restore.sort_by_key(QueryKey::to_string);
        fetches.sort_by(|one, other| one.0.cmp(&other.0));
        wishes.extend(to_keep.into_iter().map(Wish::Keep));
        wishes.extend(to_restore.into_iter().map(Wish::Restore));
        for (query, ticket, question) in fetches {
            if self.client.awaits(&query.key()) != Some(ticket) {
                // Wiped meanwhile: an answer that nobody waits for.
                wishes.push(Wish::Read { query, ticket, question });
                continue;
            }
            if let Some(other) = self.fetching.insert(query.clone(), ticket) {
                return Err(format!(
                    "two fetches: {query:?} is fetched ({ticket}) while a fetch of it is under way ({other})"
                ));
            }
            self.justify(&query, database)?;
            wishes.push(Wish::Read { query, ticket, question });
        }
        self.look(database)?;
        Ok(wishes)
    }

    fn leaves(&mut self, organization: OrganizationId) {
        self.left.insert(organization);
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
            self.left.remove(&query.organization());
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
        self.note_made(Made { id, write: write.clone(), fate: Fate::Open });
        let mutation: AnyMutation = write;
        self.act(database, |client| client.mutate(id, mutation))
    }

    fn note_made(&mut self, made: Made) {
        self.made.retain(|known| known.id != made.id);
        let place = self.made.partition_point(|known| known.id < made.id);
        self.made.insert(place, made);
    }

    /// A mutation that another page made.
    pub(super) fn learns(
        &mut self,
        stored: Stored,
        sending: Sending,
        database: &Database,
    ) -> Result<Vec<Wish>, String> {
        let write = self.note_stored(&stored, sending)?;
        self.act(database, |client| client.learn(stored.id, write, stored.progress, sending))
    }

    /// What the device kept of the key, or did not. Of a mutation that is no longer in its outbox nobody can tell whether the
    /// value contains it: that is one read.
    pub(super) fn restored(
        &mut self,
        query: &Query,
        value: Option<Read<AnyValue>>,
        outbox: &[MutationId],
        database: &Database,
    ) -> Result<Vec<Wish>, String> {
        let key = query.key();
        if self.made.iter().any(|made| !outbox.contains(&made.id) && made.write.touches(&key)) {
            self.excused.insert(query.clone());
        }
        self.act(database, |client| client.restored(&key, value, outbox))
    }

    /// The leading tab says how far a mutation has come.
    pub(super) fn follows(
        &mut self,
        stored: Stored,
        sending: Sending,
        database: &Database,
    ) -> Result<Vec<Wish>, String> {
        let write = self.note_stored(&stored, sending)?;
        let is_held = matches!(self.client.mutation(stored.id), Some((_, Progress::Held(_))));
        if let Some(made) = self.made.iter_mut().find(|made| made.id == stored.id) {
            match made.fate {
                Fate::Open => made.fate = fate(&stored.progress),
                // The leader that came does not know of the refusal, and sends it once more.
                Fate::Refused if is_held && stored.progress == Progress::Made => made.fate = Fate::Open,
                Fate::Refused | Fate::Answered | Fate::Wiped => {}
            }
        }
        self.act(database, |client| client.follow(stored.id, write, stored.progress, sending))
    }

    fn note_stored(&mut self, stored: &Stored, sending: Sending) -> Result<Arc<Write>, String> {
        let write: Write =
            serde_json::from_str(&stored.body).map_err(|why| format!("an unreadable mutation: {why}"))?;
        let write = Arc::new(write);
        if self.client.mutation(stored.id).is_none() {
            self.note_made(Made { id: stored.id, write: write.clone(), fate: fate(&stored.progress) });
            // What is held may contain it or not: that is one read.
            if sending == Sending::Perhaps {
                let touched = self.queries.values().filter(|query| write.touches(&query.key()));
                self.excused.extend(touched.cloned());
            }
        }
        Ok(write)
    }

    pub(super) fn stored_mutations(&self) -> Vec<Stored> {
        let all = self.client.mutations().into_iter();
        all.map(|(id, mutation, progress)| Stored::of(id, &*mutation, progress)).collect()
    }

    pub(super) fn stored(&self, id: MutationId) -> Option<Stored> {
        let (mutation, progress) = self.client.mutation(id)?;
        Some(Stored::of(id, &*mutation, progress))
    }

    /// The answer of a fetch that was made for all tabs.
    pub(super) fn fetched_for_all(
        &mut self,
        me: TabId,
        query: &Query,
        asked: &Asked,
        answer: Result<Read<AnyValue>, ApiError>,
        database: &Database,
    ) -> Result<Vec<Wish>, String> {
        let key = query.key();
        if let Some(ticket) = self.fetching.remove(query) {
            match &answer {
                Err(error) if !error.kind.is_absence() => self.failed.insert(query.clone()),
                _ => self.failed.remove(query),
            };
            // Nobody knows how old the answer to another's question is: it may have to be asked again.
            if (asked.tab, asked.ticket) != (me, ticket) {
                self.excused.insert(query.clone());
            } else {
                self.left.remove(&query.organization());
            }
        }
        self.act(database, |client| asked.answered(me, client, &key, answer))
    }

    pub(super) fn fetched(
        &mut self,
        query: &Query,
        ticket: Ticket,
        question: &Question,
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
        self.left.remove(&query.organization());
        self.act(database, |client| client.fetched(&query.key(), ticket, question, answer))
    }

    /// What came of mutations that were sent together, by this page or for it.
    pub(super) fn heard(
        &mut self,
        outcomes: Vec<(MutationId, Outcome)>,
        database: &Database,
    ) -> Result<Vec<Wish>, String> {
        for (id, outcome) in &outcomes {
            let made = self.made.iter_mut().find(|made| made.id == *id && made.fate == Fate::Open);
            match (outcome, made) {
                (Outcome::Done { .. }, Some(made)) => made.fate = Fate::Answered,
                (Outcome::Failed(error), Some(made)) if !error.kind.is_passing() => made.fate = Fate::Refused,
                _ => {}
            }
            // An answer that may hold what was not known when it was sent is not taken: its value is read.
            if let (Outcome::Done { answer: Answer { value: Some((key, _)), .. }, .. }, Storage::Shared) =
                (outcome, self.storage)
            {
                self.excused.extend(self.queries.get(key).cloned());
            }
        }
        self.act(database, |client| client.heard(outcomes))
    }

    pub(super) fn ticked(&mut self, tick: Tick, database: &Database) -> Result<Vec<Wish>, String> {
        for number in tick.watching.iter().chain(tick.refused.iter().map(|refused| &refused.number)) {
            if !self.watches.contains_key(number) {
                continue; // given back meanwhile
            }
            // Who asks without a socket is judged each time, and may be refused what was taken before.
            if !self.unanswered.remove(number) && !tick.refused.iter().any(|refused| refused.number == *number) {
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
        // What was refused and is told of all the same was carried out by another sending.
        for passed in &tick.mutations {
            let refused = |made: &&mut Made| made.id == passed.mutation_id && made.fate == Fate::Refused;
            let is_held = matches!(self.client.mutation(passed.mutation_id), Some((_, Progress::Held(_))));
            if let Some(made) = self.made.iter_mut().find(refused).filter(|_| is_held) {
                made.fate = Fate::Answered;
            }
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
            if rights.standing == Standing::Narrowed
                && let Some(by) = &rights.by
            {
                self.narrowed.insert(rights.organization, by.clone());
            }
            if rights.standing != Standing::Removed {
                self.left.remove(&rights.organization);
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
            ClientFrame::Ping { .. } | ClientFrame::Presence(_) => {}
        }
        Ok(())
    }
}

fn fate(progress: &Progress) -> Fate {
    match progress {
        Progress::Made => Fate::Open,
        Progress::Done(..) | Progress::Unchanged(_) => Fate::Answered,
        Progress::Held(_) => Fate::Refused,
    }
}
