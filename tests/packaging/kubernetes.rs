//! The chart, rendered by the real helm: its manifests hold to the schemas of Kubernetes, are those that lie in
//! `packaging/kubernetes/`, and cannot contradict the configuration. Its parts that are no manifests run here as they are.
//! No cluster has ever seen them, and what the Prometheus operator reads has no schema here.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};

use serde::Deserialize;
use serde_yaml::Value;

use crate::checkers::{checker, helm, objects, passes, with};
use crate::example::Example;
use crate::process::{Process, quiet_port};
use crate::raw_http;
use crate::running::{Folder, eventually};

const CHART: &str = "packaging/helm/cellgate";
const VALUES: &str = "packaging/kubernetes/values.yaml";
const BOOT: &str = "packaging/kubernetes/boot.yaml";
const MANIFESTS: &str = "packaging/kubernetes/cellgate.yaml";

/// The oldest that has all of it, and the newest that is known here.
const KUBERNETES: [&str; 2] = ["1.30", "1.37"];

/// As docs/deploy.md says it.
pub const FILES: [&str; 3] = [
    "config.boot=packaging/kubernetes/boot.yaml",
    r"config.files.cellgate\.yaml=packaging/example/cellgate.yaml",
    r"config.files.accounts\.csv=packaging/example/accounts.csv",
];

fn with_files(mut command: Command, files: &[&str]) -> Command {
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["-f", VALUES]);
    for file in files {
        command.args(["--set-file", file]);
    }
    command
}

/// `helm template` of the example, with further values.
pub fn template(files: &[&str], values: &[&str]) -> Command {
    let mut command = helm();
    command.args(["template", "cellgate", CHART]);
    let mut command = with_files(command, files);
    for value in values {
        command.args(["--set", value]);
    }
    command
}

fn rendered(values: &[&str]) -> Vec<Value> {
    manifests(&passes(&mut template(&FILES, values)))
}

pub fn manifests(text: &str) -> Vec<Value> {
    let documents = serde_yaml::Deserializer::from_str(text);
    documents.map(|one| Value::deserialize(one).unwrap()).filter(|one| !one.is_null()).collect()
}

#[track_caller]
pub fn named<'m>(manifests: &'m [Value], kind: &str, name: &str) -> &'m Value {
    let is =
        |one: &&Value| one["kind"].as_str() == Some(kind) && one["metadata"]["name"].as_str() == Some(name);
    manifests.iter().find(is).unwrap()
}

/// Each container by its name.
fn containers(stateful_set: &Value) -> BTreeMap<&str, &Value> {
    let containers = stateful_set["spec"]["template"]["spec"]["containers"].as_sequence().unwrap();
    containers.iter().map(|one| (one["name"].as_str().unwrap(), one)).collect()
}

#[test]
fn helm_has_nothing_against_the_chart() {
    let mut lint = helm();
    lint.args(["lint", "--strict", CHART]);
    passes(&mut with_files(lint, &FILES));
    let version = crate::read("Cargo.toml");
    let version = version.lines().find_map(|line| line.strip_prefix("version = ")).unwrap().trim_matches('"');
    assert!(crate::read(&format!("{CHART}/Chart.yaml")).contains(&format!("\nappVersion: {version}\n")));
}

#[test]
fn the_manifests_are_what_the_chart_makes_of_the_example() {
    let head = "# What the chart makes of values.yaml, boot.yaml and ../example, for who has no helm. Not to be edited: the test\n\
                # `packaging` writes it anew with UPDATE_MANIFESTS=1. `kubectl apply -n NAMESPACE -f cellgate.yaml`;\n\
                # before it, once, the first start of a fleet, as docs/deploy.md has it.\n";
    let made = format!("{head}{}", passes(&mut template(&FILES, &[])));
    if std::env::var_os("UPDATE_MANIFESTS").is_some() {
        fs::write(crate::path(MANIFESTS), &made).unwrap();
    }
    assert!(
        crate::read(MANIFESTS) == made,
        "{MANIFESTS} is older than the chart: UPDATE_MANIFESTS=1 writes it anew"
    );
}

