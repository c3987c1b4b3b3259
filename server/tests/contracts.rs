//! What integrators rely on: mutations happen once and answer the same, reads say what they contain, and every error is
//! an error of ours with its status.

#![allow(clippy::unwrap_used)]

mod support;

use millstream::snapshot::Xid;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use support::chance;
use support::endpoints::{Endpoint, Names, Scope, endpoints, with, without};
use support::world::{Answer, World, stamp_of, xid_of};
use uuid::Uuid;

fn error(answer: &Answer) -> (u16, &str) {
    let error = &answer.body["error"];
    assert!(error["message"].as_str().is_some_and(|message| message.len() > 5), "{} {}", answer.status, answer.text);
    assert!(error["fields"].is_object(), "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/json", "{}", answer.text);
    (answer.status, error["kind"].as_str().unwrap_or_default())
}

fn mutations() -> Vec<Endpoint> {
    endpoints()
        .into_iter()
        .filter(|endpoint| endpoint.scope == Scope::Organization && endpoint.method == "POST")
        .collect()
}

/// A change's events, the echo of the answer's own bookkeeping left out.
async fn events_of(world: &World, mutation: &Value) -> Vec<String> {
    sqlx::query_scalar("select xid::text from realtime_table_events where mutation_id = $1::uuid order by id")
        .bind(mutation.as_str().unwrap().parse::<Uuid>().unwrap())
        .fetch_all(&world.owner)
        .await
        .unwrap()
}

// ---------------------------------------------------------------------------------------------- mutations

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mutation_sent_twice_at_once_happens_once_and_answers_the_same_ever_after() {
    let world = World::new().await;
    for endpoint in mutations() {
        let path = endpoint.path;
        let scene = world.scene().await;
        let request = (endpoint.request)(&scene);
        let send = || endpoint.send(&world, Some(&scene.owner), &request);
        let (first, second, third) = tokio::join!(send(), send(), send());
        let later = send().await;
        let first = first.ok();
        for (which, answer) in [("at once", second), ("at once", third), ("later", later)] {
            assert_eq!(answer.status, 200, "{path} {which}: {}", answer.text);
            assert_eq!(answer.body, first, "{path} {which}");
        }
        let xids: BTreeSet<_> = events_of(&world, &request["mutation_id"]).await.into_iter().collect();
        assert_eq!(xids, BTreeSet::from([xid_of(&first).0.to_string()]), "{path}: one transaction, the one it answers");
        assert!(stamp_of(&first).snapshot.sees(xid_of(&first)), "{path}: its data were read after the commit");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mutation_id_is_good_for_one_mutation() {
    let world = World::new().await;
    let scene = world.scene().await;
    let request =
        json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "id": Uuid::now_v7(), "name": "One"});
    world.post(Some(&scene.owner), "/api/projects/create", &request).await.ok();
    let before = world.digest().await;
    for (path, other) in [
        ("/api/projects/create", with(&request, "name", json!("Two"))),
        ("/api/projects/create", with(&request, "id", json!(Uuid::now_v7()))),
        (
            "/api/orders/delete",
            json!({"organization": scene.organization, "mutation_id": request["mutation_id"], "id": scene.order}),
        ),
    ] {
        let answer = world.post(Some(&scene.owner), path, &other).await;
        assert_eq!(error(&answer), (409, "conflict"), "{}", answer.text);
        assert!(answer.body["error"]["fields"]["mutation_id"].is_string(), "{}", answer.text);
    }
    assert_eq!(world.digest().await, before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_final_and_trying_again_is_another_mutation() {
    let world = World::new().await;
    let scene = world.scene().await;
    let id = Uuid::now_v7();
    let request = json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "project_id": id, "order_id": scene.order});
    let send = async |request: &Value| world.post(Some(&scene.owner), "/api/projects/add_order", request).await;
    let refused = send(&request).await;
    assert_eq!(error(&refused), (404, "not_found"));
    let create = json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "id": id, "name": "Late"});
    world.post(Some(&scene.owner), "/api/projects/create", &create).await.ok();
    let repeated = send(&request).await;
    assert_eq!((repeated.status, &repeated.body), (404, &refused.body), "what would go through now was refused");
    let other = send(&with(&request, "order_id", json!(scene.other_order))).await;
    assert_eq!(error(&other), (409, "conflict"), "the id is used up: {}", other.text);
    send(&with(&request, "mutation_id", json!(Uuid::now_v7()))).await.ok();
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_is_told_to_every_sending_with_the_row_as_it_was() {
    let world = World::new().await;
    let scene = world.scene().await;
    let request = json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "id": scene.order,
        "changes": {"title": {"from": "Never so", "to": "Mine"}}});
    let send = async || world.post(Some(&scene.owner), "/api/orders/update", &request).await;
    let (one, two) = tokio::join!(send(), send());
    assert_eq!((one.status, &one.body), (409, &two.body));
    assert_eq!(one.body["current"]["title"], "An order");
    world.change(&format!("update sales_orders set title = 'Never so' where id = '{}'", scene.order)).await;
    assert_eq!(send().await.body, one.body);
    // A read does not say that it contains what was refused.
    let query = [
        ("organization".to_owned(), scene.organization.to_string()),
        ("id".to_owned(), scene.order.to_string()),
        ("pending[0]".to_owned(), request["mutation_id"].as_str().unwrap().to_owned()),
    ];
    let read = world.get(Some(&scene.owner), "/api/orders/get", &query).await.ok();
    assert_eq!((&read["contains"], &read["data"]["title"]), (&json!([]), &json!("Never so")));
    world.stop().await;
}

