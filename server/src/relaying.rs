//! The feed over NATS, for more servers than one PostgreSQL should be asked by: one of them asks it and publishes what it finds, the
//! others listen, each to the organizations that somebody watches there. What is decided stands in [`millstream::relay`].
//!
//! NATS promises nothing, and is asked for nothing: where a message is missing, late or twice, where nobody publishes or the bus is
//! away, a server asks the database itself, as all do without NATS.

use crate::configuration::{NatsLogin, NatsUrl};
use crate::feeding::Pulse;
use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, Message, ServerAddr, SubscribeError};
use futures::stream::SelectAll;
use futures::{FutureExt, Stream, StreamExt};
use millstream::feed::{Batch, Feed};
use millstream::hub::Hub;
use millstream::key::OrganizationId;
use millstream::relay::{self, Channel, End, Gathering, Publishing, StepId, Whole};
use millstream::snapshot::{Epoch, Snapshot};
use serde::de::DeserializeOwned;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

/// A message's head and what NATS adds to it, of what its server takes.
const ROOM: usize = 1_024;
/// What a message is at most, where NATS would take more.
const MOST_BYTES: usize = 512 * 1_024;
/// A step that cannot be handed to the connection in this time is not published.
const PUBLISH_WITHIN: Duration = Duration::from_millis(50);

/// Where nothing has happened, that is told no more often than so: only that somebody asks has to be heard then, well before a
/// server takes the silence for the end of it.
const SIGN_OF_LIFE: Duration = Duration::from_millis(40);

/// The way to NATS. One a server.
pub(crate) struct Relay {
    client: Client,
    hub: Arc<Hub>,
    pulse: Arc<Pulse>,
    publishing: Publishing,
    /// Of the last step that was published,
    number: u64,
    /// and when that was.
    told: Option<Instant>,
    subjects: Subjects,
    inbox: SelectAll<Pin<Box<dyn Stream<Item = Message> + Send>>>,
    /// What ends each subscription when it is dropped.
    organizations: HashMap<OrganizationId, oneshot::Sender<()>>,
    /// Who publishes hears of the others' commits.
    commits: Option<oneshot::Sender<()>>,
    gathering: Gathering,
    ends: VecDeque<End>,
    /// The last step that was published was handed to NATS.
    is_taken: bool,
}

/// What has come of the relay, for `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct RelayCounts {
    /// Steps that were heard and whole.
    pub(crate) heard: AtomicU64,
    /// Steps of which something was missing, or that did not lead on from where this server was.
    pub(crate) gaps: AtomicU64,
    /// Steps that were published.
    pub(crate) published: AtomicU64,
    /// Whether this server is the one that publishes.
    pub(crate) is_publisher: AtomicBool,
}

/// What a message said.
pub(crate) enum Word {
    /// What the publisher found, all that concerns this server.
    Step(Whole),
    /// The publisher found something of which a part did not come here.
    Gap,
    /// Another server has committed, and this one publishes.
    Commit,
}

/// Of one epoch: who is still in another hears none of it.
struct Subjects(String);

impl Subjects {
    fn of(epoch: Epoch) -> Self {
        Self(format!("millstream.{}", epoch.0.simple()))
    }

    fn channel(&self, channel: Channel) -> String {
        match channel {
            Channel::Everybody => format!("{}.everybody", self.0),
            Channel::Organization(id) => format!("{}.organization.{}", self.0, id.0.simple()),
        }
    }

    fn steps(&self) -> String {
        format!("{}.steps", self.0)
    }

    fn commits(&self) -> String {
        format!("{}.commits", self.0)
    }
}

