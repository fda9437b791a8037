// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::MILLION;
use codec::{Decode, Encode};
use proptest::prelude::*;

fn llama() -> ModelSpec {
    ModelSpec {
        key_value_heads: 3,
        activation: Activation::Silu,
        gated: true,
        norm: Norm::Rms { epsilon: 10_000 },
        positions: PositionEncoding::Rotary { dimensions: 64, base: 100_000, interleaved: false },
        biases: Biases::default(),
        ..ModelSpec::gpt2(49_152, 576, 30, 9, 1_536, 8_192)
    }
}

#[test]
fn published_models_have_their_published_sizes() {
    let gpt2 = ModelSpec::gpt2(50_257, 768, 12, 12, 3_072, 1_024);
    assert_eq!((gpt2.size(), gpt2.validate()), (124_439_808, Ok(())));
    // SmolLM2-135M.
    assert_eq!((llama().size(), llama().validate()), (134_515_008, Ok(())));
    let gpt_j = ModelSpec {
        positions: PositionEncoding::Rotary { dimensions: 64, base: 10_000, interleaved: true },
        parallel: true,
        biases: Biases {
            query_key_value: false,
            attention_output: false,
            feed_forward: true,
            head: true,
        },
        tied: false,
        ..ModelSpec::gpt2(50_400, 4_096, 28, 16, 16_384, 2_048)
    };
    assert_eq!((gpt_j.size(), gpt_j.validate()), (6_050_882_784, Ok(())));
    let gpt_neo = ModelSpec {
        local: Some(LocalAttention { window: 256, period: 2, layers: 0b10 }),
        scaled: false,
        biases: Biases {
            query_key_value: false,
            attention_output: true,
            feed_forward: true,
            head: false,
        },
        ..ModelSpec::gpt2(50_257, 768, 12, 12, 3_072, 2_048)
    };
    assert_eq!((gpt_neo.size(), gpt_neo.validate()), (125_198_592, Ok(())));
    assert_eq!(
        [0, 1, 2, 11].map(|block| gpt_neo.window(block)),
        [None, Some(256), None, Some(256)]
    );
}

#[test]
fn later_models_have_their_published_sizes() {
    let rotary =
        |dimensions, base| PositionEncoding::Rotary { dimensions, base, interleaved: false };
    let rms = Norm::Rms { epsilon: 1_000 };
    let qwen3 = ModelSpec {
        key_value_heads: 8,
        head_size: 128,
        positions: rotary(128, 1_000_000),
        query_key_norm: Some(QueryKeyNorm::Head),
        ..ModelSpec { norm: rms, ..llama() }
    };
    // Qwen3-0.6B, OLMo-2-0425-1B, Gemma-2-2B without its tied head, and Pythia-160M.
    let qwen3 = ModelSpec {
        vocabulary: 151_936,
        width: 1_024,
        layers: 28,
        heads: 16,
        feed_forward: 3_072,
        ..qwen3
    };
    assert_eq!((qwen3.size(), qwen3.validate()), (596_049_920, Ok(())));
    let olmo2 = ModelSpec {
        vocabulary: 100_352,
        width: 2_048,
        layers: 16,
        heads: 16,
        key_value_heads: 16,
        feed_forward: 8_192,
        query_key_norm: Some(QueryKeyNorm::Whole),
        norms: NormPlacement::After,
        tied: false,
        ..qwen3
    };
    assert_eq!((olmo2.size(), olmo2.validate()), (1_484_916_736, Ok(())));
    let gemma2 = ModelSpec {
        vocabulary: 256_000,
        width: 2_304,
        layers: 26,
        heads: 8,
        key_value_heads: 4,
        head_size: 256,
        feed_forward: 9_216,
        norms: NormPlacement::Around,
        caps: SoftCaps { attention: Some(50_000), logits: Some(30_000) },
        query_key_norm: None,
        ..qwen3
    };
    assert_eq!((gemma2.size(), gemma2.validate()), (2_614_341_888, Ok(())));
    let pythia = ModelSpec {
        positions: rotary(16, 10_000),
        parallel: true,
        norms: NormPlacement::Apart,
        tied: false,
        ..ModelSpec::gpt2(50_304, 768, 12, 12, 3_072, 2_048)
    };
    assert_eq!((pythia.size(), pythia.validate()), (162_322_944, Ok(())));
}

