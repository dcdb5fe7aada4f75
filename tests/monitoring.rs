//! What `monitoring/` ships for Prometheus and Grafana: promtool accepts it and its alerts fire when they should, every
//! metric that it or the documentation names is one of `/metrics`, and every alert says what to do. Nothing is scraped here.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use cellgate::telemetry::families::{self, Kind};
use serde_yaml::Value;

const RULES: &str = "monitoring/cellgate.rules.yaml";
const RULE_TESTS: [&str; 2] = ["monitoring/cellgate.rules.test.yaml", "monitoring/cellgate.days.test.yaml"];
const DASHBOARD: &str = "monitoring/grafana/cellgate.json";
const GUIDE: &str = "docs/monitoring.md";
const RUNBOOKS: &str = "docs/runbooks";

type Complaints = Vec<String>;

#[test]
fn promtool_accepts_the_rules() {
    promtool(&["check", "rules", &path(RULES)]);
}

#[test]
fn every_alert_fires_when_it_should_and_not_when_it_nearly_should() {
    let files = RULE_TESTS.map(path);
    promtool(&["test", "rules", &files[0], &files[1]]);
    let tests: String = RULE_TESTS.iter().map(|file| read(file)).collect();
    for alert in alerts(&read(RULES)) {
        let fires = format!("labels: ALERTS{{alertname=\"{}\", alertstate=\"firing\"", alert.name);
        assert!(tests.contains(&fires), "no test has {} fire", alert.name);
    }
}

#[test]
fn prometheus_can_read_every_expression_of_the_dashboard() {
    let expressions = expressions(&dashboard());
    assert!(expressions.len() > 40, "there is a dashboard to look at");
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (at, expression) in expressions.iter().enumerate() {
        let mut expression = expression.clone();
        // What Grafana puts in.
        for (variable, value) in
            [("$__rate_interval", "5m"), ("$__range", "1h"), ("$job", "edge"), ("$cell", "cell-1")]
        {
            expression = expression.replace(variable, value);
        }
        let expression = serde_json::to_string(&expression).unwrap();
        rules.push_str(&format!("      - {{ record: \"panel:{at}\", expr: {expression} }}\n"));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dashboard.rules.yaml");
    fs::write(&file, rules).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()]);
}

