//! Several servers over one PostgreSQL that hear of changes from each other, over NATS. (What tells that every other promise holds there
//! too are the other tests, with `MILLSTREAM_TEST_RELAY=nats`.)

#![allow(clippy::unwrap_used)]

mod support;

use nix::sys::signal::Signal;
use server::{Running, start};
use std::sync::Mutex;
use support::bus::Nats;
use support::cluster::cluster;
use support::page::{Page, RESTART, Writers, until_live};
use support::program::Program;
use support::socket::record;
use support::until_within;
use support::world::{World, configuration};
use tokio::sync::watch;
use uuid::Uuid;

async fn server(database: &str, nats: &Nats) -> Running {
    let settings = [("DATABASE_URL", database), ("MILLSTREAM_NATS_URL", &nats.url())];
    start(configuration(&settings)).await.unwrap_or_else(|why| panic!("{}", why.sentence()))
}

/// What a server says of the relay.
#[derive(Clone, Copy, Debug)]
struct Told {
    is_publisher: bool,
    heard: f64,
    asked: f64,
}

async fn told(addr: &str) -> Told {
    let text = reqwest::get(format!("http://{addr}/metrics")).await.unwrap().text().await.unwrap();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} in {text}")).parse::<f64>().unwrap()
    };
    Told {
        is_publisher: value("millstream_relay_publisher") == 1.0,
        heard: value("millstream_relay_heard_total"),
        asked: value("millstream_feed_step_seconds_count"),
    }
}

/// Until the server hears, for some steps on end, and asks for none.
async fn until_it_listens(addr: &str) {
    let began = Mutex::new(told(addr).await);
    until_within(RESTART, "a server that listens", async || {
        let now = told(addr).await;
        let mut began = began.lock().unwrap();
        if now.is_publisher || now.asked > began.asked {
            *began = now;
        }
        (now.heard >= began.heard + 20.0).then_some(())
    })
    .await;
}

async fn until_it_publishes(addr: &str) {
    until_within(RESTART, "a server that publishes", async || told(addr).await.is_publisher.then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_asks_the_database_and_the_others_hear_of_it() {
    let (database, nats) = (cluster().await.database().await, Nats::start());
    let elder = server(&database, &nats).await;
    let world = World::over(server(&database, &nats).await).await;
    let third = server(&database, &nats).await;
    let scene = world.scene().await;
    let orders = vec![world.order(scene.organization, scene.customer).await];
    let addr = world.server.addr.to_string();
    let page = Page::open(&world, &scene.owner, scene.organization, &orders, vec![addr.clone()]).await;
    let connections = page.connections.clone();
    let (tell_goal, goal) = watch::channel(None);
    let ending = async {
        until_live(&connections, 0).await;
        until_it_publishes(&elder.addr.to_string()).await;
        let writers = Writers::over(&world.owner, &orders);
        for listener in [&addr, &third.addr.to_string()] {
            until_it_listens(listener).await;
        }
        let renamed = writers.end().await;
        tell_goal.send_replace(Some(world.fence(&scene.owner).await));
        renamed
    };
    let (page, renamed) = tokio::join!(page.follow(goal), ending);
    println!("{renamed} changes; {:?}", told(&addr).await);
    page.assert_right().await;
    drop(page);
    for server in [elder, third] {
        server.stop().await.unwrap();
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_listens_to_the_organizations_that_are_watched_there() {
    let (database, nats) = (cluster().await.database().await, Nats::start());
    let elder = server(&database, &nats).await;
    let world = World::over(server(&database, &nats).await).await;
    let (scene, other) = (world.scene().await, world.scene().await);
    let order = world.order(scene.organization, scene.customer).await;
    let foreign = world.order(other.organization, other.customer).await;
    let mut socket = world.live(&scene.owner).await;
    socket.watch(vec![record(1, scene.organization, "sales_orders", order, &world.stamp().await)]).await;

    // Of both organizations there are changes all the while.
    let writers = Writers::over(&world.owner, &[order, foreign]);
    let organizations = async || {
        let subjects = nats.subscriptions().await.concat();
        let ids = subjects.iter().filter_map(|subject| subject.split_once(".organization.")?.1.parse().ok());
        ids.collect::<Vec<Uuid>>()
    };
    let only = async |wanted: &[Uuid]| {
        until_within(RESTART, "the organizations that are listened to", async || {
            (organizations().await == wanted).then_some(())
        })
        .await;
    };
    only(&[scene.organization]).await;
    until_it_listens(&world.server.addr.to_string()).await;
    assert_eq!(organizations().await, [scene.organization]);
    drop(socket);
    only(&[]).await;
    assert!(writers.end().await > 0);
    elder.stop().await.unwrap();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_start_without_nats_and_find_it_when_it_is_there() {
    let (database, nats) = (cluster().await.database().await, Nats::start());
    nats.kill();
    let elder = server(&database, &nats).await;
    let younger = server(&database, &nats).await;
    let (elder_addr, younger_addr) = (elder.addr.to_string(), younger.addr.to_string());
    // Each asks for itself.
    until_it_publishes(&elder_addr).await;
    until_it_publishes(&younger_addr).await;
    let _nats = nats.start_again();
    until_it_listens(&younger_addr).await;
    assert!(told(&elder_addr).await.is_publisher);
    for server in [elder, younger] {
        server.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_misses_nothing_when_nats_or_the_publisher_is_killed() {
    let (database, nats) = (cluster().await.database().await, Nats::start());
    let url = nats.url();
    let mut elder = Program::start_over_with(&database, &[("MILLSTREAM_NATS_URL", &url)]);
    let world = World::over(server(&database, &nats).await).await;
    let scene = world.scene().await;
    let mut orders = Vec::new();
    for _ in 0..20 {
        orders.push(world.order(scene.organization, scene.customer).await);
    }
    let addr = world.server.addr.to_string();
    let page = Page::open(&world, &scene.owner, scene.organization, &orders, vec![addr.clone()]).await;
    let connections = page.connections.clone();
    let writers = Writers::over(&world.owner, &orders);
    let (tell_goal, goal) = watch::channel(None);
    let ending = async {
        until_live(&connections, 0).await;
        until_it_publishes(&elder.addr).await;
        until_it_listens(&addr).await;
        nats.kill();
        // Alone with the database, as without NATS.
        until_it_publishes(&addr).await;
        let nats = nats.start_again();
        until_it_listens(&addr).await;
        assert_eq!(elder.end(Signal::SIGKILL), None);
        until_it_publishes(&addr).await;
        let renamed = writers.end().await;
        tell_goal.send_replace(Some(world.fence(&scene.owner).await));
        (renamed, nats)
    };
    let (page, (renamed, _nats)) = tokio::join!(page.follow(goal), ending);
    println!("{renamed} changes by {} connections", page.connections.load(std::sync::atomic::Ordering::Relaxed));
    page.assert_right().await;
    assert!(renamed > 100, "{renamed} changes");
    drop(page);
    world.stop().await;
}
