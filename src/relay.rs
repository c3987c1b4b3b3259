//! The feed's steps as messages: one server asks the database and publishes what it found, the others hear of it.
//!
//! A step says what happened from one snapshot to the next: in parts, for each organization that it concerns and for everybody, and
//! by an end that counts them. Nothing has to arrive, once or in order. Who stands between the two snapshots takes what they have
//! not seen; who stands before the first, or lacks a part, asks the database for the difference, as the publisher does. So the bus
//! between them promises nothing, and publishers need no election that is right at every moment: two at once are two who tell the same.
//!
//! Pure; what carries the messages is the server's.

use crate::feed::{Batch, Event, TableChanged};
use crate::key::{OrganizationId, PersonId};
use crate::snapshot::{Epoch, Snapshot};
use crate::wire::Passed;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Parts that are held while their step's end has not come. More are let go, and the step is asked for.
const MOST_HELD: usize = 4_096;

/// Whom a part of a step concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Every server: rights, sessions, what is of no organization, and which mutations were carried out.
    Everybody,
    /// The servers that somebody of the organization is connected to.
    Organization(OrganizationId),
}

/// Which step of which publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StepId {
    pub publisher: Uuid,
    pub number: u64,
}

/// What a step found for a channel, or a portion of it that fits a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    step: StepId,
    channel: Channel,
    /// Among the step's parts for the channel.
    place: u32,
    findings: Vec<Finding>,
    /// How old the oldest of the step's changes was when it was published.
    age: Option<Duration>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Finding {
    Event(Event),
    Table(TableChanged),
    Passed(PersonId, Passed),
}

/// What comes after the parts of a step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    step: StepId,
    epoch: Epoch,
    from: Snapshot,
    to: Snapshot,
    /// How many parts each channel was sent.
    parts: Vec<(Channel, u32)>,
}

impl End {
    pub fn publisher(&self) -> Uuid {
        self.step.publisher
    }

    /// The organizations in which something happened.
    pub fn organizations(&self) -> impl Iterator<Item = OrganizationId> {
        self.parts.iter().filter_map(|(channel, _)| match channel {
            Channel::Everybody => None,
            Channel::Organization(organization) => Some(*organization),
        })
    }
}

/// A step as messages, to be sent in this order.
#[derive(Debug)]
pub struct Packed {
    pub parts: Vec<(Channel, Vec<u8>)>,
    pub end: Vec<u8>,
}

/// Makes messages of at most `most_bytes` of what a step from the snapshot `from` found. None where a single change does not fit one:
/// then nothing is published, and who hears of the next step asks for both.
///
/// `is_everybodys` says of an event, whatever its organization, that every server has to know it.
pub fn pack(
    step: StepId,
    from: &Snapshot,
    batch: &Batch,
    is_everybodys: impl Fn(&Event) -> bool,
    most_bytes: usize,
) -> Option<Packed> {
    let channel_of =
        |organization: Option<OrganizationId>| organization.map_or(Channel::Everybody, Channel::Organization);
    let mut found: BTreeMap<Channel, Vec<Finding>> = BTreeMap::new();
    for event in &batch.events {
        let channel = if is_everybodys(event) { Channel::Everybody } else { channel_of(event.organization) };
        found.entry(channel).or_default().push(Finding::Event(event.clone()));
    }
    for table in &batch.tables {
        found.entry(channel_of(table.organization)).or_default().push(Finding::Table(table.clone()));
    }
    // A person is told of their own mutations wherever they are connected, whatever is watched there.
    let own = batch.events.iter().filter(|event| event.organization.is_some() && !is_everybodys(event));
    let own = own.filter_map(|event| Some((event.actor?, Passed { mutation_id: event.mutation?, xid: event.xid })));
    let passed: BTreeSet<_> = own.chain(batch.passed.iter().copied()).collect();
    if !passed.is_empty() {
        let passed = passed.into_iter().map(|(person, passed)| Finding::Passed(person, passed));
        found.entry(Channel::Everybody).or_default().extend(passed);
    }
    let age = batch.since.map(|since| since.elapsed());
    let mut parts = Vec::new();
    let mut counts = Vec::with_capacity(found.len());
    for (channel, findings) in found {
        let mut place = 0;
        let mut waiting = vec![findings];
        while let Some(findings) = waiting.pop() {
            let mut part = Part { step, channel, place, findings, age };
            let bytes = serde_json::to_vec(&part).ok()?;
            if bytes.len() <= most_bytes {
                parts.push((channel, bytes));
                place += 1;
            } else if part.findings.len() > 1 {
                let second = part.findings.split_off(part.findings.len() / 2);
                waiting.extend([second, part.findings]);
            } else {
                return None;
            }
        }
        counts.push((channel, place));
    }
    let end = End { step, epoch: batch.epoch, from: from.clone(), to: batch.cursor.clone(), parts: counts };
    let end = serde_json::to_vec(&end).ok()?;
    (end.len() <= most_bytes).then_some(Packed { parts, end })
}

