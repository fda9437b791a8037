// SPDX-License-Identifier: Apache-2.0

//! Tokenizers, as generation needs them.

use crate::{
    Error,
    chat::{ChatEncoder, ChatMessage, ChatTemplate},
    constraint::{Constraint, ConstraintFactory},
};
use pol_data::{Tokenizer, TokenizerError, call_tokenizers, entry_byte};
use serde_json::Value;
use std::{collections::HashMap, fs, path::Path, sync::OnceLock};
use tokenizers::{Decoder, DecoderWrapper};

/// Common names of special tokens that end a text or a turn of a conversation.
const ENDS: [&str; 8] = [
    "<|endoftext|>",
    "</s>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<eos>",
    "<end_of_turn>",
    "<|end|>",
];
/// Tokenizer of a model, with the bytes of each token.
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    pieces: Vec<Vec<u8>>,
    /// Set if the decoder puts a space between words.
    joins: bool,
    ends: Vec<u32>,
    template: Option<ChatTemplate>,
    /// Encoder of conversations, or the reason why there is none.
    chat: OnceLock<Result<ChatEncoder, String>>,
    constraints: OnceLock<Result<ConstraintFactory, String>>,
}

impl TextTokenizer {
    /// Loads a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read or is not a tokenizer.
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::parse(
            &fs::read(path)
                .map_err(|error| refused(format!("cannot read {}: {error}", path.display())))?,
        )
    }

    /// Parses the contents of a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// Fails if `json` is not a tokenizer, or if its merges do not fit its vocabulary.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        // A prompt that spells a special token is plain text to `Tokenizer`, so writing a
        // delimiter of turns opens none.
        let tokenizer = Tokenizer::from_json(json).map_err(unusable)?;
        let inner = tokenizer.inner();
        let vocabulary = inner.get_vocab(true);
        let size = vocabulary.values().max().map_or(0, |&largest| largest as usize + 1);
        let decoder = Pieces::new(inner.get_decoder());
        let added = inner.get_added_tokens_decoder();
        let mut pieces = vec![Vec::new(); size];
        for (token, id) in vocabulary {
            pieces[id as usize] = match added.get(&id) {
                Some(added) if added.special => Vec::new(),
                // The letters of an added token are none of GPT-2's bytes.
                Some(_) if decoder.byte_level.is_some() => token.into_bytes(),
                _ => decoder.bytes(&token),
            };
        }
        // An entry that texts are made of ends none, whatever its name.
        let added_token = |name: &&str| inner.token_to_id(name).filter(|id| added.contains_key(id));
        let ends = ENDS.iter().filter_map(added_token).collect();
        let (chat, constraints) = (OnceLock::new(), OnceLock::new());
        let joins = decoder.joins();
        Ok(Self { tokenizer, pieces, joins, ends, template: None, chat, constraints })
    }

    /// Adds `tokens` to those that end a text.
    #[must_use]
    pub fn with_ends(mut self, tokens: &[u32]) -> Self {
        self.ends.extend_from_slice(tokens);
        self
    }

    /// Writes conversations by `template`. Without one they are written in ChatML.
    #[must_use]
    pub fn with_template(self, template: Option<ChatTemplate>) -> Self {
        Self { template, chat: OnceLock::new(), ..self }
    }

    /// Returns the size of the vocabulary. Every token is below it.
    pub fn vocabulary(&self) -> usize {
        self.pieces.len()
    }

    /// Returns the tokens of `text`, without added special tokens.
    ///
    /// # Errors
    ///
    /// Fails if the tokenizer cannot encode the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        self.tokenizer.encode(text).map_err(unusable)
    }

    /// Returns the tokens of a conversation up to the start of the assistant's turn. `tools` are
    /// the functions that the assistant may call, as OpenAI's interface describes them.
    ///
    /// # Errors
    ///
    /// Fails if the model knows no conversations, and if its template refuses this one.
    pub fn encode_chat(
        &self,
        messages: &[ChatMessage],
        tools: &[Value],
    ) -> Result<Vec<u32>, Error> {
        self.encode_chat_about(messages, tools, &[])
    }

    /// Returns the tokens of a conversation as [`encode_chat`](Self::encode_chat) does. Its
    /// template quotes `documents`, which are objects such as `{"title": …, "text": …}`.
    ///
    /// # Errors
    ///
    /// Fails as [`encode_chat`](Self::encode_chat) does, and if the template has no place for
    /// documents.
    pub fn encode_chat_about(
        &self,
        messages: &[ChatMessage],
        tools: &[Value],
        documents: &[Value],
    ) -> Result<Vec<u32>, Error> {
        let chat = self.chat().map_err(Error::Chat)?;
        chat.encode(&self.tokenizer, messages, tools, documents)
    }

    /// Returns `true` if the model knows conversations.
    pub fn has_chat(&self) -> bool {
        self.chat().is_ok()
    }

    fn chat(&self) -> Result<&ChatEncoder, String> {
        let make = || ChatEncoder::new(&self.tokenizer, self.template.as_ref());
        self.chat.get_or_init(make).as_ref().map_err(Clone::clone)
    }

    /// Returns the constraint of a text to JSON that `schema`, a JSON Schema, describes.
    ///
    /// # Errors
    ///
    /// Fails if the schema is too large, or if it has features that no constraint can keep.
    pub fn constraint(&self, schema: &Value) -> Result<Constraint, Error> {
        let make = || ConstraintFactory::new(self.words(), &self.ends);
        let factory = self.constraints.get_or_init(make);
        factory.as_ref().map_err(|reason| refused(reason.clone()))?.constraint(schema)
    }

    /// Returns the bytes of all tokens. A special one has its name behind a byte that no text has.
    fn words(&self) -> Vec<Vec<u8>> {
        let mut words = self.pieces.clone();
        for (id, token) in self.tokenizer.inner().get_added_tokens_decoder() {
            if let Some(word) = words.get_mut(id as usize).filter(|_| token.special) {
                word.push(u8::MAX);
                word.extend(token.content.into_bytes());
            }
        }
        words
    }

    /// Returns the bytes of `token`; none for special tokens and those outside the vocabulary.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.pieces.get(token as usize).map_or(&[], Vec::as_slice)
    }

    /// Returns the bytes of `token` as the first of a text, before which there is no word to keep
    /// apart from it.
    pub fn first_bytes(&self, token: u32) -> &[u8] {
        let bytes = self.bytes(token);
        if self.joins { bytes.strip_prefix(b" ").unwrap_or(bytes) } else { bytes }
    }

    /// Returns `true` if `token` is a special one with this name.
    pub fn is_special(&self, token: u32, name: &str) -> bool {
        let added = self.tokenizer.inner().get_added_vocabulary();
        added.is_special_token(name) && self.tokenizer.inner().token_to_id(name) == Some(token)
    }

    /// Returns the name of `token` in the vocabulary.
    pub fn name(&self, token: u32) -> Option<String> {
        self.tokenizer.inner().id_to_token(token)
    }

    /// Returns the tokens that end a text.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }
}

