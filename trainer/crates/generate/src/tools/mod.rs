// SPDX-License-Identifier: Apache-2.0

//! Tools that a model calls by a marker in its text, `<<calc: 12*(3+4)>>`. The result is appended
//! to the text.

mod calc;
mod sat;

use serde::{Serialize, Serializer, ser::SerializeStruct};

/// Largest input of a tool, in bytes.
pub const MAX_TOOL_INPUT_BYTES: usize = 512;
/// Deepest nesting of parentheses and operators.
const DEEPEST: u32 = 64;

const OPEN: &[u8] = b"<<";
const CLOSE: &[u8] = b">>";

/// Tool for computations that language models get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Exact arithmetic on rational numbers.
    Calc,
    /// Satisfiability of a propositional formula.
    Sat,
}

/// Error of a tool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// No tool has this name.
    #[error("no tool is called {0}; there are calc and sat")]
    Unknown(String),
    /// The input is too long or nested too deep, or a number or the search would exceed its bound.
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// The input does not follow the tool's grammar.
    #[error("expected {expected} at '{found}'")]
    Syntax {
        /// Description of valid input.
        expected: &'static str,
        /// Rest of the input, shortened.
        found: String,
    },
    /// A division by zero.
    #[error("division by zero")]
    Zero,
}

/// Call of a tool with its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// Name of the tool and its input, as between the markers.
    pub asked: String,
    /// Result or error. The model sees either.
    pub result: Result<String, ToolError>,
}

impl ToolCall {
    /// Runs a call such as `calc: 1/3 + 1/6`.
    pub fn run(asked: &str) -> Self {
        Self { asked: asked.into(), result: run(asked) }
    }

    /// Returns the text that follows the closing marker.
    pub fn inserted(&self) -> String {
        match &self.result {
            Ok(result) => format!(" = {result}"),
            Err(error) => format!(" = error: {error}"),
        }
    }
}

impl Serialize for ToolCall {
    /// Serializes an object with the fields `asked`, and `result` or `error`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("ToolCall", 2)?;
        object.serialize_field("asked", &self.asked)?;
        match &self.result {
            Ok(result) => object.serialize_field("result", result)?,
            Err(error) => object.serialize_field("error", &error.to_string())?,
        }
        object.end()
    }
}

fn run(asked: &str) -> Result<String, ToolError> {
    let (name, input) = asked.split_once(':').unwrap_or((asked, ""));
    let tool = match name.trim() {
        "calc" => Tool::Calc,
        "sat" => Tool::Sat,
        other => return Err(ToolError::Unknown(other.chars().take(32).collect())),
    };
    tool.run(input.trim())
}

impl Tool {
    /// Computes the result of `input`.
    ///
    /// - [`Tool::Calc`] takes numbers with or without decimals, `+ - * / ^`, and parentheses. The
    ///   result is exact: an integer, a finite decimal, or a fraction.
    /// - [`Tool::Sat`] takes names, `true`, `false`, `not`, `and`, `or`, `xor`, `->`, `<->`, and
    ///   parentheses. The result is `satisfiable` with values, or `unsatisfiable`.
    ///
    /// # Errors
    ///
    /// Fails if the input cannot be parsed, divides by zero, or exceeds a bound.
    pub fn run(self, input: &str) -> Result<String, ToolError> {
        if input.len() > MAX_TOOL_INPUT_BYTES {
            return Err(ToolError::TooLarge("the input"));
        }
        match self {
            Self::Calc => calc::evaluate(input),
            Self::Sat => sat::solve(input),
        }
    }
}

/// Detector of tool calls in generated text.
#[derive(Clone, Debug, Default)]
pub struct ToolCallDetector {
    /// Bytes of an open call, from its marker on.
    open: Vec<u8>,
}

