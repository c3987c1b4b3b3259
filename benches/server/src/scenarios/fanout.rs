//! One event to 10,000 sockets; then ten events a second to all of them, and bursts that go several to a frame.

use crate::audience::{Audience, SOCKETS};
use crate::delivery::Delivered;
use crate::report::{Report, Target};
use crate::writing::Pace;
use crate::{Conditions, Outcome};
use std::time::Duration;

/// One event at a time, twenty of them.
pub(crate) const SINGLE: Pace = Pace { gap: Duration::from_millis(500), burst: 1, long: Duration::from_secs(10) };
const LONG: Duration = Duration::from_secs(8);
/// A little more than the 100,000 frames a second that are to be reached.
pub(crate) const SUSTAINED: Pace = Pace { gap: Duration::from_millis(99), burst: 1, long: LONG };
const BURSTS: Pace = Pace { gap: Duration::from_millis(198), burst: 4, long: LONG };
const ROUNDS: usize = 3;

pub(crate) async fn run(conditions: &Conditions) -> Outcome<Report> {
    let mut audience = Audience::of_server(conditions).await?;
    let mut report = Report::default();
    let single = audience.delivered(SINGLE).await?;
    report.row("one event to 10,000 sockets: commit answered to the frame, p50", Target::None, "ms", single.p50);
    report.row("    p99", Target::AtMost(65.0), "ms", single.p99);

    let before = audience.used()?;
    let mut many = Vec::new();
    for _ in 0..ROUNDS {
        many.push(audience.delivered(SUSTAINED).await?);
    }
    let column = |figure: fn(&Delivered) -> f64| many.iter().map(figure).collect::<Vec<_>>();
    report.row("10.1 events a second to each: frames", Target::AtLeast(100_000.0), "/s", column(|its| its.frames));
    report.row("    p99", Target::AtMost(75.0), "ms", column(|its| its.all_p99));
    let sent: f64 = many.iter().map(|its| its.sent).sum();
    let cost = audience.used()?.since(&before).a_piece(sent);
    for (whose, micros) in [("the server", cost.teller), ("this bench", cost.bench)] {
        report.row(format!("    processor time of {whose}, a frame"), Target::None, "µs", vec![micros]);
    }

    let mut bursts = Vec::new();
    for _ in 0..ROUNDS {
        bursts.push(audience.delivered(BURSTS).await?);
    }
    let column = |figure: fn(&Delivered) -> f64| bursts.iter().map(figure).collect::<Vec<_>>();
    report.row("bursts of 4 commits: changes told", Target::AtLeast(200_000.0), "/s", column(|its| its.changes));
    report.row("    in frames", Target::None, "/s", column(|its| its.frames));
    report.row("    p99", Target::None, "ms", column(|its| its.all_p99));
    let frames = audience.check_samples()?;
    report.note(format!("every commit was told to all {SOCKETS} sockets; {frames} frames were read again, fully"));
    Ok(report)
}
