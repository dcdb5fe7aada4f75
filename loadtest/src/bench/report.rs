//! The result of the benchmark: for people one table a scenario, for programs JSON. Plain data and text.

use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};

use super::rounds::{Measured, Spread, ratios};
use super::scenario::{Figures, Scenario};
use super::site::Kind;
use crate::load::Latency;

/// All of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Where and when it was measured, and with what.
    pub machine: Machine,
    /// Accounts in the table.
    pub accounts: u32,
    /// Over how many cells.
    pub cells: u16,
    /// Times that each contestant was measured.
    pub rounds: usize,
    /// Seconds of each measurement.
    pub seconds: f64,
    /// In the order in which they ran.
    pub scenarios: Vec<ScenarioReport>,
}

/// Where and when it was measured, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor, as it calls itself.
    pub processor: String,
    /// How many of them.
    pub processors: usize,
    /// The kernel's version.
    pub kernel: String,
    /// The moment of the start, in UTC.
    pub date: String,
    /// Whether contestants have a processor of their own, away from the load.
    pub pinned: bool,
    /// What each program says of its version.
    pub versions: Vec<String>,
}

/// One scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ScenarioReport {
    /// Its name.
    pub name: String,
    /// What it is.
    pub title: String,
    /// What was measured.
    pub figures: Figures,
    /// Each contestant.
    pub rows: Vec<Row>,
    /// Who was left out, and why.
    pub left_out: Vec<String>,
}

/// One contestant of a scenario; values over all rounds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    /// Who.
    pub contestant: String,
    /// Processor time a request in microseconds, user and system.
    pub cpu_us: Option<Spread>,
    /// Of it, in user space.
    pub user_us: Option<Spread>,
    /// Of it, in the kernel.
    pub system_us: Option<Spread>,
    /// `cpu_us` over HAProxy's of the same round; where connections are idle, `kib_each` over HAProxy's, of a reload
    /// `to_effect_s`, of a cold start `first_answer_s`.
    pub ratio: Option<Spread>,
    /// Requests a second.
    pub per_second: Option<Spread>,
    /// Median of the latencies, in microseconds.
    pub p50_us: Option<Spread>,
    /// 99 of 100.
    pub p99_us: Option<Spread>,
    /// 999 of 1000.
    pub p999_us: Option<Spread>,
    /// 99 of 100 in the worst half second of each round.
    pub worst_p99_us: Option<Spread>,
    /// From the signal until another table was in force, in seconds.
    pub to_effect_s: Option<Spread>,
    /// From the start of the program until the first answer, in seconds, where that was measured.
    pub first_answer_s: Option<Spread>,
    /// The most resident memory during a reload, in MiB.
    pub peak_mib: Option<Spread>,
    /// Resident memory at the end of the window, in MiB.
    pub resident_mib: Option<Spread>,
    /// The same, what processes share counted once.
    pub proportional_mib: Option<Spread>,
    /// Memory that each connection has added, in KiB, where they are idle.
    pub kib_each: Option<Spread>,
    /// Share of requests on a resumed session, of 1.
    pub resumed_share: Option<Spread>,
    /// System calls a request, where strace could count them.
    pub system_calls: Option<f64>,
    /// From the start of the program until a request of each kind had come through, in milliseconds.
    pub cold_start_ms: u64,
    /// Requests in all windows.
    pub requests: u64,
    /// Requests without a whole answer, in all rounds.
    pub failed: u64,
    /// Requests with a wrong answer, in all rounds.
    pub wrong: u64,
    /// What the load said first.
    pub remark: Option<String>,
}

/// One contestant of a scenario, measured.
#[derive(Clone, Debug)]
pub struct Contestant {
    /// Who.
    pub kind: Kind,
    /// From start to requests.
    pub cold_start_ms: u64,
    /// Each round.
    pub rounds: Vec<Measured>,
    /// System calls a request.
    pub system_calls: Option<f64>,
}

impl ScenarioReport {
    /// Compares contestants with HAProxy, where it is among them.
    pub fn of(scenario: &Scenario, contestants: &[Contestant], left_out: Vec<String>) -> Self {
        let haproxy = contestants.iter().find(|contestant| contestant.kind == Kind::Haproxy);
        let haproxy = haproxy.map_or(&[][..], |haproxy| &haproxy.rounds);
        let rows = contestants.iter().map(|contestant| row(scenario, contestant, haproxy)).collect();
        Self {
            name: scenario.name.to_owned(),
            title: scenario.words(),
            figures: scenario.figures(),
            rows,
            left_out,
        }
    }

