//! One zone, packets that are lost on the way to it, and the kernel that sends them again: what all else here rests on.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use pingora::protocols::SocketDigest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::fault::Fault;
use crate::inside::Inside;
use crate::network::{Network, endpoint};
use crate::running::eventually;

/// So many connections at once, each of which sends so often and waits for what comes back. A fifth lost are a hundred
/// packets, with a deviation of eleven.
const CONNECTIONS: usize = 20;
const SENT_EACH: u32 = 10;

/// A fifth, as in the first scenario.
const PERCENT: u8 = 20;

/// Packets that are dropped before the fault ends. That none of them was from the edge has a chance of 1e-9. The rest
/// is said without the fault: retransmissions are twice as far apart each time, and a packet that is lost ten times, as
/// one of ten millions is, takes minutes.
const DROPPED: u64 = 30;

/// Rounds in which TCP may send again what nobody has dropped: a machine that stops for 200 ms has it do so. Where a
/// fifth is lost there is no round without.
const ROUNDS: usize = 5;

/// Several times what any of the connections takes.
const WITHIN: Duration = Duration::from_secs(60);

/// Segments that TCP says it has sent, and those among them that it sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Segments {
    sent: u64,
    again: u64,
}

/// See the file.
pub fn packets_are_lost_and_counted() {
    let network = Network::new(1, 1);
    let zones = [Inside::of(&network.zone(1))];
    let edge = Inside::of(&network.edge());
    let address = endpoint(1, 1);
    let listener = zones[0].run(async move { TcpListener::bind(address).await.unwrap() });
    zones[0].spawn(echo(listener));

    let streams = edge.run(connect(address));
    let streams = undisturbed(&edge, streams, "nothing is lost yet");
    let standing = Fault::Zone { zone: 1, percent: PERCENT }.begin(&network, &edge, &zones);
    let talks = edge.spawn(talk(streams));
    let lost = eventually("packets to be dropped", || Some(standing.hit()).filter(|lost| *lost >= DROPPED));
    drop(standing);
    let (streams, told) = edge.run(async move { talks.await.unwrap() });
    println!("{lost} packets dropped to and from the zone; TCP_INFO of the senders: {told:?}");
    assert!(told.again > 0, "the router drops, and the senders' kernel says so: {told:?}");
    undisturbed(&edge, streams, "and nothing is lost when it is over");
}

/// Talks until a round has gone through without a retransmission.
fn undisturbed(edge: &Inside, mut streams: Vec<TcpStream>, what: &str) -> Vec<TcpStream> {
    for round in 1.. {
        let (same, told) = edge.run(talk(streams));
        streams = same;
        if told.again == 0 {
            break;
        }
        assert!(round < ROUNDS, "{what}: {told:?}");
    }
    streams
}

/// While nothing is lost: a lost SYN is sent again after a second.
async fn connect(address: SocketAddr) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        streams.push(stream);
    }
    streams
}

/// Sends on all connections at once, and what TCP then says of them together.
async fn talk(streams: Vec<TcpStream>) -> (Vec<TcpStream>, Segments) {
    let mut talks = JoinSet::new();
    for stream in streams {
        talks.spawn(talk_on_one(stream));
    }
    let all = tokio::time::timeout(WITHIN, talks.join_all()).await.expect("TCP gets everything through");
    let mut sum = Segments::default();
    for (_, one) in &all {
        sum = Segments { sent: sum.sent + one.sent, again: sum.again + one.again };
    }
    (all.into_iter().map(|(stream, _)| stream).collect(), sum)
}

async fn talk_on_one(mut stream: TcpStream) -> (TcpStream, Segments) {
    let before = segments(&stream);
    for number in 0..SENT_EACH {
        stream.write_u32(number).await.unwrap();
        assert_eq!(stream.read_u32().await.unwrap(), number);
    }
    let after = segments(&stream);
    (stream, Segments { sent: after.sent - before.sent, again: after.again - before.again })
}

/// As cellgate asks for them.
fn segments(stream: &TcpStream) -> Segments {
    let told = SocketDigest::from_raw_fd(stream.as_raw_fd()).tcp_info().expect("Linux tells");
    Segments { sent: told.tcpi_segs_out.into(), again: told.tcpi_total_retrans.into() }
}

/// Sends back what comes, on every connection.
async fn echo(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let (mut from, mut to) = stream.split();
            // Ends when the other side has.
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
    }
}
