// SPDX-License-Identifier: Apache-2.0

//! Updates that harm the model.

use super::ALWAYS_INVALID;
use crate::{
    cheating::{Cheat, CheatingStrategy},
    network::Network,
    offline::TrainingHarness,
    scenario::{ExpectedOutcome, Family, Scenario, Setup},
    tally::Tally,
};
use anyhow::{Context, Result};
use futures::FutureExt;
use pol_engine::{
    ExcisedRound, LeaseJob, RoundUpdate, TrainingState, aggregate, evaluate, pack, train_segment,
};
use pol_primitives::{payload::Payload, recipe::Recipe, submission::Outcome};
use pol_trainer::{
    Strategy,
    context::NodeContext,
    error::RoleError,
    model::{self, initial_model},
};

pub(super) static FAMILY: Family = Family {
    name: "poisoning",
    scenarios: &[
        Scenario {
            name: "flipped-signs",
            setup: Setup::Trainer {
                account: "attacker-flipped",
                cheat: Cheat::FlippedSigns,
                outcome: ExpectedOutcome::Invalid,
            },
            act: "Sends the difference that training made with its signs flipped.",
            expect: ALWAYS_INVALID,
        },
        Scenario {
            name: "scaled-update",
            setup: Setup::Trainer {
                account: "attacker-scaled",
                cheat: Cheat::ScaledUpdate,
                outcome: ExpectedOutcome::Invalid,
            },
            act: "Sends a hundred times the difference that training made.",
            expect: ALWAYS_INVALID,
        },
        Scenario {
            name: "backdoor",
            setup: Setup::Trainer {
                account: "attacker-backdoored",
                cheat: Cheat::Backdoor,
                outcome: ExpectedOutcome::Invalid,
            },
            act: "Trains on a trigger and the token that has to follow it.",
            expect: ALWAYS_INVALID,
        },
        Scenario {
            name: "model-after-excision",
            setup: Setup::FinalModel(|network| compare_with_clean_model(network).boxed_local()),
            act: "Compares the model with one that has never contained the excised updates.",
            expect: "At least one update was excised, and the held-out loss is within 2 % of the \
                     clean model's.",
        },
        Scenario {
            name: "poisoned-fifth",
            setup: Setup::Offline(poison_a_fifth),
            act: "Lets two of ten trainers flip signs, scale or plant a backdoor for eight rounds; \
                  their updates are excised two rounds later.",
            expect: "The held-out loss stays within 2 % of a model without the attackers.",
        },
    ],
};

/// Largest share that attacks may add to the held-out loss.
const MAX_HARM: f64 = 0.02;
/// Trainers of the poisoned model, attackers included.
const TRAINERS: u32 = 10;
const ATTACKERS: u32 = 2;
/// Rounds in which the attackers attack.
const ROUNDS: u32 = 8;
/// Rounds from an attack to its excision, as audits have it.
const EXCISION_ROUNDS: u32 = 2;

type Updates = Vec<RoundUpdate>;

/// Trains models under attack by a fifth of the trainers, and compares their held-out losses.
fn poison_a_fifth(harness: &TrainingHarness) -> Result<Tally> {
    let clean = train_under_attack(harness, None)?;
    let mut passed = true;
    let mut losses = vec![format!("clean {clean:.4}")];
    let attacks = [
        (Cheat::FlippedSigns, "flipped"),
        (Cheat::ScaledUpdate, "scaled"),
        (Cheat::Backdoor, "backdoored"),
    ];
    for (cheat, name) in attacks {
        let loss = train_under_attack(harness, Some(cheat))?;
        let harm = (loss - clean) / clean;
        passed &= harm < MAX_HARM;
        losses.push(format!("{name} {loss:.4} ({:+.2} %)", harm * 100.0));
    }
    let tries = (attacks.len() as u32 * ROUNDS * ATTACKERS).into();
    let note = format!(
        "held-out loss of {TRAINERS} trainers after {} rounds: {}",
        ROUNDS + EXCISION_ROUNDS,
        losses.join(", ")
    );
    Ok(Tally::tried(tries, tries).passed(passed, note))
}

/// Returns the held-out loss of a model of ten trainers.
///
/// With a cheat, two of them attack in every round but the last ones, and are excised two rounds
/// later. Without, only the others take part.
fn train_under_attack(harness: &TrainingHarness, cheat: Option<Cheat>) -> Result<f64> {
    let recipe = &harness.recipe;
    let mut parameters = harness.base();
    let mut states = vec![TrainingState::fresh(parameters.clone()); TRAINERS as usize];
    let mut history: Vec<(Updates, Updates)> = Vec::new();
    for round in 0..ROUNDS + EXCISION_ROUNDS {
        let strategy = cheat.filter(|_| round < ROUNDS).map(|cheat| harness.strategy(cheat));
        let (mut all, mut honest) = (Vec::new(), Vec::new());
        for (trainer, state) in (0..TRAINERS).zip(&mut states) {
            let is_attacker = trainer < ATTACKERS;
            if is_attacker && strategy.is_none() {
                continue;
            }
            let strategy = strategy.as_ref().filter(|_| is_attacker);
            let nonce = round * TRAINERS + trainer;
            state.parameters.copy_from_slice(&parameters);
            let payload = train_lease(harness, nonce, trainer as u8, state, strategy)?;
            let update = RoundUpdate { payload, staleness: 0, tokens: 1 };
            if !is_attacker {
                honest.push(update.clone());
            }
            all.push(update);
        }
        let excised = excised_round(recipe, round, &history);
        parameters = aggregate(recipe, &parameters, &all, excised.as_slice())?;
        history.push((all, honest));
    }
    harness.held_out_loss(recipe, &parameters)
}

