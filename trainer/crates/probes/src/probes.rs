// SPDX-License-Identifier: Apache-2.0

//! Reasoning probes: questions with one right answer, generated for every round from a seed.
//!
//! Each question is one of at least 2⁶⁴ of its kind and spells out all drawn values, so different
//! draws give different texts. Among 10⁷ probes of one kind, the probability that any two are equal
//! is below 10⁻⁵. The seed belongs to the round, so answers cannot be learned in advance.

use pol_primitives::{Hash, RoundNumber, prf::Prf};
use std::fmt::Write as _;

/// Kinds of probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeTask {
    /// Sums, differences and products of named numbers.
    Arithmetic,
    /// Name of the largest, second largest, … of named numbers.
    Comparison,
    /// Truth values of propositional formulas.
    Logic,
    /// A list of numbers reversed, sorted, rotated, or with every second number left out.
    List,
    /// A word changed by a table of substitutions.
    Symbols,
}

impl ProbeTask {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::Arithmetic, Self::Comparison, Self::Logic, Self::List, Self::Symbols];
}

/// A question and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Kind of the probe.
    pub task: ProbeTask,
    /// Prompt, which ends in `A:`.
    pub question: String,
    /// The only right completion.
    pub answer: String,
}

impl Probe {
    /// Returns the question after worked `examples`, which show the form of an answer.
    pub fn prompt(&self, examples: &[Self]) -> String {
        let worked = |probe: &Self| format!("{} {}\n\n", probe.question, probe.answer);
        examples.iter().map(worked).chain([self.question.clone()]).collect()
    }

    /// Returns `true` if `completion` starts with the answer: its first line that is not blank
    /// equals the answer, apart from surrounding blanks.
    pub fn is_answered_by(&self, completion: &str) -> bool {
        completion.trim_start().lines().next().map(str::trim_end) == Some(self.answer.as_str())
    }
}

/// Generates the `count` probes of `round`, with the kinds in turn. They are the same on every
/// machine for the same `seed` and differ between rounds.
///
/// `seed` should be randomness that was unknown when the models under test were trained.
pub fn generate_probes(seed: &Hash, round: RoundNumber, count: u32) -> Vec<Probe> {
    (0..count)
        .zip(ProbeTask::ALL.into_iter().cycle())
        .map(|(index, task)| {
            generate_probe(
                task,
                &mut Prf::new("pol/probes/1", seed, &[&round.to_le_bytes(), &index.to_le_bytes()]),
            )
        })
        .collect()
}

/// Generates `count` worked examples of `task` for `round`. They differ from the probes of
/// [`generate_probes`].
pub fn worked_examples(task: ProbeTask, seed: &Hash, round: RoundNumber, count: u32) -> Vec<Probe> {
    (0..count)
        .map(|index| {
            generate_probe(
                task,
                &mut Prf::new(
                    "pol/probes/examples/1",
                    seed,
                    &[&round.to_le_bytes(), &[task as u8], &index.to_le_bytes()],
                ),
            )
        })
        .collect()
}

/// Sources of random numbers.
trait RandomSource {
    /// Draws uniformly from `0..bound`.
    fn below(&mut self, bound: u32) -> u32;
}

impl RandomSource for Prf {
    fn below(&mut self, bound: u32) -> u32 {
        Prf::below(self, bound)
    }
}

fn generate_probe(task: ProbeTask, draw: &mut impl RandomSource) -> Probe {
    let (question, answer) = match task {
        ProbeTask::Arithmetic => arithmetic(draw),
        ProbeTask::Comparison => comparison(draw),
        ProbeTask::Logic => logic(draw),
        ProbeTask::List => list(draw),
        ProbeTask::Symbols => symbols(draw),
    };
    Probe { task, question: format!("Q: {question}\nA:"), answer }
}

/// Draws different numbers below `bound`.
fn different<const COUNT: usize>(draw: &mut impl RandomSource, bound: u32) -> [u32; COUNT] {
    let mut left: Vec<u32> = (0..bound).collect();
    [(); COUNT].map(|()| left.swap_remove(draw.below(left.len() as u32) as usize))
}

/// Draws different lower-case letters.
fn letters<const COUNT: usize>(draw: &mut impl RandomSource) -> [char; COUNT] {
    different(draw, 26).map(|letter| char::from(b'a' + letter as u8))
}

