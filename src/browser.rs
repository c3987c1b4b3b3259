//! The browser's driver: one a page. It carries out what [`Client`] decides (fetches, frames, pauses) and tells
//! Leptos what changed. It decides nothing itself.

mod socket;

use crate::client::{Client, Effect as Task, View};
use crate::error::ApiError;
use crate::hooks::{Connection, Loaded, Refusal, Reports};
use crate::key::{PersonId, QueryKey};
use crate::live::Value;
use crate::overlay::{AnyValue, Mutation, MutationId};
use crate::snapshot::{Stamp, Xid};
use crate::wire::Read;
use futures::channel::oneshot;
use futures::future::LocalBoxFuture;
use gloo_timers::callback::Timeout;
use leptos::prelude::*;
use leptos::task::spawn_local;
use socket::Socket;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use uuid::Uuid;

type Fetcher = Rc<dyn Fn(Vec<MutationId>) -> LocalBoxFuture<'static, Result<Read<AnyValue>, ApiError>>>;
type Sender = Rc<dyn Fn() -> LocalBoxFuture<'static, Result<Answer, ApiError>>>;

/// A mutation's answer, with the value that it brings.
struct Answer {
    xid: Option<Xid>,
    stamp: Stamp,
    value: Option<(QueryKey, AnyValue)>,
}

struct Driver {
    client: RefCell<Client>,
    fetchers: RefCell<HashMap<QueryKey, Fetcher>>,
    senders: RefCell<HashMap<MutationId, Sender>>,
    triggers: RefCell<HashMap<QueryKey, ArcTrigger>>,
    waiting: RefCell<HashMap<QueryKey, Vec<oneshot::Sender<()>>>>,
    flush: RefCell<Option<Timeout>>,
    pending: ArcRwSignal<HashSet<Uuid>>,
    reports: RefCell<Option<Reports>>,
    /// Whose page this is.
    person: Cell<Option<PersonId>>,
    socket: Socket,
}

thread_local! {
    static DRIVER: Rc<Driver> = Rc::new(Driver {
        client: RefCell::default(),
        fetchers: RefCell::default(),
        senders: RefCell::default(),
        triggers: RefCell::default(),
        waiting: RefCell::default(),
        flush: RefCell::default(),
        pending: ArcRwSignal::new(HashSet::new()),
        reports: RefCell::default(),
        person: Cell::new(None),
        socket: Socket::new(),
    });
}

/// How long a value that nobody shows is kept, and how often is looked.
const KEEP_IDLE: u64 = 5 * 60 * 1000;
const COLLECT_EVERY: u32 = 60 * 1000;
/// The pause before a failed request is tried again doubles from the first to the last of these milliseconds, and a
/// random part of it is waited (full jitter).
const FIRST_PAUSE: u32 = 400;
const LAST_PAUSE: u32 = 15_000;

fn driver() -> Rc<Driver> {
    DRIVER.with(Rc::clone)
}

fn now() -> u64 {
    web_sys::js_sys::Date::now() as u64
}

/// A random part of `ceiling` milliseconds.
fn jitter(ceiling: u32) -> u32 {
    (web_sys::js_sys::Math::random() * f64::from(ceiling)) as u32
}

fn pause_after(failed: u32) -> u32 {
    let ceiling = FIRST_PAUSE.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(LAST_PAUSE);
    100 + jitter(ceiling)
}

impl Driver {
    /// Tells the client what happened and carries out what follows.
    fn act(self: &Rc<Self>, happened: impl FnOnce(&mut Client)) {
        let tasks = {
            let mut client = self.client.borrow_mut();
            happened(&mut client);
            client.take_effects()
        };
        for task in tasks {
            self.carry_out(task);
        }
        self.flush_soon();
    }

