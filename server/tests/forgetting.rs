//! What was done long ago is forgotten, and nothing is done twice for it.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::cluster::cluster;
use support::until;
use support::world::{Answer, Person, World, configuration, start_over};
use uuid::Uuid;

async fn create(world: &World, person: &Person, organization: Uuid, mutation: Uuid, id: Uuid) -> Answer {
    let body = json!({"organization": organization, "mutation_id": mutation, "id": id, "name": "A project"});
    world.post(Some(person), "/api/projects/create", &body).await
}

/// An id as somebody made it so many days ago.
fn made_days_ago(days: u64) -> Uuid {
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 24 * 60 * 60);
    let then = then.duration_since(std::time::UNIX_EPOCH).unwrap();
    let context = uuid::Timestamp::from_unix(uuid::NoContext, then.as_secs(), then.subsec_nanos());
    Uuid::new_v7(context)
}

async fn age(world: &World, mutation: Uuid, days: i32) {
    let aged = sqlx::query(
        "update millstream.mutations set created_at = created_at - make_interval(days => $2) where mutation_id = $1",
    )
    .bind(mutation)
    .bind(days)
    .execute(&world.owner)
    .await
    .unwrap();
    assert_eq!(aged.rows_affected(), 1);
}

async fn forget_mutations(world: &World, most: i32) -> i32 {
    let forgotten = sqlx::query_scalar("select millstream.forget_mutations(90, $1)").bind(most);
    forgotten.fetch_one(&world.owner).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mutation_is_forgotten_when_it_is_too_old_and_is_refused_from_then_on() {
    let world = World::new().await;
    let scene = world.scene().await;
    let (old, young, id) = (made_days_ago(91), made_days_ago(89), Uuid::now_v7());
    let first = create(&world, &scene.owner, scene.organization, old, id).await.ok();
    create(&world, &scene.owner, scene.organization, young, Uuid::now_v7()).await.ok();
    age(&world, young, 89).await;
    assert_eq!(forget_mutations(&world, 10).await, 0);
    let again = create(&world, &scene.owner, scene.organization, old, id).await.ok();
    assert_eq!(again, first, "it was made long ago, and is known as long as it is kept");

    age(&world, old, 91).await;
    world.change(&format!("delete from projects where id = '{id}'")).await;
    assert_eq!(forget_mutations(&world, 10).await, 1);
    for _ in 0..2 {
        let refused = create(&world, &scene.owner, scene.organization, old, id).await;
        assert_eq!((refused.status, &refused.body["error"]["kind"]), (422, &json!("invalid")), "{}", refused.text);
        assert!(refused.body["error"]["fields"]["mutation_id"].as_str().unwrap().contains("so long ago"));
    }
    assert_eq!(world.count(&format!("select count(*) from projects where id = '{id}'")).await, 0, "not done twice");
    let other = create(&world, &scene.owner, scene.organization, young, Uuid::now_v7()).await;
    assert_eq!(other.status, 409, "the younger one is known: {}", other.text);
    create(&world, &scene.owner, scene.organization, Uuid::new_v4(), Uuid::now_v7()).await.ok();
    assert_eq!(forget_mutations(&world, 10).await, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_sent_again_while_it_is_forgotten_is_refused_and_not_done_twice() {
    let world = World::new().await;
    let scene = world.scene().await;
    let (old, id) = (made_days_ago(100), Uuid::now_v7());
    create(&world, &scene.owner, scene.organization, old, id).await.ok();
    age(&world, old, 100).await;
    let mut forgetting = world.owner.begin().await.unwrap();
    let forgotten: i32 =
        sqlx::query_scalar("select millstream.forget_mutations(90, 10)").fetch_one(&mut *forgetting).await.unwrap();
    assert_eq!(forgotten, 1);
    let waits = async {
        until("the sending that waits", async || {
            let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%begin_mutation%'";
            (world.count(waiting).await == 1).then_some(())
        })
        .await;
        forgetting.commit().await.unwrap();
    };
    let (refused, ()) = tokio::join!(create(&world, &scene.owner, scene.organization, old, id), waits);
    assert_eq!(refused.status, 422, "{}", refused.text);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_starting_server_forgets_in_small_steps_and_ends_the_connections_of_expired_sessions() {
    let url = cluster().await.database().await;
    let before = World::over(start_over(&url).await.unwrap_or_else(|why| panic!("{}", why.sentence()))).await;
    let scene = before.scene().await;
    before
        .change(&format!(
            "insert into sessions (person_id, token_hash, expires_at)
             select '{}', sha256(convert_to('old ' || n, 'utf8')), now() - interval '1 s' from generate_series(1, 450) n;
             insert into millstream.mutations (person_id, mutation_id, payload_hash, created_at)
             select '{}', gen_random_uuid(), '', now() - case when n > 4500 then interval '19 days' else interval '21 days' end
             from generate_series(1, 4600) n",
            scene.other.id, scene.other.id
        ))
        .await;
    before.stop().await;

    let settings = [("DATABASE_URL", url.as_str()), ("MILLSTREAM_MUTATIONS_KEPT_DAYS", "20")];
    let server = server::start(configuration(&settings)).await.unwrap_or_else(|why| panic!("{}", why.sentence()));
    let world = World::over(server).await;
    until("an end of what is old", async || {
        let old = "select (select count(*) from sessions where expires_at <= now())
                   + (select count(*) from millstream.mutations where created_at < now() - interval '20 days')";
        (world.count(old).await == 0).then_some(())
    })
    .await;
    assert_eq!(world.count("select count(*) from millstream.mutations").await, 100);
    world.get(Some(&scene.other), "/api/session/me", &[]).await.ok();
    let steps: Vec<i64> = sqlx::query_scalar(
        "select count(*) from realtime_table_events where table_name = 'sessions' and event_type = 'DELETE'
         group by xid order by 1 desc",
    )
    .fetch_all(&world.owner)
    .await
    .unwrap();
    assert_eq!(steps, [200, 200, 50]);

    let mut live = world.live(&scene.other).await;
    world.change(&format!("update sessions set expires_at = now() where person_id = '{}'", scene.other.id)).await;
    let forgotten = world.count("select millstream.forget_sessions(10)::bigint").await;
    assert_eq!(forgotten, 1);
    assert_eq!(live.closed().await, Some(4401));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_an_id_was_made_is_read_from_those_that_say_so() {
    let world = World::new().await;
    let said: BTreeMap<String, Value> = [made_days_ago(3), Uuid::new_v4(), Uuid::nil()]
        .map(|id| (id.to_string(), json!(id.get_timestamp().map(|timestamp| timestamp.to_unix().0))))
        .into();
    for (id, told) in said {
        let read: Option<i64> =
            sqlx::query_scalar("select floor(extract(epoch from millstream.made_at($1::text::uuid)))::bigint")
                .bind(&id)
                .fetch_one(&world.owner)
                .await
                .unwrap();
        assert_eq!(json!(read), told, "{id}");
    }
    world.stop().await;
}
