//! Queries, as components hold them: [`use_list`], [`use_record`] and, for whatever is no live table, [`use_query`].

use crate::catalogue::Codec;
use crate::error::ApiError;
use crate::found::Found;
use crate::key::{OrganizationId, QueryKey, Shape};
use crate::live::{ListQuery, RecordQuery, Value};
use crate::overlay::AnyValue;
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// A query, as a component holds it. `Copy`; ends with the component.
///
/// Three things are told apart and none follows from another: whether there are data ([`LiveQuery::get`]), whether they
/// are known to lag behind ([`LiveQuery::is_stale`]), and whether they are being fetched ([`LiveQuery::is_fetching`]).
pub struct LiveQuery<V: Value> {
    key: Memo<Option<QueryKey>>,
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
#[derive(Clone, Debug)]
struct Shown<V> {
    data: Option<Arc<V>>,
    error: Option<ApiError>,
    is_fetching: bool,
    is_stale: bool,
    is_previous: bool,
    is_hidden: bool,
}

impl<V> Default for Shown<V> {
    fn default() -> Self {
        Self { data: None, error: None, is_fetching: false, is_stale: false, is_previous: false, is_hidden: false }
    }
}

impl<V: PartialEq> PartialEq for Shown<V> {
    fn eq(&self, other: &Self) -> bool {
        let states = |shown: &Self| (shown.is_fetching, shown.is_stale, shown.is_previous, shown.is_hidden);
        states(self) == states(other) && self.error == other.error && is_same(self.data.as_ref(), other.data.as_ref())
    }
}

/// Whether both are equal; what is the very same is not compared part by part.
pub(super) fn is_same<V: PartialEq>(one: Option<&Arc<V>>, other: Option<&Arc<V>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
        (None, None) => true,
        _ => false,
    }
}

/// The value of the resource: which key it answers, and how. None where nothing is asked.
pub(crate) type Loaded<V> = Option<Answered<V>>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound = "V: Value")]
pub(crate) struct Answered<V: Value> {
    pub(crate) key: String,
    pub(crate) answer: Result<Found<V>, ApiError>,
}

impl<V: Value> LiveQuery<V> {
    /// The value, or why there is none; `None` while the first is on its way (then read it below a `Suspense`), or
    /// while nothing is asked.
    pub fn get(&self) -> Option<Result<V, ApiError>> {
        self.with(V::clone)
    }

    /// What is read from the value, which is not copied; otherwise as [`LiveQuery::get`].
    pub fn with<T>(&self, read: impl FnOnce(&V) -> T) -> Option<Result<T, ApiError>> {
        let (data, error) = self.shown.with(|shown| (shown.data.clone(), shown.error.clone()));
        match (data, error) {
            (Some(data), _) => Some(Ok(read(&data))),
            (None, Some(error)) => Some(Err(error)),
            (None, None) => Some(self.loaded()?.map(|data| read(&data))),
        }
    }

    /// One part of the value; whoever shows it runs again only when that part changes. `None` while there is no value.
    pub fn select<T: PartialEq + Send + Sync + 'static>(
        &self,
        part: impl Fn(&V) -> T + Send + Sync + 'static,
    ) -> Memo<Option<T>> {
        let query = *self;
        Memo::new(move |_| query.with(&part)?.ok())
    }

    fn loaded(&self) -> Option<Result<V, ApiError>> {
        let loaded = self.resource.get().flatten()?;
        // What the page came with was read by the old rights too.
        if self.shown.with(|shown| shown.is_hidden) {
            return None;
        }
        let is_asked = self.key.with(|key| key.as_ref().is_some_and(|key| loaded.key == key.to_string()));
        is_asked.then(|| loaded.answer.map(|found| found.data))
    }

    /// The value as the cache holds it.
    pub(super) fn held(&self) -> Option<Arc<V>> {
        match self.shown.with(|shown| (shown.data.clone(), shown.error.is_some())) {
            (Some(data), _) => Some(data),
            // What the page came with is not shown for what the server refuses now.
            (None, true) => None,
            (None, false) => self.loaded()?.ok().map(Arc::new),
        }
    }

    /// Why the value could not be brought up to date, while the last good one is shown.
    pub fn error(&self) -> Option<ApiError> {
        self.shown.with(|shown| shown.error.clone().filter(|_| shown.data.is_some()))
    }

    /// Whether a fetch is under way.
    pub fn is_fetching(&self) -> bool {
        self.shown.with(|shown| shown.is_fetching)
    }

    /// Whether the value is known to lag behind what the server has.
    pub fn is_stale(&self) -> bool {
        self.shown.with(|shown| shown.is_stale)
    }

    /// Whether what is shown is still the value of the key before.
    pub fn is_previous(&self) -> bool {
        self.shown.with(|shown| shown.is_previous)
    }

    /// Tries again at once, after a failure.
    pub fn retry(&self) {
        #[cfg(feature = "browser")]
        if let Some(key) = self.key.get_untracked() {
            crate::browser::retry(&key);
        }
    }
}