/// A row that somebody else holds for too long: nobody has been told anything final.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_in_passing_is_no_refusal() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut holding = world.owner.begin().await.unwrap();
    let lock = "select from sales_orders where id = $1 for update";
    sqlx::query(lock).bind(scene.order).execute(&mut *holding).await.unwrap();
    let request = json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "id": scene.order,
        "changes": {"title": {"from": "An order", "to": "Mine"}}});
    let send = async || world.post(Some(&scene.owner), "/api/orders/update", &request).await;
    assert_eq!(error(&send().await), (503, "unreachable"));
    holding.rollback().await.unwrap();
    send().await.ok();
    world.stop().await;
}

/// Another sending holds the mutation's row when this one is refused: its answer stands for both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_sending_is_carried_out_or_refused_first_answers_for_all() {
    let world = World::new().await;
    let scene = world.scene().await;
    for _ in 0..5 {
        let id = Uuid::now_v7();
        let create =
            json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "id": id, "name": "Late"});
        let request = json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "project_id": id, "order_id": scene.order});
        let send = || world.post(Some(&scene.owner), "/api/projects/add_order", &request);
        let create = world.post(Some(&scene.owner), "/api/projects/create", &create);
        let (one, two, _, three, four) = tokio::join!(send(), send(), create, send(), send());
        let last = send().await;
        for answer in [one, two, three, four] {
            assert_eq!((answer.status, answer.body), (last.status, last.body.clone()));
        }
        let orders = world.count(&format!("select count(*) from project_orders where project_id = '{id}'")).await;
        assert_eq!(orders, i64::from(last.status == 200), "{}", last.text);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mutation_that_changes_nothing_has_no_xid_and_writes_no_event() {
    let world = World::new().await;
    let scene = world.scene().await;
    let base = json!({"organization": scene.organization});
    for (path, more) in [
        (
            "/api/orders/update",
            json!({"id": scene.order, "changes": {"title": {"from": "Whatever", "to": "An order"}}}),
        ),
        ("/api/orders/update", json!({"id": scene.order, "changes": {}})),
        (
            "/api/orders/update_line",
            json!({"order_id": scene.order, "id": scene.line, "changes": {"quantity": {"from": 1, "to": 1}}}),
        ),
        (
            "/api/projects/update",
            json!({"id": scene.project, "changes": {"name": {"from": "A project", "to": "A project"}}}),
        ),
        ("/api/projects/update", json!({"id": scene.project, "changes": {"archived": {"from": true, "to": false}}})),
        ("/api/orders/restore", json!({"id": scene.order})),
        ("/api/projects/restore", json!({"id": scene.project})),
        ("/api/projects/add_member", json!({"project_id": scene.project, "person_id": scene.colleague.id})),
        ("/api/projects/remove_member", json!({"project_id": scene.project, "person_id": scene.other.id})),
        ("/api/projects/add_order", json!({"project_id": scene.project, "order_id": scene.order})),
        ("/api/projects/remove_order", json!({"project_id": scene.project, "order_id": scene.other_order})),
        ("/api/organizations/set_role", json!({"person_id": scene.other.id, "role": "viewer"})),
    ] {
        let mut request = base.clone();
        request["mutation_id"] = json!(Uuid::now_v7());
        more.as_object().unwrap().iter().for_each(|(name, value)| request[name] = value.clone());
        let answer = world.post(Some(&scene.owner), path, &request).await.ok();
        assert_eq!(answer["xid"], Value::Null, "{path}");
        assert_eq!(events_of(&world, &request["mutation_id"]).await, Vec::<String>::new(), "{path}");
        assert_eq!(world.post(Some(&scene.owner), path, &request).await.ok(), answer, "{path} again");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_merges_with_other_fields_and_refuses_the_same_with_the_row_as_it_is() {
    let world = World::new().await;
    let scene = world.scene().await;
    let update = async |changes: Value| {
        let request = json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "id": scene.order, "changes": changes});
        world.post(Some(&scene.owner), "/api/orders/update", &request).await
    };
    update(json!({"title": {"from": "An order", "to": "Mine"}})).await.ok();
    let merged = update(json!({"status": {"from": "draft", "to": "released"}})).await.ok();
    assert_eq!((&merged["data"]["title"], &merged["data"]["status"]), (&json!("Mine"), &json!("released")));
    let before = world.digest().await;
    let late =
        update(json!({"title": {"from": "An order", "to": "Theirs"}, "due_on": {"from": null, "to": "2030-01-01"}}))
            .await;
    assert_eq!(error(&late), (409, "conflict"));
    assert_eq!(late.body["current"]["title"], "Mine");
    assert_eq!(late.body["error"]["fields"].as_object().unwrap().keys().collect::<Vec<_>>(), ["title"]);
    assert_eq!(world.digest().await, before, "also of the other field nothing is written");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_says_which_pending_mutations_it_contains_exactly() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut chance = chance();
    let (mut with_it, mut without_it) = (0, 0);
    for round in 0..60 {
        let (id, mutation) = (Uuid::now_v7(), Uuid::now_v7());
        let request = json!({"organization": scene.organization, "mutation_id": mutation, "id": id, "name": format!("Plan {round}")});
        let query = [
            ("organization".to_owned(), scene.organization.to_string()),
            ("pending[0]".to_owned(), mutation.to_string()),
            ("pending[1]".to_owned(), Uuid::now_v7().to_string()),
        ];
        let read = || world.get(Some(&scene.owner), "/api/projects/list", &query);
        assert_eq!(read().await.ok()["contains"], json!([]));
        let pauses = [chance.u64(0..8_000), chance.u64(0..20_000)];
        let (written, one, two) = tokio::join!(
            world.post(Some(&scene.owner), "/api/projects/create", &request),
            async {
                tokio::time::sleep(Duration::from_micros(pauses[0])).await;
                read().await.ok()
            },
            async {
                tokio::time::sleep(Duration::from_micros(pauses[1])).await;
                read().await.ok()
            },
        );
        let xid: Xid = xid_of(&written.ok());
        let after = read().await.ok();
        assert_eq!(after["contains"], json!([mutation]));
        for answer in [one, two, after] {
            let sees = stamp_of(&answer).snapshot.sees(xid);
            let holds = answer["data"].as_array().unwrap().iter().any(|project| project["id"] == json!(id));
            let names = answer["contains"] == json!([mutation]);
            assert_eq!((names, holds), (sees, sees), "{xid:?} in {}", answer["snapshot"]);
            if sees { with_it += 1 } else { without_it += 1 }
        }
    }
    println!("{with_it} reads with the mutation, {without_it} before it");
    assert!(with_it > 60 && without_it > 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absence_carries_its_stamp() {
    let world = World::new().await;
    let scene = world.scene().await;
    let query =
        [("organization".to_owned(), scene.organization.to_string()), ("id".to_owned(), Uuid::now_v7().to_string())];
    for path in ["/api/orders/get", "/api/projects/get"] {
        let answer = world.get(Some(&scene.owner), path, &query).await;
        assert_eq!(error(&answer), (404, "not_found"));
        assert_eq!(answer.stamp().epoch, world.stamp().await.epoch);
    }
    world.stop().await;
}

// ---------------------------------------------------------------------------------------------- errors

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mutation_refuses_missing_overlong_malformed_and_foreign_values_by_name_and_changes_nothing() {
    let world = World::new().await;
    let (scene, elsewhere) = (world.scene().await, world.scene().await);
    let before = world.digest().await;
    let (mut tried, mut wrong) = (0, Vec::new());
    for endpoint in mutations() {
        let path = endpoint.path;
        let request = (endpoint.request)(&scene);
        for (field, value) in request.as_object().unwrap() {
            let mut cases = vec![
                ("missing", without(&request, field), 400),
                ("null", with(&request, field, Value::Null), 400),
                ("of another type", with(&request, field, json!([[]])), 400),
            ];
            if value.as_str().is_some_and(|text| text.parse::<Uuid>().is_ok()) {
                cases.push(("malformed", with(&request, field, json!("not-an-id")), 400));
                cases.push(("cut", with(&request, field, json!(value.as_str().unwrap()[..35])), 400));
                if !["mutation_id", "organization"].contains(&field.as_str()) {
                    let foreign = match (path, field.as_str()) {
                        (_, "customer_id") => elsewhere.customer,
                        (_, "person_id") => elsewhere.owner.id,
                        (_, "project_id") => elsewhere.project,
                        (_, "order_id") => elsewhere.order,
                        ("/api/orders/add_line" | "/api/orders/update_line" | "/api/orders/remove_line", "id") => {
                            elsewhere.line
                        }
                        ("/api/orders/restore", "id") => elsewhere.deleted_order,
                        ("/api/projects/restore", "id") => elsewhere.deleted_project,
                        (path, "id") if path.starts_with("/api/orders") => elsewhere.order,
                        _ => elsewhere.project,
                    };
                    // What a removal finds absent has a test of its own.
                    let is_removal = field != "project_id" && path.starts_with("/api/projects/remove_");
                    if !is_removal {
                        cases.push(("foreign", with(&request, field, json!(foreign)), 0));
                        cases.push(("unknown", with(&request, field, json!(Uuid::now_v7())), 0));
                    }
                }
            } else if ["title", "name", "description"].contains(&field.as_str()) {
                cases.push(("overlong", with(&request, field, json!("x".repeat(501))), 422));
                cases.push(("empty", with(&request, field, json!("")), 422));
                cases.push(("blank", with(&request, field, json!("  \n ")), 422));
                cases.push(("unstorable", with(&request, field, json!("a\u{0}b")), 422));
            } else if field == "role" {
                cases.push(("unknown", with(&request, field, json!("king")), 400));
                cases.push(("without its customer", with(&request, field, json!("buyer")), 422));
            } else if field == "quantity" {
                for quantity in [0, -1, 1_000_001] {
                    cases.push(("out of bounds", with(&request, field, json!(quantity)), 422));
                }
                cases.push(("fractional", with(&request, field, json!(1.5)), 400));
            } else if field == "changes" {
                cases.push((
                    "of an unknown field",
                    with(&request, field, json!({"colour": {"from": "red", "to": "blue"}})),
                    400,
                ));
                cases.push(("without from", with(&request, field, json!({"title": {"to": "x"}})), 400));
            }
            for (what, spoilt, expected) in cases {
                if endpoint.path.ends_with("/create") || endpoint.path.ends_with("/add_line") {
                    // Its own new id is the client's to choose: any that is free will do.
                    if field == "id" && what == "unknown" {
                        continue;
                    }
                }
                tried += 1;
                let is_fresh = field != "mutation_id";
                let spoilt = if is_fresh { with(&spoilt, "mutation_id", json!(Uuid::now_v7())) } else { spoilt };
                let answer = endpoint.send(&world, Some(&scene.owner), &spoilt).await;
                let is_right = match expected {
                    0 => [404, 409, 422].contains(&answer.status),
                    expected => answer.status == expected,
                };
                if !is_right {
                    wrong.push(format!("{path}, {field} {what}: {} {}", answer.status, answer.text));
                    continue;
                }
                error(&answer);
                let has_to_be_named =
                    ["missing", "overlong", "empty", "blank", "unstorable", "out of bounds"].contains(&what);
                if has_to_be_named && answer.body["error"]["fields"].get(field).is_none() {
                    wrong.push(format!("{path}, {field} {what} is not named: {}", answer.text));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(tried > 150, "{tried}");
    let after = world.digest().await;
    let changed: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
    assert!(changed.is_empty(), "{changed:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taking_off_a_project_what_the_organization_does_not_have_is_refused() {
    let world = World::new().await;
    let (scene, elsewhere) = (world.scene().await, world.scene().await);
    let mut wrong = Vec::new();
    for (path, field, ids) in [
        ("/api/projects/remove_member", "person_id", [elsewhere.owner.id, Uuid::now_v7()]),
        ("/api/projects/remove_order", "order_id", [elsewhere.order, Uuid::now_v7()]),
    ] {
        for id in ids {
            let mut request =
                json!({"organization": scene.organization, "mutation_id": Uuid::now_v7(), "project_id": scene.project});
            request[field] = json!(id);
            let answer = world.post(Some(&scene.owner), path, &request).await;
            if ![404, 422].contains(&answer.status) {
                wrong.push(format!("{path}: {} {}", answer.status, answer.text));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_read_refuses_malformed_values_by_name() {
    let world = World::new().await;
    let scene = world.scene().await;
    for endpoint in
        endpoints().iter().filter(|endpoint| endpoint.scope == Scope::Organization && endpoint.method == "GET")
    {
        let path = endpoint.path;
        let request = (endpoint.request)(&scene);
        for field in request.as_object().unwrap().keys() {
            let missing = endpoint.send(&world, Some(&scene.owner), &without(&request, field)).await;
            assert_eq!(error(&missing).0, 400, "{path} without {field}: {}", missing.text);
            let malformed = endpoint.send(&world, Some(&scene.owner), &with(&request, field, json!("x"))).await;
            assert_eq!(error(&malformed).0, 400, "{path} with a malformed {field}: {}", malformed.text);
        }
        assert!(endpoint.names == Names::Nothing || request["id"].is_string());
    }
    let mut wrong = Vec::new();
    for (name, value, status) in [
        ("status", "lost", 400),
        ("sort", "best", 400),
        ("customer_id", "x", 400),
        ("after", "x", 422),
        ("until", "1_x", 422),
        ("after", "2024-99-99T00:00:00_00000000-0000-0000-0000-000000000000", 422),
        ("after", "-_00000000-0000-0000-0000-000000000000", 422),
    ] {
        let query = [("organization".to_owned(), scene.organization.to_string()), (name.to_owned(), value.to_owned())];
        let answer = world.get(Some(&scene.owner), "/api/orders/list", &query).await;
        if error(&answer).0 != status {
            wrong.push(format!("{name}={value}: {} {}", answer.status, answer.text));
        }
    }
    let archived =
        [("organization".to_owned(), scene.organization.to_string()), ("archived".to_owned(), "maybe".to_owned())];
    let answer = world.get(Some(&scene.owner), "/api/projects/list", &archived).await;
    if error(&answer).0 != 400 {
        wrong.push(format!("archived=maybe: {} {}", answer.status, answer.text));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_of_ours_is_refused_in_our_words() {
    let world = World::new().await;
    let scene = world.scene().await;
    let url = |path: &str| format!("{}{path}", world.base);
    let owner = Some(&scene.owner);
    let json_to =
        |path: &str, body: String| world.http.post(url(path)).header("content-type", "application/json").body(body);

    for path in ["/api", "/api/", "/api/nothing", "/api/orders", "/api/orders/list/more", "/api/../api/orders/none"] {
        assert_eq!(error(&world.get(owner, path, &[]).await), (404, "not_found"), "{path}");
        assert_eq!(error(&world.post(owner, path, &json!({})).await), (404, "not_found"), "{path}");
    }
    let wrong_method = world.get(owner, "/api/orders/create", &[]).await;
    assert_eq!(error(&wrong_method), (405, "malformed"));
    assert_eq!(wrong_method.headers["allow"], "POST");
    for body in ["", "{", "null", "[]", "\"x\"", "{\"organization\":1}"] {
        let answer = world.send(owner, json_to("/api/orders/create", body.to_owned())).await;
        assert_eq!(error(&answer), (400, "malformed"), "{body}: {}", answer.text);
    }
    let bytes = world
        .http
        .post(url("/api/orders/create"))
        .header("content-type", "application/json")
        .body(vec![b'"', 0xff, b'"']);
    assert_eq!(error(&world.send(owner, bytes).await), (400, "malformed"));
    for (name, value) in [("origin", "https://evil.test"), ("sec-fetch-site", "cross-site")] {
        let request =
            (endpoints().into_iter().find(|endpoint| endpoint.path == "/api/orders/delete").unwrap().request)(&scene);
        let forged = world.http.post(url("/api/orders/delete")).json(&request).header(name, value);
        assert_eq!(error(&world.send(owner, forged).await), (403, "forbidden"), "{name}: {value}");
    }
    assert_eq!(world.count(&format!("select count(*) from sales_orders where id = '{}'", scene.order)).await, 1);
    world.stop().await;
}

/// A client that is cut off while it still sends has no answer, takes the server for unreachable and tries again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_large_is_answered_and_not_just_cut_off() {
    let world = World::new().await;
    let scene = world.scene().await;
    let mut cut = Vec::new();
    let attempts = 60;
    for _ in 0..attempts {
        let body = format!("{{\"title\":\"{}\"}}", "x".repeat(300 * 1024));
        let request =
            world.http.post(format!("{}/api/orders/create", world.base)).header("cookie", scene.owner.cookie());
        match request.header("content-type", "application/json").body(body).send().await {
            Ok(response) => assert_eq!(error(&Answer::of(response).await), (413, "too_large")),
            Err(why) => cut.push(format!("{why:?}")),
        }
    }
    assert!(cut.is_empty(), "{} of {attempts} had no answer, the first: {}", cut.len(), cut[0]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_twenty_first_sign_in_of_an_address_in_a_minute_is_refused() {
    let world = World::new().await;
    // Too long to be hashed, so that this is quick; what is counted is the attempt.
    let wrong = json!({"email": "nobody@millstream.test", "password": "x".repeat(1001)});
    let sign_in = async |address: &str| {
        let request = world
            .http
            .post(format!("{}/api/session/sign_in", world.base))
            .json(&wrong)
            .header("x-forwarded-for", address);
        world.send(None, request).await
    };
    for attempt in 1..=20 {
        assert_eq!(error(&sign_in("192.0.2.1").await), (401, "unauthenticated"), "attempt {attempt}");
    }
    let refused = sign_in("192.0.2.1").await;
    assert_eq!(error(&refused), (429, "too_many"));
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=3).contains(&wait), "{wait}");
    assert_eq!(sign_in("192.0.2.2").await.status, 401, "another address");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_up_in_and_out_makes_and_ends_a_session() {
    let world = World::new().await;
    let account = json!({"name": "Zoe", "email": "Zoe@Millstream.test", "password": "zoes-long-password"});
    let up = world.post(None, "/api/session/sign_up", &account).await;
    let cookie = |answer: &Answer| answer.headers["set-cookie"].to_str().unwrap().to_owned();
    assert_eq!(up.status, 200, "{}", up.text);
    assert!(cookie(&up).contains("HttpOnly") && cookie(&up).contains("SameSite=Lax"), "{}", cookie(&up));
    let again = world.post(None, "/api/session/sign_up", &account).await;
    assert_eq!(error(&again), (409, "conflict"));
    assert!(again.body["error"]["fields"]["email"].is_string());
    for (field, value) in [("name", " "), ("email", "nowhere"), ("password", "short")] {
        let answer = world.post(None, "/api/session/sign_up", &with(&account, field, json!(value))).await;
        assert_eq!(error(&answer), (422, "invalid"));
        assert!(answer.body["error"]["fields"][field].is_string(), "{}", answer.text);
    }
    let wrong = world
        .post(None, "/api/session/sign_in", &json!({"email": "zoe@millstream.test", "password": "zoes-wrong-password"}))
        .await;
    assert_eq!(error(&wrong), (401, "unauthenticated"));
    let into = world
        .post(
            None,
            "/api/session/sign_in",
            &json!({"email": " zoe@millstream.TEST ", "password": "zoes-long-password"}),
        )
        .await;
    let set = cookie(&into);
    let token = set.split(['=', ';']).nth(1).unwrap().to_owned();
    assert_eq!(into.body["name"], "Zoe");
    let zoe = support::world::Person {
        id: into.body["id"].as_str().unwrap().parse().unwrap(),
        name: "Zoe".into(),
        email: String::new(),
        token,
    };
    assert_eq!(world.get(Some(&zoe), "/api/session/me", &[]).await.status, 200);
    let out = world.post(Some(&zoe), "/api/session/sign_out", &json!({})).await;
    assert!(cookie(&out).contains("Max-Age=0"));
    assert_eq!(error(&world.get(Some(&zoe), "/api/session/me", &[]).await), (401, "unauthenticated"));
    world.stop().await;
}

// ---------------------------------------------------------------------------------------------- operators

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_database_lacks_a_migration_is_not_ready_and_names_it() {
    let world = World::new().await;
    let ready = world.get(None, "/readyz", &[]).await;
    assert_eq!((ready.status, &ready.body["missing_migrations"]), (200, &json!([])), "{}", ready.text);
    let newest: i64 = sqlx::query_scalar("update _sqlx_migrations set success = false where version = (select max(version) from _sqlx_migrations) returning version")
        .fetch_one(&world.owner)
        .await
        .unwrap();
    let ready = world.get(None, "/readyz", &[]).await;
    assert_eq!((ready.status, &ready.body["missing_migrations"]), (503, &json!([newest])), "{}", ready.text);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_one_person_does_nothing_as_another_who_has_signed_in_since() {
    let world = World::new().await;
    let scene = world.scene().await;
    let endpoint = endpoints().into_iter().find(|endpoint| endpoint.path == "/api/orders/delete").unwrap();
    let request = (endpoint.request)(&scene);
    let deleting = |named: Uuid| {
        let url = format!("{}/api/orders/delete", world.base);
        world.http.post(url).json(&request).header("x-millstream-person", named.to_string())
    };
    let refused = world.send(Some(&scene.owner), deleting(Uuid::now_v7())).await;
    assert_eq!(error(&refused), (401, "unauthenticated"));
    assert_eq!(world.count(&format!("select count(*) from sales_orders where id = '{}'", scene.order)).await, 1);
    world.send(Some(&scene.owner), deleting(scene.owner.id)).await.ok();
    world.stop().await;
}
