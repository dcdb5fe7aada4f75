//! What an error of a socket, of TLS or of the engine says about a cell, in the words of
//! [`cell_failure`](crate::policy::cell_failure). What follows from it is `policy`'s to say.

use std::io;

use pingora::ErrorType;

use super::http1::client::HEAD_TOO_LARGE;
use crate::policy::cell_failure::{BrokenAnswer, Unreachable};
use crate::policy::gate::BadAnswer;

/// Of an attempt to open a TCP connection.
pub(super) fn of_tcp(error: &io::Error) -> Unreachable {
    match error.kind() {
        // A listener that is just closing resets what it has not accepted.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Unreachable::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Unreachable::Unroutable,
        io::ErrorKind::TimedOut => Unreachable::Timeout,
        _ => Unreachable::Other,
    }
}

/// Of a TLS handshake.
pub(super) fn of_handshake(error: &io::Error) -> Unreachable {
    use rustls::Error as Tls;
    match rustls_error(error) {
        None => Unreachable::Terminated,
        Some(Tls::InvalidCertificate(_) | Tls::InvalidCertRevocationList(_)) => Unreachable::Certificate,
        Some(Tls::AlertReceived(_)) => Unreachable::TlsAlert,
        Some(_) => Unreachable::TlsProtocol,
    }
}

/// Of a connection that was to become one of HTTP/2.
pub(super) fn of_http2(error: &pingora::Error) -> Unreachable {
    match of_answer(error, false) {
        BrokenAnswer::Terminated | BrokenAnswer::Incomplete => Unreachable::Terminated,
        BrokenAnswer::TlsAlert => Unreachable::TlsAlert,
        BrokenAnswer::TlsProtocol => Unreachable::TlsProtocol,
        BrokenAnswer::HeaderSize
        | BrokenAnswer::TransferCoding
        | BrokenAnswer::Upgrade
        | BrokenAnswer::Protocol => Unreachable::Protocol,
    }
}

/// Of the engine, before the head of an answer; `heard` where some of it had come.
pub(super) fn of_answer(error: &pingora::Error, heard: bool) -> BrokenAnswer {
    let ended = if heard { BrokenAnswer::Incomplete } else { BrokenAnswer::Terminated };
    if let Some(error) = error.root_cause().downcast_ref::<h2::Error>() {
        return match error {
            _ if error.get_io().is_some_and(says_alert) => BrokenAnswer::TlsAlert,
            _ if error.get_io().is_some_and(is_invalid) => BrokenAnswer::TlsProtocol,
            _ if error.is_io() || error.is_go_away() && error.is_remote() => BrokenAnswer::Terminated,
            // The connection stands, and this answer will not come.
            _ if error.is_reset() && error.is_remote() => BrokenAnswer::Incomplete,
            _ => BrokenAnswer::Protocol,
        };
    }
    match error.root_cause().downcast_ref::<io::Error>().and_then(rustls_error) {
        Some(rustls::Error::AlertReceived(_)) => return BrokenAnswer::TlsAlert,
        Some(_) => return BrokenAnswer::TlsProtocol,
        None => {}
    }
    match error.etype() {
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError => ended,
        error if *error == HEAD_TOO_LARGE => BrokenAnswer::HeaderSize,
        _ => BrokenAnswer::Protocol,
    }
}

