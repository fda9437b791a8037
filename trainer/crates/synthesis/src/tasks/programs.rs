// SPDX-License-Identifier: Apache-2.0

//! Small programs with their output, in the subset of Python and Rust that this module evaluates.

mod source;

use super::{Level, Proved};
use crate::{
    draws::Draws,
    error::Rejection,
    words::{Solution, Words},
};
use serde::{Deserialize, Serialize};
use source::{Writer, is_valid};

/// Names of variables, by number.
const NAMES: [&str; 8] = ["a", "b", "c", "i", "j", "n", "total", "count"];
/// Number of the variable of an outer loop, and of an inner one.
const LOOPS: [usize; 2] = [3, 4];
/// Largest number of statements that run.
const MAX_STEPS: u32 = 2_000;
/// Largest size of a value.
const MAX_VALUE: i64 = 1_000_000_000_000;
/// Deepest nesting.
const MAX_DEPTH: u32 = 16;
/// Largest number of elements of a list, and of lines of output.
const MAX_ITEMS: usize = 64;
/// Largest number of lines of a trace.
const MAX_TRACE: usize = 14;

/// Expression over integers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Term {
    /// Constant.
    Number(i64),
    /// Variable, by number.
    Name(usize),
    /// Length of the list.
    Length,
    /// Sum of the list.
    Sum,
    /// Operation on two terms.
    Binary(Box<Self>, Sign, Box<Self>),
}

/// Sign of an operation. Division rounds down, and remainders have the sign of the divisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// `+`
    Plus,
    /// `-`
    Minus,
    /// `*`
    Times,
    /// `//`
    Quotient,
    /// `%`
    Remainder,
}

/// Comparison of two terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// `<`
    Less,
    /// `>`
    Greater,
    /// `==`
    Equal,
    /// `!=`
    Different,
}

/// Statement of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Statement {
    /// Gives a variable a value.
    Assign(usize, Term),
    /// Adds to a variable.
    Add(usize, Term),
    /// Empties the list.
    NewList,
    /// Appends to the list.
    Append(Term),
    /// Runs statements for each value of a variable from the first number up to the second, which
    /// is left out.
    For(usize, i64, i64, Vec<Self>),
    /// Runs statements while a comparison holds.
    While(Term, Comparison, Term, Vec<Self>),
    /// Runs the first statements if a comparison holds, and the others if not.
    If(Term, Comparison, Term, Vec<Self>, Vec<Self>),
    /// Prints a value.
    Print(Term),
    /// Prints the list.
    PrintList,
}

/// Language of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// Python 3.
    Python,
    /// Rust.
    Rust,
}

/// A program, its output, and the values at the end of each round of its outermost loop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Language of its text.
    pub language: Language,
    /// Statements.
    pub statements: Vec<Statement>,
    /// Lines of output.
    pub output: Vec<String>,
    /// Values of variables on the way.
    pub trace: Vec<String>,
}

/// State of a run.
#[derive(Default)]
struct Machine {
    values: [Option<i64>; NAMES.len()],
    list: Option<Vec<i64>>,
    steps: u32,
    depth: u32,
    output: Vec<String>,
    trace: Vec<String>,
}

impl Machine {
    /// Returns the machine after a run, or `None` if Python would fail, or a limit is exceeded.
    fn run(statements: &[Statement]) -> Option<Self> {
        let mut machine = Self::default();
        machine.block(statements)?;
        Some(machine)
    }

