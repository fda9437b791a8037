//! The byte-level tokenizer: any text goes in and comes out unchanged.

use crate::error::{At, DataError};
use pol_primitives::Hash;
use std::{collections::HashMap, fs, panic::catch_unwind, path::Path};
use tokenizers::{
    AddedToken, Model, ModelWrapper, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    models::bpe::{BPE, BpeTrainer},
    pre_tokenizers::byte_level::ByteLevel,
};

/// The token between texts that have nothing to do with each other.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// Fewest entries of a vocabulary: the bytes and [`END_OF_TEXT`].
pub const SMALLEST_VOCABULARY: u32 = 257;
/// Most entries of a model's vocabulary.
const LARGEST_VOCABULARY: u32 = 1 << 20;
/// A pair of tokens seen once teaches nothing.
const LEAST_FREQUENCY: u64 = 2;
/// Bytes of text a vocabulary is learned from, from the start. Enough, and few enough that no pair's count, which the
/// trainer keeps in 31 bits, overflows.
const TRAINING_TEXT: u64 = 1 << 30;

/// Turns text into tokens and back. Its name is the BLAKE3 hash of its JSON file.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    json: Vec<u8>,
    hash: Hash,
    vocabulary: u32,
    end_of_text: u32,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    pub fn load(path: &Path) -> Result<Self, DataError> {
        Self::parse(fs::read(path).at("read the tokenizer", path)?, &path.display().to_string())
    }

    /// Reads the contents of a `tokenizer.json`.
    pub fn from_bytes(json: Vec<u8>) -> Result<Self, DataError> {
        Self::parse(json, "that was received")
    }

    fn parse(json: Vec<u8>, from: &str) -> Result<Self, DataError> {
        let refuse = |reason: String| DataError::Tokenizer { from: from.to_owned(), reason };
        // The parser panics on merges that make a longer token than any in the vocabulary.
        let mut inner = catch_unwind(|| tokenizers::Tokenizer::from_bytes(&json))
            .map_err(|_| refuse("its merges do not fit its vocabulary".into()))?
            .map_err(|error| refuse(format!("it is not a tokenizer.json: {error}")))?;
        if let ModelWrapper::BPE(model) = inner.get_model()
            && model.dropout.is_some_and(|dropout| dropout > 0.0)
        {
            return Err(refuse("it has dropout, and the same text must always make the same tokens".into()));
        }
        let end_of_text = inner.token_to_id(END_OF_TEXT).ok_or_else(|| refuse(format!("it has no {END_OF_TEXT} token")))?;
        let largest = inner.get_vocab(true).into_values().max().unwrap_or(0);
        // Text that spells a special token is text, and texts are neither cut nor filled up.
        inner.set_encode_special_tokens(true);
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| refuse(error.to_string()))?;
        let hash = *blake3::hash(&json).as_bytes();
        Ok(Self { inner, json, hash, vocabulary: largest.saturating_add(1), end_of_text })
    }

    /// BLAKE3 of [`Self::json`], which a recipe names the tokenizer by.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The contents of its file.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// Entries of the vocabulary: every token is below this.
    pub fn vocabulary(&self) -> u32 {
        self.vocabulary
    }

    /// The number of [`END_OF_TEXT`], which no encoded text contains.
    pub fn end_of_text(&self) -> u32 {
        self.end_of_text
    }

    /// The tokens of `text`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| self.failed(&error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokens of each of `texts`, made on all cores.
    pub fn encode_all(&self, texts: &[String]) -> Result<Vec<Vec<u32>>, DataError> {
        let inputs: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encodings = self.inner.encode_batch_fast(inputs, false).map_err(|error| self.failed(&error))?;
        Ok(encodings.iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// The text of `tokens`, without special tokens. Bytes that are not UTF-8, such as half a character, become U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, DataError> {
        self.inner.decode(tokens, true).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &tokenizers::Error) -> DataError {
        DataError::Tokenizer { from: hex::encode(self.hash), reason: error.to_string() }
    }
}

/// Learns byte-pair merges (Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare Words with Subword
/// Units"). The same texts in any order give the same tokenizer, byte for byte, on any machine: the pair seen most often
/// is merged next, of equals the one of the older tokens.
#[derive(Default)]
pub(crate) struct Learner {
    words: HashMap<String, u64>,
    bytes: u64,
}

impl Learner {
    /// Counts the words of `text`.
    pub fn read(&mut self, text: &str) -> Result<(), DataError> {
        if self.bytes >= TRAINING_TEXT {
            return Ok(());
        }
        self.bytes += text.len() as u64;
        let mut split = PreTokenizedString::from(text);
        byte_level().pre_tokenize(&mut split).map_err(|error| unlearned(&error))?;
        for (word, ..) in split.get_splits(OffsetReferential::Original, OffsetType::Byte) {
            match self.words.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(self.words.insert(word.to_owned(), 1)),
            }
        }
        Ok(())
    }

    /// The tokenizer of exactly `vocabulary` entries.
    pub fn learn(self, vocabulary: u32) -> Result<Tokenizer, DataError> {
        if !(SMALLEST_VOCABULARY..=LARGEST_VOCABULARY).contains(&vocabulary) {
            return Err(DataError::Option(format!(
                "a vocabulary has {SMALLEST_VOCABULARY} entries, the bytes and {END_OF_TEXT}, to {LARGEST_VOCABULARY}, not {vocabulary}"
            )));
        }
        let end_of_text = AddedToken::from(END_OF_TEXT, true);
        let trainer = BpeTrainer::builder()
            .show_progress(false)
            .min_frequency(LEAST_FREQUENCY)
            .vocab_size(vocabulary as usize)
            .special_tokens(vec![end_of_text.clone()])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let words = self.words.into_iter().map(|(word, count)| (word.into(), count)).collect();
        let mut model = BPE::default();
        trainer.do_train(&words, &mut model).map_err(|error| unlearned(&error))?;
        let possible = model.get_vocab_size() as u32;
        if possible != vocabulary {
            return Err(DataError::Vocabulary { asked: vocabulary, possible });
        }

        let mut tokenizer = tokenizers::Tokenizer::new(model);
        tokenizer.with_pre_tokenizer(Some(byte_level()));
        tokenizer.with_decoder(Some(byte_level()));
        tokenizer.add_special_tokens([end_of_text]).map_err(|error| unlearned(&error))?;
        Tokenizer::from_bytes(tokenizer.to_string(true).map_err(|error| unlearned(&error))?.into_bytes())
    }
}

