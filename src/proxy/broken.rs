//! Why an exchange did not end whole, and whose doing that is.

use pingora::BError;

use crate::policy::cell_failure::Silence;

/// Why an exchange did not end whole.
#[derive(Debug)]
pub enum Broken {
    /// The client went away.
    ClientGone,
    /// The client's body broke its own framing.
    ClientBody(BError),
    /// The client stopped sending its body, or the time for the whole was over before it had sent it.
    ClientSlow,
    /// The client stopped reading the response.
    ClientStalled,
    /// The cell closed, reset, or sent what is not HTTP.
    Cell(BError),
    /// The cell kept silent, or the time for the whole was over before it had answered.
    CellSlow(Silence),
    /// The process ends.
    Drain,
    /// The account moves to another cell, and this has lasted for too long.
    Moved,
}

impl Broken {
    /// By what reading a client's body has ended with.
    pub(super) fn of_client(error: BError) -> Self {
        use pingora::ErrorType::{ConnectionClosed, H2Error, ReadError};
        match error.etype() {
            ConnectionClosed | ReadError | H2Error => Self::ClientGone,
            _ => Self::ClientBody(error),
        }
    }
}
