//! Stamped reads and writes. A read is one `REPEATABLE READ READ ONLY` transaction whose snapshot is the answer's stamp;
//! a write never stamps (it would see itself): its answer is read after the commit.
//!
//! Nothing here knows a table of the product, and no statement is built from strings.

mod shared;

pub use shared::{Counts, SIGHT, SharedRead};

use crate::error::{ApiError, Kind};
use crate::key::{OrganizationId, PersonId};
use crate::overlay::MutationId;
use crate::snapshot::{Epoch, Snapshot, Stamp, Xid};
use crate::wire::{Read, Written};
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::postgres::PgDatabaseError;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use std::sync::Arc;
use tokio::sync::Notify;
use tracing::Instrument;
use uuid::Uuid;

/// The two ways in: requests as `millstream_app`, the feed as `millstream_feed`.
#[derive(Clone)]
pub struct Database {
    pub app: PgPool,
    pub feed: PgPool,
    /// Told after each commit of this process, so that the feed need not wait for its next poll.
    pub committed: Arc<Notify>,
    /// Where transactions are begun, and so connections opened: they live as long as it does, whoever uses them.
    pub runtime: tokio::runtime::Handle,
}

/// Who reads or writes: policies and events name this person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    Person(PersonId),
    /// Before anyone is signed in.
    Nobody,
}

impl Actor {
    fn setting(self) -> String {
        match self {
            Actor::Person(person) => person.to_string(),
            Actor::Nobody => String::new(),
        }
    }
}

/// Whether a write that went through did anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Changed,
    /// It asked for what already was.
    Unchanged,
}

/// One step inside a transaction.
pub type Step<'c, T> = BoxFuture<'c, Result<T, ApiError>>;

/// Tells the compiler what a closure that is kept in a variable is: inference does not find its lifetimes alone.
pub fn step<T, F: for<'c> FnOnce(&'c mut PgConnection) -> Step<'c, T>>(body: F) -> F {
    body
}

/// A mutation as it came.
struct Sent {
    person: PersonId,
    mutation: MutationId,
    about: Option<OrganizationId>,
    payload_hash: Vec<u8>,
}

/// What is known of a mutation that has been carried out or refused, and in which snapshot.
#[derive(sqlx::FromRow)]
struct Stored {
    snapshot: String,
    epoch: Option<Uuid>,
    payload_hash: Vec<u8>,
    xid: Option<String>,
    answer: Option<Value>,
    refusal: Option<Value>,
    /// Those of the person when what is stored was read.
    rights: Option<Value>,
    rights_now: Option<Value>,
}

/// What a stamped read begins with.
const READ: &str = "begin isolation level repeatable read read only";

const REFUSED_BEFORE: &str = "This was refused when it was sent first, and what you may see has changed since. \
                              If you still want it, make the change again.";

