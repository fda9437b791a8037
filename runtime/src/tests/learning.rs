// SPDX-License-Identifier: Apache-2.0

//! Whole rounds: data, training, heads, audits, settlements, claims and excisions.

use super::{
    network::{Learning, TestNetwork},
    *,
};
use alloc::collections::BTreeMap;
use frame_support::traits::fungible::Inspect;
use pol_primitives::{
    RoundNumber,
    audit::{Case, MEASURED_SHARDS},
    data::{ShardId, ShardRecord},
    explanation::{Explanation, RewardState, Unpaid, UpdateStatus},
    head::{Excision, Head},
    lease::Lease,
    member::UPDATE_LOCK,
    recipe::Tier,
    rewards::{EmissionSchedule, EmissionShares},
    submission::{Outcome, SubmissionStatus},
};
use sp_runtime::traits::AccountIdConversion;

type RewardsCall = pallet_pol_rewards::Call<Runtime>;
type RewardsError = pallet_pol_rewards::Error<Runtime>;
type RewardsEvent = pallet_pol_rewards::Event<Runtime>;

/// Gain of the first trainer's update in round 1, in billionths of a nat per token.
const FIRST_GAIN: i32 = 3_000;
/// Gain of the second trainer's update in round 1.
const SECOND_GAIN: i32 = 1_000;

fn outcomes(round: RoundNumber) -> BTreeMap<AccountId, Outcome> {
    ProofOfLearning::history(round)
        .into_iter()
        .map(|(account, settled)| (account, settled.outcome))
        .collect()
}

/// Returns the emission of a round: one POL for each block since the round before.
fn emitted(round: RoundNumber) -> EmissionShares {
    let end = |round| ProofOfLearning::round_record(round).unwrap().concluded_at;
    let blocks = end(round) - end(round - 1);
    assert!((1..100).contains(&blocks));
    EmissionSchedule::default().divide(Balance::from(blocks) * POL)
}

fn has_event(event: impl Into<RuntimeEvent>) -> bool {
    let event = event.into();
    System::events().iter().any(|record| record.event == event)
}

/// Returns the treasury's account.
fn treasury() -> AccountId {
    frame_support::PalletId(*b"pol/trsy").into_account_truncating()
}

fn claim(round: RoundNumber) -> RuntimeCall {
    RewardsCall::claim { round }.into()
}

/// Returns the explanation of an account's reward of round 1, whose parts add up.
fn explain(who: &AccountId) -> Explanation<AccountId> {
    let explained = Rewards::explain(who.clone(), 1);
    let Explanation { training, seats, data, .. } = &explained;
    let parts = [training.share, seats.share, data.share];
    let sum: Option<Balance> = parts.iter().map(|share| share.amount).sum();
    assert_eq!(sum, explained.amount);
    explained
}

/// Network of three validators and two trainers, and the emission of its first round.
struct PaidRound {
    network: TestNetwork,
    trainers: [AccountId; 2],
    /// Issuance before the first round.
    issuance: Balance,
    shares: EmissionShares,
}

/// Checks the total issuance, of which only burned fees may be missing.
fn assert_issued(expected: Balance) {
    let missing = expected.checked_sub(Balances::total_issuance());
    assert!(missing.is_some_and(|fees| fees < POL), "{missing:?} of {expected} are missing");
}

impl PaidRound {
    fn new() -> Self {
        let issuance = Balances::total_issuance();
        let network = TestNetwork::new(3, 2);
        let trainers = [0, 1].map(|at| account(&network.trainers[at]));
        Self { network, trainers, issuance, shares: EmissionShares::default() }
    }

