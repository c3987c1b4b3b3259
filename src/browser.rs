//! The browser's driver: one a page. It carries out what [`Client`] decides (fetches, frames, pauses, what is kept) and
//! tells Leptos what changed. It decides nothing itself.
//!
//! Of all tabs of a person one leads: it has the socket, and fetches and sends for all ([`tabs`]). Every tab has its own
//! cache, and follows what the leader says.

mod locks;
mod socket;
mod storage;
mod tabs;

use crate::catalogue::{Catalogue, Codec};
use crate::client::{Client, Effect as Task, Progress, Ticket, View, Waiting};
use crate::connection::State;
use crate::error::ApiError;
use crate::hooks::{Connection, Decision, Loaded, Made, Refusal, Reports};
use crate::key::{OrganizationId, PersonId, QueryKey};
use crate::live::Value;
use crate::overlay::{Answer, AnyMutation, AnyValue, MutationId};
use crate::snapshot::Stamp;
use crate::switchboard::{Passing, Switchboard};
use crate::undo::{History, Step};
use crate::wire::{Read, ServerFrame};
use futures::channel::oneshot;
use gloo_timers::callback::Timeout;
use leptos::prelude::*;
use leptos::task::spawn_local;
use socket::Socket;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::rc::Rc;
use storage::{Storage, Stored, lament};
use tabs::{Tabs, Word};
use uuid::Uuid;

struct Driver {
    client: RefCell<Client>,
    catalogue: RefCell<Catalogue>,
    triggers: RefCell<HashMap<QueryKey, ArcTrigger>>,
    waiting: RefCell<HashMap<QueryKey, Vec<oneshot::Sender<()>>>>,
    /// Fetches that this page's client has asked for and not been answered.
    asked: RefCell<HashMap<QueryKey, Ticket>>,
    /// Fetches under way, for whichever tab: known to the leader.
    flights: RefCell<HashSet<QueryKey>>,
    /// How many fetches of each key have ended, whoever led then.
    answers: RefCell<HashMap<QueryKey, u32>>,
    board: RefCell<Switchboard>,
    history: RefCell<History>,
    /// Mutations that were made in this page: it is the one that tells of their refusal.
    made_here: RefCell<HashSet<MutationId>>,
    flush: RefCell<Option<Timeout>>,
    is_telling: Cell<bool>,
    is_telling_again: Cell<bool>,
    pending: ArcRwSignal<HashSet<Uuid>>,
    outbox: ArcRwSignal<Vec<Waiting>>,
    is_kept: ArcRwSignal<Option<bool>>,
    reports: RefCell<Option<Reports>>,
    /// Whose page this is.
    person: Cell<Option<PersonId>>,
    /// The person's organizations, as the page last heard.
    belongs_to: RefCell<Option<Vec<OrganizationId>>>,
    storage: RefCell<Option<Rc<Storage>>>,
    tabs: Tabs,
    socket: Socket,
}

thread_local! {
    static DRIVER: Rc<Driver> = Rc::new(Driver {
        client: {
            let mut client = Client::default();
            // What this device keeps is known once it is known whose page this is.
            client.await_kept();
            client.set_sender(false);
            RefCell::new(client)
        },
        catalogue: RefCell::default(),
        triggers: RefCell::default(),
        waiting: RefCell::default(),
        asked: RefCell::default(),
        flights: RefCell::default(),
        answers: RefCell::default(),
        board: RefCell::default(),
        history: RefCell::default(),
        made_here: RefCell::default(),
        flush: RefCell::default(),
        is_telling: Cell::new(false),
        is_telling_again: Cell::new(false),
        pending: ArcRwSignal::new(HashSet::new()),
        outbox: ArcRwSignal::new(Vec::new()),
        is_kept: ArcRwSignal::new(None),
        reports: RefCell::default(),
        person: Cell::new(None),
        belongs_to: RefCell::default(),
        storage: RefCell::default(),
        tabs: Tabs::new(),
        socket: Socket::new(),
    });
}