#[test]
fn a_gpt2_shape_has_gpt2s_parameters() {
    let spec = ModelSpec::gpt2(11, 6, 1, 3, 5, 7);
    let listed: Vec<_> =
        spec.parameters().into_iter().map(|p| (p.name, p.shape, p.init, p.decays)).collect();
    let (normal, residual) = (Init::Normal(20_000), Init::Normal(14_142));
    let expected: [(&str, &[u32], Init, bool); 16] = [
        ("wte.weight", &[11, 6], normal, true),
        ("wpe.weight", &[7, 6], Init::Normal(10_000), true),
        ("h.0.ln_1.weight", &[6], Init::Ones, false),
        ("h.0.ln_1.bias", &[6], Init::Zeros, false),
        ("h.0.attn.c_attn.weight", &[6, 18], normal, true),
        ("h.0.attn.c_attn.bias", &[18], Init::Zeros, false),
        ("h.0.attn.c_proj.weight", &[6, 6], residual, true),
        ("h.0.attn.c_proj.bias", &[6], Init::Zeros, false),
        ("h.0.ln_2.weight", &[6], Init::Ones, false),
        ("h.0.ln_2.bias", &[6], Init::Zeros, false),
        ("h.0.mlp.c_fc.weight", &[6, 5], normal, true),
        ("h.0.mlp.c_fc.bias", &[5], Init::Zeros, false),
        ("h.0.mlp.c_proj.weight", &[5, 6], residual, true),
        ("h.0.mlp.c_proj.bias", &[6], Init::Zeros, false),
        ("ln_f.weight", &[6], Init::Ones, false),
        ("ln_f.bias", &[6], Init::Zeros, false),
    ];
    assert_eq!(
        listed,
        expected.map(|(name, shape, init, decays)| (name.into(), shape.to_vec(), init, decays))
    );
}

#[test]
fn norms_stand_where_the_specification_puts_them() {
    let names = |spec: ModelSpec| {
        let parameters = spec.parameters().into_iter().map(|parameter| parameter.name);
        parameters
            .filter_map(|name| {
                let part = name.strip_prefix("h.0.")?.strip_suffix(".weight")?.to_owned();
                Some(part)
            })
            .collect::<Vec<_>>()
    };
    let spec = ModelSpec { layers: 1, gated: false, ..llama() };
    let around = ModelSpec {
        norms: NormPlacement::Around,
        query_key_norm: Some(QueryKeyNorm::Head),
        ..spec
    };
    assert_eq!(
        names(around),
        [
            "ln_1",
            "attn.c_attn",
            "attn.q_norm",
            "attn.k_norm",
            "attn.c_proj",
            "ln_1_behind",
            "ln_2",
            "mlp.c_fc",
            "mlp.c_proj",
            "ln_2_behind",
        ]
    );
    let after = ModelSpec { norms: NormPlacement::After, ..spec };
    assert_eq!(
        names(after),
        ["attn.c_attn", "attn.c_proj", "ln_1_behind", "mlp.c_fc", "mlp.c_proj", "ln_2_behind"]
    );
    let apart = ModelSpec { parallel: true, norms: NormPlacement::Apart, ..spec };
    assert_eq!(names(apart), names(spec));
}

