// SPDX-License-Identifier: Apache-2.0

//! Equations with integer solutions.

use super::{Level, Proved};
use crate::{
    draws::Draws,
    error::Rejection,
    expression::{holds, value},
    words::{Solution, Words, listed},
};
use num_bigint::BigInt;
use num_traits::Zero;
use serde::{Deserialize, Serialize};

/// Largest number of equations, solutions, or unknowns that are checked.
const MAX_ITEMS: usize = 8;

/// One or two equations, all their solutions, and the way to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Algebra {
    /// Equations in `x`, or in `x` and `y`.
    pub equations: Vec<String>,
    /// Equations that follow, each true for every solution.
    pub steps: Vec<String>,
    /// Solutions: values of `x`, or of `x` and `y`.
    pub solutions: Vec<Vec<i64>>,
}

/// Writes the sum of terms, each a factor and what it multiplies, as in `3x - y + 2`.
fn sum(terms: &[(i64, &str)]) -> String {
    let mut text = String::new();
    for &(factor, name) in terms.iter().filter(|term| term.0 != 0) {
        let size = factor.unsigned_abs();
        let sign = match (text.is_empty(), factor < 0) {
            (true, true) => "-",
            (true, false) => "",
            (false, true) => " - ",
            (false, false) => " + ",
        };
        text += sign;
        if size != 1 || name.is_empty() {
            text += &size.to_string();
        }
        text += name;
    }
    if text.is_empty() { "0".to_owned() } else { text }
}

/// Writes `factor` times a negative or positive number, without variables.
fn times(factor: i64, number: i64) -> String {
    if number < 0 { format!("{factor} * ({number})") } else { format!("{factor} * {number}") }
}

/// Writes ` + 3` or ` - 3`, and nothing for 0.
fn added(number: i64) -> String {
    let sign = if number < 0 { '-' } else { '+' };
    if number == 0 { String::new() } else { format!(" {sign} {}", number.unsigned_abs()) }
}

impl Algebra {
    pub(super) fn draw(level: Level, draws: &mut Draws) -> Self {
        let size = [9, 12, 20, 60, 400][level.index()];
        match (level.index(), draws.below(4)) {
            (0, _) | (1, 0) => one_side(size, draws),
            (1, _) | (2, 0 | 1) => both_sides(size, draws),
            (2, _) | (3, 0) => brackets(size, draws),
            (3, 1 | 2) | (4, 0) => quadratic(size, draws),
            _ => system(size, draws),
        }
    }
}

fn one_side(size: i64, draws: &mut Draws) -> Algebra {
    let x = draws.distinct_range(-size, size);
    let a = draws.distinct_range(2, size);
    let b = draws.distinct_range(1, 9 * size) * if draws.chance(50) { 1 } else { -1 };
    let c = a * x + b;
    let left = sum(&[(a, "x"), (b, "")]);
    Algebra {
        equations: vec![format!("{left} = {c}")],
        steps: vec![
            format!("{a}x = {c}{}", added(-b)),
            format!("{a}x = {}", a * x),
            format!("x = {} / {a}", a * x),
            format!("x = {x}"),
            format!("{}{} = {c}", times(a, x), added(b)),
        ],
        solutions: vec![vec![x]],
    }
}

fn both_sides(size: i64, draws: &mut Draws) -> Algebra {
    let x = draws.distinct_range(-size, size);
    let c = draws.distinct_range(1, size);
    let a = c + draws.distinct_range(1, size);
    let d = draws.distinct_range(-9 * size, 9 * size);
    let b = (c - a) * x + d;
    let (left, right) = (sum(&[(a, "x"), (b, "")]), sum(&[(c, "x"), (d, "")]));
    let mut steps = vec![format!("{} = {d}", sum(&[(a - c, "x"), (b, "")]))];
    if b != 0 {
        steps.push(format!("{} = {}", sum(&[(a - c, "x")]), d - b));
    }
    steps.push(format!("x = {x}"));
    let sides = [(a, b), (c, d)].map(|(m, n)| format!("{}{}", times(m, x), added(n)));
    steps.push(format!("{} = {} = {}", sides[0], sides[1], a * x + b));
    steps.dedup();
    Algebra { equations: vec![format!("{left} = {right}")], steps, solutions: vec![vec![x]] }
}

