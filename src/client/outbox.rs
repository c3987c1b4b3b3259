//! Mutations from the moment they are made until every value that shows them contains them.
//!
//! They lie over the server's values in the order of their ids (UUIDv7: the order in which they were made, whichever tab
//! made them). Only one tab of a person sends ([`Client::set_sender`]); all of them know all mutations and follow the
//! same steps. What the server refuses for good is *held*: no longer shown over the truth, but kept with its reason
//! until the person tries again or drops it.

use super::entry::{Entry, Kept};
use super::{Client, Effect, Ticket};
use crate::error::{ApiError, Kind};
use crate::key::{OrganizationId, QueryKey};
use crate::overlay::{Answer, AnyMutation, AnyValue, Dispute, ErasedMutation, MutationId};
use crate::snapshot::{Epoch, Stamp, Xid};
use crate::wire::Read;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use uuid::Uuid;

/// A mutation that is answered sooner than this is not shown as pending: most are, and what flickers is noise.
pub const SHOWN_AS_PENDING_AFTER: u64 = 400;
/// A server that fails this often over the same mutation will go on failing: then it is the person's turn.
const MOST_INTERNAL_FAILURES: u32 = 6;

pub(super) struct Pending {
    pub(super) id: MutationId,
    pub(super) mutation: AnyMutation,
    phase: Phase,
    /// Known by its answer, or by the live connection before that.
    pub(super) done: Option<Done>,
    /// The last ticket given out when it may first have been carried out: when it was sent, or, if other pages may have
    /// sent it, when it became known. Reads begun later name it.
    pub(super) exposed: Option<Ticket>,
    /// When it was first sent: its stored answer may be as old.
    sent: Option<Ticket>,
    failed: u32,
}

/// How a mutation was carried out, so that it is known which values contain it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Done {
    /// By this transaction, as told in these epochs: its own, and that of an answer read after a crash. In both a
    /// snapshot that sees it contains it, for what was committed keeps its number.
    By(Xid, Vec<Epoch>),
    /// It asked for what already was at this stamp; a value from before may show something else.
    Before(Stamp),
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    /// Behind an earlier one on the same record, or in the pause before a retry.
    Waiting {
        pausing: bool,
    },
    Sent,
    /// Lies over a key until the key's stamp sees the transaction.
    Answered,
    /// Refused: waits for the person.
    Held(ApiError),
}

impl Pending {
    /// Whether the server's word on it is still to come.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Waiting { .. } | Phase::Sent)
    }

    /// Whether it may have been carried out without our knowing.
    pub(super) fn is_exposed(&self) -> bool {
        self.is_open() && self.exposed.is_some()
    }

    pub(super) fn is_answered(&self) -> bool {
        self.phase == Phase::Answered
    }

    pub(super) fn is_done_by(&mut self, xid: Xid, epoch: Epoch) {
        match &mut self.done {
            Some(Done::By(_, epochs)) if epochs.contains(&epoch) => {}
            Some(Done::By(_, epochs)) => epochs.push(epoch),
            done => *done = Some(Done::By(xid, vec![epoch])),
        }
    }

    /// Whether it has been sent, and nothing has been heard of it that says whether what was read in this epoch has it.
    pub(super) fn may_be_done(&self, read_in: Option<Epoch>) -> bool {
        match &self.done {
            None => self.is_exposed(),
            Some(Done::By(_, epochs)) => read_in.is_some_and(|epoch| !epochs.contains(&epoch)),
            Some(Done::Before(as_of)) => read_in.is_some_and(|epoch| epoch != as_of.epoch),
        }
    }

    fn is_shown(&self) -> bool {
        !matches!(self.phase, Phase::Held(_))
    }

    /// Whether its answer is on the way and will bring the key's value as of this transaction.
    pub(super) fn will_bring(&self, key: &QueryKey, xid: Xid, epoch: Epoch) -> bool {
        let is_its_own = matches!(&self.done, Some(Done::By(its, epochs)) if *its == xid && epochs.contains(&epoch));
        self.phase == Phase::Sent && is_its_own && self.mutation.answers().as_ref() == Some(key)
    }
}

