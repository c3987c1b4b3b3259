//! What a step of the schedule does: what people do, what plain SQL does, and what goes wrong.

use super::{World, new_order, told};
use crate::error::ApiError;
use crate::hub::Close;
use crate::key::OrganizationId;
use crate::overlay::MutationId;
use crate::simulation::database::{Lock, When};
use crate::simulation::link::Down;
use crate::simulation::node::Node;
use crate::simulation::product::{self, Member, Order, OrderChange, Query, Role, Row, Write};
use crate::simulation::request::{Phase, Request};
use crate::simulation::schedule::{Name, Step, What};
use crate::simulation::tab::{Storage, Tab};
use crate::snapshot::{Snapshot, Xid};
use crate::wire::Read;
use uuid::Uuid;

impl World {
    pub(super) fn step(&mut self, step: Step) -> Result<(), String> {
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
                self.grant(tab, wishes)
            }
            What::Mutate => {
                // Ids made later are greater, as real ones are.
                self.made += 1;
                let id = MutationId(Uuid::from_u128(u128::from(self.made) << 64 | u128::from(a ^ b ^ c)));
                let write = self.write(product::organization(b), b / 2, c);
                note!(self, "  tab {tab} makes {id}: {:?}", write.change);
                self.make(tab, id, write)
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
                self.feeds_are_quick(c)
            }
            What::Catalogue => {
                self.set(product::CATALOGUE_ROW, Some(Row::Catalogue { guests_see_orders: b % 2 == 0 }), a);
                self.feeds_are_quick(c)
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
                self.cut_at_home(tab);
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
                in_hand.for_each(|request| request.die(&mut self.database));
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
                self.reload(tab, b);
                Ok(())
            }
            What::Restart => {
                let person = self.tabs[tab].person;
                note!(self, "  the device is started again");
                for place in 0..self.tabs.len() {
                    if self.tabs[place].person == person {
                        self.reload(place, b.rotate_left(place as u32));
                    }
                }
                Ok(())
            }
            What::Clock => {
                let page = &mut self.tabs[tab];
                page.clock = if b % 3 == 0 { page.clock / 2 } else { page.clock + u64::from(b) % 1_000_000 };
                Ok(())
            }
            What::Collect => {
                let now = self.tabs[tab].clock;
                let wishes = self.tabs[tab]
                    .act(&self.database, |client| client.collect(now, u64::from(b) % 1_000, usize::MAX))?;
                self.grant(tab, wishes)
            }
        }
    }

    fn reload(&mut self, tab: usize, how: u32) {
        note!(self, "  tab {tab} is loaded anew");
        let (person, clock) = (self.tabs[tab].person, self.tabs[tab].clock);
        if let Some(link) = self.tabs[tab].link {
            self.links[link].cut();
        }
        let storage = if self.households.is_empty() { Storage::None } else { Storage::Shared };
        // What it asks is something else than what the one before it asked.
        let asked = std::mem::take(&mut self.tabs[tab].asked);
        self.tabs[tab] = Tab::new(person, clock, storage);
        self.tabs[tab].asked = asked;
        self.reopen_at_home(tab, how);
        self.rendered.retain(|(_, whose, _)| *whose != tab);
        let its = self.requests.values_mut().filter(|request| request.tab == Some(tab));
        its.for_each(|request| request.tab = None);
    }

    /// One component more; sometimes with a value that the server rendered into the page a while ago.
    fn observe(&mut self, tab: usize, which: u32, how: u32) -> Result<(), String> {
        let organization = product::organization(which);
        let orders = &self.orders[which as usize % 2];
        let any = Query::any(organization, which / 2, orders);
        let query = self.shown_at_home(tab, how / 5).unwrap_or(any);
        let person = self.tabs[tab].person;
        self.queries.insert(query.key().to_string(), query.clone());
        if how % 5 == 1 {
            let rendered = self.rendered.iter().position(|(its, whose, _)| *its == query && *whose == tab);
            if let Some(rendered) = rendered {
                let (_, _, answer) = self.rendered.swap_remove(rendered);
                note!(self, "  tab {tab} shows {query:?} as it came with the page, {}", told(&query, &answer));
                let wishes = self.tabs[tab].observe(&query, Some(answer), &self.database)?;
                return self.grant(tab, wishes);
            }
        }
        // A page is rendered before anything is done on it.
        if how % 5 == 2 && self.tabs[tab].is_untouched() {
            let stamp = self.database.stamp();
            let answer = query.answer(&self.database, person, When::Then(&stamp));
            let answer = match answer {
                Ok(data) => Ok(Read { data, snapshot: stamp.snapshot, epoch: stamp.epoch, contains: Vec::new() }),
                Err(error) if error.kind.is_absence() => Err(ApiError { stamp: Some(stamp), ..error }),
                Err(error) => Err(error),
            };
            self.rendered.push((query.clone(), tab, answer));
        }
        note!(self, "  tab {tab} shows {query:?}");
        let wishes = self.tabs[tab].observe(&query, None, &self.database)?;
        self.grant(tab, wishes)
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
        let lock = [(id, Lock::Update)];
        if self.database.can_lock(xid, &lock) {
            note!(self, "  {xid:?} writes {row:?} as {id}");
            self.database.lock(xid, &lock);
            self.database.write(xid, id, row, None);
        }
        self.hold_or_commit(xid, how);
    }

    /// Now and then servers hear of it before anything else happens: while they judge a watch by the rights before it, say.
    fn feeds_are_quick(&mut self, how: u32) -> Result<(), String> {
        if how.is_multiple_of(2) {
            note!(self, "  all servers hear of it");
            return self.nodes.iter_mut().try_for_each(|node| node.catch_up(&mut self.database, &mut self.links));
        }
        Ok(())
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
        request.lose();
        note!(self, "  request {id:x} is lost{}", if lost.is_some() { ", but goes on at the server" } else { "" });
        if let Some(lost) = lost {
            self.requests.insert(Name::of((id, how)), lost);
        }
    }
}

/// An id that a step gives, whatever the others do.
fn named(kind: u128, which: u32, how: u32) -> Uuid {
    Uuid::from_u128(kind << 64 | u128::from(which) << 32 | u128::from(how))
}