impl Database {
    /// Runs `body` in one snapshot and stamps its data with it. Costs two round trips more than `body`, three where
    /// `pending` names mutations.
    ///
    /// # Errors
    /// Those of `body`; an absence (404, 403) carries the stamp too, for it is as true or stale as a value.
    pub async fn read<T>(
        &self,
        actor: Actor,
        pending: &[MutationId],
        body: impl for<'c> FnOnce(&'c mut PgConnection) -> Step<'c, T>,
    ) -> Result<Read<T>, ApiError> {
        let (mut transaction, stamp) = self.begin_read(actor).await?;
        let contains = if pending.is_empty() {
            Vec::new()
        } else {
            let ids: Vec<Uuid> = pending.iter().map(|id| id.0).collect();
            sqlx::query_scalar(
                "select mutation_id from millstream.mutations where mutation_id = any($1) and refusal is null",
            )
            .bind(ids)
            .fetch_all(&mut *transaction)
            .await?
        };
        let outcome = body(&mut transaction).await;
        end_read(transaction);
        match outcome {
            Ok(data) => Ok(Read {
                data,
                snapshot: stamp.snapshot,
                epoch: stamp.epoch,
                contains: contains.into_iter().map(MutationId).collect(),
            }),
            Err(error) if error.kind.is_absence() => Err(ApiError { stamp: Some(stamp), ..error }),
            Err(error) => Err(error),
        }
    }

    /// Begins a transaction, and finishes beginning it where whoever asked goes meanwhile: one that is abandoned before the
    /// database has said that it began is forgotten by sqlx, and the connection would go back to the pool inside of it.
    async fn begin(&self, statement: &'static str) -> Result<Transaction<'static, Postgres>, ApiError> {
        let pool = self.app.clone();
        let begun = self.runtime.spawn(async move { pool.begin_with(statement).await });
        // It ends early only with the whole program.
        Ok(begun.await.map_err(|_| ApiError::internal())??)
    }

    async fn begin_read(&self, actor: Actor) -> Result<(Transaction<'static, Postgres>, Stamp), ApiError> {
        loop {
            let mut transaction = self.begin(READ).await?;
            let (_, snapshot, epoch): (String, String, Option<Uuid>) = sqlx::query_as(
                "select set_config('millstream.person', $1, true), pg_current_snapshot()::text,
                   (select epoch from millstream.epoch)",
            )
            .bind(actor.setting())
            .fetch_one(&mut *transaction)
            .await?;
            match stamp(&snapshot, epoch)? {
                Some(stamp) => return Ok((transaction, stamp)),
                None => self.begin_epoch(transaction).await?,
            }
        }
    }

    async fn begin_answer(&self, sent: &Sent) -> Result<(Transaction<'static, Postgres>, Stamp, Stored), ApiError> {
        loop {
            let mut transaction = self.begin(READ).await?;
            let stored: Stored = sqlx::query_as(
                "select snapshot, epoch, payload_hash, xid, answer, refusal, rights, rights_now
                 from millstream.begin_answer($1, $2, $3)",
            )
            .bind(sent.person.0)
            .bind(sent.mutation.0)
            .bind(sent.about.map(|organization| organization.0))
            .fetch_one(&mut *transaction)
            .await?;
            match stamp(&stored.snapshot, stored.epoch)? {
                Some(stamp) => return Ok((transaction, stamp, stored)),
                None => self.begin_epoch(transaction).await?,
            }
        }
    }

    /// PostgreSQL crashed since the last read: another epoch begins before anything is stamped again.
    async fn begin_epoch(&self, unstamped: Transaction<'static, Postgres>) -> Result<(), ApiError> {
        unstamped.rollback().await?;
        sqlx::query("select millstream.ensure_epoch()").execute(&self.app).await?;
        Ok(())
    }

    /// Carries a mutation out once, however often it is sent: `change` runs in the transaction that first brings its
    /// id; every sending is answered with the same data, read by `read` after the commit, or with the same refusal.
    ///
    /// `about` is the organization whose data the answer holds: by other rights there than the answer was read by it is read
    /// anew, and to whom is no member any more everything is 404. None where the answer is the person's own.
    ///
    /// `payload` is the operation's name and arguments: an id that comes back with another payload is refused.
    pub async fn write<T: Serialize + DeserializeOwned>(
        &self,
        (person, mutation): (PersonId, MutationId),
        about: Option<OrganizationId>,
        payload: &impl Serialize,
        change: impl for<'c> FnOnce(&'c mut PgConnection) -> Step<'c, Outcome>,
        read: impl for<'c> FnOnce(&'c mut PgConnection) -> Step<'c, T>,
    ) -> Result<Written<T>, ApiError> {
        let payload = serde_json::to_vec(payload).map_err(|_| ApiError::internal())?;
        let span = tracing::debug_span!("mutation", id = %mutation, xid = tracing::field::Empty);
        let written =
            self.write_once((person, mutation), about, payload, change, read).instrument(span.clone()).await?;
        // As a number that traces know.
        if let Some(xid) = written.xid.and_then(|xid| i64::try_from(xid.0).ok()) {
            span.record("xid", xid);
        }
        Ok(written)
    }

    async fn write_once<T: Serialize + DeserializeOwned>(
        &self,
        (person, mutation): (PersonId, MutationId),
        about: Option<OrganizationId>,
        payload: Vec<u8>,
        change: impl for<'c> FnOnce(&'c mut PgConnection) -> Step<'c, Outcome>,
        read: impl for<'c> FnOnce(&'c mut PgConnection) -> Step<'c, T>,
    ) -> Result<Written<T>, ApiError> {
        let sent = Sent { person, mutation, about, payload_hash: Sha256::digest(payload).to_vec() };
        let mut transaction = self.begin("begin").await?;
        let (is_new, rights): (bool, Option<Value>) =
            sqlx::query_as("select is_new, rights from millstream.begin_mutation($1, $2, $3, $4)")
                .bind(person.0)
                .bind(mutation.0)
                .bind(&sent.payload_hash)
                .bind(about.map(|organization| organization.0))
                .fetch_one(&mut *transaction)
                .await?;
        if !is_new {
            transaction.rollback().await?;
            return self.answer(sent, read).await;
        }
        let ended = match change(&mut transaction).await {
            Ok(outcome) => self.finish(transaction, &sent, outcome).await,
            Err(error) => transaction.rollback().await.map_err(ApiError::from).and(Err(error)),
        };
        match ended {
            Err(error) if error.kind.is_final() => {
                if self.store_refusal(&sent, &error, rights).await? {
                    return Err(error);
                }
                // Another sending came first after all.
            }
            ended => ended?,
        }
        self.answer(sent, read).await
    }

    async fn finish(
        &self,
        mut transaction: Transaction<'static, Postgres>,
        sent: &Sent,
        outcome: Outcome,
    ) -> Result<(), ApiError> {
        if outcome == Outcome::Unchanged {
            sqlx::query("update millstream.mutations set xid = null where person_id = $1 and mutation_id = $2")
                .bind(sent.person.0)
                .bind(sent.mutation.0)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        self.committed.notify_one();
        Ok(())
    }

    /// Whether the refusal stands: otherwise another sending was answered since this one was rolled back.
    async fn store_refusal(&self, sent: &Sent, error: &ApiError, rights: Option<Value>) -> Result<bool, ApiError> {
        let json = serde_json::to_value(error).map_err(|_| ApiError::internal())?;
        let is_stored = sqlx::query_scalar("select millstream.store_refusal($1, $2, $3, $4, $5)")
            .bind(sent.person.0)
            .bind(sent.mutation.0)
            .bind(&sent.payload_hash)
            .bind(json)
            .bind(rights)
            .fetch_one(&self.app)
            .await?;
        Ok(is_stored)
    }

    /// What is stored, by the rights of now; or reads the committed state and stores the answer, unless another sending of
    /// the mutation stored its own first.
    async fn answer<T: Serialize + DeserializeOwned>(
        &self,
        sent: Sent,
        read: impl for<'c> FnOnce(&'c mut PgConnection) -> Step<'c, T>,
    ) -> Result<Written<T>, ApiError> {
        let (mut transaction, stamp, stored) = self.begin_answer(&sent).await?;
        if stored.payload_hash != sent.payload_hash {
            return Err(ApiError {
                kind: Kind::Conflict,
                ..ApiError::field("mutation_id", "was already used for something else")
            });
        }
        if sent.about.is_some() && stored.rights_now.is_none() {
            return Err(ApiError::not_found("organization"));
        }
        let may_be_told = stored.rights == stored.rights_now;
        if let Some(refusal) = stored.refusal {
            let refusal: ApiError = serde_json::from_value(refusal).map_err(|_| ApiError::internal())?;
            return Err(if may_be_told { refusal } else { ApiError::new(refusal.kind, REFUSED_BEFORE) });
        }
        let is_stored = stored.answer.is_some();
        if let Some(answer) = stored.answer.filter(|_| may_be_told) {
            return serde_json::from_value(answer).map_err(|_| ApiError::internal());
        }
        let data = read(&mut transaction).await?;
        end_read(transaction);
        let xid = stored.xid.map(|text| text.parse().map(Xid)).transpose().map_err(|_| ApiError::internal())?;
        let written = Written { data, xid, snapshot: stamp.snapshot, epoch: stamp.epoch };
        if is_stored {
            return Ok(written); // for this once: what is stored is that of other rights
        }
        let json = serde_json::to_value(&written).map_err(|_| ApiError::internal())?;

        let before: Option<Value> = sqlx::query_scalar("select millstream.store_answer($1, $2, $3, $4)")
            .bind(sent.person.0)
            .bind(sent.mutation.0)
            .bind(&json)
            .bind(stored.rights_now)
            .fetch_one(&self.app)
            .await?;
        match before {
            None => Ok(written),
            Some(before) => serde_json::from_value(before).map_err(|_| ApiError::internal()),
        }
    }

    /// Runs `body` as this person in one transaction, without a stamp: for what no cache holds.
    pub async fn run<T>(
        &self,
        actor: Actor,
        body: impl for<'c> FnOnce(&'c mut PgConnection) -> Step<'c, T>,
    ) -> Result<T, ApiError> {
        let mut transaction = self.begin("begin").await?;
        sqlx::query("select set_config('millstream.person', $1, true)")
            .bind(actor.setting())
            .execute(&mut *transaction)
            .await?;
        let done = body(&mut transaction).await?;
        transaction.commit().await?;
        self.committed.notify_one();
        Ok(done)
    }
}

