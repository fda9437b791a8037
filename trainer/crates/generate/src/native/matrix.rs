// SPDX-License-Identifier: Apache-2.0

//! Matrices in the smallest lossless forms.

mod stored;

use super::{
    blocks::{
        BLOCK_INPUTS, Bf16, BlockQ4, BlockQ4K, BlockQ5K, BlockQ6K, BlockQ8, F16, F32, NR,
        SHORT_BLOCK_INPUTS, SUPER_INPUTS, SuperQ4K, SuperQ5K, SuperQ6K,
    },
    huge_pages::reserve_huge,
    kernels::{Isa, MR, Panel, multiply, multiply_wide},
    packing::{Packed, pack, unpack},
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
pub(super) use stored::MatrixHeader;

/// Tasks per thread, so that one slow thread does not delay the product.
const TASKS: usize = 4;

/// Number of rows from which decoding weights once is faster than decoding them for every few rows.
const WORTH_DECODING: usize = 3 * MR;

/// Panels that are packed at once, which bounds the memory beside them.
const PACKED_TOGETHER: usize = 16;

/// Linear layer: a matrix and a bias.
///
/// Weights are packed in panels. Checkpoints often have a lower precision than float32. Each panel
/// is stored in the smallest form that gives back all of its weights, so that less memory is read.
pub(super) struct Matrix {
    places: Vec<PanelPlace>,
    store: Store,
    /// Number of panels that memory is reserved for.
    expected: usize,
    inputs: usize,
    outputs: usize,
    bias: Vec<f32>,
}

/// Form of a panel, its place in the array of that form, and its outputs.
#[derive(Clone, Copy)]
struct PanelPlace {
    form: Form,
    start: usize,
    output: usize,
    width: usize,
}

/// Form of the weights of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Form {
    F32,
    Bf16,
    F16,
    BlockQ4,
    BlockQ8,
    BlockQ4K,
    BlockQ5K,
    BlockQ6K,
    SuperQ4K,
    SuperQ5K,
    SuperQ6K,
}

/// Panels of each form, one after another.
#[derive(Default)]
struct Store {
    f32: Vec<F32>,
    bf16: Vec<Bf16>,
    f16: Vec<F16>,
    q4: Vec<BlockQ4>,
    q8: Vec<BlockQ8>,
    q4_k: Vec<BlockQ4K>,
    q5_k: Vec<BlockQ5K>,
    q6_k: Vec<BlockQ6K>,
    super_q4_k: Vec<SuperQ4K>,
    super_q5_k: Vec<SuperQ5K>,
    super_q6_k: Vec<SuperQ6K>,
}

impl Store {
    /// Appends a panel. Memory is reserved for `panels` of them if there is none left. Returns the
    /// form and the place in its array.
    fn push(&mut self, panel: Packed, panels: usize) -> (Form, usize) {
        fn append<G: Copy>(all: &mut Vec<G>, panel: &[G], panels: usize) -> usize {
            if all.capacity() - all.len() < panel.len() {
                reserve_huge(all, panel.len() * panels);
            }
            let start = all.len();
            all.extend_from_slice(panel);
            start
        }
        match panel {
            Packed::F32(panel) => (Form::F32, append(&mut self.f32, &panel, panels)),
            Packed::Bf16(panel) => (Form::Bf16, append(&mut self.bf16, &panel, panels)),
            Packed::F16(panel) => (Form::F16, append(&mut self.f16, &panel, panels)),
            Packed::BlockQ4(panel) => (Form::BlockQ4, append(&mut self.q4, &panel, panels)),
            Packed::BlockQ8(panel) => (Form::BlockQ8, append(&mut self.q8, &panel, panels)),
            Packed::BlockQ4K(panel) => (Form::BlockQ4K, append(&mut self.q4_k, &panel, panels)),
            Packed::BlockQ5K(panel) => (Form::BlockQ5K, append(&mut self.q5_k, &panel, panels)),
            Packed::BlockQ6K(panel) => (Form::BlockQ6K, append(&mut self.q6_k, &panel, panels)),
            Packed::SuperQ4K(panel) => {
                (Form::SuperQ4K, append(&mut self.super_q4_k, &panel, panels))
            }
            Packed::SuperQ5K(panel) => {
                (Form::SuperQ5K, append(&mut self.super_q5_k, &panel, panels))
            }
            Packed::SuperQ6K(panel) => {
                (Form::SuperQ6K, append(&mut self.super_q6_k, &panel, panels))
            }
        }
    }

