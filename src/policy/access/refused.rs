//! Why the admin plane does not do what it is asked. Status, name and words are functions of it.

use std::time::Duration;

use http::StatusCode;

use super::Role;

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// There is no such page at this door.
    NotHere,
    /// Nothing can be changed at this door.
    ReadOnly,
    /// Reports are not shown to everybody at this door.
    ReportHidden,
    /// Called by a name that somebody else may own.
    HostNotAllowed,
    /// Nobody has said who they are.
    NoToken,
    /// More than one Authorization header.
    TwoTokens,
    /// Another scheme than Bearer.
    NotBearer,
    /// What was brought has not the form of a token, or a character of it is wrong.
    TokenMistyped,
    /// No row has it.
    TokenUnknown,
    /// Its time is over.
    TokenExpired,
    /// The certificate is good, and has no name that has a role.
    CertificateUnknown,
    /// Others may do this.
    RoleMissing {
        /// What the caller has.
        has: Role,
        /// What it takes.
        needs: Role,
    },
    /// A page of another site has sent it.
    CrossSite,
    /// A browser has sent it, and not our own page.
    NoConsoleHeader,
    /// A form could have sent it.
    NotJson,
    /// Too many at this door could not say who they are.
    TooManyFailures {
        /// Until one more is answered.
        wait: Duration,
    },
    /// This caller changes too much.
    TooManyChanges {
        /// Until one more is done.
        wait: Duration,
    },
}

impl Denied {
    /// Each reason once, in the order of [`slot`](Self::slot); what two of them carry is made up.
    pub const ALL: [Self; 17] = [
        Self::NotHere,
        Self::ReadOnly,
        Self::ReportHidden,
        Self::HostNotAllowed,
        Self::NoToken,
        Self::TwoTokens,
        Self::NotBearer,
        Self::TokenMistyped,
        Self::TokenUnknown,
        Self::TokenExpired,
        Self::CertificateUnknown,
        Self::RoleMissing { has: Role::Read, needs: Role::Operate },
        Self::CrossSite,
        Self::NoConsoleHeader,
        Self::NotJson,
        Self::TooManyFailures { wait: Duration::ZERO },
        Self::TooManyChanges { wait: Duration::ZERO },
    ];

    /// Position in [`ALL`](Self::ALL). Written out, so that a new reason does not compile without one.
    pub const fn slot(self) -> usize {
        match self {
            Self::NotHere => 0,
            Self::ReadOnly => 1,
            Self::ReportHidden => 2,
            Self::HostNotAllowed => 3,
            Self::NoToken => 4,
            Self::TwoTokens => 5,
            Self::NotBearer => 6,
            Self::TokenMistyped => 7,
            Self::TokenUnknown => 8,
            Self::TokenExpired => 9,
            Self::CertificateUnknown => 10,
            Self::RoleMissing { .. } => 11,
            Self::CrossSite => 12,
            Self::NoConsoleHeader => 13,
            Self::NotJson => 14,
            Self::TooManyFailures { .. } => 15,
            Self::TooManyChanges { .. } => 16,
        }
    }

