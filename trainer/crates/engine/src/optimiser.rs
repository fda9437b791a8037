// SPDX-License-Identifier: Apache-2.0

//! A step of AdamW on all tensors, and the norm by which gradients are clipped, on kernels.

use crate::{EngineError, TrainingState};
use pol_kernels::{AdamWState, Kernels};
use pol_model::Layout;
use pol_numerics::{AdamWFactors, AdamWSettings, Summand};
use pol_primitives::recipe::AdamW;
use rayon::prelude::*;

/// Values whose squares are one row sum. The sums of all rows are added in order.
const ROW: usize = 1 << 20;

/// Returns the sum of squares of a gradient.
pub(crate) fn sum_of_squares(gradient: &[f32]) -> Result<f32, EngineError> {
    let kernels = Kernels::best();
    let sums: Result<Vec<f32>, pol_kernels::Error> = gradient
        .par_chunks(ROW)
        .map(|row| {
            let mut sum = [0.0];
            let shape = [1, row.len() as u32];
            kernels.row_sums(shape, Summand::Squares, row, None, &mut sum).map(|()| sum[0])
        })
        .collect();
    Ok(sums?.into_iter().sum())
}

/// Takes the step that `state` counts last, at a learning rate of `rate` billionths. `factor`
/// multiplies the gradient. All vectors have `layout.len()` values.
pub(crate) fn step(
    adamw: &AdamW,
    rate: u64,
    layout: &Layout,
    state: &mut TrainingState,
    gradient: &[f32],
    factor: f32,
) -> Result<(), EngineError> {
    let AdamW { beta1, beta2, epsilon, weight_decay } = *adamw;
    let settings = AdamWSettings { beta1, beta2, epsilon, weight_decay, rate, step: state.steps };
    let (kernels, factors) = (Kernels::best(), AdamWFactors::new::<f32>(&settings));
    for slot in layout.tensors() {
        let range = slot.range();
        let values = AdamWState {
            parameters: &mut state.parameters[range.clone()],
            first: &mut state.first_moment[range.clone()],
            second: &mut state.second_moment[range.clone()],
        };
        kernels.adamw(&factors, slot.parameter.decays, values, &gradient[range], factor)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::model::ModelSpec;

    #[test]
    fn steps_follow_the_definition() {
        let layout = Layout::new(&ModelSpec::gpt2(3, 2, 1, 1, 2, 2)).unwrap();
        let adamw = AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 };
        let mut state = TrainingState::fresh(vec![0.5; layout.len()]);
        let (mut expected, mut m, mut v) = ([0.5f64; 2], 0.0, 0.0);
        for (count, raw) in (1..).zip([0.3f32, -0.2, 0.05]) {
            state.steps += 1;
            let gradient = vec![raw * 2.0; layout.len()];
            step(&adamw, 10_000_000, &layout, &mut state, &gradient, 0.5).unwrap();
            let g = f64::from(raw);
            m = 0.9 * m + 0.1 * g;
            v = 0.95 * v + 0.05 * g * g;
            let (m_hat, v_hat) = (m / (1.0 - 0.9f64.powi(count)), v / (1.0 - 0.95f64.powi(count)));
            for (value, decay) in expected.iter_mut().zip([0.1, 0.0]) {
                *value -= 1e-2 * (m_hat / (v_hat.sqrt() + 1e-8) + decay * *value);
            }
        }
        for slot in layout.tensors() {
            let expected = if slot.parameter.decays { expected[0] } else { expected[1] };
            for &value in &state.parameters[slot.range()] {
                let name = &slot.parameter.name;
                assert!((f64::from(value) - expected).abs() < 1e-6, "{name}: {value} {expected}");
            }
        }
    }

    #[test]
    fn squares_of_long_gradients_are_added_by_rows() {
        let gradient: Vec<f32> = (0..2 * ROW + 3).map(|index| (index % 7) as f32 - 3.0).collect();
        let exact: f64 = gradient.iter().map(|&value| f64::from(value).powi(2)).sum();
        let found = f64::from(sum_of_squares(&gradient).unwrap());
        assert!((found / exact - 1.0).abs() < 1e-6, "{found} {exact}");
        assert_eq!(sum_of_squares(&[]).unwrap(), 0.0);
    }

    /// Adds 32 lanes in pairs.
    fn folded(mut lanes: [f32; 32]) -> f32 {
        for half in [16, 8, 4, 2, 1] {
            for lane in 0..half {
                lanes[lane] += lanes[lane + half];
            }
        }
        lanes[0]
    }

    /// Returns a sum of squares in the order of the network, whose lengths are written out here:
    /// rows of 2²⁰ values, in them chunks of 1,024, and in rows and chunks 32 lanes.
    fn squares_in_order(gradient: &[f32]) -> f32 {
        let chunk = |values: &[f32]| {
            let mut lanes = [0f32; 32];
            for (value, lane) in values.iter().zip((0..32).cycle()) {
                lanes[lane] = value.mul_add(*value, lanes[lane]);
            }
            folded(lanes)
        };
        let row = |values: &[f32]| {
            let mut lanes = [0f32; 32];
            for (values, lane) in values.chunks(1_024).zip((0..32).cycle()) {
                lanes[lane] += chunk(values);
            }
            folded(lanes)
        };
        gradient.chunks(1 << 20).fold(0.0, |sum, values| sum + row(values))
    }

    /// Pins the order of the sum. The leases that name the arithmetic have fewer values than a row,
    /// so that their bits do not depend on its length.
    #[test]
    fn squares_of_long_gradients_have_the_bits_of_the_network() {
        let len = 2 * (1 << 20) + 3;
        let drawn = |place: u32| place.wrapping_mul(0x9e37_79b9) as f32 / (1u32 << 31) as f32 - 1.0;
        let gradient: Vec<f32> = (0..len).map(drawn).collect();
        let found = sum_of_squares(&gradient).unwrap();
        assert_eq!(found.to_bits(), squares_in_order(&gradient).to_bits());
        // Two ones count beside 2²⁴ if they are added to each other first, as those of a row are. A
        // shorter row adds the first two to it one by one, and a longer one adds the others first.
        for (second, expected) in
            [((1 << 19) + 1_024, 16_777_218.0), ((1 << 20) + 1_024, 16_777_216.0)]
        {
            let mut gradient = vec![0.0; len as usize];
            (gradient[0], gradient[1_024], gradient[second]) = (4_096.0, 1.0, 1.0);
            assert_eq!(sum_of_squares(&gradient).unwrap(), expected, "{second}");
            assert_eq!(squares_in_order(&gradient), expected, "{second}");
        }
    }
}
