// SPDX-License-Identifier: Apache-2.0

//! Every kernel gives the bits of the definition, on every instruction set and number of threads.

mod attention;
mod embedding;
mod mistakes;
mod product;
mod rows;

use crate::Kernels;
use pol_numerics::{Op, recompute};

/// Numbers where formats end, round, or change their rules.
const SPECIAL: [u32; 20] = [
    0x0000_0000,
    0x8000_0000,
    0x0000_0001,
    0x8000_0001,
    0x007f_ffff,
    0x807f_ffff,
    0x0080_0000,
    0x8080_0001,
    0x1f80_0000,
    0x9f80_0000,
    0x3380_0000,
    0x3f80_0000,
    0x3f80_0001,
    0xbf80_0000,
    0x5f00_0000,
    0x7f7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0xff81_2345,
];

/// Kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    /// Numbers between −2 and 2.
    Plain,
    /// Among them subnormal numbers and signed zeros, of which products underflow.
    Small,
    /// Among them every special number.
    Special,
}

const VALUES: [Values; 3] = [Values::Plain, Values::Small, Values::Special];

/// Pseudo-random numbers, the same everywhere.
struct Draw(u64);

impl Draw {
    /// Returns the next number of SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn values(&mut self, len: usize, of: Values) -> Vec<f32> {
        let mut value = || {
            let plain = (self.next() >> 40) as f32 / 4_194_304.0 - 2.0;
            let draw = self.next() as usize;
            match of {
                Values::Plain => plain,
                Values::Small if draw.is_multiple_of(4) => plain * 1e-22,
                Values::Small if draw % 4 == 1 => f32::from_bits(SPECIAL[draw / 4 % 10]),
                Values::Special if draw.is_multiple_of(7) => {
                    f32::from_bits(SPECIAL[draw / 7 % SPECIAL.len()])
                }
                _ => plain,
            }
        };
        (0..len).map(|_| value()).collect()
    }
}

/// Values that do not begin where vectors do.
struct Unaligned(Vec<f32>);

impl Unaligned {
    fn new(values: &[f32], by: usize) -> Self {
        Self(vec![0.0; by % 5].into_iter().chain(values.iter().copied()).collect())
    }

    fn get(&self, by: usize) -> &[f32] {
        &self.0[by % 5..]
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Returns an operator's output by its definition.
fn defined(op: &Op, inputs: &[&[u32]]) -> Vec<u32> {
    (0..op.len().unwrap()).map(|i| recompute::<f32>(op, inputs, i).unwrap()).collect()
}

/// Returns an operator's output by its definition, from numbers.
fn defined_of(op: &Op, inputs: &[&[f32]]) -> Vec<u32> {
    let inputs: Vec<Vec<u32>> = inputs.iter().map(|values| bits(values)).collect();
    let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
    defined(op, &inputs)
}

/// Runs `work` on a pool of so many threads.
fn with_threads<T: Send>(count: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap().install(work)
}

/// Runs `kernel`, which fills an output of `len` values, on every instruction set, and compares the
/// bits. The number passed moves tensors by as many values.
fn check(expected: &[u32], what: &str, kernel: impl Fn(Kernels, usize, &mut [f32])) {
    for (by, kernels) in Kernels::all().into_iter().enumerate() {
        let mut out = vec![f32::INFINITY; expected.len() + by];
        kernel(kernels, by, &mut out[by..]);
        let found = bits(&out[by..]);
        if let Some(at) = (0..found.len()).find(|&at| found[at] != expected[at]) {
            let (found, expected) = (found[at], expected[at]);
            panic!("{what}: {} gives {found:08x} at {at}, not {expected:08x}", kernels.name());
        }
    }
}
