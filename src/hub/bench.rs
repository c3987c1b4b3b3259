//! For `benches/` and `fuzz/` alone: the routing as the hub uses it, and what a key reads, without a socket and without a database. No
//! part of the interface.

use super::missed::Candidate;
use super::registry::{Registry, Resolved, WatchRights};
use super::routing::{Registered, RightsNow, RightsThere, Routing};
use crate::error::ApiError;
use crate::feed::Batch;
use crate::key::{Dependency, OrganizationId, PersonId, QueryKey, Shape, WireKey};
use crate::snapshot::{Epoch, Snapshot};
use crate::wire::{ServerFrame, Watch, WatchNumber};
use std::collections::HashMap;
use uuid::Uuid;

/// The key by its own name, and what it reads, as far as these rights allow.
///
/// # Errors
/// Why it may not be watched.
pub fn resolve(
    registry: &Registry,
    key: &WireKey,
    rights: Option<&WatchRights>,
) -> Result<(QueryKey, Vec<Dependency>), ApiError> {
    registry.resolve(key, rights).map(|resolved| (resolved.key, resolved.dependencies))
}

pub struct Routed {
    registry: Registry,
    routing: Routing,
    cursor: Snapshot,
    epoch: Epoch,
}

impl Routed {
    pub fn new(cursor: Snapshot, epoch: Epoch) -> Self {
        let mut routed = Self {
            registry: Registry::default().rights("roles").sessions("sessions"),
            routing: Routing::default(),
            cursor,
            epoch,
        };
        let cursor = routed.cursor.clone();
        let (events, tables, passed) = (Vec::new(), Vec::new(), Vec::new());
        routed.apply(Batch { cursor, epoch, events, tables, passed, is_restart: true, since: None });
        routed
    }

    /// Of another person each time, with a session whose row has this id.
    pub fn connect(&mut self, session: Uuid) -> u32 {
        self.routing.attach(PersonId::fresh(), session)
    }

    /// The key's name plays no part, only what it reads.
    pub fn watch(
        &mut self,
        connection: u32,
        organization: OrganizationId,
        number: WatchNumber,
        reads: Vec<Dependency>,
    ) {
        let key = QueryKey { organization, table: "things", shape: Shape::Record(Uuid::nil()) };
        let (snapshot, epoch) = (self.cursor.clone(), self.epoch);
        let watch = Watch { number, key: WireKey::from(&key), snapshot, epoch };
        let version = self.routing.begin(connection, std::slice::from_ref(&watch)).unwrap_or_default();
        let candidate = Candidate { watch, resolved: Resolved { key, dependencies: reads, is_narrowed: false } };
        let registered = self.routing.register(connection, version, &RightsThere::new(), vec![candidate], Vec::new());
        if let Registered::As(candidates) = registered {
            self.routing.settle(connection, &candidates, &HashMap::new());
        }
        self.routing.take_woken();
    }

    pub fn unwatch(&mut self, connection: u32, number: WatchNumber) {
        self.routing.unwatch(connection, &[number]);
    }

    /// All that the hub does with a batch under its lock, but the wake-ups: of the tables, `roles` decides rights and `sessions` holds the
    /// sessions. Gives the matches, and whom it would wake.
    pub fn apply(&mut self, batch: Batch) -> (usize, Vec<u32>) {
        // Nobody answers: rights that are not known in time count as less.
        self.routing.rights_to_ask(&self.registry, &batch);
        let tally = self.routing.apply(&self.registry, batch, &RightsNow::new());
        (tally.matches, self.routing.take_woken())
    }

    pub fn take_frames(&mut self, connection: u32) -> Vec<ServerFrame> {
        self.routing.take_frames(connection, false).0
    }
}