    fn carry_out(self: &Rc<Self>, task: Task) {
        match task {
            Task::Fetch { key, ticket, pending } => {
                let Some(fetcher) = self.fetchers.borrow().get(&key).cloned() else { return };
                let driver = self.clone();
                spawn_local(async move {
                    let answer = fetcher(pending).await;
                    driver.act(|client| client.fetched(&key, ticket, answer));
                });
            }
            Task::RetryFetch { key, failed } => {
                self.later(pause_after(failed), move |driver| driver.act(|client| client.retry_fetch(&key)));
            }
            Task::Send { mutation } => {
                let Some(sender) = self.senders.borrow().get(&mutation).cloned() else { return };
                let driver = self.clone();
                spawn_local(async move {
                    match sender().await {
                        Ok(Answer { xid, stamp, value }) => {
                            driver.senders.borrow_mut().remove(&mutation);
                            driver.act(|client| client.answered(mutation, xid, stamp, value));
                        }
                        Err(error) => {
                            if !error.kind.is_passing() {
                                driver.senders.borrow_mut().remove(&mutation);
                            }
                            driver.act(|client| client.failed(mutation, error));
                        }
                    }
                });
            }
            Task::RetryMutation { mutation, failed } => {
                self.later(pause_after(failed), move |driver| driver.act(|client| client.retry_mutation(mutation)));
            }
            Task::Frame(frame) => self.socket.send(&frame),
            Task::Changed(key) => {
                if let Some(trigger) = self.triggers.borrow().get(&key) {
                    trigger.notify();
                }
                // The value may have come by another way than the fetch that was waited for.
                self.wake_waiting(&key);
            }
            Task::PendingChanged => {
                let records = self.client.borrow().pending_records();
                if *self.pending.read_untracked() != records {
                    self.pending.set(records);
                }
            }
            Task::Refused { label, typed, error } => {
                self.report(|reports| reports.refused.run(Refusal { label, typed, error }));
            }
            Task::RightsChanged(organization) => self.report(|reports| reports.rights_changed.run(organization)),
            Task::Left(organization) => self.report(|reports| reports.left.run(organization)),
            Task::SignedOut => self.report(|reports| reports.signed_out.run(())),
        }
    }

    fn report(&self, tell: impl FnOnce(Reports)) {
        // Copied out first: a report may lead back here.
        let reports = *self.reports.borrow();
        if let Some(reports) = reports {
            tell(reports);
        }
    }

    fn later(self: &Rc<Self>, milliseconds: u32, then: impl FnOnce(&Rc<Driver>) + 'static) {
        let driver = self.clone();
        Timeout::new(milliseconds, move || then(&driver)).forget();
    }

    /// Watches are taken and given back once the page has come to rest.
    fn flush_soon(self: &Rc<Self>) {
        if self.flush.borrow().is_some() {
            return;
        }
        let driver = self.clone();
        let timeout = Timeout::new(0, move || {
            driver.flush.borrow_mut().take();
            let tasks = {
                let mut client = driver.client.borrow_mut();
                client.flush();
                client.take_effects()
            };
            tasks.into_iter().for_each(|task| driver.carry_out(task));
        });
        *self.flush.borrow_mut() = Some(timeout);
    }

    /// Resolves once the key has an answer, which is fetched if it has none.
    fn settled<V, F, Fut>(self: &Rc<Self>, key: &QueryKey, fetch: F) -> oneshot::Receiver<()>
    where
        V: Value,
        F: Fn(QueryKey, Vec<MutationId>) -> Fut + Copy + 'static,
        Fut: Future<Output = Result<Read<V>, ApiError>> + 'static,
    {
        self.learn(key, fetch);
        let (settled, wait) = oneshot::channel();
        self.waiting.borrow_mut().entry(key.clone()).or_default().push(settled);
        self.act(|client| client.ensure(key));
        self.wake_waiting(key);
        wait
    }

    fn wake_waiting(&self, key: &QueryKey) {
        if self.client.borrow().is_settled(key) {
            for waiting in self.waiting.borrow_mut().remove(key).into_iter().flatten() {
                // Whoever waited may have gone with its component.
                let _gone = waiting.send(());
            }
        }
    }

    fn track(&self, key: &QueryKey) {
        self.triggers.borrow_mut().entry(key.clone()).or_default().track();
    }

    fn collect(self: &Rc<Self>) {
        self.act(|client| client.collect(now(), KEEP_IDLE));
        let client = self.client.borrow();
        self.fetchers.borrow_mut().retain(|key, _| client.holds(key));
        self.triggers.borrow_mut().retain(|key, _| client.holds(key));
    }

    fn learn<V, F, Fut>(&self, key: &QueryKey, fetch: F)
    where
        V: Value,
        F: Fn(QueryKey, Vec<MutationId>) -> Fut + Copy + 'static,
        Fut: Future<Output = Result<Read<V>, ApiError>> + 'static,
    {
        let mut fetchers = self.fetchers.borrow_mut();
        if !fetchers.contains_key(key) {
            let its = key.clone();
            let fetcher: Fetcher = Rc::new(move |pending| {
                let fetched = fetch(its.clone(), pending);
                Box::pin(async move { fetched.await.map(erased) })
            });
            fetchers.insert(key.clone(), fetcher);
        }
    }
}

fn erased<V: Value>(read: Read<V>) -> Read<AnyValue> {
    Read { data: Arc::new(read.data), snapshot: read.snapshot, epoch: read.epoch, contains: read.contains }
}

