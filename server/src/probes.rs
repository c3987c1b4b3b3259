//! What operators ask: is it alive, is it ready, how busy is it.

use crate::routes::Web;
use crate::schema;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use millstream::hub::Counters;
use serde::Serialize;
use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

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

/// Prometheus' text format.
pub(crate) async fn metrics(State(web): State<Web>) -> Response {
    let (connections, watches) = web.hub.load();
    let load = Load { connections, watches, lag: web.pulse.lag(), started: web.started };
    let text = exposition(&load, web.hub.counters());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

struct Load {
    connections: usize,
    watches: usize,
    lag: Duration,
    started: SystemTime,
}

fn exposition(load: &Load, counters: &Counters) -> String {
    let started = load.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let gauges = [
        ("millstream_connections", "Live connections that stand now.", load.connections as f64),
        ("millstream_watches", "Keys that they watch.", load.watches as f64),
        ("millstream_feed_lag_seconds", "Time since the feed's last successful step.", load.lag.as_secs_f64()),
        ("process_start_time_seconds", "When the process started, since 1970.", started.as_secs_f64()),
    ];
    let counted = [
        ("millstream_frames_total", "Frames sent to live connections.", &counters.frames),
        ("millstream_events_total", "Change events taken from the feed.", &counters.events),
        ("millstream_matches_total", "Watched keys that events made stale.", &counters.matches),
        ("millstream_watch_checks_total", "Checks of watches against the database.", &counters.watch_checks),
        ("millstream_questions_total", "Questions answered by HTTP, without a live connection.", &counters.questions),
        ("millstream_revocations_total", "Memberships that ended.", &counters.revocations),
    ];
    let mut text = String::new();
    let mut add = |name: &str, help: &str, kind: &str, value: f64| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    };
    for (name, help, value) in gauges {
        add(name, help, "gauge", value);
    }
    for (name, help, value) in counted {
        add(name, help, "counter", value.load(Ordering::Relaxed) as f64);
    }
    text
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

    #[test]
    fn metrics_are_in_prometheus_format() {
        let counters = Counters::default();
        counters.events.store(7, Ordering::Relaxed);
        let started = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        let load = Load { connections: 3, watches: 9, lag: Duration::from_millis(20), started };
        let text = exposition(&load, &counters);
        for line in [
            "millstream_connections 3",
            "millstream_feed_lag_seconds 0.02",
            "process_start_time_seconds 5",
            "# TYPE millstream_events_total counter",
            "millstream_events_total 7",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in {text}");
        }
    }
}
