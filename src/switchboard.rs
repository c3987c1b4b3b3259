//! One live connection for all tabs of a person. Pure.
//!
//! The tab that leads holds the socket; towards the others (and itself) it speaks the server's own protocol. A key is
//! watched once, however many tabs watch it: the switchboard keeps the stamp with which it was first asked about and
//! what has been told of it since, and answers a tab that comes later from that, as the server would.

use crate::key::{OrganizationId, WireKey};
use crate::presence::Rosters;
use crate::snapshot::{Epoch, Snapshot, Stamp, Xid};
use crate::wire::{ClientFrame, Refused, Rights, ServerFrame, Stale, Tick, Watch, WatchNumber, Whereabouts};
use std::collections::HashMap;

crate::id!(
    /// A tab of the browser.
    TabId
);

/// What is to be passed on.
#[derive(Clone, Debug, PartialEq)]
pub enum Passing {
    /// To the server.
    Up(ClientFrame),
    /// To a tab.
    Down(TabId, ServerFrame),
}

/// Past so many transactions a key's history is told as "all up to that cursor".
const MOST_XIDS: usize = 64;

/// One key that is watched at the server.
struct Line {
    key: WireKey,
    /// The stamp with which the server was asked.
    since: Stamp,
    /// What changed beyond `since`.
    changes: Vec<Xid>,
    /// Changes too many to name lie up to here.
    changed_up_to: Option<Stamp>,
    is_watching: bool,
    watchers: Vec<Watcher>,
}

struct Watcher {
    tab: TabId,
    number: WatchNumber,
    /// The stamp of what the tab holds; none once it has been told how that stands.
    asks: Option<Stamp>,
}

/// See the module.
#[derive(Default)]
pub struct Switchboard {
    is_connected: bool,
    cursor: Option<Stamp>,
    lines: HashMap<WatchNumber, Line>,
    by_key: HashMap<String, WatchNumber>,
    last: WatchNumber,
    rosters: Rosters,
    passing: Vec<Passing>,
}

/// What one tab is to be told in one frame.
#[derive(Default)]
struct News {
    stale: Vec<Stale>,
    watching: Vec<WatchNumber>,
    refused: Vec<Refused>,
}

fn name(key: &WireKey) -> String {
    // Keys are plain data; and two that could not be written would only share a line with nothing on it.
    serde_json::to_string(key).unwrap_or_default()
}

impl Switchboard {
    /// What is to be passed on since the last call.
    pub fn take_passing(&mut self) -> Vec<Passing> {
        std::mem::take(&mut self.passing)
    }

    /// How many keys are watched at the server.
    pub fn watched(&self) -> usize {
        self.lines.len()
    }

    /// The connection to the server stands.
    pub fn connected(&mut self) {
        self.is_connected = true;
    }

    /// A tab says something to the server.
    pub fn said(&mut self, tab: TabId, frame: ClientFrame) {
        match frame {
            // From a tab that has yet to hear that the connection is gone, and then asks anew. The server would not hear
            // of it, and who asks for the same key afterwards would wait for its answer for ever.
            ClientFrame::Watch { .. } if !self.is_connected => {}
            ClientFrame::Watch { keys } => self.watch(tab, keys),
            ClientFrame::Unwatch { numbers } => {
                self.unwatch(|watcher| watcher.tab == tab && numbers.contains(&watcher.number))
            }
            ClientFrame::Ping { at } => self.passing.push(Passing::Down(tab, ServerFrame::Pong { at })),
            // What cannot be said now the tab says again when there is a connection.
            ClientFrame::Presence(_) if !self.is_connected => {}
            ClientFrame::Presence(whereabouts) => {
                let whole = self.rosters.says(tab, whereabouts.organization);
                self.passing.extend(whole.map(|whole| Passing::Down(tab, ServerFrame::Presence(whole))));
                let named = Whereabouts { tab: tab.0, ..whereabouts };
                self.passing.push(Passing::Up(ClientFrame::Presence(named)));
            }
        }
    }

