//! The hop before and the hop behind: who the client is, by PROXY protocol and `X-Forwarded-For`; and cells
//! over TLS, by name, with the signed verdict and their redirects.

mod cells;
mod clients;
