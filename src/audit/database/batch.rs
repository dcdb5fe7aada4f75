//! What one transaction adds to the database: windows of one run of a process, added up by month. Plain values.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::super::days::Days;
use super::super::frame::{Frame, Gap, Integration, Minute, Renamed, Use};
use super::super::heavy::Seen as Frequency;
use super::super::met::BrownoutUse;
use super::super::minute::{Ends, LostCall};
use super::super::month::Month;

/// Windows of one writer.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub replica: String,
    pub months: BTreeMap<Month, Rows>,
}

/// What they have of one month.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// From and to (Unix seconds) of each window that lies in it.
    pub covered: Vec<(i64, i64)>,
    /// The process has ended in it.
    pub closed: bool,
    pub integrations: BTreeMap<Integration, Seen>,
    /// By integration and day.
    pub uses: BTreeMap<(Integration, i64), Counts>,
    /// Prefix, cell and when (Unix seconds), by account.
    pub accounts: BTreeMap<u64, (i64, String, Option<String>)>,
    /// By day and fingerprint.
    pub learned: BTreeMap<(i64, String), u64>,
    /// By day and account.
    pub on_cell_hosts: BTreeMap<(i64, u64), u64>,
    pub gaps: Vec<Gap>,
    /// By minute, host kind, cell and class.
    pub minutes: BTreeMap<MinuteKey, Ends>,
    /// The same by account and credential.
    pub harmed: BTreeMap<(MinuteKey, u64, String), Ends>,
    pub lost: Vec<LostCall>,
    /// Requests and writes by all else of a line.
    pub brownouts: BTreeMap<BrownoutUse, (u64, u64)>,
    pub renamed: BTreeSet<Renamed>,
    /// By day and name.
    pub unknown_clients: BTreeMap<(i64, String), Frequency>,
}

/// Minute, whether on legacy hosts, cell, class.
pub(super) type MinuteKey = (i64, bool, String, String);

/// When an integration came.
#[derive(Debug)]
pub(super) struct Seen {
    pub template: String,
    pub first_seen: i64,
    pub last_seen: i64,
    pub days: Days,
}

/// How often it came on a day.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Status classes, writes, refused.
    pub sums: [u64; 7],
    pub hours: [u64; 24],
}

impl Batch {
    /// Adds up frames.
    pub fn of(frames: &[&Frame]) -> Self {
        let mut batch = Self::default();
        for frame in frames {
            batch.add(frame);
        }
        batch
    }

    fn add(&mut self, frame: &Frame) {
        self.replica.clone_from(&frame.replica);
        self.cover(frame);
        for row in frame.uses.uses() {
            self.month(row.day).add_use(&row);
        }
        for (day, fingerprint, requests) in &frame.learned {
            *self.month(*day).learned.entry((*day, fingerprint.clone())).or_default() += requests;
        }
        for (day, account, requests) in &frame.on_cell_hosts {
            *self.month(*day).on_cell_hosts.entry((*day, *account)).or_default() += requests;
        }
        for of in &frame.minutes {
            self.month(day_of(of)).minutes.entry(key(of)).or_default().add(&of.ends);
        }
        for harm in &frame.harmed {
            let key = (key(&harm.of), harm.account, harm.credential.clone());
            self.month(day_of(&harm.of)).harmed.entry(key).or_default().add(&harm.of.ends);
        }
        for line in &frame.brownouts {
            let key = BrownoutUse { requests: 0, writes: 0, ..line.clone() };
            let sum = self.month(line.day).brownouts.entry(key).or_default();
            *sum = (sum.0 + line.requests, sum.1 + line.writes);
        }
        for call in &frame.lost {
            self.month(call.at.div_euclid(86_400)).lost.push(call.clone());
        }
        let last = self.months.entry(Month::of(frame.ended_at)).or_default();
        last.gaps.extend(frame.gaps.iter().cloned());
        last.renamed.extend(frame.renamed.iter().cloned());
        for of in &frame.unknown_clients {
            let key = (frame.ended_at.div_euclid(86_400), of.product.clone());
            let sum = last.unknown_clients.entry(key).or_default();
            (sum.count, sum.too_many) = (sum.count + of.requests, sum.too_many + of.too_many);
        }
        for (id, (cell, prefix)) in frame.accounts.iter() {
            let seen = (frame.ended_at, cell.to_owned(), prefix.map(str::to_owned));
            let known = last.accounts.entry(id).or_insert_with(|| seen.clone());
            *known = seen.max(known.clone());
        }
    }