/// Answers the resource of a key from the cache, fetching at most once however many ask.
pub(crate) async fn ensure<V, F, Fut>(key: QueryKey, fetch: F) -> Loaded<V>
where
    V: Value,
    F: Fn(QueryKey, Vec<MutationId>) -> Fut + Copy + Send + 'static,
    Fut: Future<Output = Result<Read<V>, ApiError>> + 'static,
{
    // Nothing happens before the future is polled: Leptos makes it, and drops it, where the page brought the value.
    let settled = driver().settled(&key, fetch);
    // The sender lives until the key is settled, or the page is gone.
    let _gone = settled.await;
    let answer = DRIVER.with(|driver| driver.client.borrow().answer(&key));
    let answer = match answer {
        Some(Ok(read)) => match read.data.downcast_ref::<V>() {
            Some(data) => {
                Ok(Read { data: data.clone(), snapshot: read.snapshot, epoch: read.epoch, contains: read.contains })
            }
            None => Err(ApiError::internal()),
        },
        Some(Err(error)) => Err(error),
        None => Err(ApiError::internal()),
    };
    Loaded { key: key.to_string(), answer }
}

/// Takes over what came with the page, and watches the key for as long as the component lives.
pub(crate) fn keep_live<V, F, Fut>(key: Memo<QueryKey>, resource: Resource<Loaded<V>>, fetch: F)
where
    V: Value,
    F: Fn(QueryKey, Vec<MutationId>) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<Read<V>, ApiError>> + Send + 'static,
{
    let take_over = move |key: &QueryKey, loaded: &Loaded<V>| {
        if loaded.key == key.to_string() {
            let driver = driver();
            driver.learn(key, fetch);
            let answer = loaded.answer.clone().map(erased);
            driver.act(|client| client.hydrate(key, answer));
        }
    };
    // Past the resource to what it holds: debug builds of Leptos warn of a read outside of a `Suspense`, and this one,
    // of what has come with the page, is meant.
    let held: &AsyncDerived<Loaded<V>> = &resource;
    if let Some(loaded) = held.get_untracked() {
        take_over(&key.get_untracked(), &loaded);
    }
    let observed = StoredValue::new(None::<QueryKey>);
    let observe = move |next: Option<QueryKey>| {
        let before = observed.get_value();
        if before == next {
            return;
        }
        observed.set_value(next.clone());
        let driver = driver();
        driver.act(|client| {
            if let Some(next) = &next {
                client.observe(next);
            }
            if let Some(before) = &before {
                client.unobserve(before, now());
            }
        });
    };
    Effect::new(move |_| {
        let key = key.get();
        // Until the page's own value has been streamed, there is nothing to keep live, and nothing to fetch.
        let Some(loaded) = resource.get() else { return };
        take_over(&key, &loaded);
        driver().learn(&key, fetch);
        observe(Some(key));
    });
    on_cleanup(move || {
        if let Some(before) = observed.try_get_value().flatten() {
            driver().act(|client| client.unobserve(&before, now()));
        }
    });
}

/// What is shown for the key; the caller runs again when it changes.
pub(crate) fn view(key: &QueryKey) -> View {
    let driver = driver();
    driver.track(key);
    let client = driver.client.borrow();
    client.view(key)
}

pub(crate) fn retry(key: &QueryKey) {
    driver().act(|client| client.retry_fetch(key));
}

pub(crate) fn is_pending(record: Uuid) -> bool {
    driver().pending.with(|records| records.contains(&record))
}

pub(crate) fn mutate<M: Mutation>(mutation: M) {
    let driver = driver();
    let id = MutationId::fresh();
    let sent = mutation.clone();
    let sender: Sender = Rc::new(move || {
        let mutation = sent.clone();
        Box::pin(async move {
            let written = mutation.clone().send(id).await?;
            let (xid, stamp) = (written.xid, written.stamp());
            let value = mutation.answers().map(|key| (key, Arc::new(written.data) as AnyValue));
            Ok(Answer { xid, stamp, value })
        })
    });
    driver.senders.borrow_mut().insert(id, sender);
    driver.act(|client| client.mutate(id, Arc::new(mutation)));
}

pub(crate) fn connection() -> Connection {
    let driver = driver();
    let (state, latency) = (driver.socket.state.clone(), driver.socket.latency.clone());
    Connection { state: Signal::derive(move || state.get().name()), latency: Signal::derive(move || latency.get()) }
}

pub(crate) fn reconnect() {
    socket::happened(crate::connection::Event::TryNow);
}

/// What has not been sent yet lives in this page alone.
fn ask_before_leaving() {
    let _ = window_event_listener_untyped("beforeunload", |event| {
        if driver().pending.with_untracked(|pending| !pending.is_empty()) {
            event.prevent_default();
        }
    });
}

pub(crate) fn start(path: &'static str, person: PersonId, reports: Reports) {
    let driver = driver();
    driver.person.set(Some(person));
    let is_first = driver.reports.borrow_mut().replace(reports).is_none();
    if is_first {
        socket::start(path);
        ask_before_leaving();
        let collector = driver.clone();
        gloo_timers::callback::Interval::new(COLLECT_EVERY, move || collector.collect()).forget();
    }
}
