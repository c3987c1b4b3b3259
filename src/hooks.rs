//! What components use: [`use_list`], [`use_record`], [`mutate`] and signals about the connection.
//!
//! Each query is exactly one Leptos resource, made unconditionally so that server and browser count the same: the
//! server streams its value, hydration takes it over, and from then on the client's cache speaks. A value that the
//! cache has is shown from the cache and never touches the resource, so no `Suspense` falls back once there is
//! something to show.

mod pages;
mod presence;
mod query;
#[cfg(not(feature = "browser"))]
mod request_cache;

pub use pages::{End, LivePages, use_pages};
pub use presence::{At, focus_field, type_in_field, use_place, use_presence};
pub use query::{
    Ask, LiveQuery, invalidate, keep_ready, prefetch_list, prefetch_record, use_list, use_query, use_record,
};
#[cfg(not(feature = "browser"))]
pub use request_cache::RequestCache;

#[cfg(feature = "browser")]
pub(crate) use query::{Answered, Freshness, Loaded, typed};

use crate::catalogue::Catalogue;
use crate::client::{Moved, Waiting};
use crate::connection::State;
use crate::error::ApiError;
use crate::key::{OrganizationId, PersonId};
use crate::notices::Notice;
use crate::overlay::{AnyMutation, Mutation, MutationId};
use leptos::prelude::*;
use std::sync::Arc;
use uuid::Uuid;

/// Makes a mutation: it shows at once everywhere, is kept until the server has it, and can be taken back if it has an
/// inverse. What becomes of it is told where it is shown; one that is refused reaches [`Reports::refused`] and waits in
/// [`use_outbox`].
pub fn mutate<M: Mutation>(mutation: M) {
    let label = mutation.label();
    mutate_all(label, vec![Arc::new(mutation) as AnyMutation]);
}

/// Makes several mutations as one step, which is taken back as one. The label says what was done.
pub fn mutate_all(label: String, mutations: Vec<AnyMutation>) {
    #[cfg(feature = "browser")]
    crate::browser::mutate(crate::undo::Step { label, done: mutations });
    #[cfg(not(feature = "browser"))]
    drop((label, mutations));
}

/// Takes the last step of this page back. Gives its label; none where there is nothing to take back.
pub fn undo() -> Option<String> {
    #[cfg(feature = "browser")]
    return crate::browser::undo();
    #[cfg(not(feature = "browser"))]
    None
}

/// Does again what was taken back last. Gives its label.
pub fn redo() -> Option<String> {
    #[cfg(feature = "browser")]
    return crate::browser::redo();
    #[cfg(not(feature = "browser"))]
    None
}

/// Whether a mutation of this record has been without an answer for longer than most are
/// ([`crate::client::SHOWN_AS_PENDING_AFTER`]).
pub fn use_pending(record: impl Fn() -> Uuid + Send + Sync + 'static) -> Signal<bool> {
    #[cfg(feature = "browser")]
    return Signal::derive(move || crate::browser::is_pending(record()));
    #[cfg(not(feature = "browser"))]
    {
        drop(record);
        Signal::derive(|| false)
    }
}

/// The person's mutations, of all tabs, that wait for the server or for the person.
pub fn use_outbox() -> Signal<Vec<Waiting>> {
    #[cfg(feature = "browser")]
    return crate::browser::outbox();
    #[cfg(not(feature = "browser"))]
    Signal::derive(Vec::new)
}

/// What the person can do about a mutation that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Do the same once more, as it is.
    Retry,
    /// Make the same change again, begun from what is there now.
    KeepMine,
    /// Give it up.
    Drop,
}

/// Carries out what the person decided.
pub fn decide(id: MutationId, decision: Decision) {
    #[cfg(feature = "browser")]
    crate::browser::decide(id, decision);
    #[cfg(not(feature = "browser"))]
    let _ = (id, decision);
}

/// Makes a mutation that was refused once more with another text, begun from what is there now.
///
/// # Errors
/// Where that text cannot be what was typed there. The mutation stays as it was.
pub fn edit(id: MutationId, text: &str) -> Result<(), ApiError> {
    #[cfg(feature = "browser")]
    return crate::browser::edit(id, text);
    #[cfg(not(feature = "browser"))]
    {
        let _ = (id, text);
        Ok(())
    }
}

