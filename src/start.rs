//! What a start serves: the configuration files, or, when they are bad, the last good configuration.
//!
//! A thin shell over `load`, `config` and `last_good`: it reads and chooses, and decides nothing about
//! what is in the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::{self, BOOT_FILE, Boot, Config, Problem, ROUTING_FILE, Sources};
use crate::last_good::{self, LastGood, LastGoodError};
use crate::load;

/// A configuration that can be served.
#[derive(Debug)]
pub struct Started {
    /// What needs a restart to change.
    pub boot: Boot,
    /// The rest.
    pub config: Config,
    /// What both were made of.
    pub sources: Sources,
    /// Set when the files are bad and this is not what they say.
    pub fallback: Option<Fallback>,
}

/// Why the last good configuration is served.
#[derive(Debug)]
pub struct Fallback {
    /// When it was last known to be good.
    pub written: SystemTime,
    /// What is wrong with the files.
    pub problems: Vec<Problem>,
}

/// Nothing can be served.
#[derive(Debug, thiserror::Error)]
#[error("the configuration in {} has {} and there is nothing to fall back to", .folder.display(), count(.problems.len()))]
pub struct CannotStart {
    /// The configuration folder.
    pub folder: PathBuf,
    /// Everything that is wrong with it.
    pub problems: Vec<Problem>,
    /// Why the last good configuration cannot serve either.
    #[source]
    pub last_good: LastGoodError,
}

/// Reads the folder, or falls back. `state_dir` replaces the one that `boot.yaml` names; it is where
/// the last good configuration is looked for when `boot.yaml` itself is bad.
///
/// # Errors
/// [`CannotStart`].
pub fn start(folder: &Path, state_dir: Option<&Path>, now: i64) -> Result<Started, CannotStart> {
    let sources = load::load(folder);
    let problems = match config::parse_all(&sources, now) {
        Ok((boot, config)) => {
            let boot = match state_dir {
                Some(state_dir) => boot.in_state_dir(state_dir),
                None => boot,
            };
            return Ok(Started { boot, config, sources, fallback: None });
        }
        Err(problems) => problems,
    };
    let boot = config::parse_boot(&sources).ok();
    let state_dir = match (state_dir, &boot) {
        (Some(given), _) => given.to_owned(),
        (None, Some(boot)) => boot.state_dir.clone(),
        (None, None) => default_state_dir(folder),
    };
    match fall_back(folder, &state_dir, boot) {
        Ok((boot, config, sources, written)) => {
            Ok(Started { boot, config, sources, fallback: Some(Fallback { written, problems }) })
        }
        Err(last_good) => Err(CannotStart { folder: folder.to_owned(), problems, last_good }),
    }
}

/// What to save once a configuration serves.
pub fn to_last_good(sources: &Sources, hash: &str, now: i64) -> LastGood {
    let named = [(BOOT_FILE, &sources.boot), (ROUTING_FILE, &sources.routing)];
    let files = named.into_iter().chain(sources.files.iter().map(|(path, text)| (&**path, text)));
    let files = files.filter_map(|(path, text)| Some((path.to_owned(), text.as_ref().ok()?.clone())));
    LastGood { saved_at: u64::try_from(now).unwrap_or(0), hash: hash.to_owned(), files: files.collect() }
}

fn fall_back(
    folder: &Path,
    state_dir: &Path,
    boot: Option<Boot>,
) -> Result<(Boot, Config, Sources, SystemTime), LastGoodError> {
    let LastGood { saved_at, files, .. } = last_good::load(state_dir)?;
    let sources = to_sources(folder, files);
    // Judged as of when it was good: a certificate that has expired since is better than none.
    let then = i64::try_from(saved_at).unwrap_or(i64::MAX);
    let damaged = |_| LastGoodError::Damaged {
        path: state_dir.join(last_good::FILE_NAME),
        reason: "this version of cellgate finds problems in it",
    };
    let (old_boot, config) = config::parse_all(&sources, then).map_err(damaged)?;
    let boot = boot.unwrap_or(old_boot).in_state_dir(state_dir);
    Ok((boot, config, sources, SystemTime::UNIX_EPOCH + Duration::from_secs(saved_at)))
}

fn to_sources(folder: &Path, mut files: BTreeMap<String, Vec<u8>>) -> Sources {
    let missing = || config::Unreadable {
        what: "is missing from the last good configuration".into(),
        expected: "a whole configuration".into(),
    };
    Sources {
        folder: folder.to_owned(),
        boot: files.remove(BOOT_FILE).ok_or_else(missing),
        routing: files.remove(ROUTING_FILE).ok_or_else(missing),
        files: files.into_iter().map(|(path, content)| (path.into(), Ok(content))).collect(),
    }
}

fn default_state_dir(folder: &Path) -> PathBuf {
    folder.join(config::boot::default::STATE_DIR)
}

fn count(problems: usize) -> String {
    if problems == 1 { "a problem".to_owned() } else { format!("{problems} problems") }
}
