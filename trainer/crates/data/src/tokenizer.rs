//! The byte-level tokenizer: any text goes in and comes out unchanged.

use crate::error::{At, DataError};
use pol_primitives::Hash;
use std::{collections::HashMap, fs, panic::catch_unwind, path::Path};
use tokenizers::{
    AddedToken, Model, ModelWrapper, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer,
    models::bpe::{BPE, BpeTrainer},
    pre_tokenizers::byte_level::ByteLevel,
};

/// The token between texts that have nothing to do with each other, of tokenizers that are learned.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// What other tokenizers call it, those of GPT-2, LLaMA 3, LLaMA 2 and Gemma first.
const TEXT_ENDS: [&str; 4] = [END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>"];
/// What the end of a turn in a conversation is called, which has to do where nothing ends a text.
const TURN_ENDS: [&str; 5] = ["<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|end|>", "<|eom_id|>"];
/// Fewest entries of a vocabulary: the bytes and [`END_OF_TEXT`].
pub const SMALLEST_VOCABULARY: u32 = 257;
/// Most entries of a model's vocabulary.
const LARGEST_VOCABULARY: u32 = 1 << 20;
/// A pair of tokens seen once teaches nothing.
const LEAST_FREQUENCY: u64 = 2;
/// Bytes of text a vocabulary is learned from, from the start. Enough, and few enough that no
/// pair's count, which the trainer keeps in 31 bits, overflows.
const TRAINING_TEXT: u64 = 1 << 30;

/// Turns text into tokens and back. Its name is the BLAKE3 hash of its JSON file.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    json: Vec<u8>,
    hash: Hash,
    vocabulary: u32,
    end_of_text: (String, u32),
}

/// Which token of a tokenizer to put between texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EndOfText {
    /// By its names: that of a token which ends texts, or else turns of a conversation.
    #[default]
    Known,
    /// The tokens by which a model says that it has ended its text, if they do not end a turn; else
    /// as [`Known`](Self::Known), and a token that ends turns only where there is nothing better.
    Model(Vec<u32>),
    /// This one.
    Named(String),
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, and chooses what is put between texts.
    pub fn load(path: &Path, end: &EndOfText) -> Result<Self, DataError> {
        Self::parse(
            fs::read(path).at("read the tokenizer", path)?,
            &path.display().to_string(),
            end,
        )
    }

    /// Reads the contents of a `tokenizer.json`.
    pub fn from_bytes(json: Vec<u8>) -> Result<Self, DataError> {
        Self::parse(json, "that was received", &EndOfText::Known)
    }

    fn parse(json: Vec<u8>, from: &str, end: &EndOfText) -> Result<Self, DataError> {
        let refuse = |reason: String| DataError::Tokenizer { from: from.to_owned(), reason };
        // The parser panics on merges that make a longer token than any in the vocabulary.
        let mut inner = catch_unwind(|| tokenizers::Tokenizer::from_bytes(&json))
            .map_err(|_| refuse("its merges do not fit its vocabulary".into()))?
            .map_err(|error| refuse(format!("it is not a tokenizer.json: {error}")))?;
        if let ModelWrapper::BPE(model) = inner.get_model()
            && model.dropout.is_some_and(|dropout| dropout > 0.0)
        {
            return Err(refuse(
                "it has dropout, and the same text must always make the same tokens".into(),
            ));
        }
        let largest = inner.get_vocab(true).into_values().max().unwrap_or(0);
        // Text that spells a special token is text, and texts are neither cut nor filled up.
        inner.set_encode_special_tokens(true);
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| refuse(error.to_string()))?;
        let end_of_text = choose(&inner, end).map_err(refuse)?;
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

    /// The token between texts, which no encoded text contains.
    pub fn end_of_text(&self) -> u32 {
        self.end_of_text.1
    }

    /// What that token is called.
    pub fn end_of_text_name(&self) -> &str {
        &self.end_of_text.0
    }

    /// The tokens of `text`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, DataError> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| self.failed(&error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokens of each of `texts`, made on all cores.
    pub fn encode_all(&self, texts: &[String]) -> Result<Vec<Vec<u32>>, DataError> {
        let inputs: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encodings =
            self.inner.encode_batch_fast(inputs, false).map_err(|error| self.failed(&error))?;
        Ok(encodings.iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// The text of `tokens`, without special tokens. Bytes that are not UTF-8, such as half a
    /// character, become U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, DataError> {
        self.inner.decode(tokens, true).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &tokenizers::Error) -> DataError {
        DataError::Tokenizer { from: hex::encode(self.hash), reason: error.to_string() }
    }
}

