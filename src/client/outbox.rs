//! Mutations from the moment they are made until every value that shows them contains them.
//!
//! They lie over the server's values in the order of their ids (UUIDv7: the order in which they were made, whichever tab
//! made them). Only one tab of a person sends ([`Client::set_sender`]); all of them know all mutations and follow the
//! same steps. What the server refuses for good is *held*: no longer shown over the truth, but kept with its reason
//! until the person tries again or drops it.

use super::departing::{Candidate, Standing, departing};
use super::entry::{Entry, Kept};
use super::{Client, Effect, Question, Reason, Ticket};
use crate::error::{ApiError, Kind};
use crate::found::Found;
use crate::key::{OrganizationId, QueryKey};
use crate::overlay::{Answer, AnyMutation, AnyValue, Dispute, ErasedMutation, MutationId};
use crate::snapshot::{Epoch, Stamp, Xid};
use crate::tabs::Sending;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
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
    /// When it was first sent, for its stored answer may be as old; long ago, if another page may have done so.
    sent: Option<Ticket>,
    /// Those on its records that had been carried out before it was first sent: its answer contains them.
    after: Vec<MutationId>,
    failed: u32,
    /// Where it was last found to be missing: it is looked for there first.
    lag: Option<Lag>,
}

/// A value that does not contain an answered mutation yet.
enum Lag {
    Here(QueryKey),
    /// What this device keeps of the key.
    Kept(QueryKey),
}

/// Values that a mutation's transaction has changed and of which no cursor will say so.
pub(super) struct Unvouched {
    id: MutationId,
    xid: Xid,
    epoch: Epoch,
    keys: Vec<QueryKey>,
}

/// A value that a mutation's answer brings.
struct Brought {
    key: QueryKey,
    /// An answer that was stored is as old as its first sending.
    ticket: Ticket,
    found: Found<AnyValue>,
}

impl Brought {
    fn of(id: MutationId, ticket: Ticket, mut contains: Vec<MutationId>, answer: Answer) -> Option<Self> {
        let (key, data) = answer.value?;
        contains.push(id);
        Some(Self { key, ticket, found: Found { data, stamp: Some(answer.stamp), contains } })
    }
}

/// What came of a mutation that was sent.
pub enum Outcome {
    /// Carried out; the answer contains these mutations beside it.
    Done { answer: Answer, after: Vec<MutationId> },
    /// Refused for good, or not carried out as far as is known.
    Failed(ApiError),
    /// One before it in the same request failed in passing: this one was not begun.
    NotBegun,
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
    Waiting { pausing: bool },
    /// In this request.
    Sent(Ticket),
    /// Lies over a key until the key's stamp sees the transaction.
    Answered,
    /// Refused: waits for the person.
    Held(ApiError),
}

