// SPDX-License-Identifier: Apache-2.0

//! Families with scaled rotations, norms in other places, and bounds.

use crate::{
    ChangedFixture, Pair, are_refused, gguf, number, open, qwen2_gguf, text_pair, whole_number,
};
use pol_import::{Checkpoint, ImportError};
use pol_primitives::model::{
    Experts, LocalAttention, ModelSpec, NormPlacement, OtherRotation, PositionEncoding,
    QueryKeyNorm, RotaryBase, RotaryScaling, ScalingRamp, SoftCaps,
};
use serde_json::{Value, json};

/// Returns the specification of a fixture with changes of its config.
fn changed(name: &str, changes: Value) -> ModelSpec {
    let changed = ChangedFixture::new(name).config(changes);
    *Checkpoint::open(changed.folder.path(), None).unwrap().spec()
}

fn linear(factor: u32) -> Option<RotaryScaling> {
    let amplitude = RotaryScaling::AMPLITUDE_UNIT;
    Some(RotaryScaling { factor, ramp: ScalingRamp::All, amplitude })
}

#[test]
fn specifications_have_their_parts() {
    let amplitude = RotaryScaling::AMPLITUDE_UNIT;
    let ramp = ScalingRamp::Wavelengths { short: 16_000, long: 64_000 };
    let scaling = Some(RotaryScaling { factor: 8_000_000, ramp, amplitude });
    assert_eq!(open("llama-3.1").spec().scaling, scaling);
    assert_eq!(open("llama-linear").spec().scaling, linear(2_500_000));
    let ramp = ScalingRamp::Pairs { first: 0, last: 3_000_000 };
    let scaling = Some(RotaryScaling { factor: 4_000_000, ramp, amplitude: 1_138_629_436 });
    assert_eq!(open("llama-yarn").spec().scaling, scaling);

    assert_eq!(open("qwen3").spec().query_key_norm, Some(QueryKeyNorm::Head));
    let spec = *open("olmo2").spec();
    assert_eq!(
        (spec.query_key_norm, spec.norms),
        (Some(QueryKeyNorm::Whole), NormPlacement::After)
    );
    let unrotated = OtherRotation { period: 4, layers: 0b1000, base: None };
    assert_eq!(open("smollm3").spec().other_rotation, Some(unrotated));

    let spec = *open("gemma2").spec();
    assert_eq!(spec.caps, SoftCaps { attention: Some(2_000), logits: Some(4_000) });
    assert_eq!(spec.local, Some(LocalAttention { window: 5, period: 2, layers: 0b01 }));
    assert_eq!((spec.norms, spec.query_key_norm), (NormPlacement::Around, None));
    let spec = *open("gemma3").spec();
    assert_eq!(spec.caps, SoftCaps::default());
    assert_eq!(spec.scaling, linear(8_000_000));
    let base = Some(RotaryBase { base: 10_000, scaling: None });
    let other = OtherRotation { period: 6, layers: 0b01_1111, base };
    assert_eq!(spec.other_rotation, Some(other));
    assert_eq!(spec.local, Some(LocalAttention { window: 5, period: 6, layers: 0b01_1111 }));

    let spec = *open("gpt-neox").spec();
    assert_eq!((spec.norms, spec.parallel), (NormPlacement::Apart, true));
    let dimensions = |spec: ModelSpec| match spec.positions {
        PositionEncoding::Rotary { dimensions, base, .. } => Some((dimensions, base)),
        PositionEncoding::Learned => None,
    };
    assert_eq!(dimensions(spec), Some((2, 10_000)));
    let falcon = *open("falcon").spec();
    assert_eq!((falcon.norms, falcon.key_value_heads), (NormPlacement::Before, 1));
    let falcon = *open("falcon-apart").spec();
    assert_eq!((falcon.norms, falcon.key_value_heads), (NormPlacement::Apart, 2));
    let spec = *open("opt").spec();
    assert_eq!((dimensions(spec), spec.context, spec.tied), (None, 32, true));
}

