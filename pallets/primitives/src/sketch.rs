// SPDX-License-Identifier: Apache-2.0

//! Count sketches that estimate the distance between two training states.
//!
//! Fast kernels sum in different orders on different machines, so honest replays of a segment end
//! near each other, not in the same bits. Under the native profile, replays are therefore compared
//! by the L2 norm of their difference, relative to that of the change by the segment. The state is
//! compared in [`PARTS`] parts: parameters and both moments, by kind of tensor. Moments are
//! compared because the next segment starts from them, and forged moments would steer an honest
//! replay.
//!
//! States are large, so the chain compares a [`Sketch`] of each. For each part, every value of the
//! change is added with a random sign to one of [`BUCKETS`] sums drawn at random (Charikar, Chen
//! and Farach-Colton 2002, "Finding frequent items in data streams"; Thorup and Zhang 2004). The
//! sketch of a difference is the difference of the sketches. Its sum of squares estimates the
//! squared norm without bias and with a relative standard deviation of at most 18 %, which is
//! `√(2 / BUCKETS)`. The deviation of [`Sketch::distance`], a ratio of two norms, is about 12.5 %.
//! A distance of half the tolerance is mistaken for one beyond it, or one of twice the tolerance
//! for one within it, about once in 20 million parts. At a third or three times the tolerance this
//! never happens.
//!
//! The seed of the draw is random and later than the trainer's commitment to its trace, so no
//! trainer can hide a change in directions that the sketch does not measure.

use crate::{
    Hash, MILLION, Ppm,
    model::{ModelSpec, Parameter},
    prf::Prf,
};
use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Number of sums in each part of a sketch.
pub const BUCKETS: usize = 64;
/// Number of parts in a sketch: one for every [`TensorGroup`] of each [`StateArray`].
pub const PARTS: usize = StateArray::ALL.len() * TensorGroup::ALL.len();
/// Divisor of values on which no output depends, applied before the comparison; see [`value_runs`].
pub const DAMPING_DIVISOR: u8 = 64;

/// Kind of tensors that are compared together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TensorGroup {
    /// Embeddings of tokens and positions.
    Embedding,
    /// Matrices of attention.
    Attention,
    /// Matrices of the feed-forward layers and of superpositions.
    FeedForward,
    /// Norms and biases.
    Vectors,
}

impl TensorGroup {
    /// All groups, in the order of the parts of a sketch.
    pub const ALL: [Self; 4] = [Self::Embedding, Self::Attention, Self::FeedForward, Self::Vectors];

    /// Returns the group of a tensor.
    pub fn of(parameter: &Parameter) -> Self {
        if !parameter.decays {
            Self::Vectors
        } else if parameter.name.contains(".attn.") {
            Self::Attention
        } else if parameter.name.contains(".mlp.") || parameter.name.contains("mind.") {
            Self::FeedForward
        } else {
            Self::Embedding
        }
    }
}

/// Array of a training state that training changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateArray {
    /// Parameters of the model.
    Parameters,
    /// Adam's first moments.
    FirstMoment,
    /// Adam's second moments.
    SecondMoment,
}

impl StateArray {
    /// All arrays, in the order of the parts of a sketch.
    pub const ALL: [Self; 3] = [Self::Parameters, Self::FirstMoment, Self::SecondMoment];
}

/// Returns the array and the group of part `index` of a sketch; `None` from [`PARTS`] on.
pub fn part(index: usize) -> Option<(StateArray, TensorGroup)> {
    StateArray::ALL
        .into_iter()
        .flat_map(|array| TensorGroup::ALL.map(|group| (array, group)))
        .nth(index)
}

/// A run of consecutive values that are compared alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueRun {
    /// Number of values.
    pub len: usize,
    /// Group of the values.
    pub group: TensorGroup,
    /// Set if the values are divided by [`DAMPING_DIVISOR`].
    pub damped: bool,
}

