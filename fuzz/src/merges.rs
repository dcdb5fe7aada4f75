//! Bytes as the fields of an answer, and of a request behind proxies: what is merged with ours.

use std::net::{IpAddr, Ipv4Addr};

use cellgate::policy::annotate::{DEPRECATION, SUNSET, annotate};
use cellgate::policy::forwarding::{client_ip, incoming, request_id};
use cellgate::policy::gate::is_routing_field;
use cellgate::policy::ids::Label;
use cellgate::policy::snapshot::{Merge, Schedule};
use http::header::{CONNECTION, LINK, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// A peer that nobody trusts, and one that is trusted.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// Whatever a cell or a client has sent: our dates stand once and in order, its links stay, nothing for one hop
/// and nothing that is ours goes on, and an address is believed from trusted peers only. Returns whether there
/// was a field.
pub fn merges(data: &[u8]) -> bool {
    let headers = fields(data);
    for merge in [Merge::Earliest, Merge::Ours, Merge::Upstream] {
        dates(&headers, merge);
    }
    for status in [StatusCode::OK, StatusCode::NO_CONTENT, StatusCode::SWITCHING_PROTOCOLS] {
        let mut left = headers.clone();
        for name in incoming(status, &headers, false) {
            left.remove(name);
        }
        assert!(!left.contains_key(CONNECTION));
        assert!(status != StatusCode::NO_CONTENT || !left.contains_key(TRANSFER_ENCODING));
        assert!(!left.keys().any(|name| is_routing_field(name.as_str().as_bytes())), "{left:?}");
    }
    let trusted = ["10.0.0.0/8".parse().expect("a network")];
    assert_eq!(client_ip(STRANGER, &headers, &trusted), STRANGER);
    client_ip(BALANCER, &headers, &trusted);
    let id = request_id(&headers, || "fresh".to_owned());
    assert!(!id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic()), "{id:?}");
    !headers.is_empty()
}

fn dates(headers: &HeaderMap, merge: Merge) {
    let name = Label::parse("fuzz").expect("a label");
    let guide = "https://docs.example.com/".into();
    let schedule = Schedule::new(name, 1_769_904_000, 1_793_491_200, guide, None, merge);
    let mut merged = headers.clone();
    annotate(&schedule, Some("https://own.example.com/"), &mut merged);
    let one = |name: &HeaderName| {
        let mut values = merged.get_all(name).iter();
        let value = values.next().expect("it is there");
        assert!(values.next().is_none(), "{name} stands once");
        value.to_str().expect("ours are text")
    };
    let since: i64 = one(&DEPRECATION).strip_prefix('@').and_then(|date| date.parse().ok()).expect("a date");
    let sunset = httpdate::parse_http_date(one(&SUNSET)).expect("a date");
    let sunset = sunset.duration_since(std::time::UNIX_EPOCH).expect("not before 1970").as_secs();
    assert!(i64::try_from(sunset).is_ok_and(|sunset| since <= sunset), "{since} {sunset}");
    let theirs: Vec<&HeaderValue> = headers.get_all(LINK).iter().collect();
    let all: Vec<&HeaderValue> = merged.get_all(LINK).iter().collect();
    assert_eq!(all.len(), theirs.len() + 2);
    assert!(all.starts_with(&theirs) || all.ends_with(&theirs), "{all:?}");
}

/// A field a line; what is none is left out.
fn fields(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(50) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(line[..colon].trim_ascii());
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}
