// SPDX-License-Identifier: Apache-2.0

//! Arithmetic on integers of any length, with every step an equation.

use super::{Level, Proved};
use crate::{
    draws::Draws,
    error::Rejection,
    expression::{holds, operand, value},
    words::{Solution, Words},
};
use num_bigint::BigInt;
use num_traits::{Pow, Signed, Zero};
use serde::{Deserialize, Serialize};

/// Value of an expression, worked out step by step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arithmetic {
    /// Quantity that is asked for.
    pub quantity: Quantity,
    /// Equations that lead to the result. The last one ends in it.
    pub steps: Vec<String>,
    /// Result.
    pub answer: String,
}

/// Quantity that a task of arithmetic asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Quantity {
    /// Value of an expression.
    Value(String),
    /// Quotient and remainder of the first number divided by the second, written
    /// `QUOTIENT remainder REMAINDER`.
    Quotient(String, String),
    /// Greatest common divisor of two positive numbers.
    Divisor(String, String),
}

impl Arithmetic {
    pub(super) fn draw(level: Level, draws: &mut Draws) -> Self {
        let digits = [2, 3, 4, 7, 12][level.index()];
        match draws.below(if level.index() == 0 { 3 } else { 7 }) {
            0 => sum(number(digits, draws), number(digits, draws)),
            1 => difference(digits, draws),
            2 => product(number(digits, draws), number(digits.min(4), draws)),
            3 => quotient(number(digits + 1, draws), number(1 + digits / 3, draws)),
            4 => divisor(number(digits, draws), number(digits, draws)),
            5 => nested(digits, draws),
            _ => square(number(digits.min(6), draws)),
        }
    }
}

/// Draws a number with exactly this number of digits, which the text shows.
fn number(digits: u32, draws: &mut Draws) -> BigInt {
    let mut number = BigInt::from(draws.distinct_range(1, 9));
    for _ in 1..digits {
        number = number * 10 + draws.distinct(10);
    }
    number
}

/// Returns the decimal digits of `number`, lowest first.
fn digits(number: &BigInt) -> Vec<u8> {
    number.magnitude().to_radix_le(10)
}

/// Returns the parts that the digits of `number` stand for, highest first, without zeros.
fn parts(number: &BigInt) -> Vec<BigInt> {
    let mut place = BigInt::from(1);
    let mut parts: Vec<BigInt> = Vec::new();
    for digit in digits(number) {
        parts.push(&place * digit);
        place *= 10;
    }
    parts.retain(|part| !part.is_zero());
    parts.reverse();
    parts
}

fn value_of(expression: String, mut steps: Vec<String>, answer: &BigInt) -> Arithmetic {
    let whole = format!("{expression} = {answer}");
    if steps.last() != Some(&whole) {
        steps.push(whole);
    }
    Arithmetic { quantity: Quantity::Value(expression), steps, answer: answer.to_string() }
}

/// Adds column by column, from the right.
fn sum(a: BigInt, b: BigInt) -> Arithmetic {
    let (left, right) = (digits(&a), digits(&b));
    let mut carry = 0;
    let mut steps = Vec::new();
    for place in 0..left.len().max(right.len()) {
        let digit = |digits: &[u8]| digits.get(place).copied().unwrap_or(0);
        let (x, y) = (digit(&left), digit(&right));
        let total = x + y + carry;
        let carried = if carry > 0 { format!(" + {carry}") } else { String::new() };
        steps.push(format!("{x} + {y}{carried} = {total}"));
        carry = total / 10;
    }
    let answer = &a + &b;
    value_of(format!("{a} + {b}"), steps, &answer)
}

/// Takes away the parts of the second number one by one.
fn difference(length: u32, draws: &mut Draws) -> Arithmetic {
    let (rest, b) = (number(length, draws), number(length, draws));
    let a = &rest + &b;
    let (mut left, mut steps) = (a.clone(), Vec::new());
    for part in parts(&b) {
        let next = &left - &part;
        steps.push(format!("{left} - {part} = {next}"));
        left = next;
    }
    value_of(format!("{a} - {b}"), steps, &rest)
}

/// Adds the products with the parts of the second number.
fn product(a: BigInt, b: BigInt) -> Arithmetic {
    let mut steps = Vec::new();
    let mut products: Vec<String> = Vec::new();
    for part in parts(&b) {
        let partial = &a * &part;
        steps.push(format!("{a} * {part} = {partial}"));
        products.push(partial.to_string());
    }
    let answer = &a * &b;
    if products.len() > 1 {
        steps.push(format!("{} = {answer}", products.join(" + ")));
    }
    value_of(format!("{a} * {b}"), steps, &answer)
}

/// Divides digit by digit, from the left.
fn quotient(a: BigInt, b: BigInt) -> Arithmetic {
    let (mut quotient, mut left, mut steps) = (BigInt::zero(), BigInt::zero(), Vec::new());
    for digit in digits(&a).into_iter().rev() {
        left = left * 10 + digit;
        let times = &left / &b;
        if !(times.is_zero() && quotient.is_zero()) {
            steps.push(format!("{left} = {times} * {b} + {}", &left % &b));
        }
        left %= &b;
        quotient = quotient * 10 + times;
    }
    steps.push(format!("{a} = {quotient} * {b} + {left}"));
    steps.dedup();
    Arithmetic {
        quantity: Quantity::Quotient(a.to_string(), b.to_string()),
        steps,
        answer: format!("{quotient} remainder {left}"),
    }
}

