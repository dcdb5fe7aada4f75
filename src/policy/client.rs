//! Which program a client is, by its headers. For the books only: nothing is decided by it.

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName};

use super::cover::holds_credential;
use super::credential::CredentialRules;

/// One row of `clients.yaml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFamily {
    /// Shown in reports.
    pub name: Box<str>,
    /// All of these must hold.
    pub matches: Vec<ClientMatch>,
    /// What its owner has to change; for reports.
    pub fix: Option<Fix>,
}

/// What the owner of a client has to change so that it calls the account's own address. Most programs have the legacy host
/// as their default, and whoever set them up never typed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// Why it calls the legacy host.
    pub why: Option<Box<str>>,
    /// What to set, and where, with [`HOST`] in it.
    pub how: Box<str>,
}

/// Stands for the account's own address in [`Fix::how`].
pub const HOST: &str = "{host}";

impl Fix {
    /// For an account with this address of its own.
    pub fn how_to(&self, own_address: &str) -> String {
        self.how.replace(HOST, own_address)
    }
}

/// One condition on a request's headers, compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMatch {
    /// User-Agent begins with this lower-case text.
    UserAgentPrefix(Box<str>),
    /// User-Agent contains this lower-case text.
    UserAgentContains(Box<str>),
    /// A header has this lower-case value.
    Header(HeaderName, Box<str>),
    /// No User-Agent at all.
    NoUserAgent,
}

/// Longest part of a User-Agent that is looked at; the program's name stands at its beginning.
const MAX_USER_AGENT: usize = 256;

/// The position of the first family whose conditions all hold.
pub fn family(families: &[ClientFamily], headers: &HeaderMap) -> Option<u16> {
    if families.is_empty() {
        return None;
    }
    let mut buffer = [0; MAX_USER_AGENT];
    let agent = headers.get(USER_AGENT).map(|value| {
        let bytes = value.as_bytes();
        let lower = &mut buffer[..bytes.len().min(MAX_USER_AGENT)];
        lower.copy_from_slice(&bytes[..lower.len()]);
        lower.make_ascii_lowercase();
        &*lower
    });
    let position = families.iter().position(|family| {
        !family.matches.is_empty() && family.matches.iter().all(|condition| condition.holds(agent, headers))
    })?;
    u16::try_from(position).ok()
}

/// The name of a program that no family knows, as it stands at the beginning of its User-Agent: letters, digits, `-`, `_` and `.`,
/// without a version. `None` where there is no name, or what could be a secret in the place of one: people read it.
pub fn product<'a>(rules: &CredentialRules, agent: &'a str) -> Option<&'a str> {
    let end = agent.find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).unwrap_or(agent.len());
    let (name, behind) = agent.split_at(end);
    // Of `name:password` and the like nothing is a name.
    let ends = behind.is_empty() || behind.starts_with(['/', ' ', ';', '(']);
    let name = without_version(name);
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let fits = ends && begins && name.len() <= MAX_PRODUCT && !is_random(name);
    (fits && !holds_credential(rules, agent.split(' ').next().unwrap_or(agent))).then_some(name)
}

/// Longest name of a program; that of the Airflow provider has 34 characters.
const MAX_PRODUCT: usize = 40;

/// Longest word of one: no word of a language is longer than this, but for medicine.
const MAX_WORD: usize = 20;

/// Digits in a name that is a word (`python3`, `h2load`); eight random letters and digits have more in two of three cases, and
/// twenty in all but few.
const MAX_DIGITS: usize = 2;

/// Capitals behind small letters (`PostmanRuntime`, `GoHttpClient`); twenty random letters have five.
const MAX_HUMPS: usize = 3;

/// Without `-v4.4.0`, `_2` and the like: a version is not what a family is known by.
fn without_version(name: &str) -> &str {
    let is_version =
        |rest: &str| rest.trim_start_matches(['v', 'V']).starts_with(|c: char| c.is_ascii_digit());
    let cut = name.match_indices(['-', '_', '.']).find(|(at, _)| is_version(&name[at + 1..]));
    cut.map_or(name, |(at, _)| &name[..at])
}

/// Whether it looks made by a machine and not by somebody who looked for a name.
fn is_random(name: &str) -> bool {
    let bytes = name.as_bytes();
    let humps = bytes.windows(2).filter(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase());
    bytes.iter().filter(|byte| byte.is_ascii_digit()).count() > MAX_DIGITS
        || humps.count() > MAX_HUMPS
        || name.split(['-', '_', '.']).any(|word| word.len() > MAX_WORD)
}

