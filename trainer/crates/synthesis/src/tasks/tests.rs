// SPDX-License-Identifier: Apache-2.0

use super::*;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeSet;

fn certificate(family: Family, level: u8, seed: u8, index: u32) -> Certificate {
    let mut draws = Draws::new(&[seed; 32], index);
    let certificate = Certificate::draw(family, Level::new(level).unwrap(), &mut draws);
    // The text shows the whole index, so no other document of the seed is equal.
    assert!(draws.is_spent(), "{family:?} {level}");
    certificate
}

fn families() -> impl Strategy<Value = Family> {
    prop::sample::select(Family::ALL.to_vec())
}

/// Returns all numbers and strings of a value, except for the wording.
fn leaves<'a>(value: &'a mut Value, found: &mut Vec<&'a mut Value>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| leaves(item, found)),
        Value::Object(fields) => fields
            .iter_mut()
            .filter(|(name, _)| *name != "wording")
            .for_each(|(_, item)| leaves(item, found)),
        Value::Number(_) | Value::String(_) | Value::Bool(_) => found.push(value),
        Value::Null => {}
    }
}

/// Changes one number, truth value, or digit of a string. Returns `false` if there is none.
fn change(leaf: &mut Value, by: i64) -> bool {
    match leaf {
        Value::Bool(value) => *leaf = Value::Bool(!*value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => *leaf = number.wrapping_add(by).into(),
            None => return false,
        },
        Value::String(text) => {
            let Some(at) = text.find(|letter: char| letter.is_ascii_digit()) else { return false };
            let digit = text.as_bytes()[at] - b'0';
            let other = (i64::from(digit) + by).rem_euclid(10);
            if other == i64::from(digit) {
                return false;
            }
            text.replace_range(at..=at, &other.to_string());
        }
        _ => return false,
    }
    true
}

#[test]
fn documents_of_a_seed_differ() {
    for family in Family::ALL {
        for level in 1..=Level::MAX {
            let texts: BTreeSet<String> = (0..120)
                .map(|index| certificate(family, level, 1, index).proved_text().unwrap())
                .collect();
            assert_eq!(texts.len(), 120, "{family:?} {level}");
        }
    }
}

#[test]
fn wrong_answers_are_rejected() {
    for index in 0..40 {
        for family in Family::ALL {
            for task in certificate(family, 1 + (index % 5) as u8, 2, index).tasks {
                let wrong = with_wrong_answer(task);
                assert!(wrong.check().is_err(), "{wrong:?}");
            }
        }
    }
}

/// Returns the task with an answer that is wrong.
fn with_wrong_answer(mut task: Task) -> Task {
    match &mut task {
        Task::Arithmetic(task) => task.answer = task.answer.replacen(['0', '1', '2'], "7", 1) + "1",
        Task::Algebra(task) => task.solutions[0][0] += 1,
        Task::Logic(task) => {
            task.conclusion = match task.conclusion.clone() {
                Conclusion::True(lines) => Conclusion::False(lines),
                Conclusion::False(lines) => Conclusion::True(lines),
                Conclusion::Open(with, without) => Conclusion::Open(without, with),
            }
        }
        Task::Lists(task) => task.answer = Some(task.answer.map_or(0, |answer| answer + 1)),
        Task::Program(task) => task.output[0] += "0",
        Task::Route(task) => task.reached.last_mut().unwrap().1 -= 1,
        Task::Colouring(task) => {
            let (a, b) = task.borders[0];
            task.colours[a] = task.colours[b];
        }
        Task::Schedule(task) => match &mut task.plan {
            SchedulePlan::Order(order) => order.swap(0, 1),
            SchedulePlan::Circle(circle) => circle.truncate(1),
        },
        Task::Stacks(task) => {
            task.moves.pop();
        }
        Task::Ferry(task) => {
            task.crossings.pop();
        }
        Task::Order(task) => task.order.swap(0, 1),
        Task::Story(task) => *task.after.last_mut().unwrap() += 1,
        Task::Mistake(task) => task.wrong += 1,
    }
    if let Task::Order(order) = &mut task {
        // A changed order is another true text; without its reason it is not.
        order.pairs.pop();
        order.pairs.retain(|&(earlier, later)| later - earlier > 1);
    }
    task
}

#[test]
fn documents_without_tasks_prove_nothing() {
    let certificate = Certificate { wording: [0; 32], tasks: Vec::new() };
    assert!(certificate.proved_text().unwrap_err().to_string().contains("from 1 to 16"));
}

#[test]
fn there_are_five_levels() {
    assert!((1..=5).all(|number| Level::new(number).is_some()));
    assert!(Level::new(0).is_none() && Level::new(6).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn documents_are_proved(family in families(), level in 1u8..=5, seed: u8, index: u32) {
        let made = certificate(family, level, seed, index);
        let text = made.proved_text().unwrap();
        prop_assert_eq!(made.verify(text.as_bytes()), Ok(()));
        let json = serde_json::to_string(&made).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Certificate>(&json).unwrap(), &made);
        prop_assert!(text.ends_with('\n') && text.len() < 1 << 16);
        // Nothing of a template is left.
        prop_assert!(!text.contains(['~', '#', '^']) || text.contains("^2"), "{}", text);
    }

    #[test]
    fn other_texts_are_rejected(
        family in families(), level in 1u8..=5, index: u32, at: prop::sample::Index, by in 1u8..=9
    ) {
        let made = certificate(family, level, 3, index);
        let mut text = made.proved_text().unwrap().into_bytes();
        let digits: Vec<usize> =
            (0..text.len()).filter(|&at| text[at].is_ascii_digit()).collect();
        let at = digits[at.index(digits.len())];
        text[at] = b'0' + (text[at] - b'0' + by) % 10;
        prop_assert!(made.verify(&text).is_err());
        text.clear();
        prop_assert!(made.verify(&text).is_err());
    }

    #[test]
    fn changed_certificates_are_rejected(
        family in families(),
        level in 1u8..=5,
        index: u32,
        at: prop::sample::Index,
        by in prop_oneof![1i64..9, -9i64..-1, any::<i64>()],
    ) {
        let made = certificate(family, level, 4, index);
        let text = made.proved_text().unwrap();
        let mut json = serde_json::to_value(&made).unwrap();
        let mut all = Vec::new();
        leaves(&mut json, &mut all);
        let at = at.index(all.len());
        if change(all[at], by)
            && let Ok(changed) = serde_json::from_value::<Certificate>(json)
            && changed != made
        {
            prop_assert!(changed.verify(text.as_bytes()).is_err(), "{changed:?}");
        }
    }
}
