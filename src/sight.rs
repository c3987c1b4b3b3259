//! Whether the person looks: at any of their tabs. Pure.

use crate::switchboard::TabId;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// How the person stands to one tab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// The tab is in view.
    Looks,
    /// It is hidden, or closed.
    LooksAway,
}

/// The tabs that the person looks at.
#[derive(Default)]
pub struct InView {
    tabs: HashSet<TabId>,
}

impl InView {
    /// A tab has come into view, or gone out of it. Gives how the person now stands to all tabs, if that is another.
    pub fn note(&mut self, tab: TabId, sight: Sight) -> Option<Sight> {
        let before = self.sight();
        match sight {
            Sight::Looks => self.tabs.insert(tab),
            Sight::LooksAway => self.tabs.remove(&tab),
        };
        Some(self.sight()).filter(|after| *after != before)
    }

    fn sight(&self) -> Sight {
        if self.tabs.is_empty() { Sight::LooksAway } else { Sight::Looks }
    }

    /// Whether this tab is in view.
    pub fn looks_at(&self, tab: TabId) -> bool {
        self.tabs.contains(&tab)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn who_turns_from_one_tab_to_another_is_not_away() {
        let (first, second) = (TabId(Uuid::from_u128(1)), TabId(Uuid::from_u128(2)));
        let mut in_view = InView::default();
        assert_eq!(in_view.note(first, Sight::Looks), Some(Sight::Looks));
        assert_eq!(in_view.note(second, Sight::Looks), None);
        assert_eq!(in_view.note(first, Sight::LooksAway), None);
        assert_eq!(in_view.note(second, Sight::LooksAway), Some(Sight::LooksAway));
        assert_eq!(in_view.note(second, Sight::LooksAway), None, "said again");
        assert_eq!(in_view.note(first, Sight::Looks), Some(Sight::Looks));
    }
}
