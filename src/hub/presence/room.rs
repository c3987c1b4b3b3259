//! Who is in which organization, and where; and what each connection has yet to be told of it. Pure: the time is passed in.
//!
//! Somebody is there as long as one of their *sources* says so: a tab of a connection of this process, or another process for
//! all that are connected to it. Each source ends by itself [`PRESENT_FOR`] after the tab's last word, whoever passed that on; so
//! whatever fails, nobody is there for longer. What a connection is told is the difference between what it should know and what
//! it has been told, made when it takes it: nothing queues up for a slow one, and what was lost on the way is made good.

use super::hall::{Due, Hall, News, Source, Whose};
use super::nodes::{Message, Stated};
use crate::error::{ApiError, Kind};
use crate::hub::routing::ConnectionId;
use crate::key::{OrganizationId, PersonId};
use crate::wire::{LONGEST_FIELD, PRESENT_FOR, Place, Presence, SAY_PRESENT_EVERY, Whereabouts};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use uuid::Uuid;

/// Milliseconds of the process's own clock.
pub(crate) type Moment = u64;

/// Tabs of which one connection may speak.
pub(crate) const MOST_TABS: usize = 16;
/// The longest name of a table that PostgreSQL has.
const LONGEST_TABLE: usize = 63;
/// Who loads a page anew is not gone: so long after the end of their connection they are still there.
const LINGER: Moment = 2_000;
/// How often all that is here is said again to other processes.
const RESTATE_EVERY: Moment = SAY_PRESENT_EVERY as Moment;
/// The most questions about rights, and about records, that are asked at once.
const MOST_ASKED: usize = 500;

/// What presence has to know of a person's rights in an organization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sees {
    /// Whether they are told who else is there.
    pub(crate) is_told: bool,
    /// The live tables that they may see: where they can be, and be told of others.
    pub(crate) tables: BTreeSet<&'static str>,
    /// Of these only some rows.
    pub(crate) narrowed: BTreeSet<&'static str>,
}

/// What the database has to be asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) rights: Vec<(ConnectionId, PersonId, OrganizationId)>,
    /// Whether the person, whose sight is narrowed, may see the record.
    pub(crate) records: Vec<(ConnectionId, PersonId, String, Uuid)>,
}

/// How the answer to [`Asked`] is found: who is no member sees nothing; none of both where the database did not answer.
pub(crate) struct Answered {
    pub(crate) rights: Option<HashMap<(PersonId, OrganizationId), Sees>>,
    pub(crate) visible: Option<BTreeSet<(PersonId, String, Uuid)>>,
}

pub(crate) struct Room {
    node: Uuid,
    connections: FxHashMap<ConnectionId, Connection>,
    halls: FxHashMap<OrganizationId, Hall>,
    /// When connections have news.
    due: Due,
    woken: BTreeSet<ConnectionId>,
    unasked: BTreeSet<(ConnectionId, OrganizationId)>,
    unseen: BTreeSet<(ConnectionId, String, Uuid)>,
    /// Other processes, and until when they count as being there.
    nodes: HashMap<Uuid, Moment>,
    /// Of whom other processes have to hear.
    changed: BTreeSet<(OrganizationId, PersonId)>,
    restates_at: Moment,
}

struct Connection {
    person: PersonId,
    session: Uuid,
    tabs: BTreeMap<Uuid, Tab>,
    standings: BTreeMap<OrganizationId, Standing>,
    /// What row-level security says of records; none while it is being asked.
    visible: HashMap<(String, Uuid), Option<bool>>,
    /// Where it was told who is there, and is told no more.
    farewells: Vec<OrganizationId>,
}

/// What was said of a tab last.
struct Tab {
    organization: OrganizationId,
    place: Option<Place>,
    turned_at: Moment,
    until: Moment,
}

/// How the person stands to an organization.
enum Standing {
    Unasked,
    Asked,
    Stranger,
    Member(Sees),
}

