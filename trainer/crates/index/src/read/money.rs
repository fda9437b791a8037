// SPDX-License-Identifier: Apache-2.0

//! Balances, bonds, rewards and penalties.

use super::BlockReader;
use crate::facts::{
    Emission, Movement, MovementKind, Payment, PaymentKind, Penalty, PenaltyCause, Reward,
    RewardSource, SettledRound,
};
use pol_chain::{AccountId, ChainError, ChainEvent};
use pol_primitives::{
    Balance, RoundNumber,
    audit::AuditId,
    rewards::{EmissionShares, RoundEarnings, RoundPool},
};

impl BlockReader {
    /// Notes an event about money, which the extrinsic with this index caused.
    pub(super) fn note_money(&mut self, event: &ChainEvent, extrinsic: Option<u32>) {
        self.note_balance(event, extrinsic);
        self.note_membership(event);
        self.note_payment(event);
        self.note_penalty(event);
    }

    fn note_balance(&mut self, event: &ChainEvent, extrinsic: Option<u32>) {
        match *event {
            ChainEvent::ReserveMoved { from, to, .. } => self.accounts.extend([from, to]),
            ChainEvent::BalanceChanged { who, .. } => {
                self.accounts.insert(who);
            }
            _ => {}
        }
        for movement in movements(event, extrinsic) {
            self.note_movement(&movement);
        }
    }

    fn note_membership(&mut self, event: &ChainEvent) {
        match *event {
            ChainEvent::Bonded { who, .. }
            | ChainEvent::BondRaised { who, .. }
            | ChainEvent::Unbonded { who, .. }
            | ChainEvent::BondWithdrawn { who, .. }
            | ChainEvent::StakeChanged { who, .. }
            | ChainEvent::MemberChanged { who }
            | ChainEvent::Barred { who, .. }
            | ChainEvent::Slashed { who, .. }
            | ChainEvent::Seized { who, .. } => {
                self.members.insert(who);
            }
            _ => {}
        }
    }

    fn note_payment(&mut self, event: &ChainEvent) {
        let payment = match *event {
            ChainEvent::Escrowed { round, shares } => {
                let EmissionShares { trainers, validators, providers, treasury } = shares;
                self.facts.push(&Emission { round, trainers, validators, providers, treasury });
                None
            }
            ChainEvent::RoundSettled { round, unearned } => {
                self.settled_rounds.push((round, unearned));
                None
            }
            ChainEvent::FineBurned { .. } => None,
            ChainEvent::Claimed { who, round, amount } => {
                self.claims.push((who, round, amount));
                Some((Some(who), PaymentKind::Claimed, Some(round), amount))
            }
            ChainEvent::Forfeited { who, amount, .. } => {
                Some((Some(who), PaymentKind::Forfeited, None, amount))
            }
            ChainEvent::Expired { round, amount } => {
                Some((None, PaymentKind::Expired, Some(round), amount))
            }
            _ => return,
        };
        self.is_ledger_changed = true;
        if let Some((account, kind, round, amount)) = payment {
            self.facts.push(&Payment { account, kind, round, amount });
        }
    }

    /// Notes a penalty, or the reason of one, which the chain states after it.
    fn note_penalty(&mut self, event: &ChainEvent) {
        let cause = PenaltyCause::Other;
        let penalty = |account, amount, seized| Penalty {
            account,
            cause,
            round: None,
            audit: None,
            amount,
            seized,
        };
        match *event {
            ChainEvent::Slashed { who, amount } => self.penalties.push(penalty(who, amount, false)),
            ChainEvent::Seized { who, amount, .. } => {
                self.penalties.push(penalty(who, amount, true));
            }
            ChainEvent::Fined { audit, account, amount } if amount > 0 => {
                self.explain(account, PenaltyCause::Audit, None, Some(audit));
            }
            ChainEvent::WrongRoot { account, round, amount } if amount > 0 => {
                self.explain(account, PenaltyCause::WrongRoot, Some(round), None);
            }
            ChainEvent::Concluded { account, round, .. } => {
                self.explain(account, PenaltyCause::Lease, Some(round), None);
            }
            ChainEvent::Settled { audit, round, .. } => {
                let of_audit = self.penalties.iter_mut().filter(|one| one.audit == Some(audit));
                of_audit.for_each(|penalty| penalty.round = Some(round));
            }
            _ => {}
        }
    }

    /// Gives the last penalty of an account that has no reason its reason.
    fn explain(
        &mut self,
        account: AccountId,
        cause: PenaltyCause,
        round: Option<RoundNumber>,
        audit: Option<AuditId>,
    ) {
        let is_open =
            |one: &&mut Penalty| one.account == account && one.cause == PenaltyCause::Other;
        if let Some(penalty) = self.penalties.iter_mut().rev().find(is_open) {
            (penalty.cause, penalty.round, penalty.audit) = (cause, round, audit);
        }
    }

