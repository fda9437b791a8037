// SPDX-License-Identifier: Apache-2.0

//! Exact values of expressions and truth of equations, as they stand in a text.

use num_bigint::BigInt;
use num_traits::{Pow, Zero};

/// Longest text that is read, in bytes.
const MAX_BYTES: usize = 4_096;
/// Deepest nesting of parentheses, signs, and powers.
const MAX_DEPTH: u32 = 64;
/// Largest size of a value, in bits.
const MAX_BITS: u64 = 8_192;

/// Values of the variables of an expression, each named by one letter.
pub(crate) type Values = [(char, BigInt)];

/// Returns the value of `text`: integers, variables, `+ - * / ^`, and parentheses. A factor may
/// stand beside a variable or a parenthesis, as in `3x` and `2(x + 1)`.
///
/// Returns `None` if the text is no expression, if a division leaves a remainder, or if a limit is
/// exceeded.
pub(crate) fn value(text: &str, values: &Values) -> Option<BigInt> {
    let mut reader = Reader { rest: text.trim_start(), depth: 0, values };
    let value = (text.len() <= MAX_BYTES).then(|| reader.sum())??;
    reader.rest.is_empty().then_some(value)
}

/// Returns `true` if `text` is an equation, or a chain of equations, and all sides are equal.
pub(crate) fn holds(text: &str, values: &Values) -> bool {
    let mut sides = text.split('=').map(|side| value(side, values));
    let Some(Some(first)) = sides.next() else { return false };
    let mut others = sides.peekable();
    others.peek().is_some() && others.all(|side| side.as_ref() == Some(&first))
}

/// Returns `number` as an operand behind an operator: negative numbers in parentheses.
pub(crate) fn operand(number: &BigInt) -> String {
    if number < &BigInt::zero() { format!("({number})") } else { number.to_string() }
}

struct Reader<'a> {
    rest: &'a str,
    depth: u32,
    values: &'a Values,
}

impl Reader<'_> {
    fn take(&mut self, symbol: char) -> bool {
        let rest = self.rest.strip_prefix(symbol).map(str::trim_start);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn sum(&mut self) -> Option<BigInt> {
        let mut value = self.product()?;
        loop {
            if self.take('+') {
                value += self.product()?;
            } else if self.take('-') {
                value -= self.product()?;
            } else {
                return bounded(value);
            }
        }
    }

    fn product(&mut self) -> Option<BigInt> {
        let mut value = self.signed()?;
        loop {
            if self.take('/') {
                let divisor = self.signed()?;
                if divisor.is_zero() || !(&value % &divisor).is_zero() {
                    return None;
                }
                value /= divisor;
            } else if self.take('*') {
                value = bounded(value * self.signed()?)?;
            } else if self.rest.starts_with(|next: char| next == '(' || next.is_ascii_lowercase()) {
                value = bounded(value * self.power()?)?;
            } else {
                return Some(value);
            }
        }
    }

    /// Parses a sign, which binds weaker than a power: -2^2 is -4.
    fn signed(&mut self) -> Option<BigInt> {
        if self.take('-') {
            return self.nested(Self::signed).map(|value| -value);
        }
        self.power()
    }

    fn power(&mut self) -> Option<BigInt> {
        let base = self.atom()?;
        if !self.take('^') {
            return Some(base);
        }
        let exponent = u32::try_from(self.nested(Self::atom)?).ok()?;
        (base.bits().checked_mul(exponent.into())? <= MAX_BITS).then(|| base.pow(exponent))
    }

    fn atom(&mut self) -> Option<BigInt> {
        if self.take('(') {
            let value = self.nested(Self::sum)?;
            return self.take(')').then_some(value);
        }
        let first = self.rest.chars().next()?;
        if let Some((_, value)) = self.values.iter().find(|(name, _)| *name == first) {
            self.take(first);
            return Some(value.clone());
        }
        let end = self.rest.find(|next: char| !next.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        bounded(BigInt::parse_bytes(digits.as_bytes(), 10)?)
    }

    fn nested(&mut self, read: fn(&mut Self) -> Option<BigInt>) -> Option<BigInt> {
        self.depth += 1;
        let value = if self.depth > MAX_DEPTH { None } else { read(self) };
        self.depth -= 1;
        value
    }
}

fn bounded(value: BigInt) -> Option<BigInt> {
    (value.bits() <= MAX_BITS).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_exact() {
        let x = [('x', BigInt::from(5)), ('y', BigInt::from(-2))];
        for (text, expected) in [
            ("1 + 2 * 3", Some(7)),
            ("(1 + 2) * 3", Some(9)),
            ("20 - 5 - 5", Some(10)),
            ("12 / 4 / 3", Some(1)),
            ("7 / 2", None),
            ("1 / 0", None),
            ("-2^2", Some(-4)),
            ("3x + 2(x - 1)", Some(23)),
            ("xy", Some(-10)),
            ("4 * (-6)", Some(-24)),
            ("2^(3)", Some(8)),
            ("", None),
            ("1 +", None),
            ("(1", None),
            ("1)", None),
            ("z", None),
            ("9^9999999", None),
            ("2^(-1)", None),
        ] {
            assert_eq!(value(text, &x), expected.map(BigInt::from), "{text}");
        }
        assert_eq!(value(&"-".repeat(200), &[]), None);
        assert_eq!(value(&"1".repeat(5_000), &[]), None);
    }

    #[test]
    fn all_sides_of_an_equation_count() {
        assert!(holds("1 + 1 = 2", &[]) && holds("1 + 1 = 2 = 4 / 2", &[]));
        for text in ["2", "1 + 1 = 3", "1 + 1 = 2 = 3", "= 2", "2 =", ""] {
            assert!(!holds(text, &[]), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "[-+*/^()0-9x= é]{0,80}") {
            let _ = holds(&text, &[('x', BigInt::from(7))]);
        }

        #[test]
        fn operands_keep_their_value(a: i64, b: i64) {
            let (a, b) = (BigInt::from(a), BigInt::from(b));
            let text = format!("{} - {}", operand(&a), operand(&b));
            prop_assert_eq!(value(&text, &[]), Some(a - b));
        }
    }
}
