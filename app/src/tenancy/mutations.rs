//! What is done to members, and how it looks before the server has it.

use super::session::Done;
use super::{Member, Members, Role, api};
use millstream::{AnyMutation, ApiError, Mutation, MutationId, OrganizationId, PersonId, Shown, Written};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

#[derive(Clone, Serialize, Deserialize)]
pub struct SetRole {
    pub organization: OrganizationId,
    pub person: PersonId,
    pub name: String,
    pub before: Role,
    pub role: Role,
}

impl Mutation for SetRole {
    const NAME: &'static str = "organizations/set_role";
    type Output = Vec<Member>;

    fn organization(&self) -> OrganizationId {
        self.organization
    }

    fn records(&self) -> Vec<Uuid> {
        vec![self.person.0]
    }

    fn label(&self) -> String {
        format!("{}: {}", self.name, self.role.label())
    }

    fn inverse(&self) -> Option<AnyMutation> {
        // An outsider's role is bound to a customer or a supplier, which a change of role alone cannot give back.
        let is_free = !matches!(self.before, Role::Buyer | Role::Supplier);
        is_free.then(|| Arc::new(Self { before: self.role, role: self.before, ..self.clone() }) as AnyMutation)
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

#[derive(Clone, Serialize, Deserialize)]
pub struct RemoveMember {
    pub organization: OrganizationId,
    pub person: PersonId,
    pub name: String,
}

impl Mutation for RemoveMember {
    const NAME: &'static str = "organizations/remove_member";
    type Output = Done;

    fn organization(&self) -> OrganizationId {
        self.organization
    }

    fn records(&self) -> Vec<Uuid> {
        vec![self.person.0]
    }

    fn label(&self) -> String {
        format!("Remove {}", self.name)
    }

    fn show(&self, on: &mut Shown<'_>) {
        on.lists::<Members>(|_, members| members.retain(|member| member.person_id != self.person));
    }

    async fn send(self, id: MutationId) -> Result<Written<Done>, ApiError> {
        api::remove_member(self.organization, id, self.person).await
    }
}