fn refused(reason: String) -> Error {
    Error::Tokenizer(reason)
}

fn unusable(error: TokenizerError) -> Error {
    refused(error.to_string())
}

/// Bytes of tokens, as a decoder makes them in the middle of a text.
struct Pieces<'a> {
    decoder: Option<&'a DecoderWrapper>,
    /// Bytes that characters stand for, if the decoder is of GPT-2's kind.
    byte_level: Option<HashMap<char, u8>>,
    /// Set if the decoder turns entries such as `<0x0A>` into bytes.
    has_byte_entries: bool,
    /// Lengths of the text that the decoder makes of [`ANCHOR`] before and after a token.
    around: (usize, usize),
}

/// Entry that no decoder changes.
const ANCHOR: &str = "a";

impl<'a> Pieces<'a> {
    fn new(decoder: Option<&'a DecoderWrapper>) -> Self {
        let has = |is_part: fn(&DecoderWrapper) -> bool| {
            decoder.is_some_and(|decoder| has_part(decoder, is_part))
        };
        let is_byte_level = has(|part| matches!(part, DecoderWrapper::ByteLevel(_)));
        let has_byte_entries = has(|part| matches!(part, DecoderWrapper::ByteFallback(_)));
        let byte_level = is_byte_level.then(characters_to_bytes);
        let mut pieces = Self { decoder, byte_level, has_byte_entries, around: (0, 0) };
        let length = |count| pieces.decode(&vec![ANCHOR; count]).map_or(0, |text| text.len());
        let (one, two) = (length(1), length(2));
        pieces.around = (one, two.saturating_sub(one));
        pieces
    }

    fn decode(&self, tokens: &[&str]) -> Option<String> {
        match self.decoder {
            Some(decoder) => {
                let tokens: Vec<String> = tokens.iter().map(|&token| token.to_owned()).collect();
                call_tokenizers(|| decoder.decode(tokens)).ok()
            }
            // As the library has it for a vocabulary of words.
            None => Some(tokens.join(" ")),
        }
    }

    /// Returns `true` if the decoder puts a space between words.
    fn joins(&self) -> bool {
        self.decode(&[ANCHOR; 2]).is_some_and(|text| text == "a a")
    }

