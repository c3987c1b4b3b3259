//! What a value has missed since it was read: the answer to the stamp that comes with a watch. Pure.

use super::registry::{Registry, Resolved};
use crate::error::ApiError;
use crate::feed::Event;
use crate::key::{OrganizationId, PersonId, Shape};
use crate::snapshot::{Epoch, Snapshot, Stamp, Xid};
use crate::wire::{Refused, Watch, WatchNumber};
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

/// A key that is about to be watched, with the stamp of the value that the client holds.
pub(crate) struct Candidate {
    pub(crate) watch: Watch,
    pub(crate) resolved: Resolved,
}

impl Candidate {
    /// The table and record of which it has to be asked whether the person sees it: rights that are narrowed say what
    /// can change a record, not whether one may know of it.
    pub(crate) fn asks_visibility(&self) -> Option<(&'static str, Uuid)> {
        match self.resolved.key.shape {
            Shape::Record(record) if self.resolved.is_narrowed => Some((self.resolved.key.table, record)),
            _ => None,
        }
    }

    /// The refusal of a record that the person cannot see.
    pub(crate) fn hidden(&self) -> Refused {
        Refused { number: self.watch.number, error: ApiError::not_found("record") }
    }
}

/// What is asked of the event table.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    /// Only what somebody who has seen this has not seen; none where nothing is asked about.
    pub(crate) since: Option<Snapshot>,
    pub(crate) organizations: BTreeSet<OrganizationId>,
    /// Whose rights matter.
    pub(crate) people: BTreeSet<PersonId>,
}

impl Search {
    /// Only what time it is.
    pub(crate) fn nothing(person: PersonId) -> Self {
        Self { since: None, organizations: BTreeSet::new(), people: BTreeSet::from([person]) }
    }

    /// For all keys at once, and for what concerns the person beyond `cursor`, where they have one.
    pub(crate) fn of(person: PersonId, cursor: Option<&Stamp>, candidates: &[Candidate]) -> Self {
        let held = candidates.iter().map(|candidate| &candidate.watch.snapshot);
        let seen = held.chain(cursor.map(|cursor| &cursor.snapshot));
        let since =
            seen.fold(None, |met: Option<Snapshot>, seen| Some(met.map_or_else(|| seen.clone(), |met| met.meet(seen))));
        let organizations = candidates.iter().map(|candidate| candidate.resolved.key.organization).collect();
        Self { since, organizations, people: BTreeSet::from([person]) }
    }

    /// What finds all that either finds, and more.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.since = match (self.since, other.since) {
            (Some(since), Some(other)) => Some(since.meet(&other)),
            (since, other) => since.or(other),
        };
        self.organizations.extend(other.organizations);
        self.people.extend(other.people);
        self
    }

    /// Whether this finds too much where the other does: it looks in as many organizations, and from as early on. What concerns single
    /// people only is little, and does not count.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        let (Some(own), Some(others)) = (&self.since, &other.since) else { return false };
        others.covers(own) && self.organizations.is_superset(&other.organizations)
    }
}

/// What the event table holds of what was asked for: in the organizations, of the person, and for everybody.
pub(crate) struct Beyond {
    /// What the statement saw.
    pub(crate) cursor: Snapshot,
    /// None where the database has just crashed and nobody has begun a new one.
    pub(crate) epoch: Option<Epoch>,
    /// Events of transactions before this one are no longer all kept.
    pub(crate) horizon: Xid,
    /// None where they are too many to be looked at one by one.
    pub(crate) events: Option<Vec<Event>>,
}

impl Beyond {
    /// The cursor with its epoch, where there is one.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        Some(Stamp { snapshot: self.cursor.clone(), epoch: self.epoch? })
    }
}

/// Why a value is stale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    Changes(Vec<Xid>),
    /// Its stamp is of another epoch, or older than what is kept, or too far back to be looked at.
    Unknown,
}

