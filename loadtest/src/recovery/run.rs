//! One arm from normal times through the outage to the end of what is watched.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::curve::{Curve, Plan, Recorded};
use super::herd::{self, HerdRules};
use super::model::ModelRules;
use super::peer::{Arm, PeerError, RunningPeer, Site};
use super::workers::Workers;
use crate::cell::{Behaviour, CellError, CellOptions, RunningCell};

/// What all arms have in common.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// How long each part is.
    pub plan: Plan,
    /// What the cell can do, and how it breaks.
    pub model: ModelRules,
    /// Who comes.
    pub herd: HerdRules,
    /// The same seed brings the same clients at the same moments, and the cell takes the same times.
    pub seed: u64,
    /// The program of cellgate.
    pub cellgate: PathBuf,
}

impl Scenario {
    /// A cell that is declared with so many requests a second and bears 12 % more, for declarations are careful; new
    /// clients ask for 70 % of what is declared. It is down for 36 s, after which ten times the demand asks: the fifth of
    /// the clients who repeat every second (0.2 * 36 times the demand), those of the others who were told to come back
    /// after ten seconds (0.8 * 26 / 10 times), and who comes for the first time.
    pub fn of(declared_rps: u32, cellgate: PathBuf) -> Self {
        let declared = f64::from(declared_rps);
        let plan = Plan {
            demand_rps: 0.7 * declared,
            declared_rps: declared,
            before: Duration::from_secs(10),
            outage: Duration::from_secs(36),
            after: Duration::from_secs(150),
        };
        Self {
            herd: HerdRules::of(plan.demand_rps),
            plan,
            model: ModelRules::of(1.12 * declared),
            seed: 1,
            cellgate,
        }
    }

    /// Where one arm runs.
    pub fn site(&self, folder: PathBuf, cell: &RunningCell) -> Site {
        Site {
            folder,
            cell: cell.addr(),
            declared_rps: self.plan.declared_rps as u32,
            cellgate: self.cellgate.clone(),
        }
    }

    /// A cell with workers, as all arms have it.
    pub async fn cell(&self) -> Result<(RunningCell, Workers), CellError> {
        let workers = Workers::start(self.model.clone(), self.seed);
        let options = CellOptions { workers: Some(workers.clone()), ..CellOptions::named("cell") };
        Ok((RunningCell::start(options).await?, workers))
    }

    /// Runs one arm to its end, in a folder of its own.
    pub async fn run(&self, arm: Arm, folder: PathBuf) -> Result<Recorded, RunError> {
        let (cell, workers) = self.cell().await?;
        let peer = RunningPeer::start(arm, &self.site(folder, &cell)).await?;
        let curve = Arc::new(Curve::begin());
        let started = curve.started();
        let end = started + self.plan.total();
        let crowd = tokio::spawn({
            let (rules, edge, seed, curve) = (self.herd.clone(), peer.address, self.seed, curve.clone());
            async move { herd::run(rules, edge, seed, &curve, end).await }
        });
        let looking = tokio::spawn({
            let (workers, curve) = (workers.clone(), curve.clone());
            async move {
                while tokio::time::timeout_at(end, tokio::time::sleep(LOOK_EVERY)).await.is_ok() {
                    curve.waiting(workers.waiting());
                }
            }
        });
        tokio::time::sleep_until(started + self.plan.before).await;
        cell.behave(Behaviour::Killed).await?;
        workers.restart();
        tokio::time::sleep_until(started + self.plan.back()).await;
        // Its caches are cold from the moment that it listens.
        workers.restart();
        cell.behave(Behaviour::Normal).await?;
        // Neither of them panics: they count, and are over at the end.
        let _ = tokio::join!(crowd, looking);
        let seen = workers.seen();
        peer.stop().await;
        cell.stop().await;
        let curve = Arc::into_inner(curve).expect("the tasks that shared the curve are over");
        Ok(curve.finish(&self.plan, seen, workers.started()))
    }
}

/// How often the queue of the cell is looked at; the last look of a second is what the curve shows.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why an arm has no curve.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The cell did not start.
    #[error(transparent)]
    Cell(#[from] CellError),
    /// The proxy did not start.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The cell did not go down or come back.
    #[error("switching the cell")]
    Switch(#[from] std::io::Error),
}
