//! What a request on the server knows: who asks, and the services that answer. Set by `server`, read by the server
//! functions.

use crate::customers::Customer;
use crate::orders::OrderPage;
use crate::projects::ProjectRow;
use crate::tenancy::{Action, Me, Member, Module};
use leptos::prelude::use_context;
use millstream::sql::{Actor, Counts, Database, SharedRead};
use millstream::{ApiError, OrganizationId, PersonId};
use sqlx::PgConnection;
use std::sync::Arc;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// Shared by all requests of the process; provided as context.
#[derive(Clone)]
pub struct Services {
    pub database: Database,
    pub cookie: SessionCookie,
    /// Hashing a password takes a core for tens of milliseconds: as many at once as this has permits.
    pub hashing: Arc<Semaphore>,
    pub lists: Arc<Lists>,
}

impl Services {
    /// `cores` are what passwords may be hashed on at once.
    pub fn new(database: &Database, cookie: SessionCookie, cores: usize) -> Self {
        let hashing = Arc::new(Semaphore::new(cores));
        Self { cookie, hashing, lists: Arc::new(Lists::new(database)), database: database.clone() }
    }
}

/// The lists that many look at: read once for those who see the same.
pub struct Lists {
    pub(crate) orders: SharedRead<crate::orders::Asked, OrderPage>,
    pub(crate) projects: SharedRead<bool, Vec<ProjectRow>>,
    pub(crate) customers: SharedRead<(), Vec<Customer>>,
    pub(crate) members: SharedRead<(), Vec<Member>>,
}

impl Lists {
    fn new(database: &Database) -> Self {
        Self {
            orders: SharedRead::new(database, |transaction, organization, asked| {
                Box::pin(crate::orders::page_of(transaction, organization, asked))
            }),
            projects: SharedRead::new(database, |transaction, organization, archived| {
                Box::pin(crate::projects::list_of(transaction, organization, archived))
            }),
            customers: SharedRead::new(database, |transaction, organization, ()| {
                Box::pin(crate::customers::customers_of(transaction, organization))
            }),
            members: SharedRead::new(database, |transaction, organization, ()| {
                Box::pin(crate::tenancy::members_of(transaction, organization))
            }),
        }
    }

    /// What each has been asked.
    pub fn counts(&self) -> [&Counts; 4] {
        [self.orders.counts(), self.projects.counts(), self.customers.counts(), self.members.counts()]
    }
}

/// The name and the attributes of the session's cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionCookie {
    /// Where TLS is: `__Host-`, which no other host or path can set.
    Secure,
    /// Plain HTTP, as in development on loopback.
    Plain,
}

impl SessionCookie {
    pub fn name(self) -> &'static str {
        match self {
            SessionCookie::Secure => "__Host-millstream",
            SessionCookie::Plain => "millstream",
        }
    }

    /// The `Set-Cookie` that gives the token, for as long as the session lasts.
    pub fn give(self, token: &str) -> String {
        self.set(token, 30 * 24 * 60 * 60)
    }

    /// The `Set-Cookie` that takes it away.
    pub fn take(self) -> String {
        self.set("", 0)
    }

    fn set(self, value: &str, seconds: u32) -> String {
        let secure = if self == SessionCookie::Secure { "; Secure" } else { "" };
        format!("{}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}", self.name())
    }
}

/// Who asks: an extension of every request, set by the session layer.
#[derive(Clone, Debug, Default)]
pub struct Caller(pub Option<SignedIn>);

/// Whose page is being rendered, with their organizations and rights: an extension of every request for a page.
#[derive(Clone, Debug)]
pub struct PageOwner(pub Result<Me, ApiError>);

/// Whose page this is.
pub fn page_owner() -> Result<Me, ApiError> {
    let parts = use_context::<axum::http::request::Parts>();
    let owner = parts.and_then(|parts| parts.extensions.get::<PageOwner>().cloned());
    owner.map_or_else(|| Err(ApiError::unauthenticated()), |owner| owner.0)
}

/// A person with a session.
#[derive(Clone, Debug)]
pub struct SignedIn {
    pub person: PersonId,
    pub session: Uuid,
    /// SHA-256 of the cookie's token.
    pub token_hash: Vec<u8>,
    pub name: String,
    pub email: String,
}

/// The services of this request.
pub fn services() -> Result<Services, ApiError> {
    use_context::<Services>().ok_or_else(|| {
        tracing::error!("a server function ran outside of a request");
        ApiError::internal()
    })
}

/// Who asks, if anybody is signed in.
pub fn caller() -> Option<SignedIn> {
    use_context::<axum::http::request::Parts>()?.extensions.get::<Caller>()?.0.clone()
}

/// Who asks.
///
/// # Errors
/// 401 where nobody is signed in.
pub fn signed_in() -> Result<SignedIn, ApiError> {
    caller().ok_or_else(ApiError::unauthenticated)
}

/// The services and the person, as every organization's server function begins.
pub fn begin() -> Result<(Database, PersonId), ApiError> {
    let person = signed_in()?.person;
    Ok((services()?.database, person))
}

/// The lists that people share, and the person.
pub fn begin_list() -> Result<(Arc<Lists>, PersonId), ApiError> {
    let person = signed_in()?.person;
    Ok((services()?.lists, person))
}

/// The same as [`begin`], as the actor of a read.
pub fn begin_read() -> Result<(Database, Actor), ApiError> {
    let (database, person) = begin()?;
    Ok((database, Actor::Person(person)))
}

/// Refuses who may not do this in the organization. Row-level security would too; this says it in words.
///
/// # Errors
/// 404 for whom is no member (the organization is not theirs to know of), 403 for members without the right.
pub async fn require(
    transaction: &mut PgConnection,
    organization: OrganizationId,
    module: Module,
    action: Action,
) -> Result<(), ApiError> {
    let may: Option<bool> = sqlx::query_scalar("select millstream.may($1, $2, $3)")
        .bind(organization.0)
        .bind(module.name())
        .bind(action.name())
        .fetch_one(transaction)
        .await?;
    granted(may, module, action)
}

/// The same for a statement that asks `millstream.may` itself, beside what it reads.
///
/// # Errors
/// As [`require`].
pub fn granted(may: Option<bool>, module: Module, action: Action) -> Result<(), ApiError> {
    match may {
        Some(true) => Ok(()),
        Some(false) => Err(ApiError::forbidden(&format!("{} {}", action.label(), module.label()))),
        None => Err(ApiError::not_found("organization")),
    }
}

/// A text field: trimmed, not empty, and not too long.
pub fn text(name: &str, value: &str, most: usize) -> Result<String, ApiError> {
    let value = value.trim();
    if value.is_empty() {
        return Err(ApiError::field(name, "may not be empty"));
    }
    if value.chars().count() > most {
        return Err(ApiError::field(name, format!("may have {most} characters at most")));
    }
    if value.chars().any(|c| c == '\0') {
        return Err(ApiError::field(name, "contains a character that cannot be stored"));
    }
    Ok(value.to_owned())
}
