// SPDX-License-Identifier: Apache-2.0

//! Text of programs in Python and in Rust, with the same output.

use super::{Comparison, Language, MAX_DEPTH, NAMES, Sign, Statement, Term};

/// Variables that are in scope.
#[derive(Clone, Default)]
struct Scope {
    /// Variables that can be assigned.
    variables: Vec<usize>,
    /// Variables of loops, which only the loops assign.
    counters: Vec<usize>,
    list: bool,
}

impl Scope {
    fn knows(&self, name: usize) -> bool {
        self.variables.contains(&name) || self.counters.contains(&name)
    }

    fn allows(&self, term: &Term) -> bool {
        match term {
            Term::Number(_) => true,
            Term::Name(name) => self.knows(*name),
            Term::Length | Term::Sum => self.list,
            Term::Binary(left, _, right) => self.allows(left) && self.allows(right),
        }
    }

    fn allows_block(&self, body: &[Statement], depth: u32) -> bool {
        let mut inner = self.clone();
        depth < MAX_DEPTH
            && !body.is_empty()
            && body.iter().all(|statement| inner.accept(statement, depth + 1))
    }

    /// Returns `true` if a statement may stand here, and declares what it declares.
    fn accept(&mut self, statement: &Statement, depth: u32) -> bool {
        let is_new = |scope: &Self, name: usize| name < NAMES.len() && !scope.knows(name);
        match statement {
            Statement::Assign(name, term) if depth == 0 && is_new(self, *name) => {
                let allowed = self.allows(term);
                self.variables.push(*name);
                allowed
            }
            Statement::Assign(name, term) | Statement::Add(name, term) => {
                self.variables.contains(name) && self.allows(term)
            }
            Statement::NewList => {
                let is_first = depth == 0 && !self.list;
                self.list = true;
                is_first
            }
            Statement::Append(term) => self.list && self.allows(term),
            Statement::For(name, _, _, body) => {
                let mut inner = self.clone();
                inner.counters.push(*name);
                is_new(self, *name) && inner.allows_block(body, depth)
            }
            Statement::While(left, _, right, body) => {
                self.allows(left) && self.allows(right) && self.allows_block(body, depth)
            }
            Statement::If(left, _, right, yes, no) => {
                self.allows(left)
                    && self.allows(right)
                    && self.allows_block(yes, depth)
                    && (no.is_empty() || self.allows_block(no, depth))
            }
            Statement::Print(term) => self.allows(term),
            Statement::PrintList => self.list,
        }
    }
}

/// Returns `true` if the text of the program is valid in both languages, also in parts that never
/// run: variables are declared first, at the start of the program, and no block is empty.
pub(super) fn is_valid(statements: &[Statement]) -> bool {
    let mut scope = Scope::default();
    statements.iter().all(|statement| scope.accept(statement, 0))
}

/// Writer of a program.
pub(super) struct Writer {
    language: Language,
    text: String,
    indent: usize,
    declared: Vec<usize>,
}

impl Writer {
    /// Returns the text of a valid program.
    pub(super) fn write(language: Language, statements: &[Statement]) -> String {
        let mut writer = Self { language, text: String::new(), indent: 0, declared: Vec::new() };
        match language {
            Language::Python => statements.iter().for_each(|statement| writer.statement(statement)),
            Language::Rust => writer.block("fn main()", statements),
        }
        writer.text
    }

    fn line(&mut self, line: &str) {
        self.text += &"    ".repeat(self.indent);
        self.text += line;
        self.text += "\n";
    }

    fn block(&mut self, head: &str, body: &[Statement]) {
        let (open, close) = match self.language {
            Language::Python => (":", None),
            Language::Rust => (" {", Some("}")),
        };
        self.line(&format!("{head}{open}"));
        self.indent += 1;
        body.iter().for_each(|statement| self.statement(statement));
        self.indent -= 1;
        if let Some(close) = close {
            self.line(close);
        }
    }

