//! What the model can have computed while it writes: it calls a tool by a marker,
//! `<<calc: 12*(3+4)>>`, and reads the result behind it.

mod calc;
mod sat;

/// Bytes that what a tool is asked may have.
pub const MAX_TOOL_INPUT_BYTES: usize = 512;
/// How deep parentheses and operators may be nested.
const DEEPEST: u32 = 64;

const OPEN: &[u8] = b"<<";
const CLOSE: &[u8] = b">>";

/// Something that computes what models are bad at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Exact arithmetic on rational numbers.
    Calc,
    /// Satisfiability of a propositional formula.
    Sat,
}

/// Why a tool has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// No tool has this name.
    #[error("no tool is called {0}; there are calc and sat")]
    Unknown(String),
    /// The input is longer than [`MAX_TOOL_INPUT_BYTES`] or nested too deep, or numbers or work would grow
    /// beyond their bounds.
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// The input does not follow the tool's grammar.
    #[error("expected {expected} at '{found}'")]
    Syntax {
        /// What would have been understood.
        expected: &'static str,
        /// The rest of the input, shortened.
        found: String,
    },
    /// A division by zero.
    #[error("division by zero")]
    Zero,
}

/// One call of a tool and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// The name of the tool and what it was asked, as between the markers.
    pub asked: String,
    /// The result, or why there is none; both are shown to the model.
    pub result: Result<String, ToolError>,
}

impl ToolCall {
    /// Computes `asked`, such as `calc: 1/3 + 1/6`.
    pub fn run(asked: &str) -> Self {
        Self { asked: asked.into(), result: run(asked) }
    }

    /// What is written behind the closing marker.
    pub fn inserted(&self) -> String {
        match &self.result {
            Ok(result) => format!(" = {result}"),
            Err(error) => format!(" = error: {error}"),
        }
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
    /// Computes `input`.
    ///
    /// `calc`: numbers with or without decimals, `+ - * / ^`, parentheses; the result is exact: an
    /// integer, a decimal that ends, or a fraction. `sat`: names, `true`, `false`, `not`, `and`,
    /// `or`, `xor`, `->`, `<->`, parentheses; the result is `satisfiable` with values, or
    /// `unsatisfiable`.
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

/// Finds calls in text as it is written.
#[derive(Clone, Debug, Default)]
pub struct ToolCallDetector {
    /// Bytes of a call that has been opened, from its marker on.
    open: Vec<u8>,
}

impl ToolCallDetector {
    /// Takes in `bytes`; where they complete a call, gives it and how many of them belong to it.
    pub fn push(&mut self, bytes: &[u8]) -> Option<(ToolCall, usize)> {
        for (index, &byte) in bytes.iter().enumerate() {
            self.open.push(byte);
            if !self.open.starts_with(&OPEN[..self.open.len().min(OPEN.len())]) {
                self.open.clear();
                if byte == OPEN[0] {
                    self.open.push(byte);
                }
            } else if self.open.len() > OPEN.len() && self.open.ends_with(OPEN) {
                // The latest marker counts.
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

/// What both grammars read from: a text without what has been read.
struct Input<'a> {
    rest: &'a str,
    depth: u32,
}

impl<'a> Input<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text.trim_start(), depth: 0 }
    }

    /// Takes one of `symbols` away, if the text goes on with it.
    fn take(&mut self, symbols: &[&str]) -> bool {
        for symbol in symbols {
            if let Some(rest) = self.rest.strip_prefix(symbol) {
                // A word ends where its letters do.
                let word = symbol.ends_with(char::is_alphabetic);
                if !(word && rest.starts_with(|next: char| next.is_alphanumeric() || next == '_')) {
                    self.rest = rest.trim_start();
                    return true;
                }
            }
        }
        false
    }

    /// Takes the longest start of letters that are `of`.
    fn span(&mut self, of: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|letter| !of(letter)).unwrap_or(self.rest.len());
        let (span, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        span
    }

    /// Goes one deeper into the nesting.
    fn enter(&mut self) -> Result<(), ToolError> {
        self.depth += 1;
        if self.depth > DEEPEST { Err(ToolError::TooLarge("the nesting")) } else { Ok(()) }
    }

    /// Comes back from what [`enter`](Self::enter) went into.
    fn leave(&mut self) {
        self.depth -= 1;
    }

    fn expected(&self, expected: &'static str) -> ToolError {
        ToolError::Syntax { expected, found: self.rest.chars().take(16).collect() }
    }

    /// Nothing may be left.
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
        let text = b"a < b << c\n<<calc: 1+1>>, <<<calc: 2^5>>> <<sat: a and not a>><<calc: 1<<calc: 9>> <<calc:\n3>> <<x>> >>";
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
