//! Paths against the templates of the example: what they name, and what is refused.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::test_snapshot::SnapshotBuilder;

fn templates() -> Vec<PathTemplate> {
    let builder = SnapshotBuilder::new()
        .path("/api/v2/accounts/{account}", true)
        .path("/api/v3/accounts/{account}", true)
        .path("/deploy/{account}", true)
        .path("/x/{any}/accounts/{account}", true)
        .path("/api/v2/users/{entity}", false)
        .path("/api/v2/accounts", true);
    builder.snapshot.identify.paths
}

/// `expect`: the account, `0` where none is named.
fn check(path: &str, expect: Result<u64, BadRequest>) {
    let templates = templates();
    let read = read_path(&templates, path).map(|read| read.account.map_or(0, AccountId::value));
    assert_eq!(read, expect, "{path}");
}

#[test]
fn templates_match_what_is_below_them() {
    for path in [
        "/api/v2/accounts/12345",
        "/api/v2/accounts/12345/",
        "/api/v3/accounts/12345/jobs/7/run/",
        "/deploy/12345/projects/9",
        "/x/y/accounts/12345",
    ] {
        check(path, Ok(12345));
    }
    for path in [
        "/",
        "*",
        "/api",
        "/api/v2/accounts",
        "/api/v2/accounts/",
        "/api/v1/accounts/5",
        "/deploy",
        "/accounts/5",
    ] {
        check(path, Ok(0));
    }
}

#[test]
fn an_account_is_named_in_plain_digits() {
    for id in [
        "me",
        "0",
        "012",
        "+12",
        "-1",
        "12a",
        "1.0",
        "99999999999999999999",
        "%31",
        "1%00",
        "12;x",
        "%EF%BC%91",
        ".",
    ] {
        check(&format!("/api/v2/accounts/{id}/jobs"), Err(BadRequest::AccountId));
    }
}

#[test]
fn entities_and_accountless_templates_are_told_apart() {
    let templates = templates();
    let read = |path| read_path(&templates, path).unwrap();
    assert_eq!(read("/api/v2/users/70403103922033/").entity.map(EntityId::value), Some(70_403_103_922_033));
    assert_eq!(read("/api/v2/users/me/").template, None);
    assert!(read("/api/v2/accounts/").template.unwrap().authenticated);
    assert_eq!(read("/API/v2/accounts/").template, None, "another spelling of a path that names nobody");
}

#[test]
fn what_comes_after_the_id_is_the_cells_matter() {
    for rest in [
        "artifacts/a%2Fb%2Fc.json",
        "artifacts/a//b",
        "artifacts/a/./b",
        "artifacts/a/../b",
        "x;y=z/w",
        "x\\y",
        "artifacts/%252e%252e/x",
        "a%20b",
        "100%",
        "%zz",
        ".well-known/x",
        "..a/...",
        "../5/x",
        "%2e%2e/5",
    ] {
        check(&format!("/api/v2/accounts/5/{rest}"), Ok(5));
    }
}

#[test]
fn paths_that_nobody_reads_as_an_account_pass() {
    for path in [
        "//",
        "/a//b",
        "/a/../b",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/a;b/c",
        "/a\\b",
        "/.well-known/jwks.json",
        "/static/a%2Fb.js",
        "/api/v2/accounts//",
        "/%",
        "/%2",
        "/accounts/../5",
        "/api/v2/%61ccounts",
        "/api/v2/users/%35",
    ] {
        check(path, Ok(0));
    }
}

