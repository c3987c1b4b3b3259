//! How a table is declared live in Rust: its name, what its list and its record give, and what they read.
//! The declaration in SQL is one call of `millstream.make_live`; the server compares both at start.

use crate::error::ApiError;
use crate::key::{Dependency, OrganizationId, QueryKey, Shape};
use crate::overlay::MutationId;
use crate::wire::Read;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::future::Future;
use uuid::Uuid;

/// What can be the value of a query.
pub trait Value: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {}
impl<T: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static> Value for T {}

/// The parameters of a list that has none: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParameters {}

/// A live table.
pub trait Live: Sized + Send + Sync + 'static {
    /// Its name in the database.
    const TABLE: &'static str;
}

/// A live table that can be listed.
pub trait ListQuery: Live {
    /// What the list is asked with. Part of the key: equal parameters are one query.
    type Parameters: Value;
    type List: Value;

    /// The rows that the list reads. The conditions may only leave out what can never be in it.
    fn list_depends(parameters: &Self::Parameters) -> Vec<Dependency>;

    /// Asks the server. `pending` are the mutations whose outcome is not known yet; the answer says which it contains.
    fn fetch_list(
        organization: OrganizationId,
        parameters: Self::Parameters,
        pending: Vec<MutationId>,
    ) -> impl Future<Output = Result<Read<Self::List>, ApiError>> + Send;

    /// The key of the list.
    fn list_key(organization: OrganizationId, parameters: &Self::Parameters) -> QueryKey {
        // Parameters are plain data; one that serde_json cannot write has no key to tell it from others.
        #[allow(clippy::expect_used)]
        let text = serde_json::to_string(parameters).expect("list parameters can be written as JSON");
        QueryKey { organization, table: Self::TABLE, shape: Shape::List(text) }
    }
}

/// A live table whose records can be read one by one.
pub trait RecordQuery: Live {
    type Id: Copy + PartialEq + Into<Uuid> + From<Uuid> + Send + Sync + 'static;
    type Record: Value;

    /// The rows that the record reads: its own, and those of its parts.
    fn record_depends(id: Self::Id) -> Vec<Dependency>;

    /// Asks the server; see [`ListQuery::fetch_list`].
    fn fetch_record(
        organization: OrganizationId,
        id: Self::Id,
        pending: Vec<MutationId>,
    ) -> impl Future<Output = Result<Read<Self::Record>, ApiError>> + Send;

    /// The key of the record.
    fn record_key(organization: OrganizationId, id: Self::Id) -> QueryKey {
        QueryKey { organization, table: Self::TABLE, shape: Shape::Record(id.into()) }
    }
}
