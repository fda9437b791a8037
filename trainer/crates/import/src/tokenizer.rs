// SPDX-License-Identifier: Apache-2.0

//! Tokenizers of checkpoints, converted to `tokenizer.json`.

use crate::{
    ImportError,
    files::gguf::{Metadata, Value},
};
use pol_data::{TokenizerError, call_tokenizers};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tokenizers::{
    AddedToken, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer,
    models::bpe::{BPE, Vocab},
    normalizers::NFC,
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
    /// Token that its post-processor puts before a text.
    pub(crate) begin: Option<u32>,
    /// Name of the token that the description of the model says to begin texts.
    pub(crate) begin_name: Option<String>,
}

/// Checks that `json`, a `tokenizer.json` from `from`, has only tokens below `vocabulary`. `begin`
/// is the token that the description of the model says to begin texts.
pub(crate) fn check(
    json: Vec<u8>,
    from: &str,
    vocabulary: u32,
    begin: Option<u32>,
) -> Result<ImportedTokenizer, ImportError> {
    let refuse = |reason: String| ImportError::Tokenizer { from: from.to_owned(), reason };
    let unusable = |error: TokenizerError| {
        refuse(match error {
            TokenizerError::Json(reason) => format!("is not a tokenizer.json: {reason}"),
            other => format!("cannot be used: {other}"),
        })
    };
    let tokenizer = pol_data::Tokenizer::from_json(&json).map_err(unusable)?;
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
    let begin_name = begin.and_then(|token| tokenizer.inner().id_to_token(token));
    let begin = match first_tokens(&tokenizer).map_err(unusable)?.as_slice() {
        [] => None,
        &[token] => Some(token),
        several => {
            return Err(refuse(format!(
                "puts {} tokens before each text, where a model here has at most one; take another \
                 model",
                several.len()
            )));
        }
    };
    let hash = *blake3::hash(&json).as_bytes();
    let report = TokenizerReport { from: from.to_owned(), entries, hash };
    Ok(ImportedTokenizer { json, report, begin, begin_name })
}

/// Returns the tokens that a tokenizer's post-processor puts before a text.
fn first_tokens(tokenizer: &pol_data::Tokenizer) -> Result<Vec<u32>, TokenizerError> {
    for text in ["a", "0", "."] {
        let plain = match tokenizer.encode(text) {
            Err(TokenizerError::Panicked) => return Err(TokenizerError::Panicked),
            // A vocabulary may lack the letter.
            plain => plain.unwrap_or_default(),
        };
        if plain.is_empty() {
            continue;
        }
        let mut whole = tokenizer.encode_with_special(text)?;
        let start = whole.windows(plain.len()).position(|window| window == plain);
        whole.truncate(start.unwrap_or(0));
        return Ok(whole);
    }
    Ok(Vec::new())
}

/// Contents of the files of a byte-pair tokenizer from before `tokenizer.json`.
#[derive(Clone, Copy, Default)]
pub(crate) struct PairFiles<'a> {
    /// `vocab.json`.
    pub(crate) vocab: &'a [u8],
    /// `merges.txt`.
    pub(crate) merges: &'a [u8],
    /// `added_tokens.json`: tokens that are not in the vocabulary.
    pub(crate) added: Option<&'a [u8]>,
    /// `special_tokens_map.json`: names of special tokens by their role.
    pub(crate) special: Option<&'a [u8]>,
    /// `tokenizer_config.json`.
    pub(crate) config: Option<&'a [u8]>,
}

/// Classes of tokenizers that split words as GPT-2 does.
const PAIR_CLASSES: [&str; 2] = ["GPT2Tokenizer", "CodeGenTokenizer"];

