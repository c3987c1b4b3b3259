//! The server's own PostgreSQL, for when no DATABASE_URL names another: one cluster under the data
//! directory, found again or made, started, kept alive and stopped, reachable by Unix socket alone.
//! What the database holds (roles, schema, pools, queries) must not live here.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const POSTGRES_BIN: &str = "MILLSTREAM_POSTGRES_BIN";
const SUPERUSER: &str = "millstream";
const DATABASE: &str = "millstream";
/// Only a part of the socket's name: nothing listens on it.
const PORT: u16 = 5432;
const OLDEST_MAJOR: u32 = 15;

const POLL: Duration = Duration::from_millis(25);
/// An adopted postmaster is nobody's child here, so its end is noticed by looking.
const ADOPTED_POLL: Duration = Duration::from_millis(200);
const START_BOUND: Duration = Duration::from_secs(60);
const STOP_BOUND: Duration = Duration::from_secs(20);
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// A server being replaced is still stopping its PostgreSQL when its successor starts, and one
/// killed in the middle of a fork leaves the lock to a child until that child's exec.
const LOCK_BOUND: Duration = Duration::from_secs(3);
const DATABASE_BOUND: Duration = Duration::from_secs(10);
const REFUSAL_PAUSE: Duration = Duration::from_millis(200);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// PostgreSQL that stayed up this long is not failing over and over.
const STEADY: Duration = Duration::from_secs(60);

/// Where clusters go that cannot stay in the data directory.
const ELSEWHERE: &str = "/var/lib/millstream";
const LOG_LINES: usize = 12;

/// The longest path the kernel takes for a socket, without its closing NUL.
const LONGEST_SOCKET: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Why the private PostgreSQL is not there, or not gone.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "could not {attempt} {}: {why}; give this user access to it, or set MILLSTREAM_DATA_DIR to a directory it owns", path.display()
    )]
    File { attempt: &'static str, path: PathBuf, why: io::Error },
    #[error("could not look up the user {user}: {why}; repair the system's user database")]
    Users { user: String, why: Errno },
    #[error(
        "another Millstream server{} is using the data directory {}; stop it, or set MILLSTREAM_DATA_DIR to another directory", of_process(holder), data_dir.display()
    )]
    InUse { data_dir: PathBuf, holder: Option<String> },
    #[error(
        "no PostgreSQL {OLDEST_MAJOR} or newer found{}: install it (Debian, Ubuntu: `apt install postgresql`; Fedora: `dnf install postgresql-server`; macOS: `brew install postgresql@17`), name its program directory in {POSTGRES_BIN}, or name a running database in DATABASE_URL",
        but_found(found)
    )]
    Missing { found: Vec<Programs> },
    #[error(
        "{POSTGRES_BIN} is `{}`, but `{program}` there does not run: {why}; name the directory that holds postgres, initdb, pg_isready and psql of PostgreSQL {OLDEST_MAJOR} or newer", directory.display()
    )]
    WrongBin { directory: PathBuf, program: &'static str, why: String },
    #[error(
        "the database cluster {} was made by PostgreSQL {wanted}, which was not found{}: install PostgreSQL {wanted}, name its program directory in {POSTGRES_BIN}, or move the cluster away (its data with it)", cluster.display(), but_found(found)
    )]
    OtherMajor { cluster: PathBuf, wanted: u32, found: Vec<Programs> },
    #[error(
        "PostgreSQL does not run as root, and neither the user `postgres` nor `nobody` exists to run it: create one of them, or start Millstream as an ordinary user"
    )]
    NoUser,
    #[error(
        "the database cluster {} belongs to the user {owner}: start Millstream as {owner}, or set MILLSTREAM_DATA_DIR to a directory of your own", cluster.display()
    )]
    NotOurs { cluster: PathBuf, owner: String },
    #[error(
        "{} holds files but is no database cluster: move it away, or set MILLSTREAM_DATA_DIR to another directory", path.display()
    )]
    NotACluster { path: PathBuf },
    #[error(
        "PostgreSQL runs as the user {user}, who may not enter {}, so it cannot use {}{}: allow entering with `chmod o+x`, or set MILLSTREAM_DATA_DIR to a directory that {user} can reach", blocked.display(), cluster.display(), nor_elsewhere(elsewhere)
    )]
    NotTraversable { blocked: PathBuf, cluster: PathBuf, user: String, elsewhere: Option<String> },
    #[error(
        "the socket directory {} {why}: remove it, so that Millstream can make its own", path.display()
    )]
    SocketDirectory { path: PathBuf, why: &'static str },
    #[error(
        "could not run {}{}: {why}; make it executable for that user, or name another program directory in {POSTGRES_BIN}", program.display(), as_user(user)
    )]
    Run { program: PathBuf, user: Option<String>, why: io::Error },
    #[error(
        "could not {attempt} with {}: {said}; correct that and start again", program.display()
    )]
    Failed { attempt: String, program: PathBuf, said: String },
    #[error(
        "PostgreSQL did not start ({status}); repair what its log {} says and start again:\n{lines}", log.display()
    )]
    DidNotStart { status: ExitStatus, log: PathBuf, lines: String },
    #[error(
        "PostgreSQL (process {pid}) does not answer after {} s; it was left to its work, so start again later and it is picked up. The end of its log {}:\n{lines}", START_BOUND.as_secs(), log.display()
    )]
    NotReady { pid: i32, log: PathBuf, lines: String },
    #[error("could not signal PostgreSQL (process {pid}): {why}; stop it by hand with `kill -INT`")]
    Signal { pid: i32, why: Errno },
    #[error(
        "PostgreSQL (process {pid}) is still stopping after {} s; it was left to finish, and the next start waits for it", STOP_BOUND.as_secs()
    )]
    NotStopped { pid: i32 },
    #[error("the task that watches PostgreSQL ended on its own: {why}; start the server again")]
    Unwatched { why: tokio::task::JoinError },
}

fn of_process(holder: &Option<String>) -> String {
    holder.as_ref().map_or_else(String::new, |pid| format!(" (process {pid})"))
}

fn as_user(user: &Option<String>) -> String {
    user.as_ref().map_or_else(String::new, |user| format!(" as the user {user}"))
}

fn nor_elsewhere(why: &Option<String>) -> String {
    why.as_ref().map_or_else(String::new, |why| format!(" (nor was there another place: {why})"))
}

fn but_found(found: &[Programs]) -> String {
    if found.is_empty() {
        return String::new();
    }
    let each: Vec<String> =
        found.iter().map(|programs| format!("{} in {}", programs.major, programs.directory.display())).collect();
    format!(" (there is {})", each.join(", "))
}

/// Turns an I/O error into one that says what was attempted on which path.
fn file(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |why| Error::File { attempt, path: path.to_owned(), why }
}

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

/// Makes the data directory where it is missing; root's may be entered by the user who runs
/// PostgreSQL, an ordinary user's by nobody else.
fn make_data_dir(data_dir: &Path) -> Result<PathBuf, Error> {
    if !data_dir.is_dir() {
        let mode = if Uid::effective().is_root() { 0o711 } else { 0o700 };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(data_dir)
            .map_err(file("create the data directory", data_dir))?;
        set_mode(data_dir, mode)?;
    }
    fs::canonicalize(data_dir).map_err(file("find the data directory", data_dir))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(file("set the permissions of", path))
}

/// The claim of one server on a data directory. The kernel lets go of it with the process, however
/// that ends, and PostgreSQL does not inherit it.
#[derive(Debug)]
struct Lock {
    _file: File,
}

impl Lock {
    async fn take(data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join("millstream.lock");
        let mut held = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(file("open the lock file", &path))?;
        let deadline = Instant::now() + LOCK_BOUND;
        loop {
            match held.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(POLL).await,
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::InUse { data_dir: data_dir.to_owned(), holder: holder(&mut held) });
                }
                Err(TryLockError::Error(why)) => return Err(file("lock", &path)(why)),
            }
        }
        // Only for the sentence that refuses the next server.
        held.set_len(0)
            .and_then(|()| write!(held, "{}", std::process::id()))
            .map_err(file("write our process id to", &path))?;
        Ok(Self { _file: held })
    }
}

