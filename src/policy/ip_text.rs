//! Internet addresses as text, without an allocation, and those of version 4 without the machinery of `format!`: one is written
//! for each request, and that costs more than most of what is decided about it.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

/// The longest text of an address: eight groups of four digits with their colons. One of version 4 within one of version 6 is
/// as long at most with dots.
const LONGEST: usize = 45;

/// An address as text.
pub struct IpText {
    text: [u8; LONGEST],
    len: usize,
}

impl IpText {
    /// As `Display` has it.
    pub fn of(address: IpAddr) -> Self {
        let mut text = [0; LONGEST];
        let len = match address {
            IpAddr::V4(address) => write_v4(address, &mut text),
            IpAddr::V6(address) => {
                let mut rest = &mut text[..];
                write!(rest, "{address}").expect("there is room for the longest");
                LONGEST - rest.len()
            }
        };
        Self { text, len }
    }

    /// ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

/// Returns how long it is.
fn write_v4(address: Ipv4Addr, text: &mut [u8; LONGEST]) -> usize {
    let mut len = 0;
    let mut push = |byte| {
        text[len] = byte;
        len += 1;
    };
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            push(b'.');
        }
        if octet >= 100 {
            push(b'0' + octet / 100);
        }
        if octet >= 10 {
            push(b'0' + octet / 10 % 10);
        }
        push(b'0' + octet % 10);
    }
    len
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn check(address: IpAddr) {
        assert_eq!(IpText::of(address).as_bytes(), address.to_string().as_bytes());
    }

    #[test]
    fn every_octet_is_written_as_it_is_read() {
        for octet in 0..=255 {
            check(Ipv4Addr::new(octet, 255 - octet, 1, octet).into());
        }
    }

    #[test]
    fn there_is_room_for_the_longest() {
        for text in
            ["::", "::1", "2001:db8::7", "::ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]
        {
            check(text.parse().unwrap());
        }
    }
}
