// SPDX-License-Identifier: Apache-2.0

//! Functions of the client that the model may call.
//!
//! A call is an object in JSON with the name of the function and its arguments: between the tags
//! that Qwen and Hermes write (`<tool_call>`), or as all of the answer, alone or in a list, as
//! models of LLaMA and Mistral write it.

use crate::error::ApiError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use utoipa::ToSchema;

/// Most functions of a request.
const MAX_FUNCTIONS: usize = 128;
/// Longest name of a function, in bytes.
const MAX_NAME: usize = 64;
/// Most calls of an answer.
const MAX_CALLS: usize = 64;
/// Tags around a call.
const TAGS: [&str; 2] = ["<tool_call>", "</tool_call>"];
/// Letters of the names of calls. Templates of Mistral want nine of them.
const ID_LETTERS: &[u8; 32] = b"abcdefghijkmnopqrstuvwxyz2345678";
/// Length of the name of a call.
const ID_LENGTH: usize = 9;

/// Function that the model may call.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with a type and a function")]
pub(crate) struct Tool {
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "the only type")]
    kind: ToolKind,
    function: Function,
}

/// Type of a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ToolKind {
    /// A function of the client.
    Function,
}

/// Description of a function.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with a name and parameters")]
pub(crate) struct Function {
    /// Name: letters, digits, `_`, and `-`.
    name: String,
    /// Purpose of the function.
    description: Option<String>,
    /// JSON Schema of its arguments, an object.
    #[schema(value_type = Option<Object>)]
    parameters: Option<Value>,
    /// Ignored: constrained calls always have the form.
    #[expect(dead_code, reason = "clients send it")]
    strict: Option<bool>,
}

/// Choice of calls.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected none, auto, required, or an object that names a function")]
pub(crate) enum ToolChoice {
    /// A rule.
    Mode(ToolMode),
    /// One function that has to be called.
    Named(NamedTool),
}

/// Rule of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ToolMode {
    /// No function is called.
    None,
    /// The model decides.
    Auto,
    /// Some function is called.
    Required,
}

/// Function that has to be called.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamedTool {
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "the only type")]
    kind: ToolKind,
    function: FunctionName,
}

/// Name of a function.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FunctionName {
    name: String,
}

/// Functions that one request allows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Functions {
    /// Descriptions, as templates know them.
    pub(crate) described: Vec<Value>,
    /// Names.
    pub(crate) names: Vec<String>,
    /// Schemas of all calls.
    calls: Vec<Value>,
    /// Set if one has to be called.
    is_required: bool,
}

impl Functions {
    /// Checks the functions of a request and its choice.
    pub(crate) fn new(
        tools: Option<&[Tool]>,
        choice: Option<&ToolChoice>,
    ) -> Result<Self, ApiError> {
        let tools = tools.unwrap_or_default();
        let refused = |name, detail: String| Err(ApiError::parameter(name, detail));
        if tools.len() > MAX_FUNCTIONS {
            return refused("tools", format!("a request has at most {MAX_FUNCTIONS} functions"));
        }
        let mut names = HashSet::new();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        for Tool { function: Function { name, .. }, .. } in tools {
            if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(is_plain) {
                let detail = "the name of a function has 1 to 64 letters, digits, _, and -";
                return refused("tools", detail.into());
            }
            if !names.insert(name) {
                return refused("tools", format!("the function {name} is described twice"));
            }
        }
        let (chosen, is_required) = match choice {
            Some(ToolChoice::Mode(ToolMode::None)) => (&[][..], false),
            Some(ToolChoice::Mode(ToolMode::Required)) => (tools, true),
            Some(ToolChoice::Named(named)) => {
                let name = &named.function.name;
                let Some(at) = tools.iter().position(|tool| tool.function.name == *name) else {
                    let detail = format!("there is no function {name:.80} in tools");
                    return refused("tool_choice", detail);
                };
                (&tools[at..=at], true)
            }
            Some(ToolChoice::Mode(ToolMode::Auto)) | None => (tools, false),
        };
        if is_required && chosen.is_empty() {
            return refused("tool_choice", "a call is required, but tools has no function".into());
        }
        Ok(Self {
            described: chosen.iter().map(|tool| tool.function.described()).collect(),
            names: chosen.iter().map(|tool| tool.function.name.clone()).collect(),
            calls: chosen.iter().map(|tool| tool.function.call()).collect(),
            is_required,
        })
    }

    /// Returns the schema of answers that may be calls. `format` is the schema of those that are
    /// not.
    pub(crate) fn schema(&self, format: Option<Value>) -> Option<Value> {
        match format {
            _ if self.is_required => Some(super::form::any_of(self.calls.clone())),
            Some(format) if !self.calls.is_empty() => {
                let all = [format].into_iter().chain(self.calls.iter().cloned());
                Some(super::form::any_of(all.collect()))
            }
            format => format,
        }
    }

    /// Returns the parameter that [`schema`](Self::schema) is made of, or `None` for two of them.
    pub(crate) fn schema_source(&self) -> Option<&'static str> {
        match (self.is_required, self.calls.is_empty()) {
            (true, _) => Some("tools"),
            (false, true) => Some("response_format"),
            (false, false) => None,
        }
    }
}

