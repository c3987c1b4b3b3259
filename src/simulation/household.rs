//! All tabs of a person, where they share one connection, one outbox and one device: the real words between the tabs and
//! what follows from them ([`Tabs`]), and the real switchboard in the tab that leads.
//!
//! What one tab says to the others comes in order and is not lost, at any time; nothing says in which order the words of two
//! tabs come. What a tab has said is under way even when it is gone.

use super::device::Device;
use super::link::{Down, Link, LinkId};
use crate::connection::State;
use crate::key::{OrganizationId, PersonId, WireKey};
use crate::overlay::MutationId;
use crate::switchboard::{Passing, Switchboard, TabId};
use crate::tabs::{Deed, Letter, Tabs, Word};
use crate::wire::{ClientFrame, ServerFrame, WatchNumber};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use uuid::Uuid;

pub(super) struct Household {
    pub(super) person: PersonId,
    pub(super) members: Vec<Member>,
    leader: Option<Leader>,
    /// By who said it, who may be gone, and to whom.
    said: BTreeMap<(TabId, TabId), VecDeque<Letter>>,
    pub(super) device: Device,
    /// How many tabs there have been.
    count: u128,
    /// Mutations that were made here, by whom; none once that tab is gone.
    pub(super) made: Vec<(MutationId, Option<TabId>, OrganizationId)>,
    /// Of which the server has told some tab that the person no longer belongs there.
    pub(super) left: BTreeSet<OrganizationId>,
}

pub(super) struct Member {
    /// Among the world's tabs.
    pub(super) place: usize,
    pub(super) tabs: Tabs,
    /// It knows the device's outbox, and listens to the others.
    pub(super) has_joined: bool,
    /// The server has told it where the person belongs.
    pub(super) knows_memberships: bool,
}

struct Leader {
    place: usize,
    board: Switchboard,
    /// Others of whose end it wants to hear.
    notices: Vec<TabId>,
    link: Option<LinkId>,
    state: State,
    /// What is watched over the link, for the check of what is asked.
    watched: BTreeMap<WatchNumber, WireKey>,
}

/// What can happen next.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum Move {
    /// The lock is given to the tab in this place.
    Lead(usize),
    /// A word of the one comes to the other.
    Hear(TabId, TabId),
    NoticeGone(TabId),
    Connect,
    HearServer,
    NoticeCut,
    /// The device goes on with what it was asked.
    Device,
    HearDevice(TabId),
}

/// By the place of the tab.
pub(super) type ByPlace = Vec<(usize, Deed)>;

impl Household {
    pub(super) fn new(person: PersonId, places: impl Iterator<Item = usize>) -> Self {
        let mut this = Self {
            person,
            members: Vec::new(),
            leader: None,
            said: BTreeMap::new(),
            device: Device::default(),
            count: 0,
            made: Vec::new(),
            left: BTreeSet::new(),
        };
        places.for_each(|place| this.opens_tab(place));
        this
    }

    fn opens_tab(&mut self, place: usize) {
        self.count += 1;
        // In no order of age: what is decided by it may turn out either way.
        let id = TabId(Uuid::from_u128(self.count * 0x9E37 % 0x1_0000));
        self.members.push(Member { place, tabs: Tabs::new(id), has_joined: false, knows_memberships: false });
        self.device.begin(id, super::device::Operation::ReadMutations);
    }

    pub(super) fn member(&mut self, place: usize) -> &mut Member {
        self.members.iter_mut().find(|member| member.place == place).expect("a tab of this household")
    }

    fn place_of(&self, tab: TabId) -> Option<usize> {
        self.members.iter().find(|member| member.tabs.me() == tab).map(|member| member.place)
    }

    /// The tab knows the device's outbox: it joins the others.
    pub(super) fn joins(&mut self, place: usize) -> Deed {
        let member = self.member(place);
        member.has_joined = true;
        member.tabs.joins()
    }

    /// The tab is gone, without a word, and another is opened in its place.
    pub(super) fn reopens(&mut self, place: usize, links: &mut [Link], how: u32) {
        let Some(at) = self.members.iter().position(|member| member.place == place) else { return };
        let gone = self.members.swap_remove(at).tabs.me();
        self.said.retain(|(_, to), _| *to != gone);
        self.device.loses(gone, how);
        self.made.iter_mut().filter(|(_, by, _)| *by == Some(gone)).for_each(|(_, by, _)| *by = None);
        if self.leader.as_ref().is_some_and(|leader| leader.place == place) {
            self.cut(links);
            self.leader = None;
        }
        self.opens_tab(place);
    }

