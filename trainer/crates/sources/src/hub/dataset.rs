// SPDX-License-Identifier: Apache-2.0

//! Files of a data set: a configuration and split at a commit.
//!
//! The data set's card names the files of each configuration and split. A data set without such a
//! card is read from the branch to which the hub converts data sets as Parquet.

use super::{
    HubClient, HubError, HubFile, HubId, RepoKind,
    files::{Format, Patterns, is_safe_path, list_tree},
};
use crate::SourceError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Branch that holds data sets as Parquet, as the hub converted them.
const CONVERTED: &str = "refs/convert/parquet";
/// Name of the configuration of a data set that names none.
const DEFAULT_CONFIG: &str = "default";

/// Choice of a part of a data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetSpec {
    /// Name on the hub: `organisation/name`, or `organisation/name@revision`.
    pub id: String,
    /// Configuration. `None` chooses the only one or the default.
    #[serde(default)]
    pub config: Option<String>,
    /// Split.
    #[serde(default = "train")]
    pub split: String,
    /// Columns or fields of text, which are joined by an empty line.
    #[serde(default = "text")]
    pub columns: Vec<String>,
    /// Patterns of the files. Empty leaves the choice to the data set's card.
    #[serde(default)]
    pub files: Vec<String>,
    /// Licence of the text, as an SPDX expression where there is one.
    #[serde(default)]
    pub licence: Option<String>,
}

fn train() -> String {
    "train".into()
}

fn text() -> Vec<String> {
    vec!["text".into()]
}

impl DatasetSpec {
    /// Returns a choice of the column `text` of the training split.
    pub fn new(id: &str) -> Self {
        Self {
            id: id.into(),
            config: None,
            split: train(),
            columns: text(),
            files: Vec::new(),
            licence: None,
        }
    }

    /// Checks what can be known without asking the hub.
    ///
    /// # Errors
    ///
    /// Fails if the name is malformed, if no column is chosen, or if a pattern of files is none.
    pub fn validate(&self) -> Result<(), SourceError> {
        self.id.parse::<HubId>().map_err(SourceError::InvalidOption)?;
        if self.columns.is_empty() {
            let reason = format!("choose a column of {}, such as text", self.id);
            return Err(SourceError::InvalidOption(reason));
        }
        Patterns::parse(&self.files).map(drop).map_err(SourceError::InvalidOption)
    }
}

/// Commit of a data set, and which branch it is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pin {
    /// Commit in hexadecimal.
    pub(super) commit: String,
    /// The commit is of the hub's conversion and not of the data set itself.
    #[serde(default)]
    pub(super) converted: bool,
}

/// Files of a data set at a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dataset {
    /// Name and commit.
    pub(super) id: HubId,
    /// Files with rows, in the order of their paths.
    pub(super) files: Vec<HubFile>,
    pub(super) pin: Pin,
}

/// The hub's description of a data set.
#[derive(Deserialize)]
struct Description {
    /// `false`, or the way in which access is given.
    #[serde(default)]
    gated: Value,
    #[serde(default)]
    disabled: bool,
    #[serde(default, rename = "cardData")]
    card: Value,
}

impl Dataset {
    /// Resolves the files of `spec`, at the commit of an earlier run if `pin` has it. `has_token`
    /// tells whether gated data sets may be open.
    ///
    /// # Errors
    ///
    /// Fails if the hub refuses, if the data set has no such part, or if the hub's answers are
    /// malformed.
    pub(super) fn resolve(
        client: &HubClient,
        spec: &DatasetSpec,
        pin: Option<&Pin>,
        has_token: bool,
    ) -> Result<Self, HubError> {
        let named: HubId =
            spec.id.parse().map_err(|reason| HubError::Dataset { id: spec.id.clone(), reason })?;
        let id = pin.and_then(|pin| named.at(&pin.commit)).unwrap_or_else(|| named.clone());
        let query = "expand[]=sha&expand[]=gated&expand[]=disabled&expand[]=cardData";
        let (commit, description): (_, Description) =
            client.revision(RepoKind::Dataset, &id, query)?;
        description.check(client, &id, has_token)?;
        let resolver = Resolver { client, spec, id: &id };
        if pin.is_some_and(|pin| pin.converted) {
            return resolver.list_converted(Some(commit));
        }
        let files = if spec.files.is_empty() {
            card_files(&description.card, spec).map_err(|reason| resolver.refuse(reason))?
        } else {
            Some(spec.files.clone())
        };
        match files {
            None if !id.is_pinned() => resolver.list_converted(None),
            files => {
                let pin = Pin { commit, converted: false };
                resolver.list(pin, &files.unwrap_or_else(|| usual_files(spec)))
            }
        }
    }
}

