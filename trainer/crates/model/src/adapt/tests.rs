// SPDX-License-Identifier: Apache-2.0

use super::{fill::mean, *};
use crate::families::{families, large_parameters};
use crate::{Decoder, Weights};
use pol_primitives::model::{
    Biases, Experts, Mind, Norm, NormPlacement, QueryKeyNorm, SoftCaps, Superposition,
};
use tch::Tensor;

const SEED: Hash = [7; 32];
const TOKENS: [i64; 12] = [1, 2, 3, 4, 5, 6, 12, 0, 12, 3, 3, 9];

/// Computes the logits of the first 13 tokens of the vocabulary, `[12, 13]`.
fn logits(spec: &ModelSpec, flat: &[f32]) -> Tensor {
    let weights = Weights::new(&Layout::new(spec).unwrap(), flat).unwrap();
    let tokens = Tensor::from_slice(&TOKENS).view([2, 6]);
    Decoder::new(spec).unwrap().logits(&weights, &tokens).unwrap().narrow(1, 0, 13)
}

fn grown(source: &ModelSpec, target: &ModelSpec) -> AdaptReport {
    let flat = large_parameters(source);
    let adapted = adapt(source, &flat, target, &SEED).unwrap();
    let (before, after) = (logits(source, &flat), logits(target, &adapted.parameters));
    let difference = (before - after).abs().max().double_value(&[]);
    assert!(
        difference < 1e-5,
        "logits of {source:?} moved by {difference} when it became {target:?}"
    );
    let AdaptReport { kept, fresh, zero, .. } = adapted.report;
    assert_eq!(kept + fresh + zero, target.size());
    assert!(adapted.report.preserved);
    adapted.report
}

fn dense_families() -> impl Iterator<Item = (&'static str, ModelSpec)> {
    families()
        .into_iter()
        .filter(|(_, spec)| spec.experts.is_none() && spec.mind == Mind::default())
}

#[test]
fn growing_keeps_the_function() {
    for (_, spec) in dense_families() {
        let group = spec.heads / spec.key_value_heads;
        let (key_value_heads, heads) = match spec.query_key_norm {
            // Further heads would change what queries are divided by.
            Some(QueryKeyNorm::Whole) => (spec.key_value_heads, spec.heads),
            _ => (spec.key_value_heads + 1, spec.heads + group),
        };
        for target in [
            ModelSpec { layers: 5, ..spec },
            ModelSpec { feed_forward: 19, ..spec },
            ModelSpec { heads, key_value_heads, ..spec },
            ModelSpec { width: 16, ..spec },
            ModelSpec { width: 24, ..spec },
            ModelSpec { vocabulary: 20, context: 9, ..spec },
            ModelSpec {
                tied: false,
                biases: Biases {
                    query_key_value: true,
                    attention_output: true,
                    feed_forward: true,
                    head: true,
                },
                ..spec
            },
            ModelSpec {
                vocabulary: 17,
                width: 16,
                layers: 3,
                feed_forward: 30,
                heads,
                key_value_heads,
                context: 8,
                tied: false,
                ..spec
            },
        ] {
            grown(&spec, &target);
        }
    }
}

/// Returns `spec` at another width with the epsilon for it.
fn widened(spec: &ModelSpec, width: u32) -> ModelSpec {
    ModelSpec { width, norm: adapted_norm(spec, width), ..*spec }
}

#[test]
fn models_grow_to_any_width() {
    for (name, spec) in dense_families() {
        let (rule, had) = match spec.norm {
            Norm::Rms { epsilon } => ("zero channels added", epsilon),
            Norm::Layer { epsilon } => ("channels that hold the mean added", epsilon),
        };
        for width in [9, 10, 13, 20] {
            let target = widened(&spec, width);
            assert_eq!(grown(&spec, &target).changes[0].rule, rule, "{name}");
            let all = ModelSpec {
                vocabulary: 17,
                layers: 4,
                feed_forward: 15,
                tied: false,
                context: 9,
                ..target
            };
            grown(&spec, &all);
            let kept = ModelSpec { width, ..spec };
            assert_eq!(
                adapt(&spec, &large_parameters(&spec), &kept, &SEED).err(),
                Some(AdaptError::Epsilon {
                    expected: adapted_norm(&spec, width).epsilon(),
                    found: had
                })
            );
        }
    }
}

#[test]
fn experts_compute_the_same_too() {
    for (_, dense) in dense_families() {
        let spec = ModelSpec { experts: Some(Experts::new(3, 2)), ..dense };
        for width in [8, 13, 16] {
            grown(&spec, &ModelSpec { layers: 3, feed_forward: 20, ..widened(&spec, width) });
        }
    }
}

