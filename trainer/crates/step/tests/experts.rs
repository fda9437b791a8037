// SPDX-License-Identifier: Apache-2.0

//! Experts that get no tokens, or all of them.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod families;

use families::{families, parameters, tokens};
use pol_primitives::model::{Experts, ModelSpec};
use pol_step::{Plan, Step};
use std::ops::Range;

/// Tokens of two chains, in several sequences.
const SIZE: [u32; 2] = [5, 66];

fn family(name: &str) -> ModelSpec {
    families().into_iter().find(|(other, _)| *other == name).unwrap().1
}

/// Returns places of the tensors of one expert.
fn places(plan: &Plan, expert: usize) -> Vec<Range<usize>> {
    let count = usize::from(plan.spec().experts.unwrap().count);
    let of_expert = |range: &Range<usize>| {
        let len = range.len() / count;
        range.start + expert * len..range.start + (expert + 1) * len
    };
    let slots = plan.slots().iter().filter(|slot| slot.parameter.name.contains("mlp.c_"));
    slots.map(|slot| of_expert(&slot.range)).collect()
}

/// Sets the addend of an expert in the choice of every block.
fn favour(plan: &Plan, parameters: &mut [f32], expert: usize, bias: f32) {
    for slot in plan.slots().iter().filter(|slot| slot.parameter.name.ends_with("router.bias")) {
        parameters[slot.range.start + expert] = bias;
    }
}

/// Loss and gradient.
fn run(spec: &ModelSpec, parameters: &[f32]) -> (f32, Vec<f32>) {
    let [sequences, length] = SIZE;
    let mut step = Step::new(spec, sequences, length).unwrap();
    let mut gradient = vec![f32::NAN; parameters.len()];
    let tokens = tokens(spec, sequences, length);
    let loss = step.gradient(parameters, &tokens, &mut gradient).unwrap();
    (loss, gradient)
}

#[test]
fn an_expert_without_tokens_takes_no_part() {
    for name in ["mixtral", "switch", "most-experts"] {
        let spec = family(name);
        let plan = Plan::new(&spec).unwrap();
        let mut parameters = parameters(&spec);
        favour(&plan, &mut parameters, 1, -2.5);
        let (loss, gradient) = run(&spec, &parameters);
        let places = places(&plan, 1);
        for place in &places {
            assert!(gradient[place.clone()].iter().all(|value| value.to_bits() == 0), "{name}");
            parameters[place.clone()].fill(f32::NAN);
        }
        assert_eq!(run(&spec, &parameters), (loss, gradient), "{name}");
        // With tokens it does.
        favour(&plan, &mut parameters, 1, 2.5);
        assert!(run(&spec, &parameters).0.is_nan(), "{name}");
    }
}

#[test]
fn one_expert_with_all_tokens_is_a_layer_without_experts() {
    for name in ["switch", "switch-j", "llama", "llama-biased", "gemma3"] {
        let dense = ModelSpec { experts: None, ..family(name) };
        // The auxiliary losses have no weight.
        let experts = Some(Experts { count: 3, active: 1, balance: 0, z: 0 });
        let spec = ModelSpec { experts, ..dense };
        let plan = Plan::new(&spec).unwrap();
        let mut parameters = parameters(&spec);
        favour(&plan, &mut parameters, 2, 2.5);
        let (loss, gradient) = run(&spec, &parameters);
        // Takes what a model without experts has, and expert 2 for its layer.
        let without = |values: &[f32]| {
            let mut of_expert = places(&plan, 2).into_iter();
            let mut kept = Vec::new();
            for slot in plan.slots() {
                let name = &slot.parameter.name;
                if name.contains("mlp.c_") {
                    kept.extend_from_slice(&values[of_expert.next().unwrap()]);
                } else if !name.contains("router") {
                    kept.extend_from_slice(&values[slot.range.clone()]);
                }
            }
            kept
        };
        let (expected_loss, expected) = run(&dense, &without(&parameters));
        assert_eq!(loss, expected_loss, "{name}");
        assert!(without(&gradient) == expected, "{name}");
    }
}

#[test]
fn memory_does_not_depend_on_the_choice() {
    let spec = family("mixtral");
    let plan = Plan::new(&spec).unwrap();
    let mut parameters = parameters(&spec);
    let [sequences, length] = SIZE;
    let mut step = Step::new(&spec, sequences, length).unwrap();
    let (tokens, planned) = (tokens(&spec, sequences, length), step.bytes());
    let mut gradient = vec![0.0; parameters.len()];
    for expert in 0..8 {
        favour(&plan, &mut parameters, expert, 2.5);
        step.gradient(&parameters, &tokens, &mut gradient).unwrap();
        favour(&plan, &mut parameters, expert, -2.5);
        assert_eq!(step.bytes(), planned);
    }
    // A row has the values of a layer's inside and its outputs.
    let more = Step::new(&ModelSpec { experts: Some(Experts::new(8, 3)), ..spec }, 5, 66).unwrap();
    let row = (3 * spec.feed_forward + spec.width) * u32::from(spec.layers) + spec.width;
    assert!(more.bytes() - planned >= (row * sequences * length * 4) as usize);
}

#[test]
fn auxiliary_losses_are_in_the_objective_alone() {
    let [sequences, length] = SIZE;
    for (name, spec) in families() {
        let (parameters, tokens) = (parameters(&spec), tokens(&spec, sequences, length));
        let mut step = Step::new(&spec, sequences, length).unwrap();
        let mut gradients = [(); 2].map(|()| vec![f32::NAN; parameters.len()]);
        let [of_objective, of_loss] = &mut gradients;
        let loss = step.gradient(&parameters, &tokens, of_objective).unwrap();
        let auxiliary = step.auxiliary_loss();
        assert_eq!(step.loss_gradient(&parameters, &tokens, of_loss), Ok(loss));
        assert_eq!(step.auxiliary_loss(), auxiliary);
        let weights = spec.experts.map_or(0, |experts| experts.balance + experts.z);
        let weights = weights + u32::from(spec.mind.introspection);
        assert_eq!(auxiliary == 0.0, weights == 0, "{name}");
        assert_eq!(of_objective == of_loss, weights == 0, "{name}");
    }
}
