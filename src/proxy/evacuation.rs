//! What is open for long in a zone that is evacuated, and when each of it is told to go. One task reads the levers; those
//! who wait, perhaps a hundred thousand tunnels, have a timer only once they must go.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::policy::ids::Label;
use crate::policy::protection::levers::Lever;
use crate::policy::protection::levers::board::LeverBoard;

/// How often the levers are read.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Over so long those of a zone are told: 10,000 of them come back at a thousand a second, which is what one process
/// makes of new connections without being noticed.
const SPREAD: Duration = Duration::from_secs(10);

/// The zones that are evacuated.
#[derive(Debug, Default)]
pub(super) struct Evacuation {
    zones: watch::Sender<Vec<Label>>,
}

impl Evacuation {
    /// Tells those who wait what is pulled, as long as the process lives.
    pub(super) async fn follow(&self, board: &LeverBoard) {
        let mut turns = tokio::time::interval(LOOK_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let zones = evacuated(board);
            self.zones.send_if_modified(|before| {
                let differs = *before != zones;
                *before = zones;
                differs
            });
        }
    }

    /// Returns when something in this zone should go; `share`, from 0 to 1, is its place among the others. Where the
    /// lever ends before its turn, it stays.
    pub(super) fn leave(
        &self,
        board: &Arc<LeverBoard>,
        zone: &Label,
        share: f32,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (mut zones, board, zone) = (self.zones.subscribe(), Arc::clone(board), zone.clone());
        async move {
            loop {
                if zones.wait_for(|zones| zones.contains(&zone)).await.is_err() {
                    // Nobody will say so any more.
                    pending::<()>().await;
                }
                tokio::time::sleep(SPREAD.mul_f32(share.clamp(0.0, 1.0))).await;
                if let Some(levers) = board.read()
                    && let Some(by) = levers.evacuated(zone.as_str())
                {
                    levers.touch(by);
                    return;
                }
                // Until the task has seen that, too.
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}

fn evacuated(board: &LeverBoard) -> Vec<Label> {
    let levers = board.read();
    let zone = |lever: &Lever| match lever {
        Lever::Evacuate { zone } => Some(zone.clone()),
        _ => None,
    };
    levers.iter().flat_map(|levers| levers.iter()).filter_map(|pulled| zone(&pulled.lever)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::policy::protection::levers::{LeverId, Levers};

    /// A board with this lever, or none.
    fn put_up(board: &LeverBoard, words: Option<&str>) {
        let mut levers = Levers::default();
        if let Some(words) = words {
            let _ = levers.pull(Lever::parse(words).unwrap(), ("ann", "power goes"), None, 0).unwrap();
        }
        board.put_up(levers);
    }

    #[tokio::test(start_paused = true)]
    async fn ten_thousand_go_one_after_the_other_and_those_elsewhere_stay() {
        let (board, evacuation) = (Arc::new(LeverBoard::default()), Arc::new(Evacuation::default()));
        let (followed, board_too) = (Arc::clone(&evacuation), Arc::clone(&board));
        let follow = tokio::spawn(async move { followed.follow(&board_too).await });
        let zone = |name| Label::parse(name).unwrap();
        let mut leaving = tokio::task::JoinSet::new();
        let begun = Instant::now();
        for number in 0..10_000u16 {
            let leave = evacuation.leave(&board, &zone("a"), f32::from(number) / 10_000.0);
            leaving.spawn(async move {
                leave.await;
                begun.elapsed()
            });
        }
        let elsewhere = tokio::spawn(evacuation.leave(&board, &zone("b"), 0.0));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(leaving.try_join_next().is_none(), "nobody was told");
        put_up(&board, Some("evacuate zone a"));
        let mut seconds = [0; 80];
        while let Some(left) = leaving.join_next().await {
            seconds[left.unwrap().as_secs() as usize] += 1;
        }
        // A timer's millisecond is one of them.
        assert!(seconds[60..71].iter().all(|told| *told <= 1_001), "{:?}", &seconds[60..]);
        assert_eq!(seconds[60..71].iter().sum::<i32>(), 10_000);
        assert_eq!(board.table().touched(LeverId(1)), 10_000);
        assert!(!elsewhere.is_finished());
        elsewhere.abort();
        follow.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_not_told_when_the_lever_ends_stays() {
        let (board, evacuation) = (Arc::new(LeverBoard::default()), Arc::new(Evacuation::default()));
        let (followed, board_too) = (Arc::clone(&evacuation), Arc::clone(&board));
        let follow = tokio::spawn(async move { followed.follow(&board_too).await });
        let zone = Label::parse("a").unwrap();
        let [early, late] = [0.1, 0.9].map(|share| tokio::spawn(evacuation.leave(&board, &zone, share)));
        put_up(&board, Some("evacuate zone a"));
        early.await.unwrap();
        put_up(&board, None);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!late.is_finished());
        put_up(&board, Some("evacuate zone a"));
        late.await.unwrap();
        follow.abort();
    }
}
