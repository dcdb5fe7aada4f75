//! The shell around the engine: takes a connection, reads requests, asks `policy`, forwards, answers,
//! and tells `telemetry` how it ended. It has no opinions of its own.

mod admission;
mod cause;
mod compact;
pub mod connect;
mod connect_h2;
mod counted;
pub mod downstream;
mod exchange;
pub mod forward;
pub mod frames;
mod h1;
mod h2;
mod hang_up;
mod hold;
pub mod kept;
mod linger;
mod metered;
mod moving;
mod outgoing;
mod pieces;
pub mod pool;
mod preface;
mod progress;
pub mod pump;
mod record;
pub mod reply;
mod request;
pub mod resolver;
mod response;
pub mod service;
mod settled;
pub mod sink;
mod tunnel;
pub mod upstream;
mod warm;
pub mod wire;