impl Room {
    pub(crate) fn new(node: Uuid) -> Self {
        Self {
            node,
            connections: FxHashMap::default(),
            halls: FxHashMap::default(),
            due: Due::new(),
            woken: BTreeSet::new(),
            unasked: BTreeSet::new(),
            unseen: BTreeSet::new(),
            nodes: HashMap::new(),
            changed: BTreeSet::new(),
            restates_at: 0,
        }
    }

    pub(crate) fn attach(&mut self, id: ConnectionId, person: PersonId, session: Uuid) {
        let (tabs, standings, visible) = (BTreeMap::new(), BTreeMap::new(), HashMap::new());
        let connection = Connection { person, session, tabs, standings, visible, farewells: Vec::new() };
        self.connections.insert(id, connection);
    }

    /// The connection has ended: its tabs are there for a moment more.
    pub(crate) fn detach(&mut self, id: ConnectionId, now: Moment) {
        self.remove(id, now, now + LINGER);
    }

    /// The session has ended: who had it is gone at once.
    pub(crate) fn end_session(&mut self, session: Uuid, now: Moment) {
        let ended = self.connections.iter().filter(|(_, connection)| connection.session == session);
        let ended: Vec<_> = ended.map(|(id, _)| *id).collect();
        ended.into_iter().for_each(|id| self.remove(id, now, now));
    }

    fn remove(&mut self, id: ConnectionId, now: Moment, until: Moment) {
        let Some(connection) = self.connections.remove(&id) else { return };
        for (tab, Tab { organization, .. }) in &connection.tabs {
            let Some(hall) = self.halls.get_mut(organization) else { continue };
            hall.leave(id, &mut self.due);
            hall.bound(connection.person, Whose::Tab(id, *tab), until);
            self.show(*organization, connection.person, now);
        }
        self.unasked.retain(|(asks, _)| *asks != id);
        self.unseen.retain(|(asks, ..)| *asks != id);
    }

    // -------------------------------------------------------------------------------------------------- what is said

    /// The connection says where its person is in a tab.
    ///
    /// # Errors
    /// Where what it says is too much.
    pub(crate) fn says(&mut self, id: ConnectionId, whereabouts: Whereabouts, now: Moment) -> Result<(), ApiError> {
        let Whereabouts { tab, organization, place, ago } = whereabouts;
        if place.as_ref().is_some_and(|place| place.table.len() > LONGEST_TABLE) {
            return Err(ApiError::field("table", format!("the name of a table has at most {LONGEST_TABLE} bytes")));
        }
        let field = place.as_ref().and_then(|place| place.field.as_ref());
        if field.is_some_and(|field| field.len() > LONGEST_FIELD) {
            return Err(ApiError::field("field", format!("the name of a field has at most {LONGEST_FIELD} bytes")));
        }
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        let Some(organization) = organization else {
            self.leave_tab(id, tab, now);
            return Ok(());
        };
        if connection.tabs.get(&tab).is_some_and(|before| before.organization != organization) {
            self.leave_tab(id, tab, now);
        }
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        if connection.tabs.len() >= MOST_TABS && !connection.tabs.contains_key(&tab) {
            return Err(ApiError::new(Kind::TooMany, format!("A connection speaks of at most {MOST_TABS} tabs.")));
        }
        let turned_at = now.saturating_sub(u64::from(ago));
        let until = now + u64::from(PRESENT_FOR);
        connection.tabs.insert(tab, Tab { organization, place, turned_at, until });
        if connection.standings.len() >= MOST_TABS {
            let Connection { tabs, standings, .. } = connection;
            standings.retain(|standing, _| tabs.values().any(|tab| tab.organization == *standing));
        }
        if let Standing::Unasked = connection.standings.entry(organization).or_insert(Standing::Unasked) {
            self.unasked.insert((id, organization));
        }
        self.settle(id, tab, now);
        Ok(())
    }