#[test]
fn later_parts_that_do_not_fit_are_refused() {
    let refused = |change: &dyn Fn(&mut ModelSpec)| {
        let mut spec = llama();
        change(&mut spec);
        spec.validate().err()
    };
    let wavelengths = |short, long| ScalingRamp::Wavelengths { short, long };
    let pairs = |first, last| ScalingRamp::Pairs { first, last };
    let scaling = |factor, amplitude, ramp| Some(RotaryScaling { factor, ramp, amplitude });
    for scaling in [
        scaling(999_999, 1_000_000_000, ScalingRamp::All),
        scaling(1_000_000, 99_999_999, ScalingRamp::All),
        scaling(8_000_000, 1_000_000_000, wavelengths(0, 9)),
        scaling(8_000_000, 1_000_000_000, wavelengths(9, 9)),
        scaling(8_000_000, 1_000_000_000, pairs(9, 9)),
    ] {
        assert_eq!(refused(&|spec| spec.scaling = scaling), Some(InvalidSpec::Scaling));
        let base = Some(RotaryBase { base: 9, scaling });
        let other = Some(OtherRotation { period: 1, layers: 1, base });
        assert_eq!(refused(&|spec| spec.other_rotation = other), Some(InvalidSpec::Scaling));
    }
    let fits = scaling(1_000_000, 100_000_000, pairs(0, 1));
    assert_eq!(refused(&|spec| spec.scaling = fits), None);
    let other = |period, layers, base| {
        let base = Some(RotaryBase { base, scaling: None });
        Some(OtherRotation { period, layers, base })
    };
    for other in [other(0, 1, 9), other(65, 1, 9), other(2, 0, 9), other(2, 4, 9), other(2, 1, 1)] {
        assert_eq!(refused(&|spec| spec.other_rotation = other), Some(InvalidSpec::OtherRotation));
    }
    assert_eq!(refused(&|spec| spec.other_rotation = other(64, 1, 2)), None);
    let gpt2 = ModelSpec::gpt2(8, 8, 1, 1, 8, 8);
    assert_eq!(ModelSpec { scaling: fits, ..gpt2 }.validate(), Err(InvalidSpec::Scaling));
    let unrotated = ModelSpec { other_rotation: other(1, 1, 9), ..gpt2 };
    assert_eq!(unrotated.validate(), Err(InvalidSpec::OtherRotation));
    for norms in [NormPlacement::After, NormPlacement::Around] {
        assert_eq!(refused(&|spec| spec.norms = norms), None);
        let parallel = ModelSpec { parallel: true, norms, ..gpt2 };
        assert_eq!(parallel.validate(), Err(InvalidSpec::NormPlacement));
    }
    assert_eq!(
        refused(&|spec| spec.norms = NormPlacement::Apart),
        Some(InvalidSpec::NormPlacement)
    );
    for cap in [0, 999, 1_000_000_001] {
        let attention = SoftCaps { attention: Some(cap), logits: None };
        let logits = SoftCaps { attention: None, logits: Some(cap) };
        for caps in [attention, logits] {
            assert_eq!(refused(&|spec| spec.caps = caps), Some(InvalidSpec::SoftCaps));
        }
    }
}

#[test]
fn blocks_differ_by_a_pattern() {
    let other = OtherRotation { period: 4, layers: 0b1000, base: None };
    let spec = ModelSpec { other_rotation: Some(other), ..llama() };
    let rotated = [0, 2, 3, 4, 7].map(|block| spec.rotation(block).is_some());
    assert_eq!(rotated, [true, true, false, true, false]);
    let base = Some(RotaryBase { base: 9, scaling: None });
    let spec = ModelSpec { other_rotation: Some(OtherRotation { base, ..other }), ..spec };
    assert_eq!([2, 3].map(|block| spec.rotation(block).unwrap().base), [100_000, 9]);
    // A new block moves the others, which stay as they were.
    let longer = crate::rewrite::Rewrite::InsertBlock { at: 2 }.apply(&spec).unwrap();
    let bases = |spec: &ModelSpec, blocks: &[u16]| {
        blocks.iter().map(|&block| spec.rotation(block).unwrap().base).collect::<Vec<_>>()
    };
    assert_eq!(bases(&longer, &[0, 1, 2, 3, 4, 8]), [100_000, 100_000, 100_000, 100_000, 9, 9]);
}

