// SPDX-License-Identifier: Apache-2.0

//! Recipe small enough for tests: 5,760 parameters in two chunks, a lease of 4 segments of 2 steps
//! of 3 micro-batches.

use pol_primitives::{
    MILLION,
    model::ModelSpec,
    recipe::{AdamW, Compression, LearningRateSchedule, Numerics, Recipe, TierParameters},
};

pub(crate) fn recipe() -> Recipe {
    let tier = TierParameters { micro_batch: 2, accumulation: 3, inner_steps: 8, cadence: 1 };
    Recipe {
        model: ModelSpec::gpt2(64, 16, 2, 2, 32, 16),
        tokenizer: [1; 32],
        seed: [2; 32],
        pretrained: None,
        held_out: None,
        rewrite: None,
        sequence: 16,
        shard_tokens: 128,
        tiers: [tier; 4],
        optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
        schedule: LearningRateSchedule {
            peak: 10_000_000,
            warmup_steps: 4,
            decay_tokens: 0,
            floor: 100_000,
        },
        gradient_clip: MILLION,
        outer_rate: MILLION,
        compression: Compression { top_k: 512, feedback: 950_000 },
        segments: 4,
        numerics: Numerics::Exact,
        arithmetic: None,
    }
}
