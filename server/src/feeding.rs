//! The task that drives the feed: takes a step, hands it to the hub, waits. Polls quickly after an event, most quickly while the
//! database is still, slower when nothing has happened for long, at once when this process has committed. Where there is a relay and another server publishes, steps are heard
//! instead of taken.

use crate::metrics::durations;
use crate::relaying::{Relay, RelayCounts, Word};
use crate::shutdown::Stopping;
use crate::telemetry::{self, Found};
use millstream::feed::{Batch, Feed, FeedError};
use millstream::hub::Hub;
use millstream::relay::Heard;
use prometheus_client::metrics::histogram::Histogram;
use sqlx::PgPool;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// While a step costs a look at the events: the database is being written to.
const BUSY: Duration = Duration::from_millis(5);
/// While one costs next to nothing, so that whoever changes something now and then need not wait for the next look.
const ALERT: Duration = Duration::from_millis(2);
const IDLE: Duration = Duration::from_millis(10);
/// How long after an event the feed counts as busy.
const BUSY_FOR: Duration = Duration::from_secs(1);
/// However many commits there are: no more than one step on their account in this time.
const APART: Duration = Duration::from_millis(2);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// When the feed last took a step or heard of one, for those who ask how far behind it is, and how long those took that it took itself.
#[derive(Debug)]
pub struct Pulse {
    started: Instant,
    last_success: AtomicU64,
    steps: Histogram,
    pub(crate) relay: RelayCounts,
}

impl Pulse {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            last_success: AtomicU64::new(0),
            steps: durations(),
            relay: RelayCounts::default(),
        })
    }

    /// The histogram of the steps that succeeded.
    pub(crate) fn steps(&self) -> Histogram {
        self.steps.clone()
    }

    fn stepped(&self, began: Instant) {
        self.steps.observe(began.elapsed().as_secs_f64());
        self.beat();
    }

    fn beat(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_success.store(now, Ordering::Relaxed);
    }

    /// How long ago the last step succeeded or was heard (before the first: how long the feed has been trying).
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
    pulse.stepped(began);
    Ok(feed)
}

/// Runs until told to stop. Does not return for a database that is away: it comes back with it.
pub(crate) async fn run(
    feed: Feed,
    relay: Option<Relay>,
    committed: Arc<Notify>,
    hub: Arc<Hub>,
    pulse: Arc<Pulse>,
    mut stopping: Stopping,
) {
    let now = Instant::now();
    let mut driver = Driver { feed, relay, hub, pulse, pace: Pace::default(), asked: now, hurried: now };
    let mut next = now;
    loop {
        let is_well = !driver.pace.is_away();
        let reason = tokio::select! {
            biased;
            () = stopping.begun() => return,
            // Before the time: who was busy for long has heard nobody only if there is nothing to hear.
            word = hear(&mut driver.relay) => Reason::Word(word),
            // A commit is no reason to ask a database sooner that did not answer.
            () = committed.notified(), if is_well => Reason::Commit,
            () = tokio::time::sleep_until(next) => Reason::Time,
        };
        tokio::select! {
            at = driver.go_on(reason) => next = at,
            () = stopping.begun() => return,
        }
    }
}

/// Without a relay there is nothing to be heard, ever.
async fn hear(relay: &mut Option<Relay>) -> Word {
    match relay {
        Some(relay) => relay.hear().await,
        None => std::future::pending().await,
    }
}

/// Why the feed does something.
enum Reason {
    Time,
    /// This process has committed.
    Commit,
    Word(Word),
}

struct Driver {
    feed: Feed,
    relay: Option<Relay>,
    hub: Arc<Hub>,
    pulse: Arc<Pulse>,
    pace: Pace,
    /// When the database was last asked,
    asked: Instant,
    /// and when for a commit, or for what was not heard.
    hurried: Instant,
}

