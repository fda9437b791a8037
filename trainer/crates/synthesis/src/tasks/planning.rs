// SPDX-License-Identifier: Apache-2.0

//! Plans: stacks of crates to be moved, and goods to be brought over a river.

use super::{Level, Proved};
use crate::{
    draws::Draws,
    error::Rejection,
    words::{CODES, Solution, Words, capitalised, code, is_code, listed},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque, btree_map::Entry};

/// Largest number of things that are checked.
const MAX_THINGS: usize = 12;
/// Largest number of moves of a plan.
const MAX_MOVES: usize = 64;

/// Returns a shortest sequence of moves to a state that satisfies `is_goal`, breadth first.
fn search<S: Ord + Clone, M: Clone>(
    start: &S,
    is_goal: impl Fn(&S) -> bool,
    next: impl Fn(&S) -> Vec<(M, S)>,
) -> Option<Vec<M>> {
    let mut before: BTreeMap<S, Option<(S, M)>> = BTreeMap::from([(start.clone(), None)]);
    let mut open = VecDeque::from([start.clone()]);
    while let Some(mut state) = open.pop_front() {
        if is_goal(&state) {
            let mut moves = Vec::new();
            while let Some(Some((earlier, by))) = before.get(&state) {
                moves.push(by.clone());
                state = earlier.clone();
            }
            moves.reverse();
            return Some(moves);
        }
        for (by, reached) in next(&state) {
            if let Entry::Vacant(place) = before.entry(reached) {
                open.push_back(place.key().clone());
                place.insert(Some((state.clone(), by)));
            }
        }
    }
    None
}

/// Returns `true` if these are codes, few and different.
fn are_codes(names: &[String]) -> bool {
    (1..=MAX_THINGS).contains(&names.len())
        && names.iter().enumerate().all(|(at, name)| is_code(name) && !names[..at].contains(name))
}

/// Support of each crate: another crate, by number, or the ground.
type Supports = Vec<Option<usize>>;

/// Crates in stacks, and moves that lead to other stacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stacks {
    /// Crates, by code.
    pub crates: Vec<String>,
    /// Support of each crate at the start.
    pub start: Supports,
    /// Support of each crate at the end.
    pub goal: Supports,
    /// Moves: a crate, and its new support.
    pub moves: Vec<(usize, Option<usize>)>,
}

fn is_clear(supports: &Supports, number: usize) -> bool {
    !supports.contains(&Some(number))
}

/// Returns the supports after a move, or `None` if it is not allowed.
fn moved(supports: &Supports, (moving, onto): (usize, Option<usize>)) -> Option<Supports> {
    let target =
        onto.is_none_or(|onto| onto != moving && onto < supports.len() && is_clear(supports, onto));
    let allowed = target && is_clear(supports, moving) && *supports.get(moving)? != onto;
    let mut after = allowed.then(|| supports.clone())?;
    after[moving] = onto;
    Some(after)
}

fn draw_supports(count: usize, draws: &mut Draws) -> Supports {
    let mut order: Vec<usize> = (0..count).collect();
    draws.shuffle(&mut order);
    let mut supports = vec![None; count];
    for pair in order.windows(2) {
        if draws.chance(65) {
            supports[pair[1]] = Some(pair[0]);
        }
    }
    supports
}

impl Stacks {
    pub(super) fn draw(level: Level, draws: &mut Draws) -> Self {
        let count = [3, 3, 4, 4, 5][level.index()];
        let crates = draws.distinct_choice(count, CODES).into_iter().map(code).collect();
        let mut draws = draws.detached();
        let start = draw_supports(count, &mut draws);
        loop {
            let goal = draw_supports(count, &mut draws);
            let next = |state: &Supports| {
                let onto = || (0..count).map(Some).chain([None]);
                let all = (0..count).flat_map(|moving| onto().map(move |onto| (moving, onto)));
                all.filter_map(|by| moved(state, by).map(|after| (by, after))).collect()
            };
            if goal != start
                && let Some(moves) = search(&start, |state| *state == goal, next)
            {
                return Self { crates, start, goal, moves };
            }
        }
    }

    fn name(&self, number: usize) -> &str {
        self.crates.get(number).map_or("", String::as_str)
    }

