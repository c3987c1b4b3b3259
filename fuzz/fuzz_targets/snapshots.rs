//! Snapshots: the feed's cursor, and half of every stamp.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use millstream::snapshot::{Snapshot, Xid};

#[derive(Arbitrary, Debug)]
struct Read<'a> {
    one: &'a str,
    other: Running,
    xids: Vec<u64>,
}

/// One that PostgreSQL could give.
#[derive(Arbitrary, Debug)]
struct Running {
    xmin: u64,
    gaps: Vec<u8>,
    beyond: u8,
}

impl Running {
    fn snapshot(&self) -> Snapshot {
        let mut last = self.xmin;
        let mut running = Vec::new();
        for gap in &self.gaps {
            let Some(xid) = last.checked_add(u64::from(*gap) + 1) else { break };
            running.push(xid.to_string());
            last = xid;
        }
        let xmax = last.saturating_add(1).saturating_add(u64::from(self.beyond));
        // The last possible transaction id cannot be running: it would not lie below xmax.
        if last == u64::MAX {
            running.pop();
        }
        let text = format!("{}:{xmax}:{}", self.xmin, running.join(","));
        text.parse().unwrap_or_else(|why| panic!("{why}"))
    }
}

fuzz_target!(|read: Read| {
    let other = read.other.snapshot();
    let one = match read.one.parse::<Snapshot>() {
        Ok(one) => {
            assert_eq!(one.to_string(), read.one, "a snapshot has one text");
            one
        }
        Err(why) => {
            assert!(why.to_string().contains("is no snapshot"));
            other.clone()
        }
    };
    let met = one.meet(&other);
    assert_eq!(met, other.meet(&one));
    assert_eq!(met.to_string().parse::<Snapshot>().as_ref(), Ok(&met));
    assert!(one.covers(&one) && !one.is_newer_than(&one));
    assert!(!(one.is_newer_than(&other) && other.is_newer_than(&one)));
    let edges = [one.xmin(), one.xmax(), other.xmin(), other.xmax()].into_iter();
    let all = edges.chain(read.xids.into_iter().map(Xid)).chain(one.running().to_vec());
    for xid in all {
        assert_eq!(met.sees(xid), one.sees(xid) && other.sees(xid), "{xid:?} in {one} and {other}");
        // What sees all before it sees each before it.
        if one.sees_all_before(xid) {
            assert!(xid.0 == 0 || one.sees(Xid(xid.0 - 1)), "{xid:?} in {one}");
        }
    }
});
