// SPDX-License-Identifier: Apache-2.0

//! Memory-bandwidth-bound matrix products for small batches, and attention and activations beside
//! them.
//!
//! A matrix `[in, out]` is packed in panels of [`NR`] outputs, so that a product reads memory
//! sequentially. Each output is one chain of fused multiply-adds in the order of the inputs. Its
//! bits depend on the matrix and the row only, not on instruction set, number of threads, or number
//! of rows.

use super::blocks::{
    BLOCK_INPUTS, Bf16, BlockQ4, BlockQ4K, BlockQ5K, BlockQ6K, BlockQ8, F16, F32, Factors,
    FifthBits, FullScales, HighPairs, NR, Nibbles, PartQ6, SHORT_BLOCK_INPUTS, SuperBlock,
    SuperQ4K, SuperQ5K, SuperQ6K,
};
use super::halves::Stored;
use pol_primitives::model::Activation;
use std::{arch::x86_64::*, borrow::Borrow};

/// Rows of the micro-kernel over a panel.
pub(super) const MR: usize = 4;
/// Rows of the AVX-512 micro-kernel for many rows: as many sums as registers hold.
pub(super) const MR_WIDE_AVX512: usize = 12;
/// Rows of the AVX2 micro-kernel for many rows.
pub(super) const MR_WIDE_AVX2: usize = 6;
/// Software prefetch distance in bytes. It crosses page boundaries, which hardware prefetchers do
/// not.
const PREFETCH_DISTANCE: usize = 4_096;

/// Instruction sets with kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isa {
    Avx2,
    Avx512,
}

impl Isa {
    /// Returns the best instruction set of this processor.
    pub(super) fn detect() -> Option<Self> {
        if is_x86_feature_detected!("avx512f") {
            return Some(Self::Avx512);
        }
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        avx2.then_some(Self::Avx2)
    }

    /// Returns the number of rows of [`multiply_wide`].
    pub(super) fn wide(self) -> usize {
        match self {
            Self::Avx512 => MR_WIDE_AVX512,
            Self::Avx2 => MR_WIDE_AVX2,
        }
    }
}

