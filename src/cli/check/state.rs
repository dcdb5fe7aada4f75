//! Whether the state folder lasts, for `--strict`: a replica that forgets at every restart has no last good configuration
//! on the day on which it needs one.

use std::path::Path;

use crate::state_volume::{self, WAY_OUT};

/// What is to be said of a state folder that was named on the command line, or else in `boot.yaml`: a remark, or why
/// `--strict` fails.
pub(super) fn look(named: Option<&Path>, configured: &Path) -> Result<Option<String>, String> {
    let folder = named.unwrap_or(configured);
    let name = folder.display();
    match state_volume::look(folder) {
        Ok(None) => Ok(None),
        Ok(Some(ephemeral)) => Err(format!("the state folder {name} does not last: {ephemeral}; {WAY_OUT}")),
        // As in CI, which has the files and not the machine.
        Err(_) if named.is_none() && !folder.exists() => Ok(Some(format!(
            "whether the state folder {name} lasts is not known: it is not on this machine; check --strict where cellgate serves"
        ))),
        Err(error) => Err(format!("nobody can say whether the state folder {name} lasts: {error}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_memory_fails_and_one_that_is_elsewhere_is_only_remarked_on() {
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let fails = |named, configured| look(named, configured).unwrap_err();
        for (named, configured) in [(None, memory.path()), (Some(memory.path()), Path::new("/"))] {
            let said = fails(named, configured);
            assert!(said.contains("in memory") && said.contains("the last good configuration"), "{said}");
        }
        let elsewhere = Path::new("/nowhere/cellgate");
        assert!(look(None, elsewhere).unwrap().unwrap().contains("not on this machine"));
        assert!(fails(Some(elsewhere), memory.path()).contains("nobody can say"));
        assert_eq!(look(None, Path::new("/proc")), Ok(None));
    }
}
