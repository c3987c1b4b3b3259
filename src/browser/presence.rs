//! Who else is here, and what this tab says of where its person is. What is said, and when, is decided in [`crate::presence`]; it
//! goes the way of all frames: the leading tab's connection. Only tabs in view say anything, so their timers are not throttled.

use super::{Driver, driver, now};
use crate::client::Effect as Task;
use crate::key::OrganizationId;
use crate::presence::{Roster, Stand};
use crate::sight::Sight;
use crate::wire::{ClientFrame, Presence};
use leptos::prelude::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use uuid::Uuid;

#[derive(Default)]
pub(super) struct Here {
    stand: RefCell<Stand>,
    roster: ArcRwSignal<Roster>,
    /// When the next timer asks what is to be said.
    asks_at: Cell<Option<u64>>,
}

impl Driver {
    /// Something about where the person is has changed.
    fn stands(self: &Rc<Self>, happened: impl FnOnce(&mut Stand)) {
        happened(&mut self.here.stand.borrow_mut());
        self.say_where();
    }

    /// Says where the person is, if that is to be said now, and again in time.
    fn say_where(self: &Rc<Self>) {
        let saying = self.here.stand.borrow_mut().say(now());
        if let Some(whereabouts) = saying.says {
            self.carry_out(Task::Frame(ClientFrame::Presence(whereabouts)));
        }
        let Some(pause) = saying.again_in else { return };
        let at = now() + u64::from(pause);
        // A timer that comes sooner asks for the next.
        if self.here.asks_at.get().is_none_or(|sooner| at < sooner) {
            self.here.asks_at.set(Some(at));
            self.later(pause, move |driver| {
                if driver.here.asks_at.get() == Some(at) {
                    driver.here.asks_at.set(None);
                }
                driver.say_where();
            });
        }
    }

    pub(super) fn told_who_is_here(&self, told: &Presence) {
        if self.here.stand.borrow().organization() == Some(told.organization) {
            self.here.roster.update(|roster| roster.hear(told));
        }
    }

    pub(super) fn is_connected_to_others(self: &Rc<Self>, is_connected: bool) {
        self.forget_who_is_here();
        self.stands(|stand| stand.connected(is_connected));
    }

    pub(super) fn is_looked_at_here(self: &Rc<Self>, sight: Sight) {
        if sight == Sight::LooksAway {
            self.forget_who_is_here();
        }
        self.stands(|stand| stand.turns(sight, now()));
    }

    /// Until it is told anew: from here on nothing more is heard of it.
    fn forget_who_is_here(&self) {
        if !self.here.roster.read_untracked().is_empty() {
            self.here.roster.set(Roster::default());
        }
    }
}

pub(crate) fn presence() -> Signal<Roster> {
    driver().here.roster.clone().into()
}

/// The page belongs to this organization from here on.
pub(crate) fn enter(organization: Option<OrganizationId>) {
    let driver = driver();
    if driver.here.stand.borrow().organization() != organization {
        driver.forget_who_is_here();
    }
    driver.stands(|stand| stand.enters(organization));
}

pub(crate) fn take_place(place: Option<(&str, Option<Uuid>)>) {
    driver().stands(|stand| stand.moves_to(place, now()));
}

pub(crate) fn leave_place(table: &str, record: Option<Uuid>) {
    driver().stands(|stand| stand.moves_from(table, record));
}

pub(crate) fn focus(field: Option<String>) {
    driver().stands(|stand| stand.focuses(field));
}

pub(crate) fn typed() {
    driver().stands(|stand| stand.types(now()));
}
