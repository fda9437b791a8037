// SPDX-License-Identifier: Apache-2.0

//! Vocabularies of SentencePiece in GGUF, whose pieces are merged by their scores.
//!
//! A `tokenizer.json` has merges and no scores. Every pair of pieces whose join is a piece becomes
//! a merge, and the better the piece, the earlier it is made.

use super::{
    Around, BYTE, NORMAL, PASS_TOKENIZER, UNDEFINED, UNKNOWN, UNUSED, USER_DEFINED, added_tokens,
    is_padding, token_types, vocabulary,
};
use crate::files::gguf::{Metadata, Value};
use pol_data::{byte_entry, call_tokenizers, entry_byte};
use std::collections::{HashMap, HashSet};
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, Tokenizer,
    decoders::{
        byte_fallback::ByteFallback, fuse::Fuse, sequence::Sequence as Decoders, strip::Strip,
    },
    models::bpe::{BPE, Vocab},
    normalizers::{Prepend, Replace, Sequence as Normalizers},
};

/// Character that stands for a space.
const SPACE: &str = "\u{2581}";
/// Entry of the byte of a tab.
const TAB_BYTE: &str = "<0x09>";
/// Most bytes of a piece. Real ones have about a hundred.
const MAX_PIECE_BYTES: usize = 1 << 10;
/// Most bytes of all merges in memory. Gemma 3's half a million take a quarter.
const MAX_MERGE_BYTES: usize = 1 << 27;
/// Tokens that begin and end texts where a file does not name them, as in llama.cpp.
const DEFAULT_BEGIN: i128 = 1;
const DEFAULT_END: i128 = 2;

/// Creates the `tokenizer.json` of the vocabulary that the metadata of a GGUF file describe.
pub(super) fn from_metadata(metadata: &Metadata) -> Result<Vec<u8>, String> {
    let pieces = Pieces::new(metadata)?;
    let vocab = vocabulary(&pieces.names, &pieces.types)?;
    pieces.check_bytes()?;
    let unknown = pieces.unknown(metadata)?;
    for key in ["remove_extra_whitespaces", "precompiled_charsmap"] {
        let asks = match metadata.get(&format!("tokenizer.ggml.{key}")) {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Integers(map)) => !map.is_empty(),
            Some(_) => true,
        };
        if asks {
            return Err(format!(
                "changes texts before it cuts them (tokenizer.ggml.{key}), which is not \
                 supported{PASS_TOKENIZER}"
            ));
        }
    }
    let has_prefix = match metadata.get("tokenizer.ggml.add_space_prefix") {
        None => true,
        Some(&Value::Bool(has_prefix)) => has_prefix,
        Some(other) => {
            return Err(format!(
                "has {other:?} as tokenizer.ggml.add_space_prefix, which is neither true nor false"
            ));
        }
    };
    let ids = (Some(DEFAULT_BEGIN), Some(DEFAULT_END));
    let around = Around::new(metadata, &pieces.names, true, ids)?;
    let merges = pieces.merges(MAX_MERGE_BYTES)?;
    let json =
        call_tokenizers(|| pieces.tokenizer_json(vocab, merges, unknown, has_prefix, &around));
    json.map_err(|error| format!("cannot be put together: {error}"))
}

/// Pieces of a vocabulary, by number.
struct Pieces {
    names: Vec<String>,
    types: Vec<i64>,
    scores: Vec<f64>,
}

impl Pieces {
    fn new(metadata: &Metadata) -> Result<Self, String> {
        let get = |key: &str| metadata.get(&format!("tokenizer.ggml.{key}"));
        let Some(Value::Texts(names)) = get("tokens") else {
            return Err(format!("lacks its tokens{PASS_TOKENIZER}"));
        };
        let types = token_types(names, get("token_type"))?.ok_or_else(|| {
            format!("does not give each token a type (tokenizer.ggml.token_type){PASS_TOKENIZER}")
        })?;
        let scores = match get("scores") {
            Some(Value::Floats(scores)) => scores.clone(),
            Some(Value::Integers(scores)) => scores.iter().map(|&score| score as f64).collect(),
            _ => Vec::new(),
        };
        if scores.len() != names.len() {
            return Err(format!(
                "does not give each token a score (tokenizer.ggml.scores){PASS_TOKENIZER}"
            ));
        }
        if let Some(token) = scores.iter().position(|score| !score.is_finite()) {
            return Err(format!(
                "has {} as the score of token {token}, which is not a number{PASS_TOKENIZER}",
                scores[token]
            ));
        }
        let mut pieces = Self { names: names.clone(), types, scores };
        if let Some(Value::Text(architecture)) = metadata.get("general.architecture")
            && architecture.starts_with("gemma")
        {
            pieces.spell_as_gemma();
        }
        Ok(pieces)
    }

