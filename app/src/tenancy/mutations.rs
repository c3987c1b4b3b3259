//! What is done to members, and how it looks before the server has it.

use super::session::Done;
use super::{Member, Members, Role, api};
use millstream::{ApiError, Mutation, MutationId, OrganizationId, PersonId, Shown, Written};
use uuid::Uuid;

#[derive(Clone)]
pub struct SetRole {
    pub organization: OrganizationId,
    pub person: PersonId,
    pub role: Role,
}

impl Mutation for SetRole {
    type Output = Vec<Member>;

    fn organization(&self) -> OrganizationId {
        self.organization
    }

    fn records(&self) -> Vec<Uuid> {
        vec![self.person.0]
    }

    fn label(&self) -> &'static str {
        "The role was not changed"
    }

    fn show(&self, on: &mut Shown<'_>) {
        on.lists::<Members>(|_, members| {
            if let Some(member) = members.iter_mut().find(|member| member.person_id == self.person) {
                member.role = self.role;
            }
        });
    }

    async fn send(self, id: MutationId) -> Result<Written<Vec<Member>>, ApiError> {
        api::set_role(self.organization, id, self.person, self.role, None).await
    }
}

#[derive(Clone)]
pub struct RemoveMember {
    pub organization: OrganizationId,
    pub person: PersonId,
}

impl Mutation for RemoveMember {
    type Output = Done;

    fn organization(&self) -> OrganizationId {
        self.organization
    }

    fn records(&self) -> Vec<Uuid> {
        vec![self.person.0]
    }

    fn label(&self) -> &'static str {
        "The member was not removed"
    }

    fn show(&self, on: &mut Shown<'_>) {
        on.lists::<Members>(|_, members| members.retain(|member| member.person_id != self.person));
    }

    async fn send(self, id: MutationId) -> Result<Written<Done>, ApiError> {
        api::remove_member(self.organization, id, self.person).await
    }
}
