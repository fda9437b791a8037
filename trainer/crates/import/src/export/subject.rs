// SPDX-License-Identifier: Apache-2.0

//! Architectures as exports see them.

use crate::{ImportError, description::patterns::shortened, mapping::Embeddings};
use pol_primitives::model::{ModelSpec, PositionEncoding, RotaryScaling};
use serde_json::Value;

/// Architecture that a family is sought for.
#[derive(Clone, Copy)]
pub(super) struct Subject {
    /// Specification with the shortest patterns.
    pub(super) spec: ModelSpec,
    /// Set if the embedding is the output projection times the square root of the width, as in a
    /// Gemma, whose file has one tensor for both.
    pub(super) multiple: bool,
}

/// Rotation of whole or partial heads by halves.
pub(super) struct HalfRotation {
    pub(super) dimensions: u16,
    pub(super) base: u32,
    pub(super) scaling: Option<RotaryScaling>,
}

impl Subject {
    pub(super) fn new(spec: &ModelSpec, multiple: bool) -> Self {
        Self { spec: shortened(spec), multiple }
    }

    /// Returns the rotation of most blocks, unless positions are learned or pairs are neighbours.
    pub(super) fn rotation(&self) -> Option<HalfRotation> {
        match self.spec.positions {
            PositionEncoding::Rotary { dimensions, base, interleaved: false } => {
                Some(HalfRotation { dimensions, base, scaling: self.spec.scaling })
            }
            _ => None,
        }
    }

    /// Returns `true` if the heads add up to the width.
    pub(super) fn heads_fill_width(&self) -> bool {
        self.spec.attention_width() == self.spec.width
    }

    /// Returns the tensors of a family that multiplies its embedding if `scales` is set.
    pub(super) fn embeddings(&self, scales: bool) -> Embeddings {
        match (scales, self.spec.tied, self.multiple) {
            (false, true, _) => Embeddings::Shared,
            (true, _, true) => Embeddings::FromHead,
            _ => Embeddings::Apart,
        }
    }

    /// Returns the parts in which `found`, as an importer would read it, is another model.
    pub(super) fn differences(&self, found: &ModelSpec) -> Vec<&'static str> {
        // Tensors decide whether the output projection is the embedding.
        let fields = |spec: &ModelSpec| {
            let spec = ModelSpec { tied: false, ..shortened(spec) };
            serde_json::to_value(spec).unwrap_or_default()
        };
        let (ours, theirs) = (fields(&self.spec), fields(found));
        let differs = |key: &&(&str, &str)| ours.get(key.0) != theirs.get(key.0);
        PARTS.iter().filter(differs).map(|(_, name)| *name).collect()
    }
}

/// Fields of a specification, and their names for people.
const PARTS: [(&str, &str); 23] = [
    ("vocabulary", "its vocabulary"),
    ("width", "its width"),
    ("layers", "its number of blocks"),
    ("heads", "its number of heads"),
    ("key_value_heads", "its heads of keys and values (key_value_heads)"),
    ("head_size", "the size of its heads (head_size)"),
    ("feed_forward", "the width of its feed-forward layers"),
    ("context", "its context"),
    ("activation", "its activation function (activation)"),
    ("gated", "its feed-forward layers, gated or not (gated)"),
    ("norm", "its kind of norm or the epsilon (norm)"),
    ("positions", "its positions (positions)"),
    ("local", "its windows (local)"),
    ("scaled", "the scaling of its scores (scaled)"),
    ("parallel", "the order of its sublayers (parallel)"),
    ("biases", "its biases (biases)"),
    ("experts", "its experts (experts)"),
    ("mind", "its parts of the mind (mind)"),
    ("scaling", "the scaling of its rotation (scaling)"),
    ("other_rotation", "the blocks of another rotation (other_rotation)"),
    ("query_key_norm", "its norms of queries and keys (query_key_norm)"),
    ("norms", "the places of its norms (norms)"),
    ("caps", "its bounds of scores or logits (caps)"),
];

/// Refuses a specification with parts that no family has.
pub(super) fn refuse_own_parts(spec: &ModelSpec) -> Result<(), ImportError> {
    let mind = spec.mind;
    let parts = [
        (spec.experts.is_some(), "experts (experts)"),
        (mind.superposition.is_some(), "a superposition (mind.superposition)"),
        (mind.introspection, "introspection (mind.introspection)"),
    ];
    let parts: Vec<_> = parts.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
    if parts.is_empty() {
        return Ok(());
    }
    Err(ImportError::Inexpressible {
        reason: format!("{}, which no family that other programs run has", listed(&parts)),
        advice: "export the model from before they were added, or use it with `pol-trainer \
                 generate` and `serve`"
            .to_owned(),
    })
}

/// Nearest family that was tried, and the parts in which it differs.
#[derive(Default)]
pub(super) struct Nearest(Option<(&'static str, Vec<&'static str>)>);

impl Nearest {
    /// Notes a family that differs in `parts`.
    pub(super) fn note(&mut self, family: &'static str, parts: Vec<&'static str>) {
        if self.0.as_ref().is_none_or(|(_, fewest)| parts.len() < fewest.len()) {
            self.0 = Some((family, parts));
        }
    }

    /// Returns the error of a model that no family of `format` expresses.
    pub(super) fn refusal(self, format: &str, advice: &str) -> ImportError {
        let reason = match self.0 {
            Some((family, parts)) => format!(
                "a combination of parts that no family of {format} has; the nearest, {family}, \
                 differs in {}",
                listed(&parts)
            ),
            None => format!("a combination of parts that no family of {format} has"),
        };
        ImportError::Inexpressible { reason, advice: advice.to_owned() }
    }
}

fn listed(parts: &[&str]) -> String {
    match parts {
        [] => "nothing that is known".to_owned(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Returns the number of `units` as JSON, whole where it is.
pub(super) fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        Value::from(value as i64)
    } else {
        Value::from(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_name() {
        let spec = ModelSpec::gpt2(61, 16, 2, 4, 64, 32);
        let json = serde_json::to_value(spec).unwrap();
        for key in json.as_object().unwrap().keys().filter(|key| *key != "tied") {
            assert!(PARTS.iter().any(|(name, _)| name == key), "{key}");
        }
        assert_eq!(Subject::new(&spec, false).differences(&spec), Vec::<&str>::new());
        let other = ModelSpec { width: 32, scaled: false, ..spec };
        assert_eq!(
            Subject::new(&spec, false).differences(&other),
            ["its width", "the scaling of its scores (scaled)"]
        );
    }
}
