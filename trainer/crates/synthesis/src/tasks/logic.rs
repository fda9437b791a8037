// SPDX-License-Identifier: Apache-2.0

//! Propositional logic: questions if a statement follows from others.
//!
//! A SAT solver decides the questions, and a search with unit propagation (Davis, Logemann and
//! Loveland 1962, "A Machine Program for Theorem-Proving") writes the proofs. The check replays the
//! proof line by line and asks all rows of the truth table.

use super::{Level, Proved};
use crate::{
    draws::Draws,
    error::Rejection,
    words::{PEOPLE, Solution, Words, capitalised, listed},
};
use batsat::{BasicSolver, Lit, SolverInterface, lbool};
use serde::{Deserialize, Serialize};

/// Largest number of atoms. All rows of their truth table are checked.
const MAX_ATOMS: usize = 10;
/// Largest number of premises.
const MAX_PREMISES: usize = 32;
/// Largest number of lines of a proof.
const MAX_LINES: usize = 24;

/// Facts about people that are true or false.
const FACTS: [(&str, &str); 12] = [
    ("is at home", "is not at home"),
    ("is asleep", "is awake"),
    ("likes tea", "does not like tea"),
    ("plays chess", "does not play chess"),
    ("owns a bicycle", "owns no bicycle"),
    ("speaks Greek", "speaks no Greek"),
    ("has the key", "does not have the key"),
    ("works today", "does not work today"),
    ("can swim", "cannot swim"),
    ("wears a hat", "wears no hat"),
    ("lives in town", "lives out of town"),
    ("sings in the choir", "does not sing in the choir"),
];

/// An atom, or its negation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Literal {
    /// Number of the atom.
    pub atom: usize,
    /// `true` for the atom, `false` for its negation.
    pub holds: bool,
}

impl Literal {
    fn not(self) -> Self {
        Self { holds: !self.holds, ..self }
    }

    fn is_true(self, row: u32) -> bool {
        (row >> self.atom & 1 == 1) == self.holds
    }
}

/// Statement that is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Premise {
    /// The first implies the second.
    If(Literal, Literal),
    /// The first two together imply the third.
    IfBoth(Literal, Literal, Literal),
    /// At least one holds.
    AnyOf(Vec<Literal>),
    /// Exactly one of two holds.
    Either(Literal, Literal),
    /// Both hold, or neither.
    Same(Literal, Literal),
}

impl Premise {
    fn literals(&self) -> Vec<Literal> {
        match self {
            Self::If(a, b) | Self::Either(a, b) | Self::Same(a, b) => vec![*a, *b],
            Self::IfBoth(a, b, c) => vec![*a, *b, *c],
            Self::AnyOf(all) => all.clone(),
        }
    }

    fn is_true(&self, row: u32) -> bool {
        match self {
            Self::If(a, b) => !a.is_true(row) || b.is_true(row),
            Self::IfBoth(a, b, c) => !(a.is_true(row) && b.is_true(row)) || c.is_true(row),
            Self::AnyOf(all) => all.iter().any(|literal| literal.is_true(row)),
            Self::Either(a, b) => a.is_true(row) != b.is_true(row),
            Self::Same(a, b) => a.is_true(row) == b.is_true(row),
        }
    }

    /// Returns the same statement as disjunctions.
    fn clauses(&self) -> Vec<Vec<Literal>> {
        match self {
            Self::If(a, b) => vec![vec![a.not(), *b]],
            Self::IfBoth(a, b, c) => vec![vec![a.not(), b.not(), *c]],
            Self::AnyOf(all) => vec![all.clone()],
            Self::Either(a, b) => vec![vec![*a, *b], vec![a.not(), b.not()]],
            Self::Same(a, b) => vec![vec![a.not(), *b], vec![*a, b.not()]],
        }
    }

    fn draw(atoms: usize, draws: &mut Draws) -> Self {
        let form = draws.below(5);
        let count = if matches!(form, 1 | 2) { 3 } else { 2 };
        let mut literals = draws
            .distinct_choice(count, atoms)
            .into_iter()
            .map(|atom| Literal { atom, holds: draws.distinct(2) == 1 })
            .collect::<Vec<_>>()
            .into_iter();
        let mut next = || literals.next().unwrap_or(Literal { atom: 0, holds: true });
        match form {
            0 => Self::If(next(), next()),
            1 => Self::IfBoth(next(), next(), next()),
            2 => Self::AnyOf(vec![next(), next(), next()]),
            3 => Self::Either(next(), next()),
            _ => Self::Same(next(), next()),
        }
    }
}

