// SPDX-License-Identifier: Apache-2.0

//! Parts of attention and of blocks that came after the first release.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Norm of queries and keys before they are rotated. It is of the kind of the model's other norms.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum QueryKeyNorm {
    /// Over each head, with the same weights for all heads (Dehghani et al. 2023, "Scaling Vision
    /// Transformers to 22 Billion Parameters").
    #[codec(index = 0)]
    Head,
    /// Over all heads together, as in OLMo 2.
    #[codec(index = 1)]
    Whole,
}

/// Places of the norms in a block.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum NormPlacement {
    /// Before each sublayer. Parallel sublayers share one norm.
    #[default]
    #[codec(index = 0)]
    Before,
    /// Behind each sublayer, before its output joins the residual stream, as in OLMo 2.
    #[codec(index = 1)]
    After,
    /// Before and behind each sublayer, as in Gemma 2.
    #[codec(index = 2)]
    Around,
    /// Before each of two parallel sublayers, which have norms of their own, as in GPT-NeoX.
    #[codec(index = 3)]
    Apart,
}

impl NormPlacement {
    /// Returns `true` if there are norms before sublayers.
    pub const fn is_before(&self) -> bool {
        !matches!(self, Self::After)
    }

    /// Returns `true` if there are norms behind sublayers.
    pub const fn is_behind(&self) -> bool {
        matches!(self, Self::After | Self::Around)
    }
}

/// Bounds that values approach as `cap · tanh(value / cap)`, in thousandths (Bello et al. 2016,
/// "Neural Combinatorial Optimization with Reinforcement Learning").
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct SoftCaps {
    /// Bound of attention scores, after their scaling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<u32>,
    /// Bound of logits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits: Option<u32>,
}

impl SoftCaps {
    /// Unit of the bounds.
    pub const UNIT: u32 = 1_000;

    /// Returns `true` if each bound is 1 to 1,000,000.
    pub(super) fn are_valid(&self) -> bool {
        let valid = Self::UNIT..=1_000_000_000;
        [self.attention, self.logits].iter().flatten().all(|bound| valid.contains(bound))
    }
}
