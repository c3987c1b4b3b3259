//! The client: cached values by key, what is pending over them, and what the live connection vouches for.
//!
//! A reducer: every method takes what happened and leaves [`Effect`]s for the driver to carry out. It has no clock, no
//! I/O and no knowledge of Leptos, so that tests (and a simulator) run it as it is.
//!
//! Two axes say how a value is: whether it is there (`value`, `absent`) and whether it is known to lag behind
//! (`needs`). What a value must contain to be current again is written down as a [`Need`], so a fetch that was under
//! way when a change was told is judged by what it brings, not by when it came.

mod entry;
mod outbox;

pub use outbox::{Progress, SHOWN_AS_PENDING_AFTER, Waiting, WaitingState};

use crate::error::{ApiError, Kind};
use crate::key::{OrganizationId, QueryKey};
use crate::overlay::{AnyValue, MutationId};
use crate::snapshot::{Epoch, Stamp, Xid};
use crate::wire::{ClientFrame, Passed, Read, Rights, Stale, Standing, Tick, Watch, WatchNumber};
use entry::{Entry, Kept, Need};
use outbox::Pending;
use std::collections::{HashMap, HashSet};

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Look for a kept value of the key and report with [`Client::restored`].
    Restore { key: QueryKey },
    /// Write the key's value down, with its stamp ([`Client::current`]), and report with [`Client::was_kept`].
    Keep(QueryKey),
    /// Write the mutation down as it is now ([`Client::mutation`]).
    KeepMutation(MutationId),
    /// These mutations need not be kept any longer.
    ForgetMutations(Vec<MutationId>),
    /// No value of the organization may be kept any longer.
    ForgetKept(OrganizationId),
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
    /// The server refused the mutation; it is held and no longer shown. Tell the person.
    Refused { id: MutationId, label: String, typed: Option<String>, error: ApiError },
    /// What is in the outbox, or how far it has come, is another.
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

