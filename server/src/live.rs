//! `GET /live`: who may open the live connection. `POST /live`: who may ask without one. What is said is the hub's business.

use crate::answers;
use crate::routes::Web;
use app::request::Caller;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use axum::{Extension, Json};
use hyper_util::rt::TokioIo;
use millstream::wire::{PROTOCOL, Reply};
use millstream::{ApiError, Kind, hub};
use tokio::net::TcpStream;
use tungstenite::handshake::server::create_response;

pub(crate) async fn connect(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    mut request: Request,
) -> Response {
    let upgraded = hyper::upgrade::on(&mut request);
    let (head, _) = request.into_parts();
    let handshake = http::Request::from_parts(head, ());
    let headers = handshake.headers();
    let answer = match create_response(&handshake) {
        Ok(answer) if offers_protocol(headers) => answer,
        _ => {
            return answers::error(ApiError::new(
                Kind::Malformed,
                format!("This address speaks WebSocket with the subprotocol {PROTOCOL}."),
            ));
        }
    };
    let Some(caller) = caller.0 else {
        return answers::error(ApiError::unauthenticated());
    };
    if !Origins::of(headers).are_ours(web.public_origin.as_deref()) {
        return answers::error(ApiError::new(
            Kind::Forbidden,
            "The live connection can be opened by our own pages only.",
        ));
    }
    tokio::spawn(async move {
        let upgraded = match upgraded.await {
            Ok(upgraded) => upgraded,
            Err(error) => return tracing::debug!(%error, "a client was gone before its connection was live"),
        };
        // The socket itself: frames are written to it from wherever they come about.
        match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => {
                let stream = parts.io.into_inner();
                hub::serve(web.hub, stream, parts.read_buf.into(), caller.person, caller.session).await;
            }
            Err(_) => tracing::error!("a connection is no TCP socket of this server, and cannot be live"),
        }
    });
    let mut answer = answer.map(|()| Body::empty());
    answer.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    answer
}

fn offers_protocol(headers: &HeaderMap) -> bool {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|offered| offered.to_str().ok());
    offered.flat_map(|offered| offered.split(',')).any(|offered| offered.trim() == PROTOCOL)
}

/// The client's question: as many keys as a connection may watch, each with a long name.
const LARGEST_QUESTION: usize = 2 * 1024 * 1024;

pub(crate) async fn ask(
    State(web): State<Web>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<Reply>, Response> {
    let Some(caller) = caller.0 else { return Err(answers::error(ApiError::unauthenticated())) };
    web.limits.question(caller.session)?;
    let request = answers::whole(request, LARGEST_QUESTION).await.map_err(answers::error)?;
    let body = to_bytes(request.into_body(), LARGEST_QUESTION).await.unwrap_or_default();
    let question = serde_json::from_slice(&body).map_err(|why| {
        answers::error(ApiError::new(Kind::Malformed, format!("This question cannot be read: {why}.")))
    })?;
    web.hub.answer(caller.person, question).await.map(Json).map_err(answers::error)
}

/// Where the request says it comes from. A browser sends no preflight for a WebSocket, but it sends these.
#[derive(Debug, Default)]
struct Origins<'a> {
    origin: Option<&'a str>,
    host: Option<&'a str>,
    fetch_site: Option<&'a str>,
}

impl<'a> Origins<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        // What is no text is no origin of ours either, but must not count as absent.
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        Self {
            origin: text(header::ORIGIN.as_str()),
            host: text(header::HOST.as_str()),
            fetch_site: text("sec-fetch-site"),
        }
    }

    fn are_ours(&self, public_origin: Option<&str>) -> bool {
        let Some(origin) = self.origin else {
            return self.fetch_site.is_none(); // no browser, so nobody's cookies are borrowed
        };
        if public_origin.is_some_and(|ours| ours.eq_ignore_ascii_case(origin)) {
            return true;
        }
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        matches!((authority, self.host), (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(origin: Option<&str>, host: &str, fetch_site: Option<&str>) -> bool {
        let origins = Origins { origin, host: Some(host), fetch_site };
        origins.are_ours(Some("https://mill.example"))
    }

    #[test]
    fn our_own_pages_may_connect() {
        assert!(ours(Some("http://127.0.0.1:3000"), "127.0.0.1:3000", Some("same-origin")));
        assert!(ours(Some("https://mill.example"), "10.0.0.7:3000", None));
    }

    #[test]
    fn other_pages_may_not() {
        for origin in ["https://evil.example", "null", "", "https://mill.example.evil.example", "http://127.0.0.1:3001"]
        {
            assert!(!ours(Some(origin), "127.0.0.1:3000", Some("cross-site")), "{origin}");
        }
        assert!(!Origins { origin: Some("null"), ..Origins::default() }.are_ours(None));
    }

    #[test]
    fn a_missing_origin_is_for_programs_only() {
        assert!(ours(None, "127.0.0.1:3000", None));
        assert!(!ours(None, "127.0.0.1:3000", Some("none")));
    }
}
