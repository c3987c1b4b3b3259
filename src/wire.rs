//! What passes between client and server: the envelopes of answers and the frames of the live connection.
//! `docs/protocol.md` is the contract; the tests at the foot hold its examples.

use crate::error::{ApiError, Body};
use crate::key::{OrganizationId, PersonId, WireKey};
use crate::overlay::MutationId;
use crate::snapshot::{Epoch, Snapshot, Stamp, Xid};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// The WebSocket subprotocol; its name carries the version.
pub const PROTOCOL: &str = "millstream.v1";

/// The answer of a read: data, when it was read, and which of the pending mutations that the read named are in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Read<T> {
    pub data: T,
    pub snapshot: Snapshot,
    pub epoch: Epoch,
    #[serde(default)]
    pub contains: Vec<MutationId>,
}

impl<T> Read<T> {
    pub fn stamp(&self) -> Stamp {
        Stamp { snapshot: self.snapshot.clone(), epoch: self.epoch }
    }

    /// The same answer with other data, where there are any.
    pub fn and_then<U, E>(self, other: impl FnOnce(T) -> Result<U, E>) -> Result<Read<U>, E> {
        let Self { data, snapshot, epoch, contains } = self;
        Ok(Read { data: other(data)?, snapshot, epoch, contains })
    }

    /// The same answer with other data.
    pub fn map<U>(self, other: impl FnOnce(T) -> U) -> Read<U> {
        let Self { data, snapshot, epoch, contains } = self;
        Read { data: other(data), snapshot, epoch, contains }
    }
}

/// The answer of a mutation: data read after its commit, so that it can be cached as it is. One that changed nothing
/// has no `xid`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Written<T> {
    pub data: T,
    pub xid: Option<Xid>,
    pub snapshot: Snapshot,
    pub epoch: Epoch,
}

impl<T> Written<T> {
    pub fn stamp(&self) -> Stamp {
        Stamp { snapshot: self.snapshot.clone(), epoch: self.epoch }
    }
}

/// Several mutations in one request; docs/api.md says how they are carried out.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    pub calls: Vec<BatchCall>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchCall {
    /// As in the address, without what all have in common: `orders/update`.
    pub function: String,
    pub arguments: Box<RawValue>,
}

/// One answer a call, in their order; shorter where one failed in passing, for then the rest were not begun.
#[derive(Debug, Serialize, Deserialize)]
pub struct BatchAnswers {
    pub answers: Vec<BatchAnswer>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct BatchAnswer {
    pub status: u16,
    pub body: Box<RawValue>,
}

/// The client's own name for a key that it watches, unique within a connection.
pub type WatchNumber = u32;

/// A frame from the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", try_from = "ClientFrameRead")]
pub enum ClientFrame {
    Watch {
        keys: Vec<Watch>,
    },
    Unwatch {
        numbers: Vec<WatchNumber>,
    },
    /// Answered at once with the same number: the client measures the way there and back.
    Ping {
        at: u64,
    },
    /// Where the person is in one of the windows that share this connection.
    Presence(Whereabouts),
}

/// A [`ClientFrame`] as it is read, for the reason that a [`FrameRead`] has: tabs read what other tabs say to the server.
#[derive(Deserialize)]
struct ClientFrameRead {
    #[serde(rename = "type")]
    kind: ClientFrameKind,
    keys: Option<Vec<Watch>>,
    numbers: Option<Vec<WatchNumber>>,
    at: Option<u64>,
    #[serde(default)]
    tab: Uuid,
    organization: Option<OrganizationId>,
    place: Option<Place>,
    #[serde(default)]
    ago: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ClientFrameKind {
    Watch,
    Unwatch,
    Ping,
    Presence,
}

impl TryFrom<ClientFrameRead> for ClientFrame {
    type Error = &'static str;

    fn try_from(read: ClientFrameRead) -> Result<Self, &'static str> {
        let ClientFrameRead { kind, keys, numbers, at, tab, organization, place, ago } = read;
        Ok(match kind {
            ClientFrameKind::Watch => Self::Watch { keys: keys.ok_or("missing field `keys`")? },
            ClientFrameKind::Unwatch => Self::Unwatch { numbers: numbers.ok_or("missing field `numbers`")? },
            ClientFrameKind::Ping => Self::Ping { at: at.ok_or("missing field `at`")? },
            ClientFrameKind::Presence => Self::Presence(Whereabouts { tab, organization, place, ago }),
        })
    }
}

/// Where the person is in one tab. It holds for [`PRESENT_FOR`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Whereabouts {
    /// The client's own name for the tab.
    #[serde(skip_serializing_if = "Uuid::is_nil")]
    pub tab: Uuid,
    /// None where the person does not look at the tab.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<OrganizationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// So many milliseconds ago the person last turned to it.
    #[serde(skip_serializing_if = "is_zero")]
    pub ago: u32,
}

