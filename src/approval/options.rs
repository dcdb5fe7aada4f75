//! The options of a line in the file of allowed signers (ssh-keygen(1), ALLOWED SIGNERS): each is honoured, or is the
//! reason why the line is not.

use super::pattern::PatternList;
use crate::config::problem::{did_you_mean, quoted};
use crate::config::time::parse_moment;

/// What the options of a line say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// What the key may sign for; everything where it is not said.
    pub(super) namespaces: Option<PatternList>,
    /// First second in which it may, since the Unix epoch.
    pub(super) valid_after: Option<i64>,
    /// Last second in which it may, since the Unix epoch.
    pub(super) valid_before: Option<i64>,
}

/// What is wrong with a line, and what would be right.
pub(super) type Wrong = (String, String);

const NAMES: [&str; 4] = ["cert-authority", "namespaces", "valid-after", "valid-before"];

const MOMENT: &str = "YYYYMMDDZ, YYYYMMDDHHMMZ or YYYYMMDDHHMMSSZ in double quotes";

impl Options {
    /// Reads options with commas between them.
    pub(super) fn parse(mut text: &str) -> Result<Self, Wrong> {
        let mut options = Self::default();
        loop {
            let end = text.find(['=', ',']).unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            let known = NAMES.into_iter().find(|known| known.eq_ignore_ascii_case(name));
            let (value, rest) = match rest.strip_prefix('=') {
                Some(rest) if known.is_some() => {
                    dequoted(name, rest).map(|(value, rest)| (Some(value), rest))?
                }
                Some(_) | None => (None, rest),
            };
            match (known, value) {
                (Some("namespaces"), Some(value)) => options.set_namespaces(name, &value)?,
                (Some("valid-after"), Some(value)) => set_moment(&mut options.valid_after, name, &value)?,
                (Some("valid-before"), Some(value)) => set_moment(&mut options.valid_before, name, &value)?,
                (known, _) => return Err(refused(known, name)),
            }
            match rest.strip_prefix(',') {
                Some("") => {
                    return Err(wrong("the options end with a comma", "an option behind it, or no comma"));
                }
                Some(more) => text = more,
                None if rest.is_empty() => break,
                None => {
                    let what = format!("there is {} behind the value of {name}", quoted(rest));
                    return Err(wrong(what, "a comma and the next option, or a space and the key"));
                }
            }
        }
        options.checked()
    }

    fn set_namespaces(&mut self, name: &str, value: &str) -> Result<(), Wrong> {
        if self.namespaces.is_some() {
            return Err(twice(name));
        }
        let list = PatternList::parse(value);
        self.namespaces = Some(list.map_err(|(what, expected)| wrong(format!("{name}: {what}"), expected))?);
        Ok(())
    }

    fn checked(self) -> Result<Self, Wrong> {
        match (self.valid_after, self.valid_before) {
            (Some(after), Some(before)) if before <= after => {
                Err(wrong("valid-before is not later than valid-after", "a span of time between them"))
            }
            _ => Ok(self),
        }
    }
}

fn set_moment(slot: &mut Option<i64>, name: &str, value: &str) -> Result<(), Wrong> {
    if slot.is_some() {
        return Err(twice(name));
    }
    *slot = Some(moment(value).map_err(|what| wrong(format!("{name}: {what}"), MOMENT))?);
    Ok(())
}

fn refused(known: Option<&str>, name: &str) -> Wrong {
    match known {
        Some("cert-authority") => wrong(
            "cert-authority: cellgate checks no certificates, so this line lets nobody sign",
            "the key of each signer in a line of its own",
        ),
        Some(known) => wrong(format!("{known} has no value"), format!("{known}=\"...\"")),
        None => {
            let guess = did_you_mean(&name.to_lowercase(), NAMES).map(|guess| format!("; {guess}"));
            let what = format!("{} is neither an option nor a kind of key", quoted(name));
            let expected = format!(
                "namespaces=\"...\", valid-after=\"...\" or valid-before=\"...\", and then the key{}",
                guess.unwrap_or_default()
            );
            wrong(what, expected)
        }
    }
}

