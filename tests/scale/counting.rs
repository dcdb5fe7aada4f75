//! What counting a legacy request costs the thread that served it, and what is left of the books when somebody sends nothing
//! but what is different from all before. Counts decide, times are printed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use cellgate::audit::books::{Books, BooksSettings, LEAST_SPOOL_BYTES};
use cellgate::audit::report::{Question, read, requests_by_account};
use cellgate::policy::credential::Fingerprint;
use cellgate::policy::decide::{Decision, Source, Verdict, Why};
use cellgate::policy::facts::{Scheme, Upgrade, WireVersion};
use cellgate::policy::hosts::Role;
use cellgate::policy::ids::{CellIndex, SurfaceIndex};
use cellgate::policy::refusal::Refusal;
use cellgate::policy::snapshot::Snapshot;
use cellgate::telemetry::EventSink;
use cellgate::telemetry::event::{End, RequestEvent, Timings};
use cellgate::telemetry::metrics::Metrics;
use fastrand::Rng;

use crate::cost::built;
use crate::snapshot::{SnapshotBuilder, account};

const ACCOUNTS: u64 = 1_000;

fn snapshot() -> Arc<Snapshot> {
    let rows = 1..=ACCOUNTS;
    let builder = SnapshotBuilder::new().cell("us1", "us1.dbt.com").path("/api/v2/accounts/{account}", true);
    Arc::new(rows.fold(builder, |builder, id| builder.account(id, "us1", &[])).build())
}

/// An answered request of an account on a legacy host.
fn request(snapshot: &Arc<Snapshot>, id: u64) -> RequestEvent {
    RequestEvent {
        snapshot: Arc::clone(snapshot),
        listener: "https".into(),
        started: SystemTime::now(),
        request_id: "req-0001".into(),
        client_ip: IpAddr::from([192, 0, 2, 7]),
        scheme: Scheme::Https,
        version: WireVersion::Http11,
        upgrade: Upgrade::None,
        method: http::Method::GET,
        host: "cloud.getdbt.com".into(),
        path: format!("/api/v2/accounts/{id}/jobs/7/").into(),
        user_agent: None,
        decision: Some(Decision {
            verdict: Verdict::Forward { cell: CellIndex(0), why: Why::Mapped },
            account: Some(account(id)),
            source: Source::Path,
            role: Some(Role::Legacy),
            surface: Some(SurfaceIndex(0)),
            fingerprint: Some(Fingerprint([7; 16])),
            credential_sent: true,
            ..Decision::refused(Refusal::Internal)
        }),
        status: 200,
        refusal: None,
        end: End::Complete,
        bytes_in: 0,
        bytes_out: 0,
        timings: Timings::default(),
        endpoint: None,
        attempts: 1,
        sends: 1,
        retry_budget_empty: false,
        reused: true,
        upstream_deprecated: false,
        planned: None,
        traced: None,
    }
}

fn start(folder: &std::path::Path) -> Books {
    let settings = BooksSettings {
        folder: folder.to_owned(),
        window: Duration::from_secs(1),
        spool_bytes: LEAST_SPOOL_BYTES,
        writer: "a".into(),
        replica: String::new(),
        shipping: None,
    };
    Books::start(settings, &Metrics::new()).unwrap()
}

#[test]
fn what_a_request_pays_to_be_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (books, snapshot) = (start(folder.path()), snapshot());
    let requests: Vec<_> = (1..=ACCOUNTS).map(|id| Arc::new(request(&snapshot, id))).collect();
    let count: u32 = if cfg!(debug_assertions) { 20_000 } else { 2_000_000 };
    let turn = |count: u32, seed: u64| {
        let mut rng = Rng::with_seed(seed);
        let begun = Instant::now();
        (0..count).for_each(|_| books.offer(&requests[rng.usize(..requests.len())]));
        begun.elapsed().as_nanos() as f64 / f64::from(count)
    };
    println!("{count} requests of {ACCOUNTS} accounts in a row ({}):", built());
    let mut sent = 0;
    for round in 0..5 {
        let alone = turn(count, round);
        let two = std::thread::scope(|scope| {
            let other = scope.spawn(|| turn(count, round + 10));
            turn(count, round).max(other.join().unwrap())
        });
        sent += 3 * u64::from(count);
        println!("  {alone:.0} ns on one thread, {two:.0} ns on each of two");
    }
    assert!(books.close(Duration::from_secs(60)));
    assert_eq!(read(folder.path(), Question::default()).unwrap().requests(), sent);
}

#[test]
fn nothing_that_clients_make_up_makes_the_books_large_or_an_account_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (books, snapshot) = (start(folder.path()), snapshot());
    let (accounts, count) = if cfg!(debug_assertions) { (50, 10_000) } else { (ACCOUNTS, 1_000_000) };
    let mut rng = Rng::with_seed(7);
    let mut sent = BTreeMap::<u64, u64>::new();
    let begun = Instant::now();
    for n in 0..count {
        let id = 1 + n % accounts;
        let mut event = request(&snapshot, id);
        event.client_ip = IpAddr::from(rng.u128(..).to_be_bytes());
        event.path = format!("/{:x}", rng.u128(..)).into();
        event.host = format!("{:x}.cloud.getdbt.com", rng.u64(..)).into();
        event.user_agent = Some(format!("{:x}/1", rng.u64(..)).into());
        event.decision.as_mut().unwrap().fingerprint = Some(Fingerprint(rng.u128(..).to_be_bytes()));
        books.offer(&Arc::new(event));
        *sent.entry(id).or_default() += 1;
    }
    let took = begun.elapsed().as_secs_f64();
    assert!(books.close(Duration::from_secs(60)));
    let found = requests_by_account(folder.path(), 0).unwrap();
    let found: BTreeMap<u64, u64> = found.into_iter().map(|(id, requests)| (id.value(), requests)).collect();
    assert_eq!(found, sent, "each account has its requests, exactly");
    let report = read(folder.path(), Question::default()).unwrap();
    let beyond: u64 =
        report.gaps.iter().filter(|gap| gap.reason == "detail").filter_map(|gap| gap.requests).sum();
    // Each account has 16 networks of its own at most, and as many rows more for each day and credential.
    assert!(
        beyond >= count - accounts * 2 * (32 + 16) && beyond < count,
        "{beyond} of {count} without detail"
    );
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap());
    let bytes: u64 = files
        .filter(|file| file.file_name().to_string_lossy().contains(".sqlite"))
        .map(|file| file.metadata().unwrap().len())
        .sum();
    println!(
        "{count} requests, all of them different ({}): {took:.1} s, {} KiB of books",
        built(),
        bytes / 1024
    );
    assert!(bytes < 64 * 1024 * 1024, "{bytes} bytes of books");
}
