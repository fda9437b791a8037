// SPDX-License-Identifier: Apache-2.0

//! Wording: surface forms of a solved task, chosen by a seed.

use pol_primitives::{Hash, prf::Prf};

/// Names of people in tasks.
pub(crate) const PEOPLE: [&str; 48] = [
    "Ada", "Amir", "Anna", "Bela", "Boris", "Carla", "Chen", "Dana", "David", "Elena", "Emil",
    "Fatima", "Felix", "Grace", "Hana", "Hugo", "Ines", "Ivan", "Jana", "Jonas", "Kofi", "Lara",
    "Leo", "Lina", "Marta", "Mei", "Milo", "Nadia", "Nils", "Nora", "Olga", "Omar", "Paula",
    "Petra", "Quentin", "Ravi", "Rosa", "Samir", "Sofia", "Tara", "Theo", "Uma", "Vera", "Viktor",
    "Wanda", "Yuki", "Zara", "Zeno",
];

/// Names of towns in tasks.
pub(crate) const TOWNS: [&str; 40] = [
    "Alder",
    "Amberley",
    "Ashford",
    "Birch",
    "Brook",
    "Cedar",
    "Clayton",
    "Cliff",
    "Corby",
    "Dale",
    "Dover",
    "Eastfield",
    "Elm",
    "Fairview",
    "Fern",
    "Fordham",
    "Glen",
    "Greenhill",
    "Harbour",
    "Hazel",
    "Heath",
    "Ivy",
    "Juniper",
    "Kirk",
    "Lakeside",
    "Linden",
    "Maple",
    "Marsh",
    "Milton",
    "Norwood",
    "Oakley",
    "Orchard",
    "Pine",
    "Quarry",
    "Ridge",
    "Stone",
    "Thorn",
    "Upton",
    "Westbury",
    "Willow",
];

/// Things that can be counted, in the plural.
pub(crate) const THINGS: [&str; 32] = [
    "apples", "badges", "beads", "books", "bottles", "boxes", "buttons", "candles", "cards",
    "coins", "cups", "eggs", "flowers", "keys", "lemons", "letters", "marbles", "nails", "oranges",
    "pears", "pencils", "photos", "plates", "plums", "ribbons", "seeds", "shells", "spoons",
    "stamps", "stickers", "stones", "tickets",
];

/// Letters that codes of crates begin with; none looks like a digit.
const LETTERS: &[u8; 24] = b"ABCDEFGHJKLMNPQRSTUVWXYZ";
/// Number of codes.
pub(crate) const CODES: usize = LETTERS.len() * 90;

/// Returns the code with this number, such as `K47`. Numbers from [`CODES`] on repeat.
pub(crate) fn code(number: usize) -> String {
    let letter = LETTERS[number / 90 % LETTERS.len()];
    format!("{}{}", char::from(letter), 10 + number % 90)
}

/// Returns `true` if `text` is a code.
pub(crate) fn is_code(text: &str) -> bool {
    matches!(text.as_bytes(), [letter, b'1'..=b'9', b'0'..=b'9'] if LETTERS.contains(letter))
}

/// Returns `items` as a list in English: `a, b and c`.
pub(crate) fn listed<T: AsRef<str>>(items: &[T], joint: &str) -> String {
    match items {
        [] => String::new(),
        [only] => only.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} {joint} {}", first.join(", "), last.as_ref())
        }
    }
}

/// Returns `text` with a capital first letter.
pub(crate) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// Source of wordings.
pub(crate) struct Words {
    prf: Prf,
    /// Signs of arithmetic: as on a keyboard, or as in print.
    print: bool,
}

impl Words {
    pub(crate) fn new(seed: &Hash) -> Self {
        let mut prf = Prf::new("pol/synthesis/words/1", seed, &[]);
        let print = prf.below(2) == 1;
        Self { prf, print }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.prf.below(u32::try_from(bound).unwrap_or(u32::MAX)) as usize
    }

