//! Whose word counts: each time that a tab begins to lead, it is under a number that is greater than any it has heard of.
//! Pure.
//!
//! What a leader said may be heard after what the next one says, for browsers promise an order for each sender only. So
//! every word names the leadership that it is of, and what is of an earlier one than the latest is not listened to.

use crate::switchboard::TabId;
use serde::{Deserialize, Serialize};

/// One time of leading. Of two under the same number (neither had heard of the other) the tab decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Leadership {
    number: u64,
    tab: TabId,
}

/// The latest leadership that a tab knows of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allegiance(Option<Leadership>);

/// How word of a leadership is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Of one that is over.
    Over,
    Present,
    /// Of one that is heard of for the first time.
    New,
}

impl Allegiance {
    pub fn latest(self) -> Option<Leadership> {
        self.0
    }

    /// The tab leads from here on, later than all that it has heard of.
    pub fn lead(&mut self, tab: TabId) {
        let number = self.0.map_or(1, |latest| latest.number + 1);
        self.0 = Some(Leadership { number, tab });
    }

    /// Hears of a leadership; none is that of somebody who has heard of no leader yet.
    pub fn hear(&mut self, of: Option<Leadership>) -> Standing {
        match of.cmp(&self.0) {
            std::cmp::Ordering::Less => Standing::Over,
            std::cmp::Ordering::Equal => Standing::Present,
            std::cmp::Ordering::Greater => {
                self.0 = of;
                Standing::New
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn tab(number: u128) -> TabId {
        TabId(Uuid::from_u128(number))
    }

    #[test]
    fn who_begins_to_lead_is_later_than_all_that_it_has_heard_of() {
        let (mut first, mut second) = (Allegiance::default(), Allegiance::default());
        first.lead(tab(2));
        assert_eq!(second.hear(first.latest()), Standing::New);
        assert_eq!(second.hear(first.latest()), Standing::Present);
        let old = first.latest();
        second.lead(tab(1));
        assert_eq!(first.hear(second.latest()), Standing::New);
        assert_eq!(first.hear(old), Standing::Over);
    }

    #[test]
    fn two_that_have_not_heard_of_each_other_are_told_apart() {
        let (mut first, mut second, mut third) = (Allegiance::default(), Allegiance::default(), Allegiance::default());
        first.lead(tab(1));
        second.lead(tab(2));
        assert_eq!(third.hear(second.latest()), Standing::New);
        assert_eq!(third.hear(first.latest()), Standing::Over);
    }
}
