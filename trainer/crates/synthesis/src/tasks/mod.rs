// SPDX-License-Identifier: Apache-2.0

//! Tasks with solutions that can be checked.

mod algebra;
mod arithmetic;
mod chains;
mod graphs;
mod lists;
mod logic;
mod orders;
mod planning;
mod programs;

pub use algebra::Algebra;
pub use arithmetic::{Arithmetic, Quantity};
pub use chains::{Event, Mistake, Story};
pub use graphs::{Colouring, Route, Schedule, SchedulePlan};
pub use lists::{ListOperation, ListQuestion, Lists};
pub use logic::{Conclusion, Line, Literal, Logic, Premise};
pub use orders::{Order, Relation};
pub use planning::{Ferry, Stacks};
pub use programs::{Comparison, Language, Program, Sign, Statement, Term};

use crate::{
    draws::Draws,
    error::Rejection,
    words::{Layout, Solution, Words},
};
use pol_primitives::Hash;
use serde::{Deserialize, Serialize};

/// Largest number of tasks in a document.
const MAX_TASKS: usize = 16;

/// Tasks whose solution can be checked without the program that made it.
trait Proved {
    /// Checks every statement of the solution. Values of any kind are allowed.
    fn check(&self) -> Result<(), Rejection>;

    /// Returns the task and its solution in words. The task has been checked.
    fn solution(&self, words: &mut Words) -> Solution;
}

/// Difficulty of a task, from 1 to 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(u8);

impl Level {
    /// Easiest level.
    pub const FIRST: Self = Self(1);
    /// Number of the hardest level.
    pub const MAX: u8 = 5;

    /// Returns the level with this number, if there is one.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        (1..=Self::MAX).contains(&number).then_some(Self(number))
    }

    /// Returns the position of the level, from 0.
    fn index(self) -> usize {
        usize::from(self.0 - 1)
    }
}

/// Kinds of tasks.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    codec::Encode,
    codec::Decode,
)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Calculations with integers, with worked steps.
    Arithmetic,
    /// Equations with one or two unknowns.
    Algebra,
    /// Questions if a statement follows from others.
    Logic,
    /// Operations on lists.
    Lists,
    /// Output of small programs in Python and Rust.
    Programs,
    /// Shortest routes, colourings, and orders of work.
    Graphs,
    /// Moves that lead to a goal.
    Planning,
    /// Stories with a number that changes in several steps, and orders that follow from
    /// comparisons.
    Reasoning,
    /// Worked solutions with one mistake, its position, and its correction.
    Mistakes,
}

impl Family {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Arithmetic,
        Self::Algebra,
        Self::Logic,
        Self::Lists,
        Self::Programs,
        Self::Graphs,
        Self::Planning,
        Self::Reasoning,
        Self::Mistakes,
    ];

    /// Returns the name, as in a recipe.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arithmetic => "arithmetic",
            Self::Algebra => "algebra",
            Self::Logic => "logic",
            Self::Lists => "lists",
            Self::Programs => "programs",
            Self::Graphs => "graphs",
            Self::Planning => "planning",
            Self::Reasoning => "reasoning",
            Self::Mistakes => "mistakes",
        }
    }

    /// Returns `true` if every question has one right answer. There may be several shortest routes,
    /// colourings, and plans.
    pub(crate) const fn has_one_answer(self) -> bool {
        !matches!(self, Self::Graphs | Self::Planning)
    }

    /// Draws a task. Its text shows all draws that spell the index.
    fn draw(self, level: Level, draws: &mut Draws) -> Task {
        match (self, draws.below(3)) {
            (Self::Arithmetic, _) => Task::Arithmetic(Arithmetic::draw(level, draws)),
            (Self::Algebra, _) => Task::Algebra(Algebra::draw(level, draws)),
            (Self::Logic, _) => Task::Logic(Logic::draw(level, draws)),
            (Self::Lists, _) => Task::Lists(Lists::draw(level, draws)),
            (Self::Programs, _) => Task::Program(Program::draw(level, draws)),
            (Self::Graphs, 0) => Task::Route(Route::draw(level, draws)),
            (Self::Graphs, 1) => Task::Colouring(Colouring::draw(level, draws)),
            (Self::Graphs, _) => Task::Schedule(Schedule::draw(level, draws)),
            (Self::Planning, 0) => Task::Ferry(Ferry::draw(level, draws)),
            (Self::Planning, _) => Task::Stacks(Stacks::draw(level, draws)),
            (Self::Reasoning, 0) => Task::Order(Order::draw(level, draws)),
            (Self::Reasoning, _) => Task::Story(Story::draw(level, draws)),
            (Self::Mistakes, _) => Task::Mistake(Mistake::draw(level, draws)),
        }
    }
}

