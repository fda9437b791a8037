// SPDX-License-Identifier: Apache-2.0

//! Reasoning in several steps, and the search for a mistake in it.

use super::{Level, Proved};
use crate::{
    draws::Draws,
    error::Rejection,
    words::{PEOPLE, Solution, THINGS, Words},
};
use serde::{Deserialize, Serialize};

/// Largest number of events that are checked.
const MAX_EVENTS: usize = 32;
/// Largest number in a chain.
const MAX_NUMBER: i64 = 1_000_000_000_000;

/// Event that changes a number of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Things come.
    Gain(i64),
    /// Things go.
    Loss(i64),
    /// Packs come, the first number of them, with as many things each as the second says.
    Packs(i64, i64),
    /// The number is multiplied.
    Times(i64),
    /// The things are shared equally by this many people, and one share is kept.
    Share(i64),
}

impl Event {
    fn draw(number: i64, size: i64, draws: &mut Draws) -> Self {
        let divisors: Vec<i64> = (2..=6).filter(|d| number % d == 0 && number > *d).collect();
        match draws.below(5) {
            0 => Self::Gain(draws.distinct_range(2, size)),
            1 if number > 3 => Self::Loss(draws.distinct_range(1, number.min(size) - 1)),
            2 => Self::Packs(draws.distinct_range(2, 9), draws.distinct_range(2, 12)),
            3 if !divisors.is_empty() => Self::Share(draws.pick(&divisors)),
            4 if number < 100 * size => Self::Times(draws.range(2, 3)),
            _ => Self::Gain(draws.distinct_range(2, size)),
        }
    }

    /// Returns the number after the event. Numbers never fall below zero.
    fn after(self, number: i64) -> Option<i64> {
        let after = match self {
            Self::Gain(more) => number.checked_add(more),
            Self::Loss(fewer) => number.checked_sub(fewer),
            Self::Packs(packs, each) => number.checked_add(packs.checked_mul(each)?),
            Self::Times(factor) => number.checked_mul(factor),
            Self::Share(people) if people > 0 && number % people == 0 => Some(number / people),
            Self::Share(_) => None,
        };
        after.filter(|after| (0..=MAX_NUMBER).contains(after) && self.is_sensible())
    }

    fn is_sensible(self) -> bool {
        let (Self::Gain(a) | Self::Loss(a) | Self::Times(a) | Self::Share(a)) = self else {
            return matches!(self, Self::Packs(a, b) if a > 0 && b > 0);
        };
        a > 0
    }

    /// Returns the left side of the equation of the event.
    fn written(self, number: i64) -> String {
        match self {
            Self::Gain(more) => format!("{number} + {more}"),
            Self::Loss(fewer) => format!("{number} - {fewer}"),
            Self::Packs(packs, each) => format!("{number} + {packs} * {each}"),
            Self::Times(factor) => format!("{number} * {factor}"),
            Self::Share(people) => format!("{number} / {people}"),
        }
    }

    fn told(self, who: &str, things: &str, words: &mut Words) -> String {
        match self {
            Self::Gain(more) => words
                .pick(&[
                    "~ gets _ more",
                    "~ finds _ further #",
                    "_ # are added",
                    "~ buys another _",
                ])
                .replace('_', &more.to_string()),
            Self::Loss(fewer) => words
                .pick(&["~ gives away _", "_ # are lost", "~ sells _ of them", "_ # are used up"])
                .replace('_', &fewer.to_string()),
            Self::Packs(packs, each) => words
                .pick(&["~ buys _ packs with ^ # each", "_ boxes arrive, and each holds ^ #"])
                .replace('_', &packs.to_string())
                .replace('^', &each.to_string()),
            Self::Times(factor) => words
                .pick(&["the number of # grows to _ times as many", "~ then has _ times as many #"])
                .replace('_', &factor.to_string()),
            Self::Share(people) => words
                .pick(&[
                    "the # are shared equally by _ people, and ~ keeps one share",
                    "~ splits them into _ equal parts and keeps one",
                ])
                .replace('_', &people.to_string()),
        }
        .replace('~', who)
        .replace('#', things)
    }
}

/// A story with a number that changes, and the number after each event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Story {
    /// Name of the person.
    pub who: String,
    /// Things that are counted.
    pub things: String,
    /// Number at the start.
    pub start: i64,
    /// Events, in order.
    pub events: Vec<Event>,
    /// Number after each event.
    pub after: Vec<i64>,
}

impl Story {
    pub(super) fn draw(level: Level, draws: &mut Draws) -> Self {
        let size = [20, 50, 200, 1_000, 20_000][level.index()];
        let who = PEOPLE[draws.distinct(PEOPLE.len())].to_owned();
        let things = THINGS[draws.distinct(THINGS.len())].to_owned();
        let start = draws.distinct_range(3, size);
        let (mut number, mut events, mut after) = (start, Vec::new(), Vec::new());
        for _ in 0..2 + level.index() + draws.below(2) {
            let event = Event::draw(number, size, draws);
            let Some(next) = event.after(number) else { continue };
            events.push(event);
            after.push(next);
            number = next;
        }
        Self { who, things, start, events, after }
    }

    /// Checks the text and the sizes.
    fn check_form(&self) -> Result<(), Rejection> {
        let known = PEOPLE.contains(&self.who.as_str()) && THINGS.contains(&self.things.as_str());
        Rejection::unless(known, "the story is about unknown people or things")?;
        let small = self.events.len() <= MAX_EVENTS && (0..=MAX_NUMBER).contains(&self.start);
        let complete = self.events.len() == self.after.len() && !self.events.is_empty();
        Rejection::unless(small && complete, "there must be one number after each event")
    }