    /// The person looks at the tab no longer.
    fn leave_tab(&mut self, id: ConnectionId, tab: Uuid, now: Moment) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(Tab { organization, .. }) = connection.tabs.remove(&tab) else { return };
        let person = connection.person;
        let looks = connection.looks_in(organization);
        if let Some(hall) = self.halls.get_mut(&organization) {
            hall.bound(person, Whose::Tab(id, tab), now);
            match looks {
                Some(looks) => hall.look(id, looks, now, &mut self.due),
                None => hall.leave(id, &mut self.due),
            }
        }
        self.show(organization, person, now);
    }

    /// What was said of the tab counts as far as the person's rights let it.
    fn settle(&mut self, id: ConnectionId, tab: Uuid, now: Moment) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let person = connection.person;
        let Some(Tab { organization, place, turned_at, until }) = connection.tabs.get(&tab) else { return };
        let (organization, turned_at, until) = (*organization, *turned_at, *until);
        let Some(Standing::Member(sees)) = connection.standings.get(&organization) else { return };
        let mut place = place.clone().filter(|place| sees.tables.contains(place.table.as_str()));
        if let Some(Place { table, record: Some(record), .. }) = &place
            && sees.narrowed.contains(table.as_str())
        {
            let key = (table.clone(), *record);
            if connection.visible.len() >= MOST_TABS && !connection.visible.contains_key(&key) {
                connection.visible.retain(|_, is_visible| is_visible.is_none());
            }
            let is_visible = match connection.visible.get(&key) {
                Some(is_visible) => *is_visible,
                // The tab's next word asks.
                None if connection.visible.len() >= MOST_TABS => None,
                None => {
                    self.unseen.insert((id, key.0.clone(), key.1));
                    connection.visible.insert(key, None);
                    None
                }
            };
            place = place.filter(|_| is_visible == Some(true));
        }
        let sees = sees.is_told.then(|| sees.clone());
        let looks = connection.looks_in(organization).unwrap_or_default();
        let hall = self.halls.entry(organization).or_insert_with(|| Hall::new(organization));
        hall.put(person, Source { whose: Whose::Tab(id, tab), place, turned_at, until });
        if let Some(sees) = sees {
            hall.enter(id, person, &sees, now, &mut self.due);
            hall.look(id, looks, now, &mut self.due);
        }
        self.show(organization, person, now);
    }

    /// Where the person is may be another place now, or none.
    fn show(&mut self, organization: OrganizationId, person: PersonId, now: Moment) {
        let Some(hall) = self.halls.get_mut(&organization) else { return };
        if hall.show(person, now, &mut self.due) == News::Ours {
            self.changed.insert((organization, person));
        }
        if hall.is_empty() {
            self.halls.remove(&organization);
        }
    }

    // -------------------------------------------------------------------------------------------------- rights

    /// Whether there is something to ask.
    pub(crate) fn has_questions(&self) -> bool {
        !self.unasked.is_empty() || !self.unseen.is_empty()
    }

    /// What is to be asked now, some hundred at a time.
    pub(crate) fn ask(&mut self) -> Asked {
        let mut asked = Asked::default();
        while asked.rights.len() < MOST_ASKED
            && let Some((id, organization)) = self.unasked.pop_first()
        {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            if let Some(standing @ Standing::Unasked) = connection.standings.get_mut(&organization) {
                *standing = Standing::Asked;
                asked.rights.push((id, connection.person, organization));
            }
        }
        while asked.records.len() < MOST_ASKED
            && let Some((id, table, record)) = self.unseen.pop_first()
        {
            let person = self.connections.get(&id).map(|connection| connection.person);
            asked.records.extend(person.map(|person| (id, person, table, record)));
        }
        asked
    }

    /// The database has answered, or not. What was asked by rights that have changed since is asked again.
    pub(crate) fn answered(&mut self, asked: Asked, answered: &Answered, now: Moment) {
        for (id, person, organization) in asked.rights {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            let Some(standing @ Standing::Asked) = connection.standings.get_mut(&organization) else { continue };
            *standing = match &answered.rights {
                Some(rights) => match rights.get(&(person, organization)) {
                    Some(sees) => Standing::Member(sees.clone()),
                    None => Standing::Stranger,
                },
                // The tab's next word asks again.
                None => Standing::Unasked,
            };
            let tabs = connection.tabs.iter().filter(|(_, tab)| tab.organization == organization);
            let tabs: Vec<_> = tabs.map(|(tab, _)| *tab).collect();
            tabs.into_iter().for_each(|tab| self.settle(id, tab, now));
        }
        for (id, person, table, record) in asked.records {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            let key = (table, record);
            let Some(is_visible @ None) = connection.visible.get_mut(&key) else { continue };
            match &answered.visible {
                Some(visible) => *is_visible = Some(visible.contains(&(person, key.0.clone(), record))),
                None => drop(connection.visible.remove(&key)),
            }
            let is_at = |tab: &&Tab| {
                tab.place.as_ref().is_some_and(|place| place.table == key.0 && place.record == Some(record))
            };
            let tabs = connection.tabs.iter().filter(|(_, tab)| is_at(tab));
            let tabs: Vec<_> = tabs.map(|(tab, _)| *tab).collect();
            tabs.into_iter().filter(|_| answered.visible.is_some()).for_each(|tab| self.settle(id, tab, now));
        }
    }

    /// The rights of the person in the organization have changed; of all people, or in all organizations, where none is named.
    /// Nobody is there, or told anything, by rights that are gone: those that are left are asked for.
    pub(crate) fn end_rights(&mut self, person: Option<PersonId>, organization: Option<OrganizationId>, now: Moment) {
        let concerns = |of: PersonId| person.is_none_or(|person| person == of);
        let halls =
            self.halls.keys().copied().filter(|its| organization.is_none_or(|organization| organization == *its));
        let halls: Vec<_> = halls.collect();
        for (id, connection) in self.connections.iter_mut().filter(|(_, connection)| concerns(connection.person)) {
            connection.visible.clear();
            for (its, standing) in &mut connection.standings {
                if organization.is_none_or(|organization| organization == *its) {
                    *standing = Standing::Unasked;
                    if connection.tabs.values().any(|tab| tab.organization == *its) {
                        self.unasked.insert((*id, *its));
                    }
                }
            }
        }
        for organization in halls {
            let Some(hall) = self.halls.get_mut(&organization) else { continue };
            for id in hall.viewers_of(person) {
                hall.leave(id, &mut self.due);
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.farewells.push(organization);
                    self.woken.insert(id);
                }
            }
            for gone in hall.everybody().into_iter().filter(|one| concerns(*one)) {
                if let Some(hall) = self.halls.get_mut(&organization) {
                    hall.clear(gone);
                }
                self.show(organization, gone, now);
            }
        }
    }

    // -------------------------------------------------------------------------------------------------- what is told

    /// The connections that have news by now, and were not told so before.
    pub(crate) fn take_woken(&mut self, now: Moment) -> BTreeSet<ConnectionId> {
        while let Some((at, id, organization)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            if let Some(hall) = self.halls.get_mut(&organization) {
                hall.wake(id);
                self.woken.insert(id);
            }
        }
        std::mem::take(&mut self.woken)
    }

    /// What the connection is to be told.
    pub(crate) fn take(&mut self, id: ConnectionId, now: Moment) -> Vec<Presence> {
        let Some(connection) = self.connections.get_mut(&id) else { return Vec::new() };
        let ended = std::mem::take(&mut connection.farewells).into_iter();
        let nobody =
            |organization| Presence { organization, is_whole: true, here: Vec::new(), left: Vec::new(), others: 0 };
        let mut told: Vec<_> = ended.map(nobody).collect();
        let organizations: BTreeSet<_> = connection.tabs.values().map(|tab| tab.organization).collect();
        for organization in organizations {
            if let Some(hall) = self.halls.get_mut(&organization) {
                told.extend(hall.tell(id, now));
            }
        }
        told
    }

    /// How many people are in all organizations.
    pub(crate) fn load(&self) -> usize {
        self.halls.values().map(Hall::len).sum()
    }

    // -------------------------------------------------------------------------------------------------- time and others

    /// Lets go of who has not been heard of for too long, and gives what is to be said to other processes.
    pub(crate) fn turn(&mut self, now: Moment) -> Option<Message> {
        let mut silent = Vec::new();
        for (id, connection) in &self.connections {
            let ended = connection.tabs.iter().filter(|(_, tab)| tab.until <= now);
            silent.extend(ended.map(|(tab, _)| (*id, *tab)));
        }
        silent.into_iter().for_each(|(id, tab)| self.leave_tab(id, tab, now));
        let ended: Vec<_> = self
            .halls
            .iter()
            .flat_map(|(its, hall)| hall.ended(now).into_iter().map(|person| (*its, person)))
            .collect();
        ended.into_iter().for_each(|(organization, person)| self.show(organization, person, now));
        self.nodes.retain(|_, until| *until > now);
        self.message(now)
    }

    fn message(&mut self, now: Moment) -> Option<Message> {
        let changed = std::mem::take(&mut self.changed);
        // Where nobody listens it is enough to say that somebody is here.
        let is_alone = self.nodes.is_empty();
        let node = self.node;
        if self.restates_at > now {
            if is_alone || changed.is_empty() {
                return None;
            }
            let (mut here, mut gone) = (Vec::new(), Vec::new());
            for (organization, person) in changed {
                match self.halls.get(&organization).and_then(|hall| hall.here(person, now)) {
                    Some(stated) => here.push(stated),
                    None => gone.push((organization, person)),
                }
            }
            return Some(Message { node, here, gone });
        }
        let here = self
            .halls
            .values()
            .flat_map(|hall| hall.everybody().into_iter().filter_map(|person| hall.here(person, now)));
        let here: Vec<_> = here.collect();
        if here.is_empty() && changed.is_empty() {
            return None;
        }
        self.restates_at = now + RESTATE_EVERY;
        if is_alone {
            return Some(Message { node, here: Vec::new(), gone: Vec::new() });
        }
        let is_gone = |(organization, person): &(OrganizationId, PersonId)| {
            self.halls.get(organization).is_none_or(|hall| hall.here(*person, now).is_none())
        };
        let gone = changed.into_iter().filter(is_gone).collect();
        Some(Message { node, here, gone })
    }

    /// Another process, or this one, has said this.
    pub(crate) fn hears(&mut self, message: Message, now: Moment) {
        if message.node == self.node {
            return;
        }
        if self.nodes.insert(message.node, now + u64::from(PRESENT_FOR)).is_none() {
            // It has to hear of those who are here, too.
            self.restates_at = now;
        }
        let whose = Whose::Node(message.node);
        for stated in message.here {
            let Stated { organization, person, place, ago, left } = stated;
            let until = now + u64::from(left.min(PRESENT_FOR));
            let turned_at = now.saturating_sub(u64::from(ago));
            let hall = self.halls.entry(organization).or_insert_with(|| Hall::new(organization));
            hall.put(person, Source { whose, place: place.filter(is_short), turned_at, until });
            self.show(organization, person, now);
        }
        for (organization, person) in message.gone {
            if let Some(hall) = self.halls.get_mut(&organization) {
                hall.bound(person, whose, now);
                self.show(organization, person, now);
            }
        }
    }
}

/// Another release may allow more.
fn is_short(place: &Place) -> bool {
    place.table.len() <= LONGEST_TABLE && place.field.as_ref().is_none_or(|field| field.len() <= LONGEST_FIELD)
}

impl Connection {
    /// What its tabs in the organization have before them; none where it has no tab there.
    fn looks_in(&self, organization: OrganizationId) -> Option<BTreeSet<(String, Option<Uuid>)>> {
        let mut tabs = self.tabs.values().filter(|tab| tab.organization == organization).peekable();
        tabs.peek()?;
        Some(tabs.filter_map(|tab| tab.place.as_ref()).map(|place| (place.table.clone(), place.record)).collect())
    }
}
