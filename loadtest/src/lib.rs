//! Everything that stands around cellgate in a test or a demo, and nothing of cellgate itself: simulated
//! cells, hostile servers, an open-loop load generator, fleets of WebSockets and gRPC streams.
//!
//! In reading order:
//! - [`cell`]: a simulated cell that says what reached it and misbehaves on command;
//! - [`raw`]: servers that play a script of bytes, for answers that no HTTP library would give;
//! - [`client`]: a client that does what it is told, once; [`call`] for gRPC, [`socket`] for WebSockets;
//! - [`load`]: many requests at a given pace, every answer checked;
//! - [`fleet`]: many WebSockets or gRPC streams held open;
//! - [`ask`], [`body`], [`failure`], [`frame`], [`tls`]: what they share.
//! - [`recovery`]: a cell that comes back before a crowd, behind one proxy after the other;
//! - [`bench`]: what a request costs cellgate and other proxies, side by side;
//! - [`usage`], [`tied`], [`place`]: command lines of the programs, programs that they start, and where these may be.
//!
//! ```no_run
//! # use std::{net::SocketAddr, time::Duration};
//! # use loadtest::{ask::Ask, cell::*, client::*, fleet::*, load::*};
//! # async fn example(edge: SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
//! let own = RunningCell::start(CellOptions::named("cell-1")).await?;
//! let shared = RunningCell::start(CellOptions::named("shared")).await?;
//! // ... an edge that listens on `edge` and knows both cells ...
//! let client = Client::new(edge, Http::H1);
//! let ask = Ask::get("cloud.getdbt.com", "/api/v2/accounts/12345/");
//! let legacy = Template::new("legacy", ask).cell("cell-1").with("deprecation");
//! let plan = LoadPlan::at_rate(client.clone(), vec![legacy], 500.0, Duration::from_secs(10));
//! let load = Load::start(plan);
//! let sockets = FleetPlan::websockets(client, "ab123.us1.dbt.com", "/ws", 200);
//! let sockets = Fleet::open(sockets.cell("cell-1")).await;
//!
//! assert!(load.until(|report| report.all.ok > 1_000).await, "{}", load.report());
//! shared.behave(Behaviour::BlackHole).await?;
//!
//! let report = load.finish().await;
//! assert!(report.is_clean(), "{report}");
//! let sockets = sockets.stop().await;
//! assert!(sockets.is_clean(), "{sockets}");
//! assert!(own.seen().iter().all(|request| request.header("x-cellgate-account").is_some()));
//! # Ok(())
//! # }
//! ```

pub mod ask;
pub mod bench;
pub mod body;
pub mod call;
pub mod cell;
pub mod client;
pub mod failure;
pub mod fleet;
pub mod frame;
pub mod load;
pub mod place;
pub mod raw;
pub mod recovery;
pub mod socket;
pub mod tied;
pub mod tls;
pub mod usage;
mod wait;
