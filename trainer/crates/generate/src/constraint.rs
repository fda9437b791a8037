// SPDX-License-Identifier: Apache-2.0

//! Texts in JSON of a given form: the tokens that may follow are known before each draw.
//!
//! [llguidance](https://github.com/guidance-ai/llguidance) turns a JSON Schema into a grammar, and
//! walks the vocabulary as a tree to find the tokens that continue it. All its work is bounded.

use crate::Error;
use llguidance::{
    Matcher, ParserFactory,
    api::{ParserLimits, TopLevelGrammar},
    toktrie::{ApproximateTokEnv, INVALID_TOKEN, SimpleVob, TokEnv, TokRxInfo, TokTrie},
};
use serde_json::{Value, json};
use std::{fmt, sync::Arc};

/// Largest schema, in bytes of JSON.
pub const MAX_SCHEMA_BYTES: usize = 64 << 10;
/// Most levels of nested values of a schema.
const MAX_DEPTH: usize = 48;
/// Largest number of elements that a schema can name.
const MAX_ELEMENTS: u64 = 1_024;
/// Largest length of a string that a schema can name, and most repetitions in a pattern.
const MAX_LENGTH: u64 = 8_192;
/// Longest token that can be part of a text in JSON, in bytes. The tree of the vocabulary has at
/// most 1,024 levels.
const MAX_TOKEN_BYTES: usize = 512;
/// Most bytes of all tokens. The tree has at most four million nodes.
const MAX_VOCABULARY_BYTES: usize = 4_000_000;
/// Bounds of the work for a schema and for each token: some 20 ms for the grammar and 10 ms for a
/// mask by the measurements of the library's authors, and 40 MB of states.
const LIMITS: ParserLimits = ParserLimits {
    max_items_in_row: 2_000,
    initial_lexer_fuel: 1_000_000,
    step_lexer_fuel: 100_000,
    step_max_items: 50_000,
    max_lexer_states: 20_000,
    max_grammar_size: 100_000,
    precompute_large_lexemes: false,
    verbose_errors: false,
};
/// Longest reason of a refusal, in characters.
const MAX_REASON: usize = 300;
/// Mark before the names of special tokens, which no text in JSON contains.
const SPECIAL: u8 = TokTrie::SPECIAL_TOKEN_MARKER;

/// Maker of constraints for one vocabulary.
pub(crate) struct ConstraintFactory(ParserFactory);

/// Constraint of one text to a form.
pub struct Constraint {
    matcher: Matcher,
    /// Tokens that may follow, once they are computed.
    mask: Option<Result<SimpleVob, String>>,
}

impl ConstraintFactory {
    /// Creates the factory for a vocabulary of `words`, of which `ends` end a text. Special tokens
    /// have their names behind a byte that no text has.
    pub(crate) fn new(mut words: Vec<Vec<u8>>, ends: &[u32]) -> Result<Self, String> {
        for word in words.iter_mut().filter(|word| word.len() > MAX_TOKEN_BYTES) {
            word.clear();
        }
        let mut ends = ends.to_vec();
        ends.retain(|&end| (end as usize) < words.len());
        for &end in &ends {
            // A token that ends a text is no part of one.
            words[end as usize] = [&[SPECIAL][..], end.to_string().as_bytes()].concat();
        }
        if words.iter().map(Vec::len).sum::<usize>() > MAX_VOCABULARY_BYTES {
            return Err("its vocabulary is too large for texts of a given form".into());
        }
        let size = u32::try_from(words.len()).map_err(|error| error.to_string())?;
        let trie = TokTrie::from(&TokRxInfo::new(size, INVALID_TOKEN), &words);
        let trie = if ends.is_empty() { trie } else { trie.with_eos_tokens(&ends) };
        let vocabulary: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory =
            ParserFactory::new_simple(&vocabulary).map_err(|error| error.to_string())?;
        *factory.quiet().limits_mut() = LIMITS;
        Ok(Self(factory))
    }

    /// Returns the constraint to JSON that `schema` describes.
    pub(crate) fn constraint(&self, schema: &Value) -> Result<Constraint, Error> {
        let schema = checked(schema).map_err(Error::Schema)?;
        let parser = self.0.create_parser(TopLevelGrammar::from_json_schema(schema));
        let parser = parser.map_err(|error| Error::Schema(explain(&error.to_string())))?;
        Ok(Constraint { matcher: Matcher::new(Ok(parser)), mask: None })
    }
}

impl Constraint {
    /// Computes the tokens that may follow, unless that is done.
    pub(crate) fn prepare(&mut self) {
        let compute = || self.matcher.compute_mask().map_err(|error| explain(&error.to_string()));
        self.mask.get_or_insert_with(compute);
    }

