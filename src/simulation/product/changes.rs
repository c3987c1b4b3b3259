//! The mutations: how each is carried out, and how it looks while it is pending.

use super::queries::{OrderItem, OrderRecord, Orders, Sight, lines};
use super::{Line, Order, Role, Row};
use crate::error::{ApiError, Kind};
use crate::key::{OrganizationId, PersonId, QueryKey};
use crate::live::RecordQuery;
use crate::overlay::{Mutation, MutationId, Shown};
use crate::simulation::database::{Database, Lock, When};
use crate::snapshot::Xid;
use crate::sql::Outcome;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::simulation) struct Write {
    pub(in crate::simulation) organization: OrganizationId,
    pub(in crate::simulation) change: OrderChange,
    /// Whether the answer is the value of the order's record.
    pub(in crate::simulation) brings_record: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::simulation) enum OrderChange {
    Make(Order),
    /// Unlike an assignment, it shows when it is laid over a value twice.
    Add {
        to: Uuid,
        amount: i64,
    },
    Status {
        of: Uuid,
        from: Option<i64>,
        to: i64,
    },
    Title {
        of: Uuid,
        to: u32,
    },
    Customer {
        of: Uuid,
        to: Uuid,
    },
    Line {
        of: Uuid,
        id: Uuid,
        quantity: i64,
    },
    /// Changes two records at once.
    Move {
        from: Uuid,
        to: Uuid,
        amount: i64,
    },
    Delete(Uuid),
}

impl OrderChange {
    fn orders(&self) -> Vec<Uuid> {
        match self {
            OrderChange::Make(order) => vec![order.id],
            OrderChange::Add { to: of, .. }
            | OrderChange::Status { of, .. }
            | OrderChange::Title { of, .. }
            | OrderChange::Customer { of, .. }
            | OrderChange::Line { of, .. }
            | OrderChange::Delete(of) => vec![*of],
            OrderChange::Move { from, to, .. } => vec![*from, *to],
        }
    }

    /// One order, changed as far as it is one of this change's.
    fn shown_on(&self, order: &mut Order) {
        match self {
            OrderChange::Add { to, amount } if *to == order.id => order.counter += amount,
            OrderChange::Status { of, to, .. } if *of == order.id => order.status = *to,
            OrderChange::Title { of, to } if *of == order.id => order.title = *to,
            OrderChange::Customer { of, to } if *of == order.id => order.customer = *to,
            OrderChange::Move { from, to, amount } => {
                order.counter -= if *from == order.id { *amount } else { 0 };
                order.counter += if *to == order.id { *amount } else { 0 };
            }
            _ => {}
        }
    }
}

impl Write {
    /// The row locks that its statements take.
    pub(in crate::simulation) fn locks(&self, database: &Database) -> Vec<(Uuid, Lock)> {
        let lock = match self.change {
            OrderChange::Line { .. } => Lock::KeyShare,
            OrderChange::Delete(_) => Lock::Delete,
            _ => Lock::Update,
        };
        let mut locks: Vec<_> = self.change.orders().into_iter().map(|order| (order, lock)).collect();
        if let OrderChange::Delete(order) = self.change {
            locks.extend(lines(database, order, When::Now).into_keys().map(|line| (line, Lock::Delete)));
        }
        locks
    }

