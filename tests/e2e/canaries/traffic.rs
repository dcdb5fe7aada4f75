//! Requests with another canary in each field. What the answers are is others' business; that each kind was answered is
//! checked, so that nothing is looked for that was never sent.

#![allow(clippy::panic)] // Ends a test with words.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use cellgate::config::time::show_moment;
use loadtest::cell::CellOptions;

use super::search::canary;
use crate::process::Process;
use crate::python::python;
use crate::raw_http;
use crate::running::{Folder, authority};

const ROUTING: &str = "config/cellgate.yaml";

/// The token that cell-1 knows: it is learned.
fn learned_token() -> String {
    token("learned")
}

/// As long as a service token.
fn token(field: &str) -> String {
    format!("dbtc_{:0<60}", canary(field))
}

/// cell-1 knows a token, and refuses all others; nothing listens where the shared one should be.
pub fn cells() -> Vec<CellOptions> {
    let knows = CellOptions::named("cell-1").with_token(&learned_token(), "70403103966603");
    vec![knows, CellOptions::named("cell-2"), CellOptions::named("cell-3")]
}

/// Short windows, and a cell that is soon given up.
pub fn configure(folder: &Folder) {
    folder.append("config/boot.yaml", "books: { window: 1s }\n");
    folder.tune("cell-3", &["timeouts: { response_head: 300ms }"]);
}

/// From now on, every account is refused.
pub fn begin_brownout(folder: &Folder) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let start = show_moment(i64::try_from(now).unwrap() - 60);
    let windows = format!("windows: [{{ start: \"{start}\", lasts: 20h }}]");
    folder
        .append(ROUTING, &format!("brownouts:\n  - {{ id: bo-1, mode: hard, everybody: true, {windows} }}"));
}

/// Sends all of it; the statuses that were seen.
pub fn send(process: &Process, folder: &Folder) -> BTreeSet<u16> {
    let mut statuses = BTreeSet::new();
    let address = process.addr("http");
    for request in by_hand() {
        statuses.extend(ask(address, &request));
    }
    // Neither a handshake nor HTTP.
    for listener in ["https", "h2c"] {
        ask(process.addr(listener), format!("\x16\x03\x01{}\r\n\r\n", canary("handshake")).as_bytes());
    }
    for version in ["--http1.1", "--http2"] {
        statuses.insert(curl(process, folder, version));
    }
    script(process, folder);
    statuses
}

/// What callers of the admin plane bring to say who they are, and what they make up beside it: at both doors, reading and changing.
pub fn call_admin(process: &Process, folder: &Folder) {
    let field = canary;
    for (authorization, path) in [
        (format!("Bearer cga_{}", field("admintoken")), "/cells".to_owned()),
        (
            format!("Basic {}", field("adminbasic")),
            format!("/levers/{}?token={}", field("adminpath"), field("adminquery")),
        ),
        (format!("{} x", field("adminscheme")), format!("/{}", field("adminpage"))),
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let more = format!("Origin: http://{0}\r\nX-{0}: {0}\r\n", field("adminorigin"));
            let body = field("adminbody");
            let call = format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n{more}\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            for connection in [
                &mut raw_http::tcp(process.admin()) as &mut dyn raw_http::Connection,
                &mut raw_http::unix(&folder.path("state/admin.sock")),
            ] {
                let reply = raw_http::ask(connection, call.as_bytes()).unwrap();
                assert!((400..500).contains(&reply.status), "{call}: {}", reply.status);
                assert!(
                    !reply.text().contains("canary") && !reply.text().contains(&body),
                    "{}",
                    reply.text()
                );
            }
        }
    }
}

/// Fields of every request.
fn fields() -> String {
    let mut fields = String::new();
    let mut add = |name: &str, value: String| fields.push_str(&format!("{name}: {value}\r\n"));
    for (name, field) in [
        ("X-Api-Key", "apikey"),
        ("X-Auth-Token", "authtoken"),
        ("Referer", "referer"),
        ("Origin", "origin"),
        ("From", "from"),
        ("Accept", "accept"),
        ("Accept-Language", "language"),
        ("If-None-Match", "etag"),
        ("Range", "range"),
        ("X-Forwarded-For", "forwardedfor"),
        ("X-Forwarded-Host", "forwardedhost"),
        ("X-Forwarded-Proto", "forwardedproto"),
        ("X-Real-Ip", "realip"),
        ("X-Original-Url", "originalurl"),
        ("Via", "via"),
        ("tracestate", "tracestate"),
        ("baggage", "baggage"),
        ("x-dbt-partner-source", "partner"),
        ("X-Cellgate-Account", "cellgate"),
        ("Client-Cert", "clientcert"),
        ("TE", "te"),
        ("X-Request-Id", "requestid"),
    ] {
        add(name, canary(field));
    }
    let id = canary("proxy");
    add("Proxy-Authorization", format!("Bearer {id}"));
    add("Forwarded", format!("for={};host={}", canary("forwarded"), canary("forwarded")));
    add("User-Agent", format!("curl/8.{0} ({0})", canary("agent")));
    add("Cookie", format!("{0}=1; sessionid=FAKE; other={0}; __Host-cellgate={0}", canary("cookie")));
    add("traceparent", format!("00-{}-00f067aa0ba902b7-01", canary("traceparent")));
    add(&format!("X-{}", canary("name")), "1".into());
    // What the cell says of itself: a session that it begins, and where it sends a browser.
    let set = |name: &str, field| format!("set={name}:{}", canary(field));
    add(
        "X-Sim",
        [set("Set-Cookie", "setcookie"), set("Location", "location"), set("ETag", "answer")].join(";"),
    );
    fields
}

