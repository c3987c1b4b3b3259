//! The clock and the feed: snapshots decide as PostgreSQL does, and the feed tells every committed change once.

#![allow(clippy::unwrap_used)]

mod support;

use millstream::feed::{Batch, CONNECTION_SETTINGS, Event, EventKind, Feed, MOST_EVENTS};
use millstream::snapshot::{Snapshot, Xid};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::chance;
use support::cluster::cluster;
use tokio::sync::Mutex;
use uuid::Uuid;

/// For tests that want the machine for themselves, so that their moments are as close as they mean them to be.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A database with the schema and a live table of the tests' own.
async fn database() -> (String, PgPool) {
    let url = cluster().await.database().await;
    let owner = support::world::pool(&url).await;
    sqlx::migrate!("../migrations").run(&owner).await.unwrap();
    run(&owner, "create table t (id uuid primary key, organization_id uuid not null, n integer not null default 0)")
        .await;
    run(&owner, "select millstream.make_live('t')").await;
    (url, owner)
}

async fn run(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(pool).await.unwrap_or_else(|why| panic!("{sql}: {why}"));
}

/// The feed, with the rights and the settings that it has in production.
async fn feed(url: &str) -> Feed {
    let options: PgConnectOptions = url.parse().unwrap();
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .after_connect(|connection, _| {
            Box::pin(async move {
                sqlx::query("set role millstream_feed").execute(connection).await?;
                Ok(())
            })
        })
        .connect_with(options.options(CONNECTION_SETTINGS))
        .await
        .unwrap();
    Feed::new(pool)
}

/// Inserts rows whose id and organization are the numbers after this one, until it is over; gives the last.
async fn insert_without_end(owner: PgPool, after: u128, is_over: Arc<AtomicBool>) -> u128 {
    let mut last = after;
    while !is_over.load(Ordering::Relaxed) {
        last += 1;
        let id = Uuid::from_u128(last);
        run(&owner, &format!("insert into t (id, organization_id) values ('{id}', '{id}')")).await;
    }
    last
}

async fn snapshot(pool: &PgPool) -> Snapshot {
    let text: String = sqlx::query_scalar("select pg_current_snapshot()::text").fetch_one(pool).await.unwrap();
    text.parse().unwrap()
}

// ---------------------------------------------------------------------------------------------- snapshots

