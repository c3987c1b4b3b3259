//! Projects: who works on them and which orders they hold.

pub mod api;
pub mod list;
pub mod mutations;
pub mod page;
#[cfg(feature = "ssr")]
mod sql;

use crate::change::Change;
use crate::orders::{OrderId, Status};
use millstream::key::Dependency;
use millstream::live::{ListQuery, NoParameters, RecordQuery};
use millstream::{ApiError, Live, MutationId, OrganizationId, PersonId, Read};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

millstream::id!(ProjectId);

impl From<ProjectId> for Uuid {
    fn from(id: ProjectId) -> Self {
        id.0
    }
}

impl From<Uuid> for ProjectId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

/// A project as a list shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProjectRow {
    pub id: ProjectId,
    pub name: String,
    pub members: Vec<ProjectMember>,
    pub orders: i64,
    pub updated_at: i64,
    pub updated_by: Option<PersonId>,
    pub updated_by_name: Option<String>,
}

/// A project with what it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Project {
    pub id: ProjectId,
    pub name: String,
    pub members: Vec<ProjectMember>,
    pub orders: Vec<ProjectOrder>,
    pub updated_at: i64,
    pub updated_by: Option<PersonId>,
    pub updated_by_name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProjectMember {
    pub person_id: PersonId,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProjectOrder {
    pub order_id: OrderId,
    pub number: Option<String>,
    pub title: String,
    pub status: Status,
}

/// What an update changes; fields that are absent stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectChanges {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Change<String>>,
}

/// The live table `projects`.
pub struct Projects;

impl Live for Projects {
    const TABLE: &'static str = "projects";
}

impl ListQuery for Projects {
    type Parameters = NoParameters;
    type List = Vec<ProjectRow>;

    fn list_depends(_: &NoParameters) -> Vec<Dependency> {
        ["projects", "project_members", "project_orders"].map(Dependency::all).to_vec()
    }

    async fn fetch_list(
        organization: OrganizationId,
        _: NoParameters,
        pending: Vec<MutationId>,
    ) -> Result<Read<Vec<ProjectRow>>, ApiError> {
        api::list(organization, pending).await
    }
}

impl RecordQuery for Projects {
    type Id = ProjectId;
    type Record = Project;

    fn record_depends(id: ProjectId) -> Vec<Dependency> {
        vec![
            Dependency::row("projects", id.0),
            Dependency::all("project_members").with("project_id", id.0),
            Dependency::all("project_orders").with("project_id", id.0),
            // It shows its orders' titles and statuses; which orders those are is not known before it is read.
            Dependency::all("sales_orders"),
        ]
    }

    async fn fetch_record(
        organization: OrganizationId,
        id: ProjectId,
        pending: Vec<MutationId>,
    ) -> Result<Read<Project>, ApiError> {
        api::get(organization, id, pending).await
    }
}
