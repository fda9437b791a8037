// SPDX-License-Identifier: Apache-2.0

use pol_primitives::{
    Hash,
    model::{Init, ModelSpec, Parameter},
    prf::Prf,
};

/// Bytes of the stream per normal draw.
const DRAW: usize = 16;
/// Draws per batch. BLAKE3 fills many blocks at once.
const BATCH: usize = 4_096;

/// Creates the parameters that training starts from, in canonical order. The bits are the same on
/// every machine.
///
/// Every tensor has its own stream of BLAKE3 output, keyed by `seed` and the tensor's name. A
/// normal draw is the sum of twelve uniform 10-bit integers minus its mean (Irwin–Hall): an integer
/// with a standard deviation of √(2²⁰ − 1) ≈ 1,024. It is scaled by one float64 product and rounded
/// once to float32.
///
/// The result has [`ModelSpec::size`] values. `spec` must be valid;
/// [`Layout::new`](crate::Layout::new) checks that.
pub fn initial_parameters(spec: &ModelSpec, seed: &Hash) -> Vec<f32> {
    let mut flat = Vec::with_capacity(usize::try_from(spec.size()).unwrap_or(0));
    for parameter in spec.parameters() {
        init_parameter(&parameter, seed, &mut flat);
    }
    flat
}

/// Appends the initial values of `parameter` to `flat`.
pub(crate) fn init_parameter(parameter: &Parameter, seed: &Hash, flat: &mut Vec<f32>) {
    let end = flat.len() + parameter.len();
    match parameter.init {
        Init::Zeros => flat.resize(end, 0.0),
        Init::Ones => flat.resize(end, 1.0),
        Init::Normal(millionths) => {
            let mut prf = Prf::new("pol/initial/1", seed, &[parameter.name.as_bytes()]);
            let scale = f64::from(millionths) / (1_000_000.0 * 1_024.0);
            let mut bytes = [0; DRAW * BATCH];
            while flat.len() < end {
                let batch = (end - flat.len()).min(BATCH);
                let bytes = &mut bytes[..DRAW * batch];
                prf.fill(bytes);
                let draws = bytes.as_chunks::<DRAW>().0;
                flat.extend(
                    draws.iter().map(|&draw| (f64::from(centred_sum(draw)) * scale) as f32),
                );
            }
        }
    }
}

/// Returns the sum of twelve 10-bit integers minus its mean. Each half of `draw` holds six of them
/// in its low 60 bits.
fn centred_sum(draw: [u8; DRAW]) -> i32 {
    const EVEN: u64 = 0x3ff | 0x3ff << 20 | 0x3ff << 40;
    let bits = u128::from_le_bytes(draw);
    // Pairs of 10-bit fields are added side by side in 20-bit lanes.
    let pairs = |half: u64| (half & EVEN) + (half >> 10 & EVEN);
    let lanes = pairs(bits as u64) + pairs((bits >> 64) as u64);
    let sum = (lanes + (lanes >> 20) + (lanes >> 40)) & 0xf_ffff;
    sum as i32 - 6_138
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(width: u32) -> ModelSpec {
        ModelSpec::gpt2(500, width, 2, 2, 4 * width, 32)
    }

    #[test]
    fn twelve_fields_are_summed() {
        assert_eq!(centred_sum([0; DRAW]), -6_138);
        assert_eq!(centred_sum([0xff; DRAW]), 12 * 1_023 - 6_138);
        for field in 0..12 {
            let shift = field % 6 * 10 + field / 6 * 64;
            assert_eq!(centred_sum((777u128 << shift).to_le_bytes()), 777 - 6_138);
        }
    }

    #[test]
    fn draws_are_normal() {
        let flat = initial_parameters(&spec(64), &[7; 32]);
        let embedding: Vec<f64> =
            flat[..500 * 64].iter().map(|&value| f64::from(value) / 0.02).collect();
        let moment = |power: i32| {
            embedding.iter().map(|value| value.powi(power)).sum::<f64>() / embedding.len() as f64
        };
        // Standard errors over 32,000 draws: 0.0056, 0.0079, 0.03; the kurtosis of Irwin-Hall (12)
        // is 2.9.
        assert!(moment(1).abs() < 0.02, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.03, "variance {}", moment(2));
        assert!((moment(4) - 2.9).abs() < 0.15, "kurtosis {}", moment(4));
    }

    #[test]
    fn a_seed_fixes_every_value() {
        let flat = initial_parameters(&spec(8), &[7; 32]);
        assert_eq!(flat.len() as u64, spec(8).size());
        assert_eq!(flat, initial_parameters(&spec(8), &[7; 32]));
        assert_ne!(flat, initial_parameters(&spec(8), &[8; 32]));
        // Pinned: members with different builds must agree on the model of round zero.
        assert_eq!(
            flat[..4].iter().map(|value| value.to_bits()).collect::<Vec<_>>(),
            [988_178_022, 3_151_306_424, 3_150_006_190, 1_015_115_940]
        );
    }
}
