// SPDX-License-Identifier: Apache-2.0

//! Events of the chain, as lines for people and as the last actions of members.

use crate::display::{account_name, format_amount, role_name, short_hash};
use pol_chain::{AccountId, ChainEvent};
use pol_primitives::{MILLION, submission::Outcome};

/// Weight of an event, which chooses its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// Work as usual.
    Plain,
    /// The model moved, or somebody was paid.
    Good,
    /// Something failed, or somebody lost money.
    Bad,
}

/// Returns the line of an event, or `None` for one that is not shown.
pub(super) fn line_of(event: &ChainEvent) -> Option<(Tone, String)> {
    round_line(event).or_else(|| audit_line(event)).or_else(|| money_line(event))
}

fn round_line(event: &ChainEvent) -> Option<(Tone, String)> {
    Some(match event {
        ChainEvent::RoundOpened { number, .. } => (Tone::Plain, format!("round {number} opened")),
        ChainEvent::Leased { account, due_round, shards } => (
            Tone::Plain,
            format!("{} leased {shards} shards for round {due_round}", account_name(account)),
        ),
        ChainEvent::Committed { account, round } => {
            (Tone::Plain, format!("{} committed to round {round}", account_name(account)))
        }
        ChainEvent::Revealed { account, round, .. } => {
            (Tone::Plain, format!("{} revealed its update of round {round}", account_name(account)))
        }
        ChainEvent::Attested { account, round, root } => (
            Tone::Plain,
            format!("{} attested {} for round {round}", account_name(account), short_hash(root)),
        ),
        ChainEvent::HeadAdvanced { head } => (
            Tone::Good,
            format!("round {} moved the model to {}", head.round, short_hash(&head.root)),
        ),
        ChainEvent::HeadMeasured { round, measured } => {
            let loss = f64::from(measured.metrics.loss) / f64::from(MILLION);
            (Tone::Good, format!("the model of round {round} has the loss {loss:.4}"))
        }
        ChainEvent::RoundVoid { number } => (Tone::Bad, format!("round {number} is void")),
        ChainEvent::PlaceLost { account, due_round } => {
            (Tone::Bad, format!("{} lost its place in round {due_round}", account_name(account)))
        }
        ChainEvent::WrongRoot { account, round, amount } => (
            Tone::Bad,
            format!(
                "{} attested a wrong head in round {round} and lost {}",
                account_name(account),
                format_amount(*amount)
            ),
        ),
        _ => return None,
    })
}

fn audit_line(event: &ChainEvent) -> Option<(Tone, String)> {
    Some(match event {
        ChainEvent::AuditDrawn { audit, round, cases, .. } => {
            (Tone::Plain, format!("audit {audit} of {cases} updates of round {round} was drawn"))
        }
        ChainEvent::Settled { audit, account, round, outcome, .. } => (
            if outcome.stays() { Tone::Good } else { Tone::Bad },
            format!(
                "audit {audit}: the update of {} in round {round} {}",
                account_name(account),
                finding(*outcome)
            ),
        ),
        ChainEvent::SeatFailed { audit, account, trainer } => (
            Tone::Bad,
            format!(
                "audit {audit}: {} failed its seat on the update of {}",
                account_name(account),
                account_name(trainer)
            ),
        ),
        ChainEvent::AuditEnded { audit } => (Tone::Plain, format!("audit {audit} ended")),
        _ => return None,
    })
}

fn money_line(event: &ChainEvent) -> Option<(Tone, String)> {
    Some(match event {
        ChainEvent::Bonded { who, role, amount } => (
            Tone::Plain,
            format!(
                "{} bonded {} as a {}",
                account_name(who),
                format_amount(*amount),
                role_name(*role)
            ),
        ),
        ChainEvent::Unbonded { who, .. } => {
            (Tone::Plain, format!("{} is leaving", account_name(who)))
        }
        ChainEvent::Slashed { who, amount } => {
            (Tone::Bad, format!("{} was slashed {}", account_name(who), format_amount(*amount)))
        }
        ChainEvent::Seized { who, amount, .. } => (
            Tone::Bad,
            format!("{} of the bond of {} were seized", format_amount(*amount), account_name(who)),
        ),
        ChainEvent::Barred { who, until } => {
            (Tone::Bad, format!("{} is barred until block {until}", account_name(who)))
        }
        ChainEvent::Escrowed { round, shares } => (
            Tone::Plain,
            format!("round {round} emitted {} into escrow", format_amount(shares.total())),
        ),
        ChainEvent::Claimed { who, round, amount } => (
            Tone::Good,
            format!("{} was paid {} for round {round}", account_name(who), format_amount(*amount)),
        ),
        ChainEvent::Forfeited { who, amount, .. } => (
            Tone::Bad,
            format!("{} forfeited {} in escrow", account_name(who), format_amount(*amount)),
        ),
        ChainEvent::ManifestAdmitted { manifest, .. } => {
            (Tone::Plain, format!("manifest {manifest} was admitted"))
        }
        _ => return None,
    })
}

