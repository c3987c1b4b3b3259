//! Sales orders and their lines.

pub mod api;
pub mod lines;
pub mod mutations;
pub mod page;
#[cfg(feature = "ssr")]
pub mod place;
#[cfg(feature = "ssr")]
mod sql;
pub mod table;

use crate::change::Change;
use crate::customers::CustomerId;
use millstream::key::{Dependency, Facet};
use millstream::live::{ListQuery, RecordQuery};
use millstream::pages::{Page, PageOf, Paged};
use millstream::{ApiError, Live, MutationId, OrganizationId, PersonId, Read};
use serde::{Deserialize, Serialize};
#[cfg(feature = "ssr")]
pub(crate) use sql::{Asked, order_exists, page as page_of};
use time::Date;
use uuid::Uuid;

millstream::id!(OrderId);
millstream::id!(LineId);

impl From<OrderId> for Uuid {
    fn from(id: OrderId) -> Self {
        id.0
    }
}

impl From<Uuid> for OrderId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

crate::closed_set! {
    /// How far an order is.
    Status {
        Draft = "draft", "Draft";
        NeedsApproval = "needs_approval", "Needs approval";
        Released = "released", "Released";
        InProduction = "in_production", "In production";
        ReadyToShip = "ready_to_ship", "Ready to ship";
        Shipped = "shipped", "Shipped";
        Completed = "completed", "Completed";
        OnHold = "on_hold", "On hold";
        Cancelled = "cancelled", "Cancelled";
    }
}

crate::closed_set! {
    /// In which order the list is shown.
    Sort {
        Newest = "newest", "Newest";
        Updated = "updated", "Last updated";
        Due = "due", "Due date";
    }
}

/// An order as a list shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderRow {
    pub id: OrderId,
    /// Given by the server; an order that is only on its way there has none.
    pub number: Option<String>,
    pub title: String,
    pub status: Status,
    pub customer_id: CustomerId,
    pub customer: String,
    pub assignee_id: Option<PersonId>,
    pub assignee: Option<String>,
    pub due_on: Option<Date>,
    /// Milliseconds since 1970.
    pub created_at: i64,
    pub updated_at: i64,
    pub updated_by: Option<PersonId>,
    pub updated_by_name: Option<String>,
}

/// An order with its lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    #[serde(flatten)]
    pub row: OrderRow,
    pub created_by_name: Option<String>,
    pub lines: Vec<Line>,
}

/// One thing ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub id: LineId,
    pub position: i32,
    pub description: String,
    pub quantity: i32,
    pub unit: String,
    pub updated_at: i64,
    pub updated_by: Option<PersonId>,
    pub updated_by_name: Option<String>,
}

/// What a list of orders is asked with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderParameters {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    #[serde(default = "newest_first")]
    pub sort: Sort,
    #[serde(default)]
    pub page: PageOf,
}

fn newest_first() -> Sort {
    Sort::Newest
}

/// A page of orders.
pub type OrderPage = Page<OrderRow>;

/// What an update changes; fields that are absent stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderChanges {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<Change<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Change<Status>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<Change<CustomerId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee_id: Option<Change<Option<PersonId>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_on: Option<Change<Option<Date>>>,
}

/// What an update of a line changes; fields that are absent stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineChanges {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Change<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Change<i32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Change<String>>,
}

/// The live table `sales_orders`.
pub struct Orders;

impl Live for Orders {
    const TABLE: &'static str = "sales_orders";
}

impl ListQuery for Orders {
    type Parameters = OrderParameters;
    type List = OrderPage;

    fn list_depends(parameters: &OrderParameters) -> Vec<Dependency> {
        let mut orders = Dependency::all("sales_orders");
        // The rarer facet first: it is what the hub finds the list by.
        if let Some(customer) = parameters.customer_id {
            orders = orders.with("customer_id", customer.0);
        }
        if let Some(status) = parameters.status {
            orders = orders.with("status", Facet::Text(status.name().to_owned()));
        }
        // The rows show their customers' names.
        let customers = match parameters.customer_id {
            Some(customer) => Dependency::row("customers", customer.0),
            None => Dependency::all("customers"),
        };
        vec![orders, customers]
    }

    async fn fetch_list(
        organization: OrganizationId,
        parameters: OrderParameters,
        pending: Vec<MutationId>,
    ) -> Result<Read<OrderPage>, ApiError> {
        let OrderParameters { status, customer_id, sort, page } = parameters;
        let (after, until) = match page {
            PageOf::First => (None, None),
            PageOf::After(start) => (Some(start), None),
            PageOf::UpTo(end) => (None, Some(end)),
            PageOf::Between(start, end) => (Some(start.unwrap_or_else(|| START.to_owned())), Some(end)),
        };
        api::list(organization, status, customer_id, Some(sort), after, until, pending).await
    }
}

/// What `after` says to mean the beginning of a list.
const START: &str = "start";

impl Paged for Orders {
    type Row = OrderRow;

    fn page(parameters: &OrderParameters) -> &PageOf {
        &parameters.page
    }

    fn turned(parameters: &OrderParameters, page: PageOf) -> OrderParameters {
        OrderParameters { page, ..parameters.clone() }
    }

    fn id(row: &OrderRow) -> Uuid {
        row.id.0
    }
}

impl RecordQuery for Orders {
    type Id = OrderId;
    type Record = Order;

    fn record_depends(id: OrderId) -> Vec<Dependency> {
        vec![
            Dependency::row("sales_orders", id.0),
            Dependency::all("sales_order_lines").with("order_id", id.0),
            Dependency::all("customers"),
        ]
    }

    async fn fetch_record(
        organization: OrganizationId,
        id: OrderId,
        pending: Vec<MutationId>,
    ) -> Result<Read<Order>, ApiError> {
        api::get(organization, id, pending).await
    }
}
