//! Signing in and out by a plain form, for pages whose JavaScript has not come (yet). Everything that is no form goes to
//! the server functions of the same address.

use crate::routes::Web;
use app::request::Caller;
use app::tenancy::session::acting;
use axum::body::Bytes;
use axum::http::header::InvalidHeaderValue;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millstream::{ApiError, Kind};

pub(crate) const SIGN_IN: &str = "/api/session/sign_in";
pub(crate) const SIGN_OUT: &str = "/api/session/sign_out";

/// What a form can be posted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    SignIn,
    SignOut,
}

impl Form {
    /// The form that this request is, if it is one.
    pub(crate) fn of(path: &str, headers: &HeaderMap) -> Option<Self> {
        let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return None;
        }
        match path {
            SIGN_IN => Some(Form::SignIn),
            SIGN_OUT => Some(Form::SignOut),
            _ => None,
        }
    }

    /// Answers it with a redirect, and the cookie.
    pub(crate) async fn answer(self, web: &Web, caller: &Caller, body: &Bytes) -> Result<Response, ApiError> {
        match self {
            Form::SignIn => sign_in(web, &SignIn::read(body)).await,
            Form::SignOut => {
                if let Some(caller) = &caller.0 {
                    acting::end(&web.services, caller.token_hash.clone()).await?;
                }
                see_other("/sign-in", Some(web.services.cookie.take())).map_err(|_| ApiError::internal())
            }
        }
    }
}

async fn sign_in(web: &Web, form: &SignIn) -> Result<Response, ApiError> {
    match acting::verify(&web.services, &form.email, form.password.clone()).await {
        Ok(person) => {
            let token = acting::begin(&web.services.database, person).await?;
            see_other(&form.next, Some(web.services.cookie.give(&token))).map_err(|_| ApiError::internal())
        }
        Err(error) if error.kind == Kind::Unauthenticated => {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("failed", "1")
                .append_pair("next", &form.next)
                .finish();
            see_other(&format!("/sign-in?{query}"), None).map_err(|_| ApiError::internal())
        }
        Err(error) => Err(error),
    }
}

fn see_other(location: &str, cookie: Option<String>) -> Result<Response, InvalidHeaderValue> {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_str(location)?);
    if let Some(cookie) = cookie {
        headers.insert(header::SET_COOKIE, HeaderValue::from_str(&cookie)?);
    }
    Ok(response)
}

struct SignIn {
    email: String,
    password: String,
    next: String,
}

impl SignIn {
    /// A field that is missing is empty, and will not sign anybody in.
    fn read(body: &[u8]) -> Self {
        let field = |name: &str| {
            form_urlencoded::parse(body)
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
                .unwrap_or_default()
        };
        Self { email: field("email"), password: field("password"), next: next(&field("next")).to_owned() }
    }
}

/// Where to go after signing in: a path of this site, else the start. Browsers read `//host` and `/\host` as another
/// site, and leave out tabs and newlines before they look.
fn next(wanted: &str) -> &str {
    let is_plain = wanted.chars().all(|c| c.is_ascii_graphic() && c != '\\');
    if is_plain && wanted.starts_with('/') && !wanted.starts_with("//") { wanted } else { "/" }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_is_sent_on_within_this_site_only() {
        for path in ["/", "/orders?status=draft&x=%20", "/a//b"] {
            assert_eq!(next(path), path);
        }
        for elsewhere in [
            "",
            "orders",
            "//evil.test",
            "/\\evil.test",
            "/\t/evil.test",
            "/\n/evil.test",
            "https://evil.test",
            "/a\\b",
        ] {
            assert_eq!(next(elsewhere), "/", "{elsewhere:?}");
        }
    }

    #[test]
    fn the_fields_are_decoded() {
        let form = SignIn::read(b"email=a%40b.test&password=p+q%26&next=%2Forders");
        assert_eq!((form.email.as_str(), form.password.as_str(), form.next.as_str()), ("a@b.test", "p q&", "/orders"));
        assert_eq!(SignIn::read(b"").next, "/");
    }

    #[test]
    fn only_forms_to_the_two_addresses_are_forms() {
        let of = |path: &str, content_type: &'static str| {
            Form::of(path, &HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]))
        };
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        assert_eq!(of(SIGN_IN, form), Some(Form::SignIn));
        assert_eq!(of(SIGN_OUT, form), Some(Form::SignOut));
        assert_eq!(of("/api/orders/create", form), None);
        assert_eq!(of(SIGN_IN, "application/json"), None);
        assert_eq!(Form::of(SIGN_IN, &HeaderMap::new()), None);
    }
}
