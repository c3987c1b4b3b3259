//! From a commit to the frames of those who watch what it changed: commits of another process at 1,000 a second, each
//! matching ten of 1,000 sockets; and the server's own commits, through its API.

use crate::clock::{self, Nanos};
use crate::crowd::{Crowd, List, Stamp};
use crate::notify::{self, Listening};
use crate::report::{Report, Target, quantile};
use crate::sockets::{Opening, Sockets, Told};
use crate::stage::Stage;
use crate::writing::{self, Commit, Pace};
use crate::{Conditions, Outcome};
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

const SOCKETS: usize = 1_000;
/// So many sockets watch the same records, each of them so many.
const TOGETHER: usize = 10;
const KEYS: usize = 20;
const ORDERS: usize = SOCKETS / TOGETHER * KEYS;
const ROUNDS: usize = 3;
const ORDERS_TABLE: &str = "sales_orders";
const WRITERS: usize = 16;
const A_SECOND: u32 = 1_000;
const LONG: Duration = Duration::from_secs(10);
const OWN_A_SECOND: u32 = 50;
const OWN: u32 = 400;
const DRAIN: Duration = Duration::from_secs(5);

pub(crate) async fn run(conditions: &Conditions) -> Outcome<Report> {
    let mut watched = Watched::open(conditions).await?;
    let mut report = Report::default();
    let mut measured: Vec<Latencies> = Vec::new();
    for _ in 0..ROUNDS {
        measured.push(watched.told_by_feed().await?);
    }
    let column = |quantiles: fn(&Latencies) -> f64| measured.iter().map(quantiles).collect::<Vec<_>>();
    report.row("commits of another process a second", Target::None, "/s", column(|its| its.rate));
    report.row("from the commit to a frame, p50", Target::AtMost(6.0), "ms", column(|its| its.commit.0));
    report.row("                            p99", Target::AtMost(25.0), "ms", column(|its| its.commit.1));
    report.row("from its answer to a frame, p50", Target::None, "ms", column(|its| its.answer.0));
    report.row("                            p99", Target::None, "ms", column(|its| its.answer.1));
    report.row("from sending it to a frame, p50", Target::None, "ms", column(|its| its.sent.0));
    report.row("                            p99", Target::None, "ms", column(|its| its.sent.1));
    report.row("from the commit to its answer, p50", Target::None, "ms", column(|its| its.flush));

    let mut own: Vec<Latencies> = Vec::new();
    for round in 0..ROUNDS {
        watched.sockets.clear();
        let commits = watched.own_commits(round).await?;
        own.push(watched.told(commits).await?);
    }
    let column = |quantiles: fn(&Latencies) -> f64| own.iter().map(quantiles).collect::<Vec<_>>();
    report.row("the server's own commits a second", Target::None, "/s", column(|its| its.rate));
    report.row("from the commit to a frame, p50", Target::AtMost(2.0), "ms", column(|its| its.commit.0));
    report.row("                            p99", Target::None, "ms", column(|its| its.commit.1));
    report.row("from the request to a frame, p50", Target::None, "ms", column(|its| its.sent.0));
    report.row("from the request to its answer, p50", Target::None, "ms", column(|its| its.request));
    let frames = watched.sockets.check_samples()?;
    report.note(format!(
        "the commit is when PostgreSQL began it (its own note), so the wait for the disk is within; each was told to all \
         {TOGETHER} sockets that watch its record and to no other; {frames} frames were read again, fully"
    ));
    Ok(report)
}

/// A thousand sockets at a server, and writers beside it.
pub(crate) struct Watched {
    // Closed before the server ends.
    sockets: Sockets,
    writers: Vec<PgConnection>,
    owner: PgConnection,
    crowd: Crowd,
    stage: Stage,
}

