// SPDX-License-Identifier: Apache-2.0

//! Calls that come late, and data that does not come.

use crate::{
    network::Network,
    scenario::{Family, Gate, Scenario, Script, Setup},
    scripted::{ScriptedTrainer, refusal},
    tally::Tally,
};
use anyhow::Result;
use futures::FutureExt;
use pol_primitives::{audit::Stage, round::Phase, submission::Outcome};

pub(super) static FAMILY: Family = Family {
    name: "timing",
    scenarios: &[
        Scenario {
            name: "late-commitment",
            setup: Setup::Scripted(&LATE_COMMITMENT),
            act: "Commits after the others have opened their commitments.",
            expect: "The commitment is refused with NotTraining.",
        },
        Scenario {
            name: "late-states",
            setup: Setup::Scripted(&LATE_STATES),
            act: "Names its states after the stage for it has ended.",
            expect: "The call is refused with WrongStage, and the update counts as withheld.",
        },
        Scenario {
            name: "unserved-states",
            setup: Setup::Scripted(&UNSERVED_STATES),
            act: "Names its states in time and serves them to nobody.",
            expect: "The update counts as withheld.",
        },
    ],
};

static LATE_COMMITMENT: Script = Script {
    trainers: &["attacker-late"],
    honest: &[],
    validators: &[],
    play: |network, gate| commit_late(network, gate).boxed_local(),
};

static LATE_STATES: Script = Script {
    trainers: &["attacker-lateserver"],
    honest: &[],
    validators: &[],
    play: |network, gate| name_states_late(network, gate).boxed_local(),
};

static UNSERVED_STATES: Script = Script {
    trainers: &["attacker-hider"],
    honest: &[],
    validators: &[],
    play: |network, gate| name_without_serving(network, gate).boxed_local(),
};

async fn commit_late(network: &Network, mut gate: Gate) -> Result<Vec<Tally>> {
    let trainer = ScriptedTrainer::start(network, "attacker-late").await?;
    gate.pass().await?;
    let trained = trainer.train_next().await?;
    let round = trained.due_round();
    trainer.wait_for_phase(round, Phase::Reveal).await?;
    let commitment = trainer.commitment(round, &trained.reveal);
    let found = refusal(trainer.commit(round, commitment).await)?;
    Ok(vec![Tally::refused("NotTraining", &found)])
}

async fn name_states_late(network: &Network, mut gate: Gate) -> Result<Vec<Tally>> {
    let trainer = ScriptedTrainer::start(network, "attacker-lateserver").await?;
    gate.pass().await?;
    let trained = trainer.train_next().await?;
    let round = trained.due_round();
    trainer.commit_and_reveal(round, trained.reveal.clone()).await??;
    let (audit, case) = trainer.wait_for_audit(round, Stage::Replay).await?;
    let found = refusal(trainer.name_states(audit, trained.state_proofs(&case)?).await)?;
    let outcome = trainer.wait_for_outcome(round).await?.outcome;
    let passed = found == "WrongStage" && outcome == Outcome::Withheld;
    let note = format!("refused with {found}; the update ended as {outcome:?}");
    Ok(vec![withheld(passed, note)])
}

async fn name_without_serving(network: &Network, mut gate: Gate) -> Result<Vec<Tally>> {
    let trainer = ScriptedTrainer::start(network, "attacker-hider").await?;
    gate.pass().await?;
    let trained = trainer.train_next().await?;
    trainer.commit_and_reveal(trained.due_round(), trained.reveal.clone()).await??;
    let states = |case: &_| trained.state_proofs(case).map(Some);
    let outcome = trainer.answer_audits(&trained, states).await?.outcome;
    let note = format!("the update ended as {outcome:?}");
    Ok(vec![withheld(outcome == Outcome::Withheld, note)])
}

fn withheld(passed: bool, note: String) -> Tally {
    Tally::tried(1, passed.into()).slashed(passed.into()).passed(passed, note)
}
