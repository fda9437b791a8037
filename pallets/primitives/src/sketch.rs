//! Replays that need not agree in every bit: the native numerics profile.
//!
//! Fast kernels add in other orders on other machines, so honest replays of a segment end near each
//! other, not in the same bits. They are compared by how far apart they are, in the L2 norm and
//! relative to what the segment changed, in each of [`PARTS`] parts of the state: parameters and
//! both moments, by kind of tensor. Moments are compared since the next segment starts from them:
//! forged ones would steer a replay that is itself honest.
//!
//! States are large, so what is compared on chain are [`Sketch`]es: of each part, every value of
//! the change is added, with a random sign, to one of [`BUCKETS`] sums drawn at random (Charikar, Chen
//! and Farach-Colton 2002, "Finding frequent items in data streams"; Thorup and Zhang 2004). The
//! sketch of a difference is the difference of the sketches, and its sum of squares is the squared
//! norm on average, with a relative standard deviation of at most `√(2 / SUMS)`, 18 %. A ratio of
//! two norms, which [`Sketch::distance`] is, has one of about 12.5 %: a distance of half the
//! tolerance is taken for one beyond it, or the other way round one of twice the tolerance for one
//! within, about once in 20 million parts; at a third or three times, never.
//!
//! The draw is keyed by a seed fixed after the trace was committed to, so nobody can train in the
//! directions it does not see.
//!
//! What seats find is judged by [`judge`], in the stages of [`audit`](crate::audit), with two
//! differences:
//!
//! * In stage Open, the trainer opens the end's state with its sketch, and shows the state itself
//!   to peers. A sketch alone would prove nothing about the leaf: an honest replay made after the
//!   draw has one too.
//! * In stage Reveal, a seat adds to what it committed to whether the opened sketch
//!   [is that of the opened leaf](Binding). That needs no secrecy: anybody can compute it, bit for
//!   bit, from the state that the leaf names.

use crate::{
    Hash, MILLION, Ppm,
    model::{ModelSpec, Parameter, PositionEncoding},
    prf::Prf,
};
use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Sums of each part of a sketch.
pub const BUCKETS: usize = 64;
/// Parts of a sketch: every [`StateArray`] of each [`TensorGroup`].
pub const PARTS: usize = StateArray::ALL.len() * TensorGroup::ALL.len();
/// What a value that no output depends on is divided by before it is compared: see [`value_runs`].
pub const DAMPING_DIVISOR: u8 = 64;
/// Tensors of a kind, which are compared together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TensorGroup {
    /// Embeddings of tokens and positions.
    Embedding,
    /// Matrices of attention.
    Attention,
    /// Matrices of the feed-forward parts and of superpositions.
    FeedForward,
    /// Norms and biases.
    Vectors,
}

impl TensorGroup {
    /// All groups, in the order of a sketch's parts.
    pub const ALL: [Self; 4] = [Self::Embedding, Self::Attention, Self::FeedForward, Self::Vectors];

    /// The group of a tensor.
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

/// The arrays of a state that training changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateArray {
    /// The parameters.
    Parameters,
    /// Adam's first moments.
    FirstMoment,
    /// Adam's second moments.
    SecondMoment,
}

impl StateArray {
    /// All arrays, in the order of a sketch's parts.
    pub const ALL: [Self; 3] = [Self::Parameters, Self::FirstMoment, Self::SecondMoment];
}

/// What part `index` of a sketch is about; none beyond [`PARTS`].
pub fn part(index: usize) -> Option<(StateArray, TensorGroup)> {
    StateArray::ALL
        .into_iter()
        .flat_map(|array| TensorGroup::ALL.map(|group| (array, group)))
        .nth(index)
}

/// Values that lie one after the other and are compared alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueRun {
    /// How many.
    pub len: usize,
    /// The group they belong to.
    pub group: TensorGroup,
    /// Whether they are divided by [`DAMPING_DIVISOR`].
    pub damped: bool,
}

