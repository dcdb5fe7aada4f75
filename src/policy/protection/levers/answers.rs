//! What the levers say of a request, of a place and of a policy. Each answer names the lever that it is from, so that a
//! refusal can say who decided it.

use super::{Held, Lever, LeverId, Levers, Most, OperatorPass, Place, Policy, Shed};
use crate::policy::guard::Mode;
use crate::policy::ids::{AccountId, Label};
use crate::policy::snapshot::EndpointAddress;

/// A request as levers see it. What no lever asks for ([`Levers::asks_for_client`], [`Levers::asks_for_class`]) need not be
/// found out.
#[derive(Clone, Copy, Debug)]
pub struct RequestOf<'a> {
    /// Name of the cell it goes to.
    pub cell: &'a str,
    /// Whose it is.
    pub account: Option<AccountId>,
    /// Its client family.
    pub client: Option<&'a str>,
    /// Its endpoint class.
    pub class: Option<&'a str>,
}

/// A value, and the lever that it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Of<T> {
    /// What it says.
    pub value: T,
    /// Which lever.
    pub lever: LeverId,
}

/// What a cell takes at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Requests at once.
    pub in_flight: Option<Of<u32>>,
    /// Requests a second.
    pub rps: Option<Of<u32>>,
}

/// Permits that only operators can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// How many at once.
    pub permits: u32,
    /// By what their requests are known.
    pub pass: OperatorPass,
}

impl Levers {
    /// Whether a request is shed. `random` is uniform over its whole range and drawn once a request: of two levers that name
    /// it the larger share counts, and not their sum.
    pub fn refuses(&self, request: &RequestOf<'_>, random: u32) -> Option<LeverId> {
        self.find(|lever| match lever {
            Lever::Shed(shed) => (shed.names(request) && is_below(random, shed.percent)).then_some(()),
            _ => None,
        })
        .map(|of| of.lever)
    }

    /// Whether any lever asks for the client family of a request, which takes a while to find out.
    pub fn asks_for_client(&self) -> bool {
        self.iter().any(|pulled| matches!(&pulled.lever, Lever::Shed(shed) if shed.client.is_some()))
    }

    /// The same of its endpoint class.
    pub fn asks_for_class(&self) -> bool {
        self.iter().any(|pulled| matches!(&pulled.lever, Lever::Shed(shed) if shed.class.is_some()))
    }

    /// Whether an endpoint of a cell takes no new requests.
    pub fn drained(&self, cell: &str, zone: &str, endpoint: &EndpointAddress) -> Option<LeverId> {
        let drains = |lever: &Lever| match lever {
            Lever::Drain(Place::Endpoint(drained)) => drained == endpoint,
            Lever::Drain(Place::Group { cell: of, zone: in_zone }) => {
                of.as_str() == cell && in_zone.as_str() == zone
            }
            Lever::Drain(Place::Zone(drained)) | Lever::Evacuate { zone: drained } => {
                drained.as_str() == zone
            }
            Lever::Drain(Place::Cell(drained)) => drained.as_str() == cell,
            _ => false,
        };
        self.find(|lever| drains(lever).then_some(())).map(|of| of.lever)
    }

    /// Whether a whole cell takes no new requests: it is refused before an endpoint is looked for.
    pub fn drained_cell(&self, cell: &str) -> Option<LeverId> {
        self.find(|lever| match lever {
            Lever::Drain(Place::Cell(drained)) => (drained.as_str() == cell).then_some(()),
            _ => None,
        })
        .map(|of| of.lever)
    }

    /// Whether what is open for long in a zone is to leave it.
    pub fn evacuated(&self, zone: &str) -> Option<LeverId> {
        self.find(|lever| match lever {
            Lever::Evacuate { zone: left } => (left.as_str() == zone).then_some(()),
            _ => None,
        })
        .map(|of| of.lever)
    }

    /// What a cell takes at most.
    pub fn cap(&self, cell: &str) -> Caps {
        let of = |wanted: fn(Most) -> Option<u32>| {
            self.find(|lever| match lever {
                Lever::Cap { cell: capped, most } if capped.as_str() == cell => wanted(*most),
                _ => None,
            })
        };
        let in_flight = |most| match most {
            Most::InFlight(most) => Some(most.get()),
            Most::Rps(_) => None,
        };
        let rps = |most| match most {
            Most::Rps(most) => Some(most.get()),
            Most::InFlight(_) => None,
        };
        Caps { in_flight: of(in_flight), rps: of(rps) }
    }

    /// The rate at which a cell is asked, in place of its ramp's: requests a second.
    pub fn ramp(&self, cell: &str) -> Option<Of<u32>> {
        self.find(|lever| match lever {
            Lever::Ramp { cell: of, rps } => (of.as_str() == cell).then_some(rps.get()),
            _ => None,
        })
    }

    /// Whether a new request waits.
    pub fn holds(&self, cell: &str, account: Option<AccountId>, is_write: bool) -> Option<LeverId> {
        self.find(|lever| {
            let Lever::Hold { whose, writes_only } = lever else { return None };
            let names = match whose {
                Held::Account(held) => Some(*held) == account,
                Held::Cell(held) => held.as_str() == cell,
            };
            (names && (is_write || !writes_only)).then_some(())
        })
        .map(|of| of.lever)
    }

