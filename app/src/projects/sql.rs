//! The statements behind `/api/projects`. Each runs as the person, under row-level security.

use super::{Project, ProjectChanges, ProjectId, ProjectMember, ProjectOrder, ProjectRow};
use crate::change::{Update, Verdict};
use crate::orders::{OrderId, order_exists};
use crate::request::{begin, require, text};
use crate::tenancy::{Action, Module, is_member};
use millstream::sql::{Outcome, step};
use millstream::{ApiError, Kind, MutationId, OrganizationId, PersonId, Written};
use serde::Serialize;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

pub(crate) async fn list_of(
    transaction: &mut PgConnection,
    organization: OrganizationId,
    archived: bool,
) -> Result<Vec<ProjectRow>, ApiError> {
    require(transaction, organization, Module::Projects, Action::View).await?;
    let rows = sqlx::query(
        "select p.id, p.name, p.archived,
           coalesce((select jsonb_agg(jsonb_build_object('person_id', pm.person_id, 'name', who.name) order by who.name, who.id)
             from project_members pm join profiles who on who.id = pm.person_id where pm.project_id = p.id), '[]') as members,
           (select count(*) from project_orders po where po.project_id = p.id) as orders,
           (extract(epoch from p.updated_at) * 1000)::bigint as updated_at, p.updated_by, updater.name as updated_by_name
         from projects p left join profiles updater on updater.id = p.updated_by
         where p.organization_id = $1 and p.archived = $2
         order by p.created_at desc, p.id desc",
    )
    .bind(organization.0)
    .bind(archived)
    .fetch_all(transaction)
    .await?;
    let rows = rows.iter().map(|row| {
        Ok(ProjectRow {
            id: ProjectId(row.try_get("id")?),
            name: row.try_get("name")?,
            archived: row.try_get("archived")?,
            members: row.try_get::<sqlx::types::Json<Vec<ProjectMember>>, _>("members")?.0,
            orders: row.try_get("orders")?,
            updated_at: row.try_get("updated_at")?,
            updated_by: row.try_get::<Option<Uuid>, _>("updated_by")?.map(PersonId),
            updated_by_name: row.try_get("updated_by_name")?,
        })
    });
    rows.collect()
}

pub(super) async fn project(
    transaction: &mut PgConnection,
    organization: OrganizationId,
    id: ProjectId,
) -> Result<Project, ApiError> {
    require(transaction, organization, Module::Projects, Action::View).await?;
    let row = sqlx::query(
        "select p.id, p.name, p.archived,
           (extract(epoch from p.updated_at) * 1000)::bigint as updated_at, p.updated_by, updater.name as updated_by_name
         from projects p left join profiles updater on updater.id = p.updated_by
         where p.organization_id = $1 and p.id = $2",
    )
    .bind(organization.0)
    .bind(id.0)
    .fetch_optional(&mut *transaction)
    .await?
    .ok_or_else(|| ApiError::not_found("project"))?;
    let members: Vec<(Uuid, String)> = sqlx::query_as(
        "select pm.person_id, who.name from project_members pm join profiles who on who.id = pm.person_id
         where pm.project_id = $1 order by who.name, who.id",
    )
    .bind(id.0)
    .fetch_all(&mut *transaction)
    .await?;
    let orders: Vec<(Uuid, String, String, String)> = sqlx::query_as(
        "select o.id, o.number, o.title, o.status from project_orders po join sales_orders o on o.id = po.order_id
         where po.project_id = $1 order by po.created_at, o.id",
    )
    .bind(id.0)
    .fetch_all(&mut *transaction)
    .await?;
    let orders = orders.into_iter().map(|(id, number, title, status)| {
        Ok(ProjectOrder { order_id: OrderId(id), number: Some(number), title, status: status.parse()? })
    });
    Ok(Project {
        id,
        name: row.try_get("name")?,
        archived: row.try_get("archived")?,
        members: members.into_iter().map(|(id, name)| ProjectMember { person_id: PersonId(id), name }).collect(),
        orders: orders.collect::<Result<_, ApiError>>()?,
        updated_at: row.try_get("updated_at")?,
        updated_by: row.try_get::<Option<Uuid>, _>("updated_by")?.map(PersonId),
        updated_by_name: row.try_get("updated_by_name")?,
    })
}

/// What is done to a project.
#[derive(Serialize)]
pub(super) enum Edit {
    Create(String),
    Change(ProjectChanges),
    Restore,
    AddMember(PersonId),
    RemoveMember(PersonId),
    AddOrder(OrderId),
    RemoveOrder(OrderId),
}

/// Carries an edit out and answers with the project.
pub(super) async fn write(
    operation: &'static str,
    organization: OrganizationId,
    mutation_id: MutationId,
    id: ProjectId,
    edit: Edit,
) -> Result<Written<Project>, ApiError> {
    let (database, person) = begin()?;
    let payload = serde_json::to_value((operation, organization, id, &edit)).map_err(|_| ApiError::internal())?;
    let change = step(move |transaction| Box::pin(carry_out(transaction, organization, id, edit)));
    let read = step(move |transaction| Box::pin(project(transaction, organization, id)));
    database.write((person, mutation_id), Some(organization), &payload, change, read).await
}

