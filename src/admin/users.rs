//! The name of a user of this machine, for the audit trail.

use std::fs;

/// Where the machine's own users stand. Users of a directory (LDAP, SSSD) are not asked for: on the worst day that does not
/// answer, and the admin plane would wait for it. They go by their number.
const USERS: &str = "/etc/passwd";

/// The name of a user, or the number where this machine has no name for it.
pub(super) fn user_name(uid: u32) -> String {
    let users = fs::read_to_string(USERS).unwrap_or_default();
    name_in(&users, uid).unwrap_or_else(|| uid.to_string())
}

fn name_in(users: &str, uid: u32) -> Option<String> {
    let of = |line: &str| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid) && !name.is_empty()).then(|| name.to_owned())
    };
    users.lines().find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_a_name_goes_by_the_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(name_in(users, 1000).as_deref(), Some("ann"));
        assert_eq!(name_in(users, 0).as_deref(), Some("root"));
        assert_eq!(name_in(users, 1), None);
        assert_eq!(user_name(u32::MAX - 7), (u32::MAX - 7).to_string());
    }
}
