//! Against a real server, which each test starts for itself.

use std::path::Path;
use std::sync::Arc;

use super::super::books::Shared;
use super::super::frame::tests::{NOON, frame, uses};
use super::super::frame::{Account, Frame, Gap, Harm, Minute, Renamed, UnknownClient, Use};
use super::super::met::BrownoutUse;
use super::super::minute::{Ends, LostCall};
use super::super::outbox::{self, Outbox};
use super::super::postgres_server::Server;
use super::super::report::{Question, read};
use super::super::shelf::Source;
use super::super::spool::Reader;
use super::super::store::Store;
use super::super::tests::outputs;
use super::shipper::Shipper;
use super::*;
use crate::policy::legacy_use::verdict::Verdict;
use crate::telemetry::metrics::Metrics;

/// Seconds of a day.
const DAY: i64 = 86_400;

fn settings(server: &Server) -> DatabaseSettings {
    DatabaseSettings { connection_file: server.connection_file(), ca_file: None }
}

fn source(settings: &DatabaseSettings) -> Source<'_> {
    Source::Database(std::borrow::Cow::Borrowed(settings))
}

/// Windows of an hour over seventy days of some replicas, with all that a frame can have.
fn windows(rng: &mut fastrand::Rng, writer: &str, replica: &str) -> Vec<Frame> {
    let (first, clients) = (NOON - 70 * DAY, ["airflow", "curl", "terraform"]);
    let mut frames = Vec::new();
    for number in 0..70 * 24 {
        let at = first + number * 3_600;
        let mut rows = Vec::new();
        for _ in 0..rng.usize(0..4) {
            let mut row = uses(rng.u64(1..12), clients[rng.usize(0..3)], rng.u64(1..50));
            row.day = at.div_euclid(DAY);
            row.hours = vec![(u8::try_from(at.rem_euclid(DAY) / 3_600).unwrap(), row.statuses.iter().sum())];
            (row.first_seen, row.last_seen) = (at + rng.i64(0..60), at + rng.i64(60..3_600));
            (row.writes, row.refused) = (rng.u64(0..3), rng.u64(0..2));
            row.integration.class = ["none", "trigger"][rng.usize(0..2)].into();
            row.integration.credential = format!("k1:{:012x}", rng.u64(0..4));
            row.integration.network = format!("192.0.2.{}/24", rng.u8(0..3));
            row.template = ["other", "/api/v2/accounts/{account}/jobs/"][rng.usize(0..2)].into();
            if rng.u8(0..9) == 0 {
                (row.integration.subject, row.integration.account) = ("unattributed".into(), 0);
            }
            rows.push(row);
        }
        let mut frame = frame(writer, number + 1, rows);
        (frame.started_at, frame.ended_at) = (at, at + 3_600);
        (frame.replica, frame.last) = (replica.into(), number == 70 * 24 - 1);
        let cell = ["us1", "shared"][rng.usize(0..2)].to_owned();
        frame.accounts =
            vec![Account { id: rng.u64(1..12), prefix: Some("ab123".into()), cell: cell.clone() }].into();
        frame.learned.push((at.div_euclid(DAY), "07".repeat(16), 2));
        frame.on_cell_hosts.push((at.div_euclid(DAY), rng.u64(1..12), 3));
        let ends = Ends { requests: 9, failed: rng.u64(0..9), late: [1, 0] };
        let minute = Minute { minute: at / 60, legacy: rng.bool(), cell, class: "none".into(), ends };
        let account = rng.u64(1..12);
        frame.harmed.push(Harm { of: minute.clone(), account, credential: "k1:000000000001".into() });
        frame.minutes.push(minute);
        if rng.u8(0..40) == 0 {
            let (started_at, ended_at) = (Some(at), at + 60);
            frame.gaps.push(Gap {
                reason: "detail".into(),
                started_at,
                ended_at,
                requests: Some(3),
                note: None,
            });
        }
        if rng.u8(0..30) == 0 {
            let mode = ["soft", "observe"][rng.usize(0..2)].to_owned();
            let (started_at, ended_at) = (at / DAY * DAY, at / DAY * DAY + 3_600);
            let (day, account, brownout) = (at / DAY, rng.u64(0..12), "bo-1".to_owned());
            let (requests, writes) = (rng.u64(1..9), 1);
            let line = BrownoutUse { day, brownout, mode, started_at, ended_at, account, requests, writes };
            frame.brownouts.push(line);
        }
        if rng.u8(0..9) == 0 {
            let product = ["acme-sync", "-", "other-tool"][rng.usize(0..3)].to_owned();
            frame.unknown_clients.push(UnknownClient { product, requests: rng.u64(1..9), too_many: 0 });
            let names = |number: u64| (format!("k1:{number:012x}"), format!("k2:{number:012x}"));
            let (before, credential) = names(rng.u64(0..4));
            frame.renamed.push(Renamed { account: rng.u64(1..12), credential, before });
        }
        if rng.u8(0..20) == 0 {
            frame.lost.push(lost(rng, at));
        }
        frames.push(frame);
    }
    frames
}

