//! What an idle connection with 20 watched keys costs the server: resident memory, and processor time a second.

use crate::crowd::{Crowd, List, Stamp};
use crate::processes::{self, resident};
use crate::report::{Report, Target};
use crate::sockets::{Opening, Sockets};
use crate::stage::Stage;
use crate::{Conditions, Outcome};
use std::time::Duration;

const SOCKETS: usize = 5_000;
const KEYS: usize = 20;
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
async fn grown(conditions: &Conditions, keys: usize, idle: &mut [f64]) -> Outcome<f64> {
    let stage = Stage::open(&conditions.dist, &[]).await?;
    let mut owner = stage.owner().await?;
    let crowd = Crowd::gather(&mut owner, SOCKETS, ORDERS).await?;
    let stamp = Stamp::now(&mut owner).await?;
    let opening = |socket: usize| {
        let first = socket * KEYS % ORDERS;
        let watch = (keys > 0).then(|| crowd.watch(&crowd.orders[first..first + keys], List::Not, &stamp));
        Opening { socket, cookie: crowd.people[socket].cookie(), watch }
    };
    let warm = Sockets::new(stage.address, FIRST)?;
    warm.open((0..FIRST).map(opening).collect()).await?;
    warm.until_watching(keys, Duration::from_secs(30)).await?;
    drop(warm);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = resident(&[stage.pid()])?;
    let at_rest = if idle.is_empty() { 0.0 } else { used(&stage).await? };
    let sockets = Sockets::new(stage.address, SOCKETS)?;
    sockets.open((0..SOCKETS).map(opening).collect()).await?;
    sockets.until_watching(keys, Duration::from_secs(60)).await?;
    // What the checks of the watches held for a moment is given back meanwhile.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let grown = resident(&[stage.pid()])? as f64 - before as f64;
    for window in idle {
        *window = (used(&stage).await? - at_rest) / SOCKETS as f64;
    }
    if sockets.heard().ended > 0 {
        return Err("a connection ended while it was idle".into());
    }
    Ok(grown / SOCKETS as f64 / 1024.0)
}

/// Microseconds of processor time that the server uses in a second.
async fn used(stage: &Stage) -> Outcome<f64> {
    let server = [stage.pid()];
    let before = processes::used(&server)?;
    tokio::time::sleep(WINDOW).await;
    Ok((processes::used(&server)? - before) * 1e6 / WINDOW.as_secs_f64())
}
