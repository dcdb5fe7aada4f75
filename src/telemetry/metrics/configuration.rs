//! How the configuration in force came to be, as metrics.

use std::sync::PoisonError;
use std::time::SystemTime;

use super::{Metrics, increment, unix_seconds};
use crate::telemetry::families;
use crate::telemetry::labels::Reload;

impl Metrics {
    /// A process begins to serve at `at`: the files, or what was good last, since when is given, because the files were turned
    /// down. A start reads the files as a reload does, so the gauges say how the last reading ended from then on.
    pub fn started(&self, last_good: Option<SystemTime>, at: SystemTime) {
        self.read(last_good.is_none(), at);
        self.serving_last_good(last_good);
    }

    /// Counts a reload; `at` is when it ended.
    pub fn reload(&self, outcome: Reload, at: SystemTime) {
        increment(&self.reloads, outcome as usize, 1);
        self.read(matches!(outcome, Reload::Applied | Reload::Unchanged | Reload::Staged), at);
    }

    /// Since when a last good configuration is served in place of the files; `None` where the files are.
    pub fn serving_last_good(&self, written: Option<SystemTime>) {
        self.scraped.lock().unwrap_or_else(PoisonError::into_inner).last_good_since = written;
    }

    /// Whether what is in the state folder is lost with the container, the pod or the machine.
    pub fn state_ephemeral(&self, is_ephemeral: bool) {
        self.registry.gauge(&families::STATE_EPHEMERAL, &[]).set(f64::from(u8::from(is_ephemeral)));
    }

    fn read(&self, ok: bool, at: SystemTime) {
        self.last_reload_ok.set(if ok { 1.0 } else { 0.0 });
        if ok {
            self.last_success.set(unix_seconds(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::telemetry::fixture::snapshot;

    #[test]
    fn how_the_last_reading_of_the_files_ended_is_known_from_the_start() {
        let metrics = Metrics::new();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let check = |successful: &str, since: &str, age: &str| {
            let page = metrics.render(&snapshot(1), at(100));
            for row in [
                format!("cellgate_config_last_reload_successful {successful}"),
                format!("cellgate_config_last_success_timestamp_seconds {since}"),
                format!("cellgate_last_good_age_seconds {age}"),
            ] {
                assert!(page.lines().any(|line| line == row), "{row}");
            }
        };
        metrics.started(Some(at(40)), at(50));
        check("0", "0", "60");
        metrics.started(None, at(50));
        check("1", "50", "0");
        metrics.reload(Reload::Rejected, at(60));
        check("0", "50", "0");
        metrics.reload(Reload::Unchanged, at(70));
        check("1", "70", "0");
    }
}
