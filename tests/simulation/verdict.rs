//! Sick cell or sick network: traffic and a network that produce what a proxy would see, faults scripted into them,
//! and what the detector must say of each.

mod faults;
mod network;

use cellgate::policy::protection::verdict::signals::{Segments, Signals};
use faults::{Fault, What, Whom};
use network::{Layout, Network};

/// A model that does not show its faults would prove nothing of a detector.
#[test]
fn faults_are_seen_in_what_is_measured_and_elsewhere_nothing() {
    let fault = |what, whom| Fault { whom, what, from: 300, until: 400 };
    let mean =
        |what: What, of: &dyn Fn(&network::Endpoint) -> bool, value: &dyn Fn(&Signals) -> Option<f64>| {
            let mut network = Network::new(1, Layout::USUAL);
            network.faults.push(fault(what, Whom::Zone(1)));
            let (mut before, mut during) = (Mean::default(), Mean::default());
            for second in 1..400 {
                let (signals, _) = network.step();
                let into = if second < 300 { &mut before } else { &mut during };
                for (signals, endpoint) in signals.iter().zip(&network.endpoints) {
                    if of(endpoint) {
                        into.add(value(signals));
                    }
                }
            }
            (before.value(), during.value())
        };
    let inside = |endpoint: &network::Endpoint| endpoint.zone == 1;
    let outside = |endpoint: &network::Endpoint| endpoint.zone != 1;
    let rtt = |signals: &Signals| signals.kernel.map(|kernel| kernel.rtt.as_secs_f64());
    let retransmitted = |signals: &Signals| {
        let Segments { sent, retransmitted } = signals.segments;
        (sent > 0).then(|| f64::from(retransmitted) / f64::from(sent))
    };
    let (before, during) = mean(What::Delay(0.02), &inside, &rtt);
    assert!(before < 0.01 && (0.018..0.03).contains(&(during - before)), "{before} {during}");
    let (before, during) = mean(What::Delay(0.02), &outside, &rtt);
    assert!((during / before - 1.0).abs() < 0.2, "{before} {during}");
    let (before, during) = mean(What::Loss(0.05), &inside, &retransmitted);
    assert!(before < 0.003 && (0.02..0.05).contains(&during), "{before} {during}");
    let (before, during) = mean(What::Loss(0.05), &outside, &retransmitted);
    assert!(before < 0.003 && during < 0.003, "{before} {during}");
    let first_byte = |signals: &Signals| signals.first_byte.map(|time| time.as_secs_f64());
    let (before, during) = mean(What::Slow(4.0), &inside, &first_byte);
    assert!((2.0..5.0).contains(&(during / before)), "{before} {during}");
}

#[derive(Default)]
struct Mean(f64, f64);

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.0 += value;
            self.1 += 1.0;
        }
    }

    fn value(&self) -> f64 {
        self.0 / self.1.max(1.0)
    }
}
