//! The least that can be done for ten thousand sockets: a loop a core that writes the same bytes to each of its own,
//! blocking. Nothing is read, kept or known of anybody, so what it takes is the kernel's, and the load generator's. It
//! runs as a process of its own, `bench-server bare-loop ADDRESS`, and is told what to say as a peer is.

use crate::Outcome;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The argument that makes this program the loop.
pub(crate) const COMMAND: &str = "bare-loop";

type Sockets = Arc<Mutex<Vec<TcpStream>>>;

/// A core's loop: its sockets, and where it is told what to write.
#[derive(Clone)]
struct Loop {
    sockets: Sockets,
    frames: Sender<Arc<[u8]>>,
}

/// Listens until the process is stopped.
pub(crate) fn serve(address: &str) -> Outcome {
    let listener = TcpListener::bind(address)?;
    let loops: Vec<Loop> = (0..thread::available_parallelism()?.get()).map(|_| Loop::start()).collect();
    let mut opened = 0;
    for stream in listener.incoming() {
        let stream = stream?;
        stream.set_nodelay(true)?;
        // Who has gone before asking anything, as whoever looks whether somebody listens.
        let Ok(mut request) = Request::read(&stream) else { continue };
        if request.is_upgrade {
            let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
            (&stream).write_all(switched.as_bytes())?;
            let its = &loops[opened % loops.len()];
            its.sockets.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
            opened += 1;
        } else {
            // A publisher, whose connection goes on.
            let loops = loops.clone();
            thread::spawn(move || -> Outcome {
                loop {
                    if !request.body.is_empty() {
                        let frame = frame(&request.body)?;
                        loops.iter().try_for_each(|its| its.frames.send(frame.clone()))?;
                    }
                    (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
                    request = Request::read(&stream)?;
                }
            });
        }
    }
    Ok(())
}

impl Loop {
    fn start() -> Self {
        let (frames, told) = channel();
        let sockets = Sockets::default();
        let its = sockets.clone();
        thread::spawn(move || write(&its, &told));
        Self { sockets, frames }
    }
}

fn write(sockets: &Sockets, told: &Receiver<Arc<[u8]>>) {
    for frame in told {
        for mut socket in sockets.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // Who is gone is noticed by the bench, which counts what each socket has.
            let _ = socket.write_all(&frame);
        }
    }
}

/// A text frame, not masked.
fn frame(text: &[u8]) -> Outcome<Arc<[u8]>> {
    let length = u16::try_from(text.len())?;
    let head = match u8::try_from(length) {
        Ok(length) if length < 126 => vec![0x81, length],
        _ => [&[0x81, 126], length.to_be_bytes().as_slice()].concat(),
    };
    Ok([head.as_slice(), text].concat().into())
}

struct Request {
    is_upgrade: bool,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &TcpStream) -> Outcome<Self> {
        let mut reader = BufReader::new(stream);
        let (mut is_upgrade, mut length) = (false, 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err("the connection ended".into());
            }
            match line.trim_end().to_ascii_lowercase().split_once(": ") {
                Some(("upgrade", _)) => is_upgrade = true,
                Some(("content-length", text)) => length = text.parse()?,
                Some(_) => {}
                None if line.trim_end().is_empty() => break,
                None => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Self { is_upgrade, body })
    }
}