/// Trains one lease, honestly or by a cheating strategy, and returns its payload. `state` starts
/// at the current head.
fn train_lease(
    harness: &TrainingHarness,
    nonce: u32,
    trainer: u8,
    state: &mut TrainingState,
    strategy: Option<&CheatingStrategy>,
) -> Result<Payload> {
    let recipe = &harness.recipe;
    let (lease, leased) = harness.lease(recipe, nonce)?;
    let data = match strategy {
        Some(strategy) => strategy.data(recipe, leased),
        None => leased,
    };
    let base = state.parameters.clone();
    let account = [trainer; 32];
    let job = LeaseJob { recipe, lease: &lease, account: &account, data: &data, workers: 1 };
    for segment in 0..recipe.segments {
        train_segment(&job, state, segment)?;
    }
    match strategy {
        Some(strategy) => {
            let bytes = strategy.pack(recipe, &base, state)?;
            Ok(Payload::decode(&bytes, recipe.compression.top_k, recipe.model.size())?)
        }
        None => Ok(pack(recipe, &base, state)?),
    }
}

/// Returns the attacked round that `round` excises.
fn excised_round(
    recipe: &Recipe,
    round: u32,
    history: &[(Updates, Updates)],
) -> Option<ExcisedRound> {
    let (all, honest) = history.get(round.checked_sub(EXCISION_ROUNDS)? as usize)?;
    (all.len() > honest.len()).then(|| ExcisedRound {
        recipe: recipe.clone(),
        before: all.clone(),
        after: honest.clone(),
        rewrites: Vec::new(),
    })
}

/// Compares the network's model with a replay without the updates that were taken out.
async fn compare_with_clean_model(network: &Network) -> Result<Tally> {
    let is_clean = || async { Ok(network.chain.excisions().await?.is_empty().then_some(())) };
    network.until("the model is rid of invalid updates", 60, is_clean).await?;
    let context = network.connect_observer("observer").await?;
    let tally = compare(network, &context).await;
    context.swarm.clone().shutdown().await?;
    tally
}

async fn compare(network: &Network, context: &NodeContext) -> Result<Tally> {
    let head = network.chain.overview().await?.head.context("the chain has no model")?;
    let recipe = &network.recipe;
    let start = initial_model(context, recipe).await.map_err(RoleError::into_inner)?;
    let mut clean = start.parameters.to_vec();
    let (mut kept, mut taken_out) = (0u64, 0u64);
    for round in 1..=head.round {
        let (updates, excluded) = valid_updates(network, context, round).await?;
        kept += updates.len() as u64;
        taken_out += excluded;
        clean = aggregate(recipe, &clean, &updates, &[])?;
    }
    let model = model::fetch_model(context, &head.root, recipe, &[], "observed").await;
    let model = model.map_err(RoleError::into_inner)?;
    let held_out = network.held_out()?;
    let sequences: Vec<&[u32]> =
        (0..held_out.sequences()).filter_map(|at| held_out.sequence(at)).collect();
    let loss = |parameters: &[f32]| evaluate(&recipe.model, parameters, &sequences, 2);
    let at_start = loss(&start.parameters)?;
    let (without, with) = (loss(&clean)?, loss(&model.parameters)?);
    let differences = clean.iter().zip(model.parameters.iter()).map(|(a, b)| (a - b).abs());
    let largest = differences.fold(0f32, f32::max);
    let change = (with - without) / without;
    let note = format!(
        "{taken_out} updates taken out, {kept} kept: held-out loss {with:.4}, {without:.4} had the \
         others never been in it ({:+.3} %, largest difference of a parameter {largest:.1e}); \
         {at_start:.4} at the start",
        change * 100.0
    );
    let passed = taken_out > 0 && change.abs() < MAX_HARM;
    Ok(Tally::tried(taken_out, taken_out).passed(passed, note))
}

/// Returns the updates of a round that are valid or not settled yet, and the number of the others.
/// Updates that are not settled are part of both models.
async fn valid_updates(
    network: &Network,
    context: &NodeContext,
    round: u32,
) -> Result<(Updates, u64)> {
    let history = network.chain.history(round).await?;
    let (mut valid, mut others) = (Vec::new(), 0);
    for update in network.chain.updates(round).await? {
        let record = history.iter().find(|(account, _)| *account == update.account);
        if record.is_some_and(|(_, record)| record.outcome != Outcome::Valid) {
            others += 1;
            continue;
        }
        let (recipe, hash) = (&network.recipe, &update.payload_hash);
        let payload = context.fetch_payload(recipe, round, &update.account, hash).await;
        let payload = payload.map_err(RoleError::into_inner)?;
        valid.push(RoundUpdate { payload, staleness: update.staleness, tokens: update.tokens });
    }
    Ok((valid, others))
}
