//! Whether the approvals at hand are enough for the plan at hand: one decision over plain values.

use super::file::{Approval, ApprovalFile};
use super::refusal::Refusal;
use super::signers::{AllowedSigners, Holder};
use super::statement::{Digest, FleetId, Nonce, Statement};
use super::used::Used;

/// How long before its expiry an approval may come, where nothing else is said: over a weekend, and not until nobody
/// remembers it. One week.
pub const MAX_AGE_SECONDS: i64 = 7 * 86_400;

/// What must be approved, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The replicas that this one belongs to.
    pub fleet: FleetId,
    /// Digest of the plan.
    pub plan: Digest,
    /// Content hash of the configuration that is offered.
    pub candidate: Digest,
    /// Content hash of what serves; `None` at a start from nothing.
    pub base: Option<Digest>,
    /// How many persons must approve.
    pub needed: usize,
    /// Who has made the change, where that is recorded: a principal. Does not count.
    pub author: Option<String>,
    /// How far ahead an expiry may lie, in seconds: [`MAX_AGE_SECONDS`], or what is configured.
    pub max_age: i64,
}

/// An approval that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The name of its file.
    pub file: Box<str>,
    /// Who it is, as the file of allowed signers says it.
    pub principal: String,
    /// Fingerprint of the key, as `ssh-keygen -l` has it.
    pub key: String,
    /// Of the statement.
    pub nonce: Nonce,
    /// When it will count no more, in seconds since the Unix epoch.
    pub expires: i64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What counts, in the order of the files.
    pub accepted: Vec<Accepted>,
    /// What does not, and why, in the order of the files. Approvals of earlier plans are here, too.
    pub refused: Vec<(Box<str>, Refusal)>,
    /// Whether it is enough. What is accepted then is to be put down in [`Used`] before it is acted on.
    pub met: bool,
}

/// Weighs approvals in the order in which they are given. Each person counts once, and so does each key; where two keys
/// may be one person's, the first counts.
pub fn judge(
    files: &[ApprovalFile],
    demand: &Demand,
    signers: &AllowedSigners,
    used: &Used,
    now: i64,
) -> Judgement {
    let mut counted: Vec<Counted<'_>> = Vec::new();
    let mut refused = Vec::new();
    for file in files {
        let weighed = weigh(file, demand, signers, used, now).and_then(|one| one.unlike(&counted));
        match weighed {
            Ok(one) => counted.push(one),
            Err(refusal) => refused.push((file.name.clone(), refusal)),
        }
    }
    let accepted: Vec<Accepted> = counted.into_iter().map(|one| one.accepted).collect();
    let met = accepted.len() >= demand.needed;
    Judgement { accepted, refused, met }
}

struct Counted<'a> {
    accepted: Accepted,
    holder: Holder<'a>,
}

impl Counted<'_> {
    /// Neither the key nor the person has been counted.
    fn unlike(self, counted: &[Self]) -> Result<Self, Refusal> {
        let Accepted { key, principal, .. } = &self.accepted;
        if let Some(same) = counted.iter().find(|other| other.accepted.key == *key) {
            let file = same.accepted.file.clone();
            return Err(Refusal::SameKey { fingerprint: key.clone(), file });
        }
        if let Some(same) = counted.iter().find(|other| other.holder.may_be_one_of(&self.holder)) {
            let file = same.accepted.file.clone();
            return Err(Refusal::SamePrincipal { principal: principal.clone(), file });
        }
        Ok(self)
    }
}

/// One approval on its own. What it says comes first, who has signed it last: most that do not count are leftovers of
/// earlier plans, and are to be told so.
fn weigh<'a>(
    file: &ApprovalFile,
    demand: &Demand,
    signers: &'a AllowedSigners,
    used: &Used,
    now: i64,
) -> Result<Counted<'a>, Refusal> {
    let text = file.text.as_ref().map_err(|unreadable| Refusal::Unreadable {
        what: unreadable.what.clone(),
        expected: unreadable.expected.clone(),
    })?;
    let approval = Approval::parse(text)?;
    let statement = &approval.statement;
    fits(statement, demand, now)?;
    used.refuses(demand.plan, statement.nonce, now)?;
    let key = approval.fingerprint();
    let Some(holder) = signers.holder(approval.key()) else {
        return Err(Refusal::UnknownKey { fingerprint: key });
    };
    approval.check_signature()?;
    let principal = holder.may_sign(now)?.to_owned();
    if let Some(author) = demand.author.as_ref().filter(|author| holder.may_be(author)) {
        return Err(Refusal::SignerIsAuthor { principal, author: author.clone() });
    }
    let (file, nonce, expires) = (file.name.clone(), statement.nonce, statement.expires);
    Ok(Counted { accepted: Accepted { file, principal, key, nonce, expires }, holder })
}

/// What was signed is what is asked, now.
fn fits(statement: &Statement, demand: &Demand, now: i64) -> Result<(), Refusal> {
    let Statement { fleet, plan, candidate, base, nonce: _, expires } = statement;
    if *fleet != demand.fleet {
        return Err(Refusal::OtherFleet { found: fleet.clone(), ours: demand.fleet.clone() });
    }
    if *base != demand.base {
        return Err(Refusal::WrongBase { found: *base, serves: demand.base });
    }
    if *candidate != demand.candidate {
        return Err(Refusal::WrongCandidate { found: *candidate, offered: demand.candidate });
    }
    if *plan != demand.plan {
        return Err(Refusal::OtherPlan { found: *plan, ours: demand.plan });
    }
    if *expires <= now {
        return Err(Refusal::Expired { at: *expires });
    }
    let latest = now.saturating_add(demand.max_age);
    if *expires > latest {
        return Err(Refusal::ExpiresTooLate { at: *expires, latest });
    }
    Ok(())
}
