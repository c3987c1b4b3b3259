//! How fast the client finds what a change makes stale, among how many watched keys: `make bench`.
//!
//! Each round a tick names one key of N, the client asks for it, and the answer comes. Prints the median of the rounds;
//! flat from 1,000 to 100,000 keys means that an event costs what it matches.

use millstream::client::{Client, Effect};
use millstream::key::{OrganizationId, QueryKey, Shape};
use millstream::wire::{Read, Stale, Tick};
use millstream::{Epoch, Snapshot, Xid};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const ROUNDS: u64 = 20_000;

fn snapshot(xmax: u64) -> Snapshot {
    match format!("{xmax}:{xmax}:").parse() {
        Ok(snapshot) => snapshot,
        Err(error) => panic!("{error}"),
    }
}

fn read(value: u64, at: u64, epoch: Epoch) -> Read<millstream::overlay::AnyValue> {
    Read { data: Arc::new(value), snapshot: snapshot(at), epoch, contains: Vec::new() }
}

fn tick(cursor: u64, epoch: Epoch, stale: Vec<Stale>, watching: Vec<u32>) -> Tick {
    Tick { cursor: snapshot(cursor), epoch, stale, watching, refused: Vec::new(), mutations: Vec::new() }
}

fn median_round(keys: u32) -> Duration {
    let organization = OrganizationId(Uuid::from_u128(1));
    let epoch = Epoch(Uuid::from_u128(2));
    let mut client = Client::default();
    client.connected();
    for number in 0..keys {
        let key = QueryKey { organization, table: "things", shape: Shape::Record(Uuid::from_u128(number.into())) };
        client.hydrate(&key, Ok(read(0, 10, epoch)));
        client.observe(&key);
    }
    client.flush();
    client.take_effects();
    client.ticked(tick(10, epoch, Vec::new(), (1..=keys).collect()));
    client.take_effects();

    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let (xid, cursor) = (11 + 2 * round, 12 + 2 * round);
        // A stride that is coprime to the counts: neighbours in memory are not asked one after the other.
        let number = (round * 7_919 % u64::from(keys)) as u32 + 1;
        let stale = vec![Stale { number, xids: vec![Xid(xid)] }];
        let frame = tick(cursor, epoch, stale, Vec::new());
        let begun = Instant::now();
        client.ticked(frame);
        let fetch = client.take_effects().into_iter().find_map(|effect| match effect {
            Effect::Fetch { key, ticket, .. } => Some((key, ticket)),
            _ => None,
        });
        let Some((key, ticket)) = fetch else { panic!("round {round} of {keys} asked for nothing") };
        client.fetched(&key, ticket, Ok(read(round, cursor, epoch)));
        client.take_effects();
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    println!("{:>12}  {:>22}  {:>22}", "watched keys", "median a change", "changes a second");
    for keys in [1_000, 10_000, 100_000] {
        let median = median_round(keys);
        println!("{keys:>12}  {:>19} ns  {:>22.0}", median.as_nanos(), 1.0 / median.as_secs_f64());
    }
}
