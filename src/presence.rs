//! Who else is here, and what this tab says of where its own person is. Pure.
//!
//! Presence is made for loss: what is said is said again before it ends, and what was not heard is made good by what is heard
//! next. Nothing of it is kept, and no value depends on it.

use crate::key::{OrganizationId, PersonId};
use crate::sight::Sight;
use crate::switchboard::TabId;
use crate::wire::{Here, Place, Presence, SAY_PRESENT_EVERY, Whereabouts};
use uuid::Uuid;

/// So long after the last key (in milliseconds) nobody is taken to type any more.
pub const TYPES_FOR: u64 = 3_000;
/// What changes within so many milliseconds is said once.
const SAY_APART: u64 = 150;

/// Who else is in an organization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// Some dozens at most: those who are named.
    people: Vec<Here>,
    others: u32,
}

impl Roster {
    /// What the server tells of it.
    pub fn hear(&mut self, told: &Presence) {
        let is_news = |person: &PersonId| told.left.contains(person) || told.here.iter().any(|it| it.person == *person);
        self.people.retain(|here| !told.is_whole && !is_news(&here.person));
        self.people.extend_from_slice(&told.here);
        self.others = told.others;
    }

    /// All of it as one frame.
    pub fn whole(&self, organization: OrganizationId) -> Presence {
        Presence { organization, is_whole: true, here: self.people.clone(), left: Vec::new(), others: self.others }
    }

    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many are here: those that are named, and more.
    pub fn count(&self) -> usize {
        self.people.len() + self.others as usize
    }

    /// Those who are named, and where they are as far as it concerns this page.
    pub fn people(&self) -> impl Iterator<Item = (PersonId, Option<&Place>)> {
        self.people.iter().map(|here| (here.person, here.place.as_ref()))
    }

    /// Those who are at the record.
    pub fn at(&self, table: &str, record: Uuid) -> impl Iterator<Item = (PersonId, &Place)> {
        self.people()
            .filter_map(|(person, place)| Some((person, place?)))
            .filter(move |(_, place)| place.table == table && place.record == Some(record))
    }
}

/// The rosters of the tabs that share a connection: what one was told before another came, that one is told too.
#[derive(Default)]
pub(crate) struct Rosters {
    present: Vec<(TabId, OrganizationId)>,
    known: Vec<(OrganizationId, Roster)>,
}

impl Rosters {
    /// A tab says where it is. Gives what it is to be told at once.
    pub(crate) fn says(&mut self, tab: TabId, organization: Option<OrganizationId>) -> Option<Presence> {
        let is_new =
            !self.present.iter().any(|there| Some(*there) == organization.map(|organization| (tab, organization)));
        self.present.retain(|(there, _)| *there != tab);
        self.present.extend(organization.map(|organization| (tab, organization)));
        // Where no tab is any more, the server tells nothing, and begins anew.
        let Self { present, known } = self;
        known.retain(|(organization, _)| present.iter().any(|(_, there)| there == organization));
        let mut known = known.iter().filter(|(its, _)| is_new && Some(*its) == organization);
        known.next().map(|(organization, roster)| roster.whole(*organization))
    }

    /// The tab is closed. Gives whether it had said that it was anywhere.
    pub(crate) fn gone(&mut self, tab: TabId) -> bool {
        let was_present = self.present.iter().any(|(there, _)| *there == tab);
        self.says(tab, None);
        was_present
    }

    /// The server tells who is there; gives the tabs that are to hear it.
    pub(crate) fn hears(&mut self, told: &Presence) -> Vec<TabId> {
        let present = self.present.iter().filter(|(_, there)| *there == told.organization);
        let tabs: Vec<_> = present.map(|(tab, _)| *tab).collect();
        if !tabs.is_empty() {
            if !self.known.iter().any(|(its, _)| *its == told.organization) {
                self.known.push((told.organization, Roster::default()));
            }
            let known = self.known.iter_mut().filter(|(its, _)| *its == told.organization);
            known.for_each(|(_, roster)| roster.hear(told));
        }
        tabs
    }
}

/// Where the person is in this tab, and what has been said of it.
pub struct Stand {
    organization: Option<OrganizationId>,
    place: Option<Place>,
    sight: Sight,
    typed_at: Option<u64>,
    turned_at: u64,
    is_connected: bool,
    said: Said,
    said_at: u64,
}

type Said = (Option<OrganizationId>, Option<Place>);

/// What is to be said now, and in how many milliseconds this is to be asked again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Saying {
    pub says: Option<Whereabouts>,
    pub again_in: Option<u32>,
}

impl Default for Stand {
    fn default() -> Self {
        Self {
            organization: None,
            place: None,
            sight: Sight::LooksAway,
            typed_at: None,
            turned_at: 0,
            is_connected: false,
            said: (None, None),
            said_at: 0,
        }
    }
}

