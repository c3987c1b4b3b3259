//! What others changed while the person was away: which of the values that the engine saw replaced are others' doing, and in
//! which words that is told. Pure.

use crate::orders::{Order, OrderPage, OrderParameters, OrderRow, Orders};
use crate::projects::{Project, ProjectRow, Projects};
use millstream::client::Moved;
use millstream::key::Shape;
use millstream::notices::{How, Notice};
use millstream::{Live, OrganizationId, PersonId};
use std::collections::HashSet;
use uuid::Uuid;

/// What is told to this person.
pub fn notices(moved: &[Moved], me: PersonId) -> Vec<Notice> {
    let mut found = Vec::new();
    for moved in moved {
        let view = View { organization: moved.key.organization, me, own: &moved.own };
        let (before, after) = (&*moved.before, moved.after.as_deref());
        match (moved.key.table, &moved.key.shape) {
            (Orders::TABLE, Shape::Record(_)) => {
                if let Some(before) = before.downcast_ref::<Order>() {
                    found.extend(view.of_record(before, after.and_then(|after| after.downcast_ref())));
                }
            }
            (Orders::TABLE, Shape::List(parameters)) => {
                let pages =
                    (before.downcast_ref::<OrderPage>(), after.and_then(|after| after.downcast_ref::<OrderPage>()));
                if let (Some(before), Some(after)) = pages {
                    found.extend(view.of_list(&before.rows, &after.rows));
                    if is_everything(parameters, before) && is_everything(parameters, after) {
                        found.extend(view.of_missing(&before.rows, &after.rows));
                    }
                }
            }
            (Projects::TABLE, Shape::Record(_)) => {
                if let Some(before) = before.downcast_ref::<Project>() {
                    found.extend(view.of_record(before, after.and_then(|after| after.downcast_ref())));
                }
            }
            (Projects::TABLE, Shape::List(_)) => {
                let lists = (
                    before.downcast_ref::<Vec<ProjectRow>>(),
                    after.and_then(|after| after.downcast_ref::<Vec<ProjectRow>>()),
                );
                if let (Some(before), Some(after)) = lists {
                    found.extend(view.of_list(before, after));
                }
            }
            // Members and customers do not say who changed them, or when.
            _ => {}
        }
    }
    found
}

/// Whether the page is the whole of the organization's orders, so that what is not on it is not there.
fn is_everything(parameters: &str, page: &OrderPage) -> bool {
    let parameters = serde_json::from_str::<OrderParameters>(parameters).ok();
    let is_unfiltered =
        parameters.is_some_and(|parameters| parameters.status.is_none() && parameters.customer_id.is_none());
    is_unfiltered && page.previous.is_none() && page.next.is_none()
}

/// A row that can be told of.
trait Told {
    /// What a change of it is a change of: all that people set, and nothing that follows from it.
    type Content: PartialEq;

    fn id(&self) -> Uuid;
    fn what(&self) -> String;
    fn content(&self) -> Self::Content;
    fn path(&self) -> String;
    /// When it was changed last, and by whom.
    fn touch(&self) -> (i64, Option<PersonId>, Option<String>);
    /// When it was made, where it says so.
    fn made_at(&self) -> Option<i64>;
}

struct View<'a> {
    organization: OrganizationId,
    me: PersonId,
    own: &'a HashSet<Uuid>,
}

impl View<'_> {
    fn notice<T: Told>(&self, row: &T, how: How, who: Option<String>, at: Option<i64>) -> Notice {
        let path = format!("/o/{}/{}", self.organization, row.path());
        Notice { organization: self.organization, record: row.id(), how, what: row.what(), who, at, path }
    }

    /// A row that is there before and after. What it was is told with the person's own changes over it: what differs all
    /// the same, others changed, also where the person's change came last.
    fn of_change<T: Told>(&self, before: &T, after: &T) -> Option<Notice> {
        let (at, by, name) = after.touch();
        let is_last = by == Some(self.me);
        let is_others = before.content() != after.content() && (!is_last || self.own.contains(&after.id()));
        is_others.then(|| self.notice(after, How::Changed, name.filter(|_| !is_last), Some(at)))
    }

    fn of_record<T: Told>(&self, before: &T, after: Option<&T>) -> Option<Notice> {
        match after {
            Some(after) => self.of_change(before, after),
            None => Some(self.notice(before, How::Deleted, None, None)),
        }
    }

    fn of_list<T: Told>(&self, before: &[T], after: &[T]) -> Vec<Notice> {
        // What was there before, and only comes to stand on this page, was not changed since.
        let known = before.iter().map(|row| row.touch().0).max();
        let of_row = |row: &T| match before.iter().find(|other| other.id() == row.id()) {
            Some(before) => self.of_change(before, row),
            None => {
                let (at, by, name) = row.touch();
                let is_news = known.is_none_or(|known| at > known) && by != Some(self.me);
                let is_new = row.made_at().is_some_and(|made| known.is_none_or(|known| made > known));
                let how = if is_new { How::Made } else { How::Changed };
                is_news.then(|| self.notice(row, how, name, Some(at)))
            }
        };
        after.iter().filter_map(of_row).collect()
    }

    fn of_missing<T: Told>(&self, before: &[T], after: &[T]) -> Vec<Notice> {
        let missing = before.iter().filter(|row| !after.iter().any(|other| other.id() == row.id()));
        missing.map(|row| self.notice(row, How::Deleted, None, None)).collect()
    }
}

