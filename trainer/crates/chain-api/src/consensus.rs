// SPDX-License-Identifier: Apache-2.0

//! `GET /consensus`: the round under way, the head, and the stake behind it.

use crate::{
    Answer,
    failure::Failure,
    node::{ANSWER_TIMEOUT, Node},
    state::ChainState,
    survey::RoleCounts,
    values::{Digest, Pol, Time},
};
use axum::{Json, extract::State};
use pol_api::Problem;
use pol_chain::ChainError;
use pol_primitives::{
    Balance, Hash,
    head::Head,
    queries::Overview,
    round::{Phase, RoundConfig},
};
use serde::Serialize;
use std::sync::Arc;
use tokio::{sync::Mutex, time::timeout};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// State of the network at the best block.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Consensus {
    /// Chain.
    chain: ChainIdentity,
    /// Best block.
    best: BestBlock,
    /// Last final block.
    #[serde(rename = "final")]
    finalised: FinalBlock,
    /// Expected time between two blocks, in seconds.
    #[schema(example = 3.0)]
    block_seconds: f64,
    /// Round under way.
    clock: RoundClock,
    /// Current model; null until round 0 is attested.
    head: Option<HeadState>,
    /// Recipe in force.
    recipe: Option<Digest>,
    /// Shards that are neither leased nor consumed.
    #[schema(example = 960)]
    free_shards: u32,
    /// Stake of validators.
    stake: StakeState,
    /// Members by role, counted every 30 seconds; null before the first count.
    members: Option<RoleCounts>,
}

/// State of the endpoint.
#[derive(Clone)]
struct ConsensusState {
    chain: ChainState,
    /// Newest answer, with the block that it is of.
    newest: Arc<Mutex<Option<(Hash, Consensus)>>>,
}

/// Identity of a chain.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ChainIdentity {
    /// Name.
    #[schema(example = "POL Development")]
    name: String,
    /// Hash of the genesis block.
    genesis: Digest,
    /// Version of the runtime.
    #[schema(example = 1)]
    spec_version: u32,
}

/// Best block.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct BestBlock {
    /// Height.
    #[schema(example = 812)]
    number: u32,
    /// Hash.
    hash: Digest,
    /// Time.
    time: Time,
}

/// Last final block.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct FinalBlock {
    /// Height.
    #[schema(example = 810)]
    number: u32,
    /// Hash.
    hash: Digest,
}

/// Round under way. Its times are blocks of the protocol's clock.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct RoundClock {
    /// Present time.
    #[schema(example = 812)]
    now: u32,
    /// Number of the round.
    #[schema(example = 7)]
    round: u32,
    /// Phase.
    #[schema(value_type = String, example = "train")]
    phase: Phase,
    /// Time at which the phase began.
    #[schema(example = 790)]
    phase_since: u32,
    /// Time at which the round opened.
    #[schema(example = 789)]
    opened_at: u32,
    /// First block after the phase; null while the round waits for its first lease.
    #[schema(example = 890)]
    deadline: Option<u32>,
    /// Last block in which trainers may join; null until the first has joined.
    #[schema(example = 793)]
    join_until: Option<u32>,
    /// Leases that are due in the round.
    #[schema(example = 3)]
    due: u32,
    /// Commitments received.
    #[schema(example = 2)]
    committed: u32,
    /// Commitments opened.
    #[schema(example = 0)]
    revealed: u32,
    /// Attest phases of the round that ended without a head.
    #[schema(example = 0)]
    attempt: u8,
    /// Longest phases, in their order.
    phases: Vec<PhaseLength>,
}

/// Longest duration of a phase.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct PhaseLength {
    /// Phase.
    #[schema(value_type = String, example = "train")]
    phase: Phase,
    /// Blocks.
    #[schema(example = 100)]
    blocks: u32,
}

/// Model at the head of the chain.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct HeadState {
    /// Round that made it.
    #[schema(example = 6)]
    round: u32,
    /// Root: BLAKE3 of the parameters.
    root: Digest,
    /// Tokens trained on since genesis.
    #[schema(example = 393_216)]
    tokens: u64,
    /// Recipe.
    recipe: Digest,
    /// Digest of the history.
    lineage: Digest,
}

/// Stake of validators that counts in quorums.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct StakeState {
    /// Sum.
    total: Pol,
    /// Number of validators.
    #[schema(example = 4)]
    validators: usize,
    /// Gini coefficient of their stakes, from 0 (all have the same) to 1; null without stake.
    #[schema(example = 0.12)]
    gini: Option<f64>,
    /// Fewest validators with more than a third of the stake, who can stop the chain together.
    #[schema(example = 2)]
    nakamoto: Option<usize>,
}

