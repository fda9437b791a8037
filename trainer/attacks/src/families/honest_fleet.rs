// SPDX-License-Identifier: Apache-2.0

//! Honest members of every run with a network.

use crate::{
    network::{self, Network, TRAINERS, VALIDATORS},
    observer::Observations,
    scenario::{Family, Scenario, Setup},
    tally::{Tally, wilson},
};
use anyhow::Result;
use pol_chain::AccountId;
use pol_primitives::{POL, submission::Outcome};

pub(super) static FAMILY: Family = Family {
    name: "honest-fleet",
    scenarios: &[
        Scenario {
            name: "honest-members",
            setup: Setup::HonestMembers,
            act: "Trains and validates honestly while the others attack.",
            expect: "At least one update is settled, none is wronged, and no member loses 1 POL.",
        },
        Scenario {
            name: "running-processes",
            setup: Setup::Processes,
            act: "Runs the node and the honest members while the others attack.",
            expect: "No process ends or panics.",
        },
    ],
};

/// Judges everybody honest. `wronged` is the number of honest updates that did not stay in the
/// model.
pub(crate) fn members(
    observations: &Observations,
    honest: &[AccountId],
    wronged: u64,
) -> Result<Tally> {
    let settled_of = |account| {
        observations
            .settled_of(account)
            .filter(|(_, record)| record.outcome != Outcome::Excluded)
            .count() as u64
    };
    let settled: u64 = honest.iter().map(settled_of).sum();
    let mut losses = Vec::new();
    for name in TRAINERS.into_iter().chain(VALIDATORS.map(|(name, _)| name)) {
        let lost = observations.lost(&network::signer(name)?.account());
        // A lease that a busy machine missed costs a tenth of a POL.
        if lost >= POL {
            losses.push(format!("{name} lost {} POL", lost / POL));
        }
    }
    let note = format!(
        "{settled} updates settled; the interval is of those wronged. {}",
        losses.join("; ")
    );
    Ok(Tally::counted(settled, 0, 0)
        .interval(wilson(wronged, settled))
        .false_positives(wronged)
        .slashed(losses.len() as u64)
        .passed(settled > 0 && wronged == 0 && losses.is_empty(), note))
}

/// Judges the processes of a network.
pub(crate) fn processes(network: &Network) -> Tally {
    let failures = network.failed_processes();
    Tally::counted(network.process_count(), 0, 0).passed(failures.is_empty(), failures.join("; "))
}