/// Every kind of Authorization, each with its canary.
fn credentials() -> Vec<String> {
    let basic = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", canary("user"), canary("password")))
    };
    let digest = format!("Digest username=\"{0}\", response=\"{0}\"", canary("digest"));
    let aws = format!("AWS4-HMAC-SHA256 Credential={0}, Signature={0}", canary("aws"));
    vec![
        format!("Token {}", token("token")),
        format!("Bearer {}", token("bearer")),
        format!("bEaReR {}", canary("short")),
        format!("Basic {basic}"),
        format!("Negotiate {}", canary("negotiate")),
        format!("{} x", canary("scheme")),
        canary("bare"),
        digest,
        aws,
        format!("Bearer {}", learned_token()),
    ]
}

/// Requests as bytes.
fn by_hand() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let fields = fields();
    let query = format!("?token={}&{}=1", canary("query"), canary("key"));
    let mut add = |line: &str, host: &str, more: &str, body: &str| {
        let text = format!("{line} HTTP/1.1\r\nHost: {host}\r\n{fields}{more}\r\n{body}");
        all.push(text.into_bytes());
    };
    let legacy = "cloud.getdbt.com";
    for credential in credentials() {
        let more = format!("Authorization: {credential}\r\n");
        // Answered; 401 or learned; unreachable; nobody's; on its own address.
        for (path, host) in [
            ("/api/v2/accounts/12345/jobs/", legacy),
            ("/api/v2/accounts/70403103966603/jobs/", legacy),
            ("/api/v2/accounts/1001/jobs/", legacy),
            ("/api/v2/whoami", legacy),
            ("/api/v2/accounts/999999/jobs/", legacy),
            ("/api/v2/accounts/12345/jobs/", "acme.us1.dbt.com"),
        ] {
            add(&format!("GET {path}{query}"), host, &more, "");
        }
    }
    let known = format!("Authorization: Bearer {}\r\n", token("token"));
    let body = format!("{{\"{0}\":\"{0}\"}}", canary("json"));
    let length =
        format!("{known}Content-Type: {0}/{0}\r\nContent-Length: {1}\r\n", canary("type"), body.len());
    for account in [12345u64, 1001, 26228] {
        let line = format!("POST /api/v2/accounts/{account}/jobs/7/run/{query}");
        add(&line, legacy, &length, &body);
    }
    let chunk = canary("chunk");
    let chunks =
        format!("5;{0}={0}\r\nhello\r\n0\r\nX-Trailer: {1}\r\n\r\n", canary("extension"), canary("trailer"));
    let chunked = format!("{known}Transfer-Encoding: chunked\r\nTrailer: X-Trailer\r\n");
    add("POST /api/v2/accounts/12345/jobs/7/run/", legacy, &chunked, &chunks);
    add("POST /api/v2/accounts/12345/jobs/7/run/", legacy, &chunked, &format!("{chunk}\r\n"));
    // A path is shown, and what looks like a credential in it is not.
    let secret = token("segment");
    let coded: String = secret.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for segment in
        [canary("path"), secret.clone(), coded, format!("token={secret}"), format!("{secret}.json")]
    {
        add(&format!("GET /deploy/12345/{segment}{query}"), legacy, &known, "");
        add(&format!("POST /deploy/1001/{segment}{query}"), legacy, &length, &body);
    }
    // What is refused before anything is known of it.
    for (line, host, more) in [
        (format!("GET /deploy/12345/#{}", canary("fragment")), legacy.into(), String::new()),
        (
            format!("GET http://{0}:{0}@{legacy}/deploy/12345/", canary("userinfo")),
            legacy.into(),
            String::new(),
        ),
        ("GET /deploy/12345/".into(), format!("{0}:{0}@{legacy}", canary("userinfo")), String::new()),
        ("GET /deploy/12345/".into(), format!("{}.cloud.getdbt.com", canary("host")), String::new()),
        ("GET /deploy/12345/".into(), format!("{}.cloud.getdbt.com", token("hosttoken")), String::new()),
        ("GET /deploy/12345/".into(), format!("{}.us1.dbt.com", token("hosttoken")), String::new()),
        ("GET /deploy/12345/".into(), format!("{legacy}:{}", canary("port")), String::new()),
        ("GET /deploy/12345/".into(), format!("{legacy} {}", canary("badhost")), String::new()),
        (format!("{} /deploy/12345/", canary("method")), legacy.into(), String::new()),
        (format!("GET /deploy/12345/ {}", canary("version")), legacy.into(), String::new()),
        ("GET /deploy/12345/".into(), legacy.into(), format!("Content-Length: {}\r\n", canary("length"))),
        ("GET /deploy/12345/".into(), legacy.into(), format!("Transfer-Encoding: {}\r\n", canary("coding"))),
        ("GET /deploy/12345/".into(), legacy.into(), format!("Expect: {}\r\n", canary("expect"))),
        ("GET /deploy/12345/".into(), legacy.into(), format!("Connection: {}\r\n", canary("connection"))),
        ("GET /deploy/12345/".into(), legacy.into(), format!("Upgrade: {}\r\n", canary("upgrade"))),
        ("GET /deploy/12345/".into(), legacy.into(), format!("{} no colon\r\n", canary("line"))),
        ("GET /deploy/12345/".into(), legacy.into(), format!("X-Long: {}\r\n", canary("long").repeat(2_000))),
        (format!("GET /deploy/12345/{}", canary("long").repeat(1_000)), legacy.into(), String::new()),
        (format!("GET /deploy/12345/?account_id={}", canary("id")), legacy.into(), known.clone()),
        ("GET /deploy/12345/?account_id=26228".into(), legacy.into(), known.clone()),
        ("GET /deploy/12345/".into(), legacy.into(), format!("environmentid: {}\r\n", canary("environment"))),
        (format!("CONNECT {}:443", canary("connect")), legacy.into(), String::new()),
    ] {
        add(&line, &host, &more, "");
    }
    for agent in
        [token("agenttoken"), format!("{}:{}", canary("agentuser"), canary("agent")), canary("agentname")]
    {
        let request =
            format!("GET /deploy/12345/ HTTP/1.1\r\nHost: {legacy}\r\nUser-Agent: {agent}\r\n{known}\r\n");
        all.push(request.into_bytes());
    }
    let again = fields.replace(&canary("requestid"), &token("idtoken"));
    let request = format!("GET /deploy/12345/ HTTP/1.1\r\nHost: {legacy}\r\n{again}{known}\r\n");
    all.push(request.into_bytes());
    all.push(format!("{}\r\n\r\n", canary("rubbish")).into_bytes());
    all.push(format!("PRI * HTTP/2.0\r\n\r\n{}\r\n\r\n", canary("preface")).into_bytes());
    all
}