    pub(super) fn cut(&mut self, links: &mut [Link]) {
        if let Some(link) = self.leader.as_ref().and_then(|leader| leader.link) {
            links[link].cut();
        }
    }

    pub(super) fn leads(&self) -> Option<usize> {
        self.leader.as_ref().map(|leader| leader.place)
    }

    pub(super) fn moves(&self, links: &[Link]) -> Vec<Move> {
        let mut moves = Vec::new();
        match &self.leader {
            None => {
                let joined = self.members.iter().filter(|member| member.has_joined);
                moves.extend(joined.map(|member| Move::Lead(member.place)));
            }
            Some(leader) => {
                match leader.link {
                    None => moves.push(Move::Connect),
                    Some(link) if links[link].is_cut() => moves.push(Move::NoticeCut),
                    Some(link) if links[link].has_told() => moves.push(Move::HearServer),
                    Some(_) => {}
                }
                let gone = leader.notices.iter().filter(|tab| self.place_of(**tab).is_none());
                moves.extend(gone.map(|tab| Move::NoticeGone(*tab)));
            }
        }
        moves.extend(self.said.keys().map(|(from, to)| Move::Hear(*from, *to)));
        moves.extend(self.device.has_begun().then_some(Move::Device));
        moves.extend(self.device.has_ended().map(Move::HearDevice));
        moves
    }

    /// The leader has opened a connection.
    pub(super) fn opens(&mut self, link: LinkId) {
        if let Some(leader) = &mut self.leader {
            leader.link = Some(link);
        }
    }

    /// What a move of the tabs, or of the connection, gives.
    pub(super) fn go(&mut self, this: Move, links: &mut [Link]) -> Result<ByPlace, String> {
        match this {
            Move::Lead(place) => Ok(self.lead(place)),
            Move::Hear(from, to) => Ok(self.hear(from, to)),
            Move::NoticeGone(tab) => {
                let Some(leader) = &mut self.leader else { return Ok(Vec::new()) };
                leader.notices.retain(|gone| *gone != tab);
                let place = leader.place;
                Ok(self.member(place).tabs.is_gone(tab).into_iter().map(|deed| (place, deed)).collect())
            }
            Move::HearServer => self.hear_server(links),
            Move::NoticeCut => self.disconnected(links),
            // The rest is the world's.
            Move::Connect | Move::Device | Move::HearDevice(_) => Ok(Vec::new()),
        }
    }

    pub(super) fn hear_device(&mut self, tab: TabId) -> Option<(usize, super::device::Outcome)> {
        let outcome = self.device.ended(tab)?;
        Some((self.place_of(tab)?, outcome))
    }

    fn lead(&mut self, place: usize) -> ByPlace {
        self.leader = Some(Leader {
            place,
            board: Switchboard::default(),
            notices: Vec::new(),
            link: None,
            state: State::Connecting,
            watched: BTreeMap::new(),
        });
        self.member(place).tabs.leads().into_iter().map(|deed| (place, deed)).collect()
    }

    /// A tab speaks to all others that listen.
    pub(super) fn say(&mut self, place: usize, letter: &Letter) {
        let me = self.member(place).tabs.me();
        // What is for one alone, the others pass over: it need not be played.
        let only = match &letter.word {
            Word::Told { tab, .. } | Word::Welcome { tab, .. } => Some(*tab),
            _ => None,
        };
        let others: Vec<_> =
            self.members.iter().filter(|other| other.has_joined).map(|other| other.tabs.me()).collect();
        for other in others.into_iter().filter(|other| *other != me && only.is_none_or(|only| only == *other)) {
            self.said.entry((me, other)).or_default().push_back(letter.clone());
        }
    }

    fn hear(&mut self, from: TabId, to: TabId) -> ByPlace {
        let Some(queue) = self.said.get_mut(&(from, to)) else { return Vec::new() };
        let letter = queue.pop_front();
        if queue.is_empty() {
            self.said.remove(&(from, to));
        }
        let (Some(letter), Some(place)) = (letter, self.place_of(to)) else { return Vec::new() };
        self.member(place).tabs.heard(letter).into_iter().map(|deed| (place, deed)).collect()
    }

    pub(super) fn notice_when_gone(&mut self, tab: TabId) {
        if let Some(leader) = &mut self.leader {
            leader.notices.push(tab);
        }
    }

