//! The demonstration: two organizations with people, customers, orders and projects, written into an empty database in one
//! transaction. [`content`] says what; it is the same every time but for the dates, which lie around today.

mod content;

use crate::running::BootError;
use app::request::Services;
use app::tenancy::session::acting;
use content::{Content, Organization};
use sqlx::{Connection, PgConnection};
use std::fmt::Write;
use time::OffsetDateTime;
use uuid::Uuid;

pub const PASSWORD: &str = "demo-demo-demo";
/// So many orders in a row are made by the same person.
const BY_ONE: usize = 20;

/// Writes the demonstration if nobody has ever signed up. Of two servers that start at once one writes it.
///
/// # Errors
/// Where the database refuses; then nothing of it is there.
pub(crate) async fn fill(connection: &mut PgConnection, services: &Services) -> Result<(), BootError> {
    if !is_empty(connection).await.map_err(BootError::Demo)? {
        return Ok(());
    }
    // Outside of the transaction: it takes a while, and the lock is waited for.
    let hash =
        acting::hash(services, PASSWORD.to_owned()).await.map_err(|why| BootError::DemoPassword(Box::new(why)))?;
    let content = Content::around(OffsetDateTime::now_utc());
    write(connection, &content, &hash).await.map_err(BootError::Demo)
}

/// The accounts with their password, as told at the start.
pub fn accounts() -> String {
    let mut text = format!("Demonstration accounts, each with the password {PASSWORD}:\n");
    for (_, email, name, role) in content::PEOPLE {
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {email:<16} {name}, {role}");
    }
    text
}

async fn is_empty(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select not exists (select from profiles)").fetch_one(connection).await
}

async fn write(connection: &mut PgConnection, content: &Content, hash: &str) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::query("select pg_advisory_xact_lock(hashtext('millstream.demo'))").execute(&mut *transaction).await?;
    if !is_empty(&mut transaction).await? {
        return Ok(());
    }
    people(&mut transaction, content, hash).await?;
    for organization in &content.organizations {
        act_as(&mut transaction, organization.members[0].person).await?;
        customers(&mut transaction, organization).await?;
        members(&mut transaction, organization).await?;
        orders(&mut transaction, organization).await?;
        act_as(&mut transaction, organization.members[0].person).await?;
        lines(&mut transaction, organization).await?;
        projects(&mut transaction, organization).await?;
    }
    transaction.commit().await
}

