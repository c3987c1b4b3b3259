//! All tabs of a person, where they share one live connection: the real switchboard in the tab that leads, and the words
//! between the tabs, as `browser/tabs.rs` says them.
//!
//! What one tab says to the others comes in order and is not lost, at any time. What it has said is under way even when
//! it is gone; and who leads then may hear what was meant for the one before.
//!
//! A tab hears what a leader said before what the next one says: see ARCHITECTURE.md on what hangs on that.

use super::link::{Down, Link, LinkId};
use crate::key::{OrganizationId, PersonId, WireKey};
use crate::switchboard::{Passing, Switchboard, TabId};
use crate::wire::{ClientFrame, ServerFrame, WatchNumber};
use std::collections::{BTreeMap, VecDeque};
use uuid::Uuid;

pub(super) struct Household {
    pub(super) person: PersonId,
    members: Vec<Member>,
    leader: Option<Leader>,
    /// To whoever leads, by whom it was said, who may be gone.
    said: Vec<(TabId, VecDeque<Said>)>,
    /// How many tabs there have been.
    count: u128,
}

struct Member {
    /// Among the world's tabs.
    place: usize,
    id: TabId,
    inbox: VecDeque<Word>,
}

struct Leader {
    place: usize,
    id: TabId,
    board: Switchboard,
    others: Vec<TabId>,
    /// Others that are gone, which it has yet to notice.
    gone: Vec<TabId>,
    link: Option<LinkId>,
    is_live: bool,
    /// What is watched over the link, for the check of what is asked.
    watched: BTreeMap<WatchNumber, WireKey>,
}

/// From a follower to the leader.
enum Said {
    Hello,
    Frame(ClientFrame),
}

/// From the leader to a follower.
#[derive(Clone, Debug)]
enum Word {
    Leads,
    Welcome { is_live: bool },
    Connection { is_live: bool },
    Told(ServerFrame),
}

/// What comes of it for a tab's client.
#[derive(Debug)]
pub(super) enum News {
    Connection { is_live: bool },
    Told(ServerFrame),
}

/// What can happen next.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) enum Move {
    /// The lock is given to the tab in this place.
    Lead(usize),
    HearTab(TabId),
    HearLeader(usize),
    NoticeGone(TabId),
    Connect,
    HearServer,
    NoticeCut,
}

/// By the place of the tab.
pub(super) type ByPlace = Vec<(usize, News)>;

impl Household {
    pub(super) fn new(person: PersonId, places: impl Iterator<Item = usize>) -> Self {
        let mut this = Self { person, members: Vec::new(), leader: None, said: Vec::new(), count: 0 };
        places.for_each(|place| this.joins(place));
        this
    }

    /// A tab is opened.
    fn joins(&mut self, place: usize) {
        self.count += 1;
        let id = TabId(Uuid::from_u128(self.count));
        self.members.push(Member { place, id, inbox: VecDeque::new() });
        self.said.push((id, VecDeque::from([Said::Hello])));
    }

    /// The tab is gone, without a word, and another is opened in its place.
    pub(super) fn reopens(&mut self, place: usize, links: &mut [Link]) {
        let Some(at) = self.members.iter().position(|member| member.place == place) else { return };
        let gone = self.members.swap_remove(at).id;
        match &mut self.leader {
            Some(leader) if leader.id == gone => {
                self.cut(links);
                self.leader = None;
            }
            Some(leader) if leader.others.contains(&gone) => leader.gone.push(gone),
            Some(_) | None => {}
        }
        self.joins(place);
    }

    pub(super) fn cut(&mut self, links: &mut [Link]) {
        if let Some(link) = self.leader.as_ref().and_then(|leader| leader.link) {
            links[link].cut();
        }
    }