    /// Rules out all tokens that may not follow.
    pub(crate) fn apply(&mut self, logits: &mut [f32]) -> Result<(), Error> {
        self.prepare();
        let mask = self.mask.take().unwrap_or_else(|| Err(String::new())).map_err(Error::Form)?;
        let (words, len) = (mask.as_slice(), mask.len());
        let mut is_empty = true;
        for (token, logit) in logits.iter_mut().enumerate() {
            let word = words.get(token / 32).copied().unwrap_or(0);
            if token < len && word >> (token % 32) & 1 == 1 {
                is_empty = false;
            } else {
                *logit = f32::NEG_INFINITY;
            }
        }
        if is_empty {
            return Err(Error::Form("no token of the vocabulary continues the text".into()));
        }
        Ok(())
    }

    /// Notes that `token` follows.
    pub(crate) fn accept(&mut self, token: u32) -> Result<(), Error> {
        self.mask = None;
        let accepted = self.matcher.consume_token(token);
        accepted.map_err(|error| Error::Form(explain(&error.to_string())))
    }

    /// Returns `true` if nothing can follow.
    pub(crate) fn is_complete(&self) -> bool {
        self.matcher.is_stopped()
    }
}

impl Clone for Constraint {
    /// Copies the state, so that nothing is shared by texts.
    fn clone(&self) -> Self {
        Self { matcher: self.matcher.deep_clone(), mask: self.mask.clone() }
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Constraint").finish_non_exhaustive()
    }
}

/// Returns the schema with the separators of JSON, if it is within the bounds. A fixed spelling
/// keeps a model from writing spaces for ever.
fn checked(schema: &Value) -> Result<Value, String> {
    let Value::Object(_) = schema else { return Err("a JSON Schema is an object".into()) };
    if schema.to_string().len() > MAX_SCHEMA_BYTES {
        return Err(format!("it is larger than {MAX_SCHEMA_BYTES} bytes; describe less"));
    }
    check_bounds(schema, MAX_DEPTH)?;
    let mut schema = schema.clone();
    schema["x-guidance"] = json!({
        "item_separator": ", ", "key_separator": ": ", "whitespace_flexible": false,
    });
    Ok(schema)
}

/// Checks the depth of a schema, and the numbers in it that a grammar would pay for.
fn check_bounds(value: &Value, depth: usize) -> Result<(), String> {
    if depth == 0 {
        return Err(format!("its values are nested deeper than {MAX_DEPTH} levels; flatten it"));
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| check_bounds(item, depth - 1)),
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            let most = match name.as_str() {
                "minItems" | "maxItems" | "minProperties" | "maxProperties" => MAX_ELEMENTS,
                "minLength" | "maxLength" => MAX_LENGTH,
                _ => u64::MAX,
            };
            if value.as_f64().is_some_and(|value| value > most as f64) {
                return Err(format!("{name} is more than {most}; leave it out"));
            }
            if let ("pattern", Value::String(pattern)) = (name.as_str(), value)
                && repetitions(pattern) > MAX_LENGTH
            {
                return Err(format!("a pattern repeats more than {MAX_LENGTH} times; shorten it"));
            }
            check_bounds(value, depth - 1)
        }),
        _ => Ok(()),
    }
}

/// Returns the largest number of repetitions in a pattern, as of `{2,9}`.
fn repetitions(pattern: &str) -> u64 {
    let bounds = pattern.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let numbers = bounds.flat_map(|bounds| bounds.split(','));
    let all = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = numbers.map(str::trim).filter(|digits| all(digits));
    numbers.map(|digits| digits.parse().unwrap_or(u64::MAX)).max().unwrap_or(0)
}

