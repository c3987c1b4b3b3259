//! What is known of one key: its value or absence, when that was read, and what is missing from it.

use super::{Reason, Ticket};
use crate::error::ApiError;
use crate::overlay::{AnyValue, MutationId};
use crate::snapshot::{Epoch, Stamp, Xid};
use crate::wire::WatchNumber;

/// A change that a value has to contain before it is current again.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Need {
    /// What this transaction did.
    Transaction(Xid, Epoch),
    /// All that this stamp holds.
    All(Stamp),
    /// Whatever a read begun from now on gives.
    Anything(Reason),
}

/// Where a key's first value may come from before the server is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kept {
    /// Not looked for yet.
    #[default]
    Unknown,
    /// Being read from what this device keeps.
    Restoring,
    /// Read, or there was nothing.
    Done,
}

/// There are thousands: what few have is boxed.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) value: Option<AnyValue>,
    /// The server said that there is nothing to see: 404 or 403.
    pub(super) absent: Option<Box<ApiError>>,
    /// There was a value, read by rights that have become less since.
    pub(super) is_hidden: bool,
    /// Of `value` or of `absent`; grows only. What the cursor adds to it is told by `Client::stamp_of`.
    pub(super) stamp: Option<Stamp>,
    /// The last ticket given out when `value` came: orders answers of different epochs, which their stamps cannot.
    pub(super) from: Ticket,
    /// Pending mutations that the value is known to contain.
    pub(super) contains: Vec<MutationId>,
    /// Mutations that became known when the value was there already: nobody can tell whether it contains them, and the next
    /// read does.
    pub(super) doubted: Vec<MutationId>,
    /// With the last ticket given out when each was noted.
    pub(super) needs: Vec<(Need, Ticket)>,
    pub(super) kept: Kept,
    pub(super) fetching: Option<Ticket>,
    pub(super) failed: u32,
    pub(super) error: Option<Box<ApiError>>,
    pub(super) observers: u32,
    pub(super) watch: Option<WatchNumber>,
    /// The server has confirmed the watch: cursors vouch for the value.
    pub(super) is_vouched: bool,
    /// The server refused the watch; it is not asked again before there is another value.
    pub(super) is_unwatchable: bool,
    /// How often it did so since it last took one.
    pub(super) refused: u32,
    /// Milliseconds; set while nobody observes it.
    pub(super) idle_since: Option<u64>,
    /// When the value came, in milliseconds, and how long its JSON is.
    pub(super) came: Option<u64>,
    pub(super) bytes: usize,
    /// Where no snapshot says whether the value is current: for how many milliseconds it is taken to be.
    pub(super) fresh_for: Option<u64>,
}

impl Entry {
    pub(super) fn has_answer(&self) -> bool {
        self.value.is_some() || self.absent.is_some()
    }

    /// Whether it is time to ask again, where only time tells.
    pub(super) fn is_outdated(&self, now: u64) -> bool {
        let age = self.came.map(|came| now.saturating_sub(came));
        self.fresh_for.is_some_and(|fresh_for| age.is_none_or(|age| age >= fresh_for))
    }

    /// Forgets the value: what was read by old rights is not shown. Its stamp stays, for nothing older may come after it.
    pub(super) fn hide(&mut self, now: Ticket) {
        if self.value.take().is_some() {
            self.is_hidden = true;
            self.contains.clear();
            self.from = now;
        }
    }

    /// Whether an answer with this stamp is newer than what is held.
    pub(super) fn is_replaced_by(&self, stamp: Option<&Stamp>, ticket: Ticket) -> bool {
        match (&self.stamp, stamp) {
            (Some(held), Some(new)) if held.epoch == new.epoch => new.covers(held),
            // Of different epochs: it was asked for when the other was there already.
            _ => ticket > self.from || !self.has_answer(),
        }
    }

    /// Whether an answer with this stamp replaces what is held, and if so what is still missing afterwards. An answer
    /// never replaces a newer value.
    pub(super) fn take(&mut self, stamp: Option<Stamp>, ticket: Ticket, now: Ticket) -> bool {
        let is_newer = self.is_replaced_by(stamp.as_ref(), ticket);
        // What is held and newer than the answer holds whatever the answer does.
        let is_covered = match (&self.stamp, &stamp) {
            (Some(held), Some(new)) => held.epoch == new.epoch,
            _ => false,
        };
        if is_newer {
            self.from = now;
            self.is_unwatchable = false;
            self.stamp = stamp;
            self.doubted.clear();
        }
        let (stamp, is_doubted) = (&self.stamp, !self.doubted.is_empty());
        self.needs.retain(|(need, noted)| {
            let is_met = match (need, stamp) {
                (Need::Transaction(xid, epoch), Some(stamp)) if stamp.epoch == *epoch => stamp.snapshot.sees(*xid),
                (Need::All(wanted), Some(stamp)) if stamp.epoch == wanted.epoch => stamp.covers(wanted),
                // Nothing to compare by: a read begun after the need was noted meets it.
                _ => (is_newer || (is_covered && !is_doubted)) && ticket > *noted,
            };
            !is_met
        });
        is_newer
    }
}