fn holder(lock: &mut File) -> Option<String> {
    let mut said = String::new();
    match lock.read_to_string(&mut said) {
        Ok(_) => said.trim().parse::<u32>().ok().map(|pid| pid.to_string()),
        // The refusal stands without the number.
        Err(_) => None,
    }
}

/// A user other than ourselves.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    uid: u32,
    gid: u32,
    name: String,
}

impl Account {
    fn named(name: &str) -> Result<Option<Self>, Error> {
        let user = User::from_name(name).map_err(|why| Error::Users { user: name.to_owned(), why })?;
        Ok(user.map(Self::from))
    }

    fn numbered(uid: u32, gid: u32) -> Result<Self, Error> {
        let user = User::from_uid(Uid::from_raw(uid)).map_err(|why| Error::Users { user: uid.to_string(), why })?;
        // A directory may belong to a number that no name goes with; it serves as well.
        Ok(user.map_or_else(|| Self { uid, gid, name: uid.to_string() }, Self::from))
    }

    /// Who runs PostgreSQL where we are root and it refuses to be.
    fn for_root() -> Result<Self, Error> {
        for name in ["postgres", "nobody"] {
            if let Some(account) = Self::named(name)?.filter(|account| account.uid != 0) {
                return Ok(account);
            }
        }
        Err(Error::NoUser)
    }
}

impl From<User> for Account {
    fn from(user: User) -> Self {
        Self { uid: user.uid.as_raw(), gid: user.gid.as_raw(), name: user.name }
    }
}

/// Where the cluster is and who runs it.
#[derive(Debug)]
struct Seat {
    cluster: PathBuf,
    /// `None` where we run it ourselves.
    account: Option<Account>,
}

impl Seat {
    fn find(data_dir: &Path, elsewhere: &Path) -> Result<Self, Error> {
        let entry = data_dir.join("postgres");
        // The entry is a link where the cluster had to go elsewhere: the data directory then still
        // says where its data is, and removing the data directory still forgets them.
        let link = match fs::read_link(&entry) {
            Ok(target) => Some(data_dir.join(target)),
            Err(why) if matches!(why.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => None,
            Err(why) => return Err(file("read the link", &entry)(why)),
        };
        let cluster = link.clone().unwrap_or_else(|| entry.clone());
        let owner = match fs::metadata(&cluster) {
            Ok(found) => Some((found.uid(), found.gid())),
            Err(why) if why.kind() == ErrorKind::NotFound => None,
            Err(why) => return Err(file("look at the database cluster", &cluster)(why)),
        };
        let euid = Uid::effective();
        if !euid.is_root() {
            return match owner {
                Some((uid, gid)) if uid != euid.as_raw() => {
                    Err(Error::NotOurs { cluster, owner: Account::numbered(uid, gid)?.name })
                }
                _ => Ok(Self { cluster, account: None }),
            };
        }
        let account = match owner {
            Some((uid, gid)) if uid != 0 => Account::numbered(uid, gid)?,
            _ => Account::for_root()?,
        };
        let parent = parent(&cluster);
        let Some(blocked) = first_blocked(parent, &account)? else {
            return Ok(Self { cluster, account: Some(account) });
        };
        let blocked = |elsewhere: Option<String>| Error::NotTraversable {
            blocked: blocked.clone(),
            cluster: cluster.clone(),
            user: account.name.clone(),
            elsewhere,
        };
        // Going elsewhere with data already here would be a server that has lost them.
        if owner.is_some() || link.is_some() {
            return Err(blocked(None));
        }
        let home = home_elsewhere(elsewhere, &entry, &account).map_err(|why| blocked(Some(why.to_string())))?;
        tracing::info!(
            cluster = %home.display(),
            "the user {} cannot enter the data directory {}, so the database cluster goes to {}, with a link to it in the data directory",
            account.name,
            data_dir.display(),
            home.display()
        );
        Ok(Self { cluster: home, account: Some(account) })
    }

    /// The major version that made the cluster, or `None` where there is none yet.
    fn major(&self) -> Result<Option<u32>, Error> {
        let path = self.cluster.join("PG_VERSION");
        match fs::read_to_string(&path) {
            // Before 10 a major version had two parts; its first is enough to find no such program.
            Ok(version) => match leading_number(version.trim()) {
                Some(major) => Ok(Some(major)),
                None => Err(Error::NotACluster { path: self.cluster.clone() }),
            },
            Err(why) if why.kind() == ErrorKind::NotFound => match fs::read_dir(&self.cluster) {
                Ok(entries) => match entries.count() {
                    0 => Ok(None),
                    _ => Err(Error::NotACluster { path: self.cluster.clone() }),
                },
                Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
                Err(why) => Err(file("read the directory", &self.cluster)(why)),
            },
            Err(why) => Err(file("read", &path)(why)),
        }
    }

    /// The directory for the socket: beside the cluster, unless its path is more than a socket's
    /// address holds or cannot be written into a setting and a URL.
    fn sockets(&self) -> Result<PathBuf, Error> {
        let runtime =
            std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|directory| self.may_use(directory));
        let beside = beside(&self.cluster, ".socket");
        if fits(&beside) {
            return Ok(beside);
        }
        let name = format!("millstream-{}", hash_of(&self.cluster));
        let short = runtime
            .map(|directory| directory.join(&name))
            .filter(|path| fits(path))
            .unwrap_or_else(|| Path::new("/tmp").join(&name));
        tracing::info!(
            "the path {} is too long for a socket, so the socket goes to {}",
            beside.display(),
            short.display()
        );
        Ok(short)
    }

    /// Whether a runtime directory is one of the user who runs PostgreSQL: after `su` or `sudo`
    /// the variable still names the directory of somebody else.
    fn may_use(&self, runtime: &Path) -> bool {
        let uid = self.account.as_ref().map_or_else(|| Uid::effective().as_raw(), |account| account.uid);
        runtime.is_absolute() && fs::metadata(runtime).is_ok_and(|found| found.is_dir() && found.uid() == uid)
    }

    /// Gives `path` to the user who runs PostgreSQL, where that is another one.
    fn give(&self, path: &Path) -> Result<(), Error> {
        match &self.account {
            Some(account) => std::os::unix::fs::lchown(path, Some(account.uid), Some(account.gid))
                .map_err(file("hand to PostgreSQL's user", path)),
            None => Ok(()),
        }
    }

    /// Gives everything under `path`, for a cluster that root copied or restored.
    fn give_all(&self, path: &Path) -> Result<(), Error> {
        self.give(path)?;
        if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
            for entry in fs::read_dir(path).map_err(file("read the directory", path))? {
                self.give_all(&entry.map_err(file("read the directory", path))?.path())?;
            }
        }
        Ok(())
    }
}

/// The parent of a path that has one, as all of ours do.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// The path of a sibling, named like `path` with `suffix` after it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A stable name for a path: FNV-1a, since the standard library's hash may change with Rust.
fn hash_of(path: &Path) -> String {
    let hash = path
        .as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

/// Whether a socket in `directory` has an address and the directory's name survives the line of
/// `postmaster.pid` and the URL it is written into.
fn fits(directory: &Path) -> bool {
    let socket = format!("/.s.PGSQL.{PORT}");
    directory.as_os_str().len() + socket.len() <= LONGEST_SOCKET
        && directory.to_str().is_some_and(|path| !path.chars().any(char::is_control))
}

/// The first directory on the way to `directory`, itself included, that `account` may not enter.
fn first_blocked(directory: &Path, account: &Account) -> Result<Option<PathBuf>, Error> {
    let mut way: Vec<&Path> = directory.ancestors().collect();
    way.reverse();
    for step in way {
        let found = match fs::metadata(step) {
            Ok(found) => found,
            // What is not there yet is made later, by us and enterable.
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(file("look at", step)(why)),
        };
        if !may_enter(found.mode(), found.uid(), found.gid(), account) {
            return Ok(Some(step.to_owned()));
        }
    }
    Ok(None)
}

/// The kernel's rule for entering a directory, for a user without further groups: PostgreSQL is
/// started without any.
fn may_enter(mode: u32, owner: u32, group: u32, account: &Account) -> bool {
    let bit = if owner == account.uid {
        0o100
    } else if group == account.gid {
        0o010
    } else {
        0o001
    };
    mode & bit != 0
}

/// Finds a place under `elsewhere` for the cluster that `entry` should have been, and makes `entry`
/// a link to it. The link comes first: a kill in between leaves a link to a cluster not made yet.
fn home_elsewhere(elsewhere: &Path, entry: &Path, account: &Account) -> Result<PathBuf, Error> {
    if !elsewhere.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(elsewhere)
            .map_err(file("create the directory", elsewhere))?;
        // The umask of root may be one that locks everybody else out.
        set_mode(elsewhere, 0o711)?;
    }
    if let Some(blocked) = first_blocked(elsewhere, account)? {
        return Err(Error::NotTraversable {
            blocked,
            cluster: elsewhere.to_owned(),
            user: account.name.clone(),
            elsewhere: None,
        });
    }
    let name = hash_of(entry);
    // A home without a link to it was that of a data directory since removed. Its data were meant
    // to be gone, so they are not brought back; nor are they ours to delete.
    let home = (1_u32..)
        .map(|turn| elsewhere.join(format!("{name}-{turn}")))
        .find(|home| !home.exists())
        .unwrap_or_else(|| elsewhere.join(name));
    std::os::unix::fs::symlink(&home, entry).map_err(file("create the link", entry))?;
    Ok(home)
}