    /// Returns each event with the number that stands before and after it.
    fn links(&self) -> impl Iterator<Item = (Event, i64, i64)> {
        let before = std::iter::once(&self.start).chain(&self.after);
        let links = self.events.iter().zip(before).zip(&self.after);
        links.map(|((&event, &before), &after)| (event, before, after))
    }

    fn equations(&self, words: &Words) -> Vec<String> {
        self.links()
            .map(|(event, before, after)| {
                words.signs(&format!("{} = {after}", event.written(before)))
            })
            .collect()
    }

    fn told(&self, words: &mut Words) -> String {
        let Self { who, things, start, .. } = self;
        let mut text = words
            .pick(&["~ has _ #.", "At first ~ has _ #.", "There are _ # in ~'s drawer."])
            .replace('~', who)
            .replace('_', &start.to_string())
            .replace('#', things);
        for event in &self.events {
            let joint = words.pick(&["Then", "After that,", "Next,", "Later"]);
            text += &format!(" {joint} {}.", event.told(who, things, words));
        }
        text
    }
}

impl Proved for Story {
    fn check(&self) -> Result<(), Rejection> {
        self.check_form()?;
        let wrong =
            self.links().find(|(event, before, after)| event.after(*before) != Some(*after));
        Rejection::unless(wrong.is_none(), &format!("the step {wrong:?} is wrong"))
    }

    fn solution(&self, words: &mut Words) -> Solution {
        let question = self.told(words);
        let asked = words
            .pick(&[
                "How many # does ~ have in the end?",
                "How many # are there now?",
                "What is the number of # at the end?",
            ])
            .replace('~', &self.who)
            .replace('#', &self.things);
        Solution {
            question: format!("{question} {asked}"),
            steps: self.equations(words),
            answer: self.after.last().unwrap_or(&self.start).to_string(),
        }
    }
}

/// A worked story with one wrong step, and the correction from there on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mistake {
    /// Story with the numbers as they were stated: one step is wrong, and the others are right.
    pub story: Story,
    /// Position of the wrong step, from 0.
    pub wrong: usize,
    /// Right number after the wrong step and after each that follows.
    pub corrected: Vec<i64>,
}

impl Mistake {
    pub(super) fn draw(level: Level, draws: &mut Draws) -> Self {
        let mut story = Story::draw(level, draws);
        let right = story.after.clone();
        // Wrong numbers may not be divisible as later steps need. The last step is always possible,
        // but not every slip is: a number must not fall below zero.
        let mut wrong = draws.below(story.events.len());
        let slip = draws.pick(&[1, 2, 9, 10, 11, 100]) * if draws.chance(50) { 1 } else { -1 };
        if !story.set_wrong(wrong, slip) {
            wrong = story.events.len().saturating_sub(1);
            story.set_wrong(wrong, slip.abs());
        }
        Self { corrected: right[wrong..].to_vec(), story, wrong }
    }
}

impl Story {
    /// Changes the number after the event at `wrong` by `slip` and follows from there. Returns
    /// `false`, and changes nothing, if that is impossible.
    fn set_wrong(&mut self, wrong: usize, slip: i64) -> bool {
        let mut after = self.after.clone();
        let Some(number) = after.get_mut(wrong) else { return false };
        *number += slip;
        if *number < 0 {
            return false;
        }
        for at in wrong + 1..after.len() {
            match self.events[at].after(after[at - 1]) {
                Some(next) => after[at] = next,
                None => return false,
            }
        }
        self.after = after;
        true
    }
}

impl Proved for Mistake {
    fn check(&self) -> Result<(), Rejection> {
        self.story.check_form()?;
        let links: Vec<_> = self.story.links().collect();
        for (at, &(event, before, after)) in links.iter().enumerate() {
            let is_right = event.after(before) == Some(after);
            let expected = is_right == (at != self.wrong);
            Rejection::unless(expected, &format!("step {} is not as stated", at + 1))?;
        }
        let tail = links.get(self.wrong..).unwrap_or_default();
        let whole = tail.len() == self.corrected.len() && !tail.is_empty();
        Rejection::unless(whole, "the correction is not complete")?;
        let mut number = tail.first().map(|link| link.1);
        for ((event, _, stated), corrected) in tail.iter().zip(&self.corrected) {
            number = number.and_then(|number| event.after(number));
            let right = number == Some(*corrected) && (0..=MAX_NUMBER).contains(stated);
            Rejection::unless(right, "the correction is wrong")?;
        }
        Ok(())
    }

    fn solution(&self, words: &mut Words) -> Solution {
        let position = self.wrong + 1;
        let told = self.story.told(words);
        let lines: Vec<String> = (1..)
            .zip(self.story.equations(words))
            .map(|(at, equation)| format!("({at}) {equation}"))
            .collect();
        let asked = words.pick(&[
            "One step of this solution is wrong. Which one, and what is right?",
            "Find the mistake in this solution and correct it.",
            "Exactly one of these steps contains an error. Locate it and give the right result.",
        ]);
        let mut steps = Vec::new();
        let mut number = None;
        for (at, (event, before, after)) in (1..).zip(self.story.links()) {
            let right = if at < position {
                words.signs(&format!("({at}) is right: {} = {after}", event.written(before)))
            } else {
                let before = number.unwrap_or(before);
                let right = self.corrected.get(at - position).copied().unwrap_or(after);
                number = Some(right);
                let left = words.signs(&event.written(before));
                if at == position {
                    format!("({at}) is wrong: {left} is {right}, not {after}")
                } else {
                    format!("({at}) becomes {left} = {right}")
                }
            };
            steps.push(right);
        }
        let result = self.corrected.last().copied().unwrap_or_default();
        Solution {
            question: format!("{told}\n{}\n{asked}", lines.join("\n")),
            steps,
            answer: format!("step {position} is wrong, and the right result is {result}"),
        }
    }
}
