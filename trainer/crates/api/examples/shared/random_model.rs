// SPDX-License-Identifier: Apache-2.0

//! A random model for measurements, which examples of two crates share.

use pol_api::{Engine, EngineOptions, ModelCard, Time};
use pol_generate::{NativeModel, TextTokenizer};
use pol_model::initial_parameters;
use pol_primitives::model::ModelSpec;
use std::{error::Error, thread};

/// Starts a random model of 42 million parameters, with as many bits as bfloat16 has.
pub(crate) fn random(options: EngineOptions) -> Result<Engine, Box<dyn Error + Send + Sync>> {
    let spec = ModelSpec::gpt2(8_192, 512, 12, 8, 2_048, 512);
    let rounded = |value: f32| f32::from_bits(value.to_bits() & 0xffff_0000);
    let parameters: Vec<f32> =
        initial_parameters(&spec, &[1; 32]).into_iter().map(rounded).collect();
    let tokenizer = r#"{"version":"1.0","added_tokens":[],
        "model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}}"#;
    let text = TextTokenizer::parse(tokenizer.as_bytes())?;
    start(&spec, &parameters, text, None, options)
}

/// Starts a model whose texts begin with the token `begin`.
pub(crate) fn start(
    spec: &ModelSpec,
    parameters: &[f32],
    text: TextTokenizer,
    begin: Option<u32>,
    options: EngineOptions,
) -> Result<Engine, Box<dyn Error + Send + Sync>> {
    let threads = thread::available_parallelism()?.get();
    let model = NativeModel::new(spec, parameters, threads)?;
    println!("{:.0} MB of parameters, {threads} threads", model.bytes_per_token() as f64 / 1e6);
    let card = ModelCard {
        name: "measured".into(),
        root: String::new(),
        round: None,
        decoder: String::new(),
        profile: String::new(),
        since: Time::new(0),
        parameters: spec.size(),
        context: spec.context as usize,
        chat: false,
        receipts: None,
    };
    Ok(Engine::start(model, text, begin, card, options)?)
}
