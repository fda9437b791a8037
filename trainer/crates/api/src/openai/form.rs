// SPDX-License-Identifier: Apache-2.0

//! Forms that answers can have, as JSON Schemas.

use crate::error::ApiError;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// Form of an answer.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", expecting = "an object with a type")]
pub(crate) enum ResponseFormat {
    /// Text of any form.
    Text,
    /// An object in JSON.
    JsonObject,
    /// JSON that a schema describes.
    JsonSchema {
        /// Schema and its name.
        json_schema: NamedSchema,
    },
}

/// JSON Schema with a name.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with a name and a schema")]
pub(crate) struct NamedSchema {
    /// Name of the schema.
    #[expect(dead_code, reason = "clients have to send it")]
    name: String,
    /// Ignored.
    #[expect(dead_code, reason = "clients send it")]
    description: Option<String>,
    /// The schema; any object if it is missing.
    #[schema(value_type = Option<Object>)]
    schema: Option<Value>,
    /// Ignored: answers always have the form.
    #[expect(dead_code, reason = "clients send it")]
    strict: Option<bool>,
}

impl ResponseFormat {
    /// Returns the schema of answers; `None` for any text.
    pub(crate) fn schema(self) -> Option<Value> {
        match self {
            Self::Text => None,
            Self::JsonObject => Some(json!({ "type": "object" })),
            Self::JsonSchema { json_schema: NamedSchema { schema, .. } } => {
                Some(schema.unwrap_or_else(|| json!({ "type": "object" })))
            }
        }
    }
}

/// Refuses a receipt for a text of a given form.
pub(crate) fn refuse_receipt(receipt: bool, has_form: bool) -> Result<(), ApiError> {
    if receipt && has_form {
        let remedy = "a receipt cannot name the form of a text; ask for a text of any form";
        return Err(ApiError::Unsupported { parameter: "pol_receipt", remedy });
    }
    Ok(())
}

/// Returns the schema of what one of `schemas` describes.
pub(crate) fn any_of(schemas: Vec<Value>) -> Value {
    let moved = schemas.into_iter().enumerate();
    let moved: Vec<Value> =
        moved.map(|(index, schema)| at(schema, &format!("/anyOf/{index}"))).collect();
    json!({ "anyOf": moved })
}

/// Returns the schema of a call of the function `name` with arguments as `parameters` describes
/// them.
pub(crate) fn call(name: &str, parameters: Option<Value>) -> Value {
    let nothing = || json!({ "type": "object", "additionalProperties": false });
    let arguments = at(parameters.unwrap_or_else(nothing), "/properties/arguments");
    json!({
        "type": "object",
        "properties": { "name": { "const": name }, "arguments": arguments },
        "required": ["name", "arguments"],
        "additionalProperties": false,
    })
}

/// Returns a schema whose references hold at the place `path` of another one.
fn at(schema: Value, path: &str) -> Value {
    match schema {
        Value::Array(items) => items.into_iter().map(|item| at(item, path)).collect(),
        Value::Object(fields) => {
            let moved = fields.into_iter().map(|(name, value)| {
                let value = match (name.as_str(), value) {
                    ("$ref", Value::String(to)) => match to.strip_prefix('#') {
                        Some(rest) => format!("#{path}{}", rest.trim_end_matches('/')).into(),
                        None => to.into(),
                    },
                    (_, value) => at(value, path),
                };
                (name, value)
            });
            Value::Object(moved.collect::<Map<_, _>>())
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_hold_where_a_schema_is_moved_to() {
        let point = json!({
            "$defs": {"number": {"type": "number"}},
            "type": "object",
            "properties": {"x": {"$ref": "#/$defs/number"}, "next": {"$ref": "#"}},
        });
        let whole = any_of(vec![json!({"type": "null"}), call("move", Some(point))]);
        let arguments = "/anyOf/1/properties/arguments";
        let at = |path: &str| whole.pointer(&format!("{arguments}{path}")).unwrap().clone();
        assert_eq!(at("/properties/next/$ref"), format!("#{arguments}"));
        let number = at("/properties/x/$ref");
        assert_eq!(number, format!("#{arguments}/$defs/number"));
        let number = number.as_str().unwrap().trim_start_matches('#');
        assert_eq!(whole.pointer(number).unwrap(), &json!({"type": "number"}));
    }

    #[test]
    fn formats_have_schemas() {
        let schema =
            |json: &str| serde_json::from_str::<ResponseFormat>(json).map(ResponseFormat::schema);
        assert_eq!(schema(r#"{"type": "text"}"#).unwrap(), None);
        let object = Some(json!({"type": "object"}));
        assert_eq!(schema(r#"{"type": "json_object"}"#).unwrap(), object);
        let named = r#"{"type": "json_schema", "json_schema": {"name": "n", "strict": true}}"#;
        assert_eq!(schema(named).unwrap(), object);
        for wrong in [r#"{}"#, r#"{"type": "xml"}"#, r#"{"type": "json_schema"}"#, r#"7"#] {
            assert!(schema(wrong).is_err(), "{wrong}");
        }
    }
}