    /// Gives pieces the names that Gemma's own files have for them.
    fn spell_as_gemma(&mut self) {
        // SentencePiece never cuts these, so they are merged before all others. Converters write
        // spaces for them, at which llama.cpp cuts texts, and take their scores away.
        for id in 0..self.names.len() {
            let name = &mut self.names[id];
            if self.types[id] == USER_DEFINED
                && name.len() > 1
                && name.bytes().all(|byte| byte == b' ')
            {
                *name = SPACE.repeat(name.len());
                (self.types[id], self.scores[id]) = (NORMAL, f64::MAX);
            }
        }
        // Pieces with tabs are merged from tabs, for which there is a byte only.
        let tab = self.names.iter().position(|name| name == TAB_BYTE);
        if let Some(tab) = tab.filter(|_| !self.names.iter().any(|name| name == "\t")) {
            self.names[tab] = "\t".into();
            self.types[tab] = NORMAL;
        }
    }

    /// Returns the token of text that has no other.
    fn unknown(&self, metadata: &Metadata) -> Result<usize, String> {
        match metadata.get("tokenizer.ggml.unknown_token_id") {
            Some(&Value::Integer(id)) => {
                let known = usize::try_from(id).ok().filter(|&id| id < self.names.len());
                known.ok_or_else(|| format!("has {id} as its unknown token, which does not exist"))
            }
            _ => self
                .types
                .iter()
                .position(|&kind| kind == UNKNOWN)
                .ok_or_else(|| format!("has no unknown token{PASS_TOKENIZER}")),
        }
    }

    /// Checks that there is a piece for each byte, without which a text cannot come back.
    fn check_bytes(&self) -> Result<(), String> {
        let mut found = [false; 256];
        for (name, &kind) in self.names.iter().zip(&self.types) {
            // Text becomes the entry with capital digits only.
            match entry_byte(name).filter(|&byte| *name == byte_entry(byte)) {
                Some(byte) => found[usize::from(byte)] = true,
                None if name == "\t" => found[usize::from(b'\t')] = true,
                None if kind == BYTE => {
                    return Err(format!("has the byte {name:?}, which is not one"));
                }
                None => {}
            }
        }
        match found.iter().position(|found| !found) {
            None => Ok(()),
            Some(byte) => Err(format!(
                "lacks the byte {}, so there are texts that it cannot cut{PASS_TOKENIZER}",
                byte_entry(byte as u8)
            )),
        }
    }

    /// Returns all pairs of pieces whose join is a piece, from the best join to the worst. Fails if
    /// they take more than `max_bytes`.
    fn merges(&self, max_bytes: usize) -> Result<Vec<(String, String)>, String> {
        // Text is cut at pieces that a user defined before. It never becomes a special token, nor
        // the entry of a byte by its name.
        let is_text = |&id: &usize| {
            [NORMAL, UNUSED, UNDEFINED].contains(&self.types[id])
                && !is_padding(id, &self.names[id], Some(&self.types[id]))
        };
        let mut ids: Vec<usize> = (0..self.names.len()).filter(is_text).collect();
        let known: HashSet<&str> = ids.iter().map(|&id| self.names[id].as_str()).collect();
        // Equal scores are those of converters that know none. Pieces are in order then.
        ids.sort_by(|&left, &right| self.scores[right].total_cmp(&self.scores[left]));
        let (mut merges, mut bytes) = (Vec::new(), 0);
        for id in ids {
            let name = self.names[id].as_str();
            if name.len() > MAX_PIECE_BYTES {
                return Err(format!(
                    "has token {id} of {} bytes, more than {MAX_PIECE_BYTES}{PASS_TOKENIZER}",
                    name.len()
                ));
            }
            // As transformers orders the pairs of one piece: the longest first part is the first.
            for (middle, _) in name.char_indices().rev().filter(|&(middle, _)| middle > 0) {
                let (left, right) = name.split_at(middle);
                if known.contains(left) && known.contains(right) {
                    merges.push((left.to_owned(), right.to_owned()));
                    bytes += name.len() + size_of::<(String, String)>();
                }
            }
            if bytes > max_bytes {
                return Err(format!(
                    "has more pairs of pieces that make one than fit into {max_bytes} \
                     bytes{PASS_TOKENIZER}"
                ));
            }
        }
        Ok(merges)
    }

