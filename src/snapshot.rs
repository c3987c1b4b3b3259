//! The clock of the whole system: transaction ids, snapshots and epochs, as PostgreSQL keeps them.
//! Pure; its agreement with the database is tested in `server/tests/feed.rs` against `pg_visible_in_snapshot`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// A top-level transaction id (`xid8`), unique within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Xid(pub u64);

/// One uninterrupted life of the database. Xids and snapshots of different epochs cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub Uuid);

/// Which transactions a read could see: `pg_snapshot`, written `xmin:xmax:xip,…`.
///
/// Below `xmin` all are finished, from `xmax` on none is, and those of `xip` between them were still running.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    xmin: Xid,
    xmax: Xid,
    xip: Vec<Xid>, // ascending, each in xmin..xmax
}

impl Snapshot {
    /// Whether a read in this snapshot saw what the transaction did, had it committed.
    pub fn sees(&self, xid: Xid) -> bool {
        xid < self.xmin || (xid < self.xmax && self.xip.binary_search(&xid).is_err())
    }

    /// Whether this snapshot was taken later than the other of the same epoch: the greater `xmax`, then fewer
    /// running. (A snapshot that is neither newer nor older has seen the same.)
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.xmax, std::cmp::Reverse(self.xip.len())) > (other.xmax, std::cmp::Reverse(other.xip.len()))
    }

    /// Whether everything that `other` sees is seen here too.
    pub fn covers(&self, other: &Self) -> bool {
        self == other || self.is_newer_than(other)
    }

    /// Whether every transaction before this one had finished: none of them can turn up later. Not the same as
    /// `xid <= xmin`, which counts ids that nobody was running.
    pub fn sees_all_before(&self, xid: Xid) -> bool {
        self.xmax >= xid && self.xip.first().is_none_or(|oldest| *oldest >= xid)
    }

    /// What both see, and no more.
    pub fn meet(&self, other: &Self) -> Self {
        let xmax = self.xmax.min(other.xmax);
        let mut xip: Vec<_> = self.xip.iter().chain(&other.xip).copied().filter(|xid| *xid < xmax).collect();
        xip.sort_unstable();
        xip.dedup();
        Self { xmin: self.xmin.min(other.xmin), xmax, xip }
    }

    /// The oldest transaction that may still have been running: all below are seen.
    pub fn xmin(&self) -> Xid {
        self.xmin
    }

    /// The first transaction id not yet given out.
    pub fn xmax(&self) -> Xid {
        self.xmax
    }

    /// The transactions that were running, ascending.
    pub fn running(&self) -> &[Xid] {
        &self.xip
    }
}

/// Why a text is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no snapshot; expected xmin:xmax:xip,… as pg_current_snapshot() writes it")]
pub struct NoSnapshot(String);

impl FromStr for Snapshot {
    type Err = NoSnapshot;

    fn from_str(text: &str) -> Result<Self, NoSnapshot> {
        let refuse = || NoSnapshot(text.chars().take(80).collect());
        // As PostgreSQL writes them: a snapshot has one text, and is compared by it where it is not read.
        let xid = |part: &str| {
            let is_plain = part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
            part.parse().ok().filter(|_| is_plain).map(Xid).ok_or_else(refuse)
        };
        let mut parts = text.split(':');
        let (Some(xmin), Some(xmax), Some(running), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(refuse());
        };
        let (xmin, xmax) = (xid(xmin)?, xid(xmax)?);
        let running = if running.is_empty() { None } else { Some(running.split(',')) };
        let xip = running.into_iter().flatten().map(xid).collect::<Result<Vec<_>, _>>()?;
        let in_order = xip.windows(2).all(|pair| pair[0] < pair[1]);
        let in_bounds = xmin <= xmax && xip.iter().all(|xid| (xmin..xmax).contains(xid));
        if in_order && in_bounds { Ok(Self { xmin, xmax, xip }) } else { Err(refuse()) }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}:{}:", self.xmin.0, self.xmax.0)?;
        for (place, xid) in self.xip.iter().enumerate() {
            write!(to, "{}{}", if place > 0 { "," } else { "" }, xid.0)?;
        }
        Ok(())
    }
}

impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Snapshot {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// When a value was read: what every answer, cached value and frame carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub snapshot: Snapshot,
    pub epoch: Epoch,
}

impl Stamp {
    /// Whether a value of this stamp holds what the transaction did. Of another epoch, nothing is known: it does not.
    pub fn sees(&self, xid: Xid, epoch: Epoch) -> bool {
        self.epoch == epoch && self.snapshot.sees(xid)
    }

    /// Whether this stamp holds at least what the other does. Never so across epochs.
    pub fn covers(&self, other: &Stamp) -> bool {
        self.epoch == other.epoch && self.snapshot.covers(&other.snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        text.parse().expect(text)
    }

    #[test]
    fn sees_what_was_finished_and_nothing_that_ran_or_came_later() {
        let taken = snapshot("10:20:12,15");
        let seen: Vec<u64> = (8..23).filter(|xid| taken.sees(Xid(*xid))).collect();
        assert_eq!(seen, [8, 9, 10, 11, 13, 14, 16, 17, 18, 19]);
    }

    #[test]
    fn sees_all_before_what_ran_and_what_came_later() {
        let taken = snapshot("10:20:12,15");
        let all: Vec<u64> = (8..23).filter(|xid| taken.sees_all_before(Xid(*xid))).collect();
        assert_eq!(all, [8, 9, 10, 11, 12]);
        assert!(snapshot("10:20:").sees_all_before(Xid(20)) && !snapshot("10:20:").sees_all_before(Xid(21)));
    }

    #[test]
    fn newer_is_the_greater_xmax_then_the_fewer_running() {
        assert!(snapshot("10:21:12").is_newer_than(&snapshot("10:20:12")));
        assert!(snapshot("10:20:12").is_newer_than(&snapshot("10:20:12,15")));
        assert!(!snapshot("10:20:12").is_newer_than(&snapshot("10:20:12")));
        assert!(snapshot("10:20:12").covers(&snapshot("10:20:12")));
        assert!(!snapshot("10:20:12,15").covers(&snapshot("10:20:12")));
    }

    #[test]
    fn two_snapshots_meet_in_what_both_see() {
        for (one, other) in
            [("10:20:12,15", "14:18:16"), ("10:20:12", "30:40:35"), ("5:5:", "1:9:3,7"), ("4:8:5", "4:8:6")]
        {
            let (one, other) = (snapshot(one), snapshot(other));
            let met = one.meet(&other);
            assert_eq!(met, other.meet(&one));
            assert_eq!(snapshot(&met.to_string()), met, "it can be read back");
            for xid in (0..45).map(Xid) {
                assert_eq!(met.sees(xid), one.sees(xid) && other.sees(xid), "{xid:?} in {one} and {other}");
            }
        }
    }

    #[test]
    fn is_written_as_postgres_writes_it() {
        for text in ["10:20:12,15", "7:7:", "1:18446744073709551615:1"] {
            assert_eq!(snapshot(text).to_string(), text);
            assert_eq!(serde_json::from_str::<Snapshot>(&format!("{text:?}")).expect(text).to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_no_snapshot() {
        for text in [
            "", "1:2", "2:1:", "1:5:5", "1:5:0", "1:5:3,2", "1:5:2,2", "a:b:", "1:2::", "-1:2:", "1:9:2,x", "1:9:2,",
            "1:9:,2", "+1:9:", "1:09:", "01:9:",
        ] {
            assert!(text.parse::<Snapshot>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn stamps_of_different_epochs_know_nothing_of_each_other() {
        let stamp = |epoch| Stamp { snapshot: snapshot("10:20:"), epoch: Epoch(Uuid::from_u128(epoch)) };
        assert!(stamp(1).sees(Xid(9), Epoch(Uuid::from_u128(1))));
        assert!(!stamp(1).sees(Xid(9), Epoch(Uuid::from_u128(2))));
        assert!(stamp(1).covers(&stamp(1)) && !stamp(1).covers(&stamp(2)));
    }
}
