// SPDX-License-Identifier: Apache-2.0

//! Documents of a recipe as a source.

use super::{
    super::{decoder::thread_count, drawing::RecipeFiles},
    RAW,
};
use crate::error::explain;
use anyhow::{Context, Result};
use async_trait::async_trait;
use pol_corpus::{RawDocument, RawDocuments};
use pol_sources::{Batch, Reader, ResumableSource, SourceError, Step};
use pol_synthesis::{Documents, Recipe, Synthesizer};
use serde::{Deserialize, Serialize};
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

/// Reader of the documents of a recipe, in order.
pub(super) struct RecipeReader {
    maker: Maker,
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
pub(super) struct RecipeCursor {
    /// Digest of the recipe, in hexadecimal.
    recipe: String,
    /// Index of the next document.
    next: u32,
}

impl RecipeReader {
    /// Creates a source whose store is in `folder`.
    pub(super) fn source(
        recipe: Recipe,
        files: RecipeFiles,
        folder: &Path,
    ) -> ResumableSource<Self> {
        let cursor = RecipeCursor { recipe: hex::encode(recipe.digest()), next: 0 };
        let maker = Maker { recipe, files, folder: folder.to_owned() };
        ResumableSource::at(cursor, Self { maker, made: None })
    }

    /// Starts the thread that makes documents. A model and its calibration stay there.
    fn start(&self, first: u32) -> std::io::Result<mpsc::Receiver<Result<Made>>> {
        let (sender, made) = mpsc::channel(1);
        let maker = self.maker.clone();
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
        let (recipe, kept) = (self.recipe.clone(), self.folder.join(RAW));
        let loaded = self.files.load(self.recipe, thread_count(None)?)?;
        let mut documents = resumed(loaded.open()?, &recipe, first, &kept)?;
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
/// repeat, are in the store `kept`, which may hold later ones too.
fn resumed<'a>(
    synthesizer: Synthesizer<'a>,
    recipe: &Recipe,
    first: u32,
    kept: &Path,
) -> Result<Documents<'a>> {
    let documents = synthesizer.documents();
    if first == 0 {
        return Ok(documents);
    }
    let mut failure = None;
    let kept = RawDocuments::open(kept)?.map_while(|document| match document {
        Ok(RawDocument { origin, bytes, .. }) => {
            let index = recipe.index_of(&origin.location);
            let is_before = index.is_some_and(|index| index < first);
            is_before.then(|| String::from_utf8_lossy(&bytes).into_owned())
        }
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
impl Reader for RecipeReader {
    type Cursor = RecipeCursor;

    fn name(&self) -> &str {
        NAME
    }

    fn check(&self, cursor: &RecipeCursor, saved: &RecipeCursor) -> Result<(), String> {
        let is_same = saved.recipe == cursor.recipe;
        is_same.then_some(()).ok_or_else(|| format!("it followed another recipe, {}", saved.recipe))
    }

    async fn next(&mut self, cursor: &mut RecipeCursor) -> Result<Step, SourceError> {
        if cursor.next >= self.maker.recipe.documents {
            return Ok(Step::Done);
        }
        let failed = |reason| SourceError::Service { service: NAME.to_owned(), reason };
        let made = match self.made.take() {
            Some(made) => made,
            None => self.start(cursor.next).map_err(|error| failed(error.to_string()))?,
        };
        let received = self.made.insert(made).recv().await;
        let ended = || failed("it ended unexpectedly; run the command again".to_owned());
        let made = received.ok_or_else(ended)?.map_err(|error| failed(explain(&error)))?;
        cursor.next = made.next;
        Ok(Step::Batch(made.batch))
    }
}
