//! How often one address may try to sign in or up, one session may ask without a live connection, and one person may read,
//! write and load pages. Kept in memory, a node for itself: what it protects against is the guessing of passwords and the
//! work of hashing them, and a program that asks without a pause. What a live connection may watch the hub bounds.

use crate::answers;
use crate::routes::Web;
use crate::sign_in_form::SIGN_IN;
use app::request::Caller;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use millstream::{ApiError, Kind, PersonId};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use uuid::Uuid;

const SIGN_UP: &str = "/api/session/sign_up";
const SIGN_INS: Quota = Quota::per_minute(many(20));
const SIGN_UPS: Quota = Quota::per_minute(many(120));
const QUESTIONS: Quota = Quota::per_minute(many(240));
/// Far above what people do, also with ten tabs that each fetch for themselves, as without https, while everything on them
/// changes.
const READS: Quota = Quota::per_second(many(300)).allow_burst(many(3_000));
/// An outbox that was filled for days offline drains at once, at some 250 a second.
const MUTATIONS: Quota = Quota::per_second(many(50)).allow_burst(many(3_000));
/// To render one costs as much as many reads.
const PAGES: Quota = Quota::per_second(many(10)).allow_burst(many(300));
/// After so many checks the addresses that have not come lately are forgotten.
const PRUNE_EVERY: u32 = 1_000;

/// What has been tried lately, by address or session.
pub(crate) struct Limits {
    sign_in: Limit<IpAddr>,
    sign_up: Limit<IpAddr>,
    questions: Limit<Uuid>,
    reads: Limit<PersonId>,
    mutations: Limit<PersonId>,
    pages: Limit<PersonId>,
}

/// A number that is not zero, known when this is compiled.
const fn many(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("more than none")
}

impl Limits {
    pub(crate) fn new() -> Self {
        Self {
            sign_in: Limit::new(SIGN_INS),
            sign_up: Limit::new(SIGN_UPS),
            questions: Limit::new(QUESTIONS),
            reads: Limit::new(READS),
            mutations: Limit::new(MUTATIONS),
            pages: Limit::new(PAGES),
        }
    }

    /// Lets the session ask once more.
    ///
    /// # Errors
    /// The response that says when to come back.
    pub(crate) fn question(&self, session: Uuid) -> Result<(), Response> {
        self.questions.check(session).map_err(refusal)
    }

    /// Lets whoever is signed in call a server function once more: one that reads, by GET, or one that writes.
    ///
    /// # Errors
    /// The response that says when to come back.
    pub(crate) fn call(&self, request: &Request) -> Result<(), Response> {
        let Some(person) = signed_in(request) else { return Ok(()) };
        let limit = if request.method() == Method::GET { &self.reads } else { &self.mutations };
        limit.check(person).map_err(refusal)
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
    fn new(quota: Quota) -> Self {
        Self { tried: DefaultKeyedRateLimiter::keyed(quota), clock: DefaultClock::default(), checks: AtomicU32::new(0) }
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

/// The middleware of what can be tried without a session.
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

/// The middleware of pages, behind the one that finds out who asks.
pub(crate) async fn limit_pages(State(web): State<Web>, request: Request, next: Next) -> Response {
    if let Some(person) = signed_in(&request)
        && let Err(wait) = web.limits.pages.check(person)
    {
        let (sentence, retry_after) = told(wait);
        return (StatusCode::TOO_MANY_REQUESTS, retry_after, sentence).into_response();
    }
    next.run(request).await
}

fn signed_in(request: &Request) -> Option<PersonId> {
    request.extensions().get::<Caller>()?.0.as_ref().map(|caller| caller.person)
}

fn refusal(wait: Duration) -> Response {
    let (sentence, retry_after) = told(wait);
    (retry_after, answers::error(ApiError::new(Kind::TooMany, sentence))).into_response()
}

fn told(wait: Duration) -> (String, [(header::HeaderName, HeaderValue); 1]) {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let sentence = format!("Too many requests: try again in {seconds} s.");
    (sentence, [(header::RETRY_AFTER, HeaderValue::from(seconds))])
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
        let limit = Limit::<IpAddr>::new(SIGN_INS);
        let (one, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        for _ in 0..20 {
            assert_eq!(limit.check(one), Ok(()));
        }
        let wait = limit.check(one).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(3), "{wait:?}");
        assert_eq!(limit.check(other), Ok(()));
    }

    fn asked(by: Option<PersonId>, method: Method) -> Request {
        let mut request = Request::new(axum::body::Body::empty());
        *request.method_mut() = method;
        let signed_in = by.map(|person| app::request::SignedIn {
            person,
            session: Uuid::nil(),
            token_hash: Vec::new(),
            name: String::new(),
            email: String::new(),
        });
        request.extensions_mut().insert(Caller(signed_in));
        request
    }

    #[test]
    fn a_person_is_let_do_a_lot_and_then_has_to_wait_alone() {
        let limits = Limits::new();
        let (one, other) = (Some(PersonId(Uuid::from_u128(1))), Some(PersonId(Uuid::from_u128(2))));
        for method in [Method::GET, Method::POST] {
            for _ in 0..3_000 {
                assert!(limits.call(&asked(one, method.clone())).is_ok());
            }
            // Some are given back while this loop runs.
            let refused = (0..3_000).find_map(|_| limits.call(&asked(one, method.clone())).err()).unwrap();
            assert_eq!(refused.status(), 429);
            assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
            assert!(limits.call(&asked(other, method.clone())).is_ok());
            for _ in 0..10_000 {
                assert!(limits.call(&asked(None, method.clone())).is_ok(), "who is nobody is refused elsewhere");
            }
        }
    }

    #[test]
    fn an_outbox_of_five_hundred_changes_goes_out_at_once_while_ten_tabs_read() {
        let limits = Limits::new();
        let person = Some(PersonId(Uuid::from_u128(1)));
        for _ in 0..500 {
            assert!(limits.call(&asked(person, Method::POST)).is_ok());
            for _tab in 0..5 {
                assert!(limits.call(&asked(person, Method::GET)).is_ok());
            }
        }
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
