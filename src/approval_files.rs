//! The files around approvals: the folder they lie in, the file of allowed signers, and what this replica remembers of
//! those it has used. Reads and writes; [`approval`](crate::approval) decides.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::approval::file::{EXTENSION, FOLDER, MAX_FILE_BYTES, MAX_FILES};
use crate::approval::signers::MAX_SIGNERS_BYTES;
use crate::approval::statement::parse_base;
use crate::approval::{
    AllowedSigners, ApprovalFile, Demand, Digest, FleetId, Judgement, Nonce, Refusal, Use, Used, judge,
};
use crate::config::guard::Approvals;
use crate::config::plan::Plan;
use crate::config::{FileText, Problem, Unreadable};
use crate::load;
use crate::policy::code::Code;
use crate::policy::line::is_deceptive;
use crate::state_file;

/// Name of the file of used approvals in the state folder.
pub const USED_FILE: &str = "used-approvals.cellgate";

/// First word of that file; the number is the version of the format.
const MAGIC: &str = "cellgate-used-approvals 1";

/// Largest file that is read back: [`MAX_USES`](crate::approval::used::MAX_USES) with principals of a kilobyte.
const MAX_USED_BYTES: u64 = 8 * 1024 * 1024;

/// The approvals in a configuration folder, by name. Never fails: what cannot be read is an approval that does not
/// count, and says why.
pub fn read(folder: &Path) -> Vec<ApprovalFile> {
    let folder = folder.join(FOLDER);
    let whole = |unreadable| vec![ApprovalFile { name: format!("{FOLDER}/").into(), text: Err(unreadable) }];
    let mut paths = Vec::new();
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return whole(unreadable(&error)),
    };
    for entry in entries {
        match entry {
            Ok(entry) => paths.push(entry.path()),
            Err(error) => return whole(unreadable(&error)),
        }
        paths.retain(|path| path.extension().is_some_and(|extension| extension == EXTENSION));
        if paths.len() > MAX_FILES {
            let what = format!("is a folder with more than {MAX_FILES} approvals");
            let expected = format!("at most {MAX_FILES}; remove those of earlier plans");
            return whole(Unreadable { what, expected });
        }
    }
    paths.sort();
    paths.into_iter().map(|path| ApprovalFile { name: name(&path), text: read_one(&path) }).collect()
}

fn read_one(path: &Path) -> FileText {
    load::bounded(path, MAX_FILE_BYTES)
}

/// Without characters that deceive: it is shown.
fn name(path: &Path) -> Box<str> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.chars().map(|c| if is_deceptive(c) { '?' } else { c }).collect::<String>().into()
}

fn unreadable(error: &io::Error) -> Unreadable {
    Unreadable {
        what: format!("cannot be read: {error}"),
        expected: "a folder that cellgate can read".to_owned(),
    }
}

/// Those who may sign, and what is wrong with the file. A file that cannot be read lets nobody sign.
pub fn read_signers(path: &Path) -> (AllowedSigners, Vec<Problem>) {
    let file = path.display().to_string();
    match load::bounded(path, MAX_SIGNERS_BYTES) {
        Ok(bytes) => AllowedSigners::parse(&file, &bytes),
        Err(Unreadable { what, expected }) => {
            let problem = Problem::in_file(
                Code::FileNotRead,
                &file,
                format!("the file of allowed signers {what}"),
                expected,
            );
            (AllowedSigners::default(), vec![problem])
        }
    }
}

/// What this replica remembers. A file that cannot be read or is damaged is a memory that is lost, and accepts nothing.
pub fn load_used(state_dir: &Path) -> Used {
    let path = state_dir.join(USED_FILE);
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_USED_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Used::default(),
        Err(error) => Used::lost(format!("{} cannot be read: {error}", path.display())),
        Ok(_) => used_from_bytes(&bytes)
            .unwrap_or_else(|reason| Used::lost(format!("{} is damaged: {reason}", path.display()))),
    }
}

/// Those who can let a plan through, as a process knows them from its start to its end.
#[derive(Debug, Default)]
pub struct Approvers {
    rules: Option<Approvals>,
    signers: AllowedSigners,
}

/// Approvals that are enough, and are to be put down as used before they are acted on.
#[derive(Clone, Debug)]
pub struct Approved {
    judgement: Judgement,
    demand: Demand,
}

impl Approvers {
    /// By these rules. What is wrong with the file of allowed signers comes along: those lines let nobody sign.
    pub fn new(rules: Option<Approvals>) -> (Self, Vec<Problem>) {
        let (signers, problems) =
            rules.as_ref().map(|rules| read_signers(&rules.allowed_signers)).unwrap_or_default();
        (Self { rules, signers }, problems)
    }