    /// How the connection stands, as the leader tells it.
    pub(super) fn state(&self) -> State {
        self.leader.as_ref().map_or(State::Connecting, |leader| leader.state)
    }

    fn hear_server(&mut self, links: &mut [Link]) -> Result<ByPlace, String> {
        let Some(leader) = &mut self.leader else { return Ok(Vec::new()) };
        let Some(down) = leader.link.and_then(|link| links[link].told()) else { return Ok(Vec::new()) };
        match down {
            Down::Closed(_) => self.disconnected(links),
            Down::Frame(ServerFrame::Hello { .. }) => {
                leader.board.connected();
                Ok(self.connection_is(State::Live))
            }
            Down::Frame(frame @ (ServerFrame::Tick(_) | ServerFrame::Rights { .. })) => {
                leader.note_told(&frame);
                let place = leader.place;
                let tabs = self.member(place).tabs.all();
                self.on_board(links, |board| board.heard(frame, &tabs))
            }
            Down::Frame(ServerFrame::Pong { .. } | ServerFrame::Presence(_)) => Ok(Vec::new()),
            Down::Frame(ServerFrame::Error(error)) => Err(format!("the server did not understand a frame: {error}")),
        }
    }

    fn disconnected(&mut self, links: &mut [Link]) -> Result<ByPlace, String> {
        let Some(leader) = &mut self.leader else { return Ok(Vec::new()) };
        leader.link = None;
        leader.watched.clear();
        if leader.state != State::Live {
            return Ok(Vec::new());
        }
        let mut deeds = self.on_board(links, Switchboard::disconnected)?;
        deeds.extend(self.connection_is(State::Reconnecting { failed: 0 }));
        Ok(deeds)
    }

    fn connection_is(&mut self, state: State) -> ByPlace {
        let Some(leader) = &mut self.leader else { return Vec::new() };
        leader.state = state;
        let place = leader.place;
        let letter = self.member(place).tabs.letter(Word::Connection { state, latency: None });
        vec![(place, Deed::Say(letter)), (place, Deed::ConnectionIs(state, None))]
    }

    /// Lets the switchboard hear something, and passes on what it passes.
    pub(super) fn on_board(
        &mut self,
        links: &mut [Link],
        happened: impl FnOnce(&mut Switchboard),
    ) -> Result<ByPlace, String> {
        let Some(leader) = &mut self.leader else { return Ok(Vec::new()) };
        happened(&mut leader.board);
        let (place, link) = (leader.place, leader.link);
        let passing = leader.board.take_passing();
        let me = self.member(place).tabs.me();
        let mut deeds = Vec::new();
        for passing in passing {
            match passing {
                Passing::Up(frame) => {
                    // Where there is no socket, it goes nowhere.
                    if let (Some(link), Some(leader)) = (link, &mut self.leader) {
                        leader.note_asked(&frame)?;
                        links[link].ask(frame);
                    }
                }
                Passing::Down(tab, frame) if tab == me => deeds.push((place, Deed::Told(frame))),
                Passing::Down(tab, frame) => {
                    let letter = self.member(place).tabs.letter(Word::Told { tab, frame });
                    deeds.push((place, Deed::Say(letter)));
                }
            }
        }
        Ok(deeds)
    }
}

impl Leader {
    fn note_asked(&mut self, frame: &ClientFrame) -> Result<(), String> {
        match frame {
            ClientFrame::Watch { keys } => {
                for watch in keys {
                    if self.watched.values().any(|key| *key == watch.key) {
                        return Err(format!("two watches: {:?} is watched twice over one connection", watch.key));
                    }
                    self.watched.insert(watch.number, watch.key.clone());
                }
            }
            ClientFrame::Unwatch { numbers } => self.watched.retain(|number, _| !numbers.contains(number)),
            ClientFrame::Ping { .. } | ClientFrame::Presence(_) => {}
        }
        Ok(())
    }

    fn note_told(&mut self, frame: &ServerFrame) {
        match frame {
            ServerFrame::Tick(tick) => {
                tick.refused.iter().for_each(|refused| drop(self.watched.remove(&refused.number)));
            }
            ServerFrame::Rights { organizations } => {
                let ended: Vec<OrganizationId> = organizations.iter().map(|rights| rights.organization).collect();
                self.watched.retain(|_, key| !ended.contains(&key.organization));
            }
            ServerFrame::Hello { .. } | ServerFrame::Pong { .. } | ServerFrame::Presence(_) | ServerFrame::Error(_) => {
            }
        }
    }
}
