//! Everything together: one database, its servers, the pages, the network between them, and what a step does to them.

use super::database::Database;
use super::household::{self, Household};
use super::link::{Down, Link, LinkId};
use super::node::{self, Node};
use super::product::{self, Member, Order, Query, Role, Row};
use super::request::{About, Answer, Phase, Request};
use super::schedule::{Chance, Name, Schedule};
use super::tab::{Storage, Tab, Timer, Wish};
use crate::catalogue::Catalogue;
use crate::client::Outcome;
use crate::connection::State;
use crate::error::ApiError;
use crate::flights::Asked;
use crate::key::{OrganizationId, PersonId};
use crate::overlay::AnyValue;
use crate::snapshot::Xid;
use crate::switchboard::TabId;
use crate::wire::{Read, ServerFrame};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use uuid::Uuid;

pub(super) struct World {
    database: Database,
    nodes: Vec<Node>,
    tabs: Vec<Tab>,
    /// Persons whose tabs share one connection; none where each tab has its own.
    households: Vec<Household>,
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
    catalogue: Catalogue,
    /// By the text of their keys.
    queries: HashMap<String, Query>,
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
    /// Over this link, which has no socket.
    Question(LinkId),
    Household(usize, household::Move),
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

mod sharing;
mod steps;

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
        let storage = if schedule.is_shared { Storage::Shared } else { Storage::None };
        let tab = |person| Tab::new(product::person(person), 1_000_000, storage);
        Self {
            database,
            nodes: (0..schedule.nodes).map(|_| node()).collect(),
            tabs: schedule.tabs.iter().map(|person| tab(*person)).collect(),
            households: sharing::households(schedule),
            links: Vec::new(),
            requests: BTreeMap::new(),
            open: Vec::new(),
            rendered: Vec::new(),
            orders,
            made: 0,
            catalogue: product::catalogue(),
            queries: HashMap::new(),
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
                // Their connection is another's.
                None if !self.households.is_empty() => {}
                None => moves.push(Move::Connect(place)),
                Some(link) if self.links[link].is_cut() => moves.push(Move::NoticeCut(place)),
                Some(link) if self.links[link].has_told() => moves.push(Move::Hear(place)),
                Some(_) => {}
            }
        }
        for (place, household) in self.households.iter().enumerate() {
            moves.extend(household.moves(&self.links).into_iter().map(|this| Move::Household(place, this)));
        }
        for (place, link) in self.links.iter().enumerate().filter(|(_, link)| !link.is_cut()) {
            if link.questions().is_some_and(|questions| questions.can_go_on(&self.database)) {
                moves.push(Move::Question(place));
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
                self.grant(tab, wishes)
            }
            Move::Timer(tab, timer) => {
                let timer = self.tabs[tab].timers.remove(timer);
                note!(self, "  tab {tab} tries again: {timer:?}");
                let wishes = self.tabs[tab].act(&self.database, |client| match &timer {
                    Timer::Fetch(query) => client.retry_fetch(&query.key()),
                    Timer::Mutations(ids) => client.retry_mutations(ids),
                })?;
                self.grant(tab, wishes)
            }
            Move::Hear(tab) => self.hear(tab),
            Move::NoticeCut(tab) => {
                note!(self, "  tab {tab} notices that its connection is gone");
                self.connection_of(tab, State::Connecting)
            }
            Move::Connect(tab) => {
                note!(self, "  tab {tab} connects");
                let link = self.connect(self.tabs[tab].person, chance);
                self.tabs[tab].link = Some(link);
                Ok(())
            }
            Move::Household(place, this) => self.household_goes_on(place, this, chance),
            Move::Question(link) => {
                let node = chance as usize % self.nodes.len();
                note!(self, "  server {node} is asked over link {link} at {}", self.database.snapshot());
                self.nodes[node].answer(&mut self.links[link], &self.database, || chance.is_multiple_of(5))
            }
            Move::Server(node, this) => {
                note!(self, "  server {node}: {this:?} at {}", self.database.snapshot());
                self.nodes[node].go(this, chance.is_multiple_of(4), &mut self.database, &mut self.links)
            }
        }
    }

    /// A connection to some server.
    fn connect(&mut self, person: PersonId, chance: u32) -> LinkId {
        let node = chance as usize % self.nodes.len();
        let link = self.links.len();
        if chance.is_multiple_of(7) {
            note!(self, "  connection {link} has no socket");
            self.links.push(Link::of_questions(person));
            return link;
        }
        note!(self, "  connection {link} leads to server {node}");
        self.links.push(Link::default());
        self.nodes[node].connect(person, link, &mut self.links);
        link
    }

    fn request_goes_on(&mut self, id: u64) -> Result<(), String> {
        let Some(mut request) = self.requests.remove(&id) else { return Ok(()) };
        if !request.is_answered() {
            request.go_on(&mut self.database);
            note!(self, "  request {id:x} on the server: {}", request.phase.name());
            if !(request.is_answered() && request.tab.is_none()) {
                self.requests.insert(id, request);
            }
            return Ok(());
        }
        let Some(tab) = request.tab else { return Ok(()) };
        let wishes = match (&request.about, &request.phase) {
            (About::Read { query, asked }, Phase::Answered(Answer::Read(read))) => {
                note!(self, "  tab {tab} has the answer of request {id:x}: {query:?} {}", told(query, read));
                if !self.households.is_empty() {
                    return self.landed(tab, query, asked, read.clone());
                }
                self.tabs[tab].fetched(query, asked.ticket, &asked.question, read.clone(), &self.database)?
            }
            (About::Write { .. }, Phase::Answered(Answer::Written(_) | Answer::Failed(_))) => {
                let mut outcomes = request.outcomes();
                for (mutation, outcome) in &outcomes {
                    note!(self, "  tab {tab} hears of request {id:x}: {mutation} {}", came_of(outcome));
                }
                if !self.households.is_empty() {
                    return self.sent(tab, outcomes);
                }
                self.tabs[tab].client.say_after(&mut outcomes);
                self.tabs[tab].heard(outcomes, &self.database)?
            }
            _ => return Err("a request was answered with another one's answer".to_owned()),
        };
        self.grant(tab, wishes)
    }

    fn hear(&mut self, tab: usize) -> Result<(), String> {
        let Some(down) = self.tabs[tab].link.and_then(|link| self.links[link].told()) else { return Ok(()) };
        match down {
            Down::Frame(ServerFrame::Hello { .. }) => self.connection_of(tab, State::Live),
            Down::Frame(frame) => self.told(tab, frame),
            Down::Closed(close) => {
                note!(self, "  tab {tab} hears that the connection ends: {close:?}");
                self.connection_of(tab, State::Connecting)
            }
        }
    }

    fn grant(&mut self, tab: usize, wishes: Vec<Wish>) -> Result<(), String> {
        for wish in wishes {
            let about = match wish {
                Wish::Frame(frame) => {
                    note!(self, "  tab {tab} says {frame:?}");
                    match self.tabs[tab].link {
                        Some(link) => self.links[link].ask(frame),
                        None => self.says_at_home(tab, frame)?,
                    }
                    continue;
                }
                Wish::Read { query, ticket, question } if !self.households.is_empty() => {
                    self.asks_at_home(tab, &query, ticket, question)?;
                    continue;
                }
                Wish::Read { query, ticket, question } => {
                    About::Read { query, asked: Asked { tab: TabId(Uuid::nil()), ticket, question } }
                }
                Wish::Restore(_)
                | Wish::Keep(_)
                | Wish::KeepMutation(_)
                | Wish::ForgetMutations(_)
                | Wish::ForgetKept(_)
                | Wish::ForgetAll(_)
                | Wish::Left(_) => {
                    self.keeps_at_home(tab, wish);
                    continue;
                }
                Wish::Send { mutation, write, behind } => About::Write { mutation, write, past: Vec::new(), behind },
            };
            self.request(tab, about);
        }
        Ok(())
    }

    fn request(&mut self, tab: usize, about: About) {
        let person = self.tabs[tab].person;
        let page = &mut self.tabs[tab];
        let id = match &about {
            About::Read { query, .. } => page.name_request(tab, query),
            About::Write { mutation, .. } => page.name_request(tab, mutation),
        };
        match &about {
            About::Read { query, asked } => {
                note!(self, "  tab {tab} asks for {query:?} (request {id:x}, ticket {})", asked.ticket)
            }
            About::Write { mutation, behind, .. } => {
                note!(self, "  tab {tab} sends {mutation} and {} more (request {id:x})", behind.len())
            }
        }
        let node = id as usize % self.nodes.len();
        self.requests.insert(id, Request { person, tab: Some(tab), node, about, phase: Phase::Sent });
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
        self.look_at_homes()?;
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

fn told(query: &Query, answer: &Result<Read<AnyValue>, ApiError>) -> String {
    match answer {
        Ok(read) => format!("{} at {} in {}", query.written(Some(&read.data)), read.snapshot, read.epoch.0.as_u128()),
        Err(error) => format!("{:?}", error.kind),
    }
}

fn came_of(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { answer, .. } => format!("by {:?} at {}", answer.xid, answer.stamp.snapshot),
        Outcome::Failed(error) => format!("failed: {:?}", error.kind),
        Outcome::NotBegun => "was not begun".to_owned(),
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
