//! The client: cached values by key, what is pending over them, and what the live connection vouches for.
//!
//! A reducer: every method takes what happened and leaves [`Effect`]s for the driver to carry out. It has no clock, no
//! I/O and no knowledge of Leptos, so that tests (and a simulator) run it as it is.
//!
//! Two axes say how a value is: whether it is there (`value`, `absent`) and whether it is known to lag behind
//! (`needs`). What a value must contain to be current again is written down as a [`Need`], so a fetch that was under
//! way when a change was told is judged by what it brings, not by when it came.

use crate::error::{ApiError, Kind};
use crate::key::{OrganizationId, QueryKey};
use crate::overlay::{AnyValue, MutationId, PendingMutation};
use crate::snapshot::{Epoch, Stamp, Xid};
use crate::wire::{ClientFrame, Passed, Read, Rights, Stale, Standing, Tick, Watch, WatchNumber};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use uuid::Uuid;

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Read the key and report with [`Client::fetched`].
    Fetch { key: QueryKey, ticket: Ticket, pending: Vec<MutationId> },
    /// Call [`Client::retry_fetch`] after a pause; this was failure number `failed`.
    RetryFetch { key: QueryKey, failed: u32 },
    /// Send the mutation and report with [`Client::answered`] or [`Client::failed`].
    Send { mutation: MutationId },
    /// Call [`Client::retry_mutation`] after a pause.
    RetryMutation { mutation: MutationId, failed: u32 },
    /// Send it over the live connection.
    Frame(ClientFrame),
    /// What is shown for the key may be another.
    Changed(QueryKey),
    /// The server refused the mutation; it has been taken away. Tell the person.
    Refused { label: &'static str, typed: Option<String>, error: ApiError },
    /// The set of records with an unanswered mutation is another.
    PendingChanged,
    /// The person is no longer a member; everything of the organization has been wiped.
    Left(OrganizationId),
    /// The person's rights there are others, or they have just joined.
    RightsChanged(OrganizationId),
    /// Nobody is signed in any more.
    SignedOut,
}

/// A watch frame stays well below what the server takes as one message.
const MOST_KEYS_A_FRAME: usize = 200;

/// A value that may be read and not be watched is read again so often: rights may be changing just then. More, and the
/// server contradicts itself.
const MOST_REFUSALS: u32 = 3;

/// The number of a request; of those begun later it is greater.
pub type Ticket = u64;

/// What is shown for a key.
#[derive(Clone, Default)]
pub struct View {
    /// The server's value with what is pending over it.
    pub data: Option<AnyValue>,
    /// Why there is no newer one (beside the last good data), or why there is none at all.
    pub error: Option<ApiError>,
    pub is_fetching: bool,
    /// Whether something pending lies over the server's value.
    pub is_pending: bool,
}

/// A change that a value has to contain before it is current again.
#[derive(Clone, Debug, PartialEq)]
enum Need {
    /// What this transaction did.
    Transaction(Xid, Epoch),
    /// All that this stamp holds.
    All(Stamp),
    /// Whatever a read begun from now on gives.
    Anything,
}

#[derive(Default)]
struct Entry {
    value: Option<AnyValue>,
    /// The server said that there is nothing to see: 404 or 403.
    absent: Option<ApiError>,
    /// Of `value` or of `absent`; grows only. What the cursor adds to it is told by [`Client::stamp_of`].
    stamp: Option<Stamp>,
    /// The last ticket given out when `value` came: orders answers of different epochs, which their stamps cannot.
    from: Ticket,
    /// Pending mutations that the value is known to contain.
    contains: Vec<MutationId>,
    /// With the last ticket given out when each was noted.
    needs: Vec<(Need, Ticket)>,
    fetching: Option<Ticket>,
    /// Pending mutations that were carried out before that fetch began: whatever it brings contains them.
    after: Vec<MutationId>,
    failed: u32,
    error: Option<ApiError>,
    observers: u32,
    watch: Option<WatchNumber>,
    /// The server has confirmed the watch: cursors vouch for the value.
    is_vouched: bool,
    /// The server refused the watch; it is not asked again before there is another value.
    is_unwatchable: bool,
    /// How often it did so since it last took one.
    refused: u32,
    /// Milliseconds; set while nobody observes it.
    idle_since: Option<u64>,
}

