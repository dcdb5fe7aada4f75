//! Tokens: made, used, slipped, over, taken out; how often; and that nobody sees one again.

use cellgate::policy::access::Role;

use super::{Site, addresses, made, on_loopback, over_tls, request, unix_user};
use crate::process::Process;
use crate::raw_http;
use crate::running::eventually;

const SHED: &str = r#"{"lever":"shed 50% cell cell-1","reason":"us1 burns","seconds":600}"#;

#[test]
fn a_token_that_is_taken_out_ends_without_a_restart_and_nobody_sees_one_again() {
    let site = Site::new();
    let (over, row) = made("carl", "approve", &["--expires", "1ms"]);
    site.put_tokens(&[&site.rows[..], &[row]].concat());
    let process = Process::start(&site.folder);
    let (loopback, tls) = addresses(&process);
    let olaf = site.token(Role::Operate).to_owned();
    let pull = request("POST", "/levers", Some(&olaf), SHED);
    for reply in [on_loopback(loopback, &pull), over_tls(tls, &site.keys, &pull)] {
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.json()["by"], "token:olaf");
    }
    let last = if olaf.ends_with('0') { "1" } else { "0" };
    let slipped = format!("{}{last}", &olaf[..75]);
    let (nobodys, _) = made("nobody", "approve", &[]);
    let get = |token: &str| over_tls(tls, &site.keys, &request("GET", "/cells", Some(token), ""));
    for (token, error) in [
        (&*slipped, "token_mistyped"),
        (&nobodys, "token_unknown"),
        (&over, "token_expired"),
        ("", "token_mistyped"),
    ] {
        let reply = get(token);
        assert_eq!((reply.status, &reply.json()["error"]), (401, &error.into()), "{error}");
        let asks = reply.header("www-authenticate");
        assert_eq!(asks, Some("Bearer realm=\"cellgate\", error=\"invalid_token\""));
        assert!(token.is_empty() || !reply.text().contains(&token[..20]));
    }
    // Rita's row is gone, and Olaf's with it.
    site.put_tokens(&site.rows[2..]);
    eventually("the token to end", || (get(&olaf).json()["error"] == "token_unknown").then_some(()));
    assert_eq!(get(site.token(Role::Approve)).status, 200);
    assert_eq!(over_tls(tls, &site.keys, &pull).status, 401);
    let refused = site.call("refused", "token_unknown");
    assert_eq!((&refused["trigger"], &refused["changes"]), (&"tls".into(), &"POST /levers".into()));
    assert!(refused["caller"].is_null(), "{refused}");
    drop(process);
    let said = site.said();
    for token in site.keys.tokens.iter().chain([&slipped, &nobodys, &over]) {
        assert!(!said.contains(&token[4..24]), "a token is in what the process has said or kept");
    }
}

