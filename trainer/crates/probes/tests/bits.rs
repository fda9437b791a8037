// SPDX-License-Identifier: Apache-2.0

//! Measures of a model have one value, on every instruction set and number of threads.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use pol_kernels::Kernels;
use pol_model::initial_parameters;
use pol_primitives::model::{Experts, Mind, ModelSpec, Superposition};
use pol_probes::{Measurements, measure};

/// Returns models with experts, with all parts of a mind, and with neither.
fn specs() -> [ModelSpec; 3] {
    let plain = ModelSpec::gpt2(61, 18, 2, 3, 37, 70);
    let superposition = Some(Superposition { branches: 3, rank: 4 });
    let mind = Mind { superposition, introspection: true, second_pass: 1 };
    let experts = Some(Experts::new(5, 2));
    [plain, ModelSpec { experts, ..plain }, ModelSpec { mind, experts, ..plain }]
}

fn found(spec: &ModelSpec, threads: usize) -> Measurements {
    let enlarged = |(i, value): (usize, f32)| value * 8.0 + (i % 7) as f32 * 0.02;
    let parameters = initial_parameters(spec, &[3; 32]).into_iter().enumerate();
    let parameters: Vec<f32> = parameters.map(enlarged).collect();
    let hash = |i: u32| (i + 1).wrapping_mul(2_654_435_761) >> 8;
    let text: Vec<u32> = (0..11 * 71).map(|i| hash(i) % spec.vocabulary).collect();
    let text: Vec<&[u32]> = text.chunks(71).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| measure(spec, &parameters, &text)).unwrap()
}

#[test]
fn every_instruction_set_and_number_of_threads_measures_the_same() {
    for spec in specs() {
        let expected = found(&spec, 1);
        assert_eq!(expected.tokens, 11 * 70);
        assert_eq!(expected.utilisation.is_some(), spec.experts.is_some());
        assert_eq!(expected.second_pass.is_some(), spec.mind.second_pass > 0);
        for kernels in Kernels::all() {
            kernels.choose();
            for threads in 1..=4 {
                let found = found(&spec, threads);
                assert_eq!(found, expected, "{} on {threads} threads", kernels.name());
            }
        }
    }
}
