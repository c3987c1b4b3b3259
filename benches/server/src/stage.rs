//! The release server with a PostgreSQL of its own in a temporary folder. Both end with this process, however it ends:
//! a warden, a shell of its own, waits for that, stops what is left, and removes the folder.

use crate::Outcome;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection};
use std::fs::{self, File, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START_BOUND: Duration = Duration::from_secs(60);
const STOP_BOUND: Duration = Duration::from_secs(20);
/// For ten thousand sockets and what else is open.
const FILES: u64 = 30_000;

const WARDEN: &str = r#"
read -r _
server=$(cat "$1/server.pid" 2>/dev/null)
if [ -n "$server" ] && kill -TERM "$server" 2>/dev/null; then
  left=200
  while [ $left -gt 0 ] && kill -0 "$server" 2>/dev/null; do sleep 0.1; left=$((left - 1)); done
  kill -KILL "$server" 2>/dev/null
fi
postgres=$(head -n 1 "$1/data/postgres/postmaster.pid" 2>/dev/null)
if [ -n "$postgres" ] && kill -QUIT "$postgres" 2>/dev/null; then
  left=100
  while [ $left -gt 0 ] && kill -0 "$postgres" 2>/dev/null; do sleep 0.1; left=$((left - 1)); done
fi
rm -rf "$1"
"#;

pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    program: PathBuf,
    room: PathBuf,
    server: Option<Child>,
    warden: Child,
}

