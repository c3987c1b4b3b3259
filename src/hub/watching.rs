//! Watching without a race: the key is registered first, then the event table is asked what it holds beyond the
//! value's stamp, and only then is the client told that cursors vouch for it.
//!
//! The question is asked after the registration, so its snapshot covers the cursor that stood then: a change is either
//! found by the question, or routed to the key that is already registered, or both.

use super::Hub;
use super::missed::{Beyond, Candidate, missed};
use super::registry::WatchRights;
use super::routing::{ConnectionId, Registered};
use crate::feed::{self, FeedError};
use crate::key::{OrganizationId, PersonId};
use crate::snapshot::{Epoch, Xid};
use crate::sql::Actor;
use crate::wire::{Refused, Watch};
use sqlx::Row;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use uuid::Uuid;

/// More events than this beyond a stamp are not looked at one by one: the value is stale.
const MOST_MISSED: i64 = 2_000;

impl Hub {
    /// Carries a watch frame out; what came of it is told by the connection's next tick.
    pub(super) async fn watch(&self, id: ConnectionId, person: PersonId, watches: Vec<Watch>) -> Result<(), FeedError> {
        self.counters.watch_checks.fetch_add(1, Ordering::Relaxed);
        let candidates = loop {
            let Some(version) = self.decide(|routing| routing.begin(id, &watches)) else { return Ok(()) };
            let rights = self.rights(person, &watches).await?;
            let (candidates, mut refused) = self.registry.judge(watches.clone(), &rights);
            let candidates = self.keep_visible(person, candidates, &mut refused).await?;
            match self.decide(|routing| routing.register(id, version, candidates, refused)) {
                Registered::As(candidates) => break candidates,
                Registered::RightsChanged => {}
            }
        };
        if candidates.is_empty() {
            return Ok(());
        }
        let beyond = self.beyond(&candidates).await?;
        let stale = missed(&self.registry, person, &candidates, &beyond);
        self.decide(|routing| routing.settle(id, &candidates, &stale));
        Ok(())
    }

    /// One statement for all organizations of the frame.
    async fn rights(
        &self,
        person: PersonId,
        watches: &[Watch],
    ) -> Result<HashMap<OrganizationId, WatchRights>, FeedError> {
        let organizations: HashSet<Uuid> = watches.iter().map(|watch| watch.key.organization.0).collect();
        let rows: Vec<(Uuid, Option<sqlx::types::Json<WatchRights>>)> =
            sqlx::query_as("select asked, millstream.watch_rights($1, asked) from unnest($2::uuid[]) as asked")
                .bind(person.0)
                .bind(organizations.into_iter().collect::<Vec<_>>())
                .fetch_all(&self.database.app)
                .await?;
        Ok(rows
            .into_iter()
            .filter_map(|(organization, rights)| Some((OrganizationId(organization), rights?.0)))
            .collect())
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

    /// What the event table holds beyond the values' stamps: one statement for all keys.
    async fn beyond(&self, candidates: &[Candidate]) -> Result<Beyond, FeedError> {
        let oldest = candidates.iter().map(|candidate| candidate.watch.snapshot.xmin()).min().unwrap_or(Xid(0));
        let organizations: HashSet<Uuid> =
            candidates.iter().map(|candidate| candidate.resolved.key.organization.0).collect();
        let rows = sqlx::query(MISSED)
            .bind(oldest.0.to_string())
            .bind(organizations.into_iter().collect::<Vec<_>>())
            .bind(MOST_MISSED + 1)
            .fetch_all(&self.database.feed)
            .await?;
        let Some(first) = rows.first() else {
            return Err(FeedError::Unreadable("no row, where there is always one".to_owned()));
        };
        let epoch = first.try_get::<Option<Uuid>, _>("epoch")?.map(Epoch);
        let horizon: String = first.try_get("horizon")?;
        let horizon = Xid(horizon.parse().map_err(|_| FeedError::Unreadable(format!("horizon {horizon}")))?);
        let is_too_much = rows.len() as i64 > MOST_MISSED;
        let told = rows.iter().filter(|row| !matches!(row.try_get::<Option<String>, _>("xid"), Ok(None)));
        let events = if is_too_much { None } else { Some(told.map(feed::event).collect::<Result<_, _>>()?) };
        Ok(Beyond { epoch, horizon, events })
    }
}

const MISSED: &str = "
with now as materialized (
  select (select e.epoch from millstream.epoch e) as epoch, (select h.xid::text from millstream.horizon h) as horizon)
select now.epoch, now.horizon, told.*
from now left join lateral (
  select e.xid::text as xid, e.organization_id, e.person_id, e.table_name, e.record_id, e.event_type, e.audience,
    e.old_facets, e.new_facets, e.actor_id, e.mutation_id
  from public.realtime_table_events e
  where e.xid >= $1::xid8
    and (e.organization_id = any ($2) or (e.organization_id is null and e.person_id is null))
  limit $3
) told on true";
