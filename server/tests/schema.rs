//! What the database itself promises: which events a change writes, what `make_live` refuses, and that no statement,
//! not even the owner's, makes a reference across organizations.

#![allow(clippy::unwrap_used)]

mod support;

use app::orders::Status;
use app::tenancy::api::InvitationState;
use app::tenancy::{Action, Module, Role};
use serde_json::json;
use std::collections::BTreeSet;
use support::world::{Told, World};
use uuid::Uuid;

fn brief(events: &[Told]) -> Vec<(Option<Uuid>, &str, &str, Uuid)> {
    events.iter().map(|e| (e.organization_id, e.table_name.as_str(), e.event_type.as_str(), e.record_id)).collect()
}

/// A live table of the test's own.
async fn table(world: &World, sql: &str, make_live: &str) {
    world.change(sql).await;
    world.change(make_live).await;
}

// ---------------------------------------------------------------------------------------------- whose change it is

#[tokio::test]
async fn a_change_of_a_junction_tells_the_organization_of_its_parent() {
    let world = World::new().await;
    let scene = world.scene().await;
    let (organization, project) = (Some(scene.organization), scene.project);
    let id = Uuid::now_v7();
    let made = world
        .change(&format!(
            "insert into project_members (id, project_id, person_id) values ('{id}', '{project}', '{}')",
            scene.other.id
        ))
        .await;
    let changed = world.change(&format!("update project_members set created_at = now() where id = '{id}'")).await;
    let gone = world.change(&format!("delete from project_members where id = '{id}'")).await;
    for (xid, kind) in [(made, "INSERT"), (changed, "UPDATE"), (gone, "DELETE")] {
        let events = world.events(xid).await;
        assert_eq!(brief(&events), [(organization, "project_members", kind, id)]);
        let facets = json!({"project_id": project, "person_id": scene.other.id});
        assert_eq!(events[0].old_facets.is_some(), kind != "INSERT");
        assert_eq!(events[0].new_facets.is_some(), kind != "DELETE");
        assert_eq!(events[0].new_facets.as_ref().or(events[0].old_facets.as_ref()), Some(&facets));
    }
    world.stop().await;
}

