//! Presence against the plain truth: random people, tabs, processes, rights and losses. Whatever happens, nobody is told by rights
//! that do not stand, nobody is there 10 seconds after their last word, and frames keep their pace. When all has come to rest,
//! each connection knows exactly what it should.

use super::hall::MOST_NAMED;
use super::nodes::payloads;
use super::room::{Answered, Asked, MOST_TABS, Moment, Room, Sees};
use crate::Kind;
use crate::hub::routing::ConnectionId;
use crate::key::{OrganizationId, PersonId};
use crate::presence::Roster;
use crate::simulation::Chance;
use crate::wire::{PRESENT_FOR, Place, Presence, SAY_PRESENT_EVERY, Whereabouts};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const SEEDS: u64 = 150;
const STEPS: u32 = 250;
const PEOPLE: u32 = 5;
const ORGANIZATIONS: u32 = 2;
const NODES: usize = 2;
const STEP: Moment = 250;
/// The promise.
const GONE_WITHIN: Moment = 10_000;

fn id(number: u32) -> Uuid {
    Uuid::from_u128(u128::from(number) + 1)
}

fn person(number: u32) -> PersonId {
    PersonId(id(number))
}

fn organization(number: u32) -> OrganizationId {
    OrganizationId(id(number))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Insider,
    WithoutProjects,
    /// Sees one order and nobody.
    Outsider,
    Stranger,
}

const SEEN_BY_OUTSIDERS: u32 = 0;

impl Role {
    fn sees(self) -> Option<Sees> {
        let (is_told, tables, narrowed): (_, &[_], &[_]) = match self {
            Role::Insider => (true, &["orders", "projects"], &[]),
            Role::WithoutProjects => (true, &["orders"], &[]),
            Role::Outsider => (false, &["orders"], &["orders"]),
            Role::Stranger => return None,
        };
        let names = |names: &[&'static str]| names.iter().copied().collect();
        Some(Sees { is_told, tables: names(tables), narrowed: names(narrowed) })
    }

    /// The place that others may be told of.
    fn place(self, place: Option<&Place>) -> Option<Place> {
        let sees = self.sees()?;
        let place = place.filter(|place| sees.tables.contains(place.table.as_str()))?;
        let is_hidden = self == Role::Outsider && place.record.is_some_and(|record| record != id(SEEN_BY_OUTSIDERS));
        (!is_hidden).then(|| place.clone())
    }
}

#[derive(Clone, Debug)]
struct Tab {
    organization: OrganizationId,
    place: Option<Place>,
    turned_at: Moment,
    said_at: Moment,
}

struct Connection {
    node: usize,
    id: ConnectionId,
    person: PersonId,
    is_attached: bool,
    /// It says nothing any more, and nobody knows.
    is_silent: bool,
    /// It takes nothing for now.
    is_slow: bool,
    tabs: BTreeMap<Uuid, Tab>,
    rosters: BTreeMap<OrganizationId, Roster>,
    told_at: BTreeMap<OrganizationId, Moment>,
    wakes: u32,
}

impl Connection {
    /// A page that is elsewhere knows nothing of the organization any more.
    fn forget_elsewhere(&mut self) {
        let Self { tabs, rosters, .. } = self;
        rosters.retain(|organization, _| tabs.values().any(|tab| tab.organization == *organization));
    }
}

struct World {
    now: Moment,
    rooms: Vec<Room>,
    roles: BTreeMap<(PersonId, OrganizationId), Role>,
    connections: Vec<Connection>,
    /// Answers on their way.
    answers: Vec<(usize, Asked, Answered)>,
    last_word: BTreeMap<(OrganizationId, PersonId), Moment>,
    is_lossy: bool,
}

impl World {
    fn new(chance: &mut Chance) -> Self {
        let mut roles = BTreeMap::new();
        for who in 0..PEOPLE {
            for its in 0..ORGANIZATIONS {
                roles.insert((person(who), organization(its)), role(chance));
            }
        }
        let rooms = (0..NODES).map(|node| Room::new(Uuid::from_u128(1_000 + node as u128))).collect();
        let (connections, answers, last_word) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { now: 1_000, rooms, roles, connections, answers, last_word, is_lossy: true }
    }

    fn role(&self, person: PersonId, organization: OrganizationId) -> Role {
        self.roles[&(person, organization)]
    }

