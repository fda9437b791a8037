// SPDX-License-Identifier: Apache-2.0

//! Documents of a recipe as a source.

use async_trait::async_trait;
use pol_sources::{Batch, Source, SourceError, Step};
use pol_synthesis::{Recipe, Resources, SynthesisError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Documents that are made at a time.
const BATCH: u32 = 256;
/// Name of the source in its store.
const NAME: &str = "synthesis";

/// Documents of a recipe of tasks, in order.
pub(super) struct RecipeSource {
    recipe: Arc<Recipe>,
    /// Index of the next document.
    next: u32,
}

/// Place behind the documents that were returned.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    /// Digest of the recipe, in hexadecimal.
    recipe: String,
    next: u32,
}

impl RecipeSource {
    pub(super) fn new(recipe: Recipe) -> Self {
        Self { recipe: Arc::new(recipe), next: 0 }
    }

    fn digest(&self) -> String {
        hex::encode(self.recipe.digest())
    }
}

/// Makes the documents from `first` up to `end`.
fn make(recipe: &Recipe, first: u32, end: u32) -> Result<Batch, SynthesisError> {
    let synthesizer = recipe.open(Resources::default())?;
    let mut batch = Batch::default();
    for index in first..end {
        match synthesizer.document(index)? {
            Ok(made) => batch.documents.push(made.document),
            Err(refusal) => batch.refused.push(refusal),
        }
    }
    Ok(batch)
}

#[async_trait]
impl Source for RecipeSource {
    fn name(&self) -> &str {
        NAME
    }

    fn resume(&mut self, cursor: Value) -> Result<(), String> {
        let cursor: Cursor = serde_json::from_value(cursor).map_err(|error| error.to_string())?;
        if cursor.recipe != self.digest() {
            return Err(format!("it followed another recipe, {}", cursor.recipe));
        }
        self.next = cursor.next;
        Ok(())
    }

    fn cursor(&self) -> Value {
        let cursor = Cursor { recipe: self.digest(), next: self.next };
        serde_json::to_value(cursor).unwrap_or_default()
    }

    async fn next(&mut self) -> Result<Step, SourceError> {
        let (first, end) = (self.next, self.next.saturating_add(BATCH).min(self.recipe.documents));
        if first >= end {
            return Ok(Step::Done);
        }
        let recipe = self.recipe.clone();
        let failed = |reason| SourceError::Service { service: NAME.to_owned(), reason };
        let batch = tokio::task::spawn_blocking(move || make(&recipe, first, end))
            .await
            .map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))?;
        self.next = end;
        Ok(Step::Batch(batch))
    }
}
