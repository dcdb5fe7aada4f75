//! A legacy host and its accounts, made up: as many as are wanted, the same each time.

#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;

use cellgate::audit::fleet::{
    BooksCoverage, Brownout, BrownoutMode, Change, Count, Fleet, FleetAccount, FleetDay, Integration, Mover,
    Recent, WeekHours,
};
use cellgate::audit::recipes::Recipe;
use cellgate::audit::report::{AccountUsage, ClientUsage, GapLine, Report, Usage};
use cellgate::policy::legacy_use::activity::Cadence;
use cellgate::policy::legacy_use::forecast::{Point, forecast};
use cellgate::policy::legacy_use::verdict::{Judgement, Reason, Verdict};
use fastrand::Rng;

/// Friday, 2026-11-20, at ten.
pub const NOW: i64 = 1_795_168_800;
const DAY: i64 = 86_400;

/// Client, what it calls, why it calls the legacy host, and what to set.
const CLIENTS: [(&str, &str, &str, &str); 7] = [
    (
        "airflow-providers-dbt-cloud",
        "trigger-run",
        "the Airflow connection has no Host, so the provider falls back to cloud.getdbt.com",
        "Admin, Connections, the dbt Cloud connection: Host (Tenant) = {host}",
    ),
    (
        "terraform-provider-dbtcloud",
        "admin-api",
        "the provider calls https://cloud.getdbt.com/api where no host_url is set",
        "in the provider block, host_url = \"https://{host}/api\"",
    ),
    (
        "python-requests",
        "poll-run",
        "a script; its credential and its network say whose",
        "call https://{host} in the place of the legacy address",
    ),
    ("browser", "ui", "a bookmark or a link", "sign in at https://{host} and renew the bookmark"),
    (
        "okta-scim",
        "scim",
        "the application's base URL is the old one",
        "in Okta, the application's Provisioning, Integration: the base URL with {host} in it",
    ),
    ("curl", "artifacts", "a script or a person", "call https://{host} in the place of the legacy address"),
    ("go-http-client", "list", "", ""),
];

/// A host in the middle of its deprecation, with so many accounts.
pub fn made_up(accounts: usize) -> Fleet {
    let mut random = Rng::with_seed(42);
    let accounts: Vec<FleetAccount> = (0..accounts).map(|at| account(at, &mut random)).collect();
    let mut verdicts: BTreeMap<Verdict, Count> = BTreeMap::new();
    for account in &accounts {
        verdicts.entry(account.judged.verdict).or_default().now += 1;
    }
    for count in verdicts.values_mut() {
        count.week_ago = Some(count.now + count.now / 7 - (count.now % 5).min(count.now / 9));
    }
    let days = days(accounts.len(), &mut random);
    let sunset_at = NOW + 72 * DAY - 10 * 3600;
    let points = |day: &FleetDay| Some(Point { day: day.day, accounts: day.accounts_7d? });
    let points: Vec<Point> = days.iter().filter_map(points).collect();
    let requests = accounts.iter().map(|account| account.requests.week).sum();
    let of = |verdict| move |account: &&FleetAccount| account.judged.verdict == verdict;
    Fleet {
        generated_at: NOW,
        hosts: vec!["cloud.getdbt.com".into()],
        deprecated_since: Some(1_769_904_000),
        sunset_at: Some(sunset_at),
        coverage: coverage(),
        verdicts,
        requests,
        unattributed: requests / 260,
        forecast: forecast(&points, Some(sunset_at / DAY), 1),
        days,
        clients: movers(&accounts, |integration| integration.client.clone()),
        integrations: movers(&accounts, |one| format!("{}, {}", one.client, one.endpoints.join(", "))),
        new_accounts: accounts.iter().take(2).map(|account| account.account).collect(),
        returned: accounts.iter().filter(of(Verdict::Returned)).map(|account| account.account).collect(),
        accounts,
        brownouts: brownouts(),
        changes: changes(),
    }
}

