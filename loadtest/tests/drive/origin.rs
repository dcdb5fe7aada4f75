//! The ten cells of the benchmark, asked as a proxy asks.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use futures_util::{SinkExt, StreamExt};
use loadtest::ask::Ask;
use loadtest::call;
use loadtest::client::{Client, Http, Reply};
use loadtest::socket;
use loadtest::socket::tungstenite::Message;

use crate::cells::Cells;

#[tokio::test]
async fn each_cell_says_its_name_over_both_protocols() {
    let cells = Cells::start(10);
    for (number, address) in cells.addresses.iter().enumerate() {
        for http in [Http::H1, Http::H2] {
            let reply = Client::new(*address, http).ask(&Ask::get("h", "/api/")).await.unwrap();
            assert_eq!((reply.status.as_u16(), reply.cell()), (200, Some(&*format!("cell-{number}"))));
            assert_eq!(reply.body.len(), 113, "{http:?}");
        }
    }
}

#[tokio::test]
async fn bodies_are_read_to_their_end_and_counted_on_one_connection() {
    let cells = Cells::start(1);
    let line = Client::new(cells.addresses[0], Http::H1).open("h").await.unwrap();
    for length in [1, 100_000, 0, 7] {
        let reply = line.ask(&Ask::post("h", "/", "x".repeat(length))).await.unwrap();
        let expected = (length > 0).then(|| length.to_string());
        assert_eq!(reply.header("x-received"), expected.as_deref());
        assert_eq!(reply.status, 200);
    }
    let reply: Reply = line.ask(&Ask::get("h", "/bytes/1048576")).await.unwrap();
    assert_eq!((reply.body.len(), reply.cell()), (1_048_576, Some("cell-0")));
}

#[tokio::test]
async fn websockets_and_calls_come_back_as_they_were() {
    let cells = Cells::start(2);
    let h1 = Client::new(cells.addresses[1], Http::H1);
    let mut opened = socket::open(&h1, &Ask::get("h", "/ws")).await.unwrap();
    assert_eq!(opened.cell(), Some("cell-1"));
    for message in [Message::text("one"), Message::binary(vec![7; 70_000])] {
        opened.stream.send(message.clone()).await.unwrap();
        assert_eq!(opened.stream.next().await.unwrap().unwrap(), message);
    }

    let line = Client::new(cells.addresses[1], Http::H2).open("h").await.unwrap();
    let reply = call::finish(&line, &call::call("h", "/s/M", &[b"one"])).await.unwrap();
    assert_eq!((reply.status(), reply.cell(), reply.trailers_only), (Some(0), Some("cell-1"), false));
    assert_eq!(reply.messages, [&b"one"[..]]);
}

#[tokio::test]
async fn the_program_prints_one_address_for_each_cell() {
    let any = ["--listen", "127.0.0.1:0"];
    let mut program = Command::new(env!("CARGO_BIN_EXE_origin"))
        .args([any, any].concat())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addresses: Vec<_> = line.split_whitespace().map(|address| address.parse().unwrap()).collect();
    let client = Client::new(addresses[1], Http::H1);
    let reply = client.ask(&Ask::get("h", "/")).await;
    program.kill().unwrap();
    program.wait().unwrap();
    assert_eq!(addresses.len(), 2, "{line}");
    assert_eq!(reply.unwrap().cell(), Some("cell-1"));
}
