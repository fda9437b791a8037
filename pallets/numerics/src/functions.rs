// SPDX-License-Identifier: Apache-2.0

//! Elementary functions of one number, each a fixed sequence of operations.
//!
//! Polynomials are evaluated by Horner's rule in fused multiply-adds. Their coefficients are
//! minimax, each rounded to binary32 before the next was fitted.
//!
//! Functions are always inlined and their loops are plain, so that a loop over them is compiled
//! for the caller's instruction set, and vectorised.

use crate::real::Single;

#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "the compiler runs it, and refuses overflow and wrong places"
)]
const fn bits<const N: usize>(values: [f32; N]) -> [u32; N] {
    let mut all = [0; N];
    let mut i = 0;
    while i < N {
        all[i] = values[i].to_bits();
        i += 1;
    }
    all
}

/// Adding and subtracting this number rounds to an integer: 1.5 · 2^23.
const ROUND: u32 = 0x4b40_0000;
const LOG2_E: u32 = core::f32::consts::LOG2_E.to_bits();
/// The negated logarithm of 2, in two parts.
const LN_2: [u32; 2] = bits([-core::f32::consts::LN_2, 1.904_654_3e-9]);
/// Bounds beyond which `e^x` is zero and infinite.
const EXP_BOUNDS: [u32; 2] = bits([-104.0, 89.0]);
/// `(e^r − 1 − r) / r²` for `|r| ≤ ln 2 / 2`, highest power first.
const EXP: [u32; 5] = [0x3ab5_b4f9, 0x3c09_1797, 0x3d2a_ab46, 0x3e2a_aa52, 0x3f00_0000];

/// The square root of ½.
const ROOT_HALF: u32 = 0x3f35_04f3;
/// The logarithm of 2 in two parts, the first with so few bits that its products are exact.
const LN_2_EXACT: [u32; 2] = bits([0.693_359_4, -2.121_944_4e-4]);
/// `(ln(1 + f) − f + f²/2) / f³` for `√½ ≤ 1 + f ≤ √2`, highest power first.
const LOG: [u32; 9] = [
    0x3d8a_3fd9,
    0xbdef_0715,
    0x3df3_60a4,
    0xbdfe_1384,
    0x3e11_9db9,
    0xbe2a_ae26,
    0x3e4c_d23c,
    0xbe80_0003,
    0x3eaa_aaa4,
];

/// `√(8/π)`, and that times 0.044715, and three times the latter.
const GELU_TANH: [u32; 3] = bits([1.595_769, 0.071_354_814, 0.214_064_44]);
/// Numbers beyond which the derivative of GELU is 0 or 1, and the hyperbolic tangent −1 or 1.
const SATURATED: [u32; 2] = bits([-16.0, 16.0]);
/// `e^(a²/2) · (1 − Φ(a))` for `0 ≤ a`, divided by `t = 1 / (1 + a/4)`, in powers of `t`, highest
/// first.
const MILLS: [u32; 10] = [
    0x3c8a_60fa,
    0xbd84_2ac1,
    0x3d64_dba9,
    0x3cb9_4b5c,
    0x3c91_3a0a,
    0x3dab_bc2c,
    0x3d95_8708,
    0x3dc3_2670,
    0x3dcb_d1e3,
    0x3dcc_47ce,
];
/// `1 / √(2π)`.
const INVERSE_ROOT_TAU: u32 = 0.398_942_3f32.to_bits();
const SIGN: u32 = (-0f32).to_bits();
const QUARTER: u32 = 0.25f32.to_bits();
const HALF: u32 = 0.5f32.to_bits();
const INFINITY: u32 = f32::INFINITY.to_bits();
const LEAST_NORMAL: u32 = f32::MIN_POSITIVE.to_bits();
/// 2^23.
const SUBNORMAL_SCALE: u32 = 8_388_608f32.to_bits();

/// Returns the polynomial of the coefficients, highest power first, by Horner's rule.
#[inline(always)]
#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "places below the length of an array that is not empty"
)]
fn horner<F: Single, const N: usize>(coefficients: &[u32; N], x: F) -> F {
    let mut sum = F::from_bits(coefficients[0]);
    let mut i = 1;
    while i < N {
        sum = sum.fused(x, F::from_bits(coefficients[i]));
        i += 1;
    }
    sum
}

