//! What is seen of requests: one event at the end of each; metrics, access log and books are derived
//! from it. Never blocks a request, never fails one; what it cannot keep is counted.

pub mod event;
