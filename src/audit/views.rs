//! Lists beside the accounts: what moves a host most, who is new, who came back, and what names no account. Columns and rows,
//! which are printed as a table, as CSV and as JSON alike.

use serde_json::{Map, Value, json};

use super::fleet::{Fleet, FleetAccount, Mover};
use super::json::JSON_VERSION;
use super::render::{age, aligned, inert, percent, rfc3339};
use super::report::{Report, Usage};

/// A list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Client families with what they call, those of the most accounts first.
    Integrations,
    /// Accounts that were never seen before the last seven days.
    New,
    /// Accounts that were ready to be cut and came back.
    Returned,
    /// Requests in which nothing named an account, and those that named one without a row.
    Unattributed,
}

/// A list, ready to be printed.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    pub(super) name: &'static str,
    pub(super) columns: &'static [&'static str],
    pub(super) rows: Vec<Vec<Cell>>,
    /// What is said where it is empty.
    pub(super) nothing: &'static str,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(Option<String>),
    Number(u64),
    /// So many, and perhaps more.
    AtLeast(u64),
    /// Unix seconds.
    Time(i64),
}

/// Makes a list of what is known.
pub fn list(view: View, fleet: &Fleet, report: &Report) -> List {
    match view {
        View::Integrations => List {
            name: "integrations",
            columns: &["integration", "accounts", "requests", "fix"],
            rows: fleet.integrations.iter().map(mover).collect(),
            nothing: "Nobody came in the last seven days.",
        },
        View::New => accounts(
            "new",
            fleet,
            &fleet.new_accounts,
            "Nobody came for the first time in the last seven days.",
        ),
        View::Returned => {
            accounts("returned", fleet, &fleet.returned, "Nobody came back who could have been cut.")
        }
        View::Unattributed => List {
            name: "unattributed",
            columns: &["subject", "client", "surface", "requests", "last_seen", "for_example"],
            rows: [("unattributed", &report.unattributed), ("unmapped", &report.unmapped)]
                .into_iter()
                .flat_map(|(subject, usage)| clients(subject, usage))
                .collect(),
            nothing: "All requests name an account of the table.",
        },
    }
}

impl List {
    /// Only the rows of one account, where there is a column that says whose a row is.
    #[must_use]
    pub fn of_account(mut self, account: u64) -> Self {
        if let Some(at) = self.columns.iter().position(|name| *name == "account") {
            let account = account.to_string();
            self.rows.retain(|row| row[at].exact() == account);
        }
        self
    }

    /// For people; `now` in Unix seconds.
    pub fn table(&self, now: i64) -> String {
        if self.rows.is_empty() {
            return format!("{}\n", self.nothing);
        }
        let heading = self.columns.iter().map(|name| name.to_uppercase().replace('_', " ")).collect();
        let shown = |row: &Vec<Cell>| row.iter().map(|cell| cell.shown(now)).collect();
        let rows: Vec<Vec<String>> = std::iter::once(heading).chain(self.rows.iter().map(shown)).collect();
        let is_number = |column: &usize| {
            self.rows.iter().all(|row| matches!(row[*column], Cell::Number(_) | Cell::AtLeast(_)))
        };
        aligned(&rows, &(0..self.columns.len()).filter(is_number).collect::<Vec<_>>())
    }

    /// For spreadsheets.
    ///
    /// # Errors
    /// Never when writing to memory; the type is csv's.
    pub fn csv(&self) -> Result<Vec<u8>, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(self.columns)?;
        for row in &self.rows {
            writer.write_record(row.iter().map(|cell| inert(&cell.exact())))?;
        }
        writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
    }

    /// For programs.
    ///
    /// # Errors
    /// Never for a list; the type is serde_json's.
    pub fn json(&self) -> serde_json::Result<String> {
        let object = |row: &Vec<Cell>| {
            let fields = self.columns.iter().zip(row).map(|(name, cell)| ((*name).to_owned(), cell.value()));
            Value::Object(fields.collect::<Map<_, _>>())
        };
        let rows: Vec<Value> = self.rows.iter().map(object).collect();
        let mut text =
            serde_json::to_string_pretty(&json!({"version": JSON_VERSION, "view": self.name, "rows": rows}))?;
        text.push('\n');
        Ok(text)
    }
}

impl Cell {
    fn shown(&self, now: i64) -> String {
        match self {
            Self::Text(None) => "-".to_owned(),
            Self::Time(at) => age(now, *at),
            Self::AtLeast(number) => format!(">= {number}"),
            other => other.exact(),
        }
    }

    fn exact(&self) -> String {
        match self {
            Self::Text(text) => text.clone().unwrap_or_default(),
            Self::Number(number) | Self::AtLeast(number) => number.to_string(),
            Self::Time(at) => rfc3339(*at),
        }
    }

    fn value(&self) -> Value {
        match self {
            Self::Number(number) | Self::AtLeast(number) => (*number).into(),
            Self::Text(None) => Value::Null,
            Self::Text(_) | Self::Time(_) => self.exact().into(),
        }
    }
}

