//! The live connection in the browser: opens sockets as [`connection::next`] says, and passes frames.

use super::{driver, jitter, now, polling};
use crate::connection::{self, Action, Event, State, Way};
use crate::switchboard::Switchboard;
use crate::tabs::{Tabs, Word};
use crate::wire::{ClientFrame, PROTOCOL, ServerFrame};
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt};
use gloo_net::websocket::futures::WebSocket;
use gloo_net::websocket::{Message, WebSocketError};
use gloo_timers::callback::{Interval, Timeout};
use leptos::prelude::*;
use leptos::task::spawn_local;
use std::cell::{Cell, RefCell};

/// The server's heartbeat comes every 10 s; after so much silence the connection is taken for dead.
const SILENCE: u64 = 25_000;
/// A socket that has not opened after so long will not: what blocks sockets may also swallow them.
const OPENING: u64 = 8_000;
const LOOK_EVERY: u32 = 5_000;
/// Timers that come so late have slept, with the device or in a hidden tab.
const SLEPT: u64 = 15_000;
/// Whoever comes back waits no longer for a sign of life.
const CHECK_WITHIN: u32 = 3_000;

pub(super) struct Socket {
    pub(super) state: ArcRwSignal<State>,
    pub(super) latency: ArcRwSignal<Option<u32>>,
    path: Cell<&'static str>,
    outbound: RefCell<Option<mpsc::UnboundedSender<Message>>>,
    /// Which socket is the present one: what an older one still reports is not news.
    generation: Cell<u64>,
    attempt: RefCell<Option<Timeout>>,
    heard: Cell<u64>,
    /// How many frames have come.
    frames: Cell<u64>,
    check: RefCell<Option<Timeout>>,
    looked: Cell<u64>,
    is_listening: Cell<bool>,
}

impl Socket {
    pub(super) fn new() -> Self {
        Self {
            state: ArcRwSignal::new(State::Connecting),
            latency: ArcRwSignal::new(None),
            path: Cell::new(""),
            outbound: RefCell::default(),
            generation: Cell::new(0),
            attempt: RefCell::default(),
            heard: Cell::new(0),
            frames: Cell::new(0),
            check: RefCell::default(),
            looked: Cell::new(0),
            is_listening: Cell::new(false),
        }
    }

    pub(super) fn set_path(&self, path: &'static str) {
        self.path.set(path);
    }

    pub(super) fn path(&self) -> &'static str {
        self.path.get()
    }

    pub(super) fn send(&self, frame: &ClientFrame) {
        if let Some(outbound) = &*self.outbound.borrow()
            && let Ok(text) = serde_json::to_string(frame)
        {
            // A socket that has just closed says so by itself, and everything is asked again on the next.
            drop(outbound.unbounded_send(Message::Text(text)));
        }
    }

    /// Another tab leads.
    pub(super) fn stop(&self) {
        self.close();
    }

    fn close(&self) {
        self.generation.set(self.generation.get() + 1);
        self.outbound.borrow_mut().take();
        self.attempt.borrow_mut().take();
        self.check.borrow_mut().take();
    }

    /// Asks for a sign of life; where none comes in time, the socket is dead.
    fn check(&self) {
        if self.check.borrow().is_some() {
            return;
        }
        self.send(&ClientFrame::Ping { at: now() });
        let before = self.frames.get();
        *self.check.borrow_mut() = Some(Timeout::new(CHECK_WITHIN, move || {
            let driver = driver();
            driver.socket.check.borrow_mut().take();
            if driver.socket.frames.get() == before {
                driver.socket.close();
                happened(Event::Lost);
            }
        }));
    }
}

/// Opens the first socket and listens to the network's and the page's ups and downs. Only the leading tab does.
pub(super) fn start() {
    let driver = driver();
    driver.socket.looked.set(now());
    if window().navigator().on_line() {
        open();
    } else {
        happened(Event::NetworkGone);
    }
    // It may have led before, and followed since.
    if driver.socket.is_listening.replace(true) {
        return;
    }
    // They last as long as the page.
    let _ = window_event_listener_untyped("offline", |_| happened(Event::NetworkGone));
    let _ = window_event_listener_untyped("online", |_| happened(Event::NetworkBack));
    Interval::new(LOOK_EVERY, look).forget();
}