#[test]
fn no_lenient_reading_may_name_another_account() {
    for path in [
        // Case, escapes, empty and dot segments before the id.
        "/API/v2/accounts/5",
        "/api/V2/Accounts/5/jobs",
        "/Deploy/5",
        "//api/v2/accounts/5",
        "/api//v2/accounts/5",
        "/api/v2/accounts//5",
        "/api/./v2/accounts/5",
        "/api/x/../v2/accounts/5",
        "/../api/v2/accounts/5",
        "/api/v2/accounts/./5",
        "/%61pi/v2/accounts/5",
        "/api/v2/account%73/5",
        "/api%2fv2%2faccounts%2f5",
        "/api/v2/accounts%2F5/jobs",
        "/api/v2%2faccounts/5",
        "/api/%2e/v2/accounts/5",
        "/x/%2e%2e/api/v2/accounts/5",
        "/x/%2e./api/v2/accounts/5",
        "/api/v2/accounts/%2e/5",
        // Twice and three times.
        "/%2561pi/v2/accounts/5",
        "/api/v2/accounts%252f5",
        "/api/v2/accounts%25252f5",
        "/x/%252e%252e/api/v2/accounts/5",
        "/x/%25252e%25252e/api/v2/accounts/5",
        // Backslashes and parameters.
        "/api\\v2\\accounts\\5",
        "/api/v2/accounts\\5",
        "/api%5cv2/accounts/5",
        "/api;x/v2/accounts/5",
        "/api/v2;a=b/accounts/5",
        "/;/api/v2/accounts/5",
        "/x/..;/api/v2/accounts/5",
        "/x/..;a=b/api/v2/accounts/5",
        "/x\\..\\api/v2/accounts/5",
        "/x/..%5c/api/v2/accounts/5",
        "/x/..;\\y/api/v2/accounts/5",
        "/x/..;%2fy/api/v2/accounts/5",
        "/api%3bx/v2/accounts/5",
        // Overlong UTF-8.
        "/api/v2/accounts%c0%af5",
        "/x/%c0%ae%c0%ae/api/v2/accounts/5",
        "/api%c1%9cv2/accounts/5",
        // A free segment that is not what it seems.
        "/x/../accounts/5",
        "/x/a%2fb/accounts/5",
        "/x/a;b/accounts/5",
        // From one account to another.
        "/api/v2/accounts/1/../2/jobs",
        "/api/v2/accounts/1/%2e%2e/2/jobs",
        "/api/v2/accounts/1/..%2f2/jobs",
        "/api/v2/accounts/1/%252e%252e/2",
        "/api/v2/accounts/1/..;/2",
        "/api/v2/accounts/1\\..\\2",
        "/api/v2/accounts/1/..\\2",
        "/deploy/1/../../api/v2/accounts/1",
        "/api/v2/accounts/1/../../../v3/accounts/2",
    ] {
        let templates = templates();
        let read = read_path(&templates, path);
        let refused = matches!(read, Err(BadRequest::Path | BadRequest::AccountId));
        assert!(refused, "{path}: {read:?}");
    }
}

#[test]
fn a_decoder_that_sees_less_is_thought_of_too() {
    // Decoded further, or split at more, these name nobody: only the half-way reading sees account 5.
    check("/b/%2e%2e/api/v2/accounts/5/%252e%252e/%252e%252e/%252e%252e/%252e%252e/c", Err(BadRequest::Path));
    check("/a%2fb/../api/v2/accounts/5", Err(BadRequest::Path));
    check("/a%2fb/%2e%2e/api/v2/accounts/5", Err(BadRequest::Path));
    check("/a\\b/../api/v2/accounts/5", Err(BadRequest::Path));
    check("/a//../api/v2/accounts/5", Err(BadRequest::Path));
    check("/a;/../api/v2/accounts/5/%2e%2e/%2e%2e/%2e%2e/%2e%2e/c", Err(BadRequest::Path));
    // An account that a lenient reader loses on the way is refused to nobody.
    check("/api/v2/accounts/5/../../../../c", Ok(5));
}

#[test]
fn the_order_in_which_a_server_works_is_thought_of_too() {
    // Dots before escapes; slashes merged, then decoded, then dots; parameters before escapes.
    check("/api/%2e%2e/../v%32/accounts/5", Err(BadRequest::Path));
    check("/api/q%2f//../../v2/accounts/5", Err(BadRequest::Path));
    check("/x%2f..;%2fy/api/v2/accounts/5", Err(BadRequest::Path));
    check("/api/v2/accounts/1/..;%5c/2/x", Err(BadRequest::Path));
    // Decoders that undo only some escapes.
    check("/%2e/deploy/5/%c0%ae%c0%ae", Err(BadRequest::Path));
    check("/x%2f%2e%2e%2fdeploy/5/%c0%ae%c0%ae", Err(BadRequest::Path));
    check("/x%2f../deploy/5/%2e%2e", Err(BadRequest::Path));
}

#[test]
fn the_work_on_a_hostile_path_is_bounded() {
    let layers = |count: usize| format!("/a%{}41", "25".repeat(count));
    check(&layers(20), Ok(0));
    check(&layers(100), Err(BadRequest::Path));
    check(&layers(4000), Err(BadRequest::Path));
    check(&"/a;%252f..%5c//\\.".repeat(400), Err(BadRequest::Path));
    // Length and depth alone are no offence.
    check(&"/a".repeat(4000), Ok(0));
    check(&"/a%20b".repeat(1300), Ok(0));
    check(&format!("/{}api/v2/users/5", "a/../".repeat(1000)), Ok(0));
}
