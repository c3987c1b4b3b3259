//! Fetches that one tab makes for all: a key is read once, however many tabs ask, and the answer reaches each of them with
//! the question that it answers. Pure.

use crate::client::{Client, Question, Ticket};
use crate::error::ApiError;
use crate::found::Found;
use crate::key::{OrganizationId, QueryKey};
use crate::overlay::AnyValue;
use crate::switchboard::TabId;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A question, and who asked it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    pub tab: TabId,
    pub ticket: Ticket,
    pub question: Question,
}

/// Whether an answer may be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    Keeping,
    /// The person's rights there changed while it was under way: it may hold what they may no longer see.
    Showing,
}

#[derive(Default)]
pub struct Flights {
    /// By the key's text.
    under_way: HashMap<String, (Asked, Worth)>,
    /// How many answers there have been for each key, whoever led then.
    answers: HashMap<String, u32>,
}

/// Whether a fetch has to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boarding {
    TakesOff,
    /// One is under way, or its answer is already on the way to the tab.
    Joins,
}

impl Flights {
    /// The number of the last answer for the key.
    pub fn last_answer(&self, key: &str) -> u32 {
        self.answers.get(key).copied().unwrap_or_default()
    }

    pub fn answers(&self) -> Vec<(String, u32)> {
        self.answers.iter().map(|(key, number)| (key.clone(), *number)).collect()
    }

    /// Another tab tells of the last answer for the key.
    pub fn has_been_answered(&mut self, key: String, number: u32) {
        self.answers.insert(key, number);
    }

    /// A tab asks; `heard` is the last answer for the key that it had heard then.
    pub fn ask(&mut self, key: &str, heard: u32, asked: Asked) -> Boarding {
        if self.last_answer(key) > heard || self.under_way.contains_key(key) {
            return Boarding::Joins;
        }
        self.under_way.insert(key.to_owned(), (asked, Worth::Keeping));
        Boarding::TakesOff
    }

    /// The answer to this question is there, with this number; none where the fetch is no longer made for all.
    pub fn land(&mut self, key: &str, asked: &Asked) -> Option<(Worth, u32)> {
        self.under_way.get(key).filter(|(its, _)| its == asked)?;
        let (_, worth) = self.under_way.remove(key)?;
        let number = self.last_answer(key) + 1;
        self.answers.insert(key.to_owned(), number);
        Some((worth, number))
    }

    /// What is under way is made for all no longer.
    pub fn abandon(&mut self) {
        self.under_way.clear();
    }

    /// What is under way was asked by the rights before.
    pub fn rights_changed(&mut self, organization: OrganizationId) {
        let prefix = format!("{organization}/");
        let under_way = self.under_way.iter_mut().filter(|(key, _)| key.starts_with(&prefix));
        under_way.for_each(|(_, (_, worth))| *worth = Worth::Showing);
    }
}

impl Asked {
    /// Whether the tab waits for the answer to this very question.
    pub fn is_awaited(&self, me: TabId, client: &Client, key: &QueryKey) -> bool {
        self.tab == me && client.awaits(key) == Some(self.ticket)
    }

    /// Tells a tab's client of the answer: as the one to its question, or as one that somebody else asked for.
    pub fn answered(
        &self,
        me: TabId,
        client: &mut Client,
        key: &QueryKey,
        answer: Result<impl Into<Found<AnyValue>>, ApiError>,
    ) {
        if self.is_awaited(me, client, key) {
            client.fetched(key, self.ticket, &self.question, answer);
        } else {
            client.offered(key, &self.question, answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn asked() -> Asked {
        Asked { tab: TabId(Uuid::from_u128(1)), ticket: 1, question: Question::default() }
    }

    #[test]
    fn a_key_is_fetched_once_and_who_has_not_heard_the_last_answer_waits_for_it() {
        let mut flights = Flights::default();
        assert_eq!(flights.ask("a/b", 0, asked()), Boarding::TakesOff);
        assert_eq!(flights.ask("a/b", 0, asked()), Boarding::Joins);
        assert!(flights.land("a/b", &asked()).is_some());
        assert_eq!(flights.ask("a/b", 0, asked()), Boarding::Joins, "its answer is on the way");
        assert_eq!(flights.ask("a/b", 1, asked()), Boarding::TakesOff);
    }

    #[test]
    fn what_was_under_way_when_rights_changed_is_not_written_down() {
        let mut flights = Flights::default();
        let (organization, other) = (OrganizationId(Uuid::from_u128(1)), OrganizationId(Uuid::from_u128(2)));
        let keys = [format!("{organization}/things/1"), format!("{other}/things/1")];
        keys.iter().for_each(|key| assert_eq!(flights.ask(key, 0, asked()), Boarding::TakesOff));
        flights.rights_changed(organization);
        assert_eq!(flights.land(&keys[0], &asked()).map(|(worth, _)| worth), Some(Worth::Showing));
        assert_eq!(flights.land(&keys[1], &asked()).map(|(worth, _)| worth), Some(Worth::Keeping));
    }

    #[test]
    fn what_was_begun_before_the_tab_led_again_does_not_land_as_another_flight() {
        let mut flights = Flights::default();
        let (before, since) = (asked(), Asked { ticket: 2, ..asked() });
        assert_eq!(flights.ask("a/b", 0, before.clone()), Boarding::TakesOff);
        flights.abandon();
        assert_eq!(flights.ask("a/b", 0, since.clone()), Boarding::TakesOff);
        assert_eq!(flights.land("a/b", &before), None);
        assert_eq!(flights.land("a/b", &since), Some((Worth::Keeping, 1)));
    }
}