/// What happened to the connection, and what follows from it.
pub(super) fn happened(event: Event) {
    let driver = driver();
    if !driver.line.is_leading() {
        return; // it led once, and what it listens to lasts as long as the page
    }
    let socket = &driver.socket;
    let before = socket.state.get_untracked();
    let (after, action) = connection::next(before, event);
    if before.way() != after.way() {
        if before.way().is_some() {
            driver.on_board(Switchboard::disconnected);
        }
        if before.way() == Some(Way::Questions) || after.way() == Some(Way::Socket) {
            driver.questions.stop();
        }
        if after.way().is_some() {
            driver.on_board(Switchboard::connected);
        }
        socket.latency.set(None);
    }
    match action {
        Action::Nothing => {}
        Action::Open => open(),
        Action::Close => {
            socket.close();
            driver.questions.stop();
        }
        Action::OpenWithin { milliseconds } => open_within(milliseconds),
        Action::AskAndOpenWithin { milliseconds } => {
            open_within(milliseconds);
            polling::ask();
        }
        Action::Ask => polling::ask(),
        Action::Check => socket.check(),
    }
    if before != after {
        let latency = socket.latency.get_untracked();
        driver.line.say(Word::Connection { state: after, latency });
        driver.connection_is(after, latency);
    }
}

fn open_within(milliseconds: u32) {
    let driver = driver();
    driver.socket.close();
    *driver.socket.attempt.borrow_mut() = Some(Timeout::new(jitter(milliseconds), open));
}

fn open() {
    let driver = driver();
    if driver.is_over.get() {
        return;
    }
    let socket = &driver.socket;
    socket.close();
    let generation = socket.generation.get();
    let location = window().location();
    let (Ok(protocol), Ok(host)) = (location.protocol(), location.host()) else { return };
    let scheme = if protocol == "https:" { "wss" } else { "ws" };
    let url = format!("{scheme}://{host}{}", socket.path.get());
    let Ok(web_socket) = WebSocket::open_with_protocol(&url, PROTOCOL) else {
        happened(Event::Lost);
        return;
    };
    let (mut sink, mut stream) = web_socket.split();
    let (outbound, mut queue) = mpsc::unbounded::<Message>();
    *socket.outbound.borrow_mut() = Some(outbound);
    socket.heard.set(now());
    spawn_local(async move {
        while let Some(message) = queue.next().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        // The queue ends when this socket is given up.
        drop(sink.close().await);
    });
    spawn_local(async move {
        let mut end = Event::Lost;
        while let Some(message) = stream.next().await {
            let driver = super::driver();
            if driver.socket.generation.get() != generation {
                return;
            }
            match message {
                Ok(Message::Text(text)) => {
                    driver.socket.heard.set(now());
                    driver.socket.frames.set(driver.socket.frames.get() + 1);
                    if let Ok(frame) = serde_json::from_str(&text) {
                        heard(frame);
                    }
                }
                Ok(Message::Bytes(_)) => {}
                Err(WebSocketError::ConnectionClose(close)) if close.code == 4401 => end = Event::SessionEnded,
                // The server stops, or the database began anew.
                Err(WebSocketError::ConnectionClose(close)) if [1001, 4001].contains(&close.code) => {
                    end = Event::SentElsewhere;
                }
                Err(_) => {}
            }
        }
        if super::driver().socket.generation.get() == generation {
            happened(end);
        }
    });
}

pub(super) fn heard(frame: ServerFrame) {
    let driver = driver();
    match frame {
        ServerFrame::Hello { person } => {
            if driver.person.get() != Some(person) {
                // Nothing of one person may be seen or sent by another.
                drop(window().location().reload());
                return;
            }
            happened(Event::Hello);
            driver.socket.send(&ClientFrame::Ping { at: now() });
        }
        ServerFrame::Tick(_) | ServerFrame::Rights { .. } | ServerFrame::Presence(_) => {
            let tabs = driver.line.with(|tabs| Tabs::all(tabs));
            driver.on_board(|board| board.heard(frame, &tabs));
        }
        ServerFrame::Pong { at } => measured(u32::try_from(now().saturating_sub(at)).ok()),
        // The server names what it did not understand of a frame of ours: a bug of ours, to be seen.
        ServerFrame::Error(error) => leptos::logging::error!("the server refused a frame: {error}"),
    }
}

/// The way there and back took so many milliseconds.
pub(super) fn measured(latency: Option<u32>) {
    let driver = driver();
    driver.socket.latency.set(latency);
    driver.line.say(Word::Connection { state: driver.socket.state.get_untracked(), latency });
}

/// Measures the way there and back, and notices a connection that is dead without saying so.
fn look() {
    let driver = driver();
    if !driver.line.is_leading() {
        return;
    }
    let socket = &driver.socket;
    let state = socket.state.get_untracked();
    let has_slept = now().saturating_sub(socket.looked.replace(now())) > SLEPT;
    let patience = if state == State::Live { SILENCE } else { OPENING };
    if has_slept {
        // What the server said meanwhile may yet be read: nothing follows from the silence.
        happened(Event::TryNow);
    } else if socket.outbound.borrow().is_some() && now().saturating_sub(socket.heard.get()) > patience {
        socket.close();
        happened(Event::Lost);
    } else if state == State::Live {
        socket.send(&ClientFrame::Ping { at: now() });
    }
}
