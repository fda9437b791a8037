// SPDX-License-Identifier: Apache-2.0

//! A micro-batch has one result, on every instruction set and number of threads.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod families;

use families::{families, parameters, tokens};
use pol_kernels::Kernels;
use pol_primitives::model::ModelSpec;
use pol_step::Step;

/// Returns the bits of token losses, loss, and gradient.
fn bits(spec: &ModelSpec, kernels: Kernels, threads: usize, size: [u32; 2]) -> Vec<u32> {
    let [sequences, length] = size;
    let mut step = Step::new(spec, sequences, length).unwrap().with_kernels(kernels);
    let (parameters, tokens) = (parameters(spec), tokens(spec, sequences, length));
    let mut gradient = vec![f32::NAN; parameters.len()];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let loss = pool.install(|| step.gradient(&parameters, &tokens, &mut gradient)).unwrap();
    let all = step.token_losses().iter().chain([&loss]).chain(&gradient);
    all.map(|value| value.to_bits()).collect()
}

#[test]
fn every_instruction_set_and_number_of_threads_gives_the_same_bits() {
    for (name, spec) in families() {
        let size = [5, 66];
        let expected = bits(&spec, Kernels::best(), 1, size);
        for kernels in Kernels::all() {
            for threads in 1..=7 {
                let found = bits(&spec, kernels, threads, size);
                assert!(found == expected, "{name}: {} on {threads} threads", kernels.name());
            }
        }
    }
}

#[test]
fn another_order_of_tokens_gives_other_bits() {
    let (_, spec) = families()[0];
    let parameters = parameters(&spec);
    let run = |tokens: &[u32]| {
        let mut step = Step::new(&spec, 2, 60).unwrap();
        let mut gradient = vec![0.0; parameters.len()];
        step.gradient(&parameters, tokens, &mut gradient).unwrap();
        gradient
    };
    let tokens = tokens(&spec, 2, 60);
    let swapped = [&tokens[61..], &tokens[..61]].concat();
    assert_ne!(run(&tokens), run(&swapped));
}