    /// Trains round 1, and checks the new head and the emission. Returns the trainers' leases.
    fn train(&mut self) -> [Lease; 2] {
        let first = ProofOfLearning::overview().head.expect("round zero is attested");
        assert_eq!((first.round, first.root, first.tokens), (0, [6; 32], 0));
        assert_eq!(first.recipe_hash, recipe().hash());
        assert_eq!(ProofOfLearning::recipe_by_hash(first.recipe_hash), Some(recipe()));

        assert_eq!(self.network.learn(&[0, 1]), 1);
        self.shares = emitted(1);
        let leases = self
            .trainers
            .each_ref()
            .map(|trainer| ProofOfLearning::audited_lease(1, trainer).unwrap());
        for lease in &leases {
            assert_eq!((lease.base_root, lease.shards.len()), (first.root, 10));
        }
        let shared = leases[0].shards.iter().any(|shard| leases[1].shards.contains(shard));
        assert!(!shared, "no shard is leased twice");
        let head = ProofOfLearning::overview().head.unwrap();
        assert_eq!((head.round, head.root, head.tokens), (1, [1; 32], 2 * 40_960));
        let updates = ProofOfLearning::updates(1);
        assert_eq!(head, Head::next(Some(&first), 1, head.root, head.recipe_hash, &updates, &[]));
        let record = ProofOfLearning::round_record(1).unwrap();
        assert_eq!(record.head, Some(head));
        assert_eq!((record.included.len(), record.excised.len()), (2, 0));
        for (_, submission) in ProofOfLearning::submissions(1) {
            assert_eq!(submission.status, SubmissionStatus::Included);
        }

        assert_issued(self.issuance + self.shares.total());
        let funded = self.shares.treasury + EXISTENTIAL_DEPOSIT;
        assert_eq!(Balances::balance(&treasury()), funded);
        let ledger = Rewards::ledger();
        assert_eq!((ledger.emitted, ledger.paid), (self.shares.total(), self.shares.treasury));
        assert_eq!(ledger.burned, 0);
        leases
    }

    /// Checks that rewards of round 1 wait for both updates.
    fn check_unsettled(&self) {
        let explained = explain(&self.trainers[0]);
        assert_eq!((explained.state, explained.amount), (RewardState::Unsettled, None));
        assert_eq!(explained.training.unpaid(), Some(Unpaid::Waiting));
        assert_eq!(explained.training.share.pot, self.shares.trainers);
        let waits = explained.unsettled.into_iter().map(|update| (update.trainer, update.audit));
        let trainers = self.trainers.iter().map(|trainer| (trainer.clone(), None));
        assert_eq!(waits.collect::<BTreeMap<_, _>>(), trainers.collect());
    }

    /// Checks the measured work behind the rewards of round 1, which are held until round 3.
    fn check_measured(&self) {
        let worth = self.trainers.each_ref().map(|trainer| {
            let explained = explain(trainer);
            assert_eq!((explained.state, explained.from), (RewardState::Escrow, 3));
            let update = explained.training.update.unwrap();
            assert_eq!(update.status, UpdateStatus::Settled(Outcome::Valid));
            assert_eq!((update.tokens, update.staleness), (40_960, 0));
            let score = u128::try_from(update.gain).unwrap();
            let worth = explained.training.worth().unwrap();
            assert_eq!(score * u128::from(worth), explained.training.share.weight);
            worth
        });
        assert_eq!(worth[0], worth[1], "both trained on the same kind of text");
        let validator = explain(&account(&self.network.validators[0]));
        let seats = validator.seats;
        assert_eq!((seats.share.weight, seats.share.weights, seats.open), (2, 6, 0));
        assert!(seats.improved && validator.training.update.is_none());
        let provider = explain(&account(&self.network.alice)).data.share;
        assert!(provider.weight > 0 && provider.weight == provider.weights);
    }

    /// Audits and settles round 1. The first trainer's update has three times the gain of the
    /// second one's.
    fn audit(&mut self) {
        let first = self.trainers[0].clone();
        let before = Balances::balance(&first);
        let gain =
            |case: &Case<AccountId>| if case.trainer == first { FIRST_GAIN } else { SECOND_GAIN };
        let audit = self.network.audit(|case, update| update.replayed(case, gain(case)));
        assert!(Balances::balance(&first) < before, "serving and opening cost fees");
        assert_eq!((audit.1.round, audit.1.draw), (1, 0));
        assert_eq!((audit.1.cases.len(), audit.1.holders.len(), audit.1.probe.len()), (2, 3, 4));
        self.network.settle(audit);
        assert!(has_event(RewardsEvent::RoundSettled { round: 1, unearned: 0 }));
        let valid = self.trainers.iter().map(|trainer| (trainer.clone(), Outcome::Valid));
        assert_eq!(outcomes(1), valid.collect());
        assert_eq!(ProofOfLearning::submissions(1), []);
        assert_eq!(ProofOfLearning::audits(0), []);
    }

