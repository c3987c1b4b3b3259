//! The statements behind `/api/orders`. Each runs as the person, under row-level security; keyset pages, one index an
//! order of the list.

use super::place::Place;
use super::{LineChanges, LineId, Order, OrderChanges, OrderId, OrderPage, OrderRow, START, Sort, Status};
use crate::change::{Update, Verdict};
use crate::customers::CustomerId;
use crate::request::{granted, require, text};
use crate::tenancy::{Action, Module, is_member};
use millstream::sql::{Database, Outcome, Step, step};
use millstream::{ApiError, MutationId, OrganizationId, PersonId, Written};
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use time::Date;
use uuid::Uuid;

/// Rows a page.
const PAGE: i64 = 50;
/// Rows in an answer to "all between these two".
const MOST_BETWEEN: i64 = 200;

/// What a list was asked, checked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    status: Option<Status>,
    customer: Option<CustomerId>,
    sort: Sort,
    page: Part,
}

/// Which rows: those between two places, from whichever end, at most so many.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Part {
    after: Option<Place>,
    until: Option<Place>,
    from: From,
    most: i64,
}

/// From where a page is filled.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum From {
    Top,
    Bottom,
}

impl Asked {
    pub(super) fn new(
        status: Option<Status>,
        customer: Option<CustomerId>,
        sort: Sort,
        after: Option<String>,
        until: Option<String>,
    ) -> Result<Self, ApiError> {
        let (from, most) = match (&after, &until) {
            (_, None) => (From::Top, PAGE),
            (None, Some(_)) => (From::Bottom, PAGE),
            (Some(_), Some(_)) => (From::Top, MOST_BETWEEN),
        };
        let place = |name, cursor: Option<String>| {
            let refuse = || ApiError::field(name, "is no cursor of this list");
            cursor.map(|cursor| Place::parse(&cursor, sort).ok_or_else(refuse)).transpose()
        };
        let after = place("after", after.filter(|after| after != START))?;
        Ok(Self { status, customer, sort, page: Part { after, until: place("until", until)?, from, most } })
    }
}

/// Carries a change out, for whom and where [`crate::request::begin`] gave, and answers with the order.
pub(super) async fn write(
    (database, person): (Database, PersonId),
    mutation_id: MutationId,
    payload: &impl Serialize,
    organization: OrganizationId,
    id: OrderId,
    change: impl for<'c> FnOnce(&'c mut PgConnection) -> Step<'c, Outcome>,
) -> Result<Written<Order>, ApiError> {
    let read = step(move |transaction| Box::pin(order(transaction, organization, id)));
    database.write((person, mutation_id), Some(organization), payload, change, read).await
}

