//! The shadow of a configuration: what an operator means, in plain maps, and the files that say it.
//! Everything points by name, nothing by position; changing it is the grammar of what operators do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use aws_lc_rs::hmac;
use cellgate::config::Sources;
use cellgate::policy::credential::{Fingerprint, FingerprintKey, fingerprint};
use fastrand::Rng;

/// Surfaces, the first without a label of its own in hosts that do not say.
pub const SURFACES: [&str; 3] = ["app", "metadata", "semantic-layer"];

/// Regions that cells can be in.
pub const DOMAINS: [&str; 2] = ["us1.dbt.com", "us2.dbt.com"];

/// Path templates, and whether they are `authenticated`.
pub const TEMPLATES: [(&str, bool); 6] = [
    ("/api/v2/accounts/{account}", true),
    ("/api/v3/accounts/{account}", true),
    ("/deploy/{account}", false),
    ("/api/v2/whoami", true),
    ("/api/v2/users/{entity}", true),
    ("/jobs/{entity}", false),
];

/// Tokens that clients of the simulation hold: few, so that they meet.
pub const TOKENS: usize = 10;

/// Cells make ids from here on, each in a range of its own.
const FIRST_RANGE: u64 = 1 << 46;
const RANGE: u64 = 1 << 35;

#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub domain: &'static str,
    pub max_in_flight: u32,
    /// First id of its range, where it has one.
    pub range: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    pub prefixes: Vec<String>,
    pub cell: String,
    pub redirect: bool,
    pub extended: bool,
}

/// Where a host rule sends what it cannot place; `None` refuses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fallbacks {
    pub no_account: Option<String>,
    pub unmapped: Option<String>,
}

/// A host rule by its pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    pub legacy: bool,
    pub surface: Option<&'static str>,
    pub fallbacks: Fallbacks,
}

#[derive(Clone, Debug)]
pub struct World {
    /// In the order of the file.
    pub cells: Vec<(String, Cell)>,
    pub accounts: BTreeMap<u64, Account>,
    pub environments: BTreeMap<u64, u64>,
    /// Token to account, under the key it was entered with.
    pub credentials: BTreeMap<usize, (String, u64)>,
    pub hosts: BTreeMap<String, Host>,
    /// Newest first.
    pub keys: Vec<String>,
    /// Bounds of learning: entries in all, entries of an account.
    pub learn: Option<(usize, usize)>,
    pub query_keys: BTreeSet<&'static str>,
    named: u64,
    ranges: u64,
}

/// The token of a client.
pub fn token(number: usize) -> String {
    format!("dbtc_simulation{number:04}")
}

/// The fingerprint of a token under a key of the simulation.
pub fn fingerprint_under(key: &str, number: usize) -> Fingerprint {
    let key =
        FingerprintKey { id: key.into(), key: hmac::Key::new(hmac::HMAC_SHA256, &key_bytes(key)).into() };
    fingerprint(&key, token(number).as_bytes())
}