/// The directory of one PostgreSQL's programs, and its major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    directory: PathBuf,
    major: u32,
}

const NEEDED: [&str; 4] = ["postgres", "initdb", "pg_isready", "psql"];

impl Programs {
    async fn find(bin: Option<&Path>, cluster: &Path, made_by: Option<u32>) -> Result<Self, Error> {
        let found = match bin {
            Some(directory) => {
                vec![Self::at(directory).await.map_err(|(program, why)| Error::WrongBin {
                    directory: directory.to_owned(),
                    program,
                    why,
                })?]
            }
            None => Self::on_this_machine().await,
        };
        choose(found, cluster, made_by)
    }

    /// Those of the search path in its order, then those of the usual places, newest first.
    async fn on_this_machine() -> Vec<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut found: Vec<Self> = Vec::new();
        for directory in std::env::split_paths(&path).filter(|path| path.is_absolute()) {
            // What is on the path may be links into the directory that holds all the programs.
            let real = fs::canonicalize(directory.join("postgres"));
            let Some(real) = real.as_deref().ok().map(parent) else {
                continue;
            };
            for directory in [real, &directory] {
                if let Ok(programs) = Self::at(directory).await
                    && !found.contains(&programs)
                {
                    found.push(programs);
                    break;
                }
            }
        }
        let mut usual: Vec<Self> = Vec::new();
        for directory in usual_places() {
            if let Ok(programs) = Self::at(&directory).await
                && !found.contains(&programs)
            {
                usual.push(programs);
            }
        }
        usual.sort_by_key(|programs| std::cmp::Reverse(programs.major));
        found.extend(usual);
        found
    }

    /// The programs in `directory`, or the first that is missing or does not run there and why.
    async fn at(directory: &Path) -> Result<Self, (&'static str, String)> {
        // The programs are run with another working directory.
        let directory = std::path::absolute(directory).map_err(|why| ("postgres", why.to_string()))?;
        for program in NEEDED {
            if !directory.join(program).is_file() {
                return Err((program, "there is no such file".to_owned()));
            }
        }
        let answer = command(&directory.join("postgres"))
            .arg("--version")
            .output()
            .await
            .map_err(|why| ("postgres", why.to_string()))?;
        let said = String::from_utf8_lossy(&answer.stdout).into_owned();
        match major_of(&said) {
            Some(major) => Ok(Self { directory, major }),
            None => Err(("postgres", format!("it says `{}`", said.trim()))),
        }
    }

    fn path(&self, program: &str) -> PathBuf {
        self.directory.join(program)
    }
}

/// Chooses the first that is new enough, and where the cluster exists, one of its major version:
/// no other opens it.
fn choose(found: Vec<Programs>, cluster: &Path, made_by: Option<u32>) -> Result<Programs, Error> {
    let fit = found.iter().find(|programs| match made_by {
        Some(major) => programs.major == major && major >= OLDEST_MAJOR,
        None => programs.major >= OLDEST_MAJOR,
    });
    match (fit, made_by) {
        (Some(programs), _) => Ok(programs.clone()),
        (None, Some(wanted)) => Err(Error::OtherMajor { cluster: cluster.to_owned(), wanted, found }),
        (None, None) => Err(Error::Missing { found }),
    }
}

