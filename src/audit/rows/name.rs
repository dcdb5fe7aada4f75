//! Credentials and networks of rows: a number where they are one, and else a name.

use std::net::IpAddr;

use super::super::key::{Network, SHOWN};
use super::super::names::Name;
use crate::policy::hex::hex;

/// A credential as in an integration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) enum CredentialName {
    /// `k1:9f3a1c20be41`: the name of its key, and the beginning of its fingerprint.
    Token(Name, [u8; SHOWN]),
    /// `none` and the like.
    Named(Name),
}

/// A network as in an integration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) enum NetworkName {
    V4([u8; 3]),
    V6([u8; 6]),
    /// `none` and the like.
    Named(Name),
}

impl CredentialName {
    /// As in an integration.
    pub fn text(&self, names: &[impl AsRef<str>]) -> String {
        match self {
            Self::Token(key, shown) => format!("{}:{}", names[*key as usize].as_ref(), hex(shown)),
            Self::Named(name) => names[*name as usize].as_ref().to_owned(),
        }
    }

    /// Of such a text: the name that is kept, and the rest of it where it is a token.
    pub fn split(text: &str) -> (&str, Option<[u8; SHOWN]>) {
        let token = text.rsplit_once(':').and_then(|(key, digits)| {
            let mut shown = [0; SHOWN];
            for (byte, at) in shown.iter_mut().zip((0..).step_by(2)) {
                *byte = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
            }
            (hex(shown) == digits).then_some((key, Some(shown)))
        });
        token.unwrap_or((text, None))
    }
}

impl NetworkName {
    /// As in an integration.
    pub fn text(&self, names: &[impl AsRef<str>]) -> String {
        match self {
            Self::V4(bytes) => Network::V4(*bytes).to_string(),
            Self::V6(bytes) => Network::V6(*bytes).to_string(),
            Self::Named(name) => names[*name as usize].as_ref().to_owned(),
        }
    }

    /// Of such a text; `None` where it is a name.
    pub fn parse(text: &str) -> Option<Self> {
        let address: IpAddr = text.split_once('/')?.0.parse().ok()?;
        let network = Network::of(address);
        let parsed = match network {
            Network::V4(bytes) => Self::V4(bytes),
            Network::V6(bytes) => Self::V6(bytes),
            Network::None | Network::Other => return None,
        };
        (network.to_string() == text).then_some(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_stays_a_name() {
        for text in [
            "k1:9f3a1c20be41",
            ":abababababab",
            "k1:9F3A1C20BE41",
            "k1:9f3a1c20be4",
            "none",
            "a:b:+f0f0f0f0f0f",
        ] {
            let (name, shown) = CredentialName::split(text);
            let of = shown.map_or(CredentialName::Named(0), |shown| CredentialName::Token(0, shown));
            assert_eq!(of.text(&[name]), text);
        }
        for (text, is_number) in [
            ("192.0.2.0/24", true),
            ("2001:db8:7::/48", true),
            ("192.0.2.1/24", false),
            ("192.0.2.0/25", false),
            ("none", false),
            ("::ffff:192.0.2.0/48", false),
        ] {
            let of = NetworkName::parse(text);
            assert_eq!(of.is_some(), is_number, "{text}");
            assert_eq!(of.unwrap_or(NetworkName::Named(0)).text(&[text]), text);
        }
    }
}
