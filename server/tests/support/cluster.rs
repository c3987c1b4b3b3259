//! The PostgreSQL of a test binary. A warden, a process of its own, waits for the end of this one, however it comes, then
//! stops the PostgreSQL of the room and removes the room.

use server::private_postgres::PrivatePostgres;
use sqlx::{Connection, PgConnection};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tokio::sync::{OnceCell, oneshot};
use uuid::Uuid;

// Ends by the pid that PostgreSQL itself wrote into the room. A supervisor that still lives might start another one
// in between: hence the loop. What is a zombie to somebody else is not waited for forever.
const WARDEN: &str = r#"
read -r _
note="$1/postgres/postmaster.pid"
for round in 1 2 3; do
  pid=$(head -n 1 "$note" 2>/dev/null)
  if [ -n "$pid" ] && kill -QUIT "$pid" 2>/dev/null; then
    left=100
    while [ $left -gt 0 ] && kill -0 "$pid" 2>/dev/null; do sleep 0.05; left=$((left - 1)); done
  fi
  rm -rf "$1"
  [ -e "$1" ] || break
done
"#;

/// A data directory that is gone, with its PostgreSQL, when this is dropped or the process ends.
pub struct Room {
    path: PathBuf,
    warden: Child,
}

impl Room {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("millstream-test-").tempdir().unwrap();
        // The user who runs PostgreSQL has to enter it.
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let path = directory.keep();
        let warden = Command::new("sh")
            .args(["-c", WARDEN, "warden"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C in the terminal ends the tests; the warden then does its work.
            .process_group(0)
            .spawn()
            .unwrap();
        Self { path, warden }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The process id that the PostgreSQL of this room wrote down.
    pub fn postmaster(&self) -> Option<i32> {
        let note = std::fs::read_to_string(self.path.join("postgres/postmaster.pid")).ok()?;
        note.lines().next()?.trim().parse().ok()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        drop(self.warden.stdin.take());
        let _ = self.warden.wait();
    }
}

/// The cluster that the tests of this binary share.
pub struct Cluster {
    url: String,
    _room: Room,
}

/// Starts it at the first call.
pub async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER
        .get_or_init(|| async {
            let room = Room::new();
            let data_dir = room.path().to_owned();
            let (tell, told) = oneshot::channel();
            // Its own thread and runtime: the test that happens to come first ends before the others.
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async move {
                    let postgres = PrivatePostgres::start(&data_dir).await.unwrap();
                    tell.send(postgres.superuser_url()).unwrap();
                    std::future::pending::<()>().await;
                });
            });
            let url = told.await.expect("PostgreSQL did not start");
            let cluster = Cluster { url, _room: room };
            let mut connection = PgConnection::connect(&cluster.url).await.unwrap();
            // Nobody needs these data after a power cut.
            for setting in ["alter system set fsync = off", "alter system set full_page_writes = off"] {
                sqlx::raw_sql(setting).execute(&mut connection).await.unwrap();
            }
            sqlx::raw_sql("select pg_reload_conf()").execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            cluster
        })
        .await
}

impl Cluster {
    /// Makes an empty database and gives its owner's URL.
    pub async fn database(&self) -> String {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let create = sqlx::AssertSqlSafe(format!("create database {name}"));
        sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        self.url.replace("/millstream?", &format!("/{name}?"))
    }
}
