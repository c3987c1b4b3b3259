//! From the end of a membership to the last word about the organization on that person's connection, under load.

use crate::clock::{self, Nanos};
use crate::crowd::{Crowd, List, Stamp};
use crate::report::{Report, Target, quantile};
use crate::sockets::{Opening, Sockets};
use crate::stage::Stage;
use crate::writing::{self, Pace};
use crate::{Conditions, Outcome};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

const SOCKETS: usize = 400;
const ROUNDS: usize = 3;
/// So many leave in a round.
const LEAVE: usize = 100;
const GAP: Duration = Duration::from_millis(60);
const WRITERS: usize = 4;
/// Changes of what all of them watch, meanwhile.
const A_SECOND: u32 = 100;
const KEYS: usize = 20;
const BOUND: Duration = Duration::from_secs(30);

pub(crate) async fn run(conditions: &Conditions) -> Outcome<Report> {
    let stage = Stage::open(&conditions.dist, &[]).await?;
    let mut owner = stage.owner().await?;
    let crowd = Crowd::gather(&mut owner, SOCKETS, KEYS).await?;
    let sockets = Sockets::new(stage.address, SOCKETS)?;
    let watch = crowd.watch(&crowd.orders, List::Watched, &Stamp::now(&mut owner).await?);
    let openings = (0..SOCKETS).map(|socket| Opening {
        socket,
        cookie: crowd.people[socket].cookie(),
        watch: Some(watch.clone()),
    });
    sockets.open(openings.collect()).await?;
    sockets.until_watching(KEYS + 1, BOUND).await?;
    let mut writers = stage.owners(WRITERS).await?;

    let (mut p50, mut p99, mut slowest, mut frames) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        sockets.clear();
        let leaving = round * LEAVE..(round + 1) * LEAVE;
        let long = GAP * u32::try_from(LEAVE)? + Duration::from_secs(1);
        let load = writing::at_pace(&mut writers, &crowd.orders, Pace::a_second(A_SECOND, long), |turn| {
            (turn % KEYS as u64) as usize
        });
        let ending = async {
            let began = Instant::now();
            let mut ended = Vec::new();
            for (turn, socket) in (0_u32..).zip(leaving.clone()) {
                sleep_until(began + GAP * turn).await;
                sqlx::query("delete from memberships where organization_id = $1 and person_id = $2")
                    .bind(crowd.organization)
                    .bind(crowd.people[socket].id)
                    .execute(&mut owner)
                    .await?;
                ended.push((socket, clock::now()));
            }
            Outcome::Ok(ended)
        };
        let (_, ended) = futures::future::try_join(load, ending).await?;
        // Until the load is over, and a second more: a late word would be heard.
        sockets
            .until("all told that they left", BOUND, |heard| {
                leaving.clone().all(|socket| heard.sockets[socket].rights.is_some())
            })
            .await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let heard = sockets.heard();
        let mut delays: Vec<Nanos> = Vec::new();
        for (socket, at) in ended {
            delays.push(heard.sockets[socket].last_word.saturating_sub(at));
        }
        if let Some(told) =
            heard.told.iter().find(|told| heard.sockets[told.socket as usize].rights.is_some_and(|left| told.at > left))
        {
            return Err(
                format!("socket {} was told of {} after it was told that it left", told.socket, told.xid).into()
            );
        }
        p50.push(quantile(&mut delays, 0.5));
        p99.push(quantile(&mut delays, 0.99));
        slowest.push(quantile(&mut delays, 1.0));
        frames.push(heard.frames as f64 / long.as_secs_f64());
    }
    let mut report = Report::default();
    report.row("from the end of the membership to the last word, p50", Target::None, "ms", p50);
    report.row("    p99", Target::AtMost(100.0), "ms", p99);
    report.row("    slowest", Target::None, "ms", slowest);
    report.row("frames to all meanwhile", Target::None, "/s", frames);
    let checked = sockets.check_samples()?;
    report.note(format!(
        "{LEAVE} of {SOCKETS} leave in a round, {A_SECOND} commits/s of what all watch; nobody was told anything of the \
         organization after the frame that says that they left; {checked} frames were read again, fully"
    ));
    Ok(report)
}
