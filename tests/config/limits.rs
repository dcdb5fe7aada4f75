//! Limits are on without any configuration. Each is taken apart here by name, so that a new one cannot be
//! forgotten: it must have a value that is a limit.

use std::time::Duration;

use cellgate::config::boot::Limits;
use cellgate::config::{compile, parse_all};
use cellgate::policy::endpoint_class::ClientTimes;
use cellgate::policy::snapshot::{CellTimeouts, RequestLimits};

use super::{NOW, example, lines, replace};

/// As little as a `boot.yaml` can say.
const BOOT: &str = "version: 1\nlisteners:\n  - { name: https, address: 127.0.0.1:8443, protocol: https }\n";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn limits_are_on_without_any_configuration() {
    let mut sources = example();
    sources.boot = Ok(BOOT.into());
    let classes = String::from_utf8(sources.routing.clone().unwrap()).unwrap();
    let from = classes.find("endpoint_classes:").unwrap();
    let until = from + classes[from..].find("\n\n").unwrap();
    replace(&mut sources.routing, &classes[from..until], "");
    let (boot, config) = parse_all(&sources, NOW).map_err(|problems| lines(&problems)).unwrap();
    let snapshot = compile(config, None);

    let Limits {
        connections,
        connections_per_address,
        requests,
        shared_addresses,
        handshakes,
        handshake_timeout,
        head_timeout,
        preface_timeout,
        body_timeout,
        idle_timeout,
        keep_alive_timeout,
        h2_idle_timeout,
        connection_lifetime,
        requests_per_connection,
        streams_per_connection,
        http2,
        max_config_bytes,
    } = boot.limits;
    assert!(connections.get() <= 65_536 / 2, "two descriptors each below the usual hard limit");
    assert!(connections_per_address.get() <= connections.get() / 10, "ten sources to shut others out");
    assert!(requests.get() * 2 * 64 <= 4 * 1024 * 1024, "4 GiB of 64 KiB in both directions");
    assert!(shared_addresses.is_empty());
    // One address must not be able to hold all of them.
    assert!(handshakes > connections_per_address && handshakes < connections);
    for timeout in [handshake_timeout, head_timeout, preface_timeout] {
        assert_eq!(timeout, seconds(10));
    }
    assert_eq!((body_timeout, idle_timeout), (seconds(60), seconds(300)));
    assert_eq!((keep_alive_timeout, h2_idle_timeout), (seconds(75), seconds(180)));
    assert_eq!(connection_lifetime, seconds(3_600));
    assert_eq!((requests_per_connection.get(), streams_per_connection.get()), (10_000, 100));
    assert_eq!(max_config_bytes, 512 << 20);
    assert!(http2.control.frames.get() < 1_000_000 && http2.control.per > Duration::ZERO);
    assert!(http2.windows.connection <= 64 << 20 && http2.window_memory <= 1 << 30);

    let RequestLimits { target_bytes, head_bytes, header_fields } = snapshot.limits;
    assert_eq!((target_bytes, head_bytes, header_fields), (8 << 10, 32 << 10, 100));
    for cell in &snapshot.cells {
        let CellTimeouts { connect, response_head, idle, tunnel_idle, keep_alive } = cell.timeouts;
        assert_eq!((connect, response_head, idle), (seconds(5), seconds(60), seconds(300)));
        assert_eq!((tunnel_idle, keep_alive), (seconds(3_600), seconds(50)));
        assert_eq!(cell.max_in_flight, 1_000);
        let client = ClientTimes { body: body_timeout, stall: idle_timeout };
        let times = snapshot.endpoint_classes.of("/any/path").times(&cell.timeouts, client);
        assert_eq!(times.request, Some(seconds(3_600)));
        assert_eq!((times.client_body, times.client_stall), (body_timeout, idle_timeout));
    }
}

#[test]
fn the_example_lets_editors_and_streams_live_for_hours() {
    let (_, config) = parse_all(&example(), NOW).map_err(|problems| lines(&problems)).unwrap();
    let snapshot = compile(config, None);
    let client = ClientTimes { body: seconds(60), stall: seconds(300) };
    let of = |target: &str| {
        let times = snapshot.endpoint_classes.of(target).times(&snapshot.cells[0].timeouts, client);
        (times.request, times.response_head)
    };
    assert_eq!(of("/api/v2/accounts/12345/jobs/"), (Some(seconds(900)), seconds(60)));
    assert_eq!(of("/ws/develop/12345/poll?transport=polling"), (Some(seconds(43_200)), seconds(3_600)));
    assert_eq!(of("/arrow.flight.protocol.FlightService/DoGet"), (None, seconds(60)));
}
