// SPDX-License-Identifier: Apache-2.0

//! The tokenizer of an ingestion: a [`Tokenizer`] with the token that separates texts.

use crate::{
    Tokenizer,
    encoder::Encoder,
    error::{DataError, IoContext},
};
use pol_primitives::Hash;
use std::{fs, path::Path};

/// Token between unrelated texts, in tokenizers that an ingestion trains.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// Names of that token in other tokenizers: those of GPT-2, LLaMA 3, LLaMA 2 and Gemma.
const TEXT_ENDS: [&str; 4] = [END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>"];
/// Names of tokens that end a turn of a conversation, used if no token ends a text.
const TURN_ENDS: [&str; 5] = ["<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|end|>", "<|eom_id|>"];
/// Most special tokens that an error message lists.
const MAX_LISTED: usize = 12;

/// Choice of the token that separates texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EndOfText {
    /// The first token with a well-known name: of those that end texts, or else of those that end
    /// turns of a conversation.
    #[default]
    Known,
    /// The tokens with which a model ends its texts, unless they end a turn; else the choice of
    /// [`Known`](Self::Known). A token that ends turns is the last resort.
    Model(Vec<u32>),
    /// The token of this name.
    Named(String),
}

impl EndOfText {
    /// Returns name and id of the separator, or the reason why there is none.
    pub(crate) fn choose(&self, tokenizer: &Tokenizer) -> Result<(String, u32), String> {
        let model = match self {
            Self::Named(name) => return named(tokenizer, name),
            Self::Model(tokens) => tokens.as_slice(),
            Self::Known => &[],
        };
        let inner = tokenizer.inner();
        let model: Vec<String> =
            model.iter().filter_map(|&token| inner.id_to_token(token)).collect();
        let is_turn = |name: &str| TURN_ENDS.contains(&name);
        // If a model has several ends, a well-known one is best.
        let known = TEXT_ENDS.into_iter().filter(|&name| model.iter().any(|end| end == name));
        let own = model.iter().map(String::as_str).filter(|name| !is_turn(name));
        let turns = model.iter().map(String::as_str).filter(|name| is_turn(name));
        let mut names = known.chain(own).chain(TEXT_ENDS).chain(turns).chain(TURN_ENDS);
        names.find_map(|name| separator(tokenizer, name)).ok_or_else(|| {
            format!(
                "it has no token that is known to end a text; name one with end_of_text in a \
                 configuration, or with --end-of-text: {}",
                special_tokens(tokenizer)
            )
        })
    }
}

/// Returns the token `name`, or the reason why it cannot separate texts.
fn named(tokenizer: &Tokenizer, name: &str) -> Result<(String, u32), String> {
    separator(tokenizer, name).ok_or_else(|| match tokenizer.inner().token_to_id(name) {
        None => format!("it has no token {name}; {}", special_tokens(tokenizer)),
        Some(_) => format!(
            "{name} occurs in texts, so it cannot separate them; {}",
            special_tokens(tokenizer)
        ),
    })
}

/// Returns name and id of the token `name` if no text contains it, not even one that spells it.
fn separator(tokenizer: &Tokenizer, name: &str) -> Option<(String, u32)> {
    let token = tokenizer.inner().token_to_id(name)?;
    let spelled = tokenizer.encode(name).ok()?;
    (!spelled.contains(&token)).then(|| (name.to_owned(), token))
}

/// Describes the special tokens, for error messages.
fn special_tokens(tokenizer: &Tokenizer) -> String {
    let mut special: Vec<_> = tokenizer
        .inner()
        .get_added_tokens_decoder()
        .into_iter()
        .filter(|(_, token)| token.special)
        .collect();
    special.sort_unstable_by_key(|(id, _)| *id);
    let names: Vec<_> =
        special.into_iter().take(MAX_LISTED).map(|(_, token)| token.content).collect();
    if names.is_empty() {
        "it has no special tokens".into()
    } else {
        format!("its special tokens are {}", names.join(" "))
    }
}

/// Checks that an ingestion can use a `tokenizer.json`, and that it has the separator of texts.
///
/// # Errors
///
/// Fails as the ingestion would.
pub fn check_tokenizer(path: &Path, end: &EndOfText) -> Result<(), DataError> {
    IngestTokenizer::load(path, end).map(drop)
}

/// A tokenizer with its file and its separator of texts.
pub(crate) struct IngestTokenizer {
    inner: Tokenizer,
    encoder: Encoder,
    json: Vec<u8>,
    hash: Hash,
    end_of_text: (String, u32),
}

impl IngestTokenizer {
    /// Reads a `tokenizer.json` and chooses the separator.
    pub(crate) fn load(path: &Path, end: &EndOfText) -> Result<Self, DataError> {
        let json = fs::read(path).io_context("read the tokenizer", path)?;
        Self::from_json(json, &path.display().to_string(), end)
    }