#[test]
fn nonsense_is_refused() {
    let spec = ModelSpec::gpt2;
    assert_eq!(spec(0, 8, 1, 1, 8, 8).validate(), Err(InvalidSpec::Zero));
    assert_eq!(spec(8, 8, 1, 3, 8, 8).validate(), Err(InvalidSpec::Heads));
    assert_eq!(spec(u32::MAX, 8, 1, 1, 8, 8).validate(), Err(InvalidSpec::TooLarge));
    assert_eq!(
        spec(1 << 20, 1 << 16, 512, 2, 1 << 18, 1 << 20).validate(),
        Err(InvalidSpec::TooLarge)
    );
    let refused = |change: &dyn Fn(&mut ModelSpec)| {
        let mut spec = llama();
        change(&mut spec);
        spec.validate().err()
    };
    let rotary =
        |dimensions, base| PositionEncoding::Rotary { dimensions, base, interleaved: false };
    let local = |window, period, layers| Some(LocalAttention { window, period, layers });
    let mind = |branches, rank| Mind {
        superposition: Some(Superposition { branches, rank }),
        ..Mind::default()
    };
    assert_eq!(refused(&|spec| spec.key_value_heads = 2), Some(InvalidSpec::Heads));
    assert_eq!(refused(&|spec| spec.head_size = u16::MAX), Some(InvalidSpec::TooLarge));
    for positions in [rotary(0, 9), rotary(7, 9), rotary(66, 9), rotary(8, 1)] {
        assert_eq!(refused(&|spec| spec.positions = positions), Some(InvalidSpec::Rotary));
    }
    for pattern in [local(0, 1, 1), local(1, 0, 1), local(1, 65, 1), local(1, 2, 0), local(1, 2, 4)]
    {
        assert_eq!(refused(&|spec| spec.local = pattern), Some(InvalidSpec::Local));
    }
    assert_eq!(refused(&|spec| spec.local = local(1, 64, u64::MAX)), None);
    for epsilon in [0, 10_000_001] {
        assert_eq!(
            refused(&|spec| spec.norm = Norm::Layer { epsilon }),
            Some(InvalidSpec::Epsilon)
        );
    }
    for (count, active) in [(1, 1), (65, 1), (4, 0), (4, 5)] {
        assert_eq!(
            refused(&|spec| spec.experts = Some(Experts::new(count, active))),
            Some(InvalidSpec::Experts)
        );
    }
    let weighed = |balance, z| Some(Experts { balance, z, ..Experts::new(5, 2) });
    assert_eq!(refused(&|spec| spec.experts = weighed(MILLION, MILLION)), None);
    for experts in [weighed(MILLION + 1, 0), weighed(0, MILLION + 1)] {
        assert_eq!(refused(&|spec| spec.experts = experts), Some(InvalidSpec::Experts));
    }
    for mind in [
        mind(1, 1),
        mind(17, 1),
        mind(2, 0),
        mind(2, 577),
        Mind { second_pass: 1, ..Mind::default() },
    ] {
        assert_eq!(refused(&|spec| spec.mind = mind), Some(InvalidSpec::Mind));
    }
    let again = |second_pass| Mind { introspection: true, second_pass, ..Mind::default() };
    assert_eq!(
        [30, 31].map(|n| refused(&|spec| spec.mind = again(n))),
        [None, Some(InvalidSpec::Mind)]
    );
}

