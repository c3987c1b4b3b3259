//! What is to be told of records that others changed while the person was away. Pure.
//!
//! One record is told of once: however many queries show it, and in that tab alone which the person looks at when they come
//! back.

use crate::key::OrganizationId;
use std::collections::HashMap;
use uuid::Uuid;

/// A record that others changed, in the application's words.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub organization: OrganizationId,
    pub record: Uuid,
    pub how: How,
    /// What a person calls the record.
    pub what: String,
    /// Who changed it last; none where that is not known.
    pub who: Option<String>,
    /// When, by the database's clock, in milliseconds since 1970.
    pub at: Option<i64>,
    /// Where it is shown.
    pub path: String,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Made,
    Changed,
    Deleted,
}

/// See the module.
#[derive(Default)]
pub struct Notices {
    waiting: Vec<Notice>,
    /// Up to when each record has been told of, in whichever tab.
    told: HashMap<Uuid, i64>,
}

/// Of so many records is remembered that they were told of.
const MOST_TOLD: usize = 2_000;

/// How late it is by a notice's time: a record that is gone is gone for good.
fn lateness(at: Option<i64>) -> i64 {
    at.unwrap_or(i64::MAX)
}

impl Notices {
    /// More to be told.
    pub fn add(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            if self.told.get(&notice.record).is_some_and(|told| *told >= lateness(notice.at)) {
                continue;
            }
            match self.waiting.iter_mut().find(|waiting| waiting.record == notice.record) {
                // What was made while one was away is new to one, however it was changed afterwards.
                Some(waiting) if lateness(waiting.at) <= lateness(notice.at) => {
                    let how =
                        if (waiting.how, notice.how) == (How::Made, How::Changed) { How::Made } else { notice.how };
                    *waiting = Notice { how, ..notice };
                }
                Some(_) => {}
                None => self.waiting.push(notice),
            }
        }
        self.waiting.sort_by_key(|notice| std::cmp::Reverse(lateness(notice.at)));
    }

    /// What is to be told, the latest first.
    pub fn waiting(&self) -> &[Notice] {
        &self.waiting
    }

    /// What is shown here, for the tabs that the person does not look at.
    pub fn as_told(&self) -> Vec<(Uuid, i64)> {
        self.waiting.iter().map(|notice| (notice.record, lateness(notice.at))).collect()
    }

    /// A tab that the person looks at has told of these.
    pub fn told_elsewhere(&mut self, told: &[(Uuid, i64)]) {
        if self.told.len() + told.len() > MOST_TOLD {
            self.told.clear();
        }
        for (record, at) in told {
            let known = self.told.entry(*record).or_insert(*at);
            *known = (*known).max(*at);
        }
        self.waiting.retain(|notice| !told.iter().any(|(id, at)| *id == notice.record && *at >= lateness(notice.at)));
    }

    /// The person has read them.
    pub fn dismiss(&mut self) {
        let told = self.as_told();
        self.told_elsewhere(&told);
    }

    /// Nothing of an organization that the person has left is told.
    pub fn forget(&mut self, organization: OrganizationId) {
        self.waiting.retain(|notice| notice.organization != organization);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(record: u128, how: How, at: Option<i64>) -> Notice {
        Notice {
            organization: OrganizationId(Uuid::from_u128(1)),
            record: Uuid::from_u128(record),
            how,
            what: format!("{record}"),
            who: None,
            at,
            path: String::new(),
        }
    }

    fn told(notices: &Notices) -> Vec<(&str, How)> {
        notices.waiting().iter().map(|notice| (notice.what.as_str(), notice.how)).collect()
    }

    #[test]
    fn a_record_that_several_queries_show_is_told_of_once_by_its_latest_change() {
        let mut notices = Notices::default();
        notices.add(vec![notice(1, How::Made, Some(5)), notice(2, How::Changed, Some(9))]);
        notices.add(vec![notice(1, How::Changed, Some(7)), notice(2, How::Changed, Some(8))]);
        assert_eq!(told(&notices), [("2", How::Changed), ("1", How::Made)]);
        assert_eq!(notices.waiting()[0].at, Some(9));
        notices.add(vec![notice(1, How::Deleted, None)]);
        assert_eq!(told(&notices), [("1", How::Deleted), ("2", How::Changed)]);
    }

    #[test]
    fn what_the_tab_in_view_has_told_no_other_tab_tells_whichever_hears_first() {
        let mut early = Notices::default();
        early.add(vec![notice(1, How::Changed, Some(5)), notice(2, How::Changed, Some(5))]);
        early.told_elsewhere(&[(Uuid::from_u128(1), 5)]);
        assert_eq!(told(&early), [("2", How::Changed)]);
        let mut late = Notices::default();
        late.told_elsewhere(&[(Uuid::from_u128(1), 5)]);
        late.add(vec![notice(1, How::Changed, Some(5))]);
        assert_eq!(told(&late), []);
        late.add(vec![notice(1, How::Changed, Some(6))]);
        assert_eq!(told(&late), [("1", How::Changed)], "a later change is news again");
    }

    #[test]
    fn what_was_dismissed_does_not_come_back() {
        let mut notices = Notices::default();
        notices.add(vec![notice(1, How::Changed, Some(5))]);
        notices.dismiss();
        notices.add(vec![notice(1, How::Changed, Some(5))]);
        assert_eq!(told(&notices), []);
    }
}
