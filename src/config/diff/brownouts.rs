//! Whom a change of configuration puts into brownouts and takes out of them, and what it promises to whom.

use std::collections::BTreeMap;

use super::View;
use super::moves::Noted;
use crate::config::time::show_moment;
use crate::policy::brownout::{Brownout, BrownoutIndex, Brownouts};
use crate::policy::extension::Extension;
use crate::policy::ids::AccountId;

/// What changes in brownouts and promises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrownoutChanges {
    /// Brownouts that somebody enters or leaves, in the order of the new file; those that are gone are last.
    pub cohorts: Vec<CohortChange>,
    /// Brownouts that are hard for every account, were not, and do not say that this is meant.
    pub everybody: Vec<Box<str>>,
    /// Accounts whose promised sunset is another.
    pub promises: Noted,
}

/// Who enters and who leaves one brownout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CohortChange {
    /// Which.
    pub id: Box<str>,
    /// Accounts that are in its cohort and were not.
    pub enter: usize,
    /// Accounts that were and are not, of those that are still there.
    pub leave: usize,
}

impl BrownoutChanges {
    pub(super) fn between(before: &View<'_>, after: &View<'_>) -> Self {
        let gone = before.brownouts.all.iter().filter(|old| find(after.brownouts, old.id.as_str()).is_none());
        let ids = after.brownouts.all.iter().chain(gone).map(|brownout| brownout.id.as_str());
        let cohorts =
            ids.map(|id| cohort(before, after, id)).filter(|change| change.enter + change.leave > 0);
        let everybody = after.brownouts.all.iter().filter(|new| {
            let was =
                find(before.brownouts, new.id.as_str()).is_some_and(|(_, old)| old.is_hard_for_everybody());
            new.is_hard_for_everybody() && !new.everybody && !was
        });
        let everybody = everybody.map(|brownout| brownout.id.as_str().into()).collect();
        Self {
            cohorts: cohorts.collect(),
            everybody,
            promises: promises(&before.extensions, &after.extensions),
        }
    }
}

fn cohort(before: &View<'_>, after: &View<'_>, id: &str) -> CohortChange {
    let has = |view: &View<'_>, brownout: Option<(BrownoutIndex, &Brownout)>, account: AccountId| {
        // Whoever is exempt for some time counts as out: of the day, a difference knows nothing.
        brownout.is_some_and(|(index, brownout)| {
            brownout.has(account)
                && !view.brownouts.of(account).any(|exemption| exemption.names(index))
                && view.accounts.by_id(account).is_some()
        })
    };
    let (old, new) = (find(before.brownouts, id), find(after.brownouts, id));
    let (was, is) = (|account| has(before, old, account), |account| has(after, new, account));
    let enter =
        new.map_or(0, |_| after.accounts.iter().filter(|account| is(account.id) && !was(account.id)).count());
    // Who is gone altogether leaves more than a brownout, and is told elsewhere.
    let stays = |account: AccountId| after.accounts.by_id(account).is_some();
    let leaves = |account: AccountId| was(account) && !is(account) && stays(account);
    let leave = old.map_or(0, |_| before.accounts.iter().filter(|account| leaves(account.id)).count());
    CohortChange { id: id.into(), enter, leave }
}

fn find<'b>(brownouts: &'b Brownouts, id: &str) -> Option<(BrownoutIndex, &'b Brownout)> {
    brownouts.indexed().find(|(_, brownout)| brownout.id.as_str() == id)
}

fn promises(before: &[&Extension], after: &[&Extension]) -> Noted {
    let of = |all: &[&Extension]| {
        all.iter().map(|extension| (extension.account, extension.sunset_at)).collect::<BTreeMap<_, _>>()
    };
    let (before, after) = (of(before), of(after));
    let mut noted = Noted::default();
    let gone = before.keys().filter(|account| !after.contains_key(account));
    for account in after.keys().chain(gone) {
        let (old, new) = (before.get(account), after.get(account));
        if old != new {
            let shown = |at: Option<&i64>| at.map_or_else(|| "none".to_owned(), |at| show_moment(*at));
            noted.note(|| format!("account {account}: {} -> {}", shown(old), shown(new)));
        }
    }
    noted
}