/// What has come of steps whose end has not.
#[derive(Debug, Default)]
pub struct Gathering {
    parts: BTreeMap<(StepId, Channel, u32), Part>,
}

/// A step with all its parts that concern this server.
#[derive(Debug)]
pub struct Whole {
    from: Snapshot,
    batch: Batch,
}

/// How a step stands to where a server is.
#[derive(Debug)]
pub enum Heard {
    /// Takes it further, by what it had not seen.
    News(Batch),
    /// Everything in it was known.
    Known,
    /// It begins later, or in another epoch: what lies between is not known.
    Gap,
}

impl Gathering {
    pub fn part(&mut self, part: Part) {
        if self.parts.len() >= MOST_HELD {
            self.parts.clear();
        }
        self.parts.insert((part.step, part.channel, part.place), part);
    }

    /// The step that ends here; none where a part is missing that concerns everybody or an organization that is served.
    pub fn end(&mut self, end: End, is_served: impl Fn(OrganizationId) -> bool) -> Option<Whole> {
        let mut batch = Batch::empty(end.to, end.epoch);
        let mut oldest: Option<Duration> = None;
        let mut is_whole = true;
        let is_ours = |channel: &Channel| match channel {
            Channel::Everybody => true,
            Channel::Organization(organization) => is_served(*organization),
        };
        for (channel, count) in end.parts.into_iter().filter(|(channel, _)| is_ours(channel)) {
            for place in 0..count {
                let Some(part) = self.parts.remove(&(end.step, channel, place)) else {
                    is_whole = false;
                    break;
                };
                oldest = oldest.max(part.age);
                for finding in part.findings {
                    match finding {
                        Finding::Event(event) => batch.events.push(event),
                        Finding::Table(table) => batch.tables.push(table),
                        Finding::Passed(person, passed) => batch.passed.push((person, passed)),
                    }
                }
            }
        }
        // Of a publisher's earlier steps nothing comes any more.
        self.parts.retain(|(step, ..), _| step.publisher != end.step.publisher || step.number > end.step.number);
        batch.since = oldest.and_then(|age| Instant::now().checked_sub(age));
        is_whole.then_some(Whole { from: end.from, batch })
    }
}

impl Whole {
    /// What of it is beyond the snapshot.
    pub fn beyond(self, cursor: &Snapshot, epoch: Epoch) -> Heard {
        let Self { from, mut batch } = self;
        if batch.epoch != epoch {
            Heard::Gap
        } else if cursor.covers(&batch.cursor) {
            Heard::Known
        } else if cursor.covers(&from) {
            batch.events.retain(|event| !cursor.sees(event.xid));
            batch.passed.retain(|(_, passed)| !cursor.sees(passed.xid));
            Heard::News(batch)
        } else {
            Heard::Gap
        }
    }
}

/// Who publishes: whoever finds that nobody does. Of two the elder goes on.
#[derive(Debug)]
pub struct Publishing {
    me: Uuid,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Publisher,
    /// Since the instant nothing was heard.
    Listener(Instant),
}

/// A listener that hears nothing for so long asks the database itself, and publishes what it finds.
const SILENCE: Duration = Duration::from_millis(150);
/// Some wait longer, by up to this, so that one of many is first.
const STAGGER_MS: u128 = 100;

impl Publishing {
    /// A listener. `me` is a UUIDv7: those made earlier are the elder.
    pub fn new(me: Uuid, now: Instant) -> Self {
        Self { me, role: Role::Listener(now) }
    }

    pub fn me(&self) -> Uuid {
        self.me
    }

    pub fn is_mine(&self) -> bool {
        self.role == Role::Publisher
    }

    /// When nobody will have been heard for too long; none for who publishes itself.
    pub fn silent_at(&self) -> Option<Instant> {
        match self.role {
            Role::Publisher => None,
            // The lowest bits of a UUIDv7 are random.
            Role::Listener(heard) => {
                Some(heard + SILENCE + Duration::from_millis((self.me.as_u128() % STAGGER_MS) as u64))
            }
        }
    }

    /// A step of this publisher was heard. Gives whether that made a listener of who published.
    pub fn heard(&mut self, publisher: Uuid, now: Instant) -> bool {
        let was_mine = self.is_mine();
        if was_mine && publisher > self.me {
            return false; // It will hear of us.
        }
        self.role = Role::Listener(now);
        was_mine
    }

    /// Nobody was heard for too long.
    pub fn take_over(&mut self) {
        self.role = Role::Publisher;
    }
}

#[cfg(test)]
mod tests;
