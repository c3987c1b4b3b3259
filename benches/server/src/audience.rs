//! Ten thousand sockets, and who tells all of them of each event: the server, or a peer.

use crate::crowd::{Crowd, List, Stamp, stand_in_cookie};
use crate::delivery::{Delivered, Event};
use crate::frame::Pattern;
use crate::peer::Peer;
use crate::processes;
use crate::sockets::{Opening, Sockets};
use crate::stage::Stage;
use crate::writing::{self, Pace};
use crate::{Conditions, Outcome};
use sqlx::postgres::PgConnection;
use std::time::Duration;

pub(crate) const SOCKETS: usize = 10_000;
/// That each socket watches, at the server.
pub(crate) const KEYS: usize = 20;
/// Events that may be under way at a time.
const WRITERS: usize = 8;
const DRAIN: Duration = Duration::from_secs(20);

pub(crate) struct Audience {
    // Closed before who tells them ends.
    sockets: Sockets,
    teller: Teller,
}

enum Teller {
    Server { stage: Stage, crowd: Crowd, writers: Vec<PgConnection> },
    Peer { peer: Peer, pattern: Pattern },
}

/// Processor time used so far, in seconds.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    /// By the server alone, or by all processes of the peer.
    pub(crate) teller: f64,
    pub(crate) bench: f64,
}

impl Used {
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self { teller: self.teller - before.teller, bench: self.bench - before.bench }
    }

    /// Microseconds for each of so many.
    pub(crate) fn a_piece(&self, of: f64) -> Self {
        Self { teller: self.teller * 1e6 / of, bench: self.bench * 1e6 / of }
    }
}

impl Audience {
    /// Each socket another person's, all with the same keys.
    pub(crate) async fn of_server(conditions: &Conditions) -> Outcome<Self> {
        let stage = Stage::open(&conditions.dist, &[]).await?;
        let mut owner = stage.owner().await?;
        let crowd = Crowd::gather(&mut owner, SOCKETS, KEYS).await?;
        let sockets = Sockets::new(stage.address, SOCKETS)?;
        let watch = crowd.watch(&crowd.orders, List::Not, &Stamp::now(&mut owner).await?);
        let openings = (0..SOCKETS).map(|socket| Opening {
            socket,
            cookie: crowd.people[socket].cookie(),
            watch: Some(watch.clone()),
        });
        sockets.open(openings.collect()).await?;
        sockets.until_watching(KEYS, Duration::from_secs(60)).await?;
        let mut writers = stage.owners(WRITERS).await?;
        for (order, writer) in writers.iter_mut().enumerate() {
            writing::rename(writer, order, crowd.orders[order]).await?;
        }
        sockets.until("the first told", DRAIN, |heard| heard.told.len() >= WRITERS * SOCKETS).await?;
        Ok(Self { sockets, teller: Teller::Server { stage, crowd, writers } })
    }

    /// The same handshakes at a peer, which is to tell what is made from the pattern.
    pub(crate) async fn of_peer(peer: Peer, pattern: Pattern) -> Outcome<Self> {
        let sockets = Sockets::new(peer.address(), SOCKETS)?;
        let openings = (0..SOCKETS).map(|socket| Opening { socket, cookie: stand_in_cookie(), watch: None });
        sockets.open(openings.collect()).await?;
        // Nothing says when a peer has taken in the last of them.
        tokio::time::sleep(Duration::from_secs(1)).await;
        peer.publish(pattern.next().1).await?;
        sockets.until("the first told", DRAIN, |heard| heard.told.len() >= SOCKETS).await?;
        Ok(Self { sockets, teller: Teller::Peer { peer, pattern } })
    }

    /// Tells everybody at this pace.
    pub(crate) async fn delivered(&mut self, pace: Pace) -> Outcome<Delivered> {
        let Self { sockets, teller } = self;
        Delivered::of(sockets, teller.events(pace)).await
    }

    pub(crate) fn used(&self) -> Outcome<Used> {
        let teller = match &self.teller {
            Teller::Server { stage, .. } => vec![stage.pid()],
            Teller::Peer { peer, .. } => peer.processes()?,
        };
        Ok(Used { teller: processes::used(&teller)?, bench: processes::used(&[std::process::id()])? })
    }

    /// What a frame of one event is made like here.
    pub(crate) fn pattern(&self) -> Outcome<Pattern> {
        let heard = self.sockets.heard();
        Ok(heard.samples().iter().rev().find_map(|text| Pattern::of(text)).ok_or("no frame of one event was kept")?)
    }

    /// Reads the sample of frames as a client does. Gives how many they were.
    pub(crate) fn check_samples(&self) -> Outcome<usize> {
        self.sockets.check_samples()
    }
}

impl Teller {
    async fn events(&mut self, pace: Pace) -> Outcome<Vec<Event>> {
        match self {
            Self::Server { crowd, writers, .. } => {
                let which = |turn: u64| (turn % KEYS as u64) as usize;
                let commits = writing::at_pace(writers, &crowd.orders, pace, which).await?;
                let event = |commit: &writing::Commit| -> Outcome<Event> {
                    Ok(Event { number: u32::try_from(commit.order)?, xid: commit.xid, since: commit.answered })
                };
                commits.iter().map(event).collect()
            }
            Self::Peer { peer, pattern } => {
                let publish_one = async |_: &mut (), _| -> Outcome<Event> {
                    let (xid, frame) = pattern.next();
                    Ok(Event { number: pattern.number, xid, since: peer.publish(frame).await? })
                };
                pace.keep(&mut [(); WRITERS], publish_one).await
            }
        }
    }
}
