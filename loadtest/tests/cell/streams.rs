//! gRPC calls and WebSockets.

use futures_util::{SinkExt, StreamExt};
use loadtest::call::{Bidi, call, finish};
use loadtest::client::Ask;
use loadtest::socket::{self, tungstenite::Message};

use super::*;

#[tokio::test]
async fn grpc_calls_end_with_their_status() {
    let cell = cell().await;
    let [_, h2] = clients(&cell);
    let line = h2.open("h").await.unwrap();

    let unary = finish(&line, &call("h", "/s.S/Anything", &[b"hello"])).await.unwrap();
    assert_eq!(unary.messages, ["hello"]);
    assert_eq!((unary.status(), unary.trailers_only), (Some(0), false));
    assert_eq!(unary.cell(), Some("cell-1"));

    let stream = call("h", "/s.S/ServerStream", &[b"m"]).sim("messages=4;grpc_status=8");
    let stream = finish(&line, &stream).await.unwrap();
    assert_eq!(stream.messages, ["m#0", "m#1", "m#2", "m#3"]);
    assert_eq!(stream.status(), Some(8));

    let fail = finish(&line, &call("h", "/s.S/Fail", &[b"m"])).await.unwrap();
    assert_eq!((fail.status(), fail.trailers_only), (Some(5), true));
    assert_eq!(fail.message(), Some("asked to fail"));
    assert_eq!(fail.messages.len(), 0);

    let empty = finish(&line, &call("h", "/s.S/Unary", &[])).await.unwrap();
    assert_eq!(empty.status(), Some(3));
}

#[tokio::test]
async fn a_grpc_stream_echoes_while_it_is_open() {
    let cell = cell().await;
    let [_, h2] = clients(&cell);
    let line = h2.open("h").await.unwrap();
    let mut bidi = Bidi::open(&line, &call("h", "/s.S/Bidi", &[])).await.unwrap();
    assert_eq!(bidi.cell(), Some("cell-1"));
    for message in ["one", "two"] {
        assert!(bidi.send(message.as_bytes()).await);
        assert_eq!(bidi.next().await.unwrap().unwrap(), message);
    }
    let end = bidi.end().await.unwrap();
    assert_eq!((end.status(), end.messages.len()), (Some(0), 0));
}

#[tokio::test]
async fn a_websocket_echoes_over_both_protocols() {
    let cell = cell().await;
    for client in clients(&cell) {
        let ask = Ask::get("h", "/ws").header("sec-websocket-protocol", "graphql-ws, other");
        let mut socket = socket::open(&client, &ask).await.unwrap();
        assert_eq!(socket.cell(), Some("cell-1"));
        assert_eq!(socket.headers["sec-websocket-protocol"], "graphql-ws");
        for message in [Message::text("hello"), Message::binary(vec![0; 100_000])] {
            socket.stream.send(message.clone()).await.unwrap();
            assert_eq!(socket.stream.next().await.unwrap().unwrap(), message);
        }
        socket.stream.send(Message::Ping("p".into())).await.unwrap();
        let pong = socket.stream.next().await.unwrap().unwrap();
        assert_eq!(pong, Message::Pong("p".into()));
        socket.stream.close(None).await.unwrap();
        assert!(matches!(socket.stream.next().await, Some(Ok(Message::Close(_)))));
        assert!(socket.stream.next().await.is_none());
    }
}

#[tokio::test]
async fn a_websocket_obeys_commands() {
    let cell = cell().await;
    for client in clients(&cell) {
        let mut socket = socket::open(&client, &Ask::get("h", "/ws?x")).await.unwrap();
        let mut say = async |command: &str, answers: usize| {
            socket.stream.send(Message::text(command)).await.unwrap();
            let mut got = Vec::new();
            for _ in 0..answers {
                got.push(socket.stream.next().await.unwrap().unwrap());
            }
            got
        };
        let seen = say("sim:seen", 1).await;
        let seen: loadtest::cell::Seen = serde_json::from_str(seen[0].to_text().unwrap()).unwrap();
        assert!(seen.target.ends_with("/ws?x"), "{}", seen.target);
        assert_eq!(say("sim:push 2 1", 2).await[1], Message::text("push 1"));
        assert_eq!(say("sim:ping x", 1).await[0], Message::Ping("x".into()));
        let closed = say("sim:close 4001 moved", 1).await.remove(0);
        let Message::Close(Some(frame)) = closed else {
            unreachable!("expected a close frame, got {closed:?}");
        };
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4001, "moved"));
    }
}

#[tokio::test]
async fn a_dropped_websocket_ends_without_a_close_frame() {
    let cell = cell().await;
    for client in clients(&cell) {
        let mut socket = socket::open(&client, &Ask::get("h", "/")).await.unwrap();
        socket.stream.send(Message::text("sim:drop")).await.unwrap();
        let end = socket.stream.next().await;
        assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    }
}
