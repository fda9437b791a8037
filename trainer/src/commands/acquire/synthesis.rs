// SPDX-License-Identifier: Apache-2.0

//! Documents of a recipe as a source.

use super::{
    super::{decoder::thread_count, drawing::RecipeFiles},
    RAW,
};
use crate::error::explain;
use anyhow::{Context, Result};
use async_trait::async_trait;
use pol_corpus::RawDocuments;
use pol_sources::{Batch, Source, SourceError, Step};
use pol_synthesis::{Documents, Recipe, Synthesizer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};
use tokio::sync::mpsc;

/// Tasks that are made at a time.
const TASKS: usize = 256;
/// Texts of a model that are made at a time.
const TEXTS: usize = 32;
/// Name of the source in its store.
const NAME: &str = "synthesis";
/// File of the recipe, in the folder of a source, from which anybody makes the documents again.
const RECIPE: &str = "recipe.json";

/// Documents of a recipe, in order.
pub(super) struct RecipeSource {
    maker: Maker,
    /// Index of the next document.
    next: u32,
    /// Documents of the thread that makes them, once it runs.
    made: Option<mpsc::Receiver<Result<Made>>>,
}

/// Documents that were made together, and the index behind them.
struct Made {
    batch: Batch,
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
    /// Creates a source whose store is in `folder`.
    pub(super) fn new(recipe: Recipe, files: RecipeFiles, folder: &Path) -> Self {
        let maker = Maker { recipe, files, folder: folder.to_owned() };
        Self { maker, next: 0, made: None }
    }

    fn digest(&self) -> String {
        hex::encode(self.maker.recipe.digest())
    }

    /// Starts the thread that makes documents. A model and its calibration stay there.
    fn start(&self) -> std::io::Result<mpsc::Receiver<Result<Made>>> {
        let (sender, made) = mpsc::channel(1);
        let (maker, first) = (self.maker.clone(), self.next);
        thread::Builder::new().name(NAME.into()).spawn(move || {
            if let Err(error) = maker.make(first, &sender) {
                let _ = sender.blocking_send(Err(error));
            }
        })?;
        Ok(made)
    }
}

/// A recipe, the files that it needs, and the folder of its source.
#[derive(Clone)]
struct Maker {
    recipe: Recipe,
    files: RecipeFiles,
    folder: PathBuf,
}

impl Maker {
    /// Sends the documents from `first` on until all are made or nobody receives them.
    fn make(self, first: u32, sender: &mpsc::Sender<Result<Made>>) -> Result<()> {
        let (end, together) =
            (self.recipe.documents, if self.recipe.model().is_some() { TEXTS } else { TASKS });
        self.write_recipe()?;
        let kept = self.folder.join(RAW);
        let loaded = self.files.load(self.recipe, thread_count(None)?)?;
        let mut documents = resumed(loaded.open()?, first, &kept)?;
        while documents.position() < end {
            let mut batch = Batch::default();
            for made in documents.by_ref().take(together) {
                match made? {
                    Ok(made) => batch.documents.push(made.document),
                    Err(refusal) => batch.refused.push(refusal),
                }
            }
            let made = Made { batch, next: documents.position() };
            if sender.blocking_send(Ok(made)).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn write_recipe(&self) -> Result<()> {
        let path = self.folder.join(RECIPE);
        let context = || format!("cannot write {}", path.display());
        fs::create_dir_all(&self.folder).with_context(context)?;
        fs::write(&path, serde_json::to_vec_pretty(&self.recipe)?).with_context(context)
    }
}

/// Returns the documents from `first` on. The texts before it, which those of a model must not
/// repeat, are in the store `kept`.
fn resumed<'a>(synthesizer: Synthesizer<'a>, first: u32, kept: &Path) -> Result<Documents<'a>> {
    let documents = synthesizer.documents();
    if first == 0 {
        return Ok(documents);
    }
    let mut failure = None;
    let kept = RawDocuments::open(kept)?.map_while(|document| match document {
        Ok(document) => Some(String::from_utf8_lossy(&document.bytes).into_owned()),
        Err(error) => {
            failure = Some(error);
            None
        }
    });
    let documents = documents.resume(first, kept);
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(documents),
    }
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
        if self.next >= self.maker.recipe.documents {
            return Ok(Step::Done);
        }
        let failed = |reason| SourceError::Service { service: NAME.to_owned(), reason };
        let made = match self.made.take() {
            Some(made) => made,
            None => self.start().map_err(|error| failed(error.to_string()))?,
        };
        let received = self.made.insert(made).recv().await;
        let ended = || failed("it ended unexpectedly; run the command again".to_owned());
        let made = received.ok_or_else(ended)?.map_err(|error| failed(explain(&error)))?;
        self.next = made.next;
        Ok(Step::Batch(made.batch))
    }
}
