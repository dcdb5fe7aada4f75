//! HTTP/1 on both sides of an exchange: sessions that own their connection, read each head once, and write heads and
//! bodies straight into its queue. What a head means is `policy`'s to say, how the two sides are moved is
//! [`pump`](super::pump)'s. HTTP/2 is the engine's.

pub mod body;
pub mod client;
pub mod server;
mod text;
