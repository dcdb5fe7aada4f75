//! A frame: what one process counted in one window, as plain values. It is what the spool keeps and what every store of the
//! books is written from, each time under the same name (writer and number), so that nothing counts twice.

use serde::{Deserialize, Serialize};

use crate::telemetry::labels::CLASSES;

use super::accounts::Accounts;
use super::met::BrownoutUse;
use super::minute::{Ends, LostCall};
use super::packed::{put, put_bytes, put_signed, take, take_bytes, take_signed};
use super::rows::Rows;

/// Counts up when an older edition could not read a frame any more. It is the first byte of one.
const VERSION: u8 = 2;

/// What a frame of the first version begins with, which is JSON that was packed by zstd: the first byte of its magic number.
const PACKED_JSON: u8 = 0x28;

/// Level of compression: the fastest one, for it runs beside requests.
const COMPRESSION: i32 = 1;

/// Longest that a frame is when it is unpacked. A full window has 64 k rows of some 300 bytes of JSON and as many accounts;
/// what claims more is no frame of ours.
const MAX_UNPACKED: usize = 256 * 1024 * 1024;

/// One window of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Frame {
    /// Names the run of a process; see [`new_writer`](super::books::new_writer).
    pub writer: String,
    /// Counts up by one with every window of a writer.
    pub number: i64,
    /// Unix seconds.
    pub started_at: i64,
    /// Unix seconds: where the next window begins.
    pub ended_at: i64,
    /// Legacy requests.
    #[serde(default, skip_serializing)]
    pub uses: Rows,
    /// What the account table says of the accounts among them.
    #[serde(default, skip_serializing)]
    pub accounts: Accounts,
    /// Requests that a learned credential placed: day, fingerprint (empty where it is not told), how many.
    pub learned: Vec<(i64, String, u64)>,
    /// Requests on cell hosts: day, account, how many; in this order.
    #[serde(default, skip_serializing)]
    pub on_cell_hosts: Vec<(i64, u64, u64)>,
    /// What is missing or not told apart.
    pub gaps: Vec<Gap>,
    /// How each minute went, on all hosts.
    pub minutes: Vec<Minute>,
    /// To whom something went wrong in it.
    pub harmed: Vec<Harm>,
    /// Calls that may have to be made again.
    pub lost: Vec<LostCall>,
    /// Names the replica that the run is of; empty where an edition before wrote it.
    #[serde(default)]
    pub replica: String,
    /// The process ends with this window, and has counted all of it.
    #[serde(default)]
    pub last: bool,
    /// Whom brownouts have met. Frames of editions before have none.
    #[serde(default)]
    pub brownouts: Vec<BrownoutUse>,
    /// What credentials were called before, while keys rotate.
    #[serde(default)]
    pub renamed: Vec<Renamed>,
    /// The most frequent programs that `clients.yaml` does not know.
    #[serde(default)]
    pub unknown_clients: Vec<UnknownClient>,
}

/// A program that `clients.yaml` does not know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct UnknownClient {
    /// What it calls itself; `-` where that is no name.
    pub product: String,
    pub requests: u64,
    /// How many of them may be somebody else's.
    pub too_many: u64,
}

/// Two names of one credential.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Renamed {
    /// Whose.
    pub account: u64,
    /// As in an integration, under the newest key.
    pub credential: String,
    /// Under the key before.
    pub before: String,
}

/// How requests of one cell and endpoint class ended in one minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Minute {
    /// Since the Unix epoch.
    pub minute: i64,
    /// On legacy hosts, or on accounts' own addresses.
    pub legacy: bool,
    /// `none` where cellgate answered itself without having looked for one.
    pub cell: String,
    /// Endpoint class.
    pub class: String,
    pub ends: Ends,
}

/// To whom something went wrong; `ends` count no requests that went well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Harm {
    pub of: Minute,
    /// 0 where nothing named an account of the table.
    pub account: u64,
    pub credential: String,
}

impl Minute {
    /// What it is by.
    pub fn key(&self) -> (i64, bool, &str, &str) {
        (self.minute, self.legacy, &self.cell, &self.class)
    }
}

/// Legacy requests of one integration on one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Use {
    /// Days since the Unix epoch.
    pub day: i64,
    /// Whose, and by what.
    pub integration: Integration,
    /// Path template of one of them, or `other`.
    pub template: String,
    /// By status class, 1xx to 5xx.
    pub statuses: [u64; CLASSES.len()],
    /// How many of them could have changed something.
    pub writes: u64,
    /// How many of them cellgate has answered itself.
    pub refused: u64,
    /// By hour of the day; only hours in which somebody came.
    pub hours: Vec<(u8, u64)>,
    /// Unix seconds.
    pub first_seen: i64,
    /// Unix seconds.
    pub last_seen: i64,
}

