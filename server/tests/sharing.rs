//! Lists that many read at once are read once for those who see the same, and nobody is answered with more than is theirs.

#![allow(clippy::unwrap_used)]

mod support;

use futures::future::join_all;
use millstream::snapshot::Xid;
use serde_json::Value;
use std::collections::BTreeMap;
use support::chance;
use support::world::{Answer, Person, World, stamp_of};
use tokio::sync::mpsc;
use uuid::Uuid;

/// All that people share, as they ask for it.
const LISTS: [(&str, &[(&str, &str)]); 7] = [
    ("/api/orders/list", &[]),
    ("/api/orders/list", &[("sort", "updated")]),
    ("/api/orders/list", &[("status", "draft"), ("sort", "due")]),
    ("/api/projects/list", &[]),
    ("/api/projects/list", &[("archived", "true")]),
    ("/api/customers/list", &[]),
    ("/api/organizations/members", &[]),
];

async fn list(world: &World, who: &Person, organization: Uuid, (path, query): (&str, &[(&str, &str)])) -> Answer {
    let mut asked = vec![("organization".to_owned(), organization.to_string())];
    asked.extend(query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    world.get(Some(who), path, &asked).await
}

async fn sight(world: &World, who: &Person, organization: Uuid) -> Option<String> {
    sqlx::query_scalar("select millstream.sight($1, $2)")
        .bind(who.id)
        .bind(organization)
        .fetch_one(&world.owner)
        .await
        .unwrap()
}

/// The counters of lists: reads made, and answers shared.
async fn counts(world: &World) -> (u64, u64) {
    let text = world.get(None, "/metrics", &[]).await.text;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} in {text}")).trim().parse().unwrap()
    };
    (value("millstream_list_reads_total"), value("millstream_list_shares_total"))
}

