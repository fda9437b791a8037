// SPDX-License-Identifier: Apache-2.0

//! Models of every family write as the reference implementation would: token by token, in batches,
//! reasoning and all.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use pol_generate::{
    LanguageModel, NativeModel, Prediction, SequenceCache, SequenceInput, TorchModel,
};
use pol_import::Checkpoint;
use pol_model::{Layout, Weights};
use std::{collections::BTreeMap, path::Path};
use tch::{Device, Kind, Tensor};

const FAMILIES: [&str; 30] = [
    "gpt2",
    "dialogpt",
    "gpt-neo",
    "gpt-j",
    "llama",
    "llama-tied",
    "llama-biased",
    "mistral",
    "qwen2",
    "phi",
    "phi3",
    "stablelm",
    "starcoder2",
    "gpt-bigcode",
    "granite",
    "gemma",
    "llama-3.1",
    "llama-linear",
    "llama-yarn",
    "qwen3",
    "smollm3",
    "olmo2",
    "gemma2",
    "gemma3",
    "gpt-neox",
    "opt",
    "falcon",
    "falcon-apart",
    "phi3-long",
    "llama-longrope",
];

struct Golden {
    checkpoint: Checkpoint,
    /// Sequences, and the scores after each of their tokens.
    rows: Vec<(Vec<u32>, Vec<Vec<f32>>)>,
}

fn golden(name: &str) -> Golden {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../import/tests/fixtures").join(name);
    let reference: BTreeMap<_, _> = Tensor::read_safetensors(folder.join("reference.safetensors"))
        .unwrap()
        .into_iter()
        .collect();
    let (tokens, logits) = (&reference["tokens"], &reference["logits"]);
    let [rows, length, vocabulary] = logits.size()[..] else {
        panic!("logits have three dimensions")
    };
    let rows = (0..rows).map(|row| {
        let ids = Vec::<i64>::try_from(tokens.get(row))
            .unwrap()
            .into_iter()
            .map(|id| id as u32)
            .collect();
        let flat = Vec::<f32>::try_from(
            logits.get(row).to_kind(Kind::Float).reshape([length * vocabulary]),
        )
        .unwrap();
        (ids, flat.chunks(vocabulary as usize).map(<[f32]>::to_vec).collect())
    });
    Golden { rows: rows.collect(), checkpoint: Checkpoint::open(&folder, None).unwrap() }
}

/// All rows at once, a token at a time: a row that begins later is shorter than the others.
fn check(name: &str, model: &impl LanguageModel, rows: &[(Vec<u32>, Vec<Vec<f32>>)]) {
    let length = rows[0].0.len();
    let mut state: Vec<_> =
        rows.iter().map(|_| (model.new_cache(length).unwrap(), Prediction::default())).collect();
    for at in 0..length {
        let mut inputs: Vec<_> = rows
            .iter()
            .zip(&mut state)
            .enumerate()
            .filter(|(row, _)| at >= 3 * row)
            .map(|(row, ((tokens, _), (cache, prediction)))| SequenceInput {
                cache,
                tokens: &tokens[at - 3 * row..][..1],
                prediction,
            })
            .collect();
        model.forward(&mut inputs).unwrap();
        for ((_, expected), (cache, prediction)) in
            rows.iter().zip(&state).filter(|(_, (cache, _))| !cache.is_empty())
        {
            for (found, expected) in prediction.logits.iter().zip(&expected[cache.len() - 1]) {
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{name}, token {at}: {found} for {expected}"
                );
            }
        }
    }
}

#[test]
fn token_by_token_every_family_scores_as_the_reference_does() {
    for name in FAMILIES {
        let Golden { checkpoint, rows } = golden(name);
        let (spec, parameters) = (checkpoint.spec(), checkpoint.parameters().unwrap());
        check(name, &NativeModel::new(spec, &parameters, 2).unwrap(), &rows);
        let weights = Weights::new(&Layout::new(spec).unwrap(), &parameters).unwrap();
        check(name, &TorchModel::new(spec, weights, Device::Cpu).unwrap(), &rows);
    }
}
