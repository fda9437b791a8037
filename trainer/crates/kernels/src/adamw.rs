// SPDX-License-Identifier: Apache-2.0

//! A step of AdamW in one pass over memory.

use crate::{
    Error, Kernels, canonical, error::Error::Length, rows::rows_of_task, sets::Task, simd::Simd,
};
use pol_numerics::AdamWFactors;
use rayon::prelude::*;

/// Parameters and moments, which a step changes in place.
pub struct AdamWState<'a> {
    /// Parameters.
    pub parameters: &'a mut [f32],
    /// First moments.
    pub first: &'a mut [f32],
    /// Second moments.
    pub second: &'a mut [f32],
}

impl Kernels {
    /// Makes a step of AdamW, all parts of [`Op::AdamW`](pol_numerics::Op::AdamW) at once, for any
    /// number of parameters. `factor` multiplies the gradients; it is where they are clipped.
    ///
    /// # Errors
    ///
    /// Fails if the slices are not equally long.
    pub fn adamw(
        self,
        factors: &AdamWFactors,
        decays: bool,
        state: AdamWState<'_>,
        gradients: &[f32],
        factor: f32,
    ) -> Result<(), Error> {
        let AdamWState { parameters, first, second } = state;
        let expected = parameters.len();
        for (tensor, found) in [
            ("first moments", first.len()),
            ("second moments", second.len()),
            ("gradients", gradients.len()),
        ] {
            if found != expected {
                return Err(Length { tensor, expected: expected as u64, found });
            }
        }
        let count = rows_of_task(1);
        let moments = first.par_chunks_mut(count).zip(second.par_chunks_mut(count));
        let all = parameters.par_chunks_mut(count).zip(moments).zip(gradients.par_chunks(count));
        all.for_each(|((parameters, (first, second)), gradients)| {
            let state = AdamWState { parameters, first, second };
            self.run(Step { factors, decays, state, gradients, factor });
        });
        Ok(())
    }
}

struct Step<'a> {
    factors: &'a AdamWFactors,
    decays: bool,
    state: AdamWState<'a>,
    gradients: &'a [f32],
    factor: f32,
}

impl Task for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { factors, decays, state, gradients, factor } = self;
        let n = gradients.len();
        let parameters = &mut state.parameters[..n];
        let (first, second) = (&mut state.first[..n], &mut state.second[..n]);
        let (beta1, share1) = (f32::from_bits(factors.beta1), f32::from_bits(factors.share1));
        let (beta2, share2) = (f32::from_bits(factors.beta2), f32::from_bits(factors.share2));
        let correction = f32::from_bits(factors.correction2);
        let (epsilon, rate) = (f32::from_bits(factors.epsilon), f32::from_bits(factors.rate));
        let decay = f32::from_bits(factors.decay);
        for i in 0..n {
            let gradient = gradients[i] * factor;
            let m = first[i].mul_add(beta1, gradient * share1);
            let v = second[i].mul_add(beta2, gradient * gradient * share2);
            let deviation = v.sqrt().mul_add(correction, epsilon);
            let kept = if decays { parameters[i] * decay } else { parameters[i] };
            parameters[i] = canonical((-rate).mul_add(m / deviation, kept));
            first[i] = canonical(m);
            second[i] = canonical(v);
        }
    }
}