    /// Checks the standing of the trainers and the records of the shards after round 1.
    fn check_lineage(&self, leases: &[Lease; 2]) {
        let manifest = Lineage::manifest(0).unwrap();
        assert_eq!((manifest.free, manifest.leased, manifest.consumed), (SHARDS - 20, 0, 20));
        let revealed = ProofOfLearning::round_record(1).unwrap().revealed;
        let deltas = [FIRST_GAIN, SECOND_GAIN];
        for ((trainer, lease), delta) in self.trainers.iter().zip(leases).zip(deltas) {
            let standing = ProofOfLearning::standing(trainer);
            assert_eq!(standing.carry, self.network.carries[trainer].hash());
            assert_eq!(standing.carry_round, 1);
            assert_eq!(ProofOfLearning::audited_lease(1, trainer), None);
            let index = revealed.iter().position(|account| account == trainer).unwrap() as u8;
            for (place, &shard) in lease.shards.iter().enumerate() {
                let delta = if place < MEASURED_SHARDS { delta } else { 0 };
                let record = Some(ShardRecord { round: 1, index, delta });
                assert_eq!(Lineage::shard_record(shard), record);
            }
        }
        let untouched = (0..SHARDS)
            .map(|index| ShardId { manifest: 0, index })
            .filter(|&shard| Lineage::shard_record(shard).is_none());
        assert_eq!(untouched.count(), 40);
    }

    /// Trains and settles round 2, after which the escrow of round 1 is over.
    fn pass_escrow(&mut self) {
        let early =
            self.network.chain.try_block(vec![(self.network.trainers[0].clone(), claim(1))]);
        assert_eq!(early, [Err(RewardsError::TooEarly.into())]);
        assert_eq!(self.network.learn(&[0, 1]), 2);
        for trainer in &self.trainers {
            let lease = ProofOfLearning::audited_lease(2, trainer).unwrap();
            let update = &self.network.updates[&(1, trainer.clone())];
            assert_eq!((lease.carry, lease.carry_round), (update.carry.hash(), 1));
        }
        let audit = self.network.audit(|case, update| update.replayed(case, 500));
        self.network.settle(audit);
        self.network.chain.until(Phase::Train);
        assert_eq!(ProofOfLearning::overview().round.number, 3);
    }

    /// Claims all rewards of round 1, and checks that they are paid exactly.
    fn claim_all(&mut self) {
        let [first, second] = [0, 1].map(|at| self.network.trainers[at].clone());
        let mut rewards = vec![
            (first.clone(), self.shares.trainers / 4 * 3),
            (second, self.shares.trainers / 4),
            (self.network.alice.clone(), self.shares.providers),
        ];
        let seat = self.shares.validators / 3;
        rewards.extend(self.network.validators.iter().map(|pair| (pair.clone(), seat)));
        for (pair, amount) in &rewards {
            let reward = Rewards::pending_rewards(account(pair))
                .into_iter()
                .find(|reward| reward.round == 1)
                .unwrap();
            assert_eq!((reward.amount, reward.from), (Some(*amount), 3));
            let explained = explain(&account(pair));
            assert_eq!(
                (explained.state, explained.amount),
                (RewardState::Claimable, Some(*amount))
            );
        }
        let before = Balances::balance(&self.trainers[1]);
        self.network.chain.block(rewards.iter().map(|(pair, _)| (pair.clone(), claim(1))));
        for (pair, amount) in rewards {
            assert!(has_event(RewardsEvent::Claimed { who: account(&pair), round: 1, amount }));
        }
        let fee = before + self.shares.trainers / 4 - Balances::balance(&self.trainers[1]);
        assert!(fee > 0 && fee < POL / 100, "{fee}");
        assert_eq!(Rewards::pool(1), None, "every share is claimed");
        assert_eq!(explain(&self.trainers[0]).state, RewardState::Empty);
        let alice = account(&self.network.alice);
        let rewards: Vec<_> =
            Rewards::pending_rewards(alice).iter().map(|reward| reward.round).collect();
        assert_eq!(rewards, [2]);
        let again = self.network.chain.try_block(vec![(first, claim(1))]);
        assert_eq!(again, [Err(RewardsError::NothingToClaim.into())]);
    }