fn brackets(size: i64, draws: &mut Draws) -> Algebra {
    let x = draws.distinct_range(-size, size);
    let a = draws.distinct_range(2, size);
    let b = draws.distinct_range(1, 3 * size);
    let d = draws.distinct_range(1, 9 * size);
    let c = a * (x + b) - d;
    Algebra {
        equations: vec![format!("{a}(x + {b}) - {d} = {c}")],
        steps: vec![
            format!("{a}(x + {b}) = {}", c + d),
            format!("x + {b} = {} / {a} = {}", c + d, x + b),
            format!("x = {x}"),
            format!("{a} * ({x} + {b}) - {d} = {c}"),
        ],
        solutions: vec![vec![x]],
    }
}

fn quadratic(size: i64, draws: &mut Draws) -> Algebra {
    // The smaller root first, so that equal equations have equal draws.
    let r = draws.distinct_range(-size, size);
    let s = r + draws.distinct_range(0, 2 * size);
    let (p, q) = (-(r + s), r * s);
    let left = sum(&[(1, "x^2"), (p, "x"), (q, "")]);
    let factor = |root: i64| if root == 0 { "x".into() } else { format!("(x{})", added(-root)) };
    let mut steps = vec![format!("{} = {left} = 0", factor(r) + &factor(s))];
    let mut solutions = vec![vec![r], vec![s]];
    solutions.dedup();
    for root in solutions.iter().flatten() {
        let x = if *root < 0 { format!("({root})") } else { root.to_string() };
        let linear = if p == 0 { String::new() } else { format!("{} * {x}", added(p)) };
        steps.push(format!("{x}^2{linear}{} = 0", added(q)));
    }
    Algebra { equations: vec![format!("{left} = 0")], steps, solutions }
}

fn system(size: i64, draws: &mut Draws) -> Algebra {
    let small = size.min(30);
    let (x, y) = (draws.distinct_range(-size, size), draws.distinct_range(-size, size));
    let (a, b, c) = (
        draws.distinct_range(1, small),
        draws.distinct_range(1, small),
        draws.distinct_range(1, small),
    );
    // For one value of the last factor the equations depend on each other.
    let d = std::iter::repeat_with(|| draws.range(1, small + 1)).find(|d| a * d != b * c);
    let d = d.unwrap_or(1);
    let (e, f) = (a * x + b * y, c * x + d * y);
    let determinant = a * d - b * c;
    Algebra {
        equations: vec![
            format!("{} = {e}", sum(&[(a, "x"), (b, "y")])),
            format!("{} = {f}", sum(&[(c, "x"), (d, "y")])),
        ],
        steps: vec![
            format!("{} = {}", sum(&[(a * d, "x"), (b * d, "y")]), d * e),
            format!("{} = {}", sum(&[(b * c, "x"), (b * d, "y")]), b * f),
            format!("{} = {}", sum(&[(determinant, "x")]), d * e - b * f),
            format!("x = {x}"),
            format!("{} = {e}{}", sum(&[(b, "y")]), added(-a * x)),
            format!("y = {y}"),
            format!("{} + {} = {f}", times(c, x), times(d, y)),
        ],
        solutions: vec![vec![x, y]],
    }
}

impl Algebra {
    /// Returns the difference of the sides of `equation` where the unknowns have these values.
    fn difference(equation: &str, at: &[i64]) -> Option<BigInt> {
        let (left, right) = equation.split_once('=')?;
        let values = named(at);
        Some(value(left, &values)? - value(right, &values)?)
    }