#[tokio::test]
async fn a_snapshot_sees_what_postgres_says_is_visible_in_it() {
    let url = cluster().await.database().await;
    let pool = support::world::pool(&url).await;
    let mut chance = chance();
    let (mut snapshots, mut xids) = (Vec::new(), Vec::new());
    // PostgreSQL gives no transaction an id whose low half is 0, and reads none.
    let exists = |xid: &u64| xid.trailing_zeros() < 32;
    for round in 0..800 {
        let xmin = match round % 4 {
            0 => chance.u64(1..100),
            1 => chance.u64(1 << 31..1 << 33), // where 32 bits end
            2 => chance.u64(1..1 << 62),
            _ => u64::from(u32::MAX) - chance.u64(0..3), // across it
        };
        let width = chance.u64(0..if round % 3 == 0 { 400 } else { 12 });
        let running: BTreeSet<u64> =
            (0..chance.u64(0..=width)).map(|_| chance.u64(xmin..xmin + width)).filter(exists).collect();
        if ![xmin, xmin + width].iter().all(exists) {
            continue;
        }
        let written: Vec<_> = running.iter().map(ToString::to_string).collect();
        let text = format!("{xmin}:{}:{}", xmin + width, written.join(","));
        let mut asked = vec![
            1,
            xmin.saturating_sub(1).max(1),
            xmin,
            xmin + 1,
            (xmin + width).max(2) - 1,
            xmin + width,
            xmin + width + 1,
        ];
        asked.extend(running.iter().take(3).flat_map(|xid| [*xid, xid + 1]));
        asked.extend((0..4).map(|_| xmin + chance.u64(0..=width)));
        for xid in asked.into_iter().filter(exists) {
            snapshots.push(text.clone());
            xids.push(xid.to_string());
        }
    }
    let said: Vec<bool> = sqlx::query_scalar(
        "select pg_visible_in_snapshot(xid::xid8, snapshot::pg_snapshot)
         from unnest($1::text[], $2::text[]) with ordinality as asked (snapshot, xid, place) order by place",
    )
    .bind(&snapshots)
    .bind(&xids)
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(said.len() > 5_000 && said.contains(&true) && said.contains(&false));
    for ((text, xid), visible) in snapshots.iter().zip(&xids).zip(said) {
        let taken: Snapshot = text.parse().unwrap();
        assert_eq!(taken.to_string(), *text);
        assert_eq!(taken.sees(Xid(xid.parse().unwrap())), visible, "{xid} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newer_of_two_snapshots_is_the_one_taken_later() {
    let _alone = ALONE.lock().await;
    let url = cluster().await.database().await;
    let pool = support::world::pool(&url).await;
    run(&pool, "create table scratch (n int)").await;
    let is_over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..6)
        .map(|_| {
            let (url, is_over, seed) = (url.clone(), is_over.clone(), fastrand::u64(..));
            tokio::spawn(async move {
                let mut connection = PgConnection::connect(&url).await.unwrap();
                let mut chance = fastrand::Rng::with_seed(seed);
                while !is_over.load(Ordering::Relaxed) {
                    let end = if chance.u8(..5) == 0 { "rollback" } else { "commit" };
                    let savepoint = if chance.u8(..5) == 0 {
                        "savepoint a; insert into public.scratch values (1); rollback to a;"
                    } else {
                        ""
                    };
                    let pause = f64::from(chance.u8(..)) / 400_000.0;
                    let sql =
                        format!("begin; select pg_current_xact_id(); {savepoint} select pg_sleep({pause}); {end}");
                    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
                }
            })
        })
        .collect();
    // Two connections, but each question is asked after the answer before.
    let mut taken: Vec<Snapshot> = Vec::new();
    let mut connections = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    let mut distinct: BTreeSet<String> = BTreeSet::new();
    let mut only_ended = 0;
    // Until the writers have got in between often enough, however busy the machine is.
    while taken.len() < 2_000 || distinct.len() <= 100 || only_ended == 0 {
        assert!(taken.len() < 200_000, "the writers do not get in between: {} distinct, {only_ended}", distinct.len());
        let text: String = sqlx::query_scalar("select pg_current_snapshot()::text")
            .fetch_one(&mut *connections[taken.len() % 2])
            .await
            .unwrap();
        let snapshot: Snapshot = text.parse().unwrap();
        let is_ended = |before: &Snapshot| before.xmax() == snapshot.xmax() && *before != snapshot;
        only_ended += usize::from(taken.last().is_some_and(is_ended));
        distinct.insert(text);
        taken.push(snapshot);
    }
    is_over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }

    println!(
        "{} distinct snapshots, {only_ended} of them newer by a transaction that ended, none begun",
        distinct.len()
    );
    for (place, earlier) in taken.iter().enumerate() {
        for later in taken[place + 1..].iter().take(60) {
            assert!(later.covers(earlier), "{later} was taken after {earlier}");
            assert!(!earlier.is_newer_than(later), "{earlier} was taken before {later}");
            assert_eq!(later.is_newer_than(earlier), later != earlier, "{later} after {earlier}");
            let sees_all =
                (earlier.xmin().0..earlier.xmax().0).all(|xid| !earlier.sees(Xid(xid)) || later.sees(Xid(xid)));
            assert!(sees_all, "{later} does not see all that {earlier} saw");
        }
    }
}

// ---------------------------------------------------------------------------------------------- the feed

const WRITERS: usize = 16;

/// How many commits have to be seen; `make soak` asks for more.
fn commits_wanted() -> usize {
    std::env::var("SOAK_COMMITS").map_or(20_000, |number| number.parse().expect("SOAK_COMMITS is a number"))
}

/// What a writer knows of its own: the committed changes, by the server's word.
#[derive(Default)]
struct Ledger {
    commits: usize,
    rollbacks: usize,
    savepoints: usize,
    /// Each change of the table: record and kind.
    changes: Vec<(Uuid, EventKind)>,
}

