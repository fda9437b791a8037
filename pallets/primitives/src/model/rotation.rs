// SPDX-License-Identifier: Apache-2.0

//! Rotation of queries and keys, and its scaling.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Rotation of queries and keys in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Number of leading dimensions of a head that are rotated; even.
    pub dimensions: u16,
    /// Base of the wavelengths.
    pub base: u32,
    /// Set if the dimensions of a pair are neighbours.
    pub interleaved: bool,
    /// Scaling of the rates.
    pub scaling: Option<RotaryScaling>,
}

/// Rotation of some blocks that is another one than that of the model.
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
pub struct OtherRotation {
    /// Number of blocks after which the pattern repeats; at most 64.
    pub period: u8,
    /// Bit mask of the pattern: block `i` has this rotation if bit `i mod period` is set.
    pub layers: u64,
    /// Rotation of these blocks, whose queries and keys are not rotated if it is `None`.
    pub base: Option<RotaryBase>,
}

/// Base of a rotation, and its scaling.
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
pub struct RotaryBase {
    /// Base of the wavelengths.
    pub base: u32,
    /// Scaling of the rates.
    pub scaling: Option<RotaryScaling>,
}

/// Scaling of a rotation: a pair that turned by `rate` per token turns by
/// `(1 − share) · rate + share · rate / factor`, with a share of 0 to 1 for each pair.
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
pub struct RotaryScaling {
    /// Divisor of the rates in millionths, at least 1.
    pub factor: u32,
    /// Share of each pair that is scaled.
    pub ramp: ScalingRamp,
    /// Factor of rotated queries and keys in billionths, at least a tenth.
    pub amplitude: u32,
}

impl RotaryScaling {
    /// Unit of `factor`.
    pub const FACTOR_UNIT: u32 = 1_000_000;
    /// Unit of `amplitude`.
    pub const AMPLITUDE_UNIT: u32 = 1_000_000_000;
    /// Unit of the bounds of [`ScalingRamp::Wavelengths`], in parts of a token.
    pub const WAVELENGTH_UNIT: u32 = 1_000;
    /// Unit of the bounds of [`ScalingRamp::Pairs`].
    pub const PAIR_UNIT: u32 = 1_000_000;

    /// Returns `true` if all fields are within their ranges.
    pub(super) fn is_valid(&self) -> bool {
        let is_ramp = match self.ramp {
            ScalingRamp::All => true,
            ScalingRamp::Wavelengths { short, long } => short > 0 && short < long,
            ScalingRamp::Pairs { first, last } => first < last,
        };
        let least = Self::AMPLITUDE_UNIT.checked_div(10).unwrap_or(0);
        is_ramp && self.factor >= Self::FACTOR_UNIT && self.amplitude >= least
    }
}

/// Share of each pair of dimensions that is scaled.
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
pub enum ScalingRamp {
    /// All of every pair (Chen et al. 2023, "Extending Context Window of Large Language Models via
    /// Positional Interpolation").
    #[codec(index = 0)]
    All,
    /// All of pairs with a wavelength above `long`, nothing of those below `short`, and in between
    /// a share that is linear in the rate, as in LLaMA 3.1 (Grattafiori et al. 2024, "The Llama 3
    /// Herd of Models").
    #[codec(index = 1)]
    Wavelengths {
        /// Longest wavelength that is kept, in thousandths of a token.
        short: u32,
        /// Shortest wavelength that is scaled wholly, in thousandths of a token.
        long: u32,
    },
    /// Nothing of pairs up to `first`, all of those from `last` on, and between them a share that
    /// is linear in the index, counted from 0 (Peng et al. 2023, "YaRN"). Both are in millionths.
    #[codec(index = 2)]
    Pairs {
        /// Last pair that is kept.
        first: u32,
        /// First pair that is scaled wholly.
        last: u32,
    },
}