impl Description {
    fn check(&self, client: &HubClient, id: &HubId, has_token: bool) -> Result<(), HubError> {
        let is_gated = !matches!(self.gated, Value::Null | Value::Bool(false));
        if is_gated && !has_token {
            return Err(HubError::Gated {
                endpoint: client.endpoint().to_owned(),
                id: id.name().to_owned(),
            });
        }
        if self.disabled {
            let reason = "the hub has disabled it; take another data set".to_owned();
            return Err(HubError::Dataset { id: id.to_string(), reason });
        }
        Ok(())
    }
}

/// Search for the files of a data set.
struct Resolver<'a> {
    client: &'a HubClient,
    spec: &'a DatasetSpec,
    id: &'a HubId,
}

impl Resolver<'_> {
    fn refuse(&self, reason: String) -> HubError {
        HubError::Dataset { id: self.id.to_string(), reason }
    }

    /// Lists the files at `pin` that match `patterns`.
    fn list(&self, pin: Pin, patterns: &[String]) -> Result<Dataset, HubError> {
        let matching = Patterns::parse(patterns).map_err(|reason| self.refuse(reason))?;
        let id = self
            .id
            .at(&pin.commit)
            .ok_or_else(|| self.refuse(format!("{:?} is no commit", pin.commit)))?;
        let mut found = BTreeMap::new();
        for folder in matching.folders() {
            list_tree(self.client, &id, &folder, |file| {
                if matching.matches(&file.path) {
                    found.insert(file.path.clone(), file);
                }
            })?;
        }
        let all = found.len();
        let files: Vec<_> =
            found.into_values().filter(|file| Format::of(&file.path).is_some()).collect();
        if files.is_empty() {
            return Err(self.refuse(format!(
                "{all} files match {}, and none is Parquet or JSON Lines; name other files, or \
                 another configuration or split",
                patterns.join(", ")
            )));
        }
        Ok(Dataset { id, files, pin })
    }

    /// Lists the files of the hub's own conversion to Parquet, at `commit` of its branch or at the
    /// newest.
    fn list_converted(&self, commit: Option<String>) -> Result<Dataset, HubError> {
        let url = format!("{}/api/datasets/{}/parquet", self.client.endpoint(), self.id.name());
        let (configs, _): (BTreeMap<String, BTreeMap<String, Vec<String>>>, _) =
            self.client.json(RepoKind::Dataset, &url)?;
        let config = choose_config(self.spec.config.as_deref(), configs.keys().map(String::as_str))
            .map_err(|reason| self.refuse(reason))?;
        let splits = &configs[&config];
        let urls = splits
            .get(&self.spec.split)
            .ok_or_else(|| self.refuse(no_split(&self.spec.split, splits.keys())))?;
        let paths =
            urls.iter().map(|url| converted_path(url)).collect::<Option<Vec<_>>>().ok_or_else(
                || HubError::Answer {
                    endpoint: self.client.endpoint().to_owned(),
                    reason: "lists Parquet files outside its branch of conversions".into(),
                },
            )?;
        if paths.iter().any(|path| path.contains("/partial-")) {
            return Err(self.refuse(
                "the hub converted only its first part to Parquet; name the files of the data set"
                    .into(),
            ));
        }
        let commit = match commit {
            Some(commit) => commit,
            None => self.newest_conversion()?,
        };
        let dataset = self.list(Pin { commit, converted: true }, &paths)?;
        if dataset.files.len() != paths.len() {
            return Err(self.refuse(
                "the hub has converted it anew since the run began; use another folder".into(),
            ));
        }
        Ok(dataset)
    }

    /// Returns the newest commit of the branch of conversions.
    fn newest_conversion(&self) -> Result<String, HubError> {
        let branch = self
            .id
            .at(CONVERTED)
            .ok_or_else(|| self.refuse(format!("{CONVERTED} is no revision")))?;
        let (commit, _): (_, Value) =
            self.client.revision(RepoKind::Dataset, &branch, "expand[]=sha")?;
        Ok(commit)
    }
}

/// Returns the path of a file of the hub's conversion from its address, as a pattern.
fn converted_path(url: &str) -> Option<String> {
    let (_, path) = url.split_once("/resolve/refs%2Fconvert%2Fparquet/")?;
    is_safe_path(path).then(|| glob::Pattern::escape(path))
}

/// Returns the places where files of a data set without a card usually are.
fn usual_files(spec: &DatasetSpec) -> Vec<String> {
    let (config, split) = (spec.config.as_deref().unwrap_or(DEFAULT_CONFIG), &spec.split);
    let mut patterns = vec![format!("{config}/{split}/*"), format!("{config}/{split}-*")];
    if spec.config.is_none() {
        patterns.extend([format!("data/{split}-*"), format!("{split}.*")]);
    }
    patterns
}

