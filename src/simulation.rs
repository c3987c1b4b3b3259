//! The simulator: the real pure code of client and hub against a model of the database.

mod database;
mod link;
mod node;
mod product;
mod request;
mod schedule;
mod tab;
mod world;

use schedule::Schedule;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// The promise that the schedule breaks, if it breaks one, with what happened.
fn broken(schedule: &Schedule, trace: bool) -> (Option<String>, Vec<String>) {
    match catch_unwind(AssertUnwindSafe(|| World::run(schedule, trace))) {
        Ok((outcome, trace)) => (outcome.err(), trace),
        Err(_) => (Some("it panicked".to_owned()), Vec::new()),
    }
}

/// How the seed fails, in as few steps as possible.
fn report(seed: u64) -> String {
    let schedule = Schedule::of(seed);
    let length = schedule.steps.len();
    let kind = |why: &str| why.split(':').next().unwrap_or_default().to_owned();
    let first = broken(&schedule, false).0.unwrap_or_default();
    let shrunk = schedule.shrunk(|shorter| broken(shorter, false).0.is_some_and(|why| kind(&why) == kind(&first)));
    let (why, trace) = broken(&shrunk, true);
    format!(
        "SEED={seed}: {first}\nshrunk from {length} to {} steps: {}\ntabs of persons {:?}, {} servers, {:?}\n{}\n",
        shrunk.steps.len(),
        why.unwrap_or_default(),
        shrunk.tabs,
        shrunk.nodes,
        shrunk.limits,
        trace.join("\n")
    )
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..40 {
        let schedule = Schedule::of(seed);
        let (first, again) = (World::run(&schedule, true), World::run(&schedule, true));
        // Numbers of watches and tickets are given out in the order of a hash map; nothing may follow from them.
        let without_numbers = |(outcome, trace): (Result<(), String>, Vec<String>)| (outcome, trace.len());
        assert_eq!(without_numbers(first), without_numbers(again), "seed {seed}");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn promises_hold_whatever_is_lost_late_twice_cut_or_crashed() {
    let seeds: Vec<u64> = match number("SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SEEDS").unwrap_or(2_000)).collect(),
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let run = |worker: usize| -> Vec<(u64, String)> {
        let its = seeds.iter().skip(worker).step_by(workers);
        its.filter_map(|seed| Some((*seed, broken(&Schedule::of(*seed), false).0?))).collect()
    };
    let failures: Vec<(u64, String)> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..workers)
            .map(|worker| {
                scope.spawn({
                    let run = &run;
                    move || run(worker)
                })
            })
            .collect();
        running.into_iter().flat_map(|worker| worker.join().expect("panics are caught")).collect()
    });
    // Of each promise that was broken, the first seed that breaks it.
    let mut kinds: BTreeMap<&str, (usize, u64, &str)> = BTreeMap::new();
    for (seed, why) in &failures {
        let kind = why.split(':').next().unwrap_or_default();
        let (count, first, _) = kinds.entry(kind).or_insert((0, *seed, why));
        *count += 1;
        *first = (*first).min(*seed);
    }
    let reports: Vec<_> =
        kinds.values().map(|(count, seed, _)| format!("{count} of {}: {}", seeds.len(), report(*seed))).collect();
    assert!(reports.is_empty(), "{} of {} schedules fail\n{}", failures.len(), seeds.len(), reports.join("\n"));
}
