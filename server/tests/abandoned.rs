//! Who goes before the answer comes leaves nothing behind that the next one would find.

#![allow(clippy::unwrap_used)]

mod support;

use axum::body::Body;
use axum::http::{Request, header};
use millstream::sql::{Actor, Database};
use sqlx::postgres::PgPoolOptions;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;
use support::world::World;
use tokio::sync::Notify;
use tower::Service;

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
    let (committed, runtime) = (Arc::new(Notify::new()), tokio::runtime::Handle::current());
    let database = Database { app: pool.clone(), feed: pool.clone(), committed, runtime };
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
    assert!(steps > 1, "never abandoned: it came to its end at once");
    pool.close().await;
    world.stop().await;
}

/// Leptos goes on with a page when what it waits for has come: it must not find its values gone, nor half computed by another
/// thread. Without `render_on_one_thread` some of a hundred panic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_abandoned_at_any_moment_is_no_panic() {
    let panics = Arc::new(Mutex::new(Vec::new()));
    let before = std::panic::take_hook();
    let noted = panics.clone();
    std::panic::set_hook(Box::new(move |why| {
        noted.lock().unwrap().push(why.to_string());
        before(why);
    }));
    let world = World::new().await;
    let scene = world.scene().await;
    let page = || {
        let address = format!("/o/{}/orders", scene.organization);
        let request = Request::get(address).header(header::COOKIE, scene.owner.cookie()).body(Body::empty());
        world.server.router.clone().call(request.unwrap())
    };
    page().await.unwrap();
    let began = Instant::now();
    assert_eq!(page().await.unwrap().status(), 200);
    let whole = began.elapsed();
    for part in 0..100 {
        // That some are answered in time is as good.
        drop(tokio::time::timeout(whole * part / 60, page()).await);
    }
    // What has been abandoned goes on, and ends before the connections to the database do.
    world.stop().await;
    let panics = std::mem::take(&mut *panics.lock().unwrap());
    assert_eq!(panics, Vec::<String>::new());
}
