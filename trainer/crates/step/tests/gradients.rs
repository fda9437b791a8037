// SPDX-License-Identifier: Apache-2.0

//! Gradients are slopes, and those of libtorch.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod families;

use families::{families, parameters, tokens};
use pol_model::{Decoder, Layout, LossOutput, Weights};
use pol_primitives::model::ModelSpec;
use pol_step::Step;
use tch::{Kind, Tensor};

/// Returns the objective, without the rounding of a sum in binary32. Of a model with introspection
/// it is the loss alone, since hidden states and losses have no gradient from what it predicts.
fn precise_objective(step: &mut Step, parameters: &[f32], tokens: &[u32]) -> f64 {
    step.loss(parameters, tokens).unwrap();
    let losses = step.token_losses();
    let mean = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64;
    let introspects = step.plan().spec().mind.introspection;
    mean + if introspects { 0.0 } else { f64::from(step.auxiliary_loss()) }
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

/// A small move of one tensor along its gradient changes the objective as the gradient says.
#[test]
fn gradients_are_slopes_of_the_objective() {
    for (name, spec) in families() {
        let (parameters, tokens) = (parameters(&spec), tokens(&spec, 2, 9));
        let mut step = Step::new(&spec, 2, 9).unwrap();
        let mut gradient = vec![f32::NAN; parameters.len()];
        if spec.mind.introspection {
            step.loss_gradient(&parameters, &tokens, &mut gradient).unwrap();
        } else {
            step.gradient(&parameters, &tokens, &mut gradient).unwrap();
        }
        for slot in step.plan().slots().to_vec() {
            let part = &gradient[slot.range.clone()];
            let expected = norm(part);
            if expected < 0.02 {
                // Differences do not resolve less.
                continue;
            }
            let mut at = |distance: f64| {
                let mut moved = parameters.clone();
                for (value, &slope) in moved[slot.range.clone()].iter_mut().zip(part) {
                    *value += (f64::from(slope) / expected * distance) as f32;
                }
                precise_objective(&mut step, &moved, &tokens)
            };
            // Differences of the fourth order.
            let h = 1e-3;
            let found = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
            let tensor = &slot.parameter.name;
            let error = (found - expected).abs();
            assert!(error < 0.01 * expected + 1e-3, "{name} {tensor}: {found}, not {expected}");
        }
    }
}

/// Loss and objective by libtorch, and the gradient of each.
struct OnLibtorch {
    loss: (f64, Vec<f32>),
    objective: (f64, Vec<f32>),
}

impl OnLibtorch {
    fn new(spec: &ModelSpec, parameters: &[f32], tokens: &[u32], length: u32) -> Self {
        let weights = Weights::new(&Layout::new(spec).unwrap(), parameters).unwrap();
        let tokens: Vec<i64> = tokens.iter().copied().map(i64::from).collect();
        let tokens = Tensor::from_slice(&tokens).view([-1, i64::from(length) + 1]);
        let of = |choose: fn(LossOutput) -> Tensor| {
            let weights = weights.share(true).unwrap();
            let output = Decoder::new(spec).unwrap().forward_loss(&weights, &tokens).unwrap();
            let value = choose(output);
            let mut gradient = vec![0.0; parameters.len()];
            weights.gradient(&value, &mut gradient).unwrap();
            (value.double_value(&[]), gradient)
        };
        Self {
            loss: of(|output| output.losses.mean(Kind::Float)),
            objective: of(|output| output.objective),
        }
    }
}

/// Compares the gradient of each tensor.
fn assert_near(name: &str, step: &Step, found: &[f32], expected: &[f32]) {
    for slot in step.plan().slots() {
        let (found, expected) = (&found[slot.range.clone()], &expected[slot.range.clone()]);
        let pairs = found.iter().zip(expected);
        let difference: Vec<f32> = pairs.map(|(found, expected)| found - expected).collect();
        let (error, size) = (norm(&difference), norm(expected));
        let tensor = &slot.parameter.name;
        assert!(error < 1e-5 * size + 1e-7, "{name} {tensor}: {error} of {size}");
    }
}

#[test]
fn gradients_are_those_of_libtorch() {
    for (name, spec) in families() {
        // More than one chunk of keys, and more than one chain of tokens.
        for (sequences, length) in [(2, 9), (5, 66)] {
            let (parameters, tokens) = (parameters(&spec), tokens(&spec, sequences, length));
            let mut step = Step::new(&spec, sequences, length).unwrap();
            let expected = OnLibtorch::new(&spec, &parameters, &tokens, length);
            let mut gradient = vec![f32::NAN; parameters.len()];
            let loss = step.gradient(&parameters, &tokens, &mut gradient).unwrap();
            let objective = f64::from(loss) + f64::from(step.auxiliary_loss());
            for (found, (expected, _)) in
                [(f64::from(loss), &expected.loss), (objective, &expected.objective)]
            {
                let error = (found - expected).abs();
                assert!(error < 2e-6 * expected, "{name}: {found}, not {expected}");
            }
            assert_near(name, &step, &gradient, &expected.objective.1);
            let alone = step.loss_gradient(&parameters, &tokens, &mut gradient).unwrap();
            assert_eq!(alone, loss);
            assert_near(name, &step, &gradient, &expected.loss.1);
        }
    }
}

#[test]
fn gradients_replace_those_of_another_micro_batch() {
    for (_, spec) in families() {
        let parameters = parameters(&spec);
        let (first, second) = (tokens(&spec, 3, 8), tokens(&spec, 6, 8)[27..].to_vec());
        let run = |batches: &[&[u32]]| {
            let mut step = Step::new(&spec, 3, 8).unwrap();
            let mut gradient = vec![f32::NAN; parameters.len()];
            for tokens in batches {
                step.gradient(&parameters, tokens, &mut gradient).unwrap();
            }
            gradient
        };
        let alone = run(&[&second]);
        assert_ne!(run(&[&first]), alone);
        assert_eq!(run(&[&first, &second]), alone);
    }
}
