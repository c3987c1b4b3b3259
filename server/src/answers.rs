//! What `/api` answers when it does not answer data: always an [`ApiError`] as JSON, with the status that its kind stands
//! for, whichever layer it comes from.

use crate::requests::RequestName;
use crate::serving::TooSlow;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use millstream::{ApiError, Kind};
use std::error::Error;

/// A refused change carries the row as it is now; anything longer is no error of ours.
const LONGEST: usize = 1024 * 1024;
/// Of a body that is too long, so much is read and thrown away before the answer.
const MOST_DISCARDED: usize = 8 * 1024 * 1024;

/// The middleware around `/api`.
pub(crate) async fn as_api_errors(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let name = request.extensions().get::<RequestName>().cloned();
    let mut response = in_our_words(&path, name.as_ref(), next.run(request).await).await;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The response as it is, or the error that it is as one of ours: a fault of ours names the request, for whoever looks for it in
/// the log.
pub(crate) async fn in_our_words(path: &str, name: Option<&RequestName>, response: Response) -> Response {
    if response.status().is_client_error() || response.status().is_server_error() {
        return corrected(path, name, response).await;
    }
    response
}

/// The error as a response.
pub(crate) fn error(error: ApiError) -> Response {
    let status = StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, axum::Json(&error)).into_response();
    if error.kind == Kind::Unreachable {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}

/// Keeps the error if it is one of ours, else says the same in our words. Of the headers stay only those that mean
/// something beside an error: Leptos' own, and a redirect meant for forms, go.
async fn corrected(path: &str, name: Option<&RequestName>, response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let told = axum::body::to_bytes(body, LONGEST).await.ok();
    let told = told.and_then(|body| serde_json::from_slice::<ApiError>(&body).ok());
    let mut told = told.unwrap_or_else(|| instead_of(parts.status, path));
    if let (Kind::Internal, Some(name)) = (told.kind, name) {
        told.message = format!("{} (Reference: {})", told.message, name.as_str());
    }
    let mut corrected = error(told);
    if parts.status == StatusCode::METHOD_NOT_ALLOWED {
        *corrected.status_mut() = parts.status;
    }
    for name in [header::SET_COOKIE, header::RETRY_AFTER, header::ALLOW] {
        for value in parts.headers.get_all(&name) {
            corrected.headers_mut().append(&name, value.clone());
        }
    }
    corrected
}

fn instead_of(status: StatusCode, path: &str) -> ApiError {
    match status {
        StatusCode::UNAUTHORIZED => ApiError::unauthenticated(),
        StatusCode::FORBIDDEN => {
            ApiError::new(Kind::Forbidden, "This request came from another site, so it was not carried out.")
        }
        StatusCode::NOT_FOUND => ApiError::new(Kind::NotFound, format!("There is nothing at {path}.")),
        StatusCode::METHOD_NOT_ALLOWED => ApiError::new(Kind::Malformed, format!("{path} does not take this method.")),
        StatusCode::REQUEST_TIMEOUT => ApiError::new(Kind::TooSlow, "The request did not arrive in time. Try again."),
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(Kind::TooLarge, "This is more than can be sent at once."),
        StatusCode::TOO_MANY_REQUESTS => ApiError::new(Kind::TooMany, "Too many requests: try again later."),
        StatusCode::SERVICE_UNAVAILABLE => {
            ApiError::new(Kind::Unreachable, "The server cannot answer at the moment. Try again shortly.")
        }
        status if status.is_client_error() => ApiError::new(Kind::Malformed, "The request cannot be read."),
        _ => ApiError::internal(),
    }
}

/// Takes the whole body in, so that what follows knows it.
///
/// # Errors
/// 408 where it does not come in time. 413 where it is longer than `most` bytes; the rest is read and thrown away up to a bound: a client that is still
/// sending when the connection closes sees a broken pipe, and not the answer.
pub(crate) async fn whole(request: Request, most: usize) -> Result<Request, ApiError> {
    let too_large = || {
        ApiError::new(Kind::TooLarge, format!("This is more than can be sent at once: {} KiB at most.", most / 1024))
    };
    let (parts, body) = request.into_parts();
    let mut chunks = body.into_data_stream();
    let mut body = Vec::new();
    let mut seen = 0_usize;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|why| unreadable(&why))?;
        seen = seen.saturating_add(chunk.len());
        if seen <= most {
            body.extend_from_slice(&chunk);
        } else if seen > MOST_DISCARDED {
            break;
        }
    }
    if seen > most {
        return Err(too_large());
    }
    if std::str::from_utf8(&body).is_err() {
        return Err(ApiError::new(Kind::Malformed, "The request cannot be read: it is not UTF-8."));
    }
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// Why a body does not come to its end: it takes too long, or the client has gone and nobody reads the answer.
fn unreadable(why: &axum::Error) -> ApiError {
    match why.source().and_then(<dyn Error>::downcast_ref::<TooSlow>) {
        Some(TooSlow(bound)) => {
            let message = format!("The request did not arrive within {} s. Try again.", bound.as_secs_f32());
            ApiError::new(Kind::TooSlow, message)
        }
        None => ApiError::new(Kind::Malformed, "The request ended before its body was whole."),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn told(response: Response) -> (StatusCode, ApiError) {
        let response = corrected("/api/x", None, response).await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        assert!(response.headers().get(header::LOCATION).is_none());
        assert!(response.headers().get("serverfnerror").is_none());
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), LONGEST).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn an_error_of_a_server_function_gets_its_status() {
        let error = ApiError::field("title", "is empty");
        let body = serde_json::to_string(&error).unwrap();
        let headers = [("serverfnerror", "/api/x"), ("location", "/elsewhere")];
        let answer = (StatusCode::INTERNAL_SERVER_ERROR, headers, body).into_response();
        assert_eq!(told(answer).await, (StatusCode::UNPROCESSABLE_ENTITY, error));
    }

    #[tokio::test]
    async fn what_other_layers_say_is_said_in_our_words() {
        for (status, kind) in [
            (StatusCode::REQUEST_TIMEOUT, Kind::TooSlow),
            (StatusCode::PAYLOAD_TOO_LARGE, Kind::TooLarge),
            (StatusCode::NOT_FOUND, Kind::NotFound),
            (StatusCode::FORBIDDEN, Kind::Forbidden),
            (StatusCode::METHOD_NOT_ALLOWED, Kind::Malformed),
            (StatusCode::TOO_MANY_REQUESTS, Kind::TooMany),
            (StatusCode::INTERNAL_SERVER_ERROR, Kind::Internal),
        ] {
            let (answered, error) = told((status, "<html>").into_response()).await;
            assert_eq!((answered, error.kind), (status, kind));
        }
        let (_, error) = told(StatusCode::NOT_FOUND.into_response()).await;
        assert!(error.message.contains("/api/x"));
    }

    #[tokio::test]
    async fn cookies_and_waiting_times_stay() {
        let headers = [(header::SET_COOKIE, "a=b"), (header::RETRY_AFTER, "7")];
        let answer = (StatusCode::TOO_MANY_REQUESTS, headers).into_response();
        let response = corrected("/api/x", None, answer).await;
        assert_eq!(response.headers()[header::SET_COOKIE], "a=b");
        assert_eq!(response.headers()[header::RETRY_AFTER], "7");
    }

    #[tokio::test]
    async fn a_body_is_taken_up_to_its_bound() {
        let request = |bytes: usize| Request::new(Body::from("a".repeat(bytes)));
        assert!(whole(request(8), 8).await.is_ok());
        assert_eq!(whole(request(9), 8).await.unwrap_err().kind, Kind::TooLarge);
        let bytes = Request::new(Body::from(vec![0xff]));
        assert_eq!(whole(bytes, 8).await.unwrap_err().kind, Kind::Malformed);
    }
}
