//! Who is interested in what, indexed so that a change finds its watchers without trying the others.
//!
//! What reads the same rows is one **topic**, however many watch it: a change is matched against topics, and a watcher costs a number
//! at its topic. A topic's dependency hangs on the values of its conditions *together*. For each set of facets that conditions name there is one
//! tree, with a fork a facet and a branch a value; a change walks it once for each version of its row, by the values that it tells.
//! What is found at the end is matched. A facet that the change does not tell proves nothing: there all branches are walked.
//! Long lists of values are not worth a place for each: they are tried on what is found by the other conditions.

use super::routing::ConnectionId;
use crate::key::{Change, Condition, Dependency, Facet, Facets, OrganizationId};
use crate::wire::WatchNumber;
use rustc_hash::{FxHashMap, FxHashSet};
use slab::Slab;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A dependency hangs in so many places at most, but for one whose shortest list of values is longer.
const MOST_PLACES: usize = 16;

/// One watched key of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Watcher {
    pub(super) connection: ConnectionId,
    pub(super) number: WatchNumber,
}

/// What some watch in one organization, by what it reads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TopicId(u32);

#[derive(Default)]
pub(super) struct Interest {
    organizations: HashMap<OrganizationId, Organization>,
    topics: Slab<Topic>,
}

#[derive(Default)]
struct Organization {
    topics: HashMap<Arc<[Dependency]>, TopicId>,
    tables: HashMap<&'static str, Vec<Tree>>,
}

struct Topic {
    organization: OrganizationId,
    reads: Arc<[Dependency]>,
    watchers: FxHashSet<Watcher>,
}

/// What hangs on the same facets of one table in one organization.
struct Tree {
    /// Sorted; a fork each, in this order.
    facets: Box<[&'static str]>,
    root: Node,
}

enum Node {
    Fork(HashMap<Facet, Node>),
    /// Each with the conditions that are not met by hanging here.
    Leaf(FxHashMap<Hanging, Box<[OneOf]>>),
}

/// A condition that is tried: of long lists each value would cost a look into memory.
struct OneOf {
    facet: &'static str,
    values: HashSet<Facet>,
}

/// One of a topic's dependencies, by its place among them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Hanging {
    topic: TopicId,
    which: u32,
}

/// The conditions of a dependency: those that it hangs on, sorted by facet, and the others.
struct Placed<'d> {
    on: Vec<&'d Condition>,
    rest: Vec<&'d Condition>,
}

impl<'d> Placed<'d> {
    /// None for a dependency that no row meets.
    fn of(dependency: &'d Dependency) -> Option<Self> {
        let mut conditions: Vec<_> = dependency.conditions.iter().collect();
        conditions.sort_by_key(|condition| condition.values.len());
        if conditions.first().is_some_and(|shortest| shortest.values.is_empty()) {
            return None;
        }
        let (mut on, mut rest) = (Vec::<&Condition>::new(), Vec::new());
        let mut places = 1;
        for condition in conditions {
            let is_worth_it = on.is_empty() || places * condition.values.len() <= MOST_PLACES;
            if is_worth_it && on.iter().all(|other| other.facet != condition.facet) {
                places *= condition.values.len();
                on.push(condition);
            } else {
                rest.push(condition);
            }
        }
        on.sort_unstable_by_key(|condition| condition.facet);
        Some(Self { on, rest })
    }

    fn is_in(&self, tree: &Tree) -> bool {
        tree.facets.iter().eq(self.on.iter().map(|condition| &condition.facet))
    }
}

/// Those of a topic's dependencies that some row meets, with their places among them.
fn placed(dependencies: &[Dependency]) -> impl Iterator<Item = (u32, &'static str, Placed<'_>)> {
    let numbered = (0..).zip(dependencies);
    numbered.filter_map(|(which, dependency)| Some((which, dependency.table, Placed::of(dependency)?)))
}

impl Interest {
    /// Costs a look-up where somebody watches the same already.
    pub(super) fn add(&mut self, organization: OrganizationId, reads: &[Dependency], watcher: Watcher) -> TopicId {
        let there = self.organizations.entry(organization).or_default();
        let id = there.topics.get(reads).copied().unwrap_or_else(|| {
            let reads: Arc<[Dependency]> = reads.into();
            let watchers = FxHashSet::default();
            let place = self.topics.insert(Topic { organization, reads: reads.clone(), watchers });
            // There are never as many as four thousand million.
            let id = TopicId(place as u32);
            there.hang(id, &reads);
            there.topics.insert(reads, id);
            id
        });
        if let Some(topic) = self.topics.get_mut(id.0 as usize) {
            topic.watchers.insert(watcher);
        }
        id
    }

