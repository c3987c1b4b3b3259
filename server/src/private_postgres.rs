//! The server's own PostgreSQL, for when no DATABASE_URL names another: one cluster under the data
//! directory, found again or made, started, kept alive and stopped, reachable by Unix socket alone.
//! What the database holds (roles, schema, pools, queries) must not live here.

mod cluster;
mod data_directory;
mod error;
mod programs;
mod seat;
mod supervisor;

use cluster::Cluster;
use data_directory::{Lock, make_data_dir};
pub use error::Error;
use programs::Programs;
use seat::Seat;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use supervisor::Supervisor;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const POSTGRES_BIN: &str = "MILLSTREAM_POSTGRES_BIN";
const SUPERUSER: &str = "millstream";
const DATABASE: &str = "millstream";
/// Only a part of the socket's name: nothing listens on it.
const PORT: u16 = 5432;
const OLDEST_MAJOR: u32 = 15;
const POLL: Duration = Duration::from_millis(25);
const START_BOUND: Duration = Duration::from_secs(60);
const STOP_BOUND: Duration = Duration::from_secs(20);
const REFUSAL_PAUSE: Duration = Duration::from_millis(200);
/// Where clusters go that cannot stay in the data directory.
const ELSEWHERE: &str = "/var/lib/millstream";
const LOG_LINES: usize = 12;
/// The longest path the kernel takes for a socket, without its closing NUL.
const LONGEST_SOCKET: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// A PostgreSQL that runs as long as this server does, and a little longer where the server is
/// killed: the next one picks it up. Dropped without [`PrivatePostgres::stop`], it is left running.
#[derive(Debug)]
pub struct PrivatePostgres {
    sockets: PathBuf,
    pid: Arc<AtomicI32>,
    stop: watch::Sender<bool>,
    supervisor: JoinHandle<Result<(), Error>>,
    /// Held here as well as by the supervisor: not even its panic lets a second server in.
    _lock: Arc<Lock>,
}

impl PrivatePostgres {
    /// Starts the cluster under `data_dir` (or picks it up, or makes it) with the programs that
    /// `MILLSTREAM_POSTGRES_BIN` names, else with those found on this machine, and watches it.
    pub async fn start(data_dir: &Path) -> Result<Self, Error> {
        let bin = std::env::var_os(POSTGRES_BIN).map(PathBuf::from);
        Self::start_with(data_dir, bin.as_deref()).await
    }

    /// Like [`PrivatePostgres::start`], with the program directory given, or `None` to look for it.
    pub async fn start_with(data_dir: &Path, bin: Option<&Path>) -> Result<Self, Error> {
        Self::start_in(data_dir, bin, Path::new(ELSEWHERE)).await
    }

    async fn start_in(data_dir: &Path, bin: Option<&Path>, elsewhere: &Path) -> Result<Self, Error> {
        let data_dir = make_data_dir(data_dir)?;
        let lock = Arc::new(Lock::take(&data_dir).await?);
        let seat = Seat::find(&data_dir, elsewhere)?;
        let made_by = seat.major()?;
        let programs = Programs::find(bin, &seat.cluster, made_by).await?;
        let cluster = Cluster { sockets: seat.sockets()?, log: data_dir.join("postgres.log"), seat, programs };
        if made_by.is_none() {
            cluster.make().await?;
        }
        let pid = Arc::new(AtomicI32::new(0));
        let mut supervisor = Supervisor { cluster, postmaster: None, pid: Arc::clone(&pid), _lock: Arc::clone(&lock) };
        supervisor.bring_up().await?;
        if let Err(why) = supervisor.cluster.make_database().await {
            // Up, but of no use to anybody: not left behind.
            if let Err(left) = supervisor.shut_down().await {
                tracing::warn!("{left}");
            }
            return Err(why);
        }
        let sockets = supervisor.cluster.sockets.clone();
        let (stop, told) = watch::channel(false);
        Ok(Self { sockets, pid, stop, supervisor: tokio::spawn(supervisor.watch(told)), _lock: lock })
    }

    /// The URL by which `role` connects to the `millstream` database. It stays the same across
    /// restarts of PostgreSQL.
    pub fn url(&self, role: &str) -> String {
        url(role, &self.sockets)
    }

    /// The URL of the role that owns everything, for migrations and for making the other roles.
    pub fn superuser_url(&self) -> String {
        self.url(SUPERUSER)
    }

    /// The postmaster's process id; while it is being restarted, that of the one that died.
    pub fn pid(&self) -> i32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Ends the watch, shuts PostgreSQL down, cutting its connections, and waits until it is gone.
    pub async fn stop(self) -> Result<(), Error> {
        self.stop.send_replace(true);
        match self.supervisor.await {
            Ok(stopped) => stopped,
            Err(why) => Err(Error::Unwatched { why }),
        }
    }
}

fn url(role: &str, sockets: &Path) -> String {
    // The port is spelt out because clients would otherwise take it from PGPORT.
    format!(
        "postgres://{}@localhost:{PORT}/{DATABASE}?host={}",
        percent_encoded(role.as_bytes()),
        percent_encoded(sockets.as_os_str().as_bytes())
    )
}

fn percent_encoded(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(*byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
