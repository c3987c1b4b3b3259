//! Organizations, members and invitations: server functions under `/api/organizations`.

use super::session::Done;
use super::{Belonging, Member, Role};
use crate::customers::CustomerId;
use leptos::prelude::*;
use millstream::calls::{Reading, Writing};
use millstream::requests::Requests;
use millstream::{ApiError, MutationId, OrganizationId, PersonId, Read, Written};
use serde::{Deserialize, Serialize};

/// A link that makes whoever opens it a member. It is shown once and stored nowhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Invited {
    /// The path to open, with the token.
    pub path: String,
    pub role: Role,
}

/// What an invitation is for, for whoever holds its link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Invitation {
    pub organization_id: OrganizationId,
    pub organization: String,
    pub role: Role,
    pub invited_by: String,
    pub state: InvitationState,
}

crate::closed_set! {
    /// Whether an invitation can still be accepted.
    InvitationState {
        Open = "open", "Open";
        Accepted = "accepted", "Accepted";
        Expired = "expired", "Expired";
    }
}

/// The organizations of the person.
#[server(prefix = "/api", endpoint = "organizations/list", protocol = Reading, client = Requests)]
pub async fn organizations() -> Result<Read<Vec<Belonging>>, ApiError> {
    let (database, person) = crate::request::begin()?;
    let Read { data, snapshot, epoch, contains } = super::session::acting::me(&database, person).await?;
    Ok(Read { data: data.organizations, snapshot, epoch, contains })
}

/// Makes an organization, with the person as its owner. The id is the client's, so that a repeat is no second one.
#[server(prefix = "/api", endpoint = "organizations/create", protocol = Writing, client = Requests)]
pub async fn create_organization(
    mutation_id: MutationId,
    id: OrganizationId,
    name: String,
) -> Result<Written<OrganizationId>, ApiError> {
    use millstream::sql::Outcome;
    let (database, person) = crate::request::begin()?;
    let name = crate::request::text("name", &name, 100)?;
    let payload = ("organizations/create", id, &name);
    let its_name = name.clone();
    let written = database.write(
        (person, mutation_id),
        None,
        &payload,
        move |transaction| {
            Box::pin(async move {
                sqlx::query("select create_organization($1, $2)")
                    .bind(id.0)
                    .bind(its_name)
                    .execute(transaction)
                    .await?;
                Ok(Outcome::Changed)
            })
        },
        move |_| Box::pin(async move { Ok(id) }),
    );
    written.await
}

/// The members of the organization, by name.
#[server(prefix = "/api", endpoint = "organizations/members", protocol = Reading, client = Requests)]
pub async fn members(
    organization: OrganizationId,
    #[server(default)] pending: Vec<MutationId>,
) -> Result<Read<Vec<Member>>, ApiError> {
    let (lists, person) = crate::request::begin_list()?;
    lists.members.read(person, &pending, organization, ()).await
}

/// Makes an invitation for one role, and gives its link.
#[server(prefix = "/api", endpoint = "organizations/invite", protocol = Writing, client = Requests)]
pub async fn invite(
    organization: OrganizationId,
    mutation_id: MutationId,
    role: Role,
    #[server(default)] customer_id: Option<CustomerId>,
) -> Result<Written<Invited>, ApiError> {
    acting::invite(organization, mutation_id, role, customer_id).await
}

/// Gives a member another role.
#[server(prefix = "/api", endpoint = "organizations/set_role", protocol = Writing, client = Requests)]
pub async fn set_role(
    organization: OrganizationId,
    mutation_id: MutationId,
    person_id: PersonId,
    role: Role,
    #[server(default)] customer_id: Option<CustomerId>,
) -> Result<Written<Vec<Member>>, ApiError> {
    acting::set_role(organization, mutation_id, person_id, role, customer_id).await
}

/// Removes a member; their open screens of the organization end at once.
#[server(prefix = "/api", endpoint = "organizations/remove_member", protocol = Writing, client = Requests)]
pub async fn remove_member(
    organization: OrganizationId,
    mutation_id: MutationId,
    person_id: PersonId,
) -> Result<Written<Done>, ApiError> {
    acting::remove_member(organization, mutation_id, person_id).await
}

/// What the invitation with this token is for.
#[server(name = ReadInvitation, prefix = "/api", endpoint = "organizations/invitation", protocol = Reading, client = Requests)]
pub async fn invitation(token: String) -> Result<Invitation, ApiError> {
    acting::invitation(token).await
}

