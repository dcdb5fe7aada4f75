//! Two sets of guards: what holds while both have a say, and in what one is weaker.

use super::{Allowance, Guard, Guards, TableSize, TrafficShare};

impl Guards {
    /// The stricter of both in everything. A start is judged by what it brings *and* by what served last, so that
    /// a file that deletes and loosens at once gains nothing by it.
    #[must_use]
    pub fn stricter(&self, other: &Self) -> Self {
        let mut protected_cells = [self.protected_cells.as_slice(), &other.protected_cells].concat();
        protected_cells.sort();
        protected_cells.dedup();
        Self {
            baseline: self.baseline.max(other.baseline),
            removal: self.removal.max(other.removal),
            protected: self.protected.max(other.protected),
            protected_cells,
            accounts_removed: self.accounts_removed.stricter(other.accounts_removed),
            accounts_moved: self.accounts_moved.stricter(other.accounts_moved),
            rows_removed: self.rows_removed.stricter(other.rows_removed),
            rows_repointed: self.rows_repointed.stricter(other.rows_repointed),
            table_size: TableSize {
                mode: self.table_size.mode.max(other.table_size.mode),
                rows: self.table_size.rows.min(other.table_size.rows),
                growth_percent: self.table_size.growth_percent.min(other.table_size.growth_percent),
            },
            traffic: TrafficShare {
                mode: self.traffic.mode.max(other.traffic.mode),
                percent: self.traffic.percent.min(other.traffic.percent),
                at_least: self.traffic.at_least.min(other.traffic.at_least),
            },
            capacity: self.capacity.max(other.capacity),
            hold: self.hold.max(other.hold),
            epoch: self.epoch.max(other.epoch),
            weakened: self.weakened.max(other.weakened),
            mixed: self.mixed.max(other.mixed),
            brownouts: self.brownouts.max(other.brownouts),
            steps: self.steps || other.steps,
            // Where they do not agree on who may approve, nobody may.
            approvals: self.approvals.clone().filter(|_| self.approvals == other.approvals),
        }
    }

    /// In what these are weaker than those before, by key; empty where they are not.
    pub fn weaker_than(&self, before: &Self) -> Vec<String> {
        let mut weaker = Vec::new();
        for guard in Guard::ALL {
            let (then, now) = (before.mode(*guard), self.mode(*guard));
            if now < then {
                let key = guard.as_str();
                weaker.push(format!("guards.{key}.mode was {} and is {}", then.as_str(), now.as_str()));
            }
        }
        let freed = before.protected_cells.iter().filter(|cell| !self.protected_cells.contains(cell));
        weaker.extend(freed.map(|cell| format!("guards.protected_cells no longer names {cell}")));
        if before.approvals != self.approvals && self.approvals.is_some() {
            weaker.push("guards.approvals is another".to_owned());
        }
        if before.steps && !self.steps {
            weaker.push("apply no longer has steps".to_owned());
        }
        let mut bound = |key: &str, then: u64, now: u64| {
            if now > then {
                weaker.push(format!("guards.{key} was {then} and is {now}"));
            }
        };
        for (key, then, now) in [
            ("accounts_removed", before.accounts_removed, self.accounts_removed),
            ("accounts_moved", before.accounts_moved, self.accounts_moved),
            ("rows_removed", before.rows_removed, self.rows_removed),
            ("rows_repointed", before.rows_repointed, self.rows_repointed),
        ] {
            bound(&format!("{key}.most"), then.most.into(), now.most.into());
            bound(&format!("{key}.percent"), then.percent.into(), now.percent.into());
            bound(&format!("{key}.free"), then.free.into(), now.free.into());
        }
        let (then, now) = (before.table_size, self.table_size);
        bound("table_size.rows", then.rows.into(), now.rows.into());
        bound("table_size.growth_percent", then.growth_percent.into(), now.growth_percent.into());
        let (then, now) = (before.traffic, self.traffic);
        bound("traffic.percent", then.percent.into(), now.percent.into());
        bound("traffic.at_least", then.at_least, now.at_least);
        weaker
    }
}

impl Allowance {
    fn stricter(self, other: Self) -> Self {
        Self {
            mode: self.mode.max(other.mode),
            most: self.most.min(other.most),
            percent: self.percent.min(other.percent),
            free: self.free.min(other.free),
        }
    }
}
