//! What is watched where no socket gets through: said over and over in one question by HTTP. Pure.
//!
//! It stands where the socket would, below the [`Switchboard`](crate::switchboard::Switchboard): it is told the same frames,
//! and what the server answers are the same frames.

use crate::key::{OrganizationId, WireKey};
use crate::snapshot::Stamp;
use crate::wire::{ClientFrame, Held, Question, ServerFrame, Standing, Watch, WatchNumber};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Default)]
pub struct Polling {
    cursor: Option<Stamp>,
    watched: BTreeMap<WatchNumber, Watched>,
    /// Where something was refused, or the person no longer belongs.
    organizations: BTreeSet<OrganizationId>,
    has_changed_something: bool,
}

struct Watched {
    key: WireKey,
    /// The stamp to ask about it with; none once it has been answered.
    asks: Option<Stamp>,
}

/// How long to wait before the next question: at least so many milliseconds, and a random part of the rest, so that clients
/// that were cut together do not ask together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    pub at_least: u32,
    pub and_within: u32,
}

const IN_TURN: Pause = Pause { at_least: 3_000, and_within: 2_000 };
/// For what somebody waits for: a value whose state nobody has said yet, a change of one's own.
const SOON: Pause = Pause { at_least: 250, and_within: 250 };

impl Polling {
    /// What would be said over the socket.
    pub fn said(&mut self, frame: ClientFrame) {
        match frame {
            ClientFrame::Watch { keys } => {
                for Watch { number, key, snapshot, epoch } in keys {
                    self.watched.insert(number, Watched { key, asks: Some(Stamp { snapshot, epoch }) });
                }
            }
            ClientFrame::Unwatch { numbers } => self.watched.retain(|number, _| !numbers.contains(number)),
            // Each question measures the way; and where nobody tells in between, nobody is there.
            ClientFrame::Ping { .. } | ClientFrame::Presence(_) => {}
        }
    }

    /// A change of the person's own has been carried out: what it leads to is soon there to be told.
    pub fn changed_something(&mut self) {
        self.has_changed_something = true;
    }

    /// What is to be asked now.
    pub fn question(&mut self) -> Question {
        self.has_changed_something = false;
        let mut question = Question {
            cursor: self.cursor.as_ref().map(|cursor| cursor.snapshot.clone()),
            epoch: self.cursor.as_ref().map(|cursor| cursor.epoch),
            organizations: self.organizations.iter().copied().collect(),
            ..Question::default()
        };
        for (number, Watched { key, asks }) in &self.watched {
            let (number, key) = (*number, key.clone());
            match asks {
                Some(Stamp { snapshot, epoch }) => {
                    question.watch.push(Watch { number, key, snapshot: snapshot.clone(), epoch: *epoch });
                }
                None => question.held.push(Held { number, key }),
            }
        }
        question
    }

    /// A frame of the answer.
    pub fn heard(&mut self, frame: &ServerFrame) {
        match frame {
            ServerFrame::Tick(tick) => {
                for refused in &tick.refused {
                    if let Some(watched) = self.watched.remove(&refused.number) {
                        self.organizations.insert(watched.key.organization);
                    }
                }
                for number in &tick.watching {
                    if let Some(watched) = self.watched.get_mut(number) {
                        watched.asks = None;
                    }
                }
                self.cursor = Some(Stamp { snapshot: tick.cursor.clone(), epoch: tick.epoch });
            }
            ServerFrame::Rights { organizations } => {
                for rights in organizations {
                    self.watched.retain(|_, watched| watched.key.organization != rights.organization);
                    // Who belongs there again is told by an event, but of those before a crash, or too far back, nobody knows.
                    if rights.standing == Standing::Removed {
                        self.organizations.insert(rights.organization);
                    }
                }
            }
            ServerFrame::Hello { .. } | ServerFrame::Pong { .. } | ServerFrame::Presence(_) | ServerFrame::Error(_) => {
            }
        }
    }

    /// The stamp of the last answer.
    pub fn cursor(&self) -> Option<&Stamp> {
        self.cursor.as_ref()
    }

    /// Whether something is watched of which no answer has said how it stands.
    pub fn has_news(&self) -> bool {
        self.watched.values().any(|watched| watched.asks.is_some())
    }