/// So many milliseconds after what was said last of a tab nobody is taken to be there any more.
pub const PRESENT_FOR: u32 = 7_500;
/// So often (in milliseconds) it is said again.
pub const SAY_PRESENT_EVERY: u32 = 2_500;
/// The most bytes of a field's name.
pub const LONGEST_FIELD: usize = 64;

/// What a person has before them, as others may be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// A live table; without a record, a list of it.
    pub table: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Uuid>,
    /// Of the record, which has the focus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Something is being typed there.
    #[serde(default, rename = "typing", skip_serializing_if = "is_false")]
    pub is_typing: bool,
}

/// Who else is in an organization, and where: what changed since the last such frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Presence {
    pub organization: OrganizationId,
    /// What was told before is forgotten.
    #[serde(rename = "whole", skip_serializing_if = "is_false")]
    pub is_whole: bool,
    /// Who came or moved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub here: Vec<Here>,
    /// Who left, or is not named any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<PersonId>,
    /// How many more there are than are named.
    #[serde(skip_serializing_if = "is_zero")]
    pub others: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Here {
    pub person: PersonId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

// serde hands over references.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(what: &bool) -> bool {
    !what
}

/// A key to be watched, with the stamp of the value that the client holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    pub number: WatchNumber,
    #[serde(flatten)]
    pub key: WireKey,
    pub snapshot: Snapshot,
    pub epoch: Epoch,
}

/// What is asked by HTTP where no socket gets through; nothing that is not named is watched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Of the last answer, both; none in the first question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Snapshot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// Answered before, and watched still: asked about as of the cursor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Held>,
    /// Asked about for the first time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watch: Vec<Watch>,
    /// Where something was refused: who may see nothing there has to hear when that changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub organizations: Vec<OrganizationId>,
}

/// A key that is still watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    pub number: WatchNumber,
    #[serde(flatten)]
    pub key: WireKey,
}

/// The answer to a [`Question`]: what a socket that stood since its cursor would have said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    pub frames: Vec<ServerFrame>,
}

/// A frame from the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", try_from = "FrameRead")]
pub enum ServerFrame {
    /// The first frame: who the server takes this connection to be.
    Hello {
        person: PersonId,
    },
    /// The cursor, and what changed up to it.
    Tick(Tick),
    /// The person's rights in these organizations changed; every watch in them has ended.
    Rights {
        organizations: Vec<Rights>,
    },
    Pong {
        at: u64,
    },
    Presence(Presence),
    /// The client's frame was refused; the connection goes on.
    Error(ApiError),
}

/// A [`ServerFrame`] as it is read, whatever its type. To look at the type first, serde would keep the whole frame in
/// memory and read it again from there, with a second reader of all that can be in it.
#[derive(Deserialize)]
struct FrameRead {
    #[serde(rename = "type")]
    kind: FrameKind,
    person: Option<PersonId>,
    at: Option<u64>,
    organizations: Option<Vec<Rights>>,
    error: Option<Body>,
    cursor: Option<Snapshot>,
    epoch: Option<Epoch>,
    #[serde(default)]
    stale: Vec<Stale>,
    #[serde(default)]
    watching: Vec<WatchNumber>,
    #[serde(default)]
    refused: Vec<Refused>,
    #[serde(default)]
    mutations: Vec<Passed>,
    #[serde(default)]
    spread: u32,
    organization: Option<OrganizationId>,
    #[serde(default, rename = "whole")]
    is_whole: bool,
    #[serde(default)]
    here: Vec<Here>,
    #[serde(default)]
    left: Vec<PersonId>,
    #[serde(default)]
    others: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum FrameKind {
    Hello,
    Tick,
    Rights,
    Pong,
    Presence,
    Error,
}

impl TryFrom<FrameRead> for ServerFrame {
    type Error = &'static str;

    fn try_from(read: FrameRead) -> Result<Self, &'static str> {
        let FrameRead { stale, watching, refused, mutations, spread, is_whole, here, left, others, .. } = read;
        Ok(match read.kind {
            FrameKind::Hello => Self::Hello { person: read.person.ok_or("a hello without a person")? },
            FrameKind::Tick => {
                let (cursor, epoch) = read.cursor.zip(read.epoch).ok_or("a tick without its cursor")?;
                Self::Tick(Tick { cursor, epoch, stale, watching, refused, mutations, spread })
            }
            FrameKind::Rights => {
                Self::Rights { organizations: read.organizations.ok_or("rights without organizations")? }
            }
            FrameKind::Pong => Self::Pong { at: read.at.ok_or("a pong without its number")? },
            FrameKind::Presence => {
                let organization = read.organization.ok_or("a presence without its organization")?;
                Self::Presence(Presence { organization, is_whole, here, left, others })
            }
            FrameKind::Error => Self::Error(read.error.ok_or("an error without what it is")?.into()),
        })
    }
}

