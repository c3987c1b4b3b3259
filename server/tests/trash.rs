//! What is deleted comes back as it was: by whom, with what, for how long, and exactly once.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::future::Future;
use support::scene::Scene;
use support::world::{Answer, Person, World, start_over, xid_of};
use support::{chance, until};
use uuid::Uuid;

/// The tests' way to the server functions of one organization, as one of its people.
struct Office<'w> {
    world: &'w World,
    organization: Uuid,
    who: &'w Person,
}

impl<'w> Office<'w> {
    fn of(world: &'w World, scene: &'w Scene) -> Self {
        Self { world, organization: scene.organization, who: &scene.owner }
    }

    fn by(&self, who: &'w Person) -> Self {
        Self { who, ..*self }
    }

    async fn post(&self, path: &str, mut more: Value) -> Answer {
        more["organization"] = json!(self.organization);
        more["mutation_id"] = json!(Uuid::now_v7());
        self.world.post(Some(self.who), path, &more).await
    }

    async fn get(&self, path: &str, id: Uuid) -> Answer {
        let query = [("organization".to_owned(), self.organization.to_string()), ("id".to_owned(), id.to_string())];
        self.world.get(Some(self.who), path, &query).await
    }

    async fn order(&self, id: Uuid) -> Value {
        self.get("/api/orders/get", id).await.ok()["data"].clone()
    }

    async fn project(&self, id: Uuid) -> Value {
        self.get("/api/projects/get", id).await.ok()["data"].clone()
    }

    async fn delete_order(&self, id: Uuid) {
        self.post("/api/orders/delete", json!({"id": id})).await.ok();
    }

    async fn restore_order(&self, id: Uuid) -> Answer {
        self.post("/api/orders/restore", json!({"id": id})).await
    }

    async fn delete_project(&self, id: Uuid) {
        self.post("/api/projects/delete", json!({"id": id})).await.ok();
    }

    async fn restore_project(&self, id: Uuid) -> Answer {
        self.post("/api/projects/restore", json!({"id": id})).await
    }

    /// An order with everything that an order can have, in two projects.
    async fn full_order(&self, scene: &Scene) -> Uuid {
        let id = Uuid::now_v7();
        let order = json!({"id": id, "title": "Oak stairs", "customer_id": scene.customer, "status": "on_hold",
            "assignee_id": scene.colleague.id, "due_on": "2030-02-01"});
        self.post("/api/orders/create", order).await.ok();
        for description in ["Treads", "Risers", "Rail"] {
            let line =
                json!({"order_id": id, "id": Uuid::new_v4(), "description": description, "quantity": 3, "unit": "m"});
            self.post("/api/orders/add_line", line).await.ok();
        }
        for project in [scene.project, self.world.project(self.organization).await] {
            self.post("/api/projects/add_order", json!({"project_id": project, "order_id": id})).await.ok();
        }
        id
    }
}

/// All of an answer but who touched it last, and when.
fn lasting(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !name.starts_with("updated_"))
            .map(|(name, value)| (name.clone(), lasting(value)))
            .collect(),
        Value::Array(values) => values.iter().map(lasting).collect(),
        other => other.clone(),
    }
}

/// Every row of the tables, as text, but for who touched it last.
async fn rows(world: &World, tables: &[&str]) -> Vec<Value> {
    let mut all = Vec::new();
    for table in tables {
        let sql = format!("select coalesce(jsonb_agg(to_jsonb(t) order by id), '[]') from {table} t");
        let rows: Value = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&world.owner).await.unwrap();
        all.push(lasting(&rows));
    }
    all
}

async fn in_trash(world: &World, id: Uuid) -> i64 {
    world.count(&format!("select count(*) from millstream.trash where record_id = '{id}'")).await
}

fn refusal(answer: &Answer) -> (u16, BTreeSet<String>) {
    let fields = answer.body["error"]["fields"].as_object().unwrap_or_else(|| panic!("{}", answer.text));
    (answer.status, fields.keys().cloned().collect())
}

fn named<const N: usize>(fields: [&str; N]) -> BTreeSet<String> {
    fields.map(ToOwned::to_owned).into()
}

const ORDER_TABLES: [&str; 3] = ["sales_orders", "sales_order_lines", "project_orders"];
const PROJECT_TABLES: [&str; 3] = ["projects", "project_members", "project_orders"];

