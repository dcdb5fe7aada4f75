//! What a new configuration changes, as data: for the log line of a reload, for the audit, and for the
//! guards that may refuse it.

pub mod brownouts;
mod dates;
pub mod moves;
pub mod rows;
pub mod text;

use std::collections::BTreeMap;

use super::assets::{self, Assets};
use super::routing::Config;
use super::settings::{self, SettingChange, Settings};
use crate::policy::accounts::{Account, AccountTable};
use crate::policy::brownout::Brownouts;
use crate::policy::credential::Fingerprint;
use crate::policy::extension::Extension;
use crate::policy::hosts::HostRule;
use crate::policy::http2::CellHttp2;
use crate::policy::ids::{AccountId, EntityId};
use crate::policy::keyed::KeyTable;
use crate::policy::moves::MoveTable;
use crate::policy::protection::CellProtection;
use crate::policy::snapshot::{
    Cell, CellProtocol, CellTimeouts, Endpoint, EndpointKey, Group, Schedule, Snapshot, UpstreamHost,
};

use brownouts::BrownoutChanges;
pub use dates::DateChange;
use moves::MoveChanges;
use rows::RowChanges;

/// What changes in routes and dates. Counts for accounts, names for what is few.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// New accounts by cell.
    pub accounts_added: BTreeMap<Box<str>, usize>,
    /// Accounts that are gone, by the cell they were in.
    pub accounts_removed: BTreeMap<Box<str>, usize>,
    /// Accounts that move, by the cell they come from and the one they go to.
    pub accounts_moved: BTreeMap<(Box<str>, Box<str>), usize>,
    /// Accounts on their way.
    pub moves: MoveChanges,
    /// Accounts that stay but change prefixes, redirects or schedule.
    pub accounts_changed: usize,
    /// Cells by name.
    pub cells: Changes,
    /// Hosts by pattern.
    pub hosts: Changes,
    /// What serves and is no route: certificates, authorities and keys, as `assets` names them.
    pub assets: Changes,
    /// Schedules whose dates are new, gone or other.
    pub dates: Vec<DateChange>,
    /// Brownouts, and promises of more time.
    pub brownouts: BrownoutChanges,
    /// What else is written differently, by where it stands.
    pub settings: Vec<SettingChange>,
    /// Rows of the account table.
    pub rows: Rows,
    /// Rows from environments to accounts.
    pub environments: RowChanges,
    /// Rows from credentials to accounts.
    pub credentials: RowChanges,
    /// Listeners that are gone, by name. Only a start can change them, and says so here.
    pub listeners_removed: Vec<Box<str>>,
    /// Something else than the account table differs, whether or not it has a name here.
    pub beside_accounts: bool,
}

/// How many accounts there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// In what serves.
    pub before: usize,
    /// In what is offered.
    pub after: usize,
}

/// How much of some traffic a change concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests in all.
    pub total: u64,
    /// Those of accounts that are removed or moved.
    pub concerned: u64,
}

/// Things with a name that come, go or change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Only after.
    pub added: Vec<Box<str>>,
    /// Only before.
    pub removed: Vec<Box<str>>,
    /// In both, and different.
    pub changed: Vec<Box<str>>,
}

/// What is compared: both a running snapshot and a configuration that is not yet one can be.
#[derive(Debug)]
pub struct View<'a> {
    cells: Vec<CellView<'a>>,
    accounts: &'a AccountTable,
    moves: &'a MoveTable,
    environments: &'a KeyTable<EntityId>,
    credentials: &'a KeyTable<Fingerprint>,
    hosts: Vec<&'a HostRule>,
    schedules: &'a [Schedule],
    brownouts: &'a Brownouts,
    extensions: Vec<&'a Extension>,
    assets: Assets,
    settings: &'a Settings,
    rest: &'a str,
}

/// Everything about a cell that somebody configured.
#[derive(Debug, PartialEq)]
struct CellView<'a> {
    name: &'a str,
    shared: bool,
    domain: &'a str,
    /// The key of an endpoint holds its address and its trust.
    endpoints: Vec<(&'a str, u8, Option<u32>, &'a EndpointKey)>,
    max_in_flight: u32,
    share_percent: u8,
    bounds: Vec<(u32, Option<u32>)>,
    protection: &'a CellProtection,
    timeouts: CellTimeouts,
    http2: CellHttp2,
    protocol: CellProtocol,
    host: UpstreamHost,
    seal: Option<&'a str>,
}

