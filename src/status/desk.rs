//! Where the printed status lies ready, in two editions. Whoever serves it takes what is there, or waits for the next one.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

/// For whom an edition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Anybody.
    Everybody,
    /// Those who may open an admin door: with the internal names, and what only watches.
    Operators,
}

/// One printing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edition {
    /// The page.
    pub page: Printed,
    /// The same for programs.
    pub json: Printed,
    /// The event that tells of it, as it goes over the wire.
    pub event: Bytes,
}

/// Some bytes, and an entity tag of theirs in its quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// What is sent.
    pub bytes: Bytes,
    /// Equal for equal bytes.
    pub tag: Box<str>,
}

/// See the file. Shared by all who serve it.
#[derive(Debug)]
pub struct StatusDesk {
    public: watch::Sender<Arc<Edition>>,
    operators: watch::Sender<Arc<Edition>>,
    policy: Box<str>,
}

impl StatusDesk {
    /// With nothing printed yet; `policy` is the Content-Security-Policy of its pages.
    pub fn new(policy: String) -> Arc<Self> {
        let empty = || watch::channel(Arc::default()).0;
        Arc::new(Self { public: empty(), operators: empty(), policy: policy.into() })
    }

    /// Lays down the next ones.
    pub fn put(&self, public: Edition, operators: Edition) {
        self.public.send_replace(Arc::new(public));
        self.operators.send_replace(Arc::new(operators));
    }

    /// The last one, and each that comes.
    pub fn follow(&self, reader: Reader) -> watch::Receiver<Arc<Edition>> {
        match reader {
            Reader::Everybody => self.public.subscribe(),
            Reader::Operators => self.operators.subscribe(),
        }
    }

    /// The last one.
    pub fn last(&self, reader: Reader) -> Arc<Edition> {
        self.follow(reader).borrow().clone()
    }

    /// The Content-Security-Policy of its pages.
    pub fn policy(&self) -> &str {
        &self.policy
    }
}