prop_compose! {
    /// Any valid specification that is small.
    fn any_spec()(
        (vocabulary, width, layers, feed_forward, context) in
            (1u32..99, 1u32..33, 1u16..4, 1u32..33, 1u32..33),
        (key_value_heads, group, half) in (1u16..4, 1u16..4, 1u16..5),
        (rms, rotary, interleaved) in any::<(bool, bool, bool)>(),
        (gated, scaled, parallel, tied) in any::<(bool, bool, bool, bool)>(),
        biases in any::<[bool; 4]>(),
        activation in prop::sample::select(
            &[Activation::Gelu, Activation::GeluTanh, Activation::Silu, Activation::Relu][..]
        ),
        local in proptest::option::of((1u32..9, 1u64..8)),
        experts in proptest::option::of((2u8..5, 1u8..3)),
        (superposition, introspection) in (proptest::option::of((2u8..5, 1u16..4)), any::<bool>()),
        scaling in proptest::option::of((1_000_000u32.., 0u32..9, 1u32..9)),
        other in proptest::option::of((1u64..8, proptest::option::of(2u32..))),
        query_key_norm in prop::sample::select(
            &[None, Some(QueryKeyNorm::Head), Some(QueryKeyNorm::Whole)][..]
        ),
        placement in 0usize..3,
        caps in [proptest::option::of(1_000u32..99_999), proptest::option::of(1_000u32..99_999)],
    ) -> ModelSpec {
        let epsilon = 10_000;
        ModelSpec {
            vocabulary,
            width,
            layers,
            heads: key_value_heads * group,
            key_value_heads,
            head_size: 2 * half,
            feed_forward,
            context,
            activation,
            gated,
            norm: if rms { Norm::Rms { epsilon } } else { Norm::Layer { epsilon } },
            positions: if rotary {
                PositionEncoding::Rotary { dimensions: half / 2 * 2 + 2, base: 10_000, interleaved }
            } else {
                PositionEncoding::Learned
            },
            local: local.map(|(window, layers)| LocalAttention { window, period: 3, layers }),
            scaled,
            parallel,
            biases: Biases {
                query_key_value: biases[0],
                attention_output: biases[1],
                feed_forward: biases[2],
                head: biases[3],
            },
            tied,
            experts: experts.map(|(count, active)| Experts::new(count, active)),
            mind: Mind {
                superposition: superposition.map(|(branches, rank)| Superposition {
                    branches,
                    rank: rank.min(width as u16),
                }),
                introspection,
                second_pass: if introspection { layers - 1 } else { 0 },
            },
            scaling: scaling.filter(|_| rotary).map(|(factor, first, more)| RotaryScaling {
                factor,
                ramp: ScalingRamp::Pairs { first, last: first + more },
                amplitude: RotaryScaling::AMPLITUDE_UNIT,
            }),
            other_rotation: other.filter(|_| rotary).map(|(layers, base)| OtherRotation {
                period: 3,
                layers,
                base: base.map(|base| RotaryBase { base, scaling: None }),
            }),
            query_key_norm,
            norms: match (placement, parallel) {
                (0, _) => NormPlacement::Before,
                (_, true) => NormPlacement::Apart,
                (1, false) => NormPlacement::After,
                (_, false) => NormPlacement::Around,
            },
            caps: SoftCaps { attention: caps[0], logits: caps[1] },
        }
    }
}

/// Models of earlier releases keep the encodings that name them.
#[test]
fn later_parts_change_no_encoding_that_exists() {
    let spec = ModelSpec::gpt2(11, 6, 1, 3, 5, 7);
    let scaling = RotaryScaling {
        factor: 8_000_000,
        ramp: ScalingRamp::All,
        amplitude: RotaryScaling::AMPLITUDE_UNIT,
    };
    let scaled = ModelSpec { scaling: Some(scaling), ..llama() };
    let normed = ModelSpec { norms: NormPlacement::After, ..llama() };
    for (spec, version, key) in [
        (spec, 1, None),
        (llama(), 1, None),
        (scaled, 2, Some("scaling")),
        (normed, 2, Some("norms")),
    ] {
        assert_eq!(spec.encode()[0], version);
        let json = serde_json::to_value(spec).unwrap();
        for later in ["scaling", "other_rotation", "query_key_norm", "norms", "caps"] {
            assert_eq!(json.get(later).is_some(), key == Some(later), "{later}");
        }
        assert_eq!(serde_json::from_value::<ModelSpec>(json).unwrap(), spec);
    }
    let sizes = [1, 11, 0, 0, 0, 6, 0, 0, 0, 1, 0, 3, 0, 3, 0, 2, 0, 5, 0, 0, 0, 7, 0, 0, 0];
    let kinds = [0, 0, 0, 0x10, 0x27, 0, 0, 0, 0, 1, 0, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0];
    assert_eq!(spec.encode(), [&sizes[..], &kinds[..]].concat());
}