/// Returns the numbers of two encodings.
#[inline(always)]
fn pair<F: Single>([first, second]: [u32; 2]) -> (F, F) {
    (F::from_bits(first), F::from_bits(second))
}

/// Returns `x`, or the bound that it is beyond. NaN stays.
#[inline(always)]
fn clamped<F: Single>(x: F, [low, high]: [u32; 2]) -> F {
    let (low, high) = (F::from_bits(low), F::from_bits(high));
    if x.is_below(low) {
        low
    } else if high.is_below(x) {
        high
    } else {
        x
    }
}

#[inline(always)]
fn is_negative<F: Single>(x: F) -> bool {
    x.is_below(F::ZERO)
}

#[inline(always)]
fn magnitude<F: Single>(x: F) -> F {
    if is_negative(x) { x.negated() } else { x }
}

/// Returns 2 to the power `exponent`, which lies between −126 and 127.
#[inline(always)]
fn power_of_two<F: Single>(exponent: i32) -> F {
    F::from_bits((exponent.wrapping_add(127) as u32).wrapping_shl(23))
}

/// Returns `e^r − 1` and `k`, where `x = k · ln 2 + r`.
#[inline(always)]
fn reduced<F: Single>(x: F) -> (F, i32) {
    let shifted = x.fused(F::from_bits(LOG2_E), F::from_bits(ROUND));
    let whole = shifted.minus(F::from_bits(ROUND));
    let (high, low) = pair(LN_2);
    let r = whole.fused(low, whole.fused(high, x));
    let power = r.times(r).fused(horner(&EXP, r), r);
    (power, shifted.to_bits().wrapping_sub(ROUND) as i32)
}

/// Returns `e^x`.
#[inline(always)]
pub fn exp<F: Single>(x: F) -> F {
    let (power, exponent) = reduced(clamped(x, EXP_BOUNDS));
    let sum = F::ONE.plus(power);
    // Two factors, so that neither overflows and subnormal results are rounded once.
    let exponent = exponent.clamp(-160, 160);
    let half = exponent >> 1;
    sum.times(power_of_two(half)).times(power_of_two(exponent.wrapping_sub(half)))
}

/// Returns the natural logarithm of `x`.
#[inline(always)]
pub fn log<F: Single>(x: F) -> F {
    if is_negative(x) || !(x.is_below(F::from_bits(INFINITY))) {
        // Negative numbers, infinity and NaN.
        return if is_negative(x) { F::from_bits(crate::NAN) } else { x };
    }
    if !F::ZERO.is_below(x) {
        return F::ONE.negated().over(F::ZERO);
    }
    let is_subnormal = x.is_below(F::from_bits(LEAST_NORMAL));
    let scaled = if is_subnormal { x.times(F::from_bits(SUBNORMAL_SCALE)) } else { x };
    let offset = scaled.to_bits().wrapping_add(0x3f80_0000 - ROOT_HALF);
    let bias = if is_subnormal { 150 } else { 127 };
    let exponent = ((offset >> 23) as i32).wrapping_sub(bias);
    let f = F::from_bits((offset & 0x7f_ffff).wrapping_add(ROOT_HALF)).minus(F::ONE);
    // The integer as a number: its bits below those of ROUND.
    let whole = F::from_bits(ROUND.wrapping_add(exponent as u32)).minus(F::from_bits(ROUND));
    let (high, low) = pair(LN_2_EXACT);
    let square = f.times(f);
    let half = F::from_bits(HALF).negated();
    let rest = square.times(f).fused(horner(&LOG, f), square.times(half));
    whole.fused(high, f.plus(whole.fused(low, rest)))
}

/// Returns `1 / √x`.
#[inline(always)]
pub fn reciprocal_root<F: Single>(x: F) -> F {
    F::ONE.over(x.root())
}

/// Returns `e^(−|x|)`, and 1 plus that.
#[inline(always)]
fn decay<F: Single>(x: F) -> (F, F) {
    let e = exp(magnitude(x).negated());
    (e, F::ONE.plus(e))
}

/// Returns `σ(x)` and `1 − σ(x)`, both with full precision.
#[inline(always)]
fn logistic<F: Single>(x: F) -> (F, F) {
    let (e, sum) = decay(x);
    let (small, large) = (e.over(sum), F::ONE.over(sum));
    if is_negative(x) { (small, large) } else { (large, small) }
}