    /// Returns the stacks in words, each from the ground up.
    fn described(&self, supports: &Supports) -> String {
        let bottoms = (0..supports.len()).filter(|&number| supports[number].is_none());
        let stacks: Vec<String> = bottoms
            .map(|bottom| {
                let mut stack = vec![self.name(bottom)];
                let mut top = bottom;
                while let Some(above) = supports.iter().position(|below| *below == Some(top))
                    && stack.len() < supports.len()
                {
                    stack.push(self.name(above));
                    top = above;
                }
                match stack.as_slice() {
                    [only] => format!("{only} alone"),
                    _ => format!("{} from the bottom up", listed(&stack, "and")),
                }
            })
            .collect();
        stacks.join("; ")
    }

    /// Returns `true` if every crate stands on the ground, directly or through others, and none
    /// carries two.
    fn are_stacks(&self, supports: &Supports) -> bool {
        let count = self.crates.len();
        supports.len() == count
            && (0..count).all(|number| {
                let carried = supports.iter().filter(|below| **below == Some(number)).count();
                let mut below = Some(number);
                for _ in 0..count {
                    below = below.and_then(|number| supports.get(number).copied().flatten());
                }
                carried <= 1 && below.is_none()
            })
            && supports.iter().flatten().all(|&below| below < count)
    }
}

impl Proved for Stacks {
    fn check(&self) -> Result<(), Rejection> {
        let sound = are_codes(&self.crates)
            && self.are_stacks(&self.start)
            && self.are_stacks(&self.goal)
            && (1..=MAX_MOVES).contains(&self.moves.len());
        Rejection::unless(sound, "the stacks are malformed")?;
        let mut state = self.start.clone();
        for (at, &by) in (1..).zip(&self.moves) {
            let Some(after) = moved(&state, by) else {
                return Err(Rejection(format!("move {at} is not possible")));
            };
            state = after;
        }
        Rejection::unless(state == self.goal, "the moves do not lead to the goal")
    }

    fn solution(&self, words: &mut Words) -> Solution {
        let opening = words.pick(&[
            "The crates ~ stand in a yard, in these stacks:",
            "There are the crates ~. They are stacked as follows:",
        ]);
        let opening = opening.replace('~', &listed(&self.crates, "and"));
        let rule = words.pick(&[
            "Only the top crate of a stack can be lifted, one at a time, onto the ground or onto \
             another stack.",
            "A crane lifts one crate at a time, always from the top of a stack, and puts it on the \
             ground or on top of a stack.",
        ]);
        let asked = words
            .pick(&["Give moves that lead to these stacks:", "Which moves lead to this state:"]);
        let told = |&(moving, onto): &(usize, Option<usize>)| match onto {
            None => format!("{} to the ground", self.name(moving)),
            Some(onto) => format!("{} onto {}", self.name(moving), self.name(onto)),
        };
        let mut state = self.start.clone();
        let steps = self.moves.iter().map(|by| {
            state = moved(&state, *by).unwrap_or_default();
            format!("Move {}. Now: {}", told(by), self.described(&state))
        });
        let steps = steps.collect();
        Solution {
            question: format!(
                "{opening} {}. {rule} {asked} {}.",
                self.described(&self.start),
                self.described(&self.goal)
            ),
            steps,
            answer: self.moves.iter().map(told).collect::<Vec<_>>().join(", then "),
        }
    }
}

/// Goods that a ferryman brings over a river, some of which must not be left alone together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ferry {
    /// Goods, by code.
    pub goods: Vec<String>,
    /// Pairs of goods, by number, that must not be on a bank without the ferryman.
    pub conflicts: Vec<(usize, usize)>,
    /// Number of goods that the boat carries.
    pub places: usize,
    /// Goods on board in each crossing. The first crossing starts at the near bank.
    pub crossings: Vec<Vec<usize>>,
}

/// Goods on the near bank, as bits, and `true` if the boat is there.
type Banks = (u32, bool);

