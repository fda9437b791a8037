// SPDX-License-Identifier: Apache-2.0

//! Forms of weights that lose nothing.

use super::{
    blocks::{
        BLOCK_INPUTS, Bf16, BlockQ4, BlockQ4K, BlockQ5K, BlockQ6K, BlockQ8, F16, F32, FifthBits,
        HighPairs, NR, Nibbles, SHORT_BLOCK_INPUTS, SUPER_INPUTS, SuperQ4K, SuperQ5K, SuperQ6K,
    },
    halves::{from_half, near_half, to_half},
    k_quants::{Grid, symmetric_levels},
    kernels::Panel,
    super_blocks::{AffineBlock, PARTS, SymmetricBlock},
};
use bytemuck::Zeroable;

/// Panel that was packed by itself.
pub(super) enum Packed {
    F32(Vec<F32>),
    Bf16(Vec<Bf16>),
    F16(Vec<F16>),
    BlockQ4(Vec<BlockQ4>),
    BlockQ8(Vec<BlockQ8>),
    BlockQ4K(Vec<BlockQ4K>),
    BlockQ5K(Vec<BlockQ5K>),
    BlockQ6K(Vec<BlockQ6K>),
    SuperQ4K(Vec<SuperQ4K>),
    SuperQ5K(Vec<SuperQ5K>),
    SuperQ6K(Vec<SuperQ6K>),
}

/// Packs a panel in the smallest form that gives back every weight.
pub(super) fn pack(panel: &[F32]) -> Packed {
    None.or_else(|| blocks(panel, nibbles).map(Packed::BlockQ4))
        .or_else(|| blocks(panel, super_q4_k).map(Packed::SuperQ4K))
        .or_else(|| blocks(panel, super_q5_k).map(Packed::SuperQ5K))
        .or_else(|| blocks(panel, q4_k).map(Packed::BlockQ4K))
        .or_else(|| blocks(panel, super_q6_k).map(Packed::SuperQ6K))
        .or_else(|| blocks(panel, q5_k).map(Packed::BlockQ5K))
        .or_else(|| blocks(panel, q6_k).map(Packed::BlockQ6K))
        .or_else(|| blocks(panel, bytes).map(Packed::BlockQ8))
        .or_else(|| brain_floats(panel).map(Packed::Bf16))
        .or_else(|| half_floats(panel).map(Packed::F16))
        .unwrap_or_else(|| Packed::F32(panel.to_vec()))
}

/// Appends the weights of output `lane` of a panel to `out`, one of each input.
pub(super) fn unpack(panel: Panel<'_>, lane: usize, out: &mut Vec<f32>) {
    match panel {
        Panel::F32(panel) => out.extend(panel.iter().map(|weights| weights[lane])),
        Panel::Bf16(panel) => {
            let widen = |weights: &Bf16| f32::from_bits(u32::from(weights[lane]) << 16);
            out.extend(panel.iter().map(widen));
        }
        Panel::F16(panel) => out.extend(panel.iter().map(|weights| from_half(weights[lane]))),
        Panel::BlockQ4(panel) => panel.iter().for_each(|block| {
            let [scale, offset] = [block.scale, block.offset].map(|halves| from_half(halves[lane]));
            let level = |input| nibble(block, input, lane);
            out.extend((0..BLOCK_INPUTS).map(|input| level(input) * scale + offset));
        }),
        Panel::BlockQ8(panel) => panel.iter().for_each(|block| {
            let scale = from_half(block.scale[lane]);
            out.extend(block.levels.iter().map(|levels| f32::from(levels[lane]) * scale));
        }),
        Panel::BlockQ4K(panel) => panel.iter().for_each(|block| {
            let (scale, offset) = (block.scale[lane], block.offset[lane]);
            let level = |input| nibble(block, input, lane);
            out.extend((0..BLOCK_INPUTS).map(|input| level(input) * scale + offset));
        }),
        Panel::BlockQ5K(panel) => panel.iter().for_each(|block| {
            let (scale, offset) = (block.scale[lane], block.offset[lane]);
            let level = |input| with_fifth(block, input, lane);
            out.extend((0..BLOCK_INPUTS).map(|input| level(input) * scale + offset));
        }),
        Panel::BlockQ6K(panel) => panel.iter().for_each(|block| {
            let scale = block.scale[lane];
            let level = |input| with_sixth(block, input, lane) - 32.0;
            out.extend((0..SHORT_BLOCK_INPUTS).map(|input| level(input) * scale));
        }),
        Panel::SuperQ4K(panel) => panel.iter().for_each(|block| {
            for part in &block.parts {
                let halves = [block.scale[lane], block.offset[lane]];
                let [scale, offset] = multiplied(halves, part.factors, lane);
                let level = |input| nibble(part, input, lane);
                out.extend((0..BLOCK_INPUTS).map(|input| level(input) * scale + offset));
            }
        }),
        Panel::SuperQ5K(panel) => panel.iter().for_each(|block| {
            for part in &block.parts {
                let halves = [block.scale[lane], block.offset[lane]];
                let [scale, offset] = multiplied(halves, part.factors, lane);
                let level = |input| with_fifth(part, input, lane);
                out.extend((0..BLOCK_INPUTS).map(|input| level(input) * scale + offset));
            }
        }),
        Panel::SuperQ6K(panel) => panel.iter().for_each(|block| {
            for part in &block.parts {
                let scale = from_half(block.scale[lane]) * f32::from(part.factor[lane]);
                let level = |input| with_sixth(part, input, lane) - 32.0;
                out.extend((0..SHORT_BLOCK_INPUTS).map(|input| level(input) * scale));
            }
        }),
    }
}

