//! Attacks that are sequences of calls: copying, stale states, coming late, withholding, bytes that
//! are nothing.

use crate::{
    hand::{Hand, Work, refusal},
    network::{self, Network},
    report::Row,
};
use anyhow::{Context, Result, ensure};
use pol_chain::{AccountId, Call, ChainError};
use pol_engine::{Trace, TrainingState};
use pol_primitives::{
    BoundedVec, Hash,
    audit::{Case, Evidence, Finding, Served, ServedState, Stage, evidence_commitment},
    payload::Payload,
    round::Phase,
    submission::{Outcome, Reveal},
    trace::{Carry, state_leaf},
};
use tokio::sync::watch;

/// Opens when all attackers are there, so that they share their rounds.
pub type Gate = watch::Receiver<bool>;

async fn pass(gate: &mut Gate) -> Result<()> {
    gate.wait_for(|open| *open).await.context("the run ended before the attacks began")?;
    Ok(())
}

/// Rows of one sequence: what it found, or why it could not.
fn rows(rows: impl IntoIterator<Item = Row>, outcome: Result<Vec<Row>>) -> Vec<Row> {
    match outcome {
        Ok(rows) => rows,
        Err(error) => rows.into_iter().map(|row| row.failed(&error)).collect(),
    }
}

/// `row`, tried once and refused with `expected`.
fn refused(row: Row, expected: &str, found: &str) -> Row {
    let held = found == expected;
    row.tried(1, held.into()).held(held, format!("refused with {found}"))
}

/// The accounts that act by hand, by the number of what they do: harness and honest ones both.
pub const ACCOUNTS: [(u8, &str); 12] = [
    (2, "attacker-victim"),
    (2, "attacker-copier"),
    (2, "attacker-resender"),
    (2, "attacker-changer"),
    (3, "attacker-stale"),
    (9, "attacker-inventor"),
    (16, "attacker-early"),
    (17, "attacker-late"),
    (17, "attacker-lateserver"),
    (17, "attacker-hider"),
    (21, "attacker-garbage"),
    (21, "attacker-statesgarbage"),
];
/// Those of them that are honest.
pub const HONEST: [&str; 2] = ["attacker-victim", "attacker-early"];
/// The validator that copies.
pub const COPIER: &str = "validator-8";

/// 2: a commitment copied whole, a payload copied whole, and one changed in a bit.
pub async fn copies(network: &Network, mut gate: Gate) -> Vec<Row> {
    let named = [
        Row::new(2, "copied commitment", "refused"),
        Row::new(2, "copied payload", "refused"),
        Row::new(2, "payload copied but a bit", "100 %"),
    ];
    let attempt = async {
        let (mut victim, copier, mut resender, mut changer) = tokio::try_join!(
            Hand::start(network, "attacker-victim"),
            Hand::start(network, "attacker-copier"),
            Hand::start(network, "attacker-resender"),
            Hand::start(network, "attacker-changer"),
        )?;
        pass(&mut gate).await?;
        let (lease, copied_lease, resent_lease, changed_lease) =
            tokio::try_join!(victim.lease(), copier.lease(), resender.lease(), changer.lease())?;
        let round = lease.due_round;
        ensure!(
            [&copied_lease, &resent_lease, &changed_lease]
                .iter()
                .all(|other| other.due_round == round),
            "the victim and its copiers did not get into one round"
        );
        let segments = network.recipe.segments;
        let original = victim.work(lease, segments).await?;
        let (resent, mut changed) = tokio::try_join!(
            resender.work(resent_lease, segments),
            changer.work(changed_lease, segments)
        )?;

        // The copier has seen the commitment and later the whole opening; the resender knows the
        // payload.
        let commitment = victim.commitment(round, &original.reveal);
        let resent = Reveal { payload_hash: original.reveal.payload_hash, ..resent.reveal };
        let payload = flip(&original.payload, &network.recipe)?;
        changer.peer.swarm.add(payload.clone().into(), "hand").await?;
        changed.reveal.payload_hash = *blake3::hash(&payload).as_bytes();
        tokio::try_join!(
            victim.commit(round, commitment),
            copier.commit(round, commitment),
            resender.commit(round, resender.commitment(round, &resent)),
            changer.commit(round, changer.commitment(round, &changed.reveal)),
        )?;
        victim.reach(round, Phase::Reveal).await?;
        victim.submit(Call::Reveal { round, reveal: original.reveal.clone() }).await?;
        let (copied, resent, opened) = tokio::join!(
            copier.submit(Call::Reveal { round, reveal: original.reveal.clone() }),
            resender.submit(Call::Reveal { round, reveal: resent }),
            changer.submit(Call::Reveal { round, reveal: changed.reveal.clone() }),
        );
        opened?;
        let (copied, resent) = (refusal(copied)?, refusal(resent)?);
        let (kept, ended) = tokio::try_join!(
            victim.stand_audits(&original, |_| Ok(None)),
            changer.stand_audits(&changed, |_| Ok(None))
        )?;
        let unharmed = kept.outcome == Outcome::Valid;
        let caught = ended.outcome == Outcome::Invalid;
        let [commitment, payload, bit] = named.clone();
        let harm = |row: Row| {
            if unharmed {
                row
            } else {
                row.held(false, format!("the victim's update ended as {:?}", kept.outcome))
            }
        };
        Ok(vec![
            harm(refused(commitment, "WrongOpening", &copied)),
            harm(refused(payload, "PayloadSeen", &resent)),
            harm(
                bit.tried(1, caught.into())
                    .slashed(caught.into())
                    .held(caught, format!("the copy ended as {:?}", ended.outcome)),
            ),
        ])
    };
    rows(named.clone(), attempt.await)
}

