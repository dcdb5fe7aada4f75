//! `cellgate.yaml`: what a request head may be, and how long requests may take and how much they matter.

use super::super::time::show_duration;
use super::{Field, NONE, REQUIRED, mapping};
use crate::policy::endpoint_class::REQUEST_TIMEOUT;
use crate::policy::protection::priority::Priority;
use crate::policy::snapshot::RequestLimits;

mapping! {
    /// What a request head may be.
    RoutingLimits {
        /// Most bytes of path and query; more is 414.
        target_bytes: u64 = RequestLimits::default().target_bytes;
        /// Most bytes of the whole head; more is 431.
        head_bytes: u64 = RequestLimits::default().head_bytes;
        /// Most header fields; more is 431.
        header_fields: u64 = RequestLimits::default().header_fields;
    }
}

mapping! {
    /// Requests that may take equally long and matter as much. What no class names has the defaults below and the times of its cell.
    EndpointClass {
        /// Unique label, such as `interactive`, `long-poll` or `stream`.
        name: String = REQUIRED;
        /// Paths that belong to it, with everything below them, as in `identify.paths`. The most specific one counts. Absent, in
        /// one class at most: everything that no other class names.
        paths: Vec<Field<String>> = NONE;
        /// From the request head until the client has the whole response, or `unlimited`. WebSockets only have `tunnel_idle`.
        request_timeout: String = show_duration(REQUEST_TIMEOUT);
        /// Silence before the head of the response, in place of the cell's `response_head`.
        response_head: String = NONE;
        /// Silence of either side in the middle of an exchange, in place of the cell's `idle` and of `limits.body_timeout`; a client
        /// that does not read is never given more than `limits.idle_timeout`.
        idle: String = NONE;
        /// What is refused last when a cell has more to do than it can: `critical` (heartbeats, run control, callbacks), `interactive`,
        /// `api` or `bulk`.
        priority: String = Priority::default().as_str();
        /// Long polls and streams, of which many are open without the cell having much to do: they count for `max_in_flight` only. A
        /// WebSocket always is.
        long_lived: bool = false;
    }
}