/// Line of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// Assumes a literal. A contradiction takes the last assumption back and proves its negation.
    Assume(Literal),
    /// A literal follows from a premise, by its number, and the literals that hold.
    Follows(Literal, usize),
    /// A premise, by its number, contradicts the literals that hold.
    Contradiction(usize),
}

/// Answer to the question if a statement follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Conclusion {
    /// The statement must be true. The proof refutes its negation.
    True(Vec<Line>),
    /// The statement must be false. The proof refutes it.
    False(Vec<Line>),
    /// It can be true or false, as these values of all atoms show.
    Open(Vec<bool>, Vec<bool>),
}

/// Premises, and the question if a statement follows from them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logic {
    /// Atoms: a person by name, and the number of a fact.
    pub atoms: Vec<(String, usize)>,
    /// Premises.
    pub premises: Vec<Premise>,
    /// Statement in question.
    pub asked: Literal,
    /// Answer with its proof.
    pub conclusion: Conclusion,
}

impl Logic {
    pub(super) fn draw(level: Level, draws: &mut Draws) -> Self {
        let count = [3, 4, 5, 7, 9][level.index()];
        let atoms: Vec<(String, usize)> = draws
            .distinct_choice(count, PEOPLE.len())
            .into_iter()
            .map(|person| (PEOPLE[person].to_owned(), draws.distinct(FACTS.len())))
            .collect();
        // The first premise shows a part of the index. The others are drawn until all are
        // consistent and the proof is short.
        let first = Premise::draw(count, draws);
        let mut draws = draws.detached();
        loop {
            let mut premises = vec![first.clone()];
            while premises.len() < count + 1 {
                let premise = Premise::draw(count, &mut draws);
                if !premises.contains(&premise) {
                    premises.push(premise);
                }
            }
            let asked = Literal { atom: draws.below(count), holds: draws.chance(60) };
            if let Some(conclusion) = decide(&premises, count, asked) {
                return Self { atoms, premises, asked, conclusion };
            }
        }
    }
}

/// Decides if the statement follows. Returns `None` if the premises contradict each other or if
/// the proof is long.
fn decide(premises: &[Premise], atoms: usize, asked: Literal) -> Option<Conclusion> {
    let (with, without) = (model(premises, atoms, asked), model(premises, atoms, asked.not()));
    match (with, without) {
        (Some(with), Some(without)) => Some(Conclusion::Open(with, without)),
        (Some(_), None) => refutation(premises, atoms, asked.not()).map(Conclusion::True),
        (None, Some(_)) => refutation(premises, atoms, asked).map(Conclusion::False),
        (None, None) => None,
    }
}

/// Returns values of all atoms under which the premises and `asked` hold, by a SAT solver.
fn model(premises: &[Premise], atoms: usize, asked: Literal) -> Option<Vec<bool>> {
    let mut solver = BasicSolver::default();
    let variables: Vec<_> = (0..atoms).map(|_| solver.new_var_default()).collect();
    let literal = |of: &Literal| Lit::new(variables[of.atom], of.holds);
    let clauses = premises.iter().flat_map(Premise::clauses).chain([vec![asked]]);
    for clause in clauses {
        solver.add_clause_reuse(&mut clause.iter().map(literal).collect());
    }
    let found = solver.solve_limited(&[]) == lbool::TRUE;
    let value = |&variable| solver.value_var(variable) == lbool::TRUE;
    found.then(|| variables.iter().map(value).collect())
}

/// Returns a proof that `assumed` contradicts the premises.
fn refutation(premises: &[Premise], atoms: usize, assumed: Literal) -> Option<Vec<Line>> {
    let mut lines = Vec::new();
    let known = vec![None; atoms];
    refute(premises, known, assumed, &mut lines).then_some(lines)
}

/// Assumes a literal and derives until a contradiction, with assumptions below where derivations
/// end. Returns `false` if the proof is long or if there is none.
fn refute(
    premises: &[Premise],
    mut known: Vec<Option<bool>>,
    assumed: Literal,
    lines: &mut Vec<Line>,
) -> bool {
    lines.push(Line::Assume(assumed));
    known[assumed.atom] = Some(assumed.holds);
    loop {
        if lines.len() >= MAX_LINES {
            return false;
        }
        if let Some((literal, premise)) = propagated(premises, &known) {
            let Some(literal) = literal else {
                lines.push(Line::Contradiction(premise));
                return true;
            };
            lines.push(Line::Follows(literal, premise));
            known[literal.atom] = Some(literal.holds);
            continue;
        }
        let Some(atom) = known.iter().position(Option::is_none) else { return false };
        // The refuted assumption is known to be false from here on.
        let split = Literal { atom, holds: true };
        if !refute(premises, known.clone(), split, lines) {
            return false;
        }
        known[atom] = Some(false);
    }
}

