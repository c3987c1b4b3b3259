//! What operators ask: is it alive, is it ready, how busy is it.

use crate::routes::Web;
use crate::schema;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::time::Duration;

/// A feed that is further behind is not ready.
const MOST_LAG: Duration = Duration::from_secs(2);
const DATABASE_BOUND: Duration = Duration::from_secs(1);

pub(crate) async fn healthz() -> &'static str {
    "ok"
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Answers,
    Away,
}

#[derive(Debug, Serialize)]
struct Readiness {
    database: Answer,
    missing_migrations: Vec<i64>,
    feed_lag_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// Ready is who has a database that answers and has every migration, and a feed that keeps up.
pub(crate) async fn readyz(State(web): State<Web>) -> Response {
    let asked = schema::missing_migrations(&web.services.database.app);
    let (database, missing) = match tokio::time::timeout(DATABASE_BOUND, asked).await {
        Ok(Ok(missing)) => (Answer::Answers, missing),
        Ok(Err(why)) => {
            tracing::warn!(%why, "the database did not say which migrations it has had");
            (Answer::Away, Vec::new())
        }
        Err(_) => (Answer::Away, Vec::new()),
    };
    let (status, readiness) = readiness(database, missing, web.pulse.lag());
    (status, axum::Json(readiness)).into_response()
}

fn readiness(database: Answer, missing_migrations: Vec<i64>, lag: Duration) -> (StatusCode, Readiness) {
    let message = if database == Answer::Away {
        Some("The database does not answer.".to_owned())
    } else if !missing_migrations.is_empty() {
        Some(format!("The database has not had the migrations {missing_migrations:?}. Start the server anew."))
    } else if lag >= MOST_LAG {
        Some(format!("The feed has not taken a step for {:.1} s.", lag.as_secs_f64()))
    } else {
        None
    };
    let status = if message.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let feed_lag_ms = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
    (status, Readiness { database, missing_migrations, feed_lag_ms, message })
}

/// What is counted, in the OpenMetrics text format.
pub(crate) async fn metrics(State(web): State<Web>) -> Response {
    const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match web.metrics.exposition() {
        Ok(text) => ([(header::CONTENT_TYPE, FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_who_has_a_database_with_every_migration_and_a_feed() {
        let soon = Duration::from_millis(20);
        assert_eq!(readiness(Answer::Answers, vec![], soon).0, StatusCode::OK);
        let (status, told) = readiness(Answer::Away, vec![], soon);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(told.message.as_deref(), Some("The database does not answer."));
        let (status, told) = readiness(Answer::Answers, vec![4, 5], soon);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(told.message.is_some_and(|message| message.contains("[4, 5]")));
        let (status, told) = readiness(Answer::Answers, vec![], MOST_LAG);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(told.feed_lag_ms, 2_000);
    }
}
