//! What a query is called, and what it depends on: keys, facets, dependencies. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use uuid::Uuid;

/// Makes a newtype over [`Uuid`] with what every id needs.
#[macro_export]
macro_rules! id {
    ($(#[$about:meta])* $name:ident) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub uuid::Uuid);

        impl $name {
            /// An id made here and now (UUIDv7: ids made later sort later).
            pub fn fresh() -> Self {
                Self(uuid::Uuid::now_v7())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(to)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    };
}

id!(
    /// A tenant.
    OrganizationId
);
impl OrganizationId {
    /// Of no organization: what a query asks that is the person's own.
    pub const NONE: Self = Self(Uuid::nil());
}

id!(
    /// A human being with one account.
    PersonId
);

/// The name of a query, and its identity in every cache, frame and index.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueryKey {
    pub organization: OrganizationId,
    /// A live table's name, or that of a query that is none.
    pub table: &'static str,
    pub shape: Shape,
}

/// Which of a table's two queries, or that it is of none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// The list with these parameters, written as JSON by their own type: equal parameters are equal texts.
    List(String),
    Record(Uuid),
    /// Any other question, with its parameters written as JSON: nobody tells when its answer changes.
    Unwatched(String),
}

impl fmt::Display for QueryKey {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shape {
            Shape::List(parameters) => write!(to, "{}/{} {parameters}", self.organization, self.table),
            Shape::Record(id) => write!(to, "{}/{}/{id}", self.organization, self.table),
            Shape::Unwatched(parameters) => write!(to, "{}/{}?{parameters}", self.organization, self.table),
        }
    }
}

impl QueryKey {
    /// Whether it is of a live table: then its values have snapshots, and its changes are told.
    pub fn is_live(&self) -> bool {
        !matches!(self.shape, Shape::Unwatched(_))
    }

    /// Reads back what [`fmt::Display`] wrote. `table` gives the live table of that name; a key of a table that this
    /// release does not know is none.
    pub fn parse(text: &str, table: impl Fn(&str) -> Option<&'static str>) -> Option<Self> {
        let (organization, rest) = text.split_once('/')?;
        let organization = organization.parse().ok()?;
        let (name, rest_of_key) = rest.split_once(['/', ' ', '?'])?;
        let shape = match rest.as_bytes()[name.len()] {
            b'/' => Shape::Record(rest_of_key.parse().ok()?),
            b' ' => Shape::List(rest_of_key.to_owned()),
            _ => Shape::Unwatched(rest_of_key.to_owned()),
        };
        Some(Self { organization, table: table(name)?, shape })
    }
}

/// A value of a column on whose equality SQL and Rust cannot disagree.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Facet {
    Null,
    Bool(bool),
    Integer(i64),
    /// Texts, and ids as PostgreSQL's JSON writes them: lower case, with hyphens.
    Text(String),
}

impl From<Uuid> for Facet {
    fn from(id: Uuid) -> Self {
        Facet::Text(id.to_string())
    }
}

impl Facet {
    /// None for what equality proves nothing about (fractions, arrays, objects).
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(Facet::Null),
            Value::Bool(truth) => Some(Facet::Bool(*truth)),
            Value::Number(number) => number.as_i64().map(Facet::Integer),
            Value::String(text) => Some(Facet::Text(text.clone())),
            Value::Array(_) | Value::Object(_) => None,
        }
    }
}

/// The name that a row's own id goes by in a dependency.
pub const ID: &str = "id";

/// Rows that a query reads: those of `table` in the key's organization that meet every condition. A change to any of
/// them, in its old or its new version, makes the query's value stale.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dependency {
    pub table: &'static str,
    pub conditions: Vec<Condition>,
}

/// `facet` has one of `values`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    pub facet: &'static str,
    pub values: Vec<Facet>,
}

impl Dependency {
    /// Every row of the table.
    pub fn all(table: &'static str) -> Self {
        Self { table, conditions: Vec::new() }
    }

    /// The row with this id.
    pub fn row(table: &'static str, id: Uuid) -> Self {
        Self::all(table).with(ID, id)
    }

    /// Narrows to rows whose facet has the value.
    pub fn with(self, facet: &'static str, value: impl Into<Facet>) -> Self {
        self.with_any(facet, vec![value.into()])
    }

    /// Narrows to rows whose facet has one of the values.
    pub fn with_any(mut self, facet: &'static str, values: Vec<Facet>) -> Self {
        self.conditions.push(Condition { facet, values });
        self
    }

