//! Before a request is forwarded: an operator's word, a permit or a place in the queue, or the reason why not. What it
//! may have is `policy`'s to say; here is the waiting, and the guard that gives back what it had.

mod in_group;
mod watched;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::downstream::Downstream;
use super::hang_up::hung_up;
use super::operators;
use super::request::Request;
use super::service::Service;
use crate::clock::Clock;
use crate::policy::admit::{Lent, Permit};
use crate::policy::endpoint_class::ClassOf;
use crate::policy::facts::Upgrade;
use crate::policy::guard::Mode;
use crate::policy::protection::bulkhead;
use crate::policy::protection::gate::Refused;
use crate::policy::protection::levers::{Levers, RequestOf, felt, modes};
use crate::policy::protection::modes::Modes;
use crate::policy::protection::policies::Policy;
use crate::policy::protection::priority::Priority;
use crate::policy::protection::queue::{PATIENCE, Place};
use crate::policy::protection::shed::Shed;
use crate::policy::protection::standing::{Admission, Ask, Forced, Outcome, Pass, Standing, Waiter, shed};
use crate::policy::snapshot::{Cell, Endpoint, Group, Snapshot};

pub use in_group::InGroup;
use watched::Watched;

/// What a request holds as long as it is in flight.
#[must_use = "dropping it gives the permits back"]
pub(super) struct Admitted<'a> {
    standing: &'a Standing,
    clock: Clock,
    ask: Ask,
    pass: Pass,
    /// How long it waited for its turn, where it did.
    waited: Option<Duration>,
    levers: Option<Arc<Levers>>,
    /// The last lever that took an endpoint away from it: each counts a request once. 0 where none has.
    drained_by: AtomicU32,
    /// An operator's, that nobody else can take.
    reserved: Option<Permit>,
    modes: Modes,
    watched: Watched,
    /// Of the process and of the cell.
    _permits: [Option<Lent<'a>>; 2],
}

/// Why a request is not admitted.
pub(super) enum Turned {
    /// It is refused, and told when to come again, in seconds.
    Away(Shed, u32),
    /// Nobody is left to answer.
    ClientGone,
}

/// A request that wants to go.
pub(super) struct Wanting<'a> {
    pub snapshot: &'a Snapshot,
    pub cell: &'a Cell,
    pub class: ClassOf<'a>,
    pub request: &'a Request,
    /// When it must be over.
    pub until: Option<Instant>,
}

/// Tells a task that waits.
#[derive(Debug)]
struct Signal(oneshot::Sender<Result<(), Refused>>);

impl Waiter for Signal {
    fn go(self: Box<Self>) -> bool {
        self.0.send(Ok(())).is_ok()
    }

    fn refuse(self: Box<Self>, why: Refused) {
        // Who has gone needs no answer.
        let _ = self.0.send(Err(why));
    }
}

