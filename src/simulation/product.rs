//! What is sold in the simulation: orders with a status, a customer, a counter and a title, lines that belong to them,
//! and members with roles. Reads and writes follow the shape of the product's: rights first, then the statement.

use super::database::{Database, Lock, When};
use crate::error::{ApiError, Kind};
use crate::hub::registry::Only;
use crate::hub::{Registry, WatchRights};
use crate::key::{Dependency, Facet, Facets, ID, OrganizationId, PersonId, QueryKey};
use crate::live::{ListQuery, Live, NoParameters, RecordQuery};
use crate::overlay::{AnyValue, Mutation, MutationId, Shown};
use crate::snapshot::{Stamp, Xid};
use crate::sql::Outcome;
use crate::wire::Read;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

/// A mutation's answer: the value it brings is the record of the order.
pub(super) type Written = (Option<Xid>, Stamp, Option<AnyValue>);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Row {
    Order(Order),
    Line(Line),
    Member(Member),
    /// What the role of a guest may see.
    Catalogue {
        guests_see_orders: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) id: Uuid,
    pub(super) organization: OrganizationId,
    pub(super) status: i64,
    pub(super) customer: Uuid,
    pub(super) counter: i64,
    pub(super) title: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) id: Uuid,
    pub(super) organization: OrganizationId,
    pub(super) order: Uuid,
    pub(super) quantity: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) organization: OrganizationId,
    pub(super) person: PersonId,
    pub(super) role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Role {
    Manager,
    /// Sees the orders of one customer, and changes none.
    Buyer(Uuid),
    /// Sees orders if the catalogue says so.
    Guest,
}

