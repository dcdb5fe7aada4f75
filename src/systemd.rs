//! What systemd (or whatever speaks its protocols) hands to the process and wants to be told: sockets it has
//! opened (sd_listen_fds(3)) and notifications (sd_notify(3)). Nothing happens where it does not ask.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// Everything works, in words. Also ends a reload.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What the process is doing, in words.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// A reload begins; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // systemd compares the time with that of its own signal (sd_notify(3), MONOTONIC_USEC).
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status("reading the configuration")]),
        Err(error) => tracing::warn!(%error, "the service manager is not told of a reload: no clock"),
    }
}

/// The end has begun.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Another process is the service from here on.
pub fn successor(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// The sockets that systemd has opened, by their `FileDescriptorName=`. To be asked once, before there are
/// other threads: the question is taken out of the environment, so that no child answers it again.
///
/// # Errors
/// One of them is not a listening TCP socket.
pub fn sockets() -> io::Result<Vec<(String, TcpListener)>> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::with_capacity(passed.len());
    for index in 0..passed.len() {
        // What systemd itself calls a socket without a name.
        let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown");
        if let Some(listener) = passed.take_tcp_listener(index)? {
            sockets.push((name.to_owned(), listener));
        }
    }
    Ok(sockets)
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager does not take a notification (NOTIFY_SOCKET)");
    }
}
