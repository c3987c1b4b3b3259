//! The live connection in the browser: opens sockets as [`connection::next`] says, and passes frames.

use super::tabs::Word;
use super::{driver, jitter, now};
use crate::connection::{self, Action, Event, State};
use crate::switchboard::Switchboard;
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
const LOOK_EVERY: u32 = 5_000;

pub(super) struct Socket {
    pub(super) state: ArcRwSignal<State>,
    pub(super) latency: ArcRwSignal<Option<u32>>,
    path: Cell<&'static str>,
    outbound: RefCell<Option<mpsc::UnboundedSender<Message>>>,
    /// Which socket is the present one: what an older one still reports is not news.
    generation: Cell<u64>,
    attempt: RefCell<Option<Timeout>>,
    heard: Cell<u64>,
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
        }
    }

    pub(super) fn set_path(&self, path: &'static str) {
        self.path.set(path);
    }

    pub(super) fn send(&self, frame: &ClientFrame) {
        if let Some(outbound) = &*self.outbound.borrow()
            && let Ok(text) = serde_json::to_string(frame)
        {
            // A socket that has just closed says so by itself, and everything is asked again on the next.
            drop(outbound.unbounded_send(Message::Text(text)));
        }
    }

    fn close(&self) {
        self.generation.set(self.generation.get() + 1);
        self.outbound.borrow_mut().take();
        self.attempt.borrow_mut().take();
        self.latency.set(None);
    }
}

/// Opens the first socket and listens to the network's and the page's ups and downs. Only the leading tab does.
pub(super) fn start() {
    if window().navigator().on_line() {
        open();
    } else {
        happened(Event::NetworkGone);
    }
    // They last as long as the page.
    let _ = window_event_listener_untyped("offline", |_| happened(Event::NetworkGone));
    let _ = window_event_listener_untyped("online", |_| happened(Event::NetworkBack));
    let _ = window_event_listener_untyped("focus", |_| happened(Event::TryNow));
    Interval::new(LOOK_EVERY, look).forget();
}

/// What happened to the connection, and what follows from it.
pub(super) fn happened(event: Event) {
    let driver = driver();
    let socket = &driver.socket;
    let before = socket.state.get_untracked();
    let (after, action) = connection::next(before, event);
    if before == State::Live && after != State::Live {
        driver.on_board(Switchboard::disconnected);
    }
    if before != State::Live && after == State::Live {
        driver.on_board(Switchboard::connected);
    }
    match action {
        Action::Nothing => {}
        Action::Open => open(),
        Action::Close => socket.close(),
        Action::OpenWithin { milliseconds } => {
            socket.close();
            *socket.attempt.borrow_mut() = Some(Timeout::new(jitter(milliseconds), open));
        }
    }
    if before != after {
        let latency = socket.latency.get_untracked();
        driver.tabs.say(&Word::Connection { state: after, latency });
        driver.connection_is(after, latency);
    }
}

fn open() {
    let driver = driver();
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
                    if let Ok(frame) = serde_json::from_str(&text) {
                        heard(frame);
                    }
                }
                Ok(Message::Bytes(_)) => {}
                Err(WebSocketError::ConnectionClose(close)) if close.code == 4401 => end = Event::SessionEnded,
                Err(_) => {}
            }
        }
        if super::driver().socket.generation.get() == generation {
            happened(end);
        }
    });
}

fn heard(frame: ServerFrame) {
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
        ServerFrame::Tick(_) | ServerFrame::Rights { .. } => {
            let tabs = driver.tabs.all();
            driver.on_board(|board| board.heard(frame, &tabs));
        }
        ServerFrame::Pong { at } => {
            let latency = u32::try_from(now().saturating_sub(at)).ok();
            driver.socket.latency.set(latency);
            driver.tabs.say(&Word::Connection { state: State::Live, latency });
        }
        // The server names what it did not understand of a frame of ours: a bug of ours, to be seen.
        ServerFrame::Error(error) => leptos::logging::error!("the server refused a frame: {error}"),
    }
}

/// Measures the way there and back, and notices a connection that is dead without saying so.
fn look() {
    let driver = driver();
    let socket = &driver.socket;
    let state = socket.state.get_untracked();
    let is_waiting = matches!(state, State::Live | State::Connecting | State::Reconnecting { .. });
    if is_waiting && socket.outbound.borrow().is_some() && now().saturating_sub(socket.heard.get()) > SILENCE {
        socket.close();
        happened(Event::Lost);
    } else if state == State::Live {
        socket.send(&ClientFrame::Ping { at: now() });
    }
}
