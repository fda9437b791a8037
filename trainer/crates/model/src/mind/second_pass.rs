// SPDX-License-Identifier: Apache-2.0

use super::{RowCache, introspect};
use crate::Error;
use tch::{Kind, Tensor};

/// Parameters of a second pass: the introspection head, and the gate `[1]` that scales the change.
#[derive(Clone, Copy, Debug)]
pub struct SecondPassTensors<'a> {
    /// `mind.introspection.weight` `[width]`.
    pub weight: &'a Tensor,
    /// `mind.introspection.bias` `[1]`.
    pub bias: &'a Tensor,
    /// `mind.second_pass.gate` `[1]`.
    pub gate: &'a Tensor,
}

/// Reprocesses the tokens with a high predicted loss: `x + gate · m · (again − x)`.
///
/// `x` is the residual `stream` `[batch · length, width]` after the last block, `again` the stream
/// after the last blocks ran once more, and `m` is 1 for tokens that
/// [need a second pass](needs_second_pass), else 0. `normed` is the stream after the final norm,
/// the input of introspection.
///
/// With a `cache`, tokens continue the cached ones, and `again` is not called if no token needs it.
/// No gradient flows through the selection. Computation that varies with the token goes back to
/// Graves (2016, "Adaptive Computation Time for Recurrent Neural Networks"), running the same
/// blocks again to Dehghani et al. (2018, "Universal Transformers").
///
/// # Errors
///
/// Fails if the shapes do not match or `again` fails.
pub fn second_pass(
    tensors: &SecondPassTensors<'_>,
    stream: &Tensor,
    normed: &Tensor,
    batch: i64,
    cache: Option<&mut RowCache>,
    again: impl FnOnce() -> Result<Tensor, Error>,
) -> Result<Tensor, Error> {
    let decoding = cache.is_some();
    let predicted =
        introspect(tensors.weight, tensors.bias, normed)?.f_detach()?.f_view([batch, -1])?;
    let chosen = needs_second_pass(&predicted, cache)?;
    if decoding && !bool::try_from(chosen.f_any()?)? {
        return Ok(stream.shallow_clone());
    }
    let mask = chosen.f_to_kind(stream.kind())?.f_view([-1, 1])?;
    Ok(stream.f_add(&again()?.f_sub(stream)?.f_mul(&mask)?.f_mul(tensors.gate)?)?)
}