impl ToolCallDetector {
    /// Adds `bytes`. If they complete a call, runs it and returns it with the number of bytes that
    /// belong to it.
    pub fn push(&mut self, bytes: &[u8]) -> Option<(ToolCall, usize)> {
        for (index, &byte) in bytes.iter().enumerate() {
            self.open.push(byte);
            if !self.open.starts_with(&OPEN[..self.open.len().min(OPEN.len())]) {
                self.open.clear();
                if byte == OPEN[0] {
                    self.open.push(byte);
                }
            } else if self.open.len() > OPEN.len() && self.open.ends_with(OPEN) {
                // The latest marker starts the call.
                self.open.truncate(OPEN.len());
            } else if self.open.len() > OPEN.len() + MAX_TOOL_INPUT_BYTES + 64 || byte == b'\n' {
                self.open.clear();
            } else if self.open.len() >= OPEN.len() + CLOSE.len() && self.open.ends_with(CLOSE) {
                let asked = &self.open[OPEN.len()..self.open.len() - CLOSE.len()];
                let call = ToolCall::run(&String::from_utf8_lossy(asked));
                self.open.clear();
                return Some((call, index + 1));
            }
        }
        None
    }
}

/// Rest of a text that a parser reads.
struct Input<'a> {
    rest: &'a str,
    depth: u32,
}

impl<'a> Input<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text.trim_start(), depth: 0 }
    }

    /// Consumes one of `symbols`, if the text continues with it.
    fn take(&mut self, symbols: &[&str]) -> bool {
        for symbol in symbols {
            if let Some(rest) = self.rest.strip_prefix(symbol) {
                // A word must not continue with letters.
                let word = symbol.ends_with(char::is_alphabetic);
                if !(word && rest.starts_with(|next: char| next.is_alphanumeric() || next == '_')) {
                    self.rest = rest.trim_start();
                    return true;
                }
            }
        }
        false
    }

    /// Consumes the longest prefix of characters that satisfy `of`.
    fn span(&mut self, of: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|letter| !of(letter)).unwrap_or(self.rest.len());
        let (span, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        span
    }

    /// Enters a level of nesting.
    fn enter(&mut self) -> Result<(), ToolError> {
        self.depth += 1;
        if self.depth > DEEPEST { Err(ToolError::TooLarge("the nesting")) } else { Ok(()) }
    }

    /// Leaves a level of nesting.
    fn leave(&mut self) {
        self.depth -= 1;
    }

    fn expected(&self, expected: &'static str) -> ToolError {
        ToolError::Syntax { expected, found: self.rest.chars().take(16).collect() }
    }

    /// Fails if input is left.
    fn end(&self, expected: &'static str) -> Result<(), ToolError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.expected(expected)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn calls(text: &[u8], parts: usize) -> Vec<(String, usize)> {
        let mut watch = ToolCallDetector::default();
        let (mut found, mut at) = (Vec::new(), 0);
        for part in text.chunks(parts) {
            let mut part = part;
            while let Some((call, used)) = watch.push(part) {
                at += used;
                part = &part[used..];
                found.push((call.asked.clone() + &call.inserted(), at));
            }
            at += part.len();
        }
        found
    }

    #[test]
    fn calls_are_found_however_they_come() {
        let text = b"a < b << c\n<<calc: 1+1>>, <<<calc: 2^5>>> <<sat: a and not a>>\
            <<calc: 1<<calc: 9>> <<calc:\n3>> <<x>> >>";
        let expected =
            ["calc: 1+1 = 2", "calc: 2^5 = 32", "sat: a and not a = unsatisfiable", "calc: 9 = 9"];
        for parts in 1..text.len() {
            let found = calls(text, parts);
            assert_eq!(
                found.iter().map(|call| call.0.as_str()).take(4).collect::<Vec<_>>(),
                expected,
                "{parts}"
            );
            assert!(found[4].0.starts_with("x = error: no tool is called x"));
            assert_eq!(&text[found[0].1 - 2..found[0].1 + 1], b">>,");
            assert_eq!(found.len(), 5);
        }
    }

    #[test]
    fn long_input_is_refused() {
        let long = "1+".repeat(MAX_TOOL_INPUT_BYTES);
        assert_eq!(Tool::Calc.run(&long), Err(ToolError::TooLarge("the input")));
        assert!(calls(format!("<<calc: {long}1>>").as_bytes(), 7).is_empty());
        let asked = format!("calc: {}1", "0+".repeat(280));
        assert_eq!(ToolCall::run(&asked).inserted(), " = error: the input is too large");
    }

    proptest! {
        #[test]
        fn nothing_asked_does_harm(text in "[-+*/^()0-9a-c.! &|<>=~a-z]{0,200}") {
            for tool in [Tool::Calc, Tool::Sat] {
                if let Ok(result) = tool.run(&text) {
                    prop_assert!(result.len() < 8_192);
                }
            }
        }
    }
}
