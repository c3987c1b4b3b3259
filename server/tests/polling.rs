//! `POST /live`: who asks without a WebSocket is told the same as who has one, and nobody is told more.

#![allow(clippy::unwrap_used)]

mod support;

use millstream::key::OrganizationId;
use millstream::snapshot::{Stamp, Xid};
use millstream::wire::{Held, Question, Reply, Rights, ServerFrame, Standing, Tick, Watch};
use millstream::{Epoch, Kind};
use serde_json::{Value, json};
use std::time::Instant;
use support::scene::Scene;
use support::socket::{list, record};
use support::world::{Answer, Person, World};
use uuid::Uuid;

fn rename(order: Uuid) -> String {
    format!("update sales_orders set title = 'Renamed {}' where id = '{order}'", Uuid::new_v4().simple())
}

fn error(answer: &Answer) -> (u16, &str) {
    assert_eq!(answer.headers["content-type"], "application/json", "{}", answer.text);
    (answer.status, answer.body["error"]["kind"].as_str().unwrap_or_default())
}

/// A page that asks: it remembers what it holds, as a client does.
struct Page {
    person: Person,
    cursor: Option<Stamp>,
    held: Vec<Watch>,
    new: Vec<Watch>,
    organizations: Vec<OrganizationId>,
}

/// What it was told.
#[derive(Debug)]
struct Told {
    rights: Vec<Rights>,
    tick: Tick,
}

impl Told {
    fn stale(&self) -> Vec<(u32, Vec<Xid>)> {
        self.tick.stale.iter().map(|stale| (stale.number, stale.xids.clone())).collect()
    }

    fn stale_numbers(&self) -> Vec<u32> {
        self.tick.stale.iter().map(|stale| stale.number).collect()
    }

    fn refused(&self) -> Vec<(u32, Kind)> {
        let mut refused: Vec<_> =
            self.tick.refused.iter().map(|refused| (refused.number, refused.error.kind)).collect();
        refused.sort_by_key(|(number, _)| *number);
        refused
    }

    fn standing(&self) -> Vec<(Uuid, Standing)> {
        self.rights.iter().map(|rights| (rights.organization.0, rights.standing)).collect()
    }
}

impl Page {
    fn of(person: &Person, watch: Vec<Watch>) -> Self {
        Self { person: person.clone(), cursor: None, held: Vec::new(), new: watch, organizations: Vec::new() }
    }

    fn question(&self) -> Question {
        Question {
            cursor: self.cursor.as_ref().map(|cursor| cursor.snapshot.clone()),
            epoch: self.cursor.as_ref().map(|cursor| cursor.epoch),
            held: self.held.iter().map(|watch| Held { number: watch.number, key: watch.key.clone() }).collect(),
            watch: self.new.clone(),
            organizations: self.organizations.clone(),
        }
    }

    async fn ask(&mut self, world: &World) -> Told {
        let question = serde_json::to_value(self.question()).unwrap();
        let answer = world.post(Some(&self.person), "/live", &question).await;
        assert_eq!(answer.headers["cache-control"], "no-store");
        let mut frames = serde_json::from_value::<Reply>(answer.ok()).unwrap().frames;
        assert_eq!(frames.remove(0), ServerFrame::Hello { person: millstream::PersonId(self.person.id) });
        let Some(ServerFrame::Tick(tick)) = frames.pop() else { panic!("no tick in {frames:?}") };
        let rights = match frames.pop() {
            Some(ServerFrame::Rights { organizations }) => organizations,
            Some(other) => panic!("{other:?}"),
            None => Vec::new(),
        };
        self.held.append(&mut self.new);
        let ended = |watch: &Watch| {
            rights.iter().any(|rights| rights.organization == watch.key.organization)
                || tick.refused.iter().any(|refused| refused.number == watch.number)
        };
        self.held.retain(|watch| !ended(watch));
        self.cursor = Some(Stamp { snapshot: tick.cursor.clone(), epoch: tick.epoch });
        Told { rights, tick }
    }
}

