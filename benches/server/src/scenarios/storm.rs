//! After one commit many read again: 1,000 who look at one list; and 500 who each look at a record of their own, of which
//! one changes.

use crate::clock;
use crate::counting;
use crate::crowd::{Crowd, List, Stamp};
use crate::report::{Report, Target};
use crate::sockets::{Opening, Sockets, Told};
use crate::stage::Stage;
use crate::writing;
use crate::{Conditions, Outcome};
use futures::TryStreamExt;
use std::time::Duration;

const ON_THE_LIST: usize = 1_000;
const ON_THEIR_OWN: usize = 500;
const ROUNDS: usize = 5;
const BOUND: Duration = Duration::from_secs(30);
/// How long is waited for whether anybody else is told.
const QUIET: Duration = Duration::from_millis(500);

pub(crate) async fn run(conditions: &Conditions) -> Outcome<Report> {
    let stage = Stage::open(&conditions.dist, counting::SETTINGS).await?;
    let mut owner = stage.owner().await?;
    counting::install(&mut owner).await?;
    let crowd = Crowd::gather(&mut owner, ON_THE_LIST, ON_THEIR_OWN).await?;
    let http = reqwest::Client::new();
    let mut report = Report::default();

    let list = Sockets::new(stage.address, ON_THE_LIST)?;
    let watch = crowd.watch(&[], List::Watched, &Stamp::now(&mut owner).await?);
    let opening =
        |socket: usize, watch: String| Opening { socket, cookie: crowd.people[socket].cookie(), watch: Some(watch) };
    list.open((0..ON_THE_LIST).map(|socket| opening(socket, watch.clone())).collect()).await?;
    list.until_watching(1, BOUND).await?;
    let (mut requests, mut times, mut spreads) = (Vec::new(), Vec::new(), Vec::new());
    // The first is not counted: it opens the connections that a browser has open.
    for round in 0..=ROUNDS {
        list.clear();
        counting::begin(&mut owner).await?;
        let commit = writing::rename(&mut owner, round, crowd.orders[round]).await?;
        list.until("all told", BOUND, |heard| heard.told.len() >= ON_THE_LIST).await?;
        let (told, spread) = {
            let heard = list.heard();
            (heard.told.clone(), heard.sockets.iter().map(|socket| socket.spread).max().unwrap_or(0))
        };
        spreads.push(spread as f64);
        futures::stream::iter(told.into_iter().map(Ok))
            .try_for_each_concurrent(None, async |told: Told| {
                let person = &crowd.people[told.socket as usize];
                // Each at another time within what the server names, as evenly as chance would on the whole.
                let part = u64::from(told.socket) * 7_919 % ON_THE_LIST as u64;
                tokio::time::sleep(Duration::from_micros(spread * part * 1_000 / ON_THE_LIST as u64)).await;
                counting::read_again(&http, &stage, person, crowd.organization, None, told.xid).await
            })
            .await?;
        if round > 0 {
            times.push((clock::now() - commit.answered) as f64 / 1e6);
            requests.push(counting::counted(&mut owner).await?.requests);
        }
    }
    drop(list);
    report.row("1,000 on one list, one commit: statements of requests", Target::None, "", requests);
    report.row("    from the commit until the last has the new list", Target::None, "ms", times);
    report.row("    of it the time over which the server asks them to spread", Target::None, "ms", spreads);

    let own = Sockets::new(stage.address, ON_THEIR_OWN)?;
    let stamp = Stamp::now(&mut owner).await?;
    let openings =
        (0..ON_THEIR_OWN).map(|socket| opening(socket, crowd.watch(&crowd.orders[socket..=socket], List::Not, &stamp)));
    own.open(openings.collect()).await?;
    own.until_watching(1, BOUND).await?;
    let (mut reads, mut requests) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        own.clear();
        counting::begin(&mut owner).await?;
        let order = round * 97;
        writing::rename(&mut owner, order, crowd.orders[order]).await?;
        own.until("one told", BOUND, |heard| !heard.told.is_empty()).await?;
        tokio::time::sleep(QUIET).await;
        let told = own.heard().told.clone();
        for told in &told {
            let socket = told.socket as usize;
            let order = Some(crowd.orders[socket]);
            counting::read_again(&http, &stage, &crowd.people[socket], crowd.organization, order, told.xid).await?;
        }
        reads.push(told.len() as f64);
        requests.push(counting::counted(&mut owner).await?.requests);
    }
    report.row("500 on records of their own, one changes: reads", Target::AtMost(1.0), "", reads);
    report.row("    statements of requests", Target::None, "", requests);
    report.note("a list of 50 rows of 500 orders; each read contains the commit that it was told of");
    report.note("statements are those sent; what they call within PostgreSQL, and what only begins or ends a transaction, is not counted");
    Ok(report)
}
