// SPDX-License-Identifier: Apache-2.0

//! Forms of weights: the layouts that panels have in memory.

use bytemuck::{Pod, Zeroable};

/// Outputs of a panel.
pub(super) const NR: usize = 64;
/// Inputs of a quantised block, which share a scale.
pub(super) const BLOCK_INPUTS: usize = 32;
/// Inputs of a block with levels of 6 bits.
pub(super) const SHORT_BLOCK_INPUTS: usize = 16;
/// Inputs of a block whose parts have scales of their own, which are multiples of one number.
pub(super) const SUPER_INPUTS: usize = 256;

/// Weights of one input, as float32.
pub(super) type F32 = [f32; NR];
/// Weights of one input, as bfloat16.
pub(super) type Bf16 = [u16; NR];
/// Weights of one input, as float16.
pub(super) type F16 = [u16; NR];

/// Weights `scale · level + offset` of [`BLOCK_INPUTS`] inputs. Scale and offset are f16. Levels
/// have 4 bits: those of outputs `i` and `i + NR / 2` share a byte, the first in its lower half.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct BlockQ4 {
    pub(super) scale: [u16; NR],
    pub(super) offset: [u16; NR],
    pub(super) levels: [[u8; NR / 2]; BLOCK_INPUTS],
}

/// Weights `scale · level` of [`BLOCK_INPUTS`] inputs. The scale is f16.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct BlockQ8 {
    pub(super) scale: [u16; NR],
    pub(super) levels: [[i8; NR]; BLOCK_INPUTS],
}

/// Weights `scale · level + offset` of [`BLOCK_INPUTS`] inputs, with levels as in [`BlockQ4`] and
/// float32 for scale and offset.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct BlockQ4K {
    pub(super) scale: F32,
    pub(super) offset: F32,
    pub(super) levels: [[u8; NR / 2]; BLOCK_INPUTS],
}

/// The same with levels of 5 bits. The highest is bit `i` of `high` for output `i`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct BlockQ5K {
    pub(super) scale: F32,
    pub(super) offset: F32,
    pub(super) levels: [[u8; NR / 2]; BLOCK_INPUTS],
    pub(super) high: [u64; BLOCK_INPUTS],
}

/// Weights `scale · (level - 32)` of [`SHORT_BLOCK_INPUTS`] inputs. The lower 4 bits of levels lie
/// as in [`BlockQ4`]. The other two of outputs `i`, `i + 16`, `i + 32`, and `i + 48` share a byte
/// of `high`, the first in its lowest bits.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct BlockQ6K {
    pub(super) scale: F32,
    pub(super) levels: [[u8; NR / 2]; SHORT_BLOCK_INPUTS],
    pub(super) high: [[u8; NR / 4]; SHORT_BLOCK_INPUTS],
}

/// Weights of [`SUPER_INPUTS`] inputs. Those of a part are `scale · level + offset`, where scale
/// and offset are products of an f16 of the block and an integer of the part.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct SuperBlock<P> {
    pub(super) scale: [u16; NR],
    pub(super) offset: [u16; NR],
    pub(super) parts: [P; SUPER_INPUTS / BLOCK_INPUTS],
}

/// Block of GGUF's Q4_K.
pub(super) type SuperQ4K = SuperBlock<PartQ4>;
/// Block of GGUF's Q5_K.
pub(super) type SuperQ5K = SuperBlock<PartQ5>;

/// Integers of scale and offset, and levels of 4 bits as in [`BlockQ4`].
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct PartQ4 {
    pub(super) factors: [[u8; NR]; 2],
    pub(super) levels: [[u8; NR / 2]; BLOCK_INPUTS],
}

/// The same with levels of 5 bits as in [`BlockQ5K`].
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct PartQ5 {
    pub(super) factors: [[u8; NR]; 2],
    pub(super) levels: [[u8; NR / 2]; BLOCK_INPUTS],
    pub(super) high: [u64; BLOCK_INPUTS],
}

/// Block of GGUF's Q6_K: weights of [`SUPER_INPUTS`] inputs. Those of a part are
/// `scale · (level - 32)`, where the scale is the product of the f16 and the integer of the part.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct SuperQ6K {
    pub(super) scale: [u16; NR],
    pub(super) parts: [PartQ6; SUPER_INPUTS / SHORT_BLOCK_INPUTS],
}

/// Integer of the scale, and levels of 6 bits as in [`BlockQ6K`].
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct PartQ6 {
    pub(super) factor: [i8; NR],
    pub(super) levels: [[u8; NR / 2]; SHORT_BLOCK_INPUTS],
    pub(super) high: [[u8; NR / 4]; SHORT_BLOCK_INPUTS],
}

