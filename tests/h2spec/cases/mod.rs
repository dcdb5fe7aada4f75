//! The cases, in the suite's order and under its ids. They are written from the RFCs; the list of what to try is
//! that of h2spec (MIT, master of 2022: `generic`, `http2`, `hpack`), of whose code nothing is here.

mod frames;
mod generic;
mod hpack;
mod kinds;
mod messages;
mod streams;

use crate::script::Case;

/// All of them, and one of our own.
pub fn all() -> Vec<&'static Case> {
    let parts = [
        generic::CASES,
        frames::CASES,
        streams::CASES,
        kinds::CASES,
        messages::CASES,
        hpack::CASES,
        messages::OWN,
    ];
    parts.into_iter().flatten().collect()
}
