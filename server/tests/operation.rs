//! What operators see: requests have names, faults can be found again, and what is counted is told.

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::json;
use support::world::{Answer, Person, World};
use uuid::Uuid;

async fn orders(world: &World, person: &Person, organization: Uuid, name: Option<&str>) -> Answer {
    let request = world.http.get(format!("{}/api/orders/list?organization={organization}", world.base));
    let request = match name {
        Some(name) => request.header("x-request-id", name),
        None => request,
    };
    world.send(Some(person), request).await
}

fn name_of(answer: &Answer) -> &str {
    answer.headers["x-request-id"].to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_names_its_request_and_a_fault_says_the_name_to_the_person() {
    let world = World::new().await;
    let scene = world.scene().await;
    let first = orders(&world, &scene.owner, scene.organization, None).await;
    let second = orders(&world, &scene.owner, scene.organization, None).await;
    assert_eq!((first.status, second.status), (200, 200));
    assert_ne!(name_of(&first), name_of(&second));
    let through_a_proxy = orders(&world, &scene.owner, scene.organization, Some("edge-17")).await;
    assert_eq!(name_of(&through_a_proxy), "edge-17");
    let refused = orders(&world, &scene.owner, Uuid::now_v7(), None).await;
    assert!(!refused.text.contains(name_of(&refused)), "what is nobody's fault needs no looking up");

    world.change("alter function millstream.may(uuid, text, text) rename to may_not").await;
    let fault = orders(&world, &scene.owner, scene.organization, None).await;
    assert_eq!(fault.status, 500);
    let message = fault.body["error"]["message"].as_str().unwrap();
    assert!(message.ends_with(&format!("(Reference: {})", name_of(&fault))), "{message}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_tell_what_requests_took_and_no_secret_of_an_address() {
    let world = World::new().await;
    let scene = world.scene().await;
    orders(&world, &scene.owner, scene.organization, None).await;
    orders(&world, &scene.owner, Uuid::now_v7(), None).await;
    let call = json!({"function": "orders/update", "arguments": {"mutation_id": Uuid::now_v7()}});
    world.post(Some(&scene.owner), "/api/batch", &json!({"calls": [call]})).await.ok();
    for path in ["/join/SECRET", "/api/nothing/SECRET", "/SECRET"] {
        world.get(None, path, &[]).await;
    }
    let metrics = world.get(None, "/metrics", &[]).await;
    assert!(metrics.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let text = metrics.text;
    for line in [
        r#"millstream_request_seconds_count{route="/api/orders/list",status="200"} 1"#,
        r#"millstream_request_seconds_count{route="/api/orders/list",status="404"} 1"#,
        r#"millstream_request_seconds_count{route="/api/batch",status="200"} 1"#,
        r#"millstream_request_seconds_count{route="/api/orders/update",status="400"} 1"#,
        r#"millstream_refusals_total{status="400"} 1"#,
        "millstream_live_refusals_total 0",
        "# TYPE millstream_feed_step_seconds histogram",
        "# TYPE millstream_change_to_frame_seconds histogram",
        "millstream_connections 0.0",
        "# TYPE millstream_events counter",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} in {text}");
    }
    assert!(text.contains("millstream_events_total ") && text.contains("process_start_time_seconds "), "{text}");
    assert!(!text.contains("SECRET"), "{text}");
    assert!(text.ends_with("# EOF\n"));
    world.stop().await;
}