/// What changes from one to the other.
pub fn diff<'a>(before: impl Into<View<'a>>, after: impl Into<View<'a>>) -> Diff {
    let (before, after) = (before.into(), after.into());
    let mut diff = Diff {
        cells: changes(
            before.cells.iter().map(|cell| (cell.name, cell)),
            after.cells.iter().map(|cell| (cell.name, cell)),
        ),
        hosts: changes(
            before.hosts.iter().map(|rule| (&*rule.pattern, before.host(rule))),
            after.hosts.iter().map(|rule| (&*rule.pattern, after.host(rule))),
        ),
        assets: assets::changes(&before.assets, &after.assets),
        dates: dates::changes(before.schedules, after.schedules),
        brownouts: BrownoutChanges::between(&before, &after),
        rows: Rows { before: before.accounts.len(), after: after.accounts.len() },
        moves: MoveChanges::between(&before, &after),
        environments: before.rows_to(before.environments, after.environments),
        credentials: before.rows_to(before.credentials, after.credentials),
        settings: settings::changes(before.settings, after.settings),
        beside_accounts: before.rest != after.rest,
        ..Diff::default()
    };
    let mut next = 0;
    for account in after.accounts.iter() {
        let to = after.cell(account);
        match before.accounts.by_id_from(account.id, &mut next) {
            None => *diff.accounts_added.entry(to.into()).or_default() += 1,
            Some(old) if before.cell(old) != to => {
                *diff.accounts_moved.entry((before.cell(old).into(), to.into())).or_default() += 1;
                diff.moves.cell_changed(&before, &after, account);
            }
            Some(old) => {
                let same = old.prefixes == account.prefixes
                    && old.redirect_browsers == account.redirect_browsers
                    && before.schedule(old) == after.schedule(account);
                diff.accounts_changed += usize::from(!same);
            }
        }
    }
    // Every row of the new table that was not added has one in the old table.
    if before.accounts.len() + diff.accounts_added.values().sum::<usize>() > after.accounts.len() {
        let is_gone = |account: &Account<'_>| after.accounts.by_id(account.id).is_none();
        for account in before.accounts.iter().filter(is_gone) {
            *diff.accounts_removed.entry(before.cell(account).into()).or_default() += 1;
        }
    }
    diff.drop_told_settings();
    diff
}

/// How much of the traffic a change concerns: requests by account, against the accounts that are gone or go to another
/// cell. A move counts when it is announced, and not once more when it is flipped; where `before` may have `slept` through
/// that, it counts not at all.
pub fn weigh<'a>(
    before: impl Into<View<'a>>,
    after: impl Into<View<'a>>,
    requests: impl IntoIterator<Item = (AccountId, u64)>,
    slept: bool,
) -> Traffic {
    let (before, after) = (before.into(), after.into());
    let stays = |id| match (before.accounts.by_id(id), after.accounts.by_id(id)) {
        (Some(_), Some(_)) if !slept && after.announces(&before, id) => false,
        (Some(old), Some(new)) => before.cell(old) == after.cell(new) || after.settles(&before, id, slept),
        (Some(_), None) => false,
        (None, _) => true,
    };
    requests.into_iter().fold(Traffic::default(), |Traffic { total, concerned }, (id, count)| Traffic {
        total: total + count,
        concerned: concerned + if stays(id) { 0 } else { count },
    })
}

impl Diff {
    /// From a configuration of so many accounts to the same.
    pub fn unchanged(rows: usize) -> Self {
        Self { rows: Rows { before: rows, after: rows }, ..Self::default() }
    }

    /// Whether nothing differs but files that say the same in other bytes.
    pub fn is_empty(&self) -> bool {
        *self == Self { rows: self.rows, beside_accounts: self.beside_accounts, ..Self::default() }
    }

    /// Of settings that differ, leaves those that nothing else of the difference names.
    fn drop_told_settings(&mut self) {
        let dates = [".deprecated_since", ".sunset_at"];
        let is_date =
            |path: &str| path.starts_with("schedules[") && dates.iter().any(|key| path.ends_with(key));
        let told = |change: &SettingChange| {
            // What is new is told whole: people sign for the addresses in it.
            let is_gone = |list, changes: &Changes| change.is_in(list, &changes.removed);
            is_gone("cells", &self.cells) || is_gone("hosts", &self.hosts) || is_date(&change.path)
        };
        self.settings =
            std::mem::take(&mut self.settings).into_iter().filter(|change| !told(change)).collect();
    }

