//! What predecessor and successor say to each other, one JSON object a line. The two may be of different
//! versions: fields may be added with a default, and [`VERSION`] counts what cannot be understood by others.

use serde::{Deserialize, Serialize};

/// The version of the talk. From the second on, a successor is given the life lines of those that drain.
pub const VERSION: u32 = 2;

/// Most that a complaint repeats of a line, and most of its reason: enough to know who is speaking there.
const SHOWN: usize = 80;

/// One line. In the order in which they are said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Message {
    /// The predecessor's first line; as many descriptors come with it as it names sockets, in their order.
    Offer {
        /// [`VERSION`] of the predecessor.
        version: u32,
        /// Its sockets.
        sockets: Vec<Offered>,
    },
    /// The successor has read its configuration and holds all it needs; it serves nothing yet.
    Prepared {
        /// Names of the sockets it took.
        took: Vec<String>,
    },
    /// The predecessor has written its state and writes no more: serve.
    Commit {
        /// Accounts whose writes it holds, and which move of each that is: a successor must not know less.
        held: Vec<(u64, u32)>,
    },
    /// The successor serves. From here on there is no way back.
    Serving,
    /// The predecessor has told the service manager whose the service is now, and drains.
    Announced,
    /// What the predecessor has learned while it drained, as `learned.json` has it.
    Lessons {
        /// The export.
        export: String,
    },
    /// The successor cannot serve.
    Failed {
        /// Why, for people.
        reason: String,
    },
}

/// One listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// What it is for.
    pub kind: Kind,
    /// Name of the listener; of the admin doors their kind.
    pub name: String,
    /// The address or path that it was configured with; its real address is in the socket.
    pub configured: String,
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Requests.
    Listener,
    /// The loopback admin door.
    AdminLoopback,
    /// The admin door for other machines. Only where it is configured, which earlier versions do not read.
    AdminTls,
    /// The admin door with everything.
    AdminSocket,
    /// No socket, but the lock of the state folder.
    StateLock,
    /// The life line of a process that drains ([`Predecessor`](super::lineage::Predecessor)); its name is the process id.
    LifeLine,
}

impl Message {
    /// The line, with its end.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("strings and numbers always serialise");
        line.push(b'\n');
        line
    }

    /// Reads a line.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(line: &[u8]) -> std::io::Result<Self> {
        serde_json::from_slice(line).map_err(|error| {
            // What was said may be of any length and hold anything, also where the error repeats it.
            let said = String::from_utf8_lossy(&line[..line.len().min(SHOWN)]).into_owned();
            let why: String = error.to_string().chars().take(SHOWN).flat_map(char::escape_debug).collect();
            std::io::Error::new(std::io::ErrorKind::InvalidData, format!("{said:?} is not understood: {why}"))
        })
    }

    /// Its name in reports.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Offer { .. } => "offer",
            Self::Prepared { .. } => "prepared",
            Self::Commit { .. } => "commit",
            Self::Serving => "serving",
            Self::Announced => "announced",
            Self::Lessons { .. } => "lessons",
            Self::Failed { .. } => "failed",
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_said() {
        let socket = |kind, name: &str| Offered { kind, name: name.into(), configured: "127.0.0.1:0".into() };
        let sockets = vec![socket(Kind::Listener, "https"), socket(Kind::AdminLoopback, "admin")];
        let said = [
            Message::Offer { version: VERSION, sockets },
            Message::Prepared { took: vec!["https".into()] },
            Message::Commit { held: vec![(123, 1)] },
            Message::Serving,
            Message::Announced,
            Message::Lessons { export: "{\"a\":\n1}".into() },
            Message::Failed { reason: "two\nlines".into() },
        ];
        for message in said {
            let line = message.to_line();
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "{}", message.name());
            assert_eq!(Message::parse(&line).unwrap(), message);
        }
        // A later version may say more.
        assert_eq!(Message::parse(br#"{"say":"serving","more":1}"#).unwrap(), Message::Serving);
        let error = Message::parse(b"GET / HTTP/1.1").unwrap_err().to_string();
        assert!(error.contains("GET /"), "{error}");
        let long = format!(r#"{{"say":"{}"}}"#, "\u{7f}".repeat(1_000));
        let error = Message::parse(long.as_bytes()).unwrap_err().to_string();
        assert!(error.len() < 1_000 && !error.chars().any(char::is_control), "{error}");
    }
}
