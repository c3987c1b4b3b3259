//! What a step of the feed costs by the size of the event table: with nothing new, and with a hundred events. The feed's own code and
//! statement, over a PostgreSQL that nobody else uses meanwhile.

use crate::report::{Report, Target};
use crate::stage::Stage;
use crate::{Conditions, Outcome};
use millstream::feed::{CONNECTION_SETTINGS, Feed};
use sqlx::postgres::{PgConnection, PgPoolOptions};
use std::time::{Duration, Instant};

/// So many events lie in the table.
const SIZES: [i64; 3] = [0, 1_000_000, 10_000_000];
/// Whole days that they are of, before today: as many as are kept.
const DAYS: i32 = 7;
/// Events a transaction, of those.
const TOGETHER: i64 = 4;
const NEW: i64 = 100;
const ROUNDS: usize = 5;
const STEPS: usize = 200;
const STEPS_WITH_EVENTS: usize = 40;
/// Steps before any is measured: connections and plans are there then.
const FIRST: usize = 50;

pub(crate) async fn run(conditions: &Conditions) -> Outcome<Report> {
    let mut stage = Stage::open(&conditions.dist, &[("max_wal_size", "'1GB'"), ("autovacuum", "off")]).await?;
    // Its PostgreSQL goes on; its feed would be measured along.
    stage.kill()?;
    let mut owner = stage.owner().await?;
    make_days(&mut owner).await?;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_with(stage.options()?.username("millstream_feed").options(CONNECTION_SETTINGS))
        .await?;
    let mut report = Report::default();
    let mut there = 0;
    for size in SIZES {
        fill(&mut owner, size - there).await?;
        there = size;
        let mut feed = Feed::new(pool.clone());
        for _ in 0..FIRST {
            feed.step().await?;
        }
        let (mut still, mut quiet, mut busy) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            quiet.push(median_of_steps(&mut feed, STEPS, &mut owner, Meanwhile::Elsewhere).await?);
            // The first step after a transaction has to look.
            feed.step().await?;
            still.push(median_of_steps(&mut feed, STEPS, &mut owner, Meanwhile::Nothing).await?);
            busy.push(median_of_steps(&mut feed, STEPS_WITH_EVENTS, &mut owner, Meanwhile::Events(NEW)).await?);
        }
        let table = match size {
            0 => "an empty event table".to_owned(),
            some => format!("{} million events", some / 1_000_000),
        };
        report.row(format!("a step over {table}, the database still"), Target::None, "µs", still);
        report.row("    a transaction has ended, with no event", Target::None, "µs", quiet);
        report.row(format!("    with {NEW} new events"), Target::None, "µs", busy);
    }
    let (bytes, partitions): (i64, i64) = sqlx::query_as(
        "select sum(pg_total_relation_size(inhrelid))::bigint, count(*) from pg_inherits
         where inhparent = 'public.realtime_table_events'::regclass",
    )
    .fetch_one(&mut owner)
    .await?;
    report.note(format!(
        "each figure is the median of {STEPS} steps ({STEPS_WITH_EVENTS} with events), in {ROUNDS} rounds; {partitions} partitions, {:.1} GB at the end",
        bytes as f64 / 1e9
    ));
    Ok(report)
}

/// The partitions of the days before today, which no server makes afterwards.
async fn make_days(owner: &mut PgConnection) -> Outcome {
    for days_ago in 1..=DAYS {
        sqlx::query("select set_config('bench.days_ago', $1, false)")
            .bind(days_ago.to_string())
            .execute(&mut *owner)
            .await?;
        sqlx::raw_sql(
            "do $$
             declare day date := (now() at time zone 'utc')::date - current_setting('bench.days_ago')::integer;
             begin
               execute format('create table public.%I partition of public.realtime_table_events for values from (%L) to (%L)',
                 'realtime_table_events_' || to_char(day, 'YYYYMMDD'), day::timestamp at time zone 'utc', (day + 1)::timestamp at time zone 'utc');
             end
             $$",
        )
        .execute(&mut *owner)
        .await?;
    }
    Ok(())
}

