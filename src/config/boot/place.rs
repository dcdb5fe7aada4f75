//! Whether two paths mean the same place, as far as their text says: `config/../state` and `next/../state` do, so that
//! two folders beside each other, which name what is above them, can be compared.

use std::path::{Component, Path, PathBuf};

use super::LogTarget;

/// Whether the paths differ in more than the way to the same place. No link is followed: what is only compared need not
/// be there.
pub(super) fn differ(one: &Path, other: &Path) -> bool {
    one != other && plain(one) != plain(other)
}

/// The same of access logs.
pub(super) fn logs_differ(one: &LogTarget, other: &LogTarget) -> bool {
    match (one, other) {
        (LogTarget::File(one), LogTarget::File(other)) => differ(one, other),
        _ => one != other,
    }
}

fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        let below = matches!(plain.components().next_back(), Some(Component::Normal(_)));
        match part {
            Component::CurDir => {}
            Component::ParentDir if below => {
                plain.pop();
            }
            part => plain.push(part),
        }
        plain
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_place_is_no_difference() {
        for (one, other, expect) in [
            ("config/../state", "next/../state", false),
            ("/a/./b", "/a/b", false),
            ("../state", "../state", false),
            ("../a/../state", "../state", false),
            ("../../state", "../state", true),
            ("a/../../state", "state", true),
            ("/state", "state", true),
            ("config/state", "next/state", true),
        ] {
            assert_eq!(differ(Path::new(one), Path::new(other)), expect, "{one} {other}");
        }
    }
}