/// Name and number of the token to put between texts, or why there is none.
fn choose(inner: &tokenizers::Tokenizer, end: &EndOfText) -> Result<(String, u32), String> {
    // Only what no text is turned into tells texts apart.
    let usable = |name: &str| {
        let token = inner.token_to_id(name)?;
        let spelled = inner.encode_fast(name, false).ok()?;
        (!spelled.get_ids().contains(&token)).then(|| (name.to_owned(), token))
    };
    let special = || {
        let mut special: Vec<_> = inner
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special)
            .collect();
        special.sort_unstable_by_key(|(id, _)| *id);
        let names: Vec<_> = special.into_iter().take(12).map(|(_, token)| token.content).collect();
        if names.is_empty() {
            "it has no special tokens".into()
        } else {
            format!("its special tokens are {}", names.join(" "))
        }
    };
    if let EndOfText::Named(name) = end {
        return usable(name).ok_or_else(|| match inner.token_to_id(name) {
            None => format!("it has no token {name}; {}", special()),
            Some(_) => {
                format!("{name} occurs in texts, so it cannot stand between them; {}", special())
            }
        });
    }
    let model: Vec<String> = match end {
        EndOfText::Model(tokens) => {
            tokens.iter().filter_map(|&token| inner.id_to_token(token)).collect()
        }
        _ => Vec::new(),
    };
    let is_turn = |name: &str| TURN_ENDS.contains(&name);
    // Of several ends of a model the best known.
    let known = TEXT_ENDS.into_iter().filter(|&name| model.iter().any(|end| end == name));
    let own = model.iter().map(String::as_str).filter(|name| !is_turn(name));
    let turns = model.iter().map(String::as_str).filter(|name| is_turn(name));
    let mut names = known.chain(own).chain(TEXT_ENDS).chain(turns).chain(TURN_ENDS);
    let unknown = || {
        format!(
            "it has no token that is known to end a text; name one with --end-of-text: {}",
            special()
        )
    };
    names.find_map(usable).ok_or_else(unknown)
}

/// Learns byte-pair merges (Sennrich, Haddow and Birch 2016, "Neural Machine Translation of Rare
/// Words with Subword Units"). The same texts in any order give the same tokenizer, byte for byte,
/// on any machine: the pair seen most often is merged next, of equals the one of the older tokens.
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
        Tokenizer::from_bytes(
            tokenizer.to_string(true).map_err(|error| unlearned(&error))?.into_bytes(),
        )
    }
}