/// How long a value that nobody shows is kept in memory, and how often is looked.
const KEEP_IDLE: u64 = 5 * 60 * 1000;
const COLLECT_EVERY: u32 = 60 * 1000;
/// The pause before a failed request is tried again doubles from the first to the last of these milliseconds, and a
/// random part of it is waited (full jitter).
const FIRST_PAUSE: u32 = 400;
const LAST_PAUSE: u32 = 15_000;
/// From so many mutations in the outbox on, the page is told of changes to it less often.
const MANY: usize = 20;

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

// ---------------------------------------------------------------------------------------------- deciding and doing

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
            Task::Restore { key } => self.restore(key),
            Task::Keep(key) => self.keep_current(&key),
            Task::KeepMutation(id) => self.keep_mutation(id),
            Task::ForgetMutations(ids) => self.forget_mutations(ids),
            Task::Fetch { key, ticket, pending } => {
                self.asked.borrow_mut().insert(key.clone(), ticket);
                self.request(key, pending);
            }
            // Without a network nothing is tried: `connection_is` says when there is one.
            Task::RetryFetch { .. } | Task::RetryMutation { .. } if self.is_offline() => {}
            Task::RetryFetch { key, failed } => {
                self.later(pause_after(failed), move |driver| driver.act(|client| client.retry_fetch(&key)));
            }
            Task::Send { mutation } => self.send(mutation),
            Task::RetryMutation { mutation, failed } => {
                self.later(pause_after(failed), move |driver| driver.act(|client| client.retry_mutation(mutation)));
            }
            Task::Frame(frame) if self.tabs.is_leading() => {
                let me = self.tabs.me;
                self.on_board(|board| board.said(me, frame));
            }
            Task::Frame(frame) => self.tabs.say(&Word::Says { tab: self.tabs.me, frame }),
            Task::Changed(key) => {
                if let Some(trigger) = self.triggers.borrow().get(&key) {
                    trigger.notify();
                }
                // The value may have come by another way than the fetch that was waited for.
                self.wake_waiting(&key);
            }
            Task::PendingChanged => self.tell_pending_soon(),
            Task::Refused { id, label, typed, error } => {
                let is_ours = self.made_here.borrow_mut().remove(&id);
                if is_ours || (self.tabs.is_leading() && !self.tabs.has_others()) {
                    self.report(|reports| (reports.refused)(Refusal { id, label, typed, error }));
                }
            }
            Task::RightsChanged(organization) => self.report(|reports| (reports.rights_changed)(organization)),
            Task::ForgetKept(organization) => {
                self.with_storage("what is kept of the organization could not be removed", move |storage| async move {
                    storage.forget_values(organization).await
                });
            }
            Task::Left(organization) => {
                self.history.borrow_mut().clear();
                self.report(|reports| (reports.left)(organization));
            }
            Task::SignedOut => self.report(|reports| (reports.signed_out)(())),
        }
    }

    fn report(&self, tell: impl FnOnce(Reports)) {
        // Copied out first: a report may lead back here.
        let reports = self.reports.borrow().clone();
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

    /// Once for all that changes now, and once more when what has no answer by then is to be shown as pending.
    fn tell_pending_soon(self: &Rc<Self>) {
        if !self.is_telling.replace(true) {
            // Of many, each one more or less is no news.
            let pause = if self.outbox.with_untracked(Vec::len) > MANY { 100 } else { 0 };
            self.later(pause, |driver| {
                driver.is_telling.set(false);
                driver.tell_pending();
            });
        }
        if !self.is_telling_again.replace(true) {
            self.later(crate::client::SHOWN_AS_PENDING_AFTER as u32 + 1, |driver| {
                driver.is_telling_again.set(false);
                driver.tell_pending();
                // What was made meanwhile is not as old yet.
                if driver.client.borrow().has_young(now()) {
                    driver.tell_pending_soon();
                }
            });
        }
    }

    fn tell_pending(&self) {
        let (records, outbox) = {
            let client = self.client.borrow();
            (client.pending_records(now()), client.outbox())
        };
        if *self.pending.read_untracked() != records {
            self.pending.set(records);
        }
        if *self.outbox.read_untracked() != outbox {
            self.outbox.set(outbox);
        }
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
        self.triggers.borrow_mut().retain(|key, _| client.holds(key));
    }

    fn learn(&self, codec: Codec) {
        self.catalogue.borrow_mut().learn(codec);
    }

    /// The key of this text, with how to read its values.
    fn known(&self, key: &str) -> Option<(QueryKey, Codec)> {
        let catalogue = self.catalogue.borrow();
        let key = catalogue.key(key)?;
        let codec = catalogue.codec(&key)?;
        Some((key, codec))
    }

    fn codec(&self, key: &QueryKey) -> Option<Codec> {
        self.catalogue.borrow().codec(key)
    }
}

