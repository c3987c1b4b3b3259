//! Traces as a collector gets them: by OTLP over HTTP, in protobuf, from the program itself.

#![allow(clippy::unwrap_used)]

mod support;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Told;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use support::cluster::cluster;
use support::program::Program;
use support::world::{World, start_over};
use support::{BOUND, until};
use tokio::net::TcpListener;
use uuid::Uuid;

/// All that came, as it came.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Bytes>>>);

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> Vec<u8> {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    collector.0.lock().unwrap().push(body);
    ExportTraceServiceResponse::default().encode_to_vec()
}

impl Collector {
    async fn begin() -> (String, Self) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        (url, collector)
    }

    /// The spans, and the name of whose they are.
    fn spans(&self) -> Vec<(String, Span)> {
        let mut spans = Vec::new();
        for body in self.0.lock().unwrap().iter() {
            for of_resource in ExportTraceServiceRequest::decode(body.clone()).unwrap().resource_spans {
                let resource = of_resource.resource.unwrap();
                let service = resource.attributes.iter().find(|attribute| attribute.key == "service.name").unwrap();
                let Some(Told::StringValue(service)) = service.value.clone().unwrap().value else { panic!("no name") };
                for of_scope in of_resource.scope_spans {
                    spans.extend(of_scope.spans.into_iter().map(|span| (service.clone(), span)));
                }
            }
        }
        spans
    }

    fn heard(&self, text: &str) -> bool {
        let bodies = self.0.lock().unwrap();
        bodies.iter().any(|body| body.windows(text.len()).any(|part| part == text.as_bytes()))
    }
}

fn told(span: &Span, name: &str) -> Option<Told> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == name)?;
    attribute.value.clone()?.value
}

fn text(span: &Span, name: &str) -> String {
    match told(span, name) {
        Some(Told::StringValue(text)) => text,
        other => panic!("{name} is {other:?} in {span:?}"),
    }
}

fn number(span: &Span, name: &str) -> i64 {
    match told(span, name) {
        Some(Told::IntValue(number)) => number,
        other => panic!("{name} is {other:?} in {span:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_is_sent_requests_their_mutations_and_the_feeds_steps_and_nothing_that_they_say() {
    let url = cluster().await.database().await;
    let world = World::over(start_over(&url).await.unwrap_or_else(|why| panic!("{}", why.sentence()))).await;
    let scene = world.scene().await;
    let (collector_url, collector) = Collector::begin().await;
    let mut program = Program::start_over_with(&url, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector_url)]);
    let mutation = Uuid::now_v7();
    let body = json!({
        "organization": scene.organization, "id": scene.order, "mutation_id": mutation,
        "changes": {"title": {"from": "An order", "to": "Geheimauftrag"}},
    });
    let request = |path: &str| world.http.post(format!("http://{}{path}", program.addr)).json(&body);
    let written = world.send(Some(&scene.owner), request("/api/orders/update")).await;
    let name = written.headers["x-request-id"].to_str().unwrap().to_owned();
    let xid = written.ok()["xid"].as_i64().unwrap();
    // An address with a secret in it, and a faulty one.
    world.http.get(format!("http://{}/join/Geheimwort?x=Geheimfrage", program.addr)).send().await.unwrap();
    world.change("alter function millstream.may(uuid, text, text) rename to may_not").await;
    let list = format!("http://{}/api/orders/list?organization={}", program.addr, scene.organization);
    let fault = world.send(Some(&scene.owner), world.http.get(list)).await;
    assert_eq!(fault.status, 500);
    world.change("alter function millstream.may_not(uuid, text, text) rename to may").await;

    let ended = tokio::task::spawn_blocking(move || program.end(Signal::SIGTERM)).await.unwrap();
    assert_eq!(ended, Some(0));
    let spans = collector.spans();
    assert!(spans.iter().all(|(service, _)| service == "millstream"));
    let named = |name: &str| -> Vec<&Span> {
        let found: Vec<_> = spans.iter().map(|(_, span)| span).filter(|span| span.name == name).collect();
        assert!(
            !found.is_empty(),
            "no {name} among {:?}",
            spans.iter().map(|(_, span)| &span.name).collect::<Vec<_>>()
        );
        found
    };

    let request = named("POST /api/orders/update")[0];
    assert_eq!(request.kind, i32::from(SpanKind::Server));
    assert_eq!(text(request, "millstream.request.id"), name);
    assert_eq!(text(request, "http.route"), "/api/orders/update");
    assert_eq!(number(request, "http.response.status_code"), 200);
    let write = named("mutation")[0];
    assert_eq!((&write.parent_span_id, &write.trace_id), (&request.span_id, &request.trace_id));
    assert_eq!((text(write, "id"), number(write, "xid")), (mutation.to_string(), xid));
    assert!(request.start_time_unix_nano <= write.start_time_unix_nano);
    assert!(write.end_time_unix_nano <= request.end_time_unix_nano);

    let steps = named("feed step");
    let is_of_change =
        |step: &&&Span| number(step, "millstream.feed.events") > 0 && number(step, "millstream.feed.xmax") > xid;
    let step = steps.iter().find(is_of_change).unwrap_or_else(|| panic!("{steps:?}"));
    assert!(step.end_time_unix_nano > step.start_time_unix_nano);

    const ERROR: i32 = 2;
    let fault = named("GET /api/orders/list")[0];
    assert_eq!((number(fault, "http.response.status_code"), fault.status.as_ref().unwrap().code), (500, ERROR));
    assert!(spans.iter().all(|(_, span)| span.events.is_empty()), "what the log says is not sent");
    assert_eq!(text(named("GET /join/{token}")[0], "http.route"), "/join/{token}", "the pattern of the page");
    for secret in ["Geheim", scene.owner.token.as_str(), scene.owner.email.as_str(), "An order", "may_not"] {
        assert!(!collector.heard(secret), "{secret} was sent");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_or_never_answers_keeps_nobody_waiting() {
    let url = cluster().await.database().await;
    let world = World::over(start_over(&url).await.unwrap_or_else(|why| panic!("{}", why.sentence()))).await;
    let scene = world.scene().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for collector in [silent.local_addr().unwrap(), away] {
        let collector = format!("http://{collector}");
        let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "1")];
        let mut program = Program::start_over_with(&url, &settings);
        let list = format!("http://{}/api/orders/list?organization={}", program.addr, scene.organization);
        until("many answers", async || {
            for _ in 0..50 {
                world.send(Some(&scene.owner), world.http.get(&list)).await.ok();
            }
            Some(())
        })
        .await;
        let began = Instant::now();
        let ended = tokio::task::spawn_blocking(move || program.end(Signal::SIGTERM)).await.unwrap();
        assert_eq!(ended, Some(0));
        assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    }
    world.stop().await;
}