/// Splits text into words the way GPT-2 does, and writes each byte as one character. A word at the
/// start of a text is not given a space, so that decoding gives back what was encoded.
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
            .map(|i| {
                format!(
                    "w{:04x}{}",
                    i.wrapping_mul(2_654_435_761) >> 18,
                    [" ", ", ", ".\n\n"][(i % 3) as usize]
                )
            })
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
        let Err(DataError::Vocabulary { asked: 300, possible }) = learned("ab ab ab", 300) else {
            panic!("learned")
        };
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
        let loaded = Tokenizer::load(&path, &EndOfText::Known).unwrap();
        assert_eq!((loaded.hash(), loaded.vocabulary()), (TOKENIZER.hash(), 600));
        assert_eq!(loaded.hash(), *blake3::hash(&fs::read(&path).unwrap()).as_bytes());
        assert!(matches!(
            Tokenizer::load(&folder.path().join("none"), &EndOfText::Known),
            Err(DataError::Io { .. })
        ));
    }

    /// The tokenizer with special tokens of these names in place of its own, numbered on from 0 and
    /// then 600.
    fn with_special(names: &[&str]) -> Vec<u8> {
        let mut json: serde_json::Value = serde_json::from_slice(TOKENIZER.json()).unwrap();
        let own = json["added_tokens"][0].clone();
        let added: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let mut token = own.clone();
                token["content"] = (*name).into();
                token["id"] = (index + 599 * usize::from(index > 0)).into();
                token
            })
            .collect();
        json["added_tokens"] = added.into();
        let vocabulary = json["model"]["vocab"].as_object_mut().unwrap();
        vocabulary.remove(END_OF_TEXT);
        vocabulary.insert(names[0].into(), 0.into());
        json.to_string().into_bytes()
    }

    #[test]
    fn other_tokenizers_have_other_ends() {
        let chosen = |names: &[&str], end: EndOfText| {
            Tokenizer::parse(with_special(names), "a test", &end).map(|tokenizer| {
                assert!(
                    !tokenizer.encode(&names.concat()).unwrap().contains(&tokenizer.end_of_text())
                );
                (tokenizer.end_of_text_name().to_owned(), tokenizer.end_of_text())
            })
        };
        let known = |names: &[&str]| chosen(names, EndOfText::Known).unwrap();
        assert_eq!(known(&["<|endoftext|>"]), ("<|endoftext|>".into(), 0));
        assert_eq!(known(&["</s>"]), ("</s>".into(), 0));
        assert_eq!(known(&["<s>", "</s>"]), ("</s>".into(), 600));
        assert_eq!(known(&["<|eot_id|>", "<|end_of_text|>"]), ("<|end_of_text|>".into(), 600));
        assert_eq!(known(&["<pad>", "<|eot_id|>"]), ("<|eot_id|>".into(), 600));
        // What a model ends its text with goes first, unless it only ends a turn.
        let model =
            |names: &[&str], ends: &[u32]| chosen(names, EndOfText::Model(ends.into())).unwrap().0;
        assert_eq!(model(&["<|endoftext|>", "[DONE]"], &[600]), "[DONE]");
        assert_eq!(model(&["<|endoftext|>", "<|im_end|>"], &[600]), "<|endoftext|>");
        assert_eq!(
            model(&["<|eot_id|>", "[DONE]", "<|end_of_text|>"], &[0, 600, 601]),
            "<|end_of_text|>"
        );
        assert_eq!(model(&["<pad>", "<|im_end|>"], &[600]), "<|im_end|>");
        assert_eq!(model(&["</s>"], &[9_999]), "</s>");
        // A name decides.
        let named = |names: &[&str], end: &str| chosen(names, EndOfText::Named(end.into()));
        assert_eq!(named(&["</s>", "[SEP]"], "[SEP]").unwrap(), ("[SEP]".into(), 600));
        let refused = |names: &[&str], end: &str| named(names, end).unwrap_err().to_string();
        assert!(
            refused(&["</s>", "[SEP]"], "[CLS]")
                .contains("has no token [CLS]; its special tokens are </s> [SEP]")
        );
        assert!(refused(&["</s>"], "w").contains("w occurs in texts"));
        let unknown = chosen(&["<pad>", "[SEP]"], EndOfText::Known).unwrap_err().to_string();
        assert!(unknown.contains("--end-of-text: its special tokens are <pad> [SEP]"), "{unknown}");
    }

    #[test]
    fn files_that_are_no_use_are_refused() {
        let reason = |json: &str| match Tokenizer::from_bytes(json.into()) {
            Err(DataError::Tokenizer { reason, .. }) => reason,
            other => panic!("{:?}", other.map(|_| ())),
        };
        let json = std::str::from_utf8(TOKENIZER.json()).unwrap();
        assert!(reason("{}").contains("not a tokenizer.json"));
        assert!(
            reason(&json.replace(END_OF_TEXT, "[UNUSED]"))
                .contains("no token that is known to end a text")
        );
        assert!(
            reason(&json.replacen("\"dropout\": null", "\"dropout\": 0.5", 1)).contains("dropout")
        );
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