    /// Costs a look-up; for the last who watches it one for each place in which the topic hangs, however many hang there.
    pub(super) fn remove(&mut self, id: TopicId, watcher: Watcher) {
        let Some(topic) = self.topics.get_mut(id.0 as usize) else { return };
        topic.watchers.remove(&watcher);
        shrink(&mut topic.watchers);
        if !topic.watchers.is_empty() {
            return;
        }
        let Topic { organization, reads, .. } = self.topics.remove(id.0 as usize);
        if let Some(there) = self.organizations.get_mut(&organization) {
            there.topics.remove(&reads);
            there.take_down(id, &reads);
            if there.topics.is_empty() {
                self.organizations.remove(&organization);
            }
        }
    }

    /// Whether anything is watched there.
    pub(super) fn is_in(&self, organization: OrganizationId) -> bool {
        self.organizations.contains_key(&organization)
    }

    /// Where it is watched; none where nobody watches it any more.
    pub(super) fn organization(&self, id: TopicId) -> Option<OrganizationId> {
        self.topics.get(id.0 as usize).map(|topic| topic.organization)
    }

    /// Who watches it, in no order.
    pub(super) fn watchers(&self, id: TopicId) -> impl Iterator<Item = Watcher> {
        self.topics.get(id.0 as usize).into_iter().flat_map(|topic| topic.watchers.iter().copied())
    }

    /// How many watch it.
    pub(super) fn crowd(&self, id: TopicId) -> usize {
        self.topics.get(id.0 as usize).map_or(0, |topic| topic.watchers.len())
    }

