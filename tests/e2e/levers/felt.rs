//! What requests feel of `shed`, `cap`, `ramp` and `policy`: at the next request or within a second, until the lever is over.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{command, listed, pull};
use crate::command_line::said;
use crate::raw_http::{self, RawReply};
use crate::running::{Folder, eventually};
use crate::world::World;

/// Two accounts of cell-1, one of cell-2.
pub(super) const HOST: &str = "ab123.us1.dbt.com";
pub(super) const NEIGHBOUR: &str = "hj210.us1.dbt.com";
pub(super) const OTHER: &str = "globex.us1.dbt.com";

/// In this time a lever is felt that the judge has to see.
const FELT_WITHIN: Duration = Duration::from_secs(1);

/// So often it may be later because the machine has something else to do.
const ROUNDS: usize = 5;

/// Requests in a row, on one connection: more than a few a second let through while they take less than some seconds.
const ROW: usize = 40;

/// Half of a row gets through at most where a handful a second does.
const FEW: usize = ROW / 2;

pub(super) fn request(method: &str, host: &str, target: &str, fields: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n{fields}\r\n")
}

pub(super) fn ask(world: &World, host: &str, target: &str, fields: &str) -> RawReply {
    let mut connection = raw_http::tcp(world.edge.addr("http"));
    raw_http::ask(&mut connection, request("GET", host, target, fields).as_bytes()).unwrap()
}

/// Whether an operator's word has refused it, with nothing sent and a time to come back; or it was answered by a cell.
pub(super) fn is_refused(reply: &RawReply) -> bool {
    if reply.status == 200 {
        return false;
    }
    assert_eq!((reply.status, reply.header("x-cellgate-outcome")), (503, Some("not-forwarded")), "{reply:?}");
    let after: u32 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=61).contains(&after), "{reply:?}");
    true
}

pub(super) fn words_of(words: &str) -> Vec<&str> {
    words.split(' ').collect()
}

/// Pulls a lever; its number.
pub(super) fn pulled(folder: &Folder, words: &str) -> u64 {
    let told = pull(folder, &words_of(words), 0);
    told.strip_prefix("lever ").and_then(|told| told.split(' ').next()).unwrap().parse().unwrap()
}

pub(super) fn release(folder: &Folder, lever: u64) {
    said(&command(folder, &["release", &lever.to_string()]), 0);
}

/// How many requests felt a lever.
pub(super) fn touched(folder: &Folder, id: u64) -> u64 {
    let levers = listed(folder);
    let lever = levers.iter().find(|lever| lever["id"] == id);
    lever.unwrap_or_else(|| unreachable!("{id} in {levers:?}"))["requests"].as_u64().unwrap()
}

/// A lever is felt by requests as soon as it is pulled, counts them, and is over by itself.
pub(super) fn check(world: &World, words: &str, is_felt: impl Fn() -> bool) {
    let folder = &world.edge.folder;
    eventually(&format!("nothing of {words} yet"), || (!is_felt()).then_some(()));
    let soon = (0..ROUNDS).any(|_| {
        let lever = pulled(folder, words);
        let since = Instant::now();
        // Of those requests that felt it when the first began: how long fifty of them take is not the lever's.
        let soon = eventually(words, || {
            let begun = since.elapsed();
            is_felt().then_some(begun < FELT_WITHIN)
        });
        assert!(touched(folder, lever) > 0, "{words}");
        if !soon {
            release(folder, lever);
            eventually(&format!("the end of {words}"), || (!is_felt()).then_some(()));
        }
        soon
    });
    assert!(soon, "{words} was felt after more than {FELT_WITHIN:?}, {ROUNDS} times");
    pulled(folder, &format!("{words} --for 1s"));
    eventually(&format!("{words} to be over by itself"), || (!is_felt()).then_some(()));
    let left = super::words(folder);
    assert!(!left.contains(&words.to_owned()), "{left:?}");
}

/// How many of a row of requests are answered by the cell; the others were refused for this reason.
fn served(world: &World) -> usize {
    let mut connection = raw_http::tcp(world.edge.addr("http"));
    let one = request("GET", HOST, "/x", "");
    (0..ROW).filter(|_| !is_refused(&raw_http::ask(&mut connection, one.as_bytes()).unwrap())).count()
}

