//! Reads that people who may see the same share: after one commit a thousand read a list again, and the database reads it a few
//! times.
//!
//! A read that comes alone is made at once, as the person. Who asks the same while it is under way waits for the next one, which
//! is made for all who wait by then: so it begins after each of them has asked, and nobody is answered with less than was there
//! when they asked. In its snapshot the database says who of them sees the same ([`SIGHT`]); it is made once for those, as one of
//! them, under row-level security. Who sees a part of it only is told to read alone.

use super::{Actor, Database, READ, Step, end_read, stamp};
use crate::error::ApiError;
use crate::key::{OrganizationId, PersonId};
use crate::overlay::MutationId;
use crate::snapshot::Stamp;
use crate::wire::Read;
use sqlx::{PgConnection, Postgres, Transaction};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use uuid::Uuid;

/// Where so many ask the same at a time, the next read waits a moment for more of them.
const MANY: usize = 8;
const GATHER: Duration = Duration::from_millis(10);
/// One read is made for no more people than these.
const MOST_TOGETHER: usize = 2_000;

/// The product's word on who sees the same: of two people with equal sight in an organization each is answered as the other is;
/// null where a person is answered for themselves alone.
pub const SIGHT: &str = "millstream.sight(person uuid, organization uuid) returns text";

/// What a query may be asked.
pub trait Question: Clone + Eq + Hash + Send + Sync + 'static {}
impl<T: Clone + Eq + Hash + Send + Sync + 'static> Question for T {}

/// What many may be given.
pub trait Answer: Clone + Send + Sync + 'static {}
impl<T: Clone + Send + Sync + 'static> Answer for T {}

/// One query that people share, with all that it may be asked.
pub struct SharedRead<Asked, T> {
    flights: Arc<Flights<Asked, T>>,
}

type Key<Asked> = (OrganizationId, Asked);
type Body<Asked, T> = dyn for<'c> Fn(&'c mut PgConnection, OrganizationId, Asked) -> Step<'c, T> + Send + Sync;

struct Flights<Asked, T> {
    database: Database,
    body: Box<Body<Asked, T>>,
    /// Those who wait for the next flight, where one is under way.
    waiting: Mutex<HashMap<Key<Asked>, Vec<Waiter<T>>>>,
    counts: Counts,
}

struct Waiter<T> {
    person: PersonId,
    told: oneshot::Sender<Told<T>>,
}

/// What there is to do for whoever asks.
enum Part<T> {
    /// Nobody asks the same now: read, and others may wait for what comes after.
    First,
    /// The next read will tell.
    Waits(oneshot::Receiver<Told<T>>),
    /// Too many wait already.
    Full,
}

enum Told<T> {
    Answer(Read<T>),
    /// Nobody sees the same, or the read failed: whoever asks alone is told why.
    Alone,
}

/// What has been asked and read since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Reads that were made.
    pub reads: AtomicU64,
    /// Questions that another's read has answered.
    pub shared: AtomicU64,
}

impl<Asked: Question, T: Answer> SharedRead<Asked, T> {
    /// `body` reads what is asked in the organization, as the person of the transaction, and refuses who may not.
    pub fn new(
        database: &Database,
        body: impl for<'c> Fn(&'c mut PgConnection, OrganizationId, Asked) -> Step<'c, T> + Send + Sync + 'static,
    ) -> Self {
        let (database, body) = (database.clone(), Box::new(body));
        Self { flights: Arc::new(Flights { database, body, waiting: Mutex::default(), counts: Counts::default() }) }
    }

    pub fn counts(&self) -> &Counts {
        &self.flights.counts
    }

    /// As [`Database::read`]. Whoever has pending mutations reads alone: which of them the answer contains is theirs.
    ///
    /// # Errors
    /// Those of the body.
    pub async fn read(
        &self,
        person: PersonId,
        pending: &[MutationId],
        organization: OrganizationId,
        asked: Asked,
    ) -> Result<Read<T>, ApiError> {
        if !pending.is_empty() {
            return self.flights.alone(person, pending, organization, asked).await;
        }
        let key = (organization, asked.clone());
        match self.flights.join(&key, person) {
            Part::First => {
                let _flight = Flight { flights: self.flights.clone(), key: Some(key) };
                self.flights.alone(person, &[], organization, asked).await
            }
            Part::Waits(answer) => match answer.await {
                Ok(Told::Answer(read)) => Ok(read),
                Ok(Told::Alone) | Err(_) => self.flights.alone(person, &[], organization, asked).await,
            },
            Part::Full => self.flights.alone(person, &[], organization, asked).await,
        }
    }
}

/// A flight under way. When it ends, however it does, the next one begins, for those who wait.
struct Flight<Asked: Question, T: Answer> {
    flights: Arc<Flights<Asked, T>>,
    key: Option<Key<Asked>>,
}