    fn tokenizer_json(
        self,
        vocab: HashMap<String, u32>,
        merges: Vec<(String, String)>,
        unknown: usize,
        has_prefix: bool,
        around: &Around,
    ) -> tokenizers::Result<Vec<u8>> {
        let model = BPE::builder()
            .vocab_and_merges(vocab.into_iter().collect::<Vocab>(), merges)
            .unk_token(self.names[unknown].clone())
            .fuse_unk(true)
            .byte_fallback(true)
            .build()?;
        let mut tokenizer = Tokenizer::new(model);
        let spaces = NormalizerWrapper::Replace(Replace::new(" ", SPACE)?);
        let mut decoders: Vec<DecoderWrapper> =
            vec![Replace::new(SPACE, " ")?.into(), ByteFallback::new().into(), Fuse::new().into()];
        if has_prefix {
            let prefix = Prepend::new(SPACE.to_owned()).into();
            tokenizer.with_normalizer(Some(Normalizers::new(vec![prefix, spaces])))?;
            decoders.push(Strip::new(' ', 1, 0).into());
        } else {
            tokenizer.with_normalizer(Some(spaces))?;
        }
        tokenizer.with_decoder(Some(Decoders::new(decoders)));
        tokenizer.with_post_processor(around.processor()?);
        tokenizer.add_tokens(added_tokens(&self.names, &self.types))?;
        Ok(tokenizer.to_string(false)?.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{CONTROL, check, from_metadata as import};
    use proptest::{collection::vec, prelude::*};

    /// Returns a vocabulary of an unknown token, two special ones, all bytes, and `pieces` with
    /// their types and scores.
    fn metadata(pieces: &[(&str, i64, f64)]) -> Metadata {
        let special = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)];
        let special = special.map(|(name, kind)| (name.to_owned(), kind, 0.0));
        let bytes = (0..=255).map(|byte| (format!("<0x{byte:02X}>"), BYTE, 0.0));
        let pieces = pieces.iter().map(|&(name, kind, score)| (name.to_owned(), kind, score));
        let all: Vec<_> = special.into_iter().chain(bytes).chain(pieces).collect();
        [
            ("model", Value::Text("llama".into())),
            ("tokens", Value::Texts(all.iter().map(|(name, ..)| name.clone()).collect())),
            ("token_type", Value::Integers(all.iter().map(|&(_, kind, _)| kind).collect())),
            ("scores", Value::Floats(all.iter().map(|&(.., score)| score).collect())),
        ]
        .map(|(key, value)| (format!("tokenizer.ggml.{key}"), value))
        .into()
    }

    /// Number of the first piece.
    const FIRST: u32 = 259;
    const PIECES: [(&str, i64, f64); 7] = [
        ("ab", NORMAL, -1.0),
        ("bc", NORMAL, 0.0),
        ("a", NORMAL, -2.0),
        ("b", NORMAL, -3.0),
        ("c", NORMAL, -4.0),
        (SPACE, NORMAL, -5.0),
        ("<c>", USER_DEFINED, -1000.0),
    ];

    fn changed(key: &str, value: Value) -> Metadata {
        let mut metadata = metadata(&PIECES);
        metadata.insert(format!("tokenizer.ggml.{key}"), value);
        metadata
    }

    fn tokenizer(metadata: &Metadata) -> Tokenizer {
        Tokenizer::from_bytes(from_metadata(metadata).unwrap()).unwrap()
    }

    fn tokens(metadata: &Metadata, text: &str) -> Vec<u32> {
        tokenizer(metadata).encode(text, true).unwrap().get_ids().to_vec()
    }

