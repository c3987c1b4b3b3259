//! What the hooks ask: the value of a key, and that it be kept live for as long as a component shows it.

use super::{DRIVER, Driver, driver, now};
use crate::catalogue::Codec;
use crate::client::{View, Waiting};
use crate::error::ApiError;
use crate::hooks::{Answered, Freshness, Loaded};
use crate::key::QueryKey;
use crate::live::Value;
use futures::channel::oneshot;
use leptos::prelude::*;
use std::rc::Rc;
use uuid::Uuid;

/// Answers the resource of a key from the cache, fetching at most once however many ask.
pub(crate) async fn ensure<V: Value>(key: QueryKey, codec: Codec) -> Answered<V> {
    // Nothing happens before the future is polled: Leptos makes it, and drops it, where the page brought the value.
    let settled = driver().settled(&key, codec);
    // The sender lives until the key is settled, or the page is gone.
    let _gone = settled.await;
    let answer = DRIVER.with(|driver| driver.client.borrow().answer(&key));
    let answer = answer.unwrap_or_else(|| Err(ApiError::internal())).and_then(crate::hooks::typed);
    Answered { key: key.to_string(), answer }
}

impl Driver {
    /// Resolves once the key has an answer, which is fetched if it has none.
    fn settled(self: &Rc<Self>, key: &QueryKey, codec: Codec) -> oneshot::Receiver<()> {
        self.learn(codec);
        let (settled, wait) = oneshot::channel();
        self.waiting.borrow_mut().entry(key.clone()).or_default().push(settled);
        self.act(|client| client.ensure(key, now()));
        self.wake_waiting(key);
        wait
    }

    /// Takes over what came with the page.
    fn take_over<V: Value>(self: &Rc<Self>, key: &QueryKey, answered: &Answered<V>) {
        if answered.key == key.to_string() {
            let answer = answered.answer.clone().map(crate::catalogue::erased);
            let is_first = !self.client.borrow().is_settled(key);
            self.act(|client| client.hydrate(key, answer));
            if is_first {
                self.client.borrow_mut().came(key, now());
            }
        }
    }
}

/// Takes over what came with the page, and watches the key for as long as the component lives.
pub(crate) fn keep_live<V: Value>(
    key: Memo<Option<QueryKey>>,
    resource: Resource<Loaded<V>>,
    codec: Codec,
    freshness: Freshness,
) {
    driver().learn(codec);
    // Past the resource to what it holds: debug builds of Leptos warn of a read outside of a `Suspense`, and this one,
    // of what has come with the page, is meant.
    let held: &AsyncDerived<Loaded<V>> = &resource;
    if let (Some(key), Some(Some(answered))) = (key.get_untracked(), held.get_untracked()) {
        driver().take_over(&key, &answered);
    }
    let observer = Observer::new(freshness);
    Effect::new(move |_| {
        let key = key.get();
        // Until the page's own value has been streamed, there is nothing to keep live, and nothing to fetch.
        let Some(answered) = resource.get() else { return };
        if let (Some(key), Some(answered)) = (&key, &answered) {
            driver().take_over(key, answered);
        }
        observer.turn_to(key.into_iter().collect());
    });
}

/// Holds what a component observes, and lets go of it with the component.
#[derive(Clone, Copy)]
pub(crate) struct Observer {
    observed: StoredValue<Vec<QueryKey>>,
    freshness: Freshness,
}

impl Observer {
    pub(crate) fn new(freshness: Freshness) -> Self {
        let observed = StoredValue::new(Vec::new());
        on_cleanup(move || {
            for before in observed.try_get_value().into_iter().flatten() {
                driver().act(|client| client.unobserve(&before, now()));
            }
        });
        if freshness != Freshness::Told {
            look_again_when_back();
        }
        Self { observed, freshness }
    }

    /// Observes these keys from here on, and none else.
    pub(crate) fn turn_to(&self, next: Vec<QueryKey>) {
        let before = self.observed.get_value();
        if before == next {
            return;
        }
        self.observed.set_value(next.clone());
        driver().act(|client| {
            for key in next.iter().filter(|key| !before.contains(key)) {
                client.observe(key);
                if let Freshness::For(fresh_for) = self.freshness {
                    client.is_fresh_for(key, u64::try_from(fresh_for.as_millis()).unwrap_or(u64::MAX), now());
                }
            }
            for key in before.iter().filter(|key| !next.contains(key)) {
                client.unobserve(key, now());
            }
        });
    }
}

/// While the component lives: when the person comes back to the page, or the network does, what is outdated is asked again.
fn look_again_when_back() {
    let look = || driver().act(|client| client.look_again(now()));
    let focused = window_event_listener(leptos::ev::focus, move |_| look());
    let online = window_event_listener(leptos::ev::online, move |_| look());
    on_cleanup(move || {
        focused.remove();
        online.remove();
    });
}

/// Observes the key for as long as the component lives.
pub(crate) fn keep_ready(key: Memo<Option<QueryKey>>, codec: Codec) {
    driver().learn(codec);
    let observer = Observer::new(Freshness::Told);
    Effect::new(move |_| observer.turn_to(key.get().into_iter().collect()));
}

/// Fetches a first value if there is none, and leaves it to whoever comes.
pub(crate) fn prefetch(key: QueryKey, codec: Codec) {
    let driver = driver();
    driver.learn(codec);
    if !driver.is_offline() {
        driver.act(|client| client.ensure(&key, now()));
    }
}

pub(crate) fn learn(codec: Codec) {
    driver().learn(codec);
}

/// Gives a key the value of another that asks for the same.
pub(crate) fn adopt(key: &QueryKey, like: &QueryKey) {
    driver().act(|client| client.adopt(key, like));
}

pub(crate) fn invalidate(name: &str) {
    driver().act(|client| client.invalidate(name));
}

/// What is shown for the key; the caller runs again when it changes.
pub(crate) fn view(key: &QueryKey) -> View {
    let driver = driver();
    driver.track(key);
    let client = driver.client.borrow();
    client.view(key)
}

/// Whether a value of the key is in memory.
pub(crate) fn holds(key: &QueryKey) -> bool {
    driver().client.borrow().view(key).data.is_some()
}

pub(crate) fn retry(key: &QueryKey) {
    driver().act(|client| client.ask_again(key));
}

pub(crate) fn is_pending(record: Uuid) -> bool {
    driver().pending.with(|records| records.contains(&record))
}

pub(crate) fn outbox() -> Signal<Vec<Waiting>> {
    driver().outbox.clone().into()
}
