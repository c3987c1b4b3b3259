//! One read a key and request, on the server.

use crate::error::ApiError;
use crate::found::Found;
use crate::overlay::AnyValue;
use std::future::Future;
use std::sync::Arc;

/// The cache of one request on the server: components that read the same key are answered by one read. Provide it as
/// context for each page that is rendered.
#[derive(Clone, Default)]
pub struct RequestCache {
    flights: Arc<std::sync::Mutex<std::collections::HashMap<String, Flight>>>,
}

/// A read under way: whoever comes second waits for the first, and finds its answer.
type Flight = Arc<futures::lock::Mutex<Option<Answered>>>;

type Answered = Result<Found<AnyValue>, ApiError>;

impl RequestCache {
    pub(super) async fn once(&self, name: &str, fetched: impl Future<Output = Answered>) -> Answered {
        let flight = {
            let mut flights = self.flights.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            flights.entry(name.to_owned()).or_default().clone()
        };
        let mut answer = flight.lock().await;
        if let Some(known) = answer.as_ref() {
            return known.clone();
        }
        let fetched = fetched.await;
        *answer = Some(fetched.clone());
        fetched
    }
}
