// SPDX-License-Identifier: Apache-2.0

//! `explain`: the reward of an account in a round, in numbers that add up.

use crate::options::{LookOptions, NodeOptions};
use anyhow::{Context, Result};
use clap::Args;
use pol_chain::{
    AccountId,
    explanation::{Description, describe, exact_amount},
    format_account,
};
use pol_primitives::{
    Balance, RoundNumber,
    explanation::{DataPart, Explanation, PotShare, SeatsPart, TrainingPart},
};
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Examples:
  pol-trainer explain --account 5Grw… --round 12
      say what was measured, how the reward follows from it, and what it waits for
  pol-trainer explain --dev-account trainer-1 --round 12
      the same for a development account; --account main takes a name in the folder of keys
  pol-trainer explain --account 5Grw… --round 12 --json
      print the same as JSON, with all weights and pots

A part is worth pot · weight ÷ weights. Pots and weights are those that nobody has claimed yet. A \
claim changes both, and the amounts of others by rounding only. The chain forgets a reward that is \
claimed.";

/// Options of `explain`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExplainOptions {
    // The account whose reward is explained.
    #[command(flatten)]
    of: LookOptions,
    /// Round that emitted the reward.
    #[arg(long, value_name = "NUMBER")]
    round: RoundNumber,
    #[command(flatten)]
    node: NodeOptions,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Prints the explanation.
pub(crate) async fn run(options: ExplainOptions) -> Result<()> {
    let account = options.of.account()?.context(
        "no account is given: pass --account with an address or the name of a key, or on a \
         development chain --dev-account trainer-1",
    )?;
    let chain = options.node.connect().await?;
    let explained = chain.explain(&account, options.round).await?;
    if options.json {
        println!("{}", to_json(&explained));
    } else {
        print!("{}", to_text(&explained));
    }
    Ok(())
}

/// Returns the explanation for people.
fn to_text(explained: &Explanation<AccountId>) -> String {
    let Description { summary, training, seats, data, held } = describe(explained);
    let mut text =
        format!("{summary}\n\ntraining  {training}\nseats     {seats}\ndata      {data}\n");
    if let Some(held) = held {
        text += &format!("\n{held}\n");
    }
    let parts = shares(explained).map(|(_, share)| share.amount);
    if let ([Some(training), Some(seats), Some(data)], Some(amount)) = (parts, explained.amount) {
        let parts = [training, seats, data].map(exact_amount).join(" + ");
        text += &format!("\n{parts} = {}\n", exact_amount(amount));
    }
    text
}

/// Returns the shares of the parts with their names.
fn shares(explained: &Explanation<AccountId>) -> [(&'static str, PotShare); 3] {
    let Explanation { training, seats, data, .. } = explained;
    [("training", training.share), ("seats", seats.share), ("data", data.share)]
}

fn to_json(explained: &Explanation<AccountId>) -> Value {
    let Description { summary, training, seats, data, held } = describe(explained);
    let measured = [
        measured_training(&explained.training),
        measured_seats(&explained.seats),
        measured_data(&explained.data),
    ];
    let parts = shares(explained).into_iter().zip(measured).zip([training, seats, data]);
    let part = |(((source, share), measured), text): (((&str, PotShare), Value), String)| {
        json!({
            "source": source,
            "measured": measured,
            "weight": share.weight.to_string(),
            "weights": share.weights.to_string(),
            "pot": share.pot.to_string(),
            "amount": share.amount.map(text_of),
            "text": text,
        })
    };
    let unsettled = explained.unsettled.iter().map(|update| {
        let trainer = format_account(&update.trainer);
        json!({ "trainer": trainer, "draw": update.draw, "audit": update.audit })
    });
    json!({
        "account": format_account(&explained.account),
        "round": explained.round,
        "now": explained.now,
        "state": explained.state,
        "from": explained.from,
        "amount": explained.amount.map(text_of),
        "text": summary,
        "parts": parts.map(part).collect::<Vec<_>>(),
        "waits": held,
        "unsettled": unsettled.collect::<Vec<_>>(),
    })
}

fn text_of(amount: Balance) -> String {
    amount.to_string()
}

fn measured_training(part: &TrainingPart) -> Value {
    let Some(update) = part.update else { return Value::Null };
    json!({
        "status": update.status.name(),
        "outcome": update.status.outcome(),
        "tier": update.tier,
        "staleness": update.staleness,
        "tokens": update.tokens,
        "gain": update.gain,
        "worth": part.worth(),
        "flagged": update.flagged,
        "penalty": update.penalty.to_string(),
        "unpaid": part.unpaid(),
    })
}

fn measured_seats(part: &SeatsPart) -> Value {
    json!({
        "right": part.share.weight.to_string(),
        "open": part.open,
        "improved": part.improved,
        "per_seat": part.per_seat.to_string(),
    })
}

fn measured_data(part: &DataPart) -> Value {
    json!({ "effect": part.share.weight.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::{
        POL,
        explanation::{OpenUpdate, RewardState, UpdateStatus, UpdateSummary},
        recipe::Tier,
        rewards::Pot,
        submission::Outcome,
    };

    fn explained(is_settled: bool) -> Explanation<AccountId> {
        let share = |left, weight, own| PotShare::new(Pot { left, weight }, own, is_settled);
        let training = share(7 * POL, 40, 10);
        let update = UpdateSummary {
            status: UpdateStatus::Settled(Outcome::Valid),
            tier: Tier::Whale,
            staleness: 0,
            tokens: 40,
            gain: 10,
            flagged: false,
            penalty: 0,
        };
        let (seats, data) = (share(2 * POL, 4, 1), share(POL, 3, 0));
        let amount = is_settled.then_some(225 * POL / 100);
        Explanation {
            account: [1; 32],
            round: 7,
            now: 9,
            state: if is_settled { RewardState::Claimable } else { RewardState::Unsettled },
            from: 9,
            amount,
            training: TrainingPart { share: training, update: Some(update) },
            seats: SeatsPart { share: seats, open: 0, improved: true, per_seat: POL },
            data: DataPart { share: data },
            unsettled: vec![OpenUpdate { trainer: [2; 32], draw: 0, audit: Some(3) }],
        }
    }

    #[test]
    fn amounts_are_summed_once_they_are_known() {
        let text = to_text(&explained(true));
        assert!(text.starts_with("2.25 POL can be claimed since round 9.\n"), "{text}");
        assert!(text.ends_with("\n1.75 POL + 0.5 POL + 0 POL = 2.25 POL\n"), "{text}");
        let waiting = to_text(&explained(false));
        assert!(waiting.contains("The round waits for 1 update"), "{waiting}");
        assert!(!waiting.contains(" = "), "{waiting}");
    }

    #[test]
    fn json_has_exact_amounts_and_weights() {
        let json = to_json(&explained(true));
        assert_eq!(
            (&json["state"], &json["amount"]),
            (&json!("claimable"), &json!("2250000000000"))
        );
        let training = &json["parts"][0];
        assert_eq!(training["measured"]["outcome"], "valid");
        assert_eq!((&training["weight"], &training["weights"]), (&json!("10"), &json!("40")));
        assert_eq!(training["amount"], "1750000000000");
        assert_eq!(json["parts"][1]["measured"]["per_seat"], POL.to_string());
        assert_eq!(json["unsettled"][0]["audit"], 3);
        assert_eq!(to_json(&explained(false))["parts"][2]["amount"], Value::Null);
    }
}
