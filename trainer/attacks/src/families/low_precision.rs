// SPDX-License-Identifier: Apache-2.0

//! Cheaper arithmetic than the recipe's.

use super::ALWAYS_INVALID;
use crate::{
    cheating::Cheat,
    scenario::{ExpectedOutcome, Family, Scenario, Setup},
};

pub(super) static FAMILY: Family = Family {
    name: "low-precision",
    scenarios: &[Scenario {
        name: "bfloat16-states",
        setup: Setup::Trainer {
            account: "attacker-rounded",
            cheat: Cheat::RoundedStates,
            outcome: ExpectedOutcome::Invalid,
        },
        act: "Keeps parameters and moments in bfloat16.",
        expect: ALWAYS_INVALID,
    }],
};