// ---------------------------------------------------------------------------------------------- fetching

impl Driver {
    fn request(self: &Rc<Self>, key: QueryKey, pending: Vec<MutationId>) {
        if self.tabs.is_leading() {
            self.fetch_for_all(key, pending);
        } else {
            let heard = self.last_answer(&key);
            self.tabs.say(&Word::Fetch { key: key.to_string(), pending, heard });
        }
    }

    /// The number of the last answer for the key.
    fn last_answer(&self, key: &QueryKey) -> u32 {
        self.answers.borrow().get(key).copied().unwrap_or_default()
    }

    /// Asks the leader that has just begun for what the one before did not answer any more.
    fn ask_again(self: &Rc<Self>) {
        let asked: Vec<_> = self.asked.borrow().keys().cloned().collect();
        for key in asked {
            self.request(key, Vec::new());
        }
    }

    /// Fetches a key once for all tabs that want it, and tells them all.
    fn fetch_for_all(self: &Rc<Self>, key: QueryKey, pending: Vec<MutationId>) {
        let Some(codec) = self.codec(&key) else { return };
        if !self.flights.borrow_mut().insert(key.clone()) {
            return;
        }
        let driver = self.clone();
        spawn_local(async move {
            let answer = codec.fetch(key.clone(), pending).await;
            driver.flights.borrow_mut().remove(&key);
            let number = driver.last_answer(&key) + 1;
            driver.answers.borrow_mut().insert(key.clone(), number);
            let json = answer.as_ref().ok().and_then(|read| codec.encode(&read.data));
            if driver.tabs.has_others() {
                let answer = match (&answer, &json) {
                    (Ok(read), Some(json)) => Ok(Read {
                        data: json.clone(),
                        snapshot: read.snapshot.clone(),
                        epoch: read.epoch,
                        contains: read.contains.clone(),
                    }),
                    (Ok(_), None) => Err(ApiError::internal()),
                    (Err(error), _) => Err(error.clone()),
                };
                driver.tabs.say(&Word::Fetched { key: key.to_string(), number, answer });
            }
            if let (Ok(read), Some(json)) = (&answer, json) {
                driver.keep(&key, read.stamp(), json);
            }
            driver.fetched(&key, answer);
        });
    }

    fn fetched(self: &Rc<Self>, key: &QueryKey, answer: Result<Read<AnyValue>, ApiError>) {
        let ticket = self.asked.borrow_mut().remove(key);
        self.act(|client| match ticket {
            Some(ticket) => client.fetched(key, ticket, answer),
            None => client.offered(key, answer),
        });
    }
}

// ---------------------------------------------------------------------------------------------- keeping

impl Driver {
    fn with_storage<F>(self: &Rc<Self>, complaint: &'static str, work: impl FnOnce(Rc<Storage>) -> F + 'static)
    where
        F: Future<Output = Result<(), idb::Error>> + 'static,
    {
        if let Some(storage) = self.storage.borrow().clone() {
            spawn_local(async move {
                if let Err(why) = work(storage).await {
                    lament(complaint, &why);
                }
            });
        }
    }

