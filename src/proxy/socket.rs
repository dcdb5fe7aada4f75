//! What the kernel knows of a connection to a cell (TCP_INFO), for the detector: its round trip and what it had to send
//! again. Measured by the kernel, it does not grow with our own pauses.

use std::time::Duration;

use pingora::protocols::{SocketDigest, UniqueIDType};

use crate::policy::protection::verdict::counters::Socket;

/// Asks about the socket of a connection that is open. `None` where the system does not say.
pub(super) fn ask(id: UniqueIDType) -> Option<Socket> {
    let told = SocketDigest::from_raw_fd(id).tcp_info()?;
    Some(Socket {
        rtt: Duration::from_micros(told.tcpi_rtt.into()),
        sent: told.tcpi_segs_out,
        again: told.tcpi_total_retrans,
    })
}
