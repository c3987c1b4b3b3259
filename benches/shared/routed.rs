//! A hub at which many keys are watched, over connections of several organizations: for the benches of time and of memory.

use millstream::hub::bench::Routed;
use millstream::key::{Dependency, Facet, OrganizationId};
use millstream::{Epoch, Snapshot};
use uuid::Uuid;

const ORGANIZATIONS: u32 = 10;
/// So many watch by the same filter.
pub(crate) const ALIKE: u32 = 10;
const FILTERS_A_CONNECTION: u32 = 200;
pub(crate) const EPOCH: Epoch = Epoch(Uuid::from_u128(1));

/// What is watched of the table.
#[derive(Clone, Copy)]
pub(crate) enum Filter {
    /// One row, by its id.
    Record,
    /// A status that all ask for, and one of many people.
    StatusAndPerson,
    /// One of two statuses, and one of many people.
    StatusesAndPerson,
    /// A status, one of many people, and one of forty customers, as narrowed rights add them.
    Narrowed,
}

pub(crate) fn text(value: &str) -> Facet {
    Facet::Text(value.to_owned())
}

pub(crate) fn id(of: u32) -> Facet {
    Uuid::from_u128(0x1000_0000_0000 + u128::from(of)).into()
}

impl Filter {
    fn dependency(self, of: u32) -> Dependency {
        let orders = Dependency::all("orders");
        match self {
            Filter::Record => orders.with("id", id(of)),
            Filter::StatusAndPerson => orders.with("status", text("open")).with("assignee", id(of)),
            Filter::StatusesAndPerson => {
                orders.with_any("status", vec![text("open"), text("released")]).with("assignee", id(of))
            }
            Filter::Narrowed => orders
                .with("status", text("open"))
                .with("assignee", id(of))
                .with_any("customer", (0..40).map(id).collect()),
        }
    }
}

pub(crate) fn snapshot(xmax: u64) -> Snapshot {
    match format!("{xmax}:{xmax}:").parse() {
        Ok(snapshot) => snapshot,
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn organization(number: u32) -> OrganizationId {
    OrganizationId(Uuid::from_u128(u128::from(number % ORGANIZATIONS) + 2))
}

/// Filter `n` is watched in organization `n mod 10`, by ten connections, each of which watches up to 200 filters.
pub(crate) fn watched(keys: u32, filter: Filter) -> Routed {
    let mut routed = Routed::new(snapshot(10), EPOCH);
    let filters = keys / ALIKE;
    for organization_number in 0..ORGANIZATIONS {
        let its: Vec<u32> = (organization_number..filters).step_by(ORGANIZATIONS as usize).collect();
        for page in its.chunks(FILTERS_A_CONNECTION as usize) {
            for _ in 0..ALIKE {
                let connection = routed.connect(Uuid::now_v7());
                for (number, of) in (1..).zip(page) {
                    routed.watch(connection, organization(organization_number), number, vec![filter.dependency(*of)]);
                }
                routed.take_frames(connection);
            }
        }
    }
    routed
}
