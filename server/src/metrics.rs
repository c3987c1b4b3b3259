//! What operators read at `/metrics`, in the OpenMetrics text format: counters of the hub, and how long requests and the
//! feed's steps took.

use crate::feeding::Pulse;
use app::request::Lists;
use axum::http::StatusCode;
use millstream::hub::Hub;
use millstream::sql::Counts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Upper bounds in seconds: a read on one machine, a batch of fifty, what a person gives up on.
const SECONDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 10.0];

/// A histogram of durations in seconds.
pub(crate) fn durations() -> Histogram {
    Histogram::new(SECONDS)
}

/// One a process.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Histogram>,
    refusals: Family<Refused, Counter>,
}

/// What a request was refused for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    status: u16,
}

/// What a request was and came to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: String,
    status: u16,
}

impl Metrics {
    pub(crate) fn new(
        hub: Arc<Hub>,
        delays: Histogram,
        lists: Arc<Lists>,
        pulse: Arc<Pulse>,
        started: SystemTime,
    ) -> Self {
        let mut registry = Registry::default();
        let requests = Family::<Answered, Histogram>::new_with_constructor(durations);
        registry.register(
            "millstream_request_seconds",
            "From a request's head to its answer's, by route and status",
            requests.clone(),
        );
        let refusals = Family::default();
        registry.register("millstream_refusals", "Requests that were refused (4xx), by status", refusals.clone());
        registry.register(
            "millstream_change_to_frame_seconds",
            "From the moment in which a change was made to the frame that tells a connection of it",
            delays,
        );
        registry.register("millstream_feed_step_seconds", "The feed's successful steps", pulse.steps());
        registry.register_collector(Box::new(Standing { hub, lists, pulse, started }));
        Self { registry, requests, refusals }
    }

    pub(crate) fn answered(&self, route: String, status: StatusCode, took: Duration) {
        let is_refusal = status.is_client_error();
        let status = status.as_u16();
        if is_refusal {
            self.refusals.get_or_create(&Refused { status }).inc();
        }
        self.requests.get_or_create(&Answered { route, status }).observe(took.as_secs_f64());
    }

    /// # Errors
    /// None that can happen: writing to a `String` does not fail.
    pub(crate) fn exposition(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// What others count or hold, read when it is asked for.
struct Standing {
    hub: Arc<Hub>,
    lists: Arc<Lists>,
    pulse: Arc<Pulse>,
    started: SystemTime,
}

impl fmt::Debug for Standing {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Standing")
    }
}

impl Collector for Standing {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let load = self.hub.load();
        let started = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for (name, help, value) in [
            ("millstream_connections", "Live connections that stand now", load.connections as f64),
            ("millstream_watches", "Keys that they watch", load.watches as f64),
            (
                "millstream_connections_waiting",
                "Live connections with news that are not written yet",
                load.waiting as f64,
            ),
            (
                "millstream_connections_blocked",
                "Live connections that do not take what was written",
                load.blocked as f64,
            ),
            (
                "millstream_present",
                "People who are present in their organizations, on any server",
                self.hub.present() as f64,
            ),
            (
                "millstream_feed_lag_seconds",
                "Time since the feed's last successful step",
                self.pulse.lag().as_secs_f64(),
            ),
            (
                "millstream_relay_publisher",
                "1 where this server publishes the feed over NATS, else 0",
                f64::from(u8::from(self.pulse.relay.is_publisher.load(Ordering::Relaxed))),
            ),
            ("process_start_time_seconds", "When the process started, since 1970", started.as_secs_f64()),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let (counters, relay) = (self.hub.counters(), &self.pulse.relay);
        let now = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let sum = |count: fn(&Counts) -> &AtomicU64| {
            self.lists.counts().into_iter().map(|counts| now(count(counts))).sum::<u64>()
        };
        for (name, help, value) in [
            ("millstream_frames", "Frames sent to live connections", now(&counters.frames)),
            ("millstream_events", "Change events taken from the feed", now(&counters.events)),
            ("millstream_matches", "Watched keys that events made stale", now(&counters.matches)),
            ("millstream_watch_checks", "Checks of watches against the database", now(&counters.watch_checks)),
            ("millstream_questions", "Questions answered by HTTP, without a live connection", now(&counters.questions)),
            ("millstream_revocations", "Memberships that ended", now(&counters.revocations)),
            (
                "millstream_live_refusals",
                "Keys that were not let be watched, and messages of live connections that were refused",
                now(&counters.refusals),
            ),
            (
                "millstream_relay_published",
                "Steps of the feed that this server published over NATS",
                now(&relay.published),
            ),
            ("millstream_relay_heard", "Steps of the feed that were heard over NATS", now(&relay.heard)),
            (
                "millstream_relay_gaps",
                "Steps heard over NATS of which something was missing, so that the database was asked",
                now(&relay.gaps),
            ),
            ("millstream_list_reads", "Lists read from the database", sum(|counts| &counts.reads)),
            (
                "millstream_list_shares",
                "Questions for lists answered by a read for others",
                sum(|counts| &counts.shared),
            ),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        Ok(())
    }
}