/// Joins the organization of the invitation, and gives its id.
#[server(prefix = "/api", endpoint = "organizations/accept", protocol = Writing, client = Requests)]
pub async fn accept(mutation_id: MutationId, token: String) -> Result<Written<OrganizationId>, ApiError> {
    acting::accept(mutation_id, token).await
}

#[cfg(feature = "ssr")]
pub(crate) use acting::members_of;

#[cfg(feature = "ssr")]
mod acting {
    use super::super::session::Done;
    use super::super::session::acting::hash_of;
    use super::super::{Action, Member, Module, Role};
    use super::{Invitation, Invited};
    use crate::customers::CustomerId;
    use crate::request::{begin, require, services};
    use millstream::sql::{Actor, Outcome, step};
    use millstream::{ApiError, Kind, MutationId, OrganizationId, PersonId, Written};
    use sha2::{Digest, Sha256};
    use sqlx::PgConnection;
    use uuid::Uuid;

    pub(crate) async fn members_of(
        transaction: &mut PgConnection,
        organization: OrganizationId,
    ) -> Result<Vec<Member>, ApiError> {
        require(transaction, organization, Module::Members, Action::View).await?;
        let rows: Vec<(Uuid, Uuid, String, String, String)> = sqlx::query_as(
            "select m.id, m.person_id, p.name, p.email, m.role
             from memberships m join profiles p on p.id = m.person_id
             where m.organization_id = $1
             order by p.name, p.id",
        )
        .bind(organization.0)
        .fetch_all(transaction)
        .await?;
        rows.into_iter()
            .map(|(membership, person, name, email, role)| {
                Ok(Member { membership, person_id: PersonId(person), name, email, role: role.parse()? })
            })
            .collect()
    }

    fn bound(role: Role, customer: Option<CustomerId>) -> Result<(), ApiError> {
        match (role, customer) {
            (Role::Buyer, None) => Err(ApiError::field("customer_id", "a buyer belongs to a customer: choose one")),
            (Role::Buyer, Some(_)) | (_, None) => Ok(()),
            (_, Some(_)) => Err(ApiError::field("customer_id", "only a buyer belongs to a customer")),
        }
    }

    pub(super) async fn invite(
        organization: OrganizationId,
        mutation_id: MutationId,
        role: Role,
        customer: Option<CustomerId>,
    ) -> Result<Written<Invited>, ApiError> {
        let (database, person) = begin()?;
        bound(role, customer)?;
        // The link's secret follows from the mutation and from one of the server's, so that a repeat gives the same
        // link although only its hash is stored.
        let token = token_for(&database, person, mutation_id).await?;
        let token_hash = hash_of(&token);
        let change = step(move |transaction| {
            Box::pin(async move {
                require(transaction, organization, Module::Members, Action::Create).await?;
                sqlx::query(
                    "insert into invitations (id, organization_id, role, customer_id, token_hash, invited_by)
                     values ($1, $2, $3, $4, $5, $6)",
                )
                .bind(Uuid::now_v7())
                .bind(organization.0)
                .bind(role.name())
                .bind(customer.map(|customer| customer.0))
                .bind(token_hash)
                .bind(person.0)
                .execute(transaction)
                .await?;
                Ok(Outcome::Changed)
            })
        });
        let read = step(move |transaction| {
            Box::pin(async move {
                require(transaction, organization, Module::Members, Action::Create).await?;
                Ok(Invited { path: String::new(), role })
            })
        });
        let payload = ("organizations/invite", organization, role, customer);
        let mut written = database.write((person, mutation_id), Some(organization), &payload, change, read).await?;
        // Added after the answer was stored: the link stands nowhere in the database.
        written.data.path = format!("/join/{token}");
        Ok(written)
    }

