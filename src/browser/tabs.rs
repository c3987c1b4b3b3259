//! The tabs of a person: one leads (it holds the socket, fetches and sends for all), the others follow. Who leads is
//! decided by a Web Lock, so that a leader that is closed, or crashes, is followed at once by another tab.
//!
//! Only what the leader says changes what others hold to be pending: so all tabs see the same steps in the same order.

use super::storage::Stored;
use super::{Driver, driver, locks};
use crate::connection::State;
use crate::error::ApiError;
use crate::key::PersonId;
use crate::overlay::MutationId;
use crate::snapshot::{Stamp, Xid};
use crate::switchboard::TabId;
use crate::wire::{ClientFrame, Read, ServerFrame};
use leptos::prelude::{ArcRwSignal, GetUntracked, Set};
use leptos::wasm_bindgen::JsCast;
use leptos::wasm_bindgen::prelude::Closure;
use leptos::web_sys::{BroadcastChannel, MessageEvent};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

/// What one tab says to the others. Values and keys as text: not every tab has a component that knows their type.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Word {
    // From a follower to the leader.
    Hello {
        tab: TabId,
    },
    Says {
        tab: TabId,
        frame: ClientFrame,
    },
    /// `heard` is the number of the last answer for this key that the follower has heard: where there is a later one, that is
    /// on its way to it.
    Fetch {
        key: String,
        pending: Vec<MutationId>,
        heard: u32,
    },
    Made(Stored),
    Decided {
        id: MutationId,
        drop: bool,
    },
    // From the leader to the others.
    Leads,
    Welcome {
        tab: TabId,
        state: State,
        latency: Option<u32>,
        outbox: Vec<Stored>,
        answers: Vec<(String, u32)>,
    },
    Connection {
        state: State,
        latency: Option<u32>,
    },
    Told {
        tab: TabId,
        frame: ServerFrame,
    },
    Fetched {
        key: String,
        number: u32,
        answer: Result<Read<String>, ApiError>,
    },
    Learn(Stored),
    Answered {
        id: MutationId,
        xid: Option<Xid>,
        stamp: Stamp,
        value: Option<(String, String)>,
    },
    Failed {
        id: MutationId,
        error: ApiError,
    },
    Decide {
        id: MutationId,
        drop: bool,
    },
    // From whoever it happened to.
    SignedOut,
}

pub(super) struct Tabs {
    pub(super) me: TabId,
    channel: RefCell<Option<BroadcastChannel>>,
    pub(super) leading: ArcRwSignal<bool>,
    /// Known to the leader.
    others: RefCell<HashSet<TabId>>,
}

fn line_of(person: PersonId) -> String {
    format!("millstream line {person}")
}

fn lock_of(tab: TabId) -> String {
    format!("millstream tab {tab}")
}

impl Tabs {
    pub(super) fn new() -> Self {
        Self {
            me: TabId::fresh(),
            channel: RefCell::default(),
            leading: ArcRwSignal::new(false),
            others: RefCell::default(),
        }
    }

    pub(super) fn is_leading(&self) -> bool {
        self.leading.get_untracked()
    }

    /// All tabs, this one first.
    pub(super) fn all(&self) -> Vec<TabId> {
        std::iter::once(self.me).chain(self.others.borrow().iter().copied()).collect()
    }

    pub(super) fn has_others(&self) -> bool {
        !self.others.borrow().is_empty()
    }

    pub(super) fn say(&self, word: &Word) {
        if let Some(channel) = &*self.channel.borrow()
            && let Ok(text) = serde_json::to_string(word)
        {
            // Fails only for a channel that is closed, which ours is with the page.
            drop(channel.post_message(&text.into()));
        }
    }
}

/// Joins the person's tabs; leads where there is no other, or nothing to decide it by.
pub(super) fn join(driver: &Rc<Driver>, person: PersonId) {
    let tab = driver.tabs.me;
    let has_locks = locks::hold(&lock_of(tab), move || {
        let driver = super::driver();
        if let Ok(channel) = BroadcastChannel::new(&line_of(person)) {
            let hear = Closure::<dyn Fn(MessageEvent)>::new(|event: MessageEvent| {
                if let Some(word) = event.data().as_string().and_then(|text| serde_json::from_str(&text).ok()) {
                    heard(word);
                }
            });
            channel.set_onmessage(Some(hear.as_ref().unchecked_ref()));
            // It listens as long as the page lives.
            hear.forget();
            *driver.tabs.channel.borrow_mut() = Some(channel);
        }
        driver.tabs.say(&Word::Hello { tab });
        locks::hold(&line_of(person), lead);
    });
    if !has_locks {
        lead();
    }
}