/// Writes until all have committed enough and nothing is held open any more. A record is changed at most once a
/// transaction in each way.
async fn write(url: String, committed: Arc<AtomicUsize>, is_held: Arc<AtomicBool>, seed: u64) -> Ledger {
    let wanted = commits_wanted();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("set synchronous_commit = off; set search_path = public").execute(&mut connection).await.unwrap();
    let mut chance = fastrand::Rng::with_seed(seed);
    let (mut ledger, mut mine): (Ledger, Vec<Uuid>) = (Ledger::default(), Vec::new());
    let organization = Uuid::from_u128(u128::from(chance.u8(1..4)));
    let fresh = |chance: &mut fastrand::Rng| Uuid::from_u128(chance.u128(..));
    while committed.load(Ordering::Relaxed) < wanted || is_held.load(Ordering::Relaxed) {
        let mut changes = Vec::new();
        let mut sql = "begin;".to_owned();
        let insert = |sql: &mut String, id: Uuid| *sql += &format!("insert into t values ('{id}', '{organization}');");
        let id = fresh(&mut chance);
        insert(&mut sql, id);
        changes.push((id, EventKind::Insert));
        if let Some(known) = mine.last().copied().filter(|_| chance.u8(..4) == 0) {
            sql += &format!("update t set n = n + 1 where id = '{known}';");
            changes.push((known, EventKind::Update));
        }
        let is_savepoint = chance.u8(..5) == 0;
        if is_savepoint {
            ledger.savepoints += 1;
            let (kept, lost) = (fresh(&mut chance), fresh(&mut chance));
            sql += "savepoint a;";
            insert(&mut sql, kept);
            changes.push((kept, EventKind::Insert));
            sql += if chance.bool() { "savepoint b;" } else { "release a; savepoint b;" };
            insert(&mut sql, lost);
            if let Some(known) = mine.first() {
                sql += &format!("delete from t where id = '{known}';");
            }
            sql += "rollback to b;";
            let after = fresh(&mut chance);
            insert(&mut sql, after);
            changes.push((after, EventKind::Insert));
        }
        let gone = if chance.u8(..8) == 0 && mine.len() > 2 { Some(mine.remove(0)) } else { None };
        if let Some(gone) = gone {
            sql += &format!("delete from t where id = '{gone}';");
            changes.push((gone, EventKind::Delete));
        }
        let is_kept = chance.u8(..5) != 0;
        sql += if is_kept { "commit" } else { "rollback" };
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        if is_kept {
            committed.fetch_add(1, Ordering::Relaxed);
            ledger.commits += 1;
            mine.extend(changes.iter().filter(|(_, kind)| *kind == EventKind::Insert).map(|(id, _)| *id));
            ledger.changes.extend(changes);
        } else {
            ledger.rollbacks += 1;
            if let Some(gone) = gone {
                mine.insert(0, gone);
            }
        }
    }
    connection.close().await.unwrap();
    ledger
}