/// 17 from `postgres (PostgreSQL) 17.2 (Debian …)`, and from betas such as `18beta1`.
fn major_of(version: &str) -> Option<u32> {
    let (_, number) = version.split_once("(PostgreSQL)")?;
    leading_number(number.trim_start())
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// Where packages put PostgreSQL without putting it on the path.
fn usual_places() -> Vec<PathBuf> {
    [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql"),
        ("/usr/local/opt", "postgresql"),
    ]
    .into_iter()
    .flat_map(|(parent, prefix)| {
        // A place that is not there, or not ours to read, holds nothing for us.
        fs::read_dir(parent)
            .into_iter()
            .flatten()
            .flatten()
            .filter(move |entry| entry.file_name().as_bytes().starts_with(prefix.as_bytes()))
            .map(|entry| entry.path().join("bin"))
    })
    .filter(|bin| bin.is_dir())
    .collect()
}

/// A program run by ourselves, deaf to settings meant for other databases and other languages.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.as_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
    command
        .env("LC_ALL", "C")
        // Ours may be a directory that the user who runs PostgreSQL cannot enter.
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// What a program that was run to its end says went wrong, or its output.
async fn output(mut command: Command, program: &Path, attempt: &str) -> Result<String, Error> {
    let answer = command.output().await.map_err(|why| Error::Run { program: program.to_owned(), user: None, why })?;
    if answer.status.success() {
        return Ok(String::from_utf8_lossy(&answer.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&answer.stderr);
    Err(Error::Failed {
        attempt: attempt.to_owned(),
        program: program.to_owned(),
        said: if said.trim().is_empty() { answer.status.to_string() } else { said.trim().to_owned() },
    })
}

/// Everything needed to run one cluster.
#[derive(Debug)]
struct Cluster {
    seat: Seat,
    sockets: PathBuf,
    log: PathBuf,
    programs: Programs,
}

/// What `postmaster.pid` says about a process that is there.
#[derive(Debug, PartialEq, Eq)]
struct Note {
    pid: i32,
    /// Missing in the first moments of a postmaster's life.
    sockets: Option<PathBuf>,
}

impl Cluster {
    /// Makes the cluster under another name and renames it when it is whole: a kill in the middle
    /// leaves nothing that looks like a cluster.
    async fn make(&self) -> Result<(), Error> {
        let target = &self.seat.cluster;
        let parent = parent(target);
        let unfinished = beside(target, ".unfinished-");
        remove_unfinished(parent, &unfinished);
        // Named by process: the initdb of a killed server may still be writing to one.
        let unfinished = beside(&unfinished, &std::process::id().to_string());
        let mut made = self.initdb(&unfinished, "C.UTF-8").await;
        if made.is_err() {
            // Not every system has that locale. C sorts alike and only knows fewer letters.
            made = self.initdb(&unfinished, "C").await;
        }
        made?;
        fs::rename(&unfinished, target).map_err(file("move the new database cluster to", target))?;
        File::open(parent).and_then(|directory| directory.sync_all()).map_err(file("sync the directory", parent))
    }

    async fn initdb(&self, directory: &Path, locale: &str) -> Result<(), Error> {
        if directory.exists() {
            fs::remove_dir_all(directory).map_err(file("remove the unfinished", directory))?;
        }
        DirBuilder::new().mode(0o700).create(directory).map_err(file("create the directory", directory))?;
        self.seat.give(directory)?;
        let program = self.programs.path("initdb");
        let mut initdb = self.as_its_user(&program);
        initdb
            .arg("--pgdata")
            .arg(directory)
            .arg(format!("--username={SUPERUSER}"))
            // The socket's directory lets in its owner alone, which is the whole authentication;
            // there is no network to come from.
            .args(["--auth-local=trust", "--auth-host=reject"])
            .args(["--encoding=UTF8", "--no-instructions"])
            .arg(format!("--locale={locale}"));
        let attempt = format!("make a database cluster in {}", directory.display());
        output(initdb, &program, &attempt).await.map(drop).map_err(|error| self.for_its_user(error))
    }

    /// A program run by the user the cluster belongs to. As root, `Command` also drops our groups.
    fn as_its_user(&self, program: &Path) -> Command {
        let mut command = command(program);
        if let Some(account) = &self.seat.account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }

    fn for_its_user(&self, error: Error) -> Error {
        match error {
            Error::Run { program, why, .. } => {
                Error::Run { program, user: self.seat.account.as_ref().map(|a| a.name.clone()), why }
            }
            other => other,
        }
    }

    /// The process that `postmaster.pid` names, if it is there. A note left by a dead one is
    /// nothing to us: PostgreSQL clears it away when it starts.
    fn running(&self) -> Option<Note> {
        self.note().filter(|note| life_of(note.pid, &self.seat.cluster) == Life::Postmaster)
    }

    fn note(&self) -> Option<Note> {
        // Unreadable is as good as missing: the postmaster we then start says why it cannot.
        let text = fs::read(self.pid_file()).ok()?;
        note_in(&text)
    }

    fn pid_file(&self) -> PathBuf {
        self.seat.cluster.join("postmaster.pid")
    }

    /// Puts a note out of the way that PostgreSQL takes for that of a living postmaster and we know
    /// is not: its number was given to another process of the same user, or it is a zombie that
    /// nobody buries. PostgreSQL would refuse to start until a person deleted the file.
    fn set_false_note_aside(&self) -> Result<(), Error> {
        let Some(note) = self.note() else {
            return Ok(());
        };
        if life_of(note.pid, &self.seat.cluster) != Life::Another {
            return Ok(());
        }
        let from = self.pid_file();
        let to = beside(&from, ".stale");
        tracing::warn!(
            "{} names process {}, which is no PostgreSQL of ours; it is now {}",
            from.display(),
            note.pid,
            to.display()
        );
        fs::rename(&from, &to).map_err(file("move aside", &from))
    }

    /// Starts a postmaster that outlives us: its own process group keeps a Ctrl-C in the terminal
    /// from it, and its output goes to a file.
    fn spawn(&self) -> Result<Child, Error> {
        make_socket_directory(&self.sockets, &self.seat)?;
        let said = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.log)
            .map_err(file("open the log", &self.log))?;
        let errors = said.try_clone().map_err(file("open the log", &self.log))?;
        let program = self.programs.path("postgres");
        let mut postgres = self.as_its_user(&program);
        postgres.arg("-D").arg(&self.seat.cluster);
        for setting in [
            "listen_addresses=".to_owned(),
            format!("port={PORT}"),
            format!("unix_socket_directories={}", quoted(&self.sockets)),
            "unix_socket_permissions=0700".to_owned(),
            "shared_buffers=128MB".to_owned(),
            "max_connections=100".to_owned(),
            "max_prepared_transactions=0".to_owned(),
            "synchronous_commit=on".to_owned(),
            // The log is quoted in errors, and read for the reason of a refusal.
            "log_destination=stderr".to_owned(),
            "logging_collector=off".to_owned(),
            "lc_messages=C".to_owned(),
        ] {
            postgres.arg("-c").arg(setting);
        }
        postgres
            .stdout(said)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(false)
            .spawn()
            .map_err(|why| self.for_its_user(Error::Run { program, user: None, why }))
    }

    /// Whether the postmaster with its socket in `sockets` takes connections. Asked by ourselves,
    /// not by the cluster's user: it is we who have to reach it.
    async fn answers(&self, sockets: &Path) -> Result<bool, Error> {
        let program = self.programs.path("pg_isready");
        let status = client(&program, sockets)
            .args(["--quiet", "--dbname=postgres"])
            .status()
            .await
            .map_err(|why| Error::Run { program, user: None, why })?;
        Ok(status.success())
    }

    /// Makes the `millstream` database where it is missing.
    async fn make_database(&self) -> Result<(), Error> {
        let deadline = Instant::now() + DATABASE_BOUND;
        loop {
            let there = self.ask(&format!("select 1 from pg_database where datname = '{DATABASE}'")).await?;
            if !there.trim().is_empty() {
                return Ok(());
            }
            match self.ask(&format!("create database {DATABASE}")).await {
                Ok(_) => return Ok(()),
                // The same command of a server killed since may still be at work on it.
                Err(why) if Instant::now() < deadline => {
                    tracing::debug!("the database is not made yet: {why}");
                    sleep(REFUSAL_PAUSE).await;
                }
                Err(why) => return Err(why),
            }
        }
    }

    async fn ask(&self, sql: &str) -> Result<String, Error> {
        let program = self.programs.path("psql");
        let mut psql = client(&program, &self.sockets);
        psql.args(["-XAtq", "--dbname=postgres", "--command", sql]);
        output(psql, &program, &format!("run `{sql}`")).await
    }

    /// The last lines of the log from the byte `mark` on.
    fn log_since(&self, mark: u64) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.log).and_then(|mut log| {
            log.seek(SeekFrom::Start(mark))?;
            log.read_to_end(&mut bytes)
        });
        match read {
            Ok(_) => last_lines(&String::from_utf8_lossy(&bytes)),
            Err(why) => format!("(it cannot be read: {why})"),
        }
    }

    /// Where the log ends now; 0 where there is none yet, which is where it will begin.
    fn end_of_log(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |found| found.len())
    }
}

fn client(program: &Path, sockets: &Path) -> Command {
    let mut command = command(program);
    command.arg("--host").arg(sockets).arg(format!("--port={PORT}")).arg(format!("--username={SUPERUSER}"));
    command
}

/// A directory as an element of a list setting, where a comma would begin the next.
fn quoted(directory: &Path) -> String {
    format!("\"{}\"", directory.display().to_string().replace('"', "\"\""))
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// Whether the log of a postmaster that refused to start blames something that passes: another one
/// on its way out, or the backends of one that was killed.
fn passes(log: &str) -> bool {
    log.contains("pre-existing shared memory block") || (log.contains("lock file") && log.contains("already exists"))
}

fn note_in(text: &[u8]) -> Option<Note> {
    let mut lines = text.split(|byte| *byte == b'\n');
    // Negative for a single-user backend, which takes no connections.
    let pid = std::str::from_utf8(lines.next()?).ok()?.trim().parse().ok().filter(|pid| *pid > 0)?;
    // Then the cluster's directory, the time of the start and the port.
    let sockets = lines.nth(3).filter(|line| !line.is_empty()).map(|line| PathBuf::from(OsStr::from_bytes(line)));
    Some(Note { pid, sockets })
}

/// What a process number found in `postmaster.pid` stands for.
#[derive(Debug, PartialEq, Eq)]
enum Life {
    Gone,
    /// As far as can be seen.
    Postmaster,
    /// Certainly a process, certainly not our postmaster.
    Another,
}

fn life_of(pid: i32, cluster: &Path) -> Life {
    if !exists(pid) {
        return Life::Gone;
    }
    let process = PathBuf::from(format!("/proc/{pid}"));
    if fs::read_to_string(process.join("stat")).is_ok_and(|stat| is_zombie(&stat)) {
        return Life::Another;
    }
    // A postmaster works in its cluster's directory. Where that cannot be seen (no /proc, or a
    // process of somebody else) the number is believed.
    match fs::read_link(process.join("cwd")) {
        Ok(works_in) => match fs::canonicalize(cluster) {
            Ok(cluster) if works_in != cluster => Life::Another,
            _ => Life::Postmaster,
        },
        Err(_) => Life::Postmaster,
    }
}

/// The state stands after the name, which is in brackets and may hold brackets itself.
fn is_zombie(stat: &str) -> bool {
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// Whether there is such a process, perhaps one we may not signal.
fn exists(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

/// Makes the socket's directory, or takes one that is beyond doubt ours: in `/tmp` anybody could
/// have made a directory of that name before us.
fn make_socket_directory(path: &Path, seat: &Seat) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return seat.give(path),
        Err(why) if why.kind() == ErrorKind::AlreadyExists => {}
        Err(why) => return Err(file("create the socket directory", path)(why)),
    }
    let found = fs::symlink_metadata(path).map_err(file("look at the socket directory", path))?;
    let euid = Uid::effective().as_raw();
    let user = seat.account.as_ref().map_or(euid, |account| account.uid);
    if !found.is_dir() {
        return Err(Error::SocketDirectory { path: path.to_owned(), why: "is not a directory" });
    }
    if found.uid() != user && found.uid() != euid {
        return Err(Error::SocketDirectory { path: path.to_owned(), why: "belongs to another user" });
    }
    // A kill between making and giving left it to root.
    if found.uid() != user {
        seat.give(path)?;
    }
    if found.mode() & 0o777 != 0o700 {
        set_mode(path, 0o700)?;
    }
    Ok(())
}

/// Removes what killed servers left unfinished. What cannot be removed only takes space, and an
/// initdb still at work fails for want of it, as it may.
fn remove_unfinished(parent: &Path, prefix: &Path) {
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(why) => {
            tracing::debug!("could not look for remains in {}: {why}", parent.display());
            return;
        }
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.as_os_str().as_bytes().starts_with(prefix.as_os_str().as_bytes())
            && let Err(why) = fs::remove_dir_all(&path)
        {
            tracing::warn!("could not remove the unfinished {}: {why}", path.display());
        }
    }
}

