//! The benchmark's cells in a thread of the test.

use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};

use loadtest::bench::origin;
use tokio::sync::oneshot;

/// Cells that end with the test.
pub struct Cells {
    /// Where they listen, cell-0 first.
    pub addresses: Vec<SocketAddr>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Cells {
    pub fn start(count: usize) -> Self {
        let (tell, told) = sync_channel(1);
        let (end, ended) = oneshot::channel();
        let any = vec!["127.0.0.1:0".parse().unwrap(); count];
        let thread = thread::spawn(move || {
            let ready = |addresses: &[SocketAddr]| tell.send(addresses.to_vec()).unwrap();
            let ended = async {
                let _ = ended.await;
            };
            origin::serve(&any, ready, ended).unwrap();
        });
        Self { addresses: told.recv().unwrap(), end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok(), "the cells panicked");
    }
}