/// Counts how often each change was told or made.
fn counted(changes: impl IntoIterator<Item = (Uuid, EventKind)>) -> BTreeMap<(Uuid, &'static str), usize> {
    let mut counts = BTreeMap::new();
    for (id, kind) in changes {
        let kind = match kind {
            EventKind::Insert => "INSERT",
            EventKind::Update => "UPDATE",
            EventKind::Delete => "DELETE",
        };
        *counts.entry((id, kind)).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_misses_no_change_and_tells_none_twice_beside_a_transaction_held_open() {
    let _alone = ALONE.lock().await;
    let (url, owner) = database().await;
    let mut feed = feed(&url).await;
    assert!(feed.step().await.unwrap().is_restart, "the first step says where the feed begins");
    let mut chance = chance();
    let began = Instant::now();

    let is_over = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let is_over = is_over.clone();
        async move {
            let (mut batches, mut last): (Vec<Batch>, bool) = (Vec::new(), false);
            let (mut steps, mut slowest) = (0_u32, Duration::ZERO);
            loop {
                let asked = Instant::now();
                let batch = feed.step().await.unwrap();
                slowest = slowest.max(asked.elapsed());
                steps += 1;
                if !batch.events.is_empty() || !batch.tables.is_empty() || batch.is_restart {
                    batches.push(batch);
                }
                if last {
                    println!("{steps} steps, the slowest {slowest:?}");
                    return batches;
                }
                last = is_over.load(Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });

    let (committed, is_held) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| tokio::spawn(write(url.clone(), committed.clone(), is_held.clone(), chance.u64(..))))
        .collect();

    // Held open while the others write: it changes something before and after, and so does one that is given up.
    let (before, after) = (Uuid::now_v7(), Uuid::now_v7());
    let mut held = owner.begin().await.unwrap();
    let mut given_up = owner.begin().await.unwrap();
    let insert = "insert into t (id, organization_id) values ($1, $2)";
    sqlx::query(insert).bind(before).bind(Uuid::from_u128(1)).execute(&mut *held).await.unwrap();
    sqlx::query(insert).bind(Uuid::now_v7()).bind(Uuid::from_u128(1)).execute(&mut *given_up).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(committed.load(Ordering::Relaxed) > 100, "the others waited for the one that was held open");
    sqlx::query(insert).bind(after).bind(Uuid::from_u128(1)).execute(&mut *held).await.unwrap();
    held.commit().await.unwrap();
    given_up.rollback().await.unwrap();
    is_held.store(false, Ordering::Relaxed);

    let mut ledgers = Vec::new();
    for writer in writers {
        ledgers.push(writer.await.unwrap());
    }
    let written_for = began.elapsed();
    is_over.store(true, Ordering::SeqCst);
    let batches = reader.await.unwrap();

    let sum = |count: fn(&Ledger) -> usize| ledgers.iter().map(count).sum::<usize>();
    let (commits, rollbacks, savepoints) = (sum(|l| l.commits), sum(|l| l.rollbacks), sum(|l| l.savepoints));
    println!("{commits} commits, {rollbacks} rollbacks, {savepoints} with savepoints in {written_for:?}");
    assert!(commits >= commits_wanted() && rollbacks * 7 > commits && savepoints * 7 > commits);
    assert!(batches.iter().all(|batch| batch.tables.is_empty() && !batch.is_restart), "nothing had to be collapsed");

    // By what the writers were told.
    let events: Vec<&Event> = batches.iter().flat_map(|batch| &batch.events).collect();
    let told = counted(events.iter().map(|event| (event.record, event.kind)));
    let mut made = counted(ledgers.iter().flat_map(|ledger| ledger.changes.iter().copied()));
    made.extend(counted([(before, EventKind::Insert), (after, EventKind::Insert)]));
    let missed: Vec<_> =
        made.iter().filter(|(change, count)| told.get(change).copied().unwrap_or(0) < **count).take(5).collect();
    let extra: Vec<_> =
        told.iter().filter(|(change, count)| made.get(change).copied().unwrap_or(0) < **count).take(5).collect();
    assert!(missed.is_empty() && extra.is_empty(), "missed {missed:?}, told too often {extra:?}");

    // By the event table, with the transactions.
    let kept: Vec<(String, Uuid, String)> =
        sqlx::query_as("select xid::text, record_id, event_type from realtime_table_events where table_name = 't'")
            .fetch_all(&owner)
            .await
            .unwrap();
    let mut kept: Vec<_> = kept.into_iter().map(|(xid, id, kind)| (xid.parse().unwrap(), id, kind)).collect();
    let kind = |kind: EventKind| format!("{kind:?}").to_uppercase();
    let mut told: Vec<(u64, Uuid, String)> =
        events.iter().map(|event| (event.xid.0, event.record, kind(event.kind))).collect();
    kept.sort();
    told.sort();
    assert_eq!(told.len(), kept.len());
    assert!(told == kept);

    // By the rows that are there.
    let rows: Vec<Uuid> = sqlx::query_scalar("select id from t").fetch_all(&owner).await.unwrap();
    let of_kind =
        |wanted: EventKind| events.iter().filter(|e| e.kind == wanted).map(|e| e.record).collect::<BTreeSet<_>>();
    let left: BTreeSet<_> = of_kind(EventKind::Insert).difference(&of_kind(EventKind::Delete)).copied().collect();
    assert!(left == rows.into_iter().collect::<BTreeSet<_>>());

    // A batch tells what its own cursor sees and the one before does not; the two writes of the held one are one change.
    let mut previous: Option<&Batch> = None;
    for batch in &batches {
        assert!(batch.events.iter().all(|event| batch.cursor.sees(event.xid)));
        if let Some(previous) = previous {
            assert!(batch.cursor.is_newer_than(&previous.cursor));
            assert!(batch.events.iter().all(|event| !previous.cursor.sees(event.xid)));
        }
        previous = Some(batch);
    }
    let of = |id: Uuid| events.iter().find(|event| event.record == id).unwrap().xid;
    assert_eq!(of(before), of(after));
}

/// Transactions count by the cluster, in which other tests have databases too.
async fn until_still(feed: &mut Feed) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !feed.is_still() {
        assert!(Instant::now() < deadline, "the cluster is never still");
        let batch = feed.step().await.unwrap();
        assert!(batch.events.is_empty() && !batch.is_restart);
    }
}

#[tokio::test]
async fn a_database_that_is_still_is_seen_to_move_by_whatever_ends_in_it() {
    let (url, owner) = database().await;
    let mut feed = feed(&url).await;
    feed.step().await.unwrap();
    let insert = |organization: u128| {
        format!("insert into t (id, organization_id) values (gen_random_uuid(), '{}')", Uuid::from_u128(organization))
    };
    let mut slow = owner.begin().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(insert(1))).execute(&mut *slow).await.unwrap();
    run(&owner, &insert(2)).await;
    assert_eq!(feed.step().await.unwrap().events.len(), 1);
    assert!(!feed.is_still());
    until_still(&mut feed).await;
    // It ends below the newest that has ended: only the list of those that run says so.
    slow.commit().await.unwrap();
    assert_eq!(feed.step().await.unwrap().events.len(), 1);
    assert!(!feed.is_still());
    until_still(&mut feed).await;
    run(&owner, "create table elsewhere (a integer)").await;
    assert!(feed.step().await.unwrap().events.is_empty());
    assert!(!feed.is_still());
    until_still(&mut feed).await;
    run(&owner, "select millstream.renew_epoch()").await;
    assert!(feed.step().await.unwrap().is_restart);
    assert!(!feed.is_still());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_events_than_a_step_holds_collapse_to_the_tables_that_changed_and_none_is_forgotten() {
    let (url, owner) = database().await;
    run(&owner, "create table p (id uuid primary key default gen_random_uuid(), organization_id uuid, person_id uuid)")
        .await;
    run(&owner, "select millstream.make_live('p', organization => 'organization_id', person => 'person_id')").await;
    let mut feed = feed(&url).await;
    feed.step().await.unwrap();
    let rows = |organization: u128, count: i64| {
        let organization = Uuid::from_u128(organization);
        format!(
            "insert into t (id, organization_id) select gen_random_uuid(), '{organization}' from generate_series(1, {count})"
        )
    };

    run(&owner, &rows(1, MOST_EVENTS)).await;
    let batch = feed.step().await.unwrap();
    assert_eq!(
        (batch.events.len() as i64, batch.tables.len()),
        (MOST_EVENTS, 0),
        "as many as it holds are told one by one"
    );

    // Across several transactions, one of which was already running at the last cursor.
    let mut slow = owner.begin().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(rows(2, 1))).execute(&mut *slow).await.unwrap();
    assert!(feed.step().await.unwrap().events.is_empty());
    run(&owner, &rows(1, MOST_EVENTS - 2)).await;
    run(&owner, &rows(3, 1)).await;
    run(
        &owner,
        &format!(
            "insert into p (organization_id, person_id) values ('{}', '{}')",
            Uuid::from_u128(4),
            Uuid::from_u128(9)
        ),
    )
    .await;
    slow.commit().await.unwrap();
    let batch = feed.step().await.unwrap();
    assert!(batch.events.is_empty());
    let tables: BTreeSet<_> = batch
        .tables
        .iter()
        .map(|t| (t.organization.unwrap().0.as_u128(), t.person.map(|p| p.0.as_u128()), t.table.as_str()))
        .collect();
    assert_eq!(tables, BTreeSet::from([(1, None, "t"), (2, None, "t"), (3, None, "t"), (4, Some(9), "p")]));
    assert_eq!(tables.len(), batch.tables.len());

    let next = feed.step().await.unwrap();
    assert!(next.events.is_empty() && next.tables.is_empty(), "what was collapsed is not told again");
    run(&owner, &rows(5, 1)).await;
    let next = feed.step().await.unwrap();
    assert_eq!(next.events.len(), 1, "and what comes after is told as ever");
}