/// What a human must change: account x client family x surface x endpoint class x credential x network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Integration {
    /// `account`, `unattributed` or `unmapped`.
    pub subject: String,
    /// 0 where the subject is no account.
    pub account: u64,
    /// Client family.
    pub client: String,
    pub surface: String,
    /// Endpoint class.
    pub class: String,
    /// `k1:9f3a1c20be41`, the beginning of a keyed fingerprint under the key `k1`; or `none`, `session`, `unknown`, `refused`.
    pub credential: String,
    /// `192.0.2.0/24`, `2001:db8:7::/48`, or `none`.
    pub network: String,
}

/// What the account table said of an account when it was last seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    pub id: u64,
    pub prefix: Option<String>,
    pub cell: String,
}

/// Something that the books do not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gap {
    /// `detail` (counted, but not told apart), `lost_calls` (more than are listed), `spool`, `damaged`, `removed`.
    pub reason: String,
    /// Unix seconds; `None` for all that a file had.
    pub started_at: Option<i64>,
    /// Unix seconds.
    pub ended_at: i64,
    /// How many requests, where that is known.
    pub requests: Option<u64>,
    /// For people: the name of the damaged file.
    pub note: Option<String>,
}

/// Why bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("unpacking: {0}")]
    Packed(#[from] std::io::Error),
    #[error("reading: {0}")]
    Text(#[from] serde_json::Error),
    #[error("its columns are damaged")]
    Columns,
    #[error("there is nothing")]
    Empty,
    #[error("a frame of version {0}, and this cellgate knows {VERSION}")]
    Version(u8),
}

impl Frame {
    /// An empty one.
    pub fn new(writer: &str, number: i64, started_at: i64, ended_at: i64) -> Self {
        let writer = writer.to_owned();
        Self { writer, number, started_at, ended_at, ..Self::default() }
    }

    /// Legacy requests in it.
    pub const fn requests(&self) -> u64 {
        self.uses.requests()
    }

    /// Leaves out what names an account.
    pub fn forget(&mut self, account: u64) {
        self.uses.forget(account);
        self.accounts.forget(account);
        self.on_cell_hosts.retain(|(_, of, _)| *of != account);
        self.harmed.retain(|of| of.account != account);
        self.lost.retain(|of| of.account != account);
        self.brownouts.retain(|of| of.account != account);
        self.renamed.retain(|of| of.account != account);
    }

    /// As bytes: what there is much of packed by itself, the rest as JSON.
    ///
    /// # Errors
    /// Never for a frame; the type is that of the libraries.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let mut bytes = Vec::new();
        put_bytes(&mut bytes, &serde_json::to_vec(self)?);
        self.uses.pack(&mut bytes);
        self.accounts.pack(&mut bytes);
        pack_days(&self.on_cell_hosts, &mut bytes);
        let mut packed = vec![VERSION];
        packed.extend(zstd::bulk::compress(&bytes, COMPRESSION)?);
        Ok(packed)
    }

    /// Of bytes that [`encode`](Self::encode) made, or that of an edition before.
    ///
    /// # Errors
    /// It did not, or it was one of a later edition.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        match bytes.split_first() {
            Some((&PACKED_JSON, _)) => {
                Ok(serde_json::from_slice(&zstd::bulk::decompress(bytes, MAX_UNPACKED)?)?)
            }
            Some((&VERSION, packed)) => {
                let bytes = zstd::bulk::decompress(packed, MAX_UNPACKED)?;
                let mut bytes = bytes.as_slice();
                let rest = take_bytes(&mut bytes).ok_or(FrameError::Columns)?;
                let mut frame: Self = serde_json::from_slice(rest)?;
                frame.take_columns(&mut bytes).ok_or(FrameError::Columns)?;
                Ok(frame)
            }
            Some((version, _)) => Err(FrameError::Version(*version)),
            None => Err(FrameError::Empty),
        }
    }

    fn take_columns(&mut self, bytes: &mut &[u8]) -> Option<()> {
        self.uses = Rows::unpack(bytes)?;
        self.accounts = Accounts::unpack(bytes)?;
        self.on_cell_hosts = unpack_days(bytes)?;
        Some(())
    }
}

/// Day, account and how many, in the order of days and accounts.
fn pack_days(days: &[(i64, u64, u64)], out: &mut Vec<u8>) {
    put(out, days.len() as u64);
    let mut before = (0, 0);
    for (day, account, requests) in days {
        put_signed(out, day.wrapping_sub(before.0));
        put_signed(out, account.wrapping_sub(before.1).cast_signed());
        put(out, *requests);
        before = (*day, *account);
    }
}

