//! One WebSocket: reads the client's frames. What the hub has for it is written by the hub itself ([`super::writing`]), or by this
//! task where the kernel did not take it at once. Who may open one is decided before.
//!
//! Ten thousand of them are idle most of the time: then there is no buffer, no timer and no decoder, only a task that waits for the
//! socket to have something to read.

use super::Hub;
use super::outlet::{self, Outlet, STUCK, Standing};
use super::routing::{Close, ConnectionId};
use crate::error::{ApiError, Kind};
use crate::key::PersonId;
use crate::wire::{ClientFrame, ServerFrame};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::io::{self, Read, Write};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tungstenite::protocol::frame::coding::{Control, OpCode};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};
use uuid::Uuid;

impl Close {
    /// The WebSocket's close code.
    pub fn code(self) -> u16 {
        match self {
            Close::GoingAway => 1001,
            Close::NewEpoch => 4001,
            Close::SessionEnded => 4401,
        }
    }
}

const TOO_LARGE: u16 = 1009;
const LARGEST_MESSAGE: usize = 256 * 1024;
/// While something is read.
const READ_BUFFER: usize = 4096;
/// For the client's own goodbye, once it was told ours.
const GOODBYE: Duration = Duration::from_secs(1);
const FRAMES_A_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(49);
const FRAMES_AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(499);

/// Serves a connection whose handshake is done, until either side ends it. `read_ahead` are bytes that came behind the
/// handshake. The stream is the socket itself: what encrypts it stands before this server.
pub async fn serve(hub: Arc<Hub>, stream: TcpStream, read_ahead: Vec<u8>, person: PersonId, session: Uuid) {
    let outlet = Arc::new(Outlet::new(stream));
    if send(&outlet, &ServerFrame::Hello { person }).is_err() {
        return;
    }
    let id = hub.attach(person, session, outlet.clone());
    // One that ended on the way here, behind the feed's back, is noticed now.
    let checked = tokio::spawn({
        let hub = hub.clone();
        async move { hub.check_session(session).await }
    });
    let mut socket = Socket { hub, id, person, outlet, reader: Reader::new(read_ahead), limiter: limiter() };
    if let Err(End(why)) = socket.run().await {
        tracing::debug!(why, "a connection has ended");
    }
    socket.hub.detach(id);
    checked.abort();
}

fn limiter() -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_second(FRAMES_A_SECOND).allow_burst(FRAMES_AT_ONCE))
}

struct Socket {
    hub: Arc<Hub>,
    id: ConnectionId,
    person: PersonId,
    outlet: Arc<Outlet>,
    reader: Reader,
    limiter: DefaultDirectRateLimiter,
}

/// Why there is nothing more to read.
struct End(&'static str);

impl Socket {
    async fn run(&mut self) -> Result<(), End> {
        loop {
            match self.outlet.standing() {
                Standing::Closed => {
                    drop(tokio::time::timeout(GOODBYE, self.goodbye()).await);
                    return Ok(());
                }
                // Who takes nothing is not listened to either.
                Standing::Blocked(since) => tokio::select! {
                    drained = self.outlet.drain() => {
                        drained.map_err(|_| End("gone while it was written to"))?;
                        self.hub.unblock(self.id);
                    }
                    () = tokio::time::sleep_until(since + STUCK) => {
                        if self.outlet.standing() == Standing::Blocked(since) {
                            tracing::info!("a client took nothing for {} s and was let go", STUCK.as_secs());
                            return Err(End("stuck"));
                        }
                    }
                },
                Standing::Open => match self.reader.next(&self.outlet) {
                    Ok(Some(message)) => self.take(message).await?,
                    Ok(None) => tokio::select! {
                        readable = self.outlet.stream().readable() => readable.map_err(|_| End("gone"))?,
                        () = self.outlet.news.notified() => {}
                    },
                    Err(Error::Capacity(_)) => {
                        self.reader.is_spoilt = true;
                        let why = format!("A message has at most {} KiB.", LARGEST_MESSAGE / 1024);
                        self.reply(&ServerFrame::Error(ApiError::new(Kind::TooLarge, why)))?;
                        self.outlet.close(TOO_LARGE).map_err(|_| End("gone"))?;
                    }
                    Err(Error::Utf8(_)) => return Err(End("text that is none")),
                    Err(_) => return Err(End("closed, or no WebSocket any more")),
                },
            }
        }
    }

    /// Waits for the client's goodbye: whoever closes first while something is yet unread cuts off what was written last.
    async fn goodbye(&mut self) {
        while let Ok(read) = self.reader.next(&self.outlet) {
            if read.is_none() && self.outlet.stream().readable().await.is_err() {
                return;
            }
        }
    }

    async fn take(&mut self, message: Message) -> Result<(), End> {
        if let Err(not_until) = self.limiter.check() {
            let why = format!("More than {FRAMES_A_SECOND} frames a second: what comes beyond is read later.");
            self.reply(&ServerFrame::Error(ApiError::new(Kind::TooMany, why)))?;
            tokio::time::sleep(not_until.wait_time_from(DefaultClock::default().now())).await;
        }
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => {
                return self.reply(&ServerFrame::Error(ApiError::new(Kind::Malformed, "Frames are text.")));
            }
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => return Ok(()),
        };
        match serde_json::from_str(&text) {
            Ok(ClientFrame::Watch { keys }) => {
                drop(text);
                let mut watching = Box::pin(self.hub.watch(self.id, self.person, keys));
                loop {
                    tokio::select! {
                        () = &mut watching => return Ok(()),
                        () = self.outlet.news.notified() => {
                            if self.outlet.standing() == Standing::Closed {
                                return Ok(());
                            }
                        }
                    }
                }
            }
            Ok(ClientFrame::Unwatch { numbers }) => {
                self.hub.unwatch(self.id, &numbers);
                Ok(())
            }
            Ok(ClientFrame::Presence(whereabouts)) => {
                self.hub.presence(self.id, whereabouts).map_or(Ok(()), |refused| self.reply(&refused))
            }
            Ok(ClientFrame::Ping { at }) => self.reply(&ServerFrame::Pong { at }),
            Err(why) => {
                let why = format!("This frame cannot be read: {why}.");
                self.reply(&ServerFrame::Error(ApiError::new(Kind::Malformed, why)))
            }
        }
    }

    fn reply(&self, frame: &ServerFrame) -> Result<(), End> {
        self.hub.counters.told(frame);
        send(&self.outlet, frame)
    }
}