    fn block(&mut self, statements: &[Statement]) -> Option<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH || statements.is_empty() {
            return None;
        }
        for statement in statements {
            self.statement(statement)?;
        }
        self.depth -= 1;
        Some(())
    }

    fn statement(&mut self, statement: &Statement) -> Option<()> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return None;
        }
        match statement {
            Statement::Assign(name, term) => *self.values.get_mut(*name)? = Some(self.value(term)?),
            Statement::Add(name, term) => {
                let value = (*self.values.get(*name)?)?.checked_add(self.value(term)?)?;
                *self.values.get_mut(*name)? = Some(bounded(value)?);
            }
            Statement::NewList => self.list = Some(Vec::new()),
            Statement::Append(term) => {
                let value = self.value(term)?;
                let list = self.list.as_mut()?;
                list.push(value);
                if list.len() > MAX_ITEMS {
                    return None;
                }
            }
            Statement::For(name, from, to, body) => {
                for value in *from..*to {
                    *self.values.get_mut(*name)? = Some(value);
                    self.round(body)?;
                }
                // The variable belongs to the loop.
                *self.values.get_mut(*name)? = None;
            }
            Statement::While(left, comparison, right, body) => {
                while self.compare(left, *comparison, right)? {
                    self.round(body)?;
                }
            }
            Statement::If(left, comparison, right, yes, no) => {
                if self.compare(left, *comparison, right)? {
                    self.block(yes)?;
                } else if !no.is_empty() {
                    self.block(no)?;
                }
            }
            Statement::Print(term) => {
                let line = self.value(term)?.to_string();
                self.print(line)?;
            }
            Statement::PrintList => {
                let line = written(self.list.as_ref()?);
                self.print(line)?;
            }
        }
        Some(())
    }

    /// Runs the body of a loop, and traces it if the loop is outermost.
    fn round(&mut self, body: &[Statement]) -> Option<()> {
        self.block(body)?;
        if self.depth == 1 {
            let known = NAMES
                .iter()
                .zip(self.values)
                .filter_map(|(name, value)| value.map(|value| format!("{name} = {value}")));
            let list = self.list.as_ref().map(|list| format!("values = {}", written(list)));
            self.trace.push(known.chain(list).collect::<Vec<_>>().join(", "));
        }
        Some(())
    }

    fn print(&mut self, line: String) -> Option<()> {
        self.output.push(line);
        (self.output.len() <= MAX_ITEMS).then_some(())
    }

    fn value(&mut self, term: &Term) -> Option<i64> {
        match term {
            Term::Number(number) => bounded(*number),
            Term::Name(name) => *self.values.get(*name)?,
            Term::Length => i64::try_from(self.list.as_ref()?.len()).ok(),
            Term::Sum => bounded(self.list.as_ref()?.iter().sum()),
            Term::Binary(left, sign, right) => {
                self.depth += 1;
                if self.depth > 2 * MAX_DEPTH {
                    return None;
                }
                let (a, b) = (self.value(left)?, self.value(right)?);
                self.depth -= 1;
                let value = match sign {
                    Sign::Plus => a.checked_add(b)?,
                    Sign::Minus => a.checked_sub(b)?,
                    Sign::Times => a.checked_mul(b)?,
                    // For positive divisors Euclidean division is the same as that of Python.
                    Sign::Quotient if b > 0 => a.div_euclid(b),
                    Sign::Remainder if b > 0 => a.rem_euclid(b),
                    Sign::Quotient | Sign::Remainder => return None,
                };
                bounded(value)
            }
        }
    }

    fn compare(&mut self, left: &Term, comparison: Comparison, right: &Term) -> Option<bool> {
        self.steps += 1;
        let (a, b) = (self.value(left)?, self.value(right)?);
        (self.steps <= MAX_STEPS).then_some(match comparison {
            Comparison::Less => a < b,
            Comparison::Greater => a > b,
            Comparison::Equal => a == b,
            Comparison::Different => a != b,
        })
    }
}

fn bounded(value: i64) -> Option<i64> {
    (-MAX_VALUE..=MAX_VALUE).contains(&value).then_some(value)
}

fn written(list: &[i64]) -> String {
    let numbers: Vec<String> = list.iter().map(i64::to_string).collect();
    format!("[{}]", numbers.join(", "))
}

impl Term {
    fn draw(names: &[usize], depth: u32, draws: &mut Draws) -> Self {
        if depth == 0 || draws.chance(25) {
            return Self::Name(draws.pick(names));
        }
        let left = Box::new(Self::draw(names, depth - 1, draws));
        let (sign, right) = match draws.below(6) {
            0 | 1 => (Sign::Plus, Self::operand(names, draws)),
            2 => (Sign::Minus, Self::operand(names, draws)),
            3 => (Sign::Times, Self::operand(names, draws)),
            4 => (Sign::Quotient, Self::Number(draws.range(2, 9))),
            _ => (Sign::Remainder, Self::Number(draws.range(2, 9))),
        };
        Self::Binary(left, sign, Box::new(right))
    }

    fn operand(names: &[usize], draws: &mut Draws) -> Self {
        if draws.chance(50) {
            Self::Name(draws.pick(names))
        } else {
            Self::Number(draws.range(1, 9))
        }
    }
}

impl Program {
    pub(super) fn draw(level: Level, draws: &mut Draws) -> Self {
        // The first values show the index of the document. The rest is drawn until it runs.
        let values = 2 + usize::from(level.index() > 1);
        let start: Vec<Statement> = (0..values)
            .map(|name| Statement::Assign(name, Term::Number(draws.distinct_range(1, 99))))
            .collect();
        let mut draws = draws.detached();
        let language = if draws.chance(65) { Language::Python } else { Language::Rust };
        loop {
            let mut statements = start.clone();
            statements.extend(draw_rest(level, values, &mut draws));
            if let Some(Machine { output, trace, .. }) = Machine::run(&statements)
                && (1..=MAX_TRACE).contains(&trace.len())
                && output.iter().all(|line| line != "0" && line != "[]")
            {
                return Self { language, statements, output, trace };
            }
        }
    }

