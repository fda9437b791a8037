// SPDX-License-Identifier: Apache-2.0

//! Models with their tokenizers from one GGUF file are those of their folders.

use crate::{distance, fixture, open};
use half::{bf16, f16};
use indicatif::ProgressBar;
use pol_import::{Checkpoint, ImportedModel, WEIGHTS_FILE, load};
use pol_model::{Decoder, Layout, Weights};
use pol_primitives::model::{LocalAttention, PositionEncoding, RotaryScaling, ScalingRamp};
use serde::Deserialize;
use std::fs;
use tch::{Kind, Tensor};

/// Tokens that transformers writes after a text, taking the likeliest one each time.
#[derive(Deserialize)]
struct Written {
    prompt: String,
    prompt_tokens: Vec<u32>,
    tokens: Vec<u32>,
    text: String,
}

fn imported(name: &str) -> ImportedModel {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("model");
    let checkpoint = Checkpoint::open(&fixture(name), None).unwrap();
    checkpoint.save(&out, false, &ProgressBar::hidden()).unwrap();
    load(&out).unwrap()
}

/// Returns the `count` tokens that `model` writes after `prompt`, or fewer if it ends the text.
fn likeliest(model: &ImportedModel, prompt: &[u32], count: usize) -> Vec<u32> {
    let weights = Weights::new(&Layout::new(&model.spec).unwrap(), &model.parameters).unwrap();
    let decoder = Decoder::new(&model.spec).unwrap();
    let mut tokens: Vec<i64> = prompt.iter().copied().map(i64::from).collect();
    let mut found = Vec::new();
    while found.len() < count
        && !found.last().is_some_and(|it| model.report.special.end.contains(it))
    {
        let logits = decoder.logits(&weights, &Tensor::from_slice(&tokens).unsqueeze(0)).unwrap();
        let next = logits.get(-1).argmax(0, false).int64_value(&[]);
        tokens.push(next);
        found.push(next as u32);
    }
    found
}

#[test]
fn a_llama_2_from_gguf_writes_as_its_folder_does() {
    let [folder, file] = ["tokenizers/llama", "tokenizers/llama.gguf"].map(imported);
    assert_eq!((file.spec, file.root), (folder.spec, folder.root));
    let tokenizers = [&folder, &file].map(|model| {
        let special = &model.report.special;
        assert_eq!((special.begin, special.end.as_slice()), (Some(1), [2].as_slice()));
        let json = model.tokenizer.as_ref().unwrap();
        (
            tokenizers::Tokenizer::from_bytes(json).unwrap(),
            pol_data::Tokenizer::from_json(json).unwrap(),
        )
    });
    let expected = fs::read(fixture("tokenizers/expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_slice(&expected).unwrap();
    let texts = expected["texts"].as_array().unwrap();
    assert!(texts.len() > 30);
    for text in texts.iter().map(|text| text.as_str().unwrap()) {
        let [folder, file] = tokenizers.each_ref().map(|(with_special, text_only)| {
            let tokens = with_special.encode(text, true).unwrap().get_ids().to_vec();
            (tokens, text_only.encode(text).unwrap())
        });
        assert_eq!(file, folder, "{text:?}");
    }
    let written = fs::read(fixture("tokenizers/llama/written.json")).unwrap();
    let written: Vec<Written> = serde_json::from_slice(&written).unwrap();
    assert_eq!(written.len(), 5);
    for Written { prompt, prompt_tokens, tokens, text } in written {
        for (model, (tokenizer, _)) in [&folder, &file].into_iter().zip(&tokenizers) {
            let found = tokenizer.encode(prompt.as_str(), true).unwrap();
            assert_eq!(found.get_ids(), prompt_tokens, "{prompt:?}");
            let found = likeliest(model, &prompt_tokens, 24);
            assert_eq!(found, tokens, "{prompt:?}");
            // Row 523 stands for no token, which the file says by a name for it.
            assert_eq!(tokenizer.decode(&found, true).unwrap(), text);
        }
    }
}

#[test]
fn a_phi_3_from_gguf_computes_what_the_reference_does() {
    for name in ["phi3", "phi3-long"] {
        let file = open(&format!("{name}.gguf"));
        let distance = distance(name, file.spec(), &file.parameters().unwrap());
        assert!(distance < 1e-4, "{name}: logits are {distance} away");
    }
    let spec = *open("phi3-long.gguf").spec();
    let positions = PositionEncoding::Rotary { dimensions: 6, base: 10_000, interleaved: false };
    assert_eq!((spec.positions, spec.tied, spec.context), (positions, true, 32));
    assert_eq!(spec.local, Some(LocalAttention { window: 7, period: 1, layers: 1 }));
    // The square root of 1 + ln 8 / ln 32.
    let scaling =
        RotaryScaling { factor: 1_000_000, ramp: ScalingRamp::All, amplitude: 1_264_911_064 };
    assert_eq!(spec.scaling, Some(scaling));
}

#[test]
fn a_context_that_is_shorter_than_stated_is_noted() {
    for name in ["phi3-long", "phi3-long.gguf"] {
        let scratch = tempfile::tempdir().unwrap();
        let out = scratch.path().join("model");
        let report = open(name).save(&out, false, &ProgressBar::hidden()).unwrap();
        let note = "texts have at most 32 tokens here, and not 256";
        assert!(report.notes.iter().any(|it| it.starts_with(note)), "{:?}", report.notes);
    }
}

#[test]
fn values_of_a_lower_precision_take_less_on_disk() {
    let mut model = imported("llama.gguf");
    let parameters = model.parameters.clone();
    let scratch = tempfile::tempdir().unwrap();
    let mut save = |name: &str, round: fn(f32) -> f32| {
        model.parameters = parameters.iter().copied().map(round).collect();
        model.parameters[3] = -0.0;
        let folder = scratch.path().join(name);
        let root = model.save(&folder, false).unwrap().root;
        // Every bit comes back, signs of zeros too.
        let read = load(&folder).unwrap();
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!((read.root, bits(&read.parameters)), (root, bits(&model.parameters)), "{name}");
        let path = folder.join(WEIGHTS_FILE);
        let tensors = Tensor::read_safetensors(&path).unwrap();
        let (_, embedding) = tensors.iter().find(|(name, _)| name == "wte.weight").unwrap();
        (embedding.kind(), fs::metadata(path).unwrap().len())
    };
    let (kind, whole) = save("whole", |value| value);
    assert_eq!(kind, Kind::Float);
    let (kind, bytes) = save("brain", |value| bf16::from_f32(value).to_f32());
    assert_eq!(kind, Kind::BFloat16);
    assert!(bytes < whole * 3 / 4, "{bytes} of {whole}");
    let (kind, bytes) = save("half", |value| f16::from_f32(value).to_f32());
    assert_eq!(kind, Kind::Half);
    assert!(bytes < whole * 3 / 4, "{bytes} of {whole}");
}