impl Service {
    /// Admits a request to its cell, perhaps after a short wait.
    pub(super) async fn admit<'a>(
        &'a self,
        wanting: &Wanting<'a>,
        down: &mut Downstream,
    ) -> Result<Admitted<'a>, Turned> {
        let Wanting { cell, class, request, until, .. } = *wanting;
        let standing = &cell.load.standing;
        let levers = self.levers.read();
        let modes = modes(cell, levers.as_deref());
        let random = fastrand::u64(..);
        let reserved = levers.as_deref().and_then(|levers| operators::reserved(levers, cell, request, down));
        if let Some(levers) = &levers {
            let after = stopped(levers, wanting, down, reserved.is_some(), random as u32);
            let after =
                after.or_else(|| capped(levers, cell, class, reserved.is_some(), self.clock, random as u32));
            after.map_or(Ok(()), |after| Err(Turned::Away(Shed::Operator, after)))?;
        }
        let ask = Ask {
            priority: if reserved.is_some() { Priority::Critical } else { class.priority() },
            account: request.decision.account,
            long_lived: class.is_long_lived() || request.upgrade != Upgrade::None,
            left: until.map(|until| until.saturating_duration_since(Instant::now())),
            random,
        };
        let (pass, waited) = match reserved {
            Some(_) => (Pass::OPERATOR, None),
            None => self.ask(wanting, &ask, &modes, levers.as_deref(), down).await?,
        };
        let mut admitted = Admitted {
            standing,
            clock: self.clock,
            ask,
            pass,
            waited,
            levers,
            drained_by: AtomicU32::new(0),
            modes,
            watched: Watched::default(),
            reserved,
            _permits: [None, None],
        };
        match modes.of(Policy::Bulkhead) {
            Mode::Off => {}
            Mode::Observe => admitted._permits = self.watched_permits(cell, &admitted),
            Mode::Enforce => {
                admitted._permits = self.permits(cell, admitted.is_reserved(), random as u32)?;
            }
        }
        Ok(admitted)
    }

    /// Asks the cell, and perhaps waits for its answer; how long, where it did.
    async fn ask(
        &self,
        wanting: &Wanting<'_>,
        ask: &Ask,
        modes: &Modes,
        levers: Option<&Levers>,
        down: &mut Downstream,
    ) -> Result<(Pass, Option<Duration>), Turned> {
        let cell = wanting.cell;
        let standing = &cell.load.standing;
        // Made for those that wait: most go at once.
        let mut told = None;
        let admission = standing.ask(self.clock.now(), ask, modes, || {
            let (sender, receiver) = oneshot::channel();
            told = Some(receiver);
            Box::new(Signal(sender))
        });
        if let Some(levers) = levers
            && let Some(by) = felt(levers, cell, &admission)
        {
            levers.touch(by);
        }
        match admission {
            Admission::Refused(why, after) => Err(Turned::Away(why, after)),
            Admission::Go(pass) => Ok((pass, None)),
            Admission::Wait(place, pass) => {
                let begun = Instant::now();
                let mut waiting = Waiting { standing, clock: self.clock, place, pass, told };
                // Boxed: few requests wait, and none should have room for it.
                Box::pin(waiting.wait(ask.random as u32, down)).await?;
                Ok((pass, Some(begun.elapsed())))
            }
        }
    }

    /// Permits of the process and of the cell. Who holds a reserved one takes them where they are free: it is one more.
    fn permits<'a>(
        &'a self,
        cell: &'a Cell,
        is_reserved: bool,
        random: u32,
    ) -> Result<[Option<Lent<'a>>; 2], Turned> {
        let most = bulkhead::most_of_cell(self.requests.most, cell.share_percent, cell.max_in_flight);
        // The cell first: one that is full may not use up what the others have, not even for a moment.
        let of_cell = cell.load.try_lend(most);
        let away = |why| Err(Turned::Away(why, cell.load.standing.turn_away(random)));
        if of_cell.is_none() && !is_reserved {
            return away(Shed::CellFull);
        }
        let of_process = self.requests.try_lend();
        if of_process.is_none() && !is_reserved {
            return away(Shed::ProcessFull);
        }
        Ok([of_process, of_cell])
    }
}

/// Whether an operator has stopped this request, and when it may come again. One of operators passes over all but a cell
/// that is drained.
fn stopped(
    levers: &Levers,
    wanting: &Wanting<'_>,
    down: &Downstream,
    is_reserved: bool,
    random: u32,
) -> Option<u32> {
    let Wanting { snapshot, cell, class, request, .. } = *wanting;
    let name = cell.name.as_str();
    let family = || {
        let found = crate::policy::client::family(&snapshot.clients, &down.request().headers);
        found.and_then(|at| snapshot.clients.get(usize::from(at))).map(|family| &*family.name)
    };
    let asked = || RequestOf {
        cell: name,
        account: request.decision.account,
        client: if levers.asks_for_client() { family() } else { None },
        class: if levers.asks_for_class() { class.name().map(|name| name.as_str()) } else { None },
    };
    let shed = || if is_reserved { None } else { levers.refuses(&asked(), random) };
    let by = levers.drained_cell(name).or_else(shed)?;
    levers.touch(by);
    Some(cell.load.standing.turn_away(random))
}