impl Entry {
    fn has_answer(&self) -> bool {
        self.value.is_some() || self.absent.is_some()
    }
}

struct Pending {
    id: MutationId,
    mutation: Arc<dyn PendingMutation>,
    phase: Phase,
    /// Known by its answer, or by the live connection before that.
    done: Option<Done>,
    /// The last ticket given out when it was made: reads begun later name it.
    made: Ticket,
    /// When it was first sent: its stored answer may be as old.
    sent: Option<Ticket>,
    failed: u32,
}

/// How a mutation was carried out, so that it is known which values contain it.
#[derive(Clone, Debug, PartialEq)]
enum Done {
    /// By this transaction, as told in these epochs: its own, and that of an answer read after a crash. In both a snapshot
    /// that sees it contains it, for what was committed keeps its number.
    By(Xid, Vec<Epoch>),
    /// It asked for what already was at this stamp; a value from before may show something else.
    Before(Stamp),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Behind an earlier one on the same record, or in the pause before a retry.
    Waiting {
        pausing: bool,
    },
    Sent,
    /// Lies over a key until the key's stamp sees the transaction.
    Answered,
}

impl Pending {
    fn is_answered(&self) -> bool {
        self.phase == Phase::Answered
    }

    fn is_done_by(&mut self, xid: Xid, epoch: Epoch) {
        match &mut self.done {
            Some(Done::By(_, epochs)) if epochs.contains(&epoch) => {}
            Some(Done::By(_, epochs)) => epochs.push(epoch),
            done => *done = Some(Done::By(xid, vec![epoch])),
        }
    }

    /// Whether it has been sent, and nothing has been heard of it that says whether what was read in this epoch has it.
    fn may_be_done(&self, read_in: Option<Epoch>) -> bool {
        match &self.done {
            None => self.sent.is_some(),
            Some(Done::By(_, epochs)) => read_in.is_some_and(|epoch| !epochs.contains(&epoch)),
            Some(Done::Before(as_of)) => read_in.is_some_and(|epoch| epoch != as_of.epoch),
        }
    }

    /// Whether its answer is on the way and will bring the key's value as of this transaction.
    fn will_bring(&self, key: &QueryKey, xid: Xid, epoch: Epoch) -> bool {
        let is_its_own = matches!(&self.done, Some(Done::By(its, epochs)) if *its == xid && epochs.contains(&epoch));
        self.phase == Phase::Sent && is_its_own && self.mutation.answers().as_ref() == Some(key)
    }
}

/// See the module.
#[derive(Default)]
pub struct Client {
    entries: HashMap<QueryKey, Entry>,
    pending: Vec<Pending>,
    cursor: Option<Stamp>,
    is_live: bool,
    numbers: HashMap<WatchNumber, QueryKey>,
    last_number: WatchNumber,
    last_ticket: Ticket,
    /// Keys whose watch may have to be taken or given back; settled by [`Client::flush`].
    unsettled_watches: HashSet<QueryKey>,
    effects: Vec<Effect>,
}

impl Client {
    /// What is to be done since the last call.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    // ------------------------------------------------------------------------------------------------ observing

    /// One more component shows the key.
    pub fn observe(&mut self, key: &QueryKey) {
        let entry = self.entries.entry(key.clone()).or_default();
        entry.observers += 1;
        entry.idle_since = None;
        let is_given_up = entry.observers == 1 && entry.failed > 0;
        self.unsettled_watches.insert(key.clone());
        if is_given_up {
            // The pause before it was tried again may have ended while nobody looked.
            self.retry_fetch(key);
        } else {
            self.fetch_if_needed(key);
        }
    }