impl Stand {
    /// The page belongs to this organization, or to none.
    pub fn enters(&mut self, organization: Option<OrganizationId>) {
        if self.organization != organization {
            self.organization = organization;
            self.place = None;
        }
    }

    pub fn organization(&self) -> Option<OrganizationId> {
        self.organization
    }

    /// The page shows this, as far as others are concerned. The field is said by itself.
    pub fn moves_to(&mut self, place: Option<(&str, Option<Uuid>)>, now: u64) {
        let is_there = match (&self.place, place) {
            (Some(before), Some((table, record))) => before.table == table && before.record == record,
            (None, None) => true,
            _ => false,
        };
        if !is_there {
            let at =
                |(table, record): (&str, _)| Place { table: table.to_owned(), record, field: None, is_typing: false };
            self.place = place.map(at);
            self.typed_at = None;
            self.turned_at = now;
        }
    }

    /// The page that showed this is gone. Another may have come before.
    pub fn moves_from(&mut self, table: &str, record: Option<Uuid>) {
        if self.place.as_ref().is_some_and(|place| place.table == table && place.record == record) {
            self.place = None;
        }
    }

    /// This field of the record has the focus; none has.
    pub fn focuses(&mut self, field: Option<String>) {
        if let Some(place) = self.place.as_mut().filter(|place| place.record.is_some())
            && place.field != field
        {
            place.field = field;
            self.typed_at = None;
        }
    }

    /// Something is typed in the field.
    pub fn types(&mut self, now: u64) {
        self.typed_at = Some(now);
        self.turned_at = now;
    }

    /// The person turns to the tab, or does something in it; or looks away from it.
    pub fn turns(&mut self, sight: Sight, now: u64) {
        self.sight = sight;
        if sight == Sight::Looks {
            self.turned_at = now;
        } else {
            self.typed_at = None;
        }
    }

    /// The connection stands, and nobody there has been told anything; or it is gone.
    pub fn connected(&mut self, is_connected: bool) {
        self.is_connected = is_connected;
        self.said = (None, None);
        self.said_at = 0;
    }

    /// To be asked whenever something has happened, and when [`Saying::again_in`] has passed.
    pub fn say(&mut self, now: u64) -> Saying {
        if !self.is_connected {
            return Saying::default();
        }
        let types_until = self.typed_at.map(|typed_at| typed_at + TYPES_FOR).filter(|until| *until > now);
        let now_at: Said = match (self.sight, self.organization) {
            (Sight::Looks, Some(organization)) => {
                let place = self
                    .place
                    .clone()
                    .map(|place| Place { is_typing: types_until.is_some() && place.field.is_some(), ..place });
                (Some(organization), place)
            }
            _ => (None, None),
        };
        let (is_news, since) = (now_at != self.said, now.saturating_sub(self.said_at));
        let every = u64::from(SAY_PRESENT_EVERY);
        let pause = match (is_news, now_at.0) {
            (false, None) => return Saying::default(),
            // That nobody looks any more is said while it still can be.
            (true, None) => 0,
            (true, Some(_)) => SAY_APART,
            (false, Some(_)) => every,
        };
        let mut saying = Saying::default();
        let mut again_in = pause.saturating_sub(since);
        if since >= pause {
            let (organization, place) = now_at.clone();
            let ago = u32::try_from(now.saturating_sub(self.turned_at)).unwrap_or(u32::MAX);
            let ago = if organization.is_some() { ago } else { 0 };
            saying.says = Some(Whereabouts { tab: Uuid::nil(), organization, place, ago });
            again_in = every;
            (self.said, self.said_at) = (now_at, now);
        }
        if self.said.0.is_some() || saying.says.is_none() {
            let until_typed = types_until.map_or(u64::MAX, |until| until - now);
            saying.again_in = u32::try_from(again_in.min(until_typed)).ok();
        }
        saying
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(1));
    const RECORD: Uuid = Uuid::from_u128(7);

    fn here(person: u128, table: Option<&str>) -> Here {
        let place =
            |table: &str| Place { table: table.to_owned(), record: Some(RECORD), field: None, is_typing: false };
        Here { person: PersonId(Uuid::from_u128(person)), place: table.map(place) }
    }

    fn told(is_whole: bool, here: Vec<Here>, left: &[u128], others: u32) -> Presence {
        let left = left.iter().map(|person| PersonId(Uuid::from_u128(*person))).collect();
        Presence { organization: ORGANIZATION, is_whole, here, left, others }
    }

    fn stand() -> Stand {
        let mut stand = Stand::default();
        stand.enters(Some(ORGANIZATION));
        stand.turns(Sight::Looks, 1_000);
        stand.connected(true);
        stand
    }

