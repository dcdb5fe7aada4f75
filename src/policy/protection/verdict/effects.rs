//! What verdicts mean for others, as plain questions. Health, failover and retries ask here, and need not know how it
//! was found.

use super::super::super::ids::Label;
use super::detector::Held;
use super::said::{Doubt, Verdict};
use super::signals::Place;

/// A connection may take so many times as long over a network that is known to be slow: giving up and trying again is
/// one SYN more on a link that has too much. [`EndpointLoad::connect_timeout`] bounds the product.
///
/// [`EndpointLoad::connect_timeout`]: super::super::endpoint_load::EndpointLoad::connect_timeout
pub const CONNECT_TIMEOUT_FACTOR: u32 = 2;

/// What stands, the strongest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdicts {
    pub(super) held: Vec<Held>,
    /// Zones that there are.
    pub(super) zones: usize,
}

impl Verdicts {
    /// All that stand; none where all is clear.
    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// Whether all is clear.
    pub const fn is_clear(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether this one stands.
    pub fn stands(&self, verdict: &Verdict) -> bool {
        self.held.iter().any(|held| held.verdict == *verdict)
    }

    /// Whether something more than a cell is sick, so that nothing that is seen now is what should be usual.
    pub fn is_wide(&self) -> bool {
        self.held.iter().any(|held| is_everywhere(&held.verdict) || matches!(held.verdict, Verdict::Zone(_)))
    }

    /// Whether nothing may be ejected and no load moved on account of what this endpoint does: it is not its doing,
    /// and the others are no better. What an operator has moved stays moved.
    pub fn freezes(&self, place: &Place) -> bool {
        self.held.iter().any(|held| match &held.verdict {
            Verdict::Zone(zone) => place.zone.as_ref() == Some(zone),
            verdict => is_everywhere(verdict),
        })
    }

    /// Whether a failed request of this cell may be sent again. Not where a second try meets the same: on the same way
    /// out, or in a cell that is sick in all its endpoints. A sick zone leaves other zones to try.
    pub fn retries_allowed(&self, cell: &Label) -> bool {
        !self.held.iter().any(|held| match &held.verdict {
            Verdict::Cell(sick, _) => sick == cell,
            verdict => is_everywhere(verdict),
        })
    }

    /// Whether anything that stands is about this cell, or about one of the zones that it is in.
    pub fn concern<'a>(&self, cell: &Label, zones: impl Iterator<Item = &'a Label> + Clone) -> bool {
        self.held.iter().any(|held| match &held.verdict {
            Verdict::Cell(sick, _) => sick == cell,
            Verdict::Endpoint(place) => place.cell == *cell,
            Verdict::Zone(sick) | Verdict::Ambiguous(Doubt::Zone(sick)) => {
                zones.clone().any(|zone| zone == sick)
            }
            verdict => is_everywhere(verdict),
        })
    }

    /// Whether load should leave this zone, within what the other zones can take: it is sick, nothing says that all
    /// are, and at least as many zones are left as are lost.
    pub fn evacuate(&self, zone: &Label) -> bool {
        let sick = self.held.iter().filter(|held| matches!(held.verdict, Verdict::Zone(_))).count();
        let is_sick = self.stands(&Verdict::Zone(zone.clone()));
        is_sick && sick * 2 <= self.zones && !self.held.iter().any(|held| is_everywhere(&held.verdict))
    }

    /// How many times as long as usual a connection to this endpoint may take.
    pub fn connect_timeout_factor(&self, place: &Place) -> u32 {
        let slow = self.held.iter().any(|held| match &held.verdict {
            Verdict::Zone(zone) => place.zone.as_ref() == Some(zone),
            Verdict::Path | Verdict::Ambiguous(Doubt::Widespread) => true,
            _ => false,
        });
        if slow { CONNECT_TIMEOUT_FACTOR } else { 1 }
    }
}

/// Whether it meets every endpoint, whoever it is.
const fn is_everywhere(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Proxy | Verdict::Path | Verdict::Ambiguous(Doubt::Widespread | Doubt::Shared))
}

#[cfg(test)]
mod tests {
    use super::super::super::super::moment::Moment;
    use super::super::said::{Evidence, Sick};
    use super::*;

    fn label(text: &str) -> Label {
        Label::parse(text).expect("a label")
    }

    fn of(verdicts: &[Verdict]) -> Verdicts {
        let held = verdicts.iter().map(|verdict| Held {
            verdict: verdict.clone(),
            since: Moment::START,
            found: Moment::START,
            evidence: Evidence::default(),
            present: None,
        });
        Verdicts { held: held.collect(), zones: 3 }
    }

    #[test]
    fn what_verdicts_mean_for_others() {
        let here = Place { cell: label("a"), zone: Some(label("z1")), endpoint: "10.0.0.1:443".into() };
        let zone = |zone| Verdict::Zone(label(zone));
        let cell = |cell| Verdict::Cell(label(cell), Sick::Application);
        let doubt = Verdict::Ambiguous(Doubt::Zone(label("z1")));
        let (shared, wide) = (Verdict::Ambiguous(Doubt::Shared), Verdict::Ambiguous(Doubt::Widespread));
        let table = [
            // verdicts, and of an endpoint of cell a in z1: frozen, retries, evacuated, connect timeout
            (vec![], false, true, false, 1),
            (vec![Verdict::Path], true, false, false, 2),
            (vec![Verdict::Proxy], true, false, false, 1),
            (vec![wide], true, false, false, 2),
            (vec![shared], true, false, false, 1),
            (vec![zone("z1")], true, true, true, 2),
            (vec![zone("z2")], false, true, false, 1),
            (vec![zone("z1"), zone("z2")], true, true, false, 2),
            (vec![zone("z1"), Verdict::Path], true, false, false, 2),
            (vec![zone("z1"), cell("a")], true, false, true, 2),
            (vec![cell("b")], false, true, false, 1),
            (vec![doubt], false, true, false, 1),
            (vec![Verdict::Endpoint(here.clone())], false, true, false, 1),
        ];
        for (verdicts, frozen, retries, evacuated, factor) in table {
            let all = of(&verdicts);
            let found = (
                all.freezes(&here),
                all.retries_allowed(&here.cell),
                all.evacuate(&label("z1")),
                all.connect_timeout_factor(&here),
            );
            assert_eq!(found, (frozen, retries, evacuated, factor), "{verdicts:?}");
        }
    }

    #[test]
    fn a_verdict_concerns_a_cell_by_its_name_its_zones_and_its_endpoints() {
        let endpoint = |cell: &str| {
            let place = Place { cell: label(cell), zone: None, endpoint: "10.0.0.1:443".into() };
            Verdict::Endpoint(place)
        };
        for (verdict, expect) in [
            (Verdict::Path, true),
            (Verdict::Proxy, true),
            (Verdict::Zone(label("z1")), true),
            (Verdict::Zone(label("z2")), false),
            (Verdict::Ambiguous(Doubt::Zone(label("z1"))), true),
            (Verdict::Cell(label("a"), Sick::Network), true),
            (Verdict::Cell(label("b"), Sick::Network), false),
            (endpoint("a"), true),
            (endpoint("b"), false),
        ] {
            let said = of(std::slice::from_ref(&verdict)).concern(&label("a"), [label("z1")].iter());
            assert_eq!(said, expect, "{verdict:?}");
        }
    }
}
