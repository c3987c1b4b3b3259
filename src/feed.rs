//! The feed: from one snapshot to the next, with the change events between them.
//!
//! The cursor is a snapshot, not a number: one statement takes the next snapshot and the events that it sees and the
//! last one did not. So no event is missed because its transaction was slow, none comes twice, and nobody waits behind
//! a long one. There is no lock and no `NOTIFY` (which takes a global lock through every commit).

use crate::key::{Change, Facet, Facets, ID, OrganizationId, PersonId};
use crate::overlay::MutationId;
use crate::relay::{Heard, Whole};
use crate::snapshot::{Epoch, Snapshot, Xid};
use crate::wire::Passed;
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, Row};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// One row of `realtime_table_events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub xid: Xid,
    pub organization: Option<OrganizationId>,
    pub person: Option<PersonId>,
    pub record: Uuid,
    pub kind: EventKind,
    /// Narrows the organization to these people.
    pub audience: Option<Vec<PersonId>>,
    pub actor: Option<PersonId>,
    /// The mutation that it was part of.
    pub mutation: Option<MutationId>,
    pub change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    Insert,
    Update,
    Delete,
}

/// "Something in this table changed": what more events than a step holds collapse to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableChanged {
    pub organization: Option<OrganizationId>,
    pub person: Option<PersonId>,
    pub table: String,
}

/// What happened up to `cursor`.
#[derive(Clone, Debug)]
pub struct Batch {
    pub cursor: Snapshot,
    pub epoch: Epoch,
    pub events: Vec<Event>,
    pub tables: Vec<TableChanged>,
    /// Of a step that collapsed: whose mutations it held. Otherwise the events say so.
    pub passed: Vec<(PersonId, Passed)>,
    /// The cursor does not continue the one before it: the database crashed, the feed was away for longer than events are
    /// kept, or this is the first batch.
    pub is_restart: bool,
    /// When the oldest of the changes was made, by the database's clock, carried over to this one's; none where there are none, or
    /// too many.
    pub since: Option<Instant>,
}

impl Batch {
    /// Nothing happened up to there.
    pub(crate) fn empty(cursor: Snapshot, epoch: Epoch) -> Self {
        let (events, tables, passed) = (Vec::new(), Vec::new(), Vec::new());
        Self { cursor, epoch, events, tables, passed, is_restart: false, since: None }
    }
}

/// Settings for the connections of [`Feed`] and of the hub's stale checks (`PgConnectOptions::options`). What they ask is
/// always answered from the index on `xid`, one a partition; but PostgreSQL does not know how little that will find, and
/// would plan it anew at every step, which took three quarters of the step's time.
pub const CONNECTION_SETTINGS: [(&str, &str); 4] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("jit", "off"),
];

/// Where the feed stands. One a process.
pub struct Feed {
    pool: PgPool,
    /// Tables whose events are told one by one, however many there are in a step.
    kept: Vec<String>,
    cursor: Option<Cursor>,
    is_still: bool,
}

#[derive(Clone)]
struct Cursor {
    snapshot: Snapshot,
    epoch: Epoch,
    /// The horizon that was known then.
    horizon: Xid,
}

/// More events than this in one step collapse to "the table changed".
pub const MOST_EVENTS: i64 = 5_000;

#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    #[error("the feed could not ask the database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the feed cannot read what the database answered: {0}")]
    Unreadable(String),
}

impl Feed {
    /// Over connections with the [`CONNECTION_SETTINGS`].
    pub fn new(pool: PgPool) -> Self {
        Self { pool, kept: Vec::new(), cursor: None, is_still: false }
    }

    /// Never collapses these tables' events: what decides rights has to be known person by person.
    pub fn keeping(self, tables: impl IntoIterator<Item = &'static str>) -> Self {
        Self { kept: tables.into_iter().map(str::to_owned).collect(), ..self }
    }