/// The payload with the sign of its first value changed.
fn flip(payload: &[u8], recipe: &pol_primitives::recipe::Recipe) -> Result<Vec<u8>> {
    let mut payload = Payload::decode(payload, recipe.compression.top_k, recipe.model.size())?;
    let entry = payload
        .chunks
        .first_mut()
        .and_then(|chunk| chunk.entries.first_mut())
        .context("an empty payload")?;
    entry.negative = !entry.negative;
    Ok(payload.encode())
}

/// The trace of a lease that claims to start from a state of its own choice.
fn restarted(work: &Work, start: Hash) -> Result<Reveal> {
    let mut leaves = work.trace.leaves().to_vec();
    *leaves.first_mut().context("a trace without leaves")? = start;
    let trace = Trace::from_leaves(leaves).context("a trace without leaves")?;
    let first_leaf = trace.proof(0).context("a trace without leaves")?;
    Ok(Reveal { trace_root: trace.root(), first_leaf, ..work.reveal.clone() })
}

/// 3 and 9: a lease that starts from another model, or with moments that no lease left behind.
pub async fn starts(network: &Network, mut gate: Gate, class: u8) -> Vec<Row> {
    let (name, row) = match class {
        3 => ("attacker-stale", Row::new(3, "stale state", "refused")),
        _ => ("attacker-inventor", Row::new(9, "invented carry", "refused")),
    };
    let attempt = async {
        let mut hand = Hand::start(network, name).await?;
        pass(&mut gate).await?;
        let work = hand.work_on_next().await?;
        let start = match class {
            // An older model of its own: where its training stood a segment later.
            3 => state_leaf(&work.states.get(1).context("no segment")?.root(), &work.lease.carry),
            _ => state_leaf(
                &work.lease.base_root,
                &Carry { first_moment: [9; 32], steps: 100, ..Carry::default() }.hash(),
            ),
        };
        let found = refusal(hand.commit_and_reveal(work.due(), restarted(&work, start)?).await?)?;
        Ok(vec![refused(row.clone(), "WrongFirstLeaf", &found)])
    };
    rows([row.clone()], attempt.await)
}

/// 16: half the segments, said so: what an honest machine that is short of time does.
pub async fn stops_early(network: &Network, mut gate: Gate) -> Vec<Row> {
    let row = Row::new(16, "stops early, says so", "valid, fewer tokens");
    let attempt = async {
        let mut hand = Hand::start(network, "attacker-early").await?;
        pass(&mut gate).await?;
        let lease = hand.lease().await?;
        let whole = lease.tokens(&network.recipe, network.recipe.tier(lease.tier).inner_steps);
        let work = hand.work(lease, network.recipe.segments / 2).await?;
        hand.commit_and_reveal(work.due(), work.reveal.clone()).await??;
        let settled = hand.stand_audits(&work, |_| Ok(None)).await?;
        let held = settled.outcome == Outcome::Valid && settled.tokens == whole / 2;
        let note =
            format!("{:?}, credited with {} of {whole} tokens", settled.outcome, settled.tokens);
        Ok(vec![row.clone().counted(1, 0, 0).held(held, note)])
    };
    rows([row.clone()], attempt.await)
}