    fn keep(self: &Rc<Self>, key: &QueryKey, stamp: Stamp, json: String) {
        let (driver, key) = (self.clone(), key.clone());
        self.with_storage("a value could not be kept on this device", move |storage| async move {
            storage.keep(&key.to_string(), &stamp, &json, now()).await?;
            driver.act(|client| client.was_kept(&key, stamp));
            Ok(())
        });
    }

    fn keep_current(self: &Rc<Self>, key: &QueryKey) {
        if self.storage.borrow().is_none() {
            return; // not even written as JSON: while a page starts, that is all that it shows
        }
        let current = self.client.borrow().current(key);
        if let (Some(read), Some(codec)) = (current, self.codec(key))
            && let Some(json) = codec.encode(&read.data)
        {
            self.keep(key, read.stamp(), json);
        }
    }

    fn restore(self: &Rc<Self>, key: QueryKey) {
        let driver = self.clone();
        let storage = self.storage.borrow().clone();
        spawn_local(async move {
            let found = match storage {
                Some(storage) => storage.value(&key.to_string()).await.unwrap_or_else(|why| {
                    lament("a kept value could not be read", &why);
                    None
                }),
                None => None,
            };
            let value = found.and_then(|(stamp, json)| {
                let data = driver.codec(&key)?.decode(&json)?;
                Some(Read { data, snapshot: stamp.snapshot, epoch: stamp.epoch, contains: Vec::new() })
            });
            driver.act(|client| client.restored(&key, value));
        });
    }

    fn stored(&self, id: MutationId, mutation: &AnyMutation, progress: Progress) -> Stored {
        Stored {
            id,
            organization: mutation.organization(),
            name: mutation.name().to_owned(),
            body: mutation.body(),
            progress,
            label: mutation.label(),
        }
    }

    fn stored_mutations(&self) -> Vec<Stored> {
        let all = self.client.borrow().mutations();
        all.iter().map(|(id, mutation, progress)| self.stored(*id, mutation, progress.clone())).collect()
    }

    fn keep_mutation(self: &Rc<Self>, id: MutationId) {
        let found = self.client.borrow().mutation(id);
        if let Some((mutation, progress)) = found
            && (self.tabs.is_leading() || self.made_here.borrow().contains(&id))
        {
            let stored = self.stored(id, &mutation, progress);
            self.with_storage("a change could not be kept on this device", move |storage| async move {
                storage.keep_mutation(&stored).await
            });
        }
    }

    fn forget_mutations(self: &Rc<Self>, ids: Vec<MutationId>) {
        self.made_here.borrow_mut().retain(|id| !ids.contains(id));
        if self.tabs.is_leading() {
            self.with_storage("a change that is done could not be forgotten", move |storage| async move {
                storage.forget_mutations(&ids).await
            });
        }
    }

    /// A mutation that another page made.
    fn learn_of(self: &Rc<Self>, stored: Stored) {
        let mutation = self.catalogue.borrow().read_mutation(&stored.name, &stored.body);
        match mutation {
            Some(mutation) => self.act(|client| client.learn(stored.id, mutation, stored.progress)),
            None => self.act(|client| client.found_unreadable(stored.id, stored.organization, stored.label)),
        }
    }
}

// ---------------------------------------------------------------------------------------------- sending

impl Driver {
    fn send(self: &Rc<Self>, id: MutationId) {
        let Some((mutation, _)) = self.client.borrow().mutation(id) else { return };
        let driver = self.clone();
        spawn_local(async move {
            match mutation.send(id).await {
                Ok(answer) => driver.sent(id, answer),
                Err(error) => {
                    driver.tabs.say(&Word::Failed { id, error: error.clone() });
                    driver.act(|client| client.failed(id, error));
                }
            }
        });
    }

