//! What the client costs in a browser, for `end2end/bench/invalidation.bench.ts`, which holds the clock.

#[path = "../../shared/watched.rs"]
mod watched;

use millstream::wire::Tick;
use wasm_bindgen::prelude::*;
use watched::{Fetch, Watched};

/// A client with many watched keys.
#[wasm_bindgen]
pub struct Bench {
    watched: Watched,
    ticks: Vec<Tick>,
    fetches: Vec<Fetch>,
}

#[wasm_bindgen]
impl Bench {
    #[wasm_bindgen(constructor)]
    pub fn new(keys: u32) -> Self {
        Self { watched: Watched::new(keys), ticks: Vec::new(), fetches: Vec::new() }
    }

    /// Makes ticks that name one key each.
    pub fn prepare_single(&mut self, rounds: u32) {
        self.ticks = (0..rounds).map(|_| self.watched.next_single_tick()).collect();
        // They are taken from the end.
        self.ticks.reverse();
    }

    /// Makes a tick that names all keys.
    pub fn prepare_all(&mut self, keys: u32) {
        self.ticks = vec![self.watched.next_tick(1..=keys)];
    }

    /// Tells what was prepared; of each tick, the fetches that it leads to are answered before the next.
    pub fn run(&mut self) -> u32 {
        let mut count = 0;
        while let Some(tick) = self.ticks.pop() {
            let fetches = self.watched.tell(tick);
            count += fetches.len() as u32;
            self.watched.answer(fetches);
        }
        count
    }

    /// Tells the tick that was prepared. Its fetches are answered by [`Bench::settle`].
    pub fn tell(&mut self) -> u32 {
        self.fetches = self.ticks.pop().map(|tick| self.watched.tell(tick)).unwrap_or_default();
        self.fetches.len() as u32
    }

    pub fn settle(&mut self) {
        self.watched.answer(std::mem::take(&mut self.fetches));
    }
}
