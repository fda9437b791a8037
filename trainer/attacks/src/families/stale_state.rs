// SPDX-License-Identifier: Apache-2.0

//! Work that does not start from the leased model.

use crate::{
    network::Network,
    scenario::{Family, Gate, Scenario, Script, Setup},
    scripted::{ScriptedTrainer, TrainedLease, refusal},
    tally::Tally,
};
use anyhow::{Context, Result};
use futures::FutureExt;
use pol_engine::Trace;
use pol_primitives::{Hash, submission::Reveal, trace::state_leaf};

pub(super) static FAMILY: Family = Family {
    name: "stale-state",
    scenarios: &[Scenario {
        name: "older-model",
        setup: Setup::Scripted(&OLDER_MODEL),
        act: "Claims that its training started from another model than the leased one.",
        expect: "The reveal is refused with WrongFirstLeaf.",
    }],
};

static OLDER_MODEL: Script = Script {
    trainers: &["attacker-stale"],
    honest: &[],
    validators: &[],
    play: |network, gate| {
        // The start is a model of its own: the one after its first segment.
        let start = |trained: &TrainedLease| -> Result<Hash> {
            let state = trained.states.get(1).context("no segment")?;
            Ok(state_leaf(&state.root(), &trained.lease.carry))
        };
        reveal_other_start(network, gate, "attacker-stale", start).boxed_local()
    },
};

/// Trains honestly and reveals a trace whose first leaf is `start`, which has to be refused.
pub(super) async fn reveal_other_start(
    network: &Network,
    mut gate: Gate,
    account: &str,
    start: impl Fn(&TrainedLease) -> Result<Hash>,
) -> Result<Vec<Tally>> {
    let trainer = ScriptedTrainer::start(network, account).await?;
    gate.pass().await?;
    let trained = trainer.train_next().await?;
    let reveal = reveal_from(&trained, start(&trained)?)?;
    let found = refusal(trainer.commit_and_reveal(trained.due_round(), reveal).await?)?;
    Ok(vec![Tally::refused("WrongFirstLeaf", &found)])
}

/// Returns the reveal of a trace with another first leaf.
fn reveal_from(trained: &TrainedLease, start: Hash) -> Result<Reveal> {
    let mut leaves = trained.trace.leaves().to_vec();
    *leaves.first_mut().context("a trace without leaves")? = start;
    let trace = Trace::from_leaves(leaves).context("a trace without leaves")?;
    let first_leaf = trace.proof(0).context("a trace without leaves")?;
    Ok(Reveal { trace_root: trace.root(), first_leaf, ..trained.reveal.clone() })
}
