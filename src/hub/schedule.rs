//! When which connection is written to. Pure: the time is passed in.
//!
//! A connection that has news is *due* at once, unless it was written to a moment ago: what happens within [`COALESCE`] goes into one
//! next frame. Connections are dealt out to shards, each of which one task writes to, so that one connection's frames stay in
//! order. Nothing here costs a timer, or a task, for each connection.

use super::routing::ConnectionId;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// What happens within this time after a frame goes into one next frame.
const COALESCE: Duration = Duration::from_millis(4);
/// Browsers throttle the timers of hidden tabs, so the sign of life comes from here. It carries the cursor.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Heartbeats that are due within this time go out together: to wake for one costs as much as to write one.
const TOGETHER: Duration = Duration::from_millis(100);

pub(super) type Shard = usize;

/// All connections with what they are written to by (`O`).
pub(super) struct Schedule<O> {
    lines: FxHashMap<ConnectionId, Line<O>>,
    queues: Box<[Queue]>,
}

struct Line<O> {
    outlet: O,
    /// Not before this.
    next: Instant,
    /// It stands in its queue.
    is_queued: bool,
    /// What was written last has not gone yet.
    is_blocked: bool,
    /// Its cursor is news.
    is_heartbeat: bool,
    /// What it has to be told is not all the routing's.
    is_asked_elsewhere: bool,
}

#[derive(Default)]
struct Queue {
    due: VecDeque<ConnectionId>,
    later: BinaryHeap<Reverse<(Instant, ConnectionId)>>,
    /// In the order of their times.
    heartbeats: VecDeque<(Instant, ConnectionId)>,
}

/// Somebody to be written to now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due<O> {
    pub(super) id: ConnectionId,
    pub(super) outlet: O,
    pub(super) is_heartbeat: bool,
    /// It was woken by [`Schedule::wake_for`].
    pub(super) is_asked_elsewhere: bool,
}

/// When there is something to do again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Until {
    Now,
    /// Not before this, unless something happens.
    Later(Option<Instant>),
}

impl Queue {
    fn beat_again(&mut self, id: ConnectionId, now: Instant) {
        let at = now + HEARTBEAT;
        let last = self.heartbeats.back().map(|(last, _)| *last);
        self.heartbeats.push_back((last.filter(|last| at < *last + TOGETHER).unwrap_or(at), id));
    }
}

impl<O: Clone> Schedule<O> {
    pub(super) fn new(shards: usize) -> Self {
        Self { lines: FxHashMap::default(), queues: (0..shards.max(1)).map(|_| Queue::default()).collect() }
    }

    fn shard(&self, id: ConnectionId) -> Shard {
        id as usize % self.queues.len()
    }

    /// Its first tick is due at once. Gives who writes to it.
    pub(super) fn attach(&mut self, id: ConnectionId, outlet: O, now: Instant) -> Shard {
        let (is_queued, is_blocked, is_heartbeat, is_asked_elsewhere) = (false, false, true, false);
        let line = Line { outlet, next: now, is_queued, is_blocked, is_heartbeat, is_asked_elsewhere };
        self.lines.insert(id, line);
        let shard = self.shard(id);
        self.queues[shard].beat_again(id, now);
        self.wake(id);
        shard
    }

    pub(super) fn detach(&mut self, id: ConnectionId) {
        self.lines.remove(&id);
        if self.lines.is_empty() {
            // Of many who have gone at once.
            self.queues.iter_mut().for_each(|queue| *queue = Queue::default());
            self.lines.shrink_to_fit();
        }
    }

    /// The connection has news. Gives who has to be told, where it was not waiting already.
    pub(super) fn wake(&mut self, id: ConnectionId) -> Option<Shard> {
        let shard = self.shard(id);
        let line = self.lines.get_mut(&id)?;
        // Whoever is blocked has its turn when it no longer is.
        if line.is_queued || line.is_blocked {
            return None;
        }
        line.is_queued = true;
        self.queues[shard].due.push_back(id);
        Some(shard)
    }

    /// The same, with news that the routing does not know of.
    pub(super) fn wake_for(&mut self, id: ConnectionId) -> Option<Shard> {
        self.lines.get_mut(&id)?.is_asked_elsewhere = true;
        self.wake(id)
    }

    /// What was written to the connection has not all gone.
    pub(super) fn block(&mut self, id: ConnectionId) {
        if let Some(line) = self.lines.get_mut(&id) {
            line.is_blocked = true;
        }
    }

    /// Now it has. Gives who has to be told.
    pub(super) fn unblock(&mut self, id: ConnectionId) -> Option<Shard> {
        self.lines.get_mut(&id)?.is_blocked = false;
        self.wake(id)
    }

    /// How many are connected, how many of them have to be written to, and how many of them do not take what was written.
    pub(super) fn load(&self) -> (usize, usize, usize) {
        let waiting = self.queues.iter().map(|queue| queue.due.len() + queue.later.len()).sum();
        (self.lines.len(), waiting, self.lines.values().filter(|line| line.is_blocked).count())
    }