    /// Whether the approvals in the configuration folder are enough for this plan at `now` (seconds since the Unix
    /// epoch); if not, in words why.
    ///
    /// # Errors
    /// One line for each approval that does not count, and one for how many are missing. Empty where nobody may approve.
    pub fn judge(
        &self,
        folder: &Path,
        state_dir: &Path,
        plan: &Plan,
        author: Option<&str>,
        now: i64,
    ) -> Result<Approved, Vec<String>> {
        let Some(rules) = &self.rules else { return Err(Vec::new()) };
        let Some(demand) = demand(rules, plan, author) else { return Err(Vec::new()) };
        let judgement = judge(&read(folder), &demand, &self.signers, &load_used(state_dir), now);
        if judgement.met {
            return Ok(Approved { judgement, demand });
        }
        let mut lines: Vec<String> =
            judgement.refused.iter().map(|(file, refusal)| format!("{FOLDER}/{file}: {refusal}")).collect();
        let (found, needed) = (judgement.accepted.len(), demand.needed);
        let digest = demand.plan;
        lines.push(format!(
            "{found} of {needed} approvals of plan {digest} count; `cellgate plan -o json` and `cellgate approve` make one"
        ));
        Err(lines)
    }
}

fn demand(rules: &Approvals, plan: &Plan, author: Option<&str>) -> Option<Demand> {
    Some(Demand {
        fleet: FleetId::parse(rules.fleet.as_str())?,
        plan: Digest::parse(&plan.digest())?,
        candidate: Digest::parse(&plan.candidate)?,
        base: parse_base(&plan.base)?,
        needed: usize::from(rules.needed),
        author: author.map(str::to_owned),
        max_age: i64::try_from(rules.max_age.as_secs()).unwrap_or(i64::MAX),
    })
}

impl Approved {
    /// Who has approved, for the log.
    pub fn by(&self) -> String {
        self.each().join(", ")
    }

    /// The same one by one, for the audit trail.
    pub fn each(&self) -> Vec<String> {
        self.judgement.accepted.iter().map(|one| format!("{} ({})", one.principal, one.key)).collect()
    }

    /// Puts them down as used: see [`remember`].
    ///
    /// # Errors
    /// [`RememberError`]; then nothing may be acted on.
    pub fn remember(&self, state_dir: &Path, now: i64) -> Result<(), RememberError> {
        remember(state_dir, &self.judgement, &self.demand, now)
    }
}

/// Why what was accepted must not be acted on.
#[derive(Debug, thiserror::Error)]
pub enum RememberError {
    /// What was used before is not known, or no more can be remembered.
    #[error("{0}")]
    Refused(Refusal),
    /// The state folder cannot be written.
    #[error(
        "the used approvals cannot be written down in {USED_FILE} of the state folder, so they must not count"
    )]
    Io(#[source] io::Error),
}

/// Writes down that the approvals of a judgement are used now. To be done before it is acted on, and by the process
/// that has the state folder ([`Ownership`](state_file::Ownership)).
///
/// # Errors
/// [`RememberError`]; nothing was written, and nothing may be acted on.
pub fn remember(
    state_dir: &Path,
    judgement: &Judgement,
    demand: &Demand,
    now: i64,
) -> Result<(), RememberError> {
    let used = load_used(state_dir).with(&judgement.accepted, demand, now).map_err(RememberError::Refused)?;
    state_file::replace(state_dir, USED_FILE, &used_to_bytes(&used)).map_err(RememberError::Io)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    plan: String,
    nonce: String,
    candidate: String,
    principal: String,
    key: String,
    expires: i64,
    at: i64,
}

/// The file: a line with the digest of all that follows, and a line for each use.
pub fn used_to_bytes(used: &Used) -> Vec<u8> {
    let mut rows = Vec::new();
    for Use { plan, nonce, candidate, principal, key, expires, at } in used.uses() {
        let row = Row {
            plan: plan.to_string(),
            nonce: nonce.to_string(),
            candidate: candidate.to_string(),
            principal: principal.clone(),
            key: key.clone(),
            expires: *expires,
            at: *at,
        };
        serde_json::to_writer(&mut rows, &row).expect("strings and numbers always serialise");
        rows.push(b'\n');
    }
    state_file::sealed(MAGIC, &rows)
}

/// Reads the file.
///
/// # Errors
/// It is not what [`used_to_bytes`] makes; the text says what does not fit.
pub fn used_from_bytes(bytes: &[u8]) -> Result<Used, &'static str> {
    if bytes.len() as u64 > MAX_USED_BYTES {
        return Err("it is too large");
    }
    let rows = state_file::unsealed(MAGIC, bytes)?;
    let rows = std::str::from_utf8(rows).map_err(|_| "it is not text")?;
    let uses: Option<Vec<Use>> = rows.lines().map(one_use).collect();
    Used::of(uses.ok_or("a line of it cannot be read")?).ok_or("one approval is in it twice, or too many are")
}

