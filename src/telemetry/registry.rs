//! The registry that all series of a process live in: creates them by name and prints them. Only used
//! when handles are made and when somebody scrapes, never for a request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::durations::{self, Durations, Labelled};
use super::families::{self, Family, Kind};

/// See the module.
#[derive(Debug)]
pub(super) struct Registry {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// By family, with labels.
    durations: Mutex<BTreeMap<&'static str, Vec<Labelled>>>,
}

impl Registry {
    /// An empty registry that knows the help text of every family.
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for family in families::ALL {
            match family.kind {
                Kind::Counter => recorder.describe_counter(family.name.into(), None, family.help.into()),
                Kind::Gauge => recorder.describe_gauge(family.name.into(), None, family.help.into()),
                // Tells its own.
                Kind::Histogram => {}
            }
        }
        Self { handle: recorder.handle(), recorder, durations: Mutex::default() }
    }

    /// The counter with these labels; the same one each time.
    pub fn counter(&self, family: &Family, labels: &[(&'static str, &str)]) -> Counter {
        debug_assert_eq!(family.kind, Kind::Counter);
        self.recorder.register_counter(&key(family, labels), &METADATA)
    }

    /// The durations with these labels; the same ones each time.
    pub fn durations(&self, family: &Family, labels: &[(&'static str, &str)]) -> Arc<Durations> {
        debug_assert_eq!(family.kind, Kind::Histogram);
        let key = key(family, labels);
        let mut all = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
        let series = all.entry(family.name).or_default();
        let at = series.iter().position(|(other, _)| *other == key).unwrap_or_else(|| {
            series.push((key, Arc::new(Durations::new())));
            series.len() - 1
        });
        Arc::clone(&series[at].1)
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
        let mut page = self.handle.render();
        let all = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
        for family in families::ALL {
            if let Some(series) = all.get(family.name) {
                durations::append(&mut page, family, series);
            }
        }
        page
    }
}

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

fn key(family: &Family, labels: &[(&'static str, &str)]) -> Key {
    let labels = labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned()));
    Key::from_parts(family.name, labels.collect::<Vec<_>>())
}
