//! Who asks: looks the session's cookie up and tells every handler behind it by the extension [`Caller`].

use crate::answers;
use crate::routes::Web;
use app::request::{Caller, PageOwner, SignedIn};
use app::tenancy::session::acting::{self, hash_of};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use millstream::loader::Loader;
use millstream::requests::PERSON_HEADER;
use millstream::sql::Database;
use millstream::{ApiError, Kind, PersonId};
use sqlx::PgPool;
use std::collections::HashMap;
use uuid::Uuid;

/// Longer than any token of ours.
const LONGEST_TOKEN: usize = 128;

/// The middleware. Costs one statement where there is a cookie, shared with those who ask at the same time; none where not.
pub(crate) async fn find_caller(State(web): State<Web>, mut request: Request, next: Next) -> Response {
    let caller = match token(request.headers(), web.services.cookie.name()) {
        None => Caller(None),
        Some(token) => match session(&web.sessions, token).await {
            Ok(Some(found)) if names_another(&request, found.person) => {
                let why = "This page belongs to somebody else who was signed in here before. Load it anew.";
                return answers::error(ApiError::new(Kind::Unauthenticated, why));
            }
            Ok(found) => Caller(found),
            Err(error) => return refusal(request.uri().path(), error),
        },
    };
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// The middleware of pages: whose page it is comes with it, read once before anything of it is rendered. Costs two
/// statements for whom is signed in.
pub(crate) async fn find_page_owner(State(web): State<Web>, mut request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().and_then(|caller| caller.0.as_ref().map(|caller| caller.person));
    let owner = match caller {
        Some(person) => acting::me(&web.services.database, person).await.map(|read| read.data),
        None => Err(ApiError::unauthenticated()),
    };
    request.extensions_mut().insert(PageOwner(owner));
    next.run(request).await
}

/// Whether a page of somebody else's asks: what one person typed is never done as another. Signing in and out is
/// anybody's.
fn names_another(request: &Request, person: PersonId) -> bool {
    let is_about_session = request.uri().path().starts_with("/api/session/");
    let named = request.headers().get(PERSON_HEADER);
    !is_about_session && named.is_some_and(|named| named.as_bytes() != person.to_string().as_bytes())
}

/// Looks sessions up by the hashes of their tokens: those that are asked for at about the same time by one statement.
pub(crate) type Sessions = Loader<Vec<u8>, Option<SignedIn>>;

pub(crate) fn sessions(database: &Database) -> Sessions {
    let app = database.app.clone();
    Loader::new(&database.runtime, "sessions by their tokens", move |hashes| sessions_of(app.clone(), hashes))
}

async fn sessions_of(app: PgPool, hashes: Vec<Vec<u8>>) -> Result<Vec<Option<SignedIn>>, sqlx::Error> {
    let rows: Vec<(Vec<u8>, Uuid, Uuid, String, String)> =
        sqlx::query_as("select token, session_id, person_id, email, name from sessions_of($1)")
            .bind(&hashes)
            .fetch_all(&app)
            .await?;
    let signed_in = rows.into_iter().map(|(token_hash, session, person, email, name)| {
        (token_hash.clone(), SignedIn { person: PersonId(person), session, token_hash, name, email })
    });
    let signed_in: HashMap<_, _> = signed_in.collect();
    Ok(hashes.iter().map(|hash| signed_in.get(hash).cloned()).collect())
}

async fn session(sessions: &Sessions, token: &str) -> Result<Option<SignedIn>, ApiError> {
    sessions.load(hash_of(token)).await.map_err(|_| {
        ApiError::new(Kind::Unreachable, "The database cannot be reached at the moment. Nothing was changed.")
    })
}

/// The value of the cookie with this name, if it can be a token.
fn token<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(its_name, _)| *its_name == name)
        .map(|(_, token)| token)
        .filter(|token| !token.is_empty() && token.len() <= LONGEST_TOKEN)
}

fn refusal(path: &str, error: ApiError) -> Response {
    if path.starts_with("/api") || path == "/live" {
        return answers::error(error);
    }
    let (status, text) = match error.kind {
        Kind::Unreachable => {
            (StatusCode::SERVICE_UNAVAILABLE, "The database cannot be reached at the moment. Try again shortly.")
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong on our side. Try again."),
    };
    let mut response = (status, text).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn cookies(values: &[&str]) -> HeaderMap {
        let values = values.iter().map(|value| (header::COOKIE, value.parse().unwrap()));
        values.collect()
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let headers = cookies(&["a=b; xmillstream=no", "c; millstream=t0ken; d=e"]);
        assert_eq!(token(&headers, "millstream"), Some("t0ken"));
        assert_eq!(token(&headers, "__Host-millstream"), None);
    }

    #[test]
    fn what_cannot_be_a_token_is_not_asked_for() {
        assert_eq!(token(&cookies(&["millstream="]), "millstream"), None);
        let long = format!("millstream={}", "a".repeat(LONGEST_TOKEN + 1));
        assert_eq!(token(&cookies(&[&long]), "millstream"), None);
        assert_eq!(token(&HeaderMap::new(), "millstream"), None);
    }
}