    /// The mode of a policy at a cell, where an operator has set it: for this cell before for all.
    pub fn mode(&self, policy: Policy, cell: &str) -> Option<Of<Mode>> {
        let set = |wanted: Option<&str>| {
            self.find(|lever| match lever {
                Lever::Policy { policy: set, mode, cell } => {
                    (*set == policy && cell.as_ref().map(|cell| cell.as_str()) == wanted).then_some(*mode)
                }
                _ => None,
            })
        };
        set(Some(cell)).or_else(|| set(None))
    }

    /// Permits that operators have at a cell: what is said of this cell before what is said of all.
    pub fn reserved(&self, cell: &str) -> Option<Of<Reserved>> {
        let set = |wanted: Option<&str>| {
            self.find(|lever| match lever {
                Lever::Operators { permits, cell, pass } => {
                    let is_it = cell.as_ref().map(|cell| cell.as_str()) == wanted;
                    is_it.then_some(Reserved { permits: permits.get(), pass: *pass })
                }
                _ => None,
            })
        };
        set(Some(cell)).or_else(|| set(None))
    }

    /// Whether a brownout is over before its time.
    pub fn cancels(&self, brownout: &Label) -> Option<LeverId> {
        self.find(|lever| match lever {
            Lever::Brownout { id } => id.as_ref().is_none_or(|id| id == brownout).then_some(()),
            _ => None,
        })
        .map(|of| of.lever)
    }

    /// The newest lever of which there is an answer: no two of the same are pulled, and where two are about one thing
    /// all the same (an endpoint and its zone), either explains it.
    fn find<T>(&self, mut answer: impl FnMut(&Lever) -> Option<T>) -> Option<Of<T>> {
        self.entries().iter().rev().find_map(|entry| {
            let value = answer(&entry.pulled.lever)?;
            Some(Of { value, lever: entry.pulled.id })
        })
    }
}

impl Shed {
    /// Whether all that it says is true of a request.
    fn names(&self, request: &RequestOf<'_>) -> bool {
        let Self { percent: _, cell, account, client, class } = self;
        cell.as_ref().is_none_or(|cell| cell.as_str() == request.cell)
            && account.is_none_or(|account| Some(account) == request.account)
            && client.as_deref().is_none_or(|client| Some(client) == request.client)
            && class.as_ref().is_none_or(|class| Some(class.as_str()) == request.class)
    }
}