async fn carry_out(
    transaction: &mut PgConnection,
    organization: OrganizationId,
    id: ProjectId,
    edit: Edit,
) -> Result<Outcome, ApiError> {
    let action = match edit {
        Edit::Create(_) => Action::Create,
        Edit::Restore => Action::Delete, // the two undo each other
        _ => Action::Update,
    };
    require(transaction, organization, Module::Projects, action).await?;
    if action == Action::Update {
        let found: Option<Uuid> =
            sqlx::query_scalar("select id from projects where organization_id = $1 and id = $2 for update")
                .bind(organization.0)
                .bind(id.0)
                .fetch_optional(&mut *transaction)
                .await?;
        found.ok_or_else(|| ApiError::not_found("project"))?;
    }
    let touched = match &edit {
        Edit::Create(name) => sqlx::query("insert into projects (id, organization_id, name) values ($1, $2, $3)")
            .bind(id.0)
            .bind(organization.0)
            .bind(name)
            .execute(&mut *transaction)
            .await
            .map_err(|error| taken("is taken; make a new one", error))?,
        Edit::Change(changes) => {
            let current = project(transaction, organization, id).await?;
            let mut update = Update::default();
            let name = update.field("name", &changes.name, &current.name);
            let name = name.map(|name| text("name", &name, 200)).transpose()?;
            let archived = update.field("archived", &changes.archived, &current.archived);
            match update.verdict() {
                Verdict::Changed => {}
                Verdict::Unchanged => return Ok(Outcome::Unchanged),
                Verdict::Disputed(disputed) => return Err(disputed.over(&current)),
            }
            sqlx::query(
                "update projects set name = coalesce($2, name), archived = coalesce($3, archived) where id = $1",
            )
            .bind(id.0)
            .bind(name)
            .bind(archived)
            .execute(&mut *transaction)
            .await?
        }
        Edit::Restore => {
            let is_restored: bool = sqlx::query_scalar("select restore_project($1, $2)")
                .bind(organization.0)
                .bind(id.0)
                .fetch_one(&mut *transaction)
                .await
                .map_err(|error| taken("has been given to something else meanwhile", error))?;
            return Ok(if is_restored { Outcome::Changed } else { Outcome::Unchanged });
        }
        Edit::AddMember(person) => {
            sqlx::query(
                "insert into project_members (id, project_id, person_id) values ($1, $2, $3)
                 on conflict (project_id, person_id) do nothing",
            )
            .bind(Uuid::now_v7())
            .bind(id.0)
            .bind(person.0)
            .execute(&mut *transaction)
            .await?
        }
        Edit::RemoveMember(person) => {
            sqlx::query("delete from project_members where project_id = $1 and person_id = $2")
                .bind(id.0)
                .bind(person.0)
                .execute(&mut *transaction)
                .await?
        }
        Edit::AddOrder(order) => {
            sqlx::query(
                "insert into project_orders (id, project_id, order_id) values ($1, $2, $3)
                 on conflict (project_id, order_id) do nothing",
            )
            .bind(Uuid::now_v7())
            .bind(id.0)
            .bind(order.0)
            .execute(&mut *transaction)
            .await?
        }
        Edit::RemoveOrder(order) => {
            sqlx::query("delete from project_orders where project_id = $1 and order_id = $2")
                .bind(id.0)
                .bind(order.0)
                .execute(&mut *transaction)
                .await?
        }
    };
    if touched.rows_affected() > 0 {
        return Ok(Outcome::Changed);
    }
    // To add what is there, or to remove what is not, is to ask for what already is; but it has to be one's own.
    let (field, exists) = match edit {
        Edit::RemoveMember(person) => ("person_id", is_member(transaction, organization, person).await?),
        Edit::RemoveOrder(order) => ("order_id", order_exists(transaction, organization, order).await?),
        _ => return Ok(Outcome::Unchanged),
    };
    if exists {
        Ok(Outcome::Unchanged)
    } else {
        Err(ApiError::field(field, "there is no such one in this organization"))
    }
}

/// An id that is taken is told by name, whoever has taken it.
fn taken(why: &str, error: sqlx::Error) -> ApiError {
    let error = ApiError::from(error);
    match error.kind {
        Kind::Conflict => ApiError { kind: error.kind, ..ApiError::field("id", why) },
        _ => error,
    }
}

pub(super) async fn delete(
    transaction: &mut PgConnection,
    organization: OrganizationId,
    id: ProjectId,
) -> Result<Outcome, ApiError> {
    require(transaction, organization, Module::Projects, Action::Delete).await?;
    let deleted = sqlx::query("delete from projects where organization_id = $1 and id = $2")
        .bind(organization.0)
        .bind(id.0)
        .execute(transaction)
        .await?;
    if deleted.rows_affected() == 0 { Err(ApiError::not_found("project")) } else { Ok(Outcome::Changed) }
}
