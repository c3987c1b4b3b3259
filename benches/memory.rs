//! What a key costs in memory: the client beside its value, and the hub where it is watched. `make bench`, counted by the allocator.

#[path = "shared/routed.rs"]
#[allow(dead_code)]
mod routed;
#[path = "shared/watched.rs"]
#[allow(dead_code)] // it is shared with benches that use all of it
mod watched;

use millstream::client::Client;
use millstream::overlay::AnyValue;
use routed::Filter;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::sync::Arc;
use watched::{Watched, key, read};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Just below the size at which the maps grow, and just above it: what is allocated for room to grow counts too.
const COUNTS: [u32; 3] = [7_000, 10_000, 14_000];

fn held<T>(make: impl FnOnce() -> T) -> (isize, T) {
    let region = Region::new(ALLOCATOR);
    let made = make();
    let change = region.change();
    (change.bytes_allocated as isize - change.bytes_deallocated as isize, made)
}

/// Values that nobody shows: all share one, which so counts nothing.
fn idle(keys: u32) -> Client {
    let value: AnyValue = Arc::new(0_u64);
    let mut client = Client::default();
    client.connected();
    for number in 0..keys {
        client.hydrate(&key(number), Ok(read(&value, 10)));
        client.flush();
        client.take_effects();
    }
    client
}

fn main() {
    println!("{:>8}  {:>24}  {:>24}", "keys", "bytes an idle key", "bytes an observed key");
    for keys in COUNTS {
        let (idle, _idle) = held(|| idle(keys));
        let (observed, _observed) = held(|| Watched::new(keys));
        println!("{keys:>8}  {:>24}  {:>24}", idle / keys as isize, observed / keys as isize);
    }
    println!("{:>8}  {:>24}  {:>24}", "keys", "the hub, a record", "the hub, status, person");
    for keys in COUNTS {
        let [record, list] =
            [Filter::Record, Filter::StatusAndPerson].map(|filter| held(|| routed::watched(keys, filter)).0);
        println!("{keys:>8}  {:>24}  {:>24}", record / keys as isize, list / keys as isize);
    }
}
