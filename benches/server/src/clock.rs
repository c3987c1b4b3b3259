//! One monotonic clock for all that is measured: nanoseconds since the program began.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

pub(crate) type Nanos = u64;

pub(crate) fn now() -> Nanos {
    nanos(BEGAN.elapsed())
}

pub(crate) fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(Nanos::MAX)
}

/// The instant of a commit as PostgreSQL noted it, on this program's clock: both run on one host, so PostgreSQL's clock
/// is this one plus a constant.
///
/// # Errors
/// Never for times since 1970.
pub(crate) fn of_unix_micros(micros: i64, offset: i64) -> Nanos {
    u64::try_from(micros.saturating_mul(1_000).saturating_sub(offset)).unwrap_or(0)
}

/// What the host's clock is ahead of this one, in nanoseconds: the least of several looks, for each may be interrupted.
pub(crate) fn unix_offset() -> i64 {
    let look = |_| {
        let before = now();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let took = now() - before;
        let offset = i64::try_from(nanos(unix)).unwrap_or(i64::MAX) - i64::try_from(before + took / 2).unwrap_or(0);
        (took, offset)
    };
    (0..50).map(look).min().map_or(0, |(_, offset)| offset)
}
