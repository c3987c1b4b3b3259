//! The client: cached values by key, what is pending over them, and what the live connection vouches for.
//!
//! A reducer: every method takes what happened and leaves [`Effect`]s for the driver to carry out. It has no clock, no
//! I/O and no knowledge of Leptos, so that tests (and a simulator) run it as it is.
//!
//! Two axes say how a value is: whether it is there (`value`, `absent`) and whether it is known to lag behind
//! (`needs`). What a value must contain to be current again is written down as a [`Need`], so a fetch that was under
//! way when a change was told is judged by what it brings, not by when it came.

mod absence;
mod departing;
mod entry;
mod forgotten;
mod inspection;
mod outbox;
mod reason;

pub use absence::{AWAY_AFTER, Moved};
pub use inspection::{Inspected, Standing as KeyStanding};
#[cfg(any(feature = "browser", all(test, feature = "hub")))]
pub(crate) use outbox::drop_superseded;
pub use outbox::{Outcome, Progress, SHOWN_AS_PENDING_AFTER, Waiting, WaitingState};
pub use reason::Reason;

use crate::error::{ApiError, Kind};
use crate::found::Found;
use crate::kept::replaces;
use crate::key::{OrganizationId, QueryKey};
use crate::overlay::{AnyValue, MutationId};
use crate::snapshot::{Epoch, Stamp, Xid};
use crate::wire::{By, ClientFrame, Passed, Read, Rights, Stale, Standing, Tick, Watch, WatchNumber};
use absence::Absence;
use entry::{Entry, Kept, Need};
use forgotten::Forgotten;
use outbox::Pending;
use serde::{Deserialize, Serialize};
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
    /// Nothing of the organization may be kept any longer, mutations neither.
    ForgetAll(OrganizationId),
    /// Read the key and report with [`Client::fetched`].
    Fetch { key: QueryKey, ticket: Ticket, question: Question, reason: Reason },
    /// Call [`Client::retry_fetch`] after a pause; this was failure number `failed`.
    RetryFetch { key: QueryKey, failed: u32 },
    /// Send these mutations in one request, in this order, and report with [`Client::heard`].
    Send { mutations: Vec<MutationId> },
    /// Call [`Client::retry_mutations`] after a pause; this was failure number `failed`.
    RetryMutations { mutations: Vec<MutationId>, failed: u32 },
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
    /// The person is back, and values have been replaced meanwhile: [`Client::take_moved`].
    Returned,
    /// Nobody is signed in any more.
    SignedOut,
}

/// A watch frame stays well below what the server takes as one message.
const MOST_KEYS_A_FRAME: usize = 200;

/// A value that may be read and not be watched is read again so often: rights may be changing just then. More, and the
/// server contradicts itself.
const MOST_REFUSALS: u32 = 3;

/// While a request with many mutations is under way there is a tick every few milliseconds: this is about as long as one
/// takes.
const MOST_TICKS_POSTPONED: u64 = 24;

/// The number of a request; of those begun later it is greater.
pub type Ticket = u64;

/// Of what was begun nobody knows when: before all that happened here.
const LONG_AGO: Ticket = 0;

/// What was known of the person's mutations when a read was asked for. It travels with the answer, for whoever gets that
/// may have asked later, or not at all, and has to tell what it contains.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// May have been carried out, or not: the answer says of each whether it contains it.
    pub named: Vec<MutationId>,
    /// Were carried out before: whatever is answered contains them.
    pub after: Vec<MutationId>,
}

impl Question {
    /// The answer with all that it is known to contain.
    pub fn kept<T: Clone>(&self, answer: &Found<T>) -> Found<T> {
        let mut answer = answer.clone();
        answer.contains.extend_from_slice(&self.after);
        answer
    }
}

/// Whether the person belongs to an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belonging {
    Member,
    Left,
}

/// What is shown for a key.
#[derive(Clone, Default)]
pub struct View {
    /// The server's value with what is pending over it.
    pub data: Option<AnyValue>,
    /// Why there is no newer one (beside the last good data), or why there is none at all.
    pub error: Option<ApiError>,
    pub is_fetching: bool,
    /// Whether it is known to lag behind. A value can be stale without a fetch (offline), and be fetched without being
    /// stale.
    pub is_stale: bool,
    /// Whether something pending lies over the server's value.
    pub is_pending: bool,
    /// Whether there was a value that the person may perhaps no longer see.
    pub is_hidden: bool,
}

/// When rights became less: what was read before is not to be shown.
struct Narrowed {
    by: Option<By>,
    /// The last ticket given out then.
    at: Ticket,
}

/// Whether a value of this stamp was read after these transactions.
fn is_read_by(stamp: Option<&Stamp>, by: Option<&By>) -> bool {
    stamp.zip(by).is_some_and(|(stamp, by)| by.xids.iter().all(|xid| stamp.sees(*xid, by.epoch)))
}

