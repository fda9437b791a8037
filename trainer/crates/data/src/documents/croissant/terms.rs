// SPDX-License-Identifier: Apache-2.0

//! Terms of JSON-LD in descriptions, within limits.

use crate::DataError;
use serde_json::{Map, Value};

/// Maximum number of values of a property.
const MAX_ITEMS: usize = 10_000;
/// Maximum length in bytes of a text that is kept.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// Prefixes that terms are written with.
const PREFIXES: [&str; 7] =
    ["", "sc:", "cr:", "dct:", "schema:", "http://schema.org/", "https://schema.org/"];

/// Returns the error of a description that cannot be used.
pub(super) fn invalid(reason: String) -> DataError {
    DataError::InvalidCroissant(reason)
}

/// Returns `true` if `name` is a term of schema.org or Croissant, with any prefix.
pub(super) fn is_term(name: &str, term: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.strip_prefix(prefix) == Some(term))
}

/// Returns the values of a property. A single value is a list of one.
pub(super) fn items<'a>(
    object: &'a Map<String, Value>,
    term: &str,
) -> Result<impl Iterator<Item = &'a Value>, DataError> {
    let value = PREFIXES.iter().find_map(|prefix| object.get(&format!("{prefix}{term}")));
    let values = match value {
        None | Some(Value::Null) => &[],
        Some(Value::Array(values)) => values.as_slice(),
        Some(value) => std::slice::from_ref(value),
    };
    if values.len() > MAX_ITEMS {
        return Err(invalid(format!("{term} has {} values, more than {MAX_ITEMS}", values.len())));
    }
    Ok(values.iter())
}

/// Returns the values of a property as texts. Of objects, the text is in `field`, or is their name
/// or label. Values without a text are left out.
pub(super) fn texts(
    object: &Map<String, Value>,
    term: &str,
    field: &str,
) -> Result<Vec<String>, DataError> {
    let text_of = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Object(object) => [field, "@id", "@value", "name", "prov:label"]
            .iter()
            .find_map(|field| object.get(*field)?.as_str().map(str::to_owned)),
        _ => None,
    };
    let all: Vec<String> = items(object, term)?.filter_map(text_of).collect();
    match all.iter().find(|text| text.len() > MAX_TEXT_BYTES || text.contains('\0')) {
        Some(_) => Err(invalid(format!("a text of {term} is too long, or holds a NUL"))),
        None => Ok(all),
    }
}

/// Returns the only value of a property as a text.
pub(super) fn text(
    object: &Map<String, Value>,
    term: &str,
    field: &str,
) -> Result<Option<String>, DataError> {
    let mut all = texts(object, term, field)?;
    if all.len() > 1 {
        return Err(invalid(format!("{term} has several values")));
    }
    Ok(all.pop())
}
