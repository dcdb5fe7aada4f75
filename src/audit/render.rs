//! Prints a report as a table for people and as CSV for spreadsheets. `json` has the form for programs.

use std::fmt::Write as _;

use crate::policy::legacy_use::verdict::Judgement;
use crate::telemetry::wall_time::{Seconds, from_unix_seconds};

use super::foreign::shown;
use super::recipes::Recipe;
use super::report::{AccountUsage, GapLine, Report, Usage};

/// Client families in one cell of the table; the rest is summed up.
const SHOWN_FAMILIES: usize = 3;

/// After this many seconds without a write the table says that the books may be standing still: six
/// windows of the default length.
const STALE_SECONDS: i64 = 60;

/// The table, with what surrounds it. `now` in Unix seconds.
pub fn table(report: &Report, now: i64) -> String {
    let mut text = String::new();
    if report.requests() == 0 && report.accounts.is_empty() {
        text.push_str(&nothing(report));
    } else if report.only.is_some() {
        text.push_str(&account_table(report, now));
    } else {
        text.push_str(&fleet_table(report, now));
    }
    text.push_str(&footer(report, now));
    text
}

/// One line an account and one for each bucket that is not empty, with a heading.
///
/// # Errors
/// Never when writing to memory; the type is csv's.
pub fn csv(report: &Report) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "subject",
        "account",
        "prefix",
        "cell",
        "requests",
        "1xx",
        "2xx",
        "3xx",
        "4xx",
        "5xx",
        "first_seen",
        "last_seen",
        "clients",
        "verdict",
        "cadence",
        "ready_at",
        "reasons",
    ])?;
    let mut write = |subject: &str, account: Option<&AccountUsage>, usage: &Usage| {
        let id = account.map_or_else(String::new, |account| account.account.to_string());
        let prefix = account.and_then(|account| account.prefix.as_deref()).unwrap_or_default();
        let cell = account.and_then(|account| account.cell.as_deref()).unwrap_or_default();
        let mut record = vec![subject.to_owned(), id, inert(prefix), inert(cell)];
        record.push(usage.requests().to_string());
        record.extend(usage.statuses.iter().map(ToString::to_string));
        record.extend(
            [usage.first_seen, usage.last_seen].map(|at| if at > 0 { rfc3339(at) } else { String::new() }),
        );
        let families = usage.families();
        let families: Vec<_> = families.iter().map(|(name, count)| format!("{name}={count}")).collect();
        record.push(inert(&families.join("; ")));
        let judged = account.map(|account| &account.judged);
        record.push(judged.map(|judged| judged.verdict.as_str()).unwrap_or_default().to_owned());
        record.push(
            judged.and_then(|judged| judged.cadence).map(|cadence| cadence.to_string()).unwrap_or_default(),
        );
        record.push(judged.and_then(|judged| judged.ready_at).map(rfc3339).unwrap_or_default());
        record.push(judged.map(why).unwrap_or_default());
        writer.write_record(&record)
    };
    for account in &report.accounts {
        write("account", Some(account), &account.usage)?;
    }
    for (subject, usage) in buckets(report) {
        write(subject, None, usage)?;
    }
    writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