    /// One component fewer shows it. The value is kept until [`Client::collect`] finds it idle for too long.
    pub fn unobserve(&mut self, key: &QueryKey, now: u64) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.observers = entry.observers.saturating_sub(1);
            if entry.observers == 0 {
                entry.idle_since = Some(now);
            }
            self.unsettled_watches.insert(key.clone());
        }
    }

    /// An answer that came with the page, taken over without a fetch.
    pub fn hydrate(&mut self, key: &QueryKey, answer: Result<Read<AnyValue>, ApiError>) {
        if self.entries.get(key).is_some_and(Entry::has_answer) {
            return;
        }
        let ticket = self.next_ticket();
        match answer {
            Ok(read) => self.accept(key, ticket, read),
            Err(error) if error.kind.is_absence() => {
                self.accept_absence(key, ticket, error, Vec::new());
            }
            // What went wrong on the server's side of the page is tried again from this side.
            Err(_) => {}
        }
    }

    /// Fetches the key if there is no answer yet; one fetch however many ask.
    pub fn ensure(&mut self, key: &QueryKey) {
        let entry = self.entries.entry(key.clone()).or_default();
        if !entry.has_answer() && entry.fetching.is_none() && !self.is_promised(key) {
            self.fetch(key);
        }
    }

    /// Whether an unanswered mutation will bring the key's first value: what is only being made cannot be read yet.
    fn is_promised(&self, key: &QueryKey) -> bool {
        self.pending.iter().any(|pending| !pending.is_answered() && pending.mutation.answers().as_ref() == Some(key))
    }

    /// What is shown for the key.
    pub fn view(&self, key: &QueryKey) -> View {
        let Some(entry) = self.entries.get(key) else {
            let (data, is_pending) = self.overlaid(key, None);
            return View { data, is_pending, ..View::default() };
        };
        let (data, is_pending) = self.overlaid(key, Some(entry));
        View {
            error: entry.error.clone().or_else(|| entry.absent.clone()).filter(|_| !is_pending || data.is_none()),
            data,
            is_fetching: entry.fetching.is_some(),
            is_pending,
        }
    }

    /// Whether there is an answer, good or bad, or an error to show instead.
    pub fn is_settled(&self, key: &QueryKey) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.has_answer() || entry.error.is_some())
    }

    /// The server's value as it is, with its stamp.
    pub fn answer(&self, key: &QueryKey) -> Option<Result<Read<AnyValue>, ApiError>> {
        let entry = self.entries.get(key)?;
        match (&entry.value, &entry.stamp, &entry.absent, &entry.error) {
            (Some(value), Some(stamp), ..) => Some(Ok(Read {
                data: value.clone(),
                snapshot: stamp.snapshot.clone(),
                epoch: stamp.epoch,
                contains: entry.contains.clone(),
            })),
            (_, _, Some(error), _) | (_, _, None, Some(error)) => Some(Err(error.clone())),
            _ => None,
        }
    }

    /// Whether anything is kept for the key.
    pub fn holds(&self, key: &QueryKey) -> bool {
        self.entries.contains_key(key)
    }

    /// Forgets values that nobody has shown for `keep` milliseconds and over which nothing is pending.
    pub fn collect(&mut self, now: u64, keep: u64) {
        let pending = &self.pending;
        self.entries.retain(|key, entry| {
            let is_old = entry.idle_since.is_some_and(|since| now.saturating_sub(since) >= keep);
            let is_busy = entry.observers > 0 || entry.fetching.is_some();
            !is_old || is_busy || pending.iter().any(|pending| pending.mutation.touches(key))
        });
    }

    // ------------------------------------------------------------------------------------------------ fetching

    /// A fetch has ended.
    pub fn fetched(&mut self, key: &QueryKey, ticket: Ticket, answer: Result<Read<AnyValue>, ApiError>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.fetching != Some(ticket) {
            return; // wiped meanwhile, and begun anew
        }
        entry.fetching = None;
        let mut contains = std::mem::take(&mut entry.after);
        // Whether it contains a mutation that it did not name, and whose transaction is not known yet or is of another
        // epoch, nobody can tell. The next read names it, or begins after it was carried out.
        let read_in = match &answer {
            Ok(read) => Some(read.epoch),
            Err(error) => error.stamp.as_ref().map(|stamp| stamp.epoch),
        };
        let is_unclear = |pending: &Pending| {
            // An absence does not say which mutations it contains, so naming one has not helped.
            let is_unnamed = pending.made >= ticket || (answer.is_err() && pending.is_answered());
            let is_known = contains.contains(&pending.id);
            is_unnamed && !is_known && pending.may_be_done(read_in) && pending.mutation.touches(key)
        };
        let is_answer = answer.as_ref().map_or_else(|error| error.kind.is_absence(), |_| true);
        if is_answer && self.pending.iter().any(is_unclear) {
            self.fetch(key);
            return;
        }
        match answer {
            Ok(mut read) => {
                read.contains.append(&mut contains);
                self.accept(key, ticket, read);
            }
            Err(error) if error.kind.is_absence() => {
                self.accept_absence(key, ticket, error, contains);
            }
            Err(error) => {
                if error.kind == Kind::Unauthenticated {
                    self.effects.push(Effect::SignedOut);
                }
                entry.failed += 1;
                let failed = entry.failed;
                let is_passing = error.kind.is_passing();
                entry.error = Some(error);
                if is_passing {
                    self.effects.push(Effect::RetryFetch { key: key.clone(), failed });
                }
                self.effects.push(Effect::Changed(key.clone()));
                return;
            }
        }
        self.fetch_if_needed(key);
    }

    /// The pause after a failure is over, or the person asks to try again.
    pub fn retry_fetch(&mut self, key: &QueryKey) {
        if let Some(entry) = self.entries.get(key)
            && entry.fetching.is_none()
            && entry.observers > 0
            && (entry.error.is_some() || !entry.needs.is_empty())
        {
            self.fetch(key);
        }
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        self.last_ticket
    }

    fn fetch(&mut self, key: &QueryKey) {
        let ticket = self.next_ticket();
        let touching = self.pending.iter().filter(|pending| pending.mutation.touches(key));
        let (answered, unknown): (Vec<_>, Vec<_>) = touching.partition(|pending| pending.is_answered());
        let pending = unknown.into_iter().map(|pending| pending.id).collect();
        let after = answered.into_iter().map(|pending| pending.id).collect();
        let entry = self.entries.entry(key.clone()).or_default();
        entry.fetching = Some(ticket);
        entry.after = after;
        self.effects.push(Effect::Fetch { key: key.clone(), ticket, pending });
        self.effects.push(Effect::Changed(key.clone()));
    }

    fn fetch_if_needed(&mut self, key: &QueryKey) {
        let Some(entry) = self.entries.get(key) else { return };
        // A change of one's own whose answer is on the way needs no fetch: the answer brings the value.
        let is_on_its_way = |need: &Need| match need {
            Need::Transaction(xid, epoch) => self.pending.iter().any(|pending| pending.will_bring(key, *xid, *epoch)),
            Need::All(_) | Need::Anything => false,
        };
        let lags =
            (!entry.has_answer() && !self.is_promised(key)) || entry.needs.iter().any(|(need, _)| !is_on_its_way(need));
        if entry.observers > 0 && entry.fetching.is_none() && lags && entry.failed == 0 {
            self.fetch(key);
        }
    }

    fn need(&mut self, key: &QueryKey, need: Need) {
        let now = self.last_ticket;
        let Some(entry) = self.entries.get_mut(key) else { return };
        if !entry.needs.iter().any(|(noted, at)| *noted == need && *at == now) {
            entry.needs.push((need, now));
        }
        self.fetch_if_needed(key);
    }

    fn accept(&mut self, key: &QueryKey, ticket: Ticket, read: Read<AnyValue>) {
        let (stamp, now) = (read.stamp(), self.last_ticket);
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.take(Some(stamp), ticket, now) {
            entry.value = Some(read.data);
            entry.absent = None;
            entry.contains = read.contains;
        }
        self.accepted(key);
    }

    fn accept_absence(&mut self, key: &QueryKey, ticket: Ticket, mut error: ApiError, contains: Vec<MutationId>) {
        let now = self.last_ticket;
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.take(error.stamp.take(), ticket, now) {
            entry.value = None;
            entry.absent = Some(error);
            entry.contains = contains;
        }
        self.accepted(key);
    }

    fn accepted(&mut self, key: &QueryKey) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.failed = 0;
            entry.error = None;
        }
        self.unsettled_watches.insert(key.clone());
        self.effects.push(Effect::Changed(key.clone()));
        self.forget_settled();
    }

    // ------------------------------------------------------------------------------------------------ watching

    /// The live connection stands.
    pub fn connected(&mut self) {
        self.is_live = true;
        let mut unknown = Vec::new();
        for (key, entry) in &mut self.entries {
            (entry.is_unwatchable, entry.refused) = (false, 0);
            // Nothing says as of when it was not to be seen, so no watch can be asked to say whether it still is not.
            if entry.absent.is_some() && entry.stamp.is_none() && entry.fetching.is_none() {
                unknown.push(key.clone());
            }
        }
        unknown.iter().for_each(|key| self.need(key, Need::Anything));
        let observed = self.entries.iter().filter(|(_, entry)| entry.observers > 0);
        self.unsettled_watches.extend(observed.map(|(key, _)| key.clone()));
        // What failed while there was no way through is tried again at once.
        let failed: Vec<_> =
            self.entries.iter().filter(|(_, entry)| entry.failed > 0).map(|(key, _)| key.clone()).collect();
        for key in failed {
            self.retry_fetch(&key);
        }
    }

    /// The live connection is gone: from here on nothing vouches for any value.
    pub fn disconnected(&mut self) {
        self.is_live = false;
        let watched: Vec<_> = self.numbers.drain().map(|(_, key)| key).collect();
        for key in watched {
            self.end_watch(&key);
        }
        self.cursor = None;
    }

    /// Takes and gives back watches, all at once: call it when the page has come to rest, so that a component that
    /// goes and another that comes with the same key cost nothing.
    pub fn flush(&mut self) {
        if !self.is_live {
            return;
        }
        let mut watch = Vec::new();
        let mut unwatch = Vec::new();
        for key in std::mem::take(&mut self.unsettled_watches) {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            match (&entry.stamp, entry.watch) {
                (Some(stamp), None) if entry.observers > 0 && !entry.is_unwatchable => {
                    self.last_number += 1;
                    entry.watch = Some(self.last_number);
                    self.numbers.insert(self.last_number, key.clone());
                    watch.push(Watch {
                        number: self.last_number,
                        key: (&key).into(),
                        snapshot: stamp.snapshot.clone(),
                        epoch: stamp.epoch,
                    });
                }
                (_, Some(number)) if entry.observers == 0 => {
                    unwatch.push(number);
                    self.numbers.remove(&number);
                    self.end_watch(&key);
                }
                _ => {}
            }
        }
        if !unwatch.is_empty() {
            self.effects.push(Effect::Frame(ClientFrame::Unwatch { numbers: unwatch }));
        }
        watch.sort_by_key(|watch| watch.number);
        for keys in watch.chunks(MOST_KEYS_A_FRAME) {
            self.effects.push(Effect::Frame(ClientFrame::Watch { keys: keys.to_vec() }));
        }
    }

    /// The server's cursor, and what changed on the way to it.
    pub fn ticked(&mut self, tick: Tick) {
        let cursor = Stamp { snapshot: tick.cursor, epoch: tick.epoch };
        for refused in tick.refused {
            let Some(key) = self.numbers.remove(&refused.number) else { continue };
            self.end_watch(&key);
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            entry.is_unwatchable = true;
            entry.refused += 1;
            // The rights to what is shown may have gone while nobody told us: a read says whether they have.
            let is_about_rights = refused.error.kind.is_absence();
            if is_about_rights && entry.value.is_some() && entry.refused <= MOST_REFUSALS {
                self.need(&key, Need::Anything);
            }
        }
        for Passed { mutation_id, xid } in tick.mutations {
            if let Some(pending) = self.pending.iter_mut().find(|pending| pending.id == mutation_id) {
                pending.is_done_by(xid, cursor.epoch);
            }
        }
        // What is named is judged by the cursor before this one: up to there the frame says nothing against it.
        for Stale { number, xids } in tick.stale {
            let Some(key) = self.numbers.get(&number).cloned() else { continue };
            let stamp = self.stamp_of(&key);
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.stamp.clone_from(&stamp);
            }
            if xids.is_empty() {
                if !stamp.is_some_and(|stamp| stamp.covers(&cursor)) {
                    self.need(&key, Need::All(cursor.clone()));
                }
                continue;
            }
            for xid in xids {
                if !stamp.as_ref().is_some_and(|stamp| stamp.sees(xid, cursor.epoch)) {
                    self.need(&key, Need::Transaction(xid, cursor.epoch));
                }
            }
        }
        // Only now: no cursor before this one vouches for what was not watched yet.
        for number in tick.watching {
            if let Some(entry) = self.numbers.get(&number).and_then(|key| self.entries.get_mut(key)) {
                entry.is_vouched = true;
                entry.refused = 0;
            }
        }
        if self.cursor.as_ref().is_none_or(|before| !before.covers(&cursor)) {
            self.cursor = Some(cursor);
        }
        self.show_pending_anew();
        self.forget_settled();
    }

    /// The person's rights in organizations changed; the server has ended the watches there.
    pub fn rights_changed(&mut self, organizations: Vec<Rights>) {
        for Rights { organization, standing } in organizations {
            match standing {
                Standing::Removed => self.wipe(organization),
                Standing::Changed => {
                    let keys: Vec<_> =
                        self.entries.keys().filter(|key| key.organization == organization).cloned().collect();
                    for key in keys {
                        if let Some(number) = self.entries.get(&key).and_then(|entry| entry.watch) {
                            self.numbers.remove(&number);
                        }
                        self.end_watch(&key);
                        self.unsettled_watches.insert(key.clone());
                        self.need(&key, Need::Anything);
                    }
                    self.effects.push(Effect::RightsChanged(organization));
                }
            }
        }
    }

    /// The latest stamp for which the value is known to be right: its own, or the cursor where that vouches for it.
    fn stamp_of(&self, key: &QueryKey) -> Option<Stamp> {
        let entry = self.entries.get(key)?;
        let own = entry.stamp.as_ref()?;
        match &self.cursor {
            Some(cursor) if entry.is_vouched && entry.needs.is_empty() && cursor.covers(own) => Some(cursor.clone()),
            _ => Some(own.clone()),
        }
    }

    /// Keeps what the cursor vouched for, and takes the watch away.
    fn end_watch(&mut self, key: &QueryKey) {
        let stamp = self.stamp_of(key);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.stamp = stamp;
            entry.watch = None;
            entry.is_vouched = false;
        }
    }

    fn wipe(&mut self, organization: OrganizationId) {
        self.numbers.retain(|_, key| key.organization != organization);
        self.pending.retain(|pending| pending.mutation.organization() != organization);
        for (key, entry) in self.entries.iter_mut().filter(|(key, _)| key.organization == organization) {
            let absent = ApiError::new(Kind::Forbidden, "You are no longer a member of this organization.");
            *entry =
                Entry { absent: Some(absent), observers: entry.observers, is_unwatchable: true, ..Entry::default() };
            self.effects.push(Effect::Changed(key.clone()));
        }
        self.effects.push(Effect::PendingChanged);
        self.effects.push(Effect::Left(organization));
    }

    // ------------------------------------------------------------------------------------------------ mutating

    /// A mutation is made: it shows at once, and is sent when nothing earlier on its records is under way.
    pub fn mutate(&mut self, id: MutationId, mutation: Arc<dyn PendingMutation>) {
        self.show_anew(&*mutation);
        let made = self.last_ticket;
        self.pending.push(Pending {
            id,
            mutation,
            made,
            phase: Phase::Waiting { pausing: false },
            done: None,
            sent: None,
            failed: 0,
        });
        self.effects.push(Effect::PendingChanged);
        self.send_what_may_go();
    }

    /// The server carried the mutation out. `xid` is absent where that changed nothing.
    pub fn answered(&mut self, id: MutationId, xid: Option<Xid>, stamp: Stamp, answer: Option<(QueryKey, AnyValue)>) {
        let Some(place) = self.pending.iter().position(|pending| pending.id == id) else { return };
        let mutation = self.pending[place].mutation.clone();
        self.pending[place].phase = Phase::Answered;
        match xid {
            Some(xid) => self.pending[place].is_done_by(xid, stamp.epoch),
            None => self.pending[place].done = Some(Done::Before(stamp.clone())),
        }
        // Where no cursor will come by to vouch, or the value is of another epoch, the mutation itself says what has to be
        // read again.
        let is_unvouched = |key: &QueryKey, entry: &Entry| {
            let is_comparable = entry.stamp.as_ref().is_none_or(|held| held.epoch == stamp.epoch);
            !(entry.is_vouched && is_comparable) && mutation.touches(key)
        };
        let unvouched = self.entries.iter().filter(|(key, entry)| xid.is_some() && is_unvouched(key, entry));
        let unvouched: Vec<_> = unvouched.map(|(key, _)| key.clone()).collect();
        let epoch = stamp.epoch;
        if let Some((key, value)) = answer {
            let ticket = self.pending[place].sent.unwrap_or_default();
            // Those before it on the same record were carried out before it was sent.
            let records = mutation.records();
            let shares_record =
                |pending: &&Pending| pending.mutation.records().iter().any(|record| records.contains(record));
            let contains = self.pending[..=place].iter().filter(shares_record).map(|pending| pending.id).collect();
            let read = Read { data: value, snapshot: stamp.snapshot, epoch, contains };
            self.accept(&key, ticket, read);
            // Where it was too old for that, what waited for it waits no longer.
            self.fetch_if_needed(&key);
        }
        if let Some(xid) = xid {
            for key in unvouched {
                let contains = self.entries.get(&key).is_some_and(|entry| entry.contains.contains(&id));
                if !contains && !self.stamp_of(&key).is_some_and(|held| held.sees(xid, epoch)) {
                    self.need(&key, Need::Transaction(xid, epoch));
                }
            }
        }
        self.show_anew(&*mutation);
        self.effects.push(Effect::PendingChanged);
        self.forget_settled();
        self.send_what_may_go();
    }

    /// The mutation was not carried out: refused for good, or not yet.
    pub fn failed(&mut self, id: MutationId, error: ApiError) {
        let Some(place) = self.pending.iter().position(|pending| pending.id == id) else { return };
        if error.kind == Kind::Unauthenticated {
            self.effects.push(Effect::SignedOut);
        }
        if error.kind.is_passing() {
            let pending = &mut self.pending[place];
            pending.failed += 1;
            pending.phase = Phase::Waiting { pausing: true };
            self.effects.push(Effect::RetryMutation { mutation: id, failed: pending.failed });
            // What waited for the answer waits no longer.
            if let Some(key) = self.pending[place].mutation.answers() {
                self.fetch_if_needed(&key);
            }
            return;
        }
        let refused = self.pending.remove(place);
        self.show_anew(&*refused.mutation);
        self.effects.push(Effect::PendingChanged);
        // What the mutation was to bring has to be read after all.
        if let Some(key) = refused.mutation.answers().filter(|key| self.entries.contains_key(key)) {
            self.ensure(&key);
        }
        let (label, typed) = (refused.mutation.label(), refused.mutation.typed());
        self.effects.push(Effect::Refused { label, typed, error });
        self.send_what_may_go();
    }

    /// The pause before trying a mutation again is over.
    pub fn retry_mutation(&mut self, id: MutationId) {
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.id == id)
            && pending.phase == (Phase::Waiting { pausing: true })
        {
            pending.phase = Phase::Waiting { pausing: false };
        }
        self.send_what_may_go();
    }

    /// The records that an unanswered mutation changes.
    pub fn pending_records(&self) -> HashSet<Uuid> {
        let unanswered = self.pending.iter().filter(|pending| !pending.is_answered());
        unanswered.flat_map(|pending| pending.mutation.records()).collect()
    }

    fn send_what_may_go(&mut self) {
        let mut taken: HashSet<Uuid> = HashSet::new();
        for pending in self.pending.iter_mut().filter(|pending| !pending.is_answered()) {
            let records = pending.mutation.records();
            let is_first = records.iter().all(|record| !taken.contains(record));
            taken.extend(records);
            if is_first && pending.phase == (Phase::Waiting { pausing: false }) {
                pending.phase = Phase::Sent;
                pending.sent.get_or_insert_with(|| {
                    self.last_ticket += 1;
                    self.last_ticket
                });
                self.effects.push(Effect::Send { mutation: pending.id });
            }
        }
    }

    /// Whether the server's value of the key is known to contain the mutation.
    fn contains(&self, key: &QueryKey, entry: &Entry, pending: &Pending) -> bool {
        if entry.contains.contains(&pending.id) {
            return true;
        }
        let Some(stamp) = self.stamp_of(key) else { return false };
        match &pending.done {
            Some(Done::By(xid, epochs)) => epochs.iter().any(|epoch| stamp.sees(*xid, *epoch)),
            Some(Done::Before(as_of)) => stamp.covers(as_of),
            None => false,
        }
    }

    fn overlaid(&self, key: &QueryKey, entry: Option<&Entry>) -> (Option<AnyValue>, bool) {
        let mut value = entry.and_then(|entry| entry.value.clone());
        let mut is_pending = false;
        for pending in &self.pending {
            if entry.is_some_and(|entry| self.contains(key, entry, pending)) || !pending.mutation.touches(key) {
                continue;
            }
            value = pending.mutation.over(key, value);
            // What changed nothing is not waited for.
            is_pending |= !matches!(pending.done, Some(Done::Before(_)));
        }
        (value, is_pending)
    }

    fn show_anew(&mut self, mutation: &dyn PendingMutation) {
        let touched = self.entries.keys().filter(|key| mutation.touches(key));
        self.effects.extend(touched.cloned().map(Effect::Changed));
    }

    fn show_pending_anew(&mut self) {
        let mutations: Vec<_> = self.pending.iter().map(|pending| pending.mutation.clone()).collect();
        for mutation in mutations {
            self.show_anew(&*mutation);
        }
    }

    /// Drops mutations that every value which could show them contains.
    fn forget_settled(&mut self) {
        let is_settled = |pending: &Pending| {
            pending.is_answered()
                && self.entries.iter().all(|(key, entry)| {
                    // A first read that is under way may have been taken before the mutation was carried out.
                    let shows_none = !entry.has_answer() && entry.fetching.is_none();
                    shows_none || !pending.mutation.touches(key) || self.contains(key, entry, pending)
                })
        };
        let settled = self.pending.iter().filter(|pending| is_settled(pending));
        let settled: HashMap<_, _> = settled.map(|pending| (pending.id, pending.mutation.clone())).collect();
        if settled.is_empty() {
            return;
        }
        self.pending.retain(|pending| !settled.contains_key(&pending.id));
        // Over what is not there yet it was shown as pending until now.
        for (key, _) in self.entries.iter().filter(|(_, entry)| !entry.has_answer()) {
            if settled.values().any(|mutation| mutation.touches(key)) {
                self.effects.push(Effect::Changed(key.clone()));
            }
        }
    }
}

