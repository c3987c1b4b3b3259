//! What the integration tests share: one PostgreSQL a test binary, a database and a server a test, people, sockets.
//! Nothing here asserts a promise; that is the tests' business.

// Each test binary takes its part of this.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod bus;
pub mod cluster;
pub mod endpoints;
pub mod page;
pub mod program;
pub mod scene;
pub mod socket;
pub mod world;

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a state may take to come before the test fails: generous, for a machine that does other things too.
pub const BOUND: Duration = Duration::from_secs(20);

/// Asks until there is an answer.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, ask: impl FnMut() -> F) -> T {
    until_within(BOUND, what, ask).await
}

/// The same, with a bound of its own.
pub async fn until_within<T, F: Future<Output = Option<T>>>(
    bound: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + bound;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {bound:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Chance whose seed is printed, so that a failure can be had again.
pub fn chance() -> fastrand::Rng {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    fastrand::Rng::with_seed(seed)
}
