//! Watching without a race: the key is registered first, then the event table is asked what it holds beyond the
//! value's stamp, and only then is the client told that cursors vouch for it.
//!
//! The question is asked after the registration, so its snapshot covers the cursor that stood then: a change is either
//! found by the question, or routed to the key that is already registered, or both.

use super::Hub;
use super::missed::{Beyond, Candidate, Search, missed};
use super::registry::WatchRights;
use super::routing::{ConnectionId, Registered, RightsNow, RightsThere};
use crate::feed::{self, FeedError};
use crate::key::{OrganizationId, PersonId};
use crate::loader::Loader;
use crate::snapshot::{Epoch, Xid};
use crate::sql::{Actor, Database};
use crate::wire::{Refused, Watch};
use sqlx::{PgPool, Row};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use uuid::Uuid;

/// More events than this beyond a stamp are not looked at one by one: the value is stale.
const MOST_MISSED: i64 = 2_000;
/// Before the database is asked again that did not answer; twice as long each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What many connections ask at about the same time: all of them, where a server goes and its clients come to this one.
pub(super) struct Loaders {
    rights: Loader<(PersonId, BTreeSet<OrganizationId>), RightsThere>,
    beyond: Loader<Search, Arc<Beyond>>,
    /// Whether a session neither has ended nor run out.
    pub(super) sessions: Loader<Uuid, bool>,
}

impl Loaders {
    pub(super) fn new(database: &Database) -> Self {
        let runtime = &database.runtime;
        let app = || database.app.clone();
        let (for_rights, for_sessions, feed) = (app(), app(), database.feed.clone());
        Self {
            rights: Loader::new(runtime, "rights", move |asked| rights_of_each(for_rights.clone(), asked)),
            beyond: Loader::new(runtime, "missed events", move |searches| beyond_each(feed.clone(), searches)),
            sessions: Loader::new(runtime, "sessions", move |sessions| {
                standing_of_each(for_sessions.clone(), sessions)
            }),
        }
    }
}

