// SPDX-License-Identifier: Apache-2.0

//! Tests of the definitions, of the page that lists them, and of the files in deploy/ that use
//! them.

use crate::*;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Environment variable with which the test writes the table anew.
const WRITE_VARIABLE: &str = "POL_WRITE_METRICS";
/// Comments around the table.
const MARKS: [&str; 2] = ["<!-- metrics -->\n", "<!-- end of metrics -->\n"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// Calls every function that makes a group part of the exposition.
fn expose_all() {
    let _facts = (chain(), round(), head(), network(), beacon(), account());
    let _work = (trainer(), validator(), measurement(), swarm(), disk(), beacon_relay());
    let _services = (observer(), data(), generation_metrics(), generation_load(), index());
    http().request_duration_seconds.record("/health", HttpMethod::Get, 200, Duration::ZERO);
    describe_process("test");
}

/// Returns the table of all metrics.
fn table() -> String {
    let mut table = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for Definition { name, help, kind, labels } in definitions() {
        let label = |(name, values): &(&str, Vec<&str>)| {
            let values: Vec<_> = values.iter().filter(|value| !value.is_empty()).copied().collect();
            match values.as_slice() {
                [] => format!("`{name}`"),
                values => format!("`{name}`: {}", values.join(", ")),
            }
        };
        let labels: Vec<_> = labels.iter().map(label).collect();
        table += &format!("| `{name}` | {} | {} | {help} |\n", kind.name(), labels.join("; "));
    }
    table
}

#[test]
fn every_metric_is_documented() {
    let path = repository().join("docs/monitoring.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(MARKS[0]).expect("the page has the mark of the table");
    let (found, after) = rest.split_once(MARKS[1]).expect("the page has the end of the table");
    let table = format!("\n{}\n", table());
    if std::env::var_os(WRITE_VARIABLE).is_some() {
        let page = [before, MARKS[0], &table, MARKS[1], after].concat();
        return fs::write(path, page).unwrap();
    }
    assert_eq!(
        found, table,
        "docs/monitoring.md does not list the metrics as they are; write it anew with \
         {WRITE_VARIABLE}=1"
    );
}

#[test]
fn every_definition_is_exposed_with_its_help_and_type() {
    expose_all();
    let text = encode();
    for Definition { name, help, kind, labels } in definitions() {
        // A limit that is infinite is not shown.
        if name == "process_max_fds" {
            continue;
        }
        assert!(text.contains(&format!("# HELP {name} {help}\n")), "{name}");
        assert!(text.contains(&format!("# TYPE {name} {}\n", kind.name())), "{name}");
        let suffix = if kind == Kind::Histogram { "_count" } else { "" };
        let sample = if labels.is_empty() { " " } else { "{" };
        assert!(text.contains(&format!("\n{name}{suffix}{sample}")), "{name}");
    }
}

#[test]
fn names_follow_the_conventions() {
    let definitions = definitions();
    let names: BTreeSet<_> = definitions.iter().map(|definition| &definition.name).collect();
    assert_eq!(names.len(), definitions.len(), "a name is used twice");
    for Definition { name, help, kind, labels } in &definitions {
        let prefix = ["pol_", "gen_ai_", "process_"].iter().any(|prefix| name.starts_with(prefix));
        assert!(prefix, "{name}");
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        assert!(help.ends_with('.') && help.len() < 200, "{name}: {help}");
        for unit in ["milliseconds", "_ms", "kilobytes", "_kb", "percent", "minutes"] {
            assert!(!name.contains(unit), "{name} has no base unit");
        }
        let series: usize = labels.iter().map(|(_, values)| values.len().max(1)).product();
        assert!(series <= 32, "{name} has {series} series");
    }
}

/// Returns the metrics of this program that a text names.
fn named(text: &str) -> BTreeSet<&str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("pol_") || word.starts_with("gen_ai_"))
        .collect()
}

/// Returns the files with these extensions below a folder.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry, extensions));
        } else if entry.extension().is_some_and(|end| extensions.iter().any(|known| end == *known))
        {
            found.push(entry);
        }
    }
    found
}

