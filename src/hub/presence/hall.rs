//! One organization: who is there, and who is told of it. Pure.
//!
//! Three circles, by what a connection has before it: whoever is in the organization is told who else is; a list, who is at
//! which record of its table; a record, who is at it, in which field, and whether they type. So a key that somebody presses
//! concerns those at the same record, however many there are in the organization.

use super::nodes::Stated;
use super::room::{Moment, Sees};
use crate::hub::routing::ConnectionId;
use crate::key::{OrganizationId, PersonId};
use crate::wire::{Here, Place, Presence};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Where more are at once, only those are named who are at a record that the connection has before it, or at one of a list;
/// at most as many.
pub(crate) const MOST_NAMED: usize = 100;
/// The sources of one person that count: those that they turned to last.
const MOST_SOURCES: usize = 16;

/// A connection is told of an organization no more often than this: of those at its record,
const AT_RECORD: Moment = 250;
/// of who comes and goes, and of those in its list,
const IN_ORGANIZATION: Moment = 1_000;
/// and of how many there are, where they are not named.
const IN_CROWD: Moment = 2_000;

/// Who says that somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Tab(ConnectionId, Uuid),
    /// Another process.
    Node(Uuid),
}

#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) whose: Whose,
    pub(super) place: Option<Place>,
    /// The latest of a person's sources says where they are.
    pub(super) turned_at: Moment,
    pub(super) until: Moment,
}

/// Of whom something has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// What the tabs of this process say: other processes have to hear of it.
    Ours,
    None,
}

/// A table's list, or a record of it.
type Look = (String, Option<Uuid>);
/// When who is to be told of which organization.
pub(super) type Due = BTreeSet<(Moment, ConnectionId, OrganizationId)>;

pub(super) struct Hall {
    organization: OrganizationId,
    people: BTreeMap<PersonId, Somebody>,
    /// Of a list: who is at any record of its table.
    at: FxHashMap<Look, BTreeSet<PersonId>>,
    viewers: FxHashMap<ConnectionId, Viewer>,
    looking: FxHashMap<Look, BTreeSet<ConnectionId>>,
}

#[derive(Default)]
struct Somebody {
    sources: Vec<Source>,
    /// Where others see them; none before the first [`Hall::show`].
    shown: Option<Option<Place>>,
    /// What the tabs of this process say.
    ours: Option<Option<Place>>,
}

/// A connection that is told who is there.
struct Viewer {
    person: PersonId,
    sees: Sees,
    looks: BTreeSet<Look>,
    told: BTreeMap<PersonId, Option<Place>>,
    told_others: u32,
    /// None before the first time.
    told_at: Option<Moment>,
    due: Option<Moment>,
    is_woken: bool,
}

impl Somebody {
    fn latest<'a>(sources: impl Iterator<Item = &'a Source>) -> Option<Option<Place>> {
        sources.max_by_key(|source| source.turned_at).map(|source| source.place.clone())
    }

    fn ours(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|source| matches!(source.whose, Whose::Tab(..)))
    }
}

impl Viewer {
    /// The place, as far as it concerns the connection and the person may see its table.
    fn told_of(&self, place: Option<&Place>) -> Option<Place> {
        let place = place?;
        let record = place.record?;
        if !self.sees.tables.contains(place.table.as_str()) {
            None
        } else if self.looks.contains(&(place.table.clone(), Some(record))) {
            Some(place.clone())
        } else if self.looks.contains(&(place.table.clone(), None)) {
            Some(Place { field: None, is_typing: false, ..place.clone() })
        } else {
            None
        }
    }

    fn is_due(
        &mut self,
        id: ConnectionId,
        organization: OrganizationId,
        no_sooner: Moment,
        now: Moment,
        due: &mut Due,
    ) {
        let at = self.told_at.map_or(now, |told_at| (told_at + no_sooner).max(now));
        if self.is_woken || self.due.is_some_and(|before| before <= at) {
            return;
        }
        if let Some(before) = self.due.replace(at) {
            due.remove(&(before, id, organization));
        }
        due.insert((at, id, organization));
    }
}

