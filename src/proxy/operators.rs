//! Requests of operators on the worst day: by what they are known, and what they hold. Honoured over TLS of our own alone,
//! for over anything else whoever listens has the pass.

use super::downstream::Downstream;
use super::request::Request;
use crate::policy::admit::Permit;
use crate::policy::facts::Scheme;
use crate::policy::protection::levers::{Levers, OperatorPass};
use crate::policy::snapshot::Cell;

/// One of the permits that nobody else can take; `None` for everybody else, and where operators have taken all of them:
/// then the request is one like any other.
pub(super) fn reserved(levers: &Levers, cell: &Cell, request: &Request, down: &Downstream) -> Option<Permit> {
    let reserved = levers.reserved(cell.name.as_str())?;
    if !request.own_tls || request.scheme != Scheme::Https {
        return None;
    }
    // Both are digests of what cannot be guessed: how long the comparison takes tells nobody anything.
    if OperatorPass::shown(&down.request().headers)? != reserved.value.pass {
        return None;
    }
    let permit = cell.load.operators.try_take(reserved.value.permits)?;
    levers.touch(reserved.lever);
    Some(permit)
}
