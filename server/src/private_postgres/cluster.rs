//! One cluster: made, started, asked and stopped, and what it leaves behind.

use super::data_directory::set_mode;
use super::error::{Error, file};
use super::programs::{Programs, command, output};
use super::seat::{Seat, beside, parent};
use super::{DATABASE, LOG_LINES, PORT, REFUSAL_PAUSE, SUPERUSER};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, Uid};
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

const DATABASE_BOUND: Duration = Duration::from_secs(10);

/// Everything needed to run one cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) seat: Seat,
    pub(super) sockets: PathBuf,
    pub(super) log: PathBuf,
    pub(super) programs: Programs,
}

/// What `postmaster.pid` says about a process that is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) pid: i32,
    /// Missing in the first moments of a postmaster's life.
    pub(super) sockets: Option<PathBuf>,
}

impl Cluster {
    /// Makes the cluster under another name and renames it when it is whole: a kill in the middle
    /// leaves nothing that looks like a cluster.
    pub(super) async fn make(&self) -> Result<(), Error> {
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

    pub(super) async fn initdb(&self, directory: &Path, locale: &str) -> Result<(), Error> {
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
    pub(super) fn running(&self) -> Option<Note> {
        self.note().filter(|note| life_of(note.pid, &self.seat.cluster) == Life::Postmaster)
    }

    pub(super) fn note(&self) -> Option<Note> {
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
    pub(super) fn set_false_note_aside(&self) -> Result<(), Error> {
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
    pub(super) fn spawn(&self) -> Result<Child, Error> {
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
    pub(super) async fn answers(&self, sockets: &Path) -> Result<bool, Error> {
        let program = self.programs.path("pg_isready");
        let status = client(&program, sockets)
            .args(["--quiet", "--dbname=postgres"])
            .status()
            .await
            .map_err(|why| Error::Run { program, user: None, why })?;
        Ok(status.success())
    }

    /// Makes the `millstream` database where it is missing.
    pub(super) async fn make_database(&self) -> Result<(), Error> {
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
    pub(super) fn log_since(&self, mark: u64) -> String {
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
    pub(super) fn end_of_log(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |found| found.len())
    }
}

fn client(program: &Path, sockets: &Path) -> Command {
    let mut command = command(program);
    command.arg("--host").arg(sockets).arg(format!("--port={PORT}")).arg(format!("--username={SUPERUSER}"));
    command
}

/// A directory as an element of a list setting, where a comma would begin the next.
pub(super) fn quoted(directory: &Path) -> String {
    format!("\"{}\"", directory.display().to_string().replace('"', "\"\""))
}

pub(super) fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// Whether the log of a postmaster that refused to start blames something that passes: another one
/// on its way out, or the backends of one that was killed.
pub(super) fn passes(log: &str) -> bool {
    log.contains("pre-existing shared memory block") || (log.contains("lock file") && log.contains("already exists"))
}

pub(super) fn note_in(text: &[u8]) -> Option<Note> {
    let mut lines = text.split(|byte| *byte == b'\n');
    // Negative for a single-user backend, which takes no connections.
    let pid = std::str::from_utf8(lines.next()?).ok()?.trim().parse().ok().filter(|pid| *pid > 0)?;
    // Then the cluster's directory, the time of the start and the port.
    let sockets = lines.nth(3).filter(|line| !line.is_empty()).map(|line| PathBuf::from(OsStr::from_bytes(line)));
    Some(Note { pid, sockets })
}

/// What a process number found in `postmaster.pid` stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Life {
    Gone,
    /// As far as can be seen.
    Postmaster,
    /// Certainly a process, certainly not our postmaster.
    Another,
}

pub(super) fn life_of(pid: i32, cluster: &Path) -> Life {
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
pub(super) fn is_zombie(stat: &str) -> bool {
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// Whether there is such a process, perhaps one we may not signal.
pub(super) fn exists(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

/// Makes the socket's directory, or takes one that is beyond doubt ours: in `/tmp` anybody could
/// have made a directory of that name before us.
pub(super) fn make_socket_directory(path: &Path, seat: &Seat) -> Result<(), Error> {
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