    /// The part of the window that lies in each of its months.
    fn cover(&mut self, frame: &Frame) {
        for month in [frame.started_at, frame.ended_at].map(Month::of) {
            let of_month = month.seconds();
            let span = (frame.started_at.max(of_month.start), frame.ended_at.min(of_month.end));
            let rows = self.months.entry(month).or_default();
            if span.0 <= span.1 && of_month.contains(&span.0) && rows.covered.last() != Some(&span) {
                rows.covered.push(span);
            }
        }
        self.months.entry(Month::of(frame.ended_at)).or_default().closed |= frame.last;
    }

    fn month(&mut self, day: i64) -> &mut Rows {
        self.months.entry(Month::of_day(day)).or_default()
    }
}

impl Rows {
    fn add_use(&mut self, row: &Use) {
        let day_of_month = row.day - Month::of_day(row.day).first_day();
        match self.integrations.entry(row.integration.clone()) {
            Entry::Occupied(known) => {
                let seen = known.into_mut();
                if row.template < seen.template {
                    seen.template.clone_from(&row.template);
                }
                seen.first_seen = seen.first_seen.min(row.first_seen);
                seen.last_seen = seen.last_seen.max(row.last_seen);
                seen.days.add(day_of_month, &row.hours);
            }
            Entry::Vacant(place) => {
                let mut days = Days::default();
                days.add(day_of_month, &row.hours);
                let (first_seen, last_seen) = (row.first_seen, row.last_seen);
                place.insert(Seen { template: row.template.clone(), first_seen, last_seen, days });
            }
        }
        let counts = self.uses.entry((row.integration.clone(), row.day)).or_default();
        let more = row.statuses.into_iter().chain([row.writes, row.refused]);
        counts.sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        for (hour, requests) in &row.hours {
            if let Some(sum) = counts.hours.get_mut(usize::from(*hour)) {
                *sum += requests;
            }
        }
    }
}

fn day_of(of: &Minute) -> i64 {
    of.minute.div_euclid(24 * 60)
}

fn key(of: &Minute) -> MinuteKey {
    (of.minute, of.legacy, of.cell.clone(), of.class.clone())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::frame::Account;
    use super::super::super::frame::tests::{NOON, frame, uses};
    use super::*;

    #[test]
    fn windows_add_up_by_month_whatever_came_first() {
        let december = 1_796_083_200;
        let mut first = frame("a", 1, vec![uses(1, "curl", 3), uses(2, "curl", 1)]);
        first.accounts = vec![Account { id: 1, prefix: None, cell: "us1".into() }].into();
        let template = "/api/v2/accounts/{account}/jobs/".into();
        let mut second = frame("a", 2, vec![Use { template, ..uses(1, "curl", 4) }]);
        second.accounts = vec![Account { id: 1, prefix: Some("ab123".into()), cell: "us2".into() }].into();
        let mut third = frame("a", 3, vec![Use { day: december / 86_400, ..uses(1, "curl", 5) }]);
        (third.started_at, third.ended_at, third.last) = (december - 5, december + 5, true);
        for order in [[&first, &second, &third], [&third, &second, &first]] {
            let batch = Batch::of(&order);
            let months: Vec<_> = batch.months.values().collect();
            assert_eq!(months.len(), 2);
            let spans = |of: &Rows| {
                let mut spans = of.covered.clone();
                spans.sort_unstable();
                spans
            };
            assert_eq!(
                spans(months[0]),
                [(NOON, NOON + 10), (NOON + 10, NOON + 20), (december - 5, december)]
            );
            assert_eq!(spans(months[1]), [(december, december + 5)]);
            assert_eq!((months[0].closed, months[1].closed), (false, true));
            let sums = |of: &Rows| of.uses.values().map(|of| (of.sums[1], of.hours[10])).collect::<Vec<_>>();
            assert_eq!((sums(months[0]), sums(months[1])), (vec![(7, 7), (1, 1)], vec![(5, 5)]));
            let seen = months[0].integrations.values().next().unwrap();
            assert_eq!(seen.template, "/api/v2/accounts/{account}/jobs/");
            assert_eq!(seen.days.seen(0).map(|day| day.requests).sum::<u64>(), 7);
            let account = &months[0].accounts[&1];
            assert_eq!((account.1.as_str(), account.2.as_deref()), ("us2", Some("ab123")));
        }
    }
}
