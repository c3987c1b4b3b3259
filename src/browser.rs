//! The browser's driver: one a page. It carries out what [`Client`] decides (fetches, frames, pauses, what is kept) and
//! tells Leptos what changed. It decides nothing itself.
//!
//! Of all tabs of a person one leads: it has the socket, and fetches and sends for all ([`tabs`]). Every tab has its own
//! cache, and follows what the leader says.

mod connected;
mod fetching;
mod keeping;
mod listening;
mod locks;
mod looking;
mod polling;
mod presence;
mod sending;
mod showing;
mod socket;
mod storage;
mod tabs;

pub(crate) use listening::{listen, report, why};
pub(crate) use looking::{dismiss_notices, notices};
pub(crate) use presence::{enter, focus, leave_place, presence, take_place, typed};
pub(crate) use sending::{decide, edit, mutate, redo, undo};
pub(crate) use showing::{
    Observer, adopt, ensure, holds, invalidate, is_pending, keep_live, keep_ready, learn, outbox, prefetch, retry, view,
};

use crate::catalogue::{Catalogue, Codec};
use crate::client::{Client, Effect as Task, Waiting};
use crate::hooks::{Connection, Refusal, Reports, VitalSigns};
use crate::key::{OrganizationId, PersonId, QueryKey};
use crate::notices::{Notice, Notices};
use crate::overlay::MutationId;
use crate::sight::InView;
use crate::switchboard::Switchboard;
use crate::tabs::{Sending, Tabs, Word};
use crate::trace::What;
use crate::undo::History;
use futures::channel::oneshot;
use gloo_timers::callback::Timeout;
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos::wasm_bindgen::JsCast;
use leptos::wasm_bindgen::prelude::Closure;
use listening::Listening;
use polling::Questions;
use presence::Here;
use socket::Socket;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use storage::{Storage, lament};
use tabs::Line;
use uuid::Uuid;

struct Driver {
    client: RefCell<Client>,
    catalogue: RefCell<Catalogue>,
    triggers: RefCell<HashMap<QueryKey, ArcTrigger>>,
    waiting: RefCell<HashMap<QueryKey, Vec<oneshot::Sender<()>>>>,
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
    in_view: RefCell<InView>,
    here: Here,
    notices: RefCell<Notices>,
    /// Of `notices` what is shown.
    noticed: ArcRwSignal<Vec<Notice>>,
    listening: Listening,
    /// When the live connection last told its cursor.
    heard_cursor: Cell<Option<u64>>,
    /// When somebody came back to the page.
    returned: Cell<u64>,
    /// Whose page this is.
    person: Cell<Option<PersonId>>,
    /// The person has signed out: until the page is gone it begins nothing more.
    is_over: Cell<bool>,
    storage: RefCell<Option<Rc<Storage>>>,
    line: Line,
    socket: Socket,
    questions: Questions,
}

thread_local! {
    static DRIVER: Rc<Driver> = Rc::new(Driver {
        client: {
            let mut client = Client::default();
            // What this device keeps can be known once it is known whose page this is.
            client.await_device();
            client.set_sender(false);
            RefCell::new(client)
        },
        catalogue: RefCell::default(),
        triggers: RefCell::default(),
        waiting: RefCell::default(),
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
        in_view: RefCell::default(),
        here: Here::default(),
        notices: RefCell::default(),
        noticed: ArcRwSignal::new(Vec::new()),
        listening: Listening::default(),
        heard_cursor: Cell::new(None),
        returned: Cell::new(0),
        person: Cell::new(None),
        is_over: Cell::new(false),
        storage: RefCell::default(),
        line: Line::new(),
        socket: Socket::new(),
        questions: Questions::default(),
    });
}

/// How long a value that nobody shows is kept in memory, and how often is looked.
const KEEP_IDLE: u64 = 5 * 60 * 1000;
const COLLECT_EVERY: u32 = 60 * 1000;
/// So many bytes may all values in memory have, as JSON, before those are forgotten that nobody has shown for longest.
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// The pause before a failed request is tried again doubles from the first to the last of these milliseconds, and a
/// random part of it is waited (full jitter).
const FIRST_PAUSE: u32 = 400;
const LAST_PAUSE: u32 = 15_000;
/// From so many mutations in the outbox on, the page is told of changes to it less often.
const MANY: usize = 20;

/// So long after the page has begun (in milliseconds) it is read of what values this device keeps.
const READ_STAMPS_AFTER: u32 = 1_000;

