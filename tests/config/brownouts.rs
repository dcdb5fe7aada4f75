//! Brownouts, exemptions and promises as they are written: times with zones, names that are there, and what a change of them
//! does to whom.

use cellgate::config::time::{parse_moment, show_moment};
use cellgate::config::{Config, Sources, diff, parse_all};
use cellgate::policy::brownout::{AfterSunset, BrownoutMode};

use super::{NOW, example, lines, replace};

/// The example with this in front of its guide.
fn with(text: &str) -> Sources {
    let mut sources = example();
    replace(&mut sources.routing, "\nguide: ", &format!("\n{text}\nguide: "));
    sources
}

fn read(text: &str) -> Config {
    parse_all(&with(text), NOW).map_err(|problems| lines(&problems)).unwrap().1
}

fn brownout(windows: &str) -> String {
    format!("brownouts:\n  - {{ id: bo-1, mode: soft, windows: [{windows}] }}\n")
}

fn windows(text: &str) -> Vec<String> {
    let config = read(&brownout(text));
    let shown = |seconds: i64| show_moment(seconds);
    config.brownouts.all[0]
        .windows
        .iter()
        .map(|w| format!("{} {}", shown(w.start), w.end - w.start))
        .collect()
}

/// Exactly one problem comes of it, with this text.
fn problem(text: &str, expect: &str) {
    let found = lines(&parse_all(&with(text), NOW).err().unwrap_or_default());
    assert_eq!(found.lines().count(), 1, "{text}: expected one problem, found\n{found}");
    assert!(found.contains(expect), "{text}: expected {expect:?}, found\n{found}");
}