/// What a query is asked with: a closure that gives it, or gives an `Option` of it. While that is `None`, nothing is asked.
pub trait Ask<T>: Send + Sync + 'static {
    fn ask(&self) -> Option<T>;
}

impl<T, Given: Into<Option<T>>, F: Fn() -> Given + Send + Sync + 'static> Ask<T> for F {
    fn ask(&self) -> Option<T> {
        self().into()
    }
}

/// The list with these parameters, live. While the list for new parameters is on its way, the one before is shown.
pub fn use_list<L: ListQuery>(
    organization: impl Fn() -> OrganizationId + Send + Sync + 'static,
    parameters: impl Ask<L::Parameters>,
) -> LiveQuery<L::List> {
    let key = Memo::new(move |_| Some(L::list_key(organization(), &parameters.ask()?)));
    hold(key, Previous::Shown, Codec::list::<L>(), Freshness::Told)
}

/// The record with this id, live.
pub fn use_record<L: RecordQuery>(
    organization: impl Fn() -> OrganizationId + Send + Sync + 'static,
    id: impl Ask<L::Id>,
) -> LiveQuery<L::Record> {
    let key = Memo::new(move |_| Some(L::record_key(organization(), id.ask()?)));
    hold(key, Previous::Hidden, Codec::record::<L>(), Freshness::Told)
}

/// The answer of any async function, by its name and parameters: fetched once however many components show it, kept while
/// they come and go, tried again after a passing failure.
///
/// Nobody tells when it changes. It is taken to be current for `fresh_for`; after that it is asked again when somebody
/// comes to show it, when the person comes back to the page, and when the network does. [`invalidate`] asks at once.
/// Where it is the person's own, it belongs to [`OrganizationId::NONE`]; what belongs to an organization goes with
/// the membership. The name is that of one function.
pub fn use_query<P, V, Answer>(
    name: &'static str,
    fresh_for: Duration,
    organization: impl Fn() -> OrganizationId + Send + Sync + 'static,
    parameters: impl Ask<P>,
    fetch: impl Fn(P) -> Answer + Send + Sync + 'static,
) -> LiveQuery<V>
where
    P: Value,
    V: Value,
    Answer: Future<Output = Result<V, ApiError>> + Send + 'static,
{
    let key = Memo::new(move |_| {
        let parameters = serde_json::to_string(&parameters.ask()?);
        // Parameters are plain data; one that serde_json cannot write has no key to tell it from others.
        #[allow(clippy::expect_used)]
        let shape = Shape::Unwatched(parameters.expect("parameters can be written as JSON"));
        Some(QueryKey { organization: organization(), table: name, shape })
    });
    hold(key, Previous::Hidden, Codec::unwatched(name, fetch), Freshness::For(fresh_for))
}

/// The answers of the function of this name ([`use_query`]) are old now, whatever was asked.
pub fn invalidate(name: &'static str) {
    #[cfg(feature = "browser")]
    crate::browser::invalidate(name);
    #[cfg(not(feature = "browser"))]
    let _ = name;
}

/// Fetches a list that will probably be wanted next, as when a link to it is hovered or focused. What is there already
/// is left alone; what nobody comes to show is forgotten like any other value.
pub fn prefetch_list<L: ListQuery>(organization: OrganizationId, parameters: &L::Parameters) {
    prefetch(L::list_key(organization, parameters), Codec::list::<L>());
}

