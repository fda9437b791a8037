// SPDX-License-Identifier: Apache-2.0

//! AdamW on flat vectors: float32 values, float64 constants rounded once, every operation IEEE-754.

use pol_model::Layout;
use pol_primitives::recipe::AdamW;

/// Constants of one step.
pub(crate) struct AdamWStep {
    beta1: f32,
    one_less_beta1: f32,
    beta2: f32,
    one_less_beta2: f32,
    epsilon: f32,
    /// Learning rate divided by the first moment's bias correction.
    rate: f32,
    /// Inverse square root of the second moment's bias correction.
    second_moment_factor: f32,
    /// Factor on parameters that decay.
    weight_decay_factor: f32,
}

/// Vectors that a step updates, and its gradient.
pub(crate) struct StepBuffers<'a> {
    pub(crate) parameters: &'a mut [f32],
    pub(crate) first_moment: &'a mut [f32],
    pub(crate) second_moment: &'a mut [f32],
    pub(crate) gradient: &'a [f32],
    /// Factor on the gradient.
    pub(crate) scale: f32,
}

impl<'a> StepBuffers<'a> {
    /// Splits each vector after `count` values, or at its end if it is shorter.
    fn split_at(self, count: usize) -> (Self, Self) {
        let Self { parameters, first_moment, second_moment, gradient, scale } = self;
        let count = count.min(parameters.len());
        let [(parameters, p), (first_moment, f), (second_moment, s)] =
            [parameters, first_moment, second_moment]
                .map(|values: &'a mut [f32]| values.split_at_mut(count));
        let (gradient, g) = gradient.split_at(count);
        let rest = Self { parameters: p, first_moment: f, second_moment: s, gradient: g, scale };
        (Self { parameters, first_moment, second_moment, gradient, scale }, rest)
    }
}

impl AdamWStep {
    /// Creates the constants of step `step`, counted from 1, at learning rate `rate`.
    pub(crate) fn new(adamw: &AdamW, rate: f64, step: u64) -> Self {
        let share = |millionths: u32| f64::from(millionths) / 1e6;
        let (beta1, beta2) = (share(adamw.beta1), share(adamw.beta2));
        Self {
            beta1: beta1 as f32,
            one_less_beta1: share(1_000_000 - adamw.beta1) as f32,
            beta2: beta2 as f32,
            one_less_beta2: share(1_000_000 - adamw.beta2) as f32,
            epsilon: (adamw.epsilon as f64 / 1e9) as f32,
            rate: (rate / (1.0 - power(beta1, step))) as f32,
            second_moment_factor: (1.0 / (1.0 - power(beta2, step)).sqrt()) as f32,
            weight_decay_factor: (1.0 - rate * share(adamw.weight_decay)) as f32,
        }
    }

    /// Takes the step on `threads` threads, whose number does not change the result. All vectors
    /// have `layout.len()` values.
    pub(crate) fn apply(&self, layout: &Layout, buffers: StepBuffers<'_>, threads: usize) {
        let share = layout.len().div_ceil(threads.max(1)).max(1);
        std::thread::scope(|scope| {
            let (mut start, mut rest) = (0, buffers);
            loop {
                let (part, after) = rest.split_at(share);
                if after.parameters.is_empty() {
                    return self.apply_from(layout, start, part);
                }
                scope.spawn(move || self.apply_from(layout, start, part));
                (start, rest) = (start + share, after);
            }
        });
    }

    /// Takes the step for the parameters in `buffers`, which begin at index `start` of the model.
    fn apply_from(&self, layout: &Layout, start: usize, buffers: StepBuffers<'_>) {
        let StepBuffers { parameters, first_moment, second_moment, gradient, scale } = buffers;
        let end = start + parameters.len();
        for slot in layout.tensors() {
            let range = slot.range().start.clamp(start, end) - start
                ..slot.range().end.clamp(start, end) - start;
            let decay_factor = if slot.parameter.decays { self.weight_decay_factor } else { 1.0 };
            let moments =
                first_moment[range.clone()].iter_mut().zip(&mut second_moment[range.clone()]);
            let values = parameters[range.clone()].iter_mut().zip(&gradient[range]);
            for ((parameter, &gradient), (first, second)) in values.zip(moments) {
                let gradient = gradient * scale;
                *first = self.beta1 * *first + self.one_less_beta1 * gradient;
                *second = self.beta2 * *second + self.one_less_beta2 * (gradient * gradient);
                let deviation = second.sqrt() * self.second_moment_factor + self.epsilon;
                *parameter = *parameter * decay_factor - self.rate * (*first / deviation);
            }
        }
    }
}

/// Returns `base` to the power `exponent` by squaring, with the same order of products everywhere.
fn power(mut base: f64, mut exponent: u64) -> f64 {
    let mut product = 1.0;
    while exponent > 0 {
        if exponent & 1 == 1 {
            product *= base;
        }
        base *= base;
        exponent >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::model::ModelSpec;

    #[test]
    fn powers_are_powers() {
        for exponent in [0, 1, 2, 3, 10, 1_000] {
            let expected = 0.999f64.powi(exponent);
            assert!((power(0.999, exponent as u64) - expected).abs() < 1e-12);
        }
        assert_eq!(power(0.999_999, u64::MAX), 0.0);
    }

    #[test]
    fn steps_follow_the_definition() {
        let spec = ModelSpec::gpt2(3, 2, 1, 1, 2, 2);
        let layout = Layout::new(&spec).unwrap();
        let adamw = AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 };
        let mut parameters = vec![0.5f32; layout.len()];
        let (mut first, mut second) = (vec![0.0; layout.len()], vec![0.0; layout.len()]);
        let (mut expected, mut m, mut v) = ([0.5f64; 2], 0.0, 0.0);
        for (step, (raw, threads)) in (1u64..).zip([(0.3f32, 1), (-0.2, 3), (0.05, 1_000)]) {
            let gradient = vec![raw * 2.0; layout.len()];
            let buffers = StepBuffers {
                parameters: &mut parameters,
                first_moment: &mut first,
                second_moment: &mut second,
                gradient: &gradient,
                scale: 0.5,
            };
            AdamWStep::new(&adamw, 1e-2, step).apply(&layout, buffers, threads);
            let g = f64::from(raw);
            m = 0.9 * m + 0.1 * g;
            v = 0.95 * v + 0.05 * g * g;
            let (m_hat, v_hat) =
                (m / (1.0 - 0.9f64.powi(step as i32)), v / (1.0 - 0.95f64.powi(step as i32)));
            for (value, decay) in expected.iter_mut().zip([0.1, 0.0]) {
                *value -= 1e-2 * (m_hat / (v_hat.sqrt() + 1e-8) + decay * *value);
            }
        }
        for slot in layout.tensors() {
            let expected = if slot.parameter.decays { expected[0] } else { expected[1] };
            for &value in &parameters[slot.range()] {
                assert!(
                    (f64::from(value) - expected).abs() < 1e-6,
                    "{}: {value} {expected}",
                    slot.parameter.name
                );
            }
        }
    }
}
