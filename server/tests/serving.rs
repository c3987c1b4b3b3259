//! Who sends slowly, sends nothing more or takes nothing is let go; whoever does neither is served to the end.

#![allow(clippy::unwrap_used)]

mod support;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::routing::get;
use server::serving::{Bounds, serve};
use server::shutdown::Shutdown;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::BOUND;
use support::socket::Socket;
use support::world::World;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const SHORT: Duration = Duration::from_millis(300);
/// All the time in the world.
const LONG: Bounds = Bounds { head: BOUND, body: BOUND, take: BOUND };

struct Served {
    addr: SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

async fn served(router: Router, bounds: Bounds) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (shutdown, stopping) = Shutdown::new();
    let task = tokio::spawn(serve(listener, router, bounds, stopping));
    Served { addr, shutdown, task }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    async fn stop(self) {
        self.shutdown.begin();
        timeout(BOUND, self.task).await.expect("an end in time").unwrap();
    }
}

/// What comes until the server closes, and after how long.
async fn until_closed(began: Instant, mut stream: TcpStream) -> (String, Duration) {
    let mut heard = Vec::new();
    // Who is cut while sending may see a reset instead of an end.
    let _ended = timeout(BOUND, stream.read_to_end(&mut heard)).await.expect("the server closes in time");
    (String::from_utf8_lossy(&heard).into_owned(), began.elapsed())
}

/// Sends a beginning and then a byte now and again, as long as somebody takes it.
async fn drip(served: &Served, beginning: &str) -> (String, Duration) {
    let began = Instant::now();
    let mut stream = served.connect().await;
    stream.write_all(beginning.as_bytes()).await.unwrap();
    let (mut hears, mut says) = stream.into_split();
    let dripping = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(SHORT / 10);
        loop {
            ticks.tick().await;
            if says.write_all(b"a").await.is_err() {
                return;
            }
        }
    });
    let mut heard = Vec::new();
    let _ended = timeout(BOUND, hears.read_to_end(&mut heard)).await.expect("the server closes in time");
    dripping.abort();
    (String::from_utf8_lossy(&heard).into_owned(), began.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_does_not_end_ends_the_connection_also_where_it_drips() {
    let world = World::new().await;
    let served = served(world.server.router.clone(), Bounds { head: SHORT, ..LONG }).await;
    for beginning in ["", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: "] {
        let (heard, took) = drip(&served, beginning).await;
        assert!(!heard.contains("200 OK"), "{heard}");
        assert!(took >= SHORT && took < BOUND / 2, "{took:?}");
    }
    let began = Instant::now();
    let (heard, took) = until_closed(began, served.connect().await).await;
    assert_eq!(heard, "", "who says nothing is told nothing");
    assert!(took >= SHORT, "{took:?}");
    served.stop().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_end_is_answered_408_also_where_it_drips() {
    let world = World::new().await;
    let scene = world.scene().await;
    let served = served(world.server.router.clone(), Bounds { body: SHORT, ..LONG }).await;
    for path in ["/api/orders/create", "/live"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nCookie: {}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n",
            scene.owner.cookie()
        );
        let (heard, took) = drip(&served, &head).await;
        assert!(heard.starts_with("HTTP/1.1 408 "), "{path}: {heard}");
        assert!(heard.contains(r#""kind":"too_slow""#), "{path}: {heard}");
        assert!(took >= SHORT, "{took:?}");
    }
    served.stop().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_ends_and_a_live_one_stands() {
    let world = World::new().await;
    let scene = world.scene().await;
    let served = served(world.server.router.clone(), Bounds { head: SHORT, body: SHORT, ..LONG }).await;
    world.stamp().await;
    let mut live = Socket::open(&served.addr.to_string(), &scene.owner).await;
    let began = Instant::now();
    let mut idle = served.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let (heard, took) = until_closed(began, idle).await;
    assert!(heard.starts_with("HTTP/1.1 200 "), "{heard}");
    assert!(took >= SHORT, "{took:?}");
    // Opened before the other one, and quiet for as long.
    live.assert_goes_on().await;
    let fence = world.fence(&scene.owner).await;
    live.until_seen(fence).await;
    drop(live);
    served.stop().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_is_too_long_is_refused() {
    let served = served(Router::new(), LONG).await;
    let mut stream = served.connect().await;
    let began = Instant::now();
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(128 * 1024));
    // The server may have said no before it has taken all.
    let _sent = stream.write_all(head.as_bytes()).await;
    let (heard, _) = until_closed(began, stream).await;
    assert!(heard.starts_with("HTTP/1.1 431 "), "{heard}");
    served.stop().await;
}

/// Says so when it is dropped.
struct Dropped(Option<oneshot::Sender<()>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let _heard = sender.send(());
        }
    }
}

/// An answer without an end, and the word that it is not being sent any more.
fn endless() -> (Router, oneshot::Receiver<()>) {
    let (sender, dropped) = oneshot::channel();
    let guard = Arc::new(Mutex::new(Some(Dropped(Some(sender)))));
    let answer = async |State(guard): State<Arc<Mutex<Option<Dropped>>>>| {
        let guard = guard.lock().unwrap().take();
        Body::from_stream(futures::stream::repeat_with(move || {
            let _held = &guard;
            Ok::<_, Infallible>(Bytes::from_static(&[0; 16 * 1024]))
        }))
    };
    (Router::new().route("/", get(answer)).with_state(guard), dropped)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_take_an_answer_is_let_go_and_who_takes_it_is_not() {
    let (router, mut gone) = endless();
    let served = served(router, Bounds { take: SHORT, ..LONG }).await;
    let mut stream = served.connect().await;
    let began = Instant::now();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut taken = vec![0; 1024 * 1024];
    while began.elapsed() < 2 * SHORT {
        stream.read_exact(&mut taken).await.unwrap();
    }
    assert!(gone.try_recv().is_err(), "it is still being sent");
    let stopped = Instant::now();
    timeout(BOUND, gone).await.expect("an end in time").unwrap();
    assert!(stopped.elapsed() >= SHORT / 2, "{:?}", stopped.elapsed());
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_answered_when_the_server_stops_is_answered_and_idle_connections_end() {
    let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (asked, answer) = (asked.clone(), answer.clone());
        async move || {
            asked.notify_one();
            answer.notified().await;
            "done"
        }
    };
    let served = served(Router::new().route("/", get(slow)), LONG).await;
    let idle = served.connect().await;
    let mut busy = served.connect().await;
    let began = Instant::now();
    busy.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    asked.notified().await;
    served.shutdown.begin();
    let (nothing, _) = until_closed(began, idle).await;
    assert_eq!(nothing, "");
    answer.notify_one();
    let (heard, _) = until_closed(began, busy).await;
    assert!(heard.starts_with("HTTP/1.1 200 ") && heard.ends_with("done"), "{heard}");
    timeout(BOUND, served.task).await.expect("an end in time").unwrap();
}
