//! Whether the person looks, at this tab or another, and what they are told when they come back.

use super::{Driver, driver, now};
use crate::notices::Notice;
use crate::sight::Sight;
use crate::tabs::Word;
use leptos::prelude::*;
use std::rc::Rc;

/// Listens to this tab's coming into view and going out of it; asks the other tabs.
pub(super) fn start() {
    let driver = driver();
    // They last as long as the page.
    let _ = window_event_listener_untyped("visibilitychange", |_| super::driver().turned(in_view()));
    let _ = window_event_listener_untyped("pagehide", |_| super::driver().turned(Sight::LooksAway));
    let _ = window_event_listener_untyped("pageshow", |_| super::driver().turned(in_view()));
    let _ = window_event_listener_untyped("focus", |_| super::driver().is_looked_at_here(in_view()));
    driver.turned(in_view());
    driver.line.say(Word::WhoLooks);
}

fn in_view() -> Sight {
    if document().hidden() { Sight::LooksAway } else { Sight::Looks }
}

impl Driver {
    /// The person turns to this tab, or away from it.
    fn turned(self: &Rc<Self>, sight: Sight) {
        self.say_sight(sight);
        self.looks(self.line.me, sight);
        self.is_looked_at_here(sight);
        if sight == Sight::Looks {
            self.tell_notices();
        }
    }

    /// The other tabs are told how the person stands to this one.
    pub(super) fn say_sight(&self, sight: Sight) {
        self.line.say(Word::Looks { tab: self.line.me, sight });
    }

    pub(super) fn own_sight(&self) -> Sight {
        if self.in_view.borrow().looks_at(self.line.me) { Sight::Looks } else { Sight::LooksAway }
    }

    pub(super) fn looks(self: &Rc<Self>, tab: crate::switchboard::TabId, sight: Sight) {
        let turned = self.in_view.borrow_mut().note(tab, sight);
        match turned {
            Some(Sight::Looks) => self.act(|client| client.seen(now())),
            Some(Sight::LooksAway) => self.act(|client| client.unseen(now())),
            None => {}
        }
    }

    /// The person is back, and values have been replaced meanwhile: the application says what that means.
    pub(super) fn returned(self: &Rc<Self>) {
        let moved = self.client.borrow_mut().take_moved();
        let reports = self.reports.borrow().clone();
        let Some(reports) = reports else { return };
        let notices = (reports.returned)(moved);
        self.notices.borrow_mut().add(notices);
        self.tell_notices();
    }

    /// Shows what is to be told; where the person looks, the other tabs need not tell it any more.
    fn tell_notices(&self) {
        let (waiting, told) = {
            let notices = self.notices.borrow();
            (notices.waiting().to_vec(), notices.as_told())
        };
        if self.own_sight() == Sight::Looks && !told.is_empty() {
            self.line.say(Word::Noticed { told });
        }
        if *self.noticed.read_untracked() != waiting {
            self.noticed.set(waiting);
        }
    }

    /// Another tab has told of these to the person, who looked at it.
    pub(super) fn noticed_elsewhere(&self, told: &[(uuid::Uuid, i64)]) {
        if self.own_sight() == Sight::LooksAway {
            self.notices.borrow_mut().told_elsewhere(told);
            self.tell_notices();
        }
    }

    pub(super) fn forget_notices(&self, organization: crate::key::OrganizationId) {
        self.notices.borrow_mut().forget(organization);
        self.tell_notices();
    }
}

pub(crate) fn notices() -> Signal<Vec<Notice>> {
    driver().noticed.clone().into()
}

pub(crate) fn dismiss_notices() {
    let driver = driver();
    driver.notices.borrow_mut().dismiss();
    driver.tell_notices();
}
