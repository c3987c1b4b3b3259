//! How fast the client finds what a change makes stale, among how many watched keys: `make bench`.
//!
//! Each round a tick names one key of N, the client asks for it, and the answer comes. Prints the median of the rounds;
//! flat from 1,000 to 100,000 keys means that an event costs what it matches. Then a tick that names all of them.

#[path = "shared/watched.rs"]
mod watched;

use std::time::{Duration, Instant};
use watched::Watched;

const ROUNDS: u32 = 20_000;
const ROUNDS_OF_ALL: u32 = 20;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn one_of(keys: u32) -> Duration {
    let mut watched = Watched::new(keys);
    let round = |_| {
        let tick = watched.next_single_tick();
        let begun = Instant::now();
        let fetches = watched.tell(tick);
        assert_eq!(fetches.len(), 1, "one key was named");
        watched.answer(fetches);
        begun.elapsed()
    };
    median((0..ROUNDS).map(round).collect())
}

/// From the tick to all the fetches that are asked for.
fn all_of(keys: u32) -> Duration {
    let mut watched = Watched::new(keys);
    let round = |_| {
        let tick = watched.next_tick(1..=keys);
        let begun = Instant::now();
        let fetches = watched.tell(tick);
        let took = begun.elapsed();
        assert_eq!(fetches.len(), keys as usize, "all keys were named");
        watched.answer(fetches);
        took
    };
    median((0..ROUNDS_OF_ALL).map(round).collect())
}

fn main() {
    println!("{:>12}  {:>22}  {:>22}  {:>18}", "watched keys", "median a change", "changes a second", "all of them");
    for keys in [1_000, 10_000, 100_000] {
        let one = one_of(keys);
        let all = all_of(keys);
        let rate = 1.0 / one.as_secs_f64();
        println!("{keys:>12}  {:>19} ns  {rate:>22.0}  {:>15.2} ms", one.as_nanos(), all.as_secs_f64() * 1e3);
    }
}