/// Chooses `wanted` among `configs`, or the only or default one.
fn choose_config<'a>(
    wanted: Option<&str>,
    configs: impl Iterator<Item = &'a str>,
) -> Result<String, String> {
    let configs: Vec<&str> = configs.collect();
    let only = || match configs.as_slice() {
        [only] => Some(*only),
        configs => configs.iter().copied().find(|&config| config == DEFAULT_CONFIG),
    };
    let chosen = match wanted {
        Some(wanted) => configs.iter().copied().find(|&config| config == wanted),
        None => only(),
    };
    chosen.map(str::to_owned).ok_or_else(|| {
        format!(
            "it has no configuration {}; choose one of: {}",
            wanted.unwrap_or(DEFAULT_CONFIG),
            configs.join(", ")
        )
    })
}

fn no_split<'a>(split: &str, splits: impl Iterator<Item = &'a String>) -> String {
    let splits: Vec<&str> = splits.map(String::as_str).collect();
    format!("it has no split {split}; choose one of: {}", splits.join(", "))
}

/// Returns the patterns that a card has for the part `spec`; `None` if it names no files. The
/// format is that of the hub's documentation, *Manual configuration* of data sets.
fn card_files(card: &Value, spec: &DatasetSpec) -> Result<Option<Vec<String>>, String> {
    let Some(configs) = card.get("configs").and_then(Value::as_array) else { return Ok(None) };
    let name = |config: &Value| {
        config.get("config_name").and_then(Value::as_str).unwrap_or(DEFAULT_CONFIG).to_owned()
    };
    let names: Vec<String> = configs.iter().map(name).collect();
    let default =
        configs.iter().find(|config| config.get("default") == Some(&Value::Bool(true))).map(name);
    let wanted = spec.config.clone().or(default);
    let chosen = choose_config(wanted.as_deref(), names.iter().map(String::as_str))?;
    let config = configs.iter().find(|&config| name(config) == chosen);
    let Some(files) = config.and_then(|config| config.get("data_files")) else { return Ok(None) };
    let splits = splits_of(files);
    match splits.get(&spec.split) {
        Some(patterns) if !patterns.is_empty() => Ok(Some(patterns.clone())),
        _ => Err(no_split(&spec.split, splits.keys())),
    }
}

/// Returns the patterns of each split of a card's `data_files`: a pattern, several, or several by
/// split.
fn splits_of(files: &Value) -> BTreeMap<String, Vec<String>> {
    let mut splits: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let items = match files {
        Value::Array(items) => items.as_slice(),
        item => std::slice::from_ref(item),
    };
    for item in items {
        let (split, paths) = match item {
            Value::Object(item) => (
                item.get("split").and_then(Value::as_str).unwrap_or("train"),
                item.get("path").unwrap_or(&Value::Null),
            ),
            paths => ("train", paths),
        };
        let patterns = splits.entry(split.to_owned()).or_default();
        match paths {
            Value::String(path) => patterns.push(path.clone()),
            Value::Array(paths) => {
                patterns.extend(paths.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            _ => {}
        }
    }
    splits
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(config: Option<&str>, split: &str) -> DatasetSpec {
        DatasetSpec {
            config: config.map(str::to_owned),
            split: split.into(),
            ..DatasetSpec::new("a/b")
        }
    }

    #[test]
    fn cards_name_files_in_each_documented_form() {
        let card = json!({"configs": [
            {"config_name": "main", "default": true, "data_files": [
                {"split": "train", "path": "main/train-*"},
                {"split": "test", "path": ["main/test-0.parquet", "main/test-1.parquet"]},
            ]},
            {"config_name": "one", "data_files": "one/*.jsonl"},
            {"config_name": "several", "data_files": ["a.jsonl", "b.jsonl"]},
        ]});
        let files = |config, split| card_files(&card, &spec(config, split));
        assert_eq!(files(None, "train"), Ok(Some(vec!["main/train-*".into()])));
        assert_eq!(files(Some("main"), "test").unwrap().unwrap().len(), 2);
        assert_eq!(files(Some("one"), "train"), Ok(Some(vec!["one/*.jsonl".into()])));
        assert_eq!(files(Some("several"), "train").unwrap().unwrap().len(), 2);
        assert!(files(Some("other"), "train").unwrap_err().contains("main, one, several"));
        assert!(files(Some("main"), "validation").unwrap_err().contains("test, train"));
        assert_eq!(card_files(&json!({"license": "mit"}), &spec(None, "train")), Ok(None));
        let bare = json!({"configs": [{"config_name": "default"}]});
        assert_eq!(card_files(&bare, &spec(None, "train")), Ok(None));
        assert_eq!(card_files(&json!({"configs": "x"}), &spec(None, "train")), Ok(None));
    }

    #[test]
    fn converted_files_are_below_their_branch() {
        let url =
            |path| format!("https://hub/datasets/a/b/resolve/refs%2Fconvert%2Fparquet/{path}");
        assert_eq!(converted_path(&url("x/train/0000.parquet")).unwrap(), "x/train/0000.parquet");
        assert_eq!(converted_path(&url("../0000.parquet")), None);
        assert_eq!(converted_path("https://hub/datasets/a/b/resolve/main/0000.parquet"), None);
    }
}
