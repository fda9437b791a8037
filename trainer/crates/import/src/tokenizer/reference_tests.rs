// SPDX-License-Identifier: Apache-2.0

//! Tokens of texts as other programs cut them, written by
//! `scripts/reference/tokenizer_fixtures.py`.

use super::*;
use crate::files::gguf;
use std::{env, fs, path::Path, sync::LazyLock};

/// Texts, and what others make of them.
#[derive(Deserialize)]
struct Expected {
    texts: Vec<String>,
    /// Tokens of vocabularies of SentencePiece.
    pieces: BTreeMap<String, PieceTokens>,
    /// Tokens of byte pairs, by the name of the splitting in GGUF.
    pairs: BTreeMap<String, Vec<Vec<u32>>>,
}

#[derive(Deserialize)]
struct PieceTokens {
    /// SentencePiece's, to which special tokens in a text are text.
    sentencepiece: Vec<Vec<u32>>,
    transformers: Transformed,
}

/// Tokens of the conversion of transformers, which knows special tokens in a text, and their texts.
#[derive(Deserialize)]
struct Transformed {
    tokens: Vec<Vec<u32>>,
    texts: Vec<String>,
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers");
    fs::read(folder.join(name)).unwrap()
}

static EXPECTED: LazyLock<Expected> =
    LazyLock::new(|| serde_json::from_slice(&fixture("expected.json")).unwrap());

fn metadata(name: &str) -> Metadata {
    gguf::read(Box::new(fixture(&format!("{name}.gguf")))).unwrap().0
}

fn json(metadata: &Metadata) -> Vec<u8> {
    from_metadata(metadata, "test").unwrap().unwrap()
}

#[test]
fn pieces_are_cut_as_sentencepiece_cuts_them() {
    assert_eq!(EXPECTED.pieces.len(), 3);
    for (name, expected) in &EXPECTED.pieces {
        let tokenizer = pol_data::Tokenizer::from_json(&json(&metadata(name))).unwrap();
        assert_eq!(expected.sentencepiece.len(), EXPECTED.texts.len());
        for (text, tokens) in EXPECTED.texts.iter().zip(&expected.sentencepiece) {
            let found = tokenizer.encode(text).unwrap();
            // SentencePiece does not know the tokens that were added to its vocabulary.
            let knows_more = name != "gemma" && text.contains("<think>");
            assert!(found == *tokens || knows_more, "{name} {text:?}: {found:?} {tokens:?}");
            // The character that stands for a space comes back as one, and a space follows an added
            // token.
            if !(name == "llama" && knows_more) {
                let back = text.replace('\u{2581}', " ");
                assert_eq!(tokenizer.decode(&found).unwrap(), back, "{name}");
            }
        }
    }
}

#[test]
fn pieces_are_cut_as_transformers_cuts_them() {
    for (name, PieceTokens { transformers, .. }) in &EXPECTED.pieces {
        let json = json(&metadata(name));
        let checked = check(json.clone(), "test", 600, None).unwrap();
        assert_eq!(checked.begin, Some(1));
        let tokenizer = Tokenizer::from_bytes(json).unwrap();
        let all = EXPECTED.texts.iter().zip(&transformers.tokens).zip(&transformers.texts);
        for ((text, tokens), decoded) in all {
            // Its reader of GGUF has no tab from which it could merge two.
            if name == "gemma" && text.contains("\t\t") {
                continue;
            }
            let found = tokenizer.encode(text.as_str(), false).unwrap();
            assert_eq!(found.get_ids(), tokens, "{name} {text:?}");
            assert_eq!(&tokenizer.decode(tokens, false).unwrap(), decoded, "{name} {text:?}");
            let whole = tokenizer.encode(text.as_str(), true).unwrap();
            assert_eq!(whole.get_ids(), [&[1], tokens.as_slice()].concat());
        }
    }
}

