//! What is over, or soon will be: certificates, stapled answers, revocation lists. One look, which log,
//! readiness page and metrics share.

use super::snapshot::Snapshot;

/// Something whose time ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ending {
    /// What it is.
    pub kind: Kind,
    /// The first name of a certificate, the pattern of a host, or the name of a cell: from the
    /// configuration, so that clients cannot make names.
    pub name: String,
    /// When it ends, in seconds since the Unix epoch.
    pub until: i64,
}

/// What it is that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A server certificate: clients refuse it from then on.
    Certificate,
    /// Our own certificate towards a cell: the cell refuses it from then on.
    CellCertificate,
    /// A stapled OCSP response: it is left out from then on.
    Staple,
    /// Revocation lists for clients of a host: from then on its certificates are refused.
    HostList,
    /// Revocation lists for a cell: from then on it is unreachable.
    CellList,
}

/// How far along it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its time is over.
    Over,
    /// A certificate that ends within [`Snapshot::warn_before`].
    Soon,
}

/// Everything in a snapshot whose time ends, in the order of the configuration.
pub fn endings(snapshot: &Snapshot) -> Vec<Ending> {
    let mut endings = Vec::new();
    let mut add = |kind, name: String, until| endings.push(Ending { kind, name, until });
    for certificate in snapshot.certificates.iter() {
        let name = certificate.names.iter().next().unwrap_or_else(|| "(no name)".to_owned());
        add(Kind::Certificate, name.clone(), certificate.not_after);
        if let Some(staple) = &certificate.staple {
            add(Kind::Staple, name, staple.until);
        }
    }
    for rule in snapshot.hosts.iter() {
        if let Some(until) = rule.client_certificate.as_ref().and_then(|policy| policy.crl_until) {
            add(Kind::HostList, rule.pattern.to_string(), until);
        }
    }
    for cell in &snapshot.cells {
        let Some(tls) = &cell.tls else { continue };
        let of_cell = [(Kind::CellCertificate, tls.not_after), (Kind::CellList, tls.crl_until)];
        for (kind, until) in of_cell {
            if let Some(until) = until {
                add(kind, cell.name.to_string(), until);
            }
        }
    }
    endings
}

impl Ending {
    /// How far along it is at `now`; `None` while all is well.
    pub fn stage(&self, snapshot: &Snapshot, now: i64) -> Option<Stage> {
        // Staples and lists last days and are renewed by machines, always within days of their end.
        let warned = matches!(self.kind, Kind::Certificate | Kind::CellCertificate);
        let before = i64::try_from(snapshot.warn_before.as_secs()).unwrap_or(i64::MAX);
        if self.until <= now {
            Some(Stage::Over)
        } else if warned && self.until <= now.saturating_add(before) {
            Some(Stage::Soon)
        } else {
            None
        }
    }

    /// How the readiness page and the log name it.
    pub const fn reason(&self, stage: Stage) -> &'static str {
        match (self.kind, stage) {
            (Kind::Certificate, Stage::Over) => "certificate_expired",
            (Kind::Certificate, Stage::Soon) => "certificate_expires_soon",
            (Kind::CellCertificate, Stage::Over) => "cell_certificate_expired",
            (Kind::CellCertificate, Stage::Soon) => "cell_certificate_expires_soon",
            (Kind::Staple, Stage::Over | Stage::Soon) => "ocsp_stale",
            (Kind::HostList, Stage::Over | Stage::Soon) => "client_crl_stale",
            (Kind::CellList, Stage::Over | Stage::Soon) => "cell_crl_stale",
        }
    }

    /// One sentence on what it is and what follows, without the time.
    pub fn said(&self, stage: Stage) -> String {
        let name = &self.name;
        match (self.kind, stage) {
            (Kind::Certificate, Stage::Over) => {
                format!("The certificate of {name} expired. Install a new one and reload.")
            }
            (Kind::Certificate, Stage::Soon) => {
                format!("The certificate of {name} expires soon. Install a new one and reload.")
            }
            (Kind::CellCertificate, Stage::Over) => {
                format!("Our certificate towards {name} expired. Install a new one and reload.")
            }
            (Kind::CellCertificate, Stage::Soon) => {
                format!("Our certificate towards {name} expires soon. Install a new one and reload.")
            }
            (Kind::Staple, Stage::Over | Stage::Soon) => {
                format!("The OCSP response for {name} is stale and not stapled. Fetch a new one and reload.")
            }
            (Kind::HostList, Stage::Over | Stage::Soon) => format!(
                "A revocation list for clients of {name} is past its next update: their certificates are refused. \
                 Fetch a new one and reload."
            ),
            (Kind::CellList, Stage::Over | Stage::Soon) => format!(
                "A revocation list for {name} is past its next update: no new connection to it is made. Fetch a new \
                 one and reload."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAY: i64 = 86_400;

    fn check(kind: Kind, left: i64, expect: Option<Stage>) {
        let mut snapshot = crate::test_snapshot::SnapshotBuilder::new().build();
        snapshot.warn_before = Duration::from_secs(21 * 86_400);
        let ending = Ending { kind, name: "us1".into(), until: 1_000 * DAY };
        assert_eq!(ending.stage(&snapshot, 1_000 * DAY - left), expect, "{kind:?} {left}");
        if let Some(stage) = expect {
            assert!(ending.said(stage).contains("us1"));
            assert_eq!(ending.reason(stage).ends_with("_soon"), stage == Stage::Soon);
        }
    }

    #[test]
    fn certificates_are_warned_of_in_time_and_what_machines_renew_when_it_is_over() {
        for kind in [Kind::Certificate, Kind::CellCertificate] {
            check(kind, 21 * DAY + 1, None);
            check(kind, 21 * DAY, Some(Stage::Soon));
            check(kind, 1, Some(Stage::Soon));
            check(kind, 0, Some(Stage::Over));
        }
        for kind in [Kind::Staple, Kind::HostList, Kind::CellList] {
            check(kind, 1, None);
            check(kind, 0, Some(Stage::Over));
        }
    }
}
