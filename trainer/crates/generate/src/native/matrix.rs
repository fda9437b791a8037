// SPDX-License-Identifier: Apache-2.0

//! Matrices in the smallest lossless format.

use super::{
    huge_pages::in_huge_pages,
    kernels::{
        BLOCK_INPUTS, Bf16, BlockQ4, BlockQ8, F32, Isa, MR, NR, Panel, multiply, multiply_wide,
    },
};
use half::f16;
use rayon::prelude::*;

/// Tasks per thread, so that one slow thread does not delay the product.
const TASKS: usize = 4;

/// Number of rows from which decoding weights once is faster than decoding them for every few rows.
const WORTH_DECODING: usize = 3 * MR;

/// Linear layer: a matrix and a bias.
pub(super) struct Matrix {
    store: Store,
    inputs: usize,
    outputs: usize,
    bias: Vec<f32>,
}

/// Panels of weights. Checkpoints often have a lower precision than float32. If all weights do,
/// less memory is read.
enum Store {
    F32(Vec<F32>),
    Bf16(Vec<Bf16>),
    BlockQ4(Vec<BlockQ4>),
    BlockQ8(Vec<BlockQ8>),
}

/// Matrices that are read by input and output.
pub(super) trait Values: Sync {
    fn inputs(&self) -> usize;
    fn outputs(&self) -> usize;
    fn at(&self, input: usize, output: usize) -> f32;
}

/// Row-major matrices `[in, out]` with the same inputs, concatenated along the outputs.
pub(super) struct ConcatColumns<'a> {
    pub(super) parts: Vec<&'a [f32]>,
    pub(super) inputs: usize,
}

impl Values for ConcatColumns<'_> {
    fn inputs(&self) -> usize {
        self.inputs
    }

    fn outputs(&self) -> usize {
        self.parts.iter().map(|part| part.len() / self.inputs).sum()
    }

    fn at(&self, input: usize, mut output: usize) -> f32 {
        for part in &self.parts {
            let outputs = part.len() / self.inputs;
            if output < outputs {
                return part[input * outputs + output];
            }
            output -= outputs;
        }
        0.0
    }
}

/// Row-major matrix `[out, in]`.
pub(super) struct Transposed<'a> {
    pub(super) values: &'a [f32],
    pub(super) inputs: usize,
}

impl Values for Transposed<'_> {
    fn inputs(&self) -> usize {
        self.inputs
    }

    fn outputs(&self) -> usize {
        self.values.len() / self.inputs
    }

    fn at(&self, input: usize, output: usize) -> f32 {
        self.values[output * self.inputs + input]
    }
}

impl Matrix {
    /// Creates a layer of `values` and `bias`, which may be empty.
    pub(super) fn new(values: &impl Values, bias: Vec<f32>) -> Self {
        let (inputs, outputs) = (values.inputs(), values.outputs());
        let store = None
            .or_else(|| groups(values, BlockQ4::ZERO, nibbles).map(Store::BlockQ4))
            .or_else(|| groups(values, BlockQ8::ZERO, bytes).map(Store::BlockQ8))
            .or_else(|| {
                panels(values, [0; NR], |weights| {
                    weights
                        .iter()
                        .all(|w| w.to_bits() & 0xffff == 0)
                        .then(|| weights.map(|w| (w.to_bits() >> 16) as u16))
                })
                .map(Store::Bf16)
            })
            .or_else(|| panels(values, [0.0; NR], Some).map(Store::F32))
            .unwrap_or(Store::F32(Vec::new()));
        Self { store, inputs, outputs, bias }
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Returns the number of bytes that a product reads.
    pub(super) fn bytes(&self) -> usize {
        match &self.store {
            Store::F32(panels) => size_of_val(panels.as_slice()),
            Store::Bf16(panels) => size_of_val(panels.as_slice()),
            Store::BlockQ4(panels) => size_of_val(panels.as_slice()),
            Store::BlockQ8(panels) => size_of_val(panels.as_slice()),
        }
    }

    fn panel(&self, index: usize) -> Panel<'_> {
        let (inputs, groups) = (self.inputs, self.inputs / BLOCK_INPUTS);
        match &self.store {
            Store::F32(panels) => Panel::F32(&panels[index * inputs..][..inputs]),
            Store::Bf16(panels) => Panel::Bf16(&panels[index * inputs..][..inputs]),
            Store::BlockQ4(panels) => Panel::BlockQ4(&panels[index * groups..][..groups]),
            Store::BlockQ8(panels) => Panel::BlockQ8(&panels[index * groups..][..groups]),
        }
    }

