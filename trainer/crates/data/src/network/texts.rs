// SPDX-License-Identifier: Apache-2.0

//! Texts in the tokens of a manifest.

use crate::{DataError, EndOfText, Tokenizer, TokenizerError};
use pol_corpus::{CorpusError, piece_end};

/// Most tokens that are decoded together, which takes some 100 MB. A longer text is taken for
/// several.
const MAX_TEXT_TOKENS: usize = 1 << 20;

/// Returns the texts in the tokens of a manifest. Those over 1 MiB are in pieces, and those of
/// white space are left out.
///
/// # Errors
///
/// Fails if the bytes are no tokenizer of the tokens, or if it has no such separator.
pub fn texts_of_tokens(
    tokenizer: &[u8],
    end_of_text: &EndOfText,
    tokens: &[u32],
) -> Result<Vec<String>, DataError> {
    let unusable =
        |reason: String| DataError::InvalidTokenizer { origin: "of the manifest".into(), reason };
    let tokenizer = Tokenizer::from_json(tokenizer).map_err(|error| unusable(error.to_string()))?;
    let (_, end_of_text) = end_of_text.choose(&tokenizer).map_err(unusable)?;
    let (mut reader, mut texts) = (TextReader::new(&tokenizer, end_of_text, 0), Vec::new());
    let mut each = |text: &str| -> Result<(), CorpusError> {
        texts.push(text.to_owned());
        Ok(())
    };
    let read = reader.add(tokens, &mut each).and_then(|()| reader.finish(&mut each));
    read.map_err(|error| match error {
        TextError::Tokens(error) => unusable(error.to_string()),
        TextError::Corpus(error) => error.into(),
    })?;
    Ok(texts)
}

/// Reader of the texts of a manifest, as its tokens come.
///
/// A separator stands before each text. A text of more than 1 MiB is cut as a document of that
/// length is cut into pieces, of which each has a signature.
pub(super) struct TextReader<'a> {
    tokenizer: &'a Tokenizer,
    end_of_text: u32,
    /// Position behind the tokens so far.
    position: u64,
    /// Tokens that are not handed on yet.
    pending: Vec<u32>,
}

/// Error of a text.
#[derive(Debug, thiserror::Error)]
pub(super) enum TextError {
    /// The tokens are those of no text.
    #[error(transparent)]
    Tokens(#[from] TokenizerError),
    /// The text could not be stored.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
}

impl<'a> TextReader<'a> {
    /// Creates a reader of the tokens from a position on: zero, or what [`Self::resume_at`]
    /// returned.
    pub(super) fn new(tokenizer: &'a Tokenizer, end_of_text: u32, position: u64) -> Self {
        Self { tokenizer, end_of_text, position, pending: Vec::new() }
    }

    /// Takes the next tokens, and hands on the texts that end in them.
    pub(super) fn add(
        &mut self,
        tokens: &[u32],
        mut each: impl FnMut(&str) -> Result<(), CorpusError>,
    ) -> Result<(), TextError> {
        for &token in tokens {
            self.position += 1;
            if token != self.end_of_text {
                self.pending.push(token);
            }
            if token == self.end_of_text || self.pending.len() >= MAX_TEXT_TOKENS {
                self.hand_on(&mut each)?;
            }
        }
        Ok(())
    }

    /// Hands on the last text.
    pub(super) fn finish(
        mut self,
        mut each: impl FnMut(&str) -> Result<(), CorpusError>,
    ) -> Result<(), TextError> {
        self.hand_on(&mut each)
    }

    /// Returns the position at which another reader goes on, to hand on the texts that this one did
    /// not.
    pub(super) fn resume_at(&self) -> u64 {
        self.position - self.pending.len() as u64
    }

