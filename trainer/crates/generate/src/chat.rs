// SPDX-License-Identifier: Apache-2.0

//! Conversations, written by the chat template of a checkpoint or else in ChatML.
//!
//! Templates are Jinja (Hugging Face 2026, "Chat templates" in the documentation of Transformers).
//! They come with checkpoints of strangers, so their work is bounded, as `bounds` tells.

mod bounds;

use self::bounds::{ChargedText, Watch};
use crate::Error;
use aho_corasick::{AhoCorasick, MatchKind};
use minijinja::{
    Environment, ErrorKind, State, Value as Any,
    syntax::SyntaxConfig,
    value::{Kwargs, Serde, ValueKind},
};
use pol_data::{Tokenizer, call_tokenizers};
use serde::{Serialize, Serializer};
use serde_json::{
    Map, Value, json,
    ser::{Formatter, PrettyFormatter},
};
use std::{
    fmt::Write as _,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};
use tokenizers::{
    AddedToken, NormalizerWrapper,
    normalizers::{Replace, Sequence},
};

/// Longest time of a template for a conversation. Fuel is spent in well under a second.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Largest template, in bytes.
const MAX_TEMPLATE_BYTES: usize = 256 << 10;
/// Delimiters of turns in ChatML.
const TURN: [&str; 2] = ["<|im_start|>", "<|im_end|>"];
/// Template of models that come without one but know the delimiters.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + \
     message.content + '<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}";
/// Mark within the names of special tokens that are part of a message. No text has these two
/// characters, which Unicode keeps free for such use.
const GUARD: &str = "\u{10fffe}\u{10ffff}";
/// Names of the templates: the usual one, and one for conversations with functions.
const NAMES: [&str; 2] = ["chat", "tools"];

/// Chat template of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatTemplate {
    /// Template in Jinja.
    pub source: String,
    /// Template for conversations with functions, if it is another one.
    pub tool_source: Option<String>,
    /// Name of the token that begins texts, `bos_token` in templates.
    pub begin: Option<String>,
    /// Name of the token that ends them, `eos_token` in templates.
    pub end: Option<String>,
}

/// Message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ChatMessage {
    /// Speaker: `system`, `user`, `assistant`, or `tool` for the result of a function.
    pub role: String,
    /// Text of the message.
    pub content: String,
    /// Calls of functions by the assistant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<FunctionCall>,
    /// Name of the call that this is the result of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Name of the speaker or of the function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Call of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionCall {
    /// Name of the call.
    pub id: String,
    /// Name of the function.
    pub name: String,
    /// Arguments; an object, unless somebody sent something else.
    pub arguments: Value,
}

impl ChatMessage {
    /// Creates a message of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), ..Self::default() }
    }
}

impl Serialize for FunctionCall {
    /// Writes the call as templates know it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { id, name, arguments } = self;
        let call = json!({
            "id": id,
            "type": "function",
            "function": { "name": name, "arguments": arguments },
        });
        call.serialize(serializer)
    }
}

/// Writer of conversations as tokens.
pub(crate) struct ChatEncoder {
    environment: Arc<Environment<'static>>,
    watch: Watch,
    tokenizer: GuardedTokenizer,
    /// Finder of special tokens in messages.
    finder: AhoCorasick,
    has_tool_template: bool,
    /// Set if the template describes functions.
    knows_tools: bool,
    /// Variables of every conversation.
    variables: Map<String, Value>,
}

impl ChatEncoder {
    /// Creates the writer for `template`, or for ChatML.
    pub(crate) fn new(
        tokenizer: &Tokenizer,
        template: Option<&ChatTemplate>,
    ) -> Result<Self, String> {
        let inner = tokenizer.inner();
        if template.is_none()
            && let Some(token) = TURN.into_iter().find(|token| inner.token_to_id(token).is_none())
        {
            return Err(format!(
                "the tokenizer has no {token} and the model no chat template, so it knows no \
                 chat; give it a text to continue"
            ));
        }
        let chatml = ChatTemplate { source: CHATML.into(), ..ChatTemplate::default() };
        let template = template.unwrap_or(&chatml);
        let all: String =
            [&template.source].into_iter().chain(&template.tool_source).cloned().collect();
        let decoder = inner.get_added_tokens_decoder().into_values();
        let special = decoder.filter(|token| token.special && !token.content.is_empty());
        let special: Vec<AddedToken> = special.collect();
        let guarded = GuardedTokenizer::new(inner, &special).map_err(|error| unusable(&error))?;
        let special = special.into_iter().map(|token| token.content);
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(special);
        let names = [("bos_token", &template.begin), ("eos_token", &template.end)];
        let names = names.into_iter().filter_map(|(name, token)| Some((name, token.clone()?)));
        let watch = Watch::new(TIME_LIMIT);
        let sources = template.clone();
        let environment = watch.call(move || environment(&sources)).unwrap_or_else(Err);
        Ok(Self {
            environment: Arc::new(environment.map_err(|error| unusable(&error))?),
            watch,
            tokenizer: guarded,
            finder: finder.map_err(|error| unusable(&error))?,
            has_tool_template: template.tool_source.is_some(),
            knows_tools: all.contains("tools"),
            variables: names.map(|(name, token)| (name.to_owned(), token.into())).collect(),
        })
    }

