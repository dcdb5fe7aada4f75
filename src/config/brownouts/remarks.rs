//! What stands in the files and is over: nobody is refused by it, or spared, and whoever reads it may think so.

use super::super::protection::Remark;
use super::super::time::show_moment;
use crate::policy::snapshot::Snapshot;

/// What is over at `now`, in seconds since the Unix epoch. All of it is overdue.
pub fn remarks(snapshot: &Snapshot, now: i64) -> Vec<Remark> {
    let end = |windows: &crate::policy::brownout::Windows| windows.iter().last().map(|window| window.end);
    let brownouts = snapshot.brownouts.all.iter().filter_map(|brownout| {
        let end = end(&brownout.windows).filter(|end| *end <= now)?;
        let (id, end) = (&brownout.id, show_moment(end));
        Some(format!("brownout {id}: its last window was over at {end}; take it out, or give it another one"))
    });
    let exemptions = snapshot.brownouts.exemptions().iter().filter(|exemption| exemption.until <= now);
    let exemptions = exemptions.map(|exemption| {
        let (account, reason, end) = (exemption.account, &exemption.reason, show_moment(exemption.until));
        format!(
            "exemption of account {account} ({reason}): it ended at {end}, so brownouts meet the account; take it out, or \
             extend it"
        )
    });
    let extensions = snapshot.extensions.iter().filter(|extension| extension.sunset_at <= now);
    let extensions = extensions.map(|extension| {
        let (account, reason, end) = (extension.account, &extension.reason, show_moment(extension.sunset_at));
        format!("extension of account {account} ({reason}): it ended at {end}; take it out, or extend it")
    });
    let all = brownouts.chain(exemptions).chain(extensions);
    all.map(|what| Remark { what, is_overdue: true }).collect()
}
