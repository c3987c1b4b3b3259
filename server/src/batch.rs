//! `POST /api/batch`: several mutations in one request, carried out one after the other as if each had come by itself.

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use millstream::requests::API;
use millstream::wire::{Batch, BatchAnswer, BatchAnswers, BatchCall};
use millstream::{ApiError, Kind, MutationId};
use serde::Deserialize;
use serde_json::value::RawValue;

pub(crate) const PATH: &str = "/api/batch";

/// All of it is done before anything is answered.
const MOST_CALLS: usize = 50;
/// A call is answered with a row; nothing that is longer is an answer of ours.
const LONGEST: usize = 4 * 1024 * 1024;

/// What makes a call one that may be repeated without harm: the server functions that take no such id are none of these.
#[derive(Deserialize)]
struct Named {
    #[allow(dead_code)]
    mutation_id: MutationId,
}

/// Answers the calls of a batch in their order; `call` answers one of them, and `is_mutation` knows the functions that
/// may be called.
///
/// # Errors
/// 400 or 422 where the batch is none of ours: nothing is carried out then.
pub(crate) async fn answer<F: Future<Output = Response>>(
    request: Request,
    is_mutation: impl Fn(&str) -> bool,
    call: impl Fn(Request) -> F,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let batch: Batch = serde_json::from_slice(&body)
        .map_err(|why| ApiError::new(Kind::Malformed, format!("The request cannot be read: {why}.")))?;
    check(&batch, is_mutation)?;
    let mut answers = Vec::new();
    for BatchCall { function, arguments } in batch.calls {
        let path = format!("{API}{function}");
        let request = request_of(&parts, &path, &arguments)?;
        let response = call(request).await;
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), LONGEST).await.map_err(|_| ApiError::internal())?;
        let body = String::from_utf8(body.into()).map_err(|_| ApiError::internal())?;
        let body = RawValue::from_string(body).map_err(|_| ApiError::internal())?;
        answers.push(BatchAnswer { status, body });
        if ends(status) {
            break;
        }
    }
    Ok(axum::Json(BatchAnswers { answers }).into_response())
}

/// Whether what comes after may only be carried out once this has been tried again.
fn ends(status: u16) -> bool {
    [Kind::Unauthenticated, Kind::TooMany].iter().any(|kind| kind.status() == status) || status >= 500
}

fn check(batch: &Batch, is_mutation: impl Fn(&str) -> bool) -> Result<(), ApiError> {
    if batch.calls.is_empty() || batch.calls.len() > MOST_CALLS {
        return Err(ApiError::field("calls", format!("are 1 to {MOST_CALLS}")));
    }
    for BatchCall { function, arguments } in &batch.calls {
        if !is_mutation(function) {
            return Err(ApiError::field("calls", format!("{function} is no mutation")));
        }
        if serde_json::from_str::<Named>(arguments.get()).is_err() {
            return Err(ApiError::field("calls", format!("{function} is called without a mutation_id")));
        }
    }
    Ok(())
}

/// The call as a request by whoever sent the batch.
fn request_of(batch: &Parts, path: &str, arguments: &RawValue) -> Result<Request, ApiError> {
    let mut parts = batch.clone();
    parts.method = Method::POST;
    parts.uri = path.parse::<Uri>().map_err(|_| ApiError::field("calls", format!("there is no function {path}")))?;
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Request::from_parts(parts, Body::from(arguments.get().to_owned())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn batch(calls: &[(&str, &str)]) -> Batch {
        let calls = calls.iter().map(|(function, arguments)| BatchCall {
            function: (*function).to_owned(),
            arguments: RawValue::from_string((*arguments).to_owned()).unwrap(),
        });
        Batch { calls: calls.collect() }
    }

    const ID: &str = r#"{"mutation_id": "00000000-0000-0000-0000-000000000001"}"#;

    #[test]
    fn only_what_may_be_repeated_without_harm_is_taken() {
        let check = |calls: &[(&str, &str)]| check(&batch(calls), |function| function == "orders/update").is_ok();
        assert!(check(&[("orders/update", ID)]));
        assert!(!check(&[("session/sign_in", ID)]));
        assert!(!check(&[("orders/update", ID), ("orders/update", "{}")]));
        assert!(!check(&[]));
        assert!(check(&[("orders/update", ID); MOST_CALLS]));
        assert!(!check(&[("orders/update", ID); MOST_CALLS + 1]));
    }

    #[test]
    fn a_refusal_lets_the_next_one_be_carried_out_and_a_failure_in_passing_does_not() {
        let ending = [200, 400, 401, 403, 404, 409, 413, 422, 429, 500, 503].map(ends);
        assert_eq!(ending, [false, false, true, false, false, false, false, false, true, true, true]);
    }
}
