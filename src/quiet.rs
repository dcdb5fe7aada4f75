//! Work that may take its time: it runs on a thread of its own that gives way to requests.
//!
//! A thread can make itself less important and not more important again, so each piece of work has a new one.

use rustix::process::setpriority_process;
use tokio::sync::oneshot;

/// Beside a busy thread of ordinary weight, a tenth of a core (`sched(7)`: a step is a factor of 1.25). At the least
/// that there is, 19, it would be 1.5 %: a reload of a core-second, on the day when every core is busy, took a minute.
const NICE: i32 = 10;

/// Does this beside everything else. `None` where the thread could not be started or the work has panicked, which
/// the panic hook has said.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    start(move || {
        // Who no longer waits does not need it.
        let _ = reply.send(work());
    })?;
    answer.await.ok()
}

/// The same, with nobody waiting for the end. `None` where the thread could not be started.
pub fn start(work: impl FnOnce() + Send + 'static) -> Option<std::thread::JoinHandle<()>> {
    let quietly = move || {
        give_way();
        work();
    };
    let started = std::thread::Builder::new().name("quiet".into()).spawn(quietly);
    started
        .inspect_err(|error| tracing::error!(%error, "a thread for background work cannot be started"))
        .ok()
}

/// Makes the thread that calls this one of those that give way, for as long as it lives.
pub fn give_way() {
    // On Linux the priority is the thread's own, and that of "no process" is the caller's.
    if let Err(error) = setpriority_process(None, NICE) {
        tracing::debug!(%error, "background work has the priority of requests");
    }
}
