// SPDX-License-Identifier: Apache-2.0

use super::AdaptError;
use pol_primitives::model::{ModelSpec, Norm, QueryKeyNorm};

/// Returns the norm that keeps the function of `source` at `width`: the same norm, with epsilon
/// scaled where the variance is.
pub fn adapted_norm(source: &ModelSpec, width: u32) -> Norm {
    let mut epsilon = source.norm.epsilon();
    if is_padded(source, &ModelSpec { width, ..*source }) {
        let scaled = (u64::from(epsilon) * u64::from(source.width) + u64::from(width) / 2)
            / u64::from(width);
        epsilon = u32::try_from(scaled.max(1)).unwrap_or(epsilon);
    }
    match source.norm {
        Norm::Layer { .. } => Norm::Layer { epsilon },
        Norm::Rms { .. } => Norm::Rms { epsilon },
    }
}

/// Returns `true` if `target` has further channels beside those of `source`.
pub(super) fn is_padded(source: &ModelSpec, target: &ModelSpec) -> bool {
    target.width > source.width && !target.width.is_multiple_of(source.width)
}

/// Checks that `target` differs from `source` in sizes only.
pub(super) fn check(source: &ModelSpec, target: &ModelSpec) -> Result<(), AdaptError> {
    let is_layer_norm = |spec: &ModelSpec| matches!(spec.norm, Norm::Layer { .. });
    // The target may add a part but not drop one.
    let keeps = |had: bool, has: bool| !had || has;
    let (old, new) = (source.biases, target.biases);
    let biases = keeps(old.query_key_value, new.query_key_value)
        && keeps(old.attention_output, new.attention_output)
        && keeps(old.feed_forward, new.feed_forward)
        && keeps(old.head, new.head);
    let superposition = source.mind.superposition.is_none()
        || source.mind.superposition == target.mind.superposition;
    let second_pass =
        source.mind.second_pass == 0 || source.mind.second_pass == target.mind.second_pass;
    // A second pass repeats the last blocks, and a superposition normalises the whole stream. More
    // blocks or channels change what they compute.
    let mind_fixes_sizes = source.mind.second_pass > 0 && source.layers != target.layers
        || source.mind.superposition.is_some() && source.width != target.width;
    for (is_same, difference) in [
        (source.activation == target.activation, "activation"),
        (source.gated == target.gated, "gating"),
        (is_layer_norm(source) == is_layer_norm(target), "norm"),
        (
            source.positions == target.positions
                && source.scaling == target.scaling
                && source.other_rotation == target.other_rotation,
            "positions",
        ),
        (source.local == target.local, "local attention"),
        (source.scaled == target.scaled, "scaling of scores"),
        (source.parallel == target.parallel, "parallel blocks"),
        (source.norms == target.norms, "the places of norms"),
        (source.query_key_norm == target.query_key_norm, "norms of queries and keys"),
        (source.caps == target.caps, "bounds of scores or logits"),
        (
            source.query_key_norm != Some(QueryKeyNorm::Whole) || source.heads == target.heads,
            "heads, over which queries and keys are normed",
        ),
        (
            !(source.norms.is_behind() && is_layer_norm(source) && is_padded(source, target)),
            "width, which norms behind sublayers allow to multiply only",
        ),
        (biases, "biases that the target does not have"),
        (keeps(target.tied, source.tied), "a head of its own that the target does not have"),
        (source.experts == target.experts, "experts"),
        (
            superposition
                && second_pass
                && keeps(source.mind.introspection, target.mind.introspection),
            "parts of the mind",
        ),
        (!mind_fixes_sizes, "width or layers, which this mind's parts depend on"),
        (source.head_size == target.head_size, "the size of a head"),
        (
            u32::from(source.heads) * u32::from(target.key_value_heads)
                == u32::from(target.heads) * u32::from(source.key_value_heads),
            "how many heads share keys and values",
        ),
    ] {
        if !is_same {
            return Err(AdaptError::Kind(difference));
        }
    }
    let [expected, found] =
        [adapted_norm(source, target.width), target.norm].map(|norm| norm.epsilon());
    if found != expected {
        return Err(AdaptError::Epsilon { expected, found });
    }
    Ok(())
}
