//! Writes what the hub has for its connections: a few tasks for all of them, each with its own share. What many are told alike is
//! made once, and its bytes are shared.

use super::outgoing::{Alike, Lagging};
use super::outlet::{self, Outlet};
use super::routing::{Close, ConnectionId, Routing};
use super::schedule::{Due, Shard, Until};
use super::{Hub, State};
use crate::snapshot::Stamp;
use crate::wire::ServerFrame;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;
use tokio::sync::Notify;

/// Written to before others have a turn, some tenths of a millisecond.
const AT_ONCE: usize = 64;

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

#[derive(Default)]
struct Writer {
    due: Vec<Due<Arc<Outlet>>>,
    turns: Vec<Turn>,
    last: Option<Made>,
}

/// One connection's turn.
struct Turn {
    id: ConnectionId,
    outlet: Arc<Outlet>,
    told: Told,
    /// The lobby has something for it too.
    is_in_lobby: bool,
    since: Option<Instant>,
}

enum Told {
    /// And what comes after it.
    Alike(Arc<[u8]>, Vec<ServerFrame>),
    Frames(Vec<ServerFrame>, Option<Close>),
}

impl Told {
    /// With more to be told, unless the connection ends.
    fn and(self, more: impl FnOnce() -> Vec<ServerFrame>) -> Self {
        match self {
            Told::Alike(bytes, _) => Told::Alike(bytes, more()),
            Told::Frames(mut frames, None) => {
                frames.extend(more());
                Told::Frames(frames, None)
            }
            told @ Told::Frames(_, Some(_)) => told,
        }
    }
}

/// The tick that was made last, and of what.
struct Made {
    cursor: u64,
    stale: Vec<Lagging>,
    spread: u32,
    bytes: Arc<[u8]>,
}

impl Writer {
    fn write_some(&mut self, hub: &Hub, shard: Shard) -> Until {
        let now = tokio::time::Instant::now();
        let until = hub.with_state(|state| self.fill(state, shard, now));
        let mut written = 0;
        for Turn { id, outlet, told, is_in_lobby, since } in self.turns.drain(..) {
            let told = if is_in_lobby { told.and(|| hub.in_lobby(|lobby| lobby.take_frames(id))) } else { told };
            written += match &told {
                Told::Alike(_, more) => 1 + more.len(),
                Told::Frames(frames, _) => frames.len(),
            };
            let (Told::Alike(_, apart) | Told::Frames(apart, _)) = &told;
            apart.iter().for_each(|frame| hub.counters.told(frame));
            match send(&outlet, told) {
                Ok(false) => {
                    if let Some(since) = since {
                        (hub.delays)(since.elapsed());
                    }
                }
                Ok(true) => hub.block(id, &outlet),
                Err(error) => {
                    tracing::debug!(%error, "a client is gone");
                    outlet.gone();
                }
            }
        }
        hub.counters.frames.fetch_add(written as u64, Ordering::Relaxed);
        until
    }

    fn fill(&mut self, state: &mut State, shard: Shard, now: tokio::time::Instant) -> Until {
        let until = state.schedule.take(shard, now, AT_ONCE, &mut self.due);
        let mut due = std::mem::take(&mut self.due);
        for Due { id, outlet, is_heartbeat, is_asked_elsewhere: is_in_lobby } in due.drain(..) {
            let told = self.told(&mut state.routing, id, is_heartbeat);
            let told = told.or_else(|| is_in_lobby.then(|| Told::Frames(Vec::new(), None)));
            let since = state.routing.take_since(id);
            self.turns.extend(told.map(|told| Turn { id, outlet, told, is_in_lobby, since }));
        }
        self.due = due;
        until
    }

    fn told(&mut self, routing: &mut Routing, id: ConnectionId, is_heartbeat: bool) -> Option<Told> {
        match routing.take_alike(id, is_heartbeat, |number, cursor, alike| self.alike(number, cursor, alike)) {
            Some(Ok(bytes)) => Some(Told::Alike(bytes, Vec::new())),
            Some(Err(error)) => {
                tracing::error!(%error, "a frame could not be written as JSON");
                // What it would have said is lost: the client comes back and asks.
                Some(Told::Frames(Vec::new(), Some(Close::GoingAway)))
            }
            None => {
                let (frames, close) = routing.take_frames(id, is_heartbeat);
                (!frames.is_empty() || close.is_some()).then_some(Told::Frames(frames, close))
            }
        }
    }

    fn alike(&mut self, number: u64, cursor: &Stamp, alike: Alike<'_>) -> io::Result<Arc<[u8]>> {
        if let Some(last) = &self.last
            && last.cursor == number
            && (Alike { stale: &last.stale, spread: last.spread }) == alike
        {
            return Ok(last.bytes.clone());
        }
        let bytes: Arc<[u8]> = bytes(&alike.tick(cursor))?.into();
        let Alike { stale, spread } = alike;
        self.last = Some(Made { cursor: number, stale: stale.to_vec(), spread, bytes: bytes.clone() });
        Ok(bytes)
    }
}

/// Gives whether something of it waits for the kernel.
fn send(outlet: &Outlet, told: Told) -> io::Result<bool> {
    let (mut waits, frames, close) = match told {
        Told::Alike(bytes, more) => (outlet.send(&bytes)?, more, None),
        Told::Frames(frames, close) => (false, frames, close),
    };
    for frame in frames {
        waits = outlet.send(&bytes(&frame)?)?;
    }
    match close {
        Some(close) => outlet.close(close.code()),
        None => Ok(waits),
    }
}

/// The frame as it goes over the wire.
fn bytes(frame: &ServerFrame) -> io::Result<Vec<u8>> {
    Ok(outlet::text(&serde_json::to_vec(frame)?))
}
