// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::{
    Decoder, Weights,
    families::{families, large_parameters},
    hash_values,
};
use pol_primitives::model::Experts;
use tch::{Kind, Tensor};

const TOKENS: [[i64; 7]; 2] = [[1, 2, 3, 4, 5, 6, 7], [12, 0, 12, 3, 3, 9, 1]];

fn tokens() -> Tensor {
    Tensor::from_slice(TOKENS.as_flattened()).view([2, 7])
}

fn logits(spec: &ModelSpec, parameters: &[f32]) -> Tensor {
    let weights = Weights::new(&Layout::new(spec).unwrap(), parameters).unwrap();
    Decoder::new(spec).unwrap().logits(&weights, &tokens().narrow(1, 0, 6)).unwrap()
}

/// Returns every family, without experts and with experts of which only some are active.
fn models() -> impl Iterator<Item = (String, ModelSpec)> {
    families().into_iter().flat_map(|(name, spec)| {
        let experts = ModelSpec { experts: Some(Experts::new(5, 2)), ..spec };
        [(name.into(), spec), (format!("{name} of experts"), experts)]
    })
}

fn rewrites(spec: &ModelSpec) -> Vec<Rewrite> {
    let mut all = vec![Rewrite::Widen { feed_forward: spec.feed_forward + 5 }];
    all.extend((0..=spec.layers).map(|at| Rewrite::InsertBlock { at }));
    match spec.experts {
        None => all.extend(
            [(5, 2), (3, 1), (4, 4)].map(|(n, k)| Rewrite::Upcycle { experts: Experts::new(n, k) }),
        ),
        Some(_) => all.extend([Rewrite::AddExpert { like: 3 }, Rewrite::SplitExpert { expert: 1 }]),
    }
    all
}

#[test]
fn rewrites_keep_the_function() {
    for (name, spec) in models() {
        let parameters = large_parameters(&spec);
        let before = logits(&spec, &parameters);
        for rewrite in rewrites(&spec) {
            let plan = RewritePlan::new(&spec, &rewrite).unwrap();
            let rewritten = plan.rewrite_parameters(&parameters).unwrap();
            assert_eq!(rewritten.len() as u64, plan.spec().size());
            let far = (logits(plan.spec(), &rewritten) - &before).abs().max().double_value(&[]);
            assert!(far < 1e-5, "{name}, {rewrite:?}: {far}");
        }
        assert!(before.abs().max().double_value(&[]) > 0.5, "{name}: logits too small to tell");
    }
}

#[test]
fn two_members_compute_the_same_model() {
    for (name, spec) in models() {
        let (parameters, moment) = (
            large_parameters(&spec),
            large_parameters(&spec).into_iter().rev().collect::<Vec<_>>(),
        );
        for rewrite in rewrites(&spec) {
            let member = || {
                let plan = RewritePlan::new(&spec, &rewrite).unwrap();
                [plan.rewrite_parameters(&parameters), plan.rewrite_state(&moment)]
                    .map(|all| hash_values(&all.unwrap()))
            };
            assert_eq!(member(), member(), "{name}, {rewrite:?}");
        }
    }
    // Pinned: members with different builds must agree too.
    let (_, spec) = families()[0];
    let upcycle =
        RewritePlan::new(&spec, &Rewrite::Upcycle { experts: Experts::new(5, 2) }).unwrap();
    let pinned = hash_values(&upcycle.rewrite_parameters(&large_parameters(&spec)).unwrap());
    assert_eq!(pinned[..8], [0x64, 0xd8, 0x27, 0x33, 0xf0, 0xa4, 0x72, 0xc8]);
}

#[test]
fn state_is_copied_or_zero() {
    for (name, spec) in models() {
        // Every value is unique and so identifies its source.
        let places: Vec<f32> = (1..=spec.size()).map(|place| place as f32).collect();
        for rewrite in rewrites(&spec) {
            let plan = RewritePlan::new(&spec, &rewrite).unwrap();
            let state = plan.rewrite_state(&places).unwrap();
            let parameters = plan.rewrite_parameters(&places).unwrap();
            let mut seen = vec![false; places.len() + 1];
            for (index, (&copied, &parameter)) in state.iter().zip(&parameters).enumerate() {
                seen[copied as usize] = true;
                assert!(copied == 0.0 || copied == parameter, "{name}, {rewrite:?}: {index}");
            }
            // Nothing is lost.
            assert!(seen[1..].iter().all(|&seen| seen), "{name}, {rewrite:?}");
        }
    }
}

#[test]
fn removing_what_was_added_gives_what_was_before() {
    for (name, spec) in models().filter(|(_, spec)| spec.experts.is_some()) {
        let parameters = large_parameters(&spec);
        for rewrite in [Rewrite::AddExpert { like: 3 }, Rewrite::SplitExpert { expert: 1 }] {
            let added = RewritePlan::new(&spec, &rewrite).unwrap();
            let removed =
                RewritePlan::new(added.spec(), &Rewrite::PruneExpert { expert: 5 }).unwrap();
            assert_eq!(*removed.spec(), spec);
            let back = removed
                .rewrite_parameters(&added.rewrite_parameters(&parameters).unwrap())
                .unwrap();
            assert_eq!(hash_values(&back), hash_values(&parameters), "{name}");
        }
    }
}

