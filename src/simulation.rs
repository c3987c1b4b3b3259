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
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

/// The promise that the schedule breaks, if it breaks one, with what happened.
fn broken(schedule: &Schedule, trace: bool) -> (Option<String>, Vec<String>) {
    match catch_unwind(AssertUnwindSafe(|| World::run(schedule, trace))) {
        Ok((outcome, trace)) => (outcome.err(), trace),
        Err(_) => (Some("it panicked".to_owned()), Vec::new()),
    }
}

fn report(seed: u64, first: &str) -> String {
    let schedule = Schedule::of(seed);
    let length = schedule.steps.len();
    let shrunk = schedule.shrunk(|shorter| broken(shorter, false).0.is_some());
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
    if let Some((seed, first)) = failures.iter().min() {
        let mut kinds: Vec<_> = failures
            .iter()
            .map(|(seed, why)| format!("{seed}: {}", why.chars().take(150).collect::<String>()))
            .collect();
        kinds.sort();
        kinds.truncate(40);
        panic!("{} of {} schedules fail\n{}\n{}", failures.len(), seeds.len(), kinds.join("\n"), report(*seed, first));
    }
}
