//! Waiting for a report to say enough while the task behind it runs.

use std::time::Duration;

use tokio::task::JoinHandle;

/// How often a report is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until it is `enough`; false if the task ends first.
pub(crate) async fn until(task: &JoinHandle<()>, mut enough: impl FnMut() -> bool) -> bool {
    loop {
        // Before the report, so that the last one is looked at too.
        let over = task.is_finished();
        if enough() {
            return true;
        }
        if over {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
}