/// Panel in one of the formats.
#[derive(Clone, Copy)]
pub(super) enum Panel<'a> {
    F32(&'a [F32]),
    Bf16(&'a [Bf16]),
    F16(&'a [F16]),
    BlockQ4(&'a [BlockQ4]),
    BlockQ8(&'a [BlockQ8]),
    BlockQ4K(&'a [BlockQ4K]),
    BlockQ5K(&'a [BlockQ5K]),
    BlockQ6K(&'a [BlockQ6K]),
    SuperQ4K(&'a [SuperQ4K]),
    SuperQ5K(&'a [SuperQ5K]),
    SuperQ6K(&'a [SuperQ6K]),
}

impl Panel<'_> {
    /// Decodes all weights to float32, for products with many rows. Leaves `out` empty if they are
    /// float32 already.
    pub(super) fn decode(self, isa: Isa, out: &mut Vec<F32>) {
        out.clear();
        // SAFETY: only `detect` creates an `Isa`, after it has seen that the processor has its
        // instructions.
        unsafe {
            match (isa, self) {
                (_, Panel::F32(_)) => {}
                (Isa::Avx512, Panel::Bf16(panel)) => avx512::half_decoded(panel, out),
                (Isa::Avx512, Panel::F16(panel)) => avx512::float16_decoded(panel, out),
                (Isa::Avx512, Panel::BlockQ4(panel)) => avx512::nibbles_decoded(panel, out),
                (Isa::Avx512, Panel::BlockQ8(panel)) => avx512::bytes_decoded(panel, out),
                (Isa::Avx512, Panel::BlockQ4K(panel)) => avx512::q4_k_decoded(panel, out),
                (Isa::Avx512, Panel::BlockQ5K(panel)) => avx512::q5_k_decoded(panel, out),
                (Isa::Avx512, Panel::BlockQ6K(panel)) => avx512::q6_k_decoded(panel, out),
                (Isa::Avx512, Panel::SuperQ4K(panel)) => avx512::super_q4_k_decoded(panel, out),
                (Isa::Avx512, Panel::SuperQ5K(panel)) => avx512::super_q5_k_decoded(panel, out),
                (Isa::Avx512, Panel::SuperQ6K(panel)) => avx512::super_q6_k_decoded(panel, out),
                (Isa::Avx2, Panel::Bf16(panel)) => avx2::half_decoded(panel, out),
                (Isa::Avx2, Panel::F16(panel)) => avx2::float16_decoded(panel, out),
                (Isa::Avx2, Panel::BlockQ4(panel)) => avx2::nibbles_decoded(panel, out),
                (Isa::Avx2, Panel::BlockQ8(panel)) => avx2::bytes_decoded(panel, out),
                (Isa::Avx2, Panel::BlockQ4K(panel)) => avx2::q4_k_decoded(panel, out),
                (Isa::Avx2, Panel::BlockQ5K(panel)) => avx2::q5_k_decoded(panel, out),
                (Isa::Avx2, Panel::BlockQ6K(panel)) => avx2::q6_k_decoded(panel, out),
                (Isa::Avx2, Panel::SuperQ4K(panel)) => avx2::super_q4_k_decoded(panel, out),
                (Isa::Avx2, Panel::SuperQ5K(panel)) => avx2::super_q5_k_decoded(panel, out),
                (Isa::Avx2, Panel::SuperQ6K(panel)) => avx2::super_q6_k_decoded(panel, out),
            }
        }
    }
}

/// Computes `out[row] = Σ_i x[i][row] · weight[i]` over the inputs of `panel`, of which `x` has as
/// many.
pub(super) fn multiply<const R: usize>(
    isa: Isa,
    x: &[[f32; R]],
    panel: Panel<'_>,
    out: &mut [F32; R],
) {
    // SAFETY: only `detect` creates an `Isa`, after it has seen that the processor has its
    // instructions.
    unsafe {
        match (isa, panel) {
            (Isa::Avx512, Panel::F32(panel)) => avx512::full(x, panel, out),
            (Isa::Avx512, Panel::Bf16(panel)) => avx512::half(x, panel, out),
            (Isa::Avx512, Panel::F16(panel)) => avx512::float16(x, panel, out),
            (Isa::Avx512, Panel::BlockQ4(panel)) => avx512::nibbles(x, panel, out),
            (Isa::Avx512, Panel::BlockQ8(panel)) => avx512::bytes(x, panel, out),
            (Isa::Avx512, Panel::BlockQ4K(panel)) => avx512::q4_k(x, panel, out),
            (Isa::Avx512, Panel::BlockQ5K(panel)) => avx512::q5_k(x, panel, out),
            (Isa::Avx512, Panel::BlockQ6K(panel)) => avx512::q6_k(x, panel, out),
            (Isa::Avx512, Panel::SuperQ4K(panel)) => avx512::super_q4_k(x, panel, out),
            (Isa::Avx512, Panel::SuperQ5K(panel)) => avx512::super_q5_k(x, panel, out),
            (Isa::Avx512, Panel::SuperQ6K(panel)) => avx512::super_q6_k(x, panel, out),
            (Isa::Avx2, Panel::F32(panel)) => avx2::full(x, panel, out),
            (Isa::Avx2, Panel::Bf16(panel)) => avx2::half(x, panel, out),
            (Isa::Avx2, Panel::F16(panel)) => avx2::float16(x, panel, out),
            (Isa::Avx2, Panel::BlockQ4(panel)) => avx2::nibbles(x, panel, out),
            (Isa::Avx2, Panel::BlockQ8(panel)) => avx2::bytes(x, panel, out),
            (Isa::Avx2, Panel::BlockQ4K(panel)) => avx2::q4_k(x, panel, out),
            (Isa::Avx2, Panel::BlockQ5K(panel)) => avx2::q5_k(x, panel, out),
            (Isa::Avx2, Panel::BlockQ6K(panel)) => avx2::q6_k(x, panel, out),
            (Isa::Avx2, Panel::SuperQ4K(panel)) => avx2::super_q4_k(x, panel, out),
            (Isa::Avx2, Panel::SuperQ5K(panel)) => avx2::super_q5_k(x, panel, out),
            (Isa::Avx2, Panel::SuperQ6K(panel)) => avx2::super_q6_k(x, panel, out),
        }
    }
}

/// Computes the same for [`Isa::wide`] rows, strip by strip of the panel, which must lie in a near
/// cache.
pub(super) fn multiply_wide(isa: Isa, x: &[f32], panel: &[F32], out: &mut [F32]) {
    // SAFETY: as above.
    unsafe {
        match isa {
            Isa::Avx512 => {
                if let Some(out) = out.as_chunks_mut::<MR_WIDE_AVX512>().0.first_mut() {
                    avx512::wide(x.as_chunks().0, panel, out);
                }
            }
            Isa::Avx2 => {
                if let Some(out) = out.as_chunks_mut::<MR_WIDE_AVX2>().0.first_mut() {
                    avx2::wide(x.as_chunks().0, panel, out);
                }
            }
        }
    }
}

/// Scaling of attention scores.
#[derive(Clone, Copy)]
pub(super) struct ScoreScaling {
    /// Factor of dot products.
    pub(super) scale: f32,
    /// Bound of the scaled products.
    pub(super) cap: Option<f32>,
}

/// Reusable memory of attention.
#[derive(Default)]
pub(super) struct AttentionMemory {
    /// Scores of tokens, then their weights.
    weights: Vec<f32>,
    /// Keys or values that are kept as float16.
    widened: Vec<f32>,
}

/// Computes the attention of one query, `softmax(scale · query · keysᵀ) · values`, with bounded
/// scores if there is a bound. `seen` gives keys and values in parts. All heads have `query.len()`
/// values.
pub(super) fn attend<'a>(
    isa: Isa,
    query: &[f32],
    seen: impl Iterator<Item = (Stored<'a>, Stored<'a>)> + Clone,
    scaling: ScoreScaling,
    memory: &mut AttentionMemory,
    out: &mut [f32],
) {
    // SAFETY: as above.
    unsafe {
        match isa {
            Isa::Avx512 => avx512::attend(query, seen, scaling, memory, out),
            Isa::Avx2 => avx2::attend(query, seen, scaling, memory, out),
        }
    }
}

#[inline(always)]
fn attend_body<'a>(
    query: &[f32],
    seen: impl Iterator<Item = (Stored<'a>, Stored<'a>)> + Clone,
    scaling: ScoreScaling,
    memory: &mut AttentionMemory,
    out: &mut [f32],
) {
    let size = query.len();
    let AttentionMemory { weights, widened } = memory;
    weights.clear();
    for (keys, _) in seen.clone() {
        let keys = keys.widened(widened);
        weights.extend(keys.chunks_exact(size).map(|key| dot(query, key) * scaling.scale));
    }
    if let Some(cap) = scaling.cap {
        weights.iter_mut().for_each(|weight| *weight = soft_cap(*weight, cap));
    }
    let highest = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for weight in weights.iter_mut() {
        *weight = exp(*weight - highest);
        sum += *weight;
    }
    out.fill(0.0);
    let mut left = weights.as_slice();
    for (_, values) in seen {
        let values = values.widened(widened);
        let (weights, after) = left.split_at(values.len() / size);
        for (&weight, value) in weights.iter().zip(values.chunks_exact(size)) {
            for (out, value) in out.iter_mut().zip(value) {
                *out += weight * value;
            }
        }
        left = after;
    }
    for out in out {
        *out /= sum;
    }
}

/// Applies the activation to each value of `x`, and multiplies by `gated` if given.
pub(super) fn activate(
    isa: Isa,
    activation: Activation,
    x: &[f32],
    gated: Option<&[f32]>,
    out: &mut [f32],
) {
    // SAFETY: as above.
    unsafe {
        match isa {
            Isa::Avx512 => avx512::activate(activation, x, gated, out),
            Isa::Avx2 => avx2::activate(activation, x, gated, out),
        }
    }
}

#[inline(always)]
fn activate_body(activation: Activation, x: &[f32], gated: Option<&[f32]>, out: &mut [f32]) {
    match activation {
        Activation::Silu => each_of(x, out, |x| x / (1.0 + exp(-x))),
        Activation::Relu => each_of(x, out, |x| x.max(0.0)),
        Activation::Gelu => {
            each_of(x, out, |x| 0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2)))
        }
        Activation::GeluTanh => each_of(x, out, |x| {
            // (1 + tanh u) / 2 = 1 / (1 + e^(-2u)).
            let inner = 2.0 * 0.797_884_6 * (x + 0.044_715 * x * x * x);
            x / (1.0 + exp(-inner))
        }),
    }
    if let Some(gated) = gated {
        out.iter_mut().zip(gated).for_each(|(out, gated)| *out *= gated);
    }
}

/// Returns `cap · tanh(x / cap)`, the same bits everywhere.
#[inline(always)]
pub(super) fn soft_cap(x: f32, cap: f32) -> f32 {
    cap * (1.0 - 2.0 / (1.0 + exp(2.0 * x / cap)))
}

#[inline(always)]
fn each_of(x: &[f32], out: &mut [f32], of: impl Fn(f32) -> f32) {
    out.iter_mut().zip(x).for_each(|(out, &x)| *out = of(x));
}

/// Returns a dot product as sixteen partial sums, added in pairs, so that the order of additions is
/// the same for every vector width.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [0.0; 16];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
    }
    sums[0] + rest
}

/// Returns `e^x` with a relative error below 2e-7 and the same bits everywhere. Arguments are
/// clamped to -87 and 88.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// Adding and subtracting this constant rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let k = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    // x = k·ln 2 + r, with ln 2 in two parts.
    let r = x - k * 0.693_359_4 + k * 2.121_944_4e-4;
    let mut sum = 1.0 / 5_040.0;
    for factor in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * r + factor;
    }
    sum * f32::from_bits(((k as i32 + 127) as u32) << 23)
}

/// Adds the products of each input of `$x` and its `$weights` to the sums of each row.
macro_rules! add_products {
    ($x:ident, $vectors:literal, $rows:ident, $sums:ident, |$input:ident| $weights:expr) => {
        for ($input, x) in $x.iter().enumerate() {
            let weights: [_; $vectors] = $weights;
            for row in 0..$rows {
                let x = splat(x[row]);
                for vector in 0..$vectors {
                    $sums[row][vector] = fma(weights[vector], x, $sums[row][vector]);
                }
            }
        }
    };
}

/// Micro-kernel for one format: `$prepare` loads what a block shares, `$load` the weights of each
/// input.
macro_rules! kernel {
    (
        $name:ident, $feature:literal, $vectors:literal, $group:ty, $inputs:expr, $prepare:ident,
        $load:ident
    ) => {
        #[target_feature(enable = $feature)]
        pub(super) fn $name<const R: usize>(x: &[[f32; R]], panel: &[$group], out: &mut [F32; R]) {
            let mut sums = [[zero(); $vectors]; R];
            for (x, group) in x.as_chunks::<{ $inputs }>().0.iter().zip(panel) {
                prefetch(group);
                let shared = $prepare(group);
                add_products!(x, $vectors, R, sums, |input| $load(group, &shared, input));
            }
            for (out, sums) in out.iter_mut().zip(sums) {
                put(out, sums);
            }
        }
    };
    (
        $name:ident, $feature:literal, $vectors:literal, $group:ty, $inputs:expr, $prepare:ident,
        $load:ident, $decoded:ident
    ) => {
        kernel!($name, $feature, $vectors, $group, $inputs, $prepare, $load);

        #[target_feature(enable = $feature)]
        pub(super) fn $decoded(panel: &[$group], out: &mut Vec<F32>) {
            for group in panel {
                let shared = $prepare(group);
                for input in 0..$inputs {
                    let mut weights = [0.0; NR];
                    put(&mut weights, $load(group, &shared, input));
                    out.push(weights);
                }
            }
        }
    };
}

/// Micro-kernel for a format whose blocks have parts of `$inputs` inputs: `$prepare` computes the
/// scales of a part, `$load` the weights of each input.
macro_rules! super_kernel {
    (
        $name:ident, $feature:literal, $vectors:literal, $block:ty, $inputs:expr, $prepare:ident,
        $load:ident, $decoded:ident
    ) => {
        #[target_feature(enable = $feature)]
        pub(super) fn $name<const R: usize>(x: &[[f32; R]], panel: &[$block], out: &mut [F32; R]) {
            let mut sums = [[zero(); $vectors]; R];
            let mut left = x.as_chunks::<{ $inputs }>().0.iter();
            for block in panel {
                for (part, x) in block.parts.iter().zip(&mut left) {
                    prefetch(part);
                    let shared = $prepare(block, part);
                    add_products!(x, $vectors, R, sums, |input| $load(part, &shared, input));
                }
            }
            for (out, sums) in out.iter_mut().zip(sums) {
                put(out, sums);
            }
        }

        #[target_feature(enable = $feature)]
        pub(super) fn $decoded(panel: &[$block], out: &mut Vec<F32>) {
            for block in panel {
                for part in &block.parts {
                    let shared = $prepare(block, part);
                    for input in 0..$inputs {
                        let mut weights = [0.0; NR];
                        put(&mut weights, $load(part, &shared, input));
                        out.push(weights);
                    }
                }
            }
        }
    };
}

/// Micro-kernel for many rows: two vectors of sums per row at a time.
macro_rules! wide {
    ($feature:literal, $rows:expr, $lanes:literal, $get:ident, $store:ident) => {
        #[target_feature(enable = $feature)]
        pub(super) fn wide(x: &[[f32; $rows]], panel: &[F32], out: &mut [F32; $rows]) {
            for strip in 0..NR / (2 * $lanes) {
                let mut sums = [[zero(); 2]; $rows];
                for (x, group) in x.iter().zip(panel) {
                    let parts = group.as_chunks::<$lanes>().0;
                    // SAFETY: a part is as long as a vector.
                    let weights = unsafe {
                        [$get(parts[2 * strip].as_ptr()), $get(parts[2 * strip + 1].as_ptr())]
                    };
                    for row in 0..$rows {
                        let x = splat(x[row]);
                        sums[row][0] = fma(weights[0], x, sums[row][0]);
                        sums[row][1] = fma(weights[1], x, sums[row][1]);
                    }
                }
                for (out, sums) in out.iter_mut().zip(sums) {
                    let parts = out.as_chunks_mut::<$lanes>().0;
                    for (vector, sum) in sums.into_iter().enumerate() {
                        // SAFETY: as above.
                        unsafe { $store(parts[2 * strip + vector].as_mut_ptr(), sum) }
                    }
                }
            }
        }
    };
}

/// Prefetches the memory [`PREFETCH_DISTANCE`] after `group`.
#[inline(always)]
fn prefetch<G>(group: &G) {
    let ahead = std::ptr::from_ref(group).cast::<i8>().wrapping_add(PREFETCH_DISTANCE);
    for line in (0..size_of::<G>()).step_by(64) {
        // SAFETY: a hint, which accesses nothing; every x86-64 processor has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(line)) }
    }
}

/// Builds an array of `$of` for each index. A closure would lack the target feature and might not
/// be inlined.
macro_rules! each {
    ($zero:expr, $i:ident, $of:expr) => {{
        let mut all = $zero;
        let mut $i = 0;
        while $i < all.len() {
            all[$i] = $of;
            $i += 1;
        }
        all
    }};
}

mod avx512 {
    use super::*;

    wide!("avx512f", MR_WIDE_AVX512, 16, _mm512_loadu_ps, _mm512_storeu_ps);
    kernel!(full, "avx512f", 4, F32, 1, nothing_full, load_full);
    kernel!(half, "avx512f", 4, Bf16, 1, nothing_half, load_half, half_decoded);
    kernel!(float16, "avx512f", 4, F16, 1, nothing_half, load_float16, float16_decoded);
    kernel!(
        nibbles,
        "avx512f",
        4,
        BlockQ4,
        BLOCK_INPUTS,
        scales_nibbles,
        load_nibbles,
        nibbles_decoded
    );
    kernel!(bytes, "avx512f", 4, BlockQ8, BLOCK_INPUTS, scales_bytes, load_bytes, bytes_decoded);
    kernel!(q4_k, "avx512f", 4, BlockQ4K, BLOCK_INPUTS, scales_full, load_nibbles, q4_k_decoded);
    kernel!(q5_k, "avx512f", 4, BlockQ5K, BLOCK_INPUTS, scales_full, load_fifths, q5_k_decoded);
    kernel!(
        q6_k,
        "avx512f",
        4,
        BlockQ6K,
        SHORT_BLOCK_INPUTS,
        scale_full,
        load_sixths,
        q6_k_decoded
    );
    super_kernel!(
        super_q4_k,
        "avx512f",
        4,
        SuperQ4K,
        BLOCK_INPUTS,
        scales_super,
        load_nibbles,
        super_q4_k_decoded
    );
    super_kernel!(
        super_q5_k,
        "avx512f",
        4,
        SuperQ5K,
        BLOCK_INPUTS,
        scales_super,
        load_fifths,
        super_q5_k_decoded
    );
    super_kernel!(
        super_q6_k,
        "avx512f",
        4,
        SuperQ6K,
        SHORT_BLOCK_INPUTS,
        scale_super,
        load_sixths,
        super_q6_k_decoded
    );

    #[target_feature(enable = "avx512f")]
    pub(super) fn activate(
        activation: Activation,
        x: &[f32],
        gated: Option<&[f32]>,
        out: &mut [f32],
    ) {
        activate_body(activation, x, gated, out);
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn attend<'a>(
        query: &[f32],
        seen: impl Iterator<Item = (Stored<'a>, Stored<'a>)> + Clone,
        scaling: ScoreScaling,
        memory: &mut AttentionMemory,
        out: &mut [f32],
    ) {
        attend_body(query, seen, scaling, memory, out);
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn zero() -> __m512 {
        _mm512_setzero_ps()
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn splat(x: f32) -> __m512 {
        _mm512_set1_ps(x)
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn put(out: &mut F32, vectors: [__m512; 4]) {
        for (out, vector) in out.as_chunks_mut::<16>().0.iter_mut().zip(vectors) {
            // SAFETY: as many floats as the vector has.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), vector) }
        }
    }

    #[inline(always)]
    fn nothing_full(_: &F32) {}

    #[inline(always)]
    fn nothing_half(_: &[u16; NR]) {}

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_full(group: &F32, _: &(), _: usize) -> [__m512; 4] {
        let parts = group.as_chunks::<16>().0;
        // SAFETY: each part is 64 bytes, and there are 4.
        each!([zero(); 4], i, unsafe { _mm512_loadu_ps(parts[i].as_ptr()) })
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_half(group: &Bf16, _: &(), _: usize) -> [__m512; 4] {
        let parts = group.as_chunks::<16>().0;
        each!([zero(); 4], i, {
            // SAFETY: each part is 32 bytes, and there are 4.
            let bits = unsafe { _mm256_loadu_si256(parts[i].as_ptr().cast()) };
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
        })
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn widen(halves: &[u16; NR]) -> [__m512; 4] {
        let parts = halves.as_chunks::<16>().0;
        // SAFETY: each part is 32 bytes, and there are 4.
        each!(
            [zero(); 4],
            i,
            _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(parts[i].as_ptr().cast()) })
        )
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_float16(group: &F16, _: &(), _: usize) -> [__m512; 4] {
        widen(group)
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn scales_nibbles(group: &BlockQ4) -> ([__m512; 4], [__m512; 4]) {
        (widen(&group.scale), widen(&group.offset))
    }

    /// Unpacks levels of 4 bits.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn unpack(levels: &[u8; NR / 2]) -> [__m512i; 4] {
        let parts = levels.as_chunks::<16>().0;
        // SAFETY: each part is 16 bytes, and there are 2.
        let pairs = each!(
            [_mm512_setzero_si512(); 2],
            i,
            _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(parts[i].as_ptr().cast()) })
        );
        let mask = _mm512_set1_epi32(15);
        [
            _mm512_and_si512(pairs[0], mask),
            _mm512_and_si512(pairs[1], mask),
            _mm512_srli_epi32::<4>(pairs[0]),
            _mm512_srli_epi32::<4>(pairs[1]),
        ]
    }

    /// Returns `scale · level + offset`.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn scaled(levels: [__m512i; 4], (scale, offset): &([__m512; 4], [__m512; 4])) -> [__m512; 4] {
        // Two roundings, as where the weights came from: not one fused operation.
        each!(
            [zero(); 4],
            i,
            _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(levels[i]), scale[i]), offset[i])
        )
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_nibbles<G: Nibbles>(
        group: &G,
        scales: &([__m512; 4], [__m512; 4]),
        input: usize,
    ) -> [__m512; 4] {
        scaled(unpack(group.nibbles(input)), scales)
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn scales_full<G: FullScales>(group: &G) -> ([__m512; 4], [__m512; 4]) {
        (load_full(group.scales(), &(), 0), load_full(group.offsets(), &(), 0))
    }

    /// Returns the scales and offsets of a part.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn scales_super<P: Factors>(block: &SuperBlock<P>, part: &P) -> ([__m512; 4], [__m512; 4]) {
        let [scales, offsets] = part.factors();
        (products::<false>(&block.scale, scales), products::<false>(&block.offset, offsets))
    }

    /// Returns the products of float16 and integers, with signs or without, which are exact.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn products<const SIGNED: bool>(halves: &[u16; NR], integers: &[u8; NR]) -> [__m512; 4] {
        let (halves, parts) = (widen(halves), integers.as_chunks::<16>().0);
        each!([zero(); 4], i, {
            // SAFETY: each part is 16 bytes, and there are 4.
            let bytes = unsafe { _mm_loadu_si128(parts[i].as_ptr().cast()) };
            let wide =
                if SIGNED { _mm512_cvtepi8_epi32(bytes) } else { _mm512_cvtepu8_epi32(bytes) };
            _mm512_mul_ps(_mm512_cvtepi32_ps(wide), halves[i])
        })
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_fifths<G: FifthBits>(
        group: &G,
        scales: &([__m512; 4], [__m512; 4]),
        input: usize,
    ) -> [__m512; 4] {
        let (low, high, fifth) =
            (unpack(group.nibbles(input)), group.fifth_bits(input), _mm512_set1_epi32(16));
        let levels =
            each!(low, i, _mm512_mask_or_epi32(low[i], (high >> (16 * i)) as u16, low[i], fifth));
        scaled(levels, scales)
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn scale_full(group: &BlockQ6K) -> [__m512; 4] {
        load_full(&group.scale, &(), 0)
    }

    /// Returns the scales of a part.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn scale_super(block: &SuperQ6K, part: &PartQ6) -> [__m512; 4] {
        products::<true>(&block.scale, bytemuck::cast_ref(&part.factor))
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_sixths<G: HighPairs>(group: &G, scale: &[__m512; 4], input: usize) -> [__m512; 4] {
        let low = unpack(group.nibbles(input));
        // SAFETY: 16 bytes.
        let bytes = unsafe { _mm_loadu_si128(group.high_pairs(input).as_ptr().cast()) };
        let high = _mm512_slli_epi32::<4>(_mm512_cvtepu8_epi32(bytes));
        let (mask, zero_level) = (_mm512_set1_epi32(48), _mm512_set1_epi32(32));
        each!([zero(); 4], i, {
            let high = _mm512_srlv_epi32(high, _mm512_set1_epi32(2 * i as i32));
            let level = _mm512_or_si512(low[i], _mm512_and_si512(high, mask));
            _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(level, zero_level)), scale[i])
        })
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn scales_bytes(group: &BlockQ8) -> [__m512; 4] {
        widen(&group.scale)
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_bytes(group: &BlockQ8, scale: &[__m512; 4], input: usize) -> [__m512; 4] {
        let parts = group.levels[input].as_chunks::<16>().0;
        each!([zero(); 4], i, {
            // SAFETY: each part is 16 bytes, and there are 4.
            let levels = _mm512_cvtepi8_epi32(unsafe { _mm_loadu_si128(parts[i].as_ptr().cast()) });
            _mm512_mul_ps(_mm512_cvtepi32_ps(levels), scale[i])
        })
    }
}

mod avx2 {
    use super::*;

    wide!("avx2,fma,f16c", MR_WIDE_AVX2, 8, _mm256_loadu_ps, _mm256_storeu_ps);
    kernel!(full, "avx2,fma,f16c", 8, F32, 1, nothing_full, load_full);
    kernel!(half, "avx2,fma,f16c", 8, Bf16, 1, nothing_half, load_half, half_decoded);
    kernel!(float16, "avx2,fma,f16c", 8, F16, 1, nothing_half, load_float16, float16_decoded);
    kernel!(
        nibbles,
        "avx2,fma,f16c",
        8,
        BlockQ4,
        BLOCK_INPUTS,
        nothing_nibbles,
        load_nibbles,
        nibbles_decoded
    );
    kernel!(
        bytes,
        "avx2,fma,f16c",
        8,
        BlockQ8,
        BLOCK_INPUTS,
        nothing_bytes,
        load_bytes,
        bytes_decoded
    );
    kernel!(
        q4_k,
        "avx2,fma,f16c",
        8,
        BlockQ4K,
        BLOCK_INPUTS,
        scales_full,
        load_affine,
        q4_k_decoded
    );
    kernel!(
        q5_k,
        "avx2,fma,f16c",
        8,
        BlockQ5K,
        BLOCK_INPUTS,
        scales_full,
        load_fifths,
        q5_k_decoded
    );
    kernel!(
        q6_k,
        "avx2,fma,f16c",
        8,
        BlockQ6K,
        SHORT_BLOCK_INPUTS,
        scale_full,
        load_sixths,
        q6_k_decoded
    );
    super_kernel!(
        super_q4_k,
        "avx2,fma,f16c",
        8,
        SuperQ4K,
        BLOCK_INPUTS,
        scales_super,
        load_affine,
        super_q4_k_decoded
    );
    super_kernel!(
        super_q5_k,
        "avx2,fma,f16c",
        8,
        SuperQ5K,
        BLOCK_INPUTS,
        scales_super,
        load_fifths,
        super_q5_k_decoded
    );
    super_kernel!(
        super_q6_k,
        "avx2,fma,f16c",
        8,
        SuperQ6K,
        SHORT_BLOCK_INPUTS,
        scale_super,
        load_sixths,
        super_q6_k_decoded
    );

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn activate(
        activation: Activation,
        x: &[f32],
        gated: Option<&[f32]>,
        out: &mut [f32],
    ) {
        activate_body(activation, x, gated, out);
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn attend<'a>(
        query: &[f32],
        seen: impl Iterator<Item = (Stored<'a>, Stored<'a>)> + Clone,
        scaling: ScoreScaling,
        memory: &mut AttentionMemory,
        out: &mut [f32],
    ) {
        attend_body(query, seen, scaling, memory, out);
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn zero() -> __m256 {
        _mm256_setzero_ps()
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn splat(x: f32) -> __m256 {
        _mm256_set1_ps(x)
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn put(out: &mut F32, vectors: [__m256; 8]) {
        for (out, vector) in out.as_chunks_mut::<8>().0.iter_mut().zip(vectors) {
            // SAFETY: as many floats as the vector has.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), vector) }
        }
    }

    #[inline(always)]
    fn nothing_full(_: &F32) {}

    #[inline(always)]
    fn nothing_half(_: &[u16; NR]) {}

    // Registers are too few to keep the scales in: they are read again from the nearest cache.
    #[inline(always)]
    fn nothing_nibbles(_: &BlockQ4) {}

    #[inline(always)]
    fn nothing_bytes(_: &BlockQ8) {}

    #[inline(always)]
    fn scales_full<G: FullScales>(group: &G) -> (&F32, &F32) {
        (group.scales(), group.offsets())
    }

    #[inline(always)]
    fn scale_full(group: &BlockQ6K) -> &F32 {
        &group.scale
    }

    /// Returns the scales and offsets of a part, which stay in the nearest cache.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn scales_super<P: Factors>(block: &SuperBlock<P>, part: &P) -> (F32, F32) {
        let [scales, offsets] = part.factors();
        (products::<false>(&block.scale, scales), products::<false>(&block.offset, offsets))
    }

    /// Returns the products of float16 and integers, with signs or without, which are exact.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn products<const SIGNED: bool>(halves: &[u16; NR], integers: &[u8; NR]) -> F32 {
        let (halves, integers) = (halves.as_chunks::<8>().0, integers.as_chunks::<8>().0);
        let mut out = [0.0; NR];
        let vectors = each!([zero(); 8], i, {
            // SAFETY: each part is 8 bytes, and there are 8.
            let bytes = unsafe { _mm_loadl_epi64(integers[i].as_ptr().cast()) };
            let wide =
                if SIGNED { _mm256_cvtepi8_epi32(bytes) } else { _mm256_cvtepu8_epi32(bytes) };
            _mm256_mul_ps(_mm256_cvtepi32_ps(wide), widen(&halves[i]))
        });
        put(&mut out, vectors);
        out
    }

    /// Returns the scales of a part.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn scale_super(block: &SuperQ6K, part: &PartQ6) -> F32 {
        products::<true>(&block.scale, bytemuck::cast_ref(&part.factor))
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn load_full(group: &F32, _: &(), _: usize) -> [__m256; 8] {
        let parts = group.as_chunks::<8>().0;
        // SAFETY: each part is 32 bytes, and there are 8.
        each!([zero(); 8], i, unsafe { _mm256_loadu_ps(parts[i].as_ptr()) })
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn load_half(group: &Bf16, _: &(), _: usize) -> [__m256; 8] {
        let parts = group.as_chunks::<8>().0;
        each!([zero(); 8], i, {
            // SAFETY: each part is 16 bytes, and there are 8.
            let bits = unsafe { _mm_loadu_si128(parts[i].as_ptr().cast()) };
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits)))
        })
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn widen(halves: &[u16; 8]) -> __m256 {
        // SAFETY: 8 of them are 16 bytes.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(halves.as_ptr().cast()) })
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn load_float16(group: &F16, _: &(), _: usize) -> [__m256; 8] {
        let parts = group.as_chunks::<8>().0;
        each!([zero(); 8], i, widen(&parts[i]))
    }

    /// Unpacks vector `i` of levels of 4 bits.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn unpack(levels: &[u8; NR / 2], i: usize) -> __m256i {
        let parts = levels.as_chunks::<8>().0;
        // SAFETY: each part is 8 bytes, and there are 4.
        let pairs = _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(parts[i % 4].as_ptr().cast()) });
        if i < 4 {
            _mm256_and_si256(pairs, _mm256_set1_epi32(15))
        } else {
            _mm256_srli_epi32::<4>(pairs)
        }
    }

    /// Returns `scale · level + offset`.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn scaled(levels: __m256i, scale: __m256, offset: __m256) -> __m256 {
        _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(levels), scale), offset)
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn load_nibbles(group: &BlockQ4, _: &(), input: usize) -> [__m256; 8] {
        let (scale, offset) = (group.scale.as_chunks::<8>().0, group.offset.as_chunks::<8>().0);
        each!([zero(); 8], i, {
            scaled(unpack(&group.levels[input], i), widen(&scale[i]), widen(&offset[i]))
        })
    }

    /// Returns `scale · level + offset` with levels of 4 bits.
    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn load_affine<G: Nibbles, S: Borrow<F32>>(
        group: &G,
        (scale, offset): &(S, S),
        input: usize,
    ) -> [__m256; 8] {
        let scale = load_full(scale.borrow(), &(), 0);
        let offset = load_full(offset.borrow(), &(), 0);
        each!([zero(); 8], i, scaled(unpack(group.nibbles(input), i), scale[i], offset[i]))
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn load_fifths<G: FifthBits, S: Borrow<F32>>(
        group: &G,
        (scale, offset): &(S, S),
        input: usize,
    ) -> [__m256; 8] {
        let scale = load_full(scale.borrow(), &(), 0);
        let offset = load_full(offset.borrow(), &(), 0);
        let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        each!([zero(); 8], i, {
            let high = _mm256_set1_epi32((group.fifth_bits(input) >> (8 * i)) as i32);
            let is_set = _mm256_cmpeq_epi32(_mm256_and_si256(high, bits), bits);
            let high = _mm256_and_si256(is_set, _mm256_set1_epi32(16));
            scaled(_mm256_or_si256(unpack(group.nibbles(input), i), high), scale[i], offset[i])
        })
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn load_sixths<G: HighPairs, S: Borrow<F32>>(
        group: &G,
        scale: &S,
        input: usize,
    ) -> [__m256; 8] {
        let scale = load_full(scale.borrow(), &(), 0);
        let parts = group.high_pairs(input).as_chunks::<8>().0;
        let (mask, zero_level) = (_mm256_set1_epi32(48), _mm256_set1_epi32(32));
        each!([zero(); 8], i, {
            // SAFETY: each part is 8 bytes, and there are 2.
            let bytes = unsafe { _mm_loadl_epi64(parts[i % 2].as_ptr().cast()) };
            let high = _mm256_slli_epi32::<4>(_mm256_cvtepu8_epi32(bytes));
            let high = _mm256_srlv_epi32(high, _mm256_set1_epi32(2 * (i / 2) as i32));
            let low = unpack(group.nibbles(input), i);
            let level = _mm256_or_si256(low, _mm256_and_si256(high, mask));
            _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(level, zero_level)), scale[i])
        })
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    #[inline]
    fn load_bytes(group: &BlockQ8, _: &(), input: usize) -> [__m256; 8] {
        let (parts, scale) =
            (group.levels[input].as_chunks::<8>().0, group.scale.as_chunks::<8>().0);
        each!([zero(); 8], i, {
            // SAFETY: each part is 8 bytes, and there are 8.
            let levels = _mm256_cvtepi8_epi32(unsafe { _mm_loadl_epi64(parts[i].as_ptr().cast()) });
            _mm256_mul_ps(_mm256_cvtepi32_ps(levels), widen(&scale[i]))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::halves::round_to_halves;
    use half::f16;
    use proptest::prelude::*;

    fn full<'a>((keys, values): (&'a [f32], &'a [f32])) -> (Stored<'a>, Stored<'a>) {
        (Stored::F32(keys), Stored::F32(values))
    }

    proptest! {
        #[test]
        fn attention_to_float16_is_that_to_the_same_numbers(
            size in 1usize..40,
            len in 1usize..20,
            seed: u32,
        ) {
            let scaling = ScoreScaling { scale: 0.7, cap: None };
            let Some(isa) = Isa::detect() else { return Ok(()) };
            let value = |i: usize| {
                let bits = (i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8;
                bits as f32 / (1 << 24) as f32 - 0.5
            };
            let query: Vec<f32> = (0..size).map(value).collect();
            let halves = [100, 5_000].map(|start| {
                let numbers: Vec<f32> = (start..start + size * len).map(value).collect();
                let mut halves = vec![f16::ZERO; numbers.len()];
                round_to_halves(&numbers, &mut halves);
                halves
            });
            let [keys, values] = halves.each_ref().map(|halves| {
                halves.iter().map(|half| half.to_f32()).collect::<Vec<f32>>()
            });
            let memory = &mut AttentionMemory::default();
            let mut expected = vec![f32::NAN; size];
            let whole = std::iter::once((&keys[..], &values[..])).map(full);
            attend(isa, &query, whole, scaling, memory, &mut expected);
            let [keys, values] = &halves;
            let parts = keys.chunks(3 * size).zip(values.chunks(3 * size));
            let parts = parts.map(|(keys, values)| (Stored::F16(keys), Stored::F16(values)));
            let mut out = vec![f32::NAN; size];
            attend(isa, &query, parts, scaling, memory, &mut out);
            prop_assert_eq!(out, expected);
        }

        #[test]
        fn the_exponential_is_close(x in -80f32..80.0) {
            let exact = f64::from(x).exp();
            prop_assert!((f64::from(exp(x)) / exact - 1.0).abs() < 2e-7);
        }

        #[test]
        fn attention_is_a_weighted_mean(
            size in 1usize..40,
            len in 1usize..20,
            seed: u32,
            cap in proptest::option::of(0.1f32..9.0),
        ) {
            let scaling = ScoreScaling { scale: 0.7, cap };
            let Some(isa) = Isa::detect() else { return Ok(()) };
            let value = |i: usize| {
                let bits = (i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8;
                bits as f32 / (1 << 24) as f32 - 0.5
            };
            let part = |at: usize, len: usize| (at..at + len).map(value).collect::<Vec<f32>>();
            let (query, keys) = (part(0, size), part(100, size * len));
            let values = part(5_000, size * len);
            let mut out = vec![f32::NAN; size];
            let memory = &mut AttentionMemory::default();
            let whole = std::iter::once((&keys[..], &values[..])).map(full);
            attend(isa, &query, whole.clone(), scaling, memory, &mut out);
            // Parts change no bit.
            let parts = keys.chunks(3 * size).zip(values.chunks(3 * size)).map(full);
            let mut in_parts = vec![f32::NAN; size];
            attend(isa, &query, parts, scaling, memory, &mut in_parts);
            prop_assert_eq!(&out, &in_parts);
            let dot = |key: &[f32]| -> f64 {
                key.iter().zip(&query).map(|(a, b)| f64::from(a * b)).sum()
            };
            let bounded = |score: f64| {
                cap.map(f64::from).map_or(score, |cap| cap * (score / cap).tanh())
            };
            let weights: Vec<f64> =
                keys.chunks(size).map(|key| bounded(0.7 * dot(key)).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for (i, out) in out.iter().enumerate() {
                let value = |at: usize| f64::from(values[at * size + i]);
                let part = |(at, weight): (usize, &f64)| weight / sum * value(at);
                let exact: f64 = weights.iter().enumerate().map(part).sum();
                prop_assert!((f64::from(*out) - exact).abs() < 1e-5);
            }
            let narrow = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            if narrow {
                let mut other = vec![f32::NAN; size];
                attend(Isa::Avx2, &query, whole, scaling, memory, &mut other);
                prop_assert_eq!(out, other);
            }
        }
    }
}
