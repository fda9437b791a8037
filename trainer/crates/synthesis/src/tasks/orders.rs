// SPDX-License-Identifier: Apache-2.0

//! Orders of people that follow from comparisons.

use super::{Level, Proved};
use crate::{
    draws::Draws,
    error::Rejection,
    words::{PEOPLE, Solution, Words, listed},
};
use serde::{Deserialize, Serialize};

/// Comparisons, and the only order that agrees with all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Relation in which each person stands to the later ones.
    pub relation: Relation,
    /// People in order.
    pub order: Vec<String>,
    /// Stated pairs, by position in the order, the earlier person first.
    pub pairs: Vec<(usize, usize)>,
    /// Position that is asked for, from 0.
    pub asked: usize,
}

/// Relation that orders people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// The first is the tallest.
    Taller,
    /// The first is the oldest.
    Older,
    /// The first arrived before the others.
    Earlier,
    /// The first won.
    Faster,
}

impl Relation {
    const ALL: [Self; 4] = [Self::Taller, Self::Older, Self::Earlier, Self::Faster];

    /// Returns the relation, its opposite, and the name of the order.
    fn words(self) -> [&'static str; 3] {
        match self {
            Self::Taller => {
                ["is taller than", "is shorter than", "from the tallest to the shortest"]
            }
            Self::Older => ["is older than", "is younger than", "from the oldest to the youngest"],
            Self::Earlier => {
                ["arrived before", "arrived after", "from the first to the last to arrive"]
            }
            Self::Faster => {
                ["ran faster than", "ran slower than", "from the fastest to the slowest"]
            }
        }
    }
}

impl Order {
    pub(super) fn draw(level: Level, draws: &mut Draws) -> Self {
        let count = 3 + level.index() + draws.below(2);
        let order: Vec<String> = draws
            .distinct_choice(count, PEOPLE.len())
            .into_iter()
            .map(|person| PEOPLE[person].to_owned())
            .collect();
        let mut pairs: Vec<(usize, usize)> = (1..count).map(|later| (later - 1, later)).collect();
        for _ in 0..draws.below(3) {
            let earlier = draws.below(count - 1);
            let pair = (earlier, earlier + 1 + draws.below(count - 1 - earlier));
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        draws.shuffle(&mut pairs);
        let relation = draws.pick(&Relation::ALL);
        Self { relation, order, pairs, asked: draws.below(count) }
    }
}

impl Proved for Order {
    fn check(&self) -> Result<(), Rejection> {
        let count = self.order.len();
        let known = (2..=16).contains(&count)
            && self.order.iter().all(|name| PEOPLE.contains(&name.as_str()))
            && (1..count).all(|at| !self.order[..at].contains(&self.order[at]));
        Rejection::unless(known, "people must be few, known, and different")?;
        let sound = self.pairs.iter().all(|&(earlier, later)| earlier < later && later < count);
        Rejection::unless(sound, "a comparison contradicts the order")?;
        // An order is the only one if each of its neighbours are compared.
        let only = (1..count).all(|later| self.pairs.contains(&(later - 1, later)));
        Rejection::unless(only, "another order agrees with the comparisons")?;
        Rejection::unless(self.asked < count && self.pairs.len() < 64, "the question is void")
    }

    fn solution(&self, words: &mut Words) -> Solution {
        let [relation, opposite, name] = self.relation.words();
        let person = |at: usize| self.order.get(at).map_or("", String::as_str);
        let facts: Vec<String> = self
            .pairs
            .iter()
            .map(|&(earlier, later)| match words.pick(&["", "opposite"]) {
                "" => format!("{} {relation} {}.", person(earlier), person(later)),
                _ => format!("{} {opposite} {}.", person(later), person(earlier)),
            })
            .collect();
        let place = self.asked + 1;
        let asked = words
            .pick(&[
                "Put them in order ~. Who is number _?",
                "Who takes place _ ~?",
                "Counted ~, who is in place _?",
            ])
            .replace('~', name)
            .replace('_', &place.to_string());
        let mut steps: Vec<String> = (1..self.order.len())
            .map(|later| format!("{} {relation} {}", person(later - 1), person(later)))
            .collect();
        steps.push(format!(
            "{}, the order is {}",
            crate::words::capitalised(name),
            listed(&self.order, "and")
        ));
        Solution {
            question: format!("{} {asked}", facts.join(" ")),
            steps,
            answer: person(self.asked).to_owned(),
        }
    }
}
