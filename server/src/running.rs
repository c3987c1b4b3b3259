//! Starting and stopping: everything that runs is begun here in order, and ended here in the opposite one.

use crate::boot_check;
use crate::configuration::{Configuration, Cookies, Demo};
use crate::demo;
use crate::feeding::{self, Pulse};
use crate::metrics::{Metrics, durations};
use crate::presence;
use crate::private_postgres::{self, PrivatePostgres};
use crate::rate_limit::Limits;
use crate::relaying::Relay;
use crate::roles::{connect_owner, open_pools, owner_options};
use crate::routes::{self, Web};
use crate::schema::{self, Kept};
use crate::security_headers::Transport;
use crate::serving;
use crate::session_layer;
use crate::shutdown::Shutdown;
use crate::site::{self, Watch};
use app::request::{Services, SessionCookie};
use millstream::hub::Hub;
use millstream::sql::Database;
use sqlx::Connection;
use sqlx::migrate::MigrateError;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What is being answered when the server stops has this long to end.
const STOP_BOUND: Duration = Duration::from_secs(10);
/// The live connections are told to go elsewhere, and have this long to hear it.
const GOODBYE_BOUND: Duration = Duration::from_secs(2);

/// Why the server does not start. The cause, where there is one, is the error's source.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error(
        "could not listen on {addr}: another program does already; stop it, or set MILLSTREAM_ADDR to another address"
    )]
    PortInUse { addr: SocketAddr },
    #[error("could not listen on {addr}; set MILLSTREAM_ADDR to an address of this machine")]
    Listen {
        addr: SocketAddr,
        #[source]
        why: io::Error,
    },
    #[error(transparent)]
    PrivatePostgres(#[from] private_postgres::Error),
    #[error("DATABASE_URL cannot be read; write it as postgres://user:password@host/database")]
    DatabaseUrl(#[source] sqlx::Error),
    #[error("could not connect to {target}; check DATABASE_URL, and that PostgreSQL runs there")]
    Owner {
        target: String,
        #[source]
        why: sqlx::Error,
    },
    #[error("could not bring the schema up to date; if the database is newer than this server, start the newer server")]
    Migrate(#[source] MigrateError),
    #[error("could not {attempt}")]
    Schema {
        attempt: &'static str,
        #[source]
        why: sqlx::Error,
    },
    #[error("could not {attempt}")]
    Roles {
        attempt: &'static str,
        #[source]
        why: sqlx::Error,
    },
    #[error(
        "could not connect to {target}; {role} has been given its login, so allow it in pg_hba.conf (and give the owner in DATABASE_URL a password, from which the role's follows)"
    )]
    Login {
        role: &'static str,
        target: String,
        #[source]
        why: sqlx::Error,
    },
    #[error("the database is not safe to serve: {}", .0.join("; "))]
    Unsafe(Vec<String>),
    #[error("could not make a connection to NATS of MILLSTREAM_NATS_URL")]
    Nats(#[source] async_nats::Error),
    #[error("could not read the change events")]
    Feed(#[source] millstream::feed::FeedError),
    #[error("could not fill the database with the demonstration")]
    Demo(#[source] sqlx::Error),
    #[error("could not make the passwords of the demonstration: {0}")]
    DemoPassword(Box<millstream::ApiError>),
    #[error("MILLSTREAM_PUBLIC_URL is no origin of a web page")]
    PublicUrl(#[source] tower_http::csrf::ConfigError),
}

impl BootError {
    /// The error with its causes, as one sentence.
    pub fn sentence(&self) -> String {
        sentence(self)
    }
}

/// The error with its causes, each told once.
pub fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(why) = cause {
        // PostgreSQL's own words, without the line of its source that sqlx adds.
        let refusal = why.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error);
        let told = match refusal {
            Some(refusal) => refusal.message().to_owned(),
            None => why.to_string(),
        };
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        if refusal.is_some() {
            break;
        }
        cause = why.source();
    }
    text
}

/// A server that runs. Dropped without [`Running::stop`], it goes on as long as the runtime does.
pub struct Running {
    /// Where it listens; the port is the actual one where 0 was asked for.
    pub addr: SocketAddr,
    /// How the owner of the database connects, password included: for tests and for tools, never for a log.
    pub owner_url: String,
    pub database: Database,
    pub hub: Arc<Hub>,
    pub pulse: Arc<Pulse>,
    /// What leads where, as it is served: for tests that look at every route, or go away in the middle of an answer.
    pub router: axum::Router,
    shutdown: Shutdown,
    web: JoinHandle<()>,
    feed: JoinHandle<()>,
    presence: JoinHandle<()>,
    housekeeping: JoinHandle<()>,
    postgres: Option<PrivatePostgres>,
}

/// Starts the server that the configuration describes, and returns when it listens and is able to answer. Installs
/// nothing global, so several may run in one process.
///
/// # Errors
/// Says what was attempted and what to do; nothing is left running.
pub async fn start(configuration: Configuration) -> Result<Running, BootError> {
    let addr = configuration.addr;
    // First, because it is the quickest to fail; those who knock meanwhile wait.
    let listener = TcpListener::bind(addr).await.map_err(|why| match why.kind() {
        io::ErrorKind::AddrInUse => BootError::PortInUse { addr },
        _ => BootError::Listen { addr, why },
    })?;
    let (postgres, owner_url) = match &configuration.database_url {
        Some(url) => (None, url.expose().to_owned()),
        None => {
            let postgres =
                PrivatePostgres::start_with(&configuration.data_dir, configuration.postgres_bin.as_deref()).await?;
            let url = postgres.superuser_url();
            (Some(postgres), url)
        }
    };
    match start_over(&configuration, listener, &owner_url).await {
        Ok(running) => Ok(Running { postgres, ..running }),
        Err(why) => {
            if let Some(postgres) = postgres
                && let Err(left) = postgres.stop().await
            {
                tracing::warn!("{left}");
            }
            Err(why)
        }
    }
}

/// Starts over a PostgreSQL that is there.
async fn start_over(
    configuration: &Configuration,
    listener: TcpListener,
    owner_url: &str,
) -> Result<Running, BootError> {
    let addr = listener.local_addr().map_err(|why| BootError::Listen { addr: configuration.addr, why })?;
    let owner = owner_options(owner_url)?;
    let mut connection = connect_owner(&owner).await?;
    schema::bring_up(&mut connection, configuration.events_kept).await?;
    let (app_pool, feed_pool) = open_pools(&owner, &mut connection).await?;
    let registry = app::registry();
    boot_check::check(&registry.tables(), &app_pool, &feed_pool).await?;

    let database =
        Database { app: app_pool, feed: feed_pool, committed: Arc::new(Notify::new()), runtime: Handle::current() };
    let cookie = match configuration.cookies() {
        Cookies::Secure => SessionCookie::Secure,
        Cookies::Plain => SessionCookie::Plain,
    };
    let services = Services::new(&database, cookie, cores());
    if configuration.demo == Demo::Fill {
        demo::fill(&mut connection, &services).await?;
    }
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "the owner's connection ended before it was closed");
    }

    let delays = durations();
    let hub = Hub::new(registry, database.clone(), {
        let delays = delays.clone();
        move |delay| delays.observe(delay.as_secs_f64())
    });
    let pulse = Pulse::new();
    let watch = Watch::from_env();
    let lists = services.lists.clone();
    let web = Web {
        sessions: Arc::new(session_layer::sessions(&database)),
        services,
        hub: hub.clone(),
        pulse: pulse.clone(),
        limits: Arc::new(Limits::new()),
        public_origin: configuration.public_url.as_ref().map(|url| as_browsers_write(url.origin()).to_owned()),
        metrics: Arc::new(Metrics::new(hub.clone(), delays, lists, pulse.clone(), SystemTime::now())),
    };
    let router = routes::router(web, site::options(addr, watch), Transport::of(configuration), watch)
        .map_err(BootError::PublicUrl)?;

    let (shutdown, stopping) = Shutdown::new();
    let feed = feeding::begin(database.feed.clone(), &hub, &pulse).await.map_err(BootError::Feed)?;
    let relay = match &configuration.nats {
        Some(nats) => Some(Relay::connect(nats, hub.clone(), pulse.clone(), &feed).await.map_err(BootError::Nats)?),
        None => None,
    };
    let committed = database.committed.clone();
    let feed = tokio::spawn(feeding::run(feed, relay, committed, hub.clone(), pulse.clone(), stopping.clone()));
    let presence = tokio::spawn(presence::run(hub.clone(), database.feed.clone(), stopping.clone()));
    let kept = Kept { events: configuration.events_kept, mutations: configuration.mutations_kept };
    let housekeeping = tokio::spawn(schema::keep_house_hourly(owner, kept, stopping.clone()));
    let web = tokio::spawn(serving::serve(listener, router.clone(), serving::Bounds::default(), stopping));
    Ok(Running {
        addr,
        owner_url: owner_url.to_owned(),
        database,
        hub,
        pulse,
        router,
        shutdown,
        web,
        feed,
        presence,
        housekeeping,
        postgres: None,
    })
}