impl Relay {
    /// Begins to connect; does not wait for it.
    ///
    /// # Errors
    /// Where the settings cannot be meant. That nobody answers there is not one: it is tried again for ever.
    pub(crate) async fn connect(
        url: &NatsUrl,
        hub: Arc<Hub>,
        pulse: Arc<Pulse>,
        feed: &Feed,
    ) -> Result<Self, async_nats::Error> {
        let server: ServerAddr = url.server().parse()?;
        let mut options = ConnectOptions::new()
            .name("millstream")
            // What this server publishes it has applied.
            .no_echo()
            .retry_on_initial_connect()
            .event_callback(|event| async move { note(&event) });
        options = match url.login() {
            Some(NatsLogin::User { name, password }) => options.user_and_password(name.clone(), password.clone()),
            Some(NatsLogin::Token(token)) => options.token(token.clone()),
            None => options,
        };
        let client = options.connect(server).await?;
        let epoch = feed.cursor().map_or(Epoch(Uuid::nil()), |(_, epoch)| epoch);
        let mut relay = Self {
            client,
            hub,
            pulse,
            publishing: Publishing::new(Uuid::now_v7(), Instant::now().into_std()),
            number: 0,
            told: None,
            subjects: Subjects::of(epoch),
            inbox: SelectAll::new(),
            organizations: HashMap::new(),
            commits: None,
            gathering: Gathering::default(),
            ends: VecDeque::new(),
            is_taken: true,
        };
        relay.follow(epoch).await?;
        Ok(relay)
    }

    /// Listens to the epoch, and to no other.
    async fn follow(&mut self, epoch: Epoch) -> Result<(), SubscribeError> {
        self.subjects = Subjects::of(epoch);
        self.inbox = SelectAll::new();
        self.organizations.clear();
        self.commits = None;
        self.gathering = Gathering::default();
        self.ends.clear();
        for subject in [self.subjects.steps(), self.subjects.channel(Channel::Everybody)] {
            self.inbox.push(Box::pin(self.client.subscribe(subject).await?));
        }
        self.listen_to_commits().await
    }

    /// As its own role asks.
    async fn listen_to_commits(&mut self) -> Result<(), SubscribeError> {
        match (self.publishing.is_mine(), &self.commits) {
            (true, None) => self.commits = Some(self.subscribe(self.subjects.commits()).await?),
            (false, Some(_)) => self.commits = None,
            _ => {}
        }
        Ok(())
    }

    /// Until what it gives is dropped.
    async fn subscribe(&mut self, subject: String) -> Result<oneshot::Sender<()>, SubscribeError> {
        let (until, ended) = oneshot::channel();
        let subscriber = self.client.subscribe(subject).await?;
        self.inbox.push(Box::pin(subscriber.take_until(ended)));
        Ok(until)
    }

    /// Whether this server is the one that asks the database for all.
    pub(crate) fn is_publisher(&self) -> bool {
        self.publishing.is_mine()
    }

    /// When a listener has heard nothing for too long.
    pub(crate) fn silent_at(&self) -> Option<Instant> {
        self.publishing.silent_at().map(Instant::from_std)
    }

    /// The next word. Safe to cancel: what is lost then is asked for.
    pub(crate) async fn hear(&mut self) -> Word {
        loop {
            if let Some(end) = self.ends.pop_front() {
                return self.end(end).await;
            }
            let Some(message) = self.inbox.next().await else {
                // The client has ended, which it does for no reason but its own drop.
                std::future::pending::<()>().await;
                continue;
            };
            let mut is_commit = self.take(message);
            // Parts come before their end, but each subject has a queue of its own: so all that has come is taken first. Tokio lets
            // nobody take without end; who has given way finds the rest.
            loop {
                let mut has_come = false;
                while let Some(Some(message)) = self.inbox.next().now_or_never() {
                    has_come = true;
                    is_commit |= self.take(message);
                }
                if !has_come {
                    break;
                }
                tokio::task::yield_now().await;
            }
            if is_commit && self.publishing.is_mine() {
                return Word::Commit;
            }
        }
    }

    /// Gives whether it says that somebody has committed.
    fn take(&mut self, message: Message) -> bool {
        let subject = message.subject.as_str();
        if subject == self.subjects.commits() {
            return true;
        }
        if subject == self.subjects.steps() {
            self.ends.extend(read(&message));
        } else if let Some(part) = read(&message) {
            self.gathering.part(part);
        }
        false
    }