    /// Returns the bytes of a vocabulary entry between two others: decoders treat the first and the
    /// last of a text in their own way.
    fn bytes(&self, token: &str) -> Vec<u8> {
        if let Some(byte_level) = &self.byte_level {
            let bytes = token.chars().map(|letter| byte_level.get(&letter).copied());
            return bytes.collect::<Option<_>>().unwrap_or_else(|| token.as_bytes().to_vec());
        }
        if let Some(byte) = entry_byte(token).filter(|_| self.has_byte_entries) {
            return vec![byte];
        }
        let (before, after) = self.around;
        let piece = self.decode(&[ANCHOR, token, ANCHOR]).and_then(|text| {
            let end = text.len().checked_sub(after)?;
            text.get(before..end).map(str::to_owned)
        });
        piece.unwrap_or_else(|| token.to_owned()).into_bytes()
    }
}

/// Returns `true` if a decoder is of a kind, or has a part that is.
fn has_part(decoder: &DecoderWrapper, is_part: fn(&DecoderWrapper) -> bool) -> bool {
    match decoder {
        DecoderWrapper::Sequence(all) => {
            all.get_decoders().iter().any(|part| has_part(part, is_part))
        }
        part => is_part(part),
    }
}

/// Returns the bytes that the characters of byte-level vocabularies stand for.
fn characters_to_bytes() -> HashMap<char, u8> {
    pol_data::byte_characters().into_iter().zip(0..=u8::MAX).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    /// A byte-level vocabulary: token `b` is byte `b`, then a merge, the end of text and the
    /// delimiters of turns.
    pub(crate) static BYTES: LazyLock<TextTokenizer> =
        LazyLock::new(|| TextTokenizer::parse(BYTES_JSON.to_string().as_bytes()).unwrap());

    /// File of that vocabulary.
    pub(crate) static BYTES_JSON: LazyLock<Value> = LazyLock::new(|| {
        let letters: HashMap<u8, char> =
            characters_to_bytes().into_iter().map(|(letter, byte)| (byte, letter)).collect();
        let mut vocabulary: serde_json::Map<_, _> =
            letters.iter().map(|(&byte, letter)| (letter.to_string(), byte.into())).collect();
        vocabulary.insert(">>".into(), 256.into());
        let special = |id: u32, content: &str| {
            serde_json::json!({
                "id": id, "content": content, "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false,
            })
        };
        let byte_level = serde_json::json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": true,
        });
        serde_json::json!({
            "version": "1.0",
            "added_tokens": [
                special(257, "<|endoftext|>"),
                special(258, "<|im_start|>"),
                special(259, "<|im_end|>"),
            ],
            "pre_tokenizer": byte_level,
            "decoder": byte_level,
            "model": { "type": "BPE", "vocab": vocabulary, "merges": ["> >"] },
        })
    });

    #[test]
    fn special_tokens_are_known_and_cannot_be_spelled() {
        assert_eq!(BYTES.vocabulary(), 260);
        assert_eq!(BYTES.ends(), [257, 259]);
        assert_eq!(BYTES.encode("<|im_end|>").unwrap().len(), 10);
        assert_eq!(BYTES.bytes(256), b">>");
        assert_eq!((BYTES.bytes(257), BYTES.bytes(9_999)), (&b""[..], &b""[..]));
    }

    #[test]
    fn sentence_pieces_have_bytes() {
        let json = serde_json::json!({
            "version": "1.0", "added_tokens": [],
            "decoder": { "type": "Sequence", "decoders": [
                { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
                { "type": "ByteFallback" }, { "type": "Fuse" },
                { "type": "Strip", "content": " ", "start": 1, "stop": 0 } ] },
            "model": {
                "type": "BPE", "vocab": { "▁of": 0, "<0xE2>": 1, "é": 2, "<0xZZ>": 3 },
                "merges": [], "byte_fallback": true,
            },
        });
        let text = TextTokenizer::parse(json.to_string().as_bytes()).unwrap();
        let pieces: Vec<&[u8]> = (0..4).map(|token| text.bytes(token)).collect();
        assert_eq!(pieces, [b" of".as_slice(), b"\xe2", "é".as_bytes(), b"<0xZZ>"]);
        assert!(!text.has_chat());
    }

    /// Returns the bytes of the tokens, as a text.
    fn text_of(text: &TextTokenizer, tokens: &[u32]) -> String {
        let (first, rest) = tokens.split_first().unwrap();
        let mut bytes = text.first_bytes(*first).to_vec();
        rest.iter().for_each(|&token| bytes.extend_from_slice(text.bytes(token)));
        String::from_utf8(bytes).unwrap()
    }

    fn with_decoder(model: &Value, decoder: &Value) -> TextTokenizer {
        let json = serde_json::json!({
            "version": "1.0", "added_tokens": [], "decoder": decoder, "model": model,
        });
        TextTokenizer::parse(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn pieces_are_those_of_the_decoder() {
        let words = |words: &[&str]| -> Value {
            let entries = words.iter().zip(0..).map(|(&word, id)| (word.to_owned(), id.into()));
            Value::Object(entries.collect())
        };
        let plain = words(&["?", "the", "cat", "sat"]);
        let level = serde_json::json!({"type": "WordLevel", "vocab": plain, "unk_token": "?"});
        let text = with_decoder(&level, &Value::Null);
        assert_eq!(text_of(&text, &[1, 2, 3]), "the cat sat");
        let pieces = words(&["?", "play", "##ing", "game", "##s", "."]);
        let decoder = serde_json::json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
        let pieces = serde_json::json!({
            "type": "WordPiece", "vocab": pieces, "unk_token": "?",
            "continuing_subword_prefix": "##", "max_input_chars_per_word": 9,
        });
        let text = with_decoder(&pieces, &decoder);
        assert_eq!(text_of(&text, &[1, 2, 3, 4, 5]), "playing games.");
        // Words that end with a mark, as in OpenAI's first GPT.
        let marked = words(&["lo", "w</w>", "er</w>", "?"]);
        let decoder = serde_json::json!({"type": "BPEDecoder", "suffix": "</w>"});
        let bpe = serde_json::json!({"type": "BPE", "vocab": marked, "merges": []});
        let text = with_decoder(&bpe, &decoder);
        assert_eq!(text_of(&text, &[0, 1, 0, 2]), "low loer ");
        // Bytes that a sequence decodes after another change.
        let bytes = words(&["Ġ", "Ã", "©"]);
        let byte_level = serde_json::json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": true,
        });
        let decoder = serde_json::json!({"type": "Sequence", "decoders": [byte_level]});
        let bpe = serde_json::json!({"type": "BPE", "vocab": bytes, "merges": []});
        assert_eq!(text_of(&with_decoder(&bpe, &decoder), &[0, 1, 2]), " é");
        let spaced = words(&["▁a", "b", "▁c"]);
        let decoder = serde_json::json!({
            "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true,
        });
        let bpe = serde_json::json!({"type": "BPE", "vocab": spaced, "merges": []});
        assert_eq!(text_of(&with_decoder(&bpe, &decoder), &[1, 0, 1, 2]), "b ab c");
        // The library panics at an entry from which this decoder strips the same letter twice.
        let decoder = serde_json::json!({"type": "Strip", "content": "a", "start": 1, "stop": 1});
        let bpe = serde_json::json!({"type": "BPE", "vocab": words(&["a", "b"]), "merges": []});
        assert_eq!(text_of(&with_decoder(&bpe, &decoder), &[0, 1]), "ab");
    }

    #[test]
    fn only_added_tokens_end_a_text() {
        let vocabulary = serde_json::json!({"a": 0, "</s>": 1, "<|end|>": 2});
        let bpe = serde_json::json!({"type": "BPE", "vocab": vocabulary, "merges": []});
        assert_eq!(with_decoder(&bpe, &Value::Null).ends(), &[0_u32; 0]);
        let end = serde_json::json!({
            "id": 2, "content": "<|end|>", "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false,
        });
        let json = serde_json::json!({"version": "1.0", "added_tokens": [end], "model": bpe});
        let text = TextTokenizer::parse(json.to_string().as_bytes()).unwrap();
        assert_eq!(text.ends(), [2]);
    }

    #[test]
    fn entries_are_bytes_for_decoders_that_know_them() {
        let vocabulary = serde_json::json!({"<0x0A>": 0, "a": 1});
        let bpe = serde_json::json!({"type": "BPE", "vocab": vocabulary, "merges": []});
        let fuse = serde_json::json!({"type": "Fuse"});
        assert_eq!(with_decoder(&bpe, &fuse).bytes(0), b"<0x0A>");
        let fallback = serde_json::json!({"type": "ByteFallback"});
        let inner = serde_json::json!({"type": "Sequence", "decoders": [fallback, fuse]});
        let nested = serde_json::json!({"type": "Sequence", "decoders": [inner]});
        for decoder in [fallback, nested] {
            assert_eq!(with_decoder(&bpe, &decoder).bytes(0), b"\n");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(matches!(TextTokenizer::parse(b"{}"), Err(Error::Tokenizer(_))));
        assert!(matches!(
            TextTokenizer::load(Path::new("/nowhere/tokenizer.json")),
            Err(Error::Tokenizer(_))
        ));
    }

    proptest! {
        #[test]
        fn the_bytes_of_a_texts_tokens_are_the_text(text in "\\PC*") {
            let tokens = BYTES.encode(&text).unwrap();
            let bytes = tokens.iter().flat_map(|&token| BYTES.bytes(token).to_vec());
            let bytes: Vec<u8> = bytes.collect();
            prop_assert_eq!(bytes, text.as_bytes());
        }
    }
}
