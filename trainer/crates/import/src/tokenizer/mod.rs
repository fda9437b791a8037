// SPDX-License-Identifier: Apache-2.0

//! Tokenizers of checkpoints, converted to `tokenizer.json`.

mod sentence_pieces;
mod word_split;

use crate::{
    ImportError,
    files::gguf::{Metadata, Value},
};
use pol_data::{TokenizerError, call_tokenizers};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tokenizers::{
    AddedToken, Tokenizer,
    models::bpe::{BPE, Vocab},
    normalizers::NFC,
    pre_tokenizers::byte_level::ByteLevel,
    processors::template::TemplateProcessing,
};
use word_split::WordSplit;
pub(crate) use word_split::split_name;

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
    let begin =
        begin_names.into_iter().find_map(|name| vocab.get(&name).map(|&id| (name.clone(), id)));
    let space = config.get("add_prefix_space").and_then(Json::as_bool).unwrap_or(false);
    let added: Vec<AddedToken> = added.into_values().collect();
    BytePairs::new(vocab, merges)
        .and_then(|pairs| pairs.build(&added, WordSplit::gpt2(space), &Around { begin, end: None }))
        .map_err(refuse)
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

/// Type of tokens in GGUF of which nothing is known.
const UNDEFINED: i64 = 0;
/// Type of ordinary tokens in GGUF.
pub(crate) const NORMAL: i64 = 1;
/// Type of the token in GGUF of text that has no other.
const UNKNOWN: i64 = 2;
/// Type of special tokens in GGUF.
pub(crate) const CONTROL: i64 = 3;
/// Type of added tokens in GGUF.
pub(crate) const USER_DEFINED: i64 = 4;
/// Type of tokens in GGUF that stand for nothing.
pub(crate) const UNUSED: i64 = 5;
/// Type of tokens in GGUF that stand for a byte.
const BYTE: i64 = 6;
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
    let json = match metadata.get("tokenizer.ggml.model") {
        None => return Ok(None),
        Some(Value::Text(model)) if model == NO_TOKENIZER => return Ok(None),
        Some(Value::Text(model)) if model == "gpt2" => pairs_from_metadata(metadata),
        Some(Value::Text(model)) if model == "llama" => sentence_pieces::from_metadata(metadata),
        Some(other) => Err(format!(
            "is of type {other:?}, of which only byte pairs ('gpt2') and merged pieces ('llama') \
             can be taken from GGUF{PASS_TOKENIZER}"
        )),
    };
    json.map(Some).map_err(|reason| ImportError::Tokenizer { from: from.to_owned(), reason })
}

/// Creates the `tokenizer.json` of byte pairs in the metadata of a GGUF file.
fn pairs_from_metadata(metadata: &Metadata) -> Result<Vec<u8>, String> {
    let get = |key: &str| metadata.get(&format!("tokenizer.ggml.{key}"));
    let (Some(Value::Texts(tokens)), Some(Value::Texts(merges))) = (get("tokens"), get("merges"))
    else {
        return Err(format!("lacks its tokens or merges{PASS_TOKENIZER}"));
    };
    let split = WordSplit::of(metadata)?;
    let types = token_types(tokens, get("token_type"))?.unwrap_or_default();
    let around = Around::new(metadata, tokens, split.begins, (None, None))?;
    BytePairs::new(vocabulary(tokens, &types)?, merges.iter().map(String::as_str))?.build(
        &added_tokens(tokens, &types),
        split,
        &around,
    )
}

/// Returns the vocabulary of `tokens`, whose numbers are their places. Rows of the embedding that
/// have no token are left out.
fn vocabulary(tokens: &[String], types: &[i64]) -> Result<HashMap<String, u32>, String> {
    let mut vocab = HashMap::with_capacity(tokens.len());
    for (id, token) in (0u32..).zip(tokens) {
        if is_padding(id as usize, token, types.get(id as usize)) {
            continue;
        }
        if vocab.insert(token.clone(), id).is_some() {
            return Err(format!("has the token {token:?} twice"));
        }
    }
    Ok(vocab)
}

/// Returns `true` if this is the name that converters give to a row that has no token.
fn is_padding(id: usize, name: &str, kind: Option<&i64>) -> bool {
    kind == Some(&UNUSED) && name == format!("[PAD{id}]")
}

/// Returns the type of each of `tokens`, if the file has types.
fn token_types(tokens: &[String], types: Option<&Value>) -> Result<Option<Vec<i64>>, String> {
    let types = match types {
        None => return Ok(None),
        Some(Value::Integers(types)) if types.len() == tokens.len() => types,
        Some(_) => {
            return Err("does not give each token a type (tokenizer.ggml.token_type)".into());
        }
    };
    match types.iter().position(|kind| !(UNDEFINED..=BYTE).contains(kind)) {
        None => Ok(Some(types.clone())),
        Some(token) => Err(format!(
            "has {} as the type of token {token}, where types are {UNDEFINED} to {BYTE}; take \
             another file",
            types[token]
        )),
    }
}

/// Returns the special and added tokens by the type of each token.
fn added_tokens(tokens: &[String], types: &[i64]) -> Vec<AddedToken> {
    let is_added = |kind: &i64| [UNKNOWN, CONTROL, USER_DEFINED].contains(kind);
    let added = tokens.iter().zip(types).filter(|(_, kind)| is_added(kind));
    let token =
        |(token, &kind): (&String, &i64)| AddedToken::from(token.as_str(), kind != USER_DEFINED);
    added.map(|pair| token(pair).normalized(false)).collect()
}

