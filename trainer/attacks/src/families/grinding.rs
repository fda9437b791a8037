// SPDX-License-Identifier: Apache-2.0

//! Choices after the draw is known.

use super::ALWAYS_WITHHELD;
use crate::{
    cheating::Cheat,
    network::Network,
    scenario::{ExpectedOutcome, Family, Gate, Scenario, Script, Setup},
    scripted::ScriptedTrainer,
    tally::Tally,
};
use anyhow::Result;
use futures::FutureExt;
use pol_primitives::submission::Outcome;

pub(super) static FAMILY: Family = Family {
    name: "grinding",
    scenarios: &[
        Scenario {
            name: "hidden-start",
            setup: Setup::Trainer {
                account: "attacker-hidesstart",
                cheat: Cheat::HiddenStart,
                outcome: ExpectedOutcome::Withheld,
            },
            act: "Does not show the states that its audit starts from.",
            expect: ALWAYS_WITHHELD,
        },
        Scenario {
            name: "unopened-ends",
            setup: Setup::Trainer {
                account: "attacker-hidesend",
                cheat: Cheat::UnopenedEnds,
                outcome: ExpectedOutcome::Withheld,
            },
            act: "Shows the start of its drawn segments and does not open their ends.",
            expect: ALWAYS_WITHHELD,
        },
        Scenario {
            name: "early-stop",
            setup: Setup::Scripted(&EARLY_STOP),
            act: "Trains half of the segments and says so, as an honest machine short of time.",
            expect: "The update is valid and credited with half of the lease's tokens.",
        },
    ],
};

static EARLY_STOP: Script = Script {
    trainers: &["attacker-early"],
    honest: &["attacker-early"],
    validators: &[],
    play: |network, gate| stop_early(network, gate).boxed_local(),
};

async fn stop_early(network: &Network, mut gate: Gate) -> Result<Vec<Tally>> {
    let trainer = ScriptedTrainer::start(network, "attacker-early").await?;
    gate.pass().await?;
    let lease = trainer.join_round().await?;
    let whole = lease.tokens(&network.recipe, network.recipe.tier(lease.tier).inner_steps);
    let trained = trainer.train(lease, network.recipe.segments / 2).await?;
    trainer.commit_and_reveal(trained.due_round(), trained.reveal.clone()).await??;
    let record = trainer.answer_audits(&trained, |_| Ok(None)).await?;
    let passed = record.outcome == Outcome::Valid && record.tokens == whole / 2;
    let note = format!("{:?}, credited with {} of {whole} tokens", record.outcome, record.tokens);
    Ok(vec![Tally::counted(1, 0, 0).passed(passed, note)])
}
