//! The line between the tabs of a person, and the lock by which they decide who leads: a leader that is closed, or crashes, is
//! followed at once by another tab. What is said, and what follows from it, is decided in [`crate::tabs`].

use super::locks::{self, Manner};
use super::{Driver, driver, looking, socket};
use crate::connection::Event;
use crate::error::ApiError;
use crate::key::PersonId;
use crate::switchboard::TabId;
use crate::tabs::{Deed, Letter, Tabs, Word};
use crate::vigil::{self, Looked};
use gloo_timers::callback::Interval;
use leptos::prelude::{ArcRwSignal, GetUntracked, Set, document};
use leptos::wasm_bindgen::JsCast;
use leptos::wasm_bindgen::prelude::Closure;
use leptos::web_sys::{BroadcastChannel, MessageEvent};
use std::cell::RefCell;
use std::rc::Rc;

pub(super) struct Line {
    pub(super) me: TabId,
    channel: RefCell<Option<BroadcastChannel>>,
    pub(super) leading: ArcRwSignal<bool>,
    tabs: RefCell<Tabs>,
}

fn line_of(person: PersonId) -> String {
    format!("millstream line {person}")
}

fn lock_of(tab: TabId) -> String {
    format!("millstream tab {tab}")
}

impl Line {
    pub(super) fn new() -> Self {
        let me = TabId::fresh();
        Self { me, channel: RefCell::default(), leading: ArcRwSignal::new(false), tabs: RefCell::new(Tabs::new(me)) }
    }

    pub(super) fn is_leading(&self) -> bool {
        self.tabs.borrow().is_leading()
    }

    pub(super) fn has_others(&self) -> bool {
        self.tabs.borrow().has_others()
    }

    /// Asks, or tells, what decides.
    pub(super) fn with<T>(&self, happened: impl FnOnce(&mut Tabs) -> T) -> T {
        happened(&mut self.tabs.borrow_mut())
    }

    pub(super) fn say(&self, word: Word) {
        let letter = self.with(|tabs| tabs.letter(word));
        self.post(&letter);
    }

    pub(super) fn post(&self, letter: &Letter) {
        if let Some(channel) = &*self.channel.borrow()
            && let Ok(text) = serde_json::to_string(letter)
        {
            // Fails only for a channel that is closed, which ours is with the page.
            drop(channel.post_message(&text.into()));
        }
    }
}

/// Joins the person's tabs; leads where there is no other, or nothing to decide it by.
pub(super) fn join(driver: &Rc<Driver>, person: PersonId) {
    let tab = driver.line.me;
    let joined = move || {
        let driver = super::driver();
        if let Ok(channel) = BroadcastChannel::new(&line_of(person)) {
            let hear = Closure::<dyn Fn(MessageEvent)>::new(|event: MessageEvent| {
                if let Some(letter) = event.data().as_string().and_then(|text| serde_json::from_str(&text).ok()) {
                    let driver = super::driver();
                    let deeds = driver.line.with(|tabs| tabs.heard(letter));
                    driver.carry_out_all(deeds);
                }
            });
            channel.set_onmessage(Some(hear.as_ref().unchecked_ref()));
            // It listens as long as the page lives.
            hear.forget();
            *driver.line.channel.borrow_mut() = Some(channel);
        }
        looking::start();
        let hello = driver.line.with(|tabs| tabs.joins());
        driver.does(hello);
        stand_in_line(person, Manner::Wait);
        let look = move || {
            let looked = if document().hidden() { Looked::Away } else { Looked::At };
            let driver = super::driver();
            if let Some(deed) = driver.line.with(|tabs| tabs.looks_after_leader(looked)) {
                driver.does(deed);
            }
        };
        Interval::new(vigil::LOOK_EVERY, look).forget();
    };
    // Nobody takes a tab's own lock away.
    if !locks::hold(&lock_of(tab), Manner::Wait, joined, || ()) {
        looking::start();
        lead();
    }
}

fn stand_in_line(person: PersonId, manner: Manner) {
    locks::hold(&line_of(person), manner, lead, move || {
        step_down();
        stand_in_line(person, Manner::Wait);
    });
}

fn lead() {
    let driver = driver();
    // Who took the place by force still stands in line for it.
    if driver.line.is_leading() {
        return;
    }
    driver.line.leading.set(true);
    let deeds = driver.line.with(Tabs::leads);
    driver.carry_out_all(deeds);
    socket::start();
}

/// Another tab leads: this one was frozen, or too slow to say a word.
fn step_down() {
    let driver = driver();
    let deeds = driver.line.with(Tabs::steps_down);
    driver.carry_out_all(deeds);
}

impl Driver {
    pub(super) fn carry_out_all(self: &Rc<Self>, deeds: Vec<Deed>) {
        deeds.into_iter().for_each(|deed| self.does(deed));
    }

    pub(super) fn does(self: &Rc<Self>, deed: Deed) {
        match deed {
            Deed::Say(letter) => self.line.post(&letter),
            Deed::ConnectionIs(state, latency) => self.connection_is(state, latency),
            Deed::Told(frame) => self.told(frame),
            Deed::OnBoard(tab, frame) => self.on_board(|board| board.said(tab, frame)),
            Deed::OffBoard(tab) => self.on_board(|board| board.gone(tab)),
            Deed::Welcome(tab) => {
                let (state, latency) = (self.socket.state.get_untracked(), self.socket.latency.get_untracked());
                let outbox = self.stored_mutations();
                let letter = self.line.with(|tabs| tabs.welcome(tab, state, latency, outbox));
                self.line.post(&letter);
            }
            Deed::NoticeWhenGone(tab) => locks::when_free(&lock_of(tab), move || {
                let driver = super::driver();
                let deeds = driver.line.with(|tabs| tabs.is_gone(tab));
                driver.carry_out_all(deeds);
            }),
            Deed::Fetch(key, asked) => self.fetch_for_all(key, asked),
            Deed::Fetched(key, asked, answer) => {
                let Some((key, codec)) = self.known(&key) else { return };
                let json = answer.as_ref().map(|found| found.data.clone()).unwrap_or_default();
                let answer =
                    answer.and_then(|found| found.and_then(|json| codec.decode(&json).ok_or_else(ApiError::internal)));
                self.fetched(&key, &asked, answer);
                self.weigh(&key, &json);
            }
            Deed::AskAgain => self.ask_again(),
            Deed::Follow(stored, sending) => self.follow(stored, sending),
            Deed::Pass(stored, sending) => self.pass(stored, sending),
            Deed::TellAllBut(known) => {
                for stored in self.stored_mutations().into_iter().filter(|stored| !known.contains(&stored.id)) {
                    self.line.say(Word::Holds(stored));
                }
            }
            Deed::Heard(told) => self.heard(told),
            Deed::Settle(id, decision) => self.settle(id, decision),
            Deed::TakeOverOutbox => self.take_over_outbox(),
            Deed::FollowAnother => {
                self.line.leading.set(false);
                self.follow_another();
            }
            Deed::TakeLead => {
                if let Some(person) = self.person.get() {
                    stand_in_line(person, Manner::Steal);
                }
            }
            Deed::TryNow => socket::happened(Event::TryNow),
            Deed::SignedOut => self.signed_out_elsewhere(),
            Deed::Looks(tab, sight) => self.looks(tab, sight),
            Deed::SaySight => self.say_sight(self.own_sight()),
            Deed::Noticed(told) => self.noticed_elsewhere(&told),
        }
    }
}
