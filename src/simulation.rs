//! The simulator: the code that decides, as it is (`client`, `overlay`, `switchboard`, `hub/routing`, `hub/missed`),
//! against a model of the database, of the network and of the server's awaits.
//!
//! A seed makes a [`Schedule`]: several people with several pages each, one or two servers, changes by pages and by plain
//! SQL in transactions that are held open, and whatever can go wrong: answers that are lost, late, overtaken or come
//! twice; connections that are cut, servers that restart, rights that come and go, clocks that jump, events that are
//! dropped, and a database that crashes and gives transaction ids out again. After every step each page is looked at
//! ([`tab`]'s checks); at the end everything gets through, and what is shown has to be what the database answers.
//!
//! In the schedules of odd seeds the tabs of a person share one connection, one outbox and one [`device`]
//! ([`household`]): one of them leads, with the switchboard, until it is gone without a word and another takes over.
//!
//! Time does not pass: any pause may end at any moment, in any order. So nothing here says how long something takes.
//!
//! A seed replays exactly. Moves are chosen by their names, not by their places in a list, so that a schedule shrinks well:
//! what is left out changes none of the other choices. `make simulate SEED=1234` prints the shortest schedule that fails.
//!
//! That it can fail has been tried: `BENCHMARKS.md` says which rules were broken on purpose, and what caught each.
//!
//! Not modelled: signing out, a second person on the same device, what a person decides about refused mutations, values
//! that are dropped for their age, sessions that end, audiences, frames as JSON, the driver's own code, SQL. A read over
//! HTTP and its rights are one step, for they are one snapshot.

mod database;
mod device;
mod household;
mod link;
mod node;
mod product;
mod questions;
mod request;
mod schedule;
mod tab;
mod world;

pub(crate) use schedule::Chance;
use schedule::Schedule;
use std::collections::{BTreeMap, BTreeSet};
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
        "SEED={seed}: {first}\nshrunk from {length} to {} steps: {}\ntabs of persons {:?}{}, {} servers, {:?}\n{}\n",
        shrunk.steps.len(),
        why.unwrap_or_default(),
        shrunk.tabs,
        if shrunk.is_shared { " (each person's share a connection)" } else { "" },
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
        None => {
            let first = number("FIRST").unwrap_or(0);
            (first..first + number("SEEDS").unwrap_or(2_000)).collect()
        }
    };
    let all_cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = number("WORKERS").map_or(all_cores, |workers| workers as usize);
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
    // Of each promise that was broken, the seeds that break it; the first is told in full.
    let mut kinds: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for (seed, why) in &failures {
        kinds.entry(why.split(':').next().unwrap_or_default()).or_default().insert(*seed);
    }
    let told = |its: &BTreeSet<u64>| its.first().map(|first| format!("{its:?}: {}", report(*first)));
    let reports: Vec<_> = kinds.values().filter_map(told).collect();
    assert!(reports.is_empty(), "{} of {} schedules fail\n{}", failures.len(), seeds.len(), reports.join("\n"));
}
