// SPDX-License-Identifier: Apache-2.0

//! The native decoder computes the same bits as ever, whatever form it keeps weights in.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod common;

use common::{FORMS, Round, round};
use pol_generate::{LanguageModel, NativeModel, Prediction, SequenceInput};
use pol_model::{hash_values, initial_parameters};
use pol_primitives::model::{Activation, Biases, ModelSpec, Norm, PositionEncoding};

/// Models with learned positions and tied embeddings, and with rotation, gates, and an output
/// projection of their own.
fn specs() -> [ModelSpec; 2] {
    let gpt2 = ModelSpec::gpt2(101, 64, 2, 4, 96, 80);
    let llama = ModelSpec {
        heads: 4,
        key_value_heads: 2,
        activation: Activation::Silu,
        gated: true,
        tied: false,
        norm: Norm::Rms { epsilon: 10_000 },
        positions: PositionEncoding::Rotary { dimensions: 16, base: 10_000, interleaved: false },
        biases: Biases::default(),
        ..gpt2
    };
    [gpt2, llama]
}

/// Returns the hash of the logits and hidden states of a prompt, and of tokens after it, by a model
/// whose weights have a form.
fn digest(spec: &ModelSpec, form: Round) -> String {
    let mut flat: Vec<f32> = initial_parameters(spec, &[9; 32])
        .into_iter()
        .enumerate()
        .map(|(i, v)| v * 4.0 + (i % 7) as f32 * 0.01)
        .collect();
    round(spec, &mut flat, form);
    let model = NativeModel::new(spec, &flat, 2).unwrap();
    let tokens: Vec<u32> = (0..61).map(|i| (i * i + 7 * i) % 101).collect();
    let (mut cache, mut prediction) = (model.new_cache(61).unwrap(), Prediction::default());
    let mut all = Vec::new();
    for tokens in [&tokens[..40], &tokens[40..43]].into_iter().chain(tokens[43..].chunks(1)) {
        let (cache, prediction) = (&mut cache, &mut prediction);
        let input = SequenceInput { cache, tokens, prediction: &mut *prediction };
        model.forward(&mut [input]).unwrap();
        all.extend_from_slice(&prediction.logits);
        all.extend_from_slice(&prediction.hidden_sum);
    }
    assert!(all.iter().all(|value| value.is_finite()));
    hash_values(&all)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Receipts name texts that a model wrote, so others rely on its bits. They are those of the first
/// version of the decoder, which decoded all forms but four to float32 before.
#[test]
fn the_bits_of_every_form_are_those_of_the_first_version() {
    let expected = [
        [
            "68bfdc37cbe164db",
            "f55cc7585b9c6853",
            "a413a61458a6fa8b",
            "348e0434705833a0",
            "f3c01c571e428910",
            "4113b6d9a6afe0fd",
            "d29fce949d4fb66e",
            "2578db9fb38e1551",
            "302e3fb65f392fd2",
        ],
        [
            "f0593d0c64b02380",
            "570f1ae9df97491c",
            "384c28e90e9213fc",
            "fd900c546e8cb3f3",
            "c12ec65f9d5074fc",
            "225b55305278d736",
            "3b7fba84bb1cc26a",
            "fc3c481fb7a7c4b0",
            "934811348821cc1e",
        ],
    ];
    let found = specs().map(|spec| FORMS.map(|(_, form)| digest(&spec, form)));
    assert_eq!(found, expected);
}