    async fn end(&mut self, end: End) -> Word {
        if self.publishing.heard(end.publisher(), Instant::now().into_std()) {
            tracing::info!("an elder server publishes the feed");
        }
        self.note_role().await;
        let served = self.hub.served(end.organizations());
        for organization in end.organizations() {
            let is_heard = self.organizations.contains_key(&organization);
            if !served.contains(&organization) {
                self.organizations.remove(&organization);
            } else if !is_heard {
                // This step's part was not heard, the next one's will be.
                let subject = self.subjects.channel(Channel::Organization(organization));
                match self.subscribe(subject).await {
                    Ok(until) => drop(self.organizations.insert(organization, until)),
                    Err(error) => tracing::warn!(%error, "an organization cannot be listened to"),
                }
            }
        }
        self.gathering.end(end, |organization| served.contains(&organization)).map_or(Word::Gap, Word::Step)
    }

    /// The database was asked: tells the others what was found from the snapshot `from` on, if that is for this server to do.
    pub(crate) async fn tell(&mut self, feed: &Feed, from: Option<Snapshot>, batch: &Batch) {
        if batch.is_restart
            && let Err(error) = self.follow(batch.epoch).await
        {
            tracing::warn!(%error, "the feed's subjects cannot be listened to");
        }
        if self.silent_at().is_some_and(|silent| silent <= Instant::now()) {
            self.publishing.take_over();
            tracing::info!("this server publishes the feed, for nobody does");
            self.note_role().await;
        }
        let Some(from) = from else { return };
        // What is sent to a connection that is away would only be sent when it is old.
        if !self.publishing.is_mine() || batch.is_restart || self.client.connection_state() != State::Connected {
            return;
        }
        let now = Instant::now();
        if batch.cursor == from && self.told.is_some_and(|last| now < last + SIGN_OF_LIFE) {
            return;
        }
        self.told = Some(now);
        self.number += 1;
        let step = StepId { publisher: self.publishing.me(), number: self.number };
        let most = MOST_BYTES.min(self.client.max_payload().saturating_sub(ROOM));
        let Some(packed) = relay::pack(step, &from, batch, |event| feed.keeps(event), most) else {
            tracing::warn!(
                "a step of the feed has a change that is too large to be published; who needs it asks for it"
            );
            return;
        };
        let publish = async {
            for (channel, bytes) in packed.parts {
                self.client.publish(self.subjects.channel(channel), bytes.into()).await?;
            }
            self.client.publish(self.subjects.steps(), packed.end.into()).await
        };
        let is_published = matches!(tokio::time::timeout(PUBLISH_WITHIN, publish).await, Ok(Ok(())));
        if is_published {
            self.pulse.relay.published.fetch_add(1, Ordering::Relaxed);
        } else if self.is_taken {
            tracing::warn!("NATS does not take what is published: every server asks the database itself");
        }
        self.is_taken = is_published;
    }

    /// Tells the publisher that there is something to be found.
    pub(crate) async fn tell_of_commit(&mut self) {
        if self.client.connection_state() != State::Connected {
            return;
        }
        let publish = self.client.publish(self.subjects.commits(), Vec::new().into());
        if !matches!(tokio::time::timeout(PUBLISH_WITHIN, publish).await, Ok(Ok(()))) {
            tracing::debug!("the publisher could not be told of a commit, and will find it by itself");
        }
    }

    async fn note_role(&mut self) {
        self.pulse.relay.is_publisher.store(self.publishing.is_mine(), Ordering::Relaxed);
        if let Err(error) = self.listen_to_commits().await {
            tracing::warn!(%error, "the commits of other servers cannot be listened to");
        }
    }
}

/// None, and a line in the log, for what no server of this version has written.
fn read<T: DeserializeOwned>(message: &Message) -> Option<T> {
    match serde_json::from_slice(&message.payload) {
        Ok(read) => Some(read),
        Err(error) => {
            tracing::warn!(%error, subject = message.subject.as_str(), "a message cannot be read");
            None
        }
    }
}

fn note(event: &Event) {
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        Event::Disconnected => tracing::warn!("NATS is away: this server asks the database itself"),
        Event::SlowConsumer(_) => tracing::debug!("messages of NATS were dropped; what was in them is asked for"),
        Event::LameDuckMode | Event::Draining | Event::Closed => tracing::debug!(%event, "NATS"),
        Event::ServerError(_) | Event::ClientError(_) => tracing::warn!(%event, "NATS"),
    }
}