/// Creates the `tokenizer.json` of GPT-2's `vocab.json` and `merges.txt`, and of the files that add
/// tokens to them.
pub(crate) fn from_vocab_and_merges(
    files: &PairFiles<'_>,
    from: &str,
) -> Result<Vec<u8>, ImportError> {
    let refuse = |reason: String| ImportError::Tokenizer { from: from.to_owned(), reason };
    let unreadable =
        |file: &str, error| refuse(format!("has a {file} that cannot be read: {error}"));
    let object = |file: &str, json: Option<&[u8]>| -> Result<Map<String, Json>, ImportError> {
        let parsed = json.map_or(Ok(Map::new()), serde_json::from_slice);
        parsed.map_err(|error| unreadable(file, error))
    };
    let mut vocab: HashMap<String, u32> =
        serde_json::from_slice(files.vocab).map_err(|error| unreadable("vocab.json", error))?;
    let merges = std::str::from_utf8(files.merges)
        .map_err(|_| refuse("has a merges.txt that is not UTF-8".into()))?;
    let merges = merges.lines().filter(|line| !line.is_empty() && !line.starts_with("#version"));
    let config = object("tokenizer_config.json", files.config)?;
    let class = config.get("tokenizer_class").and_then(Json::as_str);
    if let Some(class) =
        class.filter(|class| !PAIR_CLASSES.contains(&class.trim_end_matches("Fast")))
    {
        return Err(refuse(format!(
            "is a {class}, whose words differ from GPT-2's; add its tokenizer.json, which \
             AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) of transformers writes"
        )));
    }
    let mut special: BTreeSet<String> = [END_OF_TEXT.to_owned()].into();
    for map in [&object("special_tokens_map.json", files.special)?, &config] {
        let roles = map.iter().filter(|(role, _)| {
            role.ends_with("_token") || role.as_str() == "additional_special_tokens"
        });
        roles.for_each(|(_, names)| add_names(names, &mut special));
    }
    let mut added = BTreeMap::new();
    let names: BTreeMap<String, u32> = files
        .added
        .map_or(Ok(BTreeMap::new()), serde_json::from_slice)
        .map_err(|error| unreadable("added_tokens.json", error))?;
    for (name, id) in names {
        let is_special = special.contains(&name);
        added.insert(id, AddedToken::from(name, is_special).normalized(false));
    }
    let described = config.get("added_tokens_decoder").and_then(Json::as_object);
    for (id, token) in described.into_iter().flatten() {
        let token = id.parse::<u32>().ok().zip(AddedToken::deserialize(token).ok());
        let (id, token) = token.ok_or_else(|| {
            refuse(format!("has a tokenizer_config.json whose added token {id:?} is not one"))
        })?;
        added.insert(id, token);
    }
    for name in &special {
        if let Some(&id) = vocab.get(name) {
            added.entry(id).or_insert_with(|| AddedToken::from(name.as_str(), true));
        }
    }
    add_to_vocabulary(&mut vocab, &added).map_err(refuse)?;
    let begin = config.get("add_bos_token").and_then(Json::as_bool).unwrap_or(false);
    let mut begin_names = BTreeSet::new();
    if let Some(name) = config.get("bos_token").filter(|_| begin) {
        add_names(name, &mut begin_names);
    }
    let begin = begin_names.first().and_then(|name| Some((name.as_str(), *vocab.get(name)?)));
    let space = config.get("add_prefix_space").and_then(Json::as_bool).unwrap_or(false);
    let added: Vec<AddedToken> = added.into_values().collect();
    BytePairs::new(vocab, merges, refuse)?.build(&added, WordSplit::Gpt2 { space }, begin, refuse)
}

/// Adds the names of special tokens in `value`: a string, an object with the string as `content`,
/// or a list of them.
fn add_names(value: &Json, names: &mut BTreeSet<String>) {
    match value {
        Json::String(name) => drop(names.insert(name.clone())),
        Json::Object(token) => {
            token.get("content").into_iter().for_each(|name| add_names(name, names));
        }
        Json::Array(tokens) => tokens.iter().for_each(|token| add_names(token, names)),
        _ => {}
    }
}

/// Adds tokens to a vocabulary, in which they have the numbers that `added` gives them.
fn add_to_vocabulary(
    vocab: &mut HashMap<String, u32>,
    added: &BTreeMap<u32, AddedToken>,
) -> Result<(), String> {
    let taken: HashMap<u32, String> = vocab.iter().map(|(name, &id)| (id, name.clone())).collect();
    for (&id, AddedToken { content, .. }) in added {
        match (vocab.get(content), taken.get(&id)) {
            (Some(&known), _) if known == id => {}
            (Some(known), _) => {
                return Err(format!("has the added token {content:?} as {id} and as {known}"));
            }
            (None, Some(other)) => {
                return Err(format!("has the added token {content:?} as {id}, which is {other:?}"));
            }
            (None, None) => drop(vocab.insert(content.clone(), id)),
        }
    }
    Ok(())
}

