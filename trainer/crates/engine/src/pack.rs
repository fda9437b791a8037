// SPDX-License-Identifier: Apache-2.0

use crate::{EngineError, TrainingState, check_finite, check_len};
use half::bf16;
use pol_primitives::{
    payload::{CHUNK_SIZE, Chunk, ChunkEntry, Payload},
    recipe::Recipe,
};

/// Values of the base that are read at a time.
const BASE_PIECE: usize = 1 << 18;

/// Compresses a lease's update from `base`, the parameters it started from, to `state`.
///
/// The part of the update that is not sent stays in `state.feedback`; afterwards `state.carry()` is
/// the carry of the lease.
///
/// With `total = decay · feedback + (base − parameters)`, each chunk keeps its `top_k` values of
/// largest magnitude (the lower index first among equals). A kept value is a sign and one of two
/// magnitudes: the mean magnitude of the kept values that are not above the mean of all kept, and
/// the mean of those above it. Means are float64 sums in index order, rounded to bfloat16.
///
/// # Errors
///
/// Fails for vectors of another model, if a value of `total` is not finite, and if the feedback is
/// in a file that cannot be read.
pub fn pack(
    recipe: &Recipe,
    base: &[f32],
    state: &mut TrainingState,
) -> Result<Payload, EngineError> {
    check_len(base.len(), state.parameters.len())?;
    let mut feedback = state.feedback.take()?;
    let payload = compress(recipe, reader(base), &state.parameters, &mut feedback);
    state.feedback = feedback.into();
    payload
}

/// Returns a function that reads the next of `values`, as [`compress`] calls it.
pub(crate) fn reader(mut values: &[f32]) -> impl FnMut(&mut [f32]) -> Result<(), EngineError> {
    move |next: &mut [f32]| {
        check_len(next.len(), values.len().min(next.len()))?;
        let (read, rest) = values.split_at(next.len());
        next.copy_from_slice(read);
        values = rest;
        Ok(())
    }
}

/// Packs as [`pack`] does, given only the two parts of a state that it uses. `read_base` fills its
/// argument with the next values of the base.
pub(crate) fn compress(
    recipe: &Recipe,
    mut read_base: impl FnMut(&mut [f32]) -> Result<(), EngineError>,
    parameters: &[f32],
    feedback: &mut [f32],
) -> Result<Payload, EngineError> {
    let len = recipe.model.size() as usize;
    check_len(len, parameters.len())?;
    check_len(len, feedback.len())?;
    let decay = (f64::from(recipe.compression.feedback) / 1e6) as f32;
    let (total, mut base) = (feedback, vec![0.0; BASE_PIECE.min(len)]);
    for (total, parameters) in total.chunks_mut(BASE_PIECE).zip(parameters.chunks(BASE_PIECE)) {
        let base = &mut base[..total.len()];
        read_base(base)?;
        for ((total, &base), &parameter) in total.iter_mut().zip(&*base).zip(parameters) {
            *total = decay * *total + (base - parameter);
        }
    }
    check_finite(total)?;
    let top_k = recipe.compression.top_k;
    let chunks: Vec<Chunk> =
        total.chunks(CHUNK_SIZE).map(|values| pack_chunk(values, top_k.into())).collect();
    for (chunk, values) in chunks.iter().zip(total.chunks_mut(CHUNK_SIZE)) {
        for (index, sent) in decode(chunk) {
            if let Some(value) = values.get_mut(index) {
                *value -= sent;
            }
        }
    }
    Ok(Payload { top_k, values: len as u64, chunks })
}

/// Returns the update that `payload` encodes, as a dense vector.
pub fn dequantise(payload: &Payload) -> Vec<f32> {
    let mut dense = vec![0.0; payload.values as usize];
    for (chunk, values) in payload.chunks.iter().zip(dense.chunks_mut(CHUNK_SIZE)) {
        for (index, sent) in decode(chunk) {
            if let Some(value) = values.get_mut(index) {
                *value = sent;
            }
        }
    }
    dense
}

/// Returns index within the chunk and value of each entry.
pub(crate) fn decode(chunk: &Chunk) -> impl Iterator<Item = (usize, f32)> + '_ {
    let (low, high) = (from_bf16(chunk.low), from_bf16(chunk.high));
    chunk.entries.iter().map(move |entry| {
        let magnitude = if entry.high { high } else { low };
        (entry.index.into(), if entry.negative { -magnitude } else { magnitude })
    })
}

fn pack_chunk(values: &[f32], top_k: usize) -> Chunk {
    // High bits: magnitude, low bits: inverted index. Descending order then puts the lower index
    // first among equals.
    let key = |(index, value): (usize, &f32)| {
        u64::from(value.abs().to_bits()) << 32 | u64::from(!(index as u32))
    };
    let mut keys: Vec<u64> = values.iter().enumerate().map(key).collect();
    if top_k < keys.len() {
        keys.select_nth_unstable_by(top_k, |a, b| b.cmp(a));
        keys.truncate(top_k);
    }
    let mut indices: Vec<u16> = keys.into_iter().map(|key| !(key as u32) as u16).collect();
    indices.sort_unstable();
    let kept = || indices.iter().map(|&index| values[usize::from(index)]);
    let mean = mean(kept().map(f32::abs)).unwrap_or(0.0);
    let is_high = |value: f32| f64::from(value.abs()) > mean;
    // Only rounding of the mean itself could leave no value at or below it.
    let low = self::mean(kept().map(f32::abs).filter(|&v| !is_high(v))).unwrap_or(mean);
    let high = self::mean(kept().map(f32::abs).filter(|&v| is_high(v))).unwrap_or(low);
    let entries = indices.iter().zip(kept());
    let entries = entries.map(|(&index, value)| ChunkEntry {
        index,
        negative: value < 0.0,
        high: is_high(value),
    });
    Chunk { low: to_bf16(low), high: to_bf16(high), entries: entries.collect() }
}

