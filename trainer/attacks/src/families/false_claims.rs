// SPDX-License-Identifier: Apache-2.0

//! False loss curves and telemetry.

use crate::{
    cheating::Cheat,
    network::Network,
    observer::Observations,
    scenario::{ExpectedOutcome, Family, Scenario, Setup},
};
use anyhow::{Context, Result, ensure};
use pol_chain::AccountId;
use pol_engine::LeaseData;
use pol_primitives::{
    MILLION, RoundNumber,
    audit::UpdateMeasurement,
    data::{ShardId, quality},
    rewards::training_weight,
    submission::Outcome,
};

pub(super) static FAMILY: Family = Family {
    name: "false-claims",
    scenarios: &[Scenario {
        name: "impossible-claims",
        setup: Setup::Trainer {
            account: "attacker-boasts",
            cheat: Cheat::FalseClaims,
            outcome: ExpectedOutcome::Valid,
        },
        act: "Trains honestly and claims perfect metrics and an impossible speed.",
        expect: "Claims have no effect: updates are valid, and paid in proportion to the seats' \
                 measurements.",
    }],
};

/// Largest difference of two proportional payments, as a share.
const PAY_TOLERANCE: f64 = 0.005;

/// Checks that the account was paid in proportion to measured improvement and quality,
/// like all honest trainers of the same rounds. Returns the number of comparisons.
///
/// # Errors
///
/// Fails if a payment is out of proportion, or if a shard cannot be read.
pub(crate) fn check_proportional_pay(
    observations: &Observations,
    account: &AccountId,
    honest: &[AccountId],
    network: &Network,
) -> Result<u64> {
    let mut compared = 0;
    for (round, _) in observations.settled_of(account) {
        let Some(own) = weight_of(observations, network, round, account)? else { continue };
        for other in honest.iter().filter(|other| *other != account) {
            let Some(theirs) = weight_of(observations, network, round, other)? else { continue };
            let pay = |who: &AccountId| observations.pay.get(&(round, *who)).copied().unwrap_or(0);
            let (paid, paid_other) =
                (pay(account) as f64 * theirs as f64, pay(other) as f64 * own as f64);
            ensure!(
                (paid - paid_other).abs() <= PAY_TOLERANCE * paid.max(paid_other),
                "round {round} paid {} for a weight of {own} and {} for {theirs}",
                pay(account),
                pay(other)
            );
            compared += 1;
        }
    }
    Ok(compared)
}

/// Returns the weight of a valid update by the seats' measurements; `None` where there is none.
fn weight_of(
    observations: &Observations,
    network: &Network,
    round: RoundNumber,
    account: &AccountId,
) -> Result<Option<u128>> {
    let key = (round, *account);
    let (Some(record), Some(lease)) =
        (observations.settled.get(&key), observations.leases.get(&key))
    else {
        return Ok(None);
    };
    if record.outcome != Outcome::Valid {
        return Ok(None);
    }
    let measurement = UpdateMeasurement { gain: record.gain, ..UpdateMeasurement::default() };
    let shard = |id: &ShardId| -> Result<Vec<u32>> {
        let mut shards = network.shards(pol_data::TRAIN, id.index, 1)?;
        shards.pop().context("the lease's shard is not in the folder")
    };
    let shards = lease.shards.iter().map(shard).collect::<Result<_>>()?;
    let data = LeaseData::new(&network.recipe, shards)?;
    let quality = quality((0..data.sequences()).filter_map(|at| data.sequence(at)));
    Ok(Some(training_weight(measurement.score(), MILLION, quality)))
}