#[tokio::test]
async fn what_is_committed_after_the_collapsing_step_took_its_snapshot_comes_with_the_next_one() {
    // The collapse asks twice: for the events, then for their tables. A change between must not fall between.
    let (url, owner) = database().await;
    let mut feed = feed(&url).await;
    feed.step().await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(insert_without_end(owner.clone(), 1_000, is_over.clone()));
    let mut told = BTreeMap::<u128, usize>::new();
    let mut collapsed = 0;
    let mut hear = |batch: Batch| {
        collapsed += usize::from(!batch.tables.is_empty());
        let by_event = batch.events.iter().filter_map(|event| event.organization);
        let by_table = batch.tables.iter().filter_map(|table| table.organization);
        for organization in by_event.chain(by_table) {
            *told.entry(organization.0.as_u128()).or_default() += 1;
        }
    };
    for _ in 0..6 {
        run(
            &owner,
            &format!(
                "insert into t (id, organization_id) select gen_random_uuid(), '{}' from generate_series(1, {})",
                Uuid::from_u128(1),
                MOST_EVENTS + 1,
            ),
        )
        .await;
        hear(feed.step().await.unwrap());
    }
    is_over.store(true, Ordering::Relaxed);
    let last = writer.await.unwrap();
    let end = snapshot(&owner).await;
    loop {
        let batch = feed.step().await.unwrap();
        let is_there = batch.cursor.covers(&end);
        hear(batch);
        if is_there {
            break;
        }
    }
    assert_eq!(collapsed, 6);
    told.remove(&1);
    let wrong: Vec<_> = (1_001..=last).filter(|organization| told.get(organization) != Some(&1)).collect();
    assert!(wrong.is_empty(), "not told exactly once: {wrong:?}");
}

