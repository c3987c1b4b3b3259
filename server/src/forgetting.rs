//! Old mutations and expired sessions are deleted, as the owner, in small steps with pauses: no statement takes long, and those
//! who are told of sessions are not told of too many at once.

use crate::configuration::KeptDays;
use crate::shutdown::Stopping;
use sqlx::PgConnection;
use std::time::Duration;

/// So many mutations go in one transaction: some ten milliseconds.
const MUTATIONS: i32 = 2_000;
const AFTER_MUTATIONS: Duration = Duration::from_millis(50);
/// Each is an event that the feed takes, of which 5,000 in one step would be told to everybody.
const SESSIONS: i32 = 200;
const AFTER_SESSIONS: Duration = Duration::from_millis(500);

/// Deletes all that is too old by now, or as much as can be until told to stop.
///
/// # Errors
/// Where PostgreSQL refuses or is away. What has been deleted until then stays deleted.
pub(crate) async fn forget(
    connection: &mut PgConnection,
    mutations_kept: KeptDays,
    stopping: &mut Stopping,
) -> Result<(), sqlx::Error> {
    let (mut mutations, mut sessions) = (0, 0);
    loop {
        let deleted: i32 = sqlx::query_scalar("select millstream.forget_mutations($1, $2)")
            .bind(i32::from(mutations_kept.days()))
            .bind(MUTATIONS)
            .fetch_one(&mut *connection)
            .await?;
        mutations += deleted;
        if deleted < MUTATIONS || stops_within(AFTER_MUTATIONS, stopping).await {
            break;
        }
    }
    loop {
        let deleted: i32 = sqlx::query_scalar("select millstream.forget_sessions($1)")
            .bind(SESSIONS)
            .fetch_one(&mut *connection)
            .await?;
        sessions += deleted;
        if deleted < SESSIONS || stops_within(AFTER_SESSIONS, stopping).await {
            break;
        }
    }
    if mutations + sessions > 0 {
        tracing::info!(mutations, sessions, "deleted old mutations and expired sessions");
    }
    Ok(())
}

async fn stops_within(pause: Duration, stopping: &mut Stopping) -> bool {
    tokio::time::timeout(pause, stopping.begun()).await.is_ok()
}
