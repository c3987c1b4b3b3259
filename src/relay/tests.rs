use super::*;
use crate::feed::EventKind;
use crate::key::{Change, Facet, Facets};
use crate::snapshot::Xid;
use std::collections::BTreeSet;

const EPOCH: Epoch = Epoch(Uuid::from_u128(1));
const MOST_BYTES: usize = 700;

fn organization(number: u64) -> OrganizationId {
    OrganizationId(Uuid::from_u128(u128::from(number) + 1))
}

fn event(xid: u64, organization: Option<OrganizationId>) -> Event {
    let row = Facets(vec![
        ("id".to_owned(), Uuid::from_u128(u128::from(xid)).into()),
        ("status".to_owned(), Facet::Null),
        ("count".to_owned(), Facet::Integer(-7)),
        ("is_open".to_owned(), Facet::Bool(true)),
    ]);
    Event {
        xid: Xid(xid),
        organization,
        person: None,
        record: Uuid::from_u128(u128::from(xid)),
        kind: EventKind::Update,
        audience: Some(vec![PersonId(Uuid::nil())]),
        actor: None,
        mutation: None,
        change: Change { table: "orders".to_owned(), old: Some(row), new: None },
    }
}

/// What transactions do in the course of time, and what a snapshot at each moment would see.
#[derive(Default)]
struct History {
    next: u64,
    running: BTreeSet<u64>,
    committed: Vec<Event>,
}