/// Returns the mean as a float64 sum in order, or `None` for no values.
fn mean(values: impl Iterator<Item = f32>) -> Option<f64> {
    let (sum, count) =
        values.fold((0.0, 0u32), |(sum, count), value| (sum + f64::from(value), count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Rounds a finite non-negative number to bfloat16 bits: to nearest, ties to even, and saturating
/// at the largest finite number.
fn to_bf16(value: f64) -> u16 {
    bf16::from_f32(value as f32).to_bits().min(bf16::MAX.to_bits())
}

fn from_bf16(bits: u16) -> f32 {
    bf16::from_bits(bits).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_recipe::recipe;
    use pol_primitives::prf::Prf;
    use proptest::prelude::*;

    #[test]
    fn bfloat16_rounds_to_nearest_even() {
        let round = |value: f32| from_bf16(to_bf16(value.into()));
        assert_eq!(round(1.0), 1.0);
        assert_eq!(round(f32::from_bits(0x3f80_8000)), 1.0);
        assert_eq!(round(f32::from_bits(0x3f80_8001)), f32::from_bits(0x3f81_0000));
        assert_eq!(round(f32::from_bits(0x3f81_8000)), f32::from_bits(0x3f82_0000));
        assert_eq!(to_bf16(f32::MAX.into()), 0x7f7f);
        assert_eq!(to_bf16(f64::MAX), 0x7f7f);
    }

    #[test]
    fn the_largest_are_kept_and_ties_go_to_the_lower_index() {
        let chunk = pack_chunk(&[1.0, -4.0, 2.0, -2.0, 2.0, 0.0], 3);
        let entry = |index, negative, high| ChunkEntry { index, negative, high };
        assert_eq!(
            chunk.entries,
            [entry(1, true, true), entry(2, false, false), entry(3, true, false)]
        );
        assert_eq!(decode(&chunk).collect::<Vec<_>>(), [(1, -4.0), (2, 2.0), (3, -2.0)]);
        let zeros = pack_chunk(&[0.0; 5], 2);
        assert_eq!((zeros.low, zeros.high, zeros.entries.len()), (0, 0, 2));
    }

    fn packed(seed: u8, top_k: u16) -> (Vec<f32>, TrainingState, TrainingState, Payload) {
        let mut recipe = recipe();
        recipe.compression.top_k = top_k;
        let mut prf = Prf::new("pack", &[seed; 32], &[]);
        let mut values = |scale: f32| -> Vec<f32> {
            (0..recipe.model.size())
                .map(|_| (prf.below(2_001) as f32 - 1_000.0) / 1_000.0 * scale)
                .collect()
        };
        let base = values(1.0);
        let mut before =
            TrainingState::fresh(base.iter().zip(values(0.01)).map(|(b, d)| b - d).collect());
        before.feedback = values(0.003).into();
        before.steps = 1;
        let mut after = before.clone();
        let payload = pack(&recipe, &base, &mut after).unwrap();
        (base, before, after, payload)
    }

    #[test]
    fn vectors_of_another_model_are_refused() {
        let (base, before, ..) = packed(1, 8);
        let mut short = before.clone();
        short.feedback.edit(|values| values.truncate(values.len() - 1)).unwrap();
        assert!(matches!(pack(&recipe(), &base, &mut short), Err(EngineError::WrongModel { .. })));
        assert!(matches!(
            pack(&recipe(), &base[1..], &mut before.clone()),
            Err(EngineError::WrongModel { .. })
        ));
        let mut infinite = before;
        infinite.parameters[3] = f32::INFINITY;
        assert!(matches!(
            pack(&recipe(), &base, &mut infinite),
            Err(EngineError::NotFinite { index: 3 })
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn packed_and_kept_values_add_up(seed: u8, top_k in 1u16..5_000) {
            let top_k = top_k.min(CHUNK_SIZE as u16);
            let (base, before, after, payload) = packed(seed, top_k);
            let sent = dequantise(&payload);
            let (kept, left) =
                (before.feedback.values().unwrap(), after.feedback.values().unwrap());
            for i in 0..base.len() {
                let total = 0.95f32 * kept[i] + (base[i] - before.parameters[i]);
                prop_assert_eq!(left[i].to_bits(), (total - sent[i]).to_bits());
            }
            prop_assert_eq!(&after.parameters, &before.parameters);
            // Sending reduces the values left to send.
            let squares =
                |values: &[f32]| values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
            let total: Vec<f32> = (0..base.len()).map(|i| left[i] + sent[i]).collect();
            prop_assert!(squares(&left) < squares(&total));
        }

        #[test]
        fn payloads_survive_their_encoding(seed: u8, top_k in 1u16..300) {
            let (base, _, _, payload) = packed(seed, top_k);
            let decoded = Payload::decode(&payload.encode(), top_k, base.len() as u64).unwrap();
            prop_assert_eq!(dequantise(&decoded), dequantise(&payload));
        }
    }
}
