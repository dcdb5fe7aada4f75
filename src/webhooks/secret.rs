//! The secret that sender and receiver share, and the signature that is made with it.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// How every secret begins.
const PREFIX: &str = "whsec_";

/// Bytes of a secret, by the specification.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Secrets are written with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One secret. It is never shown.
pub struct Secret(hmac::Key);

/// A text is no secret. What it is, is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected one line: whsec_ and 24 to 64 bytes in Base64, as `echo whsec_$(openssl rand -base64 32)` makes it"
)]
pub struct BadSecret;

impl Secret {
    /// The secret that the text of a file stands for.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &[u8]) -> Result<Self, BadSecret> {
        let text = std::str::from_utf8(text).map_err(|_| BadSecret)?.trim();
        let bytes = text.strip_prefix(PREFIX).and_then(|text| BASE64.decode(text).ok()).ok_or(BadSecret)?;
        BYTES.contains(&bytes.len()).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))).ok_or(BadSecret)
    }

    /// `v1,` and the signature of a message that is sent at this moment (Unix seconds).
    pub fn sign(&self, id: &str, at: i64, body: &str) -> String {
        let tag = hmac::sign(&self.0, format!("{id}.{at}.{body}").as_bytes());
        format!("v1,{}", BASE64.encode(tag.as_ref()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The example of the specification.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn a_signature_is_that_of_the_specification() {
        let secret = Secret::parse(format!("{SECRET}\n").as_bytes()).unwrap();
        let signed = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(!format!("{secret:?}").contains("MfKQ"));
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_repeated() {
        let long = format!("{PREFIX}{}", "A".repeat(90));
        for text in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_%%%%", &long]
        {
            let error = Secret::parse(text.as_bytes()).unwrap_err();
            assert!(text.len() < 8 || !error.to_string().contains(&text[6..]), "{error}");
        }
        assert!(Secret::parse(b"\xff").is_err());
        assert!(Secret::parse(format!("{SECRET}\n{SECRET}").as_bytes()).is_err(), "one a file");
    }
}
