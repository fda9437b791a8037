// SPDX-License-Identifier: Apache-2.0

//! Metrics with labels of bounded values, and their definitions.

use prometheus::{
    Gauge as GaugeCell, GaugeVec, Histogram as HistogramCell, HistogramOpts, HistogramVec,
    IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector,
};
use std::{sync::LazyLock, time::Instant};

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

/// Returns the registry of this process.
pub(crate) fn registry() -> &'static Registry {
    &REGISTRY
}

/// Labels of a metric. All combinations of their values are known.
pub trait Labels: Copy + PartialEq + 'static {
    /// Returns the names of the labels.
    fn names() -> Vec<&'static str>;
    /// Returns all combinations of values.
    fn all() -> Vec<Self>;
    /// Returns the values as text, in the order of the names.
    fn values(self) -> Vec<&'static str>;
}

impl Labels for () {
    fn names() -> Vec<&'static str> {
        Vec::new()
    }

    fn all() -> Vec<Self> {
        vec![()]
    }

    fn values(self) -> Vec<&'static str> {
        Vec::new()
    }
}

impl<A: Labels, B: Labels> Labels for (A, B) {
    fn names() -> Vec<&'static str> {
        [A::names(), B::names()].concat()
    }

    fn all() -> Vec<Self> {
        let seconds = B::all();
        A::all().iter().flat_map(|a| seconds.iter().map(|b| (*a, *b))).collect()
    }

    fn values(self) -> Vec<&'static str> {
        [self.0.values(), self.1.values()].concat()
    }
}

/// Type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows while the process runs.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// Counts of observations by their size, with their sum.
    Histogram,
}

impl Kind {
    /// Returns the name of the type in the text format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Definition of a metric.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Name, with the unit at its end.
    pub name: String,
    /// Meaning, in a sentence or two.
    pub help: String,
    /// Type.
    pub kind: Kind,
    /// Names of the labels, with the values of each as far as they are known.
    pub labels: Vec<(&'static str, Vec<&'static str>)>,
}

/// One number of a metric.
pub(crate) trait Cell: Clone {
    /// Type of the metric.
    const KIND: Kind;
    /// All numbers of a metric.
    type Family: Collector + Clone + 'static;
    /// Creates a metric. The buckets are those of a histogram.
    fn family(opts: Opts, names: &[&str], buckets: &[f64]) -> prometheus::Result<Self::Family>;
    /// Returns the number with these values of the labels.
    fn cell(family: &Self::Family, values: &[&str]) -> prometheus::Result<Self>;
}

impl Cell for IntCounter {
    const KIND: Kind = Kind::Counter;
    type Family = IntCounterVec;

    fn family(opts: Opts, names: &[&str], _: &[f64]) -> prometheus::Result<Self::Family> {
        IntCounterVec::new(opts, names)
    }

    fn cell(family: &Self::Family, values: &[&str]) -> prometheus::Result<Self> {
        family.get_metric_with_label_values(values)
    }
}

impl Cell for GaugeCell {
    const KIND: Kind = Kind::Gauge;
    type Family = GaugeVec;

    fn family(opts: Opts, names: &[&str], _: &[f64]) -> prometheus::Result<Self::Family> {
        GaugeVec::new(opts, names)
    }

    fn cell(family: &Self::Family, values: &[&str]) -> prometheus::Result<Self> {
        let cell = family.get_metric_with_label_values(values)?;
        // Nothing is known yet, which is not the same as 0: no alert compares with it.
        cell.set(f64::NAN);
        Ok(cell)
    }
}

impl Cell for IntGauge {
    const KIND: Kind = Kind::Gauge;
    type Family = IntGaugeVec;

    fn family(opts: Opts, names: &[&str], _: &[f64]) -> prometheus::Result<Self::Family> {
        IntGaugeVec::new(opts, names)
    }

    fn cell(family: &Self::Family, values: &[&str]) -> prometheus::Result<Self> {
        family.get_metric_with_label_values(values)
    }
}

impl Cell for HistogramCell {
    const KIND: Kind = Kind::Histogram;
    type Family = HistogramVec;

    fn family(opts: Opts, names: &[&str], buckets: &[f64]) -> prometheus::Result<Self::Family> {
        let opts = HistogramOpts { common_opts: opts, buckets: buckets.to_vec() };
        HistogramVec::new(opts, names)
    }

    fn cell(family: &Self::Family, values: &[&str]) -> prometheus::Result<Self> {
        family.get_metric_with_label_values(values)
    }
}

/// A metric: a number for each combination of the values of its labels.
pub struct Family<L, C>(Vec<(L, C)>);

/// A counter.
pub type Counter = Family<(), IntCounter>;
/// Counters by their labels.
pub type Counters<L> = Family<L, IntCounter>;
/// A gauge, which is NaN until it is set.
pub type Gauge = Family<(), GaugeCell>;
/// Gauges by their labels, each NaN until it is set.
pub type Gauges<L> = Family<L, GaugeCell>;
/// A number of things that are there, from 0 on.
pub type Level = Family<(), IntGauge>;
/// A histogram.
pub type Histogram = Family<(), HistogramCell>;
/// Histograms by their labels.
pub type Histograms<L> = Family<L, HistogramCell>;

