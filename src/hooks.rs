//! What components use: [`use_list`], [`use_record`], [`mutate`] and signals about the connection.
//!
//! Each query is exactly one Leptos resource, made unconditionally so that server and browser count the same: the
//! server streams its value, hydration takes it over, and from then on the client's cache speaks. A value that the
//! cache has is shown from the cache and never touches the resource, so no `Suspense` falls back once there is
//! something to show.

use crate::catalogue::{Catalogue, Codec};
use crate::client::Waiting;
use crate::connection::State;
use crate::error::ApiError;
use crate::key::{OrganizationId, PersonId, QueryKey};
use crate::live::{ListQuery, RecordQuery, Value};
use crate::overlay::{AnyMutation, Mutation, MutationId};
use crate::wire::Read;
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::sync::Arc;
use uuid::Uuid;

/// A live query, as a component holds it. `Copy`; ends with the component.
pub struct LiveQuery<V: Value> {
    key: Memo<QueryKey>,
    shown: Memo<Shown<V>>,
    resource: Resource<Loaded<V>>,
}

impl<V: Value> Clone for LiveQuery<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V: Value> Copy for LiveQuery<V> {}

/// What the cache shows for the key.
#[derive(Clone, Debug, PartialEq)]
struct Shown<V> {
    data: Option<V>,
    error: Option<ApiError>,
    is_fetching: bool,
    is_previous: bool,
}

impl<V> Default for Shown<V> {
    fn default() -> Self {
        Self { data: None, error: None, is_fetching: false, is_previous: false }
    }
}

/// The value of the resource: which key it answers, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "V: Value")]
pub(crate) struct Loaded<V: Value> {
    pub(crate) key: String,
    pub(crate) answer: Result<Read<V>, ApiError>,
}

impl<V: Value> LiveQuery<V> {
    /// The value, or why there is none; `None` while the first is on its way (then read it below a `Suspense`).
    pub fn get(&self) -> Option<Result<V, ApiError>> {
        let shown = self.shown.get();
        match (shown.data, shown.error) {
            (Some(data), _) => Some(Ok(data)),
            (None, Some(error)) => Some(Err(error)),
            (None, None) => self.loaded(),
        }
    }

    fn loaded(&self) -> Option<Result<V, ApiError>> {
        let loaded = self.resource.get()?;
        (loaded.key == self.key.get().to_string()).then(|| loaded.answer.map(|read| read.data))
    }

    /// Why the value could not be brought up to date, while the last good one is shown.
    pub fn error(&self) -> Option<ApiError> {
        self.shown.with(|shown| shown.error.clone().filter(|_| shown.data.is_some()))
    }

    /// Whether a fetch is under way.
    pub fn is_fetching(&self) -> bool {
        self.shown.with(|shown| shown.is_fetching)
    }

    /// Whether what is shown is still the value of the key before.
    pub fn is_previous(&self) -> bool {
        self.shown.with(|shown| shown.is_previous)
    }

    /// Tries again at once, after a failure.
    pub fn retry(&self) {
        #[cfg(feature = "browser")]
        crate::browser::retry(&self.key.get_untracked());
    }
}

/// The list with these parameters, live. While the list for new parameters is on its way, the one before is shown.
pub fn use_list<L: ListQuery>(
    organization: impl Fn() -> OrganizationId + Send + Sync + 'static,
    parameters: impl Fn() -> L::Parameters + Send + Sync + 'static,
) -> LiveQuery<L::List> {
    let key = Memo::new(move |_| L::list_key(organization(), &parameters()));
    use_query(key, Previous::Shown, Codec::list::<L>())
}

/// The record with this id, live.
pub fn use_record<L: RecordQuery>(
    organization: impl Fn() -> OrganizationId + Send + Sync + 'static,
    id: impl Fn() -> L::Id + Send + Sync + 'static,
) -> LiveQuery<L::Record> {
    let key = Memo::new(move |_| L::record_key(organization(), id()));
    use_query(key, Previous::Hidden, Codec::record::<L>())
}

/// Whether the value of the key before stands in until the first of the new one.
#[derive(Clone, Copy, PartialEq)]
enum Previous {
    Shown,
    Hidden,
}

fn use_query<V: Value>(key: Memo<QueryKey>, previous: Previous, codec: Codec) -> LiveQuery<V> {
    let resource = Resource::new(move || key.get(), move |key| load(key, codec));
    #[cfg(feature = "browser")]
    crate::browser::keep_live(key, resource, codec);
    let shown = Memo::new(move |before: Option<&Shown<V>>| {
        let shown = shown::<V>(&key.get());
        match before.and_then(|before| before.data.clone()) {
            Some(data) if previous == Previous::Shown && shown.data.is_none() && shown.error.is_none() => {
                Shown { data: Some(data), is_previous: true, ..shown }
            }
            _ => shown,
        }
    });
    LiveQuery { key, shown, resource }
}

#[cfg(feature = "browser")]
fn load<V: Value>(key: QueryKey, codec: Codec) -> impl Future<Output = Loaded<V>> + Send {
    crate::browser::ensure(key, codec)
}

#[cfg(not(feature = "browser"))]
fn load<V: Value>(key: QueryKey, codec: Codec) -> impl Future<Output = Loaded<V>> + Send {
    let flights = use_context::<RequestCache>();
    async move {
        let name = key.to_string();
        let fetched = codec.fetch(key, Vec::new());
        let answer = match flights {
            Some(flights) => flights.once(&name, fetched).await,
            None => fetched.await,
        };
        Loaded { key: name, answer: answer.and_then(typed) }
    }
}

/// The answer of a key with its type, which the key's table and shape say.
pub(crate) fn typed<V: Value>(read: Read<crate::overlay::AnyValue>) -> Result<Read<V>, ApiError> {
    read.and_then(|data| data.downcast_ref::<V>().cloned().ok_or_else(ApiError::internal))
}

#[cfg(feature = "browser")]
fn shown<V: Value>(key: &QueryKey) -> Shown<V> {
    let view = crate::browser::view(key);
    Shown {
        data: view.data.and_then(|data| data.downcast_ref::<V>().cloned()),
        error: view.error,
        is_fetching: view.is_fetching,
        is_previous: false,
    }
}

#[cfg(not(feature = "browser"))]
fn shown<V: Value>(_key: &QueryKey) -> Shown<V> {
    Shown::default()
}

/// The cache of one request on the server: components that read the same key are answered by one read. Provide it as
/// context for each page that is rendered.
#[cfg(not(feature = "browser"))]
#[derive(Clone, Default)]
pub struct RequestCache {
    flights: Arc<std::sync::Mutex<std::collections::HashMap<String, Flight>>>,
}

/// A read under way: whoever comes second waits for the first, and finds its answer.
#[cfg(not(feature = "browser"))]
type Flight = Arc<futures::lock::Mutex<Option<Answered>>>;

#[cfg(not(feature = "browser"))]
type Answered = Result<Read<crate::overlay::AnyValue>, ApiError>;

#[cfg(not(feature = "browser"))]
impl RequestCache {
    async fn once(&self, name: &str, fetched: impl Future<Output = Answered>) -> Answered {
        let flight = {
            let mut flights = self.flights.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            flights.entry(name.to_owned()).or_default().clone()
        };
        let mut answer = flight.lock().await;
        if let Some(known) = answer.as_ref() {
            return known.clone();
        }
        let fetched = fetched.await;
        *answer = Some(fetched.clone());
        fetched
    }
}

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
    /// Send it once more, as it is.
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
