//! What the environment says about this server, read once at the start into one `Configuration`.
//! Everything here decides from strings: nothing may be opened, connected to or created, and
//! whether a path or a host exists is for those who use it to find out.

use percent_encoding::percent_decode_str;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

const ADDR: &str = "MILLSTREAM_ADDR";
const DATABASE_URL: &str = "DATABASE_URL";
const DATA_DIR: &str = "MILLSTREAM_DATA_DIR";
const DEMO: &str = "MILLSTREAM_DEMO";
const PUBLIC_URL: &str = "MILLSTREAM_PUBLIC_URL";
const POSTGRES_BIN: &str = "MILLSTREAM_POSTGRES_BIN";
const EVENTS_KEPT_DAYS: &str = "MILLSTREAM_EVENTS_KEPT_DAYS";
const MUTATIONS_KEPT_DAYS: &str = "MILLSTREAM_MUTATIONS_KEPT_DAYS";
const LOG_FORMAT: &str = "MILLSTREAM_LOG_FORMAT";
const NATS_URL: &str = "MILLSTREAM_NATS_URL";
/// By its name in OpenTelemetry, where empty means unset.
const COLLECTOR: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

const PREFIX: &str = "MILLSTREAM_";
const KNOWN: [&str; 10] = [
    ADDR,
    DATABASE_URL,
    DATA_DIR,
    DEMO,
    PUBLIC_URL,
    POSTGRES_BIN,
    EVENTS_KEPT_DAYS,
    MUTATIONS_KEPT_DAYS,
    LOG_FORMAT,
    NATS_URL,
];

/// Variables the tests set for themselves. The server ignores them instead of refusing to start,
/// so that a server started from inside a test run is the same server.
///
/// - `MILLSTREAM_TEST_DATA_DIR`: the data directory of a server started as a process of its own.
/// - `MILLSTREAM_TEST_DATABASE_URL`: a database the tests may use instead of a cluster of theirs.
/// - `MILLSTREAM_TEST_RELAY`: the tests' servers hear of changes from each other, over a NATS of the tests.
/// - `MILLSTREAM_TOOLS`, `MILLSTREAM_SHARED_TARGET`: where the scripts keep tools and build results.
/// - `MILLSTREAM_DIST`, `MILLSTREAM_URL`, `MILLSTREAM_LOG`, `MILLSTREAM_SOCKETS`: what the browser tests tell
///   each other.
pub const FOR_TESTS: [&str; 9] = [
    "MILLSTREAM_TEST_DATA_DIR",
    "MILLSTREAM_TEST_DATABASE_URL",
    "MILLSTREAM_TEST_RELAY",
    "MILLSTREAM_TOOLS",
    "MILLSTREAM_SHARED_TARGET",
    "MILLSTREAM_DIST",
    "MILLSTREAM_URL",
    "MILLSTREAM_LOG",
    "MILLSTREAM_SOCKETS",
];

/// Everything the environment decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Where the server listens.
    pub addr: SocketAddr,
    /// The database to use; without one the server keeps its own PostgreSQL.
    pub database_url: Option<DatabaseUrl>,
    /// What the server keeps on disk lives under here.
    pub data_dir: PathBuf,
    /// Whether an empty database is filled with the demonstration.
    pub demo: Demo,
    /// The address people type, where it differs from the one listened on.
    pub public_url: Option<PublicUrl>,
    /// The directory with PostgreSQL's programs, where they are not to be looked for.
    pub postgres_bin: Option<PathBuf>,
    /// Whole days that change events are kept: who comes back later reads anew what it holds.
    pub events_kept: KeptDays,
    /// Whole days that mutations and their answers are kept: one that is repeated later is refused.
    pub mutations_kept: KeptDays,
    /// How the log is written.
    pub log_format: LogFormat,
    /// Who is sent traces, if anybody.
    pub collector: Option<CollectorUrl>,
    /// By which the servers over one database tell each other of changes, so that one of them asks it for all; without one each
    /// asks for itself.
    pub nats: Option<NatsUrl>,
}

/// How the log is written, a line an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object.
    Json,
}

/// Days from 1 to 365.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptDays(u16);

impl KeptDays {
    /// The number of them.
    pub fn days(self) -> u16 {
        self.0
    }
}

const EVENTS_KEPT: KeptDays = KeptDays(7);
const MUTATIONS_KEPT: KeptDays = KeptDays(90);

