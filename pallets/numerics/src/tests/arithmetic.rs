// SPDX-License-Identifier: Apache-2.0

//! Software and hardware agree on every operation.

use super::{Draw, SPECIAL};
use crate::{Double, Real, Single, Soft32, Soft64, functions::*, fused_without_instruction};
use proptest::prelude::*;

fn same(what: &str, operands: &[u32], hard: f32, soft: Soft32) {
    let (hard, soft) = (Single::to_bits(hard), Single::to_bits(soft));
    assert_eq!(hard, soft, "{what} of {operands:08x?}: {hard:08x} in hardware, {soft:08x} not");
}

/// Compares every operation on three numbers.
fn agree(a: u32, b: u32, c: u32) {
    let (x, y, z) = (f32::from_bits(a), f32::from_bits(b), f32::from_bits(c));
    let [s, t, u] = [a, b, c].map(<Soft32 as Single>::from_bits);
    let all = [a, b, c];
    same("sum", &all, x + y, s.plus(t));
    same("difference", &all, x - y, s.minus(t));
    same("product", &all, x * y, s.times(t));
    same("quotient", &all, x / y, s.over(t));
    same("fused", &all, x.mul_add(y, z), s.fused(t, u));
    same("fused without instruction", &all, fused_without_instruction(x, y, z), s.fused(t, u));
    same("root", &all, x.sqrt(), s.root());
    same("negated", &all, -x, s.negated());
    assert_eq!(x < y, s.is_below(t), "{all:08x?}");
    assert_eq!(Double::to_bits(x.widen()), Double::to_bits(s.widen()), "{all:08x?}");
}

fn agree_wide(a: u64, b: u64, c: u64) {
    let (x, y, z) = (f64::from_bits(a), f64::from_bits(b), f64::from_bits(c));
    let [s, t, u] = [a, b, c].map(<Soft64 as Double>::from_bits);
    for (what, hard, soft) in [
        ("sum", x + y, s.plus(t)),
        ("product", x * y, s.times(t)),
        ("quotient", x / y, s.over(t)),
        ("fused", x.mul_add(y, z), s.fused(t, u)),
        ("root", x.sqrt(), s.root()),
        ("integer", a as f64, Soft64::from_integer(a)),
    ] {
        assert_eq!(Double::to_bits(hard), Double::to_bits(soft), "{what} {a:x} {b:x} {c:x}");
    }
    assert_eq!(Single::to_bits(x.narrow()), Single::to_bits(s.narrow()), "narrow {a:x}");
}

#[test]
fn special_numbers_agree() {
    for a in SPECIAL {
        for b in SPECIAL {
            for c in SPECIAL {
                agree(a, b, c);
                let wide = |bits: u32| Double::to_bits(f64::from(f32::from_bits(bits)));
                agree_wide(wide(a), wide(b), wide(c));
                agree_wide(u64::from(a) << 32, u64::from(b) << 32 | 1, wide(c));
            }
        }
    }
}

#[test]
fn nearly_cancelling_and_tied_sums_agree() {
    let mut draw = Draw::new(1);
    for _ in 0..400_000 {
        let (a, b) = (draw.next() as u32, draw.next() as u32);
        let product = f32::from_bits(a) * f32::from_bits(b);
        // The negated product and its neighbours, and halves of its last place.
        let near = (-product).to_bits().wrapping_add((draw.next() % 5) as u32).wrapping_sub(2);
        agree(a, b, near);
        agree(a, b, near.wrapping_sub((24 + draw.next() as u32 % 3) << 23));
        agree(a, 0x3f80_0000, a.wrapping_sub((24 + draw.next() as u32 % 3) << 23));
        let (x, y) = (draw.next(), draw.next());
        let near = (-(f64::from_bits(x) * f64::from_bits(y))).to_bits();
        agree_wide(x, y, near.wrapping_add(draw.next() % 5).wrapping_sub(2));
        agree_wide(x, y, near.wrapping_sub((53 + draw.next() % 3) << 52));
    }
}

fn functions<F: Single>(x: F) -> [u32; 13] {
    let cap = F::from_bits(30f32.to_bits());
    [
        exp(x),
        log(x),
        reciprocal_root(x),
        sigmoid(x),
        silu(x),
        silu_slope(x),
        gelu_tanh(x),
        gelu_tanh_slope(x),
        gelu(x),
        gelu_slope(x),
        tanh(x),
        soft_cap(x, cap),
        soft_cap_slope(x, cap),
    ]
    .map(Single::to_bits)
}

#[test]
fn functions_agree() {
    let mut draw = Draw::new(2);
    let random =
        (0..100_000).map(|i| if i % 2 == 0 { draw.next() as u32 } else { draw.value(110.0) });
    for bits in SPECIAL.into_iter().chain(random) {
        let soft = functions(<Soft32 as Single>::from_bits(bits));
        assert_eq!(functions(f32::from_bits(bits)), soft, "{bits:08x}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn any_numbers_agree(a: u32, b: u32, c: u32, x: u64, y: u64, z: u64) {
        agree(a, b, c);
        agree_wide(x, y, z);
    }
}
