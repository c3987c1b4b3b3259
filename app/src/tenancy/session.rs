//! Signing up, in and out: server functions under `/api/session`.

use super::Me;
use leptos::prelude::*;
use millstream::calls::{Reading, Writing};
use millstream::requests::Requests;
use millstream::{ApiError, Read};
use serde::{Deserialize, Serialize};

/// An answer that is only "done".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {}

/// Makes an account and signs in.
#[server(prefix = "/api", endpoint = "session/sign_up", protocol = Writing, client = Requests)]
pub async fn sign_up(name: String, email: String, password: String) -> Result<Me, ApiError> {
    use crate::request::{services, text};
    use millstream::PersonId;
    use millstream::sql::Actor;

    let services = services()?;
    let name = text("name", &name, 100)?;
    let email = acting::address(&email)?;
    if password.chars().count() < 10 {
        return Err(ApiError::field("password", "needs 10 characters at least"));
    }
    if password.len() > 1000 {
        return Err(ApiError::field("password", "may have 1000 characters at most"));
    }
    let hash = acting::hash(&services, password).await?;
    let person = PersonId::fresh();
    let (its_email, its_name) = (email.clone(), name.clone());
    let made = services.database.run(Actor::Nobody, move |transaction| {
        Box::pin(async move {
            sqlx::query("select sign_up($1, $2, $3, $4)")
                .bind(person.0)
                .bind(its_email)
                .bind(its_name)
                .bind(hash)
                .execute(transaction)
                .await?;
            Ok(())
        })
    });
    made.await.map_err(|error| match error.kind {
        millstream::Kind::Conflict => ApiError {
            kind: millstream::Kind::Conflict,
            ..ApiError::field("email", "has an account already: sign in instead")
        },
        _ => error,
    })?;
    acting::start(&services, person).await?;
    Ok(Me { id: person, name, email, organizations: Vec::new() })
}

/// Signs in. The same address takes a form's POST too (see `server`), so that it works without JavaScript.
#[server(prefix = "/api", endpoint = "session/sign_in", protocol = Writing, client = Requests)]
pub async fn sign_in(email: String, password: String) -> Result<Me, ApiError> {
    let services = crate::request::services()?;
    let person = acting::verify(&services, &email, password).await?;
    acting::start(&services, person).await?;
    Ok(acting::me(&services.database, person).await?.data)
}

/// Ends the session everywhere it is open.
#[server(prefix = "/api", endpoint = "session/sign_out", protocol = Writing, client = Requests)]
pub async fn sign_out() -> Result<Done, ApiError> {
    let services = crate::request::services()?;
    if let Some(caller) = crate::request::caller() {
        acting::end(&services, caller.token_hash).await?;
    }
    acting::set_cookie(&services.cookie.take())?;
    Ok(Done {})
}

/// Who is signed in, and where they belong.
#[server(name = ReadMe, prefix = "/api", endpoint = "session/me", protocol = Reading, client = Requests)]
pub async fn me() -> Result<Read<Me>, ApiError> {
    let (database, person) = crate::request::begin()?;
    acting::me(&database, person).await
}

#[cfg(feature = "ssr")]
pub mod acting {
    //! What stands behind the functions above; `server` uses it for forms too.

    use super::super::{Action, Belonging, Me, Module, Permission};
    use crate::request::{Services, SessionCookie};
    use argon2::Argon2;
    use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
    use leptos::prelude::use_context;
    use millstream::sql::{Actor, Database};
    use millstream::{ApiError, Kind, OrganizationId, PersonId, Read};
    use rand::RngCore;
    use sha2::{Digest, Sha256};
    use uuid::Uuid;

    pub(super) fn address(email: &str) -> Result<String, ApiError> {
        let email = email.trim().to_lowercase();
        let (user, host) = email.split_once('@').unwrap_or_default();
        let is_address =
            !user.is_empty() && host.contains('.') && !email.contains(char::is_whitespace) && email.len() <= 254;
        if is_address && !email.contains('\0') {
            Ok(email)
        } else {
            Err(ApiError::field("email", "is not an email address"))
        }
    }

