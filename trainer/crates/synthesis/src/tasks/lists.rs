// SPDX-License-Identifier: Apache-2.0

//! Operations on lists of numbers.

use super::{Level, Proved};
use crate::{
    draws::Draws,
    error::Rejection,
    words::{Solution, Words},
};
use serde::{Deserialize, Serialize};

/// Largest number of elements or operations that are checked.
const MAX_ITEMS: usize = 64;

/// A list, operations on it in turn, and the list after each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lists {
    /// List at the start.
    pub start: Vec<i64>,
    /// Operations.
    pub operations: Vec<ListOperation>,
    /// List after each operation.
    pub after: Vec<Vec<i64>>,
    /// Question about the last list.
    pub question: ListQuestion,
    /// Answer; `None` if the answer is the list.
    pub answer: Option<i64>,
}

/// Operation on a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListOperation {
    /// Puts the smallest number first.
    Sort,
    /// Puts the last number first.
    Reverse,
    /// Keeps the numbers above this one.
    KeepAbove(i64),
    /// Keeps the even numbers.
    KeepEven,
    /// Keeps the first of equal numbers.
    DropRepeated,
    /// Adds this to each number.
    Add(i64),
    /// Multiplies each number by this.
    Multiply(i64),
    /// Moves this many numbers from the front to the back.
    Rotate(usize),
    /// Keeps this many numbers of the front.
    Take(usize),
}

/// Question about a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListQuestion {
    /// The list itself.
    Whole,
    /// Number of elements.
    Count,
    /// Sum of the elements; 0 for none.
    Sum,
    /// Largest element.
    Largest,
    /// Largest element minus the smallest.
    Spread,
}

impl ListOperation {
    fn draw(draws: &mut Draws, length: usize) -> Self {
        match draws.below(9) {
            0 => Self::Sort,
            1 => Self::Reverse,
            2 => Self::KeepAbove(draws.range(20, 60)),
            3 => Self::KeepEven,
            4 => Self::DropRepeated,
            5 => Self::Add(draws.range(1, 50)),
            6 => Self::Multiply(draws.range(2, 9)),
            7 => Self::Rotate(1 + draws.below(length.saturating_sub(1).max(1))),
            _ => Self::Take(1 + draws.below(length.max(1))),
        }
    }

    fn apply(self, list: &[i64]) -> Vec<i64> {
        let mut list = list.to_vec();
        match self {
            Self::Sort => list.sort_unstable(),
            Self::Reverse => list.reverse(),
            Self::KeepAbove(bound) => list.retain(|&number| number > bound),
            Self::KeepEven => list.retain(|number| number % 2 == 0),
            Self::DropRepeated => {
                let mut kept = Vec::new();
                list.retain(|number| {
                    let is_new = !kept.contains(number);
                    kept.push(*number);
                    is_new
                });
            }
            Self::Add(number) => list.iter_mut().for_each(|element| *element += number),
            Self::Multiply(factor) => list.iter_mut().for_each(|element| *element *= factor),
            Self::Rotate(count) => {
                let length = list.len().max(1);
                list.rotate_left(count % length);
            }
            Self::Take(count) => list.truncate(count),
        }
        list
    }

    /// Returns `true` if `after` is what the operation makes of `before`. Each operation is checked
    /// by what defines its result, element by element.
    fn leads(self, before: &[i64], after: &[i64]) -> bool {
        let count = |list: &[i64], number: i64| list.iter().filter(|&&n| n == number).count();
        let is_kept = |keep: &dyn Fn(i64) -> bool| {
            let mut kept = after.iter();
            before.iter().filter(|&&number| keep(number)).all(|number| kept.next() == Some(number))
                && kept.next().is_none()
        };
        let each = |of: &dyn Fn(i64) -> Option<i64>| {
            before.len() == after.len() && before.iter().zip(after).all(|(&b, &a)| of(b) == Some(a))
        };
        let moved = |from: &dyn Fn(usize) -> usize| {
            before.len() == after.len()
                && (0..after.len()).all(|at| after.get(at) == before.get(from(at)))
        };
        let length = before.len();
        match self {
            Self::Sort => {
                length == after.len()
                    && after.windows(2).all(|pair| pair[0] <= pair[1])
                    && after.iter().all(|&n| count(before, n) == count(after, n))
            }
            Self::Reverse => moved(&|at| length - 1 - at),
            Self::KeepAbove(bound) => is_kept(&|number| number > bound),
            Self::KeepEven => is_kept(&|number| number & 1 == 0),
            Self::DropRepeated => {
                let place = |number: &i64| before.iter().position(|other| other == number);
                before.iter().all(|number| count(after, *number) == 1)
                    && after.windows(2).all(|pair| place(&pair[0]) < place(&pair[1]))
                    && after.iter().all(|number| place(number).is_some())
            }
            Self::Add(number) => each(&|before| before.checked_add(number)),
            Self::Multiply(factor) => each(&|before| before.checked_mul(factor)),
            Self::Rotate(by) => moved(&|at| (at.saturating_add(by)) % length.max(1)),
            Self::Take(count) => before.get(..count.min(length)) == Some(after),
        }
    }

