//! The PROXY protocol.
