//! What many use instead of a feed: a trigger that calls `pg_notify`, and somebody who listens.

use crate::Outcome;
use crate::clock::{self, Nanos};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

const CHANNEL: &str = "lab";

/// A table that only this trigger tells of.
pub(crate) const NOTIFYING: &str = "lab_notify";

/// Makes the trigger's function. It tells what ours does: the transaction, the organization, table, record and kind of the
/// change, and what lists are filtered by, before and after.
pub(crate) async fn install(owner: &mut PgConnection) -> Outcome {
    sqlx::raw_sql(
        "create function lab_notify() returns trigger
         language plpgsql
         as $$
         begin
           perform pg_notify('lab', json_build_object(
             'xid', pg_current_xact_id()::text, 'organization', new.organization_id, 'table', tg_table_name,
             'record', new.id, 'type', tg_op,
             'old_facets', case when tg_op = 'UPDATE'
               then json_build_object('status', old.status, 'customer_id', old.customer_id) end,
             'new_facets', json_build_object('status', new.status, 'customer_id', new.customer_id))::text);
           return null;
         end
         $$",
    )
    .execute(owner)
    .await?;
    Ok(())
}

/// Has it tell of the table.
pub(crate) async fn tell_of(owner: &mut PgConnection, table: &str) -> Outcome {
    let sql = format!(
        "create trigger lab_notify after insert or update on {table} for each row execute function lab_notify()"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(owner).await?;
    Ok(())
}

/// Who is told of a table that has both triggers.
#[derive(Clone, Copy)]
pub(crate) enum Told {
    Feed,
    Listener,
}

/// Lets one of the two triggers of the table run and the other not.
pub(crate) async fn switch(owner: &mut PgConnection, table: &str, to: Told) -> Outcome {
    let (on, off) = match to {
        Told::Feed => ("live_change", "lab_notify"),
        Told::Listener => ("lab_notify", "live_change"),
    };
    let sql = format!("alter table {table} enable trigger {on}, disable trigger {off}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(owner).await?;
    Ok(())
}

/// One connection that listens, in a thread of its own, as a process of its own would.
pub(crate) struct Listening {
    heard: Arc<Mutex<Vec<(u64, Nanos)>>>,
    news: Arc<Notify>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Outcome>>,
}

impl Listening {
    /// Gives it once it listens.
    pub(crate) async fn begin(options: PgConnectOptions) -> Outcome<Self> {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let news = Arc::new(Notify::new());
        let (end, ended) = oneshot::channel();
        let (ready, is_ready) = oneshot::channel();
        let listening = listen(options, ready, Arc::clone(&heard), Arc::clone(&news));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("listener".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    failed = listening => failed,
                    _ = ended => Ok(()),
                }
            })
        })?;
        let begun = Self { heard, news, end: Some(end), thread: Some(thread) };
        is_ready.await.map_err(|_| "the listener could not begin")?;
        Ok(begun)
    }

    fn heard(&self) -> MutexGuard<'_, Vec<(u64, Nanos)>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it has heard of so many changes, and gives them, transaction and time; it begins anew then.
    ///
    /// # Errors
    /// Where they are not so many within `bound`, or more.
    pub(crate) async fn take(&self, count: usize, bound: Duration) -> Outcome<Vec<(u64, Nanos)>> {
        let waiting = async {
            loop {
                let news = self.news.notified();
                if self.heard().len() >= count {
                    return;
                }
                news.await;
            }
        };
        let waited = tokio::time::timeout(bound, waiting).await;
        let heard = std::mem::take(&mut *self.heard());
        if waited.is_err() || heard.len() != count {
            return Err(format!("{} changes were notified, not {count}", heard.len()).into());
        }
        Ok(heard)
    }
}

/// Notes what is notified, until it fails.
async fn listen(
    options: PgConnectOptions,
    ready: oneshot::Sender<()>,
    heard: Arc<Mutex<Vec<(u64, Nanos)>>>,
    news: Arc<Notify>,
) -> Outcome {
    let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(CHANNEL).await?;
    ready.send(()).map_err(|()| "nobody waits for the listener")?;
    loop {
        let said = listener.recv().await?;
        let at = clock::now();
        let body: Value = serde_json::from_str(said.payload())?;
        let xid = body["xid"].as_str().ok_or("a notification without a transaction")?.parse()?;
        heard.lock().unwrap_or_else(PoisonError::into_inner).push((xid, at));
        news.notify_waiters();
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.end.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(why))) => eprintln!("the listener: {why}"),
            Some(Err(_)) => eprintln!("the listener panicked"),
            _ => {}
        }
    }
}