/// How far a mutation had come when it was written down, or told to another tab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Not answered, as far as is known.
    Made,
    /// Carried out by this transaction, as told in these epochs.
    Done(Xid, Vec<Epoch>),
    /// It asked for what already was at this stamp.
    Unchanged(Stamp),
    /// Refused: waits for the person.
    Held(ApiError),
}

/// A mutation of the outbox, for whoever wants to see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    pub id: MutationId,
    pub organization: OrganizationId,
    pub records: Vec<Uuid>,
    pub label: String,
    pub typed: Option<String>,
    pub state: WaitingState,
    /// Of one refused with 409: what others changed meanwhile.
    pub disputes: Vec<Dispute>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum WaitingState {
    /// Behind an earlier one, or for a connection.
    Queued,
    Sending,
    /// So many attempts have failed in passing.
    Retrying {
        failed: u32,
    },
    Refused(ApiError),
}

impl Client {
    /// A mutation is made here: it shows at once, and is sent when nothing earlier on its records is under way.
    pub fn mutate(&mut self, id: MutationId, mutation: AnyMutation) {
        self.effects.push(Effect::KeepMutation(id));
        let exposed = self.is_idle_sender.then_some(self.last_ticket);
        self.add(id, mutation, Progress::Made, exposed);
    }

    /// A mutation that another tab made, or that was written down by an earlier page. One that is known is left alone.
    pub fn learn(&mut self, id: MutationId, mutation: AnyMutation, progress: Progress) {
        self.add(id, mutation, progress, Some(self.last_ticket));
    }

    fn add(&mut self, id: MutationId, mutation: AnyMutation, progress: Progress, exposed: Option<Ticket>) {
        let Err(place) = self.pending.binary_search_by_key(&id, |pending| pending.id) else { return };
        self.show_anew(&*mutation);
        let (phase, done) = match progress {
            Progress::Made => (Phase::Waiting { pausing: false }, None),
            Progress::Done(xid, epochs) => (Phase::Answered, Some(Done::By(xid, epochs))),
            Progress::Unchanged(stamp) => (Phase::Answered, Some(Done::Before(stamp))),
            Progress::Held(error) => (Phase::Held(error), None),
        };
        self.pending.insert(place, Pending { id, mutation, phase, done, exposed, sent: None, failed: 0 });
        self.effects.push(Effect::PendingChanged);
        self.send_what_may_go();
        self.forget_settled();
    }

    /// A mutation that was written down by another release, in a form that this one cannot read. It is not lost: it is
    /// shown, and waits for the person.
    pub fn found_unreadable(&mut self, id: MutationId, organization: OrganizationId, label: String) {
        if !self.unreadable.iter().any(|waiting| waiting.id == id) {
            let why = "This was made with another version of the application, which this one cannot read. Make the \
                       change again, then drop this one.";
            self.unreadable.push(Waiting {
                id,
                organization,
                records: Vec::new(),
                label,
                typed: None,
                state: WaitingState::Refused(ApiError::new(Kind::Malformed, why)),
                disputes: Vec::new(),
            });
            self.effects.push(Effect::PendingChanged);
        }
    }

    /// Whether this page sends what is in the outbox. Whoever begins to sends again what the one before may have sent:
    /// a mutation is carried out once, however often it arrives.
    pub fn set_sender(&mut self, is_sender: bool) {
        self.is_idle_sender = !is_sender;
        if is_sender {
            for pending in self.pending.iter_mut().filter(|pending| pending.phase == Phase::Sent) {
                pending.phase = Phase::Waiting { pausing: false };
            }
            self.send_what_may_go();
        }
    }

    /// The mutation as it was made, with how far it has come.
    pub fn mutation(&self, id: MutationId) -> Option<(AnyMutation, Progress)> {
        let pending = self.pending.iter().find(|pending| pending.id == id)?;
        Some((pending.mutation.clone(), pending.progress()))
    }

    /// All mutations that are not yet everywhere, in order.
    pub fn mutations(&self) -> Vec<(MutationId, AnyMutation, Progress)> {
        let all = self.pending.iter();
        all.map(|pending| (pending.id, pending.mutation.clone(), pending.progress())).collect()
    }

