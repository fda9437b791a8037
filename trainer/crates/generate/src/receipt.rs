// SPDX-License-Identifier: Apache-2.0

//! Requests and completions, as receipts name them.

use crate::{Completion, Controls, Request, Sampling, TextTokenizer};
use pol_receipt::{Generator, Receipt, Terms};
use std::collections::BTreeSet;

impl Request {
    /// Returns the terms of the request, as a receipt names them.
    pub fn terms(&self, text: &TextTokenizer) -> Terms {
        let Sampling { temperature, top_k, top_p, min_p, repetition_penalty, seed } = self.sampling;
        let ends: BTreeSet<u32> = text.ends().iter().copied().collect();
        Terms {
            temperature,
            top_k: top_k as u64,
            top_p,
            min_p,
            repetition_penalty,
            sensitivity: self.sensitivity,
            seed,
            stream: self.stream,
            max_tokens: self.max_tokens as u64,
            stop: self.stop.clone(),
            ends: ends.into_iter().collect(),
            ignore_end: self.ignore_end,
            tools: self.tools,
        }
    }

    /// Returns the request for a continuation of `prompt` under the terms of a receipt, but for the
    /// tokens that end a text, which are the [tokenizer's](TextTokenizer::with_ends).
    pub fn from_terms(terms: &Terms, prompt: Vec<u32>) -> Self {
        let Terms { temperature, top_p, min_p, repetition_penalty, seed, .. } = *terms;
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let top_k = size(terms.top_k);
        Self {
            prompt,
            max_tokens: size(terms.max_tokens),
            sampling: Sampling { temperature, top_k, top_p, min_p, repetition_penalty, seed },
            stream: terms.stream,
            stop: terms.stop.clone(),
            tools: terms.tools,
            ignore_end: terms.ignore_end,
            sensitivity: terms.sensitivity,
            controls: Controls::default(),
            constraint: None,
            reports: None,
            read_ahead: 0,
        }
    }

    /// Returns the receipt of `generator` for a completion of this request. A receipt has no place
    /// for a constraint or for [`Controls`], without which the text would not be made again.
    pub fn receipt(
        &self,
        generator: Generator,
        text: &TextTokenizer,
        completion: &Completion,
    ) -> Receipt {
        let (terms, tokens) = (self.terms(text), completion.tokens as u64);
        Receipt::new(generator, &self.prompt, terms, &completion.text, tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tests::BYTES;

    #[test]
    fn terms_make_the_request_again() {
        let request = Request {
            prompt: vec![1, 2],
            max_tokens: 9,
            sampling: Sampling {
                temperature: 0.7,
                top_k: 3,
                top_p: 0.9,
                min_p: 0.1,
                repetition_penalty: 1.1,
                seed: 5,
            },
            stream: 4,
            stop: vec!["\n".into()],
            tools: true,
            ignore_end: true,
            sensitivity: 0.5,
            controls: Controls::default(),
            constraint: None,
            reports: None,
            read_ahead: 0,
        };
        let terms = request.terms(&BYTES);
        assert!(terms.ends.is_sorted() && BYTES.ends().iter().all(|end| terms.ends.contains(end)));
        let again = Request::from_terms(&terms, vec![1, 2]);
        assert_eq!(format!("{again:?}"), format!("{request:?}"));
        let many = Terms { max_tokens: u64::MAX, ..terms };
        assert_eq!(Request::from_terms(&many, vec![1]).max_tokens, usize::MAX);
    }
}
