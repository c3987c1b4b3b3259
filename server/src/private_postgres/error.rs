//! Why the private PostgreSQL is not there, or not gone.

use super::programs::Programs;
use super::{OLDEST_MAJOR, POSTGRES_BIN, START_BOUND, STOP_BOUND};
use nix::errno::Errno;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

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
pub(super) fn file(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |why| Error::File { attempt, path: path.to_owned(), why }
}