/// Events within so many milliseconds tell of the same return to the page.
const ONE_RETURN: u64 = 500;

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
            Task::Restore { key } => self.restore(key),
            Task::Keep(key) => self.keep_current(&key),
            Task::KeepMutation(id) => self.keep_mutations(&[id]),
            Task::ForgetMutations(ids) => self.forget_mutations(ids),
            Task::Fetch { key, ticket, question, reason, spread: 0 } => {
                self.note(Some(&key), || What::Fetch(reason));
                self.request(&key, ticket, question);
            }
            Task::Fetch { key, ticket, question, reason, spread } => self.later(jitter(spread), move |driver| {
                // Another tab's answer may have come by then.
                if driver.client.borrow().awaits(&key) == Some(ticket) {
                    driver.note(Some(&key), || What::Fetch(reason));
                    driver.request(&key, ticket, question);
                }
            }),
            // Without a network nothing is tried: `connection_is` says when there is one.
            Task::RetryFetch { .. } | Task::RetryMutations { .. } if self.is_offline() => {}
            Task::RetryFetch { key, failed } => {
                self.later(pause_after(failed), move |driver| driver.act(|client| client.retry_fetch(&key)));
            }
            Task::Send { mutations } => self.send(&mutations),
            Task::RetryMutations { mutations, failed } => {
                self.later(pause_after(failed), move |driver| driver.act(|client| client.retry_mutations(&mutations)));
            }
            Task::Frame(frame) if self.line.is_leading() => {
                let me = self.line.me;
                self.on_board(|board| board.said(me, frame));
            }
            Task::Frame(frame) => self.line.say(Word::Says { tab: self.line.me, frame }),
            Task::Changed(key) => {
                if let Some(trigger) = self.triggers.borrow().get(&key) {
                    trigger.notify();
                }
                self.note_shown(&key);
                // The value may have come by another way than the fetch that was waited for.
                self.wake_waiting(&key);
            }
            Task::PendingChanged => self.tell_pending_soon(),
            Task::Refused { id, label, typed, error } => {
                let is_ours = self.made_here.borrow_mut().remove(&id);
                if is_ours || (self.line.is_leading() && !self.line.has_others()) {
                    self.report(|reports| (reports.refused)(Refusal { id, label, typed, error }));
                }
            }
            Task::RightsChanged(organization) => self.report(|reports| (reports.rights_changed)(organization)),
            Task::ForgetKept(organization) => {
                self.with_storage("what is kept of the organization could not be removed", move |storage| async move {
                    storage.forget_values(organization).await
                });
            }
            Task::ForgetAll(organization) => {
                self.with_storage("what is kept of the organization could not be removed", move |storage| async move {
                    storage.forget_all(organization).await
                });
            }
            Task::Left(organization) => {
                self.history.borrow_mut().clear();
                self.forget_notices(organization);
                self.report(|reports| (reports.left)(organization));
            }
            Task::Returned => self.returned(),
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
        self.act(|client| client.collect(now(), KEEP_IDLE, MOST_BYTES));
        let client = self.client.borrow();
        self.triggers.borrow_mut().retain(|key, _| client.holds(key));
    }

    /// How long the key's value is as JSON.
    fn weigh(self: &Rc<Self>, key: &QueryKey, json: &str) {
        self.client.borrow_mut().weighs(key, json.len());
        if self.client.borrow().bytes() > MOST_BYTES {
            self.collect();
        }
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

pub(crate) fn connection() -> Connection {
    let driver = driver();
    Connection {
        state: driver.socket.state.clone().into(),
        latency: driver.socket.latency.clone().into(),
        is_leading: driver.line.leading.clone().into(),
        is_kept: driver.is_kept.clone().into(),
    }
}

pub(crate) fn vital_signs() -> VitalSigns {
    let driver = driver();
    let watched = driver.client.borrow().watched();
    VitalSigns { cursor_age: driver.heard_cursor.get().map(|heard| now().saturating_sub(heard)), watched }
}

/// The leader's connection is tried, whichever tab asks for it.
pub(crate) fn reconnect() {
    let driver = driver();
    let deed = driver.line.with(|tabs| Tabs::tries_now(tabs));
    driver.does(deed);
}

/// One return is told by several events.
fn returned() {
    let driver = driver();
    if now().saturating_sub(driver.returned.replace(now())) > ONE_RETURN {
        reconnect();
    }
}

/// Whoever comes back to the page is not to look at what is out of date.
fn try_on_return() {
    let _ = window_event_listener_untyped("focus", |_| returned());
    let _ = window_event_listener_untyped("pageshow", |_| returned());
    // Leptos' own listener is for the window, and this event is the document's.
    let seen = Closure::<dyn Fn()>::new(|| {
        if !document().hidden() {
            returned();
        }
    });
    // Adding a listener to the document does not fail.
    drop(document().add_event_listener_with_callback("visibilitychange", seen.as_ref().unchecked_ref()));
    // It listens as long as the page lives.
    seen.forget();
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
    try_on_return();
    let collector = driver.clone();
    gloo_timers::callback::Interval::new(COLLECT_EVERY, move || collector.collect()).forget();
    spawn_local(async move {
        // Without locks nobody can say which tab sends what is kept.
        let opened = if locks::are_here() { Some(Storage::open(person).await) } else { None };
        match opened {
            None => driver.is_kept.set(Some(false)),
            Some(Ok(storage)) => {
                *driver.storage.borrow_mut() = Some(Rc::new(storage));
                driver.is_kept.set(Some(true));
            }
            Some(Err(why)) => {
                lament("this browser keeps nothing on this device", &why);
                driver.is_kept.set(Some(false));
            }
        }
        // What was done is known before anything is read that may contain it.
        for stored in driver.written_mutations().await {
            driver.learn_of(stored, Sending::Perhaps);
        }
        driver.act(Client::found_outbox);
        // What came with the page was there before the storage was.
        let held = driver.client.borrow().held();
        held.iter().for_each(|key| driver.keep_current(key));
        tabs::join(&driver, person);
        // The first moments belong to what is to be shown.
        let pause = if driver.storage.borrow().is_some() { READ_STAMPS_AFTER } else { 0 };
        driver.later(pause, |driver| spawn_local(driver.clone().read_stamps()));
    });
}

pub(crate) fn belongs_to(organizations: Vec<OrganizationId>) {
    let driver = driver();
    driver.act(|client| client.belongs_to(&organizations));
}

pub(crate) async fn forget_person() {
    let driver = driver();
    driver.line.say(Word::SignedOut);
    driver.is_over.set(true);
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
