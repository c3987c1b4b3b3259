//! Many live connections on a few threads. Opening is asynchronous work of the caller; from then on as many threads as there are
//! cores read them, each its share by one `epoll`, and note what the frames say, and when.

use crate::Outcome;
use crate::clock::{self, Nanos};
use crate::crowd::Stamp;
use crate::frame::{self, Said};
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use mio::{Events, Interest, Poll, Token, Waker};
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Handshakes under way at a time.
const OPENING: usize = 64;
/// The same where all come back at once.
const AT_ONCE: usize = 1_000;
/// The client's own, in milliseconds (`src/connection.rs`).
const FIRST_CEILING: u64 = 500;
const HIGHEST_CEILING: u64 = 15_000;
/// Of so many frames one is kept, to be read again.
const SAMPLED: u64 = 101;
const MOST_SAMPLES: usize = 5_000;
/// Where there are so many, each thread looks at its share once in this time: to be woken for every frame costs as much as to read it,
/// and most of that is charged to whoever writes. What is measured is the later for it.
const MANY: usize = 5_000;
const GATHER: Duration = Duration::from_millis(1);
const WAKE: Token = Token(usize::MAX);

/// One key that one socket was told is stale by one transaction.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    pub(crate) socket: u32,
    pub(crate) number: u32,
    /// 0 where none was named.
    pub(crate) xid: u64,
    pub(crate) at: Nanos,
}

/// What is known of one socket.
#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) is_open: bool,
    pub(crate) watching: usize,
    pub(crate) refused: usize,
    /// When the last answer to a watch came.
    pub(crate) answered: Nanos,
    /// When the last frame came that says something of the organization.
    pub(crate) last_word: Nanos,
    /// When a `rights` frame came.
    pub(crate) rights: Option<Nanos>,
    /// The last that was named, in milliseconds.
    pub(crate) spread: u64,
    cursor: String,
    epoch: String,
}

impl State {
    /// The last cursor.
    pub(crate) fn cursor(&self) -> Option<Stamp> {
        (!self.cursor.is_empty()).then(|| Stamp { snapshot: self.cursor.clone(), epoch: self.epoch.clone() })
    }
}

#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) sockets: Vec<State>,
    pub(crate) told: Vec<Told>,
    /// What was told without a transaction: socket, watch number, cursor.
    pub(crate) told_by_cursor: Vec<(u32, u32, String)>,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// Sockets that the server or the network ended.
    pub(crate) ended: u64,
    samples: Vec<String>,
}

impl Heard {
    /// The frames that were kept, the last of them last.
    pub(crate) fn samples(&self) -> &[String] {
        &self.samples
    }
}

enum Order {
    Add { socket: usize, stream: mio::net::TcpStream, already: Vec<u8> },
    Cut(Vec<usize>),
    End,
}

/// The sockets; dropped, all are closed.
pub(crate) struct Sockets {
    address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    news: Arc<Notify>,
    /// A socket's is its number, modulo their number.
    listeners: Vec<Listening>,
}

/// A thread that reads its share of the sockets.
struct Listening {
    orders: Sender<Order>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Listening {
    fn order(&self, order: Order) -> Outcome {
        self.orders.send(order).map_err(|_| "a thread of the sockets has ended")?;
        Ok(self.waker.wake()?)
    }
}

/// Whom a socket is to be opened for and what it says first.
pub(crate) struct Opening {
    pub(crate) socket: usize,
    pub(crate) cookie: String,
    pub(crate) watch: Option<String>,
}

impl Sockets {
    pub(crate) fn new(address: SocketAddr, count: usize) -> Outcome<Self> {
        let heard = Arc::new(Mutex::new(Heard { sockets: vec![State::default(); count], ..Heard::default() }));
        let news = Arc::new(Notify::new());
        let listener = |_| {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
            let (orders, received) = channel();
            let (heard, news) = (Arc::clone(&heard), Arc::clone(&news));
            let listener = Listener { poll, orders: received, heard, news, lines: Vec::new(), come: Come::default() };
            let thread = std::thread::Builder::new().name("sockets".to_owned()).spawn(move || listener.run(count))?;
            Ok(Listening { orders, waker, thread: Some(thread) })
        };
        let listeners = (0..std::thread::available_parallelism()?.get()).map(listener).collect::<Outcome<_>>()?;
        Ok(Self { address, heard, news, listeners })
    }

    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens sockets, some at a time; each says its `watch` at once.
    pub(crate) async fn open(&self, openings: Vec<Opening>) -> Outcome {
        futures::stream::iter(openings.into_iter().map(Ok))
            .try_for_each_concurrent(OPENING, |opening| self.open_one(opening))
            .await
    }

