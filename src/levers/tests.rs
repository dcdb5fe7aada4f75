//! The keeper in a folder of its own, with times that are passed.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::mpsc;

use super::*;
use crate::policy::protection::levers::Refused;
use crate::telemetry::fixture;
use crate::telemetry::metrics::Metrics;
use crate::trail::{Event, FILE_NAME, Line, Record};

const NOW: i64 = 1_795_132_800;

struct Desk {
    dir: tempfile::TempDir,
    board: Arc<LeverBoard>,
    journal: Journal,
    state: Arc<Ownership>,
    readiness: Arc<Readiness>,
}

impl Desk {
    fn new() -> Self {
        let (dir, readiness) = (tempfile::tempdir().unwrap(), Arc::new(Readiness::default()));
        let journal = Journal::new(dir.path(), Metrics::new().trail(), Arc::clone(&readiness));
        Self { dir, board: Arc::default(), journal, state: Arc::default(), readiness }
    }

    fn keeper(&self, now: i64) -> Keeper {
        let live: Serving = Arc::new(|| fixture::snapshot(1));
        Keeper::begin(
            Arc::clone(&self.board),
            self.journal.clone(),
            (Arc::clone(&self.state), self.path().to_owned()),
            live,
            Arc::clone(&self.readiness),
            now,
        )
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What the trail says of levers.
    fn trail(&self) -> Vec<Record> {
        let text = fs::read_to_string(self.path().join(FILE_NAME)).unwrap_or_default();
        let records = text.lines().map(|line| Line::read(line.as_bytes()).unwrap().record);
        records.filter(|record| record.event == Event::Lever).collect()
    }

    fn outcomes(&self) -> Vec<String> {
        self.trail().into_iter().filter_map(|record| record.outcome).collect()
    }

    /// What requests see.
    fn in_force(&self) -> Vec<String> {
        let levers = self.board.read();
        levers.iter().flat_map(|levers| levers.iter()).map(|pulled| pulled.lever.to_string()).collect()
    }

    /// What is told on `/readyz`.
    fn noted(&self) -> Vec<String> {
        let standing = self.readiness.reasons(SystemTime::UNIX_EPOCH);
        standing.iter().map(|one| one.reason.as_str().to_owned()).collect()
    }

    fn put_down(&self) -> usize {
        levers_file::load(self.path()).unwrap().iter().count()
    }
}

fn pull(words: &str) -> Wish {
    let lasts = Some(Duration::from_secs(60));
    Wish::Pull {
        words: words.to_owned(),
        by: Asker::new("unix:root", Some("ann")),
        reason: "us1 burns".to_owned(),
        lasts,
    }
}

fn release(id: u32) -> Wish {
    Wish::Release {
        id: LeverId(id),
        by: Asker::new("token:bob", Some("bob")),
        reason: Some("it is out".to_owned()),
    }
}

#[test]
fn a_lever_is_written_down_put_up_and_ends_by_itself_or_before() {
    let desk = Desk::new();
    let mut keeper = desk.keeper(NOW);
    keeper.answer(pull("drain cell us1"), NOW).unwrap();
    keeper.answer(pull("shed 50% cell mt"), NOW + 1).unwrap();
    keeper.answer(pull("shed 60% cell mt"), NOW + 2).unwrap();
    assert_eq!(desk.in_force(), ["drain cell us1", "shed 60% cell mt"]);
    assert_eq!((desk.noted(), desk.put_down()), (vec!["levers".to_owned()], 2));
    keeper.answer(release(3), NOW + 3).unwrap();
    assert!(matches!(keeper.answer(release(3), NOW + 3), Err(NotDone::Refused(Refused::NotPulled(_)))));
    keeper.look(NOW + 59);
    assert_eq!(desk.in_force(), ["drain cell us1"]);
    keeper.look(NOW + 60);
    assert_eq!((desk.in_force().len(), desk.noted().len(), desk.put_down()), (0, 0, 0));
    let said: Vec<_> = desk
        .trail()
        .into_iter()
        .map(|record| {
            let [trigger, outcome, why, changes] =
                [record.trigger, record.outcome, record.why, record.changes].map(Option::unwrap);
            let caller = record.caller.unwrap();
            format!("{trigger} {outcome} {caller} {:?} {why}: {changes}", record.who)
        })
        .collect();
    assert_eq!(
        said,
        [
            r#"admin pulled unix:root ["ann"] us1 burns: lever 1 (drain cell us1) until 2026-11-20T00:01:00Z"#,
            r#"admin pulled unix:root ["ann"] us1 burns: lever 2 (shed 50% cell mt) until 2026-11-20T00:01:01Z"#,
            r#"admin pulled unix:root ["ann"] us1 burns: lever 3 (shed 60% cell mt) until 2026-11-20T00:01:02Z, in place of lever 2 (shed 50% cell mt) until 2026-11-20T00:01:01Z"#,
            r#"admin released token:bob ["bob"] it is out: lever 3 (shed 60% cell mt) until 2026-11-20T00:01:02Z"#,
            r#"time over unix:root ["ann"] us1 burns: lever 1 (drain cell us1) until 2026-11-20T00:01:00Z"#,
        ]
    );
}

#[test]
fn what_cannot_be_written_down_is_not_in_force_and_what_is_over_ends_all_the_same() {
    let desk = Desk::new();
    let mut keeper = desk.keeper(NOW);
    keeper.answer(pull("drain cell us1"), NOW).unwrap();
    // The trail does not take a line.
    fs::rename(desk.path().join(FILE_NAME), desk.path().join("aside")).unwrap();
    fs::create_dir(desk.path().join(FILE_NAME)).unwrap();
    for wish in [pull("drain cell mt"), release(1)] {
        let error = keeper.answer(wish, NOW + 1).unwrap_err();
        assert!(matches!(&error, NotDone::Unwritten(what) if what.contains(FILE_NAME)), "{error}");
    }
    assert_eq!((desk.in_force(), desk.put_down()), (vec!["drain cell us1".to_owned()], 1));
    keeper.look(NOW + 60);
    assert_eq!((desk.in_force().len(), desk.put_down()), (0, 0));
}

#[test]
fn what_cannot_be_put_down_for_a_restart_is_taken_back_in_the_trail() {
    let desk = Desk::new();
    let mut keeper = desk.keeper(NOW);
    fs::create_dir(desk.path().join("levers.cellgate.part")).unwrap();
    let error = keeper.answer(pull("drain cell us1"), NOW).unwrap_err();
    assert!(error.to_string().contains("cannot be put down"), "{error}");
    assert_eq!((desk.in_force().len(), desk.outcomes()), (0, vec!["pulled".to_owned(), "failed".to_owned()]));
}

#[test]
fn levers_outlive_a_restart_and_not_their_time() {
    let desk = Desk::new();
    let mut keeper = desk.keeper(NOW);
    keeper.answer(pull("drain cell us1"), NOW).unwrap();
    keeper.answer(pull("drain cell mt"), NOW + 30).unwrap();
    drop(keeper);
    desk.board.put_up(Levers::default());
    let mut keeper = desk.keeper(NOW + 70);
    assert_eq!(desk.in_force(), ["drain cell mt"], "the other one was over meanwhile");
    assert_eq!(desk.outcomes(), ["pulled", "pulled", "over"]);
    let Ok(Done::Pulled { done, .. }) = keeper.answer(pull("hold cell us1"), NOW + 71) else {
        unreachable!("it can be pulled")
    };
    assert_eq!(done.pulled.id, LeverId(3), "numbers go on");

    // A damaged file is no lever, and that is said.
    fs::write(desk.path().join(levers_file::FILE_NAME), "cellgate-levers 1 00\n{}").unwrap();
    desk.board.put_up(Levers::default());
    let mut keeper = desk.keeper(NOW + 72);
    let last = desk.trail().pop().unwrap();
    assert_eq!((last.outcome.as_deref(), desk.in_force().len()), (Some("lost"), 0));
    assert!(last.changes.unwrap().contains("its digest does not fit its content"));
    keeper.answer(pull("drain cell us1"), NOW + 73).unwrap();
    assert_eq!(desk.put_down(), 1);
}

#[test]
fn a_predecessor_pulls_nothing_and_has_what_its_successor_has() {
    let desk = Desk::new();
    let mut keeper = desk.keeper(NOW);
    keeper.answer(pull("drain cell us1"), NOW).unwrap();
    desk.state.give_up().for_good();
    for wish in [pull("drain cell mt"), release(1)] {
        assert!(matches!(keeper.answer(wish, NOW + 1), Err(NotDone::Elsewhere)));
    }
    // The successor.
    let mut levers = levers_file::load(desk.path()).unwrap();
    levers.release(LeverId(1)).unwrap();
    let lever = Lever::parse("drain cell mt").unwrap();
    let _ = levers.pull(lever, ("ann", "mt burns"), Some(Duration::from_secs(5)), NOW + 2).unwrap();
    levers_file::save(desk.path(), &levers).unwrap();
    keeper.look(NOW + 3);
    assert_eq!(desk.in_force(), ["drain cell mt"]);
    keeper.look(NOW + 7);
    assert_eq!((desk.in_force().len(), desk.outcomes()), (0, vec!["pulled".to_owned()]), "it writes nothing");
    assert_eq!(desk.put_down(), 1);
}

#[test]
fn a_lever_waits_for_nobody_who_writes_a_million_accounts() {
    let desk = Desk::new();
    let mut keeper = desk.keeper(NOW);
    let (began, begin) = mpsc::sync_channel(1);
    let (done, end) = mpsc::sync_channel::<()>(1);
    std::thread::scope(|scope| {
        // As a reload keeps what serves for later starts.
        let state = Arc::clone(&desk.state);
        scope.spawn(move || {
            state.write(|| {
                began.send(()).unwrap();
                // Whoever waits for this to end would wait for ever.
                end.recv_timeout(Duration::from_secs(30)).unwrap();
            })
        });
        // Dropped where something fails, so that the writer ends.
        let done = done;
        begin.recv().unwrap();
        keeper.answer(pull("drain cell us1"), NOW).unwrap();
        assert_eq!(desk.in_force(), ["drain cell us1"]);
        keeper.look(NOW + 60);
        assert_eq!(desk.outcomes(), ["pulled", "over"]);
        done.send(()).unwrap();
    });
}

#[test]
fn a_lever_that_names_nothing_is_not_pulled() {
    let desk = Desk::new();
    let mut keeper = desk.keeper(NOW);
    let mut check = |words: &str, expect: &str| {
        let error = keeper.answer(pull(words), NOW).map(drop).unwrap_err().to_string();
        assert_eq!(error, expect, "{words}");
    };
    for words in [
        "drain cell us9",
        "drain group us9 local",
        "cap cell us9 rps 5",
        "ramp set cell us9 rps 5",
        "hold cell us9",
        "shed 5% cell us9",
        "policy set limit off cell us9",
        &format!("operators permits 5 pass {} cell us9", "ab".repeat(32)),
    ] {
        check(words, "there is no cell us9; expected one of: us1, mt");
    }
    let zone = fixture::snapshot(1).cells[0].groups[0].zone.to_string();
    for words in ["drain zone moon", "evacuate zone moon", "drain group us1 moon"] {
        check(words, &format!("there is no zone moon; expected one of: {zone}"));
    }
    check("shed 5% client wget", "there is no client family wget; expected one of: airflow, curl");
    check(
        "shed 5% class polls",
        "there is no endpoint class polls; expected one of: none, for there is none",
    );
    let address = fixture::snapshot(1).cells[1].groups[0].endpoints[0].address.to_string();
    check(
        "drain endpoint us1.internal:80",
        &format!("there is no endpoint us1.internal:80; expected one of: us1.internal:443, {address}"),
    );
    check(
        "drain",
        "these are no words of a lever: it ends here; expected what is drained: endpoint, group, zone, cell",
    );
    for words in ["drain endpoint US1.internal:443", "shed 5% client curl", &format!("evacuate zone {zone}")]
    {
        assert!(keeper.answer(pull(words), NOW).is_ok(), "{words}");
    }
    assert_eq!(desk.outcomes().len(), 3, "nothing else is in the trail");
}

#[test]
fn it_is_said_which_cells_a_lever_leaves_without_an_endpoint() {
    let desk = Desk::new();
    let mut keeper = desk.keeper(NOW);
    let mut check = |words: &str, expect: &[&str]| match keeper.answer(pull(words), NOW).unwrap() {
        Done::Pulled { bare, .. } => assert_eq!(bare, expect, "{words}"),
        done @ Done::Released(_) => unreachable!("{done:?}"),
    };
    let zone = fixture::snapshot(1).cells[0].groups[0].zone.to_string();
    check("cap cell us1 rps 5", &[]);
    check("drain endpoint us1.internal:443", &["us1"]);
    check("drain cell us1", &[]);
    check(&format!("evacuate zone {zone}"), &["mt"]);
}

#[test]
fn the_thread_answers_and_ends() {
    let desk = Desk::new();
    let (handle, inbox) = handle::handles(Arc::clone(&desk.board));
    let thread = desk.keeper(unix_seconds(SystemTime::now())).start(handle.clone(), inbox).unwrap();
    let answer = handle.ask(pull("drain cell us1")).unwrap().blocking_recv().unwrap();
    assert!(answer.is_ok() && handle.pulled().iter().count() == 1);
    drop(thread);
    assert!(handle.ask(pull("drain cell us1")).is_none(), "nobody would answer");
}
