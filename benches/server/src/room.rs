//! A temporary folder and the program that runs in it. Both end with this process, however it ends: a warden, a shell of
//! its own, waits for that, stops what is left, PostgreSQL too where the program has one, and removes the folder.

use crate::Outcome;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
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

pub(crate) struct Room {
    /// Where the program is to listen: a port of loopback that was free when the room was opened.
    pub(crate) address: SocketAddr,
    folder: PathBuf,
    /// Of the program that was started last, for people.
    name: String,
    program: Option<Child>,
    warden: Child,
}

impl Room {
    /// One at a time: the folder is named after this process.
    pub(crate) fn open() -> Outcome<Self> {
        allow_files()?;
        let folder = std::env::temp_dir().join(format!("millstream-bench-{}", std::process::id()));
        fs::create_dir(&folder)?;
        // Run as root, programs hand parts of their work to another user, who has to get there.
        fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
        let warden = Command::new("sh")
            .args(["-c", WARDEN, "warden"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in the terminal ends the bench; the warden then does its work.
            .process_group(0)
            .spawn()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Ok(Self { address, folder, name: String::new(), program: None, warden })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts the program and waits until it answers `/readyz`.
    ///
    /// # Errors
    /// With what it printed, where it ended or is not ready in time.
    pub(crate) async fn start(&mut self, command: &mut Command) -> Outcome {
        self.name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = File::options().create(true).append(true).open(self.log())?;
        let program = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        fs::write(self.folder.join("server.pid"), program.id().to_string())?;
        self.program = Some(program);
        let http = reqwest::Client::new();
        let deadline = Instant::now() + START_BOUND;
        loop {
            let answer = http.get(format!("{}/readyz", self.url())).timeout(Duration::from_secs(2)).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return Ok(());
            }
            let ended = self.program.as_mut().and_then(|program| program.try_wait().ok().flatten());
            if ended.is_some() || Instant::now() > deadline {
                let name = &self.name;
                return Err(format!("{name} did not become ready ({ended:?}); it printed:\n{}", self.said()).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// What the program has printed so far.
    fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Of the program that was started; 0 where none runs.
    pub(crate) fn pid(&self) -> u32 {
        self.program.as_ref().map_or(0, Child::id)
    }

    /// `kill -9`; what the program has started goes on.
    pub(crate) fn kill(&mut self) -> Outcome {
        if let Some(mut program) = self.program.take() {
            program.kill()?;
            program.wait()?;
        }
        Ok(())
    }

    /// Asks the program to end, with what it started, and waits for it.
    pub(crate) fn stop(&mut self) -> Outcome {
        let Some(mut program) = self.program.take() else { return Ok(()) };
        // What has ended has given its number back.
        if program.try_wait()?.is_some() {
            return Ok(());
        }
        kill(Pid::from_raw(i32::try_from(program.id())?), Signal::SIGTERM)?;
        let deadline = Instant::now() + STOP_BOUND;
        while program.try_wait()?.is_none() {
            if Instant::now() > deadline {
                program.kill()?;
                program.wait()?;
                return Err(format!("{} did not end within {STOP_BOUND:?} of SIGTERM", self.name).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Err(why) = self.stop() {
            eprintln!("{why}");
        }
        // What the program warned of belongs to the figures.
        let said = self.said();
        let warned: Vec<&str> = said.lines().filter(|line| is_warning(line)).collect();
        if let Some(last) = warned.last() {
            eprintln!("\n{} warned {} times, at last: {last}", self.name, warned.len());
        }
        drop(self.warden.stdin.take());
        if let Err(why) = self.warden.wait() {
            eprintln!("the warden: {why}");
        }
    }
}

/// Of the server, which writes `WARN` and `ERROR`, or of nginx, which writes `[warn]` and worse.
fn is_warning(line: &str) -> bool {
    ["WARN", "ERROR", "[warn]", "[error]", "[crit]", "[alert]", "[emerg]"].iter().any(|mark| line.contains(mark))
}

/// Lets this process and the program that it starts open a file for each socket.
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
