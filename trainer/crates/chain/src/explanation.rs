// SPDX-License-Identifier: Apache-2.0

//! Explanations of rewards in sentences.

use crate::{AccountId, format_account};
use pol_primitives::{
    Balance, MILLION, POL,
    explanation::{
        Explanation, OpenUpdate, PotShare, RewardState, SeatsPart, TrainingPart, Unpaid,
        UpdateStatus, UpdateSummary,
    },
};

/// Number of unsettled updates that a sentence names.
const NAMED_UPDATES: usize = 8;

/// Explanation of a reward in whole sentences, with the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Amount and stage of the reward.
    pub summary: String,
    /// Part for the account's update.
    pub training: String,
    /// Part for seats in audits.
    pub seats: String,
    /// Part for data.
    pub data: String,
    /// Updates that the round waits for; `None` if there are none.
    pub held: Option<String>,
}

/// Describes an explanation.
pub fn describe(explained: &Explanation<AccountId>) -> Description {
    let Explanation { training, seats, data, unsettled, .. } = explained;
    Description {
        summary: describe_state(explained),
        training: describe_training(training),
        seats: describe_seats(seats, explained.amount.is_some()),
        data: describe_data(&data.share),
        held: (!unsettled.is_empty()).then(|| describe_unsettled(unsettled)),
    }
}

/// Returns an amount in POL with all its decimals.
pub fn exact_amount(balance: Balance) -> String {
    format!("{} POL", decimal(balance, POL))
}

