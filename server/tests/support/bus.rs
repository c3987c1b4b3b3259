//! The NATS of a test, or of all tests of a binary where `MILLSTREAM_TEST_RELAY=nats` says that their servers are to hear of changes by it.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

// As long as whoever started it holds the other end of its input: it ends with this process, however that comes.
const WARDEN: &str = r#"
command -v nats-server >/dev/null || exit 127
nats-server "$@" &
pid=$!
read -r _
kill -KILL "$pid" 2>/dev/null
wait
"#;

/// A NATS on loopback.
pub struct Nats {
    port: u16,
    monitor: u16,
    /// `nats-server`'s own.
    pid: Pid,
    warden: Child,
}

impl Nats {
    /// On ports that are free.
    pub fn start() -> Self {
        Self::start_on("-1")
    }

    /// On the port that it had, after it was killed.
    pub fn start_again(self) -> Self {
        Self::start_on(&self.port.to_string())
    }

    fn start_on(port: &str) -> Self {
        let mut warden = Command::new("sh")
            .args(["-c", WARDEN, "warden", "--addr", "127.0.0.1", "--port", port, "--http_port", "-1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(warden.stderr.take().unwrap()).lines();
        let (mut port, mut monitor, mut pid) = (None, None, None);
        while port.is_none() || monitor.is_none() || pid.is_none() {
            let line =
                lines.next().expect("no nats-server: run scripts/setup browser, and source scripts/env").unwrap();
            let number = |line: &str| line.rsplit(':').next()?.trim().parse().ok();
            if line.contains("Listening for client connections") {
                port = number(&line);
            } else if line.contains("Starting http monitor") {
                monitor = number(&line);
            }
            // Each line begins with it: [123] 2026/01/01 …
            pid = pid.or_else(|| line.strip_prefix('[')?.split(']').next()?.parse().ok());
        }
        // What it says later is read, so that it can go on saying it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { port: port.unwrap(), monitor: monitor.unwrap(), pid: Pid::from_raw(pid.unwrap()), warden }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// What the connections listen to: a list for each.
    pub async fn subscriptions(&self) -> Vec<Vec<String>> {
        let address = format!("http://127.0.0.1:{}/connz?subs=1", self.monitor);
        let told: serde_json::Value = reqwest::get(address).await.unwrap().json().await.unwrap();
        let subjects = |connection: &serde_json::Value| {
            let list = connection["subscriptions_list"].as_array().cloned().unwrap_or_default();
            list.iter().filter_map(|subject| Some(subject.as_str()?.to_owned())).collect()
        };
        told["connections"].as_array().unwrap().iter().map(subjects).collect()
    }

    pub fn kill(&self) {
        kill(self.pid, Signal::SIGKILL).unwrap();
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        drop(self.warden.stdin.take());
        let _ = self.warden.wait();
    }
}

/// The one that the servers of this binary's tests are to use, if any.
pub fn shared() -> Option<&'static Nats> {
    static SHARED: OnceLock<Option<Nats>> = OnceLock::new();
    let wanted = || match std::env::var("MILLSTREAM_TEST_RELAY").as_deref() {
        Ok("nats") => Some(Nats::start()),
        Ok(other) => panic!("MILLSTREAM_TEST_RELAY is `{other}`, but only nats is known"),
        Err(_) => None,
    };
    SHARED.get_or_init(wanted).as_ref()
}
