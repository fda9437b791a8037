// SPDX-License-Identifier: Apache-2.0

use crate::{
    EngineError, RoundUpdate, Update, check_finite, check_len,
    pack::{decode, reader},
    update::check_payload,
};
use pol_model::{Layout, RewritePlan, TensorSlot};
use pol_primitives::{
    payload::{CHUNK_SIZE, Chunk, Payload},
    recipe::Recipe,
};
use std::ops::Range;

/// Values of the base that are read at a time.
const BASE_PIECE: usize = 1 << 18;
/// Parts in which the movements of an excised round are computed. Each reads all payloads, so that
/// more of them take less memory and more time.
const EXCISION_PARTS: usize = 4;

/// Earlier round that updates are taken out of.
///
/// An update may be excised from a round that lost another one to an earlier head. Then
/// [`Self::before`] lacks that one already: the two lists are the round as the model has it, and as
/// the model is to have it.
#[derive(Clone, Debug)]
pub struct ExcisedRound<U = RoundUpdate> {
    /// Recipe of the round.
    pub recipe: Recipe,
    /// Updates that are still part of the model, in account order.
    pub before: Vec<U>,
    /// Updates among them that stay; possibly none.
    pub after: Vec<U>,
    /// Rewrites of the model since that round, oldest first.
    pub rewrites: Vec<RewritePlan>,
}

impl<U: Update> ExcisedRound<U> {
    /// Returns the movement of the round with these `updates`, as a vector of today's model.
    fn movement(&self, updates: &[U]) -> Result<Vec<f32>, EngineError> {
        let mut movement = movement(&self.recipe, updates)?;
        for plan in &self.rewrites {
            movement = plan.rewrite_state(&movement)?;
        }
        Ok(movement)
    }

    /// Adds `movement(before) − movement(after)` to the parameters `next`.
    fn excise(&self, next: &mut [f32]) -> Result<(), EngineError> {
        if !self.rewrites.is_empty() {
            // A rewrite takes a whole vector.
            let (before, after) = (self.movement(&self.before)?, self.movement(&self.after)?);
            check_len(next.len(), before.len())?;
            add_difference(next, &before, &after);
            return Ok(());
        }
        let before = RoundFactors::new(&self.recipe, &self.before)?;
        let after = RoundFactors::new(&self.recipe, &self.after)?;
        check_len(next.len(), before.layout.len())?;
        let size = next.len().div_ceil(EXCISION_PARTS).max(1);
        for (part, next) in next.chunks_mut(size).enumerate() {
            let range = part * size..part * size + next.len();
            let before = before.movement_of(range.clone(), &self.before)?;
            add_difference(next, &before, &after.movement_of(range, &self.after)?);
        }
        Ok(())
    }
}

/// Adds `before − after` to `next`, value by value.
fn add_difference(next: &mut [f32], before: &[f32], after: &[f32]) {
    next.iter_mut()
        .zip(before)
        .zip(after)
        .for_each(|((next, before), after)| *next += before - after);
}

/// Returns the parameters of the next head: `base − movement(updates)`, and for each excised round,
/// in the given order (ascending by round), `+ (movement(before) − movement(after))`.
///
/// A head is its base less its [`movement()`]. So an excision undoes an earlier round's movement
/// and does it again without the excised updates, medians and weights included. The result is the
/// model that never had them, up to the rounding of float32 sums. Without updates and excisions the
/// head is the base.
///
/// If the model was rewritten since, a movement goes through the rewrites by
/// [`RewritePlan::rewrite_state`]. That map is linear and copies as parameters are copied, so the
/// same holds, except for the biases of experts that were new.
///
/// # Errors
///
/// Fails for payloads of another model or recipe or that cannot be read, and if a parameter would
/// not stay finite. No round moves a tensor further than one update may, so an update that can be
/// aggregated alone can also be aggregated with others: payloads can be checked one by one before
/// inclusion.
pub fn aggregate<U: Update>(
    recipe: &Recipe,
    base: &[f32],
    updates: &[U],
    excisions: &[ExcisedRound<U>],
) -> Result<Vec<f32>, EngineError> {
    check_len(recipe.model.size() as usize, base.len())?;
    aggregate_onto(recipe, reader(base), updates, excisions)
}

