//! Authority: whatever changes, in whatever order it is heard of, nobody is told of a row that they could not read by rights
//! that still stood. Random people, organizations, roles, narrowings, audiences and changes of them, against the plain truth.
//!
//! The log is what the database committed, in order, with everybody's rights after each entry. The feed lags behind it; a watch is
//! judged by the rights at the log's end, registered some time later, and told of what the feed has come to. When a
//! frame is taken at cursor `c`, each transaction that it names must have changed a row that the person may read by the rights of
//! some moment from `c` on: what came before `c` is gone. And each must be named that a plain evaluation of the filters finds.

use super::*;
use crate::error::ApiError;
use crate::hub::missed::Candidate;
use crate::hub::registry::Only;
use crate::key::{Change, Dependency, Facet, Facets, QueryKey, Shape, WireKey};
use crate::live::{ListQuery, Live, NoParameters, RecordQuery};
use crate::overlay::MutationId;
use crate::simulation::Chance;
use crate::wire::Read;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, btree_map::Entry};

const SEEDS: u64 = 300;
const STEPS: u32 = 400;
const PEOPLE: u32 = 4;
const ORGANIZATIONS: u32 = 2;
const CUSTOMERS: u32 = 3;
const ORDERS: u32 = 6;
const STATUSES: u32 = 2;
const FIRST_XID: u64 = 10;

// ------------------------------------------------------------------------------------------------- what can be watched

struct Orders;
struct Notes;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Parameters {
    status: Option<i64>,
}

type Nothing = Result<Read<()>, ApiError>;

impl Live for Orders {
    const TABLE: &'static str = "orders";
}

impl ListQuery for Orders {
    type Parameters = Parameters;
    type List = ();

    /// It shows its customers' names.
    fn list_depends(parameters: &Parameters) -> Vec<Dependency> {
        let orders = Dependency::all("orders");
        let orders = match parameters.status {
            Some(status) => orders.with("status", Facet::Integer(status)),
            None => orders,
        };
        vec![orders, Dependency::all("customers")]
    }

    async fn fetch_list(_: OrganizationId, _: Parameters, _: Vec<MutationId>) -> Nothing {
        Err(ApiError::internal())
    }
}

impl RecordQuery for Orders {
    type Id = Uuid;
    type Record = ();

    fn record_depends(id: Uuid) -> Vec<Dependency> {
        vec![Dependency::row("orders", id)]
    }

    async fn fetch_record(_: OrganizationId, _: Uuid, _: Vec<MutationId>) -> Nothing {
        Err(ApiError::internal())
    }
}

impl Live for Notes {
    const TABLE: &'static str = "notes";
}

impl ListQuery for Notes {
    type Parameters = NoParameters;
    type List = ();

    fn list_depends(_: &NoParameters) -> Vec<Dependency> {
        vec![Dependency::all("notes")]
    }

    async fn fetch_list(_: OrganizationId, _: NoParameters, _: Vec<MutationId>) -> Nothing {
        Err(ApiError::internal())
    }
}

fn registry() -> Registry {
    let tables = Registry::default().list::<Orders>("sales").record::<Orders>("sales").list::<Notes>("notes");
    tables.rights("memberships").rights("roles").sessions("sessions")
}

// ----------------------------------------------------------------------------------------------------------- the truth

#[derive(Clone)]
enum Role {
    Manager,
    /// Sees notes, and sales where the catalogue says so.
    Guest,
    /// Sees these customers and their orders.
    Buyer(Vec<Uuid>),
}

#[derive(Clone, Copy, PartialEq)]
struct Order {
    status: u32,
    customer: u32,
}

/// What a connection watches, as it was asked for.
#[derive(Clone, Copy, Debug)]
enum Query {
    List(Option<u32>),
    Record(u32),
    Notes,
}

type Everybody = BTreeMap<(PersonId, OrganizationId), WatchRights>;

struct Committed {
    event: Event,
    rights: Everybody,
}

/// What the model knows of a connection.
struct Line {
    person: PersonId,
    session: Uuid,
    standing: BTreeMap<WatchNumber, Watching>,
    asking: Option<Asking>,
    /// What the next frame has to name.
    due: BTreeMap<WatchNumber, BTreeSet<Xid>>,
}

struct Watching {
    organization: OrganizationId,
    query: Query,
    /// Of the moment at which it was judged.
    rights: WatchRights,
}

/// A watch between its judgement and its registration.
struct Asking {
    version: u64,
    number: WatchNumber,
    organization: OrganizationId,
    query: Query,
    rights: RightsThere,
    candidates: Vec<Candidate>,
    refused: Vec<Refused>,
}