    /// The same, passing over what is refused because the server is away: gives those.
    pub(crate) async fn try_open(&self, openings: Vec<Opening>) -> Vec<usize> {
        futures::stream::iter(openings)
            .map(async |opening| {
                let socket = opening.socket;
                self.open_one(opening).await.is_err().then_some(socket)
            })
            .buffer_unordered(OPENING)
            .filter_map(async |refused| refused)
            .collect()
            .await
    }

    async fn open_one(&self, opening: Opening) -> Outcome {
        let Opening { socket, cookie, watch } = opening;
        // From an address that the kernel chooses by both ends: to bind one first makes it look for a port that is
        // nobody's, which takes it milliseconds where thousands are taken.
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let upgrade = format!(
            "GET /live HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: bWlsbHN0cmVhbS1iZW5jaA==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: millstream.v1\r\nCookie: {cookie}\r\n\r\n",
            self.address
        );
        stream.write_all(upgrade.as_bytes()).await?;
        let mut answer = Vec::with_capacity(512);
        let end = loop {
            if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut answer).await? == 0 {
                return Err("the server ended a handshake".into());
            }
        };
        if !answer.starts_with(b"HTTP/1.1 101 ") {
            return Err(format!("a handshake was answered {}", String::from_utf8_lossy(&answer)).into());
        }
        if let Some(watch) = watch {
            stream.write_all(&text_frame(&watch)).await?;
        }
        let stream = mio::net::TcpStream::from_std(stream.into_std()?);
        self.heard().sockets[socket] = State { is_open: true, ..State::default() };
        self.of(socket).order(Order::Add { socket, stream, already: answer.split_off(end) })
    }

    /// Brings all of them back, as the product's client does: at once where a connection that stood is ended, within a
    /// random part of a growing time where none comes about. Until all keys are watched; gives the attempts.
    ///
    /// # Errors
    /// After `bound`.
    pub(crate) async fn come_back(
        &self,
        keys: usize,
        bound: Duration,
        opening: impl Fn(usize) -> Opening,
    ) -> Outcome<u64> {
        let opening = &opening;
        let mut failed = vec![0_u32; self.heard().sockets.len()];
        let mut waiting: Vec<(Instant, usize)> = Vec::new();
        let mut is_under_way = vec![false; failed.len()];
        let mut attempts = FuturesUnordered::new();
        let mut tried = 0;
        let deadline = Instant::now() + bound;
        loop {
            let now = Instant::now();
            let mut is_done = attempts.is_empty() && waiting.is_empty();
            {
                let heard = self.heard();
                for (socket, state) in heard.sockets.iter().enumerate() {
                    is_done &= state.is_open && state.watching >= keys;
                    if !state.is_open && !is_under_way[socket] {
                        is_under_way[socket] = true;
                        waiting.push((now, socket));
                    }
                }
            }
            if is_done {
                return Ok(tried);
            }
            if now > deadline {
                return Err(format!("all keys watched again: not within {bound:?}").into());
            }
            let mut later = Vec::new();
            for (due, socket) in waiting {
                if due <= now && attempts.len() < AT_ONCE {
                    tried += 1;
                    attempts.push(async move { (socket, self.open_one(opening(socket)).await.is_ok()) });
                } else {
                    later.push((due, socket));
                }
            }
            waiting = later;
            let look_again = tokio::time::sleep(Duration::from_millis(10));
            tokio::pin!(look_again);
            loop {
                tokio::select! {
                    Some((socket, is_open)) = attempts.next(), if !attempts.is_empty() => {
                        if is_open {
                            (is_under_way[socket], failed[socket]) = (false, 0);
                        } else {
                            let ceiling = (FIRST_CEILING << failed[socket].min(16)).min(HIGHEST_CEILING);
                            failed[socket] += 1;
                            waiting.push((Instant::now() + Duration::from_millis(fastrand::u64(..=ceiling)), socket));
                        }
                    }
                    () = &mut look_again => break,
                }
            }
        }
    }