fn mover(of: &Mover) -> Vec<Cell> {
    let fix = of.recipe.as_ref().map(|recipe| recipe.how.clone());
    vec![text(&of.name), Cell::Number(of.accounts), Cell::Number(of.requests), Cell::Text(fix)]
}

fn accounts(name: &'static str, fleet: &Fleet, ids: &[u64], nothing: &'static str) -> List {
    let row = |of: &FleetAccount| {
        vec![
            text(of.judged.verdict.as_str()),
            Cell::Number(of.account),
            Cell::Text(of.prefix.clone()),
            Cell::Text(of.cell.clone()),
            Cell::Number(of.requests.week),
            Cell::Time(of.first_seen),
            Cell::Time(of.last_seen),
            Cell::Text(of.top_client.clone()),
            Cell::Text(of.address.clone()),
        ]
    };
    let columns = &[
        "verdict",
        "account",
        "prefix",
        "cell",
        "requests_7d",
        "first_seen",
        "last_seen",
        "top_client",
        "own_address",
    ];
    let rows = fleet.by_weight().into_iter().filter(|of| ids.contains(&of.account)).map(row).collect();
    List { name, columns, rows, nothing }
}

fn clients(subject: &'static str, usage: &Usage) -> Vec<Vec<Cell>> {
    let row = |of: &super::report::ClientUsage| {
        vec![
            text(subject),
            text(&of.client),
            text(&of.surface),
            Cell::Number(of.requests),
            Cell::Time(of.last_seen),
            text(&of.endpoint),
        ]
    };
    usage.clients.iter().map(row).collect()
}

fn text(text: &str) -> Cell {
    Cell::Text(Some(text.to_owned()))
}

/// The integrations of one account, for its page in the terminal: what somebody has to change, one by one. `now` in Unix
/// seconds.
pub fn integrations_of(of: &FleetAccount, now: i64) -> String {
    if of.details.is_empty() {
        return String::new();
    }
    let heading = ["CLIENT", "CREDENTIAL", "NETWORK", "ENDPOINTS", "REQUESTS (30D)", "SHARE", "LAST SEEN"];
    let mut rows = vec![heading.map(str::to_owned)];
    for one in &of.details {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        rows.push([
            one.client.clone(),
            or_none(&one.credential),
            or_none(&one.network),
            one.endpoints.join(" "),
            one.requests.to_string(),
            percent(one.requests, of.requests.month),
            age(now, one.last_seen),
        ]);
    }
    format!("\nIntegrations, by credential and network:\n{}", aligned(&rows, &[4, 5]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::made_up::{NOW, made_up};
    use super::super::recipes::Recipe;
    use super::super::render::tests::full;
    use super::*;

    #[test]
    fn each_list_is_a_table_and_csv_and_json_with_the_same_rows() {
        let mut fleet = made_up(40);
        fleet.new_accounts = vec![fleet.accounts[3].account, fleet.accounts[5].account];
        fleet.returned.clear();
        fleet.integrations[0].name = "=cmd()\r\n\u{1b}[31m\u{202e}".into();
        let how = "set Host to {host}".to_owned();
        fleet.integrations[0].recipe = Some(Recipe { why: None, how });
        let mut report = full();
        report.unmapped = report.unattributed.clone();
        for (view, many) in [
            (View::Integrations, fleet.integrations.len()),
            (View::New, 2),
            (View::Unattributed, 2 * report.unattributed.clients.len()),
        ] {
            let list = list(view, &fleet, &report);
            assert_eq!(list.table(NOW).lines().count(), many + 1, "{view:?}");
            let csv = String::from_utf8(list.csv().unwrap()).unwrap();
            assert_eq!(csv.lines().count(), many + 1, "{csv}");
            assert!(!csv.lines().any(|line| line.starts_with('=')), "{csv}");
            assert!(!csv.contains(['\r', '\u{1b}', '\u{202e}']), "{csv}");
            let json: Value = serde_json::from_str(&list.json().unwrap()).unwrap();
            assert_eq!(json["rows"].as_array().unwrap().len(), many);
        }
        let integrations = list(View::Integrations, &fleet, &report);
        let csv = String::from_utf8(integrations.csv().unwrap()).unwrap();
        assert!(csv.contains("\n'=cmd()\u{fffd}\u{fffd}\u{fffd}[31m\u{fffd},"), "{csv}");
        assert_eq!(integrations.json().unwrap().matches("set Host to {host}").count(), 1);
        let nobody = list(View::Returned, &fleet, &report);
        assert_eq!(nobody.table(NOW), "Nobody came back who could have been cut.\n");
        assert_eq!(serde_json::from_str::<Value>(&nobody.json().unwrap()).unwrap()["rows"], json!([]));
    }

    #[test]
    fn an_account_shows_what_has_to_be_changed_one_by_one() {
        let fleet = made_up(40);
        let account = fleet.accounts.iter().find(|of| of.details.len() > 1).unwrap();
        let shown = integrations_of(account, NOW);
        assert_eq!(shown.lines().count(), account.details.len() + 3, "{shown}");
        assert!(shown.contains(account.details[0].credential.as_deref().unwrap_or("-")), "{shown}");
    }
}
