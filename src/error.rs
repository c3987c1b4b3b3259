//! What a request answers when it does not answer data: one type, the same on the server, on the wire and in the page.

use crate::snapshot::{Epoch, Snapshot, Stamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What went wrong, as far as a program has to know. The numbers are those of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// 400: the request cannot be read.
    Malformed,
    /// 401: nobody is signed in, or no longer.
    Unauthenticated,
    /// 403: this person may not do this.
    Forbidden,
    /// 404: there is no such thing, or none that this person may know of.
    NotFound,
    /// 408: the request did not come to its end in time. It was not carried out.
    TooSlow,
    /// 409: what the change started from is no longer true, or the id is taken.
    Conflict,
    /// 413: more than is taken at once.
    TooLarge,
    /// 422: the request can be read, but a field of it is not acceptable.
    Invalid,
    /// 429: too many of these; try later.
    TooMany,
    /// 500 and whatever else: it is not the person's fault.
    Internal,
    /// No answer: the network or the server is away. Only ever made by the client; worth trying again.
    Unreachable,
}

impl Kind {
    /// The HTTP status that stands for it.
    pub fn status(self) -> u16 {
        match self {
            Kind::Malformed => 400,
            Kind::Unauthenticated => 401,
            Kind::Forbidden => 403,
            Kind::NotFound => 404,
            Kind::TooSlow => 408,
            Kind::Conflict => 409,
            Kind::TooLarge => 413,
            Kind::Invalid => 422,
            Kind::TooMany => 429,
            Kind::Internal => 500,
            Kind::Unreachable => 503,
        }
    }

    /// Whether it says of a read that there is nothing to see, as true or stale as a value.
    pub fn is_absence(self) -> bool {
        matches!(self, Kind::NotFound | Kind::Forbidden)
    }

    /// Whether the same request may well succeed a little later.
    pub fn is_passing(self) -> bool {
        matches!(self, Kind::TooSlow | Kind::TooMany | Kind::Internal | Kind::Unreachable)
    }

    /// Whether it is the last word on a mutation: it was not carried out, and will not be under this id.
    pub fn is_final(self) -> bool {
        !self.is_passing() && self != Kind::Unauthenticated
    }
}

/// An error that a person can be shown: on the wire `{"error": {kind, message, fields}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[serde(from = "Envelope", into = "Envelope")]
pub struct ApiError {
    pub kind: Kind,
    /// One sentence for the person, with what to do where there is something to do.
    pub message: String,
    /// What is wrong with which field of the request.
    pub fields: BTreeMap<String, String>,
    /// Of a conflict: the row as it is now.
    pub current: Option<serde_json::Value>,
    /// Of a read that found nothing to see: when that was so. Absence is a value too, and goes stale as one.
    pub stamp: Option<Stamp>,
}

/// Not flattened: serde would keep the whole of it in memory and read it again from there, with a second reader of all
/// that can be in it.
#[derive(Serialize, Deserialize)]
struct Envelope {
    error: Body,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<Snapshot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<Epoch>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Body {
    kind: Kind,
    message: String,
    #[serde(default)]
    fields: BTreeMap<String, String>,
}

impl From<Body> for ApiError {
    fn from(Body { kind, message, fields }: Body) -> Self {
        Self { kind, message, fields, current: None, stamp: None }
    }
}

impl From<Envelope> for ApiError {
    fn from(Envelope { error, current, snapshot, epoch }: Envelope) -> Self {
        let stamp = snapshot.zip(epoch).map(|(snapshot, epoch)| Stamp { snapshot, epoch });
        Self { current, stamp, ..error.into() }
    }
}

impl From<ApiError> for Envelope {
    fn from(ApiError { kind, message, fields, current, stamp }: ApiError) -> Self {
        let (snapshot, epoch) = stamp.map(|stamp| (stamp.snapshot, stamp.epoch)).unzip();
        Self { error: Body { kind, message, fields }, current, snapshot, epoch }
    }
}

impl ApiError {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), fields: BTreeMap::new(), current: None, stamp: None }
    }

    /// A field of the request that is not acceptable, and why; the message names it too.
    pub fn field(name: &str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self {
            fields: BTreeMap::from([(name.to_owned(), why.clone())]),
            ..Self::new(Kind::Invalid, format!("{name}: {why}"))
        }
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(Kind::NotFound, format!("This {what} does not exist, or you may not see it."))
    }

    pub fn forbidden(what: &str) -> Self {
        Self::new(Kind::Forbidden, format!("You may not {what} here."))
    }

    pub fn unauthenticated() -> Self {
        Self::new(Kind::Unauthenticated, "Sign in first.")
    }

    pub fn internal() -> Self {
        Self::new(Kind::Internal, "Something went wrong on our side. Nothing was changed; try again.")
    }
}