/// 17: a commitment after the others' ones are open.
pub async fn commits_late(network: &Network, mut gate: Gate) -> Vec<Row> {
    let row = Row::new(17, "late commitment", "refused");
    let attempt = async {
        let mut hand = Hand::start(network, "attacker-late").await?;
        pass(&mut gate).await?;
        let work = hand.work_on_next().await?;
        hand.reach(work.due(), Phase::Reveal).await?;
        let found =
            refusal(hand.commit(work.due(), hand.commitment(work.due(), &work.reveal)).await)?;
        Ok(vec![refused(row.clone(), "NotTraining", &found)])
    };
    rows([row.clone()], attempt.await)
}

/// 17: states named after the stage for it, and states named that nobody can fetch.
pub async fn withholds(network: &Network, mut gate: Gate, late: bool) -> Vec<Row> {
    let (name, row) = if late {
        ("attacker-lateserver", Row::new(17, "late states", "refused, penalty"))
    } else {
        ("attacker-hider", Row::new(17, "named, not served", "100 %"))
    };
    let attempt = async {
        let mut hand = Hand::start(network, name).await?;
        pass(&mut gate).await?;
        let work = hand.work_on_next().await?;
        hand.commit_and_reveal(work.due(), work.reveal.clone()).await??;
        let (outcome, found) = if late {
            let (audit, case) = hand.audited(work.due(), Stage::Replay).await?;
            let found = refusal(hand.serve(audit, work.named(&case)?).await)?;
            (hand.ended(work.due()).await?.outcome, Some(found))
        } else {
            (hand.stand_audits(&work, |case| work.named(case).map(Some)).await?.outcome, None)
        };
        let refused = found.as_deref().is_none_or(|found| found == "WrongStage");
        let note = found.map(|found| format!("refused with {found}; ")).unwrap_or_default();
        let held = refused && outcome == Outcome::Withheld;
        Ok(vec![
            row.clone()
                .tried(1, held.into())
                .slashed(held.into())
                .held(held, format!("{note}the update ended as {outcome:?}")),
        ])
    };
    rows([row.clone()], attempt.await)
}

/// 21: a payload of bytes that are none, on which no validator must choke.
pub async fn garbage_payload(network: &Network, mut gate: Gate) -> Vec<Row> {
    let row = Row::new(21, "garbage as payload", "left out");
    let attempt = async {
        let mut hand = Hand::start(network, "attacker-garbage").await?;
        pass(&mut gate).await?;
        let mut work = hand.work_on_next().await?;
        let mut payload = work.payload.clone();
        payload.iter_mut().skip(15).for_each(|byte| *byte = 0xff);
        work.reveal.payload_hash = hand.peer.swarm.add(payload.into(), "hand").await?;
        hand.commit_and_reveal(work.due(), work.reveal.clone()).await??;
        let outcome = hand.ended(work.due()).await?.outcome;
        let held = outcome == Outcome::Excluded;
        Ok(vec![
            row.clone()
                .tried(1, held.into())
                .held(held, format!("the update ended as {outcome:?}")),
        ])
    };
    rows([row.clone()], attempt.await)
}

