//! Watching without a race: the key is registered first, then the event table is asked what it holds beyond the
//! value's stamp, and only then is the client told that cursors vouch for it.
//!
//! The question is asked after the registration, so its snapshot covers the cursor that stood then: a change is either
//! found by the question, or routed to the key that is already registered, or both.

use super::interest::Watcher;
use super::registry::{Resolved, WatchRights};
use super::{ConnectionId, Hub, MOST_WATCHES, Watched};
use crate::error::{ApiError, Kind};
use crate::feed::{self, Event, FeedError};
use crate::key::{OrganizationId, PersonId, Shape};
use crate::snapshot::{Epoch, Xid};
use crate::sql::Actor;
use crate::wire::{Watch, WatchNumber};
use sqlx::Row;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use uuid::Uuid;

/// More events than this beyond a stamp are not looked at one by one: the value is stale.
const MOST_MISSED: i64 = 2_000;

struct Candidate {
    watch: Watch,
    resolved: Resolved,
}

impl Hub {
    /// Carries a watch frame out; what came of it is told by the connection's next tick.
    pub(super) async fn watch(&self, id: ConnectionId, person: PersonId, watches: Vec<Watch>) -> Result<(), FeedError> {
        self.counters.watch_checks.fetch_add(1, Ordering::Relaxed);
        let candidates = loop {
            let Some(version) = self.rights_version(id) else { return Ok(()) };
            let rights = self.rights(person, &watches).await?;
            let mut refused = Vec::new();
            let mut candidates = Vec::new();
            for watch in watches.clone() {
                match self.registry.resolve(&watch.key, rights.get(&watch.key.organization)) {
                    Ok(resolved) => candidates.push(Candidate { watch, resolved }),
                    Err(error) => refused.push((watch.number, error)),
                }
            }
            let candidates = self.keep_visible(person, candidates, &mut refused).await?;
            match self.register(id, version, candidates, refused) {
                Registered::As(candidates) => break candidates,
                Registered::RightsChanged => {}
            }
        };
        if candidates.is_empty() {
            return Ok(());
        }
        let stale = self.stale_among(person, &candidates).await?;

        let mut state = self.state();
        let Some(connection) = state.connections.get_mut(&id) else { return Ok(()) };
        for candidate in &candidates {
            let number = candidate.watch.number;
            // Given back, or ended with the rights, while the question was under way.
            if !connection.watches.contains_key(&number) {
                continue;
            }
            connection.outgoing.watching.push(number);
            if let Some(missed) = stale.get(&number) {
                let lag = connection.outgoing.stale.entry(number).or_insert_with(|| super::Lag::Xids(Vec::new()));
                match missed {
                    Missed::Changes(xids) => xids.iter().for_each(|xid| lag.add(Some(*xid))),
                    Missed::Unknown => lag.add(None),
                }
            }
        }
        connection.wake.notify_one();
        Ok(())
    }

    fn rights_version(&self, id: ConnectionId) -> Option<u64> {
        self.state().connections.get(&id).map(|connection| connection.rights_version)
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
        refused: &mut Vec<(WatchNumber, ApiError)>,
    ) -> Result<Vec<Candidate>, FeedError> {
        let mut asked: HashMap<&'static str, Vec<Uuid>> = HashMap::new();
        for Candidate { resolved, .. } in candidates.iter().filter(|candidate| candidate.resolved.is_narrowed) {
            if let Shape::Record(record) = resolved.key.shape {
                asked.entry(resolved.key.table).or_default().push(record);
            }
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
        let (kept, hidden): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|candidate: &Candidate| match candidate.resolved.key.shape {
                Shape::Record(record) if candidate.resolved.is_narrowed => visible.contains(&record),
                _ => true,
            });
        refused.extend(hidden.iter().map(|candidate| (candidate.watch.number, ApiError::not_found("record"))));
        Ok(kept)
    }

    /// From here on changes are routed to the keys. Nothing is registered by rights that changed meanwhile.
    fn register(
        &self,
        id: ConnectionId,
        version: u64,
        candidates: Vec<Candidate>,
        refused: Vec<(WatchNumber, ApiError)>,
    ) -> Registered {
        let mut state = self.state();
        match state.connections.get(&id) {
            None => return Registered::As(Vec::new()),
            Some(connection) if connection.rights_version != version => return Registered::RightsChanged,
            Some(_) => {}
        }
        for (number, error) in refused {
            state.refuse(id, number, error);
        }
        let mut registered = Vec::new();
        for candidate in candidates {
            let number = candidate.watch.number;
            let Some(connection) = state.connections.get_mut(&id) else { break };
            if connection.watches.contains_key(&number) {
                state.refuse(id, number, ApiError::field("number", "is taken by another watch of this connection"));
                continue;
            }
            if connection.watches.len() >= MOST_WATCHES {
                let why = format!("A connection watches at most {MOST_WATCHES} keys.");
                state.refuse(id, number, ApiError::new(Kind::TooMany, why));
                continue;
            }
            let organization = candidate.resolved.key.organization;
            let dependencies = candidate.resolved.dependencies.clone();
            connection.watches.insert(number, Watched { organization, dependencies: dependencies.clone() });
            state.interest.add(organization, &dependencies, Watcher { connection: id, number });
            registered.push(candidate);
        }
        Registered::As(registered)
    }

    /// What changed beyond each value's stamp: one statement for all keys.
    async fn stale_among(
        &self,
        person: PersonId,
        candidates: &[Candidate],
    ) -> Result<HashMap<WatchNumber, Missed>, FeedError> {
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
        let events: Vec<Event> =
            if is_too_much { Vec::new() } else { told.map(feed::event).collect::<Result<_, _>>()? };

        let mut stale = HashMap::new();
        for Candidate { watch, resolved } in candidates {
            if is_too_much || epoch != Some(watch.epoch) || !watch.snapshot.sees_all_before(horizon) {
                stale.insert(watch.number, Missed::Unknown);
                continue;
            }
            let missed: Vec<Xid> = events
                .iter()
                .filter(|event| {
                    event.organization == Some(resolved.key.organization)
                        && !watch.snapshot.sees(event.xid)
                        && event.audience.as_ref().is_none_or(|audience| audience.contains(&person))
                        && resolved.dependencies.iter().any(|dependency| dependency.affected_by(&event.change))
                })
                .map(|event| event.xid)
                .collect();
            if !missed.is_empty() {
                stale.insert(watch.number, Missed::Changes(missed));
            }
        }
        Ok(stale)
    }
}

/// What came of registering keys.
enum Registered {
    As(Vec<Candidate>),
    /// The rights that were asked for are old: ask again.
    RightsChanged,
}

/// Why a value is stale.
enum Missed {
    Changes(Vec<Xid>),
    /// Its stamp is of another epoch, or older than what is kept, or too far back to be looked at.
    Unknown,
}

const MISSED: &str = "
with now as materialized (
  select (select e.epoch from millstream.epoch e) as epoch, (select h.xid::text from millstream.horizon h) as horizon)
select now.epoch, now.horizon, told.*
from now left join lateral (
  select e.xid::text as xid, e.organization_id, e.person_id, e.table_name, e.record_id, e.event_type, e.audience,
    e.old_facets, e.new_facets, e.actor_id, e.mutation_id
  from public.realtime_table_events e
  where e.xid >= $1::xid8 and e.organization_id = any ($2)
  limit $3
) told on true";
