//! Everything together: one database, its servers, the pages, the network between them, and what a step does to them.

use super::database::Database;
use super::link::{Down, Link};
use super::node::{self, Node};
use super::product::{self, Member, Order, OrderChange, Query, Role, Row, Write};
use super::request::{About, Answer, Phase, Request, cut};
use super::schedule::{Chance, Name, Schedule, Step, What};
use super::tab::{Tab, Timer, Wish};
use crate::error::ApiError;
use crate::hub::Close;
use crate::key::OrganizationId;
use crate::overlay::{AnyValue, MutationId};
use crate::snapshot::{Snapshot, Xid};
use crate::wire::{Read, ServerFrame};
use std::collections::BTreeMap;
use std::rc::Rc;
use uuid::Uuid;

pub(super) struct World {
    database: Database,
    nodes: Vec<Node>,
    tabs: Vec<Tab>,
    links: Vec<Link>,
    requests: BTreeMap<u64, Request>,
    /// Transactions of plain SQL that are held open.
    open: Vec<Xid>,
    /// A value that the server has rendered into a page that is still on its way.
    rendered: Vec<(Query, usize, Result<Read<AnyValue>, ApiError>)>,
    /// The orders of each organization that there are or were.
    orders: [Vec<Uuid>; 2],
    /// How many mutations were made.
    made: u64,
    trace: Option<Vec<String>>,
}

/// What can go on by itself.
#[derive(Clone, Debug, Hash)]
enum Move {
    Request(u64),
    Rest(usize),
    Timer(usize, usize),
    Hear(usize),
    NoticeCut(usize),
    Connect(usize),
    Server(usize, node::Move),
}

/// More moves than this after the last step, and it will never come to rest.
const MOST_MOVES: usize = 4_000;

macro_rules! note {
    ($world:expr, $($told:tt)*) => {
        if let Some(trace) = &mut $world.trace {
            trace.push(format!($($told)*));
        }
    };
}

impl World {
    /// Runs the schedule, lets everything come to rest, and gives the promise that was broken, if one was.
    pub(super) fn run(schedule: &Schedule, trace: bool) -> (Result<(), String>, Vec<String>) {
        let mut world = Self::new(schedule);
        world.trace = trace.then(Vec::new);
        let outcome = schedule.steps.iter().try_for_each(|step| world.step(*step)).and_then(|()| world.come_to_rest());
        (outcome, world.trace.unwrap_or_default())
    }

    fn new(schedule: &Schedule) -> Self {
        let mut database = Database::new();
        let registry = Rc::new(product::registry());
        let xid = database.begin();
        let mut orders = [Vec::new(), Vec::new()];
        for (number, known) in (0..).zip(&mut orders) {
            let organization = product::organization(number);
            for order in 0..3 {
                let made = new_order(organization, u64::from(number * 3 + order), order, order);
                known.push(made.id);
                database.write(xid, made.id, Some(Row::Order(made)), None);
            }
        }
        for (person, roles) in (0..).zip([
            [Some(Role::Manager), Some(Role::Manager)],
            [Some(Role::Manager), Some(Role::Buyer(product::customer(0)))],
            [Some(Role::Guest), None],
        ]) {
            for (number, role) in (0..).zip(roles) {
                let (organization, person) = (product::organization(number), product::person(person));
                let row = role.map(|role| Row::Member(Member { organization, person, role }));
                database.write(xid, product::membership(organization, person), row, None);
            }
        }
        database.write(xid, product::CATALOGUE_ROW, Some(Row::Catalogue { guests_see_orders: true }), None);
        database.commit(xid);
        let node = || Node::new(registry.clone(), schedule.limits);
        Self {
            database,
            nodes: (0..schedule.nodes).map(|_| node()).collect(),
            tabs: schedule.tabs.iter().map(|person| Tab::new(product::person(*person), 1_000_000)).collect(),
            links: Vec::new(),
            requests: BTreeMap::new(),
            open: Vec::new(),
            rendered: Vec::new(),
            orders,
            made: 0,
            trace: None,
        }
    }

    // --------------------------------------------------------------------------------------- what goes on by itself

    fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        for (id, request) in &self.requests {
            if request.is_answered() || request.can_go_on(&self.database) {
                moves.push(Move::Request(*id));
            }
        }
        for (place, tab) in self.tabs.iter().enumerate() {
            if tab.is_unsettled {
                moves.push(Move::Rest(place));
            }
            moves.extend((0..tab.timers.len()).map(|timer| Move::Timer(place, timer)));
            match tab.link {
                None => moves.push(Move::Connect(place)),
                Some(link) if self.links[link].is_cut() => moves.push(Move::NoticeCut(place)),
                Some(link) if self.links[link].has_told() => moves.push(Move::Hear(place)),
                Some(_) => {}
            }
        }
        for (place, node) in self.nodes.iter().enumerate() {
            moves.extend(node.moves(&self.database, &self.links).into_iter().map(|this| Move::Server(place, this)));
        }
        moves
    }

    /// One of the moves that can be made: the one whose name suits the number best, so that the choice stays the same
    /// where another that could have been made is no longer there.
    fn pick(&self, mut moves: Vec<Move>, number: u32) -> Option<Move> {
        let suits = |this: &Move| {
            let name = match this {
                Move::Timer(tab, timer) => Name::of((*tab, &self.tabs[*tab].timers[*timer])),
                Move::Request(id) => Name::of((*id, self.requests[id].phase.number())),
                other => Name::of(other),
            };
            Chance(name ^ u64::from(number)).next()
        };
        let (best, _) = moves.iter().enumerate().min_by_key(|(_, this)| suits(this))?;
        Some(moves.swap_remove(best))
    }

    fn go_on(&mut self, this: Move, chance: u32) -> Result<(), String> {
        match this {
            Move::Request(id) => self.request_goes_on(id),
            Move::Rest(tab) => {
                let wishes = self.tabs[tab].rest(&self.database)?;
                self.grant(tab, wishes);
                Ok(())
            }
            Move::Timer(tab, timer) => {
                let timer = self.tabs[tab].timers.remove(timer);
                note!(self, "  tab {tab} tries again: {timer:?}");
                let wishes = self.tabs[tab].act(&self.database, |client| match &timer {
                    Timer::Fetch(query) => client.retry_fetch(&query.key()),
                    Timer::Mutation(id) => client.retry_mutation(*id),
                })?;
                self.grant(tab, wishes);
                Ok(())
            }
            Move::Hear(tab) => self.hear(tab),
            Move::NoticeCut(tab) => {
                note!(self, "  tab {tab} notices that its connection is gone");
                let wishes = self.tabs[tab].disconnected(&self.database)?;
                self.grant(tab, wishes);
                Ok(())
            }
            Move::Connect(tab) => {
                let node = chance as usize % self.nodes.len();
                let link = self.links.len();
                note!(self, "  tab {tab} connects to server {node}");
                self.links.push(Link::default());
                self.tabs[tab].link = Some(link);
                self.nodes[node].connect(self.tabs[tab].person, link, &mut self.links);
                Ok(())
            }
            Move::Server(node, this) => {
                note!(self, "  server {node}: {this:?} at {}", self.database.snapshot());
                self.nodes[node].go(this, chance.is_multiple_of(4), &mut self.database, &mut self.links)
            }
        }
    }

    fn request_goes_on(&mut self, id: u64) -> Result<(), String> {
        let Some(mut request) = self.requests.remove(&id) else { return Ok(()) };
        let Phase::Answered(answer) = request.phase else {
            request.go_on(&mut self.database);
            note!(self, "  request {id:x} on the server: {}", request.phase.name());
            if !(request.is_answered() && request.tab.is_none()) {
                self.requests.insert(id, request);
            }
            return Ok(());
        };
        let Some(tab) = request.tab else { return Ok(()) };
        let page = &mut self.tabs[tab];
        let wishes = match (request.about, answer) {
            (About::Read { query, ticket, .. }, Answer::Read(read)) => {
                note!(self, "  tab {tab} has the answer of request {id:x}: {query:?} {}", told(&query, &read));
                page.fetched(&query, ticket, read, &self.database)?
            }
            (About::Write { mutation, .. }, Answer::Written(done)) => {
                note!(
                    self,
                    "  tab {tab} has the answer of request {id:x}: {mutation} by {:?} at {}",
                    done.xid,
                    done.stamp.snapshot
                );
                page.answered(mutation, Ok(done), &self.database)?
            }
            (About::Write { mutation, .. }, Answer::Failed(error)) => {
                note!(self, "  tab {tab}: {mutation} failed: {:?}", error.kind);
                page.answered(mutation, Err(error), &self.database)?
            }
            _ => return Err("a request was answered with another one's answer".to_owned()),
        };
        self.grant(tab, wishes);
        Ok(())
    }

    fn hear(&mut self, tab: usize) -> Result<(), String> {
        let Some(down) = self.tabs[tab].link.and_then(|link| self.links[link].told()) else { return Ok(()) };
        let page = &mut self.tabs[tab];
        let wishes = match down {
            Down::Frame(frame) => {
                note!(self, "  tab {tab} hears {}", heard(&frame));
                match frame {
                    ServerFrame::Hello { .. } => page.connected(&self.database)?,
                    ServerFrame::Tick(tick) => page.ticked(tick, &self.database)?,
                    ServerFrame::Rights { organizations } => page.rights_changed(organizations, &self.database)?,
                    ServerFrame::Pong { .. } => Vec::new(),
                    ServerFrame::Error(error) => return Err(format!("the server did not understand a frame: {error}")),
                }
            }
            Down::Closed(close) => {
                note!(self, "  tab {tab} hears that the connection ends: {close:?}");
                page.disconnected(&self.database)?
            }
        };
        self.grant(tab, wishes);
        Ok(())
    }

    fn grant(&mut self, tab: usize, wishes: Vec<Wish>) {
        let person = self.tabs[tab].person;
        for wish in wishes {
            let about = match wish {
                Wish::Frame(frame) => {
                    note!(self, "  tab {tab} says {frame:?}");
                    if let Some(link) = self.tabs[tab].link {
                        self.links[link].ask(frame);
                    }
                    continue;
                }
                Wish::Read { query, ticket, pending } => About::Read { query, ticket, pending },
                Wish::Send { mutation, write } => About::Write { mutation, write },
            };
            let page = &mut self.tabs[tab];
            let id = match &about {
                About::Read { query, .. } => page.name_request(tab, query),
                About::Write { mutation, .. } => page.name_request(tab, mutation),
            };
            match &about {
                About::Read { query, ticket, .. } => {
                    note!(self, "  tab {tab} asks for {query:?} (request {id:x}, ticket {ticket})")
                }
                About::Write { mutation, .. } => note!(self, "  tab {tab} sends {mutation} (request {id:x})"),
            }
            let node = id as usize % self.nodes.len();
            self.requests.insert(id, Request { person, tab: Some(tab), node, about, phase: Phase::Sent });
        }
    }

    // ------------------------------------------------------------------------------------------------- the steps

    fn step(&mut self, step: Step) -> Result<(), String> {
        let Step { what, a, b, c } = step;
        let tab = a as usize % self.tabs.len();
        if !matches!(what, What::GoOn | What::Move) {
            note!(self, "{what:?}");
        }
        match what {
            What::GoOn => {
                let moves = step.moves().unwrap_or_default();
                moves.into_iter().try_for_each(|step| self.step(step))
            }
            What::Move => match self.pick(self.moves(), a) {
                Some(this) => self.go_on(this, b),
                None => Ok(()),
            },
            What::Observe => self.observe(tab, b, c),
            What::Unobserve => {
                let observed = self.tabs[tab].observed();
                if observed.is_empty() {
                    return Ok(());
                }
                let query = &observed[b as usize % observed.len()];
                note!(self, "  tab {tab} leaves {query:?}");
                let wishes = self.tabs[tab].unobserve(query, &self.database)?;
                self.grant(tab, wishes);
                Ok(())
            }
            What::Mutate => {
                // Ids made later are greater, as real ones are.
                self.made += 1;
                let id = MutationId(Uuid::from_u128(u128::from(self.made) << 64 | u128::from(a ^ b ^ c)));
                let write = self.write(product::organization(b), b / 2, c);
                note!(self, "  tab {tab} makes {id}: {:?}", write.change);
                let wishes = self.tabs[tab].mutate(id, write, &self.database)?;
                self.grant(tab, wishes);
                Ok(())
            }
            What::Sql => {
                let write = self.write(product::organization(a), b, c);
                let xid = self.database.begin();
                self.sql(xid, &write);
                self.hold_or_commit(xid, a / 2);
                Ok(())
            }
            What::EndSql => {
                if self.open.is_empty() {
                    return Ok(());
                }
                let xid = self.open.swap_remove(a as usize % self.open.len());
                match b % 4 {
                    0 => self.database.roll_back(xid),
                    _ => self.database.commit(xid),
                }
                note!(self, "  {xid:?} ends, {}", if b % 4 == 0 { "rolled back" } else { "committed" });
                Ok(())
            }
            What::Membership => {
                let (organization, person) = (product::organization(b), product::person(b / 2));
                let id = product::membership(organization, person);
                let role = match b / 6 % 6 {
                    0 | 1 => None,
                    2 | 3 => Some(Role::Manager),
                    4 => Some(Role::Guest),
                    _ => Some(Role::Buyer(product::customer(c))),
                };
                self.set(id, role.map(|role| Row::Member(Member { organization, person, role })), a);
                Ok(())
            }
            What::Catalogue => {
                self.set(product::CATALOGUE_ROW, Some(Row::Catalogue { guests_see_orders: b % 2 == 0 }), a);
                Ok(())
            }
            What::LoseRequest => {
                self.lose(a, b);
                Ok(())
            }
            What::RepeatRequest => {
                let sent: Vec<_> = self.requests.iter().filter(|(_, request)| !request.is_in_hand()).collect();
                if !sent.is_empty() {
                    let (first, request) = sent[a as usize % sent.len()];
                    let (first, copy) = (*first, Request { tab: None, phase: Phase::Sent, ..request.clone() });
                    let id = Name::of((first, b));
                    note!(self, "  request {first:x} comes twice, as {id:x}");
                    self.requests.insert(id, copy);
                }
                Ok(())
            }
            What::Cut => {
                if let Some(link) = self.tabs[tab].link {
                    note!(self, "  tab {tab} is cut off");
                    self.links[link].cut();
                }
                Ok(())
            }
            What::RestartServer => {
                let node = a as usize % self.nodes.len();
                note!(self, "  server {node} restarts");
                for link in self.nodes[node].restart() {
                    if b % 2 == 0 {
                        self.links[link].tell(Down::Closed(Close::GoingAway));
                    } else {
                        self.links[link].cut();
                    }
                }
                let in_hand = self.requests.values_mut().filter(|request| request.node == node && request.is_in_hand());
                in_hand.for_each(|request| request.fail(&mut self.database));
                Ok(())
            }
            What::Crash => {
                self.database.crash(a % 2 == 0);
                self.open.clear();
                let requests = self.requests.values_mut().filter(|request| request.is_in_transaction());
                requests.for_each(|request| request.fail(&mut self.database));
                note!(self, "  the database crashes, and comes back at {}", self.database.snapshot());
                Ok(())
            }
            What::DropEvents => {
                let cursors: Vec<&Snapshot> =
                    self.nodes.iter().filter_map(Node::feed).map(|feed| &feed.snapshot).collect();
                let before = Xid(self.database.snapshot().xmax().0.saturating_sub(u64::from(a % 6)));
                self.database.drop_events(before, &cursors);
                note!(self, "  events before {before:?} are dropped");
                Ok(())
            }
            What::Reload => {
                note!(self, "  tab {tab} is loaded anew");
                let (person, clock) = (self.tabs[tab].person, self.tabs[tab].clock);
                if let Some(link) = self.tabs[tab].link {
                    self.links[link].cut();
                }
                self.tabs[tab] = Tab::new(person, clock);
                self.rendered.retain(|(_, whose, _)| *whose != tab);
                let its = self.requests.values_mut().filter(|request| request.tab == Some(tab));
                its.for_each(|request| request.tab = None);
                Ok(())
            }
            What::Clock => {
                let page = &mut self.tabs[tab];
                page.clock = if b % 3 == 0 { page.clock / 2 } else { page.clock + u64::from(b) % 1_000_000 };
                Ok(())
            }
            What::Collect => {
                let now = self.tabs[tab].clock;
                let wishes = self.tabs[tab].act(&self.database, |client| client.collect(now, u64::from(b) % 1_000))?;
                self.grant(tab, wishes);
                Ok(())
            }
        }
    }

    /// One component more; sometimes with a value that the server rendered into the page a while ago.
    fn observe(&mut self, tab: usize, which: u32, how: u32) -> Result<(), String> {
        let organization = product::organization(which);
        let orders = &self.orders[which as usize % 2];
        let query = Query::any(organization, which / 2, orders);
        let person = self.tabs[tab].person;
        if how % 5 == 1 {
            let rendered = self.rendered.iter().position(|(its, whose, _)| *its == query && *whose == tab);
            if let Some(rendered) = rendered {
                let (_, _, answer) = self.rendered.swap_remove(rendered);
                note!(self, "  tab {tab} shows {query:?} as it came with the page, {}", told(&query, &answer));
                let wishes = self.tabs[tab].observe(&query, Some(answer), &self.database)?;
                self.grant(tab, wishes);
                return Ok(());
            }
        }
        // A page is rendered before anything is done on it.
        if how % 5 == 2 && self.tabs[tab].is_untouched() {
            let stamp = self.database.stamp();
            let answer = query.answer(&self.database, person, super::database::When::Then(&stamp));
            let answer = match answer {
                Ok(data) => Ok(Read { data, snapshot: stamp.snapshot, epoch: stamp.epoch, contains: Vec::new() }),
                Err(error) if error.kind.is_absence() => Err(ApiError { stamp: Some(stamp), ..error }),
                Err(error) => Err(error),
            };
            self.rendered.push((query.clone(), tab, answer));
        }
        note!(self, "  tab {tab} shows {query:?}");
        let wishes = self.tabs[tab].observe(&query, None, &self.database)?;
        self.grant(tab, wishes);
        Ok(())
    }

    /// Some change of orders.
    fn write(&mut self, organization: OrganizationId, which: u32, how: u32) -> Write {
        let place = usize::from(organization != product::organization(0));
        let of = |number: u32| self.orders[place][number as usize % self.orders[place].len()];
        let order = of(how);
        let change = match which % 16 {
            0 => OrderChange::Make(new_order(organization, 0, how, how / 3)),
            1..=6 => OrderChange::Add { to: order, amount: i64::from(how / 16 % 4) },
            7 | 8 => {
                let from = (how / 48).is_multiple_of(3).then_some(i64::from(how / 7 % 3));
                OrderChange::Status { of: order, from, to: i64::from(how / 16 % 3) }
            }
            9 | 10 => OrderChange::Title { of: order, to: how / 16 % 3 },
            11 => OrderChange::Customer { of: order, to: product::customer(how / 16) },
            12 | 13 => OrderChange::Line { of: order, id: Uuid::nil(), quantity: 1 + i64::from(how % 3) },
            14 => OrderChange::Move { from: order, to: of(how / 16), amount: 1 },
            _ => OrderChange::Delete(order),
        };
        let change = match change {
            OrderChange::Make(order) => {
                let made = Order { id: named(1, which, how), ..order };
                self.orders[place].push(made.id);
                OrderChange::Make(made)
            }
            OrderChange::Line { of, quantity, .. } => OrderChange::Line { of, id: named(2, which, how), quantity },
            OrderChange::Move { from, to, .. } if from == to => OrderChange::Add { to, amount: 1 },
            change => change,
        };
        Write { organization, change, brings_record: !(how / 5).is_multiple_of(3) }
    }

    /// Runs the change as plain SQL, if no lock is in its way; otherwise nothing happens.
    fn sql(&mut self, xid: Xid, write: &Write) {
        let locks = write.locks(&self.database);
        if self.database.can_lock(xid, &locks) {
            self.database.lock(xid, &locks);
            let outcome = write.run(&mut self.database, xid, None);
            note!(self, "  {xid:?} does {:?}: {:?}", write.change, outcome.map_err(|error| error.kind));
        }
    }

    fn set(&mut self, id: Uuid, row: Option<Row>, how: u32) {
        let xid = self.database.begin();
        let lock = [(id, super::database::Lock::Update)];
        if self.database.can_lock(xid, &lock) {
            note!(self, "  {xid:?} writes {row:?} as {id}");
            self.database.lock(xid, &lock);
            self.database.write(xid, id, row, None);
        }
        self.hold_or_commit(xid, how);
    }

    fn hold_or_commit(&mut self, xid: Xid, how: u32) {
        match how % 3 {
            0 => self.open.push(xid),
            _ => self.database.commit(xid),
        }
    }

    fn lose(&mut self, which: u32, how: u32) {
        let waited: Vec<u64> =
            self.requests.iter().filter(|(_, request)| request.tab.is_some()).map(|(id, _)| *id).collect();
        if waited.is_empty() {
            return;
        }
        let id = waited[which as usize % waited.len()];
        let Some(request) = self.requests.get_mut(&id) else { return };
        let lost = match request.phase {
            // It never arrives; or nobody waits for it any more, and it arrives all the same.
            Phase::Sent if how.is_multiple_of(2) => None,
            Phase::Answered(_) => None,
            _ => Some(Request { tab: None, ..request.clone() }),
        };
        request.phase = Phase::Answered(match request.about {
            About::Read { .. } => Answer::Read(Err(cut())),
            About::Write { .. } => Answer::Failed(cut()),
        });
        note!(self, "  request {id:x} is lost{}", if lost.is_some() { ", but goes on at the server" } else { "" });
        if let Some(lost) = lost {
            self.requests.insert(Name::of((id, how)), lost);
        }
    }

    // ------------------------------------------------------------------------------------------------- the rest

    /// Nothing is lost any more and everybody gets through: what has been promised for then is looked at.
    fn come_to_rest(&mut self) -> Result<(), String> {
        note!(self, "And then all goes well.");
        for xid in std::mem::take(&mut self.open) {
            self.database.commit(xid);
        }
        let mut chance = Chance(7);
        let mut count = 0;
        for _ in 0..3 {
            while let Some(this) = self.pick(self.moves(), chance.next()) {
                count += 1;
                if count > MOST_MOVES {
                    return Err(format!("no rest: {:?}", self.moves()));
                }
                self.go_on(this, chance.next())?;
            }
            for node in &mut self.nodes {
                node.heartbeat(&self.database, &mut self.links)?;
            }
        }
        for (place, tab) in self.tabs.iter().enumerate() {
            tab.look_at_rest(&self.database).map_err(|broken| format!("{broken} (tab {place})"))?;
        }
        Ok(())
    }
}

