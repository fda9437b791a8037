// SPDX-License-Identifier: Apache-2.0

//! Small models of every family for tests.

use crate::initial_parameters;
use pol_primitives::model::{
    Activation, Biases, LocalAttention, Mind, ModelSpec, Norm, NormPlacement, OtherRotation,
    PositionEncoding, QueryKeyNorm, RotaryBase, RotaryScaling, ScalingRamp, SoftCaps,
    Superposition,
};

/// Returns the name and specification of each family, with vocabulary 13, width 8 and context 6.
pub(crate) fn families() -> [(&'static str, ModelSpec); 13] {
    let gpt2 = ModelSpec::gpt2(13, 8, 2, 2, 12, 6);
    let rotary =
        |dimensions, interleaved| PositionEncoding::Rotary { dimensions, base: 100, interleaved };
    let llama = ModelSpec {
        heads: 4,
        key_value_heads: 2,
        activation: Activation::Silu,
        gated: true,
        norm: Norm::Rms { epsilon: 1_000 },
        positions: rotary(4, false),
        biases: Biases::default(),
        ..gpt2
    };
    let later = later_families(gpt2, llama);
    [
        ("gpt2", gpt2),
        (
            "gpt-neo",
            ModelSpec {
                local: Some(LocalAttention { window: 2, period: 2, layers: 0b10 }),
                scaled: false,
                biases: Biases {
                    query_key_value: false,
                    attention_output: true,
                    feed_forward: true,
                    head: false,
                },
                ..gpt2
            },
        ),
        (
            "gpt-j",
            ModelSpec {
                positions: rotary(2, true),
                parallel: true,
                tied: false,
                biases: Biases {
                    query_key_value: false,
                    attention_output: false,
                    feed_forward: true,
                    head: true,
                },
                ..gpt2
            },
        ),
        ("llama", ModelSpec { head_size: 6, tied: false, ..llama }),
        (
            "llama-biased",
            ModelSpec {
                activation: Activation::Gelu,
                biases: Biases {
                    query_key_value: true,
                    attention_output: true,
                    feed_forward: true,
                    head: false,
                },
                ..llama
            },
        ),
        (
            "superposition",
            ModelSpec {
                mind: Mind {
                    superposition: Some(Superposition { branches: 2, rank: 2 }),
                    ..Mind::default()
                },
                ..llama
            },
        ),
        later[0],
        later[1],
        later[2],
        later[3],
        later[4],
        later[5],
        later[6],
    ]
}

/// Returns families with parts that came after the first release.
fn later_families(gpt2: ModelSpec, llama: ModelSpec) -> [(&'static str, ModelSpec); 7] {
    // A head of four values may be nearly zero, and its norm then turns rounding into a difference
    // that the tests would see.
    let epsilon = 10_000_000;
    let llama = ModelSpec { norm: Norm::Rms { epsilon }, ..llama };
    let gpt2 = ModelSpec { norm: Norm::Layer { epsilon }, ..gpt2 };
    let scaling = |ramp| {
        let (factor, amplitude) = (4_000_000, 1_100_000_000);
        Some(RotaryScaling { factor, ramp, amplitude })
    };
    let other = |layers, base| Some(OtherRotation { period: 2, layers, base });
    let short = RotaryBase { base: 10, scaling: scaling(ScalingRamp::All) };
    let wavelengths = ScalingRamp::Wavelengths { short: 5_000, long: 90_000 };
    let pairs = ScalingRamp::Pairs { first: 0, last: 2_000_000 };
    let local = Some(LocalAttention { window: 3, period: 2, layers: 0b01 });
    let (head, whole) = (Some(QueryKeyNorm::Head), Some(QueryKeyNorm::Whole));
    [
        ("llama-3.1", ModelSpec { scaling: scaling(wavelengths), ..llama }),
        ("qwen3", ModelSpec { query_key_norm: head, scaling: scaling(pairs), ..llama }),
        ("olmo2", ModelSpec { query_key_norm: whole, norms: NormPlacement::After, ..llama }),
        (
            "gemma2",
            ModelSpec {
                activation: Activation::GeluTanh,
                norms: NormPlacement::Around,
                caps: SoftCaps { attention: Some(2_000), logits: Some(3_000) },
                local,
                ..llama
            },
        ),
        (
            "gemma3",
            ModelSpec {
                query_key_norm: head,
                norms: NormPlacement::Around,
                other_rotation: other(0b01, Some(short)),
                local,
                tied: false,
                ..llama
            },
        ),
        ("smollm3", ModelSpec { other_rotation: other(0b10, None), ..llama }),
        (
            "gpt-neox",
            ModelSpec {
                activation: Activation::Relu,
                positions: PositionEncoding::Rotary {
                    dimensions: 2,
                    base: 100,
                    interleaved: false,
                },
                query_key_norm: head,
                parallel: true,
                norms: NormPlacement::Apart,
                tied: false,
                ..gpt2
            },
        ),
    ]
}

/// Creates parameters that are large enough for every path through the model to matter.
pub(crate) fn large_parameters(spec: &ModelSpec) -> Vec<f32> {
    let larger = |value: f32| if value == 1.0 { value } else { value * 15.0 };
    initial_parameters(spec, &[3; 32])
        .into_iter()
        .enumerate()
        .map(|(i, value)| larger(value) + (i % 7) as f32 * 0.01)
        .collect()
}
