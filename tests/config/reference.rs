//! `docs/config-reference.md` says what the code says.

use cellgate::config::reference::reference;

#[test]
fn the_reference_is_printed_from_the_declarations() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/config-reference.md");
    let text = reference();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    let different = text.lines().zip(page.lines()).position(|(code, page)| code != page);
    assert!(
        page == text,
        "docs/config-reference.md differs from the code, first in line {}; run: UPDATE_REFERENCE=1 cargo test --test config reference",
        different.unwrap_or(page.lines().count().min(text.lines().count())) + 1
    );
}

#[test]
fn the_reference_has_every_key_of_every_file() {
    let text = reference();
    // A few of every file and depth; the declarations are walked, so that one missing is all missing.
    for key in [
        "`listeners[].proxy_protocol`",
        "`cells[].groups[]`",
        "`identify.credentials.learn`",
        "`hosts[].no_account`",
    ] {
        assert!(text.contains(&format!("### {key}\n")), "{key}");
    }
    for row in [
        "| `max_config_bytes` | whole number | `536870912` |",
        "| `head_timeout` | text | `10s` |",
        "| `prefixes` | list of text | - |",
    ] {
        assert!(text.contains(row), "{row}");
    }
}