/// Whether a number falls into the first `percent` hundredths of all.
fn is_below(random: u32, percent: u8) -> bool {
    u64::from(random) * 100 < u64::from(percent) << 32
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn levers(words: &[&str]) -> Levers {
        let mut levers = Levers::default();
        for words in words {
            let _ = levers.pull(Lever::parse(words).unwrap(), ("ann", "us1 burns"), None, 0).unwrap();
        }
        levers
    }

    const REQUEST: RequestOf<'static> =
        RequestOf { cell: "us1", account: None, client: Some("curl"), class: Some("exports") };

    fn of(account: u64) -> RequestOf<'static> {
        RequestOf { account: AccountId::from_value(account), ..REQUEST }
    }

    #[test]
    fn requests_are_shed_of_which_all_is_true_that_the_lever_says() {
        let check = |words: &str, expect: [bool; 4]| {
            let levers = levers(&[words]);
            let others = RequestOf { cell: "us2", client: None, class: Some("rest"), ..of(7) };
            let found = [of(7), of(8), REQUEST, others].map(|request| levers.refuses(&request, 0).is_some());
            assert_eq!(found, expect, "{words}");
        };
        check("shed 1% cell us1", [true, true, true, false]);
        check("shed 1% cell us3", [false; 4]);
        check("shed 1% account 7", [true, false, false, true]);
        check("shed 1% cell us1 account 7", [true, false, false, false]);
        check("shed 1% client curl", [true, true, true, false]);
        check("shed 1% class exports", [true, true, true, false]);
        check("shed 1% class rest account 7", [false, false, false, true]);
        check("drain cell us1", [false; 4]);
    }

    #[test]
    fn the_share_is_what_the_lever_says_and_two_are_not_their_sum() {
        let seed = 7;
        let share = |words: &[&str]| {
            let (levers, mut random) = (levers(words), fastrand::Rng::with_seed(seed));
            (0..100_000).filter(|_| levers.refuses(&REQUEST, random.u32(..)).is_some()).count()
        };
        for percent in [1_usize, 10, 50, 99] {
            let found = share(&[&format!("shed {percent}% cell us1")]);
            // Five standard deviations of a binomial at its widest: 5 * sqrt(100000 / 4).
            assert!(found.abs_diff(percent * 1_000) < 800, "seed {seed}: {found} of 100000 at {percent}%");
        }
        assert_eq!(share(&["shed 100% cell us1"]), 100_000);
        assert_eq!(share(&["shed 30% cell us1", "shed 20% client curl"]), share(&["shed 30% cell us1"]));
    }

    #[test]
    fn it_is_known_what_must_be_found_out_of_a_request() {
        let asks = |words: &[&str]| {
            let levers = levers(words);
            (levers.asks_for_client(), levers.asks_for_class())
        };
        assert_eq!(asks(&["shed 5% cell us1", "drain zone a"]), (false, false));
        assert_eq!(asks(&["shed 5% client curl"]), (true, false));
        assert_eq!(asks(&["shed 5% client curl", "shed 5% class exports"]), (true, true));
    }

    #[test]
    fn a_place_is_drained_by_all_that_it_is_part_of() {
        let address = |text: &str| match Lever::parse(&format!("drain endpoint {text}")).unwrap() {
            Lever::Drain(Place::Endpoint(address)) => address,
            _ => unreachable!("it is of an endpoint"),
        };
        let places = [("us1", "a", "10.0.0.1:80"), ("us1", "b", "h:80"), ("us2", "a", "10.0.0.1:80")];
        let check = |words: &str, expect: [bool; 3]| {
            let levers = levers(&[words]);
            let drained = places.map(|(cell, zone, at)| levers.drained(cell, zone, &address(at)).is_some());
            assert_eq!(drained, expect, "{words}");
        };
        check("drain endpoint 10.0.0.1:80", [true, false, true]);
        check("drain endpoint H:80", [false, true, false]);
        check("drain group us1 a", [true, false, false]);
        check("drain zone a", [true, false, true]);
        check("drain cell us1", [true, true, false]);
        check("evacuate zone b", [false, true, false]);
        check("hold cell us1", [false; 3]);
        let levers = levers(&["drain zone a", "evacuate zone b", "drain cell us1"]);
        assert_eq!(["a", "b"].map(|zone| levers.evacuated(zone)), [None, Some(LeverId(2))]);
        assert_eq!(["us1", "us2"].map(|cell| levers.drained_cell(cell)), [Some(LeverId(3)), None]);
    }

    #[test]
    fn caps_ramps_modes_and_reserves_are_of_their_cell() {
        let digest = "ab".repeat(32);
        let (all, one) = (
            format!("operators permits 5 pass {digest}"),
            format!("operators permits 9 pass {digest} cell us2"),
        );
        let levers = levers(&[
            "cap cell us1 rps 50",
            "cap cell us1 in_flight 7",
            "ramp set cell us1 rps 3",
            "policy set limit off",
            "policy set limit enforce cell us1",
            &one,
            &all,
        ]);
        let from = |value, lever| Some(Of { value, lever: LeverId(lever) });
        assert_eq!(levers.cap("us1"), Caps { in_flight: from(7, 2), rps: from(50, 1) });
        assert_eq!(levers.cap("us2"), Caps::default());
        assert_eq!(["us1", "us2"].map(|cell| levers.ramp(cell)), [from(3, 3), None]);
        let mode = |policy, cell| levers.mode(policy, cell).map(|of| (of.value, of.lever.0));
        assert_eq!(
            mode(Policy::Limit, "us1"),
            Some((Mode::Enforce, 5)),
            "the cell's own, also where all is newer"
        );
        assert_eq!(mode(Policy::Limit, "us2"), Some((Mode::Off, 4)));
        assert_eq!(mode(Policy::Queue, "us1"), None);
        let permits = ["us1", "us2"].map(|cell| levers.reserved(cell).map(|of| of.value.permits));
        assert_eq!(permits, [Some(5), Some(9)]);
        let pass = levers.reserved("us1").map(|of| of.value.pass);
        assert_eq!(pass, Some(OperatorPass::of_digest([0xab; 32])));
    }

    #[test]
    fn one_brownout_is_cancelled_or_all_are() {
        let ids = ["bo-1", "bo-2"].map(|id| Label::parse(id).unwrap());
        let check = |words: &[&str], expect: [Option<u32>; 2]| {
            let levers = levers(words);
            let found = [&ids[0], &ids[1]].map(|id| levers.cancels(id).map(|lever| lever.0));
            assert_eq!(found, expect, "{words:?}");
        };
        check(&["brownout cancel bo-1"], [Some(1), None]);
        check(&["drain cell us1", "brownout cancel all"], [Some(2), Some(2)]);
        check(&["drain cell us1"], [None, None]);
    }

    #[test]
    fn a_hold_is_of_a_cell_or_an_account_and_perhaps_of_writes() {
        let check = |words: &str, expect: [bool; 4]| {
            let levers = levers(&[words]);
            let asked = [("us1", 7, true), ("us1", 7, false), ("us1", 8, true), ("us2", 7, true)];
            let found = asked.map(|(cell, account, is_write)| {
                levers.holds(cell, AccountId::from_value(account), is_write).is_some()
            });
            assert_eq!(found, expect, "{words}");
        };
        check("hold cell us1", [true, true, true, false]);
        check("hold cell us1 writes", [true, false, true, false]);
        check("hold account 7", [true, true, false, true]);
        check("hold account 7 writes", [true, false, false, true]);
    }
}