impl History {
    fn go_on(&mut self, chance: &mut Chance) {
        for _ in 0..chance.below(6) {
            if self.running.is_empty() || chance.below(2) == 0 {
                self.next += 1;
                self.running.insert(self.next);
            } else {
                let place = chance.below(self.running.len() as u64) as usize;
                let xid = self.running.iter().copied().nth(place).expect("there are so many");
                self.running.remove(&xid);
                let somewhere = (chance.below(6) > 0).then(|| organization(chance.below(3)));
                self.committed.extend((0..chance.below(4)).map(|_| event(xid, somewhere)));
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        let xmin = self.running.first().copied().unwrap_or(self.next + 1);
        let running: Vec<_> = self.running.iter().map(ToString::to_string).collect();
        format!("{xmin}:{}:{}", self.next + 1, running.join(",")).parse().expect("a snapshot")
    }

    fn between(&self, from: &Snapshot, to: &Snapshot) -> Batch {
        let events = self.committed.iter().filter(|event| to.sees(event.xid) && !from.sees(event.xid)).cloned();
        batch(to.clone(), events.collect())
    }
}

fn batch(cursor: Snapshot, events: Vec<Event>) -> Batch {
    Batch { events, ..Batch::empty(cursor, EPOCH) }
}

/// SplitMix64: the same numbers for the same seed, whatever the library.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

enum Message {
    Part(Part),
    End(End),
}

/// As they arrive: each written and read again.
fn messages(packed: Packed) -> Vec<Message> {
    let read = |bytes: &[u8]| Message::Part(serde_json::from_slice(bytes).expect("a part"));
    let end = Message::End(serde_json::from_slice(&packed.end).expect("an end"));
    packed.parts.iter().map(|(_, bytes)| read(bytes)).chain([end]).collect()
}

#[test]
fn whatever_the_bus_loses_repeats_or_disorders_each_event_is_found_once() {
    let (mut news, mut gaps, mut known, mut parts) = (0, 0, 0, 0);
    for seed in 0..80 {
        let mut chance = Chance(seed);
        let mut history = History { next: 10, ..History::default() };
        let mut stands = history.snapshot();
        let mut publishers = [(Uuid::from_u128(1), stands.clone(), 0), (Uuid::from_u128(2), stands.clone(), 0)];
        let served = organization(0);
        let begin = stands.clone();
        let (mut gathering, mut found, mut on_the_way) = (Gathering::default(), Vec::new(), Vec::new());
        for _ in 0..60 {
            history.go_on(&mut chance);
            let (publisher, from, number) = &mut publishers[usize::from(chance.below(8) == 0)];
            let to = history.snapshot();
            *number += 1;
            let step = StepId { publisher: *publisher, number: *number };
            let packed = pack(step, from, &history.between(from, &to), |_| false, MOST_BYTES).expect("they fit");
            assert!(packed.parts.iter().all(|(_, bytes)| bytes.len() <= MOST_BYTES));
            parts = parts.max(packed.parts.len());
            *from = to;
            on_the_way.extend(messages(packed));
            if chance.below(4) == 0 && on_the_way.len() > 1 {
                let last = on_the_way.len() as u64;
                on_the_way.swap(chance.below(last) as usize, chance.below(last) as usize);
            }
            for message in on_the_way.drain(..) {
                match message {
                    _ if chance.below(12) == 0 => {}
                    Message::Part(part) => {
                        if chance.below(8) == 0 {
                            gathering.part(part.clone());
                        }
                        gathering.part(part);
                    }
                    Message::End(end) => {
                        let heard = match gathering.end(end, |organization| organization == served) {
                            Some(whole) => whole.beyond(&stands, EPOCH),
                            None => Heard::Gap,
                        };
                        let batch = match heard {
                            Heard::Known => {
                                known += 1;
                                continue;
                            }
                            Heard::News(batch) => {
                                news += 1;
                                batch
                            }
                            Heard::Gap => {
                                gaps += 1;
                                history.between(&stands, &history.snapshot())
                            }
                        };
                        assert!(batch.cursor.covers(&stands));
                        stands = batch.cursor;
                        found.extend(batch.events);
                    }
                }
            }
        }
        let is_ours = |event: &&Event| event.organization.is_none_or(|organization| organization == served);
        let sorted = |events: Vec<Event>| {
            let mut xids: Vec<_> = events.iter().map(|event| event.xid).collect();
            xids.sort_unstable();
            xids
        };
        let happened = history.between(&begin, &stands).events.iter().filter(is_ours).cloned().collect();
        let found = found.iter().filter(is_ours).cloned().collect();
        assert_eq!(sorted(found), sorted(happened), "seed {seed}");
    }
    println!("{news} steps were news, {known} known, {gaps} gaps; up to {parts} parts");
    assert!(news > 1_000 && gaps > 400 && known > 60 && parts > 3);
}

#[test]
fn what_is_of_another_epoch_is_a_gap() {
    let from: Snapshot = "5:5:".parse().expect("a snapshot");
    let whole = Whole { from: from.clone(), batch: batch("9:9:".parse().expect("a snapshot"), Vec::new()) };
    assert!(matches!(whole.beyond(&from, Epoch(Uuid::from_u128(2))), Heard::Gap));
}

#[test]
fn rights_go_to_everybody_and_a_table_that_changed_to_its_organization() {
    let from: Snapshot = "5:5:".parse().expect("a snapshot");
    let person = PersonId(Uuid::from_u128(8));
    let passed = (person, Passed { mutation_id: crate::overlay::MutationId(Uuid::nil()), xid: Xid(7) });
    let table = TableChanged { organization: Some(organization(1)), person: None, table: "orders".to_owned() };
    let step = StepId { publisher: Uuid::nil(), number: 1 };
    let found = Batch {
        tables: vec![table.clone()],
        passed: vec![passed],
        ..batch("9:9:".parse().expect("a snapshot"), vec![event(6, Some(organization(2)))])
    };
    let packed =
        pack(step, &from, &found, |event| event.organization == Some(organization(2)), 10_000).expect("it fits");
    let channels: Vec<_> = packed.parts.iter().map(|(channel, _)| *channel).collect();
    assert_eq!(channels, [Channel::Everybody, Channel::Organization(organization(1))]);
    let mut gathering = Gathering::default();
    let mut whole = None;
    for message in messages(packed) {
        match message {
            Message::Part(part) => gathering.part(part),
            Message::End(end) => whole = gathering.end(end, |_| true),
        }
    }
    let Some(Heard::News(heard)) = whole.map(|whole| whole.beyond(&from, EPOCH)) else { panic!("all of it came") };
    assert_eq!((heard.events, heard.tables, heard.passed), (found.events, found.tables, found.passed));
    assert!(pack(step, &from, &batch(from.clone(), vec![event(6, None)]), |_| false, 100).is_none(), "too large");
}

#[test]
fn who_serves_nothing_of_an_organization_hears_of_the_mutations_in_it_and_of_no_row() {
    let from: Snapshot = "5:5:".parse().expect("a snapshot");
    let (person, mutation_id) = (PersonId(Uuid::from_u128(8)), crate::overlay::MutationId(Uuid::from_u128(9)));
    let own = |xid| Event { actor: Some(person), mutation: Some(mutation_id), ..event(xid, Some(organization(1))) };
    let found = batch("9:9:".parse().expect("a snapshot"), vec![own(6), own(6)]);
    let step = StepId { publisher: Uuid::nil(), number: 1 };
    let mut gathering = Gathering::default();
    for message in messages(pack(step, &from, &found, |_| false, 10_000).expect("it fits")) {
        match message {
            Message::Part(part) if part.channel == Channel::Everybody => gathering.part(part),
            Message::Part(_) => {}
            Message::End(end) => {
                let whole = gathering.end(end, |_| false).expect("what concerns everybody came");
                let Heard::News(heard) = whole.beyond(&from, EPOCH) else { panic!("it is news") };
                assert_eq!(heard.passed, [(person, Passed { mutation_id, xid: Xid(6) })]);
                assert!(heard.events.is_empty());
            }
        }
    }
}

#[test]
fn the_elder_of_two_publishers_goes_on() {
    let now = Instant::now();
    let (elder, younger) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut both = [elder, younger].map(|me| Publishing::new(me, now));
    for publishing in &mut both {
        assert!(publishing.silent_at().is_some_and(|at| at >= now + SILENCE));
        publishing.take_over();
        assert!(publishing.is_mine() && publishing.silent_at().is_none());
    }
    let [first, second] = &mut both;
    assert!(!first.heard(younger, now) && first.is_mine());
    assert!(second.heard(elder, now) && !second.is_mine());
    // It is quiet for as long as it hears anybody.
    let later = now + SILENCE;
    assert!(!second.heard(Uuid::from_u128(3), later));
    assert!(second.silent_at().is_some_and(|at| at >= later + SILENCE));
}
