//! The page at `/console`: one file that asks this address alone. Its policy names its one style and its one script by their hashes,
//! and anything else that came to stand there would not be run.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};

use crate::policy::html::hash;

const BODY: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");

/// In the order in which they name each other.
const SCRIPT: &str = concat!(
    include_str!("base.js"),
    include_str!("stream.js"),
    include_str!("cells.js"),
    include_str!("levers.js"),
    include_str!("lookups.js"),
    include_str!("main.js"),
);

/// The page at a door that shows accounts, or does not.
pub(super) fn response(accounts: bool) -> Response {
    let html = [(CONTENT_TYPE, "text/html; charset=utf-8".to_owned()), (CONTENT_SECURITY_POLICY, policy())];
    (html, page(accounts)).into_response()
}

fn page(accounts: bool) -> String {
    let accounts = if accounts { "yes" } else { "no" };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>cellgate</title>\n<style>{STYLE}</style>\n</head>\n<body data-accounts=\"{accounts}\">\n{BODY}\
         <script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
}

fn policy() -> String {
    format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_no_way_to_make_markup_of_what_it_is_told() {
        for banned in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "localStorage",
            "document.cookie",
            "http://",
            "</script",
        ] {
            let script =
                SCRIPT.replace("http://www.w3.org/2000/svg", "").replace("http://admin/accounts", "");
            assert!(!script.contains(banned), "{banned}");
        }
        for banned in ["style=\"", " onclick", "javascript:", "src=", "https://"] {
            assert!(!BODY.contains(banned), "{banned}");
        }
        assert!(page(true).contains("data-accounts=\"yes\"") && page(false).contains("data-accounts=\"no\""));
    }

    #[test]
    fn whatever_the_script_looks_for_is_on_the_page() {
        let mut looked_for = 0;
        for (at, _) in SCRIPT.match_indices("$('") {
            let id = SCRIPT[at + 3..].split('\'').next().unwrap_or_default();
            // Made by the script itself.
            if id != "books" {
                assert!(BODY.contains(&format!("id=\"{id}\"")), "{id}");
            }
            looked_for += 1;
        }
        assert!(looked_for > 20, "{looked_for}");
    }
}