/// How far the feed has come, and which watched keys became stale on the way. A watched key that is not named **is
/// current as of the cursor**.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    pub cursor: Snapshot,
    pub epoch: Epoch,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<Stale>,
    /// From this frame on, cursors vouch for these too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watching: Vec<WatchNumber>,
    /// These are not watched, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
    /// Mutations of this connection's own person that the cursor has passed: their transaction is known before their
    /// answer is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mutations: Vec<Passed>,
    /// Milliseconds. So many watch what became stale that their reads would come all at once: whoever holds a value waits for a
    /// random part of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spread: u32,
}

impl Tick {
    /// The cursor, and nothing that happened on the way to it.
    pub fn at(cursor: Snapshot, epoch: Epoch) -> Self {
        let (stale, watching, refused, mutations) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { cursor, epoch, stale, watching, refused, mutations, spread: 0 }
    }
}

/// A mutation that has been carried out, by which transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Passed {
    pub mutation_id: MutationId,
    pub xid: Xid,
}

/// A watched key that changed: a value is current again once its stamp sees all of `xids`, or, where none is named
/// because they were too many, covers the frame's cursor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stale {
    pub number: WatchNumber,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xids: Vec<Xid>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "RefusedRead")]
pub struct Refused {
    pub number: WatchNumber,
    #[serde(flatten)]
    pub error: ApiError,
}

#[derive(Deserialize)]
struct RefusedRead {
    number: WatchNumber,
    error: Body,
}

impl From<RefusedRead> for Refused {
    fn from(RefusedRead { number, error }: RefusedRead) -> Self {
        Self { number, error: error.into() }
    }
}

/// What became of the person's rights in an organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    pub organization: OrganizationId,
    pub standing: Standing,
    /// What was read in a snapshot that sees all of these was read by the new rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
}