/// See the module.
#[derive(Default)]
pub struct Client {
    entries: HashMap<QueryKey, Entry>,
    pending: Vec<Pending>,
    unreadable: Vec<Waiting>,
    cursor: Option<Stamp>,
    is_live: bool,
    numbers: HashMap<WatchNumber, QueryKey>,
    last_number: WatchNumber,
    last_ticket: Ticket,
    /// Keys whose watch may have to be taken or given back; settled by [`Client::flush`].
    unsettled_watches: HashSet<QueryKey>,
    /// The stamps of the values that this device keeps.
    kept: HashMap<QueryKey, Stamp>,
    /// Keys that wait to know what is kept before the server is asked; none once that is known.
    awaiting_kept: Option<HashSet<QueryKey>>,
    /// Another tab sends.
    is_idle_sender: bool,
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
        let is_value = answer.is_ok();
        self.take_over(key, answer);
        if is_value {
            self.effects.push(Effect::Keep(key.clone()));
        }
    }

    /// Finds a first value if there is no answer yet: a kept one, or by a fetch. One however many ask.
    pub fn ensure(&mut self, key: &QueryKey) {
        let entry = self.entries.entry(key.clone()).or_default();
        if !entry.has_answer() && entry.fetching.is_none() && !self.is_promised(key) {
            self.fetch(key);
        }
    }

    /// Whether an unanswered mutation will bring the key's first value: what is only being made cannot be read yet.
    fn is_promised(&self, key: &QueryKey) -> bool {
        self.pending.iter().any(|pending| pending.is_open() && pending.mutation.answers().as_ref() == Some(key))
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

    /// Forgets values that nobody has shown for `keep` milliseconds and over which nothing unanswered lies.
    pub fn collect(&mut self, now: u64, keep: u64) {
        let pending = &self.pending;
        self.entries.retain(|key, entry| {
            let is_old = entry.idle_since.is_some_and(|since| now.saturating_sub(since) >= keep);
            let is_busy = entry.observers > 0 || entry.fetching.is_some();
            !is_old || is_busy || pending.iter().any(|pending| pending.is_open() && pending.mutation.touches(key))
        });
        self.forget_settled();
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
            let is_later = pending.exposed.is_some_and(|since| since >= ticket);
            let is_unnamed = is_later || (answer.is_err() && pending.is_answered());
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

    /// An answer that was fetched for somebody else: taken as it is, for it may be newer than what is held.
    pub fn offered(&mut self, key: &QueryKey, answer: Result<Read<AnyValue>, ApiError>) {
        if !self.entries.contains_key(key) {
            return;
        }
        self.take_over(key, answer);
    }

    /// An answer to a question that this client did not ask. What failed is tried again by who
    /// needs it.
    fn take_over(&mut self, key: &QueryKey, answer: Result<Read<AnyValue>, ApiError>) {
        let ticket = self.next_ticket();
        match answer {
            Ok(read) => self.accept(key, ticket, read),
            Err(error) if error.kind.is_absence() => self.accept_absence(key, ticket, error, Vec::new()),
            Err(_) => {}
        }
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

    /// Asks for the key's value: first of what is kept, then of the server.
    fn fetch(&mut self, key: &QueryKey) {
        if let Some(awaiting) = &mut self.awaiting_kept {
            awaiting.insert(key.clone());
            return;
        }
        let entry = self.entries.entry(key.clone()).or_default();
        match entry.kept {
            Kept::Restoring => return,
            Kept::Unknown if !entry.has_answer() && self.kept.contains_key(key) => {
                entry.kept = Kept::Restoring;
                self.effects.push(Effect::Restore { key: key.clone() });
                return;
            }
            Kept::Unknown | Kept::Done => entry.kept = Kept::Done,
        }
        let ticket = self.next_ticket();
        let ids = |is_meant: fn(&Pending) -> bool| -> Vec<_> {
            let meant = self.pending.iter().filter(|pending| is_meant(pending) && pending.mutation.touches(key));
            meant.map(|pending| pending.id).collect()
        };
        let (pending, after) = (ids(Pending::is_exposed), ids(Pending::is_answered));
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

    fn need_transaction(&mut self, key: &QueryKey, xid: Xid, epoch: Epoch) {
        self.need(key, Need::Transaction(xid, epoch));
    }

    fn need_anything(&mut self, key: &QueryKey) {
        self.need(key, Need::Anything);
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

    // ------------------------------------------------------------------------------------------------ keeping

    /// What this device keeps is not known yet: nothing is fetched before [`Client::found_kept`] says.
    pub fn await_kept(&mut self) {
        self.awaiting_kept.get_or_insert_default();
    }

    /// The values that this device keeps, by their stamps; empty where there is no storage.
    pub fn found_kept(&mut self, kept: HashMap<QueryKey, Stamp>) {
        self.kept = kept;
        for key in self.awaiting_kept.take().unwrap_or_default() {
            self.ensure(&key);
            self.fetch_if_needed(&key);
        }
    }

    /// The kept value of the key, if it could be read. It is shown at once; whether it is still right, the server says
    /// when the key is watched.
    pub fn restored(&mut self, key: &QueryKey, value: Option<Read<AnyValue>>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.kept != Kept::Restoring {
            return; // wiped meanwhile
        }
        entry.kept = Kept::Done;
        match value {
            Some(read) if !entry.has_answer() => {
                let ticket = self.next_ticket();
                self.accept(key, ticket, read);
            }
            Some(_) => {}
            None => {
                self.kept.remove(key);
                self.ensure(key);
            }
        }
        self.fetch_if_needed(key);
    }

    /// The key's value has been written down with this stamp.
    pub fn was_kept(&mut self, key: &QueryKey, stamp: Stamp) {
        self.kept.insert(key.clone(), stamp);
        self.forget_settled();
    }

    /// The keys that have a value.
    pub fn held(&self) -> Vec<QueryKey> {
        self.entries.iter().filter(|(_, entry)| entry.value.is_some()).map(|(key, _)| key.clone()).collect()
    }

    /// The server's value of the key, with the latest stamp for which it is known to be right: what is to be kept.
    pub fn current(&self, key: &QueryKey) -> Option<Read<AnyValue>> {
        let data = self.entries.get(key)?.value.clone()?;
        let Stamp { snapshot, epoch } = self.stamp_of(key)?;
        Some(Read { data, snapshot, epoch, contains: Vec::new() })
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
        self.try_again();
    }

    /// There may be a way through again: what failed for want of one is tried at once.
    pub fn try_again(&mut self) {
        let failed: Vec<_> =
            self.entries.iter().filter(|(_, entry)| entry.failed > 0).map(|(key, _)| key.clone()).collect();
        for key in failed {
            self.retry_fetch(&key);
        }
        self.end_pauses();
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
                    // The new rights may be less: nothing read by the old ones is there for a page that comes later.
                    self.forget_kept(organization);
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

    /// The person belongs to these organizations and no others: whatever is held or kept of others is wiped. Memberships
    /// also end while no page is open to be told.
    pub fn belongs_to(&mut self, organizations: &[OrganizationId]) {
        let held = self.entries.keys().chain(self.kept.keys()).map(|key| key.organization);
        let pending = self.pending.iter().map(|pending| pending.mutation.organization());
        let left: HashSet<_> = held.chain(pending).filter(|held| !organizations.contains(held)).collect();
        for organization in left {
            self.wipe(organization);
        }
    }

    fn forget_kept(&mut self, organization: OrganizationId) {
        self.kept.retain(|key, _| key.organization != organization);
        self.effects.push(Effect::ForgetKept(organization));
    }

    fn wipe(&mut self, organization: OrganizationId) {
        self.numbers.retain(|_, key| key.organization != organization);
        self.forget_kept(organization);
        self.forget_mutations_of(organization);
        self.unreadable.retain(|waiting| waiting.organization != organization);
        for (key, entry) in self.entries.iter_mut().filter(|(key, _)| key.organization == organization) {
            let absent = ApiError::new(Kind::Forbidden, "You are no longer a member of this organization.");
            *entry =
                Entry { absent: Some(absent), observers: entry.observers, is_unwatchable: true, ..Entry::default() };
            self.effects.push(Effect::Changed(key.clone()));
        }
        self.effects.push(Effect::PendingChanged);
        self.effects.push(Effect::Left(organization));
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
