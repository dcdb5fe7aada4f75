//! A runtime whose threads live in a network namespace: every socket that is made on it is one of that namespace.

use std::fs::File;
use std::future::Future;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Where `ip netns` keeps its namespaces.
const NAMESPACES: &str = "/run/netns";

/// See the file.
pub struct Inside {
    runtime: Runtime,
}

impl Inside {
    /// In a namespace that `ip netns` has made.
    pub fn of(namespace: &str) -> Self {
        let namespace = File::open(Path::new(NAMESPACES).join(namespace)).unwrap();
        // A thread begins in the namespace of the one that began it, so the runtime's are all where this one is.
        let begin = move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
        };
        Self { runtime: std::thread::spawn(begin).join().unwrap() }
    }

    /// Runs something in there to its end.
    pub fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        // What is blocked on runs on the thread that waits, which is elsewhere.
        self.runtime.block_on(self.runtime.spawn(work)).unwrap()
    }

    /// Runs something in there beside the test.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.runtime.spawn(work)
    }
}
