// SPDX-License-Identifier: Apache-2.0

//! The one wrapper around a `tokenizer.json`: text becomes tokens and nothing else.

mod growth;

use std::panic::{AssertUnwindSafe, catch_unwind};
use tokenizers::ModelWrapper;

/// Longest run of white space in a text, in bytes. The expression that splits words in most files
/// keeps a state for each letter of a run. The library has room for a million, and takes the rest
/// of the text for one word where it needs more.
const MAX_SPACE_BYTES: usize = 900_000;

/// A tokenizer that treats all of a text as text.
///
/// Text that spells a special token becomes ordinary tokens, no merge is left out at random, and
/// encodings are neither padded nor truncated, whatever the file asks for.
///
/// # Example
///
/// ```
/// let json = br#"{"version":"1.0","added_tokens":[],
///     "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}"#;
/// let tokenizer = pol_data::Tokenizer::from_json(json)?;
/// assert_eq!(tokenizer.vocabulary(), 3);
/// assert_eq!(tokenizer.encode("abba")?, [2, 1, 0]);
/// # Ok::<(), pol_data::TokenizerError>(())
/// ```
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocabulary: u32,
    longest_text: usize,
}

/// Error of reading or using a tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// The bytes are not a `tokenizer.json`.
    #[error("it is not a tokenizer.json: {0}")]
    Json(String),
    /// The tokenizer library failed to encode or decode.
    #[error("{0}")]
    Library(String),
    /// Its steps make texts too much longer, or are too many.
    #[error(
        "its steps may make a text more than 16,384 times longer, or are more than 1,000; take \
         another tokenizer.json"
    )]
    Growth,
    /// The text is too long for the growth that the steps may cause.
    #[error(
        "a text of {bytes} bytes is longer than the {longest} that this tokenizer may be given at \
         once; split it"
    )]
    Long {
        /// Length of the text.
        bytes: usize,
        /// Length of the longest text.
        longest: usize,
    },
    /// The text has more white space on end than the library can split.
    #[error("a text has more than 900,000 bytes of white space on end; shorten it")]
    Spaces,
    /// The tokenizer library panicked.
    #[error(
        "its parts do not fit each other, such as merges that make tokens outside the vocabulary; \
         take another tokenizer.json"
    )]
    Panicked,
}

/// Calls the tokenizers library.
///
/// It panics on some files that it should refuse: when it parses them, or only when it encodes or
/// decodes with them. Every call on a tokenizer from elsewhere goes through this function.
///
/// # Errors
///
/// Fails if the call fails or panics.
pub fn call_tokenizers<T>(
    call: impl FnOnce() -> tokenizers::Result<T>,
) -> Result<T, TokenizerError> {
    // A panic leaves nothing half done that is read later: the library changes caches only.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| TokenizerError::Library(error.to_string())),
        Err(_) => Err(TokenizerError::Panicked),
    }
}

impl Tokenizer {
    /// Parses the contents of a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not a tokenizer, if its parts do not fit each other, or if it may
    /// make texts too much longer.
    pub fn from_json(json: &[u8]) -> Result<Self, TokenizerError> {
        let longest_text = growth::longest_text(json)?;
        let parsed = call_tokenizers(|| tokenizers::Tokenizer::from_bytes(json));
        let mut inner = parsed.map_err(|error| match error {
            TokenizerError::Library(reason) => TokenizerError::Json(reason),
            other => other,
        })?;
        call_tokenizers(|| {
            if let ModelWrapper::BPE(model) = inner.get_model()
                && model.dropout.is_some()
            {
                // Merges left out at random are for training, and texts would differ between runs.
                let mut model = model.clone();
                model.dropout = None;
                inner.with_model(model);
            }
            inner.set_encode_special_tokens(true);
            inner.with_padding(None);
            inner.with_truncation(None)?;
            let largest = inner.get_vocab(true).into_values().max().unwrap_or(0);
            Ok(Self { inner, vocabulary: largest.saturating_add(1), longest_text })
        })
    }

    /// Returns the number of entries of the vocabulary. Every token is smaller.
    pub fn vocabulary(&self) -> u32 {
        self.vocabulary
    }