    #[test]
    fn a_roster_is_what_was_told_of_it_last() {
        let mut roster = Roster::default();
        roster.hear(&told(true, vec![here(1, Some("orders")), here(2, None)], &[], 4));
        assert_eq!(roster.count(), 6);
        assert_eq!(roster.at("orders", RECORD).count(), 1);
        roster.hear(&told(false, vec![here(2, Some("orders"))], &[1], 0));
        assert_eq!((roster.count(), roster.at("orders", RECORD).count()), (1, 1));
        let mut other = Roster::default();
        other.hear(&roster.whole(ORGANIZATION));
        assert_eq!(other, roster);
        roster.hear(&told(true, vec![], &[], 0));
        assert!(roster.is_empty());
    }

    #[test]
    fn a_tab_that_comes_later_is_told_who_is_there() {
        let (first, second) = (TabId(Uuid::from_u128(1)), TabId(Uuid::from_u128(2)));
        let mut rosters = Rosters::default();
        assert_eq!(rosters.says(first, Some(ORGANIZATION)), None);
        let whole = told(true, vec![here(1, None)], &[], 0);
        assert_eq!(rosters.hears(&whole), [first]);
        assert_eq!(rosters.says(second, Some(ORGANIZATION)), Some(whole.clone()));
        assert_eq!(rosters.says(second, Some(ORGANIZATION)), None, "it has been told");
        assert!(rosters.gone(first) && rosters.gone(second) && !rosters.gone(second));
        assert_eq!(rosters.says(first, Some(ORGANIZATION)), None, "nobody was told meanwhile who came and left");
        assert_eq!(rosters.hears(&whole), [first]);
    }

    #[test]
    fn what_is_said_is_said_again_before_it_ends() {
        let mut stand = stand();
        let first = stand.say(1_500);
        let says = first.says.expect("it has not been said");
        assert_eq!((says.organization, says.place, says.ago), (Some(ORGANIZATION), None, 500));
        assert_eq!(first.again_in, Some(SAY_PRESENT_EVERY));
        assert_eq!(stand.say(1_600), Saying { says: None, again_in: Some(SAY_PRESENT_EVERY - 100) });
        assert!(stand.say(4_000).says.is_some());
    }

    #[test]
    fn who_types_is_said_to_and_no_longer_when_they_pause() {
        let mut stand = stand();
        stand.moves_to(Some(("orders", Some(RECORD))), 1_000);
        stand.focuses(Some("title".to_owned()));
        let says = stand.say(2_000).says.and_then(|says| says.place).expect("a place");
        assert_eq!((says.field.as_deref(), says.is_typing), (Some("title"), false));
        stand.types(3_000);
        let saying = stand.say(3_000);
        assert!(saying.says.and_then(|says| says.place).expect("a place").is_typing);
        stand.types(3_100);
        assert_eq!(stand.say(3_100).says, None, "each further key is no news");
        let ended = stand.say(3_100 + TYPES_FOR);
        assert!(!ended.says.and_then(|says| says.place).expect("a place").is_typing);
        stand.focuses(None);
        assert_eq!(stand.say(9_000).says.and_then(|says| says.place).expect("a place").field, None);
    }

    #[test]
    fn many_moves_are_said_once_and_the_last_one_is_said() {
        let mut stand = stand();
        stand.say(2_000);
        stand.moves_to(Some(("orders", None)), 2_050);
        assert_eq!(stand.say(2_100), Saying { says: None, again_in: Some(50) });
        stand.moves_to(Some(("orders", Some(RECORD))), 2_150);
        let says = stand.say(2_150).says.and_then(|says| says.place).expect("a place");
        assert_eq!(says.record, Some(RECORD));
    }

    #[test]
    fn a_page_that_goes_takes_with_it_its_own_place_alone() {
        let mut stand = stand();
        stand.moves_to(Some(("orders", None)), 1_000);
        stand.moves_to(Some(("orders", Some(RECORD))), 1_000);
        stand.moves_from("orders", None);
        assert!(stand.say(2_000).says.is_some_and(|says| says.place.is_some()));
        stand.moves_from("orders", Some(RECORD));
        assert!(stand.say(3_000).says.is_some_and(|says| says.place.is_none()));
    }

    #[test]
    fn who_looks_away_says_so_once_and_at_once() {
        let mut stand = stand();
        assert!(stand.say(2_000).says.is_some());
        stand.turns(Sight::LooksAway, 2_010);
        let away = Whereabouts { tab: Uuid::nil(), organization: None, place: None, ago: 0 };
        assert_eq!(stand.say(2_010), Saying { says: Some(away), again_in: None });
        assert_eq!(stand.say(9_000), Saying::default());
    }

    #[test]
    fn without_a_connection_nothing_is_said_and_with_the_next_all_is() {
        let mut stand = stand();
        stand.say(2_000);
        stand.connected(false);
        assert_eq!(stand.say(9_000), Saying::default());
        stand.connected(true);
        assert!(stand.say(9_001).says.is_some());
    }
}