/// A postmaster, started by us or by the server before us.
#[derive(Debug)]
enum Postmaster {
    Child(Child),
    Adopted(i32),
}

impl Postmaster {
    /// Comes back when it is gone, with a word on how.
    async fn gone(&mut self, cluster: &Path) -> String {
        match self {
            Self::Child(child) => match child.wait().await {
                Ok(status) => status.to_string(),
                Err(why) => why.to_string(),
            },
            Self::Adopted(pid) => {
                while life_of(*pid, cluster) == Life::Postmaster {
                    sleep(ADOPTED_POLL).await;
                }
                "it is no longer there".to_owned()
            }
        }
    }

    /// Its number, as long as that can be signalled without hitting a stranger.
    fn pid(&self, cluster: &Path) -> Option<i32> {
        match self {
            // None once it was waited for.
            Self::Child(child) => child.id().and_then(|pid| i32::try_from(pid).ok()),
            Self::Adopted(pid) => (life_of(*pid, cluster) == Life::Postmaster).then_some(*pid),
        }
    }
}

/// Keeps one postmaster running.
#[derive(Debug)]
struct Supervisor {
    cluster: Cluster,
    /// Set as soon as there is one, ready or not, so that a stop at any moment finds it.
    postmaster: Option<Postmaster>,
    pid: Arc<AtomicI32>,
    _lock: Arc<Lock>,
}

/// What ends the watch.
enum End {
    /// `stop` was called.
    Stop,
    /// The handle was dropped: PostgreSQL is left to whoever comes next.
    Leave,
}

async fn end(told: &mut watch::Receiver<bool>) -> End {
    match told.wait_for(|stop| *stop).await {
        Ok(_) => End::Stop,
        Err(_) => End::Leave,
    }
}

impl Supervisor {
    async fn watch(mut self, mut told: watch::Receiver<bool>) -> Result<(), Error> {
        let ended = tokio::select! {
            ended = end(&mut told) => ended,
            never = self.keep_up() => match never {},
        };
        match ended {
            End::Stop => self.shut_down().await,
            End::Leave => Ok(()),
        }
    }

    /// Starts PostgreSQL again whenever it ends, more slowly each time it does not stay.
    async fn keep_up(&mut self) -> std::convert::Infallible {
        let mut pause = FIRST_PAUSE;
        loop {
            let since = Instant::now();
            if let Some(postmaster) = &mut self.postmaster {
                let how = postmaster.gone(&self.cluster.seat.cluster).await;
                tracing::warn!(
                    "PostgreSQL (process {}) ended ({how}); starting it again",
                    self.pid.load(Ordering::Relaxed)
                );
            }
            if since.elapsed() >= STEADY {
                pause = FIRST_PAUSE;
            }
            loop {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                match self.bring_up().await {
                    Ok(()) => break,
                    Err(why) => tracing::warn!("PostgreSQL did not come back: {why}"),
                }
            }
            tracing::warn!("PostgreSQL is back (process {})", self.pid.load(Ordering::Relaxed));
        }
    }

    /// Brings the cluster to a postmaster that answers: the one that runs, else a new one.
    async fn bring_up(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + START_BOUND;
        loop {
            let up = match self.cluster.running() {
                Some(note) => self.adopt(note.pid, deadline).await?,
                None => self.launch(deadline).await?,
            };
            if up {
                return Ok(());
            }
            sleep(POLL).await;
        }
    }

    /// Waits for a running postmaster to answer; false where it ends instead.
    async fn adopt(&mut self, pid: i32, deadline: Instant) -> Result<bool, Error> {
        self.now(Postmaster::Adopted(pid), pid);
        while let Some(note) = self.cluster.running().filter(|note| note.pid == pid) {
            // Where it has its socket, and not where we would put one today.
            if let Some(sockets) = note.sockets
                && self.cluster.answers(&sockets).await?
            {
                self.cluster.sockets = sockets;
                tracing::info!("picked up the running PostgreSQL (process {pid})");
                return Ok(true);
            }
            self.bounded(pid, deadline, self.cluster.end_of_log().saturating_sub(4096))?;
            sleep(POLL).await;
        }
        Ok(false)
    }

    /// Starts a postmaster and waits for it to answer; false where it refused for a reason that
    /// passes.
    async fn launch(&mut self, deadline: Instant) -> Result<bool, Error> {
        let mark = self.cluster.end_of_log();
        if self.cluster.seat.account.is_some()
            && fs::metadata(&self.cluster.seat.cluster).is_ok_and(|found| found.uid() == 0)
        {
            self.cluster.seat.give_all(&self.cluster.seat.cluster)?;
        }
        let child = self.cluster.spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
        self.now(Postmaster::Child(child), pid);
        loop {
            if let Some(Postmaster::Child(child)) = &mut self.postmaster
                && let Some(status) =
                    child.try_wait().map_err(file("wait for", &self.cluster.programs.path("postgres")))?
            {
                let lines = self.cluster.log_since(mark);
                if passes(&lines) && Instant::now() < deadline {
                    self.cluster.set_false_note_aside()?;
                    sleep(REFUSAL_PAUSE).await;
                    return Ok(false);
                }
                return Err(Error::DidNotStart { status, log: self.cluster.log.clone(), lines });
            }
            // The answer may be that of another, started by a server killed before it wrote its
            // note; ours then ends by itself.
            if self.cluster.note().is_some_and(|note| note.pid == pid)
                && self.cluster.answers(&self.cluster.sockets).await?
            {
                tracing::info!("started PostgreSQL (process {pid})");
                return Ok(true);
            }
            self.bounded(pid, deadline, mark)?;
            sleep(POLL).await;
        }
    }

    fn now(&mut self, postmaster: Postmaster, pid: i32) {
        self.postmaster = Some(postmaster);
        self.pid.store(pid, Ordering::Relaxed);
    }

    fn bounded(&self, pid: i32, deadline: Instant, mark: u64) -> Result<(), Error> {
        if Instant::now() < deadline {
            return Ok(());
        }
        Err(Error::NotReady { pid, log: self.cluster.log.clone(), lines: self.cluster.log_since(mark) })
    }