fn unpack_days(bytes: &mut &[u8]) -> Option<Vec<(i64, u64, u64)>> {
    let (mut day, mut account) = (0i64, 0u64);
    let many = take(bytes)?;
    let line = |_| {
        day = day.wrapping_add(take_signed(bytes)?);
        account = account.wrapping_add(take_signed(bytes)?.cast_unsigned());
        Some((day, account, take(bytes)?))
    };
    (0..many).map(line).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    /// 2026-11-20T10:00:00Z.
    pub const NOON: i64 = 1_795_168_800;

    /// Requests of an account by a client in the hour of [`NOON`], all of them answered 200.
    pub fn uses(account: u64, client: &str, requests: u64) -> Use {
        Use {
            day: NOON.div_euclid(86_400),
            integration: Integration {
                subject: "account".into(),
                account,
                client: client.into(),
                surface: "app".into(),
                class: "none".into(),
                credential: "none".into(),
                network: "192.0.2.0/24".into(),
            },
            template: "other".into(),
            statuses: [0, requests, 0, 0, 0],
            writes: 0,
            refused: 0,
            hours: vec![(10, requests)],
            first_seen: NOON,
            last_seen: NOON + 1,
        }
    }

    /// A window of ten seconds from [`NOON`] on, `number - 1` windows later.
    pub fn frame(writer: &str, number: i64, uses: Vec<Use>) -> Frame {
        let started_at = NOON + (number - 1) * 10;
        Frame { uses: uses.into(), ..Frame::new(writer, number, started_at, started_at + 10) }
    }

    #[test]
    fn a_frame_is_the_same_after_packing_and_half_of_one_is_none() {
        let mut frame = frame("a", 7, vec![uses(1, "curl", 3), uses(2, "airflow", 4)]);
        frame.accounts = vec![Account { id: 1, prefix: Some("ab123".into()), cell: "us1".into() }].into();
        frame.learned = vec![(20_777, "07".repeat(16), 4)];
        frame.on_cell_hosts = vec![(20_777, 5, 6)];
        let (credential, before) = ("k2:111111111111".into(), "k1:222222222222".into());
        frame.renamed = vec![Renamed { account: 1, credential, before }];
        let packed = frame.encode().unwrap();
        assert_eq!(Frame::decode(&packed).unwrap(), frame);
        assert_eq!(frame.requests(), 7);
        assert!(Frame::decode(&packed[..packed.len() / 2]).is_err());
        assert!(Frame::decode(b"").is_err());
        let later = Frame::decode(&[&[VERSION + 1], &packed[1..]].concat()).unwrap_err();
        assert!(matches!(later, FrameError::Version(3)), "{later}");
    }

    #[test]
    fn a_frame_of_the_first_version_is_read() {
        let text = serde_json::json!({
            "version": 1, "writer": "a", "number": 7, "started_at": NOON + 60, "ended_at": NOON + 70,
            "uses": [uses(2, "curl", 3), Use { template: "/x".into(), ..uses(1, "airflow", 4) }],
            "accounts": [{ "id": 1, "prefix": "ab123", "cell": "us1" }, { "id": 2, "prefix": null, "cell": "mt" }],
            "learned": [], "on_cell_hosts": [[20_777, 5, 6]], "gaps": [], "minutes": [], "harmed": [], "lost": [],
        });
        let old = zstd::bulk::compress(text.to_string().as_bytes(), COMPRESSION).unwrap();
        let read = Frame::decode(&old).unwrap();
        let in_order = [Use { template: "/x".into(), ..uses(1, "airflow", 4) }, uses(2, "curl", 3)];
        assert_eq!(read.uses.uses().collect::<Vec<_>>(), in_order);
        let accounts: Vec<_> = read.accounts.iter().collect();
        assert_eq!(accounts, [(1, ("us1", Some("ab123"))), (2, ("mt", None))]);
        let mut same = frame("a", 7, in_order.to_vec());
        (same.accounts, same.on_cell_hosts) = (read.accounts.clone(), vec![(20_777, 5, 6)]);
        assert_eq!(read, same);
    }

    #[test]
    fn what_is_no_frame_is_refused_whatever_it_is() {
        let whole = frame("a", 7, (1..40).map(|id| uses(id, "curl", id)).collect()).encode().unwrap();
        let mut bytes = zstd::bulk::decompress(&whole[1..], MAX_UNPACKED).unwrap();
        let mut rng = fastrand::Rng::with_seed(5);
        let mut refused = 0;
        for _ in 0..20_000 {
            let at = rng.usize(..bytes.len());
            let was = std::mem::replace(&mut bytes[at], rng.u8(..));
            let packed = zstd::bulk::compress(&bytes, COMPRESSION).unwrap();
            // What is read is whole: nobody who looks at it can fail.
            match Frame::decode(&[&[VERSION], &*packed].concat()) {
                Ok(read) => drop((read.uses.uses().count(), read.accounts.iter().count())),
                Err(_) => refused += 1,
            }
            bytes[at] = was;
        }
        assert!(refused > 1_000, "{refused}");
    }

    #[test]
    fn a_full_window_is_packed_small() {
        let frame = frame("a", 1, (0..10_000).map(|id| uses(id, "airflow", id)).collect());
        let packed = frame.encode().unwrap().len();
        assert!(packed < 10_000 * 8, "{packed} bytes");
        assert_eq!(Frame::decode(&frame.encode().unwrap()).unwrap(), frame);
    }
}
