//! Sources of one request that disagree, in every combination; and where our own redirects can lead.

use cellgate::policy::decide::{Source, Verdict};
use cellgate::policy::learned::LearnedTable;
use cellgate::policy::secure;

use crate::snapshot::{Request, SERVICE_TOKEN, example};

/// Path, query, header, credential, cookie: the order in which they count, and an account for each.
const SOURCES: [(Source, u64); 5] = [
    (Source::Path, 26_228),
    (Source::Query, 70_403_103_966_603),
    (Source::Header, 70_471_823_417_825),
    (Source::Credential, 12_345),
    (Source::Cookie, 70_437_463_654_557),
];

/// A request of a legacy host with those sources whose bit is set. `same` is what all but the credential name.
fn request(bits: u32, same: Option<u64>) -> Request {
    let has = |number: u32| bits & 1 << number != 0;
    let account = |number: usize| same.unwrap_or(SOURCES[number].1);
    let path = if has(0) { format!("/deploy/{}/", account(0)) } else { "/x".into() };
    let query = if has(1) { format!("?account_id={}", account(1)) } else { String::new() };
    let mut fields = Vec::new();
    if has(2) {
        fields.push(format!("x-account-id: {}", account(2)));
    }
    if has(3) {
        fields.push(format!("Authorization: Token {SERVICE_TOKEN}"));
    }
    if has(4) {
        fields.push(format!("Cookie: account={}", account(4)));
    }
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    Request::new(&format!("GET cloud.getdbt.com{path}{query}")).with(&fields)
}

#[test]
fn every_combination_of_sources_has_one_answer() {
    let snapshot = example().build();
    let mut combinations = 0;
    for bits in 0..1 << SOURCES.len() {
        for same in [None, Some(12_345)] {
            let request = request(bits, same);
            let decision = request.decide(&snapshot, &LearnedTable::default());
            let present: Vec<_> =
                SOURCES.iter().enumerate().filter(|(number, _)| bits & 1 << number != 0).collect();
            let explicit = present.iter().filter(|(number, _)| *number < 3).count();
            let what = format!("{bits:05b} {same:?}: {decision:?}");
            match present.first() {
                None => {
                    assert!(matches!(&decision.verdict, Verdict::Refuse(r) if r.status() == 404), "{what}")
                }
                Some(_) if same.is_none() && explicit > 1 => {
                    assert!(matches!(&decision.verdict, Verdict::Refuse(r) if r.status() == 400), "{what}");
                }
                Some((_, (source, account))) => {
                    let account = same.unwrap_or(*account);
                    assert_eq!(decision.account.map(|account| account.value()), Some(account), "{what}");
                    assert_eq!(decision.source, *source, "{what}");
                    assert!(matches!(decision.verdict, Verdict::Forward { .. }), "{what}");
                    let disagree = same.is_none() && present.len() > 1;
                    assert_eq!(!decision.conflicts.is_empty(), disagree, "disagreement is noted: {what}");
                }
            }
            combinations += 1;
        }
    }
    assert_eq!(combinations, 64);
}

/// Beginnings of a target that browsers and servers have taken for another host.
const TARGETS: [&str; 16] = [
    "/x",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "/\\/evil.example",
    "/%2fevil.example",
    "/%5cevil.example",
    "/.evil.example",
    "/@evil.example",
    "/;@evil.example",
    "/?//evil.example",
    "/x?next=//evil.example",
    "/..//evil.example",
    "/%0d%0aLocation:%20//evil.example",
    "/https://evil.example",
    "/:80@evil.example",
];

#[test]
fn no_redirect_of_ours_leads_to_a_host_that_is_not_ours() {
    let snapshot = example().token("FAKE-of-zz001", 70_506_183_150_011).build();
    let browser = [
        "Sec-Fetch-Mode: navigate",
        "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
        "Cookie: sessionid=FAKE-of-zz001",
    ];
    let ours = |location: &str| {
        let url = location.strip_prefix("https://").unwrap_or_default();
        let end = url.find(['/', '?', '#', '\\']).unwrap_or(url.len());
        let (host, rest) = url.split_at(end);
        let host = host.strip_suffix(":8443").unwrap_or(host);
        let plain = rest.starts_with('/') && !location.contains(['\r', '\n']);
        plain && (host.ends_with(".dbt.com") || host.ends_with("getdbt.com")) && !host.contains('@')
    };
    let (mut redirected, mut refused) = (0, 0);
    for host in [
        "cloud.getdbt.com",
        "CLOUD.getdbt.com.",
        "cloud.getdbt.com:8080",
        "evil.example",
        "zz001.us2.dbt.com",
    ] {
        for target in TARGETS {
            let plain = Request::new(&format!("GET {host}{target}"));
            for port in [443, 8443] {
                let location = plain.read(&snapshot, |facts| secure::location(&snapshot, facts, port));
                match location {
                    Ok(Ok(location)) => {
                        assert!(ours(&location), "{host}{target} leads to {location}");
                        redirected += 1;
                    }
                    Ok(Err(_)) | Err(_) => refused += 1,
                }
            }
            let separator = if target.contains('?') { '&' } else { '?' };
            let page = format!("GET {host}{target}{separator}account_id=70506183150011");
            let decision = Request::new(&page).with(&browser).decide(&snapshot, &LearnedTable::default());
            if let Verdict::Redirect { location } = &decision.verdict {
                assert!(ours(location), "{page} leads to {location}");
                redirected += 1;
            }
        }
    }
    assert!(redirected > 40 && refused >= 32, "{redirected} {refused}");
    assert!(
        !ours("https://evil.example/") && !ours("//evil.example") && !ours("https://dbt.com.evil.example/")
    );
}
