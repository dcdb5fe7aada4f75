//! The files that make callers of the admin plane known: read at the start, and again when they change, so that a token that was
//! taken out ends without a restart, and a renewed certificate needs none.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use crate::config::Problem;
use crate::config::access::{AccessFiles, DoorFiles, access};
use crate::config::boot::admin::Admin;
use crate::load::{self, Mark};
use crate::policy::access::Access;
use crate::policy::code::Code;

/// How often it is looked whether a file is another one: so long a token that was taken out still counts at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads the files.
pub fn read(admin: &Admin) -> AccessFiles {
    let secret = |path: &PathBuf| load::secrets(path, admin.allow_readable);
    let tls = admin.tls.as_ref().map(|tls| DoorFiles {
        cert: load::certificates(&tls.cert),
        key: secret(&tls.key),
        client_ca: tls.client_ca.as_deref().map(load::certificates),
        crl: tls.crl.as_deref().map(load::certificates),
    });
    AccessFiles { tokens: admin.tokens.as_ref().map(secret), tls }
}

/// The files as they stood, and what was made of them.
#[derive(Debug)]
pub struct AccessKeeper {
    admin: Admin,
    marks: Vec<Option<Mark>>,
    access: watch::Sender<Arc<Access>>,
}

/// Looks at the files until it is dropped.
#[derive(Debug)]
pub struct AccessThread {
    end: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AccessKeeper {
    /// Reads them for the first time. What is wrong with them is told; the process serves all the same.
    pub fn begin(admin: Admin) -> Self {
        let mut this = Self { admin, marks: Vec::new(), access: watch::Sender::new(Arc::default()) };
        this.look();
        this
    }

    /// What was made of them last.
    pub fn access(&self) -> watch::Receiver<Arc<Access>> {
        self.access.subscribe()
    }

    /// Reads them again where one is another than before.
    pub fn look(&mut self) {
        // Before they are read: what changes meanwhile is seen the next time.
        let marks: Vec<_> = self.paths().iter().map(|path| Mark::of(path)).collect();
        if marks == self.marks && !marks.is_empty() {
            return;
        }
        let is_first = std::mem::replace(&mut self.marks, marks).is_empty();
        if self.marks.is_empty() {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let (mut access, problems) = access(&self.admin, &read(&self.admin), b"", now);
        tell(&problems);
        if access.tls.is_none() && self.admin.tls.is_some() {
            access.tls = self.access.borrow().tls.clone();
            let said = if access.tls.is_some() { "it goes on with what it had" } else { "it is closed" };
            tracing::error!(code = %Code::AdminDoorFiles, said, "the TLS door of the admin plane cannot use its files");
        }
        let tokens = access.tokens.as_ref().map_or(0, |tokens| tokens.len());
        if !is_first {
            tracing::info!(
                tokens,
                tls = access.tls.is_some(),
                "the files of the admin plane were read again"
            );
        }
        self.access.send_replace(Arc::new(access));
    }

    /// Goes on looking, on a thread of its own: a file system that hangs holds nobody up.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut self) -> std::io::Result<AccessThread> {
        if self.marks.is_empty() {
            return Ok(AccessThread { end: None, thread: None });
        }
        let (end, ended) = sync_channel(0);
        let run = move || {
            while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                self.look();
            }
        };
        let thread = std::thread::Builder::new().name("access".into()).spawn(run)?;
        Ok(AccessThread { end: Some(end), thread: Some(thread) })
    }

    fn paths(&self) -> Vec<PathBuf> {
        let Admin { tokens, tls, .. } = &self.admin;
        let tls = tls.iter().flat_map(|tls| {
            [Some(&tls.cert), Some(&tls.key), tls.client_ca.as_ref(), tls.crl.as_ref()].into_iter().flatten()
        });
        tokens.iter().chain(tls).cloned().collect()
    }
}

/// Problems of files that no reload refuses.
fn tell(problems: &[Problem]) {
    for problem in problems {
        tracing::error!(code = %problem.code, %problem, "a file of the admin plane has a mistake: what it concerns lets nobody in");
    }
}

impl Drop for AccessThread {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(
                code = %Code::Panicked,
                "the thread of the admin plane's files ended with a panic; report it with the log of before"
            );
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use crate::config::access::token_row;
    use crate::policy::access::token::{TokenDigest, minted};
    use crate::policy::access::{Denied, Role};

    fn put(path: &Path, text: &str, mode: u32) {
        let beside = path.with_extension("new");
        fs::write(&beside, text).unwrap();
        fs::set_permissions(&beside, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(beside, path).unwrap();
    }

    fn admin(tokens: &Path) -> Admin {
        Admin {
            unix: "/nowhere".into(),
            unix_mode: 0o600,
            loopback: None,
            allowed_hosts: Vec::new(),
            loopback_report: false,
            loopback_operate: false,
            tokens: Some(tokens.into()),
            allow_readable: false,
            tls: None,
        }
    }

    #[test]
    fn a_token_that_is_taken_out_is_nobodys_at_the_next_look() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens.csv");
        let [ann, bob] = [minted([1; 32]), minted([2; 32])];
        let row = |name, token: &str| token_row(name, Role::Operate, TokenDigest::of(token.as_bytes()), None);
        let head = "name,role,sha256,expires,note\n";
        put(&file, &format!("{head}{}\n{}\n", row("ann", &ann), row("bob", &bob)), 0o600);
        let mut keeper = AccessKeeper::begin(admin(&file));
        let access = keeper.access();
        let find = |token: &str| {
            let access = Arc::clone(&access.borrow());
            access.tokens.as_ref().unwrap().find(token.as_bytes(), 0).map(|caller| caller.name.to_string())
        };
        assert_eq!((find(&ann), find(&bob)), (Ok("token:ann".to_owned()), Ok("token:bob".to_owned())));
        put(&file, &format!("{head}{}\n", row("bob", &bob)), 0o600);
        keeper.look();
        assert_eq!((find(&ann), find(&bob).is_ok()), (Err(Denied::TokenUnknown), true));
        // Others could have read it, or it is gone: nobody is known by it any more.
        put(&file, &format!("{head}{}\n", row("bob", &bob)), 0o644);
        keeper.look();
        assert_eq!(find(&bob), Err(Denied::TokenUnknown));
        put(&file, &format!("{head}{}\n", row("bob", &bob)), 0o600);
        keeper.look();
        assert!(find(&bob).is_ok());
        // Its group could have written itself into it.
        put(&file, &format!("{head}{}\n", row("bob", &bob)), 0o620);
        keeper.look();
        assert_eq!(find(&bob), Err(Denied::TokenUnknown));
        fs::remove_file(&file).unwrap();
        keeper.look();
        assert_eq!(find(&bob), Err(Denied::TokenUnknown));
    }
}
