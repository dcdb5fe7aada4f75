//! Which endpoints of a cell may be asked, and what is done when most of them are out: neither Envoy's panic, which
//! sends everything to everybody, drained ones included, nor failing everything, from which nobody comes back.

use super::Usable;

/// Fewer of the endpoints that are not drained is a panic (Envoy's threshold).
const CALM_FROM: f64 = 0.5;

/// Of the last good rate of the cell, this much is let in at most while it fails open: half of them may be gone.
pub const FAIL_OPEN_SHARE: f64 = 0.5;

/// This share of the cell's requests may go to endpoints that are out...
pub const TRICKLE_SHARE: f64 = 0.01;

/// ... and at least so many a second, or a quiet cell would never be found to be back.
pub const TRICKLE_LEAST_PER_SECOND: f64 = 1.0;

/// One endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// What health says.
    pub usable: Usable,
    /// Somebody is taking it away, or has.
    pub drained: bool,
}

/// Which endpoints of a cell may be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsableSet {
    /// By ordinary requests, through [`Watch::enter`](super::Watch::enter); while it fails open, whether or not they
    /// enter.
    pub open: Vec<usize>,
    /// By a trickle, through [`Watch::claim`](super::Watch::claim): without a claim the request is shed. Together not
    /// more than [`TRICKLE_SHARE`] of the cell's requests, or [`TRICKLE_LEAST_PER_SECOND`].
    pub trickle: Vec<usize>,
    /// In which plight.
    pub panic: Panic,
}

/// Whether most of a cell is out, and what follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Panic {
    /// It is not.
    #[default]
    Calm,
    /// It is, and it is the path: nobody can say of an endpoint that it is ill. All are open, up to
    /// [`FAIL_OPEN_SHARE`] of the last good rate of the cell.
    FailOpen,
    /// It is, and it is the cell: what is out stays out but for a trickle, and what does not fit the rest is shed.
    Trickle,
}

/// Of all endpoints of a cell; `path_verdict` says that somebody holds that it is the path or the network.
pub fn usable_set(members: &[Member], path_verdict: bool) -> UsableSet {
    let present = || members.iter().enumerate().filter(|(_, member)| !member.drained);
    let is_open = |member: &Member| match member.usable {
        Usable::Yes | Usable::OneProbe => true,
        Usable::No => false,
    };
    let sure = present().filter(|(_, member)| member.usable == Usable::Yes).count();
    let all = present().count();
    let panic = match (sure as f64) < CALM_FROM * all as f64 {
        false => Panic::Calm,
        true if path_verdict => Panic::FailOpen,
        true => Panic::Trickle,
    };
    let those = |which: &dyn Fn(&Member) -> bool| -> Vec<usize> {
        present().filter(|(_, member)| which(member)).map(|(at, _)| at).collect()
    };
    match panic {
        Panic::Calm => UsableSet { open: those(&is_open), trickle: Vec::new(), panic },
        Panic::FailOpen => UsableSet { open: those(&|_| true), trickle: Vec::new(), panic },
        Panic::Trickle => {
            UsableSet { open: those(&is_open), trickle: those(&|member| !is_open(member)), panic }
        }
    }
}

impl Panic {
    /// Label of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::FailOpen => "fail_open",
            Self::Trickle => "trickle",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `y` usable, `n` not, `p` to be probed; upper case is drained.
    fn check(members: &str, path_verdict: bool, panic: Panic, open: &[usize], trickle: &[usize]) {
        let member = |sign: char| Member {
            usable: match sign.to_ascii_lowercase() {
                'y' => Usable::Yes,
                'p' => Usable::OneProbe,
                _ => Usable::No,
            },
            drained: sign.is_ascii_uppercase(),
        };
        let parsed: Vec<_> = members.chars().map(member).collect();
        let expect = UsableSet { open: open.to_vec(), trickle: trickle.to_vec(), panic };
        assert_eq!(usable_set(&parsed, path_verdict), expect, "{members} {path_verdict}");
    }

    #[test]
    fn half_of_a_cell_is_no_panic() {
        for path_verdict in [false, true] {
            check("yyn", path_verdict, Panic::Calm, &[0, 1], &[]);
            check("yn", path_verdict, Panic::Calm, &[0], &[]);
            check(
                "ynp",
                path_verdict,
                if path_verdict { Panic::FailOpen } else { Panic::Trickle },
                if path_verdict { &[0, 1, 2] } else { &[0, 2] },
                if path_verdict { &[] } else { &[1] },
            );
            check("", path_verdict, Panic::Calm, &[], &[]);
        }
    }

    #[test]
    fn the_drained_are_never_asked_and_do_not_count() {
        check("yNNN", false, Panic::Calm, &[0], &[]);
        check("nYYY", false, Panic::Trickle, &[], &[0]);
        check("nYYP", true, Panic::FailOpen, &[0], &[]);
        check("YNP", true, Panic::Calm, &[], &[]);
    }

    #[test]
    fn a_dead_cell_gets_a_trickle_and_a_dead_path_is_no_reason_to_close() {
        check("nnn", false, Panic::Trickle, &[], &[0, 1, 2]);
        check("nnn", true, Panic::FailOpen, &[0, 1, 2], &[]);
        check("pnn", false, Panic::Trickle, &[0], &[1, 2]);
        check("pnn", true, Panic::FailOpen, &[0, 1, 2], &[]);
    }
}
