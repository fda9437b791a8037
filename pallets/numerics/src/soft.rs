// SPDX-License-Identifier: Apache-2.0

//! Software floating point: IEEE 754 arithmetic from integers only.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "exponents stay within ±5,000 and significands within 127 bits, as unpack bounds them"
)]

use crate::real::{Double, Real, Single};

/// A number of the binary format with `P` stored bits of significand and `E` bits of exponent.
#[derive(Clone, Copy, Debug)]
pub struct Soft<const P: u32, const E: u32>(u64);

/// A number of format binary32.
pub type Soft32 = Soft<23, 8>;
/// A number of format binary64.
pub type Soft64 = Soft<52, 11>;

/// A number taken apart.
#[derive(Clone, Copy)]
enum Parts {
    Nan,
    Infinite { negative: bool },
    Zero { negative: bool },
    Finite(Finite),
}

/// The number `significand · 2^exponent`, not zero, with a sign.
#[derive(Clone, Copy)]
struct Finite {
    negative: bool,
    exponent: i32,
    significand: u128,
}

/// Position of the leading bit of aligned significands. A sum of two has one bit more.
const ALIGNED: u32 = 125;

impl Finite {
    /// Returns the same number with its leading bit at [`ALIGNED`].
    fn aligned(self) -> Self {
        let shift = self.significand.leading_zeros().saturating_sub(127 - ALIGNED);
        Self {
            significand: self.significand << shift,
            exponent: self.exponent - shift as i32,
            ..self
        }
    }

    fn product(self, other: Self) -> Self {
        Self {
            negative: self.negative != other.negative,
            exponent: self.exponent + other.exponent,
            significand: self.significand * other.significand,
        }
    }

    /// Returns the sum, exact or with its lowest bit set for what lies below. `None` is zero.
    fn sum(self, other: Self) -> Option<Self> {
        let (a, b) = (self.aligned(), other.aligned());
        let (high, low) = if a.exponent >= b.exponent { (a, b) } else { (b, a) };
        // The lowest bits of `high` are zero, so the sticky bit of `low` decides no tie wrongly.
        let shifted = sticky_shift(low.significand, (high.exponent - low.exponent) as u32);
        let (negative, significand) = if high.negative == low.negative {
            (high.negative, high.significand + shifted)
        } else if high.significand >= shifted {
            (high.negative, high.significand - shifted)
        } else {
            (low.negative, shifted - high.significand)
        };
        (significand != 0).then_some(Self { negative, exponent: high.exponent, significand })
    }
}

/// Shifts right and sets the lowest bit if a bit was lost.
fn sticky_shift(value: u128, shift: u32) -> u128 {
    if shift >= 127 {
        return u128::from(value != 0);
    }
    let shifted = value >> shift;
    shifted | u128::from(shifted << shift != value)
}

impl<const P: u32, const E: u32> Soft<P, E> {
    const BIAS: i32 = (1 << (E - 1)) - 1;
    const INFINITE_EXPONENT: u64 = (1 << E) - 1;
    const NAN: Self = Self((Self::INFINITE_EXPONENT << P) | (1 << (P - 1)));

    fn infinite(negative: bool) -> Self {
        Self((u64::from(negative) << (P + E)) | (Self::INFINITE_EXPONENT << P))
    }

    fn zero(negative: bool) -> Self {
        Self(u64::from(negative) << (P + E))
    }

    fn parts(self) -> Parts {
        let negative = self.0 >> (P + E) & 1 == 1;
        let biased = self.0 >> P & Self::INFINITE_EXPONENT;
        let fraction = self.0 & ((1 << P) - 1);
        if biased == Self::INFINITE_EXPONENT {
            return if fraction == 0 { Parts::Infinite { negative } } else { Parts::Nan };
        }
        if biased == 0 && fraction == 0 {
            return Parts::Zero { negative };
        }
        let leading = if biased == 0 { 0 } else { 1 << P };
        Parts::Finite(Finite {
            negative,
            exponent: biased.max(1) as i32 - Self::BIAS - P as i32,
            significand: (fraction | leading).into(),
        })
    }

    /// Rounds to the format, to nearest, ties to even.
    fn rounded(value: Finite) -> Self {
        let Finite { negative, exponent, significand } = value;
        let leading = exponent + 127 - significand.leading_zeros() as i32;
        let lowest = leading.max(1 - Self::BIAS) - P as i32;
        let shift = lowest - exponent;
        let kept = if shift <= 0 {
            significand << -shift
        } else if shift > 127 {
            // Less than half of the smallest subnormal number.
            0
        } else {
            let kept = significand >> shift;
            let (rest, half) = (significand - (kept << shift), 1u128 << (shift - 1));
            kept + u128::from(rest > half || (rest == half && kept & 1 == 1))
        };
        // Rounding up may carry into the exponent, by which the encoding stays right.
        let base = (lowest + P as i32 + Self::BIAS - 1) as u64;
        let bits = (base << P) + kept as u64;
        if bits >> P >= Self::INFINITE_EXPONENT {
            return Self::infinite(negative);
        }
        Self((u64::from(negative) << (P + E)) | bits)
    }

