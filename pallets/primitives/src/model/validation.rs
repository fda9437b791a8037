// SPDX-License-Identifier: Apache-2.0

//! Validation of specifications.

use super::{
    Experts, LocalAttention, Mind, ModelSpec, NormPlacement, OtherRotation, PositionEncoding,
    Superposition,
};
use crate::MILLION;

/// Error of a specification that is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidSpec {
    /// A size is 0.
    Zero,
    /// The heads have no size, or the key-value heads do not divide the heads.
    Heads,
    /// The rotary dimensions are odd, 0 or more than a head has, or the base is below 2.
    Rotary,
    /// The scaling of the rotation is out of range, or there is no rotation.
    Scaling,
    /// The other rotation or its pattern is out of range, or there is no rotation.
    OtherRotation,
    /// The places of norms do not fit the order of the sublayers.
    NormPlacement,
    /// A bound of scores or logits is out of range.
    SoftCaps,
    /// The pattern of local blocks is empty or longer than its period, or the window is empty.
    Local,
    /// The epsilon of the norm is 0 or greater than a hundredth.
    Epsilon,
    /// The number of experts or of active experts is out of range, or a loss weight exceeds 1.
    Experts,
    /// The branches, the rank or the second pass is out of range, or introspection is missing.
    Mind,
    /// A size exceeds the limits of the protocol.
    TooLarge,
}

impl core::fmt::Display for InvalidSpec {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Zero => "every size of a model must be at least 1",
            Self::Heads => {
                "each head needs a size (GPT-2 shapes: a width that is a multiple of the heads), \
                 and the heads of keys and values must divide the heads"
            }
            Self::Rotary => {
                "rotary dimensions must be even, at least 2 and at most the size of a head, \
                 their base at least 2"
            }
            Self::Scaling => {
                "scaling needs a rotation, a factor of at least 1, an amplitude of at least a \
                 tenth, and a ramp whose start is below its end"
            }
            Self::OtherRotation => {
                "another rotation needs a rotation, a base of at least 2, a period of 1 to 64, and \
                 a pattern that names a block within the period"
            }
            Self::NormPlacement => {
                "parallel sublayers have norms before them, shared or apart, and only they can \
                 have them apart"
            }
            Self::SoftCaps => "a bound of scores or logits must be 1 to 1,000,000",
            Self::Local => {
                "a local window must be at least 1, its period 1 to 64, \
                 and its pattern must name a block within the period"
            }
            Self::Epsilon => "a norm's epsilon must be 1 to 10,000,000 billionths",
            Self::Experts => {
                "a block must have 2 to 64 experts with at least 1 active, \
                 and loss weights of at most 1"
            }
            Self::Mind => {
                "a superposition must have 2 to 16 branches of rank 1 to the width; \
                 a second pass needs introspection and at most all blocks"
            }
            Self::TooLarge => {
                "a size is beyond the protocol's limits \
                 (65,536 wide, 512 layers, 2^20 vocabulary, 2^34 parameters)"
            }
        })
    }
}

impl core::error::Error for InvalidSpec {}

impl ModelSpec {
    /// Checks that the sizes are consistent and within the limits of the protocol.
    ///
    /// # Errors
    ///
    /// Fails with the first field that is invalid.
    pub fn validate(&self) -> Result<(), InvalidSpec> {
        let Self {
            vocabulary,
            width,
            layers,
            heads,
            key_value_heads,
            head_size,
            feed_forward,
            context,
            ..
        } = *self;
        let sizes = [
            vocabulary,
            width,
            u32::from(layers),
            u32::from(heads),
            u32::from(key_value_heads),
            feed_forward,
            context,
        ];
        if sizes.contains(&0) {
            return Err(InvalidSpec::Zero);
        }
        if head_size == 0 || heads.checked_rem(key_value_heads) != Some(0) {
            return Err(InvalidSpec::Heads);
        }
        self.validate_positions()?;
        if match self.norms {
            NormPlacement::Before => false,
            NormPlacement::After | NormPlacement::Around => self.parallel,
            NormPlacement::Apart => !self.parallel,
        } {
            return Err(InvalidSpec::NormPlacement);
        }
        if !self.caps.are_valid() {
            return Err(InvalidSpec::SoftCaps);
        }
        if !(1..=10_000_000).contains(&self.norm.epsilon()) {
            return Err(InvalidSpec::Epsilon);
        }
        if self.experts.is_some_and(|Experts { count, active, balance, z }| {
            !(2..=Experts::MAX_COUNT).contains(&count)
                || active == 0
                || active > count
                || balance > MILLION
                || z > MILLION
        }) {
            return Err(InvalidSpec::Experts);
        }
        let Mind { superposition, introspection, second_pass } = self.mind;
        if superposition.is_some_and(|Superposition { branches, rank }| {
            !(2..=16).contains(&branches) || rank == 0 || u32::from(rank) > width
        }) || second_pass > layers
            || (second_pass > 0 && !introspection)
        {
            return Err(InvalidSpec::Mind);
        }
        if width > 1 << 16
            || layers > 512
            || vocabulary > 1 << 20
            || feed_forward > 1 << 18
            || context > 1 << 20
            || self.attention_width() > 1 << 16
            || self.size() > 1 << 34
        {
            return Err(InvalidSpec::TooLarge);
        }
        Ok(())
    }

    /// Checks positions and windows.
    fn validate_positions(&self) -> Result<(), InvalidSpec> {
        let is_rotary = self.positions != PositionEncoding::Learned;
        if let PositionEncoding::Rotary { dimensions, base, .. } = self.positions
            && (dimensions == 0
                || !dimensions.is_multiple_of(2)
                || dimensions > self.head_size
                || base < 2)
        {
            return Err(InvalidSpec::Rotary);
        }
        let other = self.other_rotation.and_then(|other| other.base);
        let scalings = [self.scaling, other.and_then(|base| base.scaling)];
        if scalings.iter().flatten().any(|scaling| !is_rotary || !scaling.is_valid()) {
            return Err(InvalidSpec::Scaling);
        }
        if let Some(OtherRotation { period, layers, .. }) = self.other_rotation
            && (!is_rotary
                || !is_pattern(period, layers)
                || other.is_some_and(|base| base.base < 2))
        {
            return Err(InvalidSpec::OtherRotation);
        }
        if let Some(LocalAttention { window, period, layers }) = self.local
            && (window == 0 || !is_pattern(period, layers))
        {
            return Err(InvalidSpec::Local);
        }
        Ok(())
    }
}

/// Returns `true` for a pattern that names a block within its period.
fn is_pattern(period: u8, layers: u64) -> bool {
    layers != 0 && (1..=64).contains(&period) && layers.checked_shr(period.into()).unwrap_or(0) == 0
}