    /// Maps each row of `x` `[rows, inputs]` to `out` `[rows, outputs]`, on the current thread
    /// pool.
    pub(super) fn apply(&self, isa: Isa, x: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let rows = x.len() / self.inputs;
        if rows == 0 {
            return;
        }
        let panels = self.outputs.div_ceil(NR);
        let Scratch { interleaved, sums } = scratch;
        interleave(isa, x, self.inputs, interleaved);
        sums.resize(panels * rows, [0.0; NR]);
        let per_task = panels.div_ceil(rayon::current_num_threads() * TASKS);
        let interleaved = interleaved.as_slice();
        sums[..panels * rows].par_chunks_mut(per_task * rows).enumerate().for_each_init(
            Vec::new,
            |decoded, (task, sums)| {
                for (index, sums) in sums.chunks_exact_mut(rows).enumerate() {
                    let mut panel = self.panel(task * per_task + index);
                    if rows >= WORTH_DECODING {
                        panel.decode(isa, decoded);
                        panel = if decoded.is_empty() { panel } else { Panel::F32(decoded) };
                    }
                    let (mut x, mut sums) = (interleaved, sums);
                    while !sums.is_empty() {
                        let count = together(isa, rows, sums.len());
                        let (head, rest) = std::mem::take(&mut sums).split_at_mut(count);
                        let (group, after) = x.split_at(count * self.inputs);
                        match (count, panel) {
                            (1, _) => pass::<1>(isa, group, panel, head),
                            (2, _) => pass::<2>(isa, group, panel, head),
                            (3, _) => pass::<3>(isa, group, panel, head),
                            (MR, _) => pass::<MR>(isa, group, panel, head),
                            (_, Panel::F32(panel)) => multiply_wide(isa, group, panel, head),
                            // Unreachable: only decoded panels serve so many rows.
                            _ => {}
                        }
                        (x, sums) = (after, rest);
                    }
                }
            },
        );
        let sums = &*sums;
        let each = |(row, out): (usize, &mut [f32])| {
            for (panel, out) in out.chunks_mut(NR).enumerate() {
                out.copy_from_slice(&sums[panel * rows + row][..out.len()]);
            }
            for (out, bias) in out.iter_mut().zip(&self.bias) {
                *out += bias;
            }
        };
        for_rows(&mut out[..rows * self.outputs], self.outputs, each);
    }
}

/// Returns the number of rows of the next pass, with `left` of `rows` left.
fn together(isa: Isa, rows: usize, left: usize) -> usize {
    if rows >= WORTH_DECODING && left >= isa.wide() { isa.wide() } else { left.min(MR) }
}

/// Calls `each` for every row of `out` with its index, on the current thread pool if there are
/// many.
pub(super) fn for_rows(
    out: &mut [f32],
    width: usize,
    each: impl Fn((usize, &mut [f32])) + Send + Sync,
) {
    if out.len() / width >= WORTH_DECODING {
        out.par_chunks_exact_mut(width).enumerate().for_each(each);
    } else {
        out.chunks_exact_mut(width).enumerate().for_each(each);
    }
}

/// Reusable memory of products.
#[derive(Default)]
pub(super) struct Scratch {
    /// Rows in groups of one pass each, group by group, input by input.
    interleaved: Vec<f32>,
    /// Sums, panel by panel and row by row.
    sums: Vec<F32>,
}

fn interleave(isa: Isa, x: &[f32], inputs: usize, out: &mut Vec<f32>) {
    out.clear();
    out.resize(x.len(), 0.0);
    let rows = x.len() / inputs;
    let (mut x, mut rest, mut groups) = (x, out.as_mut_slice(), Vec::new());
    while !x.is_empty() {
        let count = together(isa, rows, x.len() / inputs);
        let (group, after) = x.split_at(count * inputs);
        let (into, more) = rest.split_at_mut(count * inputs);
        groups.push((group, into));
        (x, rest) = (after, more);
    }
    let each = |(group, into): (&[f32], &mut [f32])| {
        let count = group.len() / inputs;
        for (row, values) in group.chunks_exact(inputs).enumerate() {
            for (into, &value) in into[row..].iter_mut().step_by(count).zip(values) {
                *into = value;
            }
        }
    };
    if rows >= WORTH_DECODING {
        groups.into_par_iter().for_each(each)
    } else {
        groups.into_iter().for_each(each)
    }
}

