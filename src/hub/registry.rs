//! What can be watched: the live tables as declared in Rust, and which tables decide rights.

use super::missed::Candidate;
use super::presence::room::Sees;
use crate::error::{ApiError, Kind};
use crate::key::{Condition, Dependency, Facet, OrganizationId, QueryKey, Shape, WireKey};
use crate::live::{ListQuery, RecordQuery};
use crate::wire::{Refused, Watch};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use uuid::Uuid;

/// All that the hub has to know of the product. Built once at start.
#[derive(Default)]
pub struct Registry {
    tables: HashMap<&'static str, Table>,
    /// The tables that the queries read, whichever they are named for.
    reads: BTreeSet<&'static str>,
    rights_tables: Vec<&'static str>,
    session_table: &'static str,
    /// Who may see it is told who is there.
    presence_module: Option<&'static str>,
}

struct Table {
    module: &'static str,
    list: Option<ListReads>,
    record: Option<RecordReads>,
}

/// From parameters to their canonical text and what the list reads.
type ListReads = fn(serde_json::Value) -> Result<(String, Vec<Dependency>), serde_json::Error>;
type RecordReads = fn(Uuid) -> Vec<Dependency>;

/// What a person may watch in an organization: the answer of `millstream.watch_rights(person, organization)`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct WatchRights {
    /// The modules that may be seen.
    pub modules: BTreeSet<String>,
    /// Of these tables only rows with this facet among these values, as for a buyer that is bound to a customer.
    #[serde(default)]
    pub only: BTreeMap<String, Only>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct Only {
    pub facet: String,
    pub values: Vec<Uuid>,
}

impl WatchRights {
    /// Whether who sees by these rights sees all that the others let see.
    pub(crate) fn cover(&self, others: &Self) -> bool {
        let is_as_wide = |(table, now): (&String, &Only)| {
            others.only.get(table).is_some_and(|then| {
                now.facet == then.facet && then.values.iter().all(|value| now.values.contains(value))
            })
        };
        self.modules.is_superset(&others.modules) && self.only.iter().all(is_as_wide)
    }
}

/// A key that may be watched, and what it reads.
pub(crate) struct Resolved {
    pub(crate) key: QueryKey,
    pub(crate) dependencies: Vec<Dependency>,
    /// The person sees only part of the table: whether it sees this record is for row-level security to say.
    pub(crate) is_narrowed: bool,
}

impl Registry {
    /// The table whose deleted rows end sessions.
    pub fn sessions(mut self, table: &'static str) -> Self {
        self.session_table = table;
        self
    }

    /// A table whose changes change rights: of the event's person, or of everybody where it names none.
    pub fn rights(mut self, table: &'static str) -> Self {
        self.rights_tables.push(table);
        self
    }

    /// Who may see `module`, and whose sight is not narrowed, is told who else is in an organization; without it nobody is.
    pub fn presence(mut self, module: &'static str) -> Self {
        self.presence_module = Some(module);
        self
    }

    /// The list of a live table, seen by whom may see `module`.
    ///
    /// # Panics
    /// At start, if the list's parameters cannot be read from `{}`: a list can always be asked without any.
    pub fn list<L: ListQuery>(mut self, module: &'static str) -> Self {
        let reads: ListReads = |value| {
            let parameters: L::Parameters = serde_json::from_value(value)?;
            Ok((serde_json::to_string(&parameters)?, L::list_depends(&parameters)))
        };
        let Ok((_, dependencies)) = reads(serde_json::json!({})) else {
            panic!("the list of {} cannot be asked without parameters: give each a default", L::TABLE)
        };
        self.reads.extend(dependencies.iter().map(|dependency| dependency.table));
        self.table(L::TABLE, module).list = Some(reads);
        self
    }

    /// The records of a live table, seen by whom may see `module`.
    pub fn record<L: RecordQuery>(mut self, module: &'static str) -> Self {
        let reads: RecordReads = |id| L::record_depends(L::Id::from(id));
        self.reads.extend(reads(Uuid::nil()).iter().map(|dependency| dependency.table));
        self.table(L::TABLE, module).record = Some(reads);
        self
    }

    fn table(&mut self, name: &'static str, module: &'static str) -> &mut Table {
        self.tables.entry(name).or_insert(Table { module, list: None, record: None })
    }

