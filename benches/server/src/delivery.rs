//! What became of events that everybody is told of: when each socket had each.

use crate::Outcome;
use crate::clock::Nanos;
use crate::report::quantile;
use crate::sockets::Sockets;
use std::collections::HashMap;
use std::time::Duration;

const DRAIN: Duration = Duration::from_secs(20);

/// What every socket is to be told once.
#[derive(Clone, Copy)]
pub(crate) struct Event {
    /// The watch number that its frames name.
    pub(crate) number: u32,
    /// The transaction that they name.
    pub(crate) xid: u64,
    /// From when on its time counts.
    pub(crate) since: Nanos,
}

pub(crate) struct Delivered {
    /// Of each event, in milliseconds.
    pub(crate) p50: Vec<f64>,
    pub(crate) p99: Vec<f64>,
    /// Until the first socket had it, and the last.
    pub(crate) first: Vec<f64>,
    pub(crate) last: Vec<f64>,
    /// Over all events and sockets.
    pub(crate) all_p99: f64,
    /// A second, from the first event's middle to the last one's.
    pub(crate) frames: f64,
    pub(crate) changes: f64,
    /// All frames.
    pub(crate) sent: f64,
    /// Of a frame's payload, in the mean.
    pub(crate) bytes: f64,
}

impl Delivered {
    /// Has the events made, and waits until each of the sockets was told of each.
    ///
    /// # Errors
    /// Where a socket was told of something else, of something twice, or not at all.
    pub(crate) async fn of(sockets: &Sockets, making: impl Future<Output = Outcome<Vec<Event>>>) -> Outcome<Self> {
        sockets.clear();
        let events = making.await?;
        let count = sockets.heard().sockets.len();
        let expected = events.len() * count;
        let told = sockets.until("all events told", DRAIN, |heard| heard.told.len() >= expected).await;
        let heard = sockets.heard();
        told.map_err(|why| format!("{why}; {} of {expected}", heard.told.len()))?;
        let by_xid: HashMap<u64, usize> = events.iter().enumerate().map(|(at, event)| (event.xid, at)).collect();
        let mut delays: Vec<Vec<Nanos>> = vec![Vec::with_capacity(count); events.len()];
        let mut times = Vec::with_capacity(expected);
        for told in &heard.told {
            let at = *by_xid.get(&told.xid).ok_or_else(|| format!("{} was told, and not made here", told.xid))?;
            if told.number != events[at].number {
                return Err(format!("{} was told of another order", told.xid).into());
            }
            delays[at].push(told.at.saturating_sub(events[at].since));
            times.push(told.at);
        }
        if delays.iter().any(|each| each.len() != count) {
            return Err("an event was told to some twice and to others not at all".into());
        }
        times.sort_unstable();
        // From the middle of the first event to that of the last: one event less than there were.
        let span = (times[times.len() - count / 2] - times[count / 2]) as f64 / 1e9;
        let ways = (times.len() - count) as f64;
        let mut all = delays.concat();
        let mut of_each = |part: f64| delays.iter_mut().map(|each| quantile(each, part)).collect();
        Ok(Self {
            p50: of_each(0.5),
            p99: of_each(0.99),
            first: of_each(0.0),
            last: of_each(1.0),
            all_p99: quantile(&mut all, 0.99),
            frames: heard.frames as f64 / times.len() as f64 * ways / span,
            changes: ways / span,
            sent: heard.frames as f64,
            bytes: heard.bytes as f64 / heard.frames as f64,
        })
    }
}
