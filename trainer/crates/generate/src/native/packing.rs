// SPDX-License-Identifier: Apache-2.0

//! Forms of weights that lose nothing.

use super::{
    k_quants::{Grid, symmetric_levels},
    kernels::{
        BLOCK_INPUTS, Bf16, BlockQ4, BlockQ4K, BlockQ5K, BlockQ6K, BlockQ8, F16, F32, NR, Panel,
        SHORT_BLOCK_INPUTS,
    },
};
use half::f16;

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
}

/// Packs a panel in the smallest form that gives back every weight.
pub(super) fn pack(panel: &[F32]) -> Packed {
    None.or_else(|| blocks(panel, nibbles).map(Packed::BlockQ4))
        .or_else(|| blocks(panel, q4_k).map(Packed::BlockQ4K))
        .or_else(|| blocks(panel, q5_k).map(Packed::BlockQ5K))
        .or_else(|| blocks(panel, q6_k).map(Packed::BlockQ6K))
        .or_else(|| blocks(panel, bytes).map(Packed::BlockQ8))
        .or_else(|| brain_floats(panel).map(Packed::Bf16))
        .or_else(|| half_floats(panel).map(Packed::F16))
        .unwrap_or_else(|| Packed::F32(panel.to_vec()))
}

/// Appends the weights of output `lane` of a panel to `out`, one of each input.
pub(super) fn unpack(panel: Panel<'_>, lane: usize, out: &mut Vec<f32>) {
    let nibble = |levels: &[u8; NR / 2]| levels[lane % (NR / 2)] >> (lane / (NR / 2) * 4) & 15;
    match panel {
        Panel::F32(panel) => out.extend(panel.iter().map(|weights| weights[lane])),
        Panel::Bf16(panel) => {
            let widen = |weights: &Bf16| f32::from_bits(u32::from(weights[lane]) << 16);
            out.extend(panel.iter().map(widen));
        }
        Panel::F16(panel) => out.extend(panel.iter().map(|weights| from_half(weights[lane]))),
        Panel::BlockQ4(panel) => panel.iter().for_each(|block| {
            let [scale, offset] = [block.scale, block.offset].map(|halves| from_half(halves[lane]));
            let weight = |levels| f32::from(nibble(levels)) * scale + offset;
            out.extend(block.levels.iter().map(weight));
        }),
        Panel::BlockQ8(panel) => panel.iter().for_each(|block| {
            let scale = from_half(block.scale[lane]);
            out.extend(block.levels.iter().map(|levels| f32::from(levels[lane]) * scale));
        }),
        Panel::BlockQ4K(panel) => panel.iter().for_each(|block| {
            let (scale, offset) = (block.scale[lane], block.offset[lane]);
            let weight = |levels| f32::from(nibble(levels)) * scale + offset;
            out.extend(block.levels.iter().map(weight));
        }),
        Panel::BlockQ5K(panel) => panel.iter().for_each(|block| {
            let (scale, offset) = (block.scale[lane], block.offset[lane]);
            out.extend(block.levels.iter().zip(block.high).map(|(levels, high)| {
                f32::from(nibble(levels) | ((high >> lane & 1) as u8) << 4) * scale + offset
            }));
        }),
        Panel::BlockQ6K(panel) => panel.iter().for_each(|block| {
            let scale = block.scale[lane];
            out.extend(block.levels.iter().zip(&block.high).map(|(levels, high)| {
                let high = high[lane % (NR / 4)] >> (lane / (NR / 4) * 2) & 3;
                (f32::from(nibble(levels) | high << 4) - 32.0) * scale
            }));
        }),
    }
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
    let mut group = BlockQ4::ZERO;
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
    let mut group = BlockQ8::ZERO;
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

/// Encodes the weights of a block as 4-bit levels, as Q4_K of GGUF does.
fn q4_k(block: &[F32; BLOCK_INPUTS]) -> Option<BlockQ4K> {
    let mut group = BlockQ4K::ZERO;
    for lane in 0..NR {
        let grid = Grid::find(&lane_of(block, lane), 15)?;
        (group.scale[lane], group.offset[lane]) = (grid.scale, grid.offset);
        store_nibbles(&mut group.levels, lane, &grid.levels);
    }
    Some(group)
}

/// Encodes the weights of a block as 5-bit levels, as Q5_K of GGUF does.
fn q5_k(block: &[F32; BLOCK_INPUTS]) -> Option<BlockQ5K> {
    let mut group = BlockQ5K::ZERO;
    for lane in 0..NR {
        let grid = Grid::find(&lane_of(block, lane), 31)?;
        (group.scale[lane], group.offset[lane]) = (grid.scale, grid.offset);
        store_nibbles(&mut group.levels, lane, &grid.levels);
        for (all, level) in group.high.iter_mut().zip(grid.levels) {
            *all |= u64::from(level >> 4) << lane;
        }
    }
    Some(group)
}

/// Encodes the weights of a block as 6-bit levels, as Q6_K of GGUF does.
fn q6_k(block: &[F32; SHORT_BLOCK_INPUTS]) -> Option<BlockQ6K> {
    let mut group = BlockQ6K::ZERO;
    for lane in 0..NR {
        let (scale, levels) = symmetric_levels(&lane_of(block, lane))?;
        group.scale[lane] = scale;
        store_nibbles(&mut group.levels, lane, &levels);
        let shift = lane / (NR / 4) * 2;
        for (all, level) in group.high.iter_mut().zip(levels) {
            all[lane % (NR / 4)] |= level >> 4 << shift;
        }
    }
    Some(group)
}

/// Stores the lower 4 bits of the levels of an output.
fn store_nibbles(all: &mut [[u8; NR / 2]], lane: usize, levels: &[u8]) {
    let shift = lane / (NR / 2) * 4;
    for (all, level) in all.iter_mut().zip(levels) {
        all[lane % (NR / 2)] |= (level & 15) << shift;
    }
}

/// Returns the value of the float16 with these bits.
pub(super) fn from_half(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}

/// Returns the bits of `value` as an f16, if that is exact.
fn to_half(value: f32) -> Option<u16> {
    let half = f16::from_f32(value);
    (half.is_finite() && half.to_f32() == value).then_some(half.to_bits())
}

/// Returns the f16 nearest to the positive `value`, and its neighbours.
pub(super) fn near_half(value: f32) -> [u16; 3] {
    // Numbers of one sign are ordered as their bits.
    let nearest = f16::from_f32(value).to_bits().clamp(1, 0x7bfe);
    [nearest, nearest - 1, nearest + 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_exact_or_not_at_all() {
        for (bits, number) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65_504.0), (1, 5.960_464_5e-8), (0, 0.0)]
        {
            assert_eq!((from_half(bits), to_half(number)), (number, Some(bits)));
        }
        assert_eq!([1e-9, 65_520.0, 1.0001, f32::NAN, f32::INFINITY].map(to_half), [None; 5]);
        assert!((0..0x7c00).all(|bits| near_half(from_half(bits)).contains(&bits)));
    }
}
