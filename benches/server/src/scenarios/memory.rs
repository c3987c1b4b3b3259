//! What an idle connection with 20 watched keys costs the server: resident memory, and processor time a second.

use crate::crowd::{Crowd, List, Stamp};
use crate::report::{Report, Target};
use crate::sockets::{Opening, Sockets};
use crate::stage::{Stage, processor, resident};
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

pub(crate) async fn run(conditions: &Conditions) -> Outcome<Report> {
    let (mut bytes, mut idle) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let stage = Stage::open(&conditions.dist, &[]).await?;
        let mut owner = stage.owner().await?;
        let crowd = Crowd::gather(&mut owner, SOCKETS, ORDERS).await?;
        let stamp = Stamp::now(&mut owner).await?;
        let opening = |socket: usize| {
            let first = socket * KEYS % ORDERS;
            let watch = crowd.watch(&crowd.orders[first..first + KEYS], List::Not, &stamp);
            Opening { socket, cookie: crowd.people[socket].cookie(), watch: Some(watch) }
        };
        let warm = Sockets::new(stage.address, FIRST)?;
        warm.open((0..FIRST).map(opening).collect()).await?;
        warm.until_watching(KEYS, Duration::from_secs(30)).await?;
        drop(warm);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let without = resident(stage.pid())?;
        let is_last = round + 1 == ROUNDS;
        let at_rest = if is_last { used(&stage).await? } else { 0.0 };
        let sockets = Sockets::new(stage.address, SOCKETS)?;
        sockets.open((0..SOCKETS).map(opening).collect()).await?;
        sockets.until_watching(KEYS, Duration::from_secs(60)).await?;
        // What the checks of the watches held for a moment is given back meanwhile.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let with = resident(stage.pid())?;
        bytes.push((with as f64 - without as f64) / SOCKETS as f64 / 1024.0);
        if is_last {
            // A whole minute, in three parts: sessions are looked at again once in it.
            for _ in 0..3 {
                idle.push((used(&stage).await? - at_rest) / SOCKETS as f64);
            }
            if sockets.heard().ended > 0 {
                return Err("a connection ended while it was idle".into());
            }
        }
    }
    let mean = idle.iter().sum::<f64>() / idle.len() as f64;
    let mut report = Report::default();
    report.row("resident memory a connection", Target::AtMost(6.0), "KiB", bytes);
    report.row("processor time a connection, over a minute", Target::AtMost(2.0), "µs/s", vec![mean]);
    report.row("    in each 20 s of it", Target::None, "µs/s", idle);
    report.note(format!(
        "{SOCKETS} connections, each of another person, with {KEYS} of {ORDERS} records; less what the server uses without them"
    ));
    Ok(report)
}

/// Microseconds of processor time that the server uses in a second.
async fn used(stage: &Stage) -> Outcome<f64> {
    let before = processor(stage.pid())?;
    tokio::time::sleep(WINDOW).await;
    Ok((processor(stage.pid())? - before) as f64 / 1_000.0 / WINDOW.as_secs_f64())
}
