// SPDX-License-Identifier: Apache-2.0

//! Encoding of much text: the library's tokens, at several times its speed.
//!
//! Text repeats its words, so that the tokens of most are known. This holds for tokenizers that
//! split text as GPT-2 does and encode each word by itself. The library encodes for all others.

use crate::{
    tokenizer::{Tokenizer, TokenizerError, call_tokenizers},
    word_map::WordMap,
    words::{byte_characters, spell, words},
};
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};
use tokenizers::{Model, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper};

/// Words whose tokens are remembered by each thread, at most. Beyond, they are computed again.
const MAX_WORDS: usize = 1 << 18;
/// Longest word that is remembered, in bytes.
const MAX_WORD_BYTES: usize = 48;

/// Number of tokens that are held where the word is.
const FEW: usize = 3;

/// Tokens of a word.
enum WordTokens {
    Few([u32; FEW], u8),
    Many(Box<[u32]>),
}

impl WordTokens {
    fn new(tokens: Vec<u32>) -> Self {
        if tokens.len() > FEW {
            return Self::Many(tokens.into());
        }
        let mut few = [0; FEW];
        few[..tokens.len()].copy_from_slice(&tokens);
        Self::Few(few, tokens.len() as u8)
    }

    fn append_to(&self, tokens: &mut Vec<u32>) {
        match self {
            // A copy of fixed length is faster.
            Self::Few(few, number) => {
                let length = tokens.len() + usize::from(*number);
                tokens.extend_from_slice(few);
                tokens.truncate(length);
            }
            Self::Many(many) => tokens.extend_from_slice(many),
        }
    }
}

/// Encoder of texts with one tokenizer.
pub(crate) struct Encoder {
    /// Characters that stand for bytes in the words of the model, if it can be asked by words.
    byte_characters: Option<[char; 256]>,
    /// Words that threads remember between two batches.
    known: Mutex<Vec<WordMap<WordTokens>>>,
}

impl Encoder {
    /// Creates an encoder for `tokenizer`.
    pub(crate) fn new(tokenizer: &Tokenizer) -> Self {
        let byte_characters = is_by_words(tokenizer.inner()).then(byte_characters);
        Self { byte_characters, known: Mutex::default() }
    }

    /// Returns the tokens of each of `texts`, computed on all cores.
    pub(crate) fn encode_batch(
        &self,
        tokenizer: &Tokenizer,
        texts: &[String],
    ) -> Result<Vec<Vec<u32>>, TokenizerError> {
        let Some(characters) = &self.byte_characters else {
            return tokenizer.encode_batch(texts);
        };
        let model = tokenizer.inner().get_model();
        texts
            .par_iter()
            .map(|text| {
                let mut known = self.lock().pop().unwrap_or_default();
                let tokens = encode(model, characters, &mut known, text);
                self.lock().push(known);
                tokens
            })
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<WordMap<WordTokens>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the tokens of `text`.
fn encode(
    model: &ModelWrapper,
    characters: &[char; 256],
    known: &mut WordMap<WordTokens>,
    text: &str,
) -> Result<Vec<u32>, TokenizerError> {
    let mut tokens = Vec::with_capacity(text.len() / 3);
    let mut spelled = String::new();
    for word in words(text) {
        if let Some(word_tokens) = known.get(word) {
            word_tokens.append_to(&mut tokens);
            continue;
        }
        spelled.clear();
        spelled.extend(spell(word.text(), characters));
        let found = call_tokenizers(|| model.tokenize(&spelled))?;
        let word_tokens = WordTokens::new(found.into_iter().map(|token| token.id).collect());
        word_tokens.append_to(&mut tokens);
        if word.text().len() <= MAX_WORD_BYTES && known.len() < MAX_WORDS {
            known.insert(word, word_tokens);
        }
    }
    Ok(tokens)
}

/// Returns `true` if the tokens of a text are those of its words as GPT-2 splits it.
fn is_by_words(tokenizer: &tokenizers::Tokenizer) -> bool {
    let splits = matches!(
        tokenizer.get_pre_tokenizer(),
        Some(PreTokenizerWrapper::ByteLevel(bytes)) if bytes.use_regex && !bytes.add_prefix_space
    );
    let keeps = match tokenizer.get_normalizer() {
        None => true,
        Some(NormalizerWrapper::Sequence(steps)) => steps.as_ref().is_empty(),
        Some(_) => false,
    };
    // Added tokens that are not special are cut out of the text before it is split.
    let is_plain = tokenizer.get_added_tokens_decoder().values().all(|token| token.special);
    splits && keeps && is_plain && matches!(tokenizer.get_model(), ModelWrapper::BPE(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer_trainer::tests::{many_words, trained};
    use proptest::prelude::*;
    use std::sync::LazyLock;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        let trained = trained(&many_words(8_000), 600).unwrap();
        Tokenizer::from_json(trained.json()).unwrap()
    });
    static ENCODER: LazyLock<Encoder> = LazyLock::new(|| Encoder::new(&TOKENIZER));

    #[test]
    fn other_tokenizers_are_left_to_the_library() {
        assert!(ENCODER.byte_characters.is_some());
        let mut other = TOKENIZER.inner().clone();
        other.with_pre_tokenizer(Some(ByteLevel::new(true, true, true)));
        assert!(!is_by_words(&other));
    }

    proptest! {
        #[test]
        fn tokens_are_those_of_the_library(
            texts in prop::collection::vec("(\\PC|\\s|w[0-9a-f]{4}[ ,.]|'s|\n)*", 0..6),
        ) {
            let own = ENCODER.encode_batch(&TOKENIZER, &texts).unwrap();
            prop_assert_eq!(own, TOKENIZER.encode_batch(&texts).unwrap());
        }
    }
}
