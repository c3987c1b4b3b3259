//! What the server says, whichever tab hears it, and what a tab does that begins to lead.

use super::{Driver, now, polling};
use crate::client::Client;
use crate::connection::{State, Way};
use crate::switchboard::{Passing, Switchboard};
use crate::tabs::{Sending, Tabs, Word};
use crate::trace::What;
use crate::wire::ServerFrame;
use leptos::prelude::*;
use leptos::task::spawn_local;
use std::rc::Rc;

impl Driver {
    /// Lets the switchboard hear something, and passes on what it passes.
    pub(super) fn on_board(self: &Rc<Self>, happened: impl FnOnce(&mut Switchboard)) {
        let passing = {
            let mut board = self.board.borrow_mut();
            happened(&mut board);
            board.take_passing()
        };
        for passing in passing {
            match passing {
                Passing::Up(frame) if polling::is_the_way(self.socket.state.get_untracked()) => {
                    self.questions.say(frame)
                }
                Passing::Up(frame) => self.socket.send(&frame),
                Passing::Down(tab, frame) if tab == self.line.me => self.told(frame),
                Passing::Down(tab, frame) => self.line.say(Word::Told { tab, frame }),
            }
        }
    }

    /// What the server says to this tab, whichever way it came.
    pub(super) fn told(self: &Rc<Self>, frame: ServerFrame) {
        match frame {
            ServerFrame::Tick(tick) => {
                self.heard_cursor.set(Some(now()));
                self.note_told(&tick);
                self.act(|client| client.ticked(tick));
            }
            ServerFrame::Rights { organizations } => {
                let changed = |tabs: &mut Tabs| {
                    organizations.iter().for_each(|rights| tabs.rights_changed(rights.organization));
                };
                self.line.with(changed);
                self.act(|client| client.rights_changed(organizations));
            }
            ServerFrame::Presence(told) => self.told_who_is_here(&told),
            // These end at the leader's socket.
            ServerFrame::Hello { .. } | ServerFrame::Pong { .. } | ServerFrame::Error(_) => {}
        }
    }

    /// How the leader says that all are connected.
    pub(super) fn connection_is(self: &Rc<Self>, state: State, latency: Option<u32>) {
        self.socket.latency.set(latency);
        let before = self.socket.state.get_untracked();
        if before == state {
            return;
        }
        self.note(None, || What::Connection(state.name()));
        self.socket.state.set(state);
        let is_another = before.way() != state.way();
        if is_another && before.way().is_some() {
            self.act(Client::disconnected);
        }
        if before == State::Offline {
            self.act(Client::try_again);
        }
        if is_another && state.way().is_some() {
            self.act(Client::connected);
        }
        if is_another {
            self.is_connected_to_others(state.way() == Some(Way::Socket));
        }
        if state == State::Refused {
            self.report(|reports| (reports.signed_out)(()));
        }
    }

    pub(super) fn is_offline(&self) -> bool {
        self.socket.state.get_untracked() == State::Offline
    }

    /// This tab leads from here on: what is written down is sent.
    pub(super) fn take_over_outbox(self: &Rc<Self>) {
        let driver = self.clone();
        spawn_local(async move {
            let written = driver.written_mutations().await;
            if !driver.line.is_leading() {
                return; // its lock was taken away meanwhile
            }
            for stored in written {
                driver.pass(stored, Sending::Perhaps);
            }
            driver.act(|client| client.set_sender(true));
            let deeds = driver.line.with(Tabs::has_taken_over);
            driver.carry_out_all(deeds);
        });
    }

    /// Another tab leads from here on. What this one has begun for others is none of its business any more.
    pub(super) fn follow_another(self: &Rc<Self>) {
        self.act(|client| client.set_sender(false));
        self.socket.stop();
        self.questions.stop();
        self.board.take();
    }

    /// Another tab signed out: nothing of the person may stay here either.
    pub(super) fn signed_out_elsewhere(&self) {
        if let Some(storage) = self.storage.borrow_mut().take() {
            storage.close();
        }
        self.is_over.set(true);
        // The page is left: nothing that it still does is of use.
        drop(window().location().reload());
    }
}