/// Selects the tokens that need a second pass, bool `[batch, length]`, by their `predicted` losses
/// `[batch, length]`.
///
/// A token is selected if its predicted loss is above the mean of the predictions so far in its
/// sequence, which `cache` continues. Later tokens do not count, so that the selection is causal.
/// The first token is never selected.
///
/// # Errors
///
/// Fails if the shapes do not match.
pub fn needs_second_pass(
    predicted: &Tensor,
    cache: Option<&mut RowCache>,
) -> Result<Tensor, Error> {
    let length = predicted.size2()?.1;
    let all = match cache {
        Some(cache) => cache.extend(&predicted.f_unsqueeze(-1)?)?.f_squeeze_dim(-1)?,
        None => predicted.shallow_clone(),
    };
    let total = all.size2()?.1;
    let counts: Vec<f32> = (1..=total).map(|count| count as f32).collect();
    let counts = Tensor::f_from_slice(&counts)?.f_to(predicted.device())?;
    let means =
        all.f_cumsum(1, Kind::Float)?.f_div(&counts)?.f_narrow(1, total - length, length)?;
    Ok(predicted.f_gt_tensor(&means)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(predicted: &[f32]) -> Vec<bool> {
        Vec::try_from(
            needs_second_pass(&Tensor::from_slice(predicted).view([1, -1]), None)
                .unwrap()
                .view([-1]),
        )
        .unwrap()
    }

    #[test]
    fn tokens_above_the_mean_so_far_are_chosen() {
        // Means so far: 2, 2.5, 2, 2.25.
        assert_eq!(chosen(&[2.0, 3.0, 1.0, 3.0]), [false, true, false, true]);
        assert_eq!(chosen(&[2.0; 4]), [false; 4]);
        // Later tokens do not matter.
        assert_eq!(chosen(&[2.0, 3.0, 99.0])[..2], chosen(&[2.0, 3.0, -99.0])[..2]);
    }

    #[test]
    fn decoding_selects_as_one_forward_pass_does() {
        let predicted =
            Tensor::from_slice(&[2.0f32, 3.0, 1.0, 3.0, 2.2, 0.5, 0.1, 0.2, 0.9, 0.3]).view([2, 5]);
        let whole = needs_second_pass(&predicted, None).unwrap();
        let mut cache = RowCache::default();
        for (from, length) in [(0, 2), (2, 1), (3, 2)] {
            let part =
                needs_second_pass(&predicted.narrow(1, from, length), Some(&mut cache)).unwrap();
            assert_eq!(part, whole.narrow(1, from, length));
        }
        assert_eq!(cache.len(), 5);
        // Going back to the second token of the swapped sequences.
        cache.truncate(2).unwrap();
        let mut cache = cache.select(&Tensor::from_slice(&[1i64, 0])).unwrap();
        let swapped = predicted.flip([0]);
        assert_eq!(
            needs_second_pass(&swapped.narrow(1, 2, 3), Some(&mut cache)).unwrap(),
            whole.flip([0]).narrow(1, 2, 3)
        );
    }

    #[test]
    fn chosen_tokens_move_by_the_gate() {
        let gate = |value: f32| Tensor::from_slice(&[value]).set_requires_grad(true);
        let weight = Tensor::from_slice(&[1f32]).set_requires_grad(true);
        let bias = Tensor::from_slice(&[0f32]).set_requires_grad(true);
        let stream =
            Tensor::from_slice(&[2.0f32, 3.0, 1.0, 3.0]).view([4, 1]).set_requires_grad(true);
        let other = Tensor::from_slice(&[10.0f32; 4]).view([4, 1]).set_requires_grad(true);
        let run = |gate: &Tensor| {
            let tensors = SecondPassTensors { weight: &weight, bias: &bias, gate };
            second_pass(&tensors, &stream, &stream, 1, None, || Ok(other.shallow_clone())).unwrap()
        };
        let values = |tensor: Tensor| Vec::<f32>::try_from(tensor.view([-1])).unwrap();
        assert_eq!(values(run(&gate(0.0))), [2.0, 3.0, 1.0, 3.0]);
        assert_eq!(values(run(&gate(0.5))), [2.0, 6.5, 1.0, 6.5]);
        // A closed gate alone has a gradient. With an open gate the blocks have one too, for the
        // chosen tokens. The selection has none.
        let closed = gate(0.0);
        run(&closed).sum(Kind::Float).backward();
        assert_eq!((values(closed.grad()), values(other.grad())), (vec![14.0], vec![0.0; 4]));
        run(&gate(0.5)).sum(Kind::Float).backward();
        assert_eq!(values(other.grad()), [0.0, 0.5, 0.0, 0.5]);
        assert!(!weight.grad().defined() && !bias.grad().defined());
    }

    #[test]
    fn decoding_skips_what_no_token_needs() {
        let one = |value: f32| Tensor::from_slice(&[value]).view([1, 1]);
        let (weight, bias, gate) =
            (Tensor::from_slice(&[1f32]), Tensor::from_slice(&[0f32]), Tensor::from_slice(&[1f32]));
        let (tensors, mut cache, mut calls) = (
            SecondPassTensors { weight: &weight, bias: &bias, gate: &gate },
            RowCache::default(),
            0,
        );
        for value in [2.0, 1.0, 3.0, 0.0, 4.0] {
            let stream = one(value);
            let again = || {
                calls += 1;
                Ok(one(-1.0))
            };
            let moved =
                second_pass(&tensors, &stream, &stream, 1, Some(&mut cache), again).unwrap();
            assert_eq!(moved.double_value(&[0, 0]), if value > 2.0 { -1.0 } else { value.into() });
        }
        assert_eq!(calls, 2);
    }
}