// ---------------------------------------------------------------------------------------------- as it was

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_comes_back_with_its_number_its_lines_and_its_projects_as_a_change_by_who_restores_it() {
    let world = World::new().await;
    let scene = world.scene().await;
    let ben = Office::of(&world, &scene).by(&scene.colleague);
    let id = ben.full_order(&scene).await;
    let (order, project) = (ben.order(id).await, ben.project(scene.project).await);
    let before = rows(&world, &ORDER_TABLES).await;
    assert_eq!(order["created_by_name"], "Ben");

    ben.delete_order(id).await;
    assert_eq!(ben.get("/api/orders/get", id).await.status, 404);
    assert_eq!(in_trash(&world, id).await, 1);

    let ada = Office::of(&world, &scene);
    let restored = ada.restore_order(id).await.ok();
    assert!(restored["xid"].is_u64());
    assert_eq!(lasting(&restored["data"]), lasting(&order));
    assert_eq!(restored["data"], ada.order(id).await);
    let number = |order: &Value| order["number"].as_str().unwrap().to_owned();
    assert_eq!(number(&restored["data"]), number(&order));
    let lines: Vec<_> = restored["data"]["lines"].as_array().unwrap().iter().map(|line| &line["description"]).collect();
    assert_eq!(lines, ["Treads", "Risers", "Rail"]);
    assert_eq!(restored["data"]["updated_by_name"], "Ada");
    assert_eq!(restored["data"]["lines"][0]["updated_by_name"], "Ada");
    assert!(restored["data"]["updated_at"].as_i64() > order["updated_at"].as_i64());
    assert_eq!(ada.project(scene.project).await, project, "at its place among the project's orders");
    assert_eq!(rows(&world, &ORDER_TABLES).await, before, "to the microsecond");
    assert_eq!(in_trash(&world, id).await, 0);

    // And again: what was restored can be deleted and restored as what was not.
    ada.delete_order(id).await;
    assert_eq!(lasting(&ada.restore_order(id).await.ok()["data"]), lasting(&order));
    // The number that comes next is the next one.
    let next = json!({"id": Uuid::now_v7(), "title": "Another", "customer_id": scene.customer});
    assert!(number(&ada.post("/api/orders/create", next).await.ok()["data"]) > number(&order));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_plain_sql_deletes_comes_back_too_and_nobody_becomes_its_maker() {
    let world = World::new().await;
    let scene = world.scene().await;
    let ada = Office::of(&world, &scene);
    let order = ada.order(scene.order).await;
    assert_eq!(order["created_by_name"], Value::Null);
    let before = rows(&world, &ORDER_TABLES).await;
    world.change(&format!("delete from sales_orders where organization_id = '{}'", scene.organization)).await;
    for id in [scene.order, scene.other_order] {
        ada.restore_order(id).await.ok();
    }
    assert_eq!(rows(&world, &ORDER_TABLES).await, before);
    assert_eq!(lasting(&ada.order(scene.order).await), lasting(&order));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_comes_back_with_its_members_and_orders() {
    let world = World::new().await;
    let scene = world.scene().await;
    let ben = Office::of(&world, &scene).by(&scene.colleague);
    let id = Uuid::now_v7();
    ben.post("/api/projects/create", json!({"id": id, "name": "Hall 3"})).await.ok();
    for person in [&scene.colleague, &scene.other] {
        ben.post("/api/projects/add_member", json!({"project_id": id, "person_id": person.id})).await.ok();
    }
    for order in [scene.other_order, scene.order] {
        ben.post("/api/projects/add_order", json!({"project_id": id, "order_id": order})).await.ok();
    }
    ben.post("/api/projects/update", json!({"id": id, "changes": {"archived": {"from": false, "to": true}}}))
        .await
        .ok();
    let (project, before) = (ben.project(id).await, rows(&world, &PROJECT_TABLES).await);
    assert_eq!((&project["archived"], project["members"].as_array().unwrap().len()), (&json!(true), 2));

    ben.delete_project(id).await;
    assert_eq!(ben.get("/api/projects/get", id).await.status, 404);
    ben.order(scene.order).await; // the orders stay

    let restored = Office::of(&world, &scene).restore_project(id).await.ok();
    assert_eq!(lasting(&restored["data"]), lasting(&project));
    assert_eq!(restored["data"]["updated_by_name"], "Ada");
    assert_eq!(rows(&world, &PROJECT_TABLES).await, before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_tells_of_every_row_that_it_puts_back() {
    let world = World::new().await;
    let scene = world.scene().await;
    let ada = Office::of(&world, &scene);
    let told = async |answer: Value| {
        let events = world.events(xid_of(&answer)).await;
        assert!(events.iter().all(|event| event.organization_id == Some(scene.organization)), "{events:?}");
        assert!(events.iter().all(|event| event.event_type == "INSERT" && event.new_facets.is_some()), "{events:?}");
        events.into_iter().map(|event| (event.table_name, event.record_id)).collect::<BTreeSet<_>>()
    };
    let named =
        |rows: &[(&str, Uuid)]| rows.iter().map(|(table, id)| ((*table).to_owned(), *id)).collect::<BTreeSet<_>>();
    ada.delete_order(scene.order).await;
    assert_eq!(
        told(ada.restore_order(scene.order).await.ok()).await,
        named(&[
            ("sales_orders", scene.order),
            ("sales_order_lines", scene.line),
            ("project_orders", scene.project_order)
        ])
    );
    ada.delete_project(scene.project).await;
    assert_eq!(
        told(ada.restore_project(scene.project).await.ok()).await,
        named(&[
            ("projects", scene.project),
            ("project_members", scene.project_member),
            ("project_orders", scene.project_order)
        ])
    );
    world.stop().await;
}

// ---------------------------------------------------------------------------------------------- as far as it can

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_and_its_project_that_are_both_deleted_find_each_other_whichever_comes_back_first() {
    let world = World::new().await;
    let scene = world.scene().await;
    let ada = Office::of(&world, &scene);
    let id = ada.full_order(&scene).await;
    let before = rows(&world, &[&ORDER_TABLES[..], &PROJECT_TABLES[..]].concat()).await;

    for is_order_deleted_first in [true, false] {
        for is_order_restored_first in [true, false] {
            for is_order in [is_order_deleted_first, !is_order_deleted_first] {
                if is_order { ada.delete_order(id).await } else { ada.delete_project(scene.project).await }
            }
            for is_order in [is_order_restored_first, !is_order_restored_first] {
                let one = if is_order { ada.restore_order(id).await } else { ada.restore_project(scene.project).await };
                one.ok();
            }
            let after = rows(&world, &[&ORDER_TABLES[..], &PROJECT_TABLES[..]].concat()).await;
            assert_eq!(after, before, "{is_order_deleted_first} {is_order_restored_first}");
        }
    }
    // A project that is gone for good leaves nothing behind.
    ada.delete_order(id).await;
    ada.delete_project(scene.project).await;
    world.change("delete from millstream.trash where table_name = 'projects'").await;
    ada.restore_order(id).await.ok();
    let places = format!("select count(*) from project_orders where order_id = '{id}'");
    assert_eq!(world.count(&places).await, 1, "in the other project");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_left_meanwhile_is_neither_assigned_nor_on_the_project() {
    let world = World::new().await;
    let scene = world.scene().await;
    let ada = Office::of(&world, &scene);
    let id = ada.full_order(&scene).await;
    ada.delete_order(id).await;
    ada.delete_project(scene.project).await;
    world.change(&format!("delete from memberships where person_id = '{}'", scene.colleague.id)).await;
    let order = ada.restore_order(id).await.ok();
    assert_eq!((&order["data"]["assignee_id"], &order["data"]["status"]), (&Value::Null, &json!("on_hold")));
    let project = ada.restore_project(scene.project).await.ok();
    assert_eq!(project["data"]["members"], json!([]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_come_back_says_why_and_stays_in_the_trash() {
    let world = World::new().await;
    let (scene, elsewhere) = (world.scene().await, world.scene().await);
    let ada = Office::of(&world, &scene);
    let customer = world.customer(scene.organization).await;
    let orphan = world.order(scene.organization, customer).await;
    ada.delete_order(orphan).await;
    world.change(&format!("delete from customers where id = '{customer}'")).await;
    assert_eq!(refusal(&ada.restore_order(orphan).await), (422, named(["customer_id"])));

    let number =
        format!("(select record ->> 'number' from millstream.trash where record_id = '{}')", scene.deleted_order);
    let usurper = world.order(scene.organization, scene.customer).await;
    world.change(&format!("update sales_orders set number = {number} where id = '{usurper}'")).await;
    assert_eq!(refusal(&ada.restore_order(scene.deleted_order).await), (409, named(["number"])));
    world.change(&format!("delete from sales_orders where id = '{usurper}'")).await;

    let theirs = json!({"organization": elsewhere.organization, "mutation_id": Uuid::now_v7(), "id": scene.deleted_order,
        "title": "Theirs", "customer_id": elsewhere.customer});
    world.post(Some(&elsewhere.owner), "/api/orders/create", &theirs).await.ok();
    assert_eq!(refusal(&ada.restore_order(scene.deleted_order).await), (409, named(["id"])));
    // They delete it, and have it in a trash of their own.
    Office::of(&world, &elsewhere).delete_order(scene.deleted_order).await;
    assert_eq!(in_trash(&world, scene.deleted_order).await, 2);
    assert_eq!(ada.restore_order(scene.deleted_order).await.ok()["data"]["title"], "An order");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trash_outlives_migrations() {
    let world = World::new().await;
    let scene = world.scene().await;
    world
        .change("alter table projects add column lost text default 'x'; alter table projects add column was text")
        .await;
    let ada = Office::of(&world, &scene);
    ada.delete_project(scene.project).await;
    world
        .change(
            "alter table projects drop column lost, add column colour text not null default 'red';
             alter table project_members add column since date not null default current_date",
        )
        .await;
    ada.restore_project(scene.project).await.ok();
    let stands = format!("select count(*) from projects where id = '{}' and colour = 'red'", scene.project);
    assert_eq!(world.count(&stands).await, 1);
    world.stop().await;
}

// ---------------------------------------------------------------------------------------------- once

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_restore_at_once_bring_it_back_once() {
    let world = World::new().await;
    let scene = world.scene().await;
    let (ada, ben) = (Office::of(&world, &scene), Office::of(&world, &scene).by(&scene.colleague));
    for round in 0..15 {
        ada.delete_order(scene.order).await;
        ada.delete_project(scene.project).await;
        let (one, two) = tokio::join!(ada.restore_order(scene.order), ben.restore_order(scene.order));
        let (three, four) = tokio::join!(ada.restore_project(scene.project), ben.restore_project(scene.project));
        for (one, two) in [(one.ok(), two.ok()), (three.ok(), four.ok())] {
            assert_eq!(
                (one["xid"].is_u64(), two["xid"].is_null()),
                (two["xid"].is_null(), one["xid"].is_u64()),
                "round {round}"
            );
            assert_eq!(one["data"], two["data"], "round {round}");
        }
    }
    let again = ada.restore_order(scene.order).await.ok();
    assert_eq!((&again["xid"], &again["data"]["title"]), (&Value::Null, &json!("An order")));
    world.stop().await;
}

/// Both ends of links that go and come at once: whatever the order, nobody runs into a deadlock or a fault, and each link is
/// there in the end, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_and_restoring_both_ends_of_a_link_at_once_always_has_an_answer() {
    let world = World::new().await;
    let scene = world.scene().await;
    let ada = Office::of(&world, &scene);
    let second = world.project(scene.organization).await;
    world.project_order(second, scene.order).await;
    let seeds = [chance().u64(..), chance().u64(..), chance().u64(..)];
    let hammer = async |seed: u64| {
        let mut chance = fastrand::Rng::with_seed(seed);
        for _ in 0..40 {
            let (path, id) = match chance.u8(0..6) {
                0 => ("/api/orders/delete", scene.order),
                1 => ("/api/orders/restore", scene.order),
                2 => ("/api/projects/delete", scene.project),
                3 => ("/api/projects/restore", scene.project),
                4 => ("/api/projects/delete", second),
                _ => ("/api/projects/restore", second),
            };
            let answer = ada.post(path, json!({"id": id})).await;
            assert!([200, 404].contains(&answer.status), "{path}: {} {}", answer.status, answer.text);
        }
    };
    tokio::join!(hammer(seeds[0]), hammer(seeds[1]), hammer(seeds[2]));
    for (path, id) in [("orders", scene.order), ("projects", scene.project), ("projects", second)] {
        ada.post(&format!("/api/{path}/restore"), json!({"id": id})).await.ok();
    }
    assert_eq!(ada.order(scene.order).await["lines"][0]["id"], json!(scene.line));
    let links = format!("select count(*) from project_orders where order_id = '{}'", scene.order);
    assert_eq!(world.count(&links).await, 2);
    assert_eq!(in_trash(&world, scene.order).await + in_trash(&world, scene.project).await, 0);
    world.stop().await;
}

/// Runs a statement and holds its transaction open until the request waits for it.
async fn in_the_way(world: &World, sql: &str, request: impl Future<Output = Answer>) -> Answer {
    let mut transaction = world.owner.begin().await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut *transaction).await.unwrap();
    let released = async {
        let waiting =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        until("the request to wait", async || (world.count(waiting).await > 0).then_some(())).await;
        transaction.commit().await.unwrap();
    };
    tokio::join!(request, released).0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_going_while_it_is_restored_is_left_behind() {
    let world = World::new().await;
    for (restored, going) in [("order", "project"), ("order", "member"), ("project", "order"), ("project", "member")] {
        let scene = world.scene().await;
        let ada = Office::of(&world, &scene);
        let assigned =
            format!("update sales_orders set assignee_id = '{}' where id = '{}'", scene.colleague.id, scene.order);
        world.change(&assigned).await;
        let goes = match going {
            "order" => format!("delete from sales_orders where id = '{}'", scene.order),
            "project" => format!("delete from projects where id = '{}'", scene.project),
            _ => format!("delete from memberships where person_id = '{}'", scene.colleague.id),
        };
        let answer = if restored == "order" {
            ada.delete_order(scene.order).await;
            in_the_way(&world, &goes, ada.restore_order(scene.order)).await
        } else {
            ada.delete_project(scene.project).await;
            in_the_way(&world, &goes, ada.restore_project(scene.project)).await
        };
        assert_eq!(answer.status, 200, "{restored} while the {going} goes: {}", answer.text);
        let links = format!(
            "select count(*) from project_orders l where l.order_id = '{}' and l.project_id = '{}'",
            scene.order, scene.project
        );
        assert_eq!(world.count(&links).await, i64::from(going == "member"), "{restored} while the {going} goes");
        let data = &answer.body["data"];
        if going == "member" {
            assert!(data.get("assignee_id").is_none_or(Value::is_null), "{data}");
            assert!(data.get("members").is_none_or(|members| *members == json!([])), "{data}");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_of_a_link_that_are_restored_at_the_same_moment_find_each_other() {
    let world = World::new().await;
    let scene = world.scene().await;
    let ada = Office::of(&world, &scene);
    for is_order_deleted_first in [true, false] {
        if is_order_deleted_first {
            ada.delete_order(scene.order).await;
        }
        ada.delete_project(scene.project).await;
        if !is_order_deleted_first {
            ada.delete_order(scene.order).await;
        }
        // The end that has the link waits for the one that is just being restored.
        let (organization, who) = (scene.organization, scene.owner.id);
        let restoring = |what: &str, id: Uuid| {
            format!("select set_config('millstream.person', '{who}', true), restore_{what}('{organization}', '{id}')")
        };
        let answer = if is_order_deleted_first {
            in_the_way(&world, &restoring("project", scene.project), ada.restore_order(scene.order)).await
        } else {
            in_the_way(&world, &restoring("sales_order", scene.order), ada.restore_project(scene.project)).await
        };
        answer.ok();
        assert_eq!(ada.project(scene.project).await["orders"][0]["order_id"], json!(scene.order));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_while_it_is_deleted_comes_back_changed() {
    let world = World::new().await;
    let scene = world.scene().await;
    let ada = Office::of(&world, &scene);
    let late = format!("update sales_order_lines set description = 'Late' where id = '{}'", scene.line);
    in_the_way(&world, &late, ada.post("/api/orders/delete", json!({"id": scene.order}))).await.ok();
    assert_eq!(ada.restore_order(scene.order).await.ok()["data"]["lines"][0]["description"], "Late");
    world.stop().await;
}

// ---------------------------------------------------------------------------------------------- by whom

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_belongs_to_the_organization_in_which_it_was_deleted() {
    let world = World::new().await;
    let (scene, elsewhere) = (world.scene().await, world.scene().await);
    let theirs = Office::of(&world, &elsewhere);
    let before = world.digest().await;
    assert_eq!(theirs.restore_order(scene.deleted_order).await.status, 404);
    assert_eq!(theirs.restore_project(scene.deleted_project).await.status, 404);
    assert_eq!(theirs.restore_order(Uuid::now_v7()).await.status, 404);
    assert_eq!(theirs.restore_project(Uuid::now_v7()).await.status, 404);
    assert_eq!(theirs.restore_project(scene.deleted_order).await.status, 404, "an order is no project");
    let forged = Office { who: &elsewhere.owner, ..Office::of(&world, &scene) };
    assert_eq!(forged.restore_order(scene.deleted_order).await.status, 404);
    assert_eq!(world.digest().await, before);
    world.stop().await;
}

/// Not even where the role catalogue should let them: the function itself is for insiders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outsiders_and_viewers_restore_nothing() {
    let world = World::new().await;
    let scene = world.scene().await;
    let buyer = world.person("Bob").await;
    world.join(scene.organization, &buyer, "buyer", Some(scene.customer)).await;
    let sales = world.member(scene.organization, "Sam", "sales").await;
    let ada = Office::of(&world, &scene);
    for who in [&buyer, &scene.other] {
        assert_eq!(ada.by(who).restore_order(scene.deleted_order).await.status, 403, "{}", who.name);
        assert_eq!(ada.by(who).restore_project(scene.deleted_project).await.status, 403, "{}", who.name);
    }
    assert_eq!(
        ada.by(&sales).restore_project(scene.deleted_project).await.status,
        403,
        "may not delete projects either"
    );
    world.change("update role_permissions set can_delete = true where role = 'buyer'").await;
    assert_eq!(ada.by(&buyer).restore_order(scene.deleted_order).await.status, 403);
    assert_eq!(ada.by(&buyer).restore_project(scene.deleted_project).await.status, 403);
    assert_eq!(in_trash(&world, scene.deleted_order).await, 1);
    ada.by(&sales).restore_order(scene.deleted_order).await.ok();
    world.stop().await;
}

// ---------------------------------------------------------------------------------------------- for how long

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_thirty_days_it_is_gone_for_good() {
    let world = World::new().await;
    let scene = world.scene().await;
    let ada = Office::of(&world, &scene);
    let aged = async |id: Uuid, days: &str| {
        let age =
            format!("update millstream.trash set deleted_at = now() - interval '{days}' where record_id = '{id}'");
        world.change(&age).await;
    };
    aged(scene.deleted_order, "30 days").await;
    aged(scene.deleted_project, "29 days 23 hours").await;
    assert_eq!(ada.restore_order(scene.deleted_order).await.status, 404, "also before the keeper comes");
    // Another server starts, and keeps house.
    start_over(&world.server.owner_url).await.unwrap_or_else(|why| panic!("{}", why.sentence())).stop().await.unwrap();
    assert_eq!((in_trash(&world, scene.deleted_order).await, in_trash(&world, scene.deleted_project).await), (0, 1));
    ada.restore_project(scene.deleted_project).await.ok();
    world.stop().await;
}

// ---------------------------------------------------------------------------------------------- the declaration

#[tokio::test]
async fn keep_in_trash_refuses_by_name_what_it_does_not_find() {
    let world = World::new().await;
    for (arguments, said) in [
        ("'profiles'", "profiles is not live"),
        ("'nowhere'", "nowhere is not live"),
        ("'customers', '{sales_orders}'", "expected table(column)"),
        ("'customers', '{sales_orders(client_id)}'", "sales_orders(client_id)"),
        ("'customers', '{nowhere(id)}'", "nowhere(id)"),
    ] {
        let (_, message) = world.refused(&format!("select millstream.keep_in_trash({arguments})")).await;
        assert!(message.contains(said), "{arguments}: {message}");
    }
    world.stop().await;
}

/// A table that is made later and goes with a record has to be declared, and put back.
#[tokio::test]
async fn whatever_a_delete_takes_along_is_kept() {
    let world = World::new().await;
    let lost: Vec<(String, String)> = sqlx::query_as(
        r"with recursive
            kept as (
              select tgrelid, string_to_array(encode(tgargs, 'escape'), '\000') as children
              from pg_trigger where tgname = 'keep_in_trash'),
            goes_along as (
              select kept.tgrelid as record, c.conrelid as child from kept
              join pg_constraint c on c.confrelid = kept.tgrelid and c.contype = 'f' and c.confdeltype = 'c'
              union
              select g.record, c.conrelid from goes_along g
              join pg_constraint c on c.confrelid = g.child and c.contype = 'f' and c.confdeltype = 'c')
          select g.record::regclass::text, g.child::regclass::text
          from goes_along g join kept on kept.tgrelid = g.record
          where not g.child::regclass::text = any (kept.children)",
    )
    .fetch_all(&world.owner)
    .await
    .unwrap();
    assert_eq!(lost, []);
    let kept: Vec<String> =
        sqlx::query_scalar("select tgrelid::regclass::text from pg_trigger where tgname = 'keep_in_trash' order by 1")
            .fetch_all(&world.owner)
            .await
            .unwrap();
    assert_eq!(kept, ["projects", "sales_orders"]);
    world.stop().await;
}

// ---------------------------------------------------------------------------------------------- archived

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archived_project_is_listed_apart_and_goes_on_being_read_and_changed() {
    let world = World::new().await;
    let scene = world.scene().await;
    let ada = Office::of(&world, &scene);
    let list = async |archived: Option<&str>| {
        let mut query = vec![("organization".to_owned(), scene.organization.to_string())];
        query.extend(archived.map(|archived| ("archived".to_owned(), archived.to_owned())));
        let answer = world.get(Some(&scene.owner), "/api/projects/list", &query).await.ok();
        let rows = answer["data"].as_array().unwrap().clone();
        rows.iter().map(|row| (row["id"].clone(), row["archived"].clone())).collect::<Vec<_>>()
    };
    let (it, no_others) = (json!(scene.project), Vec::new());
    assert_eq!(list(None).await, [(it.clone(), json!(false))]);
    assert_eq!(list(Some("true")).await, no_others);

    let archive = async |from: bool, to: bool| {
        let changes = json!({"archived": {"from": from, "to": to}});
        ada.post("/api/projects/update", json!({"id": scene.project, "changes": changes})).await.ok()
    };
    let archived = archive(false, true).await;
    assert_eq!(archived["data"], ada.project(scene.project).await);
    assert_eq!((&archived["data"]["archived"], &archived["data"]["updated_by_name"]), (&json!(true), &json!("Ada")));
    assert_eq!(archive(false, true).await["xid"], Value::Null, "it is so already");
    assert_eq!((list(None).await, list(Some("false")).await), (no_others.clone(), no_others.clone()));
    assert_eq!(list(Some("true")).await, [(it.clone(), json!(true))]);
    let rename = json!({"id": scene.project, "changes": {"name": {"from": "A project", "to": "Done"}}});
    assert_eq!(ada.post("/api/projects/update", rename).await.ok()["data"]["archived"], json!(true));
    archive(true, false).await;
    assert_eq!(list(None).await, [(it, json!(false))]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_projects_hears_of_its_own_half_and_of_what_crosses_over() {
    use support::socket::{list, record};
    let world = World::new().await;
    let scene = world.scene().await;
    let aside = world.project(scene.organization).await;
    world.change(&format!("update projects set archived = true where id = '{aside}'")).await;
    let mut socket = world.live(&scene.owner).await;
    let stamp = world.stamp().await;
    let watched = vec![
        list(1, scene.organization, "projects", json!({}), &stamp),
        list(2, scene.organization, "projects", json!({"archived": true}), &stamp),
        list(3, scene.organization, "projects", json!({"archived": false}), &stamp),
        record(4, scene.organization, "projects", scene.project, &stamp),
    ];
    socket.watch_current(watched).await;
    for (sql, heard_by) in [
        (format!("update projects set name = 'Other' where id = '{}'", scene.project), vec![1, 3, 4]),
        (format!("update projects set name = 'Other' where id = '{aside}'"), vec![2]),
        (format!("update projects set archived = true where id = '{}'", scene.project), vec![1, 2, 3, 4]),
        (format!("update projects set archived = false where id = '{aside}'"), vec![1, 2, 3]),
        (format!("delete from projects where id = '{aside}'"), vec![1, 3]),
    ] {
        world.change(&sql).await;
        let heard = socket.until_seen(world.fence(&scene.owner).await).await;
        assert_eq!(heard.stale_numbers(), heard_by, "{sql}");
    }
    // A restore is told to who still looks at the place where it was.
    let office = Office::of(&world, &scene);
    office.delete_project(scene.project).await;
    socket.until_seen(world.fence(&scene.owner).await).await;
    office.restore_project(scene.project).await.ok();
    let heard = socket.until_seen(world.fence(&scene.owner).await).await;
    assert_eq!(heard.stale_numbers(), [1, 2, 3, 4], "its members and orders are told to every list");
    world.stop().await;
}
