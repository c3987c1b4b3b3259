//! What components use: [`use_list`], [`use_record`], [`mutate`] and signals about the connection.
//!
//! Each query is exactly one Leptos resource, made unconditionally so that server and browser count the same: the
//! server streams its value, hydration takes it over, and from then on the client's cache speaks. A value that the
//! cache has is shown from the cache and never touches the resource, so no `Suspense` falls back once there is
//! something to show.

use crate::error::ApiError;
use crate::key::{OrganizationId, PersonId, QueryKey, Shape};
use crate::live::{ListQuery, RecordQuery, Value};
use crate::overlay::{Mutation, MutationId};
use crate::wire::Read;
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use std::future::Future;
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
    use_query(key, Previous::Shown, fetch_list::<L>)
}

// Not a closure above: that would be another type, with all that is generic over it, for each place that reads lists.
fn fetch_list<L: ListQuery>(key: QueryKey, pending: Vec<MutationId>) -> impl Future<Output = Answer<L::List>> + Send {
    let parameters = match &key.shape {
        Shape::List(text) => serde_json::from_str::<L::Parameters>(text),
        Shape::Record(_) => serde_json::from_str("null"),
    };
    async move {
        // The text was written by the same type: this fails only if that type does not read what it writes.
        let parameters = parameters.map_err(|why| ApiError::field("list", why.to_string()))?;
        L::fetch_list(key.organization, parameters, pending).await
    }
}

/// The record with this id, live.
pub fn use_record<L: RecordQuery>(
    organization: impl Fn() -> OrganizationId + Send + Sync + 'static,
    id: impl Fn() -> L::Id + Send + Sync + 'static,
) -> LiveQuery<L::Record> {
    let key = Memo::new(move |_| L::record_key(organization(), id()));
    use_query(key, Previous::Hidden, fetch_record::<L>)
}

fn fetch_record<L: RecordQuery>(
    key: QueryKey,
    pending: Vec<MutationId>,
) -> impl Future<Output = Answer<L::Record>> + Send {
    let id = match key.shape {
        Shape::Record(id) => id,
        Shape::List(_) => Uuid::nil(),
    };
    L::fetch_record(key.organization, L::Id::from(id), pending)
}

/// What a fetch brings.
type Answer<V> = Result<Read<V>, ApiError>;

/// Whether the value of the key before stands in until the first of the new one.
#[derive(Clone, Copy, PartialEq)]
enum Previous {
    Shown,
    Hidden,
}

fn use_query<V, F, Fut>(key: Memo<QueryKey>, previous: Previous, fetch: F) -> LiveQuery<V>
where
    V: Value,
    F: Fn(QueryKey, Vec<MutationId>) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<Read<V>, ApiError>> + Send + 'static,
{
    let resource = Resource::new(move || key.get(), move |key| load(key, fetch));
    #[cfg(feature = "browser")]
    crate::browser::keep_live(key, resource, fetch);
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
fn load<V, F, Fut>(key: QueryKey, fetch: F) -> impl Future<Output = Loaded<V>> + Send
where
    V: Value,
    F: Fn(QueryKey, Vec<MutationId>) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<Read<V>, ApiError>> + Send + 'static,
{
    crate::browser::ensure(key, fetch)
}

#[cfg(not(feature = "browser"))]
fn load<V, F, Fut>(key: QueryKey, fetch: F) -> impl Future<Output = Loaded<V>> + Send
where
    V: Value,
    F: Fn(QueryKey, Vec<MutationId>) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<Read<V>, ApiError>> + Send + 'static,
{
    let flights = use_context::<RequestCache>();
    async move {
        let name = key.to_string();
        let fetched = fetch(key, Vec::new());
        let answer = match flights {
            Some(flights) => flights.once(&name, fetched).await,
            None => fetched.await,
        };
        Loaded { key: name, answer }
    }
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
    flights: std::sync::Arc<std::sync::Mutex<std::collections::HashMap<String, Flight>>>,
}

/// A read under way: whoever comes second waits for the first, and finds its answer.
#[cfg(not(feature = "browser"))]
type Flight = std::sync::Arc<futures::lock::Mutex<Option<Box<dyn std::any::Any + Send + Sync>>>>;

#[cfg(not(feature = "browser"))]
impl RequestCache {
    async fn once<V: Value>(
        &self,
        name: &str,
        fetched: impl Future<Output = Result<Read<V>, ApiError>>,
    ) -> Result<Read<V>, ApiError> {
        let flight = {
            let mut flights = self.flights.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            flights.entry(name.to_owned()).or_default().clone()
        };
        let mut answer = flight.lock().await;
        if let Some(known) = answer.as_ref().and_then(|known| known.downcast_ref::<Result<Read<V>, ApiError>>()) {
            return known.clone();
        }
        let fetched = fetched.await;
        *answer = Some(Box::new(fetched.clone()));
        fetched
    }
}

/// Makes a mutation: it shows at once everywhere, and is sent. What becomes of it is told where it is shown; a refusal
/// takes it back and reaches [`use_refusals`].
pub fn mutate<M: Mutation>(mutation: M) {
    #[cfg(feature = "browser")]
    crate::browser::mutate(mutation);
    #[cfg(not(feature = "browser"))]
    drop(mutation);
}

/// Whether a mutation of this record has not been answered yet.
pub fn use_pending(record: impl Fn() -> Uuid + Send + Sync + 'static) -> Signal<bool> {
    #[cfg(feature = "browser")]
    return Signal::derive(move || crate::browser::is_pending(record()));
    #[cfg(not(feature = "browser"))]
    {
        drop(record);
        Signal::derive(|| false)
    }
}

/// A mutation that the server did not carry out.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// What the person did.
    pub label: &'static str,
    /// What they had typed, so that it is not lost with the refusal.
    pub typed: Option<String>,
    pub error: ApiError,
}

/// What the page is told by the engine beside values. Provide it once, at the root, before [`start`].
#[derive(Clone, Copy)]
pub struct Reports {
    pub refused: Callback<Refusal>,
    pub rights_changed: Callback<OrganizationId>,
    pub left: Callback<OrganizationId>,
    pub signed_out: Callback<()>,
}

/// How the page is connected: the state's name, and the last measured way there and back in milliseconds.
#[derive(Clone, Copy)]
pub struct Connection {
    pub state: Signal<&'static str>,
    pub latency: Signal<Option<u32>>,
}

/// The live connection's state.
pub fn use_connection() -> Connection {
    #[cfg(feature = "browser")]
    return crate::browser::connection();
    #[cfg(not(feature = "browser"))]
    Connection { state: Signal::derive(|| "connecting"), latency: Signal::derive(|| None) }
}

/// Tries to connect now, whatever the pause.
pub fn reconnect() {
    #[cfg(feature = "browser")]
    crate::browser::reconnect();
}

/// Opens the live connection at `path` of the page's own host, as the person whose page it is. Where the server takes
/// it to be somebody else's (who has signed in meanwhile in the same browser), the page is loaded anew. Call it once
/// somebody is signed in; later calls do nothing. On the server it does nothing at all.
pub fn start(path: &'static str, person: PersonId, reports: Reports) {
    #[cfg(feature = "browser")]
    Effect::new(move |_| crate::browser::start(path, person, reports));
    #[cfg(not(feature = "browser"))]
    let _ = (path, person, reports);
}