#[test]
fn experts_have_a_router_without_biases() {
    let checkpoint = open("mixtral");
    assert_eq!(checkpoint.spec().experts, Some(Experts::new(5, 2)));
    let spec = *open("qwen3-moe").spec();
    assert_eq!((spec.experts, spec.feed_forward), (Some(Experts::new(7, 3)), 8));
    assert_eq!(spec.query_key_norm, Some(QueryKeyNorm::Head));
    let usual = json!({"num_local_experts": null, "num_experts": 7});
    assert_eq!(changed("qwen3-moe", usual), spec);
    let values = checkpoint.parameters().unwrap();
    let mut start = 0;
    for parameter in checkpoint.spec().parameters() {
        let values = &values[start..start + parameter.len()];
        assert_eq!(parameter.name.ends_with("router.bias"), values.iter().all(|it| *it == 0.0));
        start += parameter.len();
    }
}

#[test]
fn windows_of_a_qwen_3_with_experts_are_in_all_blocks() {
    let all = Some(LocalAttention { window: 7, period: 1, layers: 1 });
    for listed in [
        json!({}),
        // The reference heeds neither in this family.
        json!({"max_window_layers": 1}),
        json!({"layer_types": ["full_attention", "sliding_attention"]}),
    ] {
        let mut changes = json!({"use_sliding_window": true, "sliding_window": 7});
        changes.as_object_mut().unwrap().extend(listed.as_object().unwrap().clone());
        assert_eq!(changed("qwen3-moe", changes).local, all, "{listed}");
    }
    let unused = json!({"use_sliding_window": false, "sliding_window": 7});
    assert_eq!(changed("qwen3-moe", unused).local, None);
}

#[test]
fn values_that_a_config_leaves_out_are_those_of_the_reference() {
    for (name, epsilon, base) in [
        ("llama", 1_000, 10_000),
        ("granite", 1_000, 10_000),
        ("mistral", 1_000, 10_000),
        ("mixtral", 10_000, 1_000_000),
        ("qwen2", 1_000, 10_000),
        ("qwen3", 1_000, 10_000),
        ("qwen3-moe", 1_000, 10_000),
        ("phi", 10_000, 10_000),
        ("phi3", 10_000, 10_000),
        ("gemma", 1_000, 10_000),
        ("gemma2", 1_000, 10_000),
        ("gemma3", 1_000, 1_000_000),
        ("olmo2", 10_000, 10_000),
        ("smollm3", 1_000, 2_000_000),
        ("stablelm", 10_000, 10_000),
        ("starcoder2", 10_000, 10_000),
        ("gpt-neox", 10_000, 10_000),
        ("falcon", 10_000, 10_000),
    ] {
        // Heads of the fixtures are too small for a quarter of them to rotate.
        let rotation = match name {
            "stablelm" | "gpt-neox" => json!({"partial_rotary_factor": 0.5}),
            _ => Value::Null,
        };
        let spec = changed(
            name,
            json!({
                "rms_norm_eps": null,
                "layer_norm_eps": null,
                "layer_norm_epsilon": null,
                "norm_epsilon": null,
                "rope_theta": null,
                "rope_parameters": rotation,
            }),
        );
        let PositionEncoding::Rotary { base: found, .. } = spec.positions else {
            panic!("{name} does not rotate");
        };
        assert_eq!((spec.norm.epsilon(), found), (epsilon, base), "{name}");
    }
    // Sizes of heads, which the shapes of tensors contradict here.
    are_refused(&[
        ("gemma", json!({"head_dim": null}), "asks for [1024, 16]"),
        ("qwen3", json!({"head_dim": null}), "asks for [512, 16]"),
        ("qwen3-moe", json!({"head_dim": null}), "asks for [16, 16]"),
    ]);
}

#[test]
fn a_gemma_2_from_gguf_has_the_bounds_and_windows_that_llama_cpp_takes() {
    let mut file = std::fs::read(crate::fixture("gemma2.gguf")).unwrap();
    let find = |file: &[u8], key: &str| {
        let key = key.as_bytes();
        file.windows(key.len()).position(|window| window == key).unwrap() + key.len()
    };
    for key in ["attn_logit_softcapping", "final_logit_softcapping", "attention.sliding_window"] {
        let end = find(&file, &format!("gemma2.{key}"));
        // A key that nothing reads.
        file[end - 1] = b'_';
    }
    // A context in which the usual window hides something. Before it is the type of the number.
    let context = find(&file, "gemma2.context_length") + 4;
    file[context..context + 4].copy_from_slice(&8_192u32.to_le_bytes());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gemma2.gguf");
    std::fs::write(&path, file).unwrap();
    let spec = *Checkpoint::open(&path, None).unwrap().spec();
    assert_eq!(spec.caps, SoftCaps { attention: Some(50_000), logits: Some(30_000) });
    assert_eq!(spec.local, Some(LocalAttention { window: 4_096, period: 2, layers: 0b01 }));
}