/// Returns the runs of values of an array of the model, in canonical order.
///
/// Without a rotation, no output depends on the biases of the attention keys: they add the same
/// number to all scores of a query, which softmax cancels. Their gradients are rounding errors,
/// from which Adam makes steps that differ between machines. These values are damped and not left
/// out, so that no trainer can hide overflowing values there. With rotary positions, keys are
/// rotated after the bias is added, and outputs depend on it.
pub fn value_runs(model: &ModelSpec) -> Vec<ValueRun> {
    let plain = |len, group| ValueRun { len, group, damped: false };
    model
        .parameters()
        .iter()
        .flat_map(|parameter| {
            let (len, group) = (parameter.len(), TensorGroup::of(parameter));
            if block_of_key_biases(&parameter.name)
                .is_some_and(|block| model.cancels_key_biases(block))
            {
                let [queries, keys] =
                    [model.attention_width(), model.key_value_width()].map(|width| width as usize);
                [
                    plain(queries, group),
                    ValueRun { len: keys, group, damped: true },
                    plain(keys, group),
                ]
            } else {
                [plain(len, group), plain(0, group), plain(0, group)]
            }
        })
        .filter(|run| run.len > 0)
        .collect()
}

/// Returns the block of a tensor of the biases of queries, keys and values; `None` for others.
fn block_of_key_biases(name: &str) -> Option<u16> {
    name.strip_prefix("h.")?.strip_suffix(".attn.c_attn.bias")?.parse().ok()
}

/// Stream of buckets and signs for the values of one array, in canonical order. It yields one byte
/// per value.
#[derive(Clone, Debug)]
pub struct BucketStream {
    prf: Prf,
}

impl BucketStream {
    /// Creates the stream that the audit with this `seed` uses for `array` after `segment` of
    /// `trainer`'s update.
    pub fn new(seed: &Hash, trainer: &[u8], segment: u16, array: StateArray) -> Self {
        Self {
            prf: Prf::new("pol/sketch/1", seed, &[trainer, &segment.to_le_bytes(), &[array as u8]]),
        }
    }

    /// Fills `bytes` with the draws of the next values, which [`bucket_and_sign`] decodes. Drawing
    /// many at a time is fast.
    pub fn draw(&mut self, bytes: &mut [u8]) {
        self.prf.fill(bytes);
    }
}

/// Decodes a drawn byte into a bucket below [`BUCKETS`] and `true` if the sign is negative.
pub const fn bucket_and_sign(byte: u8) -> (usize, bool) {
    ((byte & 63) as usize, byte & 64 != 0)
}

/// Sketch of one part: [`BUCKETS`] fixed-point numbers `sum · 2^exponent`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct PartSketch {
    exponent: i16,
    sums: [i16; BUCKETS],
}

impl Default for PartSketch {
    fn default() -> Self {
        Self { exponent: 0, sums: [0; BUCKETS] }
    }
}

impl PartSketch {
    /// Creates the sketch of `sums · 2^exponent`, rounded to 15 bits of the largest sum.
    pub fn new(sums: &[i64; BUCKETS], exponent: i16) -> Self {
        let largest = sums.iter().map(|sum| sum.unsigned_abs()).max().unwrap_or(0);
        if largest == 0 {
            return Self::default();
        }
        let bits = u64::BITS.saturating_sub(largest.leading_zeros());
        let mut drop = bits.saturating_sub(15);
        // Rounds to the nearest, halves away from zero, which may carry into a sixteenth bit.
        let round = |sum: u64, drop: u32| {
            sum.saturating_add(1u64.checked_shl(drop).unwrap_or(0) >> 1) >> drop
        };
        if round(largest, drop) >> 15 != 0 {
            drop = drop.saturating_add(1);
        }
        let lift = 15u32.saturating_sub(bits);
        let sums = sums.map(|sum| {
            let magnitude =
                i16::try_from(round(sum.unsigned_abs(), drop) << lift).unwrap_or(i16::MAX);
            if sum < 0 { magnitude.saturating_neg() } else { magnitude }
        });
        let moved =
            i16::try_from(drop).unwrap_or(0).saturating_sub(i16::try_from(lift).unwrap_or(0));
        Self { exponent: exponent.saturating_add(moved), sums }
    }

