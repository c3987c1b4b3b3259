//! What the change trigger costs: durable commits of 32 writers into a live table, and into the same table without it.

use crate::report::{Report, Target};
use crate::stage::{Processor, Stage};
use crate::{Conditions, Outcome};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

const WRITERS: usize = 32;
const ROUNDS: usize = 5;
const LONG: Duration = Duration::from_secs(3);
/// Rows that are there to be updated, so many for each writer: nobody waits for another's row.
const ROWS: usize = 300;

#[derive(Clone, Copy)]
enum Write {
    Insert,
    Update,
}

pub(crate) async fn run(conditions: &Conditions) -> Outcome<Report> {
    let stage = Stage::open(&conditions.dist, &[]).await?;
    let mut owner = stage.owner().await?;
    let customers: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    for table in ["lab_live", "lab_plain"] {
        // As a table of the product: an index for its list and one for its filter.
        let sql = format!(
            "create table {table} (id uuid primary key, organization_id uuid not null, status text not null,
               customer_id uuid not null, title text not null, updated_at timestamptz not null default now());
             create index on {table} (organization_id, updated_at desc, id desc);
             create index on {table} (organization_id, customer_id);"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut owner).await?;
    }
    sqlx::raw_sql("select millstream.make_live('lab_live', facets => '{status,customer_id}')")
        .execute(&mut owner)
        .await?;
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let rows: Vec<Uuid> = (0..ROWS).map(|_| Uuid::now_v7()).collect();
        writers.push(Writer { connection: stage.owner().await?, organization: Uuid::now_v7(), rows, turn: 0 });
    }
    for writer in &mut writers {
        for table in ["lab_live", "lab_plain"] {
            let sql = format!(
                "insert into {table} (id, organization_id, status, customer_id, title)
                 select id, $1, 'draft', $2, 'A row' from unnest($3::uuid[]) as id"
            );
            sqlx::query(AssertSqlSafe(sql))
                .bind(writer.organization)
                .bind(customers[0])
                .bind(&writer.rows)
                .execute(&mut writer.connection)
                .await?;
        }
    }

    let mut report = Report::default();
    for (write, what) in [(Write::Insert, "one insert"), (Write::Update, "one update")] {
        let (mut live, mut plain, mut part) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            // In turns, and who begins changes too: what the disk does by the way then meets both.
            let (first, second) = if round % 2 == 0 { ("lab_plain", "lab_live") } else { ("lab_live", "lab_plain") };
            let one = commits(&stage, &mut writers, first, write, &customers).await?;
            let other = commits(&stage, &mut writers, second, write, &customers).await?;
            let (with, without) = if round % 2 == 0 { (other, one) } else { (one, other) };
            if round > 0 {
                part.push(100.0 * with.rate / without.rate);
                live.push(with);
                plain.push(without);
            }
        }
        report.row(
            format!("{what} a transaction, with the trigger, of those without"),
            Target::AtLeast(72.0),
            "%",
            part,
        );
        for (whose, arm) in [("with", live), ("without", plain)] {
            let column = |figure: fn(&Arm) -> f64| arm.iter().map(figure).collect::<Vec<_>>();
            report.row(format!("    {whose}"), Target::None, "/s", column(|its| its.rate));
            report.row(
                "        processor time a commit, of PostgreSQL",
                Target::None,
                "µs",
                column(|its| its.postgres),
            );
            report.row("        of the server", Target::None, "µs", column(|its| its.server));
            report.row("        of this bench", Target::None, "µs", column(|its| its.bench));
        }
    }
    // A trigger that wrote nothing would be quick.
    let (rows, told): (i64, i64) = sqlx::query_as(
        "select (select count(*) from lab_live), (select count(*) from realtime_table_events
          where table_name = 'lab_live' and event_type = 'INSERT')",
    )
    .fetch_one(&mut owner)
    .await?;
    if rows != told {
        return Err(format!("{rows} rows were inserted, {told} told").into());
    }
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let value: String =
            sqlx::query_scalar("select current_setting($1)").bind(setting).fetch_one(&mut owner).await?;
        if value != "on" {
            return Err(format!("{setting} is {value}: these commits are not durable").into());
        }
    }
    report
        .note(format!("{WRITERS} writers, rounds of {LONG:?} in turns; the server runs and its feed reads the events"));
    Ok(report)
}

struct Writer {
    connection: PgConnection,
    organization: Uuid,
    rows: Vec<Uuid>,
    turn: usize,
}

/// What a round came to: commits a second, and microseconds of processor time that each took.
struct Arm {
    rate: f64,
    postgres: f64,
    server: f64,
    bench: f64,
}

/// A round of all writers together.
async fn commits(stage: &Stage, writers: &mut [Writer], table: &str, write: Write, customers: &[Uuid]) -> Outcome<Arm> {
    let before = Processor::now(stage)?;
    let began = Instant::now();
    let done =
        futures::future::try_join_all(writers.iter_mut().map(|writer| writer.run(table, write, customers, began)));
    let commits = done.await?.iter().sum::<usize>() as f64;
    let rate = commits / began.elapsed().as_secs_f64();
    let used = Processor::now(stage)?.since(&before);
    let a_commit = |seconds: f64| seconds * 1e6 / commits;
    Ok(Arm { rate, postgres: a_commit(used.postgres), server: a_commit(used.server), bench: a_commit(used.bench) })
}

impl Writer {
    async fn run(&mut self, table: &str, write: Write, customers: &[Uuid], began: Instant) -> Outcome<usize> {
        let sql = match write {
            Write::Insert => format!(
                "insert into {table} (id, organization_id, status, customer_id, title) values ($1, $2, 'draft', $3, $4)"
            ),
            Write::Update => format!(
                "update {table} set status = 'released', customer_id = $3, title = $4, updated_at = clock_timestamp()
                 where id = $1 and organization_id = $2"
            ),
        };
        let mut done = 0;
        while began.elapsed() < LONG {
            self.turn += 1;
            let id = match write {
                Write::Insert => Uuid::now_v7(),
                Write::Update => self.rows[self.turn % self.rows.len()],
            };
            let changed = sqlx::query(AssertSqlSafe(sql.as_str()))
                .bind(id)
                .bind(self.organization)
                .bind(customers[self.turn % customers.len()])
                .bind(format!("Title {}", self.turn))
                .execute(&mut self.connection)
                .await?;
            if changed.rows_affected() != 1 {
                return Err(format!("a write into {table} changed {} rows", changed.rows_affected()).into());
            }
            done += 1;
        }
        Ok(done)
    }
}