/// Tokens that a tokenizer puts around a text.
#[derive(Default)]
struct Around {
    begin: Option<(String, u32)>,
    end: Option<(String, u32)>,
}

impl Around {
    /// Reads the tokens from metadata. `begins` and `ids`, the tokens that begin and end texts, are
    /// what llama.cpp takes where a file does not say it.
    fn new(
        metadata: &Metadata,
        tokens: &[String],
        begins: bool,
        ids: (Option<i128>, Option<i128>),
    ) -> Result<Self, String> {
        let get = |key: String| metadata.get(&format!("tokenizer.ggml.{key}"));
        let token = |role: &str, verb: &str, adds: bool, id: Option<i128>| {
            let adds = match get(format!("add_{role}_token")) {
                Some(&Value::Bool(adds)) => adds,
                _ => adds,
            };
            let id = match get(format!("{role}_token_id")) {
                Some(&Value::Integer(id)) => Some(id),
                _ => id,
            };
            let Some(id) = id.filter(|_| adds) else { return Ok(None) };
            let token = usize::try_from(id).ok().and_then(|id| tokens.get(id));
            let token = token.zip(u32::try_from(id).ok());
            let (token, id) = token
                .ok_or_else(|| format!("{verb} texts with token {id}, which it does not have"))?;
            Ok::<_, String>(Some((token.clone(), id)))
        };
        let begin = token("bos", "begins", begins, ids.0)?;
        Ok(Self { begin, end: token("eos", "ends", false, ids.1)? })
    }

    /// Returns the post-processor that puts the tokens there, if there are any.
    fn processor(&self) -> tokenizers::Result<Option<TemplateProcessing>> {
        let names =
            |token: &Option<(String, u32)>| token.iter().map(|(name, _)| name.clone()).collect();
        let parts: [Vec<String>; 3] = [names(&self.begin), vec!["$A".into()], names(&self.end)];
        if parts.iter().map(Vec::len).sum::<usize>() == 1 {
            return Ok(None);
        }
        let special = self.begin.iter().chain(&self.end).cloned();
        let template = TemplateProcessing::builder()
            .try_single(parts.concat())?
            .special_tokens(special.collect::<Vec<_>>())
            .build()?;
        Ok(Some(template))
    }
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
    ) -> Result<Self, String> {
        let merge = |line: &'a str| {
            let pair = line.split_once(' ').filter(|(first, second)| {
                let known = |token: &str| vocab.contains_key(token);
                known(first) && known(second) && known(&format!("{first}{second}"))
            });
            let (first, second) = pair.ok_or_else(|| {
                format!("has the merge {line:?}, whose tokens are not in its vocabulary")
            })?;
            Ok((first.to_owned(), second.to_owned()))
        };
        let merges = merges.map(merge).collect::<Result<_, String>>()?;
        Ok(Self { vocab, merges })
    }

    /// Creates the `tokenizer.json`.
    fn build(
        self,
        added: &[AddedToken],
        split: WordSplit,
        around: &Around,
    ) -> Result<Vec<u8>, String> {
        call_tokenizers(|| self.tokenizer_json(added, split, around))
            .map_err(|error| format!("cannot be put together: {error}"))
    }

    fn tokenizer_json(
        self,
        added: &[AddedToken],
        split: WordSplit,
        around: &Around,
    ) -> tokenizers::Result<Vec<u8>> {
        let model = BPE::builder()
            .vocab_and_merges(self.vocab.into_iter().collect::<Vocab>(), self.merges)
            .ignore_merges(split.has_whole_words)
            .build()?;
        let mut tokenizer = Tokenizer::new(model);
        if split.composes {
            tokenizer.with_normalizer(Some(NFC))?;
        }
        tokenizer.with_pre_tokenizer(Some(split.pre_tokenizer()?));
        tokenizer.with_decoder(Some(ByteLevel::new(false, true, true)));
        match around.processor()? {
            None => tokenizer.with_post_processor(Some(ByteLevel::new(false, false, true))),
            template => tokenizer.with_post_processor(template),
        };
        tokenizer.add_tokens(added.iter().cloned())?;
        Ok(tokenizer.to_string(false)?.into_bytes())
    }
}

#[cfg(test)]
mod reference_tests;
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

    #[test]
    fn rows_without_a_token_stand_for_no_text() {
        let tokens = ["<|end|>", "a", "b", "ab", "[PAD4]", "[PAD9]", "c", "[PAD7]"];
        let metadata = metadata(&tokens, &["a b"], &[3, 1, 1, 1, 5, 5, 1, 5]);
        let json = from_metadata(&metadata, "test").unwrap().unwrap();
        assert_eq!(check(json.clone(), "test", 8, None).unwrap().report.entries, 7);
        let tokenizer = Tokenizer::from_bytes(json).unwrap();
        assert_eq!(tokenizer.decode(&[3, 4, 7, 6], true).unwrap(), "abc");
        // Others of this type have names of their own.
        assert_eq!(tokenizer.decode(&[5], true).unwrap(), "[PAD9]");
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
        other.insert("tokenizer.ggml.pre".into(), Value::Text("chatglm-bpe".into()));
        assert!(refused(&other).contains("'chatglm-bpe'"));
        other.insert("tokenizer.ggml.model".into(), Value::Text("t5".into()));
        let text = refused(&other);
        assert!(text.contains("\"t5\"") && text.contains("--tokenizer"), "{text}");
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
