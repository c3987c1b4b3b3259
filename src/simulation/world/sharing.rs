//! Where the tabs of a person share one connection: what passes between them and their household.

use super::{World, heard};
use crate::simulation::household::{self, ByPlace, Household, News};
use crate::simulation::product::{self, Query};
use crate::simulation::schedule::Schedule;
use crate::wire::{ClientFrame, ServerFrame};
use std::collections::BTreeSet;

pub(super) fn households(schedule: &Schedule) -> Vec<Household> {
    if !schedule.is_shared {
        return Vec::new();
    }
    let people: BTreeSet<u32> = schedule.tabs.iter().copied().collect();
    let places = |whose: u32| {
        let tabs = schedule.tabs.iter().enumerate();
        tabs.filter(move |(_, person)| **person == whose).map(|(place, _)| place)
    };
    people.into_iter().map(|whose| Household::new(product::person(whose), places(whose))).collect()
}

impl World {
    pub(super) fn household_goes_on(&mut self, place: usize, this: household::Move, chance: u32) -> Result<(), String> {
        note!(self, "  household {place}: {this:?}");
        if let household::Move::Connect = this {
            let link = self.connect(self.households[place].person, chance);
            self.households[place].opens(link);
            return Ok(());
        }
        let news = self.households[place].go(this, &mut self.links)?;
        self.pass_on(news)
    }

    fn pass_on(&mut self, news: ByPlace) -> Result<(), String> {
        news.into_iter().try_for_each(|(tab, news)| self.hear_news(tab, news))
    }

    fn home_of(&mut self, tab: usize) -> Option<&mut Household> {
        let person = self.tabs[tab].person;
        self.households.iter_mut().find(|household| household.person == person)
    }

    pub(super) fn says_at_home(&mut self, tab: usize, frame: ClientFrame) -> Result<(), String> {
        let mut links = std::mem::take(&mut self.links);
        let news = self.home_of(tab).map(|household| household.says(tab, frame, &mut links));
        self.links = links;
        self.pass_on(news.transpose()?.unwrap_or_default())
    }

    pub(super) fn cut_at_home(&mut self, tab: usize) {
        let mut links = std::mem::take(&mut self.links);
        if let Some(household) = self.home_of(tab) {
            household.cut(&mut links);
        }
        self.links = links;
    }

    pub(super) fn reopen_at_home(&mut self, tab: usize) {
        let mut links = std::mem::take(&mut self.links);
        if let Some(household) = self.home_of(tab) {
            household.reopens(tab, &mut links);
        }
        self.links = links;
    }

    /// Tabs that share a connection often show the same: something that another of them shows.
    pub(super) fn shown_at_home(&self, tab: usize, which: u32) -> Option<Query> {
        if self.households.is_empty() || which.is_multiple_of(2) {
            return None;
        }
        let person = self.tabs[tab].person;
        let others = self.tabs.iter().enumerate().filter(|(place, other)| *place != tab && other.person == person);
        let shown: Vec<Query> = others.flat_map(|(_, other)| other.observed()).collect();
        shown.get(which as usize / 2 % shown.len().max(1)).cloned()
    }

    /// What a tab hears, whichever way it came.
    pub(super) fn hear_news(&mut self, tab: usize, news: News) -> Result<(), String> {
        let page = &mut self.tabs[tab];
        let wishes = match news {
            // As the driver: what was so already is no news.
            News::Connection { is_live: true } if page.is_live => Vec::new(),
            News::Connection { is_live: true } => {
                note!(self, "  tab {tab} is connected");
                page.connected(&self.database)?
            }
            News::Connection { is_live: false } => {
                note!(self, "  tab {tab} is disconnected");
                page.disconnected(&self.database)?
            }
            News::Told(frame) => {
                note!(self, "  tab {tab} hears {}", heard(&frame));
                match frame {
                    ServerFrame::Tick(tick) => page.ticked(tick, &self.database)?,
                    ServerFrame::Rights { organizations } => page.rights_changed(organizations, &self.database)?,
                    ServerFrame::Hello { .. } | ServerFrame::Pong { .. } => Vec::new(),
                    ServerFrame::Error(error) => return Err(format!("the server did not understand a frame: {error}")),
                }
            }
        };
        self.grant(tab, wishes)
    }
}
