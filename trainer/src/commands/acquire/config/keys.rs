// SPDX-License-Identifier: Apache-2.0

//! Keys of a configuration, and the types of their values.

use super::{
    Config, CrawlConfig, CroissantConfig, DocumentationConfig, FeedsConfig, HackerNewsConfig,
    HttpConfig, HubConfig, MastodonConfig, NewsConfig, ProviderConfig, PubmedConfig, SearchConfig,
    SourceConfig, StackExchangeConfig, SynthesisConfig,
};
use pol_config::{ConfigError, Problem, field_names, unknown_key};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Key of the sources.
const SOURCES: &str = "source";

/// Place of a table in a configuration.
struct Place {
    /// Source that it is of, if it is of one, as `source NAME: `.
    source: String,
    /// Names of the tables that it is in, with dots between them.
    section: String,
}

impl Place {
    /// Returns the place of the table `key` in this one.
    fn table(&self, key: &str) -> Self {
        Self { source: self.source.clone(), section: self.path(key) }
    }

    fn path(&self, key: &str) -> String {
        if self.section.is_empty() { key.to_owned() } else { format!("{}.{key}", self.section) }
    }

    fn problem(&self, key: &str, reason: String) -> Problem {
        Problem::new(format!("{}{}", self.source, self.path(key)), reason)
    }

    /// Returns the problem of a key that the table does not have.
    fn unknown(&self, key: &str, known: &[&str]) -> Problem {
        let Problem { key, reason } = unknown_key(&self.section, key, known);
        Problem::new(format!("{}{key}", self.source), reason)
    }
}

/// Parses a configuration. `section` is the name of the table that it is in, if it is in one.
///
/// # Errors
///
/// Fails with all keys that are unknown or have a wrong value.
pub(in super::super) fn parse(
    table: Map<String, Value>,
    section: &str,
) -> Result<Config, ConfigError> {
    check(&table, section, &[])?;
    let place = Place { source: String::new(), section: section.to_owned() };
    let parsed = deserialize(table.into(), &place);
    // A key that is missing is told here.
    parsed.map_err(|problem| ConfigError::Problems(vec![problem]))
}

/// Checks the keys of a configuration, and the types of their values. `others` are keys that it may
/// have besides.
///
/// # Errors
///
/// Fails with all keys that are unknown or have a wrong value.
pub(in super::super) fn check(
    table: &Map<String, Value>,
    section: &str,
    others: &[&str],
) -> Result<(), ConfigError> {
    let place = Place { source: String::new(), section: section.to_owned() };
    let mut own = table.clone();
    own.retain(|key, _| !others.contains(&key.as_str()));
    let sources = match own.get_mut(SOURCES) {
        Some(Value::Array(sources)) => std::mem::take(sources),
        _ => Vec::new(),
    };
    let mut problems = problems::<Config>(&own, &place, &Map::new(), others);
    for (source, number) in sources.into_iter().zip(1..) {
        let name = source.get("name").and_then(Value::as_str);
        let name = name.map_or_else(|| number.to_string(), str::to_owned);
        let place = Place { source: format!("{SOURCES} {name}: "), section: String::new() };
        match source {
            Value::Object(source) => {
                let required = json!({ "name": "a", "kind": "web" });
                let required = required.as_object().cloned().unwrap_or_default();
                problems.extend(self::problems::<SourceConfig>(&source, &place, &required, &[]));
            }
            _ => problems.push(Problem::new(
                format!("{SOURCES} {name}"),
                "it is no table; write its keys into one",
            )),
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(ConfigError::Problems(problems)) }
}

/// Returns what is wrong with each key of the table of a `T`. Those that it needs are `required`.
fn problems<T: DeserializeOwned>(
    table: &Map<String, Value>,
    place: &Place,
    required: &Map<String, Value>,
    others: &[&str],
) -> Vec<Problem> {
    let fields = field_names::<T>();
    let mut problems = Vec::new();
    for (key, value) in table {
        if !fields.contains(&key.as_str()) {
            problems.push(place.unknown(key, &[fields, others].concat()));
            continue;
        }
        if let (Some(known), Value::Object(inner)) = (fields_of(key), value) {
            let place = place.table(key);
            let unknown = inner.keys().filter(|key| !known.contains(&key.as_str()));
            let unknown: Vec<_> = unknown.map(|key| place.unknown(key, known)).collect();
            if !unknown.is_empty() {
                problems.extend(unknown);
                continue;
            }
        }
        let mut alone = required.clone();
        alone.insert(key.clone(), value.clone());
        problems.extend(deserialize::<T>(alone.into(), place).err());
    }
    problems
}

/// Returns a value, or the problem of the key that makes it none.
fn deserialize<T: DeserializeOwned>(value: Value, place: &Place) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        place.problem(&path, error.into_inner().to_string())
    })
}

/// Returns the fields of the table `key`, if it is one.
fn fields_of(key: &str) -> Option<&'static [&'static str]> {
    Some(match key {
        "http" => field_names::<HttpConfig>(),
        "provider" => field_names::<ProviderConfig>(),
        "hub" => field_names::<HubConfig>(),
        "croissant" => field_names::<CroissantConfig>(),
        "crawl" => field_names::<CrawlConfig>(),
        "feeds" => field_names::<FeedsConfig>(),
        "arxiv" | "github" => field_names::<SearchConfig>(),
        "pubmed" => field_names::<PubmedConfig>(),
        "hacker_news" => field_names::<HackerNewsConfig>(),
        "stack_exchange" => field_names::<StackExchangeConfig>(),
        "mastodon" => field_names::<MastodonConfig>(),
        "documentation" => field_names::<DocumentationConfig>(),
        "news" => field_names::<NewsConfig>(),
        "synthesis" => field_names::<SynthesisConfig>(),
        _ => return None,
    })
}
