//! What was judged of cells, in the state folder: a restart goes on with a ramp where it was. Best effort: a file that
//! is damaged or old costs a ramp that begins anew, and nothing that is wrong.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::policy::ids::Label;
use crate::policy::protection::concurrency::SavedLimit;
use crate::policy::protection::failover::SavedGroup;
use crate::policy::protection::health;
use crate::policy::protection::judge::{Saved, SavedCell};
use crate::policy::protection::ramp::{self, Phase};
use crate::policy::protection::verdict::baseline::Usual;
use crate::policy::protection::verdict::endpoint::SavedEndpoint;
use crate::policy::protection::verdict::signals::Place;
use crate::state_file;

/// Name of the file in the state folder.
pub const FILE_NAME: &str = "standing.cellgate";

/// First word of the file; the number is the version of the format.
const MAGIC: &str = "cellgate-standing 1";

/// Largest file that is read back: 1,000 cells with as many endpoints as the detector remembers, at 500 bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

const PHASES: [Phase; 4] = [Phase::Down, Phase::Probing, Phase::Ramping, Phase::Full];

#[derive(Serialize, Deserialize)]
struct Table {
    cells: Vec<CellRow>,
    usual: Vec<UsualRow>,
    #[serde(default)]
    would_act_secs: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct CellRow {
    cell: String,
    at_secs: u64,
    phase: String,
    lifted: bool,
    rate: f64,
    learned: Option<f64>,
    limit: f64,
    usual_us: Option<u64>,
    usual_p95_us: Option<u64>,
    good_rate: f64,
    groups: Vec<(String, [f64; 3])>,
    #[serde(default)]
    group_limits: Vec<(String, f64, Option<u64>)>,
    endpoints: Vec<EndpointRow>,
    #[serde(default)]
    would_act_secs: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct EndpointRow {
    key: String,
    state: String,
    times: u32,
    left_secs: u64,
    unix_secs: u64,
}

#[derive(Serialize, Deserialize)]
struct UsualRow {
    cell: String,
    zone: Option<String>,
    endpoint: String,
    /// Mean, deviation, wander, and of how many.
    times: [(f64, f64, f64, u32); 5],
    shares: [f64; 3],
}

/// What was put down. Without the file, or where it is not believed, nothing; then `told` is why.
pub fn load(state_dir: &Path) -> (Saved, Option<String>) {
    match read(state_dir) {
        Ok(saved) => (saved, None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Saved::default(), None),
        Err(error) => (Saved::default(), Some(error.to_string())),
    }
}

fn read(state_dir: &Path) -> io::Result<Saved> {
    let mut bytes = Vec::new();
    File::open(state_dir.join(FILE_NAME))?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    let rest = state_file::unsealed(MAGIC, &bytes).map_err(io::Error::other)?;
    let Table { cells, usual, would_act_secs } = serde_json::from_slice(rest).map_err(io::Error::other)?;
    // A row that makes no sense is a row less.
    let (cells, usual) = (cells.into_iter().filter_map(cell), usual.into_iter().filter_map(endpoint));
    let would_act = would_act_secs.map(Duration::from_secs);
    Ok(Saved { cells: cells.collect(), usual: usual.collect(), would_act })
}

/// Puts it down.
///
/// # Errors
/// The state folder cannot be written; what was there before is still there.
pub fn save(state_dir: &Path, saved: &Saved) -> io::Result<()> {
    let table = Table {
        cells: saved.cells.iter().map(cell_row).collect(),
        usual: saved.usual.iter().map(usual_row).collect(),
        would_act_secs: saved.would_act.map(|acted| acted.as_secs()),
    };
    // What is not finite has no JSON: a number that nobody could have gone on with.
    let text = serde_json::to_vec(&table).map_err(io::Error::other)?;
    state_file::replace(state_dir, FILE_NAME, &state_file::sealed(MAGIC, &text))
}

fn cell_row(saved: &SavedCell) -> CellRow {
    let SavedCell { cell, ramp, limit, usual_p95, good_rate, groups, group_limits, endpoints, would_act } =
        saved;
    let micros = |time: &Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    CellRow {
        cell: cell.to_string(),
        at_secs: ramp.at_secs,
        phase: ramp.phase.as_str().into(),
        lifted: ramp.lifted,
        rate: ramp.rate,
        learned: ramp.learned,
        limit: limit.limit,
        usual_us: limit.usual.as_ref().map(micros),
        usual_p95_us: usual_p95.as_ref().map(micros),
        good_rate: *good_rate,
        groups: groups
            .iter()
            .map(|(zone, saved)| (zone.to_string(), [saved.healthy, saved.back, saved.allowed]))
            .collect(),
        group_limits: group_limits
            .iter()
            .map(|(zone, saved)| (zone.to_string(), saved.limit, saved.usual.as_ref().map(micros)))
            .collect(),
        endpoints: endpoints
            .iter()
            .map(|(key, saved)| EndpointRow {
                key: key.to_string(),
                state: saved.state.as_str().into(),
                times: saved.times,
                left_secs: saved.left_secs,
                unix_secs: saved.unix_secs,
            })
            .collect(),
        would_act_secs: would_act.map(|acted| acted.as_secs()),
    }
}

fn cell(row: CellRow) -> Option<SavedCell> {
    let phase = PHASES.into_iter().find(|phase| phase.as_str() == row.phase)?;
    let group = |(zone, [healthy, back, allowed]): (String, [f64; 3])| {
        Some((Label::parse(&zone).ok()?, SavedGroup { healthy, back, allowed }))
    };
    let limit = |(zone, limit, usual_us): (String, f64, Option<u64>)| {
        Some((Label::parse(&zone).ok()?, SavedLimit { limit, usual: usual_us.map(Duration::from_micros) }))
    };
    let endpoint = |row: EndpointRow| {
        let EndpointRow { key, times, left_secs, unix_secs, .. } = row;
        let state = health::State::parse(&row.state)?;
        Some((key.into(), health::Saved { state, times, left_secs, unix_secs }))
    };
    Some(SavedCell {
        cell: Label::parse(&row.cell).ok()?,
        ramp: ramp::Saved {
            at_secs: row.at_secs,
            phase,
            lifted: row.lifted,
            rate: row.rate,
            learned: row.learned,
            pin: None,
        },
        limit: SavedLimit { limit: row.limit, usual: row.usual_us.map(Duration::from_micros) },
        usual_p95: row.usual_p95_us.map(Duration::from_micros),
        good_rate: row.good_rate,
        groups: row.groups.into_iter().filter_map(group).collect(),
        group_limits: row.group_limits.into_iter().filter_map(limit).collect(),
        endpoints: row.endpoints.into_iter().filter_map(endpoint).collect(),
        would_act: row.would_act_secs.map(Duration::from_secs),
    })
}

fn usual_row(saved: &SavedEndpoint) -> UsualRow {
    let SavedEndpoint { place, times, shares } = saved;
    UsualRow {
        cell: place.cell.to_string(),
        zone: place.zone.as_ref().map(ToString::to_string),
        endpoint: place.endpoint.to_string(),
        times: times.map(|Usual { mean, deviation, wander, samples }| (mean, deviation, wander, samples)),
        shares: *shares,
    }
}

fn endpoint(row: UsualRow) -> Option<SavedEndpoint> {
    let zone = row.zone.map(|zone| Label::parse(&zone)).transpose().ok()?;
    let place = Place { cell: Label::parse(&row.cell).ok()?, zone, endpoint: row.endpoint.into() };
    let usual = |(mean, deviation, wander, samples)| Usual { mean, deviation, wander, samples };
    Some(SavedEndpoint { place, times: row.times.map(usual), shares: row.shares })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    fn label(text: &str) -> Label {
        Label::parse(text).unwrap()
    }

    fn saved() -> Saved {
        let ramp = ramp::Saved {
            at_secs: 7,
            phase: Phase::Ramping,
            lifted: false,
            rate: 12.5,
            learned: Some(99.0),
            pin: None,
        };
        let health = health::Saved { state: health::State::Ejected, times: 3, left_secs: 17, unix_secs: 7 };
        let usual = Usual { mean: -3.5, deviation: 0.1, wander: 0.2, samples: 50 };
        let place = Place { cell: label("us1"), zone: Some(label("a")), endpoint: "127.0.0.1:1".into() };
        Saved {
            cells: vec![SavedCell {
                cell: label("us1"),
                ramp,
                limit: SavedLimit { limit: 17.25, usual: Some(Duration::from_micros(1_500)) },
                usual_p95: Some(Duration::from_millis(80)),
                good_rate: 70.5,
                groups: vec![(label("a"), SavedGroup { healthy: 0.5, back: 1.0, allowed: 3.25 })],
                group_limits: vec![(label("a"), SavedLimit { limit: 8.5, usual: None })],
                endpoints: vec![("us1|127.0.0.1:1".into(), health)],
                would_act: Some(Duration::from_secs(75)),
            }],
            usual: vec![SavedEndpoint { place, times: [usual; 5], shares: [0.0, 0.25, 0.5] }],
            would_act: Some(Duration::from_secs(61)),
        }
    }

    #[test]
    fn what_was_put_down_is_read_back_and_a_changed_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), (Saved::default(), None));
        save(dir.path(), &saved()).unwrap();
        assert_eq!(load(dir.path()), (saved(), None));
        let path = dir.path().join(FILE_NAME);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            let (read, told) = load(dir.path());
            assert!(read == Saved::default() && told.is_some(), "byte {at}");
        }
    }
}