/// What to do with the demonstration data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demo {
    /// Put it into an empty database.
    Fill,
    /// Leave the database as it is.
    Leave,
}

/// Whether browsers are told to send cookies over https alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cookies {
    /// People come by https: cookies carry `Secure`.
    Secure,
    /// People come by plain http, where a `Secure` cookie would never be sent back.
    Plain,
}

/// A PostgreSQL URL. Its password never shows in `Debug`, so a logged configuration is harmless.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The whole URL, password included: for the connection, never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({})", without_secrets(&self.0))
    }
}

/// The scheme and host by which people reach this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    cookies: Cookies,
    origin: String,
}

impl PublicUrl {
    /// `https://host[:port]`, lower-case and without a trailing slash, ready for a path.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

/// An OpenTelemetry collector that takes OTLP over plain HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorUrl(String);

impl CollectorUrl {
    /// `http://host[:port][/path]`, without a slash at its end.
    pub fn base(&self) -> &str {
        &self.0
    }
}

/// A server of NATS, and how to sign in there. No secret shows in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsUrl {
    server: String,
    login: Option<NatsLogin>,
}

/// As NATS itself reads what stands before a host: with a colon it is a user and a password, without one a token.
#[derive(Clone, PartialEq, Eq)]
pub enum NatsLogin {
    User { name: String, password: String },
    Token(String),
}

impl fmt::Debug for NatsLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NatsLogin::User { .. } => "User",
            NatsLogin::Token(_) => "Token",
        })
    }
}

impl NatsUrl {
    /// `nats://host[:port]`, or `tls://` where the connection is encrypted.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Where there is any: for the connection, never for a log.
    pub fn login(&self) -> Option<&NatsLogin> {
        self.login.as_ref()
    }
}

impl fmt::Debug for NatsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NatsUrl({})", self.server)
    }
}

/// Why the environment does not make a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{variable} is `{value}`, but {expected}")]
    Wrong { variable: &'static str, value: String, expected: &'static str },
    #[error("{variable} is set but empty: give it a value or unset it ({expected})")]
    Empty { variable: &'static str, expected: &'static str },
    #[error("{variable} holds bytes that are not UTF-8: write its value in UTF-8")]
    NotUnicode { variable: String },
    #[error("{variable} is not a variable Millstream knows: correct its name or unset it (known: {known})", known = KNOWN.join(", "))]
    Unknown { variable: String },
}

impl Configuration {
    /// The configuration the process's environment describes.
    pub fn from_env() -> Result<Self, Error> {
        let set = readable(std::env::vars_os())?;
        refuse_unknown(set.keys().map(String::as_str))?;
        Self::parse(|variable| set.get(variable).cloned())
    }

    /// The configuration described by `value`, which gives what a variable is set to, if it is.
    pub fn parse(value: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        Ok(Self {
            addr: read(&value, ADDR, addr, ADDR_EXPECTED)?.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 3000))),
            database_url: read_secret(&value)?,
            data_dir: read(&value, DATA_DIR, path, DATA_DIR_EXPECTED)?.unwrap_or_else(|| PathBuf::from(".millstream")),
            demo: read(&value, DEMO, demo, DEMO_EXPECTED)?.unwrap_or(Demo::Leave),
            public_url: read(&value, PUBLIC_URL, public_url, PUBLIC_URL_EXPECTED)?,
            postgres_bin: read(&value, POSTGRES_BIN, path, POSTGRES_BIN_EXPECTED)?,
            events_kept: read(&value, EVENTS_KEPT_DAYS, kept_days, KEPT_DAYS_EXPECTED)?.unwrap_or(EVENTS_KEPT),
            mutations_kept: read(&value, MUTATIONS_KEPT_DAYS, kept_days, KEPT_DAYS_EXPECTED)?.unwrap_or(MUTATIONS_KEPT),
            log_format: read(&value, LOG_FORMAT, log_format, LOG_FORMAT_EXPECTED)?.unwrap_or(LogFormat::Text),
            collector: hidden(read(
                |variable| value(variable).filter(|text| !text.is_empty()),
                COLLECTOR,
                collector,
                COLLECTOR_EXPECTED,
            ))?,
            nats: hidden(read(&value, NATS_URL, nats_url, NATS_URL_EXPECTED))?,
        })
    }

    /// Whether cookies are `Secure`: they are when people come by https, and without a public
    /// URL they come to the plain address the server listens on.
    pub fn cookies(&self) -> Cookies {
        self.public_url.as_ref().map_or(Cookies::Plain, |url| url.cookies)
    }
}

