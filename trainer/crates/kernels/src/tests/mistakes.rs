// SPDX-License-Identifier: Apache-2.0

//! Mistakes that the comparison of bits has to find, made on purpose: a multiply-add that is
//! contracted, and subnormal numbers that are flushed. Other orders of sums are tried beside the
//! tests of those sums.

use super::{Draw, Values, bits, defined_of};
use crate::Kernels;
#[cfg(target_arch = "x86_64")]
use crate::{AdamWState, Scratch};
use pol_numerics::*;

/// Returns a function of two tensors of one shape, on kernels.
fn element(kernels: Kernels, function: Function, [a, b]: [&[f32]; 2]) -> Vec<f32> {
    let shape = shape_of(function, a.len());
    let mut out = vec![f32::NAN; a.len()];
    kernels.element(&shape, [Some(a), Some(b), None], &mut out).unwrap();
    out
}

fn shape_of(function: Function, len: usize) -> Element {
    let operands = [Broadcast::Each, Broadcast::Each, Broadcast::One];
    Element { function, rows: 1, columns: len as u32, operands }
}

fn draw(seed: u64, len: usize, of: Values) -> Vec<f32> {
    Draw(seed).values(len, of)
}

#[test]
fn a_contracted_multiply_add_is_seen() {
    let [x, y, z] = [1, 2, 3].map(|seed| draw(seed, 1_003, Values::Plain));
    let defined = |function, operands: [&[f32]; 2]| -> Vec<f32> {
        let shape = Op::Element(shape_of(function, operands[0].len()));
        defined_of(&shape, &[operands[0], operands[1], &[]])
            .into_iter()
            .map(f32::from_bits)
            .collect()
    };
    let product = defined(Function::Multiply, [&x, &y]);
    let expected = defined(Function::Add, [&product, &z]);
    for kernels in Kernels::all() {
        let product = element(kernels, Function::Multiply, [&x, &y]);
        let found = element(kernels, Function::Add, [&product, &z]);
        assert_eq!(bits(&found), bits(&expected), "{}", kernels.name());
    }
    let operands = x.iter().zip(&y).zip(&z);
    let contracted: Vec<f32> = operands.map(|((x, y), z)| x.mul_add(*y, *z)).collect();
    assert_ne!(bits(&contracted), bits(&expected));
}

/// Runs `work` on a thread that flushes subnormal numbers in results and in arguments.
#[cfg(target_arch = "x86_64")]
fn flushing<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    use std::arch::asm;
    super::with_threads(1, || {
        // All exceptions masked; and with both bits that flush.
        let (kept, flushed) = (0x1f80u32, 0x9fc0u32);
        // SAFETY: only this thread's arithmetic changes, until the second instruction.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const flushed) };
        let found = work();
        // SAFETY: as above.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const kept) };
        found
    })
}

/// Asserts that `kernel` gives the bits that are `expected`, and others where subnormals are
/// flushed.
#[cfg(target_arch = "x86_64")]
fn assert_seen(what: &str, expected: &[u32], kernel: impl Fn(Kernels) -> Vec<f32> + Sync) {
    for kernels in Kernels::all() {
        assert_eq!(bits(&kernel(kernels)), expected, "{what}: {}", kernels.name());
        let flushed = flushing(|| kernel(kernels));
        assert_ne!(bits(&flushed), expected, "{what}: {}", kernels.name());
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn flushed_subnormals_are_seen() {
    let [a, b] = [4, 5].map(|seed| draw(seed, 400, Values::Small));
    let op = Op::Element(shape_of(Function::Multiply, 400));
    assert_seen("multiply", &defined_of(&op, &[&a, &b, &[]]), |kernels| {
        element(kernels, Function::Multiply, [&a, &b])
    });

    let op = Op::Sum { rows: 200, columns: 2, of: Summand::Squares };
    assert_seen("row sums", &defined_of(&op, &[&a, &b]), |kernels| {
        let mut out = vec![0.0; 200];
        kernels.row_sums([200, 2], Summand::Squares, &a, None, &mut out).unwrap();
        out
    });

    let shape = Product {
        rows: 20,
        inner: 2,
        columns: 20,
        left_transposed: false,
        right_transposed: true,
        bias: false,
    };
    let (left, right) = (&a[..40], &b[..40]);
    assert_seen("product", &defined_of(&Op::Product(shape), &[left, right, &[]]), |kernels| {
        let mut out = vec![0.0; 400];
        let scratch = &mut Scratch::default();
        kernels.product(&shape, left, right, None, &mut out, scratch).unwrap();
        out
    });
}

#[cfg(target_arch = "x86_64")]
#[test]
fn flushed_moments_are_seen() {
    let settings = AdamWSettings {
        beta1: 900_000,
        beta2: 950_000,
        epsilon: 10,
        weight_decay: 0,
        rate: 600_000,
        step: 1,
    };
    // Their squares are subnormal, or vanish.
    let gradients: Vec<f32> = draw(6, 400, Values::Plain).iter().map(|g| g * 1e-20).collect();
    let (parameters, zeros) = (draw(7, 400, Values::Plain), [0.0; 400]);
    let factors = AdamWFactors::new::<f32>(&settings);
    let adamw = AdamW { part: AdamWPart::Second, len: 400, decays: false, factors };
    let inputs: [&[f32]; 5] = [&parameters, &zeros, &zeros, &gradients, &[1.0]];
    assert_seen("AdamW", &defined_of(&Op::AdamW(adamw), &inputs), |kernels| {
        let (mut parameters, mut first, mut second) = (parameters.clone(), zeros, zeros);
        let state =
            AdamWState { parameters: &mut parameters, first: &mut first, second: &mut second };
        kernels.adamw(&factors, false, state, &gradients, 1.0).unwrap();
        second.to_vec()
    });
}