impl Watched {
    pub(crate) async fn open(conditions: &Conditions) -> Outcome<Self> {
        // So PostgreSQL notes when each transaction began to commit.
        let stage = Stage::open(&conditions.dist, &[("track_commit_timestamp", "on")]).await?;
        let mut owner = stage.owner().await?;
        let crowd = Crowd::gather(&mut owner, SOCKETS, ORDERS).await?;
        let sockets = Sockets::new(stage.address, SOCKETS)?;
        let stamp = Stamp::now(&mut owner).await?;
        let openings = (0..SOCKETS).map(|socket| {
            let group = socket / TOGETHER * KEYS;
            let watch = crowd.watch(&crowd.orders[group..group + KEYS], List::Not, &stamp);
            Opening { socket, cookie: crowd.people[socket].cookie(), watch: Some(watch) }
        });
        sockets.open(openings.collect()).await?;
        sockets.until_watching(KEYS, Duration::from_secs(30)).await?;
        let mut writers = stage.owners(WRITERS).await?;
        // Once before it counts: statements are prepared, pages are in memory.
        for (order, writer) in writers.iter_mut().enumerate() {
            writing::rename(writer, order, crowd.orders[order]).await?;
        }
        sockets.until("the first told", DRAIN, |heard| heard.told.len() >= WRITERS * TOGETHER).await?;
        Ok(Self { sockets, writers, owner, crowd, stage })
    }

    /// So that the orders' changes can be notified instead.
    pub(crate) async fn listen(&mut self) -> Outcome<Listening> {
        notify::install(&mut self.owner).await?;
        notify::tell_of(&mut self.owner, ORDERS_TABLE).await?;
        notify::switch(&mut self.owner, ORDERS_TABLE, notify::Told::Feed).await?;
        Listening::begin(self.stage.options()?).await
    }

    /// The same commits with a trigger that notifies in place of the product's: to the listener, whom no socket is behind.
    pub(crate) async fn told_by_notify(&mut self, listening: &Listening) -> Outcome<Latencies> {
        notify::switch(&mut self.owner, ORDERS_TABLE, notify::Told::Listener).await?;
        let commits = self.commits().await?;
        notify::switch(&mut self.owner, ORDERS_TABLE, notify::Told::Feed).await?;
        let told = listening.take(commits.len(), DRAIN).await?;
        Latencies::of(&mut self.owner, &commits, told.into_iter()).await
    }

    /// 1,000 commits a second, each of which comes to ten sockets.
    pub(crate) async fn told_by_feed(&mut self) -> Outcome<Latencies> {
        self.sockets.clear();
        let commits = self.commits().await?;
        self.told(commits).await
    }

    async fn commits(&mut self) -> Outcome<Vec<Commit>> {
        // A stride that is coprime to the number of orders: neighbours in time are no neighbours.
        let which = |turn: u64| (turn * 7_919 % ORDERS as u64) as usize;
        writing::at_pace(&mut self.writers, &self.crowd.orders, Pace::a_second(A_SECOND, LONG), which).await
    }

    /// Renames orders through the API, at a modest pace.
    async fn own_commits(&mut self, round: usize) -> Outcome<Vec<Commit>> {
        let http = reqwest::Client::new();
        let mut titles: HashMap<Uuid, String> = sqlx::query_as("select id, title from sales_orders")
            .fetch_all(&mut self.owner)
            .await?
            .into_iter()
            .collect();
        let began = Instant::now();
        let mut commits = Vec::new();
        for turn in 0..OWN {
            sleep_until(began + Duration::from_secs(1) / OWN_A_SECOND * turn).await;
            let order = turn as usize * 7_919 % ORDERS;
            let id = self.crowd.orders[order];
            let title = format!("Own {round} {turn}");
            let from = titles.insert(id, title.clone());
            let sent = clock::now();
            let answer = http
                .post(format!("{}/api/orders/update", self.stage.url()))
                .header("cookie", self.crowd.people[0].cookie())
                .json(&json!({"organization": self.crowd.organization, "id": id, "mutation_id": Uuid::now_v7(),
                              "changes": {"title": {"from": from, "to": title}}}))
                .send()
                .await?;
            let status = answer.status();
            let body: Value = answer.json().await?;
            let answered = clock::now();
            let xid = body["xid"].as_u64().ok_or_else(|| format!("{status}: {body}"))?;
            commits.push(Commit { order, xid, sent, answered });
        }
        Ok(commits)
    }

