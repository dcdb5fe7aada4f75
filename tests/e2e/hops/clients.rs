//! Who the client is: the peer, or whom a trusted balancer names.

use crate::raw_http;
use crate::world::World;

const GET: &str = "GET / HTTP/1.1\r\nHost: ab123.us1.dbt.com\r\n";

/// The address that the cell is told, for a connection that begins with these bytes.
fn told(world: &World, listener: &str, before: &[u8], fields: &str) -> Option<String> {
    let request = [before, GET.as_bytes(), fields.as_bytes(), b"\r\n"].concat();
    let reply = raw_http::ask(&mut raw_http::tcp(world.edge.addr(listener)), &request).ok()?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let fields = reply.json()["headers"].clone();
    let mut named = fields.as_array()?.iter().filter(|field| {
        field[0].as_str().is_some_and(|name| name.to_ascii_lowercase().replace('_', "-") == "x-forwarded-for")
    });
    let (one, more) = (named.next()?, named.next());
    assert!(more.is_none(), "{fields}");
    Some(one[1].as_str()?.to_owned())
}

/// Version 2 with TCP over IPv4 (PROXY protocol specification, section 2.2).
fn version_2(source: [u8; 4]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    bytes.extend_from_slice(&source);
    bytes.extend_from_slice(&[10, 0, 0, 1, 0x15, 0xb3, 0x01, 0xbb]);
    bytes
}

#[test]
fn a_proxy_protocol_header_names_the_client_and_is_mandatory_and_trusted_only_from_there() {
    let world = World::prepared(|folder| {
        let listener = |name: &str, trusted: &str| {
            format!(
                "  - {{ name: {name}, address: 127.0.0.1:0, protocol: http, proxy_protocol: {{ trusted: [{trusted}] }} }}\n"
            )
        };
        let more = listener("balanced", "127.0.0.0/8") + &listener("elsewhere", "10.0.0.0/8");
        folder.edit("config/boot.yaml", "admin:\n", &format!("{more}admin:\n"));
    });
    let one = b"PROXY TCP4 203.0.113.7 10.0.0.1 5555 443\r\n";
    let six = b"PROXY TCP6 2001:db8::7 2001:db8::1 5555 443\r\n";
    for (before, expect) in [
        (&one[..], Some("203.0.113.7")),
        (&six[..], Some("2001:db8::7")),
        (&version_2([203, 0, 113, 9]), Some("203.0.113.9")),
        (&b"PROXY UNKNOWN\r\n"[..], Some("127.0.0.1")),
        (&b""[..], None),
        (&b"PROXY TCP4 203.0.113.7\r\n"[..], None),
    ] {
        // What the client says itself counts for nothing.
        let client =
            told(&world, "balanced", before, "X-Forwarded-For: 192.0.2.1\r\nX_Forwarded_For: 192.0.2.2\r\n");
        assert_eq!(client.as_deref(), expect, "{}", String::from_utf8_lossy(before));
    }
    assert_eq!(told(&world, "elsewhere", one, ""), None, "not from a network that may say so");
    assert_eq!(told(&world, "http", b"", ""), Some("127.0.0.1".into()), "nobody is asked for a header here");
}

#[test]
fn x_forwarded_for_is_believed_from_trusted_proxies_up_to_the_first_stranger() {
    let world = World::prepared(|folder| {
        folder.append("config/cellgate.yaml", "trusted_proxies: [127.0.0.0/8, 203.0.113.0/24]");
    });
    for (fields, expect) in [
        ("", "127.0.0.1"),
        ("X-Forwarded-For: 198.51.100.9\r\n", "198.51.100.9"),
        ("X-Forwarded-For: 198.51.100.9, 203.0.113.50\r\n", "198.51.100.9"),
        ("X-Forwarded-For: 1.1.1.1, 198.51.100.9\r\n", "198.51.100.9"),
        ("X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 198.51.100.9\r\n", "198.51.100.9"),
        ("X-Forwarded-For: 198.51.100.9, nonsense\r\n", "127.0.0.1"),
        ("X-Forwarded-For: [2001:db8::9]:1234\r\n", "2001:db8::9"),
        ("Forwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n", "127.0.0.1"),
    ] {
        assert_eq!(told(&world, "http", b"", fields).as_deref(), Some(expect), "{fields}");
    }
    let plain = World::example();
    assert_eq!(told(&plain, "http", b"", "X-Forwarded-For: 1.1.1.1\r\n").as_deref(), Some("127.0.0.1"));
}