    /// Of the answer.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::NotHere | Self::ReadOnly => StatusCode::NOT_FOUND,
            Self::NoToken
            | Self::TwoTokens
            | Self::NotBearer
            | Self::TokenMistyped
            | Self::TokenUnknown
            | Self::TokenExpired => StatusCode::UNAUTHORIZED,
            Self::ReportHidden
            | Self::HostNotAllowed
            | Self::CertificateUnknown
            | Self::RoleMissing { .. }
            | Self::CrossSite
            | Self::NoConsoleHeader => StatusCode::FORBIDDEN,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooManyFailures { .. } | Self::TooManyChanges { .. } => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// For programs, the log, metrics and the audit trail.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotHere => "not_found",
            Self::ReadOnly => "read_only",
            Self::ReportHidden => "report_on_socket_only",
            Self::HostNotAllowed => "host_not_allowed",
            Self::NoToken => "no_token",
            Self::TwoTokens => "two_tokens",
            Self::NotBearer => "not_bearer",
            Self::TokenMistyped => "token_mistyped",
            Self::TokenUnknown => "token_unknown",
            Self::TokenExpired => "token_expired",
            Self::CertificateUnknown => "certificate_unknown",
            Self::RoleMissing { .. } => "role_missing",
            Self::CrossSite => "cross_site",
            Self::NoConsoleHeader => "no_console_header",
            Self::NotJson => "not_json",
            Self::TooManyFailures { .. } => "too_many_failures",
            Self::TooManyChanges { .. } => "too_many_changes",
        }
    }

    /// What is wrong, for people.
    pub fn what(self) -> String {
        let text = match self {
            Self::NotHere => "There is no such page.",
            Self::ReadOnly => "This port is read-only: nothing here can be changed.",
            Self::ReportHidden => "Reports name accounts, and everybody on this machine can call this port.",
            Self::HostNotAllowed => {
                "This door answers only under the names localhost, 127.0.0.1 and [::1]; the socket under admin, too."
            }
            Self::NoToken => "This needs a role, and the call does not say whose it is.",
            Self::TwoTokens => "The call has more than one Authorization header.",
            Self::NotBearer => "The scheme of the Authorization header is not Bearer.",
            Self::TokenMistyped => "This is no token of cellgate, or one of its characters is wrong.",
            Self::TokenUnknown => "Nobody has this token, or has it any more.",
            Self::TokenExpired => "The time of this token is over.",
            Self::CertificateUnknown => "No name in this certificate has a role.",
            Self::RoleMissing { has, needs } => {
                return format!(
                    "This needs the role {}, and the caller has {}.",
                    needs.as_str(),
                    has.as_str()
                );
            }
            Self::CrossSite => "A page of another site has sent this.",
            Self::NoConsoleHeader => "A browser or a certificate has sent this without the console's header.",
            Self::NotJson => "A call that changes something says that it brings JSON.",
            Self::TooManyFailures { .. } => "Too many calls at this door had no good token.",
            Self::TooManyChanges { .. } => "This caller has asked for too many changes in a short time.",
        };
        text.to_owned()
    }

    /// What to do next.
    pub const fn next(self) -> &'static str {
        match self {
            Self::NotHere => "See / for what there is.",
            Self::ReadOnly => {
                "Use the admin socket (see /), or set admin.loopback_operate and admin.tokens in boot.yaml and restart."
            }
            Self::ReportHidden => {
                "Call the admin socket, or set admin.loopback_report in boot.yaml and restart."
            }
            Self::HostNotAllowed => "Call it under one of them, or add the name to admin.allowed_hosts.",
            Self::NoToken => "Send Authorization: Bearer cga_...; `cellgate token new` makes a token.",
            Self::TwoTokens => {
                "Send one; curl sends one for each -H and -u, and a proxy in front may add its own."
            }
            Self::NotBearer => "Send Authorization: Bearer cga_...; passwords (Basic) are not known here.",
            Self::TokenMistyped => "Copy it again: cga_ and 72 digits of 0-9 and a-f.",
            Self::TokenUnknown => {
                "Ask for a new one; its row belongs into the file of admin.tokens of this replica."
            }
            Self::TokenExpired => "Ask for a new one: `cellgate token new` makes it.",
            Self::CertificateUnknown => "Add the name to admin.tls.clients in boot.yaml, or send a token.",
            Self::RoleMissing { .. } => "Ask somebody with that role, or for a token that has it.",
            Self::CrossSite => "Open the console of this address itself, or call without a browser.",
            Self::NoConsoleHeader => "Send X-Cellgate-Console: 1.",
            Self::NotJson => "Send Content-Type: application/json.",
            Self::TooManyFailures { .. } | Self::TooManyChanges { .. } => "Wait as long as Retry-After says.",
        }
    }

    /// When to ask again.
    pub const fn wait(self) -> Option<Duration> {
        match self {
            Self::TooManyFailures { wait } | Self::TooManyChanges { wait } => Some(wait),
            _ => None,
        }
    }

    /// Whether somebody has tried to be somebody and was not.
    pub const fn is_failed_proof(self) -> bool {
        matches!(
            self,
            Self::TwoTokens
                | Self::NotBearer
                | Self::TokenMistyped
                | Self::TokenUnknown
                | Self::TokenExpired
                | Self::CertificateUnknown
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_reason_has_a_place_and_a_name_of_its_own() {
        for (at, denied) in Denied::ALL.into_iter().enumerate() {
            assert_eq!(denied.slot(), at, "{denied:?}");
            assert!(denied.status().is_client_error(), "{denied:?}");
            assert!(!denied.what().is_empty() && !denied.next().is_empty(), "{denied:?}");
        }
        let names: HashSet<_> = Denied::ALL.iter().map(|denied| denied.name()).collect();
        assert_eq!(names.len(), Denied::ALL.len());
    }
}