fn lost(rng: &mut fastrand::Rng, at: i64) -> LostCall {
    LostCall {
        at,
        account: rng.u64(0..12),
        method: "POST".into(),
        path: "/api/v2/accounts/1/jobs/7/run/".into(),
        request_id: format!("{:016x}", rng.u64(..)),
        outcome: "unknown".into(),
        status: 504,
        refusal: rng.bool().then(|| "cell_timeout".into()),
        cell: "us1".into(),
        class: "trigger".into(),
        credential: "none".into(),
    }
}

fn in_files(folder: &Path, frames: &[Frame]) {
    let mut store = Store::new(folder);
    frames.iter().for_each(|frame| store.write(frame, NOON).unwrap());
}

#[test]
fn reports_of_the_database_are_those_of_files_byte_for_byte_whatever_came_first_and_how_often() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let settings = settings(&server);
    let rng = &mut fastrand::Rng::with_seed(7);
    let mut parcels = Vec::new();
    for (writer, replica) in [("a", "edge-0"), ("b", "edge-1"), ("c", "edge-1")] {
        let mut frames = windows(rng, writer, replica);
        // One that never comes: in the middle, where the files note a hole when the next one comes.
        frames.remove(700);
        in_files(folder.path(), &frames);
        parcels.extend(frames.chunks(50).map(<[Frame]>::to_vec));
        // Some come twice, with others.
        parcels.extend(frames.chunks(90).skip(2).step_by(5).map(<[Frame]>::to_vec));
    }
    rng.shuffle(&mut parcels);
    std::thread::scope(|scope| {
        for parcels in parcels.chunks(parcels.len().div_ceil(4)) {
            let settings = &settings;
            scope.spawn(move || {
                let mut client = connect_to_write(settings).unwrap();
                parcels.iter().for_each(|frames| _ = write(&mut client, frames).unwrap());
            });
        }
    });
    let files = outputs(folder.path(), NOON);
    let database = outputs(source(&settings), NOON);
    assert_eq!(files.len(), database.len());
    for (files, database) in files.iter().zip(&database) {
        let differs = files.lines().zip(database.lines()).find(|(one, other)| one != other);
        assert!(files == database, "{differs:?}");
    }
    assert!(
        files.iter().any(|output| output.contains("terraform")) && files[0].contains("spool"),
        "{}",
        files[0]
    );
    let mut client = server.connect();
    let windows = "SELECT writer, windows::text FROM cellgate.writers ORDER BY writer";
    let windows = client.query(windows, &[]).unwrap();
    let windows: Vec<(String, String)> = windows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expect = ["a", "b", "c"].map(|writer| (writer.to_owned(), "{[1,701),[702,1681)}".to_owned()));
    assert_eq!(windows, expect);
}

