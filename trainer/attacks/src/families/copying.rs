// SPDX-License-Identifier: Apache-2.0

//! Pay for the work of another trainer.

use crate::{
    network::Network,
    scenario::{Family, Gate, Scenario, Script, Setup},
    scripted::{ScriptedTrainer, TrainedLease, refusal},
    tally::Tally,
};
use anyhow::{Context, Result, ensure};
use futures::FutureExt;
use pol_chain::{Call, ChainError};
use pol_primitives::{
    RoundNumber, payload::Payload, recipe::Recipe, round::Phase, submission::Outcome,
};

pub(super) static FAMILY: Family = Family {
    name: "copying",
    scenarios: &[
        Scenario {
            name: "copied-commitment",
            setup: Setup::Scripted(&COPIES),
            act: "Commits to another trainer's commitment and opens it with that trainer's reveal.",
            expect: "The reveal is refused with WrongOpening; the victim's update is valid.",
        },
        Scenario {
            name: "copied-payload",
            setup: Setup::Scripted(&COPIES),
            act: "Trains its lease, but reveals the payload of another trainer before that does.",
            expect: "The update is found invalid; the victim reveals too, and its update is valid.",
        },
        Scenario {
            name: "altered-copy",
            setup: Setup::Scripted(&COPIES),
            act: "Sends another trainer's payload with the sign of one value flipped.",
            expect: "The update is found invalid; the victim's update is valid.",
        },
    ],
};

static COPIES: Script = Script {
    trainers: &["attacker-victim", "attacker-copier", "attacker-resender", "attacker-changer"],
    honest: &["attacker-victim"],
    validators: &[],
    play: |network, gate| play(network, gate).boxed_local(),
};

/// A victim and three copiers in one round, each with its leased work.
struct Players<'a> {
    victim: ScriptedTrainer<'a>,
    copier: ScriptedTrainer<'a>,
    resender: ScriptedTrainer<'a>,
    changer: ScriptedTrainer<'a>,
    round: RoundNumber,
    original: TrainedLease,
    resent: TrainedLease,
    changed: TrainedLease,
}

async fn play(network: &Network, gate: Gate) -> Result<Vec<Tally>> {
    let players = Players::train(network, gate).await?;
    players.commit().await?;
    let copied = refusal(players.reveal().await?)?;
    let (kept, resent, changed) = tokio::try_join!(
        players.victim.answer_audits(&players.original, |_| Ok(None)),
        players.resender.answer_audits(&players.resent, |_| Ok(None)),
        players.changer.answer_audits(&players.changed, |_| Ok(None))
    )?;
    let [resent, altered] = [resent, changed].map(|ended| {
        let is_caught = ended.outcome == Outcome::Invalid;
        Tally::tried(1, is_caught.into())
            .slashed(is_caught.into())
            .passed(is_caught, format!("the copy ended as {:?}", ended.outcome))
    });
    let tallies = [Tally::refused("WrongOpening", &copied), resent, altered];
    let require_unharmed = |tally: Tally| {
        if kept.outcome == Outcome::Valid {
            tally
        } else {
            tally.passed(false, format!("the victim's update ended as {:?}", kept.outcome))
        }
    };
    Ok(tallies.map(require_unharmed).into())
}

impl<'a> Players<'a> {
    /// Lets all four join one round. The victim and two copiers train.
    async fn train(network: &'a Network, mut gate: Gate) -> Result<Self> {
        let (victim, copier, resender, changer) = tokio::try_join!(
            ScriptedTrainer::start(network, "attacker-victim"),
            ScriptedTrainer::start(network, "attacker-copier"),
            ScriptedTrainer::start(network, "attacker-resender"),
            ScriptedTrainer::start(network, "attacker-changer"),
        )?;
        gate.pass().await?;
        let (lease, copied_lease, resent_lease, changed_lease) = tokio::try_join!(
            victim.join_round(),
            copier.join_round(),
            resender.join_round(),
            changer.join_round()
        )?;
        let round = lease.due_round;
        ensure!(
            [&copied_lease, &resent_lease, &changed_lease]
                .iter()
                .all(|other| other.due_round == round),
            "the victim and its copiers did not get into one round"
        );
        let segments = network.recipe.segments;
        let original = victim.train(lease, segments).await?;
        let (mut resent, mut changed) = tokio::try_join!(
            resender.train(resent_lease, segments),
            changer.train(changed_lease, segments)
        )?;
        // The resender has trained the victim's public lease too, and faster.
        resent.reveal.payload_hash = resender.add_blob(original.payload.clone()).await?;
        let payload = flip_first_sign(&original.payload, &network.recipe)?;
        changed.reveal.payload_hash = changer.add_blob(payload).await?;
        Ok(Self { victim, copier, resender, changer, round, original, resent, changed })
    }

    /// Commits for all four. The copier has seen the victim's commitment.
    async fn commit(&self) -> Result<()> {
        let Self { victim, copier, resender, changer, round, .. } = self;
        let commitment = victim.commitment(*round, &self.original.reveal);
        tokio::try_join!(
            victim.commit(*round, commitment),
            copier.commit(*round, commitment),
            resender.commit(*round, resender.commitment(*round, &self.resent.reveal)),
            changer.commit(*round, changer.commitment(*round, &self.changed.reveal)),
        )?;
        Ok(())
    }

    /// Reveals for the resender, then for the victim, then for the others, who have seen its
    /// reveal. Returns the chain's answer to the copier.
    async fn reveal(&self) -> Result<Result<(), ChainError>> {
        let round = self.round;
        let original = || self.original.reveal.clone();
        self.victim.wait_for_phase(round, Phase::Reveal).await?;
        let resent = Call::Reveal { round, reveal: self.resent.reveal.clone() };
        self.resender.submit(resent).await?;
        self.victim.submit(Call::Reveal { round, reveal: original() }).await?;
        let (copied, opened) = tokio::join!(
            self.copier.submit(Call::Reveal { round, reveal: original() }),
            self.changer.submit(Call::Reveal { round, reveal: self.changed.reveal.clone() }),
        );
        opened?;
        Ok(copied)
    }
}

/// Flips the sign of the payload's first value.
fn flip_first_sign(payload: &[u8], recipe: &Recipe) -> Result<Vec<u8>> {
    let mut payload = Payload::decode(payload, recipe.compression.top_k, recipe.model.size())?;
    let first = payload.chunks.first_mut().and_then(|chunk| chunk.entries.first_mut());
    let entry = first.context("an empty payload")?;
    entry.negative = !entry.negative;
    Ok(payload.encode())
}
