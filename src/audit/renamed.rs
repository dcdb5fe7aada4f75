//! Credentials whose fingerprint key was rotated: which names are one credential. Reports call it by its newest name, so that a
//! rotation neither ends an old habit nor begins a new one.

use std::collections::HashMap;

use crate::policy::ids::AccountId;

use super::shelf::{Reading, Shelf};

/// Rotations in a row that are followed. Books are kept for 200 days, and nobody rotates each week.
const MOST_ROTATIONS: usize = 32;

/// The newer name by account and older name.
#[derive(Debug, Default)]
pub(super) struct NewestNames(HashMap<u64, HashMap<String, String>>);

impl NewestNames {
    /// Reads those of all accounts, or of one.
    pub fn read(books: &Shelf, only: Option<AccountId>) -> Reading<Self> {
        let mut found = Self::default();
        let query = "SELECT account, before, credential FROM credential_names
             WHERE ?1 IS NULL OR account = ?1 ORDER BY account, before, credential";
        let only = only.map(|account| account.value() as i64);
        books.each(None, query, &[only], |_, row| {
            found.add(row.count(0)?, row.text(1)?, row.text(2)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// What a credential of an account is called now.
    pub fn newest<'a>(&'a self, account: u64, name: &'a str) -> &'a str {
        let Some(of_account) = self.0.get(&account) else { return name };
        let mut names = vec![name];
        while let Some(newer) = of_account.get(*names.last().expect("it has one")).map(String::as_str) {
            // Keys that went back and forth: one of those in the circle, whichever it is entered by.
            if let Some(at) = names.iter().position(|known| *known == newer) {
                return names[at..].iter().max().unwrap_or(&name);
            }
            if names.len() > MOST_ROTATIONS {
                break;
            }
            names.push(newer);
        }
        names.last().unwrap_or(&name)
    }

    fn add(&mut self, account: u64, before: &str, credential: &str) {
        if before != credential {
            self.0.entry(account).or_default().insert(before.to_owned(), credential.to_owned());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::fleet::Fleet;
    use super::super::frame::tests::{NOON, frame, uses};
    use super::super::frame::{Harm, Minute, Renamed, Use};
    use super::super::minute::Ends;
    use super::super::shelf::ask;
    use super::super::store::Store;
    use super::super::survey::{Host, read};
    use super::super::{forget, impact};
    use super::*;
    use crate::policy::legacy_use::{DAY, HOUR};
    use crate::test_snapshot::account;

    const OLD: &str = "k1:111111111111";
    const NEW: &str = "k2:222222222222";

    #[test]
    fn a_credential_has_one_name_however_often_keys_were_rotated() {
        let mut names = NewestNames::default();
        for (before, after) in [("a", "b"), ("b", "c"), ("x", "y"), ("y", "x"), ("z", "x"), ("s", "s")] {
            names.add(1, before, after);
        }
        for (name, expect) in [
            ("a", "c"),
            ("b", "c"),
            ("c", "c"),
            ("x", "y"),
            ("y", "y"),
            ("z", "y"),
            ("s", "s"),
            ("none", "none"),
        ] {
            assert_eq!(names.newest(1, name), expect);
        }
        assert_eq!(names.newest(2, "a"), "a", "another account's");
    }

    /// An account that came each day for a hundred days, and one that came on the first and on the last of them; their
    /// credentials had this name until ten days ago, and the newer one since then.
    fn books(folder: &std::path::Path, before: &str, renamed: &[Renamed]) -> i64 {
        let now = NOON + HOUR;
        let on = |days: i64, account| {
            let mut of: Use = uses(account, "airflow", 3);
            of.integration.credential = if days > 10 { before } else { NEW }.into();
            of.day -= days;
            (of.first_seen, of.last_seen) = (of.first_seen - days * DAY, of.last_seen - days * DAY);
            of
        };
        let all: Vec<Use> = (0..100).map(|days| on(days, 1)).chain([on(99, 2), on(0, 2)]).collect();
        let mut frame = frame("a", 1, all);
        frame.renamed = renamed.to_vec();
        (frame.started_at, frame.ended_at) = (NOON - 100 * DAY, now);
        Store::new(folder).write(&frame, now).unwrap();
        now
    }

    fn rotated(account: u64) -> Renamed {
        Renamed { account, credential: NEW.into(), before: OLD.into() }
    }

    #[test]
    fn a_rotation_changes_nothing_in_what_is_said_of_anybody() {
        let read = |before, renamed: &[Renamed]| {
            let folder = tempfile::tempdir().unwrap();
            let now = books(folder.path(), before, renamed);
            read(folder.path(), &Host::default(), None, now).unwrap()
        };
        let never = read(NEW, &[]);
        let [one, two] = [1, 2].map(rotated);
        assert!(read(OLD, &[one, two.clone()]) == never);
        // Without the name of one, it is told otherwise.
        let without = read(OLD, &[two]);
        let integrations =
            |fleet: &Fleet| fleet.accounts.iter().find(|of| of.account == 1).unwrap().details.len();
        assert_eq!((integrations(&never), integrations(&without)), (1, 2));
    }

    #[test]
    fn an_incident_over_a_rotation_counts_a_credential_once_and_an_account_can_be_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        books(folder.path(), OLD, &[rotated(1), rotated(2)]);
        let minute = NOON / 60;
        let harm = |credential: &str| Harm {
            of: Minute {
                minute,
                legacy: true,
                cell: "us1".into(),
                class: "none".into(),
                ends: Ends { requests: 0, failed: 1, late: [0, 0] },
            },
            account: 1,
            credential: credential.into(),
        };
        let mut incident = frame("a", 2, vec![]);
        incident.harmed = vec![harm(OLD), harm(NEW), harm("k2:333333333333")];
        Store::new(folder.path()).write(&incident, NOON).unwrap();
        let asked = impact::Incident { from: NOON, to: NOON + 60, ..impact::Incident::default() };
        let told = impact::read(folder.path(), asked).unwrap().table();
        assert!(told.contains("2 credentials across 1 account"), "{told}");

        let names = |folder| ask(folder, |books| NewestNames::read(books, None)).unwrap();
        assert_eq!(names(folder.path()).newest(1, OLD), NEW);
        assert!(forget::forget(folder.path(), account(1), true).unwrap().rows > 1);
        assert_eq!((names(folder.path()).newest(1, OLD), names(folder.path()).newest(2, OLD)), (OLD, NEW));
    }

    #[test]
    fn months_of_earlier_editions_have_no_names_and_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let now = books(folder.path(), OLD, &[rotated(1), rotated(2)]);
        let august = super::super::month::Month::of(now - 90 * DAY).file(folder.path());
        let file = rusqlite::Connection::open(august).unwrap();
        file.execute_batch("DROP TABLE credential_names; DELETE FROM schema_version WHERE version > 1")
            .unwrap();
        let fleet = read(folder.path(), &Host::default(), None, now).unwrap();
        assert!(fleet.accounts.iter().all(|of| of.integrations == 1));
        assert!(forget::forget(folder.path(), account(1), true).unwrap().rows > 1);
    }
}