impl Row {
    pub(super) fn table(&self) -> &'static str {
        match self {
            Row::Order(_) => Orders::TABLE,
            Row::Line(_) => LINES,
            Row::Member(_) => Members::TABLE,
            Row::Catalogue { .. } => CATALOGUE,
        }
    }

    pub(super) fn organization(&self) -> Option<OrganizationId> {
        match self {
            Row::Order(order) => Some(order.organization),
            Row::Line(line) => Some(line.organization),
            Row::Member(member) => Some(member.organization),
            Row::Catalogue { .. } => None,
        }
    }

    pub(super) fn person(&self) -> Option<PersonId> {
        match self {
            Row::Member(member) => Some(member.person),
            _ => None,
        }
    }

    pub(super) fn facets(&self) -> Facets {
        let facets: Vec<(&str, Facet)> = match self {
            Row::Order(order) => vec![
                (ID, order.id.into()),
                ("status", Facet::Integer(order.status)),
                ("customer", order.customer.into()),
            ],
            Row::Line(line) => vec![(ID, line.id.into()), ("order", line.order.into())],
            Row::Member(member) => vec![(ID, membership(member.organization, member.person).into())],
            Row::Catalogue { .. } => vec![(ID, CATALOGUE_ROW.into())],
        };
        Facets(facets.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

const LINES: &str = "lines";
const CATALOGUE: &str = "catalogue";
pub(super) const CATALOGUE_ROW: Uuid = Uuid::from_u128(0xCA);
const SALES: &str = "sales";
const TEAM: &str = "team";

pub(super) fn organization(number: u32) -> OrganizationId {
    OrganizationId(Uuid::from_u128(0xA0 + u128::from(number % 2)))
}

pub(super) fn person(number: u32) -> PersonId {
    PersonId(Uuid::from_u128(0xB0 + u128::from(number % 3)))
}

pub(super) fn customer(number: u32) -> Uuid {
    Uuid::from_u128(0xC0 + u128::from(number % 2))
}

pub(super) fn membership(organization: OrganizationId, person: PersonId) -> Uuid {
    Uuid::from_u128(0xD_0000 + (organization.0.as_u128() << 8) + person.0.as_u128())
}

// ---------------------------------------------------------------------------------------------------------- queries

pub(super) struct Orders;
pub(super) struct Members;

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct OrderParameters {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<i64>,
    /// With the sum of each order's lines.
    totals: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OrderItem {
    order: Order,
    total: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OrderRecord {
    order: Order,
    lines: BTreeMap<Uuid, i64>,
}

impl Live for Orders {
    const TABLE: &'static str = "orders";
}

impl ListQuery for Orders {
    type Parameters = OrderParameters;
    type List = Vec<OrderItem>;

    fn list_depends(parameters: &OrderParameters) -> Vec<Dependency> {
        let orders = Dependency::all(Self::TABLE);
        let mut all = vec![match parameters.status {
            Some(status) => orders.with("status", Facet::Integer(status)),
            None => orders,
        }];
        all.extend(parameters.totals.then(|| Dependency::all(LINES)));
        all
    }

    async fn fetch_list(_: OrganizationId, _: OrderParameters, _: Vec<MutationId>) -> Fetched<Self::List> {
        Err(ApiError::internal())
    }
}

type Fetched<T> = Result<Read<T>, ApiError>;

impl RecordQuery for Orders {
    type Id = Uuid;
    type Record = OrderRecord;

    fn record_depends(id: Uuid) -> Vec<Dependency> {
        vec![Dependency::row(Self::TABLE, id), Dependency::all(LINES).with("order", id)]
    }

    async fn fetch_record(_: OrganizationId, _: Uuid, _: Vec<MutationId>) -> Fetched<OrderRecord> {
        Err(ApiError::internal())
    }
}

impl Live for Members {
    const TABLE: &'static str = "memberships";
}

impl ListQuery for Members {
    type Parameters = NoParameters;
    type List = Vec<Member>;

    fn list_depends(_: &NoParameters) -> Vec<Dependency> {
        vec![Dependency::all(Self::TABLE)]
    }

    async fn fetch_list(_: OrganizationId, _: NoParameters, _: Vec<MutationId>) -> Fetched<Self::List> {
        Err(ApiError::internal())
    }
}

pub(super) fn registry() -> Registry {
    Registry::default()
        .list::<Orders>(SALES)
        .record::<Orders>(SALES)
        .list::<Members>(TEAM)
        .rights(Members::TABLE)
        .rights(CATALOGUE)
        .sessions("sessions")
}

/// A query that a page shows.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Query {
    Orders(OrganizationId, OrderParameters),
    Order(OrganizationId, Uuid),
    Members(OrganizationId),
}

impl fmt::Debug for Query {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:X}/", self.organization().0.as_u128())?;
        match self {
            Query::Orders(_, OrderParameters { status, totals }) => {
                let status = status.map(|status| format!(" of status {status}")).unwrap_or_default();
                write!(to, "orders{status}{}", if *totals { " with totals" } else { "" })
            }
            Query::Order(_, id) => write!(to, "order {:x}", id.as_u128()),
            Query::Members(_) => write!(to, "members"),
        }
    }
}

impl Query {
    /// One of those of the organization; `orders` are the records that there are or were.
    pub(super) fn any(organization: OrganizationId, which: u32, orders: &[Uuid]) -> Self {
        let list = |status, totals| Query::Orders(organization, OrderParameters { status, totals });
        match which % 9 {
            0 => list(None, false),
            1 => list(None, true),
            2 | 3 => list(Some(i64::from(which / 9 % 3)), (which / 27).is_multiple_of(3)),
            4 => Query::Members(organization),
            _ if orders.is_empty() => list(None, false),
            _ => Query::Order(organization, orders[(which / 9) as usize % orders.len()]),
        }
    }

    pub(super) fn organization(&self) -> OrganizationId {
        match self {
            Query::Orders(organization, _) | Query::Order(organization, _) | Query::Members(organization) => {
                *organization
            }
        }
    }

    pub(super) fn key(&self) -> QueryKey {
        match self {
            Query::Orders(organization, parameters) => Orders::list_key(*organization, parameters),
            Query::Order(organization, id) => Orders::record_key(*organization, *id),
            Query::Members(organization) => Members::list_key(*organization, &NoParameters {}),
        }
    }

    /// What it reads, as far as the person's rights allow now.
    pub(super) fn depends(&self, database: &Database, person: PersonId) -> Vec<Dependency> {
        let mut all = match self {
            Query::Orders(_, parameters) => Orders::list_depends(parameters),
            Query::Order(_, id) => Orders::record_depends(*id),
            Query::Members(_) => Members::list_depends(&NoParameters {}),
        };
        let sight = Sight::of(database, person, self.organization(), When::Now);
        if let Ok(Some(customer)) = sight.and_then(|sight| sight.orders()) {
            let orders = all.iter_mut().filter(|dependency| dependency.table == Orders::TABLE);
            orders.for_each(|orders| *orders = orders.clone().with("customer", customer));
        }
        all
    }

    /// Whether it is a record of which the person may see some and not others.
    pub(super) fn is_narrowed(&self, database: &Database, person: PersonId) -> bool {
        let sight = Sight::of(database, person, self.organization(), When::Now);
        matches!(self, Query::Order(..)) && sight.is_ok_and(|sight| matches!(sight.role, Role::Buyer(_)))
    }

    /// Whether both are the same value of this query.
    pub(super) fn is_same(&self, one: Option<&AnyValue>, other: Option<&AnyValue>) -> bool {
        let (one, other) = match (one, other) {
            (None, None) => return true,
            (Some(one), Some(other)) => (one, other),
            _ => return false,
        };
        fn same<T: PartialEq + 'static>(one: &AnyValue, other: &AnyValue) -> bool {
            Arc::ptr_eq(one, other) || one.downcast_ref::<T>() == other.downcast_ref::<T>()
        }
        match self {
            Query::Orders(..) => same::<Vec<OrderItem>>(one, other),
            Query::Order(..) => same::<OrderRecord>(one, other),
            Query::Members(_) => same::<Vec<Member>>(one, other),
        }
    }

    pub(super) fn written(&self, value: Option<&AnyValue>) -> String {
        let Some(value) = value else { return "nothing".to_owned() };
        let short = |order: &Order, more: String| {
            format!(
                "{:x}[{} c{:x} #{} '{}' {more}]",
                order.id.as_u128(),
                order.status,
                order.customer.as_u128() & 0xF,
                order.counter,
                order.title
            )
        };
        match self {
            Query::Orders(..) => value.downcast_ref::<Vec<OrderItem>>().map(|items| {
                items.iter().map(|item| short(&item.order, format!("={}", item.total))).collect::<Vec<_>>().join(" ")
            }),
            Query::Order(..) => value
                .downcast_ref::<OrderRecord>()
                .map(|record| short(&record.order, format!("{:?}", record.lines.values().collect::<Vec<_>>()))),
            Query::Members(_) => value.downcast_ref::<Vec<Member>>().map(|members| format!("{members:?}")),
        }
        .unwrap_or_else(|| "a value of another type".to_owned())
    }

    /// What the server answers.
    pub(super) fn answer(&self, database: &Database, asked_by: PersonId, when: When<'_>) -> Result<AnyValue, ApiError> {
        let organization = self.organization();
        let sight = Sight::of(database, asked_by, organization, when)?;
        match self {
            Query::Orders(_, parameters) => {
                let customers = sight.orders()?;
                let shown = |row: &Row| match row {
                    Row::Order(order)
                        if order.organization == organization
                            && customers.is_none_or(|customer| customer == order.customer)
                            && parameters.status.is_none_or(|status| status == order.status) =>
                    {
                        let total = if parameters.totals { lines(database, order.id, when).values().sum() } else { 0 };
                        Some(OrderItem { order: order.clone(), total })
                    }
                    _ => None,
                };
                Ok(Arc::new(database.rows(when).filter_map(shown).collect::<Vec<_>>()))
            }
            Query::Order(_, id) => {
                let customers = sight.orders()?;
                order_record(database, organization, *id, when)
                    .filter(|record| customers.is_none_or(|customer| customer == record.order.customer))
                    .map(|record| Arc::new(record) as AnyValue)
                    .ok_or_else(|| ApiError::not_found("order"))
            }
            Query::Members(_) => {
                let members = database.rows(when).filter_map(|row| match row {
                    Row::Member(member) if member.organization == organization => Some(member.clone()),
                    _ => None,
                });
                Ok(Arc::new(members.collect::<Vec<_>>()))
            }
        }
    }
}