    /// Whether a change of the row could change what the query gives: its old or its new version meets all
    /// conditions. A facet that the event does not tell is no proof, so it counts as met.
    pub fn affected_by(&self, change: &Change) -> bool {
        let meets = |version: &Facets| {
            self.conditions.iter().all(|condition| match version.get(condition.facet) {
                Some(value) => condition.values.contains(value),
                // No row has one of no values.
                None => !condition.values.is_empty(),
            })
        };
        self.table == change.table && (change.old.as_ref().is_some_and(meets) || change.new.as_ref().is_some_and(meets))
    }
}

/// The facets of one version of a row, its id among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facets(pub Vec<(String, Facet)>);

impl Facets {
    pub fn get(&self, name: &str) -> Option<&Facet> {
        self.0.iter().find(|(facet, _)| facet == name).map(|(_, value)| value)
    }
}

/// A change of one row, as far as routing has to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub table: String,
    pub old: Option<Facets>,
    pub new: Option<Facets>,
}

/// A key on the wire, before the server has looked whether there is such a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WireKey {
    pub organization: OrganizationId,
    pub table: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Uuid>,
}

impl From<&QueryKey> for WireKey {
    fn from(key: &QueryKey) -> Self {
        let (list, record) = match &key.shape {
            // The text was written by serde_json, so it can be read back; were it not, the server would name it.
            Shape::List(parameters) => (Some(serde_json::from_str(parameters).unwrap_or_default()), None),
            Shape::Record(id) => (None, Some(*id)),
            // Never sent: there is nothing to watch.
            Shape::Unwatched(_) => (None, None),
        };
        Self { organization: key.organization, table: key.table.to_owned(), list, record }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facets(status: &str, customer: i64) -> Option<Facets> {
        Some(Facets(vec![
            ("status".to_owned(), Facet::Text(status.to_owned())),
            ("customer".to_owned(), Facet::Integer(customer)),
        ]))
    }

    #[test]
    fn a_list_is_left_alone_only_where_neither_version_matches() {
        let drafts_of_7 = Dependency::all("orders")
            .with("status", Facet::Text("draft".to_owned()))
            .with("customer", Facet::Integer(7));
        let change = |old, new| Change { table: "orders".to_owned(), old, new };
        let cases = [
            (facets("draft", 7), facets("draft", 7), true, "stays in"),
            (facets("draft", 7), facets("released", 7), true, "leaves"),
            (facets("released", 7), facets("draft", 7), true, "enters"),
            (facets("released", 7), facets("shipped", 7), false, "stays out"),
            (facets("draft", 8), facets("released", 7), false, "each version meets only half"),
            (None, facets("draft", 7), true, "is made"),
            (facets("draft", 7), None, true, "is deleted"),
            (None, facets("draft", 8), false, "is made elsewhere"),
        ];
        for (old, new, affected, what) in cases {
            assert_eq!(drafts_of_7.affected_by(&change(old, new)), affected, "a row that {what}");
        }
    }

    #[test]
    fn what_is_not_told_counts_as_met() {
        let by_colour = Dependency::all("orders").with("colour", Facet::Integer(1));
        assert!(by_colour.affected_by(&Change { table: "orders".to_owned(), old: None, new: facets("draft", 7) }));
    }

    #[test]
    fn a_key_is_read_back_as_it_was_written() {
        let organization = OrganizationId(Uuid::from_u128(7));
        let table = |name: &str| (name == "orders").then_some("orders");
        for shape in [
            Shape::Record(Uuid::from_u128(9)),
            Shape::List("{}".to_owned()),
            Shape::List(r#"{"sort":"a/b c?"}"#.to_owned()),
            Shape::Unwatched(r#"{"of":"a/b c"}"#.to_owned()),
        ] {
            let key = QueryKey { organization, table: "orders", shape };
            assert_eq!(QueryKey::parse(&key.to_string(), table), Some(key));
        }
        for text in [
            "",
            "orders/x",
            "00000000-0000-0000-0000-000000000007/lines {}",
            "00000000-0000-0000-0000-000000000007/orders",
        ] {
            assert_eq!(QueryKey::parse(text, table), None, "{text}");
        }
    }

    #[test]
    fn another_table_never_matches() {
        assert!(!Dependency::all("orders").affected_by(&Change {
            table: "lines".to_owned(),
            old: None,
            new: facets("draft", 7)
        }));
    }
}
