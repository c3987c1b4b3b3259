//! What others would take for parts of it, in the same run: Node with ws and nginx with nchan for the way to the sockets,
//! `NOTIFY` for the feed. In rounds in which each has its turn alone, the server's first: peers send frames of its making.

use crate::audience::{Audience, Used};
use crate::delivery::Delivered;
use crate::frame::Pattern;
use crate::lab::{LIVE, LONG, Lab, PLAIN, WRITERS, Write};
use crate::notify::{self, Listening, NOTIFYING};
use crate::peer::{self, Installed};
use crate::report::{Report, Target};
use crate::scenarios::latency::{Latencies, Watched};
use crate::scenarios::{commits, fanout, memory};
use crate::stage::Stage;
use crate::{Conditions, Outcome};
use std::time::Duration;

const ROUNDS: usize = 3;
const HEARD: Duration = Duration::from_secs(20);

pub(crate) async fn run(conditions: &Conditions) -> Outcome<Report> {
    let (peers, missing) = peer::installed();
    let mut report = Report::default();
    missing.into_iter().for_each(|line| report.note(line));
    let mut sides = vec![Side::new(None)];
    sides.extend(peers.into_iter().map(|peer| Side::new(Some(peer))));
    fan_out(conditions, &mut sides, &mut report).await?;
    idle(conditions, &mut sides, &mut report).await?;
    writes(conditions, &mut report).await?;
    way_of_a_commit(conditions, &mut report).await?;
    report.note(
        "time begins for the server when PostgreSQL has answered the writer, for a peer when the publisher's request is sent; \
         of a peer all processes count, of the server its own without PostgreSQL's",
    );
    Ok(report)
}

/// The server, or a peer in its place, and what its rounds came to.
struct Side {
    name: String,
    peer: Option<Installed>,
    rounds: Vec<Round>,
    kib: Vec<f64>,
}

struct Round {
    single: Delivered,
    sustained: Delivered,
    /// Meanwhile, in microseconds a frame.
    cost: Used,
}

impl Side {
    fn new(peer: Option<Installed>) -> Self {
        let name = peer.as_ref().map_or_else(|| "Millstream".to_owned(), |peer| peer.name.clone());
        Self { name, peer, rounds: Vec::new(), kib: Vec::new() }
    }

    /// Opens ten thousand sockets. `pattern` is what peers send, and is made by the server.
    async fn audience(&self, conditions: &Conditions, pattern: Option<&Pattern>) -> Outcome<Audience> {
        match &self.peer {
            None => Audience::of_server(conditions).await,
            Some(peer) => {
                let pattern = pattern.ok_or("the server's turn is the first")?;
                Audience::of_peer(peer.start().await?, pattern.clone()).await
            }
        }
    }

    fn each(&self, figure: impl Fn(&Round) -> f64) -> Vec<f64> {
        self.rounds.iter().map(figure).collect()
    }

    /// Of each event, over all rounds.
    fn events(&self, figure: fn(&Delivered) -> &Vec<f64>) -> Vec<f64> {
        self.rounds.iter().flat_map(|round| figure(&round.single)).copied().collect()
    }
}

/// Has each side take its turn in each round; who begins changes, but for the first round, which the first side begins.
fn turns(sides: usize) -> impl Iterator<Item = usize> {
    (0..ROUNDS).flat_map(move |round| (0..sides).map(move |turn| (round + turn) % sides))
}

async fn fan_out(conditions: &Conditions, sides: &mut [Side], report: &mut Report) -> Outcome {
    let mut pattern = None;
    let mut again = 0;
    for turn in turns(sides.len()) {
        let side = &mut sides[turn];
        let mut audience = side.audience(conditions, pattern.as_ref()).await?;
        let single = audience.delivered(fanout::SINGLE).await?;
        if pattern.is_none() {
            pattern = Some(audience.pattern()?);
        }
        let before = audience.used()?;
        let sustained = audience.delivered(fanout::SUSTAINED).await?;
        let cost = audience.used()?.since(&before).a_piece(sustained.sent);
        again += audience.check_samples()?;
        side.rounds.push(Round { single, sustained, cost });
    }
    for side in &*sides {
        report.row(
            format!("one event to 10,000 sockets, p50: {}", side.name),
            Target::None,
            "ms",
            side.events(|its| &its.p50),
        );
        report.row("    p99", Target::None, "ms", side.events(|its| &its.p99));
        report.row("    until the first has it", Target::None, "ms", side.events(|its| &its.first));
        report.row("    until the last has it", Target::None, "ms", side.events(|its| &its.last));
    }
    for side in &*sides {
        report.row(
            format!("10.1 events a second to each, told: {}", side.name),
            Target::None,
            "/s",
            side.each(|its| its.sustained.changes),
        );
        report.row("    in frames", Target::None, "/s", side.each(|its| its.sustained.frames));
        report.row("    p99", Target::None, "ms", side.each(|its| its.sustained.all_p99));
        report.row("    its processor time, a frame", Target::None, "µs", side.each(|its| its.cost.teller));
        report.row("    of this bench", Target::None, "µs", side.each(|its| its.cost.bench));
        report.row("    a frame's payload", Target::None, "bytes", side.each(|its| its.sustained.bytes));
    }
    report.note(format!("every event was told to all sockets once; {again} frames were read again, fully"));
    Ok(())
}

