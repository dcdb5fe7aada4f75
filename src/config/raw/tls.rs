//! TLS in `cellgate.yaml`: certificates, tickets, what is asked of clients, and what is asked of cells.

use super::super::tickets::default as tls;
use super::super::time::show_duration;
use super::{Field, NONE, REQUIRED, mapping};

mapping! {
    /// Whose certificate a client of a host must have. A request counts only on a connection whose server name (SNI) asks
    /// for the same; on any other it is 421. Sessions are not resumed on such hosts, so that each connection is judged.
    ClientCertificate {
        /// PEM file of the authorities that sign client certificates.
        ca: String = REQUIRED;
        /// `required` (no handshake without one) or `optional` (a bad one is refused, none is let in).
        mode: String = REQUIRED;
        /// PEM file of revocation lists. Every authority that signs client certificates needs one in it, and one that is past
        /// its next update refuses all of its certificates.
        crl: String = NONE;
    }
}

mapping! {
    /// TLS with clients, apart from certificates.
    ClientTls {
        /// Keys that seal session tickets, equal on all replicas: the first seals, all open. Without them a restart ends all
        /// sessions and no replica continues those of another.
        ticket_keys: Vec<Field<TicketKey>> = NONE;
        /// How long a ticket can be used.
        ticket_lifetime: String = show_duration(tls::TICKET_LIFETIME);
        /// How long before its end a certificate is warned about, in the log and on `/readyz`.
        warn_before: String = show_duration(tls::WARN_BEFORE);
    }
}

mapping! {
    /// One ticket key. To change keys: add the new one last everywhere, then put it first everywhere, and remove the old one
    /// after `ticket_lifetime`.
    TicketKey {
        /// File with the key; see "Key files".
        file: String = REQUIRED;
        /// Accept a key file that its group or others can read.
        allow_readable: bool = false;
    }
}

mapping! {
    /// TLS towards a cell.
    CellTls {
        /// PEM file of the authorities that sign the cell's certificate.
        ca: String = REQUIRED;
        /// The name that is sent and verified.
        sni: String = REQUIRED;
        /// PEM file of our certificate, where the cell asks for one.
        client_cert: String = NONE;
        /// PEM file of its private key.
        client_key: String = NONE;
        /// Oldest version that is spoken with it: `"1.2"` or `"1.3"`, in quotes.
        min_version: String = "\"1.2\"";
        /// PEM file of revocation lists for its certificate, which one of them must cover; one that is past its next update
        /// refuses every certificate it speaks for.
        crl: String = NONE;
        /// Accept a key file that its group or others can read.
        allow_readable: bool = false;
    }
}

mapping! {
    /// A server certificate.
    Certificate {
        /// PEM file of the certificate and the intermediate ones, its own first.
        cert: String = REQUIRED;
        /// PEM file of its private key.
        key: String = REQUIRED;
        /// File with an OCSP response (DER) for it. It is stapled while it is fresh; a stale one is left out and warned about.
        ocsp: String = NONE;
        /// Accept a key file that its group or others can read.
        allow_readable: bool = false;
    }
}