    /// Shuts down without waiting for clients, which are our own pools.
    async fn shut_down(mut self) -> Result<(), Error> {
        let cluster = self.cluster.seat.cluster.clone();
        let Some(mut postmaster) = self.postmaster.take() else {
            return Ok(());
        };
        let Some(pid) = postmaster.pid(&cluster) else {
            return Ok(());
        };
        let gone = async {
            match &mut postmaster {
                Postmaster::Child(_) => drop(postmaster.gone(&cluster).await),
                Postmaster::Adopted(pid) => {
                    while life_of(*pid, &cluster) == Life::Postmaster {
                        sleep(POLL).await;
                    }
                }
            }
        };
        // More than once: where this process was started with interrupts ignored (as shells do in the background), a
        // postmaster ignores them too until it is so far as to listen to them, and the first may come before that.
        let asking = async {
            loop {
                match kill(Pid::from_raw(pid), Signal::SIGINT) {
                    Ok(()) | Err(Errno::ESRCH) => sleep(ASK_AGAIN).await,
                    Err(why) => return Error::Signal { pid, why },
                }
            }
        };
        let gone = tokio::time::timeout(STOP_BOUND, async {
            tokio::select! {
                () = gone => Ok(()),
                why = asking => Err(why),
            }
        });
        match gone.await {
            Ok(asked) => asked?,
            Err(_) => return Err(Error::NotStopped { pid }),
        }
        // PostgreSQL took its socket with it. The empty directory is made again when needed, and
        // would otherwise stay in a directory for everybody.
        if let Err(why) = fs::remove_dir(&self.cluster.sockets) {
            tracing::debug!("left {}: {why}", self.cluster.sockets.display());
        }
        tracing::info!("stopped PostgreSQL (process {pid})");
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::process::{Child as Process, Command as Run};

    fn account(uid: u32, gid: u32) -> Account {
        Account { uid, gid, name: "someone".to_owned() }
    }

    fn programs(directory: &str, major: u32) -> Programs {
        Programs { directory: PathBuf::from(directory), major }
    }

    #[test]
    fn a_url_survives_any_path() {
        assert_eq!(
            url("app", Path::new("/srv/a b/ü?&=%.socket")),
            "postgres://app@localhost:5432/millstream?host=%2Fsrv%2Fa%20b%2F%C3%BC%3F%26%3D%25.socket"
        );
        assert!(url("a@b", Path::new("/s")).starts_with("postgres://a%40b@localhost:5432/"));
    }

    #[test]
    fn a_version_is_read_from_whatever_packagers_append() {
        for (said, major) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 18beta1", Some(18)),
            ("postgres (PostgreSQL) 9.6.24", Some(9)),
            ("postgres (EnterpriseDB) x", None),
            ("", None),
        ] {
            assert_eq!(major_of(said), major, "{said}");
        }
    }

    #[test]
    fn the_first_that_is_new_enough_is_chosen() {
        let found = || vec![programs("/a", 14), programs("/b", 16), programs("/c", 17)];
        let at = Path::new("/data/postgres");
        assert_eq!(choose(found(), at, None).unwrap(), programs("/b", 16));
        assert_eq!(choose(found(), at, Some(17)).unwrap(), programs("/c", 17));
        let other = choose(found(), at, Some(15)).unwrap_err().to_string();
        assert!(other.contains("made by PostgreSQL 15"), "{other}");
        assert!(other.contains("17 in /c"), "{other}");
        let missing = choose(vec![programs("/a", 14)], at, None).unwrap_err().to_string();
        assert!(missing.contains("there is 14 in /a"), "{missing}");
        let missing = choose(Vec::new(), at, None).unwrap_err().to_string();
        assert!(missing.contains("apt install postgresql"), "{missing}");
        assert!(missing.contains("DATABASE_URL"), "{missing}");
        assert!(!missing.contains('\n'), "{missing}");
    }

    #[test]
    fn a_socket_has_room_or_goes_elsewhere() {
        let room = LONGEST_SOCKET - "/.s.PGSQL.5432".len();
        let path = |length: usize| PathBuf::from(format!("/{}", "x".repeat(length - 1)));
        assert!(fits(&path(room)));
        assert!(!fits(&path(room + 1)));
        assert!(!fits(Path::new("/a\nb")));
        assert!(!fits(Path::new(OsStr::from_bytes(b"/\xff"))));
    }

    #[test]
    fn the_hash_of_a_path_never_changes() {
        assert_eq!(hash_of(Path::new("")), "cbf29ce484222325");
        assert_eq!(hash_of(Path::new("a")), "af63dc4c8601ec8c");
    }

    #[test]
    fn entering_follows_the_first_class_that_applies() {
        let me = account(7, 8);
        assert!(may_enter(0o700, 7, 0, &me));
        assert!(!may_enter(0o077, 7, 8, &me));
        assert!(may_enter(0o010, 0, 8, &me));
        assert!(!may_enter(0o701, 0, 8, &me));
        assert!(may_enter(0o711, 0, 0, &me));
        assert!(!may_enter(0o700, 0, 0, &me));
    }

    #[test]
    fn a_note_is_read_as_far_as_it_is_written() {
        let note = |text: &str| note_in(text.as_bytes());
        assert_eq!(
            note("42\n/data\n1700000000\n5432\n/sock et\n\n  1 2\nready   \n"),
            Some(Note { pid: 42, sockets: Some(PathBuf::from("/sock et")) })
        );
        for early in ["42\n/data\n1700000000\n5432\n\n", "42\n", "42"] {
            assert_eq!(note(early), Some(Note { pid: 42, sockets: None }));
        }
        for none in ["", "-42\n", "0\n", "x\n"] {
            assert_eq!(note(none), None);
        }
    }

    #[test]
    fn a_zombie_is_told_by_its_state_and_not_by_its_name() {
        assert!(is_zombie("7 (postgres) Z 1 7"));
        assert!(!is_zombie("7 (a) Z) S 1 7"));
        assert!(!is_zombie(""));
    }

    #[test]
    fn a_setting_holds_a_directory_with_commas_and_quotes() {
        assert_eq!(quoted(Path::new("/a, \"b\"")), "\"/a, \"\"b\"\"\"");
    }

    #[test]
    fn only_the_end_of_a_log_is_quoted() {
        let log: String = (0..100).map(|line| format!("{line}\n")).collect();
        let end = last_lines(&log);
        assert_eq!(end.lines().count(), LOG_LINES);
        assert!(end.ends_with("99"));
        assert_eq!(last_lines(""), "");
    }

    // From here on with PostgreSQL itself. As root these run it as another user, which is half of
    // what there is to try; the other half needs them run by an ordinary user.

    fn is_root() -> bool {
        Uid::effective().is_root()
    }

    /// A directory that the user who runs PostgreSQL can enter.
    fn room() -> tempfile::TempDir {
        let room = tempfile::tempdir().unwrap();
        set_mode(room.path(), 0o755).unwrap();
        room
    }