/// Ends a transaction that has nothing to commit: nobody waits for it, the pool rolls it back.
fn end_read(transaction: Transaction<'static, Postgres>) {
    drop(transaction);
}

/// None where there is no epoch: nothing is stamped then.
fn stamp(snapshot: &str, epoch: Option<Uuid>) -> Result<Option<Stamp>, ApiError> {
    let Some(epoch) = epoch else { return Ok(None) };
    let snapshot: Snapshot = snapshot.parse().map_err(|error| {
        tracing::error!(%error, "PostgreSQL gave a snapshot that cannot be read");
        ApiError::internal()
    })?;
    Ok(Some(Stamp { snapshot, epoch: Epoch(epoch) }))
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            E::Database(refusal) => refused(refusal.as_ref()),
            E::RowNotFound => ApiError::not_found("record"),
            E::Io(_) | E::PoolTimedOut | E::PoolClosed | E::Tls(_) | E::WorkerCrashed => {
                tracing::warn!(%error, "the database cannot be reached");
                ApiError::new(Kind::Unreachable, "The database cannot be reached at the moment. Nothing was changed.")
            }
            _ => {
                tracing::error!(%error, "a statement failed");
                ApiError::internal()
            }
        }
    }
}

/// What the database's own rules say, in words for the person. `MS…` are raised by the schema, with their sentence.
fn refused(refusal: &dyn sqlx::error::DatabaseError) -> ApiError {
    let message = refusal.message().to_owned();
    let constraint = refusal.constraint().unwrap_or_default();
    match refusal.code().as_deref() {
        Some("MS403") => ApiError::new(Kind::Forbidden, message),
        Some("MS404") => ApiError::new(Kind::NotFound, message),
        Some("MS422") => {
            let column = refusal.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::column);
            let fields = column.map(|column| (column.to_owned(), message.clone())).into_iter().collect();
            ApiError { fields, ..ApiError::new(Kind::Invalid, message) }
        }
        Some("42501") => ApiError::new(Kind::Forbidden, "You may not do this here."),
        Some("23505") => ApiError::new(Kind::Conflict, format!("This exists already ({constraint}).")),
        Some("23503") => {
            ApiError::new(Kind::Invalid, format!("This names something that does not exist here ({constraint})."))
        }
        Some("23514") => ApiError::new(Kind::Invalid, format!("This is outside what is allowed ({constraint}).")),
        // Shut down, starting up, crashed, too many connections, out of time, deadlocked: it may go through later.
        Some("57P01" | "57P02" | "57P03" | "53300" | "57014" | "40P01" | "40001" | "55P03") => {
            tracing::warn!(code = ?refusal.code(), message, "the database did not finish a statement");
            ApiError::new(Kind::Unreachable, "The database did not answer in time. Nothing was changed.")
        }
        code => {
            tracing::error!(?code, message, constraint, "a statement failed");
            ApiError::internal()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by fuzzing keys: without serde_json's exact reader a number moved by its last bit each time it was read.
    #[test]
    fn a_fraction_that_is_read_and_written_again_is_the_same() {
        for text in ["10.366666666666664", "5.0000000000000004e57"] {
            let read: Value = serde_json::from_str(text).expect(text);
            let again: Value = serde_json::from_str(&read.to_string()).expect(text);
            assert_eq!(again, read, "{text}");
        }
    }
}
