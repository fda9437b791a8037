// SPDX-License-Identifier: Apache-2.0

//! Exact arithmetic on rational numbers.

use super::{Input, ToolError};
use num_bigint::{BigInt, BigUint};
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

/// Largest size of a numerator or denominator, in bits.
const MOST_BITS: u64 = 4_096;
/// Largest number of decimals of a result. A longer one is written as a fraction.
const MOST_DECIMALS: usize = 30;

/// Returns the value of `text`, in lowest terms.
pub(super) fn evaluate(text: &str) -> Result<String, ToolError> {
    let mut input = Input::new(text);
    let value = sum(&mut input)?;
    input.end("an operator or the end")?;
    Ok(written(&value))
}

fn sum(input: &mut Input<'_>) -> Result<BigRational, ToolError> {
    let mut value = product(input)?;
    loop {
        value = if input.take(&["+"]) {
            bounded(value + product(input)?)?
        } else if input.take(&["-", "−"]) {
            bounded(value - product(input)?)?
        } else {
            return Ok(value);
        };
    }
}

fn product(input: &mut Input<'_>) -> Result<BigRational, ToolError> {
    let mut value = signed(input)?;
    loop {
        value = if input.take(&["*", "×", "·"]) {
            bounded(value * signed(input)?)?
        } else if input.take(&["/", "÷"]) {
            let divisor = signed(input)?;
            if divisor.is_zero() {
                return Err(ToolError::Zero);
            }
            bounded(value / divisor)?
        } else {
            return Ok(value);
        };
    }
}

/// Parses a sign, which binds weaker than a power: -2^2 is -4.
fn signed(input: &mut Input<'_>) -> Result<BigRational, ToolError> {
    if input.take(&["-", "−"]) {
        return Ok(-nested(input, signed)?);
    }
    let base = operand(input)?;
    // Powers associate to the right: 2^3^2 is 2^9.
    if input.take(&["^", "**"]) {
        let exponent = nested(input, signed)?;
        return power(&base, &exponent);
    }
    Ok(base)
}

fn operand(input: &mut Input<'_>) -> Result<BigRational, ToolError> {
    if input.take(&["("]) {
        let value = nested(input, sum)?;
        return if input.take(&[")"]) {
            Ok(value)
        } else {
            Err(input.expected("an operator or ')'"))
        };
    }
    let digits = input.span(|letter| letter.is_ascii_digit() || letter == '.');
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let number = format!("{whole}{decimals}");
    match BigInt::parse_bytes(number.as_bytes(), 10) {
        Some(number) => {
            bounded(BigRational::new(number, BigInt::from(10).pow(decimals.len() as u32)))
        }
        None => Err(ToolError::Syntax {
            expected: "a number or '('",
            found: format!("{digits}{}", input.rest).chars().take(16).collect(),
        }),
    }
}

