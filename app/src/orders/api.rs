//! Server functions under `/api/orders`.

use super::{LineChanges, LineId, Order, OrderChanges, OrderId, OrderPage, Sort, Status};
use crate::customers::CustomerId;
use crate::tenancy::session::Done;
use leptos::prelude::*;
use millstream::calls::{Reading, Writing};
use millstream::requests::Requests;
use millstream::{ApiError, MutationId, OrganizationId, PersonId, Read, Written};
use time::Date;

/// A page of the organization's orders.
#[server(prefix = "/api", endpoint = "orders/list", protocol = Reading, client = Requests)]
pub async fn list(
    organization: OrganizationId,
    #[server(default)] status: Option<Status>,
    #[server(default)] customer_id: Option<CustomerId>,
    #[server(default)] sort: Option<Sort>,
    #[server(default)] after: Option<String>,
    #[server(default)] until: Option<String>,
    #[server(default)] pending: Vec<MutationId>,
) -> Result<Read<OrderPage>, ApiError> {
    use super::sql;
    let (lists, person) = crate::request::begin_list()?;
    let asked = sql::Asked::new(status, customer_id, sort.unwrap_or(Sort::Newest), after, until)?;
    lists.orders.read(person, &pending, organization, asked).await
}

/// One order with its lines.
#[server(prefix = "/api", endpoint = "orders/get", protocol = Reading, client = Requests)]
pub async fn get(
    organization: OrganizationId,
    id: OrderId,
    #[server(default)] pending: Vec<MutationId>,
) -> Result<Read<Order>, ApiError> {
    let (database, actor) = crate::request::begin_read()?;
    database.read(actor, &pending, move |transaction| Box::pin(super::sql::order(transaction, organization, id))).await
}

/// Makes an order. Its id is the client's, its number the server's.
#[server(prefix = "/api", endpoint = "orders/create", protocol = Writing, client = Requests)]
pub async fn create(
    organization: OrganizationId,
    mutation_id: MutationId,
    id: OrderId,
    title: String,
    customer_id: CustomerId,
    #[server(default)] status: Option<Status>,
    #[server(default)] assignee_id: Option<PersonId>,
    #[server(default)] due_on: Option<Date>,
) -> Result<Written<Order>, ApiError> {
    use super::sql;
    let begun = crate::request::begin()?;
    let new = sql::NewOrder {
        organization,
        id,
        title: crate::request::text("title", &title, 200)?,
        customer_id,
        status: status.unwrap_or(Status::Draft),
        assignee_id,
        due_on,
    };
    let payload = ("orders/create", organization, id, &new.title, customer_id, new.status, assignee_id, due_on);
    let payload = serde_json::to_value(payload).map_err(|_| ApiError::internal())?;
    sql::write(begun, mutation_id, &payload, organization, id, move |transaction| {
        Box::pin(sql::create(transaction, new))
    })
    .await
}

/// Changes fields of an order.
#[server(prefix = "/api", endpoint = "orders/update", protocol = Writing, client = Requests)]
pub async fn update(
    organization: OrganizationId,
    id: OrderId,
    mutation_id: MutationId,
    changes: OrderChanges,
) -> Result<Written<Order>, ApiError> {
    use super::sql;
    let begun = crate::request::begin()?;
    let payload = ("orders/update", organization, id, &changes);
    let payload = serde_json::to_value(payload).map_err(|_| ApiError::internal())?;
    sql::write(begun, mutation_id, &payload, organization, id, move |transaction| {
        Box::pin(sql::update(transaction, organization, id, changes))
    })
    .await
}

/// Deletes an order and its lines.
#[server(prefix = "/api", endpoint = "orders/delete", protocol = Writing, client = Requests)]
pub async fn delete(
    organization: OrganizationId,
    id: OrderId,
    mutation_id: MutationId,
) -> Result<Written<Done>, ApiError> {
    use super::sql;
    let (database, person) = crate::request::begin()?;
    database
        .write(
            (person, mutation_id),
            Some(organization),
            &("orders/delete", organization, id),
            move |transaction| Box::pin(sql::delete(transaction, organization, id)),
            |_| Box::pin(async { Ok(Done {}) }),
        )
        .await
}

/// Brings back a deleted order with its lines, and into those of its projects that still exist. One that is there
/// already stays as it is.
#[server(prefix = "/api", endpoint = "orders/restore", protocol = Writing, client = Requests)]
pub async fn restore(
    organization: OrganizationId,
    mutation_id: MutationId,
    id: OrderId,
) -> Result<Written<Order>, ApiError> {
    use super::sql;
    let begun = crate::request::begin()?;
    sql::write(begun, mutation_id, &("orders/restore", organization, id), organization, id, move |transaction| {
        Box::pin(sql::restore(transaction, organization, id))
    })
    .await
}

/// Adds a line: at its position, or below the others.
#[server(prefix = "/api", endpoint = "orders/add_line", protocol = Writing, client = Requests)]
pub async fn add_line(
    organization: OrganizationId,
    mutation_id: MutationId,
    order_id: OrderId,
    id: LineId,
    description: String,
    quantity: i32,
    #[server(default)] unit: Option<String>,
    #[server(default)] position: Option<i32>,
) -> Result<Written<Order>, ApiError> {
    use super::sql;
    let begun = crate::request::begin()?;
    let new = sql::NewLine {
        organization,
        order_id,
        id,
        position: position.map(|position| sql::whole("position", position)).transpose()?,
        description: crate::request::text("description", &description, 500)?,
        quantity: sql::whole("quantity", quantity)?,
        unit: crate::request::text("unit", unit.as_deref().unwrap_or("pcs"), 20)?,
    };
    let payload = ("orders/add_line", organization, order_id, id, &new.description, quantity, &new.unit, position);
    let payload = serde_json::to_value(payload).map_err(|_| ApiError::internal())?;
    sql::write(begun, mutation_id, &payload, organization, order_id, move |transaction| {
        Box::pin(sql::add_line(transaction, new))
    })
    .await
}

/// Changes fields of a line.
#[server(prefix = "/api", endpoint = "orders/update_line", protocol = Writing, client = Requests)]
pub async fn update_line(
    organization: OrganizationId,
    mutation_id: MutationId,
    order_id: OrderId,
    id: LineId,
    changes: LineChanges,
) -> Result<Written<Order>, ApiError> {
    use super::sql;
    let begun = crate::request::begin()?;
    let payload = ("orders/update_line", organization, order_id, id, &changes);
    let payload = serde_json::to_value(payload).map_err(|_| ApiError::internal())?;
    sql::write(begun, mutation_id, &payload, organization, order_id, move |transaction| {
        Box::pin(sql::update_line(transaction, organization, order_id, id, changes))
    })
    .await
}

/// Removes a line.
#[server(prefix = "/api", endpoint = "orders/remove_line", protocol = Writing, client = Requests)]
pub async fn remove_line(
    organization: OrganizationId,
    mutation_id: MutationId,
    order_id: OrderId,
    id: LineId,
) -> Result<Written<Order>, ApiError> {
    use super::sql;
    let begun = crate::request::begin()?;
    sql::write(
        begun,
        mutation_id,
        &("orders/remove_line", organization, order_id, id),
        organization,
        order_id,
        move |transaction| Box::pin(sql::remove_line(transaction, organization, order_id, id)),
    )
    .await
}
