//! How often one address may try to sign in or up, and one session may ask without a live connection. Kept in memory, a
//! node for itself: what it protects against is the guessing of passwords and the work of hashing them, and of a page
//! that asks without a pause.

use crate::answers;
use crate::routes::Web;
use crate::sign_in_form::SIGN_IN;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use millstream::{ApiError, Kind};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use uuid::Uuid;

const SIGN_UP: &str = "/api/session/sign_up";
const SIGN_INS_A_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);
const SIGN_UPS_A_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(119);
const QUESTIONS_A_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(239);
/// After so many checks the addresses that have not come lately are forgotten.
const PRUNE_EVERY: u32 = 1_000;

/// What has been tried lately, by address or session.
pub(crate) struct Limits {
    sign_in: Limit<IpAddr>,
    sign_up: Limit<IpAddr>,
    questions: Limit<Uuid>,
}

impl Limits {
    pub(crate) fn new() -> Self {
        Self {
            sign_in: Limit::new(SIGN_INS_A_MINUTE),
            sign_up: Limit::new(SIGN_UPS_A_MINUTE),
            questions: Limit::new(QUESTIONS_A_MINUTE),
        }
    }

    /// Lets the session ask once more.
    ///
    /// # Errors
    /// The response that says when to come back.
    pub(crate) fn question(&self, session: Uuid) -> Result<(), Response> {
        self.questions.check(session).map_err(refusal)
    }

    fn for_path(&self, path: &str) -> Option<&Limit<IpAddr>> {
        match path {
            SIGN_IN => Some(&self.sign_in),
            SIGN_UP => Some(&self.sign_up),
            _ => None,
        }
    }
}

struct Limit<Who: Hash + Eq + Clone> {
    tried: DefaultKeyedRateLimiter<Who>,
    clock: DefaultClock,
    checks: AtomicU32,
}

impl<Who: Hash + Eq + Clone> Limit<Who> {
    fn new(a_minute: NonZeroU32) -> Self {
        Self {
            tried: DefaultKeyedRateLimiter::keyed(Quota::per_minute(a_minute)),
            clock: DefaultClock::default(),
            checks: AtomicU32::new(0),
        }
    }

    /// # Errors
    /// How long to wait, where it has been tried too often.
    fn check(&self, who: Who) -> Result<(), Duration> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % PRUNE_EVERY == PRUNE_EVERY - 1 {
            self.tried.retain_recent();
            self.tried.shrink_to_fit();
        }
        self.tried.check_key(&who).map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }
}

/// The middleware.
pub(crate) async fn limit(State(web): State<Web>, request: Request, next: Next) -> Response {
    if request.method() == Method::POST
        && let Some(limit) = web.limits.for_path(request.uri().path())
        && let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>()
        && let Err(wait) = limit.check(whose(*peer, request.headers()))
    {
        return refusal(wait);
    }
    next.run(request).await
}

fn refusal(wait: Duration) -> Response {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let mut response =
        answers::error(ApiError::new(Kind::TooMany, format!("Too many attempts: try again in {seconds} s.")));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// Who is counted. A proxy on this machine names its client last in `X-Forwarded-For`; from anywhere else the header is
/// anybody's invention. Of an IPv6 address one person usually has the whole /64.
fn whose(peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
    let mut address = peer.ip().to_canonical();
    if address.is_loopback() {
        let forwarded = headers.get_all("x-forwarded-for").iter().next_back();
        let last = forwarded.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
        address = last.map_or(address, |last: IpAddr| last.to_canonical());
    }
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let network = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn counted(peer: &str, forwarded: Option<&str>) -> String {
        let headers = forwarded.map(|value| ("x-forwarded-for".parse().unwrap(), value.parse().unwrap()));
        whose(peer.parse().unwrap(), &headers.into_iter().collect()).to_string()
    }

    #[test]
    fn an_address_is_let_through_twenty_times_and_others_are_not_counted_with_it() {
        let limit = Limit::<IpAddr>::new(SIGN_INS_A_MINUTE);
        let (one, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        for _ in 0..20 {
            assert_eq!(limit.check(one), Ok(()));
        }
        let wait = limit.check(one).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(3), "{wait:?}");
        assert_eq!(limit.check(other), Ok(()));
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let response = refusal(Duration::from_millis(2_100));
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[header::RETRY_AFTER], "3");
    }

    #[test]
    fn only_a_proxy_on_this_machine_speaks_for_others() {
        assert_eq!(counted("127.0.0.1:1", Some("198.51.100.1, 192.0.2.7")), "192.0.2.7");
        assert_eq!(counted("192.0.2.9:1", Some("198.51.100.1")), "192.0.2.9");
        assert_eq!(counted("127.0.0.1:1", Some("nonsense")), "127.0.0.1");
        assert_eq!(counted("[::ffff:192.0.2.9]:1", None), "192.0.2.9");
        assert_eq!(counted("[2001:db8:1:2:3:4:5:6]:1", None), "2001:db8:1:2::");
    }
}
