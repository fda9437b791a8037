// SPDX-License-Identifier: Apache-2.0

//! Training on other text than the leased shards.

use super::ALWAYS_INVALID;
use crate::{
    cheating::Cheat,
    scenario::{ExpectedOutcome, Family, Scenario, Setup},
};

pub(super) static FAMILY: Family = Family {
    name: "wrong-data",
    scenarios: &[
        Scenario {
            name: "synthetic-text",
            setup: Setup::Trainer {
                account: "attacker-othertext",
                cheat: Cheat::SyntheticText,
                outcome: ExpectedOutcome::Invalid,
            },
            act: "Trains on a regular sequence of tokens instead of the leased text.",
            expect: ALWAYS_INVALID,
        },
        Scenario {
            name: "held-out-text",
            setup: Setup::Trainer {
                account: "attacker-heldout",
                cheat: Cheat::HeldOutText,
                outcome: ExpectedOutcome::Invalid,
            },
            act: "Trains on the held-out text that models are measured by.",
            expect: ALWAYS_INVALID,
        },
    ],
};
