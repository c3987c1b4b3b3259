//! What is killed comes back: PostgreSQL under a running server, and the server over a running PostgreSQL.

#![allow(clippy::unwrap_used)]

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use server::{Configuration, start};
use support::cluster::Room;
use support::page::{Page, RESTART, Writers, until_live};
use support::program::{Program, signal};
use support::socket::{Socket, list, record};
use support::world::{Person, World, configuration, stamp_of, xid_in};
use support::{until, until_within};
use tokio::sync::watch;
use uuid::Uuid;

fn is_there(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

fn own_cluster(room: &Room) -> Configuration {
    configuration(&[("MILLSTREAM_DATA_DIR", room.path().to_str().unwrap())])
}

async fn another_postmaster(room: &Room, than: i32) -> i32 {
    until_within(RESTART, "another PostgreSQL", async || room.postmaster().filter(|pid| *pid != than && *pid > 0)).await
}

/// Reads until there is an answer.
async fn orders_of(world: &World, person: &Person, organization: Uuid) -> serde_json::Value {
    let query = [("organization".to_owned(), organization.to_string())];
    until_within(RESTART, "an answer", async || {
        let answer = world.get(Some(person), "/api/orders/list", &query).await;
        (answer.status == 200).then_some(answer.body)
    })
    .await
}

async fn write(world: &World, sql: &str) {
    until_within(RESTART, "a write", async || {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&world.owner).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_crashed_after_a_rolled_back_write_begins_a_new_epoch_and_nobody_is_deceived() {
    let room = Room::new();
    let world = World::over(start(own_cluster(&room)).await.unwrap_or_else(|why| panic!("{}", why.sentence()))).await;
    let scene = world.scene().await;
    let before = orders_of(&world, &scene.owner, scene.organization).await;
    let stamp = stamp_of(&before);
    let mut socket = world.live(&scene.owner).await;
    let key = |number| record(number, scene.organization, "sales_orders", scene.order, &stamp);
    let listed = |number| list(number, scene.organization, "sales_orders", json!({"sort": "newest"}), &stamp);
    socket.watch_current(vec![key(1), listed(2)]).await;

    let mut transaction = world.owner.begin().await.unwrap();
    sqlx::query("update sales_orders set title = 'Never' where id = $1")
        .bind(scene.order)
        .execute(&mut *transaction)
        .await
        .unwrap();
    let lost = xid_in(&mut transaction).await;
    transaction.rollback().await.unwrap();
    let pid = room.postmaster().unwrap();
    signal(pid, Signal::SIGKILL);

    assert_eq!(socket.closed().await, Some(4001));
    assert_ne!(another_postmaster(&room, pid).await, pid);
    let after = orders_of(&world, &scene.owner, scene.organization).await;
    assert_ne!(stamp_of(&after).epoch, stamp.epoch, "a value of before is of another epoch");
    assert_eq!(after["data"], before["data"]);

    // What was held is stale, whatever its transaction ids say.
    let mut socket = until("a connection", async || Some(world.live(&scene.owner).await)).await;
    let heard = socket.watch(vec![key(1), listed(2)]).await;
    assert_eq!(heard.stale_numbers(), [1, 2]);
    // And the feed goes on: also over ids that come a second time.
    let fresh = stamp_of(&orders_of(&world, &scene.owner, scene.organization).await);
    socket.watch_current(vec![record(3, scene.organization, "sales_orders", scene.order, &fresh)]).await;
    write(&world, &format!("update sales_orders set title = 'After' where id = '{}'", scene.order)).await;
    let heard = socket.until_stale(3).await;
    println!("lost {lost:?}; told again as {:?}", heard.stale[&3]);
    world.stop().await;
    assert_eq!(room.postmaster(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_shows_what_is_not_so_after_postgres_or_a_backend_of_it_was_killed_while_others_wrote() {
    let room = Room::new();
    let world = World::over(start(own_cluster(&room)).await.unwrap_or_else(|why| panic!("{}", why.sentence()))).await;
    let scene = world.scene().await;
    let mut orders = Vec::new();
    for _ in 0..20 {
        orders.push(world.order(scene.organization, scene.customer).await);
    }
    let (tell_goal, goal) = watch::channel(None);
    let nodes = vec![world.server.addr.to_string()];
    let page = Page::open(&world, &scene.owner, scene.organization, &orders, nodes).await;
    let connections = page.connections.clone();
    let writers = Writers::over(&world.owner, &orders);

    let killing = async {
        let kills = ["millstream_feed", "millstream_app", "postmaster", "millstream_feed", "postmaster"];
        for (whose, killed) in kills.into_iter().zip(0..) {
            until_live(&connections, killed).await;
            match whose {
                "postmaster" => signal(room.postmaster().unwrap(), Signal::SIGKILL),
                login => {
                    let backend = sqlx::query_scalar("select pid from pg_stat_activity where usename = $1 limit 1")
                        .bind(login)
                        .fetch_one(&world.owner);
                    signal(backend.await.unwrap(), Signal::SIGKILL);
                }
            }
        }
        until_live(&connections, 5).await;
        let renamed = writers.end().await;
        tell_goal.send_replace(Some(world.fence(&scene.owner).await));
        renamed
    };
    let (page, renamed) = tokio::join!(page.follow(goal), killing);
    println!("{renamed} changes");
    page.assert_right().await;
    assert!(renamed > 100, "{renamed} changes");
    drop(page);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_was_restarted_cleanly_keeps_its_epoch_and_its_connections() {
    let room = Room::new();
    let world = World::over(start(own_cluster(&room)).await.unwrap_or_else(|why| panic!("{}", why.sentence()))).await;
    let scene = world.scene().await;
    let stamp = stamp_of(&orders_of(&world, &scene.owner, scene.organization).await);
    let mut socket = world.live(&scene.owner).await;
    socket.watch_current(vec![record(1, scene.organization, "sales_orders", scene.order, &stamp)]).await;
    let pid = room.postmaster().unwrap();
    signal(pid, Signal::SIGINT); // a fast shutdown, as by a package upgrade
    another_postmaster(&room, pid).await;
    let after = stamp_of(&orders_of(&world, &scene.owner, scene.organization).await);
    assert_eq!(after.epoch, stamp.epoch);
    write(&world, &format!("update sales_orders set title = 'After' where id = '{}'", scene.order)).await;
    socket.until_stale(1).await;
    socket.assert_goes_on().await;
    // The stamp of before is still good: only what changed since is stale.
    let heard = socket
        .watch(vec![
            record(2, scene.organization, "sales_orders", scene.order, &stamp),
            record(3, scene.organization, "sales_orders", scene.other_order, &stamp),
        ])
        .await;
    assert_eq!(heard.stale_numbers(), [2]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_finds_its_postgres_running_and_its_data_whole() {
    let room = Room::new();
    let mut first = Program::start(&room);
    let postmaster = room.postmaster().unwrap();
    let url = format!(
        "postgres://millstream@localhost:5432/millstream?host={}",
        room.path().join("postgres.socket").display()
    );
    let owner = support::world::pool(&url).await;
    let http = reqwest::Client::new();
    let account = json!({"name": "Zoe", "email": "zoe@millstream.test", "password": "zoes-long-password"});
    let up = http.post(format!("http://{}/api/session/sign_up", first.addr)).json(&account).send().await.unwrap();
    let cookie = up.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let organization = Uuid::now_v7();
    let request = json!({"mutation_id": Uuid::now_v7(), "id": organization, "name": "Firm"});
    let made =
        http.post(format!("http://{}/api/organizations/create", first.addr)).header("cookie", &cookie).json(&request);
    let made: serde_json::Value = made.send().await.unwrap().json().await.unwrap();
    let person: Uuid = sqlx::query_scalar("select id from profiles").fetch_one(&owner).await.unwrap();
    let zoe = Person {
        id: person,
        name: "Zoe".into(),
        email: String::new(),
        token: cookie.trim_start_matches("millstream=").to_owned(),
    };
    let mut socket = Socket::open(&first.addr, &zoe).await;
    socket.assert_goes_on().await;

    first.end(Signal::SIGKILL);
    assert_eq!(socket.closed().await, None, "no goodbye");
    assert!(is_there(postmaster), "its PostgreSQL runs on");

    let mut second = Program::start(&room);
    assert_eq!(room.postmaster(), Some(postmaster), "and is picked up");
    let repeated =
        http.post(format!("http://{}/api/organizations/create", second.addr)).header("cookie", &cookie).json(&request);
    let repeated: serde_json::Value = repeated.send().await.unwrap().json().await.unwrap();
    assert_eq!(repeated, made, "the session stands, and the mutation sent again gets its first answer");
    let mut socket = Socket::open(&second.addr, &zoe).await;
    let stamp = stamp_of(&made);
    socket.watch_current(vec![list(1, organization, "sales_orders", json!({"sort": "newest"}), &stamp)]).await;
    owner.close().await;

    assert_eq!(second.end(Signal::SIGTERM), Some(0));
    assert_eq!(room.postmaster(), None, "a server that ends in order takes its PostgreSQL along");
    until("PostgreSQL to be gone", async || (!is_there(postmaster)).then_some(())).await;

    let mut third = Program::start(&room);
    let owner = support::world::pool(&url).await;
    let epoch: Uuid = sqlx::query_scalar("select epoch from millstream.epoch").fetch_one(&owner).await.unwrap();
    assert_eq!(json!(epoch), made["epoch"], "a clean end and a start are the same epoch");
    owner.close().await;
    assert_eq!(third.end(Signal::SIGINT), Some(0));
}
