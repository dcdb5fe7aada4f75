//! The 28 request shapes of real clients: which source names the account, which cell that means, and
//! that their bytes pass the gate untouched, in HTTP/1.1 and in HTTP/2.

#![allow(clippy::unwrap_used)]

use cellgate::policy::facts::WireVersion;
use cellgate::policy::gate::{HeadStatus, TargetForm, read_head};
use cellgate::policy::learned::LearnedTable;
use cellgate::policy::snapshot::RequestLimits;
use http::Method;
use serde_json::Value;

use crate::decide::line;
use crate::snapshot::{Request, example};

/// What is decided about each shape, in the order of the file. The file uses two tokens and one cookie
/// for all accounts, so sources disagree where in real life they would not.
const EXPECT: [&str; 28] = [
    "us1-c1 credential 12345",                       // Terraform: list accounts
    "us1-c1 path 12345",                             // Terraform: brackets in the query
    "us1-c1 path 12345",                             // Terraform: POST without a slash
    "us1-c1 host_prefix 70403103966603 !credential", // Terraform: PATCH on the own address
    "us1-c1 path 12345",                             // Airflow: trigger
    "us1-c1 credential 12345",                       // Airflow: GET /
    "us1-c1 path 12345",                             // Dagster
    "us1-c1 path 12345",                             // Prefect
    "us1-c1 credential 12345",                       // Prefect: metadata
    "us1-c1 host_prefix 70403103966603",             // MCP: discovery
    "us1-c1 host_prefix 70403103966603",             // MCP: remote
    "us1-c1 host_prefix 70403103966603",             // MCP: OAuth
    "us1-c1 credential 12345",                       // Semantic Layer SDK
    "us1-c1 host_prefix 70403103966603 !credential", // Arrow Flight SQL
    "us1-c1 credential 70403103966603",              // Fusion: whoami
    "us1-c2 path 70437463654557 !credential",        // Fusion: manifest
    "us1-c1 path 12345",                             // jobs-as-code
    "us1-c1 path 12345",                             // dbtc
    "us1-c1 path 12345",                             // GitHub action
    "us1-c3 path 70471823417825 !credential",        // Airbyte
    "us1-c1 credential 12345",                       // DataHub
    "us1-c1 path 12345",                             // OpenMetadata
    "us1-c1 path 12345 !credential",                 // curl
    "us1-c1 path 12345",                             // Okta SCIM
    "us1-c2 path 70437463654557",                    // browser: a run
    "us1-c2 cookie 70437463654557",                  // browser: CLI config
    "us1-c1 host_prefix 70403103966603 !cookie",     // browser: IDE websocket
    "404 unmapped_account path 999999999 !credential",
];

struct Shape {
    request: Request,
    /// The source as the file has it: the word before any explanation.
    source: String,
}

fn shapes() -> Vec<Shape> {
    let rows: Vec<_> = include_str!("../../src/replay/request_shapes.jsonl").lines().map(shape).collect();
    assert_eq!(rows.len(), EXPECT.len());
    rows
}

fn shape(row: &str) -> Shape {
    let row: Value = serde_json::from_str(row).unwrap();
    let text = |name: &str| row[name].as_str().unwrap().to_string();
    let request = Request::new(&format!("{} {}{}", text("method"), text("host"), text("path")));
    let fields = row["headers"].as_object().unwrap().iter().filter(|(name, _)| !name.starts_with(':'));
    let fields: Vec<_> = fields.map(|(name, value)| format!("{name}: {}", value.as_str().unwrap())).collect();
    let request = request.with(&fields.iter().map(String::as_str).collect::<Vec<_>>());
    let source = text("expected_account_source");
    let source = source.split([':', ' ', '(']).next().unwrap().to_string();
    Shape { request, source }
}

fn is_websocket(request: &Request) -> bool {
    request.headers.contains_key("upgrade")
}

#[test]
fn every_shape_reaches_its_accounts_cell_over_http1() {
    let snapshot = example().build();
    for (shape, expect) in shapes().iter().zip(EXPECT) {
        let decision = shape.request.decide(&snapshot, &LearnedTable::default());
        assert_eq!(line(&snapshot, &decision), expect, "{:?}", shape.request);
        assert_eq!(decision.source.as_str(), shape.source, "{:?}", shape.request);
    }
}

#[test]
fn every_shape_reaches_its_accounts_cell_over_http2() {
    let snapshot = example().build();
    let mut websockets = 0;
    for (shape, expect) in shapes().into_iter().zip(EXPECT) {
        let mut request = Request { version: WireVersion::Http2, ..shape.request };
        if is_websocket(&request) {
            websockets += 1;
            request.method = Method::CONNECT;
            request.protocol = Some("websocket");
        }
        for name in ["connection", "upgrade"] {
            request.headers.remove(name);
        }
        let decision = request.decide(&snapshot, &LearnedTable::default());
        assert_eq!(line(&snapshot, &decision), expect, "{request:?}");
    }
    assert_eq!(websockets, 1);
}

#[test]
fn every_shape_passes_the_raw_gate_untouched() {
    for Shape { request, .. } in shapes() {
        let mut raw = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", request.method, request.target, request.host);
        for (name, value) in &request.headers {
            raw += &format!("{name}: {}\r\n", value.to_str().unwrap());
        }
        raw += "\r\n";
        let HeadStatus::Complete(head) = read_head(raw.as_bytes(), &RequestLimits::default()).unwrap() else {
            unreachable!("the head is whole: {raw:?}");
        };
        assert_eq!((head.form, head.len), (TargetForm::Origin, raw.len()));
        assert_eq!(head.target.of(raw.as_bytes()), request.target.as_bytes());
        assert_eq!(head.origin_target(raw.as_bytes()), request.target);
    }
}
