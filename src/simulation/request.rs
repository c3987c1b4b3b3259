//! A request over HTTP: it may be lost, come twice or late, and be overtaken; on the server it goes the way of a stamped
//! read or of a mutation, one step at a time.

use super::database::{Database, When};
use super::product::{self, Query, Write};
use crate::client;
use crate::error::{ApiError, Kind};
use crate::flights::Asked;
use crate::key::{PersonId, QueryKey};
use crate::overlay::{AnyValue, Mutation, MutationId};
use crate::snapshot::{Stamp, Xid};
use crate::sql::Outcome;
use crate::wire::Read;
use std::collections::VecDeque;

#[derive(Clone)]
pub(super) struct Request {
    pub(super) person: PersonId,
    /// None: nobody waits for the answer any more.
    pub(super) tab: Option<usize>,
    /// The server that it was sent to.
    pub(super) node: usize,
    pub(super) about: About,
    pub(super) phase: Phase,
}

#[derive(Clone)]
pub(super) enum About {
    Read {
        query: Query,
        asked: Asked,
    },
    /// The mutation whose turn it is, with those before it in the same request and those after it.
    Write {
        mutation: MutationId,
        write: Write,
        past: Vec<(MutationId, Answer)>,
        behind: VecDeque<(MutationId, Write)>,
    },
}

#[derive(Clone)]
pub(super) enum Phase {
    Sent,
    /// The mutation's row is inserted; the statements wait for their locks.
    Begun(Xid),
    Changed(Xid),
    /// Rolled back; the refusal is about to be stored.
    Refused(ApiError),
    Committed,
    /// The answer has been read and is about to be stored.
    Read(product::Written),
    Answered(Answer),
}

#[derive(Clone)]
pub(super) enum Answer {
    Read(Result<Read<AnyValue>, ApiError>),
    Written(Done),
    Failed(ApiError),
}

/// What the client is told of a mutation that was carried out.
#[derive(Clone)]
pub(super) struct Done {
    pub(super) xid: Option<Xid>,
    pub(super) stamp: Stamp,
    pub(super) value: Option<(QueryKey, AnyValue)>,
}

impl Phase {
    pub(super) fn number(&self) -> u32 {
        match self {
            Phase::Sent => 0,
            Phase::Begun(_) => 1,
            Phase::Changed(_) => 2,
            Phase::Committed => 3,
            Phase::Read(_) => 4,
            Phase::Answered(_) => 5,
            Phase::Refused(_) => 6,
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Phase::Sent => "sent".to_owned(),
            Phase::Begun(xid) => format!("begun as {}", xid.0),
            Phase::Changed(xid) => format!("changed by {}", xid.0),
            Phase::Refused(_) => "refused".to_owned(),
            Phase::Committed => "committed".to_owned(),
            Phase::Read(_) => "its answer read".to_owned(),
            Phase::Answered(Answer::Read(Ok(read))) => format!("read at {}", read.snapshot),
            Phase::Answered(_) => "answered".to_owned(),
        }
    }
}

pub(super) fn cut() -> ApiError {
    ApiError::new(Kind::Unreachable, "The server cannot be reached at the moment.")
}