    fn attach(&mut self, chance: &mut Chance) {
        let (node, whose) = (chance.below(NODES as u32) as usize, person(chance.below(PEOPLE)));
        let connection = self.connections.len() as ConnectionId;
        self.rooms[node].attach(connection, whose, id(connection));
        self.connections.push(Connection {
            node,
            id: connection,
            person: whose,
            is_attached: true,
            is_silent: false,
            is_slow: false,
            tabs: BTreeMap::new(),
            rosters: BTreeMap::new(),
            told_at: BTreeMap::new(),
            wakes: 0,
        });
    }

    fn says(&mut self, at: usize, tab: Uuid) {
        let connection = &mut self.connections[at];
        let Some(said) = connection.tabs.get_mut(&tab) else { return };
        said.said_at = self.now;
        self.last_word.insert((said.organization, connection.person), self.now);
        let whereabouts = Whereabouts {
            tab,
            organization: Some(said.organization),
            place: said.place.clone(),
            ago: u32::try_from(self.now - said.turned_at).expect("not long ago"),
        };
        self.rooms[connection.node].says(connection.id, whereabouts, self.now).expect("it is not much");
    }

    fn step(&mut self, chance: &mut Chance) {
        self.now += 1;
        let those: Vec<usize> = (0..self.connections.len()).filter(|at| self.connections[*at].is_attached).collect();
        let one = (!those.is_empty()).then(|| those[chance.below(those.len().max(1) as u32) as usize]);
        match (chance.below(12), one) {
            (0, _) | (_, None) if those.len() < 9 => self.attach(chance),
            (1, Some(at)) if chance.below(3) == 0 => {
                let connection = &mut self.connections[at];
                connection.is_attached = false;
                let room = &mut self.rooms[connection.node];
                match chance.below(2) {
                    0 => room.detach(connection.id, self.now),
                    _ => room.end_session(id(connection.id), self.now),
                }
            }
            (2, Some(at)) => self.connections[at].is_silent = chance.below(3) == 0,
            (3, Some(at)) => self.connections[at].is_slow = chance.below(2) == 0,
            (4, _) => self.change_rights(chance),
            (5, Some(at)) if !self.connections[at].is_silent => {
                let tab = id(chance.below(2));
                let connection = &mut self.connections[at];
                connection.tabs.remove(&tab);
                connection.forget_elsewhere();
                let nowhere = Whereabouts { tab, organization: None, place: None, ago: 0 };
                self.rooms[connection.node].says(connection.id, nowhere, self.now).expect("nowhere is not much");
            }
            (6..=8, Some(at)) if !self.connections[at].is_silent => {
                let tab = id(chance.below(2));
                let (its, place) = (organization(chance.below(ORGANIZATIONS)), place(chance));
                let said = Tab { organization: its, place, turned_at: self.now, said_at: self.now };
                let connection = &mut self.connections[at];
                connection.tabs.insert(tab, said);
                connection.forget_elsewhere();
                self.says(at, tab);
            }
            _ => self.pass(chance),
        }
    }

    fn change_rights(&mut self, chance: &mut Chance) {
        let (who, its) = (person(chance.below(PEOPLE)), organization(chance.below(ORGANIZATIONS)));
        match chance.below(6) {
            // The catalogue.
            0 => {
                for role in self.roles.values_mut().filter(|role| **role == Role::WithoutProjects) {
                    *role = Role::Insider;
                }
                self.rooms.iter_mut().for_each(|room| room.end_rights(None, None, self.now));
            }
            _ => {
                self.roles.insert((who, its), role(chance));
                self.rooms.iter_mut().for_each(|room| room.end_rights(Some(who), Some(its), self.now));
            }
        }
    }

    /// A quarter of a second passes.
    fn pass(&mut self, chance: &mut Chance) {
        self.now += STEP;
        for at in 0..self.connections.len() {
            let connection = &self.connections[at];
            if connection.is_attached && !connection.is_silent {
                let is_due = |tab: &&Tab| self.now - tab.said_at >= Moment::from(SAY_PRESENT_EVERY);
                let due: Vec<_> = connection.tabs.iter().filter(|(_, tab)| is_due(tab)).map(|(tab, _)| *tab).collect();
                due.into_iter().for_each(|tab| self.says(at, tab));
            }
        }
        for (node, asked, answered) in std::mem::take(&mut self.answers) {
            self.rooms[node].answered(asked, &answered, self.now);
        }
        for node in 0..NODES {
            for payload in self.rooms[node].turn(self.now).map(payloads).unwrap_or_default() {
                for listener in 0..NODES {
                    if !self.is_lossy || chance.below(5) > 0 {
                        let message = serde_json::from_str(&payload).expect("their own words");
                        self.rooms[listener].hears(message, self.now);
                    }
                }
            }
            if self.rooms[node].has_questions() {
                let asked = self.rooms[node].ask();
                let answered = self.answer(&asked, chance);
                if chance.below(2) == 0 {
                    self.answers.push((node, asked, answered));
                } else {
                    self.rooms[node].answered(asked, &answered, self.now);
                }
            }
        }
        self.tell();
    }

