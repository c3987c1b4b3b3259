//! How many statements PostgreSQL carries out, and reads through the API.

use crate::Outcome;
use crate::crowd::Person;
use crate::stage::Stage;
use millstream::snapshot::{Snapshot, Xid};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

/// What PostgreSQL must be started with; the module is part of its own distribution ("contrib").
pub(crate) const SETTINGS: &[(&str, &str)] = &[("shared_preload_libraries", "pg_stat_statements")];

/// Statements of the server's two roles since `begin`; what only begins or ends a transaction is not counted.
pub(crate) struct Counted {
    /// Requests and the checks of watches.
    pub(crate) requests: f64,
    /// The feed, and what is asked of the event table.
    pub(crate) events: f64,
}

pub(crate) async fn install(owner: &mut PgConnection) -> Outcome {
    sqlx::raw_sql("create schema lab; create extension pg_stat_statements schema lab").execute(&mut *owner).await?;
    sqlx::raw_sql("alter system set pg_stat_statements.track_utility = off").execute(&mut *owner).await?;
    sqlx::raw_sql("select pg_reload_conf()").execute(owner).await?;
    Ok(())
}

pub(crate) async fn begin(owner: &mut PgConnection) -> Outcome {
    sqlx::raw_sql("select lab.pg_stat_statements_reset()").execute(owner).await?;
    Ok(())
}

pub(crate) async fn counted(owner: &mut PgConnection) -> Outcome<Counted> {
    let (requests, events): (i64, i64) = sqlx::query_as(
        "select coalesce(sum(calls) filter (where userid = 'millstream_app'::regrole), 0)::bigint,
                coalesce(sum(calls) filter (where userid = 'millstream_feed'::regrole), 0)::bigint
         from lab.pg_stat_statements where toplevel",
    )
    .fetch_one(owner)
    .await?;
    Ok(Counted { requests: requests as f64, events: events as f64 })
}

/// Reads as a client does that was told of this transaction, and checks that the answer contains it.
pub(crate) async fn read_again(
    http: &reqwest::Client,
    stage: &Stage,
    person: &Person,
    organization: Uuid,
    order: Option<Uuid>,
    xid: u64,
) -> Outcome {
    let what = match order {
        Some(order) => format!("get?organization={organization}&id={order}"),
        None => format!("list?organization={organization}"),
    };
    let request = http.get(format!("{}/api/orders/{what}", stage.url())).header("cookie", person.cookie());
    let answer = request.send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    if status != 200 {
        return Err(format!("a read was answered {status}: {text}").into());
    }
    let body: Value = serde_json::from_str(&text)?;
    let snapshot: Snapshot = serde_json::from_value(body["snapshot"].clone())?;
    if xid != 0 && !snapshot.sees(Xid(xid)) {
        return Err(format!("a read after {xid} was told answered as of {snapshot}").into());
    }
    Ok(())
}