    /// The tab is closed.
    pub fn gone(&mut self, tab: TabId) {
        self.unwatch(|watcher| watcher.tab == tab);
        if self.rosters.gone(tab) {
            let nowhere = Whereabouts { tab: tab.0, organization: None, place: None, ago: 0 };
            self.passing.push(Passing::Up(ClientFrame::Presence(nowhere)));
        }
    }

    /// The connection to the server is lost: the tabs ask anew when there is another.
    pub fn disconnected(&mut self) {
        *self = Self { last: self.last, passing: std::mem::take(&mut self.passing), ..Self::default() };
    }

    fn watch(&mut self, tab: TabId, keys: Vec<Watch>) {
        let mut up = Vec::new();
        let mut news = News::default();
        for Watch { number, key, snapshot, epoch } in keys {
            let stamp = Stamp { snapshot, epoch };
            let name = name(&key);
            match self.by_key.get(&name).and_then(|line| self.lines.get_mut(line)) {
                Some(line) if line.is_watching => {
                    line.watchers.push(Watcher { tab, number, asks: None });
                    news.watching.push(number);
                    news.stale.extend(line.lag_of(&stamp, number));
                }
                Some(line) => line.watchers.push(Watcher { tab, number, asks: Some(stamp) }),
                None => {
                    self.last += 1;
                    self.by_key.insert(name, self.last);
                    up.push(Watch {
                        number: self.last,
                        key: key.clone(),
                        snapshot: stamp.snapshot.clone(),
                        epoch: stamp.epoch,
                    });
                    let line = Line {
                        key,
                        since: stamp.clone(),
                        changes: Vec::new(),
                        changed_up_to: None,
                        is_watching: false,
                        watchers: vec![Watcher { tab, number, asks: Some(stamp) }],
                    };
                    self.lines.insert(self.last, line);
                }
            }
        }
        if !up.is_empty() {
            self.passing.push(Passing::Up(ClientFrame::Watch { keys: up }));
        }
        // A line is watched only since a tick, so there is a cursor.
        if !news.watching.is_empty()
            && let Some(cursor) = self.cursor.clone()
        {
            self.passing.push(Passing::Down(tab, news.into_tick(cursor.snapshot, cursor.epoch)));
        }
    }

    fn unwatch(&mut self, is_meant: impl Fn(&Watcher) -> bool) {
        let mut numbers = Vec::new();
        for (number, line) in &mut self.lines {
            let before = line.watchers.len();
            line.watchers.retain(|watcher| !is_meant(watcher));
            if line.watchers.is_empty() && before > 0 {
                numbers.push(*number);
            }
        }
        for number in &numbers {
            self.end(*number);
        }
        if !numbers.is_empty() {
            numbers.sort_unstable();
            self.passing.push(Passing::Up(ClientFrame::Unwatch { numbers }));
        }
    }

    fn end(&mut self, number: WatchNumber) -> Option<Line> {
        let line = self.lines.remove(&number)?;
        self.by_key.remove(&name(&line.key));
        Some(line)
    }

    /// The server says something: `tabs` are all that are to hear of the cursor.
    pub fn heard(&mut self, frame: ServerFrame, tabs: &[TabId]) {
        match frame {
            ServerFrame::Tick(tick) => self.ticked(tick, tabs),
            ServerFrame::Rights { organizations } => {
                self.end_lines_of(&organizations);
                for tab in tabs {
                    let frame = ServerFrame::Rights { organizations: organizations.clone() };
                    self.passing.push(Passing::Down(*tab, frame));
                }
            }
            ServerFrame::Presence(told) => {
                let tabs = self.rosters.hears(&told);
                let down = |tab| Passing::Down(tab, ServerFrame::Presence(told.clone()));
                self.passing.extend(tabs.into_iter().map(down));
            }
            // These concern the connection itself, which is the leading tab's.
            ServerFrame::Hello { .. } | ServerFrame::Pong { .. } | ServerFrame::Error(_) => {}
        }
    }