    /// Runs the statements in the transaction; plain SQL where nobody acts.
    pub(in crate::simulation) fn run(
        &self,
        database: &mut Database,
        xid: Xid,
        by: Option<(PersonId, MutationId)>,
    ) -> Result<Outcome, ApiError> {
        if let Some((person, _)) = by {
            let sight = Sight::of(database, person, self.organization, When::Now)?;
            if sight.role != Role::Manager {
                return Err(ApiError::forbidden("change orders"));
            }
        }
        let order = |database: &Database, id| match database.latest(xid, id) {
            Some(Row::Order(order)) if order.organization == self.organization => Ok(order.clone()),
            _ => Err(ApiError::not_found("order")),
        };
        if let OrderChange::Make(made) = &self.change {
            if database.latest(xid, made.id).is_some() {
                return Err(ApiError::new(Kind::Conflict, "This exists already."));
            }
            database.write(xid, made.id, Some(Row::Order(made.clone())), by);
            return Ok(Outcome::Changed);
        }
        let before = self.change.orders().into_iter().map(|id| order(database, id)).collect::<Result<Vec<_>, _>>()?;
        match &self.change {
            OrderChange::Line { of, id, quantity } => {
                let line = Line { id: *id, organization: self.organization, order: *of, quantity: *quantity };
                database.write(xid, *id, Some(Row::Line(line)), by);
                return Ok(Outcome::Changed);
            }
            OrderChange::Delete(id) => {
                for line in lines(database, *id, When::Now).into_keys() {
                    database.write(xid, line, None, by);
                }
                database.write(xid, *id, None, by);
                return Ok(Outcome::Changed);
            }
            OrderChange::Status { from: Some(from), .. } if before[0].status != *from => {
                return Err(ApiError::new(Kind::Conflict, "Somebody else changed the status first."));
            }
            _ => {}
        }
        let mut outcome = Outcome::Unchanged;
        for old in before {
            let mut new = old.clone();
            self.change.shown_on(&mut new);
            if new != old {
                outcome = Outcome::Changed;
                database.write(xid, new.id, Some(Row::Order(new)), by);
            }
        }
        Ok(outcome)
    }

    /// The order whose record the answer brings.
    pub(in crate::simulation) fn record(&self) -> Option<Uuid> {
        match &self.change {
            OrderChange::Delete(_) | OrderChange::Move { .. } => None,
            change => change.orders().first().copied().filter(|_| self.brings_record),
        }
    }
}

impl Mutation for Write {
    const NAME: &'static str = "write";
    type Output = OrderRecord;

    fn organization(&self) -> OrganizationId {
        self.organization
    }

    fn records(&self) -> Vec<Uuid> {
        self.change.orders()
    }

    fn label(&self) -> String {
        format!("{:?}", self.change)
    }

    fn answers(&self) -> Option<QueryKey> {
        self.record().map(|id| Orders::record_key(self.organization, id))
    }

    fn show(&self, on: &mut Shown<'_>) {
        for id in self.change.orders() {
            on.record::<Orders>(id, |record| match (&self.change, record) {
                (OrderChange::Make(order), record @ None) => {
                    *record = Some(OrderRecord { order: order.clone(), lines: BTreeMap::new() });
                }
                (OrderChange::Delete(_), record) => *record = None,
                (OrderChange::Line { id, quantity, .. }, Some(record)) => {
                    record.lines.insert(*id, *quantity);
                }
                (change, Some(record)) => change.shown_on(&mut record.order),
                (_, None) => {}
            });
        }
        on.lists::<Orders>(|parameters, items| {
            let belongs = |order: &Order| parameters.status.is_none_or(|status| status == order.status);
            match &self.change {
                OrderChange::Make(order) if belongs(order) && items.iter().all(|item| item.order.id != order.id) => {
                    let place = items.partition_point(|item| item.order.id < order.id);
                    items.insert(place, OrderItem { order: order.clone(), total: 0 });
                }
                OrderChange::Delete(id) => items.retain(|item| item.order.id != *id),
                OrderChange::Line { of, quantity, .. } if parameters.totals => {
                    items.iter_mut().filter(|item| item.order.id == *of).for_each(|item| item.total += quantity);
                }
                change => {
                    items.iter_mut().for_each(|item| change.shown_on(&mut item.order));
                    items.retain(|item| belongs(&item.order));
                }
            }
        });
    }

    async fn send(self, _: MutationId) -> Result<crate::wire::Written<OrderRecord>, ApiError> {
        Err(ApiError::internal())
    }
}