#[test]
fn dashboards_and_alerts_name_metrics_that_exist() {
    let mut known = BTreeSet::new();
    for Definition { name, kind, labels, .. } in definitions() {
        known.extend(labels.iter().map(|(label, _)| (*label).to_owned()));
        match kind {
            Kind::Histogram => {
                known.extend(["_bucket", "_count", "_sum"].map(|suffix| format!("{name}{suffix}")));
            }
            Kind::Counter | Kind::Gauge => drop(known.insert(name)),
        }
    }
    let deploy = repository().join("deploy");
    let rules = files(&deploy.join("prometheus"), &["yml"]);
    let dashboards = files(&deploy.join("grafana"), &["json"]);
    assert!(!rules.is_empty() && !dashboards.is_empty());
    for path in rules.iter().chain(&dashboards) {
        let text = fs::read_to_string(path).unwrap();
        for name in named(&text) {
            assert!(known.contains(name), "{} names {name}", path.display());
        }
    }
}

#[test]
fn dashboards_have_names_of_their_own() {
    let mut ids = BTreeSet::new();
    for path in files(&repository().join("deploy/grafana"), &["json"]) {
        let dashboard: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let uid = dashboard["uid"].as_str().unwrap().to_owned();
        assert!(ids.insert(uid), "{}", path.display());
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()));
        }
    }
    assert_eq!(ids.len(), 6);
}

#[test]
fn gauges_are_unknown_until_they_are_set() {
    let gauge = &head().loss_nats;
    assert!(gauge.get().is_nan());
    gauge.set(2.5);
    assert!(encode().contains("\npol_head_loss_nats 2.5\n"));
    gauge.set_known(None);
    assert!(encode().contains("\npol_head_loss_nats NaN\n"));
}

#[test]
fn one_value_of_a_label_is_selected() {
    round().phase.select(RoundPhase::Hold);
    let text = encode();
    assert!(text.contains("pol_round_phase{phase=\"hold\"} 1\n"), "{text}");
    assert!(text.contains("pol_round_phase{phase=\"train\"} 0\n"), "{text}");
}

#[test]
fn requests_count_by_route_method_and_status() {
    let time = Duration::from_millis(30);
    http().request_duration_seconds.record("/audits/{id}", HttpMethod::named("GET"), 404, time);
    http().request_duration_seconds.record("", HttpMethod::named("BREW"), 405, time);
    let text = encode();
    for line in [
        "pol_http_request_duration_seconds_bucket{method=\"GET\",route=\"/audits/{id}\",\
         status=\"404\",le=\"0.05\"} 1\n",
        "pol_http_request_duration_seconds_count{method=\"_OTHER\",route=\"\",status=\"405\"} 1\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn a_request_that_is_dropped_is_cancelled() {
    let request = GenerationRequest::begin(Operation::Embeddings, 5);
    drop(request);
    let mut request = GenerationRequest::begin(Operation::TextCompletion, 3);
    request.token();
    request.token();
    request.set_end(RequestEnd::Timeout);
    drop(request);
    let text = encode();
    for line in [
        "gen_ai_server_request_duration_seconds_count{error_type=\"cancelled\",\
         gen_ai_operation_name=\"embeddings\",gen_ai_provider_name=\"pol\"} 1\n",
        "gen_ai_server_request_duration_seconds_count{error_type=\"timeout\",\
         gen_ai_operation_name=\"text_completion\",gen_ai_provider_name=\"pol\"} 1\n",
        "gen_ai_client_token_usage_sum{gen_ai_operation_name=\"text_completion\",\
         gen_ai_provider_name=\"pol\",gen_ai_token_type=\"output\"} 2\n",
        "gen_ai_server_time_per_output_token_seconds_count{\
         gen_ai_operation_name=\"text_completion\",gen_ai_provider_name=\"pol\"} 1\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(text.contains("\npol_generation_active_requests 0\n"), "{text}");
}
