//! Several servers over one PostgreSQL, and no setup beyond starting them.

#![allow(clippy::unwrap_used)]

mod support;

use nix::sys::signal::Signal;
use support::cluster::cluster;
use support::page::{Page, Writers, until_live};
use support::program::Program;
use support::world::{World, start_over};
use tokio::sync::watch;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_moves_to_another_node_when_its_own_is_killed_or_stopped_and_misses_nothing() {
    let url = cluster().await.database().await;
    let world = World::over(start_over(&url).await.unwrap_or_else(|why| panic!("{}", why.sentence()))).await;
    let scene = world.scene().await;
    let mut orders = Vec::new();
    for _ in 0..20 {
        orders.push(world.order(scene.organization, scene.customer).await);
    }
    let mut first = Program::start_over(&url);
    let mut second = Program::start_over(&url);
    // A third answers the reads: every node is alike.
    let nodes = vec![first.addr.clone(), second.addr.clone(), world.server.addr.to_string()];
    let page = Page::open(&world, &scene.owner, scene.organization, &orders, nodes).await;
    let connections = page.connections.clone();
    let writers = Writers::over(&world.owner, &orders);
    let (tell_goal, goal) = watch::channel(None);
    let ending = async {
        until_live(&connections, 0).await;
        assert_eq!(first.end(Signal::SIGKILL), None);
        until_live(&connections, 1).await;
        assert_eq!(second.end(Signal::SIGTERM), Some(0));
        until_live(&connections, 2).await;
        let renamed = writers.end().await;
        tell_goal.send_replace(Some(world.fence(&scene.owner).await));
        renamed
    };
    let (page, renamed) = tokio::join!(page.follow(goal), ending);
    println!("{renamed} changes");
    page.assert_right().await;
    assert!(renamed > 100, "{renamed} changes");
    drop(page);
    world.stop().await;
}