/// Formats `a = 1, b = 2, …`.
fn givens<T: std::fmt::Display>(names: &[char], values: &[T]) -> String {
    names
        .iter()
        .zip(values)
        .map(|(name, value)| format!("{name} = {value}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn spaced<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

fn arithmetic(draw: &mut impl RandomSource) -> (String, String) {
    let names = letters::<6>(draw);
    let values = [(); 6].map(|()| i64::from(10 + draw.below(90)));
    let [x, y, z] = different(draw, 6).map(|at| at as usize);
    // A sum, difference or product, then a sum or difference: at most four digits.
    let (first, sign) = match draw.below(3) {
        0 => (values[x] + values[y], '+'),
        1 => (values[x] - values[y], '-'),
        _ => (values[x] * values[y], '*'),
    };
    let (result, last) =
        if draw.below(2) == 0 { (first + values[z], '+') } else { (first - values[z], '-') };
    let question = format!(
        "{}. What is {} {sign} {} {last} {}?",
        givens(&names, &values),
        names[x],
        names[y],
        names[z]
    );
    (question, result.to_string())
}

fn comparison(draw: &mut impl RandomSource) -> (String, String) {
    let names = letters::<6>(draw);
    let values = different::<6>(draw, 900).map(|value| value + 100);
    let mut order: Vec<usize> = (0..6).collect();
    order.sort_unstable_by_key(|&at| values[at]);
    let (which, at) =
        [("largest", 5), ("second largest", 4), ("second smallest", 1), ("smallest", 0)]
            [draw.below(4) as usize];
    (format!("{}. Which is the {which}?", givens(&names, &values)), names[order[at]].to_string())
}

fn logic(draw: &mut impl RandomSource) -> (String, String) {
    let names = letters::<6>(draw);
    let values = [(); 6].map(|()| draw.below(2) == 1);
    let shown = |value: bool| if value { 'T' } else { 'F' };
    let (mut formulas, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        // Three literals joined by two connectives.
        let [first, second] = [draw.below(4), draw.below(4)];
        let mut literal = || {
            let (at, negated) = (draw.below(6) as usize, draw.below(2) == 1);
            (format!("{}{}", if negated { "not " } else { "" }, names[at]), values[at] != negated)
        };
        let ((left, a), (middle, b), (right, c)) = (literal(), literal(), literal());
        let join = |connective: u32, a: bool, b: bool| match connective {
            0 => ("and", a && b),
            1 => ("or", a || b),
            2 => ("xor", a != b),
            _ => ("implies", !a || b),
        };
        let (inner, value) = join(first, a, b);
        let (outer, value) = join(second, value, c);
        formulas.push(format!("({left} {inner} {middle}) {outer} {right}"));
        answers.push(shown(value));
    }
    let question =
        format!("{}. What are: {}?", givens(&names, &values.map(shown)), formulas.join("; "));
    (question, spaced(&answers))
}

fn list(draw: &mut impl RandomSource) -> (String, String) {
    let mut values = [(); 10].map(|()| 10 + draw.below(90));
    let given = spaced(&values);
    let task = match draw.below(4) {
        0 => {
            values.reverse();
            "reversed".to_owned()
        }
        1 => {
            values.sort_unstable();
            "sorted from small to large".to_owned()
        }
        2 => {
            let turns = 1 + draw.below(3);
            values.rotate_left(turns as usize);
            format!("with the first {turns} moved to the end")
        }
        _ => {
            let kept: Vec<u32> = values.iter().copied().step_by(2).collect();
            return (
                format!("{given}. What is this list with every second number left out?"),
                spaced(&kept),
            );
        }
    };
    (format!("{given}. What is this list {task}?"), spaced(&values))
}

fn symbols(draw: &mut impl RandomSource) -> (String, String) {
    let (from, to) =
        (letters::<6>(draw), letters::<6>(draw).map(|letter| letter.to_ascii_uppercase()));
    let word = [(); 5].map(|()| draw.below(6) as usize);
    let mut question = String::new();
    for (from, to) in from.iter().zip(&to) {
        let _ = write!(question, "{from} becomes {to}, ");
    }
    let spell = |letters: &[char; 6]| spaced(&word.map(|at| letters[at]));
    let question =
        format!("{}. What does {} become?", question.trim_end_matches(", "), spell(&from));
    (question, spell(&to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// Source that counts the bits of all draws.
    struct CountingSource {
        prf: Prf,
        bits: f64,
    }

    impl RandomSource for CountingSource {
        fn below(&mut self, bound: u32) -> u32 {
            self.bits += f64::from(bound).log2();
            self.prf.below(bound)
        }
    }

    fn of(task: ProbeTask, seed: u8) -> impl Iterator<Item = Probe> {
        (0u32..300).map(move |i| {
            generate_probe(task, &mut Prf::new("test", &[seed; 32], &[&i.to_le_bytes()]))
        })
    }

    /// Parses the given values by name and the question of `Q: a = 1, b = 2. Question?\nA:`.
    fn parsed(probe: &Probe) -> (BTreeMap<char, String>, String) {
        let text = probe.question.strip_prefix("Q: ").unwrap().strip_suffix("?\nA:").unwrap();
        let (givens, question) = text.split_once(". ").unwrap();
        let given = |pair: &str| {
            pair.split_once(" = ")
                .map(|(name, value)| (name.chars().next().unwrap(), value.to_owned()))
        };
        (givens.split(", ").filter_map(given).collect(), question.to_owned())
    }

    #[test]
    fn every_question_is_one_of_very_many() {
        for task in ProbeTask::ALL {
            for seed in 0..200 {
                let mut draw =
                    CountingSource { prf: Prf::new("space", &[seed; 32], &[]), bits: 0.0 };
                generate_probe(task, &mut draw);
                assert!(draw.bits >= 64.0, "{task:?} has {} bits", draw.bits);
            }
        }
    }

    #[test]
    fn no_question_comes_twice() {
        let mut seen = BTreeSet::new();
        for round in 0..400 {
            for probe in generate_probes(&[9; 32], round, 50) {
                assert!(seen.insert(probe.question.clone()), "{}", probe.question);
            }
        }
        assert_eq!(seen.len(), 20_000);
    }

    #[test]
    fn seed_and_round_fix_the_probes() {
        let first = generate_probes(&[1; 32], 7, 10);
        assert_eq!(first, generate_probes(&[1; 32], 7, 10));
        // A larger count appends probes.
        assert_eq!(first[..], generate_probes(&[1; 32], 7, 20)[..10]);
        assert_eq!(
            first.iter().map(|probe| probe.task).collect::<Vec<_>>(),
            [ProbeTask::ALL, ProbeTask::ALL].concat()
        );
        for other in [generate_probes(&[2; 32], 7, 10), generate_probes(&[1; 32], 8, 10)] {
            assert!(first.iter().zip(other).all(|(a, b)| a.question != b.question));
        }
    }

    #[test]
    fn examples_come_before_the_question() {
        let (probe, worked) = (
            &generate_probes(&[1; 32], 7, 5)[4],
            worked_examples(ProbeTask::Symbols, &[1; 32], 7, 2),
        );
        let [first, second] = &worked[..] else { panic!("{worked:?}") };
        assert_eq!(
            probe.prompt(&worked),
            format!(
                "{} {}\n\n{} {}\n\n{}",
                first.question, first.answer, second.question, second.answer, probe.question
            )
        );
        assert_eq!(probe.prompt(&[]), probe.question);
        assert!(
            first.task == ProbeTask::Symbols
                && first != second
                && first != probe
                && second != probe
        );
    }

    #[test]
    fn sums_are_right() {
        for probe in of(ProbeTask::Arithmetic, 1) {
            let (given, question) = parsed(&probe);
            let words: Vec<&str> = question.split(' ').collect();
            let value = |word: &str| given[&word.chars().next().unwrap()].parse::<i64>().unwrap();
            let ["What", "is", x, first, y, second, z] = words[..] else { panic!("{question}") };
            let part = match first {
                "+" => value(x) + value(y),
                "-" => value(x) - value(y),
                _ => value(x) * value(y),
            };
            let result = if second == "+" { part + value(z) } else { part - value(z) };
            assert_eq!(probe.answer, result.to_string(), "{}", probe.question);
        }
    }

    #[test]
    fn comparisons_are_right() {
        for probe in of(ProbeTask::Comparison, 2) {
            let (given, question) = parsed(&probe);
            let mut values: Vec<(u32, char)> =
                given.iter().map(|(name, value)| (value.parse().unwrap(), *name)).collect();
            values.sort_unstable();
            assert!(values.windows(2).all(|pair| pair[0].0 < pair[1].0));
            let place = match question.strip_prefix("Which is the ").unwrap() {
                "smallest" => 0,
                "second smallest" => 1,
                "second largest" => 4,
                "largest" => 5,
                other => panic!("{other}"),
            };
            assert_eq!(probe.answer, values[place].1.to_string());
        }
    }

    #[test]
    fn formulas_are_right() {
        let mut outcomes = [0; 2];
        for probe in of(ProbeTask::Logic, 3) {
            let (given, question) = parsed(&probe);
            let literal = |text: &str| {
                let (name, negated) =
                    text.strip_prefix("not ").map_or((text, false), |name| (name, true));
                (given[&name.chars().next().unwrap()] == "T") != negated
            };
            let truth = |words: &str, left: Option<bool>| {
                // "x and y", or " and y" if the left side is known.
                let (at, connective) = ["and", "or", "xor", "implies"]
                    .into_iter()
                    .find_map(|name| words.find(&format!(" {name} ")).map(|at| (at, name)))
                    .unwrap();
                let (a, b) = (
                    left.unwrap_or_else(|| literal(&words[..at])),
                    literal(&words[at + connective.len() + 2..]),
                );
                match connective {
                    "and" => a & b,
                    "or" => a | b,
                    "xor" => a ^ b,
                    _ => !a | b,
                }
            };
            let results = question.strip_prefix("What are: ").unwrap().split("; ").map(|formula| {
                let (inner, outer) = formula.strip_prefix('(').unwrap().split_once(')').unwrap();
                truth(outer, Some(truth(inner, None)))
            });
            let results: Vec<bool> = results.collect();
            results.iter().for_each(|&result| outcomes[usize::from(result)] += 1);
            assert_eq!(
                probe.answer,
                spaced(&results.iter().map(|&r| if r { 'T' } else { 'F' }).collect::<Vec<_>>())
            );
        }
        // Both answers are common.
        assert!(outcomes.iter().all(|&count| count > 400), "{outcomes:?}");
    }

    #[test]
    fn lists_are_right() {
        let mut kinds = BTreeSet::new();
        for probe in of(ProbeTask::List, 4) {
            let (given, question) = probe
                .question
                .strip_prefix("Q: ")
                .unwrap()
                .split_once(". What is this list ")
                .unwrap();
            let mut values: Vec<&str> = given.split(' ').collect();
            assert_eq!(values.len(), 10);
            kinds.insert(question.to_owned());
            match question.strip_suffix("?\nA:").unwrap() {
                "reversed" => values.reverse(),
                "sorted from small to large" => values.sort_unstable(),
                "with every second number left out" => {
                    values = [0, 2, 4, 6, 8].map(|at| values[at]).to_vec()
                }
                turned => {
                    let count: usize = turned["with the first ".len()..]
                        .split(' ')
                        .next()
                        .unwrap()
                        .parse()
                        .unwrap();
                    values = [&values[count..], &values[..count]].concat();
                }
            }
            assert_eq!(probe.answer, values.join(" "));
        }
        assert_eq!(kinds.len(), 6);
    }

    #[test]
    fn substitutions_are_right() {
        for probe in of(ProbeTask::Symbols, 5) {
            let text =
                probe.question.strip_prefix("Q: ").unwrap().strip_suffix(" become?\nA:").unwrap();
            let (rules, word) = text.split_once(". What does ").unwrap();
            let rules: BTreeMap<&str, &str> =
                rules.split(", ").map(|rule| rule.split_once(" becomes ").unwrap()).collect();
            assert_eq!(rules.len(), 6);
            assert_eq!(
                probe.answer,
                word.split(' ').map(|letter| rules[letter]).collect::<Vec<_>>().join(" ")
            );
        }
    }

    #[test]
    fn only_the_exact_answer_counts() {
        let probe =
            Probe { task: ProbeTask::List, question: String::new(), answer: "3 1 2".into() };
        assert!(
            [" 3 1 2", "3 1 2\nQ: next", "\n 3 1 2  \n"]
                .iter()
                .all(|text| probe.is_answered_by(text))
        );
        assert!(
            ["", "3 1", "3 1 2 4", "3  1 2", "It is 3 1 2", "4\n3 1 2"]
                .iter()
                .all(|text| !probe.is_answered_by(text))
        );
    }

    proptest! {
        #[test]
        fn any_seed_makes_answerable_probes(seed: [u8; 32], round: u32) {
            for probe in generate_probes(&seed, round, 5) {
                let completion = format!(" {}\nQ: ", probe.answer);
                prop_assert!(!probe.answer.is_empty() && probe.is_answered_by(&completion));
                prop_assert!(probe.question.len() < 400);
            }
        }
    }
}