/// Returns the next head as [`aggregate()`] does, from a base of which `read_base` fills its
/// argument with the next values. Memory holds one vector of the model's length and a part of one
/// payload; with excisions half a vector more, or two if the model was rewritten since.
///
/// # Errors
///
/// Fails as [`aggregate()`] does, and if `read_base` fails.
pub fn aggregate_onto<U: Update>(
    recipe: &Recipe,
    mut read_base: impl FnMut(&mut [f32]) -> Result<(), EngineError>,
    updates: &[U],
    excisions: &[ExcisedRound<U>],
) -> Result<Vec<f32>, EngineError> {
    let mut next = movement(recipe, updates)?;
    let mut base = vec![0.0; BASE_PIECE.min(next.len())];
    for next in next.chunks_mut(BASE_PIECE) {
        let base = &mut base[..next.len()];
        read_base(base)?;
        next.iter_mut().zip(&*base).for_each(|(next, &base)| *next = base - *next);
    }
    for round in excisions {
        round.excise(&mut next)?;
    }
    check_finite(&next)?;
    Ok(next)
}

/// Returns the movement of a round, which is subtracted from the parameters, from updates in
/// account order. Without updates it is zero.
///
/// The work `uᵢ` of an update is its tokens, as a share of the most that an update of the round
/// has. It weighs `wᵢ = 1 / (1 + staleness)`. The movement is `outer_rate · Σ wᵢ·clip(Δᵢ) / Σ
/// wᵢ·uᵢ`: updates of the same work are averaged, and one of a tenth of the work takes a tenth of a
/// place, so that short updates neither dilute a round nor lengthen it.
///
/// Tensor by tensor, an update is scaled down to `uᵢ` times the median of `norm / u`, so that
/// neither one update nor many short ones prevail. Each update counts by its tokens in that median,
/// over the updates that change the tensor at all, and of two middle values the lower one is taken.
/// Nor may it exceed the norm that honest training can reach, even if an update is alone in its
/// round: parameters that an update adds and an excision takes away must not be so large that
/// float32 loses the others.
///
/// Norms and factors are float64; the update is summed in float32 in the given order.
///
/// # Errors
///
/// Fails for payloads of another model or recipe or that cannot be read.
pub fn movement<U: Update>(recipe: &Recipe, updates: &[U]) -> Result<Vec<f32>, EngineError> {
    RoundFactors::new(recipe, updates)?.movement(updates)
}

/// Factors by which the updates of a round enter its [`movement()`], which is their sum.
#[derive(Clone, Debug)]
pub(crate) struct RoundFactors {
    layout: Layout,
    top_k: u16,
    /// For each update, the factor of each tensor.
    factors: Vec<Vec<f32>>,
}

impl RoundFactors {
    pub(crate) fn new<U: Update>(recipe: &Recipe, updates: &[U]) -> Result<Self, EngineError> {
        let (layout, top_k) = (Layout::new(&recipe.model)?, recipe.compression.top_k);
        let work = work(updates);
        let norms = updates.iter().map(|update| norms(&layout, top_k, update));
        let norms: Vec<Vec<f64>> = norms.collect::<Result<_, _>>()?;
        // Largest norm of an update of the most work.
        let limit = |(tensor, slot): (usize, &TensorSlot)| {
            let rates = norms.iter().zip(&work).zip(updates);
            median(rates.map(|((norms, work), update)| (norms[tensor] / work, update.tokens())))
                .min(max_honest_norm(recipe, slot))
        };
        let limits: Vec<f64> = layout.tensors().iter().enumerate().map(limit).collect();
        let weight = |update: &U| 1.0 / (1.0 + f64::from(update.staleness()));
        let total_weight: f64 =
            updates.iter().zip(&work).map(|(update, work)| weight(update) * work).sum();
        let outer_rate = f64::from(recipe.outer_rate) / 1e6;
        let factors = updates.iter().zip(&work).zip(&norms).map(|((update, work), norms)| {
            let share = outer_rate * weight(update) / total_weight;
            let clip = |(&norm, &limit): (&f64, &f64)| {
                if norm > work * limit { work * limit / norm } else { 1.0 }
            };
            norms.iter().zip(&limits).map(|pair| (share * clip(pair)) as f32).collect()
        });
        let factors = factors.collect();
        Ok(Self { layout, top_k, factors })
    }