#[test]
fn words_are_those_of_each_family() {
    let mut metadata = metadata("pairs");
    assert_eq!(EXPECTED.pairs.len(), 14);
    for (name, expected) in &EXPECTED.pairs {
        metadata.insert("tokenizer.ggml.pre".into(), Value::Text(name.clone()));
        let tokenizer = pol_data::Tokenizer::from_json(&json(&metadata)).unwrap();
        let composes = tokenizer.inner().get_normalizer().is_some();
        for (text, tokens) in EXPECTED.texts.iter().zip(expected) {
            let found = tokenizer.encode(text).unwrap();
            assert_eq!(&found, tokens, "{name} {text:?}");
            let is_composed = !text.contains('\u{301}');
            if is_composed || !composes {
                assert_eq!(&tokenizer.decode(&found).unwrap(), text, "{name}");
            }
        }
    }
    // No two of them are alike, but for the words that LLaMA 3 does not merge.
    let all: BTreeSet<_> = EXPECTED.pairs.values().collect();
    assert_eq!(all.len(), EXPECTED.pairs.len());
}

#[test]
fn families_from_before_names_are_known_by_their_architecture() {
    let mut metadata = metadata("pairs");
    for (architecture, name) in [("gpt2", "gpt-2"), ("gptneox", "mpt"), ("falcon", "falcon")] {
        metadata.insert("general.architecture".into(), Value::Text(architecture.into()));
        let with_pre = |pre: Option<&str>| {
            let mut metadata = metadata.clone();
            metadata.remove("tokenizer.ggml.pre");
            let pre = pre.map(|pre| ("tokenizer.ggml.pre".into(), Value::Text(pre.into())));
            metadata.extend(pre);
            json(&metadata)
        };
        assert_eq!(with_pre(None), with_pre(Some(name)));
        assert_eq!(with_pre(Some("default")), with_pre(Some(name)));
    }
    // Models of this architecture split words in many ways.
    metadata.insert("general.architecture".into(), Value::Text("llama".into()));
    for pre in ["default", "falcon3"] {
        metadata.insert("tokenizer.ggml.pre".into(), Value::Text(pre.into()));
        let text = from_metadata(&metadata, "test").unwrap_err().to_string();
        assert!(text.contains("splits words") || text.contains("how it splits"), "{text}");
    }
}

/// Vocabularies in the folder `models` of llama.cpp that have texts and tokens beside them, which
/// the original tokenizers made.
const VOCABULARIES: [&str; 12] = [
    "llama-spm",
    "phi-3",
    "gpt-2",
    "mpt",
    "starcoder",
    "refact",
    "command-r",
    "llama-bpe",
    "qwen2",
    "falcon",
    "deepseek-llm",
    "deepseek-coder",
];

#[test]
fn vocabularies_of_llama_cpp_give_the_tokens_of_their_originals() {
    let Some(folder) = env::var_os("POL_LLAMA_CPP") else {
        eprintln!("skipped: POL_LLAMA_CPP does not name a folder with llama.cpp's sources");
        return;
    };
    let folder = Path::new(&folder).join("models");
    for name in VOCABULARIES {
        let read = |end: &str| {
            let path = folder.join(format!("ggml-vocab-{name}.gguf{end}"));
            fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let json = json(&gguf::read(Box::new(read(""))).unwrap().0);
        let tokenizer = Tokenizer::from_bytes(json).unwrap();
        let (texts, tokens) = (read(".inp"), read(".out"));
        let texts = str::from_utf8(&texts).unwrap().split("\n__ggml_vocab_test__\n");
        let mut tokens = str::from_utf8(&tokens).unwrap().lines();
        for text in texts {
            let expected = tokens.next().unwrap_or_default().split_whitespace();
            let expected: Vec<u32> = expected.map(|token| token.parse().unwrap()).collect();
            let found = tokenizer.encode(text, false).unwrap();
            assert_eq!(found.get_ids(), expected, "{name} {text:?}");
        }
        assert_eq!(tokens.next(), None);
    }
}
