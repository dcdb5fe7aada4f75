//! Programs that `clients.yaml` does not know, by the name that they give themselves: which families its owner may want to
//! add. The most frequent ones of each day, with what may be too many taken away.

use std::collections::BTreeMap;

use super::heavy::Seen;
use super::shelf::{ReportError, Source, ask};
use super::views::{Cell, List};

/// Programs that are listed: as many as somebody adds to a file.
const LISTED: usize = 100;

/// The list, since the day in which `since` lies (Unix seconds).
///
/// # Errors
/// There are no books, or they cannot be read.
pub fn list<'a>(books: impl Into<Source<'a>>, since: i64) -> Result<List, ReportError> {
    let query =
        "SELECT product, requests, too_many, day FROM unknown_clients WHERE day >= ?1 ORDER BY day, product";
    let mut found = BTreeMap::<String, (Seen, i64)>::new();
    ask(books, |books| {
        books.each(None, query, &[Some(since.div_euclid(86_400))], |_, row| {
            let (seen, last) = found.entry(row.text(0)?.to_owned()).or_default();
            (seen.count, seen.too_many) =
                (seen.count.saturating_add(row.count(1)?), seen.too_many.saturating_add(row.count(2)?));
            *last = row.int(3)? * 86_400;
            Ok(())
        })
    })?;
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(_, (seen, _))| std::cmp::Reverse(seen.count.saturating_sub(seen.too_many)));
    let row = |(name, (seen, last)): (String, (Seen, i64))| {
        let least = seen.count.saturating_sub(seen.too_many);
        let requests = if seen.too_many > 0 { Cell::AtLeast(least) } else { Cell::Number(least) };
        vec![Cell::Text(Some(name)), requests, Cell::Time(last)]
    };
    Ok(List {
        name: "clients",
        columns: &["client", "requests", "last_day"],
        rows: found.into_iter().take(LISTED).map(row).collect(),
        nothing: "clients.yaml knows every client of that time, or none has said its name.",
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::frame::UnknownClient;
    use super::super::frame::tests::{NOON, frame};
    use super::super::store::{MAX_UNKNOWN_CLIENTS, Store};
    use super::*;

    #[test]
    fn the_most_frequent_are_listed_and_what_is_not_exact_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::new(folder.path());
        let client = |name: &str, requests| UnknownClient { product: name.into(), requests, too_many: 0 };
        let mut window = frame("a", 1, vec![]);
        window.unknown_clients = vec![client("acme-sync", 70), client("-", 3)];
        store.write(&window, NOON).unwrap();
        let told = list(folder.path(), NOON - 7 * 86_400).unwrap();
        assert_eq!(told.rows[0][..2], [Cell::Text(Some("acme-sync".into())), Cell::Number(70)]);
        // More than a day has places for: the frequent ones stay, in as many rows.
        for number in 2..=4 {
            let mut window = frame("a", number, vec![]);
            window.unknown_clients =
                (0..1_000).map(|n| client(&format!("made-up-{number}-{n}"), 1)).collect();
            window.unknown_clients.push(client("acme-sync", 10));
            window.unknown_clients.push(client("late-comer", 200));
            store.write(&window, NOON).unwrap();
        }
        let file =
            rusqlite::Connection::open(super::super::month::Month::of(NOON).file(folder.path())).unwrap();
        let many = |query: &str| file.query_row(query, [], |row| row.get::<_, u32>(0)).unwrap();
        assert_eq!(many("SELECT count(*) FROM unknown_clients"), MAX_UNKNOWN_CLIENTS);
        let told = list(folder.path(), NOON - 7 * 86_400).unwrap();
        assert_eq!(told.rows.len(), LISTED);
        assert_eq!(told.rows[0][..2], [Cell::Text(Some("late-comer".into())), Cell::Number(600)]);
        assert_eq!(told.rows[1][..2], [Cell::Text(Some("acme-sync".into())), Cell::Number(100)]);
        assert!(told.rows[2..].iter().any(|row| matches!(row[1], Cell::AtLeast(_))));
        assert!(told.table(NOON).contains(">= 1"), "{}", told.table(NOON));
        assert_eq!(list(folder.path(), NOON + 86_400).unwrap().rows, Vec::<Vec<Cell>>::new());
    }
}
