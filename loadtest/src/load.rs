//! Load: many requests at a given pace, every answer checked, and a report of what became of them.
//!
//! Two paces. At a *rate* requests are due at fixed moments whatever the server does, and latency counts from the
//! moment a request was due, not from when it could be sent, so a stalled server cannot hide the requests that it
//! delayed (no coordinated omission). *Closed*, each of N clients sends its next request when it has the answer
//! to the one before. Lines are kept and reused as an HTTP client library would; where such a library would send
//! a request again (the kept connection had just been closed), so does this, and counts it.

mod histogram;
pub mod lines;
mod plan;
mod pool;
mod report;
mod run;

pub use histogram::{Histogram, Latency};
pub use plan::{BodyCheck, Expect, LoadPlan, Pace, Template};
pub use report::{FailureSample, LoadReport, SAMPLES_MAX, Second, Tally, TemplateReport};
pub use run::{Load, RunningLoad};
