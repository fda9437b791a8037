// SPDX-License-Identifier: Apache-2.0

//! `GET /documents/summary`: what ingestion on this machine kept and dropped, duplicates included.

use super::documents::DataSearch;
use crate::reports::{EXACT_DUPLICATE, NEAR_DUPLICATE, ReportSums};
use axum::{Json, extract::State};
use pol_api::{ApiError, Problem};
use pol_corpus::pipeline::Amount;
use pol_primitives::MILLION;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Most rules and languages of an answer.
const MAX_LISTED: usize = 100;

/// Documents that were ingested on this machine, in sums.
#[derive(Debug, Serialize, ToSchema)]
struct DocumentSummary {
    /// Folders with a report of an ingestion.
    #[schema(example = 3)]
    folders: u64,
    /// Text to train on.
    train: TextAmount,
    /// Text that is held out, and never trained on.
    held_out: TextAmount,
    /// Documents that were dropped since others have their text.
    duplicates: Duplicates,
    /// Documents that each rule dropped, the most first; at most 100 rules.
    dropped: Vec<RuleCount>,
    /// Text that remains in each language, the most first; at most 100 languages.
    languages: Vec<LanguageAmount>,
    /// Mean quality of the text, weighted by length, from 0 to 1.
    #[schema(example = 0.83)]
    mean_quality: Option<f64>,
    /// Things that are no text.
    #[schema(example = 2)]
    refused: u64,
}

/// Amount of text.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct TextAmount {
    /// Documents, where the pieces of a long one count as one.
    #[schema(example = 40_213)]
    documents: u64,
    /// Bytes of clean text.
    #[schema(example = 182_000_000)]
    bytes: u64,
}

impl From<Amount> for TextAmount {
    fn from(Amount { documents, bytes }: Amount) -> Self {
        Self { documents, bytes }
    }
}

/// Numbers of duplicates.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct Duplicates {
    /// Documents with the very text of another one.
    #[schema(example = 301)]
    exact: u64,
    /// Documents whose text is nearly that of another one.
    #[schema(example = 903)]
    near: u64,
}

/// Number of documents that a rule dropped.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct RuleCount {
    /// Rule.
    #[schema(example = "duplicate.near")]
    rule: String,
    /// Documents.
    #[schema(example = 903)]
    documents: u64,
}

/// Amount of text in a language.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct LanguageAmount {
    /// ISO 639-3 code.
    #[schema(example = "eng")]
    language: String,
    /// Amount.
    #[serde(flatten)]
    amount: TextAmount,
}

impl From<ReportSums> for DocumentSummary {
    fn from(sums: ReportSums) -> Self {
        let dropped_by = |rule| sums.dropped.get(rule).copied().unwrap_or_default();
        let duplicates =
            Duplicates { exact: dropped_by(EXACT_DUPLICATE), near: dropped_by(NEAR_DUPLICATE) };
        let mut dropped: Vec<RuleCount> = sums
            .dropped
            .into_iter()
            .map(|(rule, documents)| RuleCount { rule, documents })
            .collect();
        dropped.sort_by(|a, b| b.documents.cmp(&a.documents).then_with(|| a.rule.cmp(&b.rule)));
        dropped.truncate(MAX_LISTED);
        let mut languages: Vec<LanguageAmount> = sums
            .languages
            .into_iter()
            .map(|(language, amount)| LanguageAmount { language, amount: amount.into() })
            .collect();
        languages.sort_by_key(|one| std::cmp::Reverse(one.amount.bytes));
        languages.truncate(MAX_LISTED);
        Self {
            folders: sums.folders,
            train: sums.train.into(),
            held_out: sums.held_out.into(),
            duplicates,
            dropped,
            languages,
            mean_quality: sums.mean_quality.map(|mean| f64::from(mean) / f64::from(MILLION)),
            refused: sums.refused,
        }
    }
}

/// Sums up what ingestion on this machine kept and dropped.
#[utoipa::path(
    get,
    path = "/documents/summary",
    tag = "This process",
    responses(
        (status = 200, body = DocumentSummary),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn summary(State(data): State<DataSearch>) -> Result<Json<DocumentSummary>, ApiError> {
    Ok(Json(data.sum_up().await?.into()))
}

/// Returns the endpoint.
pub(super) fn routes(data: DataSearch) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(summary)).with_state(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first() {
        let mut sums = ReportSums::default();
        for (rule, documents) in [("a", 2), ("duplicate.exact", 3), ("b", 2), ("z", 9)] {
            sums.dropped.insert(rule.into(), documents);
        }
        for (language, bytes) in [("deu", 5), ("eng", 7)] {
            sums.languages.insert(language.into(), Amount { documents: 1, bytes });
        }
        let summary = DocumentSummary::from(sums);
        let rules: Vec<&str> = summary.dropped.iter().map(|one| one.rule.as_str()).collect();
        assert_eq!(rules, ["z", "duplicate.exact", "a", "b"]);
        assert_eq!(summary.duplicates, Duplicates { exact: 3, near: 0 });
        assert_eq!(summary.languages[0].language, "eng");
        assert_eq!(summary.mean_quality, None);
    }
}