    /// Estimates the distance to `replayed`: the L2 norm of the difference over that of `replayed`.
    /// Returns [`Ppm::MAX`] if the distance exceeds all others.
    pub fn distance(&self, replayed: &Self) -> Ppm {
        // With a greater difference of the exponents, the smaller sketch is negligible.
        const GAP: u32 = 16;
        let is_zero = |part: &Self| part.sums.iter().all(|&sum| sum == 0);
        let apart = i32::from(self.exponent).saturating_sub(i32::from(replayed.exponent));
        let (lift, lift_replayed) = match (is_zero(self), is_zero(replayed)) {
            (true, true) => return 0,
            (false, true) => return Ppm::MAX,
            (true, false) => return MILLION,
            (false, false) if apart >= 0 => (apart.unsigned_abs(), 0),
            (false, false) => (0, apart.unsigned_abs()),
        };
        if lift > GAP {
            return Ppm::MAX;
        }
        if lift_replayed > GAP {
            return MILLION;
        }
        // The numbers have at most 32 bits, the sums of squares 70, and their products with a
        // squared million 110.
        let at = |sum: i16, lift: u32| i64::from(sum) << lift;
        let square = |value: i64| {
            u128::from(value.unsigned_abs()).saturating_mul(u128::from(value.unsigned_abs()))
        };
        let (mut difference, mut norm) = (0u128, 0u128);
        for (&claimed, &replayed) in self.sums.iter().zip(&replayed.sums) {
            let replayed = at(replayed, lift_replayed);
            difference =
                difference.saturating_add(square(at(claimed, lift).saturating_sub(replayed)));
            norm = norm.saturating_add(square(replayed));
        }
        let millionths = u128::from(MILLION);
        let squared =
            difference.saturating_mul(millionths.saturating_mul(millionths)).checked_div(norm);
        squared.and_then(|squared| Ppm::try_from(squared.isqrt()).ok()).unwrap_or(Ppm::MAX)
    }
}

/// Random projections of the change by a segment, for every [part] of the state, in 1,560 bytes.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct Sketch {
    /// Parts by array, then by group; see [`part`].
    pub parts: [PartSketch; PARTS],
}

impl Sketch {
    /// Estimates the distance of each part to that of `replayed`, relative to the replayed change.
    pub fn distance(&self, replayed: &Self) -> [Ppm; PARTS] {
        let mut distances = [0; PARTS];
        for ((distance, claimed), replayed) in
            distances.iter_mut().zip(&self.parts).zip(&replayed.parts)
        {
            *distance = claimed.distance(replayed);
        }
        distances
    }

