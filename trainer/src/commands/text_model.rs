// SPDX-License-Identifier: Apache-2.0

//! Imported models that write the text of recipes, with the same bytes on every machine.

use super::decoder::{Reading, read_native};
use anyhow::{Context, Result, ensure};
use pol_generate::{
    FinishReason, LanguageModel, NativeModel, Prediction, Request, Sampling, SequenceInput,
    TextTokenizer, generate, log_probability,
};
use pol_import::{ImportReport, describe, open};
use pol_primitives::{Ppm, model::ModelSpec};
use pol_synthesis::{
    GeneratedText, ModelError, ModelIdentity, SamplingParameters, TextModel, TextRequest,
};
use std::{fmt::Display, ops::ControlFlow, path::Path};

/// Name and version of the decoder, as recipes name it. A change of its arithmetic, of the sampler,
/// or of the tokenizer that changes a text needs another version.
pub(crate) const DECODER: &str = "pol-generate/native/1";
/// Largest memory of the keys and values of texts that are written together, in bytes.
const MAX_CACHE_BYTES: usize = 1 << 30;

/// Returns the identity of the model in a folder, without reading its parameters.
pub(crate) fn identify(folder: &Path) -> Result<ModelIdentity> {
    let (spec, report) = describe(folder)?;
    identity(&spec, &report).with_context(|| folder.display().to_string())
}

fn identity(spec: &ModelSpec, report: &ImportReport) -> Result<ModelIdentity> {
    let tokenizer = report.tokenizer.as_ref();
    let tokenizer = tokenizer.context("it has no tokenizer; import it again with --tokenizer")?;
    ensure!(
        NativeModel::supports(spec),
        "it needs the decoder of libtorch, whose texts differ between machines, so that nobody \
         could draw them again; take a model without experts, superposition, and second pass, and \
         a processor with AVX2"
    );
    let special = &report.special;
    Ok(ModelIdentity {
        root: report.root,
        tokenizer: tokenizer.hash,
        decoder: DECODER.into(),
        spec: pol_primitives::digest(b"pol/drawing/1", &(spec, special.begin, &special.end)),
    })
}

/// Imported model that writes text.
pub(crate) struct NativeTextModel {
    identity: ModelIdentity,
    model: NativeModel,
    text: TextTokenizer,
    /// Token that begins texts.
    begin: Option<u32>,
    /// Memory of the keys and values of a token, in bytes.
    token_bytes: usize,
}

impl NativeTextModel {
    /// Loads the model in a folder, and checks it against the report of its import.
    pub(crate) fn load(folder: &Path, threads: usize) -> Result<Self> {
        let mut imported = open(folder)?;
        let identity = identity(&imported.spec, &imported.report);
        let identity = identity.with_context(|| folder.display().to_string())?;
        let spec = imported.spec;
        // Recipes name the root, so packed parameters, which nothing compares with it, do not do.
        let model = read_native(&mut imported, threads, Reading::Verified)?;
        let special = &imported.report.special;
        let values = [spec.layers, spec.key_value_heads, spec.head_size].map(usize::from);
        Ok(Self {
            identity,
            model,
            text: TextTokenizer::parse(&imported.tokenizer.unwrap_or_default())?
                .with_ends(&special.end),
            begin: special.begin,
            token_bytes: 2 * size_of::<f32>() * values.iter().product::<usize>(),
        })
    }

    /// Returns the tokens of a prompt.
    fn encode(&self, prompt: &str) -> Result<Vec<u32>, ModelError> {
        let tokens = self.text.encode(prompt).map_err(failure)?;
        Ok(self.begin.into_iter().chain(tokens).collect())
    }

    fn request(&self, request: &TextRequest<'_>) -> Result<Request, ModelError> {
        Ok(Request {
            prompt: self.encode(request.prompt)?,
            max_tokens: request.sampling.max_tokens as usize,
            sampling: sampling(request.sampling, request.seed),
            stream: request.stream,
            stop: request.stop.to_vec(),
            ..Request::default()
        })
    }
}

impl TextModel for NativeTextModel {
    fn identity(&self) -> ModelIdentity {
        self.identity.clone()
    }

    fn fits(&self, prompt: &str) -> Result<bool, ModelError> {
        Ok((1..self.model.context()).contains(&self.encode(prompt)?.len()))
    }

    fn generate(&self, requests: &[TextRequest<'_>]) -> Result<Vec<GeneratedText>, ModelError> {
        let requests: Vec<_> =
            requests.iter().map(|request| self.request(request)).collect::<Result<_, _>>()?;
        let tokens = |request: &Request| request.prompt.len().saturating_add(request.max_tokens);
        let longest = requests.iter().map(tokens).max().unwrap_or(0).min(self.model.context());
        let together = MAX_CACHE_BYTES / longest.saturating_mul(self.token_bytes).max(1);
        let mut texts = Vec::new();
        for requests in requests.chunks(together.max(1)) {
            let go_on = |_, _: pol_generate::Event<'_>| ControlFlow::Continue(());
            let completions =
                generate(&self.model, &self.text, requests, go_on).map_err(failure)?;
            texts.extend(completions.into_iter().map(|completion| GeneratedText {
                text: completion.text,
                ended: matches!(completion.finish, FinishReason::End | FinishReason::Stop(_)),
            }));
        }
        Ok(texts)
    }

    fn log_probabilities(&self, prompt: &str, continuation: &str) -> Result<Vec<i64>, ModelError> {
        let mut tokens = self.encode(prompt)?;
        // The token behind a full context can still be predicted.
        let room = (self.model.context() + 1).saturating_sub(tokens.len());
        let mut continuation = self.text.encode(continuation).map_err(failure)?;
        continuation.truncate(room);
        let capacity = tokens.len() + continuation.len();
        let mut cache = self.model.new_cache(capacity).map_err(failure)?;
        let (mut prediction, mut logs) = (Prediction::default(), Vec::new());
        for token in continuation {
            let (cache, prediction) = (&mut cache, &mut prediction);
            let input = SequenceInput { cache, tokens: &tokens, prediction: &mut *prediction };
            self.model.forward(&mut [input]).map_err(failure)?;
            logs.push(millionths(log_probability(&prediction.logits, token))?);
            tokens = vec![token];
        }
        Ok(logs)
    }
}

fn failure(error: impl Display) -> ModelError {
    ModelError(error.to_string())
}

fn sampling(parameters: &SamplingParameters, seed: u64) -> Sampling {
    let share = |ppm: Ppm| (f64::from(ppm) / 1e6) as f32;
    Sampling {
        temperature: share(parameters.temperature),
        top_k: parameters.top_k as usize,
        top_p: share(parameters.top_p),
        min_p: share(parameters.min_p),
        repetition_penalty: share(parameters.repetition_penalty),
        seed,
    }
}

/// Returns a logarithm in millionths, rounded towards zero.
fn millionths(log: f64) -> Result<i64, ModelError> {
    if log.is_nan() {
        return Err(ModelError("its scores are not numbers; its parameters are damaged".into()));
    }
    Ok((log * 1e6) as i64)
}

#[cfg(test)]
mod tests;