    /// Closes these, as a network does that is gone: without a word.
    pub(crate) fn cut(&self, sockets: Vec<usize>) -> Outcome {
        let mut shares = vec![Vec::new(); self.listeners.len()];
        for socket in sockets {
            shares[socket % self.listeners.len()].push(socket);
        }
        self.listeners.iter().zip(shares).try_for_each(|(listener, share)| listener.order(Order::Cut(share)))
    }

    fn of(&self, socket: usize) -> &Listening {
        &self.listeners[socket % self.listeners.len()]
    }

    /// Waits until what was heard is as wanted.
    ///
    /// # Errors
    /// After `bound`, with `what` was waited for.
    pub(crate) async fn until(&self, what: &str, bound: Duration, is_so: impl Fn(&Heard) -> bool) -> Outcome {
        let waiting = async {
            loop {
                let news = self.news.notified();
                if is_so(&self.heard()) {
                    return;
                }
                news.await;
            }
        };
        tokio::time::timeout(bound, waiting).await.map_err(|_| format!("{what}: not within {bound:?}").into())
    }

    /// Waits until all sockets are open and each has an answer to so many watches.
    ///
    /// # Errors
    /// If one was refused, too.
    pub(crate) async fn until_watching(&self, keys: usize, bound: Duration) -> Outcome {
        let is_done = |socket: &State| socket.is_open && socket.watching + socket.refused >= keys;
        let waited = self.until("all keys watched", bound, |heard| heard.sockets.iter().all(is_done)).await;
        waited.map_err(|why| {
            let heard = self.heard();
            let done = heard.sockets.iter().filter(|socket| is_done(socket)).count();
            let open = heard.sockets.iter().filter(|socket| socket.is_open).count();
            format!("{why}: {done} of {} sockets are, {open} are open, {} were ended", heard.sockets.len(), heard.ended)
        })?;
        let refused: usize = self.heard().sockets.iter().map(|socket| socket.refused).sum();
        if refused > 0 { Err(format!("{refused} watches were refused").into()) } else { Ok(()) }
    }

    /// Forgets what was told so far.
    pub(crate) fn clear(&self) {
        let mut heard = self.heard();
        (heard.frames, heard.bytes) = (0, 0);
        heard.told.clear();
        heard.told_by_cursor.clear();
    }

    /// Reads the sample of frames as a client does. Gives how many they were.
    pub(crate) fn check_samples(&self) -> Outcome<usize> {
        let samples = std::mem::take(&mut self.heard().samples);
        samples.iter().try_for_each(|text| frame::check(text))?;
        Ok(samples.len())
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        for listener in &mut self.listeners {
            if listener.order(Order::End).is_ok()
                && let Some(thread) = listener.thread.take()
                && thread.join().is_err()
            {
                eprintln!("a thread of the sockets panicked");
            }
        }
    }
}