#[tokio::test]
async fn deleting_a_project_by_sql_tells_of_each_child_with_the_right_organization() {
    let world = World::new().await;
    let (scene, elsewhere) = (world.scene().await, world.scene().await);
    let xid = world.change(&format!("delete from projects where id = '{}'", scene.project)).await;
    let events = world.events(xid).await;
    let organization = Some(scene.organization);
    let mut told = brief(&events);
    told.sort();
    assert_eq!(
        told,
        [
            (organization, "project_members", "DELETE", scene.project_member),
            (organization, "project_orders", "DELETE", scene.project_order),
            (organization, "projects", "DELETE", scene.project),
        ]
    );
    // Both at once, of two organizations.
    let second = world.project(scene.organization).await;
    let child = world.project_order(second, scene.order).await;
    let xid = world.change(&format!("delete from projects where id in ('{second}', '{}')", elsewhere.project)).await;
    let events = world.events(xid).await;
    assert_eq!(events.len(), 5);
    for event in events {
        let is_here = event.record_id == second || event.record_id == child;
        assert_eq!(
            event.organization_id,
            Some(if is_here { scene.organization } else { elsewhere.organization }),
            "{event:?}"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn deleting_an_order_by_sql_tells_of_its_lines_and_of_its_places_in_projects() {
    let world = World::new().await;
    let scene = world.scene().await;
    let xid = world.change(&format!("delete from sales_orders where id = '{}'", scene.order)).await;
    let events = world.events(xid).await;
    let mut told = brief(&events);
    told.sort();
    let organization = Some(scene.organization);
    assert_eq!(
        told,
        [
            (organization, "project_orders", "DELETE", scene.project_order),
            (organization, "sales_order_lines", "DELETE", scene.line),
            (organization, "sales_orders", "DELETE", scene.order),
        ]
    );
    world.stop().await;
}

#[tokio::test]
async fn removing_a_member_by_sql_tells_organization_person_and_the_projects_left() {
    let world = World::new().await;
    let scene = world.scene().await;
    world
        .change(&format!("update sales_orders set assignee_id = '{}' where id = '{}'", scene.colleague.id, scene.order))
        .await;
    let xid = world.change(&format!("delete from memberships where person_id = '{}'", scene.colleague.id)).await;
    let events = world.events(xid).await;
    let tables: BTreeSet<_> =
        events.iter().map(|event| (event.table_name.as_str(), event.event_type.as_str())).collect();
    assert_eq!(
        tables,
        BTreeSet::from([("memberships", "DELETE"), ("project_members", "DELETE"), ("sales_orders", "UPDATE")])
    );
    assert!(events.iter().all(|event| event.organization_id == Some(scene.organization)));
    let membership = events.iter().find(|event| event.table_name == "memberships").unwrap();
    assert_eq!(membership.person_id, Some(scene.colleague.id));
    let order = events.iter().find(|event| event.table_name == "sales_orders").unwrap();
    assert_eq!(order.old_facets.as_ref().unwrap()["assignee_id"], json!(scene.colleague.id));
    assert_eq!(order.new_facets.as_ref().unwrap()["assignee_id"], json!(null));
    world.stop().await;
}

#[tokio::test]
async fn a_chain_of_parents_is_followed_to_its_organization() {
    let world = World::new().await;
    let scene = world.scene().await;
    table(
        &world,
        "create table tasks (id uuid primary key, project_id uuid not null references projects on delete cascade);
         create table notes (id uuid primary key, task_id uuid not null references tasks on delete cascade)",
        "select millstream.make_live('tasks', organization_through => 'projects(project_id)');
         select millstream.make_live('notes', organization_through => 'tasks(task_id)')",
    )
    .await;
    let (task, note) = (Uuid::now_v7(), Uuid::now_v7());
    world.change(&format!("insert into tasks values ('{task}', '{}')", scene.project)).await;
    let xid = world.change(&format!("insert into notes values ('{note}', '{task}')")).await;
    assert_eq!(brief(&world.events(xid).await), [(Some(scene.organization), "notes", "INSERT", note)]);
    let xid = world.change(&format!("delete from projects where id = '{}'", scene.project)).await;
    let events = world.events(xid).await;
    assert!(brief(&events).contains(&(Some(scene.organization), "notes", "DELETE", note)));
    assert!(brief(&events).contains(&(Some(scene.organization), "tasks", "DELETE", task)));
    world.stop().await;
}

#[tokio::test]
async fn a_row_whose_organization_cannot_be_found_is_refused_not_dropped() {
    let world = World::new().await;
    table(
        &world,
        "create table strays (id uuid primary key, project_id uuid)",
        "select millstream.make_live('strays', organization_through => 'projects(project_id)')",
    )
    .await;
    table(
        &world,
        "create table loose (id uuid primary key, organization_id uuid)",
        "select millstream.make_live('loose')",
    )
    .await;
    let nobody = Uuid::now_v7();
    for project in [format!("'{nobody}'"), "null".to_owned()] {
        let (_, message) = world.refused(&format!("insert into strays values (gen_random_uuid(), {project})")).await;
        let named = project.trim_matches('\'');
        assert!(message.contains("strays") && message.contains("projects") && message.contains(named), "{message}");
    }
    let (_, message) = world.refused("insert into loose values (gen_random_uuid(), null)").await;
    assert!(message.contains("loose"), "{message}");
    assert_eq!(world.count("select (select count(*) from strays) + (select count(*) from loose)").await, 0);
    world.stop().await;
}

#[tokio::test]
async fn truncating_a_live_table_is_refused_by_name() {
    let world = World::new().await;
    world.scene().await;
    let tables: Vec<String> =
        sqlx::query_scalar("select table_name from millstream.live_tables").fetch_all(&world.owner).await.unwrap();
    assert!(tables.len() >= 9, "{tables:?}");
    for table in tables {
        let (_, message) = world.refused(&format!("truncate {table} cascade")).await;
        assert!(message.contains("TRUNCATE"), "{message}");
        assert!(world.count(&format!("select count(*) from {table}")).await > 0, "{table}");
    }
    world.stop().await;
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_no_event() {
    let world = World::new().await;
    let scene = world.scene().await;
    let xid = world.change(&format!("update customers set name = name where id = '{}'", scene.customer)).await;
    assert_eq!(world.events(xid).await, []);
    let xid = world.change(&format!("update customers set name = 'Other' where id = '{}'", scene.customer)).await;
    let events = world.events(xid).await;
    assert_eq!(brief(&events), [(Some(scene.organization), "customers", "UPDATE", scene.customer)]);
    assert_eq!(events[0].changed, Some(vec!["name".to_owned()]));
    world.stop().await;
}

#[tokio::test]
async fn a_table_whose_columns_changed_has_its_trigger_written_anew() {
    let world = World::new().await;
    table(
        &world,
        "create table wares (id uuid primary key, organization_id uuid not null, place point, note json, old_name text)",
        "select millstream.make_live('wares', facets => '{old_name}')",
    )
    .await;
    let (id, organization) = (Uuid::now_v7(), Uuid::now_v7());
    world.change(&format!("insert into wares values ('{id}', '{organization}', '(1,1)', '{{}}', 'a')")).await;
    // Also columns whose type knows no equality.
    let xid = world.change("update wares set place = '(1,2)', note = '{\"a\": 1}'").await;
    assert_eq!(world.events(xid).await[0].changed, Some(vec!["place".to_owned(), "note".to_owned()]));
    let stands = "select count(*) from millstream.live_table_state where table_name = 'wares' and triggers_stand";
    assert_eq!(world.count(stands).await, 1);
    world.change("alter table wares add column colour text, drop column place").await;
    assert_eq!(world.count(stands).await, 0, "the server would not start over it");
    let refreshed = "select count(*) from unnest(millstream.refresh_live_tables()) as written where written = 'wares'";
    assert_eq!(world.count(refreshed).await, 1);
    assert_eq!(world.count(refreshed).await, 0, "once is enough");
    assert_eq!(world.count(stands).await, 1);
    let xid = world.change("update wares set colour = 'red'").await;
    assert_eq!(world.events(xid).await[0].changed, Some(vec!["colour".to_owned()]));
    world.stop().await;
}

#[tokio::test]
async fn what_a_writer_searches_first_does_not_come_between() {
    let world = World::new().await;
    table(
        &world,
        "create table wares (id uuid primary key, organization_id uuid, name text, colours text[], readers uuid[])",
        "select millstream.make_live('wares', facets => '{name}', audience => 'readers')",
    )
    .await;
    // Whoever may make a schema could else have the trigger run their operators and functions with its owner's rights.
    world
        .change(
            "create schema ambush;
             create function ambush.fires(text, text) returns boolean language plpgsql as $$begin raise 'ambush'; end$$;
             create function ambush.fires(uuid, uuid) returns boolean language plpgsql as $$begin raise 'ambush'; end$$;
             create function ambush.fires(boolean, boolean) returns boolean language plpgsql as $$begin raise 'ambush'; end$$;
             create function ambush.fires(record, record) returns boolean language plpgsql as $$begin raise 'ambush'; end$$;
             create operator ambush.= (function = ambush.fires, leftarg = text, rightarg = text);
             create operator ambush.<> (function = ambush.fires, leftarg = text, rightarg = text);
             create operator ambush.= (function = ambush.fires, leftarg = uuid, rightarg = uuid);
             create operator ambush.<> (function = ambush.fires, leftarg = uuid, rightarg = uuid);
             create operator ambush.<> (function = ambush.fires, leftarg = boolean, rightarg = boolean);
             create operator ambush.*= (function = ambush.fires, leftarg = record, rightarg = record);
             create function ambush.joins(uuid[], uuid[]) returns uuid[] language plpgsql as $$begin raise 'ambush'; end$$;
             create operator ambush.|| (function = ambush.joins, leftarg = uuid[], rightarg = uuid[]);
             create function ambush.current_setting(text) returns text language plpgsql as $$begin raise 'ambush'; end$$;
             create function ambush.unnest(uuid[]) returns setof uuid language plpgsql as $$begin raise 'ambush'; end$$;
             create function ambush.array_remove(text[], text) returns text[] language plpgsql as $$begin raise 'ambush'; end$$;
             create domain ambush.text as integer;
             create domain ambush.uuid as integer",
        )
        .await;
    let (id, from, to) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let ambushed =
        |sql: &str| format!("set local search_path = ambush, pg_catalog; {sql}; set local search_path = default");
    let inserted = world
        .change(&ambushed(&format!("insert into public.wares values ('{id}', '{from}', 'a', '{{}}', '{{}}')")))
        .await;
    let updated = world
        .change(&ambushed(&format!("update public.wares set organization_id = '{to}', colours = '{{red}}'")))
        .await;
    let deleted = world.change(&ambushed("delete from public.wares")).await;
    assert_eq!(world.events(inserted).await.len(), 1);
    let told = world.events(updated).await;
    assert_eq!(told.iter().map(|event| event.organization_id).collect::<Vec<_>>(), [Some(to), Some(from)]);
    assert_eq!(told[0].changed, Some(vec!["organization_id".to_owned(), "colours".to_owned()]));
    assert_eq!(world.events(deleted).await.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_row_that_moves_to_another_organization_or_person_tells_both() {
    let world = World::new().await;
    let (from, to) = (Uuid::now_v7(), Uuid::now_v7());
    table(
        &world,
        "create table things (id uuid primary key, organization_id uuid, person_id uuid)",
        "select millstream.make_live('things', organization => 'organization_id', person => 'person_id')",
    )
    .await;
    let id = Uuid::now_v7();
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    world.change(&format!("insert into things values ('{id}', '{from}', '{first}')")).await;
    let xid = world.change(&format!("update things set organization_id = '{to}', person_id = '{second}'")).await;
    let events = world.events(xid).await;
    let told: BTreeSet<_> = events.iter().map(|event| (event.organization_id, event.person_id)).collect();
    assert_eq!(told, BTreeSet::from([(Some(from), Some(first)), (Some(to), Some(second))]));
    assert!(events.iter().all(|event| event.record_id == id && event.event_type == "UPDATE"));
    // Out of an organization altogether, where a person remains.
    let xid = world.change("update things set organization_id = null").await;
    let told: BTreeSet<_> = world.events(xid).await.iter().filter_map(|event| event.organization_id).collect();
    assert_eq!(told, BTreeSet::from([to]));
    world.stop().await;
}

#[tokio::test]
async fn an_audience_is_told_as_it_was_and_as_it_is() {
    let world = World::new().await;
    table(
        &world,
        "create table letters (id uuid primary key, organization_id uuid not null, readers uuid[], n int)",
        "select millstream.make_live('letters', audience => 'readers')",
    )
    .await;
    let [a, b, c] = [1, 2, 3].map(Uuid::from_u128);
    let (id, organization) = (Uuid::now_v7(), Uuid::now_v7());
    let audience = async |sql: String| {
        let xid = world.change(&sql).await;
        let mut audience = world.events(xid).await[0].audience.clone();
        audience.iter_mut().for_each(|people| people.sort());
        audience
    };
    let made =
        audience(format!("insert into letters values ('{id}', '{organization}', array['{a}','{b}']::uuid[])")).await;
    assert_eq!(made, Some(vec![a, b]));
    let moved = audience(format!("update letters set readers = array['{b}','{c}']::uuid[]")).await;
    assert_eq!(moved, Some(vec![a, b, c]));
    let changed = audience("update letters set n = 1".to_owned()).await;
    assert_eq!(changed, Some(vec![b, c]));
    let gone = audience("delete from letters".to_owned()).await;
    assert_eq!(gone, Some(vec![b, c]));
    world.stop().await;
}

/// "Nobody" is not "everybody": in the events no audience stands for the whole organization.
#[tokio::test]
async fn an_empty_audience_is_nobody_and_not_everybody() {
    let world = World::new().await;
    table(
        &world,
        "create table letters (id uuid primary key, organization_id uuid not null, readers uuid[], n int)",
        "select millstream.make_live('letters', audience => 'readers')",
    )
    .await;
    let organization = Uuid::now_v7();
    let xid = world.change(&format!("insert into letters values (gen_random_uuid(), '{organization}', '{{}}')")).await;
    assert_eq!(world.events(xid).await[0].audience, Some(vec![]), "an empty audience");
    let xid = world.change("update letters set n = 2").await;
    assert_eq!(world.events(xid).await[0].audience, Some(vec![]), "an empty audience that stays empty");
    world.stop().await;
}

#[tokio::test]
async fn a_row_that_was_for_everybody_and_becomes_private_is_told_to_everybody() {
    let world = World::new().await;
    table(
        &world,
        "create table letters (id uuid primary key, organization_id uuid not null, readers uuid[])",
        "select millstream.make_live('letters', audience => 'readers')",
    )
    .await;
    world.change(&format!("insert into letters values (gen_random_uuid(), '{}', null)", Uuid::now_v7())).await;
    let closed = world.change(&format!("update letters set readers = array['{}']::uuid[]", Uuid::now_v7())).await;
    assert_eq!(world.events(closed).await[0].audience, None, "from those who lose it, it has to go");
    let opened = world.change("update letters set readers = null").await;
    assert_eq!(world.events(opened).await[0].audience, None, "to those who gain it, it has to come");
    world.stop().await;
}

#[tokio::test]
async fn an_event_names_who_did_it_and_by_which_mutation() {
    let world = World::new().await;
    let scene = world.scene().await;
    let (person, mutation) = (Uuid::now_v7(), Uuid::now_v7());
    let xid = world
        .change(&format!(
            "select set_config('millstream.person', '{person}', true), set_config('millstream.mutation', '{mutation}', true);
             savepoint a; update customers set name = 'By savepoint' where id = '{}'",
            scene.customer
        ))
        .await;
    let told: (Option<Uuid>, Option<Uuid>) =
        sqlx::query_as("select actor_id, mutation_id from realtime_table_events where xid = $1::text::xid8")
            .bind(xid.0.to_string())
            .fetch_one(&world.owner)
            .await
            .unwrap();
    assert_eq!(told, (Some(person), Some(mutation)), "also inside a savepoint, under the top-level transaction's id");
    world.stop().await;
}

#[tokio::test]
async fn a_change_is_durable_even_where_its_transaction_asked_not_to_be() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut transaction = world.owner.begin().await.unwrap();
    let shown = |sql: &'static str| sqlx::query_scalar::<_, String>(sql);
    sqlx::raw_sql("set local synchronous_commit = off").execute(&mut *transaction).await.unwrap();
    sqlx::query("update customers set name = 'Other' where id = $1")
        .bind(scene.customer)
        .execute(&mut *transaction)
        .await
        .unwrap();
    let setting = shown("show synchronous_commit").fetch_one(&mut *transaction).await.unwrap();
    assert_eq!(setting, "on");
    transaction.rollback().await.unwrap();
    world.stop().await;
}

// ---------------------------------------------------------------------------------------------- make_live

#[tokio::test]
async fn make_live_refuses_by_name_what_it_does_not_find_or_cannot_prove() {
    let world = World::new().await;
    world
        .change(
            "create table wares (id uuid primary key, organization_id uuid, project_id uuid, name text, price numeric, weight double precision,
               made timestamptz, readers text[], number_of int);
             create table numbered (id bigint primary key, organization_id uuid)",
        )
        .await;
    let cases: [(&str, &[&str]); 15] = [
        ("'nowhere'", &["nowhere"]),
        ("'numbered'", &["numbered", "id", "bigint"]),
        ("'wares', organization => 'firm_id'", &["wares", "firm_id"]),
        ("'wares', organization => 'name'", &["wares", "name", "text"]),
        ("'wares', person => 'who'", &["wares", "who"]),
        ("'wares', audience => 'listeners'", &["wares", "listeners"]),
        ("'wares', audience => 'readers'", &["wares", "readers", "uuid[]"]),
        ("'wares', facets => '{colour}'", &["wares", "colour"]),
        ("'wares', facets => '{price}'", &["wares", "price", "numeric"]),
        ("'wares', facets => '{weight}'", &["wares", "weight", "double precision"]),
        ("'wares', facets => '{made}'", &["wares", "made", "timestamp"]),
        ("'wares', organization_through => 'projects'", &["wares", "projects", "parent(column)"]),
        ("'wares', organization_through => 'profiles(project_id)'", &["wares", "profiles", "not live"]),
        ("'wares', organization_through => 'projects(plan_id)'", &["wares", "plan_id"]),
        ("'wares', organization_through => 'projects(name)'", &["wares", "name", "text"]),
    ];
    for (arguments, named) in cases {
        let (_, message) = world.refused(&format!("select millstream.make_live({arguments})")).await;
        assert!(named.iter().all(|name| message.contains(name)), "{arguments}: {message}");
    }
    assert_eq!(
        world.count("select count(*) from millstream.live_tables where table_name in ('wares', 'numbered')").await,
        0
    );
    // And the same table, told rightly, is taken, once.
    world.change("select millstream.make_live('wares', facets => '{name,number_of}')").await;
    let (_, _) = world.refused("select millstream.make_live('wares')").await;
    let xid = world
        .change("insert into wares (id, organization_id, name) values (gen_random_uuid(), gen_random_uuid(), 'W')")
        .await;
    assert_eq!(world.events(xid).await[0].new_facets, Some(json!({"name": "W", "number_of": null})));
    world.stop().await;
}

// ---------------------------------------------------------------------------------------------- references

#[tokio::test]
async fn no_statement_makes_a_reference_across_organizations() {
    let world = World::new().await;
    let (a, b) = (world.scene().await, world.scene().await);
    let before = world.digest().await;
    let id = Uuid::now_v7();
    let order = "insert into sales_orders (id, organization_id, title, customer_id, assignee_id) values";
    let cases = [
        (
            "an order with a customer of another organization",
            format!("{order} ('{id}', '{}', 'T', '{}', null)", a.organization, b.customer),
        ),
        (
            "an order assigned to who is no member",
            format!("{order} ('{id}', '{}', 'T', '{}', '{}')", a.organization, a.customer, b.owner.id),
        ),
        (
            "an order that changes to such a customer",
            format!("update sales_orders set customer_id = '{}' where id = '{}'", b.customer, a.order),
        ),
        (
            "an order that moves",
            format!(
                "update sales_orders set number = 'X', organization_id = '{}' where id = '{}'",
                b.organization, a.order
            ),
        ),
        (
            "an order that moves with its customer",
            format!(
                "update sales_orders set number = 'X', organization_id = '{}', customer_id = '{}' where id = '{}'",
                b.organization, b.customer, a.order
            ),
        ),
        (
            "a customer with orders that moves",
            format!("update customers set organization_id = '{}' where id = '{}'", b.organization, a.customer),
        ),
        (
            "an order in a project of another organization",
            format!("insert into project_orders values ('{id}', '{}', '{}')", a.project, b.order),
        ),
        (
            "a place in a project that changes to such an order",
            format!("update project_orders set order_id = '{}' where id = '{}'", b.order, a.project_order),
        ),
        (
            "a stranger on a project",
            format!("insert into project_members values ('{id}', '{}', '{}')", a.project, b.owner.id),
        ),
        (
            "a place on a project that changes to a stranger",
            format!("update project_members set person_id = '{}' where id = '{}'", b.owner.id, a.project_member),
        ),
        (
            "a buyer of another organization's customer",
            format!(
                "insert into memberships (organization_id, person_id, role, customer_id) values ('{}', '{}', 'buyer', '{}')",
                a.organization, b.owner.id, b.customer
            ),
        ),
        (
            "an invitation of such a buyer",
            format!(
                "insert into invitations (id, organization_id, role, customer_id, token_hash, invited_by) values ('{id}', '{}', 'buyer', '{}', 'x', '{}')",
                a.organization, b.customer, a.owner.id
            ),
        ),
    ];
    for (what, sql) in cases {
        let (code, message) = world.refused(&sql).await;
        assert!(["23503", "MS422"].contains(&code.as_str()), "{what}: {code} {message}");
    }
    assert_eq!(world.digest().await, before);
    world.stop().await;
}

#[tokio::test]
async fn a_line_has_its_orders_organization_whatever_the_statement_says() {
    let world = World::new().await;
    let (a, b) = (world.scene().await, world.scene().await);
    let id = Uuid::now_v7();
    let xid = world
        .change(&format!(
            "insert into sales_order_lines (id, organization_id, order_id, position, description, quantity)
             values ('{id}', '{}', '{}', 1, 'Forged', 1)",
            b.organization, a.order
        ))
        .await;
    assert_eq!(brief(&world.events(xid).await), [(Some(a.organization), "sales_order_lines", "INSERT", id)]);
    let stands =
        format!("select count(*) from sales_order_lines where id = '{id}' and organization_id = '{}'", a.organization);
    assert_eq!(world.count(&stands).await, 1);
    let xid = world
        .change(&format!("update sales_order_lines set organization_id = '{}' where id = '{id}'", b.organization))
        .await;
    assert_eq!(brief(&world.events(xid).await), [(Some(a.organization), "sales_order_lines", "UPDATE", id)]);
    assert_eq!(world.count(&stands).await, 1);
    world.stop().await;
}

#[tokio::test]
async fn a_project_that_holds_orders_or_members_cannot_move_to_another_organization() {
    let world = World::new().await;
    let (a, b) = (world.scene().await, world.scene().await);
    let before = world.digest().await;
    let moving = format!("update projects set organization_id = '{}' where id = '{}'", b.organization, a.project);
    world.refused(&moving).await;
    assert_eq!(world.digest().await, before);
    world.stop().await;
}

#[tokio::test]
async fn an_order_without_lines_that_is_in_a_project_cannot_move_to_another_organization() {
    let world = World::new().await;
    let (a, b) = (world.scene().await, world.scene().await);
    world.project_order(a.project, a.other_order).await;
    let before = world.digest().await;
    let moving = format!(
        "update sales_orders set organization_id = '{}', customer_id = '{}', number = 'X' where id = '{}'",
        b.organization, b.customer, a.other_order
    );
    world.refused(&moving).await;
    assert_eq!(world.digest().await, before);
    world.stop().await;
}

// ---------------------------------------------------------------------------------------------- closed sets

/// The texts between quotes.
fn quoted(definition: &str) -> BTreeSet<String> {
    definition.split('\'').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn the_closed_sets_of_rust_and_of_sql_are_the_same() {
    let world = World::new().await;
    let names = |all: Vec<&'static str>| all.into_iter().map(ToOwned::to_owned).collect::<BTreeSet<_>>();
    let roles = names(Role::ALL.iter().map(|role| role.name()).collect());
    let modules = names(Module::ALL.iter().map(|module| module.name()).collect());
    let statuses = names(Status::ALL.iter().map(|status| status.name()).collect());
    let cases = [
        ("memberships", "role", &roles),
        ("invitations", "role", &roles),
        ("role_permissions", "role", &roles),
        ("role_permissions", "module", &modules),
        ("sales_orders", "status", &statuses),
    ];
    for (table, column, in_rust) in cases {
        let checks: Vec<String> = sqlx::query_scalar(
            "select pg_get_constraintdef(c.oid) from pg_constraint c
             join pg_attribute a on a.attrelid = c.conrelid and c.conkey = array[a.attnum]
             where c.contype = 'c' and c.conrelid = $1::text::regclass and a.attname = $2",
        )
        .bind(table)
        .bind(column)
        .fetch_all(&world.owner)
        .await
        .unwrap();
        assert_eq!(checks.len(), 1, "{table}.{column} has one check: {checks:?}");
        assert_eq!(&quoted(&checks[0]), in_rust, "{table}.{column}");
    }
    // Every role has a word on every module, and the functions know every action.
    let catalogue = world.count("select count(*) from role_permissions").await;
    assert_eq!(catalogue, (roles.len() * modules.len()) as i64);
    let scene = world.scene().await;
    for module in Module::ALL {
        for action in Action::ALL {
            let sql = format!(
                "select count(millstream.may('{}', '{}', '{}')) from set_config('millstream.person', '{}', false)",
                scene.organization,
                module.name(),
                action.name(),
                scene.owner.id
            );
            assert_eq!(world.count(&sql).await, 1, "{module:?} {action:?}");
        }
    }
    let definition: String = sqlx::query_scalar("select pg_get_functiondef('invitation_of(bytea)'::regprocedure)")
        .fetch_one(&world.owner)
        .await
        .unwrap();
    let states = names(InvitationState::ALL.iter().map(|state| state.name()).collect());
    assert!(states.is_subset(&quoted(&definition)), "{definition}");
    world.stop().await;
}
