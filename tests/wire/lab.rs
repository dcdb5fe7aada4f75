//! The experiment: every payload to the cell that looks at each byte; what reached it, to all the others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::cells::nginx::Nginx;
use crate::cells::python::Server;
use crate::cells::{self, Book, Read};
use crate::client::{crossed, deliver, probe};
use crate::corpus::{Payload, corpus};
use crate::edge::{CELLS, Edge, account};
use crate::oracle::{Forwarded, judge};

/// Payloads of a run in CI, and of a long one.
const COUNTS: [usize; 2] = [9_000, 100_000];

/// Clients at once: they wait more than they work.
const LANES: usize = 48;

/// The cells' server processes write a little later than they answer.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

/// A cellgate and its five cells.
pub struct Lab {
    edge: Edge,
    book: Book,
    nginx: Nginx,
    servers: [Server; 2],
    runtime: Runtime,
}

/// What clients saw.
#[derive(Default)]
pub struct Seen {
    sent: usize,
    /// Probes that did not get their own answer.
    pub poisoned: Vec<String>,
    /// Answers to others.
    pub crossed: Vec<String>,
    /// Payloads of which a cell answered something.
    answered: usize,
}

impl Lab {
    /// Starts all of them.
    pub fn start() -> Self {
        cellgate::listen::tls::install_provider().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let book = Book::default();
        let (raw, hyper) = runtime.block_on(async { (cells::raw(&book).await, cells::hyper(&book).await) });
        let nginx = cells::nginx::start();
        let servers = ["asgi", "wsgi"].map(cells::python::start);
        let edge = Edge::start([raw, hyper, nginx.addr, servers[0].addr, servers[1].addr]);
        Self { edge, book, nginx, servers, runtime }
    }

    /// Sends each payload on a connection of its own to this cell, a probe behind each.
    pub fn send(&self, cell: usize, payloads: Vec<(usize, Payload)>) -> Seen {
        let addresses = [self.edge.addr("http"), self.edge.addr("h2c")];
        let work = Arc::new((payloads, AtomicUsize::new(0)));
        self.runtime.block_on(async {
            let mut lanes = JoinSet::new();
            for _ in 0..LANES {
                lanes.spawn(lane(addresses, cell, Arc::clone(&work)));
            }
            lanes.join_all().await.into_iter().fold(Seen::default(), |mut all, seen| {
                all.sent += seen.sent;
                all.answered += seen.answered;
                all.poisoned.extend(seen.poisoned);
                all.crossed.extend(seen.crossed);
                all
            })
        })
    }

    fn reads(book: &Book, nginx: &Nginx, servers: &[Server]) -> Vec<Read> {
        let mut reads = book.reads();
        reads.extend(nginx.reads());
        reads.extend(servers.iter().flat_map(Server::reads));
        reads
    }

    /// Ends cellgate, and returns what all cells read and all that was forwarded.
    pub fn end(self) -> (Vec<Read>, Vec<serde_json::Value>) {
        let Self { edge, book, mut nginx, servers, runtime } = self;
        let log = edge.end();
        // It writes of a request after its answer; the others do before.
        nginx.finish(WRITTEN_WITHIN);
        let end = Instant::now() + WRITTEN_WITHIN;
        let mut reads = Self::reads(&book, &nginx, &servers);
        // Until two looks in a row see the same.
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(300));
            let again = Self::reads(&book, &nginx, &servers);
            if again.len() == reads.len() {
                break;
            }
            reads = again;
        }
        drop(runtime);
        (reads, log)
    }
}

async fn lane(
    addresses: [SocketAddr; 2],
    cell: usize,
    work: Arc<(Vec<(usize, Payload)>, AtomicUsize)>,
) -> Seen {
    let mut seen = Seen::default();
    let (payloads, next) = &*work;
    while let Some((number, payload)) = payloads.get(next.fetch_add(1, Ordering::Relaxed)) {
        let pieces = payload.fill(cell, *number);
        let heard = deliver(addresses[usize::from(payload.http2)], &pieces, payload.http2).await;
        seen.sent += 1;
        seen.answered += usize::from(heard.windows(6).any(|six| six == b"[cell="));
        seen.crossed.extend(crossed(&heard, *number));
        let id = format!("{cell}-{number:06}");
        let wrong = probe(addresses[0], CELLS[cell], account(cell), &id).await;
        seen.poisoned.extend(wrong.map(|wrong| format!("{wrong} after {:?} {payload:?}", payload.class)));
    }
    seen
}

