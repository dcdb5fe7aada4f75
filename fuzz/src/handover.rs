//! Bytes as what a predecessor or a successor says.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cellgate::handover::message::Message;
use cellgate::handover::wire::Wire;

/// Far more than a line takes; a line that is there is heard at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest complaint, which goes into a log: 80 characters of the line and 80 of the reason, all escaped.
const LONGEST: usize = 1_400;

/// Lines are heard as they stand, however the bytes come, until one is none; and each would be said so that it is
/// heard the same. Returns whether there was one.
pub fn handover(data: &[u8]) -> bool {
    let mut lines = data.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let (near, far) = UnixStream::pair().expect("a pair of sockets");
    let mut wire = Wire::new(far);
    let step = data.first().map_or(1, |first| 1 + usize::from(first % 64));
    let (pieces, rest) = data.split_at(data.len().min(step * 2));
    let mut heard = 0;
    for piece in pieces.chunks(step).chain([rest]) {
        (&near).write_all(piece).expect("it fits into the socket's buffer");
        // A line is taken as soon as its end is there.
        for _ in piece.iter().filter(|byte| **byte == b'\n') {
            let line = lines.next().expect("as many as ends of lines");
            match (Message::parse(line), wire.hear(Some(PATIENCE))) {
                (Ok(message), Ok(Some((same, descriptors)))) => {
                    assert_eq!((&message, descriptors.len()), (&same, 0));
                    said_again(&message);
                    heard += 1;
                }
                (Err(error), Err(same)) => {
                    let said = error.to_string();
                    assert_eq!(said, same.to_string());
                    assert!(said.len() < LONGEST && !said.chars().any(char::is_control), "{said:?}");
                    return heard > 0;
                }
                (line, heard) => panic!("{line:?} was heard as {heard:?}"),
            }
        }
    }
    drop(near);
    assert!(wire.hear(Some(PATIENCE)).expect("the end is no error").is_none());
    heard > 0
}

fn said_again(message: &Message) {
    let line = message.to_line();
    assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1), "one line");
    assert_eq!(Message::parse(&line).as_ref().ok(), Some(message));
}
