//! Who asks without a pause has to wait, alone; and no statement may take for ever.

#![allow(clippy::unwrap_used)]

mod support;

use futures::StreamExt;
use serde_json::{Value, json};
use sqlx::PgPool;
use support::world::{Answer, Person, World};
use uuid::Uuid;

#[track_caller]
fn assert_has_to_wait(answer: &Answer) {
    assert_eq!(answer.status, 429, "{}", answer.text);
    let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert_eq!(wait, 1);
}

/// The first answer of these that refuses for now, asked for by many at once.
async fn first_refusal(world: &World, person: &Person, most: usize, path: &str) -> Answer {
    let asked = futures::stream::iter(0..most).map(|_| world.get(Some(person), path, &[]));
    let mut refused =
        Box::pin(asked.buffer_unordered(16).filter(|answer| futures::future::ready(answer.status == 429)));
    refused.next().await.unwrap_or_else(|| panic!("{most} times {path} without a refusal"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_who_reads_without_a_pause_has_to_wait_and_a_colleague_does_not() {
    let world = World::new().await;
    let scene = world.scene().await;
    // What cannot be read is cheap to refuse, and counts.
    let refused = first_refusal(&world, &scene.owner, 20_000, "/api/orders/list").await;
    assert_has_to_wait(&refused);
    assert_eq!(refused.body["error"]["kind"], "too_many");
    let list = [("organization".to_owned(), scene.organization.to_string())];
    world.get(Some(&scene.colleague), "/api/orders/list", &list).await.ok();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutations_are_counted_one_by_one_and_a_batch_ends_where_there_were_too_many() {
    let world = World::new().await;
    let scene = world.scene().await;
    let call = |person: &Person| {
        let arguments = json!({"mutation_id": Uuid::now_v7(), "organization": person.id});
        json!({"function": "orders/update", "arguments": arguments})
    };
    let batch = json!({"calls": vec![call(&scene.owner); 50]});
    let mut carried_out = 0;
    let answers: Vec<Value> = loop {
        let answer = world.post(Some(&scene.owner), "/api/batch", &batch).await.ok();
        let answers = answer["answers"].as_array().unwrap().clone();
        carried_out += answers.iter().filter(|answer| answer["status"] == 400).count();
        if answers.last().unwrap()["status"] == 429 {
            break answers;
        }
        assert!(carried_out < 20_000, "without a refusal");
    };
    assert!(carried_out >= 3_000, "{carried_out}");
    assert_eq!(answers.last().unwrap()["body"]["error"]["kind"], "too_many");
    assert!(answers.iter().rev().skip(1).all(|answer| answer["status"] == 400));
    let delete = |person: Person| {
        let body = json!({"mutation_id": Uuid::now_v7(), "organization": scene.organization, "id": scene.order});
        let world = &world;
        async move { world.post(Some(&person), "/api/orders/delete", &body).await }
    };
    assert_ne!(delete(scene.colleague.clone()).await.status, 429);
    // To read is another matter.
    world.get(Some(&scene.owner), "/api/session/me", &[]).await.ok();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_who_loads_pages_without_a_pause_has_to_wait() {
    let world = World::new().await;
    let scene = world.scene().await;
    let refused = first_refusal(&world, &scene.owner, 3_000, "/nowhere").await;
    assert_has_to_wait(&refused);
    assert!(refused.text.contains("try again in 1 s"), "{}", refused.text);
    let path = format!("/{}/orders", scene.organization);
    assert_ne!(world.get(Some(&scene.colleague), &path, &[]).await.status, 429);
    assert_ne!(world.get(None, "/sign-in", &[]).await.status, 429, "who is nobody loads the page to sign in on");
    world.stop().await;
}

/// PostgreSQL's code for what ended the statement.
async fn ended(pool: &PgPool, sql: &'static str) -> String {
    match sqlx::query(sql).execute(pool).await {
        Err(sqlx::Error::Database(refusal)) => refusal.code().unwrap().into_owned(),
        other => panic!("{sql}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_of_a_request_or_of_the_feed_takes_longer_than_ten_seconds_nor_waits_longer_than_five() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut locked = world.owner.begin().await.unwrap();
    sqlx::query("lock table sales_orders").execute(&mut *locked).await.unwrap();
    let list = [("organization".to_owned(), scene.organization.to_string())];
    let began = std::time::Instant::now();
    let (app, feed, waiting) = tokio::join!(
        ended(&world.server.database.app, "select pg_sleep(60)"),
        ended(&world.server.database.feed, "select pg_sleep(60)"),
        async {
            let answer = world.get(Some(&scene.owner), "/api/orders/list", &list).await;
            (answer.status, began.elapsed().as_secs())
        },
    );
    const QUERY_CANCELED: &str = "57014";
    assert_eq!((app.as_str(), feed.as_str()), (QUERY_CANCELED, QUERY_CANCELED));
    assert!(waiting.0 == 503 && (5..8).contains(&waiting.1), "{waiting:?}");
    assert!((10..15).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    locked.rollback().await.unwrap();
    world.get(Some(&scene.owner), "/api/orders/list", &list).await.ok();
    world.stop().await;
}