/// A task with its solution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each variant is documented by its type")]
pub enum Task {
    Arithmetic(Arithmetic),
    Algebra(Algebra),
    Logic(Logic),
    Lists(Lists),
    Program(Program),
    Route(Route),
    Colouring(Colouring),
    Schedule(Schedule),
    Stacks(Stacks),
    Ferry(Ferry),
    Order(Order),
    Story(Story),
    Mistake(Mistake),
}

impl Task {
    fn proved(&self) -> &dyn Proved {
        match self {
            Self::Arithmetic(task) => task,
            Self::Algebra(task) => task,
            Self::Logic(task) => task,
            Self::Lists(task) => task,
            Self::Program(task) => task,
            Self::Route(task) => task,
            Self::Colouring(task) => task,
            Self::Schedule(task) => task,
            Self::Stacks(task) => task,
            Self::Ferry(task) => task,
            Self::Order(task) => task,
            Self::Story(task) => task,
            Self::Mistake(task) => task,
        }
    }

    /// Checks every statement of the solution.
    ///
    /// # Errors
    ///
    /// Fails if a statement is false or does not follow.
    pub fn check(&self) -> Result<(), Rejection> {
        self.proved().check()
    }
}

/// Draws a task and returns its question and its answer in words.
pub(crate) fn question_and_answer(
    family: Family,
    level: Level,
    draws: &mut Draws,
) -> (String, String) {
    let mut words = Words::new(&draws.seed());
    let task = family.draw(level, draws);
    let Solution { question, answer, .. } = task.proved().solution(&mut words);
    (question, answer)
}

/// Content of a document as data, from which everything that its text says can be checked.
///
/// The certificate fixes the text to the byte. A certificate that holds therefore proves each
/// statement of the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Seed of the wording.
    #[serde(with = "pol_primitives::hex_hash")]
    pub wording: Hash,
    /// Tasks in the order of the text.
    pub tasks: Vec<Task>,
}

impl Certificate {
    /// Draws tasks until their text shows the whole index of the document. Documents of one seed
    /// therefore differ.
    pub(crate) fn draw(family: Family, level: Level, draws: &mut Draws) -> Self {
        let wording = draws.seed();
        let mut tasks = vec![family.draw(level, draws)];
        while !draws.is_spent() && tasks.len() < MAX_TASKS {
            tasks.push(family.draw(level, draws));
        }
        Self { wording, tasks }
    }

    /// Returns the text of the document.
    fn text(&self) -> String {
        let mut words = Words::new(&self.wording);
        let layout = Layout::draw(&mut words);
        let written = |(number, task): (usize, &Task)| {
            let solution = task.proved().solution(&mut words);
            layout.write(number, &solution, &mut words)
        };
        (1..).zip(&self.tasks).map(written).collect::<Vec<_>>().join("\n")
    }

    /// Checks every statement of every solution, and returns the text of the document.
    ///
    /// # Errors
    ///
    /// Fails if there are no tasks or too many, or if a statement is false or does not follow.
    pub fn proved_text(&self) -> Result<String, Rejection> {
        let number = (1..=MAX_TASKS).contains(&self.tasks.len());
        Rejection::unless(number, "a document has from 1 to 16 tasks")?;
        self.tasks.iter().try_for_each(Task::check)?;
        Ok(self.text())
    }

    /// Verifies that `text` is the text of this certificate, and that all of it is true.
    ///
    /// # Errors
    ///
    /// Fails if the text is another one, or if a statement is false or does not follow.
    pub fn verify(&self, text: &[u8]) -> Result<(), Rejection> {
        let proved = self.proved_text()?;
        Rejection::unless(proved.as_bytes() == text, "the text says something else")
    }
}

#[cfg(test)]
mod tests;