    fn converted<const Q: u32, const G: u32>(self) -> Soft<Q, G> {
        match self.parts() {
            Parts::Nan => Soft::NAN,
            Parts::Infinite { negative } => Soft::infinite(negative),
            Parts::Zero { negative } => Soft::zero(negative),
            Parts::Finite(value) => Soft::rounded(value),
        }
    }
}

impl<const P: u32, const E: u32> Real for Soft<P, E> {
    const ZERO: Self = Self(0);
    const ONE: Self = Self((Self::BIAS as u64) << P);

    fn plus(self, other: Self) -> Self {
        self.fused(Self::ONE, other)
    }

    fn times(self, other: Self) -> Self {
        // A zero of the product's sign changes no product, not even one that is zero.
        let negative = (self.0 ^ other.0) >> (P + E) & 1 == 1;
        self.fused(other, Self::zero(negative))
    }

    fn over(self, other: Self) -> Self {
        let negative = (self.0 ^ other.0) >> (P + E) & 1 == 1;
        match (self.parts(), other.parts()) {
            (Parts::Nan, _)
            | (_, Parts::Nan)
            | (Parts::Infinite { .. }, Parts::Infinite { .. })
            | (Parts::Zero { .. }, Parts::Zero { .. }) => Self::NAN,
            (Parts::Infinite { .. }, _) | (_, Parts::Zero { .. }) => Self::infinite(negative),
            (Parts::Zero { .. }, _) | (_, Parts::Infinite { .. }) => Self::zero(negative),
            (Parts::Finite(a), Parts::Finite(b)) => {
                let (a, b) = (a.aligned(), b);
                let quotient = a.significand / b.significand;
                let rest = a.significand - quotient * b.significand;
                Self::rounded(Finite {
                    negative,
                    exponent: a.exponent - b.exponent,
                    significand: quotient | u128::from(rest != 0),
                })
            }
        }
    }

    fn fused(self, factor: Self, addend: Self) -> Self {
        let negative = (self.0 ^ factor.0) >> (P + E) & 1 == 1;
        match (self.parts(), factor.parts(), addend.parts()) {
            (Parts::Nan, _, _)
            | (_, Parts::Nan, _)
            | (_, _, Parts::Nan)
            | (Parts::Infinite { .. }, Parts::Zero { .. }, _)
            | (Parts::Zero { .. }, Parts::Infinite { .. }, _) => Self::NAN,
            (Parts::Infinite { .. }, _, Parts::Infinite { negative: other })
            | (_, Parts::Infinite { .. }, Parts::Infinite { negative: other })
                if other != negative =>
            {
                Self::NAN
            }
            (Parts::Infinite { .. }, _, _) | (_, Parts::Infinite { .. }, _) => {
                Self::infinite(negative)
            }
            (_, _, Parts::Infinite { .. }) => addend,
            (Parts::Finite(a), Parts::Finite(b), Parts::Zero { .. }) => Self::rounded(a.product(b)),
            (Parts::Finite(a), Parts::Finite(b), Parts::Finite(c)) => {
                a.product(b).sum(c).map_or(Self::ZERO, Self::rounded)
            }
            (_, _, Parts::Zero { negative: other }) => Self::zero(negative && other),
            (_, _, Parts::Finite(_)) => addend,
        }
    }

    fn root(self) -> Self {
        match self.parts() {
            Parts::Zero { .. } | Parts::Infinite { negative: false } => self,
            Parts::Finite(value) if !value.negative => {
                let aligned = value.aligned();
                // The exponent has to be even.
                let odd = aligned.exponent & 1;
                let square = aligned.significand >> odd;
                let root = square.isqrt();
                Self::rounded(Finite {
                    negative: false,
                    exponent: (aligned.exponent + odd) / 2,
                    significand: root | u128::from(root * root != square),
                })
            }
            _ => Self::NAN,
        }
    }

    fn negated(self) -> Self {
        match self.parts() {
            Parts::Nan => Self::NAN,
            _ => Self(self.0 ^ (1 << (P + E))),
        }
    }

    fn is_below(self, other: Self) -> bool {
        if matches!(self.parts(), Parts::Nan) || matches!(other.parts(), Parts::Nan) {
            return false;
        }
        // Encodings as integers in the order of the numbers; both zeros are 0.
        let order = |x: Self| {
            let magnitude = (x.0 & ((1 << (P + E)) - 1)) as i64;
            if x.0 >> (P + E) & 1 == 1 { -magnitude } else { magnitude }
        };
        order(self) < order(other)
    }
}

impl Single for Soft32 {
    type Wide = Soft64;

    fn from_bits(bits: u32) -> Self {
        Self(bits.into())
    }

    fn to_bits(self) -> u32 {
        match self.parts() {
            Parts::Nan => crate::NAN,
            _ => self.0 as u32,
        }
    }

    fn widen(self) -> Soft64 {
        self.converted()
    }
}

impl Double for Soft64 {
    type Narrow = Soft32;

    fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    fn to_bits(self) -> u64 {
        match self.parts() {
            Parts::Nan => Self::NAN.0,
            _ => self.0,
        }
    }

    fn from_integer(integer: u64) -> Self {
        if integer == 0 {
            return Self::ZERO;
        }
        Self::rounded(Finite { negative: false, exponent: 0, significand: integer.into() })
    }

    fn narrow(self) -> Soft32 {
        self.converted()
    }
}