/// Whether a cell has had as many requests as an operator lets it have, and when to come again.
fn capped(
    levers: &Levers,
    cell: &Cell,
    class: ClassOf<'_>,
    is_reserved: bool,
    clock: Clock,
    random: u32,
) -> Option<u32> {
    if is_reserved {
        return None;
    }
    // Asked only while a lever is pulled. The rate is set by the next look, a tenth of a second later at most.
    let capped = levers.cap(cell.name.as_str()).rps?;
    let after = cell.load.standing.cap.ask(clock.now(), class.priority(), random).err()?;
    levers.touch(capped.lever);
    Some(after)
}

/// A request in the queue. Dropped while it waits (its client went away), it leaves.
struct Waiting<'a> {
    standing: &'a Standing,
    clock: Clock,
    place: Place,
    pass: Pass,
    told: Option<oneshot::Receiver<Result<(), Refused>>>,
}

impl Waiting<'_> {
    async fn wait(&mut self, random: u32, down: &mut Downstream) -> Result<(), Turned> {
        let told = self.told.as_mut().expect("it is there until the wait is over");
        let answer = tokio::select! {
            biased;
            answer = &mut *told => Some(answer),
            () = hung_up(down) => return Err(Turned::ClientGone),
            () = tokio::time::sleep(PATIENCE) => None,
        };
        let away = |why| Turned::Away(shed(why), self.standing.retry_after_secs(random));
        let answer = match answer {
            Some(answer) => answer,
            None if self.standing.cancel(self.clock.now(), self.place) => Ok(Err(Refused::Waited)),
            // It was told between the two, or is told at this moment.
            None => told.await,
        };
        self.told = None;
        match answer {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(away(why)),
            Err(_) => Err(away(Refused::Waited)),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(mut told) = self.told.take() else { return };
        // From here on a permit that is offered is not taken, and goes on to the next.
        told.close();
        let now = self.clock.now();
        self.standing.cancel(now, self.place);
        if told.try_recv() == Ok(Ok(())) {
            self.standing.end(now, self.pass);
        }
    }
}

impl Admitted<'_> {
    /// The group that the request is to go to; any where it is `None`.
    pub fn group(&self) -> Option<usize> {
        self.pass.group
    }

    /// How long it waited for its turn, where it did.
    pub fn waited(&self) -> Option<Duration> {
        self.waited
    }

    /// Whether it may be sent again.
    pub fn may_retry(&self) -> bool {
        self.standing.may_retry()
    }

    /// How it may go to an endpoint that is not well, if at all.
    pub fn forces(&self) -> Option<Forced> {
        self.standing.forces(self.ask.priority, self.clock.now())
    }

    /// Whether it is one of operators, and holds a permit beyond those of everybody.
    pub fn is_reserved(&self) -> bool {
        self.reserved.is_some()
    }

    /// Whether an operator has taken this endpoint away.
    pub fn is_drained(&self, cell: &Cell, group: &Group, endpoint: &Endpoint) -> bool {
        let Some(levers) = &self.levers else { return false };
        let by = levers.drained(cell.name.as_str(), group.zone.as_str(), &endpoint.address);
        if let Some(lever) = by
            && self.drained_by.swap(lever.0, Ordering::Relaxed) != lever.0
        {
            levers.touch(lever);
        }
        by.is_some()
    }

    /// Whether an endpoint was passed over because of that.
    pub fn found_drained(&self) -> bool {
        self.drained_by.load(Ordering::Relaxed) != 0
    }

    /// What became of it, and when.
    pub fn tell(&self, at: Instant, outcome: Outcome, first_byte: Option<Duration>) {
        self.standing.tell(self.clock.at(at), &self.pass(), &self.ask, outcome, first_byte);
        self.told();
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.standing.end(self.clock.now(), self.pass());
    }
}