    fn answer(&self, asked: &Asked, chance: &mut Chance) -> Answered {
        if self.is_lossy && chance.below(8) == 0 {
            return Answered { rights: None, visible: None };
        }
        let rights = asked.rights.iter().filter_map(|(_, person, organization)| {
            Some(((*person, *organization), self.role(*person, *organization).sees()?))
        });
        let visible = asked.records.iter().filter(|(.., record)| *record == id(SEEN_BY_OUTSIDERS));
        Answered {
            rights: Some(rights.collect()),
            visible: Some(visible.map(|(_, person, table, record)| (*person, table.clone(), *record)).collect()),
        }
    }

    /// Connections take what there is for them.
    fn tell(&mut self) {
        for node in 0..NODES {
            for woken in self.rooms[node].take_woken(self.now) {
                self.connections[woken as usize].wakes += 1;
            }
        }
        for at in 0..self.connections.len() {
            let connection = &self.connections[at];
            if !connection.is_attached || connection.is_slow || connection.wakes == 0 {
                continue;
            }
            for frame in self.rooms[connection.node].take(connection.id, self.now) {
                self.check(at, &frame);
                let connection = &mut self.connections[at];
                connection.rosters.entry(frame.organization).or_default().hear(&frame);
            }
            self.connections[at].wakes = 0;
        }
        self.check_ghosts();
    }

    fn check(&mut self, at: usize, frame: &Presence) {
        let role = self.role(self.connections[at].person, frame.organization);
        let is_end = frame.is_whole && frame.here.is_empty() && frame.others == 0;
        let sees = role.sees().filter(|sees| sees.is_told);
        assert!(is_end || sees.is_some(), "a {role:?} is told {frame:?}");
        for here in &frame.here {
            assert_ne!(here.person, self.connections[at].person, "told of oneself");
            if let Some(place) = &here.place {
                let is_seen = sees.as_ref().is_some_and(|sees| sees.tables.contains(place.table.as_str()));
                assert!(is_seen, "a {role:?} is told {frame:?}");
                let of = self.role(here.person, frame.organization);
                if of == Role::Outsider {
                    assert_eq!(place.record, Some(id(SEEN_BY_OUTSIDERS)), "an outsider is at what they cannot see");
                }
            }
        }
        let told_at = self.connections[at].told_at.insert(frame.organization, self.now);
        if !frame.is_whole {
            assert!(told_at.is_some_and(|told_at| self.now - told_at >= 250), "too often: {frame:?}");
        }
    }

    fn check_ghosts(&self) {
        for connection in self.connections.iter().filter(|it| it.is_attached && !it.is_slow) {
            for tab in connection.tabs.values().filter(|tab| self.now - tab.said_at < Moment::from(PRESENT_FOR)) {
                let Some(roster) = connection.rosters.get(&tab.organization) else { continue };
                for (person, _) in roster.people() {
                    let word = self.last_word.get(&(tab.organization, person)).copied();
                    let is_ghost = word.is_none_or(|word| self.now - word > GONE_WITHIN);
                    assert!(
                        !is_ghost,
                        "{person} is a ghost to {}: last heard of at {word:?}, and it is {}",
                        connection.id, self.now
                    );
                }
            }
        }
    }

    /// Nothing more happens, and nothing is lost.
    fn comes_to_rest(&mut self, chance: &mut Chance) {
        self.is_lossy = false;
        self.connections.iter_mut().for_each(|connection| connection.is_slow = false);
        let until = self.now + GONE_WITHIN + 1_000;
        while self.now < until {
            self.pass(chance);
        }
    }

