// SPDX-License-Identifier: Apache-2.0

//! Recipes: all that fixes the bytes of a synthetic source.

use crate::{
    error::{SynthesisError, in_range},
    tasks::Family,
    text::{
        CertaintyQuestions, Consistency, DrawnText, Form, ModelIdentity, PromptSource,
        SamplingParameters, TextFilter, validate_tasks,
    },
};
use pol_primitives::Hash;
use serde::{Deserialize, Serialize};

/// Version of the generators. It is raised with every change that changes the bytes of a document.
pub const GENERATOR_VERSION: u32 = 1;
/// Largest size of a recipe as text, in bytes.
const MAX_RECIPE_BYTES: usize = 64 << 10;

/// Description of a synthetic source. Equal recipes make equal documents on every machine.
///
/// The document at an index depends only on the recipe and the index, so it can be made again
/// alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, codec::Encode, codec::Decode)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Version of the generators, [`GENERATOR_VERSION`].
    pub version: u32,
    /// Seed of all draws.
    #[serde(with = "pol_primitives::hex_hash")]
    pub seed: Hash,
    /// Number of documents to make. Of texts of a model some are refused, so fewer may come out.
    pub documents: u32,
    /// Content of the documents.
    pub content: Content,
}

/// Content of the documents of a recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, codec::Encode, codec::Decode)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Content {
    /// Tasks with solutions that are proved.
    Tasks(Tasks),
    /// Text that a model writes.
    Text(DrawnText),
    /// Questions about the certainty of a model, with measured answers.
    Certainty(CertaintyQuestions),
}

/// Description of tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, codec::Encode, codec::Decode)]
#[serde(deny_unknown_fields)]
pub struct Tasks {
    /// Kinds of tasks. Documents have one kind each, in turn.
    pub families: Vec<Family>,
    /// Lowest and highest level.
    pub levels: (u8, u8),
}

impl Recipe {
    /// Returns a recipe of tasks of all kinds and levels.
    #[must_use]
    pub fn all_tasks(seed: Hash, documents: u32) -> Self {
        let content = Content::Tasks(Tasks { families: Family::ALL.to_vec(), levels: (1, 5) });
        Self { version: GENERATOR_VERSION, seed, documents, content }
    }

    /// Returns a recipe of texts that a model writes from bundled beginnings: up to 512 tokens
    /// each, out of the likeliest that have 95 % of the probability.
    #[must_use]
    pub fn continuations(model: ModelIdentity, seed: Hash, documents: u32) -> Self {
        let content = Content::Text(DrawnText {
            form: Form::Continuation,
            model,
            prompts: PromptSource::Bundled,
            sampling: SamplingParameters {
                max_tokens: 512,
                top_p: 950_000,
                ..SamplingParameters::default()
            },
            consistency: Consistency::NONE,
            filter: TextFilter::default(),
        });
        Self { version: GENERATOR_VERSION, seed, documents, content }
    }

    /// Returns the model that the recipe draws text from, if it does.
    #[must_use]
    pub const fn model(&self) -> Option<&ModelIdentity> {
        match &self.content {
            Content::Tasks(_) => None,
            Content::Text(drawn) => Some(&drawn.model),
            Content::Certainty(questions) => Some(&questions.model),
        }
    }

    /// Parses a recipe in JSON.
    ///
    /// # Errors
    ///
    /// Fails if the text is not a recipe, has unknown fields, or is larger than 64 KiB, and as
    /// [`Self::validate`] does.
    pub fn from_json(text: &str) -> Result<Self, SynthesisError> {
        Self::parsed(text, |text| serde_json::from_str(text).map_err(|error| error.to_string()))
    }

    /// Parses a recipe in TOML.
    ///
    /// # Errors
    ///
    /// Fails if the text is not a recipe, has unknown fields, or is larger than 64 KiB, and as
    /// [`Self::validate`] does.
    pub fn from_toml(text: &str) -> Result<Self, SynthesisError> {
        Self::parsed(text, |text| toml::from_str(text).map_err(|error| error.to_string()))
    }

    fn parsed(
        text: &str,
        parse: impl FnOnce(&str) -> Result<Self, String>,
    ) -> Result<Self, SynthesisError> {
        if text.len() > MAX_RECIPE_BYTES {
            let reason = format!("it has more than {MAX_RECIPE_BYTES} bytes");
            return Err(SynthesisError::Syntax(reason));
        }
        let recipe = parse(text).map_err(SynthesisError::Syntax)?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// Checks the version and every value.
    ///
    /// # Errors
    ///
    /// Fails if the recipe is for another version of the generators, or if a value is out of its
    /// range.
    pub fn validate(&self) -> Result<(), SynthesisError> {
        if self.version != GENERATOR_VERSION {
            let (found, known) = (self.version, GENERATOR_VERSION);
            return Err(SynthesisError::Version { found, known });
        }
        in_range("documents", self.documents, 1, u32::MAX - 1)?;
        match &self.content {
            Content::Tasks(tasks) => validate_tasks(&tasks.families, tasks.levels),
            Content::Text(drawn) => drawn.validate(),
            Content::Certainty(questions) => questions.validate(),
        }
    }

    /// Returns the digest that names the recipe.
    #[must_use]
    pub fn digest(&self) -> Hash {
        pol_primitives::digest(b"pol/synthesis/recipe/1", self)
    }

    /// Returns the index of the document at `location`, as its origin names it, if it is one of
    /// this recipe.
    #[must_use]
    pub fn index_of(&self, location: &str) -> Option<u32> {
        let (digest, index) = location.split_once('/')?;
        let number: u32 = index.parse().ok()?;
        // Only one spelling of a number is a location.
        let is_ours = digest == hex::encode(self.digest()) && number.to_string() == index;
        Some(number).filter(|_| is_ours)
    }
}