/// GPT-2's only special token.
const END_OF_TEXT: &str = "<|endoftext|>";

/// Type of ordinary tokens in GGUF.
pub(crate) const NORMAL: i64 = 1;
/// Type of special tokens in GGUF.
pub(crate) const CONTROL: i64 = 3;
/// Type of added tokens in GGUF.
pub(crate) const USER_DEFINED: i64 = 4;
/// Type of tokens in GGUF that stand for nothing.
pub(crate) const UNUSED: i64 = 5;
/// Kind of tokenizer in GGUF of a model that has none.
pub(crate) const NO_TOKENIZER: &str = "none";

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
        Some(Value::Text(model)) if model == NO_TOKENIZER => return Ok(None),
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
    // As llama.cpp does where the file does not say it.
    let begins = match get("add_bos_token") {
        Some(Value::Bool(begins)) => *begins,
        _ => matches!(split, WordSplit::Llama3),
    };
    let begin = match get("bos_token_id") {
        Some(&Value::Integer(id)) if begins => {
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
            "gpt-2" => Ok(WordSplit::Gpt2 { space: false }),
            "smollm" | "starcoder" | "refact" | "command-r" => Ok(WordSplit::Digits),
            "llama-bpe" | "llama3" | "llama-v3" => Ok(WordSplit::Llama3),
            "qwen2" | "deepseek-r1-qwen" => Ok(WordSplit::Qwen2),
            other => Err(format!(
                "splits words in the way '{other}', which is not supported{PASS_TOKENIZER}"
            )),
        },
        (None, Some(Value::Text(architecture))) if architecture == "gpt2" => {
            Ok(WordSplit::Gpt2 { space: false })
        }
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
    Gpt2 {
        /// Set if a space is put before a text.
        space: bool,
    },
    /// The same after each digit is split off.
    Digits,
    /// LLaMA 3's regular expression.
    Llama3,
    /// The same with single digits, after composition of characters.
    Qwen2,
}

impl WordSplit {
    /// Splittings with a name in GGUF.
    const NAMED: [(&str, Self); 4] = [
        ("gpt-2", Self::Gpt2 { space: false }),
        ("smollm", Self::Digits),
        ("llama-bpe", Self::Llama3),
        ("qwen2", Self::Qwen2),
    ];

    /// Returns the pre-tokenizer that splits so.
    fn pre_tokenizer(self) -> tokenizers::Result<PreTokenizerWrapper> {
        let byte_level =
            |use_regex| PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, use_regex));
        let by_words = |digits| -> tokenizers::Result<PreTokenizerWrapper> {
            let regex = Split::new(words(digits), SplitDelimiterBehavior::Isolated, false)?;
            let steps = vec![regex.into(), byte_level(false)];
            Ok(PreTokenizerWrapper::Sequence(Sequence::new(steps)))
        };
        Ok(match self {
            Self::Gpt2 { space } => {
                PreTokenizerWrapper::ByteLevel(ByteLevel::new(space, true, true))
            }
            Self::Digits => PreTokenizerWrapper::Sequence(Sequence::new(vec![
                Digits::new(true).into(),
                byte_level(true),
            ])),
            Self::Llama3 => by_words("{1,3}")?,
            Self::Qwen2 => by_words("")?,
        })
    }

    /// Returns `true` if a word that is a token is not merged from pairs.
    fn has_whole_words(self) -> bool {
        matches!(self, Self::Llama3)
    }
}