#[test]
fn a_fleet_is_complete_for_the_time_of_all_its_replicas() {
    let server = Server::start();
    let settings = settings(&server);
    let mut client = connect_to_write(&settings).unwrap();
    // A window a day, from one day to another.
    let run = |writer: &str, replica: &str, from: i64, to: i64, last: bool| {
        let days = from..to;
        let days = days.map(|day| {
            let mut frame = frame(writer, day + 101, Vec::new());
            (frame.started_at, frame.ended_at) = (NOON + day * DAY, NOON + (day + 1) * DAY);
            (frame.replica, frame.last) = (replica.to_owned(), last && day + 1 == to);
            frame
        });
        days.collect::<Vec<_>>()
    };
    let mut once = run("a", "edge-0", -100, 0, false);
    let at = once[40].started_at;
    let of = Use { day: at / DAY, first_seen: at, last_seen: at, ..uses(1, "curl", 1) };
    once[40].uses = vec![of].into();
    write(&mut client, &once).unwrap();
    let verdict = || {
        let question = Question { all: true, now: NOON, ..Question::default() };
        let report = read(source(&settings), question).unwrap();
        (report.accounts[0].judged.verdict, report.gaps)
    };
    assert_eq!(verdict(), (Verdict::Ready, vec![]));
    // Another one was there, and has been silent for thirty days.
    write(&mut client, &run("b", "edge-1", -100, -30, false)).unwrap();
    let (unknown, gaps) = verdict();
    assert_eq!((unknown, gaps.len()), (Verdict::Unknown, 1));
    assert_eq!((gaps[0].reason.as_str(), gaps[0].note.as_deref()), ("silent", Some("edge-1")));
    assert_eq!(gaps[0].ended_at, NOON - 30 * DAY);
    // What it had not shipped comes after all.
    write(&mut client, &run("b", "edge-1", -30, -20, true)).unwrap();
    assert_eq!(verdict(), (Verdict::Ready, vec![]), "it has ended, and has said so");
}

#[test]
fn a_replica_that_is_gone_for_good_can_be_said_to_be() {
    let server = Server::start();
    let settings = settings(&server);
    let mut client = connect_to_write(&settings).unwrap();
    for (writer, replica, at) in [("a", "edge-0", 0), ("b", "edge-1", -DAY), ("c", "edge-2", -DAY)] {
        let mut frame = frame(writer, 1, Vec::new());
        (frame.started_at, frame.ended_at) = (NOON - 2 * DAY, NOON + at);
        frame.replica = replica.to_owned();
        write(&mut client, &[frame]).unwrap();
    }
    let silent = || {
        let report = read(source(&settings), Question { now: NOON, ..Question::default() }).unwrap();
        report.gaps.into_iter().filter_map(|gap| gap.note).collect::<Vec<_>>()
    };
    assert_eq!(silent(), ["edge-1", "edge-2"]);
    assert_eq!(retire(&settings, "edge-1", NOON).unwrap(), Retired::Runs(1));
    assert_eq!(silent(), ["edge-2"]);
    assert_eq!(retire(&settings, "edge-0", NOON + 60).unwrap(), Retired::HeardOf(NOON));
    assert_eq!(retire(&settings, "edge-9", NOON).unwrap(), Retired::Unknown);
}

#[test]
fn replicas_that_begin_together_make_the_tables_once() {
    let server = Server::start();
    let settings = settings(&server);
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let settings = &settings;
            scope.spawn(move || {
                let mut client = connect_to_write(settings).unwrap();
                let frames = [frame(&format!("w{writer}"), 1, vec![uses(1, "curl", 1), uses(2, "curl", 2)])];
                assert_eq!(write(&mut client, &frames).unwrap(), 1);
                assert_eq!(write(&mut client, &frames).unwrap(), 0);
            });
        }
    });
    let report = read(source(&settings), Question::default()).unwrap();
    let requests: Vec<_> = report.accounts.iter().map(|of| (of.account, of.usage.requests())).collect();
    assert_eq!(requests, [(2, 16), (1, 8)]);
}

