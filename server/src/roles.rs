//! The three logins: the owner that DATABASE_URL names, requests as `millstream_app`, the feed as `millstream_feed`.
//! The schema makes the last two without a login; here they get one, the same on every node and in every database of the
//! cluster. A password is derived, never stored and never logged.

use crate::running::BootError;
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use std::time::Duration;

/// Many servers and tests start at once: a role that another one is altering is tried again.
const ATTEMPTS: u32 = 12;
/// How long a request waits for a connection before it is told that the database cannot be reached.
const ACQUIRE_BOUND: Duration = Duration::from_secs(3);
/// A pooled connection that rested longer than this is tried before it is given out: a restarted PostgreSQL then costs
/// no request, and a busy server no round trip.
const RESTED: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    App,
    Feed,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::App => "millstream_app",
            Role::Feed => "millstream_feed",
        }
    }
}

/// The owner's connection, for what runs at the start and once an hour: it may wait for other nodes' migrations.
pub(crate) fn owner_options(url: &str) -> Result<PgConnectOptions, BootError> {
    let options: PgConnectOptions = url.parse().map_err(BootError::DatabaseUrl)?;
    // An owner that is called millstream would else make the product's tables in the schema of that name.
    Ok(options.application_name("millstream owner").options([("timezone", "UTC"), ("search_path", "public")]))
}

/// Opens the owner's connection.
pub(crate) async fn connect_owner(options: &PgConnectOptions) -> Result<PgConnection, BootError> {
    options.connect().await.map_err(|why| BootError::Owner { target: target(options), why })
}

/// Makes sure that both roles can log in, and gives their pools: requests first, then the feed.
pub(crate) async fn open_pools(
    owner: &PgConnectOptions,
    connection: &mut PgConnection,
) -> Result<(PgPool, PgPool), BootError> {
    let system: String = sqlx::query_scalar("select system_identifier::text from pg_control_system()")
        .fetch_one(&mut *connection)
        .await
        .map_err(|why| BootError::Roles { attempt: "read the cluster's identifier (pg_control_system)", why })?;
    let secret = secret_of(owner);
    let app = login(owner, connection, Role::App, secret.as_deref(), &system).await?;
    let feed = login(owner, connection, Role::Feed, secret.as_deref(), &system).await?;
    let app = pool(16).connect_lazy_with(app);
    // The feed's statement is one every few milliseconds, and it comes back by itself from a dead connection.
    let feed = pool(4).connect_lazy_with(feed);
    Ok((app, feed))
}

fn pool(most: u32) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(most).acquire_timeout(ACQUIRE_BOUND).test_before_acquire(false).before_acquire(
        |connection, meta| {
            Box::pin(async move {
                if meta.idle_for > RESTED {
                    connection.ping().await?;
                }
                Ok(true)
            })
        },
    )
}

async fn login(
    owner: &PgConnectOptions,
    connection: &mut PgConnection,
    role: Role,
    secret: Option<&str>,
    system: &str,
) -> Result<PgConnectOptions, BootError> {
    let password = secret.map(|secret| password(role, secret, system));
    let options = options_of(owner, role, password.as_deref());
    let mut attempt = 1;
    loop {
        match options.connect().await {
            Ok(connected) => {
                // It was only a question; PostgreSQL notices an end without a goodbye too.
                if let Err(error) = connected.close().await {
                    tracing::debug!(%error, "a connection ended before it was closed");
                }
                return Ok(options);
            }
            Err(why) if is_refusal(&why) && attempt < ATTEMPTS => {
                allow_login(connection, role, password.as_deref(), attempt).await?;
            }
            Err(why) => {
                return Err(BootError::Login { role: role.name(), target: target(&options), why });
            }
        }
        attempt += 1;
    }
}