/// What a report says of the same accounts, of the last seven days.
pub fn report_of(fleet: &Fleet) -> Report {
    let usage = |of: &FleetAccount| Usage {
        statuses: [0, of.requests.week, 0, 0, 0],
        first_seen: of.first_seen,
        last_seen: of.last_seen,
        clients: of
            .details
            .first()
            .filter(|_| of.requests.week > 0)
            .map(|one| client_usage(one, of.requests.week))
            .into_iter()
            .collect(),
    };
    let account = |of: &FleetAccount| AccountUsage {
        account: of.account,
        prefix: of.prefix.clone(),
        cell: of.cell.clone(),
        usage: usage(of),
        judged: of.judged.clone(),
    };
    let many = |(verdict, count): (&Verdict, &Count)| (*verdict, count.now as usize);
    Report {
        since: NOW - 7 * DAY,
        kept_since: Some(NOW - 196 * DAY),
        written_at: Some(NOW - 4),
        only: None,
        accounts: fleet.accounts.iter().map(account).collect(),
        verdicts: fleet.verdicts.iter().map(many).collect(),
        unattributed: Usage { statuses: [0, 0, 0, fleet.unattributed, 0], ..Usage::default() },
        unmapped: Usage::default(),
        gaps: fleet.coverage.gaps.clone(),
    }
}

fn client_usage(of: &Integration, requests: u64) -> ClientUsage {
    ClientUsage {
        client: of.client.clone(),
        surface: "app".into(),
        requests,
        last_seen: of.last_seen,
        endpoint: "/api/v2/accounts/{account}".into(),
        recipe: of.recipe.clone(),
    }
}

fn coverage() -> BooksCoverage {
    let gap =
        GapLine { ended_at: NOW - 9 * DAY, reason: "queue_full".into(), requests: Some(412), note: None };
    BooksCoverage { share: 0.999_84, days: 196, gaps: vec![gap] }
}

fn brownouts() -> Vec<Brownout> {
    let brownout = |id: &str, days_ago: i64, hours: i64, mode, left| {
        let started_at = NOW - days_ago * DAY + 4 * 3600;
        let ended_at = started_at + hours * 3600;
        Brownout {
            id: id.into(),
            started_at,
            ended_at,
            mode,
            accounts: 118,
            requests: 9_312,
            writes: 700,
            left,
        }
    };
    vec![
        brownout("bo-2026-10-06", 45, 1, BrownoutMode::Observe, None),
        brownout("bo-2026-10-20", 31, 1, BrownoutMode::Soft, Some(11)),
        brownout("bo-2026-11-10", 10, 4, BrownoutMode::Hard, Some(27)),
    ]
}

fn changes() -> Vec<Change> {
    let change = |days_ago: i64, who: Option<&str>, what: &str| Change {
        at: NOW - days_ago * DAY,
        who: who.map(Into::into),
        what: what.into(),
    };
    vec![
        change(292, Some("kim"), "deprecated_since set to 2026-02-01"),
        change(61, Some("lee"), "sunset_at 2026-11-01 -> 2027-01-31: finance closes the year in December"),
        change(10, None, "brownout bo-2026-11-10 began"),
    ]
}

fn days(accounts: usize, random: &mut Rng) -> Vec<FleetDay> {
    let today = NOW / DAY;
    let start = accounts as f64 * 0.97;
    let day = |back: i64| {
        let age = (196 - back) as f64;
        let left = start * (-age / 240.0).exp() * (0.98 + random.f64() * 0.04);
        let weekend = matches!((today - back + 4).rem_euclid(7), 0 | 6);
        let requests = left * if weekend { 34.0 } else { 96.0 } * (0.9 + random.f64() * 0.2);
        let accounts_7d = (back < 190).then_some(left.round() as u64);
        FleetDay { day: today - back, accounts_7d, requests: requests as u64 }
    };
    (0..=196).rev().map(day).collect()
}

fn movers(accounts: &[FleetAccount], name: impl Fn(&Integration) -> String) -> Vec<Mover> {
    let mut movers: BTreeMap<String, Mover> = BTreeMap::new();
    for account in accounts {
        for integration in &account.details {
            let name = name(integration);
            let recipe = CLIENTS.iter().find(|client| client.0 == integration.client).and_then(recipe(None));
            let mover =
                movers.entry(name.clone()).or_insert(Mover { name, accounts: 0, requests: 0, recipe });
            mover.accounts += 1;
            mover.requests += integration.requests / 30;
        }
    }
    let mut movers: Vec<Mover> = movers.into_values().collect();
    movers.sort_by_key(|mover| std::cmp::Reverse(mover.accounts));
    movers
}

fn recipe(address: Option<&str>) -> impl Fn(&(&str, &str, &str, &str)) -> Option<Recipe> {
    let address = address.unwrap_or("{host}").to_owned();
    move |(_, _, why, how)| {
        let why = (!why.is_empty()).then(|| (*why).to_owned());
        (!how.is_empty()).then(|| Recipe { why, how: how.replace("{host}", &address) })
    }
}