/// See the module.
#[derive(Default)]
pub struct Client {
    /// Boxed: the map's room to grow, up to half of it, is then that of pointers.
    entries: HashMap<QueryKey, Box<Entry>>,
    pending: Vec<Pending>,
    forgotten: Forgotten,
    unreadable: Vec<Waiting>,
    cursor: Option<Stamp>,
    is_live: bool,
    numbers: HashMap<WatchNumber, QueryKey>,
    last_number: WatchNumber,
    last_ticket: Ticket,
    /// Keys whose watch may have to be taken or given back; settled by [`Client::flush`].
    unsettled_watches: HashSet<QueryKey>,
    /// Where the person's rights have become less since the page was opened.
    narrowed: HashMap<OrganizationId, Narrowed>,
    /// The stamps of the values that this device keeps.
    kept: HashMap<QueryKey, Stamp>,
    /// Keys that are being written down once more, to hold a mutation, with the stamps that they had when it was asked: it is
    /// asked once, however long that takes.
    being_kept: HashMap<QueryKey, Stamp>,
    /// While `kept` is not all that this device keeps: the organizations of which nothing from before is kept any more.
    unread_kept: Option<HashSet<OrganizationId>>,
    /// Keys that wait for the outbox of this device to be known before anything is read; none once it is.
    awaiting_outbox: Option<HashSet<QueryKey>>,
    /// Keys whose read waits for the answer of a request ([`Client::waits_for_request`]), with the number of the tick since when.
    postponed: HashMap<QueryKey, u64>,
    /// How many ticks there have been.
    ticks: u64,
    /// Whether the person belongs to an organization, as far as has been said. What was asked before may be under way.
    belongs: HashMap<OrganizationId, Belonging>,
    /// All memberships have been told at some time: to others the person does not belong.
    knows_memberships: bool,
    /// Another tab sends.
    is_idle_sender: bool,
    /// The person is away, or has not been told yet what changed meanwhile.
    absence: Option<Absence>,
    moved: Vec<Moved>,
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
    pub fn hydrate(&mut self, key: &QueryKey, answer: Result<impl Into<Found<AnyValue>>, ApiError>) {
        if self.entries.get(key).is_some_and(|entry| entry.has_answer()) {
            return;
        }
        let answer: Result<Found<AnyValue>, ApiError> = answer.map(Into::into);
        if self.is_unclear(key, LONG_AGO, &Question::default(), &answer) {
            return; // whoever shows it reads it
        }
        // It was read before anything happened here.
        match answer {
            Ok(found) => {
                self.belongs.insert(key.organization, Belonging::Member);
                self.accept(key, LONG_AGO, found);
                self.effects.push(Effect::Keep(key.clone()));
            }
            Err(error) if error.kind.is_absence() => self.accept_absence(key, LONG_AGO, error, Vec::new()),
            // What failed is tried again once somebody shows it.
            Err(_) => {}
        }
    }

    /// Finds a first value if there is no answer yet: a kept one, or by a fetch. One however many ask. Whoever asks need
    /// not come to observe it: until somebody does, it is idle from `now` on.
    pub fn ensure(&mut self, key: &QueryKey, now: u64) {
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.observers == 0 {
            entry.idle_since = Some(now);
        }
        self.find_first(key);
    }

    fn find_first(&mut self, key: &QueryKey) {
        let entry = self.entries.entry(key.clone()).or_default();
        if !entry.has_answer() && entry.fetching.is_none() && !self.is_promised(key) {
            self.fetch(key, Reason::FirstLook);
        }
    }

    /// Gives a key that has no answer the value of another, which is known to be the same as of its stamp: what was
    /// noted against the one counts against the other.
    pub fn adopt(&mut self, key: &QueryKey, like: &QueryKey) {
        let stamp = self.stamp_of(like);
        let Some(other) = self.entries.get(like).filter(|other| other.value.is_some()) else { return };
        let copy = Entry {
            value: other.value.clone(),
            stamp,
            from: other.from,
            contains: other.contains.clone(),
            needs: other.needs.clone(),
            kept: Kept::Done,
            idle_since: other.idle_since.or(other.came),
            came: other.came,
            bytes: other.bytes,
            ..Entry::default()
        };
        if self.entries.get(key).is_some_and(|entry| entry.has_answer() || entry.fetching.is_some()) {
            return;
        }
        let observers = self.entries.get(key).map_or(0, |entry| entry.observers);
        self.entries.insert(key.clone(), Box::new(Entry { observers, ..copy }));
        self.unsettled_watches.insert(key.clone());
        self.effects.extend([Effect::Keep(key.clone()), Effect::Changed(key.clone())]);
        self.fetch_if_needed(key);
    }

    /// Whether a mutation that is under way will bring the key's first value: what is only being made cannot be read yet. One
    /// that has failed for now promises nothing: without a network nothing would say that there is none.
    fn is_promised(&self, key: &QueryKey) -> bool {
        self.pending.iter().any(|pending| pending.is_under_way() && pending.mutation.answers().as_ref() == Some(key))
    }