fn new_order(organization: OrganizationId, number: u64, status: u32, customer: u32) -> Order {
    Order {
        id: Uuid::from_u128(0x1000 + u128::from(number)),
        organization,
        status: i64::from(status % 3),
        customer: product::customer(customer),
        counter: 0,
        title: 0,
    }
}

/// An id that a step gives, whatever the others do.
fn named(kind: u128, which: u32, how: u32) -> Uuid {
    Uuid::from_u128(kind << 64 | u128::from(which) << 32 | u128::from(how))
}

fn told(query: &Query, answer: &Result<Read<AnyValue>, ApiError>) -> String {
    match answer {
        Ok(read) => format!("{} at {} in {}", query.written(Some(&read.data)), read.snapshot, read.epoch.0.as_u128()),
        Err(error) => format!("{:?}", error.kind),
    }
}

fn heard(frame: &ServerFrame) -> String {
    match frame {
        ServerFrame::Tick(tick) => format!(
            "tick {} stale {:?} watching {:?} refused {:?} mutations {:?}",
            tick.cursor,
            tick.stale.iter().map(|stale| (stale.number, &stale.xids)).collect::<Vec<_>>(),
            tick.watching,
            tick.refused.iter().map(|refused| refused.number).collect::<Vec<_>>(),
            tick.mutations
        ),
        frame => format!("{frame:?}"),
    }
}
