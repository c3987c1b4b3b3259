//! Live tables and mutations by their names: how a value is fetched, written down and read back where its type is not
//! at hand. One tab fetches for all, and what was written down by one page is read by the next.

use crate::error::ApiError;
use crate::found::Found;
use crate::key::{QueryKey, Shape};
use crate::live::{ListQuery, Live, RecordQuery, Value};
use crate::overlay::{AnyMutation, AnyValue, Mutation, MutationId};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use uuid::Uuid;

type Fetched = Pin<Box<dyn Future<Output = Result<Found<AnyValue>, ApiError>> + Send>>;
type Fetch = Arc<dyn Fn(QueryKey, Vec<MutationId>) -> Fetched + Send + Sync>;

/// How the values of a query are fetched, written and read.
#[derive(Clone)]
pub struct Codec {
    table: &'static str,
    kind: Kind,
    fetch: Fetch,
    encode: fn(&AnyValue) -> Option<String>,
    decode: fn(&str) -> Option<AnyValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    List,
    Record,
    Unwatched,
}

impl Kind {
    fn of(shape: &Shape) -> Self {
        match shape {
            Shape::List(_) => Self::List,
            Shape::Record(_) => Self::Record,
            Shape::Unwatched(_) => Self::Unwatched,
        }
    }
}

impl Codec {
    pub fn list<L: ListQuery>() -> Self {
        Self {
            table: L::TABLE,
            kind: Kind::List,
            fetch: Arc::new(|key, pending| {
                Box::pin(async move {
                    let parameters = parameters_of::<L::Parameters>(&key)?;
                    L::fetch_list(key.organization, parameters, pending).await.map(|read| erased(read.into()))
                })
            }),
            encode: encode::<L::List>,
            decode: decode::<L::List>,
        }
    }

    pub fn record<L: RecordQuery>() -> Self {
        Self {
            table: L::TABLE,
            kind: Kind::Record,
            fetch: Arc::new(|key, pending| {
                Box::pin(async move {
                    let id = match key.shape {
                        Shape::Record(id) => id,
                        Shape::List(_) | Shape::Unwatched(_) => Uuid::nil(),
                    };
                    L::fetch_record(key.organization, L::Id::from(id), pending).await.map(|read| erased(read.into()))
                })
            }),
            encode: encode::<L::Record>,
            decode: decode::<L::Record>,
        }
    }

    /// Any other question: `fetch` asks it.
    pub fn unwatched<P, V, Answer>(name: &'static str, fetch: impl Fn(P) -> Answer + Send + Sync + 'static) -> Self
    where
        P: Value,
        V: Value,
        Answer: Future<Output = Result<V, ApiError>> + Send + 'static,
    {
        Self {
            table: name,
            kind: Kind::Unwatched,
            fetch: Arc::new(move |key, _| match parameters_of::<P>(&key) {
                Ok(parameters) => {
                    let answer = fetch(parameters);
                    Box::pin(async move { Ok(erased(Found::unstamped(answer.await?))) })
                }
                Err(error) => Box::pin(async move { Err(error) }),
            }),
            encode: encode::<V>,
            decode: decode::<V>,
        }
    }

    /// Asks the server for the key's value; `pending` are the mutations whose outcome is not known yet.
    pub fn fetch(&self, key: QueryKey, pending: Vec<MutationId>) -> Fetched {
        (self.fetch)(key, pending)
    }

    /// The value as JSON; none for a value of another type.
    pub fn encode(&self, value: &AnyValue) -> Option<String> {
        (self.encode)(value)
    }

    /// The value that this JSON is; none where its type has changed since it was written.
    pub fn decode(&self, json: &str) -> Option<AnyValue> {
        (self.decode)(json)
    }
}

/// The parameters of a list, or of a query that is no live table.
fn parameters_of<P: Value>(key: &QueryKey) -> Result<P, ApiError> {
    let text = match &key.shape {
        Shape::List(text) | Shape::Unwatched(text) => text.as_str(),
        Shape::Record(_) => "null",
    };
    // The text was written by the same type: this fails only if it does not read what it writes.
    serde_json::from_str(text).map_err(|why| ApiError::field("list", why.to_string()))
}

pub(crate) fn erased<V: Value>(found: Found<V>) -> Found<AnyValue> {
    found.map(|data| Arc::new(data) as AnyValue)
}

fn encode<V: Value>(value: &AnyValue) -> Option<String> {
    serde_json::to_string(value.downcast_ref::<V>()?).ok()
}

fn decode<V: Value>(json: &str) -> Option<AnyValue> {
    serde_json::from_str::<V>(json).ok().map(|value| Arc::new(value) as AnyValue)
}

/// All that an application can read and write.
#[derive(Clone, Default)]
pub struct Catalogue {
    queries: HashMap<(&'static str, Kind), Codec>,
    mutations: HashMap<&'static str, fn(&str) -> Option<AnyMutation>>,
}

impl Catalogue {
    /// The table can be listed.
    pub fn list<L: ListQuery + Live>(mut self) -> Self {
        self.learn(Codec::list::<L>());
        self
    }

    /// Records of the table can be read.
    pub fn record<L: RecordQuery + Live>(mut self) -> Self {
        self.learn(Codec::record::<L>());
        self
    }

    /// The mutation can be written down and read back.
    pub fn mutation<M: Mutation>(mut self) -> Self {
        self.mutations.insert(M::NAME, |body| {
            serde_json::from_str::<M>(body).ok().map(|mutation| Arc::new(mutation) as AnyMutation)
        });
        self
    }

    pub(crate) fn learn(&mut self, codec: Codec) {
        self.queries.insert((codec.table, codec.kind), codec);
    }

    /// How the key's values are fetched, written and read.
    pub fn codec(&self, key: &QueryKey) -> Option<Codec> {
        self.queries.get(&(key.table, Kind::of(&key.shape))).cloned()
    }

    /// The key that this text is, if its table is known here.
    pub fn key(&self, text: &str) -> Option<QueryKey> {
        QueryKey::parse(text, |name| self.queries.keys().map(|(table, _)| *table).find(|table| *table == name))
    }

    /// The mutation of this name that this JSON is; none where neither name nor form are known any more.
    pub fn read_mutation(&self, name: &str, body: &str) -> Option<AnyMutation> {
        self.mutations.get(name).and_then(|read| read(body))
    }
}