    fn check_truth(&self) {
        let speaking = || self.connections.iter().filter(|it| it.is_attached && !it.is_silent);
        for viewer in speaking() {
            let there: BTreeSet<_> = viewer.tabs.values().map(|tab| tab.organization).collect();
            for its in there {
                let tabs = viewer.tabs.values().filter(|tab| tab.organization == its);
                let looks: Vec<_> = tabs.filter_map(|tab| tab.place.as_ref()).collect();
                let sees = self.role(viewer.person, its).sees().filter(|sees| sees.is_told);
                let Some(sees) = sees else {
                    let roster = viewer.rosters.get(&its);
                    assert!(roster.is_none_or(Roster::is_empty), "told: {roster:?}");
                    continue;
                };
                let mut expected = BTreeMap::new();
                for who in (0..PEOPLE).map(person).filter(|who| *who != viewer.person) {
                    let role = self.role(who, its);
                    let tabs = speaking().filter(|it| it.person == who).flat_map(|it| it.tabs.values());
                    let latest = tabs.filter(|tab| tab.organization == its).max_by_key(|tab| tab.turned_at);
                    let Some(latest) = latest.filter(|_| role != Role::Stranger) else { continue };
                    let place = role.place(latest.place.as_ref()).and_then(|place| {
                        let has = |record: Option<Uuid>| {
                            looks.iter().any(|look| look.table == place.table && look.record == record)
                        };
                        place.record?;
                        if !sees.tables.contains(place.table.as_str()) {
                            None
                        } else if has(place.record) {
                            Some(place)
                        } else {
                            has(None).then_some(Place { field: None, is_typing: false, ..place })
                        }
                    });
                    expected.insert(who, place);
                }
                let known = viewer.rosters.get(&its).cloned().unwrap_or_default();
                let known: BTreeMap<_, _> = known.people().map(|(who, place)| (who, place.cloned())).collect();
                assert_eq!(known, expected, "what connection {} knows of {its}", viewer.id);
            }
        }
    }
}

fn role(chance: &mut Chance) -> Role {
    match chance.below(6) {
        0 => Role::Stranger,
        1 => Role::Outsider,
        2 => Role::WithoutProjects,
        _ => Role::Insider,
    }
}

fn place(chance: &mut Chance) -> Option<Place> {
    let table = ["orders", "projects", "secrets"][chance.below(5).saturating_sub(2) as usize].to_owned();
    let record = (chance.below(3) > 0).then(|| id(chance.below(2)));
    let field = record.filter(|_| chance.below(2) == 0).map(|_| ["title", "due"][chance.below(2) as usize].to_owned());
    let is_typing = field.is_some() && chance.below(2) == 0;
    (chance.below(5) > 0).then_some(Place { table, record, field, is_typing })
}

#[test]
fn everybody_is_told_what_they_should_and_nobody_is_a_ghost() {
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| {
            let mut chance = Chance(seed);
            let mut world = World::new(&mut chance);
            (0..STEPS).for_each(|_| world.step(&mut chance));
            world.comes_to_rest(&mut chance);
            world.check_truth();
        });
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

// ------------------------------------------------------------------------------------------------- what it costs

/// A room in which these many insiders, each with one connection, have come to rest in the first organization.
fn crowded(people: u32, place: impl Fn(u32) -> Option<Place>) -> (Room, Moment) {
    let mut room = Room::new(Uuid::nil());
    let mut now = 1_000;
    for number in 0..people {
        room.attach(number, person(number), id(number));
        says(&mut room, number, place(number), now);
    }
    while room.has_questions() {
        let asked = room.ask();
        let rights = asked.rights.iter().map(|(_, who, its)| ((*who, *its), Role::Insider.sees().expect("a member")));
        let answered = Answered { rights: Some(rights.collect()), visible: Some(BTreeSet::new()) };
        room.answered(asked, &answered, now);
    }
    for _ in 0..10 {
        now += 250;
        take_all(&mut room, now);
    }
    (room, now)
}

fn says(room: &mut Room, number: u32, place: Option<Place>, now: Moment) {
    let whereabouts = Whereabouts { tab: Uuid::nil(), organization: Some(organization(0)), place, ago: 0 };
    room.says(number, whereabouts, now).expect("it is not much");
}

fn take_all(room: &mut Room, now: Moment) -> Vec<(ConnectionId, Presence)> {
    let woken = room.take_woken(now);
    woken.into_iter().flat_map(|id| room.take(id, now).into_iter().map(move |told| (id, told))).collect()
}

fn at(record: Option<u32>, is_typing: bool) -> Option<Place> {
    let field = record.map(|_| "title".to_owned());
    Some(Place { table: "orders".to_owned(), record: record.map(id), field, is_typing })
}

#[test]
fn a_key_pressed_among_a_thousand_is_told_to_those_at_the_record() {
    let (mut room, now) = crowded(1_000, |number| if number < 3 { at(Some(0), false) } else { at(None, false) });
    let now = now + 2_000;
    says(&mut room, 0, at(Some(0), true), now);
    let told = take_all(&mut room, now);
    assert_eq!(told.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2]);
    assert!(told.iter().all(|(_, told)| told.here.len() == 1));
    for _ in 0..8 {
        take_all(&mut room, now + 250);
    }
    // Nothing is left for those in the list either.
    assert_eq!(take_all(&mut room, now + 60_000), []);
}

