// SPDX-License-Identifier: Apache-2.0

use crate::Error;
use tch::{Kind, Tensor};

/// Weight of the introspection head's squared error in the training objective.
///
/// Only the head learns from this loss. The weight is small because the head's gradient counts in
/// the norm that clips all gradients.
const WEIGHT: f64 = 0.01;

/// Predicts the loss in nats at each token, `[…]`: `hidden · weight + bias` of the final hidden
/// states (float32 `[…, width]`). `weight` is `[width]`, `bias` is `[1]`.
///
/// The hidden states are detached, so the head never changes the model. A module that learns to
/// predict the model's loss goes back to Yoo and Kweon (2019, "Learning Loss for Active Learning").
///
/// # Errors
///
/// Fails if the shapes do not match.
pub fn introspect(weight: &Tensor, bias: &Tensor, hidden: &Tensor) -> Result<Tensor, Error> {
    Ok(hidden.f_detach()?.f_matmul(weight)?.f_add(bias)?)
}

/// Computes the training objective of the introspection head: a hundredth of half the mean squared
/// difference between `predicted` and the actual per-token `losses`, both `[n]`. No gradient flows
/// into the losses.
///
/// # Errors
///
/// Fails if the shapes do not match.
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
