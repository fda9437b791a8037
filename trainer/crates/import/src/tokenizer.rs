// SPDX-License-Identifier: Apache-2.0

//! Tokenizers of checkpoints, converted to `tokenizer.json`.

use crate::{
    ImportError,
    files::gguf::{Metadata, Value},
};
use pol_data::TokenizerError;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
};
use tokenizers::{
    AddedToken, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer,
    models::bpe::{BPE, Vocab},
    pre_tokenizers::{
        byte_level::ByteLevel,
        digits::Digits,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
    processors::template::TemplateProcessing,
};

/// Report on an imported tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerReport {
    /// Origin of the tokenizer.
    pub from: String,
    /// Number of entries. Every token is smaller.
    pub entries: u32,
    /// BLAKE3 of the `tokenizer.json`. A recipe names the tokenizer by it.
    #[serde(with = "pol_primitives::hex_hash")]
    pub hash: pol_primitives::Hash,
}

/// Content of a `tokenizer.json` and its report.
#[derive(Debug)]
pub(crate) struct ImportedTokenizer {
    pub(crate) json: Vec<u8>,
    pub(crate) report: TokenizerReport,
}

/// Checks that `json`, a `tokenizer.json` from `from`, has only tokens below `vocabulary`.
pub(crate) fn check(
    json: Vec<u8>,
    from: &str,
    vocabulary: u32,
) -> Result<ImportedTokenizer, ImportError> {
    let refuse = |reason: String| ImportError::Tokenizer { from: from.to_owned(), reason };
    let tokenizer = pol_data::Tokenizer::from_json(&json).map_err(|error| {
        refuse(match error {
            TokenizerError::Merges => "has merges that do not fit its vocabulary".into(),
            TokenizerError::Json(reason) => format!("is not a tokenizer.json: {reason}"),
            TokenizerError::Library(reason) => format!("cannot be used: {reason}"),
        })
    })?;
    if tokenizer.inner().get_vocab_size(true) == 0 {
        return Err(refuse("has no entries".into()));
    }
    let entries = tokenizer.vocabulary();
    if entries > vocabulary {
        return Err(refuse(format!(
            "has {entries} entries, more than the {vocabulary} of the model's vocabulary; \
             they belong to different models, take both from the same place"
        )));
    }
    let hash = *blake3::hash(&json).as_bytes();
    Ok(ImportedTokenizer { json, report: TokenizerReport { from: from.to_owned(), entries, hash } })
}

/// Creates the `tokenizer.json` of GPT-2's `vocab.json` and `merges.txt`.
pub(crate) fn from_vocab_and_merges(
    vocab: &[u8],
    merges: &[u8],
    from: &str,
) -> Result<Vec<u8>, ImportError> {
    let refuse = |reason: String| ImportError::Tokenizer { from: from.to_owned(), reason };
    let vocab: HashMap<String, u32> = serde_json::from_slice(vocab)
        .map_err(|error| refuse(format!("has a vocab.json that cannot be read: {error}")))?;
    let merges = std::str::from_utf8(merges)
        .map_err(|_| refuse("has a merges.txt that is not UTF-8".into()))?;
    let merges = merges.lines().filter(|line| !line.is_empty() && !line.starts_with("#version"));
    let special: Vec<_> = vocab
        .contains_key(END_OF_TEXT)
        .then(|| AddedToken::from(END_OF_TEXT, true))
        .into_iter()
        .collect();
    BytePairs::new(vocab, merges, refuse)?.build(&special, WordSplit::Gpt2, None, refuse)
}

/// GPT-2's only special token.
const END_OF_TEXT: &str = "<|endoftext|>";

/// Type of special tokens in GGUF.
const CONTROL: i64 = 3;
/// Type of added tokens in GGUF.
const USER_DEFINED: i64 = 4;

/// Remedy for a tokenizer that cannot be converted from GGUF.
const PASS_TOKENIZER: &str = "; pass the model's tokenizer.json with --tokenizer";

