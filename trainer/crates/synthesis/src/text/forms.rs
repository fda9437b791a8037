// SPDX-License-Identifier: Apache-2.0

//! Documents that a model writes: continuations, answers to instructions, and dialogues.

use super::{
    filters::{Consistency, TextFilter},
    model::{
        GeneratedText, ModelIdentity, NO_FIT, SamplingParameters, TextModel, TextRequest, generate,
        prompts_at_once,
    },
    prompts::{PromptSet, PromptSource, bundled},
};
use crate::error::{SynthesisError, in_range};
use pol_corpus::MAX_PIECE_BYTES;
use pol_primitives::{Hash, prf::Prf};
use serde::{Deserialize, Serialize};
use std::ops::Range;

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

    /// Returns the number of turns that the model writes.
    fn turns(&self) -> u8 {
        match self {
            Self::Continuation | Self::Instruction => 1,
            Self::Dialogue { turns } => *turns,
        }
    }

    /// Returns `true` if a user and an assistant speak in turn.
    fn is_spoken(&self) -> bool {
        *self != Self::Continuation
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

    /// Returns the number of texts to draw at a time.
    pub(crate) fn at_once(&self) -> u32 {
        prompts_at_once(self.consistency.samples)
    }

    /// Draws the texts at `indices` together. Each is a text, or the reason for having none.
    pub(crate) fn draw(
        &self,
        model: &dyn TextModel,
        prompts: Option<&PromptSet>,
        seed: &Hash,
        indices: Range<u32>,
    ) -> Result<Vec<Result<String, String>>, SynthesisError> {
        let is_spoken = self.form.is_spoken();
        let begin = |index| {
            let prompt = match prompts {
                Some(set) => set.prompt(index).to_owned(),
                None => bundled(!is_spoken, seed, index),
            };
            let text = if is_spoken { format!("{} {prompt}", SPEAKERS[0]) } else { prompt };
            Draft { index, text, refusal: None }
        };
        let mut drafts: Vec<Draft> = indices.map(begin).collect();
        for turn in 0..self.form.turns() {
            self.take_turn(model, seed, turn, &mut drafts)?;
        }
        Ok(drafts.into_iter().map(|draft| draft.finish(is_spoken)).collect())
    }

    /// Lets the model continue each text that is not refused.
    fn take_turn(
        &self,
        model: &dyn TextModel,
        seed: &Hash,
        turn: u8,
        drafts: &mut [Draft],
    ) -> Result<(), SynthesisError> {
        let is_spoken = self.form.is_spoken();
        let mut open = Vec::new();
        for draft in drafts.iter_mut().filter(|draft| draft.refusal.is_none()) {
            if is_spoken {
                draft.text = format!("{}\n{}", draft.text, SPEAKERS[(usize::from(turn) + 1) % 2]);
            }
            if model.fits(&draft.text)? {
                open.push(draft);
            } else {
                draft.refusal = Some(NO_FIT.into());
            }
        }
        let stop = if is_spoken {
            SPEAKERS.map(|speaker| format!("\n{speaker}")).to_vec()
        } else {
            vec![]
        };
        let mut requests = Vec::new();
        for draft in &open {
            let inputs: [&[u8]; 2] = [&draft.index.to_le_bytes(), &u32::from(turn).to_le_bytes()];
            let seed = Prf::new("pol/synthesis/text/1", seed, &inputs).next_u64();
            let (prompt, sampling, stop) = (&*draft.text, &self.sampling, &*stop);
            let request = |stream| TextRequest { prompt, sampling, seed, stream, stop };
            requests.extend((0..self.consistency.samples.into()).map(request));
        }
        let texts = generate(model, &requests)?;
        for (draft, samples) in open.into_iter().zip(texts.chunks(self.consistency.samples.into()))
        {
            match self.choose(samples) {
                Ok(said) => draft.add(said, is_spoken),
                Err(reason) => draft.refusal = Some(reason),
            }
        }
        Ok(())
    }

    /// Returns the sample that enough others agree with, if its length is allowed.
    fn choose<'a>(&self, samples: &'a [GeneratedText]) -> Result<&'a str, String> {
        let texts: Vec<&str> = samples.iter().map(|sample| sample.text.as_str()).collect();
        let chosen = self.consistency.choose(&texts).and_then(|at| texts.get(at).copied());
        let text = chosen.ok_or("too few samples of the model agree")?;
        match self.filter.refuses_length(text) {
            Some(reason) => Err(reason),
            None => Ok(text),
        }
    }
}

/// Text that is being drawn.
struct Draft {
    index: u32,
    /// Text so far.
    text: String,
    /// Reason for having none.
    refusal: Option<String>,
}

impl Draft {
    /// Adds what the model said.
    fn add(&mut self, said: &str, is_spoken: bool) {
        if !is_spoken {
            self.text += said;
        } else if said.trim().is_empty() {
            self.refusal = Some("the model left a turn empty".into());
        } else {
            self.text = format!("{} {}", self.text, said.trim());
        }
    }

    fn finish(self, is_spoken: bool) -> Result<String, String> {
        let text = if is_spoken { self.text + "\n" } else { self.text };
        match self.refusal {
            Some(reason) => Err(reason),
            None if text.len() > MAX_PIECE_BYTES => {
                Err(format!("the text has more than {MAX_PIECE_BYTES} bytes"))
            }
            None => Ok(text),
        }
    }
}
