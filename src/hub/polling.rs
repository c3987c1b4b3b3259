//! The answer to a question by HTTP, where no socket gets through: what a connection that stood since the question's
//! cursor would have said. Nothing is remembered between two questions.
//!
//! Rights are asked for first, the event table last: what changed them in between is found by the latter, and then nothing
//! is said by the former.

use super::Hub;
use super::missed::{Beyond, Candidate, Missed, Search, changes_rights_of, missed};
use super::outgoing::Outgoing;
use super::registry::Registry;
use super::routing::{MOST_WATCHES, RightsThere};
use crate::error::{ApiError, Kind};
use crate::feed::{Event, EventKind, FeedError};
use crate::key::{OrganizationId, PersonId};
use crate::snapshot::{Stamp, Xid};
use crate::wire::{By, Held, Passed, Question, Refused, Reply, Rights, ServerFrame, Standing, Watch, WatchNumber};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::Ordering;

impl Hub {
    /// Answers the person's question, by a handful of statements however many keys it names.
    ///
    /// # Errors
    /// 422 for what is no question, 503 where the database cannot be asked.
    pub async fn answer(&self, person: PersonId, question: Question) -> Result<Reply, ApiError> {
        self.counters.questions.fetch_add(1, Ordering::Relaxed);
        let asked = Asked::of(question)?;
        self.look_up(person, asked).await.map_err(|error| {
            tracing::warn!(%error, "a question could not be answered");
            ApiError::new(Kind::Unreachable, "The server cannot answer at the moment. Try again shortly.")
        })
    }

    async fn look_up(&self, person: PersonId, mut asked: Asked) -> Result<Reply, FeedError> {
        if asked.cursor.is_none() {
            asked.cursor = Some(self.beyond(&Search::nothing(person)).await?.stamp().ok_or_else(crashed)?);
        }
        let rights = self.rights(person, asked.organizations.iter().copied()).await?;
        let (candidates, refused) = self.judge(person, asked.watches.clone(), &rights).await?;
        let told = Told::new(person, asked, candidates, refused);
        let search = told.search();
        let beyond = self.beyond(&search).await?;
        let cursor = beyond.stamp().ok_or_else(crashed)?;
        // Too many events to be looked at: those that change rights are few, and asked for alone.
        let alone = match &beyond.events {
            Some(_) => None,
            None => self.beyond(&Search { organizations: BTreeSet::new(), ..search }).await?.events,
        };
        let events = beyond.events.as_ref().or(alone.as_ref());
        let changed = told.changes_of_rights(&self.registry, &beyond, events.map_or(&[], Vec::as_slice));
        let now =
            if changed.is_empty() { RightsThere::new() } else { self.rights(person, changed.keys().copied()).await? };
        let mut frames = vec![ServerFrame::Hello { person }];
        frames.extend(told.frames(&self.registry, &beyond, &changed, &now, cursor));
        frames.iter().for_each(|frame| self.counters.told(frame));
        Ok(Reply { frames })
    }
}

fn crashed() -> FeedError {
    FeedError::Unreadable("no epoch: the database has just crashed".to_owned())
}

/// A question that makes sense.
pub(crate) struct Asked {
    /// Of a first question, the moment before its rights are asked for (found by the simulator, seed 5851: who joined between
    /// that and the answer's cursor was refused, and never told that they had joined).
    pub(crate) cursor: Option<Stamp>,
    pub(crate) watches: Vec<Watch>,
    /// The numbers that are asked about for the first time.
    pub(crate) new: BTreeSet<WatchNumber>,
    /// The organizations of their keys.
    pub(crate) of: HashMap<WatchNumber, OrganizationId>,
    /// Where it watches, or was refused to.
    pub(crate) organizations: BTreeSet<OrganizationId>,
}

impl Asked {
    pub(crate) fn of(question: Question) -> Result<Self, ApiError> {
        let Question { cursor, epoch, held, watch, organizations } = question;
        if organizations.len() > MOST_WATCHES {
            return Err(ApiError::field("organizations", format!("at most {MOST_WATCHES} can be asked about")));
        }
        if held.len() + watch.len() > MOST_WATCHES {
            return Err(ApiError::field("watch", format!("at most {MOST_WATCHES} keys can be asked about")));
        }
        let cursor = match (cursor, epoch) {
            (Some(snapshot), Some(epoch)) => Some(Stamp { snapshot, epoch }),
            (None, None) => None,
            _ => return Err(ApiError::field("cursor", "stands with its epoch, or neither does")),
        };
        let new = watch.iter().map(|watch| watch.number).collect();
        let mut watches = watch;
        match &cursor {
            Some(Stamp { snapshot, epoch }) => watches.extend(held.into_iter().map(|Held { number, key }| Watch {
                number,
                key,
                snapshot: snapshot.clone(),
                epoch: *epoch,
            })),
            None if held.is_empty() => {}
            None => return Err(ApiError::field("held", "is asked about as of a cursor, and there is none")),
        }
        let numbers: HashSet<_> = watches.iter().map(|watch| watch.number).collect();
        if numbers.len() < watches.len() {
            return Err(ApiError::field("number", "names two keys"));
        }
        let of = watches.iter().map(|watch| (watch.number, watch.key.organization)).collect();
        let organizations = watches.iter().map(|watch| watch.key.organization).chain(organizations).collect();
        Ok(Self { cursor, watches, new, of, organizations })
    }
}

