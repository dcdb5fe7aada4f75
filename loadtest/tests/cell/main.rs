//! A simulated cell, from outside: what it answers on each protocol, and what each behaviour does to it.
#![allow(clippy::unwrap_used)]

mod answers;
mod behaviour;
mod flow;
mod streams;

use std::time::Duration;

use loadtest::cell::{CellOptions, RunningCell};
use loadtest::client::{Ask, Client, Http};
use loadtest::raw::RawSeen;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Long enough for anything that is to happen on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// Long enough to believe that something does not happen.
const NEVER: Duration = Duration::from_millis(200);

async fn cell() -> RunningCell {
    let options = CellOptions::named("cell-1").with_h2c();
    RunningCell::start(options).await.unwrap()
}

/// Clients of both protocols, in clear text.
fn clients(cell: &RunningCell) -> [Client; 2] {
    [Client::new(cell.addr(), Http::H1), Client::new(cell.h2c_addr().unwrap(), Http::H2)]
}

fn get(control: &str) -> Ask {
    Ask::get("cloud.getdbt.com", "/api/v2/accounts/1/?a=[b]&c=%2F//d").sim(control)
}

/// Writes `request` as it is and returns all that comes until the cell closes.
async fn wire(cell: &RunningCell, request: &str) -> String {
    let mut stream = TcpStream::connect(cell.addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    tokio::time::timeout(SOON, read).await.unwrap().unwrap();
    RawSeen { bytes, ended: true }.text()
}