/// 21: states of bytes that are none, well committed to.
pub async fn garbage_states(network: &Network, mut gate: Gate) -> Vec<Row> {
    let row = Row::new(21, "garbage as states", "100 %");
    let attempt = async {
        let mut hand = Hand::start(network, "attacker-statesgarbage").await?;
        pass(&mut gate).await?;
        let mut work = hand.work_on_next().await?;
        // The start is the network's own; every later state is four blobs of noise.
        let noise = |leaf: u16, part: u8| -> Vec<u8> {
            (0..5_000u32).map(|at| (at as u8) ^ (leaf as u8) ^ part).collect()
        };
        let carry = |parts: &[Hash; 4], steps: u64| Carry {
            first_moment: parts[1],
            second_moment: parts[2],
            feedback: parts[3],
            steps,
        };
        let mut leaves = vec![*work.trace.leaves().first().context("a trace without leaves")?];
        let mut states = Vec::new();
        for (leaf, state) in (0..).zip(&work.states).skip(1) {
            let mut parts = [[0; 32]; 4];
            for (number, part) in (0..).zip(&mut parts) {
                *part = hand.peer.swarm.add(noise(leaf, number).into(), "hand").await?;
            }
            let named = ServedState { leaf, root: parts[0], carry: carry(&parts, state.steps) };
            leaves.push(named.digest());
            states.push(named);
        }
        work.trace = Trace::from_leaves(leaves).context("a trace without leaves")?;
        work.reveal.trace_root = work.trace.root();
        work.reveal.first_leaf = work.trace.proof(0).context("a trace without leaves")?;
        hand.commit_and_reveal(work.due(), work.reveal.clone()).await??;
        let start = TrainingState::fresh(work.base.clone());
        hand.share(&start).await?;
        let named = |leaf: u16| -> Result<Served> {
            let state = match usize::from(leaf).checked_sub(1) {
                None => ServedState { leaf, root: start.root(), carry: Carry::default() },
                Some(at) => *states.get(at).context("no such state")?,
            };
            Ok(Served { state, proof: work.trace.proof(leaf.into()).context("no such leaf")? })
        };
        let shown = |case: &Case<AccountId>| {
            case.served_leaves().into_iter().map(named).collect::<Result<Vec<_>>>().map(Some)
        };
        let outcome = hand.stand_audits(&work, shown).await?.outcome;
        let held = outcome == Outcome::Invalid;
        Ok(vec![
            row.clone()
                .tried(1, held.into())
                .slashed(held.into())
                .held(held, format!("the update ended as {outcome:?}")),
        ])
    };
    rows([row.clone()], attempt.await)
}

/// 14: a validator that commits to what another one committed to, and reveals what that one
/// reveals.
///
/// Commitments name their validator, so a copied one cannot be opened, by whatever the other one
/// has opened it with.
pub async fn copies_evidence(network: &Network, mut gate: Gate) -> Vec<Row> {
    let row = Row::new(14, "copied evidence", "refused, unpaid");
    let attempt = async {
        let (signer, chain) = (network::signer(COPIER)?, network.chain.clone());
        let (account, other): (AccountId, AccountId) =
            (signer.account(), network::signer(network::VALIDATORS[0].0)?.account());
        pass(&mut gate).await?;
        let seated = || async {
            let audits = chain.audits().await?;
            Ok(audits.into_iter().find(|(_, audit)| {
                audit.stage == Stage::Replay && audit.seats_of(&account).next().is_some()
            }))
        };
        let (id, audit) = network.until("the copier has a seat", 150, seated).await?;
        let shards = network.recipe.shards_per_lease(pol_primitives::recipe::Tier::Whale) as usize;
        let found: Vec<(u8, Finding)> = audit
            .seats_of(&account)
            .map(|(at, case)| {
                let end = |segment: &u16| {
                    pol_primitives::digest(b"pol/attacks/other", &(case.trainer, segment))
                };
                let ends = BoundedVec::truncate_from(case.segments.iter().map(end).collect());
                let shards = BoundedVec::truncate_from(vec![0; shards]);
                let measure = pol_primitives::audit::Measure { shards, ..Default::default() };
                (at, Finding::Replayed { ends, packed: true, measure })
            })
            .collect();
        let (evidence, salt): (Evidence, Hash) = (BoundedVec::truncate_from(found), [14; 32]);
        let commitment = evidence_commitment(&other, &chain.genesis(), id, &evidence, &salt);
        match chain.submit(&signer, Call::CommitAudit { audit: id, commitment }).await {
            Ok(_) => {}
            Err(ChainError::Refused { error, .. }) => {
                anyhow::bail!("the commitment was refused with {error}")
            }
            Err(error) => return Err(error.into()),
        }
        let revealing = || async {
            let audits = chain.audits().await?;
            Ok(audits
                .into_iter()
                .find(|(number, audit)| *number == id && audit.stage >= Stage::Reveal)
                .map(drop))
        };
        network.until("evidence is revealed", 60, revealing).await?;
        let found =
            refusal(chain.submit(&signer, Call::RevealAudit { audit: id, evidence, salt }).await)?;
        let unpaid = chain.rewards(&account).await?.is_empty();
        let row = refused(row.clone(), "WrongEvidence", &found);
        let held = row.held && unpaid;
        Ok(vec![Row { held, ..row }])
    };
    rows([row.clone()], attempt.await)
}