    fn sent(self: &Rc<Self>, id: MutationId, answer: Answer) {
        let json = answer.value.as_ref().and_then(|(key, value)| {
            let json = self.codec(key)?.encode(value)?;
            Some((key.clone(), json))
        });
        if self.tabs.has_others() {
            self.tabs.say(&Word::Answered {
                id,
                xid: answer.xid,
                stamp: answer.stamp.clone(),
                value: json.as_ref().map(|(key, json)| (key.to_string(), json.clone())),
            });
        }
        let stamp = answer.stamp.clone();
        self.act(|client| client.answered(id, answer));
        if let Some((key, json)) = json {
            self.keep(&key, stamp, json);
        }
        // Not yet in every value: a page that comes next is to know that it is done.
        self.keep_mutation(id);
    }

    /// What the person decided about a mutation; told to all by the leader.
    fn settle(self: &Rc<Self>, id: MutationId, drop: bool) {
        self.tabs.say(&Word::Decide { id, drop });
        self.settle_here(id, drop);
    }

    fn settle_here(self: &Rc<Self>, id: MutationId, drop: bool) {
        self.act(|client| if drop { client.drop_mutation(id) } else { client.retry_held(id) });
    }
}

// ---------------------------------------------------------------------------------------------- the connection

impl Driver {
    /// Lets the switchboard hear something, and passes on what it passes.
    fn on_board(self: &Rc<Self>, happened: impl FnOnce(&mut Switchboard)) {
        let passing = {
            let mut board = self.board.borrow_mut();
            happened(&mut board);
            board.take_passing()
        };
        for passing in passing {
            match passing {
                Passing::Up(frame) => self.socket.send(&frame),
                Passing::Down(tab, frame) if tab == self.tabs.me => self.told(frame),
                Passing::Down(tab, frame) => self.tabs.say(&Word::Told { tab, frame }),
            }
        }
    }

    /// What the server says to this tab, whichever way it came.
    fn told(self: &Rc<Self>, frame: ServerFrame) {
        match frame {
            ServerFrame::Tick(tick) => self.act(|client| client.ticked(tick)),
            ServerFrame::Rights { organizations } => self.act(|client| client.rights_changed(organizations)),
            // These end at the leader's socket.
            ServerFrame::Hello { .. } | ServerFrame::Pong { .. } | ServerFrame::Error(_) => {}
        }
    }

    /// How the leader says that all are connected.
    fn connection_is(self: &Rc<Self>, state: State, latency: Option<u32>) {
        self.socket.latency.set(latency);
        let before = self.socket.state.get_untracked();
        if before == state {
            return;
        }
        self.socket.state.set(state);
        if before == State::Live {
            self.act(Client::disconnected);
        }
        if before == State::Offline {
            self.act(Client::try_again);
        }
        if state == State::Live {
            self.act(Client::connected);
        }
        if state == State::Refused {
            self.report(|reports| (reports.signed_out)(()));
        }
    }

    fn is_offline(&self) -> bool {
        self.socket.state.get_untracked() == State::Offline
    }

    /// This tab leads from here on.
    fn lead(self: &Rc<Self>) {
        // What the leader before vouched for, it vouches for no longer.
        self.connection_is(State::Connecting, None);
        let driver = self.clone();
        let storage = self.storage.borrow().clone();
        spawn_local(async move {
            if let Some(storage) = storage {
                match storage.mutations().await {
                    Ok(all) => all.into_iter().for_each(|stored| driver.learn_of(stored)),
                    Err(why) => lament("the outbox of this device could not be read", &why),
                }
            }
            driver.act(|client| client.set_sender(true));
            driver.ask_again();
        });
        socket::start();
    }

    /// Another tab signed out: nothing of the person may stay here either.
    fn signed_out_elsewhere(&self) {
        if let Some(storage) = self.storage.borrow_mut().take() {
            storage.close();
        }
        // The page is left: nothing that it still does is of use.
        drop(window().location().reload());
    }
}

// ---------------------------------------------------------------------------------------------- for the hooks

/// Answers the resource of a key from the cache, fetching at most once however many ask.
pub(crate) async fn ensure<V: Value>(key: QueryKey, codec: Codec) -> Loaded<V> {
    // Nothing happens before the future is polled: Leptos makes it, and drops it, where the page brought the value.
    let settled = driver().settled(&key, codec);
    // The sender lives until the key is settled, or the page is gone.
    let _gone = settled.await;
    let answer = DRIVER.with(|driver| driver.client.borrow().answer(&key));
    let answer = answer.unwrap_or_else(|| Err(ApiError::internal())).and_then(crate::hooks::typed);
    Loaded { key: key.to_string(), answer }
}