fn pass<const R: usize>(isa: Isa, x: &[f32], panel: Panel<'_>, sums: &mut [F32]) {
    if let Some(sums) = sums.as_chunks_mut::<R>().0.first_mut() {
        multiply(isa, x.as_chunks::<R>().0, panel, sums);
    }
}

/// Packs panels of single inputs, if `keep` accepts all weights.
fn panels<G: Clone + Send + Sync>(
    values: &impl Values,
    zero: G,
    keep: impl Fn(F32) -> Option<G> + Sync,
) -> Option<Vec<G>> {
    let (inputs, outputs) = (values.inputs(), values.outputs());
    in_huge_pages(outputs.div_ceil(NR) * inputs, zero, |index| {
        let (panel, input) = (index / inputs, index % inputs);
        let weight = |lane: usize| {
            Some(panel * NR + lane)
                .filter(|&output| output < outputs)
                .map_or(0.0, |output| values.at(input, output))
        };
        keep(std::array::from_fn(weight))
    })
}

/// Packs panels of blocks of [`BLOCK_INPUTS`] inputs, if `keep` accepts all weights.
fn groups<G: Clone + Send + Sync>(
    values: &impl Values,
    zero: G,
    keep: impl Fn(&dyn Fn(usize) -> [f32; BLOCK_INPUTS]) -> Option<G> + Sync,
) -> Option<Vec<G>> {
    let (inputs, outputs) = (values.inputs(), values.outputs());
    if !inputs.is_multiple_of(BLOCK_INPUTS) {
        return None;
    }
    let groups = inputs / BLOCK_INPUTS;
    in_huge_pages(outputs.div_ceil(NR) * groups, zero, |index| {
        let (panel, group) = (index / groups, index % groups);
        keep(&|lane| {
            let output = panel * NR + lane;
            std::array::from_fn(|input| {
                if output < outputs { values.at(group * BLOCK_INPUTS + input, output) } else { 0.0 }
            })
        })
    })
}

