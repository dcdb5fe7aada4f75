//! The state folder that the command line names in place of the one in `boot.yaml`. Paths only: nothing is
//! moved on a disk.

use std::path::Path;

use super::boot::{Boot, LogTarget};

impl Boot {
    /// With another state folder: what lies below the file's own, the admin socket and the access log as a
    /// rule, lies below that one instead.
    #[must_use]
    pub fn in_state_dir(mut self, state_dir: &Path) -> Self {
        let below = |path: &Path| path.strip_prefix(&self.state_dir).ok().map(|rest| state_dir.join(rest));
        if let Some(unix) = below(&self.admin.unix) {
            self.admin.unix = unix;
        }
        if let LogTarget::File(path) = &self.access_log.target
            && let Some(path) = below(path)
        {
            self.access_log.target = LogTarget::File(path);
        }
        self.state_dir = state_dir.to_owned();
        self
    }
}
