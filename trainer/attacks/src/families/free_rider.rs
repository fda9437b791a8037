// SPDX-License-Identifier: Apache-2.0

//! Pay for no training at all.

use super::ALWAYS_INVALID;
use crate::{
    cheating::Cheat,
    scenario::{ExpectedOutcome, Family, Scenario, Setup},
};

pub(super) static FAMILY: Family = Family {
    name: "free-rider",
    scenarios: &[
        Scenario {
            name: "zero-payload",
            setup: Setup::Trainer {
                account: "attacker-zeros",
                cheat: Cheat::ZeroPayload,
                outcome: ExpectedOutcome::Invalid,
            },
            act: "Trains nothing and sends an update of zeros.",
            expect: ALWAYS_INVALID,
        },
        Scenario {
            name: "noise-payload",
            setup: Setup::Trainer {
                account: "attacker-noise",
                cheat: Cheat::NoisePayload,
                outcome: ExpectedOutcome::Invalid,
            },
            act: "Trains nothing and sends noise of the usual size.",
            expect: ALWAYS_INVALID,
        },
    ],
};