    fn end_lines_of(&mut self, organizations: &[Rights]) {
        let concerns =
            |organization: OrganizationId| organizations.iter().any(|told| told.organization == organization);
        let ended: Vec<_> =
            self.lines.iter().filter(|(_, line)| concerns(line.key.organization)).map(|(number, _)| *number).collect();
        for number in ended {
            self.end(number);
        }
    }

    fn ticked(&mut self, tick: Tick, tabs: &[TabId]) {
        let cursor = Stamp { snapshot: tick.cursor.clone(), epoch: tick.epoch };
        let mut news: HashMap<TabId, News> = tabs.iter().map(|tab| (*tab, News::default())).collect();
        for refused in tick.refused {
            for watcher in self.end(refused.number).into_iter().flat_map(|line| line.watchers) {
                let refused = Refused { number: watcher.number, error: refused.error.clone() };
                news.entry(watcher.tab).or_default().refused.push(refused);
            }
        }
        for Stale { number, xids } in tick.stale {
            let Some(line) = self.lines.get_mut(&number) else { continue };
            line.note(&xids, &cursor);
            for watcher in line.watchers.iter().filter(|watcher| watcher.asks.is_none()) {
                let stale = Stale { number: watcher.number, xids: xids.clone() };
                news.entry(watcher.tab).or_default().stale.push(stale);
            }
        }
        for number in tick.watching {
            let Some(line) = self.lines.get_mut(&number) else { continue };
            line.is_watching = true;
            for place in 0..line.watchers.len() {
                let Some(stamp) = line.watchers[place].asks.take() else { continue };
                let (tab, number) = (line.watchers[place].tab, line.watchers[place].number);
                let lag = line.lag_of(&stamp, number);
                let news = news.entry(tab).or_default();
                news.watching.push(number);
                news.stale.extend(lag);
            }
        }
        self.cursor = Some(cursor);
        for (tab, news) in news {
            let mut frame = news.into_tick(tick.cursor.clone(), tick.epoch);
            if let ServerFrame::Tick(told) = &mut frame {
                told.mutations.clone_from(&tick.mutations);
                told.spread = tick.spread;
            }
            self.passing.push(Passing::Down(tab, frame));
        }
    }
}

impl Line {
    fn note(&mut self, xids: &[Xid], cursor: &Stamp) {
        for xid in xids {
            if !self.changes.contains(xid) {
                self.changes.push(*xid);
            }
        }
        if xids.is_empty() || self.changes.len() > MOST_XIDS {
            self.changes.clear();
            self.changed_up_to = Some(cursor.clone());
        }
    }

    /// What a value of this stamp lacks, by what has been told of the key.
    fn lag_of(&self, stamp: &Stamp, number: WatchNumber) -> Option<Stale> {
        // Of what lies before the first question, nothing is known here.
        let is_known = stamp.covers(&self.since) && self.changed_up_to.as_ref().is_none_or(|until| stamp.covers(until));
        if !is_known {
            return Some(Stale { number, xids: Vec::new() });
        }
        let xids: Vec<_> = self.changes.iter().copied().filter(|xid| !stamp.snapshot.sees(*xid)).collect();
        (!xids.is_empty()).then_some(Stale { number, xids })
    }
}