    fn statement(&mut self, statement: &Statement) {
        let language = self.language;
        let python = language == Language::Python;
        let written = |term: &Term| language.term(term, false);
        let condition = |left: &Term, comparison: Comparison, right: &Term| {
            format!("{} {} {}", written(left), comparison.sign(), written(right))
        };
        match statement {
            Statement::Assign(target, term) => {
                let is_new = !self.declared.contains(target);
                self.declared.push(*target);
                let (name, term) = (name(*target), written(term));
                self.line(&match (python, is_new) {
                    (true, _) => format!("{name} = {term}"),
                    (false, true) => format!("let mut {name}: i64 = {term};"),
                    (false, false) => format!("{name} = {term};"),
                });
            }
            Statement::Add(target, term) => {
                let end = if python { "" } else { ";" };
                self.line(&format!("{} += {}{end}", name(*target), written(term)));
            }
            Statement::NewList if python => self.line("values = []"),
            Statement::NewList => self.line("let mut values: Vec<i64> = Vec::new();"),
            Statement::Append(term) if python => {
                self.line(&format!("values.append({})", written(term)));
            }
            Statement::Append(term) => self.line(&format!("values.push({});", written(term))),
            Statement::For(target, from, to, body) => {
                let name = name(*target);
                let head = match language {
                    Language::Python => format!("for {name} in range({from}, {to})"),
                    Language::Rust => format!("for {name} in {from}..{to}_i64"),
                };
                self.block(&head, body);
            }
            Statement::While(left, comparison, right, body) => {
                self.block(&format!("while {}", condition(left, *comparison, right)), body);
            }
            Statement::If(left, comparison, right, yes, no) => {
                self.block(&format!("if {}", condition(left, *comparison, right)), yes);
                match language {
                    _ if no.is_empty() => {}
                    Language::Python => self.block("else", no),
                    Language::Rust => {
                        // The closing brace stands on the line of `else`.
                        let brace = self.text.len().saturating_sub(4 * self.indent + 2);
                        self.text.truncate(brace);
                        self.block("} else", no);
                    }
                }
            }
            Statement::Print(term) if python => self.line(&format!("print({})", written(term))),
            Statement::Print(term) => {
                self.line(&format!("println!(\"{{}}\", {});", written(term)));
            }
            Statement::PrintList if python => self.line("print(values)"),
            Statement::PrintList => self.line("println!(\"{values:?}\");"),
        }
    }
}

fn name(number: usize) -> &'static str {
    NAMES.get(number).copied().unwrap_or("?")
}

impl Language {
    fn term(self, term: &Term, nested: bool) -> String {
        let (left, sign, right) = match (term, self) {
            (Term::Number(number), _) => return number.to_string(),
            (Term::Name(number), _) => return name(*number).to_owned(),
            (Term::Length, Self::Python) => return "len(values)".to_owned(),
            (Term::Length, Self::Rust) => return "(values.len() as i64)".to_owned(),
            (Term::Sum, Self::Python) => return "sum(values)".to_owned(),
            (Term::Sum, Self::Rust) => return "values.iter().sum::<i64>()".to_owned(),
            (Term::Binary(left, sign, right), _) => (left, *sign, right),
        };
        let method = match (self, sign) {
            (Self::Rust, Sign::Quotient) => Some("div_euclid"),
            (Self::Rust, Sign::Remainder) => Some("rem_euclid"),
            _ => None,
        };
        if let Some(method) = method {
            // A method belongs to a type, which a bare number does not have.
            let left = match &**left {
                Term::Number(number) => format!("({number}_i64)"),
                other => self.term(other, true),
            };
            return format!("{left}.{method}({})", self.term(right, false));
        }
        let text = format!("{} {} {}", self.term(left, true), sign.sign(), self.term(right, true));
        if nested { format!("({text})") } else { text }
    }
}

impl Sign {
    fn sign(self) -> &'static str {
        match self {
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Times => "*",
            Self::Quotient => "//",
            Self::Remainder => "%",
        }
    }
}

impl Comparison {
    fn sign(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::Greater => ">",
            Self::Equal => "==",
            Self::Different => "!=",
        }
    }
}