impl Stage {
    /// Starts the program in `dist` over an empty database. `settings` are PostgreSQL's, of those that count from its start.
    pub(crate) async fn open(dist: &Path, settings: &[(&str, &str)]) -> Outcome<Self> {
        allow_files()?;
        let program = dist.join("millstream");
        if !program.exists() {
            return Err(format!("{} does not exist: run `make release` first", program.display()).into());
        }
        let room = std::env::temp_dir().join(format!("millstream-bench-{}", std::process::id()));
        fs::create_dir(&room)?;
        let data = room.join("data");
        fs::create_dir(&data)?;
        // Run as root, the server hands its database to another user, who has to get there.
        for folder in [&room, &data] {
            fs::set_permissions(folder, Permissions::from_mode(0o755))?;
        }
        let warden = Command::new("sh")
            .args(["-c", WARDEN, "warden"])
            .arg(&room)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in the terminal ends the bench; the warden then does its work.
            .process_group(0)
            .spawn()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut stage = Self { address, program, room, server: None, warden };
        stage.start().await?;
        if !settings.is_empty() {
            let mut owner = stage.owner().await?;
            for (name, value) in settings {
                let sql = format!("alter system set {name} = {value}");
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut owner).await?;
            }
            owner.close().await?;
            stage.stop()?;
            stage.start().await?;
        }
        Ok(stage)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts the server, on the same address and data as before, and waits until it is ready.
    pub(crate) async fn start(&mut self) -> Outcome {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            // The server refuses what it does not know, and must not take a database that the shell names.
            if (name_text.starts_with("MILLSTREAM_") && name_text != "MILLSTREAM_POSTGRES_BIN")
                || name_text == "DATABASE_URL"
            {
                command.env_remove(name);
            }
        }
        let server = command
            .current_dir(self.program.parent().unwrap_or(Path::new(".")))
            .env("MILLSTREAM_ADDR", self.address.to_string())
            .env("MILLSTREAM_DATA_DIR", self.room.join("data"))
            .env("RUST_LOG", "warn")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        fs::write(self.room.join("server.pid"), server.id().to_string())?;
        self.server = Some(server);
        let http = reqwest::Client::new();
        let deadline = Instant::now() + START_BOUND;
        loop {
            let answer = http.get(format!("{}/readyz", self.url())).timeout(Duration::from_secs(2)).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return Ok(());
            }
            let ended = self.server.as_mut().and_then(|server| server.try_wait().ok().flatten());
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(self.log())?;
                return Err(format!("the server did not become ready ({ended:?}); it printed:\n{said}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn log(&self) -> PathBuf {
        self.room.join("server.log")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.as_ref().map_or(0, Child::id)
    }

    /// `kill -9`; PostgreSQL goes on.
    pub(crate) fn kill(&mut self) -> Outcome {
        if let Some(mut server) = self.server.take() {
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    }

    /// Asks the server to end, with its PostgreSQL, and waits for it.
    pub(crate) fn stop(&mut self) -> Outcome {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        kill(Pid::from_raw(i32::try_from(server.id())?), Signal::SIGTERM)?;
        let deadline = Instant::now() + STOP_BOUND;
        while server.try_wait()?.is_none() {
            if Instant::now() > deadline {
                server.kill()?;
                server.wait()?;
                return Err(format!("the server did not end within {STOP_BOUND:?} of SIGTERM").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What PostgreSQL has written down of itself.
    fn note(&self) -> Outcome<String> {
        Ok(fs::read_to_string(self.room.join("data/postgres/postmaster.pid"))?)
    }

    fn postmaster(&self) -> Outcome<u32> {
        Ok(self.note()?.lines().next().ok_or("PostgreSQL's note is empty")?.trim().parse()?)
    }

    /// The way straight to PostgreSQL, as the owner.
    pub(crate) fn options(&self) -> Outcome<PgConnectOptions> {
        let note = self.note()?;
        let sockets = note.lines().nth(4).ok_or("PostgreSQL's note does not name the folder of its socket")?;
        let options = PgConnectOptions::new_without_pgpass()
            .socket(sockets)
            .port(5432)
            .username("millstream")
            .database("millstream")
            // As the server's own owner does: "$user" is the engine's schema.
            .options([("search_path", "public")]);
        Ok(options)
    }

    /// A connection of the owner, who stands above row-level security.
    pub(crate) async fn owner(&self) -> Outcome<PgConnection> {
        Ok(PgConnection::connect_with(&self.options()?).await?)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(why) = self.stop() {
            eprintln!("{why}");
        }
        // What the server warned of belongs to the figures.
        let said = fs::read_to_string(self.log()).unwrap_or_default();
        let warned: Vec<&str> = said.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
        if let Some(last) = warned.last() {
            eprintln!("\nthe server warned {} times, at last: {last}", warned.len());
        }
        drop(self.warden.stdin.take());
        if let Err(why) = self.warden.wait() {
            eprintln!("the warden: {why}");
        }
    }
}

/// Lets this process and the server that it starts open a file for each socket.
fn allow_files() -> Outcome {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= FILES {
        return Ok(());
    }
    if setrlimit(Resource::RLIMIT_NOFILE, FILES, hard.max(FILES)).is_err() {
        // Only root may go beyond.
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        if hard < 12_000 {
            return Err(format!("at most {hard} files may be open (ulimit -Hn): too few for 10,000 sockets").into());
        }
    }
    Ok(())
}

/// Resident memory of the process, in bytes.
pub(crate) fn resident(pid: u32) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024)
}

/// Processor time used so far, in seconds: who of the three had the cores.
#[derive(Clone, Copy)]
pub(crate) struct Processor {
    pub(crate) server: f64,
    pub(crate) postgres: f64,
    /// This program.
    pub(crate) bench: f64,
}

impl Processor {
    pub(crate) fn now(stage: &Stage) -> Outcome<Self> {
        let postmaster = stage.postmaster()?;
        let mut postgres = of_process(postmaster)?;
        for process in fs::read_dir("/proc")? {
            let Some(pid) = process?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process that has just ended is none of those that matter.
            if parent(pid) == Some(postmaster) {
                postgres += of_process(pid).unwrap_or(0.0);
            }
        }
        Ok(Self { server: of_process(stage.pid())?, postgres, bench: of_process(std::process::id())? })
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            server: self.server - before.server,
            postgres: self.postgres - before.postgres,
            bench: self.bench - before.bench,
        }
    }
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Of all threads that there are, as the scheduler counts it.
fn of_process(pid: u32) -> Outcome<f64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let used = text.split_ascii_whitespace().next().ok_or("an empty schedstat")?;
        sum += used.parse::<u64>()?;
    }
    Ok(sum as f64 / 1e9)
}