#[test]
fn scaled_rotations_have_several_spellings() {
    let scaling = |changes: Value| changed("llama-biased", changes).scaling;
    let both = json!({"rope_scaling": {"rope_type": null, "type": "linear", "factor": 4.0}});
    assert_eq!(scaling(both), linear(4_000_000));
    // Within the context it changes nothing.
    assert_eq!(scaling(json!({"rope_scaling": {"type": "dynamic", "factor": 4.0}})), None);
    let yarn = |more: Value| {
        let mut yarn = json!({"type": "yarn", "factor": 2.0, "truncate": false});
        yarn.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        scaling(json!({"rope_scaling": yarn})).unwrap()
    };
    assert_eq!(yarn(json!({})).amplitude, 1_069_314_718);
    assert_eq!(yarn(json!({"attention_factor": 1.5})).amplitude, 1_500_000_000);
    assert_eq!(yarn(json!({"mscale": 1.0, "mscale_all_dim": 1.0})).amplitude, 1_000_000_000);
    // The context of the first training may be outside, and the factor follows from it.
    let outside = json!({
        "original_max_position_embeddings": 8,
        "rope_scaling": {"type": "yarn", "factor": null},
    });
    assert_eq!(scaling(outside).unwrap().factor, 4_000_000);
}

#[test]
fn later_families_have_older_spellings() {
    let spec = *open("gemma3").spec();
    let older = json!({
        "layer_types": null,
        "rope_parameters": null,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    });
    assert_eq!(changed("gemma3", older), spec);
    let every_third = json!({"layer_types": null, "sliding_window_pattern": 3});
    assert_eq!(changed("gemma3", every_third).local.unwrap().layers, 0b011);
    assert_eq!(changed("gemma2", json!({"layer_types": null})), *open("gemma2").spec());
    let unbounded = json!({"attn_logit_softcapping": null, "final_logit_softcapping": null});
    assert_eq!(changed("gemma2", unbounded).caps, SoftCaps::default());
    let older = json!({
        "rope_parameters": null,
        "rotary_pct": 0.5,
        "rotary_emb_base": 10_000,
    });
    assert_eq!(changed("gpt-neox", older), *open("gpt-neox").spec());
    let by_turns = changed("gpt-neox", json!({"use_parallel_residual": false}));
    assert_eq!((by_turns.parallel, by_turns.norms), (false, NormPlacement::Before));
    let interval = json!({"no_rope_layers": null, "no_rope_layer_interval": 2});
    let unrotated = OtherRotation { period: 2, layers: 0b10, base: None };
    assert_eq!(changed("smollm3", interval).other_rotation, Some(unrotated));
    let all = json!({"no_rope_layers": [1, 1, 1, 1]});
    assert_eq!(changed("smollm3", all).other_rotation, None);
    let windows = json!({
        "use_sliding_window": true,
        "sliding_window": 7,
        "max_window_layers": 1,
        "layer_types": null,
    });
    let upper = LocalAttention { window: 7, period: 2, layers: 0b10 };
    assert_eq!(changed("qwen3", windows).local, Some(upper));
}

