// SPDX-License-Identifier: Apache-2.0

//! The reference: a page about all endpoints, made of their description, without scripts.

use crate::tokens::TOKEN_SCHEME;
use serde_json::{Map, Value};
use std::fmt::Write;
use utoipa::openapi::OpenApi;

const STYLE: &str = "\
:root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:auto;\
padding:1rem}code,pre{font-family:ui-monospace,monospace}summary{cursor:pointer;padding:.3rem 0}\
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.2rem \
.6rem .2rem 0;border-bottom:1px solid #8884}h2{margin-top:2rem}.method{font-weight:bold}";

/// End of every table.
const TABLE_END: &str = "</tbody></table>";

/// Returns the page of an interface.
pub(crate) fn page(openapi: &OpenApi) -> String {
    let document = serde_json::to_value(openapi).unwrap_or_default();
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>POL: HTTP interface</title><style>{STYLE}</style>\
         </head><body><main><h1>HTTP interface</h1><p>Requests and answers are JSON. The \
         description for programs is <a href=\"/openapi.json\">/openapi.json</a>. Errors are \
         problem details (RFC 9457).</p><h2 id=\"endpoints\">Endpoints</h2>"
    );
    for (path, item) in entries(&document["paths"]) {
        for (method, operation) in entries(item) {
            endpoint(&mut page, path, method, operation);
        }
    }
    page.push_str("<h2 id=\"types\">Types</h2>");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        let _ = write!(page, "<h3 id=\"{0}\">{0}</h3>", escape(name));
        let _ = write!(page, "<p>{}</p>", described(schema));
        fields(&mut page, schema);
    }
    page + "</main></body></html>"
}

fn endpoint(page: &mut String, path: &str, method: &str, operation: &Value) {
    let summary = operation["summary"].as_str().unwrap_or_default();
    let _ = write!(
        page,
        "<details><summary><span class=\"method\">{}</span> <code>{}</code> {}</summary>",
        escape(&method.to_uppercase()),
        escape(path),
        escape(summary)
    );
    let _ = write!(page, "<p>{}</p>", described(operation));
    if let Some(scope) = operation["security"][0][TOKEN_SCHEME][0].as_str() {
        let scope = escape(scope);
        let _ = write!(page, "<p>Tokens need the scope <code>{scope}</code>.</p>");
    }
    parameters(page, &operation["parameters"]);
    for (media, content) in entries(&operation["requestBody"]["content"]) {
        let _ = write!(page, "<p>Takes {} ({}).</p>", kind(&content["schema"]), escape(media));
    }
    for (status, response) in entries(&operation["responses"]) {
        for (media, content) in entries(&response["content"]) {
            let (status, media) = (escape(status), escape(media));
            let _ = write!(page, "<p>{status}: {} ({media}).</p>", kind(&content["schema"]));
        }
    }
    page.push_str("</details>");
}

/// Writes the parameters in the URL of an endpoint, if it has some.
fn parameters(page: &mut String, parameters: &Value) {
    let Some(parameters) = parameters.as_array().filter(|all| !all.is_empty()) else { return };
    table(page, "parameter");
    for parameter in parameters {
        let name = parameter["name"].as_str().unwrap_or_default();
        let is_required = parameter["required"] == true;
        row(page, name, is_required, &parameter["schema"], parameter);
    }
    page.push_str(TABLE_END);
}

/// Writes the fields of a type, or its variants.
fn fields(page: &mut String, schema: &Value) {
    let properties = entries(&schema["properties"]);
    if properties.clone().next().is_none() {
        let _ = write!(page, "<p>{}</p>", kind(schema));
        return;
    }
    table(page, "field");
    let required = |name: &str| {
        let names = schema["required"].as_array();
        names.is_some_and(|names| names.iter().any(|required| required == name))
    };
    for (name, field) in properties {
        row(page, name, required(name), field, field);
    }
    page.push_str(TABLE_END);
}

/// Begins a table of things of a kind.
fn table(page: &mut String, kind: &str) {
    let _ =
        write!(page, "<table><thead><tr><th>{kind}</th><th>type</th><th></th></tr></thead><tbody>");
}

/// Writes the row of a thing with a name and a type, which `about` describes.
fn row(page: &mut String, name: &str, is_required: bool, schema: &Value, about: &Value) {
    let mark = if is_required { " (required)" } else { "" };
    let (name, kind, text) = (escape(name), kind(schema), described(about));
    let _ =
        write!(page, "<tr><td><code>{name}</code>{mark}</td><td>{kind}</td><td>{text}</td></tr>");
}

/// Returns the name of a type, with a link if it has one.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("<a href=\"#{0}\">{0}</a>", escape(name));
    }
    if let Some(values) = schema["enum"].as_array() {
        let values =
            values.iter().map(|value| format!("<code>{}</code>", escape(&value.to_string())));
        return values.collect::<Vec<_>>().join(" or ");
    }
    for variants in ["oneOf", "anyOf", "allOf"] {
        if let Some(variants) = schema[variants].as_array() {
            return variants.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    let names: Vec<String> = match &schema["type"] {
        Value::String(name) => vec![name.clone()],
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
        }
        _ => Vec::new(),
    };
    let name = escape(&names.join(" or "));
    if names.iter().any(|name| name == "array") {
        return format!("{name} of {}", kind(&schema["items"]));
    }
    name
}

/// Returns the description of a part of the document.
fn described(value: &Value) -> String {
    escape(value["description"].as_str().unwrap_or_default()).replace("\n\n", "<br>")
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> + Clone {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.as_object().unwrap_or(&NONE).iter().map(|(name, value)| (name.as_str(), value))
}

/// Replaces the characters that HTML gives a meaning.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn types_have_names_and_links() {
        let kind = |json: &str| kind(&serde_json::from_str(json).unwrap());
        assert_eq!(kind(r##"{"$ref": "#/components/schemas/A"}"##), "<a href=\"#A\">A</a>");
        assert_eq!(kind(r#"{"type": ["string", "null"]}"#), "string or null");
        assert_eq!(kind(r#"{"type": "array", "items": {"type": "number"}}"#), "array of number");
        assert_eq!(kind(r#"{"enum": ["<a>"]}"#), "<code>&quot;&lt;a&gt;&quot;</code>");
        assert_eq!(kind("{}"), "");
    }

    #[test]
    fn endpoints_have_their_parameters_and_their_scope() {
        let operation = json!({
            "security": [{ (TOKEN_SCHEME): ["read"] }],
            "parameters": [
                {
                    "name": "limit", "in": "query", "required": false,
                    "description": "Most items, <b>1</b> or more.",
                    "schema": {"type": ["integer", "null"]},
                },
                {"name": "id", "in": "path", "required": true, "schema": {"type": "string"}},
            ],
        });
        let mut page = String::new();
        endpoint(&mut page, "/items/{id}", "get", &operation);
        for part in [
            "Tokens need the scope <code>read</code>.",
            "<td><code>limit</code></td><td>integer or null</td>",
            "<td>Most items, &lt;b&gt;1&lt;/b&gt; or more.</td>",
            "<td><code>id</code> (required)</td><td>string</td>",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        let mut page = String::new();
        endpoint(&mut page, "/health", "get", &json!({}));
        assert!(!page.contains("<table>") && !page.contains("scope"), "{page}");
    }
}
