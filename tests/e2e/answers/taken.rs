//! How clients take their answers over HTTP/2, or leave before there is one: slow ones get all of it, and those who have
//! left are let go.

use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::raw_http;
use crate::running::access_line;
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

#[test]
fn a_slow_client_gets_the_whole_answer_of_a_connection_that_ends() {
    let last = "limits: { requests_per_connection: 1 }";
    let world = World::prepared(|folder| folder.append("config/boot.yaml", last));
    let (address, folder) = (world.edge.addr("h2c"), &world.edge.folder);
    let (client, connection) = world.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(SMALL).unwrap();
        wide().handshake::<_, Bytes>(socket.connect(address).await.unwrap()).await.unwrap()
    });
    let (mut client, mut connection) = (client, connection);
    let ask = request("GET", "slow-reader", &format!("body={LEFT}"));
    let (answer, _) = client.send_request(ask, true).unwrap();
    // Sends the request, and reads no more than is there by then.
    world.block_on(async {
        let _ = tokio::time::timeout(Duration::from_millis(1), &mut connection).await;
    });
    let line = access_line(folder, "slow-reader");
    assert_eq!((line["status"].as_u64(), line["end"].as_str()), (Some(200), Some("complete")), "{line}");
    world.block_on(async {
        // Nobody reads.
        tokio::time::sleep(SILENT).await;
        let reading = tokio::spawn(connection);
        let mut body = answer.await.unwrap().into_body();
        let mut read = 0;
        while let Some(piece) = body.data().await {
            read += piece.unwrap().len();
        }
        assert_eq!(read, LEFT);
        drop((client, body));
        reading.await.unwrap().unwrap();
    });
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
