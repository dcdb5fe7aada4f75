//! `cellgate brownout list ID`: whom a brownout is about, account by account; and who would enter and leave it by other files.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::audit::render::aligned;
use crate::config::time::show_moment;
use crate::policy::brownout::status::{Member, members};
use crate::policy::snapshot::Snapshot;

/// An account, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    account: u64,
    prefix: Option<String>,
    cell: String,
    /// `in`, `enters`, `leaves`, `exempt`.
    stands: &'static str,
    /// Of an exemption: until when and why.
    spared: Option<(i64, String)>,
}

/// The accounts of a brownout at `now` by account; with `before`, what serves, also who enters and who leaves. `None` where
/// neither has it.
pub(super) fn lines(snapshot: &Snapshot, before: Option<&Snapshot>, id: &str, now: i64) -> Option<Vec<Line>> {
    let met = |snapshot: &Snapshot| members(snapshot, id, now).map(|members| told(snapshot, &members));
    let (after, before) = (met(snapshot), before.map(met));
    if after.is_none() && before.as_ref().is_none_or(Option::is_none) {
        return None;
    }
    let mut lines = after.unwrap_or_default();
    if let Some(before) = before.map(Option::unwrap_or_default) {
        let is_in = |line: Option<&Line>| line.is_some_and(|line| line.stands == "in");
        for (account, line) in &mut lines {
            if line.stands == "in" && !is_in(before.get(account)) {
                line.stands = "enters";
            }
        }
        for (account, line) in before {
            if line.stands == "in" && !lines.contains_key(&account) {
                lines.insert(account, Line { stands: "leaves", ..line });
            }
        }
    }
    Some(lines.into_values().collect())
}

fn told(snapshot: &Snapshot, members: &[Member<'_>]) -> BTreeMap<u64, Line> {
    let line = |member: &Member<'_>| {
        let account = member.account.id.value();
        let line = Line {
            account,
            prefix: member.account.prefixes.first().map(str::to_owned),
            cell: snapshot.cell(member.account.cell).name.to_string(),
            stands: if member.spared.is_some() { "exempt" } else { "in" },
            spared: member.spared.map(|exemption| (exemption.until, exemption.reason.to_string())),
        };
        (account, line)
    };
    members.iter().map(line).collect()
}

/// For people.
pub(super) fn as_text(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "No account of the table is in it.\n".to_owned();
    }
    let heads = ["ACCOUNT", "PREFIX", "CELL", "STANDS", "UNTIL", "REASON"].map(str::to_owned).to_vec();
    let row = |line: &Line| {
        let (until, reason) = match &line.spared {
            Some((until, reason)) => (show_moment(*until), reason.clone()),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let prefix = line.prefix.clone().unwrap_or_else(|| "-".to_owned());
        vec![line.account.to_string(), prefix, line.cell.clone(), line.stands.to_owned(), until, reason]
    };
    let rows: Vec<Vec<String>> = std::iter::once(heads).chain(lines.iter().map(row)).collect();
    aligned(&rows, &[])
}

/// For programs.
pub(super) fn as_value(id: &str, lines: &[Line]) -> Value {
    let line = |line: &Line| {
        let spared = line.spared.as_ref();
        json!({
            "account": line.account, "prefix": line.prefix, "cell": line.cell, "stands": line.stands,
            "until": spared.map(|(until, _)| show_moment(*until)), "reason": spared.map(|(_, reason)| reason),
        })
    };
    json!({ "brownout": id, "accounts": lines.iter().map(line).collect::<Vec<_>>() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::policy::brownout::{BrownoutMode, Brownouts, Exemption};
    use crate::test_snapshot::{SnapshotBuilder, account, brownouts};

    fn snapshot(ids: &[u64], accounts: &[u64], exempt: Option<u64>) -> Snapshot {
        let builder = SnapshotBuilder::new().cell("us1", "us1.dbt.com");
        let mut snapshot = ids.iter().fold(builder, |builder, id| builder.account(*id, "us1", &[])).build();
        let mut all = brownouts(&[("bo", BrownoutMode::Soft, (10, 20))]).all;
        all[0].accounts = accounts.iter().map(|id| account(*id)).collect();
        let exemption = |id| Exemption {
            account: account(id),
            until: 50,
            reason: "year-end close".into(),
            brownouts: Box::default(),
        };
        snapshot.brownouts = Brownouts::new(all, exempt.map(exemption).into_iter().collect(), Vec::new());
        snapshot
    }

    fn stands(lines: &[Line]) -> Vec<(u64, &'static str)> {
        lines.iter().map(|line| (line.account, line.stands)).collect()
    }

    #[test]
    fn who_enters_and_leaves_is_told_by_name_and_who_is_spared_with_the_reason() {
        let ids = [1, 2, 3, 4, 5];
        let (old, new) = (snapshot(&ids, &[1, 2, 4], Some(4)), snapshot(&ids, &[2, 3, 4, 5], Some(5)));
        let told = lines(&new, Some(&old), "bo", 12).unwrap();
        assert_eq!(stands(&told), [(1, "leaves"), (2, "in"), (3, "enters"), (4, "enters"), (5, "exempt")]);
        assert_eq!(
            stands(&lines(&new, None, "bo", 60).unwrap()),
            [(2, "in"), (3, "in"), (4, "in"), (5, "in")]
        );
        let text = as_text(&told);
        assert!(text.contains("1970-01-01T00:00:50Z   year-end close"), "{text}");
        assert_eq!(as_value("bo", &told)["accounts"][4]["reason"], "year-end close");
        assert_eq!(lines(&new, Some(&old), "other", 12), None);
        let without = SnapshotBuilder::new().cell("us1", "us1.dbt.com").build();
        assert_eq!(stands(&lines(&without, Some(&old), "bo", 12).unwrap()), [(1, "leaves"), (2, "leaves")]);
        assert_eq!(as_text(&[]), "No account of the table is in it.\n");
    }
}