/// Refuses the first of `names` that has our prefix and no meaning: a misspelt variable would
/// otherwise be a setting silently not made.
pub fn refuse_unknown<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
    // Sorted, so that the same environment is always refused with the same sentence.
    let mut unknown: Vec<&str> = names
        .into_iter()
        .filter(|name| name.starts_with(PREFIX))
        .filter(|name| !KNOWN.contains(name) && !FOR_TESTS.contains(name))
        .collect();
    unknown.sort_unstable();
    match unknown.first() {
        Some(name) => Err(Error::Unknown { variable: (*name).to_owned() }),
        None => Ok(()),
    }
}

/// The variables that concern us as text; others may hold whatever bytes they like.
fn readable(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<HashMap<String, String>, Error> {
    let mut set = HashMap::new();
    for (name, value) in variables {
        // A name that is not UTF-8 may still begin with our prefix: it is then an unknown one.
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with(PREFIX) && name != DATABASE_URL && name != COLLECTOR {
            continue;
        }
        match value.into_string() {
            Ok(value) => set.insert(name, value),
            Err(_) => return Err(Error::NotUnicode { variable: name }),
        };
    }
    Ok(set)
}

const ADDR_EXPECTED: &str = "an IP address with a port is expected, such as 127.0.0.1:3000";
const DATABASE_URL_EXPECTED: &str =
    "a postgres:// or postgresql:// URL is expected, such as postgres://user@host/millstream";
const DATA_DIR_EXPECTED: &str = "the path of a directory is expected, such as .millstream";
const DEMO_EXPECTED: &str = "1, true, 0 or false is expected";
const PUBLIC_URL_EXPECTED: &str =
    "http:// or https:// and a host is expected, with no path, such as https://millstream.example";
const POSTGRES_BIN_EXPECTED: &str =
    "the directory holding PostgreSQL's `postgres` is expected, such as /usr/lib/postgresql/17/bin";
const KEPT_DAYS_EXPECTED: &str = "a number of days from 1 to 365 is expected";
const LOG_FORMAT_EXPECTED: &str = "text or json is expected";
const COLLECTOR_EXPECTED: &str = "http:// and the host of a collector is expected, such as http://127.0.0.1:4318 (what goes further by TLS, a collector sends)";
const NATS_URL_EXPECTED: &str = "nats:// or tls:// and a host is expected, with no path, such as nats://127.0.0.1:4222, tls://user:password@nats.example or tls://token@nats.example";

fn read<T>(
    value: impl Fn(&str) -> Option<String>,
    variable: &'static str,
    understand: impl Fn(&str) -> Option<T>,
    expected: &'static str,
) -> Result<Option<T>, Error> {
    match value(variable) {
        None => Ok(None),
        // Not taken as unset: an empty value is mostly another variable that failed to expand.
        Some(text) if text.is_empty() => Err(Error::Empty { variable, expected }),
        Some(text) => match understand(&text) {
            Some(understood) => Ok(Some(understood)),
            None => Err(Error::Wrong { variable, value: text, expected }),
        },
    }
}

fn read_secret(value: impl Fn(&str) -> Option<String>) -> Result<Option<DatabaseUrl>, Error> {
    hidden(read(value, DATABASE_URL, database_url, DATABASE_URL_EXPECTED))
}

/// The same, without what may hold a password.
fn hidden<T>(read: Result<T, Error>) -> Result<T, Error> {
    read.map_err(|error| match error {
        Error::Wrong { variable, value, expected } => {
            Error::Wrong { variable, value: without_secrets(&value), expected }
        }
        other => other,
    })
}

/// A database address reduced to its scheme. A password may stand before the host or among the
/// parameters, and in a malformed address anywhere, so nothing but a scheme we know is repeated.
fn without_secrets(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, _)) if SCHEMES.contains(&scheme) => format!("{scheme}://…"),
        _ => "(not shown, it may hold a password)".to_owned(),
    }
}

const SCHEMES: [&str; 9] = ["postgres", "postgresql", "mysql", "mariadb", "sqlite", "http", "https", "nats", "tls"];

fn addr(text: &str) -> Option<SocketAddr> {
    text.parse().ok()
}

fn path(text: &str) -> Option<PathBuf> {
    // A NUL cannot be in a path, and the first use of one would fail with a stranger sentence.
    (!text.contains('\0')).then(|| PathBuf::from(text))
}