    /// Takes the next snapshot, and all that happened since the last one. Costs one statement over the index on `xid`,
    /// whatever the size of the event table; while the database is still, one that looks at no event at all.
    pub async fn step(&mut self) -> Result<Batch, FeedError> {
        // Whatever ends this early: what the next step finds is not known to be still.
        let was_still = std::mem::take(&mut self.is_still);
        let Some(Cursor { snapshot: previous, epoch, horizon }) = self.cursor.clone() else {
            return self.restart().await;
        };
        if was_still && self.stands_at(&previous, epoch).await? {
            self.is_still = true;
            return Ok(Batch::empty(previous, epoch));
        }
        let rows = sqlx::query(EVENTS)
            .bind(previous.xmax().0.to_string())
            .bind(previous.running().iter().map(|xid| xid.0.to_string()).collect::<Vec<_>>())
            .bind(MOST_EVENTS + 1)
            .fetch_all(&self.pool)
            .await?;
        let Some(first) = rows.first() else {
            return Err(FeedError::Unreadable("no row, where there is always one".to_owned()));
        };
        let is_other_epoch = first.try_get::<Option<Uuid>, _>("epoch")? != Some(epoch.0);
        // Away for longer than events are kept: some that were never seen may be gone.
        let horizon_now = xid(first.try_get("horizon")?)?;
        if is_other_epoch || (horizon_now != horizon && !previous.sees_all_before(horizon_now)) {
            return self.restart().await;
        }
        let cursor = snapshot(first.try_get("snapshot")?)?;
        let mut batch = Batch::empty(cursor, epoch);
        if rows.len() as i64 > MOST_EVENTS {
            self.collapse(&previous, &mut batch).await?;
        } else {
            // Without events the left join leaves one row of nulls.
            let told = rows.iter().filter(|row| !matches!(row.try_get::<Option<String>, _>("xid"), Ok(None)));
            batch.events = told.map(event).collect::<Result<_, _>>()?;
            let ages = rows.iter().filter_map(|row| row.try_get::<Option<f64>, _>("age").ok().flatten());
            let oldest = ages.fold(None, |oldest: Option<f64>, age| Some(oldest.map_or(age, |oldest| oldest.max(age))));
            // A clock that was set back makes no age.
            let oldest = oldest.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            batch.since = oldest.and_then(|age| Instant::now().checked_sub(age));
        }
        self.is_still = batch.cursor == previous;
        self.cursor = Some(Cursor { snapshot: batch.cursor.clone(), epoch, horizon: horizon_now });
        Ok(batch)
    }

    /// Whether no transaction that writes has begun or ended since the snapshot: then whoever asks sees what it saw, of events and
    /// of the horizon.
    async fn stands_at(&self, previous: &Snapshot, epoch: Epoch) -> Result<bool, FeedError> {
        let (now, epoch_now): (String, Option<Uuid>) = sqlx::query_as(STANDING).fetch_one(&self.pool).await?;
        Ok(snapshot(&now)? == *previous && epoch_now == Some(epoch.0))
    }

    /// Whether the last step found that no transaction had ended since the one before. Then the next one will be cheap.
    pub fn is_still(&self) -> bool {
        self.is_still
    }

    /// The last step's snapshot and epoch; none before the first.
    pub fn cursor(&self) -> Option<(&Snapshot, Epoch)> {
        self.cursor.as_ref().map(|cursor| (&cursor.snapshot, cursor.epoch))
    }

    /// Takes what another feed over the same database found, as far as it leads on from where this one stands. At a
    /// [`Heard::Gap`] the next [`Feed::step`] finds what lies between.
    pub fn hear(&mut self, whole: Whole) -> Heard {
        let Some(cursor) = &mut self.cursor else { return Heard::Gap };
        let heard = whole.beyond(&cursor.snapshot, cursor.epoch);
        if let Heard::News(batch) = &heard {
            self.is_still = false;
            cursor.snapshot = batch.cursor.clone();
        }
        heard
    }

    /// Whether the event is of a table whose events are told one by one.
    pub fn keeps(&self, event: &Event) -> bool {
        self.kept.contains(&event.change.table)
    }

    async fn restart(&mut self) -> Result<Batch, FeedError> {
        // The epoch first: a snapshot taken after it was written belongs to it.
        let epoch: Uuid = sqlx::query_scalar("select millstream.ensure_epoch()").fetch_one(&self.pool).await?;
        let (cursor, horizon): (String, String) =
            sqlx::query_as("select pg_current_snapshot()::text, h.xid::text from millstream.horizon h")
                .fetch_one(&self.pool)
                .await?;
        let cursor = snapshot(&cursor)?;
        self.cursor = Some(Cursor { snapshot: cursor.clone(), epoch: Epoch(epoch), horizon: xid(&horizon)? });
        Ok(Batch { is_restart: true, ..Batch::empty(cursor, Epoch(epoch)) })
    }

    /// Fills the batch with what too many events between two cursors come to.
    async fn collapse(&self, from: &Snapshot, batch: &mut Batch) -> Result<(), FeedError> {
        let first = from.xmax().0.to_string();
        let running: Vec<_> = from.running().iter().map(|xid| xid.0.to_string()).collect();
        let to = batch.cursor.to_string();
        let ask = |statement| sqlx::query(statement).bind(&first).bind(&running).bind(&to).bind(&self.kept);
        for row in ask(TABLES).fetch_all(&self.pool).await? {
            batch.tables.push(TableChanged {
                organization: row.try_get::<Option<Uuid>, _>("organization_id")?.map(OrganizationId),
                person: row.try_get::<Option<Uuid>, _>("person_id")?.map(PersonId),
                table: row.try_get("table_name")?,
            });
        }
        for row in ask(KEPT).fetch_all(&self.pool).await? {
            batch.events.push(event(&row)?);
        }
        for row in ask(PASSED).fetch_all(&self.pool).await? {
            let mutation_id = MutationId(row.try_get("mutation_id")?);
            let passed = Passed { mutation_id, xid: xid(row.try_get("xid")?)? };
            batch.passed.push((PersonId(row.try_get("actor_id")?), passed));
        }
        Ok(())
    }
}