/// Asks until there is an answer: a client that would be sent away comes back at once, with the same question.
async fn persistently<T, E: fmt::Display, F: Future<Output = Result<T, E>>>(ask: impl Fn() -> F) -> T {
    let mut pause = FIRST_PAUSE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => tracing::debug!(%error, "a watch waits for the database"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

impl Hub {
    /// Carries a watch frame out; what came of it is told by the connection's next tick. Waits for a database that is away.
    pub(super) async fn watch(&self, id: ConnectionId, person: PersonId, watches: Vec<Watch>) {
        self.counters.watch_checks.fetch_add(1, Ordering::Relaxed);
        let organizations: BTreeSet<_> = watches.iter().map(|watch| watch.key.organization).collect();
        let candidates = loop {
            let Some(version) = self.decide(|routing| routing.begin(id, &watches)) else { return };
            let rights = persistently(|| self.loaders.rights.load((person, organizations.clone()))).await;
            let (candidates, refused) = persistently(|| self.judge(person, watches.clone(), &rights)).await;
            match self.decide(|routing| routing.register(id, version, &rights, candidates, refused)) {
                Registered::As(candidates) => break candidates,
                Registered::RightsChanged => {}
            }
        };
        if candidates.is_empty() {
            return;
        }
        let search = Search::of(person, None, &candidates);
        let beyond = persistently(|| self.loaders.beyond.load(search.clone())).await;
        let stale = missed(&self.registry, person, &candidates, &beyond);
        self.decide(|routing| routing.settle(id, &candidates, &stale));
    }

    /// Which of the keys the person may watch.
    pub(super) async fn judge(
        &self,
        person: PersonId,
        watches: Vec<Watch>,
        rights: &RightsThere,
    ) -> Result<(Vec<Candidate>, Vec<Refused>), FeedError> {
        let (candidates, mut refused) = self.registry.judge(watches, rights);
        let candidates = self.keep_visible(person, candidates, &mut refused).await?;
        Ok((candidates, refused))
    }

    /// One statement for all organizations; without those of which the person is no member.
    pub(super) async fn rights(
        &self,
        person: PersonId,
        organizations: impl IntoIterator<Item = OrganizationId>,
    ) -> Result<RightsThere, FeedError> {
        let asked = organizations.into_iter().map(|organization| (person, organization)).collect();
        let rights = rights_now(&self.database.app, &asked).await?;
        Ok(rights.into_iter().map(|((_, organization), rights)| (organization, rights)).collect())
    }

    /// The rights of several people, by one statement.
    pub(super) async fn rights_now(
        &self,
        asked: &BTreeSet<(PersonId, OrganizationId)>,
    ) -> Result<RightsNow, FeedError> {
        rights_now(&self.database.app, asked).await
    }

    /// Refuses records that a person of narrowed sight cannot see, by the word of row-level security.
    async fn keep_visible(
        &self,
        person: PersonId,
        candidates: Vec<Candidate>,
        refused: &mut Vec<Refused>,
    ) -> Result<Vec<Candidate>, FeedError> {
        let mut asked: HashMap<&'static str, Vec<Uuid>> = HashMap::new();
        for (table, record) in candidates.iter().filter_map(Candidate::asks_visibility) {
            asked.entry(table).or_default().push(record);
        }
        if asked.is_empty() {
            return Ok(candidates);
        }
        let visible = self.database.run(Actor::Person(person), |transaction| {
            Box::pin(async move {
                let mut visible = HashSet::new();
                for (table, ids) in asked {
                    // The table's name is one of the registry's own, never the client's text.
                    let sql = sqlx::AssertSqlSafe(format!("select id from {table} where id = any($1)"));
                    let rows: Vec<Uuid> = sqlx::query_scalar(sql).bind(ids).fetch_all(&mut *transaction).await?;
                    visible.extend(rows);
                }
                Ok(visible)
            })
        });
        let visible = visible.await.map_err(|error| FeedError::Unreadable(error.message))?;
        let is_visible =
            |candidate: &Candidate| candidate.asks_visibility().is_none_or(|(_, record)| visible.contains(&record));
        let (kept, hidden): (Vec<_>, Vec<_>) = candidates.into_iter().partition(is_visible);
        refused.extend(hidden.iter().map(Candidate::hidden));
        Ok(kept)
    }

    /// What the event table holds of what is asked for: one statement, however many keys and organizations.
    pub(super) async fn beyond(&self, search: &Search) -> Result<Beyond, FeedError> {
        beyond(&self.database.feed, search).await
    }
}

async fn rights_now(app: &PgPool, asked: &BTreeSet<(PersonId, OrganizationId)>) -> Result<RightsNow, FeedError> {
    let (people, organizations): (Vec<_>, Vec<_>) = asked.iter().map(|(person, its)| (person.0, its.0)).unzip();
    let rows: Vec<(Uuid, Uuid, Option<sqlx::types::Json<WatchRights>>)> = sqlx::query_as(
        "select person, organization, millstream.watch_rights(person, organization)
         from unnest($1::uuid[], $2::uuid[]) as asked (person, organization)",
    )
    .bind(people)
    .bind(organizations)
    .fetch_all(app)
    .await?;
    let rights = rows.into_iter().filter_map(|(person, organization, rights)| {
        Some(((PersonId(person), OrganizationId(organization)), rights?.0))
    });
    Ok(rights.collect())
}

async fn rights_of_each(
    app: PgPool,
    asked: Vec<(PersonId, BTreeSet<OrganizationId>)>,
) -> Result<Vec<RightsThere>, FeedError> {
    let pair = |(person, organizations): &(PersonId, BTreeSet<OrganizationId>)| {
        let person = *person;
        organizations.iter().map(move |organization| (person, *organization)).collect::<Vec<_>>()
    };
    let rights = rights_now(&app, &asked.iter().flat_map(pair).collect()).await?;
    let there = |(person, organizations): (PersonId, BTreeSet<OrganizationId>)| {
        let known = organizations.into_iter().filter_map(|its| Some((its, rights.get(&(person, its))?.clone())));
        known.collect()
    };
    Ok(asked.into_iter().map(there).collect())
}

async fn standing_of_each(app: PgPool, sessions: Vec<Uuid>) -> Result<Vec<bool>, sqlx::Error> {
    let standing: Vec<Uuid> =
        sqlx::query_scalar("select millstream.standing_sessions($1)").bind(&sessions).fetch_all(&app).await?;
    let standing: HashSet<_> = standing.into_iter().collect();
    Ok(sessions.iter().map(|session| standing.contains(session)).collect())
}

/// One statement for all, as long as it finds no more than is looked at one by one. Where it finds more, those who have been
/// away for longer are asked for apart from the others, so that nobody's value counts as stale for somebody else's absence. Those
/// for whom it is known by then that they missed too much, because somebody did who was away for less, are not asked for at all:
/// where all have been away for long, it takes a handful of statements.
async fn beyond_each(feed: PgPool, searches: Vec<Search>) -> Result<Vec<Arc<Beyond>>, FeedError> {
    let mut order: Vec<_> = (0..searches.len()).collect();
    order.sort_by_key(|place| searches[*place].since.as_ref().map(|since| since.xmax()));
    let mut found: Vec<Option<Arc<Beyond>>> = vec![None; searches.len()];
    let mut too_much: Vec<(&Search, Arc<Beyond>)> = Vec::new();
    let mut together = vec![&order[..]];
    while let Some(places) = together.pop() {
        let is_known = |less: &Search| places.iter().all(|place| searches[*place].contains(less));
        if let Some((_, beyond)) = too_much.iter().find(|(less, _)| is_known(less)) {
            places.iter().for_each(|place| found[*place] = Some(beyond.clone()));
            continue;
        }
        let Some(search) = places.iter().map(|place| searches[*place].clone()).reduce(Search::and) else { continue };
        let beyond = beyond(&feed, &search).await?;
        if beyond.events.is_none() && places.len() > 1 {
            let (longer_away, others) = places.split_at(places.len() / 2);
            together.extend([longer_away, others]);
            continue;
        }
        let beyond = Arc::new(beyond);
        if let ([alone], None) = (places, &beyond.events) {
            too_much.push((&searches[*alone], beyond.clone()));
        }
        places.iter().for_each(|place| found[*place] = Some(beyond.clone()));
    }
    // Each place is in one part of the order.
    Ok(found.into_iter().flatten().collect())
}

async fn beyond(feed: &PgPool, search: &Search) -> Result<Beyond, FeedError> {
    let unreadable = |what: String| FeedError::Unreadable(what);
    let running = search.since.iter().flat_map(|since| since.running()).map(|xid| xid.0.to_string());
    let rows = sqlx::query(MISSED)
        // Without a snapshot nothing is beyond it: no xid compares with null.
        .bind(search.since.as_ref().map(|since| since.xmax().0.to_string()))
        .bind(running.collect::<Vec<_>>())
        .bind(search.organizations.iter().map(|organization| organization.0).collect::<Vec<_>>())
        .bind(search.people.iter().map(|person| person.0).collect::<Vec<_>>())
        .bind(MOST_MISSED + 1)
        .fetch_all(feed)
        .await?;
    let Some(first) = rows.first() else {
        return Err(unreadable("no row, where there is always one".to_owned()));
    };
    let cursor: String = first.try_get("snapshot")?;
    let cursor = cursor.parse().map_err(|_| unreadable(format!("snapshot {cursor}")))?;
    let epoch = first.try_get::<Option<Uuid>, _>("epoch")?.map(Epoch);
    let horizon: String = first.try_get("horizon")?;
    let horizon = Xid(horizon.parse().map_err(|_| unreadable(format!("horizon {horizon}")))?);
    let is_too_much = rows.len() as i64 > MOST_MISSED;
    let told = rows.iter().filter(|row| !matches!(row.try_get::<Option<String>, _>("xid"), Ok(None)));
    let events = if is_too_much { None } else { Some(told.map(feed::event).collect::<Result<_, _>>()?) };
    Ok(Beyond { cursor, epoch, horizon, events })
}

// As the feed's: of a lower bound that a client names, PostgreSQL is asked for no more than comparisons. In the order of the
// index, so that it stops where there is too much: else it would first gather all that there is beyond a bound, which after an
// hour's absence is a million.
const MISSED: &str = "
with now as materialized (
  select pg_current_snapshot()::text as snapshot,
    (select e.epoch from millstream.epoch e) as epoch, (select h.xid::text from millstream.horizon h) as horizon)
select now.snapshot, now.epoch, now.horizon, told.xid::text as xid, told.organization_id, told.person_id, told.table_name,
  told.record_id, told.event_type, told.audience, told.old_facets, told.new_facets, told.actor_id, told.mutation_id
from now left join lateral (
  (select e.* from public.realtime_table_events e
   where e.xid >= $1::xid8
     and (e.organization_id = any ($3) or e.person_id = any ($4) or (e.organization_id is null and e.person_id is null))
   order by e.xid limit $5)
  union all
  (select e.* from public.realtime_table_events e
   where e.xid = any ($2::text[]::xid8[])
     and (e.organization_id = any ($3) or e.person_id = any ($4) or (e.organization_id is null and e.person_id is null))
   limit $5)
  limit $5
) told on true";