    /// Returns the tokens of `text`, without special tokens.
    ///
    /// # Errors
    ///
    /// Fails if the tokenizer has no entry for a part of the text, if its parts do not fit each
    /// other, or if the text is too long for it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encode_one(text, false)
    }

    /// Returns the tokens of `text`, with the special tokens that the post-processor puts around
    /// it.
    ///
    /// # Errors
    ///
    /// Fails where [`encode`](Self::encode) does.
    pub fn encode_with_special(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encode_one(text, true)
    }

    fn encode_one(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizerError> {
        self.check_text(text)?;
        let encoding = call_tokenizers(|| self.inner.encode_fast(text, special))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Checks that the tokenizer can encode `text` as a whole.
    ///
    /// # Errors
    ///
    /// Fails if its steps might make more of the text than there is memory for, and if the text has
    /// a long run of white space.
    pub fn check_text(&self, text: &str) -> Result<(), TokenizerError> {
        let (bytes, longest) = (text.len(), self.longest_text);
        if bytes > longest {
            return Err(TokenizerError::Long { bytes, longest });
        }
        let mut spaces = text.split(|letter: char| !letter.is_whitespace()).map(str::len);
        if bytes > MAX_SPACE_BYTES && spaces.any(|run| run > MAX_SPACE_BYTES) {
            return Err(TokenizerError::Spaces);
        }
        Ok(())
    }

    /// Returns the tokens of each of `texts`, computed on all cores.
    ///
    /// # Errors
    ///
    /// Fails where [`encode`](Self::encode) does.
    pub fn encode_batch(&self, texts: &[String]) -> Result<Vec<Vec<u32>>, TokenizerError> {
        texts.iter().try_for_each(|text| self.check_text(text))?;
        let inputs: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encodings = call_tokenizers(|| self.inner.encode_batch_fast(inputs, false))?;
        Ok(encodings.iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// Returns the text of `tokens`, without special tokens. Bytes that are not UTF-8, such as
    /// half a character, become U+FFFD.
    ///
    /// # Errors
    ///
    /// Fails if the tokenizer's decoder fails.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, TokenizerError> {
        call_tokenizers(|| self.inner.decode(tokens, true))
    }

    /// Returns the tokenizer of the library, for its vocabulary and its decoder. Calls that encode
    /// or decode go through [`call_tokenizers`].
    pub fn inner(&self) -> &tokenizers::Tokenizer {
        &self.inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer_trainer::tests::{many_words, trained};
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        let trained = trained(&many_words(8_000), 600).unwrap();
        Tokenizer::from_json(trained.json()).unwrap()
    });

    #[test]
    fn files_that_are_not_tokenizers_are_refused() {
        let error = |json: &str| Tokenizer::from_json(json.as_bytes()).err().unwrap();
        assert!(error("{}").to_string().contains("not a tokenizer.json"));
        let merges = r#"{"version":"1.0","added_tokens":[],
            "model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}}"#;
        assert!(!error(merges).to_string().is_empty());
    }

    #[test]
    fn panics_of_the_library_are_errors() {
        let json = |part: &str| {
            format!(
                r#"{{"version":"1.0","added_tokens":[],{part},
                "model":{{"type":"BPE","vocab":{{"a":0}},"merges":[]}}}}"#
            )
        };
        let strip = r#""decoder":{"type":"Strip","content":"a","start":1,"stop":1}"#;
        let tokenizer = Tokenizer::from_json(json(strip).as_bytes()).unwrap();
        assert_eq!(tokenizer.encode("a"), Ok(vec![0]));
        assert_eq!(tokenizer.decode(&[0]), Err(TokenizerError::Panicked));
        // A second text where there is one.
        let second = r#""post_processor":{"type":"TemplateProcessing","pair":[],
            "single":[{"Sequence":{"id":"B","type_id":0}}],"special_tokens":{}}"#;
        let tokenizer = Tokenizer::from_json(json(second).as_bytes()).unwrap();
        assert_eq!(tokenizer.encode("a"), Err(TokenizerError::Panicked));
        assert_eq!(tokenizer.encode_batch(&["a".to_owned()]), Err(TokenizerError::Panicked));
        let undescribed = r#""post_processor":{"type":"TemplateProcessing","pair":[],
            "single":[{"SpecialToken":{"id":"b","type_id":0}}],"special_tokens":{}}"#;
        let tokenizer = Tokenizer::from_json(json(undescribed).as_bytes()).unwrap();
        assert_eq!(tokenizer.encode_with_special("a"), Err(TokenizerError::Panicked));
    }

    /// Returns a tokenizer of one letter with another part.
    fn with_part(part: &str) -> Result<Tokenizer, TokenizerError> {
        let json = format!(
            r#"{{"version":"1.0","added_tokens":[],{part},
            "model":{{"type":"BPE","vocab":{{"a":0}},"merges":[]}}}}"#
        );
        Tokenizer::from_json(json.as_bytes())
    }

    #[test]
    fn steps_that_multiply_a_text_are_bounded() {
        let double = r#"{"type":"Replace","pattern":{"String":"a"},"content":"aa"}"#;
        let steps = |step: &str, count| vec![step; count].join(",");
        let normalizer = |step: &str, count| {
            let steps = steps(step, count);
            with_part(&format!(r#""normalizer":{{"type":"Sequence","normalizers":[{steps}]}}"#))
        };
        let refused = |made: Result<Tokenizer, _>| made.err() == Some(TokenizerError::Growth);
        let tokenizer = normalizer(double, 10).unwrap();
        assert_eq!(tokenizer.encode("a").unwrap().len(), 1 << 10);
        let long = "a".repeat((1 << 18) + 1);
        let error = TokenizerError::Long { bytes: long.len(), longest: 1 << 18 };
        assert_eq!(tokenizer.encode_batch(&[long]), Err(error));
        assert!(refused(normalizer(double, 40)));
        for step in [
            r#"{"type":"Replace","pattern":{"Regex":""},"content":"a"}"#,
            r#"{"type":"ByteLevel"}"#,
            r#"{"type":"Prepend","prepend":"a"}"#,
            r#"{"type":"Precompiled","precompiled_charsmap":"////fw=="}"#,
        ] {
            assert!(refused(normalizer(step, 40)), "{step}");
        }
        assert!(refused(normalizer(r#"{"type":"Strip"}"#, 1_001)));
        let decoders = steps(double, 40);
        let decoder = format!(r#""decoder":{{"type":"Sequence","decoders":[{decoders}]}}"#);
        assert!(refused(with_part(&decoder)));
        let pieces = steps(r#"{"SpecialToken":{"id":"a","type_id":0}}"#, 200);
        let ids = steps("0", 200);
        let template = format!(
            r#""post_processor":{{"type":"TemplateProcessing","single":[{pieces}],"pair":[],
            "special_tokens":{{"a":{{"id":"a","ids":[{ids}],"tokens":["a"]}}}}}}"#
        );
        assert!(refused(with_part(&template)));
    }

    #[test]
    fn white_space_without_end_is_refused() {
        let spaces = |count| format!("a{}b", " ".repeat(count));
        assert_eq!(TOKENIZER.check_text(&spaces(MAX_SPACE_BYTES)), Ok(()));
        let long = spaces(MAX_SPACE_BYTES + 1);
        assert_eq!(TOKENIZER.encode(&long), Err(TokenizerError::Spaces));
        assert_eq!(TOKENIZER.encode_batch(&[long]), Err(TokenizerError::Spaces));
        assert_eq!(TOKENIZER.check_text(&"a ".repeat(MAX_SPACE_BYTES)), Ok(()));
    }

    #[test]
    fn no_merge_is_left_out_at_random() {
        let json = r#"{"version":"1.0","added_tokens":[],"model":{"type":"BPE","dropout":0.9,
            "vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}"#;
        let tokenizer = Tokenizer::from_json(json.as_bytes()).unwrap();
        assert_eq!(tokenizer.encode(&"ab".repeat(50)).unwrap(), [2; 50]);
    }

    #[test]
    fn a_text_that_spells_the_special_token_is_text() {
        let tokens = TOKENIZER.encode(crate::END_OF_TEXT).unwrap();
        assert!(tokens.len() > 1 && !tokens.contains(&0));
        assert_eq!(TOKENIZER.decode(&tokens).unwrap(), crate::END_OF_TEXT);
        assert_eq!(TOKENIZER.decode(&[0]).unwrap(), "");
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in "\\PC*|(.|\n|\r|\t| ){0,60}") {
            let tokens = TOKENIZER.encode(&text).unwrap();
            prop_assert!(tokens.iter().all(|&token| token < 600 && token != 0));
            prop_assert_eq!(TOKENIZER.decode(&tokens).unwrap(), text.as_str());
            prop_assert_eq!(&TOKENIZER.encode_batch(&[text]).unwrap()[0], &tokens);
        }
    }
}