/// Splits text into words the way GPT-2 does, and writes each byte as one character. A word at the start of a text is not
/// given a space, so that decoding gives back what was encoded.
fn byte_level() -> ByteLevel {
    ByteLevel::new(false, true, true)
}

fn unlearned(error: &tokenizers::Error) -> DataError {
    DataError::Tokenizer { from: "being learned".into(), reason: error.to_string() }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    /// Text with many different words: the numbers from 0 in words of five letters.
    pub(crate) fn text(words: u32) -> String {
        (0..words)
            .map(|i| format!("w{:04x}{}", i.wrapping_mul(2_654_435_761) >> 18, [" ", ", ", ".\n\n"][(i % 3) as usize]))
            .collect()
    }

    pub(crate) fn learned(text: &str, vocabulary: u32) -> Result<Tokenizer, DataError> {
        let mut learner = Learner::default();
        learner.read(text)?;
        learner.learn(vocabulary)
    }

    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| learned(&text(8_000), 600).unwrap());

    #[test]
    fn the_vocabulary_is_exact_and_shortens_text() {
        assert_eq!(TOKENIZER.vocabulary(), 600);
        assert_eq!(TOKENIZER.end_of_text(), 0);
        let text = text(300);
        assert!(TOKENIZER.encode(&text).unwrap().len() * 10 < text.len() * 9);
        assert_eq!(learned("abc", SMALLEST_VOCABULARY).unwrap().vocabulary(), SMALLEST_VOCABULARY);
    }

    #[test]
    fn too_little_text_says_what_is_possible() {
        let Err(DataError::Vocabulary { asked: 300, possible }) = learned("ab ab ab", 300) else { panic!("learned") };
        assert_eq!(learned("ab ab ab", possible).unwrap().vocabulary(), possible);
        for impossible in [0, 256, u32::MAX] {
            assert!(matches!(learned("ab ab ab", impossible), Err(DataError::Option(_))));
        }
    }

    #[test]
    fn a_file_gives_the_same_tokenizer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        fs::write(&path, TOKENIZER.json()).unwrap();
        let loaded = Tokenizer::load(&path).unwrap();
        assert_eq!((loaded.hash(), loaded.vocabulary()), (TOKENIZER.hash(), 600));
        assert_eq!(loaded.hash(), *blake3::hash(&fs::read(&path).unwrap()).as_bytes());
        assert!(matches!(Tokenizer::load(&folder.path().join("none")), Err(DataError::Io { .. })));
    }

    #[test]
    fn files_that_are_no_use_are_refused() {
        let reason = |json: &str| match Tokenizer::from_bytes(json.into()) {
            Err(DataError::Tokenizer { reason, .. }) => reason,
            other => panic!("{:?}", other.map(|_| ())),
        };
        let json = std::str::from_utf8(TOKENIZER.json()).unwrap();
        assert!(reason("{}").contains("not a tokenizer.json"));
        assert!(reason(&json.replace(END_OF_TEXT, "<|end|>")).contains("has no <|endoftext|>"));
        assert!(reason(&json.replacen("\"dropout\": null", "\"dropout\": 0.5", 1)).contains("dropout"));
        let merges = r#"{"version":"1.0","added_tokens":[],"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}}"#;
        assert!(!reason(merges).is_empty());
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in "\\PC*|(.|\n|\r|\t| ){0,60}") {
            let tokens = TOKENIZER.encode(&text).unwrap();
            prop_assert!(tokens.iter().all(|&token| token < 600 && token != TOKENIZER.end_of_text()));
            prop_assert_eq!(TOKENIZER.decode(&tokens).unwrap(), text.as_str());
            prop_assert_eq!(&TOKENIZER.encode_all(&[text]).unwrap()[0], &tokens);
        }

        /// Repeated letters make many ties and overlapping pairs.
        #[test]
        fn learning_depends_on_nothing_but_the_text(words in prop::collection::vec("[ab-]{1,9}", 1..40)) {
            let learn = |words: &[String]| {
                let mut learner = Learner::default();
                words.iter().try_for_each(|word| learner.read(word)).unwrap();
                match learner.learn(290) {
                    Ok(tokenizer) => tokenizer.json,
                    Err(error) => error.to_string().into(),
                }
            };
            let once = learn(&words);
            prop_assert_eq!(&once, &learn(&words));
            prop_assert_eq!(&once, &learn(&words.into_iter().rev().collect::<Vec<_>>()));
        }
    }

    #[test]
    fn a_text_that_spells_the_special_token_is_text() {
        let tokens = TOKENIZER.encode(END_OF_TEXT).unwrap();
        assert!(tokens.len() > 1 && !tokens.contains(&TOKENIZER.end_of_text()));
        assert_eq!(TOKENIZER.decode(&tokens).unwrap(), END_OF_TEXT);
        assert_eq!(TOKENIZER.decode(&[TOKENIZER.end_of_text()]).unwrap(), "");
    }
}
