// SPDX-License-Identifier: Apache-2.0

use super::source_block;
use pol_primitives::model::{ModelSpec, Norm, PositionEncoding};
use serde::{Deserialize, Serialize};

/// Report of an adaptation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdaptReport {
    /// Set if the function of the source is kept.
    pub preserved: bool,
    /// Sizes that changed and the rules applied.
    pub changes: Vec<SizeChange>,
    /// For each block of the target, the block of the source that it is made of, and `true` if it
    /// has no effect at first.
    pub blocks: Vec<(u16, bool)>,
    /// Names of tensors that the source does not have.
    pub added: Vec<String>,
    /// Number of values that are copies or means of values of the source.
    pub kept: u64,
    /// Number of values that are initialised as in a new model.
    pub fresh: u64,
    /// Number of values that are zero to keep the function.
    pub zero: u64,
}

/// Change of a size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeChange {
    /// Name of the size.
    pub of: String,
    /// Size in the source.
    pub from: u64,
    /// Size in the target.
    pub to: u64,
    /// Rule applied.
    pub rule: String,
}

impl AdaptReport {
    /// Creates the report of a change from `source` to `target` before any value is filled.
    pub(super) fn new(source: &ModelSpec, target: &ModelSpec) -> Self {
        let changes = size_changes(source, target);
        Self {
            preserved: changes.iter().all(|change| change.to > change.from),
            changes,
            blocks: (0..target.layers)
                .map(|index| source_block(index, source.layers, target.layers))
                .collect(),
            ..Self::default()
        }
    }
}

fn size_changes(source: &ModelSpec, target: &ModelSpec) -> Vec<SizeChange> {
    let widening = match source.norm {
        _ if target.width.is_multiple_of(source.width) => "channels duplicated",
        Norm::Rms { .. } => "zero channels added",
        Norm::Layer { .. } => "channels that hold the mean added",
    };
    let (more, fewer) = match source.positions {
        PositionEncoding::Learned => ("fresh positions added", "first positions kept"),
        PositionEncoding::Rotary { .. } => {
            ("angles are computed further", "angles are computed less far")
        }
    };
    let [layers, heads] = [(source.layers, target.layers), (source.heads, target.heads)]
        .map(|(from, to)| (u32::from(from), u32::from(to)));
    // Name, size in the source, size in the target, rule of growing, rule of shrinking.
    let sizes = [
        (
            "vocabulary",
            (source.vocabulary, target.vocabulary),
            "fresh rows added",
            "first tokens kept",
        ),
        ("width", (source.width, target.width), widening, "strongest channels kept"),
        ("layers", layers, "silent copies of the last block added", "evenly spaced blocks kept"),
        ("heads", heads, "silent heads added", "strongest heads kept"),
        (
            "feed_forward",
            (source.feed_forward, target.feed_forward),
            "silent neurons added",
            "strongest neurons kept",
        ),
        ("context", (source.context, target.context), more, fewer),
    ];
    sizes
        .into_iter()
        .filter(|(_, (from, to), ..)| from != to)
        .map(|(of, (from, to), grown, shrunk)| SizeChange {
            of: of.into(),
            from: from.into(),
            to: to.into(),
            rule: if to > from { grown } else { shrunk }.into(),
        })
        .collect()
}
