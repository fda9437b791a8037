// SPDX-License-Identifier: Apache-2.0

//! Validators that report without replaying.

use crate::{
    attackers::ACCEPTANCE_BLOCKS,
    cheating::Cheat,
    network::{self, Network, VALIDATORS},
    scenario::{Family, Gate, Scenario, Script, Setup},
    scripted::refusal,
    tally::Tally,
};
use anyhow::{Context, Result};
use futures::FutureExt;
use pol_chain::{AccountId, Call, Signer};
use pol_primitives::{
    BoundedVec, Hash,
    audit::{Audit, AuditId, Evidence, Finding, Stage, UpdateMeasurement, evidence_commitment},
    recipe::Tier,
    round::Phase,
    submission::RevealSet,
};

pub(super) static FAMILY: Family = Family {
    name: "lazy-validators",
    scenarios: &[
        Scenario {
            name: "guessed-evidence",
            setup: Setup::Validator { account: "validator-4", cheat: Cheat::GuessedEnds },
            act: "Guesses the ends of all segments instead of replaying them.",
            expect: "The validator loses 50 POL at least once, and twenty times what it earns by \
                     objections to cheats.",
        },
        Scenario {
            name: "copied-evidence",
            setup: Setup::Scripted(&COPIED_EVIDENCE),
            act: "Commits to the evidence of another validator and reveals the same.",
            expect: "The reveal is refused with WrongEvidence, and the copier is not paid.",
        },
        Scenario {
            name: "blind-audits",
            setup: Setup::BlindAudits,
            act: "Tries the attacks of trainers that every audit finds, where no segment is drawn \
                  and no seat checks a payload.",
            expect: "At least ten of these attacks succeed, or all other results would show \
                     nothing.",
        },
    ],
};

/// Longest wait in blocks for a phase of a round.
const ROUND_BLOCKS: u32 = 120;
/// The validator that copies.
const COPIER: &str = "validator-8";

static COPIED_EVIDENCE: Script = Script {
    trainers: &[],
    honest: &[],
    validators: &[COPIER],
    play: |network, gate| {
        let play = async move {
            let tally = copy_evidence(network, gate).await;
            // Silent seats would hold up every later audit.
            let unbonded =
                network.submit_until_accepted(COPIER, Call::Unbond, ACCEPTANCE_BLOCKS).await;
            if let Err(error) = unbonded {
                tracing::warn!("{error:#}");
            }
            Ok(vec![tally?])
        };
        play.boxed_local()
    },
};

/// Commits to the evidence of another validator in that validator's name, and reveals the same.
///
/// Commitments name their validator, so a copied one cannot be opened, whatever evidence it holds.
async fn copy_evidence(network: &Network, mut gate: Gate) -> Result<Tally> {
    let (signer, chain) = (network::signer(COPIER)?, network.chain.clone());
    let account = signer.account();
    let other = network::signer(VALIDATORS[0].0)?.account();
    gate.pass().await?;
    act_once(network, &signer).await?;
    let seated = || async {
        let audits = chain.audits().await?;
        Ok(audits.into_iter().find(|(_, audit)| {
            audit.stage == Stage::Replay && audit.seats_of(&account).next().is_some()
        }))
    };
    let (id, audit) = network.until("the copier has a seat", 150, seated).await?;
    let (evidence, salt) = (invented_evidence(network, &audit, &account), [14; 32]);
    let commitment = evidence_commitment(&other, &chain.genesis_hash(), id, &evidence, &salt);
    let committed = chain.submit(&signer, Call::CommitAudit { audit: id, commitment }).await;
    committed.context("the copied commitment was not accepted")?;
    wait_for_reveal_stage(network, id).await?;
    let reveal = Call::RevealAudit { audit: id, evidence, salt };
    let found = refusal(chain.submit(&signer, reveal).await)?;
    let is_unpaid = chain.pending_rewards(&account).await?.is_empty();
    let tally = Tally::refused("WrongEvidence", &found);
    Ok(Tally { passed: tally.passed && is_unpaid, ..tally })
}

/// Reports that the validator holds nothing: bonds that never acted get no seats.
async fn act_once(network: &Network, signer: &Signer) -> Result<()> {
    let acted = || async {
        let round = network.chain.overview().await?.round;
        let held = RevealSet::from_indices([]);
        let report = Call::ReportHeld { round: round.number, held };
        // Refused if the phase ends meanwhile.
        let has_acted =
            round.phase == Phase::Hold && network.chain.submit(signer, report).await.is_ok();
        Ok(has_acted.then_some(()))
    };
    network.until("the copier has acted", ROUND_BLOCKS, acted).await
}

/// Returns evidence for all seats of `account`.
pub(super) fn invented_evidence(
    network: &Network,
    audit: &Audit<AccountId>,
    account: &AccountId,
) -> Evidence {
    let shards = network.recipe.shards_per_lease(Tier::Whale) as usize;
    let findings: Vec<(u8, Finding)> = audit
        .seats_of(account)
        .map(|(at, case)| {
            let end = |segment: &u16| -> Hash {
                pol_primitives::digest(b"pol/attacks/other", &(case.trainer, segment))
            };
            let ends = BoundedVec::truncate_from(case.segments.iter().map(end).collect());
            let shards = BoundedVec::truncate_from(vec![0; shards]);
            let measure = UpdateMeasurement { shards, ..UpdateMeasurement::default() };
            (at, Finding::Replayed { ends, packed: true, measure })
        })
        .collect();
    BoundedVec::truncate_from(findings)
}

async fn wait_for_reveal_stage(network: &Network, id: AuditId) -> Result<()> {
    let is_revealing = || async {
        let audits = network.chain.audits().await?;
        let audit = audits.into_iter().find(|(number, _)| *number == id);
        Ok(audit.filter(|(_, audit)| audit.stage >= Stage::Reveal).map(drop))
    };
    network.until("evidence is revealed", 60, is_revealing).await
}
