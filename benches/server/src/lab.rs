//! Tables that differ in their triggers alone, and 32 writers whose durable commits go into one after the other.

use crate::Outcome;
use crate::stage::{Processor, Stage};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) const WRITERS: usize = 32;
pub(crate) const LONG: Duration = Duration::from_secs(3);
const ROUNDS: usize = 5;
/// Rows that are there to be updated, so many for each writer: nobody waits for another's row.
const ROWS: usize = 300;

/// With the product's change trigger.
pub(crate) const LIVE: &str = "lab_live";
/// Without any trigger.
pub(crate) const PLAIN: &str = "lab_plain";

#[derive(Clone, Copy)]
pub(crate) enum Write {
    Insert,
    Update,
}

pub(crate) struct Lab {
    pub(crate) owner: PgConnection,
    tables: Vec<&'static str>,
    /// Commits into each of the tables so far.
    written: Vec<usize>,
    writers: Vec<Writer>,
    customers: Vec<Uuid>,
}

struct Writer {
    connection: PgConnection,
    organization: Uuid,
    rows: Vec<Uuid>,
    turn: usize,
}

/// What a round came to: commits a second, and microseconds of processor time that each took.
pub(crate) struct Arm {
    pub(crate) rate: f64,
    pub(crate) postgres: f64,
    pub(crate) server: f64,
    pub(crate) bench: f64,
}

impl Lab {
    /// Makes the tables, of which `LIVE` is one, with rows for each writer.
    pub(crate) async fn open(stage: &Stage, tables: &[&'static str]) -> Outcome<Self> {
        let mut owner = stage.owner().await?;
        for table in tables {
            // As a table of the product: an index for its list and one for its filter.
            let sql = format!(
                "create table {table} (id uuid primary key, organization_id uuid not null, status text not null,
                   customer_id uuid not null, title text not null, updated_at timestamptz not null default now());
                 create index on {table} (organization_id, updated_at desc, id desc);
                 create index on {table} (organization_id, customer_id);"
            );
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut owner).await?;
        }
        sqlx::query("select millstream.make_live($1, facets => '{status,customer_id}')")
            .bind(LIVE)
            .execute(&mut owner)
            .await?;
        let customers: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
        let mut writers = Vec::new();
        for connection in stage.owners(WRITERS).await? {
            let rows = (0..ROWS).map(|_| Uuid::now_v7()).collect();
            let mut writer = Writer { connection, organization: Uuid::now_v7(), rows, turn: 0 };
            for table in tables {
                writer.fill(table, customers[0]).await?;
            }
            writers.push(writer);
        }
        Ok(Self { owner, tables: tables.to_vec(), written: vec![0; tables.len()], writers, customers })
    }

    /// Rounds of all writers together, and one before them that does not count; gives those of each table, in the order of
    /// the tables. In turns, and who begins changes too: what the disk does by the way then meets all.
    pub(crate) async fn rounds(&mut self, stage: &Stage, write: Write) -> Outcome<Vec<Vec<Arm>>> {
        let mut arms: Vec<Vec<Arm>> = self.tables.iter().map(|_| Vec::new()).collect();
        for round in 0..=ROUNDS {
            for turn in 0..self.tables.len() {
                let at = (round + turn) % self.tables.len();
                let arm = self.round(stage, at, write).await?;
                if round > 0 {
                    arms[at].push(arm);
                }
            }
        }
        Ok(arms)
    }

    async fn round(&mut self, stage: &Stage, at: usize, write: Write) -> Outcome<Arm> {
        let before = Processor::now(stage)?;
        let began = Instant::now();
        let (table, customers) = (self.tables[at], &self.customers);
        let done = futures::future::try_join_all(
            self.writers.iter_mut().map(|writer| writer.run(table, write, customers, began)),
        );
        let commits = done.await?.iter().sum::<usize>();
        self.written[at] += commits;
        let commits = commits as f64;
        let rate = commits / began.elapsed().as_secs_f64();
        let used = Processor::now(stage)?.since(&before);
        let a_commit = |seconds: f64| seconds * 1e6 / commits;
        Ok(Arm { rate, postgres: a_commit(used.postgres), server: a_commit(used.server), bench: a_commit(used.bench) })
    }

    /// Commits into the table so far.
    pub(crate) fn written(&self, table: &str) -> usize {
        let of_it = |(name, count): (&&str, &usize)| if *name == table { *count } else { 0 };
        self.tables.iter().zip(&self.written).map(of_it).sum()
    }

    /// That the change trigger told of every row, and that commits waited for the disk.
    ///
    /// # Errors
    /// If not: a trigger that wrote nothing would be quick.
    pub(crate) async fn check(&mut self) -> Outcome {
        let (rows, told): (i64, i64) = sqlx::query_as(
            "select (select count(*) from lab_live), (select count(*) from realtime_table_events
              where table_name = 'lab_live' and event_type = 'INSERT')",
        )
        .fetch_one(&mut self.owner)
        .await?;
        if rows != told {
            return Err(format!("{rows} rows were inserted, {told} told").into());
        }
        for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
            let value: String =
                sqlx::query_scalar("select current_setting($1)").bind(setting).fetch_one(&mut self.owner).await?;
            if value != "on" {
                return Err(format!("{setting} is {value}: these commits are not durable").into());
            }
        }
        Ok(())
    }
}

impl Writer {
    async fn fill(&mut self, table: &str, customer: Uuid) -> Outcome {
        let sql = format!(
            "insert into {table} (id, organization_id, status, customer_id, title)
             select id, $1, 'draft', $2, 'A row' from unnest($3::uuid[]) as id"
        );
        sqlx::query(AssertSqlSafe(sql))
            .bind(self.organization)
            .bind(customer)
            .bind(&self.rows)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

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
