//! The benchmark: cellgate, other proxies and two floors, measured side by side in one run (docs/performance.md).
//!
//! In reading order:
//! - [`table`]: which accounts there are, and which cell has each;
//! - [`origin`]: the ten cells, in one process that costs as little as can be;
//! - [`drive`]: the load, and what has become of each request;
//! - [`site`]: the contestants, configured and run;
//! - [`usage`]: what a contestant's processes use;
//! - [`scenario`]: what is measured;
//! - [`run`]: all scenarios, contestants in turns; [`machine`]: where that happens;
//! - [`count`]: instructions and allocations in place of times;
//! - [`rounds`]: what is made of many measurements; [`report`], [`picture`]: how it is told.

pub mod count;
pub mod drive;
mod incoming;
pub mod machine;
pub mod origin;
pub mod picture;
pub mod report;
pub mod rounds;
pub mod run;
pub mod scenario;
pub mod site;
pub mod table;
pub mod usage;