    /// Waits until all was told, and checks that each commit was told to just those who watch its order.
    async fn told(&mut self, commits: Vec<Commit>) -> Outcome<Latencies> {
        let expected = commits.len() * TOGETHER;
        let waited = self.sockets.until("all commits told", DRAIN, |heard| heard.told.len() >= expected).await;
        let told = std::mem::take(&mut self.sockets.heard().told);
        waited.map_err(|why| format!("{why}; {} of {expected}", told.len()))?;
        let orders: HashMap<u64, usize> = commits.iter().map(|commit| (commit.xid, commit.order)).collect();
        let watched = |told: &Told| told.socket as usize / TOGETHER * KEYS + told.number as usize;
        let wrong = told.iter().filter(|told| orders.get(&told.xid) != Some(&watched(told))).count();
        if wrong > 0 || told.len() != expected {
            return Err(format!("{} told, {expected} expected, {wrong} of them wrongly", told.len()).into());
        }
        Latencies::of(&mut self.owner, &commits, told.iter().map(|told| (told.xid, told.at))).await
    }
}

/// p50 and p99.
type Pair = (f64, f64);

pub(crate) struct Latencies {
    pub(crate) rate: f64,
    pub(crate) commit: Pair,
    pub(crate) answer: Pair,
    sent: Pair,
    flush: f64,
    request: f64,
}

impl Latencies {
    /// Of these commits, from when they were told, by their transactions.
    async fn of(
        owner: &mut PgConnection,
        commits: &[Commit],
        told: impl Iterator<Item = (u64, Nanos)>,
    ) -> Outcome<Self> {
        let by_xid: HashMap<u64, &Commit> = commits.iter().map(|commit| (commit.xid, commit)).collect();
        let times = commit_times(owner, commits).await?;
        let (mut from_commit, mut from_answer, mut from_sent) = (Vec::new(), Vec::new(), Vec::new());
        for (xid, at) in told {
            let commit = by_xid.get(&xid).ok_or_else(|| format!("{xid} was told, and not made here"))?;
            from_commit.push(at.saturating_sub(times[&xid]));
            from_answer.push(at.saturating_sub(commit.answered));
            from_sent.push(at.saturating_sub(commit.sent));
        }
        let first = commits.iter().map(|commit| commit.sent).min().unwrap_or(0);
        let last = commits.iter().map(|commit| commit.answered).max().unwrap_or(0);
        let mut flush: Vec<Nanos> =
            commits.iter().map(|commit| commit.answered.saturating_sub(times[&commit.xid])).collect();
        let mut request: Vec<Nanos> = commits.iter().map(|commit| commit.answered - commit.sent).collect();
        Ok(Self {
            rate: commits.len() as f64 * 1e9 / (last - first) as f64,
            commit: pair(&mut from_commit),
            answer: pair(&mut from_answer),
            sent: pair(&mut from_sent),
            flush: quantile(&mut flush, 0.5),
            request: quantile(&mut request, 0.5),
        })
    }
}

fn pair(values: &mut [Nanos]) -> Pair {
    (quantile(values, 0.5), quantile(values, 0.99))
}

/// When PostgreSQL began each commit.
async fn commit_times(owner: &mut PgConnection, commits: &[Commit]) -> Outcome<HashMap<u64, Nanos>> {
    let xids: Vec<String> = commits.iter().map(|commit| commit.xid.to_string()).collect();
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select made, (extract(epoch from pg_xact_commit_timestamp(made::xid)) * 1000000)::bigint
         from unnest($1::text[]) as made",
    )
    .bind(xids)
    .fetch_all(owner)
    .await?;
    let offset = clock::unix_offset();
    rows.into_iter().map(|(xid, micros)| Ok((xid.parse()?, clock::of_unix_micros(micros, offset)))).collect()
}
