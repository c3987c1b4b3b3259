//! What pages show: which rows each query reads, and what the server answers to whom.

use super::{CATALOGUE_ROW, Member, Order, Role, Row, membership};
use crate::catalogue::Catalogue;
use crate::error::ApiError;
use crate::hub::missed::Candidate;
use crate::hub::registry::Only;
use crate::hub::routing::RightsThere;
use crate::hub::{Registry, WatchRights};
use crate::key::{Dependency, Facet, OrganizationId, PersonId, QueryKey};
use crate::live::{ListQuery, Live, NoParameters, RecordQuery};
use crate::overlay::{AnyValue, MutationId};
use crate::simulation::database::{Database, When};
use crate::wire::{Read, Refused, Watch};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

pub(super) const LINES: &str = "lines";
pub(super) const CATALOGUE: &str = "catalogue";
const SALES: &str = "sales";
const TEAM: &str = "team";

pub(in crate::simulation) struct Orders;
pub(in crate::simulation) struct Members;

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::simulation) struct OrderParameters {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<i64>,
    /// With the sum of each order's lines.
    pub(super) totals: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::simulation) struct OrderItem {
    pub(super) order: Order,
    pub(super) total: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::simulation) struct OrderRecord {
    pub(super) order: Order,
    pub(super) lines: BTreeMap<Uuid, i64>,
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

pub(in crate::simulation) fn registry() -> Registry {
    Registry::default()
        .list::<Orders>(SALES)
        .record::<Orders>(SALES)
        .list::<Members>(TEAM)
        .rights(Members::TABLE)
        .rights(CATALOGUE)
        .sessions("sessions")
}

/// How values and mutations are written as text.
pub(in crate::simulation) fn catalogue() -> Catalogue {
    Catalogue::default().list::<Orders>().record::<Orders>().list::<Members>().mutation::<super::Write>()
}

/// A query that a page shows.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::simulation) enum Query {
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
    pub(in crate::simulation) fn any(organization: OrganizationId, which: u32, orders: &[Uuid]) -> Self {
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

    pub(in crate::simulation) fn organization(&self) -> OrganizationId {
        match self {
            Query::Orders(organization, _) | Query::Order(organization, _) | Query::Members(organization) => {
                *organization
            }
        }
    }

    pub(in crate::simulation) fn key(&self) -> QueryKey {
        match self {
            Query::Orders(organization, parameters) => Orders::list_key(*organization, parameters),
            Query::Order(organization, id) => Orders::record_key(*organization, *id),
            Query::Members(organization) => Members::list_key(*organization, &NoParameters {}),
        }
    }

    /// What it reads, as far as the person's rights allow now.
    pub(in crate::simulation) fn depends(&self, database: &Database, person: PersonId) -> Vec<Dependency> {
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
    pub(in crate::simulation) fn is_narrowed(&self, database: &Database, person: PersonId) -> bool {
        let sight = Sight::of(database, person, self.organization(), When::Now);
        matches!(self, Query::Order(..)) && sight.is_ok_and(|sight| matches!(sight.role, Role::Buyer(_)))
    }

    /// Whether both are the same value of this query.
    pub(in crate::simulation) fn is_same(&self, one: Option<&AnyValue>, other: Option<&AnyValue>) -> bool {
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

    pub(in crate::simulation) fn written(&self, value: Option<&AnyValue>) -> String {
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
    pub(in crate::simulation) fn answer(
        &self,
        database: &Database,
        asked_by: PersonId,
        when: When<'_>,
    ) -> Result<AnyValue, ApiError> {
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

pub(super) fn lines(database: &Database, of: Uuid, when: When<'_>) -> BTreeMap<Uuid, i64> {
    let its = database.rows(when).filter_map(|row| match row {
        Row::Line(line) if line.order == of => Some((line.id, line.quantity)),
        _ => None,
    });
    its.collect()
}

fn order_record(database: &Database, organization: OrganizationId, id: Uuid, when: When<'_>) -> Option<OrderRecord> {
    match database.row(id, when) {
        Some(Row::Order(order)) if order.organization == organization => {
            Some(OrderRecord { order: order.clone(), lines: lines(database, id, when) })
        }
        _ => None,
    }
}

/// What a member may see.
pub(super) struct Sight {
    pub(super) role: Role,
    guests_see_orders: bool,
}

impl Sight {
    pub(super) fn of(
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
pub(in crate::simulation) fn watch_rights(
    database: &Database,
    person: PersonId,
    organization: OrganizationId,
) -> Option<WatchRights> {
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
pub(in crate::simulation) fn is_visible(
    database: &Database,
    person: PersonId,
    organization: OrganizationId,
    order: Uuid,
) -> bool {
    Query::Order(organization, order).answer(database, person, When::Now).is_ok()
}

/// Which of the keys the person may watch, as the hub asks the database.
pub(in crate::simulation) fn judge(
    registry: &Registry,
    database: &Database,
    person: PersonId,
    watches: Vec<Watch>,
    rights: &RightsThere,
) -> (Vec<Candidate>, Vec<Refused>) {
    let (candidates, mut refused) = registry.judge(watches, rights);
    let can_see = |candidate: &Candidate| {
        candidate
            .asks_visibility()
            .is_none_or(|(_, record)| is_visible(database, person, candidate.resolved.key.organization, record))
    };
    let (kept, hidden): (Vec<_>, Vec<_>) = candidates.into_iter().partition(can_see);
    refused.extend(hidden.iter().map(Candidate::hidden));
    (kept, refused)
}