    /// Chooses one of `options`, or nothing if there is none.
    pub(crate) fn pick<'a>(&mut self, options: &[&'a str]) -> &'a str {
        let at = self.below(options.len());
        options.get(at).copied().unwrap_or_default()
    }

    /// Returns `text` with the signs of arithmetic of this document.
    pub(crate) fn signs(&self, text: &str) -> String {
        if self.print {
            text.replace(" * ", " × ").replace(" / ", " ÷ ").replace("^2", "²")
        } else {
            text.to_owned()
        }
    }
}

/// A task with its solution, as sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Solution {
    /// Question, in whole sentences.
    pub(crate) question: String,
    /// Steps of the solution, each a sentence or an equation without a full stop.
    pub(crate) steps: Vec<String>,
    /// Answer, without a full stop.
    pub(crate) answer: String,
}

/// Form of a document.
#[derive(Clone, Copy)]
pub(crate) enum Layout {
    /// A question, numbered steps, and an answer.
    Steps,
    /// The same as `Q:` and `A:`.
    Short,
    /// An exercise of a textbook.
    Exercise,
    /// A student asks and a teacher answers.
    Lesson,
    /// A user asks an assistant.
    Chat,
    /// The answer first, then its reasons.
    AnswerFirst,
}

impl Layout {
    pub(crate) fn draw(words: &mut Words) -> Self {
        match words.below(6) {
            0 => Self::Steps,
            1 => Self::Short,
            2 => Self::Exercise,
            3 => Self::Lesson,
            4 => Self::Chat,
            _ => Self::AnswerFirst,
        }
    }

    /// Writes a solved task with this number, from 1.
    pub(crate) fn write(self, number: usize, solution: &Solution, words: &mut Words) -> String {
        let Solution { question, steps, answer } = solution;
        let numbered: String =
            (1..).zip(steps).map(|(at, step)| format!("Step {at}: {step}\n")).collect();
        match self {
            Self::Steps => format!("{question}\n\n{numbered}Answer: {answer}\n"),
            Self::Short => {
                let lines: String = steps.iter().map(|step| format!("{step}.\n")).collect();
                format!("Q: {question}\nA: {}\n{lines}The answer is: {answer}.\n", words.opening())
            }
            Self::Exercise => format!(
                "Exercise {number}. {question}\n\nSolution. {}\n\n{} {answer}.\n",
                sentences(steps),
                words.pick(&["Result:", "The result is:", "We find:", "Answer:"]),
            ),
            Self::Lesson => {
                let steps: String =
                    steps.iter().map(|step| format!("Teacher: {step}.\n")).collect();
                format!(
                    "Student: {question}\nTeacher: {}\n{steps}Student: {} {answer}.\n",
                    words.opening(),
                    words.pick(&["So the answer is:", "I see. It is:", "Then the answer must be:"]),
                )
            }
            Self::Chat => format!(
                "User: {question}\n\nAssistant: {}\n{numbered}\nAnswer: {answer}\n",
                words.opening()
            ),
            Self::AnswerFirst => format!(
                "{question}\n\nAnswer: {answer}\n\n{} {}\n",
                words.pick(&["Reason:", "Because:", "This is why:", "Working:"]),
                sentences(steps),
            ),
        }
    }
}

impl Words {
    fn opening(&mut self) -> &'static str {
        self.pick(&[
            "Let us go step by step.",
            "We work it out step by step.",
            "One step at a time.",
            "Here is the way to the answer.",
            "Let me think.",
        ])
    }
}

fn sentences(steps: &[String]) -> String {
    let sentences: Vec<String> = steps.iter().map(|step| format!("{step}.")).collect();
    sentences.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_sorted() {
        fn check(names: &[&str]) {
            assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
        }
        check(&PEOPLE);
        check(&TOWNS);
        check(&THINGS);
        let codes: BTreeSet<String> = (0..CODES).map(code).collect();
        assert_eq!(codes.len(), CODES);
        assert!(codes.iter().all(|code| is_code(code)));
        assert!(["", "K4", "K04", "I10", "k10", "K100"].iter().all(|text| !is_code(text)));
    }

    #[test]
    fn lists_read_as_english() {
        assert_eq!(listed::<&str>(&[], "and"), "");
        assert_eq!(listed(&["a"], "and"), "a");
        assert_eq!(listed(&["a", "b", "c"], "or"), "a, b or c");
        assert_eq!(capitalised("éa b"), "Éa b");
    }
}
