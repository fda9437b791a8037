// SPDX-License-Identifier: Apache-2.0

//! Descriptions of models: `config.json` of a Hugging Face folder and metadata of a GGUF file.

pub(crate) mod gguf;
mod gguf_families;
mod gguf_fields;
pub(crate) mod gguf_maps;
mod gguf_rope;
pub(crate) mod hf;
mod hf_config;
mod hf_defaults;
mod hf_experts;
mod hf_families;
mod hf_later;
mod hf_maps;
mod hf_rope;
pub(crate) mod patterns;
pub(crate) mod scaling;

use crate::mapping::{Factors, TensorMap};
use pol_primitives::model::ModelSpec;
use serde::{Deserialize, Serialize};

/// Special tokens of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialTokens {
    /// Token that starts every text, if the model was trained so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin: Option<u32>,
    /// Tokens that end a text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub end: Vec<u32>,
    /// Chat template in Jinja.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Chat template for conversations with functions, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_template: Option<String>,
    /// Name of the token that begins texts, as templates know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin_name: Option<String>,
    /// Name of the token that ends texts, as templates know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_name: Option<String>,
}

impl SpecialTokens {
    /// Removes and returns the tokens that a vocabulary of this size does not have. Small models
    /// often keep those of the large one that their class is named after.
    pub(crate) fn remove_outside(&mut self, vocabulary: u32) -> Vec<u32> {
        let mut outside: Vec<u32> =
            self.begin.take_if(|id| *id >= vocabulary).into_iter().collect();
        outside.extend(self.end.extract_if(.., |id| *id >= vocabulary));
        outside.sort_unstable();
        outside.dedup();
        outside
    }
}

/// Architecture, tensor names and special tokens of a model.
pub(crate) struct ModelDescription {
    pub(crate) spec: ModelSpec,
    pub(crate) tensor_map: &'static TensorMap,
    /// Factors that the family applies while it computes.
    pub(crate) factors: Factors,
    pub(crate) special: SpecialTokens,
    /// Context that the checkpoint states. That of the specification is shorter where longer texts
    /// have another rotation.
    pub(crate) stated_context: u32,
}

/// Format of checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckpointFormat {
    /// Name of the format, as reports of imports have it.
    pub name: &'static str,
    /// Families that can be imported from it, as its files name them: `model_type` of a
    /// `config.json`, or `general.architecture` of a GGUF file.
    pub families: Vec<&'static str>,
}

/// Name of folders with safetensors.
pub(crate) const SAFETENSORS: &str = "safetensors";
/// Name of GGUF files.
pub(crate) const GGUF: &str = "gguf";

/// Returns the formats of checkpoints that can be imported.
pub fn checkpoint_formats() -> [CheckpointFormat; 2] {
    [
        CheckpointFormat { name: SAFETENSORS, families: hf::families() },
        CheckpointFormat { name: GGUF, families: gguf_families::architectures() },
    ]
}

/// Lists names, each with others that it stands for, unless those are empty.
fn listed<'a>(names: impl DoubleEndedIterator<Item = (&'a str, &'a str)>) -> String {
    let mut names = names.map(|(name, others)| match others {
        "" => name.to_owned(),
        others => format!("{name} ({others} too)"),
    });
    let last = names.next_back().unwrap_or_default();
    let others: Vec<String> = names.collect();
    if others.is_empty() { last } else { format!("{}, and {last}", others.join(", ")) }
}

/// Names an architecture that cannot be imported, with the part that a specification lacks where
/// it is the attention that is biased by distance (Press et al. 2022, "Train Short, Test Long").
fn unknown_architecture(name: &str) -> String {
    let part = match name {
        "bloom" | "mpt" => ", with biases of attention by distance (ALiBi)",
        _ => "",
    };
    format!("the architecture '{name}'{part}")
}

/// Remedy for scaled rotary positions.
const UNSCALED_MODEL: &str =
    "take a model without it, or its version from before the context was extended";

/// Converts the base of rotary positions to that of the specification, a whole number.
fn whole_base(base: f64) -> Option<u32> {
    (base.fract() == 0.0 && (2.0..4e9).contains(&base)).then_some(base as u32)
}

/// Converts `epsilon` to billionths; `None` if it is not a multiple of a billionth.
fn billionths(epsilon: f64) -> Option<u32> {
    let rounded = (epsilon * 1e9).round();
    // A float32 written in decimal has a relative error of up to 6e-8.
    ((1.0..=1e9).contains(&rounded) && (rounded / 1e9 - epsilon).abs() <= epsilon * 1e-6)
        .then_some(rounded as u32)
}