    /// Checks the totals after two rounds: round 1 is paid, and of round 2 the treasury's share.
    fn check_totals(&self) {
        let (first, second) = (self.shares.total(), emitted(2));
        let ledger = Rewards::ledger();
        let all = first + second.total();
        assert_eq!((ledger.emitted, ledger.seized, ledger.burned), (all, 0, 0));
        let paid = first + second.treasury;
        assert_eq!((ledger.paid, ledger.waiting), (paid, all - paid));
        assert_issued(self.issuance + ledger.emitted - ledger.burned);
    }
}

#[test]
fn a_round_is_trained_audited_paid_and_recorded() {
    genesis(DEV).execute_with(|| {
        let mut round = PaidRound::new();
        let leases = round.train();
        round.check_unsettled();
        round.audit();
        round.check_measured();
        round.check_lineage(&leases);
        round.pass_escrow();
        round.claim_all();
        round.check_totals();
    });
}

/// Network of three validators, an honest trainer and a cheat, after the audit of round 1.
struct RefutedRound {
    network: TestNetwork,
    honest: AccountId,
    cheat: AccountId,
    /// Index of the cheat's update among the reveals of round 1.
    index: u8,
    /// Issuance before the first round.
    issuance: Balance,
    /// Balances of the validators before the audit.
    validators: Vec<Balance>,
}

impl RefutedRound {
    /// Part of the cheat's bond that was locked for the update.
    const FINE: Balance = UPDATE_LOCK;

    /// Trains and audits round 1. Three replays of the cheat's segment give the same other state.
    fn new() -> Self {
        let issuance = Balances::total_issuance();
        let mut network = TestNetwork::new(3, 2);
        let (honest, cheat) = (account(&network.trainers[0]), account(&network.trainers[1]));
        network.learn(&[0, 1]);
        let record = ProofOfLearning::round_record(1).unwrap();
        let index = record.revealed.iter().position(|account| *account == cheat).unwrap() as u8;
        let balance = |pair: &sr25519::Pair| Balances::balance(&account(pair));
        let validators = network.validators.iter().map(balance).collect();
        // The first draw only acquits, so the cheat's update is drawn a second time.
        for draw in 0..2 {
            let audit = network.audit(|case, update| {
                if case.trainer == cheat {
                    update.refuted(case)
                } else {
                    update.replayed(case, SECOND_GAIN)
                }
            });
            assert_eq!(audit.1.draw, draw);
            network.settle(audit);
        }
        Self { network, honest, cheat, index, issuance, validators }
    }

    fn check_penalty(&self) {
        let (honest, cheat) = (self.honest.clone(), self.cheat.clone());
        let expected = [(honest.clone(), Outcome::Valid), (cheat.clone(), Outcome::Invalid)];
        assert_eq!(outcomes(1), expected.into());
        assert!(has_event(pallet_pol_staking::Event::Seized {
            who: cheat.clone(),
            amount: Self::FINE,
            to: Rewards::pot_account()
        }));
        let smallest = Role::Trainer.minimum_bond();
        assert_eq!(PolStaking::member(cheat.clone()).unwrap().bond, smallest - Self::FINE);
        assert_eq!(
            Balances::total_balance(&cheat) / POL,
            (presets_of::ENDOWMENT - Self::FINE) / POL - 1,
            "the fine and some fees are gone"
        );
        assert_eq!(ProofOfLearning::standing(&cheat).carry, [0; 32]);
        assert_eq!(PolStaking::member(honest).unwrap().bond, smallest);
    }

    /// Checks that the fine is burned, and that neither seats nor treasury gained by it.
    fn check_burning(&self) {
        for (validator, before) in self.network.validators.iter().zip(&self.validators) {
            let after = Balances::balance(&account(validator));
            assert!(after <= *before && before - after < POL / 10, "seats pay fees only");
        }
        let ledger = Rewards::ledger();
        assert_eq!((ledger.seized, ledger.burned), (Self::FINE, Self::FINE));
        assert_eq!(Balances::balance(&treasury()), EXISTENTIAL_DEPOSIT + emitted(1).treasury);
        assert_issued(self.issuance + ledger.emitted - ledger.burned);
    }

