// SPDX-License-Identifier: Apache-2.0

use crate::probes::{ProbeTask, generate_probes, worked_examples};
use pol_generate::{LanguageModel, Request, Sampling, TextTokenizer, generate};
use pol_primitives::{Hash, RoundNumber};
use std::ops::ControlFlow;

/// Maximum length of an answer in tokens. Every right answer is shorter, even with one token per
/// byte.
const MAX_ANSWER_TOKENS: usize = 32;

/// Asks a model the `count` probes of `seed` and `round`. Returns the task of each probe and `true`
/// if it was answered, the input of [`reasoning_quality`](crate::metrics::reasoning_quality).
///
/// Each probe follows up to `shots` worked examples, as many as the context has room for. A probe
/// without room is left out. The model generates its likeliest tokens.
///
/// # Errors
///
/// Fails if the tokenizer or the model does.
pub fn run_probes<M: LanguageModel>(
    model: &M,
    text: &TextTokenizer,
    (seed, round): (&Hash, RoundNumber),
    count: u32,
    shots: u32,
) -> Result<Vec<(ProbeTask, bool)>, pol_generate::Error> {
    let mut answers = Vec::new();
    for probe in generate_probes(seed, round, count) {
        let examples = worked_examples(probe.task, seed, round, shots);
        let room =
            model.context().saturating_sub(text.encode(&format!(" {}", probe.answer))?.len());
        let prompts = (0..=examples.len())
            .rev()
            .map(|shown| text.encode(&probe.prompt(&examples[..shown])))
            .collect::<Result<Vec<_>, _>>()?;
        let Some(prompt) = prompts.into_iter().find(|prompt| prompt.len() <= room) else {
            continue;
        };
        let request = Request {
            prompt,
            max_tokens: MAX_ANSWER_TOKENS,
            sampling: Sampling { temperature: 0.0, ..Sampling::default() },
            stop: vec!["\n".into()],
            ..Request::default()
        };
        let completions = generate(model, text, &[request], |_, _| ControlFlow::Continue(()))?;
        let is_answered =
            completions.iter().any(|completion| probe.is_answered_by(&completion.text));
        answers.push((probe.task, is_answered));
    }
    Ok(answers)
}