/// What is known before it is told.
pub(crate) struct Told {
    person: PersonId,
    asked: Asked,
    candidates: Vec<Candidate>,
    refused: Vec<Refused>,
}

/// How the person's rights in an organization have changed.
pub(crate) enum Change {
    By {
        xids: BTreeSet<Xid>,
        is_more_than_joining: bool,
    },
    /// Perhaps not at all: the cursor lies too far back to say.
    Unknown,
}

/// By organization.
pub(crate) type ChangesOfRights = BTreeMap<OrganizationId, Change>;

impl Told {
    /// `candidates` and `refused` are what the keys were judged to be.
    pub(crate) fn new(person: PersonId, asked: Asked, candidates: Vec<Candidate>, refused: Vec<Refused>) -> Self {
        Self { person, asked, candidates, refused }
    }

    /// What is to be asked of the event table.
    pub(crate) fn search(&self) -> Search {
        Search::of(self.person, self.asked.cursor.as_ref(), &self.candidates)
    }

    /// Where the person's rights changed beyond the cursor. Of what lies too far back nothing is known: then they may have
    /// changed wherever something is asked about, and also since that was judged (found by the simulator, seed 4460).
    pub(crate) fn changes_of_rights(&self, registry: &Registry, beyond: &Beyond, events: &[Event]) -> ChangesOfRights {
        let Some(cursor) = &self.asked.cursor else { return ChangesOfRights::new() };
        let unknown = || self.asked.organizations.iter().map(|organization| (*organization, Change::Unknown));
        if beyond.epoch != Some(cursor.epoch) {
            return unknown().collect();
        }
        let mut changed: BTreeMap<OrganizationId, (BTreeSet<Xid>, bool)> = BTreeMap::new();
        let unseen = events.iter().filter(|event| !cursor.snapshot.sees(event.xid));
        for event in unseen.filter(|event| changes_rights_of(registry, self.person, event)) {
            let is_joining = event.kind == EventKind::Insert && event.person.is_some();
            let everywhere = || self.asked.organizations.clone();
            for organization in event.organization.map_or_else(everywhere, |its| BTreeSet::from([its])) {
                let (xids, is_more_than_joining) = changed.entry(organization).or_default();
                xids.insert(event.xid);
                *is_more_than_joining |= !is_joining;
            }
        }
        let by =
            |(organization, (xids, is_more_than_joining))| (organization, Change::By { xids, is_more_than_joining });
        let mut changed: ChangesOfRights = changed.into_iter().map(by).collect();
        if !cursor.snapshot.sees_all_before(beyond.horizon) {
            changed.extend(unknown());
        }
        changed
    }

    /// The frames, by the rights that the person has `now` where they have changed.
    pub(crate) fn frames(
        &self,
        registry: &Registry,
        beyond: &Beyond,
        changed: &ChangesOfRights,
        now: &RightsThere,
        cursor: Stamp,
    ) -> Vec<ServerFrame> {
        let mut outgoing = Outgoing::default();
        for (organization, change) in changed {
            let (standing, by) = match change {
                Change::Unknown => (Standing::Changed, None),
                Change::By { xids, is_more_than_joining } => {
                    let standing = match (now.contains_key(organization), is_more_than_joining) {
                        (false, _) => Standing::Removed,
                        (true, false) => Standing::Changed,
                        // Nobody remembers by which rights the person saw what they hold.
                        (true, true) => Standing::Narrowed,
                    };
                    (standing, Some(By { xids: xids.iter().copied().collect(), epoch: cursor.epoch }))
                }
            };
            outgoing.rights(Rights { organization: *organization, standing, by });
        }
        let stale = missed(registry, self.person, &self.candidates, beyond);
        // Where rights changed, the watches have ended.
        let has_ended = |number: &WatchNumber| {
            self.asked.of.get(number).is_some_and(|organization| changed.contains_key(organization))
        };
        for number in self.candidates.iter().map(|candidate| candidate.watch.number).filter(|number| !has_ended(number))
        {
            if self.asked.new.contains(&number) {
                outgoing.watching(number);
            }
            match stale.get(&number) {
                Some(Missed::Changes(xids)) => xids.iter().for_each(|xid| outgoing.stale(number, Some(*xid))),
                Some(Missed::Unknown) => outgoing.stale(number, None),
                None => {}
            }
        }
        let refused = self.refused.iter().filter(|refused| !has_ended(&refused.number));
        refused.for_each(|refused| outgoing.refused(refused.clone()));
        if let Some(since) = &self.asked.cursor {
            let events = beyond.events.iter().flatten();
            let own = events.filter(|event| event.actor == Some(self.person) && !since.sees(event.xid, cursor.epoch));
            own.filter_map(|event| Some(Passed { mutation_id: event.mutation?, xid: event.xid }))
                .for_each(|passed| outgoing.passed(passed));
        }
        outgoing.take_frames(Some(cursor), true).0
    }
}
