//! The writing half of a socket: a frame goes to the kernel at once, from whichever task has it. What the kernel does not take
//! waits here, and until it has gone the hub gives no more: what is to be told gathers as a set of keys.

use socket2::SockRef;
use std::io::{self, ErrorKind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// A reader that takes nothing for so long is let go; it comes back without loss.
pub(super) const STUCK: Duration = Duration::from_secs(20);

pub(super) struct Outlet {
    stream: TcpStream,
    unsent: Mutex<Unsent>,
    /// For the socket's own task: something here has changed that it has to look at.
    pub(super) news: Notify,
}

#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    /// When the kernel last took something of them, or refused the first.
    since: Option<Instant>,
    is_closing: bool,
}

/// How an outlet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Open,
    /// Something waits for the kernel, since then.
    Blocked(Instant),
    /// The last frame has gone.
    Closed,
}

impl Outlet {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, unsent: Mutex::default(), news: Notify::new() }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn standing(&self) -> Standing {
        let unsent = self.unsent();
        match unsent.since {
            Some(since) => Standing::Blocked(since),
            None if unsent.is_closing => Standing::Closed,
            None => Standing::Open,
        }
    }

    /// Writes whole frames: as much as the kernel takes now, the rest when it takes more. After the last one nothing is written.
    ///
    /// Gives whether something waits now.
    ///
    /// # Errors
    /// Where the connection is no more.
    pub(super) fn send(&self, frames: &[u8]) -> io::Result<bool> {
        self.write(frames, false)
    }

    /// The same, of the last frame that there is: a goodbye is said once, be it ours or the answer to the client's.
    pub(super) fn send_last(&self, frame: &[u8]) -> io::Result<bool> {
        self.write(frame, true)
    }

    pub(super) fn close(&self, code: u16) -> io::Result<bool> {
        self.send_last(&frame(OpCode::Control(Control::Close), &code.to_be_bytes()))
    }

    fn write(&self, frames: &[u8], are_last: bool) -> io::Result<bool> {
        let mut unsent = self.unsent();
        if unsent.is_closing {
            return Ok(false);
        }
        // Past tokio, which would look up whether it has heard that the socket takes no more: that is memory of each socket's own,
        // cold by the time of its turn, and the kernel knows it anyway.
        let written = match unsent.since {
            Some(_) => 0,
            None => as_much_as_goes(frames, |bytes| SockRef::from(&self.stream).send(bytes))?,
        };
        if written < frames.len() {
            unsent.bytes.extend_from_slice(&frames[written..]);
            unsent.since.get_or_insert_with(Instant::now);
            self.news.notify_one();
        }
        if are_last {
            unsent.is_closing = true;
            self.news.notify_one();
        }
        Ok(unsent.since.is_some())
    }

    /// Nobody takes anything any more.
    pub(super) fn gone(&self) {
        *self.unsent() = Unsent { is_closing: true, ..Unsent::default() };
        self.news.notify_one();
    }

    /// Writes what waits, until nothing does.
    ///
    /// # Errors
    /// Where the connection is no more.
    pub(super) async fn drain(&self) -> io::Result<()> {
        loop {
            {
                let mut unsent = self.unsent();
                // By tokio, which learns here what it is to wait for.
                let written = as_much_as_goes(&unsent.bytes, |bytes| self.stream.try_write(bytes))?;
                if written == unsent.bytes.len() {
                    unsent.bytes = Vec::new();
                    unsent.since = None;
                    return Ok(());
                }
                if written > 0 {
                    unsent.bytes.drain(..written);
                    unsent.since = Some(Instant::now());
                }
            }
            self.stream.writable().await?;
        }
    }

    fn unsent(&self) -> MutexGuard<'_, Unsent> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives how much was written before the socket took no more.
fn as_much_as_goes(bytes: &[u8], mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match write(&bytes[written..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(why) if why.kind() == ErrorKind::WouldBlock => break,
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
    Ok(written)
}

/// A text message, as it goes over the wire.
pub(super) fn text(text: &[u8]) -> Vec<u8> {
    frame(OpCode::Data(Data::Text), text)
}

fn frame(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { is_final: true, opcode, ..FrameHeader::default() };
    let mut bytes = Vec::with_capacity(header.len(payload.len() as u64) + payload.len());
    // Into memory: nothing fails.
    if let Err(error) = header.format(payload.len() as u64, &mut bytes) {
        tracing::error!(%error, "a frame's head could not be written");
    }
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    async fn pair() -> (Outlet, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let other = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("it came");
        stream.writable().await.expect("nothing was written yet");
        (Outlet::new(stream), other)
    }

    #[tokio::test]
    async fn what_the_kernel_does_not_take_waits_and_comes_in_order() {
        let (outlet, mut other) = pair().await;
        let mut count = 0_u32;
        let mut sent = Vec::new();
        while outlet.standing() == Standing::Open {
            let bytes = text(&count.to_string().repeat(2_000).into_bytes());
            outlet.send(&bytes).expect("it stands");
            sent.extend(bytes);
            count += 1;
        }
        let after = text(b"and this after it");
        outlet.send(&after).expect("it stands");
        sent.extend(after);
        outlet.close(4001).expect("it stands");
        outlet.send(&text(b"never")).expect("passed over");
        sent.extend([0x88, 2, 0x0f, 0xa1]);
        assert!(matches!(outlet.standing(), Standing::Blocked(_)));
        let mut received = vec![0; sent.len()];
        let (drained, read) = tokio::join!(outlet.drain(), other.read_exact(&mut received));
        drained.expect("it stands");
        read.expect("all of it came");
        assert!(received == sent, "{} bytes differ", sent.len());
        assert_eq!(outlet.standing(), Standing::Closed);
        drop(outlet);
        assert_eq!(other.read(&mut [0; 8]).await.expect("the end"), 0, "nothing comes after the last frame");
    }

    #[tokio::test]
    async fn a_connection_that_is_no_more_is_an_error() {
        let (outlet, other) = pair().await;
        drop(other);
        let bytes = text(&[b'x'; 10_000]);
        while outlet.send(&bytes).is_ok() {
            outlet.stream().readable().await.expect("it is told");
        }
    }

    #[test]
    fn a_message_has_the_head_that_its_length_asks_for() {
        for (length, head) in
            [(125, vec![0x81, 125]), (126, vec![0x81, 126, 0, 126]), (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0])]
        {
            let bytes = text(&vec![b'x'; length]);
            assert_eq!(bytes[..head.len()], head);
            assert_eq!(bytes.len(), head.len() + length);
        }
    }
}
