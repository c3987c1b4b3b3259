//! 32 writers, of whose transactions a fifth is rolled back, one transaction that stays open for five seconds, servers that are
//! killed every 30 seconds, sockets that are cut. In the end every commit must have been told to all who watch its
//! record: as stale, or in the answer to the stamp with which they came back.

use crate::crowd::{Crowd, List, Stamp};
use crate::report::{Report, Target};
use crate::sockets::{Opening, Sockets};
use crate::stage::Stage;
use crate::{Conditions, Outcome};
use millstream::snapshot::{Snapshot, Xid};
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

const SOCKETS: usize = 200;
const TOGETHER: usize = 2;
const KEYS: usize = 20;
const ORDERS: usize = SOCKETS / TOGETHER * KEYS;
const WRITERS: usize = 32;
const OPEN: Duration = Duration::from_secs(5);
const KILL: Duration = Duration::from_secs(30);
/// How long every second killed server is away, beside its start.
const AWAY: Duration = Duration::from_secs(5);
const CUT: Duration = Duration::from_millis(200);
const BOUND: Duration = Duration::from_secs(60);

pub(crate) async fn run(conditions: &Conditions) -> Outcome<Report> {
    let mut stage = Stage::open(&conditions.dist, &[]).await?;
    let mut owner = stage.owner().await?;
    let crowd = Crowd::gather(&mut owner, SOCKETS, ORDERS).await?;
    let sockets = Sockets::new(stage.address, SOCKETS)?;
    let first = Stamp::now(&mut owner).await?;
    let clients = Clients { crowd: &crowd, sockets: &sockets, held: RefCell::new(vec![first; SOCKETS]) };
    clients.come_back((0..SOCKETS).collect()).await;
    sockets.until_watching(KEYS, BOUND).await?;
    let mut writers = stage.owners(WRITERS).await?;
    let mut slow = stage.owner().await?;

    let until = Instant::now() + Duration::from_secs(conditions.seconds);
    let is_over = Cell::new(false);
    let (rolled_back, kills, cuts) = (Cell::new(0_u32), Cell::new(0_u32), Cell::new(0_u32));
    let writing = async {
        let all = writers.iter_mut().map(|connection| write(connection, &crowd, until, &rolled_back));
        let made = futures::future::try_join_all(all).await?.concat();
        Outcome::Ok(made)
    };
    let staying = async {
        let mut made = Vec::new();
        while Instant::now() + OPEN < until {
            made.extend(change(&mut slow, &crowd, Some(OPEN), End::Commit).await?);
        }
        Outcome::Ok(made)
    };
    let killing = async {
        let mut next = Instant::now() + KILL;
        while next < until {
            sleep_until(next).await;
            stage.kill()?;
            kills.set(kills.get() + 1);
            if kills.get().is_multiple_of(2) {
                sleep(AWAY).await; // more is missed than is looked at one by one
            }
            stage.start().await?;
            next += KILL;
        }
        Outcome::Ok(())
    };
    let changing = async {
        let made = futures::future::try_join3(writing, staying, killing).await;
        is_over.set(true);
        made
    };
    let cutting = async {
        while !is_over.get() {
            sleep(CUT).await;
            let socket = fastrand::usize(..SOCKETS);
            clients.remember();
            sockets.cut(vec![socket])?;
            cuts.set(cuts.get() + 1);
            clients.come_back_all().await;
        }
        Outcome::Ok(())
    };
    let (changed, cut) = futures::future::join(changing, cutting).await;
    let (mut commits, stayed, ()) = changed?;
    cut?;
    commits.extend(stayed);

    // All that were cut come back, and hear up to now.
    let now: Snapshot = Stamp::now(&mut owner).await?.snapshot.parse()?;
    let deadline = Instant::now() + BOUND;
    loop {
        clients.remember();
        clients.come_back_all().await;
        let behind = clients.behind(&now);
        if behind == 0 {
            break;
        }
        if Instant::now() > deadline {
            return Err(format!("{behind} sockets did not hear up to the end within {BOUND:?}").into());
        }
        sleep(Duration::from_millis(100)).await;
    }

    let heard = sockets.heard();
    let named: HashSet<(u32, u32, u64)> = heard.told.iter().map(|told| (told.socket, told.number, told.xid)).collect();
    let mut unnamed: HashMap<(u32, u32), Vec<Snapshot>> = HashMap::new();
    for (socket, number, cursor) in &heard.told_by_cursor {
        unnamed.entry((*socket, *number)).or_default().push(cursor.parse()?);
    }
    let (mut by_name, mut by_cursor, mut missed) = (0_u32, 0_u32, 0_u32);
    for (order, xid) in &commits {
        let group = order / KEYS * TOGETHER;
        let number = u32::try_from(order % KEYS)?;
        for socket in group..group + TOGETHER {
            let socket = u32::try_from(socket)?;
            if named.contains(&(socket, number, *xid)) {
                by_name += 1;
            } else if unnamed
                .get(&(socket, number))
                .is_some_and(|cursors| cursors.iter().any(|its| its.sees(Xid(*xid))))
            {
                by_cursor += 1;
            } else {
                missed += 1;
            }
        }
    }
    let mut report = Report::default();
    report.row("commits that somebody was not told of who watches", Target::AtMost(0.0), "", vec![missed.into()]);
    report.row("told by name", Target::None, "", vec![by_name.into()]);
    report.row("told without a name, under a cursor that sees it", Target::None, "", vec![by_cursor.into()]);
    report.row("commits", Target::None, "", vec![commits.len() as f64]);
    report.row("rolled back", Target::None, "", vec![rolled_back.get().into()]);
    report.row("servers killed", Target::None, "", vec![kills.get().into()]);
    report.row("sockets cut, beside those of killed servers", Target::None, "", vec![cuts.get().into()]);
    report.note(format!("{} s, {SOCKETS} sockets with {KEYS} records each", conditions.seconds));
    Ok(report)
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Commit,
    RollBack,
}