    /// Returns the movement by the `updates` that the factors are of.
    pub(crate) fn movement<U: Update>(&self, updates: &[U]) -> Result<Vec<f32>, EngineError> {
        self.movement_of(0..self.layout.len(), updates)
    }

    /// Returns the movement of the parameters in `range`.
    fn movement_of<U: Update>(
        &self,
        range: Range<usize>,
        updates: &[U],
    ) -> Result<Vec<f32>, EngineError> {
        let mut movement = vec![0f32; range.len()];
        for (update, factors) in updates.iter().zip(&self.factors) {
            for_each_value(&self.layout, self.top_k, update, |tensor, index, value| {
                // Below the range, this is beyond every vector.
                let place = index.wrapping_sub(range.start);
                if let Some(movement) = movement.get_mut(place) {
                    *movement += factors[tensor] * value;
                }
            })?;
        }
        Ok(movement)
    }

    /// Returns the inner product of `gradient` with the part of the movement that is due to the
    /// update at `place`, which is `payload`: a float64 sum in the order of the parameters.
    pub(crate) fn product(
        &self,
        place: usize,
        payload: &Payload,
        gradient: &[f32],
    ) -> Result<f64, EngineError> {
        check_payload(payload, self.top_k, self.layout.len() as u64)?;
        check_len(self.layout.len(), gradient.len())?;
        let factors = self.factors.get(place).ok_or(EngineError::NoSuchUpdate { place })?;
        let mut product = 0.0;
        let visit = |tensor: usize, index: usize, value: f32| {
            if let Some(&gradient) = gradient.get(index) {
                product += f64::from(factors[tensor] * value) * f64::from(gradient);
            }
        };
        payload.chunks.iter().for_each(chunk_visitor(&self.layout, visit));
        Ok(product)
    }
}

/// Returns the L2 norm of each tensor's part of the update, with squares summed in index order.
fn norms(layout: &Layout, top_k: u16, update: &impl Update) -> Result<Vec<f64>, EngineError> {
    let mut squares = vec![0.0; layout.tensors().len()];
    for_each_value(layout, top_k, update, |tensor, _, value| {
        squares[tensor] += f64::from(value) * f64::from(value)
    })?;
    Ok(squares.into_iter().map(f64::sqrt).collect())
}

/// Returns the largest L2 norm that an update of a tensor may have.
///
/// Adam's steps are at most about the learning rate, so a lease whose steps all go one way at the
/// peak rate is a bound. The limit is twice that, since error feedback may have accumulated.
fn max_honest_norm(recipe: &Recipe, slot: &TensorSlot) -> f64 {
    let steps = recipe.tiers.iter().map(|tier| tier.inner_steps).max().unwrap_or(0);
    2.0 * f64::from(steps)
        * (recipe.schedule.peak as f64 / 1e9)
        * (slot.parameter.len() as f64).sqrt()
}

/// Returns the tokens of each update as a share of the most that one has. A round without any
/// tokens is one of equal work.
fn work<U: Update>(updates: &[U]) -> Vec<f64> {
    let most = updates.iter().map(U::tokens).max().unwrap_or(0);
    let share = |update: &U| if most == 0 { 1.0 } else { update.tokens() as f64 / most as f64 };
    updates.iter().map(share).collect()
}