    /// How long to wait before the next question.
    pub fn pause(&self) -> Pause {
        if self.has_changed_something || self.has_news() { SOON } else { IN_TURN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ApiError;
    use crate::snapshot::Epoch;
    use crate::wire::{Refused, Rights, Tick};
    use uuid::Uuid;

    const EPOCH: Epoch = Epoch(Uuid::from_u128(7));

    fn organization(number: u128) -> OrganizationId {
        OrganizationId(Uuid::from_u128(number))
    }

    fn key(of: u128, record: u128) -> WireKey {
        WireKey {
            organization: organization(of),
            table: "things".to_owned(),
            list: None,
            record: Some(Uuid::from_u128(record)),
        }
    }

    fn watch(number: WatchNumber, key: WireKey, at: &str) -> Watch {
        Watch { number, key, snapshot: at.parse().expect(at), epoch: EPOCH }
    }

    fn tick(cursor: &str, watching: &[WatchNumber]) -> Tick {
        Tick { watching: watching.to_vec(), ..Tick::at(cursor.parse().expect(cursor), EPOCH) }
    }

    fn numbers(question: &Question) -> (Vec<WatchNumber>, Vec<WatchNumber>) {
        (
            question.held.iter().map(|held| held.number).collect(),
            question.watch.iter().map(|watch| watch.number).collect(),
        )
    }

    /// Two keys that have been answered at 20:20.
    fn asked() -> Polling {
        let mut polling = Polling::default();
        polling.said(ClientFrame::Watch { keys: vec![watch(1, key(1, 1), "10:10:"), watch(2, key(2, 2), "12:12:")] });
        polling.question();
        polling.heard(&ServerFrame::Tick(tick("20:20:", &[1, 2])));
        polling
    }

    #[test]
    fn a_key_is_asked_about_with_its_stamp_first_and_as_of_the_cursor_then() {
        let mut polling = Polling::default();
        assert_eq!(polling.question(), Question::default());
        polling.said(ClientFrame::Watch { keys: vec![watch(1, key(1, 1), "10:10:")] });
        let first = polling.question();
        assert_eq!((first.cursor.clone(), first.watch.clone()), (None, vec![watch(1, key(1, 1), "10:10:")]));
        polling.heard(&ServerFrame::Tick(tick("20:20:", &[1])));
        let then = polling.question();
        assert_eq!((then.cursor, then.epoch), ("20:20:".parse().ok(), Some(EPOCH)));
        assert_eq!((then.held, then.watch), (vec![Held { number: 1, key: key(1, 1) }], vec![]));
    }

    #[test]
    fn what_is_watched_while_a_question_is_under_way_keeps_its_stamp_for_the_next() {
        let mut polling = asked();
        polling.question();
        polling.said(ClientFrame::Watch { keys: vec![watch(3, key(1, 3), "15:15:")] });
        polling.said(ClientFrame::Unwatch { numbers: vec![1] });
        polling.heard(&ServerFrame::Tick(tick("30:30:", &[])));
        assert_eq!(numbers(&polling.question()), (vec![2], vec![3]));
    }

    #[test]
    fn where_an_answer_is_lost_the_same_is_asked_again() {
        let mut polling = asked();
        polling.said(ClientFrame::Watch { keys: vec![watch(3, key(1, 3), "15:15:")] });
        assert_eq!(polling.question(), polling.question());
    }

    #[test]
    fn what_was_refused_is_not_asked_about_again_but_its_organization_is() {
        let mut polling = asked();
        let refused = vec![Refused { number: 2, error: ApiError::forbidden("see this") }];
        polling.heard(&ServerFrame::Tick(Tick { refused, ..tick("30:30:", &[]) }));
        let question = polling.question();
        assert_eq!((numbers(&question), question.organizations), ((vec![1], vec![]), vec![organization(2)]));
    }

    #[test]
    fn with_the_rights_in_an_organization_its_keys_are_given_up() {
        let mut polling = asked();
        let organizations = vec![Rights { organization: organization(1), standing: Standing::Narrowed, by: None }];
        polling.heard(&ServerFrame::Rights { organizations });
        assert_eq!(numbers(&polling.question()), (vec![2], vec![]));
    }

    // Found by the simulator, seed 15870: the person was let in again, the database crashed, and nobody asked.
    #[test]
    fn where_the_person_no_longer_belongs_is_asked_about_still() {
        let mut polling = asked();
        let organizations = vec![Rights { organization: organization(1), standing: Standing::Removed, by: None }];
        polling.heard(&ServerFrame::Rights { organizations });
        let question = polling.question();
        assert_eq!((numbers(&question), question.organizations), ((vec![2], vec![]), vec![organization(1)]));
    }

    #[test]
    fn it_is_asked_sooner_where_somebody_waits_for_the_answer() {
        let mut polling = asked();
        assert_eq!(polling.pause(), IN_TURN);
        polling.said(ClientFrame::Watch { keys: vec![watch(3, key(1, 3), "15:15:")] });
        assert_eq!(polling.pause(), SOON);
        polling.heard(&ServerFrame::Tick(tick("30:30:", &[3])));
        assert_eq!(polling.pause(), IN_TURN);
        polling.changed_something();
        assert_eq!(polling.pause(), SOON);
        polling.question();
        assert_eq!(polling.pause(), IN_TURN);
    }
}
