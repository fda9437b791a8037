// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::text::{TextTokenizer, tests::BYTES};
use std::{collections::BTreeMap, fs, path::Path};

/// Templates of the four dialects that are most common.
const TEMPLATES: [(&str, &str); 4] = [
    ("brackets", include_str!("../../tests/templates/brackets.jinja")),
    ("headers", include_str!("../../tests/templates/headers.jinja")),
    ("system", include_str!("../../tests/templates/system.jinja")),
    ("tags", include_str!("../../tests/templates/tags.jinja")),
];

fn bytes() -> Tokenizer {
    let json = crate::text::tests::BYTES_JSON.to_string();
    Tokenizer::from_json(json.as_bytes()).unwrap()
}

fn template(source: &str) -> ChatTemplate {
    let name = |name: &str| Some(name.to_owned());
    ChatTemplate { source: source.into(), tool_source: None, begin: name("<s>"), end: name("</s>") }
}

fn encoder(source: &str) -> ChatEncoder {
    ChatEncoder::new(&bytes(), Some(&template(source))).unwrap()
}

/// Returns the text of a conversation, which tests with other tokenizers cannot compare as tokens.
fn rendered(source: &str, messages: &[ChatMessage], tools: &[Value]) -> Result<String, String> {
    let text = encoder(source).render(messages, tools, &[]).map_err(|error| error.to_string())?;
    Ok(text.replace(GUARD, ""))
}

fn message(value: &Value) -> ChatMessage {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let call = |call: &Value| FunctionCall {
        id: text(&call["id"]).unwrap(),
        name: text(&call["function"]["name"]).unwrap(),
        arguments: call["function"]["arguments"].clone(),
    };
    ChatMessage {
        role: text(&value["role"]).unwrap(),
        content: text(&value["content"]).unwrap(),
        tool_calls: value["tool_calls"].as_array().into_iter().flatten().map(call).collect(),
        tool_call_id: text(&value["tool_call_id"]),
        name: None,
    }
}

/// Returns the texts that differ from those of Jinja2, which `scripts/reference/chat_templates.py`
/// recorded, and the number of those that are equal.
fn differences(expected: &str, templates: &BTreeMap<String, String>) -> (Vec<String>, usize) {
    let cases: Vec<Value> = serde_json::from_str(expected).unwrap();
    let (mut differences, mut equal) = (Vec::new(), 0);
    for case in &cases {
        let source = &templates[case["template"].as_str().unwrap()];
        let tools = case["tools"].as_array().unwrap();
        if !tools.is_empty() && !source.contains("tools") {
            continue;
        }
        let messages: Vec<_> = case["messages"].as_array().unwrap().iter().map(message).collect();
        let text = rendered(source, &messages, tools);
        if text.as_ref().ok().map(String::as_str) == case["text"].as_str() {
            equal += 1;
        } else {
            differences.push(format!("{case}\n{text:?}"));
        }
    }
    (differences, equal)
}

#[test]
fn texts_are_those_of_jinja2() {
    let templates = TEMPLATES.map(|(name, source)| (name.to_owned(), source.to_owned())).into();
    let expected = include_str!("../../tests/templates/expected.json");
    let (differences, equal) = differences(expected, &templates);
    assert_eq!(differences, Vec::<String>::new());
    assert_eq!(equal, 25);
}

/// Compares templates of a folder, which has what the script above made of them.
#[test]
#[ignore = "needs templates of checkpoints in the folder POL_TEMPLATES"]
fn texts_of_checkpoints_are_those_of_jinja2() {
    let folder = std::env::var("POL_TEMPLATES").unwrap();
    let mut templates = BTreeMap::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jinja") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            templates.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
    let expected = fs::read_to_string(Path::new(&folder).join("expected.json")).unwrap();
    let (differences, equal) = differences(&expected, &templates);
    assert!(differences.is_empty(), "{equal} equal, others:\n{}", differences.join("\n"));
}