/// Returns an error of the library on one line, without options that nobody has here.
fn explain(error: &str) -> String {
    if error.starts_with("panic") {
        return "the library for it fails".into();
    }
    if error.contains("NoExtensionBias") {
        let reason = "no text fits the schema: it excludes everything, as a $ref does that leads \
                      back to itself; describe a value";
        return reason.into();
    }
    let line = error.replace(" without 'referencing' feature", "").replace("<non-verbose/>", "");
    let line = line.split_once(". Enable ").map_or(line.as_str(), |(reason, _)| reason);
    let words: Vec<&str> = line.split_whitespace().collect();
    words.join(" ").chars().take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Completion, FinishReason, NativeModel, Request, Sampling, generate, text::tests::BYTES,
    };
    use pol_model::initial_parameters;
    use pol_primitives::model::ModelSpec;
    use std::ops::ControlFlow;

    /// Returns a random model, which knows nothing of JSON.
    fn model() -> NativeModel {
        let spec = ModelSpec::gpt2(260, 32, 2, 4, 64, 400);
        let flat: Vec<f32> =
            initial_parameters(&spec, &[5; 32]).into_iter().map(|value| value * 6.0).collect();
        NativeModel::new(&spec, &flat, 1).unwrap()
    }

    fn request(schema: &Value, seed: u64) -> Request {
        Request {
            prompt: BYTES.encode("x").unwrap(),
            max_tokens: 300,
            sampling: Sampling { temperature: 1.5, seed, ..Sampling::default() },
            constraint: Some(BYTES.constraint(schema).unwrap()),
            ..Request::default()
        }
    }

    fn write(requests: &[Request]) -> Vec<Completion> {
        generate(&model(), &BYTES, requests, |_, _| ControlFlow::Continue(())).unwrap()
    }

    fn refusal(schema: &Value) -> String {
        BYTES.constraint(schema).unwrap_err().to_string()
    }

    #[test]
    fn a_text_has_the_form_of_its_schema() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 12},
                "kind": {"enum": ["small", "large"]},
                "people": {"type": "integer", "minimum": 1, "maximum": 99},
                "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
            },
            "required": ["city", "kind", "people", "tags"],
            "additionalProperties": false,
        });
        for done in write(&(0..6).map(|seed| request(&schema, seed)).collect::<Vec<_>>()) {
            let text: Value = serde_json::from_str(&done.text).unwrap();
            assert_eq!(done.finish, FinishReason::End, "{}", done.text);
            let names: Vec<&String> = text.as_object().unwrap().keys().collect();
            assert_eq!(names, ["city", "kind", "people", "tags"]);
            assert!((1..100).contains(&text["people"].as_i64().unwrap()));
            assert!(text["tags"].as_array().unwrap().len() <= 3);
        }
    }

    #[test]
    fn the_text_is_the_same_in_any_company() {
        let (one, other) = (json!({"enum": ["a", "b", "c"]}), json!({"type": "object"}));
        let free = Request { constraint: None, ..request(&one, 3) };
        let requests = [request(&one, 3), free, request(&other, 4), request(&one, 9)];
        let together = write(&requests);
        for (request, done) in requests.iter().zip(together) {
            assert_eq!(write(std::slice::from_ref(request)), [done]);
        }
    }

    #[test]
    fn lengths_and_stops_end_a_text_early() {
        let schema = json!({"type": "string", "minLength": 50});
        let short = Request { max_tokens: 9, ..request(&schema, 1) };
        let stopped = Request { stop: vec!["\"".into()], ..request(&schema, 1) };
        let ends: Vec<_> = write(&[short, stopped]).into_iter().map(|done| done.finish).collect();
        assert_eq!(ends, [FinishReason::Length, FinishReason::Stop("\"".into())]);
    }

    #[test]
    fn schemas_are_bounded() {
        let mut deep = json!({});
        for _ in 0..60 {
            deep = json!({"not": deep});
        }
        assert!(refusal(&deep).contains("nested deeper"));
        assert!(refusal(&json!({"const": "x".repeat(MAX_SCHEMA_BYTES)})).contains("larger than"));
        assert!(refusal(&json!("string")).contains("is an object"));
        for (name, value) in [
            ("minItems", json!(1e12)),
            ("maxLength", json!(10_000_000)),
            ("pattern", json!("^(a{9000}){1,9}$")),
            ("pattern", json!("^(((a{900}){900}){900}){900}b$")),
        ] {
            let schema = json!({"type": ["array", "string"], name: value});
            let made = BYTES.constraint(&schema);
            assert!(made.is_err() || value.is_string(), "{schema}");
        }
    }

    #[test]
    fn a_schema_that_excludes_everything_is_explained() {
        let schema = json!({"$ref": "#"});
        let error = match BYTES.constraint(&schema) {
            Ok(mut constraint) => constraint.apply(&mut [0.0; 260]).unwrap_err(),
            Err(error) => error,
        };
        let text = error.to_string();
        assert!(text.contains("leads back to itself") && !text.contains("Bias"), "{text}");
    }

    #[test]
    fn features_that_the_library_lacks_are_named() {
        for (schema, text) in [
            (json!({"type": "object", "if": {}, "then": {}}), "if"),
            (json!({"type": "array", "uniqueItems": true}), "uniqueItems"),
            (json!({"oneOf": [{"type": "string"}, {"minLength": 3, "type": "string"}]}), "oneOf"),
            (json!({"$ref": "#/definitions/none"}), "none"),
            (json!({"type": "nothing"}), "nothing"),
            (json!({"type": "string", "pattern": "("}), ""),
            (json!({"enum": []}), ""),
        ] {
            let error = refusal(&schema);
            assert!(error.contains(text) && !error.contains("coerce"), "{error}");
        }
    }
}