#[test]
fn what_cannot_be_used_is_told_and_no_password_is() {
    let mut server = Server::start();
    let here = settings(&server);
    let said = |settings: &DatabaseSettings| {
        let error = read(source(settings), Question::default()).unwrap_err().to_string();
        assert!(!error.contains("canary"), "{error}");
        error
    };
    assert!(said(&here).contains("has no books"));
    connect_to_write(&here)
        .unwrap()
        .batch_execute("INSERT INTO cellgate.schema_version VALUES (99)")
        .unwrap();
    assert!(said(&here).contains("schema version 99"), "{}", said(&here));
    assert!(matches!(connect_to_write(&here), Err(DatabaseError::Newer { found: 99, .. })));
    let with = |text: String| DatabaseSettings {
        connection_file: server.connection_file_with("other", &text),
        ca_file: None,
    };
    let nobody = with(server.connection_string().replace("user=cellgate", "user=nobody password=canary"));
    assert!(said(&nobody).contains("role \"nobody\" does not exist"), "{}", said(&nobody));
    assert!(said(&with("passwort=canary".into())).contains("host=db.example.com"));
    assert!(
        said(&with("host=192.0.2.1 password=canary connect_timeout=0 sslmode=wrong".into()))
            .contains("host=db")
    );
    fs::set_permissions(&here.connection_file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(said(&here).contains("everybody can read it: chmod o-rwx "), "{}", said(&here));
    server.connection_file();
    let missing = DatabaseSettings { connection_file: "/nowhere".into(), ca_file: None };
    assert!(said(&missing).contains("/nowhere"));
    server.stop();
    assert!(said(&here).contains("/connection leads to cannot be read: PostgreSQL: "), "{}", said(&here));
}

#[test]
fn old_months_go_and_one_account_can_be_forgotten() {
    let server = Server::start();
    let settings = settings(&server);
    let mut client = connect_to_write(&settings).unwrap();
    let old = NOON - 400 * DAY;
    let mut early = frame("a", 1, vec![Use { day: old / DAY, ..uses(1, "curl", 5) }]);
    (early.started_at, early.ended_at) = (old, old + 10);
    let mut late = frame("a", 2, vec![uses(1, "curl", 3), uses(2, "curl", 4)]);
    late.accounts = vec![Account { id: 1, prefix: Some("ab123".into()), cell: "us1".into() }].into();
    late.on_cell_hosts = vec![(NOON / DAY, 1, 3), (NOON / DAY - 10, 2, 3)];
    write(&mut client, &[early, late]).unwrap();
    let months = || {
        let rows =
            server.connect().query("SELECT nspname FROM pg_namespace WHERE nspname ~ '^cellgate_'", &[]);
        rows.unwrap().len()
    };
    let all = || {
        let report =
            read(source(&settings), Question { now: NOON, all: true, ..Question::default() }).unwrap();
        report.accounts.iter().map(|of| (of.account, of.usage.requests())).collect::<Vec<_>>()
    };
    assert_eq!((months(), all()), (2, vec![(1, 8), (2, 4)]));
    prune(&mut client, NOON).unwrap();
    assert_eq!((months(), all()), (1, vec![(2, 4), (1, 3)]));
    let rows = client.query_one("SELECT count(*) FROM cellgate.cell_use", &[]).unwrap();
    assert_eq!(rows.get::<_, i64>(0), 1, "days on cell hosts are kept for nine days");
    let one = crate::test_snapshot::account(1);
    let forget = |delete| super::super::forget::forget(source(&settings), one, delete).unwrap().rows;
    assert_eq!((forget(false), all().len()), (4, 2), "only looked at");
    assert_eq!((forget(true), forget(true)), (4, 0));
    assert_eq!(all(), [(2, 4)]);
    // What waited in a spool is left out; what is counted from now on is not.
    let mut waited = frame("b", 1, vec![uses(1, "curl", 9), uses(2, "curl", 1)]);
    waited.on_cell_hosts = vec![(NOON / DAY, 1, 3)];
    let mut later = frame("b", 2, vec![uses(1, "curl", 5)]);
    let now = crate::telemetry::wall_time::unix_seconds(std::time::SystemTime::now()) + 60;
    (waited.started_at, waited.ended_at) = (now - 600, now - 590);
    (later.started_at, later.ended_at) = (now, now + 10);
    write(&mut client, &[waited]).unwrap();
    assert_eq!(all(), [(2, 5)]);
    write(&mut client, &[later]).unwrap();
    assert_eq!(all(), [(1, 5), (2, 5)]);
}

#[test]
fn the_certificate_of_the_database_is_looked_at() {
    let key = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    // Held and not listened on, so that nobody else is given the port before the server takes it: two may be bound to
    // it that both allow that, as the server does, and of which one listens.
    let held = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    held.set_reuse_address(true).unwrap();
    held.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = held.local_addr().unwrap().as_socket().unwrap().port();
    let mut server = Server::start();
    server.stop();
    for (name, text) in [("crt", key.cert.pem()), ("key", key.signing_key.serialize_pem())] {
        server.write_secret(name, &text);
    }
    let folder = server.folder().display().to_string();
    server.set(&format!(
        "listen_addresses = '127.0.0.1'\nport = {port}\nssl = on\nssl_cert_file = '{folder}/crt'\nssl_key_file = '{folder}/key'"
    ));
    server.start_again();
    let try_with = |signed: &str, host: &str| {
        let ca_file = server.folder().join("ca");
        let text = format!("{host} port={port} user=cellgate dbname=postgres sslmode=require");
        let connection_file = server.connection_file_with("tls", &text);
        fs::write(&ca_file, signed).unwrap();
        connect_to_write(&DatabaseSettings { connection_file, ca_file: Some(ca_file) }).map(|_| ())
    };
    try_with(&key.cert.pem(), "host=localhost").unwrap();
    let refused = try_with(&other.cert.pem(), "host=localhost").unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");
    let refused = try_with(&key.cert.pem(), "host=127.0.0.1").unwrap_err().to_string();
    assert!(refused.contains("certificate"), "for another name: {refused}");
    assert!(matches!(try_with("no PEM", "host=localhost"), Err(DatabaseError::Authorities(_))));
}

/// What the threads of a replica have in common, where nothing serves.
fn shared(folder: &Path) -> (Arc<Shared>, Metrics) {
    let metrics = Metrics::new();
    let outbox = Outbox::new(folder.to_owned(), 16 * 1024 * 1024, true);
    (Arc::new(Shared::new(outbox, metrics.books())), metrics)
}

#[test]
fn a_day_without_the_database_is_shipped_when_it_is_back_and_counts_once() {
    let (mut server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let settings = settings(&server);
    let shipping = Shipping { to: settings.clone(), every: Duration::from_secs(60), phase: Duration::ZERO };
    let shipper = |shared: &Arc<Shared>, metrics: &Metrics| {
        Shipper::new(shipping.clone(), Arc::clone(shared), metrics.shipments())
    };
    server.stop();
    // A window a minute, of forty integrations each; the process is killed and started again in the middle.
    let mut shipped = 0;
    for half in 0..2 {
        let (shared, metrics) = shared(folder.path());
        let mut shipper = shipper(&shared, &metrics);
        let writer = format!("run-{half}");
        for number in 1..=720 {
            let rows = (1..=40).map(|account| uses(account, "curl", 1)).collect();
            let mut frame = frame(&writer, number, rows);
            frame.started_at = NOON - DAY + (half * 720 + number - 1) * 60;
            frame.ended_at = frame.started_at + 60;
            assert!(shared.outbox().put(frame, NOON));
            let first = shared.outbox().first(NOON).unwrap();
            shared.outbox().taken(&first);
        }
        assert!(shipper.ship().is_err());
        if half == 1 {
            server.start_again();
            // As when the answer to a commit is lost: what is shipped is not forgotten here.
            let again = shared.outbox().some(Reader::Database, 64, NOON);
            write(&mut connect_to_write(&settings).unwrap(), &again).unwrap();
            shipper.ship().unwrap();
            shipped = shared.outbox().len(Reader::Database);
        }
        outbox::tests::kill(&mut shared.outbox());
    }
    assert_eq!(shipped, 0);
    let report = read(source(&settings), Question { now: NOON, ..Question::default() }).unwrap();
    assert_eq!((report.accounts.len(), report.requests()), (40, 1_440 * 40));
    assert_eq!(report.gaps, []);
}

/// How a fleet's shipments load the database: printed, not judged. `cargo test --release --lib fleet_at_work -- --nocapture`
/// with `CELLGATE_TEST_LONG=1` is that of 200 replicas and 100,000 accounts.
#[test]
#[allow(clippy::print_stdout)] // Figures for people.
fn a_fleet_at_work_counts_exactly_and_says_what_it_takes() {
    let long = std::env::var_os("CELLGATE_TEST_LONG").is_some();
    let (replicas, accounts, a_shipment) = if long { (200, 100_000, 10_000) } else { (20, 1_000, 200) };
    let server = Server::start();
    let settings = settings(&server);
    connect_to_write(&settings).unwrap();
    // Two shipments of each replica: the first inserts most rows, the second adds to some of them.
    for (round, what) in [(1, "first"), (2, "second")] {
        let began = std::time::Instant::now();
        std::thread::scope(|scope| {
            for worker in 0..4u64 {
                let settings = &settings;
                scope.spawn(move || {
                    for replica in (worker..replicas).step_by(4) {
                        let mut rng = fastrand::Rng::with_seed(replica + round * 1_000);
                        let rows = (0..a_shipment).map(|_| made_up_use(&mut rng, accounts)).collect();
                        let mut frame = frame(&format!("edge-{replica}"), round as i64, rows);
                        frame.replica = format!("edge-{replica}");
                        let mut client = connect_to_write(settings).unwrap();
                        assert_eq!(write(&mut client, &[frame]).unwrap(), 1);
                    }
                });
            }
        });
        let (rows, took) = (replicas * a_shipment, began.elapsed());
        println!(
            "{what} shipment of {replicas} replicas: {rows} rows in {took:.1?}, {:.0} rows a second",
            rows as f64 / took.as_secs_f64()
        );
    }
    server.connect().batch_execute("ANALYZE").unwrap();
    let began = std::time::Instant::now();
    let report = read(source(&settings), Question { now: NOON, ..Question::default() }).unwrap();
    println!("report of {} accounts: {:.1?}", report.accounts.len(), began.elapsed());
    assert_eq!(report.requests(), 2 * replicas * a_shipment);
    let began = std::time::Instant::now();
    let one = Question { account: Some(crate::test_snapshot::account(7)), now: NOON, ..Question::default() };
    let report = read(source(&settings), one).unwrap();
    println!("report of one account: {:.1?}", began.elapsed());
    assert!(report.accounts.len() <= 1);
    let size: i64 = server.connect().query_one("SELECT pg_database_size('postgres')", &[]).unwrap().get(0);
    println!("database: {} MB", size / 1_000_000);
}

fn made_up_use(rng: &mut fastrand::Rng, accounts: u64) -> Use {
    let client = rng.choice(["airflow", "curl", "python-requests", "terraform"]).unwrap();
    let mut row = uses(rng.u64(1..=accounts), client, 1);
    row.integration.credential = format!("k1:{:012x}", rng.u64(0..2));
    row
}
