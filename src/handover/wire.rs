//! The socket pair between predecessor and successor: lines, and descriptors with the first of them. Blocking;
//! the predecessor, which has other things to do meanwhile, reads lines by itself.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

use super::PREDECESSOR;
use super::message::Message;

/// Most descriptors in one message: `SCM_MAX_FD` of Linux. A configuration has 64 listeners and two admin doors, and life
/// lines are few.
const MAX_DESCRIPTORS: usize = 253;

/// Longest line: what was learned during a drain is the longest, at about 80 bytes a credential.
pub const MAX_LINE: usize = 16 * 1024 * 1024;

/// One end, with what has been read of the next line.
#[derive(Debug)]
pub struct Wire {
    stream: UnixStream,
    read: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// Says one line, with descriptors.
///
/// # Errors
/// The other end is gone.
pub fn say(mut stream: &UnixStream, message: &Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let line = message.to_line();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("more sockets than one message carries"));
    }
    let sent = rustix::net::sendmsg(stream, &[IoSlice::new(&line)], &mut control, SendFlags::NOSIGNAL)?;
    stream.write_all(&line[sent..])
}

impl Wire {
    /// Over a connected socket.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, read: Vec::new(), descriptors: Vec::new() }
    }

    /// The wire to the process that started this one as its successor; `None` for any other start.
    ///
    /// # Errors
    /// There is a predecessor, and standard input cannot be used.
    pub fn to_predecessor() -> io::Result<Option<Self>> {
        let parent = std::os::unix::process::parent_id().to_string();
        if std::env::var(PREDECESSOR).ok() != Some(parent) {
            return Ok(None);
        }
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        // Whatever else standard input may be, it is no socket pair.
        stream.peer_addr()?;
        stream.set_nonblocking(false)?;
        Ok(Some(Self::new(stream)))
    }

    /// Says one line.
    ///
    /// # Errors
    /// The other end is gone.
    pub fn say(&self, message: &Message) -> io::Result<()> {
        say(&self.stream, message, &[])
    }

    /// The next line, and the descriptors that came with it. `None`: the other end is gone.
    ///
    /// # Errors
    /// Nothing came within `within`, where one is given, or what came is no line.
    pub fn hear(&mut self, within: Option<Duration>) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        let end = within.map(|within| Instant::now() + within);
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let rest = self.read.split_off(end + 1);
                let line = std::mem::replace(&mut self.read, rest);
                return Ok(Some((Message::parse(&line)?, std::mem::take(&mut self.descriptors))));
            }
            if self.read.len() > MAX_LINE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end"));
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(left)?;
            match self.receive() {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 16 * 1024];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received =
            rustix::net::recvmsg(&self.stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        self.read.extend_from_slice(&bytes[..received.bytes]);
        Ok(received.bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::handover::message::{Kind, Offered, VERSION};

    fn offer(count: usize) -> Message {
        let socket = |number: usize| Offered {
            kind: Kind::Listener,
            name: format!("listener-{number}"),
            configured: "127.0.0.1:0".into(),
        };
        Message::Offer { version: VERSION, sockets: (0..count).map(socket).collect() }
    }

    #[test]
    fn a_socket_listens_on_at_the_other_end() {
        let (near, far) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        say(&near, &offer(66), &[listener.as_fd(); 66]).unwrap();
        say(&near, &Message::Serving, &[]).unwrap();
        drop((near, listener));
        let mut wire = Wire::new(far);
        let (message, mut descriptors) = wire.hear(None).unwrap().unwrap();
        assert_eq!(message, offer(66));
        assert_eq!(descriptors.len(), 66);
        let listener = TcpListener::from(descriptors.pop().unwrap());
        let connected = TcpStream::connect(address).unwrap();
        assert_eq!(listener.accept().unwrap().1, connected.local_addr().unwrap());
        let (message, descriptors) = wire.hear(Some(Duration::from_secs(5))).unwrap().unwrap();
        assert_eq!((message, descriptors.len()), (Message::Serving, 0));
        assert!(wire.hear(Some(Duration::from_secs(5))).unwrap().is_none(), "the other end is gone");
    }

    #[test]
    fn silence_and_noise_are_errors() {
        let (near, far) = UnixStream::pair().unwrap();
        let mut wire = Wire::new(far);
        let silence = wire.hear(Some(Duration::from_millis(5))).unwrap_err();
        assert_eq!(silence.kind(), io::ErrorKind::TimedOut);
        (&near).write_all(b"hello\n").unwrap();
        assert_eq!(wire.hear(None).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_long_line_arrives_whole() {
        let (near, far) = UnixStream::pair().unwrap();
        let lessons = Message::Lessons { export: "x".repeat(3_000_000) };
        let said = lessons.clone();
        let speaker = std::thread::spawn(move || say(&near, &said, &[]).unwrap());
        let heard = Wire::new(far).hear(Some(Duration::from_secs(20))).unwrap().unwrap().0;
        speaker.join().unwrap();
        assert!(heard == lessons);
    }
}