fn lines(database: &Database, of: Uuid, when: When<'_>) -> BTreeMap<Uuid, i64> {
    let its = database.rows(when).filter_map(|row| match row {
        Row::Line(line) if line.order == of => Some((line.id, line.quantity)),
        _ => None,
    });
    its.collect()
}

pub(super) fn order_record(
    database: &Database,
    organization: OrganizationId,
    id: Uuid,
    when: When<'_>,
) -> Option<OrderRecord> {
    match database.row(id, when) {
        Some(Row::Order(order)) if order.organization == organization => {
            Some(OrderRecord { order: order.clone(), lines: lines(database, id, when) })
        }
        _ => None,
    }
}

// ----------------------------------------------------------------------------------------------------------- rights

/// What a member may see.
struct Sight {
    role: Role,
    guests_see_orders: bool,
}

impl Sight {
    fn of(
        database: &Database,
        person: PersonId,
        organization: OrganizationId,
        when: When<'_>,
    ) -> Result<Self, ApiError> {
        let Some(Row::Member(member)) = database.row(membership(organization, person), when) else {
            return Err(ApiError::not_found("organization"));
        };
        let guests_see_orders =
            matches!(database.row(CATALOGUE_ROW, when), Some(Row::Catalogue { guests_see_orders: true }));
        Ok(Self { role: member.role, guests_see_orders })
    }