/// Which payloads reached the first cell in any manner: their tags stand in what it read.
fn reached(reads: &[Read]) -> BTreeSet<usize> {
    let tags = reads.iter().flat_map(|read| {
        let texts =
            [&read.target, &read.id, &read.faults.concat()].map(|text| text.replace(['-', '?', '='], "/"));
        texts.into_iter().flat_map(|text| {
            let tag = |part: &str| part.strip_prefix(['t', 's'])?.get(..6)?.parse().ok();
            text.split('/').filter_map(tag).collect::<Vec<usize>>()
        })
    });
    tags.collect()
}

#[test]
fn no_request_is_read_in_two_ways() {
    let long = std::env::var_os("CELLGATE_TEST_LONG").is_some();
    let seed = if long { fastrand::u64(..) } else { 3 };
    println!("seed {seed}");
    let payloads: Vec<(usize, Payload)> =
        corpus(seed, COUNTS[usize::from(long)]).into_iter().enumerate().collect();
    let lab = Lab::start();
    let mut seen = vec![lab.send(0, payloads.clone())];
    let reached = reached(&lab.book.reads());
    by_class(&payloads, &reached);
    let through: Vec<_> = payloads.into_iter().filter(|(number, _)| reached.contains(number)).collect();
    for cell in 1..CELLS.len() {
        seen.push(lab.send(cell, through.clone()));
    }
    let (reads, log) = lab.end();
    let forwarded: Vec<Forwarded> = log.iter().filter_map(Forwarded::of).collect();
    by_cell(&seen, &reads, &forwarded);
    let found = judge(&reads, &forwarded);
    let all = |of: fn(&Seen) -> &Vec<String>| seen.iter().flat_map(of).cloned().collect::<Vec<_>>();
    let bad = [
        ("poisoned", all(|seen| &seen.poisoned)),
        ("crossed", all(|seen| &seen.crossed)),
        ("unaccounted", found.unaccounted),
        ("misread", found.misread),
        ("noncanonical", found.noncanonical),
        ("unread", found.unread),
    ];
    let counts = bad.each_ref().map(|(what, texts)| format!("{what} {}", texts.len()));
    println!("{}; canonical and refused by a cell's own rules {}", counts.join(", "), found.refused_by_cell);
    let shown =
        bad.iter().flat_map(|(what, texts)| texts.iter().take(10).map(move |text| format!("{what}: {text}")));
    let shown: Vec<String> = shown.collect();
    assert!(shown.is_empty(), "{}\n{}", counts.join(", "), shown.join("\n"));
    // A lab that forwards nothing finds nothing.
    assert!(through.len() > 1_000, "only {} payloads reached a cell", through.len());
    for (cell, seen) in CELLS.iter().zip(&seen) {
        assert!(
            seen.answered * 2 > through.len(),
            "{cell} answered only {} of {}",
            seen.answered,
            through.len()
        );
    }
}

fn by_class(payloads: &[(usize, Payload)], reached: &BTreeSet<usize>) {
    let mut classes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (number, payload) in payloads {
        let (sent, through) = classes.entry(payload.class).or_default();
        *sent += 1;
        *through += usize::from(reached.contains(number));
    }
    for (class, (sent, through)) in &classes {
        println!("{class:24} {sent:6} sent, {through:6} reached a cell");
    }
    println!(
        "{} sent, {} refused, {} reached a cell",
        payloads.len(),
        payloads.len() - reached.len(),
        reached.len()
    );
}

fn by_cell(seen: &[Seen], reads: &[Read], forwarded: &[Forwarded]) {
    for (cell, seen) in CELLS.iter().zip(seen) {
        let reads = reads.iter().filter(|read| read.cell == *cell && !read.refused).count();
        let forwarded = forwarded.iter().filter(|line| line.cell == *cell).count();
        let Seen { sent, answered, .. } = seen;
        println!(
            "{cell:6} {sent} payloads, {answered} answered; {forwarded} requests forwarded, {reads} read"
        );
    }
}