#[test]
fn every_manifest_holds_to_the_schema_of_its_kind() {
    let validate = |file: &std::path::Path, version: &str| {
        let mut validate = checker("kubernetes-validate");
        validate.args(["--strict", "--kubernetes-version", version]).arg(file);
        validate
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("manifests.yaml");
    let text = passes(&mut template(&FILES, &[]));
    // Those of the Prometheus operator have none here.
    let known: Vec<&str> =
        text.split("---\n").filter(|one| !one.contains("apiVersion: monitoring.coreos.com/")).collect();
    assert_eq!(known.len(), manifests(&text).len());
    fs::write(&file, known.join("---\n")).unwrap();
    for version in KUBERNETES {
        passes(&mut validate(&file, version));
    }
    fs::write(&file, known.join("---\n").replace("serviceName:", "servicename:")).unwrap();
    assert!(objects(&mut validate(&file, KUBERNETES[1])).contains("servicename"));
}

#[test]
fn the_numbers_of_the_manifests_follow_from_the_configuration() {
    let manifests = rendered(&[]);
    let (boot, config) = Example::with(BOOT).read();
    let set = named(&manifests, "StatefulSet", "cellgate");
    let pod = &set["spec"]["template"]["spec"];
    let scaler = &named(&manifests, "HorizontalPodAutoscaler", "cellgate")["spec"];
    let budget = &named(&manifests, "PodDisruptionBudget", "cellgate")["spec"];
    assert_eq!(scaler["maxReplicas"].as_u64(), Some(config.protection.replicas.get().into()));
    assert!(budget["maxUnavailable"].as_u64() < scaler["minReplicas"].as_u64());
    assert!(set["spec"].get("replicas").is_none(), "who scales says how many");

    let containers = containers(set);
    let pause = containers["cellgate"]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    let stops_within = pause + (boot.drain.grace + boot.drain.deadline).as_secs();
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > stops_within);
    let annotations = &named(&manifests, "Service", "cellgate")["metadata"]["annotations"];
    let attributes =
        annotations["service.beta.kubernetes.io/aws-load-balancer-target-group-attributes"].as_str().unwrap();
    let delay = attributes.split("deregistration_delay.timeout_seconds=").nth(1).unwrap();
    assert!(delay.split(',').next().unwrap().parse::<u64>().unwrap() > stops_within);

    let ports = containers["cellgate"]["ports"].as_sequence().unwrap();
    let listens = |port: &Value| {
        let listener = boot.listeners.iter().find(|one| Some(one.name.as_str()) == port["name"].as_str());
        listener.map(|one| u64::from(one.address.port())) == port["containerPort"].as_u64()
    };
    assert!(ports.len() == 2 && ports.iter().all(listens), "{ports:?}");
    let arguments: Vec<&str> =
        containers["cellgate"]["args"].as_sequence().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(arguments.contains(&&*format!("--state-dir={}", boot.state_dir.display())), "{arguments:?}");
    for container in containers.values() {
        let security = &container["securityContext"];
        assert_eq!(security["readOnlyRootFilesystem"].as_bool(), Some(true));
        assert_eq!(security["capabilities"]["drop"][0].as_str(), Some("ALL"));
    }
    let claim = &set["spec"]["volumeClaimTemplates"][0]["metadata"]["name"];
    let mounts = containers["cellgate"]["volumeMounts"].as_sequence().unwrap();
    let state = mounts.iter().find(|mount| &mount["name"] == claim).unwrap();
    assert!(boot.state_dir.starts_with(state["mountPath"].as_str().unwrap()), "a volume that stays");
}

/// Two ports for one listener, as `--set` takes them.
fn two_ports(name: &str, port: u16, other_name: &str, other_port: u16) -> String {
    let ports = [(name, port), (other_name, other_port)];
    let words = ports.iter().enumerate().map(|(at, (name, port))| {
        let at = format!("service.ports[{at}]");
        format!("{at}.name={name},{at}.port={port},{at}.listener=https")
    });
    words.collect::<Vec<_>>().join(",")
}

/// The words of docs/deploy.md between two others.
fn guide_between(before: &str, after: &str) -> String {
    let guide = crate::read("docs/deploy.md");
    let (_, rest) = guide.split_once(before).unwrap();
    rest.split_once(after).unwrap().0.to_owned()
}

/// All replicas start with `--bootstrap` at once, and nothing but the autoscaler ever says how many there are.
#[track_caller]
fn is_the_first_start_of_all(manifests: &[Value]) {
    let set = named(manifests, "StatefulSet", "cellgate");
    let arguments = containers(set)["cellgate"]["args"].as_sequence().unwrap();
    assert!(arguments.contains(&"--bootstrap".into()), "{arguments:?}");
    let scaler = &named(manifests, "HorizontalPodAutoscaler", "cellgate")["spec"];
    assert_eq!(scaler["minReplicas"], scaler["maxReplicas"]);
    assert!(set["spec"].get("replicas").is_none(), "a number that is taken back later leaves one replica");
    let waited = guide_between("--for=jsonpath='{.status.availableReplicas}'=", " ");
    assert_eq!(scaler["maxReplicas"].as_u64(), waited.parse().ok());
}

