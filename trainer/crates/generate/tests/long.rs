// SPDX-License-Identifier: Apache-2.0

//! Texts of thousands of tokens.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use pol_generate::{
    LanguageModel, NativeModel, Prediction, SequenceCache, SequenceInput, TorchModel,
};
use pol_model::{Layout, Weights, initial_parameters};
use pol_primitives::model::{
    Activation, Biases, LocalAttention, ModelSpec, Norm, PositionEncoding,
};
use tch::Device;

const LENGTH: usize = 4_300;

fn spec() -> ModelSpec {
    ModelSpec {
        heads: 4,
        key_value_heads: 2,
        head_size: 8,
        activation: Activation::Silu,
        gated: true,
        norm: Norm::Rms { epsilon: 10_000 },
        positions: PositionEncoding::Rotary { dimensions: 8, base: 500_000, interleaved: false },
        biases: Biases::default(),
        context: 8_192,
        ..ModelSpec::gpt2(61, 32, 2, 4, 48, 64)
    }
}

fn text() -> Vec<u32> {
    (0..LENGTH as u32).map(|i| (i * i + i / 7) % 61).collect()
}

/// Returns the logits after `tokens`, which the model processes in pieces of `piece`.
fn logits(model: &impl LanguageModel, tokens: &[u32], piece: usize) -> Vec<f32> {
    let (mut cache, mut prediction) =
        (model.new_cache(tokens.len()).unwrap(), Prediction::default());
    for tokens in tokens.chunks(piece) {
        model
            .forward(&mut [SequenceInput {
                cache: &mut cache,
                tokens,
                prediction: &mut prediction,
            }])
            .unwrap();
    }
    assert_eq!(cache.len(), tokens.len());
    prediction.logits
}

fn parameters(spec: &ModelSpec) -> Vec<f32> {
    // Far from uniform attention.
    initial_parameters(spec, &[4; 32]).into_iter().map(|value| value * 6.0).collect()
}

fn torch(spec: &ModelSpec) -> TorchModel {
    let weights = Weights::new(&Layout::new(spec).unwrap(), &parameters(spec)).unwrap();
    TorchModel::new(spec, weights, Device::Cpu).unwrap()
}

#[test]
fn thousands_of_tokens_say_the_same_at_once_and_in_pieces() {
    let (spec, text) = (spec(), text());
    let (native, torch) = (NativeModel::new(&spec, &parameters(&spec), 2).unwrap(), torch(&spec));
    let expected = logits(&torch, &text, LENGTH);
    for (how, found) in [
        ("native at once", logits(&native, &text, LENGTH)),
        ("native in pieces", logits(&native, &text, 999)),
        ("libtorch in pieces", logits(&torch, &text, 1_000)),
    ] {
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-3, "{how}: {worst}");
    }
}

#[test]
fn only_a_window_forgets_what_is_far() {
    let text = text();
    let other: Vec<u32> = text
        .iter()
        .enumerate()
        .map(|(at, token)| if at == 0 { token + 1 } else { *token })
        .collect();
    let global = spec();
    let local =
        ModelSpec { local: Some(LocalAttention { window: 200, period: 1, layers: 1 }), ..global };
    for (spec, forgets) in [(global, false), (local, true)] {
        let native = NativeModel::new(&spec, &parameters(&spec), 2).unwrap();
        assert_eq!(logits(&native, &text, 1_024) == logits(&native, &other, 1_024), forgets);
        let torch = torch(&spec);
        assert_eq!(logits(&torch, &text, 1_024) == logits(&torch, &other, 1_024), forgets);
    }
}