/// Returns `x · σ(z)`.
#[inline(always)]
fn gated<F: Single>(x: F, z: F) -> F {
    let (e, sum) = decay(z);
    let numerator = if is_negative(z) { x.times(e) } else { x };
    numerator.over(sum)
}

/// Returns `σ(x) = 1 / (1 + e^(−x))`.
#[inline(always)]
pub fn sigmoid<F: Single>(x: F) -> F {
    logistic(x).0
}

/// Returns the hyperbolic tangent of `x`: `m / (m + 2)` with `m = e^(2 · |x|) − 1`, and the sign of
/// `x`.
#[inline(always)]
pub fn tanh<F: Single>(x: F) -> F {
    let a = magnitude(clamped(x, SATURATED));
    let (power, exponent) = reduced(a.plus(a));
    // Without a sum that cancels, so that small results are precise too.
    let scale: F = power_of_two(exponent);
    let m = scale.fused(power, scale.minus(F::ONE));
    let size = m.over(m.plus(F::ONE.plus(F::ONE)));
    F::from_bits(size.to_bits() | (x.to_bits() & SIGN))
}

/// Returns `cap · tanh(x / cap)`, which approaches `cap` and its negative.
#[inline(always)]
pub fn soft_cap<F: Single>(x: F, cap: F) -> F {
    cap.times(tanh(x.over(cap)))
}

/// Returns the derivative of [`soft_cap`] where it gives `bounded`: `1 − (bounded / cap)²`.
#[inline(always)]
pub fn soft_cap_slope<F: Single>(bounded: F, cap: F) -> F {
    let share = bounded.over(cap);
    share.negated().fused(share, F::ONE)
}

/// Returns `x · σ(x)`.
#[inline(always)]
pub fn silu<F: Single>(x: F) -> F {
    gated(x, x)
}

/// Returns the derivative of [`silu`].
#[inline(always)]
pub fn silu_slope<F: Single>(x: F) -> F {
    let (share, rest) = logistic(x);
    share.times(x.fused(rest, F::ONE))
}

/// Returns `x · σ(z)` with `z = √(8/π) · (x + 0.044715 x³)`, which is GELU with its `tanh`.
#[inline(always)]
pub fn gelu_tanh<F: Single>(x: F) -> F {
    let (linear, cubic) = pair([GELU_TANH[0], GELU_TANH[1]]);
    gated(x, x.times(x.times(x).fused(cubic, linear)))
}

/// Returns the derivative of [`gelu_tanh`].
#[inline(always)]
pub fn gelu_tanh_slope<F: Single>(x: F) -> F {
    let x = clamped(x, SATURATED);
    let (linear, cubic) = pair([GELU_TANH[0], GELU_TANH[1]]);
    let slope = F::from_bits(GELU_TANH[2]);
    let square = x.times(x);
    let (share, rest) = logistic(x.times(square.fused(cubic, linear)));
    share.times(x.times(square.fused(slope, linear)).fused(rest, F::ONE))
}

/// Returns `Φ(x)` of the normal distribution, and `e^(−x²/2)`.
#[inline(always)]
fn normal<F: Single>(x: F) -> (F, F) {
    let a = magnitude(clamped(x, SATURATED));
    let t = F::ONE.over(a.fused(F::from_bits(QUARTER), F::ONE));
    let half = F::from_bits(HALF).negated();
    let square = a.times(a);
    // What rounding took from the square counts, since it is an exponent.
    let lost = a.fused(a, square.negated());
    let bell = exp(square.times(half));
    let bell = bell.fused(lost.times(half), bell);
    let tail = bell.times(t.times(horner(&MILLS, t)));
    (if is_negative(x) { tail } else { F::ONE.minus(tail) }, bell)
}

/// Returns `x · Φ(x)`.
#[inline(always)]
pub fn gelu<F: Single>(x: F) -> F {
    x.times(normal(x).0)
}

/// Returns the derivative of [`gelu`].
#[inline(always)]
pub fn gelu_slope<F: Single>(x: F) -> F {
    let (below, bell) = normal(x);
    clamped(x, SATURATED).times(bell).fused(F::from_bits(INVERSE_ROOT_TAU), below)
}
