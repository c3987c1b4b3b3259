//! Old mutations and expired sessions are deleted, as the owner, in small steps with pauses: no statement takes long, and those
//! who are told of sessions are not told of too many at once.

use crate::configuration::KeptDays;
use crate::shutdown::Stopping;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryScalar;
use sqlx::{PgConnection, Postgres};
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
    let days = i32::from(mutations_kept.days());
    let forget_mutations =
        |most| sqlx::query_scalar("select millstream.forget_mutations($1, $2)").bind(days).bind(most);
    let forget_sessions = |most| sqlx::query_scalar("select millstream.forget_sessions($1)").bind(most);
    let mutations = in_steps(connection, forget_mutations, MUTATIONS, AFTER_MUTATIONS, stopping).await?;
    let sessions = in_steps(connection, forget_sessions, SESSIONS, AFTER_SESSIONS, stopping).await?;
    if mutations + sessions > 0 {
        tracing::info!(mutations, sessions, "deleted old mutations and expired sessions");
    }
    Ok(())
}

/// Gives how many were deleted.
async fn in_steps(
    connection: &mut PgConnection,
    forget: impl Fn(i32) -> QueryScalar<'static, Postgres, i32, PgArguments>,
    most: i32,
    pause: Duration,
    stopping: &mut Stopping,
) -> Result<i32, sqlx::Error> {
    let mut all = 0;
    loop {
        let deleted = forget(most).fetch_one(&mut *connection).await?;
        all += deleted;
        if deleted < most || tokio::time::timeout(pause, stopping.begun()).await.is_ok() {
            return Ok(all);
        }
    }
}