/// A value in double quotes (`\"` stands for a quote in it), and what comes behind it.
fn dequoted<'a>(name: &str, text: &'a str) -> Result<(String, &'a str), Wrong> {
    let Some(quoted) = text.strip_prefix('"') else {
        return Err(wrong(format!("the value of {name} has no quotes"), format!("{name}=\"...\"")));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &quoted[at + 1..])),
            '\\' if quoted[at + 1..].starts_with('"') => {
                chars.next();
                value.push('"');
            }
            c => value.push(c),
        }
    }
    Err(wrong(format!("the value of {name} has no closing quote"), "a second double quote"))
}

/// The moments of OpenSSH (`parse_absolute_time`), in UTC only.
fn moment(text: &str) -> Result<i64, String> {
    let utc = text.strip_suffix(['Z', 'z']).or_else(|| text.strip_suffix("UTC"));
    let digits = utc.unwrap_or(text);
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or("00");
    let known = matches!(digits.len(), 8 | 12 | 14) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let (year, month, day) = (part(0..4), part(4..6), part(6..8));
    let (hour, minute, second) = (part(8..10), part(10..12), part(12..14));
    let read = parse_moment(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).filter(|_| known);
    match (read, utc) {
        (Some(moment), Some(_)) => Ok(moment),
        (Some(_), None) => {
            Err(format!("{} does not end with Z, and is another moment in each time zone", quoted(text)))
        }
        (None, _) => Err(format!("{} is no moment", quoted(text))),
    }
}

fn twice(name: &str) -> Wrong {
    wrong(format!("{name} stands twice"), "each option once")
}

fn wrong(what: impl Into<String>, expected: impl Into<String>) -> Wrong {
    (what.into(), expected.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_option_is_honoured() {
        let options = Options::parse(
            r#"Namespaces="file,cellgate-*",valid-after="20260201Z",VALID-BEFORE="202611010000UTC""#,
        )
        .unwrap();
        assert_eq!(options.namespaces.unwrap().as_str(), "file,cellgate-*");
        assert_eq!(options.valid_after, Some(1_769_904_000));
        assert_eq!(options.valid_before, Some(1_793_491_200));
        let seconds = Options::parse(r#"valid-after="20260201000059z""#).unwrap();
        assert_eq!(seconds.valid_after, Some(1_769_904_059));
        assert_eq!(Options::parse(r#"namespaces="a\"b""#).unwrap().namespaces.unwrap().as_str(), "a\"b");
    }

    #[test]
    fn or_it_is_the_reason_why_the_line_is_not() {
        let check = |text: &str, expect: &str| {
            let (what, expected) = Options::parse(text).unwrap_err();
            assert!(format!("{what}; {expected}").contains(expect), "{text}: {what}; {expected}");
        };
        check("cert-authority", "checks no certificates");
        check("CERT-AUTHORITY,namespaces=\"a\"", "checks no certificates");
        check("namespaces=\"a\",cert-authority", "checks no certificates");
        check("namespace=\"a\"", "did you mean \"namespaces\"?");
        check("verify-required", "\"verify-required\" is neither an option");
        check("namespaces", "namespaces has no value");
        check("namespaces=", "has no quotes");
        check("namespaces=a", "has no quotes");
        check("namespaces=\"a", "no closing quote");
        check("namespaces=\"\"", "empty pattern");
        check("namespaces=\"!a\"", "matches nobody");
        check("namespaces=\"a\",namespaces=\"b\"", "stands twice");
        check("valid-after=\"20260201Z\",valid-after=\"20260201Z\"", "stands twice");
        check("namespaces=\"a\",", "end with a comma");
        check("namespaces=\"a\"x", "behind the value");
        check(",namespaces=\"a\"", "neither an option");
        check("valid-after=\"20260201\"", "another moment in each time zone");
        check("valid-after=\"2026-02-01Z\"", "is no moment");
        check("valid-after=\"20260230Z\"", "is no moment");
        check("valid-after=\"2026020124Z\"", "is no moment");
        check("valid-after=\"\"", "is no moment");
        check("valid-after=\"20260201Z\",valid-before=\"20260201Z\"", "not later than");
    }
}
