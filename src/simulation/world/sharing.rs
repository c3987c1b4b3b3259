//! Where the tabs of a person share one connection, one outbox and one device: what passes between their pages, their
//! household and the world.

use super::{World, came_of, heard};
use crate::client::{self, Question, Ticket, drop_superseded};
use crate::connection::State;
use crate::error::ApiError;
use crate::flights::{Asked, Worth};
use crate::found::Found;
use crate::overlay::{Answer, AnyValue, MutationId};
use crate::simulation::device::{Operation, Outcome};
use crate::simulation::household::{self, ByPlace, Household};
use crate::simulation::product::{self, Query, Write};
use crate::simulation::request::About;
use crate::simulation::schedule::Schedule;
use crate::simulation::tab::Wish;
use crate::switchboard::Switchboard;
use crate::tabs::{Deed, Sending, Stored, Told, Word};
use crate::wire::{ClientFrame, Read, ServerFrame, Standing};
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
    pub(super) fn home(&mut self, tab: usize) -> &mut Household {
        let person = self.tabs[tab].person;
        self.households.iter_mut().find(|household| household.person == person).expect("every tab has its household")
    }

    pub(super) fn household_goes_on(&mut self, place: usize, this: household::Move, chance: u32) -> Result<(), String> {
        note!(self, "  household {place}: {this:?}");
        match this {
            household::Move::Connect => {
                let link = self.connect(self.households[place].person, chance);
                self.households[place].opens(link);
                Ok(())
            }
            household::Move::Device => self.households[place].device.go_on(&self.database),
            household::Move::HearDevice(tab) => match self.households[place].hear_device(tab) {
                Some((tab, outcome)) => self.hear_device(tab, outcome, chance),
                None => Ok(()),
            },
            this => {
                let deeds = self.households[place].go(this, &mut self.links)?;
                self.carry_out(deeds)
            }
        }
    }

    fn carry_out(&mut self, deeds: ByPlace) -> Result<(), String> {
        deeds.into_iter().try_for_each(|(tab, deed)| self.does(tab, deed))
    }

    fn on_board(&mut self, tab: usize, happened: impl FnOnce(&mut Switchboard)) -> Result<(), String> {
        let mut links = std::mem::take(&mut self.links);
        let deeds = self.home(tab).on_board(&mut links, happened);
        self.links = links;
        self.carry_out(deeds?)
    }

    /// As `browser/tabs.rs` carries it out.
    fn does(&mut self, tab: usize, deed: Deed) -> Result<(), String> {
        match deed {
            Deed::Say(letter) => self.home(tab).say(tab, &letter),
            Deed::ConnectionIs(state, _) => return self.connection_of(tab, state),
            Deed::Told(frame) => return self.told(tab, frame),
            Deed::OnBoard(other, frame) => return self.on_board(tab, |board| board.said(other, frame)),
            Deed::OffBoard(other) => return self.on_board(tab, |board| board.gone(other)),
            Deed::Welcome(other) => {
                let (state, outbox) = (self.home(tab).state(), self.tabs[tab].stored_mutations());
                let home = self.home(tab);
                let letter = home.member(tab).tabs.welcome(other, state, None, outbox);
                home.say(tab, &letter);
            }
            Deed::NoticeWhenGone(other) => self.home(tab).notice_when_gone(other),
            Deed::Fetch(key, asked) => {
                let query = self.queries[&key].clone();
                self.request(tab, About::Read { query, asked });
            }
            Deed::Fetched(key, asked, answer) => {
                let query = self.queries[&key].clone();
                let answer = answer.and_then(|found| found.stamped().ok_or_else(ApiError::internal));
                let answer = answer.and_then(|read| read.and_then(|json| self.decoded(&query, &json)));
                note!(self, "  tab {tab} hears of an answer: {query:?} {}", super::told(&query, &answer));
                return self.fetched(tab, &query, &asked, answer);
            }
            Deed::AskAgain => return self.ask_again(tab),
            Deed::Follow(stored, sending) => {
                note!(self, "  tab {tab} follows: {} is {:?}", stored.id, stored.progress);
                let wishes = self.tabs[tab].follows(stored, sending, &self.database)?;
                return self.grant(tab, wishes);
            }
            Deed::Pass(stored, sending) => {
                let id = stored.id;
                self.learns(tab, stored, sending)?;
                if let Some(stored) = self.tabs[tab].stored(id) {
                    let home = self.home(tab);
                    let letter = home.member(tab).tabs.letter(Word::Learn(stored, sending));
                    home.say(tab, &letter);
                }
            }
            Deed::TellAllBut(known) => {
                let unknown =
                    self.tabs[tab].stored_mutations().into_iter().filter(|stored| !known.contains(&stored.id));
                for stored in unknown.collect::<Vec<_>>() {
                    let home = self.home(tab);
                    let letter = home.member(tab).tabs.letter(Word::Holds(stored));
                    home.say(tab, &letter);
                }
            }
            Deed::Heard(told) => {
                let outcomes: Vec<_> = told.into_iter().map(|(id, told)| (id, self.read_outcome(told))).collect();
                for (id, outcome) in &outcomes {
                    note!(self, "  tab {tab} hears of {id} that it {}", came_of(outcome));
                }
                let wishes = self.tabs[tab].heard(outcomes, &self.database)?;
                return self.grant(tab, wishes);
            }
            Deed::TakeOverOutbox => self.begin(tab, Operation::ReadMutations),
            // Nobody is told what changed while they were away.
            Deed::Looks(..) => {}
            Deed::SaySight | Deed::Noticed(_) => return Err("nobody has looked anywhere".to_owned()),
            Deed::FollowAnother | Deed::TakeLead => return Err("no lock has been taken away".to_owned()),
            Deed::Settle(..) | Deed::TryNow | Deed::SignedOut => {
                return Err("nobody has decided, tried or signed out".to_owned());
            }
        }
        Ok(())
    }

    // ------------------------------------------------------------------------------------------ reading and writing

    fn decoded(&self, query: &Query, json: &str) -> Result<AnyValue, ApiError> {
        let codec = self.catalogue.codec(&query.key());
        codec.and_then(|codec| codec.decode(json)).ok_or_else(ApiError::internal)
    }

    fn encoded(&self, query: &Query, value: &AnyValue) -> Option<String> {
        self.catalogue.codec(&query.key())?.encode(value)
    }

    pub(super) fn asks_at_home(
        &mut self,
        tab: usize,
        query: &Query,
        ticket: Ticket,
        question: Question,
    ) -> Result<(), String> {
        note!(self, "  tab {tab} wants {query:?} (ticket {ticket})");
        let deed = self.home(tab).member(tab).tabs.asks(query.key().to_string(), ticket, question);
        deed.into_iter().try_for_each(|deed| self.does(tab, deed))
    }

    fn ask_again(&mut self, tab: usize) -> Result<(), String> {
        let mut questions = self.tabs[tab].client.questions();
        questions.sort_by_key(|(key, ..)| key.to_string());
        for (key, ticket, question) in questions {
            let query = self.queries[&key.to_string()].clone();
            self.asks_at_home(tab, &query, ticket, question)?;
        }
        Ok(())
    }

    /// A fetch that was made for all has ended.
    pub(super) fn landed(
        &mut self,
        tab: usize,
        query: &Query,
        asked: &Asked,
        answer: Result<Read<AnyValue>, ApiError>,
    ) -> Result<(), String> {
        let key = query.key().to_string();
        let landing = self.home(tab).member(tab).tabs.landed(&key, asked).ok_or("a fetch that nobody made for all")?;
        let json = answer.as_ref().ok().and_then(|read| self.encoded(query, &read.data));
        let written = match (&answer, &json) {
            (Ok(read), Some(json)) => Ok(read.clone().map(|_| json.clone()).into()),
            (Ok(_), None) => Err(ApiError::internal()),
            (Err(error), _) => Err(error.clone()),
        };
        let home = self.home(tab);
        let letter = home.member(tab).tabs.tell_of(key.clone(), asked.clone(), &landing, written);
        home.say(tab, &letter);
        if let (Ok(read), Some(json), Worth::Keeping) = (&answer, json, landing.worth)
            && self.tabs[tab].client.is_clear(&query.key(), &asked.question, &Found::from(read.clone()))
            && let Some(read) = asked.question.kept(&read.clone().into()).map(|_| json).stamped()
        {
            self.begin(tab, Operation::Keep { key, read });
        }
        self.fetched(tab, query, asked, answer)
    }

    fn fetched(
        &mut self,
        tab: usize,
        query: &Query,
        asked: &Asked,
        answer: Result<Read<AnyValue>, ApiError>,
    ) -> Result<(), String> {
        let me = self.home(tab).member(tab).tabs.me();
        let wishes = self.tabs[tab].fetched_for_all(me, query, asked, answer, &self.database)?;
        self.grant(tab, wishes)
    }

    pub(super) fn make(&mut self, tab: usize, id: MutationId, write: Write) -> Result<(), String> {
        let organization = write.organization;
        if let Some(order) = write.record() {
            let query = Query::Order(organization, order);
            self.queries.insert(query.key().to_string(), query);
        }
        let wishes = self.tabs[tab].mutate(id, write, &self.database)?;
        if !self.households.is_empty() {
            let stored = self.tabs[tab].stored(id).ok_or("what was made is not known")?;
            let home = self.home(tab);
            let me = home.member(tab).tabs.me();
            home.made.push((id, Some(me), organization));
            if let Some(letter) = home.member(tab).tabs.made(stored) {
                home.say(tab, &letter);
            }
        }
        self.grant(tab, wishes)
    }

    /// Mutations that were sent for all have been answered.
    pub(super) fn sent(&mut self, tab: usize, mut outcomes: Vec<(MutationId, client::Outcome)>) -> Result<(), String> {
        self.tabs[tab].client.say_after(&mut outcomes);
        drop_superseded(&mut outcomes);
        self.home(tab).member(tab).tabs.takes_in(&mut outcomes);
        let told = outcomes.iter().map(|(id, outcome)| (*id, self.in_words(outcome))).collect();
        let is_done = |(_, outcome): &&(MutationId, client::Outcome)| matches!(outcome, client::Outcome::Done { .. });
        let done: Vec<_> = outcomes.iter().filter(is_done).map(|(id, _)| *id).collect();
        let home = self.home(tab);
        let letter = home.member(tab).tabs.letter(Word::Heard { outcomes: told });
        home.say(tab, &letter);
        let wishes = self.tabs[tab].heard(outcomes, &self.database)?;
        self.grant(tab, wishes)?;
        // Not yet in every value: a page that comes next is to know that they are done.
        done.into_iter().for_each(|id| self.keeps_at_home(tab, Wish::KeepMutation(id)));
        Ok(())
    }

    fn in_words(&self, outcome: &client::Outcome) -> Told {
        match outcome {
            client::Outcome::Done { answer: Answer { xid, stamp, value }, after } => {
                let value = value.as_ref().and_then(|(key, value)| {
                    let key = key.to_string();
                    let json = self.encoded(self.queries.get(&key)?, value)?;
                    Some((key, json))
                });
                Told::Done { xid: *xid, stamp: stamp.clone(), value, after: after.clone() }
            }
            client::Outcome::Failed(error) => Told::Failed(error.clone()),
            client::Outcome::NotBegun => Told::NotBegun,
        }
    }

    fn read_outcome(&self, told: Told) -> client::Outcome {
        match told {
            Told::Done { xid, stamp, value, after } => {
                let value = value.and_then(|(key, json)| {
                    let query = self.queries.get(&key)?;
                    Some((query.key(), self.decoded(query, &json).ok()?))
                });
                client::Outcome::Done { answer: Answer { xid, stamp, value }, after }
            }
            Told::Failed(error) => client::Outcome::Failed(error),
            Told::NotBegun => client::Outcome::NotBegun,
        }
    }

    // ----------------------------------------------------------------------------------------------- the connection

    pub(super) fn says_at_home(&mut self, tab: usize, frame: ClientFrame) -> Result<(), String> {
        let (me, is_leading) = {
            let tabs = &self.home(tab).member(tab).tabs;
            (tabs.me(), tabs.is_leading())
        };
        if is_leading {
            return self.on_board(tab, |board| board.said(me, frame));
        }
        let home = self.home(tab);
        let letter = home.member(tab).tabs.letter(Word::Says { tab: me, frame });
        home.say(tab, &letter);
        Ok(())
    }

    pub(super) fn cut_at_home(&mut self, tab: usize) {
        if self.households.is_empty() {
            return;
        }
        let mut links = std::mem::take(&mut self.links);
        self.home(tab).cut(&mut links);
        self.links = links;
    }

    pub(super) fn reopen_at_home(&mut self, tab: usize, how: u32) {
        if self.households.is_empty() {
            return;
        }
        let mut links = std::mem::take(&mut self.links);
        self.home(tab).reopens(tab, &mut links, how);
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

    pub(super) fn connection_of(&mut self, tab: usize, state: State) -> Result<(), String> {
        let page = &mut self.tabs[tab];
        let wishes = match state {
            // As the driver: what was so already is no news.
            State::Live if page.is_live => return Ok(()),
            State::Live => {
                note!(self, "  tab {tab} is connected");
                page.connected(&self.database)?
            }
            _ => {
                note!(self, "  tab {tab} is disconnected");
                page.disconnected(&self.database)?
            }
        };
        self.grant(tab, wishes)
    }

    /// What the server says to a tab, whichever way it came.
    pub(super) fn told(&mut self, tab: usize, frame: ServerFrame) -> Result<(), String> {
        note!(self, "  tab {tab} hears {}", heard(&frame));
        let wishes = match frame {
            ServerFrame::Tick(tick) => self.tabs[tab].ticked(tick, &self.database)?,
            ServerFrame::Rights { organizations } => {
                if !self.households.is_empty() {
                    let home = self.home(tab);
                    let removed = organizations.iter().filter(|rights| rights.standing == Standing::Removed);
                    home.left.extend(removed.map(|rights| rights.organization));
                    let tabs = &mut home.member(tab).tabs;
                    organizations.iter().for_each(|rights| tabs.rights_changed(rights.organization));
                }
                self.tabs[tab].rights_changed(organizations, &self.database)?
            }
            ServerFrame::Hello { .. } | ServerFrame::Pong { .. } | ServerFrame::Presence(_) => Vec::new(),
            ServerFrame::Error(error) => return Err(format!("the server did not understand a frame: {error}")),
        };
        self.grant(tab, wishes)
    }

    // --------------------------------------------------------------------------------------------------- the device

    fn begin(&mut self, tab: usize, operation: Operation) {
        let home = self.home(tab);
        let me = home.member(tab).tabs.me();
        home.device.begin(me, operation);
    }

    /// What a page's client wants of the device.
    pub(super) fn keeps_at_home(&mut self, tab: usize, wish: Wish) {
        if self.households.is_empty() {
            return;
        }
        let operation = match wish {
            Wish::Restore(key) => Operation::ReadValue(key.to_string()),
            Wish::Keep(key) => {
                let query = self.queries[&key.to_string()].clone();
                let Some(read) = self.tabs[tab].client.current(&key) else {
                    return self.tabs[tab].client.was_not_kept(&key);
                };
                let Some(json) = self.encoded(&query, &read.data) else { return };
                Operation::Keep { key: key.to_string(), read: read.map(|_| json) }
            }
            Wish::KeepMutation(id) => {
                let Some(stored) = self.tabs[tab].stored(id) else { return };
                if !self.home(tab).member(tab).tabs.writes_down(id) {
                    return;
                }
                Operation::KeepMutation(Box::new(stored))
            }
            Wish::ForgetMutations(ids) => {
                if !self.home(tab).member(tab).tabs.is_leading() {
                    return;
                }
                Operation::ForgetMutations(ids)
            }
            Wish::ForgetKept(organization) => Operation::ForgetValues(organization),
            Wish::ForgetAll(organization) => Operation::ForgetAll(organization),
            Wish::Left(organization) => {
                let home = self.home(tab);
                home.made.retain(|(_, _, its)| *its != organization);
                return;
            }
            Wish::Read { .. } | Wish::Send { .. } | Wish::Frame(_) => return,
        };
        self.begin(tab, operation);
    }

    fn learns(&mut self, tab: usize, stored: Stored, sending: Sending) -> Result<(), String> {
        note!(self, "  tab {tab} learns of {} as {:?}", stored.id, stored.progress);
        let wishes = self.tabs[tab].learns(stored, sending, &self.database)?;
        self.grant(tab, wishes)
    }

    fn hear_device(&mut self, tab: usize, outcome: Outcome, chance: u32) -> Result<(), String> {
        note!(self, "  tab {tab} hears of its device: {outcome:?}");
        let catalogue = &self.catalogue;
        let wishes = match outcome {
            Outcome::Kept(key, stamp) => {
                let key = self.queries[&key].key();
                self.tabs[tab].act(&self.database, |client| client.was_kept(&key, stamp))?
            }
            Outcome::Value(text, found, outbox) => {
                let query = self.queries[&text].clone();
                let value = found.and_then(|read| read.and_then(|json| self.decoded(&query, &json)).ok());
                self.tabs[tab].restored(&query, value, &outbox, &self.database)?
            }
            Outcome::Stamps(stamps) => {
                let kept = stamps.into_iter().filter_map(|(key, stamp)| Some((catalogue.key(&key)?, stamp))).collect();
                self.tabs[tab].act(&self.database, |client| client.found_kept(kept))?
            }
            Outcome::Mutations(all) if !self.home(tab).member(tab).has_joined => {
                return self.knows_outbox(tab, all, chance);
            }
            Outcome::Mutations(all) => {
                let is_leading = self.home(tab).member(tab).tabs.is_leading();
                for stored in all {
                    if is_leading {
                        self.does(tab, Deed::Pass(stored, Sending::Perhaps))
                    } else {
                        self.learns(tab, stored, Sending::Perhaps)
                    }?;
                }
                if !is_leading {
                    return Ok(());
                }
                let wishes = self.tabs[tab].act(&self.database, |client| client.set_sender(true))?;
                self.grant(tab, wishes)?;
                let deeds = self.home(tab).member(tab).tabs.has_taken_over();
                return deeds.into_iter().try_for_each(|deed| self.does(tab, deed));
            }
        };
        self.grant(tab, wishes)
    }

    /// As a page begins: what was done is known before anything is read that may contain it, and the stamps of what is kept
    /// only afterwards.
    fn knows_outbox(&mut self, tab: usize, all: Vec<Stored>, chance: u32) -> Result<(), String> {
        for stored in all {
            self.learns(tab, stored, Sending::Perhaps)?;
        }
        // A page that came from the server says where the person belongs; one that started without does not.
        let belongs_to = chance.is_multiple_of(2).then(|| self.belongs_to(tab));
        self.home(tab).member(tab).knows_memberships = belongs_to.is_some();
        let wishes = self.tabs[tab].act(&self.database, |client| {
            if let Some(organizations) = &belongs_to {
                client.belongs_to(organizations);
            }
            client.found_outbox();
        })?;
        self.grant(tab, wishes)?;
        let held = self.tabs[tab].client.held();
        let mut held: Vec<_> = held.into_iter().map(|key| key.to_string()).collect();
        held.sort();
        for key in held {
            let key = self.queries[&key].key();
            self.keeps_at_home(tab, Wish::Keep(key));
        }
        let deed = self.home(tab).joins(tab);
        self.does(tab, deed)?;
        self.begin(tab, Operation::ReadStamps);
        Ok(())
    }

    fn belongs_to(&self, tab: usize) -> Vec<crate::key::OrganizationId> {
        let person = self.tabs[tab].person;
        let all = (0..2).map(product::organization);
        all.filter(|organization| product::watch_rights(&self.database, person, *organization).is_some()).collect()
    }

    /// What is true of each person's tabs and device together, when all has come to rest.
    pub(super) fn look_at_homes(&mut self) -> Result<(), String> {
        for household in &self.households {
            let Some(place) = household.leads() else { return Err("no leader: nobody leads at rest".to_owned()) };
            let held: BTreeSet<MutationId> = self.tabs[place].refused_mutations();
            for (id, by, _) in &household.made {
                let is_safe = household.device.written.contains(id) || by.is_some();
                let is_done = self.database.life_of_mutation(household.person, *id).is_some();
                if is_safe && !is_done && !held.contains(id) {
                    return Err(format!("lost mutation: {id} was kept, and is neither done nor shown as refused"));
                }
            }
            // A page that started without the server knows nothing of memberships that had ended before.
            let all_know = household.members.iter().all(|member| member.knows_memberships);
            for organization in household.left.iter().filter(|_| all_know) {
                let is_member = product::watch_rights(&self.database, household.person, *organization).is_some();
                if let (false, Some(key)) = (is_member, household.device.holds_of(*organization)) {
                    return Err(format!("kept after leaving: {key} is still kept"));
                }
            }
        }
        Ok(())
    }
}