#[tokio::test]
async fn a_renewed_epoch_begins_the_feed_anew() {
    let (url, owner) = database().await;
    let mut feed = feed(&url).await;
    let first = feed.step().await.unwrap();
    run(&owner, "select millstream.renew_epoch()").await;
    let second = feed.step().await.unwrap();
    assert!(second.is_restart);
    assert_ne!(first.epoch, second.epoch);
    assert!(!feed.step().await.unwrap().is_restart);
}

// ---------------------------------------------------------------------------------------------- retention

/// A day so long ago, with events on it: of this transaction.
async fn old_day(owner: &PgPool, days_ago: i32, of: Xid) {
    sqlx::query("select millstream_test.old_day($1, $2::text::xid8)")
        .bind(days_ago)
        .bind(of.0.to_string())
        .execute(owner)
        .await
        .unwrap();
}

/// A transaction from before any that a test makes; of those, the later one for the day less long ago.
fn long_ago(days_ago: i32) -> Xid {
    Xid(700 - u64::try_from(days_ago).unwrap())
}

const OLD_DAY: &str = "
create schema millstream_test;
create function millstream_test.old_day(days_ago integer, of xid8) returns void language plpgsql as $$
declare
  day date := (now() at time zone 'utc')::date - days_ago;
begin
  execute format('create table public.%I partition of public.realtime_table_events for values from (%L) to (%L)',
    'realtime_table_events_' || to_char(day, 'YYYYMMDD'), day::timestamp at time zone 'utc', (day + 1)::timestamp at time zone 'utc');
  insert into public.realtime_table_events (xid, organization_id, table_name, record_id, event_type, created_at)
  select of, gen_random_uuid(), 't', gen_random_uuid(), 'UPDATE', day::timestamp at time zone 'utc' + interval '1 hour'
  from generate_series(1, 50);
end
$$";

async fn drops(owner: &PgPool, kept_days: i32) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select millstream.drop_oldest_events($1)").bind(kept_days).fetch_one(owner).await
}

fn is_in_use(refusal: &sqlx::Error) -> bool {
    refusal.as_database_error().unwrap().code().as_deref() == Some("55P03")
}

async fn horizon(owner: &PgPool) -> Xid {
    let text: String = sqlx::query_scalar("select xid::text from millstream.horizon").fetch_one(owner).await.unwrap();
    Xid(text.parse().unwrap())
}

async fn partitions(owner: &PgPool) -> BTreeSet<String> {
    let names: Vec<String> = sqlx::query_scalar(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'realtime_table_events'::regclass",
    )
    .fetch_all(owner)
    .await
    .unwrap();
    names.into_iter().collect()
}

