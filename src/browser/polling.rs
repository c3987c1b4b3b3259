//! Questions by HTTP, where no socket gets through: asks them when [`Polling`] says so, and passes what is answered.

use super::socket::{happened, heard};
use super::{driver, jitter, now};
use crate::connection::{Event, State, Way};
use crate::error::{ApiError, Kind};
use crate::polling::Polling;
use crate::requests::PERSON_HEADER;
use crate::wire::{ClientFrame, Reply, ServerFrame};
use futures::future::{Either, select};
use gloo_net::http::Request;
use gloo_timers::callback::Timeout;
use gloo_timers::future::TimeoutFuture;
use leptos::prelude::*;
use leptos::task::spawn_local;
use std::cell::{Cell, RefCell};
use std::pin::pin;

/// A question that is not answered in this time is none.
const ANSWER_WITHIN: u32 = 10_000;

#[derive(Default)]
pub(super) struct Questions {
    polling: RefCell<Polling>,
    next: RefCell<Option<Timeout>>,
    is_asking: Cell<bool>,
    /// Which series of questions is the present one: what an older one still brings is not news.
    series: Cell<u64>,
}

impl Questions {
    pub(super) fn say(&self, frame: ClientFrame) {
        self.polling.borrow_mut().said(frame);
        self.ask_in_time();
    }

    /// A mutation has been carried out.
    pub(super) fn changed_something(&self) {
        self.polling.borrow_mut().changed_something();
        self.ask_in_time();
    }

    /// Forgets what was watched, and what is under way.
    pub(super) fn stop(&self) {
        self.series.set(self.series.get() + 1);
        self.is_asking.set(false);
        self.next.borrow_mut().take();
        self.polling.take();
    }

    /// The next question, after the pause that is right now.
    fn ask_in_time(&self) {
        if self.is_asking.get() || way() != Some(Way::Questions) {
            return;
        }
        let pause = self.polling.borrow().pause();
        let ask = || {
            // While nobody looks nobody asks: coming back is an event of its own.
            if is_looked_at() {
                ask();
            }
        };
        *self.next.borrow_mut() = Some(Timeout::new(pause.at_least + jitter(pause.and_within), ask));
    }
}

fn way() -> Option<Way> {
    driver().socket.state.get_untracked().way()
}

/// Other tabs may be looked at while this one is not.
fn is_looked_at() -> bool {
    !document().hidden() || driver().line.has_others()
}

/// Asks now, unless it is being asked.
pub(super) fn ask() {
    let driver = driver();
    let questions = &driver.questions;
    if questions.is_asking.replace(true) {
        return;
    }
    questions.next.borrow_mut().take();
    let series = questions.series.get();
    let question = questions.polling.borrow_mut().question();
    let path = driver.socket.path();
    let person = driver.person.get();
    spawn_local(async move {
        let began = now();
        let answer = async {
            let mut request = Request::post(path);
            if let Some(person) = person {
                request = request.header(PERSON_HEADER, &person.to_string());
            }
            let unreachable = |_| ApiError::new(Kind::Unreachable, "The server cannot be reached.");
            let response =
                request.json(&question).map_err(|_| ApiError::internal())?.send().await.map_err(unreachable)?;
            let text = response.text().await.map_err(unreachable)?;
            if response.ok() {
                serde_json::from_str::<Reply>(&text).map_err(|_| ApiError::internal())
            } else {
                Err(serde_json::from_str(&text).unwrap_or_else(|_| ApiError::internal()))
            }
        };
        let answer = match select(pin!(answer), TimeoutFuture::new(ANSWER_WITHIN)).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err(ApiError::new(Kind::Unreachable, "The server does not answer.")),
        };
        let driver = super::driver();
        if driver.questions.series.get() != series {
            return;
        }
        driver.questions.is_asking.set(false);
        match answer {
            Ok(reply) => answered(reply, u32::try_from(now().saturating_sub(began)).ok()),
            Err(error) if error.kind == Kind::Unauthenticated => happened(Event::SessionEnded),
            Err(_) => happened(Event::Unanswered),
        }
        driver.questions.ask_in_time();
    });
}

fn answered(reply: Reply, latency: Option<u32>) {
    let driver = driver();
    happened(Event::Answered);
    if way() != Some(Way::Questions) {
        return; // overtaken by a socket
    }
    for frame in reply.frames {
        match frame {
            ServerFrame::Hello { person } if driver.person.get() != Some(person) => {
                // Nothing of one person may be seen or sent by another.
                drop(window().location().reload());
                return;
            }
            ServerFrame::Hello { .. } => {}
            frame => {
                driver.questions.polling.borrow_mut().heard(&frame);
                heard(frame);
            }
        }
    }
    super::socket::measured(latency);
}

/// Whether it is asked by HTTP at the moment.
pub(super) fn is_the_way(state: State) -> bool {
    state.way() == Some(Way::Questions)
}