#[test]
fn later_configs_that_do_not_fit_are_explained() {
    are_refused(&[
        ("smollm3", json!({"no_rope_layers": [1, 0]}), "0 or 1 of each of the 4 blocks"),
        ("smollm3", json!({"no_rope_layers": [1, 0, 2, 1]}), "0 or 1 of each of the 4 blocks"),
        ("gemma2", json!({"final_logit_softcapping": 0}), "final_logit_softcapping is 0, not a"),
        ("gemma2", json!({"attn_logit_softcapping": 1e9}), "which bounds nothing"),
        ("gemma2", json!({"attn_logit_softcapping": 0.5}), "a bound of scores or logits must be"),
        ("gemma2", json!({"query_pre_attn_scalar": -1}), "query_pre_attn_scalar is -1"),
        ("gemma3", json!({"use_bidirectional_attention": true}), "use_bidirectional_attention"),
        ("gemma3", json!({"rope_parameters": {"full_attention": 7}}), "7, not an object"),
        (
            "qwen3",
            json!({"num_hidden_layers": 3}),
            "layers.2.input_layernorm.weight [16] is missing",
        ),
        ("olmo2", json!({"attention_bias": true}), "q_proj.bias"),
        ("gpt-neox", json!({"attention_bias": false}), "query_key_value.bias"),
        ("falcon", json!({"alibi": true}), "by distance (alibi)"),
        ("falcon", json!({"multi_query": false}), "query_key_value.weight is [24, 16] where"),
        ("falcon", json!({"num_attention_heads": 3}), "not a multiple of the 3 heads"),
        ("falcon-apart", json!({"parallel_attn": false}), "parallel_attn false"),
        ("falcon-apart", json!({"num_ln_in_parallel_attn": 1}), "input_layernorm.weight [16] is"),
        ("opt", json!({"do_layer_norm_before": false}), "do_layer_norm_before false"),
        ("opt", json!({"word_embed_proj_dim": 8}), "word_embed_proj_dim"),
        ("opt", json!({"max_position_embeddings": 34}), "is [34, 16] where"),
        ("opt", json!({"num_attention_heads": 3}), "not a multiple of the 3 heads"),
        ("mixtral", json!({"num_local_experts": 6}), "moe.gate.weight is [5, 16] where"),
        ("mixtral", json!({"num_experts_per_tok": 6}), "5 experts (num_local_experts), of which 6"),
        ("mixtral", json!({"intermediate_size": 9}), "experts.0.w1.weight is [8, 16] where"),
        ("qwen3-moe", json!({"num_local_experts": 128}), "at most 64 experts"),
        ("qwen3-moe", json!({"norm_topk_prob": null}), "do not add up to 1"),
        ("qwen3-moe", json!({"mlp_only_layers": [1]}), "blocks without experts (mlp_only_layers"),
        ("qwen3-moe", json!({"decoder_sparse_step": 2}), "(decoder_sparse_step 2)"),
    ]);
}

#[test]
fn short_and_long_texts_may_have_factors_of_their_own() {
    let expected = *open("phi3-long").spec();
    let older = |kind: &str| {
        let scaling = json!({"type": kind, "short_factor": [1, 1, 1], "long_factor": [1, 4, 8.5]});
        json!({
            "rope_parameters": null,
            "rope_theta": 1e4,
            "partial_rotary_factor": 0.75,
            "rope_scaling": scaling,
        })
    };
    for kind in ["longrope", "su", "yarn"] {
        assert_eq!(changed("phi3-long", older(kind)), expected, "{kind}");
    }
    let with = |key: &str, value: Value| {
        let mut changes = older("longrope");
        changes["rope_scaling"][key] = value;
        changed("phi3-long", changes)
    };
    let amplitude = |spec: ModelSpec| spec.scaling.map(|scaling| scaling.amplitude);
    assert_eq!(amplitude(with("attention_factor", json!(1.5))), Some(1_500_000_000));
    // The factor stands for the quotient of the contexts, and 32 is 2 to the fifth.
    assert_eq!(amplitude(with("factor", json!(2.0))), Some(1_095_445_115));
    assert_eq!(amplitude(with("factor", json!(0.5))), None);
    // All texts alike.
    let same = with("long_factor", json!([1, 1, 1]));
    assert_eq!((same.context, same.scaling), (256, expected.scaling));
    let divided = json!({"rope_type": "longrope", "short_factor": [1.05, 1.05], "factor": 4.0,
        "long_factor": [1.05, 2], "original_max_position_embeddings": 16});
    let spec = changed("llama-biased", json!({"rope_parameters": divided}));
    assert_eq!((spec.context, spec.scaling.unwrap().factor), (16, 1_050_000));
    // No text of such a model is long.
    let short = changed("phi3-long", json!({"max_position_embeddings": 32}));
    assert_eq!((short.context, short.scaling), (32, None));
    // The family has a default, whatever the object says.
    let usual = changed("phi3-long", json!({"original_max_position_embeddings": null}));
    assert_eq!((usual.context, usual.scaling), (256, None));
}

