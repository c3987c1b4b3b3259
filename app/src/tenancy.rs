//! Who there is and who may do what: roles, permissions, the session, organizations and their members.

pub mod api;
pub mod entry;
pub mod invitation;
pub mod members;
pub mod mutations;
pub mod organizations;
pub mod session;

#[cfg(feature = "ssr")]
pub(crate) use api::members_of;
use millstream::key::Dependency;
use millstream::live::{ListQuery, NoParameters};
use millstream::{ApiError, Live, MutationId, OrganizationId, PersonId, Read};
use serde::{Deserialize, Serialize};

/// Makes an enum whose names are the same in SQL, in JSON, in the URL and in Rust.
#[macro_export]
macro_rules! closed_set {
    ($(#[$about:meta])* $name:ident { $($variant:ident = $text:literal, $label:literal;)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $(#[serde(rename = $text)] $variant,)+
        }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// As it stands in the database, in JSON and in the URL.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// As people read it.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = millstream::ApiError;
            fn from_str(text: &str) -> Result<Self, millstream::ApiError> {
                Self::ALL.iter().copied().find(|one| one.name() == text).ok_or_else(|| {
                    millstream::ApiError::field(stringify!($name), format!("there is no {text:?}"))
                })
            }
        }
    };
}

closed_set! {
    /// What a person is in an organization.
    Role {
        Owner = "owner", "Owner";
        Admin = "admin", "Admin";
        Planner = "planner", "Planner";
        Sales = "sales", "Sales";
        Operator = "operator", "Operator";
        Viewer = "viewer", "Viewer";
        Buyer = "buyer", "Buyer";
        Supplier = "supplier", "Supplier";
    }
}

closed_set! {
    /// What rights are given for.
    Module {
        Organization = "organization", "the organization";
        Members = "members", "members";
        Customers = "customers", "customers";
        Sales = "sales", "orders";
        Projects = "projects", "projects";
    }
}

closed_set! {
    /// What may be done in a module.
    Action {
        View = "view", "see";
        Create = "create", "create";
        Update = "update", "change";
        Delete = "delete", "delete";
    }
}

/// The person who is signed in, and where they belong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Me {
    pub id: PersonId,
    pub name: String,
    pub email: String,
    pub organizations: Vec<Belonging>,
}

impl Me {
    /// What the person is in the organization.
    pub fn belonging(&self, organization: OrganizationId) -> Option<&Belonging> {
        self.organizations.iter().find(|belonging| belonging.id == organization)
    }
}

/// An organization as its member sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Belonging {
    pub id: OrganizationId,
    pub name: String,
    pub role: Role,
    pub members: i64,
    pub permissions: Vec<Permission>,
}

impl Belonging {
    pub fn may(&self, module: Module, action: Action) -> bool {
        self.permissions.iter().any(|permission| permission.module == module && permission.actions.contains(&action))
    }
}

/// What the role may do in a module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Permission {
    pub module: Module,
    pub actions: Vec<Action>,
}

/// A member, as the members see each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub membership: uuid::Uuid,
    pub person_id: PersonId,
    pub name: String,
    pub email: String,
    pub role: Role,
}

/// The live table `memberships`, listed as the organization's members.
pub struct Members;

impl Live for Members {
    const TABLE: &'static str = "memberships";
}

impl ListQuery for Members {
    type Parameters = NoParameters;
    type List = Vec<Member>;

    fn list_depends(_: &NoParameters) -> Vec<Dependency> {
        vec![Dependency::all("memberships")]
    }

    async fn fetch_list(
        organization: OrganizationId,
        _: NoParameters,
        pending: Vec<MutationId>,
    ) -> Result<Read<Vec<Member>>, ApiError> {
        api::members(organization, pending).await
    }
}

/// Whether the organization has this member, as far as the person who asks may see.
#[cfg(feature = "ssr")]
pub(crate) async fn is_member(
    transaction: &mut sqlx::PgConnection,
    organization: OrganizationId,
    person: PersonId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select from memberships where organization_id = $1 and person_id = $2)")
        .bind(organization.0)
        .bind(person.0)
        .fetch_one(transaction)
        .await
}