#[test]
fn however_often_somebody_moves_others_are_told_four_times_a_second_and_where_they_are_at_last() {
    let (mut room, now) = crowded(2, |_| at(Some(0), false));
    let mut roster = Roster::default();
    let mut frames = 0;
    for tenth in 0..20 {
        let now = now + 2_000 + 100 * tenth;
        says(&mut room, 0, at(Some(0), tenth % 2 == 0), now);
        for (_, told) in take_all(&mut room, now) {
            frames += 1;
            roster.hear(&told);
        }
    }
    for (_, told) in take_all(&mut room, now + 4_250) {
        roster.hear(&told);
    }
    assert!((7..=8).contains(&frames), "{frames} frames in two seconds");
    assert!(roster.at("orders", id(0)).all(|(_, place)| !place.is_typing));
}

#[test]
fn of_a_crowd_one_is_told_how_many_and_names_only_of_those_that_matter() {
    let people = 1_000;
    let is_at = |number: u32| match number {
        0 => at(Some(0), false),
        1..=3 => at(Some(0), true),
        4 => None,
        _ => at(Some(1), false),
    };
    let mut room = Room::new(Uuid::nil());
    let mut rosters: BTreeMap<ConnectionId, Roster> = BTreeMap::new();
    for number in 0..people {
        room.attach(number, person(number), id(number));
        says(&mut room, number, is_at(number), 1_000);
    }
    while room.has_questions() {
        let asked = room.ask();
        let rights = asked.rights.iter().map(|(_, who, its)| ((*who, *its), Role::Insider.sees().expect("a member")));
        let answered = Answered { rights: Some(rights.collect()), visible: Some(BTreeSet::new()) };
        room.answered(asked, &answered, 1_000);
    }
    for round in 0..20 {
        for (id, told) in take_all(&mut room, 1_000 + 250 * round) {
            assert!(told.here.len() <= MOST_NAMED);
            rosters.entry(id).or_default().hear(&told);
        }
    }
    for (number, named) in [(0, 3), (4, 0), (5, MOST_NAMED)] {
        let roster = &rosters[&number];
        assert_eq!((roster.people().count(), roster.count()), (named, 999), "person {number}");
    }
}

#[test]
fn what_is_too_much_is_refused_by_name() {
    let mut room = Room::new(Uuid::nil());
    room.attach(0, person(0), id(0));
    let at = |tab: u32, place| Whereabouts { tab: id(tab), organization: Some(organization(0)), place, ago: 0 };
    let field = |long: usize| {
        Some(Place { table: "orders".into(), record: Some(id(0)), field: Some("f".repeat(long)), is_typing: false })
    };
    assert!(room.says(0, at(0, field(64)), 0).is_ok());
    let refused = room.says(0, at(0, field(65)), 0).expect_err("too long");
    assert_eq!((refused.kind, refused.fields.contains_key("field")), (Kind::Invalid, true));
    for tab in 0..MOST_TABS as u32 {
        assert!(room.says(0, at(tab, None), 0).is_ok());
    }
    let refused = room.says(0, at(MOST_TABS as u32, None), 0).expect_err("too many");
    assert_eq!(refused.kind, Kind::TooMany);
    assert!(room.says(0, at(3, None), 1).is_ok(), "one of them");
}

#[test]
fn who_loads_the_page_anew_does_not_blink() {
    let (mut room, now) = crowded(2, |_| at(Some(0), false));
    let now = now + 2_000;
    room.detach(1, now);
    room.attach(7, person(1), id(7));
    assert_eq!(take_all(&mut room, now + 250), []);
    let again = Whereabouts { tab: id(9), organization: Some(organization(0)), place: at(Some(0), false), ago: 0 };
    room.says(7, again, now + 1_500).expect("it is not much");
    let asked = room.ask();
    let rights = asked.rights.iter().map(|(_, who, its)| ((*who, *its), Role::Insider.sees().expect("a member")));
    let answered = Answered { rights: Some(rights.collect()), visible: None };
    room.answered(asked, &answered, now + 1_600);
    room.turn(now + 4_000);
    let told = take_all(&mut room, now + 4_000);
    assert!(told.iter().all(|(id, _)| *id == 7), "the one who comes is told, the other sees nothing: {told:?}");
}

#[test]
fn whose_session_has_ended_is_gone_at_once() {
    let (mut room, now) = crowded(2, |_| at(Some(0), false));
    let now = now + 2_000;
    room.end_session(id(1), now);
    let told = take_all(&mut room, now);
    assert!(matches!(&told[..], [(0, Presence { left, .. })] if *left == [person(1)]), "{told:?}");
}