fn demo(text: &str) -> Option<Demo> {
    match text {
        "1" | "true" => Some(Demo::Fill),
        "0" | "false" => Some(Demo::Leave),
        _ => None,
    }
}

fn kept_days(text: &str) -> Option<KeptDays> {
    text.parse().ok().filter(|days| (1..=365).contains(days)).map(KeptDays)
}

fn log_format(text: &str) -> Option<LogFormat> {
    match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

fn collector(text: &str) -> Option<CollectorUrl> {
    let rest = text.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = host_and_port(authority)?;
    let is_path = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte));
    let is_collector = is_host(host) && port.is_none_or(is_port) && is_path;
    is_collector.then(|| CollectorUrl(text.trim_end_matches('/').to_owned()))
}

fn nats_url(text: &str) -> Option<NatsUrl> {
    let (scheme, rest) = text.split_once("://").filter(|(scheme, _)| ["nats", "tls"].contains(scheme))?;
    let (login, authority) = match rest.rsplit_once('@') {
        None => (None, rest),
        Some((login, authority)) => {
            let decoded = |text| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
            let login = match login.split_once(':') {
                Some(("", _)) => return None,
                Some((name, password)) => NatsLogin::User { name: decoded(name)?, password: decoded(password)? },
                None if login.is_empty() => return None,
                None => NatsLogin::Token(decoded(login)?),
            };
            (Some(login), authority)
        }
    };
    let (host, port) = host_and_port(authority)?;
    (is_host(host) && port.is_none_or(is_port)).then(|| NatsUrl { server: format!("{scheme}://{authority}"), login })
}

fn database_url(text: &str) -> Option<DatabaseUrl> {
    let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"))?;
    (!rest.is_empty()).then(|| DatabaseUrl(text.to_owned()))
}

fn public_url(text: &str) -> Option<PublicUrl> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let cookies = match scheme.as_str() {
        "https" => Cookies::Secure,
        "http" => Cookies::Plain,
        _ => return None,
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = host_and_port(authority)?;
    if !is_host(host) || port.is_some_and(|port| !is_port(port)) {
        return None;
    }
    Some(PublicUrl { cookies, origin: format!("{scheme}://{}", authority.to_ascii_lowercase()) })
}

/// Splits at the colon of the port, which is not one of the colons inside `[::1]`.
fn host_and_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let end_of_host = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, rest) = authority.split_at(end_of_host);
    if rest.is_empty() {
        return Some((host, None));
    }
    Some((host, Some(rest.strip_prefix(':')?)))
}