#[test]
fn new_channels_hold_the_mean() {
    let spec = families()[0].1;
    let target = widened(&spec, 11);
    let adapted = adapt(&spec, &large_parameters(&spec), &target, &SEED).unwrap();
    let layout = Layout::new(&target).unwrap();
    for name in ["wte.weight", "wpe.weight", "h.1.attn.c_proj.weight", "h.1.mlp.c_proj.bias"] {
        let slot = layout.tensors().iter().find(|slot| slot.parameter.name == name).unwrap();
        for row in adapted.parameters[slot.range()].chunks(11) {
            assert!(row[8..].iter().all(|value| *value == mean(&row[..8])), "{name}: {row:?}");
        }
    }
}

#[test]
fn rewrites_follow_one_another() {
    let (name, spec) = families()[3];
    let experts = Experts::new(4, 2);
    let rewrites = [
        Rewrite::Upcycle { experts },
        Rewrite::SplitExpert { expert: 1 },
        Rewrite::InsertBlock { at: 1 },
        Rewrite::Widen { feed_forward: 20 },
    ];
    let flat = large_parameters(&spec);
    let (became, parameters) = apply_rewrites(&spec, flat.clone(), &rewrites).unwrap();
    let expected = ModelSpec {
        experts: Some(Experts { count: 5, ..experts }),
        layers: 3,
        feed_forward: 20,
        ..spec
    };
    assert_eq!(became, expected);
    let tokens: Vec<u32> = (0..9).collect();
    let LogitDifference { largest, scale } =
        logit_difference([(&spec, &flat), (&became, &parameters)], &tokens).unwrap();
    assert!(largest < 1e-5 && scale > 0.5, "{name}: {largest} of {scale}");
    // Another model differs more.
    let other: Vec<f32> = flat.iter().map(|value| value * 1.1).collect();
    assert!(logit_difference([(&spec, &flat), (&spec, &other)], &tokens).unwrap().largest > 1e-2);

    let refused = apply_rewrites(&spec, flat.clone(), &rewrites[1..]).err().unwrap();
    assert_eq!(
        refused,
        AdaptError::Rewrite { rewrite: rewrites[1], invalid: InvalidRewrite::NoExperts }
    );
    assert!(matches!(
        apply_rewrites(&spec, flat[1..].to_vec(), &rewrites),
        Err(AdaptError::Length { .. })
    ));
}

#[test]
fn a_mind_is_added_without_effect() {
    for (_, spec) in dense_families() {
        let mind = Mind {
            superposition: Some(Superposition { branches: 3, rank: 2 }),
            introspection: true,
            second_pass: 1,
        };
        let report = grown(&spec, &ModelSpec { mind, width: 16, ..spec });
        assert!(report.added.iter().any(|name| name == "h.1.mind.gate"));
    }
}

#[test]
fn new_parts_learn() {
    for (name, spec) in dense_families() {
        let target = ModelSpec { width: 16, layers: 3, feed_forward: 20, ..spec };
        let adapted = adapt(&spec, &large_parameters(&spec), &target, &SEED).unwrap();
        let layout = Layout::new(&target).unwrap();
        let weights = Weights::new(&layout, &adapted.parameters).unwrap().share(true).unwrap();
        let tokens = Tensor::from_slice(&TOKENS).view([2, 6]);
        let loss =
            Decoder::new(&target).unwrap().forward_loss(&weights, &tokens).unwrap().objective;
        let mut gradient = vec![0.0; layout.len()];
        weights.gradient(&loss, &mut gradient).unwrap();
        let of = |name: &str| {
            let slot = layout.tensors().iter().find(|slot| slot.parameter.name == name).unwrap();
            (&gradient[slot.range()], slot.parameter.shape.clone())
        };
        // Outputs of the new block and of new neurons.
        let silent = if spec.norms.is_behind() { "ln_2_behind" } else { "mlp.c_proj" };
        assert!(
            of(&format!("h.2.{silent}.weight")).0.iter().any(|&value| value.abs() > 1e-6),
            "{name}"
        );
        assert!(
            of("h.0.mlp.c_proj.weight").0[12 * 16..].iter().any(|&value| value.abs() > 1e-6),
            "{name}"
        );
        // The copies of a channel have different gradients.
        let (columns, shape) = of("h.0.mlp.c_proj.weight");
        assert_eq!(shape, [20, 16]);
        assert!((columns[0] - columns[8]).abs() > 1e-7, "{name}");
    }
}

#[test]
fn experts_grow_too() {
    let spec = ModelSpec { experts: Some(Experts::new(3, 1)), ..families()[3].1 };
    let target = ModelSpec { width: 16, feed_forward: 20, layers: 3, ..spec };
    let adapted = adapt(&spec, &large_parameters(&spec), &target, &SEED).unwrap();
    assert_eq!(adapted.parameters.len() as u64, target.size());
    let value = |spec: &ModelSpec, flat: &[f32], name: &str, at: usize| {
        let layout = Layout::new(spec).unwrap();
        flat[layout.tensors().iter().find(|slot| slot.parameter.name == name).unwrap().offset + at]
    };
    // Expert 2, neuron 5 to channel 3 and to its copy. A new neuron is silent.
    let old = value(&spec, &large_parameters(&spec), "h.1.mlp.c_proj.weight", (2 * 12 + 5) * 8 + 3);
    let new = |neuron: usize, channel: usize| {
        value(
            &target,
            &adapted.parameters,
            "h.1.mlp.c_proj.weight",
            (2 * 20 + neuron) * 16 + channel,
        )
    };
    assert_eq!([new(5, 3), new(5, 11), new(12, 3)], [old, old, 0.0]);
    // The weights that read both copies sum to the original.
    let old = value(&spec, &large_parameters(&spec), "h.0.mlp.router.weight", 3 * 3 + 1);
    let new = |channel: usize| {
        value(&target, &adapted.parameters, "h.0.mlp.router.weight", channel * 3 + 1)
    };
    assert!((new(3) + new(11) - old).abs() < 1e-6 && new(3) != new(11));
}