/// The statement of a page: the columns and joins are the same for all, the key, its direction and its comparison are
/// the sort's. Built by the compiler, so that it is one constant text each.
macro_rules! page_of {
    ($key:literal, $type:literal, $text:literal, $after:literal, $until:literal, $direction:literal) => {
        concat!(
            "with page as materialized (
               select o.*, ",
            $text,
            " as sort_key
               from sales_orders o
               where o.organization_id = $1
                 and ($2::text is null or o.status = $2)
                 and ($3::uuid is null or o.customer_id = $3)
                 and ($4::text is null or (",
            $key,
            ", o.id) ",
            $after,
            " ($4::text::",
            $type,
            ", $5::uuid))
                 and ($6::text is null or (",
            $key,
            ", o.id) ",
            $until,
            " ($6::text::",
            $type,
            ", $7::uuid))
               order by ",
            $key,
            " ",
            $direction,
            ", o.id ",
            $direction,
            "
               limit $8)
             select o.id, o.number, o.title, o.status, o.customer_id, c.name as customer,
               o.assignee_id, assignee.name as assignee, o.due_on,
               (extract(epoch from o.created_at) * 1000)::bigint as created_at,
               (extract(epoch from o.updated_at) * 1000)::bigint as updated_at,
               o.updated_by, updater.name as updated_by_name, o.sort_key
             from page o
             join customers c on c.organization_id = o.organization_id and c.id = o.customer_id
             left join profiles assignee on assignee.id = o.assignee_id
             left join profiles updater on updater.id = o.updated_by
             order by ",
            $key,
            " ",
            $direction,
            ", o.id ",
            $direction
        )
    };
}

const NEWEST: &str = page_of!(
    "o.created_at",
    "timestamp at time zone 'utc'",
    "to_char(o.created_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')",
    "<",
    ">=",
    "desc"
);
const NEWEST_BACK: &str = page_of!(
    "o.created_at",
    "timestamp at time zone 'utc'",
    "to_char(o.created_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')",
    "<",
    ">=",
    "asc"
);
const UPDATED: &str = page_of!(
    "o.updated_at",
    "timestamp at time zone 'utc'",
    "to_char(o.updated_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')",
    "<",
    ">=",
    "desc"
);
const UPDATED_BACK: &str = page_of!(
    "o.updated_at",
    "timestamp at time zone 'utc'",
    "to_char(o.updated_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')",
    "<",
    ">=",
    "asc"
);
const DUE: &str = page_of!(
    "coalesce(o.due_on, 'infinity'::date)",
    "date",
    "coalesce(o.due_on, 'infinity'::date)::text",
    ">",
    "<=",
    "asc"
);
const DUE_BACK: &str = page_of!(
    "coalesce(o.due_on, 'infinity'::date)",
    "date",
    "coalesce(o.due_on, 'infinity'::date)::text",
    ">",
    "<=",
    "desc"
);

pub(crate) async fn page(
    transaction: &mut PgConnection,
    organization: OrganizationId,
    asked: Asked,
) -> Result<OrderPage, ApiError> {
    require(transaction, organization, Module::Sales, Action::View).await?;
    let Part { after, until, from, most } = asked.page;
    let statement = match (asked.sort, from) {
        (Sort::Newest, From::Top) => NEWEST,
        (Sort::Newest, From::Bottom) => NEWEST_BACK,
        (Sort::Updated, From::Top) => UPDATED,
        (Sort::Updated, From::Bottom) => UPDATED_BACK,
        (Sort::Due, From::Top) => DUE,
        (Sort::Due, From::Bottom) => DUE_BACK,
    };
    let mut rows = sqlx::query(statement)
        .bind(organization.0)
        .bind(asked.status.map(Status::name))
        .bind(asked.customer.map(|customer| customer.0))
        .bind(after.as_ref().map(Place::key))
        .bind(after.as_ref().map(Place::id))
        .bind(until.as_ref().map(Place::key))
        .bind(until.as_ref().map(Place::id))
        .bind(most + 1)
        .fetch_all(&mut *transaction)
        .await?;
    let total: i64 = sqlx::query_scalar(
        "select count(*) from sales_orders o
         where o.organization_id = $1 and ($2::text is null or o.status = $2) and ($3::uuid is null or o.customer_id = $3)",
    )
    .bind(organization.0)
    .bind(asked.status.map(Status::name))
    .bind(asked.customer.map(|customer| customer.0))
    .fetch_one(&mut *transaction)
    .await?;
    let place = |row: Option<&sqlx::postgres::PgRow>| -> Result<Option<String>, ApiError> {
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Place::new(row.try_get("sort_key")?, row.try_get("id")?).to_string()))
    };
    // One row more than asked for says that there are more beyond. (Where a place was given, there were rows on its
    // other side when it was.)
    let is_cut = rows.len() as i64 > most;
    let beyond = rows.split_off(rows.len().min(most as usize));
    let (previous, next) = match from {
        From::Top if is_cut => (after.as_ref().map(Place::to_string), place(rows.last())?),
        From::Top => (after.as_ref().map(Place::to_string), until.as_ref().map(Place::to_string)),
        From::Bottom => (place(beyond.first())?, until.as_ref().map(Place::to_string)),
    };
    if from == From::Bottom {
        rows.reverse();
    }
    let rows = rows.iter().map(order_row).collect::<Result<_, _>>()?;
    Ok(OrderPage { rows, total, previous, next })
}

fn order_row(row: &sqlx::postgres::PgRow) -> Result<OrderRow, ApiError> {
    Ok(OrderRow {
        id: OrderId(row.try_get("id")?),
        number: row.try_get("number")?,
        title: row.try_get("title")?,
        status: row.try_get::<&str, _>("status")?.parse()?,
        customer_id: CustomerId(row.try_get("customer_id")?),
        customer: row.try_get("customer")?,
        assignee_id: row.try_get::<Option<Uuid>, _>("assignee_id")?.map(PersonId),
        assignee: row.try_get("assignee")?,
        due_on: row.try_get("due_on")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        updated_by: row.try_get::<Option<Uuid>, _>("updated_by")?.map(PersonId),
        updated_by_name: row.try_get("updated_by_name")?,
    })
}

pub(super) async fn order(
    transaction: &mut PgConnection,
    organization: OrganizationId,
    id: OrderId,
) -> Result<Order, ApiError> {
    let row = sqlx::query(
        "select rights.may, o.id, o.number, o.title, o.status, o.customer_id, c.name as customer,
           o.assignee_id, assignee.name as assignee, o.due_on,
           (extract(epoch from o.created_at) * 1000)::bigint as created_at,
           (extract(epoch from o.updated_at) * 1000)::bigint as updated_at,
           o.updated_by, updater.name as updated_by_name, creator.name as created_by_name,
           (select coalesce(jsonb_agg(jsonb_build_object(
              'id', l.id, 'position', l.position, 'description', l.description, 'quantity', l.quantity, 'unit', l.unit,
              'updated_at', (extract(epoch from l.updated_at) * 1000)::bigint, 'updated_by', l.updated_by,
              'updated_by_name', by.name) order by l.position, l.id), '[]')
            from sales_order_lines l left join profiles by on by.id = l.updated_by
            where l.order_id = o.id) as lines
         from (select millstream.may($1, $3, $4) as may) rights
         left join (
           sales_orders o
           join customers c on c.organization_id = o.organization_id and c.id = o.customer_id
           left join profiles assignee on assignee.id = o.assignee_id
           left join profiles updater on updater.id = o.updated_by
           left join profiles creator on creator.id = o.created_by
         ) on o.organization_id = $1 and o.id = $2",
    )
    .bind(organization.0)
    .bind(id.0)
    .bind(Module::Sales.name())
    .bind(Action::View.name())
    .fetch_one(&mut *transaction)
    .await?;
    granted(row.try_get("may")?, Module::Sales, Action::View)?;
    if row.try_get::<Option<Uuid>, _>("id")?.is_none() {
        return Err(ApiError::not_found("order"));
    }
    let Json(lines) = row.try_get("lines")?;
    Ok(Order { row: order_row(&row)?, created_by_name: row.try_get("created_by_name")?, lines })
}

pub(super) struct NewOrder {
    pub(super) organization: OrganizationId,
    pub(super) id: OrderId,
    pub(super) title: String,
    pub(super) customer_id: CustomerId,
    pub(super) status: Status,
    pub(super) assignee_id: Option<PersonId>,
    pub(super) due_on: Option<Date>,
}

pub(super) async fn create(transaction: &mut PgConnection, new: NewOrder) -> Result<Outcome, ApiError> {
    require(transaction, new.organization, Module::Sales, Action::Create).await?;
    customer_exists(transaction, new.organization, new.customer_id).await?;
    if let Some(assignee) = new.assignee_id {
        member_exists(transaction, new.organization, assignee).await?;
    }
    sqlx::query(
        "insert into sales_orders (id, organization_id, title, status, customer_id, assignee_id, due_on)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(new.id.0)
    .bind(new.organization.0)
    .bind(new.title)
    .bind(new.status.name())
    .bind(new.customer_id.0)
    .bind(new.assignee_id.map(|person| person.0))
    .bind(new.due_on)
    .execute(transaction)
    .await
    .map_err(|error| taken("id", error))?;
    Ok(Outcome::Changed)
}

/// An id that is taken is told by name, whoever has taken it.
fn taken(name: &str, error: sqlx::Error) -> ApiError {
    let error = ApiError::from(error);
    match error.kind {
        millstream::Kind::Conflict => {
            ApiError { kind: error.kind, ..ApiError::field(name, "is taken; make a new one") }
        }
        _ => error,
    }
}

async fn customer_exists(
    transaction: &mut PgConnection,
    organization: OrganizationId,
    customer: CustomerId,
) -> Result<(), ApiError> {
    let found: bool =
        sqlx::query_scalar("select exists (select from customers where organization_id = $1 and id = $2)")
            .bind(organization.0)
            .bind(customer.0)
            .fetch_one(transaction)
            .await?;
    if found { Ok(()) } else { Err(ApiError::field("customer_id", "there is no such customer in this organization")) }
}

async fn member_exists(
    transaction: &mut PgConnection,
    organization: OrganizationId,
    person: PersonId,
) -> Result<(), ApiError> {
    let found = is_member(transaction, organization, person).await?;
    if found { Ok(()) } else { Err(ApiError::field("assignee_id", "there is no such member in this organization")) }
}

/// Whether the organization has this order, as far as the person may see.
pub(crate) async fn order_exists(
    transaction: &mut PgConnection,
    organization: OrganizationId,
    order: OrderId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select from sales_orders where organization_id = $1 and id = $2)")
        .bind(organization.0)
        .bind(order.0)
        .fetch_one(transaction)
        .await
}

/// What of a locked order may be changed.
struct Locked {
    title: String,
    status: Status,
    customer_id: CustomerId,
    assignee_id: Option<PersonId>,
    due_on: Option<Date>,
}

/// Locks the order for this transaction, if the person may change it: the policies keep others from locking it.
async fn lock(transaction: &mut PgConnection, organization: OrganizationId, id: OrderId) -> Result<Locked, ApiError> {
    let row = sqlx::query(
        "select rights.may, o.id, o.title, o.status, o.customer_id, o.assignee_id, o.due_on
         from (select millstream.may($1, $3, $4) as may) rights
         left join lateral (
           select * from sales_orders where organization_id = $1 and id = $2 for update
         ) o on true",
    )
    .bind(organization.0)
    .bind(id.0)
    .bind(Module::Sales.name())
    .bind(Action::Update.name())
    .fetch_one(transaction)
    .await?;
    granted(row.try_get("may")?, Module::Sales, Action::Update)?;
    if row.try_get::<Option<Uuid>, _>("id")?.is_none() {
        return Err(ApiError::not_found("order"));
    }
    Ok(Locked {
        title: row.try_get("title")?,
        status: row.try_get::<&str, _>("status")?.parse()?,
        customer_id: CustomerId(row.try_get("customer_id")?),
        assignee_id: row.try_get::<Option<Uuid>, _>("assignee_id")?.map(PersonId),
        due_on: row.try_get("due_on")?,
    })
}

pub(super) async fn update(
    transaction: &mut PgConnection,
    organization: OrganizationId,
    id: OrderId,
    changes: OrderChanges,
) -> Result<Outcome, ApiError> {
    let locked = lock(transaction, organization, id).await?;
    let mut update = Update::default();
    let title = update.field("title", &changes.title, &locked.title);
    let title = title.map(|title| text("title", &title, 200)).transpose()?;
    let status = update.field("status", &changes.status, &locked.status);
    let customer = update.field("customer_id", &changes.customer_id, &locked.customer_id);
    let assignee = update.field("assignee_id", &changes.assignee_id, &locked.assignee_id);
    let due_on = update.field("due_on", &changes.due_on, &locked.due_on);
    match update.verdict() {
        Verdict::Changed => {}
        Verdict::Unchanged => return Ok(Outcome::Unchanged),
        Verdict::Disputed(disputed) => {
            return Err(disputed.over(&order(transaction, organization, id).await?));
        }
    }
    if let Some(customer) = customer {
        customer_exists(transaction, organization, customer).await?;
    }
    if let Some(Some(assignee)) = assignee {
        member_exists(transaction, organization, assignee).await?;
    }
    sqlx::query(
        "update sales_orders set
           title = coalesce($3, title),
           status = coalesce($4, status),
           customer_id = coalesce($5, customer_id),
           assignee_id = case when $6 then $7 else assignee_id end,
           due_on = case when $8 then $9 else due_on end
         where organization_id = $1 and id = $2",
    )
    .bind(organization.0)
    .bind(id.0)
    .bind(title)
    .bind(status.map(Status::name))
    .bind(customer.map(|customer| customer.0))
    .bind(assignee.is_some())
    .bind(assignee.flatten().map(|person| person.0))
    .bind(due_on.is_some())
    .bind(due_on.flatten())
    .execute(transaction)
    .await?;
    Ok(Outcome::Changed)
}

pub(super) async fn delete(
    transaction: &mut PgConnection,
    organization: OrganizationId,
    id: OrderId,
) -> Result<Outcome, ApiError> {
    require(transaction, organization, Module::Sales, Action::Delete).await?;
    let deleted = sqlx::query("delete from sales_orders where organization_id = $1 and id = $2")
        .bind(organization.0)
        .bind(id.0)
        .execute(transaction)
        .await?;
    if deleted.rows_affected() == 0 { Err(ApiError::not_found("order")) } else { Ok(Outcome::Changed) }
}

/// Needs the right to delete: the two undo each other, and neither is what making an order is, for the number and the
/// maker are the old ones.
pub(super) async fn restore(
    transaction: &mut PgConnection,
    organization: OrganizationId,
    id: OrderId,
) -> Result<Outcome, ApiError> {
    require(transaction, organization, Module::Sales, Action::Delete).await?;
    let is_restored: bool = sqlx::query_scalar("select restore_sales_order($1, $2)")
        .bind(organization.0)
        .bind(id.0)
        .fetch_one(transaction)
        .await
        .map_err(given_away)?;
    Ok(if is_restored { Outcome::Changed } else { Outcome::Unchanged })
}

/// A deleted order holds neither its id nor its number: whoever has one of them by now keeps it.
fn given_away(error: sqlx::Error) -> ApiError {
    let constraint = error.as_database_error().and_then(|refusal| refusal.constraint()).map(ToOwned::to_owned);
    let error = ApiError::from(error);
    if error.kind != millstream::Kind::Conflict {
        return error;
    }
    let is_number = constraint.as_deref() == Some("sales_orders_organization_id_number_key");
    let refusal =
        ApiError::field(if is_number { "number" } else { "id" }, "has been given to something else meanwhile");
    ApiError { kind: error.kind, ..refusal }
}

pub(super) struct NewLine {
    pub(super) organization: OrganizationId,
    pub(super) order_id: OrderId,
    pub(super) id: LineId,
    pub(super) description: String,
    pub(super) quantity: i32,
    pub(super) unit: String,
    /// Below the others where there is none.
    pub(super) position: Option<i32>,
}

/// A quantity, or a position.
pub(super) fn whole(name: &str, number: i32) -> Result<i32, ApiError> {
    if (1..=1_000_000).contains(&number) {
        Ok(number)
    } else {
        Err(ApiError::field(name, "is a whole number from 1 to 1000000"))
    }
}

pub(super) async fn add_line(transaction: &mut PgConnection, new: NewLine) -> Result<Outcome, ApiError> {
    lock(transaction, new.organization, new.order_id).await?;
    sqlx::query(
        "insert into sales_order_lines (id, order_id, position, description, quantity, unit)
         select $1, $2, coalesce($6, max(position) + 1, 1), $3, $4, $5 from sales_order_lines where order_id = $2",
    )
    .bind(new.id.0)
    .bind(new.order_id.0)
    .bind(new.description)
    .bind(new.quantity)
    .bind(new.unit)
    .bind(new.position)
    .execute(transaction)
    .await
    .map_err(|error| taken("id", error))?;
    Ok(Outcome::Changed)
}

pub(super) async fn update_line(
    transaction: &mut PgConnection,
    organization: OrganizationId,
    order_id: OrderId,
    id: LineId,
    changes: LineChanges,
) -> Result<Outcome, ApiError> {
    lock(transaction, organization, order_id).await?;
    let current = order(transaction, organization, order_id).await?;
    let line = current.lines.iter().find(|line| line.id == id).ok_or_else(|| ApiError::not_found("line"))?;
    let mut update = Update::default();
    let description = update.field("description", &changes.description, &line.description);
    let description = description.map(|description| text("description", &description, 500)).transpose()?;
    let new_quantity = update.field("quantity", &changes.quantity, &line.quantity);
    let new_quantity = new_quantity.map(|quantity| whole("quantity", quantity)).transpose()?;
    let unit = update.field("unit", &changes.unit, &line.unit);
    let unit = unit.map(|unit| text("unit", &unit, 20)).transpose()?;
    match update.verdict() {
        Verdict::Changed => {}
        Verdict::Unchanged => return Ok(Outcome::Unchanged),
        Verdict::Disputed(disputed) => return Err(disputed.over(&current)),
    }
    sqlx::query(
        "update sales_order_lines set description = coalesce($2, description), quantity = coalesce($3, quantity),
           unit = coalesce($4, unit)
         where id = $1",
    )
    .bind(id.0)
    .bind(description)
    .bind(new_quantity)
    .bind(unit)
    .execute(transaction)
    .await?;
    Ok(Outcome::Changed)
}

pub(super) async fn remove_line(
    transaction: &mut PgConnection,
    organization: OrganizationId,
    order_id: OrderId,
    id: LineId,
) -> Result<Outcome, ApiError> {
    lock(transaction, organization, order_id).await?;
    let removed = sqlx::query("delete from sales_order_lines where order_id = $1 and id = $2")
        .bind(order_id.0)
        .bind(id.0)
        .execute(transaction)
        .await?;
    if removed.rows_affected() == 0 { Err(ApiError::not_found("line")) } else { Ok(Outcome::Changed) }
}