fn is_host(host: &str) -> bool {
    if let Some(inside) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return inside.parse::<std::net::Ipv6Addr>().is_ok();
    }
    !host.is_empty()
        && host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn parse(variables: &[(&str, &str)]) -> Result<Configuration, Error> {
        Configuration::parse(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn refusal(variable: &str, value: &str) -> String {
        parse(&[(variable, value)]).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_environment_is_enough() {
        assert_eq!(
            parse(&[]).unwrap(),
            Configuration {
                addr: "127.0.0.1:3000".parse().unwrap(),
                database_url: None,
                data_dir: PathBuf::from(".millstream"),
                demo: Demo::Leave,
                public_url: None,
                postgres_bin: None,
                events_kept: KeptDays(7),
                mutations_kept: KeptDays(90),
                log_format: LogFormat::Text,
                collector: None,
                nats: None,
            }
        );
        assert_eq!(parse(&[]).unwrap().cookies(), Cookies::Plain);
    }

    #[test]
    fn every_variable_is_read() {
        let configuration = parse(&[
            ("MILLSTREAM_ADDR", "[::]:8080"),
            ("DATABASE_URL", "postgresql://u:geheim@h/db"),
            ("MILLSTREAM_DATA_DIR", "/srv/millstream"),
            ("MILLSTREAM_DEMO", "true"),
            ("MILLSTREAM_PUBLIC_URL", "HTTPS://Example.ORG:8443/"),
            ("MILLSTREAM_POSTGRES_BIN", "/opt/pg/bin"),
            ("MILLSTREAM_EVENTS_KEPT_DAYS", "30"),
            ("MILLSTREAM_MUTATIONS_KEPT_DAYS", "365"),
            ("MILLSTREAM_LOG_FORMAT", "json"),
            ("MILLSTREAM_NATS_URL", "tls://u:geheim%40@n.example:4333"),
        ])
        .unwrap();
        let nats = configuration.nats.as_ref().unwrap();
        assert_eq!((nats.server(), nats.login()), ("tls://n.example:4333", Some(&user("u", "geheim@"))));
        assert_eq!((configuration.events_kept.days(), configuration.mutations_kept.days()), (30, 365));
        assert_eq!(configuration.log_format, LogFormat::Json);
        assert_eq!(configuration.addr, "[::]:8080".parse().unwrap());
        assert_eq!(configuration.database_url.as_ref().unwrap().expose(), "postgresql://u:geheim@h/db");
        assert_eq!(configuration.data_dir, PathBuf::from("/srv/millstream"));
        assert_eq!(configuration.demo, Demo::Fill);
        assert_eq!(configuration.cookies(), Cookies::Secure);
        assert_eq!(configuration.public_url.as_ref().unwrap().origin(), "https://example.org:8443");
        assert_eq!(configuration.postgres_bin, Some(PathBuf::from("/opt/pg/bin")));
        assert!(!format!("{configuration:?}").contains("geheim"));
    }

    #[test]
    fn events_and_mutations_are_kept_for_a_day_at_least_and_a_year_at_most() {
        for wrong in ["0", "366", "-1", "seven", "7.5"] {
            for variable in ["MILLSTREAM_EVENTS_KEPT_DAYS", "MILLSTREAM_MUTATIONS_KEPT_DAYS"] {
                let refusal = refusal(variable, wrong);
                assert!(refusal.contains(variable) && refusal.contains("1 to 365"), "{refusal}");
                assert!(refusal.contains(wrong), "{refusal}");
            }
        }
        assert!(refusal("MILLSTREAM_LOG_FORMAT", "xml").contains("text or json"));
    }

    #[test]
    fn a_collector_is_reached_by_plain_http_and_none_is_configured_by_nothing() {
        let collector = |url| parse(&[("OTEL_EXPORTER_OTLP_ENDPOINT", url)]).map(|found| found.collector);
        for (url, base) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
            ("http://collector/otlp/", "http://collector/otlp"),
            ("http://[::1]:4318/", "http://[::1]:4318"),
        ] {
            assert_eq!(collector(url), Ok(Some(CollectorUrl(base.to_owned()))));
        }
        assert_eq!(collector(""), Ok(None), "as OpenTelemetry has it");
        for url in
            ["https://collector", "collector:4318", "http://", "http://user:geheim@h", "http://h?a=b", "grpc://h"]
        {
            let refusal = refusal("OTEL_EXPORTER_OTLP_ENDPOINT", url);
            assert!(refusal.contains("OTEL_EXPORTER_OTLP_ENDPOINT") && refusal.contains("4318"), "{refusal}");
            assert!(!refusal.contains("geheim"), "{refusal}");
        }
    }

    fn user(name: &str, password: &str) -> NatsLogin {
        NatsLogin::User { name: name.to_owned(), password: password.to_owned() }
    }

    #[test]
    fn nats_is_a_host_with_or_without_a_login() {
        let nats = |url| parse(&[("MILLSTREAM_NATS_URL", url)]).map(|found| found.nats.unwrap());
        for (url, server, login) in [
            ("nats://127.0.0.1", "nats://127.0.0.1", None),
            ("nats://to%40ken@[::1]:4222", "nats://[::1]:4222", Some(NatsLogin::Token("to@ken".to_owned()))),
            ("nats://a:@h", "nats://h", Some(user("a", ""))),
            ("tls://a:b:c@d@h", "tls://h", Some(user("a", "b:c@d"))),
        ] {
            let found = nats(url).unwrap();
            assert_eq!((found.server(), found.login()), (server, login.as_ref()));
        }
        for url in [
            "http://h",
            "nats://",
            "nats://h/geheim",
            "nats://:geheim@h",
            "nats://@h",
            "u:geheim@h",
            "nats://h:0",
            "nats://%ff:geheim@h",
        ] {
            let refusal = refusal("MILLSTREAM_NATS_URL", url);
            assert!(refusal.contains("MILLSTREAM_NATS_URL") && refusal.contains("4222"), "{refusal}");
            assert!(!refusal.contains("geheim"), "{refusal}");
        }
    }

    #[test]
    fn the_demo_has_two_words_for_each_answer() {
        for (text, demo) in [("1", Demo::Fill), ("true", Demo::Fill), ("0", Demo::Leave), ("false", Demo::Leave)] {
            assert_eq!(parse(&[("MILLSTREAM_DEMO", text)]).unwrap().demo, demo);
        }
    }

    #[test]
    fn a_wrong_value_is_refused_with_variable_value_and_expectation() {
        for (variable, value, expectation) in [
            ("MILLSTREAM_ADDR", "localhost", "127.0.0.1:3000"),
            ("MILLSTREAM_ADDR", "127.0.0.1", "with a port"),
            ("MILLSTREAM_ADDR", "127.0.0.1:70000", "with a port"),
            ("MILLSTREAM_DEMO", "yes", "1, true, 0 or false"),
            ("MILLSTREAM_DEMO", "TRUE", "1, true, 0 or false"),
            ("MILLSTREAM_PUBLIC_URL", "example.org", "https://"),
        ] {
            let sentence = refusal(variable, value);
            assert!(sentence.contains(variable), "{sentence}");
            assert!(sentence.contains(&format!("`{value}`")), "{sentence}");
            assert!(sentence.contains(expectation), "{sentence}");
        }
    }

    #[test]
    fn an_empty_value_is_refused() {
        for variable in KNOWN {
            let sentence = refusal(variable, "");
            assert!(sentence.starts_with(variable), "{sentence}");
            assert!(sentence.contains("empty"), "{sentence}");
        }
    }

    #[test]
    fn a_refused_database_url_keeps_its_password() {
        for url in [
            "mysql://u:geheim@h/db",
            "mysql://h/db?password=geheim",
            "u:geheim@h",
            "host=h password=geheim",
            "geheim://x",
            "Geheim1://x",
            "postgres:/u:geheim@h",
        ] {
            let sentence = refusal("DATABASE_URL", url);
            assert!(sentence.contains("postgres://"), "{sentence}");
            assert!(!sentence.to_lowercase().contains("geheim"), "{sentence}");
        }
        assert!(refusal("DATABASE_URL", "mysql://u:p@h/db").contains("`mysql://…`"));
        assert!(refusal("DATABASE_URL", "postgres://").contains("expected"));
    }

    #[test]
    fn a_public_url_is_a_scheme_and_a_host() {
        for (url, origin, cookies) in [
            ("http://localhost:3000", "http://localhost:3000", Cookies::Plain),
            ("https://a.b-c.example", "https://a.b-c.example", Cookies::Secure),
            ("https://[::1]:3000/", "https://[::1]:3000", Cookies::Secure),
            ("http://192.0.2.1", "http://192.0.2.1", Cookies::Plain),
        ] {
            let configuration = parse(&[("MILLSTREAM_PUBLIC_URL", url)]).unwrap();
            assert_eq!(configuration.cookies(), cookies);
            assert_eq!(configuration.public_url.unwrap().origin(), origin);
        }
        for url in [
            "ftp://h",
            "https://",
            "https:///",
            "https://h/path",
            "https://h?q",
            "https://u@h",
            "https://h:",
            "https://h:0",
            "https://h:+1",
            "https://h:99999",
            "https://h h",
            "https://[::1",
            "https://[::1]x",
            "https://-h",
            "https://h..g",
        ] {
            assert!(parse(&[("MILLSTREAM_PUBLIC_URL", url)]).is_err(), "{url}");
        }
    }

    #[test]
    fn an_unknown_variable_of_ours_is_refused_by_name() {
        assert_eq!(
            refuse_unknown(["PATH", "MILLSTREAM_PORT", "MILLSTREAM_DEMO"]),
            Err(Error::Unknown { variable: "MILLSTREAM_PORT".to_owned() })
        );
        assert_eq!(
            refuse_unknown(KNOWN.into_iter().chain(FOR_TESTS).chain(["LEPTOS_SITE_ADDR", "PATH", "millstream_x"])),
            Ok(())
        );
    }

    #[test]
    fn only_our_variables_have_to_be_utf8() {
        let bytes = || OsString::from_vec(vec![0xff]);
        let read = |name: &str| readable([(OsString::from(name), bytes())]);
        assert_eq!(read("OTHER"), Ok(HashMap::new()));
        for name in ["MILLSTREAM_DATA_DIR", "DATABASE_URL"] {
            assert_eq!(read(name), Err(Error::NotUnicode { variable: name.to_owned() }));
        }
    }
}