/// Sends bytes on a connection of their own; the status, where one came.
fn ask(address: SocketAddr, request: &[u8]) -> Option<u16> {
    let mut connection = raw_http::tcp(address);
    // The answer may come, and the connection go, before all is written.
    let _ = connection.write_all(request);
    raw_http::read_reply(&mut connection, false).ok().map(|reply| reply.status)
}

/// Multipart, cookies and a user with a password, as curl sends them over TLS.
fn curl(process: &Process, folder: &Folder, version: &str) -> u16 {
    folder.write("ca.pem", authority().ca_pem());
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20", version, "--noproxy", "*", "--cacert"]);
    command.arg(folder.path("ca.pem")).args(["--output", "/dev/null", "--write-out", "%{http_code}"]);
    command.args(["--connect-to", &format!("::127.0.0.1:{}", process.addr("https").port())]);
    command.args(["--form", &format!("{0}={0};type={0}/{0};filename={0}", canary("form"))]);
    command.args(["--cookie", &format!("sessionid={}", canary("jar")), "--referer", &canary("page")]);
    command.args(["--user", &format!("{}:{}", canary("user"), canary("password"))]);
    command.args(["--user-agent", &format!("Mozilla/5.0 ({})", canary("browser"))]);
    for line in fields().lines().filter(|line| !line.starts_with("User-Agent")) {
        command.args(["--header", line]);
    }
    let target = format!("/api/v2/accounts/12345/jobs/7/run/?token={}", canary("query"));
    let output =
        command.arg(format!("https://cloud.getdbt.com{target}")).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    said.parse().unwrap_or_else(|_| panic!("{version}: {said} {}", String::from_utf8_lossy(&output.stderr)))
}

/// What only libraries do well: trailers, WebSockets, gRPC.
fn script(process: &Process, folder: &Folder) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/clients/with_canaries.py");
    // No compiled files beside the scripts.
    let mut command = Command::new(python());
    command.arg("-B").arg(script).arg(process.addr("https").port().to_string()).arg(folder.path("ca.pem"));
    let output = command.arg(canary("FIELD")).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