    /// Parses the contents of a `tokenizer.json` and chooses the separator. `origin` describes the
    /// tokenizer in error messages.
    pub(crate) fn from_json(
        json: Vec<u8>,
        origin: &str,
        end: &EndOfText,
    ) -> Result<Self, DataError> {
        let refuse =
            |reason: String| DataError::InvalidTokenizer { origin: origin.to_owned(), reason };
        let inner = Tokenizer::from_json(&json).map_err(|error| refuse(error.to_string()))?;
        let end_of_text = end.choose(&inner).map_err(refuse)?;
        let hash = *blake3::hash(&json).as_bytes();
        let encoder = Encoder::new(&inner);
        Ok(Self { inner, encoder, json, hash, end_of_text })
    }

    /// Returns the BLAKE3 hash of [`Self::json`], which a recipe names the tokenizer by.
    pub(crate) fn hash(&self) -> Hash {
        self.hash
    }

    /// Returns the contents of the `tokenizer.json`.
    pub(crate) fn json(&self) -> &[u8] {
        &self.json
    }

    /// Returns the number of entries of the vocabulary.
    pub(crate) fn vocabulary(&self) -> u32 {
        self.inner.vocabulary()
    }

    /// Returns the separator, which no encoded text contains.
    pub(crate) fn end_of_text(&self) -> u32 {
        self.end_of_text.1
    }

    /// Returns the name of the separator.
    pub(crate) fn end_of_text_name(&self) -> &str {
        &self.end_of_text.0
    }

    /// Returns the tokens of each of `texts`, computed on all cores.
    pub(crate) fn encode_batch(&self, texts: &[String]) -> Result<Vec<Vec<u32>>, DataError> {
        self.encoder.encode_batch(&self.inner, texts).map_err(|error| DataError::InvalidTokenizer {
            origin: hex::encode(self.hash),
            reason: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer_trainer::tests::{many_words, trained};
    use std::sync::LazyLock;

    static TOKENIZER: LazyLock<IngestTokenizer> =
        LazyLock::new(|| trained(&many_words(8_000), 600).unwrap());

    #[test]
    fn a_file_gives_the_same_tokenizer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        fs::write(&path, TOKENIZER.json()).unwrap();
        let loaded = IngestTokenizer::load(&path, &EndOfText::Known).unwrap();
        assert_eq!((loaded.hash(), loaded.vocabulary()), (TOKENIZER.hash(), 600));
        assert_eq!(loaded.hash(), *blake3::hash(&fs::read(&path).unwrap()).as_bytes());
        assert!(matches!(
            IngestTokenizer::load(&folder.path().join("none"), &EndOfText::Known),
            Err(DataError::Io { .. })
        ));
    }

    /// Returns the tokenizer with special tokens of these names in place of its own, numbered 0,
    /// 600, 601, ….
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

    fn chosen(names: &[&str], end: EndOfText) -> Result<(String, u32), DataError> {
        IngestTokenizer::from_json(with_special(names), "a test", &end).map(|tokenizer| {
            let spelled = tokenizer.inner.encode(&names.concat()).unwrap();
            assert!(!spelled.contains(&tokenizer.end_of_text()));
            (tokenizer.end_of_text_name().to_owned(), tokenizer.end_of_text())
        })
    }

    #[test]
    fn well_known_names_end_texts() {
        let known = |names: &[&str]| chosen(names, EndOfText::Known).unwrap();
        assert_eq!(known(&["<|endoftext|>"]), ("<|endoftext|>".into(), 0));
        assert_eq!(known(&["</s>"]), ("</s>".into(), 0));
        assert_eq!(known(&["<s>", "</s>"]), ("</s>".into(), 600));
        assert_eq!(known(&["<|eot_id|>", "<|end_of_text|>"]), ("<|end_of_text|>".into(), 600));
        assert_eq!(known(&["<pad>", "<|eot_id|>"]), ("<|eot_id|>".into(), 600));
        let unknown = chosen(&["<pad>", "[SEP]"], EndOfText::Known).unwrap_err().to_string();
        assert!(unknown.contains("--end-of-text: its special tokens are <pad> [SEP]"), "{unknown}");
    }

    #[test]
    fn a_models_own_end_goes_first_unless_it_ends_a_turn() {
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
    }

    #[test]
    fn a_name_decides() {
        let named = |names: &[&str], end: &str| chosen(names, EndOfText::Named(end.into()));
        assert_eq!(named(&["</s>", "[SEP]"], "[SEP]").unwrap(), ("[SEP]".into(), 600));
        let refused = |names: &[&str], end: &str| named(names, end).unwrap_err().to_string();
        assert!(
            refused(&["</s>", "[SEP]"], "[CLS]")
                .contains("has no token [CLS]; its special tokens are </s> [SEP]")
        );
        assert!(refused(&["</s>"], "w").contains("w occurs in texts"));
    }

    #[test]
    fn tokenizers_that_cannot_be_used_are_refused() {
        let reason =
            |json: &str| match IngestTokenizer::from_json(json.into(), "a test", &EndOfText::Known)
            {
                Err(DataError::InvalidTokenizer { reason, .. }) => reason,
                other => panic!("{:?}", other.map(drop)),
            };
        let json = std::str::from_utf8(TOKENIZER.json()).unwrap();
        assert!(reason("{}").contains("not a tokenizer.json"));
        assert!(
            reason(&json.replace(END_OF_TEXT, "[UNUSED]"))
                .contains("no token that is known to end a text")
        );
    }
}