proptest! {
    #[test]
    fn size_is_the_sum_of_the_parameters(spec in any_spec()) {
        prop_assert_eq!(spec.validate(), Ok(()));
        let parameters = spec.parameters();
        prop_assert_eq!(
            parameters.iter().map(|parameter| parameter.len() as u64).sum::<u64>(),
            spec.size()
        );
        let names: alloc::collections::BTreeSet<_> =
            parameters.iter().map(|parameter| &parameter.name).collect();
        prop_assert_eq!(names.len(), parameters.len());
        prop_assert_eq!(ModelSpec::decode(&mut &spec.encode()[..]), Ok(spec));
    }

    /// Whatever bytes decode to, checks come to an end without overflow.
    #[test]
    fn hostile_specifications_are_harmless(
        bytes in any::<[u8; 26]>(),
        flags in any::<[bool; 12]>(),
        rest in any::<[u8; 32]>(),
        full: bool,
    ) {
        let number = |at: usize| {
            if full { u32::MAX } else { u32::from_le_bytes(core::array::from_fn(|i| rest[at + i])) }
        };
        let short = |at: usize| {
            if full { u16::MAX } else { u16::from_le_bytes([bytes[at], bytes[at + 1]]) }
        };
        let spec = ModelSpec {
            vocabulary: number(0),
            width: number(4),
            layers: short(0) % 256,
            heads: short(2),
            key_value_heads: short(4),
            head_size: short(6),
            feed_forward: number(8),
            context: number(12),
            activation: Activation::Silu,
            gated: flags[0],
            norm: Norm::Layer { epsilon: number(16) },
            positions: if flags[1] {
                PositionEncoding::Learned
            } else {
                PositionEncoding::Rotary {
                    dimensions: short(8),
                    base: number(20),
                    interleaved: flags[2],
                }
            },
            local: flags[3].then_some(LocalAttention {
                window: number(24),
                period: bytes[10],
                layers: number(28).into(),
            }),
            scaled: flags[4],
            parallel: flags[5],
            biases: Biases {
                query_key_value: true,
                attention_output: flags[6],
                feed_forward: true,
                head: flags[7],
            },
            tied: flags[8],
            experts: flags[9].then_some(Experts {
                count: bytes[11],
                active: bytes[12],
                balance: number(4),
                z: number(8),
            }),
            mind: Mind {
                superposition: flags[10]
                    .then_some(Superposition { branches: bytes[13], rank: short(14) }),
                introspection: flags[11],
                second_pass: short(16),
            },
            scaling: flags[2].then_some(RotaryScaling {
                factor: number(0),
                ramp: ScalingRamp::Wavelengths { short: number(4), long: number(8) },
                amplitude: number(12),
            }),
            other_rotation: flags[3].then_some(OtherRotation {
                period: bytes[10],
                layers: number(28).into(),
                base: flags[4].then_some(RotaryBase { base: number(20), scaling: None }),
            }),
            query_key_norm: flags[5].then_some(QueryKeyNorm::Whole),
            norms: if flags[6] { NormPlacement::Around } else { NormPlacement::Apart },
            caps: SoftCaps { attention: flags[7].then_some(number(0)), logits: None },
        };
        // A limit that any of these passes is one that its size passes.
        prop_assert!(spec.validate().is_err() || spec.size() <= 1 << 34);
        prop_assert!(spec.size() >= u64::from(spec.width));
        prop_assert!(!spec.parameters().is_empty());
        let _ = (spec.window(short(18)), spec.rotation(short(18)));
    }
}