#[test]
fn shrinking_keeps_the_strongest() {
    let spec = families()[3].1;
    let layout = Layout::new(&spec).unwrap();
    let mut flat = large_parameters(&spec);
    let slot = |name: &str| {
        layout.tensors().iter().find(|slot| slot.parameter.name == name).unwrap().range()
    };
    // Neuron 7 of block 1 and channel 5 are the strongest.
    flat[slot("h.1.mlp.c_proj.weight")][7 * 8..8 * 8].fill(9.0);
    flat[slot("wte.weight")].iter_mut().skip(5).step_by(8).for_each(|value| *value = 9.0);
    let target = ModelSpec {
        width: 1,
        feed_forward: 1,
        layers: 2,
        heads: 2,
        key_value_heads: 1,
        vocabulary: 4,
        ..spec
    };
    let AdaptedModel { parameters, report } = adapt(&spec, &flat, &target, &SEED).unwrap();
    assert!(!report.preserved);
    assert_eq!(report.kept, target.size());
    let wanted = Layout::new(&target).unwrap();
    let new = |name: &str| {
        &parameters
            [wanted.tensors().iter().find(|slot| slot.parameter.name == name).unwrap().range()]
    };
    assert_eq!(new("wte.weight"), [9.0; 4]);
    assert_eq!(new("h.1.mlp.c_proj.weight"), [9.0]);
    assert_eq!(new("h.1.mlp.c_fc.weight"), [flat[slot("h.1.mlp.c_fc.weight")][5 * 12 + 7]]);
    let blocks =
        |from, to| (0..to).map(|index| source_block(index, from, to).0).collect::<Vec<_>>();
    assert_eq!(
        (blocks(12, 4), blocks(5, 2), blocks(4, 1)),
        (vec![0, 4, 7, 11], vec![0, 4], vec![0])
    );
}

#[test]
fn the_same_size_is_the_same_model() {
    for (name, spec) in families() {
        let adapted = adapt(&spec, &large_parameters(&spec), &spec, &SEED).unwrap();
        assert_eq!(adapted.parameters, large_parameters(&spec), "{name}");
        assert!(adapted.report.preserved && adapted.report.changes.is_empty());
    }
}

#[test]
fn other_kinds_are_refused() {
    let [(_, gpt2), _, _, (_, llama), ..] = families();
    let refused = |source: &ModelSpec, target: &ModelSpec| {
        adapt(source, &large_parameters(source), target, &SEED).err().unwrap()
    };
    assert_eq!(refused(&gpt2, &ModelSpec { norm: llama.norm, ..gpt2 }), AdaptError::Kind("norm"));
    assert_eq!(
        refused(&llama, &ModelSpec { tied: true, ..llama }),
        AdaptError::Kind("a head of its own that the target does not have")
    );
    assert_eq!(
        refused(&llama, &ModelSpec { head_size: 8, ..llama }),
        AdaptError::Kind("the size of a head")
    );
    assert!(matches!(refused(&llama, &ModelSpec { heads: 6, ..llama }), AdaptError::Kind(_)));
    let whole = ModelSpec { query_key_norm: Some(QueryKeyNorm::Whole), ..llama };
    let caps = SoftCaps { attention: Some(9_000), logits: None };
    let behind = ModelSpec { norms: NormPlacement::After, ..gpt2 };
    let wider = ModelSpec { width: 13, norm: adapted_norm(&behind, 13), ..behind };
    for (source, target) in [
        (llama, whole),
        (whole, ModelSpec { heads: 6, key_value_heads: 3, ..whole }),
        (llama, ModelSpec { caps, ..llama }),
        (gpt2, behind),
        (behind, wider),
    ] {
        assert!(matches!(refused(&source, &target), AdaptError::Kind(_)), "{target:?}");
    }
    assert!(matches!(
        refused(&gpt2, &ModelSpec { biases: Biases::default(), ..gpt2 }),
        AdaptError::Kind(_)
    ));
    assert_eq!(
        adapt(&gpt2, &[0.0], &gpt2, &SEED).err(),
        Some(AdaptError::Length { expected: gpt2.size() as usize, found: 1 })
    );
    assert_eq!(
        refused(&gpt2, &ModelSpec { layers: 0, ..gpt2 }),
        AdaptError::Spec(InvalidSpec::Zero)
    );
}
