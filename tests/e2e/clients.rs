//! Real clients, each a process of its own: curl, Python's requests, httpx, websockets and grpcio, a
//! headless Chromium, OpenSSL and sslyze. The Python ones live in `target/venv`, made from `requirements.txt` here.

#![allow(clippy::panic)] // Ends a test with words.

mod browser;
mod console_page;
pub mod devtools;
mod handshakes;
mod live_report;
pub mod report_page;
pub mod report_schema;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::python::python;
use crate::running::{LOOK, authority};
use crate::world::{TOKEN_12345, World};

/// Longest life of one client; a busy machine takes many seconds to start a browser.
const CLIENT: Duration = Duration::from_secs(180);

/// Runs a client that knows nobody but us: no proxy, no other authority.
fn client(program: &mut Command, world: &World) -> String {
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        program.env_remove(name).env_remove(name.to_uppercase());
    }
    for name in ["CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"] {
        program.env_remove(name);
    }
    run(program, &world.edge.folder.path(""), CLIENT)
}

/// Runs a program to its end and returns what it printed; what it said wrong is the failure's text.
fn run(program: &mut Command, scratch: &Path, within: Duration) -> String {
    let (out, err) = (scratch.join("client.out"), scratch.join("client.err"));
    let name = format!("{program:?}");
    program.stdin(Stdio::null()).stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
    let mut child = match program.spawn() {
        Ok(child) => child,
        Err(error) => panic!("{name}: {error}; `make test` installs it"),
    };
    let end = Instant::now() + within;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(LOOK);
    };
    let said = fs::read(&err).unwrap();
    let said = String::from_utf8_lossy(&said);
    assert!(status.is_some_and(|status| status.success()), "{name}: {status:?}\n{said}");
    String::from_utf8_lossy(&fs::read(&out).unwrap()).into_owned()
}

/// The authority as a file, for clients that want one.
fn trust(world: &World) -> PathBuf {
    world.edge.folder.write("ca.pem", authority().ca_pem());
    world.edge.folder.path("ca.pem")
}

pub fn curl(world: &World, options: &[&str], port: u16, url: &str) -> Value {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--cacert"]).arg(trust(world));
    command.args(["--connect-to", &format!("::127.0.0.1:{port}"), "-H"]);
    command.arg(format!("Authorization: Token {TOKEN_12345}")).args(options);
    let told = "%{stderr}%{stdout}\n{\"version\":\"%{http_version}\",\"status\":%{http_code}}\n";
    let text = client(command.args(["--write-out", told, url]), world);
    let (body, told) = text.trim_end().rsplit_once('\n').unwrap();
    let mut told: Value = serde_json::from_str(told).unwrap();
    told["body"] = serde_json::from_str(body).unwrap_or_else(|_| Value::from(body));
    told
}

#[test]
fn curl_over_every_version_of_http() {
    let world = World::example();
    let port = |listener| world.edge.addr(listener).port();
    let path = "cloud.getdbt.com/api/v2/accounts/12345/jobs/?project_id=26228&limit=100";
    for (options, listener, scheme, version) in [
        (&["--http1.1"][..], "http", "http", "1.1"),
        (&["--http1.1"][..], "https", "https", "1.1"),
        (&["--http2"][..], "https", "https", "2"),
        (&["--http2-prior-knowledge"][..], "h2c", "http", "2"),
        (&["--http1.0"][..], "http", "http", "1.1"),
    ] {
        let told = curl(&world, options, port(listener), &format!("{scheme}://{path}"));
        let what = format!("{options:?} {listener}: {told}");
        assert_eq!((&told["version"], &told["status"]), (&version.into(), &200.into()), "{what}");
        assert_eq!(
            (&told["body"]["cell"], &told["body"]["method"]),
            (&"cell-2".into(), &"GET".into()),
            "{what}"
        );
        assert_eq!(told["body"]["target"], "/api/v2/accounts/12345/jobs/?project_id=26228&limit=100");
    }
    // More than a megabyte: curl asks first (Expect: 100-continue).
    let upload = world.edge.folder.path("upload");
    fs::write(&upload, vec![b'u'; 3_000_000]).unwrap();
    let data = format!("@{}", upload.display());
    for version in ["--http1.1", "--http2"] {
        let options = [version, "--data-binary", &data, "-H", "Expect: 100-continue"];
        let told = curl(&world, &options, port("https"), "https://cloud.getdbt.com/api/v2/accounts/12345/up");
        assert_eq!(told["body"]["body"]["bytes"], 3_000_000, "{version}: {told}");
    }
    let head = curl(&world, &["--head"], port("https"), &format!("https://{path}"));
    let fields = head["body"].as_str().unwrap();
    assert!(
        fields.contains("deprecation: @1769904000") && fields.contains("sunset: Sun, 01 Nov"),
        "{fields}"
    );
}

/// Runs one of the scripts against a whole example.
fn script(name: &str) {
    let world = World::example();
    run_script(&world, name, &[]);
    let reached: u64 = world.cells.values().map(loadtest::cell::RunningCell::requests).sum();
    assert!(reached > 0, "{name} reached nobody");
}

/// Runs one of the scripts against this world, with more arguments.
pub fn run_script(world: &World, name: &str, arguments: &[&str]) {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/clients");
    let mut command = Command::new(python());
    // No compiled files beside the scripts.
    command.arg("-B").arg(scripts.join(name));
    command.arg(world.edge.addr("https").port().to_string()).arg(trust(world)).args(arguments);
    client(&mut command, world);
}

#[test]
fn python_requests() {
    script("with_requests.py");
}

#[test]
fn python_httpx_over_http1_and_http2() {
    script("with_httpx.py");
}

#[test]
fn python_websockets_over_tls() {
    script("with_websockets.py");
}

#[test]
fn python_grpcio_over_tls() {
    script("with_grpcio.py");
}
