//! The index against the plain truth: random filters, random rows, every filter tried on every row.
//!
//! The truth knows the whole row, as the database does; the index knows what the event tells of it. Whoever reads the row must be
//! found (recall 1), and where all facets are told nobody else may be (precision 1). Where some are not, exactly those may be
//! found whom what is told does not exclude.

use super::{Interest, TopicId, Watcher};
use crate::key::{Change, Dependency, Facet, Facets, OrganizationId};
use crate::simulation::Chance;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const TABLES: [&str; 2] = ["orders", "lines"];
const FACETS: [&str; 4] = ["id", "status", "customer", "is_open"];
const SEEDS: u64 = 300;
const WATCHERS: u32 = 60;
const CHANGES: u32 = 40;

/// How filters and events are made.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    /// Of 100 conditions so many name several values, or none.
    several: u32,
    /// Of 100 facets so many are told.
    told: u32,
}

#[derive(Clone, Debug)]
struct Filter {
    table: &'static str,
    conditions: Vec<(&'static str, Vec<Facet>)>,
}

type Row = BTreeMap<&'static str, Facet>;

struct Watching {
    organization: OrganizationId,
    watcher: Watcher,
    filters: Vec<Filter>,
    topic: TopicId,
}

#[derive(Default)]
struct Count {
    found: usize,
    needed: usize,
    needed_and_found: usize,
}

fn organization(chance: &mut Chance) -> OrganizationId {
    OrganizationId(Uuid::from_u128(u128::from(chance.below(2))))
}

/// Few enough values that rows and filters meet; null, and a text and a number that look alike, among them.
fn value(facet: &str, chance: &mut Chance) -> Facet {
    match facet {
        "id" => Facet::Text(chance.below(20).to_string()),
        "is_open" => Facet::Bool(chance.below(2) == 0),
        _ => match chance.below(6) {
            0 => Facet::Null,
            1 => Facet::Text("1".to_owned()),
            number => Facet::Integer(i64::from(number) - 1),
        },
    }
}

fn row(chance: &mut Chance) -> Row {
    FACETS.iter().map(|facet| (*facet, value(facet, chance))).collect()
}

impl Kind {
    fn filter(self, chance: &mut Chance) -> Filter {
        let conditions = (0..chance.below(4)).map(|_| {
            let facet = FACETS[chance.below(4) as usize];
            let is_several = chance.below(100) < self.several;
            let values = if is_several { chance.below(6) } else { 1 };
            (facet, (0..values).map(|_| value(facet, chance)).collect())
        });
        let conditions = conditions.collect();
        Filter { table: TABLES[chance.below(2) as usize], conditions }
    }

    fn told(self, row: &Row, chance: &mut Chance) -> Facets {
        let told = row.iter().filter(|_| chance.below(100) < self.told);
        Facets(told.map(|(facet, value)| ((*facet).to_owned(), value.clone())).collect())
    }
}

impl Filter {
    fn reads(&self, row: &Row) -> bool {
        self.conditions.iter().all(|(facet, values)| values.iter().any(|value| row.get(facet) == Some(value)))
    }

    /// Whether some row reads so that tells this of itself.
    fn may_read(&self, told: &Facets) -> bool {
        self.conditions.iter().all(|(facet, values)| {
            let its = told.0.iter().find(|(name, _)| name == facet).map(|(_, value)| value);
            values.iter().any(|value| its.is_none_or(|its| its == value))
        })
    }