/// Transactions of one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    pub xids: Vec<Xid>,
    pub epoch: Epoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Still a member, with other rights or newly, who may see all that they could: what is held is stale, and may be
    /// watched again.
    Changed,
    /// Still a member, who may perhaps no longer see all that is held: nothing of it is shown until it has been read again.
    Narrowed,
    /// No longer a member: what is held is to be wiped.
    Removed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn stands_as<T: Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(frame: &T, json: &str) {
        assert_eq!(serde_json::to_string(frame).expect("plain data"), json);
        assert_eq!(&serde_json::from_str::<T>(json).expect(json), frame);
    }

    const ONE: &str = "00000000-0000-0000-0000-000000000001";

    #[test]
    fn frames_stand_on_the_wire_as_the_protocol_says() {
        stands_as(
            &ServerFrame::Tick(Tick {
                stale: vec![Stale { number: 3, xids: vec![Xid(7)] }, Stale { number: 4, xids: vec![] }],
                ..Tick::at("7:9:8".parse().expect("a snapshot"), Epoch(uuid::Uuid::from_u128(1)))
            }),
            &format!(
                r#"{{"type":"tick","cursor":"7:9:8","epoch":"{ONE}","stale":[{{"number":3,"xids":[7]}},{{"number":4}}]}}"#
            ),
        );
        stands_as(
            &ClientFrame::Watch {
                keys: vec![Watch {
                    number: 1,
                    key: WireKey {
                        organization: OrganizationId(Uuid::from_u128(1)),
                        table: "orders".to_owned(),
                        list: None,
                        record: Some(Uuid::from_u128(1)),
                    },
                    snapshot: "7:9:8".parse().expect("a snapshot"),
                    epoch: Epoch(Uuid::from_u128(1)),
                }],
            },
            &format!(
                r#"{{"type":"watch","keys":[{{"number":1,"organization":"{ONE}","table":"orders","record":"{ONE}","snapshot":"7:9:8","epoch":"{ONE}"}}]}}"#
            ),
        );
        let narrowed = Rights {
            organization: OrganizationId(Uuid::from_u128(1)),
            standing: Standing::Narrowed,
            by: Some(By { xids: vec![Xid(7)], epoch: Epoch(Uuid::from_u128(1)) }),
        };
        stands_as(
            &ServerFrame::Rights { organizations: vec![narrowed] },
            &format!(
                r#"{{"type":"rights","organizations":[{{"organization":"{ONE}","standing":"narrowed","by":{{"xids":[7],"epoch":"{ONE}"}}}}]}}"#
            ),
        );
        stands_as(&ServerFrame::Pong { at: 5 }, r#"{"type":"pong","at":5}"#);
    }

    #[test]
    fn presence_stands_on_the_wire_as_the_protocol_says() {
        const TWO: &str = "00000000-0000-0000-0000-000000000002";
        let [one, two, three] = [1, 2, 3].map(Uuid::from_u128);
        let organization = OrganizationId(one);
        let place = Place {
            table: "sales_orders".to_owned(),
            record: Some(one),
            field: Some("title".to_owned()),
            is_typing: true,
        };
        let place_json = format!(r#"{{"table":"sales_orders","record":"{ONE}","field":"title","typing":true}}"#);
        stands_as(
            &ClientFrame::Presence(Whereabouts {
                tab: one,
                organization: Some(organization),
                place: Some(place.clone()),
                ago: 1200,
            }),
            &format!(r#"{{"type":"presence","tab":"{ONE}","organization":"{ONE}","place":{place_json},"ago":1200}}"#),
        );
        stands_as(
            &ClientFrame::Presence(Whereabouts { tab: one, organization: None, place: None, ago: 0 }),
            &format!(r#"{{"type":"presence","tab":"{ONE}"}}"#),
        );
        let here = |person, place| Here { person: PersonId(person), place };
        stands_as(
            &ServerFrame::Presence(Presence {
                organization,
                is_whole: true,
                here: vec![here(one, Some(place)), here(two, None)],
                left: vec![],
                others: 3,
            }),
            &format!(
                r#"{{"type":"presence","organization":"{ONE}","whole":true,"here":[{{"person":"{ONE}","place":{place_json}}},{{"person":"{TWO}"}}],"others":3}}"#
            ),
        );
        stands_as(
            &ServerFrame::Presence(Presence {
                organization,
                is_whole: false,
                here: vec![here(three, None)],
                left: vec![PersonId(one)],
                others: 0,
            }),
            &format!(
                r#"{{"type":"presence","organization":"{ONE}","here":[{{"person":"00000000-0000-0000-0000-000000000003"}}],"left":["{ONE}"]}}"#
            ),
        );
    }

    #[test]
    fn a_question_by_http_and_its_answer_stand_as_the_protocol_says() {
        let organization = OrganizationId(Uuid::from_u128(1));
        let epoch = Epoch(Uuid::from_u128(1));
        let key = |list, record| WireKey { organization, table: "orders".to_owned(), list, record };
        let question = Question {
            cursor: Some("7:9:8".parse().expect("a snapshot")),
            epoch: Some(epoch),
            held: vec![Held { number: 1, key: key(None, Some(organization.0)) }],
            watch: vec![Watch {
                number: 2,
                key: key(Some(serde_json::json!({})), None),
                snapshot: "8:9:8".parse().expect("a snapshot"),
                epoch,
            }],
            organizations: vec![],
        };
        stands_as(
            &question,
            &format!(
                r#"{{"cursor":"7:9:8","epoch":"{ONE}","held":[{{"number":1,"organization":"{ONE}","table":"orders","record":"{ONE}"}}],"watch":[{{"number":2,"organization":"{ONE}","table":"orders","list":{{}},"snapshot":"8:9:8","epoch":"{ONE}"}}]}}"#
            ),
        );
        stands_as(&Question::default(), "{}");
        let tick = Tick {
            stale: vec![Stale { number: 1, xids: vec![Xid(8)] }],
            watching: vec![2],
            ..Tick::at("9:9:".parse().expect("a snapshot"), epoch)
        };
        stands_as(
            &Reply { frames: vec![ServerFrame::Hello { person: PersonId(organization.0) }, ServerFrame::Tick(tick)] },
            &format!(
                r#"{{"frames":[{{"type":"hello","person":"{ONE}"}},{{"type":"tick","cursor":"9:9:","epoch":"{ONE}","stale":[{{"number":1,"xids":[8]}}],"watching":[2]}}]}}"#
            ),
        );
    }

    #[test]
    fn a_refusal_names_the_number_and_the_reason() {
        let json = r#"{"type":"tick","cursor":"1:1:","epoch":"00000000-0000-0000-0000-000000000001","refused":[{"number":2,"error":{"kind":"forbidden","message":"no","fields":{}}}]}"#;
        let frame: ServerFrame = serde_json::from_str(json).expect(json);
        let ServerFrame::Tick(tick) = frame else { panic!("a tick") };
        assert_eq!((tick.refused[0].number, tick.refused[0].error.kind), (2, crate::Kind::Forbidden));
    }
}