impl Entry {
    /// Whether an answer with this stamp replaces what is held, and if so what is still missing afterwards. An answer
    /// never replaces a newer value.
    fn take(&mut self, stamp: Option<Stamp>, ticket: Ticket, now: Ticket) -> bool {
        let is_newer = match (&self.stamp, &stamp) {
            (Some(held), Some(new)) if held.epoch == new.epoch => new.covers(held),
            // Of different epochs: it was asked for when the other was there already.
            _ => ticket > self.from,
        };
        // What is held and newer than the answer holds whatever the answer does.
        let is_covered = match (&self.stamp, &stamp) {
            (Some(held), Some(new)) => held.epoch == new.epoch,
            _ => false,
        };
        if is_newer {
            self.from = now;
            self.is_unwatchable = false;
            self.stamp = stamp;
        }
        let stamp = &self.stamp;
        self.needs.retain(|(need, noted)| {
            let is_met = match (need, stamp) {
                (Need::Transaction(xid, epoch), Some(stamp)) if stamp.epoch == *epoch => stamp.snapshot.sees(*xid),
                (Need::All(wanted), Some(stamp)) if stamp.epoch == wanted.epoch => stamp.covers(wanted),
                // Nothing to compare by: a read begun after the need was noted meets it.
                _ => (is_newer || is_covered) && ticket > *noted,
            };
            !is_met
        });
        is_newer
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
