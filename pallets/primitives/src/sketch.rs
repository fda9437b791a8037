//! Replays that need not agree in every bit: the native numerics profile.
//!
//! Fast kernels add in other orders on other machines, so honest replays of a segment end near each
//! other, not in the same bits. They are compared by how far apart they are, in the L2 norm and
//! relative to what the segment changed, in each of [`PARTS`] parts of the state: parameters and
//! both moments, by kind of tensor. Moments are compared since the next segment starts from them:
//! forged ones would steer a replay that is itself honest.
//!
//! States are large, so what is compared on chain are [`Sketch`]es: of each part, every value of
//! the change is added, with a random sign, to one of [`SUMS`] sums drawn at random (Charikar, Chen
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
    Balance, Hash, MILLION, Ppm,
    audit::{Finding, Measure, ServedState, Verdict, median},
    model::{ModelSpec, Parameter, Positions},
    prf::Prf,
    round::is_quorum,
};
use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Sums of each part of a sketch.
pub const SUMS: usize = 64;
/// Parts of a sketch: every [`Array`] of each [`Group`].
pub const PARTS: usize = Array::ALL.len() * Group::ALL.len();
/// What a value that no output depends on is divided by before it is compared: see [`runs`].
pub const DAMPING: u8 = 64;
/// Segments of one update that one draw audits. Those of one draw must not touch, since a replay
/// that goes on from its own end adds up what is apart, and evidence about 64 updates must fit an
/// extrinsic.
pub const MAX_SKETCHED: u32 = 1;

/// Tensors of a kind, which are compared together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Embeddings of tokens and positions.
    Embedding,
    /// Matrices of attention.
    Attention,
    /// Matrices of the feed-forward parts and of superpositions.
    FeedForward,
    /// Norms and biases.
    Vectors,
}

impl Group {
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
pub enum Array {
    /// The parameters.
    Parameters,
    /// Adam's first moments.
    FirstMoment,
    /// Adam's second moments.
    SecondMoment,
}

impl Array {
    /// All arrays, in the order of a sketch's parts.
    pub const ALL: [Self; 3] = [Self::Parameters, Self::FirstMoment, Self::SecondMoment];
}

/// What part `index` of a sketch is about; none beyond [`PARTS`].
pub fn part(index: usize) -> Option<(Array, Group)> {
    Array::ALL.into_iter().flat_map(|array| Group::ALL.map(|group| (array, group))).nth(index)
}

/// Values that lie one after the other and are compared alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// How many.
    pub len: usize,
    /// The group they belong to.
    pub group: Group,
    /// Whether they are divided by [`DAMPING`].
    pub damped: bool,
}

