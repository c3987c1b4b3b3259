//! One connection after the other: who sends slowly, sends nothing more or does not take its answer is let go. What a
//! request is answered with stands elsewhere.
//!
//! There is no bound on the connections of one address: behind a proxy all come from the same one, and its header is read
//! only with the first request. How many there may be altogether the system says (`LimitNOFILE`).

use crate::shutdown::Stopping;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::ServiceExt;

/// Where no connection can be accepted (mostly because no file can be opened any more), it is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Of a head with all its headers, in bytes. A longer one is refused with 431.
const LARGEST_HEAD: usize = 64 * 1024;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// From the connection's begin, or the end of the answer before, to the end of a request's head. So an idle connection
    /// ends after this too: later than the usual proxy ends its own (60 s), which would else send a request into its end.
    pub head: Duration,
    /// From there to the end of its body.
    pub body: Duration,
    /// How long nothing may be taken of what is being sent.
    pub take: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { head: Duration::from_secs(75), body: Duration::from_secs(60), take: Duration::from_secs(30) }
    }
}

/// Accepts connections until told to stop; then lets what is being answered end. Dropped, it ends all at once, but for
/// connections that have become WebSockets, which belong to their tasks.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, mut stopping: Stopping) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer, router.clone(), bounds, stopping.clone()));
                }
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a connection ended before it was accepted");
                }
                Err(error) => {
                    tracing::error!(%error, "no connection can be accepted");
                    tokio::select! {
                        () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                        () = stopping.begun() => break,
                    }
                }
            },
            Some(ended) = connections.join_next() => ended.unwrap_or_else(tell_panic),
            () = stopping.begun() => break,
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        ended.unwrap_or_else(tell_panic);
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, bounds: Bounds, mut stopping: Stopping) {
    if let Err(error) = prepare(&stream, bounds) {
        tracing::debug!(%error, "a connection was gone at once");
        return;
    }
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(|body| Body::new(Timely::new(body, bounds.body)));
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = stopping.begun() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

fn prepare(stream: &TcpStream, bounds: Bounds) -> io::Result<()> {
    // Small frames go out at once instead of waiting for each other.
    stream.set_nodelay(true)?;
    // hyper waits for ever for room in the socket. The kernel ends the connection where what was sent is not
    // acknowledged, or the receiver's window stays closed. Elsewhere than on Linux nothing does.
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(bounds.take))?;
    Ok(())
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset)
}

fn tell_panic(error: tokio::task::JoinError) {
    tracing::error!(%error, "a connection's task panicked");
}

/// The error of a body that takes too long.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the request's body was not there after {} s", .0.as_secs_f32())]
pub(crate) struct TooSlow(pub(crate) Duration);

/// A body that has to have come by a deadline. A bound on the pause between two parts alone would let a byte a minute hold
/// a connection for months.
struct Timely {
    body: Incoming,
    bound: Duration,
    deadline: Instant,
    // Made when the body has to be waited for: most are there with their head.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Timely {
    fn new(body: Incoming, bound: Duration) -> Self {
        Self { body, bound, deadline: Instant::now() + bound, timer: None }
    }
}

impl HttpBody for Timely {
    type Data = <Incoming as HttpBody>::Data;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let deadline = self.deadline;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(TooSlow(self.bound).into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