fn order_name(row: &OrderRow) -> String {
    format!("{} {}", row.number.as_deref().unwrap_or_default(), row.title).trim().to_owned()
}

impl Told for OrderRow {
    type Content = (String, crate::orders::Status, crate::customers::CustomerId, Option<PersonId>, Option<time::Date>);

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn what(&self) -> String {
        order_name(self)
    }

    fn content(&self) -> Self::Content {
        (self.title.clone(), self.status, self.customer_id, self.assignee_id, self.due_on)
    }

    fn path(&self) -> String {
        format!("orders/{}", self.id)
    }

    fn touch(&self) -> (i64, Option<PersonId>, Option<String>) {
        (self.updated_at, self.updated_by, self.updated_by_name.clone())
    }

    fn made_at(&self) -> Option<i64> {
        Some(self.created_at)
    }
}

impl Told for Order {
    type Content = (<OrderRow as Told>::Content, Vec<(Uuid, String, i32, String)>);

    fn id(&self) -> Uuid {
        self.row.id.0
    }

    fn what(&self) -> String {
        order_name(&self.row)
    }

    fn content(&self) -> Self::Content {
        let line = |line: &crate::orders::Line| (line.id.0, line.description.clone(), line.quantity, line.unit.clone());
        (self.row.content(), self.lines.iter().map(line).collect())
    }

    fn path(&self) -> String {
        self.row.path()
    }

    /// The latest of the row's own and its lines'.
    fn touch(&self) -> (i64, Option<PersonId>, Option<String>) {
        let lines = self.lines.iter().map(|line| (line.updated_at, line.updated_by, line.updated_by_name.clone()));
        lines.chain([self.row.touch()]).max_by_key(|(at, ..)| *at).unwrap_or_default()
    }

    fn made_at(&self) -> Option<i64> {
        self.row.made_at()
    }
}

impl Told for ProjectRow {
    type Content = (String, bool, Vec<PersonId>, i64);

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn what(&self) -> String {
        self.name.clone()
    }

    fn content(&self) -> Self::Content {
        (self.name.clone(), self.archived, self.members.iter().map(|member| member.person_id).collect(), self.orders)
    }

    fn path(&self) -> String {
        format!("projects/{}", self.id)
    }

    fn touch(&self) -> (i64, Option<PersonId>, Option<String>) {
        (self.updated_at, self.updated_by, self.updated_by_name.clone())
    }

    fn made_at(&self) -> Option<i64> {
        None
    }
}

impl Told for Project {
    type Content = (String, bool, Vec<PersonId>, Vec<Uuid>);

    fn id(&self) -> Uuid {
        self.id.0
    }

    fn what(&self) -> String {
        self.name.clone()
    }

    fn content(&self) -> Self::Content {
        let members = self.members.iter().map(|member| member.person_id).collect();
        (self.name.clone(), self.archived, members, self.orders.iter().map(|order| order.order_id.0).collect())
    }

    fn path(&self) -> String {
        format!("projects/{}", self.id)
    }

    fn touch(&self) -> (i64, Option<PersonId>, Option<String>) {
        (self.updated_at, self.updated_by, self.updated_by_name.clone())
    }

    fn made_at(&self) -> Option<i64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::customers::CustomerId;
    use crate::orders::{OrderId, Sort, Status};
    use millstream::live::{ListQuery, RecordQuery};
    use millstream::pages::PageOf;
    use std::sync::Arc;

