//! How far the two directions of an exchange are: what has been told to whom. Who moves the bytes is
//! [`pump`](super::pump).

/// How far both directions are; lives from the request head to the end, across two pumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub(super) request: Request,
    pub(super) response: Response,
}

impl Progress {
    /// Before anything has moved but the request head; `bodiless` when no request body comes.
    pub fn start(bodiless: bool) -> Self {
        let request = if bodiless { Request::Done } else { Request::Open };
        Self { request, response: Response::Head }
    }

    /// Whether the cell has had the whole request and has answered it whole: only then can its
    /// connection carry another.
    pub fn is_whole(self) -> bool {
        self.request == Request::Done && self.response == Response::Done
    }

    /// Whether the connection has become a tunnel.
    pub fn is_tunnel(self) -> bool {
        self.response == Response::Tunnel
    }
}

/// The way to the cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Body bytes may come.
    Open,
    /// The cell has been told the end.
    Done,
    /// The cell takes no more of it; what it answers still counts. What the client goes on sending is
    /// neither read here nor taken for its next request.
    Abandoned,
}

/// The way to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response {
    /// No final head yet.
    Head,
    /// Head sent or being decided on; body may come.
    Body,
    /// The client has been told the end.
    Done,
    /// After a 101: bytes both ways until either side closes.
    Tunnel,
}