#[cfg(feature = "hooks")]
mod over_server_functions {
    use super::{ApiError, Kind};
    use leptos::server_fn::codec::JsonEncoding;
    use leptos::server_fn::error::{FromServerFnError, ServerFnErrorErr};

    impl FromServerFnError for ApiError {
        type Encoder = JsonEncoding;

        fn from_server_fn_error(error: ServerFnErrorErr) -> Self {
            match error {
                ServerFnErrorErr::Request(_) => {
                    ApiError::new(Kind::Unreachable, "The server cannot be reached at the moment.")
                }
                ServerFnErrorErr::Args(why) | ServerFnErrorErr::MissingArg(why) => refused_arguments(&why),
                // On the server it is the request that cannot be read (the JSON codec says so of missing arguments
                // too), in the browser the answer: a proxy's page, or half of one of ours.
                ServerFnErrorErr::Deserialization(why) if cfg!(feature = "sql") => refused_arguments(&why),
                ServerFnErrorErr::Deserialization(_) => {
                    ApiError::new(Kind::Unreachable, "The server's answer could not be read.")
                }
                _ => ApiError::internal(),
            }
        }
    }

    /// The field is named between backticks: "missing field `title` at line 1 column 20", "field `id`: what is wrong".
    fn refused_arguments(why: &str) -> ApiError {
        let why = why.split(" at line ").next().unwrap_or(why);
        let mut error = ApiError::new(Kind::Malformed, format!("The request cannot be read: {why}."));
        let mut quoted = why.splitn(3, '`');
        if let (Some(before), Some(name), Some(after)) = (quoted.next(), quoted.next(), quoted.next())
            && before.contains("field")
        {
            let told = after.strip_prefix(": ").unwrap_or(before.trim());
            error.fields.insert(name.to_owned(), told.to_owned());
        }
        error
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_missing_argument_is_named() {
            let error = refused_arguments("missing field `title` at line 1 column 20");
            assert_eq!(error.kind, Kind::Malformed);
            assert_eq!(error.message, "The request cannot be read: missing field `title`.");
            assert_eq!(error.fields["title"], "missing field");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stands_on_the_wire_as_promised() {
        let error = ApiError::field("title", "is empty");
        let json = serde_json::to_value(&error).expect("plain data");
        assert_eq!(
            json,
            serde_json::json!({"error": {"kind": "invalid", "message": "title: is empty", "fields": {"title": "is empty"}}})
        );
        assert_eq!(serde_json::from_value::<ApiError>(json).expect("what was written"), error);
    }

    #[test]
    fn carries_the_stamp_of_what_was_not_found() {
        let json = r#"{"error":{"kind":"not_found","message":"gone"},"snapshot":"1:2:","epoch":"00000000-0000-0000-0000-000000000001"}"#;
        let error: ApiError = serde_json::from_str(json).expect(json);
        assert_eq!(error.stamp.expect("a stamp").snapshot.to_string(), "1:2:");
    }
}