    /// Mutations of which nobody can tell whether the key's value contains them.
    #[cfg(test)]
    pub(crate) fn doubted(&self, key: &QueryKey) -> &[MutationId] {
        self.entries.get(key).map_or(&[], |entry| &entry.doubted)
    }

    /// What is shown for the key.
    pub fn view(&self, key: &QueryKey) -> View {
        let Some(entry) = self.entries.get(key) else {
            let (data, is_pending) = self.overlaid(key, None);
            return View { data, is_pending, ..View::default() };
        };
        let (data, is_pending) = self.overlaid(key, Some(entry));
        View {
            error: entry
                .error
                .as_deref()
                .or(entry.absent.as_deref())
                .cloned()
                .filter(|_| !is_pending || data.is_none()),
            data,
            is_fetching: entry.fetching.is_some(),
            is_stale: entry.value.is_some() && !entry.needs.is_empty(),
            is_pending,
            is_hidden: entry.is_hidden,
        }
    }

    /// Whether there is an answer, good or bad, or an error to show instead.
    pub fn is_settled(&self, key: &QueryKey) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.has_answer() || entry.error.is_some())
    }

    /// The server's value as it is, with its stamp.
    pub fn answer(&self, key: &QueryKey) -> Option<Result<Found<AnyValue>, ApiError>> {
        let entry = self.entries.get(key)?;
        if let Some(data) = entry.value.clone() {
            return Some(Ok(Found { data, stamp: entry.stamp.clone(), contains: entry.contains.clone() }));
        }
        entry.absent.as_deref().or(entry.error.as_deref()).cloned().map(Err)
    }

    /// Whether anything is kept for the key.
    pub fn holds(&self, key: &QueryKey) -> bool {
        self.entries.contains_key(key)
    }

    /// How long the key's value is as JSON.
    pub fn weighs(&mut self, key: &QueryKey, bytes: usize) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.bytes = bytes;
        }
    }

    /// When (in milliseconds) the key's answer came.
    pub fn came(&mut self, key: &QueryKey, now: u64) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.came = Some(now);
        }
    }

    /// The bytes of all values in memory, as JSON.
    pub fn bytes(&self) -> usize {
        self.entries.values().map(|entry| entry.bytes).sum()
    }

    /// Forgets values that nobody has shown for `keep` milliseconds, and, where all values together have more than
    /// `most_bytes`, those that were last shown longest ago. What is shown stays, and so does what an unanswered
    /// mutation lies over.
    pub fn collect(&mut self, now: u64, keep: u64, most_bytes: usize) {
        let mut idle: Vec<(u64, QueryKey)> = Vec::new();
        for (key, entry) in &self.entries {
            let is_under = |pending: &Pending| pending.is_open() && pending.mutation.touches(key);
            let is_free = entry.observers == 0 && entry.fetching.is_none() && !self.pending.iter().any(is_under);
            if let Some(since) = entry.idle_since.filter(|_| is_free) {
                idle.push((since, key.clone()));
            }
        }
        idle.sort_by_key(|(since, _)| *since);
        let mut bytes = self.bytes();
        for (since, key) in idle {
            if now.saturating_sub(since) < keep && bytes <= most_bytes {
                break; // the rest was shown later still
            }
            bytes -= self.entries.remove(&key).map_or(0, |entry| entry.bytes);
        }
        self.forget_settled();
    }

    /// Where only time tells whether a value is current: it is taken to be for so many milliseconds. Asked again where
    /// they are over.
    pub fn is_fresh_for(&mut self, key: &QueryKey, fresh_for: u64, now: u64) {
        let entry = self.entries.entry(key.clone()).or_default();
        entry.fresh_for = Some(entry.fresh_for.map_or(fresh_for, |before| before.min(fresh_for)));
        if entry.has_answer() && entry.is_outdated(now) {
            self.need_anything(key, Reason::Outdated);
        }
    }

    /// The person is back, or the network: what only time vouches for, and what it vouches for no longer, is asked
    /// again. Whatever has a snapshot needs nothing: the live connection says.
    pub fn look_again(&mut self, now: u64) {
        let outdated = self.entries.iter().filter(|(_, entry)| entry.observers > 0 && entry.is_outdated(now));
        let outdated: Vec<_> = outdated.map(|(key, _)| key.clone()).collect();
        outdated.iter().for_each(|key| self.need_anything(key, Reason::Outdated));
    }

    /// All values of this name are to be asked again: those that are shown at once, the others when they are shown.
    pub fn invalidate(&mut self, name: &str) {
        let keys: Vec<_> = self.entries.keys().filter(|key| key.table == name).cloned().collect();
        keys.iter().for_each(|key| self.need_anything(key, Reason::Invalidated));
    }

    // ------------------------------------------------------------------------------------------------ fetching

    /// A fetch has ended.
    pub fn fetched(
        &mut self,
        key: &QueryKey,
        ticket: Ticket,
        question: &Question,
        answer: Result<impl Into<Found<AnyValue>>, ApiError>,
    ) {
        let answer = answer.map(Into::into);
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.fetching != Some(ticket) {
            return; // wiped meanwhile, and begun anew
        }
        entry.fetching = None;
        let stamp = match &answer {
            Ok(found) => found.stamp.as_ref(),
            Err(error) => error.stamp.as_ref(),
        };
        // What is not taken need not be clear.
        let is_taken = entry.is_replaced_by(stamp, ticket);
        if is_taken && self.is_unclear(key, ticket, question, &answer) {
            self.fetch(key, Reason::Unclear);
            return;
        }
        // It was asked since, so the server has decided anew.
        if answer.is_ok() {
            self.belongs.insert(key.organization, Belonging::Member);
        }
        self.land(key, ticket, question, answer);
    }

    /// An answer to a question that somebody else asked, nobody knows when. It may be newer than what is held; and where this
    /// client waits for an answer too, this is the one, unless something was missing here that it does not bring.
    pub fn offered(
        &mut self,
        key: &QueryKey,
        question: &Question,
        answer: Result<impl Into<Found<AnyValue>>, ApiError>,
    ) {
        let answer = answer.map(Into::into);
        let Some(entry) = self.entries.get_mut(key) else { return };
        let was_asked = entry.fetching.take().is_some();
        if self.has_left(key.organization) || self.is_unclear(key, LONG_AGO, question, &answer) {
            if was_asked {
                self.fetch(key, Reason::Unclear);
            }
            return;
        }
        let is_answer = answer.as_ref().map_or_else(|error| error.kind.is_absence(), |_| true);
        // What failed is tried again by who needs it.
        if is_answer || was_asked {
            self.land(key, LONG_AGO, question, answer);
        }
    }

    /// Whether nobody can tell if the answer contains some mutation: one that the question did not name, and whose
    /// transaction is not known yet or is of another epoch. The next read names it, or begins after it was carried out.
    fn is_unclear(
        &self,
        key: &QueryKey,
        ticket: Ticket,
        question: &Question,
        answer: &Result<Found<AnyValue>, ApiError>,
    ) -> bool {
        let stamp = match answer {
            Ok(found) => found.stamp.as_ref(),
            Err(error) if error.kind.is_absence() => error.stamp.as_ref(),
            Err(_) => return false,
        };
        let read_in = stamp.map(|stamp| stamp.epoch);
        self.may_hold_unnamed(key, question, read_in, answer.is_err())
            || self.forgotten.is_unclear(key, ticket, question, read_in, answer.is_err())
    }

    fn may_hold_unnamed(&self, key: &QueryKey, question: &Question, read_in: Option<Epoch>, is_absence: bool) -> bool {
        self.pending.iter().any(|pending| {
            // An absence does not say which mutations it contains, so naming one has not helped.
            let is_named = question.named.contains(&pending.id) && !(is_absence && pending.is_answered());
            let is_known = question.after.contains(&pending.id);
            let may_contain = !is_named && !is_known && pending.may_be_done(read_in);
            may_contain && pending.mutation.touches(key)
        })
    }

    /// Whether it can be told of each pending mutation if what was found contains it. What is not clear is not to be kept: a page
    /// that starts with it would not know either, and lay the mutation over it.
    pub fn is_clear<T>(&self, key: &QueryKey, question: &Question, found: &Found<T>) -> bool {
        !self.may_hold_unnamed(key, question, found.stamp.as_ref().map(|stamp| stamp.epoch), false)
    }

    fn land(&mut self, key: &QueryKey, ticket: Ticket, question: &Question, answer: Result<Found<AnyValue>, ApiError>) {
        match answer {
            Ok(found) => {
                self.accept(key, ticket, question.kept(&found));
                // Somebody may wait for it who does not show it yet.
                self.find_first(key);
            }
            Err(error) if error.kind.is_absence() => self.accept_absence(key, ticket, error, question.after.clone()),
            Err(error) => {
                self.could_not_read(key, error);
                return;
            }
        }
        self.fetch_if_needed(key);
    }

    fn could_not_read(&mut self, key: &QueryKey, error: ApiError) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.failed += 1;
        if error.kind.is_passing() {
            self.effects.push(Effect::RetryFetch { key: key.clone(), failed: entry.failed });
        }
        if error.kind == Kind::Unauthenticated {
            self.effects.push(Effect::SignedOut);
        }
        entry.error = Some(Box::new(error));
        self.effects.push(Effect::Changed(key.clone()));
    }

    /// The question to which an answer for the key is waited for.
    pub fn awaits(&self, key: &QueryKey) -> Option<Ticket> {
        self.entries.get(key)?.fetching
    }

    /// The keys for which an answer is waited for, with what is to be asked: of the tab that begins to lead. What is no live
    /// table, each tab asks for itself.
    pub fn questions(&self) -> Vec<(QueryKey, Ticket, Question)> {
        let shared = self.entries.iter().filter(|(key, _)| key.is_live());
        let asked = shared.filter_map(|(key, entry)| Some((key, entry.fetching?)));
        asked.map(|(key, ticket)| (key.clone(), ticket, self.question(key))).collect()
    }

    fn question(&self, key: &QueryKey) -> Question {
        let ids = |is_meant: fn(&Pending) -> bool| -> Vec<_> {
            let meant = self.pending.iter().filter(|pending| is_meant(pending) && pending.mutation.touches(key));
            meant.map(|pending| pending.id).collect()
        };
        Question { named: ids(Pending::is_exposed), after: ids(Pending::is_answered) }
    }

    /// The pause after a failure is over.
    pub fn retry_fetch(&mut self, key: &QueryKey) {
        self.fetch_again(key, Reason::Failed);
    }

    /// The person asks to try again.
    pub fn ask_again(&mut self, key: &QueryKey) {
        self.fetch_again(key, Reason::Asked);
    }

    fn fetch_again(&mut self, key: &QueryKey, reason: Reason) {
        if let Some(entry) = self.entries.get(key)
            && entry.fetching.is_none()
            && entry.observers > 0
            && (entry.error.is_some() || !entry.needs.is_empty())
        {
            self.fetch(key, reason);
        }
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// Asks for the key's value: first of what is kept, then of the server.
    fn fetch(&mut self, key: &QueryKey, reason: Reason) {
        if let Some(awaiting) = self.awaiting_outbox.as_mut().filter(|_| key.is_live()) {
            awaiting.insert(key.clone());
            return;
        }
        let may_be_kept = self.may_be_kept(key);
        let entry = self.entries.entry(key.clone()).or_default();
        match entry.kept {
            Kept::Restoring => return,
            Kept::Unknown if !entry.has_answer() && may_be_kept => {
                entry.kept = Kept::Restoring;
                self.effects.push(Effect::Restore { key: key.clone() });
                return;
            }
            Kept::Unknown | Kept::Done => entry.kept = Kept::Done,
        }
        self.postponed.remove(key);
        let ticket = self.next_ticket();
        self.entries.entry(key.clone()).or_default().fetching = Some(ticket);
        let question = self.question(key);
        self.effects.push(Effect::Fetch { key: key.clone(), ticket, question, reason });
        self.effects.push(Effect::Changed(key.clone()));
    }

    fn fetch_if_needed(&mut self, key: &QueryKey) {
        let Some(reason) = self.reason_to_fetch(key) else { return };
        if self.entries.get(key).is_some_and(|entry| entry.has_answer()) && self.waits_for_request(key) {
            self.postponed.entry(key.clone()).or_insert(self.ticks);
        } else {
            self.fetch(key, reason);
        }
    }

    /// Reads what has waited for a request that is answered now.
    fn fetch_postponed(&mut self) {
        for (key, _) in std::mem::take(&mut self.postponed) {
            if let Some(reason) = self.reason_to_fetch(&key) {
                self.fetch(&key, reason);
            }
        }
    }

    /// Why the key is to be read now, if it is.
    fn reason_to_fetch(&self, key: &QueryKey) -> Option<Reason> {
        let entry = self.entries.get(key)?;
        // A change of one's own whose answer is on the way needs no fetch: the answer brings the value.
        let is_on_its_way = |need: &Need| match need {
            Need::Transaction(xid, epoch) => self.pending.iter().any(|pending| pending.will_bring(key, *xid, *epoch)),
            Need::All(_) | Need::Anything(_) => false,
        };
        let reason = if !entry.has_answer() && !self.is_promised(key) {
            Some(Reason::FirstLook)
        } else {
            entry.needs.iter().find(|(need, _)| !is_on_its_way(need)).map(|(need, _)| self.reason_of(need))
        };
        reason.filter(|_| entry.observers > 0 && entry.fetching.is_none() && entry.failed == 0)
    }

    fn reason_of(&self, need: &Need) -> Reason {
        match need {
            Need::Transaction(xid, epoch) => {
                let own = self.pending.iter().find(|pending| pending.was_done_by(*xid, *epoch));
                own.map_or(Reason::Change(*xid), |own| Reason::Own(own.id))
            }
            Need::All(_) => Reason::Changes,
            Need::Anything(reason) => *reason,
        }
    }

    /// Whether a request is under way that carries out several mutations over the key's value. Each would be told of by itself,
    /// and the value be read as often; so it is read once the request is answered, or after some ticks if that takes long.
    fn waits_for_request(&self, key: &QueryKey) -> bool {
        let since = self.postponed.get(key).copied().unwrap_or(self.ticks);
        self.ticks - since < MOST_TICKS_POSTPONED && self.is_touched_by_a_request(key)
    }

    fn need_transaction(&mut self, key: &QueryKey, xid: Xid, epoch: Epoch) {
        self.need(key, Need::Transaction(xid, epoch));
    }

    fn need_anything(&mut self, key: &QueryKey, reason: Reason) {
        self.need(key, Need::Anything(reason));
    }

    fn need(&mut self, key: &QueryKey, need: Need) {
        let now = self.last_ticket;
        let Some(entry) = self.entries.get_mut(key) else { return };
        if !entry.needs.iter().any(|(noted, at)| *noted == need && *at == now) {
            entry.needs.push((need, now));
        }
        self.fetch_if_needed(key);
    }

    fn accept(&mut self, key: &QueryKey, ticket: Ticket, found: impl Into<Found<AnyValue>>) {
        self.take_in(key, ticket, found);
        self.forget_settled();
    }

    /// Takes a value, and leaves it to the caller to forget what is settled by it.
    fn take_in(&mut self, key: &QueryKey, ticket: Ticket, found: impl Into<Found<AnyValue>>) {
        let Found { data, stamp, contains } = found.into();
        let now = self.last_ticket;
        if self.is_by_old_rights(key, ticket, stamp.as_ref()) {
            // It was under way when they became less. Whoever shows the key asks again.
            if self.entries.contains_key(key) {
                self.effects.push(Effect::Changed(key.clone()));
                self.fetch_if_needed(key);
            }
            return;
        }
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.take(stamp, ticket, now) {
            if let (Some(absence), Some(value)) = (&mut self.absence, &entry.value) {
                absence.replaced(key, value);
            }
            entry.value = Some(data);
            entry.absent = None;
            entry.is_hidden = false;
            entry.contains = contains;
            self.remember_what_lacks(key, ticket);
        }
        self.accepted(key);
    }

    fn accept_absence(&mut self, key: &QueryKey, ticket: Ticket, mut error: ApiError, contains: Vec<MutationId>) {
        let now = self.last_ticket;
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.take(error.stamp.take(), ticket, now) {
            if let (Some(absence), Some(value)) = (&mut self.absence, &entry.value) {
                absence.replaced(key, value);
            }
            entry.value = None;
            entry.absent = Some(Box::new(error));
            entry.is_hidden = false;
            entry.contains = contains;
            self.remember_what_lacks(key, ticket);
        }
        self.accepted(key);
        self.forget_settled();
    }

    fn accepted(&mut self, key: &QueryKey) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.failed = 0;
            entry.error = None;
        }
        self.unsettled_watches.insert(key.clone());
        self.effects.push(Effect::Changed(key.clone()));
    }

    // ------------------------------------------------------------------------------------------------ keeping

    /// What this device keeps is not known yet: nothing is read before [`Client::found_outbox`], and no mutation is
    /// forgotten before [`Client::found_kept`].
    pub fn await_device(&mut self) {
        self.absence.get_or_insert_with(Absence::start);
        self.awaiting_outbox.get_or_insert_default();
        self.unread_kept.get_or_insert_default();
    }

    /// The mutations that this device keeps have been learned of: what was done is known before anything is read that may
    /// contain it. A kept value may be looked for by its key, long before all stamps are known.
    pub fn found_outbox(&mut self) {
        let organizations = self.pending.iter().map(|pending| pending.mutation.organization()).collect();
        self.wipe_left(organizations);
        for key in self.awaiting_outbox.take().unwrap_or_default() {
            self.find_first(&key);
            self.fetch_if_needed(&key);
        }
    }

    /// The values that this device keeps, by their stamps; empty where there is no storage.
    pub fn found_kept(&mut self, kept: HashMap<QueryKey, Stamp>) {
        let forgotten = self.unread_kept.take().unwrap_or_default();
        for (key, stamp) in kept.into_iter().filter(|(key, _)| !forgotten.contains(&key.organization)) {
            // Written since it was read, perhaps; of different epochs nobody can tell.
            let is_later = |known: &Stamp| known.epoch == stamp.epoch && stamp.covers(known);
            if self.kept.get(&key).is_none_or(is_later) {
                self.kept.insert(key, stamp);
            }
        }
        // Not what has been made since, which other tabs know of: the server refuses it.
        let organizations: HashSet<_> = self.kept.keys().map(|key| key.organization).collect();
        for organization in organizations {
            if self.has_left(organization) {
                self.forget_kept(organization);
            }
        }
        self.forget_settled();
    }

    /// Whether this device may keep a value of the key.
    fn may_be_kept(&self, key: &QueryKey) -> bool {
        let is_unread = |forgotten: &HashSet<_>| key.is_live() && !forgotten.contains(&key.organization);
        let is_kept = self.kept.contains_key(key) || self.unread_kept.as_ref().is_some_and(is_unread);
        is_kept && !self.has_left(key.organization)
    }

    /// The kept value of the key, if it could be read. It is shown at once; whether it is still right, the server says
    /// when the key is watched. `outbox` names the mutations that were written down when it was read.
    pub fn restored(&mut self, key: &QueryKey, value: Option<Read<AnyValue>>, outbox: &[MutationId]) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.kept != Kept::Restoring {
            return; // wiped meanwhile
        }
        entry.kept = Kept::Done;
        match value {
            Some(read) if !entry.has_answer() => {
                if let Some(absence) = &mut self.absence {
                    absence.begins_with(key, &read.data);
                }
                self.accept(key, LONG_AGO, read);
                // It may have been forgotten since the outbox was read: what is forgotten is in all that is kept.
                let ids = self.pending.iter().map(|pending| pending.id);
                let gone: Vec<_> = ids.filter(|id| !outbox.contains(id)).collect();
                gone.into_iter().for_each(|id| self.doubt(id, |doubted| doubted == key));
            }
            Some(_) => {}
            None => {
                self.kept.remove(key);
                self.find_first(key);
            }
        }
        self.fetch_if_needed(key);
    }

    /// The key's value has been written down with this stamp.
    pub fn was_kept(&mut self, key: &QueryKey, stamp: Stamp) {
        // What was written before this one had been asked for says nothing of it.
        if self.being_kept.get(key).is_some_and(|asked| replaces(&stamp, Some(asked))) {
            self.being_kept.remove(key);
        }
        // An older one has been written before a newer, or not at all.
        if replaces(&stamp, self.kept.get(key)) {
            self.kept.insert(key.clone(), stamp);
        }
        self.forget_settled();
    }

    /// The key's value could not be written down: it is tried again when there is reason to.
    pub fn was_not_kept(&mut self, key: &QueryKey) {
        self.being_kept.remove(key);
    }

    /// The keys that have a value.
    pub fn held(&self) -> Vec<QueryKey> {
        self.entries.iter().filter(|(_, entry)| entry.value.is_some()).map(|(key, _)| key.clone()).collect()
    }

    /// The server's value of the key, with the latest stamp for which it is known to be right: what is to be kept. None where
    /// nobody can tell of some mutation whether it contains it, or as long as the outbox is not known: who starts with it could not
    /// tell either.
    pub fn current(&self, key: &QueryKey) -> Option<Read<AnyValue>> {
        if self.awaiting_outbox.is_some() {
            return None;
        }
        let data = self.entries.get(key).filter(|entry| entry.doubted.is_empty())?.value.clone()?;
        let Stamp { snapshot, epoch } = self.stamp_of(key)?;
        let mut contains = self.entries.get(key)?.contains.clone();
        let stamp = Stamp { snapshot, epoch };
        // Also what is known from the stamp alone: the outbox may not say yet by which transaction it was carried out.
        let seen = self.pending.iter().filter(|pending| Self::is_in(&stamp, pending) && pending.mutation.touches(key));
        let unnamed: Vec<_> = seen.map(|pending| pending.id).filter(|id| !contains.contains(id)).collect();
        contains.extend(unnamed);
        let Stamp { snapshot, epoch } = stamp;
        Some(Read { data, snapshot, epoch, contains })
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
        unknown.iter().for_each(|key| self.need_anything(key, Reason::Undated));
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
        self.cut_off();
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
                (Some(stamp), None) if entry.observers > 0 && !entry.is_unwatchable && entry.has_answer() => {
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
        if let Some(moved) = self.returned().filter(|moved| !moved.is_empty()) {
            self.moved.extend(moved);
            self.effects.push(Effect::Returned);
        }
    }

    /// What has been replaced while the person was away.
    pub fn take_moved(&mut self) -> Vec<Moved> {
        std::mem::take(&mut self.moved)
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
            // The rights to what is shown may have gone while nobody told us: a read says whether they have, and until then it
            // is not shown.
            let is_about_rights = refused.error.kind.is_absence();
            if is_about_rights && entry.value.is_some() && entry.refused <= MOST_REFUSALS {
                self.hide(&key);
                self.need_anything(&key, Reason::NotWatched);
            }
        }
        let (mut passed, mut not_refused) = (Vec::new(), Vec::new());
        for Passed { mutation_id, xid } in tick.mutations {
            passed.push(mutation_id);
            if let Some(pending) = self.pending.iter_mut().find(|pending| pending.id == mutation_id) {
                let was_shown = pending.is_shown();
                pending.has_passed(xid, cursor.epoch);
                if !was_shown {
                    // No answer will say so.
                    if let Some(absence) = &mut self.absence {
                        absence.carried_out(mutation_id, &pending.mutation);
                    }
                    self.effects.extend([Effect::KeepMutation(mutation_id), Effect::PendingChanged]);
                    not_refused.push((mutation_id, pending.mutation.clone(), xid));
                }
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
        for (id, mutation, xid) in not_refused {
            self.read_what_lacks(self.unvouched(id, &*mutation, xid, tick.epoch));
        }
        self.ticks += 1;
        let postponed: Vec<_> = self.postponed.keys().cloned().collect();
        postponed.iter().for_each(|key| self.fetch_if_needed(key));
        self.show_passed(&passed);
        self.forget_settled();
    }

    /// The person's rights in organizations changed; the server has ended the watches there.
    pub fn rights_changed(&mut self, organizations: Vec<Rights>) {
        for Rights { organization, standing, by } in organizations {
            if standing == Standing::Removed {
                self.wipe(organization);
                continue;
            }
            self.belongs.insert(organization, Belonging::Member);
            // The new rights may be less: nothing read by the old ones is there for a page that comes later.
            self.forget_kept(organization);
            if standing == Standing::Narrowed {
                self.narrowed.insert(organization, Narrowed { by: by.clone(), at: self.last_ticket });
            }
            let keys: Vec<_> = self.entries.keys().filter(|key| key.organization == organization).cloned().collect();
            for key in keys {
                if let Some(number) = self.entries.get(&key).and_then(|entry| entry.watch) {
                    self.numbers.remove(&number);
                }
                self.end_watch(&key);
                self.unsettled_watches.insert(key.clone());
                let stamp = self.entries.get(&key).and_then(|entry| entry.stamp.clone());
                if is_read_by(stamp.as_ref(), by.as_ref()) {
                    continue;
                }
                if standing == Standing::Narrowed {
                    self.hide(&key);
                }
                match &by {
                    Some(by) => by.xids.iter().for_each(|xid| self.need_transaction(&key, *xid, by.epoch)),
                    None => self.need_anything(&key, Reason::Rights),
                }
            }
            self.effects.push(Effect::RightsChanged(organization));
        }
    }

    /// Shows nothing of the key until it has been read anew.
    fn hide(&mut self, key: &QueryKey) {
        let now = self.last_ticket;
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.observers == 0 && entry.fetching.is_none() {
            // Nobody would read it anew.
            self.entries.remove(key);
            return;
        }
        entry.hide(now);
        self.effects.push(Effect::Changed(key.clone()));
    }

    /// Whether the answer was read by rights that are gone.
    fn is_by_old_rights(&self, key: &QueryKey, ticket: Ticket, stamp: Option<&Stamp>) -> bool {
        self.narrowed.get(&key.organization).is_some_and(|narrowed| match (&narrowed.by, stamp) {
            (Some(by), Some(stamp)) if by.epoch == stamp.epoch => !is_read_by(Some(stamp), Some(by)),
            _ => ticket <= narrowed.at,
        })
    }

    /// The latest stamp for which the value is known to be right: its own, or the cursor where that vouches for it.
    fn stamp_of(&self, key: &QueryKey) -> Option<Stamp> {
        self.effective(self.entries.get(key)?).cloned()
    }

    fn effective<'a>(&'a self, entry: &'a Entry) -> Option<&'a Stamp> {
        let own = entry.stamp.as_ref()?;
        match &self.cursor {
            Some(cursor) if entry.is_vouched && entry.needs.is_empty() && cursor.covers(own) => Some(cursor),
            _ => Some(own),
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
        let is_left = |held: &OrganizationId| *held != OrganizationId::NONE && !organizations.contains(held);
        let left: HashSet<_> = held.chain(pending).filter(is_left).collect();
        self.knows_memberships = true;
        self.belongs = organizations.iter().map(|organization| (*organization, Belonging::Member)).collect();
        for organization in left {
            self.wipe(organization);
        }
    }

    /// Of these organizations something was found on this device: of those that the person has left it goes.
    fn wipe_left(&mut self, found: HashSet<OrganizationId>) {
        for organization in found {
            if self.has_left(organization) {
                self.wipe(organization);
            }
        }
    }

    fn has_left(&self, organization: OrganizationId) -> bool {
        match self.belongs.get(&organization) {
            Some(belonging) => *belonging == Belonging::Left,
            None => self.knows_memberships && organization != OrganizationId::NONE,
        }
    }

    fn forget_kept(&mut self, organization: OrganizationId) {
        self.no_longer_kept(organization);
        self.effects.push(Effect::ForgetKept(organization));
    }

    fn no_longer_kept(&mut self, organization: OrganizationId) {
        self.kept.retain(|key, _| key.organization != organization);
        self.being_kept.retain(|key, _| key.organization != organization);
        if let Some(forgotten) = &mut self.unread_kept {
            forgotten.insert(organization);
        }
    }

    fn wipe(&mut self, organization: OrganizationId) {
        if let Some(absence) = &mut self.absence {
            absence.forget(organization);
        }
        self.moved.retain(|moved| moved.key.organization != organization);
        self.numbers.retain(|_, key| key.organization != organization);
        self.no_longer_kept(organization);
        self.belongs.insert(organization, Belonging::Left);
        self.pending.retain(|pending| pending.mutation.organization() != organization);
        self.forgotten.retain(|pending| pending.mutation.organization() != organization);
        self.effects.push(Effect::ForgetAll(organization));
        self.unreadable.retain(|waiting| waiting.organization != organization);
        for (key, entry) in self.entries.iter_mut().filter(|(key, _)| key.organization == organization) {
            let absent = ApiError::new(Kind::Forbidden, "You are no longer a member of this organization.");
            **entry = Entry {
                absent: Some(Box::new(absent)),
                observers: entry.observers,
                is_unwatchable: true,
                ..Entry::default()
            };
            self.effects.push(Effect::Changed(key.clone()));
        }
        self.effects.push(Effect::PendingChanged);
        self.effects.push(Effect::Left(organization));
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
