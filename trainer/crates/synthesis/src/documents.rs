// SPDX-License-Identifier: Apache-2.0

//! Documents of a recipe, one by one or in order.

use crate::{
    draws::Draws,
    error::{ModelError, SynthesisError},
    recipe::{Content, Recipe, Tasks},
    tasks::Certificate,
    text::{
        Calibration, CertaintyQuestions, DrawnText, ModelIdentity, Novelty, PromptSet, TextModel,
        draw_task,
    },
};
use pol_corpus::{Origin, RawDocument, Refusal};
use std::{collections::VecDeque, ops::Range};

/// Model and prompts that a recipe may need.
#[derive(Clone, Copy, Default)]
pub struct Resources<'a> {
    /// Loaded model.
    pub model: Option<&'a dyn TextModel>,
    /// File of prompts.
    pub prompts: Option<&'a PromptSet>,
}

/// A document that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synthetic {
    /// Document. Its location is `RECIPE/INDEX`, with the digest of the recipe in hexadecimal.
    pub document: RawDocument,
    /// Proof of its statements. Texts of a model have none.
    pub certificate: Option<Certificate>,
}

impl Recipe {
    /// Returns a maker of documents, with the model and prompts that the recipe names.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::validate`] does, and if the model or the file of prompts is missing or is
    /// another one than the recipe names. Questions about certainty are calibrated here, which
    /// fails if the model does.
    pub fn open<'a>(&'a self, resources: Resources<'a>) -> Result<Synthesizer<'a>, SynthesisError> {
        Synthesizer::new(self, resources)
    }

    /// Returns all documents of a recipe that needs no model, in order.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::open`] does.
    pub fn documents(&self) -> Result<Documents<'_>, SynthesisError> {
        Ok(self.open(Resources::default())?.documents())
    }
}

/// Maker of the documents of a recipe. Opening one for each thread is cheap for tasks.
pub struct Synthesizer<'a> {
    recipe: &'a Recipe,
    digest: String,
    maker: Maker<'a>,
}

/// Content of a recipe with all that it needs.
enum Maker<'a> {
    Tasks(&'a Tasks),
    Text(&'a DrawnText, &'a dyn TextModel, Option<&'a PromptSet>),
    Certainty(&'a CertaintyQuestions, &'a dyn TextModel, Calibration),
}

impl<'a> Synthesizer<'a> {
    pub(crate) fn new(
        recipe: &'a Recipe,
        resources: Resources<'a>,
    ) -> Result<Self, SynthesisError> {
        recipe.validate()?;
        let maker = match &recipe.content {
            Content::Tasks(tasks) => Maker::Tasks(tasks),
            Content::Text(drawn) => {
                let prompts = drawn.prompts(resources.prompts)?;
                Maker::Text(drawn, named_model(resources.model, &drawn.model)?, prompts)
            }
            Content::Certainty(questions) => {
                let model = named_model(resources.model, &questions.model)?;
                let calibration = questions.calibrate(model, &recipe.seed)?;
                Maker::Certainty(questions, model, calibration)
            }
        };
        Ok(Self { recipe, digest: hex::encode(recipe.digest()), maker })
    }

    /// Returns the measured calibration of the model, if the recipe asks about its certainty.
    #[must_use]
    pub fn calibration(&self) -> Option<&Calibration> {
        match &self.maker {
            Maker::Certainty(_, _, calibration) => Some(calibration),
            Maker::Tasks(_) | Maker::Text(..) => None,
        }
    }

    /// Makes the document at `index` alone, or returns the reason for having none.
    ///
    /// # Errors
    ///
    /// Fails if the model does, and if `index` is not below the number of documents.
    pub fn document(&self, index: u32) -> Result<Result<Synthetic, Refusal>, SynthesisError> {
        let documents = self.recipe.documents;
        if index >= documents {
            let range = format!("below {documents}, not {index}");
            return Err(SynthesisError::Range { field: "the index of a document", range });
        }
        let made = self.make(index..index.saturating_add(1))?;
        Ok(made.into_iter().next().ok_or_else(|| ModelError("it wrote no text".into()))?)
    }

    /// Returns the number of documents that are best made together.
    fn at_once(&self) -> u32 {
        match &self.maker {
            Maker::Tasks(_) => 1,
            Maker::Text(drawn, ..) => drawn.at_once(),
            Maker::Certainty(questions, ..) => questions.at_once(),
        }
    }

    /// Makes the documents at `indices` together.
    fn make(&self, indices: Range<u32>) -> Result<Vec<Result<Synthetic, Refusal>>, SynthesisError> {
        let seed = &self.recipe.seed;
        let (name, texts) = match &self.maker {
            Maker::Tasks(tasks) => return indices.map(|index| self.task(tasks, index)).collect(),
            Maker::Text(drawn, model, prompts) => {
                (drawn.form.name(), drawn.draw(*model, *prompts, seed, indices.clone())?)
            }
            Maker::Certainty(questions, model, calibration) => {
                ("certainty", questions.draw(*model, calibration, seed, indices.clone())?)
            }
        };
        let mut made = Vec::new();
        for (index, text) in indices.zip(texts) {
            let origin = self.origin(name, index);
            made.push(match text {
                Ok(text) => Ok(Synthetic {
                    document: RawDocument::of_text(origin, text),
                    certificate: None,
                }),
                Err(reason) => Err(Refusal { origin, reason }),
            });
        }
        Ok(made)
    }

    /// Makes the document of tasks at `index`.
    fn task(
        &self,
        tasks: &Tasks,
        index: u32,
    ) -> Result<Result<Synthetic, Refusal>, SynthesisError> {
        let mut draws = Draws::new(&self.recipe.seed, index);
        let (family, level) = draw_task(&tasks.families, tasks.levels, index, &mut draws);
        let certificate = Certificate::draw(family, level, &mut draws);
        // The proof is checked once more when it is made, so no wrong text gets out.
        let origin = self.origin(family.name(), index);
        let document = RawDocument::of_text(origin, certificate.proved_text()?);
        Ok(Ok(Synthetic { document, certificate: Some(certificate) }))
    }

    fn origin(&self, name: &str, index: u32) -> Origin {
        Origin {
            source: format!("synthesis/{name}"),
            location: format!("{}/{index}", self.digest),
            ..Origin::default()
        }
    }

    /// Verifies that the recipe makes `document` at the index that its location names.
    ///
    /// # Errors
    ///
    /// Fails if the document belongs to another recipe or has other bytes, and as
    /// [`Self::document`] does.
    pub fn verify(&self, document: &RawDocument) -> Result<(), SynthesisError> {
        let other = |reason: &str| SynthesisError::OtherDocument {
            location: document.origin.location.clone(),
            reason: reason.to_owned(),
        };
        let index = self.recipe.index_of(&document.origin.location);
        let index = index.ok_or_else(|| other("its location names another recipe"))?;
        match self.document(index)? {
            Ok(made) if made.document == *document => Ok(()),
            Ok(_) => Err(other("its bytes or its origin differ")),
            Err(refusal) => Err(other(&refusal.reason)),
        }
    }

    /// Returns all documents in order.
    #[must_use]
    pub fn documents(self) -> Documents<'a> {
        Documents {
            synthesizer: self,
            next: 0,
            ahead: VecDeque::new(),
            novelty: Novelty::default(),
        }
    }
}