/// Those of the person's candidates whose values are stale, and why. A value is also stale if the person's rights
/// changed beyond its stamp: it was read by those that are gone.
pub(crate) fn missed(
    registry: &Registry,
    person: PersonId,
    candidates: &[Candidate],
    beyond: &Beyond,
) -> HashMap<WatchNumber, Missed> {
    let why = |Candidate { watch, resolved }: &Candidate| {
        let events = beyond
            .events
            .as_ref()
            .filter(|_| beyond.epoch == Some(watch.epoch) && watch.snapshot.sees_all_before(beyond.horizon));
        let Some(events) = events else { return Some(Missed::Unknown) };
        let changes_rights = |event: &Event| {
            changes_rights_of(registry, person, event)
                && event.organization.is_none_or(|organization| organization == resolved.key.organization)
        };
        let changes_value = |event: &Event| {
            event.organization == Some(resolved.key.organization)
                && event.audience.as_ref().is_none_or(|audience| audience.contains(&person))
                && resolved.dependencies.iter().any(|dependency| dependency.affected_by(&event.change))
        };
        let affects =
            |event: &&Event| !watch.snapshot.sees(event.xid) && (changes_value(event) || changes_rights(event));
        let xids: Vec<_> = events.iter().filter(affects).map(|event| event.xid).collect();
        (!xids.is_empty()).then_some(Missed::Changes(xids))
    };
    let stale = candidates.iter().filter_map(|candidate| Some((candidate.watch.number, why(candidate)?)));
    stale.collect()
}

/// Whether the event changes the person's rights, somewhere.
pub(crate) fn changes_rights_of(registry: &Registry, person: PersonId, event: &Event) -> bool {
    registry.decides_rights(&event.change.table) && event.person.is_none_or(|whose| whose == person)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::EventKind;
    use crate::key::{Change, Dependency, Facets, QueryKey, WireKey};

    const PERSON: PersonId = PersonId(Uuid::from_u128(1));
    const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(2));
    const EPOCH: Epoch = Epoch(Uuid::from_u128(3));

    fn event(table: &str, organization: Option<OrganizationId>, person: Option<PersonId>) -> Event {
        Event {
            xid: Xid(7),
            organization,
            person,
            record: Uuid::nil(),
            kind: EventKind::Update,
            audience: None,
            actor: None,
            mutation: None,
            change: Change { table: table.to_owned(), old: Some(Facets::default()), new: Some(Facets::default()) },
        }
    }

    fn missed_by(at: &str, event: Event) -> Option<Missed> {
        let registry = Registry::default().rights("memberships").rights("roles");
        let key = QueryKey { organization: ORGANIZATION, table: "orders", shape: Shape::Record(Uuid::nil()) };
        let watch = Watch { number: 1, key: WireKey::from(&key), snapshot: at.parse().expect(at), epoch: EPOCH };
        let resolved = Resolved { key, dependencies: vec![Dependency::all("orders")], is_narrowed: false };
        let cursor = "9:9:".parse().expect("a snapshot");
        let beyond = Beyond { cursor, epoch: Some(EPOCH), horizon: Xid(0), events: Some(vec![event]) };
        missed(&registry, PERSON, &[Candidate { watch, resolved }], &beyond).remove(&1)
    }

    #[test]
    fn whoever_was_away_for_longer_misses_as_much() {
        let search = |since: Option<&str>, organizations: &[u128]| Search {
            since: since.map(|since| since.parse().expect("a snapshot")),
            organizations: organizations.iter().map(|id| OrganizationId(Uuid::from_u128(*id))).collect(),
            people: BTreeSet::new(),
        };
        let newer = search(Some("7:9:7"), &[1, 2]);
        for (since, organizations, contains) in [
            (Some("5:5:"), &[1, 2, 3][..], true),
            (Some("7:9:7"), &[1, 2], true),
            (Some("7:9:7,8"), &[1, 2], true),
            (Some("9:9:"), &[1, 2], false),
            (Some("5:5:"), &[1, 3], false),
            (None, &[1, 2], false),
        ] {
            assert_eq!(search(since, organizations).contains(&newer), contains, "{since:?} {organizations:?}");
        }
    }

    // Found by the simulator, seed 176: whose sight was narrowed between a read and its watch kept what the wider one gave.
    #[test]
    fn a_value_read_by_rights_that_have_changed_since_is_stale() {
        let changed = Some(Missed::Changes(vec![Xid(7)]));
        let other = OrganizationId(Uuid::from_u128(9));
        let somebody = PersonId(Uuid::from_u128(9));
        let cases = [
            ("6:6:", event("memberships", Some(ORGANIZATION), Some(PERSON)), changed.clone(), "one's own membership"),
            ("6:6:", event("roles", None, None), changed.clone(), "the role catalogue"),
            ("8:8:", event("memberships", Some(ORGANIZATION), Some(PERSON)), None, "seen by the value"),
            ("6:6:", event("memberships", Some(ORGANIZATION), Some(somebody)), None, "somebody else's"),
            ("6:6:", event("memberships", Some(other), Some(PERSON)), None, "elsewhere"),
            ("6:6:", event("orders", Some(ORGANIZATION), None), changed, "no right, but the row"),
        ];
        for (at, event, expected, what) in cases {
            assert_eq!(missed_by(at, event), expected, "{what}");
        }
    }
}