#[test]
fn the_first_install_as_the_guide_has_it_starts_all_replicas_at_once_and_waits_for_them() {
    let values = guide_between("helm install cellgate \"$@\" --set ", "\n");
    is_the_first_start_of_all(&rendered(&[&values]));
    let guide = crate::read("docs/deploy.md");
    let order = [
        "kubectl create namespace edge\n",
        "kubectl -n edge create secret ",
        "helm install cellgate ",
        "kubectl -n edge wait statefulset/cellgate ",
        "helm upgrade cellgate \"$@\" --wait ",
    ];
    let at = order.map(|words| guide.find(words).unwrap());
    assert!(at.is_sorted(), "{at:?}");
}

#[test]
fn whoever_has_no_helm_gets_the_same_first_start() {
    let line = guide_between("\nawk ", " |\n");
    let mut shell = Command::new("sh");
    shell.current_dir(env!("CARGO_MANIFEST_DIR")).args(["-c", &format!("awk {line}")]);
    let first = manifests(&passes(&mut shell));
    is_the_first_start_of_all(&first);
    assert_eq!(first.len(), manifests(&crate::read(MANIFESTS)).len());
    assert!(crate::read(MANIFESTS).lines().nth(2).unwrap().contains("docs/deploy.md"), "its head says where");
}

#[test]
fn the_chart_is_not_rendered_where_values_and_configuration_contradict_each_other() {
    for (values, said) in [
        (&["autoscaling.maxReplicas=7"][..], "is 6, and up to 7 replicas run (autoscaling.maxReplicas)"),
        (&["autoscaling.enabled=false"], "is 6, and up to 3 replicas run (replicas)"),
        (&["autoscaling.minReplicas=7"], "minReplicas is above maxReplicas"),
        (
            &["service.ports[0].name=a,service.ports[0].port=1,service.ports[0].listener=h3"],
            "h3, and config.boot has https, http",
        ),
        (&["persistence.enabled=false"], "additional properties 'enabled' not allowed"),
        (&["metrics.sidecar.enabled=false"], "needs metrics.sidecar.enabled"),
        (&["config.volume.emptyDir.medium=Memory"], "exclude each other"),
        (
            &["service.ports[0].name=metrics,service.ports[0].port=443,service.ports[0].listener=https"],
            "have the name metrics, or one has it and metrics.sidecar the other",
        ),
        (&[&two_ports("a", 1, "a", 2)], "two ports have the name a"),
        (&[&two_ports("a", 1, "b", 1)], "service.ports: port 1 is there twice"),
        (&[&two_ports("a", 1, "b", 2)], "b leads to port 8443 of the pod, and so does another"),
        (&["metrics.sidecar.port=8443"], "https leads to port 8443 of the pod, and so does another"),
        (&[&two_ports("a--b", 1, "b", 2)], "/service/ports/0/name"),
        (
            &[r"metrics.serviceMonitor.labels.app\.kubernetes\.io/name=edge"],
            "metrics.serviceMonitor.labels: app.kubernetes.io/name is the chart's own",
        ),
        (&[r"metrics.dashboard.labels.helm\.sh/chart=edge"], "helm.sh/chart is the chart's own"),
    ] {
        let told = objects(&mut template(&FILES, values));
        assert!(told.contains(said), "{said} in {told}");
    }
    for (files, said) in [
        (&FILES[1..], "--set-file config.boot=boot.yaml"),
        (&FILES[..1], "there is no configuration"),
        (&[FILES[0], FILES[2]], "config.files has no cellgate.yaml"),
    ] {
        let told = objects(&mut template(files, &[]));
        assert!(told.contains(said), "{said} in {told}");
    }
    for grace in ["1m30s", "30", "015s", "15 s", "soon"] {
        let (_folder, boot) = with(BOOT, "grace: 15s", &format!("grace: {grace}"), "boot.yaml");
        let boot = format!("config.boot={}", boot.display());
        let told = objects(&mut template(&[&boot, FILES[1], FILES[2]], &[]));
        assert!(told.contains(&format!("{grace} is no time: one number and one unit")), "{told}");
    }
    // A fixed number of replicas, and one that fits.
    let fixed = rendered(&["autoscaling.enabled=false", "replicas=6"]);
    assert_eq!(named(&fixed, "StatefulSet", "cellgate")["spec"]["replicas"].as_u64(), Some(6));
}