    /// The live tables that queries are named for or read, sorted: each must have its triggers.
    pub fn tables(&self) -> Vec<&'static str> {
        let names: BTreeSet<_> = self.tables.keys().copied().chain(self.reads.iter().copied()).collect();
        names.into_iter().collect()
    }

    pub(crate) fn told_one_by_one(&self) -> Vec<&'static str> {
        self.rights_tables.iter().copied().chain([self.session_table]).collect()
    }

    pub(crate) fn decides_rights(&self, table: &str) -> bool {
        self.rights_tables.contains(&table)
    }

    /// What these rights mean for presence.
    pub(crate) fn sees(&self, rights: &WatchRights) -> Sees {
        let may_see = |module: &str| rights.modules.contains(module);
        let seen = self.tables.iter().filter(|(_, table)| may_see(table.module)).map(|(name, _)| *name);
        let tables: BTreeSet<_> = seen.collect();
        let narrowed = tables.iter().filter(|name| rights.only.contains_key(**name)).copied().collect();
        Sees { is_told: rights.only.is_empty() && self.presence_module.is_some_and(may_see), tables, narrowed }
    }

    /// The name of a live table, as it is known here.
    pub(crate) fn known(&self, table: &str) -> Option<&'static str> {
        self.tables.get_key_value(table).map(|(name, _)| *name)
    }

    pub(crate) fn is_session_table(&self, table: &str) -> bool {
        self.session_table == table
    }

    /// Which of the keys may be watched by these rights, and which may not.
    pub(crate) fn judge(
        &self,
        watches: Vec<Watch>,
        rights: &HashMap<OrganizationId, WatchRights>,
    ) -> (Vec<Candidate>, Vec<Refused>) {
        let (mut candidates, mut refused) = (Vec::new(), Vec::new());
        for watch in watches {
            match self.resolve(&watch.key, rights.get(&watch.key.organization)) {
                Ok(resolved) => candidates.push(Candidate { watch, resolved }),
                Err(error) => refused.push(Refused { number: watch.number, error }),
            }
        }
        (candidates, refused)
    }

    /// What the key reads, as far as these rights allow.
    pub(crate) fn resolve(&self, key: &WireKey, rights: Option<&WatchRights>) -> Result<Resolved, ApiError> {
        let rights = rights.ok_or_else(|| ApiError::not_found("organization"))?;
        let Some((name, table)) = self.tables.get_key_value(key.table.as_str()) else {
            return Err(ApiError::field("table", format!("there is no live table {:?}", shortened(&key.table))));
        };
        if !rights.modules.contains(table.module) {
            return Err(ApiError::forbidden("see this"));
        }
        let (shape, mut dependencies) = match (&key.list, &key.record, &table.list, &table.record) {
            (Some(parameters), None, Some(reads), _) => {
                let (text, dependencies) = reads(parameters.clone()).map_err(|why| ApiError {
                    kind: Kind::Malformed,
                    ..ApiError::field("list", format!("these are no parameters of {name}: {why}"))
                })?;
                (Shape::List(text), dependencies)
            }
            (None, Some(id), _, Some(reads)) => (Shape::Record(*id), reads(*id)),
            (Some(_), None, None, _) => return Err(ApiError::field("list", format!("{name} has no list"))),
            (None, Some(_), _, None) => return Err(ApiError::field("record", format!("{name} has no records"))),
            _ => return Err(ApiError::field("key", "names a list or a record, not both and not neither")),
        };
        let mut is_narrowed = false;
        for dependency in &mut dependencies {
            if let Some(only) = rights.only.get(dependency.table) {
                is_narrowed = true;
                let facet: &'static str = self.interned(&only.facet);
                let values = only.values.iter().map(|value| Facet::from(*value)).collect();
                dependency.conditions.push(Condition { facet, values });
            }
        }
        Ok(Resolved { key: QueryKey { organization: key.organization, table: name, shape }, dependencies, is_narrowed })
    }

    /// The facets that narrow are a handful and the same for all; each is kept once.
    fn interned(&self, facet: &str) -> &'static str {
        static KEPT: std::sync::Mutex<BTreeSet<&'static str>> = std::sync::Mutex::new(BTreeSet::new());
        let mut kept = KEPT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = kept.get(facet) {
            return known;
        }
        let forever: &'static str = Box::leak(facet.to_owned().into_boxed_str());
        kept.insert(forever);
        forever
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(modules: &[&str], only: &[(&str, &[u128])]) -> WatchRights {
        let only = only.iter().map(|(table, values)| {
            let values = values.iter().map(|value| Uuid::from_u128(*value)).collect();
            ((*table).to_owned(), Only { facet: "customer_id".to_owned(), values })
        });
        WatchRights { modules: modules.iter().map(|module| (*module).to_owned()).collect(), only: only.collect() }
    }

    #[test]
    fn who_is_there_is_told_to_those_who_see_the_members_and_all_of_what_they_see() {
        let registry = || {
            let mut registry = Registry::default();
            registry.table("orders", "sales");
            registry.table("projects", "projects");
            registry
        };
        let tables = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<_>>();
        for (rights, is_told, seen, narrowed) in [
            (rights(&["members", "sales", "projects"], &[]), true, &["orders", "projects"][..], &[][..]),
            (rights(&["members"], &[]), true, &[], &[]),
            (rights(&["sales"], &[]), false, &["orders"], &[]),
            (rights(&[], &[]), false, &[], &[]),
            (rights(&["members", "sales"], &[("orders", &[1])]), false, &["orders"], &["orders"]),
            // Narrowed in what it does not see either.
            (rights(&["members", "sales"], &[("customers", &[])]), false, &["orders"], &[]),
        ] {
            let sees = Sees { is_told, tables: tables(seen), narrowed: tables(narrowed) };
            assert_eq!(registry().presence("members").sees(&rights), sees, "{rights:?}");
            assert!(!registry().sees(&rights).is_told, "without a word of the product nobody is told");
        }
    }

    #[test]
    fn rights_cover_others_where_nothing_is_lost() {
        let all = rights(&["sales", "projects"], &[]);
        let sales = rights(&["sales"], &[]);
        let of_one = rights(&["sales"], &[("orders", &[1])]);
        let of_two = rights(&["sales"], &[("orders", &[1, 2])]);
        let of_other = rights(&["sales"], &[("orders", &[2])]);
        for (now, then, covers) in [
            (&all, &all, true),
            (&all, &sales, true),
            (&sales, &all, false),
            (&sales, &of_one, true),
            (&of_one, &sales, false),
            (&of_two, &of_one, true),
            (&of_one, &of_two, false),
            (&of_other, &of_one, false),
            (&of_one, &of_one, true),
        ] {
            assert_eq!(now.cover(then), covers, "{now:?} after {then:?}");
        }
    }
}