impl Driver {
    /// Gives when to ask the database next, if nothing happens before.
    async fn go_on(&mut self, reason: Reason) -> Instant {
        match reason {
            Reason::Time => self.ask().await,
            Reason::Commit => match &mut self.relay {
                Some(relay) if !relay.is_publisher() => {
                    relay.tell_of_commit().await;
                    self.next()
                }
                _ => self.ask_soon().await,
            },
            Reason::Word(Word::Commit) => self.ask_soon().await,
            Reason::Word(Word::Gap) => self.ask_for_gap().await,
            Reason::Word(Word::Step(whole)) => match self.feed.hear(whole) {
                Heard::Gap => self.ask_for_gap().await,
                Heard::Known => {
                    self.heard();
                    self.next()
                }
                Heard::News(batch) => {
                    self.heard();
                    self.succeeded(Instant::now(), is_news(&batch));
                    self.hub.apply(batch).await;
                    self.next()
                }
            },
        }
    }

    fn heard(&self) {
        self.pulse.beat();
        self.pulse.relay.heard.fetch_add(1, Ordering::Relaxed);
    }

    async fn ask_for_gap(&mut self) -> Instant {
        self.pulse.relay.gaps.fetch_add(1, Ordering::Relaxed);
        // What is missing is asked for with what comes after it, when the database answers again.
        if self.pace.is_away() { self.next() } else { self.ask_soon().await }
    }

    async fn ask_soon(&mut self) -> Instant {
        tokio::time::sleep_until(self.hurried + APART).await;
        self.hurried = Instant::now();
        self.ask().await
    }

    async fn ask(&mut self) -> Instant {
        let began = Instant::now();
        self.asked = began;
        let from = self.relay.as_ref().and_then(|_| self.feed.cursor()).map(|(snapshot, _)| snapshot.clone());
        match self.feed.step().await {
            Ok(batch) => {
                let found = is_news(&batch).then(|| Found::of(&batch));
                self.succeeded(began, found.is_some());
                self.pace.is_still = self.feed.is_still();
                if let Some(relay) = &mut self.relay {
                    relay.tell(&self.feed, from, &batch).await;
                }
                self.hub.apply(batch).await;
                self.pulse.stepped(began);
                if let Some(found) = found {
                    telemetry::feed_stepped(began.elapsed(), &found);
                }
            }
            Err(error) => {
                if self.pace.failed() == Was::There {
                    tracing::warn!(%error, "the feed waits for the database");
                }
            }
        }
        self.next()
    }

    fn succeeded(&mut self, began: Instant, is_news: bool) {
        if self.pace.succeeded(began, is_news) == Was::Away {
            tracing::info!("the feed goes on");
        }
    }

    fn next(&self) -> Instant {
        let by_itself = self.asked + self.pace.pause(Instant::now());
        let listening_until = self.relay.as_ref().and_then(Relay::silent_at);
        // After a failure the database is asked when the pause is over, heard or not.
        listening_until.filter(|_| !self.pace.is_away()).unwrap_or(by_itself)
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
    /// No transaction had ended between the last two steps.
    is_still: bool,
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
        match (self.away, self.last_event) {
            (Some(pause), _) => pause,
            (None, Some(last)) if now.saturating_duration_since(last) < BUSY_FOR => {
                if self.is_still {
                    ALERT
                } else {
                    BUSY
                }
            }
            (None, _) => IDLE,
        }
    }

    fn failed(&mut self) -> Was {
        let was = if self.is_away() { Was::Away } else { Was::There };
        self.away = Some(self.away.map_or(FIRST_PAUSE, |last| (last * 2).min(LONGEST_PAUSE)));
        was
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
        pace.is_still = true;
        assert_eq!(pace.pause(start + Duration::from_millis(999)), ALERT, "a look that costs little");
        assert_eq!(pace.pause(start + BUSY_FOR), IDLE);
    }

    #[test]
    fn an_outage_is_told_once_and_its_pauses_grow_to_a_bound() {
        let mut pace = Pace::default();
        let start = Instant::now();
        assert_eq!((pace.failed(), pace.pause(start)), (Was::There, FIRST_PAUSE));
        assert_eq!((pace.failed(), pace.pause(start)), (Was::Away, FIRST_PAUSE * 2));
        for _ in 0..10 {
            pace.failed();
        }
        assert_eq!((pace.failed(), pace.pause(start)), (Was::Away, LONGEST_PAUSE));
        assert_eq!(pace.succeeded(start, false), Was::Away);
        assert_eq!(pace.succeeded(start, false), Was::There);
        assert_eq!((pace.failed(), pace.pause(start)), (Was::There, FIRST_PAUSE));
    }
}