    /// Adds the rewards of the rounds that the block settled.
    pub(super) async fn add_rewards(&mut self) -> Result<(), ChainError> {
        for (round, unearned) in std::mem::take(&mut self.settled_rounds) {
            let pool = self.here.round_pool(round).await?.unwrap_or_default();
            self.facts.push(&settled_round(round, unearned, &pool));
            for (account, earned) in self.here.round_earnings(round).await? {
                for (source, weight, amount) in parts(&pool, &earned) {
                    self.facts.push(&Reward { round, account, source, weight, amount });
                }
            }
            // What was claimed in the same block has left the state.
            for (account, of, amount) in &self.claims {
                if *of == round {
                    self.facts.push(&Reward {
                        round,
                        account: *account,
                        source: RewardSource::Undivided,
                        weight: 0,
                        amount: *amount,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Returns the changes of balances that an event tells, which the extrinsic with this index caused.
fn movements(event: &ChainEvent, extrinsic: Option<u32>) -> Vec<Movement> {
    use MovementKind::{
        Burned, Fee, Held, HeldBurned, HeldReceived, HeldSent, Minted, Received, Released, Sent,
    };
    let movement =
        |account, kind, amount, other| Movement { account, kind, amount, other, extrinsic };
    let own = |account, kind, amount| vec![movement(account, kind, amount, None)];
    let transfer = |from: AccountId, to, amount, [sent, received]: [MovementKind; 2]| {
        vec![movement(from, sent, amount, Some(to)), movement(to, received, amount, Some(from))]
    };
    match *event {
        ChainEvent::Transferred { from, to, amount } => {
            transfer(from, to, amount, [Sent, Received])
        }
        ChainEvent::HeldMoved { from, to, amount, .. } => {
            transfer(from, to, amount, [HeldSent, HeldReceived])
        }
        ChainEvent::Minted { who, amount } => own(who, Minted, amount),
        ChainEvent::Burned { who, amount } => own(who, Burned, amount),
        ChainEvent::Held { who, amount, .. } => own(who, Held, amount),
        ChainEvent::Released { who, amount, .. } => own(who, Released, amount),
        ChainEvent::HeldBurned { who, amount, .. } => own(who, HeldBurned, amount),
        // It includes the tip.
        ChainEvent::FeePaid { who, fee, .. } if fee > 0 => own(who, Fee, fee),
        _ => Vec::new(),
    }
}

/// Returns a weight that fits its column.
fn narrow(weight: u128) -> u64 {
    u64::try_from(weight).unwrap_or(u64::MAX)
}

fn settled_round(round: RoundNumber, unearned: Balance, pool: &RoundPool) -> SettledRound {
    let RoundPool { trainers, validators, providers, improved, .. } = *pool;
    SettledRound {
        round,
        unearned,
        trainers: trainers.left,
        trainers_weight: narrow(trainers.weight),
        validators: validators.left,
        validators_weight: narrow(validators.weight),
        providers: providers.left,
        providers_weight: narrow(providers.weight),
        improved,
    }
}

/// Returns the kinds of work that earned something, with their weights and amounts.
fn parts(
    pool: &RoundPool,
    earned: &RoundEarnings,
) -> impl Iterator<Item = (RewardSource, u64, Balance)> + use<> {
    let RoundEarnings { training, seats, effect } = *earned;
    let parts = [
        (RewardSource::Training, training, pool.trainers),
        (RewardSource::Seats, seats.into(), pool.validators),
        (RewardSource::Data, effect.into(), pool.providers),
    ];
    parts
        .into_iter()
        .filter(|(_, weight, _)| *weight > 0)
        .map(|(source, weight, pot)| (source, narrow(weight), pot.share(weight)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::rewards::Pot;

    #[test]
    fn fees_and_both_ends_of_transfers_change_balances() {
        let who = [1; 32];
        let fee = |fee| ChainEvent::FeePaid { who, fee, tip: 2 };
        let paid = movements(&fee(7), Some(3));
        let expected = Movement {
            account: who,
            kind: MovementKind::Fee,
            amount: 7,
            other: None,
            extrinsic: Some(3),
        };
        assert_eq!(paid, [expected]);
        assert_eq!(movements(&fee(0), Some(3)), []);
        let transfer = ChainEvent::Transferred { from: who, to: [2; 32], amount: 5 };
        let kinds: Vec<_> = movements(&transfer, None).iter().map(|one| one.kind).collect();
        assert_eq!(kinds, [MovementKind::Sent, MovementKind::Received]);
    }

    #[test]
    fn earnings_are_divided_by_kind_of_work() {
        let pot = |left, weight| Pot { left, weight };
        let pool = RoundPool {
            trainers: pot(100, 4),
            validators: pot(60, 6),
            providers: pot(9, 3),
            ..RoundPool::default()
        };
        let earned = RoundEarnings { training: 1, seats: 2, effect: 0 };
        let parts: Vec<_> = parts(&pool, &earned).collect();
        assert_eq!(parts, [(RewardSource::Training, 1, 25), (RewardSource::Seats, 2, 20)]);
        let sum: Balance = parts.iter().map(|(_, _, amount)| amount).sum();
        assert_eq!(sum, pool.share(&earned));
    }
}