    /// Returns `true` if the equations have no other solutions than those stated.
    fn is_complete(&self) -> Option<bool> {
        match (self.equations.as_slice(), self.solutions.as_slice()) {
            ([equation], solutions) => {
                // Nine points fix a polynomial of at most the eighth degree.
                let squares = equation.matches("x^2").count();
                let bounded = equation.matches('x').count() <= 4
                    && equation.matches('^').count() == squares
                    && !equation.contains("x^2^");
                let at = |x| Self::difference(equation, &[x]);
                let points = (-4..=4).map(at).collect::<Option<Vec<_>>>()?;
                let leading = leading_differences(points);
                let [slope, bend, others @ ..] = leading.as_slice() else { return None };
                let flat = bounded && others.iter().all(Zero::is_zero);
                // A parabola touches zero at its vertex.
                let vertex =
                    |root: i64| Some(at(root.checked_add(1)?)? == at(root.checked_sub(1)?)?);
                Some(match solutions {
                    [_] if bend.is_zero() => flat && !slope.is_zero(),
                    [only] => flat && vertex(*only.first()?)?,
                    [first, second] => flat && !bend.is_zero() && first != second,
                    _ => false,
                })
            }
            ([first, second], [_]) => {
                let ((a, b), (c, d)) = (factors(first)?, factors(second)?);
                Some(a * d != b * c)
            }
            _ => None,
        }
    }
}

/// Returns the factors of `x` and `y` in an equation that is linear in both.
fn factors(equation: &str) -> Option<(BigInt, BigInt)> {
    let packed: String = equation.split_whitespace().collect();
    let is_linear = ["xy", "yx", "(", "*", "/", "^"].iter().all(|sign| !packed.contains(sign))
        && ['x', 'y'].iter().all(|&name| packed.matches(name).count() <= 1);
    let at = |x, y| Algebra::difference(equation, &[x, y]);
    let origin = is_linear.then(|| at(0, 0))??;
    Some((at(1, 0)? - &origin, at(0, 1)? - &origin))
}

fn named(values: &[i64]) -> Vec<(char, BigInt)> {
    ['x', 'y'].into_iter().zip(values.iter().map(|&value| value.into())).collect()
}

/// Returns the first of the first differences of `points`, of the second, and so on.
fn leading_differences(points: Vec<BigInt>) -> Vec<BigInt> {
    let mut row = points;
    let mut leading = Vec::new();
    while row.len() > 1 {
        row = row.windows(2).map(|pair| &pair[1] - &pair[0]).collect();
        leading.extend(row.first().cloned());
    }
    leading
}

impl Proved for Algebra {
    fn check(&self) -> Result<(), Rejection> {
        let unknowns = self.equations.len();
        let small = (1..=2).contains(&unknowns) && (1..=MAX_ITEMS).contains(&self.solutions.len());
        Rejection::unless(small, "it has too many equations or solutions")?;
        for solution in &self.solutions {
            Rejection::unless(solution.len() == unknowns, "a solution lacks an unknown")?;
            let values = named(solution);
            for equation in self.equations.iter().chain(&self.steps) {
                let wrong = format!("{equation} does not hold for {solution:?}");
                Rejection::unless(holds(equation, &values), &wrong)?;
            }
        }
        Rejection::unless(self.is_complete() == Some(true), "there may be other solutions")
    }

    fn solution(&self, words: &mut Words) -> Solution {
        let equations: Vec<String> =
            self.equations.iter().map(|equation| words.signs(equation)).collect();
        let question = if equations.len() == 1 {
            words.pick(&[
                "Solve _.",
                "Solve _ for x.",
                "For which values of x is _?",
                "Find all x with _.",
                "Determine x, given that _.",
            ])
        } else {
            words.pick(&[
                "Solve the system _.",
                "Find x and y with _.",
                "Two equations are given: _. Determine x and y.",
            ])
        };
        let name = |solution: &Vec<i64>| {
            let values: Vec<String> = ["x", "y"]
                .iter()
                .zip(solution)
                .map(|(name, value)| format!("{name} = {value}"))
                .collect();
            listed(&values, "and")
        };
        let answers: Vec<String> = self.solutions.iter().map(name).collect();
        Solution {
            question: question.replace('_', &listed(&equations, "and")),
            steps: self.steps.iter().map(|step| words.signs(step)).collect(),
            answer: listed(&answers, "or"),
        }
    }
}