/// Returns the loaded model if it is the one that a recipe names.
fn named_model<'a>(
    loaded: Option<&'a dyn TextModel>,
    named: &ModelIdentity,
) -> Result<&'a dyn TextModel, SynthesisError> {
    let model = loaded.ok_or_else(|| SynthesisError::NoModel(named.to_string()))?;
    let found = model.identity();
    if found == *named {
        return Ok(model);
    }
    Err(SynthesisError::OtherModel { expected: named.to_string(), found: found.to_string() })
}

/// Documents of a recipe, in order. Texts of a model that repeat earlier ones are refused. An error
/// is the last item.
pub struct Documents<'a> {
    synthesizer: Synthesizer<'a>,
    next: u32,
    /// Documents from the next one on that were made together.
    ahead: VecDeque<Result<Synthetic, Refusal>>,
    novelty: Novelty,
}

impl Documents<'_> {
    /// Continues a stopped run at the document `next`. `kept` are the texts of the documents before
    /// it that were not refused, in order.
    #[must_use]
    pub fn resume(mut self, next: u32, kept: impl IntoIterator<Item: AsRef<str>>) -> Self {
        if let Maker::Text(drawn, ..) = &self.synthesizer.maker {
            for text in kept {
                self.novelty.refuses(text.as_ref(), &drawn.filter);
            }
        }
        self.next = next;
        self.ahead.clear();
        self
    }

    /// Returns the index of the next document.
    #[must_use]
    pub fn position(&self) -> u32 {
        self.next
    }

    /// Returns the reason to refuse a text of a model that repeats earlier ones.
    fn repeats(&mut self, made: &Synthetic) -> Option<String> {
        let Maker::Text(drawn, ..) = &self.synthesizer.maker else { return None };
        self.novelty.refuses(&String::from_utf8_lossy(&made.document.bytes), &drawn.filter)
    }
}

impl Iterator for Documents<'_> {
    type Item = Result<Result<Synthetic, Refusal>, SynthesisError>;

    fn next(&mut self) -> Option<Self::Item> {
        let documents = self.synthesizer.recipe.documents;
        if self.ahead.is_empty() && self.next < documents {
            let end = self.next.saturating_add(self.synthesizer.at_once()).min(documents);
            match self.synthesizer.make(self.next..end) {
                Ok(made) => self.ahead = made.into(),
                Err(error) => {
                    self.next = documents;
                    return Some(Err(error));
                }
            }
        }
        let made = self.ahead.pop_front()?;
        self.next += 1;
        let Ok(synthetic) = made else { return Some(Ok(made)) };
        Some(Ok(match self.repeats(&synthetic) {
            Some(reason) => Err(Refusal { origin: synthetic.document.origin, reason }),
            None => Ok(synthetic),
        }))
    }
}
