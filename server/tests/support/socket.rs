//! A live connection, frame by frame, as a client in another language would speak it.

use super::BOUND;
use super::world::Person;
use futures::{SinkExt, StreamExt};
use millstream::ApiError;
use millstream::key::{OrganizationId, WireKey};
use millstream::presence::Roster;
use millstream::snapshot::{Stamp, Xid};
use millstream::wire::{ClientFrame, Rights, ServerFrame, Tick, Watch};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use uuid::Uuid;

pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What some frames said together.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// By watch number, the transactions; none where the cursor is to be covered.
    pub stale: BTreeMap<u32, BTreeSet<Xid>>,
    pub watching: BTreeSet<u32>,
    pub refused: BTreeMap<u32, ApiError>,
    pub rights: Vec<Rights>,
    pub errors: Vec<ApiError>,
    /// Who is there, if this began with the first frame of it.
    pub rosters: BTreeMap<OrganizationId, Roster>,
    pub last_tick: Option<Tick>,
}

impl Heard {
    fn add(&mut self, frame: ServerFrame) {
        match frame {
            ServerFrame::Tick(tick) => {
                for stale in &tick.stale {
                    self.stale.entry(stale.number).or_default().extend(stale.xids.iter().copied());
                }
                self.watching.extend(&tick.watching);
                self.refused.extend(tick.refused.iter().map(|refused| (refused.number, refused.error.clone())));
                self.last_tick = Some(tick);
            }
            ServerFrame::Rights { organizations } => self.rights.extend(organizations),
            ServerFrame::Error(error) => self.errors.push(error),
            ServerFrame::Presence(told) => self.rosters.entry(told.organization).or_default().hear(&told),
            ServerFrame::Hello { .. } | ServerFrame::Pong { .. } => {}
        }
    }

    pub fn stale_numbers(&self) -> Vec<u32> {
        self.stale.keys().copied().collect()
    }
}

/// The request of a browser's page, to be spoilt.
pub fn request(addr: &str, cookie: Option<&str>) -> Request<()> {
    let mut request = format!("ws://{addr}/live").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", HeaderValue::from_static("millstream.v1"));
    headers.insert("origin", HeaderValue::from_str(&format!("http://{addr}")).unwrap());
    if let Some(cookie) = cookie {
        headers.insert("cookie", HeaderValue::from_str(cookie).unwrap());
    }
    request
}

/// The status and body with which an upgrade was refused.
pub async fn refusal(request: Request<()>) -> (u16, Value) {
    match connect_async(request).await {
        Err(Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            (response.status().as_u16(), serde_json::from_slice(body).unwrap_or(Value::Null))
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the connection was opened"),
    }
}

pub fn record(number: u32, organization: Uuid, table: &str, id: Uuid, stamp: &Stamp) -> Watch {
    let key =
        WireKey { organization: OrganizationId(organization), table: table.to_owned(), list: None, record: Some(id) };
    Watch { number, key, snapshot: stamp.snapshot.clone(), epoch: stamp.epoch }
}

pub fn list(number: u32, organization: Uuid, table: &str, parameters: Value, stamp: &Stamp) -> Watch {
    let key = WireKey {
        organization: OrganizationId(organization),
        table: table.to_owned(),
        list: Some(parameters),
        record: None,
    };
    Watch { number, key, snapshot: stamp.snapshot.clone(), epoch: stamp.epoch }
}

impl Socket {
    pub async fn open(addr: &str, person: &Person) -> Self {
        let (stream, response) = connect_async(request(addr, Some(&person.cookie()))).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "millstream.v1");
        let mut socket = Self { stream };
        let hello = socket.frame().await;
        assert!(matches!(hello, ServerFrame::Hello { person: told } if told.0 == person.id), "{hello:?}");
        socket
    }

    /// The same where the server may be unable to.
    pub async fn try_open(addr: &str, person: &Person) -> Option<Self> {
        let (stream, _) = connect_async(request(addr, Some(&person.cookie()))).await.ok()?;
        Some(Self { stream })
    }

    /// Whether it went out: the connection may have ended.
    pub async fn try_send(&mut self, frame: &ClientFrame) -> bool {
        let text = serde_json::to_string(frame).unwrap();
        self.stream.send(Message::text(text)).await.is_ok()
    }

    pub async fn send(&mut self, frame: &ClientFrame) {
        self.send_text(serde_json::to_string(frame).unwrap()).await;
    }

    pub async fn send_text(&mut self, text: String) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    pub async fn send_bytes(&mut self, bytes: Vec<u8>) {
        self.stream.send(Message::binary(bytes)).await.unwrap();
    }

    /// The next frame.
    pub async fn frame(&mut self) -> ServerFrame {
        match self.next().await {
            Ok(frame) => frame,
            Err(code) => panic!("the server closed the connection with {code:?}"),
        }
    }

    /// The code with which the server closes; what it says before is passed over.
    pub async fn closed(&mut self) -> Option<u16> {
        loop {
            if let Err(code) = self.next().await {
                return code;
            }
        }
    }

    /// The next frame, or the code with which the connection was closed.
    pub async fn next(&mut self) -> Result<ServerFrame, Option<u16>> {
        loop {
            let message = tokio::time::timeout(BOUND, self.stream.next()).await.expect("a frame in time");
            match message {
                Some(Ok(Message::Text(text))) => {
                    return Ok(serde_json::from_str(&text).unwrap_or_else(|why| panic!("{text}: {why}")));
                }
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// Asks to watch, and listens until each number is answered.
    pub async fn watch(&mut self, keys: Vec<Watch>) -> Heard {
        let mut open: BTreeSet<u32> = keys.iter().map(|watch| watch.number).collect();
        self.send(&ClientFrame::Watch { keys }).await;
        let mut heard = Heard::default();
        while !open.is_empty() {
            heard.add(self.frame().await);
            open.retain(|number| !heard.watching.contains(number) && !heard.refused.contains_key(number));
        }
        heard
    }

    /// The same, where all must be watched and current.
    pub async fn watch_current(&mut self, keys: Vec<Watch>) {
        let heard = self.watch(keys).await;
        assert!(heard.refused.is_empty() && heard.stale.is_empty(), "{heard:?}");
    }

    /// Listens until a cursor sees the transaction, which this connection's own person made.
    pub async fn until_seen(&mut self, xid: Xid) -> Heard {
        self.listen(|heard| heard.last_tick.as_ref().is_some_and(|tick| tick.cursor.sees(xid))).await
    }

    /// Listens until the number is stale.
    pub async fn until_stale(&mut self, number: u32) -> Heard {
        self.listen(|heard| heard.stale.contains_key(&number)).await
    }

    pub async fn listen(&mut self, enough: impl Fn(&Heard) -> bool) -> Heard {
        let mut heard = Heard::default();
        let listening = async {
            while !enough(&heard) {
                heard.add(self.frame().await);
            }
        };
        // Heartbeats come for ever, so a bound for each frame is none for what is waited for.
        let is_heard = tokio::time::timeout(BOUND, listening).await.is_ok();
        assert!(is_heard, "not within {BOUND:?}; heard {heard:?}");
        heard
    }

    /// Whether the other side answers.
    pub async fn assert_goes_on(&mut self) {
        let at = u64::from(fastrand::u32(..));
        self.send(&ClientFrame::Ping { at }).await;
        loop {
            if let ServerFrame::Pong { at: told } = self.frame().await {
                assert_eq!(told, at);
                return;
            }
        }
    }
}
