//! How an update says what it changes: for each field from what to what, so that two people who change different
//! fields both win, and two who change the same one are told.

use millstream::Dispute;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A field's change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change<T> {
    /// What the person saw.
    pub from: T,
    pub to: T,
}

impl<T: Clone> Change<T> {
    pub fn new(from: &T, to: T) -> Self {
        Self { from: from.clone(), to }
    }

    /// The change that takes this one back.
    pub fn inverse(&self) -> Self {
        Self { from: self.to.clone(), to: self.from.clone() }
    }

    /// The same change to another value.
    pub fn to(change: &Self, to: T) -> Self {
        Self { from: change.from.clone(), to }
    }

    /// The same change, begun from what is there now.
    pub fn rebased(change: &Option<Self>, current: &T) -> Option<Self> {
        change.as_ref().map(|change| Self { from: current.clone(), to: change.to.clone() })
    }

    /// Lays the change over a value.
    pub fn apply(change: &Option<Self>, value: &mut T) {
        if let Some(change) = change {
            value.clone_from(&change.to);
        }
    }
}

/// Gathers the fields that the person and somebody else changed to different values, for the person to decide.
pub struct Disputes {
    row: Uuid,
    by: Option<String>,
    at: i64,
    found: Vec<Dispute>,
}

impl Disputes {
    /// Over a row that was last changed by this person at this time.
    pub fn over(row: impl Into<Uuid>, by: &Option<String>, at: i64) -> Self {
        Self { row: row.into(), by: by.clone(), at, found: Vec::new() }
    }

    /// A field, given as a person would read its values.
    pub fn field<T: PartialEq>(
        mut self,
        name: &'static str,
        change: &Option<Change<T>>,
        current: &T,
        read: impl Fn(&T) -> String,
    ) -> Self {
        if let Some(change) = change
            && change.from != *current
            && change.to != *current
        {
            self.found.push(Dispute {
                row: self.row,
                field: name,
                mine: read(&change.to),
                theirs: read(current),
                by: self.by.clone(),
                at: Some(self.at),
            });
        }
        self
    }

    pub fn found(self) -> Vec<Dispute> {
        self.found
    }
}

#[cfg(feature = "ssr")]
pub use checking::{Update, Verdict};

#[cfg(feature = "ssr")]
mod checking {
    use super::Change;
    use millstream::{ApiError, Kind};
    use std::collections::BTreeMap;

    /// Compares the fields of an update with the row as it is, and gathers what is no longer as it was.
    #[derive(Default)]
    pub struct Update {
        conflicts: BTreeMap<String, String>,
        is_changed: bool,
    }

    impl Update {
        /// What the field is to become; none where it stays.
        pub fn field<T: PartialEq + Clone>(
            &mut self,
            name: &str,
            change: &Option<Change<T>>,
            current: &T,
        ) -> Option<T> {
            let change = change.as_ref()?;
            if *current == change.to {
                return None; // it is so already, whoever made it so
            }
            if *current != change.from {
                self.conflicts.insert(name.to_owned(), "was changed by somebody else meanwhile".to_owned());
                return None;
            }
            self.is_changed = true;
            Some(change.to.clone())
        }

        /// What is to be done, once all fields have been compared.
        pub fn verdict(self) -> Verdict {
            if !self.conflicts.is_empty() {
                Verdict::Disputed(Disputed(self.conflicts))
            } else if self.is_changed {
                Verdict::Changed
            } else {
                Verdict::Unchanged
            }
        }
    }

    /// What becomes of an update.
    pub enum Verdict {
        Changed,
        /// It asks for what already is.
        Unchanged,
        Disputed(Disputed),
    }

    /// The fields that are no longer what the person saw, with the reason.
    pub struct Disputed(BTreeMap<String, String>);

    impl Disputed {
        /// 409, with the row as it is now.
        pub fn over(self, current: &impl serde::Serialize) -> ApiError {
            let names: Vec<_> = self.0.keys().map(String::as_str).collect();
            let message = format!("Somebody else changed the {} first.", names.join(" and the "));
            let current = serde_json::to_value(current).ok();
            ApiError { fields: self.0, current, ..ApiError::new(Kind::Conflict, message) }
        }
    }
}
