// SPDX-License-Identifier: Apache-2.0

//! Training with other hyper-parameters than the chain's.

use super::ALWAYS_INVALID;
use crate::{
    cheating::Cheat,
    scenario::{ExpectedOutcome, Family, Scenario, Setup},
};

pub(super) static FAMILY: Family = Family {
    name: "altered-recipe",
    scenarios: &[
        Scenario {
            name: "half-batch",
            setup: Setup::Trainer {
                account: "attacker-halfbatch",
                cheat: Cheat::HalfBatch,
                outcome: ExpectedOutcome::Invalid,
            },
            act: "Trains on half of every micro-batch and claims all tokens.",
            expect: ALWAYS_INVALID,
        },
        Scenario {
            name: "raised-learning-rate",
            setup: Setup::Trainer {
                account: "attacker-faster",
                cheat: Cheat::RaisedLearningRate,
                outcome: ExpectedOutcome::Invalid,
            },
            act: "Trains with 101 % of the learning rate.",
            expect: ALWAYS_INVALID,
        },
    ],
};