/// Fetches a record that will probably be wanted next; see [`prefetch_list`].
pub fn prefetch_record<L: RecordQuery>(organization: OrganizationId, id: L::Id) {
    prefetch(L::record_key(organization, id), Codec::record::<L>());
}

fn prefetch(key: QueryKey, codec: Codec) {
    #[cfg(feature = "browser")]
    crate::browser::prefetch(key, codec);
    #[cfg(not(feature = "browser"))]
    drop((key, codec));
}

/// Holds a list live in the cache, and on this device, for as long as the component lives, without showing it: what is
/// looked up everywhere is then there at once, offline too. Gives what there is of it; nothing on the server, so it is for what
/// the page that the server sends does without.
pub fn keep_ready<L: ListQuery>(
    organization: impl Fn() -> OrganizationId + Send + Sync + 'static,
    parameters: impl Ask<L::Parameters>,
) -> Signal<Option<Arc<L::List>>> {
    #[cfg(feature = "browser")]
    {
        let key = Memo::new(move |_| Some(L::list_key(organization(), &parameters.ask()?)));
        crate::browser::keep_ready(key, Codec::list::<L>());
        Signal::derive(move || shown::<L::List>(&key.get()?).data)
    }
    #[cfg(not(feature = "browser"))]
    {
        drop((organization, parameters));
        Signal::derive(|| None)
    }
}

/// Whether the value of the key before stands in until the first of the new one.
#[derive(Clone, Copy, PartialEq)]
enum Previous {
    Shown,
    Hidden,
}

/// Who says whether a value is current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// The live connection.
    Told,
    /// Nobody; it is taken to be for so long.
    For(Duration),
}

fn hold<V: Value>(key: Memo<Option<QueryKey>>, previous: Previous, codec: Codec, freshness: Freshness) -> LiveQuery<V> {
    let loading = codec.clone();
    let resource = Resource::new(
        move || key.get(),
        move |key| {
            let loading = loading.clone();
            async move {
                match key {
                    Some(key) => Some(load(key, loading).await),
                    None => None,
                }
            }
        },
    );
    #[cfg(feature = "browser")]
    crate::browser::keep_live(key, resource, codec, freshness);
    #[cfg(not(feature = "browser"))]
    drop((codec, freshness));
    let shown = Memo::new(move |before: Option<&Shown<V>>| {
        let Some(key) = key.get() else { return Shown::default() };
        let shown = shown::<V>(&key);
        match before.and_then(|before| before.data.clone()) {
            Some(data)
                if previous == Previous::Shown && shown.data.is_none() && shown.error.is_none() && !shown.is_hidden =>
            {
                Shown { data: Some(data), is_previous: true, ..shown }
            }
            _ => shown,
        }
    });
    LiveQuery { key, shown, resource }
}

#[cfg(feature = "browser")]
fn load<V: Value>(key: QueryKey, codec: Codec) -> impl Future<Output = Answered<V>> + Send {
    crate::browser::ensure(key, codec)
}

#[cfg(not(feature = "browser"))]
fn load<V: Value>(key: QueryKey, codec: Codec) -> impl Future<Output = Answered<V>> + Send {
    let flights = use_context::<super::RequestCache>();
    async move {
        let name = key.to_string();
        let fetched = codec.fetch(key, Vec::new());
        let answer = match flights {
            Some(flights) => flights.once(&name, fetched).await,
            None => fetched.await,
        };
        Answered { key: name, answer: answer.and_then(typed) }
    }
}

/// The answer of a key with its type, which the key's table and shape say.
pub(crate) fn typed<V: Value>(found: Found<AnyValue>) -> Result<Found<V>, ApiError> {
    found.and_then(|data| data.downcast_ref::<V>().cloned().ok_or_else(ApiError::internal))
}

#[cfg(feature = "browser")]
fn shown<V: Value>(key: &QueryKey) -> Shown<V> {
    let view = crate::browser::view(key);
    Shown {
        data: view.data.and_then(|data| data.downcast::<V>().ok()),
        error: view.error,
        is_fetching: view.is_fetching,
        is_stale: view.is_stale,
        is_previous: false,
        is_hidden: view.is_hidden,
    }
}

#[cfg(not(feature = "browser"))]
fn shown<V: Value>(_key: &QueryKey) -> Shown<V> {
    Shown::default()
}
