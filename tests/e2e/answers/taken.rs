//! How clients take their answers over HTTP/2, or leave before there is one: slow ones get all of it, and those who have
//! left are let go.

use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::raw_http;
use crate::running::{access_line, eventually};
use crate::world::World;

const HOST: &str = "ab123.us1.dbt.com";

/// A receive buffer that is soon full; Linux makes it a little larger.
const SMALL: u32 = 4096;

/// More than the buffers of the kernel take, and less than is kept of one stream (400 KiB): so its exchange ends before
/// the client has read a byte.
const LEFT: usize = 380_000;

/// Longer than a client may take to close after GOAWAY.
const SILENT: Duration = Duration::from_secs(3);

/// No capacity for this long: the way to the cell is full.
const FULL: Duration = Duration::from_secs(1);

fn request(method: &str, id: &str, sim: &str) -> http::Request<()> {
    let request = http::Request::builder().method(method).uri(format!("http://{HOST}/"));
    request.header("x-request-id", id).header("x-sim", sim).body(()).unwrap()
}

/// Windows that are never full.
fn wide() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
    builder
}

/// A client that has asked for an answer and reads no more of it than is there at once.
struct Slow {
    answer: h2::client::ResponseFuture,
    client: h2::client::SendRequest<Bytes>,
    connection: h2::client::Connection<TcpStream, Bytes>,
}

impl Slow {
    /// Returns when the exchange has ended.
    fn start(world: &World, id: &str) -> Self {
        let address = world.edge.addr("h2c");
        let (mut client, mut connection) = world.block_on(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(SMALL).unwrap();
            wide().handshake::<_, Bytes>(socket.connect(address).await.unwrap()).await.unwrap()
        });
        let (answer, _) = client.send_request(request("GET", id, &format!("body={LEFT}")), true).unwrap();
        // Sends the request.
        world.block_on(async {
            let _ = tokio::time::timeout(Duration::from_millis(1), &mut connection).await;
        });
        let line = access_line(&world.edge.folder, id);
        assert_eq!((line["status"].as_u64(), line["end"].as_str()), (Some(200), Some("complete")), "{line}");
        Self { answer, client, connection }
    }

    /// Reads all that there is: how much, and whether that is all.
    async fn read(self) -> (usize, bool) {
        let reading = tokio::spawn(self.connection);
        let mut read = 0;
        let mut whole = false;
        if let Ok(answer) = self.answer.await {
            let mut body = answer.into_body();
            while let Some(Ok(piece)) = body.data().await {
                read += piece.len();
            }
            whole = body.is_end_stream();
        }
        drop(self.client);
        // Broken where the answer is.
        let _ = reading.await.unwrap();
        (read, whole)
    }
}

#[test]
fn a_slow_client_gets_the_whole_answer_of_a_connection_that_ends() {
    let last = "limits: { requests_per_connection: 1 }";
    let world = World::prepared(|folder| folder.append("config/boot.yaml", last));
    let slow = Slow::start(&world, "slow-reader");
    let read = world.block_on(async {
        // Nobody reads.
        tokio::time::sleep(SILENT).await;
        slow.read().await
    });
    assert_eq!(read, (LEFT, true));
}

#[test]
fn a_client_that_reads_nothing_is_not_waited_for_beyond_the_idle_timeout() {
    let last = "limits: { requests_per_connection: 1, idle_timeout: 1s }";
    let world = World::prepared(|folder| folder.append("config/boot.yaml", last));
    let slow = Slow::start(&world, "reads-nothing");
    eventually("the end of its connection", || {
        let page = raw_http::page(world.edge.admin(), "/metrics").text();
        page.lines().any(|line| line == "cellgate_connections_open 0").then_some(())
    });
    let (read, whole) = world.block_on(slow.read());
    assert!(read < LEFT && !whole, "{read}");
}

#[test]
fn a_client_that_leaves_while_its_body_waits_for_the_cell_is_let_go() {
    let world = World::example();
    let listener = world.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(SMALL).unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        socket.listen(16).unwrap()
    });
    world.edge.folder.point("cell-1", &listener.local_addr().unwrap().to_string());
    assert_eq!(raw_http::admin(&world.edge.socket(), "POST", "/reload").status, 200);
    // Reads a little of the request, and no more.
    let cell = world.spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.read_exact(&mut [0; 64]).await.unwrap();
        socket
    });
    let address = world.edge.addr("h2c");
    let held = world.block_on(async move {
        let tcp = TcpStream::connect(address).await.unwrap();
        let (mut client, connection) = wide().handshake::<_, Bytes>(tcp).await.unwrap();
        tokio::spawn(connection);
        let (answer, mut body) =
            client.send_request(request("POST", "left-while-waiting", ""), false).unwrap();
        loop {
            body.reserve_capacity(1 << 16);
            let capacity = tokio::time::timeout(FULL, poll_fn(|cx| body.poll_capacity(cx))).await;
            let Ok(capacity) = capacity else { break };
            body.send_data(vec![0; capacity.unwrap().unwrap()].into(), false).unwrap();
        }
        body.send_reset(h2::Reason::CANCEL);
        (client, answer)
    });
    // The cell's silence alone would end it after a minute.
    let line = access_line(&world.edge.folder, "left-while-waiting");
    assert_eq!((line["status"].as_u64(), line["end"].as_str()), (Some(499), Some("client_gone")), "{line}");
    drop((held, world.block_on(cell)));
}
