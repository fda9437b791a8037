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
    }
    let fits = scaling(1_000_000, 100_000_000, pairs(0, 1));
    assert_eq!(refused(&|spec| spec.scaling = fits), None);
    assert_eq!(
        ModelSpec { scaling: fits, ..spec(8, 8, 1, 1, 8, 8) }.validate(),
        Err(InvalidSpec::Scaling)
    );
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
            &[Activation::Gelu, Activation::GeluTanh, Activation::Silu][..]
        ),
        local in proptest::option::of((1u32..9, 1u64..8)),
        experts in proptest::option::of((2u8..5, 1u8..3)),
        (superposition, introspection) in (proptest::option::of((2u8..5, 1u16..4)), any::<bool>()),
        scaling in proptest::option::of((1_000_000u32.., 0u32..9, 1u32..9)),
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
    for (spec, version) in [(spec, 1), (llama(), 1), (scaled, 2)] {
        assert_eq!(spec.encode()[0], version);
        let json = serde_json::to_value(spec).unwrap();
        assert_eq!(json.get("scaling").is_some(), version == 2);
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
        };
        // A limit that any of these passes is one that its size passes.
        if spec.validate().is_ok() {
            prop_assert!(spec.size() <= 1 << 34);
        }
        prop_assert!(spec.size() >= u64::from(spec.width));
        prop_assert!(!spec.parameters().is_empty());
        let _ = spec.window(short(18));
    }
}