    /// Requests that should not have failed or been wrong. Who ends kept connections to read another table loses what
    /// crosses with that: of other proxies a figure, of cellgate a fault.
    fn bad(&self) -> u64 {
        let failed = |row: &Row| match self.figures {
            Figures::Reload if row.contestant != Kind::Cellgate.as_str() => 0,
            _ => row.failed,
        };
        self.rows.iter().map(|row| failed(row) + row.wrong).sum()
    }
}

fn row(scenario: &Scenario, contestant: &Contestant, haproxy: &[Measured]) -> Row {
    let rounds = &contestant.rounds;
    let spread = |value: fn(&Measured) -> Option<f64>| Spread::of(rounds.iter().filter_map(value));
    let sum = |value: fn(&Measured) -> u64| rounds.iter().map(value).sum();
    let latency = |value: fn(&Latency) -> u64| {
        let counted = rounds.iter().map(|round| &round.latency).filter(|latency| latency.count > 0);
        Spread::of(counted.map(|latency| value(latency) as f64))
    };
    let idle = scenario.figures() == Figures::Idle;
    let compared: fn(&Measured) -> Option<f64> = match scenario.figures() {
        Figures::Requests => Measured::cpu_us,
        Figures::Idle => Measured::kib_each,
        Figures::Reload => Measured::to_effect_s,
        Figures::ColdStart => Measured::first_answer_s,
    };
    Row {
        contestant: contestant.kind.to_string(),
        cpu_us: spread(Measured::cpu_us),
        user_us: spread(Measured::user_us),
        system_us: spread(Measured::system_us),
        ratio: ratios(rounds, haproxy, compared),
        per_second: spread(Measured::per_second),
        p50_us: latency(|latency| latency.p50_us),
        p99_us: latency(|latency| latency.p99_us),
        p999_us: latency(|latency| latency.p999_us),
        worst_p99_us: spread(|round| round.worst_p99_us.map(|us| us as f64)),
        to_effect_s: spread(Measured::to_effect_s),
        first_answer_s: spread(Measured::first_answer_s),
        peak_mib: spread(|round| round.peak.map(|peak| peak as f64 / MIB)),
        resident_mib: spread(|round| Some(round.after.resident as f64 / MIB)),
        proportional_mib: spread(|round| Some(round.after.proportional as f64 / MIB)),
        kib_each: idle.then(|| spread(Measured::kib_each)).flatten(),
        resumed_share: spread(Measured::resumed_share),
        system_calls: contestant.system_calls,
        cold_start_ms: contestant.cold_start_ms,
        requests: sum(|round| round.requests),
        failed: sum(|round| round.failed),
        wrong: sum(|round| round.wrong),
        remark: rounds.iter().find_map(|round| round.remark.clone()),
    }
}

const MIB: f64 = 1_048_576.0;

impl Report {
    /// Requests that should not have failed or been wrong, of all contestants and scenarios.
    pub fn bad(&self) -> u64 {
        self.scenarios.iter().map(ScenarioReport::bad).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        writeln!(f, "{}", machine.date)?;
        writeln!(f, "{} x {}, Linux {}", machine.processors, machine.processor, machine.kernel)?;
        writeln!(f, "{}", machine.versions.join("; "))?;
        let apart = match machine.pinned {
            true => "contestants on a processor of their own, load and cells on another",
            false => "contestants, load and cells share all processors: compare nothing but errors",
        };
        writeln!(
            f,
            "{} accounts in {} cells, {} rounds of {} s, {apart}",
            self.accounts, self.cells, self.rounds, self.seconds
        )?;
        self.scenarios.iter().try_for_each(|scenario| write!(f, "\n{scenario}"))
    }
}

impl fmt::Display for ScenarioReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "### {}: {}\n", self.name, self.title)?;
        let (head, line): (&str, fn(&Row) -> String) = match self.figures {
            Figures::Requests => (HEAD, line),
            Figures::Idle => (IDLE_HEAD, idle_line),
            Figures::Reload => (RELOAD_HEAD, reload_line),
            Figures::ColdStart => (COLD_START_HEAD, cold_start_line),
        };
        f.write_str(head)?;
        for row in &self.rows {
            f.write_str(&line(row))?;
        }
        if !self.left_out.is_empty() {
            writeln!(f, "\nLeft out: {}", self.left_out.join("; "))?;
        }
        for row in &self.rows {
            if let Some(remark) = &row.remark {
                writeln!(f, "\n{}: {remark}", row.contestant)?;
            }
        }
        Ok(())
    }
}