#[test]
fn factors_that_a_specification_cannot_say_are_refused() {
    let with = |key: &str, value: Value| {
        let mut scaling =
            json!({"type": "su", "short_factor": [1, 1, 1], "long_factor": [1, 4, 8]});
        scaling[key] = value;
        json!({"rope_scaling": scaling})
    };
    are_refused(&[
        (
            "phi3-long",
            with("short_factor", json!([1, 1.02, 1])),
            "type 'longrope' with short factors that differ between pairs (rope_scaling)",
        ),
        ("phi3-long", with("short_factor", json!([0.5, 0.5, 0.5])), "factors are at least 1"),
        ("phi3-long", with("attention_factor", json!(-1)), "factors are at least 1"),
        ("phi3-long", with("attention_factor", json!(0.05)), "an amplitude of at least a tenth"),
        ("phi3-long", with("long_factor", json!([1, 4])), "long_factor does not list a number for"),
        ("phi3-long", with("long_factor", json!(4)), "long_factor does not list a number for each"),
        ("phi3-long", with("short_factor", json!([1, "1", 1])), "short_factor does not list"),
        ("phi3-long", with("short_factor", Value::Null), "each of the 3 rotated pairs of a head"),
    ]);
}

#[test]
fn attention_that_is_biased_by_distance_is_named() {
    are_refused(&[
        ("gpt2", json!({"model_type": "bloom"}), "'bloom', with biases of attention by distance"),
        ("gpt2", json!({"model_type": "mpt"}), "by distance (ALiBi)"),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bloom.gguf");
    std::fs::write(&path, gguf(&[text_pair("general.architecture", "bloom")], &[])).unwrap();
    let text = Checkpoint::open(&path, None).err().unwrap().to_string();
    assert!(text.contains("by distance (ALiBi)") && text.contains("phi3 (Phi-4 too)"), "{text}");
}

/// Opens the Qwen2 fixture as GGUF with further metadata.
fn with_metadata(more: &[Pair]) -> Result<ModelSpec, ImportError> {
    let (pairs, tensors) = qwen2_gguf();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qwen2.gguf");
    std::fs::write(&path, gguf(&[&pairs[..], more].concat(), &tensors)).unwrap();
    Checkpoint::open(&path, None).map(|checkpoint| *checkpoint.spec())
}

#[test]
fn scaled_rotations_in_gguf_are_read_as_llama_cpp_does() {
    let kind = |kind: &str| text_pair("qwen2.rope.scaling.type", kind);
    let factor = |factor| number("qwen2.rope.scaling.factor", factor);
    let scaling = |more: &[Pair]| with_metadata(more).unwrap().scaling;
    assert_eq!(scaling(&[kind("linear"), factor(2.5)]), linear(2_500_000));
    // A factor without a type is linear; 0 and 1 are none.
    assert_eq!(scaling(&[factor(4.0)]), linear(4_000_000));
    assert_eq!(scaling(&[number("qwen2.rope.scale_linear", 4.0)]), linear(4_000_000));
    for none in [factor(0.0), factor(1.0)] {
        assert_eq!(scaling(&[none]), None);
    }
    assert_eq!(scaling(&[kind("none"), factor(4.0)]), None);
    let amplitude = number("qwen2.rope.scaling.attn_factor", 0.5);
    let yarn = scaling(&[kind("yarn"), factor(2.0), amplitude.clone()]).unwrap();
    assert_eq!(yarn.amplitude, 534_657_359);
    // It is applied whatever the type is.
    for kind in ["linear", "none"] {
        let found = scaling(&[text_pair("qwen2.rope.scaling.type", kind), amplitude.clone()]);
        assert_eq!((found.unwrap().factor, found.unwrap().amplitude), (1_000_000, 500_000_000));
    }
    for (more, says) in [
        (vec![kind("longrope"), factor(4.0)], "rope scaling of type 'longrope'"),
        (vec![factor(0.5)], "factors are at least 1"),
        (
            vec![kind("yarn"), factor(2.0), number("qwen2.rope.scaling.yarn_ext_factor", 0.5)],
            "yarn_ext_factor of 0.5",
        ),
        (
            vec![whole_number("qwen2.attention.sliding_window", 7)],
            "a sliding window (qwen2.attention.sliding_window)",
        ),
        (vec![whole_number("qwen2.expert_count", 4)], "experts (qwen2.expert_count)"),
    ] {
        let text = with_metadata(&more).unwrap_err().to_string();
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn factors_of_short_and_long_texts_in_gguf_are_read() {
    let (pairs, tensors) = qwen2_gguf();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qwen2.gguf");
    let open = |more: &[Pair], lists: &[(&str, &[f32])]| {
        let mut tensors: Vec<_> =
            tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect();
        tensors.extend(lists.iter().map(|(length, factors)| {
            (format!("rope_factors_{length}.weight"), tch::Tensor::from_slice(factors))
        }));
        std::fs::write(&path, gguf(&[&pairs[..], more].concat(), &tensors)).unwrap();
        Checkpoint::open(&path, None).map(|checkpoint| *checkpoint.spec())
    };
    let original = whole_number("qwen2.rope.scaling.original_context_length", 16);
    let lists: [(&str, &[f32]); 2] = [("short", &[1.0, 1.0]), ("long", &[1.0, 3.0])];
    let kind = |kind: &str| text_pair("qwen2.rope.scaling.type", kind);
    for more in [vec![], vec![kind("longrope")], vec![kind("none")]] {
        let spec = open(&[vec![original.clone()], more].concat(), &lists).unwrap();
        assert_eq!((spec.context, spec.scaling), (16, None));
    }
    let amplitude = number("qwen2.rope.scaling.attn_factor", 1.125);
    let spec = open(&[original.clone(), amplitude], &lists).unwrap();
    assert_eq!(spec.scaling.unwrap().amplitude, 1_125_000_000);
    // The usual factor is not rounded: the square root of 1 + ln 2 / ln 16.
    let amplitude = number("qwen2.rope.scaling.attn_factor", 1.25f32.sqrt());
    let spec = open(&[original.clone(), amplitude], &lists).unwrap();
    assert_eq!(spec.scaling.unwrap().amplitude, 1_118_033_989);
    // Without the context of the first training, all texts are short.
    assert_eq!(open(&[], &lists).unwrap().context, 32);
    let alike: [(&str, &[f32]); 2] = [("short", &[1.5, 1.5]), ("long", &[1.5, 1.5])];
    let spec = open(std::slice::from_ref(&original), &alike).unwrap();
    assert_eq!((spec.context, spec.scaling), (32, linear(1_500_000)));
    let contradicts = "does not fit the rotation that the metadata describe";
    type Lists<'a> = &'a [(&'a str, &'a [f32])];
    let cases: [(Vec<Pair>, Lists<'_>, &str); 8] = [
        (vec![], &[("short", &[1.0, 2.0]), ("long", &[1.0, 3.0])], "differ between pairs"),
        (vec![], &[("short", &[0.5, 0.5]), ("long", &[1.0, 3.0])], "factors are at least 1"),
        (vec![], &lists[..1], "rope_factors_short.weight does not fit"),
        (vec![], &lists[1..], "rope_factors_long.weight does not fit"),
        (vec![], &[("short", &[1.0]), ("long", &[1.0, 3.0])], contradicts),
        (vec![], &[("short", &[1.0, 1.0]), ("long", &[1.0, f32::NAN])], contradicts),
        (vec![number("qwen2.rope.scaling.factor", 4.0)], &lists, contradicts),
        (vec![kind("yarn")], &lists, contradicts),
    ];
    for (more, lists, says) in cases {
        let text = open(&more, lists).unwrap_err().to_string();
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn divisors_of_another_curve_are_refused() {
    let (pairs, tensors) = qwen2_gguf();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qwen2.gguf");
    for (divisors, says) in [
        (&[1.0f32, 3.0][..], "divisors other than LLaMA 3's"),
        (&[1.0, 1.0, 1.0], "does not fit the rotation"),
    ] {
        let divisors = ("rope_freqs.weight".to_owned(), tch::Tensor::from_slice(divisors));
        let mut tensors: Vec<_> =
            tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect();
        tensors.push(divisors);
        std::fs::write(&path, gguf(&pairs, &tensors)).unwrap();
        let text = Checkpoint::open(&path, None).err().unwrap().to_string();
        assert!(text.contains(says), "{text}");
    }
}