/// Of a head that the gate does not pass on.
pub(super) const fn of_head(wrong: BadAnswer) -> BrokenAnswer {
    match wrong {
        BadAnswer::TooLarge => BrokenAnswer::HeaderSize,
        BadAnswer::TransferEncoding => BrokenAnswer::TransferCoding,
        BadAnswer::Upgrade => BrokenAnswer::Upgrade,
        BadAnswer::ContentLength | BadAnswer::Status => BrokenAnswer::Protocol,
    }
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether an error of TLS has gone through `h2`, which keeps of it the kind and the text.
fn is_invalid(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

/// Whether it was an alert, by rustls' words for one.
fn says_alert(error: &io::Error) -> bool {
    is_invalid(error) && error.to_string().starts_with("received fatal alert")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use rustls::{AlertDescription, CertificateError, Error as Tls, InvalidMessage};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::*;

    fn tls(error: Tls) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    fn alert() -> io::Error {
        tls(Tls::AlertReceived(AlertDescription::CertificateRequired))
    }

    fn no_tls() -> io::Error {
        tls(Tls::InvalidMessage(InvalidMessage::InvalidContentType))
    }

    #[test]
    fn a_connection_that_is_not_made() {
        use io::ErrorKind::{
            AddrNotAvailable, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable,
            TimedOut,
        };
        for (kind, expect) in [
            (ConnectionRefused, Unreachable::Refused),
            (ConnectionReset, Unreachable::Refused),
            (HostUnreachable, Unreachable::Unroutable),
            (NetworkUnreachable, Unreachable::Unroutable),
            (TimedOut, Unreachable::Timeout),
            (AddrNotAvailable, Unreachable::Other),
        ] {
            assert_eq!(of_tcp(&kind.into()), expect, "{kind:?}");
        }
    }

    #[test]
    fn a_handshake_that_fails() {
        for (error, expect) in [
            (io::ErrorKind::UnexpectedEof.into(), Unreachable::Terminated),
            (tls(Tls::InvalidCertificate(CertificateError::Expired)), Unreachable::Certificate),
            (alert(), Unreachable::TlsAlert),
            (no_tls(), Unreachable::TlsProtocol),
        ] {
            assert_eq!(of_handshake(&error), expect, "{error:?}");
        }
    }

    /// A connection on which reading ends with an error.
    struct Broken(Tls);

    impl AsyncRead for Broken {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(tls(self.0.clone())))
        }
    }

    impl AsyncWrite for Broken {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(data.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn an_alert_is_known_behind_http2_which_keeps_its_words_alone() {
        for (broken, expect) in [
            (Tls::AlertReceived(AlertDescription::CertificateRequired), Unreachable::TlsAlert),
            (Tls::InvalidMessage(InvalidMessage::InvalidContentType), Unreachable::TlsProtocol),
        ] {
            let (_requests, connection) = h2::client::handshake(Broken(broken)).await.unwrap();
            let error = connection.await.unwrap_err();
            let error = pingora::Error::because(ErrorType::HandshakeError, "HTTP/2 handshake", error);
            assert_eq!(of_http2(&error), expect, "{error:?}");
        }
    }

    #[test]
    fn an_answer_that_does_not_come() {
        let because = |error: io::Error| pingora::Error::because(ErrorType::ReadError, "head", error);
        let reset = || because(io::ErrorKind::ConnectionReset.into());
        let closed = || pingora::Error::explain(ErrorType::ConnectionClosed, "head");
        let wrong = || pingora::Error::explain(ErrorType::InvalidHTTPHeader, "head");
        let ours = h2::Error::from(h2::Reason::PROTOCOL_ERROR);
        let ours = pingora::Error::because(ErrorType::H2Error, "head", ours);
        for (error, heard, expect) in [
            (closed(), false, BrokenAnswer::Terminated),
            (closed(), true, BrokenAnswer::Incomplete),
            (reset(), false, BrokenAnswer::Terminated),
            (reset(), true, BrokenAnswer::Incomplete),
            // In TLS 1.3 a server looks at our certificate when we are already done.
            (because(alert()), false, BrokenAnswer::TlsAlert),
            (because(no_tls()), true, BrokenAnswer::TlsProtocol),
            (wrong(), true, BrokenAnswer::Protocol),
            (pingora::Error::explain(HEAD_TOO_LARGE, "head"), true, BrokenAnswer::HeaderSize),
            (ours, false, BrokenAnswer::Protocol),
        ] {
            assert_eq!(of_answer(&error, heard), expect, "{error:?} {heard}");
        }
        assert_eq!(of_http2(&closed()), Unreachable::Terminated);
        assert_eq!(of_http2(&because(alert())), Unreachable::TlsAlert);
        assert_eq!(of_http2(&wrong()), Unreachable::Protocol);
    }
}
