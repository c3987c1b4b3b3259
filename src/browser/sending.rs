//! Mutations: made, undone, sent by the leader, and decided about where they were refused.

use super::{Driver, driver, now};
use crate::client::{Outcome, Progress, drop_superseded};
use crate::error::{ApiError, Kind};
use crate::hooks::{Decision, Made};
use crate::overlay::{Answer, AnyMutation, MutationId};
use crate::requests;
use crate::tabs::{Settlement, Stored, Told, Word};
use crate::trace::What;
use crate::undo::Step;
use leptos::task::spawn_local;
use std::rc::Rc;

/// Sends them in one request. Where the server does not take that (it is too long, or of a release that does not know
/// it), each goes by itself, up to the first that fails in passing.
async fn sent_together(mutations: &[(MutationId, AnyMutation)]) -> Vec<(MutationId, Outcome)> {
    let calls = mutations.iter().map(|(id, mutation)| mutation.send(*id)).collect();
    let ids = mutations.iter().map(|(id, _)| *id);
    match requests::together(calls).await {
        Ok(told) => {
            let outcomes = told.into_iter().map(|told| told.map_or(Outcome::NotBegun, Outcome::from));
            ids.zip(outcomes).collect()
        }
        // It may have been carried out, whole or in part.
        Err(error) if ends_request(&error) => ids.map(|id| (id, Outcome::Failed(error.clone()))).collect(),
        Err(_) => {
            let mut outcomes = Vec::new();
            let mut is_ended = false;
            for (id, mutation) in mutations {
                let outcome = if is_ended { Outcome::NotBegun } else { mutation.send(*id).await.into() };
                is_ended |= matches!(&outcome, Outcome::Failed(error) if ends_request(error));
                outcomes.push((*id, outcome));
            }
            outcomes
        }
    }
}

/// Whether nothing that comes after it may be carried out before it is tried again.
fn ends_request(error: &ApiError) -> bool {
    error.kind.is_passing() || error.kind == Kind::Unauthenticated
}

impl Driver {
    /// Sends these mutations in one request, in their order.
    pub(super) fn send(self: &Rc<Self>, ids: &[MutationId]) {
        let mutations: Vec<_> = {
            let client = self.client.borrow();
            ids.iter().filter_map(|id| Some((*id, client.mutation(*id)?.0))).collect()
        };
        for (id, mutation) in &mutations {
            self.note(None, || What::Sent(*id, mutation.label()));
        }
        let driver = self.clone();
        spawn_local(async move {
            let outcomes = match &mutations[..] {
                [(id, mutation)] => vec![(*id, mutation.send(*id).await.into())],
                _ => sent_together(&mutations).await,
            };
            driver.sent(outcomes);
        });
    }

    fn sent(self: &Rc<Self>, mut outcomes: Vec<(MutationId, Outcome)>) {
        self.client.borrow().say_after(&mut outcomes);
        drop_superseded(&mut outcomes);
        self.line.with(|tabs| tabs.takes_in(&mut outcomes));
        let is_done = |(_, outcome): &&(MutationId, Outcome)| matches!(outcome, Outcome::Done { .. });
        let done: Vec<_> = outcomes.iter().filter(is_done).map(|(id, _)| *id).collect();
        if self.line.has_others() {
            let told = outcomes.iter().map(|(id, outcome)| (*id, self.in_words(outcome))).collect();
            self.line.say(Word::Heard { outcomes: told });
        }
        self.take_in(outcomes);
        self.questions.changed_something();
        // Not yet in every value: a page that comes next is to know that they are done.
        self.keep_mutations(&done);
    }

    fn in_words(&self, outcome: &Outcome) -> Told {
        match outcome {
            Outcome::Done { answer: Answer { xid, stamp, value }, after } => Told::Done {
                xid: *xid,
                stamp: stamp.clone(),
                value: value.as_ref().and_then(|(key, value)| {
                    let json = self.codec(key)?.encode(value)?;
                    Some((key.to_string(), json))
                }),
                after: after.clone(),
            },
            Outcome::Failed(error) => Told::Failed(error.clone()),
            Outcome::NotBegun => Told::NotBegun,
        }
    }

