//! Who is interested in what, indexed so that a change finds its watchers without trying the others.
//!
//! Each dependency hangs on one *anchor*: a value of its first condition, or "any row". A change looks up "any row" and
//! the values of its own facets, old and new; what is found there is tried against the whole dependency.

use super::routing::ConnectionId;
use crate::key::{Change, Dependency, Facet, Facets, OrganizationId};
use crate::wire::WatchNumber;
use std::collections::HashMap;

/// One watched key of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Watcher {
    pub(super) connection: ConnectionId,
    pub(super) number: WatchNumber,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Anchor {
    AnyRow,
    Value(&'static str, Facet),
}

#[derive(Default)]
pub(super) struct Interest {
    tables: HashMap<OrganizationId, HashMap<&'static str, Anchors>>,
}

/// The watchers of one table in one organization.
#[derive(Default)]
struct Anchors {
    watchers: HashMap<Anchor, Vec<(Watcher, Dependency)>>,
    /// The facets that anchors hang on, with how many do: what a change has to be looked up by.
    facets: HashMap<&'static str, usize>,
}

fn anchors(dependency: &Dependency) -> Vec<Anchor> {
    match dependency.conditions.first() {
        None => vec![Anchor::AnyRow],
        Some(condition) => condition.values.iter().map(|value| Anchor::Value(condition.facet, value.clone())).collect(),
    }
}

impl Interest {
    pub(super) fn add(&mut self, organization: OrganizationId, dependencies: &[Dependency], watcher: Watcher) {
        let tables = self.tables.entry(organization).or_default();
        for dependency in dependencies {
            let table = tables.entry(dependency.table).or_default();
            for anchor in anchors(dependency) {
                if let Anchor::Value(facet, _) = anchor {
                    *table.facets.entry(facet).or_default() += 1;
                }
                table.watchers.entry(anchor).or_default().push((watcher, dependency.clone()));
            }
        }
    }

    pub(super) fn remove(&mut self, organization: OrganizationId, dependencies: &[Dependency], watcher: Watcher) {
        let Some(tables) = self.tables.get_mut(&organization) else { return };
        for dependency in dependencies {
            let Some(table) = tables.get_mut(dependency.table) else { continue };
            for anchor in anchors(dependency) {
                table.remove(&anchor, dependency, watcher);
            }
            if table.watchers.is_empty() {
                tables.remove(dependency.table);
            }
        }
        if tables.is_empty() {
            self.tables.remove(&organization);
        }
    }

    /// The watchers whose value the change may alter, each once. Costs what it finds, and a look-up a facet.
    pub(super) fn of_change(&self, organization: OrganizationId, change: &Change) -> Vec<Watcher> {
        let Some(table) = self.table(organization, &change.table) else { return Vec::new() };
        let mut found = Vec::new();
        let mut look = |anchor: &Anchor| {
            let here = table.watchers.get(anchor).into_iter().flatten();
            found.extend(here.filter(|(_, dependency)| dependency.affected_by(change)).map(|(watcher, _)| *watcher));
        };
        look(&Anchor::AnyRow);
        for facet in table.facets.keys() {
            let value_in = |version: &Option<Facets>| version.as_ref().and_then(|version| version.get(facet)).cloned();
            let (old, new) = (value_in(&change.old), value_in(&change.new));
            if old != new
                && let Some(old) = old
            {
                look(&Anchor::Value(facet, old));
            }
            match new {
                Some(new) => look(&Anchor::Value(facet, new)),
                // Deleted, or the event does not tell the facet: then it proves nothing, and all are asked.
                None if change.new.is_some() => {
                    table.watchers.keys().filter(|anchor| anchor.is_on(facet)).for_each(&mut look)
                }
                None => {}
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// All watchers of the table.
    pub(super) fn of_table(&self, organization: OrganizationId, table: &str) -> Vec<Watcher> {
        let table = self.table(organization, table);
        let mut found: Vec<_> = table
            .into_iter()
            .flat_map(|table| table.watchers.values().flatten().map(|(watcher, _)| *watcher))
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    fn table(&self, organization: OrganizationId, table: &str) -> Option<&Anchors> {
        self.tables.get(&organization)?.get(table)
    }
}

impl Anchors {
    fn remove(&mut self, anchor: &Anchor, dependency: &Dependency, watcher: Watcher) {
        let Some(watchers) = self.watchers.get_mut(anchor) else { return };
        let Some(place) = watchers.iter().position(|(other, its)| *other == watcher && its == dependency) else {
            return;
        };
        watchers.swap_remove(place);
        if watchers.is_empty() {
            self.watchers.remove(anchor);
        }
        if let Anchor::Value(facet, _) = anchor
            && let Some(count) = self.facets.get_mut(facet)
        {
            *count -= 1;
            if *count == 0 {
                self.facets.remove(facet);
            }
        }
    }
}

impl Anchor {
    fn is_on(&self, name: &str) -> bool {
        matches!(self, Anchor::Value(facet, _) if *facet == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn organization() -> OrganizationId {
        OrganizationId(Uuid::from_u128(1))
    }

    fn watcher(number: u32) -> Watcher {
        Watcher { connection: 1, number }
    }

    fn status(value: &str) -> Option<Facets> {
        let text = |value: &str| Facet::Text(value.to_owned());
        Some(Facets(vec![("id".to_owned(), text("7")), ("status".to_owned(), text(value))]))
    }

    fn on_status(value: &str) -> Dependency {
        Dependency::all("orders").with("status", Facet::Text(value.to_owned()))
    }

    fn found(interest: &Interest, old: Option<Facets>, new: Option<Facets>) -> Vec<u32> {
        let change = Change { table: "orders".to_owned(), old, new };
        interest.of_change(organization(), &change).iter().map(|watcher| watcher.number).collect()
    }

    #[test]
    fn a_change_finds_whoever_it_enters_or_leaves_and_nobody_else() {
        let mut interest = Interest::default();
        interest.add(organization(), &[Dependency::all("orders")], watcher(1));
        interest.add(organization(), &[on_status("draft")], watcher(2));
        interest.add(organization(), &[on_status("shipped")], watcher(3));
        interest.add(organization(), &[Dependency::all("orders").with("id", Facet::Text("7".into()))], watcher(4));
        interest.add(organization(), &[Dependency::all("orders").with("id", Facet::Text("8".into()))], watcher(5));
        assert_eq!(found(&interest, status("draft"), status("released")), [1, 2, 4]);
        assert_eq!(found(&interest, status("released"), status("shipped")), [1, 3, 4]);
        assert_eq!(found(&interest, status("on_hold"), None), [1, 4]);
    }

    #[test]
    fn a_facet_that_is_not_told_excludes_nobody() {
        let mut interest = Interest::default();
        interest.add(organization(), &[on_status("draft")], watcher(2));
        assert_eq!(found(&interest, None, Some(Facets::default())), [2]);
    }

    #[test]
    fn another_organization_is_another_world() {
        let mut interest = Interest::default();
        interest.add(OrganizationId(Uuid::from_u128(2)), &[Dependency::all("orders")], watcher(1));
        assert_eq!(found(&interest, None, status("draft")), [0_u32; 0]);
    }

    #[test]
    fn what_is_removed_leaves_nothing_behind() {
        let mut interest = Interest::default();
        let dependencies = [on_status("draft"), Dependency::all("lines"), on_status("draft")];
        interest.add(organization(), &dependencies, watcher(1));
        assert_eq!(found(&interest, None, status("draft")), [1]);
        interest.remove(organization(), &dependencies, watcher(1));
        assert!(interest.tables.is_empty());
    }
}