/// Returns the lower 4 bits of a level.
fn nibble(form: &impl Nibbles, input: usize, lane: usize) -> f32 {
    f32::from(form.nibbles(input)[lane % (NR / 2)] >> (lane / (NR / 2) * 4) & 15)
}

/// Returns a level of 5 bits.
fn with_fifth(form: &impl FifthBits, input: usize, lane: usize) -> f32 {
    let fifth = form.fifth_bits(input) >> lane & 1;
    nibble(form, input, lane) + 16.0 * f32::from(fifth as u8)
}

/// Returns a level of 6 bits.
fn with_sixth(form: &impl HighPairs, input: usize, lane: usize) -> f32 {
    let high = form.high_pairs(input)[lane % (NR / 4)] >> (lane / (NR / 4) * 2) & 3;
    nibble(form, input, lane) + 16.0 * f32::from(high)
}

/// Returns the products of float16 and integers of an output.
fn multiplied(halves: [u16; 2], factors: [[u8; NR]; 2], lane: usize) -> [f32; 2] {
    [0, 1].map(|i| from_half(halves[i]) * f32::from(factors[i][lane]))
}

/// Encodes a panel as blocks of `N` inputs, if `encode` accepts all of them.
fn blocks<G, const N: usize>(
    panel: &[F32],
    encode: impl Fn(&[F32; N]) -> Option<G>,
) -> Option<Vec<G>> {
    let (blocks, rest) = panel.as_chunks::<N>();
    if !rest.is_empty() {
        return None;
    }
    blocks.iter().map(encode).collect()
}

/// Encodes a panel as bfloat16, if that is exact.
fn brain_floats(panel: &[F32]) -> Option<Vec<Bf16>> {
    let is_short = |weights: &F32| weights.iter().fold(0, |all, w| all | w.to_bits()) & 0xffff == 0;
    panel.iter().all(is_short).then(|| {
        panel.iter().map(|weights| weights.map(|weight| (weight.to_bits() >> 16) as u16)).collect()
    })
}

/// Encodes a panel as float16, if that is exact.
fn half_floats(panel: &[F32]) -> Option<Vec<F16>> {
    let encode = |weights: &F32| {
        let mut halves = [0; NR];
        for (half, &weight) in halves.iter_mut().zip(weights) {
            *half = to_half(weight)?;
        }
        Some(halves)
    };
    panel.iter().map(encode).collect()
}

