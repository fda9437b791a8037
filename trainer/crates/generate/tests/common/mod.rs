// SPDX-License-Identifier: Apache-2.0

//! Weights in the forms that checkpoints have.

use half::{bf16, f16};
use pol_model::Layout;
use pol_primitives::model::ModelSpec;

/// Values that GGUF's types quantise together, or a part of them.
const BLOCK: usize = 32;

/// Rounds the values of a block to a form.
pub(crate) type Round = fn(&mut [f32; BLOCK]);

/// Forms of weights, by name.
pub(crate) const FORMS: [(&str, Round); 9] = [
    ("float32", |_| {}),
    ("bfloat16", |block| block.iter_mut().for_each(|v| *v = bf16::from_f32(*v).to_f32())),
    ("float16", |block| block.iter_mut().for_each(|v| *v = half(*v))),
    // Zeros are negative if the scale is, as in llama.cpp.
    ("Q4_0", |block| symmetric(block, 8.0, 1.0)),
    ("Q4_1", |block| affine(block, 15.0, [1.0, -1.0])),
    ("Q8_0", |block| symmetric(block, 127.0, 1.0)),
    // Scales and minima are products of an f16 and an integer.
    ("Q4_K", |block| affine(block, 15.0, [37.0, 21.0])),
    ("Q5_K", |block| affine(block, 31.0, [37.0, 21.0])),
    ("Q6_K", |block| symmetric(block, 32.0, 37.0)),
];

fn half(value: f32) -> f32 {
    f16::from_f32(value).to_f32()
}

/// Rounds to up to `steps` steps on either side of zero. The one with `steps` is negative.
fn symmetric(block: &mut [f32; BLOCK], steps: f32, factor: f32) {
    let end = block.iter().copied().fold(0f32, |end, v| if v.abs() > end.abs() { v } else { end });
    let scale = half(end / -steps / factor) * factor;
    let level = |v: f32| if scale == 0.0 { 0.0 } else { (v / scale).round() };
    block.iter_mut().for_each(|v| *v = level(*v).clamp(-steps, steps - 1.0) * scale);
}

/// Rounds to up to `steps` steps above the lowest value.
fn affine(block: &mut [f32; BLOCK], steps: f32, factors: [f32; 2]) {
    let low = block.iter().copied().fold(f32::INFINITY, f32::min);
    let high = block.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scale = half((high - low) / steps / factors[0]) * factors[0];
    let minimum = half(-low / factors[1]) * factors[1];
    let level = |v: f32| if scale == 0.0 { 0.0 } else { ((v + minimum) / scale).round() };
    block.iter_mut().for_each(|v| *v = level(*v).clamp(0.0, steps) * scale - minimum);
}

/// Rounds blocks of inputs of every matrix. Those of the vocabulary and of positions are
/// `[outputs, inputs]`, the others `[inputs, outputs]`.
pub(crate) fn round(spec: &ModelSpec, flat: &mut [f32], round: Round) {
    for slot in Layout::new(spec).expect("a valid specification").tensors() {
        let &[rows, columns] = &slot.parameter.shape[..] else { continue };
        let (rows, columns) = (rows as usize, columns as usize);
        let by_rows = ["wte.weight", "wpe.weight", "lm_head.weight"];
        let step = if by_rows.contains(&slot.parameter.name.as_str()) { 1 } else { columns };
        let values = &mut flat[slot.range()];
        for block in 0..rows * columns / BLOCK {
            let first = if step == 1 {
                block * BLOCK
            } else {
                block / columns * BLOCK * columns + block % columns
            };
            let mut weights = std::array::from_fn(|i| values[first + i * step]);
            round(&mut weights);
            (0..BLOCK).for_each(|i| values[first + i * step] = weights[i]);
        }
    }
}