    pub(super) fn moves(&self, links: &[Link]) -> Vec<Move> {
        let mut moves = Vec::new();
        match &self.leader {
            None => moves.extend(self.members.iter().map(|member| Move::Lead(member.place))),
            Some(leader) => {
                match leader.link {
                    None => moves.push(Move::Connect),
                    Some(link) if links[link].is_cut() => moves.push(Move::NoticeCut),
                    Some(link) if links[link].has_told() => moves.push(Move::HearServer),
                    Some(_) => {}
                }
                moves.extend(leader.gone.iter().map(|tab| Move::NoticeGone(*tab)));
            }
        }
        moves.extend(self.said.iter().filter(|(_, said)| !said.is_empty()).map(|(tab, _)| Move::HearTab(*tab)));
        let called = self.members.iter().filter(|member| !member.inbox.is_empty());
        moves.extend(called.map(|member| Move::HearLeader(member.place)));
        moves
    }

    /// The leader has opened a connection.
    pub(super) fn opens(&mut self, link: LinkId) {
        if let Some(leader) = &mut self.leader {
            leader.link = Some(link);
        }
    }

    pub(super) fn go(&mut self, this: Move, links: &mut [Link]) -> Result<ByPlace, String> {
        match this {
            Move::Lead(place) => Ok(self.lead(place)),
            Move::HearTab(tab) => self.hear_tab(tab, links),
            Move::HearLeader(place) => Ok(self.hear_leader(place)),
            Move::NoticeGone(tab) => {
                if let Some(leader) = &mut self.leader {
                    leader.gone.retain(|gone| *gone != tab);
                    leader.others.retain(|other| *other != tab);
                }
                self.on_board(links, |board| board.gone(tab))
            }
            Move::HearServer => self.hear_server(links),
            Move::NoticeCut => self.disconnected(links),
            // Which server it is, the world knows.
            Move::Connect => Ok(Vec::new()),
        }
    }

    fn lead(&mut self, place: usize) -> ByPlace {
        let Some(member) = self.members.iter_mut().find(|member| member.place == place) else { return Vec::new() };
        // Who leads listens to no leader.
        member.inbox.clear();
        self.leader = Some(Leader {
            place,
            id: member.id,
            board: Switchboard::default(),
            others: Vec::new(),
            gone: Vec::new(),
            link: None,
            is_live: false,
            watched: BTreeMap::new(),
        });
        self.tell_others(&Word::Leads);
        vec![(place, News::Connection { is_live: false })]
    }

    fn tell_others(&mut self, word: &Word) {
        let leader = self.leader.as_ref().map(|leader| leader.id);
        for member in self.members.iter_mut().filter(|member| Some(member.id) != leader) {
            member.inbox.push_back(word.clone());
        }
    }

    fn tell(&mut self, tab: TabId, word: Word) {
        if let Some(member) = self.members.iter_mut().find(|member| member.id == tab) {
            member.inbox.push_back(word);
        }
    }

    /// What a tab's client says to the server.
    pub(super) fn says(&mut self, place: usize, frame: ClientFrame, links: &mut [Link]) -> Result<ByPlace, String> {
        let Some(tab) = self.members.iter().find(|member| member.place == place).map(|member| member.id) else {
            return Ok(Vec::new());
        };
        if self.leader.as_ref().is_some_and(|leader| leader.id == tab) {
            return self.on_board(links, |board| board.said(tab, frame));
        }
        self.say(tab, Said::Frame(frame));
        Ok(Vec::new())
    }

    fn say(&mut self, tab: TabId, what: Said) {
        if let Some((_, said)) = self.said.iter_mut().find(|(whose, _)| *whose == tab) {
            said.push_back(what);
        }
    }

    fn hear_tab(&mut self, tab: TabId, links: &mut [Link]) -> Result<ByPlace, String> {
        let its = self.said.iter_mut().find(|(whose, _)| *whose == tab);
        let Some(said) = its.and_then(|(_, said)| said.pop_front()) else { return Ok(Vec::new()) };
        let is_here = self.members.iter().any(|member| member.id == tab);
        // Where nobody leads, or oneself does, nobody listens.
        let Some(leader) = self.leader.as_mut().filter(|leader| leader.id != tab) else { return Ok(Vec::new()) };
        match said {
            Said::Hello => {
                if !leader.others.contains(&tab) {
                    leader.others.push(tab);
                    if !is_here {
                        leader.gone.push(tab);
                    }
                }
                let is_live = leader.is_live;
                self.tell(tab, Word::Welcome { is_live });
                Ok(Vec::new())
            }
            Said::Frame(frame) => self.on_board(links, |board| board.said(tab, frame)),
        }
    }

