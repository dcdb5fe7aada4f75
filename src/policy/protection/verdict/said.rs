//! What can be said of a second, and what it is said on.

use std::fmt;

use super::super::super::ids::Label;
use super::signals::Place;

/// Who is sick.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// This process: its clock runs on while it sleeps, and everything looks slow.
    Proxy,
    /// What all endpoints share on the way: this machine's network, the way out, the region.
    Path,
    /// The network of one zone, or the zone.
    Zone(Label),
    /// One cell in all its zones.
    Cell(Label, Sick),
    /// It cannot be told.
    Ambiguous(Doubt),
    /// One endpoint.
    Endpoint(Place),
}

/// What is sick about a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sick {
    /// The way to it.
    Network,
    /// The application: it is slow, fails, or does not answer, and packets come and go as always.
    Application,
}

/// Why it cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Doubt {
    /// Much of the network is sick, and it is neither all of it nor one zone's: or there is one zone only, or too few
    /// cells.
    Widespread,
    /// Most cells are slow or fail at once over a network that is well: something that they share, which is not ours.
    Shared,
    /// Something is wrong in a zone, and there are too few endpoints to say that it is the zone, or only a part of
    /// them is sick.
    Zone(Label),
}

/// What a verdict was made from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Endpoints inside that are sick: for certain, and likely.
    pub sick: (u32, u32),
    /// Endpoints inside of which something was heard lately.
    pub heard: u32,
    /// Cells that those that are sick for certain belong to.
    pub cells: u32,
    /// The same of all others: sick for certain or likely, and heard of.
    pub others: (u32, u32),
    /// How likely so many of the sick ones are inside by chance (Fisher's exact test, one-sided); 1 where nothing is
    /// compared.
    pub chance: f64,
    /// Mean over the sick ones, geometric: present against usual, of the round trip and of the first byte.
    pub times: [f64; 2],
    /// Mean over the sick ones: shares that are retransmitted, unreachable, failed.
    pub shares: [f64; 3],
    /// How late this process has woken at most in the last seconds, in milliseconds.
    pub late_ms: u64,
}

impl Verdict {
    /// The kind of it, as a label of metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Path => "path",
            Self::Zone(_) => "zone",
            Self::Cell(_, Sick::Network) => "cell_network",
            Self::Cell(_, Sick::Application) => "cell_application",
            Self::Ambiguous(Doubt::Widespread) => "ambiguous_widespread",
            Self::Ambiguous(Doubt::Shared) => "ambiguous_shared",
            Self::Ambiguous(Doubt::Zone(_)) => "ambiguous_zone",
            Self::Endpoint(_) => "endpoint",
        }
    }

    /// Whether `other` needs no saying where this is said.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            // Also cells that are slow: where all is slow, they cannot be told from the others.
            (Self::Path, other) => !matches!(other, Self::Path | Self::Proxy),
            (Self::Zone(zone), Self::Endpoint(place)) => place.zone.as_ref() == Some(zone),
            (Self::Zone(zone), Self::Ambiguous(Doubt::Zone(doubted))) => doubted == zone,
            (Self::Zone(_), Self::Ambiguous(Doubt::Widespread)) => true,
            (Self::Cell(cell, _), Self::Endpoint(place)) => place.cell == *cell,
            (Self::Ambiguous(Doubt::Zone(zone)), Self::Endpoint(place)) => place.zone.as_ref() == Some(zone),
            (Self::Ambiguous(Doubt::Shared | Doubt::Widespread), other) => {
                matches!(other, Self::Cell(..) | Self::Endpoint(_) | Self::Ambiguous(Doubt::Zone(_)))
            }
            _ => false,
        }
    }
}

impl Verdict {
    /// Whether this endpoint is one of those that it is about.
    pub fn is_about(&self, place: &Place) -> bool {
        match self {
            Self::Proxy | Self::Path | Self::Ambiguous(Doubt::Widespread | Doubt::Shared) => true,
            Self::Zone(zone) | Self::Ambiguous(Doubt::Zone(zone)) => place.zone.as_ref() == Some(zone),
            Self::Cell(cell, _) => place.cell == *cell,
            Self::Endpoint(one) => place == one,
        }
    }

    /// Whether what was said before does not hold any more where this is said now: something else of the same cell, or
    /// what our clock has said, and it was the clock.
    pub fn contradicts(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cell(cell, sick), Self::Cell(same, other)) => cell == same && sick != other,
            (Self::Proxy, other) => {
                matches!(other, Self::Cell(_, Sick::Application) | Self::Endpoint(_) | Self::Ambiguous(_))
            }
            _ => false,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy => f.write_str("this proxy"),
            Self::Path => f.write_str("the way out"),
            Self::Zone(zone) => write!(f, "zone {zone}"),
            Self::Cell(cell, Sick::Network) => write!(f, "the way to cell {cell}"),
            Self::Cell(cell, Sick::Application) => write!(f, "cell {cell}"),
            Self::Ambiguous(Doubt::Widespread) => f.write_str("much of the network, it cannot be told what"),
            Self::Ambiguous(Doubt::Shared) => f.write_str("something that most cells share"),
            Self::Ambiguous(Doubt::Zone(zone)) => {
                write!(f, "something in zone {zone}, it cannot be told what")
            }
            Self::Endpoint(place) => write!(f, "endpoint {} of cell {}", place.endpoint, place.cell),
        }
    }
}

/// "12 of 13 endpoints over 7 cells: round trip x 9.1, 4.2 % retransmitted; 1 of 24 others (chance 2e-7)".
impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} endpoints over {} cells", self.sick.0 + self.sick.1, self.heard, self.cells)?;
        let mut between = ": ";
        for (name, times) in ["round trip", "first byte"].iter().zip(self.times) {
            if times >= WORTH_SAYING {
                write!(f, "{between}{name} x {times:.1}")?;
                between = ", ";
            }
        }
        for (name, share) in ["retransmitted", "unreachable", "failed"].iter().zip(self.shares) {
            if share >= SHARE_WORTH_SAYING {
                write!(f, "{between}{:.1} % {name}", share * 100.0)?;
                between = ", ";
            }
        }
        if self.late_ms > 0 {
            write!(f, "{between}woke {} ms late", self.late_ms)?;
        }
        write!(f, "; {} of {} others", self.others.0, self.others.1)?;
        if self.chance < 1.0 {
            write!(f, " (chance {:.0e})", self.chance)?;
        }
        Ok(())
    }
}

/// Less than a fifth more explains nothing to anybody.
const WORTH_SAYING: f64 = 1.2;

/// Nor does less than half a per cent.
const SHARE_WORTH_SAYING: f64 = 0.005;
