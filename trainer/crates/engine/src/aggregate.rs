use crate::{Error, check_len, pack::decode};
use pol_model::Layout;
use pol_primitives::{
    payload::{CHUNK, Payload},
    recipe::Recipe,
};

/// The next head's parameters: `base − outer_rate · mean(updates)`, from payloads with their staleness in account order.
///
/// Tensor by tensor, an update whose L2 norm is above the median of the round's is scaled down to it, so that no single
/// one prevails. The median is the lower of two middle norms, of the updates that say anything about the tensor at all.
/// An update weighs `1 / (1 + staleness)`, normalised by the sum of the weights. Norms and factors are float64, the
/// update is summed in float32 in the given order; without updates the head stays.
///
/// Fails on payloads of another model or recipe, and when a parameter would not stay finite. Since clipping and averaging only
/// shrink, an update that aggregates alone also does in company: payloads can be checked one by one before inclusion.
pub fn aggregate(recipe: &Recipe, base: &[f32], updates: &[(Payload, u8)]) -> Result<Vec<f32>, Error> {
    let layout = Layout::new(&recipe.model)?;
    check_len(layout.len(), base.len())?;
    for (payload, _) in updates {
        let fits = payload.values == base.len() as u64 && payload.chunks.len() == base.len().div_ceil(CHUNK);
        if !fits || payload.top_k != recipe.compression.top_k {
            return Err(Error::WrongModel { expected: base.len() as u64, found: payload.values });
        }
    }
    let norms: Vec<Vec<f64>> = updates.iter().map(|(payload, _)| norms(&layout, payload)).collect();
    let medians: Vec<f64> = (0..layout.tensors().len()).map(|tensor| median(norms.iter().map(|norms| norms[tensor]))).collect();
    let weight = |staleness: u8| 1.0 / (1.0 + f64::from(staleness));
    let total_weight: f64 = updates.iter().map(|&(_, staleness)| weight(staleness)).sum();
    let outer_rate = f64::from(recipe.outer_rate) / 1e6;

    let mut movement = vec![0f32; base.len()];
    for ((payload, staleness), norms) in updates.iter().zip(&norms) {
        let share = outer_rate * weight(*staleness) / total_weight;
        let clip = |(&norm, &median): (&f64, &f64)| if norm > median { median / norm } else { 1.0 };
        let factors: Vec<f32> = norms.iter().zip(&medians).map(|pair| (share * clip(pair)) as f32).collect();
        for_each_value(&layout, payload, |tensor, index, value| {
            if let Some(movement) = movement.get_mut(index) {
                *movement += factors[tensor] * value;
            }
        });
    }
    let next: Vec<f32> = base.iter().zip(movement).map(|(&value, movement)| value - movement).collect();
    match next.iter().position(|value| !value.is_finite()) {
        None => Ok(next),
        Some(index) => Err(Error::NotFinite { index }),
    }
}

/// L2 norm of each tensor's part of the update, squares summed in index order.
fn norms(layout: &Layout, payload: &Payload) -> Vec<f64> {
    let mut squares = vec![0.0; layout.tensors().len()];
    for_each_value(layout, payload, |tensor, _, value| squares[tensor] += f64::from(value) * f64::from(value));
    squares.into_iter().map(f64::sqrt).collect()
}

