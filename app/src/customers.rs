//! Customers: master data, small and looked up everywhere.

use leptos::prelude::*;
use millstream::calls::Reading;
use millstream::key::Dependency;
use millstream::live::{ListQuery, NoParameters};
use millstream::requests::Requests;
use millstream::{ApiError, Live, MutationId, OrganizationId, Read};
use serde::{Deserialize, Serialize};

millstream::id!(CustomerId);

/// A customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Customer {
    pub id: CustomerId,
    pub name: String,
}

/// The live table `customers`.
pub struct Customers;

impl Live for Customers {
    const TABLE: &'static str = "customers";
}

impl ListQuery for Customers {
    type Parameters = NoParameters;
    type List = Vec<Customer>;

    fn list_depends(_: &NoParameters) -> Vec<Dependency> {
        vec![Dependency::all("customers")]
    }

    async fn fetch_list(
        organization: OrganizationId,
        _: NoParameters,
        pending: Vec<MutationId>,
    ) -> Result<Read<Vec<Customer>>, ApiError> {
        customers(organization, pending).await
    }
}

/// The organization's customers, by name.
#[server(name = ListCustomers, prefix = "/api", endpoint = "customers/list", protocol = Reading, client = Requests)]
pub async fn customers(
    organization: OrganizationId,
    #[server(default)] pending: Vec<MutationId>,
) -> Result<Read<Vec<Customer>>, ApiError> {
    let (lists, person) = crate::request::begin_list()?;
    lists.customers.read(person, &pending, organization, ()).await
}

#[cfg(feature = "ssr")]
pub(crate) async fn customers_of(
    transaction: &mut sqlx::PgConnection,
    organization: OrganizationId,
) -> Result<Vec<Customer>, ApiError> {
    use crate::tenancy::{Action, Module};
    crate::request::require(transaction, organization, Module::Customers, Action::View).await?;
    let rows: Vec<(uuid::Uuid, String)> =
        sqlx::query_as("select id, name from customers where organization_id = $1 order by name, id")
            .bind(organization.0)
            .fetch_all(transaction)
            .await?;
    Ok(rows.into_iter().map(|(id, name)| Customer { id: CustomerId(id), name }).collect())
}
