// SPDX-License-Identifier: Apache-2.0

//! Plans: places of parameters, memory, and parts that are not covered.

mod families;
#[path = "../../engine/src/test_recipe.rs"]
mod test_recipe;

use families::{families, parameters, tokens};
use pol_model::Layout;
use pol_primitives::{
    model::{Experts, Mind, ModelSpec, Superposition},
    recipe::{Numerics, Recipe},
};
use pol_step::{Error, Plan, Step, covers};

#[test]
fn parameters_lie_where_the_decoder_of_libtorch_has_them() {
    for (_, spec) in families() {
        let (plan, layout) = (Plan::new(&spec).unwrap(), Layout::new(&spec).unwrap());
        assert_eq!((plan.len(), plan.spec()), (layout.len(), &spec));
        assert_eq!(plan.slots().len(), layout.tensors().len());
        for (found, expected) in plan.slots().iter().zip(layout.tensors()) {
            assert_eq!((&found.parameter, &found.range), (&expected.parameter, &expected.range()));
        }
    }
}

#[test]
fn exact_recipes_of_all_families_train_on_kernels() {
    for (name, model) in families() {
        let recipe = Recipe { model, ..test_recipe::recipe() };
        assert!(covers(&recipe), "{name}");
        let native = Recipe { numerics: Numerics::Native { tolerance: 50_000 }, ..recipe };
        assert!(!covers(&native), "{name}");
        // Micro-batches of a single tier are too large.
        let mut large = recipe;
        large.tiers[3].micro_batch = u16::MAX;
        assert!(!covers(&large), "{name}");
    }
}

#[test]
fn an_invalid_model_is_refused() {
    let (_, llama) = families()[3];
    let invalid = ModelSpec { heads: 0, ..llama };
    assert!(matches!(Plan::new(&invalid), Err(Error::InvalidSpec(_))));
}

#[test]
fn the_largest_batches_are_computed() {
    let mut families = families().into_iter();
    let (_, spec) = families.find(|(name, _)| *name == "qwen3").unwrap();
    let most = 3_744;
    let mut step = Step::new(&spec, most, 70).unwrap();
    let mut gradient = vec![0.0; step.plan().len()];
    let loss = step.gradient(&parameters(&spec), &tokens(&spec, most, 70), &mut gradient).unwrap();
    assert!(loss.is_finite() && gradient.iter().all(|value| value.is_finite()));
}

#[test]
fn batches_that_do_not_fit_are_errors() {
    let (_, spec) = families()[0];
    for (sequences, length) in [(0, 3), (2, 0), (1, 71), (u32::MAX, 70), (30_000, 70)] {
        let refused = Step::new(&spec, sequences, length).err();
        assert_eq!(refused, Some(Error::Batch { sequences, length, context: 70 }));
    }
    // A row for each expert of each token.
    let experts = ModelSpec { experts: Some(Experts::new(64, 64)), ..spec };
    let refused = Step::new(&experts, 235, 70).err();
    assert_eq!(refused, Some(Error::Batch { sequences: 235, length: 70, context: 70 }));
    // A row for each branch of each token.
    let superposition = Some(Superposition { branches: 16, rank: 1 });
    let branches = ModelSpec { mind: Mind { superposition, ..Mind::default() }, ..spec };
    let refused = Step::new(&branches, 937, 70).err();
    assert_eq!(refused, Some(Error::Batch { sequences: 937, length: 70, context: 70 }));
    // A row for each head of each token.
    let refused = Step::new(&spec, 3_745, 70).err();
    assert_eq!(refused, Some(Error::Batch { sequences: 3_745, length: 70, context: 70 }));
    let mut step = Step::new(&spec, 2, 3).unwrap();
    let (parameters, tokens) = (parameters(&spec), tokens(&spec, 2, 3));
    let mut gradient = vec![0.0; parameters.len()];
    let wrong = |tensor, expected, found| Err(Error::Length { tensor, expected, found });
    let len = parameters.len();
    assert_eq!(step.loss(&parameters[1..], &tokens), wrong("parameters", len, len - 1));
    assert_eq!(step.loss(&parameters, &tokens[1..]), wrong("tokens", 8, 7));
    let short = step.gradient(&parameters, &tokens, &mut gradient[1..]);
    assert_eq!(short, wrong("gradient", len, len - 1));
    let unknown = step.gradient(&parameters, &[29; 8], &mut gradient);
    assert!(matches!(unknown, Err(Error::Kernel(pol_kernels::Error::Entry { .. }))));
    // The step is of use afterwards.
    let loss = step.gradient(&parameters, &tokens, &mut gradient).unwrap();
    assert_eq!(step.loss(&parameters, &tokens), Ok(loss));
}