#[tokio::test]
async fn days_that_are_kept_no_longer_are_dropped_and_the_horizon_says_so() {
    let (_, owner) = database().await;
    run(&owner, OLD_DAY).await;
    let before = partitions(&owner).await;
    for days_ago in [9, 10, 7] {
        old_day(&owner, days_ago, long_ago(days_ago)).await;
    }
    // Rows of a day that had no partition lie in the default one.
    let strayed: String = sqlx::query_scalar(
        "insert into realtime_table_events (organization_id, table_name, record_id, event_type, created_at)
         values (gen_random_uuid(), 't', gen_random_uuid(), 'UPDATE', now() - interval '8 days') returning xid::text",
    )
    .fetch_one(&owner)
    .await
    .unwrap();
    assert!(drops(&owner, 7).await.unwrap());
    assert_eq!(horizon(&owner).await, Xid(long_ago(10).0 + 1));
    assert!(drops(&owner, 7).await.unwrap());
    assert_eq!(horizon(&owner).await, Xid(long_ago(9).0 + 1));
    assert!(!drops(&owner, 7).await.unwrap(), "the seventh day is kept whole");
    assert_eq!(horizon(&owner).await, Xid(strayed.parse::<u64>().unwrap() + 1));
    assert_eq!(partitions(&owner).await.difference(&before).count(), 1);
    let left: i64 = sqlx::query_scalar("select count(*) from realtime_table_events").fetch_one(&owner).await.unwrap();
    assert_eq!(left, 50);
    assert!(!drops(&owner, 7).await.unwrap());
}

#[tokio::test]
async fn a_partition_that_goes_under_the_feed_takes_no_event_with_it() {
    let (url, owner) = database().await;
    run(&owner, OLD_DAY).await;
    let mut feed = feed(&url).await;
    feed.step().await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(insert_without_end(owner.clone(), 0, is_over.clone()));
    let dropper = tokio::spawn({
        let owner = owner.clone();
        async move {
            for days_ago in 20..40 {
                old_day(&owner, days_ago, long_ago(days_ago)).await;
                while let Err(refusal) = drops(&owner, 7).await {
                    assert!(is_in_use(&refusal), "{refusal}");
                }
            }
        }
    });
    let mut told = BTreeMap::<u128, usize>::new();
    let mut hear = |batch: &Batch| {
        assert!(!batch.is_restart);
        for event in batch.events.iter().filter(|event| event.record.as_u128() < 1 << 64) {
            *told.entry(event.record.as_u128()).or_default() += 1;
        }
    };
    while !dropper.is_finished() {
        hear(&feed.step().await.unwrap());
    }
    dropper.await.unwrap();
    is_over.store(true, Ordering::Relaxed);
    let written = writer.await.unwrap();
    let end = snapshot(&owner).await;
    loop {
        let batch = feed.step().await.unwrap();
        hear(&batch);
        if batch.cursor.covers(&end) {
            break;
        }
    }
    let wrong: Vec<_> = (1..=written).filter(|id| told.get(id) != Some(&1)).collect();
    assert!(written > 0 && wrong.is_empty(), "of {written} not told exactly once: {wrong:?}");
}

#[tokio::test]
async fn a_day_that_somebody_writes_to_is_not_waited_for() {
    let (_, owner) = database().await;
    run(&owner, OLD_DAY).await;
    old_day(&owner, 10, long_ago(10)).await;
    let mut open = owner.begin().await.unwrap();
    let id = Uuid::now_v7();
    sqlx::query("insert into t (id, organization_id) values ($1, $1)").bind(id).execute(&mut *open).await.unwrap();
    assert!(is_in_use(&drops(&owner, 7).await.unwrap_err()));
    assert_eq!(horizon(&owner).await, Xid(0), "nothing is half done");
    open.commit().await.unwrap();
    assert!(drops(&owner, 7).await.unwrap());
}

#[tokio::test]
async fn a_feed_that_was_away_for_longer_than_events_are_kept_begins_anew() {
    let (url, owner) = database().await;
    run(&owner, OLD_DAY).await;
    let mut feed = feed(&url).await;
    let first = feed.step().await.unwrap();
    old_day(&owner, 10, first.cursor.xmax()).await;
    assert!(drops(&owner, 7).await.unwrap());
    let next = feed.step().await.unwrap();
    assert!(next.is_restart && next.epoch == first.epoch);
    assert!(!feed.step().await.unwrap().is_restart);
}
