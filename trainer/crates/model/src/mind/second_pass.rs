use super::{Memory, introspect};
use crate::Error;
use tch::{Kind, Tensor};

/// The parameters that a second pass uses: those of the introspection head, and the gate `[1]` that
/// scales what it adds.
#[derive(Clone, Copy, Debug)]
pub struct SecondPass<'a> {
    /// `mind.introspection.weight` `[width]`.
    pub weight: &'a Tensor,
    /// `mind.introspection.bias` `[1]`.
    pub bias: &'a Tensor,
    /// `mind.second_pass.gate` `[1]`.
    pub gate: &'a Tensor,
}

/// Lets the model think twice about the tokens that it expects to get wrong:
/// `x + gate · m · (again − x)`, where `x` is the residual `stream` `[batch · length, width]` after
/// the last block, `again` the same after the last blocks ran once more, and `m` is 1 for the
/// tokens that are [worth another](worth_another) pass, else 0.
///
/// `normed` is the stream after the final norm, which introspection reads. With a `memory`, tokens
/// follow those that it holds, and `again` is not called where no token of the call needs it. No
/// gradient goes through the choice. A computation that varies with the token goes back to Graves
/// (2016, "Adaptive Computation Time for Recurrent Neural Networks"), running the same blocks again
/// to Dehghani et al. (2018, "Universal Transformers").
pub fn second_pass(
    part: &SecondPass<'_>,
    stream: &Tensor,
    normed: &Tensor,
    batch: i64,
    memory: Option<&mut Memory>,
    again: impl FnOnce() -> Result<Tensor, Error>,
) -> Result<Tensor, Error> {
    let decoding = memory.is_some();
    let predicted = introspect(part.weight, part.bias, normed)?.f_detach()?.f_view([batch, -1])?;
    let chosen = worth_another(&predicted, memory)?;
    if decoding && !bool::try_from(chosen.f_any()?)? {
        return Ok(stream.shallow_clone());
    }
    let mask = chosen.f_to_kind(stream.kind())?.f_view([-1, 1])?;
    Ok(stream.f_add(&again()?.f_sub(stream)?.f_mul(&mask)?.f_mul(part.gate)?)?)
}

/// The tokens, of `predicted` losses `[batch, length]`, that are worth another pass: those whose
/// predicted loss is above the mean of the predictions so far in their sequence, which `memory`
/// continues. Bool `[batch, length]`; the first token never is.
///
/// The mean so far, not that of the whole sequence: what comes later must not matter.
pub fn worth_another(predicted: &Tensor, memory: Option<&mut Memory>) -> Result<Tensor, Error> {
    let length = predicted.size2()?.1;
    let all = match memory {
        Some(memory) => memory.extend(&predicted.f_unsqueeze(-1)?)?.f_squeeze_dim(-1)?,
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
            worth_another(&Tensor::from_slice(predicted).view([1, -1]), None).unwrap().view([-1]),
        )
        .unwrap()
    }

    #[test]
    fn tokens_above_the_mean_so_far_are_chosen() {
        // Means so far: 2, 2.5, 2, 2.25.
        assert_eq!(chosen(&[2.0, 3.0, 1.0, 3.0]), [false, true, false, true]);
        assert_eq!(chosen(&[2.0; 4]), [false; 4]);
        // What follows does not matter.
        assert_eq!(chosen(&[2.0, 3.0, 99.0])[..2], chosen(&[2.0, 3.0, -99.0])[..2]);
    }

    #[test]
    fn decoding_chooses_as_reading_at_once() {
        let predicted =
            Tensor::from_slice(&[2.0f32, 3.0, 1.0, 3.0, 2.2, 0.5, 0.1, 0.2, 0.9, 0.3]).view([2, 5]);
        let whole = worth_another(&predicted, None).unwrap();
        let mut memory = Memory::default();
        for (from, length) in [(0, 2), (2, 1), (3, 2)] {
            let part =
                worth_another(&predicted.narrow(1, from, length), Some(&mut memory)).unwrap();
            assert_eq!(part, whole.narrow(1, from, length));
        }
        assert_eq!(memory.len(), 5);
        // Going back to the second token of the swapped sequences.
        memory.truncate(2).unwrap();
        let mut memory = memory.select(&Tensor::from_slice(&[1i64, 0])).unwrap();
        let swapped = predicted.flip([0]);
        assert_eq!(
            worth_another(&swapped.narrow(1, 2, 3), Some(&mut memory)).unwrap(),
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
            let part = SecondPass { weight: &weight, bias: &bias, gate };
            second_pass(&part, &stream, &stream, 1, None, || Ok(other.shallow_clone())).unwrap()
        };
        let values = |tensor: Tensor| Vec::<f32>::try_from(tensor.view([-1])).unwrap();
        assert_eq!(values(run(&gate(0.0))), [2.0, 3.0, 1.0, 3.0]);
        assert_eq!(values(run(&gate(0.5))), [2.0, 6.5, 1.0, 6.5]);
        // At the start the gate alone learns; later so do the blocks, for the chosen tokens. The
        // choice itself carries none.
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
        let (part, mut memory, mut calls) =
            (SecondPass { weight: &weight, bias: &bias, gate: &gate }, Memory::default(), 0);
        for value in [2.0, 1.0, 3.0, 0.0, 4.0] {
            let stream = one(value);
            let again = || {
                calls += 1;
                Ok(one(-1.0))
            };
            let moved = second_pass(&part, &stream, &stream, 1, Some(&mut memory), again).unwrap();
            assert_eq!(moved.double_value(&[0, 0]), if value > 2.0 { -1.0 } else { value.into() });
        }
        assert_eq!(calls, 2);
    }
}