#[derive(Default)]
struct World {
    roles: BTreeMap<(PersonId, OrganizationId), Role>,
    guests_see_sales: bool,
    orders: BTreeMap<(OrganizationId, u32), Order>,
    log: Vec<Committed>,
    /// So many entries of the log have been heard of.
    heard: usize,
    routing: Routing,
    lines: BTreeMap<ConnectionId, Line>,
    numbers: WatchNumber,
    told: usize,
}

fn customer(number: u32) -> Uuid {
    Uuid::from_u128(0xC0 + u128::from(number))
}

fn order(number: u32) -> Uuid {
    Uuid::from_u128(0xD0 + u128::from(number))
}

fn any_person(chance: &mut Chance) -> PersonId {
    PersonId(Uuid::from_u128(0xA0 + u128::from(chance.below(PEOPLE))))
}

fn any_organization(chance: &mut Chance) -> OrganizationId {
    OrganizationId(Uuid::from_u128(0xB0 + u128::from(chance.below(ORGANIZATIONS))))
}

impl Order {
    fn any(chance: &mut Chance) -> Self {
        Self { status: chance.below(STATUSES), customer: chance.below(CUSTOMERS) }
    }
}

fn facets(id: Uuid, others: &[(&str, Facet)]) -> Facets {
    let others = others.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    Facets([("id".to_owned(), id.into())].into_iter().chain(others).collect())
}

/// Whether who has these rights may read the row that changed, before or after.
fn may_read(rights: &WatchRights, event: &Event) -> bool {
    let module = if event.change.table == "notes" { "notes" } else { "sales" };
    let in_sight = |version: &Facets| {
        rights.only.get(&event.change.table).is_none_or(|only| {
            let its = version.get(&only.facet).expect("all facets are told here");
            only.values.iter().any(|value| *its == Facet::Text(value.to_string()))
        })
    };
    rights.modules.contains(module) && event.change.old.iter().chain(&event.change.new).any(in_sight)
}