    /// The topics that the change may alter, each once. Costs what it finds, and a few look-ups for each set of facets that
    /// topics of this table hang on.
    pub(super) fn of_change(&self, organization: OrganizationId, change: &Change) -> Vec<TopicId> {
        let mut found = Vec::new();
        for Tree { facets, root } in self.trees(organization, &change.table) {
            match (&change.old, &change.new) {
                (Some(old), Some(new)) if facets.iter().all(|facet| old.get(facet) == new.get(facet)) => {
                    root.find(facets, old, &[old, new], &mut found);
                }
                (old, new) => {
                    old.iter().chain(new).for_each(|version| root.find(facets, version, &[version], &mut found));
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// All topics of the table, each once.
    pub(super) fn of_table(&self, organization: OrganizationId, table: &str) -> Vec<TopicId> {
        let mut found = Vec::new();
        self.trees(organization, table).iter().for_each(|tree| tree.root.all(&mut found));
        found.sort_unstable();
        found.dedup();
        found
    }

    fn trees(&self, organization: OrganizationId, table: &str) -> &[Tree] {
        let there = self.organizations.get(&organization);
        there.and_then(|there| there.tables.get(table)).map_or(&[], Vec::as_slice)
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.organizations.is_empty() && self.topics.is_empty()
    }
}

impl Organization {
    fn hang(&mut self, topic: TopicId, reads: &[Dependency]) {
        for (which, table, placed) in placed(reads) {
            let trees = self.tables.entry(table).or_default();
            let place = trees.iter().position(|tree| placed.is_in(tree)).unwrap_or_else(|| {
                let facets = placed.on.iter().map(|condition| condition.facet).collect();
                trees.push(Tree { facets, root: Node::of_depth(placed.on.len()) });
                trees.len() - 1
            });
            trees[place].root.add(&placed.on, &placed.rest, Hanging { topic, which });
        }
    }

    fn take_down(&mut self, topic: TopicId, reads: &[Dependency]) {
        for (which, table, placed) in placed(reads) {
            let Some(trees) = self.tables.get_mut(table) else { continue };
            let Some(place) = trees.iter().position(|tree| placed.is_in(tree)) else { continue };
            trees[place].root.remove(&placed.on, Hanging { topic, which });
            if trees[place].root.is_empty() {
                trees.swap_remove(place);
            }
            if trees.is_empty() {
                self.tables.remove(table);
            }
        }
    }
}

/// To walk a set costs its room, not what is in it.
fn shrink(watchers: &mut FxHashSet<Watcher>) {
    if watchers.len() < watchers.capacity() / 8 {
        watchers.shrink_to_fit();
    }
}

impl OneOf {
    fn of(condition: &Condition) -> Self {
        Self { facet: condition.facet, values: condition.values.iter().cloned().collect() }
    }

    fn is_met_by(&self, version: &Facets) -> bool {
        version.get(self.facet).is_none_or(|value| self.values.contains(value))
    }
}

impl Node {
    fn of_depth(depth: usize) -> Self {
        if depth == 0 { Node::Leaf(FxHashMap::default()) } else { Node::Fork(HashMap::new()) }
    }

    fn is_empty(&self) -> bool {
        match self {
            Node::Fork(branches) => branches.is_empty(),
            Node::Leaf(hanging) => hanging.is_empty(),
        }
    }

    fn add(&mut self, on: &[&Condition], rest: &[&Condition], what: Hanging) {
        match (self, on.split_first()) {
            (Node::Fork(branches), Some((condition, further))) => {
                for value in &condition.values {
                    let branch = branches.entry(value.clone()).or_insert_with(|| Node::of_depth(further.len()));
                    branch.add(further, rest, what);
                }
            }
            (Node::Leaf(hanging), _) => {
                hanging.insert(what, rest.iter().map(|condition| OneOf::of(condition)).collect());
            }
            // A tree is as deep as it has facets.
            (Node::Fork(_), None) => {}
        }
    }

    fn remove(&mut self, on: &[&Condition], what: Hanging) {
        match (self, on.split_first()) {
            (Node::Fork(branches), Some((condition, further))) => {
                for value in &condition.values {
                    let Some(branch) = branches.get_mut(value) else { continue };
                    branch.remove(further, what);
                    if branch.is_empty() {
                        branches.remove(value);
                    }
                }
            }
            (Node::Leaf(hanging), _) => {
                hanging.remove(&what);
                // To walk it costs its room, not what hangs there.
                if hanging.len() < hanging.capacity() / 8 {
                    hanging.shrink_to_fit();
                }
            }
            (Node::Fork(_), None) => {}
        }
    }

    /// Who hangs where `walked` leads, and whose other conditions one of the versions meets.
    fn find(&self, facets: &[&'static str], walked: &Facets, versions: &[&Facets], found: &mut Vec<TopicId>) {
        match (self, facets.split_first()) {
            (Node::Fork(branches), Some((facet, further))) => match walked.get(facet) {
                Some(value) => {
                    branches.get(value).into_iter().for_each(|branch| branch.find(further, walked, versions, found));
                }
                None => branches.values().for_each(|branch| branch.find(further, walked, versions, found)),
            },
            (Node::Leaf(hanging), _) => {
                let is_met = |rest: &[OneOf]| {
                    versions.iter().any(|version| rest.iter().all(|condition| condition.is_met_by(version)))
                };
                found.extend(hanging.iter().filter(|(_, rest)| is_met(rest)).map(|(what, _)| what.topic));
            }
            (Node::Fork(_), None) => {}
        }
    }

    fn all(&self, found: &mut Vec<TopicId>) {
        match self {
            Node::Fork(branches) => branches.values().for_each(|branch| branch.all(found)),
            Node::Leaf(hanging) => found.extend(hanging.keys().map(|what| what.topic)),
        }
    }
}

#[cfg(test)]
#[path = "exactness_tests.rs"]
mod exactness;

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
        let topics = interest.of_change(organization(), &change).into_iter();
        let mut numbers: Vec<_> = topics.flat_map(|id| interest.watchers(id)).map(|watcher| watcher.number).collect();
        numbers.sort_unstable();
        numbers
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
    fn what_reads_the_same_is_one_topic_until_the_last_of_its_watchers_goes() {
        let mut interest = Interest::default();
        let reads = [on_status("draft"), Dependency::all("lines"), on_status("draft")];
        let [first, second] = [1, 2].map(|number| interest.add(organization(), &reads, watcher(number)));
        let elsewhere = interest.add(OrganizationId(Uuid::from_u128(2)), &reads, watcher(3));
        assert_eq!(first, second);
        assert_ne!(first, elsewhere);
        assert_eq!(found(&interest, None, status("draft")), [1, 2]);
        interest.remove(first, watcher(1));
        assert_eq!(found(&interest, None, status("draft")), [2]);
        interest.remove(first, watcher(2));
        assert_eq!(found(&interest, None, status("draft")), [0_u32; 0]);
        assert_eq!(interest.organization(first), None);
        interest.remove(elsewhere, watcher(3));
        assert!(interest.is_empty());
    }
}