    fn instruction(self, words: &mut Words) -> String {
        match self {
            Self::Sort => words
                .pick(&["sort the list in ascending order", "sort the numbers, smallest first"])
                .into(),
            Self::Reverse => words.pick(&["reverse the list", "write the list backwards"]).into(),
            Self::KeepAbove(bound) => words
                .pick(&[
                    "keep only the numbers greater than _",
                    "remove every number that is not above _",
                ])
                .replace('_', &bound.to_string()),
            Self::KeepEven => {
                words.pick(&["keep only the even numbers", "remove all odd numbers"]).into()
            }
            Self::DropRepeated => words
                .pick(&["remove repeated numbers, keeping the first of each", "drop duplicates"])
                .into(),
            Self::Add(number) => words
                .pick(&["add _ to every number", "increase each number by _"])
                .replace('_', &number.to_string()),
            Self::Multiply(factor) => words
                .pick(&["multiply every number by _", "replace each number by _ times itself"])
                .replace('_', &factor.to_string()),
            Self::Rotate(count) => words
                .pick(&[
                    "rotate the list to the left by _",
                    "move the first _ elements, one by one, to the end",
                ])
                .replace('_', &count.to_string()),
            Self::Take(count) => words
                .pick(&["keep the first _ elements", "cut the list off after _ elements"])
                .replace('_', &count.to_string()),
        }
    }
}

impl ListQuestion {
    /// Returns the answer; `None` if it is the list, or if the list is empty and has none.
    fn answer(self, list: &[i64]) -> Option<i64> {
        let (least, largest) = (list.iter().min(), list.iter().max());
        match self {
            Self::Whole => None,
            Self::Count => i64::try_from(list.len()).ok(),
            Self::Sum => list.iter().try_fold(0i64, |sum, &number| sum.checked_add(number)),
            Self::Largest => largest.copied(),
            Self::Spread => largest?.checked_sub(*least?),
        }
    }
}

impl Lists {
    pub(super) fn draw(level: Level, draws: &mut Draws) -> Self {
        let length = 5 + 2 * level.index() + draws.below(3);
        let mut start: Vec<i64> = (0..length).map(|_| draws.distinct_range(1, 99)).collect();
        // Some numbers repeat, so that dropping repeated ones does something.
        if draws.chance(40) {
            start.push(draws.pick(&start.clone()));
        }
        let (mut list, mut operations, mut after) = (start.clone(), Vec::new(), Vec::new());
        for _ in 0..1 + level.index() + draws.below(2) {
            let operation = ListOperation::draw(draws, list.len());
            list = operation.apply(&list);
            operations.push(operation);
            after.push(list.clone());
        }
        let question = if list.is_empty() {
            ListQuestion::Count
        } else {
            draws.pick(&[
                ListQuestion::Whole,
                ListQuestion::Whole,
                ListQuestion::Count,
                ListQuestion::Sum,
                ListQuestion::Largest,
                ListQuestion::Spread,
            ])
        };
        Self { answer: question.answer(&list), start, operations, after, question }
    }
}

fn written(list: &[i64]) -> String {
    let numbers: Vec<String> = list.iter().map(i64::to_string).collect();
    format!("[{}]", numbers.join(", "))
}

impl Proved for Lists {
    fn check(&self) -> Result<(), Rejection> {
        let mut lists = std::iter::once(&self.start).chain(&self.after);
        let small = self.operations.len() <= MAX_ITEMS && lists.all(|list| list.len() <= MAX_ITEMS);
        Rejection::unless(small, "a list is too long")?;
        let complete = self.operations.len() == self.after.len();
        Rejection::unless(complete, "there must be one list after each operation")?;
        let before = std::iter::once(&self.start).chain(&self.after);
        for ((operation, before), after) in self.operations.iter().zip(before).zip(&self.after) {
            let wrong = format!("{operation:?} does not lead to {after:?}");
            Rejection::unless(operation.leads(before, after), &wrong)?;
        }
        let last = self.after.last().unwrap_or(&self.start);
        let has_one = self.question == ListQuestion::Whole || self.answer.is_some();
        let right = has_one && self.answer == self.question.answer(last);
        Rejection::unless(right, "the answer is wrong")
    }

    fn solution(&self, words: &mut Words) -> Solution {
        let instructions: Vec<String> =
            self.operations.iter().map(|operation| operation.instruction(words)).collect();
        let asked = match self.question {
            ListQuestion::Whole => {
                words.pick(&["What is the resulting list?", "Write down the final list."])
            }
            ListQuestion::Count => {
                words.pick(&["How many elements are left?", "How long is the resulting list?"])
            }
            ListQuestion::Sum => {
                words.pick(&["What is the sum of the resulting list?", "Add up what is left."])
            }
            ListQuestion::Largest => words
                .pick(&["What is the largest number then?", "Which number is the largest now?"]),
            ListQuestion::Spread => words.pick(&[
                "By how much does the largest number exceed the smallest?",
                "What is the difference of the largest and the smallest number?",
            ]),
        };
        let opening = words.pick(&["Start with the list", "Take the list", "Given is the list"]);
        let steps = instructions.iter().zip(&self.after).map(|(instruction, list)| {
            format!("{}: {}", crate::words::capitalised(instruction), written(list))
        });
        let last = self.after.last().unwrap_or(&self.start);
        Solution {
            question: format!(
                "{opening} {}. First {}. {asked}",
                written(&self.start),
                instructions.join(", then "),
            ),
            steps: steps.collect(),
            answer: self.answer.map_or_else(|| written(last), |answer| answer.to_string()),
        }
    }
}
