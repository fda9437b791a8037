// SPDX-License-Identifier: Apache-2.0

//! The arithmetic that definitions are written in.

/// Numbers of an IEEE 754 binary format, rounded to nearest, ties to even.
///
/// Subnormals are kept. Every operation with a NaN result gives the same NaN: sign and payload of
/// a NaN carry no information.
pub trait Real: Copy {
    /// Positive zero.
    const ZERO: Self;
    /// The number 1.
    const ONE: Self;

    /// Returns `self + other`.
    fn plus(self, other: Self) -> Self;
    /// Returns `self · other`.
    fn times(self, other: Self) -> Self;
    /// Returns `self / other`.
    fn over(self, other: Self) -> Self;
    /// Returns `self · factor + addend`, rounded once.
    fn fused(self, factor: Self, addend: Self) -> Self;
    /// Returns the square root.
    fn root(self) -> Self;
    /// Returns the number with the other sign.
    fn negated(self) -> Self;
    /// Returns `true` if `self < other`, and `false` if one is NaN.
    fn is_below(self, other: Self) -> bool;

    /// Returns `self − other`.
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self.plus(other.negated())
    }
}

/// Numbers of format binary32, which tensors hold.
pub trait Single: Real {
    /// Numbers of twice the size.
    type Wide: Double<Narrow = Self>;

    /// Returns the number of an encoding.
    fn from_bits(bits: u32) -> Self;
    /// Returns the encoding. That of NaN is [`NAN`](crate::NAN).
    fn to_bits(self) -> u32;
    /// Returns the same number in the wider format.
    fn widen(self) -> Self::Wide;
}

/// Numbers of format binary64, in which the few constants of a step are computed.
pub trait Double: Real {
    /// Numbers of half the size.
    type Narrow: Single<Wide = Self>;

    /// Returns the number of an encoding.
    fn from_bits(bits: u64) -> Self;
    /// Returns the encoding.
    fn to_bits(self) -> u64;
    /// Returns the number nearest to an integer.
    fn from_integer(integer: u64) -> Self;
    /// Rounds to the narrower format.
    fn narrow(self) -> Self::Narrow;
}
