// SPDX-License-Identifier: Apache-2.0

mod accuracy;
mod arithmetic;
mod operators;

/// Numbers where formats end, round, or change their rules.
pub(crate) const SPECIAL: [u32; 28] = [
    0x0000_0000,
    0x8000_0000,
    0x0000_0001,
    0x8000_0001,
    0x007f_ffff,
    0x807f_ffff,
    0x0080_0000,
    0x8080_0000,
    0x0080_0001,
    0x3380_0000,
    0x3400_0000,
    0x3f00_0000,
    0x3f7f_ffff,
    0x3f80_0000,
    0x3f80_0001,
    0xbf80_0000,
    0x4000_0000,
    0x4b40_0000,
    0xc2ae_ac50,
    0xc2cf_f1b5,
    0x42b1_7218,
    0x7f00_0000,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0xff81_2345,
];

/// Pseudo-random numbers, the same everywhere.
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number of SplitMix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number between −`scale` and `scale`, exact in binary32.
    pub(crate) fn value(&mut self, scale: f32) -> u32 {
        let unit = (self.next() >> 40) as f32 / 8_388_608.0 - 1.0;
        (unit * scale).to_bits()
    }

    pub(crate) fn values(&mut self, len: usize, scale: f32) -> Vec<u32> {
        (0..len).map(|_| self.value(scale)).collect()
    }
}