    /// Returns the text of the program.
    #[must_use]
    pub fn source(&self) -> String {
        Writer::write(self.language, &self.statements)
    }
}

/// Draws the loop of a program and the printing of its results.
fn draw_rest(level: Level, values: usize, draws: &mut Draws) -> Vec<Statement> {
    let names: Vec<usize> = (0..values).collect();
    let uses_list = level.index() > 0 && draws.chance(50);
    let result = 6;
    let mut statements = vec![Statement::Assign(result, Term::Number(0))];
    if uses_list {
        statements.push(Statement::NewList);
    }
    let mut known = names.clone();
    if draws.chance(70) || level.index() == 0 {
        let from = draws.range(0, 3);
        known.push(LOOPS[0]);
        let body = draw_body(level, &known, uses_list, draws);
        let to = from + draws.range(2, 3 + level.index() as i64);
        statements.push(Statement::For(LOOPS[0], from, to, body));
    } else {
        // A variable that shrinks in every round ends the loop.
        let mut body = draw_body(level, &known, uses_list, draws);
        let (sign, by) = draws.pick(&[(Sign::Quotient, 2), (Sign::Quotient, 3), (Sign::Minus, 17)]);
        let shrunk = Term::Binary(Box::new(Term::Name(0)), sign, Box::new(Term::Number(by)));
        body.push(Statement::Assign(0, shrunk));
        let least = Term::Number(draws.range(0, 3));
        statements.push(Statement::While(Term::Name(0), Comparison::Greater, least, body));
    }
    statements.push(Statement::Print(Term::Name(result)));
    if uses_list {
        let list =
            [Statement::PrintList, Statement::Print(Term::Length), Statement::Print(Term::Sum)];
        statements.push(list[draws.below(list.len())].clone());
    }
    statements
}

fn draw_body(level: Level, known: &[usize], uses_list: bool, draws: &mut Draws) -> Vec<Statement> {
    let depth = 1 + u32::from(level.index() > 2);
    let change = |draws: &mut Draws, known: &[usize]| {
        let term = Term::draw(known, depth, draws);
        if uses_list && draws.chance(50) {
            Statement::Append(term)
        } else {
            Statement::Add(6, term)
        }
    };
    let mut body = Vec::new();
    if level.index() > 1 && draws.chance(50) {
        body.push(Statement::Assign(1, Term::draw(known, depth, draws)));
    }
    if level.index() > 2 && draws.chance(50) {
        let mut inner = known.to_vec();
        inner.push(LOOPS[1]);
        let statement = change(draws, &inner);
        body.push(Statement::For(LOOPS[1], 0, draws.range(2, 4), vec![statement]));
    }
    if draws.chance(40 + 10 * level.index()) {
        let left = Term::Binary(
            Box::new(Term::Name(draws.pick(known))),
            Sign::Remainder,
            Box::new(Term::Number(draws.range(2, 4))),
        );
        let comparison = draws.pick(&[Comparison::Equal, Comparison::Different, Comparison::Less]);
        let right = Term::Number(draws.range(0, 2));
        let yes = vec![change(draws, known)];
        let no = if draws.chance(50) { vec![change(draws, known)] } else { Vec::new() };
        body.push(Statement::If(left, comparison, right, yes, no));
    } else {
        body.push(change(draws, known));
    }
    body
}

impl Proved for Program {
    fn check(&self) -> Result<(), Rejection> {
        Rejection::unless(is_valid(&self.statements), "the program is malformed")?;
        let Some(Machine { output, trace, .. }) = Machine::run(&self.statements) else {
            return Err(Rejection("the program does not run".into()));
        };
        Rejection::unless(output == self.output && !output.is_empty(), "it prints something else")?;
        Rejection::unless(trace == self.trace, "its variables have other values on the way")
    }

    fn solution(&self, words: &mut Words) -> Solution {
        let (language, fence) = match self.language {
            Language::Python => ("Python", "python"),
            Language::Rust => ("Rust", "rust"),
        };
        let asked = words
            .pick(&[
                "What does this _ program print?",
                "Give the output of this program:",
                "Run this program in your head. What is printed?",
                "Which lines does the following _ code write?",
            ])
            .replace('_', language);
        let mut steps: Vec<String> = (1..)
            .zip(&self.trace)
            .map(|(round, values)| format!("After round {round}: {values}"))
            .collect();
        if steps.is_empty() {
            steps.push("The loop does not run".into());
        }
        steps.extend(self.output.iter().map(|line| format!("It prints {line}")));
        Solution {
            question: format!("{asked}\n```{fence}\n{}```", self.source()),
            steps,
            answer: self.output.join(", then "),
        }
    }
}