/// Returns the state of the network at the best block.
#[utoipa::path(
    get,
    path = "/consensus",
    tag = "Chain",
    responses(
        (status = 200, body = Consensus),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn consensus(State(state): State<ConsensusState>) -> Answer<Consensus> {
    let ConsensusState { chain: state, newest } = state;
    let best = state.ask(|node| async move { Ok(node.best) }).await?;
    // One request asks the node, and the others wait for its answer.
    let mut newest =
        timeout(ANSWER_TIMEOUT, newest.lock()).await.map_err(|_| Failure::node_away())?;
    let known = newest.as_ref().filter(|(hash, _)| *hash == best.hash);
    let mut answer = match known {
        Some((_, answer)) => answer.clone(),
        None => {
            let answer = state.ask(read).await?;
            newest.insert((best.hash, answer)).1.clone()
        }
    };
    drop(newest);
    answer.members = state.survey_now().map(|survey| survey.roles);
    Ok(Json(answer))
}

/// Reads the state of the network at the best block.
async fn read(node: Node) -> Result<Consensus, ChainError> {
    let Node { chain, best } = node;
    let here = chain.at(best.hash);
    let overview = here.overview().await?;
    let finalised = chain.finalised_block().await?;
    let mut stakes: Vec<Balance> =
        here.stakes().await?.into_iter().map(|(_, stake)| stake).collect();
    stakes.sort_unstable();
    Ok(Consensus {
        chain: ChainIdentity {
            name: chain.chain_name().await?,
            genesis: Digest(chain.genesis_hash()),
            spec_version: chain.spec_version().await?,
        },
        best: BestBlock {
            number: best.number,
            hash: Digest(best.hash),
            time: Time::new(here.time().await?),
        },
        finalised: FinalBlock { number: finalised.number, hash: Digest(finalised.hash) },
        block_seconds: chain.block_time().await?.as_secs_f64(),
        clock: clock(&overview),
        head: overview.head.as_ref().map(head),
        recipe: overview.recipe_hash.map(Digest),
        free_shards: overview.free_shards,
        stake: StakeState {
            total: Pol(overview.validator_stake),
            validators: stakes.len(),
            gini: gini(&stakes),
            nakamoto: nakamoto(&stakes),
        },
        members: None,
    })
}

fn clock(overview: &Overview) -> RoundClock {
    let (round, config) = (&overview.round, &overview.config);
    RoundClock {
        now: overview.now,
        round: round.number,
        phase: round.phase,
        phase_since: round.phase_since,
        opened_at: round.opened_at,
        deadline: round.deadline,
        join_until: round.join_until,
        due: round.due,
        committed: round.committed,
        revealed: round.revealed,
        attempt: round.attempt,
        phases: phases(config),
    }
}

fn phases(config: &RoundConfig) -> Vec<PhaseLength> {
    let RoundConfig { train, reveal, hold, attest, .. } = *config;
    [(Phase::Train, train), (Phase::Reveal, reveal), (Phase::Hold, hold), (Phase::Attest, attest)]
        .map(|(phase, blocks)| PhaseLength { phase, blocks })
        .into()
}

fn head(head: &Head) -> HeadState {
    HeadState {
        round: head.round,
        root: Digest(head.root),
        tokens: head.tokens,
        recipe: Digest(head.recipe_hash),
        lineage: Digest(head.lineage_hash),
    }
}

/// Returns the Gini coefficient of stakes in ascending order.
fn gini(stakes: &[Balance]) -> Option<f64> {
    let number = stakes.len() as f64;
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (rank, stake) in stakes.iter().enumerate() {
        let stake = *stake as f64;
        sum += stake;
        weighted += (rank + 1) as f64 * stake;
    }
    (sum > 0.0).then(|| (2.0 * weighted / (number * sum) - (number + 1.0) / number).max(0.0))
}

/// Returns the fewest validators with more than a third of the stake, of stakes in ascending order
/// (Srinivasan and Lee 2017, "Quantifying Decentralization").
fn nakamoto(stakes: &[Balance]) -> Option<usize> {
    let total = stakes.iter().copied().fold(0, Balance::saturating_add);
    let mut sum: Balance = 0;
    let enough = stakes.iter().rev().position(|stake| {
        sum = sum.saturating_add(*stake);
        sum > total / 3
    });
    enough.filter(|_| total > 0).map(|position| position + 1)
}

/// Returns the endpoint.
pub(crate) fn routes(state: ChainState) -> OpenApiRouter {
    let state = ConsensusState { chain: state, newest: Arc::default() };
    OpenApiRouter::new().routes(routes!(consensus)).with_state(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_stakes_have_no_inequality() {
        assert_eq!(gini(&[]), None);
        assert_eq!(gini(&[0, 0]), None);
        assert_eq!(gini(&[5, 5, 5, 5]), Some(0.0));
        let one_has_all = gini(&[0, 0, 0, 9]).unwrap();
        assert!((one_has_all - 0.75).abs() < 1e-12);
    }

    #[test]
    fn more_than_a_third_stops_the_chain() {
        assert_eq!(nakamoto(&[]), None);
        assert_eq!(nakamoto(&[0]), None);
        assert_eq!(nakamoto(&[7]), Some(1));
        assert_eq!(nakamoto(&[5, 5, 5]), Some(2), "a third alone is not more than a third");
        assert_eq!(nakamoto(&[1, 1, 1, 1, 9]), Some(1));
        assert_eq!(nakamoto(&[Balance::MAX, Balance::MAX]), Some(1));
    }
}