/// Returns the lower weighted median of the values above zero, or zero if there are none. A value
/// without any weight counts only beside others of its kind.
fn median(values: impl Iterator<Item = (f64, u64)>) -> f64 {
    let mut values: Vec<_> = values.filter(|&(value, _)| value > 0.0).collect();
    values.sort_unstable_by(|(left, _), (right, _)| left.total_cmp(right));
    let whole: u128 = values.iter().map(|&(_, weight)| u128::from(weight)).sum();
    let mut below = 0;
    let is_middle = |&&(_, weight): &&(f64, u64)| {
        below += u128::from(weight);
        2 * below >= whole
    };
    values.iter().find(is_middle).map_or(0.0, |&(value, _)| value)
}

/// Calls `visit` with tensor, index in the flat vector and value of every entry, in index order.
fn for_each_value(
    layout: &Layout,
    top_k: u16,
    update: &impl Update,
    visit: impl FnMut(usize, usize, f32),
) -> Result<(), EngineError> {
    update.for_each_chunk(top_k, layout.len() as u64, chunk_visitor(layout, visit))
}

/// Returns a function that is called with all chunks in order, and calls `visit` with tensor, index
/// in the flat vector, and value of their entries.
fn chunk_visitor(layout: &Layout, mut visit: impl FnMut(usize, usize, f32)) -> impl FnMut(&Chunk) {
    let mut tensors = layout.tensors().iter().map(|slot| slot.range().end).enumerate().peekable();
    let mut start = 0;
    move |chunk: &Chunk| {
        for (within, value) in decode(chunk) {
            let index = start + within;
            while tensors.next_if(|&(_, end)| end <= index).is_some() {}
            if let Some(&(tensor, _)) = tensors.peek() {
                visit(tensor, index, value);
            }
        }
        start += CHUNK_SIZE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TrainingState, dequantise, pack, test_recipe::recipe};
    use pol_primitives::{
        model::{Experts, ModelSpec},
        rewrite::Rewrite,
    };
    use proptest::prelude::*;

    /// Returns the payload of an update that is `value` everywhere, times `boost` in the first
    /// tensor.
    fn update(value: f32, boost: f32) -> Payload {
        let recipe = recipe();
        let layout = Layout::new(&recipe.model).unwrap();
        let first = layout.tensors()[0].range();
        let parameters =
            (0..layout.len()).map(|i| -value * if first.contains(&i) { boost } else { 1.0 });
        pack(&recipe, &vec![0.0; layout.len()], &mut TrainingState::fresh(parameters.collect()))
            .unwrap()
    }

    /// Returns updates of equal work, from payloads with their staleness.
    fn equal<const N: usize>(updates: [(Payload, u8); N]) -> [RoundUpdate; N] {
        updates.map(|(payload, staleness)| RoundUpdate { payload, staleness, tokens: 8 })
    }

    fn excised(before: Vec<RoundUpdate>, after: Vec<RoundUpdate>) -> ExcisedRound {
        ExcisedRound { recipe: recipe(), before, after, rewrites: Vec::new() }
    }

    fn base() -> Vec<f32> {
        vec![1.0; recipe().model.size() as usize]
    }

    /// Asserts equality up to a few roundings of parameters around one.
    fn assert_near(left: &[f32], right: &[f32]) {
        assert_eq!(left.len(), right.len());
        for (index, (left, right)) in left.iter().zip(right).enumerate() {
            assert!((left - right).abs() < 2e-6, "parameter {index}: {left} and {right}");
        }
    }

    #[test]
    fn a_lone_update_is_subtracted_whole() {
        let payload = update(0.125, 1.0);
        let sent = dequantise(&payload);
        assert!(sent.contains(&0.125));
        let next = aggregate(&recipe(), &base(), &equal([(payload, 3)]), &[]).unwrap();
        assert!(next.iter().zip(sent).all(|(&next, sent)| next == 1.0 - sent));
        assert_eq!(aggregate::<RoundUpdate>(&recipe(), &base(), &[], &[]).unwrap(), base());
    }

    #[test]
    fn stale_updates_weigh_less() {
        let updates = equal([(update(0.1, 1.0), 0), (update(0.1, 1.0), 1)]);
        let next = aggregate(&recipe(), &base(), &updates, &[]).unwrap();
        let both = dequantise(&updates[0].payload);
        assert!(next.iter().zip(both).all(|(&next, sent)| (next - (1.0 - sent)).abs() < 1e-6));
        let opposed = equal([(update(0.1, 1.0), 0), (update(-0.1, 1.0), 1)]);
        let next = aggregate(&recipe(), &base(), &opposed, &[]).unwrap();
        let sent = dequantise(&opposed[0].payload);
        assert!(
            next.iter().zip(sent).all(|(&next, sent)| (next - (1.0 - sent / 3.0)).abs() < 1e-6)
        );
    }

    /// Asserts that a round of updates, given by value and tokens, moves each parameter by
    /// `expected`, up to rounding.
    fn assert_moves(updates: &[(f32, u64)], expected: f32) {
        let of = |&(value, tokens): &(f32, u64)| RoundUpdate {
            payload: update(value, 1.0),
            staleness: 0,
            tokens,
        };
        let updates: Vec<_> = updates.iter().map(of).collect();
        let one = dequantise(&update(1.0, 1.0));
        for (moved, one) in movement(&recipe(), &updates).unwrap().iter().zip(one) {
            assert!((moved - expected * one).abs() < 0.01 * expected, "{moved}, {expected}");
        }
    }

    #[test]
    fn updates_move_the_model_by_their_work() {
        // Twice the work moves twice as far, whoever of them is in the majority.
        assert_moves(&[(0.1, 20), (0.05, 10)], 0.1);
        assert_moves(&[(0.1, 20), (0.05, 10), (0.05, 10), (0.05, 10)], 0.1);
        // One segment of twenty, in any number, neither shortens the others nor dilutes them.
        assert_moves(&[(0.1, 20), (0.005, 1)], 0.1);
        assert_moves(&[(0.1, 20), (0.1, 20), (0.005, 1), (0.005, 1), (0.005, 1)], 0.1);
        // Nor is it worth more if it is as long as the whole.
        assert_moves(&[(0.1, 20), (0.1, 1), (0.1, 1), (0.1, 1)], 0.1);
        // Without tokens nothing moves beside others, and a round without any is of equal work.
        assert_moves(&[(0.1, 20), (0.1, 0)], 0.1);
        assert_moves(&[(0.1, 0), (0.1, 0)], 0.1);
    }

    #[test]
    fn a_giant_is_clipped_to_the_median_of_each_tensor() {
        let updates =
            equal([(update(0.01, 1.0), 0), (update(0.02, 1.0), 0), (update(0.01, 1e6), 0)]);
        let next = aggregate(&recipe(), &base(), &updates, &[]).unwrap();
        assert!(next.iter().all(|value| (value - 1.0).abs() < 0.05));
        assert_ne!(next, base());
    }

    #[test]
    fn a_giant_alone_is_clipped_to_the_norm_of_honest_training_and_leaves_no_trace() {
        let mut giant = update(0.02, 1.0);
        giant.chunks.iter_mut().for_each(|chunk| (chunk.low, chunk.high) = (0x7f7f, 0x7f7f));
        let giant = equal([(giant, 0)]);
        let tainted = aggregate(&recipe(), &base(), &giant, &[]).unwrap();
        for slot in Layout::new(&recipe().model).unwrap().tensors() {
            let moved: f64 =
                tainted[slot.range()].iter().map(|&value| f64::from(value - 1.0).powi(2)).sum();
            // Twice eight steps of a hundredth.
            assert!(
                (moved / slot.parameter.len() as f64).sqrt() < 0.1601,
                "{}",
                slot.parameter.name
            );
        }
        let excised = excised(giant.to_vec(), Vec::new());
        assert_near(&aggregate(&recipe(), &tainted, &[], &[excised]).unwrap(), &base());
    }

    #[test]
    fn medians_are_lower_middles_of_norms_above_zero() {
        let of = |values: &[(f64, u64)]| median(values.iter().copied());
        assert_eq!(of(&[(0.0, 1), (3.0, 1), (1.0, 1), (2.0, 1)]), 2.0);
        assert_eq!(of(&[(4.0, 1), (1.0, 1)]), 1.0);
        assert_eq!(of(&[(0.0, 1)]), 0.0);
        assert_eq!(of(&[(4.0, 20), (1.0, 10), (2.0, 9)]), 4.0);
        assert_eq!(of(&[(4.0, 20), (1.0, 10), (2.0, 10)]), 2.0);
        assert_eq!(of(&[(f64::INFINITY, 0), (f64::NAN, 0), (5.0, 0)]), 5.0);
    }

    #[test]
    fn an_excised_update_was_never_there() {
        // The one in the middle is the median: without it the largest is clipped to the smallest.
        let round = equal([(update(0.01, 1.0), 0), (update(0.02, 3.0), 0), (update(0.03, 2.0), 1)]);
        let kept = [round[0].clone(), round[2].clone()];
        let next = equal([(update(0.005, 1.0), 0)]);
        let tainted = aggregate(&recipe(), &base(), &round, &[]).unwrap();
        let excised = excised(round.to_vec(), kept.to_vec());
        let healed = aggregate(&recipe(), &tainted, &next, &[excised]).unwrap();
        let clean = aggregate(&recipe(), &base(), &kept, &[]).unwrap();
        assert_near(&healed, &aggregate(&recipe(), &clean, &next, &[]).unwrap());
        assert_ne!(tainted, clean);
    }

    #[test]
    fn parts_of_movements_have_the_bits_of_whole_ones() {
        let round = equal([(update(0.01, 1.0), 0), (update(0.02, 3.0), 0), (update(0.03, 2.0), 1)]);
        let kept = [round[0].clone(), round[2].clone()];
        let excised = excised(round.to_vec(), kept.to_vec());
        let found = aggregate(&recipe(), &base(), &round, &[excised]).unwrap();
        let mut expected = aggregate(&recipe(), &base(), &round, &[]).unwrap();
        let [before, after] =
            [&round[..], &kept[..]].map(|updates| movement(&recipe(), updates).unwrap());
        for (index, expected) in expected.iter_mut().enumerate() {
            *expected += before[index] - after[index];
            assert_eq!(found[index].to_bits(), expected.to_bits(), "parameter {index}");
        }
        // A part has the values of its range, across chunks, and of no other.
        let factors = RoundFactors::new(&recipe(), &round).unwrap();
        for range in [0..5, 4_090..4_100, 5_750..before.len(), 7..7] {
            assert_eq!(factors.movement_of(range.clone(), &round).unwrap(), before[range]);
        }
    }

    #[test]
    fn an_update_excised_after_rewrites_was_never_there() {
        let round = equal([(update(0.01, 1.0), 0), (update(0.02, 3.0), 0), (update(0.03, 2.0), 1)]);
        let kept = [round[0].clone(), round[2].clone()];
        let (mut tainted, mut clean) = (
            aggregate(&recipe(), &base(), &round, &[]).unwrap(),
            aggregate(&recipe(), &base(), &kept, &[]).unwrap(),
        );
        let mut after = recipe();
        let mut plans = Vec::new();
        let rewrites = [
            Rewrite::InsertBlock { at: 1 },
            Rewrite::Upcycle { experts: Experts::new(3, 2) },
            Rewrite::Widen { feed_forward: 40 },
            Rewrite::PruneExpert { expert: 1 },
        ];
        for rewrite in rewrites {
            let plan = RewritePlan::new(&after.model, &rewrite).unwrap();
            (tainted, clean) = (
                plan.rewrite_parameters(&tainted).unwrap(),
                plan.rewrite_parameters(&clean).unwrap(),
            );
            after.model = *plan.spec();
            plans.push(plan);
        }
        let furthest = |healed: &[f32]| {
            healed.iter().zip(&clean).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max)
        };
        assert!(furthest(&tainted) > 1e-3);
        let excised = ExcisedRound { rewrites: plans, ..excised(round.to_vec(), kept.to_vec()) };
        let healed = aggregate(&after, &tainted, &[], std::slice::from_ref(&excised)).unwrap();
        assert_near(&healed, &clean);
        // Without the rewrites the round is of another model.
        let unaware = ExcisedRound { rewrites: Vec::new(), ..excised };
        assert!(matches!(
            aggregate(&after, &tainted, &[], &[unaware]),
            Err(EngineError::WrongModel { .. })
        ));
    }

    #[test]
    fn nothing_is_left_of_a_round_whose_updates_are_all_excised() {
        let round = equal([(update(0.02, 1.0), 0), (update(-0.3, 2.0), 0)]);
        let tainted = aggregate(&recipe(), &base(), &round, &[]).unwrap();
        let excised = excised(round.to_vec(), Vec::new());
        assert_near(&aggregate(&recipe(), &tainted, &[], &[excised]).unwrap(), &base());
    }

    #[test]
    fn an_excision_of_another_model_is_refused() {
        let mut other = recipe();
        other.model = ModelSpec::gpt2(64, 8, 1, 1, 8, 16);
        let excised = ExcisedRound { recipe: other, ..excised(Vec::new(), Vec::new()) };
        assert!(matches!(
            aggregate(&recipe(), &base(), &[], &[excised]),
            Err(EngineError::WrongModel { .. })
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// Takes updates of two rounds out of three later heads, in any order and together with new
        /// updates.
        #[test]
        fn excised_updates_were_never_there(
            values in prop::collection::vec(
                (-0.05f32..0.05, 0.1f32..20.0, 0u8..3, 0usize..4, 0u64..20), 6,
            ),
        ) {
            let updates: Vec<_> = values
                .iter()
                .map(|&(value, boost, staleness, _, tokens)| {
                    RoundUpdate { payload: update(value, boost), staleness, tokens }
                })
                .collect();
            let rounds = [0..3, 3..6];
            // Updates of a round that heads up to `head` leave in; 3 stands for no head.
            let left = |round: &std::ops::Range<usize>, head: usize| {
                round
                    .clone()
                    .filter(|&at| values[at].3 == 3 || values[at].3 > head)
                    .map(|at| updates[at].clone())
                    .collect::<Vec<_>>()
            };
            let all = |round: &std::ops::Range<usize>| updates[round.clone()].to_vec();
            let (mut healed, mut clean) = (base(), base());
            for round in &rounds {
                healed = aggregate(&recipe(), &healed, &all(round), &[]).unwrap();
                clean = aggregate(&recipe(), &clean, &left(round, 2), &[]).unwrap();
            }
            for head in 0..3 {
                let before = |round| if head == 0 { all(round) } else { left(round, head - 1) };
                let excisions: Vec<ExcisedRound> = rounds
                    .iter()
                    .map(|round| excised(before(round), left(round, head)))
                    .filter(|excised| excised.before.len() > excised.after.len())
                    .collect();
                let next = equal([(update(0.01, 1.0), 0)]);
                healed = aggregate(&recipe(), &healed, &next, &excisions).unwrap();
                clean = aggregate(&recipe(), &clean, &next, &[]).unwrap();
            }
            assert_near(&healed, &clean);
        }
    }

    #[test]
    fn payloads_of_another_recipe_are_refused() {
        let (payload, mut other) = (update(0.1, 1.0), recipe());
        other.compression.top_k += 1;
        assert!(matches!(
            aggregate(&other, &base(), &equal([(payload.clone(), 0)]), &[]),
            Err(EngineError::WrongModel { .. })
        ));
        assert!(matches!(
            aggregate(&recipe(), &base()[1..], &equal([(payload.clone(), 0)]), &[]),
            Err(EngineError::WrongModel { .. })
        ));
        let mut infinite = base();
        infinite[7] = f32::INFINITY;
        assert!(matches!(
            aggregate::<RoundUpdate>(&recipe(), &infinite, &[], &[]),
            Err(EngineError::NotFinite { index: 7 })
        ));
        let short = Payload { chunks: Vec::new(), ..payload };
        assert!(matches!(
            aggregate(&recipe(), &base(), &equal([(short, 0)]), &[]),
            Err(EngineError::WrongModel { .. })
        ));
    }
}