    fn dependency(&self) -> Dependency {
        let all = Dependency::all(self.table);
        self.conditions.iter().fold(all, |dependency, (facet, values)| dependency.with_any(facet, values.clone()))
    }
}

fn dependencies(filters: &[Filter]) -> Vec<Dependency> {
    filters.iter().map(Filter::dependency).collect()
}

/// Those of the organization that have a filter of the table like this.
fn whose(
    all: &[Watching],
    organization: OrganizationId,
    table: &str,
    is_so: impl Fn(&Filter) -> bool,
) -> BTreeSet<Watcher> {
    let there = all.iter().filter(|watching| watching.organization == organization);
    let so = there.filter(|watching| watching.filters.iter().any(|filter| filter.table == table && is_so(filter)));
    so.map(|watching| watching.watcher).collect()
}

fn run(kind: Kind, seed: u64, count: &mut Count) {
    let chance = &mut Chance(seed);
    let mut interest = Interest::default();
    let mut all: Vec<Watching> = Vec::new();
    for number in 0..WATCHERS {
        let filters: Vec<_> = (0..1 + chance.below(3)).map(|_| kind.filter(chance)).collect();
        let watcher = Watcher { connection: chance.below(5), number };
        let organization = organization(chance);
        let topic = interest.add(organization, &dependencies(&filters), watcher);
        all.push(Watching { organization, watcher, filters, topic });
        // Whoever else watches the same: topics are shared, and given back by one of those who share them.
        if chance.below(3) == 0 {
            let twin = &all[chance.below(all.len() as u32) as usize];
            let watcher = Watcher { number: number + WATCHERS, ..watcher };
            let topic = interest.add(twin.organization, &dependencies(&twin.filters), watcher);
            assert_eq!(topic, twin.topic, "what reads the same is one topic");
            all.push(Watching { watcher, filters: twin.filters.clone(), ..*twin });
        }
        if chance.below(3) == 0 {
            let gone = all.swap_remove(chance.below(all.len() as u32) as usize);
            interest.remove(gone.topic, gone.watcher);
        }
    }
    for _ in 0..CHANGES {
        let organization = organization(chance);
        let table = TABLES[chance.below(2) as usize];
        let (old, mut new) = (row(chance), row(chance));
        // Most updates leave most columns as they are.
        for (facet, value) in &mut new {
            if chance.below(3) > 0 {
                value.clone_from(&old[facet]);
            }
        }
        let what = chance.below(4);
        let (old, new) = ((what != 0).then_some(old), (what != 1).then_some(new));
        let told = |row: &Option<Row>, chance: &mut Chance| row.as_ref().map(|row| kind.told(row, chance));
        let change = Change { table: table.to_owned(), old: told(&old, chance), new: told(&new, chance) };

        let found = interest.of_change(organization, &change);
        let found: Vec<_> = found.into_iter().flat_map(|topic| interest.watchers(topic)).collect();
        let once: BTreeSet<Watcher> = found.iter().copied().collect();
        let versions = || old.iter().chain(&new);
        let tellings = || change.old.iter().chain(&change.new);
        let needed = whose(&all, organization, table, |filter| versions().any(|row| filter.reads(row)));
        let possible = whose(&all, organization, table, |filter| tellings().any(|told| filter.may_read(told)));
        let what = || format!("{}, seed {seed}: {change:?}", kind.name);
        assert_eq!(found.len(), once.len(), "each once; {}", what());
        assert!(needed.is_subset(&once), "missed {:?}; {}", needed.difference(&once), what());
        assert_eq!(once, possible, "{}", what());
        count.found += once.len();
        count.needed += needed.len();
        count.needed_and_found += needed.intersection(&once).count();
    }
    for table in TABLES {
        for organization in [0, 1].map(|number| OrganizationId(Uuid::from_u128(number))) {
            let found = interest.of_table(organization, table).into_iter();
            let found: BTreeSet<_> = found.flat_map(|topic| interest.watchers(topic)).collect();
            assert_eq!(found, whose(&all, organization, table, |filter| !filter.never()), "{}, seed {seed}", kind.name);
        }
    }
    for gone in all {
        interest.remove(gone.topic, gone.watcher);
    }
    assert!(interest.is_empty(), "something was left behind by seed {seed}");
}

impl Filter {
    /// No row has one of no values.
    fn never(&self) -> bool {
        self.conditions.iter().any(|(_, values)| values.is_empty())
    }
}

#[test]
fn a_change_finds_exactly_those_whose_filters_its_row_meets() {
    for (kind, is_exact) in [
        (Kind { name: "equalities", several: 0, told: 100 }, true),
        (Kind { name: "one of several", several: 60, told: 100 }, true),
        (Kind { name: "equalities, one facet of ten not told", several: 0, told: 90 }, false),
        (Kind { name: "one of several, half of the facets not told", several: 60, told: 50 }, false),
    ] {
        let mut count = Count::default();
        for seed in 0..SEEDS {
            run(kind, seed, &mut count);
        }
        let recall = count.needed_and_found as f64 / count.needed as f64;
        let precision = count.needed_and_found as f64 / count.found as f64;
        println!("{}: {} found, recall {recall:.4}, precision {precision:.4}", kind.name, count.found);
        assert!(count.needed > 10_000, "too few were affected to say anything: {}", count.needed);
        assert_eq!(recall, 1.0, "{}", kind.name);
        assert!(!is_exact || precision == 1.0, "{}: {precision}", kind.name);
    }
}