fn nested(
    input: &mut Input<'_>,
    read: fn(&mut Input<'_>) -> Result<BigRational, ToolError>,
) -> Result<BigRational, ToolError> {
    input.enter()?;
    let value = read(input);
    input.leave();
    value
}

fn power(base: &BigRational, exponent: &BigRational) -> Result<BigRational, ToolError> {
    if base.is_zero() {
        return match exponent {
            exponent if exponent.is_negative() => Err(ToolError::Zero),
            exponent if exponent.is_zero() => Ok(BigRational::one()),
            _ => Ok(BigRational::zero()),
        };
    }
    let whole = exponent.is_integer().then(|| exponent.to_integer());
    let Some(whole) = whole else {
        return Err(ToolError::Syntax {
            expected: "a whole number behind '^', so that the result is exact",
            found: written(exponent),
        });
    };
    if base.abs().is_one() {
        let odd = whole.bit(0);
        return Ok(if odd { base.clone() } else { BigRational::one() });
    }
    let bits = base.numer().bits().max(base.denom().bits());
    let exponent = whole.to_i32().filter(|exponent| {
        bits.saturating_sub(1) * u64::from(exponent.unsigned_abs()) <= MOST_BITS
    });
    bounded(base.pow(exponent.ok_or(ToolError::TooLarge("the number"))?))
}

fn bounded(value: BigRational) -> Result<BigRational, ToolError> {
    let bits = value.numer().bits().max(value.denom().bits());
    if bits > MOST_BITS { Err(ToolError::TooLarge("the number")) } else { Ok(value) }
}

/// Formats a number as an integer, a finite decimal, or a fraction.
fn written(value: &BigRational) -> String {
    if value.is_integer() {
        return value.to_integer().to_string();
    }
    // A decimal is finite if some power of ten is a multiple of the denominator.
    let denominator = value.denom().magnitude();
    let mut scale = BigUint::one();
    for decimals in 1..=MOST_DECIMALS {
        scale *= 10u32;
        if (&scale % denominator).is_zero() {
            let digits = (value.numer().magnitude() * (&scale / denominator)).to_string();
            let digits = format!("{digits:0>width$}", width = decimals + 1);
            let (whole, fraction) = digits.split_at(digits.len() - decimals);
            return format!("{}{whole}.{fraction}", if value.is_negative() { "-" } else { "" });
        }
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn arithmetic_is_exact() {
        for (text, value) in [
            ("12*(3+4)", "84"),
            ("0.1 + 0.2", "0.3"),
            ("1/3 + 1/6", "0.5"),
            ("1/3", "1/3"),
            ("-7/2", "-3.5"),
            ("1 - 1/20", "0.95"),
            ("-1/8", "-0.125"),
            ("2^10", "1024"),
            ("2^-2", "0.25"),
            ("-2^2", "-4"),
            ("(-2)^3", "-8"),
            ("2^3^2", "512"),
            ("--3", "3"),
            ("10 - 2 - 3", "5"),
            ("100 / 10 / 2", "5"),
            (" .5*4. ", "2"),
            ("0^0", "1"),
            ("(-1)^123456789012345678901", "-1"),
            (
                "99999999999999999999 * 99999999999999999999",
                "9999999999999999999800000000000000000001",
            ),
        ] {
            assert_eq!(evaluate(text).as_deref(), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_has_no_value_says_why() {
        assert_eq!(evaluate("1/(2-2)"), Err(ToolError::Zero));
        assert_eq!(evaluate("0^-1"), Err(ToolError::Zero));
        for text in ["2^99999", "9^9^9^9", "10^1234*10^1234", "(1/7)^9999"] {
            assert_eq!(evaluate(text), Err(ToolError::TooLarge("the number")), "{text}");
        }
        assert_eq!(evaluate(&"(".repeat(400)), Err(ToolError::TooLarge("the nesting")));
        for text in ["", "1+", "(1", "1)", "1 2", "x", "1..2", ".", "2^(1/2)", "1 +* 2"] {
            assert!(matches!(evaluate(text), Err(ToolError::Syntax { .. })), "{text}");
        }
    }

    proptest! {
        #[test]
        fn small_numbers_agree_with_the_machines(
            a in -9_999i64..9_999,
            b in -9_999i64..9_999,
            c in 1i64..99,
        ) {
            let sum = evaluate(&format!("{a} + {b}*{c} - ({b} - {a})"));
            prop_assert_eq!(sum, Ok((a + b * c - (b - a)).to_string()));
            prop_assert_eq!(evaluate(&format!("({a}*{c})/{c}")), Ok(a.to_string()));
        }

        /// A formatted number parses to the same number.
        #[test]
        fn results_are_exact(a in -9_999i64..9_999, b in 1i64..9_999) {
            let text = evaluate(&format!("({a})/{b}")).unwrap();
            prop_assert_eq!(evaluate(&format!("({text}) * {b}")), Ok(a.to_string()));
        }
    }
}