/// How each value of the model's arrays is compared, in canonical order.
///
/// No output of a model with learned positions depends on the biases of attention's keys: they add
/// the same to all scores of a query, and softmax takes that away. What gradient they have is
/// rounding error, and Adam makes steps of it that differ from machine to machine. They are damped,
/// not left out, so that nobody can put there what overflows. Where positions are rotary, keys are
/// turned after the bias is added, and outputs depend on it.
pub fn value_runs(model: &ModelSpec) -> Vec<ValueRun> {
    let plain = |len, group| ValueRun { len, group, damped: false };
    model
        .parameters()
        .iter()
        .flat_map(|parameter| {
            let (len, group) = (parameter.len(), TensorGroup::of(parameter));
            if model.positions == PositionEncoding::Learned
                && parameter.name.ends_with("attn.c_attn.bias")
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

/// Where the values of one array go, in canonical order: one byte of a pseudo-random stream says it
/// for each.
#[derive(Clone, Debug)]
pub struct BucketStream {
    prf: Prf,
}

impl BucketStream {
    /// The places drawn by an audit's `seed` for `array` after `segment` of `trainer`'s update.
    pub fn new(seed: &Hash, trainer: &[u8], segment: u16, array: StateArray) -> Self {
        Self {
            prf: Prf::new("pol/sketch/1", seed, &[trainer, &segment.to_le_bytes(), &[array as u8]]),
        }
    }

    /// Draws the places of the next values, one for each byte of `places`; [`bucket_and_sign`] reads them.
    /// Drawing many at a time is fast.
    pub fn draw(&mut self, places: &mut [u8]) {
        self.prf.fill(places);
    }
}

/// The sum, below [`BUCKETS`], that a value with this byte is added to, and whether with its sign
/// turned.
pub const fn bucket_and_sign(byte: u8) -> (usize, bool) {
    ((byte & 63) as usize, byte & 64 != 0)
}

/// The sketch of one part: [`BUCKETS`] fixed-point numbers `sum · 2^exponent`.
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
    /// Rounds `sums · 2^exponent` to 15 bits of the largest among them.
    pub fn new(sums: &[i64; BUCKETS], exponent: i16) -> Self {
        let largest = sums.iter().map(|sum| sum.unsigned_abs()).max().unwrap_or(0);
        if largest == 0 {
            return Self::default();
        }
        let bits = u64::BITS.saturating_sub(largest.leading_zeros());
        let mut drop = bits.saturating_sub(15);
        // To the nearest, halves away from zero; that may carry into a sixteenth bit.
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

    /// How far this is from `replayed`: the L2 norm of the difference over that of `replayed`, as
    /// their sketches estimate it; [`Ppm::MAX`] where it is beyond everything.
    pub fn distance(&self, replayed: &Self) -> Ppm {
        // Further apart in size than this, one of them is nothing beside the other.
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
        // 32-bit numbers at most, so 70 bits in the sums of squares, and 110 in parts per million
        // squared.
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

/// What a segment changed, in 1,560 bytes: random projections of the change of every [part](part)
/// of the state.
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
    /// By array, then by group: [`part`].
    pub parts: [PartSketch; PARTS],
}

impl Sketch {
    /// How far each part of this is from `replayed`, in millionths of what that changed.
    pub fn distance(&self, replayed: &Self) -> [Ppm; PARTS] {
        let mut distances = [0; PARTS];
        for ((distance, claimed), replayed) in
            distances.iter_mut().zip(&self.parts).zip(&replayed.parts)
        {
            *distance = claimed.distance(replayed);
        }
        distances
    }

    /// Whether no part of this is further from `replayed` than `tolerance`.
    pub fn is_within(&self, replayed: &Self, tolerance: Ppm) -> bool {
        self.distance(replayed).into_iter().all(|distance| distance <= tolerance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::tests::recipe;
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

    /// Values within ±`most`; where `dense` is no, all but one in fifty are zero.
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
        for model in [shared, rotary] {
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
        fn the_distance_is_the_exact_one(seed: Hash, count in 200usize..3_000, share in 3u32..600, dense: bool) {
            let mut prf = Prf::new("pair", &seed, &[]);
            let replayed = values(&mut prf, count, 1_000_000, true);
            let difference = values(&mut prf, count, 1_000 * share, dense);
            let claimed: Vec<i64> = replayed.iter().zip(&difference).map(|(a, b)| a + b).collect();
            let exact = norm(&difference) / norm(&replayed);
            let estimate = f64::from(sketch(&claimed, &seed).distance(&sketch(&replayed, &seed))) / 1e6;
            // What fifteen bits cannot show, and up to half a millionth of the last digit.
            let floor = 3e-4;
            prop_assert!(estimate <= 3.0 * exact + floor && estimate + floor >= exact / 3.0, "{estimate} for {exact}");
        }

        #[test]
        fn no_sketch_overflows(a in prop::array::uniform32(any::<i16>()), b in prop::array::uniform32(any::<i16>()), e: i16, f: i16) {
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
            let scaled = |values: &[i64]| values.iter().map(|value| value << shift).collect::<Vec<_>>();
            let distance = sketch(&a, &seed).distance(&sketch(&b, &seed));
            prop_assert_eq!(sketch(&scaled(&a), &seed).distance(&sketch(&scaled(&b), &seed)), distance);
        }
    }
}
