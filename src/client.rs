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
mod fetching;
mod forgotten;
mod inspection;
mod keeping;
mod observing;
mod outbox;
mod reason;
mod rights;
mod watching;

pub use absence::{AWAY_AFTER, Moved};
pub use inspection::{Inspected, Standing as KeyStanding};
#[cfg(any(feature = "browser", all(test, feature = "hub")))]
pub(crate) use outbox::drop_superseded;
pub use outbox::{Outcome, Progress, SHOWN_AS_PENDING_AFTER, Waiting, WaitingState};
pub use reason::Reason;

use crate::error::ApiError;
use crate::found::Found;
use crate::key::{OrganizationId, QueryKey};
use crate::overlay::{AnyValue, MutationId};
use crate::snapshot::Stamp;
use crate::wire::{By, ClientFrame, WatchNumber};
use absence::Absence;
use entry::Entry;
use forgotten::Forgotten;
use outbox::Pending;
use rustc_hash::{FxHashMap, FxHashSet};
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
    /// Where many are about to read the same: after a random part of `spread` milliseconds, if it is still awaited then.
    Fetch { key: QueryKey, ticket: Ticket, question: Question, reason: Reason, spread: u32 },
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

/// By key. The keys are the application's own, so nothing is to be feared from a quick hash.
type KeyMap<T> = FxHashMap<QueryKey, T>;

/// See the module.
#[derive(Default)]
pub struct Client {
    /// Boxed: the map's room to grow, up to half of it, is then that of pointers.
    entries: KeyMap<Box<Entry>>,
    pending: Vec<Pending>,
    forgotten: Forgotten,
    unreadable: Vec<Waiting>,
    cursor: Option<Stamp>,
    is_live: bool,
    numbers: FxHashMap<WatchNumber, QueryKey>,
    last_number: WatchNumber,
    last_ticket: Ticket,
    /// Of the tick that is being taken in.
    spread: u32,
    /// Keys whose watch may have to be taken or given back; settled by [`Client::flush`].
    unsettled_watches: FxHashSet<QueryKey>,
    /// Where the person's rights have become less since the page was opened.
    narrowed: HashMap<OrganizationId, Narrowed>,
    /// The stamps of the values that this device keeps.
    kept: KeyMap<Stamp>,
    /// Keys that are being written down once more, to hold a mutation, with the stamps that they had when it was asked: it is
    /// asked once, however long that takes.
    being_kept: KeyMap<Stamp>,
    /// While `kept` is not all that this device keeps: the organizations of which nothing from before is kept any more.
    unread_kept: Option<HashSet<OrganizationId>>,
    /// Keys that wait for the outbox of this device to be known before anything is read; none once it is.
    awaiting_outbox: Option<HashSet<QueryKey>>,
    /// Keys whose read waits for the answer of a request ([`Client::waits_for_request`]), with the number of the tick since when.
    postponed: KeyMap<u64>,
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
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