/// From here on changes are this person's.
async fn act_as(connection: &mut PgConnection, person: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("select set_config('millstream.person', $1, true)")
        .bind(person.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

async fn people(connection: &mut PgConnection, content: &Content, hash: &str) -> Result<(), sqlx::Error> {
    let (ids, emails, names): (Vec<_>, Vec<_>, Vec<_>) = columns(&content.people, |p| (p.id, p.email, p.name));
    sqlx::query(
        "with made as (
           insert into profiles (id, email, name, created_at)
           select p.id, p.email, p.name, $4 from unnest($1::uuid[], $2::text[], $3::text[]) as p(id, email, name)
           returning id
         )
         insert into credentials (person_id, password_hash) select id, $5 from made",
    )
    .bind(ids)
    .bind(emails)
    .bind(names)
    .bind(content.began)
    .bind(hash)
    .execute(&mut *connection)
    .await?;
    let (ids, names): (Vec<_>, Vec<_>) = content.organizations.iter().map(|o| (o.id, o.name)).unzip();
    sqlx::query(
        "insert into organizations (id, name, created_at)
         select o.id, o.name, $3 from unnest($1::uuid[], $2::text[]) as o(id, name)",
    )
    .bind(ids)
    .bind(names)
    .bind(content.began)
    .execute(connection)
    .await?;
    Ok(())
}

async fn customers(connection: &mut PgConnection, organization: &Organization) -> Result<(), sqlx::Error> {
    let (ids, names, created): (Vec<_>, Vec<_>, Vec<_>) =
        columns(&organization.customers, |c| (c.id, c.name.as_str(), c.created_at));
    sqlx::query(
        "insert into customers (id, organization_id, name, created_at)
         select c.id, $1, c.name, c.created_at
         from unnest($2::uuid[], $3::text[], $4::timestamptz[]) as c(id, name, created_at)",
    )
    .bind(organization.id)
    .bind(ids)
    .bind(names)
    .bind(created)
    .execute(connection)
    .await?;
    Ok(())
}

async fn members(connection: &mut PgConnection, organization: &Organization) -> Result<(), sqlx::Error> {
    let (people, roles, customers): (Vec<_>, Vec<_>, Vec<_>) =
        columns(&organization.members, |m| (m.person, m.role, m.customer));
    sqlx::query(
        "insert into memberships (organization_id, person_id, role, customer_id)
         select $1, m.person_id, m.role, m.customer_id
         from unnest($2::uuid[], $3::text[], $4::uuid[]) as m(person_id, role, customer_id)",
    )
    .bind(organization.id)
    .bind(people)
    .bind(roles)
    .bind(customers)
    .execute(connection)
    .await?;
    Ok(())
}

/// The oldest first, so that the numbers go with the time.
async fn orders(connection: &mut PgConnection, organization: &Organization) -> Result<(), sqlx::Error> {
    for (chunk, orders) in organization.orders.chunks(BY_ONE).enumerate() {
        let makers = &organization.makers;
        act_as(connection, makers[chunk % makers.len()]).await?;
        let (ids, titles, statuses) = columns(orders, |o| (o.id, o.title.as_str(), o.status));
        let (customers, assignees, due): (Vec<_>, Vec<_>, Vec<_>) =
            columns(orders, |o| (o.customer, o.assignee, o.due_on));
        let created: Vec<_> = orders.iter().map(|o| o.created_at).collect();
        sqlx::query(
            "insert into sales_orders (id, organization_id, title, status, customer_id, assignee_id, due_on, created_at)
             select o.id, $1, o.title, o.status, o.customer_id, o.assignee_id, o.due_on, o.created_at
             from unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[], $6::uuid[], $7::date[], $8::timestamptz[])
               as o(id, title, status, customer_id, assignee_id, due_on, created_at)",
        )
        .bind(organization.id)
        .bind::<Vec<Uuid>>(ids)
        .bind::<Vec<&str>>(titles)
        .bind::<Vec<&str>>(statuses)
        .bind(customers)
        .bind(assignees)
        .bind(due)
        .bind(created)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn lines(connection: &mut PgConnection, organization: &Organization) -> Result<(), sqlx::Error> {
    let lines = &organization.lines;
    let (ids, orders, positions): (Vec<_>, Vec<_>, Vec<_>) = columns(lines, |l| (l.id, l.order, l.position));
    let (descriptions, quantities, units): (Vec<_>, Vec<_>, Vec<_>) =
        columns(lines, |l| (l.description, l.quantity, l.unit));
    let created: Vec<_> = lines.iter().map(|l| l.created_at).collect();
    sqlx::query(
        "insert into sales_order_lines (id, order_id, position, description, quantity, unit, created_at)
         select l.* from unnest($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::integer[], $6::text[], $7::timestamptz[]) as l",
    )
    .bind(ids)
    .bind(orders)
    .bind(positions)
    .bind(descriptions)
    .bind(quantities)
    .bind(units)
    .bind(created)
    .execute(connection)
    .await?;
    Ok(())
}

async fn projects(connection: &mut PgConnection, organization: &Organization) -> Result<(), sqlx::Error> {
    let (ids, names, created): (Vec<_>, Vec<_>, Vec<_>) =
        columns(&organization.projects, |p| (p.id, p.name, p.created_at));
    sqlx::query(
        "insert into projects (id, organization_id, name, created_at)
         select p.id, $1, p.name, p.created_at
         from unnest($2::uuid[], $3::text[], $4::timestamptz[]) as p(id, name, created_at)",
    )
    .bind(organization.id)
    .bind(ids)
    .bind(names)
    .bind(created)
    .execute(&mut *connection)
    .await?;
    let (ids, projects, people): (Vec<_>, Vec<_>, Vec<_>) =
        columns(&organization.project_members, |m| (m.id, m.project, m.other));
    sqlx::query(
        "insert into project_members (id, project_id, person_id)
         select * from unnest($1::uuid[], $2::uuid[], $3::uuid[])",
    )
    .bind(ids)
    .bind(projects)
    .bind(people)
    .execute(&mut *connection)
    .await?;
    let (ids, projects, orders): (Vec<_>, Vec<_>, Vec<_>) =
        columns(&organization.project_orders, |o| (o.id, o.project, o.other));
    sqlx::query(
        "insert into project_orders (id, project_id, order_id)
         select * from unnest($1::uuid[], $2::uuid[], $3::uuid[])",
    )
    .bind(ids)
    .bind(projects)
    .bind(orders)
    .execute(connection)
    .await?;
    Ok(())
}

/// Rows into columns, as `unnest` takes them.
fn columns<'a, T, A, B, C>(rows: &'a [T], of: impl Fn(&'a T) -> (A, B, C)) -> (Vec<A>, Vec<B>, Vec<C>) {
    rows.iter().map(of).collect()
}
