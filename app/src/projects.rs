//! Projects: who works on them and which orders they hold.

pub mod api;
pub mod list;
pub mod mutations;
pub mod page;
#[cfg(feature = "ssr")]
mod sql;

use crate::change::Change;
use crate::orders::{OrderId, Status};
use millstream::key::{Dependency, Facet};
use millstream::live::{ListQuery, RecordQuery};
use millstream::{ApiError, Live, MutationId, OrganizationId, PersonId, Read};
use serde::{Deserialize, Serialize};
#[cfg(feature = "ssr")]
pub(crate) use sql::list_of;
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
    /// Put aside: listed apart from the current ones.
    pub archived: bool,
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
    /// Put aside: listed apart from the current ones. Answers that were stored before there was an archive lack it.
    #[serde(default)]
    pub archived: bool,
    pub members: Vec<ProjectMember>,
    pub orders: Vec<ProjectOrder>,
    pub updated_at: i64,
    pub updated_by: Option<PersonId>,
    pub updated_by_name: Option<String>,
}

impl From<&Project> for ProjectRow {
    fn from(project: &Project) -> Self {
        Self {
            id: project.id,
            name: project.name.clone(),
            archived: project.archived,
            members: project.members.clone(),
            orders: project.orders.len() as i64,
            updated_at: project.updated_at,
            updated_by: project.updated_by,
            updated_by_name: project.updated_by_name.clone(),
        }
    }
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<Change<bool>>,
}

/// What a list of projects is asked with. The current ones are asked for with `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProjectParameters {
    /// The archived ones instead of the current ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
}

/// The live table `projects`.
pub struct Projects;

impl Live for Projects {
    const TABLE: &'static str = "projects";
}

impl ListQuery for Projects {
    type Parameters = ProjectParameters;
    type List = Vec<ProjectRow>;

    fn list_depends(parameters: &ProjectParameters) -> Vec<Dependency> {
        vec![
            Dependency::all("projects").with("archived", Facet::Bool(parameters.archived)),
            // Whose members and orders these are, archived or not, their rows do not say.
            Dependency::all("project_members"),
            Dependency::all("project_orders"),
        ]
    }

    async fn fetch_list(
        organization: OrganizationId,
        parameters: ProjectParameters,
        pending: Vec<MutationId>,
    ) -> Result<Read<Vec<ProjectRow>>, ApiError> {
        api::list(organization, parameters.archived, pending).await
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