    /// Gathers those to be written to now, up to so many. In one go, for each lies somewhere else in memory, and the processor
    /// can wait for several at a time.
    pub(super) fn take(&mut self, shard: Shard, now: Instant, most: usize, taken: &mut Vec<Due<O>>) -> Until {
        let Some(queue) = self.queues.get_mut(shard) else { return Until::Later(None) };
        while let Some((at, id)) = queue.heartbeats.front().copied() {
            if at > now {
                break;
            }
            queue.heartbeats.pop_front();
            let Some(line) = self.lines.get_mut(&id) else { continue };
            queue.beat_again(id, now);
            line.is_heartbeat = true;
            if !line.is_queued && !line.is_blocked {
                line.is_queued = true;
                queue.due.push_back(id);
            }
        }
        while let Some(Reverse((at, id))) = queue.later.peek().copied() {
            if at > now {
                break;
            }
            queue.later.pop();
            queue.due.push_back(id);
        }
        while taken.len() < most {
            let Some(id) = queue.due.pop_front() else {
                let times =
                    [queue.later.peek().map(|Reverse((at, _))| *at), queue.heartbeats.front().map(|(at, _)| *at)];
                return Until::Later(times.into_iter().flatten().min());
            };
            let Some(line) = self.lines.get_mut(&id) else { continue };
            if line.next > now {
                queue.later.push(Reverse((line.next, id)));
                continue;
            }
            line.is_queued = false;
            if line.is_blocked {
                continue;
            }
            line.next = now + COALESCE;
            let is_heartbeat = std::mem::take(&mut line.is_heartbeat);
            let is_asked_elsewhere = std::mem::take(&mut line.is_asked_elsewhere);
            taken.push(Due { id, outlet: line.outlet.clone(), is_heartbeat, is_asked_elsewhere });
        }
        Until::Now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Those to be written to now, with whether it is a heartbeat, and when there is something to do again.
    fn due(schedule: &mut Schedule<char>, now: Instant) -> (Vec<(char, bool)>, Option<Instant>) {
        let mut taken = Vec::new();
        let Until::Later(until) = schedule.take(0, now, usize::MAX, &mut taken) else { panic!("all were taken") };
        (taken.iter().map(|due| (due.outlet, due.is_heartbeat)).collect(), until)
    }

    #[test]
    fn what_happens_shortly_after_a_frame_waits_for_the_next() {
        let (mut schedule, start) = (Schedule::new(1), Instant::now());
        schedule.attach(1, 'a', start);
        assert_eq!(due(&mut schedule, start), (vec![('a', true)], Some(start + HEARTBEAT)));
        assert_eq!(schedule.wake(1), Some(0));
        assert_eq!(schedule.wake(1), None, "it waits already");
        assert_eq!(due(&mut schedule, start + MILLISECOND), (vec![], Some(start + COALESCE)));
        assert_eq!(due(&mut schedule, start + COALESCE), (vec![('a', false)], Some(start + HEARTBEAT)));
        schedule.wake(1);
        let later = start + COALESCE * 3;
        assert_eq!(due(&mut schedule, later).0, [('a', false)], "long after a frame it is due at once");
    }

    #[test]
    fn who_does_not_take_what_was_written_is_written_to_when_it_has() {
        let (mut schedule, start) = (Schedule::new(1), Instant::now());
        schedule.attach(1, 'a', start);
        due(&mut schedule, start);
        schedule.block(1);
        assert_eq!(schedule.wake(1), None);
        let much_later = start + HEARTBEAT * 2;
        assert_eq!(due(&mut schedule, much_later).0, []);
        assert_eq!(schedule.load(), (1, 0, 1));
        assert_eq!(schedule.unblock(1), Some(0));
        assert_eq!(due(&mut schedule, much_later).0, [('a', true)], "the heartbeat that it missed");
    }

    #[test]
    fn heartbeats_of_about_the_same_time_go_out_together_and_who_has_gone_has_none() {
        let (mut schedule, start) = (Schedule::new(1), Instant::now());
        let comes = [('a', 0), ('b', 60), ('c', 99), ('d', 100), ('e', 170)].map(|(name, at)| (name, MILLISECOND * at));
        for (id, (name, at)) in (1..).zip(comes) {
            schedule.attach(id, name, start + at);
        }
        due(&mut schedule, start + TOGETHER * 2);
        schedule.detach(2);
        let (first, second) = (start + HEARTBEAT, start + HEARTBEAT + TOGETHER);
        assert_eq!(due(&mut schedule, first), (vec![('a', true), ('c', true)], Some(second)));
        assert_eq!(due(&mut schedule, second), (vec![('d', true), ('e', true)], Some(first + HEARTBEAT)));
        [1, 3, 4, 5].into_iter().for_each(|id| schedule.detach(id));
        assert_eq!(due(&mut schedule, second + HEARTBEAT), (vec![], None));
    }

    #[test]
    fn one_connection_is_always_written_to_by_the_same() {
        let (mut schedule, start) = (Schedule::new(3), Instant::now());
        let shards: Vec<_> = (0..6).map(|id| schedule.attach(id, id, start)).collect();
        assert_eq!(shards, [0, 1, 2, 0, 1, 2]);
        for (id, shard) in (0..6).zip(shards) {
            let mut taken = Vec::new();
            assert_eq!(schedule.take(shard, start, 1, &mut taken), Until::Now);
            assert_eq!(taken.iter().map(|due| due.id).collect::<Vec<_>>(), [id]);
        }
        for id in 0..6 {
            assert_eq!(schedule.wake(id), Some(id as usize % 3));
        }
    }
}