impl Function {
    fn described(&self) -> Value {
        let mut function = Map::new();
        function.insert("name".into(), self.name.clone().into());
        if let Some(description) = &self.description {
            function.insert("description".into(), description.clone().into());
        }
        let none = || json!({ "type": "object", "properties": {} });
        function.insert("parameters".into(), self.parameters.clone().unwrap_or_else(none));
        json!({ "type": "function", "function": function })
    }

    fn call(&self) -> Value {
        super::form::call(&self.name, self.parameters.clone())
    }
}

/// Call of a function in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Call {
    /// Position among the calls of the answer; only in events.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    /// Name of the call, by which its result is sent.
    id: String,
    #[serde(rename = "type")]
    #[schema(example = "function")]
    kind: &'static str,
    function: Called,
}

/// Called function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Called {
    name: String,
    /// Arguments in JSON.
    arguments: String,
}

impl Call {
    /// Returns the call as an event has it: with its position among all.
    pub(crate) fn at(self, index: usize) -> Self {
        Self { index: Some(index), ..self }
    }

    fn new(name: String, arguments: &Value) -> Self {
        let mut bytes = [0; ID_LENGTH];
        // Without random bytes calls have one name, which harms nobody.
        let _ = getrandom::fill(&mut bytes);
        let letter = |byte: u8| char::from(ID_LETTERS[usize::from(byte) % ID_LETTERS.len()]);
        Self {
            index: None,
            id: bytes.into_iter().map(letter).collect(),
            kind: "function",
            function: Called { name, arguments: arguments.to_string() },
        }
    }
}

/// Returns the text before the calls of an answer, and the calls. `None` if the answer is a text.
pub(crate) fn parse_calls(answer: &str, names: &[String]) -> Option<(String, Vec<Call>)> {
    let (before, rest) =
        answer.split_once(TAGS[0]).map_or(("", None), |(before, rest)| (before, Some(rest)));
    let mut calls = Vec::new();
    match rest {
        Some(rest) => {
            for part in rest.split(TAGS[0]) {
                let json = part.split_once(TAGS[1]).map_or(part, |(json, _)| json);
                calls.extend(one_or_several(json, names)?);
            }
        }
        None => calls = one_or_several(answer, names)?,
    }
    let is_possible = !calls.is_empty() && calls.len() <= MAX_CALLS;
    is_possible.then(|| (before.trim().to_owned(), calls))
}

/// Returns the calls that a text is, and nothing else.
fn one_or_several(json: &str, names: &[String]) -> Option<Vec<Call>> {
    match serde_json::from_str(json.trim()).ok()? {
        Value::Array(items) => items.into_iter().map(|item| one(item, names)).collect(),
        item => Some(vec![one(item, names)?]),
    }
}

fn one(item: Value, names: &[String]) -> Option<Call> {
    let Value::Object(mut fields) = item else { return None };
    let Value::String(name) = fields.remove("name")? else { return None };
    let arguments = fields.remove("arguments").or_else(|| fields.remove("parameters"))?;
    let is_call = names.contains(&name)
        && arguments.is_object()
        && fields.keys().all(|field| field == "id" || field == "type");
    is_call.then(|| Call::new(name, &arguments))
}

/// Part of an answer that is certainly text, found while the answer is made.
#[derive(Debug, Default)]
pub(crate) struct CallFilter {
    held: String,
    /// Set once the answer has begun with something else than JSON.
    is_text: bool,
    /// Set once the rest may be calls.
    is_call: bool,
}

impl CallFilter {
    /// Adds a part, and returns what is text. The rest is held back.
    pub(crate) fn push(&mut self, part: &str) -> String {
        self.held += part;
        if self.is_call {
            return String::new();
        }
        if !self.is_text {
            match self.held.trim_start().chars().next() {
                None => return String::new(),
                Some('{' | '[') => {
                    self.is_call = true;
                    return String::new();
                }
                Some(_) => self.is_text = true,
            }
        }
        let end = match self.held.find(TAGS[0]) {
            Some(at) => {
                self.is_call = true;
                at
            }
            None => self.held.len() - tag_start(&self.held),
        };
        let rest = self.held.split_off(end);
        std::mem::replace(&mut self.held, rest)
    }

    /// Returns what was held back: all of it, or what stands before calls if there are any.
    pub(crate) fn finish(&mut self, has_calls: bool) -> String {
        let held = std::mem::take(&mut self.held);
        if !has_calls {
            return held;
        }
        held.split_once(TAGS[0]).map(|(before, _)| before.to_owned()).unwrap_or_default()
    }
}