async fn idle(conditions: &Conditions, sides: &mut [Side], report: &mut Report) -> Outcome {
    for turn in turns(sides.len()) {
        let side = &mut sides[turn];
        let grown = match &side.peer {
            None => memory::grown(conditions, memory::KEYS, &mut []).await?,
            Some(peer) => memory::grown_at_peer(&peer.start().await?).await?,
        };
        side.kib.push(grown);
    }
    for side in &*sides {
        let what = format!("resident memory a connection, of {}: {}", memory::SOCKETS, side.name);
        report.row(what, Target::None, "KiB", side.kib.clone());
    }
    report.note(format!("each connection to the server watches {} records, of the peers' none anything", memory::KEYS));
    Ok(())
}

/// Durable commits without a trigger, with ours, and with one that notifies.
async fn writes(conditions: &Conditions, report: &mut Report) -> Outcome {
    let stage = Stage::open(&conditions.dist, &[]).await?;
    let mut lab = Lab::open(&stage, &[PLAIN, LIVE, NOTIFYING]).await?;
    notify::install(&mut lab.owner).await?;
    notify::tell_of(&mut lab.owner, NOTIFYING).await?;
    let listening = Listening::begin(stage.options()?).await?;
    let mut heard = 0;
    for (write, what) in [(Write::Insert, "one insert"), (Write::Update, "one update")] {
        let arms = lab.rounds(&stage, write).await?;
        for (arm, whose) in [(1, "the event table and the feed"), (2, "NOTIFY and a listener")] {
            let title = format!("{what} a transaction, with {whose}, of those without");
            report.row(title, Target::None, "%", commits::part_of(&arms[arm], &arms[0]));
        }
        for (arm, whose) in arms.iter().zip(["without", "event table and feed", "NOTIFY and listener"]) {
            commits::rows(report, whose, arm);
        }
        let count = lab.written(NOTIFYING) - heard;
        heard += listening.take(count, HEARD).await?.len();
    }
    lab.check().await?;
    report.note(format!(
        "{WRITERS} writers, rounds of {LONG:?} in turns; the listener is a thread of this bench, which heard of all {heard}"
    ));
    Ok(())
}

/// From a commit to those who are to know of it: our frames on a thousand sockets, or the listener.
async fn way_of_a_commit(conditions: &Conditions, report: &mut Report) -> Outcome {
    let mut watched = Watched::open(conditions).await?;
    let listening = watched.listen().await?;
    let (mut fed, mut notified) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        if round % 2 == 0 {
            fed.push(watched.told_by_feed().await?);
        }
        notified.push(watched.told_by_notify(&listening).await?);
        if round % 2 == 1 {
            fed.push(watched.told_by_feed().await?);
        }
    }
    for (whose, rounds) in [("the feed, to the frame of each of ten", &fed), ("NOTIFY, to the listener", &notified)] {
        let column = |figure: fn(&Latencies) -> f64| rounds.iter().map(figure).collect::<Vec<_>>();
        report.row(format!("commits of another process a second: {whose}"), Target::None, "/s", column(|its| its.rate));
        report.row("    from the commit, p50", Target::None, "ms", column(|its| its.commit.0));
        report.row("                     p99", Target::None, "ms", column(|its| its.commit.1));
        report.row("    from its answer, p50", Target::None, "ms", column(|its| its.answer.0));
        report.row("                     p99", Target::None, "ms", column(|its| its.answer.1));
    }
    Ok(())
}