/// What others changed while the person was away, the latest first, until [`dismiss_notices`].
pub fn use_notices() -> Signal<Vec<Notice>> {
    #[cfg(feature = "browser")]
    return crate::browser::notices();
    #[cfg(not(feature = "browser"))]
    Signal::derive(Vec::new)
}

/// The person has read what [`use_notices`] told.
pub fn dismiss_notices() {
    #[cfg(feature = "browser")]
    crate::browser::dismiss_notices();
}

/// How the engine is at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VitalSigns {
    /// Milliseconds since the live connection last told its cursor; none before the first.
    pub cursor_age: Option<u64>,
    /// How many keys the server vouches for, or has been asked to, in this tab.
    pub watched: usize,
}

/// Looked at anew by each call: it is no signal.
pub fn vital_signs() -> VitalSigns {
    #[cfg(feature = "browser")]
    return crate::browser::vital_signs();
    #[cfg(not(feature = "browser"))]
    VitalSigns::default()
}

/// A mutation that the server did not carry out.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub id: MutationId,
    /// What the person did.
    pub label: String,
    /// What they had typed, so that it is not lost with the refusal.
    pub typed: Option<String>,
    pub error: ApiError,
}

/// A step that the person has just made.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    pub label: String,
    /// Whether [`undo`] takes it back.
    pub can_undo: bool,
    /// Whether something is gone from the screen by it.
    pub takes_away: bool,
}

/// What the page is told by the engine beside values. It outlives the component that calls [`start`], and so holds no
/// `Callback`, which would end with that.
#[derive(Clone)]
pub struct Reports {
    pub made: Report<Made>,
    pub refused: Report<Refusal>,
    pub rights_changed: Report<OrganizationId>,
    pub left: Report<OrganizationId>,
    /// Asked when the person is back: which of the values that were replaced meanwhile are others' doing, in words.
    pub returned: Arc<dyn Fn(Vec<Moved>) -> Vec<Notice> + Send + Sync>,
    pub signed_out: Report<()>,
}

/// Called with what is told.
pub type Report<T> = Arc<dyn Fn(T) + Send + Sync>;

/// How the page is connected, and the last measured way there and back in milliseconds.
#[derive(Clone, Copy)]
pub struct Connection {
    pub state: Signal<State>,
    pub latency: Signal<Option<u32>>,
    /// Whether this tab holds the live connection, for all tabs of the person.
    pub is_leading: Signal<bool>,
    /// Whether this device keeps values and unsent mutations; none while that is being found out.
    pub is_kept: Signal<Option<bool>>,
}

/// The live connection's state.
pub fn use_connection() -> Connection {
    #[cfg(feature = "browser")]
    return crate::browser::connection();
    #[cfg(not(feature = "browser"))]
    Connection {
        state: Signal::derive(|| State::Connecting),
        latency: Signal::derive(|| None),
        is_leading: Signal::derive(|| false),
        is_kept: Signal::derive(|| None),
    }
}

/// Tries to connect now, whatever the pause.
pub fn reconnect() {
    #[cfg(feature = "browser")]
    crate::browser::reconnect();
}

/// Opens the live connection at `path` of the page's own host, as the person whose page it is; all tabs of the person
/// share one. `catalogue` names what the application reads and writes. Where the server takes the page to be somebody
/// else's (who has signed in meanwhile in the same browser), it is loaded anew. Call it once somebody is signed in;
/// later calls do nothing. On the server it does nothing at all.
pub fn start(path: &'static str, person: PersonId, reports: Reports, catalogue: fn() -> Catalogue) {
    #[cfg(feature = "browser")]
    Effect::new(move |_| crate::browser::start(path, person, reports.clone(), catalogue()));
    #[cfg(not(feature = "browser"))]
    let _ = (path, person, reports, catalogue);
}

/// Says to which organizations the person belongs: nothing of any other stays in the page or on this device. To be
/// called with what the server says, whenever it says so.
pub fn belongs_to(organizations: Vec<OrganizationId>) {
    #[cfg(feature = "browser")]
    crate::browser::belongs_to(organizations);
    #[cfg(not(feature = "browser"))]
    drop(organizations);
}

/// Forgets all that this device keeps of the person, in every tab: values and what was not sent. Resolves when it is
/// done.
pub async fn forget_person() {
    #[cfg(feature = "browser")]
    crate::browser::forget_person().await;
}
