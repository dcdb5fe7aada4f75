//! The registry that all series of a process live in: creates them by name and prints them. Only used
//! when handles are made and when somebody scrapes, never for a request.

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::families::{self, Family, Kind, duration_buckets};

/// See the module.
#[derive(Debug)]
pub(super) struct Registry {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl Registry {
    /// An empty registry that knows the help text of every family.
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&duration_buckets())
            .expect("the list of buckets is not empty")
            .build_recorder();
        for family in families::ALL {
            match family.kind {
                Kind::Counter => recorder.describe_counter(family.name.into(), None, family.help.into()),
                Kind::Gauge => recorder.describe_gauge(family.name.into(), None, family.help.into()),
                Kind::Histogram => {
                    recorder.describe_histogram(family.name.into(), None, family.help.into());
                }
            }
        }
        Self { handle: recorder.handle(), recorder }
    }

    /// The counter with these labels; the same one each time.
    pub fn counter(&self, family: &Family, labels: &[(&'static str, &str)]) -> Counter {
        debug_assert_eq!(family.kind, Kind::Counter);
        self.recorder.register_counter(&key(family, labels), &METADATA)
    }

    /// The histogram with these labels; the same one each time.
    pub fn histogram(&self, family: &Family, labels: &[(&'static str, &str)]) -> Histogram {
        debug_assert_eq!(family.kind, Kind::Histogram);
        self.recorder.register_histogram(&key(family, labels), &METADATA)
    }

    /// The gauge with these labels; the same one each time.
    pub fn gauge(&self, family: &Family, labels: &[(&'static str, &str)]) -> Gauge {
        debug_assert_eq!(family.kind, Kind::Gauge);
        self.recorder.register_gauge(&key(family, labels), &METADATA)
    }

    /// One counter per value of a closed list, in the order of the list.
    pub fn closed(
        &self,
        family: &Family,
        label: &'static str,
        values: impl Iterator<Item = &'static str>,
    ) -> Vec<Counter> {
        values.map(|value| self.counter(family, &[(label, value)])).collect()
    }

    /// The page in Prometheus text format.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds recorded samples into buckets.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

fn key(family: &Family, labels: &[(&'static str, &str)]) -> Key {
    let labels = labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned()));
    Key::from_parts(family.name, labels.collect::<Vec<_>>())
}