    fn hand_on(
        &mut self,
        each: &mut impl FnMut(&str) -> Result<(), CorpusError>,
    ) -> Result<(), TextError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let text = self.tokenizer.decode(&self.pending)?;
        self.pending.clear();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(piece_end(rest));
            if !piece.trim().is_empty() {
                each(piece)?;
            }
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer_trainer::tests::{many_words, trained};
    use pol_corpus::MAX_PIECE_BYTES;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        Tokenizer::from_json(trained(&many_words(8_000), 600).unwrap().json()).unwrap()
    });
    /// Separator of that tokenizer.
    const END: u32 = 0;

    /// Returns the tokens of texts, each behind a separator.
    fn tokens(texts: &[String]) -> Vec<u32> {
        texts
            .iter()
            .flat_map(|text| [vec![END], TOKENIZER.encode(text).unwrap()].concat())
            .collect()
    }

    /// Reads tokens from a position on, as far as they are there. Returns the texts, and the
    /// position of the next one.
    fn read(tokens: &[u32], from: u64, parts: usize) -> (Vec<String>, u64) {
        let (mut reader, mut texts) = (TextReader::new(&TOKENIZER, END, from), Vec::new());
        for part in tokens[from as usize..].chunks(parts) {
            let each = |text: &str| {
                texts.push(text.to_owned());
                Ok(())
            };
            reader.add(part, each).unwrap();
        }
        let next = reader.resume_at();
        (texts, next)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn texts_come_back_wherever_their_tokens_are_cut(
            texts in prop::collection::vec("[a-z é😀\n]{0,40}", 1..9),
            parts in 1usize..30,
            stop in 0usize..300,
        ) {
            let tokens = tokens(&[&texts[..], &["last".to_owned()]].concat());
            let expected: Vec<_> =
                texts.iter().filter(|text| !text.trim().is_empty()).cloned().collect();
            let (whole, _) = read(&tokens, 0, parts);
            prop_assert_eq!(&whole, &expected);
            // A reader that stops somewhere leaves the rest to another one.
            let (mut found, next) = read(&tokens[..stop.min(tokens.len())], 0, parts);
            let (rest, _) = read(&tokens, next, parts);
            found.extend(rest);
            prop_assert_eq!(&found, &expected);
        }
    }

    #[test]
    fn all_texts_of_a_manifest_are_decoded() {
        let json = trained(&many_words(8_000), 600).unwrap().json().to_vec();
        let written = ["One.\n".to_owned(), " \n".to_owned(), "Two — and é.".to_owned()];
        let tokens = tokens(&written);
        let texts = texts_of_tokens(&json, &EndOfText::Known, &tokens).unwrap();
        assert_eq!(texts, [&*written[0], &written[2]]);
        // A manifest may begin in the middle of a text.
        let texts = texts_of_tokens(&json, &EndOfText::Known, &tokens[2..]).unwrap();
        assert_eq!(texts.last(), written.last());
        assert_eq!(texts_of_tokens(&json, &EndOfText::Known, &[]).unwrap(), [""; 0]);
        let end = EndOfText::Named("<|none|>".into());
        for (json, end) in [(&json[..9], &EndOfText::Known), (&json[..], &end)] {
            let error = texts_of_tokens(json, end, &tokens).unwrap_err().to_string();
            assert!(error.starts_with("the tokenizer of the manifest cannot be used"), "{error}");
        }
    }

    #[test]
    fn long_texts_are_cut_as_documents_are() {
        let long = many_words(210_000);
        assert!(long.len() > MAX_PIECE_BYTES);
        let (texts, _) = read(&tokens(&[long.clone(), "last".into()]), 0, 1 << 12);
        assert!(texts.len() > 1 && texts.concat() == long);
        let cut = piece_end(&long);
        assert_eq!(texts[0], long[..cut]);
        assert!(texts[0].ends_with("\n\n") && texts.iter().all(|it| it.len() <= MAX_PIECE_BYTES));
    }

    #[test]
    fn a_text_without_an_end_takes_no_more_memory() {
        let token = TOKENIZER.encode("w").unwrap()[0];
        let endless = vec![token; MAX_TEXT_TOKENS + 7];
        let (texts, next) = read(&endless, 0, 1 << 16);
        assert_eq!(texts.concat().len(), MAX_TEXT_TOKENS);
        assert_eq!(next, MAX_TEXT_TOKENS as u64);
    }
}
