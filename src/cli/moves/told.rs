//! What `cellgate move advance` and `cellgate move status` have found: one value each, in words for people and as an object
//! for programs. Nothing is decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use serde_json::{Value, json};

use crate::config::advance::{Reason, Standing, Waiting};
use crate::policy::ids::AccountId;
use crate::policy::moves::MoveState;

/// Accounts, and waits, that people are told one by one; programs get all.
const SHOWN: usize = 20;

/// How a step leaves the moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Some are on their way, or some replica does not have the last flip.
    Open,
    /// All are flipped, and every replica has it.
    Settled,
    /// None is on its way, and some were taken back by somebody else.
    TakenBack,
}

/// What one look at a folder and its replicas came to.
pub(super) enum Step {
    /// The folder could not be believed as it is; this is why.
    Unread(String),
    /// Some are on their way.
    Open(Open),
    /// None is.
    Ended(Ended),
}

/// Moves on their way.
pub(super) struct Open {
    /// The configuration folder.
    pub folder: String,
    /// Its configuration hash, with what was written.
    pub hash: Box<str>,
    /// Files that were written, or would be.
    pub files: Vec<Box<str>>,
    /// Their next state, that stands in these files.
    pub published: Vec<Standing>,
    /// Whether nothing was written.
    pub is_dry: bool,
    /// Whether this goes on by itself.
    pub goes_on: bool,
    /// What the others wait for.
    pub waits: Waits,
    /// Accounts that are not flipped.
    pub left: usize,
    /// Accounts of this run.
    pub all: usize,
}

/// Where accounts are when none is on its way.
pub(super) struct Ended {
    /// The configuration folder.
    pub folder: String,
    /// Its configuration hash.
    pub hash: Box<str>,
    /// Those that are in their new cell.
    pub flipped: Vec<Standing>,
    /// Those that somebody else has taken back.
    pub taken_back: Vec<AccountId>,
    /// The replicas that do not have the last change.
    pub lagging: Waits,
}

/// How far moves are.
pub(super) struct Look {
    /// The configuration folder.
    pub folder: String,
    /// Its configuration hash.
    pub hash: Box<str>,
    /// Those on their way.
    pub moves: Vec<Standing>,
    /// What replicas say of them; `None` where none was named.
    pub asked: Option<Asked>,
}

/// What replicas say of moves.
pub(super) struct Asked {
    /// Requests that wait now, of the replicas where any does.
    pub held: Vec<(Box<str>, u64)>,
    /// Moves whose next state may be written, in that state.
    pub ready: Vec<Standing>,
    /// What the others wait for.
    pub waits: Waits,
}

/// What is waited for, each once, in the order of its words.
#[derive(Default)]
pub(super) struct Waits(BTreeMap<String, Waiting>);

impl FromIterator<Waiting> for Waits {
    fn from_iter<I: IntoIterator<Item = Waiting>>(waits: I) -> Self {
        Self(waits.into_iter().map(|of| (of.to_string(), of)).collect())
    }
}

impl Step {
    /// How it leaves the moves.
    pub(super) fn end(&self) -> End {
        match self {
            Self::Unread(_) | Self::Open(_) => End::Open,
            Self::Ended(of) => of.end(),
        }
    }

    /// Files that it has written.
    pub(super) fn written(&self) -> &[Box<str>] {
        match self {
            Self::Open(of) if !of.is_dry => &of.files,
            Self::Open(_) | Self::Unread(_) | Self::Ended(_) => &[],
        }
    }

    /// For programs. `written` are the files of the whole run.
    pub(super) fn to_json(&self, written: &BTreeSet<Box<str>>) -> Value {
        let mut told = match self {
            Self::Unread(why) => json!({ "waiting": [{ "what": why }] }),
            Self::Open(of) => of.to_json(),
            Self::Ended(of) => of.to_json(),
        };
        told["outcome"] = self.end().as_str().into();
        told["written"] = json!(written);
        told
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread(why) => f.write_str(why),
            Self::Open(of) => write!(f, "{of}"),
            Self::Ended(of) => write!(f, "{of}"),
        }
    }
}

impl End {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Settled => "settled",
            Self::TakenBack => "taken_back",
        }
    }
}

