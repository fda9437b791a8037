// SPDX-License-Identifier: Apache-2.0

//! Prompts that models continue or answer.

use crate::{draws::Draws, error::SynthesisError};
use pol_primitives::Hash;
use serde::{Deserialize, Serialize};

/// Largest size of a file of prompts, in bytes.
const MAX_FILE_BYTES: usize = 64 << 20;
/// Largest size of a prompt, in bytes.
const MAX_PROMPT_BYTES: usize = 64 << 10;

/// Place that the prompts of a recipe come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, codec::Encode, codec::Decode)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PromptSource {
    /// Prompts that the program makes from the seed.
    Bundled,
    /// A file, by its BLAKE3. Its prompts are used in turn.
    File(#[serde(with = "pol_primitives::hex_hash")] Hash),
}

/// Prompts of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptSet {
    digest: Hash,
    prompts: Vec<String>,
}

impl PromptSet {
    /// Parses a file of prompts: one a line, in UTF-8. A line in double quotes is a JSON string, in
    /// which `\n` breaks a line. Empty lines are left out.
    ///
    /// # Errors
    ///
    /// Fails if the file is larger than 64 MiB, is not UTF-8, or holds no prompt, and if a prompt
    /// is longer than 64 KiB or not the JSON string that its quotes announce.
    pub fn parse(file: &[u8]) -> Result<Self, SynthesisError> {
        let refused =
            |reason: String| SynthesisError::Prompts(format!("the file of prompts {reason}"));
        if file.len() > MAX_FILE_BYTES {
            return Err(refused(format!("has more than {MAX_FILE_BYTES} bytes; split it")));
        }
        let text = std::str::from_utf8(file)
            .map_err(|error| refused(format!("is not UTF-8: {error}; convert it")))?;
        let mut prompts = Vec::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            if line.len() > MAX_PROMPT_BYTES {
                let limit = format!("has a line {number} of more than {MAX_PROMPT_BYTES} bytes");
                return Err(refused(limit));
            }
            prompts.push(if line.starts_with('"') {
                serde_json::from_str(line).map_err(|error| {
                    refused(format!("has a line {number} that is no JSON string: {error}"))
                })?
            } else {
                line.to_owned()
            });
        }
        if prompts.is_empty() {
            return Err(refused("holds no prompt; write one a line".to_owned()));
        }
        Ok(Self { digest: blake3::hash(file).into(), prompts })
    }

    /// Returns the BLAKE3 of the file, which a recipe names.
    #[must_use]
    pub const fn digest(&self) -> &Hash {
        &self.digest
    }

    /// Returns the prompt of the document at `index`.
    pub(crate) fn prompt(&self, index: u32) -> &str {
        // A set is never empty.
        &self.prompts[index as usize % self.prompts.len()]
    }
}

/// Subjects of prompts.
const SUBJECTS: [&str; 64] = [
    "bread",
    "bridges",
    "the calendar",
    "canals",
    "chess",
    "clocks",
    "clouds",
    "coffee",
    "the compass",
    "coral reefs",
    "democracy",
    "deserts",
    "dictionaries",
    "earthquakes",
    "electricity",
    "evolution",
    "fables",
    "fractions",
    "friendship",
    "geometry",
    "glaciers",
    "glass",
    "gravity",
    "the heart",
    "honey bees",
    "ice",
    "the immune system",
    "insulation",
    "inflation",
    "language",
    "lenses",
    "lighthouses",
    "logic",
    "magnets",
    "maps",
    "markets",
    "memory",
    "migration of birds",
    "money",
    "the Moon",
    "mountains",
    "museums",
    "music",
    "paper",
    "photosynthesis",
    "poetry",
    "prime numbers",
    "printing",
    "probability",
    "proofs",
    "railways",
    "rainbows",
    "recycling",
    "rivers",
    "sailing",
    "salt",
    "the seasons",
    "sleep",
    "soil",
    "theatre",
    "tides",
    "vaccines",
    "volcanoes",
    "weaving",
];

/// Beginnings of texts. The subject takes the place of `_`.
const BEGINNINGS: [&str; 16] = [
    "An introduction to _\n\n",
    "The history of _ begins",
    "Few people know this about _:",
    "When we study _, we first ask",
    "Chapter 1: _\n\n",
    "This article explains _ in plain words.\n\n",
    "The most important facts about _ are these.",
    "A common mistake about _ is",
    "My grandmother told me about _.",
    "Lecture notes on _\n\n1.",
    "A short story about _\n\nOnce",
    "Experiments with _ have shown",
    "Question: what should everyone know about _?\nAnswer:",
    "A guide to _ for beginners\n\n",
    "Two scientists talked about _.",
    "In daily life we meet _",
];

/// Instructions. The subject takes the place of `_`.
const INSTRUCTIONS: [&str; 16] = [
    "Explain _ to a child of ten.",
    "List three facts about _.",
    "Write a short paragraph about _.",
    "Compare _ with something similar.",
    "Name a common mistake about _ and correct it.",
    "Summarise the importance of _ in one sentence.",
    "Give an example from daily life that involves _.",
    "Write a short dialogue about _.",
    "Ask and answer two questions about _.",
    "Describe _ without using technical terms.",
    "Write four lines of verse about _.",
    "Give a definition of _.",
    "Tell me how people came to know about _.",
    "Outline a lesson about _ in five points.",
    "Write a riddle whose answer is _.",
    "Is there anything uncertain about _? Explain.",
];

/// Returns the bundled prompt of the document at `index` of a recipe with this seed: the beginning
/// of a text, or an instruction.
pub(crate) fn bundled(is_beginning: bool, seed: &Hash, index: u32) -> String {
    let mut draws = Draws::new(seed, index);
    let templates = if is_beginning { &BEGINNINGS } else { &INSTRUCTIONS };
    draws.pick(templates).replace('_', draws.pick(&SUBJECTS))
}
