// SPDX-License-Identifier: Apache-2.0

use super::DatasetSpec;
use pol_corpus::filters::Preset;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// Data set that is known to the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogueEntry {
    /// Name in the catalogue.
    pub name: String,
    /// Rows to read.
    #[serde(flatten)]
    pub spec: DatasetSpec,
    /// Each document has a licence of its own, and the collection has none.
    #[serde(default)]
    pub own_licences: bool,
    /// Column in which rows state these licences, so that they are recorded with the documents.
    /// `None` if they do not, or in a form that is not read.
    #[serde(default)]
    pub licence_column: Option<String>,
    /// Number of rows as published.
    #[serde(default)]
    pub rows: Option<u64>,
    /// Size of the rows in bytes as published.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// Size in tokens of the publisher's own tokenizer. An entry has one of the three sizes or
    /// more.
    #[serde(default)]
    pub tokens: Option<u64>,
    /// Access needs a token of an account that accepted the terms.
    #[serde(default)]
    pub gated: bool,
    /// Kind of data.
    #[serde(default)]
    pub kind: Kind,
    /// Preset of cleaning rules.
    #[serde(default)]
    pub rules: Preset,
    /// Source of these facts, and what to know before use.
    pub source: String,
}

/// Kind of data, as manifests have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Text that people wrote.
    #[default]
    Dataset,
    /// Text that models wrote.
    Synthetic,
}

/// Returns all data sets that are known to the program, in the order of their names.
pub fn catalogue() -> &'static [CatalogueEntry] {
    static CATALOGUE: LazyLock<Vec<CatalogueEntry>> = LazyLock::new(|| {
        // A test parses the file, so that this cannot fail.
        let file: Catalogue =
            toml::from_str(include_str!("catalogue.toml")).unwrap_or_else(|_| Catalogue::default());
        file.dataset
    });
    &CATALOGUE
}

#[derive(Default, Deserialize)]
struct Catalogue {
    dataset: Vec<CatalogueEntry>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{
        HubId,
        files::{Format, Patterns},
        rows::Rows,
    };
    use pol_corpus::{Content, Origin};
    use serde_json::json;

    #[test]
    fn the_catalogue_is_complete_and_in_order() {
        let file: Catalogue = toml::from_str(include_str!("catalogue.toml")).unwrap();
        assert!(file.dataset.len() >= 25, "{}", file.dataset.len());
        assert_eq!(file.dataset, catalogue());
        let names: Vec<_> = file.dataset.iter().map(|entry| &entry.name).collect();
        assert!(names.is_sorted_by(|left, right| left < right), "{names:?}");
        for name in ["c4", "fineweb-edu", "gsm8k", "stack-v2-permissive", "wikipedia"] {
            assert!(names.iter().any(|other| *other == name), "{name}");
        }
        for CatalogueEntry { name, spec, source, .. } in &file.dataset {
            spec.id.parse::<HubId>().unwrap();
            assert!(!spec.columns.is_empty() && !source.is_empty(), "{name}");
            Patterns::parse(&spec.files).unwrap();
        }
    }

    #[test]
    fn each_entry_has_a_size() {
        for CatalogueEntry { name, rows, bytes, tokens, .. } in catalogue() {
            let sizes = [*rows, *bytes, *tokens];
            assert!(sizes.iter().any(Option::is_some), "{name} has neither rows, bytes nor tokens");
            assert!(sizes.iter().flatten().all(|size| *size > 0), "{name}");
            // A row has a byte or more, and so has a token.
            let least = rows.unwrap_or(0).max(tokens.unwrap_or(0));
            assert!(bytes.is_none_or(|bytes| bytes > least), "{name}");
        }
    }

    #[test]
    fn licences_are_of_the_collection_or_of_its_documents() {
        let mut unknown = Vec::new();
        for CatalogueEntry { name, spec, own_licences, .. } in catalogue() {
            assert!(!own_licences || spec.licence.is_none(), "{name}");
            if spec.licence.is_none() && !own_licences {
                unknown.push(name.as_str());
            }
        }
        // Books in the public domain of the United States, which is no licence.
        assert_eq!(unknown, ["gutenberg"]);
    }

    #[test]
    fn licences_that_rows_state_are_recorded() {
        let mut stated = 0;
        for CatalogueEntry { name, spec, own_licences, licence_column, .. } in catalogue() {
            let Some(column) = licence_column else { continue };
            assert!(*own_licences, "{name}");
            let mut row = json!("CC-BY-4.0");
            for field in column.rsplit('.') {
                row = json!({ field: row });
            }
            for column in &spec.columns {
                row[column] = json!("A text.");
            }
            let origin = Origin { location: "a.jsonl".into(), ..Origin::default() };
            let content = Content::Bytes(format!("{row}\n").into());
            let mut rows = Rows::open(content, origin, Format::Json, &spec.columns, 0).unwrap();
            let document = rows.next().unwrap().unwrap().unwrap();
            assert_eq!(document.origin.licence.as_deref(), Some("CC-BY-4.0"), "{name}");
            stated += 1;
        }
        assert_eq!(stated, 5);
    }

    #[test]
    fn entries_have_no_unknown_fields() {
        let known = [
            "name",
            "id",
            "config",
            "split",
            "columns",
            "files",
            "licence",
            "own_licences",
            "licence_column",
            "rows",
            "bytes",
            "tokens",
            "gated",
            "kind",
            "rules",
            "source",
        ];
        let file: toml::Table = include_str!("catalogue.toml").parse().unwrap();
        for entry in file["dataset"].as_array().unwrap() {
            for field in entry.as_table().unwrap().keys() {
                assert!(known.contains(&field.as_str()), "{field}");
            }
        }
    }

    #[test]
    fn patterns_of_the_catalogue_match_names_of_its_files() {
        let of = |name: &str| catalogue().iter().find(|entry| entry.name == name).unwrap();
        for (name, path) in [
            ("c4", "en/c4-train.00000-of-01024.json.gz"),
            (
                "dclm",
                "global-shard_01_of_10/local-shard_0_of_10/shard_00000000_processed.jsonl.zst",
            ),
            ("fineweb", "sample/10BT/000_00000.parquet"),
            ("gutenberg", "data/en-00000-of-00052.parquet"),
            ("pubmed-central", "pubmed_00000.json.gz"),
            ("stack-v2-permissive", "documents/00000_stackv2.jsonl.gz"),
            ("slimpajama", "train/chunk1/example_train_0.jsonl.zst"),
            ("wikipedia", "20231101.en/train-00000-of-00041.parquet"),
        ] {
            assert!(Patterns::parse(&of(name).spec.files).unwrap().matches(path), "{name}");
            assert!(Format::of(path).is_some(), "{path}");
        }
    }
}
