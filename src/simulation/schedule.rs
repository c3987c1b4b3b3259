//! What happens in a run, and in which order: made from a seed, and nothing but a list, so that any part of it can be
//! run again. Each step brings the numbers that its choices are resolved with.

use super::node::Limits;
use std::hash::{Hash, Hasher};

/// SplitMix64 (Steele, Lea, Flood 2014), here so that a seed means the same for ever.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 32) as u32
    }

    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.next() % bound
    }
}

/// FNV-1a: a name's number, the same in every build.
#[derive(Clone, Copy)]
pub(super) struct Name(u64);

impl Name {
    pub(super) fn of(named: impl Hash) -> u64 {
        let mut name = Self(0xCBF2_9CE4_8422_2325);
        named.hash(&mut name);
        name.0
    }
}

impl Hasher for Name {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Clone, Debug)]
pub(super) struct Schedule {
    /// Whose each is.
    pub(super) tabs: Vec<u32>,
    /// The tabs of a person share one connection.
    pub(super) is_shared: bool,
    pub(super) nodes: usize,
    pub(super) limits: Limits,
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) what: What,
    pub(super) a: u32,
    pub(super) b: u32,
    pub(super) c: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Whatever can go on goes on: a few moves, chosen by `b` and `c`.
    GoOn,
    /// One such move, chosen by `a` and `b`.
    Move,
    Observe,
    Unobserve,
    Mutate,
    /// Plain SQL, by nobody, in a transaction that may be held open.
    Sql,
    EndSql,
    Membership,
    Catalogue,
    LoseRequest,
    RepeatRequest,
    Cut,
    RestartServer,
    Crash,
    DropEvents,
    Reload,
    /// All tabs of a person at once: the device is started again.
    Restart,
    Clock,
    Collect,
}

/// With how often each comes, beside the others.
const FAULTS: [(What, u32); 11] = [
    (What::Membership, 8),
    (What::Catalogue, 3),
    (What::LoseRequest, 8),
    (What::RepeatRequest, 5),
    (What::Cut, 6),
    (What::RestartServer, 2),
    (What::Crash, 3),
    (What::DropEvents, 3),
    (What::Reload, 2),
    (What::Clock, 3),
    (What::Collect, 3),
];

impl Step {
    /// The moves of which the step consists.
    pub(super) fn moves(&self) -> Option<Vec<Step>> {
        if self.what != What::GoOn {
            return None;
        }
        let mut chance = Chance(u64::from(self.b) << 32 | u64::from(self.c));
        let one = |_| Step { what: What::Move, a: chance.next(), b: chance.next(), c: 0 };
        Some((0..1 + self.a % 8).map(one).collect())
    }
}

impl Schedule {
    /// Each seed leaves some kinds of faults out, so that the others are seen by themselves too.
    pub(super) fn of(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let mut weights = vec![
            (What::GoOn, 60),
            (What::Observe, 18),
            (What::Unobserve, 6),
            (What::Mutate, 16),
            (What::Sql, 8),
            (What::EndSql, 8),
        ];
        weights.extend(FAULTS.into_iter().filter(|_| chance.below(5) < 2));
        let is_shared = seed % 2 == 1;
        if is_shared {
            // Who leads has to change often enough.
            weights.extend([(What::Reload, 5), (What::Restart, 2)]);
        }
        let total = weights.iter().map(|(_, weight)| weight).sum();
        let pick = |chance: &mut Chance| {
            let mut left = chance.below(total);
            for (what, weight) in &weights {
                if left < *weight {
                    return *what;
                }
                left -= weight;
            }
            What::GoOn
        };
        // Of those that share, more belong together.
        let people = if is_shared { 2 } else { 3 };
        let tabs = (0..2 + chance.below(3)).map(|_| chance.below(people)).collect();
        let nodes = 1 + chance.below(2) as usize;
        let few = |chance: &mut Chance, often| if chance.below(4) == 0 { 1 + chance.below(4) as usize } else { often };
        let limits = Limits { events_a_step: few(&mut chance, 5_000), missed: few(&mut chance, 2_000) };
        let length = 20 + chance.below(70);
        let steps = (0..length)
            .map(|_| Step { what: pick(&mut chance), a: chance.next(), b: chance.next(), c: chance.next() })
            .collect();
        Self { tabs, is_shared, nodes, limits, steps }
    }

    /// The same, with each move a step of its own.
    fn in_single_moves(&self) -> Self {
        let steps = self.steps.iter().flat_map(|step| step.moves().unwrap_or_else(|| vec![*step]));
        Self { steps: steps.collect(), ..self.clone() }
    }

    /// The shortest schedule that still fails, found by leaving out ever smaller parts (delta debugging, Zeller 2002).
    pub(super) fn shrunk(&self, fails: impl Fn(&Schedule) -> bool) -> Self {
        let mut this = self.in_single_moves();
        let mut size = this.steps.len().div_ceil(2).max(1);
        loop {
            let before = this.steps.len();
            let mut at = 0;
            while at < this.steps.len() {
                let mut shorter = this.clone();
                shorter.steps.drain(at..(at + size).min(this.steps.len()));
                if fails(&shorter) {
                    this = shorter;
                } else {
                    at += size;
                }
            }
            if size == 1 && this.steps.len() == before {
                return this;
            }
            size = size.div_ceil(2).max(1);
        }
    }
}