#[test]
fn a_window_is_where_clocks_say_it_is() {
    let one = |text: &str, expect: &str| assert_eq!(windows(&format!("{{ {text} }}")), [expect], "{text}");
    one(r#"start: "2026-11-24T14:00:00Z", lasts: 1h"#, "2026-11-24T14:00:00Z 3600");
    one(r#"start: "2026-11-24T09:00:00-05:00", lasts: 10m"#, "2026-11-24T14:00:00Z 600");
    one(r#"start: "2026-11-24T09:00", zone: America/New_York, lasts: 1d"#, "2026-11-24T14:00:00Z 86400");
    one(r#"start: "2026-07-24T09:00:30", zone: America/New_York, lasts: 1s"#, "2026-07-24T13:00:30Z 1");
    one(r#"start: "2026-11-24T09:00", zone: Asia/Kolkata, lasts: 1h"#, "2026-11-24T03:30:00Z 3600");
    one(r#"start: "2026-11-24T09:00", zone: UTC, lasts: 1h"#, "2026-11-24T09:00:00Z 3600");
    // Clocks in Berlin go back on 25 October: nine o'clock stays nine o'clock.
    let weekly = r#"{ start: "2026-10-20T09:00", zone: Europe/Berlin, lasts: 1h, every: week, until: "2026-11-03T09:00" }"#;
    let expect = ["2026-10-20T07:00:00Z 3600", "2026-10-27T08:00:00Z 3600", "2026-11-03T08:00:00Z 3600"];
    assert_eq!(windows(weekly), expect);
    let daily = r#"{ start: "2026-11-24T14:00:00Z", lasts: 1h, every: day, until: "2026-11-26T13:59:59Z" },
                   { start: "2026-11-23T14:00:00Z", lasts: 1h }"#;
    let starts: Vec<String> = windows(daily).iter().map(|window| window[8..10].to_owned()).collect();
    assert_eq!(starts, ["23", "24", "25"], "the earliest first");
}

#[test]
fn a_window_that_cannot_be_meant_is_a_problem_with_its_place() {
    let wrong = |text: &str, expect: &str| problem(&brownout(&format!("{{ {text} }}")), expect);
    wrong(
        r#"start: "2026-11-24T09:00", lasts: 1h"#,
        "windows[0].start: found \"2026-11-24T09:00\"; expected a moment such as",
    );
    wrong(
        r#"start: "2026-11-24T09:00:00Z", zone: UTC, lasts: 1h"#,
        "expected local time such as 2026-11-24T09:00",
    );
    wrong(
        r#"start: "2026-11-24T09:00", zone: Mars/Olympus, lasts: 1h"#,
        "zone: found \"Mars/Olympus\"; expected a time zone",
    );
    wrong(
        r#"start: "2027-03-14T02:30", zone: America/New_York, lasts: 1h"#,
        "2027-03-14T02:30:00 is on no clock there",
    );
    wrong(
        r#"start: "2026-11-01T01:30", zone: America/New_York, lasts: 1h"#,
        "2026-11-01T01:30:00 is on the clocks twice there",
    );
    wrong(
        r#"start: "2027-03-07T02:30", zone: America/New_York, lasts: 1h, every: week, until: "2027-03-21T02:30""#,
        "2027-03-14T02:30:00 is on no clock there",
    );
    wrong(
        r#"start: "2026-11-24T14:00:00Z", lasts: 25h"#,
        "lasts: found \"25h\"; expected a time such as 500ms, 10s or 5m, from 1s to 1d",
    );
    wrong(r#"start: "2026-11-24T14:00:00Z", lasts: 1h, every: week"#, "until: missing");
    wrong(
        r#"start: "2026-11-24T14:00:00Z", lasts: 1h, until: "2026-12-24T14:00:00Z""#,
        "until: nothing is repeated",
    );
    wrong(
        r#"start: "2026-11-24T14:00:00Z", lasts: 1h, every: week, until: "2026-11-23T14:00:00Z""#,
        "until: it is before start",
    );
    wrong(
        r#"start: "2026-11-24T14:00:00Z", lasts: 1h, every: day, until: "2028-11-23T14:00:00Z""#,
        "that makes 731 windows; expected at most 200",
    );
    problem(
        &brownout(
            r#"{ start: "2026-11-24T14:00:00Z", lasts: 1h }, { start: "2026-11-24T14:59:59Z", lasts: 1h }"#,
        ),
        "one window begins at 2026-11-24T14:59:59Z and another ends at 2026-11-24T15:00:00Z",
    );
    problem("brownouts:\n  - { id: bo-1, mode: soft, windows: [] }\n", "windows: the list is empty");
}

#[test]
fn what_a_brownout_names_must_be_there() {
    let wrong = |keys: &str, expect: &str| {
        let windows = r#"windows: [{ start: "2026-11-24T14:00:00Z", lasts: 1h }]"#;
        problem(&format!("brownouts:\n  - {{ id: bo-1, mode: soft, {windows}, {keys} }}\n"), expect);
    };
    wrong("share: 0%", "share: found \"0%\"; expected a share such as 10% or 0.5%");
    wrong("accounts: [4]", "accounts[0]: account 4 has no row");
    wrong("accounts: []", "accounts: the list is empty");
    wrong("accounts: [12345, 12345]", "an account stands twice in the list");
    wrong("schedules: [legcy]", "there is no schedule \"legcy\"");
    wrong("surfaces: [ap]", "there is no surface \"ap\"");
    wrong("classes: [interactiv]", "there is no endpoint class \"interactiv\"");
    let one = |id: &str, mode: &str| {
        format!(
            "  - {{ id: {id}, mode: {mode}, windows: [{{ start: \"2026-11-24T14:00:00Z\", lasts: 1h }}] }}\n"
        )
    };
    problem(&format!("brownouts:\n{}", one("all", "soft")), "\"all\" means every brownout");
    problem(&format!("brownouts:\n{}", one("bo", "loud")), "mode: found \"loud\"");
    problem(
        &format!("brownouts:\n{}{}", one("bo", "soft"), one("bo", "hard")),
        "the brownout \"bo\" is already in line",
    );
}

#[test]
fn promises_have_an_account_a_reason_and_an_end() {
    let exempt = |keys: &str, expect: &str| problem(&format!("exemptions:\n  - {{ {keys} }}\n"), expect);
    exempt("account: 12345, until: 2026-12-31T00:00:00Z", "exemptions[0].reason: missing");
    exempt("account: 12345, reason: a promise", "exemptions[0].until: missing");
    exempt(
        "account: 12345, reason: \" \", until: 2026-12-31T00:00:00Z",
        "expected a reason: one line of 3 to 500 bytes",
    );
    exempt("account: 4, reason: a promise, until: 2026-12-31T00:00:00Z", "account 4 has no row");
    exempt("account: 12345, reason: a promise, until: 2026-12-31", "a moment in UTC");
    exempt(
        "account: 12345, reason: a promise, until: 2026-12-31T00:00:00Z, brownouts: [bo-9]",
        "there is no brownout \"bo-9\"",
    );
    let extension = "  - { account: 12345, sunset_at: 2027-01-31T00:00:00Z, reason: a promise }\n";
    problem(&format!("extensions:\n{extension}{extension}"), "the account is already in line");
    let config = read(&format!("extensions:\n{extension}"));
    assert_eq!(config.extensions[0].sunset_at, parse_moment("2027-01-31T00:00:00Z").unwrap());
}

#[test]
fn schedules_say_what_comes_after_and_origins_are_whole() {
    let after = |word: &str| {
        let mut sources = example();
        replace(
            &mut sources.routing,
            "sunset_at: 2026-11-01T00:00:00Z",
            &format!("sunset_at: 2026-11-01T00:00:00Z\n    after_sunset: {word}"),
        );
        parse_all(&sources, NOW).map(|(_, config)| config.schedules[0].after_sunset)
    };
    assert_eq!(after("gone").unwrap(), AfterSunset::Gone);
    assert_eq!(after("refuse").unwrap(), AfterSunset::Refuse);
    assert!(
        lines(&after("stop").unwrap_err())
            .contains("after_sunset: found \"stop\"; expected keep, refuse or gone")
    );
    assert_eq!(read("").schedules[0].after_sunset, AfterSunset::Keep);
    for wrong in [
        "https://App.test",
        "https://app.test/",
        "app.test",
        "https://app.test:443",
        "ftp://app.test",
        "https://a@app.test",
        "\"*\"",
    ] {
        problem(&format!("cors_origins: [\"{}\"]\n", wrong.trim_matches('"')), "expected an origin such as");
    }
    assert_eq!(
        read("cors_origins: [\"https://app.test:8443\"]\n").cors_origins,
        ["https://app.test:8443".into()]
    );
    problem("brownout_exceptions: [healthz]\n", "the beginning of a path");
}

#[test]
fn a_plan_says_who_enters_and_who_leaves() {
    let windows = r#"windows: [{ start: "2026-11-24T14:00:00Z", lasts: 1h }]"#;
    let of = |share: &str, rest: &str| {
        read(&format!("brownouts:\n  - {{ id: bo-1, mode: soft, share: {share}, {windows} }}\n{rest}"))
    };
    let all = read("").accounts.len();
    let whole = of("100%", "");
    assert_eq!(whole.brownouts.all[0].mode, BrownoutMode::Soft);
    let between = |before: &Config, after: &Config| {
        let changes = diff(before, after).brownouts;
        let cohort = changes.cohorts.first().map(|cohort| (cohort.enter, cohort.leave));
        (cohort, changes.promises.first)
    };
    assert_eq!(between(&read(""), &whole), (Some((all, 0)), vec![]));
    assert_eq!(between(&whole, &read("")), (Some((0, all)), vec![]));
    assert_eq!(between(&whole, &whole), (None, vec![]));
    let half = of("50%", "");
    let stay = half.accounts.iter().filter(|account| half.brownouts.all[0].has(account.id)).count();
    assert!(stay > 0 && stay < all, "{stay} of {all}");
    assert_eq!(between(&whole, &half), (Some((0, all - stay)), vec![]));
    let exemption = "exemptions:\n  - { account: 12345, until: 2026-12-31T00:00:00Z, reason: a promise }\n";
    assert_eq!(between(&whole, &of("100%", exemption)), (Some((0, 1)), vec![]));
    let extended = |day: &str| {
        of(
            "100%",
            &format!(
                "extensions:\n  - {{ account: 12345, sunset_at: {day}T00:00:00Z, reason: a promise }}\n"
            ),
        )
    };
    let (january, march) = (extended("2027-01-31"), extended("2027-03-31"));
    let promised = |before: &Config, after: &Config| between(before, after).1;
    assert_eq!(promised(&whole, &january), ["account 12345: none -> 2027-01-31T00:00:00Z"]);
    assert_eq!(promised(&january, &march), ["account 12345: 2027-01-31T00:00:00Z -> 2027-03-31T00:00:00Z"]);
    assert_eq!(promised(&march, &whole), ["account 12345: 2027-03-31T00:00:00Z -> none"]);
    let line = diff(&read(""), &whole).to_string();
    assert!(line.contains(&format!("brownout bo-1: {all} accounts enter, 0 leave")), "{line}");
}

#[test]
fn a_hard_brownout_of_everybody_is_refused_unless_it_says_so() {
    use cellgate::config::guard::{Change, Guard, Guards, Mode, judge};
    let windows = r#"windows: [{ start: "2026-11-24T14:00:00Z", lasts: 1h }]"#;
    let of = |keys: &str| read(&format!("brownouts:\n  - {{ id: bo-1, {windows}, {keys} }}\n"));
    let against = |before: &Config, after: &Config| {
        let diff = diff(before, after);
        let change = Change { diff: &diff, cells: &[], traffic: None };
        judge(&Guards::all(Mode::Enforce), change).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let (nothing, hard) = (read(""), of("mode: hard"));
    let objections = against(&nothing, &hard);
    assert_eq!(objections.len(), 1, "{objections:?}");
    assert!(
        objections[0]
            .starts_with("brownouts: brownout bo-1 is hard for every account: in its windows the jobs of ")
            && objections[0].contains("say `everybody: true`"),
        "{objections:?}"
    );
    assert_eq!(against(&of("mode: soft"), &hard).len(), 1, "soft that becomes hard");
    assert_eq!(against(&of("mode: hard, share: 50%"), &hard).len(), 1, "half that becomes all");
    assert_eq!(against(&nothing, &of("mode: hard, surfaces: [app]")).len(), 1, "a part of what all do");
    for fine in [
        "mode: hard, everybody: true",
        "mode: hard, share: 99.9%",
        "mode: hard, accounts: [12345]",
        "mode: soft",
        "mode: observe",
    ] {
        assert_eq!(against(&nothing, &of(fine)), Vec::<String>::new(), "{fine}");
    }
    assert_eq!(against(&hard, &hard), Vec::<String>::new(), "what serves already is asked nothing");
    let mut watching = Guards::all(Mode::Enforce);
    watching.brownouts = Mode::Observe;
    let diff = diff(&nothing, &hard);
    let found = judge(&watching, Change { diff: &diff, cells: &[], traffic: None });
    assert!(found.len() == 1 && found[0].guard == Guard::Brownouts && !found[0].refuses());
}

#[test]
fn what_is_over_is_said_until_it_is_taken_out() {
    use cellgate::config::{brownouts, compile};
    let snapshot = compile(
        read(
            r#"brownouts:
  - { id: over, mode: soft, windows: [{ start: "2026-11-01T14:00:00Z", lasts: 1h, every: week, until: "2026-11-08T14:00:00Z" }] }
  - { id: weekly, mode: soft, windows: [{ start: "2026-11-01T14:00:00Z", lasts: 1h, every: week, until: "2026-12-08T14:00:00Z" }] }
exemptions:
  - { account: 12345, until: 2026-11-19T00:00:00Z, reason: year-end close }
  - { account: 12345, until: 2026-12-19T00:00:00Z, reason: another }
extensions:
  - { account: 1001, sunset_at: 2026-11-15T00:00:00Z, reason: contract until then }
"#,
        ),
        None,
    );
    let at = |moment: &str| parse_moment(moment).unwrap();
    let said = |moment: &str| {
        let remarks = brownouts::remarks(&snapshot, at(moment));
        assert!(remarks.iter().all(|remark| remark.is_overdue));
        remarks.into_iter().map(|remark| remark.what).collect::<Vec<_>>()
    };
    assert_eq!(said("2026-11-08T14:59:59Z"), Vec::<String>::new());
    assert_eq!(
        said("2026-11-19T00:00:00Z"),
        [
            "brownout over: its last window was over at 2026-11-08T15:00:00Z; take it out, or give it another one",
            "exemption of account 12345 (year-end close): it ended at 2026-11-19T00:00:00Z, so brownouts meet the account; \
             take it out, or extend it",
            "extension of account 1001 (contract until then): it ended at 2026-11-15T00:00:00Z; take it out, or extend it",
        ]
    );
}
