//! The page as a whole. What a browser makes of it is tried in `tests/e2e/clients/report_page.rs`.

use std::time::Instant;

use super::super::fleet::{Brownout, BrownoutMode, Change, Fleet, Integration};
use super::super::made_up::made_up;
use super::super::recipes::Recipe;
use super::*;

/// More is no attachment that somebody opens on a phone.
const MOST_BYTES: usize = 3_000_000;

/// What breaks out of an element, an attribute and a script.
const HOSTILE: &str = "'\"><img src=x onerror=alert(1)></script><script>alert(2)</script><!--";

fn hostile(fleet: &mut Fleet) {
    let text = || HOSTILE.to_owned();
    let recipe = || Some(Recipe { why: Some(text()), how: text() });
    fleet.hosts = vec![text()];
    for gap in &mut fleet.coverage.gaps {
        (gap.reason, gap.note) = ("damaged".into(), Some(text()));
    }
    for mover in fleet.clients.iter_mut().chain(&mut fleet.integrations) {
        (mover.name, mover.recipe) = (text(), recipe());
    }
    for account in &mut fleet.accounts {
        (account.prefix, account.address) = (Some(text()), Some(text()));
        (account.cell, account.top_client) = (Some(text()), Some(text()));
        for integration in &mut account.details {
            integration.client = text();
            (integration.credential, integration.network) = (Some(text()), Some(text()));
            integration.endpoints = vec![text(), text()];
            integration.recipe = recipe();
        }
    }
    let mode = BrownoutMode::Hard;
    let at = fleet.generated_at - 86_400;
    fleet.brownouts.push(Brownout {
        id: text(),
        started_at: at,
        ended_at: at,
        mode,
        accounts: 1,
        requests: 1,
        writes: 1,
        left: None,
    });
    fleet.changes.push(Change { at, who: Some(text()), what: text() });
}

#[test]
fn what_traffic_made_up_is_text_everywhere() {
    let mut fleet = made_up(60);
    let calm = page(&fleet, Place::File);
    hostile(&mut fleet);
    let page = page(&fleet, Place::File);
    assert!(page.matches("&lt;img src=x onerror=alert(1)&gt;").count() > 100);
    for element in ["<img", "<!--", "onerror=alert(1)>"] {
        assert!(!page.contains(element), "{element}");
    }
    for element in ["<script", "</script"] {
        assert_eq!(page.matches(element).count(), 1, "{element}");
    }
    // Not one quote more or less in any element than where texts are harmless.
    let quotes = |html: &str| {
        html.split('<')
            .filter(|element| element.split('>').next().unwrap_or("").matches('"').count() % 2 == 1)
            .count()
    };
    assert_eq!((quotes(&page), quotes(&calm)), (0, 0));
}

#[test]
fn the_policy_names_the_one_style_and_the_one_script() {
    let page = page(&made_up(3), Place::File);
    let between = |start: &str, end: &str| {
        let rest = page.split_once(start).map(|(_, rest)| rest);
        rest.and_then(|rest| rest.split_once(end)).map(|(inside, _)| inside).unwrap_or_default()
    };
    let (style, script) = (hash(between("<style>", "</style>")), hash(between("<script>", "</script>")));
    assert_eq!(
        between("http-equiv=\"Content-Security-Policy\" content=\"", "\""),
        format!(
            "default-src 'none'; style-src '{style}'; script-src '{script}'; img-src data:; base-uri 'none'; form-action 'none'"
        )
    );
    for elsewhere in ["http://", "src=\"", " style=", "onclick", "@import", "url("] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
}

#[test]
#[allow(clippy::print_stdout)] // How long it took is for whoever runs this, and decides nothing.
fn a_hundred_thousand_accounts_are_one_small_file_that_says_what_it_leaves_out() {
    let fleet = made_up(100_000);
    let began = Instant::now();
    let calm = page(&fleet, Place::File);
    println!("{} bytes in {:?}", calm.len(), began.elapsed());
    assert!(calm.len() < MOST_BYTES, "{}", calm.len());
    assert_eq!(calm.matches("<tr><td title=").count(), table::ROWS);
    assert_eq!(calm.matches("<details>").count(), account::SECTIONS);
    assert!(calm.contains("Not in this table: ") && calm.contains("have no section here"));
}

#[test]
fn long_names_and_many_integrations_are_bounded_too() {
    let mut fleet = made_up(2_000);
    hostile(&mut fleet);
    for account in &mut fleet.accounts {
        account.top_client = Some("&".repeat(5_000));
        let one = account.details[0].clone();
        account.details.extend(vec![one; 12]);
        account.integrations = 5_000;
    }
    let worst = page(&fleet, Place::File);
    assert!(worst.len() < 4 * MOST_BYTES, "{}", worst.len());
}