fn send(outlet: &Outlet, frame: &ServerFrame) -> Result<(), End> {
    let text = serde_json::to_vec(frame).map_err(|_| End("a frame could not be written as JSON"))?;
    outlet.send(&outlet::text(&text)).map_err(|_| End("gone"))?;
    Ok(())
}

/// Decodes what comes. Between two messages it holds nothing.
struct Reader {
    decoder: Option<Box<WebSocketContext>>,
    /// Bytes that came, without those of the messages that they made: no more than what the decoder holds, and what
    /// messages were longer than they had to be.
    unaccounted: usize,
    /// There was a message that is not taken: nobody knows where the next one begins.
    is_spoilt: bool,
}

impl Reader {
    fn new(read_ahead: Vec<u8>) -> Self {
        let unaccounted = read_ahead.len();
        let decoder = (unaccounted > 0)
            .then(|| Box::new(WebSocketContext::from_partially_read(read_ahead, Role::Server, Some(configuration()))));
        Self { decoder, unaccounted, is_spoilt: false }
    }

    /// The next message; none where it has not come yet. Pings and goodbyes are answered on the way.
    fn next(&mut self, outlet: &Outlet) -> Result<Option<Message>, Error> {
        if self.is_spoilt {
            return pass_over(outlet);
        }
        let new = || Box::new(WebSocketContext::new(Role::Server, Some(configuration())));
        let mut stream = Stream { outlet, read: 0 };
        let next = self.decoder.get_or_insert_with(new).read(&mut stream);
        self.unaccounted += stream.read;
        match next {
            Ok(message) => {
                self.unaccounted = self.unaccounted.saturating_sub(shortest(&message));
                Ok(Some(message))
            }
            Err(Error::Io(why)) if why.kind() == io::ErrorKind::WouldBlock => {
                if self.unaccounted == 0 {
                    self.decoder = None;
                }
                Ok(None)
            }
            Err(why) => Err(why),
        }
    }
}

/// Reads what nobody wants.
fn pass_over(outlet: &Outlet) -> Result<Option<Message>, Error> {
    let mut unwanted = [0; READ_BUFFER];
    loop {
        match outlet.stream().try_read(&mut unwanted) {
            Ok(0) => return Err(Error::ConnectionClosed),
            Ok(_) => {}
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(why) => return Err(why.into()),
        }
    }
}

fn configuration() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(LARGEST_MESSAGE))
        .max_frame_size(Some(LARGEST_MESSAGE))
}

/// The bytes that a client needs at least to say this: a head, its mask, and the message.
fn shortest(message: &Message) -> usize {
    let length = message.len();
    let head = match length {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => 10,
    };
    head + 4 + length
}

/// The socket, as the decoder sees it. What it writes goes the way of all frames.
struct Stream<'o> {
    outlet: &'o Outlet,
    read: usize,
}

