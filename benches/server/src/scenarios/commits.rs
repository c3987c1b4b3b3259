//! What the change trigger costs: durable commits of 32 writers into a live table, and into the same table without it. And
//! into one with the least trigger that keeps word of a change, which says how much of that is ours.

use crate::lab::{Arm, LIVE, LONG, Lab, PLAIN, WRITERS, Write};
use crate::report::{Report, Target};
use crate::stage::Stage;
use crate::{Conditions, Outcome};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

/// With a trigger that notes which row changed in which transaction, where that can be found again, and nothing more.
const LEAST: &str = "lab_least";

pub(crate) async fn run(conditions: &Conditions) -> Outcome<Report> {
    let stage = Stage::open(&conditions.dist, &[]).await?;
    let tables = [(PLAIN, "without"), (LEAST, "with the least trigger"), (LIVE, "with")];
    let mut lab = Lab::open(&stage, &tables.map(|(table, _)| table)).await?;
    install_least(&mut lab.owner).await?;
    let mut report = Report::default();
    for (write, what) in [(Write::Insert, "one insert"), (Write::Update, "one update")] {
        let arms = lab.rounds(&stage, write).await?;
        report.row(
            format!("{what} a transaction, with the trigger, of those without"),
            Target::AtLeast(72.0),
            "%",
            part_of(&arms[2], &arms[0]),
        );
        report.row("    with the least trigger, of those without", Target::None, "%", part_of(&arms[1], &arms[0]));
        for ((_, whose), arm) in tables.iter().zip(&arms).rev() {
            rows(&mut report, whose, arm);
        }
    }
    lab.check().await?;
    report
        .note(format!("{WRITERS} writers, rounds of {LONG:?} in turns; the server runs and its feed reads the events"));
    Ok(report)
}

async fn install_least(owner: &mut PgConnection) -> Outcome {
    let sql = format!(
        "create table lab_words (xid xid8 not null default pg_current_xact_id(), record_id uuid not null);
         create index on lab_words (xid);
         create function lab_least() returns trigger language plpgsql as $$
         begin
           insert into lab_words (record_id) values (new.id);
           return null;
         end
         $$;
         create trigger lab_least after insert or update on {LEAST} for each row execute function lab_least()"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(owner).await?;
    Ok(())
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
