// SPDX-License-Identifier: Apache-2.0

//! The process itself: its version, processor time, memory, and file descriptors.

use crate::{Definition, Kind, family::registry};
use prometheus::{
    Gauge, Opts,
    core::{Collector, Desc},
    process_collector::ProcessCollector,
};
use std::sync::Once;

/// Name of the metric that describes the program.
const BUILD_INFO: &str = "pol_build_info";
/// Help text of the metric that describes the program.
const BUILD_HELP: &str = "1, with the version of the program and the role of this process.";

/// Adds the version and the resources of this process, which acts in `role`, to what it exposes.
/// The resources are read at each scrape, and have the names that other programs give them.
pub fn describe_process(role: &str) {
    static DESCRIBED: Once = Once::new();
    DESCRIBED.call_once(|| {
        let opts = Opts::new(BUILD_INFO, BUILD_HELP)
            .const_label("version", env!("CARGO_PKG_VERSION"))
            .const_label("role", role);
        let described = Gauge::with_opts(opts).and_then(|info| {
            info.set(1.0);
            registry().register(Box::new(info))?;
            registry().register(Box::new(ProcessCollector::for_self()))
        });
        if let Err(error) = described {
            tracing::warn!("the process is not described: {error}");
        }
    });
}

/// Returns the definitions of what [`describe_process`] adds.
pub(crate) fn definitions() -> Vec<Definition> {
    let of = |resource: &Desc| Definition {
        name: resource.fq_name.clone(),
        help: resource.help.clone(),
        kind: if resource.fq_name.ends_with("_total") { Kind::Counter } else { Kind::Gauge },
        labels: Vec::new(),
    };
    let info = Definition {
        name: BUILD_INFO.to_owned(),
        help: BUILD_HELP.to_owned(),
        kind: Kind::Gauge,
        labels: vec![("version", Vec::new()), ("role", Vec::new())],
    };
    let resources = ProcessCollector::for_self();
    std::iter::once(info).chain(resources.desc().into_iter().map(of)).collect()
}
