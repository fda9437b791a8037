// SPDX-License-Identifier: Apache-2.0

//! Recipes of text, with the model and the prompts that they need.

use super::text_model::{NativeTextModel, identify};
use crate::files::{read_limited, read_text};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use pol_corpus::Tool;
use pol_data::documents::LineageRecord;
use pol_primitives::lineage::Activity;
use pol_synthesis::{
    GENERATOR_VERSION, PromptSet, Recipe, Resources, SynthesisError, Synthesizer, TextModel,
};
use std::path::{Path, PathBuf};

/// Largest file of prompts, in bytes.
const MAX_PROMPTS: u64 = 1 << 28;

/// Documents of the recipe of a model for which nobody wrote one.
const DOCUMENTS: u32 = 100_000;

/// Reads a recipe in TOML or JSON.
pub(crate) fn read_recipe(path: &Path) -> Result<Recipe> {
    let name = path.display();
    let text = read_text(path).with_context(|| format!("cannot read {name}"))?;
    let is_json = text.trim_start().starts_with('{');
    let parse = if is_json { Recipe::from_json } else { Recipe::from_toml };
    parse(&text).with_context(|| name.to_string())
}

/// Returns the recipe of a model for which nobody wrote one: continuations of bundled beginnings.
pub(crate) fn usual_recipe(model: &Path) -> Result<Recipe> {
    Ok(Recipe::continuations(identify(model)?, [0; 32], DOCUMENTS))
}

/// Returns the making of what a recipe makes.
pub(crate) fn lineage_of(recipe: &Recipe) -> LineageRecord {
    let generator = GENERATOR_VERSION.to_string();
    let (activity, version) = match recipe.model() {
        None => (Activity::Generation, generator),
        Some(model) => (Activity::Sampling, format!("{generator} with {}", model.decoder)),
    };
    LineageRecord {
        activity,
        tool: Tool { name: "pol-synthesis".into(), version },
        configuration: recipe.digest(),
        documents: None,
    }
}

/// Files that recipes may need.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RecipeFiles {
    /// Folder of the model that the recipe draws text from, made by `model import`.
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// File of the prompts that the recipe names.
    #[arg(long, value_name = "FILE")]
    pub(crate) prompts: Option<PathBuf>,
}

impl RecipeFiles {
    /// Checks that the model is the one that the recipe names, without reading its parameters.
    pub(crate) fn check(&self, recipe: &Recipe) -> Result<()> {
        let Some(named) = recipe.model() else {
            ensure!(self.model.is_none(), "model: the recipe draws no text from one; leave it out");
            return Ok(());
        };
        let Some(folder) = &self.model else {
            bail!(
                "model: the recipe draws text from the model {named}; name its folder, which \
                 `pol-trainer model import` makes"
            );
        };
        let found = identify(folder).context("model")?;
        ensure!(
            found == *named,
            "model: the recipe draws text from the model {named}, and {} holds {found}; name the \
             folder of that one",
            folder.display()
        );
        Ok(())
    }

    /// Loads what a recipe needs.
    pub(crate) fn load(&self, recipe: Recipe, threads: usize) -> Result<LoadedRecipe> {
        self.check(&recipe)?;
        let model = self.model.as_ref().map(|folder| NativeTextModel::load(folder, threads));
        let prompts = self.prompts.as_ref().map(|path| {
            let context = || format!("prompts: cannot read {}", path.display());
            anyhow::Ok(PromptSet::parse(&read_limited(path, MAX_PROMPTS).with_context(context)?)?)
        });
        Ok(LoadedRecipe { recipe, model: model.transpose()?, prompts: prompts.transpose()? })
    }
}

/// A recipe with all that it needs.
pub(crate) struct LoadedRecipe {
    recipe: Recipe,
    model: Option<NativeTextModel>,
    prompts: Option<PromptSet>,
}

impl LoadedRecipe {
    /// Returns a maker of its documents.
    pub(crate) fn open(&self) -> Result<Synthesizer<'_>, SynthesisError> {
        let model = self.model.as_ref().map(|model| model as &dyn TextModel);
        self.recipe.open(Resources { model, prompts: self.prompts.as_ref() })
    }
}
