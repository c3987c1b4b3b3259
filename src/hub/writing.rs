//! Writes what the hub has for its connections: a few tasks for all of them, each with its own share. A frame that many get
//! alike is written as JSON once.

use super::outlet::{self, Outlet, Standing};
use super::routing::{Close, ConnectionId};
use super::schedule::{Next, Shard};
use super::{Hub, State};
use crate::wire::ServerFrame;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Written to before others have a turn, some tenths of a millisecond.
const AT_ONCE: usize = 64;

/// One connection's turn.
struct Turn {
    id: ConnectionId,
    outlet: Arc<Outlet>,
    frames: Vec<ServerFrame>,
    close: Option<Close>,
}

/// Writes to the connections of one shard until the hub is gone.
pub(super) async fn write(hub: Weak<Hub>, shard: Shard, news: Arc<Notify>) {
    let mut writer = Writer::default();
    loop {
        let Some(until) = hub.upgrade().map(|hub| writer.write_some(&hub, shard)) else { return };
        match until {
            Until::Now => tokio::task::yield_now().await,
            Until::Later(None) => news.notified().await,
            Until::Later(Some(at)) => {
                drop(tokio::time::timeout_at(at, news.notified()).await);
            }
        }
    }
}

/// When there is something to do again.
enum Until {
    Now,
    /// Not before this, unless there are news.
    Later(Option<Instant>),
}

#[derive(Default)]
struct Writer {
    turns: Vec<Turn>,
    /// The frame that was written last, and how.
    last: Option<(ServerFrame, Vec<u8>)>,
}

impl Writer {
    fn write_some(&mut self, hub: &Hub, shard: Shard) -> Until {
        let now = Instant::now();
        let until = hub.with_state(|state| self.fill(state, shard, now));
        for Turn { id, outlet, frames, close } in std::mem::take(&mut self.turns) {
            hub.counters.frames.fetch_add(frames.len() as u64, Ordering::Relaxed);
            let written = frames.into_iter().try_for_each(|frame| outlet.send(self.bytes(frame)?));
            let written = written.and_then(|()| close.map_or(Ok(()), |close| outlet.close(close.code())));
            if let Err(error) = written {
                tracing::debug!(%error, "a client is gone");
                outlet.gone();
            } else if matches!(outlet.standing(), Standing::Blocked(_)) {
                hub.block(id, &outlet);
            }
        }
        until
    }

    fn fill(&mut self, state: &mut State, shard: Shard, now: Instant) -> Until {
        while self.turns.len() < AT_ONCE {
            match state.schedule.next(shard, now) {
                Next::Write { id, outlet, is_heartbeat } => {
                    let (frames, close) = state.routing.take_frames(id, is_heartbeat);
                    if !frames.is_empty() || close.is_some() {
                        self.turns.push(Turn { id, outlet, frames, close });
                    }
                }
                Next::Wait(until) => return Until::Later(until),
            }
        }
        Until::Now
    }

    /// The frame as it goes over the wire.
    fn bytes(&mut self, frame: ServerFrame) -> io::Result<&[u8]> {
        let is_as_last = self.last.as_ref().is_some_and(|(last, _)| *last == frame);
        if !is_as_last {
            let text = serde_json::to_vec(&frame)?;
            self.last = Some((frame, outlet::text(&text)));
        }
        Ok(self.last.as_ref().map_or(&[], |(_, bytes)| bytes))
    }
}
