// SPDX-License-Identifier: Apache-2.0

//! Bounds of attention scores and logits.

use crate::Error;
use pol_primitives::model::SoftCaps;
use tch::Tensor;

/// Returns `cap · tanh(x / cap)` of each value, with `cap` in thousandths.
///
/// The hyperbolic tangent is `2 · σ(2x) − 1`. libtorch's own comes from MKL, as its square root
/// does, and differs between machines.
pub(crate) fn soft_cap(x: &Tensor, cap: u32) -> Result<Tensor, Error> {
    let cap = f64::from(cap) / f64::from(SoftCaps::UNIT);
    let tanh = x.f_mul_scalar(2.0 / cap)?.f_sigmoid()?.f_mul_scalar(2.0)?.f_sub_scalar(1.0)?;
    Ok(tanh.f_mul_scalar(cap)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_approach_the_bound() {
        let values = [-1e6f32, -40.0, -1.0, 0.0, 0.25, 30.0, 100.0, 1e6];
        let bounded =
            Vec::<f32>::try_from(soft_cap(&Tensor::from_slice(&values), 30_000).unwrap()).unwrap();
        for (value, bounded) in values.into_iter().zip(bounded) {
            let expected = 30.0 * libm::tanh(f64::from(value) / 30.0);
            assert!((f64::from(bounded) - expected).abs() < 1e-5, "{bounded} for {expected}");
        }
    }
}
