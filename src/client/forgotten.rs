//! Mutations that every value contained, and that were forgotten for that: the last of them are remembered, for a value that
//! comes late (with the page, or as the answer to another tab's question) may have been read before they were carried out.

use super::outbox::Pending;
use super::{Client, Question, Ticket};
use crate::key::QueryKey;
use crate::overlay::MutationId;
use crate::snapshot::Epoch;
use std::collections::VecDeque;

/// A value that comes later than so many mutations lacks some of them until it has been read again.
const MOST: usize = 200;

/// See the module.
#[derive(Default)]
pub(super) struct Forgotten(VecDeque<Remembered>);

struct Remembered {
    pending: Pending,
    /// The last ticket given out then: what is asked for later contains it.
    at: Ticket,
}

impl Forgotten {
    pub(super) fn remember(&mut self, pending: Pending, at: Ticket) {
        self.0.retain(|known| known.pending.id != pending.id);
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(Remembered { pending, at });
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&Pending) -> bool) {
        self.0.retain(|known| keep(&known.pending));
    }

    /// Those that lie over the key, and that what was asked for with this ticket may lack.
    fn may_lack<'a>(&'a self, key: &'a QueryKey, ticket: Ticket) -> impl Iterator<Item = &'a Pending> {
        let later = self.0.iter().rev().take_while(move |known| ticket <= known.at);
        later.map(|known| &known.pending).filter(|pending| pending.lies_over(key))
    }

    /// Whether nobody can tell if an answer of this epoch contains one of them.
    pub(super) fn is_unclear(
        &self,
        key: &QueryKey,
        ticket: Ticket,
        question: &Question,
        read_in: Option<Epoch>,
        is_absence: bool,
    ) -> bool {
        let is_told = |id: &MutationId| question.after.contains(id) || (question.named.contains(id) && !is_absence);
        self.may_lack(key, ticket).any(|pending| !is_told(&pending.id) && pending.may_be_done(read_in))
    }
}

impl Client {
    /// The key has a value that was asked for with this ticket: what it lacks is pending once more, until it is read again.
    pub(super) fn remember_what_lacks(&mut self, key: &QueryKey, ticket: Ticket) {
        let Some(entry) = self.entries.get(key) else { return };
        let lacking = |pending: &&Pending| !self.contains(entry, pending);
        let lacking: Vec<_> = self.forgotten.may_lack(key, ticket).filter(lacking).map(|pending| pending.id).collect();
        for id in lacking {
            let Some(place) = self.forgotten.0.iter().position(|known| known.pending.id == id) else { continue };
            if let Some(Remembered { pending, .. }) = self.forgotten.0.remove(place) {
                self.is_pending_again(pending, key);
            }
        }
    }
}
