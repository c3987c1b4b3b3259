//! What an event costs the hub, among how many watched keys: `make bench`.
//!
//! N keys are watched over connections of ten organizations, ten of them by each filter. Each round an update leaves or
//! enters one filter, so it matches ten watchers; measured is the batch's way up to the connections to be woken. Flat from 100
//! to 100,000 keys means that an event costs what it matches. Prints the median of the rounds, for several kinds of filters.
//!
//! Then, where N connections watch the same list: to give it back on one of them, to end a session, to tell them all, and to
//! tell them that forty rows of the role catalogue changed (median of 20).

#[path = "shared/routed.rs"]
mod routed;

use millstream::Xid;
use millstream::feed::{Batch, Event, EventKind};
use millstream::hub::bench::Routed;
use millstream::key::{Change, Dependency, Facet, Facets, OrganizationId};
use routed::{ALIKE, EPOCH, Filter, id, organization, snapshot, text, watched};
use std::time::{Duration, Instant};
use uuid::Uuid;

const ROUNDS: u32 = 5_000;
const ROUNDS_OF_ALL: u32 = 20;
/// Of the role catalogue, in one transaction.
const ROLES: u32 = 40;
const OF_ALL: [u32; 4] = [100, 1_000, 10_000, 100_000];

/// The row of that id, person and organization, as an event tells it.
fn row(of: u32, status: &str) -> Option<Facets> {
    let named = |(name, value): (&str, Facet)| (name.to_owned(), value);
    let facets = [("id", id(of)), ("status", text(status)), ("assignee", id(of)), ("customer", id(of % 40))];
    Some(Facets(facets.map(named).into()))
}

fn event(xid: u64, organization: Option<OrganizationId>, table: &str) -> Event {
    Event {
        xid: Xid(xid),
        organization,
        person: None,
        record: Uuid::nil(),
        kind: EventKind::Update,
        audience: None,
        actor: None,
        mutation: None,
        change: Change { table: table.to_owned(), old: None, new: None },
    }
}

fn batch(xid: u64, events: Vec<Event>) -> Batch {
    let (tables, passed) = (Vec::new(), Vec::new());
    Batch { cursor: snapshot(xid + 1), epoch: EPOCH, events, tables, passed, is_restart: false, since: None }
}

fn update(xid: u64, of: u32) -> Batch {
    let (old, new) = if xid.is_multiple_of(4) { ("open", "shipped") } else { ("shipped", "open") };
    let change = Change { table: "orders".to_owned(), old: row(of, old), new: row(of, new) };
    batch(xid, vec![Event { change, ..event(xid, Some(organization(of)), "orders") }])
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn an_event(keys: u32, filter: Filter) -> Duration {
    let mut routed = watched(keys, filter);
    let round = |round: u32| {
        // A stride that is coprime to the counts: no neighbour in memory of the one before.
        let of = (u64::from(round) * 7_919 % u64::from(keys / ALIKE)) as u32;
        let batch = update(12 + 2 * u64::from(round), of);
        let begun = Instant::now();
        let (matches, woken) = routed.apply(batch);
        let took = begun.elapsed();
        assert_eq!(matches, ALIKE as usize, "ten watch this filter");
        let frames = woken.into_iter().map(|connection| routed.take_frames(connection).len()).sum::<usize>();
        assert_eq!(frames, ALIKE as usize, "each of the ten has a connection of its own, and one frame");
        took
    };
    median((0..ROUNDS).map(round).collect())
}

fn session(of: u32) -> Uuid {
    Uuid::from_u128(0x2000_0000_0000 + u128::from(of))
}

/// Connections that all watch one list.
struct Crowd {
    routed: Routed,
    connections: Vec<u32>,
}

impl Crowd {
    fn of(size: u32) -> Self {
        let mut routed = Routed::new(snapshot(10), EPOCH);
        let connections = (0..size).map(|of| routed.connect(session(of))).collect();
        let mut crowd = Self { routed, connections };
        crowd.watches_all();
        crowd
    }

    fn watches(&mut self, connection: u32) {
        let list = vec![Dependency::all("orders").with("status", text("open"))];
        self.routed.watch(connection, organization(0), 1, list);
    }

    fn watches_all(&mut self) {
        for connection in self.connections.clone() {
            self.watches(connection);
            self.routed.take_frames(connection);
        }
    }

    /// From the batch to whom is woken.
    fn told(&mut self, batch: Batch, woken: usize) -> Duration {
        let begun = Instant::now();
        let (_, told) = self.routed.apply(batch);
        let took = begun.elapsed();
        assert_eq!(told.len(), woken, "so many are concerned");
        told.into_iter().for_each(|connection| drop(self.routed.take_frames(connection)));
        took
    }
}

fn giving_back(crowd: &mut Crowd) -> Duration {
    let round = |round: u32| {
        let connection = crowd.connections[(u64::from(round) * 7_919 % crowd.connections.len() as u64) as usize];
        let begun = Instant::now();
        crowd.routed.unwatch(connection, 1);
        let took = begun.elapsed();
        crowd.watches(connection);
        crowd.routed.take_frames(connection);
        took
    };
    median((0..ROUNDS).map(round).collect())
}

fn telling_all(crowd: &mut Crowd) -> Duration {
    let round = |round: u32| crowd.told(update(12 + 2 * u64::from(round), 0), crowd.connections.len());
    median((0..ROUNDS_OF_ALL).map(round).collect())
}

fn changing_roles(crowd: &mut Crowd) -> Duration {
    let round = |round: u32| {
        let xid = 1_012 + 2 * u64::from(round);
        let took = crowd.told(batch(xid, vec![event(xid, None, "roles"); ROLES as usize]), crowd.connections.len());
        crowd.watches_all();
        took
    };
    median((0..ROUNDS_OF_ALL).map(round).collect())
}

/// The sessions of a hundred connections, one a batch.
fn ending_sessions(crowd: &mut Crowd) -> Duration {
    let round = |of: u32| {
        let xid = 2_012 + 2 * u64::from(of);
        let ended = Event { kind: EventKind::Delete, record: session(of), ..event(xid, None, "sessions") };
        crowd.told(batch(xid, vec![ended]), 1)
    };
    median((0..100).map(round).collect())
}

fn micros(time: Duration) -> String {
    format!("{:>16.2} µs", time.as_secs_f64() * 1e6)
}

fn main() {
    let columns = ["a record", "status, person", "statuses, person", "narrowed"];
    println!("{:>12}{}", "watched keys", columns.map(|column| format!("{column:>19}")).concat());
    for keys in OF_ALL {
        let filters = [Filter::Record, Filter::StatusAndPerson, Filter::StatusesAndPerson, Filter::Narrowed];
        println!("{keys:>12}{}", filters.map(|filter| micros(an_event(keys, filter))).concat());
    }
    let columns = ["giving back", "ending a session", "telling all", "forty roles"];
    println!("{:>12}{}", "connections", columns.map(|column| format!("{column:>19}")).concat());
    for connections in OF_ALL {
        let crowd = &mut Crowd::of(connections);
        let (given_back, told, roles) = (giving_back(crowd), telling_all(crowd), changing_roles(crowd));
        println!("{connections:>12}{}", [given_back, ending_sessions(crowd), told, roles].map(micros).concat());
    }
}