/// The lower median of the norms above zero; zero when there are none.
fn median(norms: impl Iterator<Item = f64>) -> f64 {
    let mut norms: Vec<f64> = norms.filter(|&norm| norm > 0.0).collect();
    norms.sort_unstable_by(f64::total_cmp);
    norms.get(norms.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

/// Calls `visit` with tensor, index in the flat vector and value of every entry, in index order.
fn for_each_value(layout: &Layout, payload: &Payload, mut visit: impl FnMut(usize, usize, f32)) {
    let mut tensors = layout.tensors().iter().map(|slot| slot.range().end).enumerate().peekable();
    for (chunk, start) in payload.chunks.iter().zip((0..).step_by(CHUNK)) {
        for (within, value) in decode(chunk) {
            let index = start + within;
            while tensors.next_if(|&(_, end)| end <= index).is_some() {}
            if let Some(&(tensor, _)) = tensors.peek() {
                visit(tensor, index, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TrainingState, dequantise, pack, test_recipe::recipe};

    /// The payload of an update that is `value` everywhere, times `boost` in the first tensor.
    fn update(value: f32, boost: f32) -> Payload {
        let recipe = recipe();
        let layout = Layout::new(&recipe.model).unwrap();
        let first = layout.tensors()[0].range();
        let parameters = (0..layout.len()).map(|i| -value * if first.contains(&i) { boost } else { 1.0 });
        pack(&recipe, &vec![0.0; layout.len()], &mut TrainingState::fresh(parameters.collect())).unwrap()
    }

    fn base() -> Vec<f32> {
        vec![1.0; recipe().model.size() as usize]
    }

    #[test]
    fn a_lone_update_is_subtracted_whole() {
        let payload = update(0.25, 1.0);
        let sent = dequantise(&payload);
        assert!(sent.contains(&0.25));
        let next = aggregate(&recipe(), &base(), &[(payload, 3)]).unwrap();
        assert!(next.iter().zip(sent).all(|(&next, sent)| next == 1.0 - sent));
        assert_eq!(aggregate(&recipe(), &base(), &[]).unwrap(), base());
    }

    #[test]
    fn stale_updates_weigh_less() {
        let updates = [(update(0.3, 1.0), 0), (update(0.3, 1.0), 1)];
        let next = aggregate(&recipe(), &base(), &updates).unwrap();
        let both = dequantise(&updates[0].0);
        assert!(next.iter().zip(both).all(|(&next, sent)| (next - (1.0 - sent)).abs() < 1e-6));
        let opposed = [(update(0.3, 1.0), 0), (update(-0.3, 1.0), 1)];
        let next = aggregate(&recipe(), &base(), &opposed).unwrap();
        let sent = dequantise(&opposed[0].0);
        assert!(next.iter().zip(sent).all(|(&next, sent)| (next - (1.0 - sent / 3.0)).abs() < 1e-6));
    }

    #[test]
    fn a_giant_is_clipped_to_the_median_of_each_tensor() {
        let updates = [(update(0.01, 1.0), 0), (update(0.02, 1.0), 0), (update(0.01, 1e6), 0)];
        let next = aggregate(&recipe(), &base(), &updates).unwrap();
        assert!(next.iter().all(|value| (value - 1.0).abs() < 0.05));
        assert_ne!(next, base());
    }

    #[test]
    fn medians_are_lower_middles_of_those_that_speak() {
        assert_eq!(median([0.0, 3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0].into_iter()), 1.0);
        assert_eq!(median([0.0].into_iter()), 0.0);
    }

    #[test]
    fn payloads_of_another_recipe_are_refused() {
        let (payload, mut other) = (update(0.1, 1.0), recipe());
        other.compression.top_k += 1;
        assert!(matches!(aggregate(&other, &base(), &[(payload.clone(), 0)]), Err(Error::WrongModel { .. })));
        assert!(matches!(aggregate(&recipe(), &base()[1..], &[(payload.clone(), 0)]), Err(Error::WrongModel { .. })));
        let mut huge = payload.clone();
        (huge.chunks[0].low, huge.chunks[0].high) = (0x7f7f, 0x7f7f);
        let mut fast = recipe();
        fast.outer_rate *= 4;
        assert!(matches!(aggregate(&fast, &base(), &[(huge, 0)]), Err(Error::NotFinite { .. })));
        let short = Payload { chunks: Vec::new(), ..payload };
        assert!(matches!(aggregate(&recipe(), &base(), &[(short, 0)]), Err(Error::WrongModel { .. })));
    }
}