/// Returns the length of the end of a text that may be the start of a tag.
fn tag_start(text: &str) -> usize {
    (1..TAGS[0].len()).rev().find(|&len| text.ends_with(&TAGS[0][..len])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> Vec<String> {
        vec!["add".into(), "look".into()]
    }

    /// Returns the text before the calls, and each with its arguments.
    fn parsed(answer: &str) -> Option<(String, Vec<(String, String)>)> {
        let (before, calls) = parse_calls(answer, &names())?;
        assert!(calls.iter().all(|call| call.id.len() == 9), "{calls:?}");
        let calls = calls.into_iter().map(|call| (call.function.name, call.function.arguments));
        Some((before, calls.collect()))
    }

    #[test]
    fn calls_have_several_forms() {
        let add = ("add".to_owned(), r#"{"a":1}"#.to_owned());
        let one = r#"{"name": "add", "arguments": {"a": 1}}"#;
        for answer in [
            one.to_owned(),
            format!("\n<tool_call>\n{one}\n</tool_call>"),
            format!("<tool_call>{one}"),
            format!("[{one}]"),
            r#"{"type": "function", "name": "add", "parameters": {"a": 1}}"#.into(),
        ] {
            assert_eq!(parsed(&answer), Some((String::new(), vec![add.clone()])), "{answer}");
        }
        let two = format!("Well. <tool_call>{one}</tool_call>\n<tool_call>{one}</tool_call>");
        assert_eq!(parsed(&two), Some(("Well.".into(), vec![add.clone(), add])));
        for text in [
            "",
            "17",
            "[]",
            "{",
            r#"{"name": "other", "arguments": {}}"#,
            r#"{"name": "add", "arguments": 7}"#,
            r#"{"name": "add", "arguments": {}, "more": 1}"#,
            r#"<tool_call>{"name": "add"}</tool_call>"#,
            r#"I would write {"name": "add", "arguments": {}}"#,
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn texts_are_sent_while_they_are_made_and_calls_are_held() {
        for (answer, text) in [
            ("A text with < and <tool and more.", "A text with < and <tool and more."),
            ("Well. <tool_call>{}", "Well. "),
            ("  {\"a\": 1}", ""),
            ("[1]", ""),
            ("é<tool_call>", "é"),
        ] {
            let mut filter = CallFilter::default();
            let mut buffer = [0; 4];
            let sent: String =
                answer.chars().map(|letter| filter.push(letter.encode_utf8(&mut buffer))).collect();
            assert_eq!(sent, text, "{answer}");
            assert_eq!(sent + &filter.finish(false), answer);
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_whatever_its_division(
            parts in prop::collection::vec(
                prop_oneof![
                    "[ \\n]?(<tool_call>|</tool_call>|<tool|_call>|\\[|\\{|\\}|\\]|a|é)",
                    Just(r#"{"name": "add", "arguments": {"a": 1}}"#.to_owned()),
                ],
                0..8,
            ),
        ) {
            let whole = parts.concat();
            let (mut once, mut often) = (CallFilter::default(), CallFilter::default());
            let text = once.push(&whole);
            let sent: String = parts.iter().map(|part| often.push(part)).collect();
            prop_assert_eq!(&sent, &text);
            prop_assert_eq!(text + &once.finish(false), whole.as_str());
            if let Some((before, calls)) = parse_calls(&whole, &names()) {
                prop_assert!(!calls.is_empty() && whole.contains(&before));
                let sent = sent + &often.finish(true);
                prop_assert_eq!(sent.trim(), before);
            }
        }
    }

    #[test]
    fn functions_are_checked() {
        let tool = |name: &str| -> Tool {
            let json = json!({"type": "function", "function": {"name": name}});
            serde_json::from_value(json).unwrap()
        };
        let choice = |json: Value| -> ToolChoice { serde_json::from_value(json).unwrap() };
        let made = |tools: &[Tool], of: Value| Functions::new(Some(tools), Some(&choice(of)));
        let both = [tool("add"), tool("look")];
        assert!(made(&both, json!("none")).unwrap().names.is_empty());
        let auto = made(&both, json!("auto")).unwrap();
        assert_eq!((auto.names.len(), auto.schema(None)), (2, None));
        assert_eq!(auto.schema_source(), None);
        assert_eq!(Functions::default().schema_source(), Some("response_format"));
        let required = made(&both, json!("required")).unwrap();
        assert_eq!(required.schema_source(), Some("tools"));
        let required = required.schema(None).unwrap();
        assert_eq!(required["anyOf"].as_array().unwrap().len(), 2);
        let named = json!({"type": "function", "function": {"name": "look"}});
        let one = made(&both, named.clone()).unwrap();
        assert_eq!(one.names, ["look"]);
        // With a form, an answer is either.
        let either = auto.schema(Some(json!({"type": "object"}))).unwrap();
        assert_eq!(either["anyOf"].as_array().unwrap().len(), 3);
        for (tools, of) in [
            (&[tool("a b")][..], json!("auto")),
            (&[tool("")], json!("auto")),
            (&[tool("add"), tool("add")], json!("auto")),
            (&[tool("add")], named),
            (&[], json!("required")),
        ] {
            assert!(made(tools, of).is_err());
        }
        let many: Vec<Tool> = (0..129).map(|index| tool(&format!("f{index}"))).collect();
        assert!(made(&many, json!("auto")).is_err());
    }
}
