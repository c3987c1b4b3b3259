//! No byte of an organization reaches a person outside it: through every server function, and through row-level security
//! where a server function should ever forget.

#![allow(clippy::unwrap_used)]

mod support;

use app::tenancy::Module;
use leptos::server_fn::axum::server_fn_paths;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use std::collections::{BTreeMap, BTreeSet};
use support::endpoints::{Kind, Names, Scope, endpoints, routes, with};
use support::scene::Scene;
use support::world::{Answer, Person, World};
use uuid::Uuid;

fn kind(answer: &Answer) -> &str {
    answer.body["error"]["kind"].as_str().unwrap_or_default()
}

// ---------------------------------------------------------------------------------------------- server functions

/// Add what is missing to `support/endpoints.rs`: the tests below then try it.
#[test]
fn every_server_function_is_in_the_list_and_the_list_names_no_other() {
    let registered: BTreeSet<(String, String)> =
        server_fn_paths().map(|(path, method)| (path.to_owned(), method.to_string())).collect();
    let listed: BTreeSet<(String, String)> =
        endpoints().iter().map(|endpoint| (endpoint.path.to_owned(), endpoint.method.to_owned())).collect();
    assert!(!registered.is_empty());
    let unlisted: Vec<_> = registered.difference(&listed).collect();
    let unregistered: Vec<_> = listed.difference(&registered).collect();
    assert!(
        unlisted.is_empty() && unregistered.is_empty(),
        "not in the list: {unlisted:?}; not registered: {unregistered:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_gets_nothing_from_any_server_function_while_a_member_does() {
    let world = World::new().await;
    let elsewhere = world.scene().await;
    for endpoint in endpoints().iter().filter(|endpoint| endpoint.scope == Scope::Organization) {
        let path = endpoint.path;
        let scene = world.scene().await;
        let request = (endpoint.request)(&scene);
        let before = world.digest().await;

        let nobody = endpoint.send(&world, None, &request).await;
        assert_eq!(
            (nobody.status, kind(&nobody)),
            (401, "unauthenticated"),
            "{path} without a cookie: {}",
            nobody.text
        );

        let stranger = endpoint.send(&world, Some(&elsewhere.owner), &request).await;
        assert!([403, 404].contains(&stranger.status), "{path} by a stranger: {} {}", stranger.status, stranger.text);
        assert_tells_nothing(path, &stranger, &scene);

        if endpoint.names == Names::Records {
            // Things of this organization, by the name of the stranger's own.
            let mut forged = with(&request, "organization", json!(elsewhere.organization));
            if endpoint.method == "POST" {
                forged["mutation_id"] = json!(Uuid::now_v7()); // what was refused above has its own
            }
            let forged = endpoint.send(&world, Some(&elsewhere.owner), &forged).await;
            assert!(
                [403, 404, 422].contains(&forged.status),
                "{path} by another's name: {} {}",
                forged.status,
                forged.text
            );
            assert_tells_nothing(path, &forged, &scene);
        }
        assert_eq!(world.digest().await, before, "{path} changed something");

        let member = endpoint.send(&world, Some(&scene.owner), &request).await;
        assert_eq!(member.status, 200, "{path} by a member: {}", member.text);
    }
    world.stop().await;
}

/// What a refusal must not hold: ids that the request did not name would be the worst, names the next.
fn assert_tells_nothing(path: &str, answer: &Answer, scene: &Scene) {
    for secret in
        ["An order", "A line", "A project", "A customer", "A firm", "SO-0", "Ada", "Ben", "Cleo", &scene.owner.email]
    {
        assert!(!answer.text.contains(secret), "{path} tells {secret}: {}", answer.text);
    }
    assert!(answer.body.get("current").is_none(), "{path}: {}", answer.text);
}

// ---------------------------------------------------------------------------------------------- all other routes

/// The routes of the router that is served, with the methods that they take, however they came into it: axum tells them
/// where it describes itself.
fn routes_of(router: &axum::Router) -> BTreeSet<(String, String)> {
    let text = format!("{router:?}");
    let mut found = BTreeSet::new();
    // One router for the routes and one for what is none, each with its own numbers.
    for part in text.split("PathRouter {").skip(1) {
        let (routes, paths) = part.split_once("paths: {").unwrap();
        let methods: BTreeMap<&str, String> = routes
            .split("RouteId(")
            .skip(1)
            .map(|route| {
                let (id, route) = route.split_once(')').unwrap();
                let allowed = route.split_once("allow_header: Bytes(b\"").and_then(|(_, rest)| rest.split_once('"'));
                (id, allowed.map_or("*", |(methods, _)| methods).to_owned())
            })
            .collect();
        let paths = paths.split("RouteId(").skip(1).map(|path| {
            let (id, path) = path.split_once("): \"").unwrap();
            (path.split_once('"').unwrap().0.to_owned(), methods[id].clone())
        });
        found.extend(paths);
    }
    found
}

/// Add what is missing to `support/endpoints.rs`, and say for whom it is: the test below then tries it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_in_the_list_and_the_list_names_no_other() {
    let world = World::new().await;
    let served = routes_of(&world.server.router);
    let listed: BTreeSet<_> =
        routes().into_iter().map(|(path, methods, _)| (path.to_owned(), methods.to_owned())).collect();
    let unlisted: Vec<_> = served.difference(&listed).collect();
    let unserved: Vec<_> = listed.difference(&served).collect();
    assert!(unlisted.is_empty() && unserved.is_empty(), "not in the list: {unlisted:?}; not served: {unserved:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_and_nobody_get_nothing_of_an_organization_from_any_route() {
    let world = World::new().await;
    let (scene, elsewhere) = (world.scene().await, world.scene().await);
    for (path, _, kind) in routes() {
        // An invitation tells the organization and who invites: that is what its token is for.
        let address = path
            .replace("{organization}", &scene.organization.to_string())
            .replace("{order}", &scene.order.to_string())
            .replace("{project}", &scene.project.to_string())
            .replace("{token}", &"0".repeat(64))
            .replace("{*__private__axum_nest_tail_param}", "orders")
            .replace("{*__private__axum_fallback}", &format!("{}/{}", scene.organization, scene.order))
            .replace("{*path}", "nothing");
        for who in [Some(&elsewhere.owner), None] {
            let answer = world.get(who, &address, &[]).await;
            for secret in ["An order", "A line", "A project", "A customer", "SO-0", "Cleo", &scene.owner.email] {
                assert!(!answer.text.contains(secret), "{path} tells {secret}: {}", answer.text);
            }
        }
        let member = world.get(Some(&scene.owner), &address, &[]).await;
        let shown = ["An order", "A project", "Cleo"].iter().any(|name| member.text.contains(name));
        assert_eq!(shown, kind == Kind::Page, "{path} to a member: {} {}", member.status, member.text);
        if kind == Kind::Public {
            assert!(!member.text.contains(&scene.owner.email), "{path} is not the same for everybody: {}", member.text);
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_for_a_person_tells_nothing_of_other_organizations_and_nobody_gets_it() {
    let world = World::new().await;
    for endpoint in endpoints().iter().filter(|endpoint| endpoint.scope != Scope::Organization) {
        let path = endpoint.path;
        let (scene, elsewhere) = (world.scene().await, world.scene().await);
        // The scene's own request, but for the token: that is what an invitation is.
        let request = (endpoint.request)(&scene);
        if request.get("token").is_some() {
            let wrong = with(&request, "token", json!("0".repeat(64)));
            let wrong = endpoint.send(&world, Some(&elsewhere.owner), &wrong).await;
            assert_eq!(wrong.status, 404, "{path}: {}", wrong.text);
            assert_tells_nothing(path, &wrong, &scene);
        } else {
            let answer = endpoint.send(&world, Some(&elsewhere.owner), &request).await;
            assert!(!answer.text.contains(&scene.organization.to_string()), "{path}: {}", answer.text);
        }
        let nobody = endpoint.send(&world, None, &request).await;
        if endpoint.scope == Scope::Person {
            assert_eq!((nobody.status, kind(&nobody)), (401, "unauthenticated"), "{path}: {}", nobody.text);
        } else {
            assert!(!nobody.text.contains(&scene.order.to_string()), "{path}: {}", nobody.text);
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_who_was_removed_is_a_stranger_from_the_next_request_on() {
    let world = World::new().await;
    let scene = world.scene().await;
    let before: Vec<_> = endpoints()
        .into_iter()
        .filter(|endpoint| endpoint.scope == Scope::Organization && endpoint.method == "GET")
        .collect();
    for endpoint in &before {
        let answer = endpoint.send(&world, Some(&scene.other), &(endpoint.request)(&scene)).await;
        assert_eq!(answer.status, 200, "{}: {}", endpoint.path, answer.text);
    }
    world.change(&format!("delete from memberships where person_id = '{}'", scene.other.id)).await;
    for endpoint in endpoints().iter().filter(|endpoint| endpoint.scope == Scope::Organization) {
        let answer = endpoint.send(&world, Some(&scene.other), &(endpoint.request)(&scene)).await;
        assert_eq!(answer.status, 404, "{}: {}", endpoint.path, answer.text);
    }
    world.stop().await;
}

/// An answer that was stored while they were a member holds what they may no longer see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mutation_sent_again_after_leaving_tells_nothing_of_what_it_answered() {
    let world = World::new().await;
    for endpoint in endpoints().iter().filter(|endpoint| endpoint.scope == Scope::Organization) {
        let path = endpoint.path;
        if endpoint.method == "GET" {
            continue;
        }
        let scene = world.scene().await;
        let request = (endpoint.request)(&scene);
        let person = world.member(scene.organization, "Dora", "owner").await;
        let first = endpoint.send(&world, Some(&person), &request).await;
        assert_eq!(first.status, 200, "{path}: {}", first.text);
        world.change(&format!("delete from memberships where person_id = '{}'", person.id)).await;
        let before = world.digest().await;
        let again = endpoint.send(&world, Some(&person), &request).await;
        assert_eq!((again.status, kind(&again)), (404, "not_found"), "{path}: {}", again.text);
        assert_tells_nothing(path, &again, &scene);
        assert_eq!(world.digest().await, before, "{path}");
        // Whoever comes back with the same rights gets the answer that was stored.
        world.join(scene.organization, &person, "owner", None).await;
        let back = endpoint.send(&world, Some(&person), &request).await;
        assert_eq!((back.status, back.body), (200, first.body), "{path}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_sent_again_after_leaving_tells_nothing_of_the_row_that_it_named() {
    let world = World::new().await;
    let scene = world.scene().await;
    let request = json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "id": scene.order,
        "changes": {"title": {"from": "Never so", "to": "Mine"}}});
    let send = async || world.post(Some(&scene.colleague), "/api/orders/update", &request).await;
    assert_eq!(send().await.body["current"]["title"], "An order");
    world
        .change(&format!(
            "update memberships set role = 'buyer', customer_id = '{}' where person_id = '{}'",
            world.customer(scene.organization).await,
            scene.colleague.id
        ))
        .await;
    let narrowed = send().await;
    assert_eq!(narrowed.status, 409, "{}", narrowed.text);
    assert_tells_nothing("as a buyer", &narrowed, &scene);
    world.change(&format!("delete from memberships where person_id = '{}'", scene.colleague.id)).await;
    let gone = send().await;
    assert_eq!(gone.status, 404, "{}", gone.text);
    assert_tells_nothing("as nobody", &gone, &scene);
    world.stop().await;
}

/// Of a customer's order that a planner changed, the buyer of another customer sees nothing, though it was themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mutation_sent_again_with_narrower_rights_answers_by_these() {
    let world = World::new().await;
    let scene = world.scene().await;
    let request = json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "id": scene.order,
        "changes": {"title": {"from": "An order", "to": "Renamed"}}});
    let send = async || world.post(Some(&scene.colleague), "/api/orders/update", &request).await;
    let first = send().await.ok();
    let become_buyer_of = async |customer: Uuid| {
        let person = scene.colleague.id;
        world
            .change(&format!(
                "update memberships set role = 'buyer', customer_id = '{customer}' where person_id = '{person}'"
            ))
            .await;
    };
    become_buyer_of(world.customer(scene.organization).await).await;
    let hidden = send().await;
    assert_eq!(hidden.status, 404, "{}", hidden.text);
    become_buyer_of(scene.customer).await;
    let seen = send().await.ok();
    assert_eq!((&seen["xid"], &seen["data"]["title"]), (&first["xid"], &json!("Renamed")));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_is_answered_however_often_it_is_sent() {
    let world = World::new().await;
    let scene = world.scene().await;
    let request =
        json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "person_id": scene.other.id});
    let send = async || world.post(Some(&scene.other), "/api/organizations/remove_member", &request).await;
    let first = send().await.ok();
    assert_eq!(send().await.ok(), first);
    world.stop().await;
}

/// What each role may call, by the role catalogue alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_may_do_what_the_catalogue_says_and_nothing_else() {
    let world = World::new().await;
    for role in app::tenancy::Role::ALL {
        for endpoint in endpoints().iter().filter(|endpoint| endpoint.scope == Scope::Organization) {
            let path = endpoint.path;
            let scene = world.scene().await;
            let person = world.person("Rob").await;
            let customer = (role.name() == "buyer").then_some(scene.customer);
            world.join(scene.organization, &person, role.name(), customer).await;
            let (module, action) = right_for(path);
            let may: bool = sqlx::query_scalar(AssertSqlSafe(format!(
                "select can_{action} from role_permissions where role = $1 and module = $2"
            )))
            .bind(role.name())
            .bind(module.name())
            .fetch_one(&world.owner)
            .await
            .unwrap();
            let before = world.digest().await;
            let answer = endpoint.send(&world, Some(&person), &(endpoint.request)(&scene)).await;
            assert_eq!(answer.status, if may { 200 } else { 403 }, "{path} as {role:?}: {}", answer.text);
            if !may {
                assert_eq!(world.digest().await, before, "{path} as {role:?}");
            }
        }
    }
    world.stop().await;
}

fn right_for(path: &str) -> (Module, &'static str) {
    let (domain, verb) = path.trim_start_matches("/api/").split_once('/').unwrap();
    match (domain, verb) {
        ("organizations", "members") => (Module::Members, "view"),
        ("organizations", "invite") => (Module::Members, "create"),
        ("organizations", "set_role") => (Module::Members, "update"),
        ("organizations", "remove_member") => (Module::Members, "delete"),
        ("customers", "list") => (Module::Customers, "view"),
        ("orders", "list" | "get") => (Module::Sales, "view"),
        ("orders", "create") => (Module::Sales, "create"),
        ("orders", "delete" | "restore") => (Module::Sales, "delete"),
        ("orders", _) => (Module::Sales, "update"),
        ("projects", "list" | "get") => (Module::Projects, "view"),
        ("projects", "create") => (Module::Projects, "create"),
        ("projects", "delete" | "restore") => (Module::Projects, "delete"),
        ("projects", _) => (Module::Projects, "update"),
        other => panic!("which right does {other:?} need?"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buyer_reads_its_own_customers_orders_only() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mine = world.customer(scene.organization).await;
    let my_order = world.order(scene.organization, mine).await;
    let buyer = world.person("Bob").await;
    world.join(scene.organization, &buyer, "buyer", Some(mine)).await;
    let organization = ("organization".to_owned(), scene.organization.to_string());
    let get = async |path: &str, more: &[(&str, String)]| {
        let mut query = vec![organization.clone()];
        query.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        world.get(Some(&buyer), path, &query).await
    };
    let list = get("/api/orders/list", &[]).await.ok();
    assert_eq!(list["data"]["total"], 1);
    assert_eq!(list["data"]["rows"][0]["id"], json!(my_order));
    let theirs = get("/api/orders/list", &[("customer_id", scene.customer.to_string())]).await.ok();
    assert_eq!(theirs["data"]["total"], 0);
    assert_eq!(get("/api/orders/get", &[("id", my_order.to_string())]).await.status, 200);
    assert_eq!(get("/api/orders/get", &[("id", scene.order.to_string())]).await.status, 404);
    let customers = get("/api/customers/list", &[]).await.ok();
    assert_eq!(customers["data"].as_array().unwrap().len(), 1);
    world.stop().await;
}

// ---------------------------------------------------------------------------------------------- row-level security

/// How the rows of an organization are found in a table, and a row that an outsider might try to put there.
struct Guarded {
    rows_of: fn(&Scene) -> String,
    forged: Option<fn(&Scene, &Person) -> String>,
}

fn guarded() -> BTreeMap<&'static str, Guarded> {
    let of = |rows_of, forged| Guarded { rows_of, forged };
    // By their own ids: a subquery would stand under row-level security itself, and prove nothing.
    let of_organization: fn(&Scene) -> String = |scene| format!("organization_id = '{}'", scene.organization);
    let of_project: fn(&Scene) -> String = |scene| format!("project_id = '{}'", scene.project);
    let every_row: fn(&Scene) -> String = |_| "true".to_owned();
    BTreeMap::from([
        ("profiles", of(|scene| format!("id in ('{}', '{}')", scene.owner.id, scene.other.id), None)),
        ("credentials", of(|scene| format!("person_id = '{}'", scene.owner.id), None)),
        ("organizations", of(|scene| format!("id = '{}'", scene.organization), None)),
        ("memberships", of(of_organization, None)),
        ("sessions", of(|scene| format!("person_id = '{}'", scene.owner.id), None)),
        ("sequences", of(of_organization, None)),
        ("realtime_table_events", of(of_organization, None)),
        ("_sqlx_migrations", of(every_row, None)),
        (
            "invitations",
            of(
                of_organization,
                Some(|scene, person| {
                    format!(
                        "insert into invitations (id, organization_id, role, token_hash, invited_by) values (gen_random_uuid(), '{}', 'owner', 'x', '{}')",
                        scene.organization, person.id
                    )
                }),
            ),
        ),
        (
            "customers",
            of(
                of_organization,
                Some(|scene, _| {
                    format!(
                        "insert into customers (id, organization_id, name) values (gen_random_uuid(), '{}', 'Forged')",
                        scene.organization
                    )
                }),
            ),
        ),
        (
            "sales_orders",
            of(
                of_organization,
                Some(|scene, _| {
                    format!(
                        "insert into sales_orders (id, organization_id, title, customer_id) values (gen_random_uuid(), '{}', 'Forged', '{}')",
                        scene.organization, scene.customer
                    )
                }),
            ),
        ),
        (
            "sales_order_lines",
            of(
                of_organization,
                Some(|scene, _| {
                    format!(
                        "insert into sales_order_lines (id, order_id, position, description, quantity) values (gen_random_uuid(), '{}', 1, 'Forged', 1)",
                        scene.order
                    )
                }),
            ),
        ),
        (
            "projects",
            of(
                of_organization,
                Some(|scene, _| {
                    format!(
                        "insert into projects (id, organization_id, name) values (gen_random_uuid(), '{}', 'Forged')",
                        scene.organization
                    )
                }),
            ),
        ),
        (
            "project_members",
            of(
                of_project,
                Some(|scene, _| {
                    format!(
                        "insert into project_members (id, project_id, person_id) values (gen_random_uuid(), '{}', '{}')",
                        scene.project, scene.other.id
                    )
                }),
            ),
        ),
        (
            "project_orders",
            of(
                of_project,
                Some(|scene, _| {
                    format!(
                        "insert into project_orders (id, project_id, order_id) values (gen_random_uuid(), '{}', '{}')",
                        scene.project, scene.other_order
                    )
                }),
            ),
        ),
        // The same for everybody: what the roles are.
        ("role_permissions", of(|_| "false".to_owned(), None)),
    ])
}

/// Runs one statement as the request role and person: the rows it met, or PostgreSQL's refusal.
async fn as_person(world: &World, person: &Person, sql: &str) -> Result<u64, String> {
    let mut transaction = world.server.database.app.begin().await.unwrap();
    sqlx::query("select set_config('millstream.person', $1, true)")
        .bind(person.id.to_string())
        .execute(&mut *transaction)
        .await
        .unwrap();
    let met = sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut *transaction).await;
    transaction.rollback().await.unwrap();
    met.map(|done| done.rows_affected()).map_err(|why| {
        why.as_database_error().map_or_else(|| panic!("{why}"), |refusal| refusal.code().unwrap().into_owned())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_level_security_alone_keeps_a_stranger_from_every_table() {
    let world = World::new().await;
    let (scene, elsewhere) = (world.scene().await, world.scene().await);
    let stranger = &elsewhere.owner;
    let tables: BTreeSet<String> = sqlx::query_scalar::<_, String>(
        "select c.relname::text from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
           and not exists (select from pg_inherits i where i.inhrelid = c.oid)",
    )
    .fetch_all(&world.owner)
    .await
    .unwrap()
    .into_iter()
    .collect();
    let guarded = guarded();
    assert_eq!(tables, guarded.keys().map(ToString::to_string).collect(), "every table of public is tried here");

    world.change(&format!("insert into credentials values ('{}', 'a hash')", scene.owner.id)).await;
    let before = world.digest().await;
    let mut seen_by_member = 0;
    for (table, Guarded { rows_of, forged }) in &guarded {
        let rows_of = rows_of(&scene);
        let met = async |person: &Person, sql: String| as_person(&world, person, &sql).await;
        let there = world.count(&format!("select count(*) from {table} where {rows_of}")).await;
        assert!(there > 0 || *table == "role_permissions", "{table}: there is nothing to be kept from a stranger");
        let none = |met: &Result<u64, String>| matches!(met, Ok(0)) || met.as_ref().is_err_and(|code| code == "42501");
        let seen = met(stranger, format!("select 1 from {table} where {rows_of}")).await;
        assert!(none(&seen), "{table}: a stranger's select met {seen:?}");
        let all = met(stranger, format!("select * from {table} where {rows_of}")).await;
        assert!(none(&all), "{table}: a stranger's select of all columns met {all:?}");
        let gone = met(stranger, format!("delete from {table} where {rows_of}")).await;
        assert!(none(&gone), "{table}: a stranger's delete met {gone:?}");
        let columns: Vec<String> = sqlx::query_scalar(
            "select attname::text from pg_attribute where attrelid = $1::text::regclass and attnum > 0 and not attisdropped
               and attgenerated = '' and attidentity = ''",
        )
        .bind(table)
        .fetch_all(&world.owner)
        .await
        .unwrap();
        for column in columns {
            let changed = met(stranger, format!("update {table} set {column} = {column} where {rows_of}")).await;
            assert!(none(&changed), "{table}.{column}: a stranger's update met {changed:?}");
        }
        let may_insert: bool = sqlx::query_scalar(
            "select has_table_privilege('millstream_app', $1::text::regclass, 'insert') or has_any_column_privilege('millstream_app', $1::text::regclass, 'insert')",
        )
        .bind(table)
        .fetch_one(&world.owner)
        .await
        .unwrap();
        assert_eq!(may_insert, forged.is_some(), "{table}: what may be inserted is tried here");
        if let Some(forged) = forged {
            let made = as_person(&world, stranger, &forged(&scene, stranger)).await;
            assert!(
                made.as_ref().is_err_and(|code| ["42501", "MS403", "MS404"].contains(&code.as_str())),
                "{table}: a stranger's insert met {made:?}"
            );
            let made = as_person(&world, &scene.owner, &forged(&scene, &scene.owner)).await;
            assert_eq!(made, Ok(1), "{table}: an owner's insert");
        }
        let by_member = met(&scene.owner, format!("select 1 from {table} where {rows_of}")).await;
        seen_by_member += usize::from(by_member.is_ok_and(|rows| rows > 0));
    }
    assert_eq!(world.digest().await, before);
    assert!(seen_by_member >= 9, "a member sees {seen_by_member} tables");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_a_person_sees_no_row_and_the_request_role_reads_no_secret() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut transaction = world.server.database.app.begin().await.unwrap();
    for table in [
        "profiles",
        "organizations",
        "memberships",
        "customers",
        "sales_orders",
        "sales_order_lines",
        "projects",
        "project_members",
        "project_orders",
    ] {
        let sql = AssertSqlSafe(format!("select count(*) from {table}"));
        let seen: i64 = sqlx::query_scalar(sql).fetch_one(&mut *transaction).await.unwrap();
        assert_eq!(seen, 0, "{table}");
    }
    transaction.rollback().await.unwrap();
    for secret in [
        "credentials",
        "sessions",
        "sequences",
        "realtime_table_events",
        "millstream.secrets",
        "millstream.horizon",
        "millstream.trash",
    ] {
        let met = as_person(&world, &scene.owner, &format!("select * from {secret}")).await;
        assert_eq!(met, Err("42501".to_owned()), "{secret}");
    }
    let met = as_person(&world, &scene.owner, "select token_hash from invitations").await;
    assert_eq!(met, Err("42501".to_owned()));
    for call in [
        "millstream.renew_epoch()",
        "millstream.make_live('customers')",
        "next_number(gen_random_uuid(), 'sales_order')",
        "millstream.take_from_trash(gen_random_uuid(), 'sales_orders', gen_random_uuid())",
        "millstream.put_back('customers', '[]')",
        "millstream.empty_trash()",
        "millstream.forget_mutations(90, 1)",
        "millstream.forget_sessions(1)",
        "millstream.keep_in_trash('customers')",
    ] {
        let met = as_person(&world, &scene.owner, &format!("select {call}")).await;
        assert!(met.is_err(), "{call}: {met:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answers_of_mutations_are_their_persons_own() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mutation = Uuid::now_v7();
    let request = json!({"organization": scene.organization, "mutation_id": mutation, "id": Uuid::now_v7(), "name": "Secret plan"});
    let first = world.post(Some(&scene.owner), "/api/projects/create", &request).await.ok();
    assert_eq!(as_person(&world, &scene.colleague, "select 1 from millstream.mutations").await, Ok(0));
    assert_eq!(as_person(&world, &scene.owner, "select 1 from millstream.mutations").await, Ok(1));
    // The same id from somebody else is a mutation of their own.
    let elsewhere = world.scene().await;
    let stolen = world.post(Some(&elsewhere.owner), "/api/projects/create", &request).await;
    assert_eq!(stolen.status, 404, "{}", stolen.text);
    let contains = |body: &Value| body["contains"].as_array().unwrap().len();
    let read = async |scene: &Scene, person: &Person| {
        let query = [
            ("organization".to_owned(), scene.organization.to_string()),
            ("pending[0]".to_owned(), mutation.to_string()),
        ];
        contains(&world.get(Some(person), "/api/projects/list", &query).await.ok())
    };
    assert_eq!(read(&scene, &scene.owner).await, 1);
    assert_eq!(read(&scene, &scene.colleague).await, 0);
    assert_eq!(read(&elsewhere, &elsewhere.owner).await, 0);
    assert!(first["xid"].is_u64());
    world.stop().await;
}