#[test]
fn every_metric_that_is_named_is_one_of_the_page() {
    let recorded = recorded(&read(RULES));
    let check = |text: &str| unknown(text, &recorded);
    assert_eq!(check("rate(cellgate_request_total[5m])"), ["cellgate_request_total"]);
    assert_eq!(check("cellgate_in_flight_requests_bucket"), ["cellgate_in_flight_requests_bucket"]);
    assert_eq!(check("job:cellgate_request:rate5m"), ["job:cellgate_request:rate5m"]);
    let fine =
        "job:cellgate_requests:rate5m + cellgate_request_duration_seconds_bucket / cellgate_requests_total";
    assert!(check(fine).is_empty());

    let mut files = vec![RULES.to_owned(), DASHBOARD.to_owned()];
    files.extend(RULE_TESTS.map(str::to_owned));
    files.extend(["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(str::to_owned));
    files.extend(below("docs"));
    let mut named = 0;
    for file in files {
        let text = read(&file);
        named += text.matches("cellgate_").count();
        assert_eq!(
            check(&text),
            Complaints::new(),
            "{file} names what src/telemetry/families.rs does not have"
        );
    }
    assert!(named > 200, "there are names to look at: {named}");
}

#[test]
fn every_alert_says_what_is_wrong_what_to_do_and_why_then() {
    let wrong = "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: x > 5\n    labels: { severity: bad }\n    \
                 annotations: { summary: s, runbook: docs/nowhere.md }\n";
    assert_eq!(careless(wrong, "").len(), 5, "severity, description, runbook, reason, guide");
    let wrong = "# docs/guards.md#nothing\ngroups:\n- name: a\n  rules:\n  - alert: A\n    # Why.\n    expr: x > 5\n    labels: \
                 { severity: info }\n    annotations: { summary: s, description: d, runbook: docs/guards.md#nothing }\n";
    assert_eq!(careless(wrong, "| `A` | info | a |").len(), 1, "there is no such heading");
    assert_eq!(careless(&read(RULES), &read(GUIDE)), Complaints::new());
}

#[test]
fn the_guide_has_no_alert_that_is_gone() {
    let alerts: BTreeSet<String> = alerts(&read(RULES)).into_iter().map(|alert| alert.name).collect();
    let guide = read(GUIDE);
    let rows = guide.lines().filter_map(|line| line.strip_prefix("| `Cellgate")?.split('`').next());
    let rows: BTreeSet<String> = rows.map(|rest| format!("Cellgate{rest}")).collect();
    assert_eq!(rows, alerts);
}

#[test]
fn each_runbook_is_led_to_by_an_alert_that_it_names() {
    let rules = read(RULES);
    assert_eq!(strayed(&rules), Complaints::new());
    let elsewhere = "runbook: docs/standing.md#see-why";
    let wrong = rules.replace("runbook: docs/runbooks/recovery.md", elsewhere);
    assert_eq!(strayed(&wrong), ["docs/runbooks/recovery.md: no alert leads to it"]);
    let wrong = rules.replacen(elsewhere, "runbook: docs/runbooks/recovery.md", 1);
    assert_eq!(strayed(&wrong).len(), 1, "an alert that the page does not know");
}

#[test]
fn no_date_of_a_configuration_stands_in_the_rules() {
    let written = |rule: &Value| text(rule, "expr").contains("vector(1");
    assert!(!rules(&read(RULES)).iter().any(written), "dates come from cellgate_sunset_timestamp_seconds");
}

#[test]
fn every_panel_has_a_unit_a_description_and_a_place_of_its_own() {
    let dashboard = dashboard();
    assert_eq!(careless_panels(&dashboard), Complaints::new());
    let mut wrong = dashboard.clone();
    wrong["panels"][1]["fieldConfig"]["defaults"]["unit"] = "".into();
    wrong["panels"][2]["description"] = "".into();
    wrong["panels"][3]["gridPos"] = wrong["panels"][4]["gridPos"].clone();
    wrong["panels"][5]["id"] = wrong["panels"][6]["id"].clone();
    wrong["panels"][7]["targets"][0]["datasource"]["uid"] = "prometheus-1".into();
    assert_eq!(careless_panels(&wrong).len(), 5, "{:?}", careless_panels(&wrong));

    assert_eq!(dashboard["uid"], "cellgate", "links to it stay good");
    let rows: Vec<&str> =
        panels(&dashboard).iter().filter(|panel| panel["type"] == "row").map(title).collect();
    assert_eq!(rows, ["Legacy use", "Brownouts", "Cells", "Configuration", "Books and logs"]);
}

/// One alert, as far as these tests look at it.
struct Alert {
    name: String,
    rule: Value,
}

fn alerts(rules_text: &str) -> Vec<Alert> {
    let alerts = rules(rules_text).into_iter().filter(|rule| !rule["alert"].is_null());
    alerts.map(|rule| Alert { name: text(&rule, "alert"), rule }).collect()
}

fn rules(rules_text: &str) -> Vec<Value> {
    let file: Value = serde_yaml::from_str(rules_text).unwrap();
    list(&file["groups"]).iter().flat_map(|group| list(&group["rules"]).to_vec()).collect()
}

fn recorded(rules_text: &str) -> BTreeSet<String> {
    rules(rules_text).iter().map(|rule| text(rule, "record")).filter(|name| !name.is_empty()).collect()
}

/// Names of metrics in a text that nobody measures or records.
fn unknown(text: &str, recorded: &BTreeSet<String>) -> Complaints {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    // Sentences and YAML put colons behind a name.
    let words = words.map(|word| word.trim_matches(':'));
    let mut unknown = Complaints::new();
    for word in words {
        let is_recorded = word.contains(":cellgate_") || word.starts_with("cellgate:");
        if is_recorded && !recorded.contains(word) || word.starts_with("cellgate_") && !is_measured(word) {
            unknown.push(word.to_owned());
        }
    }
    unknown
}

fn is_measured(name: &str) -> bool {
    let of_family = |family: &families::Family| {
        let rest = name.strip_prefix(family.name);
        rest.is_some_and(|rest| match family.kind {
            Kind::Histogram => ["", "_bucket", "_sum", "_count"].contains(&rest),
            Kind::Counter | Kind::Gauge => rest.is_empty(),
        })
    };
    families::ALL.iter().any(of_family)
}

/// What alerts of the rules leave unsaid, there or in the guide.
fn careless(rules_text: &str, guide: &str) -> Complaints {
    let mut complaints = Complaints::new();
    for Alert { name, rule } in alerts(rules_text) {
        let mut must = |holds: bool, what: &str| {
            if !holds {
                complaints.push(format!("{name}: {what}"));
            }
        };
        let severity = text(&rule["labels"], "severity");
        must(["critical", "warning", "info"].contains(&&*severity), "say whom it calls: severity");
        for key in ["summary", "description"] {
            must(!text(&rule["annotations"], key).is_empty(), &format!("write a {key}"));
        }
        must(leads_somewhere(&text(&rule["annotations"], "runbook")), "name a file and a heading in runbook");
        let stands = rules_text.split(&format!("alert: {name}\n")).nth(1).unwrap();
        let until_labels = stands.split("labels:").next().unwrap();
        must(until_labels.contains("  # "), "give the reasons of its numbers in a comment");
        must(guide.contains(&format!("| `{name}` | {severity} |")), "give it a row in docs/monitoring.md");
    }
    complaints
}

/// Runbooks that no alert leads to, and alerts that lead to one whose "You notice" has no word of them.
fn strayed(rules_text: &str) -> Complaints {
    let pages: Vec<String> =
        below(RUNBOOKS).into_iter().filter(|page| !page.ends_with("README.md")).collect();
    assert!(pages.len() > 5, "there are pages to look at: {pages:?}");
    let alerts = alerts(rules_text);
    let mut strayed = Complaints::new();
    for page in pages {
        let text = read(&page);
        let noticed = text.split("**You notice:**").nth(1).unwrap_or_default();
        let noticed = noticed.split("\n\n").next().unwrap_or_default();
        let leads = |alert: &&Alert| {
            let runbook = self::text(&alert.rule["annotations"], "runbook");
            runbook.split('#').next() == Some(&page)
        };
        let leading: Vec<&Alert> = alerts.iter().filter(leads).collect();
        if leading.is_empty() {
            strayed.push(format!("{page}: no alert leads to it"));
        }
        let unknown = leading.iter().filter(|alert| !noticed.contains(&format!("`{}`", alert.name)));
        strayed.extend(unknown.map(|alert| format!("{page} does not say that one notices {}", alert.name)));
    }
    strayed
}

/// `docs/standing.md#see-why` leads to a heading "See why".
fn leads_somewhere(runbook: &str) -> bool {
    let (file, anchor) = runbook.split_once('#').unwrap_or((runbook, ""));
    let Ok(page) = fs::read_to_string(path(file)) else { return false };
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let mut anchors = headings.map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect::<String>()
    });
    anchor.is_empty() || anchors.any(|found| found == anchor)
}

