//! What the change trigger costs: durable commits of 32 writers into a live table, and into the same table without it.

use crate::lab::{Arm, LIVE, LONG, Lab, PLAIN, WRITERS, Write};
use crate::report::{Report, Target};
use crate::stage::Stage;
use crate::{Conditions, Outcome};

pub(crate) async fn run(conditions: &Conditions) -> Outcome<Report> {
    let stage = Stage::open(&conditions.dist, &[]).await?;
    let tables = [(PLAIN, "without"), (LIVE, "with")];
    let mut lab = Lab::open(&stage, &tables.map(|(table, _)| table)).await?;
    let mut report = Report::default();
    for (write, what) in [(Write::Insert, "one insert"), (Write::Update, "one update")] {
        let arms = lab.rounds(&stage, write).await?;
        report.row(
            format!("{what} a transaction, with the trigger, of those without"),
            Target::AtLeast(72.0),
            "%",
            part_of(&arms[1], &arms[0]),
        );
        for ((_, whose), arm) in tables.iter().zip(&arms).rev() {
            rows(&mut report, whose, arm);
        }
    }
    lab.check().await?;
    report
        .note(format!("{WRITERS} writers, rounds of {LONG:?} in turns; the server runs and its feed reads the events"));
    Ok(report)
}

/// Commits a second of these rounds, in percent of those.
pub(crate) fn part_of(these: &[Arm], those: &[Arm]) -> Vec<f64> {
    these.iter().zip(those).map(|(this, that)| 100.0 * this.rate / that.rate).collect()
}

pub(crate) fn rows(report: &mut Report, whose: &str, arm: &[Arm]) {
    let column = |figure: fn(&Arm) -> f64| arm.iter().map(figure).collect::<Vec<_>>();
    report.row(format!("    {whose}"), Target::None, "/s", column(|its| its.rate));
    report.row("        processor time a commit, of PostgreSQL", Target::None, "µs", column(|its| its.postgres));
    report.row("        of the server", Target::None, "µs", column(|its| its.server));
    report.row("        of this bench", Target::None, "µs", column(|its| its.bench));
}