    /// The server carried the mutation out.
    pub fn answered(&mut self, id: MutationId, Answer { xid, stamp, value }: Answer) {
        let Some(place) = self.pending.iter().position(|pending| pending.id == id) else { return };
        let mutation = self.pending[place].mutation.clone();
        self.pending[place].phase = Phase::Answered;
        match xid {
            Some(xid) => self.pending[place].is_done_by(xid, stamp.epoch),
            None => self.pending[place].done = Some(Done::Before(stamp.clone())),
        }
        // Where no cursor will come by to vouch, or the value is of another epoch, the mutation itself says what has to
        // be read again.
        let is_unvouched = |key: &QueryKey, entry: &Entry| {
            let is_comparable = entry.stamp.as_ref().is_none_or(|held| held.epoch == stamp.epoch);
            !(entry.is_vouched && is_comparable) && mutation.touches(key)
        };
        let unvouched = self.entries.iter().filter(|(key, entry)| xid.is_some() && is_unvouched(key, entry));
        let unvouched: Vec<_> = unvouched.map(|(key, _)| key.clone()).collect();
        let epoch = stamp.epoch;
        if let Some((key, value)) = value {
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
                    self.need_transaction(&key, xid, epoch);
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
        let pending = &mut self.pending[place];
        pending.failed += 1;
        let is_hopeless = error.kind == Kind::Internal && pending.failed >= MOST_INTERNAL_FAILURES;
        if error.kind == Kind::Unauthenticated {
            // Nothing is wrong with it: it goes on when somebody has signed in again.
            pending.phase = Phase::Waiting { pausing: true };
            self.effects.push(Effect::SignedOut);
        } else if error.kind.is_passing() && !is_hopeless {
            pending.phase = Phase::Waiting { pausing: true };
            self.effects.push(Effect::RetryMutation { mutation: id, failed: pending.failed });
            // What waited for the answer waits no longer.
            if let Some(key) = self.pending[place].mutation.answers() {
                self.fetch_if_needed(&key);
            }
        } else {
            pending.phase = Phase::Held(error.clone());
            let mutation = pending.mutation.clone();
            self.show_anew(&*mutation);
            // What the mutation was to bring has to be read after all.
            if let Some(key) = mutation.answers().filter(|key| self.entries.contains_key(key)) {
                self.ensure(&key);
            }
            self.effects.push(Effect::KeepMutation(id));
            self.effects.push(Effect::Refused { id, label: mutation.label(), typed: mutation.typed(), error });
        }
        self.effects.push(Effect::PendingChanged);
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

    /// No pause is waited out any longer: there is a way through again.
    pub(super) fn end_pauses(&mut self) {
        for pending in &mut self.pending {
            if pending.phase == (Phase::Waiting { pausing: true }) {
                pending.phase = Phase::Waiting { pausing: false };
            }
        }
        self.send_what_may_go();
    }

    /// The person wants a refused mutation to be sent once more, as it is.
    pub fn retry_held(&mut self, id: MutationId) {
        let Some(pending) = self.pending.iter_mut().find(|pending| pending.id == id) else { return };
        if !matches!(pending.phase, Phase::Held(_)) {
            return;
        }
        pending.phase = Phase::Waiting { pausing: false };
        pending.failed = 0;
        let mutation = pending.mutation.clone();
        self.effects.push(Effect::KeepMutation(id));
        self.effects.push(Effect::PendingChanged);
        self.show_anew(&*mutation);
        self.send_what_may_go();
    }

    /// The person gives a mutation up. One that may be under way cannot be given up any more; what came of one that was
    /// tried is read anew.
    pub fn drop_mutation(&mut self, id: MutationId) {
        if self.unreadable.iter().any(|waiting| waiting.id == id) {
            self.unreadable.retain(|waiting| waiting.id != id);
            self.effects.extend([Effect::ForgetMutations(vec![id]), Effect::PendingChanged]);
        }
        let Some(place) = self.pending.iter().position(|pending| pending.id == id) else { return };
        if matches!(self.pending[place].phase, Phase::Sent | Phase::Answered) {
            return;
        }
        let was_tried = self.pending[place].failed > 0;
        let mutation = self.pending[place].mutation.clone();
        self.forget(place);
        self.show_anew(&*mutation);
        self.effects.push(Effect::PendingChanged);
        if was_tried {
            let touched: Vec<_> = self.entries.keys().filter(|key| mutation.touches(key)).cloned().collect();
            for key in touched {
                self.need_anything(&key);
            }
        }
        self.send_what_may_go();
    }

    fn forget(&mut self, place: usize) {
        let pending = self.pending.remove(place);
        self.effects.push(Effect::ForgetMutations(vec![pending.id]));
    }

    /// The records with a mutation that has been without an answer for [`SHOWN_AS_PENDING_AFTER`].
    pub fn pending_records(&self, now: u64) -> HashSet<Uuid> {
        let open = self.pending.iter().filter(|pending| pending.is_open());
        let late = open.filter(|pending| pending.id.made_at() + SHOWN_AS_PENDING_AFTER <= now);
        late.flat_map(|pending| pending.mutation.records()).collect()
    }

    /// Whether something unanswered is too young to be shown as pending.
    pub fn has_young(&self, now: u64) -> bool {
        let mut open = self.pending.iter().filter(|pending| pending.is_open());
        open.any(|pending| pending.id.made_at() + SHOWN_AS_PENDING_AFTER > now)
    }

    /// What waits for the server or for the person, in order.
    pub fn outbox(&self) -> Vec<Waiting> {
        let waiting = self.pending.iter().filter(|pending| pending.phase != Phase::Answered);
        self.unreadable.iter().cloned().chain(waiting.map(Pending::as_waiting)).collect()
    }

    pub(super) fn send_what_may_go(&mut self) {
        if self.is_idle_sender {
            return;
        }
        let mut taken: HashSet<Uuid> = HashSet::new();
        for pending in self.pending.iter_mut().filter(|pending| pending.is_open()) {
            let records = pending.mutation.records();
            let is_first = records.iter().all(|record| !taken.contains(record));
            taken.extend(records);
            if is_first && pending.phase == (Phase::Waiting { pausing: false }) {
                pending.phase = Phase::Sent;
                let sent = *pending.sent.get_or_insert_with(|| {
                    self.last_ticket += 1;
                    self.last_ticket
                });
                pending.exposed.get_or_insert(sent);
                self.effects.push(Effect::Send { mutation: pending.id });
            }
        }
    }

    /// Whether a value with this stamp is known to contain the mutation.
    fn is_in(stamp: &Stamp, pending: &Pending) -> bool {
        match &pending.done {
            Some(Done::By(xid, epochs)) => epochs.iter().any(|epoch| stamp.sees(*xid, *epoch)),
            Some(Done::Before(as_of)) => stamp.covers(as_of),
            None => false,
        }
    }

    /// Whether the server's value of the key is known to contain the mutation.
    fn contains(&self, key: &QueryKey, entry: &Entry, pending: &Pending) -> bool {
        entry.contains.contains(&pending.id) || self.stamp_of(key).is_some_and(|stamp| Self::is_in(&stamp, pending))
    }

    pub(super) fn overlaid(&self, key: &QueryKey, entry: Option<&Entry>) -> (Option<AnyValue>, bool) {
        let mut value = entry.and_then(|entry| entry.value.clone());
        let mut is_pending = false;
        for pending in self.pending.iter().filter(|pending| pending.is_shown()) {
            if !pending.mutation.touches(key) || entry.is_some_and(|entry| self.contains(key, entry, pending)) {
                continue;
            }
            value = pending.mutation.over(key, value);
            // What changed nothing is not waited for.
            is_pending |= !matches!(pending.done, Some(Done::Before(_)));
        }
        (value, is_pending)
    }

    pub(super) fn show_anew(&mut self, mutation: &dyn ErasedMutation) {
        let touched = self.entries.keys().filter(|key| mutation.touches(key));
        self.effects.extend(touched.cloned().map(Effect::Changed));
    }

    pub(super) fn show_pending_anew(&mut self) {
        let is_touched = |key: &&QueryKey| self.pending.iter().any(|pending| pending.mutation.touches(key));
        self.effects.extend(self.entries.keys().filter(is_touched).cloned().map(Effect::Changed));
    }

    /// Drops mutations that every value which could show them contains: those in memory, and those that this device
    /// keeps, for a page that starts from these must still show what was done.
    pub(super) fn forget_settled(&mut self) {
        let mut settled: Vec<(MutationId, AnyMutation)> = Vec::new();
        for pending in self.pending.iter().filter(|pending| pending.is_answered()) {
            let lags_here = self.entries.iter().any(|(key, entry)| {
                // A first read that is under way may have been taken before the mutation was carried out.
                let shows_none = !entry.has_answer() && entry.fetching.is_none() && entry.kept != Kept::Restoring;
                !shows_none && pending.mutation.touches(key) && !self.contains(key, entry, pending)
            });
            if lags_here {
                continue;
            }
            let lagging: Vec<_> = self
                .kept
                .iter()
                .filter(|(key, stamp)| pending.mutation.touches(key) && !self.is_in_kept(key, stamp, pending))
                .map(|(key, _)| key.clone())
                .collect();
            if lagging.is_empty() {
                settled.push((pending.id, pending.mutation.clone()));
            }
            // What is current here is written down once more, with the stamp that it has grown to.
            let here = lagging.into_iter().filter(|key| self.entries.get(key).is_some_and(Entry::has_answer));
            self.effects.extend(here.map(Effect::Keep));
        }
        if settled.is_empty() {
            return;
        }
        self.pending.retain(|pending| settled.iter().all(|(id, _)| *id != pending.id));
        // Over what is not there yet it was shown as pending until now.
        for (key, _) in self.entries.iter().filter(|(_, entry)| !entry.has_answer()) {
            if settled.iter().any(|(_, mutation)| mutation.touches(key)) {
                self.effects.push(Effect::Changed(key.clone()));
            }
        }
        self.effects.push(Effect::ForgetMutations(settled.into_iter().map(|(id, _)| id).collect()));
    }

    /// Whether the kept value of the key contains the mutation: by its stamp, or because it is what is held here.
    fn is_in_kept(&self, key: &QueryKey, stamp: &Stamp, pending: &Pending) -> bool {
        Self::is_in(stamp, pending)
            || self.entries.get(key).is_some_and(|entry| {
                entry.contains.contains(&pending.id) && entry.stamp.as_ref().is_some_and(|held| stamp.covers(held))
            })
    }

    pub(super) fn forget_mutations_of(&mut self, organization: OrganizationId) {
        let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|pending| pending.mutation.organization() == organization);
        self.pending = kept;
        if !gone.is_empty() {
            self.effects.push(Effect::ForgetMutations(gone.into_iter().map(|pending| pending.id).collect()));
        }
    }
}

impl Pending {
    fn progress(&self) -> Progress {
        match (&self.phase, &self.done) {
            (Phase::Held(error), _) => Progress::Held(error.clone()),
            (Phase::Answered, Some(Done::By(xid, epochs))) => Progress::Done(*xid, epochs.clone()),
            (Phase::Answered, Some(Done::Before(stamp))) => Progress::Unchanged(stamp.clone()),
            (Phase::Answered | Phase::Waiting { .. } | Phase::Sent, _) => Progress::Made,
        }
    }

    fn as_waiting(&self) -> Waiting {
        let state = match &self.phase {
            Phase::Waiting { pausing: true } => WaitingState::Retrying { failed: self.failed },
            Phase::Waiting { pausing: false } | Phase::Answered => WaitingState::Queued,
            Phase::Sent => WaitingState::Sending,
            Phase::Held(error) => WaitingState::Refused(error.clone()),
        };
        let current = match &self.phase {
            Phase::Held(error) => error.current.as_ref(),
            Phase::Waiting { .. } | Phase::Sent | Phase::Answered => None,
        };
        Waiting {
            id: self.id,
            organization: self.mutation.organization(),
            records: self.mutation.records(),
            label: self.mutation.label(),
            typed: self.mutation.typed(),
            state,
            disputes: current.map(|current| self.mutation.disputes(current)).unwrap_or_default(),
        }
    }
}