#[test]
fn config_maps_have_the_files_byte_for_byte_and_only_boot_yaml_restarts_pods() {
    let manifests = rendered(&["metrics.rules.enabled=true", "metrics.dashboard.enabled=true"]);
    for (map, name, file) in [
        ("cellgate-boot", "boot.yaml", BOOT),
        ("cellgate-config", "cellgate.yaml", "packaging/example/cellgate.yaml"),
        ("cellgate-config", "accounts.csv", "packaging/example/accounts.csv"),
        ("cellgate-dashboard", "cellgate.json", "monitoring/grafana/cellgate.json"),
    ] {
        let text = named(&manifests, "ConfigMap", map)["data"][name].as_str().unwrap();
        assert!(text == crate::read(file), "{file} in {map}");
    }
    let rules: Value = serde_yaml::from_str(&crate::read("monitoring/cellgate.rules.yaml")).unwrap();
    assert_eq!(named(&manifests, "PrometheusRule", "cellgate")["spec"], rules);

    let pods = |files: &[&str]| {
        let all = self::manifests(&passes(&mut template(files, &[])));
        named(&all, "StatefulSet", "cellgate")["spec"]["template"].clone()
    };
    let before = pods(&FILES);
    let other = [FILES[0], FILES[1], r"config.files.accounts\.csv=config/accounts.csv"];
    assert_eq!(pods(&other), before, "accounts are taken over by a reload");
    let other = [FILES[1], FILES[2], "config.boot=packaging/docker/boot.yaml"];
    assert_ne!(pods(&other)["metadata"], before["metadata"], "boot.yaml is not");
}

#[test]
fn probes_tell_a_replica_that_drains_from_one_that_is_gone() {
    let manifests = rendered(&[]);
    let container = containers(named(&manifests, "StatefulSet", "cellgate"))["cellgate"].clone();
    let folder = Folder::example(&BTreeMap::new());
    folder.edit("config/boot.yaml", "grace: 100ms", "grace: 60s");
    let mut process = Process::start(&folder);
    let probe = |name: &str| {
        let words =
            container[name]["exec"]["command"].as_sequence().unwrap().iter().map(|one| one.as_str().unwrap());
        let socket = folder.path("state/admin.sock");
        let words: Vec<&str> = words
            .map(|word| if word.ends_with("/admin.sock") { socket.to_str().unwrap() } else { word })
            .collect();
        assert_eq!(words[0], "cellgate");
        Command::new(env!("CARGO_BIN_EXE_cellgate")).args(&words[1..]).output().unwrap().status.code()
    };
    let all = || ["startupProbe", "readinessProbe", "livenessProbe"].map(probe);
    assert_eq!(all(), [Some(0); 3]);
    process.signal("TERM");
    eventually("readiness to fail", || (probe("readinessProbe") == Some(1)).then_some(()));
    assert_eq!(all(), [Some(0), Some(1), Some(0)], "it is alive, and is not to be killed for draining");
    process.signal("TERM");
    process.ended();
    assert_eq!(all(), [Some(1); 3]);
}

/// A server that ends with the test.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_sidecar_lets_in_who_scrapes_and_shows_nothing_else() {
    let manifests = rendered(&[]);
    let text = named(&manifests, "ConfigMap", "cellgate-metrics")["data"]["nginx.conf"].as_str().unwrap();
    let folder = Folder::example(&BTreeMap::new());
    let process = Process::start(&folder);
    let (port, temporary) = (quiet_port(), tempfile::tempdir().unwrap());
    let text = text
        .replace("listen 9901;", &format!("listen 127.0.0.1:{port};"))
        .replace("127.0.0.1:9900", &process.admin().to_string())
        .replace("/tmp/", &format!("{}/", temporary.path().display()));
    let file = temporary.path().join("nginx.conf");
    fs::write(&file, text).unwrap();
    let mut nginx = Command::new("nginx");
    nginx.arg("-e").arg("stderr").arg("-c").arg(&file).args(["-g", "daemon off; master_process off;"]);
    let _nginx = Nginx(nginx.stderr(Stdio::null()).spawn().unwrap());
    let address = ([127, 0, 0, 1], port).into();
    eventually("nginx", || std::net::TcpStream::connect(address).ok());
    let status = |request: &str| {
        let request = format!(
            "{request} HTTP/1.1\r\nHost: 10.0.3.4:9901\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        raw_http::ask(&mut raw_http::tcp(address), request.as_bytes()).unwrap()
    };
    let page = status("GET /metrics");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("\ncellgate_replicas_declared 1\n"), "the page of metrics");
    assert_eq!(status("GET /readyz").status, 200);
    for (request, expect) in [
        ("GET /", 404),
        ("GET /cells", 404),
        ("GET /report", 404),
        ("GET /metrics/../cells", 404),
        ("GET //cells", 404),
        ("POST /metrics", 403),
        ("POST /reload", 404),
    ] {
        assert_eq!(status(request).status, expect, "{request}");
    }
}