fn key_bytes(key: &str) -> Vec<u8> {
    key.bytes().cycle().take(32).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl World {
    pub fn new(rng: &mut Rng) -> Self {
        let mut world = Self {
            cells: Vec::new(),
            accounts: BTreeMap::new(),
            environments: BTreeMap::new(),
            credentials: BTreeMap::new(),
            hosts: BTreeMap::new(),
            keys: vec!["key-1".into()],
            learn: Some((12, 4)),
            query_keys: BTreeSet::from(["account_id"]),
            named: 0,
            ranges: 0,
        };
        for surface in SURFACES {
            let label = if surface == "app" { String::new() } else { format!("{surface}.") };
            world.legacy_host(&format!("{label}cloud.getdbt.com"), surface);
        }
        world.legacy_host("{prefix}.cloud.getdbt.com", "app");
        for _ in 0..rng.usize(2..5) {
            world.add_cell(rng);
        }
        for _ in 0..rng.usize(3..20) {
            world.add_account(rng);
        }
        world.follow_domains();
        world
    }

    pub fn cell(&self, name: &str) -> &Cell {
        &self.cells.iter().find(|(other, _)| other == name).unwrap().1
    }

    pub fn by_prefix(&self, prefix: &str) -> Option<(u64, &Account)> {
        let mut accounts = self.accounts.iter();
        accounts.find(|(_, row)| row.prefixes.iter().any(|own| own == prefix)).map(|(id, row)| (*id, row))
    }

    /// The cell that an id was made in, where its range still says so: everybody born there lives there.
    pub fn born(&self, id: u64) -> Option<&str> {
        let (name, cell) = self.cells.iter().find(|(_, cell)| in_range(cell, id))?;
        let moved = self.accounts.iter().any(|(id, row)| in_range(cell, *id) && row.cell != *name);
        (!moved).then_some(name)
    }

    pub fn any_cell(&self, rng: &mut Rng) -> String {
        self.cells[rng.usize(..self.cells.len())].0.clone()
    }

    pub fn any_account(&self, rng: &mut Rng) -> u64 {
        *self.accounts.keys().nth(rng.usize(..self.accounts.len())).unwrap()
    }

    /// An id without a row.
    pub fn no_account(&self, rng: &mut Rng) -> u64 {
        loop {
            let id = self.fresh_id(rng);
            if !self.accounts.contains_key(&id) {
                return id;
            }
        }
    }

    /// An id that a cell might have made, or an old small one.
    pub fn fresh_id(&self, rng: &mut Rng) -> u64 {
        let ranges: Vec<u64> = self.cells.iter().filter_map(|(_, cell)| cell.range).collect();
        match ranges.as_slice() {
            [] => rng.u64(1..5_000),
            _ if rng.bool() => rng.u64(1..5_000),
            // The edges are where ranges go wrong.
            some => some[rng.usize(..some.len())] + [0, 1, 7, 4711, RANGE - 1][rng.usize(..5)],
        }
    }

    /// One thing that operators do. What it makes is always a good configuration.
    pub fn change(&mut self, rng: &mut Rng) {
        match rng.u32(..20) {
            0..=2 => self.add_account(rng),
            3 => self.remove_account(rng),
            4..=6 => self.move_account(rng),
            7 => self.pass_prefix_on(rng),
            8 => {
                let id = self.any_account(rng);
                let row = self.accounts.get_mut(&id).unwrap();
                (row.redirect, row.extended) = (rng.bool(), rng.bool());
            }
            9 => self.add_cell(rng),
            10 => self.remove_cell(rng),
            11 => self.rename_cell(rng),
            12 => {
                let at = rng.usize(..self.cells.len());
                self.cells[at].1.max_in_flight = rng.u32(1..9);
            }
            13 => rng.shuffle(&mut self.cells),
            14 => self.change_hosts(rng),
            15 => self.change_fallbacks(rng),
            16 => {
                let (id, account) = (self.fresh_id(rng), self.any_account(rng));
                self.environments.insert(id, account);
            }
            17 => self.change_credentials(rng),
            18 => self.change_learning(rng),
            _ => {
                let at = rng.usize(..self.cells.len());
                self.cells[at].1.domain = DOMAINS[rng.usize(..2)];
            }
        }
        self.follow_domains();
    }

    fn legacy_host(&mut self, pattern: &str, surface: &'static str) {
        let host = Host { legacy: true, surface: Some(surface), fallbacks: Fallbacks::default() };
        self.hosts.insert(pattern.into(), host);
    }

    fn fresh_name(&mut self, kind: &str) -> String {
        self.named += 1;
        format!("{kind}{}", self.named)
    }

    fn add_cell(&mut self, rng: &mut Rng) {
        if self.cells.len() > 6 {
            return;
        }
        let name = self.fresh_name("cell-");
        self.ranges += 1;
        let range = (rng.u32(..4) > 0).then_some(FIRST_RANGE + self.ranges * RANGE);
        let domain = DOMAINS[usize::from(rng.u32(..4) == 0)];
        let cell = Cell { domain, max_in_flight: rng.u32(2..9), range };
        let at = rng.usize(..=self.cells.len());
        self.cells.insert(at, (name, cell));
    }

    /// Its accounts move to one other cell.
    fn remove_cell(&mut self, rng: &mut Rng) {
        if self.cells.len() < 2 {
            return;
        }
        let (gone, _) = self.cells.remove(rng.usize(..self.cells.len()));
        let to = self.any_cell(rng);
        self.rename_everywhere(&gone, &to);
    }

    fn rename_cell(&mut self, rng: &mut Rng) {
        let at = rng.usize(..self.cells.len());
        let to = self.fresh_name("cell-");
        let from = std::mem::replace(&mut self.cells[at].0, to.clone());
        self.rename_everywhere(&from, &to);
    }

    fn rename_everywhere(&mut self, from: &str, to: &str) {
        for row in self.accounts.values_mut().filter(|row| row.cell == from) {
            row.cell = to.into();
        }
        for fallbacks in self.hosts.values_mut().map(|host| &mut host.fallbacks) {
            for cell in [&mut fallbacks.no_account, &mut fallbacks.unmapped].into_iter().flatten() {
                if cell == from {
                    *cell = to.into();
                }
            }
        }
    }

    fn add_account(&mut self, rng: &mut Rng) {
        let id = self.no_account(rng);
        let prefixes = (0..rng.usize(..3)).map(|_| self.fresh_name("ac")).collect();
        let cell = self.any_cell(rng);
        self.accounts.insert(id, Account { prefixes, cell, redirect: rng.bool(), extended: false });
    }

    fn remove_account(&mut self, rng: &mut Rng) {
        if self.accounts.len() < 2 {
            return;
        }
        let gone = self.any_account(rng);
        self.accounts.remove(&gone);
        self.environments.retain(|_, account| *account != gone);
        self.credentials.retain(|_, (_, account)| *account != gone);
    }

    fn move_account(&mut self, rng: &mut Rng) {
        let (id, to) = (self.any_account(rng), self.any_cell(rng));
        self.accounts.get_mut(&id).unwrap().cell = to;
    }

    /// A prefix goes from one account to another: the next request under it is somebody else's.
    fn pass_prefix_on(&mut self, rng: &mut Rng) {
        let (from, to) = (self.any_account(rng), self.any_account(rng));
        if let Some(prefix) = self.accounts.get_mut(&from).unwrap().prefixes.pop() {
            let prefixes = &mut self.accounts.get_mut(&to).unwrap().prefixes;
            if prefixes.len() < 8 {
                prefixes.push(prefix);
            }
        }
    }

    fn change_hosts(&mut self, rng: &mut Rng) {
        let optional = ["old.getdbt.com", "{prefix}.cloud.getdbt.com", "{prefix}.metadata.cloud.getdbt.com"];
        let pattern = optional[rng.usize(..3)];
        if self.hosts.remove(pattern).is_none() {
            self.legacy_host(pattern, if pattern.contains("metadata") { "metadata" } else { "app" });
        }
    }

    fn change_fallbacks(&mut self, rng: &mut Rng) {
        let cell = Some(self.any_cell(rng)).filter(|_| rng.bool());
        let other = Some(self.any_cell(rng)).filter(|_| rng.bool());
        let at = rng.usize(..self.hosts.len());
        let host = self.hosts.values_mut().nth(at).unwrap();
        host.fallbacks = Fallbacks { no_account: cell, unmapped: other };
    }

    fn change_credentials(&mut self, rng: &mut Rng) {
        let number = rng.usize(..TOKENS);
        if self.credentials.remove(&number).is_none() {
            let account = self.any_account(rng);
            self.credentials.insert(number, (self.keys[0].clone(), account));
        }
    }

    fn change_learning(&mut self, rng: &mut Rng) {
        match rng.u32(..5) {
            0 => self.learn = None,
            1 | 2 => self.learn = Some((rng.usize(2..12), rng.usize(1..2))),
            _ => {
                let key = self.fresh_name("key-");
                self.keys.insert(0, key);
                self.keys.truncate(2);
                let keys = &self.keys;
                self.credentials.retain(|_, (key, _)| keys.contains(key));
            }
        }
    }

    /// Every region with a cell has its hosts, and no other.
    fn follow_domains(&mut self) {
        for domain in DOMAINS {
            let lived_in = self.cells.iter().any(|(_, cell)| cell.domain == domain);
            for (start, surface) in [("{prefix}.", Some("app")), ("{prefix}.{surface}.", None)] {
                let pattern = format!("{start}{domain}");
                if lived_in {
                    let host = Host { legacy: false, surface, fallbacks: Fallbacks::default() };
                    self.hosts.entry(pattern).or_insert(host);
                } else {
                    self.hosts.remove(&pattern);
                }
            }
        }
    }

    /// The files.
    pub fn sources(&self) -> Sources {
        let mut files = BTreeMap::new();
        let mut add = |name: &str, text: String| files.insert(name.into(), Ok(text.into_bytes()));
        add("accounts.csv", self.accounts_csv());
        let rows = |header: &str, rows: Vec<String>| format!("{header}\n{}\n", rows.join("\n"));
        let environments = self.environments.iter().map(|(id, account)| format!("{id},{account}"));
        add("environments.csv", rows("environment,account", environments.collect()));
        let credentials = self.credentials.iter().map(|(number, (key, account))| {
            format!("{key},{},{account}", hex(&fingerprint_under(key, *number).0))
        });
        add("credentials.csv", rows("key_id,fingerprint,account", credentials.collect()));
        for key in &self.keys {
            add(&format!("{key}.hex"), hex(&key_bytes(key)));
        }
        Sources {
            folder: PathBuf::new(),
            boot_file: None,
            boot: Ok(Vec::new()),
            routing: Ok(self.yaml().into_bytes()),
            files,
        }
    }

    fn accounts_csv(&self) -> String {
        let mut text = String::from("account,prefixes,cell,redirect_browsers,schedule\n");
        for (id, row) in &self.accounts {
            let schedule = if row.extended { "extended" } else { "" };
            writeln!(text, "{id},{},{},{},{schedule}", row.prefixes.join(" "), row.cell, row.redirect)
                .unwrap();
        }
        text
    }

    fn yaml(&self) -> String {
        let mut text = String::from(HEAD);
        for (pattern, host) in &self.hosts {
            let role = if host.legacy { "legacy, schedule: legacy" } else { "cell" };
            write!(text, "  - {{ pattern: \"{pattern}\", role: {role}").unwrap();
            if let Some(surface) = host.surface {
                write!(text, ", surface: {surface}").unwrap();
            }
            let fallbacks = &host.fallbacks;
            for (key, cell) in
                [("no_account", &fallbacks.no_account), ("unmapped_account", &fallbacks.unmapped)]
            {
                if let Some(cell) = cell {
                    write!(text, ", {key}: {{ cell: {cell} }}").unwrap();
                }
            }
            text.push_str(" }\n");
        }
        text.push_str("cells:\n");
        for (at, (name, cell)) in self.cells.iter().enumerate() {
            let Cell { domain, max_in_flight, .. } = cell;
            writeln!(
                text,
                "  - {{ name: {name}, domain: {domain}, max_in_flight: {max_in_flight}, groups: [{{ endpoints: \
                 [127.0.0.1:{}] }}] }}",
                7000 + at
            )
            .unwrap();
        }
        self.identify_yaml(&mut text);
        text
    }

    fn identify_yaml(&self, text: &mut String) {
        text.push_str("identify:\n  paths:\n");
        for (path, authenticated) in TEMPLATES {
            writeln!(text, "    - {{ path: \"{path}\", authenticated: {authenticated} }}").unwrap();
        }
        let keys: Vec<&str> = self.query_keys.iter().copied().collect();
        writeln!(text, "  query_keys: [{}]", keys.join(", ")).unwrap();
        text.push_str(NAMES);
        for key in &self.keys {
            writeln!(text, "      - {{ id: {key}, file: {key}.hex }}").unwrap();
        }
        if let Some((entries, per_account)) = self.learn {
            writeln!(text, "    learn: {{ entries: {entries}, per_account: {per_account} }}").unwrap();
        }
        text.push_str("  id_ranges:");
        let ranges = self.cells.iter().filter_map(|(name, cell)| Some((name, cell.range?)));
        let rows: Vec<String> = ranges
            .map(|(name, first)| {
                format!("    - {{ cell: {name}, first: {first}, last: {} }}", first + RANGE - 1)
            })
            .collect();
        text.push_str(&if rows.is_empty() { " []\n".to_owned() } else { format!("\n{}\n", rows.join("\n")) });
    }
}

fn in_range(cell: &Cell, id: u64) -> bool {
    cell.range.is_some_and(|first| (first..first + RANGE).contains(&id))
}

const HEAD: &str = "version: 1
guide: https://docs.example.com/moving
surfaces:
  - { name: app, errors: status }
  - { name: metadata, errors: graphql }
  - { name: semantic-layer, errors: graphql }
schedules:
  - { name: legacy, deprecated_since: 2026-02-01T00:00:00Z, sunset_at: 2026-11-01T00:00:00Z }
  - { name: extended, deprecated_since: 2026-02-01T00:00:00Z, sunset_at: 2027-03-31T00:00:00Z }
accounts: { file: accounts.csv }
environments: { file: environments.csv }
redirect_exceptions: [/complete/]
hosts:
";

const NAMES: &str = "  headers:
    - { name: environmentid, names: environment }
    - { name: x-account-id, names: account }
  cookies:
    - { name: account, names: account }
    - { name: sessionid, names: credential }
  credentials:
    shapes: [{ prefix: dbtc_, min: 10, max: 60 }]
    table: credentials.csv
    keys:
";
