//! Several calls of server functions in one request: `POST /api/batch`, as docs/api.md says it.

use super::{API, PERSON_HEADER, naming};
use crate::error::ApiError;
use crate::wire::{Batch, BatchAnswers, BatchCall};
use futures::channel::oneshot;
use futures::future::{MaybeDone, maybe_done};
use futures::poll;
use gloo_net::http::Request;
use http::Method;
use leptos::server_fn::error::{FromServerFnError, ServerFnErrorErr};
use leptos::server_fn::request::browser::BrowserRequest;
use std::cell::RefCell;
use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;

thread_local! {
    /// The requests that are being gathered; none while each goes by itself.
    static GATHERED: RefCell<Option<Vec<Gathered>>> = const { RefCell::new(None) };
}

struct Gathered {
    function: String,
    request: BrowserRequest,
    answer: oneshot::Sender<Answered>,
}

/// The status of an answer, and its text.
pub(super) type Answered = (u16, String);

/// A call of a server function.
type Call<T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + Send>>;

/// Takes the request into those that are being gathered, and tells where its answer will come; or gives it back.
pub(super) fn join(path: &str, request: BrowserRequest) -> Result<oneshot::Receiver<Answered>, BrowserRequest> {
    GATHERED.with_borrow_mut(|gathered| match (gathered, path.strip_prefix(API)) {
        (Some(gathered), Some(function)) if request.method() == Method::POST => {
            let (answer, wait) = oneshot::channel();
            gathered.push(Gathered { function: function.to_owned(), request, answer });
            Ok(wait)
        }
        _ => Err(request),
    })
}

/// Makes these calls in one request, in their order. Of each is told what it gives; none of those that were not begun,
/// because one before them failed in passing.
///
/// A call is gathered if it makes its request before it awaits anything, as server functions do.
///
/// # Errors
/// If the request as a whole was not carried out, or nobody knows.
pub(crate) async fn together<T>(calls: Vec<Call<T>>) -> Result<Vec<Option<Result<T, ApiError>>>, ApiError> {
    let mut calls: Vec<_> = calls.into_iter().map(|call| Box::pin(maybe_done(call))).collect();
    let mut gathered = Vec::new();
    let mut places = Vec::new();
    for call in &mut calls {
        GATHERED.set(Some(Vec::new()));
        let _is_done = poll!(call.as_mut());
        let its = GATHERED.take().unwrap_or_default().into_iter().next();
        places.push(its.is_some().then_some(gathered.len()));
        gathered.extend(its);
    }
    let mut batch = Batch { calls: Vec::new() };
    let mut waiting = Vec::new();
    for Gathered { function, request, answer } in gathered {
        let text = request.text().await.map_err(unreachable)?;
        batch.calls.push(BatchCall { function, arguments: raw(text)? });
        waiting.push(answer);
    }
    let answers = if batch.calls.is_empty() { Vec::new() } else { post(&batch).await?.answers };
    let begun = answers.len();
    for (answer, waiting) in answers.into_iter().zip(waiting) {
        // The call waits below.
        let _waits = waiting.send((answer.status, answer.body.get().to_owned()));
    }
    let mut told = Vec::new();
    for (mut call, place) in calls.into_iter().zip(places) {
        if place.is_some_and(|place| place >= begun) {
            told.push(None);
            continue;
        }
        if matches!(*call, MaybeDone::Future(_)) {
            call.as_mut().await;
        }
        told.push(call.as_mut().take_output());
    }
    Ok(told)
}

async fn post(batch: &Batch) -> Result<BatchAnswers, ApiError> {
    let body = serde_json::to_string(batch).map_err(|why| unreadable(&why))?;
    let mut request = Request::post(&format!("{}{API}batch", leptos::server_fn::client::get_server_url()))
        .header("Content-Type", "application/json")
        .header("Accept", "application/json");
    if let Some(person) = naming::person() {
        request = request.header(PERSON_HEADER, &person.to_string());
    }
    let response = request.body(body).map_err(unreachable)?.send().await.map_err(unreachable)?;
    let text = response.text().await.map_err(unreachable)?;
    if response.status() >= 400 {
        return Err(serde_json::from_str(&text).map_err(|why| unreadable(&why))?);
    }
    serde_json::from_str(&text).map_err(|why| unreadable(&why))
}

fn raw(text: String) -> Result<Box<serde_json::value::RawValue>, ApiError> {
    serde_json::value::RawValue::from_string(text).map_err(|why| unreadable(&why))
}

fn unreachable(why: impl Display) -> ApiError {
    ApiError::from_server_fn_error(ServerFnErrorErr::Request(why.to_string()))
}

fn unreadable(why: &serde_json::Error) -> ApiError {
    ApiError::from_server_fn_error(ServerFnErrorErr::Deserialization(why.to_string()))
}