    /// Returns the tokens of a conversation up to the start of the assistant's turn. `tokenizer` is
    /// the one that the writer was created for.
    pub(crate) fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        tools: &[Value],
        documents: &[Value],
    ) -> Result<Vec<u32>, Error> {
        let text = self.render(messages, tools, documents)?;
        let guarded = &self.tokenizer;
        let encoding = tokenizer
            .check_text(&text)
            .and_then(|()| call_tokenizers(|| guarded.inner.encode_fast(text.as_str(), false)));
        let encoding = encoding.map_err(|error| Error::Tokenizer(error.to_string()))?;
        let is_guard = |token: &u32| Some(*token) == guarded.guard;
        Ok(encoding.get_ids().iter().copied().filter(|token| !is_guard(token)).collect())
    }

    /// Returns the text of a conversation, in which special tokens of messages are guarded.
    fn render(
        &self,
        messages: &[ChatMessage],
        tools: &[Value],
        documents: &[Value],
    ) -> Result<String, Error> {
        let name = NAMES[usize::from(self.has_tool_template && !tools.is_empty())];
        let plain;
        let messages = if self.knows_tools {
            messages
        } else {
            plain = without_tools(messages, tools);
            &plain[..]
        };
        let mut context = json!({ "messages": messages, "tools": null, "documents": null });
        for (name, values) in [("tools", tools), ("documents", documents)] {
            if !values.is_empty() {
                context[name] = values.into();
            }
        }
        self.guard(&mut context);
        context["add_generation_prompt"] = true.into();
        for (name, token) in &self.variables {
            context[name] = token.clone();
        }
        let environment = Arc::clone(&self.environment);
        let quotes = !documents.is_empty();
        let write = move || write_conversation(&environment, name, &context, quotes);
        self.watch.call(write).unwrap_or_else(|reason| Err(refused(&reason)))
    }

    /// Marks the names of special tokens in all strings, so that nobody opens a turn by writing its
    /// delimiter.
    fn guard(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.guard_text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.guard(item)),
            Value::Object(fields) => {
                let all = std::mem::take(fields).into_iter();
                fields.extend(all.map(|(name, mut value)| {
                    self.guard(&mut value);
                    (self.guard_text(&name), value)
                }));
            }
            _ => {}
        }
    }

    fn guard_text(&self, text: &str) -> String {
        let text = text.replace(GUARD, "");
        let mut whole = String::with_capacity(text.len());
        self.finder.replace_all_with(&text, &mut whole, |_, name, whole| {
            if let Some(index) = self.tokenizer.letters.iter().position(|letter| letter == name) {
                *whole += &stand_in(index);
                return true;
            }
            let first = name.chars().next().map_or(0, char::len_utf8);
            let _ = write!(whole, "{}{GUARD}{}", &name[..first], &name[first..]);
            true
        });
        whole
    }
}

/// Returns the text that a template makes of `context`. It has to have a place for documents if it
/// `quotes` some.
fn write_conversation(
    environment: &Environment<'static>,
    name: &str,
    context: &Value,
    quotes: bool,
) -> Result<String, Error> {
    let failed = |error: minijinja::Error| refused(&reason(&error));
    let template = environment.get_template(name).map_err(failed)?;
    // The word may also be in a text of the template, which quotes nothing.
    if quotes && !template.undeclared_variables(false).contains("documents") {
        return Err(Error::Documents);
    }
    template.render(Serde(Plain(context))).map_err(failed)
}

/// Tokenizer to which special tokens are no text, and [`GUARD`] is nothing.
struct GuardedTokenizer {
    inner: tokenizers::Tokenizer,
    /// Token of the mark, if the tokenizer does not remove it.
    guard: Option<u32>,
    /// Special tokens of one letter, which no mark can break. Each has a [`stand_in`].
    letters: Vec<String>,
}