impl Query {
    fn key(self) -> (&'static str, Shape) {
        match self {
            Query::List(status) => {
                ("orders", Shape::List(status.map_or("{}".to_owned(), |s| format!(r#"{{"status":{s}}}"#))))
            }
            Query::Record(number) => ("orders", Shape::Record(order(number))),
            Query::Notes => ("notes", Shape::List("{}".to_owned())),
        }
    }

    /// Whether it shows the row that changed, to who has these rights.
    fn shows(self, rights: &WatchRights, event: &Event) -> bool {
        let versions = || event.change.old.iter().chain(&event.change.new);
        let one_version = |version: &&Facets| match (self, event.change.table.as_str()) {
            (Query::List(None), "orders") => true,
            (Query::List(Some(status)), "orders") => version.get("status") == Some(&Facet::Integer(status.into())),
            (Query::Record(number), "orders") => version.get("id") == Some(&order(number).into()),
            (Query::List(_), "customers") | (Query::Notes, "notes") => true,
            _ => false,
        };
        // The same version has to be in the query and in sight.
        versions().filter(one_version).any(|version| {
            let change = Change { old: None, new: Some(version.clone()), ..event.change.clone() };
            may_read(rights, &Event { change, ..event.clone() })
        })
    }
}

// ------------------------------------------------------------------------------------------------------ what can happen

impl World {
    fn rights(&self) -> Everybody {
        let rights_of = |role: &Role| {
            let only = |facet: &str, values: &Vec<Uuid>| Only { facet: facet.to_owned(), values: values.clone() };
            let (modules, only): (&[&str], _) = match role {
                Role::Manager => (&["sales", "notes"], BTreeMap::new()),
                Role::Guest if self.guests_see_sales => (&["sales", "notes"], BTreeMap::new()),
                Role::Guest => (&["notes"], BTreeMap::new()),
                Role::Buyer(its) => {
                    let orders = ("orders".to_owned(), only("customer", its));
                    (&["sales"], [orders, ("customers".to_owned(), only("id", its))].into())
                }
            };
            WatchRights { modules: modules.iter().map(|module| (*module).to_owned()).collect(), only }
        };
        self.roles.iter().map(|(who, role)| (*who, rights_of(role))).collect()
    }

    fn xid(&self) -> Xid {
        Xid(FIRST_XID + self.log.len() as u64)
    }

    fn commit(&mut self, event: Event) {
        let rights = self.rights();
        self.log.push(Committed { event, rights });
    }

    fn event(&self, kind: EventKind, table: &str, old: Option<Facets>, new: Option<Facets>) -> Event {
        Event {
            xid: self.xid(),
            organization: None,
            person: None,
            record: Uuid::nil(),
            kind,
            audience: None,
            actor: None,
            mutation: None,
            change: Change { table: table.to_owned(), old, new },
        }
    }

    fn change_row(&mut self, chance: &mut Chance) {
        let organization = any_organization(chance);
        let actor = any_person(chance);
        let plain = |id: Uuid| Some(facets(id, &[]));
        let event = match chance.below(6) {
            0 => {
                let id = customer(chance.below(CUSTOMERS));
                self.event(EventKind::Update, "customers", plain(id), plain(id))
            }
            1 => self.event(EventKind::Insert, "notes", None, plain(Uuid::nil())),
            _ => {
                let number = chance.below(ORDERS);
                let row = |order_row: &Order| {
                    let status = ("status", Facet::Integer(order_row.status.into()));
                    facets(order(number), &[status, ("customer", customer(order_row.customer).into())])
                };
                match self.orders.entry((organization, number)) {
                    Entry::Vacant(place) => {
                        let new = row(place.insert(Order::any(chance)));
                        self.event(EventKind::Insert, "orders", None, Some(new))
                    }
                    Entry::Occupied(place) if chance.below(4) == 0 => {
                        let old = row(&place.remove());
                        self.event(EventKind::Delete, "orders", Some(old), None)
                    }
                    Entry::Occupied(mut place) => {
                        let mut next = *place.get();
                        match chance.below(3) {
                            0 => next.status = chance.below(STATUSES),
                            1 => next.customer = chance.below(CUSTOMERS),
                            _ => {}
                        }
                        let old = row(&place.insert(next));
                        self.event(EventKind::Update, "orders", Some(old), Some(row(&next)))
                    }
                }
            }
        };
        let audience = (chance.below(3) == 0).then(|| (0..chance.below(3)).map(|_| any_person(chance)).collect());
        let mutation = (chance.below(2) == 0).then(|| MutationId(Uuid::from_u128(self.xid().0.into())));
        self.commit(Event { organization: Some(organization), audience, actor: Some(actor), mutation, ..event });
    }

    fn change_membership(&mut self, chance: &mut Chance) {
        let who = (any_person(chance), any_organization(chance));
        let kind = match (self.roles.contains_key(&who), chance.below(3)) {
            (true, 0) => EventKind::Delete,
            (true, _) => EventKind::Update,
            (false, _) => EventKind::Insert,
        };
        let role = match chance.below(4) {
            0 => Role::Manager,
            1 => Role::Guest,
            // None, one or two: of none a buyer sees nothing.
            _ => Role::Buyer((0..chance.below(3)).map(|_| customer(chance.below(CUSTOMERS))).collect()),
        };
        if kind == EventKind::Delete {
            self.roles.remove(&who);
        } else {
            self.roles.insert(who, role);
        }
        let event = self.event(kind, "memberships", Some(Facets::default()), Some(Facets::default()));
        self.commit(Event { person: Some(who.0), organization: Some(who.1), ..event });
    }

    fn change_catalogue(&mut self) {
        self.guests_see_sales = !self.guests_see_sales;
        let event = self.event(EventKind::Update, "roles", Some(Facets::default()), Some(Facets::default()));
        self.commit(event);
    }

    fn connect(&mut self, chance: &mut Chance) {
        let (person, session) = (any_person(chance), Uuid::from_u128(u128::from(chance.next()) << 32));
        let id = self.routing.attach(person, session);
        let (standing, due) = (BTreeMap::new(), BTreeMap::new());
        self.lines.insert(id, Line { person, session, standing, asking: None, due });
    }

    fn any_line(&self, chance: &mut Chance) -> Option<ConnectionId> {
        let ids: Vec<_> = self.lines.keys().copied().collect();
        (!ids.is_empty()).then(|| ids[chance.below(ids.len() as u32) as usize])
    }

    /// Judges a watch by the rights of now.
    fn ask(&mut self, id: ConnectionId, chance: &mut Chance, registry: &Registry) {
        let organization = any_organization(chance);
        let query = match chance.below(6) {
            0 => Query::Notes,
            1 => Query::List(None),
            2 | 3 => Query::List(Some(chance.below(STATUSES))),
            _ => Query::Record(chance.below(ORDERS)),
        };
        let (table, shape) = query.key();
        self.numbers += 1;
        let number = self.numbers;
        let key = WireKey::from(&QueryKey { organization, table, shape });
        let watch = Watch { number, key, snapshot: self.cursor(), epoch: EPOCH };
        let person = self.lines[&id].person;
        let version = self.routing.begin(id, std::slice::from_ref(&watch)).expect("it stands");
        let mine = self.rights().remove(&(person, organization));
        let rights: RightsThere = mine.into_iter().map(|rights| (organization, rights)).collect();
        let (candidates, mut refused) = registry.judge(vec![watch], &rights);
        // As row-level security says: a record that the person cannot see is refused.
        let can_see = |candidate: &Candidate| match (candidate.asks_visibility(), query, rights.get(&organization)) {
            (Some(_), Query::Record(number), Some(rights)) => {
                let values = rights.only.get("orders").map(|only| &only.values);
                let row = self.orders.get(&(organization, number));
                row.zip(values).is_some_and(|(row, values)| values.contains(&customer(row.customer)))
            }
            _ => true,
        };
        let (candidates, hidden): (Vec<_>, Vec<_>) = candidates.into_iter().partition(can_see);
        refused.extend(hidden.iter().map(Candidate::hidden));
        let asking = Asking { version, number, organization, query, rights, candidates, refused };
        self.lines.get_mut(&id).expect("it stands").asking = Some(asking);
    }

    fn register(&mut self, id: ConnectionId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let Some(asking) = line.asking.take() else { return };
        let Asking { version, number, organization, query, rights, candidates, refused } = asking;
        // With rights that changed meanwhile it is judged anew; here another will be asked for.
        let Registered::As(candidates) = self.routing.register(id, version, &rights, candidates, refused) else {
            return;
        };
        self.routing.settle(id, &candidates, &HashMap::new());
        if !candidates.is_empty() {
            let rights = rights.into_values().next().expect("nothing is taken without rights");
            line.standing.insert(number, Watching { organization, query, rights });
        }
    }

    fn cursor(&self) -> crate::snapshot::Snapshot {
        let xmax = FIRST_XID + self.heard as u64;
        format!("{xmax}:{xmax}:").parse().expect("a snapshot")
    }

    /// The feed comes to some of what it has not heard of; what its rights are, the database may not say in time.
    fn hear(&mut self, chance: &mut Chance, registry: &Registry) {
        let left = (self.log.len() - self.heard) as u32;
        let first = self.heard;
        self.heard += chance.below(left + 1) as usize;
        let events: Vec<Event> = self.log[first..self.heard].iter().map(|entry| entry.event.clone()).collect();
        let (tables, passed) = (Vec::new(), Vec::new());
        let batch = Batch {
            cursor: self.cursor(),
            epoch: EPOCH,
            events: events.clone(),
            tables,
            passed,
            is_restart: false,
            since: None,
        };
        let asked = self.routing.rights_to_ask(registry, &batch);
        let now = self.rights();
        let in_time = chance.below(4) > 0;
        let known = asked.into_iter().filter(|_| in_time).filter_map(|who| Some((who, now.get(&who)?.clone())));
        self.routing.apply(registry, batch, &known.collect());
        for line in self.lines.values_mut() {
            line.hear(&events);
        }
    }

    /// Looks at what the connection is told now.
    fn take(&mut self, id: ConnectionId, seed: u64) {
        let (frames, close) = self.routing.take_frames(id, false);
        let Some(line) = self.lines.get_mut(&id) else { return };
        if close.is_some() {
            assert!(
                !frames.iter().any(|frame| matches!(frame, ServerFrame::Tick(_))),
                "seed {seed}: told after the end"
            );
            self.lines.remove(&id);
            self.routing.detach(id);
            return;
        }
        let ticks = frames.into_iter().filter_map(|frame| match frame {
            ServerFrame::Tick(tick) => Some(tick),
            _ => None,
        });
        let due = std::mem::take(&mut line.due);
        let mut told = BTreeMap::new();
        for tick in ticks {
            for passed in &tick.mutations {
                let event = &self.log[(passed.xid.0 - FIRST_XID) as usize].event;
                assert_eq!(event.actor, Some(line.person), "seed {seed}: told of another's mutation");
            }
            for stale in tick.stale {
                let watch = line.standing.get(&stale.number);
                let watch = watch.unwrap_or_else(|| panic!("seed {seed}: {} is told, and has ended", stale.number));
                for xid in &stale.xids {
                    let event = &self.log[(xid.0 - FIRST_XID) as usize].event;
                    let what = || format!("seed {seed}: {:?} of {:?} is told of {event:?}", watch.query, line.person);
                    assert_eq!(event.organization, Some(watch.organization), "{}", what());
                    assert!(event.audience.as_ref().is_none_or(|them| them.contains(&line.person)), "{}", what());
                    let who = (line.person, watch.organization);
                    let standing = &self.log[self.heard.saturating_sub(1)..];
                    let by_any = standing.iter().filter_map(|entry| entry.rights.get(&who));
                    assert!(by_any.into_iter().any(|rights| may_read(rights, event)), "{}", what());
                }
                self.told += stale.xids.len();
                told.insert(stale.number, stale.xids.into_iter().collect::<BTreeSet<_>>());
            }
        }
        // More transactions than a frame names are left to its cursor.
        let named = |xids: BTreeSet<Xid>| if xids.len() > MOST_XIDS { BTreeSet::new() } else { xids };
        let due: BTreeMap<_, _> = due.into_iter().map(|(number, xids)| (number, named(xids))).collect();
        assert_eq!(told, due, "seed {seed}: what is told, and what is due");
    }

    fn step(&mut self, chance: &mut Chance, registry: &Registry, seed: u64) {
        let line = self.any_line(chance);
        match (chance.below(80), line) {
            (_, None) => self.connect(chance),
            (0, _) if self.lines.len() < 8 => self.connect(chance),
            (1, Some(id)) if chance.below(2) == 0 => {
                self.lines.remove(&id);
                self.routing.detach(id);
            }
            (1, Some(id)) => {
                let record = self.lines[&id].session;
                let event = self.event(EventKind::Delete, "sessions", Some(Facets::default()), None);
                self.commit(Event { record, ..event });
            }
            (2 | 3, _) => self.change_membership(chance),
            (4, _) => self.change_catalogue(),
            (5..=13, Some(id)) => self.ask(id, chance, registry),
            (14..=20, Some(_)) => {
                let asking = self.lines.iter().find(|(_, line)| line.asking.is_some()).map(|(id, _)| *id);
                asking.into_iter().for_each(|id| self.register(id));
            }
            (24, Some(id)) => {
                let line = self.lines.get_mut(&id).expect("one of them");
                if let Some((number, _)) = line.standing.pop_first() {
                    line.due.remove(&number);
                    self.routing.unwatch(id, &[number]);
                }
            }
            (25..=29, _) => self.hear(chance, registry),
            (30..=37, Some(id)) => self.take(id, seed),
            _ => self.change_row(chance),
        }
    }
}

impl Line {
    /// Changes of rights first, then rows.
    fn hear(&mut self, events: &[Event]) {
        for event in events {
            let is_mine = event.person.is_none_or(|person| person == self.person);
            if is_mine && ["memberships", "roles"].contains(&event.change.table.as_str()) {
                let ends = |watch: &Watching| event.organization.is_none_or(|changed| changed == watch.organization);
                self.standing.retain(|_, watch| !ends(watch));
                self.due.retain(|number, _| self.standing.contains_key(number));
            }
        }
        for event in events {
            let is_for_me = event.audience.as_ref().is_none_or(|people| people.contains(&self.person));
            let concerned = |watch: &Watching| {
                event.organization == Some(watch.organization) && watch.query.shows(&watch.rights, event)
            };
            for (number, _) in self.standing.iter().filter(|(_, watch)| is_for_me && concerned(watch)) {
                self.due.entry(*number).or_default().insert(event.xid);
            }
        }
    }
}

const EPOCH: Epoch = Epoch(Uuid::from_u128(1));

#[test]
fn nobody_is_told_of_a_row_by_rights_that_are_gone() {
    let registry = registry();
    let mut told = 0;
    for seed in 0..SEEDS {
        let chance = &mut Chance(seed);
        let mut world = World::default();
        let (events, tables, passed) = (Vec::new(), Vec::new(), Vec::new());
        let restart =
            Batch { cursor: world.cursor(), epoch: EPOCH, events, tables, passed, is_restart: true, since: None };
        world.routing.apply(&registry, restart, &RightsNow::new());
        for _ in 0..12 {
            world.change_membership(chance);
        }
        for _ in 0..STEPS {
            world.step(chance, &registry, seed);
        }
        while world.heard < world.log.len() {
            world.hear(chance, &registry);
        }
        for id in world.lines.keys().copied().collect::<Vec<_>>() {
            world.take(id, seed);
        }
        told += world.told;
    }
    println!("{told} changes were told");
    assert!(told > 2_000, "too few to say anything: {told}");
}
