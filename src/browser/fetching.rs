//! Fetches: the leader makes one for all tabs that want a key.

use super::{Driver, now};
use crate::client::{Question, Ticket};
use crate::error::ApiError;
use crate::flights::{Asked, Worth};
use crate::found::Found;
use crate::key::QueryKey;
use crate::overlay::AnyValue;
use crate::trace::What;
use leptos::task::spawn_local;
use std::rc::Rc;

/// How an answer is taken.
enum Taking {
    /// As the one to this tab's own question.
    Awaited,
    /// As one that somebody else asked for.
    Offered,
}

/// What is noted of an answer for developers.
fn noted(taking: Taking, answer: &Result<Found<AnyValue>, ApiError>) -> What {
    match (taking, answer) {
        (Taking::Offered, Ok(found)) => What::Taken(found.stamp.clone()),
        (Taking::Awaited, Ok(found)) => What::Fetched(found.stamp.clone()),
        (_, Err(error)) if error.kind.is_absence() => What::Fetched(error.stamp.clone()),
        (_, Err(error)) => What::FetchFailed(error.message.clone()),
    }
}

impl Driver {
    pub(super) fn request(self: &Rc<Self>, key: &QueryKey, ticket: Ticket, question: Question) {
        if !key.is_live() {
            return self.fetch_here(key.clone(), Asked { tab: self.line.me, ticket, question });
        }
        let deed = self.line.with(|tabs| tabs.asks(key.to_string(), ticket, question));
        if let Some(deed) = deed {
            self.does(deed);
        }
    }

    /// Asks the leader that has just begun for what the one before did not answer any more.
    pub(super) fn ask_again(self: &Rc<Self>) {
        let questions = self.client.borrow().questions();
        for (key, ticket, question) in questions {
            self.request(&key, ticket, question);
        }
    }

    /// Fetches what no live table is, which other tabs need not even know of.
    fn fetch_here(self: &Rc<Self>, key: QueryKey, asked: Asked) {
        let Some(codec) = self.codec(&key) else { return };
        let driver = self.clone();
        spawn_local(async move {
            let answer = codec.fetch(key.clone(), Vec::new()).await;
            let json = answer.as_ref().ok().and_then(|found| codec.encode(&found.data));
            driver.fetched(&key, &asked, answer);
            driver.weigh(&key, &json.unwrap_or_default());
        });
    }

    /// Fetches a key once for all tabs that want it, and tells them all.
    pub(super) fn fetch_for_all(self: &Rc<Self>, text: String, asked: Asked) {
        let driver = self.clone();
        spawn_local(async move {
            let Some((key, codec)) = driver.known(&text) else { return };
            let answer = codec.fetch(key.clone(), asked.question.named.clone()).await;
            let Some(landing) = driver.line.with(|tabs| tabs.landed(&text, &asked)) else {
                // Another tab leads by now, and was asked the same.
                driver.note(Some(&key), || noted(Taking::Offered, &answer));
                driver.act(|client| client.offered(&key, &asked.question, answer));
                return;
            };
            let json = answer.as_ref().ok().and_then(|read| codec.encode(&read.data));
            if driver.line.has_others() {
                let answer = match (&answer, &json) {
                    (Ok(found), Some(json)) => Ok(found.clone().map(|_| json.clone())),
                    (Ok(_), None) => Err(ApiError::internal()),
                    (Err(error), _) => Err(error.clone()),
                };
                let letter = driver.line.with(|tabs| tabs.tell_of(text, asked.clone(), &landing, answer));
                driver.line.post(&letter);
            }
            if let Some(json) = &json {
                driver.weigh(&key, json);
            }
            if let (Ok(found), Some(json), Worth::Keeping) = (&answer, json, landing.worth)
                && driver.client.borrow().is_clear(&key, &asked.question, found)
                && let Some(read) = asked.question.kept(found).map(|_| json).stamped()
            {
                driver.keep(&key, read);
            }
            driver.fetched(&key, &asked, answer);
        });
    }

    pub(super) fn fetched(self: &Rc<Self>, key: &QueryKey, asked: &Asked, answer: Result<Found<AnyValue>, ApiError>) {
        let is_awaited = asked.is_awaited(self.line.me, &self.client.borrow(), key);
        self.note(Some(key), || noted(if is_awaited { Taking::Awaited } else { Taking::Offered }, &answer));
        self.act(|client| asked.answered(self.line.me, client, key, answer));
        self.client.borrow_mut().came(key, now());
    }
}
