//! The rows, by topic.

pub mod bulk;
pub mod early;
pub mod flow;
pub mod gone_cell;
pub mod gone_client;
pub mod grpc;
pub mod pool;
pub mod semantics;
pub mod simple;
pub mod upgrade;
pub mod websocket;
