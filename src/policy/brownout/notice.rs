//! What a client is told when a legacy address is refused on purpose: where to go instead, first of all, for most log lines
//! keep the first hundred characters; then why, and until when.

use super::{BrownoutIndex, Planned};
use crate::policy::calendar::{show_day, show_moment};
use crate::policy::decide::Decision;
use crate::policy::snapshot::Snapshot;

/// The facts of such an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The host that was called.
    pub legacy_host: Box<str>,
    /// `https://ab123.us1.dbt.com`: only for whoever is known to belong to the account.
    pub origin: Option<String>,
    /// The same with path and query.
    pub replacement: Option<String>,
    /// Where a human reads on.
    pub guide: Box<str>,
    /// In seconds since the Unix epoch.
    pub sunset_at: i64,
    /// The brownout's id and the end of its window; `None` after the sunset.
    pub brownout: Option<(Box<str>, i64)>,
}

/// The facts for a request to `host` with this `target`; `None` where its decision has no schedule, which none is planned for.
pub fn notice(
    snapshot: &Snapshot,
    decision: &Decision,
    planned: Planned,
    host: &str,
    target: &str,
) -> Option<Notice> {
    let schedule = snapshot.schedule(decision.schedule?);
    let own = decision.own_address(snapshot).filter(|_| decision.credential_known);
    let origin = own.map(|address| format!("https://{address}"));
    let id = |index: BrownoutIndex| snapshot.brownouts.at(index).id.as_str().into();
    Some(Notice {
        legacy_host: host.into(),
        replacement: origin.as_ref().map(|origin| [origin, target].concat()),
        origin,
        guide: schedule.guide.clone(),
        sunset_at: schedule.sunset_at,
        brownout: match planned {
            Planned::Brownout { index, until, .. } => Some((id(index), until)),
            Planned::Sunset { .. } => None,
        },
    })
}

impl Notice {
    /// One or two sentences, without the guide where that follows anyway.
    pub fn message(&self) -> String {
        let Self { legacy_host, origin, guide, sunset_at, brownout, .. } = self;
        let to = match origin {
            Some(origin) => format!("Use {origin} instead of {legacy_host}"),
            None => format!("Use your account's own address ({guide}) instead of {legacy_host}"),
        };
        match brownout {
            Some((id, until)) => format!(
                "{to}, which is being retired. This is a planned interruption ({id}) until {}; the new address is not \
                 affected.",
                show_moment(*until)
            ),
            None => format!("{to}, which was retired on {}.", show_day(*sunset_at)),
        }
    }

    /// For `details` of `Proxy-Status` (RFC 9209 section 2.1.5).
    pub fn details(&self) -> String {
        match &self.brownout {
            Some((id, _)) => format!("brownout {id}"),
            None => "sunset".to_owned(),
        }
    }
}
