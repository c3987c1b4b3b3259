//! Traces by OpenTelemetry, where the environment names a collector: requests, the mutations in them, and the steps of the feed that
//! found something. Spans carry names, ids and numbers, never what a request, a row or an error says.

use crate::configuration::CollectorUrl;
use axum::http::{Method, StatusCode};
use millstream::feed::Batch;
use opentelemetry::trace::{Span as _, Status, Tracer as _, TracerProvider as _};
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

/// Whether the process sends traces, as global as its log: nothing is done for them where it does not.
static ARE_ON: AtomicBool = AtomicBool::new(false);
/// What has not been sent when the server stops has this long.
const END_BOUND: Duration = Duration::from_secs(5);

/// The way to the collector. Spans are sent by a thread of its own, some seconds after they end.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins to send; what else `OTEL_…` says (the service's name, headers, sampling, batches) is read by OpenTelemetry itself.
    ///
    /// # Errors
    /// Where OpenTelemetry cannot make use of the settings. Whether the collector is there is not asked.
    pub fn begin(collector: &CollectorUrl) -> Result<Self, ExporterBuildError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", collector.base()))
            .build()?;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("millstream");
        }
        let resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            // The log's lines.
            .with_max_events_per_span(0)
            .build();
        // For the feed, whose steps are known to be worth a span only when they are over.
        global::set_tracer_provider(provider.clone());
        ARE_ON.store(true, Ordering::Relaxed);
        Ok(Self(provider))
    }

    /// The spans that it has to be let see, in the words of `RUST_LOG`.
    ///
    /// One filter is for log and traces together: with one each, what asks beforehand whether something would be logged, as
    /// sqlx does, leaves them in a state in which the next span of that thread is lost.
    pub const SPANS: [&str; 2] = ["server::requests=info", "millstream::sql=debug"];

    /// Sends the spans that the filter lets through. Nothing of the log's lines in them: they may say anything.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("millstream"))
            .with_context_activation(false)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_error_fields_to_exceptions(false)
            .with_error_records_to_exceptions(false)
            .with_error_events_to_exceptions(false)
            .with_error_events_to_status(false)
    }

    /// Sends what is left.
    pub async fn end(self) {
        let ended = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(END_BOUND)).await;
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "not all traces could be sent"),
            Err(error) => tracing::error!(%error, "the end of the traces panicked"),
        }
    }
}

fn are_on() -> bool {
    ARE_ON.load(Ordering::Relaxed)
}

/// Names the span of a request as the conventions of OpenTelemetry do.
pub(crate) fn request_begins(span: &Span, method: &Method, route: &str, id: &str) {
    if are_on() {
        span.record("otel.kind", "server");
        span.record("otel.name", format!("{method} {route}"));
        span.set_attribute("http.request.method", method.to_string());
        span.set_attribute("http.route", route.to_owned());
        span.set_attribute("millstream.request.id", id.to_owned());
    }
}

/// Says how the request was answered.
pub(crate) fn request_ends(span: &Span, status: StatusCode) {
    if are_on() {
        span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            span.set_status(Status::error(""));
        }
    }
}

/// A step of the feed that has just ended, and what it found.
pub(crate) fn feed_stepped(took: Duration, found: &Found) {
    if are_on() {
        let tracer = global::tracer("millstream");
        let began = SystemTime::now().checked_sub(took).unwrap_or_else(SystemTime::now);
        let attributes = [
            KeyValue::new("millstream.feed.events", found.events),
            KeyValue::new("millstream.feed.tables", found.tables),
            KeyValue::new("millstream.feed.xmax", found.xmax),
            KeyValue::new("millstream.feed.restart", found.is_restart),
        ];
        let span = tracer.span_builder("feed step").with_start_time(began).with_attributes(attributes);
        span.start(&tracer).end();
    }
}

/// What there was in a step, as numbers.
pub(crate) struct Found {
    events: i64,
    /// Where the events were too many.
    tables: i64,
    xmax: i64,
    is_restart: bool,
}

impl Found {
    pub(crate) fn of(batch: &Batch) -> Self {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        Self {
            events: number(batch.events.len()),
            tables: number(batch.tables.len()),
            xmax: i64::try_from(batch.cursor.xmax().0).unwrap_or(i64::MAX),
            is_restart: batch.is_restart,
        }
    }
}