/// Adds events of transactions that were: their ids are given out first, so that they lie behind the feed's cursor.
async fn fill(owner: &mut PgConnection, events: i64) -> Outcome {
    if events == 0 {
        return Ok(());
    }
    sqlx::query("select set_config('synchronous_commit', 'off', false), set_config('bench.transactions', $1, false)")
        .bind((events / TOGETHER).to_string())
        .execute(&mut *owner)
        .await?;
    let first: String = sqlx::query_scalar("select pg_current_xact_id()::text").fetch_one(&mut *owner).await?;
    sqlx::raw_sql(
        "do $$
         begin
           for n in 1..current_setting('bench.transactions')::integer loop
             perform pg_current_xact_id();
             commit;
           end loop;
         end
         $$",
    )
    .execute(&mut *owner)
    .await?;
    sqlx::query(
        "insert into realtime_table_events
           (xid, organization_id, table_name, record_id, event_type, changed, old_facets, new_facets, actor_id, mutation_id, created_at)
         select ($1::bigint + 1 + n / $2)::text::xid8, gen_random_uuid(), 'sales_orders', gen_random_uuid(), 'UPDATE', '{title,updated_at}',
           facets, facets, gen_random_uuid(), gen_random_uuid(),
           (now() at time zone 'utc')::date::timestamp at time zone 'utc' - make_interval(days => $4) + make_interval(secs => n::double precision * $4 * 86399 / $3)
         from generate_series(0, $3 - 1) n,
           lateral (select jsonb_build_object('status', 'draft', 'customer_id', gen_random_uuid()) as facets where n >= 0) made",
    )
    .bind(first.parse::<i64>()?)
    .bind(TOGETHER)
    .bind(events)
    .bind(DAYS)
    .execute(&mut *owner)
    .await?;
    // One by one: together they would be one transaction, in which there is no vacuum.
    for statement in ["vacuum (analyze) realtime_table_events", "checkpoint", "set synchronous_commit = on"] {
        sqlx::raw_sql(statement).execute(&mut *owner).await?;
    }
    Ok(())
}

/// What happens before each step.
#[derive(Clone, Copy)]
enum Meanwhile {
    Nothing,
    /// A transaction that writes no event.
    Elsewhere,
    /// One that writes so many.
    Events(i64),
}

/// In microseconds.
async fn median_of_steps(
    feed: &mut Feed,
    steps: usize,
    owner: &mut PgConnection,
    meanwhile: Meanwhile,
) -> Outcome<f64> {
    let mut took = Vec::with_capacity(steps);
    let mut events = 0;
    for _ in 0..steps {
        if let Meanwhile::Elsewhere = meanwhile {
            sqlx::query("select pg_current_xact_id()").execute(&mut *owner).await?;
        }
        if let Meanwhile::Events(count) = meanwhile {
            events = count;
            sqlx::query(
                "insert into realtime_table_events
                   (organization_id, table_name, record_id, event_type, changed, old_facets, new_facets, actor_id, mutation_id)
                 select gen_random_uuid(), 'sales_orders', gen_random_uuid(), 'UPDATE', '{title}', made.facets, made.facets, null, null
                 from generate_series(1, $1),
                   (select jsonb_build_object('status', 'draft', 'customer_id', gen_random_uuid()) as facets) made",
            )
            .bind(events)
            .execute(&mut *owner)
            .await?;
        }
        let began = Instant::now();
        let batch = feed.step().await?;
        took.push(began.elapsed());
        if batch.events.len() as i64 != events || batch.is_restart {
            return Err(format!("a step found {} events, not {events}", batch.events.len()).into());
        }
    }
    took.sort_unstable();
    Ok(micros(took[took.len() / 2]))
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