impl GuardedTokenizer {
    /// Copies a tokenizer with these `special` tokens.
    fn new(inner: &tokenizers::Tokenizer, special: &[AddedToken]) -> Result<Self, String> {
        let mut inner = inner.clone();
        inner.set_encode_special_tokens(false);
        let mut guarded = Self { inner, guard: None, letters: Vec::new() };
        // The library looks for these in the text without marks again.
        let made = if special.iter().any(|token| token.normalized) {
            call_tokenizers(|| guarded.add_guard())
        } else {
            let names = special.iter().map(|token| &token.content);
            guarded.letters = names.filter(|name| name.chars().count() == 1).cloned().collect();
            call_tokenizers(|| guarded.remove_guards())
        };
        made.map_err(|error| error.to_string())?;
        Ok(guarded)
    }

    /// Adds the mark as a token. A text is then encoded in two parts, before and behind it.
    fn add_guard(&mut self) -> tokenizers::Result<()> {
        self.inner.add_special_tokens([AddedToken::from(GUARD, true)])?;
        self.guard = Some(self.inner.token_to_id(GUARD).ok_or("it takes no further token")?);
        Ok(())
    }

    /// Removes marks once special tokens have been found, so that a text is encoded as a whole.
    fn remove_guards(&mut self) -> tokenizers::Result<()> {
        let mut steps: Vec<NormalizerWrapper> = Vec::new();
        for (index, letter) in self.letters.iter().enumerate() {
            steps.push(Replace::new(stand_in(index), letter.as_str())?.into());
        }
        steps.push(Replace::new(GUARD, "")?.into());
        steps.extend(self.inner.get_normalizer().cloned());
        self.inner.with_normalizer(Some(Sequence::new(steps)))?;
        Ok(())
    }
}

/// Returns the text that a special token of one letter has in a message.
fn stand_in(index: usize) -> String {
    format!("{GUARD}{GUARD}{index}{GUARD}")
}

/// Returns an environment as templates expect it: that of Transformers.
fn environment(template: &ChatTemplate) -> Result<Environment<'static>, String> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| error.to_string())?);
    environment.set_unknown_method_callback(bounds::call_method);
    environment.set_formatter(bounds::write_value);
    environment.set_fuel(Some(bounds::FUEL));
    environment.add_filter("tojson", to_json);
    environment.add_filter("string", bounds::to_text);
    // Both are for authors, and write nested values before they are counted.
    environment.remove_filter("pprint");
    environment.remove_global("debug");
    // Jinja2 asks for Python's methods: none cannot be iterated, texts and maps are sequences.
    environment.add_test("iterable", |value: &Any| !value.is_none() && value.try_iter().is_ok());
    environment.add_test("sequence", |value: &Any| {
        let kinds = [ValueKind::Seq, ValueKind::String, ValueKind::Map];
        value.is_undefined() || kinds.contains(&value.kind())
    });
    environment.add_function("strftime_now", strftime_now);
    environment.add_function("raise_exception", raise_exception);
    let sources = [Some(&template.source), template.tool_source.as_ref()];
    for (name, source) in NAMES.into_iter().zip(sources) {
        let Some(source) = source else { continue };
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(format!("it is larger than {MAX_TEMPLATE_BYTES} bytes"));
        }
        let added = environment.add_template_owned(name, without_generation(source));
        added.map_err(|error| error.to_string())?;
    }
    Ok(environment)
}

/// Returns a template in which the tags around generated text, which training needs, do nothing.
fn without_generation(source: &str) -> String {
    let mut whole = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag)) = rest.split_once("{%") {
        let Some((tag, after)) = tag.split_once("%}") else { break };
        let name = tag.trim_matches(|letter: char| "+-".contains(letter) || letter.is_whitespace());
        let tag = match name {
            "generation" => tag.replace(name, "if true"),
            "endgeneration" => tag.replace(name, "endif"),
            _ => tag.to_owned(),
        };
        whole.extend([before, "{%", &tag, "%}"]);
        rest = after;
    }
    whole + rest
}

/// Returns messages for a template that knows no functions: they are described by the system, and
/// calls and results are texts.
fn without_tools(messages: &[ChatMessage], tools: &[Value]) -> Vec<ChatMessage> {
    let mut plain: Vec<ChatMessage> = messages.iter().map(without_calls).collect();
    if tools.is_empty() {
        return plain;
    }
    let mut text = String::from("You can call these functions, which are described in JSON:\n");
    for tool in tools {
        // A write to a string does not fail.
        let _ = writeln!(text, "{tool}");
    }
    text += "To call one, answer with its name and its arguments:\n<tool_call>\n{\"name\": \
             \"…\", \"arguments\": {…}}\n</tool_call>";
    match plain.first_mut().filter(|message| message.role == "system") {
        Some(system) => system.content = format!("{}\n\n{text}", system.content),
        None => plain.insert(0, ChatMessage::new("system", text)),
    }
    plain
}

