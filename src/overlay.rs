//! Optimistic mutations: what lies over the server's values until they have caught up. Pure.
//!
//! `shown = pending mutations, in order, over the server's value`. A refusal takes away that one mutation; the rest are
//! laid over the truth again. There is no snapshot-and-rollback anywhere.

use crate::error::ApiError;
use crate::key::{OrganizationId, QueryKey, Shape};
use crate::live::{ListQuery, RecordQuery, Value};
use crate::snapshot::{Stamp, Xid};
use crate::wire::Written;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use uuid::Uuid;

crate::id!(
    /// Made by the client, once a mutation: however often it is sent, it is carried out once, and answered the same.
    MutationId
);

impl MutationId {
    /// When it was made, in milliseconds since 1970 (it is a UUIDv7); 0 for an id of another kind.
    pub fn made_at(self) -> u64 {
        self.0.get_timestamp().map_or(0, |stamp| {
            let (seconds, nanos) = stamp.to_unix();
            seconds * 1000 + u64::from(nanos / 1_000_000)
        })
    }
}

/// A value of any query. The key's table and shape say which type it has.
pub type AnyValue = Arc<dyn Any + Send + Sync>;

/// A write: how it is sent, and how it looks until the server's values contain it.
///
/// It is plain data, for it may have to outlive the page: what was made offline is written to the outbox and sent by
/// whichever page comes next, perhaps of a later release. So its form changes only in ways that serde can read.
pub trait Mutation: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What it is called in the outbox: one name for one type, kept over releases.
    const NAME: &'static str;

    type Output: Value;

    fn organization(&self) -> OrganizationId;

    /// The records that it changes. Mutations that share one are sent one after the other, in order.
    fn records(&self) -> Vec<Uuid>;

    /// What it does, as the person would say it: "Rename to “Gears”". Shown while it waits, when it is refused, and
    /// beside "Undo".
    fn label(&self) -> String;

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

    /// What takes it back; none where nothing does.
    fn inverse(&self) -> Option<AnyMutation> {
        None
    }

    /// Whether it takes something off the screen, so that the page offers to take it back.
    fn takes_away(&self) -> bool {
        false
    }

    /// The same change with another text typed, which the person has thought better of; none where nothing was typed, or
    /// this cannot be it.
    fn retyped(&self, text: &str) -> Option<Self> {
        let _ = text;
        None
    }

    /// What is disputed after a refusal with 409, given the row as it is now.
    fn disputes(&self, current: &serde_json::Value) -> Vec<Dispute> {
        let _ = current;
        Vec::new()
    }

    /// The same change begun from the row as it is now: "keep mine".
    fn rebased(&self, current: &serde_json::Value) -> Option<Self> {
        let _ = current;
        None
    }

    /// Sends it: calls one server function whose protocol is [`crate::calls::Writing`], before it awaits anything. So mutations
    /// that have waited can go in one request.
    fn send(self, id: MutationId) -> impl Future<Output = Result<Written<Self::Output>, ApiError>> + Send;
}

/// A field that the person and somebody else changed to different values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispute {
    /// The row whose field it is.
    pub row: Uuid,
    /// What a person calls the field.
    pub field: &'static str,
    pub mine: String,
    pub theirs: String,
    /// Who last changed the row.
    pub by: Option<String>,
    /// When, in milliseconds since 1970.
    pub at: Option<i64>,
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
            let mut record = self.take::<L::Record>();
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
        // The key's text was written from such parameters by this very type.
        let Ok(parameters) = serde_json::from_str(parameters) else { return };
        if let Some(mut list) = self.take::<L::List>() {
            change(&parameters, &mut list);
            self.value = Some(Arc::new(list));
        }
    }

    /// The value, to be changed. Copied only where somebody else holds it too: of many mutations over one value, the first
    /// copies it.
    fn take<V: Value>(&mut self) -> Option<V> {
        self.value.take().and_then(|value| value.downcast::<V>().ok()).map(Arc::unwrap_or_clone)
    }
}

/// A mutation's answer, with the value that it brings.
pub struct Answer {
    /// Absent where nothing was changed.
    pub xid: Option<Xid>,
    pub stamp: Stamp,
    pub value: Option<(QueryKey, AnyValue)>,
}

/// A [`Mutation`] whose type is forgotten.
pub type AnyMutation = Arc<dyn ErasedMutation>;

/// What [`AnyMutation`] can do: all that a [`Mutation`] can.
pub trait ErasedMutation: Send + Sync {
    fn name(&self) -> &'static str;
    /// As JSON, for the outbox.
    fn body(&self) -> String;
    fn organization(&self) -> OrganizationId;
    fn records(&self) -> Vec<Uuid>;
    fn label(&self) -> String;
    fn typed(&self) -> Option<String>;
    /// The value with this mutation over it.
    fn over(&self, key: &QueryKey, value: Option<AnyValue>) -> Option<AnyValue>;
    /// Whether the key can show it.
    fn touches(&self, key: &QueryKey) -> bool;
    /// The query whose value the answer brings.
    fn answers(&self) -> Option<QueryKey>;
    fn inverse(&self) -> Option<AnyMutation>;
    fn takes_away(&self) -> bool;
    fn disputes(&self, current: &serde_json::Value) -> Vec<Dispute>;
    fn rebased(&self, current: &serde_json::Value) -> Option<AnyMutation>;
    fn retyped(&self, text: &str) -> Option<AnyMutation>;
    fn send(&self, id: MutationId) -> Pin<Box<dyn Future<Output = Result<Answer, ApiError>> + Send>>;
}

impl<M: Mutation> ErasedMutation for M {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn body(&self) -> String {
        // Mutations are plain data; one that serde_json cannot write is a bug that its first use shows.
        #[allow(clippy::expect_used)]
        serde_json::to_string(self).expect("mutations can be written as JSON")
    }

    fn organization(&self) -> OrganizationId {
        Mutation::organization(self)
    }

    fn records(&self) -> Vec<Uuid> {
        Mutation::records(self)
    }

    fn label(&self) -> String {
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

    fn inverse(&self) -> Option<AnyMutation> {
        Mutation::inverse(self)
    }

    fn takes_away(&self) -> bool {
        Mutation::takes_away(self)
    }

    fn disputes(&self, current: &serde_json::Value) -> Vec<Dispute> {
        Mutation::disputes(self, current)
    }

    fn rebased(&self, current: &serde_json::Value) -> Option<AnyMutation> {
        Mutation::rebased(self, current).map(|rebased| Arc::new(rebased) as AnyMutation)
    }

    fn retyped(&self, text: &str) -> Option<AnyMutation> {
        Mutation::retyped(self, text).map(|retyped| Arc::new(retyped) as AnyMutation)
    }

    fn send(&self, id: MutationId) -> Pin<Box<dyn Future<Output = Result<Answer, ApiError>> + Send>> {
        let mutation = self.clone();
        let answers = Mutation::answers(self);
        Box::pin(async move {
            let written = Mutation::send(mutation, id).await?;
            let (xid, stamp) = (written.xid, written.stamp());
            Ok(Answer { xid, stamp, value: answers.map(|key| (key, Arc::new(written.data) as AnyValue)) })
        })
    }
}