impl ClientMatch {
    /// `agent` is the User-Agent in lower case.
    fn holds(&self, agent: Option<&[u8]>, headers: &HeaderMap) -> bool {
        match self {
            Self::UserAgentPrefix(prefix) => agent.is_some_and(|agent| agent.starts_with(prefix.as_bytes())),
            Self::UserAgentContains(text) => agent.is_some_and(|agent| contains(agent, text.as_bytes())),
            Self::Header(name, value) => headers
                .get_all(name)
                .iter()
                .any(|sent| sent.as_bytes().eq_ignore_ascii_case(value.as_bytes())),
            Self::NoUserAgent => agent.is_none(),
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    match part {
        [] => true,
        [first, ..] => {
            // Most places are ruled out by their first byte.
            let mut places = text.iter().enumerate().filter(|(_, byte)| *byte == first);
            places.any(|(place, _)| text[place..].starts_with(part))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::credential::TokenShape;
    use super::*;

    #[test]
    fn a_program_is_told_by_its_name_and_a_secret_in_its_place_is_not() {
        let shape = TokenShape { prefix: "dbtc_".into(), min_len: 12, max_len: 40 };
        let rules = CredentialRules { shapes: vec![shape], ..CredentialRules::default() };
        for (agent, name) in [
            ("acme-sync/2.1 (secret words)", "acme-sync"),
            ("apache-airflow-providers-dbt-cloud-v4.4.0", "apache-airflow-providers-dbt-cloud"),
            ("PostmanRuntime/7.29.2", "PostmanRuntime"),
            ("dbtCloudCLI", "dbtCloudCLI"),
            ("python3.11-client", "python3"),
            ("my_tool_2024 x", "my_tool"),
            ("okhttp; build", "okhttp"),
        ] {
            assert_eq!(product(&rules, agent), Some(name), "{agent}");
        }
        for hidden in [
            "",
            "/1.0",
            "7zip/1",
            "(compatible)",
            "dbtc_abcdefghij/1.0",
            "DBTC_ABCDEFGHIJ",
            "tool-dbtc_abcdefghij",
            "dbtc%5Fabcdefghij",
            "user:password",
            "someone@example.com",
            "key=value",
            "9f86d081884c7d659a2feaa0c55ad015",
            "f47ac10b-58cc-4372-a567-0e02b2c3d479",
            "wJalrXUtnFEMIKmDENGbPxRfiCYEXAMPLEKEY",
            "aVeryLongWordThatIsNoWord",
            "thisisawordofmorethantwentyletters",
            "Canary7f3a91xagent",
        ] {
            assert_eq!(product(&rules, hidden), None, "{hidden}");
        }
    }

    #[test]
    fn the_first_family_whose_conditions_hold_is_the_client() {
        let families = [
            (vec![ClientMatch::UserAgentPrefix("terraform-provider-dbtcloud/".into())], 0),
            (
                vec![
                    ClientMatch::UserAgentPrefix("python-httpx/".into()),
                    ClientMatch::Header(
                        http::HeaderName::from_static("x-dbt-partner-source"),
                        "dbt-mcp".into(),
                    ),
                ],
                1,
            ),
            (vec![ClientMatch::UserAgentContains("chrome/".into())], 2),
            (vec![ClientMatch::NoUserAgent], 3),
            (vec![], 4),
        ];
        let families = families.map(|(matches, number)| ClientFamily {
            name: format!("family {number}").into(),
            matches,
            fix: None,
        });
        let check = |fields: &[(&'static str, &str)], expect: Option<u16>| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, value.parse().expect("a header value"));
            }
            assert_eq!(family(&families, &headers), expect, "{fields:?}");
        };
        check(&[("user-agent", "Terraform-Provider-dbtcloud/1.9.1")], Some(0));
        check(&[("user-agent", "x terraform-provider-dbtcloud/1.9.1")], None);
        check(&[("user-agent", "python-httpx/0.28"), ("x-dbt-partner-source", "DBT-MCP")], Some(1));
        check(&[("user-agent", "python-httpx/0.28")], None);
        check(&[("user-agent", "Mozilla/5.0 cchrome Chrome/140.0 Safari")], Some(2));
        check(&[("user-agent", &format!("{}chrome/", "x".repeat(250)))], None);
        check(&[], Some(3));
        check(&[("user-agent", "")], None);
    }
}