/// Returns `number` in units of which each has `unit`, a power of ten, without trailing zeros.
fn decimal(number: u128, unit: u128) -> String {
    let digits = usize::try_from(unit.ilog10()).unwrap_or(0);
    let text = format!("{}.{:0digits$}", grouped(number / unit), number % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Returns a number with a comma before every three digits.
fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a figure in billionths of a nat per token.
fn nats(billionths: u128) -> String {
    format!("{} millionths of a nat per token", decimal(billionths, 1_000))
}

/// Returns a number of things, such as `1 round` and `2,000 rounds`.
pub fn plural(count: impl Into<u128>, noun: &str) -> String {
    let count = count.into();
    format!("{} {noun}{}", grouped(count), if count == 1 { "" } else { "s" })
}

fn describe_state(explained: &Explanation<AccountId>) -> String {
    let Explanation { round, now, from, .. } = explained;
    let amount = exact_amount(explained.amount.unwrap_or(0));
    match explained.state {
        RewardState::Future => format!("Round {round} has not begun: round {now} is under way."),
        RewardState::UnderWay => format!("Round {round} is under way, so nothing is decided."),
        RewardState::Void => format!("Round {round} ended without a head, and emitted nothing."),
        RewardState::Unpaid => {
            format!("The head of round {round} includes no update, so the round emitted nothing.")
        }
        RewardState::Unsettled => format!(
            "No amount is known before every update of round {round} is settled. A claim is \
             possible from round {from} on; round {now} is under way."
        ),
        RewardState::Escrow => {
            format!("{amount} are held until round {from}; round {now} is under way.")
        }
        RewardState::Claimable => format!("{amount} can be claimed since round {from}."),
        RewardState::Empty => format!(
            "The chain holds no reward of round {round} for the account: it earned none, has \
             claimed it, or has forfeited it."
        ),
        RewardState::Expired => format!("Rewards of round {round} have expired."),
    }
}

/// Describes the share of a part with a weight.
fn describe_share(share: &PotShare) -> String {
    let pot = exact_amount(share.pot);
    match share.amount {
        Some(amount) => format!("Its share of {pot} is {}.", exact_amount(amount)),
        None => format!("Its share of {pot} follows once the round is settled."),
    }
}

// ---- Training ----

fn describe_training(part: &TrainingPart) -> String {
    let Some(update) = part.update else {
        return "The chain knows no update of the account.".to_owned();
    };
    match part.unpaid() {
        Some(reason) => describe_unpaid(reason, &update),
        None => {
            let score = nats(u128::try_from(update.gain).unwrap_or(0));
            let worth = decimal(part.worth().unwrap_or(0).into(), MILLION.into());
            let (weight, weights) = (grouped(part.share.weight), grouped(part.share.weights));
            format!(
                "Its update trained on {}{}, and improved the model by {score} on text that nobody \
                 was assigned. Kind and quality of its text count {worth}, so its weight is \
                 {weight} of {weights}. {}",
                plural(update.tokens, "token"),
                lateness(&update),
                describe_share(&part.share)
            )
        }
    }
}

fn lateness(update: &UpdateSummary) -> String {
    match update.staleness {
        0 => String::new(),
        late => format!(", came {} late", plural(late, "round")),
    }
}

fn describe_unpaid(reason: Unpaid, update: &UpdateSummary) -> String {
    let UpdateSummary { gain, penalty, .. } = *update;
    let penalty = match penalty {
        0 => String::new(),
        penalty => format!(" The penalty is {}.", exact_amount(penalty)),
    };
    let reason = match reason {
        Unpaid::Waiting => return describe_waiting(update.status).to_owned(),
        Unpaid::NotRevealed => "was committed and never revealed".to_owned(),
        Unpaid::LeftOut => "was revealed, but is not part of the head".to_owned(),
        Unpaid::Invalid => "is not the result of its lease".to_owned(),
        Unpaid::Withheld => "was taken out, since its trainer did not answer the audit".to_owned(),
        Unpaid::Unresolved => "was taken out, since no quorum agreed on a finding".to_owned(),
        Unpaid::Tainted => "was taken out with the one that it continued from".to_owned(),
        Unpaid::NotImproved => {
            let sign = if gain < 0 { "−" } else { "" };
            let size = nats(gain.unsigned_abs().into());
            format!("is valid, but did not improve the model: its gain is {sign}{size}")
        }
        Unpaid::Flagged => {
            "is valid, but its trainer is flagged: its updates improve their own text too little \
             beside other text"
                .to_owned()
        }
        Unpaid::Gone => {
            let score = nats(gain.unsigned_abs().into());
            format!("improved the model by {score}, and the chain holds no reward for it")
        }
    };
    format!("Its update {reason}.{penalty}")
}

fn describe_waiting(status: UpdateStatus) -> &'static str {
    match status {
        UpdateStatus::Leased => "Its lease for the round has no update so far.",
        UpdateStatus::Committed => "Its update is committed, and not revealed.",
        UpdateStatus::Revealed => "Its update is revealed, and not part of a head.",
        UpdateStatus::Included | UpdateStatus::Settled(_) => {
            "Its update is part of the head, and its audit is not settled."
        }
    }
}

// ---- Seats and data ----

fn describe_seats(part: &SeatsPart, is_settled: bool) -> String {
    let SeatsPart { share, open, improved, per_seat } = part;
    let open = match open {
        0 => String::new(),
        open => format!(" It has seats on {} that are not settled.", plural(*open, "update")),
    };
    if share.weight == 0 {
        return format!("No seat of the account counts.{open}");
    }
    let rule = match (improved, is_settled) {
        (true, _) => "The round improved the model, so seats share the whole pot.".to_owned(),
        (false, true) => format!(
            "The round did not improve the model, so a seat earns at most {}.",
            exact_amount(*per_seat)
        ),
        (false, false) => format!(
            "Unless an update improves the model, a seat earns at most {}.",
            exact_amount(*per_seat)
        ),
    };
    format!(
        "It was right about {}, which is {} of {}.{open} {rule} {}",
        plural(share.weight, "update"),
        plural(share.weight, "seat"),
        grouped(share.weights),
        describe_share(share)
    )
}

fn describe_data(share: &PotShare) -> String {
    if share.weight == 0 {
        return "No effect of data of the account counts.".to_owned();
    }
    format!(
        "Its data improved the model by {}, of {} by all data. {}",
        nats(share.weight),
        nats(share.weights),
        describe_share(share)
    )
}

fn describe_unsettled(updates: &[OpenUpdate<AccountId>]) -> String {
    let name = |update: &OpenUpdate<AccountId>| {
        let draw = if update.draw == 0 { "first" } else { "second" };
        let stage = match update.audit {
            Some(audit) => format!("{draw} draw, audit {audit}"),
            None => format!("waits for its {draw} draw"),
        };
        format!("that of {} ({stage})", format_account(&update.trainer))
    };
    let named: Vec<_> = updates.iter().take(NAMED_UPDATES).map(name).collect();
    let more = match updates.len().saturating_sub(named.len()) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let count = plural(updates.len() as u64, "update");
    format!("The round waits for {count}: {}{more}.", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::{explanation::DataPart, recipe::Tier, rewards::Pot, submission::Outcome};
    use proptest::prelude::*;

    fn update(status: UpdateStatus, gain: i32) -> UpdateSummary {
        UpdateSummary {
            status,
            tier: Tier::Miner,
            staleness: 0,
            tokens: 40_960,
            gain,
            flagged: false,
            penalty: 0,
        }
    }

    /// Returns a settled reward of 4.2 POL for training and 0.48 POL for seats.
    fn settled() -> Explanation<AccountId> {
        let share =
            |left, weights, weight| PotShare::new(Pot { left, weight: weights }, weight, true);
        let valid = update(UpdateStatus::Settled(Outcome::Valid), 3_000);
        Explanation {
            account: [1; 32],
            round: 7,
            now: 8,
            state: RewardState::Escrow,
            from: 9,
            amount: Some(468 * POL / 100),
            training: TrainingPart {
                share: share(56 * POL / 10, 3_600_000_000, 2_700_000_000),
                update: Some(UpdateSummary { staleness: 1, ..valid }),
            },
            seats: SeatsPart {
                share: share(144 * POL / 100, 6, 2),
                open: 0,
                improved: true,
                per_seat: POL,
            },
            data: DataPart { share: share(POL, 9, 0) },
            unsettled: Vec::new(),
        }
    }

    #[test]
    fn a_settled_reward_is_described() {
        let text = describe(&settled());
        assert_eq!(text.summary, "4.68 POL are held until round 9; round 8 is under way.");
        assert_eq!(
            text.training,
            "Its update trained on 40,960 tokens, came 1 round late, and improved the model by 3 \
             millionths of a nat per token on text that nobody was assigned. Kind and quality of \
             its text count 0.9, so its weight is 2,700,000,000 of 3,600,000,000. Its share of \
             5.6 POL is 4.2 POL."
        );
        assert_eq!(
            text.seats,
            "It was right about 2 updates, which is 2 seats of 6. The round improved the model, so \
             seats share the whole pot. Its share of 1.44 POL is 0.48 POL."
        );
        assert_eq!(text.data, "No effect of data of the account counts.");
        assert_eq!(text.held, None);
    }

    #[test]
    fn a_reward_that_waits_names_the_updates() {
        let mut waiting = settled();
        (waiting.state, waiting.amount) = (RewardState::Unsettled, None);
        let parts = [&mut waiting.training.share, &mut waiting.seats.share];
        parts.into_iter().for_each(|share| share.amount = None);
        waiting.seats.open = 1;
        waiting.seats.improved = false;
        waiting.training = TrainingPart {
            share: PotShare::default(),
            update: Some(update(UpdateStatus::Included, 0)),
        };
        let open = |draw, audit| OpenUpdate { trainer: [2; 32], draw, audit };
        waiting.unsettled = vec![open(0, Some(5)), open(1, None)];
        let text = describe(&waiting);
        assert!(text.summary.contains("before every update of round 7 is settled"));
        assert_eq!(text.training, "Its update is part of the head, and its audit is not settled.");
        assert!(text.seats.contains("seats on 1 update that are not settled. Unless an update"));
        assert!(text.seats.ends_with("Its share of 1.44 POL follows once the round is settled."));
        let held = text.held.unwrap();
        assert!(held.starts_with("The round waits for 2 updates: that of 5"), "{held}");
        assert!(held.contains("(first draw, audit 5)"), "{held}");
        assert!(held.ends_with("(waits for its second draw)."), "{held}");
        waiting.unsettled = vec![open(0, None); 64];
        assert!(describe(&waiting).held.unwrap().ends_with(", and 56 more."));
    }

    #[test]
    fn every_reason_without_pay_is_described() {
        let text = |status, gain, penalty| {
            let update = UpdateSummary { penalty, ..update(status, gain) };
            describe_training(&TrainingPart { share: PotShare::default(), update: Some(update) })
        };
        let settled = UpdateStatus::Settled;
        for (status, gain, words) in [
            (settled(Outcome::NoShow), 0, "never revealed"),
            (settled(Outcome::Excluded), 0, "not part of the head"),
            (settled(Outcome::Invalid), 0, "not the result of its lease"),
            (settled(Outcome::Withheld), 0, "did not answer"),
            (settled(Outcome::Unresolved), 0, "no quorum"),
            (settled(Outcome::Tainted), 5, "continued from"),
            (settled(Outcome::Valid), -1_500, "its gain is −1.5 millionths"),
            (settled(Outcome::Valid), 5, "improved the model by 0.005 millionths"),
            (UpdateStatus::Leased, 0, "has no update so far"),
            (UpdateStatus::Committed, 0, "not revealed"),
            (UpdateStatus::Revealed, 0, "not part of a head"),
        ] {
            assert!(text(status, gain, 0).contains(words), "{status:?}: {}", text(status, gain, 0));
        }
        let fined = text(settled(Outcome::Invalid), 0, 900 * POL);
        assert!(fined.ends_with(" The penalty is 900 POL."), "{fined}");
        let none = describe_training(&TrainingPart::default());
        assert_eq!(none, "The chain knows no update of the account.");
    }

    #[test]
    fn every_stage_is_described() {
        let text = |state| describe_state(&Explanation { state, ..settled() });
        for (state, words) in [
            (RewardState::Future, "Round 7 has not begun"),
            (RewardState::UnderWay, "is under way, so nothing is decided"),
            (RewardState::Void, "without a head"),
            (RewardState::Unpaid, "includes no update"),
            (RewardState::Claimable, "4.68 POL can be claimed since round 9"),
            (RewardState::Empty, "holds no reward of round 7"),
            (RewardState::Expired, "have expired"),
        ] {
            assert!(text(state).contains(words), "{}", text(state));
        }
    }

    #[test]
    fn amounts_are_exact() {
        assert_eq!(exact_amount(0), "0 POL");
        assert_eq!(exact_amount(1_000 * POL), "1,000 POL");
        assert_eq!(exact_amount(1), "0.000000000001 POL");
        assert_eq!(exact_amount(Balance::MAX).len(), 52);
        assert_eq!(nats(1_234_567), "1,234.567 millionths of a nat per token");
    }

    proptest! {
        #[test]
        fn no_figures_lead_to_a_panic(
            (weight, weights, pot, amount) in any::<(u128, u128, Balance, Option<Balance>)>(),
            (gain, tokens) in any::<(i32, u64)>(),
        ) {
            let share = PotShare { weight, weights, pot, amount };
            let valid = update(UpdateStatus::Settled(Outcome::Valid), gain);
            let explained = Explanation {
                amount,
                training: TrainingPart { share, update: Some(UpdateSummary { tokens, ..valid }) },
                seats: SeatsPart { share, per_seat: pot, ..settled().seats },
                data: DataPart { share },
                ..settled()
            };
            prop_assert!(describe(&explained).seats.ends_with('.'));
        }
    }
}
