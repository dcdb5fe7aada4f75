//! Approvals: who has signed a plan with an SSH key, and whether that is enough. Plain functions on plain data:
//! bytes and the moment are arguments. The files are read by [`approval_files`](crate::approval_files), and what is
//! done about the answer is `reload`'s business.

pub mod break_glass;
pub mod file;
mod judge;
mod options;
mod pattern;
pub mod refusal;
mod signature;
pub mod signers;
pub mod statement;
pub mod used;

pub use file::{Approval, ApprovalFile};
pub use judge::{Accepted, Demand, Judgement, MAX_AGE_SECONDS, judge};
pub use refusal::{Malformed, Refusal};
pub use signers::AllowedSigners;
pub use statement::{Digest, FleetId, NAMESPACE, Nonce, Statement};
pub use used::{Use, Used};