    async fn token_for(
        database: &millstream::sql::Database,
        person: PersonId,
        mutation: MutationId,
    ) -> Result<String, ApiError> {
        let secret: Vec<u8> =
            sqlx::query_scalar("select millstream.invitation_secret()").fetch_one(&database.app).await?;
        let mut hash = Sha256::new();
        hash.update(secret);
        hash.update(person.0.as_bytes());
        hash.update(mutation.0.as_bytes());
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub(super) async fn set_role(
        organization: OrganizationId,
        mutation_id: MutationId,
        member: PersonId,
        role: Role,
        customer: Option<CustomerId>,
    ) -> Result<Written<Vec<Member>>, ApiError> {
        let (database, person) = begin()?;
        bound(role, customer)?;
        let change = step(move |transaction| {
            Box::pin(async move {
                require(transaction, organization, Module::Members, Action::Update).await?;
                let current: Option<(String, Option<Uuid>)> = sqlx::query_as(
                    "select role, customer_id from memberships where organization_id = $1 and person_id = $2",
                )
                .bind(organization.0)
                .bind(member.0)
                .fetch_optional(&mut *transaction)
                .await?;
                let current = current.ok_or_else(|| ApiError::not_found("member"))?;
                let wanted = (role.name().to_owned(), customer.map(|customer| customer.0));
                if current == wanted {
                    return Ok(Outcome::Unchanged);
                }
                sqlx::query(
                    "update memberships set role = $3, customer_id = $4 where organization_id = $1 and person_id = $2",
                )
                .bind(organization.0)
                .bind(member.0)
                .bind(wanted.0)
                .bind(wanted.1)
                .execute(transaction)
                .await?;
                Ok(Outcome::Changed)
            })
        });
        // Who has just given up the right to see members still gets an answer, an empty one.
        let read = step(move |transaction| {
            Box::pin(async move {
                match members_of(transaction, organization).await {
                    Err(error) if error.kind == Kind::Forbidden => Ok(Vec::new()),
                    other => other,
                }
            })
        });
        let payload = ("organizations/set_role", organization, member, role, customer);
        database.write((person, mutation_id), Some(organization), &payload, change, read).await
    }

    pub(super) async fn remove_member(
        organization: OrganizationId,
        mutation_id: MutationId,
        member: PersonId,
    ) -> Result<Written<Done>, ApiError> {
        let (database, person) = begin()?;
        let change = step(move |transaction| {
            Box::pin(async move {
                // One may always leave; to remove somebody else is a right.
                let action = if member == person { Action::View } else { Action::Delete };
                let module = if member == person { Module::Organization } else { Module::Members };
                require(transaction, organization, module, action).await?;
                let removed = sqlx::query("delete from memberships where organization_id = $1 and person_id = $2")
                    .bind(organization.0)
                    .bind(member.0)
                    .execute(transaction)
                    .await?;
                if removed.rows_affected() == 0 { Err(ApiError::not_found("member")) } else { Ok(Outcome::Changed) }
            })
        });
        let payload = ("organizations/remove_member", organization, member);
        // Who has left is told so too, however often they ask.
        let about = (member != person).then_some(organization);
        database.write((person, mutation_id), about, &payload, change, |_| Box::pin(async { Ok(Done {}) })).await
    }

    fn token_hash(token: &str) -> Result<Vec<u8>, ApiError> {
        if token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(hash_of(token))
        } else {
            Err(ApiError::new(Kind::NotFound, "This invitation does not exist. Was the link copied whole?"))
        }
    }

    pub(super) async fn invitation(token: String) -> Result<Invitation, ApiError> {
        let database = services()?.database;
        let token_hash = token_hash(&token)?;
        let read = database.run(Actor::Nobody, move |transaction| {
            Box::pin(async move {
                let found: Option<(Uuid, String, String, String, String)> = sqlx::query_as(
                    "select organization_id, organization_name, role, invited_by, state from invitation_of($1)",
                )
                .bind(token_hash)
                .fetch_optional(transaction)
                .await?;
                let (organization, name, role, invited_by, state) =
                    found.ok_or_else(|| ApiError::new(Kind::NotFound, "This invitation does not exist."))?;
                Ok(Invitation {
                    organization_id: OrganizationId(organization),
                    organization: name,
                    role: role.parse()?,
                    invited_by,
                    state: state.parse()?,
                })
            })
        });
        read.await
    }

    pub(super) async fn accept(mutation_id: MutationId, token: String) -> Result<Written<OrganizationId>, ApiError> {
        let (database, person) = begin()?;
        let token_hash = token_hash(&token)?;
        let payload = ("organizations/accept", &token_hash);
        let (accepted, told) = (token_hash.clone(), token_hash.clone());
        let change = step(move |transaction| {
            Box::pin(async move {
                let is_joined: bool =
                    sqlx::query_scalar("select accept_invitation($1)").bind(accepted).fetch_one(transaction).await?;
                Ok(if is_joined { Outcome::Changed } else { Outcome::Unchanged })
            })
        });
        let read = step(move |transaction| {
            Box::pin(async move {
                let organization: Uuid = sqlx::query_scalar("select organization_id from invitation_of($1)")
                    .bind(told)
                    .fetch_one(transaction)
                    .await?;
                Ok(OrganizationId(organization))
            })
        });
        database.write((person, mutation_id), None, &payload, change, read).await
    }
}
