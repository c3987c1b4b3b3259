//! A client that watches many keys, and what a change costs it: for the native benches and for the one in a browser.

use millstream::client::{Client, Effect, Question, Ticket};
use millstream::key::{OrganizationId, QueryKey, Shape};
use millstream::overlay::AnyValue;
use millstream::wire::{Read, Stale, Tick};
use millstream::{Epoch, Snapshot, Xid};
use std::sync::Arc;
use uuid::Uuid;

const EPOCH: Epoch = Epoch(Uuid::from_u128(2));

/// What is to be fetched.
pub(crate) type Fetch = (QueryKey, Ticket, Question);

pub(crate) struct Watched {
    client: Client,
    keys: u32,
    /// The last transaction of the ticks that have been made.
    xid: u64,
    /// The cursor of the last that was told: answers are as new.
    told: u64,
}

fn snapshot(xmax: u64) -> Snapshot {
    match format!("{xmax}:{xmax}:").parse() {
        Ok(snapshot) => snapshot,
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn key(number: u32) -> QueryKey {
    let organization = OrganizationId(Uuid::from_u128(1));
    QueryKey { organization, table: "things", shape: Shape::Record(Uuid::from_u128(number.into())) }
}

pub(crate) fn read(value: &AnyValue, at: u64) -> Read<AnyValue> {
    Read { data: value.clone(), snapshot: snapshot(at), epoch: EPOCH, contains: Vec::new() }
}

fn tick(cursor: u64, stale: Vec<Stale>, watching: Vec<u32>) -> Tick {
    Tick { stale, watching, ..Tick::at(snapshot(cursor), EPOCH) }
}

impl Watched {
    /// With so many keys, each shown by one component and watched.
    pub(crate) fn new(keys: u32) -> Self {
        let mut client = Client::default();
        client.connected();
        let value: AnyValue = Arc::new(0_u64);
        for number in 0..keys {
            let key = key(number);
            client.hydrate(&key, Ok(read(&value, 10)));
            client.observe(&key);
        }
        client.flush();
        client.take_effects();
        client.ticked(tick(10, Vec::new(), (1..=keys).collect()));
        client.take_effects();
        Self { client, keys, xid: 10, told: 10 }
    }

    /// A tick that names some keys by the next transaction.
    pub(crate) fn next_tick(&mut self, numbers: impl Iterator<Item = u32>) -> Tick {
        self.xid += 2;
        let xids = vec![Xid(self.xid - 1)];
        tick(self.xid, numbers.map(|number| Stale { number, xids: xids.clone() }).collect(), Vec::new())
    }

    /// A tick that names one of them: another than the one before, and no neighbour of it in memory.
    pub(crate) fn next_single_tick(&mut self) -> Tick {
        // A stride that is coprime to the counts.
        let number = (self.xid / 2 * 7_919 % u64::from(self.keys)) as u32 + 1;
        self.next_tick(std::iter::once(number))
    }

    /// Tells the client, and gives the fetches that it asks for.
    pub(crate) fn tell(&mut self, tick: Tick) -> Vec<Fetch> {
        self.told = tick.cursor.xmax().0;
        self.client.ticked(tick);
        let fetches = self.client.take_effects().into_iter().filter_map(|effect| match effect {
            Effect::Fetch { key, ticket, question, .. } => Some((key, ticket, question)),
            _ => None,
        });
        fetches.collect()
    }

    /// The answers to these fetches.
    pub(crate) fn answer(&mut self, fetches: Vec<Fetch>) {
        let value: AnyValue = Arc::new(self.told);
        for (key, ticket, question) in fetches {
            self.client.fetched(&key, ticket, &question, Ok(read(&value, self.told)));
            self.client.take_effects();
        }
    }
}