#[test]
fn the_trail_says_who_it_was_and_whom_they_named_and_what_was_refused() {
    let site = Site::new();
    let process = Process::start(&site.folder);
    let (_, tls) = addresses(&process);
    let socket = site.folder.path("state/admin.sock");
    let ask = |role, method, path, body: &str| {
        over_tls(tls, &site.keys, &request(method, path, Some(site.token(role)), body)).status
    };
    let claims = SHED.replace("\"seconds\"", "\"by\":\"ann\",\"seconds\"");
    assert_eq!(ask(Role::Operate, "POST", "/levers", &claims), 200);
    assert_eq!(ask(Role::Operate, "DELETE", "/levers/1", "{}"), 200);
    assert_eq!(ask(Role::Operate, "POST", "/reload", ""), 200);
    assert_eq!(ask(Role::Operate, "POST", "/reload", r#"{"at_once":true}"#), 403);
    assert_eq!(ask(Role::Approve, "POST", "/reload", r#"{"at_once":true}"#), 200);
    let keep = r#"{"aim":"keep","reason":"us1 is on fire","seconds":600}"#;
    assert_eq!(ask(Role::Operate, "POST", "/break-glass", keep), 403);
    assert_eq!(ask(Role::Approve, "POST", "/break-glass", keep), 200);
    assert_eq!(ask(Role::Approve, "DELETE", "/break-glass", r#"{"by":"bob"}"#), 200);
    assert_eq!(ask(Role::Operate, "DELETE", "/levers/99", "{}"), 409);
    assert_eq!(ask(Role::Read, "POST", "/levers", &claims), 403);
    assert_eq!(ask(Role::Operate, "POST", "/levers", &SHED.replace("50%", "500%")), 400);
    assert_eq!(raw_http::admin_with(&socket, "POST", "/levers", &claims).status, 200);
    site.call("refused", "role_missing");
    let failed = site.call("failed", "not_pulled");
    assert_eq!((&failed["caller"], &failed["changes"]), (&"token:olaf".into(), &"DELETE /levers/99".into()));
    assert_eq!(
        site.call("failed", "bad_lever")["changes"],
        "POST /levers: \"shed 500% cell cell-1\"",
        "what are no words of a lever is quoted"
    );
    let trail = site.trail();
    let find = |event: &str, is: &dyn Fn(&serde_json::Value) -> bool| {
        let found = trail.iter().find(|line| line["event"] == event && is(line));
        assert!(found.is_some(), "{event}: {trail:?}");
        found.unwrap()
    };
    let user = unix_user();
    let pulled = find("lever", &|line| line["outcome"] == "pulled");
    assert_eq!((&pulled["caller"], &pulled["who"][0]), (&"token:olaf".into(), &"ann".into()));
    assert_eq!(find("lever", &|line| line["outcome"] == "released")["caller"], "token:olaf");
    find("lever", &|line| line["outcome"] == "pulled" && line["caller"] == *user);
    find("outcome", &|line| line["trigger"] == "admin" && line["caller"] == "token:olaf");
    find("outcome", &|line| line["trigger"] == "admin_at_once" && line["caller"] == "token:anna");
    find("override", &|line| line["caller"] == "token:anna" && line["who"].is_null());
    find("override", &|line| line["caller"] == "token:anna" && line["who"][0] == "bob");
    let tried = "POST /levers: shed 50% cell cell-1";
    find("call", &|line| line["changes"] == tried && line["caller"] == "token:rita");
    for what in ["POST /reload", "POST /break-glass"] {
        find("call", &|line| line["changes"] == what && line["caller"] == "token:olaf");
    }
    let shown = crate::command_line::said(
        &std::process::Command::new(env!("CARGO_BIN_EXE_cellgate"))
            .args(["audit", "show", "--last", "100", "--state-dir"])
            .arg(site.folder.path("state"))
            .output()
            .unwrap(),
        0,
    );
    assert!(shown.contains("asked by token:olaf  who (claimed) \"ann\""), "{shown}");
}

#[test]
fn whoever_fails_too_often_is_told_to_wait_and_keeps_nobody_else_out() {
    let site = Site::new();
    let process = Process::start(&site.folder);
    let (loopback, tls) = addresses(&process);
    let (nobodys, _) = made("nobody", "approve", &[]);
    let fail = || over_tls(tls, &site.keys, &request("POST", "/levers", Some(&nobodys), SHED));
    let replies: Vec<_> = (0..60).map(|_| fail()).collect();
    let told = replies.iter().filter(|reply| reply.status == 401).count();
    let waits: Vec<_> = replies.iter().filter(|reply| reply.status == 429).collect();
    assert!(told >= 20 && told + waits.len() == 60 && !waits.is_empty(), "{told}");
    for reply in waits {
        assert_eq!(reply.json()["error"], "too_many_failures");
        assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    }
    let page = raw_http::page(loopback, "/metrics").text();
    let counted = |reason: &str| -> usize {
        let series = format!("cellgate_admin_refused_total{{door=\"tls\",reason=\"{reason}\"}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap_or_default().parse().unwrap()
    };
    assert_eq!((counted("token_unknown"), counted("too_many_failures")), (told, 60 - told));
    let good = request("POST", "/levers", Some(site.token(Role::Operate)), SHED);
    assert_eq!(over_tls(tls, &site.keys, &good).status, 200, "a good token is let in");
    let elsewhere = on_loopback(loopback, &request("GET", "/cells", Some(&nobodys), ""));
    assert_eq!(elsewhere.status, 401, "each door counts for itself");
    assert_eq!(raw_http::admin(&site.folder.path("state/admin.sock"), "GET", "/levers").status, 200);
    site.call("refused", "token_unknown");
    let lines = site.trail().into_iter().filter(|line| line["event"] == "call").count();
    assert!((1..=21).contains(&lines), "{lines} lines of 60 calls");
}

#[test]
fn a_caller_who_changes_too_much_is_told_to_wait_and_no_other_one_is() {
    let site = Site::new();
    let process = Process::start(&site.folder);
    let (_, tls) = addresses(&process);
    let pull = |role| over_tls(tls, &site.keys, &request("POST", "/levers", Some(site.token(role)), SHED));
    let replies: Vec<_> = (0..80).map(|_| pull(Role::Operate)).collect();
    let done = replies.iter().filter(|reply| reply.status == 200).count();
    let waits = replies.iter().find(|reply| reply.status == 429).unwrap();
    assert!((30..80).contains(&done), "{done}");
    assert_eq!(waits.json()["error"], "too_many_changes");
    assert!(waits.header("retry-after").is_some());
    assert_eq!(pull(Role::Approve).status, 200);
    let socket = site.folder.path("state/admin.sock");
    for _ in 0..40 {
        assert_eq!(
            raw_http::admin_with(&socket, "POST", "/levers", SHED).status,
            200,
            "on the socket nobody is counted"
        );
    }
    assert_eq!(site.call("refused", "too_many_changes")["caller"], "token:olaf");
}
