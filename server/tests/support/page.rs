//! A page as far as the live connection is concerned, for tests in which something is killed while others write.

use super::socket::{Socket, record};
use super::until_within;
use super::world::{Person, World};
use millstream::snapshot::{Stamp, Xid};
use millstream::wire::{ClientFrame, ServerFrame};
use sqlx::PgPool;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

/// Starting PostgreSQL or a server, or noticing that it is gone, on a busy machine.
pub const RESTART: Duration = Duration::from_secs(60);

/// Of one writer, which could else take the machine from those that are to be started again.
const PACE: Duration = Duration::from_millis(4);

/// A page over some orders: it reads what it is told is stale, and nothing else, however often it is cut off.
pub struct Page<'a> {
    world: &'a World,
    person: &'a Person,
    organization: Uuid,
    /// Where it connects to, one after the other.
    nodes: Vec<String>,
    /// Of each order the title, and when it was read. Its watch number is its place.
    held: Vec<(Uuid, String, Stamp)>,
    /// How many connections have come to watch all of it.
    pub connections: Arc<AtomicU32>,
}

impl<'a> Page<'a> {
    /// Over these orders, each read once.
    pub async fn open(
        world: &'a World,
        person: &'a Person,
        organization: Uuid,
        orders: &[Uuid],
        nodes: Vec<String>,
    ) -> Self {
        let mut page = Self { world, person, organization, nodes, held: Vec::new(), connections: Arc::default() };
        for order in orders {
            page.held.push(page.read(*order).await);
        }
        page
    }

    async fn read(&self, order: Uuid) -> (Uuid, String, Stamp) {
        let query = [("organization", self.organization), ("id", order)];
        let query = query.map(|(name, value)| (name.to_owned(), value.to_string()));
        until_within(RESTART, "an answer", async || {
            let answer = self.world.get(Some(self.person), "/api/orders/get", &query).await;
            let title = answer.body["data"]["title"].as_str()?.to_owned();
            Some((order, title, answer.stamp()))
        })
        .await
    }

    /// Until `goal` is known and seen: the last transaction, which changes nothing that is held.
    pub async fn follow(mut self, mut goal: watch::Receiver<Option<Xid>>) -> Self {
        for node in 0.. {
            let addr = &self.nodes[node % self.nodes.len()];
            let Some(mut socket) = Socket::try_open(addr, self.person).await else {
                tokio::task::yield_now().await;
                continue;
            };
            let watches =
                self.held.iter().zip(0..).map(|((order, _, stamp), number)| {
                    record(number, self.organization, "sales_orders", *order, stamp)
                });
            if !socket.try_send(&ClientFrame::Watch { keys: watches.collect() }).await {
                continue;
            }
            let mut watching = BTreeSet::new();
            while let Ok(frame) = socket.next().await {
                let ServerFrame::Tick(tick) = frame else { continue };
                assert!(tick.refused.is_empty(), "{tick:?}");
                let were_all_watched = watching.len() == self.held.len();
                watching.extend(tick.watching);
                let are_all_watched = watching.len() == self.held.len();
                self.connections.fetch_add(u32::from(are_all_watched && !were_all_watched), Ordering::Relaxed);
                for stale in &tick.stale {
                    let place = stale.number as usize;
                    self.held[place] = self.read(self.held[place].0).await;
                }
                let is_there = goal.borrow_and_update().is_some_and(|goal| tick.cursor.sees(goal));
                if is_there && are_all_watched {
                    return self;
                }
            }
        }
        unreachable!("there is no last node")
    }

    /// What is shown is what is so.
    pub async fn assert_right(&self) {
        for (order, shown, _) in &self.held {
            let title: String = sqlx::query_scalar("select title from sales_orders where id = $1")
                .bind(order)
                .fetch_one(&self.world.owner)
                .await
                .unwrap();
            assert_eq!(*shown, title);
        }
    }
}

/// Waits until a page has come to watch all of it by more connections than these.
pub async fn until_live(connections: &AtomicU32, more_than: u32) {
    until_within(RESTART, "the page to be live", async || {
        (connections.load(Ordering::Relaxed) > more_than).then_some(())
    })
    .await;
}

/// Three who change orders by plain SQL, as fast as it goes, whoever dies meanwhile.
pub struct Writers {
    is_over: Arc<AtomicBool>,
    writing: Vec<JoinHandle<usize>>,
}

impl Writers {
    pub fn over(owner: &PgPool, orders: &[Uuid]) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let writer = |_| tokio::spawn(rename_without_end(owner.clone(), orders.to_vec(), is_over.clone()));
        Self { writing: (0..3).map(writer).collect(), is_over }
    }

    /// Ends them, and gives how many changes they made.
    pub async fn end(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        let mut renamed = 0;
        for writer in self.writing {
            renamed += writer.await.unwrap();
        }
        renamed
    }
}

async fn rename_without_end(owner: PgPool, orders: Vec<Uuid>, is_over: Arc<AtomicBool>) -> usize {
    let (mut chance, mut renamed) = (fastrand::Rng::new(), 0);
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !is_over.load(Ordering::Relaxed) {
        pace.tick().await;
        let order = orders[chance.usize(..orders.len())];
        let change = sqlx::query("update sales_orders set title = $2 where id = $1")
            .bind(order)
            .bind(format!("{:x}", chance.u64(..)));
        renamed += usize::from(change.execute(&owner).await.is_ok());
    }
    renamed
}
