//! Bulkheads: how many of the process's requests one cell may hold. A cell that takes requests and never answers
//! fills its own compartment, and the others go on with theirs.
//!
//! The counters are permits ([`Permits`](super::super::admit::Permits)); here is only how many there are for whom. What a
//! request holds is bounded by `docs/limits.md`, so a bound on requests is one on memory, and a connection is only
//! opened for a request that has a permit, so it is one on descriptors.

/// Most requests that a cell may have in flight: what is declared for it, and never more than its share of the
/// process's. At least one, so that no rounding shuts a cell off.
pub fn most_of_cell(process: u32, share_percent: u8, declared: u32) -> u32 {
    let share = u64::from(process) * u64::from(share_percent.min(100)) / 100;
    // A share is no more than the whole, which is a u32.
    declared.min(u32::try_from(share).unwrap_or(u32::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_has_what_is_declared_and_never_more_than_its_share() {
        for (process, share, declared, most) in [
            (20_000, 25, 1_000, 1_000),
            (2_000, 25, 1_000, 500),
            (2_000, 100, 1_000, 1_000),
            (3, 25, 1_000, 1),
            (u32::MAX, 255, u32::MAX, u32::MAX),
            (20_000, 0, 1_000, 1),
        ] {
            assert_eq!(most_of_cell(process, share, declared), most, "{share} % of {process}, {declared}");
        }
    }
}