async fn write(
    connection: &mut PgConnection,
    crowd: &Crowd,
    until: Instant,
    rolled_back: &Cell<u32>,
) -> Outcome<Vec<(usize, u64)>> {
    let mut made = Vec::new();
    while Instant::now() < until {
        let end = if fastrand::u8(..5) == 0 { End::RollBack } else { End::Commit };
        match change(connection, crowd, None, end).await? {
            Some(commit) => made.push(commit),
            None => rolled_back.set(rolled_back.get() + 1),
        }
    }
    Ok(made)
}

/// Changes an order, and gives which and by which transaction where that was committed. One that stays open has the row
/// for as long: so it takes a row that the others leave alone.
async fn change(
    connection: &mut PgConnection,
    crowd: &Crowd,
    open: Option<Duration>,
    end: End,
) -> Outcome<Option<(usize, u64)>> {
    let order = match open {
        Some(_) => 0,
        None => fastrand::usize(1..ORDERS),
    };
    let rename = || {
        sqlx::query_scalar("update sales_orders set title = $2 where id = $1 returning pg_current_xact_id()::text")
            .bind(crowd.orders[order])
            .bind(Uuid::new_v4().to_string())
    };
    // Most are one round trip: what is wanted is many.
    if open.is_none() && end == End::Commit {
        let xid: String = rename().fetch_one(connection).await?;
        return Ok(Some((order, xid.parse()?)));
    }
    let mut transaction = connection.begin().await?;
    let xid: String = rename().fetch_one(&mut *transaction).await?;
    if let Some(open) = open {
        sleep(open).await;
    }
    if end == End::RollBack {
        transaction.rollback().await?;
        return Ok(None);
    }
    transaction.commit().await?;
    Ok(Some((order, xid.parse()?)))
}

/// What the clients hold: each value as new as the last cursor that vouched for it, as if it were read anew the moment
/// that it is told to be stale.
struct Clients<'a> {
    crowd: &'a Crowd,
    sockets: &'a Sockets,
    held: RefCell<Vec<Stamp>>,
}

impl Clients<'_> {
    /// A cursor vouches once all keys are watched.
    fn remember(&self) {
        let heard = self.sockets.heard();
        let mut held = self.held.borrow_mut();
        for (state, stamp) in heard.sockets.iter().zip(held.iter_mut()) {
            if state.watching == KEYS
                && let Some(cursor) = state.cursor()
            {
                *stamp = cursor;
            }
        }
    }

    /// How many have not heard up to then.
    fn behind(&self, now: &Snapshot) -> usize {
        let held = self.held.borrow();
        held.iter().filter(|stamp| !stamp.snapshot.parse::<Snapshot>().is_ok_and(|its| its.covers(now))).count()
    }

    async fn come_back_all(&self) {
        let gone: Vec<usize> = {
            let heard = self.sockets.heard();
            let gone = heard.sockets.iter().enumerate().filter(|(_, state)| !state.is_open);
            gone.map(|(socket, _)| socket).collect()
        };
        self.come_back(gone).await;
    }

    /// What the server refuses because it is away tries again the next time.
    async fn come_back(&self, gone: Vec<usize>) {
        let openings = gone.iter().map(|socket| {
            let first = socket / TOGETHER * KEYS;
            let stamp = &self.held.borrow()[*socket];
            let watch = self.crowd.watch(&self.crowd.orders[first..first + KEYS], List::Not, stamp);
            Opening { socket: *socket, cookie: self.crowd.people[*socket].cookie(), watch: Some(watch) }
        });
        let openings = openings.collect();
        self.sockets.try_open(openings).await;
    }
}