/// Returns the name in GGUF of the way in which a pre-tokenizer splits text, if it has one.
pub(crate) fn split_name(
    pre_tokenizer: &PreTokenizerWrapper,
    has_whole_words: bool,
) -> Option<&'static str> {
    // Offsets in a text, which `trim_offsets` is about, change no token.
    let comparable = |pre_tokenizer: &PreTokenizerWrapper| {
        let json = serde_json::to_string(pre_tokenizer).ok()?;
        Some(json.replace(r#""trim_offsets":false"#, r#""trim_offsets":true"#))
    };
    let ours = comparable(pre_tokenizer)?;
    let is_same = |split: WordSplit| {
        let named = split.pre_tokenizer().ok().as_ref().and_then(comparable);
        split.has_whole_words() == has_whole_words && named.as_ref() == Some(&ours)
    };
    WordSplit::NAMED.into_iter().find(|(_, split)| is_same(*split)).map(|(name, _)| name)
}

/// LLaMA 3's words: contractions, letters after at most one other character, a digit or as many as
/// `digits` has it, punctuation, white space.
fn words(digits: &str) -> SplitPattern {
    let letters = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}";
    let rest = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    SplitPattern::Regex([letters, digits, rest].concat())
}

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
        call_tokenizers(|| self.tokenizer_json(added, split, begin))
            .map_err(|error| refuse(format!("cannot be put together: {error}")))
    }

    fn tokenizer_json(
        self,
        added: &[AddedToken],
        split: WordSplit,
        begin: Option<(&str, u32)>,
    ) -> tokenizers::Result<Vec<u8>> {
        let model = BPE::builder()
            .vocab_and_merges(self.vocab.into_iter().collect::<Vocab>(), self.merges)
            .ignore_merges(split.has_whole_words())
            .build()?;
        let mut tokenizer = Tokenizer::new(model);
        if matches!(split, WordSplit::Qwen2) {
            tokenizer.with_normalizer(Some(NFC))?;
        }
        tokenizer.with_pre_tokenizer(Some(split.pre_tokenizer()?));
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
        assert_eq!(check(json.clone(), "test", 6, None).unwrap().report.entries, 6);
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
        // LLaMA 3 begins texts unless the file says otherwise.
        metadata.remove("tokenizer.ggml.add_bos_token");
        assert_eq!(ids(&metadata), [0, 4, 1, 0, 5, 3]);
        metadata.insert("tokenizer.ggml.add_bos_token".into(), Value::Bool(false));
        assert_eq!(ids(&metadata), [4, 1, 0, 5, 3]);
        metadata.insert("tokenizer.ggml.pre".into(), Value::Text("qwen2".into()));
        assert_eq!(ids(&metadata), [4, 1, 0, 5, 3]);
    }

    const PAIR: PairFiles<'_> = PairFiles {
        vocab: br#"{"<|endoftext|>":0,"a":1,"b":2,"ab":3}"#,
        merges: b"#version: 0.2\na b\n",
        added: None,
        special: None,
        config: None,
    };

    fn pair_ids(files: &PairFiles<'_>, text: &str) -> Vec<u32> {
        let json = from_vocab_and_merges(files, "pair").unwrap();
        Tokenizer::from_bytes(json).unwrap().encode(text, true).unwrap().get_ids().to_vec()
    }

    #[test]
    fn a_vocabulary_and_merges_make_a_tokenizer_with_its_added_tokens() {
        assert_eq!(pair_ids(&PAIR, "aba<|endoftext|>"), [3, 1, 0]);
        // Tokens that are in neither file, in the order of nothing.
        let files = PairFiles {
            added: Some(br#"{"<|user|>":5,"tab":4}"#),
            special: Some(br#"{"additional_special_tokens":["<|user|>"]}"#),
            ..PAIR
        };
        assert_eq!(pair_ids(&files, "ab<|user|>tab"), [3, 5, 4]);
        let json = from_vocab_and_merges(&files, "pair").unwrap();
        let entries = check(json.clone(), "pair", 6, None).unwrap().report.entries;
        assert_eq!(entries, 6);
        let tokenizer = Tokenizer::from_bytes(json).unwrap();
        assert_eq!(tokenizer.decode(&[3, 5, 4], true).unwrap(), "abtab");
        // Newer checkpoints describe them in the config.
        let config = br#"{"tokenizer_class":"GPT2TokenizerFast","added_tokens_decoder":{"4":{
            "content":"<|x|>","single_word":false,"lstrip":true,"rstrip":false,
            "normalized":false,"special":true}}}"#;
        let files = PairFiles { config: Some(config), ..PAIR };
        assert_eq!(pair_ids(&files, "ab  <|x|>a"), [3, 4, 1]);
        let config = br#"{"add_bos_token":true,"bos_token":"<|endoftext|>"}"#;
        let files = PairFiles { config: Some(config), ..PAIR };
        assert_eq!(pair_ids(&files, "ab"), [0, 3]);
    }

    #[test]
    fn files_of_other_pairs_are_refused() {
        let refused =
            |files: PairFiles<'_>| from_vocab_and_merges(&files, "pair").unwrap_err().to_string();
        let text = refused(PairFiles { added: Some(br#"{"a":7}"#), ..PAIR });
        assert!(text.contains("\"a\" as 7 and as 1"), "{text}");
        let text = refused(PairFiles { added: Some(br#"{"c":1}"#), ..PAIR });
        assert!(text.contains("\"c\" as 1, which is \"a\""), "{text}");
        let text = refused(PairFiles { added: Some(b"[]"), ..PAIR });
        assert!(text.contains("added_tokens.json that cannot be read"), "{text}");
        let config = br#"{"tokenizer_class":"Qwen2Tokenizer"}"#;
        let text = refused(PairFiles { config: Some(config), ..PAIR });
        assert!(text.contains("Qwen2Tokenizer") && text.contains("tokenizer.json"), "{text}");
        let config = br#"{"added_tokens_decoder":{"x":{}}}"#;
        let text = refused(PairFiles { config: Some(config), ..PAIR });
        assert!(text.contains("\"x\" is not one"), "{text}");
    }

    #[test]
    fn only_the_post_processor_begins_a_text() {
        let json = |processor: &str| {
            format!(
                r#"{{"version":"1.0","added_tokens":[{{"id":2,"content":"<s>","single_word":false,
                "lstrip":false,"rstrip":false,"normalized":false,"special":true}}],
                "post_processor":{processor},
                "model":{{"type":"BPE","vocab":{{"a":0,"b":1,"<s>":2}},"merges":[]}}}}"#
            )
        };
        let first = |processor: &str, begin| {
            let checked = check(json(processor).into_bytes(), "test", 3, begin).unwrap();
            (checked.begin, checked.begin_name)
        };
        assert_eq!(first("null", Some(2)), (None, Some("<s>".into())));
        let template = |parts: &str| {
            format!(
                r#"{{"type":"TemplateProcessing","single":[{parts}],"pair":[],"special_tokens":
                {{"<s>":{{"id":"<s>","ids":[2],"tokens":["<s>"]}}}}}}"#
            )
        };
        let (begin, text) = (
            r#"{"SpecialToken":{"id":"<s>","type_id":0}}"#,
            r#"{"Sequence":{"id":"A","type_id":0}}"#,
        );
        assert_eq!(first(&template(&format!("{begin},{text}")), None), (Some(2), None));
        assert_eq!(first(&template(&format!("{text},{begin}")), None), (None, None));
        let twice = json(&template(&format!("{begin},{begin},{text}"))).into_bytes();
        let text = check(twice, "test", 3, None).unwrap_err().to_string();
        assert!(text.contains("puts 2 tokens before each text"), "{text}");
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
            reason(check(json, "test", 5, None))
                .contains("has 6 entries, more than the 5 of the model's vocabulary")
        );
        assert!(reason(check(b"{}".to_vec(), "test", 5, None)).contains("is not a tokenizer.json"));
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

    #[test]
    fn a_tokenizer_on_which_the_library_panics_is_refused() {
        let refusal = |part: &str| {
            let json = format!(
                r#"{{"version":"1.0","added_tokens":[],"post_processor":{{
                "type":"TemplateProcessing","single":[{part}],"pair":[],"special_tokens":{{}}}},
                "model":{{"type":"BPE","vocab":{{"a":0,"b":1}},"merges":[]}}}}"#
            );
            check(json.into_bytes(), "there/tokenizer.json", 2, None).unwrap_err().to_string()
        };
        for part in [
            // A token that it does not describe.
            r#"{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}"#,
            // A second text where there is one.
            r#"{"Sequence":{"id":"B","type_id":0}}"#,
        ] {
            let text = refusal(part);
            assert!(text.contains("of there/tokenizer.json cannot be used"), "{text}");
            assert!(text.contains("take another"), "{text}");
        }
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
                let _ = check(json, "test", 9, None);
            }
        }
    }
}