    fn shrink(&mut self) {
        self.f32.shrink_to_fit();
        self.bf16.shrink_to_fit();
        self.f16.shrink_to_fit();
        self.q4.shrink_to_fit();
        self.q8.shrink_to_fit();
        self.q4_k.shrink_to_fit();
        self.q5_k.shrink_to_fit();
        self.q6_k.shrink_to_fit();
        self.super_q4_k.shrink_to_fit();
        self.super_q5_k.shrink_to_fit();
        self.super_q6_k.shrink_to_fit();
    }
}

impl Matrix {
    /// Creates a matrix of no outputs yet, for tensors of `outputs` outputs each.
    pub(super) fn new(inputs: usize, outputs: impl IntoIterator<Item = usize>) -> Self {
        Self {
            places: Vec::new(),
            store: Store::default(),
            expected: outputs.into_iter().map(|outputs| outputs.div_ceil(NR)).sum(),
            inputs,
            outputs: 0,
            bias: Vec::new(),
        }
    }

    /// Appends the outputs of `values`, a row-major matrix `[inputs, outputs]`, on the current
    /// thread pool.
    pub(super) fn push_columns(&mut self, values: &[f32]) {
        let (inputs, outputs) = (self.inputs, values.len() / self.inputs);
        self.push(outputs, |first, width, panel| {
            for input in 0..inputs {
                let mut weights = [0.0; NR];
                weights[..width].copy_from_slice(&values[input * outputs + first..][..width]);
                panel.push(weights);
            }
        });
    }

    /// Appends the outputs of `values`, a row-major matrix `[outputs, inputs]`, on the current
    /// thread pool. The last panel is padded, so a tensor is best divided at a multiple of [`NR`].
    pub(super) fn push_rows(&mut self, values: &[f32]) {
        let inputs = self.inputs;
        self.push(values.len() / inputs, |first, width, panel| {
            let rows = &values[first * inputs..][..width * inputs];
            panel.resize(inputs, [0.0; NR]);
            for (input, weights) in panel.iter_mut().enumerate() {
                for (weight, row) in weights.iter_mut().zip(rows.chunks_exact(inputs)) {
                    *weight = row[input];
                }
            }
        });
    }

    /// Appends `outputs` outputs. `gather` appends the weights of a panel to an empty vector, given
    /// its first output among these, and their number.
    fn push(&mut self, outputs: usize, gather: impl Fn(usize, usize, &mut Vec<F32>) + Sync) {
        let firsts: Vec<usize> = (0..outputs).step_by(NR).collect();
        for firsts in firsts.chunks(PACKED_TOGETHER) {
            let one = |panel: &mut Vec<F32>, &first: &usize| {
                panel.clear();
                gather(first, NR.min(outputs - first), panel);
                pack(panel)
            };
            let packed: Vec<_> = firsts.par_iter().map_init(Vec::new, one).collect();
            for (&first, packed) in firsts.iter().zip(packed) {
                let left = self.expected.saturating_sub(self.places.len()).max(1);
                let (form, start) = self.store.push(packed, left);
                let (output, width) = (self.outputs + first, NR.min(outputs - first));
                self.places.push(PanelPlace { form, start, output, width });
            }
        }
        self.outputs += outputs;
        if self.places.len() >= self.expected {
            self.store.shrink();
        }
    }