/// Encodes the weights of a block as 4-bit levels, as Q4_0 and Q4_1 of GGUF do.
fn nibbles(weights: &dyn Fn(usize) -> [f32; BLOCK_INPUTS]) -> Option<BlockQ4> {
    let mut group = BlockQ4::ZERO;
    for lane in 0..NR {
        let weights = weights(lane);
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
        let shift = lane / (NR / 2) * 4;
        for (all, level) in group.levels.iter_mut().zip(levels) {
            all[lane % (NR / 2)] |= level << shift;
        }
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
fn bytes(weights: &dyn Fn(usize) -> [f32; BLOCK_INPUTS]) -> Option<BlockQ8> {
    let mut group = BlockQ8::ZERO;
    for lane in 0..NR {
        let weights = weights(lane);
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

fn from_half(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}

/// Returns the bits of `value` as an f16, if that is exact.
fn to_half(value: f32) -> Option<u16> {
    let half = f16::from_f32(value);
    (half.is_finite() && half.to_f32() == value).then_some(half.to_bits())
}

/// Returns the f16 nearest to the positive `value`, and its neighbours.
fn near_half(value: f32) -> [u16; 3] {
    // Numbers of one sign are ordered as their bits.
    let nearest = f16::from_f32(value).to_bits().clamp(1, 0x7bfe);
    [nearest, nearest - 1, nearest + 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Small numbers that look random.
    fn value(i: usize) -> f32 {
        ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32 - 0.5
    }

    fn apply(isa: Isa, matrix: &Matrix, x: &[f32]) -> Vec<f32> {
        let mut out = vec![f32::NAN; x.len() / matrix.inputs * matrix.outputs];
        matrix.apply(isa, x, &mut out, &mut Scratch::default());
        out
    }

    fn sets() -> Vec<Isa> {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        let mut sets: Vec<Isa> = Isa::detect().into_iter().collect();
        sets.extend((avx2 && sets == [Isa::Avx512]).then_some(Isa::Avx2));
        sets
    }

    /// Every set of instructions gives the bits of the plain sum.
    fn check(values: &[f32], inputs: usize, rows: usize) -> Matrix {
        let beside = ConcatColumns { parts: vec![values], inputs };
        let outputs = beside.outputs();
        let bias: Vec<f32> = (0..outputs).map(|i| value(i + 77)).collect();
        let matrix = Matrix::new(&beside, bias.clone());
        let x: Vec<f32> = (0..rows * inputs).map(|i| value(i + 13) * 4.0).collect();
        let mut expected = Vec::new();
        for row in x.chunks(inputs) {
            for output in 0..outputs {
                let sum = (0..inputs).fold(0.0f32, |sum, input| {
                    values[input * outputs + output].mul_add(row[input], sum)
                });
                expected.push(sum + bias[output]);
            }
        }
        for isa in sets() {
            assert_eq!(apply(isa, &matrix, &x), expected, "{isa:?}");
        }
        let mut transposed = vec![0.0; values.len()];
        for (i, &value) in values.iter().enumerate() {
            transposed[i % outputs * inputs + i / outputs] = value;
        }
        let same = Matrix::new(&Transposed { values: &transposed, inputs }, bias);
        for isa in sets() {
            assert_eq!(apply(isa, &same, &x), expected, "{isa:?}");
        }
        matrix
    }

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

    #[test]
    fn lower_precision_is_found_and_loses_nothing() {
        let (inputs, outputs) = (64, 70);
        let full: Vec<f32> = (0..inputs * outputs).map(value).collect();
        assert!(matches!(check(&full, inputs, 5).store, Store::F32(_)));
        let half: Vec<f32> =
            full.iter().map(|v| f32::from_bits(v.to_bits() & 0xffff_0000)).collect();
        assert!(matches!(check(&half, inputs, 3).store, Store::Bf16(_)));
        check(&half, inputs, 15);
        check(&half, inputs, 41);
        // As the quantisers of GGUF do it: a scale and an offset for 32 inputs of an output.
        let quantised = |make: &dyn Fn([f32; BLOCK_INPUTS]) -> [f32; BLOCK_INPUTS]| {
            let mut out = full.clone();
            for output in 0..outputs {
                for group in 0..inputs / BLOCK_INPUTS {
                    let at = |i: usize| (group * BLOCK_INPUTS + i) * outputs + output;
                    let made = make(std::array::from_fn(|i| full[at(i)] * (1.0 + output as f32)));
                    (0..BLOCK_INPUTS).for_each(|i| out[at(i)] = made[i]);
                }
            }
            out
        };
        let rounded = |v: f32| from_half(near_half(v.abs())[0]) * v.signum();
        let q4_1 = quantised(&|group| {
            let (low, high) = (
                group.iter().copied().fold(9e9, f32::min),
                group.iter().copied().fold(-9e9, f32::max),
            );
            let (scale, offset) = (rounded((high - low) / 15.0), rounded(low));
            group.map(|v| ((v - low) / (high - low) * 15.0).round() * scale + offset)
        });
        assert!(matches!(check(&q4_1, inputs, 1).store, Store::BlockQ4(_)));
        check(&q4_1, inputs, 13);
        let q4_0 = quantised(&|group| {
            let end = group
                .iter()
                .copied()
                .fold(0.0f32, |end, v| if v.abs() > end.abs() { v } else { end });
            let scale = rounded(end / -8.0);
            group.map(|v| ((v / scale + 8.5).floor().clamp(0.0, 15.0) - 8.0) * scale)
        });
        assert!(matches!(check(&q4_0, inputs, 2).store, Store::BlockQ4(_)));
        let q8_0 = quantised(&|group| {
            let end = group.iter().copied().fold(0.0f32, |end, v| end.max(v.abs()));
            let scale = rounded(end / 127.0);
            group.map(|v| (v / end * 127.0).round() * scale)
        });
        assert!(matches!(check(&q8_0, inputs, 4).store, Store::BlockQ8(_)));
        check(&q8_0, inputs, 12);
        let zeros = check(&vec![0.0; inputs * outputs], inputs, 1);
        assert!(matches!(zeros.store, Store::BlockQ4(_)));
    }

    proptest! {
        #[test]
        fn every_shape_multiplies(
            inputs in 1usize..80,
            outputs in 1usize..140,
            rows in 1usize..40,
        ) {
            let values: Vec<f32> = (0..inputs * outputs).map(value).collect();
            check(&values, inputs, rows);
        }

        #[test]
        fn parts_stand_side_by_side(inputs in 1usize..9, left in 1usize..9, right in 1usize..9) {
            let a: Vec<f32> = (0..inputs * left).map(value).collect();
            let b: Vec<f32> = (0..inputs * right).map(|i| value(i + 99)).collect();
            let both = ConcatColumns { parts: vec![&a, &b], inputs };
            prop_assert_eq!(both.outputs(), left + right);
            prop_assert_eq!(both.at(inputs - 1, left - 1), a[inputs * left - 1]);
            prop_assert_eq!(both.at(inputs - 1, left), b[(inputs - 1) * right]);
        }
    }
}