impl Open {
    fn to_json(&self) -> Value {
        json!({
            "folder": self.folder, "hash": self.hash, "dry_run": self.is_dry, "published": groups(&self.published),
            "waiting": self.waits.to_json(), "not_flipped": self.left, "accounts": self.all,
        })
    }
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = states(&self.published);
        match (self.published.is_empty(), self.is_dry) {
            (true, _) => {}
            (false, true) => write!(f, "Would be written:\n{what}")?,
            (false, false) => {
                let then = if self.goes_on { "this waits for it" } else { "and run this again" };
                let (files, folder) = (self.files.join(", "), &self.folder);
                write!(f, "Written ({files}):\n{what}Deploy {folder}, {then}.\n")?;
            }
        }
        write!(f, "{}", self.waits)?;
        match (self.left, self.all) {
            (0, _) => f.write_str("All are flipped as soon as every replica has it."),
            (left, all) => write!(f, "{left} of {all} accounts are not flipped yet."),
        }
    }
}

impl Ended {
    fn end(&self) -> End {
        match (self.lagging.is_empty(), self.taken_back.is_empty()) {
            (true, true) => End::Settled,
            (true, false) => End::TakenBack,
            (false, _) => End::Open,
        }
    }

    fn to_json(&self) -> Value {
        let taken_back: Vec<u64> = self.taken_back.iter().map(|account| account.value()).collect();
        json!({
            "folder": self.folder, "hash": self.hash, "flipped": groups(&self.flipped), "taken_back": taken_back,
            "waiting": self.lagging.to_json(), "not_flipped": 0, "accounts": self.flipped.len() + taken_back.len(),
        })
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = self.hash.get(..12).unwrap_or_default();
        match (self.flipped.len(), self.taken_back.len()) {
            (0, 0) => f.write_str(NONE)?,
            (1, 0) => f.write_str("The account is flipped:\n")?,
            (all, 0) => writeln!(f, "All {all} accounts are flipped:")?,
            (some, gone) => writeln!(f, "{some} of {} accounts are flipped:", some + gone)?,
        }
        f.write_str(&states(&self.flipped))?;
        if !self.taken_back.is_empty() {
            writeln!(f, "Taken back meanwhile, and not moved: {}.", some_of(&self.taken_back))?;
        }
        if self.lagging.is_empty() {
            return write!(f, "Every replica has {hash}….");
        }
        let lag = self.lagging.to_string();
        write!(f, "Replicas without {hash}… may still hold their writes: deploy it.\n{}", lag.trim_end())
    }
}

impl Look {
    /// Whether none is on its way, and every replica that was asked has these files.
    pub(super) fn is_settled(&self) -> bool {
        self.moves.is_empty() && self.asked.as_ref().is_none_or(|asked| asked.waits.is_empty())
    }

    /// For programs.
    pub(super) fn to_json(&self) -> Value {
        let outcome = match (self.is_settled(), &self.asked) {
            (false, _) => End::Open.as_str(),
            (true, Some(_)) => End::Settled.as_str(),
            // Nobody has said that it has these files.
            (true, None) => "not_asked",
        };
        let held = |asked: &Asked| {
            let at =
                |(replica, requests): &(Box<str>, u64)| json!({ "replica": replica, "requests": requests });
            asked.held.iter().map(at).collect::<Vec<_>>()
        };
        let asked = self.asked.as_ref();
        json!({
            "outcome": outcome, "folder": self.folder, "hash": self.hash, "moves": groups(&self.moves),
            "held": asked.map(held), "ready": asked.map(|asked| groups(&asked.ready)),
            "waiting": asked.map(|asked| asked.waits.to_json()),
        })
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.moves.as_slice() {
            [] => f.write_str(NONE)?,
            some => f.write_str(&states(some))?,
        }
        let Some(Asked { held, ready, waits }) = &self.asked else { return f.write_str(NOT_ASKED) };
        for (replica, requests) in held {
            writeln!(f, "Requests held now at replica {replica}: {requests}.")?;
        }
        if !ready.is_empty() {
            write!(f, "Ready, to be written by cellgate move advance:\n{}", states(ready))?;
        }
        write!(f, "{waits}")
    }
}

const NONE: &str = "No account is on its way.\n";

const NOT_ASKED: &str = "No replica was asked: --replicas FILE, or --replica NAME=ADDRESS for each of them, says what they have and \
                         wait for.\n";