impl Driver {
    /// Resolves once the key has an answer, which is fetched if it has none.
    fn settled(self: &Rc<Self>, key: &QueryKey, codec: Codec) -> oneshot::Receiver<()> {
        self.learn(codec);
        let (settled, wait) = oneshot::channel();
        self.waiting.borrow_mut().entry(key.clone()).or_default().push(settled);
        self.act(|client| client.ensure(key));
        self.wake_waiting(key);
        wait
    }
}

/// Takes over what came with the page, and watches the key for as long as the component lives.
pub(crate) fn keep_live<V: Value>(key: Memo<QueryKey>, resource: Resource<Loaded<V>>, codec: Codec) {
    driver().learn(codec);
    let take_over = move |key: &QueryKey, loaded: &Loaded<V>| {
        if loaded.key == key.to_string() {
            let answer = loaded.answer.clone().map(crate::catalogue::erased);
            driver().act(|client| client.hydrate(key, answer));
        }
    };
    // Past the resource to what it holds: debug builds of Leptos warn of a read outside of a `Suspense`, and this one,
    // of what has come with the page, is meant.
    let held: &AsyncDerived<Loaded<V>> = &resource;
    if let Some(loaded) = held.get_untracked() {
        take_over(&key.get_untracked(), &loaded);
    }
    let observed = StoredValue::new(None::<QueryKey>);
    Effect::new(move |_| {
        let key = key.get();
        // Until the page's own value has been streamed, there is nothing to keep live, and nothing to fetch.
        let Some(loaded) = resource.get() else { return };
        take_over(&key, &loaded);
        observe(observed, key);
    });
    on_cleanup(move || {
        if let Some(before) = observed.try_get_value().flatten() {
            driver().act(|client| client.unobserve(&before, now()));
        }
    });
}

