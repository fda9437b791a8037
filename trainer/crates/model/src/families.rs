// SPDX-License-Identifier: Apache-2.0

//! Small models of every family for tests.

use crate::initial_parameters;
use pol_primitives::model::{
    Activation, Biases, LocalAttention, Mind, ModelSpec, Norm, PositionEncoding, Superposition,
};

/// Returns the name and specification of each family, with vocabulary 13, width 8 and context 6.
pub(crate) fn families() -> [(&'static str, ModelSpec); 6] {
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
