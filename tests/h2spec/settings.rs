//! What is announced, and kept to, on connections: windows within a memory budget, streams to cells, and how many
//! connections a burst opens.

use loadtest::cell::{CellOptions, RunningCell};
use tokio::net::TcpListener;

use crate::edge::{Edge, HOST, runtime};
use crate::h2_raw::*;

const DONE: u8 = END_STREAM | END_HEADERS;
const MIB: u32 = 1024 * 1024;

/// Where nothing needs to answer.
fn unused() -> std::net::SocketAddr {
    ([127, 0, 0, 1], 9).into()
}

/// The windows that a peer announces: of a stream, of the connection.
async fn announced(conn: &mut Conn) -> (u32, u32) {
    // What is announced comes before the answer to a PING.
    conn.send(&ping(0, b"any more")).await.unwrap();
    conn.until(|frame| frame.is(PING, ACK)).await;
    let update = conn.seen.iter().find(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 0);
    let more = update.map_or(0, |frame| u32::from_be_bytes(frame.payload[..].try_into().unwrap()));
    (conn.settings.get(&INITIAL_WINDOW_SIZE).copied().unwrap_or(65_535), 65_535 + more)
}

async fn fresh(edge: &Edge) -> (Conn, (u32, u32)) {
    let mut conn = edge.connect(true).await;
    conn.shake(&[]).await.unwrap();
    let windows = announced(&mut conn).await;
    (conn, windows)
}

fn windows_of(limits: &str) -> (u32, u32) {
    let edge = Edge::start(runtime(), limits, unused(), "");
    edge.runtime.block_on(fresh(&edge)).1
}

#[test]
fn clients_are_told_the_windows() {
    assert_eq!(windows_of(""), (MIB, 4 * MIB));
    let limits = "http2: { stream_window_bytes: 2097152, connection_window_bytes: 8388608 }";
    assert_eq!(windows_of(limits), (2 * MIB, 8 * MIB));
    assert_eq!(windows_of("http2: { window_memory_bytes: 0 }"), (65_535, 65_535));
}

#[test]
fn windows_shrink_with_the_connections_and_grow_when_they_go() {
    let edge = Edge::start(runtime(), "http2: { window_memory_bytes: 67108864 }", unused(), "");
    edge.runtime.block_on(async {
        let mut open = Vec::new();
        for _ in 0..100 {
            open.push(fresh(&edge).await);
        }
        let connections: Vec<u32> = open.iter().map(|(_, windows)| windows.1).collect();
        assert_eq!(connections[0], MIB, "a 64th of what is left");
        assert!(connections.windows(2).all(|pair| pair[1] <= pair[0]), "{connections:?}");
        let taken: u64 = connections.iter().map(|window| u64::from(window - 65_535)).sum();
        assert!(taken <= u64::from(64 * MIB), "{taken}");
        drop(open);
        let again = async {
            while fresh(&edge).await.1.1 < MIB {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(3 * SOON, again).await.expect("the memory comes back with the connections");
    });
}

#[test]
fn cells_are_told_the_windows() {
    let runtime = runtime();
    let cell = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let keys = "protocol: http2, http2: { stream_window_bytes: 131072, connection_window_bytes: 3145728 }";
    let edge = Edge::start(runtime, "", cell.local_addr().unwrap(), keys);
    edge.runtime.block_on(async {
        let mut client = edge.connect(false).await;
        client.shake(&[]).await.unwrap();
        let request = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", HOST)];
        client.send(&headers(DONE, 1, &block(&request))).await.unwrap();
        let (tcp, _) = cell.accept().await.unwrap();
        let mut cell = Conn::accepted(tcp).await.unwrap();
        assert_eq!(announced(&mut cell).await, (128 * 1024, 3 * MIB));
    });
}

/// Requests at once on a cold start.
const BURST: u32 = 80;

/// Connections that a burst opens to a cell, all of whose answers take a moment.
fn connections(streams_of_cell: u32, keys: &str) -> u64 {
    let runtime = runtime();
    let options = CellOptions { h2_streams_max: streams_of_cell, ..CellOptions::named("cell-1") };
    let cell = runtime.block_on(RunningCell::start(options.with_h2c())).unwrap();
    let address = cell.h2c_addr().unwrap();
    let edge = Edge::start(runtime, "", address, &format!("protocol: http2, {keys}"));
    edge.runtime.block_on(async {
        let mut client = edge.connect(false).await;
        client.shake(&[]).await.unwrap();
        let request = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", HOST),
            // None is answered before all are under way, also where that takes a machine a while.
            ("x-sim", "delay_ms=5000"),
        ];
        let burst: Vec<u8> = (0..BURST).flat_map(|n| headers(DONE, 2 * n + 1, &block(&request))).collect();
        client.send(&[window_update(0, 16 * MIB), burst].concat()).await.unwrap();
        for _ in 0..BURST {
            let head = client.until(|frame| matches!(frame.kind, HEADERS | RST_STREAM | GOAWAY)).await;
            // `:status: 200` of the static table (RFC 7541 appendix A).
            assert!(matches!(&head, Event::Frame(frame) if frame.payload.first() == Some(&0x88)), "{head:?}");
        }
    });
    let counts = cell.counts();
    assert_eq!(counts.requests, u64::from(BURST));
    counts.connections
}

#[test]
fn a_cold_burst_opens_no_more_connections_than_it_needs() {
    assert_eq!(connections(200, "max_in_flight: 1000"), 1);
    assert_eq!(connections(200, "http2: { max_streams_per_connection: 10 }"), 8);
    assert_eq!(connections(200, "http2: { max_streams_per_connection: 1 }"), u64::from(BURST));
}

#[test]
fn a_cell_that_allows_few_streams_gets_no_more_connections_than_it_needs() {
    // The cell's SETTINGS are waited for, so that no stream is opened that it would refuse.
    let opened = connections(10, "max_in_flight: 1000");
    assert_eq!(opened, 8);
}