/// Columns as docs/performance.md explains them.
const HEAD: &str = "\
| contestant | CPU us a request | user | system | of HAProxy's | requests/s | p50 us | p99 us | p99.9 us | RSS MiB | PSS MiB | resumed | system calls | failed, wrong |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

const IDLE_HEAD: &str = "\
| contestant | connections | KiB each | of HAProxy's | RSS MiB | PSS MiB | failed, wrong |
|---|---|---|---|---|---|---|
";

const RELOAD_HEAD: &str = "\
| contestant | to effect s | of HAProxy's | worst 0.5 s p99 us | p99 us | CPU us a request | peak RSS MiB | RSS MiB | PSS MiB | requests | failed, wrong |
|---|---|---|---|---|---|---|---|---|---|---|
";

const COLD_START_HEAD: &str = "\
| contestant | first answer s | of HAProxy's | RSS MiB | PSS MiB |
|---|---|---|---|---|
";

fn line(row: &Row) -> String {
    let mut text = format!("| {} ", row.contestant);
    cell(&mut text, median(row.cpu_us, 1));
    cell(&mut text, median(row.user_us, 1));
    cell(&mut text, median(row.system_us, 1));
    cell(&mut text, whole(row.ratio));
    for value in [row.per_second, row.p50_us, row.p99_us, row.p999_us, row.resident_mib, row.proportional_mib]
    {
        cell(&mut text, median(value, 0));
    }
    cell(&mut text, median(row.resumed_share.filter(|share| share.most > 0.0), 2));
    cell(&mut text, row.system_calls.map_or_else(|| NOTHING.to_owned(), |calls| format!("{calls:.1}")));
    cell(&mut text, format!("{}, {}", row.failed, row.wrong));
    text + "|\n"
}

fn idle_line(row: &Row) -> String {
    let mut text = format!("| {} ", row.contestant);
    cell(&mut text, row.requests.to_string());
    cell(&mut text, median(row.kib_each, 1));
    cell(&mut text, whole(row.ratio));
    cell(&mut text, median(row.resident_mib, 0));
    cell(&mut text, median(row.proportional_mib, 0));
    cell(&mut text, format!("{}, {}", row.failed, row.wrong));
    text + "|\n"
}

fn reload_line(row: &Row) -> String {
    let mut text = format!("| {} ", row.contestant);
    cell(&mut text, whole(row.to_effect_s));
    cell(&mut text, whole(row.ratio));
    cell(&mut text, median(row.worst_p99_us, 0));
    cell(&mut text, median(row.p99_us, 0));
    cell(&mut text, median(row.cpu_us, 1));
    for value in [row.peak_mib, row.resident_mib, row.proportional_mib] {
        cell(&mut text, median(value, 0));
    }
    cell(&mut text, row.requests.to_string());
    cell(&mut text, format!("{}, {}", row.failed, row.wrong));
    text + "|\n"
}

fn cold_start_line(row: &Row) -> String {
    let mut text = format!("| {} ", row.contestant);
    cell(&mut text, whole(row.first_answer_s));
    cell(&mut text, whole(row.ratio));
    cell(&mut text, median(row.resident_mib, 0));
    cell(&mut text, median(row.proportional_mib, 0));
    text + "|\n"
}

/// Where there is no value.
const NOTHING: &str = "-";

fn cell(text: &mut String, value: String) {
    // Writing to a String cannot fail.
    let _ = write!(text, "| {value} ");
}

fn median(value: Option<Spread>, digits: usize) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |value| format!("{:.digits$}", value.median))
}

