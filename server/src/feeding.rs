//! The task that drives the feed: takes a step, hands it to the hub, waits. Polls quickly after an event, slower when
//! nothing happens, at once when this process has committed.

use crate::metrics::durations;
use crate::shutdown::Stopping;
use crate::telemetry::{self, Found};
use millstream::feed::{Batch, Feed, FeedError};
use millstream::hub::Hub;
use prometheus_client::metrics::histogram::Histogram;
use sqlx::PgPool;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

const BUSY: Duration = Duration::from_millis(5);
const IDLE: Duration = Duration::from_millis(20);
/// How long after an event the feed counts as busy.
const BUSY_FOR: Duration = Duration::from_secs(1);
/// However many commits there are: no more than one step in this time.
const APART: Duration = Duration::from_millis(2);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// When the feed last took a step, for those who ask how far behind it is, and how long its steps took.
#[derive(Debug)]
pub struct Pulse {
    started: Instant,
    last_success: AtomicU64,
    steps: Histogram,
}

impl Pulse {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { started: Instant::now(), last_success: AtomicU64::new(0), steps: durations() })
    }

    /// The histogram of the steps that succeeded.
    pub(crate) fn steps(&self) -> Histogram {
        self.steps.clone()
    }

    fn beat(&self, began: Instant) {
        self.steps.observe(began.elapsed().as_secs_f64());
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_success.store(now, Ordering::Relaxed);
    }

    /// How long ago the last step succeeded (before the first: how long the feed has been trying).
    pub fn lag(&self) -> Duration {
        let last = Duration::from_millis(self.last_success.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last)
    }
}

/// Takes the feed's first step, so that the hub has a cursor before anybody is let in: a watch that is judged before
/// there is one may have missed something, and its connection is ended.
///
/// # Errors
/// Where the database does not answer.
pub(crate) async fn begin(pool: PgPool, hub: &Hub, pulse: &Pulse) -> Result<Feed, FeedError> {
    let began = Instant::now();
    let mut feed = Feed::new(pool).keeping(hub.told_one_by_one());
    hub.apply(feed.step().await?).await;
    pulse.beat(began);
    Ok(feed)
}

/// Runs until told to stop. Does not return for a database that is away: it comes back with it.
pub(crate) async fn run(
    mut feed: Feed,
    hub: Arc<Hub>,
    committed: Arc<Notify>,
    pulse: Arc<Pulse>,
    mut stopping: Stopping,
) {
    let mut pace = Pace::default();
    loop {
        let began = Instant::now();
        let step = tokio::select! {
            step = feed.step() => step,
            () = stopping.begun() => return,
        };
        let next = match step {
            Ok(batch) => {
                let found = is_news(&batch).then(|| Found::of(&batch));
                if pace.succeeded(began, found.is_some()) == Was::Away {
                    tracing::info!("the feed goes on");
                }
                hub.apply(batch).await;
                pulse.beat(began);
                if let Some(found) = found {
                    telemetry::feed_stepped(began.elapsed(), &found);
                }
                began + pace.pause(began)
            }
            Err(error) => {
                let (pause, was) = pace.failed();
                if was == Was::There {
                    tracing::warn!(%error, "the feed waits for the database");
                }
                Instant::now() + pause
            }
        };
        let is_well = !pace.is_away();
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            // A commit is no reason to ask a database sooner that did not answer.
            () = committed.notified(), if is_well => tokio::time::sleep_until(began + APART).await,
            () = stopping.begun() => return,
        }
    }
}

fn is_news(batch: &Batch) -> bool {
    batch.is_restart || !batch.events.is_empty() || !batch.tables.is_empty()
}

/// How the database was before.
#[derive(Debug, PartialEq, Eq)]
enum Was {
    There,
    Away,
}

/// Decides how long to wait from a step's beginning to the next one's.
#[derive(Default)]
struct Pace {
    last_event: Option<Instant>,
    /// The last pause of an outage.
    away: Option<Duration>,
}

impl Pace {
    fn succeeded(&mut self, began: Instant, is_news: bool) -> Was {
        if is_news {
            self.last_event = Some(began);
        }
        match self.away.take() {
            Some(_) => Was::Away,
            None => Was::There,
        }
    }

    fn pause(&self, now: Instant) -> Duration {
        match self.last_event {
            Some(last) if now.saturating_duration_since(last) < BUSY_FOR => BUSY,
            _ => IDLE,
        }
    }

    fn failed(&mut self) -> (Duration, Was) {
        let (pause, was) = match self.away {
            None => (FIRST_PAUSE, Was::There),
            Some(last) => ((last * 2).min(LONGEST_PAUSE), Was::Away),
        };
        self.away = Some(pause);
        (pause, was)
    }

    fn is_away(&self) -> bool {
        self.away.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_polls_quickly_for_a_second_after_an_event() {
        let mut pace = Pace::default();
        let start = Instant::now();
        assert_eq!(pace.pause(start), IDLE);
        pace.succeeded(start, true);
        assert_eq!(pace.pause(start + Duration::from_millis(999)), BUSY);
        assert_eq!(pace.pause(start + BUSY_FOR), IDLE);
    }

    #[test]
    fn an_outage_is_told_once_and_its_pauses_grow_to_a_bound() {
        let mut pace = Pace::default();
        assert_eq!(pace.failed(), (FIRST_PAUSE, Was::There));
        assert_eq!(pace.failed(), (FIRST_PAUSE * 2, Was::Away));
        for _ in 0..10 {
            pace.failed();
        }
        assert_eq!(pace.failed(), (LONGEST_PAUSE, Was::Away));
        assert_eq!(pace.succeeded(Instant::now(), false), Was::Away);
        assert_eq!(pace.succeeded(Instant::now(), false), Was::There);
        assert_eq!(pace.failed(), (FIRST_PAUSE, Was::There));
    }
}