const STANDING: &str = "select pg_current_snapshot()::text, (select e.epoch from millstream.epoch e)";

// What the statement can see is what its own snapshot sees, so only the lower bound has to be said: transactions that
// had not begun at the last cursor, and those that were running then.
const EVENTS: &str = "
with now as materialized (
  select pg_current_snapshot()::text as snapshot, (select e.epoch from millstream.epoch e) as epoch,
    (select h.xid::text from millstream.horizon h) as horizon)
select now.snapshot, now.epoch, now.horizon, told.*
from now left join lateral (
  select e.xid::text as xid, e.organization_id, e.person_id, e.table_name, e.record_id, e.event_type, e.audience,
    e.old_facets, e.new_facets, e.actor_id, e.mutation_id,
    extract(epoch from clock_timestamp() - e.created_at)::float8 as age
  from public.realtime_table_events e
  where e.xid >= $1::xid8 or e.xid = any ($2::text[]::xid8[])
  order by e.created_at, e.id
  limit $3
) told on true";

const TABLES: &str = "
select distinct e.organization_id, e.person_id, e.table_name
from public.realtime_table_events e
where (e.xid >= $1::xid8 or e.xid = any ($2::text[]::xid8[])) and pg_visible_in_snapshot(e.xid, $3::pg_snapshot)
  and e.table_name <> all ($4)";

const KEPT: &str = "
select e.xid::text as xid, e.organization_id, e.person_id, e.table_name, e.record_id, e.event_type, e.audience,
  e.old_facets, e.new_facets, e.actor_id, e.mutation_id
from public.realtime_table_events e
where (e.xid >= $1::xid8 or e.xid = any ($2::text[]::xid8[])) and pg_visible_in_snapshot(e.xid, $3::pg_snapshot)
  and e.table_name = any ($4)
order by e.created_at, e.id";

const PASSED: &str = "
select distinct e.actor_id, e.mutation_id, e.xid::text as xid
from public.realtime_table_events e
where (e.xid >= $1::xid8 or e.xid = any ($2::text[]::xid8[])) and pg_visible_in_snapshot(e.xid, $3::pg_snapshot)
  and e.table_name <> all ($4) and e.actor_id is not null and e.mutation_id is not null";

fn xid(text: &str) -> Result<Xid, FeedError> {
    text.parse().map(Xid).map_err(|_| FeedError::Unreadable(format!("xid {text}")))
}

fn snapshot(text: &str) -> Result<Snapshot, FeedError> {
    text.parse().map_err(|error: crate::snapshot::NoSnapshot| FeedError::Unreadable(error.to_string()))
}

/// Reads one event from a row with the columns of [`EVENTS`].
pub(crate) fn event(row: &sqlx::postgres::PgRow) -> Result<Event, FeedError> {
    let record: Uuid = row.try_get("record_id")?;
    let kind = match row.try_get::<&str, _>("event_type")? {
        "INSERT" => EventKind::Insert,
        "UPDATE" => EventKind::Update,
        "DELETE" => EventKind::Delete,
        other => return Err(FeedError::Unreadable(format!("event type {other}"))),
    };
    let old = row.try_get::<Option<serde_json::Value>, _>("old_facets")?;
    let new = row.try_get::<Option<serde_json::Value>, _>("new_facets")?;
    let audience: Option<Vec<Uuid>> = row.try_get("audience")?;
    Ok(Event {
        xid: xid(row.try_get("xid")?)?,
        organization: row.try_get::<Option<Uuid>, _>("organization_id")?.map(OrganizationId),
        person: row.try_get::<Option<Uuid>, _>("person_id")?.map(PersonId),
        record,
        kind,
        audience: audience.map(|people| people.into_iter().map(PersonId).collect()),
        actor: row.try_get::<Option<Uuid>, _>("actor_id")?.map(PersonId),
        mutation: row.try_get::<Option<Uuid>, _>("mutation_id")?.map(MutationId),
        change: Change {
            table: row.try_get("table_name")?,
            old: (kind != EventKind::Insert).then(|| facets(record, old)),
            new: (kind != EventKind::Delete).then(|| facets(record, new)),
        },
    })
}

fn facets(record: Uuid, told: Option<serde_json::Value>) -> Facets {
    let mut facets = vec![(ID.to_owned(), record.into())];
    if let Some(serde_json::Value::Object(told)) = told {
        facets.extend(told.into_iter().filter_map(|(name, value)| Some((name, Facet::from_json(&value)?))));
    }
    Facets(facets)
}