    const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(1));
    const ME: PersonId = PersonId(Uuid::from_u128(2));
    const BEN: PersonId = PersonId(Uuid::from_u128(3));

    fn row(number: u8, title: &str, at: i64, by: PersonId) -> OrderRow {
        OrderRow {
            id: OrderId(Uuid::from_u128(number.into())),
            number: Some(format!("SO-{number}")),
            title: title.to_owned(),
            status: Status::Draft,
            customer_id: CustomerId(Uuid::from_u128(9)),
            customer: "A customer".to_owned(),
            assignee_id: None,
            assignee: None,
            due_on: None,
            created_at: number.into(),
            updated_at: at,
            updated_by: Some(by),
            updated_by_name: Some(if by == ME { "Me" } else { "Ben" }.to_owned()),
        }
    }

    fn page(rows: &[OrderRow]) -> OrderPage {
        OrderPage { rows: rows.to_vec(), total: rows.len() as i64, previous: None, next: Some("more".to_owned()) }
    }

    /// What is told where this list became that one, and the person themselves changed the orders of these numbers.
    fn told(before: OrderPage, after: OrderPage, own: &[u128]) -> Vec<(String, How, Option<String>)> {
        let parameters = OrderParameters { status: None, customer_id: None, sort: Sort::Newest, page: PageOf::First };
        let own = Arc::new(own.iter().copied().map(Uuid::from_u128).collect());
        let key = Orders::list_key(ORGANIZATION, &parameters);
        let moved = [Moved { key, before: Arc::new(before), after: Some(Arc::new(after)), own }];
        notices(&moved, ME).into_iter().map(|notice| (notice.what, notice.how, notice.who)).collect()
    }

    fn changed(what: &str, who: Option<&str>) -> (String, How, Option<String>) {
        (what.to_owned(), How::Changed, who.map(ToOwned::to_owned))
    }

    #[test]
    fn what_others_changed_is_told_and_what_one_did_oneself_elsewhere_is_not() {
        let before = page(&[row(1, "Gears", 1, ME), row(2, "Pumps", 1, ME), row(3, "Seals", 1, ME)]);
        let after = page(&[row(1, "Gears of Ben", 5, BEN), row(2, "Pumps of mine", 6, ME), row(3, "Seals", 1, ME)]);
        assert_eq!(told(before, after, &[]), [changed("SO-1 Gears of Ben", Some("Ben"))]);
    }

    #[test]
    fn what_somebody_changed_beside_ones_own_change_is_told_though_ones_own_came_last() {
        let mine = OrderRow { status: Status::Released, ..row(1, "Gears", 1, ME) };
        let merged = OrderRow { status: Status::Released, ..row(1, "Gears of Ben", 5, ME) };
        assert_eq!(
            told(page(std::slice::from_ref(&mine)), page(&[merged]), &[1]),
            [changed("SO-1 Gears of Ben", None)]
        );
        let only_mine = OrderRow { updated_at: 5, ..mine.clone() };
        assert_eq!(told(page(&[mine]), page(&[only_mine]), &[1]), []);
    }

    #[test]
    fn what_follows_from_other_records_is_no_change_of_this_one() {
        let renamed = OrderRow { customer: "Another name".to_owned(), ..row(1, "Gears", 1, BEN) };
        assert_eq!(told(page(&[row(1, "Gears", 1, BEN)]), page(&[renamed]), &[]), []);
    }

    #[test]
    fn a_row_that_comes_in_is_new_or_changed_or_only_moved_up() {
        let before = page(&[row(4, "Gears", 10, ME), row(3, "Pumps", 9, ME)]);
        let made = OrderRow { created_at: 20, ..row(5, "Made by Ben", 20, BEN) };
        let reopened = row(2, "Reopened", 21, BEN);
        let moved_up = row(1, "Moved up", 3, BEN);
        let rows = [made, row(4, "Gears", 10, ME), row(3, "Pumps", 9, ME), reopened, moved_up];
        let expected =
            [("SO-5 Made by Ben".to_owned(), How::Made, Some("Ben".to_owned())), changed("SO-2 Reopened", Some("Ben"))];
        assert_eq!(told(before, page(&rows), &[]), expected);
    }

    #[test]
    fn a_row_is_told_as_deleted_only_where_the_page_is_all_there_is() {
        let all = |rows: &[OrderRow]| OrderPage { next: None, ..page(rows) };
        let (one, two) = (row(1, "Gears", 1, ME), row(2, "Pumps", 1, ME));
        let deleted = [("SO-2 Pumps".to_owned(), How::Deleted, None)];
        assert_eq!(told(all(&[one.clone(), two.clone()]), all(std::slice::from_ref(&one)), &[]), deleted);
        assert_eq!(told(page(&[one.clone(), two]), page(&[one]), &[]), []);
    }

    #[test]
    fn of_a_record_its_lines_count_and_who_changed_the_latest_of_them() {
        let line = |description: &str, at: i64| crate::orders::Line {
            id: crate::orders::LineId(Uuid::from_u128(7)),
            position: 1,
            description: description.to_owned(),
            quantity: 1,
            unit: "pcs".to_owned(),
            updated_at: at,
            updated_by: Some(BEN),
            updated_by_name: Some("Ben".to_owned()),
        };
        let order = |line| Order { row: row(1, "Gears", 1, ME), created_by_name: None, lines: vec![line] };
        let key = Orders::record_key(ORGANIZATION, OrderId(Uuid::from_u128(1)));
        let moved = |after: Option<Order>| Moved {
            key: key.clone(),
            before: Arc::new(order(line("Seal", 1))),
            after: after.map(|after| Arc::new(after) as millstream::overlay::AnyValue),
            own: Arc::default(),
        };
        let told = notices(&[moved(Some(order(line("Seals", 8)))), moved(None)], ME);
        let told: Vec<_> = told.into_iter().map(|notice| (notice.how, notice.who, notice.at)).collect();
        assert_eq!(told, [(How::Changed, Some("Ben".to_owned()), Some(8)), (How::Deleted, None, None)]);
    }
}