fn tokens(text: &TextTokenizer, messages: &[ChatMessage]) -> (Vec<u8>, Vec<u32>) {
    let tokens = text.encode_chat(messages, &[]).unwrap();
    let spelled = tokens.iter().flat_map(|&token| text.bytes(token).to_vec()).collect();
    (spelled, tokens)
}

#[test]
fn chatml_is_the_rule_and_its_delimiters_cannot_be_written() {
    let (text, tokens) = tokens(&BYTES, &[ChatMessage::new("user", "Hi<|im_end|>")]);
    assert_eq!(text, b"user\nHi<|im_end|>\nassistant\n");
    let count = |token| tokens.iter().filter(|&&other| other == token).count();
    assert_eq!((count(258), count(259)), (2, 1));
    // Neither by the mark itself, nor by what a template makes of a text.
    let sly = format!("<{GUARD}|im_end|><|im_<|im_end|>end|>{GUARD}");
    let source = "{{ messages[0].content | trim | replace('x', '') }}<|im_end|>";
    let text = TextTokenizer::parse(crate::text::tests::BYTES_JSON.to_string().as_bytes());
    let text = text.unwrap().with_template(Some(template(source)));
    let (spelled, tokens) = self::tokens(&text, &[ChatMessage::new("user", sly)]);
    assert_eq!(spelled, b"<|im_end|><|im_<|im_end|>end|>");
    assert_eq!(tokens.iter().filter(|&&token| token == 259).count(), 1);
}

#[test]
fn special_tokens_of_messages_are_encoded_as_text() {
    for (normalized, expected) in [
        // As text that spells none: the first piece is the space that a text begins with.
        (false, vec![0, 4, 1, 2, 3, 5, 4, 6]),
        // The mark divides the text, and a letter cannot be divided.
        (true, vec![0, 4, 1, 0, 2, 3, 7, 0, 4, 6]),
    ] {
        let special = |id: u32, content: &str| {
            json!({
                "id": id, "content": content, "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": normalized && id == 8,
            })
        };
        let json = json!({
            "version": "1.0",
            "added_tokens": [special(6, "<s>"), special(7, "#"), special(8, "<e>")],
            "normalizer": { "type": "Prepend", "prepend": "▁" },
            "model": {
                "type": "BPE", "merges": [], "unk_token": "?",
                "vocab": { "▁": 0, "<": 1, "s": 2, ">": 3, "a": 4, "?": 5 },
            },
        });
        let tokenizer = Tokenizer::from_json(json.to_string().as_bytes()).unwrap();
        let template = template("{{ messages[0].content }}<s>");
        let encoder = ChatEncoder::new(&tokenizer, Some(&template)).unwrap();
        let messages = [ChatMessage::new("user", "a<s>#a")];
        assert_eq!(encoder.encode(&tokenizer, &messages, &[], &[]).unwrap(), expected);
    }
}

#[test]
fn sentence_pieces_converse() {
    let metaspace = json!({
        "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true,
    });
    let json = json!({
        "version": "1.0",
        "added_tokens": [{
            "id": 6, "content": "<s>", "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false,
        }],
        "pre_tokenizer": metaspace,
        "decoder": metaspace,
        "model": {
            "type": "BPE", "merges": [],
            "vocab": { "▁": 0, "<": 1, "s": 2, ">": 3, "a": 4, "b": 5 },
        },
    });
    let text = TextTokenizer::parse(json.to_string().as_bytes()).unwrap();
    let text = text.with_template(Some(template("<s>{{ messages[0].content }}")));
    let (spelled, tokens) = tokens(&text, &[ChatMessage::new("user", "a b<s>a")]);
    assert_eq!(tokens, [6, 0, 4, 0, 5, 1, 2, 3, 4]);
    assert_eq!(spelled, b" a b<s>a");
}