    async fn psql(url: &str, sql: &str) -> Result<String, Error> {
        let programs = Programs::find(None, Path::new("/"), None).await?;
        let program = programs.path("psql");
        let mut psql = command(&program);
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, url]);
        Ok(output(psql, &program, sql).await?.trim().to_owned())
    }

    /// Asks until there is an answer, as a pool does.
    async fn insist(url: &str, sql: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match psql(url, sql).await {
                Ok(answer) => return answer,
                Err(why) if Instant::now() > deadline => panic!("{why}"),
                Err(_) => sleep(POLL).await,
            }
        }
    }

    async fn fill(postgres: &PrivatePostgres) {
        let sql = "create table kept (n int); insert into kept values (7)";
        psql(&postgres.superuser_url(), sql).await.unwrap();
    }

    async fn assert_kept(postgres: &PrivatePostgres) {
        let kept = insist(&postgres.superuser_url(), "select n from kept").await;
        assert_eq!(kept, "7");
    }

    fn kill_hard(pid: i32) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }

    const SERVED_DIR: &str = "MILLSTREAM_TEST_DATA_DIR";

    /// Not a test: the server that others start as a process of its own, to kill it.
    #[tokio::test]
    #[ignore = "started by other tests"]
    async fn serve() {
        let data_dir = std::env::var_os(SERVED_DIR).expect("started by other tests");
        let postgres = PrivatePostgres::start(Path::new(&data_dir)).await.unwrap();
        println!("{}", postgres.pid());
        fs::write(Path::new(&data_dir).join("served"), "").unwrap();
        std::future::pending::<()>().await;
    }

    fn server(data_dir: &Path) -> Process {
        let (_, here) = module_path!().split_once("::").unwrap();
        Run::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture"])
            .arg(format!("{here}::serve"))
            .env(SERVED_DIR, data_dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The process id of the PostgreSQL of a server that was then killed with -9.
    async fn of_a_killed_server(data_dir: &Path) -> i32 {
        let served = data_dir.join("served");
        let mut server = server(data_dir);
        while !served.exists() {
            assert_eq!(server.try_wait().unwrap(), None, "the server did not start");
            sleep(POLL).await;
        }
        server.kill().unwrap();
        server.wait().unwrap();
        fs::remove_file(served).unwrap();
        let note = fs::read(data_dir.join("postgres/postmaster.pid")).unwrap();
        note_in(&note).unwrap().pid
    }

    #[tokio::test]
    async fn a_stop_and_a_start_keep_the_data() {
        let room = room();
        let data_dir = room.path().join("deep/er");
        let postgres = PrivatePostgres::start(&data_dir).await.unwrap();
        fill(&postgres).await;
        let (pid, url) = (postgres.pid(), postgres.superuser_url());
        assert_eq!(life_of(pid, &data_dir.join("postgres")), Life::Postmaster);
        postgres.stop().await.unwrap();
        assert!(!exists(pid));
        assert!(!data_dir.join("postgres/postmaster.pid").exists());
        assert!(!data_dir.join("postgres.socket").exists());

        let postgres = PrivatePostgres::start(&data_dir).await.unwrap();
        assert_ne!(postgres.pid(), pid);
        assert_eq!(postgres.superuser_url(), url);
        assert_kept(&postgres).await;
        postgres.stop().await.unwrap();
    }

    #[tokio::test]
    async fn it_listens_where_only_its_user_comes_and_survives_ctrl_c() {
        let room = room();
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        let url = postgres.superuser_url();
        for (setting, value) in [
            ("listen_addresses", ""),
            ("unix_socket_permissions", "0700"),
            ("shared_buffers", "128MB"),
            ("max_connections", "100"),
            ("max_prepared_transactions", "0"),
            ("synchronous_commit", "on"),
            ("server_encoding", "UTF8"),
        ] {
            let answer = psql(&url, &format!("show {setting}")).await.unwrap();
            assert_eq!(answer, value, "{setting}");
        }
        let found = fs::metadata(room.path().join("postgres.socket")).unwrap();
        let cluster = fs::metadata(room.path().join("postgres")).unwrap();
        assert_eq!(found.mode() & 0o777, 0o700);
        assert_eq!(found.uid(), cluster.uid());
        assert_ne!(found.uid(), 0);
        let group = nix::unistd::getpgid(Some(Pid::from_raw(postgres.pid()))).unwrap();
        assert_ne!(group, nix::unistd::getpgrp());
        postgres.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_role_connects_by_its_url() {
        let room = room();
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        let url = postgres.superuser_url();
        psql(&url, "create role \"a b@c\" login").await.unwrap();
        let me = psql(&postgres.url("a b@c"), "select current_user, current_database()").await;
        assert_eq!(me.unwrap(), "a b@c|millstream");
        postgres.stop().await.unwrap();
    }

    #[tokio::test]
    async fn the_postgres_of_a_killed_server_is_picked_up() {
        let room = room();
        let pid = of_a_killed_server(room.path()).await;
        assert!(exists(pid));
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        assert_eq!(postgres.pid(), pid);
        fill(&postgres).await;
        assert_kept(&postgres).await;

        // And is watched as one of our own is.
        kill_hard(pid);
        assert_kept(&postgres).await;
        assert_ne!(postgres.pid(), pid);
        postgres.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_picked_up_postgres_is_stopped() {
        let room = room();
        let pid = of_a_killed_server(room.path()).await;
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        assert_eq!(postgres.pid(), pid);
        postgres.stop().await.unwrap();
        assert_ne!(life_of(pid, &room.path().join("postgres")), Life::Postmaster);
        assert!(!room.path().join("postgres/postmaster.pid").exists());
    }

    #[tokio::test]
    async fn a_dropped_handle_leaves_postgres_to_the_next() {
        let room = room();
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        let pid = postgres.pid();
        drop(postgres);
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        assert_eq!(postgres.pid(), pid);
        postgres.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_server_killed_with_its_postgres_starts_again() {
        let room = room();
        let pid = of_a_killed_server(room.path()).await;
        kill_hard(pid);
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        assert_ne!(postgres.pid(), pid);
        insist(&postgres.superuser_url(), "select 1").await;
        postgres.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_server_killed_at_any_moment_of_its_first_start_leaves_nothing_half_made() {
        let room = room();
        for milliseconds in [0, 30, 100, 200, 300, 500, 700, 900, 1200, 1500] {
            let mut server = server(room.path());
            sleep(Duration::from_millis(milliseconds)).await;
            server.kill().unwrap();
            server.wait().unwrap();
        }
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        fill(&postgres).await;
        assert_kept(&postgres).await;
        postgres.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_second_server_is_refused() {
        let room = room();
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        let refusal = PrivatePostgres::start(room.path()).await.unwrap_err();
        assert!(matches!(refusal, Error::InUse { .. }), "{refusal}");
        let refusal = refusal.to_string();
        let process = format!("(process {})", std::process::id());
        assert!(refusal.contains(&process), "{refusal}");
        insist(&postgres.superuser_url(), "select 1").await;
        postgres.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_successor_waits_for_a_server_that_is_stopping() {
        let room = room();
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        let (stopped, next) = tokio::join!(postgres.stop(), PrivatePostgres::start(room.path()));
        stopped.unwrap();
        next.unwrap().stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_killed_postgres_comes_back_as_often_as_it_is_killed() {
        let room = room();
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        fill(&postgres).await;
        for _ in 0..3 {
            // A backend at work makes the next postmaster meet the dead one's shared memory.
            let url = postgres.superuser_url();
            let busy = tokio::spawn(async move { psql(&url, "select pg_sleep(600)").await });
            sleep(Duration::from_millis(300)).await;
            let pid = postgres.pid();
            kill_hard(pid);
            assert_kept(&postgres).await;
            assert_ne!(postgres.pid(), pid);
            assert!(busy.await.unwrap().is_err());
        }
        postgres.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_killed_postgres_comes_back_when_its_last_backend_is_gone() {
        let room = room();
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        fill(&postgres).await;
        let url = postgres.superuser_url();
        let busy = tokio::spawn(async move { psql(&url, "select pg_sleep(600)").await });
        let backend = loop {
            let sql = "select pid from pg_stat_activity where wait_event = 'PgSleep'";
            match insist(&postgres.superuser_url(), sql).await.parse() {
                Ok(backend) => break Pid::from_raw(backend),
                Err(_) => sleep(POLL).await,
            }
        };
        // It does not notice that its postmaster died.
        kill(backend, Signal::SIGSTOP).unwrap();
        let mark = fs::metadata(room.path().join("postgres.log")).unwrap().len();
        kill_hard(postgres.pid());
        let refused = async {
            loop {
                let log = fs::read(room.path().join("postgres.log")).unwrap();
                let since = String::from_utf8_lossy(&log[usize::try_from(mark).unwrap()..]);
                if since.contains("pre-existing shared memory block") {
                    break;
                }
                sleep(POLL).await;
            }
        };
        let refused = tokio::time::timeout(Duration::from_secs(20), refused).await;
        kill_hard(backend.as_raw());
        refused.unwrap();
        assert_kept(&postgres).await;
        assert!(busy.await.unwrap().is_err());
        postgres.stop().await.unwrap();
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_zombie_is_no_postmaster() {
        let mut zombie = Run::new("true").spawn().unwrap();
        let pid = i32::try_from(zombie.id()).unwrap();
        let dead = async {
            while life_of(pid, Path::new("/nowhere")) != Life::Another {
                sleep(POLL).await;
            }
        };
        let dead = tokio::time::timeout(Duration::from_secs(10), dead).await;
        zombie.wait().unwrap();
        dead.unwrap();
        assert_eq!(life_of(pid, Path::new("/nowhere")), Life::Gone);
    }

    #[tokio::test]
    async fn a_stop_ends_a_postgres_that_is_just_coming_back() {
        let room = room();
        for milliseconds in [0, 50, 110, 150, 200, 400] {
            let postgres = PrivatePostgres::start(room.path()).await.unwrap();
            kill_hard(postgres.pid());
            sleep(Duration::from_millis(milliseconds)).await;
            postgres.stop().await.unwrap();
            sleep(Duration::from_millis(50)).await;
            if let Ok(note) = fs::read(room.path().join("postgres/postmaster.pid")) {
                let pid = note_in(&note).unwrap().pid;
                assert_eq!(life_of(pid, &room.path().join("postgres")), Life::Gone);
            }
        }
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_clients() {
        let room = room();
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        let url = postgres.superuser_url();
        let busy = tokio::spawn(async move { psql(&url, "select pg_sleep(600)").await });
        sleep(Duration::from_millis(300)).await;
        postgres.stop().await.unwrap();
        assert!(busy.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_number_that_went_to_another_process_is_no_postmaster() {
        let room = room();
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        fill(&postgres).await;
        postgres.stop().await.unwrap();
        let cluster = room.path().join("postgres");
        let found = fs::metadata(&cluster).unwrap();
        let mut other = Command::new("sleep");
        other.arg("600").current_dir("/").kill_on_drop(true);
        if is_root() {
            other.uid(found.uid()).gid(found.gid());
        }
        let other = other.spawn().unwrap();
        let note = cluster.join("postmaster.pid");
        let text = format!("{}\n{}\n1\n5432\n\n", other.id().unwrap(), cluster.display());
        fs::write(&note, text).unwrap();
        std::os::unix::fs::chown(&note, Some(found.uid()), Some(found.gid())).unwrap();

        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        assert_kept(&postgres).await;
        postgres.stop().await.unwrap();
        assert!(exists(i32::try_from(other.id().unwrap()).unwrap()));
    }

    #[tokio::test]
    async fn a_deep_data_directory_has_its_socket_elsewhere() {
        let room = room();
        let data_dir = room.path().join("d".repeat(70)).join("e".repeat(70));
        let postgres = PrivatePostgres::start(&data_dir).await.unwrap();
        insist(&postgres.superuser_url(), "select 1").await;
        let sockets = postgres.sockets.clone();
        assert!(!sockets.starts_with(room.path()), "{}", sockets.display());
        assert_eq!(fs::metadata(&sockets).unwrap().mode() & 0o777, 0o700);
        postgres.stop().await.unwrap();
        assert!(!sockets.exists());
    }

    #[test]
    fn a_socket_directory_of_doubtful_origin_is_refused() {
        let room = room();
        let seat =
            Seat { cluster: room.path().join("postgres"), account: is_root().then(|| Account::for_root().unwrap()) };
        let path = room.path().join("s");
        std::os::unix::fs::symlink(room.path(), &path).unwrap();
        assert!(make_socket_directory(&path, &seat).is_err());
        fs::remove_file(&path).unwrap();
        make_socket_directory(&path, &seat).unwrap();
        make_socket_directory(&path, &seat).unwrap();
        set_mode(&path, 0o755).unwrap_or_else(|why| panic!("{why}"));
        make_socket_directory(&path, &seat).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        if is_root() {
            std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
            let refusal = make_socket_directory(&path, &seat).unwrap_err().to_string();
            assert!(refusal.contains("another user"), "{refusal}");
        }
    }

    #[tokio::test]
    async fn as_root_a_data_directory_that_is_shut_gets_its_cluster_elsewhere() {
        if !is_root() {
            return;
        }
        let (shut, elsewhere) = (tempfile::tempdir().unwrap(), room());
        set_mode(shut.path(), 0o700).unwrap();
        let start =
            async |data_dir: &Path| PrivatePostgres::start_in(data_dir, None, &elsewhere.path().join("m")).await;
        let data_dir = shut.path().join("data");
        let postgres = start(&data_dir).await.unwrap();
        fill(&postgres).await;
        postgres.stop().await.unwrap();
        let home = fs::read_link(data_dir.join("postgres")).unwrap();
        assert!(home.starts_with(elsewhere.path()), "{}", home.display());

        // It stays there, whether or not the data directory could be used by now.
        set_mode(shut.path(), 0o755).unwrap();
        let postgres = start(&data_dir).await.unwrap();
        assert_kept(&postgres).await;
        postgres.stop().await.unwrap();

        // A new data directory of the same name is a new one.
        fs::remove_dir_all(&data_dir).unwrap();
        set_mode(shut.path(), 0o700).unwrap();
        let postgres = start(&data_dir).await.unwrap();
        assert_ne!(fs::read_link(data_dir.join("postgres")).unwrap(), home);
        let url = postgres.superuser_url();
        assert!(psql(&url, "select n from kept").await.is_err());
        postgres.stop().await.unwrap();

        // With no elsewhere to go, the sentence says what is shut.
        let shut_too = shut.path().join("other");
        let refusal = PrivatePostgres::start_in(&shut_too, None, Path::new("/proc/m")).await.unwrap_err().to_string();
        let step = shut.path().display().to_string();
        assert!(refusal.contains(&format!("may not enter {step}, ")), "{refusal}");
        assert!(refusal.contains("MILLSTREAM_DATA_DIR"), "{refusal}");
        assert!(!shut_too.join("postgres").exists());
    }

    #[tokio::test]
    async fn as_root_a_cluster_that_was_shut_in_is_not_replaced() {
        if !is_root() {
            return;
        }
        let room = room();
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        fill(&postgres).await;
        postgres.stop().await.unwrap();
        set_mode(room.path(), 0o700).unwrap();
        let refusal = PrivatePostgres::start(room.path()).await.unwrap_err();
        assert!(matches!(refusal, Error::NotTraversable { .. }), "{refusal}");
        set_mode(room.path(), 0o755).unwrap();

        // One that root restored from a copy is handed back to PostgreSQL's user.
        let mut copy = Run::new("cp");
        copy.args(["-r", "postgres", "copy"]);
        assert!(copy.current_dir(room.path()).status().unwrap().success());
        fs::remove_dir_all(room.path().join("postgres")).unwrap();
        fs::rename(room.path().join("copy"), room.path().join("postgres")).unwrap();
        set_mode(&room.path().join("postgres"), 0o700).unwrap();
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        assert_kept(&postgres).await;
        postgres.stop().await.unwrap();
    }

    #[tokio::test]
    async fn as_root_the_owner_of_the_cluster_runs_it() {
        let Some(nobody) = Account::named("nobody").unwrap().filter(|_| is_root()) else {
            return;
        };
        let room = room();
        let cluster = room.path().join("postgres");
        fs::create_dir(&cluster).unwrap();
        std::os::unix::fs::chown(&cluster, Some(nobody.uid), Some(nobody.gid)).unwrap();
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        insist(&postgres.superuser_url(), "select 1").await;
        let runs = fs::metadata(cluster.join("postmaster.pid")).unwrap();
        assert_eq!(runs.uid(), nobody.uid);
        postgres.stop().await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_cluster_or_anothers_is_left_alone() {
        let room = room();
        let cluster = room.path().join("postgres");
        fs::create_dir(&cluster).unwrap();
        fs::write(cluster.join("letter"), "").unwrap();
        let refusal = PrivatePostgres::start(room.path()).await.unwrap_err();
        assert!(matches!(refusal, Error::NotACluster { .. }), "{refusal}");

        fs::write(cluster.join("PG_VERSION"), "12\n").unwrap();
        let refusal = PrivatePostgres::start(room.path()).await.unwrap_err();
        assert!(matches!(refusal, Error::OtherMajor { .. }), "{refusal}");

        let nowhere = PrivatePostgres::start_with(room.path(), Some(&cluster)).await;
        let refusal = nowhere.unwrap_err().to_string();
        assert!(refusal.starts_with("MILLSTREAM_POSTGRES_BIN is"), "{refusal}");
        assert!(cluster.join("letter").exists());
    }

    #[tokio::test]
    async fn a_refusal_to_start_quotes_the_log() {
        let room = room();
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        postgres.stop().await.unwrap();
        let conf = room.path().join("postgres/postgresql.conf");
        let good = fs::read_to_string(&conf).unwrap();
        fs::write(&conf, format!("{good}\nnonsense = 1\n")).unwrap();
        let refusal = PrivatePostgres::start(room.path()).await.unwrap_err();
        assert!(matches!(refusal, Error::DidNotStart { .. }), "{refusal}");
        assert!(refusal.to_string().contains("\"nonsense\""), "{refusal}");
        fs::write(&conf, good).unwrap();
        let postgres = PrivatePostgres::start(room.path()).await.unwrap();
        postgres.stop().await.unwrap();
    }
}