    #[test]
    fn better_pieces_are_merged_first() {
        let space = FIRST + 5;
        // Not "ab" and "c": the better piece is behind.
        assert_eq!(tokens(&metadata(&PIECES), "abc"), [1, space, FIRST + 2, FIRST + 1]);
        let all = metadata(&[]);
        let Some(Value::Floats(scores)) = all.get("tokenizer.ggml.scores") else { panic!() };
        let unscored = vec![-1000.0; scores.len() + PIECES.len()];
        // Without scores, the order of the vocabulary counts.
        let unscored = changed("scores", Value::Floats(unscored));
        assert_eq!(tokens(&unscored, "abc"), [1, space, FIRST, FIRST + 4]);
        let integers = vec![7; scores.len() + PIECES.len()];
        let unscored = changed("scores", Value::Integers(integers));
        assert_eq!(tokens(&unscored, "abc"), [1, space, FIRST, FIRST + 4]);
    }

    #[test]
    fn texts_begin_and_end_as_the_file_says() {
        let (a, space) = (FIRST + 2, FIRST + 5);
        let flags = |begins, ends, prefix| {
            let mut metadata = metadata(&PIECES);
            for (key, flag) in
                [("add_bos_token", begins), ("add_eos_token", ends), ("add_space_prefix", prefix)]
            {
                metadata.insert(format!("tokenizer.ggml.{key}"), Value::Bool(flag));
            }
            metadata
        };
        assert_eq!(tokens(&flags(false, false, true), "a"), [space, a]);
        assert_eq!(tokens(&flags(true, true, false), "a"), [1, a, 2]);
        assert_eq!(tokens(&flags(false, true, false), "a"), [a, 2]);
        let mut other = flags(true, false, false);
        other.insert("tokenizer.ggml.bos_token_id".into(), Value::Integer(2));
        assert_eq!(tokens(&other, "a"), [2, a]);
        let json = import(&other, "test").unwrap().unwrap();
        assert_eq!(check(json, "test", 300, None).unwrap().begin, Some(2));
        // A special token in a text begins a text of its own.
        assert_eq!(tokens(&metadata(&PIECES), "a</s>a<c>"), [1, space, a, 2, space, a, FIRST + 6]);
    }

    #[test]
    fn rows_without_a_piece_stand_for_no_text() {
        let padding = |name| (name, UNUSED, -10_000.0);
        let text = [("a", NORMAL, 0.0), ("[", NORMAL, 0.0), (SPACE, NORMAL, 0.0)];
        let pieces = [&[padding("[PAD259]")][..], &text, &[padding("[PAD263]")]].concat();
        let json = from_metadata(&metadata(&pieces)).unwrap();
        assert_eq!(check(json.clone(), "test", 264, None).unwrap().report.entries, 263);
        let tokenizer = pol_data::Tokenizer::from_json(&json).unwrap();
        assert_eq!(tokenizer.decode(&[259, 260, 263]).unwrap(), "a");
        let tokens = tokenizer.encode("[PAD259]").unwrap();
        assert!(!tokens.contains(&259), "{tokens:?}");
        assert_eq!(tokenizer.decode(&tokens).unwrap(), "[PAD259]");
    }

    #[test]
    fn text_is_no_special_token() {
        let pieces = [("<", NORMAL, 0.0), ("s>", NORMAL, 0.0), ("<0x4", NORMAL, 0.0)];
        let bytes = [("1>", NORMAL, 0.0), ("<unk", NORMAL, 0.0), (">", NORMAL, 0.0)];
        let all = [&pieces[..], &bytes, &[(SPACE, NORMAL, 0.0)]].concat();
        let json = from_metadata(&metadata(&all)).unwrap();
        let tokenizer = pol_data::Tokenizer::from_json(&json).unwrap();
        for text in ["<s>", "<unk>", "<0x41>", "a<s><s>"] {
            let tokens = tokenizer.encode(text).unwrap();
            assert!(tokens.len() > 1 && !tokens.iter().any(|&token| token < 3), "{tokens:?}");
            assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
        }
    }

