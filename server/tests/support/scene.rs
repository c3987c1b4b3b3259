//! An organization with one of everything, for tests that go through all of it.

use super::world::{Person, World};
use sqlx::types::Uuid;

pub struct Scene {
    pub organization: Uuid,
    pub owner: Person,
    /// A planner, who is on the project.
    pub colleague: Person,
    /// A viewer, who is not.
    pub other: Person,
    pub customer: Uuid,
    pub order: Uuid,
    pub line: Uuid,
    /// Not in the project.
    pub other_order: Uuid,
    pub project: Uuid,
    pub project_member: Uuid,
    pub project_order: Uuid,
    /// In the trash, with its line.
    pub deleted_order: Uuid,
    /// In the trash.
    pub deleted_project: Uuid,
    /// Of an invitation that is open.
    pub token: String,
    pub invitation: Uuid,
}

impl Scene {
    pub async fn new(world: &World) -> Self {
        let organization = world.organization("A firm").await;
        let owner = world.member(organization, "Ada", "owner").await;
        let colleague = world.member(organization, "Ben", "planner").await;
        let other = world.member(organization, "Cleo", "viewer").await;
        let customer = world.customer(organization).await;
        let order = world.order(organization, customer).await;
        let line = world.line(order).await;
        let other_order = world.order(organization, customer).await;
        let project = world.project(organization).await;
        let project_member = world.project_member(project, colleague.id).await;
        let project_order = world.project_order(project, order).await;
        let deleted_order = world.order(organization, customer).await;
        world.line(deleted_order).await;
        let deleted_project = world.project(organization).await;
        world
            .change(&format!(
                "delete from sales_orders where id = '{deleted_order}'; delete from projects where id = '{deleted_project}'"
            ))
            .await;
        let token = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let invitation = Uuid::now_v7();
        sqlx::query(
            "insert into invitations (id, organization_id, role, token_hash, invited_by)
             values ($1, $2, 'viewer', sha256(convert_to($3, 'utf8')), $4)",
        )
        .bind(invitation)
        .bind(organization)
        .bind(&token)
        .bind(owner.id)
        .execute(&world.owner)
        .await
        .unwrap();
        Self {
            organization,
            owner,
            colleague,
            other,
            customer,
            order,
            line,
            other_order,
            project,
            project_member,
            project_order,
            deleted_order,
            deleted_project,
            token,
            invitation,
        }
    }
}
