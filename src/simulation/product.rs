//! What is sold in the simulation: orders with a status, a customer, a counter and a title, lines that belong to them,
//! and members with roles. Reads and writes follow the shape of the product's: rights first, then the statement.

mod changes;
mod queries;

pub(super) use changes::{OrderChange, Write};
pub(super) use queries::{Query, catalogue, judge, registry, watch_rights};

use crate::key::{Facet, Facets, ID, OrganizationId, PersonId};
use crate::live::Live;
use crate::overlay::AnyValue;
use crate::snapshot::{Stamp, Xid};
use queries::{CATALOGUE, LINES, Members, Orders};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A mutation's answer: the value it brings is the record of the order.
pub(super) type Written = (Option<Xid>, Stamp, Option<AnyValue>);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Row {
    Order(Order),
    Line(Line),
    Member(Member),
    /// What the role of a guest may see.
    Catalogue {
        guests_see_orders: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) id: Uuid,
    pub(super) organization: OrganizationId,
    pub(super) status: i64,
    pub(super) customer: Uuid,
    pub(super) counter: i64,
    pub(super) title: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) id: Uuid,
    pub(super) organization: OrganizationId,
    pub(super) order: Uuid,
    pub(super) quantity: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) organization: OrganizationId,
    pub(super) person: PersonId,
    pub(super) role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Role {
    Manager,
    /// Sees the orders of one customer, and changes none.
    Buyer(Uuid),
    /// Sees orders if the catalogue says so.
    Guest,
}

impl Row {
    pub(super) fn table(&self) -> &'static str {
        match self {
            Row::Order(_) => Orders::TABLE,
            Row::Line(_) => LINES,
            Row::Member(_) => Members::TABLE,
            Row::Catalogue { .. } => CATALOGUE,
        }
    }

    pub(super) fn organization(&self) -> Option<OrganizationId> {
        match self {
            Row::Order(order) => Some(order.organization),
            Row::Line(line) => Some(line.organization),
            Row::Member(member) => Some(member.organization),
            Row::Catalogue { .. } => None,
        }
    }

    pub(super) fn person(&self) -> Option<PersonId> {
        match self {
            Row::Member(member) => Some(member.person),
            _ => None,
        }
    }

    pub(super) fn facets(&self) -> Facets {
        let facets: Vec<(&str, Facet)> = match self {
            Row::Order(order) => vec![
                (ID, order.id.into()),
                ("status", Facet::Integer(order.status)),
                ("customer", order.customer.into()),
            ],
            Row::Line(line) => vec![(ID, line.id.into()), ("order", line.order.into())],
            Row::Member(member) => vec![(ID, membership(member.organization, member.person).into())],
            Row::Catalogue { .. } => vec![(ID, CATALOGUE_ROW.into())],
        };
        Facets(facets.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

pub(super) const CATALOGUE_ROW: Uuid = Uuid::from_u128(0xCA);

pub(super) fn organization(number: u32) -> OrganizationId {
    OrganizationId(Uuid::from_u128(0xA0 + u128::from(number % 2)))
}

pub(super) fn person(number: u32) -> PersonId {
    PersonId(Uuid::from_u128(0xB0 + u128::from(number % 3)))
}

pub(super) fn customer(number: u32) -> Uuid {
    Uuid::from_u128(0xC0 + u128::from(number % 2))
}

pub(super) fn membership(organization: OrganizationId, person: PersonId) -> Uuid {
    Uuid::from_u128(0xD_0000 + (organization.0.as_u128() << 8) + person.0.as_u128())
}
