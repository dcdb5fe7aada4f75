//! The image and how compose runs it. No container engine is had here: hadolint reads the one, the compose
//! specification's schema the other.

use std::process::Command;

use serde_yaml::Value;

use crate::checkers::{checker, objects, passes, with};
use crate::example::Example;

const DOCKERFILE: &str = "Dockerfile";
const COMPOSE: &str = "packaging/docker/compose.yaml";

fn hadolint(file: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut hadolint = checker("hadolint");
    hadolint.arg("--failure-threshold=style").arg(file);
    hadolint
}

fn compose_schema(file: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut check = checker("check-jsonschema");
    check.args(["--builtin-schema", "vendor.compose-spec"]).arg(file);
    check
}

#[test]
fn hadolint_has_nothing_against_the_dockerfile() {
    passes(&mut hadolint(crate::path(DOCKERFILE)));
    let (_folder, wrong) = with(DOCKERFILE, "FROM debian:bookworm-slim", "FROM debian", "Dockerfile");
    assert!(objects(&mut hadolint(wrong)).contains("DL3006"), "an image without a version");
}

#[test]
fn the_image_is_nobody_in_particular_and_is_asked_whether_it_is_ready() {
    let text = crate::read(DOCKERFILE);
    let last = text.rsplit("\nFROM ").next().unwrap();
    for line in ["USER 65532:65532", "STOPSIGNAL SIGTERM", "ENTRYPOINT [\"cellgate\"]"] {
        assert!(last.lines().any(|found| found == line), "{line}");
    }
    assert!(last.contains("CMD [\"cellgate\", \"healthz\", \"--socket\", \"/var/lib/cellgate/admin.sock\"]"));
}

#[test]
fn the_head_of_the_dockerfile_has_the_first_start_of_a_volume_which_is_the_usual_one_with_bootstrap() {
    let text = crate::read(DOCKERFILE);
    let command = text.lines().find_map(|line| line.strip_prefix("CMD [")).unwrap();
    let words: Vec<&str> =
        command.trim_end_matches(']').split(", ").map(|word| word.trim_matches('"')).collect();
    let runs: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("#   docker run --rm \"$@\" ")).collect();
    assert_eq!(runs, [&*format!("cellgate {} --bootstrap", words.join(" ")), "cellgate"]);
}

#[test]
fn the_compose_file_holds_to_its_schema_and_gives_the_container_as_little_as_it_needs() {
    passes(&mut compose_schema(crate::path(COMPOSE)));
    let (_folder, wrong) = with(COMPOSE, "cap_drop:", "cap_dropped:", "compose.yaml");
    assert!(objects(&mut compose_schema(wrong)).contains("cap_dropped"));

    let compose: Value = serde_yaml::from_str(&crate::read(COMPOSE)).unwrap();
    let service = &compose["services"]["cellgate"];
    assert_eq!(service["read_only"], Value::Bool(true));
    assert_eq!(service["cap_drop"][0].as_str(), Some("ALL"));
    assert!(service["security_opt"][0].as_str().unwrap().starts_with("no-new-privileges"));
    let volumes = service["volumes"].as_sequence().unwrap();
    let state = volumes.iter().find(|volume| volume["target"].as_str() == Some("/var/lib/cellgate")).unwrap();
    assert_eq!(state["type"].as_str(), Some("volume"));
    assert!(compose["volumes"].get(state["source"].as_str().unwrap()).is_some(), "it has a name");

    let (boot, _) = Example::with("packaging/docker/boot.yaml").read();
    let stop = service["stop_grace_period"].as_str().unwrap().trim_end_matches('s').parse().unwrap();
    assert!((boot.drain.grace + boot.drain.deadline).as_secs() < stop);
    let inside: Vec<String> = boot.listeners.iter().map(|one| one.address.port().to_string()).collect();
    for port in service["ports"].as_sequence().unwrap() {
        let (_, listener) = port.as_str().unwrap().split_once(':').unwrap();
        assert!(inside.iter().any(|port| port == listener), "{listener} of {inside:?}");
    }
}