/// A text frame of a client: masked, as the protocol asks, with the mask that changes nothing.
fn text_frame(text: &str) -> Vec<u8> {
    let length = text.len();
    let mut frame = vec![0x81];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => frame.push(0x80 | short),
        (_, Ok(medium)) => {
            frame.push(0x80 | 126);
            frame.extend(medium.to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

struct Line {
    stream: mio::net::TcpStream,
    /// The beginning of a frame whose end has not come yet.
    rest: Vec<u8>,
}

struct Listener {
    poll: Poll,
    orders: Receiver<Order>,
    heard: Arc<Mutex<Heard>>,
    news: Arc<Notify>,
    lines: Vec<Option<Line>>,
    come: Come,
}

/// What one look at the sockets brought, to be noted by all threads in turn: the kernel's part, which is the most of it, is done by then.
#[derive(Default)]
struct Come {
    bytes: Vec<u8>,
    frames: Vec<(usize, Range<usize>, Nanos)>,
    lost: Vec<usize>,
    cut: Vec<usize>,
}

impl Come {
    fn note(&mut self, heard: &mut Heard) {
        for (socket, range, at) in self.frames.drain(..) {
            note(socket, &self.bytes[range], at, heard);
        }
        self.bytes.clear();
        for socket in self.lost.drain(..) {
            heard.sockets[socket].is_open = false;
            heard.ended += 1;
        }
        for socket in self.cut.drain(..) {
            heard.sockets[socket].is_open = false;
        }
    }
}

impl Listener {
    fn run(mut self, count: usize) {
        self.lines.resize_with(count, || None);
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Err(why) = self.poll.poll(&mut events, None)
                && why.kind() != ErrorKind::Interrupted
            {
                eprintln!("the sockets' thread: {why}");
                return;
            }
            for event in &events {
                if event.token() == WAKE {
                    if !self.obey(&mut buffer) {
                        return;
                    }
                } else {
                    self.read(event.token().0, &mut buffer);
                }
            }
            self.come.note(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner));
            self.news.notify_waiters();
            if count >= MANY {
                std::thread::sleep(GATHER);
            }
        }
    }

    /// False at the end.
    fn obey(&mut self, buffer: &mut [u8]) -> bool {
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Add { socket, mut stream, already } => {
                    if let Err(why) = self.poll.registry().register(&mut stream, Token(socket), Interest::READABLE) {
                        eprintln!("a socket cannot be waited for: {why}");
                        return false;
                    }
                    self.lines[socket] = Some(Line { stream, rest: Vec::new() });
                    self.take(socket, &already);
                    // What came before the registration makes no event.
                    self.read(socket, buffer);
                }
                Order::Cut(sockets) => {
                    for socket in sockets {
                        self.lines[socket] = None;
                        self.come.cut.push(socket);
                    }
                }
                Order::End => return false,
            }
        }
        true
    }

    fn read(&mut self, socket: usize, buffer: &mut [u8]) {
        loop {
            let Some(line) = &mut self.lines[socket] else { return };
            match line.stream.read(buffer) {
                Ok(0) => return self.lose(socket),
                Ok(length) => {
                    self.take(socket, &buffer[..length]);
                    if length < buffer.len() {
                        return; // all that there was: more makes another event
                    }
                }
                Err(why) if why.kind() == ErrorKind::WouldBlock => return,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.lose(socket),
            }
        }
    }

    fn lose(&mut self, socket: usize) {
        self.lines[socket] = None;
        self.come.lost.push(socket);
    }

    /// Takes the frames out of what has come.
    fn take(&mut self, socket: usize, come: &[u8]) {
        let at = clock::now();
        let Some(line) = &mut self.lines[socket] else { return };
        let mut joined = std::mem::take(&mut line.rest);
        let mut bytes = if joined.is_empty() {
            come
        } else {
            joined.extend_from_slice(come);
            &joined
        };
        while let Some((head, length)) = header(bytes) {
            let Some(payload) = bytes.get(head..head + length) else { break };
            if bytes[0] & 0x0f == 1 {
                let begin = self.come.bytes.len();
                self.come.bytes.extend_from_slice(payload);
                self.come.frames.push((socket, begin..self.come.bytes.len(), at));
            }
            bytes = &bytes[head + length..];
        }
        line.rest = bytes.to_vec();
    }
}

/// How long the frame's header and its payload are, once the header is there. A server masks nothing.
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? & 0x7f {
        126 => Some((4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])))),
        127 => {
            let long = bytes.get(2..10)?.try_into().ok()?;
            Some((10, usize::try_from(u64::from_be_bytes(long)).ok()?))
        }
        short => Some((2, usize::from(short))),
    }
}

fn note(socket: usize, payload: &[u8], at: Nanos, heard: &mut Heard) {
    let Ok(text) = std::str::from_utf8(payload) else { return };
    heard.frames += 1;
    heard.bytes += payload.len() as u64;
    if heard.frames.is_multiple_of(SAMPLED) && heard.samples.len() < MOST_SAMPLES {
        heard.samples.push(text.to_owned());
    }
    let mut said = Said::default();
    frame::scan(text, &mut said);
    let state = &mut heard.sockets[socket];
    if let (Some(cursor), Some(epoch)) = (said.cursor, said.epoch) {
        state.cursor.clear();
        state.cursor.push_str(cursor);
        if state.epoch != epoch {
            epoch.clone_into(&mut state.epoch);
        }
    }
    if said.watching + said.refused > 0 {
        state.watching += said.watching;
        state.refused += said.refused;
        state.answered = at;
    }
    if said.spread > 0 {
        state.spread = said.spread;
    }
    if said.is_rights {
        state.rights = Some(at);
    }
    if said.is_rights || said.watching + said.refused + said.stale.len() > 0 {
        state.last_word = at;
    }
    for (number, xid) in said.stale {
        let socket = socket as u32;
        heard.told.push(Told { socket, number, xid, at });
        if xid == 0 {
            heard.told_by_cursor.push((socket, number, said.cursor.unwrap_or_default().to_owned()));
        }
    }
}
