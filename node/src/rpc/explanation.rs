// SPDX-License-Identifier: Apache-2.0

//! Conversion of explanations of rewards to readable JSON.

use super::json::{balance, name};
use pol_primitives::explanation::{
    DataPart, Explanation, OpenUpdate, PotShare, SeatsPart, TrainingPart, UpdateSummary,
};
use pol_runtime::AccountId;
use serde_json::{Value, json};

/// Converts an explanation. The amounts of the parts add up to `amount`.
pub(super) fn explanation(explained: &Explanation<AccountId>) -> Value {
    let Explanation { training, seats, data, .. } = explained;
    let parts = [
        part("training", &training.share, measured_training(training)),
        part("seats", &seats.share, measured_seats(seats)),
        part("data", &data.share, measured_data(data)),
    ];
    json!({
        "account": explained.account,
        "round": explained.round,
        "now": explained.now,
        "state": name(explained.state),
        "from": explained.from,
        "amount": explained.amount.map(balance),
        "parts": parts,
        "unsettled": explained.unsettled.iter().map(open_update).collect::<Vec<_>>(),
    })
}

/// Converts a part. Weights are strings, because they exceed the range of a JavaScript number.
fn part(source: &str, share: &PotShare, measured: Value) -> Value {
    json!({
        "source": source,
        "measured": measured,
        "weight": share.weight.to_string(),
        "weights": share.weights.to_string(),
        "pot": balance(share.pot),
        "amount": share.amount.map(balance),
    })
}

fn measured_training(part: &TrainingPart) -> Value {
    let measured = |update: &UpdateSummary| {
        json!({
            "status": update.status.name(),
            "outcome": update.status.outcome().map(name),
            "tier": update.tier,
            "staleness": update.staleness,
            "tokens": update.tokens,
            "gain": update.gain,
            "worth": part.worth(),
            "flagged": update.flagged,
            "penalty": balance(update.penalty),
            "unpaid": part.unpaid().map(name),
        })
    };
    part.update.as_ref().map_or(Value::Null, measured)
}

fn measured_seats(part: &SeatsPart) -> Value {
    json!({
        "right": part.share.weight.to_string(),
        "open": part.open,
        "improved": part.improved,
        "perSeat": balance(part.per_seat),
    })
}

fn measured_data(part: &DataPart) -> Value {
    json!({ "effect": part.share.weight.to_string() })
}

fn open_update(update: &OpenUpdate<AccountId>) -> Value {
    json!({ "trainer": update.trainer, "draw": update.draw, "audit": update.audit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::{
        explanation::{RewardState, UpdateStatus},
        recipe::Tier,
        rewards::Pot,
        submission::Outcome,
    };

    #[test]
    fn an_explanation_has_readable_names_and_exact_numbers() {
        let share = |is_settled| PotShare::new(Pot { left: u128::MAX, weight: 3 }, 3, is_settled);
        let update = UpdateSummary {
            status: UpdateStatus::Settled(Outcome::NoShow),
            tier: Tier::Miner,
            staleness: 2,
            tokens: 0,
            gain: -7,
            flagged: false,
            penalty: 10,
        };
        let (account, trainer) = (AccountId::new([1; 32]), AccountId::new([2; 32]));
        let mut explained = Explanation {
            account: account.clone(),
            round: 7,
            now: 9,
            state: RewardState::UnderWay,
            from: 9,
            amount: Some(u128::MAX),
            training: TrainingPart { share: PotShare::default(), update: Some(update) },
            seats: SeatsPart { share: share(true), open: 1, improved: true, per_seat: 5 },
            data: DataPart { share: share(false) },
            unsettled: vec![OpenUpdate { trainer: trainer.clone(), draw: 1, audit: None }],
        };
        let answer = explanation(&explained);
        assert_eq!((&answer["account"], &answer["state"]), (&json!(account), &json!("underWay")));
        assert_eq!(answer["amount"], u128::MAX.to_string());
        let training = &answer["parts"][0]["measured"];
        let names = (&training["status"], &training["outcome"], &training["unpaid"]);
        assert_eq!(names, (&json!("settled"), &json!("noShow"), &json!("notRevealed")));
        assert_eq!(
            answer["parts"][1],
            json!({
                "source": "seats",
                "measured": { "right": "3", "open": 1, "improved": true, "perSeat": "5" },
                "weight": "3",
                "weights": "3",
                "pot": u128::MAX.to_string(),
                "amount": u128::MAX.to_string(),
            })
        );
        assert_eq!(answer["parts"][2]["amount"], Value::Null);
        let open = json!([{ "trainer": trainer, "draw": 1, "audit": null }]);
        assert_eq!(answer["unsettled"], open);
        explained.training.update = None;
        assert_eq!(explanation(&explained)["parts"][0]["measured"], Value::Null);
    }
}
