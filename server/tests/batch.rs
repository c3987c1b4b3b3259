//! `POST /api/batch`: several mutations in one request are as if each had come by itself.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::scene::Scene;
use support::world::{Person, World};
use uuid::Uuid;

fn rename(scene: &Scene, from: &str, to: &str) -> Value {
    rename_order(scene, scene.order, from, to)
}

fn rename_order(scene: &Scene, order: Uuid, from: &str, to: &str) -> Value {
    json!({"function": "orders/update", "arguments": {
        "organization": scene.organization, "id": order, "mutation_id": Uuid::now_v7(),
        "changes": {"title": {"from": from, "to": to}},
    }})
}

async fn send(world: &World, who: &Person, calls: &[Value]) -> Vec<Value> {
    let answer = world.post(Some(who), "/api/batch", &json!({"calls": calls})).await;
    answer.ok()["answers"].as_array().unwrap().clone()
}

fn statuses(answers: &[Value]) -> Vec<u64> {
    answers.iter().map(|answer| answer["status"].as_u64().unwrap()).collect()
}

async fn title(world: &World, scene: &Scene) -> String {
    let query = [("organization", scene.organization.to_string()), ("id", scene.order.to_string())];
    let query = query.map(|(name, value)| (name.to_owned(), value));
    let order = world.get(Some(&scene.owner), "/api/orders/get", &query).await.ok();
    order["data"]["title"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_is_carried_out_in_order_in_a_transaction_of_its_own_and_once_however_often_it_is_sent() {
    let world = World::new().await;
    let scene = world.scene().await;
    let before = title(&world, &scene).await;
    let calls = [rename(&scene, &before, "One"), rename(&scene, "One", "Two"), rename(&scene, "Two", "Three")];
    let answers = send(&world, &scene.owner, &calls).await;
    assert_eq!(statuses(&answers), [200, 200, 200], "{answers:?}");
    let titles: Vec<_> = answers.iter().map(|answer| answer["body"]["data"]["title"].clone()).collect();
    assert_eq!(titles, ["One", "Two", "Three"]);
    let xids: Vec<_> = answers.iter().map(|answer| answer["body"]["xid"].as_u64().unwrap()).collect();
    assert!(xids[0] < xids[1] && xids[1] < xids[2], "{xids:?}");

    assert_eq!(send(&world, &scene.owner, &calls).await, answers, "again");
    let one = world.post(Some(&scene.owner), "/api/orders/update", &calls[1]["arguments"]).await;
    assert_eq!(one.ok(), answers[1]["body"], "by itself");
    assert_eq!(title(&world, &scene).await, "Three");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_refused_alone_and_in_the_same_words() {
    let world = World::new().await;
    let scene = world.scene().await;
    let before = title(&world, &scene).await;
    let conflict = rename(&scene, "Never so", "Refused");
    let malformed = json!({"function": "orders/update", "arguments": {"mutation_id": Uuid::now_v7()}});
    let calls = [rename(&scene, &before, "One"), conflict.clone(), malformed.clone(), rename(&scene, "One", "Two")];
    let answers = send(&world, &scene.owner, &calls).await;
    assert_eq!(statuses(&answers), [200, 409, 400, 200], "{answers:?}");
    for (call, answer) in [(conflict, &answers[1]), (malformed, &answers[2])] {
        let alone = world.post(Some(&scene.owner), "/api/orders/update", &call["arguments"]).await;
        assert_eq!(
            (alone.body["error"]["kind"].clone(), alone.status),
            (answer["body"]["error"]["kind"].clone(), answer["status"].as_u64().unwrap() as u16)
        );
    }
    assert_eq!(title(&world, &scene).await, "Two");
    assert_eq!(send(&world, &scene.owner, &calls).await, answers, "again");
    world.stop().await;
}

/// A row that somebody else holds for too long: the statement is given up, and may go through later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failure_in_passing_nothing_more_is_begun() {
    let world = World::new().await;
    let scene = world.scene().await;
    let before = title(&world, &scene).await;
    let mut holding = world.owner.begin().await.unwrap();
    sqlx::query("select from sales_orders where id = $1 for update")
        .bind(scene.other_order)
        .execute(&mut *holding)
        .await
        .unwrap();
    let calls = [
        rename(&scene, &before, "One"),
        rename_order(&scene, scene.other_order, "An order", "Held"),
        rename(&scene, "One", "Two"),
    ];
    let answers = send(&world, &scene.owner, &calls).await;
    assert_eq!(statuses(&answers), [200, 503], "{answers:?}");
    assert_eq!(title(&world, &scene).await, "One");
    holding.rollback().await.unwrap();
    assert_eq!(statuses(&send(&world, &scene.owner, &calls).await), [200, 200, 200]);
    assert_eq!(title(&world, &scene).await, "Two");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_and_nobody_get_and_change_nothing() {
    let world = World::new().await;
    let scene = world.scene().await;
    let elsewhere = world.scene().await;
    let calls = [rename(&scene, "An order", "Stolen"), rename(&scene, "Never so", "Stolen")];
    let digest = world.digest().await;
    let answers = send(&world, &elsewhere.owner, &calls).await;
    assert_eq!(statuses(&answers), [404, 404], "{answers:?}");
    assert!(!json!(answers).to_string().contains("An order"), "{answers:?}");
    assert_eq!(world.post(None, "/api/batch", &json!({"calls": calls})).await.status, 401);
    assert_eq!(world.digest().await, digest);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_batch_of_mutations_is_refused_whole() {
    let world = World::new().await;
    let scene = world.scene().await;
    let before = title(&world, &scene).await;
    let good = rename(&scene, &before, "One");
    let call = |function: &str| json!({"function": function, "arguments": {"mutation_id": Uuid::now_v7()}});
    for wrong in [
        call("session/sign_in"),
        call("session/sign_out"),
        call("orders/list"),
        call("batch"),
        call("nothing"),
        call("../x"),
    ] {
        let answer = world.post(Some(&scene.owner), "/api/batch", &json!({"calls": [good, wrong]})).await;
        assert_eq!(answer.status, 422, "{wrong}: {}", answer.text);
    }
    let nameless = json!({"function": "orders/update", "arguments": {}});
    for (calls, status) in
        [(json!([]), 422), (json!([good, nameless]), 422), (json!(vec![good.clone(); 51]), 422), (json!(null), 400)]
    {
        let answer = world.post(Some(&scene.owner), "/api/batch", &json!({"calls": calls})).await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    assert_eq!(world.get(Some(&scene.owner), "/api/batch", &[]).await.status, 405);
    assert_eq!(title(&world, &scene).await, before, "nothing of it was carried out");
    world.stop().await;
}