#[allow(private_bounds, reason = "the numbers are those of the library")]
impl<L: Labels, C: Cell> Family<L, C> {
    /// Creates the metric and registers it.
    ///
    /// All numbers exist from the beginning, so that recording takes no lock, and rates are right
    /// from the first event on.
    pub(crate) fn register(name: &str, help: &str, buckets: &[f64]) -> Self {
        let created = || -> prometheus::Result<Vec<(L, C)>> {
            let family = C::family(Opts::new(name, help), &L::names(), buckets)?;
            let cell = |labels: L| Ok((labels, C::cell(&family, &labels.values())?));
            let cells = L::all().into_iter().map(cell).collect::<prometheus::Result<_>>()?;
            registry().register(Box::new(family))?;
            Ok(cells)
        };
        // Definitions are constants, all of which a test registers.
        Self(created().unwrap_or_else(|error| {
            tracing::warn!("the metric {name} is not recorded: {error}");
            Vec::new()
        }))
    }

    pub(crate) fn define(name: &str, help: &str) -> Definition {
        let values: Vec<_> = L::all().into_iter().map(Labels::values).collect();
        let of = |(at, name)| {
            let mut distinct: Vec<&str> = Vec::new();
            for value in values.iter().filter_map(|values| values.get(at)) {
                if !distinct.contains(value) {
                    distinct.push(value);
                }
            }
            (name, distinct)
        };
        let labels = L::names().into_iter().enumerate().map(of).collect();
        Definition { name: name.to_owned(), help: help.to_owned(), kind: C::KIND, labels }
    }

    fn cell(&self, labels: L) -> Option<&C> {
        self.0.iter().find(|(of, _)| *of == labels).map(|(_, cell)| cell)
    }
}

impl Counter {
    /// Counts an event.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts many events, or adds a quantity.
    pub fn add(&self, count: u64) {
        self.count_many((), count);
    }
}

impl<L: Labels> Counters<L> {
    /// Counts an event.
    pub fn count(&self, labels: L) {
        self.count_many(labels, 1);
    }

    /// Counts many events.
    pub fn count_many(&self, labels: L, count: u64) {
        if let Some(cell) = self.cell(labels) {
            cell.inc_by(count);
        }
    }
}

impl Gauge {
    /// Sets the number.
    pub fn set(&self, value: f64) {
        self.put((), value);
    }

    /// Sets the number, or NaN if there is none.
    pub fn set_known(&self, value: Option<f64>) {
        self.set(value.unwrap_or(f64::NAN));
    }

    /// Sets the number to the present time.
    pub fn set_now(&self) {
        self.set(crate::unix_seconds());
    }

    /// Returns the number.
    pub fn get(&self) -> f64 {
        self.cell(()).map_or(f64::NAN, GaugeCell::get)
    }
}

impl<L: Labels> Gauges<L> {
    /// Sets one of the numbers.
    pub fn put(&self, labels: L, value: f64) {
        if let Some(cell) = self.cell(labels) {
            cell.set(value);
        }
    }

    /// Sets one of the numbers to 1 and the others to 0.
    pub fn select(&self, labels: L) {
        for (of, cell) in &self.0 {
            cell.set(if *of == labels { 1.0 } else { 0.0 });
        }
    }
}

impl Level {
    /// Counts a thing that is there now, until the guard is dropped.
    pub fn enter(&self) -> Entered {
        let cell = self.cell(()).cloned();
        if let Some(cell) = &cell {
            cell.inc();
        }
        Entered(cell)
    }
}

/// Guard of a thing that a [`Level`] counts.
#[must_use]
pub struct Entered(Option<IntGauge>);

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(cell) = &self.0 {
            cell.dec();
        }
    }
}

impl Histogram {
    /// Records an observation.
    pub fn observe(&self, value: f64) {
        self.record((), value);
    }

    /// Records the time since `start`, in seconds.
    pub fn observe_since(&self, start: Instant) {
        self.observe(start.elapsed().as_secs_f64());
    }
}

impl<L: Labels> Histograms<L> {
    /// Records an observation.
    pub fn record(&self, labels: L, value: f64) {
        if let Some(cell) = self.cell(labels) {
            cell.observe(value);
        }
    }
}

/// Defines an enum whose variants are the values of a label.
macro_rules! label {
    ($(#[$doc:meta])* $type:ident $name:literal { $($value:ident $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $(#[doc = concat!("The value `", $text, "`.")] $value,)+
        }

        impl $crate::family::Labels for $type {
            fn names() -> Vec<&'static str> {
                vec![$name]
            }

            fn all() -> Vec<Self> {
                vec![$(Self::$value),+]
            }

            fn values(self) -> Vec<&'static str> {
                vec![match self { $(Self::$value => $text),+ }]
            }
        }
    };
}

/// Defines a group of metrics: a struct with a field for each, and the function that returns the
/// group of this process. The name of a metric is the prefix and the name of its field; its help
/// text is the comment. A group is part of the exposition once its function was called.
macro_rules! metrics {
    ($(#[$doc:meta])* $group:ident $access:ident $prefix:literal {
        $($(#[doc = $help:literal])+ $field:ident: $type:ty $(= $buckets:expr)?,)+
    }) => {
        $(#[$doc])*
        pub struct $group {
            $($(#[doc = $help])+ pub $field: $type,)+
        }

        impl $group {
            fn register() -> Self {
                Self {
                    $($field: <$type>::register(
                        concat!($prefix, "_", stringify!($field)),
                        concat!($($help),+).trim(),
                        &<[&[f64]]>::concat(&[$(&$buckets[..])?]),
                    ),)+
                }
            }

            pub(crate) fn definitions() -> Vec<$crate::Definition> {
                vec![$(<$type>::define(
                    concat!($prefix, "_", stringify!($field)),
                    concat!($($help),+).trim(),
                )),+]
            }
        }

        $(#[$doc])*
        pub fn $access() -> &'static $group {
            static GROUP: std::sync::LazyLock<$group> = std::sync::LazyLock::new($group::register);
            &GROUP
        }
    };
}

pub(crate) use {label, metrics};
