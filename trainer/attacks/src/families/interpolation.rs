// SPDX-License-Identifier: Apache-2.0

//! States that look trained and cost less.

use super::ALWAYS_INVALID;
use crate::{
    cheating::Cheat,
    scenario::{ExpectedOutcome, Family, Scenario, Setup},
};

pub(super) static FAMILY: Family = Family {
    name: "interpolation",
    scenarios: &[
        Scenario {
            name: "interpolated-states",
            setup: Setup::Trainer {
                account: "attacker-interpolated",
                cheat: Cheat::InterpolatedStates,
                outcome: ExpectedOutcome::Invalid,
            },
            act: "Trains half of the steps and moves the parameters twice as far.",
            expect: ALWAYS_INVALID,
        },
        Scenario {
            name: "tiny-learning-rate",
            setup: Setup::Trainer {
                account: "attacker-slow",
                cheat: Cheat::TinyLearningRate,
                outcome: ExpectedOutcome::Invalid,
            },
            act: "Trains with a thousandth of the learning rate.",
            expect: ALWAYS_INVALID,
        },
    ],
};
