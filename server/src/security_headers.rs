//! What every response tells the browser not to do, and the content security policy of pages.

use crate::configuration::{Configuration, Cookies};
use crate::site::Watch;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use leptos::nonce::use_nonce;
use leptos::prelude::use_context;
use leptos_axum::ResponseOptions;

/// Whether browsers are told to come by https alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Https,
    Plain,
}

impl Transport {
    pub(crate) fn of(configuration: &Configuration) -> Self {
        match configuration.cookies() {
            Cookies::Secure => Transport::Https,
            Cookies::Plain => Transport::Plain,
        }
    }
}

const ALWAYS: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
];

/// The layer around everything.
pub(crate) async fn add(State(transport): State<Transport>, mut response: Response) -> Response {
    response.headers_mut().extend(ALWAYS);
    if transport == Transport::Https {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    response
}

/// Called in the context of a page that is being rendered: its scripts carry the nonce of this one response. What a page
/// holds is one person's, so it is stored nowhere, and going back after signing out shows nothing.
pub(crate) fn guard_page(watch: Watch) {
    let Some(response) = use_context::<ResponseOptions>() else {
        return;
    };
    response.insert_header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let policy = policy(use_nonce().as_deref(), watch);
    match HeaderValue::from_str(&policy) {
        Ok(policy) => response.insert_header(header::CONTENT_SECURITY_POLICY, policy),
        Err(error) => tracing::error!(%error, "the content security policy is no header"),
    }
}

fn policy(nonce: Option<&str>, watch: Watch) -> String {
    let nonce = nonce.map(|nonce| format!(" 'nonce-{nonce}'")).unwrap_or_default();
    // The reload socket of cargo leptos is on another port, and so another origin.
    let reload = match watch {
        Watch::On => " ws: wss:",
        Watch::Off => "",
    };
    // Style attributes come from the server's rendering and cannot carry a nonce; style elements are not let in.
    format!(
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'{nonce}; style-src 'self'{nonce}; \
         style-src-attr 'unsafe-inline'; connect-src 'self'{reload}; img-src 'self' data:; object-src 'none'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_scripts_need_the_nonce() {
        let policy = policy(Some("abc"), Watch::Off);
        assert!(policy.contains("script-src 'self' 'wasm-unsafe-eval' 'nonce-abc';"), "{policy}");
        assert!(!policy.contains("script-src 'self' 'unsafe-inline'"), "{policy}");
        assert!(policy.contains("connect-src 'self';"), "{policy}");
    }

    #[test]
    fn the_reload_socket_is_let_in_when_watching_only() {
        assert!(policy(None, Watch::On).contains("connect-src 'self' ws: wss:;"));
    }

    #[tokio::test]
    async fn https_is_insisted_on_where_there_is_https() {
        let response = add(State(Transport::Plain), Response::default()).await;
        assert_eq!(response.headers()["x-frame-options"], "DENY");
        assert!(!response.headers().contains_key("strict-transport-security"));
        let response = add(State(Transport::Https), Response::default()).await;
        assert!(response.headers().contains_key("strict-transport-security"));
    }
}
