// SPDX-License-Identifier: Apache-2.0

//! A small language model for tests: characters, predicted from the longest known context.

use pol_primitives::prf::Prf;
use pol_synthesis::{GeneratedText, ModelError, ModelIdentity, TextModel, TextRequest};
use std::collections::BTreeMap;

/// Largest number of characters of a context.
const CONTEXT: usize = 6;

/// Model that counts which character follows others in a text.
pub(crate) struct NgramModel {
    identity: ModelIdentity,
    counts: BTreeMap<Vec<char>, BTreeMap<char, u32>>,
}

impl NgramModel {
    /// Counts the characters of `text`.
    pub(crate) fn new(text: &str) -> Self {
        let mut counts = BTreeMap::<_, BTreeMap<_, _>>::new();
        let letters: Vec<char> = text.chars().collect();
        for (at, &letter) in letters.iter().enumerate() {
            for start in at.saturating_sub(CONTEXT)..=at {
                let next = counts.entry(letters[start..at].to_vec()).or_default();
                *next.entry(letter).or_insert(0) += 1;
            }
        }
        let root = blake3::hash(text.as_bytes()).into();
        let decoder = "ngrams/1".into();
        let identity = ModelIdentity { root, decoder, ..ModelIdentity::default() };
        Self { identity, counts }
    }

    fn next(&self, text: &[char]) -> &BTreeMap<char, u32> {
        let contexts = (text.len().saturating_sub(CONTEXT)..=text.len()).map(|at| &text[at..]);
        // The empty context is always known.
        contexts.filter_map(|context| self.counts.get(context)).next().unwrap()
    }

    fn write(&self, request: &TextRequest<'_>) -> GeneratedText {
        let inputs: [&[u8]; 2] = [&request.seed.to_le_bytes(), &request.stream.to_le_bytes()];
        let mut draws = Prf::new("ngrams", &[0; 32], &inputs);
        let mut letters: Vec<char> = request.prompt.chars().collect();
        let mut text = String::new();
        for _ in 0..request.sampling.max_tokens {
            let next = self.next(&letters);
            let letter = if request.sampling.temperature == 0 {
                *next.iter().max_by_key(|(_, count)| **count).unwrap().0
            } else {
                let all = next.iter().flat_map(|(letter, count)| vec![letter; *count as usize]);
                *all.collect::<Vec<_>>()[draws.below(next.values().sum()) as usize]
            };
            letters.push(letter);
            text.push(letter);
            if let Some(stop) = request.stop.iter().find(|stop| text.ends_with(stop.as_str())) {
                text.truncate(text.len() - stop.len());
                return GeneratedText { text, ended: true };
            }
        }
        GeneratedText { text, ended: false }
    }
}

impl TextModel for NgramModel {
    fn identity(&self) -> ModelIdentity {
        self.identity.clone()
    }

    fn generate(&self, requests: &[TextRequest<'_>]) -> Result<Vec<GeneratedText>, ModelError> {
        Ok(requests.iter().map(|request| self.write(request)).collect())
    }

    fn log_probabilities(&self, prompt: &str, continuation: &str) -> Result<Vec<i64>, ModelError> {
        let mut letters: Vec<char> = prompt.chars().collect();
        let logs = continuation.chars().map(|letter| {
            let next = self.next(&letters);
            letters.push(letter);
            let count = f64::from(next.get(&letter).copied().unwrap_or(0)).max(0.01);
            ((count / f64::from(next.values().sum::<u32>())).ln() * 1e6) as i64
        });
        Ok(logs.collect())
    }
}
