//! Writers straight at PostgreSQL, as another process has them: each change is one transaction.

use crate::Outcome;
use crate::clock::{self, Nanos};
use sqlx::postgres::PgConnection;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

/// One committed change of an order.
#[derive(Clone, Copy)]
pub(crate) struct Commit {
    /// Which order, by its place in the crowd's.
    pub(crate) order: usize,
    pub(crate) xid: u64,
    /// When the transaction was sent.
    pub(crate) sent: Nanos,
    /// When PostgreSQL had answered that it is durable.
    pub(crate) answered: Nanos,
}

/// Changes the order's title, and gives the transaction once it is durable.
pub(crate) async fn rename(connection: &mut PgConnection, order: usize, id: Uuid) -> Outcome<Commit> {
    let sent = clock::now();
    let rows: Vec<String> = sqlx::query_scalar(
        "update sales_orders set title = 'Order ' || $2 where id = $1 returning pg_current_xact_id()::text",
    )
    .bind(id)
    .bind(sent.to_string())
    // All rows: so the end of the transaction is waited for, not its first word.
    .fetch_all(connection)
    .await?;
    let answered = clock::now();
    let xid = rows.first().ok_or("the order to rename does not exist")?.parse()?;
    Ok(Commit { order, xid, sent, answered })
}

/// How often, and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) gap: Duration,
    /// Commits that are due at the same moment.
    pub(crate) burst: u32,
    pub(crate) long: Duration,
}

impl Pace {
    pub(crate) fn a_second(times: u32, long: Duration) -> Self {
        Self { gap: Duration::from_secs(1) / times, burst: 1, long }
    }

    /// Does something at this pace, each time on its own time whether or not the one before is done, as far as the workers
    /// suffice. `one` is given the turn, counted from 0.
    pub(crate) async fn keep<W, T: Clone>(
        self,
        workers: &mut [W],
        one: impl AsyncFn(&mut W, u64) -> Outcome<T>,
    ) -> Outcome<Vec<T>> {
        let began = Instant::now();
        let next = std::cell::Cell::new(0_u32);
        let (next, one) = (&next, &one);
        let workers = workers.iter_mut().map(|worker| async move {
            let mut done = Vec::new();
            loop {
                let turn = next.get();
                let due = began + self.gap * (turn / self.burst);
                if due >= began + self.long {
                    return Outcome::Ok(done);
                }
                next.set(turn + 1);
                sleep_until(due).await;
                done.push(one(worker, turn.into()).await?);
            }
        });
        Ok(futures::future::try_join_all(workers).await?.concat())
    }
}

/// Makes commits at a steady pace, as far as the connections suffice. `which` names the orders, one after the other.
pub(crate) async fn at_pace(
    connections: &mut [PgConnection],
    orders: &[Uuid],
    pace: Pace,
    which: impl Fn(u64) -> usize,
) -> Outcome<Vec<Commit>> {
    let rename_one = async |connection: &mut PgConnection, turn: u64| {
        let order = which(turn);
        rename(connection, order, orders[order]).await
    };
    pace.keep(connections, rename_one).await
}