/// Returns the first literal that follows from one premise, or `None` in its place if the premise
/// is contradicted, with the number of the premise.
fn propagated(premises: &[Premise], known: &[Option<bool>]) -> Option<(Option<Literal>, usize)> {
    for (premise, number) in premises.iter().zip(0..) {
        for clause in premise.clauses() {
            let value = |literal: &Literal| known[literal.atom].map(|value| value == literal.holds);
            if clause.iter().any(|literal| value(literal) == Some(true)) {
                continue;
            }
            let mut open = clause.iter().filter(|literal| value(literal).is_none());
            match (open.next(), open.next()) {
                (None, _) => return Some((None, number)),
                (Some(&only), None) => return Some((Some(only), number)),
                _ => {}
            }
        }
    }
    None
}

impl Logic {
    /// Returns `true` if every line follows, and the last contradiction refutes `assumed`.
    fn proves(&self, lines: &[Line], assumed: Literal) -> Option<bool> {
        // One frame for each open assumption: the assumption, and the literals from it on.
        let mut frames: Vec<(Literal, Vec<Literal>)> = Vec::new();
        for line in lines {
            // All rows of the atoms in which what is known holds.
            let known: Vec<Literal> =
                frames.iter().flat_map(|(_, literals)| literals.iter().copied()).collect();
            let rows = |premise: &Premise, extra: Option<Literal>| {
                (0..1u32 << self.atoms.len()).any(|row| {
                    premise.is_true(row)
                        && known.iter().chain(&extra).all(|literal| literal.is_true(row))
                })
            };
            match *line {
                Line::Assume(literal) => frames.push((literal, vec![literal])),
                Line::Follows(literal, premise) => {
                    if rows(self.premises.get(premise)?, Some(literal.not())) {
                        return Some(false);
                    }
                    frames.last_mut()?.1.push(literal);
                }
                Line::Contradiction(premise) => {
                    if rows(self.premises.get(premise)?, None) {
                        return Some(false);
                    }
                    let (refuted, _) = frames.pop()?;
                    match frames.last_mut() {
                        Some(outer) => outer.1.push(refuted.not()),
                        None => return Some(refuted == assumed && Some(line) == lines.last()),
                    }
                }
            }
        }
        None
    }

    fn check_form(&self) -> Result<(), Rejection> {
        let count = self.atoms.len();
        let known =
            |(name, fact): &(String, usize)| PEOPLE.contains(&name.as_str()) && *fact < FACTS.len();
        let distinct = (1..count).all(|at| !self.atoms[..at].contains(&self.atoms[at]));
        let small = count <= MAX_ATOMS && self.premises.len() <= MAX_PREMISES;
        Rejection::unless(
            small && distinct && self.atoms.iter().all(known),
            "atoms must be few, known, and different",
        )?;
        let lines: &[Line] = match &self.conclusion {
            Conclusion::True(lines) | Conclusion::False(lines) => lines,
            Conclusion::Open(..) => &[],
        };
        let proved = lines.iter().filter_map(|line| match line {
            Line::Assume(literal) | Line::Follows(literal, _) => Some(*literal),
            Line::Contradiction(_) => None,
        });
        let stated = self.premises.iter().flat_map(Premise::literals);
        let within = stated.chain(proved).chain([self.asked]).all(|literal| literal.atom < count);
        let short = lines.len() <= 2 * MAX_LINES
            && self.premises.iter().all(|premise| premise.literals().len() <= MAX_ATOMS);
        Rejection::unless(within && short, "a statement is about an atom that is not there")
    }
}