/// Gives the role its login. That another node is doing so at this moment is no error: the next attempt will tell.
async fn allow_login(
    connection: &mut PgConnection,
    role: Role,
    password: Option<&str>,
    attempt: u32,
) -> Result<(), BootError> {
    let altered = async {
        let mut transaction = connection.begin().await?;
        // Settings, because ALTER ROLE takes no parameters and no statement is built from strings here.
        sqlx::query("select set_config('millstream.role', $1, true), set_config('millstream.role_password', $2, true)")
            .bind(role.name())
            .bind(password.unwrap_or_default())
            .execute(&mut *transaction)
            .await?;
        sqlx::query(ALLOW_LOGIN).execute(&mut *transaction).await?;
        transaction.commit().await
    };
    match altered.await {
        Ok(()) => Ok(()),
        Err(why) if is_concurrent(&why) => {
            tokio::time::sleep(Duration::from_millis(20) * attempt).await;
            Ok(())
        }
        Err(why) => Err(BootError::Roles {
            attempt: "give the roles millstream_app and millstream_feed a login (the owner needs CREATEROLE)",
            why,
        }),
    }
}

// An owner without a password has nothing to derive one from, and a password that can be guessed is worse than none:
// then only such logins work as pg_hba.conf lets in without.
const ALLOW_LOGIN: &str = "
do $$
declare
  password text := current_setting('millstream.role_password');
begin
  if password = '' then
    execute format('alter role %I login', current_setting('millstream.role'));
  else
    execute format('alter role %I login password %L', current_setting('millstream.role'), password);
  end if;
end
$$";

fn options_of(owner: &PgConnectOptions, role: Role, password: Option<&str>) -> PgConnectOptions {
    let options = owner.clone().username(role.name()).application_name(role.name()).options([
        ("statement_timeout", "10s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "15s"),
    ]);
    let options = match role {
        Role::App => options,
        Role::Feed => options.options(millstream::feed::CONNECTION_SETTINGS),
    };
    match password {
        Some(password) => options.password(password),
        None => options,
    }
}

fn password(role: Role, secret: &str, system: &str) -> String {
    let digest = Sha256::digest(format!("{}:{secret}:{system}", role.name()));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The owner's password, whether it came by the URL, PGPASSWORD or the password file.
fn secret_of(owner: &PgConnectOptions) -> Option<String> {
    // sqlx shows it in a URL alone, and cannot write every host into one: this one it can.
    let url = owner.clone().host("localhost").username("owner").to_url_lossy();
    url.password().map(ToOwned::to_owned)
}

/// Who connects where, without the password.
fn target(options: &PgConnectOptions) -> String {
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    format!("database {database} at {place} as {}", options.get_username())
}

/// "Is not permitted to log in", "no entry in pg_hba.conf", "password authentication failed".
fn is_refusal(error: &sqlx::Error) -> bool {
    matches!(code(error).as_deref(), Some("28000" | "28P01"))
}

fn is_concurrent(error: &sqlx::Error) -> bool {
    match code(error).as_deref() {
        Some("XX000") => error.to_string().contains("tuple concurrently updated"),
        Some("40001" | "40P01") => true,
        _ => false,
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_same_on_every_node_and_another_for_every_role_and_cluster() {
        let app = password(Role::App, "secret", "7");
        assert_eq!(app, password(Role::App, "secret", "7"));
        assert_eq!(app.len(), 64);
        assert_ne!(app, password(Role::Feed, "secret", "7"));
        assert_ne!(app, password(Role::App, "secret", "8"));
        assert_ne!(app, password(Role::App, "other", "7"));
    }

    #[test]
    fn the_owners_password_is_found_whatever_the_host() {
        for (url, secret) in [
            ("postgres://u:p@h/db", Some("p")),
            ("postgres://u:p@[::1]:5433/db", Some("p")),
            ("postgres://u@localhost/db?host=/tmp/s&password=q", Some("q")),
        ] {
            assert_eq!(secret_of(&owner_options(url).unwrap()).as_deref(), secret, "{url}");
        }
    }

    #[test]
    fn what_is_told_of_a_target_holds_no_password() {
        let options = owner_options("postgres://u:geheim@h:5433/db").unwrap();
        assert_eq!(target(&options), "database db at h:5433 as u");
    }
}