impl Hall {
    pub(super) fn new(organization: OrganizationId) -> Self {
        Self {
            organization,
            people: BTreeMap::new(),
            at: FxHashMap::default(),
            viewers: FxHashMap::default(),
            looking: FxHashMap::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.people.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.people.is_empty() && self.viewers.is_empty()
    }

    fn is_crowd(&self) -> bool {
        self.people.len() > MOST_NAMED
    }

    // -------------------------------------------------------------------------------------------------- who is there

    /// To be followed by [`Hall::show`], as all that touches a source.
    pub(super) fn put(&mut self, person: PersonId, source: Source) {
        let sources = &mut self.people.entry(person).or_default().sources;
        match sources.iter_mut().find(|before| before.whose == source.whose) {
            Some(before) => *before = source,
            None => sources.push(source),
        }
        if sources.len() > MOST_SOURCES {
            sources.sort_unstable_by_key(|source| std::cmp::Reverse(source.turned_at));
            sources.truncate(MOST_SOURCES);
        }
    }

    /// The source says so no longer than until then.
    pub(super) fn bound(&mut self, person: PersonId, whose: Whose, until: Moment) {
        let sources = self.people.get_mut(&person).into_iter().flat_map(|somebody| &mut somebody.sources);
        sources.filter(|source| source.whose == whose).for_each(|source| source.until = source.until.min(until));
    }

    /// Nobody says that the person is there.
    pub(super) fn clear(&mut self, person: PersonId) {
        if let Some(somebody) = self.people.get_mut(&person) {
            somebody.sources.clear();
        }
    }

    pub(super) fn everybody(&self) -> Vec<PersonId> {
        self.people.keys().copied().collect()
    }

    /// Those of whom a source has ended by now.
    pub(super) fn ended(&self, now: Moment) -> Vec<PersonId> {
        let has_ended = |somebody: &Somebody| somebody.sources.iter().any(|source| source.until <= now);
        self.people.iter().filter(|(_, somebody)| has_ended(somebody)).map(|(person, _)| *person).collect()
    }

    /// What the tabs of this process say of the person, for other processes.
    pub(super) fn here(&self, person: PersonId, now: Moment) -> Option<Stated> {
        let somebody = self.people.get(&person)?;
        let place = Somebody::latest(somebody.ours())?;
        let milliseconds = |long: Moment| u32::try_from(long).unwrap_or(u32::MAX);
        let turned_at = somebody.ours().map(|source| source.turned_at).max()?;
        let until = somebody.ours().map(|source| source.until).max()?;
        let (ago, left) = (milliseconds(now.saturating_sub(turned_at)), milliseconds(until.saturating_sub(now)));
        Some(Stated { organization: self.organization, person, place, ago, left })
    }

    /// Where the person is now, by the sources that stand: whom it concerns has news.
    pub(super) fn show(&mut self, person: PersonId, now: Moment, due: &mut Due) -> News {
        let Some(somebody) = self.people.get_mut(&person) else { return News::None };
        somebody.sources.retain(|source| source.until > now);
        let (shown, ours) = (Somebody::latest(somebody.sources.iter()), Somebody::latest(somebody.ours()));
        let before = std::mem::replace(&mut somebody.shown, shown.clone());
        let news = if std::mem::replace(&mut somebody.ours, ours.clone()) == ours { News::None } else { News::Ours };
        if shown.is_none() {
            self.people.remove(&person);
        }
        if before == shown {
            return news;
        }
        if before.is_some() != shown.is_some() {
            let no_sooner = if self.is_crowd() { IN_CROWD } else { IN_ORGANIZATION };
            for (id, viewer) in &mut self.viewers {
                viewer.is_due(*id, self.organization, no_sooner, now, due);
            }
        }
        let look = |place: Option<Option<Place>>| place.flatten().map(|place| (place.table, place.record));
        let is_moved = look(before.clone()) != look(shown.clone());
        for (place, is_there) in [(before, false), (shown, true)] {
            let Some((table, Some(record))) = look(place) else { continue };
            let (record, list) = ((table.clone(), Some(record)), (table, None));
            for look in [&record, &list] {
                let at = self.at.entry(look.clone()).or_default();
                if is_there {
                    at.insert(person);
                } else {
                    at.remove(&person);
                }
                if at.is_empty() {
                    self.at.remove(look);
                }
            }
            self.tell_those_at(&record, AT_RECORD, now, due);
            if is_moved {
                self.tell_those_at(&list, IN_ORGANIZATION, now, due);
            }
        }
        news
    }

    fn tell_those_at(&mut self, look: &Look, no_sooner: Moment, now: Moment, due: &mut Due) {
        for id in self.looking.get(look).into_iter().flatten() {
            if let Some(viewer) = self.viewers.get_mut(id) {
                viewer.is_due(*id, self.organization, no_sooner, now, due);
            }
        }
    }

    // -------------------------------------------------------------------------------------------------- who is told

    /// The connection is told from now on, by these rights.
    pub(super) fn enter(&mut self, id: ConnectionId, person: PersonId, sees: &Sees, now: Moment, due: &mut Due) {
        if self.viewers.contains_key(&id) {
            return;
        }
        let mut viewer = Viewer {
            person,
            sees: sees.clone(),
            looks: BTreeSet::new(),
            told: BTreeMap::new(),
            told_others: 0,
            told_at: None,
            due: None,
            is_woken: false,
        };
        viewer.is_due(id, self.organization, 0, now, due);
        self.viewers.insert(id, viewer);
    }

    /// The connection has this before it now.
    pub(super) fn look(&mut self, id: ConnectionId, looks: BTreeSet<Look>, now: Moment, due: &mut Due) {
        let Some(viewer) = self.viewers.get_mut(&id) else { return };
        if viewer.looks == looks {
            return;
        }
        for look in &viewer.looks {
            forget(&mut self.looking, look, id);
        }
        for look in &looks {
            self.looking.entry(look.clone()).or_default().insert(id);
        }
        viewer.looks = looks;
        viewer.is_due(id, self.organization, AT_RECORD, now, due);
    }

    /// The connection is told no longer.
    pub(super) fn leave(&mut self, id: ConnectionId, due: &mut Due) {
        let Some(viewer) = self.viewers.remove(&id) else { return };
        if let Some(at) = viewer.due {
            due.remove(&(at, id, self.organization));
        }
        viewer.looks.iter().for_each(|look| forget(&mut self.looking, look, id));
    }

    /// The connections of the person, or of all, that are told.
    pub(super) fn viewers_of(&self, person: Option<PersonId>) -> Vec<ConnectionId> {
        let is_meant = |viewer: &Viewer| person.is_none_or(|person| person == viewer.person);
        self.viewers.iter().filter(|(_, viewer)| is_meant(viewer)).map(|(id, _)| *id).collect()
    }

    /// It is time to tell the connection.
    pub(super) fn wake(&mut self, id: ConnectionId) {
        if let Some(viewer) = self.viewers.get_mut(&id) {
            (viewer.due, viewer.is_woken) = (None, true);
        }
    }

    /// What the connection, which was woken, is to be told.
    pub(super) fn tell(&mut self, id: ConnectionId, now: Moment) -> Option<Presence> {
        let viewer = self.viewers.get(&id).filter(|viewer| viewer.is_woken)?;
        let (view, others) = self.view(viewer);
        let viewer = self.viewers.get_mut(&id)?;
        let is_whole = viewer.told_at.is_none();
        let is_news = |(person, place): &(&PersonId, &Option<Place>)| viewer.told.get(*person) != Some(*place);
        let here = view.iter().filter(is_news).map(|(person, place)| Here { person: *person, place: place.clone() });
        let here: Vec<_> = here.collect();
        let left: Vec<_> = viewer.told.keys().filter(|person| !view.contains_key(*person)).copied().collect();
        let has_news = is_whole || !here.is_empty() || !left.is_empty() || others != viewer.told_others;
        (viewer.told, viewer.told_others, viewer.is_woken) = (view, others, false);
        if !has_news {
            return None;
        }
        viewer.told_at = Some(now);
        Some(Presence { organization: self.organization, is_whole, here, left, others })
    }

    /// What the connection should know: those who are named, and how many more there are.
    fn view(&self, viewer: &Viewer) -> (BTreeMap<PersonId, Option<Place>>, u32) {
        let shown = |person: &PersonId| self.people.get(person).and_then(|somebody| somebody.shown.as_ref()?.as_ref());
        let mut named = BTreeMap::new();
        let mut name = |people: &mut dyn Iterator<Item = &PersonId>| {
            for person in people.filter(|person| **person != viewer.person) {
                if named.len() < MOST_NAMED || named.contains_key(person) {
                    named.insert(*person, viewer.told_of(shown(person)));
                }
            }
        };
        if self.is_crowd() {
            // Records before lists: whoever is at the same record matters most.
            for look in viewer.looks.iter().rev().filter(|look| look.1.is_some()) {
                name(&mut self.at.get(look).into_iter().flatten());
            }
            for look in viewer.looks.iter().filter(|look| look.1.is_none()) {
                name(&mut self.at.get(look).into_iter().flatten().take(MOST_NAMED + 1));
            }
            named.retain(|_, place| place.is_some());
        } else {
            name(&mut self.people.keys());
        }
        let is_there = usize::from(self.people.contains_key(&viewer.person));
        let others = self.people.len().saturating_sub(is_there + named.len());
        (named, u32::try_from(others).unwrap_or(u32::MAX))
    }
}

fn forget(looking: &mut FxHashMap<Look, BTreeSet<ConnectionId>>, look: &Look, id: ConnectionId) {
    if let Some(those) = looking.get_mut(look) {
        those.remove(&id);
        if those.is_empty() {
            looking.remove(look);
        }
    }
}
