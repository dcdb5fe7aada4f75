//! What the chart asks of the cluster that it goes to: how many replicas serve there. The real helm asks; what answers is
//! `cluster.py`, which knows no more than helm wants to know.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_yaml::Value;

use crate::checkers::passes;
use crate::kubernetes::{FILES, manifests, named, template};
use crate::python::checkers_python;

/// Answers until the end of the test.
struct Cluster {
    process: Child,
    address: String,
}

impl Cluster {
    fn start(replicas: &[&str]) -> Self {
        let mut command = Command::new(checkers_python());
        command.arg(crate::path("tests/packaging/cluster.py")).args(replicas);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { process, address: format!("http://127.0.0.1:{}", port.trim()) }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `spec.replicas` as helm would send it where so many replicas are.
fn replicas_sent(there: &[&str], values: &[&str]) -> Option<u64> {
    let cluster = Cluster::start(there);
    let mut asks = template(&FILES, values);
    asks.args(["--namespace", "edge", "--dry-run=server", "--disable-openapi-validation"]);
    asks.args(["--kube-apiserver", &cluster.address]);
    let sent: Vec<Value> = manifests(&passes(&mut asks));
    named(&sent, "StatefulSet", "cellgate")["spec"]["replicas"].as_u64()
}

#[test]
fn turning_the_autoscaler_on_leaves_as_many_replicas_as_serve_until_it_has_counted_itself() {
    assert_eq!(replicas_sent(&["5"], &[]), Some(5), "a number that is taken out is 1 to Kubernetes");
    assert_eq!(
        replicas_sent(&[], &[]),
        None,
        "the first install, where the autoscaler brings the first replicas"
    );
    let fixed = ["autoscaling.enabled=false", "replicas=6"];
    assert_eq!(replicas_sent(&["5"], &fixed), Some(6), "who scales by hand says how many");
}
