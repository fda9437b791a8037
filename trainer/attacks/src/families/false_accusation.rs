// SPDX-License-Identifier: Apache-2.0

//! A validator that accuses honest trainers.

use crate::{
    cheating::Cheat,
    scenario::{Family, Scenario, Setup},
};

pub(super) static FAMILY: Family = Family {
    name: "false-accusation",
    scenarios: &[Scenario {
        name: "accuse-everybody",
        setup: Setup::Validator { account: "validator-5", cheat: Cheat::AccusedUpdates },
        act: "Reports of every update that its training ended elsewhere and its payload is wrong.",
        expect: "Every honest update is drawn again and acquitted. The accuser loses 50 POL at \
                 least once, and twenty times what it earns by objections to cheats.",
    }],
};
