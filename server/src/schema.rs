//! Brings the schema up to date at the start, as the owner, and keeps house from then on: the coming days' event partitions
//! are made, those of days gone by dropped, and what has lain in the trash too long, old mutations and expired sessions are
//! gone.

use crate::configuration::KeptDays;
use crate::forgetting::forget;
use crate::roles::connect_owner;
use crate::running::BootError;
use crate::shutdown::Stopping;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};
use std::time::Duration;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

const HOUR: Duration = Duration::from_secs(60 * 60);
/// Event partitions are made for so many days beyond today.
const DAYS_AHEAD: i32 = 2;
const SOON: Duration = Duration::from_secs(5 * 60);

/// Migrates, fits the triggers to their tables, keeps house and makes sure of an epoch. Several nodes may do so at once:
/// each of these lets one after the other in.
pub(crate) async fn bring_up(connection: &mut PgConnection, kept: KeptDays) -> Result<(), BootError> {
    MIGRATIONS.run(&mut *connection).await.map_err(BootError::Migrate)?;
    let written: Vec<String> = sqlx::query_scalar("select millstream.refresh_live_tables()")
        .fetch_one(&mut *connection)
        .await
        .map_err(|why| BootError::Schema { attempt: "fit the live tables' triggers to their columns", why })?;
    if !written.is_empty() {
        tracing::info!(tables = written.join(", "), "the triggers of live tables were written anew for their columns");
    }
    // What could not be dropped now is tried again in an hour.
    keep_house(connection, kept)
        .await
        .map_err(|why| BootError::Schema { attempt: "make the event table's partitions and empty the trash", why })?;
    sqlx::query("select millstream.ensure_epoch()")
        .execute(connection)
        .await
        .map_err(|why| BootError::Schema { attempt: "begin the database's epoch", why })?;
    Ok(())
}

/// The migrations that this server knows and its database has not had: none, unless somebody put an older database
/// under a running server.
pub(crate) async fn missing_migrations(app: &PgPool) -> Result<Vec<i64>, sqlx::Error> {
    let known: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
    sqlx::query_scalar("select millstream.missing_migrations($1)").bind(known).fetch_one(app).await
}

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) events: KeptDays,
    pub(crate) mutations: KeptDays,
}

/// Keeps house once an hour until told to stop; forgets at once, for what is to be forgotten may be much, and the start did not
/// wait for it. Connects anew each time: the owner's rights lie nowhere open.
pub(crate) async fn keep_house_hourly(owner: PgConnectOptions, kept: Kept, mut stopping: Stopping) {
    // Unlike migrations, nothing of this may take long.
    let owner = owner.options([("statement_timeout", "60s"), ("lock_timeout", "5s")]);
    let mut pause = HOUR;
    loop {
        let forgotten = async {
            let mut connection = connect_owner(&owner).await.map_err(|why| why.sentence())?;
            forget(&mut connection, kept.mutations, &mut stopping).await.map_err(|why| why.to_string())?;
            connection.close().await.map_err(|why| why.to_string())
        };
        if let Err(why) = forgotten.await {
            tracing::warn!("could not delete old mutations and expired sessions, trying again in an hour: {why}");
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopping.begun() => return,
        }
        let house = async {
            let mut connection = connect_owner(&owner).await.map_err(|why| why.sentence())?;
            let dropped = keep_house(&mut connection, kept.events).await.map_err(|why| why.to_string())?;
            connection.close().await.map_err(|why| why.to_string())?;
            Ok::<_, String>(dropped)
        };
        pause = match house.await {
            Ok(OldEvents::Gone) => HOUR,
            Ok(OldEvents::InUse) => SOON,
            // Nothing is lost meanwhile: two days are made ahead, and behind them stands the default partition.
            Err(why) => {
                tracing::warn!(
                    "could not make the event table's partitions and empty the trash, trying again soon: {why}"
                );
                SOON
            }
        };
    }
}

/// What came of dropping events that are older than they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OldEvents {
    Gone,
    /// Somebody writes to the event table in a long transaction.
    InUse,
}

async fn keep_house(connection: &mut PgConnection, kept: KeptDays) -> Result<OldEvents, sqlx::Error> {
    sqlx::query("select millstream.make_event_partitions($1)").bind(DAYS_AHEAD).execute(&mut *connection).await?;
    sqlx::query("select millstream.empty_trash()").execute(&mut *connection).await?;
    loop {
        let dropped = sqlx::query_scalar("select millstream.drop_oldest_events($1)")
            .bind(i32::from(kept.days()))
            .fetch_one(&mut *connection)
            .await;
        match dropped {
            Ok(true) => tracing::info!("dropped a day of change events"),
            Ok(false) => return Ok(OldEvents::Gone),
            Err(why) if is_in_use(&why) => {
                tracing::debug!("a day of change events is in use, and is dropped later");
                return Ok(OldEvents::InUse);
            }
            Err(why) => return Err(why),
        }
    }
}

/// `lock_not_available`.
fn is_in_use(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|refusal| refusal.code()).as_deref() == Some("55P03")
}