impl Waits {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn to_json(&self) -> Vec<Value> {
        let wait = |(what, Waiting { replica, reason }): (&String, &Waiting)| {
            let (account, writes) = match reason {
                Reason::Writes { account, count, .. } => (Some(account.value()), Some(count)),
                Reason::Unnamed(account) | Reason::Contradicts(account) => (Some(account.value()), None),
                Reason::NoReplica
                | Reason::Silent(_)
                | Reason::OtherFiles { .. }
                | Reason::Predecessors(_) => (None, None),
            };
            json!({
                "replica": replica, "reason": reason.as_str(), "account": account, "writes": writes, "what": what,
                "next": advice(reason),
            })
        };
        self.0.iter().map(wait).collect()
    }
}

/// Each reason once, and what to do about it.
impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for what in self.0.keys().take(SHOWN) {
            writeln!(f, "Waiting: {what}.")?;
        }
        if self.0.len() > SHOWN {
            writeln!(f, "Waiting: for {} more like these.", self.0.len() - SHOWN)?;
        }
        for next in ADVICE {
            if self.0.values().any(|of| advice(&of.reason) == Some(next)) {
                writeln!(f, "  {next}")?;
            }
        }
        Ok(())
    }
}

/// What to do about it.
const fn advice(reason: &Reason) -> Option<&'static str> {
    match reason {
        Reason::NoReplica => None,
        Reason::Silent(_) => Some(SILENT),
        Reason::OtherFiles { .. } => Some(OTHER_FILES),
        Reason::Predecessors(_) => Some(PREDECESSORS),
        Reason::Unnamed(_) | Reason::Contradicts(_) => Some(LIES),
        Reason::Writes { .. } => Some(WRITES),
    }
}

/// In the order in which people are told.
const ADVICE: [&str; 5] = [SILENT, OTHER_FILES, PREDECESSORS, LIES, WRITES];

const SILENT: &str = "A replica that does not answer may still write. See that the address is its admin door and bring it back, or end it and \
                      leave it out (docs/moves.md).";
const OTHER_FILES: &str =
    "Deploy this folder to it, or wait until it is there; its /config says what it refused.";
const PREDECESSORS: &str = "After an upgrade, nobody counts what the old process still has under way. It ends by itself within its drain.deadline; two \
                            SIGTERM end it at once and cut what it has.";
const LIES: &str = "Same files and another answer: is the address that replica's, and all of one version?";
const WRITES: &str = "They end by themselves, or are cut after moves.drain.";

/// Moves that have cells and state in common, and their accounts.
type Groups<'m> = BTreeMap<(&'m str, &'m str, MoveState), Vec<AccountId>>;

fn grouped(moves: &[Standing]) -> Groups<'_> {
    let mut by = Groups::new();
    for of in moves {
        by.entry((&of.from, &of.to, of.state)).or_default().push(of.account);
    }
    by
}

/// For programs, with every account: as many as the list or the table has that was read.
fn groups(moves: &[Standing]) -> Vec<Value> {
    let group = |((from, to, state), accounts): (&(&str, &str, MoveState), &Vec<AccountId>)| {
        let accounts: Vec<u64> = accounts.iter().map(|account| account.value()).collect();
        json!({ "from": from, "to": to, "state": state.as_str(), "accounts": accounts })
    };
    grouped(moves).iter().map(group).collect()
}

/// `  us-mt -> us1: 500 holding`, and the accounts where there are few.
fn states(moves: &[Standing]) -> String {
    let mut text = String::new();
    for ((from, to, state), accounts) in grouped(moves) {
        let (many, some) = (accounts.len(), some_of(&accounts));
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {from} -> {to}: {many} {} ({some})", state.as_str());
    }
    text
}