    /// Returns `true` if the distance of every part to that of `replayed` is at most `tolerance`.
    pub fn is_within(&self, replayed: &Self, tolerance: Ppm) -> bool {
        self.distance(replayed).into_iter().all(|distance| distance <= tolerance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{OtherRotation, PositionEncoding, QueryKeyNorm, SoftCaps},
        recipe::tests::recipe,
    };
    use proptest::prelude::*;

    /// The sketch of one part with these values, drawn by `seed`.
    fn sketch(values: &[i64], seed: &Hash) -> PartSketch {
        let mut bytes = vec![0; values.len()];
        BucketStream::new(seed, &[7; 32], 3, StateArray::Parameters).draw(&mut bytes);
        let mut sums = [0; BUCKETS];
        for (value, (sum, turned)) in values.iter().zip(bytes.into_iter().map(bucket_and_sign)) {
            sums[sum] += if turned { -value } else { *value };
        }
        PartSketch::new(&sums, -20)
    }

    fn norm(values: &[i64]) -> f64 {
        values.iter().map(|&value| (value as f64).powi(2)).sum::<f64>().sqrt()
    }

    /// Values within ±`most`. Unless `dense`, all but one in fifty are zero.
    fn values(prf: &mut Prf, count: usize, most: u32, dense: bool) -> Vec<i64> {
        (0..count)
            .map(|_| {
                if dense || prf.below(50) == 0 {
                    i64::from(prf.below(2 * most + 1)) - i64::from(most)
                } else {
                    0
                }
            })
            .collect()
    }

    #[test]
    fn a_sketch_is_small() {
        assert_eq!(Sketch::max_encoded_len(), 1_560);
        assert_eq!(Sketch::default().encode().len(), 1_560);
    }

    #[test]
    fn biases_of_keys_are_damped_where_outputs_do_not_depend_on_them() {
        // Four heads of size 2 that share two of keys and values.
        let shared = ModelSpec { key_value_heads: 2, ..ModelSpec::gpt2(5, 8, 3, 4, 9, 7) };
        let damped = |model: &ModelSpec| {
            value_runs(model)
                .into_iter()
                .filter(|run| run.damped)
                .map(|run| run.len)
                .collect::<Vec<_>>()
        };
        assert_eq!(damped(&shared), [4; 3]);
        let positions =
            PositionEncoding::Rotary { dimensions: 2, base: 10_000, interleaved: false };
        let rotary = ModelSpec { positions, ..shared };
        assert_eq!(damped(&rotary), [0; 0]);
        let third = OtherRotation { period: 3, layers: 0b100, base: None };
        let unrotated = ModelSpec { other_rotation: Some(third), ..rotary };
        assert_eq!(damped(&unrotated), [4]);
        let normed = ModelSpec { query_key_norm: Some(QueryKeyNorm::Head), ..shared };
        assert_eq!(damped(&normed), [0; 0]);
        let caps = SoftCaps { attention: Some(9_000), logits: None };
        assert_eq!(damped(&ModelSpec { caps, ..shared }), [0; 0]);
        for model in [shared, rotary, unrotated, normed] {
            assert_eq!(
                value_runs(&model).iter().map(|run| run.len as u64).sum::<u64>(),
                model.size()
            );
        }
    }

    #[test]
    fn parts_and_runs_cover_the_state() {
        assert_eq!(part(0), Some((StateArray::Parameters, TensorGroup::Embedding)));
        assert_eq!(part(7), Some((StateArray::FirstMoment, TensorGroup::Vectors)));
        assert_eq!(
            (part(PARTS - 1), part(PARTS)),
            (Some((StateArray::SecondMoment, TensorGroup::Vectors)), None)
        );
        let model = recipe().model;
        let runs = value_runs(&model);
        let count = |group| {
            runs.iter().filter(|run| run.group == group).map(|run| run.len as u64).sum::<u64>()
        };
        // Sizes by hand: vocabulary 8,192, context 128, width 128, feed-forward 512, four blocks.
        assert_eq!(count(TensorGroup::Embedding), (8_192 + 128) * 128);
        assert_eq!(count(TensorGroup::Attention), 4 * (128 * 384 + 128 * 128));
        assert_eq!(count(TensorGroup::FeedForward), 4 * 2 * 128 * 512);
        assert_eq!(count(TensorGroup::Vectors), 4 * (4 * 128 + 384 + 128 + 512 + 128) + 2 * 128);
        assert_eq!(TensorGroup::ALL.map(count).iter().sum::<u64>(), model.size());
        assert_eq!(
            runs.iter().filter(|run| run.damped).map(|run| run.len).collect::<Vec<_>>(),
            [128; 4]
        );
    }

    #[test]
    fn the_squared_norm_has_the_deviation_it_should() {
        for dense in [true, false] {
            let values = values(&mut Prf::new("values", &[1; 32], &[]), 4_000, 1_000, dense);
            let exact = norm(&values).powi(2);
            let draws = 400;
            let errors = (0..draws).map(|draw: u16| {
                let PartSketch { exponent, sums } =
                    sketch(&values, &blake3::hash(&draw.to_le_bytes()).into());
                let unit = 2f64.powi(i32::from(exponent) + 20);
                sums.iter().map(|&sum| (f64::from(sum) * unit).powi(2)).sum::<f64>() / exact - 1.0
            });
            let (sum, squares) = errors
                .fold((0.0, 0.0), |(sum, squares), error| (sum + error, squares + error * error));
            let (mean, deviation) = (sum / f64::from(draws), (squares / f64::from(draws)).sqrt());
            // √(2/64) = 0.177; of 400 draws, its own standard error is 0.006 and that of the mean
            // 0.009.
            assert!(mean.abs() < 0.035, "mean {mean}");
            assert!((0.14..0.205).contains(&deviation), "deviation {deviation}");
        }
    }

    #[test]
    fn rounding_is_to_fifteen_bits_of_the_largest() {
        let round = |first: i64, second: i64| {
            let mut sums = [0; BUCKETS];
            (sums[0], sums[1]) = (first, second);
            let part = PartSketch::new(&sums, 5);
            (part.sums[0], part.sums[1], part.exponent)
        };
        assert_eq!(round(1, -1), (1 << 14, -(1 << 14), 5 - 14));
        assert_eq!(round(32_767, 1), (32_767, 1, 5));
        assert_eq!(round(32_768, -3), (16_384, -2, 6));
        assert_eq!(round(65_535, 2), (16_384, 1, 7), "a carry takes one more bit");
        assert_eq!(round(i64::MIN, i64::MAX), (-16_384, 16_384, 5 + 49));
        assert_eq!(round(0, 0), (0, 0, 0));
    }

    #[test]
    fn extremes_have_distances() {
        let zero = PartSketch::default();
        let all = |sum, exponent| PartSketch { exponent, sums: [sum; BUCKETS] };
        assert_eq!(zero.distance(&zero), 0);
        assert_eq!(zero.distance(&all(1, 9)), MILLION);
        assert_eq!(all(1, -9).distance(&zero), Ppm::MAX);
        assert_eq!(all(20_000, i16::MAX).distance(&all(20_000, i16::MIN)), Ppm::MAX);
        assert_eq!(all(20_000, i16::MIN).distance(&all(20_000, i16::MAX)), MILLION);
        assert_eq!(all(i16::MIN, 16).distance(&all(i16::MAX, 0)), Ppm::MAX);
        assert_eq!(all(-20_000, 0).distance(&all(20_000, 0)), 2 * MILLION);
        assert_eq!(all(10_000, 1).distance(&all(20_000, 0)), 0, "the same numbers");
        assert_eq!(all(20_200, 3).distance(&all(20_000, 3)), 10_000);
    }

    #[test]
    fn every_part_is_compared() {
        let replayed =
            Sketch { parts: [PartSketch { exponent: 0, sums: [20_000; BUCKETS] }; PARTS] };
        assert!(replayed.is_within(&replayed, 0));
        for at in 0..PARTS {
            let mut claimed = replayed;
            claimed.parts[at].sums = [20_200; BUCKETS];
            assert!(
                claimed.is_within(&replayed, 10_000) && !claimed.is_within(&replayed, 9_999),
                "part {at}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// A factor of three is far outside what the draw can do: less than once in 10^14 draws.
        #[test]
        fn the_distance_is_the_exact_one(
            seed: Hash,
            count in 200usize..3_000,
            share in 3u32..600,
            dense: bool,
        ) {
            let mut prf = Prf::new("pair", &seed, &[]);
            let replayed = values(&mut prf, count, 1_000_000, true);
            let difference = values(&mut prf, count, 1_000 * share, dense);
            let claimed: Vec<i64> = replayed.iter().zip(&difference).map(|(a, b)| a + b).collect();
            let exact = norm(&difference) / norm(&replayed);
            let estimate =
                f64::from(sketch(&claimed, &seed).distance(&sketch(&replayed, &seed))) / 1e6;
            // Rounding to fifteen bits, and to a millionth.
            let floor = 3e-4;
            prop_assert!(
                estimate <= 3.0 * exact + floor && estimate + floor >= exact / 3.0,
                "{estimate} for {exact}"
            );
        }

        #[test]
        fn no_sketch_overflows(
            a in prop::array::uniform32(any::<i16>()),
            b in prop::array::uniform32(any::<i16>()),
            e: i16,
            f: i16,
        ) {
            let part = |values: [i16; 32], exponent| {
                let mut sums = [0; BUCKETS];
                sums[..32].copy_from_slice(&values);
                sums[32..].copy_from_slice(&values);
                PartSketch { exponent, sums }
            };
            let (a, b) = (part(a, e), part(b, f));
            prop_assert_eq!(a.distance(&a), 0);
            a.distance(&b);
        }

        #[test]
        fn scale_does_not_matter(seed: Hash, shift in 0u32..20) {
            let mut prf = Prf::new("pair", &seed, &[]);
            let (a, b) = (values(&mut prf, 300, 10_000, true), values(&mut prf, 300, 10_000, true));
            let scaled =
                |values: &[i64]| values.iter().map(|value| value << shift).collect::<Vec<_>>();
            let distance = sketch(&a, &seed).distance(&sketch(&b, &seed));
            prop_assert_eq!(
                sketch(&scaled(&a), &seed).distance(&sketch(&scaled(&b), &seed)),
                distance
            );
        }
    }
}