    /// What the leader has heard of mutations.
    pub(super) fn heard(self: &Rc<Self>, told: Vec<(MutationId, Told)>) {
        let read = |told| match told {
            Told::Done { xid, stamp, value, after } => {
                let value = value.and_then(|(key, json): (String, String)| {
                    let (key, codec) = self.known(&key)?;
                    Some((key, codec.decode(&json)?))
                });
                Outcome::Done { answer: Answer { xid, stamp, value }, after }
            }
            Told::Failed(error) => Outcome::Failed(error),
            Told::NotBegun => Outcome::NotBegun,
        };
        self.take_in(told.into_iter().map(|(id, told)| (id, read(told))).collect());
    }

    /// What the server made of mutations, whichever tab sent them.
    fn take_in(self: &Rc<Self>, outcomes: Vec<(MutationId, Outcome)>) {
        for (id, outcome) in &outcomes {
            match outcome {
                Outcome::Done { answer, .. } => {
                    self.note(None, || What::Answered(*id, answer.xid));
                    if let Some((key, _)) = &answer.value {
                        self.client.borrow_mut().came(key, now());
                    }
                }
                Outcome::Failed(error) => self.note(None, || What::Refused(*id, error.message.clone())),
                Outcome::NotBegun => {}
            }
        }
        self.act(|client| client.heard(outcomes));
    }

    /// What the person decided about a mutation; told to all by the leader.
    pub(super) fn settle(self: &Rc<Self>, id: MutationId, decision: Settlement) {
        self.act(|client| match decision {
            Settlement::Drop => client.drop_mutation(id),
            Settlement::Retry { again } => client.retry_held(id, again),
        });
    }
}

pub(crate) fn mutate(step: Step) {
    let driver = driver();
    driver.make(&step);
    let label = step.label.clone();
    let takes_away = step.done.iter().any(|mutation| mutation.takes_away());
    let can_undo = driver.history.borrow_mut().did(step);
    driver.report(|reports| (reports.made)(Made { label, can_undo, takes_away }));
}

impl Driver {
    pub(super) fn make(self: &Rc<Self>, step: &Step) {
        for mutation in &step.done {
            self.mutate(MutationId::fresh(), mutation.clone());
        }
    }

    pub(super) fn mutate(self: &Rc<Self>, id: MutationId, mutation: AnyMutation) {
        self.made_here.borrow_mut().insert(id);
        let stored = Stored::of(id, &*mutation, Progress::Made);
        let letter = self.line.with(|tabs| tabs.made(stored));
        if let Some(letter) = letter {
            self.line.post(&letter);
        }
        self.act(|client| client.mutate(id, mutation));
    }
}

pub(crate) fn undo() -> Option<String> {
    let driver = driver();
    let step = driver.history.borrow_mut().undo()?;
    driver.make(&step);
    Some(step.label)
}

pub(crate) fn redo() -> Option<String> {
    let driver = driver();
    let step = driver.history.borrow_mut().redo()?;
    driver.make(&step);
    Some(step.label)
}

pub(crate) fn decide(id: MutationId, decision: Decision) {
    let driver = driver();
    if decision == Decision::KeepMine {
        let Some((mutation, Progress::Held(error))) = driver.client.borrow().mutation(id) else { return };
        let Some(mine) = error.current.as_ref().and_then(|current| mutation.rebased(current)) else { return };
        driver.mutate(MutationId::fresh(), mine);
    }
    let is_retried = decision == Decision::Retry;
    driver.decided(id, if is_retried { Settlement::Retry { again: MutationId::fresh() } } else { Settlement::Drop });
}

/// Makes a refused mutation again with another text, begun from what is there now. Gives whether it can be.
pub(crate) fn edit(id: MutationId, text: &str) -> Result<(), ApiError> {
    let driver = driver();
    let found = driver.client.borrow().mutation(id);
    let Some((mutation, Progress::Held(error))) = found else { return Ok(()) };
    let rebased = error.current.as_ref().and_then(|current| mutation.rebased(current)).unwrap_or(mutation);
    let cannot = || ApiError::new(Kind::Invalid, "This cannot be saved here.");
    let edited = rebased.retyped(text).ok_or_else(cannot)?;
    driver.mutate(MutationId::fresh(), edited);
    driver.decided(id, Settlement::Drop);
    Ok(())
}

impl Driver {
    fn decided(self: &Rc<Self>, id: MutationId, decision: Settlement) {
        let deeds = self.line.with(|tabs| tabs.decides(id, decision));
        self.carry_out_all(deeds);
    }
}