/// Returns the finding of an audit, as the end of a sentence about an update.
fn finding(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NoShow => "was never revealed",
        Outcome::Excluded => "was left out",
        Outcome::Valid => "is valid",
        Outcome::Invalid => "is invalid, taken out",
        Outcome::Withheld => "was not shown, taken out",
        Outcome::Unresolved => "found no quorum, taken out",
        Outcome::Tainted => "continued another, taken out",
    }
}

/// Returns the member that an event is an action of, and the action.
pub(super) fn action_of(event: &ChainEvent) -> Option<(AccountId, String)> {
    Some(match event {
        ChainEvent::Leased { account, due_round, shards } => {
            (*account, format!("leased {shards} shards for round {due_round}"))
        }
        ChainEvent::Committed { account, round } => (*account, format!("committed to {round}")),
        ChainEvent::Revealed { account, round, .. } => (*account, format!("revealed {round}")),
        ChainEvent::HeldReported { account, round, .. } => {
            (*account, format!("reported the updates of {round}"))
        }
        ChainEvent::Attested { account, round, .. } => (*account, format!("attested {round}")),
        ChainEvent::HeadReported { account, round } => (*account, format!("measured {round}")),
        ChainEvent::StatesServed { audit, account } => {
            (*account, format!("served states to audit {audit}"))
        }
        ChainEvent::SegmentsOpened { audit, account } => {
            (*account, format!("opened segments for audit {audit}"))
        }
        ChainEvent::AuditCommitted { audit, account } => {
            (*account, format!("replayed for audit {audit}"))
        }
        ChainEvent::AuditRevealed { audit, account } => {
            (*account, format!("gave its finding in audit {audit}"))
        }
        ChainEvent::Slashed { who, amount } | ChainEvent::Seized { who, amount, .. } => {
            (*who, format!("lost {}", format_amount(*amount)))
        }
        ChainEvent::Claimed { who, amount, .. } => {
            (*who, format!("was paid {}", format_amount(*amount)))
        }
        ChainEvent::Bonded { who, .. } => (*who, "bonded".to_owned()),
        ChainEvent::Unbonded { who, .. } => (*who, "is leaving".to_owned()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::POL;

    #[test]
    fn events_are_told_in_words() {
        let account = [7; 32];
        let name = account_name(&account);
        let settled =
            |outcome| ChainEvent::Settled { audit: 3, account, round: 2, outcome, score: 0 };
        for (event, tone, line) in [
            (
                settled(Outcome::Valid),
                Tone::Good,
                "audit 3: the update of NAME in round 2 is valid",
            ),
            (
                settled(Outcome::Invalid),
                Tone::Bad,
                "audit 3: the update of NAME in round 2 is invalid, taken out",
            ),
            (
                ChainEvent::Seized { who: account, amount: 900 * POL, to: [1; 32] },
                Tone::Bad,
                "900 POL of the bond of NAME were seized",
            ),
            (ChainEvent::Committed { account, round: 5 }, Tone::Plain, "NAME committed to round 5"),
        ] {
            assert_eq!(line_of(&event), Some((tone, line.replace("NAME", &name))));
        }
        assert_eq!(line_of(&ChainEvent::SourceWithdrawn { source: 1 }), None);
    }

    #[test]
    fn events_are_actions_of_members() {
        let account = [7; 32];
        let action = action_of(&ChainEvent::Committed { account, round: 5 });
        assert_eq!(action, Some((account, "committed to 5".to_owned())));
        assert_eq!(action_of(&ChainEvent::RoundVoid { number: 5 }), None);
    }
}