fn observe(observed: StoredValue<Option<QueryKey>>, next: QueryKey) {
    let before = observed.get_value();
    if before.as_ref() == Some(&next) {
        return;
    }
    observed.set_value(Some(next.clone()));
    driver().act(|client| {
        client.observe(&next);
        if let Some(before) = &before {
            client.unobserve(before, now());
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

pub(crate) fn outbox() -> Signal<Vec<Waiting>> {
    driver().outbox.clone().into()
}

pub(crate) fn mutate(step: Step) {
    let driver = driver();
    driver.make(&step);
    let label = step.label.clone();
    let takes_away = step.done.iter().any(|mutation| mutation.takes_away());
    let can_undo = driver.history.borrow_mut().did(step);
    driver.report(|reports| (reports.made)(Made { label, can_undo, takes_away }));
}

impl Driver {
    fn make(self: &Rc<Self>, step: &Step) {
        for mutation in &step.done {
            self.mutate(MutationId::fresh(), mutation.clone());
        }
    }

    fn mutate(self: &Rc<Self>, id: MutationId, mutation: AnyMutation) {
        self.made_here.borrow_mut().insert(id);
        if !self.tabs.is_leading() {
            self.tabs.say(&Word::Made(self.stored(id, &mutation, Progress::Made)));
        } else if self.tabs.has_others() {
            self.tabs.say(&Word::Learn(self.stored(id, &mutation, Progress::Made)));
        }
        self.act(|client| client.mutate(id, mutation));
    }
}

pub(crate) fn undo() -> Option<String> {
    let driver = driver();
    let step = driver.history.borrow_mut().undo()?;
    driver.make(&step);
    Some(step.label)
}

pub(crate) fn redo() -> Option<String> {
    let driver = driver();
    let step = driver.history.borrow_mut().redo()?;
    driver.make(&step);
    Some(step.label)
}

pub(crate) fn decide(id: MutationId, decision: Decision) {
    let driver = driver();
    if decision == Decision::KeepMine {
        let Some((mutation, Progress::Held(error))) = driver.client.borrow().mutation(id) else { return };
        let Some(mine) = error.current.as_ref().and_then(|current| mutation.rebased(current)) else { return };
        driver.mutate(MutationId::fresh(), mine);
    }
    let drop = decision != Decision::Retry;
    if driver.tabs.is_leading() {
        driver.settle(id, drop);
    } else {
        driver.tabs.say(&Word::Decided { id, drop });
        driver.settle_here(id, drop);
    }
}

pub(crate) fn connection() -> Connection {
    let driver = driver();
    Connection {
        state: driver.socket.state.clone().into(),
        latency: driver.socket.latency.clone().into(),
        is_leading: driver.tabs.leading.clone().into(),
        is_kept: driver.is_kept.clone().into(),
    }
}

pub(crate) fn reconnect() {
    socket::happened(crate::connection::Event::TryNow);
}

/// Where this device keeps nothing, what has not been sent yet lives in this page alone.
fn ask_before_leaving() {
    let _ = window_event_listener_untyped("beforeunload", |event| {
        let driver = driver();
        let is_unsent = !driver.client.borrow().outbox().is_empty();
        if driver.is_kept.get_untracked() == Some(false) && is_unsent {
            event.prevent_default();
        }
    });
}

pub(crate) fn start(path: &'static str, person: PersonId, reports: Reports, catalogue: Catalogue) {
    let driver = driver();
    match driver.person.replace(Some(person)) {
        None => {}
        Some(before) if before == person => return,
        // Nothing of one person may be seen or sent by another.
        Some(_) => return drop(window().location().reload()),
    }
    *driver.reports.borrow_mut() = Some(reports);
    *driver.catalogue.borrow_mut() = catalogue;
    crate::requests::set_person(person);
    driver.socket.set_path(path);
    ask_before_leaving();
    let collector = driver.clone();
    gloo_timers::callback::Interval::new(COLLECT_EVERY, move || collector.collect()).forget();
    spawn_local(async move {
        let mut kept = HashMap::new();
        // Without locks nobody can say which tab sends what is kept.
        let opened = if locks::are_here() { Some(Storage::open(person).await) } else { None };
        match opened {
            None => driver.is_kept.set(Some(false)),
            Some(Ok(storage)) => {
                match storage.stamps(now()).await {
                    Ok(stamps) => {
                        let catalogue = driver.catalogue.borrow();
                        kept.extend(stamps.into_iter().filter_map(|(key, stamp)| Some((catalogue.key(&key)?, stamp))));
                    }
                    Err(why) => lament("what is kept on this device could not be read", &why),
                }
                *driver.storage.borrow_mut() = Some(Rc::new(storage));
                driver.is_kept.set(Some(true));
            }
            Some(Err(why)) => {
                lament("this browser keeps nothing on this device", &why);
                driver.is_kept.set(Some(false));
            }
        }
        let belongs_to = driver.belongs_to.borrow().clone();
        // What came with the page was there before the storage was.
        let held = driver.client.borrow().held();
        held.iter().for_each(|key| driver.keep_current(key));
        driver.act(|client| {
            client.found_kept(kept);
            if let Some(organizations) = &belongs_to {
                client.belongs_to(organizations);
            }
        });
        tabs::join(&driver, person);
    });
}

pub(crate) fn belongs_to(organizations: Vec<OrganizationId>) {
    let driver = driver();
    driver.act(|client| client.belongs_to(&organizations));
    *driver.belongs_to.borrow_mut() = Some(organizations);
}

pub(crate) async fn forget_person() {
    let driver = driver();
    driver.tabs.say(&Word::SignedOut);
    let storage = driver.storage.borrow_mut().take();
    if let Some(storage) = storage {
        storage.close();
    }
    if let Some(person) = driver.person.get()
        && let Err(why) = Storage::delete(person).await
    {
        lament("what is kept on this device could not be removed", &why);
    }
}
