//! The closed lists that label values come from. Nothing that a client chooses is ever a label value:
//! what is not on a list is `other`, `unknown` or `none`.

use http::Method;

use crate::policy::decide::{Source, Why};
use crate::policy::facts::WireVersion;
use crate::policy::hosts::Role;
use crate::policy::validity::Kind;

use super::event::End;
pub(super) use super::refusals::{REFUSALS, refusal_slot};

/// Label of the cell when cellgate answered itself, and of a surface or role that is not known.
pub const NONE: &str = "none";

/// Label of a client that no rule of the configuration names.
pub const UNKNOWN_CLIENT: &str = "unknown";

macro_rules! label_enum {
    ($(#[$doc:meta])+ $name:ident { $($(#[$vdoc:meta])+ $variant:ident => $label:literal,)+ }) => {
        $(#[$doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])+ $variant,)+ }

        impl $name {
            /// Every value, in the order of the declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Metric label and log value.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }
    };
}

label_enum! {
    /// How a TLS handshake with a client ended.
    Handshake {
        /// Done, with certificate and signature.
        Full => "full",
        /// Done, from a ticket or a cached session.
        Resumed => "resumed",
        /// No certificate covers the server name.
        UnknownName => "unknown_name",
        /// Not finished in time.
        TimedOut => "timed_out",
        /// The client went away in the middle.
        ClientGone => "client_gone",
        /// The client showed no certificate where one is required, or one that is not accepted.
        ClientCertificate => "client_certificate",
        /// The bytes were not a TLS handshake, or no common version or cipher.
        Failed => "failed",
    }
}

label_enum! {
    /// What kind of server name no certificate covers.
    UnknownSni {
        /// No server name at all, and no default certificate.
        Absent => "absent",
        /// A served name with its labels in the wrong order (`metadata.ab123.us1.dbt.com`).
        Misordered => "misordered",
        /// A name under a served domain.
        Uncovered => "uncovered",
        /// A name that has nothing to do with this proxy.
        Foreign => "foreign",
    }
}

label_enum! {
    /// Why a client connection was closed before a request was read.
    ConnectionRefused {
        /// All connection slots are taken.
        Limit => "limit",
        /// Too many handshakes are in progress.
        Handshakes => "handshakes",
        /// The mandatory PROXY protocol header is missing, broken or late.
        ProxyHeader => "proxy_header",
        /// The peer may not send a PROXY protocol header.
        UntrustedPeer => "untrusted_peer",
        /// The operating system failed to hand over the connection.
        Accept => "accept",
    }
}

label_enum! {
    /// For what an HTTP/2 connection was ended.
    ConnectionCut {
        /// More frames without a request than `limits.http2.control_frames`; of a cell, without an answer, than
        /// `cells[].http2.control_frames`.
        ControlFrames => "control_frames",
        /// Too many malformed requests.
        Malformed => "malformed",
    }
}

label_enum! {
    /// How an attempt to connect to a cell ended.
    Connect {
        /// A connection that can be used.
        Connected => "connected",
        /// Refused, reset or unreachable.
        Refused => "refused",
        /// Not there in time.
        TimedOut => "timed_out",
        /// The TLS handshake failed: certificate, name or protocol.
        Tls => "tls",
        /// The endpoint's name has never been resolved.
        Unresolved => "unresolved",
        /// The group has as many connections as it may have.
        TooMany => "too_many",
    }
}

label_enum! {
    /// How a reload ended.
    Reload {
        /// A new generation is in force.
        Applied => "applied",
        /// The files say what is in force already.
        Unchanged => "unchanged",
        /// The files have problems.
        Rejected => "rejected",
        /// The files are well formed and a guard objects to the change.
        Refused => "refused",
        /// The change touches what only a restart can change.
        NeedsRestart => "needs_restart",
        /// A new generation is on trial.
        Staged => "staged",
        /// A generation on trial was taken back.
        RolledBack => "rolled_back",
    }
}

label_enum! {
    /// What an upgrade was for this process.
    Upgrade {
        /// It is the successor.
        TakenOver => "taken_over",
        /// Its successor could not serve, and it goes on.
        Failed => "failed",
    }
}

label_enum! {
    /// How the wait of a request ended whose account moves.
    Held {
        /// It went on, under a newer configuration.
        Released => "released",
        /// It had waited for as long as it may.
        RefusedBudget => "refused_budget",
        /// It found no slot.
        RefusedSlots => "refused_slots",
        /// The client went away.
        ClientGone => "client_gone",
        /// The process ended.
        Drain => "drain",
    }
}

label_enum! {
    /// State of an entry in the learned credential table.
    LearnedState {
        /// Names one account.
        Routable => "routable",
        /// Two accounts claimed it; never routed on.
        Ambiguous => "ambiguous",
    }
}

/// Methods with a label of their own; every other is the last.
pub(super) const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];

pub(super) const VERSIONS: [WireVersion; 3] = [WireVersion::Http10, WireVersion::Http11, WireVersion::Http2];

pub(super) const ROLES: [Option<Role>; 3] = [None, Some(Role::Legacy), Some(Role::Cell)];

pub(super) const ENDS: [End; 6] =
    [End::Complete, End::ClientGone, End::CellGone, End::TimedOut, End::Drain, End::Moved];

pub(super) const WHYS: [Why; 3] = [Why::Mapped, Why::IdRange, Why::Fallback];

pub(super) const SOURCES: [Source; 8] = [
    Source::HostPrefix,
    Source::Path,
    Source::Query,
    Source::Header,
    Source::Credential,
    Source::Cookie,
    Source::IdRange,
    Source::None,
];

/// Status classes; statuses outside 100 to 599 count as 5xx, for only a defect can make one.
pub(crate) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Position in [`METHODS`].
pub(super) fn method_slot(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PUT => 3,
        Method::PATCH => 4,
        Method::DELETE => 5,
        Method::OPTIONS => 6,
        _ => 7,
    }
}

/// Position in [`CLASSES`].
pub(crate) const fn class_slot(status: u16) -> usize {
    match status {
        100..=199 => 0,
        200..=299 => 1,
        300..=399 => 2,
        400..=499 => 3,
        _ => 4,
    }
}

/// Position in [`ROLES`].
pub(super) const fn role_slot(role: Option<Role>) -> usize {
    match role {
        None => 0,
        Some(Role::Legacy) => 1,
        Some(Role::Cell) => 2,
    }
}

/// Position in [`SOURCES`].
pub(super) const fn source_slot(source: Source) -> usize {
    match source {
        Source::HostPrefix => 0,
        Source::Path => 1,
        Source::Query => 2,
        Source::Header => 3,
        Source::Credential => 4,
        Source::Cookie => 5,
        Source::IdRange => 6,
        Source::None => 7,
    }
}

/// Position in [`WHYS`].
pub(super) const fn why_slot(why: Why) -> usize {
    match why {
        Why::Mapped => 0,
        Why::IdRange => 1,
        Why::Fallback => 2,
    }
}

/// Position in [`ENDS`].
pub(super) const fn end_slot(end: End) -> usize {
    match end {
        End::Complete => 0,
        End::ClientGone => 1,
        End::CellGone => 2,
        End::TimedOut => 3,
        End::Drain => 4,
        End::Moved => 5,
    }
}

/// Position in [`VERSIONS`].
pub(super) const fn version_slot(version: WireVersion) -> usize {
    match version {
        WireVersion::Http10 => 0,
        WireVersion::Http11 => 1,
        WireVersion::Http2 => 2,
    }
}

/// The kinds of [`TRUST_UNTIL`](super::families::TRUST_UNTIL); server certificates have a family of their own.
pub(super) const fn trust_label(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Certificate => None,
        Kind::CellCertificate => Some("cell_certificate"),
        Kind::Staple => Some("ocsp"),
        Kind::HostList => Some("client_crl"),
        Kind::CellList => Some("cell_crl"),
    }
}

