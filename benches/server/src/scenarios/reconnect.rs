//! 10,000 clients lose their connections, some of what they hold changes, and all come back at once.

use crate::counting;
use crate::crowd::{Crowd, List, Stamp};
use crate::report::{Report, Target};
use crate::sockets::{Opening, Sockets};
use crate::stage::{Processor, Stage};
use crate::writing;
use crate::{Conditions, Outcome, clock};
use futures::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const SOCKETS: usize = 10_000;
const KEYS: usize = 5;
/// So many clients hold the same records.
const TOGETHER: usize = 10;
const ORDERS: usize = SOCKETS / TOGETHER * KEYS;
/// Records that change meanwhile: one of each of so many groups.
const CHANGED: usize = 100;
const ROUNDS: usize = 3;
const BOUND: Duration = Duration::from_secs(60);
/// Reads under way at a time.
const READING: usize = 32;

pub(crate) async fn run(conditions: &Conditions) -> Outcome<Report> {
    let stage = Stage::open(&conditions.dist, counting::SETTINGS).await?;
    let mut owner = stage.owner().await?;
    counting::install(&mut owner).await?;
    let crowd = Crowd::gather(&mut owner, SOCKETS, ORDERS).await?;
    let sockets = Sockets::new(stage.address, SOCKETS)?;
    let opening = |socket: usize, stamp: &Stamp| {
        let first = socket / TOGETHER * KEYS;
        let watch = crowd.watch(&crowd.orders[first..first + KEYS], List::Not, stamp);
        Opening { socket, cookie: crowd.people[socket].cookie(), watch: Some(watch) }
    };
    let stamp = Stamp::now(&mut owner).await?;
    sockets.open((0..SOCKETS).map(|socket| opening(socket, &stamp)).collect()).await?;
    sockets.come_back(KEYS, BOUND, |socket| opening(socket, &stamp)).await?;
    let http = reqwest::Client::new();

    let (mut answered, mut caught_up, mut attempts) = (Vec::new(), Vec::new(), Vec::new());
    let mut shares = Vec::new();
    let (mut requests, mut events) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let stamp = Stamp::now(&mut owner).await?;
        sockets.cut((0..SOCKETS).collect())?;
        sockets.until("all cut", BOUND, |heard| heard.sockets.iter().all(|socket| !socket.is_open)).await?;
        let mut changed = BTreeMap::new();
        for group in 0..CHANGED {
            let order = group * (ORDERS / CHANGED) + round;
            changed.insert(order, writing::rename(&mut owner, order, crowd.orders[order]).await?.xid);
        }
        sockets.clear();
        counting::begin(&mut owner).await?;
        let before = Processor::now(&stage)?;
        let began = clock::now();
        let coming = sockets.come_back(KEYS, BOUND, |socket| opening(socket, &stamp));
        let reading = async {
            let mut read = 0;
            while read < CHANGED * TOGETHER {
                sockets.until("what is stale", BOUND, |heard| heard.told.len() > read).await?;
                let told = sockets.heard().told[read..].to_vec();
                read += told.len();
                futures::stream::iter(told.into_iter().map(Ok))
                    .try_for_each_concurrent(READING, |told| {
                        let socket = told.socket as usize;
                        let order = crowd.orders[socket / TOGETHER * KEYS + told.number as usize];
                        counting::read_again(
                            &http,
                            &stage,
                            &crowd.people[socket],
                            crowd.organization,
                            Some(order),
                            told.xid,
                        )
                    })
                    .await?;
            }
            Outcome::Ok(clock::now())
        };
        let (tried, read) = futures::future::try_join(coming, reading).await?;
        let used = Processor::now(&stage)?.since(&before);
        shares.push([used.server, used.postgres, used.bench]);
        {
            let heard = sockets.heard();
            let last = heard.sockets.iter().map(|socket| socket.answered).max().unwrap_or(0);
            answered.push((last - began) as f64 / 1e9);
            caught_up.push((read.max(last) - began) as f64 / 1e9);
            let told: BTreeSet<_> =
                heard.told.iter().map(|told| (told.socket as usize, told.number as usize, told.xid)).collect();
            let expected = changed.iter().flat_map(|(order, xid)| {
                let group = order / KEYS * TOGETHER;
                (group..group + TOGETHER).map(move |socket| (socket, order % KEYS, *xid))
            });
            if told != expected.collect() {
                return Err("the answers did not name just what had changed".into());
            }
        }
        let counted = counting::counted(&mut owner).await?;
        attempts.push(tried as f64);
        requests.push(counted.requests);
        events.push(counted.events);
    }
    let mut report = Report::default();
    report.row("all are told what is stale", Target::AtMost(5.0), "s", answered);
    report.row("all have read it again", Target::AtMost(8.0), "s", caught_up);
    report.row("connections that it took", Target::None, "", attempts);
    report.row("statements of requests, rights and sessions", Target::None, "", requests);
    report.row("statements of the feed and on the event table", Target::None, "", events);
    for (at, whose) in ["the server", "PostgreSQL", "this bench"].iter().enumerate() {
        let seconds = shares.iter().map(|shares| shares[at]).collect();
        report.row(format!("processor time of {whose}, of two cores"), Target::None, "s", seconds);
    }
    report.note(format!(
        "{SOCKETS} clients with {KEYS} records each, {CHANGED} records changed, each held by {TOGETHER}; just those were told \
         stale, and each of the {} reads contains its change",
        CHANGED * TOGETHER
    ));
    report.note("statements are those sent; what they call within PostgreSQL, and what only begins or ends a transaction, is not counted");
    Ok(report)
}
