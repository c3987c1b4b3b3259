//! Each request has a name, which stands beside all that is logged of it, in the answer's header `x-request-id`, and in the
//! sentence that a person reads of a fault: so that what somebody reports is found. How long it took is counted.

use crate::metrics::Metrics;
use crate::telemetry;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;
use std::time::Instant;
use tracing::Instrument;
use tracing::field::Empty;
use uuid::Uuid;

pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// A name that a proxy gives may be as long as this, in characters.
const LONGEST: usize = 64;

/// The name of a request. A handler finds it among the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestName(String);

impl RequestName {
    /// That which a proxy before us gave, so that its log and ours agree; else one of our own.
    fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(HEADER).and_then(|given| given.to_str().ok()).filter(|given| is_name(given));
        Self(given.map_or_else(fresh, str::to_owned))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Twelve hexadecimal digits: short enough to be read out.
fn fresh() -> String {
    let mut name = Uuid::new_v4().simple().to_string();
    name.truncate(12);
    name
}

fn is_name(given: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !given.is_empty() && given.len() <= LONGEST && given.bytes().all(is_plain)
}

/// The layer around everything.
pub(crate) async fn observe(State(metrics): State<Arc<Metrics>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let name = RequestName::of(request.headers());
    let route = route(&request);
    let span = tracing::info_span!(
        "request",
        id = name.as_str(),
        method = %request.method(),
        route,
        otel.kind = Empty,
        otel.name = Empty
    );
    telemetry::request_begins(&span, request.method(), &route, name.as_str());
    request.extensions_mut().insert(name.clone());
    let mut response = next.run(request).instrument(span.clone()).await;
    let (took, status) = (began.elapsed(), response.status());
    telemetry::request_ends(&span, status);
    span.in_scope(|| {
        if status.is_server_error() {
            tracing::error!(status = status.as_u16(), ?took, "a request failed");
        } else {
            tracing::debug!(status = status.as_u16(), ?took, "answered");
        }
    });
    metrics.answered(route, status, took);
    if let Ok(name) = HeaderValue::from_str(name.as_str()) {
        response.headers_mut().insert(HEADER, name);
    }
    response
}

/// Where the request goes, as one of a bounded number of texts, and without what is secret in an address (an invitation's
/// token): of a page its pattern, of a server function its path if there is one.
fn route(request: &Request) -> String {
    match request.extensions().get::<MatchedPath>().map(MatchedPath::as_str) {
        None => "(file)".to_owned(),
        Some("/api/{*path}") if crate::routes::is_function(request.uri().path()) => request.uri().path().to_owned(),
        Some(pattern) => pattern.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn named(given: &str) -> RequestName {
        RequestName::of(&HeaderMap::from_iter([(HEADER, HeaderValue::from_str(given).unwrap())]))
    }

    #[test]
    fn a_proxys_name_is_kept_if_it_is_one() {
        assert_eq!(named("edge-7_a.b").as_str(), "edge-7_a.b");
        for none in ["", "a b", "a\"b", "ä", &"a".repeat(65)] {
            assert_eq!(named(none).as_str().len(), 12, "{none}");
            assert_ne!(named(none), named(none));
        }
    }
}