fn keys(scene: &Scene, stamp: &Stamp) -> Vec<Watch> {
    let organization = scene.organization;
    vec![
        list(1, organization, "sales_orders", json!({"sort": "newest"}), stamp),
        record(2, organization, "sales_orders", scene.order, stamp),
        list(3, organization, "customers", json!({}), stamp),
        record(4, organization, "projects", scene.project, stamp),
        list(5, organization, "memberships", json!({}), stamp),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_since_the_last_answer_is_named_once_and_nothing_else() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut page = Page::of(&scene.owner, keys(&scene, &world.stamp_ahead().await));
    let first = page.ask(&world).await;
    assert_eq!(first.tick.watching, [1, 2, 3, 4, 5]);
    assert_eq!((first.stale(), first.refused(), first.standing()), (vec![], vec![], vec![]));

    let xid = world.change(&rename(scene.order)).await;
    let told = page.ask(&world).await;
    // A project shows its orders, and which those are is not known.
    assert_eq!(told.stale(), [(1, vec![xid]), (2, vec![xid]), (4, vec![xid])]);
    assert_eq!(told.tick.watching, [0_u32; 0], "they were answered before");
    assert!(told.tick.cursor.sees(xid));
    assert_eq!(page.ask(&world).await.stale(), [], "once");

    // Somebody else's order, and another organization's.
    let elsewhere = world.scene().await;
    world.change(&rename(scene.other_order)).await;
    world.change(&rename(elsewhere.order)).await;
    assert_eq!(page.ask(&world).await.stale_numbers(), [1, 4]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_was_stale_when_it_was_first_asked_about_is_named() {
    let world = World::new().await;
    let scene = world.scene().await;
    let stamp = world.stamp_ahead().await;
    let xid = world.change(&rename(scene.order)).await;
    let told = Page::of(&scene.owner, keys(&scene, &stamp)).ask(&world).await;
    assert_eq!(told.stale(), [(1, vec![xid]), (2, vec![xid]), (4, vec![xid])]);
    assert_eq!(told.tick.watching, [1, 2, 3, 4, 5]);

    let mut foreign = stamp.clone();
    foreign.epoch = Epoch(Uuid::now_v7());
    let told = Page::of(&scene.owner, keys(&scene, &foreign)).ask(&world).await;
    assert_eq!(told.stale(), (1..=5).map(|number| (number, vec![])).collect::<Vec<_>>());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_was_running_at_the_cursor_is_told_when_it_commits() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut slow = world.owner.begin().await.unwrap();
    sqlx::query("update sales_orders set title = 'Slow' where id = $1")
        .bind(scene.order)
        .execute(&mut *slow)
        .await
        .unwrap();
    let xid = support::world::xid_in(&mut slow).await;
    let stamp = world.stamp_ahead().await;
    let mut page = Page::of(&scene.owner, keys(&scene, &stamp));
    page.ask(&world).await;
    world.change(&rename(scene.other_order)).await;
    assert_eq!(page.ask(&world).await.stale_numbers(), [1, 4]);
    slow.commit().await.unwrap();
    assert_eq!(page.ask(&world).await.stale(), [(1, vec![xid]), (2, vec![xid]), (4, vec![xid])]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ones_own_mutations_are_named_and_nobody_elses() {
    let world = World::new().await;
    let scene = world.scene().await;
    let stamp = world.stamp_ahead().await;
    let (mut own, mut other) =
        (Page::of(&scene.owner, keys(&scene, &stamp)), Page::of(&scene.colleague, keys(&scene, &stamp)));
    own.ask(&world).await;
    other.ask(&world).await;
    let id = Uuid::now_v7();
    let request = json!({"organization": scene.organization, "mutation_id": id, "id": Uuid::now_v7(), "name": "Plan"});
    let xid = support::world::xid_of(&world.post(Some(&scene.owner), "/api/projects/create", &request).await.ok());
    let told = own.ask(&world).await.tick.mutations;
    assert_eq!(told.iter().map(|passed| (passed.mutation_id.0, passed.xid)).collect::<Vec<_>>(), [(id, xid)]);
    assert_eq!(other.ask(&world).await.tick.mutations, []);
    world.stop().await;
}

// ---------------------------------------------------------------------------------------------- rights

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_is_told_so_with_the_next_answer_and_nothing_more() {
    let world = World::new().await;
    let scene = world.scene().await;
    let stamp = world.stamp_ahead().await;
    let mut page = Page::of(&scene.colleague, keys(&scene, &stamp));
    // Also where nothing is watched.
    let mut idle = Page::of(&scene.colleague, Vec::new());
    page.ask(&world).await;
    idle.ask(&world).await;
    let xid = world
        .change(&format!("delete from memberships where person_id = '{}'; {}", scene.colleague.id, rename(scene.order)))
        .await;
    let told = page.ask(&world).await;
    assert_eq!(told.standing(), [(scene.organization, Standing::Removed)]);
    assert_eq!(told.rights[0].by.as_ref().map(|by| by.xids.clone()), Some(vec![xid]));
    assert_eq!((told.stale(), told.tick.watching.len(), told.refused()), (vec![], 0, vec![]));
    assert_eq!(idle.ask(&world).await.standing(), [(scene.organization, Standing::Removed)]);

    world.change(&rename(scene.order)).await;
    let told = page.ask(&world).await;
    assert_eq!((told.standing(), told.stale()), (vec![], vec![]));
    // And who insists is refused.
    page.new = keys(&scene, &page.cursor.clone().unwrap());
    let told = page.ask(&world).await;
    assert_eq!(told.refused(), (1..=5).map(|number| (number, Kind::NotFound)).collect::<Vec<_>>());
    assert_eq!(told.tick.watching, [0_u32; 0]);

    // Taken in again.
    world.join(scene.organization, &scene.colleague, "viewer", None).await;
    assert_eq!(page.ask(&world).await.standing(), [(scene.organization, Standing::Changed)]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_is_told_however_much_happened_beside_it() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut page = Page::of(&scene.colleague, keys(&scene, &world.stamp_ahead().await));
    page.ask(&world).await;
    world
        .change(&format!(
            "insert into customers (id, organization_id, name)
             select gen_random_uuid(), '{0}', 'C' || n from generate_series(1, 2500) n;
             delete from memberships where person_id = '{1}';
             insert into customers (id, organization_id, name)
             select gen_random_uuid(), '{0}', 'D' || n from generate_series(1, 2500) n",
            scene.organization, scene.colleague.id
        ))
        .await;
    let told = page.ask(&world).await;
    assert_eq!(told.standing(), [(scene.organization, Standing::Removed)]);
    assert_eq!(told.stale(), []);
    // Who stays is told without names.
    let mut other = Page::of(
        &scene.owner,
        keys(&scene, &"5:5:".parse().map(|snapshot| Stamp { snapshot, ..world_stamp(&told) }).unwrap()),
    );
    assert!(other.ask(&world).await.stale().iter().all(|(_, xids)| xids.is_empty()));
    world.stop().await;
}

fn world_stamp(told: &Told) -> Stamp {
    Stamp { snapshot: told.tick.cursor.clone(), epoch: told.tick.epoch }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_rights_end_what_is_held_and_are_judged_anew() {
    let world = World::new().await;
    let scene = world.scene().await;
    let elsewhere = world.scene().await;
    world.join(elsewhere.organization, &scene.other, "viewer", None).await;
    let stamp = world.stamp_ahead().await;
    let mut watches = keys(&scene, &stamp);
    watches.push(list(9, elsewhere.organization, "projects", json!({}), &stamp));
    let mut page = Page::of(&scene.other, watches);
    page.ask(&world).await;
    world
        .change(&format!(
            "update memberships set role = 'buyer', customer_id = '{}' where person_id = '{}' and organization_id = '{}'",
            scene.customer, scene.other.id, scene.organization
        ))
        .await;
    world.change(&format!("update projects set name = 'Other' where id = '{}'", elsewhere.project)).await;
    let told = page.ask(&world).await;
    assert_eq!(told.standing(), [(scene.organization, Standing::Narrowed)]);
    assert_eq!(told.stale_numbers(), [9], "elsewhere it goes on");
    let stranger = world.order(scene.organization, world.customer(scene.organization).await).await;
    page.new = vec![
        record(21, scene.organization, "sales_orders", scene.order, &world_stamp(&told)),
        record(22, scene.organization, "sales_orders", stranger, &world_stamp(&told)),
        record(23, scene.organization, "projects", scene.project, &world_stamp(&told)),
    ];
    let told = page.ask(&world).await;
    assert_eq!(told.tick.watching, [21]);
    assert_eq!(told.refused(), [(22, Kind::NotFound), (23, Kind::Forbidden)]);

    // The catalogue, told to whom something was refused there.
    page.organizations = vec![OrganizationId(scene.organization)];
    page.held.clear();
    world.change("update role_permissions set can_view = true where role = 'buyer' and module = 'projects'").await;
    assert_eq!(page.ask(&world).await.standing(), [(scene.organization, Standing::Narrowed)]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_refused_and_told_nothing() {
    let world = World::new().await;
    let (scene, elsewhere) = (world.scene().await, world.scene().await);
    let stamp = world.stamp_ahead().await;
    let mut stranger = Page::of(&elsewhere.owner, keys(&scene, &stamp));
    stranger.organizations = vec![OrganizationId(scene.organization)];
    world.change(&rename(scene.order)).await;
    let told = stranger.ask(&world).await;
    assert_eq!(told.refused(), (1..=5).map(|number| (number, Kind::NotFound)).collect::<Vec<_>>());
    assert_eq!((told.stale(), told.standing(), told.tick.mutations.len()), (vec![], vec![], 0));
    // Their own organization's name over the other's ids.
    let mut forged = keys(&scene, &stamp);
    forged.iter_mut().for_each(|watch| watch.key.organization = OrganizationId(elsewhere.organization));
    let told = Page::of(&elsewhere.owner, forged).ask(&world).await;
    assert_eq!((told.stale(), told.refused()), (vec![], vec![]));
    world.stop().await;
}

// ---------------------------------------------------------------------------------------------- who may ask, and how much

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_our_own_pages_of_whom_is_signed_in_are_answered() {
    let world = World::new().await;
    let scene = world.scene().await;
    let question = json!({});
    assert_eq!(error(&world.post(None, "/live", &question).await), (401, "unauthenticated"));
    let ask = || world.http.post(format!("{}/live", world.base)).json(&question);
    let evil = ask().header("origin", "https://evil.test").header("sec-fetch-site", "cross-site");
    assert_eq!(error(&world.send(Some(&scene.owner), evil).await), (403, "forbidden"));
    let another = ask().header("x-millstream-person", scene.other.id.to_string());
    assert_eq!(error(&world.send(Some(&scene.owner), another).await), (401, "unauthenticated"));
    let own = ask().header("x-millstream-person", scene.owner.id.to_string());
    assert_eq!(world.send(Some(&scene.owner), own).await.status, 200);
    assert_eq!(world.get(Some(&scene.owner), "/live", &[]).await.status, 400, "a socket is opened there");
    world.change(&format!("update sessions set expires_at = now() where person_id = '{}'", scene.owner.id)).await;
    assert_eq!(error(&world.post(Some(&scene.owner), "/live", &question).await), (401, "unauthenticated"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_question_is_refused() {
    let world = World::new().await;
    let scene = world.scene().await;
    let stamp = world.stamp_ahead().await;
    let key = serde_json::to_value(record(1, scene.organization, "sales_orders", scene.order, &stamp)).unwrap();
    let held = json!({"number": 1, "organization": scene.organization, "table": "customers", "list": {}});
    let (cursor, epoch) = (stamp.snapshot.to_string(), stamp.epoch);
    let many: Vec<Value> = (0..2001)
        .map(|number| {
            serde_json::to_value(record(number, scene.organization, "sales_orders", scene.order, &stamp)).unwrap()
        })
        .collect();
    for (question, expected) in [
        (json!("which?"), (400, "malformed")),
        (json!({"watch": [{"number": 1}]}), (400, "malformed")),
        (json!({"cursor": "x", "epoch": epoch}), (400, "malformed")),
        (json!({"cursor": cursor}), (422, "invalid")),
        (json!({"held": [held]}), (422, "invalid")),
        (json!({"watch": [key, key]}), (422, "invalid")),
        (json!({"cursor": cursor, "epoch": epoch, "held": [held], "watch": [key]}), (422, "invalid")),
        (json!({"watch": many}), (422, "invalid")),
        (json!({"watch": "x".repeat(2 * 1024 * 1024)}), (413, "too_large")),
    ] {
        let answer = world.post(Some(&scene.owner), "/live", &question).await;
        assert_eq!(error(&answer), expected, "{}", answer.text);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_keys_as_a_connection_may_watch_are_one_question() {
    let world = World::new().await;
    let scene = world.scene().await;
    let stamp = world.stamp_ahead().await;
    let mut watches: Vec<_> =
        (1..2000).map(|number| record(number, scene.organization, "sales_orders", Uuid::now_v7(), &stamp)).collect();
    watches.push(record(2000, scene.organization, "sales_orders", scene.order, &stamp));
    let mut page = Page::of(&scene.owner, watches);
    assert_eq!(page.ask(&world).await.tick.watching.len(), 2000);
    let mut slowest = std::time::Duration::ZERO;
    for _ in 0..10 {
        let xid = world.change(&rename(scene.order)).await;
        let began = Instant::now();
        let told = page.ask(&world).await;
        slowest = slowest.max(began.elapsed());
        assert_eq!(told.stale(), [(2000, vec![xid])]);
    }
    println!("2,000 keys: {slowest:?} at most");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_asks_without_a_pause_is_told_to_wait_and_no_other() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut answered = 0;
    let refused = loop {
        let answer = world.post(Some(&scene.owner), "/live", &json!({})).await;
        if answer.status != 200 {
            break answer;
        }
        answered += 1;
        assert!(answered < 2_000, "never refused");
    };
    assert!(answered >= 240, "{answered}");
    assert_eq!(error(&refused), (429, "too_many"));
    assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() >= 1);
    assert_eq!(world.post(Some(&scene.other), "/live", &json!({})).await.status, 200);
    world.stop().await;
}