impl Pending {
    /// Whether the server's word on it is still to come.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Waiting { .. } | Phase::Sent(_))
    }

    /// Whether the server's word is to come soon: there is no pause to be waited out.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.phase, Phase::Waiting { pausing: false } | Phase::Sent(_))
    }

    /// Whether it may have been carried out without our knowing.
    pub(super) fn is_exposed(&self) -> bool {
        self.is_open() && (self.exposed.is_some() || self.done.is_some())
    }

    /// Whether it is under way for the first time, whoever may have sent it.
    fn is_first_sent(&self) -> bool {
        matches!(self.phase, Phase::Sent(request) if self.sent == Some(request))
    }

    fn shares(&self, records: &[Uuid]) -> bool {
        self.mutation.records().iter().any(|record| records.contains(record))
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

    /// The live connection tells that it was carried out. Where it waits for the person, its answer could not be given (the
    /// server failed over it, or the person might not see it just then): it is not refused after all.
    pub(super) fn has_passed(&mut self, xid: Xid, epoch: Epoch) {
        self.is_done_by(xid, epoch);
        if let Phase::Held(_) = self.phase {
            self.phase = Phase::Answered;
        }
    }

    /// Whether it has been sent, and nothing has been heard of it that says whether what was read in this epoch has it.
    pub(super) fn may_be_done(&self, read_in: Option<Epoch>) -> bool {
        match &self.done {
            // It is not laid over anything, so it does not matter.
            _ if !self.is_shown() => false,
            None => self.is_exposed(),
            Some(Done::By(_, epochs)) => read_in.is_some_and(|epoch| !epochs.contains(&epoch)),
            Some(Done::Before(as_of)) => read_in.is_some_and(|epoch| epoch != as_of.epoch),
        }
    }

    pub(super) fn is_shown(&self) -> bool {
        !matches!(self.phase, Phase::Held(_))
    }

    /// Whether this transaction carried it out.
    pub(super) fn was_done_by(&self, xid: Xid, epoch: Epoch) -> bool {
        matches!(&self.done, Some(Done::By(its, epochs)) if *its == xid && epochs.contains(&epoch))
    }

    /// Whether it is shown over the key, unless the key's value contains it.
    pub(super) fn lies_over(&self, key: &QueryKey) -> bool {
        self.is_shown() && self.mutation.touches(key)
    }

    /// Whether its answer is on the way and will bring the key's value as of this transaction.
    pub(super) fn will_bring(&self, key: &QueryKey, xid: Xid, epoch: Epoch) -> bool {
        matches!(self.phase, Phase::Sent(_))
            && self.was_done_by(xid, epoch)
            && self.mutation.answers().as_ref() == Some(key)
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
    pub fn learn(&mut self, id: MutationId, mutation: AnyMutation, progress: Progress, sending: Sending) {
        if self.pending.iter().any(|pending| pending.id == id) {
            return;
        }
        // Where this page sends, it is the first to.
        let is_untouched = sending == Sending::NotYet && !self.is_idle_sender;
        self.add(id, mutation, progress, (!is_untouched).then_some(self.last_ticket));
        if sending == Sending::Perhaps {
            self.doubt(id, |_| true);
        }
    }

    /// How far the leading tab says that the mutation has come. Where that is further than is known here, it was said
    /// while this tab listened to the one before.
    pub fn follow(&mut self, id: MutationId, mutation: AnyMutation, progress: Progress, sending: Sending) {
        let Some(place) = self.pending.iter().position(|pending| pending.id == id) else {
            self.learn(id, mutation, progress, sending);
            return;
        };
        let pending = &mut self.pending[place];
        match (&pending.phase, progress) {
            (Phase::Waiting { .. } | Phase::Sent(_), Progress::Done(xid, epochs)) => {
                pending.phase = Phase::Answered;
                epochs.iter().for_each(|epoch| pending.is_done_by(xid, *epoch));
                if let Some(absence) = &mut self.absence {
                    absence.carried_out(id, &mutation);
                }
                if let Some(epoch) = epochs.last() {
                    self.read_what_lacks(self.unvouched(id, &*mutation, xid, *epoch));
                }
            }
            (Phase::Waiting { .. } | Phase::Sent(_), Progress::Unchanged(stamp)) => {
                pending.phase = Phase::Answered;
                pending.done = Some(Done::Before(stamp));
            }
            (Phase::Waiting { .. } | Phase::Sent(_), Progress::Held(error)) => self.hold(place, error),
            (Phase::Held(_), Progress::Made) => pending.phase = Phase::Waiting { pausing: false },
            // The rest is known here already, or will be told.
            _ => return,
        }
        self.show_anew(&*mutation);
        self.effects.push(Effect::PendingChanged);
        if let Some(key) = mutation.answers() {
            self.read_after_all(&key);
        }
        self.forget_settled();
    }

    /// Values that were read before the mutation was known may contain it, or not.
    pub(super) fn doubt(&mut self, id: MutationId, is_meant: impl Fn(&QueryKey) -> bool) {
        let Some(pending) = self.pending.iter().find(|pending| pending.id == id) else { return };
        let may_contain = |(key, entry): &(&QueryKey, &mut Box<Entry>)| {
            let read_in = entry.stamp.as_ref().map(|stamp| stamp.epoch);
            let may_contain = is_meant(key) && entry.value.is_some() && pending.may_be_done(read_in);
            may_contain && !entry.contains.contains(&id) && pending.mutation.touches(key)
        };
        let doubted = self.entries.iter_mut().filter(may_contain).map(|(key, entry)| {
            entry.doubted.push(id);
            key.clone()
        });
        for key in doubted.collect::<Vec<_>>() {
            self.need_anything(&key, Reason::Unclear);
        }
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
        let pending =
            Pending { id, mutation, phase, done, exposed, sent: None, after: Vec::new(), failed: 0, lag: None };
        self.pending.insert(place, pending);
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
            for pending in self.pending.iter_mut().filter(|pending| matches!(pending.phase, Phase::Sent(_))) {
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

    /// Says of each answer what it contains beside its own mutation: what came of mutations that this page has sent in one
    /// request, in their order.
    pub fn say_after(&self, outcomes: &mut [(MutationId, Outcome)]) {
        let mut done: Vec<&Pending> = Vec::new();
        for (id, outcome) in outcomes {
            let Outcome::Done { after, .. } = outcome else { continue };
            let Some(sent) = self.pending.iter().find(|pending| pending.id == *id) else { continue };
            after.clone_from(&sent.after);
            // Each is carried out, and its value read, before the next is begun. Of one that was sent before, the answer may
            // be as old as that.
            if sent.is_first_sent() {
                let records = sent.mutation.records();
                after.extend(done.iter().filter(|before| before.shares(&records)).map(|before| before.id));
            }
            done.push(sent);
        }
    }

    /// What came of mutations that were sent together, in their order. What follows from all of them is done once; and the
    /// values that they bring are taken once all of them are known, for each may contain another.
    pub fn heard(&mut self, mut outcomes: Vec<(MutationId, Outcome)>) {
        drop_superseded(&mut outcomes);
        let mut touching = Vec::new();
        let (mut pausing, mut not_begun) = (Vec::new(), Vec::new());
        let (mut failed, mut is_signed_out) = (0, false);
        let (mut unvouched, mut brought, mut not_brought) = (Vec::new(), Vec::new(), Vec::new());
        for (id, outcome) in outcomes {
            let Some(place) = self.pending.iter().position(|pending| pending.id == id) else { continue };
            match outcome {
                // Another sending of what was refused: this says nothing of it.
                Outcome::NotBegun if !self.pending[place].is_shown() => {}
                Outcome::Failed(error) if error.kind.is_passing() && !self.pending[place].is_shown() => {}
                Outcome::Done { answer, after } => {
                    touching.push(self.pending[place].mutation.clone());
                    unvouched.push(self.carried_out(place, answer.xid, &answer.stamp));
                    let ticket = self.pending[place].sent.unwrap_or_default();
                    brought.extend(Brought::of(id, ticket, after, answer));
                }
                Outcome::Failed(error) => {
                    let pending = &mut self.pending[place];
                    pending.failed += 1;
                    let is_hopeless = error.kind == Kind::Internal && pending.failed >= MOST_INTERNAL_FAILURES;
                    if error.kind == Kind::Unauthenticated {
                        // Nothing is wrong with it: it goes on when somebody has signed in again.
                        pending.phase = Phase::Waiting { pausing: true };
                        is_signed_out = true;
                    } else if error.kind.is_passing() && !is_hopeless {
                        pending.phase = Phase::Waiting { pausing: true };
                        failed = failed.max(pending.failed);
                        pausing.push(id);
                        not_brought.extend(self.pending[place].mutation.answers());
                    } else {
                        touching.push(self.pending[place].mutation.clone());
                        not_brought.extend(self.pending[place].mutation.answers());
                        self.hold(place, error);
                    }
                }
                Outcome::NotBegun => not_begun.push(id),
            }
        }
        brought.into_iter().for_each(|brought| self.take_brought(brought));
        // Only now: what one of them asks for, a later one may have brought.
        for unvouched in unvouched.into_iter().flatten() {
            self.read_what_lacks(unvouched);
        }
        // What waited for an answer that brings nothing waits no longer.
        not_brought.iter().for_each(|key| self.read_after_all(key));
        // They wait with the one that ended the request; where that is left to the person, they go on without it.
        for pending in self.pending.iter_mut().filter(|pending| not_begun.contains(&pending.id)) {
            pending.phase = Phase::Waiting { pausing: failed > 0 || is_signed_out };
        }
        if is_signed_out {
            self.effects.push(Effect::SignedOut);
        }
        if failed > 0 {
            pausing.append(&mut not_begun);
            self.effects.push(Effect::RetryMutations { mutations: pausing, failed });
        }
        let is_touched = |key: &&QueryKey| touching.iter().any(|mutation: &AnyMutation| mutation.touches(key));
        self.effects.extend(self.entries.keys().filter(is_touched).cloned().map(Effect::Changed));
        self.effects.push(Effect::PendingChanged);
        // What waited for this request waits for no other.
        self.fetch_postponed();
        self.forget_settled();
        self.send_what_may_go();
    }

    /// Whether two mutations that one request carries out touch the key.
    pub(super) fn is_touched_by_a_request(&self, key: &QueryKey) -> bool {
        let mut requests = HashSet::new();
        let sent = self.pending.iter().filter_map(|pending| match pending.phase {
            Phase::Sent(request) => Some((request, pending)),
            _ => None,
        });
        sent.filter(|(_, pending)| pending.mutation.touches(key)).any(|(request, _)| !requests.insert(request))
    }

    fn carried_out(&mut self, place: usize, xid: Option<Xid>, stamp: &Stamp) -> Option<Unvouched> {
        let Pending { id, ref mutation, .. } = self.pending[place];
        let mutation = mutation.clone();
        self.pending[place].phase = Phase::Answered;
        if let Some(absence) = &mut self.absence {
            absence.carried_out(id, &mutation);
        }
        match xid {
            Some(xid) => self.pending[place].is_done_by(xid, stamp.epoch),
            None => self.pending[place].done = Some(Done::Before(stamp.clone())),
        }
        xid.map(|xid| self.unvouched(id, &*mutation, xid, stamp.epoch))
    }

    fn take_brought(&mut self, Brought { key, ticket, found }: Brought) {
        if self.has_left(key.organization) {
            return;
        }
        let question = Question { named: Vec::new(), after: found.contains.clone() };
        let answer = Ok(found);
        if self.is_unclear(&key, ticket, &question, &answer) {
            self.need_anything(&key, Reason::Unclear);
        } else if let Ok(found) = answer {
            self.take_in(&key, ticket, found);
            if !self.is_idle_sender {
                self.keep_anew(&key);
            }
        }
        // Where it was too old for that, what waited for it waits no longer.
        self.fetch_if_needed(&key);
    }

    /// What a mutation was to bring has to be read after all, where somebody wants it.
    fn read_after_all(&mut self, key: &QueryKey) {
        if self.entries.contains_key(key) {
            self.find_first(key);
            self.fetch_if_needed(key);
        }
    }

    /// Where no cursor will come by to vouch, or the value is of another epoch, the mutation itself says what has to be read
    /// again.
    pub(super) fn unvouched(&self, id: MutationId, mutation: &dyn ErasedMutation, xid: Xid, epoch: Epoch) -> Unvouched {
        let is_unvouched = |key: &QueryKey, entry: &Entry| {
            let is_comparable = entry.stamp.as_ref().is_none_or(|held| held.epoch == epoch);
            !(entry.is_vouched && is_comparable) && mutation.touches(key)
        };
        let keys =
            self.entries.iter().filter(|(key, entry)| is_unvouched(key, entry)).map(|(key, _)| key.clone()).collect();
        Unvouched { id, xid, epoch, keys }
    }

    pub(super) fn read_what_lacks(&mut self, Unvouched { id, xid, epoch, keys }: Unvouched) {
        for key in keys {
            let contains = self.entries.get(&key).is_some_and(|entry| entry.contains.contains(&id));
            if !contains && !self.stamp_of(&key).is_some_and(|held| held.sees(xid, epoch)) {
                self.need_transaction(&key, xid, epoch);
            }
        }
    }

    /// Refused for good: it waits for the person.
    fn hold(&mut self, place: usize, error: ApiError) {
        let pending = &mut self.pending[place];
        pending.phase = Phase::Held(error.clone());
        let (id, mutation) = (pending.id, pending.mutation.clone());
        self.effects.push(Effect::KeepMutation(id));
        self.effects.push(Effect::Refused { id, label: mutation.label(), typed: mutation.typed(), error });
    }

    /// The pause before trying these mutations again is over.
    pub fn retry_mutations(&mut self, ids: &[MutationId]) {
        for pending in self.pending.iter_mut().filter(|pending| ids.contains(&pending.id)) {
            if pending.phase == (Phase::Waiting { pausing: true }) {
                pending.phase = Phase::Waiting { pausing: false };
            }
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

    /// The person wants a refused mutation to be tried once more, as it is. A refusal is the last word on its id: so it becomes
    /// another one, with the id `again`. One that the server failed over may have been carried out, and keeps its own.
    pub fn retry_held(&mut self, id: MutationId, again: MutationId) {
        let Some(place) = self.pending.iter().position(|pending| pending.id == id) else { return };
        let pending = &mut self.pending[place];
        let Phase::Held(error) = &pending.phase else { return };
        let mutation = pending.mutation.clone();
        if error.kind.is_final() {
            // Kept before the other is forgotten: a page that ends in between loses nothing.
            self.mutate(again, mutation);
            self.pending.retain(|pending| pending.id != id);
            self.effects.push(Effect::ForgetMutations(vec![id]));
            return;
        }
        pending.phase = Phase::Waiting { pausing: false };
        pending.failed = 0;
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
        if matches!(self.pending[place].phase, Phase::Sent(_) | Phase::Answered) {
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
                self.need_anything(&key, Reason::GivenUp(id));
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
        let open = self.pending.iter().filter_map(|pending| {
            let standing = match pending.phase {
                Phase::Waiting { pausing: false } => Standing::Ready,
                Phase::Waiting { pausing: true } => Standing::Pausing,
                Phase::Sent(request) => Standing::Sent(request),
                Phase::Answered | Phase::Held(_) => return None,
            };
            Some(Candidate { id: pending.id, records: pending.mutation.records(), standing })
        });
        for mutations in departing(open) {
            let request = self.next_ticket();
            let going = (0..self.pending.len()).filter(|place| mutations.contains(&self.pending[*place].id));
            going.collect::<Vec<_>>().into_iter().for_each(|place| self.departs(place, request));
            self.effects.push(Effect::Send { mutations });
        }
    }

    fn departs(&mut self, place: usize, request: Ticket) {
        let records = self.pending[place].mutation.records();
        let before = self.pending[..place].iter().filter(|pending| pending.is_answered() && pending.shares(&records));
        let before: Vec<_> = before.map(|pending| pending.id).collect();
        let pending = &mut self.pending[place];
        pending.phase = Phase::Sent(request);
        if pending.exposed.is_none() {
            (pending.exposed, pending.sent) = (Some(request), Some(request));
            pending.after = before;
        }
    }

    /// Whether a value with this stamp is known to contain the mutation.
    pub(super) fn is_in(stamp: &Stamp, pending: &Pending) -> bool {
        match &pending.done {
            Some(Done::By(xid, epochs)) => epochs.iter().any(|epoch| stamp.sees(*xid, *epoch)),
            Some(Done::Before(as_of)) => stamp.covers(as_of),
            None => false,
        }
    }

    /// Whether the server's value is known to contain the mutation.
    pub(super) fn contains(&self, entry: &Entry, pending: &Pending) -> bool {
        entry.contains.contains(&pending.id) || self.effective(entry).is_some_and(|stamp| Self::is_in(stamp, pending))
    }

    pub(super) fn overlaid(&self, key: &QueryKey, entry: Option<&Entry>) -> (Option<AnyValue>, bool) {
        let mut value = entry.and_then(|entry| entry.value.clone());
        let mut is_pending = false;
        for pending in self.pending.iter().filter(|pending| pending.is_shown()) {
            let is_left_out = |entry: &Entry| entry.doubted.contains(&pending.id) || self.contains(entry, pending);
            if !pending.mutation.touches(key) || entry.is_some_and(is_left_out) {
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

    /// The cursor has moved, and is known to have passed these mutations: what lies over a value that it vouches for, or
    /// one of these over any value, may lie there no longer.
    pub(super) fn show_passed(&mut self, passed: &[MutationId]) {
        if self.pending.is_empty() {
            return;
        }
        let is_touched = |key: &QueryKey, entry: &Entry| {
            let mut moved = self.pending.iter().filter(|pending| entry.is_vouched || passed.contains(&pending.id));
            moved.any(|pending| pending.mutation.touches(key))
        };
        let touched = self.entries.iter().filter(|(_, entry)| entry.is_vouched || !passed.is_empty());
        self.effects
            .extend(touched.filter(|(key, entry)| is_touched(key, entry)).map(|(key, _)| Effect::Changed(key.clone())));
    }

    /// Drops mutations that every value which could show them contains: those in memory, and those that this device
    /// keeps, for a page that starts from these must still show what was done.
    ///
    /// Called at every step, so it looks first where each mutation was missing the last time.
    pub(super) fn forget_settled(&mut self) {
        if self.unread_kept.is_some() {
            return; // what this device keeps is not known yet: it may lack any of them
        }
        let mut settled: Vec<AnyMutation> = Vec::new();
        let mut forgotten = Vec::new();
        let mut place = 0;
        while place < self.pending.len() {
            if self.pending[place].is_answered() {
                let lag = self.pending[place].lag.take();
                let lag = lag.filter(|lag| self.is_lagging(lag, &self.pending[place])).or_else(|| self.find_lag(place));
                if lag.is_none() {
                    let pending = self.pending.remove(place);
                    forgotten.push(pending.id);
                    settled.push(pending.mutation.clone());
                    self.forgotten.remember(pending, self.last_ticket);
                    continue;
                }
                self.pending[place].lag = lag;
            }
            place += 1;
        }
        if settled.is_empty() {
            return;
        }
        // Over what is not there yet it was shown as pending until now.
        for (key, _) in self.entries.iter().filter(|(_, entry)| !entry.has_answer()) {
            if settled.iter().any(|mutation| mutation.touches(key)) {
                self.effects.push(Effect::Changed(key.clone()));
            }
        }
        self.effects.push(Effect::ForgetMutations(forgotten));
    }

    /// One that was forgotten lies over this key's value, which came late. Where no cursor will say that it is missing, this does.
    pub(super) fn is_pending_again(&mut self, pending: Pending, key: &QueryKey) {
        let Err(place) = self.pending.binary_search_by_key(&pending.id, |known| known.id) else { return };
        self.show_anew(&*pending.mutation);
        let done = pending.done.clone();
        self.pending.insert(place, pending);
        if let Some(Done::By(xid, epochs)) = done
            && let Some(epoch) = epochs.last()
        {
            self.need_transaction(key, xid, *epoch);
        }
    }

    /// Whether the mutation is still missing where it was. What is current here and not being written down again is not
    /// waited for: it has to be.
    fn is_lagging(&self, lag: &Lag, pending: &Pending) -> bool {
        match lag {
            Lag::Here(key) => self.entries.get(key).is_some_and(|entry| self.lags_here(key, entry, pending)),
            Lag::Kept(key) => {
                self.kept.get(key).is_some_and(|stamp| !self.is_in_kept(key, stamp, pending))
                    && (!self.can_keep(key) || self.being_kept.contains_key(key))
            }
        }
    }

    fn lags_here(&self, key: &QueryKey, entry: &Entry, pending: &Pending) -> bool {
        // A first read that is under way may have been taken before the mutation was carried out.
        // Over what was wiped nothing is shown: of it nobody knows as of when it is not to be seen.
        let is_empty = entry.value.is_none() && (entry.absent.is_none() || entry.stamp.is_none());
        let shows_none = is_empty && entry.fetching.is_none() && entry.kept != Kept::Restoring;
        !shows_none && pending.mutation.touches(key) && !self.contains(entry, pending)
    }

    /// A value that the mutation is missing from. What is kept and lags, but is current here, is written down once more,
    /// with the stamp that it has grown to.
    fn find_lag(&mut self, place: usize) -> Option<Lag> {
        let pending = &self.pending[place];
        if let Some((key, _)) = self.entries.iter().find(|(key, entry)| self.lags_here(key, entry, pending)) {
            return Some(Lag::Here(key.clone()));
        }
        let lags =
            |(key, stamp): &(&QueryKey, &Stamp)| pending.mutation.touches(key) && !self.is_in_kept(key, stamp, pending);
        let lagging = self.kept.iter().filter(lags).map(|(key, _)| key.clone());
        let (held, elsewhere): (Vec<_>, Vec<_>) = lagging.partition(|key| self.can_keep(key));
        let witness = elsewhere.into_iter().next().or_else(|| held.first().cloned());
        for key in held {
            if !self.being_kept.contains_key(&key) {
                self.keep_anew(&key);
            }
        }
        witness.map(Lag::Kept)
    }

    /// Whether there is a value of the key here that could be written down.
    fn can_keep(&self, key: &QueryKey) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.value.is_some() && entry.stamp.is_some())
    }

    fn keep_anew(&mut self, key: &QueryKey) {
        if let Some(stamp) = self.stamp_of(key) {
            self.being_kept.insert(key.clone(), stamp);
            self.effects.push(Effect::Keep(key.clone()));
        }
    }

    /// Whether the kept value of the key contains the mutation: by its stamp, or because it is what is held here.
    fn is_in_kept(&self, key: &QueryKey, stamp: &Stamp, pending: &Pending) -> bool {
        Self::is_in(stamp, pending)
            || self.entries.get(key).is_some_and(|entry| {
                entry.contains.contains(&pending.id) && entry.stamp.as_ref().is_some_and(|held| stamp.covers(held))
            })
    }
}

impl From<Result<Answer, ApiError>> for Outcome {
    fn from(answer: Result<Answer, ApiError>) -> Self {
        answer.map_or_else(Outcome::Failed, |answer| Outcome::Done { answer, after: Vec::new() })
    }
}

/// Of several values of one key that mutations of one request bring, the last is the one to take: it was read later, and
/// contains what those before it did.
pub(crate) fn drop_superseded(outcomes: &mut [(MutationId, Outcome)]) {
    let mut later: HashMap<QueryKey, Stamp> = HashMap::new();
    for (_, outcome) in outcomes.iter_mut().rev() {
        let Outcome::Done { answer, .. } = outcome else { continue };
        let Some((key, _)) = &answer.value else { continue };
        match later.get(key) {
            Some(stamp) if stamp.covers(&answer.stamp) => answer.value = None,
            _ => drop(later.insert(key.clone(), answer.stamp.clone())),
        }
    }
}

impl Pending {
    fn progress(&self) -> Progress {
        match (&self.phase, &self.done) {
            (Phase::Held(error), _) => Progress::Held(error.clone()),
            (Phase::Answered, Some(Done::By(xid, epochs))) => Progress::Done(*xid, epochs.clone()),
            (Phase::Answered, Some(Done::Before(stamp))) => Progress::Unchanged(stamp.clone()),
            (Phase::Answered | Phase::Waiting { .. } | Phase::Sent(_), _) => Progress::Made,
        }
    }

    fn as_waiting(&self) -> Waiting {
        let state = match &self.phase {
            Phase::Waiting { pausing: true } => WaitingState::Retrying { failed: self.failed },
            Phase::Waiting { pausing: false } | Phase::Answered => WaitingState::Queued,
            Phase::Sent(_) => WaitingState::Sending,
            Phase::Held(error) => WaitingState::Refused(error.clone()),
        };
        let current = match &self.phase {
            Phase::Held(error) => error.current.as_ref(),
            Phase::Waiting { .. } | Phase::Sent(_) | Phase::Answered => None,
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
