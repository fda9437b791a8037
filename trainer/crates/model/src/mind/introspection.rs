use crate::Error;
use tch::{Kind, Tensor};

/// Weight of the introspection head's squared error in the training objective. The head alone is
/// moved by it, but its gradient counts in the norm that clips all gradients, so it is kept small
/// beside the model's.
const WEIGHT: f64 = 0.01;

/// The loss, in nats, that the model expects at each token: a linear reading
/// `hidden · weight + bias` of its final hidden states (float32 `[.., width]`), `[..]`.
///
/// The hidden states are detached: the head watches the model and never steers it. `weight` is
/// `[width]`, `bias` `[1]`. It is the model's loss as a target for a module beside it, as in Yoo
/// and Kweon (2019, "Learning Loss for Active Learning").
pub fn introspect(weight: &Tensor, bias: &Tensor, hidden: &Tensor) -> Result<Tensor, Error> {
    Ok(hidden.f_detach()?.f_matmul(weight)?.f_add(bias)?)
}

/// What training the introspection head adds to the objective: a hundredth of half the mean squared
/// difference between `predicted` and the per-token `losses` that came out, both `[n]`. No gradient
/// goes to the losses.
pub fn introspection_objective(predicted: &Tensor, losses: &Tensor) -> Result<Tensor, Error> {
    let difference = predicted.f_sub(&losses.f_detach()?)?;
    Ok(difference.f_mul(&difference)?.f_mean(Kind::Float)?.f_mul_scalar(WEIGHT / 2.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_learns_and_the_model_does_not_notice() {
        let hidden = Tensor::from_slice(&[1.0f32, 2.0, -1.0, 0.5, 3.0, -2.0])
            .view([3, 2])
            .set_requires_grad(true);
        let losses = Tensor::from_slice(&[4.0f32, 1.0, 2.0]).set_requires_grad(true);
        let weight = Tensor::from_slice(&[0.5f32, -1.0]).set_requires_grad(true);
        let bias = Tensor::from_slice(&[0.25f32]).set_requires_grad(true);
        let predicted = introspect(&weight, &bias, &hidden).unwrap();
        assert_eq!(Vec::<f32>::try_from(&predicted).unwrap(), [-1.25, -0.75, 3.75]);
        let objective = introspection_objective(&predicted, &losses).unwrap();
        // (5.25² + 1.75² + 1.75²) / 3 / 2 / 100.
        assert!((objective.double_value(&[]) - 0.056_145_833).abs() < 1e-8);
        objective.backward();
        assert!(!hidden.grad().defined() && !losses.grad().defined());
        // Mean of (predicted − loss) · hidden / 100.
        let expected =
            [(-5.25 + 1.75 + 1.75 * 3.0) / 300.0, (-5.25 * 2.0 - 1.75 * 0.5 - 1.75 * 2.0) / 300.0];
        for (found, expected) in
            Vec::<f32>::try_from(weight.grad()).unwrap().into_iter().zip(expected)
        {
            assert!((f64::from(found) - expected).abs() < 1e-7, "{found} {expected}");
        }
        assert!((bias.grad().double_value(&[0]) + 5.25 / 300.0).abs() < 1e-8);
    }

    #[test]
    fn descent_finds_the_loss_behind_the_hidden_state() {
        // Losses that are a linear function of the hidden states are predicted exactly in the end.
        let hidden = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 1.0, 1.0, 1.0, -1.0, 1.0]).view([4, 2]);
        let losses = Tensor::from_slice(&[3.0f32, 1.5, 3.5, -0.5]);
        let mut weight = Tensor::from_slice(&[0f32, 0.0]).set_requires_grad(true);
        let mut bias = Tensor::from_slice(&[0f32]).set_requires_grad(true);
        for _ in 0..600 {
            let objective =
                introspection_objective(&introspect(&weight, &bias, &hidden).unwrap(), &losses)
                    .unwrap();
            let gradients = Tensor::run_backward(&[objective], &[&weight, &bias], false, false);
            tch::no_grad(|| {
                let _ = weight.f_sub_(&gradients[0].f_mul_scalar(30.0).unwrap()).unwrap();
                let _ = bias.f_sub_(&gradients[1].f_mul_scalar(30.0).unwrap()).unwrap();
            });
        }
        let predicted = introspect(&weight, &bias, &hidden).unwrap();
        assert!((predicted - losses).abs().max().double_value(&[]) < 1e-4);
    }
}
