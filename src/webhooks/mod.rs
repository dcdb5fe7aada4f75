//! Webhooks as Standard Webhooks has them: what is posted, signed so that the receiver knows whose it is and that nobody changed
//! it, and posted again where the receiver was away. What there is to say is others' to know; nothing here reads the books.

mod post;
mod retry;
mod secret;
mod send;
mod target;

pub use secret::{BadSecret, Secret};
pub use send::{Courier, Failure, Summary, send};
pub use target::{BadTarget, Target};

/// One message. The same thing said again has the same id, by which the receiver knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `webhook-id`: letters, digits, `_` and `-`.
    pub id: String,
    /// For people: what it is about.
    pub about: String,
    /// JSON with `type`, `timestamp` and `data`.
    pub body: String,
}