    #[test]
    fn metadata_that_do_not_fit_are_refused() {
        let refused = |metadata: &Metadata| import(metadata, "test").unwrap_err().to_string();
        let size = FIRST as usize + PIECES.len();
        let floats =
            |count, first| Value::Floats([first].into_iter().chain(vec![0.0; count - 1]).collect());
        let types = |first| Value::Integers([first].into_iter().chain(vec![1; size - 1]).collect());
        for (metadata, says) in [
            (changed("scores", Value::Bool(true)), "does not give each token a score"),
            (changed("scores", floats(size - 1, 0.0)), "does not give each token a score"),
            (changed("scores", floats(size + 1, 0.0)), "does not give each token a score"),
            (changed("scores", floats(size, f64::NAN)), "NaN as the score of token 0"),
            (changed("scores", floats(size, f64::INFINITY)), "inf as the score of token 0"),
            (changed("token_type", Value::Integers(vec![1; 3])), "each token a type"),
            (changed("token_type", types(7)), "7 as the type of token 0"),
            (changed("token_type", types(-1)), "-1 as the type of token 0"),
            (changed("token_type", types(6)), "the byte \"<unk>\", which is not one"),
            (changed("token_type", types(1)), "has no unknown token"),
            (changed("tokens", Value::Texts(vec![String::new(); size])), "the token \"\" twice"),
            (changed("tokens", Value::Bool(true)), "lacks its tokens"),
            (changed("unknown_token_id", Value::Integer(999)), "999 as its unknown token"),
            (changed("unknown_token_id", Value::Integer(-1)), "-1 as its unknown token"),
            (changed("bos_token_id", Value::Integer(i128::MAX)), "begins texts with token 1701"),
            (changed("add_space_prefix", Value::Integer(1)), "neither true nor false"),
            (changed("remove_extra_whitespaces", Value::Bool(true)), "remove_extra_whitespaces"),
            (changed("precompiled_charsmap", Value::Integers(vec![1])), "precompiled_charsmap"),
        ] {
            let text = refused(&metadata);
            assert!(text.contains(says) && text.starts_with("the tokenizer of test "), "{text}");
        }
        for key in ["tokens", "scores", "token_type"] {
            let mut metadata = metadata(&PIECES);
            metadata.remove(&format!("tokenizer.ggml.{key}"));
            assert!(refused(&metadata).contains("--tokenizer"), "{key}");
        }
        let mut metadata = metadata(&PIECES);
        let Some(Value::Texts(tokens)) = metadata.get_mut("tokenizer.ggml.tokens") else {
            panic!();
        };
        tokens[3 + 0xAB] = "<0xab>".into();
        assert!(refused(&metadata).contains("the byte \"<0xab>\", which is not one"));
        let Some(Value::Integers(types)) = metadata.get_mut("tokenizer.ggml.token_type") else {
            panic!();
        };
        types[3 + 0xAB] = NORMAL;
        assert!(refused(&metadata).contains("lacks the byte <0xAB>"));
    }

    #[test]
    fn vocabularies_that_take_too_much_are_refused() {
        let long = "a".repeat(MAX_PIECE_BYTES + 1);
        let text = from_metadata(&metadata(&[(&long, NORMAL, 0.0)])).unwrap_err();
        assert!(text.contains("token 259 of 1025 bytes"), "{text}");
        // Texts are cut at it before pieces are merged.
        assert!(from_metadata(&metadata(&[(&long, USER_DEFINED, 0.0)])).is_ok());
        let runs: Vec<String> = (1..=100).map(|length| "a".repeat(length)).collect();
        let runs: Vec<_> = runs.iter().map(|run| (run.as_str(), NORMAL, 0.0)).collect();
        let pieces = Pieces::new(&metadata(&runs)).unwrap();
        assert_eq!(pieces.merges(1 << 20).unwrap().len(), 99 * 100 / 2);
        let text = pieces.merges(1 << 18).unwrap_err();
        assert!(text.contains("than fit into 262144 bytes"), "{text}");
    }

    proptest! {
        #[test]
        fn no_vocabulary_ends_the_process(
            pieces in vec(("[ab<>\u{2581} \t]{0,3}", 0i64..8, -9f64..9.0), 0..9),
            text in "[ab<>/s \t\u{2581}é]{0,9}",
            architecture in "llama|gemma",
        ) {
            let pieces: Vec<_> =
                pieces.iter().map(|(name, kind, score)| (name.as_str(), *kind, *score)).collect();
            let mut metadata = metadata(&pieces);
            metadata.insert("general.architecture".into(), Value::Text(architecture));
            if let Ok(Some(json)) = import(&metadata, "test") {
                check(json.clone(), "test", 300, None).unwrap();
                let tokenizer = pol_data::Tokenizer::from_json(&json).unwrap();
                let tokens = tokenizer.encode(&text).unwrap();
                prop_assert!(!tokens.iter().any(|&token| token < 3));
            }
        }
    }
}