/// `1001, 1002`, and not too many of them.
fn some_of(accounts: &[AccountId]) -> String {
    let named: Vec<String> = accounts.iter().take(SHOWN).map(ToString::to_string).collect();
    format!("{}{}", named.join(", "), if accounts.len() > SHOWN { ", …" } else { "" })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(account: u64, state: MoveState) -> Standing {
        let account = AccountId::parse(account.to_string().as_bytes()).unwrap();
        Standing { account, from: "mt".into(), to: "us1".into(), state, epoch: 1 }
    }

    #[test]
    fn programs_are_told_of_every_account_and_every_wait_people_of_some() {
        let waits = (1..=30).map(|account| {
            let reason = Reason::Writes {
                account: of(account, MoveState::Holding).account,
                count: 2,
                cell: "mt".into(),
            };
            Waiting { replica: "a".into(), reason }
        });
        let silent = || Waiting { replica: "b".into(), reason: Reason::Silent("gone".into()) };
        let published: Vec<Standing> = (1..=30).map(|account| of(account, MoveState::Holding)).collect();
        let step = Step::Open(Open {
            folder: "config".to_owned(),
            hash: "ab".repeat(32).into(),
            files: vec!["moves.csv".into()],
            published,
            is_dry: false,
            goes_on: false,
            waits: waits.chain([silent(), silent()]).collect(),
            left: 30,
            all: 31,
        });
        let told = step.to_json(&step.written().iter().cloned().collect());
        assert_eq!((&told["outcome"], &told["written"]), (&json!("open"), &json!(["moves.csv"])));
        let group = &told["published"][0];
        assert_eq!(
            (&group["from"], &group["to"], &group["state"]),
            (&json!("mt"), &json!("us1"), &json!("holding"))
        );
        assert_eq!(group["accounts"].as_array().unwrap().len(), 30);
        let waiting = told["waiting"].as_array().unwrap();
        assert_eq!(waiting.len(), 31, "each once");
        assert_eq!((&waiting[0]["reason"], &waiting[0]["writes"]), (&json!("writes"), &json!(2)));
        assert_eq!((&waiting[30]["reason"], &waiting[30]["next"]), (&json!("silent"), &json!(SILENT)));

        let words = step.to_string();
        assert!(words.contains("mt -> us1: 30 holding (1, 2, ") && words.contains("20, …)"), "{words}");
        assert!(words.contains("Waiting: for 11 more like these.\n"), "{words}");
        assert!(words.ends_with("\n30 of 31 accounts are not flipped yet."), "{words}");
        assert_eq!((words.matches(SILENT).count(), words.matches(WRITES).count()), (1, 1), "{words}");
    }

    #[test]
    fn an_end_is_the_same_in_words_in_json_and_for_the_exit_code() {
        let lagging = || Waiting { replica: "b".into(), reason: Reason::Silent("gone".into()) };
        for (taken_back, lags, end, words) in [
            (
                false,
                false,
                End::Settled,
                "The account is flipped:\n  mt -> us1: 1 flipped (7)\nEvery replica has ",
            ),
            (true, false, End::TakenBack, "1 of 2 accounts are flipped:\n"),
            (true, true, End::Open, "Taken back meanwhile, and not moved: 8.\nReplicas without "),
        ] {
            let step = Step::Ended(Ended {
                folder: "config".to_owned(),
                hash: "ab".repeat(32).into(),
                flipped: vec![of(7, MoveState::Flipped)],
                taken_back: taken_back.then(|| of(8, MoveState::Prepare).account).into_iter().collect(),
                lagging: lags.then(lagging).into_iter().collect(),
            });
            assert_eq!(step.end(), end);
            let told = step.to_json(&BTreeSet::new());
            assert_eq!(told["outcome"], end.as_str());
            assert_eq!(told["flipped"][0]["accounts"], json!([7]));
            assert_eq!(told["waiting"].as_array().unwrap().len(), usize::from(lags));
            assert!(step.to_string().contains(words), "{step}");
        }
    }

    #[test]
    fn who_was_not_asked_has_not_said_that_all_is_done() {
        let look = |moves: Vec<Standing>, asked: Option<Asked>| Look {
            folder: "config".to_owned(),
            hash: "ab".repeat(32).into(),
            moves,
            asked,
        };
        let asked = || Some(Asked { held: Vec::new(), ready: Vec::new(), waits: Waits::default() });
        let none = look(Vec::new(), None);
        assert!(none.is_settled() && none.to_string().contains("No replica was asked"));
        assert_eq!(
            (&none.to_json()["outcome"], &none.to_json()["waiting"]),
            (&json!("not_asked"), &Value::Null)
        );
        assert_eq!(look(Vec::new(), asked()).to_json()["outcome"], "settled");
        let open = look(vec![of(7, MoveState::Prepare)], asked());
        assert_eq!((open.is_settled(), &open.to_json()["outcome"]), (false, &json!("open")));
    }
}