/// Creates the `tokenizer.json` that the metadata of a GGUF file describe; `None` if they have no
/// tokenizer.
pub(crate) fn from_metadata(
    metadata: &Metadata,
    from: &str,
) -> Result<Option<Vec<u8>>, ImportError> {
    let refuse = |reason: String| ImportError::Tokenizer { from: from.to_owned(), reason };
    let get = |key: &str| metadata.get(&format!("tokenizer.ggml.{key}"));
    match get("model") {
        None => return Ok(None),
        Some(Value::Text(model)) if model == "gpt2" => {}
        Some(other) => {
            return Err(refuse(format!(
                "is of type {other:?}, of which only byte pairs ('gpt2') can be taken from \
                 GGUF{PASS_TOKENIZER}"
            )));
        }
    }
    let (Some(Value::Texts(tokens)), Some(Value::Texts(merges))) = (get("tokens"), get("merges"))
    else {
        return Err(refuse(format!("lacks its tokens or merges{PASS_TOKENIZER}")));
    };
    let split = word_split(metadata).map_err(refuse)?;
    let added = added_tokens(tokens, get("token_type")).map_err(refuse)?;
    let mut vocab = HashMap::with_capacity(tokens.len());
    for (id, token) in (0..).zip(tokens) {
        if vocab.insert(token.clone(), id).is_some() {
            return Err(refuse(format!("has the token {token:?} twice")));
        }
    }
    let begin = match (get("add_bos_token"), get("bos_token_id")) {
        (Some(Value::Bool(true)), Some(&Value::Integer(id))) => {
            let token =
                usize::try_from(id).ok().and_then(|id| tokens.get(id)).ok_or_else(|| {
                    refuse(format!("begins texts with token {id}, which it does not have"))
                })?;
            Some((token.as_str(), id as u32))
        }
        _ => None,
    };
    BytePairs::new(vocab, merges.iter().map(String::as_str), refuse)?
        .build(&added, split, begin, refuse)
        .map(Some)
}

/// Returns the splitting of text into words.
fn word_split(metadata: &Metadata) -> Result<WordSplit, String> {
    let pre = metadata.get("tokenizer.ggml.pre");
    match (pre, metadata.get("general.architecture")) {
        (Some(Value::Text(pre)), _) => match pre.as_str() {
            "gpt-2" => Ok(WordSplit::Gpt2),
            "smollm" | "starcoder" | "refact" | "command-r" => Ok(WordSplit::Digits),
            "llama-bpe" | "llama3" | "llama-v3" => Ok(WordSplit::Llama3),
            other => Err(format!(
                "splits words in the way '{other}', which is not supported{PASS_TOKENIZER}"
            )),
        },
        (None, Some(Value::Text(architecture))) if architecture == "gpt2" => Ok(WordSplit::Gpt2),
        _ => Err(format!("does not say how it splits words (tokenizer.ggml.pre){PASS_TOKENIZER}")),
    }
}

/// Returns the special and added tokens by the type of each token.
fn added_tokens(tokens: &[String], types: Option<&Value>) -> Result<Vec<AddedToken>, String> {
    let types = match types {
        None => &[],
        Some(Value::Integers(types)) if types.len() == tokens.len() => types.as_slice(),
        Some(_) => {
            return Err("does not give each token a type (tokenizer.ggml.token_type)".into());
        }
    };
    let added = tokens.iter().zip(types).filter(|(_, kind)| [CONTROL, USER_DEFINED].contains(kind));
    Ok(added
        .map(|(token, &kind)| AddedToken::from(token.as_str(), kind == CONTROL).normalized(false))
        .collect())
}

/// Splitting of text into words before pairs are merged.
#[derive(Clone, Copy)]
enum WordSplit {
    /// GPT-2's regular expression.
    Gpt2,
    /// The same after each digit is split off.
    Digits,
    /// LLaMA 3's regular expression.
    Llama3,
}