fn account(at: usize, random: &mut Rng) -> FleetAccount {
    let id = 70_000 + at as u64 * 37;
    let verdict = match random.u8(..100) {
        0..34 => Verdict::Active,
        34..36 => Verdict::Returned,
        36..45 => Verdict::Fading,
        45..61 => Verdict::Quiet,
        61..63 => Verdict::Unknown,
        63..95 => Verdict::Ready,
        95..98 => Verdict::NotMigrated,
        _ => Verdict::Cut,
    };
    let is_there = matches!(verdict, Verdict::Active | Verdict::Returned | Verdict::Fading);
    let silent = match verdict {
        _ if is_there => random.i64(60..40 * 3600),
        Verdict::Quiet => random.i64(4..30) * DAY,
        _ => random.i64(40..120) * DAY,
    };
    let address = format!("{}{}.us{}.dbt.com", ["ab", "mx", "qr"][at % 3], 100 + at, 1 + at % 4);
    let size = 1 << random.u32(2..12);
    let details: Vec<Integration> =
        (0..random.usize(1..4)).map(|_| integration(&address, silent, size, random)).collect();
    let mut curve = [0; 30];
    for (back, day) in curve.iter_mut().rev().enumerate() {
        let is_silent = (back as i64) * DAY < silent && silent > 2 * DAY;
        *day = if is_silent { 0 } else { random.u64(size / 2..=size) * 8 / (4 + back as u64 % 7) };
    }
    let sum = |days: usize| curve[30 - days..].iter().sum();
    FleetAccount {
        account: id,
        prefix: address.split('.').next().map(Into::into),
        cell: Some(format!("us{}", 1 + at % 4)),
        judged: judged(verdict, silent),
        first_seen: NOW - random.i64(150..200) * DAY,
        last_seen: NOW - silent,
        requests: Recent { day: sum(1), week: sum(7), month: sum(30) },
        curve,
        integrations: details.len(),
        top_client: details.first().map(|integration| integration.client.clone()),
        writes_daily: if is_there { size as f64 / 9.0 } else { 0.0 },
        details,
        address: Some(address),
    }
}

fn judged(verdict: Verdict, silent: i64) -> Judgement {
    let mut reasons = vec![Reason::LastSeen(silent), Reason::Comes(Cadence::Weekdays)];
    match verdict {
        Verdict::Returned => reasons.push(Reason::Returned { after: 61, days_ago: 3 }),
        Verdict::Fading => reasons.push(Reason::Less { last: 112, usual: 900, days: 7 }),
        Verdict::Active => {}
        Verdict::NotMigrated => reasons.push(Reason::NotMigrated),
        Verdict::Cut => reasons.push(Reason::Cut(5 * DAY)),
        Verdict::Quiet | Verdict::Ready | Verdict::Unknown => {
            reasons.push(Reason::Window { days: 36, gap: 3 });
        }
    }
    let is_over = matches!(verdict, Verdict::Ready | Verdict::NotMigrated | Verdict::Cut);
    let ready_at = (!is_over).then_some(NOW - silent + 36 * DAY);
    Judgement { verdict, reasons, cadence: Some(Cadence::Weekdays), window_days: 36, ready_at }
}

fn integration(address: &str, silent: i64, size: u64, random: &mut Rng) -> Integration {
    let client = &CLIENTS[[0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6][random.usize(..11)]];
    let mut hours = WeekHours::default();
    for (day, of_day) in hours.iter_mut().enumerate() {
        for (hour, requests) in of_day.iter_mut().enumerate() {
            let is_office = day < 5 && (7..19).contains(&hour);
            *requests = if is_office { random.u64(size / 3..=size) } else { random.u64(0..=size / 9) };
        }
    }
    Integration {
        client: client.0.into(),
        credential: (client.0 != "browser").then(|| format!("k1:{:012x}", random.u64(..1 << 48))),
        network: Some(format!("{}.{}.{}.0/24", random.u8(11..200), random.u8(..), random.u8(..))),
        endpoints: vec![client.1.into()],
        first_seen: NOW - random.i64(100..196) * DAY,
        last_seen: NOW - silent,
        requests: hours.iter().flatten().sum(),
        hours,
        recipe: recipe(Some(address))(client),
    }
}
