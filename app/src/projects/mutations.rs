//! What people do to projects, and how it looks before the server has it.

use super::{Project, ProjectChanges, ProjectId, ProjectMember, ProjectOrder, ProjectRow, Projects, api};
use crate::change::{Change, Disputes};
use crate::tenancy::session::Done;
use crate::ui::time::now;
use millstream::live::RecordQuery;
use millstream::{
    AnyMutation, ApiError, Dispute, Mutation, MutationId, OrganizationId, PersonId, QueryKey, Shown, Written,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

#[derive(Clone, Serialize, Deserialize)]
pub struct EditProject {
    pub organization: OrganizationId,
    pub id: ProjectId,
    pub edit: ProjectEdit,
    pub by: (PersonId, String),
}

#[derive(Clone, Serialize, Deserialize)]
pub enum ProjectEdit {
    Create {
        name: String,
    },
    Rename(Change<String>),
    /// Puts it aside, or among the current ones again; with the row that the list which gains it shows.
    Archive(Change<bool>, ProjectRow),
    AddMember(ProjectMember),
    RemoveMember(ProjectMember),
    AddOrder(ProjectOrder),
    RemoveOrder(ProjectOrder),
}

impl EditProject {
    /// The project as it is when it has just been made.
    fn created(&self, name: &str) -> Project {
        Project {
            id: self.id,
            name: name.to_owned(),
            archived: false,
            members: Vec::new(),
            orders: Vec::new(),
            updated_at: now(),
            updated_by: Some(self.by.0),
            updated_by_name: Some(self.by.1.clone()),
        }
    }

    fn over_members(&self, members: &mut Vec<ProjectMember>) {
        match &self.edit {
            ProjectEdit::AddMember(member) if !members.iter().any(|other| other.person_id == member.person_id) => {
                members.push(member.clone());
                members.sort_by(|a, b| (&a.name, a.person_id).cmp(&(&b.name, b.person_id)));
            }
            ProjectEdit::RemoveMember(gone) => members.retain(|member| member.person_id != gone.person_id),
            _ => {}
        }
    }
}

impl Mutation for EditProject {
    const NAME: &'static str = "projects/edit";
    type Output = Project;

    fn organization(&self) -> OrganizationId {
        self.organization
    }

    fn records(&self) -> Vec<Uuid> {
        vec![self.id.0]
    }

    fn label(&self) -> String {
        match &self.edit {
            ProjectEdit::Create { name } => format!("New project “{name}”"),
            ProjectEdit::Rename(change) => format!("Rename to “{}”", change.to),
            ProjectEdit::Archive(Change { to: true, .. }, row) => format!("Archive “{}”", row.name),
            ProjectEdit::Archive(_, row) => format!("Take “{}” out of the archive", row.name),
            ProjectEdit::AddMember(member) => format!("Add {}", member.name),
            ProjectEdit::RemoveMember(member) => format!("Remove {}", member.name),
            ProjectEdit::AddOrder(order) => format!("Add “{}”", order.title),
            ProjectEdit::RemoveOrder(order) => format!("Remove “{}”", order.title),
        }
    }

    fn inverse(&self) -> Option<AnyMutation> {
        let edit = match self.edit.clone() {
            ProjectEdit::Create { name } => {
                let project = self.created(&name);
                let (organization, by) = (self.organization, self.by.clone());
                return Some(Arc::new(DeleteProject { organization, project, by }));
            }
            ProjectEdit::Rename(change) => ProjectEdit::Rename(change.inverse()),
            ProjectEdit::Archive(change, row) => ProjectEdit::Archive(change.inverse(), row),
            ProjectEdit::AddMember(member) => ProjectEdit::RemoveMember(member),
            ProjectEdit::RemoveMember(member) => ProjectEdit::AddMember(member),
            ProjectEdit::AddOrder(order) => ProjectEdit::RemoveOrder(order),
            ProjectEdit::RemoveOrder(order) => ProjectEdit::AddOrder(order),
        };
        Some(Arc::new(Self { edit, ..self.clone() }))
    }

    fn takes_away(&self) -> bool {
        matches!(self.edit, ProjectEdit::Archive(..) | ProjectEdit::RemoveMember(_) | ProjectEdit::RemoveOrder(_))
    }

    fn disputes(&self, current: &serde_json::Value) -> Vec<Dispute> {
        let (ProjectEdit::Rename(change), Ok(project)) =
            (&self.edit, serde_json::from_value::<Project>(current.clone()))
        else {
            return Vec::new();
        };
        Disputes::over(project.id, &project.updated_by_name, project.updated_at)
            .field("name", &Some(change.clone()), &project.name, String::clone)
            .found()
    }

    fn rebased(&self, current: &serde_json::Value) -> Option<Self> {
        let project = serde_json::from_value::<Project>(current.clone()).ok()?;
        let edit = match &self.edit {
            ProjectEdit::Rename(change) => ProjectEdit::Rename(Change::new(&project.name, change.to.clone())),
            ProjectEdit::Archive(change, row) => {
                ProjectEdit::Archive(Change::new(&project.archived, change.to), row.clone())
            }
            _ => return None,
        };
        Some(Self { edit, ..self.clone() })
    }

    fn retyped(&self, text: &str) -> Option<Self> {
        let name = text.to_owned();
        let edit = match &self.edit {
            ProjectEdit::Create { .. } => ProjectEdit::Create { name },
            ProjectEdit::Rename(change) => ProjectEdit::Rename(Change::to(change, name)),
            _ => return None,
        };
        Some(Self { edit, ..self.clone() })
    }

    fn typed(&self) -> Option<String> {
        match &self.edit {
            ProjectEdit::Create { name } => Some(name.clone()),
            ProjectEdit::Rename(change) => Some(change.to.clone()),
            _ => None,
        }
    }

    fn show(&self, on: &mut Shown<'_>) {
        on.record::<Projects>(self.id, |project| {
            if let ProjectEdit::Create { name } = &self.edit {
                project.get_or_insert_with(|| self.created(name));
            }
            let Some(project) = project else { return };
            self.over_members(&mut project.members);
            match &self.edit {
                ProjectEdit::Rename(change) => project.name.clone_from(&change.to),
                ProjectEdit::Archive(change, _) => project.archived = change.to,
                ProjectEdit::AddOrder(order)
                    if !project.orders.iter().any(|other| other.order_id == order.order_id) =>
                {
                    project.orders.push(order.clone());
                }
                ProjectEdit::RemoveOrder(order) => project.orders.retain(|other| other.order_id != order.order_id),
                _ => {}
            }
        });
        on.lists::<Projects>(|parameters, projects| {
            if let ProjectEdit::Archive(change, row) = &self.edit {
                if parameters.archived == change.to {
                    put(projects, ProjectRow { archived: change.to, ..row.clone() });
                } else {
                    projects.retain(|project| project.id != self.id);
                }
                return;
            }
            let known = projects.iter_mut().find(|project| project.id == self.id);
            match (known, &self.edit) {
                (None, ProjectEdit::Create { name }) if !parameters.archived => {
                    projects.insert(0, ProjectRow::from(&self.created(name)));
                }
                (Some(project), ProjectEdit::Rename(change)) => project.name.clone_from(&change.to),
                (Some(project), ProjectEdit::AddOrder(_)) => project.orders += 1,
                (Some(project), ProjectEdit::RemoveOrder(_)) => project.orders -= 1,
                (Some(project), _) => self.over_members(&mut project.members),
                (None, _) => {}
            }
        });
    }

    fn answers(&self) -> Option<QueryKey> {
        Some(Projects::record_key(self.organization, self.id))
    }

    async fn send(self, mutation: MutationId) -> Result<Written<Project>, ApiError> {
        let Self { organization, id, edit, .. } = self;
        match edit {
            ProjectEdit::Create { name } => api::create(organization, mutation, id, name).await,
            ProjectEdit::Rename(name) => {
                let changes = ProjectChanges { name: Some(name), ..ProjectChanges::default() };
                api::update(organization, id, mutation, changes).await
            }
            ProjectEdit::Archive(archived, _) => {
                let changes = ProjectChanges { archived: Some(archived), ..ProjectChanges::default() };
                api::update(organization, id, mutation, changes).await
            }
            ProjectEdit::AddMember(member) => api::add_member(organization, mutation, id, member.person_id).await,
            ProjectEdit::RemoveMember(member) => api::remove_member(organization, mutation, id, member.person_id).await,
            ProjectEdit::AddOrder(order) => api::add_order(organization, mutation, id, order.order_id).await,
            ProjectEdit::RemoveOrder(order) => api::remove_order(organization, mutation, id, order.order_id).await,
        }
    }
}

/// Inserts the row where the list, newest first, will have it. It does not say when a project was made; ids do, for those
/// made later sort later.
fn put(projects: &mut Vec<ProjectRow>, row: ProjectRow) {
    if !projects.iter().any(|other| other.id == row.id) {
        let place = projects.partition_point(|other| other.id > row.id);
        projects.insert(place, row);
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub struct DeleteProject {
    pub organization: OrganizationId,
    /// As it is now: what is shown if it is brought back.
    pub project: Project,
    pub by: (PersonId, String),
}

impl Mutation for DeleteProject {
    const NAME: &'static str = "projects/delete";
    type Output = Done;

    fn organization(&self) -> OrganizationId {
        self.organization
    }

    fn records(&self) -> Vec<Uuid> {
        vec![self.project.id.0]
    }

    fn label(&self) -> String {
        format!("Delete “{}”", self.project.name)
    }

    fn show(&self, on: &mut Shown<'_>) {
        let id = self.project.id;
        on.record::<Projects>(id, |project| *project = None);
        on.lists::<Projects>(|_, projects| projects.retain(|project| project.id != id));
    }

    fn inverse(&self) -> Option<AnyMutation> {
        let Self { organization, project, by } = self.clone();
        Some(Arc::new(RestoreProject { organization, project, by }))
    }

    fn takes_away(&self) -> bool {
        true
    }

    async fn send(self, mutation: MutationId) -> Result<Written<Done>, ApiError> {
        api::delete(self.organization, mutation, self.project.id).await
    }
}

/// Brings a deleted project back.
#[derive(Clone, Serialize, Deserialize)]
pub struct RestoreProject {
    pub organization: OrganizationId,
    /// As it was when it was deleted: what is shown until the server has put it back.
    pub project: Project,
    pub by: (PersonId, String),
}

impl RestoreProject {
    /// Restoring is a change by who restores.
    fn touched(&self) -> Project {
        let mut project = self.project.clone();
        project.updated_by = Some(self.by.0);
        project.updated_by_name = Some(self.by.1.clone());
        project
    }
}

impl Mutation for RestoreProject {
    const NAME: &'static str = "projects/restore";
    type Output = Project;

    fn organization(&self) -> OrganizationId {
        self.organization
    }

    fn records(&self) -> Vec<Uuid> {
        vec![self.project.id.0]
    }

    fn label(&self) -> String {
        format!("Restore “{}”", self.project.name)
    }

    fn inverse(&self) -> Option<AnyMutation> {
        let Self { organization, project, by } = self.clone();
        Some(Arc::new(DeleteProject { organization, project, by }))
    }

    fn show(&self, on: &mut Shown<'_>) {
        on.record::<Projects>(self.project.id, |project| {
            project.get_or_insert_with(|| self.touched());
        });
        on.lists::<Projects>(|parameters, projects| {
            if parameters.archived == self.project.archived {
                put(projects, ProjectRow::from(&self.touched()));
            }
        });
    }

    fn answers(&self) -> Option<QueryKey> {
        Some(Projects::record_key(self.organization, self.project.id))
    }

    async fn send(self, mutation: MutationId) -> Result<Written<Project>, ApiError> {
        api::restore(self.organization, mutation, self.project.id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projects::ProjectParameters;
    use millstream::live::ListQuery;
    use millstream::overlay::{AnyValue, ErasedMutation};

    const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(1));

    fn project(number: u128, archived: bool) -> Project {
        Project {
            id: ProjectId(Uuid::from_u128(number)),
            name: format!("Project {number}"),
            archived,
            members: Vec::new(),
            orders: Vec::new(),
            updated_at: 0,
            updated_by: None,
            updated_by_name: None,
        }
    }

    fn ada() -> (PersonId, String) {
        (PersonId(Uuid::from_u128(2)), "Ada".to_owned())
    }

    /// The projects of the list, and which of them says that it is archived, with the mutation over it.
    fn shown(over: &impl Mutation, archived: bool, numbers: &[u128]) -> Vec<(u128, bool)> {
        let key = Projects::list_key(ORGANIZATION, &ProjectParameters { archived });
        let rows: Vec<_> = numbers.iter().map(|number| ProjectRow::from(&project(*number, archived))).collect();
        let value = ErasedMutation::over(over, &key, Some(Arc::new(rows) as AnyValue));
        let rows = value.as_ref().and_then(|value| value.downcast_ref::<Vec<ProjectRow>>()).cloned();
        rows.unwrap_or_default().iter().map(|row| (row.id.0.as_u128(), row.archived)).collect()
    }

    #[test]
    fn archiving_moves_a_project_from_one_list_to_its_place_in_the_other() {
        let archive = |from: bool| EditProject {
            organization: ORGANIZATION,
            id: ProjectId(Uuid::from_u128(5)),
            edit: ProjectEdit::Archive(Change { from, to: !from }, ProjectRow::from(&project(5, from))),
            by: ada(),
        };
        assert_eq!(shown(&archive(false), false, &[6, 5, 4]), [(6, false), (4, false)]);
        assert_eq!(shown(&archive(false), true, &[8, 2]), [(8, true), (5, true), (2, true)]);
        assert_eq!(shown(&archive(true), true, &[5]), []);
        assert_eq!(shown(&archive(true), false, &[6, 4]), [(6, false), (5, false), (4, false)]);
        assert_eq!(shown(&archive(false), true, &[5]), [(5, true)], "there already");
    }

    #[test]
    fn deleting_takes_a_project_from_its_list_and_restoring_puts_it_back() {
        let delete = DeleteProject { organization: ORGANIZATION, project: project(5, false), by: ada() };
        assert_eq!(shown(&delete, false, &[6, 5]), [(6, false)]);
        let restore =
            |archived| RestoreProject { organization: ORGANIZATION, project: project(5, archived), by: ada() };
        assert_eq!(shown(&restore(false), false, &[6, 4]), [(6, false), (5, false), (4, false)]);
        assert_eq!(shown(&restore(false), true, &[6, 4]), [(6, true), (4, true)]);
        assert_eq!(shown(&restore(true), true, &[]), [(5, true)]);
        let key = Projects::record_key(ORGANIZATION, ProjectId(Uuid::from_u128(5)));
        let value = ErasedMutation::over(&restore(false), &key, None);
        let record = value.as_ref().and_then(|value| value.downcast_ref::<Project>());
        assert_eq!(record.and_then(|project| project.updated_by_name.as_deref()), Some("Ada"));
    }

    #[test]
    fn a_new_project_does_not_appear_among_the_archived_ones() {
        let create = EditProject {
            organization: ORGANIZATION,
            id: ProjectId(Uuid::from_u128(9)),
            edit: ProjectEdit::Create { name: "New".to_owned() },
            by: ada(),
        };
        assert_eq!(shown(&create, true, &[1]), [(1, true)]);
        assert_eq!(shown(&create, false, &[1]), [(9, false), (1, false)]);
    }
}