impl<Asked: Question, T: Answer> Drop for Flight<Asked, T> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let mut waiting = self.flights.waiting();
        if waiting.get(&key).is_none_or(Vec::is_empty) {
            waiting.remove(&key);
            return;
        }
        drop(waiting);
        let next = Flight { flights: self.flights.clone(), key: Some(key) };
        self.flights.database.runtime.spawn(next.fly());
    }
}

impl<Asked: Question, T: Answer> Flight<Asked, T> {
    async fn fly(self) {
        let Some(key) = &self.key else { return };
        let are_many = self.flights.waiting().get(key).is_some_and(|waiting| waiting.len() >= MANY);
        if are_many {
            tokio::time::sleep(GATHER).await;
        }
        let together = self.flights.waiting().get_mut(key).map(std::mem::take).unwrap_or_default();
        // Whoever has gone meanwhile is not asked for.
        let together: Vec<_> = together.into_iter().filter(|waiter| !waiter.told.is_closed()).collect();
        // Those who are not told read alone.
        if let Err(error) = self.flights.together(key, together).await {
            tracing::debug!(%error, "a read for many was not answered");
        }
    }
}

impl<Asked: Question, T: Answer> Flights<Asked, T> {
    fn waiting(&self) -> MutexGuard<'_, HashMap<Key<Asked>, Vec<Waiter<T>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, key: &Key<Asked>, person: PersonId) -> Part<T> {
        let mut waiting = self.waiting();
        let Some(others) = waiting.get_mut(key) else {
            waiting.insert(key.clone(), Vec::new());
            return Part::First;
        };
        if others.len() >= MOST_TOGETHER {
            return Part::Full;
        }
        let (told, answer) = oneshot::channel();
        others.push(Waiter { person, told });
        Part::Waits(answer)
    }

    async fn alone(
        &self,
        person: PersonId,
        pending: &[MutationId],
        organization: OrganizationId,
        asked: Asked,
    ) -> Result<Read<T>, ApiError> {
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
        let body = &self.body;
        self.database
            .read(Actor::Person(person), pending, move |transaction| body(transaction, organization, asked))
            .await
    }

    async fn together(&self, key: &Key<Asked>, waiters: Vec<Waiter<T>>) -> Result<(), ApiError> {
        let people: Vec<Uuid> = waiters.iter().map(|waiter| waiter.person.0).collect();
        let (mut transaction, stamp, sights) = self.database.begin_together(key.0, &people).await?;
        let mut alike: BTreeMap<String, Vec<Waiter<T>>> = BTreeMap::new();
        for (waiter, sight) in waiters.into_iter().zip(sights) {
            match sight {
                Some(sight) => alike.entry(sight).or_default().push(waiter),
                None => drop(waiter.told.send(Told::Alone)),
            }
        }
        for waiters in alike.into_values() {
            let Some(first) = waiters.first() else { continue };
            sqlx::query("select set_config('millstream.person', $1, true)")
                .bind(first.person.to_string())
                .execute(&mut *transaction)
                .await?;
            self.counts.reads.fetch_add(1, Ordering::Relaxed);
            // Who may not read this is told why where they read alone. After a failure of the database nothing goes on here.
            let Ok(data) = (self.body)(&mut transaction, key.0, key.1.clone()).await else { continue };
            let read = Read { data, snapshot: stamp.snapshot.clone(), epoch: stamp.epoch, contains: Vec::new() };
            self.counts.shared.fetch_add(waiters.len() as u64 - 1, Ordering::Relaxed);
            for waiter in waiters {
                drop(waiter.told.send(Told::Answer(read.clone())));
            }
        }
        end_read(transaction);
        Ok(())
    }
}

impl Database {
    /// Begins a stamped read for several people, and says what each sees in its snapshot.
    async fn begin_together(
        &self,
        organization: OrganizationId,
        people: &[Uuid],
    ) -> Result<(Transaction<'static, Postgres>, Stamp, Vec<Option<String>>), ApiError> {
        loop {
            let mut transaction = self.begin(READ).await?;
            let (snapshot, epoch, sights): (String, Option<Uuid>, Vec<Option<String>>) = sqlx::query_as(
                "select pg_current_snapshot()::text, (select epoch from millstream.epoch),
                   array(select millstream.sight(person, $1) from unnest($2::uuid[]) with ordinality as asked (person, place)
                     order by place)",
            )
            .bind(organization.0)
            .bind(people)
            .fetch_one(&mut *transaction)
            .await?;
            match stamp(&snapshot, epoch)? {
                Some(stamp) => return Ok((transaction, stamp, sights)),
                None => self.begin_epoch(transaction).await?,
            }
        }
    }
}
