//! HTTP/1.1 requests on a kept connection.

use tokio::io::AsyncWriteExt;

use super::answer::{Fault, head};
use super::ask::{Ask, LARGE_BYTES, LARGE_TARGET};
use super::line::Line;
use super::load::{Answered, Load, Worker};
use crate::bench::incoming::{HEAD_BYTES_MAX, Incoming};
use crate::bench::table::LEGACY_HOST;

/// Workers that ask about accounts, to the legacy host and to cell hosts by turns.
pub(super) fn gets(count: usize) -> Vec<Gets> {
    (0..count).map(|_| Gets::with(HEAD_BYTES_MAX, false)).collect()
}

/// The same who see, as clients do, that a connection has been ended while nothing was asked on it, and open another.
pub(super) fn gets_across_reload(count: usize) -> Vec<Gets> {
    gets(count).into_iter().map(|gets| Gets { reopens: true, ..gets }).collect()
}

/// Workers that ask for large answers.
pub(super) fn bytes(count: usize) -> Vec<Gets> {
    (0..count).map(|_| Gets::with(LARGE_READ_BYTES, true)).collect()
}

/// Room for one read of a large answer: what a socket holds where both sides are busy. Larger buffers leave the cache.
const LARGE_READ_BYTES: usize = 256 * 1024;

/// One connection, opened again when it has ended.
pub(super) struct Gets {
    kept: Option<Line>,
    words: Words,
    large: bool,
    /// Whether it is seen before a request that the connection has been ended. Where nobody has a reason to end one, a
    /// request that meets that is lost.
    reopens: bool,
    /// Whether the next goes to the legacy host.
    legacy: bool,
}

impl Gets {
    /// With so large a buffer for what comes in.
    pub(super) fn with(read_bytes: usize, large: bool) -> Self {
        Self { kept: None, words: Words::with(read_bytes), large, reopens: false, legacy: false }
    }
}

impl Worker for Gets {
    async fn open(&mut self, load: &Load) -> Result<(), Fault> {
        if self.reopens && self.kept.as_ref().is_some_and(Line::ended) {
            self.kept = None;
        }
        if self.kept.is_none() {
            self.words.incoming.clear();
            self.kept = Some(load.connect(LEGACY_HOST).await?);
        }
        Ok(())
    }

    async fn ask(&mut self, load: &Load) -> Result<Answered, Fault> {
        let mut line = self.kept.take().ok_or_else(|| Fault::lost("the connection is not open"))?;
        self.legacy = !self.legacy && !self.large;
        let ask = load.pick(self.legacy);
        let large = self.large.then_some(LARGE_TARGET);
        let resumed = line.resumed();
        let last = self.words.exchange(&mut line, load, ask, large).await?;
        self.kept = (!last).then_some(line);
        Ok(Answered { resumed })
    }
}

/// What is said on a connection, in buffers that are kept.
pub(super) struct Words {
    pub incoming: Incoming,
    pub outgoing: Vec<u8>,
}

impl Words {
    pub(super) fn with(read_bytes: usize) -> Self {
        Self { incoming: Incoming::of(read_bytes), outgoing: Vec::new() }
    }

    /// Sends a GET (`large` is the target of one with a large answer) and reads past its answer; says whether the connection
    /// ends with it.
    pub(super) async fn exchange(
        &mut self,
        line: &mut Line,
        load: &Load,
        ask: Ask,
        large: Option<&str>,
    ) -> Result<bool, Fault> {
        self.outgoing.clear();
        ask.write_get(load.table, large, &mut self.outgoing);
        self.send(line).await?;
        let head = loop {
            match head(self.incoming.unread())? {
                Some(head) => break head,
                None => self.incoming.fill(line).await?,
            }
        };
        self.incoming.consume(head.bytes);
        self.incoming.skip(head.body_bytes, line).await?;
        head.told.check(200, ask, load.table, load.expected)?;
        if large.is_some() && head.body_bytes != LARGE_BYTES {
            return Err(Fault::Wrong(format!(
                "a body of {} bytes instead of {LARGE_BYTES}",
                head.body_bytes
            )));
        }
        if !self.incoming.unread().is_empty() {
            return Err(Fault::Wrong("more than the answer".to_owned()));
        }
        Ok(head.last)
    }

    /// Sends what is written.
    pub(super) async fn send(&self, line: &mut Line) -> Result<(), Fault> {
        line.write_all(&self.outgoing).await?;
        Ok(line.flush().await?)
    }
}
