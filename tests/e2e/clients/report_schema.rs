//! The JSON of reports against `docs/report.schema.json`, by a validator that others wrote: of hosts that were made up, and of a
//! real process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cellgate::audit::fleet::Fleet;
use cellgate::audit::json;
use cellgate::policy::legacy_use::forecast::{Forecast, forecast};
use serde_json::Value;

use crate::fleet::{made_up, report_of};
use crate::python::python;

/// What the validator says of reports.
fn validated(reports: &[PathBuf]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(python());
    command.arg(root.join("tests/e2e/clients/valid_report.py")).arg(root.join("docs/report.schema.json"));
    command.args(reports).output().unwrap()
}

/// Fails where one is not what the schema says.
pub fn is_valid(reports: &[PathBuf]) {
    let output = validated(reports);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn file(name: &str, text: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/e2e");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("report-{name}.json"));
    fs::write(&file, text).unwrap();
    file
}

#[test]
fn every_report_is_what_its_schema_says() {
    let print = |fleet: &Fleet| json::print(&report_of(fleet), fleet, 20).unwrap();
    let change = |change: &dyn Fn(&mut Fleet)| {
        let mut fleet = made_up(40);
        change(&mut fleet);
        print(&fleet)
    };
    let plain = print(&made_up(40));
    is_valid(&[
        file("plain", &plain),
        file("nobody", &print(&made_up(0))),
        file("early", &change(&|fleet| fleet.forecast = Forecast::TooEarly(3))),
        file("endless", &change(&|fleet| fleet.forecast = forecast(&[], None, 1))),
        file("past", &change(&|fleet| fleet.sunset_at = Some(fleet.generated_at - 1))),
        file("dateless", &change(&|fleet| (fleet.sunset_at, fleet.deprecated_since) = (None, None))),
        file("doubted", &change(&|fleet| fleet.coverage.share = 0.5)),
        file(
            "unknown",
            &change(&|fleet| {
                for account in &mut fleet.accounts {
                    (account.address, account.cell, account.judged.cadence) = (None, None, None);
                    account.details.clear();
                }
            }),
        ),
    ]);
    let mut one = report_of(&made_up(1));
    one.only = Some(70_000);
    is_valid(&[file("one", &json::print(&one, &made_up(1), 1).unwrap())]);

    // The validator looks: a field less, one more, and one that is something else.
    type Damage = fn(&mut Value);
    let damages: [(Damage, &str); 3] = [
        (|report| drop(report["host"].as_object_mut().unwrap().remove("curve")), "'curve' is a required"),
        (|report| report["accounts"][0]["owner"] = "kim".into(), "'owner' was unexpected"),
        (|report| report["since"] = 7.into(), "7 is not of type 'string'"),
    ];
    for (damage, expect) in damages {
        let mut report: Value = serde_json::from_str(&plain).unwrap();
        damage(&mut report);
        let output = validated(&[file("damaged", &report.to_string())]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(expect), "{told}");
    }
}