/// Returns the weights of output `lane` of a block.
fn lane_of<const N: usize>(block: &[F32; N], lane: usize) -> [f32; N] {
    std::array::from_fn(|input| block[input][lane])
}

/// Encodes the weights of a block as 4-bit levels, as Q4_0 and Q4_1 of GGUF do.
fn nibbles(block: &[F32; BLOCK_INPUTS]) -> Option<BlockQ4> {
    let mut group = BlockQ4::zeroed();
    for lane in 0..NR {
        let weights = lane_of(block, lane);
        let low = weights.iter().copied().fold(f32::INFINITY, f32::min);
        let high = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // Q4_1 spans the weights with its 16 levels. In Q4_0 the outermost weight is 8 scales from
        // zero.
        let spans = near_half((high - low) / 15.0).into_iter().map(|scale| (scale, low));
        let symmetric = [low, high].map(|end| (to_half(-end / 8.0), end));
        let candidates =
            spans.chain(symmetric.into_iter().filter_map(|(scale, end)| Some((scale?, end))));
        let (scale, offset, levels) = candidates.into_iter().find_map(|(scale, offset)| {
            let levels = levels(&weights, from_half(scale), offset)?;
            Some((scale, to_half(offset)?, levels))
        })?;
        (group.scale[lane], group.offset[lane]) = (scale, offset);
        store_nibbles(&mut group.levels, lane, &levels);
    }
    Some(group)
}

/// Returns the levels if every weight lies exactly on one.
fn levels(weights: &[f32; BLOCK_INPUTS], scale: f32, offset: f32) -> Option<[u8; BLOCK_INPUTS]> {
    let mut levels = [0; BLOCK_INPUTS];
    for (level, &weight) in levels.iter_mut().zip(weights) {
        let nearest = if scale == 0.0 { 0.0 } else { ((weight - offset) / scale).round() };
        if !(0.0..=15.0).contains(&nearest) || nearest * scale + offset != weight {
            return None;
        }
        *level = nearest as u8;
    }
    Some(levels)
}

/// Encodes the weights of a block as 8-bit levels, as Q8_0 of GGUF does.
fn bytes(block: &[F32; BLOCK_INPUTS]) -> Option<BlockQ8> {
    let mut group = BlockQ8::zeroed();
    for lane in 0..NR {
        let weights = lane_of(block, lane);
        let largest =
            weights.iter().copied().fold(0.0f32, |largest, weight| largest.max(weight.abs()));
        let scale = near_half(largest / 127.0).into_iter().find(|&scale| {
            let scale = from_half(scale);
            weights.iter().all(|&weight| {
                let level = if scale == 0.0 { 0.0 } else { (weight / scale).round() };
                level.abs() <= 127.0 && level * scale == weight
            })
        })?;
        group.scale[lane] = scale;
        let scale = from_half(scale);
        for (all, &weight) in group.levels.iter_mut().zip(&weights) {
            all[lane] = if scale == 0.0 { 0 } else { (weight / scale).round() as i8 };
        }
    }
    Some(group)
}

/// Encodes the weights of a block as 4-bit levels with any scale and offset.
fn q4_k(block: &[F32; BLOCK_INPUTS]) -> Option<BlockQ4K> {
    let mut group = BlockQ4K::zeroed();
    for lane in 0..NR {
        let grid = Grid::find(&lane_of(block, lane), 15)?;
        (group.scale[lane], group.offset[lane]) = (grid.scale, grid.offset);
        store_nibbles(&mut group.levels, lane, &grid.levels);
    }
    Some(group)
}

/// Encodes the weights of a block as 5-bit levels, as Q5_0 and Q5_1 of GGUF do.
fn q5_k(block: &[F32; BLOCK_INPUTS]) -> Option<BlockQ5K> {
    let mut group = BlockQ5K::zeroed();
    for lane in 0..NR {
        let grid = Grid::find(&lane_of(block, lane), 31)?;
        (group.scale[lane], group.offset[lane]) = (grid.scale, grid.offset);
        store_nibbles(&mut group.levels, lane, &grid.levels);
        store_fifths(&mut group.high, lane, grid.levels);
    }
    Some(group)
}

