//! The server as a process of its own, to be killed.

use super::bus;
use super::cluster::Room;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

pub fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// The program itself.
pub struct Program {
    child: Child,
    pub addr: String,
}

impl Program {
    /// Over a PostgreSQL of its own.
    pub fn start(room: &Room) -> Self {
        Self::start_with(&[("MILLSTREAM_DATA_DIR", room.path().as_os_str())])
    }

    /// Over one that is there.
    pub fn start_over(database_url: &str) -> Self {
        Self::start_over_with(database_url, &[])
    }

    /// The same, with these settings too.
    pub fn start_over_with(database_url: &str, settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().copied().chain([("DATABASE_URL", database_url)]);
        let settings: Vec<_> = settings.map(|(name, value)| (name, OsStr::new(value))).collect();
        Self::start_with(&settings)
    }

    fn start_with(settings: &[(&str, &OsStr)]) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_millstream"));
        let is_ours = |name: &str| name.starts_with("MILLSTREAM_") || name.starts_with("OTEL_");
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(&name.to_string_lossy())) {
            program.env_remove(name);
        }
        let mut child = program
            .env_remove("DATABASE_URL")
            .envs(bus::shared().map(|nats| ("MILLSTREAM_NATS_URL", nats.url())))
            .envs(settings.iter().copied())
            .env("MILLSTREAM_ADDR", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let line = BufReader::new(child.stdout.take().unwrap()).lines().next().expect("it started").unwrap();
        let addr = line.strip_prefix("Millstream listens on http://").unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { child, addr }
    }

    pub fn end(&mut self, by: Signal) -> Option<i32> {
        signal(self.child.id().cast_signed(), by);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