fn refusals(world: &World, reason: &str) -> u64 {
    let page = raw_http::page(world.edge.admin(), "/metrics").text();
    let name = format!("cellgate_refusals_total{{reason=\"{reason}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| unreachable!("{name} in {page}")).parse().unwrap()
}

#[test]
fn shed_refuses_those_that_it_names_and_nobody_else() {
    let world = World::example();
    let refused = |host: &str, target: &str, fields: &str| is_refused(&ask(&world, host, target, fields));
    check(&world, "shed 100% cell cell-1", || {
        assert!(!refused(OTHER, "/x", ""));
        refused(HOST, "/x", "") && refused(NEIGHBOUR, "/x", "")
    });
    check(&world, "shed 100% account 70403103966603", || {
        assert!(!refused(NEIGHBOUR, "/x", ""));
        refused(HOST, "/x", "")
    });
    check(&world, "shed 100% client curl", || {
        assert!(!refused(HOST, "/x", "User-Agent: axios/1\r\n"));
        refused(HOST, "/x", "User-Agent: curl/8\r\n") && refused(OTHER, "/x", "User-Agent: curl/8\r\n")
    });
    check(&world, "shed 100% class long-poll", || {
        assert!(!refused("cloud.getdbt.com", "/deploy/12345/x", ""));
        refused("cloud.getdbt.com", "/ws/develop/12345/x", "")
    });
    check(&world, "shed 100% class long-poll cell cell-1", || {
        assert!(!refused("cloud.getdbt.com", "/ws/develop/12345/x", ""));
        refused("cloud.getdbt.com", "/ws/develop/41007/x", "")
    });
    let reply = {
        pulled(&world.edge.folder, "shed 100% cell cell-1");
        raw_http::ask(
            &mut raw_http::tcp(world.edge.addr("http")),
            request("GET", HOST, "/x", "X-Request-Id: was-shed-by-ann\r\n").as_bytes(),
        )
    };
    assert!(is_refused(&reply.unwrap()));
    assert_eq!(world.edge.access_line("was-shed-by-ann")["refusal"], "shed_operator");
}

#[test]
fn shed_refuses_the_share_that_it_says() {
    let world = World::example();
    pulled(&world.edge.folder, "shed 30% cell cell-1");
    let served: usize = (0..15).map(|_| served(&world)).sum();
    let shed = 15 * ROW - served;
    // Five standard deviations of 600 draws: 5 * sqrt(600 * 0.3 * 0.7).
    assert!((124..=236).contains(&shed), "{shed} of 600 at 30 %");
    // Counted once it is over, and a client has its answer a moment before.
    eventually("as many refusals counted", || {
        (refusals(&world, "shed_operator") == shed as u64).then_some(())
    });
    assert_eq!(touched(&world.edge.folder, 1), shed as u64);
}

#[test]
fn cap_rps_lets_through_what_it_says_and_recovers_at_once() {
    let world = World::example();
    check(&world, "cap cell cell-1 rps 5", || {
        assert!(!is_refused(&ask(&world, OTHER, "/x", "")));
        served(&world) <= FEW
    });
    assert!(refusals(&world, "shed_operator") >= FEW as u64);
    assert_eq!(refusals(&world, "shed_recovering"), 0);
}

#[test]
fn ramp_set_holds_its_rate_and_policy_set_turns_it_off() {
    let world = World::example();
    let few = || served(&world) <= FEW;
    check(&world, "ramp set cell cell-1 rps 5", few);
    assert!(refusals(&world, "shed_recovering") >= FEW as u64);
    pulled(&world.edge.folder, "ramp set cell cell-1 rps 5");
    eventually("the ramp", || few().then_some(()));
    check(&world, "policy set recovery off cell cell-1", || served(&world) == ROW);
    check(&world, "policy set recovery off", || served(&world) == ROW);
}

/// Requests to cell-1 whose answers never end.
fn hanging(world: &World) -> TcpStream {
    let in_flight = || world.edge.running().snapshot().cells[0].load.in_flight();
    let before = in_flight();
    let mut connection = raw_http::tcp(world.edge.addr("http"));
    connection.write_all(request("POST", HOST, "/x", "X-Sim: hang\r\n").as_bytes()).unwrap();
    eventually("it to be in flight", || (in_flight() == before + 1).then_some(()));
    connection
}

#[test]
fn cap_in_flight_counts_what_is_under_way_whatever_the_limit_of_the_cell_does() {
    let world = World::example();
    let hung = hanging(&world);
    check(&world, "cap cell cell-1 in_flight 1", || {
        assert!(!is_refused(&ask(&world, OTHER, "/x", "")));
        is_refused(&ask(&world, HOST, "/x", ""))
    });
    drop(hung);
    // It is let go a moment after its client has gone, and would be taken for one of those below.
    let in_flight = || world.edge.running().snapshot().cells[0].load.in_flight();
    eventually("nothing to be in flight", || (in_flight() == 0).then_some(()));
    pulled(&world.edge.folder, "policy set limit off cell cell-1");
    pulled(&world.edge.folder, "cap cell cell-1 in_flight 2");
    let _hung = [hanging(&world), hanging(&world)];
    eventually("the cap", || is_refused(&ask(&world, HOST, "/x", "")).then_some(()));
}
