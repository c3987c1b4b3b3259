//! Who is here, and where: what acts around the [`room`], which decides. It has a lock of its own, so that presence never waits for
//! the live data, nor they for it; and it asks the database apart from everything else, for many at once.

mod hall;
mod nodes;
pub(super) mod room;
#[cfg(test)]
mod room_tests;

use super::Hub;
use super::routing::{ConnectionId, RightsNow};
use crate::error::ApiError;
use crate::feed::{Batch, EventKind};
use crate::key::PersonId;
use crate::sql::Actor;
use crate::wire::{ServerFrame, Whereabouts};
use nodes::payloads;
use room::{Answered, Asked, Moment, Room};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use uuid::Uuid;

/// What is not answered by then is asked again with the tab's next word.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

pub(super) struct Lobby {
    room: Mutex<Room>,
    began: Instant,
    /// There is something to ask the database.
    questions: Notify,
}

impl Lobby {
    pub(super) fn new() -> Self {
        Self { room: Mutex::new(Room::new(Uuid::new_v4())), began: Instant::now(), questions: Notify::new() }
    }

    /// Lets the room decide, and gives the connections that have news by it.
    fn decide<T>(&self, decide: impl FnOnce(&mut Room, Moment) -> T) -> (T, BTreeSet<ConnectionId>) {
        let now = Moment::try_from(self.began.elapsed().as_millis()).unwrap_or(Moment::MAX);
        // A panic under this lock would be a bug in a look-up; the room is still a room.
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let decided = decide(&mut room, now);
        let woken = room.take_woken(now);
        if room.has_questions() {
            self.questions.notify_one();
        }
        (decided, woken)
    }

    pub(super) fn attach(&self, id: ConnectionId, person: PersonId, session: Uuid) -> ((), BTreeSet<ConnectionId>) {
        self.decide(|room, _| room.attach(id, person, session))
    }

    pub(super) fn detach(&self, id: ConnectionId) -> ((), BTreeSet<ConnectionId>) {
        self.decide(|room, now| room.detach(id, now))
    }

    pub(super) fn end_session(&self, session: Uuid) -> ((), BTreeSet<ConnectionId>) {
        self.decide(|room, now| room.end_session(session, now))
    }

    /// What the connection is to be told of who is here.
    pub(super) fn take_frames(&self, id: ConnectionId) -> (Vec<ServerFrame>, BTreeSet<ConnectionId>) {
        let (told, woken) = self.decide(|room, now| room.take(id, now));
        (told.into_iter().map(ServerFrame::Presence).collect(), woken)
    }
}

impl Hub {
    /// The connection says where its person is; gives what is answered where it cannot be taken.
    pub(super) fn presence(&self, id: ConnectionId, whereabouts: Whereabouts) -> Option<ServerFrame> {
        self.in_lobby(|lobby| lobby.decide(|room, now| room.says(id, whereabouts, now))).err().map(ServerFrame::Error)
    }

    /// Nobody is present by rights that the batch ends: to be called before anything of it is told.
    pub(super) fn end_presence(&self, batch: &Batch) {
        let is_over = |event: &&crate::feed::Event| {
            event.kind == EventKind::Delete && self.registry.is_session_table(&event.change.table)
        };
        let rights = batch.events.iter().filter(|event| self.registry.decides_rights(&event.change.table));
        let rights: BTreeSet<_> = rights.map(|event| (event.person, event.organization)).collect();
        let sessions: Vec<_> = batch.events.iter().filter(is_over).map(|event| event.record).collect();
        if rights.is_empty() && sessions.is_empty() {
            return;
        }
        self.in_lobby(|lobby| {
            lobby.decide(|room, now| {
                rights.into_iter().for_each(|(person, organization)| room.end_rights(person, organization, now));
                sessions.into_iter().for_each(|session| room.end_session(session, now));
            })
        });
    }

    /// Lets go of who has not been heard of for too long, and gives what is to be said to the other servers over this
    /// database, each short enough for a `NOTIFY`. To be called some times a second.
    pub fn presence_turn(&self) -> Vec<String> {
        self.in_lobby(|lobby| lobby.decide(Room::turn)).map(payloads).unwrap_or_default()
    }

    /// A server over this database, perhaps this one, has said this.
    pub fn presence_hears(&self, payload: &str) {
        match serde_json::from_str(payload) {
            Ok(message) => self.in_lobby(|lobby| lobby.decide(|room, now| room.hears(message, now))),
            Err(error) => tracing::warn!(%error, "what another server says of who is there cannot be read"),
        }
    }

    /// How many people are here in all organizations, on whichever server.
    pub fn present(&self) -> usize {
        self.in_lobby(|lobby| lobby.decide(|room, _| room.load()))
    }

    /// Waits until somebody's rights have to be known, and asks for them. To be called again and again.
    pub async fn judge_presence(&self) {
        self.lobby.questions.notified().await;
        let asked = self.in_lobby(|lobby| lobby.decide(|room, _| room.ask()));
        let answered = tokio::time::timeout(ANSWER_WITHIN, self.ask_for_presence(&asked)).await;
        let answered = answered.unwrap_or_else(|_| {
            tracing::debug!("whose presence may be told was not answered in time");
            Answered { rights: None, visible: None }
        });
        self.in_lobby(|lobby| lobby.decide(|room, now| room.answered(asked, &answered, now)));
    }

    async fn ask_for_presence(&self, asked: &Asked) -> Answered {
        let people: BTreeSet<_> = asked.rights.iter().map(|(_, person, its)| (*person, *its)).collect();
        let rights = if people.is_empty() { Ok(RightsNow::new()) } else { self.rights_now(&people).await };
        let rights = rights.inspect_err(|error| tracing::debug!(%error, "rights to be present could not be asked for"));
        let rights = rights
            .ok()
            .map(|rights| rights.iter().map(|(whose, rights)| (*whose, self.registry.sees(rights))).collect());
        let visible = self.visible_records(asked).await;
        let visible =
            visible.inspect_err(|error| tracing::debug!(%error, "whether a record is seen could not be asked"));
        Answered { rights, visible: visible.ok() }
    }

    /// Which of the records the people may see, by the word of row-level security.
    async fn visible_records(&self, asked: &Asked) -> Result<BTreeSet<(PersonId, String, Uuid)>, ApiError> {
        let mut by_person: BTreeMap<PersonId, BTreeMap<&'static str, Vec<Uuid>>> = BTreeMap::new();
        for (_, person, table, record) in &asked.records {
            // Of those alone that the registry knows: a table's name becomes part of a statement.
            if let Some(table) = self.registry.known(table) {
                by_person.entry(*person).or_default().entry(table).or_default().push(*record);
            }
        }
        let mut visible = BTreeSet::new();
        for (person, tables) in by_person {
            let seen = self.database.run(Actor::Person(person), |transaction| {
                Box::pin(async move {
                    let mut seen = Vec::new();
                    for (table, ids) in tables {
                        let sql = sqlx::AssertSqlSafe(format!("select id from {table} where id = any($1)"));
                        let rows: Vec<Uuid> = sqlx::query_scalar(sql).bind(ids).fetch_all(&mut *transaction).await?;
                        seen.extend(rows.into_iter().map(|id| (table, id)));
                    }
                    Ok(seen)
                })
            });
            visible.extend(seen.await?.into_iter().map(|(table, id)| (person, table.to_owned(), id)));
        }
        Ok(visible)
    }
}
