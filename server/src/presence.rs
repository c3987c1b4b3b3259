//! The tasks behind presence: the clock that lets go of who is gone, the questions about rights, and what the servers over one
//! database tell each other. They do so by `NOTIFY`, on connections of their own: it takes a lock that other notifications wait
//! for, and no other commit. What is lost here is made good by what is said next, so nothing is ever waited for, kept or repeated.

use crate::shutdown::Stopping;
use futures::future::join4;
use millstream::hub::Hub;
use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

const CHANNEL: &str = "millstream_presence";
const TURN: Duration = Duration::from_millis(250);
/// How long the other servers are not heard, or told, after the database did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs until told to stop. `feed` says how to connect: what is said here is the servers' own, as reading the events is.
pub(crate) async fn run(hub: Arc<Hub>, feed: PgPool, mut stopping: Stopping) {
    // One to listen on, one to speak. That somebody was there is nothing to wait for the disk for.
    let options = (*feed.connect_options()).clone().application_name("millstream presence");
    let options = options.options([("synchronous_commit", "off")]);
    let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(PAUSE).connect_lazy_with(options);
    // What cannot be said at once is not said: it is old by then.
    let (say, said) = mpsc::channel(1);
    let tasks = join4(turn(&hub, say), judge(&hub), speak(&pool, said), listen(&hub, &pool));
    tokio::select! {
        _ = tasks => {}
        () = stopping.begun() => {}
    }
    pool.close().await;
}

async fn turn(hub: &Hub, say: mpsc::Sender<Vec<String>>) {
    let mut clock = tokio::time::interval(TURN);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let words = hub.presence_turn();
        if !words.is_empty() && say.try_send(words).is_err() {
            tracing::debug!("the other servers are not told who is here, for they are still being told");
        }
    }
}

async fn judge(hub: &Hub) {
    loop {
        hub.judge_presence().await;
    }
}

async fn speak(pool: &PgPool, mut said: mpsc::Receiver<Vec<String>>) {
    let mut way = Way::default();
    while let Some(words) = said.recv().await {
        let notify =
            sqlx::query("select pg_notify($1, word) from unnest($2::text[]) as word").bind(CHANNEL).bind(words);
        let outcome = tokio::time::timeout(PAUSE, notify.execute(pool)).await.map_err(|_| sqlx::Error::PoolTimedOut);
        way.is(outcome.and_then(|outcome| outcome).map(drop), "the other servers cannot be told who is here").await;
        if way.is_closed {
            // It says how long it holds, as of when it was to be said.
            drop(said.try_recv());
        }
    }
}

async fn listen(hub: &Hub, pool: &PgPool) {
    let mut way = Way::default();
    loop {
        let ended = hear(hub, pool, &mut way).await;
        way.is(ended, "it is not known who is at the other servers").await;
    }
}

async fn hear(hub: &Hub, pool: &PgPool, way: &mut Way) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    way.is(Ok(()), "").await;
    while let Some(word) = listener.try_recv().await? {
        hub.presence_hears(word.payload());
    }
    Err(sqlx::Error::Io(io::ErrorKind::ConnectionReset.into()))
}

/// Whether the database lets through. That it does not is told once, and tried again after a pause.
#[derive(Default)]
struct Way {
    is_closed: bool,
}

impl Way {
    async fn is(&mut self, outcome: Result<(), sqlx::Error>, what: &str) {
        match outcome {
            Ok(()) => self.is_closed = false,
            Err(error) => {
                if !std::mem::replace(&mut self.is_closed, true) {
                    tracing::warn!(%error, "{what}");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
