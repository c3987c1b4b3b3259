//! One event to 10,000 sockets; then ten events a second to all of them, and bursts that go several to a frame.

use crate::clock::Nanos;
use crate::crowd::{Crowd, List, Stamp};
use crate::report::{Report, Target, quantile};
use crate::sockets::{Opening, Sockets};
use crate::stage::{Processor, Stage};
use crate::writing::{self, Commit, Pace};
use crate::{Conditions, Outcome};
use sqlx::postgres::PgConnection;
use std::collections::HashMap;
use std::time::Duration;

const SOCKETS: usize = 10_000;
const KEYS: usize = 20;
const WRITERS: usize = 8;
const SINGLE: Duration = Duration::from_secs(10);
const ROUNDS: usize = 3;
const LONG: Duration = Duration::from_secs(8);
const DRAIN: Duration = Duration::from_secs(20);

pub(crate) async fn run(conditions: &Conditions) -> Outcome<Report> {
    let stage = Stage::open(&conditions.dist, &[]).await?;
    let mut owner = stage.owner().await?;
    let crowd = Crowd::gather(&mut owner, SOCKETS, KEYS).await?;
    let sockets = Sockets::new(stage.address, SOCKETS)?;
    let watch = crowd.watch(&crowd.orders, List::Not, &Stamp::now(&mut owner).await?);
    let openings = (0..SOCKETS).map(|socket| Opening {
        socket,
        cookie: crowd.people[socket].cookie(),
        watch: Some(watch.clone()),
    });
    sockets.open(openings.collect()).await?;
    sockets.until_watching(KEYS, Duration::from_secs(60)).await?;
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        writers.push(stage.owner().await?);
    }
    for (order, writer) in writers.iter_mut().enumerate() {
        writing::rename(writer, order, crowd.orders[order]).await?;
    }
    sockets.until("the first told", DRAIN, |heard| heard.told.len() >= WRITERS * SOCKETS).await?;

    let mut report = Report::default();
    let gap = Duration::from_millis(500);
    let single = Delivered::of(&sockets, &mut writers, &crowd, Pace { gap, burst: 1, long: SINGLE }).await?;
    report.row("one event to 10,000 sockets: commit answered to the frame, p50", Target::None, "ms", single.p50);
    report.row("    p99", Target::AtMost(65.0), "ms", single.p99);

    let before = Processor::now(&stage)?;
    let mut many = Vec::new();
    for _ in 0..ROUNDS {
        // A little more than the 100,000 a second that are to be reached.
        let pace = Pace { gap: Duration::from_millis(99), burst: 1, long: LONG };
        many.push(Delivered::of(&sockets, &mut writers, &crowd, pace).await?);
    }
    let column = |figure: fn(&Delivered) -> f64| many.iter().map(figure).collect::<Vec<_>>();
    report.row("10.1 events a second to each: frames", Target::AtLeast(100_000.0), "/s", column(|its| its.frames));
    report.row("    p99", Target::AtMost(75.0), "ms", column(|its| its.all_p99));
    let sent: f64 = many.iter().map(|its| its.sent).sum();
    let used = Processor::now(&stage)?.since(&before);
    for (whose, seconds) in [("the server", used.server), ("this bench", used.bench)] {
        let cost = vec![seconds * 1e6 / sent];
        report.row(format!("    processor time of {whose}, a frame"), Target::None, "µs", cost);
    }

    let mut bursts = Vec::new();
    for _ in 0..ROUNDS {
        let pace = Pace { gap: Duration::from_millis(198), burst: 4, long: LONG };
        bursts.push(Delivered::of(&sockets, &mut writers, &crowd, pace).await?);
    }
    let column = |figure: fn(&Delivered) -> f64| bursts.iter().map(figure).collect::<Vec<_>>();
    report.row("bursts of 4 commits: changes told", Target::AtLeast(200_000.0), "/s", column(|its| its.changes));
    report.row("    in frames", Target::None, "/s", column(|its| its.frames));
    report.row("    p99", Target::None, "ms", column(|its| its.all_p99));
    let frames = sockets.check_samples()?;
    report.note(format!("every commit was told to all {SOCKETS} sockets; {frames} frames were read again, fully"));
    Ok(report)
}

struct Delivered {
    /// Of each event.
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// Over all events and sockets.
    all_p99: f64,
    /// A second, from the first event's middle to the last one's.
    frames: f64,
    /// All frames.
    sent: f64,
    changes: f64,
}

impl Delivered {
    async fn of(sockets: &Sockets, writers: &mut [PgConnection], crowd: &Crowd, pace: Pace) -> Outcome<Self> {
        sockets.clear();
        let which = |turn: u64| (turn % KEYS as u64) as usize;
        let commits = writing::at_pace(writers, &crowd.orders, pace, which).await?;
        let expected = commits.len() * SOCKETS;
        let told = sockets.until("all commits told", DRAIN, |heard| heard.told.len() >= expected).await;
        let heard = sockets.heard();
        told.map_err(|why| format!("{why}; {} of {expected}", heard.told.len()))?;
        let by_xid: HashMap<u64, usize> = commits.iter().enumerate().map(|(at, commit)| (commit.xid, at)).collect();
        let mut delays: Vec<Vec<Nanos>> = vec![Vec::with_capacity(SOCKETS); commits.len()];
        let mut times = Vec::with_capacity(expected);
        for told in &heard.told {
            let at = *by_xid.get(&told.xid).ok_or_else(|| format!("{} was told, and not made here", told.xid))?;
            let commit: &Commit = &commits[at];
            if told.number as usize != commit.order {
                return Err(format!("{} was told of another order", told.xid).into());
            }
            delays[at].push(told.at.saturating_sub(commit.answered));
            times.push(told.at);
        }
        if delays.iter().any(|each| each.len() != SOCKETS) {
            return Err("a commit was told to some twice and to others not at all".into());
        }
        times.sort_unstable();
        // From the middle of the first event to that of the last: one event less than there were.
        let span = (times[times.len() - SOCKETS / 2] - times[SOCKETS / 2]) as f64 / 1e9;
        let ways = (times.len() - SOCKETS) as f64;
        let mut all = delays.concat();
        Ok(Self {
            p50: delays.iter_mut().map(|each| quantile(each, 0.5)).collect(),
            p99: delays.iter_mut().map(|each| quantile(each, 0.99)).collect(),
            all_p99: quantile(&mut all, 0.99),
            frames: heard.frames as f64 / times.len() as f64 * ways / span,
            changes: ways / span,
            sent: heard.frames as f64,
        })
    }
}