    fn hear_leader(&mut self, place: usize) -> ByPlace {
        let Some(member) = self.members.iter_mut().find(|member| member.place == place) else { return Vec::new() };
        let (id, word) = (member.id, member.inbox.pop_front());
        let news = match word {
            Some(Word::Leads) => {
                self.say(id, Said::Hello);
                News::Connection { is_live: false }
            }
            Some(Word::Welcome { is_live } | Word::Connection { is_live }) => News::Connection { is_live },
            Some(Word::Told(frame)) => News::Told(frame),
            None => return Vec::new(),
        };
        vec![(place, news)]
    }

    fn hear_server(&mut self, links: &mut [Link]) -> Result<ByPlace, String> {
        let Some(leader) = &mut self.leader else { return Ok(Vec::new()) };
        let Some(down) = leader.link.and_then(|link| links[link].told()) else { return Ok(Vec::new()) };
        match down {
            Down::Closed(_) => self.disconnected(links),
            Down::Frame(ServerFrame::Hello { .. }) => {
                leader.is_live = true;
                leader.board.connected();
                Ok(self.connection_is(true))
            }
            Down::Frame(frame @ (ServerFrame::Tick(_) | ServerFrame::Rights { .. })) => {
                leader.note_told(&frame);
                let tabs: Vec<_> = std::iter::once(leader.id).chain(leader.others.iter().copied()).collect();
                self.on_board(links, |board| board.heard(frame, &tabs))
            }
            Down::Frame(ServerFrame::Pong { .. }) => Ok(Vec::new()),
            Down::Frame(ServerFrame::Error(error)) => Err(format!("the server did not understand a frame: {error}")),
        }
    }

    fn disconnected(&mut self, links: &mut [Link]) -> Result<ByPlace, String> {
        let Some(leader) = &mut self.leader else { return Ok(Vec::new()) };
        leader.link = None;
        leader.watched.clear();
        if !std::mem::replace(&mut leader.is_live, false) {
            return Ok(Vec::new());
        }
        let mut news = self.on_board(links, Switchboard::disconnected)?;
        news.extend(self.connection_is(false));
        Ok(news)
    }

    fn connection_is(&mut self, is_live: bool) -> ByPlace {
        self.tell_others(&Word::Connection { is_live });
        let leader = self.leader.iter();
        leader.map(|leader| (leader.place, News::Connection { is_live })).collect()
    }

    /// Lets the switchboard hear something, and passes on what it passes.
    fn on_board(&mut self, links: &mut [Link], happened: impl FnOnce(&mut Switchboard)) -> Result<ByPlace, String> {
        let Some(leader) = &mut self.leader else { return Ok(Vec::new()) };
        happened(&mut leader.board);
        let (place, me, link) = (leader.place, leader.id, leader.link);
        let mut news = Vec::new();
        for passing in leader.board.take_passing() {
            match passing {
                Passing::Up(frame) => {
                    // Where there is no socket, it goes nowhere.
                    if let (Some(link), Some(leader)) = (link, &mut self.leader) {
                        leader.note_asked(&frame)?;
                        links[link].ask(frame);
                    }
                }
                Passing::Down(tab, frame) if tab == me => news.push((place, News::Told(frame))),
                Passing::Down(tab, frame) => self.tell(tab, Word::Told(frame)),
            }
        }
        Ok(news)
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
            ClientFrame::Ping { .. } => {}
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
            ServerFrame::Hello { .. } | ServerFrame::Pong { .. } | ServerFrame::Error(_) => {}
        }
    }
}