fn lead() {
    let driver = driver();
    driver.tabs.leading.set(true);
    driver.lead();
    driver.tabs.say(&Word::Leads);
}

fn heard(word: Word) {
    let driver = driver();
    if driver.tabs.is_leading() { heard_as_leader(&driver, word) } else { heard_as_follower(&driver, word) }
}

fn heard_as_leader(driver: &Rc<Driver>, word: Word) {
    match word {
        Word::Hello { tab } => {
            if driver.tabs.others.borrow_mut().insert(tab) {
                locks::when_free(&lock_of(tab), move || {
                    let driver = super::driver();
                    driver.tabs.others.borrow_mut().remove(&tab);
                    driver.on_board(|board| board.gone(tab));
                });
            }
            driver.tabs.say(&Word::Welcome {
                tab,
                state: driver.socket.state.get_untracked(),
                latency: driver.socket.latency.get_untracked(),
                outbox: driver.stored_mutations(),
                answers: driver.answers.borrow().iter().map(|(key, number)| (key.to_string(), *number)).collect(),
            });
        }
        Word::Says { tab, frame } => driver.on_board(|board| board.said(tab, frame)),
        Word::Fetch { key, pending, heard } => {
            let Some((key, _)) = driver.known(&key) else { return };
            // Asked before the follower had heard the last answer: it asks again if that is not enough.
            if driver.last_answer(&key) <= heard {
                driver.fetch_for_all(key, pending);
            }
        }
        Word::Made(stored) => {
            driver.tabs.say(&Word::Learn(stored.clone()));
            driver.learn_of(stored);
        }
        Word::Decided { id, drop } => driver.settle(id, drop),
        Word::SignedOut => driver.signed_out_elsewhere(),
        // The rest is what a leader says: another one's, from before it was gone.
        _ => {}
    }
}

fn heard_as_follower(driver: &Rc<Driver>, word: Word) {
    match word {
        Word::Leads => {
            driver.connection_is(State::Connecting, None);
            driver.tabs.say(&Word::Hello { tab: driver.tabs.me });
        }
        Word::Welcome { tab, state, latency, outbox, answers } if tab == driver.tabs.me => {
            for (key, number) in answers {
                if let Some((key, _)) = driver.known(&key) {
                    driver.answers.borrow_mut().insert(key, number);
                }
            }
            let known: HashSet<_> = outbox.iter().map(|stored| stored.id).collect();
            outbox.into_iter().for_each(|stored| driver.learn_of(stored));
            // What the leader before did not hear of any more, or never asked for.
            for stored in driver.stored_mutations().into_iter().filter(|stored| !known.contains(&stored.id)) {
                driver.tabs.say(&Word::Made(stored));
            }
            driver.ask_again();
            driver.connection_is(state, latency);
        }
        Word::Connection { state, latency } => driver.connection_is(state, latency),
        Word::Told { tab, frame } if tab == driver.tabs.me => driver.told(frame),
        Word::Fetched { key, number, answer } => {
            let Some((key, codec)) = driver.known(&key) else { return };
            driver.answers.borrow_mut().insert(key.clone(), number);
            let answer =
                answer.and_then(|read| read.and_then(|json| codec.decode(&json).ok_or_else(ApiError::internal)));
            driver.fetched(&key, answer);
        }
        Word::Learn(stored) => driver.learn_of(stored),
        Word::Answered { id, xid, stamp, value } => {
            let value = value.and_then(|(key, json)| {
                let (key, codec) = driver.known(&key)?;
                Some((key, codec.decode(&json)?))
            });
            driver.act(|client| client.answered(id, crate::overlay::Answer { xid, stamp, value }));
        }
        Word::Failed { id, error } => driver.act(|client| client.failed(id, error)),
        Word::Decide { id, drop } => driver.settle_here(id, drop),
        Word::SignedOut => driver.signed_out_elsewhere(),
        _ => {}
    }
}