    /// Adds a bias, which may be empty.
    #[must_use]
    pub(super) fn with_bias(self, bias: Vec<f32>) -> Self {
        Self { bias, ..self }
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Returns the number of bytes that a product reads.
    pub(super) fn bytes(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    fn panel(&self, place: &PanelPlace) -> Panel<'_> {
        let (store, start) = (&self.store, place.start);
        let (inputs, blocks) = (self.inputs, self.inputs / BLOCK_INPUTS);
        let supers = self.inputs / SUPER_INPUTS;
        match place.form {
            Form::F32 => Panel::F32(&store.f32[start..][..inputs]),
            Form::Bf16 => Panel::Bf16(&store.bf16[start..][..inputs]),
            Form::F16 => Panel::F16(&store.f16[start..][..inputs]),
            Form::BlockQ4 => Panel::BlockQ4(&store.q4[start..][..blocks]),
            Form::BlockQ8 => Panel::BlockQ8(&store.q8[start..][..blocks]),
            Form::BlockQ4K => Panel::BlockQ4K(&store.q4_k[start..][..blocks]),
            Form::BlockQ5K => Panel::BlockQ5K(&store.q5_k[start..][..blocks]),
            Form::BlockQ6K => {
                Panel::BlockQ6K(&store.q6_k[start..][..self.inputs / SHORT_BLOCK_INPUTS])
            }
            Form::SuperQ4K => Panel::SuperQ4K(&store.super_q4_k[start..][..supers]),
            Form::SuperQ5K => Panel::SuperQ5K(&store.super_q5_k[start..][..supers]),
            Form::SuperQ6K => Panel::SuperQ6K(&store.super_q6_k[start..][..supers]),
        }
    }

    /// Appends the weights of `output` to `out`, one of each input. They are those that the matrix
    /// was made of, but for the signs of zeros.
    pub(super) fn weights(&self, output: usize, out: &mut Vec<f32>) {
        let index = self.places.partition_point(|place| place.output <= output);
        let Some(place) = index.checked_sub(1).and_then(|index| self.places.get(index)) else {
            return;
        };
        unpack(self.panel(place), output - place.output, out);
    }

    /// Maps each row of `x` `[rows, inputs]` to `out` `[rows, outputs]`, on the current thread
    /// pool.
    pub(super) fn apply(&self, isa: Isa, x: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let rows = x.len() / self.inputs;
        if rows == 0 {
            return;
        }
        let panels = self.places.len();
        let Scratch { interleaved, sums } = scratch;
        interleave(isa, x, self.inputs, interleaved);
        sums.resize(panels * rows, [0.0; NR]);
        let per_task = panels.div_ceil(rayon::current_num_threads() * TASKS);
        let interleaved = interleaved.as_slice();
        sums[..panels * rows].par_chunks_mut(per_task * rows).enumerate().for_each_init(
            Vec::new,
            |decoded, (task, sums)| {
                for (index, sums) in sums.chunks_exact_mut(rows).enumerate() {
                    let mut panel = self.panel(&self.places[task * per_task + index]);
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
            for (panel, place) in self.places.iter().enumerate() {
                out[place.output..][..place.width]
                    .copy_from_slice(&sums[panel * rows + row][..place.width]);
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

#[cfg(test)]
mod tests {
    use super::{
        super::halves::{from_half, near_half},
        *,
    };
    use half::f16;
    use pol_import::files::{DiskFile, gguf};
    use proptest::prelude::*;
    use std::path::Path;

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

    /// Returns the forms of the panels of a matrix.
    fn forms(matrix: &Matrix) -> Vec<Form> {
        matrix.places.iter().map(|place| place.form).collect()
    }

    /// Every set of instructions gives the bits of the plain sum.
    fn check(values: &[f32], inputs: usize, rows: usize) -> Matrix {
        let outputs = values.len() / inputs;
        let bias: Vec<f32> = (0..outputs).map(|i| value(i + 77)).collect();
        let mut matrix = Matrix::new(inputs, [outputs]);
        matrix.push_columns(values);
        let matrix = matrix.with_bias(bias.clone());
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
        let mut same = Matrix::new(inputs, [outputs]);
        for rows in transposed.chunks(NR * inputs) {
            same.push_rows(rows);
        }
        let same = same.with_bias(bias);
        assert_eq!(forms(&same), forms(&matrix));
        for isa in sets() {
            assert_eq!(apply(isa, &same, &x), expected, "{isa:?}");
        }
        let mut weights = Vec::new();
        (0..outputs).for_each(|output| same.weights(output, &mut weights));
        assert_eq!(weights, transposed);
        matrix
    }

    /// Inputs and outputs of a matrix.
    const SHAPE: (usize, usize) = (64, 70);

    /// Returns a matrix as the quantisers of GGUF make it, from 32 inputs of an output at a time.
    fn quantised(make: impl Fn([f32; BLOCK_INPUTS]) -> [f32; BLOCK_INPUTS]) -> Vec<f32> {
        let (inputs, outputs) = SHAPE;
        let mut out: Vec<f32> = (0..inputs * outputs).map(value).collect();
        for output in 0..outputs {
            for group in 0..inputs / BLOCK_INPUTS {
                let at = |i: usize| (group * BLOCK_INPUTS + i) * outputs + output;
                let made = make(std::array::from_fn(|i| out[at(i)] * (1.0 + output as f32)));
                (0..BLOCK_INPUTS).for_each(|i| out[at(i)] = made[i]);
            }
        }
        out
    }

    /// Returns the float16 nearest to a number.
    fn rounded(number: f32) -> f32 {
        from_half(near_half(number.abs())[0]) * number.signum()
    }

    #[test]
    fn lower_precision_is_found_and_loses_nothing() {
        let (inputs, outputs) = SHAPE;
        let full: Vec<f32> = (0..inputs * outputs).map(value).collect();
        assert_eq!(forms(&check(&full, inputs, 5)), [Form::F32; 2]);
        let brain: Vec<f32> =
            full.iter().map(|v| f32::from_bits(v.to_bits() & 0xffff_0000)).collect();
        assert_eq!(forms(&check(&brain, inputs, 3)), [Form::Bf16; 2]);
        check(&brain, inputs, 15);
        check(&brain, inputs, 41);
        // Some of them are subnormal.
        let half: Vec<f32> = full
            .iter()
            .enumerate()
            .map(|(i, v)| f16::from_f32(if i % 5 == 0 { v * 1e-4 } else { *v }).to_f32())
            .collect();
        assert!(half.iter().any(|v| *v != 0.0 && v.abs() < f32::from(f16::MIN_POSITIVE)));
        assert_eq!(forms(&check(&half, inputs, 3)), [Form::F16; 2]);
        check(&half, inputs, 15);
        check(&half, inputs, 41);
        let q4_1 = quantised(|group| {
            let (low, high) = (
                group.iter().copied().fold(9e9, f32::min),
                group.iter().copied().fold(-9e9, f32::max),
            );
            let (scale, offset) = (rounded((high - low) / 15.0), rounded(low));
            group.map(|v| ((v - low) / (high - low) * 15.0).round() * scale + offset)
        });
        assert_eq!(forms(&check(&q4_1, inputs, 1)), [Form::BlockQ4; 2]);
        check(&q4_1, inputs, 13);
        let q4_0 = quantised(|group| {
            let end = group
                .iter()
                .copied()
                .fold(0.0f32, |end, v| if v.abs() > end.abs() { v } else { end });
            let scale = rounded(end / -8.0);
            group.map(|v| ((v / scale + 8.5).floor().clamp(0.0, 15.0) - 8.0) * scale)
        });
        assert_eq!(forms(&check(&q4_0, inputs, 2)), [Form::BlockQ4; 2]);
        let q8_0 = quantised(|group| {
            let end = group.iter().copied().fold(0.0f32, |end, v| end.max(v.abs()));
            let scale = rounded(end / 127.0);
            group.map(|v| (v / end * 127.0).round() * scale)
        });
        assert_eq!(forms(&check(&q8_0, inputs, 4)), [Form::BlockQ8; 2]);
        check(&q8_0, inputs, 12);
        assert_eq!(forms(&check(&vec![0.0; inputs * outputs], inputs, 1)), [Form::BlockQ4; 2]);
        // One weight of another precision changes the form of its own panel only.
        let mut mixed = brain;
        mixed[outputs - 1] = 0.1;
        let mixed = check(&mixed, inputs, 5);
        assert_eq!(forms(&mixed), [Form::Bf16, Form::F32]);
        assert_eq!(mixed.bytes(), inputs * NR * (2 + 4));
    }

    #[test]
    fn levels_of_k_quants_are_found_and_lose_nothing() {
        let (inputs, _) = SHAPE;
        // A scale and a minimum are products of an f16 and an integer of 6 bits.
        let affine = |highest: f32| {
            quantised(|group| {
                let (low, high) = (
                    group.iter().copied().fold(9e9, f32::min),
                    group.iter().copied().fold(-9e9, f32::max),
                );
                let scale = rounded((high - low) / highest / 37.0) * 37.0;
                let minimum = rounded(-low / 21.0) * 21.0;
                group.map(|v| ((v + minimum) / scale).round().clamp(0.0, highest) * scale - minimum)
            })
        };
        assert_eq!(forms(&check(&affine(15.0), inputs, 2)), [Form::BlockQ4K; 2]);
        check(&affine(15.0), inputs, 12);
        assert_eq!(forms(&check(&affine(31.0), inputs, 1)), [Form::BlockQ5K; 2]);
        check(&affine(31.0), inputs, 13);
        let q6_k = quantised(|group| {
            let end = group.iter().copied().fold(0.0f32, |end, v| end.max(v.abs()));
            let scale = rounded(end / 31.0 / 37.0) * 37.0;
            group.map(|v| (v / scale).round().clamp(-32.0, 31.0) * scale)
        });
        assert_eq!(forms(&check(&q6_k, inputs, 3)), [Form::BlockQ6K; 2]);
        check(&q6_k, inputs, 14);
    }

    #[test]
    fn scales_that_parts_share_are_found_in_every_output() {
        let (inputs, outputs) = (2 * SUPER_INPUTS, 70);
        let integer = |i: usize, below: u8| ((value(i) + 0.5) * f32::from(below)) as u8;
        let matrix = |weight: &dyn Fn(usize, usize, usize, usize) -> f32, part_inputs: usize| {
            let mut values = vec![0.0; inputs * outputs];
            for (i, slot) in values.iter_mut().enumerate() {
                let (input, output) = (i / outputs, i % outputs);
                let block = output * 2 + input / SUPER_INPUTS;
                *slot = weight(block, output * inputs + input / part_inputs, i, output);
            }
            values
        };
        let scale = |block: usize| rounded(0.001 + (value(block) + 0.5) / 64.0);
        for (highest, form) in [(15u8, Form::SuperQ4K), (31, Form::SuperQ5K)] {
            let affine = |block: usize, part: usize, i: usize, output: usize| {
                // Some outputs have no minimum.
                let minimum = if output.is_multiple_of(5) { 0.0 } else { scale(block + 999) };
                let factors = [integer(part + 5_000, 64), integer(part + 90_000, 64)];
                let [factor, subtrahend] = factors.map(f32::from);
                let level = f32::from(integer(i + 7_777, highest + 1));
                scale(block) * factor * level - minimum * subtrahend
            };
            let values = matrix(&affine, BLOCK_INPUTS);
            assert_eq!(forms(&check(&values, inputs, 3)), [form; 2]);
            check(&values, inputs, 41);
        }
        let symmetric = |block: usize, part: usize, i: usize, _: usize| {
            let factor = f32::from(integer(part + 5_000, 255)) - 127.0;
            scale(block) * factor * (f32::from(integer(i + 7_777, 64)) - 32.0)
        };
        let values = matrix(&symmetric, SHORT_BLOCK_INPUTS);
        assert_eq!(forms(&check(&values, inputs, 4)), [Form::SuperQ6K; 2]);
        check(&values, inputs, 41);
    }

    #[test]
    fn blocks_of_llama_cpp_are_kept() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../import/tests/fixtures");
        let file = DiskFile::open(&Path::new(folder).join("encodings.gguf")).unwrap();
        let (_, table) = gguf::read(Box::new(file)).unwrap();
        for (name, form, bytes) in [
            ("Q4_K", Form::SuperQ4K, size_of::<SuperQ4K>()),
            ("Q5_K", Form::SuperQ5K, size_of::<SuperQ5K>()),
            ("Q6_K", Form::SuperQ6K, size_of::<SuperQ6K>()),
        ] {
            let values = table.decode(&table.entries()[name]).unwrap();
            // The others have extreme scales.
            let usual = &values[..256];
            let matrix = check(usual, 256, 5);
            assert_eq!((forms(&matrix), matrix.bytes()), (vec![form], bytes), "{name}");
            // They are right in any form.
            for values in values.chunks(256).filter(|values| values.iter().all(|v| v.is_finite())) {
                check(values, 256, 1);
            }
        }
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
        fn tensors_stand_side_by_side(inputs in 1usize..9, left in 1usize..99, right in 1usize..9) {
            let a: Vec<f32> = (0..inputs * left).map(value).collect();
            let b: Vec<f32> = (0..inputs * right).map(|i| value(i + 99)).collect();
            let mut both = Matrix::new(inputs, [left, right]);
            both.push_columns(&a);
            both.push_columns(&b);
            prop_assert_eq!(both.outputs(), left + right);
            let x: Vec<f32> = (0..3 * inputs).map(|i| value(i + 13)).collect();
            for isa in sets() {
                let [a, b] = [&a, &b].map(|values| apply(isa, &check(values, inputs, 1), &x));
                let found = apply(isa, &both, &x);
                for (row, found) in found.chunks(left + right).enumerate() {
                    let bias = |found: &f32, output: usize| found + value(output + 77);
                    let a = &a[row * left..][..left];
                    let b = &b[row * right..][..right];
                    let (first, second) = found.split_at(left);
                    prop_assert!(first.iter().enumerate().all(|(i, x)| bias(x, i) == a[i]));
                    prop_assert!(second.iter().enumerate().all(|(i, x)| bias(x, i) == b[i]));
                }
            }
        }
    }
}