impl Running {
    /// Stops accepting, sends the live connections elsewhere, lets what is being answered end, then the feed, the pools
    /// and our own PostgreSQL.
    ///
    /// # Errors
    /// Where our own PostgreSQL does not end.
    pub async fn stop(self) -> Result<(), private_postgres::Error> {
        self.shutdown.begin();
        self.hub.close_all();
        let mut web = self.web;
        if tokio::time::timeout(STOP_BOUND, &mut web).await.is_err() {
            tracing::warn!("some requests did not end in {} s and were cut", STOP_BOUND.as_secs());
            web.abort();
        }
        // Once more, for those who came in between.
        self.hub.close_all();
        if tokio::time::timeout(GOODBYE_BOUND, self.hub.empty()).await.is_err() {
            tracing::info!("some clients did not take their goodbye in {} s and were cut", GOODBYE_BOUND.as_secs());
        }
        for task in [self.feed, self.presence, self.housekeeping] {
            if let Err(error) = task.await {
                tracing::warn!(%error, "a task had ended before its time");
            }
        }
        self.database.app.close().await;
        self.database.feed.close().await;
        match self.postgres {
            Some(postgres) => postgres.stop().await,
            None => Ok(()),
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Browsers leave out the port that the scheme implies.
fn as_browsers_write(origin: &str) -> &str {
    let implied = if origin.starts_with("https://") { ":443" } else { ":80" };
    origin.strip_suffix(implied).unwrap_or(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_compared_as_browsers_write_it() {
        assert_eq!(as_browsers_write("https://a.example:443"), "https://a.example");
        assert_eq!(as_browsers_write("http://a.example:80"), "http://a.example");
        assert_eq!(as_browsers_write("https://a.example:80"), "https://a.example:80");
        assert_eq!(as_browsers_write("http://[::80]"), "http://[::80]");
    }

    #[test]
    fn a_sentence_tells_every_cause_once() {
        let why = sqlx::Error::Io(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody there"));
        let error = BootError::Owner { target: "database a at b as c".to_owned(), why };
        let sentence = error.sentence();
        assert!(sentence.starts_with("could not connect to database a at b as c"), "{sentence}");
        assert_eq!(sentence.matches("nobody there").count(), 1, "{sentence}");
    }
}