/// Encodes the weights of a block as 6-bit levels with any scale.
fn q6_k(block: &[F32; SHORT_BLOCK_INPUTS]) -> Option<BlockQ6K> {
    let mut group = BlockQ6K::zeroed();
    for lane in 0..NR {
        let (scale, levels) = symmetric_levels(&lane_of(block, lane)).next()?;
        group.scale[lane] = scale;
        store_nibbles(&mut group.levels, lane, &levels);
        store_high_pairs(&mut group.high, lane, levels);
    }
    Some(group)
}

/// Encodes the weights of a block of Q4_K of GGUF.
fn super_q4_k(block: &[F32; SUPER_INPUTS]) -> Option<SuperQ4K> {
    let mut group = SuperQ4K::zeroed();
    for lane in 0..NR {
        let found = AffineBlock::find(&parts_of::<PARTS, BLOCK_INPUTS>(block, lane), 15)?;
        (group.scale[lane], group.offset[lane]) = (found.scale, found.offset);
        for (index, part) in group.parts.iter_mut().enumerate() {
            [part.factors[0][lane], part.factors[1][lane]] = found.factors[index];
            store_nibbles(&mut part.levels, lane, &found.levels[index]);
        }
    }
    Some(group)
}

/// Encodes the weights of a block of Q5_K of GGUF.
fn super_q5_k(block: &[F32; SUPER_INPUTS]) -> Option<SuperQ5K> {
    let mut group = SuperQ5K::zeroed();
    for lane in 0..NR {
        let found = AffineBlock::find(&parts_of::<PARTS, BLOCK_INPUTS>(block, lane), 31)?;
        (group.scale[lane], group.offset[lane]) = (found.scale, found.offset);
        for (index, part) in group.parts.iter_mut().enumerate() {
            [part.factors[0][lane], part.factors[1][lane]] = found.factors[index];
            store_nibbles(&mut part.levels, lane, &found.levels[index]);
            store_fifths(&mut part.high, lane, found.levels[index]);
        }
    }
    Some(group)
}

/// Encodes the weights of a block of Q6_K of GGUF.
fn super_q6_k(block: &[F32; SUPER_INPUTS]) -> Option<SuperQ6K> {
    let mut group = SuperQ6K::zeroed();
    for lane in 0..NR {
        let found = SymmetricBlock::find(&parts_of(block, lane))?;
        group.scale[lane] = found.scale;
        for (index, part) in group.parts.iter_mut().enumerate() {
            part.factor[lane] = found.factors[index];
            store_nibbles(&mut part.levels, lane, &found.levels[index]);
            store_high_pairs(&mut part.high, lane, found.levels[index]);
        }
    }
    Some(group)
}

/// Returns the weights of output `lane` of a block, in parts.
fn parts_of<const PARTS: usize, const N: usize>(
    block: &[F32; SUPER_INPUTS],
    lane: usize,
) -> [[f32; N]; PARTS] {
    std::array::from_fn(|part| std::array::from_fn(|input| block[part * N + input][lane]))
}

/// Stores the lower 4 bits of the levels of an output.
fn store_nibbles(all: &mut [[u8; NR / 2]], lane: usize, levels: &[u8]) {
    let shift = lane / (NR / 2) * 4;
    for (all, level) in all.iter_mut().zip(levels) {
        all[lane % (NR / 2)] |= (level & 15) << shift;
    }
}

/// Stores the fifth bits of the levels of an output.
fn store_fifths<const N: usize>(all: &mut [u64; N], lane: usize, levels: [u8; N]) {
    for (all, level) in all.iter_mut().zip(levels) {
        *all |= u64::from(level >> 4) << lane;
    }
}

/// Stores the fifth and sixth bits of the levels of an output.
fn store_high_pairs<const N: usize>(all: &mut [[u8; NR / 4]; N], lane: usize, levels: [u8; N]) {
    let shift = lane / (NR / 4) * 2;
    for (all, level) in all.iter_mut().zip(levels) {
        all[lane % (NR / 4)] |= level >> 4 << shift;
    }
}