fn careless_panels(dashboard: &serde_json::Value) -> Complaints {
    let mut complaints = Complaints::new();
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(dashboard) {
        let mut must = |holds: bool, what: &str| {
            if !holds {
                complaints.push(format!("{}: {what}", title(panel)));
            }
        };
        must(ids.insert(panel["id"].as_u64()), "has the id of another");
        must(places.is_disjoint(&cells_of_grid(panel)), "lies over another");
        places.extend(cells_of_grid(panel));
        if panel["type"] == "row" {
            continue;
        }
        let said = |value: &serde_json::Value| value.as_str().is_some_and(|text| !text.is_empty());
        must(said(&panel["description"]), "has no description");
        must(said(&panel["fieldConfig"]["defaults"]["unit"]), "has no unit");
        let sources = panel["targets"].as_array().unwrap().iter().chain([panel]);
        let mut sources = sources.map(|of| &of["datasource"]["uid"]);
        must(sources.all(|uid| uid == "${datasource}"), "asks one data source only");
    }
    complaints
}

fn cells_of_grid(panel: &serde_json::Value) -> BTreeSet<(u64, u64)> {
    let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
    let rows = at("y")..at("y") + at("h");
    rows.flat_map(|y| (at("x")..at("x") + at("w")).map(move |x| (x, y))).collect()
}

/// Every expression in the dashboard, that of annotations included.
fn expressions(dashboard: &serde_json::Value) -> Vec<String> {
    let targets =
        panels(dashboard).iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let annotations = dashboard["annotations"]["list"].as_array().unwrap();
    targets.chain(annotations).map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

fn dashboard() -> serde_json::Value {
    serde_json::from_str(&read(DASHBOARD)).unwrap()
}

fn panels(dashboard: &serde_json::Value) -> &Vec<serde_json::Value> {
    dashboard["panels"].as_array().unwrap()
}

fn title(panel: &serde_json::Value) -> &str {
    panel["title"].as_str().unwrap()
}

fn text(of: &Value, key: &str) -> String {
    of[key].as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_sequence().unwrap()
}

/// Markdown files below a folder.
fn below(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path(folder)).unwrap() {
        let name = format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap());
        if Path::new(&path(&name)).is_dir() {
            found.extend(below(&name));
        } else if name.ends_with(".md") {
            found.push(name);
        }
    }
    found
}

fn promtool(arguments: &[&str]) {
    let ended = Command::new("promtool").args(arguments).output();
    let output = ended.unwrap_or_else(|error| {
        panic!("promtool is needed here and does not start: {error}; `scripts/setup test` installs it")
    });
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}:\n{said}");
}

fn read(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn path(file: &str) -> String {
    format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))
}
