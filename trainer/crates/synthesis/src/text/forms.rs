// SPDX-License-Identifier: Apache-2.0

//! Documents that a model writes: continuations, answers to instructions, and dialogues.

use super::{
    filters::{Consistency, TextFilter},
    model::{ModelIdentity, SamplingParameters, TextModel, TextRequest, generate},
    prompts::{PromptSet, PromptSource, bundled},
};
use crate::error::{SynthesisError, in_range};
use pol_primitives::{Hash, prf::Prf};
use serde::{Deserialize, Serialize};

/// Starts of the turns of a conversation.
const SPEAKERS: [&str; 2] = ["User:", "Assistant:"];

/// Form of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, codec::Encode, codec::Decode)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Form {
    /// The prompt and its continuation.
    Continuation,
    /// An instruction and the model's answer.
    Instruction,
    /// A conversation in which the model writes both sides. The prompt is its first turn.
    Dialogue {
        /// Number of turns that the model writes.
        turns: u8,
    },
}

impl Form {
    /// Returns the name that sources of this form have.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Continuation => "pretrained",
            Self::Instruction => "instruction",
            Self::Dialogue { .. } => "dialogue",
        }
    }
}

/// Description of texts that a model writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, codec::Encode, codec::Decode)]
#[serde(deny_unknown_fields)]
pub struct DrawnText {
    /// Form of each text.
    pub form: Form,
    /// Model that writes.
    pub model: ModelIdentity,
    /// Prompts.
    pub prompts: PromptSource,
    /// Sampling parameters.
    #[serde(default)]
    pub sampling: SamplingParameters,
    /// Agreement that each turn of the model needs.
    #[serde(default = "no_consistency")]
    pub consistency: Consistency,
    /// Bounds on the texts that are kept.
    #[serde(default)]
    pub filter: TextFilter,
}

fn no_consistency() -> Consistency {
    Consistency::NONE
}

impl DrawnText {
    pub(crate) fn validate(&self) -> Result<(), SynthesisError> {
        if let Form::Dialogue { turns } = self.form {
            in_range("form.dialogue.turns", turns.into(), 1, 32)?;
        }
        self.sampling.validate()?;
        self.consistency.validate()?;
        self.filter.validate()
    }

    /// Returns the prompts that the recipe names, out of those that are there.
    ///
    /// # Errors
    ///
    /// Fails if the recipe names a file, and another one or none is there.
    pub(crate) fn prompts<'a>(
        &self,
        given: Option<&'a PromptSet>,
    ) -> Result<Option<&'a PromptSet>, SynthesisError> {
        let PromptSource::File(digest) = &self.prompts else { return Ok(None) };
        match given {
            Some(set) if set.digest() == digest => Ok(Some(set)),
            other => Err(SynthesisError::Prompts(format!(
                "the recipe draws from the file of prompts with BLAKE3 0x{}, {}; give that file",
                hex::encode(digest),
                if other.is_some() { "and another one is there" } else { "and none is there" },
            ))),
        }
    }

    /// Draws the text at `index`, or returns the reason for having none.
    pub(crate) fn draw(
        &self,
        model: &dyn TextModel,
        prompts: Option<&PromptSet>,
        seed: &Hash,
        index: u32,
    ) -> Result<Result<String, String>, SynthesisError> {
        let prompt = match prompts {
            Some(set) => set.prompt(index).to_owned(),
            None => bundled(self.form == Form::Continuation, seed, index),
        };
        let mut source = Turns { drawn: self, model, seed, index, turn: 0 };
        let (mut text, turns) = match self.form {
            Form::Continuation => {
                let continued = source.next(&prompt, &[])?;
                return Ok(continued.map(|text| prompt + &text));
            }
            Form::Instruction => (format!("{} {prompt}", SPEAKERS[0]), 1),
            Form::Dialogue { turns } => (format!("{} {prompt}", SPEAKERS[0]), turns),
        };
        let stop = SPEAKERS.map(|speaker| format!("\n{speaker}"));
        for turn in 1..=usize::from(turns) {
            text = format!("{text}\n{}", SPEAKERS[turn % 2]);
            match source.next(&text, &stop)? {
                Ok(said) if !said.trim().is_empty() => text = format!("{text} {}", said.trim()),
                Ok(_) => return Ok(Err("the model left a turn empty".into())),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        Ok(Ok(text + "\n"))
    }
}

/// Source of the model's turns in one document.
struct Turns<'a> {
    drawn: &'a DrawnText,
    model: &'a dyn TextModel,
    seed: &'a Hash,
    index: u32,
    turn: u32,
}

impl Turns<'_> {
    /// Returns a text that enough samples agree on and that has an allowed length.
    fn next(
        &mut self,
        prompt: &str,
        stop: &[String],
    ) -> Result<Result<String, String>, SynthesisError> {
        let Self { drawn, seed, index, turn, .. } = self;
        let inputs: [&[u8]; 2] = [&index.to_le_bytes(), &turn.to_le_bytes()];
        let seed = Prf::new("pol/synthesis/text/1", seed, &inputs).next_u64();
        *turn += 1;
        let request =
            |stream| TextRequest { prompt, sampling: &drawn.sampling, seed, stream, stop };
        let requests: Vec<_> = (0..drawn.consistency.samples.into()).map(request).collect();
        let mut samples = generate(self.model, &requests)?;
        let texts: Vec<&str> = samples.iter().map(|sample| sample.text.as_str()).collect();
        let Some(chosen) = drawn.consistency.choose(&texts) else {
            return Ok(Err("too few samples of the model agree".into()));
        };
        let text = samples.swap_remove(chosen).text;
        Ok(match drawn.filter.refuses_length(&text) {
            Some(reason) => Err(reason),
            None => Ok(text),
        })
    }
}