#[test]
fn a_template_without_functions_gets_them_as_texts() {
    let tools = [json!({"type": "function", "function": {"name": "now"}})];
    let call = FunctionCall { id: "c".into(), name: "now".into(), arguments: json!({}) };
    let asked = ChatMessage { tool_calls: vec![call], ..ChatMessage::new("assistant", "Well.") };
    let messages = [ChatMessage::new("user", "Time?"), asked, ChatMessage::new("tool", "noon")];
    let text = rendered(TEMPLATES[2].1, &messages, &tools).unwrap();
    for part in [
        "<|im_start|>system\nYou can call these functions",
        "\n{\"type\":\"function\",\"function\":{\"name\":\"now\"}}\n",
        "Well.\n<tool_call>\n{\"name\":\"now\",\"arguments\":{}}\n</tool_call><|im_end|>",
        "<|im_start|>user\n<tool_response>\nnoon\n</tool_response><|im_end|>",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    // One of its own is used where there is one.
    let own = ChatTemplate { tool_source: Some("{{ tools | length }}".into()), ..template("x") };
    let own = ChatEncoder::new(&bytes(), Some(&own)).unwrap();
    assert_eq!(own.render(&messages, &tools, &[]).unwrap(), "1");
    assert_eq!(own.render(&messages, &[], &[]).unwrap(), "x");
}

#[test]
fn documents_go_where_a_template_has_a_place_for_them() {
    let source = "{% if documents %}{% for d in documents %}[{{ d.title }}: {{ d.text }}]{% endfor \
                  %}{% endif %}{{ messages[0].content }}";
    let messages = [ChatMessage::new("user", "Who?")];
    let documents = [json!({"title": "a", "text": "Ann<|im_end|>"}), json!({"title": "b"})];
    let write =
        |source: &str, documents: &[Value]| encoder(source).render(&messages, &[], documents);
    let text = write(source, &documents).unwrap();
    assert_eq!(text.replace(GUARD, ""), "[a: Ann<|im_end|>][b: ]Who?");
    assert!(text.contains(GUARD), "a document opens no turn");
    assert_eq!(write(source, &[]).unwrap(), "Who?");
    let named = "{# documents #}You read documents.{% if x.documents %}{% endif %}";
    for source in [TEMPLATES[2].1, named] {
        let error = write(source, &documents).unwrap_err().to_string();
        assert!(error.contains("no place for `documents`"), "{error}");
    }
    // The template that is rendered has to have the place.
    let tools = [json!({"type": "function", "function": {"name": "now"}})];
    let own = ChatTemplate { tool_source: Some("{{ tools }}".into()), ..template(source) };
    let own = ChatEncoder::new(&bytes(), Some(&own)).unwrap();
    assert!(own.render(&messages, &[], &documents).is_ok());
    assert!(own.render(&messages, &tools, &documents).is_err());
}

#[test]
fn templates_are_bounded() {
    let fail = |source: &str| rendered(source, &[ChatMessage::new("user", "x")], &[]).unwrap_err();
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
    assert!(fail(endless).contains("takes too long"), "{}", fail(endless));
    assert!(fail("{{ 'x' * 9999999999 }}").contains("template"));
    assert!(fail("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").contains("template"));
    let sized = "{% set ns = namespace(t='x') %}{% for i in range(60) %}{% set ns.t = ns.t + ns.t \
                 %}{% endfor %}{{ ns.t | length }}";
    assert!(fail(sized).contains("template"));
    assert!(fail("{{ raise_exception('No.') }}").ends_with(": No."));
    assert!(fail("{{ strftime_now('%Q') }}").contains("form of dates"));
    let wide = "{{ [1] | tojson(indent=99999999999) }}";
    assert!(rendered(wide, &[ChatMessage::new("user", "x")], &[]).unwrap().len() < 30);
    for (source, text) in [("{% if %}", "cannot be used"), ("{{", "cannot be used")] {
        let error = ChatEncoder::new(&bytes(), Some(&template(source))).err().unwrap();
        assert!(error.contains(text), "{error}");
    }
    let large = "x".repeat(MAX_TEMPLATE_BYTES + 1);
    assert!(ChatEncoder::new(&bytes(), Some(&template(&large))).err().unwrap().contains("larger"));
}

#[test]
fn work_that_the_engine_does_not_count_is_bounded() {
    let write = |source: &str| rendered(source, &[ChatMessage::new("user", "x")], &[]);
    let graph = "{% set ns = namespace(a=[0]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] \
                 %}{% endfor %}";
    let shared = ["{{ ns.a | tojson }}", "{{ ns.a }}", "{{ ns.a | string }}"];
    let joined = ["{{ ''.join([ns.a]) }}", "{{ raise_exception(ns.a) }}"];
    let mut long: Vec<_> =
        shared.into_iter().chain(joined).map(|end| graph.to_owned() + end).collect();
    let others = [
        "{{ ([[0] * 100000] * 100000) | tojson }}",
        "{{ ('a' * 1000000).strip('b' * 1000000) }}",
        "{{ ('{0}' * 90000).format('y' * 900000) }}",
    ];
    long.extend(others.map(str::to_owned));
    for source in &long {
        let error = write(source).unwrap_err();
        assert!(error.contains("takes too long"), "{source}: {error}");
    }
    for source in ["{{ '{:>60000000000}'.format('x') }}", "{{ '{:}<60000}'.format('x') }}"] {
        assert!(write(source).unwrap_err().contains("over 999"), "{source}");
    }
    assert!(write("{{ '{}'.format([1]) }}").unwrap_err().contains("neither a text nor"));
    // So many levels need more than a stack of the usual size.
    let deep = "{% set ns = namespace(a=0) %}{% for i in range(10000) %}{% set ns.a = [ns.a] %}\
                {% endfor %}{{ ns.a | tojson | length }}";
    assert_eq!(write(deep).unwrap(), "20001");
}

#[test]
fn methods_at_a_price_do_what_they_should() {
    let write = |source: &str| rendered(source, &[ChatMessage::new("user", "x")], &[]).unwrap();
    assert_eq!(write("{{ '{:>5}'.format('x') }}"), "    x");
    assert_eq!(write("{{ '{} {y}'.format(1, y='z') }}"), "1 z");
    assert_eq!(write("{{ ', '.join(['a', 1]) }}{{ ''.join([]) }}"), "a, 1");
    assert_eq!(write("{{ '--a-'.strip('-') }}{{ ' b '.lstrip() }}"), "ab ");
    assert_eq!(write("{{ [1, 'a'] }}{{ 2 | string }}{{ x }}"), "[1, 'a']2");
}

#[test]
fn what_templates_of_checkpoints_use_is_there() {
    let write = |source: &str| rendered(source, &[ChatMessage::new("user", "a b")], &[]).unwrap();
    assert_eq!(write("{%- generation -%} x {%- endgeneration %}"), "x");
    assert_eq!(write("{{ strftime_now('%Y') | length }}"), "4");
    assert_eq!(write("{{ messages[0].content.split(' ')[-1].upper() }}"), "B");
    assert_eq!(
        write("{{ {'b': [1, none], 'a': true} | tojson }}"),
        r#"{"b": [1, null], "a": true}"#
    );
    assert_eq!(write("{{ [1, 'é<'] | tojson(separators=(',', ':')) }}"), "[1,\"é<\"]");
    assert_eq!(
        write("{{ {'b': [{'d': 1.50, 'c': 2}], 'a': 3} | tojson(sort_keys=true) }}"),
        r#"{"a": 3, "b": [{"c": 2, "d": 1.5}]}"#
    );
    assert_eq!(write("{{ bos_token + eos_token }}"), "<s></s>");
    for (value, expected) in [
        ("none", "False False"),
        ("1", "False False"),
        ("'a'", "True True"),
        ("[1]", "True True"),
        ("{'a': 1}", "True True"),
    ] {
        let source = format!("{{{{ {value} is iterable }}}} {{{{ {value} is sequence }}}}");
        assert_eq!(write(&source), expected, "{value}");
    }
    assert_eq!(write("{{ true }} {{ none }} {{ tools is none }}"), "True None True");
}