fn whole(value: Option<Spread>) -> String {
    let told = |value: Spread| format!("{:.2} ({:.2} to {:.2})", value.median, value.least, value.most);
    value.map_or_else(|| NOTHING.to_owned(), told)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::usage::{Memory, Used};

    fn contestant(kind: Kind, cpu_us: u64) -> Contestant {
        let measured = Measured {
            requests: 10,
            elapsed: Duration::from_secs(1),
            used: Used { user: Duration::from_micros(10 * cpu_us), system: Duration::ZERO },
            ..Measured::default()
        };
        Contestant { kind, cold_start_ms: 5, rounds: vec![measured.clone(), measured], system_calls: None }
    }

    #[test]
    fn each_contestant_is_compared_with_haproxy_and_every_line_has_every_column() {
        let all = [contestant(Kind::Haproxy, 20), contestant(Kind::Cellgate, 13)];
        let report = ScenarioReport::of(&Scenario::ALL[0], &all, vec!["envoy: not installed".to_owned()]);
        assert_eq!(report.rows[1].ratio.unwrap().median, 0.65);
        let text = report.to_string();
        assert_eq!(columns(&text), vec![columns(&text)[0]; 4], "{text}");
        assert!(text.contains("| cellgate | 13.0 | 13.0 | 0.0 | 0.65 (0.65 to 0.65) | 10 |"), "{text}");
        assert!(text.contains("Left out: envoy: not installed"), "{text}");
    }

    fn scenario(name: &str) -> Scenario {
        name.parse().unwrap()
    }

    fn columns(text: &str) -> Vec<usize> {
        text.lines().filter(|line| line.starts_with('|')).map(|line| line.matches('|').count()).collect()
    }

    #[test]
    fn a_reload_is_told_by_when_it_is_in_force_and_what_that_did_to_others() {
        let reloaded = |kind, ms, worst, failed| {
            let mut reloaded = contestant(kind, 50);
            for round in &mut reloaded.rounds {
                round.to_effect = Some(Duration::from_millis(ms));
                round.worst_p99_us = Some(worst);
                round.peak = Some(150 << 20);
                round.failed = failed;
            }
            reloaded
        };
        let all = [reloaded(Kind::Haproxy, 1_200, 13_000, 2), reloaded(Kind::Cellgate, 300, 5_000, 0)];
        let report = ScenarioReport::of(&scenario("reload"), &all, Vec::new());
        let text = report.to_string();
        assert_eq!(columns(&text), vec![columns(&text)[0]; 4], "{text}");
        let line = "| cellgate | 0.30 (0.30 to 0.30) | 0.25 (0.25 to 0.25) | 5000 | - | 50.0 | 150 | 0 | 0 | 20 | 0, 0 |";
        assert!(text.contains(line), "{text}");
        // What HAProxy loses is what is to be seen; what cellgate loses, and what anybody answers wrongly, is a fault.
        let bad = |rows: &[Contestant]| ScenarioReport::of(&scenario("reload"), rows, Vec::new()).bad();
        assert_eq!((report.bad(), bad(&[reloaded(Kind::Cellgate, 300, 5_000, 2)])), (0, 4));
        let mut wrong = reloaded(Kind::Nginx, 1_300, 5_000, 3);
        wrong.rounds[1].wrong = 1;
        assert_eq!(bad(&[wrong]), 1);
    }

    #[test]
    fn a_cold_start_is_told_by_its_first_answer_and_has_no_requests() {
        let started = |kind, ms| {
            let memory = Memory { resident: 80 << 20, proportional: 78 << 20 };
            let first_answer = Some(Duration::from_millis(ms));
            let measured = Measured { first_answer, after: memory, ..Measured::default() };
            Contestant { kind, cold_start_ms: 0, rounds: vec![measured], system_calls: None }
        };
        let all = [started(Kind::Haproxy, 1_000), started(Kind::Cellgate, 400)];
        let report = ScenarioReport::of(&scenario("cold-start"), &all, Vec::new());
        let text = report.to_string();
        assert_eq!(columns(&text), vec![columns(&text)[0]; 4], "{text}");
        assert!(
            text.contains("| cellgate | 0.40 (0.40 to 0.40) | 0.40 (0.40 to 0.40) | 80 | 78 |"),
            "{text}"
        );
        let row = &report.rows[1];
        assert_eq!([row.cpu_us, row.p50_us, row.p99_us, row.worst_p99_us, row.per_second], [None; 5]);
    }

    #[test]
    fn without_haproxy_there_is_no_ratio_and_all_else_stands() {
        let report = ScenarioReport::of(&Scenario::ALL[0], &[contestant(Kind::Nginx, 15)], Vec::new());
        assert_eq!(report.rows[0].ratio, None);
        assert!(report.to_string().contains("| nginx | 15.0 | 15.0 | 0.0 | - | 10 |"), "{report}");
    }

    #[test]
    fn json_says_what_the_table_says() {
        let scenarios =
            vec![ScenarioReport::of(&Scenario::ALL[0], &[contestant(Kind::Nginx, 15)], Vec::new())];
        let report = Report { accounts: 100, rounds: 2, scenarios, ..Report::default() };
        let text = serde_json::to_string(&report).unwrap();
        let read: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(read.to_string(), report.to_string());
    }

    #[test]
    fn what_failed_or_was_wrong_is_counted_over_all() {
        let mut bad = contestant(Kind::Cellgate, 13);
        bad.rounds[0].failed = 2;
        bad.rounds[1].wrong = 1;
        let scenarios = vec![ScenarioReport::of(&Scenario::ALL[0], &[bad], Vec::new())];
        assert_eq!(Report { scenarios, ..Report::default() }.bad(), 3);
    }
}
