//! What is noted for developers, where somebody listens.

use super::{Driver, driver, now};
use crate::devtools::{KeyReport, Report};
use crate::key::QueryKey;
use crate::trace::{Step, Trace, What};
use crate::wire::Tick;
use leptos::prelude::request_animation_frame;
use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

/// Empty until somebody listens.
#[derive(Default)]
pub(super) struct Listening {
    trace: RefCell<Option<Trace>>,
    /// Keys that are shown anew, and not painted yet.
    unpainted: RefCell<HashSet<QueryKey>>,
}

impl Driver {
    /// Costs a look at a flag where nobody listens.
    pub(super) fn note(&self, key: Option<&QueryKey>, what: impl FnOnce() -> What) {
        if let Some(trace) = &mut *self.listening.trace.borrow_mut() {
            trace.note(now(), key.cloned(), what());
        }
    }

    fn is_listening(&self) -> bool {
        self.listening.trace.borrow().is_some()
    }

    /// Which keys the frame calls stale; to be called before the client hears of it.
    pub(super) fn note_told(&self, tick: &Tick) {
        if !self.is_listening() {
            return;
        }
        let client = self.client.borrow();
        for stale in &tick.stale {
            if let Some(key) = client.key_of(stale.number) {
                self.note(Some(key), || What::Told { xids: stale.xids.clone(), cursor: tick.cursor.clone() });
            }
        }
    }

    /// The key is shown anew: noted once the browser has painted it.
    pub(super) fn note_shown(self: &Rc<Self>, key: &QueryKey) {
        if !self.is_listening() {
            return;
        }
        let is_first = self.listening.unpainted.borrow().is_empty();
        self.listening.unpainted.borrow_mut().insert(key.clone());
        if is_first {
            let driver = self.clone();
            // Called before the next picture; what that shows is on the screen when the one after it is made.
            request_animation_frame(move || request_animation_frame(move || driver.note_painted()));
        }
    }

    fn note_painted(&self) {
        let painted = std::mem::take(&mut *self.listening.unpainted.borrow_mut());
        painted.iter().for_each(|key| self.note(Some(key), || What::Painted));
    }

    fn engine_report(&self, most_steps: usize) -> Report {
        let client = self.client.borrow();
        let trace = self.listening.trace.borrow();
        let keys = client.inspect().into_iter().map(|inspected| KeyReport {
            last_fetch: trace.as_ref().and_then(|trace| trace.last_fetch(&inspected.key)),
            taken_at: inspected.came,
            bytes: inspected.bytes,
            standing: inspected.standing,
            own: inspected.own,
            effective: inspected.effective,
            observers: inspected.observers,
            needs: inspected.needs,
            pending: inspected.pending,
            error: inspected.error,
            key: inspected.key,
        });
        let mut keys: Vec<_> = keys.collect();
        keys.sort_by_key(|report| (std::cmp::Reverse(report.observers), report.key.to_string()));
        let steps = trace.iter().flat_map(|trace| trace.steps().rev().take(most_steps).cloned()).collect();
        Report {
            keys,
            cursor: client.cursor().cloned(),
            watched: client.watched(),
            noted: trace.as_ref().map(Trace::noted).unwrap_or_default(),
            steps,
        }
    }
}

pub(crate) fn listen() {
    driver().listening.trace.borrow_mut().get_or_insert_with(Trace::default);
}

pub(crate) fn report(most_steps: usize) -> Report {
    driver().engine_report(most_steps)
}

pub(crate) fn why(key: &QueryKey) -> Vec<Step> {
    let driver = driver();
    let trace = driver.listening.trace.borrow();
    trace.as_ref().map(|trace| trace.why(key)).unwrap_or_default()
}
