//! Server functions under `/api/projects`.

use super::{Project, ProjectChanges, ProjectId, ProjectRow};
use crate::orders::OrderId;
use crate::tenancy::session::Done;
use leptos::prelude::*;
use millstream::calls::{Reading, Writing};
use millstream::requests::Requests;
use millstream::{ApiError, MutationId, OrganizationId, PersonId, Read, Written};

/// The organization's current projects, or the archived ones, newest first.
#[server(prefix = "/api", endpoint = "projects/list", protocol = Reading, client = Requests)]
pub async fn list(
    organization: OrganizationId,
    #[server(default)] archived: bool,
    #[server(default)] pending: Vec<MutationId>,
) -> Result<Read<Vec<ProjectRow>>, ApiError> {
    let (lists, person) = crate::request::begin_list()?;
    lists.projects.read(person, &pending, organization, archived).await
}

/// One project with its members and orders.
#[server(prefix = "/api", endpoint = "projects/get", protocol = Reading, client = Requests)]
pub async fn get(
    organization: OrganizationId,
    id: ProjectId,
    #[server(default)] pending: Vec<MutationId>,
) -> Result<Read<Project>, ApiError> {
    let (database, actor) = crate::request::begin_read()?;
    database
        .read(actor, &pending, move |transaction| Box::pin(super::sql::project(transaction, organization, id)))
        .await
}

/// Makes a project.
#[server(prefix = "/api", endpoint = "projects/create", protocol = Writing, client = Requests)]
pub async fn create(
    organization: OrganizationId,
    mutation_id: MutationId,
    id: ProjectId,
    name: String,
) -> Result<Written<Project>, ApiError> {
    let name = crate::request::text("name", &name, 200)?;
    super::sql::write("projects/create", organization, mutation_id, id, super::sql::Edit::Create(name)).await
}

/// Changes fields of a project.
#[server(prefix = "/api", endpoint = "projects/update", protocol = Writing, client = Requests)]
pub async fn update(
    organization: OrganizationId,
    id: ProjectId,
    mutation_id: MutationId,
    changes: ProjectChanges,
) -> Result<Written<Project>, ApiError> {
    super::sql::write("projects/update", organization, mutation_id, id, super::sql::Edit::Change(changes)).await
}

/// Deletes a project. Its orders stay.
#[server(prefix = "/api", endpoint = "projects/delete", protocol = Writing, client = Requests)]
pub async fn delete(
    organization: OrganizationId,
    mutation_id: MutationId,
    id: ProjectId,
) -> Result<Written<Done>, ApiError> {
    use super::sql;
    let (database, person) = crate::request::begin()?;
    database
        .write(
            (person, mutation_id),
            Some(organization),
            &("projects/delete", organization, id),
            move |transaction| Box::pin(sql::delete(transaction, organization, id)),
            |_| Box::pin(async { Ok(Done {}) }),
        )
        .await
}

/// Brings back a deleted project, with the members who still are members of the organization and the orders that still
/// exist. One that is there already stays as it is.
#[server(prefix = "/api", endpoint = "projects/restore", protocol = Writing, client = Requests)]
pub async fn restore(
    organization: OrganizationId,
    mutation_id: MutationId,
    id: ProjectId,
) -> Result<Written<Project>, ApiError> {
    super::sql::write("projects/restore", organization, mutation_id, id, super::sql::Edit::Restore).await
}

/// Puts a member of the organization on the project. One who is there already stays.
#[server(prefix = "/api", endpoint = "projects/add_member", protocol = Writing, client = Requests)]
pub async fn add_member(
    organization: OrganizationId,
    mutation_id: MutationId,
    project_id: ProjectId,
    person_id: PersonId,
) -> Result<Written<Project>, ApiError> {
    let edit = super::sql::Edit::AddMember(person_id);
    super::sql::write("projects/add_member", organization, mutation_id, project_id, edit).await
}

/// Takes a member off the project.
#[server(prefix = "/api", endpoint = "projects/remove_member", protocol = Writing, client = Requests)]
pub async fn remove_member(
    organization: OrganizationId,
    mutation_id: MutationId,
    project_id: ProjectId,
    person_id: PersonId,
) -> Result<Written<Project>, ApiError> {
    let edit = super::sql::Edit::RemoveMember(person_id);
    super::sql::write("projects/remove_member", organization, mutation_id, project_id, edit).await
}

/// Puts an order into the project. One that is there already stays.
#[server(prefix = "/api", endpoint = "projects/add_order", protocol = Writing, client = Requests)]
pub async fn add_order(
    organization: OrganizationId,
    mutation_id: MutationId,
    project_id: ProjectId,
    order_id: OrderId,
) -> Result<Written<Project>, ApiError> {
    super::sql::write("projects/add_order", organization, mutation_id, project_id, super::sql::Edit::AddOrder(order_id))
        .await
}

/// Takes an order out of the project.
#[server(prefix = "/api", endpoint = "projects/remove_order", protocol = Writing, client = Requests)]
pub async fn remove_order(
    organization: OrganizationId,
    mutation_id: MutationId,
    project_id: ProjectId,
    order_id: OrderId,
) -> Result<Written<Project>, ApiError> {
    let edit = super::sql::Edit::RemoveOrder(order_id);
    super::sql::write("projects/remove_order", organization, mutation_id, project_id, edit).await
}
