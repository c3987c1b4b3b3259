//! The release server with a PostgreSQL of its own, in a room that ends both.

use crate::Outcome;
use crate::processes;
use crate::room::Room;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection};
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    program: PathBuf,
    room: Room,
}

impl Stage {
    /// Starts the program in `dist` over an empty database. `settings` are PostgreSQL's, of those that count from its start.
    pub(crate) async fn open(dist: &Path, settings: &[(&str, &str)]) -> Outcome<Self> {
        let program = dist.join("millstream");
        if !program.exists() {
            return Err(format!("{} does not exist: run `make release` first", program.display()).into());
        }
        let room = Room::open()?;
        let mut stage = Self { address: room.address, program, room };
        fs::create_dir(stage.data())?;
        fs::set_permissions(stage.data(), Permissions::from_mode(0o755))?;
        stage.start().await?;
        if !settings.is_empty() {
            let mut owner = stage.owner().await?;
            for (name, value) in settings {
                let sql = format!("alter system set {name} = {value}");
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut owner).await?;
            }
            owner.close().await?;
            stage.room.stop()?;
            stage.start().await?;
        }
        Ok(stage)
    }

    pub(crate) fn url(&self) -> String {
        self.room.url()
    }

    fn data(&self) -> PathBuf {
        self.room.folder().join("data")
    }

    /// Starts the server, on the same address and data as before, and waits until it is ready.
    pub(crate) async fn start(&mut self) -> Outcome {
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
        command
            .current_dir(self.program.parent().unwrap_or(Path::new(".")))
            .env("MILLSTREAM_ADDR", self.address.to_string())
            .env("MILLSTREAM_DATA_DIR", self.data())
            .env("RUST_LOG", "warn")
            .env("NO_COLOR", "1");
        self.room.start(&mut command).await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.room.pid()
    }

    /// `kill -9`; PostgreSQL goes on.
    pub(crate) fn kill(&mut self) -> Outcome {
        self.room.kill()
    }

    /// What PostgreSQL has written down of itself.
    fn note(&self) -> Outcome<String> {
        Ok(fs::read_to_string(self.data().join("postgres/postmaster.pid"))?)
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

    /// So many of them.
    pub(crate) async fn owners(&self, count: usize) -> Outcome<Vec<PgConnection>> {
        let mut owners = Vec::new();
        for _ in 0..count {
            owners.push(self.owner().await?);
        }
        Ok(owners)
    }
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
        Ok(Self {
            server: processes::used(&[stage.pid()])?,
            postgres: processes::used(&processes::family(stage.postmaster()?)?)?,
            bench: processes::used(&[std::process::id()])?,
        })
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            server: self.server - before.server,
            postgres: self.postgres - before.postgres,
            bench: self.bench - before.bench,
        }
    }
}
