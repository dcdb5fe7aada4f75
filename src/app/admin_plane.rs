//! What the admin plane is given to look at: the parts that all planes share, and reports of the books in the state folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::console::Trailed;
use super::{Shared, source};
use crate::admin::AdminState;
use crate::admin::access::AccessView;
use crate::admin::console::Console;
use crate::admin::report::{MadeReport, ReportDesk, ReportSource, ReportSubject};
use crate::attempts::handle::AttemptHandle;
use crate::audit::html::{self, Place, Reader};
use crate::audit::json;
use crate::audit::report::Question;
use crate::audit::survey::{self, DETAILED};
use crate::cli::changes;
use crate::handover::UpgradeHandle;
use crate::learned_file;
use crate::levers::handle::LeverHandle;
use crate::live::Live;
use crate::policy::ids::AccountId;
use crate::policy::legacy_use::DAY;
use crate::reload::outcome::ReloadHandle;
use crate::telemetry::wall_time::unix_seconds;

/// How far the live report looks back, as that of the command line does.
const SINCE_SECONDS: i64 = 7 * DAY;

impl Shared {
    /// All of it.
    pub(super) fn admin_state(
        &self,
        reload: ReloadHandle,
        upgrade: UpgradeHandle,
        levers: LeverHandle,
        (access, attempts): (AccessView, AttemptHandle),
    ) -> AdminState {
        let (learned, live) = (Arc::clone(&self.learned), Arc::clone(&self.live));
        let books = Books { folder: self.boot.state_dir.clone(), live: Arc::clone(&self.live) };
        AdminState {
            learned: Arc::new(move || learned_file::text(&learned, &live.pin())),
            live: source(&self.live),
            metrics: Arc::clone(&self.metrics),
            readiness: Arc::clone(&self.readiness),
            reload,
            upgrade,
            levers,
            lineage: Arc::clone(&self.lineage),
            report: ReportDesk::new(Arc::new(books)),
            access,
            attempts,
            console: Console::new(Arc::new(Trailed { folder: self.boot.state_dir.clone() })),
            status: Arc::clone(&self.status),
        }
    }
}

/// The books of this process, with the dates and recipes of what serves.
struct Books {
    folder: PathBuf,
    live: Arc<Live>,
}

impl ReportSource for Books {
    fn make(&self, subject: ReportSubject) -> Result<MadeReport, String> {
        let now = unix_seconds(SystemTime::now());
        let account = match subject {
            ReportSubject::Fleet => None,
            ReportSubject::Account(id) => Some(id),
        };
        let question = Question { since: now - SINCE_SECONDS, account, all: false, now };
        let snapshot = self.live.pin();
        let read = survey::configured(&self.folder, Some(&snapshot), question, DETAILED);
        let (report, mut fleet) = read.map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
        fleet.changes = changes::read(&self.folder, |what| tracing::warn!(what, "a report goes without"));
        let page = match account.map(AccountId::value) {
            Some(id) => html::account_page(&fleet, id, Reader::Operator(Place::Live)),
            None => html::page(&fleet, Place::Live),
        };
        let json = json::print(&report, &fleet, html::ROWS);
        let json = json.map_err(|error| format!("writing JSON: {error}"))?;
        let (before, after) = page.split_once(html::AGE).unwrap_or((&page, ""));
        Ok(MadeReport {
            before: Bytes::copy_from_slice(before.as_bytes()),
            after: Bytes::copy_from_slice(after.as_bytes()),
            json: json.into(),
            is_known: account.is_none() || !fleet.accounts.is_empty(),
        })
    }

    fn notice(&self, title: &str, text: &str) -> String {
        html::notice(title, text)
    }

    fn policy(&self) -> String {
        html::policy()
    }
}
