//! Who goes before the answer comes leaves nothing behind that the next one would find.

#![allow(clippy::unwrap_used)]

mod support;

use millstream::sql::{Actor, Database};
use sqlx::postgres::PgPoolOptions;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use support::world::World;
use tokio::sync::Notify;

/// A future that is dropped after so many steps, as a request is whose browser has gone.
struct Abandoned<F> {
    inner: Option<Pin<Box<F>>>,
    steps: u32,
}

impl<F: Future> Future for Abandoned<F> {
    type Output = bool;

    /// Whether it came to its end.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        if self.steps == 0 {
            self.inner = None;
            return Poll::Ready(false);
        }
        self.steps -= 1;
        match self.inner.as_mut().map(|inner| inner.as_mut().poll(context)) {
            Some(Poll::Pending) if self.steps == 0 => {
                self.inner = None;
                Poll::Ready(false)
            }
            Some(Poll::Pending) => Poll::Pending,
            _ => Poll::Ready(true),
        }
    }
}

#[tokio::test]
async fn a_read_that_is_abandoned_at_any_step_leaves_no_transaction_open() {
    let world = World::new().await;
    // One connection: the next one gets what the last one left.
    let pool = PgPoolOptions::new().max_connections(1).connect(&world.server.owner_url).await.unwrap();
    let database = Database { app: pool.clone(), feed: pool.clone(), committed: Arc::new(Notify::new()) };
    let mut steps = 1;
    loop {
        let read = database.read(Actor::Nobody, &[], |transaction| {
            Box::pin(async move { Ok(sqlx::query_scalar::<_, i32>("select 1").fetch_one(transaction).await?) })
        });
        let is_done = Abandoned { inner: Some(Box::pin(read)), steps }.await;
        let isolation: String =
            sqlx::query_scalar("select current_setting('transaction_isolation')").fetch_one(&pool).await.unwrap();
        assert_eq!(isolation, "read committed", "after {steps} steps the connection is inside of a transaction");
        if is_done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 4, "abandoned only {steps} times");
    pool.close().await;
    world.stop().await;
}
