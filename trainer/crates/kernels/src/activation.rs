// SPDX-License-Identifier: Apache-2.0

//! Activations of feed-forward layers, and their gradients, in one pass over memory.

use crate::{
    Error, Kernels, canonical, error::same_len, rows::rows_of_task, sets::Task, simd::Simd,
};
use pol_numerics::functions::{gelu, gelu_slope, gelu_tanh, gelu_tanh_slope, silu, silu_slope};
use rayon::prelude::*;
use std::marker::PhantomData;

/// An activation, made of the functions of [`Op::Element`](pol_numerics::Op::Element).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// [`Function::GeluTanh`](pol_numerics::Function::GeluTanh).
    GeluTanh,
    /// [`Function::Gelu`](pol_numerics::Function::Gelu).
    Gelu,
    /// [`Function::Silu`](pol_numerics::Function::Silu).
    Silu,
    /// The product of a value and [`Function::Above`](pol_numerics::Function::Above) of it and
    /// zero. The latter is the slope.
    Relu,
}

/// The other side of a gated layer, and its gradient.
pub struct Gated<'a> {
    /// Values that activations are multiplied with.
    pub up: &'a [f32],
    /// Their gradient.
    pub gradient: &'a mut [f32],
}

/// A function and its derivative. Both have to be inlined.
trait Curve: Send + Sync {
    fn value(x: f32) -> f32;
    fn slope(x: f32) -> f32;
}

macro_rules! curve {
    ($name:ident, $value:expr, $slope:expr) => {
        struct $name;

        impl Curve for $name {
            #[inline(always)]
            fn value(x: f32) -> f32 {
                $value(x)
            }

            #[inline(always)]
            fn slope(x: f32) -> f32 {
                $slope(x)
            }
        }
    };
}

curve!(GeluTanh, gelu_tanh, gelu_tanh_slope);
curve!(Gelu, gelu, gelu_slope);
curve!(Silu, silu, silu_slope);
curve!(Relu, relu, above);

#[inline(always)]
fn above(x: f32) -> f32 {
    if 0.0 < x { 1.0 } else { 0.0 }
}

#[inline(always)]
fn relu(x: f32) -> f32 {
    x * above(x)
}

impl Kernels {
    /// Computes the activation of each value of `x`, times `up` in a gated layer.
    ///
    /// # Errors
    ///
    /// Fails if slices are not equally long.
    pub fn activate(
        self,
        activation: Activation,
        x: &[f32],
        up: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        same_len("x", x, out)?;
        up.map_or(Ok(()), |up| same_len("up", up, out))?;
        match activation {
            Activation::GeluTanh => self.activate_by::<GeluTanh>(x, up, out),
            Activation::Gelu => self.activate_by::<Gelu>(x, up, out),
            Activation::Silu => self.activate_by::<Silu>(x, up, out),
            Activation::Relu => self.activate_by::<Relu>(x, up, out),
        }
        Ok(())
    }

    fn activate_by<C: Curve>(self, x: &[f32], up: Option<&[f32]>, out: &mut [f32]) {
        let len = rows_of_task(1);
        out.par_chunks_mut(len).enumerate().for_each(|(task, out)| {
            let at = task * len..task * len + out.len();
            let up = up.map(|up| &up[at.clone()]);
            self.run(Activate { of: PhantomData::<C>, x: &x[at], up, out });
        });
    }

    /// Turns the gradient of the outputs of [`Kernels::activate`] into that of `x`.
    ///
    /// In a gated layer, the gradient of `up` is the product of the given one and the activation,
    /// and the gradient of `x` is the slope's of the product of the given one and `up`.
    ///
    /// # Errors
    ///
    /// Fails if slices are not equally long.
    pub fn activation_gradient(
        self,
        activation: Activation,
        x: &[f32],
        gated: Option<Gated<'_>>,
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        same_len("x", x, gradient)?;
        if let Some(Gated { up, gradient: of_up }) = &gated {
            same_len("up", up, gradient)?;
            same_len("gradient of up", of_up, gradient)?;
        }
        match activation {
            Activation::GeluTanh => self.gradient_by::<GeluTanh>(x, gated, gradient),
            Activation::Gelu => self.gradient_by::<Gelu>(x, gated, gradient),
            Activation::Silu => self.gradient_by::<Silu>(x, gated, gradient),
            Activation::Relu => self.gradient_by::<Relu>(x, gated, gradient),
        }
        Ok(())
    }

    fn gradient_by<C: Curve>(self, x: &[f32], gated: Option<Gated<'_>>, gradient: &mut [f32]) {
        let of = PhantomData::<C>;
        let len = rows_of_task(1);
        let parts = gradient.par_chunks_mut(len).zip(x.par_chunks(len));
        match gated {
            None => parts.for_each(|(gradient, x)| self.run(Gradient { of, x, gradient })),
            Some(Gated { up, gradient: of_up }) => {
                let others = up.par_chunks(len).zip(of_up.par_chunks_mut(len));
                parts.zip(others).for_each(|((gradient, x), (up, of_up))| {
                    self.run(GatedGradient { of, x, up, gradient, of_up });
                });
            }
        }
    }
}

struct Activate<'a, C> {
    of: PhantomData<C>,
    x: &'a [f32],
    up: Option<&'a [f32]>,
    out: &'a mut [f32],
}

impl<C: Curve> Task for Activate<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { x, up, out, .. } = self;
        let x = &x[..out.len()];
        match up.map(|up| &up[..out.len()]) {
            None => {
                for i in 0..out.len() {
                    out[i] = canonical(C::value(x[i]));
                }
            }
            Some(up) => {
                for i in 0..out.len() {
                    out[i] = canonical(C::value(x[i]) * up[i]);
                }
            }
        }
    }
}

struct Gradient<'a, C> {
    of: PhantomData<C>,
    x: &'a [f32],
    gradient: &'a mut [f32],
}

impl<C: Curve> Task for Gradient<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { x, gradient, .. } = self;
        let x = &x[..gradient.len()];
        for i in 0..gradient.len() {
            gradient[i] = canonical(gradient[i] * C::slope(x[i]));
        }
    }
}

struct GatedGradient<'a, C> {
    of: PhantomData<C>,
    x: &'a [f32],
    up: &'a [f32],
    gradient: &'a mut [f32],
    of_up: &'a mut [f32],
}

impl<C: Curve> Task for GatedGradient<'_, C> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { x, up, gradient, of_up, .. } = self;
        let len = gradient.len();
        let (x, up, of_up) = (&x[..len], &up[..len], &mut of_up[..len]);
        for i in 0..len {
            of_up[i] = canonical(gradient[i] * C::value(x[i]));
            gradient[i] = canonical(gradient[i] * up[i] * C::slope(x[i]));
        }
    }
}