impl News {
    fn into_tick(self, cursor: Snapshot, epoch: Epoch) -> ServerFrame {
        let Self { stale, watching, refused } = self;
        ServerFrame::Tick(Tick { stale, watching, refused, ..Tick::at(cursor, epoch) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Standing;
    use uuid::Uuid;

    fn tab(number: u128) -> TabId {
        TabId(Uuid::from_u128(number))
    }

    fn organization() -> OrganizationId {
        OrganizationId(Uuid::from_u128(1))
    }

    fn epoch() -> Epoch {
        Epoch(Uuid::from_u128(7))
    }

    fn connected() -> Switchboard {
        let mut board = Switchboard::default();
        board.connected();
        board
    }

    fn watch(number: WatchNumber, record: u128, at: &str) -> ClientFrame {
        let key = WireKey {
            organization: organization(),
            table: "orders".to_owned(),
            list: None,
            record: Some(Uuid::from_u128(record)),
        };
        ClientFrame::Watch { keys: vec![Watch { number, key, snapshot: at.parse().expect(at), epoch: epoch() }] }
    }

    fn tick(cursor: &str, stale: &[(WatchNumber, &[u64])], watching: &[WatchNumber]) -> ServerFrame {
        let stale =
            stale.iter().map(|(number, xids)| Stale { number: *number, xids: xids.iter().copied().map(Xid).collect() });
        ServerFrame::Tick(Tick {
            stale: stale.collect(),
            watching: watching.to_vec(),
            ..Tick::at(cursor.parse().expect(cursor), epoch())
        })
    }

    fn up(board: &mut Switchboard) -> Vec<ClientFrame> {
        let passing = board.take_passing().into_iter();
        passing.filter_map(|passing| if let Passing::Up(frame) = passing { Some(frame) } else { None }).collect()
    }

    fn told(board: &mut Switchboard, whom: TabId) -> Vec<ServerFrame> {
        let passing = board.take_passing().into_iter();
        passing
            .filter_map(|passing| match passing {
                Passing::Down(tab, frame) if tab == whom => Some(frame),
                Passing::Down(..) | Passing::Up(_) => None,
            })
            .collect()
    }

    #[test]
    fn a_key_of_five_tabs_is_watched_once_and_unwatched_with_the_last() {
        let mut board = connected();
        for number in 1..=5 {
            board.said(tab(number), watch(9, 1, "10:10:"));
        }
        assert_eq!(up(&mut board).len(), 1);
        board.heard(tick("11:11:", &[], &[1]), &[]);
        for number in 1..=5 {
            assert_eq!(board.watched(), 1);
            board.gone(tab(number));
        }
        assert_eq!(up(&mut board), [ClientFrame::Unwatch { numbers: vec![1] }]);
        assert_eq!(board.watched(), 0);
    }

    #[test]
    fn each_tab_hears_of_a_change_by_its_own_number() {
        let mut board = connected();
        board.said(tab(1), watch(4, 1, "10:10:"));
        board.said(tab(2), watch(8, 1, "10:10:"));
        board.heard(tick("11:11:", &[], &[1]), &[tab(1), tab(2)]);
        board.take_passing();
        board.heard(tick("13:13:", &[(1, &[12])], &[]), &[tab(1), tab(2), tab(3)]);
        assert_eq!(told(&mut board, tab(2)), [tick("13:13:", &[(8, &[12])], &[])]);
        board.heard(tick("15:15:", &[(1, &[14])], &[]), &[tab(1), tab(2), tab(3)]);
        assert_eq!(told(&mut board, tab(3)), [tick("15:15:", &[], &[])], "the cursor is news to all");
    }

    #[test]
    fn a_tab_that_comes_later_is_told_what_changed_beyond_its_value() {
        let mut board = connected();
        board.said(tab(1), watch(1, 1, "10:10:"));
        board.heard(tick("11:11:", &[], &[1]), &[tab(1)]);
        board.heard(tick("13:13:", &[(1, &[12])], &[]), &[tab(1)]);
        board.heard(tick("15:15:", &[(1, &[14])], &[]), &[tab(1)]);
        board.take_passing();
        for (at, lag) in [
            ("15:15:", None),
            ("13:13:", Some(vec![14])),
            ("10:10:", Some(vec![12, 14])),
            ("14:15:14", Some(vec![14])),
            ("9:9:", Some(vec![])),
        ] {
            board.said(tab(2), watch(5, 1, at));
            let stale: Vec<_> = lag.iter().map(|xids: &Vec<u64>| (5, &xids[..])).collect();
            assert_eq!(told(&mut board, tab(2)), [tick("15:15:", &stale, &[5])], "a value of {at}");
            board.gone(tab(2));
        }
    }

    #[test]
    fn who_comes_while_the_server_is_being_asked_is_answered_with_the_rest() {
        let mut board = connected();
        board.said(tab(1), watch(1, 1, "10:10:"));
        board.said(tab(2), watch(6, 1, "12:12:"));
        // Nothing vouches for a key before the server's answer: this tick says nothing of it to either.
        board.heard(tick("13:13:", &[], &[]), &[tab(1), tab(2)]);
        board.take_passing();
        board.heard(tick("14:14:", &[(1, &[11])], &[1]), &[tab(1), tab(2)]);
        let passing = board.take_passing();
        assert!(passing.contains(&Passing::Down(tab(1), tick("14:14:", &[(1, &[11])], &[1]))));
        assert!(passing.contains(&Passing::Down(tab(2), tick("14:14:", &[], &[6]))), "its value sees 11");
    }

    #[test]
    fn a_long_history_is_told_as_everything_up_to_a_cursor() {
        let mut board = connected();
        board.said(tab(1), watch(1, 1, "10:10:"));
        board.heard(tick("11:11:", &[], &[1]), &[]);
        for xid in 11..=80 {
            board.heard(tick(&format!("{}:{}:", xid + 1, xid + 1), &[(1, &[xid])], &[]), &[]);
        }
        board.take_passing();
        board.said(tab(2), watch(2, 1, "30:30:"));
        assert_eq!(told(&mut board, tab(2)), [tick("81:81:", &[(2, &[])], &[2])]);
        board.said(tab(3), watch(3, 1, "79:79:"));
        assert_eq!(told(&mut board, tab(3)), [tick("81:81:", &[(3, &[79, 80])], &[3])]);
    }

    #[test]
    fn rights_that_change_end_the_lines_of_the_organization_for_all_tabs() {
        let mut board = connected();
        board.said(tab(1), watch(1, 1, "10:10:"));
        board.heard(tick("11:11:", &[], &[1]), &[tab(1), tab(2)]);
        board.take_passing();
        let rights = ServerFrame::Rights {
            organizations: vec![Rights { organization: organization(), standing: Standing::Removed, by: None }],
        };
        board.heard(rights.clone(), &[tab(1), tab(2)]);
        assert_eq!(told(&mut board, tab(2)), [rights]);
        assert_eq!(board.watched(), 0);
    }

    #[test]
    fn a_tab_that_is_closed_is_said_to_be_nowhere_and_who_was_told_of_is_told_to_those_that_come() {
        use crate::wire::{Here, Presence};
        let mut board = connected();
        let at = |tab: u128, organization| {
            ClientFrame::Presence(Whereabouts { tab: Uuid::from_u128(tab), organization, place: None, ago: 0 })
        };
        board.said(tab(1), at(0, Some(organization())));
        assert_eq!(up(&mut board), [at(1, Some(organization()))], "under the tab's own name");
        let here = vec![Here { person: crate::PersonId(Uuid::from_u128(3)), place: None }];
        let (left, others) = (vec![], 0);
        let whole =
            ServerFrame::Presence(Presence { organization: organization(), is_whole: true, here, left, others });
        board.heard(whole.clone(), &[tab(1), tab(2)]);
        assert_eq!(told(&mut board, tab(2)), [], "it is not there");
        board.said(tab(2), at(0, Some(organization())));
        assert_eq!(told(&mut board, tab(2)), [whole]);
        board.gone(tab(1));
        board.gone(tab(1));
        assert_eq!(up(&mut board), [at(1, None)]);
    }

    // Found by the simulator, seed 35: a tab asked while the connection was being lost, the question went nowhere, and
    // whoever asked for the key afterwards was never answered.
    #[test]
    fn what_is_asked_while_there_is_no_connection_is_asked_of_the_server_when_there_is() {
        let mut board = connected();
        board.disconnected();
        board.said(tab(1), watch(1, 1, "10:10:"));
        assert_eq!(up(&mut board), []);
        board.connected();
        board.said(tab(1), watch(2, 1, "10:10:"));
        assert_eq!(up(&mut board), [watch(1, 1, "10:10:")]);
    }
}
