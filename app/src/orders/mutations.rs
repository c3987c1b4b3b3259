//! What people do to orders, and how it looks before the server has it.

use super::{
    Line, LineChanges, LineId, Order, OrderChanges, OrderId, OrderPage, OrderParameters, OrderRow, Orders, Sort, api,
};
use crate::change::{Change, Disputes};
use crate::customers::CustomerId;
use crate::tenancy::session::Done;
use crate::ui::time::now;
use millstream::live::RecordQuery;
use millstream::{
    AnyMutation, ApiError, Dispute, Mutation, MutationId, OrganizationId, PersonId, QueryKey, Shown, Written,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use time::Date;
use uuid::Uuid;

impl OrderParameters {
    fn matches(&self, row: &OrderRow) -> bool {
        self.status.is_none_or(|status| status == row.status)
            && self.customer_id.is_none_or(|customer| customer == row.customer_id)
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub struct CreateOrder {
    pub organization: OrganizationId,
    pub id: OrderId,
    pub title: String,
    pub customer_id: CustomerId,
    /// The name that goes with it, for as long as the server has not said.
    pub customer: String,
    pub due_on: Option<Date>,
    pub by: (PersonId, String),
    pub at: i64,
}

impl CreateOrder {
    fn row(&self) -> OrderRow {
        OrderRow {
            id: self.id,
            number: None,
            title: self.title.clone(),
            status: super::Status::Draft,
            customer_id: self.customer_id,
            customer: self.customer.clone(),
            assignee_id: None,
            assignee: None,
            due_on: self.due_on,
            created_at: self.at,
            updated_at: self.at,
            updated_by: Some(self.by.0),
            updated_by_name: Some(self.by.1.clone()),
        }
    }
}

impl Mutation for CreateOrder {
    const NAME: &'static str = "orders/create";
    type Output = Order;

    fn organization(&self) -> OrganizationId {
        self.organization
    }

    fn records(&self) -> Vec<Uuid> {
        vec![self.id.0]
    }

    fn label(&self) -> String {
        format!("New order “{}”", self.title)
    }

    fn inverse(&self) -> Option<AnyMutation> {
        let order = Order { row: self.row(), created_by_name: Some(self.by.1.clone()), lines: Vec::new() };
        Some(Arc::new(DeleteOrder { organization: self.organization, order, by: self.by.clone() }))
    }

    fn typed(&self) -> Option<String> {
        Some(self.title.clone())
    }

    fn retyped(&self, text: &str) -> Option<Self> {
        Some(Self { title: text.to_owned(), ..self.clone() })
    }

    fn show(&self, on: &mut Shown<'_>) {
        on.record::<Orders>(self.id, |order| {
            order.get_or_insert_with(|| Order {
                row: self.row(),
                created_by_name: Some(self.by.1.clone()),
                lines: Vec::new(),
            });
        });
        on.lists::<Orders>(|parameters, page| {
            let row = self.row();
            let belongs = parameters.matches(&row) && parameters.page.is_start() && parameters.sort != Sort::Due;
            if belongs && !page.rows.iter().any(|other| other.id == self.id) {
                page.rows.insert(0, row);
                page.total += 1;
            }
        });
    }

    fn answers(&self) -> Option<QueryKey> {
        Some(Orders::record_key(self.organization, self.id))
    }

    async fn send(self, id: MutationId) -> Result<Written<Order>, ApiError> {
        api::create(self.organization, id, self.id, self.title, self.customer_id, None, None, self.due_on).await
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub struct UpdateOrder {
    pub organization: OrganizationId,
    pub id: OrderId,
    pub changes: OrderChanges,
    /// The name of the new customer or assignee, where there is one.
    pub name: Option<String>,
    /// The name of the one before.
    pub name_before: Option<String>,
    pub by: (PersonId, String),
}

impl UpdateOrder {
    fn over(&self, row: &mut OrderRow) {
        let OrderChanges { title, status, customer_id, assignee_id, due_on } = &self.changes;
        Change::apply(title, &mut row.title);
        Change::apply(status, &mut row.status);
        Change::apply(due_on, &mut row.due_on);
        if let Some(change) = customer_id {
            row.customer_id = change.to;
            row.customer = self.name.clone().unwrap_or_default();
        }
        if let Some(change) = assignee_id {
            row.assignee_id = change.to;
            row.assignee.clone_from(&self.name);
        }
        row.updated_by = Some(self.by.0);
        row.updated_by_name = Some(self.by.1.clone());
    }
}

impl Mutation for UpdateOrder {
    const NAME: &'static str = "orders/update";
    type Output = Order;

    fn organization(&self) -> OrganizationId {
        self.organization
    }

    fn records(&self) -> Vec<Uuid> {
        vec![self.id.0]
    }

    fn label(&self) -> String {
        let OrderChanges { title, status, customer_id, assignee_id, due_on } = &self.changes;
        let name = self.name.as_deref();
        if let Some(change) = title {
            format!("Rename to “{}”", change.to)
        } else if let Some(change) = status {
            format!("Status: {}", change.to.label())
        } else if customer_id.is_some() {
            format!("Customer: {}", name.unwrap_or_default())
        } else if assignee_id.is_some() {
            format!("Assignee: {}", name.unwrap_or("nobody"))
        } else if let Some(change) = due_on {
            format!("Due: {}", due_text(&change.to))
        } else {
            "No change".to_owned()
        }
    }

    fn inverse(&self) -> Option<AnyMutation> {
        let OrderChanges { title, status, customer_id, assignee_id, due_on } = &self.changes;
        let changes = OrderChanges {
            title: title.as_ref().map(Change::inverse),
            status: status.as_ref().map(Change::inverse),
            customer_id: customer_id.as_ref().map(Change::inverse),
            assignee_id: assignee_id.as_ref().map(Change::inverse),
            due_on: due_on.as_ref().map(Change::inverse),
        };
        let (name, name_before) = (self.name_before.clone(), self.name.clone());
        Some(Arc::new(Self { changes, name, name_before, ..self.clone() }))
    }

    fn disputes(&self, current: &serde_json::Value) -> Vec<Dispute> {
        let Ok(order) = serde_json::from_value::<Order>(current.clone()) else { return Vec::new() };
        let OrderChanges { title, status, customer_id, assignee_id, due_on } = &self.changes;
        let row = &order.row;
        let customer = |id: &CustomerId| {
            if *id == row.customer_id { row.customer.clone() } else { self.name.clone().unwrap_or_default() }
        };
        let assignee = |id: &Option<PersonId>| match id {
            None => "nobody".to_owned(),
            id if *id == row.assignee_id => row.assignee.clone().unwrap_or_default(),
            Some(_) => self.name.clone().unwrap_or_default(),
        };
        Disputes::over(row.id, &row.updated_by_name, row.updated_at)
            .field("title", title, &row.title, String::clone)
            .field("status", status, &row.status, |status| status.label().to_owned())
            .field("customer", customer_id, &row.customer_id, customer)
            .field("assignee", assignee_id, &row.assignee_id, assignee)
            .field("due date", due_on, &row.due_on, due_text)
            .found()
    }

    fn rebased(&self, current: &serde_json::Value) -> Option<Self> {
        let row = serde_json::from_value::<Order>(current.clone()).ok()?.row;
        let changes = OrderChanges {
            title: Change::rebased(&self.changes.title, &row.title),
            status: Change::rebased(&self.changes.status, &row.status),
            customer_id: Change::rebased(&self.changes.customer_id, &row.customer_id),
            assignee_id: Change::rebased(&self.changes.assignee_id, &row.assignee_id),
            due_on: Change::rebased(&self.changes.due_on, &row.due_on),
        };
        Some(Self { changes, ..self.clone() })
    }

    fn typed(&self) -> Option<String> {
        self.changes.title.as_ref().map(|title| title.to.clone())
    }

    fn retyped(&self, text: &str) -> Option<Self> {
        let title = self.changes.title.as_ref().map(|title| Change::to(title, text.to_owned()))?;
        Some(Self { changes: OrderChanges { title: Some(title), ..self.changes.clone() }, ..self.clone() })
    }

    fn show(&self, on: &mut Shown<'_>) {
        on.record::<Orders>(self.id, |order| {
            if let Some(order) = order {
                self.over(&mut order.row);
            }
        });
        on.lists::<Orders>(|parameters, page| {
            let Some(place) = page.rows.iter().position(|row| row.id == self.id) else { return };
            self.over(&mut page.rows[place]);
            if !parameters.matches(&page.rows[place]) {
                remove(page, self.id);
            }
        });
    }

    fn answers(&self) -> Option<QueryKey> {
        Some(Orders::record_key(self.organization, self.id))
    }

    async fn send(self, id: MutationId) -> Result<Written<Order>, ApiError> {
        api::update(self.organization, self.id, id, self.changes).await
    }
}

/// A whole number that a line may have.
pub(super) fn quantity(text: &str) -> Option<i32> {
    text.trim().parse().ok().filter(|quantity| (1..=1_000_000).contains(quantity))
}

fn due_text(due: &Option<Date>) -> String {
    due.map_or_else(|| "open".to_owned(), |due| due.to_string())
}

fn remove(page: &mut OrderPage, id: OrderId) {
    let before = page.rows.len();
    page.rows.retain(|row| row.id != id);
    if page.rows.len() < before {
        page.total -= 1;
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub struct DeleteOrder {
    pub organization: OrganizationId,
    /// As it is now (a list does not know its lines): what is shown if it is brought back.
    pub order: Order,
    pub by: (PersonId, String),
}

impl Mutation for DeleteOrder {
    const NAME: &'static str = "orders/delete";
    type Output = Done;

    fn organization(&self) -> OrganizationId {
        self.organization
    }

    fn records(&self) -> Vec<Uuid> {
        vec![self.order.row.id.0]
    }

    fn label(&self) -> String {
        format!("Delete “{}”", self.order.row.title)
    }

    fn show(&self, on: &mut Shown<'_>) {
        let id = self.order.row.id;
        on.record::<Orders>(id, |order| *order = None);
        on.lists::<Orders>(|_, page| remove(page, id));
    }

    fn inverse(&self) -> Option<AnyMutation> {
        let Self { organization, order, by } = self.clone();
        Some(Arc::new(RestoreOrder { organization, order, by }))
    }

    fn takes_away(&self) -> bool {
        true
    }

    async fn send(self, id: MutationId) -> Result<Written<Done>, ApiError> {
        api::delete(self.organization, self.order.row.id, id).await
    }
}

/// Brings a deleted order back.
#[derive(Clone, Serialize, Deserialize)]
pub struct RestoreOrder {
    pub organization: OrganizationId,
    /// As it was when it was deleted: what is shown until the server has put it back.
    pub order: Order,
    pub by: (PersonId, String),
}

impl RestoreOrder {
    /// Restoring is a change by who restores.
    fn touched(&self) -> Order {
        let mut order = self.order.clone();
        order.row.updated_by = Some(self.by.0);
        order.row.updated_by_name = Some(self.by.1.clone());
        order
    }

    /// The row's place on the page; none where it stands on another one.
    fn place(row: &OrderRow, sort: Sort, page: &OrderPage) -> Option<usize> {
        let place = page.rows.partition_point(|other| match sort {
            Sort::Newest => (other.created_at, other.id) > (row.created_at, row.id),
            Sort::Updated => false, // nothing has been changed later
            Sort::Due => {
                let key = |row: &OrderRow| (row.due_on.is_none(), row.due_on, row.id);
                key(other) < key(row)
            }
        });
        let is_before_the_page = place == 0 && page.previous.is_some();
        let is_after_the_page = place == page.rows.len() && page.next.is_some();
        (!is_before_the_page && !is_after_the_page).then_some(place)
    }
}

impl Mutation for RestoreOrder {
    const NAME: &'static str = "orders/restore";
    type Output = Order;

    fn organization(&self) -> OrganizationId {
        self.organization
    }

    fn records(&self) -> Vec<Uuid> {
        vec![self.order.row.id.0]
    }

    fn label(&self) -> String {
        format!("Restore “{}”", self.order.row.title)
    }

    fn inverse(&self) -> Option<AnyMutation> {
        let Self { organization, order, by } = self.clone();
        Some(Arc::new(DeleteOrder { organization, order, by }))
    }

    fn show(&self, on: &mut Shown<'_>) {
        let id = self.order.row.id;
        on.record::<Orders>(id, |order| {
            order.get_or_insert_with(|| self.touched());
        });
        on.lists::<Orders>(|parameters, page| {
            let row = self.touched().row;
            if !parameters.matches(&row) || page.rows.iter().any(|other| other.id == id) {
                return;
            }
            if let Some(place) = Self::place(&row, parameters.sort, page) {
                page.rows.insert(place, row);
                page.total += 1;
            }
        });
    }

    fn answers(&self) -> Option<QueryKey> {
        Some(Orders::record_key(self.organization, self.order.row.id))
    }

    async fn send(self, id: MutationId) -> Result<Written<Order>, ApiError> {
        api::restore(self.organization, id, self.order.row.id).await
    }
}

/// What is done to the lines of an order.
#[derive(Clone, Serialize, Deserialize)]
pub struct EditLine {
    pub organization: OrganizationId,
    pub order: OrderId,
    pub id: LineId,
    pub edit: LineEdit,
    pub by: (PersonId, String),
}

#[derive(Clone, Serialize, Deserialize)]
pub enum LineEdit {
    Add {
        description: String,
        quantity: i32,
        unit: String,
        /// Where one stood that is put back; a new one stands below the others.
        #[serde(default)]
        position: Option<i32>,
    },
    Change(LineChanges),
    /// With the line as it is now: what is shown if it is put back.
    Remove(Line),
}

impl EditLine {
    /// The line as the server says that it is now.
    fn line_in(&self, current: &serde_json::Value) -> Option<Line> {
        let order = serde_json::from_value::<Order>(current.clone()).ok()?;
        order.lines.into_iter().find(|line| line.id == self.id)
    }
}

impl Mutation for EditLine {
    const NAME: &'static str = "orders/edit_line";
    type Output = Order;

    fn organization(&self) -> OrganizationId {
        self.organization
    }

    fn records(&self) -> Vec<Uuid> {
        vec![self.order.0]
    }

    fn label(&self) -> String {
        match &self.edit {
            LineEdit::Add { description, .. } => format!("New line “{description}”"),
            LineEdit::Change(LineChanges { description, quantity, unit }) => match (description, quantity, unit) {
                (Some(change), ..) => format!("Line: “{}”", change.to),
                (None, Some(change), _) => format!("Quantity: {}", change.to),
                (None, None, Some(change)) => format!("Unit: {}", change.to),
                (None, None, None) => "No change".to_owned(),
            },
            LineEdit::Remove(line) => format!("Remove line “{}”", line.description),
        }
    }

    fn inverse(&self) -> Option<AnyMutation> {
        let edit = match &self.edit {
            LineEdit::Add { description, quantity, unit, position } => LineEdit::Remove(Line {
                id: self.id,
                position: position.unwrap_or_default(),
                description: description.clone(),
                quantity: *quantity,
                unit: unit.clone(),
                updated_at: 0,
                updated_by: None,
                updated_by_name: None,
            }),
            LineEdit::Change(changes) => LineEdit::Change(LineChanges {
                description: changes.description.as_ref().map(Change::inverse),
                quantity: changes.quantity.as_ref().map(Change::inverse),
                unit: changes.unit.as_ref().map(Change::inverse),
            }),
            LineEdit::Remove(line) => LineEdit::Add {
                description: line.description.clone(),
                quantity: line.quantity,
                unit: line.unit.clone(),
                // Of one that was never seen in its place, there is none to go back to.
                position: Some(line.position).filter(|position| *position > 0),
            },
        };
        Some(Arc::new(Self { edit, ..self.clone() }))
    }

    fn takes_away(&self) -> bool {
        matches!(self.edit, LineEdit::Remove(_))
    }

    fn disputes(&self, current: &serde_json::Value) -> Vec<Dispute> {
        let (LineEdit::Change(changes), Some(line)) = (&self.edit, self.line_in(current)) else { return Vec::new() };
        Disputes::over(line.id.0, &line.updated_by_name, line.updated_at)
            .field("description", &changes.description, &line.description, String::clone)
            .field("quantity", &changes.quantity, &line.quantity, i32::to_string)
            .field("unit", &changes.unit, &line.unit, String::clone)
            .found()
    }

    fn rebased(&self, current: &serde_json::Value) -> Option<Self> {
        let (LineEdit::Change(changes), Some(line)) = (&self.edit, self.line_in(current)) else { return None };
        let changes = LineChanges {
            description: Change::rebased(&changes.description, &line.description),
            quantity: Change::rebased(&changes.quantity, &line.quantity),
            unit: Change::rebased(&changes.unit, &line.unit),
        };
        Some(Self { edit: LineEdit::Change(changes), ..self.clone() })
    }

    fn typed(&self) -> Option<String> {
        match &self.edit {
            LineEdit::Add { description, .. } => Some(description.clone()),
            LineEdit::Change(LineChanges { description, quantity, unit }) => {
                let description = description.as_ref().map(|change| change.to.clone());
                let quantity = quantity.as_ref().map(|change| change.to.to_string());
                description.or(quantity).or(unit.as_ref().map(|change| change.to.clone()))
            }
            LineEdit::Remove(_) => None,
        }
    }

    fn retyped(&self, text: &str) -> Option<Self> {
        let edit = match &self.edit {
            LineEdit::Add { quantity, unit, position, .. } => {
                let (quantity, unit, position) = (*quantity, unit.clone(), *position);
                LineEdit::Add { description: text.to_owned(), quantity, unit, position }
            }
            LineEdit::Change(changes) => {
                let mut changes = changes.clone();
                // The one that `typed` gives.
                match (&mut changes.description, &mut changes.quantity, &mut changes.unit) {
                    (Some(description), ..) => text.clone_into(&mut description.to),
                    (None, Some(change), _) => change.to = quantity(text)?,
                    (None, None, Some(unit)) => text.clone_into(&mut unit.to),
                    (None, None, None) => return None,
                }
                LineEdit::Change(changes)
            }
            LineEdit::Remove(_) => return None,
        };
        Some(Self { edit, ..self.clone() })
    }

    fn show(&self, on: &mut Shown<'_>) {
        on.record::<Orders>(self.order, |order| {
            let Some(order) = order else { return };
            match &self.edit {
                LineEdit::Add { description, quantity, unit, position } => {
                    if order.lines.iter().any(|line| line.id == self.id) {
                        return;
                    }
                    let last = order.lines.iter().map(|line| line.position).max().unwrap_or(0);
                    let position = position.unwrap_or(last + 1);
                    let key = (position, self.id);
                    let place = order.lines.partition_point(|line| (line.position, line.id) < key);
                    order.lines.insert(
                        place,
                        Line {
                            id: self.id,
                            position,
                            description: description.clone(),
                            quantity: *quantity,
                            unit: unit.clone(),
                            updated_at: now(),
                            updated_by: Some(self.by.0),
                            updated_by_name: Some(self.by.1.clone()),
                        },
                    );
                }
                LineEdit::Change(changes) => {
                    if let Some(line) = order.lines.iter_mut().find(|line| line.id == self.id) {
                        Change::apply(&changes.description, &mut line.description);
                        Change::apply(&changes.quantity, &mut line.quantity);
                        Change::apply(&changes.unit, &mut line.unit);
                        line.updated_by = Some(self.by.0);
                        line.updated_by_name = Some(self.by.1.clone());
                    }
                }
                LineEdit::Remove(_) => order.lines.retain(|line| line.id != self.id),
            }
        });
    }

    fn answers(&self) -> Option<QueryKey> {
        Some(Orders::record_key(self.organization, self.order))
    }

    async fn send(self, mutation: MutationId) -> Result<Written<Order>, ApiError> {
        let Self { organization, order, id, edit, .. } = self;
        match edit {
            LineEdit::Add { description, quantity, unit, position } => {
                api::add_line(organization, mutation, order, id, description, quantity, Some(unit), position).await
            }
            LineEdit::Change(changes) => api::update_line(organization, mutation, order, id, changes).await,
            LineEdit::Remove(_) => api::remove_line(organization, mutation, order, id).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::Status;
    use millstream::live::ListQuery;
    use millstream::overlay::{AnyValue, ErasedMutation};
    use millstream::pages::PageOf;

    const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(1));

    /// Made and changed at its number, due on that day of a month, or not at all.
    fn row(number: u8) -> OrderRow {
        OrderRow {
            id: OrderId(Uuid::from_u128(number.into())),
            number: Some(format!("SO-{number}")),
            title: "An order".to_owned(),
            status: Status::Draft,
            customer_id: CustomerId(Uuid::from_u128(9)),
            customer: "A customer".to_owned(),
            assignee_id: None,
            assignee: None,
            due_on: Date::from_calendar_date(2030, time::Month::May, number).ok(),
            created_at: number.into(),
            updated_at: number.into(),
            updated_by: None,
            updated_by_name: None,
        }
    }

    fn restored(row: OrderRow) -> RestoreOrder {
        let order = Order { row, created_by_name: None, lines: Vec::new() };
        RestoreOrder { organization: ORGANIZATION, order, by: (PersonId(Uuid::from_u128(2)), "Ada".to_owned()) }
    }

    fn asked(sort: Sort) -> OrderParameters {
        OrderParameters { status: None, customer_id: None, sort, page: PageOf::First }
    }

    /// The numbers on the page, in order, and its total, with the mutation over it.
    fn shown(over: &RestoreOrder, asked: &OrderParameters, page: OrderPage) -> (Vec<i64>, i64) {
        let key = Orders::list_key(ORGANIZATION, asked);
        let value = ErasedMutation::over(over, &key, Some(Arc::new(page) as AnyValue));
        let page = value.as_ref().and_then(|value| value.downcast_ref::<OrderPage>()).cloned();
        page.map_or_else(Default::default, |page| (page.rows.iter().map(|row| row.created_at).collect(), page.total))
    }

    fn page(numbers: &[u8]) -> OrderPage {
        OrderPage { rows: numbers.iter().copied().map(row).collect(), total: 40, previous: None, next: None }
    }

    #[test]
    fn a_restored_order_stands_at_its_place_while_it_is_pending() {
        let over = restored(row(5));
        assert_eq!(shown(&over, &asked(Sort::Newest), page(&[8, 6, 4, 2])), (vec![8, 6, 5, 4, 2], 41));
        assert_eq!(shown(&over, &asked(Sort::Due), page(&[2, 4, 6, 8])), (vec![2, 4, 5, 6, 8], 41));
        assert_eq!(shown(&over, &asked(Sort::Updated), page(&[8, 6, 4, 2])), (vec![5, 8, 6, 4, 2], 41), "just changed");
        assert_eq!(shown(&over, &asked(Sort::Newest), page(&[])), (vec![5], 41));
        assert_eq!(shown(&over, &asked(Sort::Newest), page(&[6, 5, 4])), (vec![6, 5, 4], 40), "there already");
        let undated = restored(OrderRow { due_on: None, ..row(5) });
        assert_eq!(shown(&undated, &asked(Sort::Due), page(&[4, 6])), (vec![4, 6, 5], 41), "without a day: last");
    }

    #[test]
    fn it_enters_no_page_that_it_is_not_on_and_no_list_that_it_does_not_match() {
        let (after, before) = (Some("x".to_owned()), Some("x".to_owned()));
        let (next, previous) = (restored(row(1)), restored(row(9)));
        let middle = || OrderPage { previous: before.clone(), next: after.clone(), ..page(&[8, 6, 4]) };
        assert_eq!(shown(&next, &asked(Sort::Newest), middle()), (vec![8, 6, 4], 40));
        assert_eq!(shown(&previous, &asked(Sort::Newest), middle()), (vec![8, 6, 4], 40));
        assert_eq!(shown(&restored(row(5)), &asked(Sort::Newest), middle()), (vec![8, 6, 5, 4], 41));
        let released = OrderParameters { status: Some(Status::Released), ..asked(Sort::Newest) };
        assert_eq!(shown(&restored(row(5)), &released, page(&[8])), (vec![8], 40));
    }

    #[test]
    fn what_was_typed_is_what_is_typed_anew_and_a_quantity_stays_a_number() {
        let changes = |changes: LineChanges| EditLine {
            organization: ORGANIZATION,
            order: OrderId(Uuid::from_u128(5)),
            id: LineId(Uuid::from_u128(6)),
            edit: LineEdit::Change(changes),
            by: (PersonId(Uuid::from_u128(2)), "Ada".to_owned()),
        };
        let seal = changes(LineChanges {
            description: Some(Change { from: "Seal".to_owned(), to: "Seals".to_owned() }),
            ..LineChanges::default()
        });
        let typed = |line: &EditLine, text: &str| Mutation::retyped(line, text).and_then(|line| Mutation::typed(&line));
        assert_eq!(typed(&seal, "Shaft seals").as_deref(), Some("Shaft seals"));
        let two = changes(LineChanges { quantity: Some(Change { from: 1, to: 2 }), ..LineChanges::default() });
        assert_eq!(typed(&two, "3").as_deref(), Some("3"));
        assert!(typed(&two, "three").is_none() && typed(&two, "0").is_none());
    }

    #[test]
    fn its_record_says_who_restores_it_until_the_server_has_put_it_back() {
        let over = restored(row(5));
        let key = Orders::record_key(ORGANIZATION, OrderId(Uuid::from_u128(5)));
        let value = ErasedMutation::over(&over, &key, None);
        let order = value.as_ref().and_then(|value| value.downcast_ref::<Order>());
        let name = order.and_then(|order| order.row.updated_by_name.clone());
        assert_eq!(name.as_deref(), Some("Ada"));
    }
}