fn without_calls(message: &ChatMessage) -> ChatMessage {
    if message.role == "tool" {
        let content = format!("<tool_response>\n{}\n</tool_response>", message.content);
        return ChatMessage::new("user", content);
    }
    let mut content = message.content.clone();
    for FunctionCall { name, arguments, .. } in &message.tool_calls {
        let call = json!({ "name": name, "arguments": arguments });
        let gap = if content.is_empty() { "" } else { "\n" };
        let _ = write!(content, "{gap}<tool_call>\n{call}\n</tool_call>");
    }
    ChatMessage::new(message.role.clone(), content)
}

/// JSON for templates. A number of `serde_json` may be a text inside, which is not for them.
struct Plain<'a>(&'a Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => serializer.serialize_i64(number),
                (None, Some(number)) => serializer.serialize_u64(number),
                (None, None) => serializer.serialize_f64(number.as_f64().unwrap_or_default()),
            },
            Value::Array(items) => serializer.collect_seq(items.iter().map(Plain)),
            Value::Object(fields) => {
                serializer.collect_map(fields.iter().map(|(name, value)| (name, Plain(value))))
            }
            value => value.serialize(serializer),
        }
    }
}

fn unusable(error: &impl ToString) -> String {
    format!("the chat template of the model cannot be used: {}", error.to_string())
}

/// Returns the reason of an error of the engine.
fn reason(error: &minijinja::Error) -> String {
    match error.kind() {
        ErrorKind::OutOfFuel => "it takes too long; send fewer or shorter messages".to_owned(),
        _ => error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
    }
}

/// Returns the error of a template that does not write a conversation.
fn refused(reason: &str) -> Error {
    Error::Chat(format!("the chat template of the model refuses the conversation: {reason}"))
}

/// Writes a value in JSON as Python does, which is what models were trained with.
fn to_json(state: &State, value: &Any, options: Kwargs) -> Result<String, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators = separators(&options)?;
    if !options.get::<Option<bool>>("sort_keys")?.unwrap_or_default() {
        return write_json(state, value, indent, separators);
    }
    let json = write_json(state, value, None, separators_of_python())?;
    let mut value: Value = serde_json::from_str(&json)
        .map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    value.sort_all_objects();
    write_json(state, &value, indent, separators)
}

/// Returns the texts after an item and after a key that a template asks for.
fn separators(options: &Kwargs) -> Result<[String; 2], minijinja::Error> {
    let asked: Option<Any> = options.get("separators")?;
    let mut texts = Vec::new();
    if let Some(asked) = asked {
        let asked = asked.try_iter()?.take(3);
        texts.extend(asked.filter_map(|text| text.as_str().map(str::to_owned)));
    }
    Ok(texts.try_into().unwrap_or_else(|_| separators_of_python()))
}

fn separators_of_python() -> [String; 2] {
    [", ".to_owned(), ": ".to_owned()]
}

/// Writes a value on several lines if they have an indent, and else on one.
fn write_json(
    state: &State,
    value: &impl Serialize,
    indent: Option<usize>,
    [item, key]: [String; 2],
) -> Result<String, minijinja::Error> {
    let mut json = ChargedText::new(state);
    let written = match indent {
        Some(width) => {
            let spaces = " ".repeat(width.min(16));
            let formatter = PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, formatter))
        }
        None => {
            let formatter = Separated { item, key };
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, formatter))
        }
    };
    json.finish(written)
}

/// JSON on one line with separators of choice.
struct Separated {
    item: String,
    key: String,
}

impl Separated {
    fn next<W: ?Sized + Write>(&self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(self.item.as_bytes()) }
    }
}

impl Formatter for Separated {
    fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        self.next(to, first)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        self.next(to, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(self.key.as_bytes())
    }
}

/// Ends a template with an error of its own.
fn raise_exception(state: &State, message: &Any) -> Result<Any, minijinja::Error> {
    let message = bounds::to_text(state, message)?;
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message.to_string()))
}

/// Returns the time, in UTC, in the form that C's function of this name knows.
fn strftime_now(format: &str) -> Result<String, minijinja::Error> {
    let mut text = String::new();
    write!(text, "{}", chrono::Utc::now().format(format)).map_err(|_| {
        minijinja::Error::new(ErrorKind::InvalidOperation, "it has an unknown form of dates")
    })?;
    Ok(text)
}

#[cfg(test)]
mod tests;