impl Proved for Logic {
    fn check(&self) -> Result<(), Rejection> {
        self.check_form()?;
        let rows = 0..1u32 << self.atoms.len();
        let premises = |row| self.premises.iter().all(|premise| premise.is_true(row));
        let (mut can_be_true, mut can_be_false) = (false, false);
        for row in rows.filter(|&row| premises(row)) {
            can_be_true |= self.asked.is_true(row);
            can_be_false |= !self.asked.is_true(row);
        }
        let shown = |values: &[bool], asked: bool| {
            let row = values.iter().rev().fold(0, |row, &value| row << 1 | u32::from(value));
            values.len() == self.atoms.len() && premises(row) && self.asked.is_true(row) == asked
        };
        let (right, proved) = match &self.conclusion {
            Conclusion::True(lines) => {
                (can_be_true && !can_be_false, self.proves(lines, self.asked.not()))
            }
            Conclusion::False(lines) => {
                (can_be_false && !can_be_true, self.proves(lines, self.asked))
            }
            Conclusion::Open(with, without) => {
                (can_be_true && can_be_false, Some(shown(with, true) && shown(without, false)))
            }
        };
        Rejection::unless(right, "the answer is wrong")?;
        Rejection::unless(proved == Some(true), "the proof has a gap")
    }

    fn solution(&self, words: &mut Words) -> Solution {
        let said = |literal: Literal| self.said(literal);
        let premises: String = (1..)
            .zip(&self.premises)
            .map(|(at, premise)| {
                format!("({at}) {}.\n", capitalised(&self.premise(premise, words)))
            })
            .collect();
        let asked = words
            .pick(&[
                "Must it be true that ~?",
                "Does it follow that ~?",
                "Can we be certain that ~?",
                "Is it certain that ~?",
            ])
            .replace('~', &said(self.asked));
        let open: Vec<String> = (0..self.atoms.len())
            .map(|atom| format!("whether {}", said(Literal { atom, holds: true })))
            .collect();
        let opening = format!(
            "{} {}. {}",
            words.pick(&["We have not been told", "It is not known"]),
            listed(&open, "or"),
            words.pick(&["These statements are true:", "We know:", "Given:"]),
        );
        let (steps, answer) = match &self.conclusion {
            Conclusion::True(lines) => (self.argument(lines, words), "yes, it must be true"),
            Conclusion::False(lines) => (self.argument(lines, words), "no, it must be false"),
            Conclusion::Open(with, without) => (
                vec![
                    format!("All statements hold if {}", self.row(with)),
                    format!("They also hold if {}", self.row(without)),
                    format!("In the first case {}", said(self.asked)),
                    format!("In the second case {}", said(self.asked.not())),
                ],
                "it cannot be decided",
            ),
        };
        Solution { question: format!("{opening}\n{premises}{asked}"), steps, answer: answer.into() }
    }
}

impl Logic {
    fn said(&self, literal: Literal) -> String {
        let Some((name, fact)) = self.atoms.get(literal.atom) else { return String::new() };
        let (yes, no) = FACTS.get(*fact).copied().unwrap_or_default();
        format!("{name} {}", if literal.holds { yes } else { no })
    }

    fn premise(&self, premise: &Premise, words: &mut Words) -> String {
        let said = |literal: &Literal| self.said(*literal);
        match premise {
            Premise::If(a, b) => words
                .pick(&["if ~, then ^", "^ whenever ~", "^, provided that ~"])
                .replace('~', &said(a))
                .replace('^', &said(b)),
            Premise::IfBoth(a, b, c) => {
                format!("if {} and {}, then {}", said(a), said(b), said(c))
            }
            Premise::AnyOf(all) => {
                let all: Vec<String> = all.iter().map(said).collect();
                format!("at least one of these holds: {}", listed(&all, "or"))
            }
            Premise::Either(a, b) => format!("either {} or {}, but not both", said(a), said(b)),
            Premise::Same(a, b) => format!("{} if and only if {}", said(a), said(b)),
        }
    }

    fn row(&self, values: &[bool]) -> String {
        let said = (0..).zip(values).map(|(atom, &holds)| self.said(Literal { atom, holds }));
        listed(&said.collect::<Vec<_>>(), "and")
    }

    fn argument(&self, lines: &[Line], words: &mut Words) -> Vec<String> {
        let mut open: Vec<Literal> = Vec::new();
        let line = |line: &Line| match *line {
            Line::Assume(literal) => {
                open.push(literal);
                let opening = match open.len() {
                    1 => words.pick(&["Suppose that", "Assume that"]),
                    _ => "Within this, suppose further that",
                };
                format!("{opening} {}", self.said(literal))
            }
            Line::Follows(literal, premise) => {
                format!("By ({}), {}", premise + 1, self.said(literal))
            }
            Line::Contradiction(premise) => {
                let refuted = open.pop().map(|refuted| self.said(refuted.not()));
                format!("This contradicts ({}), so {}", premise + 1, refuted.unwrap_or_default())
            }
        };
        lines.iter().map(line).map(|line| capitalised(&line)).collect()
    }
}
