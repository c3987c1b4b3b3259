//! What one connection has yet to be told: a *set of keys*, never a queue, so a slow reader costs no more than its keys.

use super::routing::Close;
use crate::snapshot::{Stamp, Xid};
use crate::wire::{Passed, Refused, Rights, ServerFrame, Stale, Standing, Tick, WatchNumber};
use std::time::Instant;

/// More transactions than this on one key are not named one by one: the value must then cover the frame's cursor.
pub(super) const MOST_XIDS: usize = 16;
/// Mutations of one's own that one frame names.
const MOST_PASSED: usize = 64;

/// Room for so many stale keys is kept for the next frame: most name one.
const KEPT_ROOM: usize = 4;

#[derive(Default)]
pub(super) struct Outgoing {
    /// In the order of their numbers, each once.
    stale: Vec<Lagging>,
    watching: Vec<WatchNumber>,
    refused: Vec<Refused>,
    rights: Vec<Rights>,
    /// The person's own mutations that the cursor has passed.
    passed: Vec<Passed>,
    close: Option<Close>,
    /// Of the stale keys, the longest that one of them asks for, in milliseconds.
    spread: u32,
    /// When the oldest change was made that is to be told.
    since: Option<Instant>,
}

/// A stale key, and what its value must see to be current again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lagging {
    number: WatchNumber,
    lag: Lag,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Lag {
    Xid(Xid),
    Xids(Vec<Xid>),
    Cursor,
}

impl Lag {
    fn add(&mut self, xid: Option<Xid>) {
        match (&mut *self, xid) {
            (Lag::Xid(known), Some(xid)) if *known == xid => {}
            (Lag::Xid(known), Some(xid)) => *self = Lag::Xids(vec![*known, xid]),
            (Lag::Xids(xids), Some(xid)) if xids.contains(&xid) => {}
            (Lag::Xids(xids), Some(xid)) if xids.len() < MOST_XIDS => xids.push(xid),
            _ => *self = Lag::Cursor,
        }
    }
}

impl From<&Lagging> for Stale {
    fn from(Lagging { number, lag }: &Lagging) -> Self {
        let xids = match lag {
            Lag::Xid(xid) => vec![*xid],
            Lag::Xids(xids) => xids.clone(),
            Lag::Cursor => Vec::new(),
        };
        Self { number: *number, xids }
    }
}

/// What many connections are told alike: nothing but stale keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Alike<'o> {
    pub(super) stale: &'o [Lagging],
    pub(super) spread: u32,
}

impl Alike<'_> {
    pub(super) fn tick(self, cursor: &Stamp) -> ServerFrame {
        let stale = self.stale.iter().map(Stale::from).collect();
        ServerFrame::Tick(Tick { stale, spread: self.spread, ..Tick::at(cursor.snapshot.clone(), cursor.epoch) })
    }
}

/// Two changes of rights as one. Who was removed and is a member again may see less than before.
fn after(first: &Rights, then: Rights) -> Rights {
    let standing = match (first.standing, then.standing) {
        (_, Standing::Removed) => Standing::Removed,
        (Standing::Removed | Standing::Narrowed, _) => Standing::Narrowed,
        (Standing::Changed, standing) => standing,
    };
    let by = match (&first.by, then.by) {
        (Some(first), Some(mut then)) if first.epoch == then.epoch => {
            then.xids.extend(&first.xids);
            then.xids.sort_unstable();
            then.xids.dedup();
            (then.xids.len() <= MOST_XIDS).then_some(then)
        }
        _ => None,
    };
    Rights { standing, by, ..then }
}

impl Outgoing {
    /// The key changed by this transaction; by many or an unknown one, where none is named.
    pub(super) fn stale(&mut self, number: WatchNumber, xid: Option<Xid>) {
        match self.stale.binary_search_by_key(&number, |lagging| lagging.number) {
            Ok(place) => self.stale[place].lag.add(xid),
            Err(place) => self.stale.insert(place, Lagging { number, lag: xid.map_or(Lag::Cursor, Lag::Xid) }),
        }
    }

    /// Whoever reads them again waits for a part of so many milliseconds.
    pub(super) fn spread(&mut self, milliseconds: u32) {
        self.spread = self.spread.max(milliseconds);
    }

    /// One was made then.
    pub(super) fn changed(&mut self, at: Option<Instant>) {
        self.since = self.since.min(at).or(self.since).or(at);
    }