    /// Runs away from the async threads, and only a few at once.
    async fn aside<T: Send + 'static>(
        services: &Services,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let _permit = services.hashing.acquire().await.map_err(|_| ApiError::internal())?;
        tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::internal())
    }

    pub async fn hash(services: &Services, password: String) -> Result<String, ApiError> {
        let hashed = aside(services, move || {
            let mut random = [0_u8; 16];
            rand::rng().fill_bytes(&mut random);
            let salt = SaltString::encode_b64(&random)?;
            Argon2::default().hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string())
        });
        hashed.await?.map_err(|_| ApiError::internal())
    }

    /// Whose email and password these are. An unknown email takes as long as a wrong password, and is told the same.
    pub async fn verify(services: &Services, email: &str, password: String) -> Result<PersonId, ApiError> {
        let refusal = || ApiError::new(Kind::Unauthenticated, "This email and password do not belong together.");
        if email.contains('\0') || password.len() > 1000 {
            return Err(refusal());
        }
        let email = email.trim().to_owned();
        let found = services.database.run(Actor::Nobody, move |transaction| {
            Box::pin(async move {
                let found: Option<(Uuid, String)> =
                    sqlx::query_as("select person_id, password_hash from credentials_of($1)")
                        .bind(email)
                        .fetch_optional(transaction)
                        .await?;
                Ok(found)
            })
        });
        let Some((person, stored)) = found.await? else {
            hash(services, password).await?;
            return Err(refusal());
        };
        let is_right = aside(services, move || {
            PasswordHash::new(&stored)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
        });
        if is_right.await? { Ok(PersonId(person)) } else { Err(refusal()) }
    }

    /// Begins a session and gives its token, of which only the hash is stored.
    pub async fn begin(database: &Database, person: PersonId) -> Result<String, ApiError> {
        let mut random = [0_u8; 32];
        rand::rng().fill_bytes(&mut random);
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let token_hash = hash_of(&token);
        let started = database.run(Actor::Nobody, move |transaction| {
            Box::pin(async move {
                sqlx::query("select start_session($1, $2)")
                    .bind(person.0)
                    .bind(token_hash)
                    .execute(transaction)
                    .await?;
                Ok(())
            })
        });
        started.await?;
        Ok(token)
    }

    /// What is stored of a token.
    pub fn hash_of(token: &str) -> Vec<u8> {
        Sha256::digest(token.as_bytes()).to_vec()
    }

    pub async fn end(services: &Services, token_hash: Vec<u8>) -> Result<(), ApiError> {
        let ended = services.database.run(Actor::Nobody, move |transaction| {
            Box::pin(async move {
                sqlx::query("select end_session($1)").bind(token_hash).execute(transaction).await?;
                Ok(())
            })
        });
        ended.await
    }

    pub(super) async fn start(services: &Services, person: PersonId) -> Result<(), ApiError> {
        let token = begin(&services.database, person).await?;
        set_cookie(&SessionCookie::give(services.cookie, &token))
    }

    pub(super) fn set_cookie(cookie: &str) -> Result<(), ApiError> {
        let value = axum::http::HeaderValue::from_str(cookie).map_err(|_| ApiError::internal())?;
        if let Some(response) = use_context::<leptos_axum::ResponseOptions>() {
            response.append_header(axum::http::header::SET_COOKIE, value);
        }
        Ok(())
    }

    /// A module with whether it may be viewed, and things in it created, updated and deleted.
    type Granted = (Module, [bool; 4]);

    /// An organization's id and name, the person's role there, how many members it has, and what the role may do.
    type BelongingRow = (Uuid, String, String, i64, sqlx::types::Json<Vec<Granted>>);

    /// The person with their organizations and rights.
    ///
    /// # Errors
    /// Those of [`Database::read`].
    pub async fn me(database: &Database, person: PersonId) -> Result<Read<Me>, ApiError> {
        let read = database.read(Actor::Person(person), &[], move |transaction| {
            Box::pin(async move {
                let (name, email): (String, String) = sqlx::query_as("select name, email from profiles where id = $1")
                    .bind(person.0)
                    .fetch_one(&mut *transaction)
                    .await?;
                let rows: Vec<BelongingRow> =
                    sqlx::query_as(
                        "select o.id, o.name, m.role,
                           (select count(*) from memberships other where other.organization_id = o.id),
                           (select coalesce(jsonb_agg(jsonb_build_array(p.module,
                              jsonb_build_array(p.can_view, p.can_create, p.can_update, p.can_delete)) order by p.module), '[]')
                            from role_permissions p where p.role = m.role)
                         from memberships m join organizations o on o.id = m.organization_id
                         where m.person_id = $1
                         order by o.name, o.id",
                    )
                    .bind(person.0)
                    .fetch_all(&mut *transaction)
                    .await?;
                let mut organizations = Vec::new();
                for (id, name, role, members, permissions) in rows {
                    let permissions = permissions.0.into_iter().map(|(module, flags)| Permission {
                        module,
                        actions: Action::ALL.iter().copied().zip(flags).filter(|(_, may)| *may).map(|(a, _)| a).collect(),
                    });
                    organizations.push(Belonging {
                        id: OrganizationId(id),
                        name,
                        role: role.parse()?,
                        members,
                        permissions: permissions.collect(),
                    });
                }
                Ok(Me { id: person, name, email, organizations })
            })
        });
        read.await
    }
}
