//! Brings the schema up to date at the start, as the owner, and keeps house from then on: the coming days' event partitions
//! are made, and what has lain in the trash too long is gone.

use crate::roles::connect_owner;
use crate::running::BootError;
use crate::shutdown::Stopping;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};
use std::time::Duration;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

const HOUR: Duration = Duration::from_secs(60 * 60);
const SOON: Duration = Duration::from_secs(5 * 60);

/// Migrates, keeps house and makes sure of an epoch. Several nodes may do so at once: sqlx lets one after the
/// other in.
pub(crate) async fn bring_up(connection: &mut PgConnection) -> Result<(), BootError> {
    MIGRATIONS.run(&mut *connection).await.map_err(BootError::Migrate)?;
    keep_house(connection)
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

/// Keeps house once an hour until told to stop. Connects anew each time: the owner's rights lie nowhere open.
pub(crate) async fn keep_house_hourly(owner: PgConnectOptions, mut stopping: Stopping) {
    let mut pause = HOUR;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopping.begun() => return,
        }
        let kept = async {
            let mut connection = connect_owner(&owner).await.map_err(|why| why.sentence())?;
            keep_house(&mut connection).await.map_err(|why| why.to_string())?;
            connection.close().await.map_err(|why| why.to_string())
        };
        pause = match kept.await {
            Ok(()) => HOUR,
            // Nothing is lost meanwhile: fourteen days are made ahead, and behind them stands the default partition.
            Err(why) => {
                tracing::warn!(
                    "could not make the event table's partitions and empty the trash, trying again soon: {why}"
                );
                SOON
            }
        };
    }
}

async fn keep_house(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("select millstream.make_event_partitions()").execute(&mut *connection).await?;
    sqlx::query("select millstream.empty_trash()").execute(connection).await?;
    Ok(())
}