/// LLaMA 3's words: contractions, letters after at most one other character, up to three digits,
/// punctuation, white space.
const LLAMA_3_WORDS: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// Vocabulary and merges of a byte-pair tokenizer.
struct BytePairs {
    vocab: HashMap<String, u32>,
    merges: Vec<(String, String)>,
}

impl BytePairs {
    /// Checks each merge against the vocabulary. The library panics if one does not fit.
    fn new<'a>(
        vocab: HashMap<String, u32>,
        merges: impl Iterator<Item = &'a str>,
        refuse: impl Fn(String) -> ImportError,
    ) -> Result<Self, ImportError> {
        let merge = |line: &'a str| {
            let pair = line.split_once(' ').filter(|(first, second)| {
                let known = |token: &str| vocab.contains_key(token);
                known(first) && known(second) && known(&format!("{first}{second}"))
            });
            let (first, second) = pair.ok_or_else(|| {
                refuse(format!("has the merge {line:?}, whose tokens are not in its vocabulary"))
            })?;
            Ok((first.to_owned(), second.to_owned()))
        };
        let merges = merges.map(merge).collect::<Result<_, ImportError>>()?;
        Ok(Self { vocab, merges })
    }

    /// Creates the `tokenizer.json`. `begin` is a token that starts every text.
    fn build(
        self,
        added: &[AddedToken],
        split: WordSplit,
        begin: Option<(&str, u32)>,
        refuse: impl Fn(String) -> ImportError,
    ) -> Result<Vec<u8>, ImportError> {
        let made = catch_unwind(AssertUnwindSafe(|| self.tokenizer_json(added, split, begin)));
        made.map_err(|_| refuse("cannot be put together".into()))?
            .map_err(|error| refuse(format!("cannot be put together: {error}")))
    }

    fn tokenizer_json(
        self,
        added: &[AddedToken],
        split: WordSplit,
        begin: Option<(&str, u32)>,
    ) -> tokenizers::Result<Vec<u8>> {
        let whole_words = matches!(split, WordSplit::Llama3);
        let model = BPE::builder()
            .vocab_and_merges(self.vocab.into_iter().collect::<Vocab>(), self.merges)
            .ignore_merges(whole_words)
            .build()?;
        let byte_level =
            |use_regex| PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, use_regex));
        let pre_tokenizer = match split {
            WordSplit::Gpt2 => byte_level(true),
            WordSplit::Digits => PreTokenizerWrapper::Sequence(Sequence::new(vec![
                Digits::new(true).into(),
                byte_level(true),
            ])),
            WordSplit::Llama3 => {
                let regex = Split::new(
                    SplitPattern::Regex(LLAMA_3_WORDS.into()),
                    SplitDelimiterBehavior::Isolated,
                    false,
                )?;
                PreTokenizerWrapper::Sequence(Sequence::new(vec![regex.into(), byte_level(false)]))
            }
        };
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_pre_tokenizer(Some(pre_tokenizer));
        tokenizer.with_decoder(Some(ByteLevel::new(false, true, true)));
        match begin {
            None => tokenizer.with_post_processor(Some(ByteLevel::new(false, false, true))),
            Some((token, id)) => {
                let template = TemplateProcessing::builder()
                    .try_single(vec![token.to_owned(), "$A".to_owned()])?
                    .special_tokens(vec![(token.to_owned(), id)])
                    .build()?;
                tokenizer.with_post_processor(Some(template))
            }
        };
        tokenizer.add_tokens(added.iter().cloned())?;
        Ok(tokenizer.to_string(false)?.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn metadata(tokens: &[&str], merges: &[&str], types: &[i64]) -> Metadata {
        let texts =
            |texts: &[&str]| Value::Texts(texts.iter().map(|&text| text.to_owned()).collect());
        [
            ("general.architecture", Value::Text("gpt2".into())),
            ("tokenizer.ggml.model", Value::Text("gpt2".into())),
            ("tokenizer.ggml.tokens", texts(tokens)),
            ("tokenizer.ggml.merges", texts(merges)),
            ("tokenizer.ggml.token_type", Value::Integers(types.to_vec())),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    const TOKENS: [&str; 6] = ["<|end|>", "a", "b", "ab", "abb", "Ġ"];

    fn tokenizer(metadata: &Metadata) -> Tokenizer {
        let json = from_metadata(metadata, "test").unwrap().unwrap();
        assert_eq!(check(json.clone(), "test", 6).unwrap().report.entries, 6);
        Tokenizer::from_bytes(json).unwrap()
    }

    #[test]
    fn tokens_and_merges_make_a_tokenizer() {
        let mut metadata = metadata(&TOKENS, &["a b", "ab b"], &[3, 1, 1, 1, 1, 1]);
        let ids = |metadata: &Metadata| {
            tokenizer(metadata).encode("abba<|end|> ab", true).unwrap().get_ids().to_vec()
        };
        assert_eq!(ids(&metadata), [4, 1, 0, 5, 3]);
        metadata.insert("tokenizer.ggml.add_bos_token".into(), Value::Bool(true));
        metadata.insert("tokenizer.ggml.bos_token_id".into(), Value::Integer(0));
        assert_eq!(ids(&metadata), [0, 4, 1, 0, 5, 3]);
        assert_eq!(tokenizer(&metadata).decode(&[4, 1, 5, 3], true).unwrap(), "abba ab");
        metadata.insert("tokenizer.ggml.pre".into(), Value::Text("llama-bpe".into()));
        assert_eq!(ids(&metadata), [0, 4, 1, 0, 5, 3]);
        let vocab = br#"{"<|endoftext|>":0,"a":1,"b":2,"ab":3}"#;
        let json = from_vocab_and_merges(vocab, b"#version: 0.2\na b\n", "pair").unwrap();
        assert_eq!(
            Tokenizer::from_bytes(json)
                .unwrap()
                .encode("aba<|endoftext|>", true)
                .unwrap()
                .get_ids(),
            [3, 1, 0]
        );
    }

    #[test]
    fn a_tokenizer_that_does_not_fit_is_refused() {
        let json = from_metadata(&metadata(&TOKENS, &["a b"], &[3, 1, 1, 1, 1, 1]), "test")
            .unwrap()
            .unwrap();
        let reason = |result: Result<ImportedTokenizer, ImportError>| {
            result.err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(
            reason(check(json, "test", 5))
                .contains("has 6 entries, more than the 5 of the model's vocabulary")
        );
        assert!(reason(check(b"{}".to_vec(), "test", 5)).contains("is not a tokenizer.json"));
        let refused =
            |metadata: &Metadata| from_metadata(metadata, "test").unwrap_err().to_string();
        assert!(refused(&metadata(&TOKENS, &["a x"], &[1; 6])).contains("\"a x\""));
        assert!(refused(&metadata(&TOKENS, &["ab"], &[1; 6])).contains("\"ab\""));
        assert!(refused(&metadata(&["a", "a"], &[], &[1; 2])).contains("twice"));
        assert!(refused(&metadata(&TOKENS, &[], &[1; 5])).contains("token_type"));
        let mut other = metadata(&TOKENS, &[], &[1; 6]);
        other.insert("tokenizer.ggml.pre".into(), Value::Text("tekken".into()));
        assert!(refused(&other).contains("'tekken'"));
        other.insert("tokenizer.ggml.model".into(), Value::Text("llama".into()));
        assert!(refused(&other).contains("--tokenizer"));
    }

    proptest! {
        #[test]
        fn no_tokenizer_ends_the_process(
            tokens in proptest::collection::vec("[ab Ġ]{0,3}", 0..9),
            merges in proptest::collection::vec("[ab Ġ]{0,5}", 0..5),
        ) {
            let tokens: Vec<_> = tokens.iter().map(String::as_str).collect();
            let merges: Vec<_> = merges.iter().map(String::as_str).collect();
            let metadata = metadata(&tokens, &merges, &vec![1; tokens.len()]);
            if let Ok(Some(json)) = from_metadata(&metadata, "test") {
                let _ = check(json, "test", 9);
            }
        }
    }
}