impl Read for Stream<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.outlet.stream().try_read(into)?;
        self.read += read;
        Ok(read)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_goodbye = bytes.first().is_some_and(|head| head & 0x0f == u8::from(OpCode::Control(Control::Close)));
        if is_goodbye {
            self.outlet.send_last(bytes)?
        } else {
            self.outlet.send(bytes)?
        };
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A client's message in so many fragments, masked.
    fn sent(text: &str, fragments: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let pieces: Vec<_> = text.as_bytes().chunks(text.len().div_ceil(fragments).max(1)).collect();
        for (place, piece) in pieces.iter().enumerate() {
            let opcode = u8::from(place == 0) | if place + 1 == pieces.len() { 0x80 } else { 0 };
            bytes.push(opcode);
            match piece.len() {
                short @ 0..=125 => bytes.push(0x80 | short as u8),
                length => bytes.extend([0x80 | 126, (length >> 8) as u8, length as u8]),
            }
            let mask = [7, 11, 13, 17];
            bytes.extend(mask);
            bytes.extend(piece.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
        bytes
    }

    /// Reads until so many messages have come.
    async fn read(reader: &mut Reader, outlet: &Outlet, count: usize) -> Vec<String> {
        let mut messages = Vec::new();
        while messages.len() < count {
            match reader.next(outlet).expect("it stands") {
                Some(message) => messages.push(message.into_text().expect("text").to_string()),
                None => outlet.stream().readable().await.expect("it stands"),
            }
        }
        messages
    }

    // Found by a browser: its session ended while it closed the connection itself, and it was told goodbye twice.
    #[tokio::test]
    async fn goodbye_is_said_once() {
        for is_theirs_first in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let mut client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
            let (stream, _) = listener.accept().await.expect("it came");
            let (outlet, mut reader) = (Outlet::new(stream), Reader::new(Vec::new()));
            if !is_theirs_first {
                outlet.close(4401).expect("it stands");
            }
            client.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).await.expect("it stands");
            loop {
                match reader.next(&outlet) {
                    Ok(Some(_)) => {}
                    Ok(None) => outlet.stream().readable().await.expect("it stands"),
                    Err(_) => break,
                }
            }
            outlet.close(4401).expect("passed over");
            drop(outlet);
            let mut told = Vec::new();
            client.read_to_end(&mut told).await.expect("the end");
            let code: [u8; 2] = if is_theirs_first { [0x03, 0xe8] } else { [0x11, 0x31] };
            assert_eq!(told, [[0x88, 0x02], code].concat());
        }
    }

    #[tokio::test]
    async fn between_two_messages_nothing_is_held_and_within_one_nothing_is_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("it came");
        let outlet = Outlet::new(stream);
        let ahead = sent("came with the handshake", 1);
        let mut reader = Reader::new(ahead[..9].to_vec());
        client.write_all(&ahead[9..]).await.expect("it stands");
        assert_eq!(read(&mut reader, &outlet, 1).await, ["came with the handshake"]);
        assert!(reader.next(&outlet).expect("it stands").is_none());
        assert!(reader.decoder.is_none(), "it waits for nothing");

        let long = "x".repeat(10_000);
        let both = [sent(&long, 1), sent("short", 1)].concat();
        for cut in [1, 5, 7_000, 10_009, both.len() - 1] {
            client.write_all(&both[..cut]).await.expect("it stands");
            // Whatever of it has come by now.
            let mut first = Vec::new();
            outlet.stream().readable().await.expect("it stands");
            while let Some(message) = reader.next(&outlet).expect("it stands") {
                first.push(message.into_text().expect("text").to_string());
            }
            client.write_all(&both[cut..]).await.expect("it stands");
            let rest = read(&mut reader, &outlet, 2 - first.len()).await;
            assert_eq!([first, rest].concat(), [long.as_str(), "short"], "cut at {cut}");
            assert!(reader.next(&outlet).expect("it stands").is_none());
            assert!(reader.decoder.is_none(), "cut at {cut}");
        }

        // Said in more bytes than it needs: the decoder stays, and so does what it holds.
        let pieces = sent("in three pieces", 3);
        client.write_all(&pieces[..pieces.len() - 2]).await.expect("it stands");
        outlet.stream().readable().await.expect("it stands");
        assert!(reader.next(&outlet).expect("it stands").is_none());
        client.write_all(&[&pieces[pieces.len() - 2..], &sent("after", 1)].concat()).await.expect("it stands");
        assert_eq!(read(&mut reader, &outlet, 2).await, ["in three pieces", "after"]);
    }
}