impl Request {
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.phase, Phase::Answered(_))
    }

    /// Whether the server has it in hand: a restart ends it.
    pub(super) fn is_in_hand(&self) -> bool {
        !matches!(self.phase, Phase::Sent | Phase::Answered(_))
    }

    pub(super) fn is_in_transaction(&self) -> bool {
        matches!(self.phase, Phase::Begun(_) | Phase::Changed(_))
    }

    /// Whether the server can go on with it now.
    pub(super) fn can_go_on(&self, database: &Database) -> bool {
        match (&self.about, &self.phase) {
            (_, Phase::Answered(_)) => false,
            (About::Write { mutation, .. }, Phase::Sent | Phase::Refused(_)) => {
                !database.is_being_recorded(self.person, *mutation)
            }
            (About::Write { write, .. }, Phase::Begun(xid)) => database.can_lock(*xid, &write.locks(database)),
            _ => true,
        }
    }

    /// The connection to the database is gone: what was under way there is rolled back.
    pub(super) fn fail(&mut self, database: &mut Database) {
        if let Phase::Begun(xid) | Phase::Changed(xid) = self.phase {
            database.roll_back(xid);
        }
        self.answer(Err(cut()));
    }

    /// The server is gone, and with it what it would have answered.
    pub(super) fn die(&mut self, database: &mut Database) {
        self.fail(database);
        self.lose();
    }

    /// Nobody hears the answer: of none of its mutations is known what came of it.
    pub(super) fn lose(&mut self) {
        self.answer(Err(cut()));
        if let About::Write { past, behind, .. } = &mut self.about {
            past.extend(behind.drain(..).map(|(mutation, _)| (mutation, Answer::Failed(cut()))));
            past.iter_mut().for_each(|(_, answer)| *answer = Answer::Failed(cut()));
        }
    }

    /// What the page hears of its mutations, in their order.
    pub(super) fn outcomes(self) -> Vec<(MutationId, client::Outcome)> {
        let Request { about: About::Write { mutation, past, behind, .. }, phase: Phase::Answered(answer), .. } = self
        else {
            return Vec::new();
        };
        let heard = |answer| match answer {
            Answer::Written(Done { xid, stamp, value }) => Ok(crate::overlay::Answer { xid, stamp, value }).into(),
            Answer::Failed(error) => client::Outcome::Failed(error),
            Answer::Read(_) => client::Outcome::NotBegun,
        };
        let begun = past.into_iter().chain([(mutation, answer)]).map(|(id, answer)| (id, heard(answer)));
        begun.chain(behind.into_iter().map(|(id, _)| (id, client::Outcome::NotBegun))).collect()
    }

    fn answer(&mut self, answer: Result<Answer, ApiError>) {
        self.phase = Phase::Answered(match (answer, &self.about) {
            (Ok(answer), _) => answer,
            (Err(error), About::Read { .. }) => Answer::Read(Err(error)),
            (Err(error), About::Write { .. }) => Answer::Failed(error),
        });
    }

    /// One step on the server. A request with several mutations goes on to the next unless something passes by.
    pub(super) fn go_on(&mut self, database: &mut Database) {
        self.step(database);
        let (Phase::Answered(answer), About::Write { mutation, write, past, behind }) = (&self.phase, &mut self.about)
        else {
            return;
        };
        let is_passing = matches!(answer, Answer::Failed(error) if error.kind.is_passing());
        if !is_passing && let Some((next, its_write)) = behind.pop_front() {
            past.push((std::mem::replace(mutation, next), answer.clone()));
            *write = its_write;
            self.phase = Phase::Sent;
        }
    }

    fn step(&mut self, database: &mut Database) {
        match (self.about.clone(), self.phase.clone()) {
            (About::Read { query, asked }, _) => {
                let read = self.read(&query, &asked.question.named, database);
                self.phase = Phase::Answered(Answer::Read(read));
            }
            (About::Write { mutation, .. }, Phase::Sent) => {
                if database.recorded(self.person, mutation).is_some()
                    || database.refused(self.person, mutation).is_some()
                {
                    self.phase = Phase::Committed;
                } else {
                    let xid = database.begin();
                    database.record(xid, self.person, mutation, true);
                    self.phase = Phase::Begun(xid);
                }
            }
            (About::Write { mutation, write, .. }, Phase::Begun(xid)) => {
                let locks = write.locks(database);
                database.lock(xid, &locks);
                match write.run(database, xid, Some((self.person, mutation))) {
                    Ok(outcome) => {
                        database.record(xid, self.person, mutation, outcome == Outcome::Changed);
                        self.phase = Phase::Changed(xid);
                    }
                    Err(error) => {
                        database.roll_back(xid);
                        self.phase = Phase::Refused(error);
                    }
                }
            }
            (About::Write { mutation, .. }, Phase::Refused(error)) => {
                if database.refuse(self.person, mutation, &error) {
                    self.answer(Err(error));
                } else {
                    self.phase = Phase::Committed;
                }
            }
            (About::Write { .. }, Phase::Changed(xid)) => {
                database.commit(xid);
                self.phase = Phase::Committed;
            }
            (About::Write { mutation, write, .. }, Phase::Committed) => {
                let stamp = database.stamp();
                if let Some(error) = database.refused(self.person, mutation).cloned() {
                    self.answer(Err(error));
                    return;
                }
                if product::watch_rights(database, self.person, write.organization).is_none() {
                    self.answer(Err(ApiError::not_found("organization")));
                    return;
                }
                if let Some(stored) = database.stored(self.person, mutation).cloned() {
                    self.phase = Phase::Answered(written(&write, stored));
                    return;
                }
                let Some((recorded, xid)) = database.recorded(self.person, mutation) else { return };
                let xid = recorded.changed.then_some(xid);
                let record = write.record().map(|id| Query::Order(write.organization, id));
                match record.map(|query| query.answer(database, self.person, When::Then(&stamp))).transpose() {
                    Ok(value) => self.phase = Phase::Read((xid, stamp, value)),
                    Err(error) => self.answer(Err(error)),
                }
            }
            (About::Write { mutation, write, .. }, Phase::Read(answer)) => {
                let stored = database.store(self.person, mutation, answer);
                self.phase = Phase::Answered(written(&write, stored));
            }
            (_, Phase::Answered(_)) => {}
        }
    }

    fn read(&self, query: &Query, pending: &[MutationId], database: &mut Database) -> Result<Read<AnyValue>, ApiError> {
        let stamp = database.stamp();
        let held = |id: &&MutationId| database.holds(self.person, **id, When::Then(&stamp));
        let contains = pending.iter().filter(held).copied().collect();
        match query.answer(database, self.person, When::Then(&stamp)) {
            Ok(data) => Ok(Read { data, snapshot: stamp.snapshot, epoch: stamp.epoch, contains }),
            Err(error) if error.kind.is_absence() => Err(ApiError { stamp: Some(stamp), ..error }),
            Err(error) => Err(error),
        }
    }
}

fn written(write: &Write, (xid, stamp, value): product::Written) -> Answer {
    Answer::Written(Done { xid, stamp, value: write.answers().zip(value) })
}