/// Label of a role; `none` for a host that is not served.
pub const fn role_label(role: Option<Role>) -> &'static str {
    match role {
        None => NONE,
        Some(role) => role.as_str(),
    }
}

/// Label of a wire version (the name that ALPN and OpenTelemetry use for it).
pub const fn version_label(version: WireVersion) -> &'static str {
    match version {
        WireVersion::Http10 => "1.0",
        WireVersion::Http11 => "1.1",
        WireVersion::Http2 => "2",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_the_position_in_its_list() {
        for (position, refusal) in REFUSALS.iter().enumerate() {
            assert_eq!(refusal_slot(*refusal), position, "{refusal:?}");
        }
        for (position, source) in SOURCES.iter().enumerate() {
            assert_eq!(source_slot(*source), position, "{source:?}");
        }
        for (position, role) in ROLES.iter().enumerate() {
            assert_eq!(role_slot(*role), position, "{role:?}");
        }
        for (position, why) in WHYS.iter().enumerate() {
            assert_eq!(why_slot(*why), position, "{why:?}");
        }
        for (position, end) in ENDS.iter().enumerate() {
            assert_eq!(end_slot(*end), position, "{end:?}");
        }
        for (position, version) in VERSIONS.iter().enumerate() {
            assert_eq!(version_slot(*version), position, "{version:?}");
        }
        for (position, method) in METHODS.iter().enumerate() {
            let method = Method::from_bytes(method.as_bytes()).expect("labels are tokens");
            assert_eq!(method_slot(&method), position, "{method}");
        }
    }

    #[test]
    fn statuses_fall_into_classes() {
        for (status, class) in
            [(101, "1xx"), (200, "2xx"), (302, "3xx"), (499, "4xx"), (503, "5xx"), (0, "5xx"), (700, "5xx")]
        {
            assert_eq!(CLASSES[class_slot(status)], class, "{status}");
        }
    }
}