/// Divides with remainder until nothing is left (Euclid's algorithm).
fn divisor(a: BigInt, b: BigInt) -> Arithmetic {
    let quantity = Quantity::Divisor(a.to_string(), b.to_string());
    let (mut a, mut b, mut steps) = (a, b, Vec::new());
    while !b.is_zero() {
        let rest = &a % &b;
        steps.push(format!("{a} = {} * {b} + {rest}", &a / &b));
        (a, b) = (b, rest);
    }
    Arithmetic { quantity, steps, answer: a.to_string() }
}

/// Works from the inside of parentheses outwards.
fn nested(length: u32, draws: &mut Draws) -> Arithmetic {
    let [a, b, c, d] = [0; 4].map(|_| number(length.min(6), draws));
    let inner_sum = draws.chance(50);
    let (inner, sign) = if inner_sum { (&a + &b, '+') } else { (&a - &b, '-') };
    let outer = &inner * &c;
    let (answer, last) = if draws.chance(50) { (&outer + &d, '+') } else { (&outer - &d, '-') };
    let steps = vec![
        format!("{a} {sign} {b} = {inner}"),
        format!("{} * {c} = {outer}", operand(&inner)),
        format!("{} {last} {d} = {answer}", operand(&outer)),
    ];
    value_of(format!("({a} {sign} {b}) * {c} {last} {d}"), steps, &answer)
}

/// Squares a number through the next multiple of ten below it.
fn square(a: BigInt) -> Arithmetic {
    let unit: BigInt = &a % 10;
    let tens = &a - &unit;
    let (high, middle, low) =
        (Pow::pow(&tens, 2u32), BigInt::from(2) * &tens * &unit, Pow::pow(&unit, 2u32));
    let answer = Pow::pow(&a, 2u32);
    let steps = vec![
        format!("{a}^2 = ({tens} + {unit})^2"),
        format!("{tens}^2 = {high}"),
        format!("2 * {tens} * {unit} = {middle}"),
        format!("{unit}^2 = {low}"),
        format!("{high} + {middle} + {low} = {answer}"),
    ];
    value_of(format!("{a}^2"), steps, &answer)
}

impl Proved for Arithmetic {
    fn check(&self) -> Result<(), Rejection> {
        for step in &self.steps {
            Rejection::unless(holds(step, &[]), &format!("{step} is not true"))?;
        }
        let number = |text: &str| value(text, &[]);
        let reached = self.steps.last().and_then(|step| step.split('=').next_back());
        let right = match &self.quantity {
            Quantity::Value(asked) => {
                let answer = number(&self.answer);
                answer.is_some()
                    && answer == number(asked)
                    && answer == reached.and_then(number)
                    && self.answer == reached.unwrap_or_default().trim()
            }
            Quantity::Quotient(a, b) => is_quotient(number(a), number(b), &self.answer),
            Quantity::Divisor(a, b) => is_divisor(number(a), number(b), &self.answer),
        };
        Rejection::unless(right, &format!("{} is not the answer", self.answer))
    }

    fn solution(&self, words: &mut Words) -> Solution {
        let question = match &self.quantity {
            Quantity::Value(asked) => {
                let asked = words.signs(asked);
                words
                    .pick(&[
                        "Compute _.",
                        "Work out _.",
                        "What is _?",
                        "Find the value of _.",
                        "How much is _?",
                        "Calculate _.",
                    ])
                    .replace('_', &asked)
            }
            Quantity::Quotient(a, b) => words
                .pick(&[
                    "Divide _ by ~ with remainder.",
                    "What are the quotient and the remainder of _ divided by ~?",
                    "How often does ~ go into _, and what is left?",
                ])
                .replace('_', a)
                .replace('~', b),
            Quantity::Divisor(a, b) => words
                .pick(&[
                    "Find the greatest common divisor of _ and ~.",
                    "What is the largest number that divides both _ and ~?",
                    "Use Euclid's algorithm on _ and ~ to find their greatest common divisor.",
                ])
                .replace('_', a)
                .replace('~', b),
        };
        let steps = self.steps.iter().map(|step| words.signs(step)).collect();
        Solution { question, steps, answer: self.answer.clone() }
    }
}

/// Returns `true` if `answer` states quotient and remainder of `a` divided by `b`.
fn is_quotient(a: Option<BigInt>, b: Option<BigInt>, answer: &str) -> bool {
    let (Some(a), Some(b), Some((quotient, rest))) = (a, b, answer.split_once(" remainder "))
    else {
        return false;
    };
    let (quotient, rest) = (quotient.parse::<BigInt>(), rest.parse::<BigInt>());
    let (Ok(quotient), Ok(rest)) = (quotient, rest) else { return false };
    !rest.is_negative() && rest < b && quotient * b + rest == a
}

/// Returns `true` if `answer` is the greatest common divisor of `a` and `b`: it divides both, and
/// what is left of both has no common divisor. Halving and subtraction (Stein 1967) decide the
/// latter, so the check shares nothing with the steps.
fn is_divisor(a: Option<BigInt>, b: Option<BigInt>, answer: &str) -> bool {
    let (Some(a), Some(b), Ok(answer)) = (a, b, answer.parse::<BigInt>()) else { return false };
    let positive = [&a, &b, &answer].iter().all(|number| number.is_positive());
    if !positive || !(&a % &answer).is_zero() || !(&b % &answer).is_zero() {
        return false;
    }
    let odd = |number: BigInt| {
        let twos = number.trailing_zeros().unwrap_or(0);
        number >> twos
    };
    let (a, b) = (a / &answer, b / &answer);
    if !a.bit(0) && !b.bit(0) {
        return false;
    }
    let (mut a, mut b) = (odd(a), odd(b));
    while a != b {
        if a < b {
            std::mem::swap(&mut a, &mut b);
        }
        a = odd(a - &b);
    }
    a == BigInt::from(1)
}
