//! The primary dies and a standby takes its place, as where PostgreSQL is run by others: for pages it is another life of the
//! database, and nothing is missed.

#![allow(clippy::unwrap_used)]

mod support;

use nix::sys::signal::Signal;
use serde_json::json;
use server::private_postgres::PrivatePostgres;
use server::start;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::cluster::Room;
use support::page::{Page, RESTART, Writers, until_live};
use support::program::signal;
use support::socket::record;
use support::world::{World, configuration, stamp_of, xid_in};
use support::{until, until_within};
use tokio::sync::watch;
use uuid::Uuid;

/// The address by which servers know their PostgreSQL: whoever it leads to.
struct Address(PathBuf);

impl Address {
    fn lead_to(&self, sockets: &Path) {
        symlink(sockets, &self.0).unwrap();
    }

    fn lead_nowhere(&self) {
        std::fs::remove_file(&self.0).unwrap();
    }

    fn url(&self) -> String {
        format!("postgres://millstream@localhost:5432/millstream?host={}", self.0.display())
    }
}

/// A copy of a running PostgreSQL that follows it.
struct Standby {
    postgres: Child,
    sockets: PathBuf,
    _room: Room,
}

impl Standby {
    fn of(primary: &Room) -> Self {
        let room = Room::new();
        // By the programs, and as the user, of the primary.
        let pid = primary.postmaster().unwrap();
        let programs = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap().parent().unwrap().to_owned();
        let owner = std::fs::metadata(primary.path().join("postgres/PG_VERSION")).unwrap();
        let (uid, gid) = (owner.uid(), owner.gid());
        let [data, sockets] = ["postgres", "postgres.socket"].map(|name| {
            let folder = room.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
            chown(&folder, Some(uid), Some(gid)).unwrap();
            folder
        });
        let program = |name: &str| {
            let mut command = Command::new(programs.join(name));
            if nix::unistd::geteuid().is_root() {
                command.uid(uid).gid(gid);
            }
            command.current_dir("/").stdin(Stdio::null()).process_group(0);
            command
        };
        let copied = program("pg_basebackup")
            .args(["--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "--username=millstream"])
            .arg("--host")
            .arg(primary.path().join("postgres.socket"))
            .arg("--pgdata")
            .arg(&data)
            .output()
            .unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        let postgres = program("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c", "port=5432", "-c", "hot_standby=on", "-c", "fsync=off"])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", sockets.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { postgres, sockets, _room: room }
    }

    async fn owner(&self) -> sqlx::PgPool {
        let url = Address(self.sockets.clone()).url();
        until_within(RESTART, "the standby", async || sqlx::PgPool::connect(&url).await.ok()).await
    }

    /// Ends in order.
    fn end(mut self) {
        signal(self.postgres.id().cast_signed(), Signal::SIGINT);
        self.postgres.wait().unwrap();
    }
}

async fn epoch(world: &World) -> Uuid {
    until_within(RESTART, "an epoch", async || {
        sqlx::query_scalar("select epoch from millstream.epoch").fetch_optional(&world.owner).await.ok().flatten()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_standby_is_another_epoch_and_a_page_that_reads_what_it_is_told_misses_nothing() {
    let (primary, meeting) = (Room::new(), Room::new());
    let postgres = PrivatePostgres::start(primary.path()).await.unwrap();
    let address = Address(meeting.path().join("current"));
    address.lead_to(&primary.path().join("postgres.socket"));
    let settings = configuration(&[("DATABASE_URL", &address.url())]);
    let world = World::over(start(settings).await.unwrap_or_else(|why| panic!("{}", why.sentence()))).await;
    let scene = world.scene().await;
    let mut orders = Vec::new();
    for _ in 0..20 {
        orders.push(world.order(scene.organization, scene.customer).await);
    }
    let standby = Standby::of(&primary);
    let copy = standby.owner().await;
    let is_standby: bool = sqlx::query_scalar("select pg_is_in_recovery()").fetch_one(&copy).await.unwrap();
    assert!(is_standby);
    let before = epoch(&world).await;

    let nodes = vec![world.server.addr.to_string()];
    let page = Page::open(&world, &scene.owner, scene.organization, &orders, nodes).await;
    let connections = page.connections.clone();
    let writers = Writers::over(&world.owner, &orders);
    let mut other = world.live(&scene.colleague).await;
    let (tell_goal, goal) = watch::channel(None);
    let failing_over = async {
        until_live(&connections, 0).await;
        // Of what is committed from here on, the standby may have some.
        address.lead_nowhere();
        signal(primary.postmaster().unwrap(), Signal::SIGKILL);
        let promoted: bool = sqlx::query_scalar("select pg_promote()").fetch_one(&copy).await.unwrap();
        assert!(promoted);
        address.lead_to(&standby.sockets);
        assert_eq!(other.closed().await, Some(4001), "whoever is connected is told that it is another life");
        until_live(&connections, 1).await;
        let renamed = writers.end().await;
        let goal = until_within(RESTART, "a last change", async || {
            let mut transaction = world.owner.begin().await.ok()?;
            sqlx::query("update sales_orders set title = 'Last' where id = $1")
                .bind(orders[0])
                .execute(&mut *transaction)
                .await
                .ok()?;
            let xid = xid_in(&mut transaction).await;
            transaction.commit().await.ok()?;
            Some(xid)
        })
        .await;
        // A cursor beyond it is told with a mutation of one's own.
        let fence = world.fence(&scene.owner).await;
        assert!(goal < fence);
        tell_goal.send_replace(Some(fence));
        renamed
    };
    let (page, renamed) = tokio::join!(page.follow(goal), failing_over);
    println!("{renamed} changes");
    page.assert_right().await;
    assert!(renamed > 100, "{renamed} changes");
    drop(page);
    assert_ne!(epoch(&world).await, before);
    let in_recovery: bool = sqlx::query_scalar("select pg_is_in_recovery()").fetch_one(&world.owner).await.unwrap();
    assert!(!in_recovery);

    // The life goes on: reads are of the new epoch, watched, and told of changes.
    let query = [("organization".to_owned(), scene.organization.to_string()), ("id".to_owned(), orders[1].to_string())];
    let read = until("an answer", async || {
        let answer = world.get(Some(&scene.colleague), "/api/orders/get", &query).await;
        (answer.status == 200).then_some(answer.body)
    })
    .await;
    assert_ne!(json!(before), read["epoch"]);
    let mut live = world.live(&scene.colleague).await;
    live.watch_current(vec![record(1, scene.organization, "sales_orders", orders[1], &stamp_of(&read))]).await;
    world.change(&format!("update sales_orders set title = 'After' where id = '{}'", orders[1])).await;
    live.until_stale(1).await;

    copy.close().await;
    world.stop().await;
    standby.end();
    postgres.stop().await.unwrap();
}