/// How each value of the model's arrays is compared, in canonical order.
///
/// No output of a model with learned positions depends on the biases of attention's keys: they add
/// the same to all scores of a query, and softmax takes that away. What gradient they have is
/// rounding error, and Adam makes steps of it that differ from machine to machine. They are damped,
/// not left out, so that nobody can put there what overflows. Where positions are rotary, keys are
/// turned after the bias is added, and outputs depend on it.
pub fn runs(model: &ModelSpec) -> Vec<Run> {
    let plain = |len, group| Run { len, group, damped: false };
    model
        .parameters()
        .iter()
        .flat_map(|parameter| {
            let (len, group) = (parameter.len(), Group::of(parameter));
            if model.positions == Positions::Learned && parameter.name.ends_with("attn.c_attn.bias")
            {
                let [queries, keys] =
                    [model.attention_width(), model.key_value_width()].map(|width| width as usize);
                [plain(queries, group), Run { len: keys, group, damped: true }, plain(keys, group)]
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
pub struct Places {
    prf: Prf,
}

impl Places {
    /// The places drawn by an audit's `seed` for `array` after `segment` of `trainer`'s update.
    pub fn new(seed: &Hash, trainer: &[u8], segment: u16, array: Array) -> Self {
        Self {
            prf: Prf::new("pol/sketch/1", seed, &[trainer, &segment.to_le_bytes(), &[array as u8]]),
        }
    }

    /// Draws the places of the next values, one for each byte of `places`; [`place`] reads them.
    /// Drawing many at a time is fast.
    pub fn draw(&mut self, places: &mut [u8]) {
        self.prf.fill(places);
    }
}

/// The sum, below [`SUMS`], that a value with this byte is added to, and whether with its sign
/// turned.
pub const fn place(byte: u8) -> (usize, bool) {
    ((byte & 63) as usize, byte & 64 != 0)
}

/// The sketch of one part: [`SUMS`] fixed-point numbers `sum · 2^exponent`.
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
    sums: [i16; SUMS],
}

impl Default for PartSketch {
    fn default() -> Self {
        Self { exponent: 0, sums: [0; SUMS] }
    }
}

impl PartSketch {
    /// Rounds `sums · 2^exponent` to 15 bits of the largest among them.
    pub fn new(sums: &[i64; SUMS], exponent: i16) -> Self {
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
    pub fn distance_within(&self, replayed: &Self, tolerance: Ppm) -> bool {
        self.distance(replayed).into_iter().all(|distance| distance <= tolerance)
    }
}

/// A state at the end of a drawn segment, as its trainer opens it.
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
pub struct SketchedEnd {
    /// The state, whose digest is the leaf.
    pub state: ServedState,
    /// The sketch of what the segment changed.
    pub sketch: Sketch,
}

impl SketchedEnd {
    /// Whether the state can be the one after `segment` of `steps` steps that began in `start`:
    /// steps are counted on, and the error feedback stays the same. That of a fresh start has no
    /// name yet: its zeros are compared by whoever has the state.
    pub fn follows(&self, start: &ServedState, segment: u16, steps: u16) -> bool {
        let carry = &self.state.carry;
        start.leaf == segment
            && Some(self.state.leaf) == segment.checked_add(1)
            && Some(carry.steps) == start.carry.steps.checked_add(steps.into())
            && (start.carry.steps == 0 || carry.feedback == start.carry.feedback)
    }
}

/// What a seat found when it fetched the ends that were opened.
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
pub enum Binding {
    /// The opened sketches are those of the opened leaves, and packing the final state gives
    /// payload and carry.
    #[codec(index = 0)]
    Bound,
    /// They are not, or it does not.
    #[codec(index = 1)]
    Other,
    /// A state that was named could not be fetched.
    #[codec(index = 2)]
    Unavailable,
}

/// One seat on an update.
#[derive(Clone, Copy, Debug)]
pub struct Seat<'a> {
    /// Its stake.
    pub stake: Balance,
    /// What it committed to and revealed.
    pub finding: Option<&'a Finding>,
    /// What it said of the opened ends.
    pub binding: Option<Binding>,
}

/// What a seat says of an update.
#[derive(Clone, Copy)]
enum Word<'a> {
    Valid,
    Withheld,
    Impossible,
    /// What was opened is not what it should be of.
    Other,
    /// The replay ended too far from what was opened.
    Beyond(&'a [Sketch]),
}

fn within(claimed: &[Sketch], replayed: &[Sketch], tolerance: Ppm) -> bool {
    claimed.len() == replayed.len()
        && claimed
            .iter()
            .zip(replayed)
            .all(|(claimed, replayed)| claimed.distance_within(replayed, tolerance))
}

impl<'a> Word<'a> {
    /// What `seat` says; nothing as long as half of it is missing, or where it is of the other
    /// profile.
    fn of(seat: &Seat<'a>, opened: &[Sketch], tolerance: Ppm) -> Option<Self> {
        Some(match (seat.finding?, seat.binding) {
            (Finding::Unavailable, _) => Self::Withheld,
            (Finding::Impossible, _) => Self::Impossible,
            (Finding::Sketched { .. }, Some(Binding::Unavailable)) => Self::Withheld,
            (Finding::Sketched { .. }, Some(Binding::Other)) => Self::Other,
            (Finding::Sketched { ends, .. }, Some(Binding::Bound))
                if within(opened, ends, tolerance) =>
            {
                Self::Valid
            }
            (Finding::Sketched { ends, .. }, Some(Binding::Bound)) => Self::Beyond(ends),
            (Finding::Sketched { .. }, None) | (Finding::Replayed { .. }, _) => return None,
        })
    }

    fn verdict(self) -> Verdict {
        match self {
            Self::Valid => Verdict::Valid,
            Self::Withheld => Verdict::Withheld,
            Self::Impossible | Self::Other | Self::Beyond(_) => Verdict::Invalid,
        }
    }

    /// Whether `other` says the same: replays that contradict what was opened must also be replays
    /// of one thing.
    fn same(self, other: Self, tolerance: Ppm) -> bool {
        match (self, other) {
            (Self::Beyond(ends), Self::Beyond(others)) => within(others, ends, tolerance),
            (Self::Valid, Self::Valid)
            | (Self::Withheld, Self::Withheld)
            | (Self::Impossible, Self::Impossible)
            | (Self::Other, Self::Other) => true,
            _ => false,
        }
    }
}

/// Compares what the seats found with the sketches that were opened; no opening is no defence. As
/// in [`crate::audit::judge`], the stake of all seats counts, also of those that said nothing, and
/// what contradicts the trainer must agree with itself.
pub fn judge(opened: Option<&[Sketch]>, tolerance: Ppm, seats: &[Seat<'_>]) -> Verdict {
    let Some(opened) = opened else { return Verdict::Withheld };
    decided(opened, tolerance, seats).map_or(Verdict::Unresolved, Word::verdict)
}

/// What a quorum of the seats' stake says, also of those that said nothing.
fn decided<'a>(opened: &[Sketch], tolerance: Ppm, seats: &[Seat<'a>]) -> Option<Word<'a>> {
    let whole = seats.iter().fold(0, |sum: Balance, seat| sum.saturating_add(seat.stake));
    let words: Vec<(Word<'_>, Balance)> = seats
        .iter()
        .filter_map(|seat| Some((Word::of(seat, opened, tolerance)?, seat.stake)))
        .collect();
    let saying = |word: Word<'_>| {
        let same = words.iter().filter(|(other, _)| word.same(*other, tolerance));
        same.fold(0, |sum: Balance, (_, stake)| sum.saturating_add(*stake))
    };
    words
        .iter()
        .find(|(word, _)| whole > 0 && is_quorum(saying(*word), whole))
        .map(|(word, _)| *word)
}

/// Which of the seats say what the quorum says; nobody where there was none.
pub fn right_seats(opened: Option<&[Sketch]>, tolerance: Ppm, seats: &[Seat<'_>]) -> Vec<bool> {
    let word = opened.and_then(|opened| Some((opened, decided(opened, tolerance, seats)?)));
    let right = |seat: &Seat<'_>| {
        word.is_some_and(|(opened, word)| {
            Word::of(seat, opened, tolerance).is_some_and(|said| word.same(said, tolerance))
        })
    };
    seats.iter().map(right).collect()
}

/// The stake-weighted median of each figure over the seats that are right about a valid update.
pub fn consensus(opened: &[Sketch], tolerance: Ppm, seats: &[Seat<'_>]) -> Measure {
    let right =
        seats.iter().filter_map(|seat| match (Word::of(seat, opened, tolerance)?, seat.finding?) {
            (Word::Valid, Finding::Sketched { measure, .. }) => Some((measure, seat.stake)),
            _ => None,
        });
    median(&right.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoundedVec, audit::Evidence, recipe::tests::recipe, trace::Carry};
    use proptest::prelude::*;

    const TOLERANCE: Ppm = 10_000;

    /// The sketch of one part with these values, drawn by `seed`.
    fn sketch(values: &[i64], seed: &Hash) -> PartSketch {
        let mut bytes = vec![0; values.len()];
        Places::new(seed, &[7; 32], 3, Array::Parameters).draw(&mut bytes);
        let mut sums = [0; SUMS];
        for (value, (sum, turned)) in values.iter().zip(bytes.into_iter().map(place)) {
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
            runs(model).into_iter().filter(|run| run.damped).map(|run| run.len).collect::<Vec<_>>()
        };
        assert_eq!(damped(&shared), [4; 3]);
        let positions = Positions::Rotary { dimensions: 2, base: 10_000, interleaved: false };
        let rotary = ModelSpec { positions, ..shared };
        assert_eq!(damped(&rotary), [0; 0]);
        for model in [shared, rotary] {
            assert_eq!(runs(&model).iter().map(|run| run.len as u64).sum::<u64>(), model.size());
        }
    }

    #[test]
    fn parts_and_runs_cover_the_state() {
        assert_eq!(part(0), Some((Array::Parameters, Group::Embedding)));
        assert_eq!(part(7), Some((Array::FirstMoment, Group::Vectors)));
        assert_eq!(
            (part(PARTS - 1), part(PARTS)),
            (Some((Array::SecondMoment, Group::Vectors)), None)
        );
        let model = recipe().model;
        let runs = runs(&model);
        let count = |group| {
            runs.iter().filter(|run| run.group == group).map(|run| run.len as u64).sum::<u64>()
        };
        // Sizes by hand: vocabulary 8,192, context 128, width 128, feed-forward 512, four blocks.
        assert_eq!(count(Group::Embedding), (8_192 + 128) * 128);
        assert_eq!(count(Group::Attention), 4 * (128 * 384 + 128 * 128));
        assert_eq!(count(Group::FeedForward), 4 * 2 * 128 * 512);
        assert_eq!(count(Group::Vectors), 4 * (4 * 128 + 384 + 128 + 512 + 128) + 2 * 128);
        assert_eq!(Group::ALL.map(count).iter().sum::<u64>(), model.size());
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
            let mut sums = [0; SUMS];
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
        let all = |sum, exponent| PartSketch { exponent, sums: [sum; SUMS] };
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
        let replayed = Sketch { parts: [PartSketch { exponent: 0, sums: [20_000; SUMS] }; PARTS] };
        assert!(replayed.distance_within(&replayed, 0));
        for at in 0..PARTS {
            let mut claimed = replayed;
            claimed.parts[at].sums = [20_200; SUMS];
            assert!(
                claimed.distance_within(&replayed, 10_000)
                    && !claimed.distance_within(&replayed, 9_999),
                "part {at}"
            );
        }
    }

    /// A sketch whose parts all are `size`.
    fn flat(size: i16) -> Sketch {
        Sketch { parts: [PartSketch { exponent: 0, sums: [size; SUMS] }; PARTS] }
    }

    fn sketched(ends: &[Sketch], gain: i32) -> Finding {
        Finding::Sketched {
            ends: ends.to_vec().try_into().unwrap(),
            measure: Measure { gain, ..Measure::default() },
        }
    }

    fn replayed(size: i16) -> Finding {
        sketched(&[flat(size)], 0)
    }

    fn verdict(seats: &[(Balance, Option<&Finding>, Option<Binding>)]) -> Verdict {
        let seats: Vec<_> = seats
            .iter()
            .map(|&(stake, finding, binding)| Seat { stake, finding, binding })
            .collect();
        judge(Some(&[flat(20_000)]), TOLERANCE, &seats)
    }

    #[test]
    fn a_quorum_decides() {
        let (near, far, further) = (replayed(20_100), replayed(21_000), replayed(25_000));
        let (bound, other, lost) =
            (Some(Binding::Bound), Some(Binding::Other), Some(Binding::Unavailable));
        assert_eq!(verdict(&[(67, Some(&near), bound), (33, Some(&far), bound)]), Verdict::Valid);
        assert_eq!(verdict(&[(33, Some(&near), bound), (67, Some(&far), bound)]), Verdict::Invalid);
        assert_eq!(
            verdict(&[(66, Some(&near), bound), (34, None, None)]),
            Verdict::Unresolved,
            "silence counts"
        );
        assert_eq!(
            verdict(&[(66, Some(&near), bound), (34, Some(&near), None)]),
            Verdict::Unresolved,
            "so does half of a word"
        );
        assert_eq!(
            verdict(&[(50, Some(&far), bound), (50, Some(&further), bound)]),
            Verdict::Unresolved,
            "of one thing"
        );
        assert_eq!(
            verdict(&[(67, Some(&near), other), (33, Some(&near), bound)]),
            Verdict::Invalid
        );
        assert_eq!(
            verdict(&[(67, Some(&near), lost), (33, Some(&near), bound)]),
            Verdict::Withheld
        );
        assert_eq!(
            verdict(&[
                (40, Some(&near), lost),
                (27, Some(&Finding::Unavailable), None),
                (33, None, None)
            ]),
            Verdict::Withheld
        );
        assert_eq!(
            verdict(&[(67, Some(&Finding::Impossible), None), (33, Some(&near), bound)]),
            Verdict::Invalid
        );
        assert_eq!(verdict(&[]), Verdict::Unresolved);
        let seat = Seat { stake: 1, finding: Some(&near), binding: bound };
        assert_eq!(judge(None, TOLERANCE, &[seat]), Verdict::Withheld);
        assert_eq!(
            judge(Some(&[]), TOLERANCE, &[seat]),
            Verdict::Invalid,
            "another number of ends"
        );
    }

    #[test]
    fn seats_are_right_about_what_they_said() {
        let (near, far, further) = (replayed(20_100), replayed(21_000), replayed(25_000));
        let (bound, other, lost) =
            (Some(Binding::Bound), Some(Binding::Other), Some(Binding::Unavailable));
        // The first of the seats makes a quorum.
        let right = |seats: &[(&Finding, Option<Binding>)]| {
            let seats = seats.iter().zip(0..).map(|(&(finding, binding), at)| Seat {
                stake: if at == 0 { 90 } else { 2 },
                finding: Some(finding),
                binding,
            });
            let seats: Vec<_> = seats.collect();
            assert!(right_seats(None, TOLERANCE, &seats).iter().all(|right| !right));
            right_seats(Some(&[flat(20_000)]), TOLERANCE, &seats)
        };
        let exact = Finding::Replayed {
            ends: BoundedVec::new(),
            packed: true,
            measure: Measure::default(),
        };
        assert_eq!(
            right(&[(&near, bound), (&far, bound), (&near, None), (&near, other), (&exact, bound)]),
            [true, false, false, false, false]
        );
        assert_eq!(
            right(&[
                (&far, bound),
                (&near, bound),
                (&further, bound),
                (&Finding::Impossible, None),
                (&far, bound)
            ]),
            [true, false, false, false, true]
        );
        assert_eq!(right(&[(&near, other), (&far, other), (&near, bound)]), [true, true, false]);
        assert_eq!(
            right(&[(&near, lost), (&Finding::Unavailable, None), (&near, other)]),
            [true, true, false]
        );
        let seat = |finding| Seat { stake: 1, finding: Some(finding), binding: bound };
        assert_eq!(
            right_seats(Some(&[flat(20_000)]), TOLERANCE, &[seat(&near), seat(&far)]),
            [false; 2],
            "no quorum"
        );
        assert_eq!(
            right_seats(Some(&[flat(20_000)]), TOLERANCE, &[Seat { stake: 0, ..seat(&near) }]),
            [false]
        );
    }

    #[test]
    fn only_seats_within_the_tolerance_measure() {
        let findings = [(20_000, 5), (20_100, 7), (19_900, 6), (25_000, 900)]
            .map(|(size, gain)| sketched(&[flat(size)], gain));
        let seat =
            |finding| Seat { stake: 1, finding: Some(finding), binding: Some(Binding::Bound) };
        let mut seats: Vec<_> = findings.iter().map(seat).collect();
        assert_eq!(consensus(&[flat(20_000)], TOLERANCE, &seats).gain, 6);
        seats[0].binding = None;
        seats[2].binding = Some(Binding::Other);
        assert_eq!(consensus(&[flat(20_000)], TOLERANCE, &seats).gain, 7);
        assert_eq!(consensus(&[flat(1)], TOLERANCE, &seats), Measure::default());
    }

    #[test]
    fn an_end_follows_its_start() {
        let carry = |steps, feedback| Carry {
            first_moment: [1; 32],
            second_moment: [2; 32],
            feedback: [feedback; 32],
            steps,
        };
        let start = ServedState { leaf: 3, root: [1; 32], carry: carry(10, 7) };
        let end = |leaf, carry| SketchedEnd {
            state: ServedState { leaf, root: [2; 32], carry },
            sketch: flat(1),
        };
        let follows = |end: SketchedEnd| end.follows(&start, 3, 2);
        assert!(follows(end(4, carry(12, 7))));
        assert!(
            !follows(end(5, carry(12, 7)))
                && !follows(end(4, carry(11, 7)))
                && !follows(end(4, carry(12, 8)))
        );
        assert!(!end(4, carry(12, 7)).follows(&ServedState { leaf: 2, ..start }, 3, 2));
        let fresh = ServedState { leaf: 0, root: [1; 32], carry: Carry::default() };
        assert!(
            end(1, carry(2, 7)).follows(&fresh, 0, 2) && !end(1, carry(3, 7)).follows(&fresh, 0, 2)
        );
        assert!(!end(0, carry(12, 7)).follows(
            &ServedState { leaf: u16::MAX, ..start },
            u16::MAX,
            2
        ));
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
        fn what_is_opened_and_found_reads_back(root: Hash, steps: u64, leaf: u16, at: u8, gain: i32, seed: Hash) {
            let values = values(&mut Prf::new("part", &seed, &[]), 50, 1_000_000, true);
            let sketch = Sketch { parts: [sketch(&values, &seed); PARTS] };
            let carry = Carry { first_moment: seed, second_moment: root, feedback: seed, steps };
            let end = SketchedEnd { state: ServedState { leaf, root, carry }, sketch };
            prop_assert_eq!(SketchedEnd::decode(&mut &end.encode()[..]), Ok(end));
            prop_assert!(end.encode().len() <= SketchedEnd::max_encoded_len());
            let evidence = Evidence::truncate_from(vec![(at, sketched(&[sketch], gain))]);
            prop_assert_eq!(Evidence::decode(&mut &evidence.encode()[..]), Ok(evidence.clone()));
            prop_assert!(Evidence::decode(&mut &evidence.encode()[..evidence.encode().len() - 1]).is_err());
        }

        #[test]
        fn no_sketch_overflows(a in prop::array::uniform32(any::<i16>()), b in prop::array::uniform32(any::<i16>()), e: i16, f: i16) {
            let part = |values: [i16; 32], exponent| {
                let mut sums = [0; SUMS];
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
