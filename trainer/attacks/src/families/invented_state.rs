// SPDX-License-Identifier: Apache-2.0

//! Optimiser state or payloads that training did not produce.

use super::{ALWAYS_INVALID, stale_state::reveal_other_start};
use crate::{
    cheating::Cheat,
    scenario::{ExpectedOutcome, Family, Scenario, Script, Setup},
    scripted::TrainedLease,
};
use anyhow::Result;
use futures::FutureExt;
use pol_primitives::{
    Hash,
    trace::{Carry, state_leaf},
};

pub(super) static FAMILY: Family = Family {
    name: "invented-state",
    scenarios: &[
        Scenario {
            name: "invented-carry",
            setup: Setup::Scripted(&INVENTED_CARRY),
            act: "Starts from optimiser moments that no lease of its own has left.",
            expect: "The reveal is refused with WrongFirstLeaf.",
        },
        Scenario {
            name: "invented-moments",
            setup: Setup::Trainer {
                account: "attacker-moments",
                cheat: Cheat::InventedMoments,
                outcome: ExpectedOutcome::Invalid,
            },
            act: "Halves the first moments after every segment.",
            expect: ALWAYS_INVALID,
        },
        Scenario {
            name: "invented-feedback",
            setup: Setup::Trainer {
                account: "attacker-feedback",
                cheat: Cheat::InventedFeedback,
                outcome: ExpectedOutcome::Invalid,
            },
            act: "Leaves twice the error feedback that packing leaves.",
            expect: ALWAYS_INVALID,
        },
        Scenario {
            name: "inflated-payload",
            setup: Setup::Trainer {
                account: "attacker-inflated",
                cheat: Cheat::InflatedPayload,
                outcome: ExpectedOutcome::Invalid,
            },
            act: "Trains honestly and sends twice the difference that training made.",
            expect: ALWAYS_INVALID,
        },
    ],
};

static INVENTED_CARRY: Script = Script {
    trainers: &["attacker-inventor"],
    honest: &[],
    validators: &[],
    play: |network, gate| {
        let start = |trained: &TrainedLease| -> Result<Hash> {
            let carry = Carry { first_moment: [9; 32], steps: 100, ..Carry::default() };
            Ok(state_leaf(&trained.lease.base_root, &carry.hash()))
        };
        reveal_other_start(network, gate, "attacker-inventor", start).boxed_local()
    },
};