fn one_use(line: &str) -> Option<Use> {
    let Row { plan, nonce, candidate, principal, key, expires, at } = serde_json::from_str(line).ok()?;
    let (plan, candidate) = (Digest::parse(&plan)?, Digest::parse(&candidate)?);
    Some(Use { plan, nonce: Nonce::parse(&nonce)?, candidate, principal, key, expires, at })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::approval::{Accepted, FleetId};

    const NOW: i64 = 1_795_132_800;

    fn demand() -> Demand {
        let (plan, candidate) = (Digest([1; 32]), Digest([2; 32]));
        let fleet = FleetId::parse("prod").unwrap();
        Demand { fleet, plan, candidate, base: None, needed: 1, author: None, max_age: 3_600 }
    }

    fn judgement(nonces: std::ops::Range<u8>) -> Judgement {
        let accepted = |byte| Accepted {
            file: format!("{byte}.approval").into(),
            principal: "älice@example.com,\"a\"".to_owned(),
            key: format!("SHA256:{byte}"),
            nonce: Nonce([byte; 16]),
            expires: NOW + 60,
        };
        Judgement { accepted: nonces.map(accepted).collect(), refused: Vec::new(), met: true }
    }

    #[test]
    fn what_was_used_is_remembered_over_a_restart_by_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load_used(dir.path()), Used::default());
        remember(dir.path(), &judgement(0..2), &demand(), NOW).unwrap();
        remember(dir.path(), &judgement(2..3), &demand(), NOW + 1).unwrap();
        let used = load_used(dir.path());
        let nonces: Vec<Nonce> = used.uses().map(|one| one.nonce).collect();
        assert_eq!(nonces, [Nonce([0; 16]), Nonce([1; 16]), Nonce([2; 16])]);
        let last = used.for_candidate(demand().candidate).last().unwrap();
        assert_eq!((&*last.principal, last.at), ("älice@example.com,\"a\"", NOW + 1));
        let mode = fs::metadata(dir.path().join(USED_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn any_changed_or_missing_byte_loses_the_memory() {
        let used = Used::default().with(&judgement(0..2).accepted, &demand(), NOW).unwrap();
        let whole = used_to_bytes(&used);
        assert_eq!(used_from_bytes(&whole), Ok(used));
        for position in 0..whole.len() {
            let mut altered = whole.clone();
            altered[position] ^= 1;
            assert!(used_from_bytes(&altered).is_err(), "byte {position}");
            assert!(used_from_bytes(&whole[..position]).is_err(), "cut at {position}");
        }
        let rows = state_file::unsealed(MAGIC, &whole).unwrap();
        let first = &rows[..=rows.iter().position(|byte| *byte == b'\n').unwrap()];
        let twice = state_file::sealed(MAGIC, &[first, first].concat());
        assert!(used_from_bytes(&twice).unwrap_err().contains("twice"));
    }

    #[test]
    fn a_lost_memory_is_said_and_nothing_is_written_over_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(USED_FILE);
        fs::write(&path, "cellgate-used-approvals 2 x\n").unwrap();
        let reason = load_used(dir.path()).why_lost().unwrap().to_owned();
        assert!(
            reason.ends_with("used-approvals.cellgate is damaged: it is not of this version"),
            "{reason}"
        );
        let error = remember(dir.path(), &judgement(0..1), &demand(), NOW).unwrap_err();
        assert!(matches!(error, RememberError::Refused(Refusal::MemoryLost { .. })), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"cellgate-used-approvals 2 x\n");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(load_used(dir.path()).why_lost().unwrap().contains("cannot be read"));
    }

    #[test]
    fn only_approvals_are_read_and_no_more_than_people_sign() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).is_empty());
        let folder = dir.path().join(FOLDER);
        fs::create_dir(&folder).unwrap();
        for name in ["b.approval", "a.approval", "README.md", ".hidden"] {
            fs::write(folder.join(name), name).unwrap();
        }
        fs::create_dir(folder.join("c.approval")).unwrap();
        fs::write(folder.join("d.approval"), vec![b'x'; 8_193]).unwrap();
        let files = read(dir.path());
        let names: Vec<&str> = files.iter().map(|file| &*file.name).collect();
        assert_eq!(names, ["a.approval", "b.approval", "c.approval", "d.approval"]);
        assert_eq!(files[0].text.as_deref(), Ok(b"a.approval".as_slice()));
        assert_eq!(files[2].text.as_ref().unwrap_err().what, "is no ordinary file");
        assert_eq!(files[3].text.as_ref().unwrap_err().expected, "at most 8192 bytes");
        (0..MAX_FILES).for_each(|number| fs::write(folder.join(format!("{number}.approval")), "").unwrap());
        let files = read(dir.path());
        assert_eq!((files.len(), &*files[0].name), (1, "approvals/"));
        assert!(files[0].text.as_ref().unwrap_err().what.contains("more than 64 approvals"));
    }

    #[test]
    fn a_file_of_signers_that_is_not_there_or_that_all_can_write_lets_nobody_sign() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("allowed_signers");
        let (signers, problems) = read_signers(&path);
        assert!(signers.is_empty());
        assert!(problems[0].to_string().contains("the file of allowed signers cannot be read"));
        fs::write(&path, "# nobody yet\n").unwrap();
        assert_eq!(read_signers(&path), (AllowedSigners::default(), Vec::new()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(read_signers(&path).1[0].to_string().contains("can be written by everybody"));
    }
}