impl Ferry {
    pub(super) fn draw(level: Level, draws: &mut Draws) -> Self {
        let count = [3, 3, 4, 4, 5][level.index()];
        let goods: Vec<String> =
            draws.distinct_choice(count, CODES).into_iter().map(code).collect();
        let mut draws = draws.detached();
        loop {
            let places = 1 + draws.below(2);
            let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
            let conflicts: Vec<_> = pairs.filter(|_| draws.chance(40)).collect();
            let mut ferry = Self { goods: goods.clone(), conflicts, places, crossings: Vec::new() };
            let start = ((1 << count) - 1, true);
            let next = |state: &Banks| {
                let boards = (0..1u32 << count).map(|bits| bits_of(bits, count));
                boards
                    .filter_map(|board| Some((board.clone(), ferry.crossed(*state, &board)?)))
                    .collect()
            };
            let found = search(&start, |state| *state == (0, false), next);
            if let Some(crossings) = found.filter(|crossings| crossings.len() > 2) {
                ferry.crossings = crossings;
                return ferry;
            }
        }
    }

    /// Returns the state after a crossing with these goods on board, or `None` if it is forbidden.
    fn crossed(&self, (near, boat_is_near): Banks, board: &[usize]) -> Option<Banks> {
        let all = (1u32 << self.goods.len()) - 1;
        let here = if boat_is_near { near } else { all & !near };
        let mut load = 0;
        for &number in board {
            let bit = 1u32.checked_shl(u32::try_from(number).ok()?)?;
            if here & bit == 0 || load & bit != 0 {
                return None;
            }
            load |= bit;
        }
        let left = here & !load;
        let safe = self.conflicts.iter().all(|&(a, b)| left >> a & left >> b & 1 == 0);
        (safe && board.len() <= self.places).then_some((near ^ load, !boat_is_near))
    }

    fn names(&self, numbers: &[usize]) -> String {
        let names: Vec<&str> = numbers
            .iter()
            .filter_map(|&number| self.goods.get(number))
            .map(String::as_str)
            .collect();
        if names.is_empty() { "nothing".into() } else { listed(&names, "and") }
    }
}

fn bits_of(bits: u32, count: usize) -> Vec<usize> {
    (0..count).filter(|at| bits >> at & 1 == 1).collect()
}

impl Proved for Ferry {
    fn check(&self) -> Result<(), Rejection> {
        let count = self.goods.len();
        let sound = are_codes(&self.goods)
            && self.conflicts.len() <= MAX_THINGS * MAX_THINGS
            && self.conflicts.iter().all(|&(a, b)| a < b && b < count)
            && (1..=MAX_MOVES).contains(&self.crossings.len());
        Rejection::unless(sound, "the goods are malformed")?;
        let mut state = ((1 << count) - 1, true);
        for (at, board) in (1..).zip(&self.crossings) {
            let Some(after) = self.crossed(state, board) else {
                return Err(Rejection(format!("crossing {at} is not allowed")));
            };
            state = after;
        }
        Rejection::unless(state == (0, false), "goods are left behind")
    }

    fn solution(&self, words: &mut Words) -> Solution {
        let pairs: Vec<String> = self
            .conflicts
            .iter()
            .map(|&(a, b)| format!("{} with {}", self.names(&[a]), self.names(&[b])))
            .collect();
        let rule = if pairs.is_empty() {
            "Nothing is dangerous".to_owned()
        } else {
            let danger = words.pick(&[
                "Without the ferryman, never leave",
                "Unattended, the following must not stay on one bank:",
            ]);
            format!("{danger} {}", listed(&pairs, "or"))
        };
        let asked = words.pick(&[
            "How do all of them get across?",
            "Find crossings that bring everything over.",
        ]);
        let all = (1u32 << self.goods.len()) - 1;
        let mut state: Banks = (all, true);
        let mut steps = Vec::new();
        for board in &self.crossings {
            let way = if state.1 { "over" } else { "back" };
            state = self.crossed(state, board).unwrap_or(state);
            let bank = |bits| self.names(&bits_of(bits, self.goods.len()));
            steps.push(format!(
                "He takes {} {way}. Near bank: {}; far bank: {}",
                self.names(board),
                bank(state.0),
                bank(all & !state.0)
            ));
        }
        let ways = ["over", "back"].into_iter().cycle();
        let answer: Vec<String> = self
            .crossings
            .iter()
            .zip(ways)
            .map(|(board, way)| format!("{} {way}", self.names(board)))
            .collect();
        Solution {
            question: format!(
                "A ferryman has to bring the barrels {} over a river. His boat carries him and at \
                 most {} of them. {rule}. {asked}",
                listed(&self.goods, "and"),
                self.places
            ),
            steps,
            answer: capitalised(&answer.join(", then ")),
        }
    }
}
