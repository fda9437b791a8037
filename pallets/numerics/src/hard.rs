// SPDX-License-Identifier: Apache-2.0

//! The processor's arithmetic, always inlined as [`functions`](crate::functions) are.

use crate::real::{Double, Real, Single};
#[cfg(not(feature = "std"))]
use crate::soft::{Soft32, Soft64};

macro_rules! hardware {
    ($float:ty, $fused:ident, $root:ident) => {
        impl Real for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;

            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self + other
            }

            #[inline(always)]
            fn times(self, other: Self) -> Self {
                self * other
            }

            #[inline(always)]
            fn over(self, other: Self) -> Self {
                self / other
            }

            #[inline(always)]
            fn fused(self, factor: Self, addend: Self) -> Self {
                $fused(self, factor, addend)
            }

            #[inline(always)]
            fn root(self) -> Self {
                $root(self)
            }

            #[inline(always)]
            fn negated(self) -> Self {
                -self
            }

            #[inline(always)]
            fn is_below(self, other: Self) -> bool {
                self < other
            }
        }
    };
}

#[cfg(not(feature = "std"))]
use fused_without_instruction as fused_f32;

hardware!(f32, fused_f32, root_f32);
hardware!(f64, fused_f64, root_f64);

impl Single for f32 {
    type Wide = f64;

    #[inline(always)]
    fn from_bits(bits: u32) -> Self {
        Self::from_bits(bits)
    }

    #[inline(always)]
    fn to_bits(self) -> u32 {
        if self.is_nan() { crate::NAN } else { self.to_bits() }
    }

    fn widen(self) -> f64 {
        self.into()
    }
}

impl Double for f64 {
    type Narrow = f32;

    fn from_bits(bits: u64) -> Self {
        Self::from_bits(bits)
    }

    fn to_bits(self) -> u64 {
        if self.is_nan() { 0x7ff8_0000_0000_0000 } else { self.to_bits() }
    }

    fn from_integer(integer: u64) -> Self {
        integer as Self
    }

    fn narrow(self) -> f32 {
        self as f32
    }
}

#[cfg(feature = "std")]
#[inline(always)]
fn fused_f32(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

#[cfg(feature = "std")]
fn fused_f64(a: f64, b: f64, c: f64) -> f64 {
    a.mul_add(b, c)
}

#[cfg(feature = "std")]
#[inline(always)]
fn root_f32(x: f32) -> f32 {
    x.sqrt()
}

#[cfg(feature = "std")]
fn root_f64(x: f64) -> f64 {
    x.sqrt()
}

#[cfg(not(feature = "std"))]
fn fused_f64(a: f64, b: f64, c: f64) -> f64 {
    let [a, b, c] = [a, b, c].map(|x| Soft64::from_bits(x.to_bits()));
    f64::from_bits(Double::to_bits(a.fused(b, c)))
}

#[cfg(not(feature = "std"))]
fn root_f32(x: f32) -> f32 {
    f32::from_bits(Single::to_bits(<Soft32 as Single>::from_bits(x.to_bits()).root()))
}

#[cfg(not(feature = "std"))]
fn root_f64(x: f64) -> f64 {
    f64::from_bits(Double::to_bits(<Soft64 as Double>::from_bits(x.to_bits()).root()))
}

/// Returns `a · b + c`, rounded once, without an instruction for it.
///
/// The product is exact in binary64. The sum is rounded to odd there, after which rounding to
/// binary32 is the only one that counts (Boldo and Melquiond 2008, "Emulation of a FMA and
/// Correctly Rounded Sums").
pub fn fused_without_instruction(a: f32, b: f32, c: f32) -> f32 {
    let (product, addend) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + addend;
    let rest = sum - product;
    let error = (product - (sum - rest)) + (addend - rest);
    let bits = sum.to_bits();
    // Errors are far from subnormal. That of an infinite sum is NaN, which is not normal either.
    let odd = if error.is_normal() && bits & 1 == 0 {
        // The neighbour in the direction of the error.
        if (error > 0.0) == (sum > 0.0) { bits.wrapping_add(1) } else { bits.wrapping_sub(1) }
    } else {
        bits
    };
    f64::from_bits(odd) as f32
}
