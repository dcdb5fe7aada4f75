//! Whether a script may read an answer of our own. Without these fields a browser shows its script an opaque network error in
//! place of the sentence that says what to do (Fetch, section 3.2). Answers of cells have the fields that cells give them.

use http::header::{self, HeaderMap, HeaderValue};

/// Puts the fields on an answer of our own, where its request comes from one of these origins. Call it before the
/// deprecation headers, which list themselves as readable where an answer is.
pub fn allow(origins: &[Box<str>], request: &HeaderMap, answer: &mut HeaderMap) {
    let Some(origin) = request.get(header::ORIGIN) else { return };
    if !origins.iter().any(|known| known.as_bytes() == origin.as_bytes()) {
        return;
    }
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    // Scripts of these origins call with the user's session; without this they could not read the answer.
    answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    answer.append(header::VARY, HeaderValue::from_static("Origin"));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_scripts_of_the_listed_origins_may_read() {
        let origins: [Box<str>; 2] = ["https://app.test".into(), "https://app.test:8443".into()];
        let check = |origin: Option<&str>, allowed: bool| {
            let (mut request, mut answer) = (HeaderMap::new(), HeaderMap::new());
            if let Some(origin) = origin {
                request.insert(header::ORIGIN, origin.parse().unwrap());
            }
            allow(&origins, &request, &mut answer);
            let found = answer.get("access-control-allow-origin").map(|value| value.to_str().unwrap());
            assert_eq!(found, origin.filter(|_| allowed), "{origin:?}");
            assert_eq!(answer.len(), if allowed { 3 } else { 0 }, "{answer:?}");
        };
        check(Some("https://app.test"), true);
        check(Some("https://app.test:8443"), true);
        for foreign in ["http://app.test", "https://app.test.evil.test", "https://App.test", "null", "*", ""]
        {
            check(Some(foreign), false);
        }
        check(None, false);
    }
}