#[test]
fn nobody_is_a_page_too() {
    let mut fleet = made_up(0);
    fleet.days.clear();
    fleet.coverage.share = 0.5;
    let page = page(&fleet, Place::File);
    for text in
        ["There is no curve yet", "All 0 accounts", "Nobody is left to write to", "complete for 50.00 % of"]
    {
        assert!(page.contains(text), "{text}");
    }
}

/// The page of the first account that has integrations, for each reader.
fn pages_of_one(fleet: &Fleet) -> [String; 3] {
    let id = fleet.accounts[0].account;
    [Reader::Operator(Place::File), Reader::Operator(Place::Live), Reader::Owner]
        .map(|reader| account_page(fleet, id, reader))
}

#[test]
fn the_page_of_one_account_is_as_harmless_as_that_of_all_and_has_no_script() {
    let mut fleet = made_up(3);
    hostile(&mut fleet);
    for page in pages_of_one(&fleet) {
        // Where its age is told on the admin plane, and nowhere else.
        assert!(page.matches(AGE).count() <= 1, "{page}");
        let page = page.replace(AGE, "");
        assert!(page.matches("&lt;img src=x onerror=alert(1)&gt;").count() >= 10, "{page}");
        for element in
            ["<img", "<!--", "<script", "</script", "onerror=alert(1)>", " style=", "src=\"", "http://"]
        {
            assert!(!page.contains(element), "{element}");
        }
        let policy = format!(
            "content=\"default-src 'none'; style-src '{}'; img-src data:; base-uri 'none'; form-action 'none'\"",
            hash(STYLE)
        );
        assert!(page.contains(&policy), "{page}");
        // What the policy of a header lets a page do is no less than that of the page itself.
        assert!(super::policy().contains(&hash(SCRIPT)) && super::policy().contains(&hash(STYLE)));
    }
}

#[test]
fn the_page_of_one_account_has_its_verdict_line_by_line_its_week_and_every_fix() {
    let mut fleet = made_up(40);
    let one = fleet.accounts[0].details[0].clone();
    let client = |at: usize| format!("client-{at}");
    fleet.accounts[0].details = (0..30)
        .map(|at| {
            let recipe = Some(Recipe { why: None, how: format!("set it at {}", client(at)) });
            Integration { client: client(at), recipe, ..one.clone() }
        })
        .collect();
    fleet.accounts[0].details[0].endpoints = (0..9).map(|at| format!("endpoint-{at}")).collect();
    let account = fleet.accounts[0].clone();
    let others: Vec<u64> = fleet.accounts[1..].iter().map(|of| of.account).collect();
    let [file, live, owner] = pages_of_one(&fleet);
    for page in [&file, &live, &owner] {
        assert_eq!(page.matches("<li>").count(), why_lines(&account) + gaps(page), "{page}");
        assert!(page.contains("<svg class=\"heat\"") && page.contains("<svg class=\"days\""));
        assert!((0..30).all(|at| page.contains(&format!("set it at {}", client(at)))), "a fix for each");
        assert!((0..9).all(|at| page.contains(&format!("endpoint-{at}"))), "all that it calls");
        assert!(!others.iter().any(|other| page.contains(&other.to_string())), "nobody else");
    }
    let cell = format!("<dd>{}</dd>", account.cell.unwrap());
    assert!(file.contains(&cell) && file.contains("Books complete"));
    assert!(!owner.contains(&cell) && !owner.contains("Books complete") && !owner.contains("Coverage"));
    assert!(live.contains("href=\"/report\"") && !file.contains("href=\"/") && !owner.contains("href=\"/"));
    let nobody = account_page(&fleet, 1, Reader::Operator(Place::File));
    assert!(nobody.contains("The books know nothing of account 1<"), "{nobody}");
}

fn why_lines(account: &FleetAccount) -> usize {
    account.judged.reasons.len() + usize::from(account.judged.ready_at.is_some())
}

/// Gaps are told to operators.
fn gaps(page: &str) -> usize {
    usize::from(page.contains("id=\"coverage\""))
}

#[test]
fn on_the_admin_plane_every_account_has_a_link() {
    let fleet = made_up(300);
    let live = page(&fleet, Place::Live);
    for account in &fleet.accounts {
        let (near, far) =
            (format!("href=\"#a{}\"", account.account), format!("/report/accounts/{}\"", account.account));
        assert!(live.contains(&near) || live.contains(&far), "{}", account.account);
    }
    assert!(live.contains("href=\"/report/accounts/"));
    assert!(!page(&fleet, Place::File).contains("/report/accounts/"));
}
