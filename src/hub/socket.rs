//! One WebSocket: reads the client's frames, writes what the hub has for it. Who may open one is decided before.

use super::Hub;
use super::routing::{Close, ConnectionId};
use crate::error::{ApiError, Kind};
use crate::key::PersonId;
use crate::wire::{ClientFrame, ServerFrame};
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

impl Close {
    /// The WebSocket's close code.
    pub fn code(self) -> u16 {
        match self {
            Close::GoingAway => 1001,
            Close::NewEpoch => 4001,
            Close::SessionEnded => 4401,
        }
    }
}

/// Browsers throttle the timers of hidden tabs, so the sign of life comes from here. It carries the cursor.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// What happens within this time after a frame goes into one next frame.
const COALESCE: Duration = Duration::from_millis(4);
/// A reader that takes nothing for so long is let go; it comes back without loss.
const STUCK: Duration = Duration::from_secs(20);

/// How often a connection's session is looked at again: what has only run out of time tells nobody.
const RECHECK: Duration = Duration::from_secs(60);

/// Serves the connection until either side ends it. `stands` says whether the session still does; it is asked as soon
/// as the connection is attached (so that one which ended on the way here is noticed) and every minute from then on.
pub async fn serve<F: Future<Output = Result<bool, ApiError>>>(
    hub: Arc<Hub>,
    socket: WebSocket,
    person: PersonId,
    session: Uuid,
    stands: impl Fn() -> F,
) {
    let (id, wake) = hub.attach(person, session);
    let (sink, stream) = socket.split();
    // Answers to the client's own frames: at most as many as it has sent and not read, and reading stops meanwhile.
    let (replies, replied) = mpsc::channel(16);
    tokio::select! {
        () = write(&hub, id, person, sink, wake, replied) => {}
        () = read(&hub, id, person, stream, replies) => {}
        () = recheck(&hub, session, stands) => {}
    }
    hub.detach(id);
}

/// Ends the session's connections once it no longer stands; their writers say so. Never returns.
async fn recheck<F: Future<Output = Result<bool, ApiError>>>(hub: &Hub, session: Uuid, stands: impl Fn() -> F) {
    let mut clock = tokio::time::interval(RECHECK);
    loop {
        clock.tick().await;
        match stands().await {
            Ok(true) => {}
            Ok(false) => hub.end_session(session),
            // The database is away: nothing is told meanwhile either.
            Err(error) => tracing::debug!(%error, "a session could not be looked at again"),
        }
    }
}

async fn write(
    hub: &Hub,
    id: ConnectionId,
    person: PersonId,
    mut sink: SplitSink<WebSocket, Message>,
    wake: Arc<Notify>,
    mut replied: mpsc::Receiver<ServerFrame>,
) {
    if send(&mut sink, &ServerFrame::Hello { person }).await.is_err() {
        return;
    }
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    loop {
        let is_heartbeat = tokio::select! {
            () = wake.notified() => false,
            _ = heartbeat.tick() => true,
            reply = replied.recv() => {
                let Some(reply) = reply else { return };
                if send(&mut sink, &reply).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let (frames, close) = hub.take_frames(id, is_heartbeat);
        for frame in &frames {
            if send(&mut sink, frame).await.is_err() {
                return;
            }
        }
        if let Some(close) = close {
            let frame = CloseFrame { code: close.code(), reason: "".into() };
            // The other side may be gone already; either way this is the end.
            if let Err(error) = sink.send(Message::Close(Some(frame))).await {
                tracing::debug!(%error, "the client was gone before it was told goodbye");
            }
            return;
        }
        if !frames.is_empty() {
            tokio::time::sleep(COALESCE).await;
        }
    }
}

async fn send(sink: &mut SplitSink<WebSocket, Message>, frame: &ServerFrame) -> Result<(), ()> {
    let Ok(text) = serde_json::to_string(frame) else {
        tracing::error!("a frame could not be written as JSON");
        return Err(());
    };
    match tokio::time::timeout(STUCK, sink.send(Message::Text(text.into()))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a client is gone");
            Err(())
        }
        Err(_) => {
            tracing::info!("a client took nothing for {} s and was let go", STUCK.as_secs());
            Err(())
        }
    }
}

async fn read(
    hub: &Hub,
    id: ConnectionId,
    person: PersonId,
    mut stream: SplitStream<WebSocket>,
    replies: mpsc::Sender<ServerFrame>,
) {
    while let Some(message) = stream.next().await {
        let text = match message {
            Ok(Message::Text(text)) => text,
            Ok(Message::Ping(_) | Message::Pong(_)) => continue,
            Ok(Message::Binary(_)) => {
                let error = ApiError::new(Kind::Malformed, "Frames are text.");
                if replies.send(ServerFrame::Error(error)).await.is_err() {
                    return;
                }
                continue;
            }
            Ok(Message::Close(_)) | Err(_) => return,
        };
        let reply = match serde_json::from_str(&text) {
            Ok(ClientFrame::Watch { keys }) => match hub.watch(id, person, keys).await {
                Ok(()) => None,
                Err(error) => {
                    // Without an answer nothing would vouch for these keys: the client comes back and asks again.
                    tracing::warn!(%error, "a watch could not be checked");
                    return;
                }
            },
            Ok(ClientFrame::Unwatch { numbers }) => {
                hub.unwatch(id, &numbers);
                None
            }
            Ok(ClientFrame::Presence(whereabouts)) => hub.presence(id, whereabouts),
            Ok(ClientFrame::Ping { at }) => Some(ServerFrame::Pong { at }),
            Err(why) => {
                Some(ServerFrame::Error(ApiError::new(Kind::Malformed, format!("This frame cannot be read: {why}."))))
            }
        };
        if let Some(reply) = reply
            && replies.send(reply).await.is_err()
        {
            return;
        }
    }
}
