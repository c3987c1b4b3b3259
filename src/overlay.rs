//! Optimistic mutations: what lies over the server's values until they have caught up. Pure.
//!
//! `shown = pending mutations, in order, over the server's value`. A refusal takes away that one mutation; the rest are
//! laid over the truth again. There is no snapshot-and-rollback anywhere.

use crate::error::ApiError;
use crate::key::{OrganizationId, QueryKey, Shape};
use crate::live::{ListQuery, RecordQuery, Value};
use crate::wire::Written;
use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use uuid::Uuid;

crate::id!(
    /// Made by the client, once a mutation: however often it is sent, it is carried out once, and answered the same.
    MutationId
);

/// A value of any query. The key's table and shape say which type it has.
pub type AnyValue = Arc<dyn Any + Send + Sync>;

/// A write: how it is sent, and how it looks until the server's values contain it.
pub trait Mutation: Clone + Send + Sync + 'static {
    type Output: Value;

    fn organization(&self) -> OrganizationId;

    /// The records that it changes. Mutations that share one are sent one after the other, in order.
    fn records(&self) -> Vec<Uuid>;

    /// What did not happen if it is refused, for messages: "The change was not saved".
    fn label(&self) -> &'static str;

    /// What the person typed, to be given back if it is refused.
    fn typed(&self) -> Option<String> {
        None
    }

    /// How it looks, pending, on every query that shows what it changes. Applied again whenever the value below
    /// changes, so it only describes the change and decides nothing.
    fn show(&self, on: &mut Shown<'_>);

    /// The query whose value the answer's data are (`Output` is that query's type), so that they are cached and not
    /// fetched.
    fn answers(&self) -> Option<QueryKey> {
        None
    }

    fn send(self, id: MutationId) -> impl Future<Output = Result<Written<Self::Output>, ApiError>> + Send;
}

/// A query's value, handed to [`Mutation::show`] to be changed if it is one that the mutation touches.
pub struct Shown<'a> {
    key: &'a QueryKey,
    organization: OrganizationId,
    value: Option<AnyValue>,
    purpose: Purpose,
    touched: bool,
}

#[derive(PartialEq)]
enum Purpose {
    Change,
    /// Only find out whether the key is touched.
    Probe,
}

impl<'a> Shown<'a> {
    fn over(key: &'a QueryKey, organization: OrganizationId, value: Option<AnyValue>, purpose: Purpose) -> Self {
        Self { key, organization, value, purpose, touched: false }
    }

    /// Changes the record with this id; `None` is a record that is not there.
    pub fn record<L: RecordQuery>(&mut self, id: L::Id, change: impl FnOnce(&mut Option<L::Record>)) {
        let here = self.key.organization == self.organization
            && self.key.table == L::TABLE
            && self.key.shape == Shape::Record(id.into());
        if !here {
            return;
        }
        self.touched = true;
        if self.purpose == Purpose::Change {
            let mut record = self.value.as_ref().and_then(|value| value.downcast_ref::<L::Record>()).cloned();
            change(&mut record);
            self.value = record.map(|record| Arc::new(record) as AnyValue);
        }
    }

    /// Changes every list of the table that has a value, given its parameters.
    pub fn lists<L: ListQuery>(&mut self, change: impl FnOnce(&L::Parameters, &mut L::List)) {
        let Shape::List(parameters) = &self.key.shape else { return };
        if self.key.organization != self.organization || self.key.table != L::TABLE {
            return;
        }
        self.touched = true;
        if self.purpose == Purpose::Probe {
            return;
        }
        let list = self.value.as_ref().and_then(|value| value.downcast_ref::<L::List>()).cloned();
        // The key's text was written from such parameters by this very type.
        if let (Some(mut list), Ok(parameters)) = (list, serde_json::from_str(parameters)) {
            change(&parameters, &mut list);
            self.value = Some(Arc::new(list));
        }
    }
}

/// A [`Mutation`] whose type is forgotten, for the list of what is pending.
pub trait PendingMutation: Send + Sync {
    fn organization(&self) -> OrganizationId;
    fn records(&self) -> Vec<Uuid>;
    fn label(&self) -> &'static str;
    fn typed(&self) -> Option<String>;
    /// The value with this mutation over it.
    fn over(&self, key: &QueryKey, value: Option<AnyValue>) -> Option<AnyValue>;
    /// Whether the key can show it.
    fn touches(&self, key: &QueryKey) -> bool;
    /// The query whose value the answer brings.
    fn answers(&self) -> Option<QueryKey>;
}

impl<M: Mutation> PendingMutation for M {
    fn organization(&self) -> OrganizationId {
        Mutation::organization(self)
    }

    fn records(&self) -> Vec<Uuid> {
        Mutation::records(self)
    }

    fn label(&self) -> &'static str {
        Mutation::label(self)
    }

    fn typed(&self) -> Option<String> {
        Mutation::typed(self)
    }

    fn over(&self, key: &QueryKey, value: Option<AnyValue>) -> Option<AnyValue> {
        let mut shown = Shown::over(key, Mutation::organization(self), value, Purpose::Change);
        self.show(&mut shown);
        shown.value
    }

    fn answers(&self) -> Option<QueryKey> {
        Mutation::answers(self)
    }

    fn touches(&self, key: &QueryKey) -> bool {
        let mut shown = Shown::over(key, Mutation::organization(self), None, Purpose::Probe);
        self.show(&mut shown);
        shown.touched
    }
}