    pub(super) fn take_since(&mut self) -> Option<Instant> {
        self.since.take()
    }

    pub(super) fn watching(&mut self, number: WatchNumber) {
        self.watching.push(number);
    }

    pub(super) fn refused(&mut self, refused: Refused) {
        self.refused.push(refused);
    }

    /// Goes together with what was to be told about the organization before.
    pub(super) fn rights(&mut self, rights: Rights) {
        match self.rights.iter_mut().find(|told| told.organization == rights.organization) {
            Some(told) => *told = after(told, rights),
            None => self.rights.push(rights),
        }
    }

    /// Past the bound it is left to the mutation's own answer, which says the same.
    pub(super) fn passed(&mut self, passed: Passed) {
        if self.passed.len() < MOST_PASSED && !self.passed.contains(&passed) {
            self.passed.push(passed);
        }
    }

    pub(super) fn close(&mut self, reason: Close) {
        self.close = Some(reason);
    }

    /// Nothing is said any more about a number whose watch has ended.
    pub(super) fn forget(&mut self, number: WatchNumber) {
        self.stale.retain(|lagging| lagging.number != number);
        self.watching.retain(|other| *other != number);
    }

    /// What there is to be told, where it is no more than stale keys: what many are told alike.
    pub(super) fn only_stale(&self) -> Option<Alike<'_>> {
        let Self { stale, watching, refused, rights, passed, close, spread, since: _ } = self;
        let is_all = watching.is_empty() && refused.is_empty() && rights.is_empty() && passed.is_empty();
        (is_all && close.is_none()).then_some(Alike { stale, spread: *spread })
    }

    /// They have been told.
    pub(super) fn clear_stale(&mut self) {
        self.stale.clear();
        self.spread = 0;
        self.stale.shrink_to(KEPT_ROOM);
    }

    /// The frames that tell it all; `heartbeat` makes the cursor news. Without a cursor the rest is kept for later. With
    /// a connection that ends nothing is said about keys: the cursor may be one of which their watches know nothing.
    pub(super) fn take_frames(&mut self, cursor: Option<Stamp>, heartbeat: bool) -> (Vec<ServerFrame>, Option<Close>) {
        let mut frames = Vec::new();
        if !self.rights.is_empty() {
            frames.push(ServerFrame::Rights { organizations: std::mem::take(&mut self.rights) });
        }
        if self.close.is_some() {
            return (frames, self.close);
        }
        let has_news =
            !self.stale.is_empty() || !self.watching.is_empty() || !self.refused.is_empty() || !self.passed.is_empty();
        if let Some(cursor) = cursor
            && (has_news || heartbeat)
        {
            frames.push(ServerFrame::Tick(Tick {
                cursor: cursor.snapshot,
                epoch: cursor.epoch,
                stale: self.stale.iter().map(Stale::from).collect(),
                watching: std::mem::take(&mut self.watching),
                refused: std::mem::take(&mut self.refused),
                mutations: std::mem::take(&mut self.passed),
                spread: self.spread,
            }));
            self.clear_stale();
        }
        (frames, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::OrganizationId;
    use crate::snapshot::Epoch;
    use crate::wire::By;
    use uuid::Uuid;

    #[test]
    fn what_was_lost_on_the_way_is_told_although_it_was_given_back() {
        use Standing::{Changed, Narrowed, Removed};
        let rights = |standing, xid| Rights {
            organization: OrganizationId(Uuid::nil()),
            standing,
            by: Some(By { xids: vec![Xid(xid)], epoch: Epoch(Uuid::nil()) }),
        };
        for (first, then, told) in [
            (Changed, Changed, Changed),
            (Changed, Narrowed, Narrowed),
            (Narrowed, Changed, Narrowed),
            (Removed, Changed, Narrowed),
            (Narrowed, Removed, Removed),
        ] {
            let mut outgoing = Outgoing::default();
            outgoing.rights(rights(first, 5));
            outgoing.rights(rights(then, 7));
            let by = Some(By { xids: vec![Xid(5), Xid(7)], epoch: Epoch(Uuid::nil()) });
            let organizations = vec![Rights { by, ..rights(told, 0) }];
            assert_eq!(
                outgoing.take_frames(None, false).0,
                [ServerFrame::Rights { organizations }],
                "{first:?}, {then:?}"
            );
        }
    }
}
