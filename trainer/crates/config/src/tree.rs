// SPDX-License-Identifier: Apache-2.0

//! TOML and JSON as one tree of values.

use crate::ConfigError;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Parses TOML, or JSON if the text begins with a brace. Both parsers bound the depth: JSON at 128
/// levels, TOML at 80.
///
/// # Errors
///
/// Fails if the text has another form, if it is no table of keys, if a key stands there twice, or
/// if a number is not finite.
pub fn parse_tree(text: &str) -> Result<Map<String, Value>, ConfigError> {
    let text = text.trim_start_matches('\u{feff}');
    let is_json = text.trim_start().starts_with('{');
    let (format, parsed) = if is_json {
        ("JSON", serde_json::from_str(text).map_err(|error| error.to_string()))
    } else {
        ("TOML", toml::from_str(text).map_err(|error| place_in(text, &error)))
    };
    match parsed {
        Ok(Tree(Value::Object(tree))) => Ok(tree),
        Ok(_) => Err(ConfigError::NoKeys),
        // Whoever wrote a list in JSON did not mean TOML.
        Err(_) if !is_json && serde_json::from_str::<IgnoredAny>(text).is_ok() => {
            Err(ConfigError::NoKeys)
        }
        Err(reason) => Err(ConfigError::Syntax { format, reason: reason.trim_end().into() }),
    }
}

/// Returns an error with its place. Its own form repeats the line, which may hold a secret.
fn place_in(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

/// A value without repeated keys and without numbers that are not finite. `serde_json::Value` would
/// take the last of two values, and `null` for such a number.
struct Tree(Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor).map(Self)
    }
}

/// Key under which serde_json hands over a number as text, where a crate of the program asks for
/// its feature `arbitrary_precision`.
const NUMBER: &str = "$serde_json::private::Number";

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom(format!("{value} is not finite; give a number")))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Tree(value)) = access.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if key == NUMBER {
                return number(&access.next_value::<String>()?);
            }
            if values.contains_key(&key) {
                return Err(A::Error::custom(format!("{key:?} stands there twice; remove one")));
            }
            let Tree(value) = access.next_value()?;
            values.insert(key, value);
        }
        Ok(values.into())
    }
}

fn number<E: Error>(text: &str) -> Result<Value, E> {
    let integer = text.parse::<i64>().map(Value::from);
    if let Ok(integer) = integer.or_else(|_| text.parse::<u64>().map(Value::from)) {
        return Ok(integer);
    }
    TreeVisitor.visit_f64(text.parse().map_err(E::custom)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        parse_tree(text).unwrap_err().to_string()
    }

    #[test]
    fn both_formats_give_the_same_tree() {
        let json = parse_tree("\u{feff} {\"a\": {\"b\": [1, -2, 0.5, \"x\", true]}}").unwrap();
        assert_eq!(json, parse_tree("[a]\nb = [1, -2, 0.5, \"x\", true]\n").unwrap());
        assert_eq!(parse_tree("{\"a\": null}").unwrap()["a"], Value::Null);
        let integers = parse_tree("{\"a\": [18446744073709551615, -9223372036854775808]}").unwrap();
        assert_eq!(integers["a"], serde_json::json!([u64::MAX, i64::MIN]));
        assert!(parse_tree("").unwrap().is_empty());
    }

    #[test]
    fn text_of_another_form_is_refused() {
        for (text, reason) in [
            ("{\"a\": 1, \"a\": 2}", "\"a\" stands there twice"),
            ("{\"a\": {\"b\": 1, \"b\": 2}}", "\"b\" stands there twice"),
            ("a = 1\na = 2", "duplicate key"),
            ("a = nan", "is not finite"),
            ("a = -inf", "is not finite"),
            ("{\"a\": 1e999}", "it is no JSON"),
            ("{", "it is no JSON"),
            ("[]", "it is JSON without keys"),
            (" [1, 2] ", "a JSON object such as {\"node\": {}}"),
            ("\"node\"", "it is JSON without keys"),
            ("just words", "it is no TOML"),
            ("a = 1\nkey = \"secret", "it is no TOML: line 2: "),
        ] {
            let error = refusal(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep =
            |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        assert!(refusal(&format!("{{\"a\": {}}}", deep("[", "]"))).contains("recursion limit"));
        assert!(refusal(&deep("{\"a\":", "}")).contains("recursion limit"));
        assert!(refusal(&format!("a = {}", deep("[", "]"))).contains("no TOML"));
        assert!(refusal(&format!("a = {}", deep("{a=", "}"))).contains("no TOML"));
        assert!(refusal(&format!("{}a = 1", "a.".repeat(100_000))).contains("no TOML"));
        assert!(refusal(&format!("[{}a]", "a.".repeat(100_000))).contains("no TOML"));
    }
}