fn fleet_table(report: &Report, now: i64) -> String {
    let mut rows = vec![
        ["VERDICT", "ACCOUNT", "PREFIX", "CELL", "REQUESTS", "OK", "4XX", "5XX", "LAST SEEN", "CLIENTS"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for account in &report.accounts {
        let prefix = account.prefix.clone().unwrap_or_else(|| "-".into());
        let cell = account.cell.clone().unwrap_or_else(|| "-".into());
        let verdict = account.judged.verdict.as_str().to_owned();
        rows.push(usage_row([verdict, account.account.to_string(), prefix, cell], &account.usage, now));
    }
    for (subject, usage) in buckets(report) {
        rows.push(usage_row(["-".into(), format!("({subject})"), "-".into(), "-".into()], usage, now));
    }
    let mut text = aligned(&rows, &[4, 5, 6, 7]);
    let total = report.requests();
    let accounts = report.accounts.len();
    let s = if accounts == 1 { "" } else { "s" };
    let _ = writeln!(text, "\n{accounts} account{s}, {total} requests since {}.", rfc3339(report.since));
    let unattributed = report.unattributed.requests();
    if unattributed > 0 {
        let _ = writeln!(text, "{} of the requests name no account.", percent(unattributed, total));
    }
    let unmapped = report.unmapped.requests();
    if unmapped > 0 {
        let _ = writeln!(text, "{} name an account that has no row in the table.", percent(unmapped, total));
    }
    text
}

fn account_table(report: &Report, now: i64) -> String {
    let mut text = String::new();
    for account in &report.accounts {
        let prefix = account.prefix.as_deref().unwrap_or("no prefix");
        let cell = account.cell.as_deref().unwrap_or("unknown");
        let _ = writeln!(text, "Account {} ({prefix}), cell {cell}", account.account);
        let verdict = account.judged.verdict.as_str();
        let _ = writeln!(text, "{verdict}: {}.", why(&account.judged));
        if let Some(at) = account.judged.ready_at {
            let _ = writeln!(text, "READY at {}, if nobody comes until then.", rfc3339(at));
        }
        if account.usage.requests() == 0 {
            let _ = writeln!(text, "\nNo legacy requests since {}.", rfc3339(report.since));
            continue;
        }
        text.push('\n');
        let mut rows =
            vec![["CLIENT", "SURFACE", "REQUESTS", "SHARE", "LAST SEEN", "FOR EXAMPLE"].map(str::to_owned)];
        let total = account.usage.requests();
        for client in &account.usage.clients {
            rows.push([
                client.client.clone(),
                client.surface.clone(),
                client.requests.to_string(),
                percent(client.requests, total),
                age(now, client.last_seen),
                client.endpoint.clone(),
            ]);
        }
        text.push_str(&aligned(&rows, &[2, 3]));
        text.push_str(&recipes(account));
        let [answered, client_errors, server_errors] = account.usage.ends();
        let _ = writeln!(
            text,
            "\n{total} requests since {}: {} ok, {client_errors} answered 4xx, {server_errors} answered 5xx. \
             First seen {}, last {}.",
            rfc3339(report.since),
            answered,
            rfc3339(account.usage.first_seen),
            rfc3339(account.usage.last_seen),
        );
    }
    text
}

/// What the owners of these clients have to change.
fn recipes(account: &AccountUsage) -> String {
    let mut text = String::new();
    for client in &account.usage.clients {
        let Some(Recipe { why, how }) = &client.recipe else { continue };
        let _ = writeln!(text, "\n{} ({})", client.client, client.surface);
        if let Some(why) = why {
            let _ = writeln!(text, "  why  {why}");
        }
        let _ = writeln!(text, "  fix  {how}");
    }
    text
}

/// The numbers behind a verdict.
pub(super) fn why(judged: &Judgement) -> String {
    judged.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// How many accounts have which verdict, whenever they were seen.
fn verdicts(report: &Report) -> String {
    let all: usize = report.verdicts.values().sum();
    if all == 0 || report.only.is_some() {
        return String::new();
    }
    let counts = report.verdicts.iter().map(|(verdict, many)| format!("{many} {}", verdict.as_str()));
    let counts = counts.collect::<Vec<_>>().join(", ");
    let more = if all > report.accounts.len() { " (--all lists them)" } else { "" };
    format!("Of all accounts in the books: {counts}{more}.\n")
}

fn nothing(report: &Report) -> String {
    let Some(kept_since) = report.kept_since else {
        return "The books are empty: no proxy has written to them yet.\n".to_owned();
    };
    // Nothing can be said about the time before the books.
    let since = rfc3339(report.since.max(kept_since));
    match report.only {
        // Whoever is known at all has been listed.
        Some(account) => {
            format!("The books know nothing of account {account}, since {}.\n", rfc3339(kept_since))
        }
        None => format!("No legacy requests since {since}.\n"),
    }
}

fn footer(report: &Report, now: i64) -> String {
    let mut text = verdicts(report);
    if let (Some(kept_since), Some(written_at)) = (report.kept_since, report.written_at) {
        if kept_since > report.since && report.requests() > 0 {
            let _ = writeln!(text, "The books begin at {}.", rfc3339(kept_since));
        }
        if now - written_at > STALE_SECONDS {
            let _ = writeln!(
                text,
                "! Last written {} ago: check that the proxy runs with this state folder.",
                age(now, written_at)
            );
        }
    }
    for gap in &report.gaps {
        let _ = writeln!(text, "! {}", gap_text(gap));
    }
    text
}

pub(super) fn gap_text(gap: &GapLine) -> String {
    let count = gap.requests.map_or_else(|| "Requests".to_owned(), |count| format!("{count} requests"));
    let until = rfc3339(gap.ended_at);
    match gap.reason.as_str() {
        "detail" => {
            format!(
                "{count} are counted for their account and not told apart further: too many different ones (last {until})."
            )
        }
        "lost_calls" => {
            format!("{count} that may have to be made again are not listed: too many at once (last {until}).")
        }
        "spool" => {
            format!("{count} are missing: a window could not be read back from the spool (last {until}).")
        }
        "unreadable" => format!(
            "{} cannot be read and is left out: nothing of its month is known. Move it away to be rid of this line.",
            gap.note.as_deref().unwrap_or("A file of the books")
        ),
        "silent" => format!(
            "Replica {} has not been heard of since {until} and has not said that it ended: nothing is complete since then. Where it is gone for good, say so with `cellgate books retire`.",
            gap.note.as_deref().unwrap_or("without a name")
        ),
        "damaged" => format!(
            "The books from the beginning of the month to {until} were damaged and are kept as {}.",
            gap.note.as_deref().unwrap_or("another file")
        ),
        _ => format!("The books from the beginning of the month to {until} were removed."),
    }
}

fn buckets(report: &Report) -> impl Iterator<Item = (&'static str, &Usage)> {
    [("unattributed", &report.unattributed), ("unmapped", &report.unmapped)]
        .into_iter()
        .filter(|(_, usage)| usage.requests() > 0)
}

fn usage_row(names: [String; 4], usage: &Usage, now: i64) -> Vec<String> {
    let [answered, client_errors, server_errors] = usage.ends();
    let mut row = names.to_vec();
    row.extend([usage.requests(), answered, client_errors, server_errors].map(|n| n.to_string()));
    row.push(age(now, usage.last_seen));
    let total = usage.requests();
    let families = usage.families();
    let mut shown: Vec<String> = families
        .iter()
        .take(SHOWN_FAMILIES)
        .map(|(name, requests)| format!("{name} {}", percent(*requests, total)))
        .collect();
    if families.len() > SHOWN_FAMILIES {
        shown.push(format!("{} more", families.len() - SHOWN_FAMILIES));
    }
    row.push(shown.join(", "));
    row
}

/// Longest text in a table. Names that are longer are made up, and cut.
const WIDEST: usize = 200;

/// Columns as wide as their widest text, three spaces apart, no trailing space. `right` are numbers.
pub(crate) fn aligned<R: AsRef<[String]>>(rows: &[R], right: &[usize]) -> String {
    let shown = |row: &R| row.as_ref().iter().map(|cell| shown(cell, WIDEST).collect()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if right.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        let line = cells.collect::<Vec<_>>().join("   ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// As kubectl prints ages: the largest unit, two where the first is small.
pub(super) fn age(now: i64, then: i64) -> String {
    let seconds = (now - then).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{minutes}m"),
        7200..=172_799 => format!("{hours}h"),
        _ => format!("{days}d"),
    }
}

/// Whole percent; what is there is never shown as 0, what is not all never as 100.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let rounded = (u128::from(part) * 200 / u128::from(whole)).div_ceil(2);
    match rounded {
        _ if part == whole => "100%".to_owned(),
        0 if part > 0 => "<1%".to_owned(),
        1 if u128::from(part) * 100 < u128::from(whole) => "<1%".to_owned(),
        100 => ">99%".to_owned(),
        rounded => format!("{rounded}%"),
    }
}

/// Characters of one field of CSV: as many as a cell of a spreadsheet takes.
const LONGEST_FIELD: usize = 32_000;

/// A text as a field of CSV, on one line. Spreadsheets run text that begins with these as a formula; the apostrophe makes it
/// text.
pub(super) fn inert(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    guard.chars().chain(shown(text, LONGEST_FIELD)).collect()
}

pub(super) fn rfc3339(seconds: i64) -> String {
    Seconds(from_unix_seconds(seconds)).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::super::report::ClientUsage;
    use super::*;
    use crate::policy::legacy_use::activity::Cadence;
    use crate::policy::legacy_use::verdict::{Reason, Verdict};

    /// 2026-11-20T10:00:00Z.
    const NOW: i64 = 1_795_168_800;

    fn client(client: &str, surface: &str, requests: u64) -> ClientUsage {
        ClientUsage {
            client: client.into(),
            surface: surface.into(),
            requests,
            last_seen: NOW - 200,
            endpoint: "/api/v2/accounts/{account}".into(),
            recipe: None,
        }
    }

    fn usage(statuses: [u64; 5], last_seen: i64, clients: Vec<ClientUsage>) -> Usage {
        Usage { statuses, first_seen: NOW - 86_400, last_seen, clients }
    }

    fn empty() -> Report {
        Report {
            since: NOW - 7 * 86_400,
            kept_since: Some(NOW - 30 * 86_400),
            written_at: Some(NOW - 4),
            only: None,
            accounts: Vec::new(),
            verdicts: BTreeMap::new(),
            unattributed: Usage::default(),
            unmapped: Usage::default(),
            gaps: Vec::new(),
        }
    }

    /// Two accounts and requests without one.
    pub(in super::super) fn full() -> Report {
        let account = |account, prefix: Option<&str>, cell: Option<&str>, usage: Usage| AccountUsage {
            account,
            prefix: prefix.map(Into::into),
            cell: cell.map(Into::into),
            judged: Judgement {
                verdict: Verdict::Active,
                reasons: vec![Reason::LastSeen(NOW - usage.last_seen), Reason::Comes(Cadence::Daily)],
                cadence: Some(Cadence::Daily),
                window_days: 35,
                ready_at: Some(usage.last_seen + 35 * 86_400),
            },
            usage,
        };
        let many = vec![
            client("airflow", "app", 30_000),
            client("curl", "app", 7_000),
            client("airflow", "metadata", 4_000),
            client("python-requests", "app", 700),
            client("unknown", "app", 102),
        ];
        Report {
            accounts: vec![
                account(70_471, Some("ab123"), Some("us1"), usage([0, 41_000, 2, 800, 0], NOW - 200, many)),
                account(5, None, None, usage([1, 0, 0, 0, 2], NOW - 90_000, vec![client("curl", "app", 3)])),
            ],
            verdicts: BTreeMap::from([(Verdict::Active, 2), (Verdict::Ready, 7)]),
            unattributed: usage([0, 0, 0, 12, 0], NOW - 3, vec![client("unknown", "none", 12)]),
            ..empty()
        }
    }

    #[test]
    fn the_table_is_aligned_and_sums_up() {
        assert_eq!(
            table(&full(), NOW),
            "\
VERDICT   ACCOUNT          PREFIX   CELL   REQUESTS      OK   4XX   5XX   LAST SEEN   CLIENTS
ACTIVE    70471            ab123    us1       41802   41002   800     0   3m          airflow 81%, curl 17%, python-requests 2%, 1 more
ACTIVE    5                -        -             3       1     0     2   25h         curl 100%
-         (unattributed)   -        -            12       0    12     0   3s          unknown 100%

2 accounts, 41817 requests since 2026-11-13T10:00:00Z.
<1% of the requests name no account.
Of all accounts in the books: 2 ACTIVE, 7 READY (--all lists them).
"
        );
    }

    #[test]
    fn one_account_is_shown_with_every_client_and_surface() {
        let mut report = full();
        report.only = Some(70_471);
        report.accounts.truncate(1);
        report.unattributed = Usage::default();
        let recipe =
            |why: Option<&str>, how: &str| Some(Recipe { why: why.map(Into::into), how: how.into() });
        let clients = &mut report.accounts[0].usage.clients;
        clients[0].recipe = recipe(Some("its connection has no Host"), "set Host to ab123.us1.test");
        clients[2].recipe = recipe(None, "set Host to ab123.metadata.us1.test");
        assert_eq!(
            table(&report, NOW),
            "\
Account 70471 (ab123), cell us1
ACTIVE: last seen 3 min ago; comes daily.
READY at 2026-12-25T09:56:40Z, if nobody comes until then.

CLIENT            SURFACE    REQUESTS   SHARE   LAST SEEN   FOR EXAMPLE
airflow           app           30000     72%   3m          /api/v2/accounts/{account}
curl              app            7000     17%   3m          /api/v2/accounts/{account}
airflow           metadata       4000     10%   3m          /api/v2/accounts/{account}
python-requests   app             700      2%   3m          /api/v2/accounts/{account}
unknown           app             102     <1%   3m          /api/v2/accounts/{account}

airflow (app)
  why  its connection has no Host
  fix  set Host to ab123.us1.test

airflow (metadata)
  fix  set Host to ab123.metadata.us1.test

41802 requests since 2026-11-13T10:00:00Z: 41002 ok, 800 answered 4xx, 0 answered 5xx. \
First seen 2026-11-19T10:00:00Z, last 2026-11-20T09:56:40Z.
"
        );
    }

    #[test]
    fn an_account_that_was_not_seen_lately_has_a_verdict() {
        let mut report = full();
        report.only = Some(5);
        report.accounts.remove(0);
        report.accounts[0].usage = Usage { last_seen: NOW - 40 * 86_400, ..Usage::default() };
        report.accounts[0].judged.verdict = Verdict::Ready;
        report.accounts[0].judged.ready_at = None;
        report.unattributed = Usage::default();
        assert_eq!(
            table(&report, NOW),
            "\
Account 5 (no prefix), cell unknown
READY: last seen 25 h ago; comes daily.

No legacy requests since 2026-11-13T10:00:00Z.
"
        );
    }

    #[test]
    fn nothing_is_said_about_nothing_only_as_far_as_the_books_reach() {
        let check = |change: &dyn Fn(&mut Report), expect: &str| {
            let mut report = empty();
            change(&mut report);
            assert_eq!(table(&report, NOW), expect);
        };
        check(&|_| {}, "No legacy requests since 2026-11-13T10:00:00Z.\n");
        check(&|r| r.only = Some(5), "The books know nothing of account 5, since 2026-10-21T10:00:00Z.\n");
        let young = |r: &mut Report| r.kept_since = Some(NOW - 3600);
        check(&young, "No legacy requests since 2026-11-20T09:00:00Z.\n");
        let never = |r: &mut Report| (r.kept_since, r.written_at) = (None, None);
        check(&never, "The books are empty: no proxy has written to them yet.\n");
        let stale = |r: &mut Report| r.written_at = Some(NOW - 7200);
        check(
            &stale,
            "No legacy requests since 2026-11-13T10:00:00Z.\n\
             ! Last written 2h ago: check that the proxy runs with this state folder.\n",
        );
    }

    #[test]
    fn gaps_are_never_left_out() {
        let mut report = empty();
        let mut gap = |reason: &str, requests, note: Option<&str>| {
            let (reason, note) = (reason.into(), note.map(Into::into));
            report.gaps.push(GapLine { ended_at: NOW, reason, requests, note });
        };
        gap("spool", Some(4), None);
        gap("detail", Some(5), None);
        gap("damaged", None, Some("books-2026-11.sqlite.damaged-1"));
        gap("silent", None, Some("edge-7"));
        gap("removed", None, None);
        let table = table(&report, NOW);
        for expect in [
            "! 4 requests are missing: a window could not be read back",
            "! 5 requests are counted for their account and not told apart",
            "! The books from the beginning of the month to 2026-11-20T10:00:00Z were damaged and are kept as books-2026-11.sqlite.damaged-1.",
            "! Replica edge-7 has not been heard of since 2026-11-20T10:00:00Z and has not said that it ended",
            "! The books from the beginning of the month to 2026-11-20T10:00:00Z were removed.",
        ] {
            assert!(table.contains(expect), "{expect} in\n{table}");
        }
    }

    #[test]
    fn csv_is_one_line_an_account_and_starts_no_formula() {
        let mut report = full();
        report.accounts[1].usage.clients[0].client = "=cmd()".into();
        let text = String::from_utf8(csv(&report).unwrap()).unwrap();
        assert_eq!(
            text,
            "\
subject,account,prefix,cell,requests,1xx,2xx,3xx,4xx,5xx,first_seen,last_seen,clients,verdict,cadence,ready_at,reasons
account,70471,ab123,us1,41802,0,41000,2,800,0,2026-11-19T10:00:00Z,2026-11-20T09:56:40Z,airflow=34000; curl=7000; python-requests=700; unknown=102,ACTIVE,daily,2026-12-25T09:56:40Z,last seen 3 min ago; comes daily
account,5,,,3,1,0,0,0,2,2026-11-19T10:00:00Z,2026-11-19T09:00:00Z,'=cmd()=3,ACTIVE,daily,2026-12-24T09:00:00Z,last seen 25 h ago; comes daily
unattributed,,,,12,0,0,0,12,0,2026-11-19T10:00:00Z,2026-11-20T09:59:57Z,unknown=12,,,,
"
        );
        assert_eq!(String::from_utf8(csv(&empty()).unwrap()).unwrap().lines().count(), 1);
    }

    #[test]
    fn shares_are_never_rounded_to_nothing_or_everything() {
        for (part, whole, expect) in [
            (0, 10, "0%"),
            (10, 10, "100%"),
            (1, 1000, "<1%"),
            (999, 1000, ">99%"),
            (1, 3, "33%"),
            (2, 3, "67%"),
            (0, 0, "-"),
            (u64::MAX / 2, u64::MAX, "50%"),
        ] {
            assert_eq!(percent(part, whole), expect, "{part} of {whole}");
        }
    }

    #[test]
    fn ages_have_one_unit() {
        for (seconds, expect) in
            [(-5, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172_800, "2d")]
        {
            assert_eq!(age(NOW, NOW - seconds), expect);
        }
    }
}