/// An organization with several people of each role, rows that people have made who are of other organizations too, have left,
/// or were never anything but assignees.
struct Firm {
    organization: Uuid,
    people: Vec<(Person, &'static str)>,
    buyer: Person,
}

async fn firm(world: &World) -> Firm {
    let organization = world.organization("A firm").await;
    let customer = world.customer(organization).await;
    let other_customer = world.customer(organization).await;
    let mut people = Vec::new();
    for role in ["owner", "admin", "planner", "sales", "operator", "viewer"] {
        for name in ["One", "Two"] {
            people.push((world.member(organization, &format!("{name}-{role}"), role).await, role));
        }
    }
    let left = [
        world.member(organization, "Left-early", "planner").await,
        world.member(organization, "Left-late", "sales").await,
    ];
    // One of each role meets somebody who has left in another organization.
    let elsewhere = world.organization("Another firm").await;
    for (person, _) in people.iter().step_by(2) {
        world.join(elsewhere, person, "viewer", None).await;
    }
    for person in &left {
        world.join(elsewhere, person, "viewer", None).await;
    }
    let project = world.project(organization).await;
    world.project_member(project, left[0].id).await;
    for (place, author) in left.iter().chain(people.iter().map(|(person, _)| person)).enumerate() {
        let order = world.order(organization, if place % 2 == 0 { customer } else { other_customer }).await;
        world
            .change(&format!(
                "select set_config('millstream.person', '{author}', true);
                 update sales_orders set title = 'Order {place}', assignee_id = '{assignee}' where id = '{order}'",
                author = author.id,
                assignee = people[place % people.len()].0.id,
            ))
            .await;
    }
    for person in &left {
        let gone =
            format!("delete from memberships where person_id = '{}' and organization_id = '{organization}'", person.id);
        world.change(&gone).await;
    }
    let buyer = world.person("Buyer").await;
    world.join(organization, &buyer, "buyer", Some(customer)).await;
    Firm { organization, people, buyer }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_of_equal_sight_are_answered_alike_whatever_they_ask() {
    let world = World::new().await;
    let firm = firm(&world).await;
    for what in LISTS {
        let mut by_sight: BTreeMap<String, Value> = BTreeMap::new();
        for (person, role) in &firm.people {
            let sight = sight(&world, person, firm.organization).await.unwrap_or_else(|| panic!("{role} shares"));
            // One after the other: each is read alone.
            let data = list(&world, person, firm.organization, what).await.ok()["data"].clone();
            let first = by_sight.entry(sight).or_insert_with(|| data.clone());
            assert_eq!(*first, data, "{role} of {what:?}");
        }
    }
    let orders = list(&world, &firm.people[1].0, firm.organization, LISTS[0]).await.ok();
    let names = |name: &str| orders.to_string().contains(name);
    assert!(names("Left-early") && names("Left-late"), "who has left is still named: {orders}");
    assert_eq!(sight(&world, &firm.buyer, firm.organization).await, None, "a buyer sees only their part");
    let stranger = world.person("Stranger").await;
    assert_eq!(sight(&world, &stranger, firm.organization).await, None);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_many_read_at_once_is_read_once_for_each_sight() {
    const EACH: usize = 20;
    let world = World::new().await;
    let firm = firm(&world).await;
    let stranger = world.person("Stranger").await;
    let (planner, viewer) = (&firm.people[4].0, &firm.people[10].0);
    let xid = world
        .change(&format!("update sales_orders set title = 'Now' where organization_id = '{}'", firm.organization))
        .await;
    let (reads, shares) = counts(&world).await;
    let ask = |who| list(&world, who, firm.organization, LISTS[0]);
    let asked = (0..EACH).flat_map(|_| [planner, viewer, &firm.buyer, &stranger]);
    let answers = join_all(asked.map(async |who| (who.id, ask(who).await))).await;
    let (reads, shares) = {
        let now = counts(&world).await;
        (now.0 - reads, now.1 - shares)
    };
    for (who, answer) in answers {
        if who == stranger.id {
            assert_eq!(answer.status, 404, "{}", answer.text);
            continue;
        }
        assert!(
            stamp_of(&answer.body).snapshot.sees(xid),
            "nobody is answered with less than there was: {}",
            answer.text
        );
        let rows = answer.ok()["data"]["rows"].as_array().unwrap().clone();
        assert_eq!(rows.len(), if who == firm.buyer.id { 7 } else { 14 });
        assert!(rows.iter().all(|row| row["title"] == "Now"));
    }
    // The buyer and the stranger each read for themselves; the others by a handful of reads.
    let alone = 2 * EACH as u64;
    assert_eq!(reads + shares, 2 * alone);
    assert!(reads - alone <= 16, "{} reads for {} questions of two roles", reads - alone, 2 * EACH);
    world.stop().await;
}

/// Among many who ask at once are some who may see it and some who may not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_answered_by_the_sight_of_others() {
    const EACH: usize = 20;
    let world = World::new().await;
    let firm = firm(&world).await;
    let (planner, viewer) = (&firm.people[4].0, &firm.people[10].0);
    world.change("update role_permissions set can_view = false where role = 'viewer' and module = 'sales'").await;
    let shared_before = counts(&world).await.1;
    let asked = (0..EACH).flat_map(|_| [viewer, planner]);
    let answers = join_all(asked.map(async |who| (who.id, list(&world, who, firm.organization, LISTS[0]).await))).await;
    assert!(counts(&world).await.1 > shared_before, "they shared");
    for (who, answer) in answers {
        assert_eq!(answer.status, if who == viewer.id { 403 } else { 200 }, "{}", answer.text);
    }
    world.stop().await;
}

/// The list's snapshot decides: what it sees of a person's membership is what they are answered by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_removed_while_many_read_is_answered_as_of_the_answers_snapshot() {
    let world = World::new().await;
    let firm = firm(&world).await;
    let crowd: Vec<_> = firm.people.iter().map(|(person, _)| person).collect();
    let mut chance = chance();
    let (mut seen, mut refused) = (0, 0);
    for _ in 0..15 {
        let leaving = world.member(firm.organization, "Leaving", "viewer").await;
        let gone = format!(
            "delete from memberships where person_id = '{}' and organization_id = '{}'",
            leaving.id, firm.organization
        );
        let storm =
            join_all((0..4).flat_map(|_| crowd.iter()).map(|who| list(&world, who, firm.organization, LISTS[0])));
        // They read again and again, and are removed at some time in between.
        let (answered, mut answers_so_far) = mpsc::unbounded_channel();
        let asked = join_all((0..3).map(|_| {
            let (answered, leaving) = (answered.clone(), &leaving);
            let world = &world;
            async move {
                let mut answers = Vec::new();
                for _ in 0..4 {
                    answers.push(list(world, leaving, firm.organization, LISTS[0]).await);
                    answered.send(()).unwrap();
                }
                answers
            }
        }));
        let before = chance.usize(..12);
        let removed = async {
            for _ in 0..before {
                answers_so_far.recv().await.unwrap();
            }
            world.change(&gone).await
        };
        let (_, answers, removal): (_, Vec<Vec<Answer>>, Xid) = futures::join!(storm, asked, removed);
        for answer in answers.into_iter().flatten() {
            let snapshot = stamp_of(&answer.body).snapshot;
            let expected = if snapshot.sees(removal) { 404 } else { 200 };
            assert_eq!(answer.status, expected, "{} with {removal:?}", answer.text);
            if answer.status == 200 { seen += 1 } else { refused += 1 }
        }
    }
    assert!(seen > 10 && refused > 10, "{seen} answers before the removal, {refused} after it");
    world.stop().await;
}