#[test]
fn pruning_an_unused_expert_changes_nothing() {
    for (name, spec) in models().filter(|(_, spec)| spec.experts.is_some()) {
        let mut parameters = large_parameters(&spec);
        for slot in Layout::new(&spec)
            .unwrap()
            .tensors()
            .iter()
            .filter(|s| s.parameter.name.ends_with("mlp.router.bias"))
        {
            parameters[slot.offset + 2] = -9.0;
        }
        let pruned = RewritePlan::new(&spec, &Rewrite::PruneExpert { expert: 2 }).unwrap();
        let after = logits(pruned.spec(), &pruned.rewrite_parameters(&parameters).unwrap());
        let far = (after - logits(&spec, &parameters)).abs().max().double_value(&[]);
        assert!(far < 1e-5, "{name}: {far}");
    }
}

#[test]
fn vectors_of_another_model_are_refused() {
    let (_, spec) = families()[0];
    let plan = RewritePlan::new(&spec, &Rewrite::InsertBlock { at: 1 }).unwrap();
    assert!(matches!(plan.rewrite_parameters(&[0.0; 3]), Err(Error::Length { found: 3, .. })));
    assert!(RewritePlan::new(&spec, &Rewrite::AddExpert { like: 0 }).is_err());
}

/// Training with Adam without decay, enough to see a loss fall.
struct Training {
    spec: ModelSpec,
    parameters: Vec<f32>,
    moments: [Vec<f32>; 2],
    step: i32,
}

impl Training {
    fn run(&mut self, steps: i32) {
        tch::set_num_threads(1);
        let layout = Layout::new(&self.spec).unwrap();
        let decoder = Decoder::new(&self.spec).unwrap();
        for _ in 0..steps {
            self.step += 1;
            let weights = Weights::new(&layout, &self.parameters).unwrap().share(true).unwrap();
            let mut gradient = vec![0.0; layout.len()];
            weights
                .gradient(
                    &decoder.forward_loss(&weights, &tokens()).unwrap().objective,
                    &mut gradient,
                )
                .unwrap();
            let unbias = [1.0 - 0.9f32.powi(self.step), 1.0 - 0.95f32.powi(self.step)];
            let [first, second] = &mut self.moments;
            for (index, &g) in gradient.iter().enumerate() {
                first[index] = 0.9 * first[index] + 0.1 * g;
                second[index] = 0.95 * second[index] + 0.05 * g * g;
                let step = first[index] / unbias[0] / ((second[index] / unbias[1]).sqrt() + 1e-8);
                self.parameters[index] -= 2e-3 * step;
            }
        }
    }

    fn loss(&self) -> f64 {
        let weights = Weights::new(&Layout::new(&self.spec).unwrap(), &self.parameters).unwrap();
        Decoder::new(&self.spec)
            .unwrap()
            .loss(&weights, &tokens())
            .unwrap()
            .mean(Kind::Float)
            .double_value(&[])
    }

    fn rewrite(&mut self, rewrite: &Rewrite) {
        let plan = RewritePlan::new(&self.spec, rewrite).unwrap();
        self.parameters = plan.rewrite_parameters(&self.parameters).unwrap();
        for moment in &mut self.moments {
            *moment = plan.rewrite_state(moment).unwrap();
        }
        self.spec = *plan.spec();
    }
}

#[test]
fn the_loss_keeps_falling() {
    for (name, spec) in families() {
        let parameters = crate::initial_parameters(&spec, &[5; 32]);
        let moments = [vec![0.0; parameters.len()], vec![0.0; parameters.len()]];
        let mut training = Training { spec, parameters, moments, step: 0 };
        training.run(25);
        for rewrite in [
            Rewrite::Upcycle { experts: Experts::new(5, 2) },
            Rewrite::AddExpert { like: 0 },
            Rewrite::InsertBlock { at: 1 },
            Rewrite::SplitExpert { expert: 1 },
            Rewrite::Widen { feed_forward: 16 },
        ] {
            let before = training.loss();
            training.rewrite(&rewrite);
            assert!(
                (training.loss() - before).abs() < 1e-5,
                "{name}, {rewrite:?}: {before} became {}",
                training.loss()
            );
            training.run(12);
            assert!(
                training.loss() < before,
                "{name}, {rewrite:?}: {before} rose to {}",
                training.loss()
            );
        }
    }
}

#[test]
fn a_new_expert_is_chosen_in_time() {
    // The bias of an expert that is never chosen rises until the expert is chosen.
    let (_, dense) = families()[0];
    let spec = ModelSpec { experts: Some(Experts::new(2, 1)), layers: 1, ..dense };
    let parameters = crate::initial_parameters(&spec, &[5; 32]);
    let moments = [vec![0.0; parameters.len()], vec![0.0; parameters.len()]];
    let mut training = Training { spec, parameters, moments, step: 0 };
    training.run(5);
    training.rewrite(&Rewrite::SplitExpert { expert: 0 });
    let load = |training: &Training| {
        let weights =
            Weights::new(&Layout::new(&training.spec).unwrap(), &training.parameters).unwrap();
        Decoder::new(&training.spec).unwrap().forward_loss(&weights, &tokens()).unwrap().routing[0]
            .load[2]
    };
    assert_eq!(load(&training), 0);
    let chosen = (0..120).any(|_| {
        training.run(10);
        load(&training) > 0
    });
    assert!(chosen, "not chosen after 1,200 steps");
}