    /// The customer to whose orders the sight is narrowed, if it is.
    fn orders(&self) -> Result<Option<Uuid>, ApiError> {
        match self.role {
            Role::Manager => Ok(None),
            Role::Guest if self.guests_see_orders => Ok(None),
            Role::Guest => Err(ApiError::forbidden("see orders")),
            Role::Buyer(customer) => Ok(Some(customer)),
        }
    }
}

/// As `millstream.watch_rights` answers now.
pub(super) fn watch_rights(database: &Database, person: PersonId, organization: OrganizationId) -> Option<WatchRights> {
    let sight = Sight::of(database, person, organization, When::Now).ok()?;
    let mut rights = WatchRights { modules: [TEAM.to_owned()].into(), only: BTreeMap::new() };
    if let Ok(narrowed) = sight.orders() {
        rights.modules.insert(SALES.to_owned());
        if let Some(customer) = narrowed {
            let only = Only { facet: "customer".to_owned(), values: vec![customer] };
            rights.only.insert(Orders::TABLE.to_owned(), only);
        }
    }
    Some(rights)
}

/// Whether row-level security lets the person see the order now.
pub(super) fn is_visible(database: &Database, person: PersonId, organization: OrganizationId, order: Uuid) -> bool {
    Query::Order(organization, order).answer(database, person, When::Now).is_ok()
}

// -------------------------------------------------------------------------------------------------------- mutations

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Write {
    pub(super) organization: OrganizationId,
    pub(super) change: OrderChange,
    /// Whether the answer is the value of the order's record.
    pub(super) brings_record: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum OrderChange {
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
    pub(super) fn locks(&self, database: &Database) -> Vec<(Uuid, Lock)> {
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
    pub(super) fn run(
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
    pub(super) fn record(&self) -> Option<Uuid> {
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
