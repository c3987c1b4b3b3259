//! What an idle connection with 20 watched keys costs the server: resident memory, and processor time a second.

use crate::crowd::{Crowd, List, Stamp, stand_in_cookie};
use crate::peer::Peer;
use crate::processes::{self, resident};
use crate::report::{Report, Target};
use crate::sockets::{Opening, Sockets};
use crate::stage::Stage;
use crate::{Conditions, Outcome};
use std::net::SocketAddr;
use std::time::Duration;

pub(crate) const SOCKETS: usize = 5_000;
pub(crate) const KEYS: usize = 20;
/// Each is watched by fifty.
const ORDERS: usize = SOCKETS * KEYS / 50;
const ROUNDS: usize = 3;
/// Opened and closed before anything is measured: pools, caches and threads are there then.
const FIRST: usize = 200;
const WINDOW: Duration = Duration::from_secs(20);
/// A whole minute: sessions are looked at again once in it.
const PARTS: usize = 3;

pub(crate) async fn run(conditions: &Conditions) -> Outcome<Report> {
    let (mut bytes, mut without_keys, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        without_keys.push(grown(conditions, 0, &mut Vec::new()).await?);
        // Only once: a minute each.
        let mut used = Vec::new();
        if round + 1 == ROUNDS {
            used.resize(PARTS, 0.0);
        }
        bytes.push(grown(conditions, KEYS, &mut used).await?);
        idle = used;
    }
    let mean = idle.iter().sum::<f64>() / idle.len() as f64;
    let mut report = Report::default();
    report.row("resident memory a connection", Target::AtMost(6.0), "KiB", bytes);
    report.row("    of it before it watches anything", Target::None, "KiB", without_keys);
    report.row("processor time a connection, over a minute", Target::AtMost(2.0), "µs/s", vec![mean]);
    report.row("    in each 20 s of it", Target::None, "µs/s", idle);
    report.note(format!(
        "{SOCKETS} connections, each of another person, with {KEYS} of {ORDERS} records; less what the server uses without them"
    ));
    Ok(report)
}

/// By how much the server's memory grows a connection, in KiB, on a server of its own. Fills `idle` with the processor time
/// of each of as many windows.
pub(crate) async fn grown(conditions: &Conditions, keys: usize, idle: &mut [f64]) -> Outcome<f64> {
    let stage = Stage::open(&conditions.dist, &[]).await?;
    let mut owner = stage.owner().await?;
    let crowd = Crowd::gather(&mut owner, SOCKETS, ORDERS).await?;
    let stamp = Stamp::now(&mut owner).await?;
    let opening = |socket: usize| {
        let first = socket * KEYS % ORDERS;
        let watch = (keys > 0).then(|| crowd.watch(&crowd.orders[first..first + keys], List::Not, &stamp));
        Opening { socket, cookie: crowd.people[socket].cookie(), watch }
    };
    let idlers = Idlers { address: stage.address, processes: vec![stage.pid()], keys, opening };
    idlers.warm_up().await?;
    let at_rest = if idle.is_empty() { 0.0 } else { used(&stage).await? };
    let (grown, sockets) = idlers.come().await?;
    for window in idle {
        *window = (used(&stage).await? - at_rest) / SOCKETS as f64;
    }
    nobody_left(&sockets)?;
    Ok(grown)
}

/// The same of a peer, whose sockets watch nothing.
pub(crate) async fn grown_at_peer(peer: &Peer) -> Outcome<f64> {
    let opening = |socket| Opening { socket, cookie: stand_in_cookie(), watch: None };
    let idlers = Idlers { address: peer.address(), processes: peer.processes()?, keys: 0, opening };
    idlers.warm_up().await?;
    let (grown, sockets) = idlers.come().await?;
    nobody_left(&sockets)?;
    Ok(grown)
}

/// Connections that are opened and then only there.
struct Idlers<O> {
    address: SocketAddr,
    /// Whose memory they cost.
    processes: Vec<u32>,
    keys: usize,
    opening: O,
}

impl<O: Fn(usize) -> Opening> Idlers<O> {
    /// Some come and go, so that what grows only once has grown.
    async fn warm_up(&self) -> Outcome {
        drop(self.open(FIRST).await?);
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    /// All come: by how many KiB the memory has grown for each.
    async fn come(&self) -> Outcome<(f64, Sockets)> {
        let before = resident(&self.processes)?;
        let sockets = self.open(SOCKETS).await?;
        // What the checks of the watches held for a moment is given back meanwhile.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let grown = resident(&self.processes)? as f64 - before as f64;
        Ok((grown / SOCKETS as f64 / 1024.0, sockets))
    }

    async fn open(&self, count: usize) -> Outcome<Sockets> {
        let sockets = Sockets::new(self.address, count)?;
        sockets.open((0..count).map(&self.opening).collect()).await?;
        sockets.until_watching(self.keys, Duration::from_secs(60)).await?;
        Ok(sockets)
    }
}

fn nobody_left(sockets: &Sockets) -> Outcome {
    if sockets.heard().ended > 0 { Err("a connection ended while it was idle".into()) } else { Ok(()) }
}

/// Microseconds of processor time that the server uses in a second.
async fn used(stage: &Stage) -> Outcome<f64> {
    let server = [stage.pid()];
    let before = processes::used(&server)?;
    tokio::time::sleep(WINDOW).await;
    Ok((processes::used(&server)? - before) * 1e6 / WINDOW.as_secs_f64())
}