    /// Checks that the cheat's shards are free again, and that the honest trainer earns the
    /// trainers' whole share.
    fn check_earnings(&self) {
        let manifest = Lineage::manifest(0).unwrap();
        assert_eq!((manifest.free, manifest.leased, manifest.consumed), (SHARDS - 10, 0, 10));
        let trainers = emitted(1).trainers;
        assert_eq!(Rewards::pending_rewards(self.honest.clone())[0].amount, Some(trainers));
        assert_eq!(Rewards::pending_rewards(self.cheat.clone()), []);
        let explained = explain(&self.cheat);
        assert_eq!((explained.state, explained.amount), (RewardState::Empty, Some(0)));
        assert_eq!(explained.training.unpaid(), Some(Unpaid::Invalid));
        assert_eq!(explained.training.update.unwrap().penalty, Self::FINE);
    }

    /// Checks that the smallest bond backs one unsettled update of the honest trainer, and raises
    /// it for another.
    fn raise_bond(&mut self) {
        self.network.chain.until(Phase::Train);
        let honest = self.network.trainers[0].clone();
        let join = Learning::join_round { tier: Tier::Participant };
        let refused = self.network.chain.try_block(vec![(honest.clone(), join.into())]);
        assert_eq!(refused, [Err(pallet_proof_of_learning::Error::<Runtime>::BondIsLocked.into())]);
        let locked = PolStaking::member(self.honest.clone()).unwrap().locked;
        assert_eq!(locked, UPDATE_LOCK);
        let raise = pallet_pol_staking::Call::bond_extra { amount: UPDATE_LOCK };
        self.network.chain.block([(honest, raise.into())]);
    }

    /// Checks that the next head excises the update once, and that the cheat cannot join.
    fn check_excision(&mut self) {
        self.network.chain.until(Phase::Train);
        let join = Learning::join_round { tier: Tier::Participant };
        let cheat = self.network.trainers[1].clone();
        let refused = self.network.chain.try_block(vec![(cheat, join.into())]);
        assert_eq!(refused, [Err(pallet_proof_of_learning::Error::<Runtime>::NotATrainer.into())]);
        let before = ProofOfLearning::overview().head.unwrap();
        assert_eq!(self.network.learn(&[0]), 2);
        let excised = [Excision { round: 1, index: self.index }];
        let record = ProofOfLearning::round_record(2).unwrap();
        assert_eq!(record.excised.as_slice(), excised);
        let head = record.head.unwrap();
        let updates = ProofOfLearning::updates(2);
        assert_eq!(
            head,
            Head::next(Some(&before), 2, head.root, head.recipe_hash, &updates, &excised)
        );
        assert_eq!(ProofOfLearning::updates(1).len(), 2, "excised updates stay on record");
        self.raise_bond();
        assert_eq!(self.network.learn(&[0]), 3);
        let record = ProofOfLearning::round_record(3).unwrap();
        assert!(record.excised.is_empty(), "an update is excised once");
    }
}

#[test]
fn a_cheat_loses_its_bond_and_its_update_is_excised() {
    genesis(DEV).execute_with(|| {
        let mut round = RefutedRound::new();
        round.check_penalty();
        round.check_burning();
        round.check_earnings();
        round.check_excision();
    });
}

#[test]
fn an_update_whose_trainer_serves_nothing_is_excised() {
    genesis(DEV).execute_with(|| {
        let mut network = TestNetwork::new(1, 1);
        let trainer = account(&network.trainers[0]);
        network.learn(&[0]);
        network.draw();
        for _ in 0..presets_of::AUDIT_CONFIG.serve {
            network.chain.block([]);
        }
        let audit = TestNetwork::open_audit();
        network.settle(audit);
        assert_eq!(outcomes(1), [(trainer.clone(), Outcome::Withheld)].into());
        let ledger = Rewards::ledger();
        let emitted = emitted(1);
        // There are no earnings.
        assert_eq!(
            (ledger.seized, ledger.burned),
            (200 * POL, 200 * POL + emitted.total() - emitted.treasury)
        );
        assert_eq!((ledger.paid, ledger.waiting), (emitted.treasury, 0));
        assert_eq!(PolStaking::member(trainer).unwrap().bond, 800 * POL);
        assert_eq!(Lineage::manifest(0).unwrap().free, SHARDS);
    });
}
