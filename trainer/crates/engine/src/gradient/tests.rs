// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::{share_all_batches, test_recipe};
use pol_model::initial_parameters;
use pol_primitives::{
    model::{Experts, Mind, ModelSpec, Superposition},
    prf::Prf,
};
use tch::Device;

/// Returns loss and gradient of each batch.
fn all(
    mut gradients: Gradients,
    parameters: &[f32],
    batches: &[Batch<'_>],
) -> Vec<(f64, Vec<f32>)> {
    let (mut found, pool) = (Vec::new(), Threads::new(1, 1, 1).unwrap());
    gradients
        .for_each(&pool, parameters, batches, |BatchGradient { loss, gradient }| {
            found.push((loss, gradient.clone()));
            Ok(())
        })
        .unwrap();
    found
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn exact_models_without_defined_operators_reach_no_library() {
    let mut recipe = test_recipe::recipe();
    recipe.model = ModelSpec { heads: 0, ..recipe.model };
    assert!(!pol_step::covers(&recipe));
    let settings =
        Settings { workers: 1, threads: None, fused_attention: false, with_auxiliary: true };
    let error = Gradients::new(&recipe, settings).err().unwrap();
    assert!(matches!(error, EngineError::Step(pol_step::Error::InvalidSpec(_))), "{error}");
    // Micro-batches that are too large name the settings that this process lacks.
    let mut recipe = test_recipe::recipe();
    recipe.tiers[3].micro_batch = u16::MAX;
    assert!(!pol_step::covers(&recipe));
    let error = Gradients::new(&recipe, settings).err().unwrap();
    assert!(matches!(error, EngineError::Numerics(_)), "{error}");
}

#[test]
fn mean_gradients_are_sums_of_batches_in_order() {
    share_all_batches();
    let mut recipe = test_recipe::recipe();
    recipe.model = ModelSpec::gpt2(512, 64, 1, 2, 64, 16);
    let parameters = initial_parameters(&recipe.model, &[2; 32]);
    assert!(parameters.len() > 2 * PIECE);
    let mut prf = Prf::new("text", &[0; 32], &[]);
    let rows: Vec<Vec<u32>> = (0..5).map(|_| (0..17).map(|_| prf.below(512)).collect()).collect();
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let settings =
        Settings { workers: 1, threads: Some(1), fused_attention: false, with_auxiliary: false };
    // Batches have two sequences, as the recipe's micro-batches do, and the last one has one.
    let batches: Vec<Batch<'_>> =
        rows.chunks(2).map(|rows| Batch { sequences: rows.to_vec(), terms: 1 }).collect();
    let kernels = OnKernels::new(&recipe.model, settings).unwrap();
    let means = all(Gradients::Kernels(Box::new(kernels)), &parameters, &batches);
    let mut expected = vec![0f32; parameters.len()];
    for ((_, gradient), terms) in means.iter().zip([2.0, 2.0, 1.0]) {
        expected.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value * terms);
    }
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
    expected.iter_mut().for_each(|value| *value *= 1.0 / 5.0);
    for workers in [1, 3] {
        let found = mean_gradient(&recipe, &parameters, &rows, workers, || false).unwrap();
        assert!(bits(&found) == bits(&expected), "{workers} threads");
    }
}

#[test]
fn kernels_and_libtorch_agree_with_and_without_auxiliary_losses() {
    let mut spec = test_recipe::recipe().model;
    spec.experts = Some(Experts::new(4, 2));
    let superposition = Some(Superposition { branches: 3, rank: 4 });
    spec.mind = Mind { superposition, introspection: true, second_pass: 1 };
    let parameters = initial_parameters(&spec, &[2; 32]);
    let mut prf = Prf::new("batch", &[0; 32], &[]);
    let rows: Vec<Vec<u32>> =
        (0..5).map(|_| (0..17).map(|_| prf.below(spec.vocabulary)).collect()).collect();
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let batches = [
        Batch { sequences: rows[..2].to_vec(), terms: 1 },
        Batch { sequences: rows[2..].to_vec(), terms: 3 },
    ];
    let found = [false, true].map(|with_auxiliary| {
        let settings =
            Settings { workers: 2, threads: Some(1), fused_attention: false, with_auxiliary };
        let kernels = OnKernels::new(&spec, settings).unwrap();
        let libtorch = OnLibtorch::new(&spec, Device::Cpu, settings).unwrap();
        let own = all(Gradients::Kernels(Box::new(kernels)), &parameters, &batches);
        let other = all(Gradients::Libtorch(Box::new(libtorch)), &parameters, &batches);
        assert_eq!((own.len(), other.len()), (2, 2));
        for ((loss, gradient), (other_loss, other)) in own.iter().zip(&other) {
            assert!((loss / other_loss - 1.0).abs() < 1e-5, "{loss} {other_loss}");
            let apart = norm(gradient.iter().zip(other).map(|(a, b)| a - b));
            assert!(apart < 1e-5 * norm(other.iter().copied()), "{apart}");
        }
        own
    });
    for (loss_alone, objective) in found[0].iter().zip(&found[1]) {
        assert_eq!(loss_alone.0, objective.0);
        assert_ne!(loss_alone.1, objective.1, "experts and introspection have auxiliary losses");
    }
}
