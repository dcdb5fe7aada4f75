//! WebSockets that outlive their process: they live to the deadline, and end as the protocol has it.

use futures_util::{SinkExt, StreamExt};
use loadtest::cell::CellOptions;
use loadtest::client::{Ask, Client, Http};
use loadtest::socket::tungstenite::protocol::frame::coding::CloseCode;
use loadtest::socket::{self, Socket, tungstenite::Message};

use cellgate::listen::drain::Drained;

use super::{Line, messages};
use crate::running::Folder;
use crate::world::{CELLS, World, addresses, runtime, start_cells};

const HOST: &str = "ab123.us1.dbt.com";

/// Goodbyes are said in the last quarter of it, spread over two seconds. Before what is left is cut, each has one and a
/// half at least for its answer.
const DEADLINE: &str = "deadline: 16s";

#[test]
fn a_websocket_gets_1001_before_the_deadline_on_either_protocol() {
    let mut world = World::prepared(|folder| {
        folder.edit("config/boot.yaml", "deadline: 20s", DEADLINE);
    });
    let sockets = world.block_on(async {
        let mut sockets = Vec::new();
        for client in [world.edge.plain(Http::H1), world.edge.tls(Http::H1), world.edge.tls(Http::H2)] {
            let mut socket = socket::open(&client, &Ask::get(HOST, "/ws")).await.unwrap();
            echo(&mut socket).await;
            sockets.push(socket);
        }
        sockets
    });
    let told = sockets.into_iter().map(|socket| world.spawn(going_away(socket))).collect::<Vec<_>>();
    // Every one has said goodbye to its cell as well: nothing was left to be cut.
    assert_eq!(world.edge.drain(), Drained::Clean);
    for told in told {
        world.block_on(told).unwrap();
    }
}

#[test]
fn after_an_upgrade_old_websockets_live_on_until_they_are_told() {
    let runtime = runtime();
    let cells = start_cells(&runtime, CELLS.map(CellOptions::named).to_vec());
    let folder = Folder::example(&addresses(&cells));
    folder.edit("config/boot.yaml", "deadline: 20s", DEADLINE);
    let mut line = Line::start(&folder);
    let client = Client::new(line.first.addr("http"), Http::H1);
    let open = || runtime.block_on(socket::open(&client, &Ask::get(HOST, "/ws"))).unwrap();
    let mut old = open();
    line.upgrade(&folder);
    assert!(line.first.runs(), "it has a WebSocket to look after");
    runtime.block_on(echo(&mut old));
    let mut new = open();
    runtime.block_on(going_away(old));
    line.drained();
    assert_eq!(messages(&line.first, "drained: every request was finished").len(), 1);
    runtime.block_on(async {
        echo(&mut new).await;
        new.stream.close(None).await.unwrap();
    });
}

async fn echo(socket: &mut Socket) {
    socket.stream.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.stream.next().await.unwrap().unwrap(), Message::text("hello"));
}

async fn going_away(mut socket: Socket) {
    let last = socket.stream.next().await.unwrap().unwrap();
    let Message::Close(Some(close)) = last else { unreachable!("expected a close frame, got {last:?}") };
    assert_eq!(close.code, CloseCode::Away);
    // The answer goes out, and then the connection ends.
    while let Some(Ok(_)) = socket.stream.next().await {}
}