    /// The tables of rows that lead to accounts, by name.
    pub fn tables(&self) -> [(&'static str, &RowChanges); 2] {
        [("environments", &self.environments), ("credentials", &self.credentials)]
    }

    /// How many accounts are gone.
    pub fn removed(&self) -> usize {
        self.accounts_removed.values().sum()
    }

    /// Whether accounts change their cell, or are on their way: such a change is never a canary and never undone.
    pub fn is_about_moves(&self) -> bool {
        self.moved() > 0 || self.moves != MoveChanges::default()
    }

    /// Whether it is about moves and about anything else together.
    pub fn is_mixed(&self) -> bool {
        let rows_differ = self.accounts_changed > 0 || !self.accounts_added.is_empty() || self.removed() > 0;
        self.is_about_moves() && (self.beside_accounts || rows_differ)
    }

    /// How many accounts go to another cell.
    pub fn moved(&self) -> usize {
        self.accounts_moved.values().sum()
    }
}

impl<'a> View<'a> {
    fn cell(&self, account: Account<'_>) -> &'a str {
        self.cells[usize::from(account.cell.0)].name
    }

    fn schedule(&self, account: Account<'_>) -> Option<&'a str> {
        account.schedule.map(|index| self.schedules[usize::from(index.0)].name.as_str())
    }

    /// A host rule with names in place of positions, which mean nothing across configurations.
    fn host(&self, rule: &HostRule) -> String {
        use crate::policy::hosts::Fallback;
        let fallback = |fallback: Fallback| match fallback {
            Fallback::Refuse => "refuse",
            Fallback::Cell(index) => self.cells[usize::from(index.0)].name,
        };
        let schedule = rule.schedule.map(|index| self.schedules[usize::from(index.0)].name.as_str());
        let (none, unmapped) = (fallback(rule.no_account), fallback(rule.unmapped_account));
        let asked = rule.client_certificate.as_ref().map(|policy| &*policy.identity);
        let (role, surface, hsts) = (rule.role, rule.surface.0, rule.hsts);
        format!("{role:?} {surface} {schedule:?} {none} {unmapped} {asked:?} {hsts:?}")
    }
}

impl<'a> From<&'a Snapshot> for View<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        Self {
            cells: snapshot.cells.iter().map(CellView::from).collect(),
            accounts: &snapshot.accounts,
            moves: &snapshot.moves.table,
            environments: &snapshot.environments,
            credentials: &snapshot.identify.credentials.table,
            hosts: snapshot.hosts.iter().collect(),
            schedules: &snapshot.schedules,
            brownouts: &snapshot.brownouts,
            extensions: snapshot.extensions.iter().collect(),
            assets: assets::of_snapshot(snapshot),
            settings: &snapshot.settings,
            rest: &snapshot.rest,
        }
    }
}

impl<'a> From<&'a Config> for View<'a> {
    fn from(config: &'a Config) -> Self {
        Self {
            cells: config.cells.iter().map(CellView::from).collect(),
            accounts: &config.accounts,
            moves: &config.moves.table,
            environments: &config.environments,
            credentials: &config.identify.credentials.table,
            hosts: config.hosts.iter().map(|host| &host.rule).collect(),
            schedules: &config.schedules,
            brownouts: &config.brownouts,
            extensions: config.extensions.iter().collect(),
            assets: assets::of_config(config),
            settings: &config.settings,
            rest: &config.rest,
        }
    }
}

impl<'a> From<&'a Cell> for CellView<'a> {
    fn from(cell: &'a Cell) -> Self {
        Self {
            name: cell.name.as_str(),
            shared: cell.shared,
            domain: &cell.domain,
            endpoints: endpoints(&cell.groups),
            max_in_flight: cell.max_in_flight,
            share_percent: cell.share_percent,
            bounds: cell.groups.iter().map(bounds).collect(),
            protection: &cell.protection,
            timeouts: cell.timeouts,
            http2: cell.http2,
            protocol: cell.protocol,
            host: cell.host,
            seal: cell.seal.as_ref().map(|seal| &*seal.id),
        }
    }
}

fn endpoints<'a>(groups: &'a [Group]) -> Vec<(&'a str, u8, Option<u32>, &'a EndpointKey)> {
    let each = groups.iter().flat_map(|group| group.endpoints.iter().map(move |endpoint| (group, endpoint)));
    let view = |(group, endpoint): (&'a Group, &'a Endpoint)| {
        (group.zone.as_str(), group.priority, group.capacity_rps, &endpoint.key)
    };
    each.map(view).collect()
}

fn changes<'a, T: PartialEq>(
    before: impl Iterator<Item = (&'a str, T)>,
    after: impl Iterator<Item = (&'a str, T)>,
) -> Changes {
    let mut before: BTreeMap<&str, T> = before.collect();
    let mut changes = Changes::default();
    for (name, value) in after {
        match before.remove(name) {
            None => changes.added.push(name.into()),
            Some(old) if old != value => changes.changed.push(name.into()),
            Some(_) => {}
        }
    }
    changes.removed = before.into_keys().map(Into::into).collect();
    changes
}

fn bounds(group: &Group) -> (u32, Option<u32>) {
    (group.requests.most, group.endpoints.first().map(|endpoint| endpoint.connections.most))
}