/// Declares that any bytes are a value of a form, and that it has no padding.
macro_rules! plain {
    ($($form:ty: $bytes:expr),*) => {
        $(
            const _: () = assert!(size_of::<$form>() == $bytes);
            // SAFETY: it has arrays of numbers only, which fill it, as was just compared.
            unsafe impl Zeroable for $form {}
            // SAFETY: as above.
            unsafe impl Pod for $form {}
        )*
    };
}

plain! {
    BlockQ4: NR * (2 + 2 + BLOCK_INPUTS / 2),
    BlockQ8: NR * (2 + BLOCK_INPUTS),
    BlockQ4K: NR * (4 + 4 + BLOCK_INPUTS / 2),
    BlockQ5K: NR * (4 + 4 + BLOCK_INPUTS / 2 + BLOCK_INPUTS / 8),
    BlockQ6K: NR * (4 + SHORT_BLOCK_INPUTS / 2 + SHORT_BLOCK_INPUTS / 4),
    PartQ4: NR * (2 + BLOCK_INPUTS / 2),
    PartQ5: NR * (2 + BLOCK_INPUTS / 2 + BLOCK_INPUTS / 8),
    PartQ6: NR * (1 + SHORT_BLOCK_INPUTS / 2 + SHORT_BLOCK_INPUTS / 4),
    SuperQ4K: NR * (2 + 2) + SUPER_INPUTS / BLOCK_INPUTS * size_of::<PartQ4>(),
    SuperQ5K: NR * (2 + 2) + SUPER_INPUTS / BLOCK_INPUTS * size_of::<PartQ5>(),
    SuperQ6K: NR * 2 + SUPER_INPUTS / SHORT_BLOCK_INPUTS * size_of::<PartQ6>()
}

/// Forms with the lower 4 bits of levels.
pub(super) trait Nibbles {
    /// Returns those of an input.
    fn nibbles(&self, input: usize) -> &[u8; NR / 2];
}

/// Forms with a fifth bit of levels.
pub(super) trait FifthBits: Nibbles {
    /// Returns those of an input.
    fn fifth_bits(&self, input: usize) -> u64;
}

/// Forms with a fifth and a sixth bit of levels.
pub(super) trait HighPairs: Nibbles {
    /// Returns those of an input.
    fn high_pairs(&self, input: usize) -> &[u8; NR / 4];
}

/// Forms with scales and offsets in float32.
pub(super) trait FullScales {
    /// Returns the scales.
    fn scales(&self) -> &F32;
    /// Returns the offsets.
    fn offsets(&self) -> &F32;
}

/// Parts with integers of scales and offsets.
pub(super) trait Factors {
    /// Returns those of scales and those of offsets.
    fn factors(&self) -> &[[u8; NR]; 2];
}

macro_rules! nibbles {
    ($($form:ty),*) => {
        $(
            impl Nibbles for $form {
                #[inline(always)]
                fn nibbles(&self, input: usize) -> &[u8; NR / 2] {
                    &self.levels[input]
                }
            }
        )*
    };
}

nibbles! { BlockQ4, BlockQ4K, BlockQ5K, BlockQ6K, PartQ4, PartQ5, PartQ6 }

macro_rules! fifth_bits {
    ($($form:ty),*) => {
        $(
            impl FifthBits for $form {
                #[inline(always)]
                fn fifth_bits(&self, input: usize) -> u64 {
                    self.high[input]
                }
            }
        )*
    };
}

fifth_bits! { BlockQ5K, PartQ5 }

macro_rules! high_pairs {
    ($($form:ty),*) => {
        $(
            impl HighPairs for $form {
                #[inline(always)]
                fn high_pairs(&self, input: usize) -> &[u8; NR / 4] {
                    &self.high[input]
                }
            }
        )*
    };
}

high_pairs! { BlockQ6K, PartQ6 }

macro_rules! full_scales {
    ($($form:ty),*) => {
        $(
            impl FullScales for $form {
                #[inline(always)]
                fn scales(&self) -> &F32 {
                    &self.scale
                }

                #[inline(always)]
                fn offsets(&self) -> &F32 {
                    &self.offset
                }
            }
        )*
    };
}

full_scales! { BlockQ4K, BlockQ5K }

macro_rules! factors {
    ($($form:ty),*) => {
        $(
            impl Factors for $form {
                #[inline(always)]
                fn factors(&self) -> &[[u8; NR]; 2] {
                    &self.factors
                }
            }
        )*
    };
}

factors! { PartQ4, PartQ5 }
